"""What targets are, everywhere the same, and metrics that get what they need."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _targets
from fastbptt.training import metrics

RNG = np.random.default_rng(12)
N, T = 24, 5
X = RNG.normal(size=(N, T, 2))
Y = np.tile([0, 1, 1], N // 3)
THREE = np.tile([0, 1, 2], N // 3)
LABELS = np.stack([Y, THREE > 0, THREE == 2], axis=1).astype(int)
LENGTHS = np.tile([T, T - 2], N // 2)
ONE_HOT = np.eye(3)[THREE]

# y of steps, with other values after the sequences' ends
PADDED = np.where(np.arange(T) < LENGTHS[:, None], RNG.integers(0, 2, (N, T)), -1)
PADDED_ROWS = np.eye(3)[RNG.integers(0, 3, (N, T))] * (np.arange(T) < LENGTHS[:, None])[..., None]


def model(outputs: int = 1) -> Any:
    return fastbptt.GRU(2, 4, outputs, dtype="float64", seed=0)


CALLS = [
    lambda net, *args, **more: fastbptt.fit(net, *args, epochs=1, verbose=0, **more),
    fastbptt.evaluate,
    fastbptt.diagnose,
]


@pytest.mark.parametrize(
    ("y", "outputs", "steps", "kind"),
    [
        (Y, 1, "last", "binary"),
        (Y.astype(float), 1, "last", "binary"),
        (Y[:, None] > 0, 1, "last", "binary"),
        (Y.tolist(), 1, "last", "binary"),
        (THREE, 3, "last", "classes"),
        (THREE.astype(np.uint8), 5, "last", "classes"),
        (LABELS, 3, "last", "labels"),
        (LABELS.astype(np.float32), 3, "last", "labels"),
        (LABELS > 0, 3, "last", "labels"),
        (list(LABELS), 3, "last", "labels"),
        (LABELS * 3, 3, "last", "counts"),
        (THREE * 1.0, 1, "last", "counts"),
        (THREE - 1.0, 1, "last", "numbers"),
        (LABELS - 0.5, 3, "last", "numbers"),
        (np.zeros((N, 3)), 3, "last", "numbers"),
        ([1.0, 2.0], 1, "last", "counts"),  # of two sequences, any two values are the only ones
        (np.full(N, 7), 1, "last", "counts"),
        (RNG.integers(0, T, (N, T)), T, "all", "classes"),  # as many steps as outputs
        ([RNG.integers(0, T, T), RNG.integers(0, T, 2)], T, "all", "classes"),
        ([LABELS[:4], LABELS[:2]], 3, "all", "labels"),
        ([Y[:4] * 1.0, Y[:2] * 1.0], 1, "all", "binary"),
        (PADDED, 1, "all", "binary"),
    ],
)
def test_kinds(y: Any, outputs: int, steps: str, kind: str) -> None:
    lengths = LENGTHS if y is PADDED else None
    assert _targets.decide(y, outputs, steps, lengths).kind == kind


@pytest.mark.parametrize(
    ("y", "outputs", "loss", "kind"),
    [
        (LABELS, 3, "mse", "numbers"),
        (ONE_HOT, 3, "bce", "labels"),
        (Y + 1, 1, "huber", "numbers"),
        (Y, 1, "mse", "numbers"),
        (Y * 0.9, 1, "bce", "numbers"),
        (THREE, 3, "cross_entropy", "classes"),
    ],
)
def test_a_loss_says_which_reading_is_meant(y: Any, outputs: int, loss: str, kind: str) -> None:
    assert _targets.decide(y, outputs, loss=fastbptt.Loss(loss)).kind == kind


TWO = 'expected 0 and 1 for two classes, as (y == {}) gives, or loss="mse" for a regression'
ROWS = "y holds only 0 and 1, a single 1 in each row of 3; expected "


@pytest.mark.parametrize(
    ("y", "outputs", "message", "choices"),
    [
        (Y + 1, 1, TWO.format(2), [({}, Y + 1 == 2), ({"loss": "mse"}, Y + 1)]),
        (2 * Y - 1, 1, TWO.format(1), [({}, 2 * Y - 1 == 1)]),
        (2.0 * Y - 1.0, 1, TWO.format(1), [({"loss": "mse"}, 2.0 * Y - 1.0)]),
        (Y + 1.0, 1, TWO.format(2), [({}, Y + 1.0 == 2)]),
        (Y[:, None] * 5, 1, TWO.format(5), [({}, Y[:, None] * 5 == 5)]),
        (THREE, 1, 'loss="mse" for a regression on whole numbers', [({"loss": "mse"}, THREE)]),
        *(
            (y, 3, ROWS, [
                ({"loss": "cross_entropy"}, np.asarray(y).argmax(axis=-1)),
                ({"loss": "bce"}, y),
                ({"loss": "mse"}, y),
            ])
            for y in (ONE_HOT, ONE_HOT.astype(int), ONE_HOT > 0, ONE_HOT.tolist())
        ),
    ],
)  # fmt: skip
def test_two_readings_are_refused_and_the_advice_works(
    y: Any, outputs: int, message: str, choices: Any
) -> None:
    for call in CALLS:
        net = model(outputs)
        before = net.parameters.flat.copy()
        with pytest.raises(fastbptt.ArgumentError, match=re.escape(message)):
            call(net, X, y)
        assert (net.parameters.flat == before).all()
        for options, targets in choices:
            call(model(outputs), X, targets, **options)


@pytest.mark.parametrize("y", [[3, 7], [-1, 1], np.array([[2], [1]])])
def test_two_integers_are_asked_about_however_few(y: Any) -> None:
    with pytest.raises(fastbptt.ArgumentError, match=r"^y holds only -?[0-9] and [0-9], but"):
        fastbptt.evaluate(model(), X[:2], y)


def test_padding_does_not_hide_one_hot_rows() -> None:
    for call in CALLS:
        with pytest.raises(fastbptt.ArgumentError, match=re.escape(ROWS)):
            call(model(3), X, PADDED_ROWS, steps="all", lengths=LENGTHS)


@pytest.mark.parametrize("y", [ONE_HOT, ONE_HOT.astype(int), ONE_HOT.astype(bool)])
def test_one_hot_rows_for_cross_entropy(y: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"give y.argmax\(axis=-1\)"):
        fastbptt.evaluate(model(3), X, y, loss="cross_entropy")
    fastbptt.evaluate(model(3), X, y.argmax(axis=-1), loss="cross_entropy")


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("metric", "y", "outputs", "loss"),
    [
        ("accuracy", ONE_HOT, 3, "mse"),
        ("accuracy", Y, 1, "mse"),
        ("balanced_accuracy", Y + 1, 1, "huber"),
        ("rmse", THREE, 3, "cross_entropy"),
        ("mae", THREE, 3, None),
        ("r2", THREE, 3, None),
        ("accuracy", X[:, 0, 0], 1, None),
    ],
)
def test_a_metric_that_makes_no_sense_with_the_loss(
    metric: str, y: Any, outputs: int, loss: str | None
) -> None:
    for call in CALLS[:2]:
        with pytest.raises(ValueError, match=rf'^metrics\[0\] is "{metric}", of ') as caught:
            call(model(outputs), X, y, loss=loss, metrics=metric)
        for name in re.findall(
            r'"(\w+)"', str(caught.value).split("expected ")[1].split(", or")[0]
        ):
            call(model(outputs), X, y, loss=loss, metrics=name)  # as it advises


@pytest.mark.parametrize("y", [[1, 2], [-1, 1], [[1.0], [-1.0]], [0.0, np.nan]])
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_accuracy_of_other_labels_is_refused(name: str, y: Any) -> None:
    with pytest.raises(ValueError, match=r"^y holds .*; expected 0 and 1"):
        fastbptt.METRICS[name].function(np.array(y), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"^y holds .*; expected classes 0 to 1"):
        fastbptt.METRICS[name].function(np.array([1, 2]), np.zeros((2, 2)))


def test_numbers_of_probabilities() -> None:
    """With bce the errors are those of the probabilities, not of logits."""
    for y, outputs in ((Y, 1), (LABELS, 3)):
        net = model(outputs)
        probs = 1.0 / (1.0 + np.exp(-fastbptt.predict(net, X)))
        found = fastbptt.evaluate(net, X, y, metrics=["rmse", "mae"])
        difference = probs - y.reshape(probs.shape)
        assert found["rmse"] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-12)
        assert found["mae"] == pytest.approx(np.abs(difference).mean(), rel=1e-12)


def test_probabilities_of_labels() -> None:
    z = RNG.normal(size=(4, 3))
    np.testing.assert_allclose(fastbptt.probabilities(z, "bce"), 1 / (1 + np.exp(-z)), rtol=1e-12)
    assert fastbptt.probabilities(z.astype(np.float32), "bce").dtype == np.float32
    assert (fastbptt.probabilities(z) == fastbptt.probabilities(z, "cross_entropy")).all()
    one = fastbptt.probabilities(z[:, :1], "bce")
    assert one.shape == (4, 2) and (one == fastbptt.probabilities(z[:, :1])).all()
    for outputs, loss in ((z, "mse"), (z, "huber"), (z[:, :1], "cross_entropy")):
        with pytest.raises(
            fastbptt.ArgumentError, match=r"^loss is .*; expected a loss of classes"
        ):
            fastbptt.probabilities(outputs, loss)


@pytest.mark.parametrize(
    ("name", "options", "outputs", "y", "given"),
    [
        ("f1_score", {}, 1, Y, lambda z: z[:, 0] > 0),
        ("f1_score", {}, 2, Y, lambda z: z.argmax(axis=1)),
        ("f1_score", {"average": "macro"}, 3, THREE, lambda z: z.argmax(axis=1)),
        ("f1_score", {"average": "micro"}, 3, LABELS, lambda z: z > 0),
        ("matthews_corrcoef", {}, 3, THREE, lambda z: z.argmax(axis=1)),
        ("zero_one_loss", {}, 1, Y * 1.0, lambda z: z[:, 0] > 0),
        ("roc_auc_score", {}, 1, Y[:, None], lambda z: z[:, 0]),
        ("roc_auc_score", {}, 2, Y, lambda z: z[:, 1] - z[:, 0]),
        ("roc_auc_score", {"multi_class": "ovr"}, 3, THREE, fastbptt.probabilities),
        ("roc_auc_score", {}, 3, LABELS, lambda z: z),
        ("average_precision_score", {}, 1, Y, lambda z: z[:, 0]),
        ("log_loss", {}, 1, Y, lambda z: fastbptt.probabilities(z)),
        ("log_loss", {}, 3, THREE, fastbptt.probabilities),
        ("brier_score_loss", {}, 2, Y, lambda z: fastbptt.probabilities(z)[:, 1]),
        ("hinge_loss", {}, 3, THREE, lambda z: z),
        ("hinge_loss", {}, 1, Y, lambda z: z[:, 0]),
        ("mean_absolute_error", {}, 1, X[:, 0, 0], lambda z: z[:, 0]),
        ("r2_score", {}, 2, X[:, 0], lambda z: z),
    ],
)  # fmt: skip
def test_functions_of_scikit_learn(
    name: str, options: dict[str, Any], outputs: int, y: Any, given: Any
) -> None:
    functions = pytest.importorskip("sklearn.metrics")
    function = getattr(functions, name)
    net = model(outputs)
    z = fastbptt.predict(net, X)
    true = y.astype(int) if name == "zero_one_loss" else y
    expected = function(true[:, 0] if true.shape == (N, 1) else true, given(z), **options)
    metric = partial(function, **options) if options else function
    assert fastbptt.evaluate(net, X, y, metrics=metric) == {
        "loss": fastbptt.evaluate(net, X, y)["loss"],
        name: pytest.approx(expected, rel=1e-9),
    }
    assert metrics.resolve(metric)[0].larger_is_better == (not name.endswith(("_loss", "_error")))


def test_of_scikit_learn_for_another_loss() -> None:
    functions = pytest.importorskip("sklearn.metrics")
    with pytest.raises(ValueError, match=r'^metrics\[0\] is "f1_score", of classes, but'):
        fastbptt.evaluate(model(), X, X[:, 0, 0], metrics=functions.f1_score)
    with pytest.raises(ValueError, match=r'^metrics\[0\] is "mean_squared_error", of numbers'):
        fastbptt.evaluate(model(3), X, THREE, metrics=functions.mean_squared_error)
    with pytest.raises(
        ValueError, match=r'^y holds 0.9; expected 0 and 1 for the metric "f1_score"'
    ):
        fastbptt.evaluate(model(), X, Y * 0.9, loss="bce", metrics=functions.f1_score)
    with pytest.raises(TypeError, match=r"^metrics is a scorer of scikit-learn"):
        fastbptt.evaluate(model(), X, Y, metrics=functions.make_scorer(functions.f1_score))


def own(y: Any, outputs: Any) -> Any:
    return own.result(y, outputs)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (lambda y, z: 1 / 0, ValueError, 'metric "own" failed: division by zero (it was given y, '),
        (lambda y, z: z[:, 7], ValueError, "is out of bounds for axis 1 with size 1 (it was given"),
        (lambda y, z: y + "a", TypeError, 'metric "own" failed: '),
        (lambda y, z: int("x"), ValueError, "float64 of shape (24, 1), and the model's outputs "
         "(logits, not classes), float64 of shape (24, 1))"),
        (lambda y, z: np.str_("good"), TypeError,
         "metric \"own\" returned 'good'; expected a number"),
        (lambda y, z: z, TypeError, 'metric "own" returned float64 of shape (24, 1); expected'),
        (lambda y, z: None, TypeError, 'metric "own" returned None; expected a number'),
    ],
)  # fmt: skip
def test_a_failure_names_the_metric_and_what_it_got(
    result: Any, kind: type[Exception], message: str
) -> None:
    own.result = result  # type: ignore[attr-defined]
    for call in CALLS[:2]:
        with pytest.raises(kind) as caught:
            call(model(), X, Y, metrics=own)
        assert message in str(caught.value)


def test_names_in_messages_are_plain() -> None:
    history = CALLS[0](model(), X, Y, metrics=np.array(["accuracy"]))
    assert list(history.curves)[1] == "accuracy"
    with pytest.raises(ValueError, match=r'^metrics\[0\] is "f1"; expected one of'):
        fastbptt.evaluate(model(), X, Y, metrics=np.array(["f1"]))
    with pytest.raises(TypeError, match=r"^metrics\[0\] is 3; expected a name or a function$"):
        fastbptt.evaluate(model(), X, Y, metrics=np.array([3]))
    with pytest.raises(KeyError, match="'f1' is not a curve"):
        history[np.str_("f1")]
    for loss in (np.str_("f1"), np.float64(1)):
        with pytest.raises((ValueError, TypeError)) as caught:
            fastbptt.evaluate(model(), X, Y, loss=loss)
        assert "np." not in str(caught.value)
    with pytest.raises(ValueError, match="class_weight has 5; expected"):
        fastbptt.fit(model(), X, Y, class_weight={np.int64(5): 1.0}, verbose=0)
