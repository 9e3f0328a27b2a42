"""Tables (.csv), arrays (.npz), and what is common to all readers."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbptt.datasets import Sequences, pad, read, read_csv, read_npz, write_npz

NAN = np.nan
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@contextmanager
def refuses(message: str, error: type[Exception] = ValueError) -> Iterator[None]:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        yield


def listed(x: Any) -> list[Any]:
    return [one.tolist() for one in x]


# ---------------------------------------------------------------- csv

TEXT = """\
id,step,speed,height,label
b,2,3,30,run
a,1,1,10,walk
b,1,4,40,run
a,3,,,walk
a,2,2,NA,
"""


def test_rows_are_put_in_order(tmp_path: Path) -> None:
    data = read_csv(write(tmp_path, TEXT))
    assert isinstance(data.x, list)
    np.testing.assert_array_equal(data.x[0], [[4, 40], [3, 30]])
    np.testing.assert_array_equal(data.x[1], [[1, 10], [2, NAN], [NAN, NAN]])
    assert data.x[0].dtype == np.float64
    assert data.ids == ("b", "a")
    assert data.classes == ("run", "walk")
    assert data.y is not None
    assert np.asarray(data.y).tolist() == [0, 1]
    assert np.asarray(data.y).dtype == np.int64
    assert data.feature_names == ("speed", "height")
    assert data.source == str(tmp_path / "a.csv")


def test_gaps_are_filled_within_a_sequence(tmp_path: Path) -> None:
    data = read_csv(write(tmp_path, TEXT), missing="interpolate", features=["height"])
    assert listed(data.x) == [[[40], [30]], [[10], [10], [10]]]


def test_equal_lengths_are_one_array(tmp_path: Path) -> None:
    data = read_csv(write(tmp_path, "id,step,v\na,1,5\nb,1,6\n"), dtype="float64")
    assert isinstance(data.x, np.ndarray)
    assert data.x.tolist() == [[[5]], [[6]]]
    assert data.x.dtype == np.float64
    assert data.y is None
    assert data.classes is None


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_quotes_line_ends_and_delimiters(tmp_path: Path, newline: str) -> None:
    text = '\ufeffid;step;"the; value";label\n\n"a;1";1;2.5;"x ""y"""\n"a;1";2; 3 ;"x ""y"""'
    data = read_csv(write(tmp_path, text.replace("\n", newline)), delimiter=";")
    assert data.ids == ("a;1",)
    assert data.feature_names == ("the; value",)
    assert data.classes == ('x "y"',)
    assert listed(data.x) == [[[2.5], [3]]]


def test_classes_in_order(tmp_path: Path) -> None:
    rows = [f"{i},1,0,{label}" for i, label in enumerate(["10", "9", "2.5", "9"])]
    data = read_csv(write(tmp_path, "\n".join(["id,step,v,label", *rows])))
    assert data.classes == ("2.5", "9", "10")
    assert np.asarray(data.y).tolist() == [2, 1, 0, 1]
    rows[0] = "0,1,0,nan"
    with pytest.raises(ValueError, match="column 'label' has no value on any row of sequence '0'"):
        read_csv(write(tmp_path, "\n".join(["id,step,v,label", *rows])))
    data = read_csv(
        write(tmp_path, "\n".join(["id,step,v,label", *rows])), classes=["9", "2.5", "nan"]
    )
    assert np.asarray(data.y).tolist() == [2, 0, 1, 0]


def test_one_target_and_several(tmp_path: Path) -> None:
    path = write(tmp_path, "id,step,v,p,q\na,1,0,.5,1\na,2,0,,1\nb,1,0,2,3\n")
    data = read_csv(path, target="p")
    assert data.classes is None
    assert data.feature_names == ("v", "q")
    assert np.asarray(data.y).tolist() == [0.5, 2]
    assert np.asarray(data.y).dtype == np.float64
    data = read_csv(path, target=["q", "p"])
    assert np.asarray(data.y).tolist() == [[1, 0.5], [3, 2]]
    assert data.feature_names == ("v",)


