"""The options of a network: names, types and defaults, checked once, kept as the core's `Spec`."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _check, _core
from .._check import Floats
from .._errors import ArgumentError, ArgumentTypeError
from .._views import Layout
from . import initializers

if TYPE_CHECKING:
    Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence | np.random.Generator | None

Constructor = TypeVar("Constructor", bound=Callable[..., None])


class Options(TypedDict, total=False):
    """The keyword arguments that every class of networks takes; `RNN` documents them."""

    num_layers: int
    bidirectional: bool
    bias: bool
    output_bias: bool | None
    readout_units: Sequence[int] | None
    dropout: float
    learn_initial_state: bool
    static_size: int | None
    embedding: int | ArrayLike | None
    padding_index: int | None
    freeze_embedding: bool
    init: initializers.Init
    dtype: DTypeLike
    precision: str
    seed: Seed


DEFAULTS: Final[dict[str, Any]] = {
    "num_layers": 1,
    "bidirectional": False,
    "bias": True,
    "output_bias": None,
    "readout_units": None,
    "dropout": 0.0,
    "learn_initial_state": False,
    "static_size": None,
    "embedding": None,
    "padding_index": None,
    "freeze_embedding": False,
    "init": "torch",
    "dtype": "float32",
    "precision": "float32",
    "seed": None,
}

#: In what the operands of the recurrent layers' products are.
PRECISIONS: Final = ("float32", "bfloat16")

#: A model's arguments in files and copies, besides its cell and dtype.
ARGUMENTS: Final = (
    *("input_size", "hidden_size", "output_size", "alpha"),
    *(name for name in DEFAULTS if name not in ("init", "dtype", "seed")),
)

MOST_LAYERS: Final = 1000

# What the settings of cells may be, in words and as a test; others may be any finite number.
_RANGES: Final[dict[str, tuple[str, Callable[[float], bool]]]] = {
    "alpha": ("a number above 0 and at most 1", lambda value: 0.0 < value <= 1.0),
}


def with_options(constructor: Constructor) -> Constructor:
    """Show the shared options in the signature of a constructor that takes ``**options``."""
    signature = inspect.signature(constructor)
    shown = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, annotation in Options.__annotations__.items():
        kind = inspect.Parameter.KEYWORD_ONLY
        shown.append(
            inspect.Parameter(
                name, kind, default=DEFAULTS[name], annotation=annotation.__forward_arg__
            )
        )
    constructor.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return constructor


def completed(options: Options, constructor: str) -> dict[str, Any]:
    """Add the defaults; refuse an unknown name as Python does."""
    for name in options:
        if name not in DEFAULTS:
            raise TypeError(f"{constructor}() got an unexpected keyword argument {name!r}")
    return DEFAULTS | options


def check(
    cell: Any,
    input_size: Any,
    hidden_size: Any,
    output_size: Any,
    alpha: Any,
    options: Mapping[str, Any],
) -> _core.Spec:
    """Check every option that fixes the network; the embedding is its vocabulary's size or None."""
    cell = _check.option("cell", cell, _core.cells())
    inputs = _check.size("input_size", input_size)
    hidden = _check.size("hidden_size", hidden_size)
    outputs = 0 if output_size is None else _check.size("output_size", output_size)
    layers = _check.size("num_layers", options["num_layers"])
    if layers > MOST_LAYERS:
        raise ArgumentError("num_layers", f"is {layers}", f"at most {MOST_LAYERS}", value=layers)
    both = _check.flag("bidirectional", options["bidirectional"])
    size = options["embedding"]
    vocabulary = 0 if size is None else _check.size("embedding", size)
    padding = _padding(options["padding_index"], vocabulary)
    frozen = _check.flag("freeze_embedding", options["freeze_embedding"])
    if frozen and not vocabulary:
        raise ArgumentError("freeze_embedding", "is True", "False because there is no embedding")
    flags = {
        "bias": _check.flag("bias", options["bias"]),
        "learn_state": _check.flag("learn_initial_state", options["learn_initial_state"]),
        "freeze_embedding": frozen,
    }
    static = options["static_size"]
    constants = 0 if static is None else _check.size("static_size", static)
    own_bias = options["output_bias"]
    if own_bias is not None:
        own_bias = _check.flag("output_bias", own_bias)
        if not outputs:
            came = f"is {own_bias}"
            raise ArgumentError("output_bias", came, "None: there is no readout")
    columns = hidden * (2 if both else 1)
    units = _units(options["readout_units"], columns, outputs, both)
    share, number = _dropout(options["dropout"]), setting(cell, alpha)
    sizes = f"input_size={inputs}, hidden_size={hidden}, output_size={outputs or None}"
    sizes += f", num_layers={layers}" if layers > 1 else ""
    sizes += f", embedding={vocabulary}" if vocabulary else ""
    # the fewest bytes that it can have: the core's own sums cannot overflow after this
    _check.fits(
        f"a model of {sizes}",
        4
        * (
            columns * (inputs + layers * hidden)
            + (len(units) or columns) * outputs
            + vocabulary * inputs
            + constants * layers * columns
        ),
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
        bfloat16=_check.option("precision", options["precision"], PRECISIONS) == "bfloat16",
        output_bias=-1 if own_bias is None else int(own_bias),
        read_units=np.array(units, np.int64) if units else None,
        static_size=constants,
        **flags,
    )


