"""ONNX files of exporters: what is read, what is refused by name, and hostile files."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbptt
from fastbptt.interchange import from_onnx, onnx_operators, to_onnx
from fastbptt.interchange import onnx_protobuf as protobuf

VECTORS = Path(__file__).parents[1] / "support" / "vectors"
Array = Any


@cache
def stored(which: str) -> dict[str, Array]:
    with np.load(VECTORS / f"onnx_{which}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


EXPORTED = [
    (which, name.removesuffix("/onnx"))
    for which in ("torch", "keras")
    for name in np.load(VECTORS / f"onnx_{which}.npz").files
    if name.endswith("/onnx")
]


def seen(model: fastbptt.Recurrent, x: Array, steps: str, **given: Any) -> Array:
    """Compute what the network computes that the model was read from."""
    result = model.forward(x, **given)
    if steps in ("last", "all"):
        return result.last if steps == "last" else result.outputs
    hidden = result.hidden.mean(axis=1) if steps == "mean" else result.hidden.max(axis=1)
    if model.output_size is None:
        return hidden
    return hidden @ model.parameters["W_hy"] + (model.parameters["b_y"] if model.output_bias else 0)


def close(got: Array, want: Array, tolerance: float = 1e-6) -> bool:
    return got.shape == want.shape and np.abs(got - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize(("which", "name"), EXPORTED)
def test_an_exported_network_is_read_and_gives_its_outputs(which: str, name: str) -> None:
    case = {key: stored(which)[f"{name}/{key}"] for key in ("onnx", "x", "outputs", "options")}
    options = json.loads(case["options"].tobytes())
    model = from_onnx(case["onnx"].tobytes(), logits=options["logits"])
    found = {
        "cell": model.cell,
        "num_layers": model.num_layers,
        "bidirectional": model.bidirectional,
        "output_size": model.output_size,
        "embedding": model.vocabulary_size,
        "steps": model._trained_steps,
        "logits": options["logits"],
    }
    assert found == options
    got = seen(model, case["x"], options["steps"])
    if options["logits"]:
        got = 1 / (1 + np.exp(-got))
        with pytest.raises(fastbptt.ArgumentError, match=r"logits is False, but .* Sigmoid"):
            from_onnx(case["onnx"].tobytes())
    else:
        with pytest.raises(fastbptt.ArgumentError, match="logits is True, but"):
            from_onnx(case["onnx"].tobytes(), logits=True)
    assert close(got, case["outputs"])


# ---------------------------------------------------------------- refused by name


class Graph:
    """A small graph, written by hand."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self.inputs = [protobuf.value_info("x", protobuf.FLOAT, ["batch", "time", 3])]
        self.outputs = [protobuf.value_info("y", protobuf.FLOAT, ["batch", 2])]
        self.domain = ""

    def tensor(self, name: str, values: Array) -> str:
        self.tensors.append(protobuf.tensor(name, np.asarray(values)))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(protobuf.node(kind, inputs, [output], kind.lower(), attributes))
        return output

    def layer(self, kind: str = "RNN", gates: int = 1, x: str = "x", **options: Any) -> Graph:
        rng = np.random.default_rng(0)
        shapes = {"W": (1, gates * 4, 3), "R": (1, gates * 4, 4), "B": (1, gates * 8)}
        names = [
            self.tensor(name, rng.normal(size=shape).astype(np.float32))
            for name, shape in (shapes | options.pop("shapes", {})).items()
        ]
        self.node("Transpose", [x], "major", perm=[1, 0, 2])
        outputs = ["steps", "final"]
        inputs = ["major", *names, *options.pop("more", [])]
        self.nodes.append(protobuf.node(kind, inputs, outputs, "layer", options))
        self.node("Squeeze", ["final", self.tensor("zero", np.zeros(1, np.int64))], "seen")
        return self

    def readout(self, x: str = "seen", output: str = "y") -> Graph:
        self.node("MatMul", [x, self.tensor("V", np.ones((4, 2), np.float32))], output)
        return self

    def file(self) -> bytes:
        graph = [(1, self.nodes), (5, self.tensors), (11, self.inputs), (12, self.outputs)]
        versions = [protobuf.message([(1, self.domain), (2, self.opset)])]
        return protobuf.message([(1, 8), (7, protobuf.message(graph)), (8, versions)])


