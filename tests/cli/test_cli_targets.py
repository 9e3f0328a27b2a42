"""What the labels of a file are: as in `fit`, in words of the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import cli
from fastbptt.reporting import summary

RNG = np.random.default_rng(3)
N, T = 40, 6
X = RNG.normal(size=(N, T, 2)).astype(np.float32)
Y = (X[:, -1, 0] > 0).astype(int)
LABELS = (X[:, -1] > 0).astype(float)
ONE_HOT = np.eye(3)[np.arange(N) % 3]
RAW = "--no-standardize"
SHORT = ["--hidden", "8", "--epochs", "2", "-q", "--validation", "0.25"]


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(y: Any, *more: str, code: int = 0, **arrays: Any) -> tuple[str, str]:
        path = tmp_path / "a.npz"
        np.savez(path, x=X, y=y, **arrays)
        options = ["-o", str(tmp_path / "m"), *SHORT, *more]
        assert cli.main(["train", str(path), *options]) == code, capsys.readouterr().err
        shown = capsys.readouterr()
        return shown.out, shown.err

    return run


STEPS = (X[:, :, 0] > 0) * 1.0


@pytest.mark.parametrize(
    ("y", "more"),
    [
        (Y, []),
        (Y.astype(float), []),
        (Y.astype(np.float32), ["--loss", "cross_entropy"]),
        (Y * 1.0, ["--class-weight", "balanced"]),
        (STEPS, []),
        (STEPS, ["--steps", "all"]),
    ],
)
def test_zeros_and_ones_are_classes_whatever_their_dtype(
    y: Any, more: list[str], train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = train(y, *more)
    assert "one of 2 classes per" in out and "Validation accuracy" in out
    known = fastbptt.load(tmp_path / "m").metadata
    assert (known["task"], known["classes"]) == ("classification", ["0", "1"])
    as_floats = [str(tmp_path / "m"), str(tmp_path / "a.npz"), "--json"]
    assert cli.main(["predict", *as_floats]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    np.savez(tmp_path / "a.npz", x=X, y=y.astype(int))
    assert cli.main(["predict", *as_floats]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == scores
    np.savez(tmp_path / "a.npz", x=X, y=y * 0.5)
    assert cli.main(["predict", *as_floats]) == 1
    assert "a.npz: y holds 0.5; expected the classes 0 and 1" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--loss", "bce"]])
def test_several_labels(
    more: list[str], train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = train(LABELS, *more)
    assert "Labels:    2 0/1 labels per sequence" in out
    assert "accuracy" in out and "RMSE" not in out
    model = fastbptt.load(tmp_path / "m")
    assert (model.metadata["task"], model.metadata["loss"]) == ("labels", "bce")
    assert cli.main(["predict", str(tmp_path / "m"), str(tmp_path / "a.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    probs = np.array([[one["predicted 1"], one["predicted 2"]] for one in found["predictions"]])
    x = fastbptt.Standardizer.from_dict(model.metadata["standardize"]).transform(X)
    z = fastbptt.predict(model, x)
    np.testing.assert_allclose(probs, fastbptt.probabilities(z, "bce"), atol=1e-6)
    assert found["scores"]["accuracy"] == ((z > 0) == (LABELS > 0)).mean()


@pytest.mark.parametrize(
    ("y", "message", "choices"),
    [
        (ONE_HOT, "a single 1 in each row of 3; expected integers, y.argmax(axis=-1), for one "
         "class each, --loss bce for 3 labels each, or --loss mse for numbers",
         [(ONE_HOT.argmax(axis=-1), []), (ONE_HOT, ["--loss", "bce"]),
          (ONE_HOT, ["--loss", "mse"])]),
        (Y + 1.0, "y holds only 1 and 2; expected integers for classes, or --loss mse for numbers",
         [(Y + 1, []), (Y + 1.0, ["--loss", "mse"])]),
        (2.0 * Y - 1, "y holds only -1 and 1; expected integers for classes, or --loss mse",
         [(2 * Y - 1, []), (2.0 * Y - 1, ["--loss", "mse"])]),
    ],
)  # fmt: skip
def test_two_readings_are_refused_and_the_advice_works(
    y: Any, message: str, choices: Any, train: Any, tmp_path: Path
) -> None:
    out, err = train(y, code=1)
    assert (out, (tmp_path / "m").exists()) == ("", False)
    assert "a.npz: y holds only " in err and message in err
    for other, more in choices:
        train(other, *more)


def test_whole_numbers_as_floats_are_noted(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SHORT", [one for one in SHORT if one != "-q"])
    counts = np.arange(N) % 4 * 1.0
    for more, noted in (([], True), (["--loss", "mse"], False)):
        out, err = train(counts, *more)
        assert "RMSE" in out
        assert ("y holds whole numbers as floats: a regression (integers are" in err) is noted


def test_numbers_on_request(train: Any, tmp_path: Path) -> None:
    for y, more in ((Y * 1.0, ["--loss", "mse"]), (LABELS, ["--loss", "huber", RAW])):
        assert "RMSE" in train(y, *more)[0]
        assert fastbptt.load(tmp_path / "m").metadata["task"] == "regression"
    assert "--metrics has accuracy, but" in train(LABELS, "--loss", "mse", "--metrics", "accuracy",
                                                  code=1)[1]  # fmt: skip
    assert "--metrics has r2, but" in train(LABELS, "--metrics", "r2", code=1)[1]
    assert "--loss is cross_entropy, but the labels are numbers" in train(
        X[:, 0, 0], "--loss", "cross_entropy", code=1
    )[1]  # fmt: skip


def test_a_report_about_labels(train: Any, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("matplotlib")
    train(LABELS)
    monkeypatch.setattr("fastbptt.reporting.summary._SECONDS", 1e-3)
    model = fastbptt.load(tmp_path / "m")
    given = dict.fromkeys(
        (
            *("lengths", "loss", "steps", "class_names", "feature_names", "ids", "history"),
            *("monitor", "horizon", "series", "vocabulary"),
        )
    )
    found = summary.gather(model, X, LABELS, **given)
    assert list(found.metrics) == ["loss", "accuracy", "balanced_accuracy"]
    assert found.classes is None
    probs = fastbptt.probabilities(fastbptt.predict(model, X), "bce")
    np.testing.assert_allclose(found.outputs, probs, atol=1e-6)
    soft = fastbptt.GRU(2, 4, 1, seed=0)  # numbers between 0 and 1 are no classes
    assert summary.gather(soft, X, Y * 0.9, **(given | {"loss": "bce"})).classes is None


BITS = "id,step,a,p,q\n" + "".join(
    f"{i},{t},{t * i},{i % 2},{i % 3 // 2}\n" for i in range(12) for t in range(2)
)


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        (["--target-column", "p"], ["--loss bce", "--loss mse"]),
        (["--target-column", "q", "--exclude-columns", "p"], ["--loss bce", "--loss mse"]),
        (["--target-column", "p,q"], ["--loss bce", "--loss mse"]),
        (["--target-column", "p", "--steps", "all"], ["--loss bce", "--loss mse"]),
        (["--target-column", "p,q", "--steps", "all"], ["--loss bce", "--loss mse"]),
        (["--target-column", "p", "--no-standardize"], ["--loss bce", "--loss mse"]),
    ],
)
def test_zeros_and_ones_as_targets_of_a_table(
    options: list[str], choices: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be classes, labels or numbers: refused, and each choice works."""
    path = tmp_path / "a.csv"
    path.write_text(BITS)
    command = ["train", str(path), "-q", "--epochs", "1", "--hidden", "2", *options]
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert "are only 0 and 1; expected" in error
    for choice in choices:
        assert choice in error
        assert cli.main([*command, *choice.split()]) == 0
        kind = "0/1 label" if "bce" in choice else "target"
        assert kind in capsys.readouterr().out
    column = options[1]
    assert (f"--label-column {column} for classes" in error) == ("," not in column)
    if "," not in column:
        as_classes = ["--label-column" if one == "--target-column" else one for one in command]
        assert cli.main(as_classes) == 0
        assert "2 classes" in capsys.readouterr().out


def test_zeros_and_ones_as_targets_of_an_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ts"
    path.write_text("@targetLabel true\n@data\n1,2,3:0\n3,1,2:1\n2,2,2:1\n")
    command = ["train", str(path), "-q", "--epochs", "1", "--hidden", "2"]
    assert cli.main(command) == 1
    assert "the targets are only 0 and 1; expected --loss bce" in capsys.readouterr().err
    assert cli.main([*command, "--loss", "bce"]) == 0
    assert cli.main([*command, "--loss", "mse"]) == 0


def test_a_single_sequence_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("v,p\n" + "".join(f"{t},{t * 0.5}\n" for t in range(9)))
    command = ["train", str(path), "--id-column", "none", "--step-column", "none", "--epochs", "1"]
    assert cli.main([*command, "--target-column", "p"]) == 0
    assert "a single sequence: each row is to be predicted (--steps all)" in capsys.readouterr().err
    assert cli.main([*command, "--target-column", "p", "--steps", "all"]) == 0
    assert "single sequence" not in capsys.readouterr().err
