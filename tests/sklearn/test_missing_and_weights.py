"""Estimators: weights of steps, missing labels, targets and inputs, and losses with parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score

import fastbptt
from fastbptt.sklearn import RecurrentClassifier, RecurrentForecaster, RecurrentRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 8, 2))
SUMS = np.cumsum(X[:, :, 0], axis=1)
NAMES = np.where(SUMS > 0, "up", "down")
WEIGHT = RNG.uniform(size=(24, 8)) * (RNG.uniform(size=(24, 8)) < 0.6)
WEIGHT[3] = 0.0
THERE = WEIGHT > 0.0
GAPS = RNG.uniform(size=X.shape) < [0.3, 0.0]
GAPPY = np.where(GAPS, np.nan, X)
SHORT: dict[str, Any] = {
    "hidden_layer_sizes": 4,
    "max_iter": 3,
    "random_state": 0,
    "n_iter_no_change": np.inf,
}
pytestmark = pytest.mark.filterwarnings("ignore:maximum number of epochs")


def regressor(**options: Any) -> Any:
    return RecurrentRegressor(**SHORT, **options)


def classifier(**options: Any) -> Any:
    return RecurrentClassifier(**SHORT, **options)


def parameters(estimator: Any) -> Any:
    return estimator.model_.parameters.flat


# ---------------------------------------------------------------- weights of steps


@pytest.mark.parametrize("make", [regressor, classifier])
def test_weights_of_steps(make: Any) -> None:
    y = SUMS if make is regressor else NAMES
    model = make(steps="all").fit(X, y, sample_weight=WEIGHT)
    listed = make(steps="all").fit(list(X), list(y), sample_weight=list(WEIGHT))
    assert np.abs(parameters(model) - parameters(listed)).max() < 1e-12
    # where a weight is 0, y is not read
    other: Any = np.where(THERE, y, np.nan if make is regressor else None)
    unread = make(steps="all").fit(X, other, sample_weight=WEIGHT)
    assert parameters(unread).tobytes() == parameters(model).tobytes()
    score = accuracy_score if make is classifier else r2_score
    predicted = np.concatenate(list(model.predict(X)))
    expected = score(y.ravel(), predicted, sample_weight=WEIGHT.ravel())
    assert model.score(X, y, sample_weight=WEIGHT) == pytest.approx(expected, rel=1e-12)
    assert model.score(X, other, sample_weight=WEIGHT) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", [regressor, classifier])
def test_one_weight_for_all_steps_is_that_of_the_sequence(make: Any) -> None:
    y = SUMS if make is regressor else NAMES
    weight = RNG.uniform(0.5, 1.0, size=24)
    one = make(steps="all").fit(X, y, weight)
    other = make(steps="all").fit(X, y, np.repeat(weight[:, None], 8, axis=1))
    assert np.abs(parameters(one) - parameters(other)).max() < 1e-12


def test_the_loss_by_hand() -> None:
    options = {"standardize": False, "alpha": 0.0, "learning_rate_init": 0.0, "steps": "all"}
    model = regressor(**options).fit(X, SUMS, WEIGHT)
    errors = np.square(fastbptt.predict(model.model_, X, steps="all")[..., 0] - SUMS)
    expected = (WEIGHT * errors).sum() / WEIGHT.sum()
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", ["array", "list"])
def test_weights_of_ragged_and_padded_sequences(form: str) -> None:
    ends = RNG.integers(2, 9, size=24)
    parts = [one[:end] for one, end in zip(X, ends, strict=True)]
    sums = [one[:end] for one, end in zip(SUMS, ends, strict=True)]
    own = [one[:end] + 0.1 for one, end in zip(WEIGHT, ends, strict=True)]
    expected = regressor(steps="all").fit(parts, sums, own)
    if form == "array":
        padded = X.copy()
        for row, end in zip(padded, ends, strict=True):
            row[end:] = np.nan
        model = regressor(steps="all").fit(padded, SUMS, WEIGHT + 0.1)
    else:
        tables = [pd.Series(one) for one in own]
        model = regressor(steps="all").fit(parts, [pd.Series(one) for one in sums], tables)
    assert np.abs(parameters(model) - parameters(expected)).max() < 1e-12


def test_class_weights_of_steps() -> None:
    counts = {name: float(np.mean(name == NAMES)) for name in ("up", "down")}
    factors = {name: 1 / (2 * share) for name, share in counts.items()}
    by_name = classifier(steps="all", class_weight="balanced").fit(X, NAMES)
    weight = np.where(NAMES == "up", factors["up"], factors["down"])
    net = classifier(steps="all").fit(X, NAMES, weight)
    assert by_name.loss_curve_ == pytest.approx(net.loss_curve_, rel=1e-2)  # scaling counts inputs
    fixed = classifier(steps="all", standardize=False, class_weight={"up": 2.0, "down": 0.5})
    same = classifier(steps="all", standardize=False)
    fixed.fit(X, NAMES)
    same.fit(X, NAMES, np.where(NAMES == "up", 2.0, 0.5))
    assert np.abs(parameters(fixed) - parameters(same)).max() < 1e-12


REFUSED: dict[str, Any] = {
    "negative": ("all", -WEIGHT - 1.0, r"sample_weight\[\d+, \d\] is -"),
    "nan": ("all", np.where(THERE, WEIGHT, np.nan), "sample_weight is nan at index"),
    "zeros": ("all", 0 * WEIGHT, "sample_weight is zero everywhere"),
    "steps of sequences": ("last", WEIGHT, r'sample_weight has shape \(24, 8\).*steps="all"'),
    "a list of sequences": ("mean", list(WEIGHT), 'has weights of steps.*steps="all"'),
    "another length": ("all", WEIGHT[:, :5], r"sample_weight\[0\] has shape \(5,\); expected \(8,"),
    "another number": ("all", WEIGHT[:5], "sample_weight has 5 sequences; expected 24"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_weights(case: str) -> None:
    steps, weight, message = REFUSED[case]
    model = regressor(steps=steps)
    with pytest.raises(ValueError, match=message):
        model.fit(X, SUMS if steps == "all" else SUMS[:, -1], weight)
    assert not hasattr(model, "model_")


# ---------------------------------------------------------------- missing labels and targets


def with_gaps(form: str) -> tuple[Any, Any]:
    """Labels of sequences with gaps, and which are there."""
    there = np.arange(24) % 3 > 0
    names, last = NAMES[:, -1], SUMS[:, -1]
    if form == "objects":
        return np.where(there, names.astype(object), None), there
    if form == "list":
        return [one if here else None for one, here in zip(names, there, strict=True)], there
    if form == "NaN among text":
        return np.where(there, names.astype(object), np.nan), there
    if form == "Series":
        return pd.Series(np.where(there, names.astype(object), None)), there
    if form == "string":
        return pd.Series(np.where(there, names.astype(object), None), dtype="string"), there
    if form == "category":
        return pd.Series(np.where(there, names.astype(object), None), dtype="category"), there
    if form == "Int64":
        numbers = [int(v > 0) if here else None for v, here in zip(last, there, strict=True)]
        return pd.array(numbers, dtype="Int64"), there
    assert form == "floats"
    return np.where(there, (last > 0).astype(float), np.nan), there


@pytest.mark.parametrize(
    "form",
    ["objects", "list", "NaN among text", "Series", "string", "category", "Int64", "floats"],
)
def test_labels_that_are_missing(form: str) -> None:
    y, there = with_gaps(form)
    model = classifier(missing="mask").fit(X, y)
    known = np.array(y, dtype=object)[there]
    known = np.array(known.tolist())
    expected = classifier().fit(X[there], known)
    assert model.classes_.tolist() == expected.classes_.tolist()
    assert parameters(model).tobytes() == parameters(expected).tobytes()
    assert model.score(X, y) == expected.score(X[there], known)
    with pytest.raises(ValueError, match=r"y|NaN"):
        classifier().fit(X, y)


def test_targets_that_are_missing() -> None:
    y = np.where(THERE, SUMS, np.nan)
    model = regressor(steps="all", missing="mask").fit(X, y)
    assert model.target_scaler_.mean_[0] == pytest.approx(np.nanmean(y), rel=1e-12)
    rows = np.concatenate(list(model.predict(X)))
    expected = r2_score(SUMS[THERE], rows[THERE.ravel()])
    assert model.score(X, y) == pytest.approx(expected, rel=1e-12)
    kept = THERE.any(axis=1)
    same = regressor(steps="all", missing="mask").fit(X[kept], y[kept])
    assert parameters(same).tobytes() == parameters(model).tobytes()
    several = regressor(missing="mask").fit(X, np.where(THERE[:, :1], SUMS[:, 6:], np.nan))
    assert several.predict(X).shape == (24, 2)
    with pytest.raises(ValueError, match="NaN"):
        regressor(steps="all").fit(X, y)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (regressor(), np.where(THERE[:, :2], SUMS[:, :2], np.nan), "some of its 2 outputs"),
        (regressor(), np.full(24, np.nan), "y holds only missing targets"),
        (classifier(), [None] * 24, "y holds only missing targets"),
        (classifier(), ["a"] * 9 + [None] * 15, "y has 1 class"),
        (regressor(steps="all"), np.full((24, 5), np.nan), r"y\[0\] has shape \(5,\)"),
        (regressor(steps="all"), np.full((20, 8), np.nan), "y has 20 sequences"),
    ],
)
def test_refused_gaps_of_targets(model: Any, y: Any, message: str) -> None:
    model = clone(model).set_params(missing="mask")
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "model_")


def test_missing_is_a_name() -> None:
    with pytest.raises(ValueError, match='missing is "drop"; expected one of "error", "mask"'):
        regressor(missing="drop").fit(X, SUMS[:, 0])


# ---------------------------------------------------------------- missing inputs


@pytest.mark.parametrize("standardize", [True, False])
def test_inputs_that_are_missing(standardize: bool) -> None:
    model = regressor(missing="mask", standardize=standardize).fit(GAPPY, SUMS[:, -1])
    assert model.imputer_.features_.tolist() == [0]
    assert model.n_features_in_ == 2 and model.model_.input_size == 3
    scaled = GAPPY
    if standardize:
        scaler = fastbptt.Standardizer(missing="mask").fit(GAPPY)
        assert scaler.mean_.tobytes() == model.scaler_.mean_.tobytes()
        scaled = scaler.transform(GAPPY)
    inputs = np.concatenate([np.where(GAPS, 0.0, scaled), GAPS[..., :1]], axis=-1)
    by_hand = fastbptt.predict(model.model_, inputs)[:, 0]
    scale, mean = model.target_scaler_.scale_, model.target_scaler_.mean_
    assert model.predict(GAPPY) == pytest.approx(by_hand * scale + mean, rel=1e-12)
    assert model.predict(list(GAPPY)) == pytest.approx(model.predict(GAPPY), rel=1e-12)
    assert model.predict(X).shape == (24,)  # data without gaps
    new = X.copy()
    new[5, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"X has no value.*at index \(5, 2, 1\)"):
        model.predict(new)
    with pytest.raises(ValueError, match=r'X contains NaN.*missing="mask"'):
        regressor().fit(GAPPY, SUMS[:, -1])


def test_frames_univariate_series_and_tails() -> None:
    frames = [pd.DataFrame(one, columns=["a", "b"]) for one in GAPPY]
    model = regressor(missing="mask").fit(frames, SUMS[:, -1])
    turned = [one[["b", "a"]] for one in frames]
    assert (model.predict(turned) == model.predict(frames)).all()
    flat = regressor(missing="mask").fit(GAPPY[:, :, 0], SUMS[:, -1])
    assert flat.model_.input_size == 2
    # in an array, NaN after the last value is the end of a sequence; in a list it is a gap
    tail = X.copy()
    tail[:, 6:] = np.nan
    cut = regressor(missing="mask").fit(tail, SUMS[:, -1])
    assert not len(cut.imputer_.features_)
    whole = regressor(missing="mask").fit(list(tail), SUMS[:, -1])
    assert whole.imputer_.features_.tolist() == [0, 1]


def test_partial_fit_and_warm_start() -> None:
    model = regressor(missing="mask").partial_fit(GAPPY, SUMS[:, -1])
    assert model.partial_fit(X, SUMS[:, -1]).model_.input_size == 3
    with pytest.raises(ValueError, match="had no gap"):
        model.partial_fit(GAPPY[:, :, ::-1], SUMS[:, -1])
    plain = regressor(warm_start=True).fit(X, SUMS[:, -1]).set_params(missing="mask")
    with pytest.raises(ValueError, match="NaN"):
        plain.fit(GAPPY, SUMS[:, -1]).predict(GAPPY)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_not_missing(value: float) -> None:
    odd = GAPPY.copy()
    odd[2, 1, 1] = value
    with pytest.raises(ValueError, match=r"X contains infinity at index \(2, 1\)"):
        regressor(missing="mask").fit(odd, SUMS[:, -1])


# ---------------------------------------------------------------- the classifier's loss


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("auto", 1),
        ("bce", 1),
        ("cross_entropy", 2),
        (fastbptt.Loss("bce", label_smoothing=0.2), 1),
        (fastbptt.Loss("cross_entropy", label_smoothing=0.1, gamma=2.0), 2),
    ],
)
def test_losses_of_two_classes(loss: Any, outputs: int) -> None:
    model = classifier(loss=loss).fit(X, NAMES[:, -1])
    assert model.n_outputs_ == model.model_.output_size == outputs
    probs, margin = model.predict_proba(X), model.decision_function(X)
    assert probs.shape == (24, 2) and margin.shape == (24,)
    assert probs[:, 1] == pytest.approx(1 / (1 + np.exp(-margin)), rel=1e-9)
    assert (model.predict(X) == np.where(margin > 0, "up", "down")).all()


def test_losses_of_three_classes() -> None:
    y = np.digitize(SUMS[:, -1], [-1.0, 1.0])
    plain = classifier().fit(X, y)
    named = classifier(loss="cross_entropy").fit(X, y)
    focal = classifier(loss=fastbptt.Loss("cross_entropy", gamma=2.0)).fit(X, y)
    assert parameters(plain).tobytes() == parameters(named).tobytes()
    assert parameters(plain).tobytes() != parameters(focal).tobytes()
    assert focal.decision_function(X).shape == (24, 3)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "mse",
            'loss is "mse"; expected "auto", or a loss that gives probabilities: "bce", "cross',
        ),
        ("hinge", 'loss is "hinge"'),
        ("bce", 'loss is "bce", of two classes, but y has 3; expected "cross_entropy"'),
        (3, "loss"),
        (fastbptt.Loss("bce", gamma=1.0), "of two classes"),
        ("none", "loss"),
    ],
)
def test_refused_losses(loss: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(loss=loss).fit(X, np.digitize(SUMS[:, -1], [-1.0, 1.0]))


@pytest.mark.parametrize("steps", ["mean", "max"])
def test_pooling(steps: str) -> None:
    model = classifier(steps=steps).fit(X, NAMES[:, -1])
    scaled = model.scaler_.transform(X)
    z = fastbptt.predict(model.model_, scaled, steps=steps)[:, 0]
    assert model.decision_function(X) == pytest.approx(z, rel=1e-12)
    assert regressor(steps=steps).fit(X, SUMS[:, -1]).predict(X).shape == (24,)


# ---------------------------------------------------------------- forecasts

T = np.arange(120)
SERIES = 50 + 0.1 * T + 5 * np.sin(2 * np.pi * T / 6)
HOLES = np.where(RNG.uniform(size=120) < 0.15, np.nan, SERIES)
HOLES[:2], HOLES[-1] = np.nan, np.nan


def forecaster(**options: Any) -> Any:
    return RecurrentForecaster(window=6, horizon=3, missing="mask", **{**SHORT, **options})


@pytest.mark.parametrize("center", ["last", "mean"])
@pytest.mark.parametrize("loss", ["mse", "quantile", "gaussian"])
def test_a_forecaster_reads_gaps(center: str, loss: str) -> None:
    model = forecaster(center=center, loss=loss, max_iter=60).fit(HOLES)
    assert model.imputer_.features_.tolist() == [0] and model.model_.input_size == 2
    assert model.score(HOLES) > 0.3
    assert model.predict(7).shape == (7,)
    assert model.predict(y=HOLES[:50]).shape == (3,)


def test_a_forecast_by_hand() -> None:
    model = forecaster().fit(HOLES)
    base = SERIES[118] if not np.isnan(HOLES[118]) else HOLES[~np.isnan(HOLES)][-1]
    window = HOLES[-6:]
    gaps = np.isnan(window)
    inputs = np.stack([np.where(gaps, 0.0, (window - base) / model.scale_), gaps], axis=-1)
    outputs = fastbptt.predict(model.model_, inputs[np.newaxis])[0]
    assert model.predict() == pytest.approx(outputs * model.scale_ + base, rel=1e-12)


def test_a_forecaster_without_gaps_is_the_same() -> None:
    plain = RecurrentForecaster(window=6, horizon=3, **SHORT).fit(SERIES)
    model = forecaster().fit(SERIES)
    assert parameters(model).tobytes() == parameters(plain).tobytes()
    assert model.score(SERIES) == plain.score(SERIES)


def test_windows_without_targets_do_not_count() -> None:
    gone = SERIES.copy()
    gone[60:80] = np.nan
    model = forecaster(shuffle=False, batch_size=10_000, alpha=0.0).fit(gone)
    before = forecaster(shuffle=False, batch_size=10_000, alpha=0.0, max_iter=1).fit(gone)
    assert model.loss_curve_[0] == before.loss_curve_[0]
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.score(gone))


def test_several_series_early_stopping_and_frames() -> None:
    both = np.column_stack([HOLES, SERIES])
    model = forecaster(early_stopping=True).fit([both, both[20:80]])
    assert model.imputer_.features_.tolist() == [0]
    assert np.isfinite(model.best_validation_score_)
    frame = pd.DataFrame(both, pd.date_range("2024", periods=120), ["a", "b"])
    known = forecaster().fit(frame)
    found = known.predict(2)
    assert found.columns.tolist() == ["a", "b"] and found.index[0] == pd.Timestamp("2024-04-30")
    assert (known.predict(2, y=frame[["b", "a"]]) == found).all().all()


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (np.full(40, np.nan), "y holds only NaN in column 0"),
        (np.where(T == 50, np.inf, HOLES), r"y contains infinity at index \(50,\)"),
        (np.where(T > 3, np.nan, SERIES), "y has no window with a value in it and one to forecast"),
    ],
)
def test_a_forecaster_refuses(series: Any, message: str) -> None:
    model = forecaster()
    with pytest.raises(ValueError, match=message):
        model.fit(series)
    assert not hasattr(model, "model_")


def test_a_new_gap_and_gaps_by_default() -> None:
    model = forecaster().fit(np.column_stack([HOLES, SERIES]))
    with pytest.raises(ValueError, match=r"y has no value.*at index \(0, 1\)"):
        model.predict(y=np.column_stack([SERIES, HOLES]))
    model.set_params(warm_start=True).fit(np.column_stack([HOLES, SERIES]))
    with pytest.raises(ValueError, match=r"y has no value.*at index \(0, 1\)"):
        model.fit(np.column_stack([SERIES, HOLES]))
    with pytest.raises(ValueError, match=r'y contains NaN.*missing="mask"'):
        RecurrentForecaster(window=6, horizon=3, **SHORT).fit(HOLES)
