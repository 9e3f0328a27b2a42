"""`fastbptt train`: from files as people have them to a model in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequence_files import CLASSES, Task

import fastbptt
from fastbptt import cli
from fastbptt.datasets import read_csv, write_npz
from fastbptt.models.initializers import INITIALIZERS
from fastbptt.optim import OPTIMIZERS
from fastbptt.optim.schedules import SCHEDULES

QUIET = ["--hidden", "8", "--quiet"]
SMALL = ["--hidden", "8", "--lr", "0.02", "--validation", "0.1", "--quiet"]


def run(capsys: pytest.CaptureFixture[str], *command: object) -> tuple[int, str, str]:
    code = cli.main([str(part) for part in command])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def trained(capsys: pytest.CaptureFixture[str], *command: object) -> dict[str, Any]:
    code, out, err = run(capsys, "train", *command, "--json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def same_weights(one: Path, other: Path) -> bool:
    flats = [fastbptt.load(path).parameters.flat for path in (one, other)]
    return bool(np.array_equal(*flats))


# ---------------------------------------------------------------- what comes out


def test_from_a_table_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(60).csv(tmp_path / "train.csv")
    test = Task(30, seed=1).csv(tmp_path / "test.csv")
    model, history = tmp_path / "model.safetensors", tmp_path / "history.json"
    command = [data, "--test", test, "-o", model, "--history", history, "--epochs", 25]
    options = ["--hidden", 8, "--lr", 0.02, "--validation", 0.1]
    code, out, err = run(capsys, "train", *command, *options)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines[:3] + lines[5:-2])) <= 80  # paths may be long
    assert lines[0] == ("Sequences: 54 training, 6 validation, 30 test; 6 to 12 steps")
    assert lines[1] == "Features:  2 features: height, noise"
    assert lines[2] == "Labels:    one of 3 classes per sequence: down, flat, up"
    accuracy = next(line for line in lines if line.startswith("Test accuracy ")).split()
    assert accuracy[4:] == ["of", "30", "sequences"]
    assert float(accuracy[2][:-1]) >= 0.9
    assert lines[-7].split() == ["true", *CLASSES, "correct"]
    assert lines[-2] == f"Wrote model {model}, history {history}"
    assert lines[-1] == f"Next:  fastbptt predict {model} {test}"
    assert "epoch 25/25" in err
    assert "epoch 25/25" not in out

    loaded = fastbptt.load(model)
    told = loaded.metadata
    assert loaded.cell == "gru"
    assert told["task"] == "classification"
    assert told["steps"] == "last"
    assert told["loss"] == "cross_entropy"
    assert told["classes"] == list(CLASSES)
    assert told["feature_names"] == ["height", "noise"]
    assert told["trained_on"] == data
    assert told["settings"]["hidden"] == 8
    assert told["history"] == fastbptt.History.load(history).to_dict()
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["train.csv", "test.csv", "model.safetensors", "history.json"]
    )


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(30).csv(tmp_path / "train.csv")
    result = trained(capsys, data, *SMALL, "--epochs", 3, "--validation", 0.2, "--test", data)
    assert result["data"]["train"] == 24
    assert result["data"]["validation"] == 6
    assert result["data"]["classes"] == list(CLASSES)
    assert len(result["history"]["curves"]["validation_loss"]) == 3
    confusion = np.array(result["test"]["confusion"])
    assert confusion.sum() == result["test"]["count"] == 30
    assert result["test"]["accuracy"] == np.trace(confusion) / 30
    assert np.array(result["validation"]["confusion"]).sum(axis=1).tolist() == [2, 2, 2]


def test_scale_is_that_of_the_real_steps_of_the_training_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, held_out = Task(12), Task(9, seed=1)
    for one in train.x:
        one[:, 1] = 0.1  # a constant keeps its unit, whatever its mean is rounded to
    data, other = train.csv(tmp_path / "a.csv"), held_out.csv(tmp_path / "b.csv")
    model = tmp_path / "m"
    command = [data, *QUIET, "--dtype", "float64", "--epochs", 1, "--validation-data", other]
    trained(capsys, *command, "-o", model)
    steps = np.concatenate(read_csv(data, dtype="float64").x)
    scale = fastbptt.load(model).metadata["standardize"]
    np.testing.assert_allclose(scale["mean"], steps.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale["scale"], [steps[:, 0].std(), 1.0], rtol=1e-6)

    trained(capsys, data, *SMALL, "--epochs", 1, "--no-standardize", "-o", model)
    assert fastbptt.load(model).metadata["standardize"] is None


def with_half(loss: fastbptt.Loss) -> fastbptt.Loss:
    """The loss with 0.5 for each of its parameters."""
    lists = {key: (0.25, 0.5) for key, one in loss.parameters.items() if isinstance(one, tuple)}
    return fastbptt.Loss(loss.name, **(dict.fromkeys(loss.parameters, 0.5) | lists))


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(one, marks=() if one.parameters else pytest.mark.slow)
        for one in map(fastbptt.Loss, fastbptt.losses())
        if one.of_units
    ],
    ids=str,
)
def test_the_loss_can_be_chosen(
    loss: fastbptt.Loss, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = with_half(loss)
    data = Task(40).csv(tmp_path / "train.csv", "price")
    command = [data, "--target-column", "price", "-o", tmp_path / "m", *SMALL]
    result = trained(capsys, *command, "--epochs", 15, "--loss", chosen)
    curve = result["history"]["curves"]["loss"]
    assert curve[-1] < 0.8 * curve[0]
    assert fastbptt.load(tmp_path / "m").metadata["loss"] == str(chosen)
    first = trained(capsys, *command, "--epochs", 1)["history"]["curves"]["loss"][0]
    assert (first == curve[0]) is (loss.name == "mse")
    code, out, _ = run(capsys, "predict", tmp_path / "m", data, "--json")
    assert code == 0 and out


@pytest.mark.slow
def test_a_page_about_a_loss_with_a_parameter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    data, page = Task(40).csv(tmp_path / "train.csv", "price"), tmp_path / "page.html"
    command = [data, "--target-column", "price", "-o", tmp_path / "m", *SMALL]
    trained(capsys, *command, "--epochs", 1, "--loss", "huber:delta=0.5")
    assert run(capsys, "report", tmp_path / "m", data, "-o", page)[0] == 0
    assert "huber:delta=0.5" in page.read_text(encoding="utf-8")


def test_a_loss_that_does_not_suit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(40).csv(tmp_path / "train.csv", "price")
    command = ["train", data, "--target-column", "price", *SMALL, "--loss"]
    code, _, err = run(capsys, *command, "cross_entropy")
    assert code != 0
    assert "--loss is cross_entropy, but the labels are numbers; expected bce, gaussian," in err
    for wrong, message in (
        ("nonsense", 'loss is "nonsense"; expected one of "bce"'),
        ("mse:delta=1", 'the loss "mse" has no parameter delta; expected none'),
        ("mse:delta", 'loss is "mse:delta"; expected NAME[:PARAMETER=VALUE,...]'),
        ("quantile:0.5,x", 'loss is "quantile:0.5,x"; expected NAME[:VALUE,...]'),
        ("quantile:0.5,0.1", "levels[1] is 0.1; expected a number above the one before it, 0.5"),
        ("quantile:0.5,1", "levels[1] is 1; expected a number above 0 and below 1"),
    ):
        with pytest.raises(SystemExit):
            run(capsys, *command, wrong)
        assert message in capsys.readouterr().err


def test_regression_targets_are_learned_in_their_own_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Task(60).csv(tmp_path / "train.csv", "price")
    test = Task(30, seed=1)
    path = test.csv(tmp_path / "test.csv", "price")
    command = [data, "--target-column", "price", "--test", path, "-o", tmp_path / "m"]
    result = trained(capsys, *command, *SMALL, "--epochs", 60)
    assert result["data"]["task"] == "regression"
    assert result["history"]["curves"]["loss"][0] < 5  # in units of the targets' variance
    assert result["test"]["r2"] > 0.9
    assert result["test"]["rmse"] < 50  # of numbers from 2800 to 3200
    model = fastbptt.load(tmp_path / "m")
    assert model.metadata["task"] == "regression"
    assert model.metadata["loss"] == "mse"
    scale = model.metadata["standardize"]
    x = [(one - scale["mean"]) / scale["scale"] for one in test.x]
    errors = fastbptt.predict(model, x)[:, 0] - test.prices
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), result["test"]["rmse"], rtol=1e-3)


def test_several_numbers_to_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(Task(20).csv(tmp_path / "a.csv", "price")).read_text()
    lines = text.splitlines()
    lines = [f"{lines[0]},tax", *(f"{line},{i % 1}" for i, line in enumerate(lines[1:]))]
    path = tmp_path / "b.csv"
    path.write_text("\n".join(lines))
    code, out, _ = run(capsys, "train", path, "--target-column", "price,tax", *SMALL, "--epochs", 2)
    assert code == 0
    assert "Labels:    2 targets per sequence: price, tax" in out
    assert "Validation, 2 sequences: RMSE" in out


def test_labels_for_each_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(30).csv(tmp_path / "train.csv", "steps")
    model = tmp_path / "m"
    code, out, err = run(
        capsys,
        "train",
        data,
        "--steps",
        "all",
        "-o",
        model,
        "--hidden",
        8,
        "--lr",
        0.05,
        "--epochs",
        25,
        "--validation",
        0.1,
    )
    assert code == 0, err
    assert "Labels:    one of 2 classes per step: no, yes" in out
    assert fastbptt.load(model).metadata["steps"] == "all"
    assert "steps" in next(line for line in out.splitlines() if "Validation accuracy" in line)
    found = fastbptt.load(model).metadata["history"]["curves"]["validation_accuracy"]
    assert max(found) > 0.9


def test_a_slip_in_one_label_does_not_pass_unseen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.csv"
    Task(12).csv(path)
    lines = path.read_text().splitlines()
    assert lines[2].startswith("s1,2,") and lines[2].endswith(",down")
    lines[2] = lines[2].replace("down", "up")
    path.write_text("\n".join(lines))
    command = ["train", path, *QUIET, "--epochs", 1]
    for more in ([], ["--steps", "last"]):
        code, _, err = run(capsys, *command, *more)
        assert code == 1
        assert err == (
            f"fastbptt: error: {path}:3: column 'label' is \"up\", but in line 2 of sequence 's1' "
            '"down"; expected the same on all its rows, or --steps all\n'
        )
    assert run(capsys, *command, "--steps", "all")[::2] == (0, "")

    lines = [f"{line},{i if i % 2 else 0}" for i, line in enumerate(lines)]
    path.write_text("\n".join([lines[0][:-1] + "n", *lines[1:]]))
    numbers = ["--target-column", "n", "--feature-columns", "height"]
    code, _, err = run(capsys, *command, *numbers)
    assert code == 1
    assert f"{path}:3: column 'n' is " in err
    assert run(capsys, *command, *numbers, "--steps", "all")[0] == 0
    # of a single sequence, there is but one reading
    assert run(capsys, *command, *numbers, "--id-column", "none", "--step-column", "none")[0] == 0


def test_one_task_in_three_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(24)
    numbers = [CLASSES.index(kind) for kind in task.kinds]
    write_npz(tmp_path / "a.npz", task.x, numbers, classes=CLASSES)
    for data in (task.csv(tmp_path / "a.csv"), task.ts(tmp_path / "a.ts"), tmp_path / "a.npz"):
        output = tmp_path / f"m{Path(data).suffix}"
        trained(capsys, data, *SMALL, "--epochs", 2, "-o", output)
    assert same_weights(tmp_path / "m.csv", tmp_path / "m.ts")
    assert same_weights(tmp_path / "m.csv", tmp_path / "m.npz")


def test_arrays_with_a_label_for_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 5, 2))
    for y, task in ((x[..., 0] > 0, "classification"), (x[..., 0], "regression")):
        np.savez(tmp_path / "a.npz", x=x, y=y)
        result = trained(capsys, tmp_path / "a.npz", *SMALL, "--epochs", 1)
        assert result["data"]["task"] == task
        assert result["data"]["steps"] == "all"
    result = trained(capsys, tmp_path / "a.npz", *SMALL, "--epochs", 1, "--steps", "last")
    assert result["data"]["steps"] == "last"  # five numbers at the end


def test_many_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(60)
    task.kinds = [f"a class by the name of {i % 30}" for i in range(60)]
    data = task.csv(tmp_path / "a.csv")
    code, out, _ = run(
        capsys, "train", data, "--epochs", 1, "--hidden", 4, "--validation", 0.5, "--quiet"
    )
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "one of 30 classes per sequence: a class by the name of 0, ...\n" in out
    assert "Most frequent errors:\n  a class by the name of " in out


def test_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    x = [rng.integers(1, 20, size=rng.integers(4, 9)) for _ in range(120)]
    for one in x[::2]:
        one[rng.integers(len(one))] = 20  # the word that matters
    write_npz(tmp_path / "a.npz", x[:80], ["yes", "no"] * 40)
    write_npz(tmp_path / "b.npz", x[80:], ["yes", "no"] * 20)
    command = [tmp_path / "a.npz", "--embedding", 4, "--test", tmp_path / "b.npz"]
    result = trained(capsys, *command, *SMALL, "--epochs", 30, "-o", tmp_path / "m")
    assert result["test"]["accuracy"] > 0.9
    assert fastbptt.load(tmp_path / "m").vocabulary_size == 21
    code, out, _ = run(capsys, "train", *command, *SMALL, "--epochs", 1)
    assert code == 0
    assert "Features:  tokens up to 20" in out
    code, out, _ = run(capsys, "predict", tmp_path / "m", tmp_path / "b.npz")
    assert code == 0
    assert f"Accuracy {result['test']['accuracy']:.4f}" in out


# ---------------------------------------------------------------- options


def test_a_seed_repeats_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(24).csv(tmp_path / "a.csv")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        command = [data, *SMALL, "--epochs", 2, "--seed", seed, "--dropout", 0.2, "--layers", 2]
        trained(capsys, *command, "-o", tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_every_cell(cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(12).csv(tmp_path / "a.csv")
    number = ":0.3" if cell.startswith("leaky") else ""
    command = ["--cell", f"{cell}{number}", "--layers", 2, "--bidirectional"]
    trained(capsys, data, *SMALL, "--epochs", 1, *command, "-o", tmp_path / "m")
    model = fastbptt.load(tmp_path / "m")
    assert (model.cell, model.num_layers, model.bidirectional) == (cell, 2, True)
    if cell.startswith("leaky"):
        assert model.alpha == 0.3  # type: ignore[attr-defined]


REQUIRED = {"step": ":every=1,factor=0.5"}


@pytest.mark.parametrize(
    "options",
    [
        *(["--optimizer", name] for name in OPTIMIZERS),
        *(["--schedule", f"{name}{REQUIRED.get(name, '')}"] for name in SCHEDULES),
        *(["--init", name] for name in INITIALIZERS),
        ["--init", "normal:0.3"],
        ["--optimizer", "adam:eps=1e-6,betas=[0.8,0.9]"],
        [
            "--optimizer",
            'adamw:groups=[{"params":["b_*"],"weight_decay":0},{"params":["W_hy"],"lr_factor":2}]'
            ",eps=1e-6",
        ],
        ["--dtype", "float64"],
        ["--class-weight", "balanced", "--bucket", "--clip-norm", "0"],
        ["--patience", "1", "--validation", "0.2"],
    ],
    ids=" ".join,
)
def test_every_option_trains(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Task(12).csv(tmp_path / "a.csv")
    result = trained(capsys, data, "--hidden", 4, "--epochs", 2, "--quiet", *options)
    assert np.isfinite(result["history"]["curves"]["loss"]).all()


def test_options_have_an_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(24).csv(tmp_path / "a.csv")
    rates = trained(capsys, data, *SMALL, "--epochs", 3, "--schedule", "step:every=1,factor=0.5")[
        "history"
    ]["curves"]["lr"]
    assert rates == pytest.approx([0.02, 0.01, 0.005])
    hasty = ["--patience", 1, "--lr", 1.0, "--validation", 0.1]
    result = trained(capsys, data, "--hidden", 4, "--epochs", 50, *hasty)
    assert len(result["history"]["epoch"]) < 50
    assert result["history"]["stopped"] == "early stopping"
    settings = result["settings"]
    assert (settings["patience"], settings["lr"], settings["hidden"]) == (1, 1.0, 4)


def test_noise_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(24).csv(tmp_path / "a.csv")
    for name, noise in (("a", 0), ("b", 1), ("c", 1), ("d", 1e-30)):
        trained(capsys, data, *SMALL, "--epochs", 2, "--noise", noise, "-o", tmp_path / name)
    assert not same_weights(tmp_path / "a", tmp_path / "b")
    assert same_weights(tmp_path / "b", tmp_path / "c")
    assert same_weights(tmp_path / "a", tmp_path / "d")


def test_what_suits_few_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few, many = Task(12).csv(tmp_path / "few.csv"), Task(150).csv(tmp_path / "many.csv")
    result = trained(capsys, few, "--hidden", 2, "--quiet", "--batch", 4)
    assert len(result["history"]["epoch"]) == 500  # of 3 updates
    assert result["data"]["validation"] == 0
    assert result["settings"]["epochs"] == 500
    result = trained(capsys, many, "--hidden", 2, "--quiet", "--batch", 4)
    assert len(result["history"]["epoch"]) == 100
    assert result["data"]["validation"] == 15


def test_the_best_epoch_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, other = Task(30).csv(tmp_path / "a.csv"), Task(12, seed=5).csv(tmp_path / "b.csv")
    command = [data, "--validation-data", other, "--lr", 0.5, "--schedule", "constant", "--quiet"]
    command += ["--hidden", 4, "--seed", 1, "--epochs", 12, "-o", tmp_path / "m"]
    result = trained(capsys, *command)
    losses = result["history"]["curves"]["validation_loss"]
    best = int(np.argmin(losses))
    assert result["history"]["best_epoch"] == best + 1
    assert losses[-1] > 1.01 * losses[best], "the test needs a run that gets worse"
    model, held_out = fastbptt.load(tmp_path / "m"), read_csv(other, classes=CLASSES)
    scale = model.metadata["standardize"]
    x = [(one - scale["mean"]) / scale["scale"] for one in held_out.x]
    found = fastbptt.evaluate(model, x, held_out.y, loss="cross_entropy")["loss"]
    assert found == pytest.approx(losses[best], rel=1e-4)


CHANGES: dict[str, list[object]] = {
    "batch": ["--batch", 5],
    "bidirectional": ["--bidirectional"],
    "bucket": ["--bucket", "--batch", 8],
    "bucket without": ["--batch", 8],
    "class weight": ["--class-weight", "balanced"],
    "clip norm": ["--clip-norm", 1e-3, "--optimizer", "sgd"],
    "clip norm without": ["--clip-norm", 0, "--optimizer", "sgd"],
    "dropout": ["--dropout", 0.3],
    "init": ["--init", "torch"],
    "init's number": ["--init", "orthogonal:0.5"],
    "init's default": ["--init", "orthogonal"],
    "nothing": [],
    "optimizer": ["--optimizer", "adam:betas=[0.5,0.9]"],
    "schedule": ["--schedule", "constant"],
    "standardize": ["--no-standardize"],
}


def test_every_option_changes_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(24)
    task.kinds[3:9] = ["up"] * 6
    data = task.csv(tmp_path / "a.csv")
    seen: dict[bytes, str] = {}
    for name, options in CHANGES.items():
        output = tmp_path / "m"
        command = ["--hidden", 6, "--layers", 2, "--lr", 0.1, "--quiet", "--epochs", 2]
        trained(capsys, data, *command, *options, "-o", output)
        weights = fastbptt.load(output).parameters.flat.tobytes()
        assert weights not in seen, (name, seen[weights])
        seen[weights] = name


def test_a_seed_is_of_the_order_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Task(24).csv(tmp_path / "a.csv")
    for seed in (0, 1):
        command = [data, "--init", "normal:0", "--epochs", 1, "--batch", 8, "--seed", seed]
        trained(capsys, *command, "--quiet", "-o", tmp_path / str(seed))
    assert not same_weights(tmp_path / "0", tmp_path / "1")


# ---------------------------------------------------------------- what goes wrong

GOOD = """\
id,step,a,b,label
x,1,1,2,u
x,2,2,3,u
y,1,1,1,v
y,2,2,2,v
"""
WRONG: dict[str, tuple[str, list[str], str]] = {
    "empty": ("", [], "{}: is empty; expected a header"),
    "header alone": ("id,step,a,label\n", [], "{}: has no row after the header"),
    "no id": (GOOD.replace("id,", "who,"), [], "{}:1: there is no column 'id' (--id-column)"),
    "no step": (
        GOOD.replace("step", "t"),
        [],
        "--step-column none: the rows of a sequence are already in order",
    ),
    "semicolons": (
        GOOD.replace(",", ";"),
        ["--delimiter", ","],
        '{}:1: the header is "id;step;a;b;label"',
    ),
    "short row": (GOOD.replace("x,2,2,3,u", "x,2,2,u"), [], "{}:3: the row has 4 cells"),
    "text": (GOOD.replace("y,1,1,1", "y,1,one,1"), [], "{}:4: column 'a' is \"one\""),
    "gap": (
        GOOD.replace("y,1,1,1", "y,1,,1"),
        [],
        "{}:4: column 'a' has no value; expected a number, or --missing interpolate",
    ),
    "step twice": (GOOD.replace("y,2", "y,1"), [], "{}:5: column 'step' is 1 in sequence 'y'"),
    "too large": (
        GOOD.replace("y,1,1,1", "y,1,1e60,1"),
        ["--no-standardize"],
        "{}: sequence 'y': 'a' is 1e+60 at step 1, too large for float32; expected smaller "
        "numbers, or training with --dtype float64",
    ),
    "a label that changes": (
        GOOD.replace("x,2,2,3,u", "x,2,2,3,v"),
        ["--steps", "last"],
        "{}:3: column 'label' is \"v\", but in line 2",
    ),
    "open quotes": (GOOD.replace("x,1,1", '"x,1,1'), [], '{}:2: the row has a " without an end'),
    "not text": ("\0\1\2", [], "{}:1: is no text file"),
    "no labels": (
        GOOD.replace("label", "c").replace(",u", ",1").replace(",v", ",2"),
        [],
        "{}: there are no labels; expected a column",
    ),
    "one class": (GOOD.replace(",v", ",u"), [], "{}: all labels are 'u'; expected at least two"),
    "no such column": (
        GOOD,
        ["--label-column", "kind"],
        "{}:1: there is no column 'kind' (--label-column); there are 'id', 'step', 'a'",
    ),
    "a column with two roles": (
        GOOD,
        ["--target-column", "id"],
        "--target-column is 'id', which is --id-column, too",
    ),
    "a target that is text": (
        GOOD,
        ["--target-column", "label"],
        "{}:2: column 'label' is \"u\"; expected a finite number",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tables(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, options, message = WRONG[name]
    path, output = tmp_path / "data.csv", tmp_path / "m"
    path.write_text(text)
    code, out, err = run(capsys, "train", path, "--quiet", "-o", output, *options)
    assert code == 1
    assert out == ""
    assert err.startswith("fastbptt: error: ")
    assert message.format(path) in err
    assert "=" not in err.replace("==", "").split("expected")[-1]  # no hint in Python
    assert not output.exists()


WRONG_OTHERS: dict[str, tuple[str, bytes, str]] = {
    "no zip": ("a.npz", b"hello", "{}: is no .npz file"),
    "no @data": ("a.ts", b"@classLabel true a b\n", "{}:2: the file ends without a line @data"),
    "class unknown": ("a.ts", b"@classLabel true a b\n@data\n1,2:c\n", '{}:3: the class is "c"'),
    "gap": ("a.ts", b"@classLabel true a b\n@data\n1,?:a\n", "--missing interpolate"),
    "no labels": ("a.ts", b"@classLabel false\n@data\n1,2\n", "{}: there are no labels"),
    "suffix": ("a.doc", b"hello", "{}; expected a file that ends in .csv, .tsv, "),
    "json": ("a.json", b"hello", "and write it as .csv, .npz or .ts"),
}


@pytest.mark.parametrize("name", WRONG_OTHERS)
def test_wrong_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, content, message = WRONG_OTHERS[name]
    path = tmp_path / file
    path.write_bytes(content)
    code, out, err = run(capsys, "train", path, "--quiet")
    assert (code, out) == (1, "")
    assert message.format(path) in err


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "absent.csv"
    code, _, err = run(capsys, "train", path, "--quiet")
    assert code == 1
    assert err == f"fastbptt: error: {path}: No such file or directory\n"


def test_options_that_do_not_fit_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Task(6).ts(tmp_path / "a.ts")
    table = Task(6).csv(tmp_path / "a.csv")
    rising = Task(6).csv(tmp_path / "steps.csv", "steps")
    other = tmp_path / "b.csv"
    other.write_text(GOOD)
    unknown = Task(6)
    unknown.kinds[4] = "sideways"
    unknown.csv(tmp_path / "c.csv")
    for command, message in (
        ([path, "--id-column", "who"], f"{path}: --id-column is for .csv, .tsv"),
        ([tmp_path / "a.doc", "--id-column", "who"], "a file that ends in .csv, .tsv, .txt"),
        ([path, "--steps", "all"], f"{path}: a .ts file has no labels for each step"),
        ([table, "-o", tmp_path / "no" / "m"], f"no such directory ({tmp_path / 'no'})"),
        ([table, "-o", tmp_path], "is a directory; expected a file"),
        ([table, "-o", table], "as DATA is; expected another file"),
        ([table, "--history", tmp_path / "h.txt"], "expected a file that ends in .csv or .json"),
        ([table, "--patience", "3"], "expected --validation or --validation-data"),
        (
            [rising, "--steps", "all", "--target-column", "height", "--class-weight", "balanced"],
            "--class-weight is for classes",
        ),
        ([table, "--resume"], "--resume needs a checkpoint; expected --checkpoint FILE"),
        ([table, "--test", other], f"{other}:1: there is no column 'height'"),
        ([table, "--test", tmp_path / "c.csv"], 'is "sideways"; expected one of classes: down'),
        ([table, "--lr", "3e37"], "expected a training that converges: a smaller --lr"),
        (
            [table, "--optimizer", 'sgd:groups=[{"params":["W_x"],"lr_factor":2}]'],
            "--optimizer: groups[0]['params'] holds 'W_x', which is no parameter of this model",
        ),
        ([table, "--lr", "1e38"], "overflow at step 1; expected a smaller --lr"),
    ):
        code, _, err = run(capsys, "train", *command, "--quiet", "--epochs", 2)
        assert code == 1, command
        assert message in err
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "a.ts", "b.csv", "c.csv", "steps.csv"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "DATA"),
        (["a.csv", "--cell", "transformer"], "'transformer' is unknown; expected rnn, relu"),
        (["a.csv", "--cell", "leaky:x"], "'x' is not a number"),
        (["a.csv", "--cell", "leaky:3"], "argument --cell: alpha is 3.0; expected a number above"),
        (["a.csv", "--cell", "gru:2"], 'expected None because the cell "gru" has none'),
        (["a.csv", "--init", "normal:-1"], "argument --init: init[1] is -1.0; expected a finite"),
        (["a.csv", "--optimizer", "sgd:speed=3"], "'speed=3' is no setting of sgd"),
        (["a.csv", "--optimizer", "adam:eps=-1"], "adam: eps is -1"),
        (["a.csv", "--optimizer", 'adam:groups=[{"params":["E"]}]'], "has no setting of its own"),
        (["a.csv", "--schedule", "step:every=often"], "expected a number, true or false"),
        (["a.csv", "--validation", "1"], "'1' is not a number of at least 0 and below 1"),
        (["a.csv", "--validation", "0.2", "--validation-data", "b.csv"], "not allowed with"),
        (["a.csv", "--label-column", "a", "--target-column", "b"], "not allowed with"),
        (["a.csv", "--hidden", "0"], "'0' is not a positive whole number"),
        (["a.csv", "--steps", "some"], "invalid choice"),
    ],
)
def test_wrong_usage(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", *options])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert "usage: fastbptt train DATA" in err


def test_help_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("train", "predict"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        assert "Formats of DATA" in text
        assert "(default: None)" not in text


# ---------------------------------------------------------------- interruptions

INTERRUPTIBLE = (
    "import signal, sys; from fastbptt.cli import main;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "sys.exit(main(sys.argv[1:]))"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_interrupted_and_taken_up_again(tmp_path: Path) -> None:
    data = Task(60).csv(tmp_path / "a.csv")
    epochs = 60

    def command(name: str, *more: str) -> list[str]:
        files = [f"{tmp_path / name}.safetensors", f"{tmp_path / name}.json"]
        options = ["-o", files[0], "--history", files[1], "--hidden", "64", "--layers", "2"]
        options += ["--threads", "1", "--epochs", str(epochs), "--dropout", "0.1", *more]
        return [sys.executable, "-c", INTERRUPTIBLE, "train", data, *options]

    checkpoint = str(tmp_path / "checkpoint")
    first = command("broken", "--checkpoint", checkpoint)
    with subprocess.Popen(
        first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        while not child.stderr.readline().startswith("epoch  2/"):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        try:
            _, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130
    assert "Traceback" not in err
    assert f"; the model is in {tmp_path / 'broken.safetensors'}" in err
    history = fastbptt.History.load(tmp_path / "broken.json")
    assert history.stopped == "interrupted"
    assert 2 <= len(history) < epochs
    model = fastbptt.load(tmp_path / "broken.safetensors")
    assert model.metadata["history"]["stopped"] == "interrupted"

    for name, more in (("resumed", ("--checkpoint", checkpoint, "--resume")), ("whole", ())):
        done = subprocess.run(
            command(name, *more), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    assert same_weights(tmp_path / "resumed.safetensors", tmp_path / "whole.safetensors")
    assert len(fastbptt.History.load(tmp_path / "resumed.json")) == epochs


@pytest.mark.parametrize(
    ("options", "lr"),
    [
        ([], 0.001),
        (["--lr", 0.02], 0.02),
        (["--optimizer", "adam:lr=0.005"], 0.005),
        (["--optimizer", "sgd"], 0.01),
        (["--optimizer", "rmsprop", "--schedule", "constant"], 0.01),
    ],
)
def test_the_settings_are_those_that_were_used(
    options: list[Any], lr: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = Task(8).csv(tmp_path / "train.csv"), tmp_path / "model.safetensors"
    settings = trained(capsys, data, "-o", file, "--epochs", 1, *QUIET, *options)["settings"]
    assert settings["lr"] == lr
    assert settings["threads"] == fastbptt.get_num_threads()
    assert fastbptt.load(file).metadata["settings"] == settings


@pytest.mark.parametrize("loss", ["quantile:0.25,0.5,0.75", "gaussian"])
def test_outputs_of_a_distribution(
    loss: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions are in the units of the table, those of a float32 model of large numbers, too."""
    rng = np.random.default_rng(0)
    lines = ["id,step,v,p,q"]
    for i in range(60):
        for step, v in enumerate(rng.normal(size=3)):
            lines.append(f"{i},{step},{v},{5e6 + v},{1000 * v + 300 * rng.normal()}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    command = [tmp_path / "a.csv", "--target-column", "p,q", "--steps", "all"]
    options = ["--loss", loss, "--epochs", 150, "--lr", 0.02, "--quiet", "-o", tmp_path / "m"]
    result = trained(capsys, *command, *SMALL, *options)
    scores = result["validation"]
    assert scores["rmse"] < 330 and scores["r2"] > 0.5
    assert ("crossing" in scores) is loss.startswith("quantile")
    code, out, _ = run(capsys, "predict", tmp_path / "m", tmp_path / "a.csv", "--json")
    assert code == 0
    rows = json.loads(out)["predictions"]
    names = ["q0.25", "q0.5", "q0.75"] if loss != "gaussian" else ["", "std"]
    for target, center, deviation in (("p", 5e6, 0.1), ("q", 0.0, 300.0)):
        columns = [f"predicted {target} {name}".rstrip() for name in names]
        assert set(columns) <= set(rows[0])
        found = np.array([[row[name] for name in columns] for row in rows])
        if loss == "gaussian":
            assert abs(found[:, 0].mean() - center) < 300
            assert found[:, 1].mean() < 3 * deviation
        else:
            spread = found[:, 2] - found[:, 0]
            assert 0 < spread.mean() < 6 * deviation
            assert abs(found[:, 1].mean() - center) < 300


def test_a_report_of_quantiles_needs_the_median(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Task(40).csv(tmp_path / "train.csv", "price")
    command = ["train", data, "--target-column", "price", *SMALL, "--loss", "quantile:0.1,0.9"]
    code, _, err = run(capsys, *command, "--report", tmp_path / "r.html")
    assert code != 0 and '--loss is "quantile:0.1,0.9", without the median; expected 0.5' in err
    result = trained(capsys, *command[1:], "--epochs", 1)
    assert set(result["validation"]) == {"count", "coverage_error", "crossing"}
