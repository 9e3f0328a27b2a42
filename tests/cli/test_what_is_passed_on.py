"""What the command line hands to `fit` and to `report`: all options, data in standard units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import cli

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(3, 9, 40)
X = [RNG.normal(size=(n, 2)) * [30.0, 0.5] + [60000.0, -7.0] for n in LENGTHS]
KINDS = ["rare" if i % 5 == 4 else "often" for i in range(40)]
PRICES = [float(1000 + one[:, 0].mean()) for one in X]
IDS = [f"n{i:02}" for i in range(40)]


def table(path: Path, rows: Any, kind: str) -> str:
    lines = [f"id,step,far,near,{'label' if kind == 'label' else 'price'}"]
    for i in rows:
        last = KINDS[i] if kind == "label" else repr(PRICES[i])
        lines += [
            f"{IDS[i]},{t},{step[0]!r},{step[1]!r},{last}" for t, step in enumerate(X[i].tolist())
        ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `fit` was called with, and `report`, which writes nothing here."""
    seen: dict[str, Any] = {}
    real = fastbptt.fit

    def fit(*args: Any, **options: Any) -> Any:
        seen["fit"] = (args, options)
        return real(*args, **options)

    def report(*args: Any, **options: Any) -> None:
        seen["report"] = (args, options)

    monkeypatch.setattr(fastbptt, "fit", fit)
    monkeypatch.setattr(fastbptt, "report", report)
    return seen