def test_labels_and_targets_for_each_step(tmp_path: Path) -> None:
    path = write(tmp_path, "id,step,v,label\na,2,0,x\na,1,0,y\nb,1,0,y\n")
    data = read_csv(path, steps="all")
    assert isinstance(data.y, list)
    assert listed(data.y) == [[1, 0], [1]]
    path = write(tmp_path, "id,step,v,t\na,2,0,1\na,1,0,2\nb,1,0,3\nb,2,0,4\n")
    data = read_csv(path, steps="all", target="t")
    assert isinstance(data.y, np.ndarray)
    assert data.y.tolist() == [[2, 1], [3, 4]]
    data = read_csv(path, steps="all", target=["t"])
    assert np.asarray(data.y).shape == (2, 2, 1)


def test_a_column_label_is_never_a_feature_by_accident(tmp_path: Path) -> None:
    path = write(tmp_path, "id,step,v,t,label\na,1,0,1,5\n")
    assert read_csv(path, target="t").feature_names == ("v",)
    assert read_csv(path, label="t").feature_names == ("v",)
    assert read_csv(path, label="t", features=["label", "v"]).feature_names == ("label", "v")


def test_without_labels(tmp_path: Path) -> None:
    table = write(tmp_path, "id,step,speed,label,price\na,1,3,x,?\na,2,4,y,none of your business\n")
    for options in ({}, {"label": "label"}, {"target": "label"}, {"steps": "all"}):
        given = {"features": ["speed"], **options}
        data = read_csv(table, labels=False, **given)  # type: ignore[arg-type]
        assert data.y is None
        assert data.classes is None
        assert listed(data.x) == [[[3.0], [4.0]]]
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((2, 3, 1)), y=np.ones(7))
    assert read_npz(path, labels=False).y is None
    ts = write(tmp_path, "@classLabel true a b\n@data\n1,2:a\n3,4:?\n", "a.ts")
    data = read(ts, labels=False)
    assert data.y is None
    assert data.classes is None
    assert listed(data.x) == [[[1.0], [2.0]], [[3.0], [4.0]]]
    with pytest.raises(TypeError, match="labels is 1; expected True or False"):
        read_csv(table, labels=1)  # type: ignore[arg-type]


def test_an_empty_column_of_labels_says_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "id,step,speed,label\na,1,3,\na,2,4, \n")
    data = read_csv(path)
    assert data.y is None
    assert data.feature_names == ("speed",)
    with refuses(f"{path}:2: column 'label' has no class in any row; expected at least one"):
        read_csv(path, label="label")


def test_one_sequence_without_steps(tmp_path: Path) -> None:
    data = read_csv(write(tmp_path, "a,b\n1,2\n3,4\n"), id=None, step=None)
    assert listed(data.x) == [[[1, 2], [3, 4]]]
    assert data.ids == ("",)


