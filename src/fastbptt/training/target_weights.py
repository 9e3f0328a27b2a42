"""Weights of the sequences of one call, or of their steps, in the loss and the metrics."""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._check import F64
from ..models._arguments import Lengths, check_weights, nothing_after
from .batches import Gathered, Rows

Values: TypeAlias = NDArray[np.float64] | list[NDArray[np.float64]]


class TargetWeights:
    """TargetWeights of at least 0, checked; of no step after a sequence's end.

    Parameters
    ----------
    values : array (count,), array (count, time) or list of arrays (time_i,)
        Of the sequences, or of their steps.
    lengths : int64 array (count,) or None
    warmup : int
        The first steps of each sequence that count nothing.
    time : int
        Steps of the longest sequence.
    may_be_zero : bool
        Whether all may be 0.

    Attributes
    ----------
    values, warmup
        As given.
    each_step : bool
        Whether steps have weights of their own.
    totals : array (count,)
        The sum of the weights of each sequence's steps, or the sequence's own.
    """

    def __init__(
        self, values: Values, lengths: Lengths, warmup: int, time: int, may_be_zero: bool = False
    ) -> None:
        check_weights(values, lengths, may_be_zero)
        self.values, self.warmup = values, warmup
        self._lengths, self._time = lengths, time
        steps = isinstance(values, list) or values.ndim == 2
        self.each_step = steps or warmup > 0
        self._steps: Gathered | None = None
        if steps or warmup:
            every = values
            if not steps:
                every = np.broadcast_to(np.asarray(values)[:, np.newaxis], (len(values), time))
            self._steps = Gathered(every, lengths)
        if isinstance(values, list):
            self.totals = np.array([one[warmup:].sum() for one in values])
        elif steps:
            inside = values[:, warmup:]
            if lengths is not None:
                inside = np.where(
                    np.arange(warmup, values.shape[1]) < lengths[:, np.newaxis], inside, 0.0
                )
            self.totals = inside.sum(axis=1)
        elif warmup:
            ends = np.full(len(values), time) if lengths is None else lengths
            self.totals = values * np.maximum(ends - warmup, 0)
        else:
            self.totals = values
        if warmup and not may_be_zero and not self.totals.any():
            raise nothing_after(warmup)

    def alike(self) -> TargetWeights:
        """Return the same weights with buffers of their own, for another thread."""
        other = copy.copy(self)
        other._steps = None if self._steps is None else self._steps.alike()
        return other

    def take(self, rows: Rows) -> NDArray[np.float64]:
        """Return the weights of some sequences, (rows,), or of their steps, (rows, time).

        The next call may overwrite them. `time` is that of the longest of these sequences.
        """
        if self._steps is None:
            assert not isinstance(self.values, list)
            return self.values[rows]
        found, _ = self._steps.take(rows)
        found[:, : self.warmup] = 0.0
        return found

    def sequences(self) -> _core.StridedSequences:
        """Return those of all sequences, without the warm-up, for the core."""
        if self._steps is not None:
            return self._steps.sequences
        return _core.StridedSequences(np.asarray(self.values))

    @property
    def differ(self) -> bool:
        """Whether the weights above 0 are not all the same."""
        parts = self.values if isinstance(self.values, list) else [self.values]
        found = np.concatenate([np.unique(one[one > 0.0]) for one in parts])
        return len(np.unique(found)) > 1

    def counted(self) -> Any:
        """Which sequences, or steps, have a weight above 0: bool arrays as `values` is."""
        if isinstance(self.values, list):
            found = [one > 0.0 for one in self.values]
            for one in found:
                one[: self.warmup] = False
            return found
        if not self.each_step:
            return self.values > 0.0
        every = np.empty((len(self.values), self._time), np.bool_)
        every[...] = (self.values if self.values.ndim == 2 else self.values[:, np.newaxis]) > 0.0
        every[:, : self.warmup] = False
        return every

    def times(self, factors: Values) -> TargetWeights:
        """Multiply with other weights."""
        if isinstance(factors, list) or isinstance(self.values, list):
            assert self._lengths is not None
            values: Values = [
                _of(self.values, i, int(end)) * _of(factors, i, int(end))
                for i, end in enumerate(self._lengths)
            ]
        else:
            one, other = self.values, factors
            if one.ndim < other.ndim:
                one, other = other, one
            values = one * (other[:, np.newaxis] if other.ndim < one.ndim else other)
        return TargetWeights(values, self._lengths, self.warmup, self._time)


def _of(values: Values, i: int, end: int) -> Any:
    """The weights of one sequence's steps."""
    one = values[i]
    return one[:end] if np.ndim(one) else np.full(end, one, F64)
