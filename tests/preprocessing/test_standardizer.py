from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbptt
from fastbptt import Standardizer, preprocessing

Array = np.ndarray[Any, Any]


@st.composite
def data(draw: st.DrawFn) -> list[Array]:
    """Sequences of different lengths, with features of very different means and spreads."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    width = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    scale = 10.0 ** rng.uniform(-3, 3, width)
    mean = 10.0 ** rng.uniform(-3, 5, width)
    return [mean + scale * rng.normal(size=(length, width)) for length in lengths]


def padded(x: list[Array], filler: float = np.nan) -> tuple[Array, Array]:
    lengths = np.array([len(one) for one in x])
    result = np.full((len(x), lengths.max() + 2, x[0].shape[1]), filler, x[0].dtype)
    for row, one in zip(result, x, strict=True):
        row[: len(one)] = one
    return result, lengths


def numpy_scale(steps: Array) -> Array:
    deviation = steps.std(axis=0)
    return np.where(len(steps) > 1, deviation, 1.0)


def close(found: Any, expected: Any, rtol: float = 1e-9, atol: float = 0.0) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def test_one_class_in_two_places() -> None:
    assert fastbptt.Standardizer is preprocessing.Standardizer


# ---------------------------------------------------------------- against NumPy


@given(data())
def test_is_numpy_on_all_steps(x: list[Array]) -> None:
    steps = np.concatenate(x)
    found = Standardizer().fit(x)
    assert found.mean_.dtype == found.scale_.dtype == np.float64
    close(found.mean_, steps.mean(axis=0), atol=1e-12 * np.abs(steps).max())
    close(found.scale_, numpy_scale(steps))
    expected = [(one - found.mean_) / found.scale_ for one in x]
    for one, wanted in zip(found.transform(x), expected, strict=True):
        np.testing.assert_array_equal(one, wanted)
    for one, wanted in zip(found.inverse_transform(expected), x, strict=True):
        close(one, wanted, 1e-9, 1e-9)
    again = Standardizer().fit_transform(x)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(expected))


@given(data(), st.sampled_from([np.nan, np.inf, 1e300]))
def test_padding_is_never_read(x: list[Array], filler: float) -> None:
    array, lengths = padded(x, filler)
    listed, found = Standardizer().fit(x), Standardizer().fit(array, lengths)
    close(found.mean_, listed.mean_, 1e-12, 1e-12 * listed.scale_.max())
    close(found.scale_, listed.scale_, 1e-10)
    out, back = found.transform(array, lengths), found.inverse_transform(array, lengths)
    for i, one in enumerate(x):
        np.testing.assert_array_equal(out[i, : len(one)], found.transform([one])[0])
        np.testing.assert_array_equal(back[i, : len(one)], found.inverse_transform([one])[0])
        assert not out[i, len(one) :].any() and not back[i, len(one) :].any()


@given(data(), st.integers(0, 6))
def test_pieces_are_the_whole(x: list[Array], cut: int) -> None:
    x = [*x, x[0] + 1.0]
    cut = min(max(cut, 1), len(x) - 1)
    whole = Standardizer().fit(x)
    pieces = Standardizer().partial_fit(x[:cut])
    array, lengths = padded(x[cut:])
    assert pieces.partial_fit(array, lengths) is pieces
    close(pieces.mean_, whole.mean_, atol=1e-12 * whole.scale_.max())
    close(pieces.scale_, whole.scale_)
    # fit forgets what came before
    np.testing.assert_array_equal(pieces.fit(x).mean_, whole.mean_)
    np.testing.assert_array_equal(pieces.fit(x).scale_, whole.scale_)


@given(data(), st.data())
def test_a_weight_counts_sequences(x: list[Array], draw: st.DataObject) -> None:
    weights = draw.draw(st.lists(st.integers(0, 3), min_size=len(x), max_size=len(x)))
    weights[-1] = 2
    repeated = [one for one, count in zip(x, weights, strict=True) for _ in range(count)]
    x = [one if count else np.full_like(one, np.nan) for one, count in zip(x, weights, strict=True)]
    expected = Standardizer().fit(repeated)
    array, lengths = padded(x)
    for found in (
        Standardizer().fit(x, sample_weight=weights),
        Standardizer().fit(array, lengths, sample_weight=np.array(weights) / 2),
        Standardizer().fit(np.concatenate(x), sample_weight=np.repeat(weights, lengths)),
    ):
        close(found.mean_, expected.mean_, atol=1e-12 * expected.scale_.max())
        close(found.scale_, expected.scale_)


def test_weights_of_pieces() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    weight = np.random.default_rng(1).uniform(size=40)
    whole = Standardizer().fit(x, sample_weight=weight)
    pieces = Standardizer()
    for part in (slice(0, 7), slice(7, 8), slice(8, 40)):
        pieces.partial_fit(x[part], sample_weight=weight[part])
    close(pieces.mean_, whole.mean_, atol=1e-12 * whole.scale_.max())
    close(pieces.scale_, whole.scale_)
    close(whole.mean_, np.average(x, axis=0, weights=weight))


def test_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = [5.0 + np.random.default_rng(i).normal(size=(10, 2)) for i in range(7)]
    array, lengths = padded(x)
    weight = np.arange(7.0)
    found = [
        (Standardizer().fit(array, lengths, sample_weight=weight), Standardizer().fit(x)),
        (Standardizer().fit(np.concatenate(x)),) * 2,
    ]
    before = [one.transform(array, lengths) for pair in found for one in pair]
    monkeypatch.setattr("fastbptt.preprocessing.standardizer._BLOCK", 30)
    again = [
        (Standardizer().fit(array, lengths, sample_weight=weight), Standardizer().fit(x)),
        (Standardizer().fit(np.concatenate(x)),) * 2,
    ]
    after = [one.transform(array, lengths) for pair in again for one in pair]
    close(after, before, 1e-12, 1e-13)


# ---------------------------------------------------------------- numbers that are hard


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_a_constant_feature_keeps_its_unit(dtype: Any, value: float) -> None:
    x = np.full((7, 11, 2), value, dtype)
    x[..., 1] = np.arange(77).reshape(7, 11)
    found = Standardizer().fit(x)
    assert found.mean_[0] == x[0, 0, 0] and found.scale_[0] == 1.0
    assert not found.transform(x)[..., 0].any()
    pieces = Standardizer().partial_fit(x[:3]).partial_fit(x[3:])
    assert pieces.mean_[0] == x[0, 0, 0] and pieces.scale_[0] == 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_of_a_number_are_a_constant(dtype: Any) -> None:
    one = dtype(0.3)
    x = np.tile([one, np.nextafter(one, dtype(1))], 10).astype(dtype)
    assert Standardizer().fit(x).scale_.tolist() == [1.0]
    assert Standardizer().fit(np.append(x, one + dtype(0.01))).scale_[0] < 0.01


def test_one_step() -> None:
    found = Standardizer().fit(np.array([[[2.0, -5.0]]]))
    assert found.mean_.tolist() == [2.0, -5.0] and found.scale_.tolist() == [1.0, 1.0]


def test_float32_far_from_zero() -> None:
    x = (1e6 + np.random.default_rng(0).normal(size=(200, 50, 2))).astype(np.float32)
    found = Standardizer().fit(x)
    steps = x.reshape(-1, 2).astype(np.float64)
    close(found.mean_, steps.mean(axis=0), 1e-14)
    close(found.scale_, steps.std(axis=0), 1e-12)
    out = found.transform(x)
    assert out.dtype == np.float32
    close(out, (x.astype(np.float64) - found.mean_) / found.scale_, 1e-7)


def test_digits_are_kept_beside_a_large_mean() -> None:
    base = np.arange(1000.0) % 7  # exact, with its mean, in the digits that 2 ** 49 leaves
    found = Standardizer().fit(base + 2.0**49)
    assert found.mean_[0] - 2.0**49 == pytest.approx(base.mean(), abs=0.07)
    close(found.scale_, [base.std()], 1e-13)
    pieces = Standardizer()
    for part in np.split(base + 2.0**49, 10):
        pieces.partial_fit(part)
    close(pieces.scale_, [base.std()], 1e-2)


def test_center_false_divides_by_the_root_mean_square() -> None:
    x = 3.0 + np.random.default_rng(0).normal(size=(5, 8, 2))
    found = Standardizer(center=False).fit(x)
    assert found.mean_.tolist() == [0.0, 0.0]
    square = np.square(x).mean(axis=(0, 1))
    close(found.scale_, np.sqrt(square), 1e-14)
    pieces = Standardizer(center=False).partial_fit(x[:2]).partial_fit(x[2:])
    close(pieces.scale_, found.scale_, 1e-14)
    assert Standardizer(center=False).fit(np.zeros(3)).scale_.tolist() == [1.0]
    assert Standardizer(center=False).fit(x).fit(x + 1).mean_.tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- forms and dtypes


def test_forms() -> None:
    flat = np.arange(6.0)
    expected = (flat - 2.5) / flat.std()
    found = Standardizer().fit(flat)
    close(found.transform(flat), expected)
    close(found.transform(flat[:, None]), expected[:, None])
    close(found.transform(flat.reshape(2, 3, 1)), expected.reshape(2, 3, 1))
    close(found.transform(flat.tolist()), expected)
    first, second = found.transform([flat[:4], flat[4:]])
    close(np.concatenate([first, second]), expected)
    table = Standardizer().fit([[1.0, 10.0], [3.0, 10.0]])  # rows, not sequences
    assert table.mean_.tolist() == [2.0, 10.0]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f4", "f4"), (">f4", "f4"), ("f2", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8")],
)
def test_dtypes(dtype: str, expected: str) -> None:
    x = np.arange(12).reshape(2, 3, 2).astype(dtype)
    found = Standardizer().fit(x)
    close(found.mean_, [5.0, 6.0])
    assert found.transform(x).dtype == np.dtype(expected)
    assert found.transform(x, dtype="float32").dtype == np.float32
    assert found.inverse_transform(x).dtype == np.float64


def test_the_data_stay_as_they_are() -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    x.flags.writeable = False
    found = Standardizer().fit(x)
    found.inverse_transform(found.transform(x))
    strided = x[::-2, 1:, ::-1]
    close(Standardizer().fit(strided).mean_, strided.mean(axis=(0, 1)), 1e-12)


def test_nan_passes_through_transform() -> None:
    out = Standardizer().fit(np.arange(4.0)).transform([1.5, np.nan])
    assert out[0] == 0.0 and np.isnan(out[1])


# ---------------------------------------------------------------- plain values


def test_plain_values() -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    found = Standardizer().fit(x)
    values = json.loads(json.dumps(found.to_dict()))
    assert sorted(values) == ["mean", "scale"]
    again = Standardizer.from_dict(values)
    for other in (again, copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(other.transform(x), found.transform(x))
        np.testing.assert_array_equal(other.inverse_transform(x), found.inverse_transform(x))
    with pytest.raises(ValueError, match="restored from its mean and scale; expected fit"):
        again.partial_fit(x)
    close(again.fit(x + 1.0).mean_, found.mean_ + 1.0)


# ---------------------------------------------------------------- bad input

ONE = np.zeros((2, 3, 2))


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (np.float64(3), {}, ValueError, r"x has shape \(\); expected \(batch, time, features\)"),
        ([], {}, ValueError, r"x has shape \(0,\); expected"),
        (np.zeros((2, 0, 3)), {}, ValueError, r"x has shape \(2, 0, 3\); expected"),
        (np.zeros((2, 2, 2, 2)), {}, ValueError, r"x has shape \(2, 2, 2, 2\); expected"),
        ([ONE], {}, ValueError, r"x\[0\] has shape \(2, 3, 2\); expected \(time_i, features\)"),
        ([ONE[0], ONE[0, :, 0]], {}, ValueError, r"x\[1\] has shape \(3,\); expected"),
        ([ONE[0], ONE[0, :, :1]], {}, ValueError, r"x\[1\] has 1 features; expected 2, as x\[0\]"),
        ([ONE[0], ONE[0, :0]], {}, ValueError, r"x\[1\] has shape \(0, 2\); expected"),
        (np.array(["a"]), {}, TypeError, "x has dtype <U1; expected real numbers"),
        (ONE, {"lengths": [3]}, ValueError, r"lengths has shape \(1,\) .* of shape \(2,\)"),
        (ONE, {"lengths": [3.0, 1.0]}, ValueError, "lengths has .* float64; expected whole"),
        (ONE, {"lengths": [3, 0]}, ValueError, r"lengths\[1\] is 0; expected 1 to 3"),
        (ONE, {"lengths": [3, 4]}, ValueError, r"lengths\[1\] is 4; expected 1 to 3"),
        (list(ONE), {"lengths": [3, 3]}, ValueError, "lengths is given; expected None unless x"),
        (ONE[0], {"lengths": [3, 3, 3]}, ValueError, "lengths is given; expected None unless x"),
        (ONE, {"sample_weight": [1.0]}, ValueError, r"sample_weight has shape \(1,\); .* \(2,\)"),
        (ONE, {"sample_weight": [1.0, -1]}, ValueError, r"sample_weight\[1\] is -1.0; expected"),
        (ONE, {"sample_weight": [np.nan, 1]}, ValueError, r"sample_weight\[0\] is nan; expected"),
        (ONE, {"sample_weight": [0, 0]}, ValueError, "sample_weight holds only zeros; expected"),
        ([0.0, np.nan], {}, ValueError, r"x holds nan at index \(1\); expected finite numbers"),
        ([ONE[0], ONE[0] + np.inf], {}, ValueError, r"x holds inf at index \(1, 0, 0\); expected"),
        (
            [[0.0, 1e308], [0.0, -1e308]],
            {"name": "y"},
            ValueError,
            "y holds values so large in column 1 that they have no finite standard deviation",
        ),
    ],
)
def test_bad_data(x: Any, options: dict[str, Any], error: Any, message: str) -> None:
    for call in (Standardizer().fit, Standardizer().partial_fit):
        with pytest.raises(error, match=message):
            call(x, **options)
    fitted = Standardizer().fit([[1.0, 3.0], [2.0, 5.0]])
    before = fitted.to_dict()
    with pytest.raises((ValueError, TypeError)):
        fitted.fit(x, **options)
    with pytest.raises((ValueError, TypeError)):
        fitted.partial_fit(x, **options)
    assert fitted.to_dict() == before


def test_where_a_number_is_not_finite() -> None:
    x = np.zeros((3, 4, 2))
    x[0, 3], x[1, 1], x[2, 2, 1] = np.nan, np.nan, np.nan
    with pytest.raises(ValueError, match=r"x holds nan at index \(2, 2, 1\)"):
        Standardizer().fit(x, [3, 4, 4], sample_weight=[1, 0, 1])


def test_other_bad_arguments() -> None:
    with pytest.raises(TypeError, match="center is 1; expected True or False"):
        Standardizer(center=1)  # type: ignore[arg-type]
    for call in (Standardizer().transform, Standardizer().inverse_transform):
        with pytest.raises(ValueError, match="not fitted; expected fit before"):
            call(ONE)
    with pytest.raises(ValueError, match="not fitted; expected fit before"):
        Standardizer().to_dict()
    fitted = Standardizer().fit(ONE)
    for call in (fitted.transform, fitted.inverse_transform, fitted.partial_fit):
        with pytest.raises(ValueError, match="x has 1 features; expected 2, as in fit"):
            call(np.zeros(3))
    with pytest.raises(ValueError, match='dtype is "int8"; expected'):
        fitted.transform(ONE, dtype="int8")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([1.0], TypeError, "values is of type list; expected a mapping"),
        ({"mean": [0.0]}, ValueError, "values lacks scale; expected mean, scale"),
        ({"mean": [0], "scale": [1], "x": 1}, ValueError, "values has unknown x"),
        ({"mean": 0.0, "scale": [1.0]}, ValueError, r"values\['mean'\] is 0.0; expected a finite"),
        ({"mean": [np.nan], "scale": [1.0]}, ValueError, r"values\['mean'\] is \[nan\]; expected"),
        ({"mean": [0.0], "scale": [0.0]}, ValueError, r"values\['scale'\] is \[0\.0\]; .* above 0"),
        (
            {"mean": [0.0], "scale": [np.inf]},
            ValueError,
            r"values\['scale'\] is \[inf\]; expected 1",
        ),
        (
            {"mean": [0.0], "scale": [1, 1]},
            ValueError,
            r"values\['scale'\] is .* expected 1 finite",
        ),
        ({"mean": ["a"], "scale": [1.0]}, TypeError, r"values\['mean'\] has dtype <U1; expected"),
    ],
)
def test_values_that_cannot_be(values: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Standardizer.from_dict(values)


def test_the_coarsest_dtype_of_all_pieces_decides_what_is_constant() -> None:
    near = np.array([1.0, 1.0 + 1e-9])
    for dtypes in (("f4", "f8"), ("f8", "f4")):
        standardizer = fastbptt.Standardizer()
        for dtype in dtypes:
            standardizer.partial_fit(near.astype(dtype))
        assert standardizer.scale_ == [1.0]


def test_weights_of_less_than_1_in_all() -> None:
    x = np.array([1.0, 2.0, 4.0])
    whole = fastbptt.Standardizer().fit(x, sample_weight=[1.0, 2.0, 1.0])
    small = fastbptt.Standardizer().fit(x, sample_weight=[0.125, 0.25, 0.125])
    assert small.mean_ == pytest.approx(whole.mean_)
    assert small.scale_ == pytest.approx(whole.scale_)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-30, 1e30, 1e200, 1e300])
def test_squares_neither_vanish_nor_overflow(size: float, center: bool) -> None:
    x = 2.0 + np.random.default_rng(0).normal(size=(20, 3))
    usual = Standardizer(center=center).fit(x)
    for made in (
        Standardizer(center=center).fit(size * x),
        Standardizer(center=center).partial_fit(size * x[:5]).partial_fit(size * x[5:]),
    ):
        assert np.allclose(made.scale_ / size, usual.scale_, rtol=1e-12)
        assert np.allclose(made.transform(size * x), usual.transform(x), atol=1e-12)
        assert np.allclose(made.inverse_transform(usual.transform(x)) / size, x, atol=1e-12)


def test_parts_of_very_different_sizes() -> None:
    parts = [np.array([1e-200, 3e-200]), np.array([1e200, 3e200]), np.array([1.0, 2.0])]
    made = Standardizer()
    for one in parts:
        made.partial_fit(one)
    assert np.allclose(made.scale_, Standardizer().fit(np.concatenate(parts)).scale_, rtol=1e-12)


def test_noise_of_rounding_stays_small() -> None:
    x = (1.7e9 + np.arange(400.0)).astype(np.float32)  # multiples of 128
    made = Standardizer().fit(x)
    assert made.scale_ > 100 and np.abs(made.transform(x)).max() < 2
    assert Standardizer().fit(np.full(9, 1.7e9, np.float32)).scale_ == 1
