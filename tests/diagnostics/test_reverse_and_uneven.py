"""Diagnoses of reverse passes, uneven lengths, weights and states: the same numbers as without.

The reverse pass over a batch is the forward pass over the batch turned round in time.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from cases import sampled

import fastbptt

RNG = np.random.default_rng(0)
B, T, I, H = 6, 40, 3, 8
X = RNG.normal(size=(B, T, I))
LENGTHS = np.array([40, 31, 12, 40, 5, 22])
Y = np.array([0, 1, 1, 0, 1, 0])


def turned(x: Any, lengths: Any = None) -> Any:
    """Each sequence from its end to its start."""
    result = x.copy()
    for row, end in enumerate([T] * len(x) if lengths is None else lengths):
        result[row, :end] = x[row, :end][::-1]
    return result


def pair(cell: str, dtype: str = "float64") -> tuple[fastbptt.Recurrent, fastbptt.Recurrent]:
    """One forward model, and one whose reverse direction is that and whose forward one is off."""
    alpha = 0.3 if cell.startswith("leaky") else None
    one = fastbptt.Recurrent(cell, I, H, 1, alpha=alpha, dtype=dtype, seed=1)
    both = fastbptt.Recurrent(cell, I, H, 1, alpha=alpha, bidirectional=True, dtype=dtype, seed=2)
    state = {name: np.zeros_like(values) for name, values in both.state_dict().items()}
    for name, values in one.state_dict().items():
        if name == "W_hy":
            state[name][H:] = values
        elif name == "b_y":
            state[name] = values
        else:
            state[f"{name}_reverse"] = values
    both.load_state_dict(state)
    return one, both


def flipped(values: Any, lengths: Any) -> Any:
    """(B, T, ..): each row turned round within its length."""
    result = np.array(values, float)
    for row, end in enumerate(lengths):
        result[row, :end] = result[row, :end][::-1]
    return result


NUMBERS = {
    "hidden_gradient": lambda flow: flow.hidden_gradient,
    "gates": lambda flow: np.stack(list(flow.gate_gradient.values()), axis=-1),
    "W_xh": lambda flow: flow.contribution["W_xh"],
    "W_hh": lambda flow: flow.contribution["W_hh"],
    "sum of W_xh": lambda flow: flow.running_sum["W_xh"],
    "sum of W_hh": lambda flow: flow.running_sum["W_hh"],
    "saturation": lambda flow: flow.saturation,
    "jacobian": lambda flow: flow.jacobian,
    "log_jacobian": lambda flow: flow.log_jacobian,
    "singular_values": lambda flow: flow.singular_values[..., :2],
}


def test_exponents_are_per_step_of_their_own_sequence() -> None:
    one, _ = pair("rnn")
    options: dict[str, Any] = {"jacobians": True, "per_example": True}
    whole = fastbptt.diagnose(one, X, Y, lengths=LENGTHS, **options).layers[0].lyapunov
    assert whole is not None
    for b, length in enumerate(LENGTHS):
        alone = fastbptt.diagnose(one, X[b : b + 1, :length], Y[b : b + 1], **options)
        np.testing.assert_allclose(whole[b], alone.layers[0].lyapunov[0], rtol=1e-8)


# with weights of zero the states of these are zero
SILENT = [one for one in fastbptt.cells() if not one.endswith(("softplus", "sigmoid"))]


@pytest.mark.parametrize(
    ("cell", "ragged"), sampled([*itertools.product(SILENT, [False, True])], 2)
)
def test_a_reverse_pass_is_a_forward_pass_turned_round(cell: str, ragged: bool) -> None:
    rng = np.random.default_rng(4)
    one, both = pair(cell)
    lengths = LENGTHS if ragged else np.full(B, T)
    h0: Any = rng.uniform(-0.5, 0.5, (1, B, H))
    states = h0 if isinstance(one.initial_state(B), np.ndarray) else (h0, 0.5 * h0)
    doubled = (
        np.concatenate([np.zeros_like(h0), h0])
        if states is h0
        else tuple(np.concatenate([np.zeros_like(each), each]) for each in states)
    )
    options: dict[str, Any] = {"lengths": lengths, "jacobians": True, "per_example": True}
    forward = fastbptt.diagnose(one, turned(X, lengths), Y, h0=states, **options)
    reverse = fastbptt.diagnose(both, X, Y, h0=doubled, **options)
    mask = np.arange(T) < lengths[:, np.newaxis]
    assert reverse.loss == pytest.approx(forward.loss)
    assert reverse.layers[1].reverse and not reverse.layers[0].reverse
    for name, of in NUMBERS.items():
        # within the sequences: sums that begin at the start go on after the end
        expected = flipped(of(forward.layers[0]), lengths)[mask]
        got = of(reverse.layers[1])[mask]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12, err_msg=name)
    for name, opened in forward.layers[0].gate_activation.items():
        got = reverse.layers[1].gate_activation[name]
        np.testing.assert_allclose(got, flipped(opened, lengths), rtol=1e-8)
    assert reverse.layers[1].decay == pytest.approx(forward.layers[0].decay)
    # off: nothing goes back through the forward direction
    assert not reverse.layers[0].hidden_gradient.any()
    assert reverse.decay == pytest.approx(forward.decay)
    # what the readout gets from it: at the steps where it ends, the first ones
    for name in ("contribution", "running_sum"):
        expected = flipped(getattr(forward.output, name), lengths)
        got = getattr(reverse.output, name)
        np.testing.assert_allclose(got[:, 0], expected[:, 0], rtol=1e-8)
    assert not reverse.output.contribution[:, 1:].any()
    # where the loss enters: at the ends of the forward pass
    assert (np.abs(forward.output.gradient[np.arange(B), lengths - 1]) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ragged", [False, True])
def test_advice_about_a_reverse_pass(cell: str, dtype: str, ragged: bool) -> None:
    """That gradients vanish after so many steps, and by which factor."""
    one, both = pair(cell, dtype)
    for model in (one, both):
        for name, values in model.parameters.items():
            if name.startswith("W_hh"):
                values[...] *= 0.7
    lengths = np.array([40, 31, 35, 40, 33, 38]) if ragged else None
    forward = fastbptt.diagnose(one, turned(X, lengths), Y, lengths=lengths, jacobians=True)
    reverse = fastbptt.diagnose(both, X, Y, lengths=lengths, jacobians=True)
    found = [
        [each for each in report.advice if each.kind == "vanishing"]
        for report in (forward, reverse)
    ]
    assert len(found[0]) == len(found[1]) == 1
    for name in ("steps", "factor", "of"):
        assert found[1][0].numbers[name] == pytest.approx(found[0][0].numbers[name])


def test_advice_about_an_exploding_reverse_pass() -> None:
    one, both = pair("rnn")
    for model in (one, both):
        for name, values in model.parameters.items():
            if name.startswith("W_hh"):
                values[...] *= 6
            elif name.startswith("W_xh"):
                values[...] *= 0.05
    forward = fastbptt.diagnose(one, turned(X), Y, jacobians=True)
    reverse = fastbptt.diagnose(both, X, Y, jacobians=True)
    found = [[e for e in r.advice if e.kind == "exploding"] for r in (forward, reverse)]
    assert len(found[0]) == len(found[1]) == 1
    for name in ("steps", "factor", "log10", "clip_norm", "median", "largest", "fraction"):
        assert found[1][0].numbers[name] == pytest.approx(found[0][0].numbers[name])
    # what the last steps alone give is a sum of both weights' gradients, from the end to there
    flow = forward.layers[0]
    sums = np.hypot(flow.running_sum["W_xh"], flow.running_sum["W_hh"])
    limit = found[0][0].numbers["clip_norm"]
    assert limit < found[0][0].numbers["median"]
    assert np.isclose(sums, limit, rtol=1e-9).any()


def test_steps_without_gradient_are_those_of_the_forward_direction() -> None:
    """A reverse pass meets the loss at the first step, and hides nothing of that."""
    one = fastbptt.RNN(I, H, 1, seed=1)
    both = fastbptt.RNN(I, H, 1, bidirectional=True, seed=2)
    state = both.state_dict()
    for name, values in one.state_dict().items():
        if name == "W_hy":
            state[name] = np.concatenate([values, values])
        elif name != "b_y":
            state[name] = state[f"{name}_reverse"] = values * (0.02 if name == "W_hh" else 1)
    both.load_state_dict(state)
    one.parameters["W_hh"][...] *= 0.02
    zeros = []
    for model in (one, both):
        report = fastbptt.diagnose(model, X, Y, jacobians=True)
        (found,) = [each for each in report.advice if each.kind == "vanishing"]
        zeros.append(found.numbers["zeros"])
    assert zeros[0] > 10
    assert abs(zeros[1] - zeros[0]) <= 1


# ---------------------------------------------------------------- numbers of mini-batches


def test_norms_of_mini_batches_are_those_of_their_own_sequences() -> None:
    """With their own targets, lengths, weights and states."""
    rng = np.random.default_rng(4)
    n = 16
    x = rng.normal(size=(n, T, I))
    y = rng.integers(0, 2, n)
    lengths = rng.integers(20, T + 1, n)
    weight = rng.uniform(0.2, 5, n)
    h0 = rng.uniform(-0.1, 0.1, (1, n, H))
    model, _ = pair("rnn")
    model.parameters["W_hh"][...] *= 6
    model.parameters["W_xh"][...] *= 0.05
    report = fastbptt.diagnose(
        model, x, y, "bce", lengths=lengths, sample_weight=weight, h0=h0, jacobians=True
    )
    (found,) = [each for each in report.advice if each.kind == "exploding"]
    norms = []
    for rows in np.array_split(np.arange(n), 8):
        _, grads = model.loss_and_grad(
            x[rows], y[rows], "bce", lengths=lengths[rows], sample_weight=weight[rows],
            h0=h0[:, rows],
        )  # fmt: skip
        norms.append(np.linalg.norm(grads.flat))
    assert found.numbers["median"] == pytest.approx(np.median(norms))
    assert found.numbers["largest"] == pytest.approx(max(norms))


def test_the_layer_in_which_most_sequences_explode_is_named() -> None:
    model = fastbptt.RNN(
        1, H, 1, num_layers=2, nonlinearity="relu", init=("normal", 0.0), dtype="float64", seed=0
    )
    for name, grow in (("W_hh", 1.25), ("W_hh_l1", 1.3)):
        model.parameters[name][...] = grow * np.eye(H)
    model.parameters["W_xh"][...] = 1.0
    model.parameters["W_xh_l1"][...] = 0.1
    model.parameters["b_h"][...] = -1.0  # on in one sequence alone
    model.parameters["b_h_l1"][...] = 0.01  # on in all
    model.parameters["W_hy"][...] = 0.1
    x = np.full((4, 50, 1), 0.5)
    x[2] = 3.0
    report = fastbptt.diagnose(model, x, np.zeros(4), "mse", jacobians=True)
    (found,) = [each for each in report.advice if each.kind == "exploding"]
    assert found.numbers["fraction"] == 1.0
    assert found.numbers["factor"] == pytest.approx(1.3)
    assert "l1" in found.text
    assert report.decay == pytest.approx(max(flow.decay or 0 for flow in report.layers))


def test_the_layer_that_keeps_the_past_speaks_for_the_network() -> None:
    model = fastbptt.RNN(I, H, 1, num_layers=2, dtype="float64", init=("orthogonal", 0.6), seed=0)
    model.parameters["W_hh_l1"][...] /= 1.5
    report = fastbptt.diagnose(model, 0.1 * X, Y, jacobians=True)
    decays = [flow.decay for flow in report.layers]
    assert decays[0] is not None and decays[1] is not None and decays[0] > 1.3 * decays[1]
    assert report.decay == decays[0]
    (found,) = [each for each in report.advice if each.kind == "vanishing"]
    assert found.numbers["factor"] == pytest.approx(decays[0], rel=0.1)


def test_what_helps_is_tried_on_the_longest_sequences() -> None:
    """Whether these stand in front or behind, or alone."""
    rng = np.random.default_rng(4)
    long, short = rng.normal(size=(4, 60, I)), rng.normal(size=(4, 60, I))
    model = fastbptt.RNN(I, H, 1, dtype="float64", seed=0)
    model.parameters["W_hh"][...] *= 0.5
    found = []
    for x, lengths in (
        (long, [60] * 4),
        (np.concatenate([long, short]), [60] * 4 + [14] * 4),
        (np.concatenate([short, long]), [14] * 4 + [60] * 4),
    ):
        y = np.tile([0, 1, 1, 0], len(x) // 4)
        report = fastbptt.diagnose(model, x, y, lengths=lengths, jacobians=True)
        (one,) = [each for each in report.advice if each.kind == "vanishing"]
        found.append(one)
    for one in found[1:]:
        assert one.numbers["factor_then"] == pytest.approx(found[0].numbers["factor_then"])
        assert one.numbers["steps_then"] == found[0].numbers["steps_then"]
        assert one.suggestion == found[0].suggestion


def test_what_helps_is_judged_by_the_layer_that_keeps_most() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 60, I)), [0, 1]
    model = fastbptt.RNN(I, H, 1, num_layers=2, dtype="float64", seed=0)
    report = fastbptt.diagnose(model, x, y, jacobians=True)
    (found,) = [each for each in report.advice if each.kind == "vanishing"]
    bias = re.search(r"forget_bias=([0-9.]+)", found.suggestion)
    assert bias is not None
    better = fastbptt.LSTM(
        I, H, 1, forget_bias=float(bias[1]), num_layers=2, dtype="float64", seed=0
    )
    after = fastbptt.diagnose(better, x, y, jacobians=True)
    assert len({round(flow.decay or 0, 4) for flow in after.layers}) == 2
    assert found.numbers["factor_then"] == pytest.approx(after.decay)


# ---------------------------------------------------------------- learning rate


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_a_trial_is_of_the_batch_with_its_weights_and_states(loss: str) -> None:
    rng = np.random.default_rng(4)
    n = 12
    x, y = rng.normal(size=(n, 9, I)), rng.integers(0, 2, n)
    options: dict[str, Any] = {
        "lengths": rng.integers(3, 10, n),
        "sample_weight": rng.uniform(0.1, 9, n),
        "h0": rng.uniform(-0.9, 0.9, (1, n, H)),
    }
    model = fastbptt.RNN(I, H, 1, dtype="float64", seed=0)
    report = fastbptt.diagnose(model, x, y, loss, **options, optimizer=fastbptt.SGD(60.0))
    (found,) = [each for each in report.advice if each.kind == "learning rate too high"]
    before = model.loss(x, y, loss, **options)
    start = model.parameters.flat.copy()
    twin = model.copy()
    twin.train_step(x, y, fastbptt.SGD(60.0), loss, **options)
    share = np.linalg.norm(twin.parameters.flat - start) / np.linalg.norm(start)
    assert found.numbers["loss"] == pytest.approx(before)
    assert found.numbers["loss_after"] == pytest.approx(twin.loss(x, y, loss, **options))
    assert found.numbers["ratio"] == pytest.approx(share)
    assert (model.parameters.flat == start).all()
    lr = found.numbers["lr_then"]
    better = model.copy()
    better.train_step(x, y, fastbptt.SGD(lr), loss, **options)
    assert better.loss(x, y, loss, **options) <= before
    assert np.log(60.0 / lr) / np.log(3) == pytest.approx(round(np.log(60.0 / lr) / np.log(3)))
    worse = model.copy()
    worse.train_step(x, y, fastbptt.SGD(3 * lr), loss, **options)
    assert worse.loss(x, y, loss, **options) > before or 3 * lr >= 59


def test_a_loss_that_rises_a_little_is_no_reason() -> None:
    """Up to a twentieth, or a hair where it is almost nothing."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(8, 6, I)), rng.integers(0, 2, 8)
    model = fastbptt.RNN(I, H, 1, dtype="float64", seed=0)
    before = model.loss(x, y)
    lr, changed = 0.5, []
    for _ in range(20):
        twin = model.copy()
        twin.train_step(x, y, fastbptt.SGD(lr))
        rise = twin.loss(x, y) / before
        changed.append(rise)
        report = fastbptt.diagnose(model, x, y, optimizer=fastbptt.SGD(lr))
        said = "learning rate too high" in [each.kind for each in report.advice]
        assert said == (rise > 1.05)
        lr *= 1.3
    assert any(1.0 < rise < 1.05 for rise in changed)


