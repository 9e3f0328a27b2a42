"""Models, and optimisers, in files: safetensors, without pickle, in which any damage is noticed.

The file is a safetensors container (https://github.com/huggingface/safetensors), so any program
that reads those can read the parameters:

======================  ==========================================================================
bytes                   content
======================  ==========================================================================
0 to 8                  ``n``, the length of the header: unsigned, 64 bits, little-endian
8 to 8 + n              the header: a JSON object in ASCII, padded with spaces to a multiple of 8
from 8 + n              the arrays one after the other, without gaps, in the order of the header:
                        little-endian, C order; first the parameters
======================  ==========================================================================

The header gives ``{"dtype": "F32" or "F64", "shape": [...], "data_offsets": [first, last + 1]}``
for each parameter under its name (``W_xh``, ``W_hh``, ...); for each of the optimiser's moments
under ``optimizer.`` and its name, as one array for all parameters; in a checkpoint of
`fastbptt.fit` for the best weights so far, likewise, as ``training.best``; and under
``"__metadata__"`` these strings:

==================  ==============================================================================
key                 value
==================  ==============================================================================
``format``          ``fastbptt``
``format_version``  ``3``
``sha256``          SHA-256 of the whole file, in lower-case hexadecimal digits, computed with 64
                    characters ``0`` in the place of these digits
``cell``            the cell's name, for example ``lstm``
``dtype``           ``float32`` or ``float64``
``arguments``       a JSON object: those of ``fastbptt.Recurrent`` that fix the network, with the
                    vocabulary's size, or null, as ``embedding``
``dropout_keys``    a JSON array of two integers: the seed of the model's dropout masks, and how
                    many it has used
``frozen``          a JSON array: the names of the parameters that training leaves as they are
``written_by``      the version of fastbptt that wrote the file, for information
``metadata``        a JSON object: ``model.metadata``
``optimizer``       if there is one, a JSON object: its ``name`` in ``fastbptt.optim.OPTIMIZERS``,
                    its ``settings``, and ``step``, how many updates it has made; null: none, and
                    then there are no moments
``training``        in a checkpoint, a JSON object: where the run of `fastbptt.fit` stands
==================  ==============================================================================

JSON is Python's: numbers may be ``NaN`` and ``Infinity``.

The digest finds accidents, not forgeries: whoever can write the file can also write its digest.
Loading runs nothing from the file, and allocates no more than the file's own size.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from .. import _check, _core
from .._check import Floats
from .._views import Layout
from ..models import _options

if TYPE_CHECKING:
    from ..models.network import Network
    from ..models.recurrent import Recurrent
    from ..optim.optimizers import Optimizer

Parsed = TypeVar("Parsed", dict[str, Any], list[Any])

__all__ = ["load_model", "load_optimizer", "save_model"]

_FORMAT = "fastbptt"
_FORMAT_VERSION = "3"
_DTYPES: dict[str, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype("<f4")),
    "float64": ("F64", np.dtype("<f8")),
}
_NO_DIGEST = "0" * 64
_MAX_HEADER = 1 << 26
_BEST = "training.best"


class Content(NamedTuple):
    """What a file holds besides the model."""

    optimizer: Optimizer | None  # for the next model of this layout
    training: dict[str, Any] | None
    best: Floats | None  # all parameters in one array


def save_model(
    model: Network,
    path: str | os.PathLike[str],
    optimizer: Optimizer | None = None,
    metadata: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    best: Floats | None = None,
) -> None:
    """Write a model to one file: its parameters, its options, and where its dropout stands.

    The file is first written under another name in the same directory, flushed to the disk and
    then renamed, so that ``path`` holds either what it held before or the whole new file.

    Parameters
    ----------
    model : Network
        The model.
    path : str or os.PathLike
        Where to write. An existing file is replaced; the usual suffix is ``.safetensors``.
    optimizer : Optimizer, optional
        An optimiser of this model, whose settings and moments go into the file too.
    metadata : mapping, optional
        Instead of ``model.metadata``: anything that JSON can hold.
    training, best
        What a checkpoint of `fastbptt.fit` holds beside these.

    Raises
    ------
    ValueError, TypeError
        If the optimiser belongs to another model, or JSON cannot hold the metadata.
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
    texts = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "sha256": _NO_DIGEST,  # before whatever a caller may have written
        "cell": config["cell"],
        "dtype": config["dtype"],
        "arguments": json.dumps(config["arguments"]),
        "dropout_keys": json.dumps(config["dropout_keys"]),
        "frozen": json.dumps(config["frozen"]),
        "written_by": _core.version,
        "metadata": json_text(model.metadata if metadata is None else metadata),
    }
    with contextlib.nullcontext() if optimizer is None else _lock_of(optimizer):
        flats = {"": model._get_flat()}
        if optimizer is not None:
            description, moments = described(optimizer, model)
            texts["optimizer"] = json.dumps(description)
            flats |= {f"optimizer.{name}": values for name, values in moments.items()}
    if training is not None:
        texts["training"] = json.dumps(training)
    if best is not None:
        flats[_BEST] = best
    entries = _entries(model._layout, code, dtype.itemsize, list(flats)[1:])
    header = {"__metadata__": texts, **entries}
    data = b"".join(values.astype(dtype, copy=False).tobytes() for values in flats.values())
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(start + text + data).hexdigest()
    write_whole(path, start + text.replace(_NO_DIGEST.encode(), digest.encode(), 1) + data)


