"""Weights from and to layers and models of Keras 3, their files and lists of weights."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from ..files.safetensors import UnreadableError, shortened
from ..models import Recurrent
from .layouts import LAYOUTS, LayerWeights, from_library, layout, to_library
from .parts import (
    ACTIVATIONS,
    Parts,
    assemble,
    check_activation,
    listed,
    numbers,
    parts_of,
    refuse_constraints,
    refuse_states,
    warn_of_training,
)

if TYPE_CHECKING:
    import keras

__all__ = ["from_keras", "to_keras", "to_keras_weights"]

Array = NDArray[Any]
Config = dict[str, Any]

_RECURRENT: Final = ("SimpleRNN", "GRU", "LSTM")
_POOLING: Final = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}
#: Layers that do nothing but in training.
_TRAINING: Final = ("Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise",
                    "AlphaDropout", "ActivityRegularization")  # fmt: skip
_MOST_CONFIG: Final = 1 << 24  # bytes of the description of a model
_MOST_WEIGHTS: Final = 1 << 31


def from_keras(
    source: keras.Layer | Sequence[Any] | str | os.PathLike[str],
    *,
    cell: str | None = None,
    bidirectional: bool | None = None,
    logits: bool = False,
) -> Recurrent:
    """Make a model of a Keras network, with its weights to the bit.

    The network is a chain: perhaps an Embedding, then SimpleRNN, GRU or LSTM layers of one size, or
    each of them in a Bidirectional that concatenates, perhaps GlobalAveragePooling1D or
    GlobalMaxPooling1D, perhaps a Dense layer.

    Parameters
    ----------
    source : layer, model, list of arrays, or path
        A Sequential or functional model, a single layer, or what their ``get_weights`` returns. Of
        a path to a ``.keras`` or ``.weights.h5`` file only the description and the numbers are
        read, by h5py, without Keras: nothing in it is run.
    cell : {"rnn", "relu", "gru", "gru_before", "lstm"}, optional
        For a list or a ``.weights.h5`` file, where the weights alone leave it open: SimpleRNN with
        tanh or ReLU, a GRU without biases.
    bidirectional : bool, optional
        For a list, where it is open whether the second three weights are those of the backward
        layer or of a layer above.
    logits : bool, default False
        Take a network that ends in a sigmoid or softmax without it: its outputs are then those
        before, of which `fastbptt.probabilities` makes probabilities. Refused otherwise, as our
        readout is linear. Weights alone do not tell.

    Returns
    -------
    Recurrent
        In float64 if a weight is. `predict` and `to_onnx` see of it what the network sees: the
        last step, all steps, or their mean or maximum.

    Raises
    ------
    ValueError, TypeError
        Naming the layer and what of it has no counterpart: other activations, constraints, masks,
        ``go_backwards``, ``stateful``.
    ImportError
        If h5py is missing, for a path.

    Warns
    -----
    UserWarning
        For dropout and regularizers that our training does not have. Outputs are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.interchange import from_keras
    >>> rng = np.random.default_rng(0)
    >>> from_keras([rng.normal(size=shape) for shape in [(3, 16), (4, 16), (16,), (4, 1), (1,)]])
    LSTM(3, 4, 1, dtype="float64")  # 133 parameters, 1.1 kB
    """
    _check.flag("logits", logits)
    if bidirectional is not None:
        _check.flag("bidirectional", bidirectional)
    if cell is not None:
        known = [name for library, name in LAYOUTS if library == "keras"]
        _check.option("cell", cell, known)
    if isinstance(source, str | os.PathLike):
        path = _check.file_path(source)
        try:
            if path.endswith(".weights.h5"):
                _no_logits(logits)
                return assemble(_of_weights_file(path, cell, bidirectional))
            _for_a_network(cell, bidirectional)
            return assemble(_of_layers(list(_file_layers(path)), logits))
        except UnreadableError as error:
            raise ValueError(f"cannot read {path!r}: {error}") from None
        except BadArgumentError as error:
            error.source = error.source or path
            raise
    if isinstance(source, list | tuple):
        _no_logits(logits)
        arrays = [numbers(f"source[{place}]", _plain(one)) for place, one in enumerate(source)]
        return assemble(_of_list(arrays, cell, bidirectional))
    if callable(getattr(source, "get_config", None)) and hasattr(source, "get_weights"):
        _for_a_network(cell, bidirectional)
        return assemble(_of_layers(list(_layers_of(source)), logits))
    came = f"is of type {type(source).__name__}"
    raise ArgumentTypeError("source", came, "a Keras layer or model, its weights, or a path")


def _for_a_network(cell: str | None, bidirectional: bool | None) -> None:
    """Refuse what only weights without a description need."""
    for name, value in (("cell", cell), ("bidirectional", bidirectional)):
        if value is not None:
            came = f"is {_check.quoted(value)}, but source is a network, which has its own"
            raise ArgumentError(name, came, "None")


def to_keras(
    model: Recurrent,
    into: keras.Layer | None = None,
    *,
    steps: str | None = None,
    activation: str | None = None,
) -> Any:
    """Make a Keras model of a model, or set the weights of one.

    Parameters
    ----------
    model : Recurrent
        Of a cell that Keras has, without learned initial state or static inputs.
    into : keras.Layer or keras.Model, optional
        A network of the same structure, whose weights are set.
    steps : {"last", "all", "mean", "max"}, optional
        What the Dense layer sees. None: as in the model's last training step. Not with `into`.
    activation : {None, "sigmoid", "softmax"}
        Of the Dense layer. Not with `into`.

    Returns
    -------
    keras.Sequential, or `into`
        ``.save("model.keras")`` and ``.save_weights("model.weights.h5")`` write its files.

    Raises
    ------
    ValueError, TypeError
        If Keras has no such network, or `into` is another one.
    ImportError
        If Keras is missing.

    Warns
    -----
    UserWarning
        For a `padding_index`: an Embedding of Keras trains that row, too.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.interchange import to_keras
    >>> network = to_keras(fastbptt.GRU(3, 8, 1, bidirectional=True, seed=0))
    >>> [type(layer).__name__ for layer in network.layers]
    ['Bidirectional', 'Dense']
    """
    parts = _exportable(model)
    if into is not None:
        for name, value in (("steps", steps), ("activation", activation)):
            if value is not None:
                came = f"is {_check.quoted(value)}, but into is a network, which has its own"
                raise ArgumentError(name, came, "None")
        if not hasattr(into, "set_weights"):
            came = f"is of type {type(into).__name__}"
            raise ArgumentTypeError("into", came, "a Keras layer or model, or None")
        return _set(parts, into)
    check_activation(parts, activation)
    parts.steps = parts.steps if steps is None else _check.option("steps", steps, _check.READOUTS)
    if parts.padding_index is not None:
        warnings.warn(
            f"padding_index={parts.padding_index} is left out: an Embedding of Keras trains that "
            "row, too; outputs are the same",
            stacklevel=2,
        )
    network = _sequential(parts, activation)
    network.set_weights(_weights(parts, parts.bias, parts.b_y is not None))
    return network


def to_keras_weights(model: Recurrent) -> list[Array]:
    """Return a model's weights as a list, as ``get_weights`` of the same Keras network does.

    Keras is not needed.

    Parameters
    ----------
    model : Recurrent
        As for `to_keras`.

    Returns
    -------
    list of ndarray
        The embedding; kernel, recurrent kernel and bias of each layer, of a Bidirectional those of
        the forward layer first; kernel and bias of the Dense layer.

    Raises
    ------
    ValueError, TypeError
        If Keras has no such network.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.interchange import to_keras_weights
    >>> [array.shape for array in to_keras_weights(fastbptt.GRU(3, 8, 1, seed=0))]
    [(3, 24), (8, 24), (2, 24), (8, 1), (1,)]
    """
    parts = _exportable(model)
    return _weights(parts, parts.bias, parts.b_y is not None)


def _exportable(model: Recurrent) -> Parts:
    """Return the parts of a model; refuse what Keras does not have."""
    parts = parts_of(model)
    layout("keras", parts.cell)
    refuse_states(parts, "Keras", "a model without")
    refuse_constraints(model, "Keras")
    warn_of_training(parts, "Keras", 3)
    return parts


def _weights(parts: Parts, bias: bool, output_bias: bool) -> list[Array]:
    """List the weights, with biases of zero where there are none but should be."""
    how = layout("keras", parts.cell)
    weights = [] if parts.E is None else [parts.E]
    for layer in parts.layers:
        for own in layer:
            weights += to_library(how, own.with_bias(parts.cell) if bias else own)
    if parts.W_hy is not None:
        weights.append(parts.W_hy)
        if output_bias:
            zeros = np.zeros(parts.W_hy.shape[1], parts.dtype)
            weights.append(zeros if parts.b_y is None else parts.b_y)
    return weights


def _set(parts: Parts, into: Any) -> Any:
    """Set the weights of a network that has the same structure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what only training does
        layers = list(_layers_of(into))
        there = _of_layers(layers, any(_activation(one) != "linear" for one in layers))
    kinds = {
        "cell": (parts.cell, there.cell),
        "layers": (len(parts.layers), len(there.layers)),
        "directions": (parts.directions, there.directions),
    }
    for what, (ours, theirs) in kinds.items():
        if ours != theirs:
            raise ArgumentError("into", f"has {what} {theirs}", f"those of the model, {ours}")
    for one in into.weights:
        if not np.can_cast(parts.dtype, _dtype_of(one)):
            came = f"has {_dtype_of(one)} in {one.name}, which cannot hold {parts.dtype} exactly"
            raise ArgumentError("into", came, f'layers of dtype="{parts.dtype}"')
    bias = parts.bias or there.bias
    output_bias = parts.b_y is not None or there.b_y is not None
    weights = _weights(parts, bias, output_bias)
    shapes = [tuple(one.shape) for one in into.weights]
    if shapes != [one.shape for one in weights]:
        ours = ", ".join(str(one.shape) for one in weights)
        raise ArgumentError("into", f"has weights of shapes {', '.join(map(str, shapes))}", ours)
    into.set_weights(weights)
    return into


