"""Reading models, optimisers and checkpoints from files that `fastbptt.models.saving` wrote."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from .. import _check, _core
from .._check import Floats
from .._errors import ArgumentError
from ..files import safetensors
from ..files.safetensors import UnreadableError, parse, shortened
from ..optim.optimizers import OPTIMIZERS, SQUARES, Optimizer
from . import _options
from .cells import MODELS
from .constraints import Resolved
from .recurrent import Recurrent
from .saving import BEST

if TYPE_CHECKING:
    from typing import TypeGuard

__all__ = ["load", "load_optimizer"]


class Content(NamedTuple):
    """The parts of a file besides the model."""

    optimizer: Optimizer | None  # for the next model of this layout
    training: dict[str, Any] | None
    best: Floats | None  # all parameters in one array


def load(path: str | os.PathLike[str] | BinaryIO) -> Recurrent:
    """Read a model that its `save` wrote.

    Parameters
    ----------
    path : str or path-like, or file
        A file opened in binary mode is read from where it stands to its end.

    Returns
    -------
    Recurrent
        Of the class of its cell (`GRU` for ``"gru"``, also if a `Recurrent` was saved), with the
        same weights to the bit.

    Raises
    ------
    ValueError
        If the file is broken, cut short, or no model's.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> path = os.path.join(tempfile.mkdtemp(), "model.fastbptt")
    >>> fastbptt.RNN(3, 4, 1, seed=0).save(path)
    >>> fastbptt.load(path)
    RNN(3, 4, 1, dtype="float32")  # 37 parameters, 148 bytes
    """
    return load_content(path)[0]


def load_optimizer(path: str | os.PathLike[str] | BinaryIO) -> Optimizer:
    """Read the optimiser that ``model.save(path, optimizer)`` wrote.

    Parameters
    ----------
    path : str or path-like, or file
        A file opened in binary mode is read from where it stands to its end.

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
            f"{_shown(path)} holds no optimiser; "
            "expected a file that model.save(path, optimizer) wrote"
        )
    return optimizer


def load_content(path: str | os.PathLike[str] | BinaryIO) -> tuple[Recurrent, Content]:
    """Read all that a file holds."""
    with contextlib.ExitStack() as opened:
        if _is_open(path):
            content = safetensors.content_of(path)
            file: BinaryIO = io.BytesIO(content)
            size = len(content)
        else:
            file = opened.enter_context(open(_check.file_path(path), "rb"))
            size = os.fstat(file.fileno()).st_size
        try:
            return _load(file, size)
        except UnreadableError as error:
            raise ValueError(f"cannot load {_shown(path)}: {error}") from None


def _is_open(path: Any) -> TypeGuard[BinaryIO]:
    return hasattr(path, "read") and not isinstance(path, str | bytes | os.PathLike)


def _shown(path: Any) -> str:
    return f"the open file {path!r}" if _is_open(path) else repr(_check.file_path(path))


