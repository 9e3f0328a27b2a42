"""States carried from call to call, from chunk to chunk and from step to step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import CELLS, Case, sampled
from networks import close, model_of, parts

import fastbptt
from fastbptt import reference

B, T, I, H, O = 4, 12, 3, 5, 2


def make(cell: str = "lstm", dtype: str = "float64", **options: Any) -> fastbptt.Recurrent:
    given = {"num_layers": 2, "O": O, **options}
    return model_of(Case(B, T, I, H, cell=cell, **given), dtype)


def batch(steps: str, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(B, T, I)), rng.normal(size=(B, T, O) if steps == "all" else (B, O))


def bits(state: Any) -> list[bytes]:
    return [part.tobytes() for part in parts(state)]


# ---------------------------------------------------------------- initial states


def test_zeros_keep_their_sign_in_any_batch() -> None:
    model = fastbptt.RNN(1, 8, nonlinearity="relu", seed=0)  # max(-0, 0) is -0 here
    model.load_state_dict(
        {
            name: np.full(a.shape, -0.0 if a.ndim == 1 else 1.0)
            for name, a in model.parameters.items()
        }
    )
    x, h0 = np.full((16, 2, 1), -0.0), np.full((1, 16, 8), -0.0)
    alone, among = model.forward(x[:1], h0=h0[:, :1]), model.forward(x, h0=h0)
    assert np.signbit(alone.outputs).all()
    assert among.outputs[:1].tobytes() == alone.outputs.tobytes()
    assert among.last[:1].tobytes() == alone.last.tobytes()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_state(cell: str, dtype: str) -> None:
    for both_ways, learned in itertools.product((False, True), repeat=2):
        model = make(cell, dtype, bidirectional=both_ways, learn_initial_state=learned)
        state = model.initial_state(7)
        names = reference.CELLS[cell].STATES
        assert isinstance(state, tuple) == (len(names) > 1)
        for name, part in zip(names, parts(state), strict=True):
            assert (part.shape, part.dtype) == ((4 if both_ways else 2, 7, H), dtype)
            assert not part.any()
            assert part.flags.c_contiguous and part.flags.writeable
            if learned:
                model.parameters[f"{name}0"] = np.arange(part.shape[0] * H).reshape(-1, H)
        if learned:
            for part in parts(model.initial_state(7)):
                assert (part == np.arange(part.shape[0] * H).reshape(-1, 1, H)).all()
                part[...] = 9.0
            assert model.parameters.flat.max() < 30


def test_learned_state_is_used_where_none_is_given() -> None:
    model = make(learn_initial_state=True)
    assert list(model.parameters)[-4:] == ["h0", "c0", "W_hy", "b_y"]
    assert not model.parameters["h0"].any()
    model.parameters["h0"] = np.full((2, H), 0.5)
    model.parameters["c0"] = np.full((2, H), -0.5)
    x, y = batch("last")
    given: Any = model.initial_state(B)
    assert model.forward(x).outputs.tobytes() == model.forward(x, h0=given).outputs.tobytes()
    _, used = model.loss_and_grad(x, y, "mse")
    _, unused = model.loss_and_grad(x, y, "mse", h0=given)
    for i, name in enumerate(("h0", "c0")):
        close(used[name], used.h0[i].sum(axis=1))
        assert used[name].any()
        assert not unused[name].any()
        close(unused.h0[i], used.h0[i])


def test_learned_state_is_learned() -> None:
    model = fastbptt.GRU(1, 8, 1, learn_initial_state=True, seed=0)
    adam = fastbptt.Adam(lr=0.05)
    x, y = np.zeros((4, 3, 1)), np.full(4, 3.0)
    for _ in range(200):
        loss = model.train_step(x, y, adam, "mse")
    assert loss < 1e-3
    assert model.parameters["h0"].any()


# ---------------------------------------------------------------- one step at a time


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 1, "O": None}, {"bias": False}])
def test_steps_equal_one_pass(cell: str, dtype: str, options: dict[str, Any]) -> None:
    model = make(cell, dtype, **options)
    x, _ = batch("all")
    out = model.forward(x)
    state = model.initial_state(B)
    kept = parts(state)
    outputs = [model.step(x[:, t], state) for t in range(T)]
    limit = 1e-12 if dtype == "float64" else 2e-6
    close(np.stack(outputs, axis=1), out.outputs, limit)
    for part, expected in zip(kept, parts(out.final_state), strict=True):
        close(part, expected, limit)
    assert all(y.dtype == dtype and y.flags.owndata for y in outputs)


def test_input_of_a_step_may_be_anything_like_an_array() -> None:
    model = make("gru", "float32")
    x = np.arange(B * I).reshape(B, I) % 3 - 1
    raw = np.zeros(x.size * 4 + 1, np.uint8)
    odd = raw[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    expected = None
    for given in (
        x.astype(np.float32),
        x.astype(np.float64),
        x,
        x.tolist(),
        odd,
        np.asfortranarray(x.astype(np.float32)),
        x.astype(">f4"),
        np.broadcast_to(x.astype(np.float32), (1, B, I))[0],
    ):
        state = model.initial_state(B)
        got = model.step(given, state).tobytes(), bits(state)
        assert expected in (None, got)
        expected = got


def test_a_network_may_read_its_own_state() -> None:
    """x_t that shares memory with the state is read before the state changes."""
    for cell in CELLS:
        model = model_of(Case(B, 1, 40, 40, None, cell=cell), "float32")
        state = model.initial_state(B)
        for part in parts(state):
            part[...] = np.random.default_rng(0).normal(size=part.shape)
        apart = tuple(part.copy() for part in parts(state))
        x = parts(state)[0][0]
        expected = model.step(x.copy(), apart if len(apart) > 1 else apart[0])
        assert model.step(x, state).tobytes() == expected.tobytes()
        assert bits(state) == bits(apart)


# ---------------------------------------------------------------- state in training


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", ["last", "all"])
def test_state_is_read_and_overwritten(cell: str, steps: str) -> None:
    model, adam = make(cell), fastbptt.Adam()
    x, y = batch(steps)
    lengths = np.array([T, 3, 1, 7])
    twin, other = model.copy(), fastbptt.Adam()
    rng = np.random.default_rng(1)
    state: Any = tuple(rng.normal(size=(2, B, H)) for _ in reference.CELLS[cell].STATES)
    state = state if len(state) > 1 else state[0]
    for _ in range(3):
        before: Any = tuple(part.copy() for part in parts(state))
        before = before if len(before) > 1 else before[0]
        expected = twin.forward(x, lengths, before).final_state
        loss = model.train_step(x, y, adam, "mse", steps, lengths=lengths, state=state)
        assert loss == twin.train_step(x, y, other, "mse", steps, lengths=lengths, h0=before)
        for part, e in zip(parts(state), parts(expected), strict=True):
            close(part, e, 1e-12)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()


def test_state_of_a_list_is_for_two_states_only() -> None:
    model = make("lstm")
    x, y = batch("last")
    state = list(model.initial_state(B))
    model.train_step(x, y, fastbptt.Adam(), "mse", state=state)  # type: ignore[arg-type]
    assert all(part.any() for part in state)


# ---------------------------------------------------------------- truncated BPTT


CHUNKED = itertools.product(
    (1, 3, 4, 5, 12, 40),
    (None, [1.0, 0.5, 0.0, 2.0], [0.0, 0.0, 3.0, 0.0]),
    (None, [T, 5, 1, 7], [8, 8, 8, 8], [9, 2, 3, 4]),
    ("last", "all"),
    ("mean", "sum", "sequence_mean"),
)


@pytest.mark.parametrize(
    ("size", "weights", "lengths", "steps", "reduction"), sampled([*CHUNKED], 4)
)
def test_chunks_equal_one_pass_if_nothing_is_learned(
    size: int, weights: Any, lengths: Any, steps: str, reduction: str
) -> None:
    x, y = batch(steps)
    how = {"reduction": reduction, "lengths": lengths, "sample_weight": weights}
    for cell in ("rnn", "lstm"):
        model, adam = make(cell), fastbptt.Adam(lr=0.0)
        h0: Any = tuple(np.full((2, B, H), 0.3) for _ in reference.CELLS[cell].STATES)
        h0 = h0 if len(h0) > 1 else h0[0]
        for start in (None, h0):
            expected = model.forward(x, lengths, start)
            one_pass = model.loss(x, y, "mse", steps, h0=start, **how)
            loss = model.train_step(x, y, adam, "mse", steps, h0=start, bptt_steps=size, **how)
            assert loss == pytest.approx(one_pass, rel=1e-10)
        state: Any = tuple(part.copy() for part in parts(h0))
        state = state if len(state) > 1 else state[0]
        loss = model.train_step(x, y, adam, "mse", steps, bptt_steps=size, state=state, **how)
        assert loss == pytest.approx(one_pass, rel=1e-10)
        for part, e in zip(parts(state), parts(expected.final_state), strict=True):
            close(part, e, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_each_chunk_is_a_step_of_its_own(cell: str) -> None:
    """An update per chunk; the next starts from its final state, as from a constant."""
    x, y = batch("all")
    model, adam = make(cell), fastbptt.Adam(lr=0.02)
    twin, other = model.copy(), fastbptt.Adam(lr=0.02)
    loss = model.train_step(x, y, adam, "mse", "all", bptt_steps=5, clip_norm=0.5)
    state = twin.initial_state(B)
    losses = [
        twin.train_step(x[:, part], y[:, part], other, "mse", "all", clip_norm=0.5, state=state)
        for part in (slice(0, 5), slice(5, 10), slice(10, 12))
    ]
    assert adam.step_count == other.step_count == 3
    assert loss == pytest.approx((5 * losses[0] + 5 * losses[1] + 2 * losses[2]) / 12, rel=1e-12)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    assert adam.m.flat.tobytes() == other.m.flat.tobytes()


def test_sequences_that_have_ended_are_left_out() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([2, 7, 4, 12])
    x, y = batch("all")
    x[np.arange(T) >= lengths[:, np.newaxis]] = np.nan
    y[np.arange(T) >= lengths[:, np.newaxis]] = np.nan
    weight = rng.uniform(0.5, 2.0, B)
    for reduction in ("mean", "sum", "sequence_mean"):
        model, adam = make(), fastbptt.Adam(lr=0.02)
        twin, other = model.copy(), fastbptt.Adam(lr=0.02)
        how = {"reduction": reduction}
        state: Any = model.initial_state(B)
        loss = model.train_step(
            *(x, y, adam, "mse", "all"), lengths=lengths, sample_weight=weight, bptt_steps=4,
            state=state, **how,
        )  # fmt: skip
        h, c = twin.initial_state(B)
        total = share = 0.0
        for first, rows in ((0, [0, 1, 2, 3]), (4, [1, 3]), (8, [3])):
            inside = np.minimum(lengths[rows] - first, 4)
            w = weight[rows] * (inside / lengths[rows] if reduction == "sequence_mean" else 1)
            part = (h[:, rows].copy(), c[:, rows].copy())
            time = slice(first, first + 4)
            value = twin.train_step(
                *(x[rows, time], y[rows, time], other, "mse", "all"), lengths=inside,
                sample_weight=w, state=part, **how,
            )  # fmt: skip
            h[:, rows], c[:, rows] = part
            measure = {"sum": 1.0, "mean": (w * inside).sum(), "sequence_mean": w.sum()}[reduction]
            total, share = total + measure * value, share + measure
        assert loss == pytest.approx(total if reduction == "sum" else total / share, rel=1e-12)
        assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
        assert bits(state) == bits((h, c))


def test_loss_at_the_end_of_each_sequence() -> None:
    lengths = np.array([2, 7, 4, 12])
    x, y = batch("last")
    model, adam = make("gru"), fastbptt.Adam(lr=0.02)
    twin, other = model.copy(), fastbptt.Adam(lr=0.02)
    loss = model.train_step(x, y, adam, "mse", lengths=lengths, bptt_steps=4)
    state: Any = twin.initial_state(B)
    losses = [
        twin.train_step(
            *(x[:, :4], y, other, "mse"), lengths=[2, 4, 4, 4], sample_weight=[1, 0, 1, 0],
            state=state,
        )
    ]  # fmt: skip
    for rows, first, ends, weight in (([1, 3], 4, [3, 4], [1, 0]), ([3], 8, [4], [1])):
        part = state[:, rows].copy()
        time = slice(first, first + 4)
        losses.append(
            twin.train_step(
                *(x[rows, time], y[rows], other, "mse"), lengths=ends, sample_weight=weight,
                state=part,
            )
        )  # fmt: skip
        state[:, rows] = part
    assert loss == pytest.approx((2 * losses[0] + losses[1] + losses[2]) / 4, rel=1e-12)
    close(model.parameters.flat, twin.parameters.flat, 1e-12)


def test_chunks_without_a_loss_only_carry_the_state() -> None:
    x, y = batch("last")
    model, adam = make(), fastbptt.Adam(lr=0.02)
    state: Any = model.initial_state(B)
    expected = model.forward(x[:, :8]).final_state
    twin, other = model.copy(), fastbptt.Adam(lr=0.02)
    loss = model.train_step(x, y, adam, "mse", bptt_steps=4, state=state)
    assert adam.step_count == 1
    assert loss == twin.train_step(x[:, 8:], y, other, "mse", state=expected)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    assert bits(state) == bits(expected)


def test_learned_state_gets_its_gradient_from_the_first_chunk() -> None:
    x, y = batch("all")
    model, adam = make(learn_initial_state=True), fastbptt.Adam(lr=0.02)
    model.parameters["h0"] = np.full((2, H), 0.1)
    twin, other = model.copy(), fastbptt.Adam(lr=0.02)
    model.train_step(x, y, adam, "mse", "all", bptt_steps=6)
    first = twin.copy()
    twin.train_step(x[:, :6], y[:, :6], other, "mse", "all")
    state = first.forward(x[:, :6]).final_state
    twin.train_step(x[:, 6:], y[:, 6:], other, "mse", "all", state=state)
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    state = model.initial_state(B)
    before = model.state_dict()["h0"]
    fresh = fastbptt.Adam(lr=0.02)
    model.train_step(x, y, fresh, "mse", "all", bptt_steps=6, state=state)
    assert model.state_dict()["h0"].tobytes() == before.tobytes()  # another one was given


def test_chunks_of_tokens_classes_and_lists() -> None:
    rng = np.random.default_rng(0)
    lengths = [2, 7, 4, 12]
    x = [rng.integers(0, 9, n) for n in lengths]
    y = [rng.integers(0, O, n) for n in lengths]
    model = make(embedding=9)
    expected = model.loss(x, y, "cross_entropy", "all")
    adam = fastbptt.Adam(lr=0.0)
    loss = model.train_step(x, y, adam, "cross_entropy", "all", bptt_steps=3)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert adam.step_count == 4


def test_states_of_all_steps_need_not_fit() -> None:
    """With chunks or a memory budget they are never all in memory."""
    x, y = batch("all")
    model, adam = make(), fastbptt.Adam()
    model._input_spec.most_steps = model._input_spec.at_once = 30  # of 48
    for call in (
        lambda: model.train_step(x, y, adam, "mse", "all"),
        lambda: model.loss_and_grad(x, y, "mse", "all"),
        lambda: model.forward(x),
        lambda: model.forward(list(x)),
    ):
        with pytest.raises(MemoryError, match=r"^x has 48 steps in all; expected at most 30"):
            call()
    model.train_step(x, y, adam, "mse", "all", bptt_steps=3)
    model.train_step(x, y, adam, "mse", "all", memory_budget="1GB")
    model.loss_and_grad(x, y, "mse", "all", memory_budget="1GB")


def test_one_chunk_is_an_ordinary_step() -> None:
    x, y = batch("all")
    model, adam = make(), fastbptt.Adam()
    twin, other = model.copy(), fastbptt.Adam()
    for size in (T, T + 1, 10**9):
        model.train_step(x, y, adam, "mse", "all", bptt_steps=size)
        twin.train_step(x, y, other, "mse", "all")
    assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()


def test_truncated_gradient_learns_a_long_stream() -> None:
    """y_t = x_{t-2}: two steps back, found by chunks of ten."""
    x = np.random.default_rng(0).normal(size=(1, 2000, 1))
    y = np.roll(x, 2, axis=1)
    model, adam = fastbptt.GRU(1, 16, 1, seed=0), fastbptt.Adam(lr=0.01)
    state = model.initial_state(1)
    losses = [
        model.train_step(x, y, adam, "mse", "all", bptt_steps=10, state=state) for _ in range(8)
    ]
    assert losses[-1] < 0.2 * losses[0]


# ---------------------------------------------------------------- undone as a whole


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bound", [False, True])
def test_a_chunk_that_fails_undoes_the_call(where: str, ragged: bool, bound: bool) -> None:
    x, y = batch("all")
    lengths = np.array([3, 12, 2, 11]) if ragged else None
    model, adam = make(dropout=0.3), fastbptt.Adam(lr=0.1)
    if bound:
        model.train_step(x, y, adam, "mse", "all")
    state: Any = tuple(np.full((2, B, H), 0.25) for _ in "hc")

    def everything() -> Any:
        moments = (adam.m.flat.tobytes(), adam.v.flat.tobytes(), adam.step_count)
        return model.parameters.flat.tobytes(), moments, bits(state), model._dropout_seeds.state

    before = everything()
    t = {"first": 1, "middle": 6, "last": 10}[where]
    bad = x.copy()
    bad[3, t, 2] = np.inf
    place = rf"x holds a value that is not finite \(inf\) at index \(3, {t}, 2\)"
    for call in (
        lambda: model.train_step(
            bad, y, adam, "mse", "all", lengths=lengths, bptt_steps=3, state=state
        ),
        lambda: model.train_step(bad, y, adam, "mse", "all", lengths=lengths, bptt_steps=3),
    ):
        with pytest.raises(ValueError, match=rf"^{place}$"):
            call()
        assert everything() == before
    wrong = y.copy()
    wrong[1, 7, 1] = np.nan
    with pytest.raises(ValueError, match=r"^y holds .* at index \(1, 7, 1\)"):
        model.train_step(x, wrong, adam, "mse", "all", lengths=lengths, bptt_steps=3, state=state)
    assert everything() == before
    for weights in ([1.0, -1.0, 0.0, 0.0], [1.0, np.nan, 1.0, 1.0], [0.0] * 4):
        with pytest.raises(ValueError, match=r"^sample_weight holds"):
            model.train_step(
                x, y, adam, "mse", "all", lengths=lengths, sample_weight=weights, bptt_steps=3
            )
        assert everything() == before
    wrong[1, 7, 1] = 1e200  # its square overflows
    with pytest.raises(
        ValueError, match=r" \(in the chunk of steps 6 to 8; what the chunks before"
    ):
        model.train_step(x, wrong, adam, "mse", "all", lengths=lengths, bptt_steps=3, state=state)
    assert everything() == before
    model.train_step(x, y, adam, "mse", "all", lengths=lengths, bptt_steps=3, state=state)
    assert everything()[0] != before[0]


@pytest.mark.parametrize("lengths", [None, [1, T, 2, 9]])
def test_where_a_loss_at_the_end_went_wrong(lengths: Any) -> None:
    x, y = batch("last")
    y[3, 1] = np.nan
    model, adam = make("gru"), fastbptt.Adam()
    with pytest.raises(ValueError, match=r"^y holds .* at index \(3, 1\)$"):
        model.train_step(x, y, adam, "mse", lengths=lengths, bptt_steps=4)


def test_h0_beyond_the_model_s_dtype() -> None:
    x, y = batch("all")
    model, adam = make("gru", "float32"), fastbptt.Adam()
    h0 = np.full((2, B, H), 1e300)
    for size in (None, 3):
        with pytest.raises(ValueError, match=r"^h0 holds .* at index \(0, 0, 0\)$"):
            model.train_step(x, y, adam, "mse", "all", h0=h0, bptt_steps=size)


def test_an_interrupt_undoes_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastbptt.models import truncated

    x, y = batch("all")
    model, adam = make(), fastbptt.Adam(lr=0.1)
    before, original = model.parameters.flat.tobytes(), truncated.chunks

    def interrupted(*arguments: Any) -> Iterator[truncated.Chunk]:
        for done, chunk in enumerate(original(*arguments)):
            if done == 2:
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr(truncated, "chunks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.train_step(x, y, adam, "mse", "all", bptt_steps=3)
    assert model.parameters.flat.tobytes() == before
    assert (adam.step_count, len(adam.m)) == (0, 0)


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "sequence_mean"])
def test_a_weight_that_is_not_finite_is_named_as_it_is(
    weight: float, steps: str, reduction: str
) -> None:
    """Chunks weigh themselves by it: no warning of NumPy before, and no other number."""
    model = fastbptt.RNN(1, 2, 1, seed=0)
    y = np.zeros(2) if steps == "last" else np.zeros((2, 5))
    for chunk in (None, 2, 9):
        with pytest.raises(
            fastbptt.ArgumentError,
            match=rf"^sample_weight holds a value that is not finite \({weight}\) at index \(1,\)$",
        ):
            model.train_step(
                np.ones((2, 5, 1)), y, fastbptt.SGD(), "bce", steps, reduction,
                lengths=[2, 5], sample_weight=[1.0, weight], bptt_steps=chunk,
            )  # fmt: skip
