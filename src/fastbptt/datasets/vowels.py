"""The Japanese Vowels, which ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset", "load_japanese_vowels"]


class Dataset(NamedTuple):
    """Classified sequences, split into a training and a test part.

    Attributes
    ----------
    x_train, x_test : list of ndarray
        One float32 array of shape (steps, features) for each sequence.
    y_train, y_test : ndarray
        The class of each sequence, int64, shape (number of sequences,).
    feature_names : tuple of str
        One name for each column of a sequence.
    class_names : tuple of str
        The name of class 0, 1, ...
    description : str
        Contents, source and licence of the data.
    """

    x_train: list[NDArray[np.float32]]
    y_train: NDArray[np.int64]
    x_test: list[NDArray[np.float32]]
    y_test: NDArray[np.int64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    description: str


_JAPANESE_VOWELS = """\
Japanese Vowels: nine men say the two Japanese vowels /ae/ one after the other; who is speaking?
270 training sequences (30 of each speaker) and 370 test sequences (24 to 88 of each speaker), of
7 to 29 steps. Each step holds the 12 LPC cepstrum coefficients of one analysis frame (25.6 ms,
a new one each 6.4 ms), without a unit, between -1.9 and 2.3.

Mineichi Kudo, Jun Toyama, Masaru Shimbo (1999), UCI Machine Learning Repository,
https://doi.org/10.24432/C5NS47. Licence: CC BY 4.0. Changes: decimal numbers stored in
millionths and given as float32, speakers 1..9 renumbered 0..8, stored as one .npz file; nothing
left out or reordered.
"""


def _unpacked(
    high: NDArray[np.uint8], low: NDArray[np.uint8], lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return millionths (steps, features).

    scripts/make_japanese_vowels.py says how they are packed.
    """
    count = high[0].size
    width = 8 * len(low) // count
    bits = np.unpackbits(low, count=count * width).reshape(*high.shape[1:], width)
    whole = bits @ (1 << np.arange(width)[::-1])
    whole += (high[0].astype(np.int64) + (high[1].astype(np.int64) << 8)) << width
    x = ((whole >> 1) ^ -(whole & 1)).T.copy()  # until now what the prediction leaves
    starts = lengths.cumsum() - lengths
    for t in range(1, int(lengths.max())):
        here = starts[lengths > t] + t
        x[here] += (11 * x[here - 1] - (3 * x[here - 2] if t > 1 else 0)) >> 3
    return x


def load_japanese_vowels() -> Dataset:
    """Load the Japanese Vowels recordings: nine speakers, sequences of 7 to 29 steps of 12 numbers.

    Returns
    -------
    Dataset
        ``x_train`` and ``x_test`` are lists of 270 and 370 float32 arrays of shape (steps, 12),
        ``y_train`` and ``y_test`` int64 arrays of the speakers 0..8. All arrays are fresh
        copies. The sequences have the order of the original files, sorted by speaker: shuffle
        them before splitting off a validation part.

    References
    ----------
    M. Kudo, J. Toyama, M. Shimbo. Multidimensional curve classification using passing-through
    regions. Pattern Recognition Letters 20 (11-13), 1103-1111, 1999.
    Data: https://doi.org/10.24432/C5NS47, CC BY 4.0.

    Examples
    --------
    >>> from fastbptt.datasets import load_japanese_vowels
    >>> data = load_japanese_vowels()
    >>> len(data.x_train), len(data.x_test), data.x_train[0].shape
    (270, 370, (20, 12))
    >>> sorted(set(data.y_test.tolist()))
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    path = Path(__file__).parent / "data" / "japanese_vowels.npz"
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def sequences(part: str) -> list[NDArray[np.float32]]:
        ends = np.cumsum(arrays[f"{part}_lengths"])
        values = _unpacked(*(arrays[f"{part}_{name}"] for name in ("high", "low", "lengths")))
        pieces = np.split((values / 1e6).astype(np.float32), ends[:-1])
        return [piece.copy() for piece in pieces]

    return Dataset(
        x_train=sequences("train"),
        y_train=arrays["train_y"],
        x_test=sequences("test"),
        y_test=arrays["test_y"],
        feature_names=tuple(f"coefficient {i}" for i in range(1, 13)),
        class_names=tuple(f"speaker {i}" for i in range(1, 10)),
        description=_JAPANESE_VOWELS,
    )
