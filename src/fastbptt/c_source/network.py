"""The plain description of what is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._check import Floats


class Inputs(NamedTuple):
    """The way from the numbers that the caller gives to the network's inputs.

    Attributes
    ----------
    mean, scale : float64 array (features,), or None
        ``(x - mean) / scale``.
    gaps : tuple of int, or None
        Features that may be missing (NaN): 0 instead, and an input that tells where. None: no
        feature may.
    names : tuple of str, or None
        Of the features, for the header.
    filled : bool
        Whether training filled missing values by interpolation, which needs whole sequences.
    """

    mean: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None
    gaps: tuple[int, ...] | None = None
    names: tuple[str, ...] | None = None
    filled: bool = False


class Outputs(NamedTuple):
    """The way from the network's outputs to what the caller gets.

    Attributes
    ----------
    link : str
        A name of `links.LINKS`.
    names : tuple of str, or None
        Of the outputs, for the header.
    at_last : bool
        Whether training looked at the last step of sequences alone.
    """

    link: str = "identity"
    names: tuple[str, ...] | None = None
    at_last: bool = False


class NetworkDescription(NamedTuple):
    """A network of one direction.

    Attributes
    ----------
    cell : str
        A name of `formulas.CELLS`.
    cell_info : mapping
        The core's description of it.
    setting : array (num_layers, hidden_size) or float
        The cell's number, if it has one: of each unit, or of all.
    input_size, hidden_size, num_layers : int
    output_size : int
        0: there is no readout, and the outputs are the hidden states.
    read_units : tuple of int
        Those that the readout reads; empty: all.
    static_size : int
        0: no static inputs.
    vocabulary : int
        0: inputs are numbers, not tokens.
    parameters : mapping of name -> array
        float32 or float64; names and shapes as of ``model.parameters``.
    title : str
        For the header.
    inputs : Inputs
    outputs : Outputs
    """

    cell: str
    cell_info: Mapping[str, Any]
    setting: Floats | float
    input_size: int
    hidden_size: int
    num_layers: int
    output_size: int
    read_units: tuple[int, ...]
    static_size: int
    vocabulary: int
    parameters: Mapping[str, Floats]
    title: str
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
