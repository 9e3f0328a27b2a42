"""Penalties on rates and on their change, and Pascanu's Omega, against the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CELLS
from trained import Bench

import fastbptt
from fastbptt import _core, reference
from fastbptt.models import _penalties

STRENGTHS = {"activity_l1": 0.3, "activity_l2": 0.7, "activity_change_l2": 1.1, "omega": 0.2}
#: f' from f(a)
SLOPES = {
    "leaky": lambda f: 1 - f**2,
    "leaky_rate_relu": lambda f: (f > 0).astype(float),
    "leaky_rate_softplus": lambda f: -np.expm1(-f),
    "leaky_rate_sigmoid": lambda f: f * (1 - f),
}
ABLE = [cell for cell in fastbptt.cells() if _core.cell_info(cell)["omega"]]


def network(cell: str, hidden: int = 7, inputs: int = 3, **options: Any) -> fastbptt.Recurrent:
    alpha = options.pop("alpha", 0.3 if _core.cell_info(cell)["setting"] else None)
    outputs = options.pop("outputs", 2)
    return fastbptt.Recurrent(cell, inputs, hidden, outputs, alpha=alpha, seed=1, **options)


def of(cell: str, names: Any = STRENGTHS) -> dict[str, float]:
    """Those penalties that the cell has."""
    return {name: STRENGTHS[name] for name in names if name != "omega" or cell in ABLE}


def expected(
    model: fastbptt.Recurrent, x: Any, y: Any, given: dict[str, float], **call: Any
) -> tuple[float, dict[str, Any], dict[str, Any]]:
    setting = {"alpha": np.array(model._spec.setting)} if model._spec.setting else None
    params = {name: np.array(v, np.float64) for name, v in model.parameters.items()}
    return reference.penalised_loss_and_grad(
        params, x, y, given, "mse", **call, cell=model.cell, num_layers=model.num_layers,
        bidirectional=model.bidirectional, settings=setting,
    )  # fmt: skip


def check(model: fastbptt.Recurrent, given: dict[str, float], x: Any, y: Any, **call: Any) -> None:
    tolerance = call.pop("tolerance", 1e-10 if model.dtype == np.float64 else 3e-4)
    budget = call.pop("memory_budget", None)
    value, terms, slopes = expected(model, x, y, given, **call)
    loss, grads = model.loss_and_grad(x, y, "mse", **call, **given, memory_budget=budget)
    assert loss == pytest.approx(value, rel=tolerance)
    assert model.last_penalties is not None
    assert list(model.last_penalties) == list(given)
    for name, term in terms.items():
        assert model.last_penalties[name] == pytest.approx(float(term), rel=tolerance), name
    for name in grads:
        scale = np.abs(slopes[name]).max()
        np.testing.assert_allclose(
            grads[name], slopes[name], rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


def data(steps: str, outputs: int, batch: int = 5, time: int = 6, inputs: int = 3) -> Any:
    rng = np.random.default_rng(3)
    shape = (batch, time, outputs) if steps == "all" else (batch, outputs)
    return rng.normal(size=(batch, time, inputs)), rng.normal(size=shape)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("hidden", [7, 45])
@pytest.mark.parametrize("readout", [True, False])
def test_like_the_reference(cell: str, dtype: str, steps: str, hidden: int, readout: bool) -> None:
    """In lanes and in panels."""
    model = network(cell, hidden, dtype=dtype, outputs=2 if readout else None)
    x, y = data(steps, 2 if readout else hidden)
    lengths = np.array([6, 1, 4, 6, 2])
    check(model, of(cell), x, y, steps=steps)
    check(model, of(cell), x, y, steps=steps, lengths=lengths)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("readout", [True, False])
def test_layers_and_directions(
    cell: str, layers: int, bidirectional: bool, steps: str, readout: bool
) -> None:
    options: dict[str, Any] = {"num_layers": layers, "bidirectional": bidirectional}
    outputs = 2 if readout else None
    model = network(cell, 5, dtype="float64", outputs=outputs, **options)
    x, y = data(steps, outputs or 5 * (1 + bidirectional))
    check(model, of(cell), x, y, steps=steps, lengths=np.array([3, 6, 6, 1, 4]))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("hidden", [6, 50])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_resets(cell: str, hidden: int, steps: str) -> None:
    model = network(cell, hidden, dtype="float64", num_layers=2, learn_initial_state=True)
    x, y = data(steps, 2)
    resets = np.random.default_rng(1).random((5, 6)) < 0.3
    check(model, of(cell), x, y, steps=steps, resets=resets, lengths=np.array([3, 6, 6, 1, 4]))


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("cell", ABLE)
def test_each_alone(cell: str, name: str) -> None:
    model = network(cell, dtype="float64", num_layers=2)
    x, y = data("last", 2)
    check(model, of(cell, [name]), x, y)


@pytest.mark.parametrize("hidden", [7, 45])
def test_omega_with_an_alpha_of_each_unit(hidden: int) -> None:
    model = network("leaky", hidden, dtype="float64", alpha=np.linspace(0.1, 0.9, hidden))
    check(model, of("leaky"), *data("all", 2), steps="all")


@pytest.mark.parametrize("cell", ["rnn", "leaky", "gru"])
@pytest.mark.parametrize("hidden", [6, 50])
@pytest.mark.parametrize("steps", ["last", "all", "max", "mean"])
@pytest.mark.parametrize("readout", [True, False])
def test_memory_budget_changes_no_bit(cell: str, hidden: int, steps: str, readout: bool) -> None:
    model = network(cell, hidden, dtype="float64", num_layers=2, outputs=2 if readout else None)
    x, y = data(steps, 2 if readout else hidden, batch=30, time=300)
    lengths = np.random.default_rng(2).integers(1, 301, 30)
    least = model.minimum_memory(30, 300, steps=steps, activity=True)
    found = []
    for budget in (None, least):
        loss, grads = model.loss_and_grad(
            x, y, "mse", steps, lengths=lengths, memory_budget=budget, **of(cell)
        )
        found.append((loss, grads.flat.tobytes(), model.last_penalties))
    assert found[0] == found[1]
    assert model.last_report is not None
    assert model.last_report.segments > 1
    assert model.last_report.bytes <= least
    check(model, of(cell), x, y, steps=steps, lengths=lengths, memory_budget=least)


@pytest.mark.parametrize("cell", ["rnn", "leaky", "lstm"])
@pytest.mark.parametrize(("batch", "hidden"), [(2, 400), (64, 128), (64, 20)])
def test_threads_change_no_bit(cell: str, batch: int, hidden: int) -> None:
    """Where threads share the units, too."""
    before, found = fastbptt.get_num_threads(), []
    x, y = data("last", 2, batch, 40)
    model = network(cell, hidden, num_layers=2)
    for count in (1, 2, 3):
        fastbptt.set_num_threads(count)
        _, grads = model.loss_and_grad(x, y, "mse", **of(cell))
        found.append((grads.flat.tobytes(), model.last_penalties))
    fastbptt.set_num_threads(before)
    assert found[1:] == found[:1] * 2
    check(model, of(cell), x, y)


def test_off_changes_no_bit() -> None:
    """Nor does a workspace remember them."""
    model = network("leaky", 50)
    x, y = data("last", 2)
    _, plain = model.loss_and_grad(x, y, "mse")
    model.loss_and_grad(x, y, "mse", **STRENGTHS)
    _, again = model.loss_and_grad(x, y, "mse")
    assert again.flat.tobytes() == plain.flat.tobytes()
    model.loss_and_grad(x, y, "mse", **STRENGTHS)
    out = model.forward(x)
    by_hand = model.backward(out, d_last=2 * (out.last - y) / y.size)
    np.testing.assert_allclose(by_hand.flat, plain.flat, rtol=1e-4, atol=1e-6)


def test_dropout_and_bfloat16() -> None:
    model = network("lstm", 50, num_layers=2, dropout=0.5)
    x, y = data("all", 2)
    twin = model.copy()
    _, grads = model.loss_and_grad(x, y, "mse", "all", **of("lstm"))
    _, again = twin.loss_and_grad(x, y, "mse", "all", **of("lstm"))
    assert grads.flat.tobytes() == again.flat.tobytes()
    assert model.last_penalties == twin.last_penalties
    if fastbptt._core.active_backend() in fastbptt._core.bfloat16_backends():
        rounded = network("gru", 50, precision="bfloat16")
        rounded.loss_and_grad(x, y, "mse", "all", **of("gru"))
        exact = network("gru", 50)
        exact.loss_and_grad(x, y, "mse", "all", **of("gru"))
        assert rounded.last_penalties == pytest.approx(exact.last_penalties, rel=0.02)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "leaky"])
def test_gradient_by_differences(cell: str) -> None:
    """Of the penalties on rates, with dropout: all of the network's own arithmetic."""
    model = network(cell, 6, dtype="float64", num_layers=2, dropout=0.4, bidirectional=True)
    x, y = data("last", 2)
    given = of(cell, ["activity_l1", "activity_l2", "activity_change_l2"])

    def total() -> float:
        twin = model.copy()
        loss, _ = twin.loss_and_grad(x, y, "mse", **given)
        assert twin.last_penalties is not None
        return loss + sum(twin.last_penalties.values())

    _, grads = model.copy().loss_and_grad(x, y, "mse", **given)
    for name, index in (("W_hh", (1, 2)), ("W_xh_l1", (2, 3)), ("W_hh_reverse", (0, 0))):
        view, h = model.parameters[name], 1e-6
        view[index] += h
        up = total()
        view[index] -= 2 * h
        slope = (up - total()) / (2 * h)
        view[index] += h
        assert grads[name][index] == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("cell", CELLS)
