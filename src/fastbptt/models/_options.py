"""What fixes a network: its options, checked once, kept as the core's `Spec`."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from .. import _check, _core
from .._views import Layout

#: Options that most models leave as they are.
DEFAULTS: Final[dict[str, Any]] = {
    "num_layers": 1,
    "bidirectional": False,
    "bias": True,
    "dropout": 0.0,
    "learn_initial_state": False,
    "embedding": None,
    "padding_index": None,
    "freeze_embedding": False,
    "precision": "float32",
}

#: In what the operands of the recurrent layers' products are.
PRECISIONS: Final = ("float32", "bfloat16")

#: What files and copies keep of a model's arguments, besides its cell and dtype.
ARGUMENTS: Final = ("input_size", "hidden_size", "output_size", "setting", *DEFAULTS)

MOST_LAYERS: Final = 1000

# What the settings of cells may be, in words and as a test; others may be any finite number.
_RANGES: Final[dict[str, tuple[str, Callable[[float], bool]]]] = {
    "alpha": ("a number above 0 and at most 1", lambda value: 0.0 < value <= 1.0),
}


def check(
    cell: Any,
    input_size: Any,
    hidden_size: Any,
    output_size: Any = None,
    setting: Any = None,
    num_layers: Any = 1,
    bidirectional: Any = False,
    bias: Any = True,
    dropout: Any = 0.0,
    learn_initial_state: Any = False,
    embedding: Any = None,
    padding_index: Any = None,
    freeze_embedding: Any = False,
    precision: Any = "float32",
) -> _core.Spec:
    """Check every option; `embedding` is the vocabulary's size or None."""
    cell = _check.option("cell", cell, _core.cells())
    inputs = _check.size("input_size", input_size)
    hidden = _check.size("hidden_size", hidden_size)
    outputs = 0 if output_size is None else _check.size("output_size", output_size)
    layers = _check.size("num_layers", num_layers)
    if layers > MOST_LAYERS:
        raise ValueError(f"num_layers is {layers}; expected at most {MOST_LAYERS}")
    both = _check.flag("bidirectional", bidirectional)
    vocabulary = 0 if embedding is None else _check.size("embedding", embedding)
    padding = _padding(padding_index, vocabulary)
    if _check.flag("freeze_embedding", freeze_embedding) and not vocabulary:
        raise ValueError("freeze_embedding is True; expected False because there is no embedding")
    flags = {
        "bias": _check.flag("bias", bias),
        "learn_state": _check.flag("learn_initial_state", learn_initial_state),
        "freeze_embedding": bool(freeze_embedding),
    }
    share, number = _dropout(dropout), _setting(cell, setting)
    sizes = f"input_size={inputs}, hidden_size={hidden}, output_size={outputs or None}"
    sizes += f", num_layers={layers}" if layers > 1 else ""
    sizes += f", embedding={vocabulary}" if vocabulary else ""
    columns = hidden * (2 if both else 1)
    # the fewest bytes that it can have: the core's own sums cannot overflow after this
    _check.fits(
        f"a model of {sizes}",
        4 * (columns * (inputs + layers * hidden + outputs) + vocabulary * inputs),
    )
    return _core.Spec(
        cell,
        inputs,
        hidden,
        outputs,
        num_layers=layers,
        bidirectional=both,
        dropout=share,
        setting=number,
        vocabulary=vocabulary,
        padding_index=padding,
        bfloat16=_check.option("precision", precision, PRECISIONS) == "bfloat16",
        **flags,
    )


def _padding(value: Any, vocabulary: int) -> int:
    """Return the padding token's number, -1 for none."""
    if value is None:
        return -1
    if not vocabulary:
        raise ValueError(f"padding_index is {value!r}; expected None: there is no embedding")
    expected = f"a row of the embedding, 0 to {vocabulary - 1}, or None"
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"padding_index is {value!r}; expected {expected}") from None
    if not 0 <= index < vocabulary:
        raise ValueError(f"padding_index is {index}; expected {expected}")
    return index


def _dropout(value: Any) -> float:
    expected = "a number of at least 0 and below 1"
    share = _check.number("dropout", value, expected)
    if not 0.0 <= share < 1.0:
        raise ValueError(f"dropout is {share}; expected {expected}")
    return share


def _setting(cell: str, value: Any) -> float:
    """Return the cell's number, 0 if it has none."""
    name = _core.cell_info(cell)["setting"]
    if name is None:
        if value is not None:
            raise ValueError(
                f'setting is {value!r}; expected None because the cell "{cell}" has none'
            )
        return 0.0
    expected, fits = _RANGES.get(name, ("a finite number", math.isfinite))
    number = _check.number(name, value, expected)
    if not fits(number):
        raise ValueError(f"{name} is {number}; expected {expected}")
    return number


def arguments(spec: _core.Spec) -> dict[str, Any]:
    """Return what `check` takes, besides the cell, as plain values fit for JSON."""
    values = (
        spec.input_size,
        spec.hidden_size,
        spec.output_size or None,
        None if _core.cell_info(spec.cell)["setting"] is None else spec.setting,
        spec.num_layers,
        spec.bidirectional,
        spec.bias,
        spec.dropout,
        spec.learn_state,
        spec.vocabulary or None,
        None if spec.padding_index < 0 else spec.padding_index,
        spec.freeze_embedding,
        "bfloat16" if spec.bfloat16 else "float32",
    )
    return dict(zip(ARGUMENTS, values, strict=True))


def from_arguments(cell: str, given: Mapping[str, Any]) -> _core.Spec:
    """Make the spec of exactly these arguments."""
    _check.same_names("arguments", given, ARGUMENTS)
    return check(cell, **given)


def can_run(spec: _core.Spec) -> None:
    """Refuse a precision that the instruction set in use does not have."""
    able = _core.bfloat16_backends()
    if spec.bfloat16 and _core.active_backend() not in able:
        sets = f"only {' or '.join(able)} has" if able else "none of this build has"
        raise ValueError(
            'precision is "bfloat16"; expected "float32" because the instruction set '
            f"{_core.active_backend()} has no products in bfloat16 ({sets})"
        )


def layout(spec: _core.Spec, dtype: np.dtype[Any]) -> Layout:
    """Where each parameter lies in the flat buffer; refuse what cannot fit into memory."""
    places: Layout = {
        name: (offset, offset + math.prod(shape), tuple(shape))
        for name, shape, offset in _core.layout(spec)
    }
    count = max(stop for _, stop, _ in places.values())
    _check.fits(f"a model of {count} parameters", dtype.itemsize * count)
    return places
