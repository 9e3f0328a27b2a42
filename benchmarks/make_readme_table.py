"""Measure all presets against all competitors; write docs/benchmark.md and docs/benchmark.png.

    python benchmarks/make_readme_table.py --threads 1

docs/benchmark.json keeps what was measured; `--from docs/benchmark.json` draws it again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fastbptt.bench import plot, write

DOCS = Path(__file__).resolve().parent.parent / "docs"


def measure(threads: int, rounds: int) -> dict[str, Any]:
    """Run the command that a reader would run."""
    command = [sys.executable, "-m", "fastbptt", "bench", "--preset", "all", "--against", "all"]
    command += ["--threads", str(threads), "--rounds", str(rounds), "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"date": datetime.date.today().isoformat()}


def summary(result: dict[str, Any]) -> list[str]:
    """Write the short table: a row per preset, a column per system, best times."""
    names: dict[str, str] = {}
    for found in result["cases"]:
        names |= {each["system"]: each["title"] for each in found["systems"]}
    lines = [
        "| B, T, I, H, O, loss at | " + " | ".join(names.values()) + " | ahead | of peak |",
        "|:--|" + "--:|" * (len(names) + 2),
    ]
    for found in result["cases"]:
        case = found["case"]
        systems = {each["system"]: each for each in found["systems"]}
        cells = [
            text_of(systems[name]["best_seconds"]) if name in systems else "" for name in names
        ]
        ours = systems["fastbptt"]
        rivals = [each["times_fastbptt"] for each in systems.values() if each is not ours]
        ahead = f"**{min(rivals):.2f}**" if rivals else ""
        sizes = ", ".join(str(case[key]) for key in ("batch", "time", "input", "hidden", "output"))
        head = f"**{case['name']}** {sizes}, {case['steps']}"
        share = f"{ours['share_of_peak']:.0%}"
        lines.append(f"| {head} | " + " | ".join([*cells, ahead, share]) + " |")
    return lines


def text_of(seconds: float) -> str:
    """Write milliseconds."""
    return f"{seconds * 1e3:.3g} ms"


def page(result: dict[str, Any]) -> str:
    """Write the page."""
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return "\n".join(
        [
            "# Benchmark",
            "",
            "One training step (forward, loss, backpropagation through time, Adam) of a tanh RNN,",
            "the best of alternating rounds. *Ahead*: the fastest competitor's time in times of",
            "fastbptt's. *Of peak*: the floating-point operations that are needed per second, over",
            "the rate of multiply-adds between registers measured in the same rounds.",
            "",
            f"Measured {result['date']} on {machine['processor']}, {machine['instruction_set']},",
            f"{threads}, by `benchmarks/make_readme_table.py`.",
            "",
            *summary(result),
            "",
            "![Time per training step, relative to fastbptt](benchmark.png)",
            "",
            "## All figures",
            "",
            write(result, "md"),
            "",
        ]
    )


def main() -> None:
    """Measure or read, then write."""
    parser = argparse.ArgumentParser(description="Make docs/benchmark.md and docs/benchmark.png.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--from", dest="source", type=Path, help="an earlier benchmark.json")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write to")
    arguments = parser.parse_args()
    if arguments.source:
        result = json.loads(arguments.source.read_text(encoding="utf-8"))
    else:
        result = measure(arguments.threads, arguments.rounds)
    arguments.docs.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (arguments.docs / "benchmark.json").write_text(text, encoding="utf-8")
    (arguments.docs / "benchmark.md").write_text(page(result), encoding="utf-8")
    plot(result, arguments.docs / "benchmark.png")


if __name__ == "__main__":
    main()