def _dtype_of(variable: Any) -> str:
    name = getattr(variable.dtype, "name", variable.dtype)
    return "float16" if name == "bfloat16" else str(name)


def _sequential(parts: Parts, activation: str | None) -> Any:
    """Build the Keras model."""
    try:
        import keras
    except ImportError:
        raise ImportError("Keras is missing: pip install 'fastbptt[keras]' and a backend") from None
    layers, dtype = keras.layers, parts.dtype.name
    if parts.E is None:
        chain = [keras.Input((None, parts.input_size), dtype=dtype)]
    else:
        chain = [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(*parts.E.shape, dtype=dtype),
        ]
    name, _, setting = layout("keras", parts.cell).name.partition(", ")
    key, _, text = setting.partition("=")
    own = {key: json.loads(text.lower())} if key else {}
    for number in range(len(parts.layers)):
        top = number == len(parts.layers) - 1
        every = not top or parts.steps != "last"
        layer = getattr(layers, name)(
            parts.hidden_size, return_sequences=every, use_bias=parts.bias, dtype=dtype, **own
        )
        chain.append(layer if parts.directions == 1 else layers.Bidirectional(layer, dtype=dtype))
        if parts.dropout and not top:
            chain.append(layers.Dropout(parts.dropout, dtype=dtype))
    pooling = next((kind for kind, steps in _POOLING.items() if steps == parts.steps), None)
    if pooling is not None:
        chain.append(getattr(layers, pooling)(dtype=dtype))
    if parts.W_hy is not None:
        outputs, bias = parts.W_hy.shape[1], parts.b_y is not None
        chain.append(layers.Dense(outputs, activation, use_bias=bias, dtype=dtype))
    return keras.Sequential(chain)


