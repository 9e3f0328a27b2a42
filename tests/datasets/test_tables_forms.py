"""Tables in the forms in which people have them."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _core, cli
from fastbptt.datasets import read, read_csv
from fastbptt.datasets.formats import find

ROWS = [("a", 1, 0.5, 2.25), ("a", 2, -7.0, 1e-3), ("b", 1, 3.0, -4.5)]
EXPECTED = [[[0.5, 2.25], [-7.0, 1e-3]], [[3.0, -4.5]]]


def table(delimiter: str, point: str = ".", end: str = "\n") -> str:
    lines = [["id", "step", "v", "w"], *([str(cell) for cell in row] for row in ROWS)]
    return end.join(delimiter.join(line).replace(".", point) for line in lines) + end


FORMS = {
    "a.csv": table(","),
    "a.tsv": table("\t"),
    "a.txt": table(";"),
    "a.data": table("   "),
    "b.csv": table("|", end="\r\n"),
    "c.csv": table(";", ","),
    "d.csv": table("\t", ",", "\r"),
    "e.csv": table(" ").replace("\n", "  \n"),
    "f.csv": "\ufeff" + table(";"),
    "g.csv": table(",") + ",,,\n , ,,\n\n",
    "h.csv": table(",").replace("\n", ",,\n"),
    "i.csv": '"id","step","v;1","w"\n"a",1,"0.5",2.25\n"a",2,-7.0,"1e-3"\n"b","1",3,-4.5\n',
    "j.csv": 'id;"st""ep";v,1;w\n"a";1;"0.5";2.25\na;2;-7.0;1e-3\nb;1;3;-4.5',
}


@pytest.mark.parametrize("name", FORMS)
def test_the_same_numbers_in_every_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMS[name].encode())
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(FORMS[name].encode()))
    more = {"step": 'st"ep'} if name == "j.csv" else {}
    for one in (path, packed):
        data = read(one, dtype="float64", **more)
        assert [part.tolist() for part in data.x] == EXPECTED
        assert data.ids == ("a", "b")


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    columns = list(zip(*ROWS, strict=True))
    names = ["id", "step", "v", "w"]
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), path)
    data = read(path, dtype="float64")
    assert [part.tolist() for part in data.x] == EXPECTED
    with pytest.raises(ValueError, match="is a Parquet file; expected none"):
        read(path, delimiter=";")


def parquet(folder: Path, **columns: Any) -> Path:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"id": ["a", "a", "b"], "step": [2, 1, 1], "v": [1.5, 2, 3]})
    frame.assign(**columns).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


BIG = 2**62 + 1
COLUMNS: dict[str, tuple[Any, list[float]]] = {
    "nullable integers": (([1, None, 3], "Int64"), [np.nan, 1, 3]),
    "large nullable integers": (([BIG, None, 3], "Int64"), [np.nan, float(BIG), 3]),
    "large integers": (([BIG, 2, 3], "int64"), [2, float(BIG), 3]),
    "unsigned integers": (([2**64 - 1, 2, 3], "uint64"), [2, 2.0**64, 3]),
    "nullable truth": (([True, None, False], "boolean"), [np.nan, 1, 0]),
    "decimals": (([Decimal("1.10"), Decimal("2.25"), None], object), [2.25, 1.1, np.nan]),
    "long decimals": (
        ([Decimal("0.1234567890123456789"), Decimal(10**20), Decimal("-7.50")], object),
        [1e20, 0.12345678901234568, -7.5],
    ),
    "categories of numbers": (([5, 7, 5], "category"), [7, 5, 5]),
    "half floats": (([1.5, 2, 3], "float16"), [2, 1.5, 3]),
    "gaps alone": (([None, None, None], object), [np.nan] * 3),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_parquet(tmp_path: Path, name: str) -> None:
    pd = pytest.importorskip("pandas")
    (values, dtype), expected = COLUMNS[name]
    path = parquet(tmp_path, w=pd.Series(values, dtype=dtype))
    data = read(path, dtype="float64")
    assert data.feature_names == ("v", "w")
    np.testing.assert_array_equal(np.concatenate(list(data.x))[:, 1], expected)


TIMES: dict[str, tuple[list[str], str | None, str]] = {
    "days": (["2020-01-03", "2020-01-02", "2020-01-01"], None, "2020-01-02"),
    "seconds": (["2020-01-01 10:00:01", "2020-01-01 10:00"] * 2, None, "2020-01-01T10:00:00"),
    "nanoseconds": (
        ["2020-01-01 10:00:00.000000002", "2020-01-01 10:00:00.000000001"] * 2,
        None,
        "2020-01-01T10:00:00.000000001",
    ),
    "a zone": (["2020-01-03", "2020-01-02", "2020-01-01"], "Asia/Tokyo", "2020-01-01T15:00:00Z"),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_of_parquet(tmp_path: Path, name: str) -> None:
    pd = pytest.importorskip("pandas")
    texts, zone, first = TIMES[name]
    times = pd.to_datetime(texts[:3], format="ISO8601").tz_localize(zone)
    path = parquet(tmp_path, step=times)
    assert [one.tolist() for one in read(path).x] == [[[2], [1.5]], [[3]]]
    steps = find(str(path)).step_numbers
    assert steps is not None
    found = steps(str(path))
    assert found is not None
    assert found[0] == first
    blank = parquet(tmp_path, step=[times[0], pd.NaT, times[2]])
    with pytest.raises(ValueError, match=":2: column 'step' is \"\"; expected an ISO date"):
        read(blank)


def test_classes_and_indexes_of_parquet(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    path = parquet(
        tmp_path,
        id=pd.Categorical(["a", "a", "b"]),
        label=pd.Categorical(["u", "u", "w"], ["w", "u"]),
        wind=pd.Categorical(["N", "E", "N"]),
    )
    data = read(path, categories=["wind"])
    assert data.feature_names == ("v", "wind=E", "wind=N")
    assert (data.ids, data.classes) == (("a", "b"), ("u", "w"))
    with pytest.raises(ValueError, match=r":1: column 'wind' is \"N\"; expected .*categories= "):
        read(path)

    frame = pd.read_parquet(path).drop(columns=["wind", "label"])
    frame.index = [7, 3, 100]  # stored as __index_level_0__, as after rows were left out
    frame.to_parquet(path)
    assert read(path).feature_names == ("v",)
    assert read(path, features=["__index_level_0__"]).x[1].tolist() == [[100]]
    frame.rename_axis("row").to_parquet(path)
    assert read(path).feature_names == ("v",)
    frame.set_index(["id", "step"]).to_parquet(path, row_group_size=1)
    assert [one.tolist() for one in read(path).x] == [[[2], [1.5]], [[3]]]
    frame.set_index(pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-01"])).to_parquet(path)
    with pytest.raises(ValueError, match="step='__index_level_0__' puts them in order"):
        read(path, step=None)
    data = read(path, step="__index_level_0__", exclude=["step"])
    assert [one.tolist() for one in data.x] == [[[2], [1.5]], [[3]]]


def test_parquet_in_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text(table(","))
    with pytest.raises(ValueError, match="is no Parquet file; rename it"):
        read(path)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "rows of any length, cut where the header is cut most often": (
        "id,step,v,label;w\n1,0,2\n1,1,3,4,5;6\n",
        {},
        ":2: the row has 3 cells; expected 4, as the header has",
    ),
    "thousands or decimals": (
        "id;step;v\na;1;1,234\n",
        {},
        r":2: column 'v' is \"1,234\", which may be 1.234 or 1234; expected decimal=','",
    ),
    "both marks": ("id;step;v\na;1;1,5\na;2;2.5\n", {}, ":3: .*other numbers have decimal commas"),
    "both marks, in a target": (
        "id;step;v;t\na;1;1.200;0,5\na;2;1.300;1,5\n",
        {"target": "t", "steps": "all"},
        r":2: column 'v' is \"1.200\", but other numbers have decimal commas",
    ),
    "both marks, the target's": (
        "id;step;t;v\na;1;1.200;0,5\na;2;1.300;1,5\n",
        {"target": "t", "steps": "all"},
        r":2: column 't' is \"1.200\", but other numbers have decimal commas",
    ),
    "both marks, in the steps": (
        "id;step;v\na;999;0,5\na;1.000;1,5\n",
        {},
        r":3: column 'step' is \"1.000\", but other numbers have decimal commas",
    ),
    "steps with another mark": ("id;step;v\na;1.5;2\n", {"decimal": ","}, "'step' is \"1.5\""),
    "classes of one number": (
        "id,step,v,label\na,1,2,1\nb,1,3,1.0\nc,1,3,2\n",
        {},
        ':3: column \'label\' is "1.0", and in line 2 "1"; expected one way',
    ),
    "comma twice": ("id,step,v\na,1,2\n", {"decimal": ","}, "a comma separates the cells"),
    "no header": ("a,1,2.5\na,2,3\n", {}, ":1: the first line holds numbers"),
    "blank between": ("id,step,v\na,1,2\n,,\na,2,3\n", {}, ":3: all cells of the row are empty"),
    "mixed truth": ("id,step,v\na,1,True\na,2,7\n", {}, ":2: column 'v' is \"True\""),
    "half a row": ("id;step;v;w\na;1;2;3\na;2\n", {}, ":3: the row has 2 cells; expected 4"),
    "two cuts": ("a,1;b\n1,2;3\n", {}, "may be cut at ',' or ';'"),
    "damaged": ("", {}, "is empty"),
    "wide steps": ("1,2\n", {"layout": "wide", "steps": "all"}, "steps is 'all'; expected none"),
    "dropped": ("id,step,v\n", {"unlabelled": "drop"}, 'steps="all" with it'),
    "twice a feature": ("id,step,v\na,1,2\n", {"features": ["v", "v"]}, "has 'v' twice"),
    "features, exclude": (
        "id,step,v\na,1,2\n",
        {"features": ["v"], "exclude": ["v"]},
        "are both given",
    ),
    "unknown category": (
        "id,step,v,k\na,1,2,x\na,2,3,y\n",
        {"categories": {"k": ["x", "z"]}},
        ":3: column 'k' is \"y\"; expected one of categories: x, z",
    ),
    "empty category": ("id,step,v,k\na,1,2,\n", {"categories": ["k"]}, ":2: column 'k' is empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_two_readings_are_refused(tmp_path: Path, name: str) -> None:
    text, options, message = WRONG[name]
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(path, **options)


def test_thousands_are_shows_steps_by_another_number(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;step;v\na;1;1,234\na;2;1,5\n")
    assert read_csv(path, dtype="float64").x[0].tolist() == [[1.234], [1.5]]
    path.write_text("id;step;v\na;1;1,234\na;2;7\n")
    assert read_csv(path, dtype="float64", decimal=",").x[0].tolist() == [[1.234], [7]]


@pytest.mark.parametrize("decimal", [None, ","])
def test_steps_may_have_decimal_commas(tmp_path: Path, decimal: str | None) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;step;v;t\na;0,10;1;5\na;0,5;2;6\na;0,2;3;7\n")
    data = read_csv(path, decimal=decimal, target="t", steps="all")
    assert np.ravel(data.x).tolist() == [1, 3, 2]  # type: ignore[arg-type]
    assert np.ravel(data.y).tolist() == [5, 7, 6]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("1.0000000e+00", "1"),
        ("-1.000000000000000000e+00", "-1"),
        ("2.500000000000000000e+00", "2.5"),
        ("01", "01"),
        ("1.0", "1.0"),
        ("1e5", "1e5"),
    ],
)
def test_names_of_classes_are_as_written_but_for_exponents(
    tmp_path: Path, label: str, name: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,step,v,label\na,1,2,{label}\nb,1,3,0\nc,1,3,{label}\n")
    data = read_csv(path)
    assert data.classes is not None
    assert [data.classes[i] for i in np.ravel(np.asarray(data.y))] == [name, "0", name]
    again = read_csv(path, classes=["0", label])  # as models have them that were trained so
    assert np.asarray(again.y).tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["a.csv", "a.arff", "a.tsv"])
@pytest.mark.parametrize("told", [True, False])
def test_a_packed_file_does_not_fill_the_memory(
    tmp_path: Path, name: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "memory_limit", lambda: 8_000_000)
    packed = gzip.compress(b"id,step,v\n" + b"a,1,2\n" * 1_000_000)
    if not told:  # its size, as it is written at its end
        packed += gzip.compress(b"a,2,3\n")
    path = tmp_path / f"{name}.gz"
    path.write_bytes(packed)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"unpacks to more than 2.0 MB, 1/4 .*\(gzip -d\)"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < (1_000_000 if told else 10_000_000)
    tracemalloc.stop()


def test_truth_and_categories_are_features(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,step,v,on,wind\na,1,2,True,NW\na,2,3,false,E\nb,1,4,,NW\nb,2,5,TRUE,S\n")
    data = read_csv(path, categories=["wind"])
    assert data.feature_names == ("v", "on", "wind=E", "wind=NW", "wind=S")
    np.testing.assert_array_equal(
        data.x, [[[2, 1, 0, 1, 0], [3, 0, 1, 0, 0]], [[4, np.nan, 0, 1, 0], [5, 1, 0, 0, 1]]]
    )
    assert data.categories == {"wind": ("E", "NW", "S")}
    again = read_csv(path, features=["wind"], categories={"wind": ["NW", "S", "E", "N"]})
    assert again.x[0].tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]  # type: ignore[union-attr]


def test_wide_tables(tmp_path: Path) -> None:
    path = tmp_path / "a_TRAIN.tsv"
    path.write_text("1\t0.5\t2\t3\n2\t4\t5\tNaN\n2\t6\tNaN\t8\n")
    data = read(path, header="none", layout="wide", label="1")
    assert isinstance(data.x, list)
    assert data.x[0].tolist() == [[0.5], [2], [3]]
    assert data.x[1].tolist() == [[4], [5]]
    assert (data.classes, np.asarray(data.y).tolist()) == (("1", "2"), [0, 1, 1])
    filled = read(path, header="none", layout="wide", label="1", missing="interpolate")
    assert filled.x[2].tolist() == [[6], [7], [8]]
    with pytest.raises(ValueError, match=":3: column '3' has no value"):
        read(path, header="none", layout="wide", label="1", missing="error")
    kaggle = tmp_path / "train.csv"
    kaggle.write_text("id,label,0,1,2\nx,u,1,2,3\ny,v,4,5,6\n")
    data = read(kaggle, layout="wide")
    assert (data.ids, data.classes) == (("x", "y"), ("u", "v"))
    assert np.asarray(data.x).tolist() == [[[1], [2], [3]], [[4], [5], [6]]]


def test_labels_in_another_file(tmp_path: Path) -> None:
    steps, labels = tmp_path / "x.csv", tmp_path / "y.csv"
    steps.write_text("row,series,n,v\n0,b,1,1\n1,a,1,2\n2,b,2,3\n3,c,1,4\n")
    labels.write_text("series,surface\nc,wood\na,tile\nb,wood\nd,grass\n")
    given: dict[str, Any] = {"id": "series", "step": "n", "exclude": ["row"]}
    data = read_csv(steps, label_file=labels, **given)
    assert data.classes == ("tile", "wood")  # those of the sequences in the first file
    names = [data.classes[i] for i in np.asarray(data.y)]
    assert dict(zip(data.ids, names, strict=True)) == {"b": "wood", "a": "tile", "c": "wood"}
    labels.write_text("series;weight\nc;1,5\na;2\nb;3\n")
    data = read_csv(steps, label_file=labels, target="weight", **given)
    assert dict(zip(data.ids, np.asarray(data.y), strict=True)) == {"b": 3, "a": 2, "c": 1.5}
    labels.write_text("series,surface\nc,wood\na,tile\n")
    with pytest.raises(ValueError, match=":2: column 'series' is \"b\", which has no row in"):
        read_csv(steps, label_file=labels, **given)
    labels.write_text("series,surface\nc,wood\na,tile\nc,tile\nb,x\n")
    with pytest.raises(ValueError, match=":4: column 'series' is \"c\" again, as in line 2"):
        read_csv(steps, label_file=labels, **given)
    labels.write_text("series,surface,group\nc,wood,1\na,tile,1\nb,x,1\n")
    with pytest.raises(ValueError, match="expected label= or target= to name one"):
        read_csv(steps, label_file=labels, **given)


def test_rows_without_a_target_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,v,t\n1,1,NA\n2,2,5\n3,3,\n4,4,7\n")
    given: dict[str, Any] = {"id": None, "step": "n", "target": "t", "steps": "all"}
    with pytest.raises(ValueError, match=r':2: .*unlabelled="drop" leaves them out\)'):
        read_csv(path, **given)
    data = read_csv(path, unlabelled="drop", **given)
    assert np.asarray(data.x).tolist() == [[[2], [4]]]
    assert np.asarray(data.y).tolist() == [[5, 7]]


# ---------------------------------------------------------------- the command line

POWER = "Date;Time;power;volt\n" + "".join(
    f"16/12/2006;00:{i:02}:00;{'?' if i == 3 else i / 7:.5};{'?' if i == 3 else i * i}\n"
    for i in range(12)
)
AIR = "Date;Time;CO;T;;\n" + "".join(
    f"10/03/2004;{i}.00.00;{i / 3:.2f};{i * i / 9:.1f};;\n".replace(".", ",", 0) for i in range(9)
)
RAW = {
    "power.txt": POWER,
    "air.csv": "\n".join(
        ";".join(c.replace(".", ",") if k in (2, 3) else c for k, c in enumerate(line.split(";")))
        for line in AIR.splitlines()
    )
    + "\n;;;;;\n;;;;;\n",
    "pm.csv": "No,year,pm,TEMP,wind\n"
    + "".join(
        f"{i},2010,{'NA' if i < 4 else i},{-i % 5}.5,{'NW' if i % 3 else 'SE'}\n" for i in range(12)
    ),
    "engines.txt": "".join(
        f"{unit} {i} {i / 7 + unit:.4f} {100.0} {unit - i * 0.5:.2f}  \n"
        for unit in (1, 2)
        for i in range(1, 9)
    ),
    "A_TRAIN.tsv": "".join(
        f"{k % 2 + 1}\t" + "\t".join(f"{np.sin(k % 2 + t):.4f}" for t in range(8)) + "\n"
        for k in range(10)
    ),
    "newest.csv": "date,close,volume\n"
    + "".join(f"2020-01-{30 - i},{i / 7:.3f},{i * i % 11}\n" for i in range(20)),
    "stores.csv": "store,date,sales,temperature\n"
    + "".join(f"{k},2020-01-{30 - i},{i / 7:.3f},{i % 5}.5\n" for k in (3, 1) for i in range(20)),
    "planets.csv": "LABEL,"
    + ",".join(f"FLUX.{t}" for t in range(1, 9))
    + "\n"
    + "".join(
        f"{k % 2 + 1}," + ",".join(f"{k % 2 + t}.5" for t in range(8)) + "\n" for k in range(9)
    ),
    "days.csv": "page,kind,"
    + ",".join(f"2015-07-{t:02}" for t in range(1, 9))
    + "\n"
    + "".join(
        f"p{k},{'ab'[k % 2]}," + ",".join(f"{k % 2 + t}.5" for t in range(8)) + "\n"
        for k in range(9)
    ),
    "capitals.csv": "ID,Step,v,Label\n"
    + "".join(f"{k},{t},{k % 2 + t},{'xy'[k % 2]}\n" for k in range(6) for t in range(3)),
    "heart.csv": "".join(
        ",".join(f"{np.cos(k % 3 + t):.4f}" for t in range(8)) + f",{k % 3}.0\n" for k in range(12)
    ),
}


TARGETS = {  # the column that each is published for, and options that one may have thought of
    "air.csv": ["--target-column", "CO"],
    "power.txt": ["--target-column", "power", "--step-column", "none"],
    "pm.csv": ["--target-column", "pm", "--steps", "all"],
    "engines.txt": ["--target-column", "5"],
}


@pytest.mark.parametrize(
    ("name", "given"), [*((name, []) for name in RAW), *TARGETS.items()], ids=str
)
def test_the_suggested_command_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, given: list[str]
) -> None:
    path = tmp_path / name
    path.write_text(RAW[name])
    model = str(tmp_path / "m.safetensors")
    small = ["--epochs", "1", "--hidden", "2", "-o", model]
    assert cli.main(["train", *small, str(path), *given]) == 1
    message = capsys.readouterr().err
    program, *command = shlex.split(message.splitlines()[-1])
    assert program == "fastbptt"
    assert command[: len(small) + 2 + len(given)] == ["train", *small, str(path), *given]
    assert cli.main(command) == 0, capsys.readouterr().err
    (line,) = re.findall(r"^Next: +fastbptt (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert cli.main([*shlex.split(line), "--json"]) == 0, line
    assert json.loads(capsys.readouterr().out)["predictions"]


HOPELESS = {
    "thousands": ('date,sales,price\n2020-01-01,"1,200",1\n', ":2: column 'sales' is \"1,200\""),
    "dollars": ("date,price,v\n2020-01-01,$3.50,1\n", ":2: column 'price' is \"$3.50\""),
    "percent": ("date,rate,v\n2020-01-01,7%,1\n", ":2: column 'rate' is \"7%\""),
    "euros": (
        "date;price;v\n2020-01-01;1.200,50 \u20ac;1\n2020-01-02;3 \u20ac;2\n",
        "'price' is \"1.200,50 \u20ac\"",
    ),
    "other dates": (
        "Date,close,volume\n1/3/2020,1.5,2\n1/2/2020,1.2,3\n",
        ":3: column 'Date' is 1/2/2020, which is before the row above",
    ),
    "series without labels": (
        "page,"
        + ",".join(f"2015-07-0{t}" for t in range(1, 8))
        + "\na,1,2,3,4,5,6,7\nb,2,3,4,5,6,7,8\n",
        ":2: each row seems to be a series",
    ),
}


@pytest.mark.parametrize(("given", "step"), [({}, "No"), ({"id": "wind"}, None)])
def test_a_column_that_numbers_all_rows_is_the_step_of_one_sequence(
    tmp_path: Path, given: dict[str, Any], step: str | None
) -> None:
    path = tmp_path / "pm.csv"
    path.write_text(RAW["pm.csv"])
    suggested = find(str(path)).suggested
    assert suggested is not None
    found = suggested(str(path), given)
    assert found is not None and found["step"] == step


@pytest.mark.parametrize(("gap", "helps"), [("one step", True), ("one sequence", False)])
def test_interpolation_is_suggested_where_it_helps(tmp_path: Path, gap: str, helps: bool) -> None:
    path = tmp_path / "a.csv"
    rows = ["name,step,v,w,class"]
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        for t in range(3):
            missing = t == 1 if gap == "one step" else name == "b"
            rows.append(f"{name},{t},{t},{'' if missing else t},{label}")
    path.write_text("\n".join(rows) + "\n")
    suggested = find(str(path)).suggested
    assert suggested is not None
    found = suggested(str(path), {"id": "name"})
    assert found == ({"label": "class", "missing": "interpolate"} if helps else None)


@pytest.mark.parametrize("name", HOPELESS)
def test_what_no_option_helps_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, message = HOPELESS[name]
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert cli.main(["train", str(path)]) == 1
    shown = capsys.readouterr().err
    assert "there is no column 'id'" in shown and message in shown.splitlines()[-1]
    assert "For example" not in shown


def test_a_model_remembers_categories_and_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, new, model = tmp_path / "a.csv", tmp_path / "b.csv", str(tmp_path / "m.safetensors")
    rows = [f"s{i};{t};{i},5;{'xyz'[(i + t) % 3]};{i % 2}" for i in range(8) for t in range(3)]
    path.write_text("\n".join(["id;step;v;kind;label", *rows]))
    train = ["train", str(path), "--category-columns", "kind", "-q", "--epochs", "1", "-o", model]
    assert cli.main(train) == 0
    capsys.readouterr()
    assert fastbptt.load(model).input_size == 4
    new.write_text("id;kind;step;v\nq;y;1;0,5\nq;y;2;1,5\n")
    assert cli.main(["predict", model, str(new), "--json"]) == 0
    new.write_text("id;kind;step;v\nq;w;1;0,5\n")
    capsys.readouterr()
    assert cli.main(["predict", model, str(new)]) == 1
    err = capsys.readouterr().err
    assert ":2: column 'kind' is \"w\"; expected one of categories: x, y, z" in err


def test_labels_of_another_file_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y, model = tmp_path / "x.csv", tmp_path / "y.csv", str(tmp_path / "m.safetensors")
    x.write_text("id,step,v\n" + "".join(f"{i},{t},{i % 3}\n" for i in range(9) for t in range(2)))
    y.write_text("id,surface\n" + "".join(f"{i},{'abc'[i % 3]}\n" for i in range(9)))
    small = ["--epochs", "1", "-o", model]
    assert cli.main(["train", str(x), "--labels", str(y), "--test", str(x), *small]) == 0
    assert cli.main(["predict", model, str(x)]) == 0
    capsys.readouterr()
    assert cli.main(["predict", model, str(x), "--labels", str(y), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["count"] == 9


# ---------------------------------------------------------------- digits


def test_numbers_are_those_of_float(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cells = [repr(float(x)) for x in rng.normal(size=300) * 10.0 ** rng.integers(-9, 9, 300)]
    cells += [str(int(x)) for x in rng.integers(0, 2**63, 300, dtype=np.uint64)]
    cells += [str(2 * int(x) + 1) for x in rng.integers(2**52, 2**53, 300)]  # in the middle
    cells += [f"{x:.{d}f}" for d in range(19) for x in rng.normal(size=20)]
    cells += ["-0", "+.5", "5.", "-.0", "00012", "1e5", "1E-320", "4.9e-324", "9" * 30, "0" * 70]
    path = tmp_path / "a.csv"
    path.write_text("v\n" + "\n".join(cells))
    data = read_csv(path, id=None, step=None, dtype="float64")
    found = np.asarray(data.x).ravel()
    assert (
        found.view(np.uint64).tolist() == np.array(list(map(float, cells))).view(np.uint64).tolist()
    )


def test_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    names = ",".join(f"c{i}" for i in range(20_000))
    row = ",".join(f"{i / 8}" for i in range(20_000))
    path.write_text(f"id,step,{names}\na,1,{row}\n")
    data = read_csv(path)
    assert np.asarray(data.x).ravel().tolist() == [i / 8 for i in range(20_000)]


# ---------------------------------------------------------------- arrays of other libraries


def mnist(folder: Path) -> tuple[Path, Any, Any]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(9, 4, 3)).astype("u1")
    digits = np.arange(9, dtype="u1") % 3
    parts = {"x_train": images[:6], "y_train": digits[:6], "x_test": images[6:]}
    np.savez(folder / "mnist.npz", y_test=digits[6:], **parts)
    return folder / "mnist.npz", images, digits


def test_the_parts_of_an_npz_of_keras(tmp_path: Path) -> None:
    path, images, digits = mnist(tmp_path)
    message = r"has no array 'x'; it has .*x_train, .*; expected x='x_train' or 'x_test'"
    with pytest.raises(ValueError, match=message):
        read(path)
    for name, rows in (("x_train", slice(6)), ("x_test", slice(6, None))):
        data = read(path, x=name)
        assert np.array_equal(data.x, images[rows])
        assert np.array_equal(np.asarray(data.y), digits[rows])


# arrays in a file, arguments, and the message
NAMES: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "no x": (["X", "y"], {}, r"has no array 'x'; it has X, y; expected x='?\"?X"),
    "no name": (["arr_0", "arr_1"], {}, "expected x='arr_0' or 'arr_1'"),
    "other x": (["x", "y"], {"x": "z"}, "has no array 'z'; it has x, y$"),
    "other y": (["x", "y_a", "y_b"], {"y": "y_c"}, "expected y='y_a' or 'y_b'"),
    "two y": (["X", "y", "Y"], {"x": "X"}, "has arrays y and Y; expected y="),
    "no effect": (["x", "y"], {"y": "y", "labels": False}, "y has no effect; expected labels=True"),
    "no text": (["x", "y"], {"x": 0}, "x is 0; expected the name of an array"),
    "no pairs": (["data", "target"], {"x": "data", "y": "data"}, "y is 'data', which is x, too"),
}


@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_are_not_there(tmp_path: Path, name: str) -> None:
    names, options, message = NAMES[name]
    arrays: dict[str, Any] = {one: np.arange(3) for one in names}
    arrays |= {one: np.ones((3, 4)) for one in names if one.lower()[0] in "xd"}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises((ValueError, TypeError), match=message):
        read(tmp_path / "a.npz", **options)


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["X_train", "y_train"], {"x": "X_train"}),
        (["X", "y"], {"x": "X"}),
        (["X", "Y"], {"x": "X"}),
        (["data", "y"], {"x": "data"}),
        (["data", "target"], {"x": "data", "y": "target"}),
        (["x", "y"], {}),
        (["x_a", "y_a", "y"], {"x": "x_a"}),
    ],
)
def test_arrays_go_together_by_their_names(
    tmp_path: Path, names: list[str], options: dict[str, Any]
) -> None:
    arrays: dict[str, Any] = {name: np.arange(9, 12) for name in names[1:]}
    arrays |= {names[1]: np.arange(3), "feature_names": np.array(["a"])}
    np.savez(tmp_path / "a.npz", **{names[0]: np.ones((3, 4)), **arrays})
    data = read(tmp_path / "a.npz", **options)
    assert (np.shape(data.x), data.feature_names) == ((3, 4, 1), ("a",))
    assert np.asarray(data.y).tolist() == [0, 1, 2]
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize("which", ["x", "y"])
def test_lists_of_python_are_written_as_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    reviews = np.empty(3, object)
    reviews[:] = [[1, 14, 22], [1, 5], [1, 9, 9, 9]]
    path = tmp_path / "imdb.npz"
    if which == "x":
        np.savez(path, x_train=reviews, y_train=np.array([0, 1, 0]), x_test=reviews)
        given: dict[str, Any] = {"x": "x_train", "tokens": True}
    else:
        np.savez(path, x=np.ones((3, 2)), y=np.array([0, 1, 0], object))
        given = {}
    with pytest.raises(ValueError, match="which only pickle can read") as caught:
        read(path, **given)
    code = str(caught.value).split("if you trust this file, ")[1].split(" writes it so")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {"numpy": np, "fastbptt": fastbptt, "__name__": "__main__"})
    data = read("new.npz", tokens=which == "x")
    assert np.asarray(data.y).tolist() == [0, 1, 0]
    if which == "x":
        assert [one.tolist() for one in data.x] == list(reviews)


def test_arrays_of_keras_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = str(mnist(tmp_path)[0]), str(tmp_path / "m.safetensors")
    small = ["-q", "--epochs", "1", "--hidden", "2", "-o", model]
    assert cli.main(["train", path, *small]) == 1
    assert "expected --x-array 'x_train' or 'x_test'" in capsys.readouterr().err
    train = ["train", path, "--x-array", "x_train", *small]
    assert cli.main([*train, "--test", path]) == 1
    assert "of which x_train is trained on; expected --test-x-array" in capsys.readouterr().err
    assert cli.main([*train, "--test", path, "--test-x-array", "x_test"]) == 0
    out = capsys.readouterr().out
    assert "6 training, 3 test" in out
    assert f"Next:  fastbptt predict {model} {path} --x-array x_test" in out
    assert cli.main(shlex.split(out.splitlines()[-1])[2:]) == 0
    assert "of 3 sequences" in capsys.readouterr().out
    assert cli.main([*train, "--test-x-array", "x_test"]) == 1
    assert "--test-x-array has no effect" in capsys.readouterr().err


def test_lists_of_numbers_are_univariate_sequences() -> None:
    model = fastbptt.GRU(1, 3, 1, seed=0)
    x = np.random.default_rng(0).normal(size=(5, 7))
    expected = fastbptt.predict(model, x[:, :, None])
    for one in (x, list(x), x.tolist()):
        assert np.array_equal(fastbptt.predict(model, one), expected)
    ragged = [[0.5, 1.0], [2.0], [3.0, 4.0, 5.0]]
    arrays = [np.array(one)[:, None] for one in ragged]
    assert np.array_equal(fastbptt.predict(model, ragged), fastbptt.predict(model, arrays))
    with pytest.raises(
        ValueError, match=r"give x\[None\], for 7 sequences of one step x\[:, :, None"
    ):
        fastbptt.predict(model, x[0][:, None])
    assert fastbptt.predict(model, x[0][:, None][None]).shape == (1, 1)
    assert fastbptt.predict(model, x[0][:, None][:, :, None]).shape == (7, 1)


def long(ids: str = "1,1,2", labels: str = "a,a,b", values: str = "1,2,3") -> str:
    cells = zip(ids.split(","), (1, 2, 1), values.split(","), labels.split(","), strict=True)
    return "\n".join(["id,step,v,label", *(",".join(map(str, row)) for row in cells), ""])


NEITHER = {
    "ids 1 and 1.0": (long("1,1.0,2"), r":3: column 'id' is \"1.0\", and in line 2 \"1\"; exp"),
    "ids 01 and 1": (long("01,1,2"), r":3: column 'id' is \"1\", and in line 2 \"01\"; expec"),
    "ids 7 and +7": (long("7,+7,2"), r"column 'id' is \"\+7\".* one way of writing an id"),
    "ids 10.00 and 10.0": (long("10.00,10.0,2"), "one way of writing an id"),
    "ids 0 and 00": (long("0,00,2"), "one way of writing an id"),
    "classes é and é": (long(labels="caf\u00e9,caf\u00e9,cafe\u0301"), "one way of writing a cl"),
    "classes True and TRUE": (long(labels="True,True,TRUE"), "one way of writing a class"),
    "a label NaN": (long(labels="a,a,NaN"), "column 'label' has no value on any row of seq"),
    "labels nan": (long(labels="nan,nan,nan"), "column 'label' has no class in any row"),
    "the index of pandas": (long().replace("v,", "Unnamed: 0,"), "'Unnamed: 0' has the name that"),
    "long counters": (
        long(values=f"{2**60 + 1},{2**60 + 2},{2**60 + 3}"),
        "column 'v' has differences of up to 2 between numbers such as",
    ),
    "a title": (
        "Export of May\n\n" + long(),
        r":3: the row has 4 .*\"Export of May\" \(if this is",
    ),
    "a remark": ("# by logger\n# v2\n" + long(), r":3: .* \"# by logger\" \(if this is a title"),
    "a line for Excel": ("sep=;\n" + long().replace(",", ";"), r"\"sep=;\" \(if this is a title"),
    "UTF-32": (long().encode("utf-32"), "is UTF-32 text; expected UTF-8"),
    "decimal commas in quotes": (long(values="1,2,3").replace(",1,1,", ',1,"1,5",'), r"decimal='"),
}


@pytest.mark.parametrize("name", NEITHER)
def test_what_is_one_thing_or_two_is_refused(name: str, tmp_path: Path) -> None:
    content, message = NEITHER[name]
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_csv(path)


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ("01,1x,2", "a,a,b"),
        ("1e5,100000,2", "a,a,b"),
        ("0.50,0.5,2", "a,a,b"),
        ("v1,v1.0,2", "None,a,NA"),
        ("10,100,1000", "a,A,null"),
    ],
)
def test_what_looks_alike_and_is_two_things_stays_so(ids: str, labels: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(long(ids, labels))
    data = read_csv(path)
    assert data.ids == tuple(ids.split(",")) and set(data.classes or ()) == set(labels.split(","))


def test_decimal_commas_in_quotes_beside_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,step,v,label\na,1,"1,5",x\nb,1,"-2,25",y\n')
    assert [one.tolist() for one in read_csv(path, decimal=",").x] == [[[1.5]], [[-2.25]]]
    path.write_text("id,step,v,label\na,1,1,x\nb,1,2,y\n")
    with pytest.raises(ValueError, match="none of them, in quotes, holds one; expected another"):
        read_csv(path, decimal=",")


BOMBS = {
    "zeros": (b"", b"\0" * (1 << 20), ":1: is no text file"),
    "zeros after a table": (long().encode(), b"\0" * (1 << 20), ":5: is no text file"),
    "UTF-16": (b"\xff\xfe", b"a\0" * (1 << 19), "is UTF-16 text"),
    "a line": (b"", b"a" * (1 << 20), r":1: the line is longer than"),
    "a line after a table": (long().encode(), b"a" * (1 << 20), r":5: the line is longer than"),
    "rows": (b"id,step,v,label\n", b"1,1,1,1\n" * (1 << 14), "numbers, which need .*half of"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_packed_file_that_would_fill_the_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, piece, message = BOMBS[name]
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(begin)
        for _ in range(24):
            file.write(piece)
    from fastbptt.datasets import _blocks

    monkeypatch.setattr(_blocks, "_LINE", 1 << 20)
    if name == "rows":
        monkeypatch.setattr(_core, "memory_limit", lambda: 1 << 22)
        from fastbptt.datasets import _parsing

        monkeypatch.setattr(_parsing, "_PART", 1 / 8)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        read_csv(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    early = name in ("zeros", "zeros after a table", "UTF-16")
    assert peak < (8 if early else 160) * 2**20
