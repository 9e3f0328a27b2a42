"""The part of protobuf that ONNX files of recurrent networks need: to bytes, and back with care.

Message and field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, the
encoding that of https://protobuf.dev/programming-guides/encoding. Reading runs nothing, allocates
a small multiple of the file's size, and refuses what is cut short or nested too deep.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..files.safetensors import UnreadableError, shortened

Array = NDArray[Any]

FLOAT: Final = 1
INT32: Final = 6
INT64: Final = 7
BOOL: Final = 9
DOUBLE: Final = 11

#: Element types by their number in files.
DTYPES: Final[dict[int, np.dtype[Any]]] = {
    FLOAT: np.dtype("<f4"),
    INT32: np.dtype("<i4"),
    INT64: np.dtype("<i8"),
    BOOL: np.dtype("?"),
    DOUBLE: np.dtype("<f8"),
}
#: Element types of weights that are not read, for messages.
_OTHER_TYPES: Final = {2: "uint8", 3: "int8", 8: "string", 10: "float16", 16: "bfloat16"}

MOST_BYTES: Final = 1 << 31  # protobuf's own limit
_MOST_PIECES: Final = 100_000  # messages, names and numbers that stand alone
_MOST_DEPTH: Final = 12
MOST_DIMENSIONS: Final = 8


# ---------------------------------------------------------------- writing


def varint(value: int) -> bytes:
    """Encode an integer; negative ones take ten bytes, as int64 does."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def message(fields: Iterable[tuple[int, Any]]) -> bytes:
    """Encode a message of numbered fields: int, float, str, bytes, or a list of these."""
    parts = []
    for number, value in fields:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                parts += [varint(number << 3), varint(one)]
            elif isinstance(one, float):
                parts += [varint(number << 3 | 5), struct.pack("<f", one)]
            else:
                data = one.encode() if isinstance(one, str) else one
                parts += [varint(number << 3 | 2), varint(len(data)), data]
    return b"".join(parts)


def tensor(name: str, array: Array) -> bytes:
    """Encode a TensorProto."""
    kind = next(number for number, dtype in DTYPES.items() if dtype == array.dtype)
    data = np.ascontiguousarray(array, DTYPES[kind]).tobytes()
    return message([(1, list(array.shape)), (2, kind), (8, name), (9, data)])


def attribute(name: str, value: Any) -> bytes:
    """Encode an AttributeProto: an int, a text, a list of ints or of texts."""
    if isinstance(value, int):
        return message([(1, name), (3, value), (20, 2)])
    if isinstance(value, str):
        return message([(1, name), (4, value), (20, 3)])
    if all(isinstance(one, int) for one in value):
        return message([(1, name), (8, list(value)), (20, 7)])
    return message([(1, name), (9, list(value)), (20, 8)])


def node(
    kind: str, inputs: list[str], outputs: list[str], name: str, attributes: Mapping[str, Any]
) -> bytes:
    """Encode a NodeProto."""
    encoded = [attribute(key, value) for key, value in attributes.items()]
    return message([(1, inputs), (2, outputs), (3, name), (4, kind), (5, encoded)])


def value_info(name: str, kind: int, shape: Iterable[int | str]) -> bytes:
    """Encode a ValueInfoProto; a dimension with a name is free."""
    dims = [message([(2 if isinstance(one, str) else 1, one)]) for one in shape]
    return message(
        [(1, name), (2, message([(1, message([(1, kind), (2, message([(1, dims)]))]))]))]
    )


# ---------------------------------------------------------------- reading


class _Field(NamedTuple):
    """A field: its name, what it holds, and whether there may be several."""

    name: str
    kind: str  # int, float, double, text, bytes, numbers, or the name of a message
    repeated: bool = False


