"""Reading a model from an ONNX file: found by what its graph computes, not by names.

Exporters arrange the same network in many ways: other transposes, shapes computed on the way, last
steps taken by a slice or from the final state, loops instead of operators. So the graph is run on
random inputs of a few steps. What a recurrent operator or the readout returns is replaced by
random numbers, which everything else only moves around; where they turn up again tells which
tensor is what. A loop is run with random weights, and is a cell if it computes what the cell
computes.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, reference
from .._cell_info import cell_info
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from ..files.safetensors import UnreadableError, content_of, shortened
from ..models import Recurrent
from . import onnx_protobuf as protobuf
from .layouts import LAYOUTS, CellLayout, LayerWeights, from_library
from .onnx_operators import apply, attributes_of, check_size
from .onnx_protobuf import Message
from .onnx_writing import OPTIONS_KEY, operator_of
from .parts import TRAINING, Parts, assemble

__all__ = ["from_onnx"]

Array = NDArray[Any]

_OPSETS: Final = range(7, 23)
_BATCH: Final = 3  # sizes that a file leaves open
_TIME: Final = 5
_TOKENS: Final = 7  # at most, of a vocabulary
_MOST_WORK: Final = 1 << 27  # numbers computed in all, besides eight times those of the file
_MOST_TRIPS: Final = 10_000
_RECURRENT: Final = ("RNN", "GRU", "LSTM", "Loop")
_DOMAINS: Final = ("", "ai.onnx", None)


def from_onnx(
    source: str | os.PathLike[str] | BinaryIO | bytes | Any, *, logits: bool = False
) -> Recurrent:
    """Read a recurrent network from an ONNX file, with its weights to the bit.

    The file is one that `to_onnx` wrote, or an exporter: ``torch.onnx`` (both of them), Keras'
    ``model.export(format="onnx")``, ``tf2onnx``. It holds a stack of RNN, GRU or LSTM operators of
    one size, forward or in both directions; before them may be an embedding, after them a dense
    layer that reads all steps, the final states, or their mean or maximum over time. The ``onnx``
    package is not used, and nothing from the file is run but a list of harmless operators.

    Parameters
    ----------
    source : path, open file, bytes or onnx.ModelProto
        A file opened in binary mode is read from where it stands to its end.
    logits : bool, default False
        Take a network that ends in Sigmoid or Softmax without these: its outputs are then those
        before, of which `fastbptt.probabilities` makes probabilities. Without this such a file
        is refused, since our readout is linear.

    Returns
    -------
    Recurrent
        Of the class of its cell. Two biases of an operator become their sum.

    Raises
    ------
    ValueError
        If the file is broken or no such network: names the node or tensor.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> from fastbptt.interchange import from_onnx, to_onnx
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> to_onnx(fastbptt.GRU(3, 8, 2, bidirectional=True, seed=0), path)
    >>> from_onnx(path)
    GRU(3, 8, 2, bidirectional=True, dtype="float32")  # 626 parameters, 2.5 kB
    """
    _check.flag("logits", logits)
    data, shown = _content(source)
    try:
        network = _Network(protobuf.read_model(data), len(data))
        parts = network.parts(logits)
    except (UnreadableError, BadArgumentError) as error:
        if isinstance(error, BadArgumentError) and error.argument == "logits":
            raise
        raise ValueError(f"cannot read {shown}: {error}") from None
    try:
        return assemble(parts)
    except BadArgumentError as error:
        raise ValueError(f"cannot read {shown}: {error}") from None


def _content(source: Any) -> tuple[bytes, str]:
    """Return a file's bytes and what to call it."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "the bytes given"
    if hasattr(source, "SerializeToString"):
        return source.SerializeToString(), f"the {type(source).__name__} given"
    if hasattr(source, "read") and not isinstance(source, os.PathLike):
        return content_of(source), f"the open file {source!r}"
    if not isinstance(source, str | os.PathLike):
        came = f"is of type {type(source).__name__}"
        expected = "a path, an open file, bytes, or an onnx.ModelProto"
        raise ArgumentTypeError("source", came, expected)
    path = _check.file_path(source)
    size = os.stat(path).st_size
    if size >= protobuf.MOST_BYTES:
        raise ValueError(f"cannot read {path!r}: it has {size} bytes; expected fewer than 2 GB")
    with open(path, "rb") as file:
        return file.read(), repr(path)


# ---------------------------------------------------------------- what is found


@dataclass
class _Unit:
    """One direction of one layer."""

    source: str  # what it reads
    node: str
    cell: str
    reverse: bool
    weights: LayerWeights
    initial: list[Array]  # before the first step, (B, H) for each state; empty for zeros
    steps: Array  # (B, T, H) of random numbers, in order of time
    finals: list[Array]  # (B, H) for each state


@dataclass
class _Group:
    """The directions of one layer, by what they read."""

    units: list[_Unit] = field(default_factory=list)

    @property
    def key(self) -> str:
        return " and ".join(unit.node for unit in self.units)

    @property
    def hidden(self) -> Array:
        return np.concatenate([unit.steps for unit in self.units], -1)

    @property
    def final(self) -> Array:
        return np.concatenate([unit.finals[0] for unit in self.units], -1)


