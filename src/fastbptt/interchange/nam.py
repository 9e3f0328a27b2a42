"""LSTMs in the files of Neural Amp Modeler, ``.nam``: read and written.

The file is a JSON object. S. Atkinson's trainer (github.com/sdatkinson/neural-amp-modeler) writes
it, and the plug-ins read it with his NeuralAmpModelerCore:

================  ================================================================================
key               value
================  ================================================================================
``version``       of the format: ``"0.5.4"``
``architecture``  ``"LSTM"``; the others are convolutional
``config``        ``input_size`` I, ``hidden_size`` H, ``num_layers``; above 1 also
                  ``in_channels``, I again, and ``out_channels`` O, both 1 if absent
``weights``       a list of numbers. For each layer: the matrix of input and state side by side,
                  (4 H, I + H) row by row, the bias (4 H), the initial h (H) and c (H). Then the
                  readout (O, H) row by row, and its bias (O)
``sample_rate``   in Hz; if absent, it is unknown
``metadata``      an object: names, levels in dBu, and whatever else its author noted
================  ================================================================================

Plug-ins run half a second of silence through the network before they play, so the state in which
the music begins is not quite the initial state of the file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from ..models import Recurrent
from . import _json_files, _plug_ins
from .layouts import LayerWeights, from_library, layout, to_library

__all__ = ["from_nam", "to_nam"]

_VERSION: Final = "0.5.4"
_OLDEST, _NEWEST = (0, 5), (0, 7)  # versions whose LSTM has this form
_CONFIG: Final = ("input_size", "hidden_size", "num_layers", "in_channels", "out_channels")
_PASS_SCALE: Final = 2.0**-11  # of the input in units that pass it on: see `_with_pass`


def to_nam(
    model: Recurrent,
    path: str | os.PathLike[str],
    *,
    sample_rate: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    skip: bool = False,
) -> None:
    """Write an LSTM to a ``.nam`` file, as Neural Amp Modeler plays it.

    Weights are written with all their digits. A bias, or a readout's column, that the model lacks
    is zero in the file; an initial state that is not learned, too.

    Parameters
    ----------
    model : LSTM
        With a readout. A file of Neural Amp Modeler holds no other cell, no reverse direction, no
        embedding and no static inputs.
    path : str or path-like
        Ends in ``.nam``, or plug-ins do not list it. An existing file is replaced, as a whole.
    sample_rate : float, optional
        Of the recordings, in Hz. None: ``model.metadata["sample_rate"]``, which `from_nam` notes.
    metadata : mapping, optional
        The file's metadata, such as ``{"name": .., "gear_make": ..}``. None:
        ``model.metadata["nam"]``, which `from_nam` notes, or none.
    skip : bool, default False
        The model was trained with a skip connection: its output is readout + input. The format has
        no field for that, so each layer gets one unit more, which passes the input on. For inputs
        from -1 to 1 the error is below 4e-7 per layer; it grows with the input's third power.
        Plug-ins that approximate tanh are off by about 1 % per layer, as they are for all units.
        Only with one input and one output.

    Raises
    ------
    ValueError, TypeError
        If the file cannot hold the model, or an argument is not as described.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> from fastbptt.interchange import from_nam, to_nam
    >>> model = fastbptt.LSTM(1, 16, 1, seed=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "amp.nam")
    >>> to_nam(model, path, sample_rate=48000, metadata={"name": "My amp"})
    >>> same = from_nam(path)
    >>> same.metadata
    {'sample_rate': 48000.0, 'nam': {'name': 'My amp'}}
    """
    own = _plug_ins.plain(model, "a .nam file")
    form = layout("nam", own.cell)
    layers, head = [one.with_bias(own.cell) for (one,) in own.layers], _plug_ins.readout(own)
    if head is None:
        raise ArgumentError("model", "has no readout", "an output_size: a .nam file has a readout")
    zeros = np.zeros((len(layers), own.hidden_size), own.dtype)
    states = [own.initial.get(name, zeros) for name in own.states]
    if _check.flag("skip", skip):
        if (model.input_size, model.output_size) != (1, 1):
            sizes = f"a model with input_size={model.input_size}, output_size={model.output_size}"
            raise ArgumentError("skip", "is True", f"False for {sizes}")
        layers, head, states = _with_pass(layers, head, states)
    config = {
        "input_size": model.input_size,
        "hidden_size": head[0].shape[0],
        "num_layers": model.num_layers,
    }
    channels = {"in_channels": own.input_size, "out_channels": head[0].shape[1]}
    config |= {name: count for name, count in channels.items() if count != 1}
    parts = []
    for number, layer in enumerate(layers):
        parts += [*to_library(form, layer), *(one[number] for one in states)]
    parts += [head[0].T, head[1]]
    if metadata is None:
        metadata = model.metadata.get("nam", {})
    if not isinstance(metadata, Mapping):
        raise ArgumentTypeError("metadata", f"is {_check.shown(metadata)}", "a mapping, or None")
    rate = _plug_ins.sample_rate_of(model, sample_rate)
    if rate is None:
        expected = "the rate of the recordings in Hz, such as 48000"
        raise ArgumentError("sample_rate", "is None", expected)
    content = {
        "version": _VERSION,
        "metadata": dict(metadata),
        "architecture": "LSTM",
        "config": config,
        "weights": np.concatenate([one.astype(np.float64).ravel() for one in parts]).tolist(),
        "sample_rate": rate,
    }
    _json_files.write(path, content, "metadata")


def from_nam(path: str | os.PathLike[str], *, dtype: DTypeLike = "float32") -> Recurrent:
    """Read the LSTM of a ``.nam`` file.

    Parameters
    ----------
    path : str or path-like
    dtype : {"float32", "float64"}
        Of the model. Neural Amp Modeler computes in float32.

    Returns
    -------
    LSTM
        With the initial state as parameters `h0` and `c0`. ``model.metadata`` has the file's
        ``"sample_rate"``, if it states one, and its metadata as ``"nam"``; `to_nam` writes both
        again.

    Raises
    ------
    ValueError
        If it is no such file, is damaged, or holds another network than an LSTM, naming the key.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastbptt
    >>> from fastbptt.interchange import from_nam, to_nam
    >>> path = os.path.join(tempfile.mkdtemp(), "amp.nam")
    >>> to_nam(fastbptt.LSTM(1, 8, 1, seed=0), path, sample_rate=44100)
    >>> model = from_nam(path)
    >>> model.forward(np.zeros((1, 44100, 1))).outputs.shape
    (1, 44100, 1)
    """
    with _json_files.reading(path) as content:
        _check_version(_json_files.need(content, "version"))
        kind = _json_files.need(content, "architecture")
        if kind != "LSTM":
            came = f"is {_json_files.kind_of(kind)}"
            raise ArgumentError("architecture", came, "'LSTM', the only recurrent one")
        inputs, hidden, depth, outputs = _sizes(_json_files.need(content, "config"))
        per_layer = 4 * hidden * (2 * hidden + 1) + 2 * hidden  # the first one has other inputs
        needed = depth * per_layer + 4 * hidden * (inputs - hidden) + outputs * (hidden + 1)
        listed = _json_files.items(_json_files.need(content, "weights"), "weights")
        if len(listed) != needed:
            units = f"{depth} layers of {hidden} units, {inputs} inputs and {outputs} outputs"
            raise ArgumentError("weights", f"has {len(listed)} numbers", f"{needed} for {units}")
        taken = _Taken(_json_files.numbers(listed, "weights", (needed,)))
        form, layers = layout("nam", "lstm"), []
        states: dict[str, list[NDArray[Any]]] = {"h0": [], "c0": []}
        for number in range(depth):
            wide = hidden if number else inputs
            pair = [taken.next(4 * hidden, wide + hidden), taken.next(4 * hidden)]
            layers.append(from_library(form, pair))
            for one in states.values():
                one.append(taken.next(hidden))
        head = taken.next(outputs, hidden).T, taken.next(outputs)
        initial = {name: np.stack(rows) for name, rows in states.items()}
        model = _plug_ins.built("lstm", layers, head, initial, dtype)
        if content.get("sample_rate") is not None:
            model.metadata["sample_rate"] = _plug_ins.read_rate(
                content["sample_rate"], "sample_rate"
            )
        notes = content.get("metadata")
        model.metadata["nam"] = {} if notes is None else _json_files.fields(notes, "metadata")
    return model


def _check_version(version: Any) -> None:
    text = version if isinstance(version, str) else ""
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", text, re.ASCII)
    if found is None or not _OLDEST <= (int(found[1]), int(found[2])) <= _NEWEST:
        span = " to ".join(f"{a}.{b}" for a, b in (_OLDEST, _NEWEST))
        raise ArgumentError("version", f"is {_json_files.kind_of(version)}", span)


def _sizes(value: Any) -> tuple[int, int, int, int]:
    """Read the sizes: inputs, units, layers, outputs."""
    config = _json_files.fields(value, "config")
    for name in config:
        if name not in _CONFIG:
            raise ArgumentError(_json_files.child("config", name), "is unknown", ", ".join(_CONFIG))
    inputs, hidden, depth = (_json_files.size(config, name, "config") for name in _CONFIG[:3])
    outputs = _json_files.size({"out_channels": 1} | config, "out_channels", "config")
    channels = _json_files.size({"in_channels": inputs} | config, "in_channels", "config")
    if channels != inputs:
        came = f"is {channels}"
        raise ArgumentError("config.in_channels", came, f"{inputs}, which input_size is")
    return inputs, hidden, depth, outputs


class _Taken:
    """Parts of a list of numbers, one after the other."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values, self._start = values, 0

    def next(self, *shape: int) -> NDArray[np.float64]:
        first, self._start = self._start, self._start + math.prod(shape)
        return self._values[first : self._start].reshape(shape)


