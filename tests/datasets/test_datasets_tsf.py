"""TSF files of the Monash archive: series with a start and a frequency."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbptt import cli
from fastbptt.datasets import read, read_tsf

SALES = """# Dataset Information
#
@relation sales
@attribute series_name string
@attribute start_timestamp date
@frequency daily
@horizon 2
@missing true
@equallength false
@data
T1:2020-02-27 00-00-00:12,15.123456789012345,?,11
T2:2020-03-01 12-30-00:7,8,6
"""
GROUPED = """@attribute group string
@attribute series_name string
@attribute store numeric
@data
G1:T1:3:1,2,3
G2:T1:4:4,5,6
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "a.tsf"
    path.write_text(text)
    return path


def with_frequency(frequency: str, start: str = "2020-01-31 06-00-00") -> str:
    text = SALES.replace("daily", frequency).replace("2020-02-27 00-00-00", start)
    return text[: text.index("T2")]


def test_series_with_their_times(tmp_path: Path) -> None:
    data = read(write(tmp_path, SALES), dtype="float64")
    np.testing.assert_array_equal(data.x[0], [[12], [15.123456789012345], [np.nan], [11]])
    assert data.x[1].tolist() == [[7], [8], [6]]
    assert (data.y, data.classes, data.ids, data.frequency) == (None, None, ("T1", "T2"), "daily")
    assert data.times is not None
    days = ["2020-02-27", "2020-02-28", "2020-02-29", "2020-03-01"]
    assert data.times[0].tolist() == np.array(days, "M8[s]").tolist()
    assert str(data.times[1][2]) == "2020-03-03T12:30:00"
    filled = read(write(tmp_path, SALES), dtype="float64", missing="interpolate")
    assert filled.x[0][2, 0] == (15.123456789012345 + 11) / 2


def test_attributes_name_the_series(tmp_path: Path) -> None:
    data = read(write(tmp_path, GROUPED))
    assert (data.ids, data.times, data.frequency) == (("G1/T1", "G2/T1"), None, None)
    numbered = read(write(tmp_path, "@attribute n numeric\n@data\n1:1,2\n1:3,4\n"))
    assert numbered.ids == ("series 1", "series 2")


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("4_seconds", "2020-01-31T06:00:12"),
        ("minutely", "2020-01-31T06:03:00"),
        ("10_minutes", "2020-01-31T06:30:00"),
        ("half_hourly", "2020-01-31T07:30:00"),
        ("hourly", "2020-01-31T09:00:00"),
        ("weekly", "2020-02-21T06:00:00"),
        ("monthly", "2020-04-30T06:00:00"),
        ("quarterly", "2020-10-31T06:00:00"),
        ("yearly", "2023-01-31T06:00:00"),
        ("2 days", "2020-02-06T06:00:00"),
    ],
)
def test_frequencies(tmp_path: Path, frequency: str, expected: str) -> None:
    data = read(write(tmp_path, with_frequency(frequency)))
    assert data.times is not None
    assert str(data.times[0][3]) == expected


