"""Measure all presets against all competitors; write docs/benchmark.md and docs/benchmark.png.

    python benchmarks/make_readme_table.py --threads 1
    python benchmarks/make_readme_table.py --threads 1 --cell gru,lstm

The pages of the other cells are docs/benchmark_gru.md and so on. The .json file beside each page
holds the measurements; `--from docs/benchmark.json` writes its page and plot again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from fastbptt.bench import CHOICES, plot, write

DOCS = Path(__file__).resolve().parent.parent / "docs"
# For the heading and the first sentence; other cells appear under their own names.
TITLES = {
    "rnn": "tanh RNN",
    "relu": "ReLU RNN",
    "leaky": "leaky tanh RNN",
    "gru": "GRU",
    "gru_before": "GRU with the reset before the product",
    "lstm": "LSTM",
}


def measure(cell: str, threads: int, rounds: int) -> dict[str, Any]:
    """Run the benchmark command."""
    command = [sys.executable, "-m", "fastbptt", "bench", "--preset", "all", "--against", "all"]
    command += ["--cell", cell, "--threads", str(threads), "--rounds", str(rounds)]
    command += ["--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"date": datetime.date.today().isoformat()}


def summary(result: dict[str, Any]) -> list[str]:
    """Write the short table of best times: a row per preset, a column per system."""
    names: dict[str, str] = {}
    for found in result["cases"]:
        both = [*found["systems"], *found.get("left_out", [])]
        names |= {each["system"]: each["title"] for each in both}
    lines = [
        "| B, T, I, H, O, loss at | " + " | ".join(names.values()) + " | speed-up | of peak |",
        "|:--|" + "--:|" * (len(names) + 2),
    ]
    for found in result["cases"]:
        case = found["case"]
        systems = {each["system"]: each for each in found["systems"]}
        cells = [
            text_of(systems[name]["best_seconds"]) if name in systems else "none" for name in names
        ]
        ours = systems["fastbptt"]
        rivals = [each["times_fastbptt"] for each in systems.values() if each is not ours]
        speedup = f"**{min(rivals):.2f}**" if rivals else ""
        sizes = ", ".join(str(case[key]) for key in ("batch", "time", "input", "hidden", "output"))
        head = f"**{case['name']}** {sizes}, {case['steps']}"
        share = f"{ours['share_of_peak']:.0%}"
        lines.append(f"| {head} | " + " | ".join([*cells, speedup, share]) + " |")
    return lines


def text_of(seconds: float) -> str:
    """Write milliseconds."""
    return f"{seconds * 1e3:.3g} ms"


def cell_of(result: dict[str, Any]) -> str:
    """Return the name of the measured cell."""
    cell: str = result["cases"][0]["case"]["cell"]
    return cell


def stem_of(result: dict[str, Any]) -> str:
    """Return the name of the files, without extension."""
    return "benchmark" if cell_of(result) == "rnn" else f"benchmark_{cell_of(result)}"


def page(result: dict[str, Any]) -> str:
    """Write the page."""
    machine = result["machine"]
    cell = TITLES.get(cell_of(result), cell_of(result))
    article = "an" if cell.startswith("LSTM") else "a"
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return "\n".join(
        [
            f"# Benchmark: {cell}",
            "",
            textwrap.fill(
                f"The table lists the time of one training step of {article} {cell} (forward, loss,"
                " backpropagation through time, Adam), the best of alternating rounds."
                " *Speed-up*: the time of the fastest competitor divided by that of fastbptt."
                " *Of peak*: the required floating-point operations per second, relative to the"
                " rate of multiply-adds on registers measured in the same rounds.",
                width=120,
            ),
            "",
            textwrap.fill(
                f"Measured on {result['date']} on {machine['processor']}"
                f" ({machine['instruction_set']}, {threads}) by"
                f" `benchmarks/make_readme_table.py --cell {cell_of(result)}`.",
                width=120,
                break_on_hyphens=False,
            ),
            "",
            *summary(result),
            "",
            f"![Time per training step, relative to fastbptt]({stem_of(result)}.png)",
            "",
            "## All results",
            "",
            write(result, "md"),
            "",
        ]
    )


def cells(text: str) -> list[str]:
    """Parse comma-separated names."""
    names = text.split(",")
    for name in names:
        if name not in CHOICES["cell"]:
            known = ", ".join(CHOICES["cell"])
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; expected names from {known}")
    return names


def main() -> None:
    """Measure, or read earlier measurements, then write the pages."""
    parser = argparse.ArgumentParser(description="Make docs/benchmark.md and docs/benchmark.png.")
    parser.add_argument("--cell", type=cells, default=["rnn"], metavar="NAME[,NAME...]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--from", dest="source", type=Path, help="an earlier benchmark.json")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write to")
    arguments = parser.parse_args()
    arguments.docs.mkdir(exist_ok=True)
    if arguments.source:
        save(json.loads(arguments.source.read_text(encoding="utf-8")), arguments.docs)
        return
    for cell in arguments.cell:
        save(measure(cell, arguments.threads, arguments.rounds), arguments.docs)


def save(result: dict[str, Any], docs: Path) -> None:
    """Write the measurements, the page and the plot."""
    file = docs / stem_of(result)
    text = json.dumps(result, indent=1) + "\n"
    file.with_suffix(".json").write_text(text, encoding="utf-8")
    file.with_suffix(".md").write_text(page(result), encoding="utf-8")
    plot(result, file.with_suffix(".png"))


if __name__ == "__main__":
    main()
