"""Batches: the order of the sequences, and copying them into one array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._check import I64
from ..models._arguments import Lengths

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
    """

    def __init__(self, items: NDArray[Any] | list[NDArray[Any]], lengths: Lengths = None) -> None:
        if isinstance(items, list):
            kind = np.result_type(*{item.dtype for item in items})
            items = [item if item.dtype == kind else item.astype(kind) for item in items]
            self._core = _core.StridedSequences(items)
            self._tail = items[0].shape[1:]
            time = max(len(item) for item in items)
        else:
            kind = items.dtype
            own = None if lengths is None else np.ascontiguousarray(lengths, I64)
            self._core = _core.StridedSequences(items, own)
            self._tail = items.shape[2:]
            time = items.shape[1] if items.ndim > 1 else -1  # without an axis of steps
        self.dtype = kind
        self._time = time
        self.ragged = lengths is not None and bool((lengths != time).any())
        self._lengths = lengths
        self._buffer: NDArray[Any] = np.empty(0, kind)
        self._view: NDArray[Any] = self._buffer
        self._own = np.empty(0, I64)

    def take(self, rows: Rows) -> tuple[NDArray[Any], Lengths]:
        """Copy some sequences into the buffer, which the next call overwrites.

        Returns the batch, and the lengths of its sequences if they differ from its time axis.
        """
        count, time, lengths = len(rows), self._time, None
        if self.ragged:
            assert self._lengths is not None
            if len(self._own) != count:
                self._own = np.empty(count, I64)
            np.take(self._lengths, rows, out=self._own)
            lengths, time = self._own, int(self._own.max())
        view = self._view
        if len(view) != count or (time >= 0 and view.shape[1] != time):
            view = self._resized((count, *((time,) if time >= 0 else ()), *self._tail))
        self._core.gather(rows, view)
        return view, lengths

    def blocks(self, chunks: Iterator[Rows]) -> Iterator[NDArray[Any]]:
        """Yield the steps of some sequences at a time, without padding: (steps, columns)."""
        for rows in chunks:
            block, lengths = self.take(rows)
            if lengths is not None:
                block = block[np.arange(block.shape[1]) < lengths[:, np.newaxis]]
            yield block.reshape(-1, block.shape[-1])

    def _resized(self, shape: tuple[int, ...]) -> NDArray[Any]:
        needed = int(np.prod(shape))
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
        self._rows = rows
        self._size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._lengths = lengths

    def __len__(self) -> int:
        return -(-len(self._rows) // self._size)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Rows]:
        """Yield the rows of each batch of an epoch, from batch `first` on."""
        rows, size = self._rows, self._size
        rng = np.random.default_rng((_ORDER, self._seed, epoch))
        if self._shuffle:
            rows = rng.permutation(rows)
        starts = range(0, len(rows), size)
        if self._lengths is not None:
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            if self._shuffle:  # and the batches among themselves
                starts = [starts[i] for i in rng.permutation(len(starts))]  # type: ignore[assignment]
        for start in starts[first:]:
            yield rows[start : start + size]


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