_SCHEMA: Final[dict[str, dict[int, _Field]]] = {
    "model": {
        1: _Field("ir_version", "int"),
        2: _Field("producer_name", "text"),
        7: _Field("graph", "graph"),
        8: _Field("opset_import", "opset", repeated=True),
        14: _Field("metadata", "entry", repeated=True),
        25: _Field("functions", "skipped", repeated=True),
    },
    "opset": {1: _Field("domain", "text"), 2: _Field("version", "int")},
    "entry": {1: _Field("key", "text"), 2: _Field("value", "text")},
    "skipped": {},
    "graph": {
        1: _Field("node", "node", repeated=True),
        5: _Field("initializer", "tensor", repeated=True),
        11: _Field("input", "value", repeated=True),
        12: _Field("output", "value", repeated=True),
        15: _Field("sparse_initializer", "skipped", repeated=True),
    },
    "node": {
        1: _Field("input", "text", repeated=True),
        2: _Field("output", "text", repeated=True),
        3: _Field("name", "text"),
        4: _Field("op_type", "text"),
        5: _Field("attribute", "attribute", repeated=True),
        7: _Field("domain", "text"),
    },
    "attribute": {
        1: _Field("name", "text"),
        2: _Field("f", "float"),
        3: _Field("i", "int"),
        4: _Field("s", "bytes"),
        5: _Field("t", "tensor"),
        6: _Field("g", "graph"),
        7: _Field("floats", "float numbers"),
        8: _Field("ints", "int numbers"),
        9: _Field("strings", "bytes", repeated=True),
        20: _Field("type", "int"),
        21: _Field("ref_attr_name", "text"),
    },
    "tensor": {
        1: _Field("dims", "int numbers"),
        2: _Field("data_type", "int"),
        4: _Field("float_data", "float numbers"),
        5: _Field("int32_data", "int numbers"),
        7: _Field("int64_data", "int numbers"),
        8: _Field("name", "text"),
        9: _Field("raw_data", "bytes"),
        10: _Field("double_data", "double numbers"),
        13: _Field("external_data", "skipped", repeated=True),
        14: _Field("data_location", "int"),
    },
    "value": {1: _Field("name", "text"), 2: _Field("type", "type")},
    "type": {1: _Field("tensor_type", "tensor type")},
    "tensor type": {1: _Field("elem_type", "int"), 2: _Field("shape", "shape")},
    "shape": {1: _Field("dim", "dimension", repeated=True)},
    "dimension": {1: _Field("dim_value", "int"), 2: _Field("dim_param", "text")},
}

_WIRES: Final = {"int": 0, "double": 1, "float": 5}
_FIXED: Final[dict[str, np.dtype[Any]]] = {"double": np.dtype("<f8"), "float": np.dtype("<f4")}


