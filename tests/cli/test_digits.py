"""Large numbers with small changes: no entrance and no exit loses a digit that matters."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastbptt import cli, load

# a meter, a counter, seconds since 1970, milliseconds since 1970, a balance, a small step
COLUMNS = [
    (1e7, 0.01),
    (123_456_789.0, 1.0),
    (1.7e9, 1.0),
    (1.7e12, 10.0),
    (-98_765_432.1, 0.1),
    (5e5, 1e-3),
    (2.0**40, 2.0**-4),
]
QUICK = ["-q", "--epochs", "30", "--hidden", "8", "--lr", "0.02", "--validation", "0"]


def table(path: Path, offset: float, unit: float, target: bool) -> Path:
    """Rising and falling sequences; the target is the next value."""
    lines = ["id,step,reading,label"]
    for i in range(40):
        for t in range(4):
            change = (t % 3) * (1 if i % 2 else -1)
            label = repr(offset + unit * (2 * (i % 2) + 1)) if target else "ab"[i % 2]
            lines.append(f"{i},{t},{offset + unit * change!r},{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("offset", "unit"), COLUMNS)
def test_features(
    offset: float, unit: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = table(tmp_path / "a.csv", offset, unit, False), str(tmp_path / "m.safetensors")
    assert cli.main(["train", str(path), *QUICK, "-o", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["accuracy"] == 1.0
    assert cli.main(["predict", model, str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["accuracy"] == 1.0


@pytest.mark.parametrize(("offset", "unit"), COLUMNS)
def test_targets(
    offset: float, unit: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = table(tmp_path / "a.csv", offset, unit, True), str(tmp_path / "m.safetensors")
    command = ["train", str(path), *QUICK, "-o", model, "--target-column", "label", "--json"]
    assert cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)["training"]["rmse"] < 0.2 * unit
    assert load(model).metadata["target_offset"] == [pytest.approx(offset + 2 * unit, rel=1e-12)]
    out = str(tmp_path / "p.csv")
    assert cli.main(["predict", model, str(path), "-o", out]) == 0
    capsys.readouterr()
    rows = [line.split(",") for line in Path(out).read_text().splitlines()[1:]]
    true, predicted = (np.array([float(row[i]) for row in rows]) for i in (1, 2))
    assert (true == [offset + unit * (2 * (i % 2) + 1) for i in range(40)]).all()
    assert np.abs(true - predicted).max() < 0.5 * unit
    assert cli.main(["predict", model, str(path)]) == 0  # the terminal shows the same digits
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[1:41]]
    assert [row[1:3] for row in shown] == [row[1:3] for row in rows]


def test_an_offset_that_fits_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, name = table(tmp_path / "a.csv", 1e7, 0.01, True), str(tmp_path / "m.safetensors")
    assert cli.main(["train", str(path), *QUICK, "-o", name, "--target-column", "label"]) == 0
    for wrong in ([1.0, 2.0], "1", [None], [True]):
        model = load(name)
        model.metadata = model.metadata | {"target_offset": wrong}
        model.save(name)
        capsys.readouterr()
        assert cli.main(["predict", name, str(path)]) == 1
        assert "target_offset" in capsys.readouterr().err


def test_a_feature_too_large_for_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, name = table(tmp_path / "a.csv", 0.0, 1.0, False), str(tmp_path / "m.safetensors")
    assert cli.main(["train", str(path), *QUICK, "-o", name]) == 0
    path.write_text("id,step,reading\nx,1,1\nx,2,1e60\n")
    assert cli.main(["predict", name, str(path)]) == 1
    error = capsys.readouterr().err
    assert "sequence 'x': 'reading' is 1e+60 at step 2, too large for float32" in error


@pytest.mark.parametrize(("offset", "unit"), [*COLUMNS[:5], (1e9, 1e-2)])
def test_without_standardisation(
    offset: float, unit: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """float32 rounds away the changes: refused, with two ways out, which both work."""
    path, model = table(tmp_path / "a.csv", offset, unit, False), str(tmp_path / "m.safetensors")
    command = ["train", str(path), "-q", "--epochs", "1", "--hidden", "2", "-o", model]
    assert cli.main([*command, "--no-standardize"]) == 1
    error = capsys.readouterr().err
    assert "'reading' has differences of up to" in error
    assert "expected no --no-standardize, or --dtype float64 with it" in error
    assert not Path(model).exists()
    assert cli.main(command) == 0
    assert cli.main([*command, "--no-standardize", "--dtype", "float64"]) == 0
    capsys.readouterr()
    out = str(tmp_path / "p.csv")
    assert cli.main(["predict", model, str(path), "-o", out]) == 0


def test_a_target_without_standardisation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i},{t},{i % 3},{1e9 + i / 8!r},{i}" for i in range(8) for t in range(2)]
    path = tmp_path / "a.csv"
    path.write_text("id,step,v,meter,count\n" + "\n".join(rows) + "\n")
    command = ["train", str(path), "-q", "--epochs", "1", "--no-standardize"]
    targets = ["--target-column", "count,meter"]
    assert cli.main([*command, *targets]) == 1
    assert "target meter has differences of up to 0.875" in capsys.readouterr().err
    assert cli.main([*command, *targets, "--dtype", "float64"]) == 0
    assert cli.main([*command, "--target-column", "count", "--exclude-columns", "meter"]) == 0


@pytest.mark.parametrize("options", [[], ["--no-standardize"]])
def test_a_target_too_large_for_the_model(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = table(tmp_path / "a.csv", 0.0, 1.0, True), str(tmp_path / "m")
    path.write_text(path.read_text().replace(",3.0\n", ",3e60\n"))
    command = ["train", str(path), *QUICK, "--target-column", "label", "-o", model, *options]
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert "target label has numbers of size 3e+60, too large for float32" in error
    assert "--dtype float64" in error
    assert cli.main([*command, "--dtype", "float64"]) == 0
    assert np.isfinite(load(model).parameters.flat).all()


@pytest.mark.parametrize("first", [2**53, 1_700_000_000_000_000_001, -(2**62) - 1])
def test_steps_are_written_as_they_were_read(
    first: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i},{first + 2 * t},{t % 2},{'ab'[t % 2]}" for i in range(6) for t in range(4)]
    path, model, out = tmp_path / "a.csv", str(tmp_path / "m"), tmp_path / "p.csv"
    path.write_text("id,step,v,label\n" + "\n".join(rows) + "\n")
    command = ["train", str(path), "--steps", "all", *QUICK, "-o", model]
    assert cli.main(command) == 0
    assert cli.main(["predict", model, str(path), "-o", str(out)]) == 0
    found = [line.split(",")[1] for line in out.read_text().splitlines()[1:]]
    assert found == [str(first + 2 * t) for t in range(4)] * 6
