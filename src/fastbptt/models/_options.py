"""The options of a network: names, types and defaults, checked once, kept as the core's `Spec`."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check, _core
from .._cell_info import cell_info
from .._check import Floats
from .._errors import ArgumentError, ArgumentTypeError
from .._views import Layout
from . import initializers

if TYPE_CHECKING:
    from .constraints import Constraints

    Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence | np.random.Generator | None

Constructor = TypeVar("Constructor", bound=Callable[..., None])


class Options(TypedDict, total=False):
    """The keyword arguments that every class of networks takes; `RNN` documents them."""

    num_layers: int
    bidirectional: bool
    bias: bool
    output_bias: bool | None
    readout_units: Sequence[int] | None
    rank: int | None
    dropout: float
    recurrent_dropout: float
    zoneout: float | tuple[float, float]
    input_noise: float
    recurrent_noise: float
    noise_scaling: str | None
    learn_initial_state: bool
    static_size: int | None
    embedding: int | ArrayLike | None
    padding_index: int | None
    freeze_embedding: bool
    constraints: Constraints | None
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
    "rank": None,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "zoneout": 0.0,
    "input_noise": 0.0,
    "recurrent_noise": 0.0,
    "noise_scaling": None,
    "learn_initial_state": False,
    "static_size": None,
    "embedding": None,
    "padding_index": None,
    "freeze_embedding": False,
    "constraints": None,
    "init": "torch",
    "dtype": "float32",
    "precision": "float32",
    "seed": None,
}

#: In what the operands of the recurrent layers' products are.
PRECISIONS: Final = ("float32", "bfloat16")

#: What the standard deviations of noise are multiplied with: sqrt(2 / alpha).
NOISE_SCALINGS: Final = ("alpha",)

#: A model's arguments in files and copies, besides its cell and dtype.
ARGUMENTS: Final = (
    *("input_size", "hidden_size", "output_size", "alpha", "learn_alpha"),
    *(name for name in DEFAULTS if name not in ("constraints", "init", "dtype", "seed")),
)

MOST_LAYERS: Final = 1000

# What the settings of cells may be, in words and as a test; others may be any finite number.
_RANGES: Final[dict[str, tuple[str, Callable[[float], bool]]]] = {
    "alpha": ("above 0 and at most 1", lambda value: 0.0 < value <= 1.0),
}


# What to look at where a setting is larger than that.
_TOO_LARGE: Final = {
    "alpha": ": dt / tau, where no time constant tau is below the step dt",
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
    learn_alpha: Any,
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
    share, within = (_share(name, options[name]) for name in ("dropout", "recurrent_dropout"))
    rank = _rank(options["rank"], hidden)
    numbers, learned = settings(cell, alpha, learn_alpha, (layers * (2 if both else 1), hidden))
    noises = _noises(cell, vocabulary, numbers, learned, options)
    sizes = f"input_size={inputs}, hidden_size={hidden}, output_size={outputs or None}"
    sizes += f", num_layers={layers}" if layers > 1 else ""
    sizes += f", embedding={vocabulary}" if vocabulary else ""
    # the fewest bytes that it can have: the core's own sums cannot overflow after this
    _check.fits(
        f"a model of {sizes}",
        4
        * (
            columns * (inputs + layers * (2 * rank or hidden))
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
        recurrent_dropout=within,
        zoneout=_zoneout(cell, options["zoneout"]),
        setting=numbers.ravel(),
        learn_setting=learned,
        vocabulary=vocabulary,
        padding_index=padding,
        bfloat16=_check.option("precision", options["precision"], PRECISIONS) == "bfloat16",
        output_bias=-1 if own_bias is None else int(own_bias),
        read_units=np.array(units, np.int64) if units else None,
        static_size=constants,
        rank=rank,
        **noises,
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


def _rank(value: Any, hidden: int) -> int:
    """Return the rank of the recurrent matrices, 0 for any."""
    if value is None:
        return 0
    rank = _check.size("rank", value)
    if rank > hidden:
        expected = f"at most {hidden} because hidden_size={hidden}, or None"
        raise ArgumentError("rank", f"is {rank}", expected, value=rank)
    return rank


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


def _share(name: str, value: Any) -> float:
    expected = "a number of at least 0 and below 1"
    share = _check.number(name, value, expected)
    if not 0.0 <= share < 1.0:
        raise ArgumentError(name, f"is {share}", expected, value=share)
    return share


def _zoneout(cell: str, value: Any) -> tuple[float, float]:
    """Return the probabilities of both states, the second 0 for a cell with one."""
    states = cell_info(cell)["states"]
    if not isinstance(value, tuple | list):
        share = _share("zoneout", value)
        if share and cell_info(cell)["given"]:
            raise ArgumentError(
                "zoneout",
                f"is {share}",
                '0 for formulation="preactivation": the field has it for states that are h itself',
            )
        return share, share if len(states) > 1 else 0.0
    if len(states) == 1 or len(value) != 2:
        raise ArgumentError(
            "zoneout",
            f"is {_check.shown(value)}",
            "a number, or for LSTM two: of h and of c",
        )
    first, second = (_share(f"zoneout[{i}]", one) for i, one in enumerate(value))
    return first, second


def zoneout_argument(spec: _core.Spec) -> float | list[float]:
    h, c = spec.zoneout
    return h if len(cell_info(spec.cell)["states"]) == 1 or h == c else [h, c]


def refuse_zoneout(spec: _core.Spec, argument: str, what: str) -> None:
    """Refuse what takes a step of a network for a step of its cells."""
    if any(spec.zoneout):
        raise ArgumentError(
            argument,
            f"has zoneout={zoneout_argument(spec)}, with which a state keeps a share of the one "
            f"before; {what}",
            "a model without zoneout",
        )


def _noises(
    cell: str,
    vocabulary: int,
    numbers: NDArray[np.float64],
    learned: bool,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Check the noise, and that the network has a place for it."""
    expected = "a finite number of at least 0"
    found: dict[str, Any] = {}
    for name in ("input_noise", "recurrent_noise"):
        std = _check.number(name, options[name], expected)
        if not 0.0 <= std < math.inf:
            raise ArgumentError(name, f"is {std}", expected, value=std)
        found[name] = std
    info = cell_info(cell)
    if found["recurrent_noise"] and info["gates"] > 1:
        raise ArgumentError(
            "recurrent_noise",
            f"is {found['recurrent_noise']}",
            f'0: the cell "{cell}" has a sum for each of its gates, and the field does not agree '
            "on which of them get noise; RNN and LeakyRNN have one",
        )
    if found["input_noise"] and vocabulary:
        raise ArgumentError(
            "input_noise",
            f"is {found['input_noise']}",
            "0: with an embedding the inputs are tokens, to which nothing can be added",
        )
    scaling = options["noise_scaling"]
    if scaling is not None:
        _check.option("noise_scaling", scaling, NOISE_SCALINGS)
        if info["setting"] != "alpha":
            raise ArgumentError(
                "noise_scaling", f'is "{scaling}"', f'None: the cell "{cell}" has no alpha'
            )
        if not any(found.values()):
            raise ArgumentError(
                "noise_scaling",
                f'is "{scaling}"',
                "None, or an input_noise or a recurrent_noise above 0: there is no noise to scale",
            )
        if learned:
            raise ArgumentError(
                "noise_scaling",
                f'is "{scaling}"',
                "None because learn_alpha=True: the noise would change with what is learned",
            )
        if found["input_noise"] and numbers.size > 1:
            raise ArgumentError(
                "noise_scaling",
                f'is "{scaling}"',
                "None, or input_noise=0, or one alpha for all units: an input reaches units with "
                "different ones",
            )
    return {**found, "noise_by_setting": scaling is not None}


