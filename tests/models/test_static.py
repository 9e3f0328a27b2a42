"""Static inputs: constants of each sequence, mapped into its initial state."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Case, Problem, build
from networks import close, model_of, parts

import fastbptt
from fastbptt import _core, reference

BACKENDS = [one.name for one in fastbptt.backends() if one.usable]
GRID: dict[str, tuple[Any, ...]] = {
    "cell": CELLS,
    "num_layers": (1, 2),
    "bidirectional": (False, True),
    "learn_initial_state": (False, True),
    "with_lengths": (False, True),
    "steps": ("last", "all", "mean", "max"),
    "static_size": (1, 3),
    "embedding": (None, 7),
}
CASES = [
    Case(B=5, T=4, I=3, H=7, O=2, loss="mse", seed=k, **dict(zip(GRID, chosen, strict=True)))
    for k, chosen in enumerate([*itertools.product(*GRID.values())][::41])
]


def expected(problem: Problem, **changes: Any) -> tuple[Any, dict[str, Any]]:
    changed = replace(problem, **changes)
    return reference.loss_and_grad(
        changed.params, changed.x, changed.y, **changed.loss_args, **changed.network
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_by_complex_step(case: Case) -> None:
    problem = build(case)
    _, grads = expected(problem)
    for name in [name for name in problem.params if name.startswith(("W_s", "W_xh"))]:
        direction = np.random.default_rng(1).normal(size=problem.params[name].shape)
        moved = {**problem.params, name: problem.params[name] + 1e-30j * direction}
        args, network = problem.loss_args, problem.network
        loss: Any = reference.loss_only(moved, problem.x, problem.y, **args, **network)
        slope = (grads[name] * direction).sum()
        assert loss.imag / 1e-30 == pytest.approx(slope, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_reference(backend: str, dtype: str) -> None:
    before, threads = _core.active_backend(), fastbptt.get_num_threads()
    rel = 1e-11 if dtype == "float64" else 3e-5
    try:
        _core.use_backend(backend)
        for case in CASES:
            problem = build(case, dtype)
            model = model_of(case, dtype)
            model.load_state_dict(problem.params)
            args = {**problem.loss_args, "static": problem.static}
            results = []
            for team in (1, 2, 3):
                fastbptt.set_num_threads(team)
                value, grads = model.loss_and_grad(problem.x, problem.y, **args)
                results.append((value, grads.flat.tobytes()))
            assert len(set(results)) == 1
            if not case.bidirectional:
                budget = model.memory_needed(case.B, case.T)
                again, kept = model.loss_and_grad(
                    problem.x, problem.y, **args, memory_budget=2 * budget
                )
                assert (again, kept.flat.tobytes()) == results[0]
            wide = problem.astype(np.float64)
            loss, whole = expected(wide)
            assert value == pytest.approx(loss, rel=rel)
            for name in model.parameters:
                close(grads[name], whole[name], rel)
            out = model.forward(problem.x, problem.lengths, static=problem.static)
            found = reference.forward(wide.params, wide.x, **wide.forward_args, **wide.network)
            close(out.outputs, found.outputs, rel)
            d_last = np.random.default_rng(0).normal(size=out.last.shape)
            back = model.backward(out, d_last=d_last)
            both = reference.backward(
                wide.params, wide.x, found, d_last=d_last, **wide.forward_args, **wide.network
            )
            for name in model.parameters:
                close(back[name], both[name], rel)
    finally:
        _core.use_backend(before)
        fastbptt.set_num_threads(threads)


def test_enough_work_for_threads() -> None:
    """Shares of the sequences that differ, and strides of any kind."""
    rng = np.random.default_rng(0)
    model = fastbptt.LSTM(8, 96, 2, static_size=3, num_layers=2, seed=0)
    x, y = rng.normal(size=(64, 20, 8)).astype("f"), rng.normal(size=(64, 2))
    static, threads = rng.normal(size=(3, 128)).T[::-2], fastbptt.get_num_threads()
    lengths, found = rng.integers(1, 21, 64), set()
    try:
        for team in (1, 2, 3):
            fastbptt.set_num_threads(team)
            grads = model.loss_and_grad(x, y, "mse", lengths=lengths, static=static)[1]
            found.add(grads.flat.tobytes())
    finally:
        fastbptt.set_num_threads(threads)
    assert len(found) == 1
    h, c = model.initial_state(64, static=static)
    own = model.loss_and_grad(x, y, "mse", lengths=lengths, h0=(h, c))[1]
    close(own["W_xh"], grads["W_xh"], 1e-5)
    assert not own["W_sh"].any() and not own["W_sc"].any()
    for name, d in zip(("W_sh", "W_sc"), parts(own.h0), strict=True):
        close(grads[name], static.T @ np.moveaxis(d, 1, 0).reshape(64, -1), 1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_initial_state(cell: str) -> None:
    options: dict[str, Any] = {"alpha": 0.5} if cell.startswith("leaky") else {}
    model = fastbptt.Recurrent(
        cell, 3, 5, 2, num_layers=2, static_size=2, learn_initial_state=True, dtype="float64",
        seed=0, **options,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for values in model.parameters.values():
        values[...] = rng.normal(size=values.shape) / 3
    x, static = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 2))
    state = model.initial_state(4, static=static)
    whole = model.forward(x, static=static)
    close(model.forward(x, h0=state).outputs, whole.outputs, 1e-13)
    found = np.stack([model.step(x[:, t], state) for t in range(6)], axis=1)
    close(found, whole.outputs, 1e-12)


def test_half_of_a_state() -> None:
    """Of an LSTM, what is not given is mapped."""
    model = fastbptt.LSTM(2, 3, 1, static_size=2, dtype="float64", seed=0)
    x, static = np.ones((4, 5, 2)), np.random.default_rng(0).normal(size=(4, 2))
    h, c = model.initial_state(4, static=static)
    one = model.forward(x, h0=(h, None), static=static).outputs
    close(one, model.forward(x, h0=(h, c)).outputs, 1e-14)
    grads = model.loss_and_grad(x, np.ones(4), h0=(h, None), static=static)[1]
    assert not grads["W_sh"].any() and grads["W_sc"].all()


@pytest.mark.parametrize("steps", ["last", "all"])
def test_chunks(steps: str) -> None:
    """Truncated BPTT: the first chunk begins there, and trains the map."""
    rng = np.random.default_rng(0)
    x, static = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 2))
    y = rng.normal(size=(4, 1) if steps == "last" else (4, 6, 1))
    model = fastbptt.GRU(2, 3, 1, static_size=2, dtype="float64", seed=0)
    twin, before = model.copy(), model.parameters["W_sh"].copy()
    sgd, own = fastbptt.SGD(0.1), fastbptt.SGD(0.1)
    model.train_step(x, y, sgd, "mse", steps, bptt_steps=3, static=static)
    state = twin.initial_state(4, static=static)
    if steps == "last":
        state = twin.forward(x[:, :3], static=static).final_state
        twin.train_step(x[:, 3:], y, own, "mse", state=state)
        assert (model.parameters["W_sh"] == before).all()
    else:
        ends = twin.copy().forward(x[:, :3], static=static).final_state
        twin.train_step(x[:, :3], y[:, :3], own, "mse", "all", static=static)
        twin.train_step(x[:, 3:], y[:, 3:], own, "mse", "all", state=ends)
        assert (model.parameters["W_sh"] != before).any()
    close(model.parameters.flat, twin.parameters.flat, 1e-13)


@pytest.mark.parametrize("way", ["file", "copy", "pickle"])
def test_goes_with_copies(way: str, tmp_path: Path) -> None:
    model = fastbptt.LSTM(2, 4, 1, static_size=3, bidirectional=True, seed=0)
    assert repr(model).startswith("LSTM(2, 4, 1, bidirectional=True, static_size=3, ")
    assert (model.static_size, fastbptt.RNN(2, 3).static_size) == (3, None)
    model.freeze("W_sc")
    adam = fastbptt.Adam()
    x, y, static = np.ones((4, 5, 2)), np.ones(4), np.eye(4)[:, :3]
    model.train_step(x, y, adam, static=static)
    model.save(tmp_path / "m", adam)
    twin = {
        "file": lambda: fastbptt.load(tmp_path / "m"),
        "copy": model.copy,
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
    }[way]()
    own = fastbptt.load_optimizer(tmp_path / "m")
    frozen = model.parameters["W_sc"].copy()
    for one, optimizer in ((model, adam), (twin, own)):
        one.train_step(x, y, optimizer, static=static)
    assert twin.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert (model.parameters["W_sc"] == frozen).all()


def test_weights_are_drawn_as_of_a_linear_layer() -> None:
    for init, limit in (("torch", 4**-0.5), ("keras", (6 / (4 + 400)) ** 0.5)):
        drawn = fastbptt.RNN(2, 400, 1, static_size=4, init=init, seed=0).parameters["W_sh"]
        assert drawn.shape == (4, 400)
        assert 0.95 * limit < np.abs(drawn).max() <= limit


SHAPE = "expected (4, 2): (batch, static_size), or the whole initial state"


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "initial_state"])
def test_no_initial_state_is_advised_where_none_is_taken(call: str) -> None:
    model = fastbptt.RNN(2, 3, 1, static_size=2, seed=0)
    x, y = np.ones((4, 5, 2)), np.ones(4)
    calls: dict[str, Any] = {
        "fit": lambda: fastbptt.fit(model, x, y, loss="mse"),
        "evaluate": lambda: fastbptt.evaluate(model, x, y, loss="mse"),
        "predict": lambda: fastbptt.predict(model, x),
        "initial_state": lambda: model.initial_state(4),
    }
    with pytest.raises(TypeError) as raised:
        calls[call]()
    assert str(raised.value) == "static is None; expected (4, 2): (batch, static_size)"


def test_wrong_static() -> None:
    model = fastbptt.LSTM(2, 3, 1, static_size=2, seed=0)
    plain = fastbptt.LSTM(2, 3, 1, seed=0)
    x, y, static = np.ones((4, 5, 2)), np.ones(4), np.ones((4, 2))
    state = plain.initial_state(4)
    bad = static.copy()
    bad[2, 1] = np.nan
    adam = fastbptt.Adam()
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (model, {}, f"static is None; {SHAPE}"),
        (model, {"h0": (state[0], None)}, f"static is None; {SHAPE}"),
        (
            model,
            {"static": static, "h0": state},
            "static is an array of shape (4, 2); expected None because the whole initial state "
            "is given",
        ),
        (
            model,
            {"static": static[:3]},
            "static has shape (3, 2); expected (4, 2): (batch, static_size)",
        ),
        (
            model,
            {"static": "age"},
            "static has dtype <U3; expected real numbers (float32 or float64)",
        ),
        (model, {"static": bad}, "static[2, 1] is nan; expected a finite number"),
        (
            plain,
            {"static": static},
            "static is an array of shape (4, 2); expected None: the model takes no constants",
        ),
    ]
    for one, options, message in wrong:
        before = one.parameters.flat.tobytes()
        for call in (
            lambda o, k: o.loss_and_grad(x, y, **k),
            lambda o, k: o.loss(x, y, **k),
            lambda o, k: o.forward(x, **k),
            lambda o, k: o.train_step(x, y, adam, **k),
        ):
            with pytest.raises((ValueError, TypeError)) as caught:
                call(one, options)
            if "nan" not in message and "dtype" not in message:
                assert str(caught.value) == message
            assert str(caught.value).startswith("static")
        assert one.parameters.flat.tobytes() == before
    assert adam.step_count == 0
    with pytest.raises(ValueError, match="static and state are both given; expected one of them"):
        model.train_step(x, y, adam, static=static, state=state)
    model.train_step(x, y, adam, state=state)
    model.train_step(x, y, adam, static=bad.astype("f") * 0 + 1, check_finite=False)
    with pytest.raises(TypeError, match="static is None"):
        model.initial_state(4)
    for size in (0, -1, 2.5, True):
        with pytest.raises((ValueError, TypeError), match="static_size is"):
            fastbptt.RNN(2, 3, static_size=size)  # type: ignore[arg-type]


def test_the_core_wants_it_too() -> None:
    model = fastbptt.RNN(2, 3, 1, static_size=2, seed=0)
    with pytest.raises(ValueError, match="static is missing"):
        model._engine.forward(_core.Batch(np.ones((4, 5, 2))))
    plain = fastbptt.RNN(2, 3, 1, seed=0)
    with pytest.raises(ValueError, match="static has shape"):
        plain._engine.forward(_core.Batch(np.ones((4, 5, 2)), static=np.ones((4, 2))))
