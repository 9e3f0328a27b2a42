"""The result of the readers, padding to one array and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError

__all__ = ["Sequences", "pad", "unpad"]


@dataclass(frozen=True, eq=False, repr=False)
class Sequences:
    """Sequences read from a file, with labels and names.

    Its ``x`` and ``y`` are what a model's methods take.

    Attributes
    ----------
    x : ndarray or list of ndarray
        One array of shape (sequences, steps, features) if all have the same number of steps, else
        one of shape (steps, features) for each. Floats; missing values are NaN.
    y : ndarray, list of ndarray or None
        None if the file has no labels. Otherwise classes, int64, or targets, floats: shape
        (sequences,) or (sequences, targets). With one for each step, shape (sequences, steps) or
        (sequences, steps, targets), and a list of arrays without the first axis where `x` is one.
    classes : tuple of str or None
        The name of class 0, 1, ...; None if `y` holds no classes.
    feature_names : tuple of str
        One name for each column of a sequence.
    ids : tuple of str
        The name of each sequence in the file.
    source : str
        The file.
    categories : dict or None
        For each column of names that became features, the names: "wind=NW" is one of "wind".
    times : list of ndarray or None
        The time of each step, datetime64[s] of shape (steps,) for each sequence; None: the file has
        none, or only their order counts.
    frequency : str or None
        How far apart the times are, as the file says it: "daily".
    weights : ndarray, list of ndarray or None
        Weights of the sequences, float64 (sequences,), or of their steps, (sequences, steps) or a
        list; None: none were read.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.datasets import Sequences
    >>> x = [np.zeros((3, 2)), np.zeros((5, 2))]
    >>> data = Sequences(x, np.array([0, 1]), ("no", "yes"), ("a", "b"), ("0", "1"), "none")
    >>> data
    Sequences(2 sequences of 3 to 5 steps x 2 features, 2 classes)
    >>> data.lengths
    array([3, 5])
    """

    x: NDArray[Any] | list[NDArray[Any]]
    y: NDArray[Any] | list[NDArray[Any]] | None
    classes: tuple[str, ...] | None
    feature_names: tuple[str, ...]
    ids: tuple[str, ...]
    source: str
    categories: dict[str, tuple[str, ...]] | None = None
    times: list[NDArray[np.datetime64]] | None = None
    frequency: str | None = None
    weights: NDArray[Any] | list[NDArray[Any]] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of steps of each sequence, int64, shape (sequences,)."""
        return np.array([len(one) for one in self.x], np.int64)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        count, lengths = len(self), self.lengths
        low, high = (int(lengths.min()), int(lengths.max())) if count else (0, 0)
        parts = [
            f"{count} {_plural('sequence', count)} of {low if low == high else f'{low} to {high}'}"
            f" {_plural('step', high)}"
        ]
        if self.feature_names:
            features = len(self.feature_names)
            parts[0] += f" x {features} {_plural('feature', features)}"
        if self.classes is not None:
            parts.append(f"{len(self.classes)} {_plural('class', len(self.classes))}")
        elif self.y is not None:
            parts.append("numbers as targets")
        return f"Sequences({', '.join(parts)})"