def setting(cell: str, value: Any) -> float | None:
    """Check one number for the cell's setting; None if it has none."""
    name = cell_info(cell)["setting"]
    if name is None:
        if value is not None:
            raise ArgumentError(
                "alpha", f"is {_check.shown(value)}", f'None because the cell "{cell}" has none'
            )
        return None
    words, fits = _RANGES.get(name, ("finite", math.isfinite))
    expected = f"a number {words}"
    number = _check.number(name, value, expected)
    if not fits(number):
        raise ArgumentError(name, f"is {number}", expected + _hint(name, number), value=number)
    return number


def _hint(name: str, number: float) -> str:
    return _TOO_LARGE.get(name, "") if number > 0.0 else ""


def settings(
    cell: str, value: Any, learn: Any, rows: tuple[int, int]
) -> tuple[NDArray[np.float64], bool]:
    """Return the cell's numbers, one or for each unit, and whether they are learned.

    rows: layers times directions, and units.
    """
    learned = _check.flag("learn_alpha", learn)
    if value is None or np.ndim(value) == 0:
        number = setting(cell, value)
        if number is None and learned:
            raise ArgumentError(
                "learn_alpha", "is True", f'False because the cell "{cell}" has no alpha'
            )
        numbers = np.array([] if number is None else [number])
    else:
        numbers = _each_unit(cell, value, rows)
    if learned and numbers.max() >= 1.0:
        place = np.unravel_index(numbers.argmax(), numbers.shape) if numbers.size > 1 else ()
        raise ArgumentError(
            "alpha",
            f"{'holds' if place else 'is'} 1.0",
            "below 1 at the start because learn_alpha=True: it is the logistic function of what "
            "is learned, which has no 1",
            index=tuple(int(i) for i in place),
            value=1.0,
        )
    return numbers, learned


