"""`fastbptt predict`: answers about new files, and messages about wrong ones."""

from __future__ import annotations

import csv
import json
import os
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

OPTIONS = ["--hidden", "8", "--lr", "0.02", "--quiet", "--json"]


def run(capsys: pytest.CaptureFixture[str], *command: object) -> tuple[int, str, str]:
    code = cli.main([str(part) for part in command])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def predicted(capsys: pytest.CaptureFixture[str], *command: object) -> dict[str, Any]:
    code, out, err = run(capsys, "predict", *command, "--json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def fails(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    code, out, err = run(capsys, "predict", *command)
    assert (code, out) == (1, "")
    assert err.startswith("fastbptt: error: ")
    return err


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One model for each kind of labels: classes, prices, classes of steps."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for what, more in (
        ("label", ["--epochs", "25"]),
        ("price", ["--epochs", "40", "--target-column", "price"]),
        ("steps", ["--epochs", "25", "--steps", "all"]),
    ):
        data = Task(60).csv(folder / f"{what}.csv", what)
        found[what] = str(folder / f"{what}.safetensors")
        assert cli.main(["train", data, "-o", found[what], *OPTIONS, *more]) == 0
    return found


def by_hand(path: str, task: Task) -> np.ndarray[Any, Any]:
    """What the model says at the end of each sequence, without the command line."""
    model = fastbptt.load(path)
    scale = model.metadata["standardize"]
    x = [(one.astype(np.float32) - scale["mean"]) / scale["scale"] for one in task.x]
    return np.concatenate([model.forward(one[None].astype(np.float32)).last for one in x])


# ---------------------------------------------------------------- answers


