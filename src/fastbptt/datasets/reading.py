"""One function for every format of sequences."""

from __future__ import annotations

import os
from typing import Any

from .. import _check
from . import formats
from .sequences import Sequences

__all__ = ["read"]


def read(path: str | os.PathLike[str], **options: Any) -> Sequences:
    """Read sequences from a file, in the format that its suffix names.

    Parameters
    ----------
    path : str or os.PathLike
        The file. ``.csv``, ``.tsv``, ``.txt``, ``.data``, ``.parquet`` and text with ``.gz`` behind
        its suffix are read by :func:`read_csv`, ``.npz`` by :func:`read_npz`, ``.ts`` by
        :func:`read_ts`, ``.tsf`` by :func:`read_tsf`, ``.arff`` by :func:`read_arff`.
    **options
        Arguments of that reader.

    Returns
    -------
    Sequences
        The sequences in the file.

    Raises
    ------
    ValueError, TypeError
        If no format has this suffix, an option is unknown, or the file is not valid.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from fastbptt.datasets import read
    >>> read("vowels.doc")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: path is vowels.doc; expected a file that ends in .csv, .tsv, .txt, .data, ...
    """
    text = _check.file_path(path)
    return formats.find(text).read(text, **options)
