"""Seeds of dropout and noise: a fresh one for every training pass, from the model's and a counter.

The core makes masks and noise of a pass from its seed alone (as `fastbptt.reference.dropout_masks`
and `recurrent_noise` do), so models of equal seeds and counters draw the same, on every machine and
for any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

_BITS: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15


class DropoutSeeds:
    """The seeds of one model. Calls from several threads never get the same one.

    used: whether there is any dropout or noise; if not, no pass has a seed.
    """

    __slots__ = ("_count", "_lock", "_seed", "used")

    def __init__(self, used: bool) -> None:
        self.used = used
        self._seed = 0
        self._count = 0
        self._lock = threading.Lock()

    @property
    def state(self) -> tuple[int, int]:
        """The model's seed, and the number of passes that had one."""
        return self._seed, self._count

    @state.setter
    def state(self, value: Sequence[int]) -> None:
        with self._lock:
            self._seed, self._count = value

    def take(self, taken: list[int]) -> int | None:
        """Return the next pass's seed, 64 bits, and note it in `taken`; None if none is used.

        It is in `taken` before it counts, so that an exception in between, which a signal's handler
        may raise anywhere, finds it there.
        """
        if not self.used:
            return None
        with self._lock:
            seed = _number(self._seed, self._count + 1)
            taken.append(seed)
            self._count += 1
            return seed

    def reserve(self, count: int) -> tuple[int, int]:
        """Reserve the seeds of so many passes, which the core makes; `settle` follows.

        Returns the model's seed and the first pass's number; 0 if none is used.
        """
        if not self.used:
            return 0, 0
        with self._lock:
            first, self._count = self._count + 1, self._count + count
            return self._seed, first

    def settle(self, before: tuple[int, int], count: int, done: int) -> None:
        """Take back those of reserved seeds that were not used, unless a later one is.

        before: the state before `reserve`, which an exception may have kept from being called.
        """
        with self._lock:
            if self.used and self._count == before[1] + count:
                self._count = before[1] + done

    def give_back(self, taken: list[int]) -> None:
        """Take seeds back whose pass has failed, unless a later one is in use already."""
        with self._lock:
            for seed in reversed(taken):
                if self._count and seed == _number(self._seed, self._count):
                    self._count -= 1


def of_later_rows(seed: int, first: int) -> int:
    """Return the seed with which the rows 0, 1, .. of a pass draw what rows `first`, .. draw.

    The core adds the row, shifted by 40 bits, times the same constant to the seed: `Dropout` in
    cpp/engine/dropout.h, and cpp/engine/noise.h.
    """
    return (seed + (first << 40) * _GOLDEN) & _BITS


def _number(seed: int, number: int) -> int:
    """Number `number` of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) from this seed."""
    z = (seed + number * _GOLDEN) & _BITS
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _BITS
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _BITS
    return z ^ z >> 31
