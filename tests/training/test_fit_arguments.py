"""fit's arguments: what each does to the updates, and that wrong ones change nothing."""

from __future__ import annotations

import functools
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import targets_for

import fastbptt
from fastbptt.training.batches import Order

B, T, I = 17, 6, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I)).astype(np.float32)
Y = RNG.integers(0, 2, B)
LENGTHS = RNG.integers(1, T + 1, B)
BATCH, EPOCHS = 5, 2


def model(**options: Any) -> fastbptt.Recurrent:
    return fastbptt.GRU(I, 4, options.pop("outputs", 1), seed=1, **options)


def fit(net: fastbptt.Recurrent, x: Any = X, y: Any = Y, **options: Any) -> fastbptt.History:
    given = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": 0, **options}
    given.setdefault("optimizer", fastbptt.Adam(0.01))
    return fastbptt.fit(net, x, y, **given)


def bits(net: fastbptt.Recurrent) -> bytes:
    return net.parameters.flat.tobytes()


def by_hand(
    net: fastbptt.Recurrent,
    x: Any = X,
    y: Any = Y,
    rows: Any = None,
    weights: Any = None,
    **options: Any,
) -> list[float]:
    adam, rows = fastbptt.Adam(0.01), np.arange(len(x)) if rows is None else np.asarray(rows)
    curve = []
    for epoch in range(1, EPOCHS + 1):
        total = share = 0.0
        for chosen in Order(rows, BATCH, True, 0).batches(epoch):
            weight = None if weights is None else weights[chosen]
            loss = net.train_step(x[chosen], y[chosen], adam, sample_weight=weight, **options)
            counts = len(chosen) if weights is None else weight.sum()
            total, share = total + loss * counts, share + counts
        curve.append(total / share)
    return curve


# ---------------------------------------------------------------- weights


def test_sample_weights() -> None:
    weights = RNG.random(B)
    weights[[2, 5]] = 0.0
    net, twin = model(), model()
    history = fit(net, sample_weight=weights, validation=(X, Y))
    curve = by_hand(twin, rows=np.flatnonzero(weights), weights=weights)
    assert bits(net) == bits(twin)
    assert history["loss"] == pytest.approx(curve, rel=1e-12)


@pytest.mark.parametrize("kind", ["bce", "cross_entropy"])
def test_class_weights(kind: str) -> None:
    y = np.array([0] * 12 + [1] * 5)
    balanced = np.where(y == 0, 17 / 24, 17 / 10)
    for given, weights in [
        ("balanced", balanced),
        ({0: 0.5, 1: 3}, np.where(y == 0, 0.5, 3.0)),
        ({1: 3}, np.where(y == 0, 1.0, 3.0)),
    ]:
        net, twin = (model(outputs=1 if kind == "bce" else 2) for _ in range(2))
        fit(net, y=y, class_weight=given)
        by_hand(twin, y=y, weights=weights, loss=kind)
        assert bits(net) == bits(twin)
    net, twin = model(), model()
    own = RNG.random(B)
    fit(net, y=y, class_weight="balanced", sample_weight=own)
    by_hand(twin, y=y, weights=balanced * own)
    assert bits(net) == bits(twin)


def test_a_class_of_weight_0_is_left_out() -> None:
    net, twin = model(outputs=2), model(outputs=2)
    fit(net, class_weight={0: 0.0})
    by_hand(twin, rows=np.flatnonzero(Y), weights=np.ones(B), loss="cross_entropy")
    assert bits(net) == bits(twin)


# ---------------------------------------------------------------- passed on


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.01},
        {"clip_value": 0.001},
        {"bptt_steps": 2},
        {"memory_budget": "1GB"},
        {"reduction": "sum"},
    ],
    ids=str,
)
def test_options_of_the_step(options: dict[str, Any]) -> None:
    net, twin, plain = model(), model(), model()
    fit(net, **options)
    by_hand(twin, **options)
    by_hand(plain)
    assert bits(net) == bits(twin)
    assert (bits(net) != bits(plain)) == ("memory_budget" not in options)
    assert (net.last_report is not None) == ("memory_budget" in options)


def test_frozen_parameters() -> None:
    net = model()
    before = net.parameters["W_hh"].copy()
    net.freeze("W_hh")
    fit(net)
    assert (net.parameters["W_hh"] == before).all()


# ---------------------------------------------------------------- data of all kinds


