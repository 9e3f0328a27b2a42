"""The arrays of one call, checked against the model that they are for.

As in `_check`, only the form of an argument is judged here; its contents are the core's affair,
which reads every value anyway.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from .._check import BOOL, F32, F64, I64, Floats, Targets
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import Loss, Losses

Inputs: TypeAlias = Floats | NDArray[np.int64]
Lengths: TypeAlias = NDArray[np.int64] | None


class InputSpec:
    """The shapes and types that a model's arguments must have.

    Not a dataclass or named tuple: importing the one, and reading fields of the other, costs more.
    """

    __slots__ = (
        "at_once", "dtype", "hidden_size", "input_size", "most_steps", "one_way", "padding", "rows",
        "states", "static_size", "tokens", "width",
    )  # fmt: skip

    def __init__(
        self, spec: _core.Spec, states: tuple[str, ...], dtype: np.dtype[Any], memory: int
    ) -> None:
        directions = 2 if spec.bidirectional else 1
        self.input_size = spec.input_size
        self.hidden_size = spec.hidden_size
        self.tokens = spec.vocabulary > 0  # x holds rows of an embedding, not numbers
        self.padding = spec.padding_index  # the token that is none; -1: all are tokens
        self.one_way = not spec.bidirectional
        self.rows = spec.num_layers * directions  # of a state
        self.states = states  # the cell's: ("h",) or ("h", "c")
        self.width = spec.output_size or directions * spec.hidden_size  # of the outputs
        self.dtype = dtype
        inputs = 0 if self.tokens else spec.input_size
        per_step = dtype.itemsize * (inputs + self.rows * spec.hidden_size)  # and more
        self.most_steps = memory // per_step  # whose states memory can hold
        self.static_size = spec.static_size  # constants of each sequence
        self.at_once = 0 if spec.static_size else self.most_steps  # by `fast_path`

    def of_block(self, width: int) -> InputSpec:
        """Return the spec of some of the outputs."""
        part = copy.copy(self)
        part.width = width
        return part


# ---------------------------------------------------------------- inputs


def inputs(
    spec: InputSpec, x: Any, given_lengths: Any, unlimited: bool = False
) -> tuple[Inputs, Lengths]:
    """Read x, (batch, time, input_size) or tokens (batch, time), and its lengths; pad a list.

    With one input, sequences may lack the axis of inputs.

    unlimited: not all states are kept, so their memory does not limit x.
    """
    most = 1 << 62 if unlimited else spec.most_steps
    if isinstance(x, list | tuple):
        return _padded(spec, x, given_lengths, most)
    array = _whole_input(spec, x)
    batch, time = array.shape[:2]
    checked = lengths(given_lengths, batch, time)
    _enough_memory(batch, time, checked, most)
    return _clean_input(spec, array), checked


def as_they_lie(
    spec: InputSpec, x: Any, given_lengths: Any
) -> tuple[NDArray[Any] | list[NDArray[Any]], Lengths]:
    """Read many sequences, of which calls will take some each: nothing is padded or converted."""
    if isinstance(x, list | tuple):
        items, own = _listed(spec, x, given_lengths)
        if spec.padding >= 0:
            for i, item in enumerate(items):
                _no_padding(spec, item == spec.padding, i)
        return items, own
    array = _whole_input(spec, x)
    checked = lengths(given_lengths, *array.shape[:2])
    if spec.padding >= 0:
        padding = array == spec.padding
        if checked is not None:
            padding &= np.arange(array.shape[1]) < checked[:, np.newaxis]
        _no_padding(spec, padding)
    return array, checked


def _no_padding(spec: InputSpec, padding: Any, item: int | None = None) -> None:
    """Refuse padding within sequences; the model would read it as tokens."""
    if not padding.any():
        return
    raise ArgumentError(
        "x",
        f"holds the padding_index {spec.padding} within a sequence",
        "lengths that end before the padding, or a list without it: "
        f'fastbptt.datasets.unpad(x, value={spec.padding}), with padding="pre" if it is in front',
        item=item,
        index=tuple(int(place) for place in np.argwhere(padding)[0]),
    )


def _whole_input(spec: InputSpec, x: Any) -> NDArray[Any]:
    """Read one array of sequences and check its shape; one feature may lack its axis."""
    if hasattr(x, "columns") and hasattr(x, "__array__"):
        raise ArgumentTypeError(
            "x",
            f"is a frame of shape {x.shape}",
            "sequences: data = fastbptt.datasets.from_frame(df, id=.., time=..) reads rows that "
            "are steps, for x=data.x",
        )
    array = _read_input(spec, "x", x)
    if _is_univariate(spec, array.shape, 2) and array.shape[1] > 1:
        array = array[:, :, np.newaxis]  # (time, 1) is left: one sequence, or several of one step
    shape = array.shape
    wanted = "(batch, time" if spec.tokens else f"(batch, time, {spec.input_size}"
    if not _is_input(spec, shape, 2):
        hint = "; for one sequence give x[None]" if _is_input(spec, shape, 1) else ""
        if _is_univariate(spec, shape, 2):
            hint += f", for {shape[0]} sequences of one step x[:, :, None]"
        raise ArgumentError("x", f"has shape {shape}", f"{wanted}) because {_why(spec)}{hint}")
    if 0 in shape:
        axis = "sequence" if shape[0] == 0 else "time step"
        raise ArgumentError("x", f"has shape {shape}", f"at least one {axis}")
    return array


def _why(spec: InputSpec) -> str:
    if spec.tokens:
        return "the model has an embedding"
    return f"input_size={spec.input_size}"


def _is_univariate(spec: InputSpec, shape: tuple[int, ...], lead: int) -> bool:
    return not spec.tokens and spec.input_size == 1 and len(shape) == lead and 0 not in shape


def _is_input(spec: InputSpec, shape: tuple[int, ...], lead: int) -> bool:
    if spec.tokens:
        return len(shape) == lead
    return len(shape) == lead + 1 and shape[lead] == spec.input_size


def _read_input(spec: InputSpec, name: str, value: Any, item: int | None = None) -> NDArray[Any]:
    if not spec.tokens:
        return _check.read(name, value, item=item)
    expected = f"tokens of an integer dtype because {_why(spec)}"
    array = _check.read(name, value, expected, item)
    if array.dtype.kind not in "iu" and array.size:
        raise ArgumentTypeError(name, f"has dtype {array.dtype}", expected, item=item)
    return array


def _clean_input(spec: InputSpec, array: NDArray[Any]) -> Inputs:
    return _whole(array) if spec.tokens else _check.floats(array, spec.dtype)


def _whole(array: NDArray[Any]) -> NDArray[np.int64]:
    """Make int64; what is too large for it stays too large for any use."""
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        array = np.minimum(array, np.uint64(np.iinfo(np.int64).max))
    whole = array.astype(I64, copy=False)
    return whole if whole.flags.aligned else whole.copy()


def _padded(
    spec: InputSpec, x: list[Any] | tuple[Any, ...], given_lengths: Any, most: int
) -> tuple[Inputs, Lengths]:
    items, own = _listed(spec, x, given_lengths)
    time = int(own.max())
    _enough_memory(len(items), time, own, most)
    if spec.tokens:
        items = [_whole(item) for item in items]
    stacked = _stack(items, time, I64 if spec.tokens else spec.dtype)
    return stacked, own if int(own.min()) < time else None


def _listed(
    spec: InputSpec, x: list[Any] | tuple[Any, ...], given_lengths: Any
) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
    """Read each sequence of a list, as it lies; and how many steps each has."""
    if not x:
        raise ArgumentError("x", "is an empty list", "at least one sequence")
    items = list(x) if _are_usual(spec, x) else []
    for i, one in enumerate(x if not items else ()):
        if type(one) is not np.ndarray:
            _check.no_frame("x", one, i)
            _check.in_order_of_time("x", one, i)
        item = _read_input(spec, "x", one, i)
        if _is_univariate(spec, item.shape, 1):
            item = item[:, np.newaxis]
        if not _is_input(spec, item.shape, 1):
            wanted = "(time,)" if spec.tokens else f"(time, {spec.input_size})"
            raise ArgumentError(
                "x", f"has shape {item.shape}", f"{wanted} because {_why(spec)}", item=i
            )
        if item.shape[0] == 0:
            raise ArgumentError("x", f"has shape {item.shape}", "at least one time step", item=i)
        items.append(item)
    own = np.array([len(item) for item in items], I64)
    given = lengths(given_lengths, len(items), int(own.max()))
    if given is not None and (given != own).any():
        i = int((given != own).argmax())
        raise ArgumentError(
            "lengths",
            f"is {given[i]}",
            f"{own[i]}, the steps of x[{i}] (a list of sequences needs no lengths)",
            item=i,
        )
    return items, own


def _are_usual(spec: InputSpec, x: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list holds what `_listed` would leave as it is: told without a loop over it."""
    if set(map(type, x)) != {np.ndarray}:
        return False
    shapes = {one.shape for one in x}
    kinds = {one.dtype.kind for one in x}
    tail = () if spec.tokens else (spec.input_size,)
    return kinds <= set("iu" if spec.tokens else "fiub") and all(
        shape[1:] == tail and len(shape) and shape[0] for shape in shapes
    )