def run(capsys: pytest.CaptureFixture[str], *command: object) -> Any:
    code = cli.main([*map(str, command), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


SMALL = ["--hidden", 4, "--epochs", 2, "--quiet"]


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ([], "clip_norm", 1.0),
        (["--clip-norm", 0.25], "clip_norm", 0.25),
        (["--clip-norm", 0], "clip_norm", None),
        ([], "bucket", False),
        (["--bucket"], "bucket", True),
        ([], "patience", None),
        (["--patience", 3], "patience", 3),
        ([], "class_weight", None),
        (["--class-weight", "balanced"], "class_weight", "balanced"),
        ([], "batch_size", 32),
        (["--batch", 7], "batch_size", 7),
        (["--seed", 4], "seed", 4),
        (["--epochs", 3], "epochs", 3),
        ([], "augment", None),
    ],
)
def test_options_reach_the_training(
    options: list[object],
    name: str,
    expected: Any,
    calls: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = table(tmp_path / "a.csv", range(40), "label")
    run(capsys, "train", data, *SMALL, "--validation", 0.2, *options)
    assert calls["fit"][1][name] == expected


def test_optimiser_and_schedule(
    calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "a.csv", range(40), "label")
    options = ["--optimizer", "sgd:momentum=0.5", "--lr", 0.07, "--schedule", "step:every=3"]
    run(capsys, "train", data, *SMALL, *options)
    _, given = calls["fit"]
    assert isinstance(given["optimizer"], fastbptt.SGD)
    assert (given["optimizer"].lr, given["optimizer"].momentum) == (0.07, 0.5)
    assert repr(given["schedule"]) == repr(fastbptt.schedules.StepDecay(every=3))


@pytest.mark.parametrize(
    ("count", "batch", "epochs"), [(40, 2, 100), (40, 40, 1500), (40, 32, 750)]
)
def test_few_sequences_are_seen_more_often(
    count: int,
    batch: int,
    epochs: int,
    calls: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At least as many updates whatever the batch; nothing is trained here."""

    def fit(*args: Any, **options: Any) -> Any:
        calls["epochs"] = options["epochs"]
        raise KeyboardInterrupt

    monkeypatch.setattr(fastbptt, "fit", fit)
    data = table(tmp_path / "a.csv", range(count), "label")
    given = [data, "--hidden", 4, "--quiet", "--batch", batch, "--validation", 0]
    cli.main(["train", *map(str, given)])
    capsys.readouterr()
    assert calls["epochs"] == epochs


def test_noise_is_drawn_for_each_number(
    calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "a.csv", range(40), "label")
    run(capsys, "train", data, *SMALL, "--noise", 0.3)
    add = calls["fit"][1]["augment"]
    x = np.zeros((50, 20, 3), np.float32)
    noise = add(x.copy(), np.random.default_rng(0))
    assert noise.dtype == np.float32
    for axis in range(3):
        spread = noise.std(axis=axis)
        assert (spread > 0).all()
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.05)


# ---------------------------------------------------------------- units and parts


def by_hand(rows: Any, scale_of: Any) -> list[Any]:
    every = np.concatenate([X[i].astype(np.float32) for i in scale_of]).astype(float)
    mean, std = every.mean(axis=0), every.std(axis=0)
    return [((X[i].astype(np.float32) - mean) / std) for i in rows]


def same(got: Any, expected: Any) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-4, atol=1e-4)


TRAIN, HELD, TEST = range(22), range(22, 31), range(31, 40)


@pytest.mark.parametrize("kind", ["label", "price"])
@pytest.mark.parametrize("parts", ["train", "validation", "test"])
def test_units_and_parts(
    kind: str,
    parts: str,
    calls: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All is scaled as the training part is; the report is about what was not trained on."""
    pytest.importorskip("matplotlib")
    target = ["--target-column", "price"] if kind == "price" else []
    command: list[object] = [table(tmp_path / "a.csv", TRAIN, kind), *target, *SMALL]
    judged = TRAIN
    if parts != "train":
        command += ["--validation-data", table(tmp_path / "b.csv", HELD, kind)]
        judged = HELD
    if parts == "test":
        command += ["--test", table(tmp_path / "c.csv", TEST, kind)]
        judged = TEST
    page = tmp_path / "page.html"
    result = run(capsys, "train", *command, "-o", tmp_path / "m", "--report", page)
    classes = sorted(set(KINDS))
    (_, x, y), options = calls["fit"]
    same(x, by_hand(TRAIN, TRAIN))
    prices = np.array([PRICES[i] for i in TRAIN])

    def expected(rows: Any) -> Any:
        if kind == "label":
            return np.array([classes.index(KINDS[i]) for i in rows])
        return (np.array([PRICES[i] for i in rows]) - prices.mean()) / prices.std()

    np.testing.assert_allclose(np.ravel(y), expected(TRAIN), rtol=1e-3, atol=1e-3)
    if parts == "train":
        assert options["validation"] is None
    else:
        same(options["validation"][0], by_hand(HELD, TRAIN))
        np.testing.assert_allclose(
            np.ravel(options["validation"][1]), expected(HELD), rtol=1e-3, atol=1e-3
        )
    # and the report: features in standard units, targets in those of the table
    args, options = calls["report"]
    same(args[1], by_hand(judged, TRAIN))
    assert list(options["ids"]) == [IDS[i] for i in judged]
    truth = expected(judged) if kind == "label" else [PRICES[i] for i in judged]
    np.testing.assert_allclose(np.ravel(args[2]), truth, rtol=1e-5)
    # what the result says of each part
    loaded = fastbptt.load(tmp_path / "m")
    for name, rows in (("validation", HELD), ("test", TEST)):
        if name not in result:
            continue
        outputs = fastbptt.predict(loaded, [one.astype("f4") for one in by_hand(rows, TRAIN)])
        if kind == "label":
            answers = outputs.argmax(axis=1)
            confusion = np.zeros((2, 2), int)
            np.add.at(confusion, (expected(rows), answers), 1)
            assert result[name]["confusion"] == confusion.tolist()
        else:
            errors = outputs[:, 0] - np.array([PRICES[i] for i in rows])
            assert result[name]["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
    # the command on its own is about the same
    calls.clear()
    other = table(tmp_path / "d.csv", TEST, kind)
    run(capsys, "report", tmp_path / "m", other, "-o", page)
    args, options = calls["report"]
    same(args[1], by_hand(TEST, TRAIN))
    assert list(options["ids"]) == [IDS[i] for i in TEST]


def test_the_part_to_validate_on_is_drawn_by_seed_and_class(
    calls: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    data = table(tmp_path / "a.csv", range(40), "label")
    found = []
    for seed in (0, 0, 1):
        command = [data, *SMALL, "--epochs", 1, "--validation", 0.25, "--seed", seed]
        run(capsys, "train", *command, "--report", tmp_path / "page.html")
        args, options = calls["report"]
        ids = list(options["ids"])
        rows = [IDS.index(one) for one in ids]
        train = [i for i in range(40) if i not in rows]
        assert [KINDS[i] for i in rows].count("rare") == 2
        assert len(rows) == 10
        same(args[1], by_hand(rows, train))
        same(calls["fit"][0][1], by_hand(train, train))
        assert [("often", "rare")[k] for k in np.ravel(args[2])] == [KINDS[i] for i in rows]
        found.append(ids)
    assert found[0] == found[1] != found[2]
