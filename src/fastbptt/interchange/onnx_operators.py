"""ONNX's operators on NumPy arrays: those with which exporters arrange what a network reads.

Each function takes the inputs (None where one is left out), the attributes and the operator set's
version, and returns the outputs. Nothing larger than a limit is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..files.safetensors import UnreadableError, shortened
from . import onnx_protobuf as protobuf
from .onnx_protobuf import Message

Array = NDArray[Any]
Inputs = list[Any]  # arrays, or None where an input is left out
Attributes = dict[str, Any]

_MOST_ELEMENTS: Final = 1 << 24  # of one tensor
_MOST_RANGE: Final = 1 << 20
_MOST_LISTED: Final = 1024  # numbers in an attribute


def check_size(shape: Sequence[int]) -> None:
    """Refuse a tensor that is too large."""
    if math.prod(shape) > _MOST_ELEMENTS:
        raise UnreadableError(
            f"a tensor has the shape {shortened(tuple(shape))}", f"at most {_MOST_ELEMENTS} numbers"
        )


def attributes_of(node: Message) -> Attributes:
    """Return a node's attributes by name; a graph stays as it is read."""
    found: Attributes = {}
    for one in node["attribute"]:
        name = one["name"]
        if one["ref_attr_name"]:
            raise UnreadableError(f"the attribute {shortened(name)} is a reference", "a value")
        if one["t"] is not None:
            found[name] = protobuf.array_of(one["t"], f"the attribute {shortened(name)}")
        elif one["g"] is not None:
            found[name] = one["g"]
        elif one["s"] is not None:
            found[name] = bytes(one["s"]).decode("utf-8", "replace")
        elif one["strings"]:
            found[name] = [bytes(text).decode("utf-8", "replace") for text in one["strings"]]
        elif one["floats"] or one["ints"]:
            numbers = np.concatenate(one["floats"] or one["ints"])
            if len(numbers) > _MOST_LISTED:
                came = f"the attribute {shortened(name)} has {len(numbers)} numbers"
                raise UnreadableError(came, f"at most {_MOST_LISTED}")
            found[name] = numbers.tolist()
        else:
            number = one["f"] if one["f"] is not None else one["i"]
            # a field with its default value may be left out; the type tells which it was
            empty: Any = {6: [], 7: [], 8: [], 3: ""}.get(one["type"], 0)
            found[name] = empty if number is None else number
    return found


def _axes(inputs: Inputs, attributes: Attributes, place: int = 1) -> list[int] | None:
    """Return axes, which older versions have as an attribute and newer ones as an input."""
    if len(inputs) > place and inputs[place] is not None:
        return [int(axis) for axis in inputs[place].ravel()[:_MOST_LISTED]]
    return attributes.get("axes")


