"""Files in the .ts format: written here, and those that aeon and sktime carry."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbptt.datasets import Sequences, find_ts, load_japanese_vowels, load_ts, read_ts

HEADER = """\
#A comment with a colon: and, commas
%another
@problemName  Steps
@timeStamps false
@missing true

@univariate false
@dimensions 2
@equalLength false
@classLabel true walk run
@data
"""


def write(folder: Path, text: str, name: str = "a.ts", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@contextmanager
def suppress_own(path: Path) -> Iterator[None]:
    """Let errors pass that begin with the file's name."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(f"{path}:"):
            raise


def listed(data: Sequences) -> list[Any]:
    return [one.tolist() for one in data.x]


def test_unequal_lengths_channels_and_gaps(tmp_path: Path) -> None:
    text = "1,2,?:4,5,6:walk\n\n# in between\n-1e-3 , nan:NaN,+.5 : run \n"
    data = read_ts(write(tmp_path, HEADER + text), dtype="float64")
    nan = np.nan
    assert isinstance(data.x, list)
    np.testing.assert_array_equal(data.x[0], [[1, 4], [2, 5], [nan, 6]])
    np.testing.assert_array_equal(data.x[1], [[-1e-3, nan], [nan, 0.5]])
    assert data.y is not None
    assert np.asarray(data.y).tolist() == [0, 1]
    assert np.asarray(data.y).dtype == np.int64
    assert data.classes == ("walk", "run")
    assert data.feature_names == ("channel 1", "channel 2")
    assert data.ids == ("case 1", "case 2")
    assert data.source == str(tmp_path / "a.ts")
    assert data.lengths.tolist() == [3, 2]
    assert len(data) == 2