class _Readout(NamedTuple):
    """The dense layer: what it reads, its weights, and random numbers for its outputs."""

    group: str
    steps: str
    W_hy: Array
    b_y: Array | None
    outputs: Array  # (B, T, O) or (B, O)


class _Map(NamedTuple):
    """A map of static inputs to an initial state."""

    weight: Array
    learned: Array | None
    outputs: Array  # (B, N)


Arrange = Callable[[Array], Array]

# How (B, T, F) may be laid out, and (B, F): by exporters, and if a batch or time has size one.
_OF_STEPS: Final[tuple[Arrange, ...]] = (
    lambda v: v,
    lambda v: v.swapaxes(0, 1),
    lambda v: v.reshape(-1, v.shape[-1]),
    lambda v: v.swapaxes(0, 1).reshape(-1, v.shape[-1]),
)
_OF_ONE: Final[tuple[Arrange, ...]] = (
    lambda v: v,
    lambda v: v[np.newaxis],
    lambda v: v[:, np.newaxis],
    lambda v: v.reshape(v.shape[-1]) if len(v) == 1 else v,
)


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _arrangement(value: Array, canonical: Array) -> Arrange | None:
    """Find how an array lies in which the same numbers stand."""
    if value.size != canonical.size:
        return None
    ways = _OF_STEPS if canonical.ndim == 3 else _OF_ONE
    return next((way for way in ways if _equal(way(canonical), value)), None)


