"""All windows of one or several series, standardised batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..training.batches import Computed, Rows
from ._inputs import Array

_BLOCK: Final = 1 << 15  # numbers of the windows that are computed at a time


class Windows:
    """Windows with their targets, one from each step of the series; nothing of them is kept.

    Parameters
    ----------
    series : list of arrays (time, features)
    window, horizon : int
        Steps of the inputs and of the targets.
    mean : array (features,) or None
        Subtracted from inputs and targets; None: the last value of each window.
    """

    def __init__(
        self,
        series: list[Array],
        window: int,
        horizon: int,
        mean: NDArray[np.float64] | None,
    ) -> None:
        self.window, self.horizon, self.mean = window, horizon, mean
        self._rows = series[0] if len(series) == 1 else np.concatenate(series)
        self._lengths = [len(one) for one in series]
        length = window + horizon
        self._choose([(0, one - length + 1) for one in self._lengths])
        self._view = np.lib.stride_tricks.sliding_window_view(self._rows, length, axis=0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _choose(self, spans: list[tuple[int, int]]) -> None:
        counts = [count for _, count in spans]
        self.spans, self._ends = spans, np.cumsum(counts)
        firsts = np.cumsum([0, *self._lengths[:-1]]) + [first for first, _ in spans]
        self._shifts = firsts - (self._ends - counts)  # from a window's number to its first row

    def part(self, spans: list[tuple[int, int]]) -> Windows:
        """Return some of the windows, of the same memory.

        spans: for each series the first of its windows, and how many.
        """
        found = copy.copy(self)
        found._choose(spans)
        return found

    def raw(self, rows: Rows, part: slice = slice(None)) -> Array:
        """Copy some windows with their targets, or a part: (windows, steps, features)."""
        copied: Array = self._view[self._starts(rows), :, part]
        return np.moveaxis(copied, 1, 2)

    def base(self, windows: Array) -> Array:
        """Return the value to subtract: (windows, 1, features) or (features,)."""
        return windows[:, self.window - 1 : self.window] if self.mean is None else self.mean

    def blocks(self) -> Iterator[Array]:
        """Yield all windows with their targets, some at a time."""
        size = max(_BLOCK // self._view[0].size, 1)
        for first in range(0, len(self), size):
            yield self.raw(np.arange(first, min(first + size, len(self))))

    def inputs(self, scale: NDArray[np.float64], dtype: np.dtype[Any]) -> Computed:
        """Return the inputs of the network: (windows, window, features)."""

        def compute(rows: Rows) -> Array:
            return self._scaled(rows, slice(self.window), scale, dtype)

        return Computed((len(self), self.window, self._rows.shape[1]), compute)

    def targets(self, scale: NDArray[np.float64], dtype: np.dtype[Any]) -> Computed:
        """Return the targets of the network: (windows, horizon * features)."""

        def compute(rows: Rows) -> Array:
            found = self._scaled(rows, slice(self.window, None), scale, dtype)
            return found.reshape(len(rows), -1)

        return Computed((len(self), self.horizon * self._rows.shape[1]), compute)

    def _starts(self, rows: Rows) -> Rows:
        shifts = self._shifts[np.searchsorted(self._ends, rows, side="right")]
        return np.add(rows, shifts, dtype=np.int64)

    def _scaled(
        self, rows: Rows, part: slice, scale: NDArray[np.float64], dtype: np.dtype[Any]
    ) -> Array:
        values = self.raw(rows, part)
        if self.mean is None:
            values -= self._rows[self._starts(rows) + self.window - 1, np.newaxis]
        else:
            values -= self.mean
        with np.errstate(over="ignore"):  # an overflow becomes inf, which is reported
            if values.dtype == np.float64:
                values /= scale
            else:
                values = values / scale
            return values.astype(dtype, order="C", copy=False)