def test_reference_by_the_complex_step(cell: str) -> None:
    rng = np.random.default_rng(0)
    model = network(cell, 4, dtype="float64", num_layers=2, bidirectional=True)
    x, y = data("all", 2)
    lengths = np.array([6, 3, 1, 4, 5])
    network_ = {"cell": cell, "num_layers": 2, "bidirectional": True}
    if _core.cell_info(cell)["setting"]:
        network_["settings"] = {"alpha": 0.3}
    params = model.state_dict()
    given = of(cell, ["activity_l1", "activity_l2", "activity_change_l2"])

    def total(moved: dict[str, Any]) -> Any:
        loss = reference.loss_only(moved, x, y, "mse", "all", "mean", lengths, **network_)
        out = reference.forward(moved, x, lengths, **network_)
        exist = np.arange(6) < lengths[:, np.newaxis]
        goes_on = exist & (np.arange(6) > 0)
        hidden = reference.Network(**network_).hidden
        shown = np.stack([hidden(one) for one in out.states]) * exist[..., np.newaxis]
        return loss + sum(reference.activity_penalties(shown, exist, goes_on, **given)[0].values())

    _, _, grads = reference.penalised_loss_and_grad(
        params, x, y, given, "mse", "all", lengths=lengths, **network_
    )
    for name in params:
        direction = rng.normal(size=params[name].shape)
        moved = {**params, name: params[name] + 1e-30j * direction}
        slope = total(moved).imag / 1e-30
        assert (grads[name] * direction).sum() == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("cell", ABLE)
