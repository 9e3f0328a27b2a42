"""Fixed points of networks whose fixed points are known, and of trained ones against SciPy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array
from scipy.optimize import brentq, root

import fastbptt
from fastbptt import reference
from fastbptt.diagnostics import FixedPoints, fixed_points, step_jacobian
from fastbptt.models._options import shaped

RNG = np.random.default_rng(7)


def built(model: fastbptt.Recurrent, **weights: Any) -> fastbptt.Recurrent:
    """Set weights; all others are 0."""
    for name, values in model.parameters.items():
        values[...] = weights.get(name, 0.0)
    return model


def rnn(w: Array, **options: Any) -> fastbptt.Recurrent:
    """A network h = f(h W), with one input to all units."""
    units = len(w)
    options = {"dtype": "float64", "seed": 0} | options
    cell = options.pop("cell", "rnn")
    return built(fastbptt.Recurrent(cell, 1, units, **options), W_hh=w, W_xh=1.0)


def starts(count: int, units: int, low: float = -1.0, high: float = 1.0) -> Array:
    return np.random.default_rng(3).uniform(low, high, (1, count, units))


# ---------------------------------------------------------------- constructed networks


@pytest.mark.parametrize("x", [0.0, 0.3, -0.5])
@pytest.mark.parametrize("w", [1.5, 2.0, 3.0])
@pytest.mark.parametrize(("cell", "alpha"), [("rnn", 1.0), ("leaky", 0.2)])
def test_a_bistable_unit(w: float, x: float, cell: str, alpha: float) -> None:
    """h = tanh(w h + x); of a leaky unit the same points, with other eigenvalues."""
    options: dict[str, Any] = {"alpha": alpha} if cell.startswith("leaky") else {}
    found = fixed_points(rnn(np.array([[w]]), cell=cell, **options), [x], starts(40, 1))

    def excess(h: float) -> float:
        return float(np.tanh(w * h + x) - h)

    grid = np.linspace(-1.0, 1.0, 2001) + 1e-5
    places = [i for i in range(2000) if excess(grid[i]) * excess(grid[i + 1]) < 0]
    expected = np.array([brentq(excess, grid[i], grid[i + 1], xtol=1e-14) for i in places])
    assert len(expected) in (1, 3)
    order = np.argsort(found.points[:, 0])
    np.testing.assert_allclose(found.points[order, 0], expected, rtol=0, atol=1e-9)
    slopes = 1 - alpha + alpha * w * (1 - expected**2)
    np.testing.assert_allclose(found.eigenvalues[order, 0], slopes, rtol=0, atol=1e-8)
    assert found.stable[order].tolist() == (slopes < 1).tolist()
    assert found.unstable[order].tolist() == (slopes > 1).tolist()
    assert (found.speeds <= 1e-20).all()


@pytest.mark.parametrize("gain", [1.3, 1.6, 2.0])
def test_a_ring(gain: float) -> None:
    """Cosine weights: h_i = tanh(a cos(angle_i - phi)) for any phi, and 0, which is unstable.

    For any phi up to terms that shrink exponentially with the number of units.
    """
    units = 64
    angles = 2 * np.pi * np.arange(units) / units
    w = 2 * gain / units * np.cos(angles[:, np.newaxis] - angles)

    def excess(a: float) -> float:
        return float(2 * gain / units * np.tanh(a * np.cos(angles)) @ np.cos(angles) - a)

    a = brentq(excess, 0.5, 4.0, xtol=1e-14)
    around = np.random.default_rng(4).uniform(0, 2 * np.pi, 12)[:, np.newaxis]
    given = np.cos(angles - around) + 0.1 * starts(12, units)
    found = fixed_points(rnn(w), [0.0], given, merge=1e-7)
    assert (found.reached >= 0).all()
    radius = np.linalg.norm(found.points, axis=1)
    ring = found.points[radius > 1e-3]
    assert len(ring) == 12
    drive = ring @ w  # a cos(angle - phi)
    phi = np.angle(drive @ np.exp(1j * angles))
    expected = np.tanh(a * np.cos(angles - phi[:, np.newaxis]))
    np.testing.assert_allclose(ring, expected, rtol=0, atol=1e-6)
    values = found.eigenvalues[radius > 1e-3]
    np.testing.assert_allclose(values[:, 0], 1.0, rtol=0, atol=1e-6)  # along the ring
    assert (np.abs(values[:, 1]) < 0.9).all()
    assert not found.stable[radius > 1e-3].any()
    assert not found.unstable[radius > 1e-3].any()
    assert found.kinds()[0] == "marginal"
    rest = fixed_points(rnn(w), [0.0], 1e-3 * starts(3, units))
    assert len(rest) == 1
    np.testing.assert_allclose(rest.points[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(rest.eigenvalues[0, :2], gain, atol=1e-9)
    assert rest.unstable.tolist() == [True]


@pytest.mark.parametrize("units", [2, 5, 12])
def test_a_line(units: int) -> None:
    """ReLU units with W = u u^T: every a u with a >= 0 stays, all else falls onto the line."""
    u = np.random.default_rng(units).uniform(0.2, 1.0, units)
    u /= np.linalg.norm(u)
    given = starts(25, units, 0.0, 3.0)
    found = fixed_points(rnn(np.outer(u, u), cell="relu"), [0.0], given, merge=1e-9)
    assert len(found) == 25
    along = found.points @ u
    np.testing.assert_allclose(found.points, along[:, np.newaxis] * u, rtol=0, atol=1e-9)
    expected = np.zeros((25, units))
    expected[:, 0] = 1.0
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-12)
    assert found.kinds() == ["marginal"] * 25
    # the nearest point of the line, since no direction along it is better
    np.testing.assert_allclose(found.ends, (given[0] @ u)[:, np.newaxis] * u, atol=1e-6)


def test_a_stack_settles_layer_by_layer() -> None:
    """The lower unit is bistable, the upper one follows it: h1 = tanh(0.5 h1 + 2 h0)."""
    model = fastbptt.RNN(1, 1, num_layers=2, dtype="float64", seed=0)
    built(model, W_hh=2.0, W_hh_l1=0.5, W_xh_l1=2.0)
    given = np.random.default_rng(0).uniform(-1, 1, (2, 30, 1))
    found = fixed_points(model, [0.0], given)
    low = brentq(lambda h: np.tanh(2 * h) - h, 0.5, 1.0, xtol=1e-14)
    top = brentq(lambda h: np.tanh(0.5 * h + 2 * low) - h, 0.0, 1.0, xtol=1e-14)
    order = np.argsort(found.points[:, 0])
    expected = [[-low, -top], [0.0, 0.0], [low, top]]
    np.testing.assert_allclose(found.points[order], expected, atol=1e-9)
    assert found.stable[order].tolist() == [True, False, True]
    np.testing.assert_allclose(found.eigenvalues[order[1]], [2.0, 0.5], atol=1e-9)
    state = found.state()
    assert isinstance(state, np.ndarray)
    assert state.shape == (2, 3, 1)
    then = model.forward(np.zeros((3, 1, 1)), h0=state).final_state
    np.testing.assert_allclose(then, state, rtol=0, atol=1e-14)


def test_an_lstm_cell_that_integrates() -> None:
    """f = 1/2, i g = 0.3 with W_hh = 0: c = 0.6, h = tanh(0.6) / 2, eigenvalues 1/2 and 0."""
    model = fastbptt.LSTM(1, 1, dtype="float64", seed=0)
    built(model, b_h=[0.0, 0.0, np.arctanh(0.6), 0.0])
    found = fixed_points(model, [0.0], (starts(5, 1), 4.0 * starts(5, 1)))
    np.testing.assert_allclose(found.points, [[np.tanh(0.6) / 2, 0.6]], atol=1e-12)
    np.testing.assert_allclose(found.eigenvalues, [[0.5, 0.0]], atol=1e-12)
    h, c = found.state()
    assert (h.shape, c.shape) == ((1, 1, 1), (1, 1, 1))
    assert c.item() == pytest.approx(0.6)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_against_scipy(cell: str) -> None:
    model = fastbptt.Recurrent(
        cell, 2, 4, alpha=0.3 if reference.CELLS[cell].SETTING else None, seed=3, dtype="float64"
    )
    x = np.array([0.4, -0.2])
    data = RNG.normal(size=(8, 10, 2))
    found = fixed_points(model, x, 20, data=data)
    assert len(found) == 1
    step, width = as_function(model, x), found.points.shape[1]
    exact = root(lambda s: step(s) - s, np.full(width, 0.1), tol=1e-13)
    np.testing.assert_allclose(found.points[0], exact.x, atol=1e-8)
    np.testing.assert_allclose(step(found.points[0]), found.points[0], atol=1e-12)
    expected = np.linalg.eigvals(step_jacobian(model, found.state(), x)[0])
    np.testing.assert_allclose(
        np.sort_complex(found.eigenvalues[0]), np.sort_complex(expected), atol=1e-10
    )
    assert (np.diff(np.abs(found.eigenvalues[0])) <= 1e-12).all()
    assert found.stable[0] == (np.abs(expected).max() < 1)


def as_function(model: fastbptt.Recurrent, x: Array) -> Any:
    """One step of a model of one layer on a flat state, by the reference."""
    params = {name: np.array(one, np.float64) for name, one in model.parameters.items()}
    module = reference.CELLS[model.cell]
    setting = dict.fromkeys(module.SETTING, shaped(model._spec))

    def step(s: Array) -> Array:
        before = s.reshape(len(module.STATES), 1, -1)
        after: Array = module.forward(params, x[np.newaxis, np.newaxis], before, **setting)
        return after.ravel()

    return step


# ---------------------------------------------------------------- trained networks


def flip_flop(bits: int) -> tuple[Array, Array]:
    """Each input is usually 0; the target is the last pulse of its own, 1 or -1."""
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 0.0, 1.0], (128, 30, bits), p=[0.1, 0.8, 0.1])
    x[:, 0] = rng.choice([-1.0, 1.0], (128, bits))
    y = x.copy()
    for t in range(1, 30):
        y[:, t] = np.where(x[:, t] != 0, x[:, t], y[:, t - 1])
    return x, y


@cache
def trained(cell: str, bits: int) -> tuple[fastbptt.Recurrent, FixedPoints]:
    x, y = flip_flop(bits)
    models = {
        "leaky": lambda: fastbptt.LeakyRNN(bits, 16, bits, alpha=0.5, init="orthogonal", seed=0),
        "gru": lambda: fastbptt.GRU(bits, 16, bits, seed=0),
    }
    model = models[cell]()
    history = fastbptt.fit(
        model,
        x,
        y,
        loss="mse",
        steps="all",
        epochs=30,
        batch_size=16,
        optimizer=fastbptt.Adam(lr=0.01),
        clip_norm=1.0,
        verbose=0,
    )
    assert history["loss"][-1] < 0.05
    return model, fixed_points(model, np.zeros(bits), 60, data=x, noise=0.2)


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("cell", ["leaky", "gru"])
def test_a_flip_flop_remembers_in_stable_points(cell: str, bits: int) -> None:
    model, found = trained(cell, bits)
    assert found.stable.sum() == 2**bits
    assert found.unstable.any()
    readout = {name: np.asarray(one, np.float64) for name, one in model.parameters.items()}
    outputs = found.points @ readout["W_hy"] + readout["b_y"]
    remembered = np.sign(outputs[found.stable])
    assert len({tuple(row) for row in remembered}) == 2**bits
    np.testing.assert_allclose(outputs[found.stable], remembered, atol=0.35)
    # a saddle lies between them
    least = np.abs(outputs[found.stable]).min()
    assert (np.abs(outputs[found.unstable]).min(axis=1) < least).all()


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("cell", ["leaky", "gru"])
def test_a_flip_flop_against_scipy(cell: str, bits: int) -> None:
    model, found = trained(cell, bits)
    step = as_function(model, np.zeros(bits))
    rng = np.random.default_rng(1)
    for point, values, stable in zip(found.points, found.eigenvalues, found.stable, strict=True):
        exact = root(lambda s: step(s) - s, point + rng.normal(0, 1e-3, 16), tol=1e-13)
        np.testing.assert_allclose(point, exact.x, rtol=0, atol=1e-6)
        assert stable == (np.abs(values).max() < 1)
        s = point + 1e-3 * rng.normal(size=16)  # where the network itself goes from there
        for _ in range(600):
            s = step(s)
        assert (np.abs(s - point).max() < 1e-6) == stable
    # from any state that the network visits, it settles in one of them
    state = model.forward(flip_flop(bits)[0][:40]).final_state
    assert isinstance(state, np.ndarray)
    settled = model.forward(np.zeros((40, 900, bits)), h0=state).hidden[:, -1]
    apart = np.abs(settled[:, np.newaxis] - found.points[found.stable]).max(axis=2)
    assert apart.min(axis=1).max() < 1e-4


# ---------------------------------------------------------------- what comes back


def test_where_each_start_went() -> None:
    model = rnn(np.array([[2.0]]))
    given = np.array([[[-0.9], [0.95], [0.01], [1.0], [-0.02], [0.9]]])
    found = fixed_points(model, [0.0], given)
    assert found.counts.tolist() == [3, 2, 1]
    assert found.reached.tolist() == [2, 0, 1, 0, 1, 0]
    np.testing.assert_allclose(found.points[found.reached], found.ends, atol=1e-7)
    np.testing.assert_array_equal(found.end_speeds.shape, (6,))
    assert len(found) == 3
    assert repr(found) == (
        "FixedPoints(3 points: 2 stable, 1 unstable; 6 of 6 starts ended in one)"
    )
    for number in (*found.counts, "2.000000"):
        assert str(number) in str(found)


def test_none_is_an_empty_result_with_speeds() -> None:
    """ReLU with h = max(h + 1, 0) has none; each step is as long as the others."""
    model = built(fastbptt.RNN(1, 1, nonlinearity="relu", dtype="float64"), W_hh=1.0, b_h=1.0)
    found = fixed_points(model, [0.0], starts(6, 1, 0.0, 2.0))
    assert len(found) == 0
    assert found.points.shape == (0, 1)
    assert found.eigenvalues.shape == (0, 1)
    assert found.reached.tolist() == [-1] * 6
    np.testing.assert_allclose(found.end_speeds, 0.5)
    assert repr(found) == "FixedPoints(0 points; 0 of 6 starts ended in one)"
    assert str(found).endswith("The speeds that the other starts reached: 5.0e-01 to 5.0e-01.")
    assert np.shape(found.state()) == (1, 0, 1)


def test_a_start_that_runs_away_is_no_point() -> None:
    model = rnn(np.array([[1.5]]), cell="relu")
    found = fixed_points(model, [0.0], np.array([[[1e200], [1.0]]]))
    assert found.reached.tolist() == [-1, 0]
    assert found.points.tolist() == [[pytest.approx(0.0, abs=1e-9)]]
    assert not found.end_speeds[0] <= 1e-20


def test_slow_points_only_if_wanted() -> None:
    """Just beyond the input at which two of three points meet and vanish: at h = 1 / sqrt(2)."""
    model, x = rnn(np.array([[2.0]])), [-0.54]
    given = np.array([[[0.7], [-0.9], [0.75]]])
    found = fixed_points(model, x, given)
    assert (len(found), found.reached.tolist()) == (1, [-1, 0, -1])
    slow = fixed_points(model, x, given, slow=1e-3)
    assert slow.kinds() == ["stable", "slow"]
    assert slow.reached.tolist() == [1, 0, 1]
    assert slow.slow.tolist() == [False, True]
    assert slow.points[1, 0] == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert 1e-20 < slow.speeds[1] < 1e-4
    assert slow.speeds[1] == pytest.approx(found.end_speeds[[0, 2]].min())
    assert len(fixed_points(model, x, given, slow=1e-9)) == 1


def test_the_state_stays_where_a_gate_is_closed_to_rounding() -> None:
    """Far outside, z = 1 to rounding, and any state seems to stay; no step leads there."""
    model = built(fastbptt.GRU(1, 1, dtype="float64"), W_hh=[[0.0, 9.0, 0.0]], b_h=[0.0, 0.0, 0.5])
    found = fixed_points(model, [0.0], np.array([[[30.0], [-5.0], [0.2]]]))
    assert (np.abs(found.ends) <= 1.0).all()
    np.testing.assert_allclose(found.points, [[np.tanh(0.5)]], atol=1e-9)


def test_starts_among_the_states_of_data() -> None:
    model = fastbptt.LSTM(2, 3, num_layers=2, learn_initial_state=True, dtype="float64", seed=1)
    data = RNG.normal(size=(4, 6, 2))
    lengths = np.array([6, 1, 3, 2])
    every = fixed_points(model, [0.0, 0.0], 12, data=data, lengths=lengths, iterations=1)
    assert len(every.ends) == 12
    with pytest.raises(ValueError, match="starts is 13; expected at most 12, the steps of data"):
        fixed_points(model, [0.0, 0.0], 13, data=data, lengths=lengths)
    listed = [one[:n] for one, n in zip(data, lengths, strict=True)]
    again = fixed_points(model, [0.0, 0.0], 12, data=listed, iterations=1)
    np.testing.assert_allclose(again.ends, every.ends, rtol=1e-12)
    # the states themselves: each sequence's last one, among them, is a start
    final = model.forward(data, lengths).final_state
    given = fixed_points(model, [0.0, 0.0], final, iterations=1)
    for end in given.ends:
        assert np.abs(every.ends - end).max(axis=1).min() < 1e-6
    one = fixed_points(model, [0.0, 0.0], 3, data=data, iterations=1)
    other = fixed_points(model, [0.0, 0.0], 3, data=data, iterations=1, seed=1)
    assert not np.array_equal(one.ends, other.ends)
    same = fixed_points(model, [0.0, 0.0], 3, data=data, iterations=1, seed=0)
    np.testing.assert_array_equal(one.ends, same.ends)


def test_noise_reaches_what_lies_between_visited_states() -> None:
    model, _ = trained("leaky", 1)
    at_rest = np.zeros((1, 50, 16))
    assert len(fixed_points(model, [0.0], at_rest)) == 1
    assert len(fixed_points(model, [0.0], at_rest, noise=0.5)) == 3


def test_what_the_limits_do() -> None:
    model = rnn(np.array([[2.0]]))
    given = np.array([[[0.9], [0.9001], [0.95], [0.02]]])
    early = {"iterations": 1, "slow": 0.1}
    assert len(fixed_points(model, [0.0], given, **early)) == 3  # type: ignore[arg-type]
    apart = fixed_points(model, [0.0], given, merge=0.0, **early)  # type: ignore[arg-type]
    assert len(apart) == 4
    whole = fixed_points(model, [0.0], given, merge=2.0, tol=1e-3)
    assert (len(whole), whole.counts.tolist()) == (1, [4])
    assert whole.speeds[0] == whole.end_speeds.min()
    near = fixed_points(model, [0.0], given, iterations=1, tol=0.1)
    assert not near.slow.any()
    assert len(near) == len(fixed_points(model, [0.0], given, **early))  # type: ignore[arg-type]
    assert len(fixed_points(model, [0.0], given, iterations=1)) < len(near)


def test_an_end_that_is_near_a_point_but_moves_is_not_in_it() -> None:
    given = np.array([[[0.9575040240772687], [0.3]]])
    found = fixed_points(rnn(np.array([[2.0]])), [0.0], given, merge=2.0, iterations=1)
    assert (len(found), found.reached.tolist()) == (1, [0, -1])


def test_tokens_stand_for_rows_of_the_embedding() -> None:
    model = fastbptt.GRU(3, 4, embedding=6, seed=0)
    given = starts(4, 4)
    by_token = fixed_points(model, 2, given)
    by_row = fixed_points(model, model.parameters["E"][2], given)
    np.testing.assert_array_equal(by_token.points, by_row.points)
    np.testing.assert_array_equal(by_token.x, by_row.x)
    found = fixed_points(model, 2, 5, data=[[1, 2, 3], [4, 5]])
    np.testing.assert_allclose(found.points, by_token.points, atol=1e-9)


def test_many_starts_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = trained("gru", 1)
    monkeypatch.setattr("fastbptt.diagnostics._step.AT_A_TIME", 7 * 16**2)
    again = fixed_points(model, [0.0], 60, data=flip_flop(1)[0], noise=0.2)
    np.testing.assert_array_equal(again.reached, found.reached)
    np.testing.assert_allclose(again.points, found.points, atol=1e-10)


# ---------------------------------------------------------------- bad input

GIVEN = np.zeros((1, 2, 4))
DATA = np.zeros((2, 3, 2))
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"starts": np.zeros((1, 2, 3))}, ValueError, r"starts has shape \(1, 2, 3\); expected \(1, 2"),
    ({"starts": np.full((1, 2, 4), np.inf)}, ValueError, r"starts holds a value .* \(inf\) at"),
    ({"starts": 5}, ValueError, "data is None; expected sequences for a number of starts"),
    ({"starts": 0, "data": DATA}, ValueError, "starts is 0; expected at least 1"),
    ({"starts": 9, "data": DATA}, ValueError, "starts is 9; expected at most 6, the steps of data"),
    (
        {"starts": 2.5},
        TypeError,
        r"starts is 2\.5; expected states, \(layers, n, hidden_size\), or",
    ),
    ({"starts": True, "data": DATA}, TypeError, "starts is True; expected a whole number"),
    ({"data": DATA}, ValueError, "data is given; expected None because starts holds states"),
    ({"lengths": [1, 2]}, ValueError, "lengths is given; expected None because there is no data"),
    ({"starts": 2, "data": DATA[0]}, ValueError, r"data has shape \(3, 2\); expected \(batch, tim"),
    ({"starts": 2, "data": DATA + np.nan}, ValueError, r"data holds a value that is not finite"),
    ({"starts": 2, "data": DATA, "lengths": [4, 1]}, ValueError, r"lengths\[0\] is 4; expected"),
    ({"seed": 1}, ValueError, "seed is given; expected None because nothing is random"),
    ({"seed": -1, "noise": 0.1}, ValueError, "seed is -1; expected"),
    ({"noise": -0.1}, ValueError, r"noise is -0\.1; expected a finite number of at least 0"),
    ({"noise": np.inf}, ValueError, r"noise is inf; expected a finite number of at least 0"),
    ({"tol": 0.0}, ValueError, r"tol is 0\.0; expected a finite number above 0"),
    ({"tol": "small"}, TypeError, r"tol is 'small'; expected a finite number above 0"),
    ({"slow": 1e-30}, ValueError, "slow is 1e-30; expected a finite number above tol=1e-20"),
    ({"merge": np.nan}, ValueError, "merge is nan; expected a finite number of at least 0"),
    ({"iterations": 0}, ValueError, "iterations is 0; expected at least 1"),
    ({"x": np.zeros((2, 2))}, ValueError, r"x has shape \(2, 2\); expected \(2,\), the input of"),
    ({"x": [0.0, np.nan]}, ValueError, r"x holds a value that is not finite \(nan\) at index \(1"),
    ({"model": fastbptt.GRU(2, 4, bidirectional=True)}, ValueError, "model reads in both directi"),
    ({"model": "gru"}, TypeError, "model is of type str; expected a fastbptt model"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"model": fastbptt.GRU(2, 4, seed=0), "x": np.zeros(2), "starts": GIVEN} | change
    with pytest.raises(error, match=message) as caught:
        fixed_points(**arguments)
    assert isinstance(caught.value, fastbptt.ArgumentError | fastbptt.ArgumentTypeError)
