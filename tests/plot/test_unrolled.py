"""The diagram of the unrolled network: true numbers, readable at any size."""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from cases import covering_pairs, sampled
from pictures import defects, parts

import fastbptt
from fastbptt import _check, _core, plot
from fastbptt.diagnostics._graph import unroll

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from fastbptt.plot._layout import columns_of, dies_at, name_of, norm_text  # noqa: E402
from fastbptt.plot._style import PALETTE  # noqa: E402
from fastbptt.plot.unrolled import arrow_width, diagram  # noqa: E402

RNG = np.random.default_rng(3)
X = RNG.normal(size=(6, 40, 3)).astype(np.float32)
CLASSES = np.array([0, 1, 2, 1, 0, 2])
DRAWN = [one for one in fastbptt.cells() if not _core.cell_info(one)["given"]]


@pytest.fixture(autouse=True)
def _no_figure_left() -> Iterator[None]:
    yield
    pyplot.close("all")


def model(cell: str = "rnn", **options: Any) -> fastbptt.Recurrent:
    options = {"output_size": 3, "seed": 1, "dtype": "float64"} | options
    hidden = options.pop("hidden_size", 8)
    return fastbptt.Recurrent(
        cell, 3, hidden, alpha=0.5 if cell.startswith("leaky") else None, **options
    )


def test_a_form_whose_hidden_states_are_no_states_is_refused() -> None:
    words = 'has the cell "leaky_preactivation_tanh", which shows another number than its state'
    with pytest.raises(ValueError, match=words):
        plot.unrolled(model("leaky_preactivation_tanh"), X[:1], CLASSES[:1])


def target(steps: str) -> Any:
    return np.tile(CLASSES[:, np.newaxis], 40) if steps == "all" else CLASSES


