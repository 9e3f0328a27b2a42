"""Parameters of losses are in units of the targets: in training, in metadata and in reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import Loss, cli
from fastbptt.reference.losses import LOSSES

SCALES = [1e-3, 0.1, 1.0, 40.0, 5e3, 1e6]
QUICK = ["-q", "--hidden", "4", "--epochs", "8", "--lr", "0.02", "--dtype", "float64"]


@pytest.mark.parametrize("name", fastbptt.losses())
@pytest.mark.parametrize("scale", [0.5, 300.0])
def test_every_parameter_with_a_unit_is_scaled(name: str, scale: float) -> None:
    """Of scaled targets, the loss is the same but for a factor; one of classes has no scale."""
    loss = Loss(name)
    if loss.link != "identity":
        assert loss.of_scaled(np.array([scale]), "") is loss
        return
    rng = np.random.default_rng(0)
    z, y = 4.0 * rng.normal(size=(2, 50, 1))
    scaled = loss.of_scaled(np.array([scale]), "")
    one = LOSSES[name](z, y, **loss.parameters)[0]
    other = LOSSES[name](z / scale, y / scale, **scaled.parameters)[0]
    np.testing.assert_allclose(one / other, np.full_like(one, (one / other)[0, 0]))


def table(path: Path, scale: float, targets: int = 1) -> str:
    rng = np.random.default_rng(0)
    names = ["p", "q"][:targets]
    lines = [f"id,step,v,{','.join(names)}"]
    for i in range(30):
        values = rng.normal(size=(3, 1)).round(3)
        y = [scale * (k * 9 + 1) * (values.sum() + (10 if i % 7 == 0 else 0)) for k in range(2)]
        for t, (v,) in enumerate(values):
            lines.append(f"{i},{t},{v},{','.join(repr(float(one)) for one in y[:targets])}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("scale", SCALES)
def test_delta_is_in_the_units_of_the_table(
    scale: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same training and errors whatever the unit is, if delta has it as well."""
    found: list[Any] = []
    for unit in (1.0, scale):
        data, model = table(tmp_path / "a.csv", unit), str(tmp_path / "m")
        options = ["--target-column", "p", "--loss", f"huber:delta={2.0 * unit!r}", "--json"]
        assert cli.main(["train", data, *options, *QUICK, "-o", model]) == 0
        result = json.loads(capsys.readouterr().out)
        told = fastbptt.load(model)
        assert told.metadata["loss"] == str(Loss("huber", delta=2.0 * unit))
        trained = fastbptt._losses.parse(told.metadata["training_loss"])
        y = np.array([float(line.split(",")[3]) for line in Path(data).read_text().split()[1::3]])
        assert trained.parameters["delta"] == pytest.approx(2.0 * unit / y.std())
        found.append((result["history"]["curves"]["loss"], result["training"]["rmse"] / unit))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6)


def test_the_loss_of_a_report_is_that_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In units of the table it is the scale squared times as large, not something else."""
    data, model = table(tmp_path / "a.csv", 40.0), str(tmp_path / "m")
    options = ["--target-column", "p", "--loss", "huber:delta=60", "--json"]
    assert cli.main(["train", data, *options, *QUICK, "-o", model]) == 0
    capsys.readouterr()
    told = fastbptt.load(model)
    read = fastbptt.datasets.read_csv(data, target="p")
    x = fastbptt.Standardizer.from_dict(told.metadata["standardize"]).transform(read.x)
    y = np.asarray(read.y)
    by_task = fastbptt.evaluate(told, x, y, loss=fastbptt._losses.parse(told.metadata["loss"]))
    scale = y.std()
    standard = told.copy()
    standard.parameters["W_hy"][:] /= scale
    standard.parameters["b_y"][:] = (standard.parameters["b_y"] - y.mean()) / scale
    loss = fastbptt._losses.parse(told.metadata["training_loss"])
    by_training = fastbptt.evaluate(standard, x, (y - y.mean()) / scale, loss=loss)
    assert by_task["loss"] == pytest.approx(by_training["loss"] * scale**2, rel=1e-6)


def test_several_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "a.csv", 1.0, targets=2)
    command = ["train", data, "--target-column", "p,q", *QUICK]
    assert cli.main([*command, "--loss", "huber:delta=2"]) == 1
    error = capsys.readouterr().err
    assert "whose delta is in units of the targets, but their scales, 4.28 to 42.8, differ" in error
    assert "expected mse, which has no parameter, --no-standardize, or one target" in error
    assert cli.main([*command, "--loss", "mse"]) == 0
    assert cli.main([*command, "--loss", "huber:delta=2", "--no-standardize"]) == 0
    one = ["--target-column", "p", "--exclude-columns", "q"]
    assert cli.main(["train", data, *one, *QUICK, "--loss", "huber:delta=2"]) == 0


def test_the_unit_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "a.csv", 1000.0)
    command = ["train", data, "--target-column", "p", *QUICK[1:]]
    assert cli.main([*command, "--loss", "huber"]) == 0
    note = "note: --loss huber:delta=1.0 is in units of the target, whose standard deviation is "
    assert note in capsys.readouterr().err
    assert cli.main([*command, "--loss", "huber", "--no-standardize"]) == 0
    assert cli.main([*command, "--loss", "mse"]) == 0
    assert "standard deviation" not in capsys.readouterr().err