def test_omega_by_the_complex_step(cell: str) -> None:
    """With the signals that flow back, and the states, held fixed."""
    rng = np.random.default_rng(0)
    W_hh, before, d_gates, d_states = (
        rng.normal(size=shape) for shape in ((4, 4), (3, 5, 4), (3, 5, 4), (3, 5, 4))
    )
    d_gates[1, 2] = d_states[1, 2] = 0.0
    goes_on = rng.random((3, 5)) < 0.8
    given = (before, d_gates, d_states, goes_on, cell, 0.3)
    _, gradient = reference.omega_term(W_hh, *given)
    for i in range(4):
        for j in range(4):
            moved = W_hh.astype(complex)
            moved[i, j] += 1e-30j
            slope = reference.omega_term(moved, *given)[0].imag / 1e-30
            assert gradient[i, j] == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("cell", ABLE)
def test_signals_are_those_that_flow_back(cell: str) -> None:
    """Omega's signals are what `diagnose` records, and its sum is that of the paper's formula."""
    model = network(cell, 6, dtype="float64")
    x, y = data("last", 2)
    W_hh, alpha = model.parameters["W_hh"], 0.3
    arrays = {
        "d_hidden": np.zeros((1, 5, 6, 6)),
        "d_gates": np.zeros((1, 1, 5, 6, 6)),
        "saved": np.zeros((1, _core.cell_info(cell)["saved"], 5, 6, 6)),
    }
    batch, objective = model._checked(
        x, y, "mse", "last", "mean", None, None, None, True, unlimited=0, warmup=0, resets=None,
        static=None,
    )  # fmt: skip
    to = model._gradient_targets(x.shape, False)
    model._engine.loss_and_grad(batch, objective, to, fastbptt._core.Probes(**arrays), 0)
    h, total = arrays["saved"][0, 0], 0.0
    for b in range(5):
        for t in range(1, 6):
            if _core.cell_info(cell)["setting"]:
                d = arrays["d_hidden"][0, b, t]
                jacobian = (1 - alpha) * np.eye(6)
                slope = alpha * SLOPES[cell](arrays["saved"][0, 1, b, t])
                jacobian = jacobian + slope[:, np.newaxis] * W_hh.T
            else:
                d = arrays["d_gates"][0, 0, b, t]
                slope = 1 - h[b, t - 1] ** 2 if cell == "rnn" else (h[b, t - 1] > 0).astype(float)
                jacobian = W_hh.T * slope
            size = np.linalg.norm(d)
            if size > 0:
                total += (np.linalg.norm(d @ jacobian) / size - 1) ** 2
    model.loss_and_grad(x, y, "mse", omega=0.7)
    assert model.last_penalties is not None
    assert model.last_penalties["omega"] == pytest.approx(0.7 * total / 5, rel=1e-12)