class _Network:
    """Runs a graph on random inputs and finds the parts of a network in it."""

    def __init__(self, model: Message, size: int) -> None:
        graph = model["graph"]
        if graph is None:
            raise UnreadableError("it holds no graph", "an ONNX file")
        if model["functions"]:
            raise UnreadableError("it has functions of its own", "operators only")
        if graph["sparse_initializer"]:
            raise UnreadableError("it has sparse tensors", "dense ones")
        versions = [one["version"] for one in model["opset_import"] if one["domain"] in _DOMAINS]
        if len(versions) != 1 or versions[0] not in _OPSETS:
            came = f"its operator set is {shortened(versions)}"
            raise UnreadableError(came, f"one of {_OPSETS[0]} to {_OPSETS[-1]}")
        if not any(node["op_type"] in _RECURRENT for node in graph["node"]):
            raise UnreadableError(
                "it has no recurrent operator",
                f"{', '.join(_RECURRENT)}. PyTorch's dynamo exporter (for nn.RNN) and Keras on "
                "PyTorch unroll layers: use torch.onnx.export(..., dynamo=False), or "
                "fastbptt.interchange.from_torch and from_keras on the network itself",
            )
        self.opset: int = versions[0]
        self.graph, self.model = graph, model
        self.rng = np.random.default_rng(0)
        self.work = _MOST_WORK + 8 * size
        self.values: dict[str, Array] = {}
        self.constant: set[str] = set()
        self.inputs: dict[str, Array] = {}
        self.sources: list[tuple[str, Array]] = []  # (B, T, F)
        self.lengths: Array | None = None
        self.units: list[_Unit] = []
        self.embedding: Array | None = None
        self.read: _Readout | None = None
        self.maps: list[_Map] = []
        self.activation: tuple[str, Array] | None = None
        for one in graph["initializer"]:
            name = one["name"] or ""
            self.values[name] = protobuf.array_of(one, "the tensor")
            self.constant.add(name)
        self.feed()
        for place, node in enumerate(graph["node"]):
            self.run(node, place)

    # ------------------------------------------------------------ inputs

    def feed(self) -> None:
        """Make random inputs, of the shapes that the file asks for."""
        nodes = self.graph["node"]
        with_lengths = any(
            node["op_type"] in ("RNN", "GRU", "LSTM")
            and len(node["input"]) > 4
            and node["input"][4]
            for node in nodes
        )
        integers = (protobuf.INT32, protobuf.INT64)
        whole = {
            node["input"][0]
            for node in nodes
            if node["op_type"] == "Cast"
            and node["input"]
            and attributes_of(node).get("to") in integers
        }
        tables = [
            len(self.values[node["input"][0]])
            for node in nodes
            if node["op_type"] == "Gather"
            and node["input"]
            and node["input"][0] in self.constant
            and self.values[node["input"][0]].ndim == 2
        ]
        vocabulary = max(min([_TOKENS, *tables]), 1)
        sizes: dict[str, int] = {}
        for one in self.graph["input"]:
            name = one["name"]
            if name in self.values:  # an initializer is its default
                continue
            kind, shape = self.declared(one, sizes)
            check_size(shape)
            where = f"the input {shortened(name)}"
            if kind in integers:
                value = self.tokens(shape, vocabulary)
                if len(shape) == 1 and with_lengths:
                    value = self.lengths_of(shape[0])
                value = value.astype(protobuf.DTYPES[kind])
            elif kind in (protobuf.FLOAT, protobuf.DOUBLE):
                value = self.rng.normal(size=shape).astype(protobuf.DTYPES[kind])
                if len(shape) < 3 and name in whole:  # tokens, as numbers
                    value = self.tokens(shape, vocabulary).astype(value.dtype)
            else:
                raise UnreadableError(f"{where} has the element type {kind}", "numbers")
            self.values[name] = self.inputs[name] = value
            if value.dtype.kind == "f":
                self.add_source(where, value)

    def tokens(self, shape: list[int], vocabulary: int) -> Array:
        """Make random tokens, the largest one first."""
        value = self.rng.integers(0, vocabulary, shape)
        value.reshape(-1)[:1] = vocabulary - 1
        return value

    def lengths_of(self, batch: int) -> Array:
        """Make lengths that differ, the first one the longest."""
        self.lengths = np.maximum(_TIME - np.arange(batch) % _TIME, 1)
        return self.lengths

    def declared(self, one: Message, sizes: dict[str, int]) -> tuple[int, list[int]]:
        """Return an input's element type and shape, with sizes for what is open."""
        kind = one["type"]["tensor_type"] if one["type"] is not None else None
        if kind is None or kind["shape"] is None:
            came = f"the input {shortened(one['name'])} has no shape"
            raise UnreadableError(came, "a tensor with a known number of dimensions")
        dims = kind["shape"]["dim"]
        if len(dims) > protobuf.MOST_DIMENSIONS:
            raise UnreadableError(f"the input {shortened(one['name'])} has {len(dims)} dimensions",
                                  f"at most {protobuf.MOST_DIMENSIONS}")  # fmt: skip
        shape = []
        for place, dim in enumerate(dims):
            size = dim["dim_value"]
            if size is None or size <= 0:
                open_size = _TIME if place == 1 and len(dims) < 4 else _BATCH
                label = dim["dim_param"] or f"{one['name']} {place}"
                size = sizes.setdefault(label, open_size)
            shape.append(size)
        return kind["elem_type"], shape

    def add_source(self, key: str, value: Array) -> None:
        """Note what a layer may read, in the orders in which it may lie."""
        if value.ndim == 3:
            self.sources += [(key, value), (key, value.swapaxes(0, 1))]
        elif value.ndim == 2:  # one step of a batch, or one sequence
            self.sources += [(key, value[:, np.newaxis]), (key, value[np.newaxis])]

    def source(self, x: Array) -> str:
        """Say what a layer reads, given as (B, T, F)."""
        for key, value in [*self.sources, *((one.key, one.hidden) for one in self.groups())]:
            if _equal(value, x):
                return key
        raise UnreadableError(
            "it reads neither the network's input nor all states of the layer before",
            "recurrent layers one upon the other",
        )

    def groups(self) -> list[_Group]:
        """Group the units by what they read, forward direction first."""
        found: dict[str, _Group] = {}
        for unit in self.units:
            found.setdefault(unit.source, _Group()).units.append(unit)
        for group in found.values():
            group.units.sort(key=lambda unit: unit.reverse)
        return list(found.values())

    # ------------------------------------------------------------ nodes

    def run(self, node: Message, place: int) -> None:
        """Run one node of the graph."""
        label = f"node {shortened(node['name'] or place)} ({shortened(node['op_type'])})"
        try:
            if node["domain"] not in _DOMAINS:
                raise UnreadableError(f"it is of the domain {shortened(node['domain'])}", "ONNX's")
            attributes = attributes_of(node)
            inputs = [self.value(name) for name in node["input"]]
            outputs = self.found(node, inputs, attributes)
            fixed = all(name in self.constant or not name for name in node["input"])
            if outputs is None:
                outputs = apply(
                    node["op_type"], inputs, attributes, self.opset, len(node["output"])
                )
            self.spend(outputs)
        except (BadArgumentError, UnreadableError) as error:
            raise NodeError(label, error) from None
        for name, value in zip(node["output"], outputs, strict=False):
            if name in self.values:
                raise UnreadableError(f"{label} makes {shortened(name)} again", "new names")
            if name:
                self.values[name] = value
                if fixed:
                    self.constant.add(name)

    def value(self, name: str) -> Array | None:
        if not name:
            return None
        if name not in self.values:
            raise UnreadableError(f"its input {shortened(name)} is made nowhere before", "a tensor")
        return self.values[name]

    def spend(self, arrays: list[Array]) -> None:
        """Count what has been computed."""
        self.work -= sum(one.size for one in arrays)
        if self.work < 0:
            raise UnreadableError("it computes too many numbers", "the file of a recurrent network")

    def found(
        self, node: Message, inputs: list[Any], attributes: dict[str, Any]
    ) -> list[Array] | None:
        """Run a node that is a part of the network; None for one that only moves numbers."""
        kind, names = node["op_type"], node["input"]
        fixed = [name in self.constant for name in names]
        if kind in _RECURRENT[:3]:
            return self.recurrent(node, inputs, attributes)
        if kind == "Loop":
            return self.loop(node, inputs, attributes)
        if len(inputs) < 1 or any(one is None for one in inputs) or all(fixed):
            return None
        if kind == "Gather" and len(inputs) == 2 and fixed[0]:
            return self.embed(inputs[0], inputs[1], attributes)
        if kind == "MatMul" and len(inputs) == 2 and fixed[1]:
            return self.dense(inputs[0], inputs[1])
        if kind == "Gemm" and len(inputs) > 1 and all(fixed[1:]) and not attributes.get("transA"):
            if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
                raise UnreadableError("it scales its product or its bias", "alpha and beta of 1")
            outputs = self.dense(inputs[0], inputs[1].T if attributes.get("transB") else inputs[1])
            return self.biased(outputs[0], inputs[2]) if len(inputs) > 2 else outputs
        if kind == "Add" and len(inputs) == 2 and any(fixed):
            return self.biased(*(inputs if fixed[1] else inputs[::-1]))
        if kind in ("Sigmoid", "Softmax"):
            return self.activated(kind, inputs[0], attributes)
        return None

    def embed(self, matrix: Array, tokens: Array, attributes: dict[str, Any]) -> list[Array] | None:
        """Find the embedding: rows of a matrix for the tokens of an input."""
        if matrix.ndim != 2 or matrix.dtype.kind != "f" or attributes.get("axis", 0) != 0:
            return None
        ours = [one for one in self.inputs.values() if one.ndim < 3]
        if not any(_equal(tokens, way) for one in ours for way in (one, one.T)):
            raise UnreadableError(
                "it takes rows of a matrix by numbers that are no input", "tokens"
            )
        if self.embedding is not None:
            raise UnreadableError("it is a second embedding", "one")
        self.embedding = matrix
        rows = self.random((*tokens.shape, matrix.shape[1]), matrix.dtype)
        self.sources.clear()
        self.add_source("the embedding", rows)
        return [rows]

    def random(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        check_size(shape)
        return self.rng.normal(size=shape).astype(dtype)

    # ------------------------------------------------------------ recurrent layers

    def recurrent(
        self, node: Message, inputs: list[Any], attributes: dict[str, Any]
    ) -> list[Array]:
        """Note a recurrent operator's weights; return random states."""
        names = [*node["input"], *[""] * (8 - len(node["input"]))]
        every: list[Any] = [*inputs, *[None] * (8 - len(inputs))]
        x, weights, (lengths, h0, c0, peepholes) = every[0], every[1:4], every[4:8]
        if peepholes is not None:
            raise UnreadableError("it has peepholes (P)", "none")
        layout, directions = _layout_of(node["op_type"], attributes)
        arrays = [one for one in weights if one is not None]
        if len(arrays) < 2 or weights[0] is None or weights[1] is None or x is None:
            raise UnreadableError("its inputs X, W or R are missing", "all three")
        for name, label, one in zip(names[1:4], layout.arrays, weights, strict=True):
            if one is not None and name not in self.constant:
                raise UnreadableError(f"its {label} is computed from inputs", "weights in the file")
            if one is not None and (one.ndim < 2 or len(one) != len(directions)):
                came = f"its {label} has shape {one.shape}"
                raise UnreadableError(came, f"{len(directions)} directions first")
        major = bool(attributes.get("layout", 0))
        x_bt = x if major else x.swapaxes(0, 1)
        if x.ndim != 3:
            raise UnreadableError(f"its X has shape {x.shape}", "three dimensions")
        batch, time = x_bt.shape[:2]
        ends = self.ends(lengths, batch, time)
        source, made = self.source(x_bt), []
        for place, reverse in enumerate(directions):
            own = from_library(layout, [one[place] for one in arrays])
            if len(own.W_xh) != x_bt.shape[2]:
                came = f"its W reads {len(own.W_xh)} features"
                raise UnreadableError(came, f"{x_bt.shape[2]}, those of its X")
            hidden = len(own.W_hh)
            if attributes.get("hidden_size", hidden) != hidden:
                came = f"its hidden_size is {attributes['hidden_size']}"
                raise UnreadableError(came, f"{hidden}, as its R has")
            initial = []
            for one in (h0, c0)[: len(layout.states)]:
                before = one if one is None or not major else one.swapaxes(0, 1)
                if before is not None and before.shape != (len(directions), batch, hidden):
                    came = f"an initial state has shape {before.shape}"
                    raise UnreadableError(came, str((len(directions), batch, hidden)))
                rows = np.zeros((batch, hidden), x.dtype) if before is None else before[place]
                initial.append(rows)
            unit = self.unit(source, node, layout.cell, reverse, own, initial, (batch, time), ends)
            made.append(unit)
        steps = np.stack([unit.steps for unit in made], 1)  # (B, D, T, H)
        final = [np.stack(states) for states in zip(*(unit.finals for unit in made), strict=True)]
        if major:
            return [steps.swapaxes(1, 2), *(one.swapaxes(0, 1) for one in final)]
        return [steps.transpose(2, 1, 0, 3), *final]

    def ends(self, lengths: Array | None, batch: int, time: int) -> Array:
        """Return each sequence's number of steps: all, or those of the input."""
        whole = np.full(batch, time)
        if lengths is None or _equal(lengths, whole):
            return whole
        if self.lengths is None or not _equal(lengths, self.lengths):
            raise UnreadableError("its sequence_lens is no input", "an input, or all steps")
        return np.minimum(self.lengths, time)

    def unit(
        self,
        source: str,
        node: Message,
        cell: str,
        reverse: bool,
        weights: LayerWeights,
        initial: list[Array],
        sizes: tuple[int, int],
        ends: Array,
    ) -> _Unit:
        """Note one direction of a layer, with random states."""
        batch, time = sizes
        hidden, dtype = len(weights.W_hh), weights.W_hh.dtype
        steps = self.random((batch, time, hidden), dtype)
        steps[np.arange(time) >= ends[:, np.newaxis]] = 0
        last = steps[np.arange(batch), 0 if reverse else ends - 1]
        finals = [last, *(self.random((batch, hidden), dtype) for _ in initial[1:])]
        name = node["name"] or node["output"][0]
        label = f"{shortened(name)}{' reverse' * reverse}"
        unit = _Unit(source, label, cell, reverse, weights, initial, steps, finals)
        same = [one for one in self.units if one.source == source and one.reverse == reverse]
        if same:
            raise UnreadableError("it is a second layer on the same input", "one upon the other")
        self.units.append(unit)
        return unit

    def loop(self, node: Message, inputs: list[Any], attributes: dict[str, Any]) -> list[Array]:
        """Find the cell that a loop computes."""
        body = attributes.get("body")
        if not isinstance(body, Message) or len(inputs) < 2:
            raise UnreadableError("it has no body", "a loop over time")
        names = {*node["input"], *(name for one in body["node"] for name in one["input"])}
        weights = {
            name: self.values[name]
            for name in sorted(names & self.constant)
            if self.values[name].dtype.kind == "f" and self.values[name].size > 1
        }
        random = {
            name: self.random(one.shape, np.dtype(np.float64)) for name, one in weights.items()
        }
        wide = {
            name: self.values[name].astype(np.float64)
            for name in names - weights.keys()
            if name in self.values and self.values[name].dtype == np.float32
        }
        changed = [
            random.get(n, wide.get(n, v)) for n, v in zip(node["input"], inputs, strict=True)
        ]
        outputs = self.iterate(body, changed, random | wide)
        streams = [
            (self.values[name].swapaxes(0, 1)) for name in sorted(names & self.values.keys())
            if self.values[name].ndim == 3 and name not in self.constant
        ]  # fmt: skip
        for x in streams:
            for reverse, x_bt in ((False, x), (True, x[:, ::-1])):
                with_source = self.known_source(x_bt)
                if with_source is None:
                    continue
                match = _cell_of(x.astype(np.float64), random, outputs)
                if match is not None:
                    layout, chosen, final = match
                    arrays = [weights[name] for name in chosen]
                    own = from_library(layout, arrays, [shortened(name) for name in chosen])
                    zeros = np.zeros((len(x), len(own.W_hh)), x.dtype)
                    initial = [zeros] * len(layout.states)
                    ends = np.full(len(x), x.shape[1])
                    unit = self.unit(
                        with_source, node, layout.cell, reverse, own, initial, x.shape[:2], ends
                    )
                    order = unit.steps[:, ::-1] if reverse else unit.steps
                    replaced = [order.swapaxes(0, 1), *unit.finals]
                    return [
                        next((new for old, new in zip(final, replaced, strict=True)
                              if _close(old, one)), one)
                        for one in outputs
                    ]  # fmt: skip
        raise UnreadableError(
            "it computes no cell that fastbptt has",
            "a loop of an RNN, GRU or LSTM from a state of zeros, without masks",
        )

    def known_source(self, x: Array) -> str | None:
        try:
            return self.source(x)
        except UnreadableError:
            return None

    def iterate(self, body: Message, inputs: list[Any], outer: dict[str, Array]) -> list[Array]:
        """Run a loop's body; return what it carries, then what it collects at each step."""
        given, names = body["input"], body["output"]
        trips, go, *carried = inputs
        limit = _MOST_TRIPS if trips is None else int(np.asarray(trips).reshape(-1)[0])
        if len(given) != len(carried) + 2 or len(names) <= len(carried) or limit > _MOST_TRIPS:
            raise UnreadableError(f"its loop of {limit} steps is malformed", "a loop over time")
        fixed = {one["name"]: protobuf.array_of(one, "the tensor") for one in body["initializer"]}
        scope = {**self.values, **outer, **fixed}
        running = go is None or bool(np.asarray(go).reshape(-1)[0])
        collected: list[list[Array]] = [[] for _ in names[len(carried) + 1 :]]
        step = 0
        while running and step < limit:
            values = [np.array(step), np.array(True), *carried]
            local = scope | {
                one["name"]: value for one, value in zip(given, values, strict=True)
                if value is not None
            }  # fmt: skip
            for node in body["node"]:
                if any(name and name not in local for name in node["input"]):
                    raise UnreadableError("its body reads what is made nowhere", "tensors")
                arrays = [local[name] if name else None for name in node["input"]]
                made = apply(
                    node["op_type"], arrays, attributes_of(node), self.opset, len(node["output"])
                )
                self.spend(made)
                local.update(zip(node["output"], made, strict=False))
            if any(one["name"] not in local for one in names):
                raise UnreadableError("its body does not make its outputs", "tensors")
            results = [local[one["name"]] for one in names]
            running = bool(np.asarray(results[0]).reshape(-1)[0])
            carried = results[1 : len(carried) + 1]
            for one, value in zip(collected, results[len(carried) + 1 :], strict=True):
                one.append(value)
            step += 1
        if step == 0 or any(one is None for one in carried):
            raise UnreadableError("its loop makes no step", "a loop over time")
        check_size([sum(value.size for one in collected for value in one)])
        return [*carried, *(np.stack(one) for one in collected)]

    # ------------------------------------------------------------ readout

    def dense(self, x: Array, weight: Array) -> list[Array]:
        """Find the readout, or a map of static inputs."""
        if weight.ndim != 2 or weight.dtype.kind != "f" or x.shape[-1:] != weight.shape[:1]:
            came = f"its matrix has shape {weight.shape}, its input {x.shape}"
            raise UnreadableError(came, "a matrix for the input")
        width = weight.shape[1]
        for one in self.inputs.values():
            if one.ndim == 2 and one.dtype.kind == "f" and _equal(one, x):
                outputs = self.random((len(x), width), weight.dtype)
                self.maps.append(_Map(weight, None, outputs))
                return [outputs]
        if self.read is not None:
            raise UnreadableError("it is a second dense layer", "one, the readout")
        for group in reversed(self.groups()):
            for steps, canonical in self.seen(group):
                way = _arrangement(x, canonical)
                if way is None and steps in ("mean", "max") and x.shape == canonical.shape:
                    way = (lambda v: v) if _close(x, canonical) else None
                if way is not None:
                    outputs = self.random((*canonical.shape[:-1], width), weight.dtype)
                    self.read = _Readout(group.key, steps, weight, None, outputs)
                    return [way(outputs)]
            if len(group.units) == 2 and any(
                _equal(x, way(group.hidden[:, -1])) for way in _OF_ONE
            ):
                raise UnreadableError(
                    "it reads both directions at the last step, where the reverse one has read a "
                    "single step",
                    "the final states of both",
                )
        raise UnreadableError(
            "it multiplies a matrix with what are no states of a recurrent layer",
            "a readout of all steps, of the final states, or of their mean or maximum",
        )

    def seen(self, group: _Group) -> Iterator[tuple[str, Array]]:
        """Yield what a readout may see, (B, D H) or (B, T, D H)."""
        hidden = group.hidden
        ends = np.full(len(hidden), hidden.shape[1])
        if self.lengths is not None:
            ends = np.minimum(self.lengths, hidden.shape[1])
        valid = (np.arange(hidden.shape[1]) < ends[:, np.newaxis])[:, :, np.newaxis]
        yield "last", group.final
        yield "all", hidden
        yield "mean", hidden.sum(axis=1) / ends[:, np.newaxis]
        yield "max", np.where(valid, hidden, -np.inf).max(axis=1)

    def biased(self, x: Array, bias: Array) -> list[Array] | None:
        """Find the readout's bias, or what is added to a map of static inputs."""
        for place, one in enumerate(self.maps):
            if one.learned is None and _equal(one.outputs, x):
                learned = _row(bias, x.shape[-1], "what it adds")
                outputs = self.random(x.shape, x.dtype)
                self.maps[place] = _Map(one.weight, learned, outputs)
                return [outputs]
        if self.read is None or self.read.b_y is not None or self.activation is not None:
            return None
        way = _arrangement(x, self.read.outputs)
        if way is None:
            return None
        own = _row(bias, x.shape[-1], "the bias of the readout")
        outputs = self.random(self.read.outputs.shape, self.read.outputs.dtype)
        self.read = self.read._replace(b_y=own, outputs=outputs)
        return [way(outputs)]

    def activated(self, kind: str, x: Array, attributes: dict[str, Any]) -> list[Array] | None:
        """Find the function at the end."""
        if self.read is None or self.activation is not None:
            return None
        way = _arrangement(x, self.read.outputs)
        axis = attributes.get("axis", -1 if self.opset >= 13 else 1)
        if way is None or (kind == "Softmax" and axis not in (-1, x.ndim - 1)):
            return None
        outputs = self.random(self.read.outputs.shape, self.read.outputs.dtype)
        self.activation = (kind, outputs)
        return [way(outputs)]

    # ------------------------------------------------------------ the whole

    def parts(self, logits: bool) -> Parts:
        """Put what was found together."""
        layers = self.chain()
        top = layers[-1]
        cells = {unit.cell for group in layers for unit in group.units}
        if len(cells) > 1:
            raise UnreadableError(
                f"its layers are {', '.join(sorted(cells))}", "layers of one cell"
            )
        if self.read is not None and self.read.group != top.key:
            raise UnreadableError(
                f"the readout reads {self.read.group}, not the top layer {top.key}", "the top layer"
            )
        if self.activation is not None and not logits:
            raise ArgumentError(
                "logits",
                f"is False, but the network ends in {self.activation[0]}",
                "True for a model whose outputs are those before it: fastbptt.probabilities makes "
                "probabilities of them",
            )
        if logits and self.activation is None:
            came = "is True, but the network does not end in Sigmoid or Softmax"
            raise ArgumentError("logits", came, "False")
        steps = self.outputs(layers)
        options = self.options()
        initial, static = self.before(layers, options.pop("learn_initial_state", False))
        embedding = self.embedding
        if embedding is not None and layers[0].units[0].source != "the embedding":
            raise UnreadableError("no layer reads the embedding", "the first one")
        return Parts(
            cells.pop(),
            [[unit.weights for unit in group.units] for group in layers],
            None if self.read is None else self.read.W_hy,
            None if self.read is None else self.read.b_y,
            embedding,
            initial=initial,
            static=static,
            steps=steps,
            training={name: options.pop(name) for name in TRAINING if name in options},
            **options,
        )

    def chain(self) -> list[_Group]:
        """Order the layers from the input up."""
        groups = self.groups()
        below = {group.key: group for group in groups}
        first = [group for group in groups if group.units[0].source not in below]
        chain = first[:1]
        while chain:
            above = [one for one in groups if one.units[0].source == chain[-1].key]
            if len(above) != 1:
                break
            chain.append(above[0])
        if len(chain) != len(groups):
            raise UnreadableError("its recurrent layers are no single stack", "one upon the other")
        for group in chain:
            if group.units[0].reverse:
                raise UnreadableError(
                    f"{group.key} reads from the end only", "forward, or both directions"
                )
        return chain

    def outputs(self, layers: list[_Group]) -> str:
        """Check the graph's outputs; return what the readout sees."""
        top, steps = layers[-1], ""
        if self.read is not None:
            steps = self.read.steps
            canonical = self.read.outputs if self.activation is None else self.activation[1]
        unread = self.read is not None
        for one in self.graph["output"]:
            name = one["name"]
            if name not in self.values:
                raise UnreadableError(f"the output {shortened(name)} is made nowhere", "a tensor")
            value = self.values[name]
            if self.read is not None and self.is_readout(value, canonical):
                unread = False
                continue
            found = self.states_in(value, layers)
            if not found:
                raise UnreadableError(
                    f"the output {shortened(name)} is neither the readout nor states",
                    "a network that ends in its readout",
                )
            if self.read is None and found != "state":
                steps = steps or found
        if unread or (self.read is None and not steps):
            came = "no output is the readout's" if unread else f"no output has states of {top.key}"
            raise UnreadableError(came, "a network that ends in its readout, or its states")
        return steps

    def is_readout(self, value: Array, canonical: Array) -> bool:
        if _arrangement(value, canonical) is not None:
            return True
        if self.lengths is None or canonical.ndim != 3:
            return False
        ends = np.minimum(self.lengths, canonical.shape[1])
        valid = np.arange(canonical.shape[1]) < ends[:, np.newaxis]
        return _arrangement(value, np.where(valid[:, :, np.newaxis], canonical, 0)) is not None

    def states_in(self, value: Array, layers: list[_Group]) -> str:
        """Tell what states an output holds: of the top layer, "state" for final states, or ""."""
        for steps, canonical in self.seen(layers[-1]):
            if _arrangement(value, canonical) is not None:
                return steps
            if steps in ("mean", "max") and _close(value, canonical):
                return steps
        finals = [one for group in layers for unit in group.units for one in unit.finals]
        for rows in (value, value.swapaxes(0, 1) if value.ndim > 1 else value):
            if rows.ndim == 3 and all(any(_equal(row, one) for one in finals) for row in rows):
                return "state"
        if any(_equal(value, one) for one in finals):
            return "state"
        return ""

    def before(
        self, layers: list[_Group], learned_too: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Find what the initial state is: zeros or an input, learned, or made of static inputs."""
        units = [unit for group in layers for unit in group.units]
        initial: dict[str, Array] = {}
        static: dict[str, Array] = {}
        for place, state in enumerate(cell_info(units[0].cell)["states"]):
            rows: list[Array | None] = []
            for number, unit in enumerate(units):
                value = unit.initial[place]
                hidden = value.shape[1]
                made = [
                    one for one in self.maps
                    if _equal(one.outputs[:, number * hidden : (number + 1) * hidden], value)
                ]  # fmt: skip
                if made:
                    whole = (len(made[0].weight), len(units) * hidden)
                    if made[0].weight.shape != whole:
                        came = f"the map of static inputs has shape {made[0].weight.shape}"
                        raise UnreadableError(came, str(whole))
                    static[f"W_s{state}"] = made[0].weight
                    learned = made[0].learned
                    part = slice(number * hidden, (number + 1) * hidden)
                    rows.append(None if learned is None else learned[part])
                elif not value.any() or self.is_given(value):
                    rows.append(None)
                elif (value == value[0]).all():
                    rows.append(value[0])
                else:
                    raise UnreadableError(
                        f"the initial state of {unit.node} is computed",
                        "zeros, an input, the same for all sequences, or made of static inputs",
                    )
            if any(row is not None for row in rows):
                zeros = np.zeros(units[0].initial[place].shape[1], units[0].weights.W_hh.dtype)
                initial[f"{state}0"] = np.stack([zeros if row is None else row for row in rows])
        names = cell_info(units[0].cell)["states"]
        shape = (len(units), len(units[0].weights.W_hh))
        if initial or learned_too:
            for state in names:
                initial.setdefault(f"{state}0", np.zeros(shape, units[0].weights.W_hh.dtype))
        if static:
            first = next(iter(static.values()))
            for state in names:
                static.setdefault(f"W_s{state}", np.zeros_like(first))
        return initial, static

    def is_given(self, value: Array) -> bool:
        """Whether an initial state is (a part of) an input."""
        for one in self.inputs.values():
            if (
                one.dtype.kind == "f"
                and one.size >= value.size
                and one.shape[-1:] == value.shape[-1:]
            ):
                if one.ndim == 2 and _equal(one, value):
                    return True
                if one.ndim == 3 and any(
                    _equal(row, value) for way in (one, one.swapaxes(0, 1)) for row in way
                ):
                    return True
        return False

    def options(self) -> dict[str, Any]:
        """Read what `to_onnx` notes besides the graph."""
        texts = [one["value"] for one in self.model["metadata"] if one["key"] == OPTIONS_KEY]
        if not texts or self.model["producer_name"] != "fastbptt":
            return {}
        try:
            given = json.loads(texts[0] or "")
        except (ValueError, RecursionError):
            given = None
        checks = {
            "dropout": lambda value: type(value) is float and 0.0 <= value < 1.0,
            **dict.fromkeys(
                TRAINING, lambda value: type(value) is float and 0.0 <= value < math.inf
            ),
            "padding_index": lambda value: type(value) is int and self.is_token(value),
            "learn_initial_state": lambda value: value is True,
        }
        if not isinstance(given, dict) or any(
            name not in checks or not checks[name](value) for name, value in given.items()
        ):
            came = f"its entry {OPTIONS_KEY} is {shortened(texts[0])}"
            raise UnreadableError(came, f"JSON with {' and '.join(checks)}")
        return given

    def is_token(self, value: int) -> bool:
        return self.embedding is not None and 0 <= value < len(self.embedding)


class NodeError(UnreadableError):
    """The same fault, with where it is."""

    def __init__(self, where: str, error: Exception) -> None:
        Exception.__init__(self, f"{where}: {error}")


def _row(values: Array, width: int, what: str) -> Array:
    """Return a bias of this width, from an array that adds the same to every row."""
    if values.size not in (1, width) or values.shape[-1:] not in ((1,), (width,), ()):
        raise UnreadableError(f"{what} has shape {values.shape}", str((width,)))
    return np.broadcast_to(values.reshape(-1), width).copy()


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))


def _layout_of(operator: str, attributes: dict[str, Any]) -> tuple[CellLayout, list[bool]]:
    """Find an operator's cell and its directions: whether each reads from the end."""
    known = ("hidden_size", "direction", "activations", "linear_before_reset", "input_forget",
             "layout", "output_sequence", "activation_alpha", "activation_beta")  # fmt: skip
    for name, value in attributes.items():
        if name not in known or (name == "input_forget" and value):
            came = f"its attribute {shortened(name)} is {shortened(value)}"
            raise UnreadableError(came, f"only {', '.join(known[:4])}")
    direction = attributes.get("direction", "forward")
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    if direction not in directions:
        came = f"its direction is {shortened(direction)}"
        raise UnreadableError(came, "forward, reverse or bidirectional")
    defaults = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
    number = len(directions[direction])
    functions = attributes.get("activations") or defaults[operator] * number
    if attributes.get("activation_alpha") or attributes.get("activation_beta"):
        raise UnreadableError("its activations have alpha or beta", "none of these")
    for layout in LAYOUTS.values():
        if layout.library != "onnx":
            continue
        name, own = operator_of(layout.cell, number)
        wanted = own.get("activations") or defaults[name] * number
        same = [one.lower() for one in functions] == [one.lower() for one in wanted]
        reset = own.get("linear_before_reset", 0) == attributes.get("linear_before_reset", 0)
        if name == operator and same and (operator != "GRU" or reset):
            return layout, directions[direction]
    raise UnreadableError(
        f"its activations are {shortened(functions)}",
        "Tanh or Relu of an RNN" if operator == "RNN" else ", ".join(defaults[operator]),
    )


def _cell_of(
    x: Array, weights: dict[str, Array], outputs: list[Array]
) -> tuple[CellLayout, tuple[str, ...], list[Array]] | None:
    """Find the cell and the order of weights with which a loop's outputs are a layer's.

    Returns the layout, the weights' names, and the states at all steps (T, B, H), then the final
    ones (B, H).
    """
    for layout in LAYOUTS.values():
        if layout.library != "keras":
            continue
        for count in (3, 2):
            for chosen in itertools.permutations(weights, count) if len(weights) < 8 else ():
                arrays = [weights[name] for name in chosen]
                if [one.ndim for one in arrays[:2]] != [2, 2] or len(arrays[0]) != x.shape[2]:
                    continue
                try:
                    own = from_library(layout, arrays)
                except BadArgumentError:
                    continue
                params = {name: one for name, one in own._asdict().items() if one is not None}
                result = reference.forward(params, x, cell=layout.cell)
                final = result.final_state
                states = final if isinstance(final, tuple) else (final,)
                steps = result.outputs.swapaxes(0, 1)
                found = [steps, *(one[0] for one in states)]
                if any(_close(one, steps) or _close(one, found[1]) for one in outputs):
                    return layout, chosen, found
    return None