def written(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def numbers(ax: Any) -> Counter[str]:
    """The numbers of the gradients, those in the key and the strip among them."""
    back = PALETTE["vermillion"]
    return Counter(text.get_text() for text in ax.texts if text.get_color() == back)


def pieces(ax: Any, kind: str) -> list[str]:
    gids = (str(patch.get_gid()).partition("-") for patch in ax.patches)
    return [name for first, _, name in gids if first == kind]


def parameter(symbol: str) -> str:
    """The name of the parameter that a symbol stands for."""
    index, layer = re.search(r"_\{(\w+)\}", symbol), re.search(r"\^\{\((\d+)\)\}", symbol)
    assert index is not None, symbol
    above = f"_l{layer[1]}" if layer is not None and layer[1] != "0" else ""
    return f"W_{index[1]}{above}{'_reverse' if 'left' in symbol else ''}"


# ---------------------------------------------------------------- the numbers

GRAPHS = [*itertools.product(DRAWN, [1, 2], [False, True], _check.READOUTS)]


@pytest.mark.parametrize(
    ("cell", "layers", "both", "steps"),
    sampled(covering_pairs(GRAPHS), 4),
)
def test_every_edge_of_the_graph_has_its_arrows_and_its_number(
    cell: str, layers: int, both: bool, steps: str
) -> None:
    one = model(cell, num_layers=layers, bidirectional=both)
    ax = plot.unrolled(
        one, X, target(steps), steps=steps, lengths=np.full(6, 4), example=2, columns=4
    )
    y = target(steps)[2:3, :4] if steps == "all" else target(steps)[2:3]
    found = unroll(one, X[2:3, :4], y, "cross_entropy", steps)
    nodes, edges = found.graph(range(1, 5))
    assert Counter(pieces(ax, "node")) == Counter(name_of(node) for node in nodes)
    names = Counter(f"{name_of(edge.below)}-{name_of(edge.above)}" for edge in edges)
    for kind in ("forward", "back"):
        for piece in ("edge", "head"):
            own = [name for name in pieces(ax, piece) if name.startswith(kind)]
            assert Counter(name.partition("-")[2] for name in own) == names
    expected = Counter(norm_text(float(np.linalg.norm(edge.flow))) for edge in edges)
    for grown in found.growth(range(1, 5)).values():
        expected += Counter(norm_text(value) for value in grown.running.values())
    assert numbers(ax) == expected
    assert f"loss {found.loss:.4g}" in written(ax)
    weights = Counter(edge.weight for edge in edges if edge.weight)
    symbols = [text for text in written(ax) if text[0] == "$" and "W" in text]
    assert Counter(map(parameter, symbols)) == weights + Counter([*found.growth([1])])


def test_the_strip_is_to_scale_and_bold_where_it_ends() -> None:
    one, y = model(bidirectional=True), target("all")[2:3, :4]
    drawing = diagram(one, X[2:3, :4], y, steps="all", columns=4)
    found = unroll(one, X[2:3, :4], y, "cross_entropy", "all").growth(range(1, 5))
    count = 4 * len(found)
    bars = {
        kind: [bar for bar in drawing.bars if bar.kind == kind][:count] for kind in ("sum", "part")
    }
    bold = [label for label in drawing.labels if label.bold and label.kind == "back"]
    starts = [label.text for label in drawing.labels if label.text.startswith("from step")]
    assert starts.count("from step 1") == 2 and starts.count("from step 4") == 3
    for i, grown in enumerate(found.values()):
        rows = slice(4 * i, 4 * i + 4)
        heights = [[bar.y1 - bar.y0 for bar in bars[kind][rows]] for kind in ("sum", "part")]
        wanted = [[*grown.running.values()], [*grown.contribution.values()]]
        order = np.argsort([*grown.running])
        scale = np.max(heights) / np.max(wanted)
        np.testing.assert_allclose(heights, scale * np.array(wanted)[:, order])
        last = 4 if grown.reverse else 1
        assert bold[i].text == norm_text(grown.running[last])
        place = bars["sum"][rows][last - 1]
        assert bold[i].x == pytest.approx((place.x0 + place.x1) / 2)


def test_the_gradient_dies_on_its_way_back() -> None:
    norms = np.array([0.5, 1e-9, 1.0, 1e-9])
    assert dies_at(cast(Any, SimpleNamespace(layers=1, gradient=lambda *_: norms))) == 2


def test_boxes_hold_the_values() -> None:
    one = model("gru", num_layers=2)
    ax = plot.unrolled(one, X, CLASSES, lengths=np.full(6, 3), example=4)
    out = one.forward(X[4:5, :3])
    boxes = [np.asarray(image.get_array(), float).ravel() for image in ax.images]
    for wanted in (*X[4, :3], *out.hidden[0], np.zeros(8), out.last[0]):
        assert any(
            box.size >= wanted.size and np.allclose(box[: wanted.size], wanted, atol=1e-6)
            for box in boxes
        )
    ramp = boxes[0]
    assert ramp[0] == -1 and ramp[-1] == 1
    assert any(text.startswith("with $r$ = x: ") and "h: 1, y: 1" in text for text in written(ax))


def test_steps_count_from_1_and_states_from_0() -> None:
    ax = plot.unrolled(model(bidirectional=True), X, CLASSES, lengths=np.full(6, 3))
    nodes = pieces(ax, "node")
    assert [name for name in nodes if name.startswith("x")] == ["x.1", "x.2", "x.3"]
    assert {"h.0", "h.3", "h.1.reverse", "h.4.reverse"} <= set(nodes)
    assert not {"h.4", "h.0.reverse"} & set(nodes)
    assert "back-h.1.reverse-y.3" in pieces(ax, "edge"), "the reverse direction ends at step 1"


# ---------------------------------------------------------------- long, deep, wide


@pytest.mark.parametrize(
    ("time", "most", "dies", "shown"),
    [
        (5, 5, 2, [1, 2, 3, 4, 5]),
        (200, 5, None, [1, 2, None, 199, 200]),
        (200, 5, 190, [1, None, 190, None, 200]),
        (200, 7, 190, [1, None, 190, None, 198, 199, 200]),
        (200, 9, 190, [1, 2, None, 190, None, 197, 198, 199, 200]),
        (200, 7, 196, [1, None, 196, 197, 198, 199, 200]),
        (200, 6, 2, [1, 2, None, 198, 199, 200]),
        (200, 6, 1, [1, 2, None, 198, 199, 200]),
        (200, 4, 190, [1, None, 199, 200]),
        (200, 3, 190, [1, None, 200]),
    ],
)
def test_which_steps_are_shown(
    time: int, most: int, dies: int | None, shown: list[int | None]
) -> None:
    assert columns_of(time, most, dies) == shown


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_step_where_the_gradient_dies(cell: str) -> None:
    one = model(cell)
    found = unroll(one, X[:1], CLASSES[:1], "cross_entropy", "last")
    t = dies_at(found)
    assert t is not None
    sizes = [np.linalg.norm(found.passes[-1].total[:, k]) for k in range(40)]
    assert sizes[t - 1] < 1e-3 * sizes[-1] <= sizes[t]
    ax = plot.unrolled(one, X, CLASSES)
    assert f"x.{t}" in pieces(ax, "node")
    assert "below 1/1000" in written(ax)
    assert {f"{t - 2} steps", f"{39 - t} steps"} <= set(written(ax))
    assert any(text.endswith("; sequence 0 of 6, 40 steps") for text in written(ax))


def test_a_gradient_that_is_0_has_dotted_arrows() -> None:
    one = model()
    one.parameters["W_hh"][:] = 0.0
    ax = plot.unrolled(one, X, CLASSES, lengths=np.full(6, 3))
    dotted = [
        str(patch.get_gid())
        for patch in ax.patches
        if str(patch.get_gid()).startswith("edge") and patch.get_linestyle() != "-"
    ]
    assert {"edge-back-h.0-h.1", "edge-back-h.1-h.2", "edge-back-h.2-h.3"} <= set(dotted)
    assert "edge-back-h.3-y.3" not in dotted
    assert "exactly 0" in written(ax)
    assert dies_at(unroll(one, X[:1, :3], CLASSES[:1], "cross_entropy", "last")) == 2


@pytest.mark.slow
def test_a_network_too_large_to_draw_is_summarised() -> None:
    one = model("gru", num_layers=7, hidden_size=300)
    ax = plot.unrolled(one, X, CLASSES, lengths=np.full(6, 2))
    texts = written(ax)
    assert any("7 layers of 300 units" in text for text in texts)
    assert "of 7 layers, 1 to 4 left out" in texts
    assert "h: the number in the box is the root mean square of 300" in texts
    layers = {name.partition(".l")[2] for name in pieces(ax, "node") if name.startswith("h")}
    assert layers == {"", "5", "6"}
    hidden = one.forward(X[:1, :2]).hidden[0, -1]
    assert norm_text(float(np.sqrt(np.mean(hidden**2)))) in texts
    found = unroll(one, X[:1, :2], CLASSES[:1], "cross_entropy", "last")
    _, edges = found.graph([1, 2])
    into = next(e for e in edges if name_of(e.below) == "h.2" and name_of(e.above) == "h.2.l1")
    assert norm_text(float(np.linalg.norm(into.flow))) in numbers(ax)
    assert defects(ax.figure) == []


@pytest.mark.slow
def test_ten_thousand_steps() -> None:
    x = RNG.normal(size=(1, 10_000, 3))
    ax = plot.unrolled(model(), x, [1], columns=7)
    assert "x.10000" in pieces(ax, "node")
    assert "0" in numbers(ax), "the gradient of the first step underflows"
    assert defects(ax.figure) == []


def test_arrows_are_as_wide_as_the_logarithm() -> None:
    widths = [arrow_width(norm, 1.0) for norm in (1.0, 0.1, 0.01, 1e-4, 1e-9)]
    assert np.allclose(np.diff(widths[:3]), widths[1] - widths[0])
    assert widths[0] > widths[1] > widths[2] > widths[3] == widths[4] > 0
    assert arrow_width(0.0, 1.0) == arrow_width(0.0, 0.0) == widths[4]


@pytest.mark.parametrize(
    ("norm", "text"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (0.00123, "0.0012"),
        (12.3, "12"),
        (123.4, "123"),
        (1.26e-7, "1.3e-7"),
        (1.26e-52, "1e-52"),
        (3.4e5, "3.4e5"),
        (9.99e123, "1e124"),
    ],
)
def test_norms_in_few_characters(norm: float, text: str) -> None:
    assert norm_text(norm) == text


# ---------------------------------------------------------------- tokens


VOCABULARY = ["<pad>", "the", "film", "was", "extraordinarily long", "g$ood", "a\nb"]
TOKENS = [[1, 2, 3, 4, 5, 6, 0], [3, 3, 1]]


def test_words_below_the_vectors_of_tokens() -> None:
    one = model(output_size=1, embedding=7)
    ax = plot.unrolled(one, TOKENS, [0.0, 1.0], vocabulary=VOCABULARY, columns=7)
    texts = written(ax)
    assert {"the", "film", "was", r"g\$ood", "a b", "<pad>"} <= set(texts)
    assert any(text.startswith("extra") and "…" in text for text in texts)
    boxes = [np.asarray(image.get_array(), float).ravel() for image in ax.images]
    for token in TOKENS[0]:
        assert any(np.allclose(box[:3], one.parameters["E"][token]) for box in boxes)
    assert any(text.startswith("with $r$ = e: ") for text in texts)
    assert defects(ax.figure) == []


def test_words_that_begin_alike_stay_different() -> None:
    one = model(output_size=1, embedding=4)
    words = ["unbelievable", "unbelievably", "W" * 40, "W" * 41]
    ax = plot.unrolled(one, [[0, 1]], [0.0], vocabulary=words)
    found = [text for text in written(ax) if text.startswith("unb")]
    assert len(set(found)) == 2
    ax = plot.unrolled(one, [[0, 1]], [0.0], vocabulary=["a", "", "c", "d"])
    assert "a" in written(ax)
    assert not any(text.startswith("token") for text in written(ax))
    ax = plot.unrolled(one, [[2, 3]], [0.0], vocabulary=words)
    found = [text for text in written(ax) if text.startswith(("WW", "token"))]
    assert len(set(found)) == 2


def test_tokens_without_a_vocabulary_are_numbers() -> None:
    one = model(output_size=1, embedding=70_000)
    ax = plot.unrolled(one, [[1, 69_999, 3]], [0.0])
    assert {"token 1", "token 69999", "token 3"} <= set(written(ax))
    assert any("70000 tokens" in text for text in written(ax))
    for image in ax.images:
        assert np.nanmax(np.abs(image.get_array())) < 100, "no colour for a token's number"
    assert defects(ax.figure) == []


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"columns": 2}, ValueError, "columns is 2; expected at least 3"),
        ({"example": 6}, ValueError, "example is 6; expected 0 to 5"),
        ({"steps": "first"}, ValueError, 'steps is "first"; expected'),
        ({"x": X[0]}, ValueError, r"x has shape \(40, 3\).*for one sequence give x\[None\]"),
        ({"x": X * np.nan}, ValueError, r"x holds a value that is not finite \(nan\)"),
        ({"y": [0, 1, 2, 3, 0, 0], "example": 3}, ValueError, "y holds class 3 at index"),
        ({"vocabulary": ["a"]}, ValueError, "vocabulary is given; expected None because the"),
        ({"model": 3}, TypeError, "model is of type int; expected a fastbptt model"),
        ({"model": fastbptt.RNN(3, 8)}, ValueError, "model has no readout"),
    ],
)
def test_what_is_no_diagram(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"model": model(), "x": X, "y": CLASSES} | change
    with pytest.raises(error, match=message):
        plot.unrolled(given.pop("model"), given.pop("x"), given.pop("y"), **given)


