"""Frames in long format, and sequences cut out of padded arrays."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fastbptt
from fastbptt.datasets import from_frame, pad, unpad

FRAME = pd.DataFrame(
    {
        "who": ["b", "b", "a", "a", "a"],
        "day": [2, 1, 3, 2, 1],
        "speed": [1.0, 2.0, 3.0, 4.0, 5.0],
        "load": [1, 2, 3, 4, 5],
        "kind": ["u", "u", "v", "v", "v"],
        "note": [0.5, 0.5, 1.5, 1.5, 1.5],
    },
    index=[10, 11, 12, 13, 14],
)
DAYS = [datetime.date(2024, 1, day) for day in FRAME["day"]]
WANTED = [[2.0, 1.0], [5.0, 4.0, 3.0]]


class Listed:
    """A column as Polars has them: with to_list, but without tolist."""

    def __init__(self, column: Any) -> None:
        self.column = column

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.column, dtype)

    def to_list(self) -> list[Any]:
        return list(self.column)


class Other(dict[str, Any]):
    """A frame that is not pandas'."""

    columns = property(list)

    def __len__(self) -> int:
        return len(FRAME)


@pytest.mark.parametrize("kind", [Listed, np.asarray])
def test_frames_of_others(kind: Any) -> None:
    columns = {name: kind(np.array(FRAME[name])) for name in ("who", "day", "speed", "kind")}
    data = from_frame(Other(columns), id="who", time="day", target="kind")
    assert [one[:, 0].tolist() for one in data.x] == WANTED
    assert data.ids == ("b", "a")
    assert data.classes == ("u", "v")


@pytest.mark.parametrize(
    "times",
    [
        FRAME["day"],
        FRAME["day"] / 7,
        pd.to_datetime(DAYS),
        pd.to_datetime(DAYS).tz_localize("Europe/Berlin"),
        pd.PeriodIndex(DAYS, freq="D"),
        pd.to_timedelta(FRAME["day"], unit="h"),
        DAYS,
        [str(day) for day in DAYS],
        [f"2024-01-01T0{day}:00+01:00" for day in FRAME["day"]],
        pd.Categorical([str(day) for day in DAYS]),
    ],
    ids=list("0123456789"),
)
def test_times_put_rows_in_order(times: Any) -> None:
    df = FRAME.assign(day=times if isinstance(times, pd.Series) else list(times))
    data = from_frame(df, id="who", time="day", features="speed", target="kind")
    assert [one[:, 0].tolist() for one in data.x] == WANTED
    assert (data.ids, data.classes, data.feature_names) == (("b", "a"), ("u", "v"), ("speed",))
    assert data.y is not None and data.y.tolist() == [0, 1] and data.y.dtype == np.int64


def test_targets() -> None:
    options: dict[str, Any] = {"id": "who", "time": "day", "features": ["load", "speed"]}
    numbers = from_frame(FRAME, target="note", **options)
    assert numbers.classes is None and numbers.y.tolist() == [0.5, 1.5]
    assert numbers.x[0].tolist() == [[2.0, 2.0], [1.0, 1.0]] and numbers.x[0].dtype == np.float64
    both = from_frame(FRAME, target=["note"], dtype="float32", **options)
    assert both.y.shape == (2, 1) and both.y.dtype == both.x[0].dtype == np.float32
    given = from_frame(FRAME, target="kind", classes=["w", "v", "u"], **options)
    assert given.y.tolist() == [2, 1]
    every = from_frame(FRAME, target="kind", steps="all", **options)
    assert [one.tolist() for one in every.y] == [[0, 0], [1, 1, 1]]
    whole = from_frame(FRAME[["speed", "load"]])
    assert whole.x.shape == (1, 5, 2) and whole.y is None and whole.ids == ("",)
    flags = from_frame(FRAME.assign(kind=FRAME["kind"] == "u"), target="kind", **options)
    assert flags.classes == ("False", "True") and flags.y.tolist() == [1, 0]


def test_gaps_stay_gaps() -> None:
    df = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [1.0, np.nan, None]})
    assert np.array_equal(from_frame(df).x[0], [[1, 1], [np.nan] * 2, [3, np.nan]], equal_nan=True)


