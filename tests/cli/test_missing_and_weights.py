"""Missing values, weights of rows, pooling and losses with parameters on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import cli
from fastbptt.datasets import read_csv

RNG = np.random.default_rng(0)


def write(path: Path, count: int = 24, steps: int = 5, gaps: str = "", weights: str = "") -> None:
    """Write sequences that differ by their label; gaps: "features", "labels", "sequences"."""
    rng = np.random.default_rng(count)
    rows = []
    for i in range(count):
        for t in range(steps):
            u, v = rng.normal() + i % 2, rng.normal()
            label, size = "pq"[i % 2], f"{i + (t if 'labels' in gaps else 0):.1f}"
            first = f"{u:.3f}" if "features" not in gaps or t == 0 or rng.uniform() > 0.3 else ""
            if ("labels" in gaps and rng.uniform() < 0.6) or ("sequences" in gaps and i % 3 == 2):
                label = size = ""
            cells = [f"s{i}", t, first, f"{v:.3f}", label, size]
            if weights:
                cells.append({"sequences": i % 3, "steps": (i + t) % 3}[weights])
            rows.append(",".join(map(str, cells)))
    head = "id,step,u,v,label,size" + ",w" * bool(weights)
    path.write_text("\n".join([head, *rows]) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = "--hidden 3 --epochs 2 --quiet --lr 0.01"


def run(line: str, capsys: Any, code: int = 0) -> str:
    """Run a command; return what it printed."""
    capsys.readouterr()
    found = cli.main(line.split())
    out, err = capsys.readouterr()
    assert found == code, out + err
    return out + err


def trained(line: str, capsys: Any) -> fastbptt.Recurrent:
    run(f"train {line} -o m.st {SMALL}", capsys)
    return fastbptt.load("m.st")


# ---------------------------------------------------------------- missing values


def test_the_network_of_fit(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv", gaps="features labels")
    kept = f"{SMALL} --exclude-columns size --steps all --missing mask"
    text = run(f"train a.csv -o m.st {kept} --dtype float64", capsys)
    model = fastbptt.load("m.st")
    data = read_csv("a.csv", exclude=["size"], steps="all", missing="mask")
    assert re.search(r"Missing:   \d+ of 120 labels, values of 1 feature: u\n", text)
    assert model.input_size == 3 and model.metadata["imputer"]["features"] == [0]
    scaler = fastbptt.Standardizer(missing="mask").fit(data.x)
    inputs = fastbptt.Imputer().fit_transform(scaler.transform(data.x))
    twin = fastbptt.GRU(3, 3, 2, seed=0, init="keras", dtype="float64")
    fastbptt.fit(
        twin,
        inputs,
        data.y,
        loss="cross_entropy",
        steps="all",
        missing="mask",
        epochs=2,
        optimizer=fastbptt.Adam(0.01),
        schedule="cosine",
        clip_norm=1.0,
        verbose=0,
    )
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    scored = fastbptt.evaluate(
        model, inputs, data.y, loss="cross_entropy", steps="all", missing="mask", metrics="accuracy"
    )
    assert f"accuracy {scored['accuracy']:.4f}" in text


@pytest.mark.parametrize("target", ["--exclude-columns size", "--target-column size"])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_train_and_predict(folder: Path, capsys: Any, target: str, steps: str) -> None:
    gaps = "features " + ("labels" if steps == "all" else "sequences")
    write(folder / "a.csv", gaps=gaps)
    write(folder / "new.csv", 6, gaps=gaps)
    if "target" in target:
        target += " --exclude-columns label"
    text = run(f"train a.csv {target} --steps {steps} --missing mask -o m.st {SMALL}", capsys)
    assert run(text.rpartition("Next:  fastbptt ")[2].strip(), capsys)  # as it stands
    found = json.loads(run("predict m.st new.csv --json", capsys))
    assert len(found["predictions"]) == (6 if steps == "last" else 30)
    name = "true size" if "target" in target else "label"
    empty = [one for one in found["predictions"] if one[name] is None]
    assert 0 < len(empty) < len(found["predictions"])
    assert found["scores"]["count"] == len(found["predictions"]) - len(empty)
    run("predict m.st new.csv -o p.csv", capsys)
    rows = (folder / "p.csv").read_text().splitlines()
    at = rows[0].split(",").index(name)
    assert sum(not row.split(",")[at] for row in rows[1:]) == len(empty)
    filled = run("predict m.st new.csv --no-labels --missing interpolate", capsys)
    assert len(filled.splitlines()) == len(found["predictions"]) + 1


def test_arrays_and_series(folder: Path, capsys: Any) -> None:
    x = RNG.normal(size=(20, 6, 2))
    x[3, 2, 1] = np.nan
    y = np.where(np.arange(20) % 4 == 0, np.nan, np.arange(20) % 2)
    np.savez("a.npz", x=x, y=y)
    text = run(f"train a.npz --missing mask -o m.st {SMALL}", capsys)
    assert (
        "2 classes" in text and "Missing:   5 of 20 labels, values of 1 feature: feature 2" in text
    )
    assert "15 sequences" in text and "15 of 15" not in text.partition("accuracy")[0]
    (folder / "a.tsf").write_text("@attribute n string\n@data\na:1,?,3,4,3,2\nb:1,2,?,2,1,1\n")
    refused = run("train a.tsf", capsys, 1)
    line = refused.rpartition("fastbptt ")[2].strip()  # one corrected command
    assert line == "train a.tsf --ahead 1 --missing mask"
    assert "Missing:   2 of 10 labels, values of 1 feature: value" in run(f"{line} {SMALL}", capsys)
    (folder / "whole.tsf").write_text("@attribute n string\n@data\na:1,2,3,4\nb:1,2,3,2\n")
    assert run("train whole.tsf", capsys, 1).endswith("fastbptt train whole.tsf --ahead 1\n")


def test_validation_and_test_files(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv", gaps="features sequences")
    write(folder / "b.csv", 9, gaps="features sequences")
    other = "--exclude-columns size --missing mask --validation-data b.csv --test b.csv"
    text = run(f"train a.csv {other} {SMALL}", capsys)
    assert "Validation accuracy" in text and "of 6 sequences" in text
    text = (folder / "b.csv").read_text()
    (folder / "b.csv").write_text(re.sub(r"(?m)^(s1,2,[^,]*),[^,]*", r"\1,", text))
    text = run(f"train a.csv {other} {SMALL}", capsys, 1)
    assert "b.csv: sequence 's1': 'v' has no value at step 3" in text


@pytest.mark.parametrize(
    ("gaps", "options", "message"),
    [
        ("features", "", "column 'u' has no value; expected a number, or --missing interpolate or"),
        ("labels", "--steps all", "column 'label' is empty.*--missing mask"),
        ("sequences", "", "column 'label' has no value on any row.*--missing mask"),
    ],
)
def test_gaps_are_refused_unless_asked_for(
    folder: Path, capsys: Any, gaps: str, options: str, message: str
) -> None:
    write(folder / "a.csv", gaps=gaps)
    text = run(f"train a.csv --exclude-columns size {options} {SMALL}", capsys, 1)
    assert re.search(message, text)
    assert sorted(one.name for one in folder.iterdir()) == ["a.csv"]


def test_a_model_without_gaps(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv")
    write(folder / "b.csv", 6, gaps="features")
    write(folder / "c.csv", 6, gaps="sequences")
    model = trained("a.csv --exclude-columns size", capsys)
    assert model.metadata["imputer"] is None
    assert "has no value at step" not in run("predict m.st c.csv --missing mask", capsys)
    text = run("predict m.st b.csv --missing mask", capsys, 1)
    assert re.search(
        r"'u' has no value at step .*\(predict --missing interpolate fills gaps\)", text
    )
    run("predict m.st b.csv --missing interpolate", capsys)
    masked = trained("a.csv --exclude-columns size --missing mask", capsys)
    assert masked.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    text = run("predict m.st b.csv --missing mask", capsys, 1)
    assert "'u' has no value at step" in text


def test_reports_of_what_has_labels(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    pytest.importorskip("matplotlib")
    write(folder / "a.csv", gaps="features sequences")
    trained("a.csv --exclude-columns size --missing mask", capsys)
    given: dict[str, Any] = {}

    def report(model: Any, x: Any, y: Any, *rest: Any, **options: Any) -> None:
        given.update(x=x, y=y, **options)

    monkeypatch.setattr(fastbptt, "report", report)
    run("report m.st a.csv -o r.html", capsys)
    assert len(given["x"]) == len(given["y"]) == 16 and min(given["y"]) == 0
    assert given["feature_names"] == ["u", "v", "u missing"]


@pytest.mark.parametrize(
    ("imputer", "message"),
    [
        ([3], "its metadata have a wrong imputer"),
        ({"n_features_in": 2, "features": [0, 1]}, "its metadata have imputer .*in all"),
        ({"n_features_in": 2, "features": [5]}, "its metadata have a wrong imputer"),
    ],
)
def test_damaged_metadata(folder: Path, capsys: Any, imputer: Any, message: str) -> None:
    write(folder / "a.csv", gaps="features")
    model = trained("a.csv --exclude-columns size --missing mask", capsys)
    model.metadata["imputer"] = imputer
    model.save("m.st")
    assert re.search(message, run("predict m.st a.csv", capsys, 1))


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("steps", ["last", "all"])
def test_weights_of_a_column(folder: Path, capsys: Any, steps: str) -> None:
    write(folder / "a.csv", weights="steps" if steps == "all" else "sequences")
    how = f"--exclude-columns size --steps {steps} --dtype float64 --no-standardize"
    text = run(f"train a.csv {how} --weight-column w -o m.st {SMALL}", capsys)
    model = fastbptt.load("m.st")
    data = read_csv("a.csv", exclude=["size"], steps=steps, weight="w")
    twin = fastbptt.GRU(2, 3, 2, seed=0, init="keras", dtype="float64")
    fastbptt.fit(
        twin,
        data.x,
        data.y,
        steps=steps,
        sample_weight=data.weights,
        epochs=2,
        optimizer=fastbptt.Adam(0.01),
        schedule="cosine",
        clip_norm=1.0,
        verbose=0,
    )
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    scored = fastbptt.evaluate(
        twin, data.x, data.y, steps=steps, sample_weight=data.weights, metrics="accuracy"
    )
    assert f"accuracy {scored['accuracy']:.4f}, weighted: " in text
    predicted = run("predict m.st a.csv", capsys)
    assert f"Accuracy {scored['accuracy']:.4f}, weighted: " in predicted
    plain = (folder / "a.csv").read_text().splitlines()
    (folder / "b.csv").write_text("\n".join(row.rpartition(",")[0] for row in plain) + "\n")
    assert "weighted" not in run("predict m.st b.csv", capsys)


def test_where_a_weight_is_zero_the_target_is_not_read(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv", weights="steps")
    rows = (folder / "a.csv").read_text().splitlines()
    odd = [re.sub(r",[^,]*,0$", ",1e30,0", row) for row in rows]
    (folder / "b.csv").write_text("\n".join(odd) + "\n")
    how = "--exclude-columns label --target-column size --steps all --weight-column w"
    one, other = (trained(f"{name} {how}", capsys) for name in ("a.csv", "b.csv"))
    assert one.parameters.flat.tobytes() == other.parameters.flat.tobytes()


def test_weights_of_held_out_data(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv", weights="sequences")
    write(folder / "plain.csv", 9)
    how = "--exclude-columns size --weight-column w"
    text = run(f"train a.csv {how} --validation 0.25 --test a.csv {SMALL}", capsys)
    assert text.count("weighted") == 2
    text = run(f"train a.csv {how} --validation-data plain.csv {SMALL}", capsys)
    assert "Validation accuracy" in text and "weighted" not in text


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train a.csv --weight-column much", "there is no column 'much'|--weight-column"),
        ("train a.csv --weight-column v --exclude-columns size", "column 'v' is -"),
        ("train a.csv --weight-column w --feature-columns u,w", "--feature-columns has 'w', which"),
        ("train a.csv --weight-column label", "which is --"),
        ("train a.npz --weight-column w", "--weight-column is for .csv"),
        ("report m.st a.csv -o r.html --weight-column w", "no effect on a report"),
        ("predict m.st a.csv --no-labels --weight-column w", "no effect with --no-labels"),
        ("predict m.st bare.csv --weight-column w", "no effect: bare.csv has no labels"),
    ],
)
def test_refused_weights(folder: Path, capsys: Any, command: str, message: str) -> None:
    write(folder / "a.csv", weights="sequences")
    np.savez("a.npz", x=np.ones((4, 3, 1)), y=[0, 1, 0, 1])
    (folder / "bare.csv").write_text("id,step,u,v,w\na,1,2,3,1\na,2,2,3,1\n")
    if "m.st" in command:
        trained("a.csv --exclude-columns size,w", capsys)
    assert re.search(message, run(command, capsys, 1))


# ---------------------------------------------------------------- pooling and losses


@pytest.mark.parametrize("steps", ["mean", "max"])
def test_pooling(folder: Path, capsys: Any, steps: str) -> None:
    write(folder / "a.csv")
    how = f"--exclude-columns size --steps {steps} --dtype float64 --no-standardize"
    model = trained(f"a.csv {how}", capsys)
    assert model.metadata["steps"] == steps
    data = read_csv("a.csv", exclude=["size"])
    found = json.loads(run("predict m.st a.csv --json", capsys))
    probs = fastbptt.probabilities(fastbptt.predict(model, data.x, steps=steps))
    assert [one["probability"] for one in found["predictions"]] == pytest.approx(probs.max(axis=1))
    assert found["scores"]["count"] == 24
    target = f"--exclude-columns label --target-column size --steps {steps}"
    assert "target per sequence" in run(f"train a.csv {target} {SMALL}", capsys)
    np.savez("a.npz", x=np.ones((4, 3, 1)), y=[0, 1, 0, 1])
    assert "classes per sequence" in run(f"train a.npz --steps {steps} {SMALL}", capsys)
    run("report m.st a.csv -o one.html", capsys)
    run(f"train a.csv {how} -o m.st --report two.html --hidden 3 --epochs 2", capsys)
    for name in ("one.html", "two.html"):
        page = (folder / name).read_text("utf-8")
        assert f">{steps}<" in page
        assert "confusion" in page.lower()


def test_label_smoothing_and_focal_weighting(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv")
    how = "--exclude-columns size --dtype float64 --no-standardize"
    loss = "cross_entropy:label_smoothing=0.1,gamma=2"
    model = trained(f"a.csv {how} --loss {loss}", capsys)
    data = read_csv("a.csv", exclude=["size"])
    twin = fastbptt.GRU(2, 3, 2, seed=0, init="keras", dtype="float64")
    fastbptt.fit(
        twin,
        data.x,
        data.y,
        loss=fastbptt.Loss("cross_entropy", label_smoothing=0.1, gamma=2.0),
        epochs=2,
        optimizer=fastbptt.Adam(0.01),
        schedule="cosine",
        clip_norm=1.0,
        verbose=0,
    )
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert run("predict m.st a.csv", capsys)


def test_class_weights_of_steps(folder: Path, capsys: Any) -> None:
    write(folder / "a.csv")
    how = "--exclude-columns size --steps all"
    balanced = trained(f"a.csv {how} --class-weight balanced --validation 0.3", capsys)
    plain = trained(f"a.csv {how} --validation 0.3", capsys)
    assert balanced.metadata["settings"]["class_weight"] == "balanced"
    assert balanced.parameters.flat.shape == plain.parameters.flat.shape
