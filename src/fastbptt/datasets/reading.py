"""One function for every format of sequences."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .. import _check
from .arrays import read_npz
from .sequences import Sequences
from .tables import read_csv
from .ts import read_ts

__all__ = ["read"]

_READERS: Final[dict[str, Callable[..., Sequences]]] = {
    ".csv": read_csv,
    ".npz": read_npz,
    ".ts": read_ts,
}


def read(path: str | os.PathLike[str], **options: Any) -> Sequences:
    """Read sequences from a ``.csv``, ``.npz`` or ``.ts`` file.

    Parameters
    ----------
    path : str or os.PathLike
        The file; its suffix says what it is.
    **options
        What :func:`read_csv`, :func:`read_npz` or :func:`read_ts` takes.

    Returns
    -------
    Sequences
        What it returns.

    Raises
    ------
    ValueError, TypeError
        If the suffix is another, an option is unknown, or the file is not right.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from fastbptt.datasets import read
    >>> read("vowels.txt")
    Traceback (most recent call last):
        ...
    ValueError: path is vowels.txt; expected a file that ends in .csv, .npz or .ts
    """
    text = _check.file_path(path)
    reader = _READERS.get(Path(text).suffix.lower())
    if reader is None:
        *most, last = _READERS
        raise ValueError(
            f"path is {text}; expected a file that ends in {', '.join(most)} or {last}"
        )
    return reader(text, **options)