def _load(file: BinaryIO, size: int) -> tuple[Recurrent, Content]:
    header = safetensors.read_header(file, size)
    config = _config(header.metadata)
    dtype = safetensors.DTYPES[config["dtype"]][1]
    try:
        _check_sizes(config["arguments"], header.size // dtype.itemsize)
        layout = _options.layout(
            _options.from_arguments(config["cell"], config["arguments"]), dtype
        )
    except (TypeError, ValueError, MemoryError) as error:
        raise UnreadableError(
            f"unusable arguments ({shortened(str(error))})", "those of a model"
        ) from None
    if any(not isinstance(name, str) or name not in layout for name in config["frozen"]):
        raise UnreadableError(
            f"frozen is {shortened(config['frozen'])}", f"names among {', '.join(layout)}"
        )
    try:
        if config["constraints"] is not None:
            Resolved.from_json(config["constraints"], layout)
    except (TypeError, ValueError) as error:
        raise UnreadableError(
            f"unusable constraints ({shortened(str(error))})", "those of a model"
        ) from None
    further = _further(header.metadata)
    optimizer, moments = _optimizer(further["optimizer"])
    flats = [f"optimizer.{name}" for name in moments]
    if BEST in header.entries and further["training"] is not None:
        flats.append(BEST)
    count = max(stop for _, stop, _ in layout.values())
    shapes: dict[str, tuple[int, ...]] = {name: shape for name, (_, _, shape) in layout.items()}
    shapes |= dict.fromkeys(flats, (count,))
    numbers = safetensors.read_arrays(file, header, shapes, config["dtype"])
    model = MODELS.get(config["cell"], Recurrent)._from_config(config)
    values = numbers.astype(model.dtype, copy=False).reshape(-1, count)
    weights = model._weights
    weights.set(values[0])
    for name, view in model.parameters.items():
        try:
            weights.refuse(name, name, view)
        except ArgumentError as error:
            where = f" at index {error.index}" * bool(error.index)
            raise UnreadableError(
                f"{name} {error.problem}{where}", "weights that satisfy the constraints"
            ) from None
    model.metadata = further["metadata"]
    for name, moment in zip(moments, values[1:], strict=False):
        if not np.isfinite(moment).all() or (name in SQUARES and (moment < 0.0).any()):
            least = " of at least 0" * (name in SQUARES)
            raise UnreadableError(f"optimizer.{name} is damaged", f"finite numbers{least}")
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
            raise UnreadableError(shortened(str(error)), "an optimiser for this model") from None
    best = values[-1].copy() if BEST in flats else None
    return model, Content(optimizer, further["training"], best)


def _further(metadata: dict[str, Any]) -> dict[str, Any]:
    """Parse what is no part of the model; what is not there is None."""
    found: dict[str, Any] = {}
    for key in ("metadata", "optimizer", "training"):
        text = metadata.get(key)
        if text is None and key != "metadata":
            found[key] = None
        elif not isinstance(text, str):
            raise UnreadableError(f"{key} is {shortened(text)}", "a string")
        else:
            found[key] = parse(text, dict, key, "a JSON object")
    return found


def _optimizer(given: dict[str, Any] | None) -> tuple[Optimizer | None, tuple[str, ...]]:
    """Make the optimiser that a file describes, and name the moments that it has there."""
    if given is None:
        return None, ()
    if given.keys() != {"name", "settings", "step"}:
        raise UnreadableError(f"optimizer has {shortened(list(given))}", "name, settings, step")
    name, settings, step = given["name"], given["settings"], given["step"]
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise UnreadableError(
            f"the optimiser is {shortened(name)}", f"one of {', '.join(OPTIMIZERS)}"
        )
    if step is not None and (type(step) is not int or not 0 <= step < 1 << 62):
        raise UnreadableError(f"step is {shortened(step)}", "a whole number of at least 0, or null")
    try:
        _check.same_names("settings", settings, OPTIMIZERS[name]._settings)
        optimizer = OPTIMIZERS[name](**settings)
    except (TypeError, ValueError) as error:
        raise UnreadableError(
            f"unusable settings ({shortened(str(error))})", "those of an optimiser"
        ) from None
    return optimizer, () if step is None else tuple(optimizer._moments)


def _config(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what fixes a model besides its weights; its options are yet to be checked."""
    for key in ("cell", "dtype", "arguments", "dropout_seeds", "frozen", "trained_steps"):
        if not isinstance(metadata.get(key), str):
            raise UnreadableError(f"{key} is {shortened(metadata.get(key))}", "a string")
    cell, dtype = metadata["cell"], metadata["dtype"]
    if cell not in _core.cells():
        raise UnreadableError(
            f"the cell is {shortened(cell)}", f"one of {', '.join(_core.cells())}"
        )
    if dtype not in safetensors.DTYPES:
        raise UnreadableError(
            f"dtype is {shortened(dtype)}", " or ".join(map(repr, safetensors.DTYPES))
        )
    arguments = parse(metadata["arguments"], dict, "the model's arguments", "a JSON object")
    keys = parse(metadata["dropout_seeds"], list, "dropout_seeds", "a JSON array")
    if len(keys) != 2 or any(type(key) is not int or not 0 <= key < 1 << 64 for key in keys):
        raise UnreadableError(f"dropout_seeds is {shortened(keys)}", "two whole numbers of 64 bits")
    frozen = parse(metadata["frozen"], list, "frozen", "a JSON array")
    if metadata["trained_steps"] not in _check.READOUTS:
        came = shortened(metadata["trained_steps"])
        raise UnreadableError(f"trained_steps is {came}", f"one of {', '.join(_check.READOUTS)}")
    constraints = metadata.get("constraints")
    if constraints is not None:
        if not isinstance(constraints, str):
            raise UnreadableError(f"constraints is {shortened(constraints)}", "a string")
        constraints = parse(constraints, dict, "constraints", "a JSON object")
    return {
        "cell": cell,
        "dtype": dtype,
        "arguments": arguments,
        "dropout_seeds": keys,
        "frozen": frozen,
        "trained_steps": metadata["trained_steps"],
        "constraints": constraints,
    }


def _check_sizes(arguments: dict[str, Any], most: int) -> None:
    """Refuse sizes that need more than ``most`` numbers, before anything multiplies them."""
    sizes = [
        arguments.get(name)
        for name in (
            *("input_size", "hidden_size", "output_size", "num_layers", "embedding"),
            *("static_size", "rank"),
        )
    ]
    for value in sizes:
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"a size is {value!r}")
    inputs, hidden, outputs, layers, vocabulary, constants, rank = (value or 0 for value in sizes)
    units = arguments.get("readout_units")
    read = len(units) if isinstance(units, list) else hidden
    hidden_layers = layers * hidden * ((2 * rank or hidden) + constants)
    if hidden * inputs + hidden_layers + read * outputs + inputs * vocabulary > most:
        raise ValueError(f"a model of sizes {sizes} is larger than the file")
