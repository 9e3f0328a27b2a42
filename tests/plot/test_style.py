"""Curves that stay distinct, names that stay different, text beside the data, sizes of figures."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from fastbptt.plot import _style  # noqa: E402

HISTORY = {"loss": [0.9, 0.5, 0.25], "validation_loss": [1.0, 0.75, 0.5]}


@pytest.fixture(autouse=True)
def _no_figure_left() -> Any:
    yield
    pyplot.close("all")


def drawn_as(line: Any) -> tuple[Any, ...]:
    return line.get_color(), str(line._unscaled_dash_pattern), str(line.get_marker())


def flows(count: int, steps: int = 30) -> dict[str, Any]:
    return {f"network {i}": np.exp(-np.arange(steps) / (i + 2)) for i in range(count)}


@pytest.mark.parametrize("count", [2, 6, 7, 12, 13, 25])
def test_no_two_curves_look_the_same(count: int) -> None:
    ax = plot.gradient_flow(flows(count))
    looks = [drawn_as(line) for line in ax.lines[:count]]
    assert len(set(looks)) == count
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [f"network {i}" for i in range(count)]
    shown = [drawn_as(handle) for handle in ax.get_legend().legend_handles]
    assert shown == looks, "the legend shows them as they are"


def test_curves_of_one_colour_have_other_dashes() -> None:
    assert len(_style.CURVES) == 12
    for (one, dashes), (other, others) in itertools.combinations(_style.CURVES, 2):
        assert one != other or dashes != others
    for side in (0, 1):
        values = [str(curve[side]) for curve in _style.CURVES]
        assert {values.count(value) for value in values} == {2}


PICTURES = {
    "losses": lambda: plot.losses(HISTORY),
    "best": lambda: plot.losses(
        fastbptt.History.from_dict(
            {"epoch": [1, 2, 3], "curves": HISTORY, "best_epoch": 2, "stopped": "epochs"}
        )
    ),
    "twelve": lambda: plot.gradient_flow(flows(12)),
    "many": lambda: plot.gradient_flow(flows(16)),
    "zeros": lambda: plot.gradient_flow({"a": [0.0, 1e-9, 1.0], "b": [0.0, 0.0, 1.0]}),
    "sequences": lambda: plot.sequences(np.random.default_rng(0).normal(size=(4, 9, 14))),
    "heatmap": lambda: plot.gradient_heatmap([[0.0, 1.0], [1e-3, 1.0]]),
    "errors": lambda: plot.residuals(np.zeros((5, 3)), np.ones((5, 3))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_covers_data_or_leaves_the_figure(name: str) -> None:
    ax = PICTURES[name]()
    ax.set_title("A title of the user's")
    canvas = ax.figure.canvas
    canvas.draw()
    renderer = canvas.get_renderer()
    whole = ax.figure.bbox
    inside = ax.get_window_extent(renderer)
    boxes = {"title": ax.title, "label": ax.xaxis.label}
    if ax.get_legend() is not None:
        boxes["legend"] = ax.get_legend()
    boxes |= {text.get_text(): text for text in ax.texts if text.get_text()}
    found = {name: one.get_window_extent(renderer) for name, one in boxes.items()}
    for name, box in found.items():
        assert not box.padded(-1).overlaps(inside), f"{name} lies on the data"
        assert whole.padded(1).contains(*box.min) and whole.padded(1).contains(*box.max), name
    for (one, box), (other, beside) in itertools.combinations(found.items(), 2):
        assert not box.padded(-1).overlaps(beside), f"{one} lies on {other}"


def test_the_best_epoch_hides_no_curve() -> None:
    ax = PICTURES["best"]()
    assert not ax.texts
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["training", "validation", "best: epoch 2"]
    (line,) = ax.collections[0].get_segments()
    assert line[:, 0].tolist() == [2, 2]


@pytest.mark.slow
def test_a_legend_of_many_rows_takes_nothing_from_the_plot() -> None:
    heights = []
    for count in (2, 16):
        ax = plot.gradient_flow(flows(count))
        ax.figure.canvas.draw()
        heights.append(ax.get_window_extent().height)
    assert max(heights) < 1.12 * min(heights)
    own = Figure(figsize=(4, 3))
    plot.gradient_flow(flows(16), ax=own.subplots())
    assert own.get_size_inches().tolist() == [4, 3], "a figure of the user's keeps its size"


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b"],
        ["department of hydrology, station 1", "department of hydrology, station 2"],
        ["one very long name of a class, first", "two very long names of a class, first"],
        ["x" * 30 + "a" + "x" * 30, "x" * 30 + "b" + "x" * 30, "x" * 61],
        ["north sea, at the coast", "north sea, a long way from the coast", "north sea, at…"],
        [f"measured by the observatory, {i:03} of the northern series" for i in range(120)],
        ["twice the same long name of a class", "twice the same long name of a class", "c"],
    ],
)
def test_names_are_shortened_so_that_they_differ(names: list[str]) -> None:
    short = _style.shortened(names)
    assert max(map(len, short)) <= 18
    for (one, cut), (other, others) in itertools.combinations(zip(names, short, strict=True), 2):
        assert (one == other) == (cut == others)
    for name, cut in zip(names, short, strict=True):
        assert cut == name or "…" in cut


def test_class_names_stay_different_in_every_picture() -> None:
    names = [f"department of hydrology, station {i}" for i in range(3)]
    ax = plot.confusion([0, 1, 2], [0, 1, 1], names)
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert len({text.get_text() for text in labels}) == 3
    outputs = np.eye(3) * 5
    ax = plot.sequences(np.ones((3, 4, 1)), [0, 1, 2], outputs, class_names=names)
    assert len({text.get_text() for text in ax.texts}) == 3
    ids = [f"measurement of the year {i}" for i in range(3)]
    ax = plot.sequences(np.ones((3, 4, 1)), ids=ids)
    assert len({text.get_text() for text in ax.get_yticklabels()}) == 3


# ---------------------------------------------------------------- features


def test_each_feature_has_its_name_in_the_legend() -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 3))
    ax = plot.sequences(x, feature_names=["speed", "height", "$"])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["speed", "height", r"\$"]
    looks = [drawn_as(line) for line in ax.lines]
    assert looks[:3] == looks[3:] and len(set(looks)) == 3
    assert [drawn_as(handle) for handle in ax.get_legend().legend_handles] == looks[:3]
    ax = plot.sequences(x[..., :1], feature_names=["speed"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["speed"]
    assert plot.sequences(x[..., :1]).get_legend() is None
    with pytest.raises(ValueError, match="feature_names has 2 names; expected 3"):
        plot.sequences(x, feature_names=["a", "b"])


def test_features_that_are_left_out_are_mentioned() -> None:
    x = np.random.default_rng(0).normal(size=(3, 7, 20)) * np.linspace(1, 3, 20)
    x[1, :, 0] *= 100  # in one of the sequences only: it counts for all of them
    ax = plot.sequences(x)
    assert ax.get_legend().get_title().get_text() == "the 12 of 20 features that vary most"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(texts) == 12 and texts[0] == "feature 0"
    assert len(ax.lines) == 36
    ax = plot.sequences(x, np.zeros((3, 7, 1)), steps="all")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["features", "target"]


# ---------------------------------------------------------------- sizes


def test_figures_have_200_dots_per_inch(tmp_path: Path) -> None:
    ax = plot.losses(HISTORY)
    assert ax.figure.dpi == 200
    ax.figure.savefig(tmp_path / "a.png")
    assert pyplot.imread(tmp_path / "a.png").shape[:2] == (500, 700)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((3.5, 2.5), (89, 63.5)),
        ((3.0, 2.0), (89, 50.8)),
        ((3.9, 3.5), (89, 79.9)),
        ((4.3, 3.0), (89, 62.1)),
        ((4.5, 3.0), (183, 76.2)),
        ((6.3, 2.75), (183, 69.85)),
        ((12.0, 4.0), (183, 61.0)),
    ],
)
def test_journal_sizes(size: tuple[float, float], expected: tuple[float, float]) -> None:
    with plot.style("paper"), _style.drawing(None, size) as ax:
        ax.plot([0, 1])
    millimetres = 25.4 * ax.figure.get_size_inches()
    assert millimetres.tolist() == pytest.approx(expected, abs=0.2)


def test_the_style_of_a_paper_ends_with_its_block(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    with plot.style("paper"):
        ax = plot.losses(HISTORY)
        ax.figure.savefig(tmp_path / "a.png")
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert dict(matplotlib.rcParams) == before
    assert ax.xaxis.label.get_fontsize() == 7.0
    assert pyplot.imread(tmp_path / "a.png").shape[1] == round(600 * 89 / 25.4)
    assert plot.losses(HISTORY).xaxis.label.get_fontsize() == 8.0
    with pytest.raises(RuntimeError, match="inside"), plot.style("paper"):
        raise RuntimeError("inside")
    assert plot.losses(HISTORY).xaxis.label.get_fontsize() == 8.0, "after an error, too"
    with pytest.raises(ValueError, match='name is "poster"; expected one of "screen", "paper"'):  # noqa: SIM117
        with plot.style("poster"):
            pass


# ---------------------------------------------------------------- what is not installed


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("matplotlib", "fastbptt.plot.losses({'loss': [1.0]})"),
        ("matplotlib", "fastbptt.plot.style().__enter__()"),
        ("matplotlib", "fastbptt.plot.gallery('pictures')"),
        ("PIL", "fastbptt.plot.losses({'loss': [1.0]})"),
        ("matplotlib", "fastbptt.report(fastbptt.RNN(1, 2, 1), [[[1.0]]], [[1.0]], 'a.html')"),
        ("matplotlib", "fastbptt.plot.gradient_animation(None, 'a.gif')"),
        ("PIL", "fastbptt.plot.gradient_animation(None, 'a.gif')"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    package: str, call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("PIL", package):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    wanted = {"PIL": "pillow"}.get(package, package)
    for name in [one for one in sys.modules if one.startswith("matplotlib.") and package == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    if package == "PIL":
        monkeypatch.delitem(sys.modules, "matplotlib")
    with pytest.raises(ImportError, match=f"^plots need {wanted}: pip install {wanted}$") as caught:
        eval(call, {"fastbptt": fastbptt})
    assert caught.value.__suppress_context__
    assert not list(tmp_path.iterdir())


def test_a_broken_matplotlib_is_not_a_missing_one() -> None:
    code = (
        "import sys, types, fastbptt\n"
        "sys.modules['cycler'] = None\n"
        "try: fastbptt.plot.losses({'loss': [1.0]})\n"
        "except ModuleNotFoundError as error: print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "cycler\n"