# ---------------------------------------------------------------- networks as layers


@dataclass
class _Layer:
    """A layer of a network: its class, its description and its weights."""

    kind: str
    name: str
    config: Config
    weights: list[Any]

    def __str__(self) -> str:
        return f"layer {shortened(self.name)} ({self.kind})"


def _layers_of(source: Any) -> Iterator[_Layer]:
    """List the layers of a model or layer in memory."""
    for kind in type(source).__mro__:
        if kind.__module__.partition(".")[0] == "keras" and kind.__name__ != "Layer":
            break
    else:
        came = f"is of type {type(source).__name__}, which is not a class of Keras"
        raise ArgumentTypeError("source", came, "a Keras layer or model")
    if kind is not type(source) and not hasattr(source, "layers"):
        came = f"is of type {type(source).__name__}, a {kind.__name__} of your own"
        raise ArgumentTypeError("source", came, "a class of Keras itself")
    config = source.get_config()
    if not hasattr(source, "layers"):
        if not getattr(source, "built", True):
            raise ArgumentError(
                "source", "is not built: it has no weights yet", "one that has been called"
            )
        yield _Layer(type(source).__name__, source.name, config, source.get_weights())
        return
    if not isinstance(config, dict) or "layers" not in config:
        came = f"is a {type(source).__name__}, whose calls cannot be seen"
        raise ArgumentTypeError("source", came, "a Sequential or functional model")
    if not source.built:
        raise ArgumentError(
            "source", "is not built: it has no weights yet", "a model with an Input"
        )
    own = {one.name: one for one in source.layers}
    for name, kind_name, described in _chain(config):
        one = own.get(name)
        if one is None:
            continue
        if type(one).__module__.partition(".")[0] != "keras":
            came = f"is of a class of your own, {type(one).__module__}.{type(one).__name__}"
            raise ArgumentError(f"layer {shortened(name)}", came, "a class of Keras itself")
        yield _Layer(kind_name, name, described, one.get_weights())


