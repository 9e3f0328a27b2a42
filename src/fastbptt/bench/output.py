"""Output of :func:`fastbptt.bench.measure` results: table, JSON, CSV, Markdown, plot."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ..plot._helpers import cell_title
from ..plot._style import MUTED, PALETTE, new_figure
from .case import PRESETS, Case

__all__ = ["FORMATS", "plot", "time_text", "write"]

_COLOURS: Final = {
    "fastbptt": PALETTE["black"],
    "recording": MUTED,
    "numpy": PALETTE["sky"],
    "torch": PALETTE["vermillion"],
    "torch-ftz": PALETTE["orange"],
    "jax": PALETTE["green"],
    "keras": PALETTE["purple"],
    "onnxruntime": "#8C6D31",
    "onednn": PALETTE["blue"],
}
_SHORT: Final = {"torch-ftz": "PyTorch, FTZ", "keras": "Keras"}
_HEAD: Final = (
    "system",
    "median",
    "best",
    "median/best",
    "GFLOP/s",
    "of peak",
    "sequences/s",
    "memory",
    "time",
)


def write(result: dict[str, Any], output: str) -> str:
    """Write a result as text.

    Parameters
    ----------
    result : dict
        What :func:`~fastbptt.bench.measure` returned.
    output : str
        "table", "json", "csv" or "md".

    Returns
    -------
    str
        Lines, the last one without its end.

    Examples
    --------
    >>> from fastbptt.bench import PRESETS, measure, write
    >>> result = measure([PRESETS["tutorial"]], rounds=1)
    >>> write(result, "csv").splitlines()[0][:23]
    'name,batch,time,input,h'
    """
    return FORMATS[output](result)


def _table(result: dict[str, Any]) -> str:
    lines = [_machine(result["machine"]), _legend(result)]
    for found in result["cases"]:
        rows = [_HEAD, *(_row(each) for each in found["systems"])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", _heading(found)]
        for first, *rest in rows:
            cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
        lines += [f"{title} {reason}" for title, reason in _left_out(found)]
    lines += ["", *_versions(result)]
    return "\n".join(lines)


def _markdown(result: dict[str, Any]) -> str:
    lines = [f"{_machine(result['machine'])}.", "", textwrap.fill(_legend(result), 120), ""]
    lines.append("| case | " + " | ".join(_HEAD) + " |")
    lines.append("|:--|:--|" + "--:|" * (len(_HEAD) - 1))
    for found in result["cases"]:
        one = Case(**found["case"])
        for i, each in enumerate(found["systems"]):
            case = f"**{one.name}** ({one.shape}; {one.network})" if i == 0 else ""
            lines.append(f"| {case} | " + " | ".join(_row(each)) + " |")
        for title, reason in _left_out(found):
            lines.append(f"|  | {title} | {reason}" + " |" * (len(_HEAD) - 1))
    lines.append("")
    for line in _versions(result):
        lines += textwrap.wrap(f"- {line}", 120, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def _csv(result: dict[str, Any]) -> str:
    machine = result["machine"]
    text = io.StringIO()
    rows = [
        found["case"]
        | {key: found[key] for key in ("needed_flops", "peak_flops")}
        | each
        | {key: machine[key] for key in ("processor", "instruction_set", "threads")}
        for found in result["cases"]
        for each in [*found["systems"], *found.get("left_out", [])]
    ]
    writer = csv.DictWriter(text, [*rows[0], "reason"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


FORMATS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "table": _table,
    "json": lambda result: json.dumps(result, indent=2),
    "csv": _csv,
    "md": _markdown,
}


def plot(result: dict[str, Any], file: str | Path) -> None:
    """Draw the time of each system as a bar, a panel for each case.

    Parameters
    ----------
    result : dict
        What :func:`~fastbptt.bench.measure` returned.
    file : str or path
        The file to write; its suffix determines the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    cases = result["cases"]
    columns = min(len(cases), 3)
    rows = math.ceil(len(cases) / columns)
    bars = max(len(found["systems"]) for found in cases)
    figure = new_figure(5.7 * columns, 0.9 + rows * (2.2 + 0.5 * bars))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, found in zip(panels, cases, strict=False):
        _draw_case(panel, Case(**found["case"]), found["systems"])
    for panel in panels[len(cases) :]:
        panel.set_visible(False)
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    figure.supxlabel(
        f"{machine['processor']} ({machine['instruction_set']}), {threads}; shorter is faster",
        fontsize=19,
    )
    figure.savefig(file, dpi=100)


