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
    for y, more in ((Y * 1.0, ["--loss", "mse"]), (LABELS, ["--loss", "huber"])):
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
        ("lengths", "loss", "steps", "class_names", "feature_names", "ids", "history", "monitor")
    )
    found = summary.gather(model, X, LABELS, **given)
    assert list(found.metrics) == ["loss", "accuracy", "balanced_accuracy"]
    assert found.classes is None
    probs = fastbptt.probabilities(fastbptt.predict(model, X), "bce")
    np.testing.assert_allclose(found.outputs, probs, atol=1e-6)
    soft = fastbptt.GRU(2, 4, 1, seed=0)  # numbers between 0 and 1 are no classes
    assert summary.gather(soft, X, Y * 0.9, **(given | {"loss": "bce"})).classes is None
