"""A safetensors container (https://github.com/huggingface/safetensors) with a digest.

======================  ==========================================================================
bytes                   content
======================  ==========================================================================
0 to 8                  ``n``, the length of the header: unsigned, 64 bits, little-endian
8 to 8 + n              the header: a JSON object in ASCII, padded with spaces to a multiple of 8
from 8 + n              the arrays one after the other, without gaps, in the order of the header:
                        little-endian, C order
======================  ==========================================================================

The header gives ``{"dtype": "F32" or "F64", "shape": [...], "data_offsets": [first, last + 1]}``
for each array under its name, and under ``"__metadata__"`` strings, among them:

==================  ==============================================================================
key                 value
==================  ==============================================================================
``format``          ``fastbptt``
``format_version``  ``6``
``sha256``          SHA-256 of the whole file, in lower-case hexadecimal digits, computed with 64
                    characters ``0`` in the place of these digits
==================  ==============================================================================

The digest finds accidents, not forgeries: whoever can write the file can also write its digest.
Reading runs nothing from the file, and allocates no more than the file's own size.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._check import Floats
from .._errors import ArgumentTypeError
from .atomic import write_into, write_whole

Parsed = TypeVar("Parsed", dict[str, Any], list[Any])

#: The dtypes of arrays: their code in the header, and how they lie in the file.
DTYPES: Final[dict[str, tuple[str, np.dtype[Any]]]] = {
    "float32": ("F32", np.dtype("<f4")),
    "float64": ("F64", np.dtype("<f8")),
}

_FORMAT: Final = "fastbptt"
_FORMAT_VERSION: Final = "6"
_NO_DIGEST: Final = "0" * 64
_MAX_HEADER: Final = 1 << 26


class UnreadableError(Exception):
    """A fault of a file: what was found, and what was expected instead."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"{found}; expected {expected}")


class Header(NamedTuple):
    """The first bytes of a file and their meaning, of which nothing has been checked yet."""

    raw: bytes
    entries: dict[str, Any]
    metadata: dict[str, Any]
    size: int  # of the whole file


def write(
    path: Any,
    metadata: Mapping[str, str],
    dtype: str,
    arrays: Mapping[str, Floats],
) -> None:
    """Write strings and arrays of one dtype, to a path as `write_whole` or to an open file."""
    stored = DTYPES[dtype][1]
    texts = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "sha256": _NO_DIGEST}
    shapes = {name: array.shape for name, array in arrays.items()}
    header = {"__metadata__": texts | dict(metadata), **_entries(shapes, dtype)}
    data = b"".join(array.astype(stored, copy=False).tobytes() for array in arrays.values())
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(start + text + data).hexdigest()
    # the first one: it stands before whatever a caller may have written
    content = start + text.replace(_NO_DIGEST.encode(), digest.encode(), 1) + data
    if isinstance(path, str | bytes | os.PathLike) or not hasattr(path, "write"):
        write_whole(path, content)
    elif isinstance(path, io.TextIOBase):
        raise _not_binary(path, "wb")
    else:
        write_into(path, content)


def content_of(file: BinaryIO) -> bytes:
    """Read all that follows in an open file."""
    content = file.read()
    if not isinstance(content, bytes | bytearray | memoryview):
        raise _not_binary(file, "rb")
    return bytes(content)


def _not_binary(file: object, mode: str) -> ArgumentTypeError:
    return ArgumentTypeError(
        "path",
        f"is a file of text ({type(file).__name__})",
        f'a path, or a file opened in mode "{mode}"',
    )


def read_header(file: BinaryIO, size: int) -> Header:
    """Read and parse the header; the length that it claims is checked before it is read.

    size: of the whole file.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
        came = f"{size} bytes beginning with {start!r}" if start else "nothing"
        hint = "" if start else "; of an open file that was just written, after file.seek(0)"
        raise UnreadableError(came, f"a fastbptt model (safetensors container){hint}")
    text = file.read(length)
    entries = parse(text, dict, "the header", "a JSON object")
    metadata = entries.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise UnreadableError("a safetensors file without fastbptt's metadata", "a fastbptt model")
    version = metadata.get("format_version")
    if version != _FORMAT_VERSION:
        raise UnreadableError(f"format version {shortened(version)}", repr(_FORMAT_VERSION))
    digest = metadata.get("sha256")
    if not isinstance(digest, str):
        raise UnreadableError(f"sha256 is {shortened(digest)}", "a string")
    if not re.fullmatch("[0-9a-f]{64}", digest) or text.count(digest.encode()) != 1:
        raise UnreadableError(f"sha256 is {shortened(digest)}", "64 hexadecimal digits, once")
    return Header(start + text, entries, metadata, size)


def read_arrays(
    file: BinaryIO, header: Header, shapes: Mapping[str, tuple[int, ...]], dtype: str
) -> NDArray[Any]:
    """Read the numbers of all arrays, in order, once the header is as these shapes make it."""
    expected = _entries(shapes, dtype)
    if header.entries.keys() != expected.keys():
        raise UnreadableError(f"arrays {shortened(', '.join(header.entries))}", ", ".join(expected))
    for name, entry in expected.items():
        if header.entries[name] != entry:
            raise UnreadableError(f"{name} is {shortened(header.entries[name])}", str(entry))
    stored = DTYPES[dtype][1]
    data_size = stored.itemsize * sum(math.prod(shape) for shape in shapes.values())
    if header.size != len(header.raw) + data_size:
        raise UnreadableError(
            f"{header.size} bytes", f"{len(header.raw) + data_size} by its header"
        )
    data = file.read(data_size)
    stated = header.metadata["sha256"]
    blank = header.raw.replace(stated.encode(), _NO_DIGEST.encode(), 1)
    found = hashlib.sha256(blank + data).hexdigest()
    if found != stated:
        raise UnreadableError(f"the file is damaged: SHA-256 {found[:16]}...", f"{stated[:16]}...")
    return np.frombuffer(data, stored)


def parse(text: str | bytes, kind: type[Parsed], name: str, expected: str) -> Parsed:
    """Parse JSON that must be of this kind."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, kind):
        raise UnreadableError(f"{name} is {shortened(text)}", expected)
    return parsed


def shortened(value: object) -> str:
    """Show a value from a file in one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _entries(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, Any]:
    """Describe arrays, one after the other, as the header does."""
    code, stored = DTYPES[dtype]
    entries, start = {}, 0
    for name, shape in shapes.items():
        stop = start + stored.itemsize * math.prod(shape)
        entries[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    return entries
