"""``fastbptt bench``: its definitions are right, it says so before it measures; never a timing."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _core, bench, cli, reference
from fastbptt.bench import check, systems, timing
from fastbptt.bench.case import CHOICES, PRESETS, Case, Problem
from fastbptt.bench.check import Expected, check_gradients, check_training
from fastbptt.bench.systems import numpy_step

TINY = PRESETS["tutorial"].with_(time=4, hidden=8)
TINY_OPTIONS = ["--time", "4", "--hidden", "8", "--threads", "1", "--rounds", "2"]
INSTALLED = [name for name in bench.COMPETITORS if systems.obstacle(name, TINY) is None]


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = fastbptt.get_num_threads()
    yield
    fastbptt.set_num_threads(before)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    ragged = TINY.with_(lengths="uniform")
    return bench.measure([PRESETS["tutorial"], ragged], ["numpy"], rounds=2)


# Every loss, place of the loss, kind of lengths and dtype.
KINDS = [
    PRESETS["medium"].with_(
        batch=7, time=6, input=3, hidden=5, loss=loss, steps=steps, lengths=lengths, dtype=dtype
    )
    for loss, steps, lengths, dtype in itertools.product(
        *(CHOICES[name] for name in ("loss", "steps", "lengths", "dtype"))
    )
]
# Enough for systems that compile for seconds.
FEW_KINDS = [
    case
    for case in KINDS
    if case.dtype == "float32" and (case.loss == "mse") is (case.steps == "all")
]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_right_on_a_few_steps(name: str) -> None:
    case = PRESETS[name]
    problem = Problem(case.with_(time=min(case.time, 4)))
    expected = Expected(problem)
    check_training(problem, expected)
    for module in (numpy_step, systems.SYSTEMS["fastbptt"].load()):
        for build in module.variants(problem, 1).values():
            check_gradients(name, problem.case, expected, *build().loss_and_gradients())


@pytest.mark.parametrize("case", KINDS, ids=lambda case: f"{case.loss}-{case.shape}-{case.dtype}")
def test_every_kind_of_case_is_right(case: Case) -> None:
    problem = Problem(case)
    expected = Expected(problem)
    check_training(problem, expected)
    system = numpy_step.NumPy(problem)
    check_gradients("numpy", case, expected, *system.loss_and_gradients())
    check_gradients("numpy", case, expected, *system.loss_and_gradients())


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize(
    "case",
    FEW_KINDS,
    ids=lambda case: f"{case.loss}-{case.shape}",
)
def test_competitors_compute_the_same(name: str, case: Case) -> None:
    found = bench.measure([case], [name], rounds=1)["cases"][0]["systems"]
    assert [each["system"] for each in found] == ["fastbptt", name]


def test_numpy_trains_as_the_reference_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_step, "TIMED_LR", check.CHECK_LR)
    problem = Problem(TINY.with_(dtype="float64"))
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
    }


def test_changed_cases_lose_their_name() -> None:
    small = PRESETS["small"]
    assert small.with_(hidden=None) == small
    assert small.with_(hidden=64, seed=3, dtype="float64").name == "small"
    assert small.with_(hidden=65).name == "custom"
    assert small.with_(lengths="uniform").name == "custom"


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
    assert result["machine"]["instruction_set"] == _core.active_backend()
    assert result["machine"]["threads"] == 1


def test_a_time_instead_of_rounds() -> None:
    found = bench.measure([TINY], seconds=0.01)
    assert found["cases"][0]["systems"][0]["rounds"] >= 3


def test_table(result: dict[str, Any]) -> None:
    text = bench.write(result, "table")
    assert result["machine"]["processor"] in text
    assert "tutorial (5, 10, 32, 64, 1, last; rnn, bce, float32): 1.64 MFLOP a step" in text
    assert "custom (5, 4, 32, 8, 1, last, uniform lengths; rnn, bce, float32)" in text
    rows = [
        line for line in text.splitlines() if line.startswith(("system", "fastbptt ", "NumPy "))
    ]
    assert len(rows[0]) == len(rows[1]) == len(rows[2])
    assert max(map(len, rows)) <= 100


def test_markdown(result: dict[str, Any]) -> None:
    rows = [line for line in bench.write(result, "md").splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| **tutorial** (5, 10, 32, 64, 1, last) | fastbptt |")


def test_csv(result: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(bench.write(result, "csv"))))
    assert [(row["name"], row["system"]) for row in rows] == [
        ("tutorial", "fastbptt"),
        ("tutorial", "numpy"),
        ("custom", "fastbptt"),
        ("custom", "numpy"),
    ]
    assert float(rows[1]["best_seconds"]) == result["cases"][0]["systems"][1]["best_seconds"]


def test_plot(result: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "bench.png"
    bench.plot(result, file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib.backends.backend_agg", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"pip install 'fastbptt\[bench\]'"):
        bench.plot(result, "never.png")


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


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--preset", "huge"], "'huge' is unknown"),
        (["--against", "numpy,abacus"], "'abacus' is unknown"),
        (["--batch", "0"], "'0' is not a positive whole number"),
        (["--output", "10"], "invalid choice: '10'"),
        (["--cell", "perceptron"], "invalid choice: 'perceptron'"),
        (["--lengths", "odd"], "invalid choice: 'odd'"),
        (["--seconds", "0"], "'0' is not a positive number"),
        (["--rounds", "2", "--seconds", "1"], "not allowed with argument"),
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
    arguments = cli._parser().parse_args(["bench", "--preset", "all", "--against", "all"])
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
        gradients["b_y"] *= 1 if name == "fastbptt" else np.nan
        check_gradients(name, case, expected, loss, gradients)

    monkeypatch.setattr(timing, "check_gradients", wrong)
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
