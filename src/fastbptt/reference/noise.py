"""Gaussian noise: a pure function of a seed and of the position, as dropout masks are."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .dropout import _GOLDEN, Array, _mix

Words = NDArray[np.uint32]

# where the streams begin; those of dropout begin at 0
_INPUT, _ZONEOUT, _RECURRENT = 1 << 14, 5 << 13, 1 << 15


def _hash(place: Words, second: Words) -> Words:
    """Mix the second half of a row's key into a place, modulo 2^32."""
    x = (place ^ (place >> np.uint32(17))) * np.uint32(0xED5AD4BB)
    x = ((x ^ (x >> np.uint32(11))) + second) * np.uint32(0xAC4C1B51)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x31848BAB)
    result: Words = x ^ (x >> np.uint32(14))
    return result


def normal(seed: int, stream: int, batch: int, time: int, width: int, dtype: DTypeLike) -> Array:
    """Return standard normal numbers of one stream.

    Parameters
    ----------
    seed : int
        Modulo 2^64.
    stream : int
        2^14 for the noise of inputs, 2^15 + 2 l + d for that of layer l, direction d.
    batch, time, width : int
        Sequences, steps, columns.
    dtype : dtype
        In which the numbers are computed.

    Returns
    -------
    array (batch, time, width)
        The largest absolute value is 6.56.

    Notes
    -----
    With ``golden`` and ``mix`` of `dropout_masks`, and ``hash`` the three rounds of triple32
    (C. Wellons, hash-prospector, 2018) modulo 2^32, the second half of the key after the first::

        key = mix(seed + golden * (1 + stream + 2^16 t + 2^40 b))    of sequence b, step t
        w_j = hash(key mod 2^32 + 0x9E3779B9 j, key >> 32)           of column j, as signed numbers

    The numbers of columns 2k and 2k + 1 are ``r cos(a)`` and ``r sin(a)``, with ``r = sqrt(-2
    log(u))``, by G. E. P. Box and M. E. Muller, "A note on the generation of random normal
    deviates", Annals of Mathematical Statistics 29 (1958). ``u`` is ``|w_2k|`` made odd, divided by
    2^31; ``a`` is ``(|w_2k+1| / 2^30 - 1) pi / 2``, and the sign of ``w_2k+1`` that of the cosine.
    Both w are rounded to 24 bits, so that all dtypes have the same ones.

    Examples
    --------
    >>> normal(1, 1 << 15, batch=1, time=1, width=3, dtype=np.float64).round(4).tolist()
    [[[1.1516, -0.9283, -0.3505]]]
    """
    j = np.arange(width + width % 2)
    words = _words(seed, stream, batch, time, j).view(np.int32)
    u = np.abs((words[..., ::2] | 1).astype(np.float32).astype(dtype)) * 2.0**-31
    sign = words[..., 1::2].astype(np.float32).astype(dtype)
    half = (np.abs(sign) * 2.0**-30 - 1) * float(np.pi / 2)
    radius = np.sqrt(-2 * np.log(u))
    pairs = np.stack([radius * np.copysign(np.cos(half), sign), radius * np.sin(half)], axis=-1)
    return pairs.reshape(batch, time, len(j))[..., :width]


def recurrent_noise(
    seed: int,
    std: float,
    batch: int,
    time: int,
    hidden_size: int,
    layers: int = 1,
    directions: int = 1,
    dtype: DTypeLike = np.float64,
) -> Array:
    """Return the noise that a training pass adds to the sums ``x W_xh + h W_hh + b_h``.

    Parameters
    ----------
    seed : int
        Modulo 2^64. Use a new one for each training pass.
    std : float
        Standard deviation.
    batch, time, hidden_size, layers, directions : int
        Sequences, steps, units, layers and directions of the network.
    dtype : dtype
        In which the noise is computed.

    Returns
    -------
    array (layers * directions, batch, time, hidden_size)
        Of each layer and direction, in the order l0, l0_reverse, l1, ..., by the step of the
        sequence, which the reverse direction reads from the end.

    Notes
    -----
    ``std`` times the numbers of `normal`, in streams of their own.

    Examples
    --------
    >>> noise = recurrent_noise(1, 0.5, batch=4, time=100, hidden_size=50, layers=2)
    >>> noise.shape, bool(abs(noise.std() - 0.5) < 0.01)
    ((2, 4, 100, 50), True)
    """
    streams = [_RECURRENT + 2 * layer + d for layer in range(layers) for d in range(directions)]
    return np.stack(
        [float(std) * normal(seed, s, batch, time, hidden_size, dtype) for s in streams]
    )


def input_noise(
    seed: int, std: float, batch: int, time: int, input_size: int, dtype: DTypeLike = np.float64
) -> Array:
    """Return the noise that a training pass adds to its inputs.

    Parameters
    ----------
    seed, std, batch, time, dtype : as in `recurrent_noise`
    input_size : int
        Features per step.

    Returns
    -------
    array (batch, time, input_size)
        Both directions of a network read the same.

    Examples
    --------
    >>> input_noise(1, 0.5, batch=2, time=3, input_size=4).shape
    (2, 3, 4)
    """
    noise: Array = float(std) * normal(seed, _INPUT, batch, time, input_size, dtype)
    return noise


def zoneout_masks(
    seed: int,
    p: tuple[float, ...],
    batch: int,
    time: int,
    hidden_size: int,
    layers: int = 1,
    directions: int = 1,
    dtype: DTypeLike = np.float64,
) -> Array:
    """Return which states keep their value of the step before, in a training pass.

    Parameters
    ----------
    seed, batch, time, hidden_size, layers, directions, dtype : as in `recurrent_noise`
    p : tuple of S floats
        The probability of each state of the cell, rounded up to a multiple of 2^-24.

    Returns
    -------
    array (layers * directions, S, batch, time, hidden_size)
        1 where a state is kept, else 0.

    Notes
    -----
    A state is kept if ``floor(w_j / 2^8) / 2^24 < p``, with the unsigned ``w_j`` of `normal` in the
    streams 5 * 2^13 + 2 l + d, and j the number of the unit, plus 2^28 for the second state.

    D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR
    2017, arXiv:1606.01305.

    Examples
    --------
    >>> kept = zoneout_masks(1, (0.25,), batch=4, time=100, hidden_size=50)
    >>> kept.shape, bool(abs(kept.mean() - 0.25) < 0.01)
    ((1, 1, 4, 100, 50), True)
    """
    units = np.arange(hidden_size)
    return np.stack(
        [
            np.stack(
                [
                    (
                        _words(seed, _ZONEOUT + 2 * layer + d, batch, time, units + (s << 28))
                        >> np.uint32(8)
                    )
                    * 2.0**-24
                    < share
                    for s, share in enumerate(p)
                ]
            )
            for layer in range(layers)
            for d in range(directions)
        ]
    ).astype(dtype)


def _words(seed: int, stream: int, batch: int, time: int, columns: NDArray[np.int64]) -> Words:
    """Draw 32 bits for each column of each step of each sequence."""
    b, t = np.ogrid[:batch, :time]
    place = (1 + stream + (t << 16) + (b << 40)).astype(np.uint64)
    key = _mix(np.uint64(_GOLDEN) * place + np.uint64(seed % 2**64))[:, :, np.newaxis]
    first = (key & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return _hash(
        first + columns.astype(np.uint32) * np.uint32(_GOLDEN >> 32),
        (key >> np.uint64(32)).astype(np.uint32),
    )
