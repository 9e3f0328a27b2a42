"""Layouts of other libraries: the page's table, round trips, refusals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cases import sampled
from vectors import convert

import fastbptt
from fastbptt import _core
from fastbptt.interchange import from_keras, from_torch, layouts
from fastbptt.interchange.layouts import LAYOUTS, LayerWeights, from_library, to_library
from fastbptt.interchange.parts import Parts, assemble

PAIRS = sorted(LAYOUTS)


def drawn(cell: str, dtype: str, bias: bool, inputs: int = 3, hidden: int = 2) -> LayerWeights:
    rng = np.random.default_rng(0)
    columns = hidden * len(_core.cell_info(cell)["gate_names"])
    arrays = [rng.normal(size=(rows, columns)).astype(dtype) for rows in (inputs, hidden)]
    if bias:
        arrays.append(rng.normal(size=columns).astype(dtype))
        arrays[-1][:2] = -0.0, 0.0
        if _core.cell_info(cell)["extra_bias"]:
            arrays.append(rng.normal(size=hidden).astype(dtype))
    return LayerWeights(*arrays)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("library", "cell"), PAIRS)
def test_round_trip_to_the_bit(library: str, cell: str, dtype: str, bias: bool) -> None:
    layout = LAYOUTS[library, cell]
    ours = drawn(cell, dtype, bias)
    theirs = to_library(layout, ours)
    assert len(theirs) == len(layout.arrays) or not bias
    again = from_library(layout, theirs)
    for name, before, after in zip(ours._fields, ours, again, strict=True):
        if before is None:
            assert after is None, name
            continue
        assert after.dtype == before.dtype and after.flags.c_contiguous
        assert after.tobytes() == before.tobytes(), name


@pytest.mark.parametrize(("library", "cell"), PAIRS)
def test_wrong_shapes_name_the_array(library: str, cell: str) -> None:
    layout = LAYOUTS[library, cell]
    theirs = to_library(layout, drawn(cell, "float32", bias=True))
    for place in range(len(layout.arrays)):
        for wrong in (theirs[place][..., :-1], theirs[place][:0], theirs[place][None, None]):
            arrays = [*theirs[:place], wrong, *theirs[place + 1 :]]
            fewer_inputs = place == 0 and wrong.ndim == 2 and wrong.size > 0
            if fewer_inputs and layout.matrices != "(I, G H)":
                continue  # another network
            with pytest.raises(fastbptt.ArgumentError, match=r"has shape .*; expected"):
                from_library(layout, arrays)


@pytest.mark.parametrize("library", layouts.LIBRARIES)
@pytest.mark.parametrize("cell", fastbptt.cells())
def test_every_cell_has_a_layout_or_is_refused_by_name(library: str, cell: str) -> None:
    if (library, cell) in LAYOUTS:
        assert sorted(layouts.layout(library, cell).gates) == sorted(layouts.gate_names(cell))
    else:
        with pytest.raises(fastbptt.ArgumentError, match=f'the cell "{cell}", which') as caught:
            layouts.layout(library, cell)
        assert layouts.LIBRARIES[library] in str(caught.value)


#: Results of other libraries' own layers, which the tests of the cells use too.
RESULTS = [
    (framework, name)
    for framework in ("pytorch", "keras", "onnxruntime")
    for name in convert.cases(framework)
]


@pytest.mark.parametrize(("framework", "name"), sampled(RESULTS, 24))
def test_weights_of_a_layer_give_its_outputs(framework: str, name: str) -> None:
    case, result = convert.cases(framework)[name], convert.vector(framework, name, "float32")
    arrays = {
        key.removeprefix("weights/"): array
        for key, array in case.arrays.items()
        if key.startswith("weights/")
    }
    cell = case.options["cell"]
    if framework == "pytorch":
        options = {"rnn": {"nonlinearity": "tanh"}, "relu": {"nonlinearity": "relu"}}
        model = from_torch(arrays, **options.get(cell, {}))
    elif framework == "keras":
        both = case.options["bidirectional"]
        model = from_keras(list(arrays.values()), cell=cell, bidirectional=both)
    else:
        layers = [
            from_library(LAYOUTS["onnx", cell], list(one))
            for one in zip(*(arrays[key] for key in "WRB"), strict=True)
        ]
        model = assemble(Parts(cell, [layers]))
    initial = result.initial if len(result.initial) > 1 else result.initial[0]
    x = np.nan_to_num(result.x)
    got = model.forward(x, lengths=result.lengths, h0=initial).outputs
    assert np.abs(got - result.outputs).max() < 2e-6


def test_two_biases_become_their_sum() -> None:
    layout = LAYOUTS["torch", "gru"]
    one, two = np.arange(6.0), np.arange(6.0) * 10
    got = from_library(layout, [np.ones((6, 3)), np.ones((6, 2)), one, two])
    assert got.b_h is not None and got.b_h.tolist() == [0, 11, 22, 33, 4, 5]
    assert got.b_hn is not None and got.b_hn.tolist() == [40, 50]


ROOT = Path(__file__).parents[2]


def test_the_page_has_the_table() -> None:
    text = (ROOT / "docs" / "interchange.md").read_text(encoding="utf-8")
    section = text.split("## Layouts", 1)[1]
    rows = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    wanted = [
        (
            layouts.LIBRARIES[one.library],
            f"`{one.cell}`",
            one.name,
            ", ".join(one.gates),
            one.matrices,
            one.biases,
        )
        for one in LAYOUTS.values()
    ]
    assert [tuple(row.split(" | ")) for row in rows[1:]] == wanted