@pytest.mark.parametrize(
    ("vocabulary", "error", "message"),
    [
        (["a"], ValueError, "vocabulary has 1 words; expected 7, one for each row of the model's"),
        ("abcdefg", TypeError, "vocabulary is str; expected a sequence with the word of each"),
        ({0: "a"}, TypeError, "vocabulary is dict; expected a sequence"),
    ],
)
def test_what_is_no_vocabulary(vocabulary: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plot.unrolled(model(output_size=1, embedding=7), TOKENS, [0, 1], vocabulary=vocabulary)


def test_the_row_of_what_is_not_finite() -> None:
    x = X.copy()
    x[4, 7, 1] = np.inf
    plot.unrolled(model(), x, CLASSES, example=3, lengths=np.full(6, 8))
    with pytest.raises(ValueError, match=r"x holds a value .* at index \(4, 7, 1\)"):
        plot.unrolled(model(), x, CLASSES, example=4, lengths=np.full(6, 8))
    one = model("relu", init=("normal", 1e9))
    with pytest.raises(ValueError, match="the loss is not finite"):
        plot.unrolled(one, X, CLASSES)
    one = model()
    one.parameters["W_hh"][0, 0] = np.nan
    with pytest.raises(ValueError, match="parameter W_hh holds a value that is not finite"):
        plot.unrolled(one, X, CLASSES)


# ---------------------------------------------------------------- the looks

LOOKS = [
    *itertools.product(
        ("rnn", "gru", "lstm"), (1, 2, 6), (False, True), _check.READOUTS, (1, 3, 40), (3, 5, 7)
    )
]
FIRST = [
    ("rnn", 1, False, "all", 3, 3),
    ("lstm", 1, False, "last", 40, 3),
    ("rnn", 1, True, "mean", 40, 5),
]
OTHERS = [one for one in covering_pairs(LOOKS) if one not in FIRST]


@pytest.mark.parametrize(
    ("cell", "layers", "both", "steps", "time", "columns"),
    [*FIRST, *(pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS)],
)
def test_nothing_lies_over_anything(
    cell: str, layers: int, both: bool, steps: str, time: int, columns: int
) -> None:
    one = model(cell, num_layers=layers, bidirectional=both)
    ax = plot.unrolled(
        one, X, target(steps), steps=steps, lengths=np.full(6, time), columns=columns
    )
    found = parts(ax.figure)
    assert defects(ax.figure, found) == []
    assert len(found.heads) == len(found.lines) > 5
    assert min(text.get_fontsize() for text in ax.texts) >= 6.5


@pytest.mark.parametrize(
    "size",
    [
        (3.5, 2.5),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ((6.0, 3.0), (2.0, 6.0), (12.0, 9.0))),
    ],
)
def test_it_fits_into_the_axes_that_are_given(size: tuple[float, float]) -> None:
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    plot.unrolled(model(), X, CLASSES, ax=ax)
    found = parts(figure)
    assert defects(figure, found) == []
    width = max(node.x1 for node in found.nodes) - min(node.x0 for node in found.nodes)
    assert width <= figure.bbox.width
    assert max(text.get_fontsize() for text in ax.texts) <= 10.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_it_is_small_in_every_format(kind: str) -> None:
    ax = plot.unrolled(model("lstm"), X, CLASSES, columns=7)
    file = io.BytesIO()
    ax.figure.savefig(file, format=kind)
    assert 10_000 < len(file.getvalue()) < 400_000


