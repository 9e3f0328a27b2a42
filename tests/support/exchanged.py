"""Networks for the tests of interchange: every cell that a library has, in several structures."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastbptt
from fastbptt.interchange.layouts import LAYOUTS
from fastbptt.models._weights import dense

Array = Any

#: Structures, of 3 inputs (or an embedding of 7 rows of 3 numbers) and 4 hidden units.
STRUCTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "readout": {"output_size": 2},
    "deep": {"output_size": 2, "num_layers": 3, "dropout": 0.25},
    "both": {"output_size": 2, "num_layers": 2, "bidirectional": True, "dropout": 0.25},
    "tokens": {"output_size": 1, "embedding": 7},
    "no bias": {"output_size": 2, "num_layers": 2, "bias": False},
    "output bias": {"output_size": 2, "bias": False, "output_bias": True},
    "no output bias": {"output_size": 2, "output_bias": False},
    "low rank": {"output_size": 2, "num_layers": 2, "rank": 2},
    "some units": {"output_size": 2, "bidirectional": True, "readout_units": [1, 2, 6]},
}


def cells(library: str) -> list[str]:
    """Return the cells that a library has, by the table of layouts."""
    return [cell for name, cell in LAYOUTS if name == library]


def network(cell: str, structure: str, **options: Any) -> fastbptt.Recurrent:
    """Make a network with biases and all, of random weights."""
    given = STRUCTURES[structure] | options
    model = fastbptt.Recurrent(cell, 3, 4, seed=0, **given)
    rng = np.random.default_rng(1)
    model.parameters.flat[:] += rng.normal(size=model.num_parameters) * 0.3
    return model


def inputs(model: fastbptt.Recurrent, batch: int = 3, time: int = 6) -> Array:
    rng = np.random.default_rng(2)
    if model.vocabulary_size is not None:
        return rng.integers(0, model.vocabulary_size, (batch, time))
    return rng.normal(size=(batch, time, 3)).astype(model.dtype)


def settings(model: fastbptt.Recurrent) -> dict[str, Any]:
    """Return what a model's weights are of, whatever options say the same."""
    own = dict(model._config()["arguments"])
    return own | {"output_bias": model.output_bias}


def same(read: fastbptt.Recurrent, model: fastbptt.Recurrent) -> bool:
    """Whether two networks are the same to the bit; units that are not read have zeros instead.

    Of low rank: the product is.
    """
    ours, theirs = settings(model), settings(read)
    own = dense(model.state_dict())
    ours["rank"] = None
    if ours["readout_units"] is not None:
        every = np.zeros((model._input_spec.hidden_size * 2, 2), model.dtype)
        every[list(ours["readout_units"])] = own["W_hy"]
        own["W_hy"] = every
        ours["readout_units"] = None
    got = read.state_dict()
    return (
        ours == theirs
        and read.dtype == model.dtype
        and list(own) == list(got)
        and all(own[name].tobytes() == got[name].tobytes() for name in own)
    )


def seen(model: fastbptt.Recurrent, x: Array, steps: str, lengths: Array | None = None) -> Array:
    """Return the outputs of what the readout sees, in float64 where it is pooled."""
    result = model.forward(x, lengths=lengths)
    if steps in ("last", "all"):
        return result.last if steps == "last" else result.outputs
    ends = np.full(len(x), x.shape[1]) if lengths is None else np.asarray(lengths)
    valid = (np.arange(x.shape[1]) < ends[:, np.newaxis])[:, :, np.newaxis]
    hidden = result.hidden.astype(np.float64)
    if steps == "mean":
        hidden = hidden.sum(axis=1) / ends[:, np.newaxis]
    else:
        hidden = np.where(valid, hidden, -np.inf).max(axis=1)
    if model.output_size is None:
        return hidden
    weights = model.parameters["W_hy"]
    return hidden[:, model._read_columns] @ weights + (
        model.parameters["b_y"] if model.output_bias else 0
    )


def close(got: Array, want: Array, tolerance: float = 1e-6) -> bool:
    """Whether numbers agree relative to the largest."""
    got, want = np.asarray(got), np.asarray(want)
    return got.shape == want.shape and np.abs(got - want).max() <= tolerance * np.abs(want).max()