def graphs() -> dict[str, tuple[Callable[[], Graph], str]]:
    """Graphs that are no network of ours, and the words of their refusal."""

    def relu_between() -> Graph:
        graph = Graph().layer()
        graph.node("Relu", ["seen"], "bent")
        return graph.readout("bent")

    def second_dense() -> Graph:
        graph = Graph().layer().readout(output="first")
        graph.node("MatMul", ["first", graph.tensor("U", np.ones((2, 2), np.float32))], "y")
        return graph

    def scaled() -> Graph:
        graph = Graph()
        graph.node("Mul", ["x", graph.tensor("two", np.float32(2.0))], "doubled")
        return graph.layer(x="doubled").readout()

    def unknown() -> Graph:
        graph = Graph().layer()
        graph.node("LayerNormalization", ["seen"], "normal")
        return graph.readout("normal")

    def outputs_of_nothing() -> Graph:
        graph = Graph().layer().readout()
        graph.outputs = [protobuf.value_info("nowhere", protobuf.FLOAT, ["batch", 2])]
        return graph

    def huge() -> Graph:
        graph = Graph().layer().readout()
        shape = graph.tensor("shape", np.array([1 << 20, 1 << 20, 1, 1, 1], np.int64))
        graph.node("Expand", ["x", shape], "large")
        return graph

    def large_input() -> Graph:
        graph = Graph().layer().readout()
        graph.inputs = [protobuf.value_info("x", protobuf.FLOAT, [1 << 40, 1 << 40, 3])]
        return graph

    def gathered() -> Graph:
        graph = Graph()
        graph.inputs = [protobuf.value_info("x", protobuf.INT64, ["batch", "time"])]
        table = graph.tensor("E", np.ones((5, 3), np.float32))
        graph.node("Add", ["x", graph.tensor("one", np.ones((), np.int64))], "shifted")
        graph.node("Gather", [table, "shifted"], "rows")
        return graph.layer(x="rows").readout()

    def with_opset(number: int) -> Graph:
        graph = Graph(number).layer()
        return graph.readout()

    def twice() -> Graph:
        graph = Graph().layer().readout()
        graph.node("Identity", ["x"], "seen")
        return graph

    lstm = {"W": (1, 16, 3), "R": (1, 16, 4), "B": (1, 32)}
    return {
        "relu between": (relu_between, r"node 'matmul' \('MatMul'\): it multiplies"),
        "second dense": (second_dense, "it is a second dense layer"),
        "scaled input": (scaled, r"node 'layer' \('RNN'\): it reads neither"),
        "unknown": (unknown, r"\('LayerNormalization'\): it is no part of a recurrent network"),
        "nowhere": (outputs_of_nothing, "the output 'nowhere' is made nowhere"),
        "huge tensor": (huge, r"node 'expand' .*a tensor has the shape \(1048576"),
        "huge input": (large_input, "a tensor has the shape"),
        "other tokens": (gathered, "it takes rows of a matrix by numbers that are no input"),
        "old": (lambda: with_opset(6), r"its operator set is \[6\]"),
        "new": (lambda: with_opset(99), r"its operator set is \[99\]"),
        "twice": (twice, "makes 'seen' again"),
        "activation": (
            lambda: Graph().layer(activations=["Elu"]).readout(),
            r"\('RNN'\): its activations are \['Elu'\]",
        ),
        "clip": (lambda: Graph().layer(clip=3).readout(), "its attribute 'clip' is 3"),
        "backwards": (lambda: Graph().layer(direction="reverse").readout(), "reads from the end"),
        "direction": (lambda: Graph().layer(direction="up").readout(), "its direction is 'up'"),
        "coupled": (
            lambda: Graph().layer("LSTM", 4, input_forget=1).readout(),
            "its attribute 'input_forget' is 1",
        ),
        "peepholes": (
            lambda: Graph().layer("LSTM", shapes=lstm, more=["", "", "", "W"]).readout(),
            "it has peepholes",
        ),
        "gates": (lambda: Graph().layer("LSTM").readout(), r"\('LSTM'\): W has shape \(4, 3\)"),
        "rows": (
            lambda: Graph().layer(shapes={"W": (1, 4, 7)}).readout(),
            "its W reads 7 features; expected 3",
        ),
        "biases": (lambda: Graph().layer(shapes={"B": (1, 5)}).readout(), r"B has shape \(5,\)"),
        "directions": (
            lambda: Graph().layer(shapes={"W": (2, 4, 3)}).readout(),
            r"its W has shape \(2, 4, 3\)",
        ),
        "units": (lambda: Graph().layer(hidden_size=5).readout(), "its hidden_size is 5"),
        "lengths": (lambda: Graph().layer(more=["B"]).readout(), "its sequence_lens is no input"),
        "unrolled": (lambda: Graph(), "it has no recurrent operator"),
    }


