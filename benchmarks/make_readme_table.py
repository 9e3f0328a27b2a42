"""Measure shapes, cells and passes against other libraries; write docs/benchmark.md and its plots.

    python benchmarks/make_readme_table.py

takes eleven minutes. docs/benchmark.json holds the measurements; `--from docs/benchmark.json`
writes the page and the plots again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastbptt.bench import Case, plot, write
from fastbptt.bench.output import time_text
from fastbptt.plot._helpers import cell_title

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
AGAINST = "numpy,torch,jax,keras,onednn,onnxruntime"
EARLIER = ("tutorial", "small", "neuro", "medium", "stream")
# Pass and cell -> presets. `large` takes minutes with gates.
MEASURED: dict[tuple[str, str], tuple[str, ...]] = {
    ("training", "rnn"): (*EARLIER, "large", "series"),
    ("training", "lstm"): (*EARLIER, "audio", "nano", "eeg"),
    ("training", "gru"): (
        "small",
        "medium",
        "sensor",
        *(f"tiny-{units}" for units in (1, 2, 5, 10, 20)),
    ),
    **{("training", cell): ("small",) for cell in ("relu", "leaky", "gru_before")},
    **{
        ("forward", cell): ("medium", "small", "sequence", "single-step")
        for cell in ("lstm", "gru", "rnn")
    },
}
# The panels of each plot: pass, preset, cell.
PLOTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "benchmark.png": (
        ("training", "small", "rnn"),
        ("training", "sensor", "gru"),
        ("training", "audio", "lstm"),
        ("training", "tiny-5", "gru"),
        ("training", "medium", "lstm"),
        ("training", "large", "rnn"),
    ),
    "benchmark_forward.png": tuple(
        ("forward", preset, "lstm") for preset in ("medium", "small", "sequence")
    ),
}


def measure(threads: int, seconds: float, machine: str | None) -> dict[str, Any]:
    """Run the benchmark command for each pass and cell, then the script of cold starts."""
    cases: list[dict[str, Any]] = []
    for (pass_, cell), presets in MEASURED.items():
        command = ["-m", "fastbptt", "bench", "--pass", pass_, "--cell", cell]
        command += ["--preset", ",".join(presets), "--against", AGAINST]
        command += ["--threads", str(threads), "--seconds", str(seconds), "--output", "json"]
        found = run(command)
        cases += found["cases"]
    start = [str(HERE / "cold_start.py"), "--json", "--threads", str(threads)]
    return {
        "machine": found["machine"] | ({} if machine is None else {"processor": machine}),
        "cases": cases,
        "cold_start": run(start),
        "date": datetime.date.today().isoformat(),
    }


def run(command: list[str]) -> dict[str, Any]:
    """Run a command of this Python that prints JSON."""
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of_pass(result: dict[str, Any], pass_: str) -> list[dict[str, Any]]:
    """Return the cases of a pass."""
    return [each for each in result["cases"] if Case(**each["case"]).pass_ == pass_]


def summary(cases: Iterable[dict[str, Any]]) -> list[str]:
    """Write the short table of best times: a row per case, a column per system."""
    cases = list(cases)
    names: dict[str, str] = {}
    for found in cases:
        names |= {each["system"]: each["title"] for each in found["systems"]}
    lines = [
        "| B, T, I, H, O, outputs at | cell | "
        + " | ".join(names.values())
        + " | speed-up | of peak |",
        "|:--|:--|" + "--:|" * (len(names) + 2),
    ]
    for found in cases:
        case = Case(**found["case"])
        systems = {each["system"]: each for each in found["systems"]}
        cells = [
            time_text(systems[name]["best_seconds"]) if name in systems else "none"
            for name in names
        ]
        ours = systems["fastbptt"]
        rivals = [each["times_fastbptt"] for each in systems.values() if each is not ours]
        speedup = f"**{min(rivals):.2f}**" if rivals else ""
        cell = cell_title(case.cell) + ("" if case.dtype == "float32" else f", {case.dtype}")
        share = f"{ours['share_of_peak']:.0%}"
        line = [f"**{case.name}** {case.shape}", cell, *cells, speedup, share]
        lines.append(f"| {' | '.join(line)} |")
    return lines


def page(result: dict[str, Any]) -> str:
    """Write the page."""
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    lines = [
        "# Benchmark",
        "",
        *filled(
            f"Measured on {result['date']} on {machine['processor']}"
            f" ({machine['instruction_set']}, {threads}) by `benchmarks/make_readme_table.py`:"
            " the best of alternating rounds, each system in a process of its own. *Speed-up*: the"
            " time of the fastest competitor divided by that of fastbptt. *Of peak*: the required"
            " floating-point operations per second, relative to the rate of multiply-adds on"
            " registers measured in the same rounds. B sequences of T steps with I inputs, H hidden"
            " units and O outputs."
        ),
    ]
    for pass_, title, text, image in (
        (
            "training",
            "Training",
            "One training step: forward, loss, backpropagation through time, Adam.",
            "benchmark.png",
        ),
        (
            "forward",
            "Prediction",
            "One forward pass, from inputs to outputs, without keeping what a backward pass needs.",
            "benchmark_forward.png",
        ),
    ):
        cases = of_pass(result, pass_)
        if not cases:
            continue
        lines += ["", f"## {title}", "", *filled(text), "", *summary(cases)]
        if panels(result, PLOTS[image]):
            words = "training step" if pass_ == "training" else "prediction"
            lines += ["", f"![Time per {words} of each system, in linear bars]({image})"]
    if "cold_start" in result:
        lines += ["", "## From a cold start", "", *cold_start(result["cold_start"])]
    for pass_, title in (("training", "training"), ("forward", "prediction")):
        cases = of_pass(result, pass_)
        if cases:
            part = {**result, "cases": cases}
            lines += ["", f"## All results of {title}", "", write(part, "md")]
    return "\n".join([*lines, ""])


def cold_start(found: dict[str, Any]) -> list[str]:
    """Write what `cold_start.py` found."""
    text = (
        "From the start of Python, `python -c`, to a test accuracy of 96 % on Japanese Vowels:"
        " import, data, training, and the test after each epoch. Both train the demo's tanh RNN of"
        " 128 units from the same weights with the same batches; medians of"
        f" {found['seeds']} seeds, by `benchmarks/cold_start.py`."
    )
    rows = [
        f"| {name} | {one['seconds']:.2f} s | {one['epochs']:.0f} | {one['seconds'] / base:.1f} |"
        for base in [found["systems"]["fastbptt"]["seconds"]]
        for name, one in found["systems"].items()
    ]
    head = ["| | time | epochs | relative to fastbptt |", "|:--|--:|--:|--:|"]
    return [*filled(text), "", *head, *rows]


def filled(text: str) -> list[str]:
    """Break a paragraph into lines."""
    return textwrap.wrap(text, 120, break_on_hyphens=False, break_long_words=False)


def panels(result: dict[str, Any], chosen: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return the cases of a plot, in its order; those that were not measured are left out."""
    found = {}
    for each in result["cases"]:
        case = Case(**each["case"])
        found[case.pass_, case.name, case.cell] = each
    return [found[key] for key in chosen if key in found]


def save(result: dict[str, Any], docs: Path) -> None:
    """Write the measurements, the page and the plots."""
    docs.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (docs / "benchmark.json").write_text(text, encoding="utf-8")
    (docs / "benchmark.md").write_text(page(result), encoding="utf-8")
    for name, chosen in PLOTS.items():
        if cases := panels(result, chosen):
            plot({**result, "cases": cases}, docs / name)


def main() -> None:
    """Measure, or read earlier measurements, then write the page."""
    parser = argparse.ArgumentParser(description="Make docs/benchmark.md and its plots.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.5, help="of the rounds of each case")
    parser.add_argument("--machine", help="its name, if the system's for it says too little")
    parser.add_argument("--from", dest="source", type=Path, help="an earlier benchmark.json")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write to")
    given = parser.parse_args()
    if given.source:
        result = json.loads(given.source.read_text(encoding="utf-8"))
    else:
        result = measure(given.threads, given.seconds, given.machine)
    save(result, given.docs)


if __name__ == "__main__":
    main()