def test_equal_lengths_are_one_array(tmp_path: Path) -> None:
    data = read_ts(write(tmp_path, "@classLabel true a b\n@data\n1,2,3:b\n4,5,6:a\n"))
    assert isinstance(data.x, np.ndarray)
    assert data.x.shape == (2, 3, 1)
    assert data.x.dtype == np.float64
    assert data.x.flags.c_contiguous
    assert data.x[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_what_shows_of_it(tmp_path: Path) -> None:
    data = read_ts(write(tmp_path, "@targetLabel true\n@data\n1,2,3:0.5\n4,5,6:1\n"))
    assert repr(data) == "Sequences(2 sequences of 3 steps x 1 feature, numbers as targets)"
    assert data.classes is None
    assert data.y is not None
    assert np.asarray(data.y).tolist() == [0.5, 1]
    assert np.asarray(data.y).dtype == np.float64


def test_sizes_of_one(tmp_path: Path) -> None:
    head = "@dimensions 1\n@equalLength true\n@seriesLength 1\n@classLabel false\n"
    assert listed(read_ts(write(tmp_path, f"{head}@data\n7\n8\n"))) == [[[7]], [[8]]]


def test_without_labels(tmp_path: Path) -> None:
    data = read_ts(write(tmp_path, "@classLabel false\n@data\n1,2:3,4\n"))
    assert data.y is None
    assert data.classes is None
    assert listed(data) == [[[1, 3], [2, 4]]]
    assert repr(data) == "Sequences(1 sequence of 2 steps x 2 features)"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings_and_line_ends(tmp_path: Path, newline: str, encoding: str) -> None:
    text = "# Schäfer\n@CLASSLABEL TRUE é b\n@DATA\n1,2:é\n1,2:b"
    data = read_ts(write(tmp_path, text.replace("\n", newline), encoding=encoding))
    assert data.classes == ("é", "b")
    assert data.y is not None
    assert np.asarray(data.y).tolist() == [0, 1]


def test_fill_gaps(tmp_path: Path) -> None:
    text = "@classLabel false\n@data\n?,1,?,?,4,?:0,0,0,0,0,?\n"
    data = read_ts(write(tmp_path, text), missing="interpolate")
    assert data.x[0][:, 0].tolist() == [1, 1, 2, 3, 4, 4]
    assert data.x[0][:, 1].tolist() == [0] * 6


def test_classes_of_the_training_part(tmp_path: Path) -> None:
    path = write(tmp_path, "@classLabel true a b\n@data\n1:a\n2:b\n")
    data = read_ts(path, classes=["c", "b", "a"])
    assert data.classes == ("c", "b", "a")
    assert data.y is not None
    assert np.asarray(data.y).tolist() == [2, 1]


# What stands in the file, and the message after the file's name. Lines count from 1.
TIMES = "@timeStamps true\n@classLabel true a b\n@data\n"
START = "@classLabel true a b\n@data\n"
WRONG = {
    "times go back": (
        TIMES + "(2007-01-02,1),(2007-01-01 23:00:00,2):a\n",
        ':4: time "2007-01-01 23:00:00" stands behind "2007-01-02"; expected ascending times',
    ),
    "times twice": (
        TIMES + "(3,1),(3,2):a\n",
        ':4: time "3" stands behind "3"; expected ascending times',
    ),
    "no time": (
        TIMES + "(1,5),7:a\n",
        ':4: channel 1 is "(1,5),7"; expected (time,value),(time,value),...: @timeStamps true',
    ),
    "no times": (
        TIMES + "1,5:a\n",
        ':4: channel 1 is "1,5"; expected (time,value),(time,value),...: @timeStamps true',
    ),
    "two clocks": (
        TIMES + "(1,5),(2,6):(1,5),(3,6):a\n",
        ":4: channel 2 has other times than channel 1; expected the same",
    ),
    "no clock": (
        TIMES + "(noon,5),(night,6):a\n",
        ':4: the times begin with "noon"; expected numbers or 2007-01-31 23:59:59',
    ),
    "flag": ("@missing perhaps\n", ':1: "@missing perhaps"; expected true or false'),
    "flag empty": ("@univariate\n", ':1: "@univariate"; expected true or false'),
    "size": ("@dimensions two\n", ':1: "@dimensions two"; expected a whole number'),
    "two sizes": ("@dimensions 2 3\n", ':1: "@dimensions 2 3"; expected a whole number'),
    "size zero": ("@seriesLength 0\n", ':1: "@seriesLength 0"; expected a whole number'),
    "no names": (
        "@classLabel true\n",
        ':1: "@classLabel true"; expected "@classLabel true NAME NAME ..." or "false"',
    ),
    "name twice": (
        "@classLabel true b a c a\n",
        ':1: @classLabel: classes holds "a" twice; expected each name once',
    ),
    "no @": ("problem Steps\n", ':1: "problem Steps"; expected a header line @KEY VALUE, or @data'),
    "data with value": ("@data 3\n", ':1: "@data 3"; expected @data alone'),
    "no data": ("@classLabel true a b\n1,2:a\n", ':2: "1,2:a"; expected a header line @KEY VALUE'),
    "header only": ("@classLabel true a b\n", ":2: the file ends without a line @data"),
    "no kind of label": (
        "@problemName X\n@data\n1,2:a\n",
        ":2: @data comes before any @classLabel or @targetLabel; expected one of ",
    ),
    "no case": (START, ": has no case after @data; expected at least one"),
    "no label": (START + "1,2\n", ":3: there is no ':'; expected values, ':' and the class"),
    "other label": (
        START + "1,2:a\n1,2:c\n",
        ':4: the class is "c"; expected one of @classLabel: a, b',
    ),
    "long label": (
        f"@classLabel true {' '.join(map(str, range(13)))}\n@data\n1:{'c' * 41}\n",
        f':3: the class is "{"c" * 40}..."; expected one of @classLabel: 0, 1, 2, 3, 4, 5, 6, 7, '
        "8, 9, 10, 11, ... (13 in all)",
    ),
    "label of forty signs": (
        f"@classLabel true {' '.join(map(str, range(12)))}\n@data\n1:{'c' * 40}\n",
        f':3: the class is "{"c" * 40}"; expected one of @classLabel: 0, 1, 2, 3, 4, 5, 6, 7, '
        "8, 9, 10, 11",
    ),
    "no target": (
        "@targetLabel true\n@data\n1,2\n",
        ":3: there is no ':'; expected values, ':' and the target",
    ),
    "target": (
        "@targetLabel true\n@data\n1,2:1\n1,2:x\n",
        ':4: the target is "x"; expected a finite number: @targetLabel true',
    ),
    "target missing": (
        "@targetLabel true\n@data\n1,2:?\n",
        ':3: the target is "?"; expected a finite number: @targetLabel true',
    ),
    "target beyond": (
        "@targetLabel true\n@data\n1,2:1e39\n",
        ':3: the target: 1e+39 is beyond float32; expected smaller numbers, or dtype="float64"',
    ),
    "number": (
        START + "1,2:a\n1,2 3:a\n",
        ':4: value 2 of channel 1 is "2 3"; expected a finite number, or ? for a missing value',
    ),
    "empty": (START + "1,:a\n", ':3: value 2 of channel 1 is ""; expected a finite number'),
    "infinite": (START + "1,inf:a\n", ':3: value 2 of channel 1 is "inf"; expected a finite'),
    "underscore": (START + "1,1_0:a\n", ':3: value 2 of channel 1 is "1_0"; expected a finite'),
    "other digits": (START + "1,٣:a\n", ':3: value 2 of channel 1 is "٣"; expected a finite'),
    "beyond float32": (
        START + "1:2:a\n1:-1e39:a\n",
        ":4: value 1 of channel 2: -1e+39 is beyond float32; expected smaller numbers, or "
        'dtype="float64"',
    ),
    "univariate": (
        "@univariate true\n" + START + "1,2:1,2:a\n",
        ":4: the case has 2 channels; expected 1: @univariate true",
    ),
    "dimensions": (
        "@dimensions 3\n" + START + "1,2:a\n",
        ":4: the case has 1 channel; expected 3: @dimensions 3",
    ),
    "other channels": (
        START + "1,2:1,2:a\n1,2:a\n",
        ":4: the case has 1 channel; expected 2: as in the first case",
    ),
    "ragged channels": (
        START + "1,2:1,2,3:a\n",
        ":3: channel 2 has 3 values; expected 2: as in its channel 1",
    ),
    "equal length": (
        "@equalLength true\n" + START + "1,2:a\n1,2,3:a\n",
        ":5: channel 1 has 3 values; expected 2: @equalLength true, and the first case has so many",
    ),
    "series length": (
        "@equalLength true\n@seriesLength 3\n" + START + "1,2:a\n",
        ":5: channel 1 has 2 values; expected 3: @equalLength true, @seriesLength 3",
    ),
    "zero byte": (START + "1,\0:a\n", ":3: is no text file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(tmp_path: Path, name: str) -> None:
    text, message = WRONG[name]
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(f"{path}{message}")) as caught:
        read_ts(path, dtype="float32" if "float32" in message else "float64")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"missing": "error"}, ValueError, "{}:3: value 2 of channel 2 is missing; expected a nu"),
        (
            {"missing": "interpolate"},
            ValueError,
            "{}:4: channel 1 has no value at all; expected at",
        ),
        (
            {"missing": "drop"},
            ValueError,
            'missing is "drop"; expected one of "nan", "interpolate"',
        ),
        ({"dtype": "int8"}, ValueError, 'dtype is "int8"; expected "float32" or "float64"'),
        ({"classes": "ab"}, TypeError, "classes is 'ab'; expected a sequence of names"),
        ({"classes": []}, ValueError, "classes is empty; expected at least one name"),
        ({"classes": ["a"]}, ValueError, '{}:4: the class is "b"; expected one of classes: a'),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = write(tmp_path, START + "1,2:1,?:a\n?,?:1,2:b\n")
    with pytest.raises(error) as caught:
        read_ts(path, **options)
    assert str(caught.value).startswith(message.format(path)), str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_ts(tmp_path / "b.ts")
    with pytest.raises(ValueError, match="is a folder; expected a file"):
        read_ts(tmp_path)
    with pytest.raises(TypeError, match=r"path is of type int; expected str or os.PathLike"):
        read_ts(3)  # type: ignore[arg-type]
    path = write(tmp_path, START, encoding="utf-16")
    with pytest.raises(ValueError, match="is UTF-16 text; expected UTF-8"):
        read_ts(path)