def test_answers_are_those_of_the_model(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(7, seed=2)
    path = task.csv(tmp_path / "new.csv", "none")
    result = predicted(capsys, models["label"], path, "--probabilities")
    logits = by_hand(models["label"], task).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert [one["id"] for one in result["predictions"]] == task.ids
    assert [one["predicted"] for one in result["predictions"]] == [
        CLASSES[i] for i in shares.argmax(axis=1)
    ]
    for one, row in zip(result["predictions"], shares, strict=True):
        np.testing.assert_allclose([one[f"P({name})"] for name in CLASSES], row, atol=1e-5)
        assert one["probability"] == max(one[f"P({name})"] for name in CLASSES)
        assert "label" not in one
    assert result["scores"] is None
    assert result["task"] == "classification"


def test_for_a_reader(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(12, seed=2)
    code, out, err = run(capsys, "predict", models["label"], task.csv(tmp_path / "a.csv"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["id", "label", "predicted", "probability"]
    assert [line.split()[:2] for line in lines[1:13]] == [
        list(pair) for pair in zip(task.ids, task.kinds, strict=True)
    ]
    assert lines[13] == ""
    assert lines[14].startswith("Accuracy ")
    assert "of 12 sequences" in lines[14]
    assert [line.split()[0] for line in lines[-3:]] == list(CLASSES)


def test_scores_are_right(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(30, seed=3)
    task.kinds[:6] = ["up"] * 6  # some are wrong now
    result = predicted(capsys, models["label"], task.csv(tmp_path / "a.csv"))
    right = [one["predicted"] == one["label"] for one in result["predictions"]]
    assert result["scores"]["correct"] == sum(right)
    assert 0 < sum(right) < 30
    confusion = np.array(result["scores"]["confusion"])
    assert confusion.sum(axis=1).tolist() == [task.kinds.count(name) for name in CLASSES]


def test_a_table_of_answers(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Task(5, seed=2).csv(tmp_path / "a.csv")
    output = tmp_path / "answers.csv"
    code, out, _ = run(capsys, "predict", models["label"], path, "-o", output, "--probabilities")
    assert code == 0
    assert out.startswith(f"Wrote 5 predictions to {output}\n\nAccuracy ")
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = predicted(capsys, models["label"], path, "--probabilities")["predictions"]
    assert [{k: str(v) for k, v in one.items()} for one in expected] == rows


def test_numbers(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(9, seed=2)
    result = predicted(capsys, models["price"], task.csv(tmp_path / "a.csv", "price"))
    values = [one["predicted price"] for one in result["predictions"]]
    np.testing.assert_allclose(values, by_hand(models["price"], task)[:, 0], rtol=1e-5)
    assert [one["true price"] for one in result["predictions"]] == task.prices
    errors = np.array(values) - task.prices
    assert result["scores"]["mae"] == pytest.approx(np.abs(errors).mean())
    assert result["scores"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    code, out, _ = run(capsys, "predict", models["price"], task.csv(tmp_path / "b.csv", "none"))
    assert code == 0
    assert len(out.splitlines()) == 10
    assert out.split()[:3] == ["id", "predicted", "price"]


def test_an_answer_for_each_step(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(4, seed=2)
    result = predicted(capsys, models["steps"], task.csv(tmp_path / "a.csv", "steps"))
    places = [
        (name, t + 1) for name, one in zip(task.ids, task.x, strict=True) for t in range(len(one))
    ]
    assert [(one["id"], one["step"]) for one in result["predictions"]] == places
    labels = [label for one in task.rising() for label in one]
    assert [one["label"] for one in result["predictions"]] == labels
    assert result["scores"]["count"] == len(labels)
    assert result["scores"]["accuracy"] > 0.8
    # a model can be asked for the other form, too
    other = predicted(capsys, models["steps"], tmp_path / "a.csv", "--steps", "last")
    assert len(other["predictions"]) == 4
    ends = np.cumsum([len(one) for one in task.x]) - 1
    for one, end in zip(other["predictions"], ends, strict=True):
        assert one["probability"] == pytest.approx(result["predictions"][end]["probability"])


@pytest.mark.parametrize("number", [lambda t: t - 1, lambda t: 10 * t, lambda t: t + 0.5])
def test_steps_are_numbered_as_in_the_file(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], number: Any
) -> None:
    lines = Path(Task(4, seed=2).csv(tmp_path / "a.csv", "steps")).read_text().splitlines()
    head, *rows = [line.split(",") for line in lines]
    rows = [[name, str(number(int(step))), *more] for name, step, *more in rows]
    mixed = [head, *rows[::-1]]  # sequences come as their first rows do, steps in order
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, mixed)) + "\n")
    found = predicted(capsys, models["steps"], tmp_path / "a.csv")["predictions"]
    truth = {(name, step): label for name, step, *_, label in rows}
    assert {(one["id"], str(one["step"])): one["label"] for one in found} == truth
    assert len(found) == len(rows)


# ---------------------------------------------------------------- files that differ


def test_order_of_columns_and_further_ones_do_not_matter(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(4, seed=2)
    expected = predicted(capsys, models["label"], task.csv(tmp_path / "a.csv", "none"))
    path = tmp_path / "b.csv"
    rows = ["note,noise,step,height,id"]
    rows += [f"hello,{noise},{t},{height},{i}" for i, t, height, noise in task.rows({})]
    path.write_text("\n".join(rows))
    assert predicted(capsys, models["label"], path)["predictions"] == expected["predictions"]

    write_npz(tmp_path / "a.npz", task.x, ids=task.ids)
    write_npz(
        tmp_path / "b.npz",
        [one[:, ::-1] for one in task.x],
        ids=task.ids,
        feature_names=["noise", "height"],
    )
    for name in ("a.npz", "b.npz"):
        found = predicted(capsys, models["label"], tmp_path / name)
        assert found["predictions"] == expected["predictions"]
    found = predicted(capsys, models["label"], task.ts(tmp_path / "a.ts"))
    assert [one["predicted"] for one in found["predictions"]] == [
        one["predicted"] for one in expected["predictions"]
    ]
    assert found["scores"]["count"] == 4


def test_columns_are_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task(12)
    text = Path(task.csv(tmp_path / "a.csv")).read_text().replace("id,step", "who,when")
    (tmp_path / "a.csv").write_text(text.replace("label", "kind").replace(",", ";"))
    names = ["--id-column", "who", "--step-column", "when", "--label-column", "kind"]
    names += ["--delimiter", ";"]
    model = tmp_path / "m"
    code, _, err = run(capsys, "train", tmp_path / "a.csv", *names, *OPTIONS, "-o", model)
    assert code == 0, err
    result = predicted(capsys, model, tmp_path / "a.csv")
    assert [one["label"] for one in result["predictions"]] == task.kinds


def test_a_tab_as_messages_write_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(Task(4).csv(tmp_path / "a.csv"))
    path.write_text(path.read_text().replace(",", "\t"))
    model = tmp_path / "m"
    code, _, err = run(capsys, "train", path, *OPTIONS, "--delimiter", ",", "-o", model)
    assert code == 1
    assert r"perhaps --delimiter '\t'" in err
    options = ["--delimiter", r"\t", "--epochs", "1"]
    assert run(capsys, "train", path, *OPTIONS, *options, "-o", model)[0] == 0
    assert len(predicted(capsys, model, path)["predictions"]) == 4


def test_other_features(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(3)
    path = task.csv(tmp_path / "a.csv", "none", "id,step,depth,noise")
    assert (
        f"{path}:1: there is no column 'height'; expected the features that {models['label']} was "
        "trained on: height, noise"
    ) in fails(capsys, models["label"], path)
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text.replace(",", ";"))
    assert "there is no column 'height'" in fails(capsys, models["label"], path)
    assert "perhaps --delimiter ';'" in fails(capsys, models["label"], path, "--delimiter", ",")
    (tmp_path / "a.csv").write_text("")
    assert f"{path}: is empty" in fails(capsys, models["label"], path)
    (tmp_path / "a.csv").write_text("depth,width\n1,2\n")
    message = f"{path}:1: there is no column 'height'; expected the features that"
    assert message in fails(capsys, models["label"], path)
    (tmp_path / "a.csv").write_text("noise\n1\n")
    assert f"{path}:1: there is no column 'height'" in fails(capsys, models["label"], path)
    write_npz(tmp_path / "a.npz", [one[:, :1] for one in task.x])
    assert (
        f"{tmp_path / 'a.npz'}: there are 1 features; {models['label']} was trained on 2 features"
    ) in fails(capsys, models["label"], tmp_path / "a.npz")
    write_npz(tmp_path / "b.npz", task.x, feature_names=["x", "noise"])
    message = fails(capsys, models["label"], tmp_path / "b.npz")
    assert "2 features (x, noise)" in message
    assert "2 features (height, noise)" in message


def test_other_labels(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(3, seed=2)
    task.kinds[1] = "sideways"
    path = task.csv(tmp_path / "a.csv")
    message = fails(capsys, models["label"], path)
    assert f"{path}:" in message
    assert "column 'label' is \"sideways\"; expected one of classes: down, flat, up" in message
    assert "(--no-labels: ignore the labels)" in message
    result = predicted(capsys, models["label"], path, "--no-labels")
    assert result["scores"] is None
    assert len(result["predictions"]) == 3

    broken = Path(path).read_text().replace("s1,1,", "s1,1,x")
    (tmp_path / "b.csv").write_text(broken)
    assert "--no-labels" not in fails(capsys, models["label"], tmp_path / "b.csv")

    np.savez(tmp_path / "a.npz", x=np.ones((3, 4, 2)), y=np.ones(3))
    assert "the labels are numbers; expected classes" in fails(
        capsys, models["label"], tmp_path / "a.npz"
    )
    np.savez(tmp_path / "b.npz", x=np.ones((3, 4, 2)), y=np.ones((3, 2)))
    assert "2 targets per label; expected 1, as the model predicts" in fails(
        capsys, models["price"], tmp_path / "b.npz"
    )
    # a table with classes has no prices: the answers are all that is asked for
    assert predicted(capsys, models["price"], path)["scores"] is None
    with_gaps = Task(2, seed=2)
    with_gaps.kinds = ["", ""]
    assert predicted(capsys, models["label"], with_gaps.csv(tmp_path / "c.csv"))["scores"] is None


# ---------------------------------------------------------------- other models


def test_models_that_say_nothing_of_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fastbptt.LSTM(2, 4, 3, seed=0)
    model.save(tmp_path / "m")
    task = Task(4, seed=2)
    path = task.csv(tmp_path / "a.csv")
    result = predicted(capsys, tmp_path / "m", path)
    x = read_csv(path).x
    expected = fastbptt.predict(model, x)
    for one, row in zip(result["predictions"], expected, strict=True):
        np.testing.assert_allclose([one[f"output {i}"] for i in (1, 2, 3)], row, rtol=1e-6)
    assert result["scores"] is None
    result = predicted(capsys, tmp_path / "m", path, "--steps", "all")
    assert len(result["predictions"]) == sum(map(len, task.x))
    message = fails(capsys, tmp_path / "m", path, "--probabilities")
    assert "is not a classifier; expected no --probabilities" in message
    np.savez(tmp_path / "a.npz", x=np.ones((3, 4, 5)))
    assert "there are 5 features; " in fails(capsys, tmp_path / "m", tmp_path / "a.npz")

    fastbptt.LSTM(2, 4).save(tmp_path / "states")
    assert "has no outputs" in fails(capsys, tmp_path / "states", path)


def test_one_logit_for_two_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = fastbptt.RNN(2, 4, 1, seed=0)
    told = {"task": "classification", "loss": "bce", "classes": ["no", "yes"]}
    model.save(tmp_path / "m", metadata=told)
    path = Task(4, seed=2).csv(tmp_path / "a.csv", "none")
    result = predicted(capsys, tmp_path / "m", path, "--probabilities")
    logits = fastbptt.predict(model, read_csv(path).x)[:, 0]
    for one, logit in zip(result["predictions"], logits, strict=True):
        assert one["P(yes)"] == pytest.approx(1 / (1 + np.exp(-logit)))
        assert one["predicted"] == ("yes" if logit > 0 else "no")


def test_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = fastbptt.GRU(3, 4, 1, embedding=10, seed=0)
    model.save(tmp_path / "m")
    write_npz(tmp_path / "a.npz", [[1, 2, 3], [4, 9]])
    result = predicted(capsys, tmp_path / "m", tmp_path / "a.npz")
    expected = fastbptt.predict(model, [np.array([1, 2, 3]), np.array([4, 9])])
    assert [one["output"] for one in result["predictions"]] == pytest.approx(expected[:, 0])
    path = Task(4).csv(tmp_path / "a.csv", "none")
    assert "tokens are read from .npz files alone" in fails(capsys, tmp_path / "m", path)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"task": "dance"}, "task 'dance'; expected classification or labels or regression"),
        ({"task": "classification", "classes": ["a"]}, "classes ('a',); expected 3"),
        ({"feature_names": ["a"]}, "feature_names ('a',); expected 2"),
        ({"feature_names": "ab"}, "feature_names 'ab'; expected a list of names"),
        ({"standardize": {"mean": [0], "scale": [1]}}, "expected mean and scale of 2 features"),
        ({"standardize": {"mean": [0, 0], "scale": [1, 0]}}, "expected 2 finite numbers above 0"),
        ({"steps": 3}, "steps 3; expected last or all"),
    ],
)
def test_metadata_that_cannot_be(
    told: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fastbptt.RNN(2, 4, 3, seed=0).save(tmp_path / "m", metadata=told)
    found = fails(capsys, tmp_path / "m", Task(2).csv(tmp_path / "a.csv"))
    assert f"{tmp_path / 'm'}: its metadata have " in found
    assert message in found


def test_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Task(2).csv(tmp_path / "a.csv")
    assert f"cannot load {path!r}" in fails(capsys, path, path)
    absent = str(tmp_path / "m")
    assert f"error: {absent}: No such file" in fails(capsys, absent, path)
    assert "expected a file that ends in .csv" in fails(capsys, absent, path, "-o", "a.txt")
    before = Path(path).read_bytes()
    assert "-o is " in fails(capsys, absent, path, "-o", path)
    assert Path(path).read_bytes() == before


def test_in_a_process_of_its_own(models: dict[str, str], tmp_path: Path) -> None:
    path = Task(3, seed=2).csv(tmp_path / "a.csv")
    command = [sys.executable, "-W", "error", "-m", "fastbptt", "predict", models["label"], path]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].split() == ["id", "label", "predicted", "probability"]
    text = Path(path).read_text().replace("s1,", "sä,")
    Path(path).write_text(text, encoding="utf-8")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.splitlines()[1].startswith("s\\xe4 ")


# ---------------------------------------------------------------- a page


@pytest.mark.slow
def test_a_page_about_it(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.html"
    path = Task(12, seed=2).csv(tmp_path / "a.csv")
    code, out, err = run(capsys, "report", models["label"], path, "-o", page)
    assert (code, out) == (0, f"Wrote {page}\n"), err
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in CLASSES)
    page.unlink()
    command = ["--epochs", 2, "--test", path, "--report", page, "-o", tmp_path / "m", *OPTIONS]
    code, _, err = run(capsys, "train", path, *command)
    assert code == 0, err
    assert page.stat().st_size > 10_000


def test_the_columns_of_the_training_table_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(12, seed=2)
    path = task.csv(tmp_path / "a.csv", header="walk,step,height,noise,gait")
    model = tmp_path / "m"
    columns = ["--id-column", "walk", "--label-column", "gait"]
    assert run(capsys, "train", path, *columns, "-o", model, "--epochs", 1, *OPTIONS)[0] == 0
    code, out, _ = run(capsys, "predict", model, path)
    assert code == 0
    assert out.split()[:2] == ["walk", "label"]
    assert run(capsys, "predict", model, path, "-o", tmp_path / "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text().startswith("walk,label,predicted,")
    assert "id" in predicted(capsys, model, path)["predictions"][0]
    other = task.csv(tmp_path / "b.csv", "none")  # with a column id
    assert run(capsys, "predict", model, other)[1].split()[0] == "id"

    other = task.csv(tmp_path / "c.csv", "none", header="walk,step,height,noise")
    code, _, err = run(capsys, "report", model, other, "-o", tmp_path / "page.html")
    assert code == 1
    assert (
        f'{other}: there are no labels; expected the column "gait" of the training table '
        "(or --label-column)" in err
    )


def test_decimal_commas(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;step;height;noise\na;1;0.357;1\n")
    expected = predicted(capsys, models["label"], path)["predictions"]
    path.write_text("id;step;height;noise\na;1;0,357;1\n")
    assert predicted(capsys, models["label"], path)["predictions"] == expected
    path.write_text("id;step;height;noise\na;1;0,35x;1\n")
    assert "column 'height' is \"0,35x\"; expected a finite" in fails(capsys, models["label"], path)
    path.write_text("id;step;height;noise\na;1;1,357;1\n")
    assert "which may be 1.357 or 1357; expected --decimal ','" in fails(
        capsys, models["label"], path
    )
    assert predicted(capsys, models["label"], path, "--decimal", ",")["predictions"]


def test_no_page(
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Task(12, seed=2).csv(tmp_path / "a.csv")
    page = tmp_path / "page.html"
    for table, message in (
        (Task(3).csv(tmp_path / "b.csv", "none"), "there are no labels; expected a column"),
        (path, "its metadata have no task; expected a model of `fastbptt train`"),
    ):
        model = models["label"]
        if table == path:
            fastbptt.RNN(2, 4, 3).save(tmp_path / "m")
            model = str(tmp_path / "m")
        code, _, err = run(capsys, "report", model, table, "-o", page)
        assert code == 1
        assert message in err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run(capsys, "train", path, "--epochs", 1, "--report", page)
    assert (code, out) == (1, ""), "before any work"
    assert "plots need matplotlib" in err
    assert not page.exists()
