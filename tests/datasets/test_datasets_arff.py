"""ARFF files, in the forms of the UCR and UEA archives and of Weka."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbptt import cli
from fastbptt.datasets import read, read_arff, read_ts

UCR = """% 1. Title: made up
@Relation Gun_Point

@attribute att0 numeric
@attribute att1 REAL
@attribute att2 numeric
@attribute target {1,2,3}

@data
-0.64,1e-3,0.1234567890123456,1
% between
2.5,?,4,2

6,7,?,1
"""
UEA = (
    "@relation 'Basic Motions'\n\n@attribute relationalAtt relational\n"
    "\t@attribute att0 numeric\n\t@attribute att1 numeric\n\t@attribute att2 numeric\n"
    "@end relationalAtt\n@attribute activity {Standing, 'Run fast',Wa?k}\n\n@data\n"
    r"'0.1,0.2,0.3\n1.1,1.2,1.3',Standing"
    "\n"
    r'"2,?,2.5\n3,3.5,3.75",'
    "'Run fast'\n"
    r"'4,4.5,?\n5,5.5,?',Wa?k"
    "\n"
)
WEKA = """@relation eyes
@attribute AF3 numeric
@attribute 'F 7' numeric
@attribute when date "yyyy-MM-dd"
@attribute eye {open, shut}
@data
1,2,2020-01-02,open
3,4.5,2020-01-01,shut
5,?,2020-01-03,open
"""
BAGS = (
    "@relation bags\n@attribute name {x,y}\n@attribute bag relational\n@attribute f numeric\n"
    "@attribute g numeric\n@end bag\n@attribute class {0,1}\n@data\n"
    r"x,'1,2\n3,4\n5,6',0"
    "\n"
    r"y,'7,8',1"
    "\n"
)


def write(folder: Path, text: str, name: str = "a.arff") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_row_is_a_series(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.arff"
    path.write_bytes(UCR.replace("\n", end).encode())
    packed = tmp_path / "b.arff.gz"
    packed.write_bytes(gzip.compress(UCR.encode()))
    for one in (path, packed):
        data = read(one, dtype="float64")
        assert data.x[0].tolist() == [[-0.64], [1e-3], [0.1234567890123456]]
        np.testing.assert_array_equal(data.x[1], [[2.5], [np.nan], [4]])
        assert data.x[2].tolist() == [[6], [7]]  # without what is missing at the end
        assert np.asarray(data.y).tolist() == [0, 1, 0]
        assert data.classes == ("1", "2", "3")
        assert data.feature_names == ("channel 1",)
    assert read(path, missing="interpolate").x[1].tolist() == [[2.5], [3.25], [4]]
    with pytest.raises(ValueError, match=r"a\.arff:12: column 'att1' has no value"):
        read(path, missing="error")


def test_a_relational_cell_holds_channels(tmp_path: Path) -> None:
    data = read(write(tmp_path, UEA), dtype="float64")
    assert data.x[0].tolist() == [[0.1, 1.1], [0.2, 1.2], [0.3, 1.3]]
    np.testing.assert_array_equal(data.x[1], [[2, 3], [np.nan, 3.5], [2.5, 3.75]])
    assert data.x[2].tolist() == [[4, 5], [4.5, 5.5]]
    assert data.classes == ("Standing", "Run fast", "Wa?k")
    assert np.asarray(data.y).tolist() == [0, 1, 2]
    assert data.feature_names == ("channel 1", "channel 2")
    assert read(write(tmp_path, UEA), labels=False).y is None


def test_a_relational_cell_holds_steps(tmp_path: Path) -> None:
    path = write(tmp_path, BAGS)
    with pytest.raises(ValueError, match=r":8: each row of a cell may be a channel or a step"):
        read(path)
    data = read(path, layout="long", id="name")
    assert [one.tolist() for one in data.x] == [[[1, 2], [3, 4], [5, 6]], [[7, 8]]]
    assert (data.ids, data.feature_names, data.classes) == (("x", "y"), ("f", "g"), ("0", "1"))
    path = write(tmp_path, BAGS.replace("'7,8'", r"'7,8\n9,10\n11,12'"))
    channels = read(path, layout="wide", exclude=["name"])
    assert np.asarray(channels.x).tolist() == [[[1, 3, 5], [2, 4, 6]], [[7, 9, 11], [8, 10, 12]]]


def test_a_row_is_a_step(tmp_path: Path) -> None:
    path = write(tmp_path, WEKA)
    with pytest.raises(ValueError, match=r"layout='?\"?wide") as caught:
        read(path)
    assert "a.arff:6: each row may be a series or a step" in str(caught.value)
    data = read(path, layout="long", id=None, step="when", steps="all")
    np.testing.assert_array_equal(data.x, [[[3, 4.5], [1, 2], [5, np.nan]]])
    assert np.asarray(data.y).tolist() == [[1, 0, 0]]
    assert (data.classes, data.feature_names) == (("open", "shut"), ("AF3", "F 7"))


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing": ("", {}, r"a\.arff:1: the file ends without a line @data"),
    "no attribute": ("@relation x\n@data\n1,2\n", {}, r":2: .*or write the series as \.csv, \.npz"),
    "no row": (UCR[: UCR.index("-0.64")], {}, "has no row after @data"),
    "short row": (UCR + "1,2,3\n", {}, ":15: the row has 3 cells; expected 4, as the header has"),
    "short first row": (UCR.replace("1e-3,", ""), {}, ":10: the row has 3 cells; expected 4"),
    "a text": (UCR.replace("2.5", "x"), {}, ":12: column 'att0' is \"x\"; expected a finite"),
    "infinite": (UCR.replace("2.5", "1e999"), {}, ":12: column 'att0' is \"1e999\""),
    "underscore": (UCR.replace("2.5", "2_5"), {}, ":12: column 'att0' is \"2_5\""),
    "other class": (UCR.replace("4,2", "4,7"), {}, ':12: .*"7"; expected one of classes: 1, 2'),
    "sparse": (UCR + "{0 1, 3 2}\n", {}, ":15: the row is sparse"),
    "open quote": (UEA + "'1,2,3,Standing\n", {}, ":14: cell 1 has a quote that does not end"),
    "other type": (UCR.replace("REAL", "blob"), {}, ":5: .*expected @attribute NAME and numeric"),
    "twice": (UCR.replace("att1", "att0"), {}, ":9: the header has 'att0' twice"),
    "no header": ("1,2\n", {}, ":1: .*expected @attribute NAME TYPE, or @data"),
    "channels": (UEA.replace(r"\n5,5.5,?", ""), {}, ":13: the series has 1 channels; expected 2"),
    "lengths": (UEA.replace("3.5,3.75", "3.5"), {}, ":12: channel 2 has 2 values; expected 3"),
    "number as target": (
        UCR.replace("{1,2,3}", "numeric"),
        {},
        r"the names of the numeric attributes are not numbered throughout",
    ),
    "target": (UCR, {"target": 3}, "target is 3; expected the name of a column, or names"),
    "layout": (UCR, {"layout": "tall"}, 'layout is "tall"'),
}


@pytest.mark.parametrize("kind", ["{walk,run}", "string"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_question_mark_is_no_class(tmp_path: Path, kind: str, quoted: bool, place: str) -> None:
    names = ["walk", "run", "?", "run"]
    rows = [f"'{one}',{k}" if quoted and k != 2 else f"{one},{k}" for k, one in enumerate(names)]
    columns = [f"@attribute kind {kind}", "@attribute v numeric"]
    if place == "last":
        rows, columns = [",".join(row.split(",")[::-1]) for row in rows], columns[::-1]
    path = write(tmp_path, "\n".join(["@relation a", *columns, "@data", *rows]))
    options: dict[str, Any] = {"layout": "long", "id": None, "step": None, "label": "kind"}
    with pytest.raises(ValueError, match="'kind' is empty; expected a value on each row"):
        read_arff(path, steps="all", **options)
    data = read_arff(path, steps="all", unlabelled="drop", **options)
    assert data.classes is not None
    assert [data.classes[i] for i in np.ravel(np.asarray(data.y))] == ["walk", "run", "run"]
    assert np.ravel(np.asarray(data.x)).tolist() == [0, 1, 3]
    path = write(tmp_path, path.read_text().replace("{walk,run}", "{walk,run,?}"))
    if kind != "string":  # it is a class where the header says so
        assert len(np.ravel(np.asarray(read_arff(path, steps="all", **options).y))) == 4


@pytest.mark.parametrize("name", WRONG)
def test_messages(tmp_path: Path, name: str) -> None:
    text, options, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        read_arff(write(tmp_path, text), **options)


def test_the_advice_about_a_number_at_the_end_works(tmp_path: Path) -> None:
    path = write(tmp_path, UCR.replace("{1,2,3}", "numeric"))
    data = read_arff(path, target="target", missing="interpolate")
    assert np.asarray(data.y).tolist() == [1, 2, 1]
    assert np.shape(data.x[0]) == (3, 1)
    assert read_arff(path, exclude=["target"]).y is None
    assert np.shape(read_arff(path, layout="wide").x) == (3, 4, 1)


@pytest.mark.parametrize("package", ["aeon", "sktime"])
@pytest.mark.parametrize("text", [UCR, UEA], ids=["UCR", "UEA"])
def test_the_values_are_those_of_other_readers(tmp_path: Path, package: str, text: str) -> None:
    # they know no comments among the rows, no "?" in a name and one kind of quotes
    for old, new in (("% between\n", ""), ("Wa?k", "Walk"), ('"', "'"), ("?", "9"), (", '", ",'")):
        text = text.replace(old, new)
    path = write(tmp_path, text)
    found = read(path, dtype="float64")
    if package == "aeon":
        pytest.importorskip("aeon")
        from aeon.datasets import load_from_arff_file

        x, y = load_from_arff_file(str(path))
    else:
        pytest.importorskip("sktime")
        from sktime.datasets import load_from_arff_to_dataframe

        frame, y = load_from_arff_to_dataframe(str(path))
        x = np.array([[list(cell) for cell in row] for row in frame.to_numpy()])
    assert np.array_equal(np.asarray(found.x), x.transpose(0, 2, 1))
    assert found.classes is not None
    names = [found.classes[i] for i in np.asarray(found.y)]
    assert names == [str(one).strip("' ") for one in y]


def test_no_other_package_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aeon", "sktime", "pandas", "scipy.io"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(read(write(tmp_path, UEA))) == 3


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, small = str(tmp_path / "m.safetensors"), ["-q", "--epochs", "1", "--hidden", "2"]
    path = write(tmp_path, UCR)
    train = ["train", str(path), *small, "-o", model, "--missing", "interpolate"]
    assert cli.main(train) == 0
    assert cli.main(["predict", model, str(path), "--missing", "interpolate"]) == 0
    series = tmp_path / "a.ts"
    series.write_text("@classLabel true 1 2 3\n@data\n1,2,3:1\n4,5,6:2\n")
    assert np.shape(read_ts(series).x) == (2, 3, 1)
    capsys.readouterr()
    assert cli.main(["predict", model, str(series), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["count"] == 2

    path = write(tmp_path, WEKA.replace("?", "6"))
    assert cli.main(["train", str(path), *small, "-o", model]) == 1
    assert "expected --layout wide for the first, --layout long" in capsys.readouterr().err
    long = ["--layout", "long", "--id-column", "none", "--step-column", "when", "--steps", "all"]
    assert cli.main(["train", str(path), *long, *small, "-o", model]) == 0
    capsys.readouterr()
    assert cli.main(["predict", model, str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [one["step"] for one in found] == ["2020-01-01", "2020-01-02", "2020-01-03"]
