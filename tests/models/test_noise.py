"""Noise on inputs and on recurrent sums: where it is, what it is, what does not change it."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from accuracy import HAS_BFLOAT16
from cases import CELLS, Array
from networks import close, next_noise

import fastbptt
from fastbptt import _core, reference

RNG = np.random.default_rng(0)
B, T, I, O = 19, 9, 3, 2
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, O))
LENGTHS = RNG.integers(1, T + 1, B)
RESETS = RNG.random((B, T)) < 0.2
PLAIN = tuple(name for name in CELLS if _core.cell_info(name)["gates"] == 1)
SIZES = (3, 20, 33, 70)  # rows in lanes, and in one or more panels of each instruction set


def make(cell: str = "rnn", hidden: int = 20, **options: Any) -> fastbptt.Recurrent:
    if _core.cell_info(cell)["setting"]:
        options = {"alpha": 0.3, "noise_scaling": "alpha", **options}
    given = {"recurrent_noise": 0.2, "input_noise": 0.3, "dtype": "float64", "seed": 1, **options}
    return fastbptt.Recurrent(cell, I, hidden, O, **given)


def expected(model: fastbptt.Recurrent, **call: Any) -> tuple[float, dict[str, Array]]:
    """The reference's loss and gradients of the model's next training pass."""
    params = {name: np.asarray(p, np.float64) for name, p in model.parameters.items()}
    network = next_noise(model, B, T)
    return reference.loss_and_grad(params, X, Y, "mse", "all", **network, **call)


@pytest.mark.parametrize("isa", [one.name for one in fastbptt.backends() if one.usable])
@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("cell", PLAIN)
def test_as_the_reference(cell: str, hidden: int, isa: str) -> None:
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        for options, call in (
            ({}, {}),
            ({"num_layers": 2, "dropout": 0.3}, {"lengths": LENGTHS}),
            ({"num_layers": 2, "bidirectional": True}, {"lengths": LENGTHS}),
            ({"learn_initial_state": True}, {"resets": RESETS}),
        ):
            model = make(cell, hidden, **options)
            value, wanted = expected(model, **call)
            loss, grads = model.loss_and_grad(X, Y, "mse", "all", need_input_grad=True, **call)
            assert loss == pytest.approx(value, rel=1e-12)
            assert grads.x is not None
            close(grads.x, wanted["x"], 1e-12)
            for name in model.parameters:
                close(grads[name], wanted[name], 1e-12)
            single = make(cell, hidden, dtype="float32", **options)
            value, wanted = expected(single, **call)
            loss, grads = single.loss_and_grad(X, Y, "mse", "all", **call)
            assert loss == pytest.approx(value, rel=1e-5)
            for name in model.parameters:
                close(grads[name].astype(np.float64), wanted[name], 1e-4)
    finally:
        _core.use_backend(before)


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("cell", [name for name in PLAIN if _core.cell_info(name)["setting"]])
def test_units_with_time_constants_of_their_own(cell: str, hidden: int) -> None:
    alpha = RNG.uniform(0.1, 1.0, (4, hidden))
    layers = {"num_layers": 2, "bidirectional": True}
    for options in (
        {"alpha": alpha[0]},
        {"alpha": alpha, **layers},
        {"alpha": alpha * 0.9, "learn_alpha": True, "noise_scaling": None, **layers},
    ):
        model = make(cell, hidden, input_noise=0.0, **options)
        value, wanted = expected(model, lengths=LENGTHS)
        loss, grads = model.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS)
        assert loss == pytest.approx(value, rel=1e-12)
        for name in model.parameters:
            close(grads[name], wanted[name], 1e-12)
    for wrong, message in (
        ({"alpha": alpha[0]}, "an input reaches units with different ones"),
        ({"learn_alpha": True}, "would change with what is learned"),
    ):
        with pytest.raises(fastbptt.ArgumentError, match=message):
            make(cell, hidden, **wrong)


def test_gated_cells_have_noise_on_their_inputs() -> None:
    for cell in fastbptt.cells():
        if _core.cell_info(cell)["gates"] > 1:
            model = make(cell, recurrent_noise=0.0)
            value, wanted = expected(model, lengths=LENGTHS)
            loss, grads = model.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS)
            assert loss == pytest.approx(value, rel=1e-12)
            close(grads["W_xh"], wanted["W_xh"], 1e-12)


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_however_it_is_computed(hidden: int, dtype: str) -> None:
    """Threads that have sequences or units of their own, windows, a pass kept for backward."""
    x = RNG.normal(size=(40, 150, I))
    y = RNG.normal(size=(40, 150, O))
    for rows in (x, x[:2]):
        found = set()
        for threads in (1, 2, 3):
            before = fastbptt.get_num_threads()
            fastbptt.set_num_threads(threads)
            try:
                for layers, dropout in ((1, 0.0), (2, 0.2)):
                    options = {"dtype": dtype, "num_layers": layers, "dropout": dropout}
                    for windows in (False, True):
                        model = make(hidden=hidden, **options)
                        budget = model.minimum_memory(len(rows), 150) if windows else None
                        loss, grads = model.loss_and_grad(
                            rows, y[: len(rows)], "mse", "all", memory_budget=budget
                        )
                        found.add((layers, loss, grads.flat.tobytes()))
                    out = make(hidden=hidden, **options).forward(rows, training=True)
                    twin = make(hidden=hidden, **options)
                    alone = twin.forward(rows, training=True, backward=False)
                    assert out.outputs.tobytes() == alone.outputs.tobytes()
            finally:
                fastbptt.set_num_threads(before)
        assert len(found) == 2


def test_truncated_passes_have_the_noise_of_the_whole() -> None:
    """Without a step of the optimiser, chunks see what one pass over the batch sees."""
    for lengths in (None, LENGTHS):
        ends = []
        for chunk in (None, 4):
            model = make(num_layers=2)
            state = model.initial_state(B)
            model.train_step(
                X,
                Y,
                fastbptt.SGD(lr=0.0),
                "mse",
                "all",
                lengths=lengths,
                bptt_steps=chunk,
                state=state,
            )
            ends.append(state)
        close(ends[0], ends[1], 1e-12)


def test_off_in_prediction_unless_asked_for() -> None:
    model, plain = make(), make(recurrent_noise=0.0, input_noise=0.0, noise_scaling=None)
    assert model.forward(X).outputs.tobytes() == plain.forward(X).outputs.tobytes()
    assert fastbptt.predict(model, X).tobytes() == fastbptt.predict(plain, X).tobytes()
    assert model.loss(X, Y, "mse", "all") == plain.loss(X, Y, "mse", "all")
    assert model._dropout_seeds.state[1] == 0
    noisy = model.forward(X, noise=5).outputs
    assert (noisy != model.forward(X).outputs).all()
    assert noisy.tobytes() == model.forward(X, noise=5, backward=False).outputs.tobytes()
    assert (noisy != model.forward(X, noise=6).outputs).all()
    assert model._dropout_seeds.state[1] == 0
    for call in (model.forward, partial(fastbptt.predict, model)):
        with pytest.raises(ValueError, match=r"noise is 184467.*; expected below 2\*\*64"):
            call(X, noise=1 << 64)
    assert model.forward(X, noise=(1 << 64) - 1).outputs.shape == (B, T, O)
    network = {
        "noise": reference.recurrent_noise(5, 0.2, B, T, 20),
        "input_noise": reference.input_noise(5, 0.3, B, T, I),
    }
    close(noisy, reference.forward(dict(model.parameters), X, **network).outputs, 1e-12)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_predict_with_noise_in_any_batches(lengths: Array | None, batch_size: int) -> None:
    model = make(num_layers=2, dropout=0.4)
    whole = model.forward(X, lengths, noise=3)
    found = fastbptt.predict(model, X, lengths, batch_size, noise=3)
    close(found, whole.last, 1e-12)
    found = fastbptt.predict(model, X, lengths, batch_size, noise=3, steps="all")
    close(found, whole.outputs, 1e-12)


def test_a_single_short_sequence_has_noise_too() -> None:
    """It is computed step by step without noise."""
    model = make()
    network = {
        "noise": reference.recurrent_noise(5, 0.2, 1, 3, 20),
        "input_noise": reference.input_noise(5, 0.3, 1, 3, I),
    }
    wanted = reference.forward(dict(model.parameters), X[:1, :3], **network)
    close(model.forward(X[:1, :3], noise=5, backward=False).last, wanted.last, 1e-12)


def test_training_repeats_and_resumes(tmp_path: Any) -> None:
    def run(model: Any, adam: Any, steps: int) -> None:
        for _ in range(steps):
            model.train_step(X, Y, adam, "mse", "all")

    model, adam = make(), fastbptt.Adam()
    run(model, adam, 3)
    model.save(tmp_path / "model", adam)
    loaded = fastbptt.load(tmp_path / "model")
    copies = [
        (model.copy(), adam.copy()),
        (copy.deepcopy(model), adam.copy()),
        (pickle.loads(pickle.dumps(model)), adam.copy()),
        (loaded, fastbptt.load_optimizer(tmp_path / "model")),
    ]
    run(model, adam, 3)
    for twin, other in copies:
        assert (twin.recurrent_noise, twin.input_noise) == (0.2, 0.3)
        run(twin, other, 3)
        assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    again = make()
    run(again, fastbptt.Adam(), 6)
    assert again.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert make(seed=2)._dropout_seeds.state != make()._dropout_seeds.state


def test_shown_and_saved(tmp_path: Any) -> None:
    model = fastbptt.LeakyRNN(
        2, 3, 1, alpha=0.5, input_noise=0.1, recurrent_noise=0.2, noise_scaling="alpha", seed=0
    )
    text = (
        'LeakyRNN(2, 3, 1, alpha=0.5, input_noise=0.1, recurrent_noise=0.2, noise_scaling="alpha"'
    )
    assert repr(model).startswith(text)
    model.save(tmp_path / "model")
    assert repr(fastbptt.load(tmp_path / "model")) == repr(model)
    assert model.noise_scaling == "alpha" and fastbptt.RNN(2, 3).noise_scaling is None


@pytest.mark.parametrize("alpha", [0.02, 0.3, 1.0])
def test_scaled_noise_reaches_the_state_as_the_field_has_it(alpha: float) -> None:
    """Small states of unconnected units: h = (1 - a) h + sqrt(2 a) sigma xi."""
    model = fastbptt.LeakyRNN(
        1, 500, alpha=alpha, recurrent_noise=1e-3, noise_scaling="alpha", dtype="float64", seed=0
    )
    model.parameters.flat[...] = 0.0
    h = model.forward(np.zeros((20, 400, 1)), noise=1).outputs
    steps = h[:, 1:] - (1 - alpha) * h[:, :-1]
    assert steps.std() == pytest.approx((2 * alpha) ** 0.5 * 1e-3, rel=2e-3)
    late = h[:, 200:].std() if alpha < 1 else h.std()
    # of the process in discrete time; sigma itself in the limit of small alpha
    assert late == pytest.approx(1e-3 * (2 * alpha / (1 - (1 - alpha) ** 2)) ** 0.5, rel=0.02)


def test_noise_of_a_cell_without_a_place_for_it() -> None:
    for cell in fastbptt.cells():
        if _core.cell_info(cell)["gates"] > 1:
            with pytest.raises(fastbptt.ArgumentError, match=r"recurrent_noise is 0.2; expected 0"):
                make(cell)
    with pytest.raises(fastbptt.ArgumentError, match="neither input_noise nor recurrent_noise"):
        fastbptt.RNN(2, 3).forward(np.ones((1, 2, 2)), noise=1)
    for seed in (-1, 1.5, True, "1"):
        with pytest.raises((ValueError, TypeError), match="noise"):
            make().forward(X, noise=seed)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the distribution

MANY = 1 << 20


def draws(dtype: str = "float32") -> Array:
    """A million sums of unconnected units without input: 64 sequences, 128 steps, 128 units."""
    model = fastbptt.RNN(
        1, 128, nonlinearity="relu", recurrent_noise=1.0, bias=False, dtype=dtype, seed=0
    )
    model.parameters.flat[...] = 0.0
    x = np.zeros((64, 128, 1))
    positive = model.forward(x, noise=11).outputs.astype(np.float64)
    found = reference.recurrent_noise(11, 1.0, 64, 128, 128)[0]
    close(positive, np.maximum(found, 0.0), 1e-6)
    return found


def test_the_distribution_is_normal() -> None:
    from scipy import stats

    z = draws().ravel()
    assert z.size == MANY
    error = MANY**-0.5
    assert abs(z.mean()) < 4 * error
    assert abs(z.var() - 1) < 4 * error * 2**0.5
    assert abs(stats.skew(z)) < 4 * error * 6**0.5
    assert abs(stats.kurtosis(z)) < 4 * error * 24**0.5
    assert stats.kstest(z, "norm").pvalue > 1e-3
    many = np.concatenate(
        [z, *(reference.input_noise(s, 1.0, 64, 128, 512).ravel() for s in (1, 2, 3))]
    )
    for edge in (2, 3, 4, 4.5, 5):  # both tails, within four standard deviations of a count
        for tail in (many > edge, many < -edge):
            wanted = stats.norm.sf(edge) * many.size
            assert abs(int(tail.sum()) - wanted) < 4 * wanted**0.5 + 2
    assert np.abs(many).max() < 6.56


def test_its_numbers_are_independent() -> None:
    z = draws()
    other = reference.recurrent_noise(12, 1.0, 64, 128, 128)[0]
    layers = reference.recurrent_noise(11, 1.0, 64, 128, 64, layers=2, directions=2)
    inputs = reference.input_noise(11, 1.0, 64, 128, 128)
    pairs = {
        "units": [(z[:, :, k:], z[:, :, :-k]) for k in (1, 2, 16, 64)],
        "steps": [(z[:, k:], z[:, :-k]) for k in (1, 2, 7)],
        "sequences": [(z[k:], z[:-k]) for k in (1, 2, 32)],
        "seeds": [(z, other)],
        "layers": [(layers[a], layers[b]) for a in range(4) for b in range(a)],
        "inputs": [(z, inputs)],
        "steps of the next sequence": [(z[1:, 1:], z[:-1, :-1]), (z[1:, :-1], z[:-1, 1:])],
    }
    for name, found in pairs.items():
        for a, b in found:
            for f in (np.sign, np.positive, np.square, np.abs):
                correlation = np.corrcoef(f(a).ravel(), f(b).ravel())[0, 1]
                assert abs(correlation) < 4.5 * a.size**-0.5, name


# ---------------------------------------------------------------- elsewhere


def test_onnx_notes_what_training_knows(tmp_path: Any) -> None:
    options = {"recurrent_noise": 0.2, "input_noise": 0.1, "recurrent_dropout": 0.3}
    model = fastbptt.RNN(2, 4, 1, seed=0, **options)
    fastbptt.interchange.to_onnx(model, tmp_path / "model.onnx")
    again = fastbptt.interchange.from_onnx(tmp_path / "model.onnx")
    assert {name: getattr(again, name) for name in options} == options
    x = RNG.normal(size=(2, 5, 2))
    assert again.forward(x).outputs.tobytes() == model.forward(x).outputs.tobytes()


@pytest.mark.skipif(not HAS_BFLOAT16, reason="of processors that have it")
@pytest.mark.parametrize("cell", CELLS)
def test_in_bfloat16(cell: str) -> None:
    """Close to float32 with the same noise; the same bits for any threads and windows."""
    options: dict[str, Any] = {
        "input_noise": 0.2,
        "recurrent_dropout": 0.3,
        "zoneout": 0.0 if _core.cell_info(cell)["given"] else 0.2,
        "num_layers": 2,
        "dropout": 0.2,
        "seed": 3,
    }
    if cell in PLAIN:
        options["recurrent_noise"] = 0.2
    alpha = 0.3 if _core.cell_info(cell)["setting"] else None
    x, y = RNG.normal(size=(20, 60, I)), RNG.normal(size=(20, 60, O))

    def made(precision: str) -> fastbptt.Recurrent:
        return fastbptt.Recurrent(cell, I, 40, O, alpha=alpha, precision=precision, **options)

    wanted = made("float32").loss_and_grad(x, y, "mse", "all")[1].flat
    before, found = fastbptt.get_num_threads(), set()
    try:
        for threads in (1, 2):
            fastbptt.set_num_threads(threads)
            for windows in (False, True):
                model = made("bfloat16")
                budget = model.minimum_memory(20, 60) if windows else None
                grads = model.loss_and_grad(x, y, "mse", "all", memory_budget=budget)[1].flat
                assert np.abs(grads - wanted).max() < 0.03 * np.abs(wanted).max()
                found.add(grads.tobytes())
    finally:
        fastbptt.set_num_threads(before)
    assert len(found) == 1