def test_targets_are_later_values(tmp_path: Path) -> None:
    path = write(tmp_path, SALES.replace("?", "13"))
    data = read(path, ahead=2)
    assert [one.tolist() for one in data.x] == [[[12], [np.float32(15.123456789012345)]], [[7]]]
    assert data.y is not None
    assert [one.tolist() for one in data.y] == [[13, 11], [6]]
    assert data.times is not None
    assert [len(times) for times in data.times] == [2, 1]
    last = read(path, ahead=2, steps="last")
    assert np.asarray(last.y).tolist() == [11, 6]
    assert np.asarray(read(write(tmp_path, GROUPED), ahead=1).y).tolist() == [[2, 3], [5, 6]]


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing": ("", {}, r"a\.tsf:1: the file ends without a line @data"),
    "no attribute": ("@relation x\n@data\n1\n", {}, r":2: .*write the series as \.csv, \.npz or"),
    "no series": (SALES[: SALES.index("T1")], {}, "has no series after @data"),
    "a text": (SALES.replace(",8,", ",x,"), {}, ':12: value 2 is "x"; expected a finite number'),
    "infinite": (SALES.replace(",8,", ",inf,"), {}, ':12: value 2 is "inf"'),
    "empty": (SALES.replace(",8,", ",,"), {}, ':12: value 2 is ""'),
    "colons": (SALES.replace("12-30-00", "12:30:00"), {}, ":12: 4 attributes .*; expected 2"),
    "other date": (SALES.replace("2020-03-01", "01.03.2020"), {}, ":12: the start is"),
    "no such day": (SALES.replace("2020-03-01", "2021-02-29"), {}, ":12: the start is"),
    "frequency": (with_frequency("often"), {}, ':6: @frequency is "often"; expected secondly'),
    "zero": (with_frequency("0_minutes"), {}, ':6: @frequency is "0_minutes"'),
    "type": (SALES.replace(" date", " when"), {}, ":5: .*expected @attribute NAME and string"),
    "same name": (SALES.replace("T2", "T1"), {}, r':12: the series is "T1", as in line 11'),
    "a gap": (SALES, {"missing": "error"}, ":11: value 3 is missing"),
    "a gap as target": (SALES, {"ahead": 1}, ":11: value 3 is missing and is a target"),
    "too short": (SALES, {"ahead": 3, "missing": "interpolate"}, ":12: the series has 3 values"),
    "ahead": (SALES, {"ahead": 0}, "ahead is 0; expected at least 1"),
    "no effect": (SALES, {"ahead": 1, "labels": False}, "ahead has no effect; expected labels="),
    "classes": (SALES, {"classes": ["a"]}, "has numbers to forecast; expected no classes"),
    "too large": (
        SALES.replace(",8,", ",8e99,"),
        {"dtype": "float32"},
        r":12: value 2: 8e\+99 is beyond float32",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_messages(tmp_path: Path, name: str) -> None:
    text, options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        read_tsf(write(tmp_path, text), **options)


@pytest.mark.parametrize("package", ["aeon", "sktime"])
def test_the_values_are_those_of_other_readers(tmp_path: Path, package: str) -> None:
    pytest.importorskip(package)
    path = write(tmp_path, SALES)
    data = read(path, dtype="float64")
    assert data.times is not None
    if package == "aeon":
        from aeon.datasets import load_from_tsf_file

        frame, about = load_from_tsf_file(str(path), return_type="pd_multiindex_hier")
    else:
        from sktime.datasets import load_tsf_to_dataframe

        frame, about = load_tsf_to_dataframe(str(path))
    assert about["frequency"] == data.frequency
    for name, x, times in zip(data.ids, data.x, data.times, strict=True):
        part = frame.loc[name]
        np.testing.assert_array_equal(x[:, 0], part.iloc[:, 0].astype(float))
        assert part.index.to_numpy().astype("M8[s]").tolist() == times.tolist()


def test_no_other_package_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aeon", "sktime", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(read(write(tmp_path, SALES))) == 2


def test_a_series_goes_into_the_forecaster(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    from fastbptt.sklearn import RecurrentForecaster

    values = ",".join(str(i % 7) for i in range(60))
    data = read(write(tmp_path, SALES[: SALES.index("12,15")] + values))
    assert data.times is not None
    series = pd.Series(data.x[0][:, 0], pd.DatetimeIndex(data.times[0], freq="D"))
    model = RecurrentForecaster(window=7, horizon=2, hidden_layer_sizes=4, max_iter=2)
    with pytest.warns(UserWarning, match="without convergence"):
        forecast = model.fit(series).predict(2)
    assert [str(time.date()) for time in forecast.index] == ["2020-04-27", "2020-04-28"]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, path = str(tmp_path / "m.safetensors"), str(write(tmp_path, SALES.replace("?", "14")))
    small = ["-q", "--epochs", "1", "--hidden", "2", "-o", model]
    assert cli.main(["train", path, *small]) == 1
    assert "--ahead of a .tsf file" in capsys.readouterr().err
    assert cli.main(["train", path, "--ahead", "1", *small, "--test", path]) == 0
    assert f"Next:  fastbptt predict {model} {path} --ahead 1" in capsys.readouterr().out
    assert cli.main(["predict", model, path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scores"] is None
    times = [(one["id"], one["step"]) for one in found["predictions"]]
    assert times[3:5] == [("T1", "2020-03-01T00:00:00"), ("T2", "2020-03-01T12:30:00")]
    assert len(times) == 7  # the last of each series are forecasts
    assert cli.main(["predict", model, path, "--ahead", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["count"] == 5
    assert cli.main(["predict", model, path, "--ahead", "1", "--no-labels"]) == 1
    assert "--ahead has no effect" in capsys.readouterr().err
    table = tmp_path / "a.csv"
    table.write_text("id,step,value,label\nx,1,3,4\nx,2,4,5\n")
    assert cli.main(["predict", model, str(table), "--no-labels"]) == 0
    last = ["--ahead", "2", "--steps", "last", "--validation", "0.5", *small]
    assert cli.main(["train", path, *last]) == 0
