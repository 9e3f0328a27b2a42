"""`fit` with an iterator of batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastbptt

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 6, 2))
Y = {"last": rng.normal(size=(24, 1)), "all": rng.normal(size=(24, 6, 1))}
WEIGHTS = rng.uniform(0.5, 2.0, size=24)
OPTIONS: dict[str, Any] = {"loss": "mse", "verbose": 0, "epochs": 3}


def network() -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 4, 1, num_layers=2, dropout=0.3, dtype="float64", seed=0)


def batches(steps: str = "last", weights: Any = None, times: int = 99, size: int = 6) -> Any:
    for _ in range(times):
        for i in range(0, 24, size):
            part = slice(i, i + size)
            own = () if weights is None else (weights[part],)
            yield (X[part], Y[steps][part], *own)


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_batches_of_an_iterator_as_those_of_arrays(steps: str, weights: Any) -> None:
    more: dict[str, Any] = {
        **OPTIONS, "steps": steps, "validation": (X[:5], Y[steps][:5]), "metrics": "rmse",
        "schedule": "cosine", "clip_value": 0.01, "patience": 2,
    }  # fmt: skip
    one, other = network(), network()
    wanted = fastbptt.fit(
        one, X, Y[steps], batch_size=6, shuffle=False, sample_weight=weights,
        training_metrics=False, **more,
    )  # fmt: skip
    found = fastbptt.fit(other, batches(steps, weights), steps_per_epoch=4, **more)
    assert other.parameters.flat.tobytes() == one.parameters.flat.tobytes()
    assert found.curves.keys() == wanted.curves.keys()
    for curve in ("loss", "validation_loss", "validation_rmse", "lr"):
        np.testing.assert_allclose(found[curve], wanted[curve], rtol=1e-12)
    assert (found.stopped, found.best_epoch) == (wanted.stopped, wanted.best_epoch)


def test_exactly_as_many_batches_as_are_needed() -> None:
    """Epochs continue where the one before ended; batches may differ in sequences and steps."""
    taken = []

    def trials() -> Iterator[Any]:
        for i in range(6):
            taken.append(i)
            x = [np.full((n + i, 2), 0.1) for n in (1, 3, 2)][: 1 + i % 3]
            yield x, [np.full(len(one), float(i)) for one in x]

    found = fastbptt.fit(network(), trials(), steps="all", steps_per_epoch=2, **OPTIONS)
    assert taken == list(range(6)) and found.stopped == "epochs"


def test_an_epochs_loss_is_that_of_its_steps() -> None:
    model = fastbptt.RNN(2, 4, 1, dtype="float64", seed=0)
    parts = [(X[:3, :2], Y["all"][:3, :2]), (X[3:5], Y["all"][3:5])]
    found = fastbptt.fit(
        model, iter(parts), steps="all", steps_per_epoch=2, loss="mse", epochs=1, verbose=0,
        optimizer=fastbptt.SGD(0.0),
    )  # fmt: skip
    losses = [model.loss(x, y, "mse", "all") for x, y in parts]
    assert found["loss"] == pytest.approx([(6 * losses[0] + 12 * losses[1]) / 18], rel=1e-12)


def test_a_function_as_loss() -> None:
    def own(z: Any, y: Any, weights: Any) -> Any:
        return float(((z - y) ** 2).mean()), 2 * (z - y) / z.size

    one, other = network(), network()
    fastbptt.fit(one, batches(), steps_per_epoch=4, **OPTIONS)
    fastbptt.fit(other, batches(), steps_per_epoch=4, **{**OPTIONS, "loss": own})
    np.testing.assert_allclose(other.parameters.flat, one.parameters.flat, rtol=1e-9, atol=1e-12)
    odd = iter([(X[:2], Y["last"][:2]), (X[:2], np.ones((2, 3)))])
    with pytest.raises(fastbptt.ArgumentError, match=r"y has shape \(3,\) at each sequence; exp"):
        fastbptt.fit(other, odd, steps_per_epoch=2, **{**OPTIONS, "loss": own})


GOOD = (X[:2], Y["last"][:2])
BAD: dict[str, tuple[list[Any], str]] = {
    "ends": ([GOOD] * 4, r"x ended after 4 batches; expected 9: .* \(epoch 2, batch 2\)$"),
    "empty": ([], r"x ended after 0 batches; expected 9: .* \(epoch 1, batch 1\)$"),
    "one part": ([GOOD, (X,)], r"x yielded 1 parts; expected \(x, y\), .* \(epoch 1, batch 2\)$"),
    "an array": ([X], r"x yielded a ndarray; expected \(x, y\), .*\(epoch 1, batch 1\)$"),
    "weights": ([GOOD, (*GOOD, [1, 1])], r"x yielded 3 parts; expected 2, as .*batch 2\)$"),
    "features": (
        [GOOD] * 3 + [(X[:2, :, :1], Y["last"][:2])],
        r"x has shape \(2, 6, 1\); expected \(batch, time, 2\) .* \(epoch 2, batch 1\)$",
    ),
    "targets": ([GOOD, (X[:2], np.ones((2, 2)))], r"y has shape \(2, 2\); .*\(epoch 1, batch 2\)$"),
    "count": ([GOOD, (X[:2], Y["last"][:3])], r"y has shape \(3, 1\); exp.*\(epoch 1, batch 2\)$"),
    "nan": (
        [GOOD, (X[:2] * np.nan, Y["last"][:2])],
        r"x holds a value that is not finite \(nan\) at index \(0, 0, 0\).*\(epoch 1, batch 2\)$",
    ),
    "lengths": ([(*GOOD, [2, 3])], r"yielded whole numbers as weights.* \(epoch 1, batch 1\)$"),
    "negative": ([(*GOOD, [1, -1])], r"sample_weight holds -1 at .* \(epoch 1, batch 1\)$"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_batch_is_named(name: str) -> None:
    parts, message = BAD[name]
    model, twin = network(), network()
    with pytest.raises((ValueError, TypeError), match=message):
        fastbptt.fit(model, iter(parts), steps_per_epoch=3, **OPTIONS)
    good = 0
    while good < len(parts) and parts[good] is GOOD:
        good += 1
    if good:
        more = {**OPTIONS, "epochs": 1}
        fastbptt.fit(twin, iter(parts), steps_per_epoch=good, **more)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps_per_epoch": None}, "steps_per_epoch is None; expected a number of updates"),
        ({"y": Y["last"]}, "y is given; expected None because x is an iterator"),
        ({"loss": None}, "loss is None; expected a loss because x is an iterator"),
        ({"lengths": [1]}, r"lengths is \[1\]; expected None because x is an iterator"),
        ({"sample_weight": WEIGHTS}, "sample_weight is an array .*; expected None because"),
        ({"class_weight": "balanced"}, "class_weight is 'balanced'; expected None because"),
        ({"batch_size": 5}, "batch_size is 5; expected 32 because x is an iterator"),
        ({"shuffle": False}, "shuffle is False; expected True because x is an iterator"),
        ({"seed": 1}, "seed is 1; expected 0 because x is an iterator"),
        ({"bucket": True}, "bucket is True; expected False because x is an iterator"),
        ({"augment": abs}, "augment is .*; expected None because x is an iterator"),
        ({"resume": "a"}, "resume is 'a'; expected False because x is an iterator"),
        ({"validation": 0.2}, r"validation is 0.2; expected \(x, y\), \(x, y, lengths\) or .* bec"),
        ({"metrics": "rmse"}, r"metrics is given, but no validation; expected validation="),
        ({"x": X, "y": Y["last"]}, "steps_per_epoch is 4; expected None unless x is an iterator"),
        ({"x": X, "steps_per_epoch": None}, "y is None; expected targets, unless x is an iterator"),
    ],
)
def test_what_does_not_go_with_an_iterator(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fastbptt.fit(network(), **{"x": batches(), "steps_per_epoch": 4, **OPTIONS, **given})


@pytest.mark.parametrize("where", ["first", "later", "validation"])
def test_the_advice_about_a_missing_target_is_one_for_an_iterator(where: str) -> None:
    y = Y["all"].copy()
    y[1, 2] = np.nan
    good, bad = (X, Y["all"], None), (X, y, None)
    mask = 1.0 - np.isnan(y[..., 0])
    held: Any = (X, y) if where == "validation" else None
    given = [bad if where == "first" else good, bad if where == "later" else good]
    how: dict[str, Any] = {**OPTIONS, "steps": "all", "steps_per_epoch": 2, "epochs": 1}
    with pytest.raises(fastbptt.ArgumentError, match="weights of 0 leave out targets") as raised:
        fastbptt.fit(network(), iter(given), validation=held, **how)
    assert "missing=" not in str(raised.value)
    fastbptt.fit(network(), iter([(X, y, mask)] * 2), validation=(X, y, None, mask), **how)
