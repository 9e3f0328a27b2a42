"""Mistakes in the package, one at a time, and the tests: ``python tests/mutants/run.py``.

``map`` first notes which functions each test calls. ``python`` then plants a fixed choice of
mistakes in the Python package, ``cpp`` those of a table in the C++ core. Each gets the quickest
tests that call the changed function, and where all of these pass, the others. A run that is begun
again goes on, and tries those again that no test caught. ``record`` writes the results into docs/.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import children  # noqa: E402
import cpp_mutants  # noqa: E402
import python_mutants  # noqa: E402
from children import Job, Running  # noqa: E402
from explained import EXPLAINED  # noqa: E402

ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "mutants"
RECORD = ROOT / "docs" / "testing.json"
PAGE = ROOT / "docs" / "testing.md"
START, END = "<!-- mutants -->\n", "<!-- mutants end -->\n"
FOLDERS = [
    "training",
    "models",
    "optim",
    "reference",
    "datasets",
    "diagnostics",
    "cli",
    "sklearn",
    "files",
    "preprocessing",
    "interchange",
    "torch",
    "c_source",
    "reporting",
    "plot",
]
STAGES = (6.0, 75.0)  # seconds of tests: those that are likely to fail, and the others
FILES = 8  # most of them in the first stage

#: Tests in C++ and in Python for the mutants of a file, by the start of its path.
CPP_TESTS: dict[str, tuple[list[str], list[str]]] = {
    "cells": (
        ["cells", "properties", "engine", "lanes"],
        [
            "reference",
            "models/test_vectors_cells",
            "models/test_leaky",
            "models/test_model",
            "models/test_core",
            "models/test_large_logits",
        ],
    ),
    "kernels/lanes": (
        ["lanes", "properties", "together", "probes", "activity"],
        [
            "models/test_model",
            "models/test_together",
            "models/test_state",
            "models/test_record",
            "models/test_noise",
            "models/test_readout",
        ],
    ),
    "kernels/losses": (
        ["kernels", "lanes", "properties"],
        ["models/test_losses", "models/test_large_logits", "models/test_blocks"],
    ),
    "kernels/noise": (["kernels", "lanes"], ["models/test_noise"]),
    "kernels/pooling": (["properties", "kernels"], ["models/test_pooling"]),
    "kernels/zoneout": (["kernels", "cells"], ["models/test_zoneout"]),
    "kernels/single_row": (["kernels"], ["models/test_state", "models/test_predict"]),
    "kernels": (
        ["kernels", "edges", "properties", "cells", "probes", "engine"],
        [
            "models/test_model",
            "models/test_layers",
            "models/test_state",
            "models/test_recurrent_dropout",
            "models/test_zoneout",
            "models/test_record",
            "models/test_noise",
            "models/test_readout",
            "models/test_bad_input",
        ],
    ),
    "activations": (
        ["kernels", "cells"],
        ["models/test_large_logits", "models/test_losses", "models/test_leaky"],
    ),
    "losses": (
        ["kernels", "lanes"],
        [
            "models/test_losses",
            "models/test_large_logits",
            "models/test_vectors_losses",
            "models/test_blocks",
        ],
    ),
    "optimizers": (["kernels"], ["optim"]),
    "engine/optimizer_step": (
        ["engine", "constraints"],
        ["optim", "models/test_constraints", "models/test_freeze"],
    ),
    "engine/constraints": (["constraints"], ["models/test_constraints", "models/test_penalties"]),
    "engine/workspace": (
        ["batch_plan", "resets", "properties", "engine"],
        [
            "models/test_resets",
            "models/test_calls_in_any_order",
            "models/test_calls",
            "models/test_state",
            "training/test_episodes",
        ],
    ),
    "engine/losses": (
        ["engine", "properties", "resets"],
        [
            "models/test_losses",
            "models/test_blocks",
            "models/test_resets",
            "training/test_weights_of_steps",
            "models/test_bad_input",
            "training/test_epoch_loss",
        ],
    ),
    "engine/dropout": (["properties"], ["models/test_dropout"]),
    "engine/noise": (
        ["properties"],
        ["models/test_noise", "models/test_zoneout", "models/test_state"],
    ),
    "engine/pooling": (["properties"], ["models/test_pooling"]),
    "engine/activity": (["activity"], ["models/test_activity"]),
    "engine/together": (
        ["together"],
        [
            "models/test_together",
            "training/test_fit_many",
            "training/test_fit_many_robust",
            "training/test_fit_many_arguments",
        ],
    ),
    "engine/inference": (
        ["engine"],
        [
            "models/test_state",
            "models/test_predict",
            "models/test_zoneout",
            "models/test_core",
            "models/test_resets",
        ],
    ),
    "engine": (
        ["engine", "properties", "resets", "probes", "constraints", "cells", "locks", "lanes"],
        [
            "models/test_model",
            "models/test_layers",
            "models/test_resets",
            "models/test_embedding",
            "models/test_static",
            "models/test_activity",
            "models/test_pooling",
            "models/test_state",
            "models/test_large_logits",
            "models/test_recurrent_dropout",
            "models/test_dropout",
            "models/test_constraints",
            "models/test_one_moment",
            "models/test_record",
        ],
    ),
    "training_batches": (
        ["training_batches"],
        [
            "training/test_prepared_steps",
            "training/test_fit_batches",
            "training/test_fit_course",
            "training/test_weights_of_steps",
            "training/test_fit_many",
            "training/test_custom_loss",
        ],
    ),
    "gather": (
        ["gather"],
        [
            "training/test_fit_batches",
            "training/test_many_sequences",
            "training/test_prepared_steps",
            "models/test_calls",
            "models/test_memory",
        ],
    ),
    "text_tables": (
        ["text_tables"],
        [
            "datasets/test_datasets_tables",
            "datasets/test_readers_digits",
            "datasets/test_tables_forms",
            "datasets/test_tables_fuzz",
        ],
    ),
    "bindings": (
        ["engine"],
        [
            "models/test_core",
            "models/test_bad_input",
            "models/test_calls",
            "training/test_prepared_steps",
            "models/test_bad_options",
            "torch",
        ],
    ),
}

#: Those that the mutants get that no test of their group catches.
IN_ALL = tuple(
    f"tests/{name}" for name in ("models", "training", "optim", "datasets", "diagnostics")
)

Mutant = python_mutants.PythonMutant | cpp_mutants.CppMutant


def test_files() -> list[str]:
    paths = [path for folder in FOLDERS for path in (ROOT / "tests" / folder).glob("test_*.py")]
    return [str(path.relative_to(ROOT)) for path in sorted(paths)]


def note_calls(at_once: int) -> dict[str, Any]:
    """Which functions each test calls, and how long it takes; only those that pass."""
    found: dict[str, Any] = {}
    files = deque(test_files())

    def next_job() -> Job | None:
        if not files:
            return None
        file = files.popleft()
        return Job(file, 400, tests=[file], calls=True, first=False)

    def done(one: Running, how: str) -> None:
        tests = one.result() or {}
        print(f"{one.job.key:56} {len(tests):5} tests, status {how}", flush=True)
        found.update({name: test for name, test in tests.items() if test["passed"]})

    children.work(next_job, at_once, done)
    return found


class Selection:
    """Tests by the function that they call."""

    def __init__(self, calls: dict[str, Any]) -> None:
        self.seconds = {name: test.get("seconds", 0.0) for name, test in calls.items()}
        self.callers: dict[str, list[str]] = defaultdict(list)
        self.of_file: dict[str, list[str]] = defaultdict(list)
        for name, test in calls.items():
            for function in test["called"]:
                self.callers[function].append(name)
            for file in {function.split(":")[0] for function in test["called"]}:
                self.of_file[file].append(name)

    def stages(self, mutant: python_mutants.PythonMutant) -> list[list[str]]:
        """The tests of each stage, without those that take too long together; files at last."""
        function = f"{mutant.file}:{mutant.function}"
        tests = self.callers[function] if mutant.function else self.of_file[mutant.file]
        files: dict[str, list[str]] = defaultdict(list)
        for name in sorted(tests, key=self.seconds.__getitem__):
            files[name.split("::")[0]].append(name)
        words = set(re.split(r"[/_.]+", mutant.file)) - {"py", ""}

        def order(file: str) -> tuple[int, float]:
            shared = words & set(re.split(r"[/_.]+", file))
            return -len(shared), median(self.seconds[name] for name in files[file])

        ordered = sorted(files, key=order)
        likely = in_turn([files[file] for file in ordered[:FILES]])
        first = self.within(likely, STAGES[0])
        rest = in_turn([files[file] for file in ordered])
        second = self.within([name for name in rest if name not in set(first)], STAGES[1])
        place = {file: i for i, file in enumerate(ordered)}

        def by_file(name: str) -> tuple[int, float]:
            return place[name.split("::")[0]], self.seconds[name]

        return [sorted(first, key=by_file), sorted(second, key=by_file), ordered[:FILES]]

    def total(self, tests: list[str]) -> float:
        return sum(map(self.seconds.__getitem__, tests))

    def within(self, tests: Iterable[str], most: float) -> list[str]:
        chosen, total = [], 0.0
        for name in tests:
            if total + self.seconds[name] <= most:
                chosen.append(name)
                total += self.seconds[name]
        return chosen


def in_turn(lists: list[list[str]]) -> list[str]:
    """The first of each list, the second of each ..."""
    longest = max(map(len, lists), default=0)
    return [one[i] for i in range(longest) for one in lists if i < len(one)]


def start_of(file: str) -> str:
    return max((start for start in CPP_TESTS if file.startswith(start)), key=len)


class Run:
    """Mutants, of each the jobs that are left, and what came out."""

    def __init__(
        self, kept: Path, mutants: dict[str, Mutant], stages: dict[str, list[Job]]
    ) -> None:
        self.kept, self.mutants, self.stages = kept, mutants, stages
        self.results: dict[str, dict[str, Any]] = {}
        if kept.exists():  # an earlier run, whose survivors are tried again
            self.results = {
                name: one for name, one in json.loads(kept.read_text()).items() if one["caught"]
            }
        left = [name for name in stages if name not in self.results]
        self.waiting = deque(random.Random(0).sample(left, len(left)))  # a part is a sample
        self.seconds = dict.fromkeys(stages, 0.0)
        self.build: dict[str, str | Path] = {}  # what all of them change

    def next_job(self) -> Job | None:
        while self.waiting:
            name = self.waiting.popleft()
            if self.stages[name]:
                return self.stages[name].pop(0)
            self.note(name, False, "no test is left")
        return None

    def done(self, one: Running, how: str) -> None:
        name = one.job.key
        self.seconds[name] += one.seconds
        if how in ("0", "5"):  # 5: no tests
            self.waiting.append(name)  # the next stage when all others have had theirs
            return
        output = one.output()
        found = re.findall(r"^(?:FAILED|ERROR) (\S+)|^TEST CASE: +(.*)$", output, re.MULTILINE)
        by = one.result() or (found[0][0] or found[0][1] if found else "")
        self.note(name, True, by or {"time": "time"}.get(how, f"status {how}"))

    def note(self, name: str, caught: bool, by: str) -> None:
        self.results[name] = {"caught": caught, "by": by, "seconds": round(self.seconds[name], 2)}
        self.kept.write_text(json.dumps(self.results, indent=1))
        mark = "caught  " if caught else "SURVIVED"
        print(f"{len(self.results):4}/{len(self.mutants)} {mark} {name}  [{by}]", flush=True)

    def go(self, at_once: int) -> None:
        children.work(self.next_job, at_once, self.done)


def name_of(one: Mutant) -> str:
    line = one.line if isinstance(one, python_mutants.PythonMutant) else cpp_mutants.line_of(one)
    return f"{one.file}:{line} {short(one.old)} -> {short(one.new) or 'nothing'}"


def python_run(seed: int, times: float, only: str, calls: dict[str, Any]) -> Run:
    selection = Selection(calls)
    mutants: dict[str, Mutant] = {}
    stages: dict[str, list[Job]] = {}
    for one in python_mutants.choice(seed, times):
        if not any(part in one.file for part in only.split(",")):
            continue
        name = name_of(one)
        mutants[name] = one
        changed: dict[str, str | Path] = {one.file: one.changed()}
        *some, files = selection.stages(one)
        stages[name] = [
            Job(
                name,
                20 + 4 * sum(map(selection.seconds.__getitem__, tests)),
                tests=tests,
                changed=changed,
            )
            for tests in some
            if tests
        ]
        if files:
            stages[name].append(Job(name, 120, tests=files, changed=changed, slow=True))
    return Run(BUILD / "python.json", mutants, stages)


def cpp_run(only: str, calls: dict[str, Any], in_cpp: bool) -> Run:
    targets = ["_core", "fastbptt_tests"] if in_cpp else ["_core"]
    extension, program = cpp_mutants.build(BUILD, targets)
    (own,) = children.PACKAGE.glob("_core*.so")
    changed: dict[str, str | Path] = {own.name: extension}
    seconds = {name: test.get("seconds", 0.0) for name, test in calls.items()}
    mutants: dict[str, Mutant] = {}
    stages: dict[str, list[Job]] = {}
    groups, others = cpp_tests(calls, seconds)
    for number, one in enumerate(cpp_mutants.table(), 1):
        if not any(part in one.file for part in only.split(",")):
            continue
        name = name_of(one)
        mutants[name] = one
        environment = {"FASTBPTT_MUTANT": str(number)}
        in_these, _ = CPP_TESTS[start_of(one.file)]
        jobs = [
            Job(
                name,
                40 + 8 * sum(seconds[test] for test in tests),
                tests=tests,
                changed=changed,
                environment=environment,
            )
            for tests in (groups[start_of(one.file)], others)
        ]
        files = ",".join(f"*test_{unit}.cpp" for unit in in_these)
        command = [str(program), f"--source-file={files}", "--abort-after=1"]
        if in_cpp:
            every = [str(program), "--abort-after=1"]
            jobs.insert(0, Job(name, 300, command=command, environment=environment))
            jobs.append(Job(name, 600, command=every, environment=environment))
        stages[name] = jobs
    run = Run(BUILD / "cpp.json", mutants, stages)
    run.build = changed
    return run


def cpp_tests(
    calls: dict[str, Any], seconds: dict[str, float]
) -> tuple[dict[str, list[str]], list[str]]:
    """The tests in Python of each group of C++ files, and a part of all others."""
    by_time = sorted(calls, key=seconds.__getitem__)
    found = {}
    for start, (_, wanted) in CPP_TESTS.items():
        starts = tuple(f"tests/{one}" for one in wanted)
        found[start] = _some([name for name in by_time if name.startswith(starts)], seconds, 12.0)
    others = [name for name in by_time if name.startswith(IN_ALL)]
    return found, _some(others, seconds, 90.0)


def _some(names: list[str], seconds: dict[str, float], most: float) -> list[str]:
    chosen, total = [], 0.0
    for name in names:
        total += seconds[name]
        if total > most:
            break
        chosen.append(name)
    return sorted(chosen)


def short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def sound(run: Run, at_once: int) -> list[str]:
    """Of the tests that failed, those that fail without a mutant, too."""
    names = sorted({one["by"] for one in run.results.values() if "::" in one["by"]})
    files: dict[str, list[str]] = defaultdict(list)
    for name in names:
        files[name.split("::")[0]].append(name)
    jobs = deque(
        Job(file, 300, tests=tests, calls=True, first=False, changed=run.build)
        for file, tests in files.items()
    )
    failing: list[str] = []

    def done(one: Running, how: str) -> None:
        tests = one.result() or {}
        failing.extend(name for name in one.job.tests if not tests.get(name, {}).get("passed"))

    children.work(lambda: jobs.popleft() if jobs else None, at_once, done)
    return failing


def summary(kind: str, mutants: Iterable[Mutant]) -> dict[str, Any]:
    """What a run found: counts, seconds of a processor, and what no test caught, and why."""
    results = json.loads((BUILD / f"{kind}.json").read_text())
    survivors = {}
    for one in mutants:
        name = name_of(one)
        if name in results and not results[name]["caught"]:
            survivors[name] = EXPLAINED.get((one.file, one.old, one.new), "")
    found = {name_of(one) for one in mutants} & results.keys()
    return {
        "mutants": len(found),
        "caught": len(found) - len(survivors),
        "explained": sum(map(bool, survivors.values())),
        "seconds": round(
            mean(results[name]["seconds"] for name in found if "seconds" in results[name]), 1
        ),
        "survivors": survivors,
    }


def page(record: dict[str, Any], text: str) -> str:
    """Put the tables of a record into the text of the page."""
    rows = ["| mutants of | planted | caught | share | explained | missing | seconds each |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    planted = caught = 0
    for kind, title in (("python", "the Python package"), ("cpp", "the C++ core")):
        one = record["mutants"][kind]
        planted, caught = planted + one["mutants"], caught + one["caught"]
        left = len(one["survivors"]) - one["explained"]
        rows.append(
            f"| {title} | {one['mutants']} | {one['caught']} | {_percent(one)} "
            f"| {one['explained']} | {left} | {one['seconds']} |"
        )
    both = {"mutants": planted, "caught": caught}
    rows.append(f"| both | {planted} | {caught} | {_percent(both)} | | | |")
    rows += ["", "| not caught | why |", "|---|---|"]
    for kind in ("python", "cpp"):
        for name, reason in record["mutants"][kind]["survivors"].items():
            code = name.replace("|", "\\|")
            rows.append(f"| `{code}` | {reason or 'a test is missing'} |")
    before, rest = text.split(START)
    return before + START + "\n" + "\n".join(rows) + "\n\n" + END + rest.split(END)[1]


def _percent(one: dict[str, Any]) -> str:
    return f"{100 * one['caught'] / one['mutants']:.1f} %"


def keep(seed: int, times: float) -> None:
    """Write what the last runs found into docs/."""
    record = json.loads(RECORD.read_text("utf-8"))
    record["mutants"] = {
        "python": {"seed": seed} | summary("python", list(python_mutants.choice(seed, times))),
        "cpp": summary("cpp", cpp_mutants.table()),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(record, PAGE.read_text("utf-8")), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("map", "python", "cpp", "record"))
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the random choice of mutants in Python"
    )
    parser.add_argument("--times", type=float, default=1.0, help="times as many mutants in Python")
    parser.add_argument(
        "--only", default="", help="files with one of these, divided by commas, in their name"
    )
    parser.add_argument("--at-once", type=int, default=2, help="tests side by side")
    parser.add_argument(
        "--without-cpp-tests", action="store_true", help="run the tests in Python alone"
    )
    given = parser.parse_args()
    path = BUILD / "calls.json"
    BUILD.mkdir(parents=True, exist_ok=True)
    if given.what == "record":
        keep(given.seed, given.times)
        return 0
    children.load_libraries()
    if given.what == "map":
        path.write_text(json.dumps(note_calls(given.at_once)))
        return 0
    calls = json.loads(path.read_text())
    # those that interrupt the process that they run in might end a child before its time
    calls = {name: test for name, test in calls.items() if "interrupt" not in name}
    if given.what == "python":
        run = python_run(given.seed, given.times, given.only, calls)
    else:
        run = cpp_run(given.only, calls, not given.without_cpp_tests)
    run.go(given.at_once)
    caught = sum(one["caught"] for one in run.results.values())
    print(f"{len(run.results)} mutants, {caught} caught, {100 * caught / len(run.results):.1f} %")
    for name in sound(run, given.at_once):
        print(f"fails without a mutant, too: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