def test_omega_of_gradients_that_vanish() -> None:
    """Norms whose squares are no numbers any more count; where no gradient arrives, none does."""
    for dtype, time in (("float32", 60), ("float64", 600)):
        model = network("rnn", 50, dtype=dtype)
        model.parameters["W_hh"] = 0.3 * np.eye(50)
        x, y = data("last", 2, 3, time)
        # single elements below the smallest normal number are zero in the core
        check(model, {"omega": 0.1}, x, y, tolerance=1e-3 if dtype == "float32" else 1e-5)
        model.parameters["W_hh"] = np.zeros((50, 50))
        model.loss_and_grad(x, y, "mse", omega=1.0)
        assert model.last_penalties == {"omega": pytest.approx(1.0)}


def test_omega_keeps_gradients_alive() -> None:
    """Training with it brings the ratios of norms closer to 1."""
    x, y = data("last", 2, 20, 30)
    found = []
    for omega in (None, 0.5):
        model = network("rnn", 20)
        adam = fastbptt.Adam(0.003)
        for _ in range(100):
            model.train_step(x, y, adam, "mse", omega=omega)
        model.loss_and_grad(x, y, "mse", omega=1.0)
        assert model.last_penalties is not None
        found.append(model.last_penalties["omega"])
    assert found[1] < 0.5 * found[0]


