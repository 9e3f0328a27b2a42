"""All windows of one or several series, standardised batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..preprocessing import Standardizer
from ..training.batches import Computed, Rows
from ._inputs import Array

_BLOCK: Final = 1 << 16  # numbers of the windows that are computed at a time


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

    def raw(self, rows: Rows) -> Array:
        """Copy some windows with their targets: (windows, window + horizon, features)."""
        starts = rows + self._shifts[np.searchsorted(self._ends, rows, side="right")]
        copied: Array = np.moveaxis(self._view[starts], 1, 2)
        return copied

    def base(self, windows: Array) -> Array:
        """Return the value to subtract: (windows, 1, features) or (features,)."""
        return windows[:, self.window - 1 : self.window] if self.mean is None else self.mean

    def blocks(self) -> Iterator[Array]:
        """Yield all windows with their targets, some at a time."""
        size = max(_BLOCK // self._view[0].size, 1)
        for first in range(0, len(self), size):
            yield self.raw(np.arange(first, min(first + size, len(self))))

    def inputs(self, standardizer: Standardizer, dtype: np.dtype[np.floating]) -> Computed:
        """Return the inputs of the network: (windows, window, features)."""

        def compute(rows: Rows) -> Array:
            windows = self.raw(rows)
            differences = windows[:, : self.window] - self.base(windows)
            return np.asarray(standardizer.transform(differences, dtype=dtype))

        return Computed((len(self), self.window, self._rows.shape[1]), compute)

    def targets(self, standardizer: Standardizer, dtype: np.dtype[np.floating]) -> Computed:
        """Return the targets of the network: (windows, horizon * features)."""

        def compute(rows: Rows) -> Array:
            windows = self.raw(rows)
            differences = windows[:, self.window :] - self.base(windows)
            scaled = standardizer.transform(differences, dtype=dtype)
            return np.asarray(scaled).reshape(len(rows), -1)

        return Computed((len(self), self.horizon * self._rows.shape[1]), compute)