def _chain(config: Config) -> Iterator[tuple[str, str, Config]]:
    """List name, class and description of the layers in the order in which they run."""
    described = config.get("layers")
    if not isinstance(described, list) or not all(isinstance(one, dict) for one in described):
        raise ArgumentError("source", "has no list of layers", "a Sequential or functional model")
    before: str | None = None
    for one in described:
        own = one.get("config")
        if not isinstance(own, dict):
            raise ArgumentError("source", "has a layer without description", "its configuration")
        kind, name = str(one.get("class_name")), str(own.get("name"))
        module = one.get("module")
        if one.get("registered_name") or (module is not None and not _is_keras(module)):
            came = f"is of the class {shortened(module)}.{shortened(kind)}"
            raise ArgumentError(f"layer {shortened(name)}", came, "a class of Keras itself")
        nodes = one.get("inbound_nodes")
        if nodes is not None:  # a functional model
            inputs = _histories(nodes)
            if kind == "InputLayer":
                if before is not None:
                    raise ArgumentError("source", "has several inputs", "one")
            elif len(nodes) != 1 or inputs != [before]:
                raise ArgumentError(
                    f"layer {shortened(name)} ({kind})",
                    f"reads {listed([str(read) for read in inputs]) or 'nothing'}",
                    f"{before} alone: a chain of layers",
                )
        before = name
        if kind != "InputLayer":
            yield name, kind, own
    outputs = config.get("output_layers")
    if outputs is not None:
        flat = outputs if outputs and isinstance(outputs[0], list) else [outputs]
        if [one[0] for one in flat] != [before]:
            raise ArgumentError("source", f"has the outputs {shortened(outputs)}", "its last layer")


