"""What a notebook shows of models, histories and diagnoses."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt._html import sparkline

HOSTILE = "<script>alert('x')</script>&amp;"


class View(HTMLParser):
    """Rows of tables, and all text; fails if tags do not close in order."""

    def __init__(self, shown: Any) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text, self._open = "", []  # type: str, list[str]
        self.tags: set[str] = set()
        self.feed(shown._repr_html_())
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_a_model(cell: str) -> None:
    options = {"alpha": 0.5} if cell.startswith("leaky") else {}
    model = fastbptt.Recurrent(cell, 3, 4, 2, num_layers=2, seed=0, **options)
    model.freeze("W_hh")
    view = View(model)
    assert view.rows[0] == ["parameter", "shape", "size", ""]
    for row, (name, values) in zip(view.rows[1:], model.parameters.items(), strict=True):
        shape = " \N{MULTIPLICATION SIGN} ".join(map(str, values.shape))
        assert row == [name, shape, str(values.size), "frozen" * (name == "W_hh")]
    assert repr(model).split("  #")[0] in view.text
    assert f"{model.num_parameters} parameters" in view.text


def history(curves: dict[str, list[float]], **told: Any) -> Any:
    epochs = list(range(1, len(next(iter(curves.values()))) + 1))
    values = {"epoch": epochs, "curves": curves, "best_epoch": None, "stopped": None}
    return fastbptt.History.from_dict(values | told)


@pytest.mark.parametrize(
    ("curve", "shown"),
    [
        ([0.5, 0.25, 0.75], ["0.5", "0.25", "0.75", "0.75"]),
        ([1.0], ["1", "1", "1", "1"]),
        ([math.nan, 2.0, 1.0], ["nan", "1", "2", "1"]),
        ([math.nan, math.nan], ["nan", "nan", "nan", "nan"]),
        ([1.0, math.inf], ["1", "1", "inf", "inf"]),
        ([-1e308, 1e308], ["-1e+308", "-1e+308", "1e+308", "1e+308"]),
    ],
)
def test_a_history(curve: list[float], shown: list[str]) -> None:
    view = View(history({"loss": curve, HOSTILE: curve}))
    assert view.rows == [
        ["", "", "first", "lowest", "highest", "last"],
        ["loss", "", *shown],
        [HOSTILE, "", *shown],
    ]
    assert "script" not in view.tags and "svg" in view.tags


def test_how_a_history_ended() -> None:
    given = history({"loss": [3.0, 1.0]}, best_epoch=2, stopped="early stopping")
    assert "History of 2 epochs; best epoch: 2; stopped by: early stopping" in View(given).text
    assert View(fastbptt.History()).text == "History: no epochs"


@pytest.mark.parametrize("lengths", [None, [9, 40, 3, 40]])
@pytest.mark.parametrize("each", [False, True])
def test_a_diagnosis(lengths: Any, each: bool) -> None:
    x, y = np.random.default_rng(0).normal(size=(4, 40, 3)), [0, 1, 0, 1]
    model = fastbptt.RNN(3, 8, 1, bidirectional=True, seed=0)
    found = fastbptt.diagnose(model, x, y, lengths=lengths, per_example=each)
    view = View(found)
    for row, flow in zip(view.rows[1:], found.layers, strict=True):
        sizes = np.atleast_2d(flow.hidden_gradient)
        first, last = (np.linalg.norm(sizes[:, t]) for t in (0, -1))
        decay = f"{flow.decay:.3g}"
        assert row == [flow.name, decay, f"{first:.3g}", f"{last:.3g}", f"{flow.saturated:.0%}"]
    up_to = "" if lengths is None else "up to "
    assert f"4 sequences of {up_to}40 steps; bce {found.loss:.4g}" in view.text
    assert found.advice
    for one in found.advice:
        assert one.text in view.text and one.suggestion in view.text
    calm = fastbptt.diagnose(fastbptt.LSTM(3, 8, 1, seed=0), x[:, :5], y, jacobians=False)
    assert "No problems found in the gradient flow." in View(calm).text
    assert View(calm).rows[1][1] == "-"


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([0.0, 1.0, 0.0], ["2.0,22.0 60.0,2.0 118.0,22.0"]),
        ([1.0, 1.0], ["2.0,12.0 118.0,12.0"]),
        ([0.0, 1.0, math.nan, 0.0, 1.0], ["2.0,22.0 31.0,2.0", "89.0,22.0 118.0,2.0"]),
        ([math.inf, 0.0, 1.0], ["60.0,22.0 118.0,2.0"]),
        ([-1.7e308, 1.7e308], ["2.0,22.0 118.0,2.0"]),
        ([math.nan], []),
        ([], []),
        ([1.0], []),
    ],
)
def test_small_lines(values: list[float], parts: list[str]) -> None:
    drawn = sparkline(values)
    assert re.findall(r'points="([^"]*)"', drawn) == parts
    assert drawn.count("<circle") == (values == [1.0])
