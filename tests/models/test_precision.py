"""``precision="bfloat16"``: operands of the layers' products are rounded, nothing else is."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Array

import fastbptt
from fastbptt import _core, bench
from fastbptt.bench.case import PRESETS

ABLE = [name for name, _, usable in fastbptt.backends() if usable]
ABLE = [name for name in _core.bfloat16_backends() if name in ABLE]
OTHERS = [name for name, _, usable in fastbptt.backends() if usable and name not in ABLE]
needs_bfloat16 = pytest.mark.skipif(not ABLE, reason="no usable instruction set has bfloat16")


@pytest.fixture(autouse=True)
def _same_machine_afterwards() -> Iterator[None]:
    backend, threads = _core.active_backend(), fastbptt.get_num_threads()
    if ABLE:
        _core.use_backend(ABLE[0])
    yield
    _core.use_backend(backend)
    fastbptt.set_num_threads(threads)


def make(cell: str, *sizes: int | None, precision: str = "bfloat16", **options: Any) -> Any:
    alpha = 0.3 if cell.startswith("leaky") else None
    options |= {"alpha": alpha, "precision": precision, "seed": 3}
    return fastbptt.Recurrent(cell, *sizes, **options)  # type: ignore[arg-type]


def rounded(a: Array) -> Array:
    """To the nearest bfloat16, ties to even."""
    bits = a.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def emulated(model: Any, x: Array, y: Array, lengths: Array) -> tuple[float, dict[str, Array]]:
    """A tanh RNN with the mean squared error of all steps: products of rounded operands."""
    p = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    batch, time = x.shape[:2]
    real = (np.arange(time) < lengths[:, np.newaxis])[..., np.newaxis]
    h, states = np.zeros((batch, len(p["W_hh"]))), []
    for t in range(time):
        a = rounded(x[:, t]) @ rounded(p["W_xh"]) + rounded(h) @ rounded(p["W_hh"]) + p["b_h"]
        states.append(h := np.tanh(a))
    hidden = np.stack(states, axis=1)
    error = (hidden @ p["W_hy"] + p["b_y"] - y) * real
    count = lengths.sum() * y.shape[2]
    dy = 2 * error / count
    grads = {name: np.zeros_like(value) for name, value in p.items()}
    grads["W_hy"], grads["b_y"] = np.einsum("bth,bto->ho", hidden, dy), dy.sum((0, 1))
    grads["x"], dh = np.zeros(x.shape), np.zeros_like(h)
    for t in reversed(range(time)):
        gate = (dh + dy[:, t] @ p["W_hy"].T) * (1 - hidden[:, t] ** 2) * real[:, t]
        before = hidden[:, t - 1] if t else np.zeros_like(h)
        grads["W_xh"] += rounded(x[:, t]).T @ rounded(gate)
        grads["W_hh"] += rounded(before).T @ rounded(gate)
        grads["b_h"] += gate.sum(0)
        grads["x"][:, t] = rounded(gate) @ rounded(p["W_xh"]).T
        dh = rounded(gate) @ rounded(p["W_hh"]).T
    return float((error**2).sum() / count), grads


def batch(sizes: tuple[int, int, int, int], seed: int = 0) -> tuple[Array, Array, Array]:
    """x, y of all steps, lengths of which one is the whole time."""
    b, t, i, o = sizes
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(b, t, i)).astype("f4"), rng.normal(size=(b, t, o)).astype("f4")
    lengths = rng.integers(1, t + 1, b)
    lengths[b // 2] = t
    return x, y, lengths


def gradients(model: Any, x: Array, y: Array, **options: Any) -> tuple[float, dict[str, Array]]:
    tokens = x.dtype.kind == "i"
    loss, grads = model.loss_and_grad(x, y, "mse", "all", need_input_grad=not tokens, **options)
    found = dict(grads)
    if not tokens:
        found["x"] = grads.x
    for i, h0 in enumerate(grads.h0 if isinstance(grads.h0, tuple) else (grads.h0,)):
        found[f"initial {i}"] = h0
    return loss, found


def distance(got: Array, expected: Array) -> float:
    """Length of the error, relative."""
    scale = max(float(np.linalg.norm(expected)), 1e-6)
    return float(np.linalg.norm(got - expected)) / scale


@needs_bfloat16
@pytest.mark.parametrize(
    ("b", "t", "i", "h", "o", "bound"),
    [
        (1, 1, 1, 1, 1, 1e-6),
        (3, 5, 7, 9, 2, 1e-6),
        (5, 9, 65, 33, 3, 1e-6),
        # among many states one is on the edge of two roundings, and falls to either side
        (6, 20, 16, 64, 1, 5e-4),
        (67, 12, 129, 131, 1, 5e-4),
    ],
)
def test_the_operands_and_only_they_are_rounded(
    b: int, t: int, i: int, h: int, o: int, bound: float
) -> None:
    model = make("rnn", i, h, o)
    x, y, lengths = batch((b, t, i, o))
    loss, found = gradients(model, x, y, lengths=lengths)
    expected_loss, expected = emulated(model, x, y, lengths)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for name, right in expected.items():
        assert distance(found[name], right) < bound, name
    plain = make("rnn", i, h, o, precision="float32")
    _, unlike = gradients(plain, x, y, lengths=lengths)
    assert h == 1 or distance(found["W_hh"], unlike["W_hh"]) > 1e-3


KINDS = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True},
]


@needs_bfloat16
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_network_is_near_float32(cell: str, options: dict[str, Any]) -> None:
    for b, t, i, h in ((7, 9, 5, 33), (33, 7, 70, 129)):
        x, y, lengths = batch((b, t, i, 3))
        models = [make(cell, i, h, 3, precision=p, **options) for p in ("bfloat16", "float32")]
        for model in models:
            if cell == "relu":  # all units on: a rounding that switches one is no small error
                for name, value in model.parameters.items():
                    value[...] += 3.0 * name.startswith("b_h")
        for given in (None, lengths):
            (loss, found), (near, expected) = [
                gradients(model, x, y, lengths=given) for model in models
            ]
            assert loss == pytest.approx(near, rel=5e-3)
            errors = {name: distance(found[name], right) for name, right in expected.items()}
            # what is left of the gradients of a ReLU is a small difference of large numbers
            assert max(errors.values()) < (0.1 if cell == "relu" else 0.01), errors
            assert errors["W_hh"] > 1e-4  # it was rounded at all


@needs_bfloat16
@pytest.mark.parametrize("cell", CELLS)
def test_tokens_dropout_and_a_learned_state(cell: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 11, (9, 6)), rng.normal(size=(9, 6, 21)).astype("f4")
    options = {"num_layers": 2, "dropout": 0.4, "learn_initial_state": True, "embedding": 11}
    found, expected = (
        gradients(make(cell, 5, 21, None, precision=p, **options), x, y, training=True)[1]
        for p in ("bfloat16", "float32")
    )
    bound = 0.3 if cell == "relu" else 0.01
    assert all(distance(found[name], right) < bound for name, right in expected.items())


@needs_bfloat16
@pytest.mark.parametrize("cell", CELLS)
def test_a_backward_pass_of_ones_own_says_the_same(cell: str) -> None:
    model = make(cell, 7, 35, 2, num_layers=2)
    x, y, lengths = batch((5, 8, 7, 2))
    _, expected = gradients(model, x, y, lengths=lengths)
    result = model.forward(x, lengths)
    real = (np.arange(8) < lengths[:, np.newaxis])[..., np.newaxis]
    d_outputs = 2 * (result.outputs - y) * real / (2 * lengths.sum())
    grads = model.backward(result, d_outputs, need_input_grad=True)
    assert all(distance(grads[name], expected[name]) < 2e-3 for name in grads)
    assert distance(grads.x, expected["x"]) < 2e-3


@needs_bfloat16
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("cell", ["rnn", "gru_before", "lstm"])
def test_the_number_of_threads_changes_no_bit(cell: str, options: dict[str, Any]) -> None:
    x, y, lengths = batch((37, 41, 19, 2))
    seen = set()
    for threads in (1, 2, 3):
        fastbptt.set_num_threads(threads)
        model, adam = make(cell, 19, 67, 2, **options), fastbptt.Adam()
        for given in (None, lengths):
            model.train_step(x, y, adam, "mse", "all", lengths=given)
        _, found = gradients(model, x, y, lengths=lengths)
        seen.add(model.parameters.flat.tobytes() + found["x"].tobytes())
    assert len(seen) == 1


@needs_bfloat16
@pytest.mark.parametrize("cell", CELLS)
def test_a_memory_budget_changes_no_bit(cell: str) -> None:
    model = make(cell, 3, 19, 1)
    x, y, lengths = batch((33, 90, 3, 1))
    _, free = gradients(model, x, y, lengths=lengths)
    budget = model.minimum_memory(33, 90)
    _, tight = gradients(model, x, y, lengths=lengths, memory_budget=budget)
    assert model.last_report.segments > 1
    assert all(free[name].tobytes() == tight[name].tobytes() for name in free)


@needs_bfloat16
def test_it_learns_and_single_steps_are_float32() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6, 2)).astype("f4")
    y = (x[:, 1, 0] > 0).astype("f4")
    model, adam = make("lstm", 2, 17, 1), fastbptt.Adam(lr=0.01)
    losses = [model.train_step(x, y, adam) for _ in range(200)]
    assert losses[-1] < 0.2 * losses[0]
    plain = make("lstm", 2, 17, 1, precision="float32")
    plain.load_state_dict(model.state_dict())
    states = [each.initial_state(64) for each in (model, plain)]
    for t in range(6):
        a, b = (each.step(x[:, t], s) for each, s in zip((model, plain), states, strict=True))
        assert a.tobytes() == b.tobytes()


@needs_bfloat16
def test_copies_and_files_keep_it(tmp_path: Path) -> None:
    model = make("gru", 3, 4, 1)
    model.save(tmp_path / "m.safetensors")
    x = np.ones((2, 3, 3))
    loaded = fastbptt.load(tmp_path / "m.safetensors")
    for twin in (model.copy(), pickle.loads(pickle.dumps(model)), loaded):
        assert twin.precision == "bfloat16"
        assert 'precision="bfloat16"' in repr(twin)
        assert twin.forward(x).outputs.tobytes() == model.forward(x).outputs.tobytes()
    assert fastbptt.RNN(3, 4).precision == "float32"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"precision": "float16"},
            ValueError,
            'precision is "float16"; expected one of "float32", "bfloat16"',
        ),
        ({"precision": 16}, TypeError, 'precision is 16; expected one of "float32", "bfloat16"'),
        pytest.param(
            {"precision": "bfloat16", "dtype": "float64"},
            ValueError,
            'precision is "bfloat16"; expected "float32" because dtype=float64',
            marks=needs_bfloat16,
        ),
    ],
)
def test_a_wrong_precision_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        fastbptt.LSTM(3, 4, 1, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("isa", OTHERS)
def test_an_instruction_set_without_it_says_which_has_it(isa: str) -> None:
    _core.use_backend(isa)
    with pytest.raises(ValueError, match=f"instruction set {isa} has no products in bfloat16") as e:
        fastbptt.RNN(3, 4, precision="bfloat16")
    assert all(name in str(e.value) for name in _core.bfloat16_backends())
    assert 'expected "float32"' in str(e.value)


@needs_bfloat16
@pytest.mark.parametrize("isa", OTHERS)
def test_a_model_from_elsewhere_can_be_read_but_not_run(isa: str, tmp_path: Path) -> None:
    make("rnn", 3, 4, 1).save(tmp_path / "m.safetensors")
    _core.use_backend(isa)
    model: Any = fastbptt.load(tmp_path / "m.safetensors")
    before = model.state_dict()
    adam = fastbptt.Adam()
    for call in (
        lambda: model.forward(np.ones((2, 3, 3))),
        lambda: model.train_step(np.ones((2, 3, 3)), [0, 1], adam),
        lambda: model.memory_needed(2, 3),
    ):
        with pytest.raises(ValueError, match=f"because the instruction set {isa} has no"):
            call()
    plain = fastbptt.RNN(3, 4, 1)
    plain.load_state_dict(before)
    assert plain.forward(np.ones((2, 3, 3))).outputs.shape == (2, 3, 1)


@pytest.mark.slow
@needs_bfloat16
def test_the_benchmark_checks_it_and_says_what_the_share_is_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FASTBPTT_ISA", ABLE[0])  # for the processes that it starts
    case = PRESETS["tutorial"].with_(time=4, precision="bfloat16")
    result = bench.measure([case, case.with_(cell="relu")], ["numpy"], rounds=1)
    text = bench.write(result, "table")
    assert "bce, bfloat16" in text
    assert "peak is still the float32 peak" in text