def _with_pass(
    layers: list[LayerWeights], head: tuple[Any, Any], states: list[NDArray[Any]]
) -> tuple[list[LayerWeights], tuple[Any, Any], list[NDArray[Any]]]:
    """Add a unit to each layer that passes the input on: tanh of small numbers is linear.

    With gates at 1, 1 and, for the forget gate, 0, the unit's output is tanh(tanh(s x)) = s x (1 -
    2/3 s^2 x^2 + ..), which the readout divides by s, a power of two.
    """
    wider = []
    for number, layer in enumerate(layers):
        inputs, hidden = len(layer.W_xh), len(layer.W_hh)
        rows = inputs + (number > 0)  # those of the layer below, and its new unit
        W_xh = np.zeros((rows, 4, hidden + 1), layer.W_xh.dtype)
        W_hh = np.zeros((hidden + 1, 4, hidden + 1), layer.W_hh.dtype)
        bias = np.zeros((4, hidden + 1), layer.W_xh.dtype)
        W_xh[:inputs, :, :hidden] = layer.W_xh.reshape(inputs, 4, hidden)
        W_hh[:hidden, :, :hidden] = layer.W_hh.reshape(hidden, 4, hidden)
        assert layer.b_h is not None
        bias[:, :hidden] = layer.b_h.reshape(4, hidden)
        W_xh[-1, 2, hidden] = 1.0 if number else _PASS_SCALE  # g
        bias[:, hidden] = (40.0, -80.0, 0.0, 40.0)  # i, f, g, o
        wider.append(
            LayerWeights(W_xh.reshape(rows, -1), W_hh.reshape(hidden + 1, -1), bias.ravel())
        )
    matrix = np.concatenate([head[0], np.full((1, 1), 1.0 / _PASS_SCALE, head[0].dtype)])
    more = [np.concatenate([one, np.zeros((len(one), 1), one.dtype)], axis=1) for one in states]
    return wider, (matrix, head[1]), more
