"""Batches out of arrays and lists: what is gathered, in what order, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbptt import _core
from fastbptt.training.batches import Gathered, Order, split

N, T, I = 9, 6, 3
ROWS = np.array([4, 0, 8, 8, 3], np.int64)
KINDS = ["f4", "f8", "f2", "i8", "i4", "u1", "?", ">f4", ">i8", "g"]


def cube(kind: str = "f8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2 if kind == "?" else 100, (N, T, I)).astype(kind)


VIEWS = {
    "whole": lambda a: a,
    "backwards": lambda a: a[::-1, ::-1, ::-1],
    "every other": lambda a: a[:, ::2],
    "transposed": lambda a: a.transpose(1, 0, 2)[:, :5].transpose(1, 0, 2),
    "columns": lambda a: a[..., 1:],
    "one column": lambda a: a[..., :1],
    "fortran": np.asfortranarray,
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_any_kind(kind: str, view: str) -> None:
    x = VIEWS[view](cube(kind))
    rows = ROWS[len(x) > ROWS]
    batch, lengths = Gathered(x).take(rows)
    assert batch.dtype == x.dtype and batch.flags.c_contiguous and lengths is None
    assert (batch == x[rows]).all()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_are_padded_to_the_longest_of_the_batch(kind: str, axes: int) -> None:
    lengths = np.array([6, 2, 3, 1, 4, 6, 5, 2, 3])
    x = cube(kind) if axes == 3 else cube(kind)[..., 0]
    gathered = Gathered([one[:n] for one, n in zip(x, lengths, strict=True)], lengths)
    also = Gathered(x, lengths)
    for rows in (ROWS, np.array([2, 3]), np.array([0])):
        batch, own = gathered.take(rows)
        longest = lengths[rows].max()
        assert own is not None and (own == lengths[rows]).all() and batch.shape[1] == longest
        for one, row in zip(batch, rows, strict=True):
            assert (one[: lengths[row]] == x[row, : lengths[row]]).all()
            assert not one[lengths[row] :].any()
        assert (also.take(rows)[0] == batch).all()


def test_memory_mapped_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", cube("f4"))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert (Gathered(mapped).take(ROWS)[0] == cube("f4")[ROWS]).all()


def test_the_buffer_is_reused_and_nothing_else_is_copied() -> None:
    x = cube("f4")
    gathered = Gathered(x)
    first = gathered.take(ROWS)[0]
    assert gathered.take(ROWS[::-1].copy())[0] is first
    x[4] = -1.0
    assert (gathered.take(ROWS)[0][0] == -1.0).all()


def test_mixed_lists_take_a_dtype_for_all() -> None:
    batch, _ = Gathered([np.ones((2, I), "f4"), np.full((2, I), 0.1)]).take(np.arange(2))
    assert batch.dtype == np.float64 and batch[1, 0, 0] == 0.1


def out_of(x: Any, rows: Any, out: Any, own: Any = None) -> None:
    given = (x,) if isinstance(x, list) else (x, own)
    _core.StridedSequences(*given).gather(rows, out)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: out_of(x, np.array([9]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of(x, np.array([-1]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of(x, np.array([0, 1]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T - 1, I))), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I - 1))), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T))), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I), "f4")), TypeError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I), ">f8")), TypeError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I), "i8")), TypeError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, 2 * I))[..., ::2]), ValueError),
        (lambda x: out_of(x, np.array([0]), np.broadcast_to(0.0, (1, T, I))), ValueError),
        (lambda x: out_of(x, np.array([0.0]), np.empty((1, T, I))), TypeError),
        (lambda x: out_of(x, np.arange(4)[::2], np.empty((2, T, I))), ValueError),
        (lambda x: out_of(x, np.array([[0]]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I)), np.full(N, 7)), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I)), np.full(N, -1)), ValueError),
        (lambda x: out_of(x, np.array([0]), np.empty((1, T, I)), np.arange(8)), ValueError),
        (lambda x: out_of(x.astype(object), np.array([0]), np.empty((1, T, I), object)), TypeError),
        (lambda x: out_of(x[..., None], np.array([0]), np.empty((1, T, I, 1))), ValueError),
        (lambda x: out_of([], np.array([0]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of([x[0], x[0].tolist()], np.array([0]), np.empty((1, T, I))), TypeError),
        (lambda x: out_of([x[0], x[0, :, :2]], np.array([0]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of([x[0], x[0, 0]], np.array([0]), np.empty((1, T, I))), ValueError),
        (lambda x: out_of([x[0], x[0].astype("f4")], ROWS[1:2], np.empty((1, T, I))), ValueError),
    ],
)  # fmt: skip
def test_the_core_refuses_what_would_leave_memory(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(cube())


def test_sequences_outlive_their_arrays() -> None:
    expected = cube()[ROWS]
    sequences = _core.StridedSequences([one.copy() for one in cube()])
    out = np.empty((len(ROWS), T, I))
    sequences.gather(ROWS, out)
    assert (out == expected).all()


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_row_comes_once_in_an_order_of_seed_and_epoch(shuffle: bool, bucket: bool) -> None:
    rows, lengths = np.arange(3, 60), np.random.default_rng(0).integers(1, 9, 60)

    def order(seed: int = 0) -> Order:
        return Order(rows, 8, shuffle, seed, lengths if bucket else None)

    def all_of(one: Order, epoch: int, first: int = 0) -> list[list[int]]:
        return [batch.tolist() for batch in one.batches(epoch, first)]

    kept = order()
    epochs = [all_of(kept, epoch) for epoch in (1, 2, 3)]
    for epoch in epochs:
        assert (
            sorted(row for batch in epoch for row in batch) == rows.tolist()
            and len(epoch) == len(kept) == 8
        )
    assert all_of(order(), 2) == epochs[1]  # whatever came before
    assert all_of(order(), 2, 5) == epochs[1][5:]
    assert (epochs[0] != epochs[1]) == shuffle
    assert (all_of(order(1), 1) != epochs[0]) == shuffle
    if bucket:
        ends = sorted((lengths[batch].min(), lengths[batch].max()) for batch in epochs[0])
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends))


def test_split_keeps_the_shares_of_classes() -> None:
    classes = np.array([0] * 70 + [1] * 20 + [2] * 10)
    train, held = split(100, 0.2, 3, classes)
    assert sorted([*train, *held]) == list(range(100)) and len(held) == 20
    assert np.bincount(classes[held]).tolist() == [14, 4, 2]
    assert (split(100, 0.2, 3, classes)[1] == held).all()
    assert (split(100, 0.2, 4, classes)[1] != held).any()
    assert len(split(3, 0.01, 0)[1]) == 1 and len(split(3, 0.99, 0)[0]) == 1


@pytest.mark.parametrize("time", [1, 2, 3])
def test_every_second_step_is_gathered(time: int) -> None:
    x = np.arange(2.0 * 2 * time * 3).reshape(2, 2 * time, 3)[:, ::2]
    view, _ = Gathered(x).take(np.array([1, 0]))
    np.testing.assert_array_equal(view, x[::-1])
