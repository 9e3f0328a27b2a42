"""Keys of dropout masks: a fresh one for every training pass, from a seed and a counter.

The core makes the masks of a pass from its key alone (`fastbptt.reference.dropout_masks` says
how), so equal seeds and counters mean equal masks, on every machine and for any number of threads.
"""

from __future__ import annotations

import threading
from typing import Final

_BITS: Final = (1 << 64) - 1


class Keys:
    """The keys of one model. Calls from several threads never get the same one."""

    __slots__ = ("_count", "_lock", "_seed")

    def __init__(self, seed: int, count: int = 0) -> None:
        self._seed = seed
        self._count = count
        self._lock = threading.Lock()

    @property
    def state(self) -> tuple[int, int]:
        """Seed, and how many keys have been used."""
        return self._seed, self._count

    def take(self) -> int:
        """Return the next key, 64 bits."""
        with self._lock:
            self._count += 1
            return _key(self._seed, self._count)

    def give_back(self, key: int) -> None:
        """Take a key back whose pass has failed, unless a later one is in use already."""
        with self._lock:
            if self._count and key == _key(self._seed, self._count):
                self._count -= 1


def _key(seed: int, number: int) -> int:
    """Number `number` of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) from this seed."""
    z = (seed + number * 0x9E3779B97F4A7C15) & _BITS
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _BITS
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _BITS
    return z ^ z >> 31
