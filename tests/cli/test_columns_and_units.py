"""Columns keep their meaning, and numbers their units, from the table to the answers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import cli
from fastbptt.datasets import write_npz

NAMES = ("height", "speed", "weight")
MEANS, SIZES = np.array([5000.0, -3.0, 0.01]), np.array([300.0, 1.0, 0.002])
OPTIONS = ["--hidden", "6", "--lr", "0.02", "--epochs", "4", "--quiet"]
ORDERS = [order for order in itertools.permutations(range(3)) if order != (0, 1, 2)]


def sequences(count: int = 30, seed: int = 0) -> list[np.ndarray]:
    """Three features, each of its own size: a wrong order shows."""
    rng = np.random.default_rng(seed)
    return [MEANS + SIZES * rng.normal(size=(int(rng.integers(4, 9)), 3)) for _ in range(count)]


def table(path: Path, x: list[Any], order: Any = (0, 1, 2), **columns: list[Any]) -> str:
    """Write a table with the features in some order, and further columns, one cell a sequence."""
    lines = [",".join(["id", "step", *(NAMES[i] for i in order), *columns])]
    for i, one in enumerate(x):
        last = [str(values[i]) for values in columns.values()]
        for t, step in enumerate(one.tolist()):
            lines.append(",".join([f"s{i}", str(t), *(repr(step[j]) for j in order), *last]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *command: object) -> Any:
    code = cli.main([*map(str, command), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def prices(x: list[Any]) -> list[float]:
    return [float(70000 + 20 * (one[-1, 0] - 5000)) for one in x]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    x = sequences()
    kinds = ["up" if one[-1, 0] > 5000 else "down" for one in x]
    two = [f"{1e-3 * price:.6f}" for price in prices(x)]
    found = {}
    for name, columns in (
        ("kind", {"label": kinds}),
        ("price", {"price": prices(x)}),
        ("two", {"price": prices(x), "small": two}),
    ):
        found[name] = str(folder / name)
        target = [] if name == "kind" else ["--target-column", ",".join(columns)]
        data = table(folder / f"{name}.csv", x, **columns)
        assert cli.main(["train", data, *target, *OPTIONS, "-o", found[name]]) == 0
    return found


def outputs(path: str, x: list[Any]) -> np.ndarray:
    """The model's outputs at the ends, with nothing but its file: scaled by hand."""
    model = fastbptt.load(path)
    scale = model.metadata["standardize"]
    ready = [((one.astype("f4") - scale["mean"]) / scale["scale"]).astype("f4") for one in x]
    return np.concatenate([model.forward(one[np.newaxis]).last for one in ready])