def test_tokens_in_arrays_lists_and_files(tmp_path: Path) -> None:
    tokens = RNG.integers(0, 9, (B, T))
    listed = [one[:n] for one, n in zip(tokens, LENGTHS, strict=True)]
    np.save(tmp_path / "tokens.npy", tokens.astype(np.int32))
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    found = []
    for x, given in [(listed, {}), (tokens, {"lengths": LENGTHS}), (mapped, {"lengths": LENGTHS})]:
        net = model(embedding=9)
        fit(net, x, validation=0.3, metrics="accuracy", **given)
        found.append(bits(net))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kind", ["float64", "float16", ">f4", "int32", "bool"])
def test_other_dtypes(kind: str) -> None:
    x = (X * 3).astype(kind)
    net, twin = model(), model()
    fit(net, x)
    by_hand(twin, x)
    assert bits(net) == bits(twin)


def test_read_only_and_strided() -> None:
    wide = np.asfortranarray(np.concatenate([X, X], axis=2)[:, ::-1])
    wide.flags.writeable = False
    net, twin = model(), model()
    fit(net, wide[:, ::-1, :I])
    by_hand(twin)
    assert bits(net) == bits(twin)


@pytest.mark.parametrize("kind", ["array", "strided", "list", "float64"])
def test_the_data_set_is_not_copied(kind: str) -> None:
    whole = np.ones((1000, 50, 100), np.float64 if kind == "float64" else np.float32)
    x: Any = {"strided": lambda: whole[::-1, :, ::-1], "list": lambda: list(whole)}.get(
        kind, lambda: whole
    )()
    net = fastbptt.RNN(100, 2, 1, seed=0)
    y = np.arange(1000) % 2
    tracemalloc.start()
    fit(net, x, y, epochs=1, batch_size=8, validation=0.2, metrics="accuracy", bucket=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole.nbytes / 3


def test_without_shuffling() -> None:
    net, twin, adam = model(), model(), fastbptt.Adam(0.01)
    fit(net, shuffle=False)
    for _ in range(EPOCHS):
        for start in range(0, B, BATCH):
            twin.train_step(X[start : start + BATCH], Y[start : start + BATCH], adam)
    assert bits(net) == bits(twin)


def test_more_calls_go_on() -> None:
    net, twin, adam, other = model(), model(), fastbptt.Adam(0.01), fastbptt.Adam(0.01)
    fit(net, optimizer=adam)
    fit(net, optimizer=adam)
    for _ in range(2):
        for epoch in range(1, EPOCHS + 1):
            for rows in Order(np.arange(B), BATCH, True, 0).batches(epoch):
                twin.train_step(X[rows], Y[rows], other)
    assert bits(net) == bits(twin)


@pytest.mark.parametrize(
    ("y", "outputs", "loss"),
    [
        (Y, 1, "bce"),
        (Y.astype(bool), 1, "bce"),
        (Y.astype(float), 1, "bce"),
        (Y[:, None], 1, "bce"),
        (np.arange(B) * 1.0, 1, "mse"),
        (Y + 0.5, 1, "mse"),
        (Y, 2, "cross_entropy"),
        (Y.astype(np.uint8), 3, "cross_entropy"),
        (np.stack([Y, Y], axis=1), 2, "bce"),
        (np.stack([Y, Y], axis=1) + 1, 2, "mse"),
        (RNG.random((B, 2)), 2, "mse"),
    ],
)
def test_the_loss_suits_the_targets(y: np.ndarray, outputs: int, loss: str) -> None:
    class See(fastbptt.Callback):
        def on_train_begin(self, run: Any) -> None:
            self.loss = run.loss

    see = See()
    fit(model(outputs=outputs), y=y, callbacks=see)
    assert see.loss == fastbptt.Loss(loss)


@pytest.mark.parametrize(
    ("y", "outputs", "kind", "why"),
    [
        (Y + 0.0, 2, ValueError,
         'y has shape (12,); expected (12, 2): (batch, outputs) for loss="mse", steps="last" '
         '(loss was not given; "mse" because y holds floats; integer classes would give '
         '"cross_entropy")'),
        (Y > 0, 2, ValueError, '"mse" because y holds booleans; integer classes'),
        (Y[:, None], 3, ValueError,
         '(loss was not given; "cross_entropy" because y holds integers; floats would give "mse")'),
        (Y + 2, 2, ValueError, '(loss was not given; "cross_entropy" because y holds integers;'),
        (np.stack([Y, Y], axis=1)[:5] + 1, 2, ValueError,
         '"mse" because y has a number for each output; one integer class would give'),
        (np.stack([Y, Y], axis=1), 1, ValueError,
         '"bce" because y holds only 0 and 1; other numbers would give "mse"'),
        (np.stack([Y, Y], axis=1) + 0.5, 1, ValueError,
         '"mse" because y holds other numbers than 0 and 1; these alone would give "bce"'),
    ],
)  # fmt: skip
def test_messages_say_why_the_loss_is_what_it_is(
    y: np.ndarray, outputs: int, kind: type[Exception], why: str
) -> None:
    why = why.replace("(12", f"({B}")
    for call in (fit, fastbptt.evaluate, fastbptt.diagnose):
        net = model(outputs=outputs)
        with pytest.raises(kind) as caught:
            call(net, *((X, y) if call is not fit else ()), **({"y": y} if call is fit else {}))
        assert why in str(caught.value)
    with pytest.raises(kind) as caught:
        fit(model(outputs=outputs), y=y, loss="mse" if '"mse" because' in why else "cross_entropy")
    assert "was not given" not in str(caught.value)


def test_integers_for_one_output_are_asked_about() -> None:
    y = np.arange(B) % 3
    message = (
        "y holds 3 different integers, but the model has 1 output; expected "
        'loss="mse" for a regression on whole numbers, or a model with output_size=3 for classes'
    )
    for call in (fastbptt.fit, fastbptt.evaluate, fastbptt.diagnose):
        for given in (y, y.tolist(), y.astype(np.uint8)):
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                call(model(), X, given)
    with pytest.raises(ValueError, match="a model with another output_size for classes"):
        fit(model(), y=y - 1)
    assert fit(model(), y=y, loss="mse")["loss"] == fit(model(), y=y.astype(float))["loss"]


def test_an_array_of_sequences_is_to_be_a_list() -> None:
    x = np.empty(2, object)
    x[:] = [X[0], X[1, :1]]
    hint = r"x has dtype object; expected real numbers .*; for sequences give a list: list\(x\)$"
    with pytest.raises(TypeError, match=hint):
        fit(model(), x, Y[:2])
    with pytest.raises(TypeError, match=hint):
        model().forward(x)
    assert len(fit(model(), list(x), Y[:2])) == EPOCHS
    with pytest.raises(TypeError, match=r"\(float32 or float64\)$"):
        model().forward(np.array([None, 1.0]))


def test_validation_data_of_other_lengths() -> None:
    other = RNG.normal(size=(7, 2 * T, I))
    held = other, np.arange(7) % 2, np.arange(1, 8)
    net = model()
    history = fit(net, validation=held, metrics="accuracy")
    found = fastbptt.evaluate(net, other, held[1], lengths=held[2], metrics="accuracy")
    assert history["validation_loss"][-1] == pytest.approx(found["loss"])
    assert history["validation_accuracy"][-1] == found["accuracy"]
    listed = [one[:n] for one, n in zip(other, held[2], strict=True)]
    assert fit(model(), validation=(listed, held[1]))["validation_loss"] == pytest.approx(
        history["validation_loss"]
    )


# ---------------------------------------------------------------- evaluate


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
@pytest.mark.parametrize("loss", fastbptt.losses())
def test_evaluate_is_the_models_own_loss(loss: str, reduction: str, steps: str) -> None:
    lead = (B, T) if steps == "all" else (B,)
    y = targets_for(loss, 6, lead, RNG)
    net = fastbptt.LSTM(I, 4, 6, seed=1, dtype="float64")
    weights = RNG.random(B)
    options: dict[str, Any] = {"steps": steps, "reduction": reduction, "lengths": LENGTHS}
    for given in ({}, {"sample_weight": weights}):
        expected = net.loss(X, y, loss, **options, **given)
        found = fastbptt.evaluate(net, X, y, loss=loss, batch_size=4, **options, **given)
        assert found == {"loss": pytest.approx(expected, rel=1e-12)}


@pytest.mark.parametrize("steps", ["last", "all"])
def test_metrics_see_every_real_step_once(steps: str) -> None:
    lead = (B, T) if steps == "all" else (B,)
    y = np.arange(np.prod(lead)).reshape(lead) % 3
    net = model(outputs=3)
    seen: list[Any] = []

    def look(labels: np.ndarray, outputs: np.ndarray) -> float:
        seen.append((labels, outputs))
        return 1.5

    found = fastbptt.evaluate(
        net, X, y, steps=steps, metrics=["accuracy", look], lengths=LENGTHS, batch_size=3
    )
    labels, outputs = seen[0]
    z = net.forward(X, LENGTHS)
    real = np.arange(T) < LENGTHS[:, None]
    wanted_y = y[real] if steps == "all" else y
    wanted_z = z.outputs[real] if steps == "all" else z.last
    assert found["look"] == 1.5 and outputs.shape == wanted_z.shape
    order, wanted = np.lexsort(outputs.T), np.lexsort(wanted_z.T)
    assert (outputs[order] == wanted_z[wanted]).all()
    assert sorted(zip(labels, outputs[:, 0], strict=True)) == sorted(
        zip(wanted_y, wanted_z[:, 0], strict=True)
    )
    assert found["accuracy"] == pytest.approx((wanted_z.argmax(axis=1) == wanted_y).mean())


# ---------------------------------------------------------------- refused


NAN = X.copy()
NAN[13, 2, 1] = np.nan
BAD: list[tuple[str, type[Exception], dict[str, Any]]] = [
    ("x has shape (17, 6); expected (batch, time, 3)", ValueError, {"x": X[..., 0]}),
    ("x[2] has shape (6, 2); expected (time, 3)", ValueError, {"x": [*X[:2], X[0, :, :2]]}),
    ("x is an empty list", ValueError, {"x": []}),
    ("x has dtype <U1", TypeError, {"x": np.full((B, T, I), "a")}),
    ("x holds a value that is not finite (nan) at index (13, 2, 1)", ValueError, {"x": NAN}),
    ("y has shape (16,); expected (17, 1) or (17,)", ValueError, {"y": Y[1:]}),
    ('loss is "cross_entropy", which makes 1 of any single output; expected "bce"', ValueError,
     {"loss": "cross_entropy"}),
    ("y holds 2 at index (3, 0)", ValueError, {"y": np.where(np.arange(B) == 3, 2, Y),
                                              "loss": "bce"}),
    ("lengths[4] is 7; expected whole numbers", ValueError,
     {"lengths": np.where(np.arange(B) == 4, 7, 1)}),
    ('loss is "maes"; expected one of', ValueError, {"loss": "maes"}),
    ('steps is "first"', ValueError, {"steps": "first"}),
    ('reduction is "max"', ValueError, {"reduction": "max"}),
    ("sample_weight holds -1 at index (3,); expected values from 0 up", ValueError,
     {"sample_weight": np.where(np.arange(B) == 3, -1.0, 1.0)}),
    ("sample_weight holds only zeros", ValueError, {"sample_weight": np.zeros(B)}),
    ("sample_weight has shape (3,)", ValueError, {"sample_weight": np.ones(3)}),
    ('class_weight is "even"; expected None, "balanced"', ValueError, {"class_weight": "even"}),
    ("class_weight has 5; expected classes of y: 0, 1", ValueError, {"class_weight": {5: 1}}),
    ("class_weight[1] is -1.0", ValueError, {"class_weight": {1: -1}}),
    ("class_weight is 'balanced'; expected None unless", ValueError,
     {"class_weight": "balanced", "y": Y + 0.5}),
    ("class_weight is 0 for the classes of all", ValueError, {"class_weight": {0: 0, 1: 0}}),
    ("epochs is 0; expected at least 1", ValueError, {"epochs": 0}),
    ("epochs is 1.5", TypeError, {"epochs": 1.5}),
    ("batch_size is 0", ValueError, {"batch_size": 0}),
    ("optimizer is of type int; expected an optimiser", TypeError, {"optimizer": 3}),
    ("clip_norm is -1.0", ValueError, {"clip_norm": -1}),
    ("bptt_steps is 0", ValueError, {"bptt_steps": 0}),
    ("memory_budget is 'much'", ValueError, {"memory_budget": "much"}),
    ("validation is 1.0; expected a fraction above 0 and below 1", ValueError, {"validation": 1.0}),
    ("validation has 1 parts; expected", ValueError, {"validation": (X,)}),
    ("validation: y has shape (3,)", ValueError, {"validation": (X, Y[:3])}),
    ("validation: x holds a value that is not finite (nan) at index (13, 2, 1)", ValueError,
     {"validation": (NAN, Y)}),
    ("validation is 'some'", TypeError, {"validation": "some"}),
    ("patience is 3, but there is no validation data", ValueError, {"patience": 3}),
    ("patience is 0", ValueError, {"patience": 0, "validation": 0.3}),
    ("min_delta is -1.0", ValueError, {"min_delta": -1}),
    ('monitor is "accuracy"; expected one of "loss"', ValueError, {"monitor": "accuracy"}),
    ("restore_best is 1", TypeError, {"restore_best": 1}),
    ("restore_best is True, but there is no validation data", ValueError, {"restore_best": True}),
    ("training_metrics is 1", TypeError, {"training_metrics": 1}),
    ('monitor is "mae"; expected one of "loss"', ValueError,
     {"monitor": "mae", "metrics": "mae", "training_metrics": False}),
    ('optimizer is "lbfgs"; expected one of "adam"', ValueError, {"optimizer": "lbfgs"}),
    ('metrics[0] is "f1"; expected one of "accuracy"', ValueError, {"metrics": ["f1"]}),
    ('metrics is "f1"; expected one of "accuracy"', ValueError, {"metrics": "f1"}),
    ("metrics[1] is 3; expected a name or a function", TypeError, {"metrics": ["mae", 3]}),
    ("metrics is 3; expected names and functions", TypeError, {"metrics": 3}),
    ('metrics has "mae" twice', ValueError, {"metrics": ["mae", "mae"]}),
    ("callbacks[0] is of type str; expected a fastbptt.Callback", TypeError, {"callbacks": ["a"]}),
    ("callbacks is 3; expected a list", TypeError, {"callbacks": 3}),
    ("shuffle is 1; expected True or False", TypeError, {"shuffle": 1}),
    ("bucket is None", TypeError, {"bucket": None}),
    ("seed is -1; expected a whole number", ValueError, {"seed": -1}),
    ("seed is None; expected a whole number", TypeError, {"seed": None}),
    ("seed is 1.5", TypeError, {"seed": 1.5}),
    ("verbose is 3; expected None, 0, 1 or 2", ValueError, {"verbose": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "error", "given"), BAD, ids=[one[0] for one in BAD])
def test_bad_arguments_change_nothing(
    message: str, error: type[Exception], given: dict[str, Any]
) -> None:
    class Never(fastbptt.Callback):
        def on_train_begin(self, run: Any) -> None:
            raise AssertionError

    net = model()
    before, keys = bits(net), net._dropout_seeds.state
    adam = fastbptt.Adam(0.01)
    options = {"optimizer": adam, "callbacks": [Never()], **given}
    with pytest.raises(error, match=re.escape(message)) as caught:
        fit(net, **options)
    assert "\n" not in str(caught.value)
    assert bits(net) == before and net._dropout_seeds.state == keys and adam.step_count == 0


def test_other_bad_arguments() -> None:
    with pytest.raises(TypeError, match="model is of type str; expected a fastbptt model"):
        fastbptt.fit("model", X, Y)
    adam = fastbptt.Adam()
    fit(model(), optimizer=adam)
    with pytest.raises(ValueError, match="optimizer belongs to another model"):
        fit(model(), optimizer=adam)
    both = model(bidirectional=True)
    for given in ({"bptt_steps": 2}, {"memory_budget": "1GB"}):
        with pytest.raises(ValueError, match="expected a model of one direction"):
            fit(both, **given)
    with pytest.raises(ValueError, match="x has 1 sequence; expected at least 2"):
        fit(model(), X[:1], Y[:1], validation=0.5)
    with pytest.raises(TypeError, match='metric "print" returned None; expected a number'):
        fit(model(), metrics=[print])
    with pytest.raises(TypeError, match="model is of type str"):
        fastbptt.predict("model", X)
    with pytest.raises(ValueError, match="batch_size is 0"):
        fastbptt.predict(model(), X, batch_size=0)
    with pytest.raises(ValueError, match='steps is "each"'):
        fastbptt.predict(model(), X, steps="each")


def test_numbers_that_overflow_leave_the_updates_before() -> None:
    x = X.astype(np.float64)
    x[11, 0, 0] = 1e300  # finite, but not as float32
    net, adam = model(), fastbptt.Adam(0.01)
    with pytest.raises(
        ValueError, match=r"^x holds 1e\+300 at index \(11, 0, 0\); expected [^(]*$"
    ):
        fit(net, x, optimizer=adam)
    assert adam.step_count == 0
    x[11, 0, 0] = 77.0
    first = next(i for i, rows in enumerate(Order(np.arange(B), BATCH, True, 0).batches(1))
                 if 11 in rows)  # fmt: skip
    with pytest.raises(
        ValueError, match=rf"x .* at index \(11, 0, 0\).*epoch 1, batch {first + 1}\)"
    ):
        fit(net, x, optimizer=adam, augment=lambda x, _: np.where(x == 77.0, 1e300, x))
    assert adam.step_count == first and np.isfinite(net.parameters.flat).all()


@pytest.mark.parametrize("listed", [False, True])
def test_what_is_too_large_is_found_in_the_data_not_in_the_batch(listed: bool) -> None:
    x: Any = np.zeros((20, 5, 3))
    x[13, 2, 1] = 1e300
    if listed:
        x = [one[: 3 + i % 3] for i, one in enumerate(x)]
    model = fastbptt.GRU(3, 4, 1, seed=0)
    for call in (
        lambda: fastbptt.predict(model, x, batch_size=4),
        lambda: fastbptt.predict(model, x, batch_size=4, steps="all"),
        lambda: fastbptt.evaluate(model, x, np.arange(20) % 2, batch_size=4),
    ):
        with pytest.raises(ValueError, match=r"x holds 1e\+300 at index \(13, 2, 1\)"):
            call()


def test_nan_among_bounded_targets_is_found_before_training() -> None:
    model = fastbptt.RNN(1, 3, 1, seed=0)
    before = model.state_dict()
    y = np.zeros(8)
    y[7] = np.nan
    with pytest.raises(ValueError, match=r"y holds a value that is not finite \(nan\) at index"):
        fastbptt.fit(
            model, np.ones((8, 4, 1)), y, loss="bce", batch_size=1, shuffle=False, verbose=0
        )
    assert all((model.state_dict()[name] == values).all() for name, values in before.items())


class Keras(fastbptt.Callback):
    def on_train_batch_end(self, run: Any) -> None: ...


def median(levels: tuple[float, ...], alpha: float) -> dict[str, Any]:
    metrics = pytest.importorskip("sklearn.metrics")
    loss = fastbptt.Loss("quantile", levels=levels)
    scored = functools.partial(metrics.mean_pinball_loss, alpha=alpha)
    return {"loss": loss, "metrics": scored, "y": X[:, 0, 0], "outputs": len(levels)}


def several(name: str) -> dict[str, Any]:
    metrics = pytest.importorskip("sklearn.metrics")
    y = RNG.integers(0, 2, (B, 3))
    return {"loss": "bce", "metrics": getattr(metrics, name), "y": y, "outputs": 3}


TAKEN_FOR_ANOTHER: dict[str, tuple[Any, str]] = {
    "weights as lengths": ({"validation": (X, Y, np.ones(B))}, "validation has dtype float64 as"),
    "halves as lengths": ({"validation": (X, Y, np.full(B, 0.5))}, "validation has dtype float64"),
    "float32 as lengths": ({"validation": (X, Y, np.ones(B, "f4"))}, "has dtype float32 as its"),
    "a list of weights": ({"validation": (X, Y, [1.0] * B)}, r"\(x, y, None, sample_weight\)"),
    "ones as lengths": ({"validation": (X, Y, np.ones(B, int))}, "validation has numbers that are"),
    "nothing to monitor": ({"min_delta": 0.1}, r"min_delta is 0.1, but there is nothing to monit"),
    "a name of Keras": ({"callbacks": Keras()}, r"callbacks\[0\] has a method on_train_batch_end"),
    "the median at 0.9": (lambda: median((0.1, 0.5, 0.9), 0.9), r"with alpha=0.9, but it is given"),
    "the median at 0.1": (lambda: median((0.5,), 0.1), r"with alpha=0.1, but it is given the medi"),
    "labels as one class": (lambda: several("log_loss"), "of one class, but y has 3 labels"),
    "and its Brier score": (lambda: several("brier_score_loss"), "of one class, but y has 3 lab"),
}


@pytest.mark.parametrize("name", TAKEN_FOR_ANOTHER)
def test_what_would_be_taken_for_another_thing_is_refused(name: str) -> None:
    given, message = TAKEN_FOR_ANOTHER[name]
    options = dict(given() if callable(given) else given)
    net = model(outputs=options.pop("outputs", 1))
    before = bits(net)
    with pytest.raises(ValueError, match=message):
        fit(net, **options)
    assert bits(net) == before


def test_what_these_mean_is_taken() -> None:
    net = model()
    fit(net, validation=(X, Y, None, np.ones(B)), min_delta=0.1)
    fit(net, validation=(X, Y, LENGTHS))
    options = median((0.1, 0.5), 0.5)
    assert "mean_pinball_loss" in fit(model(outputs=options.pop("outputs")), **options).curves
