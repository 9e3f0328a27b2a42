"""Models, and optimisers, in files: safetensors, without pickle, in which any damage is noticed.

The file is a container of `fastbptt.files.safetensors`, so any program that reads safetensors can
read the parameters: an array for each under its name (``W_xh``, ``W_hh``, ...); for each of the
optimiser's moments under ``optimizer.`` and its name, as one array for all parameters; in a
checkpoint of `fastbptt.fit` for the best weights so far, likewise, as ``training.best``. Besides
those of the container, ``"__metadata__"`` has these strings:

==================  ==============================================================================
key                 value
==================  ==============================================================================
``cell``            the cell's name, for example ``lstm``
``dtype``           ``float32`` or ``float64``
``arguments``       a JSON object: those of ``fastbptt.Recurrent`` that fix the network, with the
                    vocabulary's size, or null, as ``embedding``
``dropout_seeds``    a JSON array of two integers: the seed of the model's dropout masks, and how
                    many it has used
``frozen``          a JSON array: the names of the parameters that training leaves as they are
``constraints``     if there are any, a JSON object: ``signs``, a byte for each parameter, packed by
                    zlib and base64 (0: zero, 1: at least 0, 2: at most 0, 3: any), or null;
                    ``sign_method``; ``max_norm``
``trained_steps``   where the loss of the last training step was: last, all, mean or max
``written_by``      the version of fastbptt that wrote the file, for information
``metadata``        a JSON object: ``model.metadata``
``optimizer``       if there is one, a JSON object: its ``name`` in ``fastbptt.optim.OPTIMIZERS``,
                    its ``settings``, and ``step``, how many updates it has made; null: none, and
                    then there are no moments
``training``        in a checkpoint, a JSON object: where the run of `fastbptt.fit` stands
==================  ==============================================================================

JSON is Python's: numbers may be ``NaN`` and ``Infinity``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, Protocol

from .. import _core
from .._check import Floats
from .._views import NamedViews
from ..files import safetensors
from ..optim.optimizers import OPTIMIZERS, Optimizer
from ._weights import Weights

__all__ = ["BEST", "Savable", "described", "json_text", "save_model"]

BEST: Final = "training.best"


class Savable(Protocol):
    """The parts of a model that its file holds."""

    _weights: Weights

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes that travel with the model."""

    def _config(self) -> dict[str, Any]:
        """Return the options, dtype, dropout seeds and frozen parameters, constraints."""


def save_model(
    model: Savable,
    path: str | os.PathLike[str] | BinaryIO,
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
    model : Recurrent
        The model.
    path : str or os.PathLike, or file
        Where to write; a file opened in binary mode is written from where it stands. An existing
        file is replaced; the usual suffix is ``.safetensors``.
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
    texts = {
        "cell": config["cell"],
        "dtype": config["dtype"],
        "arguments": json.dumps(config["arguments"]),
        "dropout_seeds": json.dumps(config["dropout_seeds"]),
        "frozen": json.dumps(config["frozen"]),
        "trained_steps": config["trained_steps"],
        "written_by": _core.version,
        "metadata": json_text(model.metadata if metadata is None else metadata),
    }
    if config["constraints"] is not None:
        texts["constraints"] = json.dumps(config["constraints"])
    with contextlib.nullcontext() if optimizer is None else _lock_of(optimizer):
        arrays = dict(NamedViews(model._weights.get(), model._weights.layout))
        if optimizer is not None:
            description, moments = described(optimizer, model)
            texts["optimizer"] = json.dumps(description)
            arrays |= {f"optimizer.{name}": values for name, values in moments.items()}
    if training is not None:
        texts["training"] = json.dumps(training)
    if best is not None:
        arrays[BEST] = best
    safetensors.write(path, texts, config["dtype"], arrays)


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
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is of type {type(optimizer).__name__}; "
            "expected an optimiser such as fastbptt.Adam()"
        )
    return optimizer._lock


def described(optimizer: Optimizer, model: Savable) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return what fixes an optimiser, fit for JSON, and copies of its moments."""
    names = [name for name, kind in OPTIMIZERS.items() if kind is type(optimizer)]
    if not names:
        raise TypeError(
            f"optimizer is of type {type(optimizer).__name__}; expected one of "
            f"{', '.join(kind.__name__ for kind in OPTIMIZERS.values())}"
        )
    bound = None
    if optimizer._binding is not None:
        optimizer._binding_for(model._weights)  # refuses another model's
        bound = optimizer.__getstate__()["bound"]
    description = {
        "name": names[0],
        "settings": {name: getattr(optimizer, name) for name in optimizer._settings},
        "step": None if bound is None else bound["step"],
    }
    return description, {} if bound is None else bound["moments"]
