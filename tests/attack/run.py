"""Attacks on the package for as long as you like: ``python tests/attack/run.py --minutes 10``.

Each attack runs in a process of its own, one seed after the other; a seed repeats its case. The
process that starts them reports what fails, dies or hangs, and how to repeat it.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HANGS = 180.0  # seconds without a word
RECORD = HERE.parents[1] / "docs" / "testing.json"
PAGE = HERE.parents[1] / "docs" / "testing.md"
START, END = "<!-- results -->\n", "<!-- results end -->\n"


def attack(name: str, seed: int, cases: int | None, seconds: float) -> int:
    """Run an attack, seed after seed, and write a line after each one; stop at a fault."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
    warnings.simplefilter("error")
    from attacks import ATTACKS

    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
    end = time.monotonic() + seconds
    while True:
        print(json.dumps({"seed": seed}), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = ATTACKS[name](seed, Path(folder))
            except Exception:
                print(json.dumps({"fault": traceback.format_exc()}), flush=True)
                return 1
        print(json.dumps({"cases": found}), flush=True)
        seed += 1
        if cases is not None:
            cases -= 1
        if cases == 0 or time.monotonic() > end:
            return 0


def lines(child: subprocess.Popen[bytes]) -> Any:
    """What a child says, line by line; None where it has been silent for too long."""
    assert child.stdout is not None
    descriptor, rest = child.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(HANGS):
                yield None
                return
            read = os.read(descriptor, 1 << 16)
            if not read:
                return
            *whole, rest = (rest + read).split(b"\n")
            yield from map(json.loads, whole)


def watch(name: str, seed: int, cases: int | None, seconds: float) -> dict[str, Any]:
    """Run an attack in children; after a fault another child goes on with the next seed."""
    start, first = time.monotonic(), seed
    result: dict[str, Any] = {"first_seed": seed, "seeds": 0, "cases": 0, "faults": 0}
    while True:
        left = seconds - (time.monotonic() - start)
        command = [sys.executable, __file__, "--child", name, "--seed", str(seed)]
        command += ["--seconds", str(left)]
        if cases is not None:
            command += ["--cases", str(cases - (seed - first))]
        with tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
            fault = None
            for line in lines(child):
                if line is None:
                    fault = f"no word for {HANGS:.0f} s"
                    child.kill()
                    break
                if "seed" in line:
                    seed = line["seed"]
                    result["seeds"] += 1
                result["cases"] += line.get("cases", 0)
                fault = line.get("fault", fault)
            child.communicate()
            if child.returncode and fault is None:
                errors.seek(0)
                fault = f"status {child.returncode}\n{errors.read().decode(errors='replace')}"
        if fault is not None:
            result["faults"] += 1
            print(f"FAULT in {name}; again: run.py --cases 1 --seed {seed} {name!r}\n{fault}")
        seed += 1
        over = time.monotonic() - start > seconds
        if fault is None or over or (cases is not None and seed - first >= cases):
            result["seconds"] = round(time.monotonic() - start)
            return result


def page(record: dict[str, Any], text: str) -> str:
    """Put the table of a record into the text of the page."""
    rows = ["| attack | command | cases | seconds | faults |", "|---|---|---|---|---|"]
    for name in (name for name in record if name != "mutants"):
        one = record[name]
        quoted = f'"{name}"' if " " in name else name
        command = f"run.py --minutes {one['minutes']:g} --seed {one['first_seed']} {quoted}"
        numbers = f"{one['cases']:,} | {one['seconds']:,} | {one['faults']}"
        rows.append(f"| `{name}` | `{command}` | {numbers} |")
    before, rest = text.split(START)
    return before + START + "\n" + "\n".join(rows) + "\n\n" + END + rest.split(END)[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="attacks; default: all")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each attack")
    parser.add_argument("--cases", type=int, help="seeds of each attack; default: as time allows")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--record", action="store_true", help="write the results into docs/")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return attack(given.child, given.seed, given.cases, given.seconds)
    sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
    from attacks import ATTACKS

    for name in given.names:
        if name not in ATTACKS:
            parser.error(f"no attack is named {name!r}; there are {', '.join(ATTACKS)}")
    results = {}
    for name in given.names or ATTACKS:
        results[name] = one = watch(name, given.seed, given.cases, 60 * given.minutes)
        print(f"{name:12} {one['cases']:8} cases {one['seconds']:6} s {one['faults']:4} faults")
    if given.record:
        old = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
        whole = old | {name: {"minutes": given.minutes, **one} for name, one in results.items()}
        record = {name: whole[name] for name in (*ATTACKS, "mutants") if name in whole}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        PAGE.write_text(page(record, PAGE.read_text("utf-8")), "utf-8")
    return int(any(one["faults"] for one in results.values()))


if __name__ == "__main__":
    sys.exit(main())