@pytest.mark.parametrize("name", graphs())
def test_another_network_is_refused_by_name(name: str) -> None:
    make, words = graphs()[name]
    with pytest.raises(ValueError, match="cannot read the bytes given: ") as caught:
        from_onnx(make().file())
    assert caught.match(words), str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_graph_of_the_refusals_is_read_without_their_faults() -> None:
    assert from_onnx(Graph().layer().readout().file()).hidden_size == 4


def test_layout_1_is_the_same_network_with_the_batch_first() -> None:
    rng, graph = np.random.default_rng(0), Graph()
    shapes = {"W": (2, 4, 3), "R": (2, 4, 4), "B": (2, 8)}
    arrays = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    names = [graph.tensor(name, array) for name, array in arrays.items()]
    h0 = graph.tensor("h0", np.zeros((3, 2, 4), np.float32))
    attributes = {"layout": 1, "direction": "bidirectional"}
    inputs = ["x", *names, "", h0]
    graph.nodes.append(protobuf.node("RNN", inputs, ["steps", "final"], "layer", attributes))
    graph.node("Reshape", ["final", graph.tensor("shape", np.array([0, 8]))], "y")
    model = from_onnx(graph.file())
    assert model.bidirectional and model._trained_steps == "last"
    assert (model.parameters["W_xh_reverse"] == arrays["W"][1].T).all()


@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_tokens_that_are_given_as_floats(tokens: int) -> None:
    graph = Graph()
    graph.inputs = [protobuf.value_info("x", protobuf.FLOAT, ["batch", "time"])]
    graph.node("Cast", ["x"], "whole", to=protobuf.INT64)
    table = np.random.default_rng(1).normal(size=(tokens, 3)).astype(np.float32)
    graph.node("Gather", [graph.tensor("E", table), "whole"], "vectors")
    model = from_onnx(graph.layer(x="vectors").readout().file())
    assert model.vocabulary_size == tokens
    np.testing.assert_array_equal(model.parameters["E"], table)


def test_whole_numbers_side_by_side_and_one_by_one() -> None:
    values = [1, 300, 2, 1 << 40, -1, 0, 3]
    for encoded in (values, b"".join(map(protobuf.varint, values))):
        node = field(5, protobuf.message([(1, "perm"), (8, encoded)]))
        read = protobuf.read_model(field(7, field(1, node)))
        ints = read["graph"]["node"][0]["attribute"][0]["ints"]
        assert protobuf.joined(ints, np.dtype(np.int64)).tolist() == values


def test_both_directions_at_the_last_step_are_refused() -> None:
    rng, graph = np.random.default_rng(0), Graph()
    shapes = {"W": (2, 4, 3), "R": (2, 4, 4)}
    names = [graph.tensor(n, rng.normal(size=one).astype("f4")) for n, one in shapes.items()]
    graph.node("Transpose", ["x"], "major", perm=[1, 0, 2])
    graph.node("RNN", ["major", *names], "steps", direction="bidirectional")
    graph.node("Transpose", ["steps"], "batched", perm=[2, 0, 1, 3])
    graph.node("Reshape", ["batched", graph.tensor("shape", np.array([0, 0, 8]))], "hidden")
    graph.node("Gather", ["hidden", graph.tensor("end", np.array(-1))], "seen", axis=1)
    graph.node("MatMul", ["seen", graph.tensor("V", np.ones((8, 2), np.float32))], "y")
    with pytest.raises(ValueError, match="it reads both directions at the last step, where the"):
        from_onnx(graph.file())


# ---------------------------------------------------------------- hostile files


SMALL = to_onnx(fastbptt.GRU(2, 2, 1, embedding=3, padding_index=0, seed=0))


def refused_or_read(content: bytes) -> None:
    """A broken file is an error of one kind, or a network."""
    message = ""
    try:
        from_onnx(content)
    except ValueError as error:
        message = str(error)
    assert not message or message.startswith(("cannot read", "logits"))
    assert len(message) < 2000


def test_every_truncation_is_refused() -> None:
    for length in range(0, len(SMALL) - 1, 7):
        with pytest.raises(ValueError, match="cannot read the bytes given: "):
            from_onnx(SMALL[:length])