def embedding(value: Any, input_size: Any) -> tuple[Any, Floats | None]:
    """Return the vocabulary's size, and the matrix if one is given."""
    expected = "a vocabulary size of at least 1, a matrix (vocabulary, input_size), or None"
    if value is None or isinstance(value, int | np.integer):
        return value, None  # a size is checked with the others
    if isinstance(value, str | bytes | float | np.floating | np.bool_):
        raise ArgumentTypeError("embedding", f"is {_check.shown(value)}", expected)
    matrix = _check.read("embedding", value, "a vocabulary size, or a matrix of real numbers")
    columns = _check.size("input_size", input_size)
    if matrix.ndim != 2 or matrix.shape[1] != columns or len(matrix) == 0:
        raise ArgumentError(
            "embedding",
            f"has shape {matrix.shape}",
            f"(vocabulary, {columns}) because input_size={columns}",
        )
    return len(matrix), matrix


def _units(value: Any, columns: int, outputs: int, both: bool) -> list[int]:
    """Return the columns of the top layer's hidden states that the readout reads, [] for all."""
    if value is None:
        return []
    if not outputs:
        came = f"is {_check.shown(value)}"
        raise ArgumentError("readout_units", came, "None: there is no readout")
    expected = (
        f"increasing whole numbers from 0 to {columns - 1}, such as range({-(-columns // 2)})"
    )
    if both:
        expected += f" (from {columns // 2} on those of the reverse direction)"
    try:
        units = [operator.index(unit) for unit in value]
        if any(isinstance(unit, bool | np.bool_) for unit in value):
            raise TypeError
    except TypeError:
        raise ArgumentTypeError("readout_units", f"is {_check.shown(value)}", expected) from None
    if not units:
        raise ArgumentError("readout_units", "is empty", expected)
    for before, unit in zip([-1, *units], units, strict=False):
        if not before < unit < columns:
            raise ArgumentError(
                "readout_units",
                f"holds {unit} after {before}" if 0 <= unit <= before else f"holds {unit}",
                expected,
                value=unit,
            )
    return units


def _padding(value: Any, vocabulary: int) -> int:
    """Return the padding token's number, -1 for none."""
    if value is None:
        return -1
    if not vocabulary:
        came = f"is {_check.shown(value)}"
        raise ArgumentError("padding_index", came, "None: there is no embedding")
    expected = f"a row of the embedding, 0 to {vocabulary - 1}, or None"
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        index = operator.index(value)
    except TypeError:
        raise ArgumentTypeError("padding_index", f"is {_check.shown(value)}", expected) from None
    if not 0 <= index < vocabulary:
        raise ArgumentError("padding_index", f"is {index}", expected, value=index)
    return index


def _dropout(value: Any) -> float:
    expected = "a number of at least 0 and below 1"
    share = _check.number("dropout", value, expected)
    if not 0.0 <= share < 1.0:
        raise ArgumentError("dropout", f"is {share}", expected, value=share)
    return share


def setting(cell: str, value: Any) -> float:
    """Return the cell's number, 0 if it has none."""
    name = _core.cell_info(cell)["setting"]
    if name is None:
        if value is not None:
            raise ArgumentError(
                "alpha", f"is {_check.shown(value)}", f'None because the cell "{cell}" has none'
            )
        return 0.0
    expected, fits = _RANGES.get(name, ("a finite number", math.isfinite))
    number = _check.number(name, value, expected)
    if not fits(number):
        raise ArgumentError(name, f"is {number}", expected, value=number)
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
        None if spec.output_bias < 0 else bool(spec.output_bias),
        spec.read_units or None,
        spec.dropout,
        spec.learn_state,
        spec.static_size or None,
        spec.vocabulary or None,
        None if spec.padding_index < 0 else spec.padding_index,
        spec.freeze_embedding,
        "bfloat16" if spec.bfloat16 else "float32",
    )
    return dict(zip(ARGUMENTS, values, strict=True))


def shortest(units: list[int]) -> list[int] | range:
    """Return the same numbers as a range, if they are one."""
    step = units[1] - units[0] if len(units) > 1 else 1
    whole = range(units[0], units[-1] + 1, step)
    return whole if list(whole) == units else units


def from_arguments(cell: str, given: Mapping[str, Any]) -> _core.Spec:
    """Make the spec of exactly these arguments."""
    _check.same_names("arguments", given, ARGUMENTS)
    input_size, hidden_size, output_size, alpha, *_ = (given[name] for name in ARGUMENTS)
    return check(cell, input_size, hidden_size, output_size, alpha, given)


def can_run(spec: _core.Spec) -> None:
    """Refuse a precision that the instruction set in use does not have."""
    able = _core.bfloat16_backends()
    if spec.bfloat16 and _core.active_backend() not in able:
        sets = f"only {' or '.join(able)} has" if able else "none of this build has"
        raise ArgumentError(
            "precision",
            'is "bfloat16"',
            f'"float32" because the instruction set {_core.active_backend()} has no products in '
            f"bfloat16 ({sets})",
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