def _each_unit(cell: str, value: Any, rows: tuple[int, int]) -> NDArray[np.float64]:
    """Check numbers of the cell for each unit."""
    name = cell_info(cell)["setting"]
    if name is None:
        setting(cell, value)
    words, fits = _RANGES.get(name, ("finite", math.isfinite))
    count, hidden = rows
    expected = f"a number {words}, or an array of them of shape ({hidden},), one for each unit"
    if count > 1:
        expected += f", or ({count}, {hidden}), in the order of the initial states"
    numbers = np.asarray(_check.read(name, value, expected), np.float64)
    if numbers.shape not in ((hidden,), rows):
        raise ArgumentError(name, f"has shape {numbers.shape}", expected)
    for place, number in np.ndenumerate(numbers):
        if not fits(number):
            problem = f"holds {number}"
            wanted = f"numbers {words}{_hint(name, number)}"
            raise ArgumentError(name, problem, wanted, index=place, value=float(number))
    return numbers[0] if numbers.shape == (1, hidden) else numbers


def shaped(spec: _core.Spec) -> float | list[float] | list[list[float]] | None:
    """Return the cell's number as it was given: one, one for each unit, or for all rows."""
    numbers = spec.setting
    if len(numbers) <= 1:
        return numbers[0] if numbers else None
    if len(numbers) == spec.hidden_size:
        return numbers
    rows: list[list[float]] = np.reshape(numbers, (-1, spec.hidden_size)).tolist()
    return rows


def arguments(spec: _core.Spec) -> dict[str, Any]:
    """Return what `check` takes, besides the cell, as plain values fit for JSON."""
    values = (
        spec.input_size,
        spec.hidden_size,
        spec.output_size or None,
        shaped(spec),
        spec.learn_setting,
        spec.num_layers,
        spec.bidirectional,
        spec.bias,
        None if spec.output_bias < 0 else bool(spec.output_bias),
        spec.read_units or None,
        spec.rank or None,
        spec.dropout,
        spec.recurrent_dropout,
        zoneout_argument(spec),
        spec.input_noise,
        spec.recurrent_noise,
        "alpha" if spec.noise_by_setting else None,
        spec.learn_state,
        spec.static_size or None,
        spec.vocabulary or None,
        None if spec.padding_index < 0 else spec.padding_index,
        spec.freeze_embedding,
        "bfloat16" if spec.bfloat16 else "float32",
    )
    return dict(zip(ARGUMENTS, values, strict=True))


def settings_now(spec: _core.Spec, parameters: Mapping[str, Floats]) -> NDArray[np.float64]:
    """Return the numbers of the cell that are in use: learned, or as given."""
    if not spec.learn_setting:
        return np.array(shaped(spec))
    logits = [values for name, values in parameters.items() if name.startswith("logit_")]
    found: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.array(logits, np.float64)))
    return found[0] if len(found) == 1 else found


def shortened(numbers: Any) -> Any:
    """Leave out most of many numbers, to be shown."""
    if not isinstance(numbers, list) or len(numbers) <= 4:
        return [shortened(one) for one in numbers] if isinstance(numbers, list) else numbers
    return [shortened(numbers[0]), shortened(numbers[1]), _More()]


class _More:
    """The dots in place of what is left out."""

    def __repr__(self) -> str:
        return ".."


def shortest(units: list[int]) -> list[int] | range:
    """Return the same numbers as a range, if they are one."""
    step = units[1] - units[0] if len(units) > 1 else 1
    whole = range(units[0], units[-1] + 1, step)
    return whole if list(whole) == units else units


def from_arguments(cell: str, given: Mapping[str, Any]) -> _core.Spec:
    """Make the spec of exactly these arguments."""
    _check.same_names("arguments", given, ARGUMENTS)
    input_size, hidden_size, output_size, alpha, learn_alpha, *_ = (given[n] for n in ARGUMENTS)
    return check(cell, input_size, hidden_size, output_size, alpha, learn_alpha, given)


def refuse_bfloat16(spec: _core.Spec, argument: str) -> None:
    """Refuse to hand on, as one that computes in its dtype, a network that does not."""
    if spec.bfloat16:
        raise ArgumentError(
            argument,
            'has precision="bfloat16", in which it rounds what its products multiply',
            'a model in precision="float32" that takes the same weights: '
            "other.load_state_dict(model.state_dict())",
        )


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
