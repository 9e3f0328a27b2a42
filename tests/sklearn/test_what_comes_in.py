"""What estimators take for labels, targets and sequences, and what they refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from fastbptt.sklearn import (
    RecurrentClassifier,
    RecurrentForecaster,
    RecurrentRegressor,
)

QUICK: dict[str, Any] = {"hidden_layer_sizes": 3, "max_iter": 1, "random_state": 0}
X = np.random.default_rng(0).normal(size=(6, 5, 2))
NAMES = np.array(["a", "b", "c", "a", "b", "c"])
CODES = np.array([0, 1, 2, 0, 1, 2])
DATES = pd.date_range("2024-01-01", periods=6)
SERIES = np.sin(np.arange(40.0))

pytestmark = pytest.mark.filterwarnings("ignore:maximum number of epochs")


def classifier(**more: Any) -> Any:
    return RecurrentClassifier(**QUICK | more)


def regressor(**more: Any) -> Any:
    return RecurrentRegressor(**QUICK | more)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (pd.Series(CODES, dtype="Int64"), "int64"),
        (pd.Series(CODES, dtype="UInt8"), "uint8"),
        (pd.Series(CODES > 0, dtype="boolean"), "bool"),
        (pd.Series(NAMES, dtype="category"), "object"),
        (pd.Series(CODES.astype(float)), "float64"),
    ],
)
def test_labels_keep_their_type(y: Any, kind: str) -> None:
    found = classifier().fit(X, y)
    assert found.classes_.dtype == kind
    assert found.predict(X).dtype == kind and set(found.classes_.tolist()) == set(y.tolist())


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (pd.Series(["a", None, "b"] * 2, dtype="string"), r"holds no label \(.*\) at index \(1,\)"),
        (np.array(["a", None, "b"] * 2, dtype=object), r"holds no label \(None\) at index \(1,\)"),
        (["a", "b", float("nan")] * 2, r"holds no label \(nan\) at index \(2,\)"),  # text else
        (np.array([1, "a", 2] * 2, dtype=object), r'holds "a" beside 1 at index \(1,\)'),
        (["a", "b", 3] * 2, r'holds 3 beside "a" at index \(2,\); expected labels of one type'),
        (np.ma.masked_equal(CODES, 1), "is a masked array with 2 masked values"),
        (CODES + 1j, "has a complex dtype"),
        ((one for one in CODES), r"is of type generator; expected .* list\(y\)"),
    ],
)
def test_labels_that_are_none(y: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^y {text}"):
        classifier().fit(X, y)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (
            [["a"] * 5] * 5 + [[1] * 5],
            r"y\[5\] has labels of type number beside those of type text",
        ),
        ([["a"] * 5] * 5 + [["a", "b", None, "a", "a"]], r"y\[5\] holds no label \(None\)"),
        (np.zeros((6, 5, 1), int), r"y has an axis of outputs; .* of this one, give y\[..., 0\]"),
    ],
)
def test_labels_of_steps_that_are_none(y: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{text}"):
        classifier(steps="all").fit(X, y)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"a": 1, "z": 2}, r'^class_weight has "z"; expected classes of y: "a", "b", "c"$'),
        ({0: 1}, "^class_weight has 0; expected classes"),
        ({"a": -1}, r'^class_weight\["a"\] is -1.0'),
        ({"a": np.nan}, r'^class_weight\["a"\] is nan'),
        ({"a": "much"}, r"^class_weight\[\"a\"\] is 'much'"),
        (dict.fromkeys("abc", 0), "^class_weight is 0 for the classes of all training sequences"),
        ([1, 2, 3], r"^class_weight is \[1, 2, 3\]; expected None, \"balanced\" or a mapping"),
    ],
)
def test_class_weights(weights: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        classifier(class_weight=weights).fit(X, NAMES)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"beta_1": 1}, "beta_1"),
        ({"beta_2": -1}, "beta_2"),
        ({"beta_2": 1 - 1e-9, "dtype": "float32"}, "beta_2"),
        ({"epsilon": 0}, "epsilon"),
        ({"epsilon": 1e-300, "dtype": "float32"}, "epsilon"),
        ({"learning_rate_init": 1e300, "dtype": "float32"}, "learning_rate_init"),
        ({"alpha": 1e300, "dtype": "float32"}, "alpha"),
    ],
)
def test_settings_have_the_names_of_the_estimator(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is "):
        classifier(**settings).fit(X, NAMES)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ma.masked_less(X, -1), "X is a masked array with"),
        ([np.ma.masked_less(one, 0) for one in X], r"X\[0\] is a masked array with"),
        (np.ma.masked_less(X[:, :, 0], -1), "X is a masked array with"),
        (X + 1j, "X has a complex dtype. Complex data not supported; expected real numbers$"),
        (np.zeros((6, 5, 2), "M8[s]"), r"X has dtype datetime64\[s\]; expected numbers: of dates"),
        ((one for one in X), r"X is of type generator; expected .* list\(X\)"),
        (pd.DataFrame({"id": CODES, "a": 1.0}).groupby("id"),
         r"X is of type DataFrameGroupBy; expected a list: \[one for _, one in X\]"),
        (list(zip(X, CODES, strict=True)), "X is a nested list .* of type tuple"),
        (2**60 + CODES[:, None, None] + np.arange(5)[:, None], "X has differences .* float64"),
        ([2**60 + np.arange(5)[:, None]] * 6, "X has differences .* float64 rounds to multiples"),
        ([pd.DataFrame({"d": DATES, "a": 1.0})] * 6, r"X\[0\] has the column 'd' of dtype date"),
        ([pd.DataFrame({"a": CODES}, index=[pd.NaT, *DATES[1:]])] * 6,
         r"X\[0\] has no time in row 0 of its index; .*X\[0\]\[X\[0\].index.notna\(\)\]"),
    ],
)  # fmt: skip
def test_sequences_that_are_none(x: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{text}"):
        classifier().fit(x, CODES)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (DATES, r"y has dtype datetime64.*; expected numbers: of dates, .*\(y - y.min\(\)\) /"),
        (DATES - DATES[0], "y has dtype timedelta64"),
        (np.ma.masked_less(CODES, 1), "y is a masked array with 2 masked values"),
        (NAMES, 'y holds "a"; expected numbers; names of classes are for a RecurrentClassifier'),
        (NAMES.astype(object), 'y holds "a"; expected numbers'),
        (CODES + 2**60, "y has differences of up to 2 between .* float64 rounds"),
        (CODES + 0j, "y has a complex dtype"),
    ],
)
def test_targets_that_are_no_numbers(y: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{text}"):
        regressor().fit(X, y)


def test_masked_values_of_steps_and_weights() -> None:
    with pytest.raises(ValueError, match=r"^y\[0\] is a masked array"):
        regressor(steps="all").fit(list(X), [np.ma.masked_less(one[:, 0], 1) for one in X])
    with pytest.raises(ValueError, match=r"^sample_weight is a masked array"):
        regressor().fit(X, CODES, sample_weight=np.ma.masked_equal(CODES, 2))
    falling = [pd.Series(one[:, 0], DATES[:5][::-1]) for one in X]
    with pytest.raises(ValueError, match=r"^y\[0\] has an index of dates that are not in order"):
        regressor(steps="all").fit(list(X), falling)
    regressor(steps="all").fit(list(X), [one.sort_index() for one in falling])


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.ma.masked_less(SERIES, 0), "y is a masked array"),
        ([np.ma.masked_less(SERIES, 0)], r"y\[0\] is a masked array"),
        (pd.DataFrame({"d": DATES, "a": 1.0}), "y has the column 'd' of dtype datetime64"),
        (pd.Series(CODES, [*DATES[:5], pd.NaT]), "y has no time in row 5 of its index"),
        (pd.Series(CODES, [0.0, 1, 2, np.nan, 4, 5]), "y has no time in row 3 of its index"),
        (SERIES[np.newaxis], "y has 1 steps; .*if its 40 columns are the steps, give y.T$"),
        ((one for one in SERIES), "y is of type generator"),
        (2**60 + np.arange(40), "y has differences of up to 39 between .* float64 rounds"),
    ],
)
def test_series_that_are_none(y: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{text}"):
        RecurrentForecaster(horizon=2, **QUICK).fit(y)


@pytest.mark.parametrize("names", [["a", "b"], [0, 1], [("a", 1), ("a", 2)], [2024, 2025]])
def test_columns_of_any_names_are_put_in_order(names: list[Any]) -> None:
    table = pd.DataFrame(dict(zip(names, (SERIES, 2 + 3 * SERIES), strict=True)))
    turned = table[names[::-1]]
    model = RecurrentForecaster(window=6, horizon=2, **QUICK).fit(table)
    expected = model.predict(2)
    pd.testing.assert_frame_equal(model.predict(2, y=turned), expected)
    assert list(expected.columns) == names
    sequences = [table[i : i + 5] for i in range(6)]
    other = classifier().fit(sequences, CODES)
    same = [one[names[::-1]] for one in sequences]
    assert (other.decision_function(same) == other.decision_function(sequences)).all()


def test_columns_without_names_are_as_good_as_an_array() -> None:
    model = classifier().fit([pd.DataFrame(one) for one in X], CODES)
    with pytest.warns(UserWarning, match="X has feature names, but RecurrentClassifier was fitted"):
        found = model.decision_function([pd.DataFrame(one, columns=["a", "b"]) for one in X])
    assert (found == model.decision_function(X)).all()
    named = classifier().fit([pd.DataFrame(one, columns=["a", "b"]) for one in X], CODES)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict(X)


def test_decimals_are_numbers() -> None:
    y = [Decimal(str(value)) for value in SERIES.round(3)]
    assert regressor().fit(X, y[:6]).predict(X).shape == (6,)