# ---------------------------------------------------------------- order of columns


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("model", ["kind", "price"])
def test_three_columns_in_any_order(
    model: str,
    order: Any,
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = sequences(5, seed=1)
    plain = run(capsys, "predict", models[model], table(tmp_path / "a.csv", x))
    other = run(capsys, "predict", models[model], table(tmp_path / "b.csv", x, order))
    assert other["predictions"] == plain["predictions"]
    for suffix, parts in (("list", x), ("cube", [one[:4] for one in x])):
        path, mixed = tmp_path / f"{suffix}.npz", tmp_path / f"{suffix}-mixed.npz"
        write_npz(path, parts, feature_names=NAMES)
        names = [NAMES[i] for i in order]
        write_npz(mixed, [one[:, list(order)] for one in parts], feature_names=names)
        one, two = (run(capsys, "predict", models[model], each) for each in (path, mixed))
        assert one["predictions"] == two["predictions"]
    key = "predicted price" if model == "price" else "probability"
    assert len({one[key] for one in plain["predictions"]}) > 1


@pytest.mark.parametrize("order", ORDERS)
def test_three_columns_of_files_beside_the_training_table(
    order: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files to validate and to test on are read as the training table is."""
    x, y = sequences(12), sequences(8, seed=1)
    data = table(tmp_path / "a.csv", x, price=prices(x))
    found = []
    for i, each in enumerate([(0, 1, 2), order]):
        other = table(tmp_path / f"b{i}.csv", y, each, price=prices(y))
        names = [NAMES[j] for j in each]
        write_npz(
            tmp_path / f"c{i}.npz",
            [one[:, list(each)] for one in y],
            y=np.array(prices(y)),
            feature_names=names,
        )
        options = ["--target-column", "price", *OPTIONS, "--epochs", "1"]
        for file in (other, tmp_path / f"c{i}.npz"):
            result = run(capsys, "train", data, *options, "--test", file, "--validation-data", file)
            found.append((result["test"], result["validation"]))
            found.append(result["history"]["curves"]["validation_loss"])
    for i in range(0, len(found), 2):
        assert found[i] == found[0]
        assert found[i + 1] == found[1]


def test_features_that_are_chosen_in_another_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sequences(12)
    data = table(tmp_path / "a.csv", x, price=prices(x))
    chosen = "weight,height,speed"
    options = ["--target-column", "price", "--feature-columns", chosen, *OPTIONS]
    result = run(capsys, "train", data, *options, "-o", tmp_path / "m")
    assert result["data"]["feature_names"] == chosen.split(",")
    told = fastbptt.load(tmp_path / "m").metadata
    assert told["feature_names"] == chosen.split(",")
    np.testing.assert_allclose(told["standardize"]["mean"], MEANS[[2, 0, 1]], rtol=0.5)
    expected = outputs(str(tmp_path / "m"), [one[:, [2, 0, 1]] for one in x])
    found = run(capsys, "predict", tmp_path / "m", data)["predictions"]
    np.testing.assert_allclose([one["predicted price"] for one in found], expected[:, 0], rtol=1e-5)


# ---------------------------------------------------------------- units


def test_numbers_are_in_the_units_of_the_table(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model in standard units, put back by hand, says the same as the one that was written."""
    x = sequences()
    y = np.array(prices(x))
    wide = 1000 * y + 3e7  # the same in standard units
    found = []
    for name, target in (("a", y), ("b", wide)):
        data = table(tmp_path / f"{name}.csv", x, price=target.tolist())
        options = ["--target-column", "price", *OPTIONS]
        result = run(capsys, "train", data, *options, "-o", tmp_path / name)
        said = run(capsys, "predict", tmp_path / name, data)
        values = np.array([one["predicted price"] for one in said["predictions"]])
        np.testing.assert_allclose(values, outputs(str(tmp_path / name), x)[:, 0], rtol=1e-6)
        errors = values - target
        assert said["scores"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
        assert said["scores"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)
        explained = 1 - (errors**2).sum() / ((target - target.mean()) ** 2).sum()
        assert said["scores"]["r2"] == pytest.approx(explained, abs=1e-6)
        found.append(((values - target.mean()) / target.std(), result["history"]["curves"]))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-3)
    np.testing.assert_allclose(found[0][1]["loss"], found[1][1]["loss"], rtol=1e-4)


@pytest.mark.parametrize("epochs", [1, 30])
def test_b_y_far_from_0(epochs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of the readout and its bias are multiplied by the deviation, then comes the mean.

    Targets far from symmetric pull b_y away from 0.
    """
    x = sequences(24)
    rng = np.random.default_rng(0)
    y = np.where(np.arange(24) < 20, 10.0, 400.0) + rng.normal(size=24)
    data = table(tmp_path / "a.csv", x, price=y.tolist())
    options = ["--target-column", "price", *OPTIONS, "--validation", 0, "--batch", 20]
    given = ["--optimizer", "sgd", "--lr", 0.3, "--epochs", epochs]
    run(capsys, "train", data, *options, *given, "-o", tmp_path / "m")
    told = fastbptt.load(tmp_path / "m")
    # the same training by hand, in standard units
    scale = told.metadata["standardize"]
    ready = [((one.astype("f4") - scale["mean"]) / scale["scale"]).astype("f4") for one in x]
    np.testing.assert_allclose(
        scale["scale"], np.std(np.concatenate(x).astype("f4"), axis=0, dtype=float), rtol=1e-5
    )
    model = fastbptt.GRU(3, 6, 1, init="keras", seed=0)
    standard = ((y - y.mean()) / y.std()).astype("f4")
    fastbptt.fit(
        model, ready, standard, loss="mse", epochs=epochs, batch_size=20, clip_norm=1.0,
        optimizer=fastbptt.SGD(0.3), schedule="cosine", verbose=0,
    )  # fmt: skip
    assert abs(model.parameters["b_y"][0]) > 0.01
    expected = fastbptt.predict(model, ready)[:, 0] * y.std() + y.mean()
    found = run(capsys, "predict", tmp_path / "m", data)["predictions"]
    np.testing.assert_allclose([one["predicted price"] for one in found], expected, rtol=1e-4)


def test_two_targets_each_with_its_own_unit(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sequences()
    small = [1e-3 * price for price in prices(x)]
    data = table(tmp_path / "a.csv", x, price=prices(x), small=small)
    said = run(capsys, "predict", models["two"], data)
    expected = outputs(models["two"], x)
    for one, row, price, tiny in zip(said["predictions"], expected, prices(x), small, strict=True):
        assert one["predicted price"] == pytest.approx(row[0], rel=1e-5)
        assert one["predicted small"] == pytest.approx(row[1], rel=1e-5)
        assert one["true price"] == pytest.approx(price, rel=1e-6)
        assert one["true small"] == pytest.approx(tiny, rel=1e-6)
    assert abs(np.mean([one["predicted price"] for one in said["predictions"]]) / 7e4 - 1) < 0.2
    assert abs(np.mean([one["predicted small"] for one in said["predictions"]]) / 70 - 1) < 0.2


def test_features_have_mean_0_and_deviation_1_over_the_training_part(
    models: dict[str, str],
) -> None:
    scale = fastbptt.load(models["price"]).metadata["standardize"]
    x = sequences()
    flat = np.concatenate(x)
    np.testing.assert_allclose(scale["mean"], flat.mean(axis=0), rtol=0.02, atol=0.2)
    np.testing.assert_allclose(scale["scale"], flat.std(axis=0), rtol=0.1)


# ---------------------------------------------------------------- who is who


def test_answers_stand_beside_their_sequences(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids, truths and answers are of one sequence, whatever the lengths and the order are."""
    x = sequences(9, seed=4)
    data = table(tmp_path / "a.csv", x, price=prices(x))
    said = run(capsys, "predict", models["price"], data)["predictions"]
    assert [one["id"] for one in said] == [f"s{i}" for i in range(9)]
    expected = outputs(models["price"], x)[:, 0]
    np.testing.assert_allclose([one["predicted price"] for one in said], expected, rtol=1e-5)
    np.testing.assert_allclose([one["true price"] for one in said], prices(x), rtol=1e-6)

    kinds = ["down", "up", "up"] * 3
    said = run(
        capsys, "predict", models["kind"], table(tmp_path / "b.csv", x, label=kinds),
        "--probabilities",
    )  # fmt: skip
    logits = outputs(models["kind"], x).astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    confusion = np.zeros((2, 2), int)
    for one, row, kind in zip(said["predictions"], shares, kinds, strict=True):
        assert one["label"] == kind
        assert one["predicted"] == ("down", "up")[row.argmax()]
        assert one["P(down)"] == pytest.approx(row[0], abs=1e-5)
        assert one["probability"] == pytest.approx(row.max(), abs=1e-5)
        confusion[("down", "up").index(kind), row.argmax()] += 1
    assert said["scores"]["confusion"] == confusion.tolist()
    assert said["scores"]["accuracy"] == np.trace(confusion) / 9


def test_the_column_step_is_a_feature_if_no_column_holds_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sequences(12)
    path = table(tmp_path / "a.csv", x, price=prices(x))
    model = str(tmp_path / "m")
    options = [*OPTIONS, "--target-column", "price", "--validation", "0", "-o", model]
    run(capsys, "train", path, *options)
    assert fastbptt.load(model).input_size == len(NAMES)
    run(capsys, "train", path, *options, "--step-column", "none")
    assert fastbptt.load(model).input_size == 1 + len(NAMES)
    run(capsys, "predict", model, path)  # the model knows


@pytest.mark.parametrize("delimiter", [";", "|"])
def test_a_table_to_predict_may_have_a_delimiter_of_its_own(
    delimiter: str, models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sequences(5, seed=1)
    first = Path(table(tmp_path / "a.csv", x))
    second = tmp_path / "b.csv"
    second.write_text(first.read_text().replace(",", delimiter))
    expected = run(capsys, "predict", models["price"], str(first))["predictions"]
    options = ("--delimiter", delimiter)
    found = run(capsys, "predict", models["price"], str(second), *options)["predictions"]
    assert found == expected


@pytest.mark.parametrize("held_out", [False, True])
def test_the_training_score_is_given_only_where_there_is_no_other(
    held_out: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sequences(20)
    path = table(tmp_path / "a.csv", x, label=["up" if i % 2 else "down" for i in range(20)])
    options = [*OPTIONS, *(["--validation", "0.2"] if held_out else [])]
    assert cli.main(["train", path, *options]) == 0
    out = capsys.readouterr().out
    assert ("Training accuracy " in out) != held_out
    assert ("add --validation 0.2 or --test FILE" in out) != held_out
    found = run(capsys, "train", path, *options)
    assert ("training" in found) != held_out
    assert ("validation" in found) == held_out
