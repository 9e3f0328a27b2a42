"""Networks in JSON files for RTNeural (github.com/jatinchowdhury18/RTNeural): read and written.

RTNeural is the C++ library with which audio plug-ins run recurrent networks. Three forms of file
are in use:

==============  ==================================================================================
form            content
==============  ==================================================================================
``"keras"``     ``in_shape``, ``[null, null, inputs]``, and ``layers``, a list of objects with
                ``type``, ``activation``, ``shape`` and ``weights``, those of Keras'
                ``get_weights()``. RTNeural's own loader reads it, and the plug-ins of AIDA-X, which
                also know ``in_skip`` (1: the output is that of the network plus the input),
                ``in_gain`` and ``out_gain`` (in dB), and ``metadata`` with ``samplerate``
``"torch"``     a PyTorch ``state_dict`` as nested lists: ``lstm.weight_ih_l0``, ..,
                ``dense.weight``, ``dense.bias``. A C++ program that knows the network reads it
                with RTNeural's ``torch_helpers``
``"guitarml"``  ``model_data``, the sizes of a network and ``skip``, and ``state_dict`` as in
                torch's form, under ``rec.`` and ``lin.``: the files of CoreAudioML
                (github.com/Alec-Wright/CoreAudioML) and of GuitarML's plug-ins, such as Proteus
==============  ==================================================================================

A GRU here has its reset gate after the product. Initial states are zero.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from ..files.safetensors import shortened
from ..models import Recurrent
from . import _json_files, _plug_ins
from .layouts import LAYOUTS, Array, LayerWeights, from_library, layout, to_library

__all__ = ["from_rtneural", "to_rtneural"]

_FORMS: Final = ("keras", "torch", "guitarml")
_RECURRENT: Final = ("gru", "lstm")
_DENSE: Final = ("dense", "time-distributed-dense")
_UNITS: Final = {"RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}  # of guitarml's form
_MODEL_DATA: Final = (
    *("model", "input_size", "skip", "output_size", "unit_type", "num_layers", "hidden_size"),
    "bias_fl",
)
_ARRAY: Final = re.compile(r"(weight|bias)_([ih]h)_l(\d{1,4})", re.ASCII)


# ---------------------------------------------------------------- writing


def to_rtneural(
    model: Recurrent,
    path: str | os.PathLike[str],
    *,
    form: str = "keras",
    skip: bool = False,
    sample_rate: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a GRU or LSTM to a JSON file for RTNeural, AIDA-X or GuitarML's plug-ins.

    Weights are written with all their digits. Biases that the model lacks are zeros in the file.

    Parameters
    ----------
    model : GRU or LSTM
        A GRU with ``reset_after=True``; with ``form="guitarml"`` also a tanh `RNN`. The files hold
        no reverse direction, no embedding, no static inputs, and no initial state but zeros.
    path : str or path-like
        The usual suffix is ``.json``. An existing file is replaced, as a whole.
    form : {"keras", "torch", "guitarml"}
        ``"keras"``: for RTNeural's loader and AIDA-X, whose plug-ins take one layer of 8, 12, 16,
        20, 24, 32, 40, 64 or 80 units with one output. ``"torch"``: a ``state_dict`` with the
        prefixes ``gru.`` or ``lstm.``, and ``dense.``. ``"guitarml"``: for Proteus, which takes an
        LSTM of one layer with 40 units and ``skip=True``, and for CoreAudioML.
    skip : bool, default False
        The model was trained with a skip connection: its output is readout + first input. Needs a
        readout. Torch's form has no field for it.
    sample_rate : float, optional
        Of the recordings, in Hz, which AIDA-X shows; its plug-ins take 48000 if the file says
        nothing. Only in Keras' form. None: ``model.metadata["sample_rate"]``, or none.
    metadata : mapping, optional
        Further metadata of AIDA-X, such as ``{"name": .., "author": ..}``. Only in Keras' form.
        None: ``model.metadata["rtneural"]``, which `from_rtneural` notes, or none.

    Raises
    ------
    ValueError, TypeError
        If the file cannot hold the model, or an argument is not as described.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> from fastbptt.interchange import from_rtneural, to_rtneural
    >>> model = fastbptt.GRU(1, 16, 1, seed=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "amp.json")
    >>> to_rtneural(model, path, skip=True, sample_rate=48000)
    >>> same = from_rtneural(path, skip=True)
    >>> bool((same.parameters["W_hh"] == model.parameters["W_hh"]).all())
    True
    """
    _check.option("form", form, _FORMS)
    own = _plug_ins.plain(model, "an RTNeural file")
    library, cell = "rtneural" if form == "keras" else "torch", own.cell
    if form != "guitarml" or cell not in _UNITS.values():
        layout("rtneural", cell)  # refuses a cell that RTNeural does not have
    for name, values in own.initial.items():
        if values.any():
            problem = f"has an initial state, {name}"
            raise ArgumentError("model", problem, "zeros, with which RTNeural begins")
    head = _plug_ins.readout(own)
    added = _check.flag("skip", skip)
    if added and (form == "torch" or head is None):
        why = "torch's form has no field for it" if head is not None else "the model has no readout"
        raise ArgumentError("skip", "is True", f"False: {why}")
    if form != "keras":
        for name, value in (("sample_rate", sample_rate), ("metadata", metadata)):
            if value is not None:
                wanted = f'None because form="{form}" has no field for it'
                raise ArgumentError(name, f"is {_check.shown(value)}", wanted)
    arrays = [to_library(layout(library, cell), one.with_bias(cell)) for (one,) in own.layers]
    if form == "keras":
        content = _keras_content(model, arrays, head, added)
        content |= _notes(model, sample_rate, metadata)
    elif form == "torch":
        content = _state_dict(arrays, head, f"{cell}.", "dense.")
    else:
        if head is None:
            raise ArgumentError("model", "has no readout", 'one, which form="guitarml" needs')
        content = {"model_data": _model_data(model, added)}
        content["state_dict"] = _state_dict(arrays, head, "rec.", "lin.")
    _json_files.write(path, content, "metadata")