@pytest.mark.slow
def test_every_truncation_of_every_kind_of_file() -> None:
    contents = [stored(which)[f"{name}/onnx"].tobytes() for which, name in EXPORTED[::4]]
    for content in [SMALL, *contents]:
        for length in range(0, len(content) - 1, 1 + len(content) // 500):
            refused_or_read(content[:length])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_flipped_bits(data: st.DataObject) -> None:
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    refused_or_read(bytes(content))


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.data())
def test_flipped_bits_of_exported_files(data: st.DataObject) -> None:
    which, name = data.draw(st.sampled_from(EXPORTED))
    content = bytearray(stored(which)[f"{name}/onnx"].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(content))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    with pytest.raises(ValueError, match="cannot read the bytes given: "):
        from_onnx(content)


def field(number: int, content: bytes) -> bytes:
    return protobuf.message([(number, content)])


def nested() -> bytes:
    content = b""
    for _ in range(100):  # a node's attribute that is a graph with a node
        content = field(1, field(5, field(6, content)))
    return content


def graph_of(nodes: list[tuple[str, list[str], str]], tensors: dict[str, Any]) -> bytes:
    """Nodes with these tensors, and a recurrent one."""
    encoded = [
        protobuf.node(kind, inputs, [output], "", {"axis": 0} if kind == "Concat" else {})
        for kind, inputs, output in [*nodes, ("RNN", ["x"], "y")]
    ]
    arrays = [protobuf.tensor(name, np.asarray(value)) for name, value in tensors.items()]
    return protobuf.message([(1, encoded), (5, arrays)])


#: Small graphs that ask for much memory.
BOMBS: dict[str, Callable[[], bytes]] = {
    "nested": nested,
    "claims": lambda: (
        field(5, protobuf.message([(1, [1 << 30, 1 << 30]), (2, protobuf.FLOAT), (8, "W")]))
        + graph_of([], {})
    ),
    "constant": lambda: graph_of(
        [("ConstantOfShape", ["shape"], "large")], {"shape": np.array([1 << 35, 1 << 20])}
    ),
    "range": lambda: graph_of(
        [("Range", ["start", "limit", "step"], "places")],
        {"start": np.array(0), "limit": np.array(1 << 60), "step": np.array(1)},
    ),
    "doubling": lambda: graph_of(
        [("Concat", [f"d{k}", f"d{k}"], f"d{k + 1}") for k in range(40)],
        {"d0": np.zeros((1, 64), np.float32)},
    ),
    "empty nodes": lambda: b"\x0a\x00" * 60_000,
    "numbers": lambda: field(5, b"\x08\x01" * 110_000),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("empty nodes", "numbers") else [])
        for name in BOMBS
    ],
)
def test_no_memory_for_what_a_file_only_claims(name: str) -> None:
    version = (8, [protobuf.message([(1, ""), (2, 17)])])
    content = protobuf.message([(7, BOMBS[name]()), version])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cannot read the bytes given: "):
            from_onnx(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6


def test_data_in_another_file_are_refused() -> None:
    weight = protobuf.message(
        [(1, [1, 4, 3]), (2, protobuf.FLOAT), (8, "W"), (13, [protobuf.message([(1, "location"),
                                                                             (2, "/etc/passwd")])]),
         (14, 1)]
    )  # fmt: skip
    graph = Graph()
    graph.tensors.append(weight)
    graph.node("RNN", ["x", "W", "W"], "y")
    with pytest.raises(ValueError, match="'W' keeps its data in another file"):
        from_onnx(graph.file())


# ---------------------------------------------------------------- arguments


def test_what_is_read(tmp_path: Path) -> None:
    model = fastbptt.RNN(2, 3, 1, seed=0)
    path = tmp_path / "model.onnx"
    to_onnx(model, path)
    with open(path, "rb") as file:
        sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), file]
        for source in sources:
            read = from_onnx(source)
            assert read.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"cannot read .*model\.onnx.*: "):
        from_onnx(path)
    with pytest.raises(fastbptt.ArgumentTypeError, match="source is of type int"):
        from_onnx(3)
    with pytest.raises(fastbptt.ArgumentTypeError, match="is a file of text"):
        from_onnx(io.StringIO("text"))
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "nothing.onnx")


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (12, 1), (13, -1), (17, -1)])
def test_the_axis_of_a_softmax_that_names_none(opset: int, axis: int) -> None:
    """From operator set 13 on the last one."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    (found,) = onnx_operators._softmax([x], {}, opset)
    np.testing.assert_allclose(found.sum(axis=axis), 1.0)
