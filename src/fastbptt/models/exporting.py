"""Writing a model as C99: what `Recurrent.export_c` does."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from .. import _check, _core, _losses
from .._cell_info import cell_info
from .._check import Floats
from .._errors import ArgumentError, ArgumentTypeError
from ..c_source.literals import INTEGERS
from ..c_source.network import Inputs, NetworkDescription, Outputs
from ..c_source.writing import Writer, check_cell
from ..files.atomic import check_place, write_whole
from . import _options
from ._weights import dense

__all__ = ["CExport", "export_c"]

#: Files that a C compiler would take for its own if they stood beside the program.
_HEADERS: Final = frozenset(
    [
        "assert",
        "complex",
        "ctype",
        "errno",
        "fenv",
        "float",
        "inttypes",
        "iso646",
        "limits",
        "locale",
        "math",
        "setjmp",
        "signal",
        "stdarg",
        "stdbool",
        "stddef",
        "stdint",
        "stdio",
        "stdlib",
        "string",
        "tgmath",
        "time",
        "wchar",
        "wctype",
    ]
)
_MOST_LETTERS: Final = 40  # C99 compares the first 63 of a name; ours have endings
#: What `metadata` may note of inputs and outputs, and the argument that applies it.
_NOTES: Final = {"standardize": "standardizer", "imputer": "imputer", "loss": "loss"}


class CExport(NamedTuple):
    """The files that `Recurrent.export_c` wrote, and what a program that uses them needs.

    Attributes
    ----------
    source, header : str
        The two files.
    name : str
        Names in C begin with it: ``model`` in ``model_step``.
    weights : str
        ``"float32"``, ``"float64"``, ``"int8"`` or ``"int16"``.
    constants : int
        Bytes of the constant arrays, which stay in read-only memory.
    state : int
        Bytes of each stream's state.
    stack : int
        Bytes of local arrays while a step is computed.
    weight_error : float
        The largest difference between a weight of the model and that of the file.
    output_error : float or None
        The largest difference that this makes to an output, over all steps of `data`; None without
        `data`.
    """

    source: str
    header: str
    name: str
    weights: str
    constants: int
    state: int
    stack: int
    weight_error: float
    output_error: float | None


class Exportable(Protocol):
    """The parts of a model that its C file depends on."""

    _spec: _core.Spec
    _trained_steps: str

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes that travel with the model."""

    def state_dict(self) -> dict[str, Floats]:
        """Copy all parameters."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters."""

    def copy(self) -> Any:
        """Copy the model."""

    def forward(self, x: Any) -> Any:
        """Run the network over sequences."""


def export_c(
    model: Exportable,
    path: str | os.PathLike[str],
    *,
    name: str | None,
    weights: str | None,
    dtype: Any,
    standardizer: Any,
    imputer: Any,
    loss: Any,
    raw: bool,
    data: Any,
) -> CExport:
    """Write a model as a C file and its header; see `Recurrent.export_c`."""
    files = _files(path)
    prefix = _prefix(files[0], name)
    if weights is not None:
        _check.option("weights", weights, INTEGERS)
    if data is not None and weights is None:
        expected = 'None unless weights="int8" or "int16": it measures their error'
        raise ArgumentError("data", "is given", expected)
    spec = model._spec
    if data is not None and spec.static_size:
        expected = "None: data holds no static inputs, which the model needs"
        raise ArgumentError("data", "is given", expected)
    check_cell(spec.cell)
    _options.refuse_bfloat16(spec, "the model")
    _options.refuse_zoneout(spec, "the model", "exported C code has no such step")
    if spec.bidirectional:
        raise ArgumentError(
            "the model",
            "has bidirectional=True",
            "one direction: the other one needs whole sequences, and memory for all of their steps",
        )
    if not _check.flag("raw", raw):
        _refuse_notes(model, standardizer, imputer, loss)
    parameters = dense(model.state_dict())
    for key, values in parameters.items():
        if not np.isfinite(values).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise ArgumentError(
                "the model",
                f"holds {values[index]} in {key} at index {index}",
                "finite parameters",
            )
    if dtype is not None:
        kind = _check.float_dtype(dtype)
        parameters = {
            key: _check.fitted(f"the model's {key}", values, kind)
            for key, values in parameters.items()
        }
    chosen = None if loss is None else _losses.loss(loss)
    inputs, outputs = _inputs(model, standardizer, imputer), _outputs(model, chosen)
    network = NetworkDescription(
        cell=spec.cell,
        cell_info=cell_info(spec.cell),
        setting=_setting(model),
        input_size=spec.input_size,
        hidden_size=spec.hidden_size,
        num_layers=spec.num_layers,
        output_size=spec.output_size,
        read_units=tuple(spec.read_units),
        static_size=spec.static_size,
        vocabulary=spec.vocabulary,
        parameters=parameters,
        title=repr(model).partition("  #")[0],
        inputs=inputs,
        outputs=outputs,
    )
    places = [check_place(file)[0] for file in files]
    writer = Writer(network, prefix, weights)
    error, about = None, []
    if data is not None and weights is not None:
        error = _output_error(model, writer.restored, standardizer, imputer, chosen, data)
        about = [f"Over the data given to the export, this changes outputs by at most {error:.2g}."]
    elif weights is not None:
        about = ["What this changes in the outputs was not measured: export with data for that."]
    made = writer.source(about, os.path.basename(files[0])[: -len(".c")])
    for place, content in zip(reversed(places), (made.header, made.source), strict=True):
        write_whole(place, content)
    return CExport(
        *files,
        prefix,
        weights or parameters["W_hh"].dtype.name,
        made.footprint.constants,
        made.footprint.state,
        made.footprint.stack,
        made.footprint.weight_error,
        error,
    )


