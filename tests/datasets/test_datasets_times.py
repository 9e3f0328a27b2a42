"""Dates and times as steps; rows from new to old."""

import json
import random
import warnings
from pathlib import Path

import pytest

from fastbptt import cli
from fastbptt.datasets import read_csv

ORDERED = [
    [f"2024-02-{day:02d}" for day in range(1, 29)],
    ["1999-12-31 23:59", "2000-01-01 00:00", "2000-01-01 00:01"],
    ["2024-02-28T13:30:00", "2024-02-28T13:30:00.25", "2024-02-28T13:30:01"],
    ["2024-03-31T00:30:00+02:00", "2024-03-30T23:00:00Z", "2024-03-30T20:00-0400"],
    ["2024-01-01T00:00:00.000000001", "2024-01-01T00:00:00.000000002", "2024-01-01T00:00:00.1"],
    ["1700-01-01", "1969-12-31", "1970-01-01", "2261-01-01"],
    ["1700000000", "1700000001", "1700000002"],
]


def table(path: Path, cells: list[str], order: list[int]) -> Path:
    rows = [
        f"{name},{cells[t]},{t},{label}" for name, label in (("X", "u"), ("Y", "d")) for t in order
    ]
    path.write_text("\n".join(["id,date,close,label", *rows]) + "\n")
    return path


@pytest.mark.parametrize("cells", ORDERED)
@pytest.mark.parametrize("how", ["newest first", "mixed", "in order"])
def test_rows_are_put_in_order(cells: list[str], how: str, tmp_path: Path) -> None:
    order = list(range(len(cells)))
    if how == "newest first":
        order.reverse()
    elif how == "mixed":
        random.Random(1).shuffle(order)
    data = read_csv(table(tmp_path / "a.csv", cells, order), step="date")
    assert [one[:, 0].tolist() for one in data.x] == [list(range(len(cells)))] * 2


@pytest.mark.parametrize("cells", ORDERED[:-1])
def test_rows_that_are_said_to_be_in_order(cells: list[str], tmp_path: Path) -> None:
    order = list(range(len(cells)))
    read_csv(table(tmp_path / "a.csv", cells, order), step=None, features=["close"])
    path = table(tmp_path / "b.csv", cells, order[::-1])
    with pytest.raises(ValueError, match=r'b.csv:3: .*before the row above.*step="date"'):
        read_csv(path, step=None, features=["close"])
    data = read_csv(path, step="date", features=["close"])  # the advice
    assert data.x[0][0, 0] == 0


@pytest.mark.parametrize(
    "cell", ["2024-02-30", "28.02.2024", "2/28/2024", "", "2024-02-28T13:30Z", "1500-01-01"]
)
def test_no_date(cell: str, tmp_path: Path) -> None:
    cells = ["2024-01-01", "2024-01-02", cell]
    with pytest.raises(ValueError, match=r"a.csv:4: column 'date' is .*; expected an ISO date"):
        read_csv(table(tmp_path / "a.csv", cells, [0, 1, 2]), step="date")


@pytest.mark.parametrize("cell", ["28.02.2024", "2/28/2024", "02-28-2024 12:00"])
def test_other_dates_get_no_advice_to_take_the_order_of_the_rows(cell: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ISO date") as caught:
        read_csv(table(tmp_path / "a.csv", [cell], [0]), step="date")
    assert "already in order" not in str(caught.value)


BACKWARDS = {  # in no reading are these dates in order
    "28.02.2024": ["28.02.2024", "27.02.2024"],
    "2/28/2024": ["2/28/2024", "2/27/2024"],
    "either order": ["03/02/2024", "02/01/2024"],
    "2024/02/28": ["2024/02/28 13:00", "2024/02/27 13:00"],
    "28-02-24": ["28-02-24", "27-02-24"],
    "further down": ["1.1.2024", "2.1.2024", "2.1.2024", "1.1.2024"],
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_other_dates_show_that_rows_are_not_in_order(name: str, tmp_path: Path) -> None:
    cells = BACKWARDS[name]
    order = list(range(len(cells)))
    line = len(cells) + 1
    with pytest.raises(ValueError, match=rf"a.csv:{line}: .*before the row above.*ISO dates"):
        read_csv(table(tmp_path / "a.csv", cells, order), step=None, features=["close"])
    path = table(tmp_path / "a.csv", cells[::-1], order)
    if name != "further down":
        read_csv(path, step=None, features=["close"])


@pytest.mark.parametrize(
    "cells",
    [
        ["02/01/2024", "01/02/2024"],
        ["1.2.3", "1.2.2"],
        ["10.2.3", "1.10.2"],
        ["07/08/09", "x"],
        ["40/50/60", "01/01/01"],
        ["127.0.0.1", "10.0.0.1"],
    ],
)
def test_dates_that_may_be_in_order_and_other_texts(cells: list[str], tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", cells, [0, 1])
    assert read_csv(path, step=None, features=["close"]).x[0].tolist() == [[0], [1]]


def test_the_same_time_twice(tmp_path: Path) -> None:
    cells = ["2024-01-01T12:00Z", "2024-01-01T13:00+01:00"]
    with pytest.raises(ValueError, match=r"is 2024-01-01T13:00\+01:00 in sequence 'X' again"):
        read_csv(table(tmp_path / "a.csv", cells, [0, 1]), step="date")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ORDERED[1]
    path, model = table(tmp_path / "a.csv", cells, [2, 0, 1]), str(tmp_path / "m.safetensors")
    options = ["-q", "--epochs", "1", "--hidden", "2", "--steps", "all"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        command = ["train", str(path), "--step-column", "date", "-o", model, *options]
        assert cli.main(command) == 0
        capsys.readouterr()
        assert cli.main(["predict", model, str(path), "--json"]) == 0
    steps = [one["step"] for one in json.loads(capsys.readouterr().out)["predictions"]]
    assert steps == cells * 2