def test_chunks_report_their_mean() -> None:
    model, other = (network("leaky", 6, dtype="float64") for _ in range(2))
    x, y = data("all", 2)
    sgd, twin = fastbptt.SGD(0.1), fastbptt.SGD(0.1)
    model.train_step(x, y, sgd, "mse", "all", bptt_steps=4, **STRENGTHS, l2={"W_hh": 0.1})
    state, terms = other.initial_state(5), []
    for part in (slice(0, 4), slice(4, 6)):
        other.train_step(
            x[:, part], y[:, part], twin, "mse", "all", state=state, **STRENGTHS, l2={"W_hh": 0.1}
        )
        assert other.last_penalties is not None
        terms.append(other.last_penalties)
    assert model.parameters.flat.tobytes() == other.parameters.flat.tobytes()
    assert model.last_penalties is not None
    for name, value in model.last_penalties.items():
        assert value == pytest.approx(np.mean([one[name] for one in terms]), rel=1e-14)


def test_history_has_them_by_name() -> None:
    model = network("rnn")
    x, y = data("last", 2)
    history = fastbptt.fit(model, x, y, loss="mse", epochs=2, verbose=0, **STRENGTHS)
    assert set(STRENGTHS) <= set(history.curves)
    with pytest.raises(ValueError, match=r"omega is 0\.2; expected None because loss is a func"):
        fastbptt.fit(model, x, y, loss=lambda z, y: (0.0, 0 * z), epochs=1, verbose=0, omega=0.2)


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    path, (x, y) = tmp_path / "run.safetensors", data("last", 2)
    given: dict[str, Any] = {"loss": "mse", "epochs": 4, "batch_size": 2, "verbose": 0, **STRENGTHS}
    whole, halves, resumed = (network("rnn") for _ in range(3))
    curves = fastbptt.fit(whole, x, y, **given)
    fastbptt.fit(halves, x, y, **{**given, "epochs": 2}, checkpoint=path)
    with pytest.raises(ValueError, match="omega"):
        fastbptt.fit(network("rnn"), x, y, **{**given, "omega": 0.3}, checkpoint=path, resume=True)
    again = fastbptt.fit(resumed, x, y, **given, checkpoint=path, resume=True)
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()
    assert again["omega"] == curves["omega"]


@pytest.mark.parametrize("name", STRENGTHS)
def test_refused(bench: Bench, name: str) -> None:
    model, adam = bench.model, bench.adam
    assert tuple(STRENGTHS) == _penalties.OF_STATES
    for given, error, words in (
        (0.0, ValueError, " is 0.0; expected a number from 1.18e-38"),
        (-1.0, ValueError, " is -1.0; expected a number from"),
        (np.inf, ValueError, " is inf; expected a number from"),
        ({"W_hh": 1.0}, TypeError, " is {'W_hh': 1.0}; expected a number from"),
    ):
        with bench.refuses_with(error, name + words):
            model.train_step(bench.x, bench.y, adam, **{name: given})
        with bench.refuses_with(error, name + words):
            fastbptt.fit(model, bench.x, bench.y, optimizer=adam, **{name: given})


def test_omega_refused() -> None:
    x, y = data("last", 2)
    with pytest.raises(
        ValueError,
        match=r'omega is given for the cell "gru"; expected None: it is defined for cells with a '
        r'single pre-activation, "rnn", "relu", "leaky"',
    ):
        network("gru").loss_and_grad(x, y, "mse", omega=1.0)
    model = network("rnn")
    model.freeze("W_hh")
    with pytest.raises(ValueError, match="omega is given, but W_hh are frozen; expected"):
        model.train_step(x, y, fastbptt.Adam(), "mse", omega=1.0)


@pytest.mark.parametrize("name", ["activity_change_l2", "omega"])
def test_refused_where_no_step_has_one_before_it(bench: Bench, name: str) -> None:
    words = rf"{name} is given with bptt_steps=1, so that no step has one before it; expected None"
    with bench.refuses_with(ValueError, words):
        bench.model.train_step(bench.x, bench.y, bench.adam, bptt_steps=1, **{name: 0.1})
    with bench.refuses_with(ValueError, words):
        given = {"optimizer": bench.adam, "bptt_steps": 1, name: 0.1}
        fastbptt.fit(bench.model, bench.x, bench.y, **given)
