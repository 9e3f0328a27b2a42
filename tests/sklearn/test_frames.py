"""What data of pandas and padded arrays carry: names, order, time, ends; and a forecaster's X."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import TimeSeriesSplit, cross_val_score

from fastbptt.datasets import from_frame, unpad
from fastbptt.sklearn import RecurrentClassifier, RecurrentForecaster, RecurrentRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHORT: dict[str, Any] = {"hidden_layer_sizes": 4, "max_iter": 2, "random_state": 0}
NAN = float("nan")


def forecaster(**options: Any) -> RecurrentForecaster:
    return RecurrentForecaster(**{"window": 8, "horizon": 3, **SHORT, **options})


def frames(count: int = 20) -> list[pd.DataFrame]:
    rng = np.random.default_rng(0)
    names = ["speed", "height", "load"]
    return [pd.DataFrame(rng.normal(size=(5, 3)), columns=names) for _ in range(count)]


Y = np.random.default_rng(1).normal(size=20)
WAVE = np.sin(np.arange(60.0) / 5)


# ---------------------------------------------------------------- names of columns


@pytest.mark.parametrize(
    "order", [["height", "speed", "load"], ["load", "height", "speed"], ["load", "speed", "height"]]
)
def test_columns_come_in_order_by_name(order: list[str]) -> None:
    X = frames()
    model = RecurrentRegressor(**SHORT).fit(X, Y)
    assert model.feature_names_in_.tolist() == ["speed", "height", "load"]
    right = model.predict(X)
    assert np.array_equal(model.predict([one[order] for one in X]), right)
    mixed = [X[0], *(one[order] for one in X[1:])]
    assert np.array_equal(RecurrentRegressor(**SHORT).fit(mixed, Y).predict(X), right)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"load": "mass"}), r"X\[0\] lacks 'load' and also has 'mass'"),
        (lambda f: f[["speed", "height"]], r"X\[0\] lacks 'load'; expected the columns 'speed',"),
        (lambda f: f.assign(more=1.0), r"X\[0\] also has 'more'"),
        (lambda f: f[["speed", "speed", "load"]], r"X\[0\] has two columns 'speed'"),
        (lambda f: f.rename(columns={"load": 3}), r"the column 3 of type int"),
        (
            lambda f: f.assign(load="much"),
            r"X\[0\] has the column 'load' of dtype .*; expected num",
        ),
    ],
)
def test_other_columns_are_refused(change: Any, message: str) -> None:
    model = RecurrentRegressor(**SHORT).fit(frames(), Y)
    with pytest.raises((ValueError, TypeError), match=message):
        model.predict([change(one) for one in frames()])


def test_names_on_one_side_only_warn() -> None:
    named = RecurrentRegressor(**SHORT).fit(frames(), Y)
    arrays = [one.to_numpy() for one in frames()]
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict(arrays)
    plain = RecurrentRegressor(**SHORT).fit(arrays, Y)
    assert not hasattr(plain, "feature_names_in_")
    with pytest.warns(UserWarning, match=r"X has feature names, but RecurrentRegressor was fitted"):
        plain.predict(frames())
    assert not hasattr(named.fit(arrays, Y), "feature_names_in_")


@pytest.mark.parametrize("steps", ["last", "all"])
def test_rows_of_dates_that_are_not_in_order_are_refused(steps: str) -> None:
    days = pd.date_range("2024-01-01", periods=5)
    X = [one.set_index(days) for one in frames()]
    y: Any = Y if steps == "last" else [np.zeros(5)] * 20
    model = RecurrentRegressor(steps=steps, **SHORT).fit(X, y)
    backward = [X[0], X[1][::-1]]
    with pytest.raises(ValueError, match=r"^X\[1\] has an index of dates .* \[one\.sort_index\(\)"):
        model.predict(backward)
    assert np.array_equal(
        np.array(model.predict([one.sort_index() for one in backward])),
        np.array(model.predict(X[:2])),
    )


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "names", [["speed", "height"], ["x", "y"], ["s_1", "s_2"], ["0", "1"], ["t", "v"], [5, 7]]
)
@pytest.mark.parametrize("estimator", [RecurrentClassifier, RecurrentRegressor])
def test_a_frame_of_features_is_no_table_of_series(estimator: Any, names: list[Any]) -> None:
    df = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=names)
    who, y = np.repeat(np.arange(20), 2), np.arange(40) % 2
    with pytest.raises(ValueError, match=r"^X is a frame of 2 columns, .*from_frame\(df, id=\.\.,"):
        estimator(**SHORT).fit(df, y)
    estimator(**SHORT).fit(df.to_numpy(), y)  # both ways of the advice
    data = from_frame(df.assign(who=who, label=who % 2 * 1.0), id="who", target="label")
    estimator(**SHORT).fit(data.x, data.y)


@pytest.mark.parametrize(
    "names",
    [None, ["t_0", "t_1", "t_2"], ["day1", "day2", "day3"], ["2024-01", "2024-02", "2024-03"]],
)
def test_a_frame_of_steps_is_a_table_of_series(names: list[str] | None) -> None:
    X = np.random.default_rng(0).normal(size=(20, 3))
    df = pd.DataFrame(X, columns=names)
    model = RecurrentRegressor(**SHORT).fit(df, Y)
    assert np.array_equal(model.predict(df), RecurrentRegressor(**SHORT).fit(X, Y).predict(X))
    if names:
        with pytest.raises(ValueError, match="feature names"):
            model.predict(df[names[::-1]])


def test_one_frame_is_not_several_sequences() -> None:
    model = RecurrentRegressor(**SHORT).fit(frames(), Y)
    with pytest.raises(ValueError, match=r"X is one frame of shape \(5, 3\); .*\[X\] for one"):
        model.predict(frames()[0])
    assert model.predict([frames()[0]]).shape == (1,)


# ---------------------------------------------------------------- ends of sequences, and lists


def tailed(width: int | None, lengths: NDArray[Any]) -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(len(lengths), 9, *([] if width is None else [width])))
    for row, length in zip(X, lengths, strict=True):
        row[length:] = NAN
    return X


@pytest.mark.parametrize("width", [None, 1, 3])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_nan_after_the_end_is_the_end(width: int | None, steps: str) -> None:
    lengths = np.random.default_rng(2).integers(2, 10, size=20)
    X = tailed(width, lengths)
    parts = unpad(X, value=NAN)
    assert [len(one) for one in parts] == lengths.tolist()
    table = np.random.default_rng(4).normal(size=(20, 9))
    y: Any = Y if steps == "last" else table
    cut: Any = Y if steps == "last" else unpad(table, lengths)
    model = RecurrentRegressor(steps=steps, **SHORT).fit(X, y)
    right = RecurrentRegressor(steps=steps, **SHORT).fit(parts, cut)
    for one, other in zip(model.predict(X), right.predict(parts), strict=True):
        assert np.array_equal(one, other)
    assert model.score(X, y) == right.score(parts, cut)
    again = RecurrentRegressor(steps=steps, **SHORT).fit([*X], cut)
    assert np.array_equal(again.predict([*X])[0], right.predict(parts)[0])


@pytest.mark.parametrize("place", [(0, 0), (3, 2), (19, 0)])
@pytest.mark.parametrize("width", [None, 2])
def test_other_nan_is_refused(width: int | None, place: tuple[int, int]) -> None:
    X = tailed(width, np.full(20, 8))
    X[place] = NAN
    message = rf"^X contains NaN at index \({place[0]}, {place[1]}\); .*a list of arrays"
    with pytest.raises(ValueError, match=message):
        RecurrentRegressor(**SHORT).fit(X, Y)


def test_padding_in_front_after_the_advice() -> None:
    X = tailed(2, np.arange(20) % 8 + 2)[:, ::-1]
    with pytest.raises(ValueError, match=r'unpad\(X, value=float\("nan"\), padding="pre"\)$'):
        RecurrentRegressor(**SHORT).fit(X, Y)
    parts = unpad(X, value=NAN, padding="pre")
    assert [len(one) for one in parts] == (np.arange(20) % 8 + 2).tolist()
    RecurrentRegressor(**SHORT).fit(parts, Y)


def test_lists_of_lists_are_univariate_series() -> None:
    parts = unpad(tailed(None, np.arange(20) % 8 + 2), value=NAN)
    plain = [one.tolist() for one in parts]
    right = RecurrentRegressor(**SHORT).fit(parts, Y).predict(parts)
    assert np.array_equal(RecurrentRegressor(**SHORT).fit(plain, Y).predict(plain), right)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"a": np.zeros((2, 3))}, "^X is of type dict; expected an array"),
        ("text", "^X is of type str"),
        (np.zeros(5), r"^X has shape \(5,\); expected .*np.reshape\(X, \(1, -1\)\)$"),
        ([np.array([["2020-01-01", 1.0]], dtype=object)] * 2, r"^X\[0\] has dtype object"),
        ([np.zeros((3, 1)), np.array([["a"]])], r"^X\[1\] has dtype <U1; expected numbers"),
        (
            [pd.DataFrame({"day": pd.date_range("2024", periods=3)})] * 2,
            r"column 'day' of dtype da",
        ),
    ],
)
def test_what_is_no_sequence_is_named(X: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        RecurrentRegressor(**SHORT).fit(X, np.zeros(2))


# ---------------------------------------------------------------- forecasts go on in time

INDICES: dict[str, Any] = {
    "months": (pd.date_range("2024-01-31", periods=60, freq="ME"), "2029-01-31"),
    "work days": (pd.date_range("2024-01-01", periods=60, freq="B"), "2024-03-25"),
    "hours": (
        pd.DatetimeIndex([*pd.date_range("2024-01-01", periods=60, freq="h")]),
        "2024-01-03 12",
    ),
    "zone": (
        pd.date_range("2024-01-01", periods=60, freq="D", tz="Europe/Berlin"),
        pd.Timestamp("2024-03-01", tz="Europe/Berlin"),
    ),
    "periods": (pd.period_range("2020-01", periods=60, freq="M"), pd.Period("2025-01", "M")),
    "durations": (pd.timedelta_range("0s", periods=60, freq="5min"), "5h"),
    "text": ([str(one.date()) for one in pd.date_range("2024-01-01", periods=60)], "2024-03-01"),
    "days": ([*pd.date_range("2024-01-01", periods=60).date], "2024-03-01"),
    "numbers": (np.arange(10, 610, 10), 610),
    "fractions": (np.arange(60) / 4, 15.0),
}


@pytest.mark.parametrize("kind", INDICES)
def test_forecasts_continue_the_index(kind: str) -> None:
    index, first = INDICES[kind]
    y = pd.Series(WAVE, index, name="load")
    y.index.name = "when"
    model = forecaster().fit(y)
    found = model.predict()
    assert isinstance(found, pd.Series) and (found.name, found.index.name) == ("load", "when")
    assert np.array_equal(found.to_numpy(), forecaster().fit(WAVE).predict())
    assert found.index[0] == (type(found.index[0])(first) if isinstance(first, str) else first)
    assert found.index.is_monotonic_increasing and found.index.is_unique
    assert model.predict([3, 1]).index.tolist() == [found.index[2], found.index[0]]
    shuffled = y.iloc[np.random.default_rng(0).permutation(60)]
    if kind in ("numbers", "fractions"):  # may be an order of another kind
        with pytest.raises(ValueError, match=r"sort_index\(\) if .* reset_index\(drop=True\) if"):
            forecaster().fit(shuffled)
        shuffled = shuffled.sort_index()
    assert forecaster().fit(shuffled).predict().equals(found)
    later = model.predict(2, y=y[:40])
    assert later.index[0] < found.index[0]


def test_forecasts_of_frames_and_lists() -> None:
    days = pd.date_range("2024-01-01", periods=60)
    df = pd.DataFrame({"a": WAVE, "b": WAVE**2}, days)
    model = forecaster().fit(df)
    found = model.predict(4)
    assert found.columns.tolist() == ["a", "b"] and str(found.index[0].date()) == "2024-03-01"
    assert model.predict(4, y=df[["b", "a"]]).equals(found)
    assert model.score(df[["b", "a"]]) == model.score(df)
    with pytest.raises(ValueError, match="y lacks 'b' and also has 'c'"):
        model.predict(4, y=df.rename(columns={"b": "c"}))
    several = forecaster().fit([df, df[["b", "a"]][:30]]).predict(2)
    assert [str(one.index[0].date()) for one in several] == ["2024-03-01", "2024-01-31"]
    assert several[1].columns.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (pd.Series(WAVE, pd.DatetimeIndex(["2024-01-01"] * 60)), "y has two rows of 2024-01-01"),
        (pd.Series(WAVE, [f"{i}/x" for i in range(60)]), "y has the index '0/x'"),
        (pd.DataFrame({"day": ["2024-01-01"] * 60, "a": WAVE}), "y has the column 'day' of dtype"),
        (pd.concat({"s": pd.Series(WAVE)}), r"y has an index of 2 levels.*droplevel\(0\)"),
        ({"a": WAVE}, "y is of type dict"),
        ([[1.0, 2.0]] * 60, r"y is a list of 60 lists of 2; expected numpy.array\(y\) for one"),
        (np.where(np.arange(60) == 7, np.inf, WAVE), r"y contains infinity at index \(7,\)"),
    ],
)
def test_series_that_can_be_read_in_two_ways_are_refused(y: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        forecaster().fit(y)


def test_levels_after_the_advice() -> None:
    y = pd.concat({"s": pd.Series(WAVE), "r": pd.Series(WAVE[:40])})
    found = forecaster().fit([one.droplevel(0) for _, one in y.groupby(level=0)]).predict(1)
    assert sorted(one.index[0] for one in found) == [40, 60]


def test_uneven_dates_are_no_calendar() -> None:
    days = pd.DatetimeIndex(np.delete(pd.date_range("2024-01-01", periods=61), 30))
    model = forecaster().fit(pd.Series(WAVE, days))
    with pytest.warns(UserWarning, match="no constant distance between rows") as seen:
        assert model.predict([2, 5]).index.tolist() == [2, 5]
    assert seen[0].filename == __file__


def test_absent_rows_inserted_after_the_advice() -> None:
    days = pd.DatetimeIndex(np.delete(pd.date_range("2024-01-01", periods=61), 30))
    whole = pd.Series(WAVE, days).asfreq("D")
    found = forecaster(missing="mask").fit(whole).predict([2, 5])
    assert found.index.tolist() == [pd.Timestamp("2024-03-03"), pd.Timestamp("2024-03-06")]


# ---------------------------------------------------------------- no argument without effect


@pytest.mark.parametrize(
    "call",
    [
        lambda model, y, X: model.fit(y, X=X),
        lambda model, y, X: model.fit(X, y),
        lambda model, y, X: model.fit(y).predict(2, X[:2]),
        lambda model, y, X: model.fit(y).predict(h=2, X=X[:2]),
        lambda model, y, X: model.fit(y).score(y, X),
        lambda model, y, X: cross_val_score(model, X, y, error_score="raise"),
    ],
)
def test_exogenous_columns_are_refused(call: Any) -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(ValueError, match=r"^X is given, but .*numpy\.column_stack\(\[y, X\]\)"):
        call(forecaster(), WAVE, X)
    assert forecaster().fit(np.column_stack([WAVE, X])).predict(2).shape == (2, 3)


@pytest.mark.parametrize("h", [WAVE, [1.0, 2.0], [[1, 2]], [2, 2], pd.Series([1, 2]), [], True])
def test_a_series_is_no_horizon(h: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^h (is|has shape) .{,250}$"):
        forecaster().fit(WAVE).predict(h)


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("length", [90, 100, 144])
def test_time_series_split_on_the_default_settings(length: int) -> None:
    model = RecurrentForecaster(hidden_layer_sizes=4, max_iter=2)
    assert np.isfinite(
        cross_val_score(model, np.sin(np.arange(length)), cv=TimeSeriesSplit())
    ).all()


def test_the_automatic_window() -> None:
    for length, window in ((13, 1), (24, 6), (59, 24), (200, 24)):
        model = RecurrentForecaster(**SHORT).fit(np.sin(np.arange(length)))
        assert model.window_ == model._shape[0] == window
    with pytest.raises(ValueError, match=r"y has 12 steps; .* at least 13 because window=1"):
        RecurrentForecaster(**SHORT).fit(np.arange(12.0))
    with pytest.raises(ValueError, match="y has 10 steps; expected at least 11 because window=8"):
        forecaster().fit(WAVE).score(WAVE[:10])  # a window that was asked for


@pytest.mark.slow
@pytest.mark.parametrize(("center", "early_stopping"), [("last", True), ("mean", False)])
def test_fit_needs_no_memory_for_windows(center: str, early_stopping: bool) -> None:
    y = np.random.default_rng(0).normal(size=(40_000, 8))
    options = {"window": 20, "center": center, "cell": "rnn", "early_stopping": early_stopping}
    model = forecaster(
        **{**options, "hidden_layer_sizes": 1, "max_iter": 1, "validation_fraction": 0.02}
    )
    model.fit(y[:200])
    tracemalloc.start()
    try:
        model.fit(y)
        assert tracemalloc.get_traced_memory()[1] < 2 * y.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("center", ["last", "mean"])
def test_windows_of_several_series(center: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(length, 2)).astype(dtype) for length in (14, 11, 30)]
    model = forecaster(center=center).fit(series)
    windows = model._windows(series)
    every = np.concatenate([[one[i : i + 11] for i in range(len(one) - 10)] for one in series])
    rows = rng.permutation(len(windows))
    assert len(windows) == len(every) == 4 + 1 + 20
    assert np.array_equal(windows.raw(rows), every[rows])
    base = every[:, 7:8] if center == "last" else model.mean_
    scaled = (every - base) / model.scale_
    x, y = model._examples(windows)
    assert x.take(rows)[0].dtype == model.model_.dtype
    assert np.allclose(x.take(rows)[0], scaled[rows, :8], rtol=1e-5, atol=1e-6)
    assert np.allclose(y.take(rows)[0], scaled[rows, 8:].reshape(25, -1), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- what would be taken for another

STEPS = pd.date_range("2024-01-01", periods=5)
NAMED: dict[str, list[Any]] = {
    "numbers as text": ["t0", "t1", "t10", "t2", "t3"],
    "newest first": ["day 5", "day 4", "day 3", "day 2", "day 1"],
    "a step twice": ["step_1", "step_2", "step_02", "step_3", "step_4"],
    "dates": list(STEPS[::-1]),
    "dates as text": ["2024-01-02", "2024-01-01", "2024-01-03", "2024-01-04", "2024-01-05"],
    "months": ["2024-03", "2024-02", "2024-01", "2023-12", "2023-11"],
}


@pytest.mark.parametrize("name", NAMED)
def test_columns_that_are_steps_rise(name: str) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 5)), columns=NAMED[name])
    with pytest.raises(ValueError, match=r"^X has the column .* after .* in order of time"):
        RecurrentRegressor(**SHORT).fit(table, Y)
    RecurrentRegressor(**SHORT).fit(table.to_numpy(), Y)


@pytest.mark.parametrize("columns", [["t0", "t1", "t2", "t9", "t10"], list(STEPS), list("01234")])
def test_columns_that_rise_are_steps(columns: list[Any]) -> None:
    if columns == list("01234"):
        columns = [f"lag{one}" for one in columns]
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 5)), columns=columns)
    RecurrentRegressor(**SHORT).fit(table, Y)


@pytest.mark.parametrize(
    "times",
    [
        STEPS + pd.Timedelta(days=1),
        STEPS.tz_localize("UTC"),
        pd.period_range("2023-01", periods=5, freq="M"),
        pd.date_range("2024-01-01", periods=5, freq="h"),
        STEPS[:4].append(STEPS[4:] + pd.Timedelta(days=1)),
        pd.timedelta_range("0s", periods=5, freq="s"),
    ],
)
def test_targets_of_other_dates_are_refused(times: Any) -> None:
    given = [one.set_axis(STEPS) for one in frames()]
    model = RecurrentRegressor(steps="all", **SHORT)
    labels = [pd.Series(np.arange(5.0), STEPS) for _ in given]
    model.fit(given, labels)
    model.fit(given, [one.to_numpy() for one in labels])
    labels[3] = labels[3].set_axis(times)
    with pytest.raises(ValueError, match=r"^y\[3\] has dates from .* and X\[3\] from"):
        model.fit(given, labels)


@pytest.mark.parametrize(
    ("first", "freq", "form"),
    [
        ("2024-01-01", "D", "%Y%m%d"),
        ("1999-12-20", "D", "%Y%m%d"),
        ("2024-01-05", "W", "%Y%m%d"),
        ("2022-01-01", "MS", "%Y%m"),
        ("1985-06-01", "YS", "%Y%m%d"),
        ("2020-01-31", "QE", "%Y%m"),
    ],
)
def test_numbers_that_are_days_or_months_are_asked_about(first: str, freq: str, form: str) -> None:
    dates = pd.date_range(first, periods=30, freq=freq)
    series = pd.Series(WAVE[:30], [int(one.strftime(form)) for one in dates])
    with pytest.raises(ValueError, match=r"^y has the index \d+, .., which may be numbers, or d"):
        forecaster().fit(series)
    series.index = pd.to_datetime(series.index.astype(str), format=form)
    assert forecaster().fit(series).predict(2).index[0] > series.index[-1]


@pytest.mark.parametrize("index", [range(19600, 19630), range(1960, 1990), range(2024010, 2024040)])
def test_other_numbers_go_on(index: range) -> None:
    found = forecaster().fit(pd.Series(WAVE[:30], index)).predict(2)
    assert found.index.tolist() == [index[-1] + 1, index[-1] + 2]


CHANGED: list[tuple[type[Any], str, Any]] = [
    (RecurrentRegressor, "cell", "lstm"),
    (RecurrentRegressor, "hidden_layer_sizes", (4, 4)),
    (RecurrentClassifier, "bidirectional", True),
    (RecurrentClassifier, "dropout", 0.5),
    (RecurrentRegressor, "init", "keras"),
    (RecurrentRegressor, "dtype", "float32"),
    (RecurrentClassifier, "standardize", False),
    (RecurrentClassifier, "steps", "mean"),
    (RecurrentRegressor, "loss", "mae"),
    (RecurrentForecaster, "window", 9),
    (RecurrentForecaster, "horizon", 2),
    (RecurrentForecaster, "center", "mean"),
]


@pytest.mark.filterwarnings("ignore:dropout")
@pytest.mark.parametrize(("kind", "name", "value"), CHANGED)
def test_what_the_network_keeps_is_not_changed_in_further_training(
    kind: type[Any], name: str, value: Any
) -> None:
    options = {"window": 8, "horizon": 3} if kind is RecurrentForecaster else {}
    model = kind(**options, **SHORT, warm_start=True)
    data: tuple[Any, ...] = (WAVE,) if kind is RecurrentForecaster else (frames(), Y > 0)
    if kind is RecurrentRegressor:
        data = (frames(), Y)
    model.fit(*data).fit(*data)
    before = model.model_.parameters.flat.copy()
    model.set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"^{name} is .*for a new one fit with warm_start=False"):
        model.fit(*data)
    assert (model.model_.parameters.flat == before).all()
    model.set_params(warm_start=False).fit(*data)