def _listed(array: Array) -> list[Any]:
    found: list[Any] = array.astype(np.float64).tolist()
    return found


def _keras_content(
    model: Recurrent, arrays: list[list[Array]], head: tuple[Array, Array] | None, skip: bool
) -> dict[str, Any]:
    content: dict[str, Any] = {"in_shape": [None, None, model.input_size]}
    if skip:
        content["in_skip"] = 1
    content["layers"] = [
        {
            "type": model.cell,
            "activation": "tanh",
            "shape": [None, None, model.hidden_size],
            "weights": [_listed(one) for one in layer],
        }
        for layer in arrays
    ]
    if head is not None:
        content["layers"].append(
            {
                "type": "dense",
                "activation": "",
                "shape": [None, None, model.output_size],
                "weights": [_listed(one) for one in head],
            }
        )
    return content


def _notes(
    model: Recurrent, sample_rate: float | None, metadata: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return AIDA-X's metadata, if there are any."""
    if metadata is None:
        metadata = model.metadata.get("rtneural", {})
    if not isinstance(metadata, Mapping):
        raise ArgumentTypeError("metadata", f"is {_check.shown(metadata)}", "a mapping, or None")
    if "samplerate" in metadata:
        raise ArgumentError("metadata", "has samplerate", "the argument sample_rate for it")
    rate = _plug_ins.sample_rate_of(model, sample_rate)
    notes = dict(metadata) if rate is None else {**metadata, "samplerate": rate}
    return {"metadata": notes} if notes else {}


def _state_dict(
    arrays: list[list[Array]], head: tuple[Array, Array] | None, prefix: str, dense: str
) -> dict[str, Any]:
    names = LAYOUTS["torch", "lstm"].arrays
    content = {
        f"{prefix}{name}_l{number}": _listed(array)
        for number, layer in enumerate(arrays)
        for name, array in zip(names, layer, strict=True)
    }
    if head is not None:
        content |= {f"{dense}weight": _listed(head[0].T), f"{dense}bias": _listed(head[1])}
    return content


def _model_data(model: Recurrent, skip: bool) -> dict[str, Any]:
    unit = next(name for name, cell in _UNITS.items() if cell == model.cell)
    values = (
        *("SimpleRNN", model.input_size, int(skip), model.output_size, unit, model.num_layers),
        *(model.hidden_size, True),
    )
    return dict(zip(_MODEL_DATA, values, strict=True))


# ---------------------------------------------------------------- reading


def from_rtneural(
    path: str | os.PathLike[str],
    *,
    skip: bool = False,
    layers: Iterable[int | str] | None = None,
    dtype: DTypeLike = "float32",
) -> Recurrent:
    """Read a GRU or LSTM from a JSON file for RTNeural, AIDA-X or GuitarML's plug-ins.

    The form of the file is recognised by its keys.

    Parameters
    ----------
    path : str or path-like
    skip : bool, default False
        True if the file's network adds its first input to its output (``in_skip``, or ``skip`` in
        ``model_data``), which a model does not: add it yourself, ``model.forward(x).outputs +
        x[:, :, :1]``. An error if it is not so in the file.
    layers : list of int or str, optional
        Of a network that has more than a model can hold: the layers to read, in order. Numbers of
        ``layers`` in Keras' form, such as ``[1]`` or ``[1, 2]``; prefixes of keys in torch's, such
        as ``["lstm.", "dense."]``. None: the whole file.
    dtype : {"float32", "float64"}
        Of the model. Most plug-ins compute in float32.

    Returns
    -------
    Recurrent
        Without a readout if the file has no dense layer after the recurrent ones.
        ``model.metadata`` has the file's ``"sample_rate"``, if it states one, and its metadata as
        ``"rtneural"``; `to_rtneural` writes both again.

    Raises
    ------
    ValueError, TypeError
        If it is no such file, is damaged, or holds a network that a model cannot hold (a dense
        layer before the recurrent ones, one with an activation, convolutions, recurrent layers of
        different kinds or sizes, a gain), naming the key. Then `layers` may choose a part.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> from fastbptt.interchange import from_rtneural, to_rtneural
    >>> path = os.path.join(tempfile.mkdtemp(), "amp.json")
    >>> to_rtneural(fastbptt.LSTM(1, 40, 1, seed=0), path, form="guitarml", skip=True)
    >>> from_rtneural(path, skip=True)
    LSTM(1, 40, 1, dtype="float32")  # 6761 parameters, 27.0 kB
    """
    added, wanted = _check.flag("skip", skip), None if layers is None else list(layers)
    with _json_files.reading(path) as content:
        if "layers" in content:
            return _from_keras(content, added, wanted, dtype)
        if "model_data" in content or "state_dict" in content:
            return _from_guitarml(content, added, wanted, dtype)
        _check_skip(added, 0, "the file", "has no field for a skip connection")
        return _from_state_dict(content, "the file", wanted, dtype)


def _check_skip(asked: bool, found: int, key: str, problem: str) -> None:
    """Refuse a skip connection that the caller does not know of, and one that is not there."""
    if asked and not found:
        raise ArgumentError(key, problem, "a skip connection because skip=True")
    if found and not asked:
        expected = "0, or skip=True here and the first input added to the outputs by the caller"
        raise ArgumentError(key, problem, expected)


def _skip_of(found: Mapping[str, Any], name: str, key: str, asked: bool, part: bool) -> None:
    value, place = found.get(name), _json_files.child(key, name)
    value = 0 if value is None else value
    if type(value) not in (int, bool) or not 0 <= value <= 1:
        raise ArgumentError(place, f"is {_json_files.kind_of(value)}", "0 or 1")
    problem = f"is {int(value)}" if name in found else "is missing"
    if not part:
        _check_skip(asked, int(value), place, problem)
    elif asked:
        raise ArgumentError("skip", "is True", "False because layers chooses a part of the network")


def _chosen(wanted: list[Any] | None, known: list[Any], kind: str) -> list[Any]:
    """Check `layers`; return the layers to read."""
    if wanted is None:
        return known
    for i, one in enumerate(wanted):
        if type(one) is not type(known[0]) or one not in known:
            names = ", ".join(map(repr, known[:20]))
            raise ArgumentError("layers", f"is {_check.shown(one)}", f"{kind}: {names}", item=i)
        if one in wanted[:i]:
            raise ArgumentError("layers", f"is {one!r} again", "every layer once", item=i)
    if not wanted:
        raise ArgumentError("layers", "is empty", f"{kind}, or None")
    return wanted


def _from_keras(
    content: dict[str, Any], skip: bool, wanted: list[Any] | None, dtype: DTypeLike
) -> Recurrent:
    listed = _json_files.items(content["layers"], "layers")
    if not listed:
        raise ArgumentError("layers", "is an empty list", "layers")
    _skip_of(content, "in_skip", "the file", skip, wanted is not None)
    for name in ("in_gain", "out_gain"):
        gain = content.get(name)
        if wanted is None and gain is not None and _json_files.real(gain, name, "a number") != 0.0:
            factor = f"10 ** ({name} / 20)"
            raise ArgumentError(
                name, f"is {gain}", f"0 or none: a model has no gain; multiply by {factor} yourself"
            )
    width = _last(_json_files.need(content, "in_shape"), "in_shape")
    numbers = _chosen(wanted, list(range(len(listed))), "numbers of layers in the file")
    if wanted is not None and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ArgumentError("layers", f"is {numbers}", "layers that follow each other")
    cell, read = "", list[LayerWeights]()
    head: tuple[Array, Array] | None = None
    for place, number in enumerate(numbers):
        key = f"layers[{number}]"
        layer = _json_files.fields(listed[number], key)
        kind = _json_files.need(layer, "type", key)
        recurrent = kind in _RECURRENT and head is None and kind == (cell or kind)
        if not recurrent and not (kind in _DENSE and read and place == len(numbers) - 1):
            expected = "gru or lstm layers of one kind, then at most one dense layer"
            raise _beyond(key, f"is {_json_files.kind_of(kind)}", expected)
        activation = layer.get("activation", "")
        if activation not in ("", "tanh" if recurrent else ""):
            instead = '"tanh"' if recurrent else '"": a readout is linear'
            raise _beyond(f"{key}.activation", f"is {_json_files.kind_of(activation)}", instead)
        units = _last(_json_files.need(layer, "shape", key), f"{key}.shape")
        parts = _json_files.need(layer, "weights", key)
        if not recurrent:
            head = _dense(parts, f"{key}.weights", len(read[-1].W_hh), units)
            continue
        cell = kind
        if read and units != len(read[0].W_hh):
            expected = f"{len(read[0].W_hh)}, the units of the layer below"
            raise _beyond(f"{key}.shape", f"ends in {units}", expected)
        before = len(read[-1].W_hh) if read else width if wanted is None else None
        read.append(_keras_layer(kind, parts, f"{key}.weights", before, units))
    model = _plug_ins.built(cell, read, head, {}, dtype)
    if wanted is None:
        _read_notes(content, model)
    return model


def _beyond(key: str, problem: str, expected: str) -> ArgumentError:
    """Describe a part of a network that a model cannot hold."""
    error = ArgumentError(key, problem, expected)
    error.context.append("layers= reads a part of the network")
    return error


def _read_notes(content: dict[str, Any], model: Recurrent) -> None:
    notes = content.get("metadata")
    notes = {} if notes is None else dict(_json_files.fields(notes, "metadata"))
    key = "metadata.samplerate" if "samplerate" in notes else "samplerate"
    rate = notes.pop("samplerate", content.get("samplerate"))
    if isinstance(rate, str) and re.fullmatch(r"\d{1,7}(\.\d{1,9})?", rate, re.ASCII):
        rate = float(rate)  # as older files of AIDA-X have it
    if rate is not None:
        model.metadata["sample_rate"] = _plug_ins.read_rate(rate, key)
    model.metadata["rtneural"] = notes


def _last(shape: Any, key: str) -> int:
    """Read the size of the last axis of a shape."""
    axes = _json_files.items(shape, key)
    if not 1 <= len(axes) <= 3 or any(one is not None for one in axes[:-1]):
        raise ArgumentError(key, f"is {shortened(axes)}", "[null, null, size]")
    if type(axes[-1]) is not int or axes[-1] < 1:
        came = f"is {_json_files.kind_of(axes[-1])}"
        raise ArgumentError(f"{key}[{len(axes) - 1}]", came, "a whole number of at least 1")
    return axes[-1]


def _keras_layer(cell: str, parts: Any, key: str, before: int | None, units: int) -> LayerWeights:
    form = layout("rtneural", cell)
    columns = len(form.gates) * units
    bias = (2, columns) if form.biases == "(2, G H)" else (columns,)
    found = _json_files.items(parts, key)
    shapes: list[tuple[int | None, ...]] = [(before, columns), (units, columns), bias]
    if len(found) != len(shapes):
        expected = f"{len(shapes)}: {', '.join(form.arrays)}"
        raise ArgumentError(key, f"has {len(found)} arrays", expected)
    arrays = [
        _json_files.numbers(one, f"{key}[{i}]", shape)
        for i, (one, shape) in enumerate(zip(found, shapes, strict=True))
    ]
    return from_library(form, arrays, [f"{key}[{i}]" for i in range(len(arrays))])


def _dense(parts: Any, key: str, hidden: int, outputs: int) -> tuple[Array, Array]:
    found = _json_files.items(parts, key)
    if len(found) not in (1, 2):
        raise ArgumentError(key, f"has {len(found)} arrays", "kernel and bias")
    matrix = _json_files.numbers(found[0], f"{key}[0]", (hidden, outputs))
    if len(found) == 1:
        return matrix, np.zeros(outputs)
    return matrix, _json_files.numbers(found[1], f"{key}[1]", (outputs,))


def _from_guitarml(
    content: dict[str, Any], skip: bool, wanted: list[Any] | None, dtype: DTypeLike
) -> Recurrent:
    data = _json_files.fields(_json_files.need(content, "model_data"), "model_data")
    arrays = _json_files.fields(_json_files.need(content, "state_dict"), "state_dict")
    if wanted is not None:
        raise ArgumentError(
            "layers", "is given", 'None: this file has "model_data", of one network'
        )
    kind, unit = (_json_files.need(data, name, "model_data") for name in ("model", "unit_type"))
    if kind != "SimpleRNN":
        came = f"is {_json_files.kind_of(kind)}"
        raise ArgumentError("model_data.model", came, "'SimpleRNN', recurrent layers and a readout")
    if not isinstance(unit, str) or unit not in _UNITS:
        came = f"is {_json_files.kind_of(unit)}"
        raise ArgumentError("model_data.unit_type", came, f"one of {', '.join(_UNITS)}")
    _skip_of(data, "skip", "model_data", skip, False)
    model = _from_state_dict(arrays, "state_dict", ["rec.", "lin."], dtype, cell=_UNITS[unit])
    if unused := [name for name in arrays if not name.startswith(("rec.", "lin."))]:
        key = _json_files.child("state_dict", unused[0])
        raise ArgumentError(key, "is unknown", "keys under rec. and lin.")
    if "bias_fl" in data and data["bias_fl"] is not ("lin.bias" in arrays):
        expected = f"{'true' if 'lin.bias' in arrays else 'false'}, as state_dict has it"
        came = f"is {_json_files.kind_of(data['bias_fl'])}"
        raise ArgumentError("model_data.bias_fl", came, expected)
    for name in ("input_size", "hidden_size", "num_layers", "output_size"):
        given = _json_files.size({"num_layers": 1} | data, name, "model_data")
        if given != getattr(model, name):
            expected = f"{getattr(model, name)}, as state_dict has it"
            raise ArgumentError(f"model_data.{name}", f"is {given}", expected)
    return model


def _from_state_dict(
    arrays: dict[str, Any], key: str, wanted: list[Any] | None, dtype: DTypeLike, cell: str = ""
) -> Recurrent:
    """Read recurrent layers under one prefix, and a dense layer under another.

    cell: if another part of the file tells it.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, value in arrays.items():
        prefix, _, last = name.rpartition(".")
        groups.setdefault(f"{prefix}." if prefix else "", {})[last] = value
    if not groups:
        raise ArgumentError(key, "is empty", "the arrays of a network")
    if not any("weight_ih_l0" in one for one in groups.values()):
        expected = "weight_ih_l0 of a GRU or LSTM under some prefix"
        names = ", ".join(map(_json_files.key_under, ("",) * 4, arrays))
        raise ArgumentError(key, f"has {names}", f"{expected}, or layers in Keras' form")
    prefixes = _chosen(wanted, list(groups), "prefixes of keys")
    recurrent = [one for one in prefixes if "weight_ih_l0" in groups[one]]
    dense = [one for one in prefixes if one not in recurrent]
    several = wanted is None and len(recurrent) > 1  # whose order the file does not tell
    if several or not recurrent or len(dense) > 1 or prefixes != recurrent + dense:
        came = f"has {', '.join(shortened(one) for one in prefixes[:20])}"
        expected = "one prefix of recurrent layers, then at most one of a dense layer"
        raise _beyond(key, came, expected)
    read: list[LayerWeights] = []
    for one in recurrent:
        cell = _torch_layers(groups[one], _json_files.child(key, one), cell, read)
    head = None
    if dense:
        head = _torch_dense(groups[dense[0]], _json_files.child(key, dense[0]), len(read[-1].W_hh))
    return _plug_ins.built(cell, read, head, {}, dtype)


def _torch_layers(group: dict[str, Any], key: str, cell: str, read: list[LayerWeights]) -> str:
    """Read the layers under one prefix, on top of those before; return their cell."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in group.items():
        match = _ARRAY.fullmatch(name)
        if match is None:
            expected = "weight_ih_l0, weight_hh_l0, .., of one direction"
            raise ArgumentError(_json_files.key_under(key, name), "is unknown", expected)
        found.setdefault(int(match[3]), {})[f"{match[1]}_{match[2]}"] = value
    names = LAYOUTS["torch", "lstm"].arrays
    names = names if "bias_ih" in found[0] else names[:2]
    for number in range(max(found) + 1):
        labels = [f"{key}{name}_l{number}" for name in names]
        layer = found.get(number, {})
        for name, label in zip(names, labels, strict=True):
            if name not in layer:
                raise ArgumentError(label, "is missing")
        if extra := layer.keys() - set(names):
            label = f"{key}{min(extra)}_l{number}"
            raise ArgumentError(label, "is there", "biases of all layers, two each, or of none")
        recurrent = _json_files.numbers(layer["weight_hh"], labels[1], (None, None))
        rows, hidden = recurrent.shape
        gates, rest = divmod(rows, max(hidden, 1))
        kinds = {3: "gru", 4: "lstm"} if not cell else {len(LAYOUTS["torch", cell].gates): cell}
        if rest or gates not in kinds:
            shapes = " or ".join(f"({count} H, H) of a {kind}" for count, kind in kinds.items())
            raise ArgumentError(labels[1], f"has shape {recurrent.shape}", shapes)
        cell = kinds[gates]
        below = len(read[-1].W_hh) if read else None
        if read and hidden != below:
            raise _beyond(labels[1], f"has {hidden} columns", f"{below}, as in the layer below")
        kernel = _json_files.numbers(layer["weight_ih"], labels[0], (rows, below))
        biases = [
            _json_files.numbers(layer[name], label, (rows,))
            for name, label in zip(names[2:], labels[2:], strict=True)
        ]
        form = layout("torch", cell)
        read.append(from_library(form, [kernel, recurrent, *biases], labels).with_bias(cell))
    return cell


def _torch_dense(group: dict[str, Any], key: str, hidden: int) -> tuple[Array, Array]:
    for name in group:
        if name not in ("weight", "bias"):
            label = _json_files.key_under(key, name)
            raise ArgumentError(label, "is unknown", "weight and bias of a dense layer")
    if "weight" not in group:
        raise ArgumentError(f"{key}weight", "is missing")
    matrix = _json_files.numbers(group["weight"], f"{key}weight", (None, hidden))
    if not len(matrix):
        raise ArgumentError(f"{key}weight", "is an empty list", "a row for each output")
    if "bias" not in group:
        return matrix.T, np.zeros(len(matrix))
    return matrix.T, _json_files.numbers(group["bias"], f"{key}bias", (len(matrix),))
