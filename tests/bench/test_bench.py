"""``fastbptt bench``: its definitions are right, it says so before it measures; never a timing."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import FULL_GRID

import fastbptt
from fastbptt import _core, bench, cli, reference
from fastbptt.bench import systems, timing, verify
from fastbptt.bench.case import CHOICES, PRESETS, Case, Problem
from fastbptt.bench.systems import numpy_step
from fastbptt.bench.verify import (
    CHECKS,
    Expected,
    check_gradients,
    check_outputs,
    check_training,
    expected_outputs,
)

MAKE_TABLE = Path(__file__).parent.parent.parent / "benchmarks" / "make_readme_table.py"
TINY = PRESETS["tutorial"].with_(time=4, hidden=8)
TINY_OPTIONS = ["--time", "4", "--hidden", "8", "--threads", "1", "--rounds", "2"]
INSTALLED = [
    name
    for name in bench.COMPETITORS
    if any(systems.obstacle(name, TINY.with_(pass_=one)) is None for one in CHOICES["pass_"])
]
# These run in the process of the tests; other packages get one for each case, which takes seconds.
OWN = [name for name in INSTALLED if not systems.SYSTEMS[name].requires]


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = fastbptt.get_num_threads()
    yield
    fastbptt.set_num_threads(before)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    ragged = TINY.with_(lengths="uniform", cell="gru")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(systems.SYSTEMS, "jax", replace(systems.SYSTEMS["jax"], cells=("abacus",)))
        return bench.measure([PRESETS["tutorial"], ragged], ["numpy", "jax"], rounds=2)


@pytest.fixture(scope="module")
def prediction() -> dict[str, Any]:
    case = PRESETS["single-step"].with_(pass_="forward", hidden=8)
    return bench.measure([case], ["recording", "numpy"], rounds=2)


def test_a_prediction(prediction: dict[str, Any]) -> None:
    found = prediction["cases"][0]
    assert [each["system"] for each in found["systems"]] == ["fastbptt", "numpy"]
    assert found["needed_flops"] == 2 * 4 * (16 * 8 + 8 * 8)
    assert found["systems"][0]["variant"] in ("forward", "predict")
    assert found["left_out"][0]["reason"] == "has no forward pass here"
    text = bench.write(prediction, "table")
    assert "custom (1, 1, 16, 8, 1, all; lstm, forward, float32): 0.00154 MFLOP a pass" in text
    assert "training step" not in text
    assert "\nfastbptt, recording has no forward pass here\n" in text
    assert "(1, 1, 16, 8, 1, all; lstm, forward) | fastbptt" in bench.write(prediction, "md")


MINI = PRESETS["medium"].with_(batch=7, time=6, input=3, hidden=5)
# Every loss, place of the loss, kind of lengths and dtype.
KINDS = [
    MINI.with_(loss=loss, output=targets, steps=steps, lengths=lengths, dtype=dtype)
    for loss, steps, lengths, dtype in itertools.product(
        *(CHOICES[name] for name in ("loss", "steps", "lengths", "dtype"))
    )
    for targets in [MINI.output - MINI.output % fastbptt.Loss(loss).outputs]
]
# Every cell, plain and stacked, in one direction and both.
NETWORKS = [
    MINI.with_(
        cell=cell,
        loss="mse" if steps == "all" else "bce",
        steps=steps,
        lengths=lengths,
        layers=layers,
        bidirectional=both,
    )
    for cell in CHOICES["cell"]
    for layers, both in ((1, False), (3, False), (1, True), (2, True))
    for steps, lengths in (("last", "fixed"), ("last", "uniform"), ("all", "uniform"))
]
# Enough for systems that compile for seconds.
FEW = [
    *(
        case
        for case in KINDS
        if case.dtype == "float32" and (case.loss == "mse") is (case.steps == "all")
    ),
    *(
        MINI.with_(cell=cell, layers=layers, bidirectional=both)
        for cell in CHOICES["cell"]
        for layers, both in ((1, False), (2, True))
        if cell != "rnn" or layers > 1
    ),
]


def _id(case: Case) -> str:
    return f"{case.cell}-{case.loss}-{case.shape}-{case.dtype}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_right_on_a_few_steps(name: str) -> None:
    case = PRESETS[name]
    problem = Problem(case.with_(time=min(case.time, 4)))
    expected = Expected(problem)
    check_training(problem, expected)
    for module in (numpy_step, systems.SYSTEMS["fastbptt"].load()):
        for build in module.variants(problem, 1).values():
            results = build().results()
            check_gradients(name, problem.case, expected, results["loss"], results)


@pytest.mark.parametrize("case", KINDS + NETWORKS, ids=_id)
def test_every_kind_of_prediction_is_right(case: Case) -> None:
    problem = Problem(case.with_(pass_="forward"))
    expected = expected_outputs(problem)
    for name in ("fastbptt", "numpy"):
        if systems.obstacle(name, problem.case) is None:
            for build in systems.SYSTEMS[name].load().variants(problem, 1).values():
                check_outputs(name, problem, expected, build().outputs())
                check_outputs(name, problem, expected, build().results()["outputs"])


def test_outputs_that_are_wrong_are_refused() -> None:
    problem = Problem(TINY.with_(pass_="forward", steps="all", lengths="uniform", loss="mse"))
    right = expected_outputs(problem)
    check = CHECKS["forward"](problem)
    check("numpy", {"outputs": right * (1 + 1e-5)})
    after = np.arange(4) > problem.last[:, np.newaxis]
    assert after.any()
    check("numpy", {"outputs": np.where(after[..., np.newaxis], 7, right)})
    for wrong in (1.001 * right, np.where(after[..., np.newaxis], right, np.nan)):
        with pytest.raises(ValueError, match="numpy disagrees with the reference: output has a"):
            check("numpy", {"outputs": wrong})
    with pytest.raises(ValueError, match=r"have shape \(5, 1\); expected \(5, 4, 1\)"):
        check("numpy", {"outputs": right[:, 0]})


@pytest.mark.parametrize("case", KINDS + NETWORKS, ids=_id)
def test_every_kind_of_case_is_right(case: Case) -> None:
    problem = Problem(case)
    expected = Expected(problem)
    check_training(problem, expected)
    if systems.obstacle("numpy", case) is None:
        system = numpy_step.NumPy(problem)
        check_gradients("numpy", case, expected, *system.loss_and_gradients())
        check_gradients("numpy", case, expected, *system.loss_and_gradients())


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("case", FEW, ids=_id)
def test_every_way_computes_the_same(case: Case, name: str) -> None:
    entry = systems.SYSTEMS[name]
    for pass_ in CHOICES["pass_"]:
        case = case.with_(pass_=pass_)
        if systems.obstacle(name, case) is None:
            problem = Problem(case)
            check = CHECKS[pass_](problem)
            for build in entry.load().variants(problem, 1, **dict(entry.options)).values():
                check(name, build().results())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "name"),
    [
        *zip(FEW[::12], itertools.cycle(INSTALLED)),
        *(itertools.product(FEW, sorted({*INSTALLED} - {*OWN})) if FULL_GRID else ()),
    ],
    ids=lambda one: one if isinstance(one, str) else _id(one),
)
def test_competitors_compute_the_same(case: Case, name: str) -> None:
    for pass_ in CHOICES["pass_"]:
        case = case.with_(pass_=pass_)
        found = bench.measure([case], [name], rounds=1)["cases"][0]
        reason = systems.obstacle(name, case)
        names = ["fastbptt", name][: 1 + (not reason)]
        assert [each["system"] for each in found["systems"]] == names
        assert [(each["system"], each["reason"]) for each in found["left_out"]] == (
            [(name, reason)] if reason else []
        )


def test_cells_that_a_system_lacks_are_named() -> None:
    lacking = {
        (name, cell): reason
        for name, entry in systems.SYSTEMS.items()
        for cell in CHOICES["cell"]
        if entry.cells
        and (reason := systems.obstacle(name, TINY.with_(cell=cell, pass_=entry.passes[0])))
        and "installed" not in reason
    }
    assert lacking[("onednn", "leaky")] == "has no leaky cell"
    assert lacking[("onnxruntime", "leaky")] == "has no leaky cell"
    for (name, cell), reason in lacking.items():
        assert cell not in systems.SYSTEMS[name].cells
        assert reason == f"has no {cell} cell"


def test_passes_that_a_system_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for name, entry in systems.SYSTEMS.items():
        assert set(entry.passes) <= set(CHOICES["pass_"])
        for pass_ in CHOICES["pass_"]:
            reason = systems.obstacle(name, TINY.with_(pass_=pass_))
            assert (reason == f"has no {pass_} pass here") == (pass_ not in entry.passes)
    for name in ("recording", "onednn"):
        assert systems.SYSTEMS[name].passes == ("training",)
    assert systems.SYSTEMS["onnxruntime"].passes == ("forward",)


def test_a_prediction_needs_no_loss() -> None:
    case = TINY.with_(loss="huber")
    assert systems.obstacle("numpy", case) == "has no huber loss"
    assert systems.obstacle("numpy", case.with_(pass_="forward")) is None


def test_two_directions_with_lengths_are_not_for_everybody() -> None:
    case = TINY.with_(lengths="uniform", bidirectional=True)
    assert systems.obstacle("numpy", case) is None
    assert systems.obstacle("fastbptt", case) is None
    reason = systems.obstacle("torch", case)
    assert reason is not None
    assert "unequal length" in reason


@pytest.mark.parametrize("cell", CHOICES["cell"])
def test_numpy_trains_as_the_reference_does(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_step, "TIMED_LR", verify.CHECK_LR)
    problem = Problem(TINY.with_(dtype="float64", cell=cell))
    if systems.obstacle("numpy", problem.case) is not None:
        pytest.skip("NumPy does not have the cell")
    expected = Expected(problem)
    system = numpy_step.NumPy(problem)
    system.run(3)
    for name, first in problem.params.items():
        np.testing.assert_allclose(system.p[name] - first, expected.movement[name], rtol=1e-6)


def test_needed_work() -> None:
    assert Problem(PRESETS["tutorial"]).needed_flops == 2 * 5 * 10 * (2 * 32 * 64 + 3 * 64 * 64)
    problem = Problem(TINY.with_(lengths="uniform"))
    assert problem.lengths is not None
    assert problem.lengths.max() == 4
    assert problem.needed_flops == 2 * problem.lengths.sum() * (2 * 32 * 8 + 3 * 8 * 8)
    assert problem.step_weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("cell", CHOICES["cell"])
def test_needed_work_of_cells_and_stacks(cell: str) -> None:
    case = TINY.with_(cell=cell)
    gates = Problem(case).model.parameters["W_hh"].shape[1] // 8
    assert Problem(case).needed_flops == 2 * 20 * gates * (2 * 32 * 8 + 3 * 8 * 8)
    upper = 2 * 20 * gates * (3 * 8 * 8 + 3 * 8 * 8)
    for layers in (1, 2, 3):
        work = Problem(case.with_(layers=layers)).needed_flops
        assert work == Problem(case).needed_flops + (layers - 1) * upper
    both = 2 * 2 * 20 * gates * ((2 * 32 * 8 + 3 * 8 * 8) + (3 * 16 * 8 + 3 * 8 * 8))
    assert Problem(case.with_(layers=2, bidirectional=True)).needed_flops == both


@pytest.mark.parametrize("cell", CHOICES["cell"])
def test_needed_work_of_predictions(cell: str) -> None:
    case = TINY.with_(cell=cell, pass_="forward")
    gates = reference.CELLS[cell].GATES
    first, upper = 2 * 20 * gates * (32 * 8 + 8 * 8), 2 * 20 * gates * (16 * 8 + 8 * 8)
    assert Problem(case).needed_flops == first
    assert Problem(case.with_(layers=2, bidirectional=True)).needed_flops == 2 * (first + upper)


def test_gated_cells_count_their_gates() -> None:
    plain = Problem(TINY).needed_flops
    for cell, gates in (("relu", 1), ("leaky", 1), ("gru", 3), ("gru_before", 3), ("lstm", 4)):
        assert Problem(TINY.with_(cell=cell)).needed_flops == gates * plain


def test_presets() -> None:
    sizes = {
        name: (case.batch, case.time, case.input, case.hidden, case.output, case.steps)
        for name, case in PRESETS.items()
    }
    assert sizes == {
        "tutorial": (5, 10, 32, 64, 1, "last"),
        "small": (32, 50, 32, 64, 1, "last"),
        "neuro": (64, 200, 8, 128, 2, "all"),
        "medium": (64, 100, 128, 256, 10, "last"),
        "large": (128, 50, 512, 1024, 10, "last"),
        "stream": (1, 2000, 16, 128, 1, "all"),
        "audio": (40, 512, 1, 40, 1, "all"),
        "nano": (16, 512, 1, 8, 1, "all"),
        "sensor": (20, 100, 5, 20, 3, "last"),
        "series": (20, 100, 10, 100, 3, "last"),
        "eeg": (20, 100, 30, 300, 3, "last"),
        **{f"tiny-{units}": (100, 150, 3, units, 2, "all") for units in (1, 2, 5, 10, 20)},
        "sequence": (1, 100, 16, 64, 1, "all"),
        "single-step": (1, 1, 16, 128, 1, "all"),
    }
    cells = {name: case.cell for name, case in PRESETS.items() if case.cell != "rnn"}
    gru = dict.fromkeys(("sensor", *(f"tiny-{units}" for units in (1, 2, 5, 10, 20))), "gru")
    lstm = dict.fromkeys(("audio", "nano", "eeg", "sequence", "single-step"), "lstm")
    assert cells == lstm | gru
    assert {name for name, case in PRESETS.items() if case.dtype == "float64"} == {
        name for name in gru if name != "sensor"
    }


def test_changed_cases_lose_their_name() -> None:
    small = PRESETS["small"]
    assert small.with_(hidden=None) == small
    assert small.with_(hidden=64, seed=3, dtype="float64").name == "small"
    assert small.with_(cell="lstm").name == "small"
    assert small.with_(pass_="forward").name == "small"
    assert small.network == "rnn"
    assert small.with_(pass_="forward", dtype="float64").network == "rnn, float64, forward"
    assert small.with_(hidden=65).name == "custom"
    assert small.with_(layers=2).name == "custom"
    assert small.with_(bidirectional=True).name == "custom"
    assert small.with_(lengths="uniform").name == "custom"
    stack = small.with_(layers=2, bidirectional=True, lengths="uniform")
    assert stack.shape == "32, 50, 32, 64, 1, last, 2 layers, both directions, uniform lengths"
    assert stack.suffixes == [["", "_reverse"], ["_l1", "_l1_reverse"]]


def test_the_same_data_in_every_process() -> None:
    one, two = Problem(TINY), Problem(TINY)
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.y, two.y)
    np.testing.assert_array_equal(one.model.parameters.flat, two.model.parameters.flat)


def test_what_is_measured(result: dict[str, Any]) -> None:
    assert [found["case"]["name"] for found in result["cases"]] == ["tutorial", "custom"]
    for found in result["cases"]:
        ours, numpy = found["systems"]
        assert (ours["system"], numpy["system"]) == ("fastbptt", "numpy")
        assert ours["times_fastbptt"] == 1
        for each in (ours, numpy):
            assert 0 < each["best_seconds"] <= each["median_seconds"]
            assert each["share_of_peak"] == pytest.approx(each["flops"] / found["peak_flops"])
            assert each["flops"] == pytest.approx(found["needed_flops"] / each["best_seconds"])
            assert each["peak_memory_bytes"] > 2**20
            assert each["rounds"] == 2
            assert each["steps_per_round"] >= 1
        assert numpy["times_fastbptt"] == numpy["best_seconds"] / ours["best_seconds"]
        assert np.__version__ in numpy["version"]
        cell = found["case"]["cell"]
        assert found["left_out"] == [
            {"system": "jax", "title": "JAX", "reason": f"has no {cell} cell"}
        ]
    assert result["machine"]["instruction_set"] == _core.active_backend()
    assert result["machine"]["threads"] == 1


def test_a_time_instead_of_rounds() -> None:
    found = bench.measure([TINY], seconds=0.01)
    assert found["cases"][0]["systems"][0]["rounds"] >= 3


def test_table(result: dict[str, Any]) -> None:
    text = bench.write(result, "table")
    assert result["machine"]["processor"] in text
    assert "tutorial (5, 10, 32, 64, 1, last; rnn, bce, float32): 1.64 MFLOP a step" in text
    assert "custom (5, 4, 32, 8, 1, last, uniform lengths; gru, bce, float32)" in text
    assert "\nJAX has no rnn cell\n" in text
    assert "\nJAX has no gru cell\n" in text
    rows = [
        line for line in text.splitlines() if line.startswith(("system", "fastbptt ", "NumPy "))
    ]
    assert len(rows[0]) == len(rows[1]) == len(rows[2])
    assert max(map(len, rows)) <= 100


def test_markdown(result: dict[str, Any]) -> None:
    rows = [line for line in bench.write(result, "md").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 6
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| **tutorial** (5, 10, 32, 64, 1, last; rnn) | fastbptt |")
    assert rows[4].startswith("|  | JAX | has no rnn cell |")


def test_csv(result: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(bench.write(result, "csv"))))
    assert [(row["name"], row["system"]) for row in rows] == [
        ("tutorial", "fastbptt"),
        ("tutorial", "numpy"),
        ("tutorial", "jax"),
        ("custom", "fastbptt"),
        ("custom", "numpy"),
        ("custom", "jax"),
    ]
    assert float(rows[1]["best_seconds"]) == result["cases"][0]["systems"][1]["best_seconds"]
    assert (rows[0]["reason"], rows[2]["reason"]) == ("", "has no rnn cell")
    assert rows[2]["best_seconds"] == ""


def test_plot(result: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "bench.png"
    bench.plot(result, file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_page(
    result: dict[str, Any],
    prediction: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib")
    if not MAKE_TABLE.exists():
        pytest.skip("without the scripts of the source tree")
    source = tmp_path / "measured.json"
    small, custom = result["cases"]
    small = {**small, "case": small["case"] | {"name": "small"}}  # a panel of the plot
    times = {"seconds": 0.5, "epochs": 6.0, "accuracy": 0.97}
    cold = {"systems": {"fastbptt": times, "PyTorch": times | {"seconds": 4.0}}, "seeds": 3}
    whole = {"cases": [small, custom, *prediction["cases"]], "cold_start": cold}
    source.write_text(json.dumps(result | whole | {"date": "2026-01-31"}), encoding="utf-8")
    script = [str(MAKE_TABLE), "--from", str(source), "--docs", str(tmp_path / "docs")]
    monkeypatch.setattr(sys, "argv", script)
    runpy.run_path(str(MAKE_TABLE), run_name="__main__")
    made = sorted(file.name for file in (tmp_path / "docs").iterdir())
    assert made == ["benchmark.json", "benchmark.md", "benchmark.png"]
    page = (tmp_path / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert page.startswith("# Benchmark\n")
    assert "(benchmark.png)" in page
    assert result["machine"]["processor"] in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows[:4]}) == 1
    assert "| GRU |" in rows[3]
    prediction_part = page.split("## Prediction\n")[1].split("\n## ")[0]
    assert "| LSTM |" in prediction_part
    assert "small" not in prediction_part
    assert "| PyTorch | 4.00 s | 6 | 8.0 |" in page
    # pages that were measured before there were other cells
    assert bench.write({**result, "cases": [_before_cells(result)]}, "md")


def test_what_the_page_measures_is_there() -> None:
    if not MAKE_TABLE.exists():
        pytest.skip("without the scripts of the source tree")
    script = runpy.run_path(str(MAKE_TABLE))
    cases = {
        (pass_, preset, cell)
        for (pass_, cell), presets in script["MEASURED"].items()
        for preset in presets
    }
    assert {preset for _, preset, _ in cases} == set(PRESETS)
    # of leaky units and of other nonlinearities one
    variants = ("rnn_", "leaky_")
    plain = {one for one in CHOICES["cell"] if not one.startswith(variants)}
    assert {cell for _, _, cell in cases} == plain
    assert {pass_ for pass_, _, _ in cases} == set(CHOICES["pass_"])
    for chosen in script["PLOTS"].values():
        assert set(chosen) <= cases
    assert set(script["AGAINST"].split(",")) <= set(bench.COMPETITORS)


def _before_cells(result: dict[str, Any]) -> dict[str, Any]:
    old = dict(result["cases"][0])
    del old["left_out"]
    old["case"] = {k: v for k, v in old["case"].items() if k not in ("layers", "bidirectional")}
    return old


def test_plot_without_matplotlib(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        bench.plot(result, "never.png")


@pytest.mark.slow
def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["bench", "--preset", "tutorial,stream", "--against", "numpy", "--batch", "2"]
    command += ["--output", "json", "--steps", "all", "--lengths", "uniform", "--dtype", "float64"]
    command += ["--loss", "mse", "--output-size", "3", "--cell", "rnn", "--seed", "5"]
    assert cli.main([*command, *TINY_OPTIONS]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    case = TINY.with_(batch=2, steps="all", lengths="uniform", dtype="float64", loss="mse")
    case = case.with_(output=3, seed=5)
    assert Case(**found["cases"][0]["case"]) == case
    assert Case(**found["cases"][1]["case"]) == case.with_(input=16)
    assert "preparing numpy" in err


@pytest.mark.slow
@pytest.mark.parametrize("cell", CHOICES["cell"])
def test_command_knows_every_cell(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "--preset", "tutorial", "--cell", cell, "--layers", "2", "--bidirectional"]
    assert cli.main([*command, "--json", *TINY_OPTIONS]) == 0
    found = json.loads(capsys.readouterr().out)["cases"][0]
    assert Case(**found["case"]) == TINY.with_(cell=cell, layers=2, bidirectional=True)
    assert found["systems"][0]["flops"] > 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--preset", "huge"], "'huge' is unknown"),
        (["--against", "numpy,abacus"], "'abacus' is unknown"),
        (["--batch", "0"], "'0' is not a positive whole number"),
        (["--output", "10"], "invalid choice: '10'"),
        (["--cell", "perceptron"], "invalid choice: 'perceptron'"),
        (["--layers", "0"], "'0' is not a positive whole number"),
        (["--lengths", "odd"], "invalid choice: 'odd'"),
        (["--seconds", "0"], "'0' is not a positive number"),
        (["--rounds", "2", "--seconds", "1"], "not allowed with argument"),
        (["--pass", "backward"], "invalid choice: 'backward'"),
        (
            ["--pass", "forward", "--loss", "mse"],
            "argument --loss: not allowed with argument --pass forward",
        ),
    ],
)
def test_wrong_usage(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", *options])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err


def test_all_names() -> None:
    arguments = cli._program().parse_args(["bench", "--preset", "all", "--against", "all"])
    assert arguments.preset == list(PRESETS)
    assert arguments.against == list(bench.COMPETITORS)


@pytest.mark.parametrize("what", ["loss", "W_hh", "weights"])
def test_no_number_if_fastbptt_disagrees(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loss_and_grad, adam_step = reference.loss_and_grad, reference.adam_step

    def other(*args: Any, **more: Any) -> Any:
        loss, grads = loss_and_grad(*args, **more)
        if what == "loss":
            loss *= 1.001
        if what == "W_hh":
            grads["W_hh"][2, 3] += 0.01 * abs(grads["W_hh"]).max()
        return loss, grads

    def slower(*args: Any, lr: float) -> None:
        adam_step(*args, lr=lr * 0.9 if what == "weights" else lr)

    monkeypatch.setattr(reference, "loss_and_grad", other)
    monkeypatch.setattr(reference, "adam_step", slower)
    assert cli.main(["bench", *TINY_OPTIONS]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "fastbptt disagrees with the reference" in err
    assert {"loss": "loss", "W_hh": "gradient of W_hh", "weights": "after 3 steps"}[what] in err


def test_no_number_if_a_competitor_disagrees(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(name: str, case: Case, expected: Expected, loss: float, gradients: Any) -> None:
        if name != "fastbptt":
            gradients["b_y"] *= np.nan
        check_gradients(name, case, expected, loss, gradients)

    monkeypatch.setattr(verify, "check_gradients", wrong)
    assert cli.main(["bench", "--against", "numpy", *TINY_OPTIONS]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "numpy disagrees with the reference: gradient of b_y" in err


def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    assert cli.main(["bench", "--against", "torch,numpy", "--json", *TINY_OPTIONS]) == 0
    out, err = capsys.readouterr()
    assert "torch is not installed (torch)" in err
    found = json.loads(out)["cases"][0]["systems"]
    assert [each["system"] for each in found] == ["fastbptt", "numpy"]


def test_a_system_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASTBPTT_ISA", "abacus")
    assert cli.main(["bench", *TINY_OPTIONS]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "fastbptt failed" in err
    assert "abacus" in err


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_limited_in_every_library(threads: int) -> None:
    environment = timing._environment(threads)
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == str(threads)
    assert ("XLA_FLAGS" in environment and "eigen=false" in environment["XLA_FLAGS"]) == (
        threads == 1
    )
    assert len(timing._processors(threads)) <= threads
