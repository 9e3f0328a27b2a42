"""`missing="mask"` keeps labels and targets that are missing; a column holds weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fastbptt
from fastbptt.datasets import from_frame, read, read_csv

HEAD = "id,step,v,label,t,w\n"
ROWS = [
    "a,1,0.5,x,1.5,1",
    "a,2,,,,0",
    "b,1,2.0,,,2",
    "b,2,3.0,,,2",
    "c,1,4.0,y,2.5,3",
    "c,2,5.0,y,NA,0.5",
]
NAN = np.nan


def table(folder: Path, rows: list[str] = ROWS, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(HEAD + "\n".join(rows) + "\n")
    return path


def same(found: Any, wanted: Any) -> bool:
    return bool(np.array_equal(np.asarray(found), np.asarray(wanted), equal_nan=True))


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("order", [1, -1])
def test_tables(tmp_path: Path, order: int) -> None:
    path = table(tmp_path, ROWS[::order])
    names = ["a", "b", "c"][::order]
    options: dict[str, Any] = {"features": ["v"], "missing": "mask"}
    steps = read_csv(path, label="label", steps="all", **options)
    assert same(steps.y, np.array([[0, -1], [-1, -1], [1, 1]])[::order])
    assert steps.classes == ("x", "y") and steps.ids == tuple(names)
    assert same(np.isnan(steps.x[..., 0]), np.array([[0, 1], [0, 0], [0, 0]])[::order] > 0)
    last = read_csv(path, label="label", **options)
    assert same(last.y, np.array([0, -1, 1])[::order])
    targets = read_csv(path, target="t", steps="all", **options)
    assert same(targets.y, np.array([[1.5, NAN], [NAN, NAN], [2.5, NAN]])[::order])
    assert same(read_csv(path, target=["t"], **options).y[:, 0], np.array([1.5, NAN, 2.5])[::order])


@pytest.mark.parametrize("missing", ["nan", "error", "interpolate"])
def test_otherwise_they_are_an_error(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ValueError, match=r"a.csv:\d: column '(v|label)' .*missing=\"|nan"):
        read_csv(table(tmp_path), label="label", features=["v"], missing=missing)


def test_two_labels_of_a_sequence_are_one_too_many(tmp_path: Path) -> None:
    path = table(tmp_path, [*ROWS[:5], "c,2,5.0,x,,1"])
    with pytest.raises(ValueError, match=r'a.csv:7: column \'label\' is "x"'):
        read_csv(path, label="label", features=["v"], missing="mask")


def test_labels_of_a_second_file(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,kind,w\na,x,1\nb,,2\nc,y,3\n")
    path = table(tmp_path)
    options: dict[str, Any] = {"features": ["v"], "missing": "mask"}
    data = read_csv(path, label_file=tmp_path / "labels.csv", label="kind", **options)
    assert same(data.y, [0, -1, 1])
    bare = tmp_path / "bare.csv"
    bare.write_text("id,step,v\na,1,2\nb,1,2\nc,1,1\n")
    weighed = read_csv(
        bare, label_file=tmp_path / "labels.csv", label="kind", weight="w", **options
    )
    assert same(weighed.weights, [1.0, 2.0, 3.0])
    (tmp_path / "few.csv").write_text("id,kind\na,x\nc,y\n")
    with pytest.raises(ValueError, match="which has no row in"):  # may be another name
        read_csv(path, label_file=tmp_path / "few.csv", label="kind", **options)


def test_other_formats(tmp_path: Path) -> None:
    ts = tmp_path / "a.ts"
    ts.write_text("@classLabel true x y\n@data\n1,?,3:x\n2,1,2:?\n3,2,1:y\n")
    assert same(read(ts, missing="mask").y, [0, -1, 1])
    with pytest.raises(ValueError, match='the class is "\\?"'):
        read(ts)
    numbers = tmp_path / "b.ts"
    numbers.write_text("@targetLabel true\n@data\n1,?,3:4.5\n2,1,2:?\n")
    assert same(read(numbers, missing="mask").y, [4.5, NAN])
    named = tmp_path / "c.ts"  # a class may be called so
    named.write_text("@classLabel true ? y\n@data\n1,2:?\n2,1:y\n")
    assert same(read(named, missing="mask").y, [0, 1])

    arff = tmp_path / "a.arff"
    arff.write_text(
        "@attribute a1 numeric\n@attribute a2 numeric\n@attribute label {p,q}\n@data\n"
        "1,2,p\n1,?,?\n?,3,q\n"
    )
    assert same(read(arff, missing="mask").y, [0, -1, 1])

    tsf = tmp_path / "a.tsf"
    tsf.write_text("@attribute n string\n@data\na:1,?,3,4\nb:1,2,3,?\n")
    data = read(tsf, missing="mask", ahead=1)
    assert same(data.y, [[NAN, 3, 4], [2, 3, NAN]])
    assert same(read(tsf, missing="mask", ahead=1, steps="last").y, [4, NAN])


def test_arrays(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(3, 4, 1)
    x[0, 1] = NAN
    cases: dict[str, Any] = {
        "numbers": ({"y": [1.5, NAN, 2.0]}, [1.5, NAN, 2.0]),
        "names": ({"y": ["p", "", "q"]}, [0, -1, 1]),
        "numbers with names": ({"y": [1, -1, 0], "classes": ["p", "q"]}, [1, -1, 0]),
        "-1 is a class": ({"y": [1, -1, 1]}, [1, 0, 1]),  # as in the files of the UCR archive
    }
    for name, (arrays, wanted) in cases.items():
        path = tmp_path / "a.npz"
        np.savez(path, x=x, **arrays)
        assert same(read(path, missing="mask").y, wanted), name
        if name in ("numbers", "numbers with names"):
            with pytest.raises(ValueError, match=r"y.* nan|y holds -1"):
                read(path)


@pytest.mark.parametrize("steps", ["last", "all"])
def test_frames(steps: str) -> None:
    df = pd.DataFrame(
        {
            "who": ["a", "a", "b", "b"],
            "v": [1.0, NAN, 2.0, 3.0],
            "kind": pd.Series(["p", "p", None, None], dtype="string"),
            "size": [1.5, 1.5, NAN, NAN],
        }
    )
    how: dict[str, Any] = {"id": "who", "features": "v", "steps": steps, "missing": "mask"}
    data = from_frame(df, target="kind", **how)
    assert same(data.y, [0, -1] if steps == "last" else [[0, 0], [-1, -1]])
    sizes = from_frame(df, target="size", **how)
    assert same(sizes.y, [1.5, NAN] if steps == "last" else [[1.5, 1.5], [NAN, NAN]])
    with pytest.raises(ValueError, match=r'no class.*missing="mask"'):
        from_frame(df, target="kind", **{**how, "missing": "nan"})
    with pytest.raises(ValueError, match="no class in any row"):
        from_frame(df.assign(kind=[None] * 4), target="kind", **how)


def test_a_table_goes_into_fit(tmp_path: Path) -> None:
    data = read_csv(table(tmp_path), label="label", features=["v"], steps="all", missing="mask")
    inputs = fastbptt.Imputer().fit_transform(data.x)
    model = fastbptt.GRU(2, 3, 2, seed=0)
    history = fastbptt.fit(model, inputs, data.y, steps="all", missing="mask", epochs=1, verbose=0)
    assert np.isfinite(history["loss"][0])


# ---------------------------------------------------------------- weights


def test_weights(tmp_path: Path) -> None:
    path = table(tmp_path)
    steps = read_csv(path, weight="w", target="t", steps="all", missing="mask")
    assert same(steps.weights, [[1, 0], [2, 2], [3, 0.5]])
    assert steps.feature_names == ("v",)  # neither the weights, nor "label"
    even = table(
        tmp_path, [row.replace(",0.5", ",").replace("a,2,,,,0", "a,2,1,,,") for row in ROWS]
    )
    last = read_csv(even, weight="w", label="label", exclude=["t"], missing="mask")
    assert same(last.weights, [1, 2, 3]) and last.feature_names == ("v",)
    ragged = table(tmp_path, ROWS[:5])
    parts = read_csv(ragged, weight="w", target="t", steps="all", missing="mask").weights
    assert isinstance(parts, list) and [one.tolist() for one in parts] == [[1, 0], [2, 2], [3]]
    turned = table(tmp_path, ROWS[::-1])
    back = read_csv(turned, weight="w", target="t", steps="all", missing="mask")
    assert same(back.weights, [[3, 0.5], [2, 2], [1, 0]])
    assert read_csv(path, label="label", features=["v"], missing="mask").weights is None


def test_weights_with_decimal_commas_and_in_wide_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;step;v;label;w\na;1;0,5;x;0,25\nb;1;1,5;y;1\n")
    assert same(read_csv(path, weight="w").weights, [0.25, 1.0])
    path.write_text("id,w,label,1,2,3\na,2,x,1,2,3\nb,0,y,3,2,1\n")
    assert same(read_csv(path, weight="w", layout="wide").weights, [2.0, 0.0])


REFUSED: dict[str, Any] = {
    "negative": (
        "w",
        [*ROWS[:5], "c,2,5,y,1,-3"],
        {},
        r"a.csv:7: column 'w' is -3; expected a fin",
    ),
    "text": ("w", [*ROWS[:5], "c,2,5,y,1,much"], {}, "a.csv:7: column 'w' is \"much\""),
    "none": ("w", [*ROWS[:5], "c,2,5,y,1,"], {}, "a.csv:7: column 'w' is empty"),
    "zeros": ("w", [row[: row.rindex(",")] + ",0" for row in ROWS], {}, "'w' is 0 in every row"),
    "a feature": ("w", ROWS, {"features": ["v", "w"]}, "features has 'w', which is weight"),
    "excluded": ("w", ROWS, {"exclude": ["w"]}, "exclude has 'w', which is weight"),
    "the target": ("t", ROWS, {}, "target is 't', which is weight|weight is 't', which is target"),
    "the id": ("id", ROWS, {}, "weight is 'id', which is id"),
    "no column": ("much", ROWS, {}, "weight is 'much'|there is no column 'much'"),
    "no labels": (
        "w",
        ROWS,
        {"target": None, "labels": False, "steps": "last"},
        "weight has no eff",
    ),
    "they differ": ("w", ROWS, {"steps": "last"}, "a.csv:3: column 'w' is \"0\", but in line 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_weights(tmp_path: Path, case: str) -> None:
    weight, rows, options, message = REFUSED[case]
    how = {"target": "t", "steps": "all", "missing": "mask", **options}
    with pytest.raises(ValueError, match=message):
        read_csv(table(tmp_path, rows), weight=weight, **how)
