"""Targets that are missing: weight 0, where it is asked for, and errors where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import reference
from fastbptt.reference.losses import LOSSES
from fastbptt.training import MaskedLoss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 9, 2))
Y = np.cumsum(X[:, :, 0], axis=1)[:, :, np.newaxis]
FEW = RNG.uniform(size=(20, 9)) < 0.1  # the steps that have a target
FEW[3] = False  # a sequence without any
HALF = np.arange(20) % 2 == 0  # of the sequences
GAPPY = np.where(FEW[:, :, np.newaxis], Y, np.nan)
LENGTHS = RNG.integers(4, 10, size=20)
QUIET: dict[str, Any] = {"epochs": 2, "verbose": 0, "batch_size": 7}


def net(outputs: int = 1, **options: Any) -> Any:
    return fastbptt.GRU(2, 5, outputs, seed=0, dtype="float64", **options)


def weights(model: Any) -> Any:
    return model.parameters.flat.tobytes()


def test_the_gradient_by_hand_of_targets_of_which_nine_tenths_are_missing() -> None:
    model = net()
    before = model.parameters.flat.copy()
    fastbptt.fit(
        model,
        X,
        GAPPY,
        steps="all",
        missing="mask",
        epochs=1,
        batch_size=20,
        optimizer=fastbptt.SGD(1.0),
        verbose=0,
    )
    step = before - model.parameters.flat
    twin = net()
    outputs = twin.forward(X, training=True)
    by_hand = np.zeros_like(Y)
    by_hand[FEW] = 2 * (outputs.outputs[FEW] - Y[FEW]) / np.count_nonzero(FEW)
    gradient = twin.backward(outputs, by_hand).flat
    assert np.abs(step - gradient).max() < 1e-14
    value, d_outputs = reference.apply_loss(
        twin.forward(X).outputs, np.nan_to_num(GAPPY), "mse", "all", sample_weight=FEW
    )
    assert np.abs(d_outputs - by_hand).max() < 1e-15
    found = fastbptt.evaluate(twin, X, GAPPY, steps="all", missing="mask")["loss"]
    assert found == pytest.approx(value, rel=1e-13)


CASES: dict[str, Any] = {
    "steps": (1, {"steps": "all"}, GAPPY, Y, FEW),
    "steps without an axis": (1, {"steps": "all"}, GAPPY[..., 0], Y[..., 0], FEW),
    "float32": (1, {"steps": "all"}, GAPPY.astype("f4"), Y.astype("f4"), FEW),
    "padded": (1, {"steps": "all", "lengths": LENGTHS}, GAPPY, Y, FEW),
    "resets": (1, {"steps": "all", "resets": RNG.uniform(size=(20, 9)) < 0.2}, GAPPY, Y, FEW),
    "warm-up": (1, {"steps": "all", "warmup": 2}, GAPPY, Y, FEW),
    "last of several outputs": (
        3,
        {"lengths": LENGTHS},
        np.where(HALF[:, None], Y[:, -3:, 0], np.nan),
        Y[:, -3:, 0],
        HALF,
    ),
    "last": (1, {}, np.where(HALF[:, None], Y[:, -1], np.nan), Y[:, -1], HALF),
    "pooled": (1, {"steps": "mean"}, np.where(HALF[:, None], Y[:, -1], np.nan), Y[:, -1], HALF),
    "two outputs": (2, {"steps": "all"}, np.repeat(GAPPY, 2, -1), np.repeat(Y, 2, -1), FEW),
    "labels": (1, {"loss": "bce", "steps": "all"}, np.sign(GAPPY) > 0, np.sign(Y) > 0, FEW),
    "sequence_mean": (1, {"steps": "all", "reduction": "sequence_mean"}, GAPPY, Y, FEW),
}
CASES["labels"] = (*CASES["labels"][:2], np.where(FEW, Y[..., 0] > 0, np.nan), *CASES["labels"][3:])


@pytest.mark.parametrize("case", CASES)
def test_the_same_as_weights(case: str) -> None:
    outputs, how, gappy, whole, there = CASES[case]
    one, other = net(outputs), net(outputs)
    masked = fastbptt.fit(one, X, gappy, missing="mask", validation=0.3, **how, **QUIET)
    by_weight = fastbptt.fit(other, X, whole, sample_weight=there, validation=0.3, **how, **QUIET)
    assert weights(one) == weights(other)
    assert masked.curves["loss"] == by_weight.curves["loss"]
    assert masked.curves["validation_loss"] == by_weight.curves["validation_loss"]


def test_lists_weights_and_validation_data() -> None:
    listed = [one[:end] for one, end in zip(X, LENGTHS, strict=True)]
    gappy = [one[:end] for one, end in zip(GAPPY, LENGTHS, strict=True)]
    whole = [one[:end] for one, end in zip(Y, LENGTHS, strict=True)]
    given = [RNG.uniform(size=end) for end in LENGTHS]
    both = [w * there[:end] for w, there, end in zip(given, FEW, LENGTHS, strict=True)]
    one, other = net(), net()
    how = {"steps": "all", **QUIET}
    fastbptt.fit(
        one, listed, gappy, missing="mask", sample_weight=given, validation=(X, GAPPY), **how
    )
    fastbptt.fit(
        other, listed, whole, sample_weight=both, validation=(X, Y, None, FEW.astype(float)), **how
    )
    assert weights(one) == weights(other)
    assert fastbptt.evaluate(one, listed, gappy, steps="all", missing="mask") == pytest.approx(
        fastbptt.evaluate(one, listed, whole, steps="all", sample_weight=[b > 0 for b in both]),
        rel=1e-12,
    )


@pytest.mark.parametrize("steps", ["last", "all"])
def test_classes(steps: str) -> None:
    lead = (20, 9) if steps == "all" else (20,)
    classes = RNG.integers(0, 3, size=lead)
    gone = RNG.uniform(size=lead) < 0.4
    forms = [
        np.where(gone, np.nan, classes),  # what NaN makes of integers
        np.where(gone, -1, classes),
        np.where(gone, -1, classes).astype(np.int8),
    ]
    how = {"steps": steps, "class_weight": "balanced", "metrics": "accuracy", **QUIET}
    expected = net(3)
    history = fastbptt.fit(expected, X, classes, sample_weight=~gone, **how)
    for loss in (None, "cross_entropy"):
        for form in forms:
            model = net(3)
            found = fastbptt.fit(model, X, form, loss=loss, missing="mask", **how)
            assert weights(model) == weights(expected)
            assert found["accuracy"] == history["accuracy"]


def test_nothing_missing_changes_nothing() -> None:
    one, other = net(), net()
    fastbptt.fit(one, X, Y, steps="all", missing="mask", **QUIET)
    fastbptt.fit(other, X, Y, steps="all", **QUIET)
    assert weights(one) == weights(other)


def test_a_learning_rate_of_gaps() -> None:
    one, other = (
        fastbptt.find_lr(net(), X, y, steps="all", updates=12, batch_size=7, **how)
        for y, how in ((GAPPY, {"missing": "mask"}), (Y, {"sample_weight": FEW}))
    )
    assert np.array_equal(one.losses, other.losses)


PARTLY = np.concatenate([GAPPY, Y], axis=-1)
ONCE = np.concatenate([Y, Y], axis=-1)
ONCE[4, 2, 1] = np.nan
REFUSED: dict[str, Any] = {
    "by default": (1, {"y": GAPPY}, r"^y holds .*nan.*missing=\"mask\" leaves out targets"),
    "all of them": (1, {"y": np.full_like(Y, np.nan)}, "^y holds only missing targets"),
    "some outputs": (
        2,
        {"y": ONCE},
        r"^y has no value for some of its 2 outputs at index \(4, 2\)",
    ),
    "a name": (
        1,
        {"y": Y, "missing": "drop"},
        '^missing is "drop"; expected one of "error", "mask"',
    ),
    "a function": (
        1,
        {"y": Y, "loss": MaskedLoss("mse")},
        '^missing is "mask".*loss is a function',
    ),
    "no weight left": (1, {"y": GAPPY, "sample_weight": ~FEW}, "^sample_weight holds only zeros"),
    "another shape": (1, {"y": GAPPY[:, :4]}, r"^y has shape \(20, 4, 1\)"),
    "infinite": (1, {"y": np.where(FEW[..., None], np.inf, np.nan)}, "^y holds a value .*inf"),
    "halves as classes": (
        3,
        {"y": np.where(FEW, 0.5, np.nan), "loss": "cross_entropy"},
        "^y has dtype float64; expected classes",
    ),
    "classes without the option": (
        3,
        {"y": np.where(FEW, 1.0, np.nan), "loss": "cross_entropy", "missing": "error"},
        r'^y has dtype float64, and NaN at index \(.*\); .* missing="mask" leaves out classes',
    ),
    "inputs": (1, {"y": Y, "x": np.where(FEW[..., None], X, np.nan)}, "^x holds .*Imputer"),
    "a stream": (1, {"y": None, "x": iter([(X, Y)]), "loss": "mse"}, "^missing is .*iterator"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    outputs, given, message = REFUSED[case]
    model = net(outputs)
    before = weights(model)
    how = {"x": X, "missing": "mask", "steps": "all", **QUIET, **given}
    if case == "by default":
        how["missing"] = "error"
    if case == "a stream":
        how = {**how, "steps_per_epoch": 1, "batch_size": 32}
    with pytest.raises(TypeError if "classes" in case else ValueError, match=message):
        fastbptt.fit(model, **how)
    assert weights(model) == before


def test_both_advices_about_single_outputs() -> None:
    how: dict[str, Any] = {"steps": "all", **QUIET}
    whole = np.where(np.isnan(PARTLY).any(axis=-1, keepdims=True), np.nan, PARTLY)
    fastbptt.fit(net(2), X, whole, missing="mask", **how)
    fastbptt.fit(net(2), X, PARTLY, loss=MaskedLoss("mse"), **how)


def test_a_resumed_run_knows_the_mask(tmp_path: Any) -> None:
    file = tmp_path / "run.st"
    how: dict[str, Any] = {"steps": "all", "verbose": 0, "missing": "mask", "checkpoint": file}
    fastbptt.fit(net(), X, GAPPY, epochs=1, **how)
    other = np.where(FEW[::-1, :, np.newaxis], Y, np.nan)
    with pytest.raises(ValueError, match="weights"):
        fastbptt.fit(net(), X, other, epochs=2, resume=True, **how)
    fastbptt.fit(net(), X, GAPPY, epochs=2, resume=True, **how)


def test_a_checkpoint_names_the_loss_within_a_masked_one(tmp_path: Any) -> None:
    how: dict[str, Any] = {"steps": "all", "verbose": 0, "checkpoint": tmp_path / "run.st"}
    fastbptt.fit(net(), X, GAPPY, epochs=1, loss=MaskedLoss("mse"), **how)
    with pytest.raises(ValueError, match="cannot resume") as caught:
        fastbptt.fit(net(), X, GAPPY, epochs=2, loss=MaskedLoss("mae"), resume=True, **how)
    for name in ("mse", "mae"):
        assert f'custom.MaskedLoss(Loss(\\"{name}\\"))"' in str(caught.value)
    fastbptt.fit(net(), X, GAPPY, epochs=2, loss=MaskedLoss("mse"), resume=True, **how)


# ---------------------------------------------------------------- single outputs

OF_NUMBERS = [name for name in LOSSES if fastbptt.Loss(name).targets == "numbers"]


def targets_of(loss: fastbptt.Loss, shape: tuple[int, ...]) -> Any:
    y = RNG.uniform(0.1, 0.9, size=shape)
    if loss.two_values:
        return np.where(y > 0.5, loss.high, loss.low)
    return y


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_masked_loss(name: str) -> None:
    loss = fastbptt.Loss(name)
    masked = MaskedLoss(loss)
    z = RNG.normal(size=(4, 5, 2 * loss.outputs))
    y = targets_of(loss, (4, 5, 2))
    w = RNG.uniform(size=(4, 5))
    value, gradient = masked(z, y, w)
    expected = reference.apply_loss(z, y, loss, "all", sample_weight=w)
    assert value == pytest.approx(expected[0], rel=1e-13)
    assert np.abs(gradient - expected[1]).max() < 1e-14

    y[RNG.uniform(size=y.shape) < 0.5] = np.nan
    value, gradient = masked(z, y, w)
    size = loss.outputs
    assert not gradient.reshape(4, 5, 2, size)[np.isnan(y)].any()
    # the mean over the targets that are there, each as if it were the only one
    single, total = 0.0, 0.0
    for at in np.argwhere(~np.isnan(y)):
        i, t, k = at
        part = z[i, t, k * size : (k + 1) * size][np.newaxis, np.newaxis]
        own, _ = reference.apply_loss(part, y[i, t, k].reshape(1, 1), loss, "all")
        single, total = single + w[i, t] * own, total + w[i, t]
    assert value == pytest.approx(single / total, rel=1e-12)
    direction = RNG.normal(size=z.shape)
    up, _ = masked(z + 1e-6 * direction, y, w)
    down, _ = masked(z - 1e-6 * direction, y, w)
    assert (up - down) / 2e-6 == pytest.approx((gradient * direction).sum(), abs=1e-7)


def test_a_masked_loss_trains_as_the_loss() -> None:
    one, other = net(2), net(2)
    y = np.concatenate([Y, -Y], axis=-1)
    how: dict[str, Any] = {"steps": "all", "lengths": LENGTHS, "validation": 0.2, **QUIET}
    found = fastbptt.fit(one, X, y, loss=MaskedLoss("huber"), **how)
    wanted = fastbptt.fit(other, X, y, loss="huber", **how)
    assert np.abs(one.parameters.flat - other.parameters.flat).max() < 1e-13
    assert found["validation_loss"] == pytest.approx(wanted["validation_loss"], rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MaskedLoss("cross_entropy"), 'loss is "cross_entropy".*missing="mask"'),
        (lambda: MaskedLoss("none"), 'loss is "none"'),
        (lambda: MaskedLoss("poisson")(np.ones((2, 1)), [[1.0], [-1.0]]), "y holds -1; expected"),
        (lambda: MaskedLoss("hinge")(np.ones((2, 1)), [[1.0], [0.0]]), "y holds 0; expected"),
        (lambda: MaskedLoss("mse")(np.ones((2, 1)), [[1.0], [np.inf]]), "y holds inf"),
        (lambda: MaskedLoss("mse")(np.ones((2, 2)), [1.0, 2.0]), r"y has shape \(2,\)"),
        (lambda: MaskedLoss("gaussian")(np.ones((2, 3)), [1.0, 2.0]), "2 outputs for each"),
    ],
)
def test_a_masked_loss_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_batch_without_targets() -> None:
    value, gradient = MaskedLoss("mse")(np.ones((2, 1)), np.full((2, 1), np.nan))
    assert value == 0.0 and not gradient.any()


@pytest.mark.parametrize("more", ["weights", "list of weights", "classes"])
def test_nested_lists_as_targets_of_an_array_are_an_array(more: str) -> None:
    each = np.random.default_rng(1).uniform(size=(20, 9))
    options: dict[str, Any] = {"steps": "all", "missing": "mask", "seed": 2, **QUIET}
    y = GAPPY[..., 0]
    if more == "classes":
        y = np.where(np.isnan(y), np.nan, y > 0)
        options |= {"loss": "bce", "class_weight": "balanced"}
    else:
        options |= {"loss": "mse", "sample_weight": each if more == "weights" else each.tolist()}
    one, other = net(), net()
    curves = [fastbptt.fit(model, X, given, **options)["loss"] for model, given in
              ((one, y), (other, y.tolist()))]  # fmt: skip
    assert curves[0] == curves[1]
    assert weights(one) == weights(other)


@pytest.mark.parametrize(("loss", "low"), [("bce", 0.0), ("hinge", -1.0)])
@pytest.mark.filterwarnings("error")
def test_classes_beside_missing_ones_are_weighed_and_stratified(loss: str, low: float) -> None:
    y = np.where(np.arange(20) % 4 == 0, 1.0, low)
    gaps = np.arange(20) % 5 == 1
    own, marked, by_hand = net(), net(), net()
    fastbptt.fit(own, X, np.where(gaps, np.nan, y), loss=loss, missing="mask", validation=0.25,
                 metrics="accuracy", **QUIET)  # fmt: skip
    ones = int((y[~gaps] == 1).sum())
    balanced = np.where(y == 1, 8 / ones, 8 / (16 - ones)) * ~gaps
    options: dict[str, Any] = {"loss": loss, **QUIET}
    found = fastbptt.fit(marked, X, np.where(gaps, np.nan, y), missing="mask",
                         class_weight="balanced", **options)  # fmt: skip
    wanted = fastbptt.fit(by_hand, X, y, sample_weight=balanced, **options)
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-12)
    assert weights(marked) == weights(by_hand)


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("listed", [False, True])
def test_masked_losses_of_batches_are_put_together_by_their_targets(
    steps: str, listed: bool
) -> None:
    """As one batch of all, whatever the batches."""
    rng = np.random.default_rng(3)
    y = np.where(rng.uniform(size=(20, 9, 2)) < 0.5, np.nan, rng.normal(size=(20, 9, 2)))
    each = rng.uniform(size=(20, 9)) if steps == "all" else rng.uniform(size=20)
    y = y if steps == "all" else y[:, 0]
    x: Any = X
    own: Any = each
    if listed:
        x = [one[:end] for one, end in zip(X, LENGTHS, strict=True)]
        if steps == "all":
            y = [one[:end] for one, end in zip(y, LENGTHS, strict=True)]
            own = [one[:end] for one, end in zip(each, LENGTHS, strict=True)]
    model = net(2)
    options: dict[str, Any] = {"loss": MaskedLoss("mse"), "steps": steps, "sample_weight": own}
    z = fastbptt.predict(model, x, steps=steps)
    joined = [np.concatenate(list(map(np.atleast_2d, one))) for one in (z, y)]
    share = np.concatenate(list(map(np.atleast_1d, own)))[:, np.newaxis] * ~np.isnan(joined[1])
    by_hand = np.nansum(share * (joined[0] - joined[1]) ** 2) / share.sum()
    found = [fastbptt.evaluate(model, x, y, **options, batch_size=size) for size in (1, 7, 20)]
    np.testing.assert_allclose([one["loss"] for one in found], by_hand, rtol=1e-12)
    still = fastbptt.fit(
        model, x, y, **options, optimizer=fastbptt.SGD(1e-300), epochs=1, batch_size=3,
        validation=(x, y, None, own), verbose=0,
    )  # fmt: skip
    np.testing.assert_allclose(still["loss"] + still["validation_loss"], by_hand, rtol=1e-12)


def test_what_a_masked_loss_refuses() -> None:
    y = np.full((20, 9, 1), np.nan)
    options: dict[str, Any] = {"loss": MaskedLoss("mse"), "steps": "all"}
    with pytest.raises(fastbptt.ArgumentError, match=r"^y holds only missing targets"):
        fastbptt.evaluate(net(), X, y, **options)
    for call in (fastbptt.fit, fastbptt.evaluate):
        for reduction in ("sum", "sequence_mean"):
            text = f'^reduction is "{reduction}"; expected "mean" because loss is the function Mask'
            with pytest.raises(fastbptt.ArgumentError, match=text):
                call(net(), X, GAPPY, reduction=reduction, **options)
    assert call(net(), X, GAPPY, reduction="mean", **options)


@pytest.mark.parametrize(
    ("steps", "given"),
    [
        ("last", "training"),
        ("last", "held out"),
        ("all", "training"),
        ("all", "held out"),
        ("all", "one of a list"),
    ],
)
def test_classes_are_integers_where_other_targets_are_missing(steps: str, given: str) -> None:
    """Floats, as NaN makes them in one part, are so in the part without NaN."""
    kinds = RNG.integers(0, 3, (20, 9) if steps == "all" else 20)
    gaps = np.where(kinds.cumsum(axis=0) % 5 == 1, np.nan, kinds)
    whole = kinds.astype(float)
    x: Any = X
    first, second, same = gaps, whole, kinds
    if given == "training":
        first, second = whole, gaps
    elif given == "one of a list":
        x, first, same = list(X), [whole[0], *gaps[1:]], list(kinds)  # type: ignore[assignment]
        second = first
    options: dict[str, Any] = {"loss": "cross_entropy", "steps": steps, **QUIET}
    model = net(3)
    found = fastbptt.fit(model, x, first, validation=(x, second), missing="mask", **options)
    assert np.isfinite(found["loss"] + found["validation_loss"]).all()
    if given == "training":
        other = net(3)
        wanted = fastbptt.fit(other, x, same, **options)
        assert found["loss"] == wanted["loss"]
