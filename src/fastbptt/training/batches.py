"""Batches: the order of the sequences, and copying them into one array."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._check import I64
from ..models._arguments import Lengths
from ..models.recurrent import Recurrent

Rows = NDArray[np.int64]
Augmentation: TypeAlias = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]


class Gathered:
    """Sequences in one array or a list of arrays; batches are copied into one buffer.

    The core gathers them without the GIL, whatever their strides and dtype; a batch is as long as
    its longest sequence, and zero after the ends of the others. Nothing else is copied.

    Parameters
    ----------
    items : array (n, ...) or list of n arrays
        In a list each has its own number of steps; the other axes agree.
    lengths : int64 array (n,) or None
        Steps of each; None: all of an array.

    Attributes
    ----------
    sequences : StridedSequences
        All of them in the core.
    dtype
        Of a batch.
    time : int
        Steps of a batch, unless ragged; -1 without an axis of steps.
    ragged : bool
        Whether the steps of a batch are those of its longest sequence.
    """

    def __init__(self, items: NDArray[Any] | list[NDArray[Any]], lengths: Lengths = None) -> None:
        if isinstance(items, list):
            kinds = {item.dtype for item in items}
            kind = np.result_type(*kinds)
            if kinds != {kind}:
                items = [item if item.dtype == kind else item.astype(kind) for item in items]
            self.sequences = _core.StridedSequences(items)
            self._tail = items[0].shape[1:]
            time = max(map(len, items)) if lengths is None else int(lengths.max())
        else:
            kind = items.dtype
            own = None if lengths is None else np.ascontiguousarray(lengths, I64)
            self.sequences = _core.StridedSequences(items, own)
            self._tail = items.shape[2:]
            time = items.shape[1] if items.ndim > 1 else -1  # without an axis of steps
        self.dtype = kind
        self.time = time
        self.ragged = lengths is not None and bool((lengths != time).any())
        self._lengths = lengths
        self._buffer: NDArray[Any] = np.empty(0, kind)
        self._view: NDArray[Any] = self._buffer
        self._own = np.empty(0, I64)

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: Rows) -> tuple[NDArray[Any], Lengths]:
        """Copy some sequences into the buffer, which the next call overwrites.

        Returns the batch, and the lengths of its sequences if they differ from its time axis.
        """
        count, time, lengths = len(rows), self.time, None
        if self.ragged:
            assert self._lengths is not None
            if len(self._own) != count:
                self._own = np.empty(count, I64)
            np.take(self._lengths, rows, out=self._own)
            lengths, time = self._own, int(self._own.max())
        view = self._view
        if len(view) != count or (time >= 0 and view.shape[1] != time):
            view = self._resized((count, *((time,) if time >= 0 else ()), *self._tail))
        self.sequences.gather(rows, view)
        return view, lengths

    def alike(self) -> Gathered:
        """Return the same sequences with a buffer of their own, for another thread."""
        other = copy.copy(self)
        other._buffer = other._view = np.empty(0, self.dtype)
        other._own = np.empty(0, I64)
        return other

    def blocks(self, chunks: Iterator[Rows]) -> Iterator[NDArray[Any]]:
        """Yield the steps of some sequences at a time, without padding: (steps, columns)."""
        for rows in chunks:
            block, lengths = self.take(rows)
            if lengths is not None:
                block = block[np.arange(block.shape[1]) < lengths[:, np.newaxis]]
            yield block.reshape(-1, block.shape[-1])

    def _resized(self, shape: tuple[int, ...]) -> NDArray[Any]:
        needed = math.prod(shape)
        if needed > self._buffer.size:
            self._buffer = np.empty(needed, self.dtype)
        self._view = self._buffer[:needed].reshape(shape)
        return self._view


class Computed:
    """Sequences or targets that are computed when a batch of them is taken.

    Parameters
    ----------
    shape : tuple of int
        Of all of them, as one array.
    function : callable
        Called with the rows of a batch; returns their array.
    """

    ragged = False

    def __init__(self, shape: tuple[int, ...], function: Callable[[Rows], NDArray[Any]]) -> None:
        self.shape = shape
        self._function = function

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Rows) -> tuple[NDArray[Any], Lengths]:
        """Compute some of them; all have the same length."""
        return self._function(rows), None


_MEMORY: Final = 1 << 26  # bytes of a batch
_PER_THREAD: Final = 32  # sequences: some tiles of rows at each step


class BatchLimit(NamedTuple):
    """How many sequences are computed at a time, without gradients.

    most : int
        Sequences.
    steps : float
        Steps of all of them, padding included.
    least : int
        Sequences, whatever their steps.
    """

    most: int
    steps: float = float("inf")
    least: int = 1


def evaluation_limit(model: Recurrent, least: int = 1, threads: int | None = None) -> BatchLimit:
    """Return a limit of memory under which no thread is idle.

    least: the sequences of a training batch. threads: None: all.
    """
    spec = model._input_spec
    threads = _core.get_num_threads() if threads is None else threads
    kept = 8 * spec.rows * spec.hidden_size if model.bidirectional else 0  # at all steps
    per_step = spec.dtype.itemsize * (spec.input_size + kept + spec.width)
    most, least = max(256, _PER_THREAD * threads, least), max(least, threads)
    return BatchLimit(most, _MEMORY // per_step, least)


def evaluation_batches(
    lengths: Lengths, time: int, rows: Rows, limit: BatchLimit
) -> Iterator[Rows]:
    """Cut rows into batches of similar lengths, longest first: a lack of memory shows early.

    Batches are about equal, for the last one too to be large enough for all threads.

    lengths: of all sequences; None: all are `time`.
    """
    if lengths is not None:
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
    while len(rows):
        longest = time if lengths is None else int(lengths[rows[0]])
        size = max(limit.least, int(min(limit.most, limit.steps // longest)))
        size = -(-len(rows) // -(-len(rows) // size))
        yield rows[:size]
        rows = rows[size:]


class Order:
    """The batches of each epoch: a function of seed and epoch alone.

    Parameters
    ----------
    rows : int64 array
        The sequences.
    batch_size : int
    shuffle : bool
    seed : int
    lengths : int64 array or None
        If given, each batch holds sequences of similar lengths.
    """

    def __init__(
        self, rows: Rows, batch_size: int, shuffle: bool, seed: int, lengths: Lengths = None
    ) -> None:
        self._rows = np.ascontiguousarray(rows, I64)
        self.size = min(batch_size, max(len(rows), 1))
        self._starts = np.arange(0, len(rows), self.size, dtype=I64)
        self._shuffle = shuffle
        # what default_rng makes of (_ORDER, seed, epoch), which takes half as long so
        words = [seed >> shift & 0xFFFFFFFF for shift in range(0, max(seed.bit_length(), 1), 32)]
        self._entropy = np.array([_ORDER, *words, 0], np.uint32)
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._starts)

    def epoch(self, epoch: int) -> tuple[Rows, Rows]:
        """Return the rows of an epoch in their order, and where each batch begins in them."""
        rows, starts = self._rows, self._starts
        if self._shuffle:
            self._entropy[-1] = epoch
            rng = np.random.default_rng(self._entropy)
            rows = rng.permutation(rows)
        if self._lengths is not None:
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            if self._shuffle:  # and the batches among themselves
                starts = starts[rng.permutation(len(starts))]
        return rows, starts

    @property
    def sizes(self) -> list[int]:
        """How many sequences batches have: most of them, and the last one if it has fewer."""
        rest = len(self._rows) % self.size
        return [self.size, rest] if rest else [self.size]

    @property
    def all_full(self) -> bool:
        """Whether the last batch of an epoch is as large as the others."""
        return len(self.sizes) == 1

    def epochs(self, first: int, count: int) -> tuple[Rows, Rows]:
        """Return those of several epochs as if they were one; only if `all_full`."""
        every = [self.epoch(epoch) for epoch in range(first, first + count)]
        starts = [own + i * len(self._rows) for i, (_, own) in enumerate(every)]
        return np.concatenate([rows for rows, _ in every]), np.concatenate(starts)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Rows]:
        """Yield the rows of each batch of an epoch, from batch `first` on."""
        rows, starts = self.epoch(epoch)
        for start in starts[first:]:
            yield rows[start : start + self.size]


# Purposes of random numbers: independent streams of one seed.
_ORDER: Final = 1
_SPLIT: Final = 2
_AUGMENT: Final = 3


def augmented(function: Augmentation, x: NDArray[Any], place: tuple[int, int, int]) -> NDArray[Any]:
    """Augment the inputs of a batch; `place` is seed, epoch, batch."""
    result = np.asarray(function(x, np.random.default_rng((_AUGMENT, *place))))
    if result.shape != x.shape:
        raise ValueError(
            f"augment returned an array of shape {result.shape}; expected {x.shape}, that of the "
            "batch"
        )
    return result


def split(
    count: int, fraction: float, seed: int, classes: NDArray[Any] | None = None
) -> tuple[Rows, Rows]:
    """Split rows 0 to count - 1 into training and validation rows.

    Parameters
    ----------
    count : int
    fraction : float
        The fraction for validation, above 0 and below 1; each side gets at least one row.
    seed : int
    classes : array (count,), optional
        Stratify: take the same fraction of each class, as near as whole numbers allow.

    Returns
    -------
    train, validation : int64 arrays, in rising order
    """
    rng = np.random.default_rng((_SPLIT, seed))
    wanted = min(max(round(count * fraction), 1), count - 1)
    order = rng.permutation(count)
    if classes is not None:
        # Rank within its class, relative to its size: the lowest ranks go first.
        _, kinds = np.unique(classes[order], return_inverse=True)
        place = np.empty(count)
        for kind in range(int(kinds.max()) + 1):
            mine = np.flatnonzero(kinds == kind)
            place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
        order = order[np.argsort(place, kind="stable")]
    return np.sort(order[wanted:]).astype(I64), np.sort(order[:wanted]).astype(I64)