def test_targets_take_no_classes(tmp_path: Path) -> None:
    path = write(tmp_path, "@targetLabel true\n@data\n1,2:1\n")
    with pytest.raises(ValueError, match="has targets, which are numbers; expected classes"):
        read_ts(path, classes=["1"])


# ---------------------------------------------------------------- round trips

numbers = st.floats(width=64, allow_infinity=False, allow_nan=True)
names = st.text("abcAB1.,-_'é漢", min_size=1, max_size=5)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Any], list[str], list[int]]:
    channels = draw(st.integers(1, 3))
    classes = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    series = [
        draw(
            st.lists(
                st.lists(numbers, min_size=t, max_size=t), min_size=channels, max_size=channels
            )
        )
        for t in lengths
    ]
    labels = [draw(st.integers(0, len(classes) - 1)) for _ in lengths]
    return series, classes, labels


def as_ts(series: list[Any], classes: list[str], labels: list[int]) -> str:
    lines = [f"@classLabel true {' '.join(classes)}", "@data"]
    for case, label in zip(series, labels, strict=True):
        cells = [["?" if v != v else repr(v) for v in channel] for channel in case]
        lines.append(":".join([*(",".join(channel) for channel in cells), classes[label]]))
    return "\n".join(lines)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_what_is_written_is_read(
    tmp_path: Path, problem: tuple[list[Any], list[str], list[int]]
) -> None:
    series, classes, labels = problem
    data = read_ts(write(tmp_path, as_ts(*problem)), dtype="float64")
    assert data.classes == tuple(classes)
    assert data.y is not None
    assert np.asarray(data.y).tolist() == labels
    assert len(data) == len(series)
    for x, case in zip(data.x, series, strict=True):
        np.testing.assert_array_equal(x, np.array(case, np.float64).T)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("@dataclssLbeltru 01,:?.\n-e#", max_size=60))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, START + text)
    data = None
    with suppress_own(path):
        data = read_ts(path)
    if data is not None:
        assert data.y is not None
        assert len(data) == len(data.y) == len(data.ids)