def _stack(items: list[NDArray[Any]], time: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    batch = np.zeros((len(items), time, *items[0].shape[1:]), dtype)
    with np.errstate(over="ignore"):  # an overflow becomes inf, which the core reports
        for row, item in zip(batch, items, strict=True):
            row[: len(item)] = item
    return batch


def _enough_memory(batch: int, time: int, lengths: Lengths, most: int) -> None:
    steps = batch * time if lengths is None else int(lengths.sum())
    if steps > most:
        raise MemoryError(
            f"x has {steps} steps in all; expected at most {most}, "
            f"whose states fill {_check.bytes_text(_core.memory_limit())}"
        )


def lengths(value: Any, batch: int, time: int) -> Lengths:
    """Take a private copy of the lengths, then check it."""
    if value is None:
        return None
    whole = f"whole numbers from 1 to {time}, the time axis of x"
    if isinstance(value, list | tuple):
        for i, one in enumerate(value):
            if isinstance(one, bool | np.bool_):
                raise ArgumentTypeError("lengths", f"is {one}", whole, item=i)
    copy = np.array(_check.read("lengths", value, whole))
    if copy.dtype.kind == "b":
        raise ArgumentTypeError("lengths", "has dtype bool", whole)
    if copy.shape != (batch,):
        raise ArgumentError(
            "lengths", f"has shape {copy.shape}", f"({batch},): one per sequence of x"
        )
    wrong = ~((copy >= 1) & (copy <= time))
    if copy.dtype.kind == "f":
        wrong |= copy != np.floor(copy)
    if wrong.any():
        i = int(wrong.argmax())
        raise ArgumentError("lengths", f"is {copy[i].item()}", whole, item=i)
    return copy.astype(I64)


def weights(
    value: Any,
    batch: int,
    time: int,
    own_lengths: Lengths,
    steps: str,
    listed: bool,
    warmup: int = 0,
) -> NDArray[np.float64] | None:
    """Read the weights of sequences, (batch,), or of their steps, (batch, time); None: all 1.

    listed: the sequences are a list, so that weights of steps may be a list too, which is padded.
    warmup: the first steps of each sequence whose weight is 0.
    """
    found = weights_as_they_lie(value, batch, time, own_lengths, steps, listed)
    if isinstance(found, list):
        found = _stack(found, time, F64)
    if not warmup:
        return found
    check_warmup(warmup, time if own_lengths is None else int(own_lengths.max()), steps)
    per_step = np.empty((batch, time))
    per_step[...] = 1.0 if found is None else found if found.ndim == 2 else found[:, np.newaxis]
    per_step[:, :warmup] = 0.0
    counted = per_step if own_lengths is None else per_step[np.arange(time) < own_lengths[:, None]]
    if found is not None and found.any() and not counted.any():
        raise nothing_after(warmup)
    return per_step


def nothing_after(warmup: int) -> ArgumentError:
    """Make the error for weights that are all within the warm-up."""
    expected = "fewer steps than some sequence with a sample_weight above 0 has"
    return ArgumentError("warmup", f"is {warmup}", expected, value=warmup)


def check_warmup(warmup: int, longest: int, steps: str) -> None:
    """Refuse a warm-up that has no effect, or leaves no step."""
    if steps != "all":
        raise ArgumentError("warmup", f"is {warmup}", '0 unless steps="all"', value=warmup)
    if warmup >= longest:
        expected = f"below {longest}, the steps of the longest sequence"
        raise ArgumentError("warmup", f"is {warmup}", expected, value=warmup)


def weights_as_they_lie(
    value: Any, batch: int, time: int, own_lengths: Lengths, steps: str, listed: bool
) -> NDArray[np.float64] | list[NDArray[np.float64]] | None:
    """Check the shape of weights; nothing is padded."""
    if value is None:
        return None
    if steps == "all" and listed and isinstance(value, list | tuple) and any(map(np.ndim, value)):
        if len(value) != batch:
            raise ArgumentError("sample_weight", f"has {len(value)} items", f"{batch}, as x has")
        own = [time] * batch if own_lengths is None else own_lengths.tolist()
        means = "one weight per step"
        return [
            _check.exact("sample_weight", one, (own[i],), means, F64, i).astype(F64, copy=False)
            for i, one in enumerate(value)
        ]
    array = _check.read("sample_weight", value)
    shape: tuple[int, ...] = (batch,)
    means = "one weight per sequence"
    if steps == "all" and array.shape == (batch, time):
        shape, means = array.shape, "one weight per step"
    elif steps == "all":
        means += f", or {(batch, time)}: one per step"
    elif array.ndim > 1:
        means += f' for steps="{steps}"'
    return _check.exact("sample_weight", array, shape, means, F64).astype(F64, copy=False)


def check_objective_weights(objective: _core.Objective, own_lengths: Lengths) -> None:
    """Refuse weights that the core would refuse, before chunks of them are used."""
    given = objective.sample_weight
    if given is None:
        return
    if not isinstance(given, tuple):
        check_weights(given, own_lengths)
        return
    some = False
    for name, own in zip(objective.loss.losses, given, strict=True):
        with about_block(name):
            some |= own is None or check_weights(own, own_lengths, may_be_zero=True)
    if not some:
        raise _nothing_weighs()


def _nothing_weighs() -> ArgumentError:
    return ArgumentError("sample_weight", "holds only zeros", "at least one above 0")


def check_weights(
    weights: NDArray[np.float64] | list[NDArray[np.float64]],
    own_lengths: Lengths = None,
    may_be_zero: bool = False,
) -> bool:
    """Refuse what the core would, in weights that are used before it sees them.

    Returns whether one is above 0; if none may be, it is refused.
    """
    some = False
    for i, block in enumerate(weights) if isinstance(weights, list) else [(None, weights)]:
        wrong = ~(np.isfinite(block) & (block >= 0.0))
        positive = block > 0.0
        if i is None and block.ndim == 2 and own_lengths is not None:
            inside = np.arange(block.shape[1]) < own_lengths[:, np.newaxis]
            wrong, positive = wrong & inside, positive & inside
        if wrong.any():
            place = tuple(int(at) for at in np.argwhere(wrong)[0])
            value = float(block[place])
            problem, expected = f"holds {value:g}", "values from 0 up"
            if not np.isfinite(value):
                problem, expected = f"holds a value that is not finite ({value:g})", ""
            at = place if i is None else (i, *place)
            raise ArgumentError("sample_weight", problem, expected, index=at, value=value)
        some = some or bool(positive.any())
    if not some and not may_be_zero:
        raise _nothing_weighs()
    return some


def resets(
    spec: InputSpec, value: Any, batch: int, time: int, own_lengths: Lengths, listed: bool
) -> NDArray[np.bool_] | None:
    """Read which steps of a batch start from the initial state, (batch, time); None: none does.

    listed: the sequences are a list, so that this may be one too, which is padded.
    """
    found = resets_as_they_lie(spec, value, batch, time, own_lengths, listed)
    if isinstance(found, list):
        found = _stack(found, time, BOOL)
    return None if found is None or not found.any() else np.ascontiguousarray(found)


def resets_as_they_lie(
    spec: InputSpec, value: Any, batch: int, time: int, own_lengths: Lengths, listed: bool
) -> NDArray[np.bool_] | list[NDArray[np.bool_]] | None:
    """Check the shape and the values of resets; nothing is padded."""
    if value is None:
        return None
    if not spec.one_way:
        raise ArgumentError(
            "resets",
            "is given, but bidirectional=True",
            "a model of one direction: the other one would carry the state back over a reset",
        )
    not_beside_static(spec)
    if listed and isinstance(value, list | tuple) and any(map(np.ndim, value)):
        if len(value) != batch:
            raise ArgumentError("resets", f"has {len(value)} items", f"{batch}, as x has")
        own = [time] * batch if own_lengths is None else own_lengths.tolist()
        return [_marks(one, (own[i],), "step", item=i) for i, one in enumerate(value)]
    return _marks(value, (batch, time), "step", own_lengths)


def not_beside_static(spec: InputSpec) -> None:
    """Refuse resets of a model with constants, which could be the row's or each episode's."""
    if spec.static_size:
        raise ArgumentError(
            "resets",
            f"is given, but static_size={spec.static_size}",
            "None, and the episodes as a list x, each with its row of static",
        )


def _marks(
    value: Any,
    shape: tuple[int, ...],
    each: str,
    own_lengths: Lengths = None,
    item: int | None = None,
) -> NDArray[np.bool_]:
    """Read an array of False and True, or of 0 and 1; after a sequence's end of anything."""
    expected = "True (or 1) where an episode starts, else False (or 0)"
    array = _check.read("resets", value, expected, item)
    if array.shape != shape:
        expected = f"{shape}: one per {each}" + ("" if item is None else f" of x[{item}]")
        raise ArgumentError("resets", f"has shape {array.shape}", expected, item=item)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "iuf":
        raise ArgumentTypeError("resets", f"has dtype {array.dtype}", expected, item=item)
    marked: NDArray[np.bool_] = array == 1
    wrong = ~(marked | (array == 0))
    if own_lengths is not None:
        wrong &= np.arange(shape[1]) < own_lengths[:, np.newaxis]
    if wrong.any():
        place = tuple(int(at) for at in np.argwhere(wrong)[0])
        raise ArgumentError(
            "resets",
            f"holds {array[place].item():g}",
            expected,
            item=item,
            index=place,
            value=array[place].item(),
        )
    return marked


def check_resets(resets: Any, steps: str, reduction: str, warmup: int) -> None:
    """Refuse what could mean the row of a batch, or each episode in it."""
    if resets is None:
        return
    for name, given, expected in (
        (f'steps="{steps}"', steps in _check.POOLED, "None, and the episodes as a list x"),
        (
            f'reduction="{reduction}"',
            reduction == "sequence_mean",
            'None, or reduction="mean" with a sample_weight of shape (batch, time)',
        ),
        (
            f"warmup={warmup}",
            warmup > 0,
            "None, or a sample_weight of shape (batch, time) with 0 where there is no loss",
        ),
    ):
        if given:
            why = "a sequence could be an episode, or all of a row"
            raise ArgumentError("resets", f"is given, but {name}", f"{expected}: {why}")


# ---------------------------------------------------------------- states


def states(
    spec: InputSpec, name: str, value: Any, batch: int, complete: bool = False
) -> tuple[Floats | None, ...] | None:
    """Read a state or the gradient of one: an array, or a tuple of as many as the cell has states.

    Of several, some may be None unless they are to be complete.
    """
    if value is None:
        return None
    shape = (spec.rows, batch, spec.hidden_size)
    means = "(layers * directions, batch, hidden_size)"
    arrays: list[Floats | None] = []
    for i, part in _parts(spec, name, value, batch):
        if part is None and i is not None and not complete:
            arrays.append(None)
            continue
        with about_part(spec, i):
            arrays.append(_check.exact(name, part, shape, means, spec.dtype, i))
    return tuple(arrays)


def static(
    spec: InputSpec,
    value: Any,
    batch: int,
    initial: tuple[Floats | None, ...] | None,
    alone: bool = False,
) -> Floats | None:
    """Read the constants of each sequence; initial: the states that are given instead.

    alone: the caller takes no initial state.
    """
    shape = (batch, spec.static_size)
    if not spec.static_size:
        if value is None:
            return None
        came = f"is {_check.shown(value)}"
        raise ArgumentError("static", came, "None: the model takes no constants")
    whole = initial is not None and all(state is not None for state in initial)
    if value is None and not whole:
        expected = f"{shape}: (batch, static_size)" + ", or the whole initial state" * (not alone)
        raise ArgumentTypeError("static", "is None", expected)
    if value is None:
        return None
    if whole:
        came = f"is {_check.shown(value)}"
        raise ArgumentError("static", came, "None because the whole initial state is given")
    array = _check.exact("static", value, shape, "(batch, static_size)", spec.dtype)
    return _check.floats(array, spec.dtype)


@contextmanager
def about_part(spec: InputSpec, item: int | None) -> Iterator[None]:
    """Name the state, h or c, in an error about one of several."""
    try:
        yield
    except BadArgumentError as error:
        if item is not None:
            error.part = spec.states[item]
        raise


def _parts(spec: InputSpec, name: str, value: Any, batch: int) -> list[tuple[int | None, Any]]:
    """Take a state apart, each part with its place in the tuple, if it is one."""
    if len(spec.states) == 1:
        return [(None, value)]
    shape = (spec.rows, batch, spec.hidden_size)
    expected = f"({', '.join(spec.states)}), each an array of shape {shape}"
    if not isinstance(value, tuple | list):
        raise ArgumentTypeError(name, f"is of type {type(value).__name__}", expected)
    if len(value) != len(spec.states):
        raise ArgumentError(name, f"has {len(value)} parts", expected)
    return list(enumerate(value))


def carried(spec: InputSpec, value: Any, batch: int, flat: Floats) -> tuple[Floats, ...]:
    """Take a state that is to be overwritten: nothing but the very arrays that are needed.

    flat: the model's parameters, with which a state may share no memory.
    """
    arrays = []
    for i, part in _parts(spec, "state", value, batch):
        with about_part(spec, i):
            arrays.append((i, _writable(spec, i, part, batch)))
    for k, (i, array) in enumerate(arrays):
        shared = "the model's parameters" if np.may_share_memory(array, flat) else None
        for other, before in arrays[:k]:
            if np.may_share_memory(array, before):
                shared = shared or f"state[{other}]"
        if shared:
            problem = f"shares memory with {shared}"
            with about_part(spec, i):
                raise ArgumentError("state", problem, "an array of its own", item=i)
    return tuple(array for _, array in arrays)


def _writable(spec: InputSpec, item: int | None, array: Any, batch: int) -> Floats:
    shape = (spec.rows, batch, spec.hidden_size)
    why = "it is changed in place"

    def wrong(kind: type[BadArgumentError], problem: str, expected: str) -> BadArgumentError:
        return kind("state", problem, expected, item=item)

    if not isinstance(array, np.ndarray):
        came = f"is of type {type(array).__name__}"
        raise wrong(ArgumentTypeError, came, f"an array of {spec.dtype} of shape {shape}: {why}")
    if array.dtype != spec.dtype:
        came = f"has dtype {array.dtype}"
        raise wrong(ArgumentTypeError, came, f"{spec.dtype}, the model's: {why}")
    if array.shape != shape:
        expected = f"{shape}: (layers, batch, hidden_size)"
        raise wrong(ArgumentError, f"has shape {array.shape}", expected)
    if not array.flags.writeable:
        raise wrong(ArgumentError, "is read-only", f"a writable array: {why}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise wrong(ArgumentError, f"has strides {array.strides}", f"C order: {why}")
    return array


def about_state(spec: InputSpec, error: BadArgumentError) -> None:
    """Call it `state` where the core speaks of h0 and c0, which it was given as."""
    for i, name in enumerate(spec.states):
        if error.argument == f"{name}0":
            error.argument = "state"
            if len(spec.states) > 1:
                error.item, error.part = i, name


# ---------------------------------------------------------------- one step


def fast_path_step(spec: InputSpec, x: Any, states: Any) -> bool:
    """Check whether the arguments of `step` can be passed on untouched.

    False means "look closer", not "wrong". Arrays that own their memory share it with none.
    """
    if type(x) is not np.ndarray or type(states) is not tuple or not spec.one_way:
        return False
    kind, shape = x.dtype, x.shape
    if spec.tokens:
        if kind is not I64 or len(shape) != 1:
            return False
    elif (kind is not F32 and kind is not F64) or len(shape) != 2 or shape[1] != spec.input_size:
        return False
    if not shape[0] or not x.flags.aligned or len(states) != len(spec.states):
        return False
    wanted = (spec.rows, shape[0], spec.hidden_size)
    dtype, before = spec.dtype, None
    for array in states:
        if (
            type(array) is not np.ndarray
            or array.dtype is not dtype
            or array.shape != wanted
            or not array.flags.carray  # aligned, writable, in C order
            or array.base is not None
            or array is before
        ):
            return False
        before = array
    return True


def resets_of_step(spec: InputSpec, value: Any, batch: int) -> NDArray[np.bool_]:
    """Read which sequences start anew at a step, (batch,)."""
    if spec.static_size:
        raise ArgumentError(
            "resets",
            f"is given, but static_size={spec.static_size}",
            "None, and a state whose rows come from initial_state(batch, static=..)",
        )
    return np.ascontiguousarray(_marks(value, (batch,), "sequence"))


def one_step(spec: InputSpec, x: Any) -> Inputs:
    """Read the input of one step: (batch, input_size), or tokens (batch,)."""
    array = _read_input(spec, "x_t", x)
    shape = array.shape
    if not _is_input(spec, shape, 1):
        wanted = "(batch,)" if spec.tokens else f"(batch, {spec.input_size})"
        raise ArgumentError("x_t", f"has shape {shape}", f"{wanted} because {_why(spec)}")
    if shape[0] == 0:
        raise ArgumentError("x_t", f"has shape {shape}", "at least one sequence")
    return _clean_input(spec, array)


# ---------------------------------------------------------------- targets


def targets(
    spec: InputSpec,
    y: Any,
    own_lengths: Lengths,
    batch: int,
    time: int,
    loss: Loss,
    steps: str,
    ragged: bool,
) -> Targets:
    """Read y for its loss: (batch[, time], outputs) numbers, or (batch[, time]) classes."""
    found = targets_as_they_lie(spec, y, own_lengths, batch, time, loss, steps, ragged)
    classes = loss.targets == "classes"
    if isinstance(found, list):
        if classes:
            return _stack([_whole(item) for item in found], time, I64)
        return _stack(found, time, spec.dtype)
    if classes:
        return np.array(_whole(found), order="C")  # private: nobody changes it during the call
    return _check.floats(found, spec.dtype)


@contextmanager
def about_block(name: str) -> Iterator[None]:
    """Name the block of outputs in an error about its targets or weights; "": there is one."""
    try:
        yield
    except BadArgumentError as error:
        if name and error.argument in ("y", "sample_weight"):
            error.argument += f'["{name}"]'
        raise


def targets_of_blocks(
    spec: InputSpec,
    y: Any,
    own_lengths: Lengths,
    batch: int,
    time: int,
    losses: Losses,
    steps: str,
    ragged: bool,
) -> tuple[Targets, ...]:
    """Read y of several blocks, a mapping, for the loss of each."""
    losses._check_width(spec.width)
    found = []
    for name, own in losses._parts("y", y).items():
        part, loss = spec.of_block(losses.outputs[name]), losses.losses[name]
        with about_block(name):
            found.append(targets(part, own, own_lengths, batch, time, loss, steps, ragged))
    return tuple(found)


def weights_of_blocks(
    losses: Losses,
    value: Any,
    batch: int,
    time: int,
    own_lengths: Lengths,
    steps: str,
    listed: bool,
    warmup: int = 0,
) -> NDArray[np.float64] | tuple[NDArray[np.float64] | None, ...] | None:
    """Read the weights of several blocks: a mapping, or one array for all."""
    how = (batch, time, own_lengths, steps, listed, warmup)
    if not isinstance(value, Mapping):
        return weights(value, *how)
    found = []
    for name, own in losses._parts("sample_weight", value).items():
        with about_block(name):
            found.append(weights(own, *how))
    return tuple(found)


def targets_as_they_lie(
    spec: InputSpec,
    y: Any,
    own_lengths: Lengths,
    batch: int,
    time: int,
    loss: Loss,
    steps: str,
    ragged: bool,
) -> NDArray[Any] | list[NDArray[Any]]:
    """Check the shapes of y, numbers with their last axis; nothing is padded or converted."""
    classes = loss.targets == "classes"
    width = loss.targets_of(spec.width)
    context, axis = f'loss="{loss}", steps="{steps}"', "outputs" if loss.one_output else "targets"
    if ragged and steps == "all" and isinstance(y, list | tuple):
        if len(y) != batch:
            raise ArgumentError("y", f"has {len(y)} sequences", f"{batch}, as x has")
        items: list[NDArray[Any]] = []
        for i, one in enumerate(y):
            own = time if own_lengths is None else int(own_lengths[i])
            _check.in_order_of_time("y", one, i)
            array = _check.read("y", one, item=i)
            items.append(_target_array(width, array, (own,), "(time", classes, context, axis, i))
        return items
    lead = (batch, time) if steps == "all" else (batch,)
    means = "(batch, time" if steps == "all" else "(batch"
    every = None if steps == "all" else time
    if every is not None:
        _check.one_each("y", y)
    array = _check.read("y", y)
    return _target_array(width, array, lead, means, classes, context, axis, time=every)


def _target_array(
    width: int,
    array: NDArray[Any],
    lead: tuple[int, ...],
    means: str,
    classes: bool,
    context: str,
    axis: str,
    item: int | None = None,
    time: int | None = None,
) -> NDArray[Any]:
    """time: that of x if y has one target for a sequence, for which it may have been taken."""
    one_hot = classes and len(lead) + 1 == array.ndim and array.shape[-1] == width > 1
    advice = "; of one-hot rows, give y.argmax(axis=-1)" if one_hot else ""
    if classes and array.dtype.kind not in "iu":
        came = f"has dtype {array.dtype}"
        if array.shape == lead and array.dtype.kind in "fb":
            whole = "numpy.asarray(y, int)" if item is None else "[one.astype(int) for one in y]"
            advice = f"; of whole numbers, give {whole}"
            gaps = np.isnan(array)
            if gaps.any() and (array[~gaps] % 1 == 0).all():
                came += f", and NaN at index ({', '.join(map(str, np.argwhere(gaps)[0]))})"
                advice = '; fastbptt.fit with missing="mask" leaves out classes that are NaN'
        expected = f"classes of an integer dtype for {context}{advice}"
        raise ArgumentTypeError("y", came, expected, item=item)
    shape = array.shape
    if classes:
        if shape != lead:
            if time is not None and shape == (lead[0], time) and not advice:
                advice = '; for targets at every step, steps="all"'
            expected = f"{lead}: {means}) of classes for {context}{advice}"
            raise ArgumentError("y", f"has shape {shape}", expected, item=item)
        return array
    full = (*lead, width)
    if shape == lead and width == 1:
        return array[..., np.newaxis]
    if shape != full:
        shapes = f"{full} or {lead}" if width == 1 else f"{full}"
        expected = f"{shapes}: {means}, {axis}) for {context}"
        if time is not None and shape in ((lead[0], time), (lead[0], time, width)):
            expected += '; for targets at every step, steps="all"'
        raise ArgumentError("y", f"has shape {shape}", expected, item=item)
    return array


def some_rows(
    batch: _core.Batch, objective: _core.Objective, rows: NDArray[np.intp]
) -> tuple[_core.Batch, _core.Objective]:
    """Take some of a batch's sequences, and what belongs to them."""
    lengths, initial = batch.lengths, batch.initial
    resets = batch.resets
    constants = batch.static
    if initial is not None:
        initial = tuple(
            None if state is None else np.ascontiguousarray(state[:, rows]) for state in initial
        )
    return (
        batch.replace(
            x=batch.x[rows],
            lengths=None if lengths is None else lengths[rows],
            initial=initial,
            resets=None if resets is None else resets[rows],
            static=None if constants is None else constants[rows],
        ),
        objective.replace(
            y=of_each(objective.y, lambda y: y[rows]),
            sample_weight=of_each(objective.sample_weight, lambda weight: weight[rows]),
        ),
    )


def of_each(arrays: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to an array, or to those of all blocks of outputs; None stays."""
    if isinstance(arrays, tuple):
        return tuple(None if one is None else function(one) for one in arrays)
    return None if arrays is None else function(arrays)


# ---------------------------------------------------------------- the usual case


def fast_path(spec: InputSpec, x: Any, y: Any, loss: Loss | Losses, steps: Any) -> Floats | None:
    """Return y for the core if x and y can be passed on untouched, else None.

    The way of every ordinary training step, so nothing here costs more than an attribute.
    None means "look closer", not "wrong".
    """
    if type(x) is not np.ndarray or type(y) is not np.ndarray:
        return None
    kind = y.dtype
    if (kind is not F32 and kind is not F64) or not loss.one_output:
        return None
    kind, shape = x.dtype, x.shape
    if spec.tokens:
        if kind is not I64 or len(shape) != 2:
            return None
    elif (kind is not F32 and kind is not F64) or len(shape) != 3 or shape[2] != spec.input_size:
        return None
    if not 0 < shape[0] * shape[1] <= spec.at_once:
        return None
    # An array of its own memory is aligned, and to look at flags costs three times as much.
    if not (x.base is None or x.flags.aligned) or not (y.base is None or y.flags.aligned):
        return None
    if steps == "last":
        lead: tuple[int, ...] = shape[:1]
    elif steps == "all":
        lead = shape[:2]
    else:
        return None
    came = y.shape
    if came == (*lead, spec.width):
        return y
    if came == lead and spec.width == 1:
        return y.reshape(*lead, 1)
    return None