HEAD = "id,step,v,label\n"
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty": ("", {}, "{}: is empty; expected a header and one row per step"),
    "header only": (HEAD, {}, "{}: has no row after the header; expected one per step"),
    "short row": (
        HEAD + "a,1,0,x\n\na,2,0\n",
        {},
        "{}:4: the row has 3 cells; expected 4, as the header has",
    ),
    "delimiter": (
        "id;step;v\na;1;2\n",
        {"delimiter": ","},
        "{}:1: the header is \"id;step;v\", one column with delimiter=','; expected several: "
        "perhaps delimiter=';'",
    ),
    "no id": (
        "case,step,v\na,1,2\n",
        {},
        "{}:1: there is no column 'id' (id=); there are 'case', 'step', 'v'; id=None: all rows "
        "are one sequence",
    ),
    "no step": (
        "id,v\na,1\n",
        {},
        "{}:1: there is no column 'step' (step=); there are 'id', 'v'; step=None: the rows of a "
        "sequence are already in order",
    ),
    "no label": (
        HEAD + "a,1,0,x\n",
        {"label": "class"},
        "{}:1: there is no column 'class' (label=); there are 'id', 'step', 'v', 'label'",
    ),
    "no target": (
        HEAD + "a,1,0,x\n",
        {"target": ["v", "w"]},
        "{}:1: there is no column 'w' (target=); there are 'id', 'step', 'v', 'label'",
    ),
    "no feature": (
        HEAD + "a,1,0,x\n",
        {"features": ["w"]},
        "{}:1: there is no column 'w' (features=); there are 'id', 'step', 'v', 'label'",
    ),
    "nothing left": (
        "id,step,label\na,1,x\n",
        {},
        "{}:1: no column is left for features; there are id, step, label",
    ),
    "twice": ("id,step,v,v\na,1,0,0\n", {}, "{}:1: the header has 'v' twice; expected it once"),
    "index of pandas": (
        ",id,step,v\n0,a,1,0\n",
        {},
        "{}:1: column 1 has no name; expected one (pandas writes its index so: "
        "to_csv(index=False)), or features= to leave it out",
    ),
    "number": (
        HEAD + "a,1,0,x\na,2,o,x\n",
        {},
        "{}:3: column 'v' is \"o\"; expected a finite number, or nothing for a missing value",
    ),
    "infinite": (
        HEAD + "a,1,,x\na,2,inf,x\n",
        {},
        "{}:3: column 'v' is \"inf\"; expected a finite number, or nothing for a missing value",
    ),
    "beyond float32": (
        HEAD + "a,1,0,x\na,2,1e39,x\n",
        {"dtype": "float32"},
        "{}:3: column 'v' is too large: 1e+39 is beyond float32; expected smaller numbers, or "
        'dtype="float64"',
    ),
    "step": (
        HEAD + "a,1,0,x\na,,0,x\n",
        {},
        "{}:3: column 'step' is \"\"; expected a finite number, or an ISO date or time, such as "
        "2024-02-28 or 2024-02-28T13:30:00 (step=None: the rows of a sequence are already in "
        "order)",
    ),
    "step date": (
        HEAD + "a,1/2/2024,0,x\n",
        {},
        "{}:2: column 'step' is \"1/2/2024\"; expected a finite number, or an ISO date or time, "
        "such as 2024-02-28 or 2024-02-28T13:30:00",
    ),
    "step twice": (
        HEAD + "b,1,0,x\na,2,0,x\na,1,0,x\na,2.0,0,x\n",
        {},
        "{}:5: column 'step' is 2.0 in sequence 'a' again, as in line 3; expected each step once",
    ),
    "id empty": (
        HEAD + "a,1,0,x\n ,1,0,x\n",
        {},
        "{}:3: column 'id' is empty; expected the sequence's name",
    ),
    "two labels": (
        HEAD + "b,1,0,x\na,2,0,y\na,1,0,\na,3,0,x\n",
        {},
        "{}:5: column 'label' is \"x\", but in line 3 of sequence 'a' \"y\"; expected the same on "
        "all its rows, or steps=\"all\" with a value on each row: column 'label' has no value in "
        'line 4 (unlabelled="drop" leaves such rows out)',
    ),
    "two targets": (
        "id,step,v,t\na,1,0,2\na,2,0,1\n",
        {"target": "t"},
        "{}:3: column 't' is \"1\", but in line 2 of sequence 'a' \"2\"; expected the same on all "
        'its rows, or steps="all"',
    ),
    "label missing": (
        HEAD + "b,1,0,x\na,2,0,\na,1,0,\n",
        {},
        "{}:4: column 'label' has no value on any row of sequence 'a'; expected one on one of them "
        '(missing="mask": such sequences count nothing)',
    ),
    "no label at all": (
        HEAD + "b,1,0,\n",
        {"label": "label"},
        "{}:2: column 'label' has no class in any row; expected at least one",
    ),
    "label of a step missing": (
        HEAD + "b,1,0,x\na,1,0,\n",
        {"steps": "all"},
        "{}:3: column 'label' is empty; expected a value on each row: steps=\"all\" "
        '(missing="mask": such rows count nothing; unlabelled="drop" leaves them out)',
    ),
    "unknown class": (
        HEAD + "b,1,0,x\na,1,0,y\n",
        {"classes": ["x", "z"]},
        "{}:3: column 'label' is \"y\"; expected one of classes: x, z",
    ),
    "missing": (
        HEAD + "b,2,,x\nb,1,0,x\n",
        {"missing": "error"},
        '{}:2: column \'v\' has no value; expected a number, or missing="nan" or "interpolate"',
    ),
    "missing everywhere": (
        HEAD + "a,1,0,x\nb,2,,x\nb,1,,x\n",
        {"missing": "interpolate"},
        "{}:4: column 'v' has no value in sequence 'b'; expected at least one (exclude= leaves the "
        "column out)",
    ),
    "quotes": (
        HEAD + 'a,1,"0"1,x\n',
        {},
        "{}:2: ',' expected after '\"'; expected a CSV file",
    ),
    "quotes open": (
        HEAD + 'a,1,"0,x\nb,1,0,x\n',
        {},
        '{}:2: the row has a " without an end; expected a second one',
    ),
    "zero byte": (HEAD + "a,1,\0,x\n", {}, "{}:2: is no text file"),
    "label and target": (
        HEAD,
        {"label": "a", "target": "b"},
        "label is 'a' and target is 'b'; expected one of them",
    ),
    "classes and target": (
        HEAD,
        {"classes": ["a"], "target": "b"},
        "classes is ['a'] and target is 'b'; expected one of them",
    ),
    "one column for two": (
        HEAD + "a,1,0,x\n",
        {"label": "step"},
        "label is 'step', which is step, too",
    ),
    "feature and label": (
        HEAD + "a,1,0,x\n",
        {"features": ["v", "label"]},
        "features has 'label', which is label, too",
    ),
    "steps": (HEAD, {"steps": "first"}, 'steps is "first"; expected one of "last", "all"'),
    "no delimiter": (HEAD, {"delimiter": ""}, "delimiter is ''; expected one character"),
    "two delimiters": (HEAD, {"delimiter": ",;"}, "delimiter is ',;'; expected one character"),
    "quote as delimiter": (HEAD, {"delimiter": '"'}, "delimiter is '\"'; expected one character"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tables(tmp_path: Path, name: str) -> None:
    text, options, message = WRONG[name]
    path = write(tmp_path, text)
    with refuses(message.format(path)):
        read_csv(path, **options)


def test_wrong_types(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "a,1,0,x\n")
    with refuses("id is 3; expected the name of a column", TypeError):
        read_csv(path, id=3)  # type: ignore[arg-type]
    with refuses("features is 'v'; expected a sequence of names", TypeError):
        read_csv(path, features="v")
    with refuses("path is of type int; expected str or os.PathLike", TypeError):
        read_csv(0)  # type: ignore[arg-type]


def test_lines_are_counted_through_quoted_ones(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,step,v,label\na,1,0,"x\ny"\na,2,o,x\n')
    with refuses(
        f"{path}:4: column 'v' is \"o\"; expected a finite number, or nothing for a missing value"
    ):
        read_csv(path)


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1000, size=(100_000, 6)) / 8
    lines = ["id,step,a,b,c,d,e,f,label"]
    lines += [
        f"s{i // 100},{i % 100},{','.join(map(repr, row))},{i // 100 % 3}"
        for i, row in enumerate(values.tolist())
    ]
    path = write(tmp_path, "\n".join(lines))
    start = time.process_time()
    data = read_csv(path, dtype="float64")
    seconds = time.process_time() - start
    assert np.array_equal(data.x, values.reshape(1000, 100, 6))
    assert np.array_equal(data.y, np.arange(1000) % 3)  # type: ignore[arg-type]
    assert seconds < 5


words = st.text("ab1,;\"'é漢", min_size=1, max_size=4)
reals = st.floats(allow_infinity=False, width=64)


@quick
@given(data=st.data())
def test_what_is_written_to_a_table_is_read(tmp_path: Path, data: st.DataObject) -> None:
    ids = data.draw(st.lists(words, min_size=1, max_size=4, unique=True))
    features = data.draw(st.integers(1, 3))
    labels = [data.draw(st.sampled_from(["walk", "run", "jump"])) for _ in ids]
    x = [
        data.draw(
            st.lists(st.lists(reals, min_size=features, max_size=features), min_size=1, max_size=4)
        )
        for _ in ids
    ]
    rows = [
        [name, step, *("" if v != v else repr(v) for v in values), label]
        for name, label, one in zip(ids, labels, x, strict=True)
        for step, values in enumerate(one)
    ]
    rows = data.draw(st.permutations(rows))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "step", *(f"v{i}" for i in range(features)), "label"])
    writer.writerows(rows)
    found = read_csv(write(tmp_path, text.getvalue()), dtype="float64")
    assert set(found.ids) == set(ids)
    assert found.classes is not None
    assert found.y is not None
    for name, one, label in zip(found.ids, found.x, found.y, strict=True):
        place = ids.index(name)
        np.testing.assert_array_equal(one, np.array(x[place], np.float64))
        assert found.classes[label] == labels[place]


