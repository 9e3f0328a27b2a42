"""Which sequences are in which batch of which epoch, as a model gets to see them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fastbptt

LENGTHS = np.random.default_rng(3).integers(1, 30, 53)
COUNT = len(LENGTHS)


def batches_of(epochs: int = 6, batch_size: int = 8, **options: Any) -> list[list[list[int]]]:
    """Rows of each batch of each epoch: x holds the number of its sequence."""
    count = options.pop("count", COUNT)
    x = np.empty((count, 30, 1), np.float32)
    x[...] = np.arange(count)[:, np.newaxis, np.newaxis]
    lengths = LENGTHS[:count] if options.pop("ragged", True) else None
    seen: list[list[int]] = []

    def note(batch: Any, rng: Any) -> Any:
        seen.append(batch[:, 0, 0].astype(int).tolist())
        return batch

    model = fastbptt.RNN(1, 2, 1, seed=0)
    fastbptt.fit(
        model,
        x,
        np.arange(count) % 2,
        lengths=lengths,
        epochs=epochs,
        batch_size=batch_size,
        augment=note,
        verbose=0,
        optimizer=fastbptt.SGD(1e-6),
        **options,
    )
    per_epoch = len(seen) // epochs
    return [seen[i : i + per_epoch] for i in range(0, len(seen), per_epoch)]


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sequence_once_in_an_epoch_in_full_batches(shuffle: bool, bucket: bool) -> None:
    for epoch in batches_of(shuffle=shuffle, bucket=bucket):
        assert sorted(itertools.chain(*epoch)) == list(range(COUNT))
        assert sorted(map(len, epoch)) == [5] + [8] * 6


def test_without_shuffling_batches_are_in_the_order_of_the_data() -> None:
    expected = [list(range(i, min(i + 8, COUNT))) for i in range(0, COUNT, 8)]
    assert batches_of(shuffle=False) == [expected] * 6
    by_length = np.argsort(LENGTHS, kind="stable").tolist()
    expected = [by_length[i : i + 8] for i in range(0, COUNT, 8)]
    assert batches_of(shuffle=False, bucket=True) == [expected] * 6


def test_buckets_come_in_another_order_in_each_epoch() -> None:
    epochs = batches_of(epochs=8, bucket=True)
    orders = set()
    for epoch in epochs:
        spans = [(LENGTHS[rows].min(), LENGTHS[rows].max()) for rows in epoch]
        # each batch holds neighbours in length, whatever its place
        for one, other in itertools.pairwise(sorted(spans)):
            assert one[1] <= other[0]
        orders.add(tuple(np.argsort([LENGTHS[rows].mean() for rows in epoch]).tolist()))
    assert len(orders) >= 7
    ascending = tuple(range(len(epochs[0])))
    assert orders != {ascending}
    places = {next(i for i, rows in enumerate(epoch) if len(rows) == 5) for epoch in epochs}
    assert len(places) > 2, "the batch that is not full has no place of its own"
    together = {frozenset(map(frozenset, epoch)) for epoch in epochs}  # of equal lengths, others
    assert len(together) > 1


def test_shuffling_moves_sequences_between_batches() -> None:
    epochs = batches_of(epochs=5)
    assert len({tuple(map(tuple, epoch)) for epoch in epochs}) == 5
    assert len({frozenset(map(frozenset, epoch)) for epoch in epochs}) == 5
    first = {epoch[0][0] for epoch in epochs} | {epoch[-1][-1] for epoch in epochs}
    assert len(first) > 4


@pytest.mark.parametrize("bucket", [False, True])
def test_order_is_that_of_seed_and_epoch(bucket: bool) -> None:
    whole = batches_of(epochs=4, seed=5, bucket=bucket)
    assert batches_of(epochs=2, seed=5, bucket=bucket) == whole[:2]
    assert batches_of(epochs=2, seed=6, bucket=bucket) != whole[:2]


def test_sequences_to_validate_on_are_in_no_batch() -> None:
    for epoch in batches_of(validation=0.2, epochs=3):
        rows = sorted(itertools.chain(*epoch))
        assert len(rows) == len(set(rows)) == COUNT - 11  # 0.2 of 53, rounded
        assert rows == sorted(itertools.chain(*batches_of(validation=0.2, epochs=1)[0]))
    others = batches_of(validation=0.2, epochs=1, seed=1)[0]
    assert sorted(itertools.chain(*others)) != rows


def test_sequences_without_weight_are_left_out() -> None:
    weights = np.ones(COUNT)
    weights[[0, 7, COUNT - 1]] = 0
    for epoch in batches_of(sample_weight=weights, epochs=2):
        assert sorted(itertools.chain(*epoch)) == [i for i in range(COUNT) if weights[i]]


@pytest.mark.parametrize(("count", "size"), [(8, 8), (9, 8), (16, 8), (17, 8), (3, 8), (5, 1)])
def test_the_last_batch_holds_what_is_left(count: int, size: int) -> None:
    (epoch,) = batches_of(epochs=1, count=count, batch_size=size, shuffle=False, ragged=False)
    assert list(map(len, epoch)) == [size] * (count // size) + [count % size] * (count % size > 0)