@dataclass
class Message:
    """A message: its fields by name; absent ones are None, or an empty list."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        one = next(one for one in _SCHEMA[self.kind].values() if one.name == name)
        return [] if one.repeated or one.kind.endswith("numbers") else None


class _Reader:
    """Reads messages from one file, and counts what it has made."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.pieces = 0

    def count(self, pieces: int = 1) -> None:
        self.pieces += pieces
        if self.pieces > _MOST_PIECES:
            raise UnreadableError(
                f"it has more than {_MOST_PIECES} nodes, names and numbers outside of tensors",
                "the file of a recurrent network",
            )

    def varint(self, place: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while place < end and shift < 70:
            byte = self.data[place]
            value |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                return value & ((1 << 64) - 1), place
        raise UnreadableError(f"a number is cut short at byte {place}", "a whole file")

    def message(self, kind: str, place: int, end: int, depth: int = 0) -> Message:
        self.count()
        if depth > _MOST_DEPTH:
            raise UnreadableError(f"messages are nested deeper than {_MOST_DEPTH}", "an ONNX file")
        read, schema = Message(kind), _SCHEMA[kind]
        while place < end:
            key, place = self.varint(place, end)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, after = self.varint(place, end)
            elif wire == 2:
                value, place = self.varint(place, end)
                after = place + value
            elif wire in (1, 5):
                value, after = 0, place + (8 if wire == 1 else 4)
            else:
                raise UnreadableError(f"byte {place} has the wire type {wire}", "an ONNX file")
            if after > end:
                raise UnreadableError(
                    f"a field of {kind} reaches beyond its end at byte {place}", "a whole file"
                )
            known = schema.get(number)
            if known is not None:
                self.field(read, known, wire, value, place, after, depth)
            place = after
        return read

    def field(
        self, read: Message, known: _Field, wire: int, value: int, place: int, end: int, depth: int
    ) -> None:
        self.count()
        first = known.kind.split()[0]
        if known.kind.endswith("numbers"):
            if wire not in (2, _WIRES[first]):
                raise self.mismatch(read, known, place)
            found = self.numbers(first, wire, value, place, end)
            read.values.setdefault(known.name, []).append(found)
            return
        if wire != _WIRES.get(known.kind, 2):
            raise self.mismatch(read, known, place)
        made: Any
        if known.kind == "int":
            made = value - (1 << 64) if value >> 63 else value
        elif known.kind in _FIXED:
            made = float(np.frombuffer(self.data[place:end], _FIXED[known.kind])[0])
        elif known.kind == "bytes":
            made = self.data[place:end]
        elif known.kind == "text":
            try:
                made = bytes(self.data[place:end]).decode()
            except UnicodeDecodeError:
                raise UnreadableError(f"a name at byte {place} is no UTF-8", "text") from None
        else:
            made = self.message(known.kind, place, end, depth + 1)
        if known.repeated:
            read.values.setdefault(known.name, []).append(made)
        else:
            read.values[known.name] = made

    def numbers(self, kind: str, wire: int, value: int, place: int, end: int) -> Array:
        """Read packed numbers, or one that stands alone."""
        if kind in _FIXED:
            data = self.data[place:end]
            if len(data) % _FIXED[kind].itemsize:
                raise UnreadableError(f"numbers are cut short at byte {end}", "a whole file")
            return np.frombuffer(data, _FIXED[kind])
        if wire == 0:
            return np.array([value], np.uint64).view(np.int64)
        raw = np.frombuffer(self.data[place:end], np.uint8)
        if not len(raw):
            return np.zeros(0, np.int64)
        ends = np.flatnonzero(raw < 128)
        starts = np.concatenate([[0], ends[:-1] + 1])
        if not len(ends) or ends[-1] != len(raw) - 1 or (ends - starts).max() > 9:
            raise UnreadableError(f"numbers are cut short at byte {end}", "a whole file")
        found = np.zeros(len(ends), np.uint64)
        for byte in range(10):
            there = starts + byte <= ends
            bits = (raw[(starts + byte)[there]] & 127).astype(np.uint64)
            found[there] |= bits << np.uint64(7 * byte)
        return found.view(np.int64)

    def mismatch(self, read: Message, known: _Field, place: int) -> UnreadableError:
        return UnreadableError(
            f"{known.name} of {read.kind} at byte {place} is of another type", "an ONNX file"
        )


def read_model(data: bytes) -> Message:
    """Read a ModelProto.

    Raises
    ------
    UnreadableError
        If the bytes are none, or cut short.
    """
    if len(data) >= MOST_BYTES:
        raise UnreadableError(f"it has {len(data)} bytes", f"fewer than {MOST_BYTES}")
    return _Reader(memoryview(data)).message("model", 0, len(data))


def joined(numbers: list[Array], dtype: Any) -> Array:
    """Join the pieces of a repeated field of numbers."""
    return np.concatenate(numbers) if numbers else np.zeros(0, dtype)


def array_of(tensor: Message, where: str) -> Array:
    """Return the array of a TensorProto; nothing is allocated for what the file does not hold.

    Raises
    ------
    UnreadableError
        Naming the tensor.
    """
    name = f"{where} {shortened(tensor['name'])}" if tensor["name"] else where
    if tensor["external_data"] or tensor["data_location"]:
        raise UnreadableError(
            f"{name} keeps its data in another file",
            "one file: onnx.save(onnx.load(path), path) puts all into one",
        )
    kind = tensor["data_type"]
    if kind not in DTYPES:
        raise UnreadableError(
            f"{name} has the element type {_OTHER_TYPES.get(kind, kind)}",
            "float32 or float64, or int32, int64 or bool for places and sizes",
        )
    shape = tuple(joined(tensor["dims"], np.int64).tolist())
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise UnreadableError(f"{name} has the shape {shortened(shape)}", "a shape")
    dtype, count = DTYPES[kind], math.prod(shape)
    if tensor["raw_data"] is not None:
        raw = tensor["raw_data"]
        if len(raw) != count * dtype.itemsize:
            raise UnreadableError(
                f"{name} has {len(raw)} bytes for the shape {shortened(shape)}",
                f"{count * dtype.itemsize}",
            )
        values = np.frombuffer(raw, dtype)
    else:
        own = {FLOAT: "float_data", DOUBLE: "double_data", INT64: "int64_data"}
        values = joined(tensor[own.get(kind, "int32_data")], dtype)
        if len(values) != count:
            raise UnreadableError(
                f"{name} has {len(values)} numbers for the shape {shortened(shape)}", f"{count}"
            )
    return values.astype(dtype.newbyteorder("="), copy=False).reshape(shape)
