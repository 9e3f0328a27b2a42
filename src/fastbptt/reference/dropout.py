"""Dropout: masks are a pure function of a seed and of the position."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Words = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_RECURRENT = 3 << 14  # where the streams of recurrent masks begin


def _mix(z: Words) -> Words:
    """The finaliser of splitmix64, modulo 2^64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))


def dropout_masks(
    seed: int,
    p: float,
    batch: int,
    time: int,
    width: int,
    layers: int,
    dtype: DTypeLike = np.float64,
) -> list[Array]:
    """Return the dropout masks of a training pass, for all layers but the top one.

    The outputs of each layer are multiplied by its mask.

    Parameters
    ----------
    seed : int
        Modulo 2^64. Use a new one for each training pass.
    p : float
        Probability of dropping a value, 0 <= p < 1, rounded down to a multiple of 2^-32.
    batch, time, width, layers : int
        Sequences, steps, hidden states of a layer (directions times H), layers of the network.
    dtype : dtype
        Dtype of the masks.

    Returns
    -------
    list of arrays (batch, time, width)
        One for each layer but the top one: 0 where dropped, ``1 / (1 - p)`` elsewhere.

    Notes
    -----
    The value of layer l, sequence b, step t, column j is dropped if ``u < floor(p * 2^32)``. Here
    ``golden = 0x9E3779B97F4A7C15``, ``mix`` is the finaliser of splitmix64, modulo 2^64, and::

        row = mix(seed + golden * (1 + l + 2^16 t + 2^40 b))
        u   = mix(row + golden * (1 + j)) >> 32

    G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA
    2014. W. Zaremba, I. Sutskever and O. Vinyals, "Recurrent neural network regularization",
    arXiv:1409.2329 (2014), for dropout between layers only.

    Examples
    --------
    >>> dropout_masks(1, 0.5, batch=1, time=2, width=4, layers=2)[0].tolist()
    [[[0.0, 2.0, 0.0, 2.0], [2.0, 0.0, 0.0, 2.0]]]
    """
    return [_mask(seed, p, layer, (batch, time, width), dtype) for layer in range(layers - 1)]


def recurrent_masks(
    seed: int,
    p: float,
    batch: int,
    hidden_size: int,
    layers: int = 1,
    directions: int = 1,
    dtype: DTypeLike = np.float64,
) -> Array:
    """Return the masks of a training pass for what is multiplied by ``W_hh``.

    Parameters
    ----------
    seed, p, batch, layers, dtype : as in `dropout_masks`
    hidden_size, directions : int
        Units of a layer, directions of the network.

    Returns
    -------
    array (layers * directions, batch, hidden_size)
        Of each layer and direction, in the order l0, l0_reverse, l1, ..., the same for all steps of
        a sequence: 0 where dropped, ``1 / (1 - p)`` elsewhere.

    Notes
    -----
    As `dropout_masks`, with 3 * 2^14 + 2 l + d in place of the layer l, of direction d, and t = 0.

    Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural
    networks", NeurIPS 2016, arXiv:1512.05287, with one mask for all gates.

    Examples
    --------
    >>> recurrent_masks(1, 0.5, batch=2, hidden_size=4).tolist()
    [[[0.0, 2.0, 0.0, 2.0], [0.0, 2.0, 2.0, 0.0]]]
    """
    streams = [_RECURRENT + 2 * layer + d for layer in range(layers) for d in range(directions)]
    masks = [_mask(seed, p, stream, (batch, 1, hidden_size), dtype)[:, 0] for stream in streams]
    return np.stack(masks)


def _mask(seed: int, p: float, stream: int, shape: tuple[int, int, int], dtype: DTypeLike) -> Array:
    golden = np.uint64(_GOLDEN)
    b, t, j = (axis.astype(np.int64) for axis in np.ogrid[tuple(slice(n) for n in shape)])
    row = _mix(
        golden * (1 + stream + (t << 16) + (b << 40)).astype(np.uint64) + np.uint64(seed % 2**64)
    )
    u = _mix(golden * (1 + j).astype(np.uint64) + row) >> np.uint64(32)
    return np.where(u < int(p * 2**32), 0.0, 1 / (1 - p)).astype(dtype)
