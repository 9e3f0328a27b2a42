"""The targets and weights of several blocks of outputs, taken together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..models._arguments import Lengths
from .batches import Rows

if TYPE_CHECKING:
    from .target_weights import TargetWeights


class TargetsOfBlocks:
    """The targets of all blocks, which batches are taken of as of one's.

    Parameters
    ----------
    blocks : mapping of str to LabelledData
    """

    def __init__(self, blocks: Mapping[str, Any]) -> None:
        self._blocks = blocks

    def take(self, rows: Rows) -> tuple[dict[str, NDArray[Any]], Lengths]:
        """Copy those of some sequences into buffers, which the next call overwrites."""
        lengths: Lengths = None
        found = {}
        for name, block in self._blocks.items():
            found[name], lengths = block.y.take(rows)
        return found, lengths


class WeightsOfBlocks:
    """The weights of all blocks; of one without any all are 1.

    Parameters
    ----------
    blocks : mapping of str to (TargetWeights or None)
        At least one has some.
    count : int
        Sequences.

    Attributes
    ----------
    blocks
    totals : array (count,)
        Above 0 where a sequence has a weight in any block.
    """

    def __init__(self, blocks: Mapping[str, TargetWeights | None], count: int) -> None:
        self.blocks = blocks
        self.totals = np.zeros(count)
        for own in blocks.values():
            self.totals += 1.0 if own is None else own.totals

    @property
    def warmup(self) -> int:
        """The first steps of each sequence that count nothing, in all blocks."""
        return max(0 if own is None else own.warmup for own in self.blocks.values())

    def alike(self) -> WeightsOfBlocks:
        """Return the same weights with buffers of their own, for another thread."""
        other = copy.copy(self)
        other.blocks = {
            name: None if own is None else own.alike() for name, own in self.blocks.items()
        }
        return other

    def take(self, rows: Rows) -> dict[str, NDArray[np.float64] | None]:
        """Return the weights of some sequences or of their steps, by block."""
        return {n: None if own is None else own.take(rows) for n, own in self.blocks.items()}
