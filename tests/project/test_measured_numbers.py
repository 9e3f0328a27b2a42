"""Numbers that the pages state are those of one run of the scripts that measured them.

``docs/figures/numbers.json`` comes with the figures (`docs/make_figures.py`),
``docs/benchmark.json`` with the benchmarks (`benchmarks/make_readme_table.py`),
``docs/experiments.json`` with the experiments (`scripts/make_experiments.py`),
``docs/timings.json`` with the timings (`benchmarks/timings.py`), ``docs/audio.json`` with the
amplifiers (`benchmarks/amp.py`), ``docs/scaling.json`` with the model of many cores
(`benchmarks/scaling.py`), ``docs/sweeps.json`` with the engines of sweeps
(`benchmarks/sweeps.py`), ``docs/many_models.json`` with many small models
(`benchmarks/many_models.py`), ``docs/testing.json`` with the attacks (`tests/attack/run.py`) and
the mutants (`tests/mutants/run.py`).
A sentence with such numbers stands in `SENTENCES`, as a format string. The numbers of
`HAND_WRITTEN` come from no run that is kept.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scripts import load

ROOT = Path(__file__).parents[2]
WORDS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
NUMBER = re.compile(
    rf"\d|\b({'|'.join(WORDS[2:])}|twenty|thirty|forty|fifty|hundred)\b", re.IGNORECASE
)


class Value(float):
    """A number that can be written as a word, or as powers of ten."""

    def __format__(self, spec: str) -> str:
        if spec in ("word", "Word"):
            word = WORDS[int(self)]
            return word.capitalize() if spec == "Word" else word
        if spec == "percent":
            return f"{100 * self:.0f}"
        return format(int(self) if spec == "d" else float(self), spec)


def valued(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: valued(value) for key, value in found.items()}
    return Value(found) if isinstance(found, int | float) else found


def training_steps() -> list[dict[str, Any]]:
    found = json.loads((ROOT / "docs" / "benchmark.json").read_text("utf-8"))["cases"]
    return [case for case in found if case["case"].get("pass_", "training") == "training"]


def benchmark(cell: str) -> dict[str, Any]:
    """Of each training step: our share of the peak, our time, what one at the peak would gain."""
    found: dict[str, Any] = {}
    shares = {}
    for case in training_steps():
        if case["case"]["cell"] != cell:
            continue
        ours, *others = sorted(case["systems"], key=lambda one: one["system"] != "fastbptt")
        found[case["case"]["name"]] = {
            "share": ours["share_of_peak"],
            "microseconds": 1e6 * ours["best_seconds"],
            "bound": 1 / max(one["share_of_peak"] for one in others),
        }
        shares[case["case"]["name"]] = ours["share_of_peak"]
    batches = [shares[name] for name in ("small", "neuro", "medium", "large") if name in shares]
    return found | {"batches": {"lowest": min(batches), "highest": max(batches)}}


def runs() -> dict[str, Any]:
    """The recorded experiments: of each a table, by the first or the last word of each row."""
    found = json.loads((ROOT / "docs" / "experiments.json").read_text("utf-8"))
    return {name: table(record["output"]) for name, record in found.items()}


def table(lines: list[str]) -> dict[str, Any]:
    """Numbers of the first table of an output, by row and column: the first in each cell."""
    first = itertools.takewhile(lambda line: line.startswith("|"), lines)
    head, _, *body = [[cell.strip(" *") for cell in line[1:-1].split("|")] for line in first]
    found: dict[str, Any] = {}
    for row in body:
        begins = {key: re.match(r"[\d,.]+", cell) for key, cell in zip(head, row, strict=True)}
        numbers = {key: float(at[0].replace(",", "")) for key, at in begins.items() if at}
        for name in (row[0].split(" ")[0], row[0].split(" ")[-1]):
            found.setdefault(name, numbers)
    solved = {key: sum(row[i].startswith("solved") for row in body) for i, key in enumerate(head)}
    return found | {"rows": len(body), "solved": solved}


@cache
def numbers() -> dict[str, Any]:
    figures = json.loads((ROOT / "docs" / "figures" / "numbers.json").read_text("utf-8"))
    for curves in (figures["vanishing"], figures["gains"]):
        for curve in curves.values():
            curve["lost"] = math.log10(curve["last"] / curve["first"])
            curve["growth"] = (curve["first"] / curve["last"]) ** (1 / (curve["steps"] - 1)) - 1
    figures["over_time"]["count"] = len(figures["over_time"])
    measured = {"rnn": benchmark("rnn"), "lstm": benchmark("lstm"), **runs()}
    measured["audio"] = json.loads((ROOT / "docs" / "audio.json").read_text("utf-8"))
    measured["timings"] = json.loads((ROOT / "docs" / "timings.json").read_text("utf-8"))
    return {key: valued(value) for key, value in {**figures, **measured}.items()}


BFLOAT16 = [
    f"| {words} | {{timings[{name}][float32]:.3g}} ms | {{timings[{name}][bfloat16]:.3g}} ms "
    f"| {{timings[{name}][ratio]:.2f}} |"
    for words, name in (
        ("tutorial, tanh RNN", "tutorial"),
        ("small, tanh RNN", "small"),
        ("medium, tanh RNN", "medium"),
        ("large, tanh RNN", "large"),
        ("medium, LSTM", "medium LSTM"),
        ("medium, GRU, reset after", "medium GRU"),
        ("medium, GRU, reset before", "medium GRU, reset before"),
    )
]
SENTENCES = {
    "README.md": [
        "over {vanishing[tanh RNN][steps]:d} steps: down to {vanishing[tanh RNN][lowest]:.0e} in a "
        "tanh RNN, never below {vanishing[LSTM, forget bias 5][lowest]:.1g} in an LSTM with forget "
        "bias 5",
        "reaches {rnn[batches][lowest]:percent} to {rnn[batches][highest]:percent} % of the core's",
        "{rnn[tutorial][share]:percent} % for the tutorial's 5 sequences of 10 steps "
        "({rnn[tutorial][microseconds]:.0f} µs, including the call from Python) and "
        "{rnn[stream][share]:percent} % for a single stream",
        "reaches {lstm[batches][lowest]:percent} to {lstm[batches][highest]:percent} % from",
        "is {timings[tutorial][ratio]:.1f} to {timings[large][ratio]:.1f} times as fast",
    ],
    "docs/bptt.md": [
        "of {unrolled[units]:word} units unrolled over {unrolled[steps]:word} steps",
        "An LSTM over {unrolled_lstm[steps]:word} steps",
    ],
    "docs/gradients.md": [
        "over {vanishing[tanh RNN][steps]:d} steps: the tanh RNN loses "
        "{vanishing[tanh RNN][lost]:.0f} powers of ten, the GRU {vanishing[GRU][lost]:.0f}, the "
        "LSTM {vanishing[LSTM][lost]:.0f}",
        "with forget bias 5 the norm is {vanishing[LSTM, forget bias 5][first]:.2f} at the first "
        "step, and its median over the steps is {vanishing[LSTM, forget bias 5][median]:.1g}",
        "{eigenvalues[units]:d} units fill a disc; the largest has the modulus "
        "{eigenvalues[radius]:.3f}",
        "with the {eigenvalues[units]:d} units of the figure, the largest reaches "
        "{eigenvalues[radius]:.3f}",
        "for four gains: from the last step to the first, it falls to "
        "{gains[gain 0.5][first]:.0e} and {gains[gain 1.0][first]:.0e}, and grows to "
        "{gains[gain 1.5][first]:.0f} and {gains[gain 2.0][first]:.0e}",
        "grows from {gains[gain 1.5][last]:.2f} to {gains[gain 1.5][first]:.0f}, by "
        "{gains[gain 1.5][growth]:percent} % per step",
        "({remembering[epoch 1][first]:.3f} after the first epoch, and "
        "{remembering[epoch 1][lowest]:.4f} at its lowest)",
        "it is below {remembering[epoch 10][bound]:.0e} at the first step after "
        "{remembering[rows]:word} epochs",
    ],
    "docs/training.md": [
        "the best of {losses[epochs]:d}, the {losses[best]:d}th, is marked",
    ],
    "docs/plots.md": [
        "{sequences[shown]:Word} sequences, each with the predicted speaker and its confidence; "
        "{sequences[wrong]:word} error is highlighted",
        "{hidden_states[rows]:d} hidden units over {hidden_states[columns]:d} steps",
        "{saliency[rows]:word} inputs over {saliency[columns]:d} steps",
        "of {over_time[GRU][steps]:d} steps to the gradient of W_hh in {over_time[count]:word} "
        "cells",
        "an untrained tanh RNN of {unrolled_long[units]:d} units reads {unrolled_long[steps]:d} "
        "steps; the gradient is dead after {unrolled_long[alive]:word} of them",
        "A tanh RNN unrolled over {unrolled_long[steps]:d} steps",
    ],
    "docs/audio.md": [
        "takes PyTorch {audio[LSTM 16][ratio]:.1f} times as long with an LSTM of 16 units, and "
        "{audio[GRU 16][ratio]:.1f} times with a GRU of 16",
        "of ten short runs of the LSTM is "
        "{audio[LSTM 16][error_to_signal float32][fastbptt]:.4f} here and "
        "{audio[LSTM 16][error_to_signal float32][PyTorch]:.4f} in PyTorch",
    ],
    "docs/dynamics.md": [
        "{fixed_points[stable]:Word} stable points at the corners of a square of trajectories, and "
        "{fixed_points[unstable]:word} saddles",
        "four combinations of signs are {fixed_points[stable]:word} stable points",
    ],
    "docs/experiments.md": [
        "On PLAID the network is much worse than DTW ({time_series[PLAID][test, median]:.3f} "
        "compared with {time_series[PLAID][1-NN DTW]:.3f})",
        "The network reaches a median of {imdb[IMDB][test, median]:.4f} on the test part, the bag "
        "of words {imdb[IMDB][bag of words]:.4f}",
        "In PyTorch a step takes {imdb_speed[PyTorch][relative to fastbptt]:.1f} times as long, "
        "packed {imdb_speed[packed][relative to fastbptt]:.1f} times",
        "Of the {long_memory[rows]:word} tasks, the GRU solves {long_memory[solved][GRU]:word}, "
        "the LSTM {long_memory[solved][LSTM]:word}, and each plain network "
        "{long_memory[solved][tanh RNN]:word}, the shortest",
    ],
    "docs/performance.md": [
        "would be {rnn[small][bound]:.2f}x at small, {rnn[neuro][bound]:.2f}x at neuro, "
        "{rnn[medium][bound]:.2f}x at medium, {rnn[large][bound]:.2f}x at large, "
        "{rnn[tutorial][bound]:.1f}x at tutorial and {rnn[stream][bound]:.1f}x at stream; for LSTM "
        "{lstm[small][bound]:.2f}x at small, {lstm[neuro][bound]:.2f}x at neuro, "
        "{lstm[medium][bound]:.2f}x at medium",
        *BFLOAT16,
        "Single-step inference reads each weight once, directly from the parameters: "
        "{timings[inference][microseconds]:.1f} µs for an LSTM with 128 units and 16 inputs",
        "With B=64, T=200, I=8, H=128 and default weights, a step takes "
        "{timings[loss at][last]:.1f} ms with the loss at the last step and "
        "{timings[loss at][all]:.1f} ms with the loss at all steps",
        "At medium, with lengths uniform in 1..T, a step takes {timings[lengths][ratio]:.2f} of "
        "the full batch's time",
        "With B=8, I=16, H=128 and the loss at all steps, a step takes "
        "{timings[long][T=100]:.1f} µs per time step at T=100, {timings[long][T=1000]:.1f} at "
        "T=1000 and {timings[long][T=10000]:.1f} at T=10 000",
    ],
    "docs/scaling.md": [],  # its tables come from the record, whole
}
# What a page repeats in words, and the output that it has it from.
ECHOES = {
    "docs/gradients.md": [
        ("falls from 6e-02 at $t = 199$ to 3e-52 at $t = 0$", r"\ntanh RNN +6e-02 .* 3e-52\n"),
        (r"The norm $3 \cdot 10^{-52}$ above", r"\ntanh RNN +6e-02 .* 3e-52\n"),
        ("The factor per step is 0.56, and", r"measured factor per step 0\.56\n"),
        ("by $10^{-11}$ changes the loss by about 3.", r"\ngain 2\.0 .* 3e\+11\n"),
        ("uniform, radius 0.58 |", r"\nradius 0\.58, "),
    ],
}
# Numbers that no kept run has: of the literature, of choices made once, of variants of the code
# that are gone. Phrases of a page, or its sections.
HAND_WRITTEN = {
    "docs/experiments.md": [
        "a single cross-validation of 40 sequences and gave a test accuracy of 0.950",
        "lists 0.993 for JapaneseVowels and 1.000 for GunPoint",
        "1-nearest-neighbour",
        "(of 32 sequences)",
        "ACL 2011",
    ],
    "docs/performance.md": [
        "## Performance",
        "## Element-wise arithmetic outside the tile",
        "## The tile",
        "## Panels and cache sets",
        "## Rows along the lanes",
        "## Several networks in one pass",
        "## Loop order",
        "## Blocks of time",
        "## tanh",
        "## The logistic function",
        "## Prediction",
        "## Readout, loss and Adam",
        "## Small shapes",
        "## Two threads",
        "## Batches of few sequences",
        "At 100 % of the peak",
        "and 20 seeds, the accuracy is 0.9777 (standard deviation 0.0037), compared with 0.9778 "
        "(0.0039) in float32; training takes 0.37 instead of 0.54 s",
        "deviate by 0.2 to 0.6 % (relative norm), with ReLU by up to 10 %",
        "deviations of up to 2 % of a gradient's largest entry, with ReLU 30 %",
        "1.87x and 1.95x faster",
    ],
    "docs/scaling.md": [
        "## Many cores",
        "## What a step consists of",
        "## Where rows run out",
        "## Many sequences to predict",
        "## A plan past these machines",
    ],
}


def text_of(page: str) -> str:
    return " ".join((ROOT / page).read_text("utf-8").split())


@pytest.mark.parametrize("page", SENTENCES)
def test_numbers_are_those_of_the_run(page: str) -> None:
    text = text_of(page)
    for sentence in SENTENCES[page]:
        assert sentence.format_map(numbers()) in text, f"{page} lacks it, or has other numbers"


@pytest.mark.parametrize("page", ECHOES)
def test_numbers_are_those_of_the_code_on_the_page(page: str) -> None:
    text, raw = text_of(page), (ROOT / page).read_text("utf-8")
    for words, output in ECHOES[page]:
        assert words in text
        assert re.search(output, raw), f"{page}: no output is the source of {words}"


@pytest.mark.parametrize(
    "page", [str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")]]
)
def test_no_figure_has_a_number_of_its_own(page: str) -> None:
    """Every number in the description of a figure is in one of the sentences above."""
    text = text_of(page)
    for sentence in SENTENCES.get(page, ()):
        text = text.replace(sentence.format_map(numbers()), "")
    for words in re.findall(r"!\[([^]]*)\]\([^)]*figures/", text):
        assert not NUMBER.search(words), f"{page}: add to SENTENCES: {words}"


def test_every_training_step_is_faster_than_that_of_others() -> None:
    assert "training step is faster than that of every framework we measured" in text_of(
        "README.md"
    )
    for case in training_steps():
        for one in case["systems"]:
            slower = one["system"] == "fastbptt" or one["times_fastbptt"] > 1
            assert slower, f"{case['case']['name']}, {case['case']['cell']}: {one['title']}"


def test_the_page_of_benchmarks_is_that_of_its_measurements() -> None:
    script = load("benchmarks/make_readme_table.py")
    found = json.loads((ROOT / "docs" / "benchmark.json").read_text("utf-8"))
    assert script.page(found) == (ROOT / "docs" / "benchmark.md").read_text("utf-8")
    named = {name for name, chosen in script.PLOTS.items() if script.panels(found, chosen)}
    assert named == {path.name for path in (ROOT / "docs").glob("benchmark*.png")}


def test_the_page_of_sweeps_has_the_tables_of_its_record() -> None:
    script = load("benchmarks/sweeps.py")
    record = json.loads(script.RECORD.read_text("utf-8"))
    assert script.page(record) == script.PAGE.read_text("utf-8")
    assert max(record["overhead"].values()) < 1000  # microseconds


def test_the_page_of_attacks_has_the_table_of_their_record() -> None:
    script = load("tests/attack/run.py")
    record = json.loads(script.RECORD.read_text("utf-8"))
    text = script.PAGE.read_text("utf-8")
    assert script.page(record, text) == text
    for name in record.keys() - {"mutants"}:
        assert f"| `{name}` | " in text.split(script.START)[0], f"{name} is not explained"


def test_the_page_of_mutants_has_the_table_of_their_record() -> None:
    script = load("tests/mutants/run.py")
    record = json.loads(script.RECORD.read_text("utf-8"))
    text = script.PAGE.read_text("utf-8")
    assert script.page(record, text) == text
    found = [record["mutants"][kind] for kind in ("python", "cpp")]
    planted, caught, explained = (
        sum(one[name] for one in found) for name in ("mutants", "caught", "explained")
    )
    assert planted >= 300
    assert caught >= 0.95 * (planted - explained)


def test_the_page_of_many_cores_is_that_of_its_model() -> None:
    script = load("benchmarks/scaling.py")
    record = json.loads(script.RECORD.read_text("utf-8"))
    text = script.PAGE.read_text("utf-8")
    assert script.page(record, text) == text
    for name in script.SHAPES:  # what the page says of the model
        one, two = (script.predicted(script.PRESETS[name], record["constants"], n) for n in (1, 2))
        real = record["seconds"][name]
        assert abs(one / real["1"] - 1) < 0.2, name
        assert abs(one / two / (real["1"] / real["2"]) - 1) < 0.25, name


def test_the_plan_on_that_page_is_that_of_its_model() -> None:
    script = load("benchmarks/plan.py")
    record = json.loads(script.RECORD.read_text("utf-8"))
    text = script.PAGE.read_text("utf-8")
    assert script.page(record, text) == text
    sums = record["ranks"]["sums"]["shared"]
    assert sums[str(script.parameters("neuro"))] <= 50e-6, "an allreduce at neuro"


def test_the_page_of_many_models_is_that_of_its_measurements() -> None:
    script = load("benchmarks/many_models.py")
    record = json.loads(script.RECORD.read_text("utf-8"))
    text = script.PAGE.read_text("utf-8")
    assert script.page(record, text) == text
    assert {case["hidden"] for case in record["cases"]} <= set(script.SIZES)
    assert all(case["difference"] < 1e-8 for case in record["cases"])


def test_the_page_of_experiments_is_that_of_its_runs() -> None:
    script = load("scripts/make_experiments.py")
    page = script.PAGE.read_text("utf-8")
    records = json.loads(script.RECORD.read_text("utf-8"))
    assert list(records) == list(script.EXPERIMENTS)
    for name, record in records.items():
        assert script.replace(page, name, script.block(record)) == page, name


@pytest.mark.parametrize("page", HAND_WRITTEN)
def test_every_number_is_measured_or_known_to_be_written_by_hand(page: str) -> None:
    raw = (ROOT / page).read_text("utf-8")
    raw = re.sub(r"<!-- (\w+) -->.*?<!-- end of \1 -->", "", raw, flags=re.DOTALL)
    raw = re.sub(r"^# ", "## ", re.sub(r"```.*?```", "", raw, flags=re.DOTALL))
    rest = {part.split("\n")[0]: part for part in re.split(r"(?m)^(?=## )", raw) if part}
    for heading in (one for one in HAND_WRITTEN[page] if one.startswith("#")):
        assert re.search(r"\d", rest.pop(heading)), f"{page}: nothing is by hand in {heading}"
    for heading, part in rest.items():
        text = " ".join(re.sub(r"`[^`]*`|\]\([^)]*\)", "", part).split())
        for sentence in SENTENCES[page]:
            text = text.replace(sentence.format_map(numbers()), "")
        for words in HAND_WRITTEN[page]:
            text = text.replace(words, "")
        assert not re.search(r"(?<![\w-])\d", text), (
            f"{page}, {heading}: no run has a number of: {text}"
        )