def json_text(metadata: Mapping[str, Any]) -> str:
    """Write metadata as JSON, or say why that cannot be."""
    expected = "a mapping of what JSON can hold: text, numbers, True, False, None, lists, dicts"
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is of type {type(metadata).__name__}; expected {expected}")
    try:
        return json.dumps(dict(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"metadata cannot be written ({error}); expected {expected}") from None


def _lock_of(optimizer: Any) -> Any:
    from ..optim.optimizers import Optimizer

    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is of type {type(optimizer).__name__}; "
            "expected an optimiser such as fastbptt.Adam()"
        )
    return optimizer._lock


def described(optimizer: Optimizer, model: Network) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return what fixes an optimiser, fit for JSON, and copies of its moments."""
    from ..optim.optimizers import OPTIMIZERS

    names = [name for name, kind in OPTIMIZERS.items() if kind is type(optimizer)]
    if not names:
        raise TypeError(
            f"optimizer is of type {type(optimizer).__name__}; expected one of "
            f"{', '.join(kind.__name__ for kind in OPTIMIZERS.values())}"
        )
    bound = None
    if optimizer._binding is not None:
        optimizer._binding_for(model)  # type: ignore[arg-type]  # refuses another model's
        bound = optimizer.__getstate__()["bound"]
    description = {
        "name": names[0],
        "settings": {name: getattr(optimizer, name) for name in optimizer._settings},
        "step": None if bound is None else bound["step"],
    }
    return description, {} if bound is None else bound["moments"]


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
    return load_content(path)[0]


def load_optimizer(path: str | os.PathLike[str]) -> Optimizer:
    """Read the optimiser that ``model.save(path, optimizer)`` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Optimizer
        With the same settings and moments; it belongs to the next model of this layout that it
        meets, such as the one that `fastbptt.load` reads from the same file.

    Raises
    ------
    ValueError
        If the file holds no optimiser, is broken, cut short, or no model's.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastbptt
    >>> model, adam = fastbptt.RNN(3, 4, 1, seed=0), fastbptt.Adam(lr=0.01)
    >>> loss = model.train_step(np.ones((2, 5, 3)), [0, 1], adam)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path, adam)
    >>> fastbptt.load_optimizer(path).step_count
    1
    """
    optimizer = load_content(path)[1].optimizer
    if optimizer is None:
        raise ValueError(
            f"{_check.file_path(path)!r} holds no optimiser; "
            "expected a file that model.save(path, optimizer) wrote"
        )
    return optimizer


def load_content(path: str | os.PathLike[str]) -> tuple[Recurrent, Content]:
    """Read all that a file holds."""
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


def _load(file: BinaryIO) -> tuple[Recurrent, Content]:
    from ..models.cells import MODELS, Recurrent  # they import this module

    size = os.fstat(file.fileno()).st_size
    header = _read_header(file, size)
    config = _config(header.metadata)
    code, dtype = _DTYPES[config["dtype"]]
    try:
        _check_sizes(config["arguments"], size // dtype.itemsize)
        layout = _options.layout(
            _options.from_arguments(config["cell"], config["arguments"]), dtype
        )
    except (TypeError, ValueError, MemoryError) as error:
        raise _UnreadableError(
            f"unusable arguments ({_short(str(error))})", "those of a model"
        ) from None
    if any(not isinstance(name, str) or name not in layout for name in config["frozen"]):
        raise _UnreadableError(
            f"frozen is {_short(config['frozen'])}", f"names among {', '.join(layout)}"
        )
    further = _further(header.metadata)
    optimizer, moments = _optimizer(further["optimizer"])
    flats = [f"optimizer.{name}" for name in moments]
    if _BEST in header.entries and further["training"] is not None:
        flats.append(_BEST)
    _compare_entries(header.entries, _entries(layout, code, dtype.itemsize, flats))
    count = max(stop for _, stop, _ in layout.values())
    data_size = (1 + len(flats)) * count * dtype.itemsize
    if size != len(header.raw) + data_size:
        raise _UnreadableError(f"{size} bytes", f"{len(header.raw) + data_size} by its header")

    data = file.read(data_size)
    stated = header.metadata["sha256"]
    blank = header.raw.replace(stated.encode(), _NO_DIGEST.encode(), 1)
    found = hashlib.sha256(blank + data).hexdigest()
    if found != stated:
        raise _UnreadableError(f"the file is damaged: SHA-256 {found[:16]}...", f"{stated[:16]}...")
    model = MODELS.get(config["cell"], Recurrent)._from_config(config)
    values = np.frombuffer(data, dtype).astype(model.dtype, copy=False).reshape(-1, count)
    model._set_flat(values[0])
    model.metadata = further["metadata"]
    if optimizer is not None and further["optimizer"]["step"] is not None:
        state = optimizer.__getstate__()
        state["bound"] = {
            "layout": layout,
            "moments": dict(zip(moments, values[1:], strict=False)),
            "step": further["optimizer"]["step"],
        }
        try:
            optimizer.__setstate__(state)
        except ValueError as error:  # settings that do not fit into this dtype
            raise _UnreadableError(_short(str(error)), "an optimiser for this model") from None
    best = values[-1].copy() if _BEST in flats else None
    return model, Content(optimizer, further["training"], best)


def _further(metadata: dict[str, str]) -> dict[str, Any]:
    """Parse what is no part of the model; what is not there is None."""
    found: dict[str, Any] = {}
    for key in ("metadata", "optimizer", "training"):
        text = metadata.get(key)
        if text is None and key != "metadata":
            found[key] = None
        elif not isinstance(text, str):
            raise _UnreadableError(f"{key} is {_short(text)}", "a string")
        else:
            found[key] = _parse(text, dict, key, "a JSON object")
    return found


def _optimizer(given: dict[str, Any] | None) -> tuple[Optimizer | None, tuple[str, ...]]:
    """Make the optimiser that a file describes, and name the moments that it has there."""
    from ..optim.optimizers import OPTIMIZERS

    if given is None:
        return None, ()
    if given.keys() != {"name", "settings", "step"}:
        raise _UnreadableError(f"optimizer has {_short(list(given))}", "name, settings, step")
    name, settings, step = given["name"], given["settings"], given["step"]
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise _UnreadableError(
            f"the optimiser is {_short(name)}", f"one of {', '.join(OPTIMIZERS)}"
        )
    if step is not None and (type(step) is not int or not 0 <= step < 1 << 62):
        raise _UnreadableError(f"step is {_short(step)}", "a whole number of at least 0, or null")
    try:
        _check.same_names("settings", settings, OPTIMIZERS[name]._settings)
        optimizer = OPTIMIZERS[name](**settings)
    except (TypeError, ValueError) as error:
        raise _UnreadableError(
            f"unusable settings ({_short(str(error))})", "those of an optimiser"
        ) from None
    return optimizer, () if step is None else tuple(optimizer._moments)


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
    frozen = _parse(metadata["frozen"], list, "frozen", "a JSON array")
    return {
        "cell": cell,
        "dtype": dtype,
        "arguments": arguments,
        "dropout_keys": keys,
        "frozen": frozen,
    }


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
    for key in ("cell", "dtype", "arguments", "dropout_keys", "frozen", "sha256"):
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


def _entries(layout: Layout, code: str, itemsize: int, flats: list[str]) -> dict[str, Any]:
    """Describe each parameter, and arrays of all of them, as a safetensors file's header does."""
    count = max(stop for _, stop, _ in layout.values())
    places: Layout = dict(layout)
    for i, name in enumerate(flats, 1):
        places[name] = (i * count, (i + 1) * count, (count,))
    return {
        name: {
            "dtype": code,
            "shape": list(shape),
            "data_offsets": [start * itemsize, stop * itemsize],
        }
        for name, (start, stop, shape) in places.items()
    }


def _compare_entries(found: dict[str, Any], expected: dict[str, Any]) -> None:
    if found.keys() != expected.keys():
        raise _UnreadableError(f"arrays {_short(', '.join(found))}", ", ".join(expected))
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
    temporary = os.path.join(directory, f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile: its files are private, this one gets the permissions that umask gives.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:  # say which file was meant
            raise OSError(error.errno, error.strerror, target) from None
        raise
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)  # the renaming itself reaches the disk
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def clear_away(path: str | os.PathLike[str]) -> None:
    """Delete what writers of this file have left that were killed; nobody may be writing it now."""
    target = os.path.realpath(_check.file_path(path))
    directory, prefix = os.path.dirname(target), _prefix(target)
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
    for name in os.listdir(directory):
        if name.startswith(prefix) and name.endswith(".tmp"):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))


def _prefix(target: str) -> str:
    """Begin the names of temporary files for this one."""
    name = os.fsencode(os.path.basename(target))
    return f".fastbptt-{hashlib.sha256(name).hexdigest()[:16]}-"
