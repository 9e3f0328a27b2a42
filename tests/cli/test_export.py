"""``fastbptt export``: the C file reads what the command line reads, and predicts the same."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequence_files import Task

import fastbptt
from fastbptt.cli import main

COMPILER = shutil.which("cc")


def program(place: Path, name: str) -> Any:
    """Compile one exported model."""
    assert COMPILER is not None
    command = [COMPILER, "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", f"{name}.c"]
    subprocess.run([*command, "-o", f"{name}.so", "-lm"], cwd=place, check=True)
    return ctypes.CDLL(str(place / f"{name}.so"))


def last_outputs(library: Any, name: str, x: Any, outputs: int, state: int) -> Any:
    """The outputs at the end of one sequence, (steps, features) as they are in the file."""
    x, y = np.ascontiguousarray(x, np.float32), np.zeros((len(x), outputs), np.float32)
    memory = np.zeros(state, np.uint8)
    at = [ctypes.c_void_p(one.ctypes.data) for one in (memory, x, y)]
    getattr(library, f"{name}_reset")(at[0])
    getattr(library, f"{name}_run")(at[0], at[1], ctypes.c_size_t(len(x)), at[2])
    return y[-1]


SMALL = ["--hidden", "5", "--epochs", "3", "--quiet"]


@pytest.mark.skipif(COMPILER is None, reason="no C compiler, cc")
@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("label", ["--missing", "mask"]),
        pytest.param("price", ["--target-column", "price"], marks=pytest.mark.slow),
        pytest.param(
            "price", ["--target-column", "price", "--loss", "gaussian"], marks=pytest.mark.slow
        ),
    ],
)
def test_the_program_predicts_the_same(
    what: str,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    task = Task(12)
    if "mask" in options:
        for one in task.x:
            one[::4, 1] = np.nan
    path = task.csv(Path("data.csv"), what)
    Path(path).write_text(re.sub(r"\bnan\b", "", Path(path).read_text()))
    assert main(["train", path, *options, *SMALL, "-o", "m.st"]) == 0
    capsys.readouterr()
    assert main(["export", "m.st", "net.c", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (
        main(["predict", "m.st", path, "--json", *(["--probabilities"] * (what == "label"))]) == 0
    )
    rows = json.loads(capsys.readouterr().out)["predictions"]
    names = [
        name for name in rows[0] if name.startswith(("P(", "predicted")) and rows[0][name] != ""
    ]
    names = [name for name in names if isinstance(rows[0][name], float)]
    library, scale = program(tmp_path, "net"), max(abs(row[names[0]]) for row in rows)
    for one, row in zip(task.x, rows, strict=True):
        found = last_outputs(library, "net", one, len(names), made["state"])
        expected = [row[name] for name in names]
        # the file's numbers, of about 5000, are floats in C
        assert np.abs(found - expected).max() <= 1e-5 * max(scale, 1.0)
    header = Path("net.h").read_text()
    assert "x[0]: height" in header and "in the units of the data" in header
    if what == "label":
        assert "probabilities" in header and "NaN is a missing value" in header
        assert f"y[{len(names) - 1}]: up" in header


def test_what_an_export_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = fastbptt.GRU(2, 4, 3, seed=0)
    scaler = {"mean": [5000.0, 0.0], "scale": [300.0, 1.0]}
    model.save(
        "m.st", metadata={"task": "classification", "loss": "cross_entropy", "standardize": scaler}
    )
    path = Task(6).csv(Path("data.csv"), "none")
    assert main(["export", "m.st", "m.c", "--weights", "int8"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Wrote m.c and m.h"
    assert re.fullmatch(r"Memory: \d+ bytes of constants, 16 bytes per state and \d+ .*", out[1])
    assert "--data FILE measures it" in out[2]
    assert out[3] == "Functions: m_reset, m_step, m_run"
    assert main(["export", "m.st", "m.c", "--weights", "int8", "--data", path]) == 0
    error = float(re.findall("at most (.*) on these data", capsys.readouterr().out)[0])
    assert 1e-5 < error < 0.02
    assert main(["export", "m.st", "m.c", "--weights", "int8", "--data", path, "--raw"]) == 0
    raw = float(re.findall("at most (.*) on these data", capsys.readouterr().out)[0])
    assert raw > error  # of outputs, not of probabilities
    offset = {"task": "regression", "loss": "mse", "target_offset": [1e7, 1e7, 1e7]}
    model.save("m.st", metadata=offset)
    assert main(["export", "m.st", "m.c"]) == 1
    assert (
        "--raw is not given, but the model's metadata have a target_offset"
        in capsys.readouterr().err
    )
    model.save("m.st", metadata={"task": "classification", "loss": "cross_entropy"})
    assert main(["export", "m.st", "m.onnx"]) == 1
    assert "trained with outputs that cross_entropy turns into" in capsys.readouterr().err
    assert not Path("m.onnx").exists() and main(["export", "m.st", "m.onnx", "--raw"]) == 0


def test_the_header_names_targets_and_tells_of_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Task(8).csv(Path("data.csv"), "price")
    options = ["--target-column", "price", "--missing", "interpolate"]
    assert main(["train", path, *options, *SMALL, "-o", "m.st"]) == 0
    assert main(["export", "m.st", "m.c"]) == 0
    header = Path("m.h").read_text()
    assert "y[0]: price" in header
    assert "Never NaN: training interpolated missing values" in header
    capsys.readouterr()
    assert main(["export", "m.st", "m.onnx"]) == 1
    assert "missing values interpolated, which ONNX cannot hold" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["keras", "guitarml"])
def test_a_skip_connection_goes_from_file_to_file(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = fastbptt.LSTM(1, 4, 1, seed=0)
    fastbptt.interchange.to_rtneural(model, "amp.json", form=form, skip=True)
    assert main(["export", "amp.json", "x.nam", "--skip", "--sample-rate", "48000"]) == 0
    x = np.linspace(-0.5, 0.5, 20).reshape(1, 20, 1)
    expected = model.forward(x).outputs + x
    found = fastbptt.interchange.from_nam("x.nam").forward(x).outputs
    assert np.abs(found - expected).max() < 1e-6
    capsys.readouterr()
    key = "in_skip" if form == "keras" else "model_data.skip"
    for line, message in (
        ("amp.json y.nam --sample-rate 48000", f"{key} is 1; expected 0, or --skip and the first"),
        ("amp.json y.c", f"{key} is 1; expected 0: C99 source and header cannot hold it"),
        ("plain.json y.nam --skip", "expected a skip connection because --skip"),
    ):
        fastbptt.interchange.to_rtneural(model, "plain.json", form=form)
        assert main(["export", *line.split()]) == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("y.*"))


def test_options_of_networks_for_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same files as the function writes; its errors name options."""
    monkeypatch.chdir(tmp_path)
    model = fastbptt.GRU(2, 4, 3, seed=0, dtype="float64")
    model.save("m.st", metadata={"task": "classification", "loss": "cross_entropy"})
    for line, arguments in (
        ("--activation softmax --dtype float32", {"activation": "softmax", "dtype": "float32"}),
        (
            "--raw --dtype float64 --single-step --opset 20",
            {"dtype": "float64", "single_step": True, "opset": 20},
        ),
        (
            "--raw --dtype float32 --states --lengths --steps all",
            {"dtype": "float32", "states": True, "lengths": True, "steps": "all"},
        ),
    ):
        assert main(["export", "m.st", "m.onnx", *line.split()]) == 0
        assert Path("m.onnx").read_bytes() == fastbptt.interchange.to_onnx(model, **arguments)
    capsys.readouterr()
    for line, message in (
        ("", "which ONNX cannot hold; expected --raw, and a program that does the same with the "),
        ("", "; --activation softmax makes probabilities"),
        ("--activation sigmoid", "outputs that cross_entropy turns into predictions, which ONNX"),
        ("--raw", "--dtype is not given, but the model has float64"),
        ("--raw", "; expected --dtype float32, which rounds the weights, or --dtype float64"),
        (
            "--raw --dtype float32 --single-step --states",
            "--states is given, but --single-step; expected none: one step at a time has its",
        ),
        ("--raw --dtype float32 --opset 3", "--opset is 3; expected 14 to 22"),
    ):
        assert main(["export", "m.st", "m.onnx", *line.split()]) == 1
        assert message in capsys.readouterr().err
    fastbptt.LSTM(1, 4, 1, seed=0).save("a.st")
    assert main(["export", "a.st", "a.nam", "--sample-rate", "44.1"]) == 1
    err = capsys.readouterr().err
    assert "--sample-rate is 44.1; expected a rate in Hz from 1000 to 10000000" in err
    assert main(["export", "a.st", "a.nam"]) == 1
    assert "--sample-rate is not given; expected the rate" in capsys.readouterr().err
    fastbptt.LSTM(2, 4, 1, seed=0).save("a.st")
    assert main(["export", "a.st", "a.nam", "--skip", "--sample-rate", "44100"]) == 1
    assert "--skip is given; expected none for a model with input_size=2" in capsys.readouterr().err