LOAD = {"id": "who", "features": "load"}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"id": "name"}, "^id is 'name'; expected a column of df: 'who', 'day'"),
        ({}, {"id": "who", "time": "who"}, "^time is 'who', which is id, too"),
        ({}, {"id": "who", "features": ["load", "who"]}, "^features holds 'who', which is id"),
        ({}, {"id": "who", "target": "kind"}, "^features has the column 'note'|'kind'"),
        ({}, {**LOAD, "classes": ["u"]}, "^classes is given without target"),
        (
            {},
            {**LOAD, "target": "note", "classes": ["u"]},
            "^classes is given for",
        ),
        (
            {},
            {**LOAD, "target": "kind", "classes": ["u"]},
            "^df has the class 'v' in column 'kind', row 12",
        ),
        (
            {},
            {**LOAD, "time": "kind"},
            "^df has 'u' in column 'kind', row 10; .*2024",
        ),
        (
            {"day": 1},
            {**LOAD, "time": "day"},
            "a time that sequence 'b' has .*row 11",
        ),
        (
            {"who": [None, *"baaa"]},
            LOAD,
            "^df has no value in column 'who', row 10",
        ),
        (
            {"day": [1, 2, np.nan, 1, 2]},
            {**LOAD, "time": "day"},
            "no time .*row 12",
        ),
        (
            {"load": np.inf},
            LOAD,
            "^df has an infinite value in column 'load'",
        ),
        (
            {"note": np.arange(5.0)},
            {**LOAD, "target": "note"},
            r'row 11; .*steps="all"$',
        ),
        (
            {"note": np.nan},
            {**LOAD, "target": "note"},
            "^df has no target in column",
        ),
        (
            {"kind": None},
            {**LOAD, "target": "kind"},
            "^df has no class in column",
        ),
        (
            {},
            {"id": "who", "features": "kind"},
            "^features has the column 'kind' of dtype .*; expected num",
        ),
    ],
)
def test_bad_frames(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    df = FRAME.assign(**change)
    if options == {"id": "who", "target": "kind"}:
        df = df.assign(note="text")
    with pytest.raises((ValueError, TypeError), match=message):
        from_frame(df, **options)


@pytest.mark.parametrize("df", [np.zeros((3, 2)), [1, 2], FRAME[:0], FRAME[["who", "who"]]])
def test_what_is_no_frame(df: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^df "):
        from_frame(df)


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("value", [0, -1, np.nan])
@pytest.mark.parametrize("width", [None, 2])
@pytest.mark.parametrize("padding", ["post", "pre"])
def test_unpad_is_the_inverse_of_pad(value: float, width: int | None, padding: str) -> None:
    rng = np.random.default_rng(0)
    tail = () if width is None else (width,)
    parts = [1.0 + rng.random(size=(length, *tail)) for length in (3, 1, 6, 4)]
    padded, lengths = pad(parts, value=value)
    if padding == "pre":
        for row, part in zip(padded, parts, strict=True):
            row[:] = value
            row[-len(part) :] = part
    for found in (
        unpad(padded, value=value, padding=padding),
        unpad(padded, lengths, padding=padding),
    ):
        assert all(np.array_equal(one, part) for one, part in zip(found, parts, strict=True))
        assert all(np.shares_memory(one, padded) for one in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padded": np.zeros(3)}, r"^padded has shape \(3,\)"),
        ({"padded": np.zeros((2, 3))}, r"^padded\[0\] holds only 0; expected at least one step"),
        ({"padded": np.ones((2, 3)), "lengths": [1, 4]}, r"^lengths\[1\] is 4; expected 1 to 3"),
        ({"padded": np.ones((2, 3)), "lengths": [1]}, r"^lengths has shape \(1,\)"),
        ({"padded": np.ones((2, 3)), "lengths": [1, 2], "value": 0}, "^value is 0 beside lengths"),
        ({"padded": np.ones((2, 3)), "padding": "left"}, '^padding is "left"'),
    ],
)
def test_bad_padding(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpad(**arguments)


TOKENS = [[3, 4, 5, 1], [2, 6], [7]]


@pytest.mark.parametrize("call", ["predict", "fit", "evaluate", "validation"])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("lengths", [None, [4, 3, 1]])
def test_padding_is_no_token(call: str, padding: str, lengths: list[int] | None) -> None:
    model = fastbptt.GRU(3, 4, 1, embedding=8, padding_index=0, seed=0)
    x = pad(TOKENS)[0]
    if padding == "pre":
        x = np.array([[0] * (4 - len(one)) + one for one in TOKENS])
    right = fastbptt.predict(model, TOKENS)
    y = [0.0, 1.0, 0.0]

    def do(x: Any, lengths: Any = None) -> Any:
        if call == "predict":
            return fastbptt.predict(model, x, lengths)
        if call == "evaluate":
            return fastbptt.evaluate(model, x, y, lengths=lengths)
        held = {"validation": (x, y, lengths)} if call == "validation" else {}
        if call == "validation":
            x, lengths = TOKENS, None
        return fastbptt.fit(model, x, y, lengths=lengths, epochs=1, verbose=0, **held)

    with pytest.raises(ValueError, match=r"x holds the padding_index 0 .*unpad\(x, value=0\)"):
        do(x, lengths)
    assert np.array_equal(fastbptt.predict(model, unpad(x, value=0, padding=padding)), right)
    do(unpad(x, value=0, padding=padding))
    if padding == "post":
        do(x, [4, 2, 1])
    with pytest.raises(ValueError, match=r"x\[1\] holds the padding_index 0 .* at index \(0,\)"):
        do([[1, 2], [0, 1], [3]])


def test_the_advice_about_nan() -> None:
    model, x = fastbptt.GRU(2, 3, 1, seed=0), np.ones((3, 4, 2))
    x[1, 2:] = np.nan
    for call in (fastbptt.predict, lambda m, x: fastbptt.fit(m, x, [0, 1, 1], epochs=1, verbose=0)):
        with pytest.raises(ValueError, match=r"at index \(1, 2, 0\); .*unpad\(x, value=float"):
            call(model, x)
        call(model, unpad(x, value=float("nan")))


# ---------------------------------------------------------------- one feature without its axis


@pytest.mark.parametrize(
    "form", [np.asarray, list, lambda x: x.tolist(), lambda x: [*x[:, :, None]], np.asfortranarray]
)
def test_one_feature_needs_no_axis(form: Any) -> None:
    x = np.random.default_rng(0).normal(size=(6, 5))
    model = fastbptt.GRU(1, 4, 1, seed=0)
    assert np.array_equal(fastbptt.predict(model, form(x)), fastbptt.predict(model, x[:, :, None]))
    model.forward(form(x))
    fastbptt.fit(model, form(x), x[:, 0], epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("size", "x", "hint"),
    [
        (1, np.ones((5, 1)), True),
        (2, np.ones((5, 2)), True),
        (2, np.ones((5, 3)), False),
        (1, np.ones(5), False),
        (3, np.ones((1, 2)), False),
        (2, np.ones((1, 2, 2, 2)), False),
    ],
)
def test_advice_for_one_sequence_works(size: int, x: Any, hint: bool) -> None:
    model = fastbptt.GRU(size, 4, 1, seed=0)
    with pytest.raises(ValueError, match=r"^x has shape") as caught:
        fastbptt.predict(model, x)
    assert ("x[None]" in str(caught.value)) == hint
    if hint:
        assert fastbptt.predict(model, x[None]).shape == (1, 1)


def test_frames_are_read_by_from_frame() -> None:
    model = fastbptt.GRU(1, 4, 1, seed=0)
    with pytest.raises(TypeError, match=r"^x is a frame of shape \(5, 2\); .*from_frame\(df, id="):
        fastbptt.predict(model, FRAME[["who", "speed"]])
    assert fastbptt.predict(model, from_frame(FRAME[["who", "speed"]], id="who").x).shape == (2, 1)


@pytest.mark.parametrize("name", ["validation", "epochs", "shuffle", "steps", "batch_size", "seed"])
def test_no_message_prints_an_array(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(60, 10, 1))
    with pytest.raises((TypeError, ValueError)) as caught:
        fastbptt.fit(fastbptt.GRU(1, 4, 1), x, x[:, 0, 0], verbose=0, **{name: x})
    assert name in str(caught.value) and len(str(caught.value)) < 200


LONG = pd.DataFrame({"id": list("aabb"), "t": [1, 0, 1, 0], "v": [1.0, 2, 3, 4], "y": list("ppqq")})


@pytest.mark.parametrize(
    ("frame", "options", "text"),
    [
        (LONG.assign(v=2**60 + np.arange(4)), {}, "differences of up to 3 .*float64 rounds.*'v'"),
        (LONG.assign(v=1.7e9 + np.arange(4)), {"dtype": "float32"},
         r'differences of up to 3 between .* float32 rounds.*expected dtype="float64"'),
        (LONG.assign(y=1e9 + np.array([0.0, 0, 1, 1])), {"dtype": "float32"}, "in column 'y'"),
        (LONG.set_index(pd.date_range("2024", periods=4)[::-1]), {"time": None, "features": "v"},
         r"in which 2024-01-03 .* follows 2024-01-04 .* of sequence 'a'; .*df.sort_index\(\)"),
        (LONG.assign(y=pd.Timestamp("2024")), {}, "'y' with Timestamp.*, of type Timestamp"),
        (LONG.assign(y=1j), {}, "'y' with 1j, of type complex; expected classes"),
        (LONG.set_index("t"), {}, r"time is 't'; .*in the index: df.reset_index\(\) makes it"),
    ],
)  # fmt: skip
def test_what_a_frame_would_lose(frame: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        from_frame(frame, **{"id": "id", "time": "t", "target": "y"} | options)
    if "sort_index" in text:
        assert len(from_frame(frame.sort_index(), id="id", features="v", target="y").x) == 2


def test_decimals_of_a_database_are_numbers() -> None:
    numbers = [Decimal("1.5"), Decimal("1.5"), Decimal("2.5"), Decimal("2.5")]
    data = from_frame(LONG.assign(y=numbers, v=numbers), id="id", time="t", target="y")
    assert data.classes is None and data.y.tolist() == [1.5, 2.5]
    assert data.x[0].tolist() == [[1.5], [1.5]]
    mixed = LONG.assign(y=pd.Series([0.5, 0.5, 0.25, 0.25], dtype=object))
    assert from_frame(mixed, id="id", time="t", target="y").y.tolist() == [0.5, 0.25]


def test_times_that_are_numbers_as_text() -> None:
    data = from_frame(LONG.assign(t=["10", "9", "10", "9"]), id="id", time="t", features="v")
    assert [one.ravel().tolist() for one in data.x] == [[2, 1], [4, 3]]


LEVELS = FRAME.set_index(["who", "day"])


@pytest.mark.parametrize(
    ("df", "options", "message"),
    [
        (LEVELS, {}, r"^df has an index of 2 levels, and id is None; expected df = df.reset_in"),
        (LEVELS, {"target": "note", "steps": "all"}, "^df has an index of 2 levels"),
        (LEVELS[["speed"]], {}, "^df has an index of 2 levels"),
        (FRAME, {"features": ["load", "load"]}, "^features holds 'load' twice; expected each"),
        (FRAME, {"id": "who", "features": ["note", "load", "note"]}, "holds 'note' twice"),
        (FRAME.assign(who=[1, 1, "1", "1", "1"]), {"id": "who"}, "both written 1 in column 'who'"),
        (FRAME.assign(who=[True, True, "True", "x", "y"]), {"id": "who"}, "both written True in"),
    ],
)
def test_frames_of_which_sequences_are_not_known(df: Any, options: Any, message: str) -> None:
    given = {"features": ["speed"], **options}
    with pytest.raises(ValueError, match=message):
        from_frame(df, **given)


def test_labels_of_rows_are_shown_as_numbers() -> None:
    wrong = LEVELS.assign(kind=[None, "u", "v", "v", "v"]).reset_index("day")
    with pytest.raises(ValueError, match=r"row 'b'"):
        from_frame(wrong, target="kind", features="speed", steps="all")
    wrong = FRAME.set_index(["day", "load"], drop=False).assign(speed=[1, 2, np.inf, 4, 5])
    with pytest.raises(ValueError, match=r"row \(3, 3\)"):
        from_frame(wrong.rename_axis([None, None]), id="who", features="speed")


def test_a_target_of_several_levels() -> None:
    table = FRAME.set_axis(pd.MultiIndex.from_product([["k"], FRAME.columns]), axis=1)
    data = from_frame(table, id=("k", "who"), features=[("k", "speed")], target=("k", "kind"))  # type: ignore[arg-type]
    assert data.classes == ("u", "v") and np.shape(data.y) == (2,)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float64", "0", "value is '0'; expected a number, NaN included"),
        ("float64", True, "value is True; expected a number"),
        ("float64", None, ""),
        ("uint8", -1, "value is -1; expected a value that padded can hold, whose dtype is uint8"),
        ("int64", 0.5, "value is 0.5; expected a value that padded can hold"),
        ("int8", 200, "value is 200; expected a value that padded can hold"),
        ("int32", np.nan, ""),
        ("uint8", 255, ""),
    ],
)
def test_padding_of_a_value_that_cannot_be(dtype: str, value: Any, message: str) -> None:
    padded = np.array([[1, 0, 0], [1, 2, 0]]).astype(dtype)
    if not message:
        assert len(unpad(padded, value=value)) == 2
        return
    with pytest.raises((ValueError, TypeError), match=message):
        unpad(padded, value=value)