def test_a_curve_names_its_best_epoch_and_its_last_rate() -> None:
    curves = {"loss": [1.0, 0.5, 0.2, 0.4, 0.9], "lr": [0.9, 0.8, 0.7, 0.6, 0.3]}
    told = {"epoch": [1, 2, 3, 4, 5], "curves": curves, "best_epoch": None, "stopped": "epochs"}
    model = fastbptt.LSTM(I, H, 1, forget_bias=4.0, dtype="float64", seed=0)
    report = fastbptt.diagnose(model, X, Y, history=fastbptt.History.from_dict(told))
    (found,) = [each for each in report.advice if each.kind == "learning rate too high"]
    assert found.numbers == {
        "best": 0.2,
        "best_epoch": 3.0,
        "last": 0.9,
        "rises": pytest.approx(0.5),
    }
    assert "lr=0.1 " in found.suggestion and "0.3" in found.suggestion


def test_what_saturates_is_named_with_its_numbers() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(4, 12, I))
    model = fastbptt.RNN(I, H, 1, dtype="float64", seed=0)
    model.parameters["W_hh"][...] *= 30
    h0 = np.full((1, 4, H), 0.01)
    report = fastbptt.diagnose(model, x, Y[:4], h0=h0)
    (found,) = [each for each in report.advice if each.kind == "saturated"]
    states = model.forward(x, h0=h0).hidden
    before = np.concatenate([h0[0][:, np.newaxis], states[:, :-1]], axis=1)

    def rms(values: Any) -> float:
        return float(np.sqrt(np.mean(np.square(values))))

    assert found.numbers["input"] == pytest.approx(rms(x))
    assert found.numbers["x_W_xh"] == pytest.approx(rms(x @ model.parameters["W_xh"]))
    assert found.numbers["h_W_hh"] == pytest.approx(rms(before @ model.parameters["W_hh"]))
    assert found.numbers["fraction"] == pytest.approx((np.abs(states) > 0.97).mean())