def pad(
    sequences: Sequence[Any], *, value: float = 0, max_length: int | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Pad sequences of different lengths to one array.

    Models accept lists of sequences; padding is only needed for custom batches.

    Parameters
    ----------
    sequences : sequence of array_like
        Arrays of shape (steps,) or (steps, features), at least one, of at least one step.
    value : float, default 0
        The value of the steps after a sequence's end.
    max_length : int, optional
        Truncate sequences to this length.

    Returns
    -------
    padded : ndarray
        Shape (sequences, steps of the longest) or (sequences, steps of the longest, features),
        of the sequences' common dtype.
    lengths : ndarray
        The number of steps of each, int64, shape (sequences,).

    Raises
    ------
    ValueError, TypeError
        If there is no sequence, one has no step, or their shapes differ otherwise.

    Examples
    --------
    >>> from fastbptt.datasets import pad
    >>> padded, lengths = pad([[5, 6, 7], [8]])
    >>> padded
    array([[5, 6, 7],
           [8, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    longest = None if max_length is None else _check.size("max_length", max_length)
    if len(sequences) == 0:
        raise ValueError("sequences is empty; expected at least one sequence")
    items = [_check.read(f"sequences[{i}]", one) for i, one in enumerate(sequences)]
    first = items[0]
    for i, item in enumerate(items):
        if item.ndim not in (1, 2) or item.shape[1:] != first.shape[1:]:
            expected = "(steps,) or (steps, features)"
            if i and first.ndim in (1, 2):
                expected = f"(steps{', ' + str(first.shape[1]) if first.ndim == 2 else ','})"
                expected += ", as sequences[0] has"
            raise ValueError(f"sequences[{i}] has shape {item.shape}; expected {expected}")
        if len(item) == 0:
            raise ValueError(f"sequences[{i}] has shape {item.shape}; expected at least one step")
    lengths = np.array([len(item) for item in items], np.int64)
    if longest is not None:
        lengths = np.minimum(lengths, longest)
    dtype = np.result_type(*{item.dtype for item in items})
    padded = np.full((len(items), int(lengths.max()), *first.shape[1:]), value, dtype)
    for row, item, length in zip(padded, items, lengths.tolist(), strict=True):
        row[:length] = item[:length]
    return padded, lengths


def unpad(
    padded: Any, lengths: Any = None, *, value: float | None = None, padding: str = "post"
) -> list[NDArray[Any]]:
    """Cut the sequences out of a padded array: the inverse of `pad`.

    Parameters
    ----------
    padded : array_like
        Shape (sequences, steps) or (sequences, steps, features).
    lengths : array_like of int, optional
        The number of steps of each sequence, from 1.
    value : float, optional
        The value of the padding, also NaN, if `lengths` is not given; by default 0. A step is
        padding if all its features have this value.
    padding : {"post", "pre"}, default "post"
        Where the padding is: after the end of a sequence (NaN in the arrays of tslearn and the
        UCR archive), or before its start (the default of Keras' ``pad_sequences``).

    Returns
    -------
    list of ndarray
        Views of shape (steps,) or (steps, features).

    Raises
    ------
    ValueError, TypeError
        If a shape or length is wrong, or a sequence holds only padding.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.datasets import unpad
    >>> unpad(np.array([[0, 0, 5], [6, 7, 8]]), padding="pre")
    [array([5]), array([6, 7, 8])]
    >>> unpad(np.array([[1.5, 0.0, np.nan], [2.5, 3.5, 4.5]]), value=np.nan)
    [array([1.5, 0. ]), array([2.5, 3.5, 4.5])]
    """
    _check.option("padding", padding, ("post", "pre"))
    array = _check.read("padded", padded)
    if array.ndim not in (2, 3) or 0 in array.shape:
        expected = "(sequences, steps) or (sequences, steps, features), each at least 1"
        raise ArgumentError("padded", f"has shape {array.shape}", expected)
    count, time = array.shape[:2]
    if lengths is not None:
        if value is not None:
            raise ArgumentError("value", f"is {value} beside lengths", "one of them")
        ends = _check.read("lengths", lengths, "whole numbers")
        if ends.shape != (count,) or ends.dtype.kind not in "iu":
            came = f"has shape {ends.shape} and dtype {ends.dtype}"
            raise ArgumentError("lengths", came, f"whole numbers of shape ({count},)")
        if ends.min() < 1 or ends.max() > time:
            i = int(((ends < 1) | (ends > time)).argmax())
            raise ArgumentError("lengths", f"is {ends[i]}", f"1 to {time} steps", item=i)
    else:
        is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
        expected = "a number, NaN included"
        fill = (
            np.nan if is_nan else _check.number("value", 0.0 if value is None else value, expected)
        )
        if array.dtype.kind in "iu" and not np.isnan(fill):
            limits = np.iinfo(array.dtype)
            if not (limits.min <= fill <= limits.max and fill.is_integer()):
                expected = f"a value that padded can hold, whose dtype is {array.dtype}"
                raise ArgumentError("value", f"is {fill:g}", expected)
        blank = np.isnan(array) if np.isnan(fill) else array == fill
        real = ~(blank if array.ndim == 2 else blank.all(axis=2))
        if not real.any(axis=1).all():
            i = int(real.any(axis=1).argmin())
            raise ArgumentError("padded", f"holds only {fill:g}", "at least one step", item=i)
        ends = time - (real if padding == "pre" else real[:, ::-1]).argmax(axis=1)
    if padding == "pre":
        return [row[time - end :] for row, end in zip(array, ends.tolist(), strict=True)]
    return [row[:end] for row, end in zip(array, ends.tolist(), strict=True)]


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return f"{word}es" if word.endswith("s") else f"{word}s"


def joined(items: list[NDArray[Any]]) -> NDArray[Any] | list[NDArray[Any]]:
    """Make one array of sequences of equal lengths; leave others a list."""
    return np.stack(items) if len({len(item) for item in items}) == 1 else items