def _files(path: Any) -> tuple[str, str]:
    """Name the source and the header beside it."""
    source = _check.file_path(path)
    stem, suffix = os.path.splitext(source)
    if suffix != ".c":
        raise ArgumentError("path", f'is "{source}"', 'a file that ends in ".c"')
    if re.search(r'["\\?\x00-\x1f\x7f]', os.path.basename(stem)):
        expected = "a name without quotes, backslashes, question marks and control characters"
        raise ArgumentError("path", f"is {source!r}", f"{expected}: it stands in an #include")
    if os.path.basename(stem).lower() in _HEADERS:
        header = f"{os.path.basename(stem)}.h"
        raise ArgumentError(
            "path", f'is "{source}"', f"another name: {header} is a header of the C library"
        )
    return source, f"{stem}.h"


def _prefix(source: str, name: Any) -> str:
    """Return what names in C begin with: `name`, or what can be made of the file's."""
    if name is None:
        stem = os.path.splitext(os.path.basename(source))[0]
        found = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:_MOST_LETTERS].strip("_")
        return found if re.match("[a-z]", found) else f"model_{found}".strip("_")
    expected = f"a name in C of at most {_MOST_LETTERS} letters, digits and single underscores"
    if not isinstance(name, str):
        raise ArgumentTypeError("name", f"is {_check.shown(name)}", expected)
    if not re.fullmatch("[A-Za-z](_?[A-Za-z0-9])*", name) or len(name) > _MOST_LETTERS:
        raise ArgumentError("name", f"is {_check.quoted(name)}", expected)
    return name


def _refuse_notes(model: Exportable, standardizer: Any, imputer: Any, loss: Any) -> None:
    """Refuse to leave out, without a word, what the model's notes say of inputs and outputs."""
    notes = model.metadata
    given = {"standardizer": standardizer, "imputer": imputer, "loss": loss}
    for key, argument in _NOTES.items():
        noted = notes.get(key)
        if noted is None or given[argument] is not None:
            continue
        if key == "loss" and isinstance(noted, str) and not _changes(noted):
            continue
        raise ArgumentError(
            argument,
            f"is None, but the model's metadata have {key}",
            f"{argument}=, or raw=True for the inputs and outputs of model.step; `fastbptt export` "
            "applies what `fastbptt train` noted",
        )
    if notes.get("target_offset") is not None:
        raise ArgumentError(
            "raw",
            "is False, but the model's metadata have a target_offset, as outputs with their offset "
            "are too large for its dtype",
            "a model trained with dtype float64; or raw=True, and the offset added by the program",
        )
    pooled = [one for one in (notes.get("steps"), model._trained_steps) if one in _check.POOLED]
    if pooled:
        raise ArgumentError(
            "the model",
            f'was trained with steps="{pooled[0]}", on states pooled over a sequence',
            'steps="last" or "all"; or raw=True for the outputs of model.step',
        )


