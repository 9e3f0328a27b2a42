"""All windows of one or several series, standardised batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..preprocessing import Imputer
from ..training.batches import Computed, Rows
from ._inputs import Array


def _carried_forward(series: Array) -> Array:
    """Put the last known value into the gaps after it; NaN before the first."""
    there = ~np.isnan(series)
    place = np.where(there, np.arange(len(series))[:, np.newaxis], 0)
    place = np.maximum.accumulate(place, axis=0)
    found: Array = np.take_along_axis(series, place, axis=0)
    return found


def imputed(imputer: Imputer, windows: Array) -> Array:
    """Fill the gaps of standardised windows and add indicators: (windows, steps, inputs)."""
    rows = imputer._of_rows(windows.reshape(-1, windows.shape[-1]))
    return rows.reshape(*windows.shape[:-1], -1)


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
    imputer : Imputer, optional
        If values may be missing: fills the gaps of inputs. The last value is then the last one that
        is there, in the window or before it.
    """

    def __init__(
        self,
        series: list[Array],
        window: int,
        horizon: int,
        mean: NDArray[np.float64] | None,
        imputer: Imputer | None = None,
    ) -> None:
        self.window, self.horizon, self.mean = window, horizon, mean
        self._imputer = imputer
        self._rows = series[0] if len(series) == 1 else np.concatenate(series)
        self._lengths = [len(one) for one in series]
        self._known = self._rows  # the last value of each feature at each step
        if imputer is not None:
            self._known = np.concatenate([_carried_forward(one) for one in series])
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

    def last(self, rows: Rows) -> Array:
        """Return the last value before the targets: (windows, 1, features); NaN: there is none."""
        found: Array = self._known[self._starts(rows) + self.window - 1, np.newaxis]
        return found

    def blocks(self) -> Iterator[tuple[Array, Array]]:
        """Yield all windows with their targets, and their last values, some at a time."""
        size = max(_BLOCK // self._view[0].size, 1)
        for first in range(0, len(self), size):
            rows = np.arange(first, min(first + size, len(self)))
            yield self.raw(rows), self.last(rows)

    def weights(self) -> NDArray[np.float64]:
        """Return 1 for windows that can be trained on, else 0: without a target, or a base."""
        found = []
        for block, last in self.blocks():
            targets = ~np.isnan(block[:, self.window :]).all(axis=(1, 2))
            based = ~np.isnan(last).any(axis=(1, 2)) if self.mean is None else True
            found.append(targets & based)
        return np.concatenate(found).astype(np.float64)

    def complete(self) -> Rows:
        """Return the windows of which no target is missing."""
        there = [
            ~(np.isnan(block[:, self.window :]).any(axis=(1, 2)) | np.isnan(last).any(axis=(1, 2)))
            for block, last in self.blocks()
        ]
        return np.flatnonzero(np.concatenate(there)).astype(np.int64)

    def inputs(self, scale: NDArray[np.float64], dtype: np.dtype[Any]) -> Computed:
        """Return the inputs of the network: (windows, window, features)."""
        more = 0 if self._imputer is None else len(self._imputer.features_)

        def compute(rows: Rows) -> Array:
            found = self._scaled(rows, slice(self.window), scale, dtype)
            return found if self._imputer is None else imputed(self._imputer, found)

        return Computed((len(self), self.window, self._rows.shape[1] + more), compute)

    def targets(self, scale: NDArray[np.float64], dtype: np.dtype[Any]) -> Computed:
        """Return the targets of the network: (windows, horizon * features); NaN: missing."""

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
            values -= self.last(rows)
        else:
            values -= self.mean
        with np.errstate(over="ignore"):  # an overflow becomes inf, which is reported
            if values.dtype == np.float64:
                values /= scale
            else:
                values = values / scale
            return values.astype(dtype, order="C", copy=False)