# ---------------------------------------------------------------- where sets lie

TRAIN, TEST = START + "1,2:a\n", "@classLabel true b a\n@data\n3,4,5:a\n"
INSIDE = "datasets/data"


def put(folder: Path, test: str = TEST) -> None:
    folder.mkdir(parents=True)
    write(folder, TRAIN, f"{folder.name}_TRAIN.ts")
    write(folder, test, f"{folder.name}_TEST.ts")


def put_wheel(path: Path, package: str, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('imported')")
        for part, text in (("TRAIN", TRAIN), ("TEST", TEST)):
            archive.writestr(f"{package}/{INSIDE}/{name}/{name}_{part}.ts", text)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide what this machine has."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("FASTBPTT_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    for name in ("aeon", "sktime"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return here


def test_installed_packages_are_found_and_not_imported(nowhere: Path) -> None:
    package = nowhere.parent / "site" / "sktime"
    put(package / INSIDE / "Steps")
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    train, test = load_ts("Steps")
    assert "sktime" not in sys.modules
    assert listed(train) == [[[1], [2]]]
    assert listed(test) == [[[3], [4], [5]]]
    # The test part's own order is b, a.
    assert test.classes == train.classes == ("a", "b")
    assert test.y is not None
    assert np.asarray(test.y).tolist() == [0]


@pytest.mark.parametrize("where", ["Steps", ".", "sktime"])
def test_folders(tmp_path: Path, where: str) -> None:
    put(tmp_path / "Steps")
    put(tmp_path / "sktime" / INSIDE / "Steps")
    train, test = find_ts("Steps", tmp_path / where)
    assert (train.name, test.name) == ("Steps_TRAIN.ts", "Steps_TEST.ts")
    if where != "sktime":
        assert train == tmp_path / "Steps" / "Steps_TRAIN.ts"


def test_folder_with_an_unpacked_package(tmp_path: Path) -> None:
    put(tmp_path / "aeon" / INSIDE / "Steps")
    train, _ = find_ts("Steps", tmp_path)
    assert train == tmp_path / "aeon" / INSIDE / "Steps" / "Steps_TRAIN.ts"
    (tmp_path / "aeon" / INSIDE / "Half").mkdir()
    write(tmp_path / "aeon" / INSIDE / "Half", TRAIN, "Half_TRAIN.ts")
    with pytest.raises(FileNotFoundError, match=r"Half_TEST.ts are not in .* \(there are Steps\)$"):
        find_ts("Half", tmp_path)


@pytest.mark.parametrize("how", ["where file", "where folder", "environment", "current folder"])
def test_wheels(nowhere: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    folder = nowhere if how == "current folder" else nowhere.parent
    put_wheel(folder / "aeon-1.6.0-py3-none-any.whl", "aeon", "Steps")
    where = None
    if how == "environment":
        monkeypatch.setenv("FASTBPTT_DATA", str(folder))
    elif how.startswith("where"):
        where = folder / "aeon-1.6.0-py3-none-any.whl" if how == "where file" else folder
    train, test = load_ts("Steps", where)
    assert listed(train) == [[[1], [2]]]
    assert listed(test) == [[[3], [4], [5]]]
    assert train.source.endswith(f".whl/aeon/{INSIDE}/Steps/Steps_TRAIN.ts")


def test_zip_of_the_archive(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("Steps_TRAIN.ts", TRAIN)
        archive.writestr("Steps_TEST.ts", TEST)
    (tmp_path / "Steps.zip").write_bytes(content.getvalue())
    train, _ = load_ts("Steps", tmp_path / "Steps.zip")
    assert listed(train) == [[[1], [2]]]


def test_not_found(nowhere: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_ts("Steps")
    assert str(caught.value) == (
        "Steps_TRAIN.ts and Steps_TEST.ts are not in .; the package aeon is not installed; the "
        "package sktime is not installed; `pip download --no-deps aeon sktime`, here or in the "
        "folder that FASTBPTT_DATA names, gets wheels that hold some sets (PLAID: sktime only; "
        "PickupGestureWiimoteZ: aeon only), or give their place: where="
    )
    put_wheel(nowhere / "aeon-1.whl", "aeon", "Steps")
    with pytest.raises(FileNotFoundError, match=r"in \., aeon-1.whl \(there are Steps\); the"):
        find_ts("Stairs")
    with pytest.raises(FileNotFoundError, match=r"where is nil: there is no such file or folder"):
        find_ts("Steps", "nil")
    with pytest.raises(ValueError, match=r"is no zip file; expected a folder, wheel or zip"):
        find_ts("Steps", write(nowhere, "text"))
    with pytest.raises(TypeError, match="name is of type NoneType; expected the name of a set"):
        find_ts(None)  # type: ignore[arg-type]


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    put(tmp_path / "Steps", "@classLabel true a b\n@data\n3,4:3,4:a\n")
    with pytest.raises(
        ValueError, match=r"Steps_TEST.ts: cases have 2 channels; expected 1, as in"
    ):
        load_ts("Steps", tmp_path)


# ---------------------------------------------------------------- the real files, where they are

# Train, test, channels, shortest, longest, classes (0: targets); from the archives' own pages.
REAL = {
    "ACSF1": (100, 100, 1, 1460, 1460, 10),
    "ArrowHead": (36, 175, 1, 251, 251, 3),
    "BasicMotions": (40, 40, 6, 100, 100, 4),
    "CardanoSentiment": (74, 33, 2, 24, 24, 0),
    "Covid3Month": (140, 61, 1, 84, 84, 0),
    "Covid3Month_disc": (140, 61, 1, 84, 84, 3),
    "GunPoint": (50, 150, 1, 150, 150, 2),
    "ItalyPowerDemand": (67, 1029, 1, 24, 24, 2),
    "JapaneseVowels": (270, 370, 12, 7, 29, 9),
    "OSULeaf": (200, 242, 1, 427, 427, 6),
    "PickupGestureWiimoteZ": (50, 50, 1, 29, 361, 10),
    "PLAID": (537, 537, 1, 100, 1344, 11),
    "Tecator": (172, 43, 1, 100, 100, 0),
    "UnitTest": (20, 22, 1, 24, 24, 2),
}


def load_or_skip(name: str) -> tuple[Sequences, Sequences]:
    try:
        return load_ts(name)
    except FileNotFoundError:
        pytest.skip("needs the package aeon or sktime, or their wheels in FASTBPTT_DATA")


@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    train, test = load_or_skip(name)
    lengths = [*train.lengths.tolist(), *test.lengths.tolist()]
    classes = len(train.classes or ())
    found = (len(train), len(test), len(train.feature_names), min(lengths), max(lengths), classes)
    assert found == REAL[name]
    for part in (train, test):
        assert part.y is not None
        assert all(np.isfinite(one).all() for one in part.x)
        if classes:
            assert set(np.asarray(part.y).tolist()) == set(range(classes))


def test_real_vowels_are_those_of_the_package() -> None:
    train, test = load_or_skip("JapaneseVowels")
    own = load_japanese_vowels()
    for part, x, y in ((train, own.x_train, own.y_train), (test, own.x_test, own.y_test)):
        assert np.array_equal(part.y, y)  # type: ignore[arg-type]
        rounded = [one.astype(np.float32) for one in part.x]
        assert all(np.array_equal(a, b) for a, b in zip(rounded, x, strict=True))


def test_times_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_text(
        TIMES + "(2007-01-01 00:00:00,241.97), (2007-01-01 00:01:00,?):(2007-01-01 00:00:00,1),"
        "(2007-01-01 00:01:00,2):a\n( 0.5 , 3),(7,4),(9,5):(0.5,6),(7,7),(9,8):b\n"
    )
    data = read_ts(path, dtype="float64")
    np.testing.assert_array_equal(data.x[0], [[241.97, 1], [np.nan, 2]])
    np.testing.assert_array_equal(data.x[1], [[3, 6], [4, 7], [5, 8]])
    assert data.y is not None
    assert np.asarray(data.y).tolist() == [0, 1]