def _is_keras(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "keras"


def _histories(nodes: Any) -> list[str]:
    """List the names of the layers whose outputs a call reads, wherever they stand in it."""
    found: list[str] = []
    pending = [nodes]
    while pending:
        one = pending.pop()
        if isinstance(one, list | tuple):
            pending += one
        elif isinstance(one, dict):
            history = one.get("keras_history")
            if isinstance(history, list | tuple) and len(history) == 3:
                which = f" (output {shortened(history[2])})" if history[2] != 0 else ""
                found.append(f"{history[0]}{which}")
            pending += [value for key, value in one.items() if key != "keras_history"]
    return found


def _of_layers(layers: list[_Layer], logits: bool) -> Parts:
    """Convert a chain of layers."""
    read: list[_Layer] = []
    embedding: Array | None = None
    dense: _Layer | None = None
    weight = bias = None
    steps, cell, rates, final = "last", "", [], "linear"
    found: list[list[LayerWeights]] = []
    for one in layers:
        _training_only(one)
        if one.kind in _TRAINING:
            between = one.kind == "Dropout" and bool(found) and dense is None and not _pooled(read)
            rates.append((len(found), one) if between else (-1, one))
            continue
        read.append(one)
        if dense is not None and one.kind not in ("Activation", "Softmax"):
            raise ArgumentError(str(one), "follows the Dense layer", "nothing after it")
        if one.kind == "Embedding":
            if found or embedding is not None:
                raise ArgumentError(str(one), "is not the first layer", "one Embedding, first")
            _only(one, "mask_zero", (False,), "give lengths in calls of the model instead")
            (embedding,) = _arrays(one, 1)
        elif one.kind in (*_RECURRENT, "Bidirectional"):
            if found and not read[-2].config.get("_sequences", True):
                raise ArgumentError(
                    str(read[-2]), "has return_sequences=False", "True below a layer"
                )
            if _pooled(read):
                raise ArgumentError(str(one), "follows a pooling layer", "recurrent layers first")
            own, directions, every = _recurrent(one)
            if cell not in ("", own):
                raise ArgumentError(
                    str(one), f'is of cell "{own}"', f'"{cell}", as the layer below'
                )
            cell, steps = own, "all" if every else "last"
            one.config = {**one.config, "_sequences": every}
            found.append(directions)
        elif one.kind in _POOLING:
            _only(one, "data_format", ("channels_last",), "")
            if steps != "all" or not found:
                raise ArgumentError(
                    str(one), "does not follow a recurrent layer of sequences", "one"
                )
            steps = _POOLING[one.kind]
        elif one.kind in ("Dense", "TimeDistributed"):
            if not found:
                raise ArgumentError(str(one), "comes before the recurrent layers", "one after them")
            dense = one
            final = _activation(one)
            weight, bias = _dense(one)
        elif one.kind in ("Activation", "Softmax"):
            if dense is None or final != "linear":
                raise ArgumentError(
                    str(one), "does not follow a linear Dense layer", "one that does"
                )
            final = _activation(one)
        else:
            raise ArgumentError(
                str(one),
                "has no counterpart in fastbptt",
                f"one of Embedding, {', '.join(_RECURRENT)}, Bidirectional, {', '.join(_POOLING)}, "
                "Dense",
            )
    if not found:
        raise ArgumentError("source", "has no recurrent layer", ", ".join(_RECURRENT))
    _end(final, logits, str(read[-1]))
    return Parts(
        cell,
        found,
        weight,
        bias,
        embedding,
        dropout=_dropout(rates, len(found)),
        steps=steps,
    )


def _pooled(read: list[_Layer]) -> bool:
    """Whether a pooling layer is among those read."""
    return any(one.kind in _POOLING for one in read)


def _no_logits(logits: bool) -> None:
    if logits:
        came = "is True, but weights alone have no sigmoid or softmax"
        raise ArgumentError("logits", came, "False")


def _end(final: str, logits: bool, where: str) -> None:
    """Check the activation at the end."""
    if final not in ("linear", *ACTIVATIONS):
        raise ArgumentError(where, f"has the activation {shortened(final)}", "linear")
    if final != "linear" and not logits:
        raise ArgumentError(
            "logits",
            f"is False, but {where} has the activation {final}",
            "True for a model whose outputs are those before it: fastbptt.probabilities makes "
            "probabilities of them",
        )
    if final == "linear" and logits:
        came = "is True, but the network does not end in a sigmoid or softmax"
        raise ArgumentError("logits", came, "False")


def _activation(one: _Layer) -> str:
    """Return the function at the end of a layer, "linear" for none."""
    if one.kind == "Softmax":
        _only(one, "axis", (-1,), "")
        return "softmax"
    config = one.config
    if one.kind == "TimeDistributed":
        config = _inner(one, "layer").config
    value = config.get("activation") if one.kind not in _RECURRENT else None
    return "linear" if value is None else value if isinstance(value, str) else shortened(value)


def _only(one: _Layer, key: str, allowed: tuple[Any, ...], advice: str) -> Any:
    """Return a setting of a layer; refuse others than these."""
    value = one.config.get(key, allowed[0])
    if not any(type(value) is type(known) and value == known for known in allowed):
        expected = " or ".join(map(_check.quoted, allowed))
        expected += f"; {advice}" * bool(advice)
        raise ArgumentError(str(one), f"has {key}={shortened(value)}", expected)
    return value


def _training_only(one: _Layer) -> None:
    """Warn of what only training does; refuse constraints, and numbers that are not plain."""
    lost = [
        key
        for key, value in one.config.items()
        if value and (key in ("dropout", "recurrent_dropout") or key.endswith("_regularizer"))
    ]
    if lost:
        warnings.warn(
            f"{one}: {', '.join(lost)} left out, which fastbptt does not have; outputs are the "
            "same",
            stacklevel=4,
        )
    for key, value in one.config.items():
        if value and (key.endswith("_constraint") or key in ("quantization_config", "lora_rank")):
            raise ArgumentError(str(one), f"has {key}={shortened(value)}", "None")


def _dropout(rates: list[tuple[int, _Layer]], layers: int) -> float:
    """Return the rate between layers; warn of dropout elsewhere, which is left out."""
    between = {place: one.config.get("rate") for place, one in rates if 0 < place < layers}
    values = set(between.values())
    kept = len(between) == layers - 1 > 0 and len(values) == 1 and len(rates) == len(
        {id(one) for _, one in rates}
    )  # fmt: skip
    rate = values.pop() if kept else None
    kept = kept and isinstance(rate, float) and 0.0 <= rate < 1.0
    others = [str(one) for place, one in rates if not (kept and 0 < place < layers)]
    if others:
        warnings.warn(
            f"{listed(others)} left out: fastbptt drops values between all recurrent layers, by "
            "one rate; outputs are the same",
            stacklevel=4,
        )
    return float(rate or 0.0) if kept else 0.0


def _plain(value: Any) -> Any:
    """Return numbers of 16 bits in float32, where they are exact."""
    name = str(getattr(value, "dtype", ""))
    return np.asarray(value).astype(np.float32) if name in ("bfloat16", "float16") else value


def _arrays(one: _Layer, *counts: int) -> list[Array]:
    """Read a layer's weights."""
    if len(one.weights) not in counts:
        came = f"has {len(one.weights)} weights"
        raise ArgumentError(str(one), came, " or ".join(map(str, counts)))
    return [
        numbers(f"weight {place} of {one}", _plain(value))
        for place, value in enumerate(one.weights)
    ]


def _inner(one: _Layer, key: str) -> _Layer:
    """Return the layer within a Bidirectional or TimeDistributed."""
    own = one.config.get(key)
    if not isinstance(own, dict) or not isinstance(own.get("config"), dict):
        raise ArgumentError(str(one), f"has no {key}", "its description")
    if own.get("registered_name") or not _is_keras(own.get("module", "keras")):
        came = f"is of the class {shortened(own.get('class_name'))} of your own"
        raise ArgumentError(f"the {key} of {one}", came, "a class of Keras itself")
    return _Layer(str(own.get("class_name")), f"{one.name}/{key}", own["config"], one.weights)


def _recurrent(one: _Layer) -> tuple[str, list[LayerWeights], bool]:
    """Convert a recurrent layer: its cell, its directions, whether it returns sequences."""
    if one.kind != "Bidirectional":
        cell, every = _cell(one, reverse=False)
        return cell, [_direction(one, cell, one.weights)], every
    _only(one, "merge_mode", ("concat",), "")
    forward, backward = _inner(one, "layer"), _inner(one, "backward_layer")
    for key in ("layer", "backward_layer"):
        _training_only(_inner(one, key))
    cell, every = _cell(forward, reverse=False)
    other, also = _cell(backward, reverse=True)
    if other != cell or also != every or len(one.weights) % 2:
        came = f"has a backward layer of cell {other}"
        raise ArgumentError(str(one), came, f"the same as forward, {cell}")
    half = len(one.weights) // 2
    halves = (one.weights[:half], one.weights[half:])
    return cell, [_direction(one, cell, weights) for weights in halves], every


def _direction(one: _Layer, cell: str, weights: list[Any]) -> LayerWeights:
    arrays = _arrays(_Layer(one.kind, one.name, one.config, weights), 2, 3)
    how = layout("keras", cell)
    return from_library(how, arrays, [f"{name} of {one}" for name in how.arrays])


def _cell(one: _Layer, reverse: bool) -> tuple[str, bool]:
    """Tell which cell a layer is, and whether it returns sequences."""
    if one.kind not in _RECURRENT:
        raise ArgumentError(str(one), "has no counterpart in fastbptt", ", ".join(_RECURRENT))
    advice = "" if reverse else "for both directions Bidirectional"
    _only(one, "go_backwards", (reverse,), advice)
    _only(one, "stateful", (False,), "give the final state of one call as h0 of the next")
    every = bool(_only(one, "return_sequences", (False, True), ""))
    if one.kind == "SimpleRNN":
        return {"tanh": "rnn", "relu": "relu"}[
            _only(one, "activation", ("tanh", "relu"), "")
        ], every
    _only(one, "activation", ("tanh",), "")
    _only(one, "recurrent_activation", ("sigmoid",), "")
    if one.kind == "GRU":
        return "gru" if _only(one, "reset_after", (True, False), "") else "gru_before", every
    return "lstm", every


def _dense(one: _Layer) -> tuple[Array, Array | None]:
    """Read the Dense layer."""
    inner = one if one.kind == "Dense" else _inner(one, "layer")
    if inner.kind != "Dense":
        raise ArgumentError(str(one), f"holds {inner.kind}", "Dense")
    _training_only(inner)
    arrays = _arrays(inner, 1, 2)
    if arrays[0].ndim != 2 or any(own.shape != arrays[0].shape[1:] for own in arrays[1:]):
        shapes = ", ".join(str(own.shape) for own in arrays)
        raise ArgumentError(
            str(one), f"has weights of shapes {shapes}", "(units, outputs), (outputs,)"
        )
    return arrays[0], arrays[1] if len(arrays) > 1 else None


# ---------------------------------------------------------------- lists of weights


def _of_list(
    arrays: list[Array],
    cell: str | None,
    both: bool | None,
    around: tuple[int, int] | None = None,
) -> Parts:
    """Tell by the shapes what the arrays of a list are; refuse what may be two networks.

    around: how many are before and after the recurrent layers, where it is known.
    """
    if len(arrays) < 2:
        came = f"is a list of {len(arrays)} arrays"
        raise ArgumentError("source", came, "kernel and recurrent kernel at least")
    found = list(_readings(arrays, cell, both, around))
    if not found:
        shapes = ", ".join(str(one.shape) for one in arrays)
        raise ArgumentError(
            "source",
            f"has arrays of shapes {shapes}",
            f"the weights of {cell or 'RNN, GRU or LSTM'} layers of one size, after at most an "
            "embedding and before at most a Dense layer",
        )
    cells = sorted({parts.cell for parts in found})
    if len(cells) > 1:
        came = "is None, but the shapes of source leave it open"
        raise ArgumentError("cell", came, f"one of {', '.join(cells)}")
    if len({parts.directions for parts in found}) > 1:
        came = "is None, but the shapes of source leave it open"
        raise ArgumentError("bidirectional", came, "True or False")
    if len(found) > 1:
        came = "has arrays that may be those of several networks"
        raise ArgumentError("source", came, "a layer or a model, which tells more")
    return found[0]


def _readings(
    arrays: list[Array], cell: str | None, both: bool | None, around: tuple[int, int] | None
) -> Iterator[Parts]:
    """Yield every network whose weights these may be."""
    cells = [name for library, name in LAYOUTS if library == "keras" and cell in (None, name)]
    places = itertools.product((0, 1), (0, 1, 2)) if around is None else [around]
    sizes = ((3, 1), (3, 2), (2, 1), (2, 2))  # arrays of a direction, directions
    for (before, after), (per, directions), name in itertools.product(places, sizes, cells):
        inner = arrays[before : len(arrays) - after]
        if both not in (None, directions == 2) or not inner or len(inner) % (per * directions):
            continue
        starts = range(0, len(inner), per)
        try:
            units = [from_library(layout("keras", name), inner[one : one + per]) for one in starts]
        except BadArgumentError:
            continue
        layers = [units[one : one + directions] for one in range(0, len(units), directions)]
        dense, table = arrays[len(arrays) - after :], arrays[0] if before else None
        if _fit(layers, dense, table):
            weight, bias = [*dense, None, None][:2]
            yield Parts(name, layers, weight, bias, table)


def _fit(layers: list[list[LayerWeights]], dense: list[Array], table: Array | None) -> bool:
    """Whether the parts fit together."""
    hidden, directions = len(layers[0][0].W_hh), len(layers[0])
    columns = directions * hidden
    inputs = len(layers[0][0].W_xh)
    return (
        all(
            len(own.W_hh) == hidden and len(own.W_xh) == (columns if number else inputs)
            for number, layer in enumerate(layers)
            for own in layer
        )
        and (not dense or (dense[0].ndim == 2 and len(dense[0]) == columns))
        and (len(dense) < 2 or dense[1].shape == dense[0].shape[1:])
        and (table is None or (table.ndim == 2 and table.shape[1] == inputs))
    )


# ---------------------------------------------------------------- files


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ImportError(
            "Keras' files need h5py: pip install 'fastbptt[keras]', or pip install h5py"
        ) from None
    return h5py


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a file of a .keras archive, if it is not too large."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise UnreadableError(f"it holds no {name}", "a .keras file of Keras 3") from None
    if info.file_size > most or info.file_size > 100 * max(info.compress_size, 1):
        came = f"{name} has {info.file_size} bytes, of {info.compress_size} in the file"
        raise UnreadableError(came, f"at most {most}, as Keras writes it")
    with archive.open(info) as member:
        content = member.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise UnreadableError(f"{name} has not {info.file_size} bytes", "a whole file")
    return content


def _file_layers(path: str) -> Iterator[_Layer]:
    """List the layers of a .keras file, of its description and its numbers."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                text = _member(archive, "config.json", _MOST_CONFIG)
                content = _member(archive, "model.weights.h5", _MOST_WEIGHTS)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError,
                zipfile.LargeZipFile) as error:  # fmt: skip
            expected = "a .keras file of Keras 3"
            file.seek(0)
            if file.read(4) == b"\x89HDF":  # what save("model.h5") writes
                expected += ", or the model: from_keras(keras.models.load_model(path))"
            raise UnreadableError(
                f"it is no whole archive ({shortened(str(error))})", expected
            ) from None
    try:
        model = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableError("its config.json is no JSON", "the description of a model") from None
    kind = model.get("class_name") if isinstance(model, dict) else None
    config = model.get("config") if isinstance(model, dict) else None
    if kind not in ("Sequential", "Functional") or not isinstance(config, dict):
        came = f"it describes {shortened(kind)}"
        raise UnreadableError(came, "a Sequential or functional model")
    with _Weights(io.BytesIO(content)) as weights:
        counts: dict[str, int] = {}
        for name, kind, described in _chain(config):
            snake = _snake(kind)
            number = counts[snake] = counts.get(snake, -1) + 1
            group = f"layers/{snake}" + f"_{number}" * (number > 0)
            yield _Layer(kind, name, described, weights.of_layer(group, kind))


def _snake(name: str) -> str:
    """Return the name of a class as Keras writes it in files: simple_rnn of SimpleRNN."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class _Weights:
    """The numbers of an HDF5 file that Keras wrote; follows no links out of it."""

    def __init__(self, file: Any) -> None:
        self.h5py = _h5py()
        try:
            self.file = self.h5py.File(file, "r")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            came = f"its weights are no HDF5 file ({shortened(str(error))})"
            raise UnreadableError(came, "one that Keras wrote") from None

    def __enter__(self) -> _Weights:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def group(self, path: str) -> Any:
        """Return a group, or None; only what lies in this file."""
        at = self.file
        try:
            for part in path.split("/"):
                if part not in at:
                    return None
                if not isinstance(at.get(part, getlink=True), self.h5py.HardLink):
                    raise UnreadableError(f"{path} is a link", "groups in the file")
                at = at[part]
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise UnreadableError(
                f"{path} is broken ({shortened(str(error))})", "a group"
            ) from None
        return at if isinstance(at, self.h5py.Group) else None

    def names(self, group: Any) -> list[str]:
        """Name what is in a group."""
        try:
            return list(group)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            came = f"a group is broken ({shortened(str(error))})"
            raise UnreadableError(came, "names of layers") from None

    def variables(self, path: str) -> list[Array]:
        """Read the numbers of one layer."""
        group = self.group(f"{path}/vars")
        if group is None:
            return []
        found = []
        for number in range(len(group)):
            name = f"{path}/vars/{number}"
            try:
                data = group.get(str(number))
                link = group.get(str(number), getlink=True)
                if not isinstance(data, self.h5py.Dataset) or not isinstance(
                    link, self.h5py.HardLink
                ):
                    raise UnreadableError(f"{name} is no array", "numbers")
                size = math.prod(data.shape or (0,)) * data.dtype.itemsize
                if data.is_virtual or data.external or data.id.get_storage_size() != size:
                    came = f"{name} of shape {data.shape} is not stored as such"
                    raise UnreadableError(came, f"{size} bytes, as Keras writes them")
                found.append(np.asarray(data[()]))
            except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
                raise UnreadableError(
                    f"{name} is broken ({shortened(str(error))})", "numbers"
                ) from None
        return found

    def of_layer(self, path: str, kind: str) -> list[Array]:
        """Read all numbers of a layer, in the order of ``get_weights``."""
        if kind in _RECURRENT:
            return self.variables(f"{path}/cell")
        if kind == "Bidirectional":
            return self.variables(f"{path}/forward_layer/cell") + self.variables(
                f"{path}/backward_layer/cell"
            )
        return self.variables(f"{path}/layer" if kind == "TimeDistributed" else path)


def _of_weights_file(path: str, cell: str | None, both: bool | None) -> Parts:
    """Convert a .weights.h5 file: the names of its groups tell classes and order."""
    with open(path, "rb") as file, _Weights(file) as weights:
        group = weights.group("layers")
        if group is None:
            raise UnreadableError("it has no group layers", "a .weights.h5 file of a Keras 3 model")
        found: dict[str, dict[int, list[Array]]] = {}
        kinds = ("Embedding", *_RECURRENT, "Bidirectional", "Dense", "TimeDistributed")
        known = {_snake(kind): kind for kind in kinds}
        for name in weights.names(group):
            base, _, number = name.rpartition("_")
            if not number.isdigit() or len(number) > 6:
                base, number = name, "0"
            kind = known.get(base)
            arrays = weights.of_layer(f"layers/{name}", kind or "")
            if kind is None and arrays:
                raise UnreadableError(f"its layer {shortened(name)} has weights", ", ".join(kinds))
            if kind is not None:
                found.setdefault(kind, {})[int(number)] = arrays
    recurrent = [kind for kind in (*_RECURRENT, "Bidirectional") if kind in found]
    dense = [kind for kind in ("Dense", "TimeDistributed") if kind in found]
    if len(recurrent) != 1 or len(dense) > 1 or any(
        len(found.get(kind, ())) > 1 for kind in (*dense, "Embedding")
    ):  # fmt: skip
        names = listed([f"{len(own)} {kind}" for kind, own in found.items()]) or "no layers"
        raise UnreadableError(
            f"it has {names}",
            "recurrent layers of one kind, at most an Embedding and a Dense layer",
        )
    own_both = recurrent[0] == "Bidirectional"
    if both is not None and both != own_both:
        raise ArgumentError("bidirectional", f"is {both}, but the file has {recurrent[0]}", "None")
    flat = [
        array
        for kind in ("Embedding", recurrent[0], *dense)
        for _, arrays in sorted(found.get(kind, {}).items())
        for array in arrays
    ]
    flat = [numbers(f"array {place}", _plain(one)) for place, one in enumerate(flat)]
    cells = [
        name
        for (library, name), how in LAYOUTS.items()
        if library == "keras" and (own_both or how.name.partition(", ")[0] == recurrent[0])
    ]
    if cell is not None and cell not in cells:
        came = f'is "{cell}", but the file has {recurrent[0]}'
        raise ArgumentError("cell", came, " or ".join(cells))
    if cell is None and not own_both and len(cells) > 1 and recurrent[0] == "SimpleRNN":
        raise ArgumentError("cell", "is None, but the file does not tell", " or ".join(cells))
    around = [sum(len(one) for kind in group for one in found.get(kind, {}).values())
              for group in (["Embedding"], dense)]  # fmt: skip
    return _of_list(flat, cell, own_both, (around[0], around[1]))
