"""The common part of audio plug-ins' files: a stack of layers, a readout, a sample rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _check
from .._errors import ArgumentError
from ..models.recurrent import Recurrent
from . import _json_files
from .layouts import Array, LayerWeights
from .parts import Parts, assemble, parts_of

_SLOWEST, _FASTEST = 1000, 10_000_000  # in Hz: below are those in kHz


def plain(model: Recurrent, files: str) -> Parts:
    """Take a model apart that reads its inputs forward, one number per step and channel.

    files : str
        Whose files these are, for messages: ``"a .nam file"``.

    Raises
    ------
    ValueError, TypeError
        If the model has parts that these files cannot hold, naming them; or weights that are not
        finite.
    """
    parts = parts_of(model)
    for present, what in (
        (parts.directions == 2, "bidirectional=True"),
        (parts.E is not None, f"embedding={model.vocabulary_size}"),
        (bool(parts.static), f"static_size={model.static_size}"),
    ):
        if present:
            raise ArgumentError("model", f"has {what}", f"none: {files} cannot hold it")
    return parts


def readout(parts: Parts) -> tuple[Array, Array] | None:
    """Return the readout's matrix (H, outputs) and bias, zeros if it has none."""
    if parts.W_hy is None:
        return None
    zeros = np.zeros(parts.W_hy.shape[1], parts.dtype)
    return parts.W_hy, zeros if parts.b_y is None else parts.b_y


def built(
    cell: str,
    layers: list[LayerWeights],
    head: tuple[NDArray[Any], NDArray[Any]] | None,
    states: dict[str, NDArray[Any]],
    dtype: DTypeLike,
) -> Recurrent:
    """Make a model of layers with biases, a readout and initial states, each (layers, H)."""
    kind = _check.float_dtype(dtype)

    def fitted(what: str, values: NDArray[Any]) -> Array:
        return _check.fitted(what, values, kind)

    rounded = [
        [LayerWeights(*(None if one is None else fitted("weights", one) for one in layer))]  # type: ignore[arg-type]
        for layer in layers
    ]
    W_hy, b_y = (None, None) if head is None else (fitted("the readout", one) for one in head)
    initial = {name: fitted("the initial state", one) for name, one in states.items()}
    return assemble(Parts(cell, rounded, W_hy, b_y, initial=initial, steps="all"))


def sample_rate_of(model: Recurrent, given: Any) -> float | None:
    """Check `sample_rate`; if it is None, take the one that the model notes, if it does."""
    if given is None:
        given = model.metadata.get("sample_rate")
        if given is None:
            return None
    rate = _check.limit("sample_rate", given)
    if not _SLOWEST <= rate <= _FASTEST:
        raise ArgumentError(
            "sample_rate",
            f"is {rate:g}",
            f"a rate in Hz from {_SLOWEST} to {_FASTEST}, such as 44100 for 44.1 kHz",
            value=rate,
        )
    return int(rate) if rate == int(rate) else rate


def read_rate(value: Any, key: str) -> float:
    """Check the sample rate of a file."""
    expected = "a rate in Hz, above 0"
    rate = _json_files.real(value, key, expected)
    if rate <= 0.0:
        raise ArgumentError(key, f"is {rate}", expected)
    return rate
