"""Writing a model as an ONNX file, whole sequences or one step at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _check, _core
from .._errors import ArgumentError
from ..files.atomic import write_into, write_whole
from ..models import Recurrent
from . import onnx_protobuf as protobuf
from .layouts import layout, to_library
from .parts import Parts, check_activation, parts_of

__all__ = ["to_onnx"]

Array = NDArray[Any]

OPSETS: Final = range(14, 23)
#: The version of the file's format that an operator set came with.
_IR_VERSIONS: Final = {14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}
_DEFAULT_OPSET: Final = 17

#: The key of what ONNX has no place for, as JSON: options of training, padding_index,
#: learn_initial_state.
OPTIONS_KEY: Final = "fastbptt"


def to_onnx(
    model: Recurrent,
    path: str | os.PathLike[str] | BinaryIO | None = None,
    *,
    steps: str | None = None,
    lengths: bool = False,
    states: bool = False,
    single_step: bool = False,
    activation: str | None = None,
    dtype: DTypeLike | None = None,
    opset: int = _DEFAULT_OPSET,
) -> bytes | None:
    """Write a model as an ONNX file, for ONNX Runtime and others. The ``onnx`` package is not used.

    The file's inputs and outputs, with L layers and D directions:

    ========= ============================================== =====================================
    input     shape                                          there
    ========= ============================================== =====================================
    x         (batch, time, input_size); tokens, int64       always; one step without ``time``
              (batch, time), with an embedding               with `single_step`
    lengths   (batch,), int32                                with `lengths`
    h0, c0    (L D, batch, hidden_size); c0 of an LSTM       with `states` or `single_step`; may be
                                                             left out if the model learned them
    static    (batch, static_size)                           if the model has static inputs
    ========= ============================================== =====================================

    ========= ============================================== =====================================
    output    shape                                          there
    ========= ============================================== =====================================
    outputs   (batch, time, outputs), zero after a           always
              sequence's end; (batch, outputs) unless
              `steps` is "all"
    hn, cn    as h0, c0: the final state                     with `states` or `single_step`
    ========= ============================================== =====================================

    Parameters
    ----------
    model : Recurrent
        Of any cell that ONNX has: not a leaky one, and not with ``precision="bfloat16"``.
    path : str or path-like, or file, optional
        An existing file is replaced. A file opened in binary mode is written from where it stands.
        None: the file's bytes are returned.
    steps : {"last", "all", "mean", "max"}, optional
        What the readout sees. None: as in the model's last training step, "last" before any.
    lengths : bool, default False
        Have an input with the number of steps of each sequence.
    states : bool, default False
        Have the initial state as an input and the final state as an output.
    single_step : bool, default False
        Compute one time step: what `Recurrent.step` does. Not with two directions.
    activation : {None, "sigmoid", "softmax"}
        Applied to the outputs, to make probabilities of them.
    dtype : {"float32", "float64"}, optional
        Needed for a model in float64: ONNX Runtime computes recurrent networks in float32 only, to
        which weights are rounded; "float64" keeps them to the bit, for other programs.
    opset : int, default 17
        Of the operators, 14 to 22.

    Returns
    -------
    bytes or None
        The file if `path` is None.

    Raises
    ------
    ValueError, TypeError
        If ONNX cannot hold the model, naming what it is, or an argument is none of these.
    OSError
        If the file cannot be written. Then nothing is left behind.

    Notes
    -----
    Readout units that are not read (`readout_units`) become rows of zeros of the dense layer.
    The operators add two biases: ours is the first; the second is zero, but for a GRU's b_hn. The
    guide, docs/interchange.md, has the table of layouts.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.interchange import from_onnx, to_onnx
    >>> model = fastbptt.LSTM(3, 8, 1, seed=0)
    >>> again = from_onnx(to_onnx(model, steps="all"))
    >>> bool((again.parameters.flat == model.parameters.flat).all())
    True
    """
    parts = parts_of(model)
    layout("onnx", parts.cell)
    parts.steps = parts.steps if steps is None else _check.option("steps", steps, _check.READOUTS)
    for name, value in (("lengths", lengths), ("states", states), ("single_step", single_step)):
        _check.flag(name, value)
    check_activation(parts, activation)
    version = _check.size("opset", opset)
    if version not in OPSETS:
        raise ArgumentError("opset", f"is {version}", f"{OPSETS[0]} to {OPSETS[-1]}")
    if single_step:
        _check_single_step(parts, steps, lengths, states)
    if states and parts.static:
        came = "is True, but the model makes its initial state of static inputs"
        raise ArgumentError("states", came, "False")
    kind = _dtype(parts, dtype)
    content = _Writer(parts, kind, version, lengths, states, single_step, activation).file()
    if path is None:
        return content
    if isinstance(path, str | bytes | os.PathLike) or not hasattr(path, "write"):
        write_whole(_check.file_path(path), content)
    else:
        write_into(path, content)
    return None


def _check_single_step(parts: Parts, steps: Any, lengths: bool, states: bool) -> None:
    for name, given in (("steps", steps is not None), ("lengths", lengths), ("states", states)):
        if given:
            expected = "the default: one step at a time has its states, and its output at each step"
            raise ArgumentError(name, "is given, but single_step=True", expected)
    if parts.directions == 2:
        raise ArgumentError(
            "single_step",
            "is True, but bidirectional=True",
            "a model of one direction: the other one needs whole sequences",
        )
    if parts.static:
        came = "is True, but the model makes its initial state of static inputs"
        raise ArgumentError("single_step", came, "False")


def _dtype(parts: Parts, given: Any) -> np.dtype[Any]:
    own = parts.dtype
    if given is not None:
        return _check.float_dtype(given)
    if own != np.float32:
        raise ArgumentError(
            "dtype",
            f"is None, but the model has {own}, in which ONNX Runtime does not compute networks",
            'dtype="float32", which rounds the weights, or dtype="float64"',
        )
    return own


class _Writer:
    """Collects nodes and initializers; a name stands for one tensor."""

    def __init__(
        self,
        parts: Parts,
        dtype: np.dtype[Any],
        opset: int,
        lengths: bool,
        states: bool,
        single_step: bool,
        activation: str | None,
    ) -> None:
        self.parts, self.dtype, self.opset = parts, dtype, opset
        self.lengths, self.single_step, self.activation = lengths, single_step, activation
        self.states = states or single_step
        self.kind = protobuf.DOUBLE if dtype == np.float64 else protobuf.FLOAT
        self.nodes: list[bytes] = []
        self.constants: dict[str, Array] = {}
        self.inputs: list[bytes] = []
        self.outputs: list[bytes] = []

    def constant(self, name: str, values: Any) -> str:
        """Add an initializer: weights in the file's dtype, whole numbers as int64."""
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = _check.fitted(name, array, self.dtype)
        self.constants[name] = array
        return name

    def whole(self, *values: int) -> str:
        """Add a constant 1-D array of whole numbers, once."""
        return self.constant("int64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def node(
        self, kind: str, inputs: Sequence[str], output: str | list[str], **attributes: Any
    ) -> str:
        """Add a node, and return its first output."""
        outputs = [output] if isinstance(output, str) else output
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(protobuf.node(kind, list(inputs), outputs, name, attributes))
        return outputs[0]

    def declare(
        self, place: list[bytes], name: str, shape: Sequence[int | str], kind: int | None = None
    ) -> None:
        """Declare an input or output of the file, of its dtype or another."""
        place.append(protobuf.value_info(name, kind or self.kind, shape))

    def reduced(self, kind: str, source: str, output: str) -> str:
        """Reduce over time, axis 1."""
        if self.opset >= 18 or kind == "ReduceSum":
            return self.node(kind, [source, self.whole(1)], output, keepdims=0)
        return self.node(kind, [source], output, axes=[1], keepdims=0)

    # ------------------------------------------------------------ the graph

    def file(self) -> bytes:
        """Return the bytes of the whole file."""
        parts = self.parts
        time = [] if self.single_step else ["time"]
        if parts.E is None:
            x = "x"
            self.declare(self.inputs, "x", ["batch", *time, parts.input_size])
        else:
            self.declare(self.inputs, "x", ["batch", *time], protobuf.INT64)
            x = self.node("Gather", [self.constant("E", parts.E), "x"], "embedded", axis=0)
        if self.lengths:
            self.declare(self.inputs, "lengths", ["batch"], protobuf.INT32)
        initial = self.initial()
        if self.single_step:
            below = self.node("Unsqueeze", [x, self.whole(0)], "time_major")
        else:
            below = self.node("Transpose", [x], "time_major", perm=[1, 0, 2])
        finals: dict[str, list[str]] = {state: [] for state in parts.states}
        steps = final = ""
        for number in range(len(parts.layers)):
            steps, final = self.layer(number, below, initial, finals)
            below = self.node("Transpose", [steps], f"side_by_side_{number}", perm=[0, 2, 1, 3])
            merged = self.whole(0, 0, parts.directions * parts.hidden_size)
            below = self.node("Reshape", [below, merged], f"hidden_{number}")
        self.readout(below, final)
        for state, names in finals.items():
            if self.states:
                name = f"{state[0]}n"
                rows = len(parts.layers) * parts.directions
                self.node("Concat", names, name, axis=0)
                self.declare(self.outputs, name, [rows, "batch", parts.hidden_size])
        return self.encoded()

    def initial(self) -> dict[str, str]:
        """Make the initial states of all layers, (L D, batch, H), by the state's name."""
        parts = self.parts
        rows, hidden = len(parts.layers) * parts.directions, parts.hidden_size
        if parts.static:
            size = len(next(iter(parts.static.values())))
            self.declare(self.inputs, "static", ["batch", size])
            return {state: self.mapped(state, rows) for state in parts.states}
        found: dict[str, str] = {}
        expanded = ""
        if parts.initial:
            of_x = self.node("Shape", ["x"], "shape_of_x")
            batch = self.node("Gather", [of_x, self.whole(0)], "batch_size", axis=0)
            ones = self.whole(1)
            expanded = self.node("Concat", [ones, batch, ones], "shape_of_states", axis=0)
        for state in parts.states:
            first = "batch"
            if parts.initial:
                first = f"batch_of_{state}"  # 1 for the learned one
                self.constant(state, parts.initial[state][:, np.newaxis])
                found[state] = self.node("Expand", [state, expanded], f"{state}_of_batch")
            elif self.states:
                found[state] = state
            if self.states:
                self.declare(self.inputs, state, [rows, first, hidden])
        return found

    def mapped(self, state: str, rows: int) -> str:
        """Make an initial state of static inputs."""
        parts = self.parts
        weight = self.constant(f"W_s{state[0]}", parts.static[f"W_s{state[0]}"])
        flat = self.node("MatMul", ["static", weight], f"{state}_mapped")
        if state in parts.initial:
            learned = self.constant(state, parts.initial[state].ravel())
            flat = self.node("Add", [flat, learned], f"{state}_of_sequences")
        shape = self.whole(0, rows, parts.hidden_size)
        split = self.node("Reshape", [flat, shape], f"{state}_split")
        return self.node("Transpose", [split], f"{state}_of_batch", perm=[1, 0, 2])

    def layer(
        self, number: int, below: str, initial: dict[str, str], finals: dict[str, list[str]]
    ) -> tuple[str, str]:
        """Add one layer; return its states at all steps (T, D, B, H) and at the end (D, B, H)."""
        parts, both = self.parts, self.parts.directions
        how = layout("onnx", parts.cell)
        arrays = [to_library(how, own) for own in parts.layers[number]]
        stacked = [np.stack(one) for one in zip(*arrays, strict=True)]
        names = [
            self.constant(f"{name}_{number}", array)
            for name, array in zip(how.arrays, stacked, strict=False)
        ]
        inputs = [below, *names, *[""] * (3 - len(names)), "lengths" * self.lengths]
        for state in initial:
            rows = [self.whole(number * both), self.whole((number + 1) * both), self.whole(0)]
            own = self.node("Slice", [initial[state], *rows], f"{state}_{number}")
            inputs.append(own)
        while not inputs[-1]:
            inputs.pop()
        outputs = [f"steps_{number}"]
        for state, collected in finals.items():
            outputs.append(f"{state[0]}n_{number}")
            collected.append(outputs[-1])
        kind, attributes = operator_of(parts.cell, both)
        attributes["hidden_size"] = parts.hidden_size
        self.node(kind, inputs, outputs, **attributes)
        return outputs[0], outputs[1]

    def readout(self, hidden: str, final: str) -> None:
        """Add the outputs, of the top layer's states (T, B, D H) or final states (D, B, H)."""
        parts = self.parts
        columns = parts.directions * parts.hidden_size
        batch_first = {"perm": [1, 0, 2]}
        every = parts.steps == "all" and not self.single_step
        seen = self.node("Transpose", [hidden], "hidden", **batch_first)
        if self.single_step:
            seen = self.node("Squeeze", [seen, self.whole(1)], "seen")
        elif parts.steps == "last":
            seen = self.node("Transpose", [final], "final", **batch_first)
            seen = self.node("Reshape", [seen, self.whole(0, columns)], "seen")
        elif not every:
            seen = self.pooled(seen)
        width = columns
        if parts.W_hy is not None:
            width = parts.W_hy.shape[1]
            seen = self.node("MatMul", [seen, self.constant("W_hy", parts.W_hy)], "read")
            if parts.b_y is not None:
                seen = self.node("Add", [seen, self.constant("b_y", parts.b_y)], "linear")
        if self.activation == "sigmoid":
            seen = self.node("Sigmoid", [seen], "probabilities")
        elif self.activation:
            seen = self.node("Softmax", [seen], "probabilities", axis=-1)
        if every and self.lengths:
            zero = self.constant("zero", np.zeros((), self.dtype))
            self.node("Where", [self.valid(), seen, zero], "outputs")
        else:
            self.node("Identity", [seen], "outputs")
        self.declare(self.outputs, "outputs", ["batch", *["time"] * every, width])

    def pooled(self, hidden: str) -> str:
        """Pool states (B, T, D H) over each sequence's own steps."""
        if self.parts.steps == "max":
            if self.lengths:
                low = self.constant("low", np.full((), -np.inf, self.dtype))
                hidden = self.node("Where", [self.valid(), hidden, low], "hidden_or_low")
            return self.reduced("ReduceMax", hidden, "seen")
        if not self.lengths:
            return self.reduced("ReduceMean", hidden, "seen")
        total = self.reduced("ReduceSum", hidden, "summed")
        count = self.node("Cast", ["lengths"], "count", to=self.kind)
        count = self.node("Unsqueeze", [count, self.whole(1)], "counts")
        return self.node("Div", [total, count], "seen")

    def valid(self) -> str:
        """Mark the steps before each sequence's end, (B, T, 1)."""
        shape = self.node("Shape", ["x"], "shape")
        one = self.constant("index_one", np.array(1, np.int64))
        time = self.node("Gather", [shape, one], "time_size", axis=0)
        zero = self.constant("index_zero", np.array(0, np.int64))
        places = self.node("Range", [zero, time, one], "places")
        ends = self.node("Cast", ["lengths"], "ends", to=protobuf.INT64)
        ends = self.node("Unsqueeze", [ends, self.whole(1)], "ends_of_rows")
        before = self.node("Less", [places, ends], "before_the_end")
        return self.node("Unsqueeze", [before, self.whole(2)], "valid")

    def encoded(self) -> bytes:
        """Encode the file: graph, versions, options."""
        parts = self.parts
        graph = protobuf.message(
            [
                (1, self.nodes),
                (2, "fastbptt"),
                (5, [protobuf.tensor(name, array) for name, array in self.constants.items()]),
                (11, self.inputs),
                (12, self.outputs),
            ]
        )
        options: dict[str, Any] = {}
        if parts.dropout:
            options["dropout"] = parts.dropout
        options |= parts.training
        if parts.padding_index is not None:
            options["padding_index"] = parts.padding_index
        if parts.initial:  # zeros may be learned, too
            options["learn_initial_state"] = True
        entries = [protobuf.message([(1, OPTIONS_KEY), (2, json.dumps(options))])]
        return protobuf.message(
            [
                (1, _IR_VERSIONS[self.opset]),
                (2, "fastbptt"),
                (3, _core.version),
                (7, graph),
                (8, [protobuf.message([(1, ""), (2, self.opset)])]),
                (14, entries if options else []),
            ]
        )


def operator_of(cell: str, directions: int) -> tuple[str, dict[str, Any]]:
    """Return the operator of a cell and the attributes that make it this cell."""
    name, _, setting = layout("onnx", cell).name.partition(", ")
    attributes: dict[str, Any] = {"direction": "bidirectional" if directions == 2 else "forward"}
    if setting.startswith("activations "):
        attributes["activations"] = [setting.removeprefix("activations ")] * directions
    elif setting:
        key, _, number = setting.partition("=")
        attributes[key] = int(number)
    return name, attributes