def _changes(text: str) -> bool:
    """Whether a loss, as notes have it, makes other numbers of the outputs."""
    try:
        return _losses.LINKS[_losses.parse(text).link].changes
    except (TypeError, ValueError):
        return True


def _setting(model: Exportable) -> Any:
    """Return the cell's number, of all units or (num_layers, hidden_size)."""
    spec = model._spec
    if len(spec.setting) <= 1 and not spec.learn_setting:
        return spec.setting[0] if spec.setting else 0.0
    numbers = _options.settings_now(spec, model.state_dict())
    return np.broadcast_to(numbers, (spec.num_layers, spec.hidden_size))


def _inputs(model: Exportable, standardizer: Any, imputer: Any) -> Inputs:
    """Read what is done to inputs before the network reads them."""
    spec = model._spec
    for name, one in (("standardizer", standardizer), ("imputer", imputer)):
        if one is None:
            continue
        if not hasattr(one, "to_dict"):
            kind = f"a fitted fastbptt.{name.capitalize()}"
            raise ArgumentTypeError(name, f"is {_check.shown(one)}", kind)
        if spec.vocabulary:
            raise ArgumentError(name, "is given", "None: the model reads tokens")
    gaps, features = None, spec.input_size
    if imputer is not None:
        noted = imputer.to_dict()
        gaps, features = tuple(noted["features"]), noted["n_features_in"]
        if features + len(gaps) != spec.input_size:
            came = f"makes {features + len(gaps)} inputs of {features} features"
            raise ArgumentError("imputer", came, f"{spec.input_size}: the model's input_size")
    mean = scale = None
    if standardizer is not None:
        values = standardizer.to_dict()
        mean, scale = (np.asarray(values[key], np.float64) for key in ("mean", "scale"))
        if len(mean) != features:
            came = f"has {len(mean)} features"
            raise ArgumentError("standardizer", came, f"{features}, as the model's inputs")
    filled = _settings(model).get("missing") == "interpolate"
    return Inputs(mean, scale, gaps, _names(model.metadata.get("feature_names"), features), filled)


def _outputs(model: Exportable, loss: _losses.Loss | None) -> Outputs:
    """Read what the caller gets."""
    width = model._spec.output_size or model._spec.hidden_size
    if loss is not None:
        loss.targets_of(width)  # refuses outputs that it cannot have
    notes = model.metadata
    names = _names(notes.get("classes"), width)
    classes = _names(notes.get("classes"), 2)
    if names is None and width == 1 and classes is not None:
        names = classes[1:]  # P(class 1)
    if names is None and (targets := _names(_columns(model).get("target"), width)) is not None:
        names = targets  # of the table that the model was trained on
    last = model._trained_steps == "last" and "steps" in model.metadata
    return Outputs("identity" if loss is None else loss.link, names, last)


def _names(noted: Any, count: int) -> tuple[str, ...] | None:
    """Return names from the model's notes, if they are what they should be."""
    if not isinstance(noted, list) or len(noted) != count:
        return None
    return tuple(map(str, noted))


def _settings(model: Exportable) -> Mapping[str, Any]:
    """Return the settings of the training that a model's notes have."""
    noted = model.metadata.get("settings")
    return noted if isinstance(noted, Mapping) else {}


def _columns(model: Exportable) -> Mapping[str, Any]:
    noted = _settings(model).get("columns")
    return noted if isinstance(noted, Mapping) else {}


def _output_error(
    model: Exportable,
    restored: Mapping[str, Floats],
    standardizer: Any,
    imputer: Any,
    loss: _losses.Loss | None,
    data: Any,
) -> float:
    """Measure the largest difference of outputs that rounded weights make on data."""
    twin = model.copy()
    twin.load_state_dict(restored)
    if standardizer is not None:
        data = standardizer.transform(data, dtype=restored["W_hh"].dtype.name)
    if imputer is not None:
        data = imputer.transform(data)
    try:
        results = [one.forward(data).outputs for one in (model, twin)]
    except (ArgumentError, ArgumentTypeError) as error:
        error.argument = "data"  # what `forward` calls x
        raise
    if loss is not None:
        results = [loss.predictions(one) for one in results]
    return float(np.abs(results[0] - results[1]).max())
