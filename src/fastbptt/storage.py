"""Models in files: one safetensors file each, without pickle, in which any damage is noticed.

The file is a safetensors container (https://github.com/huggingface/safetensors), so any program
that reads those can read the parameters:

======================  ==========================================================================
bytes                   content
======================  ==========================================================================
0 to 8                  ``n``, the length of the header: unsigned, 64 bits, little-endian
8 to 8 + n              the header: a JSON object in ASCII, padded with spaces to a multiple of 8
from 8 + n              the parameters one after the other, without gaps, in the order of the
                        header: little-endian, C order
======================  ==========================================================================

The header gives ``{"dtype": "F32" or "F64", "shape": [...], "data_offsets": [first, last + 1]}``
for each parameter under its name (``W_xh``, ``W_hh``, ...), and under ``"__metadata__"`` these
strings:

==================  ==============================================================================
key                 value
==================  ==============================================================================
``format``          ``fastbptt``
``format_version``  ``2``
``cell``            the cell's name, for example ``lstm``
``dtype``           ``float32`` or ``float64``
``arguments``       a JSON object: those of ``fastbptt.Recurrent`` that fix the network, with the
                    vocabulary's size, or null, as ``embedding``
``dropout_keys``    a JSON array of two integers: the seed of the model's dropout masks, and how
                    many it has used
``written_by``      the version of fastbptt that wrote the file, for information
``sha256``          SHA-256 of the whole file, in lower-case hexadecimal digits, computed with 64
                    characters ``0`` in the place of these digits
==================  ==============================================================================

The digest finds accidents, not forgeries: whoever can write the file can also write its digest.
Loading runs nothing from the file, and allocates no more than the file's own size.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from fastbptt import _check, _core, _spec
from fastbptt._views import Layout

if TYPE_CHECKING:
    from fastbptt.network import Network
    from fastbptt.recurrent import Recurrent

Parsed = TypeVar("Parsed", dict[str, Any], list[Any])

__all__ = ["load_model", "save_model"]

_FORMAT = "fastbptt"
_FORMAT_VERSION = "2"
_DTYPES: dict[str, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype("<f4")),
    "float64": ("F64", np.dtype("<f8")),
}
_NO_DIGEST = "0" * 64
_MAX_HEADER = 1 << 20


def save_model(model: Network, path: str | os.PathLike[str]) -> None:
    """Write a model to one file: its parameters, its options, and where its dropout stands.

    The file is first written under another name in the same directory, flushed to the disk and
    then renamed, so that ``path`` holds either what it held before or the whole new file.

    Parameters
    ----------
    model : Network
        The model. An optimiser's state is not part of it.
    path : str or os.PathLike
        Where to write. An existing file is replaced; the usual suffix is ``.safetensors``.

    Raises
    ------
    OSError
        If the file cannot be written. Then nothing is left behind.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastbptt
    >>> model = fastbptt.RNN(3, 4, 2, seed=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.safetensors")
    ...     model.save(path)
    ...     same = fastbptt.load(path)
    >>> bool((same.parameters["W_hh"] == model.parameters["W_hh"]).all())
    True
    """
    config = model._config()
    code, dtype = _DTYPES[config["dtype"]]
    data = model._get_flat().astype(dtype).tobytes()
    header: dict[str, Any] = {
        "__metadata__": {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "cell": config["cell"],
            "dtype": config["dtype"],
            "arguments": json.dumps(config["arguments"]),
            "dropout_keys": json.dumps(config["dropout_keys"]),
            "written_by": _core.version,
            "sha256": _NO_DIGEST,
        },
        **_entries(model._layout, code, dtype.itemsize),
    }
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(start + text + data).hexdigest()
    write_whole(path, start + text.replace(_NO_DIGEST.encode(), digest.encode(), 1) + data)


def load_model(path: str | os.PathLike[str]) -> Recurrent:
    """Read a model from a file that :func:`save_model` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    Recurrent
        A new model with the stored arguments and the same parameters, bit for bit.

    Raises
    ------
    ValueError
        If the file is not one of fastbptt's, is of another format version, is damaged, cut short
        or longer than it should be, or describes a model that this version does not know.
    OSError
        If the file cannot be read.

    Examples
    --------
    See :func:`save_model`.
    """
    path = _check.file_path(path)
    with open(path, "rb") as file:
        try:
            return _load(file)
        except _UnreadableError as error:
            raise ValueError(f"cannot load {path!r}: {error}") from None


class _UnreadableError(Exception):
    """What was found in a file, and what was expected instead."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"{found}; expected {expected}")


class _Header(NamedTuple):
    """A file's first bytes and what they say, before any of it is believed."""

    raw: bytes
    entries: dict[str, Any]
    metadata: dict[str, str]


def _load(file: BinaryIO) -> Recurrent:
    from fastbptt.model import MODELS, Recurrent  # they import this module

    size = os.fstat(file.fileno()).st_size
    header = _read_header(file, size)
    config = _config(header.metadata)
    code, dtype = _DTYPES[config["dtype"]]
    try:
        _check_sizes(config["arguments"], size // dtype.itemsize)
        layout = _spec.layout(_spec.from_arguments(config["cell"], config["arguments"]), dtype)
    except (TypeError, ValueError, MemoryError) as error:
        raise _UnreadableError(
            f"unusable arguments ({_short(str(error))})", "those of a model"
        ) from None
    _compare_entries(header.entries, _entries(layout, code, dtype.itemsize))
    data_size = max(stop for _, stop, _ in layout.values()) * dtype.itemsize
    if size != len(header.raw) + data_size:
        raise _UnreadableError(f"{size} bytes", f"{len(header.raw) + data_size} by its header")

    data = file.read(data_size)
    stated = header.metadata["sha256"]
    blank = header.raw.replace(stated.encode(), _NO_DIGEST.encode(), 1)
    found = hashlib.sha256(blank + data).hexdigest()
    if found != stated:
        raise _UnreadableError(f"the file is damaged: SHA-256 {found[:16]}...", f"{stated[:16]}...")
    model = MODELS.get(config["cell"], Recurrent)._from_config(config)
    model._set_flat(np.frombuffer(data, dtype).astype(model.dtype, copy=False))
    return model


def _config(metadata: dict[str, str]) -> dict[str, Any]:
    """Return what fixes a model besides its weights; its options are yet to be checked."""
    cell, dtype = metadata["cell"], metadata["dtype"]
    if cell not in _core.cells():
        raise _UnreadableError(f"the cell is {_short(cell)}", f"one of {', '.join(_core.cells())}")
    if dtype not in _DTYPES:
        raise _UnreadableError(f"dtype is {_short(dtype)}", " or ".join(map(repr, _DTYPES)))
    arguments = _parse(metadata["arguments"], dict, "the model's arguments", "a JSON object")
    keys = _parse(metadata["dropout_keys"], list, "dropout_keys", "a JSON array")
    if len(keys) != 2 or any(type(key) is not int or not 0 <= key < 1 << 64 for key in keys):
        raise _UnreadableError(f"dropout_keys is {_short(keys)}", "two whole numbers of 64 bits")
    return {"cell": cell, "dtype": dtype, "arguments": arguments, "dropout_keys": keys}


def _read_header(file: BinaryIO, size: int) -> _Header:
    """Read and parse the header; the length that it claims is checked before it is read."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise _UnreadableError(
            f"{size} bytes beginning with {start!r}", "a fastbptt model (safetensors container)"
        )
    text = file.read(length)
    entries = _parse(text, dict, "the header", "a JSON object")
    metadata = entries.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise _UnreadableError("a safetensors file without fastbptt's metadata", "a fastbptt model")
    version = metadata.get("format_version")
    if version != _FORMAT_VERSION:
        raise _UnreadableError(f"format version {_short(version)}", repr(_FORMAT_VERSION))
    for key in ("cell", "dtype", "arguments", "dropout_keys", "sha256"):
        if not isinstance(metadata.get(key), str):
            raise _UnreadableError(f"{key} is {_short(metadata.get(key))}", "a string")
    digest = metadata["sha256"]
    if not re.fullmatch("[0-9a-f]{64}", digest) or text.count(digest.encode()) != 1:
        raise _UnreadableError(f"sha256 is {_short(digest)}", "64 hexadecimal digits, once")
    return _Header(start + text, entries, metadata)


def _parse(text: str | bytes, kind: type[Parsed], what: str, expected: str) -> Parsed:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, kind):
        raise _UnreadableError(f"{what} is {_short(text)}", expected)
    return parsed


def _check_sizes(arguments: dict[str, Any], most: int) -> None:
    """Refuse sizes that need more than ``most`` numbers, before anything multiplies them."""
    sizes = [
        arguments.get(name)
        for name in ("input_size", "hidden_size", "output_size", "num_layers", "embedding")
    ]
    for value in sizes:
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"a size is {value!r}")
    inputs, hidden, outputs, layers, vocabulary = (value or 0 for value in sizes)
    if hidden * (inputs + layers * hidden + outputs) + inputs * vocabulary > most:
        raise ValueError(f"a model of sizes {sizes} is larger than the file")


def _entries(layout: Layout, code: str, itemsize: int) -> dict[str, Any]:
    """Describe each parameter as the header of a safetensors file does."""
    return {
        name: {
            "dtype": code,
            "shape": list(shape),
            "data_offsets": [start * itemsize, stop * itemsize],
        }
        for name, (start, stop, shape) in layout.items()
    }


def _compare_entries(found: dict[str, Any], expected: dict[str, Any]) -> None:
    if found.keys() != expected.keys():
        raise _UnreadableError(f"parameters {_short(', '.join(found))}", ", ".join(expected))
    for name, entry in expected.items():
        if found[name] != entry:
            raise _UnreadableError(f"{name} is {_short(found[name])}", str(entry))


def _short(value: object) -> str:
    """Show a value from a file in one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, whole."""
    target = os.path.realpath(_check.file_path(path))  # a symbolic link stays one
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
    temporary = os.path.join(directory, f".fastbptt-{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile: its files are private, this one gets the permissions that umask gives.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)  # the renaming itself reaches the disk
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