@quick
@given(text=st.text('idstep,vlabe\n";0123.-', max_size=60))
def test_any_text_is_a_table_or_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, HEAD + text)
    found = None
    try:
        found = read_csv(path)
    except ValueError as error:
        if not str(error).startswith(f"{path}:"):
            raise
    if found is not None:
        assert found.y is not None
        assert len(found) == len(found.y) == len(found.ids) > 0


# ---------------------------------------------------------------- npz


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "a.npz"
    np.savez(path, **arrays)
    return path


def test_padded_arrays(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    data = read_npz(save(tmp_path, x=x, y=[3, 1]))
    assert isinstance(data.x, np.ndarray)
    assert np.array_equal(data.x, x)
    assert data.x.dtype == np.float64
    assert data.classes == ("1", "3")
    assert np.asarray(data.y).tolist() == [1, 0]
    assert data.feature_names == ("feature 1", "feature 2")
    assert data.ids == ("sequence 1", "sequence 2")
    x[1, 2] = NAN  # beyond its end
    data = read_npz(save(tmp_path, x=x, lengths=[3, 2]), missing="error")
    assert listed(data.x) == [x[0].tolist(), x[1, :2].tolist()]
    assert data.y is None


def test_arrays_one_after_the_other(tmp_path: Path) -> None:
    x = np.arange(10).reshape(5, 2)
    data = read_npz(
        save(
            tmp_path,
            x=x,
            lengths=[2, 3],
            y=[[0.5], [1.5]],
            feature_names=["a", "b"],
            ids=["s", "t"],
        )
    )
    assert listed(data.x) == [x[:2].tolist(), x[2:].tolist()]
    assert np.asarray(data.y).tolist() == [[0.5], [1.5]]
    assert (data.feature_names, data.ids, data.classes) == (("a", "b"), ("s", "t"), None)


def test_univariate_arrays(tmp_path: Path) -> None:
    data = read_npz(save(tmp_path, x=[[1, 2], [3, 4]]))
    assert np.asarray(data.x).tolist() == [[[1], [2]], [[3], [4]]]
    data = read_npz(save(tmp_path, x=[1.0, 2, 3], lengths=[1, 2]))
    assert listed(data.x) == [[[1]], [[2], [3]]]
    data = read_npz(save(tmp_path, x=[[1, 2], [3, 4]], lengths=[2, 1]))
    assert listed(data.x) == [[[1], [2]], [[3]]]


def test_tokens(tmp_path: Path) -> None:
    data = read_npz(save(tmp_path, x=np.array([[1, 2], [3, 0]], np.int16)), tokens=True)
    assert isinstance(data.x, np.ndarray)
    assert data.x.tolist() == [[1, 2], [3, 0]]
    assert data.x.dtype == np.int64
    assert repr(data) == "Sequences(2 sequences of 2 steps)"
    data = read_npz(save(tmp_path, x=[1, 2, 3], lengths=[1, 2]), tokens=True)
    assert listed(data.x) == [[1], [2, 3]]


def test_labels_for_each_step(tmp_path: Path) -> None:
    x = np.zeros((2, 3, 1))
    data = read_npz(save(tmp_path, x=x, y=[[7, 5, 5], [5, 7, 5]]), steps="all")
    assert np.asarray(data.y).tolist() == [[1, 0, 0], [0, 1, 0]]
    # What stands beyond a sequence's end is no class.
    data = read_npz(save(tmp_path, x=x, lengths=[3, 1], y=[[7, 5, 5], [5, -1, -1]]), steps="all")
    assert data.classes == ("5", "7")
    assert listed(data.y) == [[1, 0, 0], [0]]
    data = read_npz(
        save(tmp_path, x=np.zeros((3, 1)), lengths=[2, 1], y=[[1.5], [2.5], [3.5]]), steps="all"
    )
    assert listed(data.y) == [[[1.5], [2.5]], [[3.5]]]


def test_names_of_classes(tmp_path: Path) -> None:
    x = np.zeros((3, 1, 1))
    data = read_npz(save(tmp_path, x=x, y=["b", "a", "b"]))
    assert data.classes == ("a", "b")
    assert np.asarray(data.y).tolist() == [1, 0, 1]
    path = save(tmp_path, x=x, y=[2, 0, 2], classes=["c", "b", "a"])
    data = read_npz(path)
    assert data.classes == ("c", "b", "a")
    assert np.asarray(data.y).tolist() == [2, 0, 2]
    data = read_npz(path, classes=["a", "c"])
    assert np.asarray(data.y).tolist() == [0, 1, 0]
    data = read_npz(save(tmp_path, x=x, y=[True, False, True]))
    assert data.classes == ("False", "True")


ONE = np.zeros((2, 3, 1))
WRONG_ARRAYS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no x": ({"y": [1]}, {}, "{}: has no array 'x'; it has y"),
    "objects": (
        {"x": np.array([np.zeros(2), np.zeros(3)], object)},
        {},
        "{0}: x is an array of Python objects, which only pickle can read; expected numbers: "
        "if you trust this file, arrays = numpy.load('{0}', allow_pickle=True); "
        "fastbptt.datasets.write_npz(\"new.npz\", list(arrays['x'])) writes it so",
    ),
    "text": ({"x": ["a"]}, {}, "{}: x has dtype <U1; expected numbers"),
    "shape": (
        {"x": np.zeros(3)},
        {},
        "{}: x has shape (3,); expected (sequences, steps, features) or (sequences, steps), or "
        "lengths beside it",
    ),
    "empty": (
        {"x": np.zeros((2, 0, 1))},
        {},
        "{}: x has shape (2, 0, 1); expected at least one step",
    ),
    "lengths": (
        {"x": ONE, "lengths": [3, 4]},
        {},
        "{}: x has shape (2, 3, 1), and there are 2 lengths up to 4, in all 7; expected "
        "(2, at least 4, features) or (7, features)",
    ),
    "lengths floats": (
        {"x": ONE, "lengths": [3.0, 2.0]},
        {},
        "{}: lengths has shape (2,) and dtype float64; expected whole numbers of shape "
        "(sequences,)",
    ),
    "lengths that overflow": (
        {"x": np.ones((3, 2)), "lengths": [2**63 - 1, 2**63 - 1, 5]},
        {},
        "{}: x has shape (3, 2), and there are 3 lengths up to 9223372036854775807, in all "
        "18446744073709551619; expected (3, at least 9223372036854775807, features) or "
        "(18446744073709551619, features)",
    ),
    "lengths beyond int64": (
        {"x": np.ones((3, 2)), "lengths": np.array([2**64 - 1, 4], np.uint64)},
        {},
        "{}: x has shape (3, 2), and there are 2 lengths up to 18446744073709551615, in all "
        "18446744073709551619; expected (2, at least 18446744073709551615, features) or "
        "(18446744073709551619, features)",
    ),
    "small lengths that overflow": (
        {"x": np.ones((4, 2)), "lengths": np.array([100, 100, 60], np.uint8)},  # 4 modulo 256
        {},
        "{}: x has shape (4, 2), and there are 3 lengths up to 100, in all 260; expected "
        "(3, at least 100, features) or (260, features)",
    ),
    "length zero": ({"x": ONE, "lengths": [3, 0]}, {}, "{}: lengths[1] is 0; expected at least 1"),
    "one, then zero": (
        {"x": ONE, "lengths": [1, 0]},
        {},
        "{}: lengths[1] is 0; expected at least 1",
    ),
    "infinite": (
        {"x": np.array([[[0.0], [np.inf]]])},
        {},
        "{}: x[0, 1, 0] is inf; expected a finite number",
    ),
    "beyond float32": (
        {"x": np.array([[[0.0], [1e39]]])},
        {"dtype": "float32"},
        '{}: x[0, 1, 0]: 1e+39 is beyond float32; expected smaller numbers, or dtype="float64"',
    ),
    "missing": (
        {"x": np.array([[[0.0], [NAN]]])},
        {"missing": "error"},
        '{}: feature 1 in step 2 of sequence 1 is NaN; expected a number, or missing="nan" or '
        '"interpolate"',
    ),
    "missing everywhere": (
        {"x": np.array([[[0.0, NAN], [1.0, NAN]]])},
        {"missing": "interpolate"},
        "{}: feature 2 of sequence 1 is NaN in every step; expected at least one number",
    ),
    "tokens": (
        {"x": ONE},
        {"tokens": True},
        "{}: x has shape (2, 3, 1) and dtype float64; expected whole numbers of shape "
        "(sequences, steps): tokens=True",
    ),
    "y": (
        {"x": ONE, "y": [1]},
        {},
        '{}: y has shape (1,); expected (2,) or (2, targets): steps="last"',
    ),
    "y of steps": (
        {"x": ONE, "y": [1, 2]},
        {"steps": "all"},
        '{}: y has shape (2,); expected (2, 3) or (2, 3, targets): steps="all"',
    ),
    "y nan": (
        {"x": ONE, "y": [1, NAN]},
        {},
        "{}: y[1] is nan; expected a finite number",
    ),
    "y classes with an axis": (
        {"x": ONE, "y": [[1], [2]]},
        {},
        "{}: y has shape (2, 1) and dtype int64; expected classes (whole numbers or text) without "
        "a further axis, or targets (floats)",
    ),
    "class beyond": (
        {"x": ONE, "y": [0, 2], "classes": ["a", "b"]},
        {},
        "{}: y holds 2; expected whole numbers from 0 to 1: there are 2 classes",
    ),
    "unknown class": (
        {"x": ONE, "y": ["a", "b"]},
        {"classes": ["b", "c"]},
        '{}: y holds the class "a"; expected one of classes: b, c',
    ),
    "names": (
        {"x": ONE, "feature_names": ["a", "b"]},
        {},
        "{}: feature_names has shape (2,); expected (1,)",
    ),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_wrong_arrays(tmp_path: Path, name: str) -> None:
    arrays, options, message = WRONG_ARRAYS[name]
    path = save(tmp_path, **arrays)
    with refuses(message.format(path)):
        read_npz(path, **options)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4", b"PK\5\6" + b"\0" * 18])
def test_no_arrays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")):
        read_npz(path)


def test_npy_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with refuses(f"{path}: holds one array without a name; expected .npz"):
        read_npz(path)


def test_damaged_bytes_are_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, x=np.arange(300.0).reshape(10, 30))
    content = bytearray(path.read_bytes())
    content[400] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=re.escape(f"{path}: cannot be read as .npz: Bad CRC-32")):
        read_npz(path)