def _elementwise(function: Callable[..., Any]) -> Callable[..., list[Array]]:
    def operator(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
        check_size(np.broadcast_shapes(*(one.shape for one in inputs)))
        return [np.asarray(function(*inputs))]

    return operator


def _divide(a: Array, b: Array) -> Array:
    return a // b if a.dtype.kind in "iu" else a / b


def _sigmoid(x: Array) -> Array:
    return (1 / (1 + np.exp(-x))).astype(x.dtype)


def _softmax(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    (x,) = inputs
    axis = attributes.get("axis", -1 if opset >= 13 else 1)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return [powers / powers.sum(axis=axis, keepdims=True)]


def _matmul(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    a, b = inputs
    outer = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *a.shape[-2:-1], *b.shape[-1:])
    check_size(outer)
    return [a @ b]


def _gemm(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    a = inputs[0].T if attributes.get("transA") else inputs[0]
    b = inputs[1].T if attributes.get("transB") else inputs[1]
    check_size((len(a), b.shape[1]))
    product = attributes.get("alpha", 1.0) * (a @ b)
    if len(inputs) > 2 and inputs[2] is not None:
        product = product + attributes.get("beta", 1.0) * inputs[2]
    return [product.astype(a.dtype)]


def _cast(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    to = attributes.get("to")
    if to not in protobuf.DTYPES:
        raise UnreadableError(f"it casts to the element type {shortened(to)}", "float32, float64, "
                              "int32, int64 or bool")  # fmt: skip
    return [inputs[0].astype(protobuf.DTYPES[to].newbyteorder("="))]


def _constant(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    for name, value in attributes.items():
        if name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            dtype = None if name == "value" else np.float32 if "float" in name else np.int64
            return [np.asarray(value, dtype)]
    raise UnreadableError(f"it has {shortened(list(attributes))}", "a value of numbers")


def _constant_of_shape(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    value = attributes.get("value", np.zeros(1, np.float32))
    shape = tuple(inputs[0].tolist())
    check_size(shape)
    return [np.full(shape, value.ravel()[0], value.dtype)]


def _shape(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    window = slice(attributes.get("start", 0), attributes.get("end"))
    return [np.array(inputs[0].shape[window], np.int64)]


def _gather(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    data, places = inputs
    axis = attributes.get("axis", 0) % data.ndim
    check_size((*data.shape[:axis], *places.shape, *data.shape[axis + 1 :]))
    return [np.take(data, places, axis)]


def _slice(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    data, *given = inputs
    names = ("starts", "ends", "axes", "steps")
    lists: list[Any] = [attributes.get(name) for name in names]
    for place, one in enumerate(given):
        if one is not None:
            lists[place] = one.tolist()
    starts, ends, axes, steps = lists
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    window = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        window[axis] = slice(start, end, step)
    return [data[tuple(window)]]


def _squeeze(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    axes = _axes(inputs, attributes)
    return [np.squeeze(inputs[0], None if axes is None else tuple(axes))]


def _unsqueeze(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    axes = _axes(inputs, attributes)
    if axes is None or inputs[0].ndim + len(axes) > protobuf.MOST_DIMENSIONS:
        raise UnreadableError(f"its axes are {shortened(axes)}", "a few axes")
    return [np.expand_dims(inputs[0], tuple(axes))]


def _reshape(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    data, shape = inputs
    sizes = shape.tolist()
    if not attributes.get("allowzero"):
        sizes = [data.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return [data.reshape(sizes)]


def _transpose(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    return [np.transpose(inputs[0], attributes.get("perm"))]


def _concat(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    check_size([sum(one.size for one in inputs)])
    return [np.concatenate(inputs, axis=attributes["axis"])]


def _expand(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))
    check_size(shape)
    return [np.broadcast_to(inputs[0], shape).copy()]


def _split(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    data, axis, outputs = inputs[0], attributes.get("axis", 0), attributes["num_outputs"]
    sizes = attributes.get("split")
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = inputs[1].tolist()
    if sizes is None:
        chunk = -(-data.shape[axis] // outputs)
        places = [chunk * (place + 1) for place in range(outputs - 1)]
    else:
        places = np.cumsum(sizes)[:-1].tolist()
    return np.split(data, places, axis)


def _reduce(function: Callable[..., Any]) -> Callable[..., list[Array]]:
    def operator(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
        axes = _axes(inputs, attributes)
        if not axes and attributes.get("noop_with_empty_axes"):
            return [inputs[0]]
        keep = bool(attributes.get("keepdims", 1))
        return [np.asarray(function(inputs[0], axis=tuple(axes) if axes else None, keepdims=keep))]

    return operator


def _range(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    start, limit, step = (one.item() for one in inputs)
    if not step or abs((limit - start) / step) > _MOST_RANGE:
        raise UnreadableError(f"it has {start}, {limit}, {step}", f"at most {_MOST_RANGE} numbers")
    return [np.arange(start, limit, step, dtype=inputs[0].dtype)]


def _reverse_sequence(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    data, lengths = inputs
    time, batch = attributes.get("time_axis", 0), attributes.get("batch_axis", 1)
    moved = np.moveaxis(data, (batch, time), (0, 1)).copy()
    for row, length in zip(moved, lengths.tolist(), strict=True):
        row[:length] = row[:length][::-1].copy()
    return [np.moveaxis(moved, (0, 1), (batch, time))]


def _dropout(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    if len(inputs) > 2 and inputs[2] is not None and inputs[2].any():
        raise UnreadableError("it drops values: training_mode is true", "a network for inference")
    return [inputs[0], np.ones(inputs[0].shape, np.bool_)]


OPERATORS: Final[dict[str, Callable[..., list[Array]]]] = {
    "Add": _elementwise(np.add),
    "And": _elementwise(np.logical_and),
    "Cast": _cast,
    "CastLike": lambda inputs, attributes, opset: [inputs[0].astype(inputs[1].dtype)],
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_divide),
    "Dropout": _dropout,
    "Equal": _elementwise(np.equal),
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "Greater": _elementwise(np.greater),
    "Identity": lambda inputs, attributes, opset: [inputs[0]],
    "Less": _elementwise(np.less),
    "MatMul": _matmul,
    "Max": _elementwise(lambda *arrays: np.max(np.broadcast_arrays(*arrays), axis=0)),
    "Min": _elementwise(lambda *arrays: np.min(np.broadcast_arrays(*arrays), axis=0)),
    "Mul": _elementwise(np.multiply),
    "Not": _elementwise(np.logical_not),
    "Or": _elementwise(np.logical_or),
    "Range": _range,
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Relu": _elementwise(lambda x: np.maximum(x, 0)),
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "Shape": _shape,
    "Sigmoid": _elementwise(_sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Tanh": _elementwise(np.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise(np.where),
}


def apply(
    kind: str, inputs: Inputs, attributes: Attributes, opset: int, outputs: int
) -> list[Array]:
    """Apply an operator.

    Raises
    ------
    UnreadableError
        If there is no such operator here, or its inputs do not fit.
    """
    if kind not in OPERATORS:
        raise UnreadableError(
            "it is no part of a recurrent network with a linear readout",
            f"RNN, GRU, LSTM, Loop or one of {', '.join(OPERATORS)}",
        )
    try:
        with np.errstate(all="ignore"):
            return OPERATORS[kind](inputs, attributes | {"num_outputs": outputs}, opset)
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError,
            ZeroDivisionError) as error:  # fmt: skip
        raise UnreadableError(
            f"its inputs do not fit together ({shortened(str(error))})", "what the operator takes"
        ) from None
