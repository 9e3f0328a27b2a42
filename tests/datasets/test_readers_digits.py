"""Readers keep every digit that a file holds, unless fewer are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbptt.datasets import Sequences, read, read_csv, read_npz, read_ts, write_npz

# a meter, seconds and milliseconds since 1970, a balance, a coordinate, a frequency
NUMBERS = [10000000.01, 1700000000.25, 1700000000123.0, -98765432.19, 6.123456789012345, 100000.001]


def by_table(path: Path, value: float) -> Sequences:
    path = path / "a.csv"
    path.write_text(f"id,step,v,p\na,1,{value!r},{value!r}\na,2,1,{value!r}\n")
    return read_csv(path, target="p")


def by_wide_table(path: Path, value: float) -> Sequences:
    path = path / "a.tsv"
    path.write_text(f"1\t2\tp\n{value!r}\t1\t{value!r}\n")
    return read(path, layout="wide", target="p", header="first")


def by_ts(path: Path, value: float) -> Sequences:
    path = path / "a.ts"
    path.write_text(f"@targetLabel true\n@data\n{value!r},1:{value!r}\n")
    return read_ts(path)


def by_npz(path: Path, value: float) -> Sequences:
    path = path / "a.npz"
    write_npz(path, np.array([[[value], [1.0]]]), np.array([value]))
    return read_npz(path)


@pytest.mark.parametrize("reader", [by_table, by_wide_table, by_ts, by_npz])
@pytest.mark.parametrize("value", NUMBERS)
def test_all_digits(reader: Any, value: float, tmp_path: Path) -> None:
    data = reader(tmp_path, value)
    assert data.x[0][0, 0] == value
    assert data.y[0] == value
    assert data.x.dtype == data.y.dtype == np.float64


@pytest.mark.parametrize(
    ("stored", "found"),
    [("f4", "f4"), ("f8", "f8"), ("f2", "f8"), (">f4", "f8"), (">f8", "f8"), ("i4", "f8")],
)
def test_arrays_keep_their_dtype(stored: str, found: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3, 1), stored), y=np.ones(2, stored))
    data = read_npz(tmp_path / "a.npz")
    assert np.asarray(data.x).dtype == np.dtype(found)
    if "f" in stored:
        assert np.asarray(data.y).dtype == np.dtype(found)
    asked = read_npz(tmp_path / "a.npz", dtype="float32")
    assert np.asarray(asked.x).dtype == np.float32


@pytest.mark.parametrize(
    ("first", "apart"),
    [
        (1_700_000_000_000_000_000, 1),  # nanoseconds since 1970
        (1_700_000_000_123_456_789, 100),
        (2**53, 1),
        (-(2**53) - 9, 2),
        (2**63 - 10, 3),
        (0, 2**62),
    ],
)
def test_steps_that_float64_cannot_tell_apart(first: int, apart: int, tmp_path: Path) -> None:
    places = [first + k * apart for k in (2, 0, 1)] if apart < 2**60 else [first, apart, -apart]
    path = tmp_path / "a.csv"
    path.write_text("id,step,v\n" + "".join(f"a,{one},{i}\n" for i, one in enumerate(places)))
    data = read_csv(path)
    assert data.x[0][:, 0].tolist() == np.argsort(places).tolist()
    path.write_text(path.read_text() + f"a,{places[1]},9\n")
    with pytest.raises(ValueError, match=rf":5: column 'step' is {places[1]} .* again.*line 3"):
        read_csv(path)


@pytest.mark.parametrize(
    ("x", "options", "text"),
    [
        (2**60 + np.arange(12).reshape(2, 3, 2), {}, "x has differences .* float64 rounds"),
        (
            1.7e9 + np.arange(12.0).reshape(2, 3, 2),
            {"dtype": "float32"},
            '.*; expected dtype="float64"',
        ),
        (
            1.7e9 + np.arange(6.0).reshape(2, 3),
            {"dtype": "float32"},
            "x has differences of up to 5",
        ),
    ],
)
def test_arrays_whose_differences_would_be_lost(
    tmp_path: Path, x: Any, options: dict[str, Any], text: str
) -> None:
    np.savez(tmp_path / "long.npz", x=x, y=[0, 1])
    with pytest.raises(ValueError, match=text):
        read_npz(tmp_path / "long.npz", **options)
    np.savez(tmp_path / "near.npz", x=x - x.min(), y=[0, 1])
    found = read_npz(tmp_path / "near.npz", **options).x
    assert np.ptp(np.concatenate(list(found))) == np.ptp(x)


# ---------------------------------------------------------------- digits that would be lost

TIMES = [1700000000 + 10 * t for t in range(6)]  # float32 has a number every 128 seconds
LONG = [2**53 + t for t in range(6)]
HUGE = [10**20 + t for t in range(6)]


def written(folder: Path, form: str, numbers: list[int], part: str = "x") -> Path:
    """Write a file with these numbers as inputs, or as targets."""
    small = [1, 0, 1, 0, 1, 0]
    x, y = (numbers, small) if part == "x" else (small, numbers)
    path = folder / f"a.{form}"
    if form == "csv":
        rows = [f"{i},1,{a},{b}" for i, (a, b) in enumerate(zip(x, y, strict=True))]
        path.write_text("\n".join(["id,step,v,p", *rows]) + "\n")
    elif form == "tsv":
        rows = [f"{i}\t{a}\t{b}" for i, (a, b) in enumerate(zip(x, y, strict=True))]
        path.write_text("\n".join(["id\tv\tp", *rows]) + "\n")
    elif form == "arff":
        head = "@attribute id string\n@attribute v numeric\n@attribute p numeric\n@data\n"
        path.write_text(head + "".join(f"{i},{a},{b}\n" for i, (a, b) in enumerate(zip(x, y))))  # noqa: B905
    elif form == "ts":
        cells = [f"{a}:{b}" for a, b in zip(x, y, strict=True)]
        if part == "x":
            cells = [",".join(map(str, x)) + ":1"]
        path.write_text("@targetLabel true\n@data\n" + "\n".join(cells) + "\n")
    else:
        path.write_text("@attribute n string\n@data\na:" + ",".join(map(str, numbers)) + "\n")
    return path


def options(form: str) -> dict[str, Any]:
    if form in ("csv", "tsv", "arff"):
        more = {"layout": "long"} if form == "arff" else {}
        return {"target": "p", "step": None, **more}
    return {}


CASES = [(form, part) for form in ("csv", "tsv", "arff", "ts") for part in "xy"] + [("tsf", "x")]


@pytest.mark.parametrize(("form", "part"), CASES)
def test_float32_refuses_what_it_would_round_away(tmp_path: Path, form: str, part: str) -> None:
    path = written(tmp_path, form, TIMES, part)
    pattern = r"differences of up to 50 .* float32 rounds to multiples of 128; .*dtype=\"float64\""
    with pytest.raises(ValueError, match=pattern):
        read(path, dtype="float32", **options(form))
    assert read(path, **options(form)).x[0].dtype == np.float64
    read(
        written(tmp_path, form, [one - TIMES[0] for one in TIMES], part),
        dtype="float32",
        **options(form),
    )


@pytest.mark.parametrize("numbers", [LONG, HUGE])
@pytest.mark.parametrize(("form", "part"), CASES)
def test_whole_numbers_beyond_float64(
    tmp_path: Path, form: str, part: str, numbers: list[int]
) -> None:
    path = written(tmp_path, form, numbers, part)
    with pytest.raises(ValueError, match=r"differences of up to 5 .* float64 rounds to multiples"):
        read(path, **options(form))
    even = [2**53 + 2**20 * t for t in range(6)]  # which float64 has
    read(written(tmp_path, form, even, part), **options(form))


def test_gaps_and_columns_of_text_beside_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,step,v,w\na,1,{LONG[0]},1\na,2,,2\na,3,{LONG[1]},3\n")
    with pytest.raises(ValueError, match=r"a.csv: column 'v' has differences"):
        read_csv(path)
    path.write_text(f"id,step,v,w\na,1,{LONG[0]},1\na,2,,2\na,3,{LONG[0]},3\n")
    assert np.isnan(read_csv(path).x[0][1, 0])  # a constant has no differences
    path.write_text("id,step,v,flag\na,1,1e300,true\na,2,2e300,false\n")
    assert read_csv(path).x[0][0, 0] == 1e300


def test_arrays_of_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((6, 2, 1)), y=np.array(TIMES, float))
    with pytest.raises(ValueError, match="y has differences of up to 50"):
        read_npz(tmp_path / "a.npz", dtype="float32")