@settings(quick, max_examples=15)  # each reaches the disk
@given(data=st.data())
def test_what_is_written_as_arrays_is_read(tmp_path: Path, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    steps = data.draw(st.sampled_from(["last", "all"]))
    kind = data.draw(st.sampled_from(["classes", "targets", "several", "none"]))
    x = [rng.normal(size=(t, 2)) for t in lengths]
    shapes: list[tuple[int, ...]] = [(t,) if steps == "all" else () for t in lengths]
    y: Any = None
    if kind == "classes":
        y = [rng.integers(3, size=shape) for shape in shapes]
    elif kind == "targets":
        y = [rng.normal(size=shape) for shape in shapes]
    elif kind == "several":
        y = [rng.normal(size=(*shape, 2)) for shape in shapes]
    names = ["a", "b", "c"] if kind == "classes" else None
    path = tmp_path / "a.npz"
    write_npz(path, x, y if y is None or steps == "all" else np.array(y), classes=names)
    found = read_npz(path, steps=steps, dtype="float64")
    assert [one.tolist() for one in found.x] == [one.tolist() for one in x]
    assert isinstance(found.x, np.ndarray) == (len(set(lengths)) == 1)
    if found.y is None:
        assert y is None
    else:
        assert [np.asarray(one).tolist() for one in found.y] == [one.tolist() for one in y]
    assert found.classes == (None if names is None else ("a", "b", "c"))


def test_wrong_things_to_write(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    x = [np.zeros((2, 1)), np.zeros((1, 1))]
    for arguments, error, message in [
        (([],), ValueError, "x is an empty list; expected at least one sequence"),
        (
            ([np.zeros((2, 1)), np.zeros((1, 2))],),
            ValueError,
            "x[1] has shape (1, 2); expected (steps,) or (steps, features), the same features as "
            "x[0] of shape (2, 1)",
        ),
        (
            (x, [np.zeros(2), np.zeros(2)]),
            ValueError,
            "y has other lengths than x; expected an entry for each step",
        ),
        ((x, [None, 1]), TypeError, "y has dtype object; expected numbers, or names of classes"),
        (
            (np.zeros(3),),
            ValueError,
            "x: x has shape (3,); expected (sequences, steps, features) or (sequences, steps), or "
            "lengths beside it",
        ),
    ]:
        with refuses(message, error):
            write_npz(path, *arguments)
    with refuses("lengths is given with a list x; expected None: a list has its own"):
        write_npz(path, x, lengths=[1, 2])
    with refuses("ids has 1 entries; expected 2"):
        write_npz(path, x, ids=["a"])
    assert not path.exists()


# ---------------------------------------------------------------- common


def test_read_goes_by_the_suffix(tmp_path: Path) -> None:
    table = read(write(tmp_path, HEAD + "a,1,0,x\n", "a.CSV"))
    arrays = read(save(tmp_path, x=[[0.0]]), missing="error")
    series = read(str(write(tmp_path, "@classLabel false\n@data\n0\n", "a.ts")))
    for data in (table, arrays, series):
        assert isinstance(data, Sequences)
        assert np.asarray(data.x).tolist() == [[[0]]]
    with refuses(
        "path is a.json; expected a file that ends in .csv, .tsv, .txt, .data, "
        ".parquet, .npz, .ts, .tsf or .arff; read it in Python, with SciPy or pandas for example, "
        "and write it as .csv, .npz or .ts"
    ):
        read("a.json")
    with pytest.raises(TypeError, match="delimiter"):
        read(tmp_path / "a.ts", delimiter=";")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nil.npz")


def test_pad() -> None:
    padded, lengths = pad([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)], value=-1)
    assert padded.dtype == np.float32
    assert padded.tolist() == [[[1] * 3, [1] * 3], [[1] * 3, [-1] * 3]]
    assert lengths.tolist() == [2, 1]
    padded, lengths = pad([[1, 2, 3], [4]], max_length=2)
    assert padded.tolist() == [[1, 2], [4, 0]]
    assert padded.dtype == np.int64
    assert lengths.tolist() == [2, 1]
    padded, _ = pad([np.array([1]), np.array([0.5])])
    assert padded.dtype == np.float64


@pytest.mark.parametrize(
    ("sequences", "error", "message"),
    [
        ([], ValueError, "sequences is empty; expected at least one sequence"),
        (
            [np.zeros((2, 3)), np.zeros((2, 2))],
            ValueError,
            "sequences[1] has shape (2, 2); expected (steps, 3), as sequences[0] has",
        ),
        (
            [np.zeros(2), np.zeros((2, 2))],
            ValueError,
            "sequences[1] has shape (2, 2); expected (steps,), as sequences[0] has",
        ),
        ([1.0], ValueError, "sequences[0] has shape (); expected (steps,) or (steps, features)"),
        ([[1], []], ValueError, "sequences[1] has shape (0,); expected at least one step"),
        (
            ["ab"],
            TypeError,
            "sequences[0] has dtype <U2; expected real numbers (float32 or float64)",
        ),
    ],
)
def test_wrong_sequences_to_pad(sequences: Any, error: type[Exception], message: str) -> None:
    with refuses(message, error):
        pad(sequences)


def test_names_of_classes_among_the_features_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,step,v,kind\na,1,0.5,walk\nb,1,0.7,run\n")
    with pytest.raises(ValueError, match=r"'kind' is \"walk\".*are these class names \(label=\)\?"):
        read_csv(path)
    more: dict[str, Any]
    for more in ({"label": "kind"}, {"features": ["v"]}):
        assert read_csv(path, **more).x[0].shape == (1, 1)
    for more in ({"labels": False}, {"features": ["v", "kind"]}, {"target": "v"}):
        hint = "categories= makes" if "features" in more else "exclude= leaves"
        with pytest.raises(ValueError, match=rf"for a missing value \({hint}"):
            read_csv(path, **more)