def _draw_case(panel: Any, case: Case, systems: Sequence[dict[str, Any]]) -> None:
    order = sorted(systems, key=lambda each: each["times_fastbptt"])
    longest = order[-1]["best_seconds"]
    unit, scale = _unit(longest)
    times = [each["best_seconds"] / scale for each in order]
    panel.barh(range(len(order)), times, color=[_COLOURS[each["system"]] for each in order])
    panel.set_xlim(0, 1.75 * times[-1])  # the bars begin at zero; behind them stand their labels
    for i, each in enumerate(order):
        label = time_text(each["best_seconds"])
        if each["system"] != "fastbptt":
            label += f" ({_ratio(each['times_fastbptt'])})"
        panel.text(times[i] + 0.02 * times[-1], i, label, va="center", fontsize=18)
    panel.set_yticks(
        range(len(order)), [_SHORT.get(each["system"], each["title"]) for each in order]
    )
    panel.tick_params(axis="y", labelsize=19, length=0)
    panel.tick_params(axis="x", labelsize=16)
    panel.set_xticks([tick for tick in panel.get_xticks() if 0 <= tick <= 1.05 * times[-1]])
    panel.set_xlabel(f"{unit} per {_step(case)}", fontsize=17)
    panel.invert_yaxis()
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.set_title(_sizes_in_words(case), fontsize=19, loc="left")


def _sizes_in_words(case: Case) -> str:
    """Return the title of a panel, in two lines."""

    def count(number: int, word: str) -> str:
        return f"{number:,} {word}{'s' if number > 1 else ''}"

    layers = f"{case.layers} layers of " if case.layers > 1 else ""
    cell = cell_title(case.cell) + (", both directions" if case.bidirectional else "")
    dtype = "" if case.arithmetic == "float32" else f", {case.arithmetic}"
    upto = "up to " if case.lengths == "uniform" else ""
    return (
        f"{case.name}: {cell}, {layers}{count(case.hidden, 'unit')}{dtype}\n"
        f"{count(case.batch, 'sequence')} of {upto}{count(case.time, 'step')}"
    )


def _step(case: Case) -> str:
    return "training step" if case.pass_ == "training" else "prediction"


def _ratio(number: float) -> str:
    return f"{number:.0f}x" if number >= 9.95 else f"{number:.1f}x"


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit that suits a time, and its seconds."""
    if seconds >= 1:
        return "seconds", 1.0
    return ("milliseconds", 1e-3) if seconds >= 1e-3 else ("microseconds", 1e-6)


def _machine(machine: dict[str, Any]) -> str:
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return (
        f"{machine['processor']}, {machine['instruction_set']}, {threads};"
        f" {machine['platform']}; Python {machine['python']}; {machine['compiler']}"
    )


def _legend(result: dict[str, Any]) -> str:
    passes = {Case(**found["case"]).pass_ for found in result["cases"]}
    text = ""
    if "training" in passes:
        text += "A training step is forward, loss, backpropagation through time and Adam. "
    if "forward" in passes:
        text += "A forward pass is a prediction, from inputs to outputs. "
    text += (
        "GFLOP/s, fraction of peak, sequences/s and time (fastbptt = 1) are those of the best"
        " round; memory is that of the whole process."
    )
    if any(Case(**found["case"]).precision == "bfloat16" for found in result["cases"]):
        text += (
            " Where fastbptt multiplies in bfloat16, the peak is still the float32 peak, and the"
            " other systems compute in float32."
        )
    return text


def _heading(found: dict[str, Any]) -> str:
    case = Case(**found["case"])
    what, step = (case.loss, "step") if case.pass_ == "training" else ("forward", "pass")
    return (
        f"{case.name} ({case.shape}; {case.cell}, {what}, {case.arithmetic}):"
        f" {found['needed_flops'] / 1e6:,.3g} MFLOP a {step},"
        f" peak {found['peak_flops'] / 1e9:.1f} GFLOP/s"
    )


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    return (
        each["title"],
        time_text(each["median_seconds"]),
        time_text(each["best_seconds"]),
        f"{each['median_over_best']:.2f}",
        f"{each['flops'] / 1e9:.1f}",
        f"{each['share_of_peak']:.1%}",
        f"{each['sequences_per_second']:,.0f}",
        f"{each['peak_memory_bytes'] / 2**20:.0f} MiB",
        f"{each['times_fastbptt']:.2f}",
    )


def _left_out(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Name the systems that could not run a case, and why."""
    return [(each["title"], each["reason"]) for each in found.get("left_out", [])]


def _versions(result: dict[str, Any]) -> list[str]:
    """Of each system a line: its version, and which variants were measured in which cases."""
    lines: dict[str, dict[str, list[str]]] = {}
    for found in result["cases"]:
        case = Case(**found["case"])
        name = (
            case.name
            if case.cell == PRESETS.get(case.name, case).cell
            else f"{case.name} {case.cell}"
        )
        for each in found["systems"]:
            head = f"{each['title']} {each['version']}"
            lines.setdefault(head, {}).setdefault(each["variant"], []).append(name)
    texts = []
    for head, variants in lines.items():
        named = [f"{variant} ({', '.join(names)})" for variant, names in variants.items()]
        texts.append(f"{head}: {next(iter(variants)) if len(variants) == 1 else '; '.join(named)}")
    return texts


def time_text(seconds: float) -> str:
    """Write a time with three digits and the unit that suits it.

    Examples
    --------
    >>> from fastbptt.bench.output import time_text
    >>> time_text(0.00425)
    '4.25 ms'
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
