"""Missing inputs: statistics without them, zeros in their place, and indicators."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fastbptt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6, 3)) * [1.0, 1e-3, 1e6] + [0.0, 1e3, 1e9]
GAPS = RNG.uniform(size=X.shape) < [0.3, 0.0, 0.6]
GAPPY = np.where(GAPS, np.nan, X)
LENGTHS = np.array([6, 5, 1, 2, 6, 3, 4, 6])


# ---------------------------------------------------------------- statistics


def masked(**options: Any) -> Any:
    return fastbptt.Standardizer(missing="mask", **options)


def close(standardizer: Any, values: Any) -> None:
    assert standardizer.mean_ == pytest.approx(np.nanmean(values, axis=0), rel=1e-14)
    assert standardizer.scale_ == pytest.approx(np.nanstd(values, axis=0), rel=1e-9)


def test_a_standardizer_ignores_gaps() -> None:
    close(masked().fit(GAPPY), GAPPY.reshape(-1, 3))
    close(masked().fit(list(GAPPY)), GAPPY.reshape(-1, 3))
    inside = np.concatenate([one[:end] for one, end in zip(GAPPY, LENGTHS, strict=True)])
    close(masked().fit(GAPPY, LENGTHS), inside)
    pieces = masked()
    for part in np.split(GAPPY, 4):
        pieces.partial_fit(part)
    close(pieces, GAPPY.reshape(-1, 3))


def test_a_feature_that_is_missing_at_first() -> None:
    late = GAPPY.copy()
    late[:4, :, 0] = np.nan
    late[4:, :, 2] = np.nan
    pieces = masked()
    for part in np.split(late, 4):
        pieces.partial_fit(part)
    close(pieces, late.reshape(-1, 3))
    root = masked(center=False)
    for part in np.split(late, 4):
        root.partial_fit(part)
    squares = np.nanmean(np.square(late.reshape(-1, 3)), axis=0)
    assert root.scale_ == pytest.approx(np.sqrt(squares), rel=1e-12)


def test_weights_count_the_values_that_are_there() -> None:
    weight = RNG.uniform(size=8)
    found = masked().fit(GAPPY, sample_weight=weight)
    w = np.where(GAPS, 0.0, weight[:, None, None])
    mean = (w * np.where(GAPS, 0.0, X)).sum(axis=(0, 1)) / w.sum(axis=(0, 1))
    assert found.mean_ == pytest.approx(mean, rel=1e-14)


def test_without_gaps_nothing_changes() -> None:
    one, other = masked().fit(X), fastbptt.Standardizer().fit(X)
    assert one.mean_.tobytes() == other.mean_.tobytes()
    assert one.scale_.tobytes() == other.scale_.tobytes()
    assert np.isnan(masked().fit(GAPPY).transform(GAPPY)).sum() == GAPS.sum()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(np.arange(3) == 1, np.nan, X), "x holds only NaN in column 1"),
        (np.where(GAPS & (np.arange(3) == 2), np.inf, X), "x holds inf at index"),
        (np.full((4, 2), np.nan), "x holds only NaN in column 0"),
    ],
)
def test_a_standardizer_refuses(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masked().fit(values)
    with pytest.raises(ValueError, match="x holds nan"):
        fastbptt.Standardizer().fit(GAPPY)
    with pytest.raises(ValueError, match='missing is "drop"'):
        fastbptt.Standardizer(missing="drop")


# ---------------------------------------------------------------- indicators


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zeros_and_indicators(dtype: str) -> None:
    x = GAPPY.astype(dtype)
    imputer = fastbptt.Imputer()
    found = imputer.fit_transform(x)
    assert found.dtype == dtype and imputer.features_.tolist() == [0, 2]
    assert (found[..., :3] == np.where(GAPS, 0, X.astype(dtype))).all()
    assert (found[..., 3:] == GAPS[..., [0, 2]]).all()
    listed = imputer.transform(list(x))
    assert isinstance(listed, list) and all(
        (a == b).all() for a, b in zip(listed, found, strict=True)
    )
    twin = fastbptt.Imputer.from_dict(json.loads(json.dumps(imputer.to_dict())))
    assert (twin.transform(x) == found).all()
    assert np.isnan(x).sum() == GAPS.sum()  # the caller's is left alone


def test_padding_is_no_gap() -> None:
    padded = X.copy()
    for row, end in zip(padded, LENGTHS, strict=True):
        row[end:] = np.nan
    imputer = fastbptt.Imputer().fit(padded, LENGTHS)
    assert imputer.features_.tolist() == []
    found = imputer.transform(padded, LENGTHS)
    for row, given, end in zip(found, X, LENGTHS, strict=True):
        assert (row[:end] == given[:end]).all() and not row[end:].any()


def test_integers_have_no_gaps() -> None:
    imputer = fastbptt.Imputer().fit(np.arange(12).reshape(2, 3, 2))
    assert imputer.transform([[[1, 2]]])[0].dtype == np.float64 and not len(imputer.features_)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda one: one.transform(np.where(GAPS[..., ::-1], 1.0, np.nan)),
            r"x has no value.*1 had",
        ),
        (lambda one: one.transform([GAPPY[0], np.full((2, 3), np.nan)]), r"x\[1\] has no value"),
        (lambda one: one.transform(X[..., :2]), "x has 2 features; expected 3"),
        (lambda one: one.fit(X[0]), r"x has shape \(6, 3\).*x\[:, :, None\]"),
        (lambda one: one.fit([X[0], X[0, :, :2]]), r"x\[1\] has shape"),
        (lambda one: one.fit([]), "x is an empty list"),
        (lambda one: one.fit([X[0]], [6]), "lengths is given"),
        (lambda one: one.fit(X, LENGTHS + 6), r"lengths\[0\] is 12"),
        (lambda one: one.get_feature_names_out(["a"]), "input_features has 1 names; expected 3"),
        (lambda one: fastbptt.Imputer().transform(X), "not fitted"),
        (lambda one: fastbptt.Imputer().to_dict(), "not fitted"),
        (lambda one: one.from_dict({"n_features_in": 2, "features": [2]}), "rising whole numbers"),
        (lambda one: one.from_dict({"n_features_in": 2, "features": [1, 0]}), "rising whole"),
        (lambda one: one.from_dict({"n_features_in": 2, "features": "ab"}), "rising whole"),
        (lambda one: one.from_dict({"n_features_in": 2, "features": [True]}), "rising whole"),
        (lambda one: one.from_dict({"features": []}), "values"),
    ],
)
def test_an_imputer_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(fastbptt.Imputer().fit(GAPPY))


def test_frames_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="frame"):
        fastbptt.Imputer().fit([pandas.DataFrame(X[0])])