# ---------------------------------------------------------------- what the checks find


def test_the_checks_find_what_is_wrong() -> None:
    from matplotlib.patches import PathPatch, Polygon, Rectangle
    from matplotlib.path import Path

    def named(patch: Any, gid: str) -> Any:
        patch.set_gid(gid)
        return patch

    def line(points: Any, gid: str) -> Any:
        return named(PathPatch(Path(points), facecolor="none", linewidth=2), gid)

    def drawn(*patches: Any, texts: Any = ()) -> list[str]:
        figure = Figure(figsize=(4, 4))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 100)
        for patch in patches:
            ax.add_patch(patch)
        for x, y, text, *turn in texts:
            ax.text(x, y, text, rotation=turn[0] if turn else 0, rotation_mode="anchor")
        return defects(figure)

    def box(x: float, name: str = "a") -> Any:
        return named(Rectangle((x, 40), 20, 20), f"node-{name}")

    def head(x: float, gid: str = "head-e") -> Any:
        return named(Polygon([(x, 50), (x - 4, 52), (x - 4, 48)]), gid)

    good = (box(10), box(60, "b"), line([(30, 50), (57, 50)], "edge-e"), head(60))
    assert drawn(*good, texts=[(35, 55, "one"), (35, 42, "two")]) == []
    slanted = [(20, 20, "a name", 45), (30, 20, "a name", 45), (45, 20, "level")]
    assert drawn(texts=slanted) == []
    wrong = {
        "text 'a name' over 'level'": drawn(texts=[*slanted, (32, 25, "level")]),
        "text 'a name' over 'another'": drawn(texts=[*slanted, (23, 20, "another", 45)]),
        "text 'one' over 'two'": drawn(texts=[(50, 50, "one"), (52, 51, "two")]),
        "text 'far away' leaves the canvas": drawn(texts=[(95, 50, "far away")]),
        "line e through a": drawn(box(10), line([(0, 50), (57, 50)], "edge-e")),
        "box a over b": drawn(box(10), box(20, "b")),
        "text 'name' across the border of a": drawn(box(10), texts=[(25, 50, "name")]),
        "text 'on it' on line e": drawn(
            line([(30, 50), (57, 50)], "edge-e"), texts=[(40, 49, "on it")]
        ),
        "line e along f": drawn(
            line([(30, 50), (57, 50)], "edge-e"), line([(40, 50), (90, 50)], "edge-f")
        ),
        "head e in f": drawn(head(60), head(61, "head-f")),
        "head e in a": drawn(box(10), head(20)),
        "head e leaves the canvas": drawn(head(2)),
        "line f through the head of e": drawn(head(60), line([(58, 0), (58, 90)], "edge-f")),
        "box b leaves the canvas": drawn(box(90, "b")),
    }
    for expected, found in wrong.items():
        assert expected in found, (expected, found)
