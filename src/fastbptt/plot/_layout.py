"""Where everything stands in the diagram of an unrolled network: boxes, arrows and texts.

Lengths are in points at a font of `FONT` points; the drawing scales all of them alike. Each edge
of the graph has two lanes, forward and back; vertical ones run in lanes beside the boxes that
they pass, so that no arrow crosses a box.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..diagnostics._graph import Growth, Node, Unrolled

Array = NDArray[np.float64]
Point = tuple[float, float]

FONT: Final = 6.7
DECADES: Final = 4  # the range of gradients that widths show
MOST_LAYERS: Final = 4  # with more, the ones in the middle are left out
MOST_VALUES: Final = 256  # a box of more shows their root mean square
DEAD: Final = 1e-3  # of the largest gradient: below, it has died
_LANE: Final = 4.0  # from the middle of an edge to each of its two arrows
_HALF: Final = 13.0  # half the height of a box
_GAP: Final = 38.0  # between rows
_SHORT: Final = 29.0  # of an edge between neighbours
_BESIDE: Final = 6.0  # from a gradient's arrow to its number
_POOLED: Final = {"mean": r"$\overline{h}$", "max": r"$\max\,h$"}


@dataclass(frozen=True)
class Box:
    """A quantity, from (x0, y0) to (x1, y1)."""

    node: Node
    x0: float
    y0: float
    x1: float
    y1: float
    title: str
    values: Array | None = None  # drawn as colours under the title
    reach: float = 1.0  # of the colours: from -reach to reach
    text: str = ""  # instead of values
    head: float = 10.5  # height of the title


@dataclass(frozen=True)
class Arrow:
    """An edge in one direction; `norm` of a gradient on its way back."""

    name: str
    points: tuple[Point, ...]
    norm: float | None = None


@dataclass(frozen=True)
class Label:
    x: float
    y: float
    text: str
    kind: str = "ink"  # "ink", "muted", "back"
    ha: str = "center"
    va: str = "center"
    bold: bool = False


@dataclass(frozen=True)
class Area:
    x0: float
    y0: float
    x1: float
    y1: float
    kind: str  # "sum", "part", "base", "band"


@dataclass(frozen=True)
class Ramp:
    """The colours from -reach to reach."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass
class Drawing:
    """All that is drawn, and the largest norm, which has the widest arrow."""

    largest: float = 0.0
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    bars: list[Area] = field(default_factory=list)
    ramps: list[Ramp] = field(default_factory=list)
    extent: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # x0, y0, x1, y1


def norm_text(norm: float) -> str:
    """Write a norm in few characters."""
    if norm == 0 or 0.001 <= norm < 1000:
        return f"{norm:.2g}" if norm < 100 else f"{norm:.0f}"
    for digits in (1, 0):
        mantissa, power = f"{norm:.{digits}e}".split("e")
        text = f"{mantissa}e{int(power)}"
        if len(text) <= 6:
            break
    return text


def text_width(text: str, bold: bool = False) -> float:
    """Return a text's width at a font of `FONT` points."""
    from matplotlib.cbook import is_math_text
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=FONT, weight="bold" if bold else "normal")
    formula = is_math_text(text)
    plain = text if formula else text.replace(r"\$", "$")
    width, _, _ = text_to_path.get_text_width_height_descent(plain, font, ismath=formula)
    return float(width)


def columns_of(time: int, most: int, dies: int | None) -> list[int | None]:
    """Choose the steps with a column, 1 to `time`; None stands for those left out.

    The first, the last, and where there is room the one at which the gradient has died.
    """
    if time <= most:
        return list(range(1, time + 1))
    plain = most - 1
    first = plain - most // 2
    ends = [*range(1, first + 1)], [*range(time - plain + first + 1, time + 1)]
    if dies is not None and most >= 5 and ends[0][-1] < dies < ends[1][0]:
        first = max(1, (most - 3) // 3)
        ends = [*range(1, first + 1)], [*range(time - (most - 3) + first + 1, time + 1)]
        steps = sorted({*ends[0], dies, *ends[1]})
    else:
        steps = [*ends[0], *ends[1]]
    shown: list[int | None] = []
    for t in steps:
        last = shown[-1] if shown else None
        if last is not None and t == last + 2:  # a gap of one step takes no less room than the step
            shown.append(last + 1)
        elif last is not None and t > last + 1:
            shown.append(None)
        shown.append(t)
    return shown


def dies_at(found: Unrolled) -> int | None:
    """Return the step below which the top layer's gradient is less than `DEAD` of its largest."""
    norms = found.gradient(found.layers - 1, False)
    largest = int(norms.argmax())
    small = np.flatnonzero(norms[: largest + 1] < DEAD * norms[largest])
    return int(small[-1]) + 1 if small.size and norms[largest] > 0 else None


class Layout:
    """Places one sequence's graph.

    Parameters
    ----------
    found : Unrolled
    shown : list of int or None
        Steps with a column; None where steps are left out.
    title : str
    words : dict of int to str
        What stands below the inputs, by step: ``"token 5"``. Empty unless the model reads tokens.
    bounded : bool
        Whether h is between -1 and 1.
    notes : list of str
        The last lines of the key.
    dies : int or None
        The step to be marked as the one where the gradient has died.
    """

    def __init__(
        self,
        found: Unrolled,
        shown: list[int | None],
        title: str,
        words: dict[int, str],
        bounded: bool,
        notes: list[str],
        dies: int | None,
    ) -> None:
        self.dies = dies
        self.found, self.shown, self.title, self.words = found, shown, title, words
        self.bounded, self.notes = bounded, notes
        self.nodes, edges = found.graph(self._wanted())
        self.edges = {(edge.below, edge.above): edge for edge in edges}
        self.norms = {key: _norm(edge.flow) for key, edge in self.edges.items()}
        self.many, self.both = len(found.states) > 1, found.directions == 2
        self.half = 36.0 if self.many else 17.0
        self.offsets = [0.0, 106.0 if self.many else 40.0][: found.directions]
        self.pitch = {
            (False, False): 63.0,
            (False, True): 93.0,
            (True, False): 120.0,
            (True, True): 200.0,
        }[self.many, self.both]
        # From a box to the dots of a gap: in two directions past the other one's lane.
        self.far = 59.0 if self.both and not self.many else _SHORT
        self.drawing = Drawing()
        self.drawn = _drawn_layers(found.layers)
        self.centre: dict[int, float] = {}
        self.row: dict[tuple[str, int, bool], float] = {}
        self.first = min(t for t in shown if t is not None)
        self.last = max(t for t in shown if t is not None)

    def _wanted(self) -> set[int]:
        """Return the steps shown and, for what flows into a gap, their neighbours."""
        steps = {t for t in self.shown if t is not None}
        near = {t + by for t in steps for by in (-1, 1)}
        return {t for t in steps | near if 1 <= t <= self.found.time}

    def place(self) -> Drawing:
        """Place everything."""
        self._columns()
        top = self._rows()
        for t in self.centre:
            self._input(t)
            for i, layer in enumerate(self.drawn):
                if layer is None:
                    continue
                for direction in range(self.found.directions):
                    self._states(layer, direction == 1, t)
                self._upwards(i, layer, t)
        for layer in self.drawn:
            if layer is not None:
                for direction in range(self.found.directions):
                    self._along(layer, direction == 1)
        self._gaps()
        top = self._outputs(top)
        self.drawing.largest = max(
            [arrow.norm for arrow in self.drawing.arrows if arrow.norm is not None], default=0.0
        )
        left = min(box.x0 for box in self.drawing.boxes)
        self._text(left, top + 12, self.title, "ink", "left", bold=True)
        self._key(self._strip(self._bottom), left)
        self._measure()
        return self.drawing

    # ------------------------------------------------------------ columns and rows

    def _columns(self) -> None:
        x, before = 0.0, None
        for t in self.shown:
            if t is None:
                continue
            if before is not None:
                x += self.pitch if t == before + 1 else self._gap_pitch()
            self.centre[t] = x
            before = t

    def _gap_pitch(self) -> float:
        if not self.many:
            return 2 * self.half + self.far + _SHORT + 12
        return 240.0 if self.both else 154.0

    def _rows(self) -> float:
        """Set the middle of each row; return the top of the highest layer."""
        top = _HALF  # of the row of inputs
        kinds = ["a", *self.found.states[:0:-1], "h"] if self.many else ["h"]
        for layer in self.drawn:
            if layer is None:
                self.skipped = top + _GAP
                top += _GAP + 12
                continue
            for direction in range(self.found.directions):
                first_gap = _GAP if direction == 0 else 18.0
                for i, kind in enumerate(kinds):
                    top += (first_gap if i == 0 else _GAP) + 2 * _HALF
                    self.row[kind, layer, direction == 1] = top - _HALF
            if self.both and layer < self.found.layers - 1:
                top += _GAP + 2 * _HALF
                self.row["both", layer, False] = top - _HALF
        return top

    def _spot(self, node: Node) -> tuple[float, float, float, float]:
        """Return a box's place: x0, y0, x1, y1."""
        if not node.step and node.kind in ("pool", "y"):  # as wide as all steps, or in the middle
            x0, x1 = self.centre[self.first], self.centre[self.last] + self.offsets[-1]
            away = -self.half if node.kind == "pool" else (x1 - x0) / 2 - self.half
            y = self.row[node.kind, 0, False]
            return x0 + away, y - _HALF, x1 - away, y + _HALF
        if node.kind in ("x", "both", "y"):
            centre = self.centre[node.step]
            y = 0.0 if node.kind == "x" else self.row[node.kind, node.layer, False]
            x0 = centre + self.offsets[0] - self.half
            return x0, y - _HALF, centre + self.offsets[-1] + self.half, y + _HALF
        middle = self._middle(node.step, node.reverse)
        y = self.row[node.kind, node.layer, node.reverse]
        x0, x1 = middle - self.half, middle + self.half
        if self.many and node.kind not in ("h", "a"):
            x0, x1 = (middle + 2, x1) if node.reverse else (x0, middle - 2)
        return x0, y - _HALF, x1, y + _HALF

    def _middle(self, step: int, reverse: bool) -> float:
        """Return the middle of a step's boxes in one direction; initial states stand outside."""
        offset = self.offsets[reverse]
        if step in self.centre:
            return self.centre[step] + offset
        away = 2 * self.half + (30.0 if self.many else _SHORT)
        if reverse:
            return self.centre[self.last] + offset + away
        return self.centre[self.first] + offset - away

    def _box(self, node: Node) -> None:
        values = self.nodes[node]
        text = ""
        if values.size > MOST_VALUES:
            text = norm_text(_norm(values) / math.sqrt(values.size))
        x0, y0, x1, y1 = self._spot(node)
        self.drawing.boxes.append(
            Box(
                node,
                x0,
                y0,
                x1,
                y1,
                self._symbol(node),
                None if text else values,
                self.reach(node.kind),
                text,
                10.5 + 2 * (self.found.layers > 1) + 1.5 * self.both,
            )
        )

    def reach(self, kind: str) -> float:
        """Return how far the colours of a kind of box reach: all of a kind have one scale."""
        kind = "h" if kind in ("both", "pool") else kind
        if kind == "h" and self.bounded:
            return 1.0
        largest = max(
            (float(np.abs(value).max()) for node, value in self.nodes.items() if node.kind == kind),
            default=0.0,
        )
        return max(largest, 1.0) if kind == "y" else largest or 1.0

    # ------------------------------------------------------------ names

    def _symbol(self, node: Node) -> str:
        if not node.step and node.kind in ("pool", "y"):
            return "$y$" if node.kind == "y" else self._letter("pool")
        letter = "h" if node.kind == "both" else self._letter(node.kind)
        stacked = self.found.layers > 1 and node.kind not in ("x", "y")
        upper = f"^{{({node.layer})}}" if stacked else ""
        if self.both and node.kind not in ("x", "y", "both"):
            letter = _arrowed(letter, node.reverse, stacked)
        return f"${letter}{upper}_{{{node.step}}}$"

    def _weight(self, name: str) -> str:
        """Turn a parameter's name into a symbol: ``W_hh_l1_reverse``."""
        if not name:
            return ""
        letter, index, *rest = name.split("_")
        reverse = "reverse" in rest
        layers = [part[1:] for part in rest if part != "reverse"]
        stacked = self.found.layers > 1 and name != "W_hy"
        if self.both and name != "W_hy":
            letter = _arrowed(letter, reverse, stacked)
        upper = f"^{{({layers[0] if layers else 0})}}" if stacked else ""
        return f"${letter}{upper}_{{{index}}}$"

    # ------------------------------------------------------------ pieces

    def _text(self, x: float, y: float, text: str, kind: str, ha: str, **options: Any) -> None:
        if text:
            self.drawing.labels.append(Label(x, y, text, kind, ha, **options))

    def _pair(
        self, key: tuple[Node, Node], forward: tuple[Point, ...], back: tuple[Point, ...]
    ) -> None:
        """Add an edge: the arrow forward, and that of the gradient."""
        name = "-".join(name_of(node) for node in key)
        self.drawing.arrows.append(Arrow(f"forward-{name}", forward))
        self.drawing.arrows.append(Arrow(f"back-{name}", back, self.norms[key]))

    def _number(self, key: tuple[Node, Node]) -> str:
        return norm_text(self.norms[key])

    def _vertical(
        self,
        key: tuple[Node, Node],
        x: float,
        low: float,
        high: float,
        labels: tuple[float, float] | None = None,
        side: int = 1,
    ) -> None:
        """Add an upright edge at x; its texts stand between two heights."""
        ahead, behind = x - side * _LANE, x + side * _LANE
        self._pair(key, ((ahead, low), (ahead, high)), ((behind, high), (behind, low)))
        bottom, top = labels or (low, high)
        ha, away = ("left", "right") if side > 0 else ("right", "left")
        number = bottom + 0.28 * (top - bottom)
        self._text(behind + side * _BESIDE, number, self._number(key), "back", ha)
        weight = self._weight(self.edges[key].weight)
        self._text(ahead - side * 3.5, bottom + 0.68 * (top - bottom), weight, "muted", away)

    def _level(self, key: tuple[Node, Node], y: float, start: float, end: float, at: float) -> None:
        """Add a level edge from x = start to end, forward; its texts stand at x = at."""
        self._pair(
            key,
            ((start, y + _LANE), (end, y + _LANE)),
            ((end, y - _LANE), (start, y - _LANE)),
        )
        self._text(at, y - _LANE - 4.5, self._number(key), "back", "center", va="top")
        weight = self._weight(self.edges[key].weight)
        self._text(at, y + _LANE + 3.0, weight, "muted", "center", va="bottom")

    # ------------------------------------------------------------ nodes and edges of a step

    def _input(self, t: int) -> None:
        node = Node("x", t)
        self._box(node)
        x0, y0, x1, _ = self._spot(node)
        middle = (x0 + x1) / 2
        self._text(middle, y0 - 3, self.words.get(t, ""), "ink", "center", va="top")
        if t == self.dies:
            below = y0 - 3 - (9 if self.words else 0)
            self._text(middle, below, f"below 1/{1 / DEAD:.0f}", "muted", "center", va="top")

    def _states(self, layer: int, reverse: bool, t: int) -> None:
        """Add the boxes of a step, and the edges within it."""
        hidden = Node("h", t, layer, reverse)
        self._box(hidden)
        if not self.many:
            return
        side, middle = -1 if reverse else 1, self._middle(t, reverse)
        gates = Node("a", t, layer, reverse)
        self._box(gates)
        y_a, y_h = (self.row[kind, layer, reverse] for kind in ("a", "h"))
        low = y_a + _HALF
        for kind in self.found.states[1:]:
            cell = Node(kind, t, layer, reverse)
            self._box(cell)
            y = self.row[kind, layer, reverse]
            x = middle - side * 20
            self._vertical((gates, cell), x, low, y - _HALF, side=side)
            self._vertical((cell, hidden), x, y + _HALF, y_h - _HALF, side=side)
        self._vertical(
            (gates, hidden), middle + side * 22, low, y_h - _HALF, (low, low + _GAP), side=side
        )

    def _upwards(self, i: int, layer: int, t: int) -> None:
        """Add the edges from below into a layer, and from the layer where both directions join."""
        entry = "a" if self.many else "h"
        below = self.drawn[i - 1] if i else -1
        for direction in range(self.found.directions):
            reverse = direction == 1
            x = self.centre[t] + self.offsets[direction]
            into = Node(entry, t, layer, reverse)
            high = self.row[entry, layer, reverse] - _HALF
            if layer == 0:
                source, low = Node("x", t), _HALF
            else:
                source = Node("both" if self.both else "h", t, layer - 1)
                if below is None:
                    low = self.skipped + 6
                else:
                    low = self.row[source.kind, layer - 1, False] + _HALF
            start = low if reverse else high - _GAP
            self._vertical((source, into), x, low, high, (start, start + _GAP))
        if self.both and layer < self.found.layers - 1:
            joined = Node("both", t, layer)
            self._box(joined)
            high = self.row["both", layer, False] - _HALF
            for direction in range(2):
                state = Node("h", t, layer, direction == 1)
                x, low = self._middle(t, direction == 1), self.row["h", layer, direction == 1]
                self._vertical((state, joined), x, low + _HALF, high, (high - _GAP, high))
        if i + 1 < len(self.drawn) and self.drawn[i + 1] is None:
            self._into_skipped(layer, t)

    def _into_skipped(self, layer: int, t: int) -> None:
        """Add the edges from a layer to the dots of the layers left out above it."""
        source = Node("both" if self.both else "h", t, layer)
        entry = "a" if self.many else "h"
        low = self.row[source.kind, layer, False] + _HALF
        for direction in range(self.found.directions):
            x = self.centre[t] + self.offsets[direction]
            key = (source, Node(entry, t, layer + 1, direction == 1))
            self._vertical(key, x, low, self.skipped - 6)
            self._text(x, self.skipped, r"$\cdots$", "muted", "center")

    def _along(self, layer: int, reverse: bool) -> None:
        """Add the edges from step to step of one pass."""
        steps = sorted(self.centre, reverse=reverse)
        initial = self.found.time + 1 if reverse else 0
        for kind in self.found.states:
            self._box(Node(kind, initial, layer, reverse))
        for before, t in zip([initial, *steps], steps, strict=False):
            earlier = t + 1 if reverse else t - 1
            if before == earlier:
                self._step_edge(layer, reverse, before, t)
            else:
                self._half_edges(layer, reverse, before, t)

    def _step_edge(self, layer: int, reverse: bool, before: int, t: int) -> None:
        side = -1 if reverse else 1
        hidden, entry = Node("h", before, layer, reverse), "a" if self.many else "h"
        into = Node(entry, t, layer, reverse)
        start = self._middle(before, reverse) + side * self.half
        end = self._middle(t, reverse) - side * self.half
        y = self.row["h", layer, reverse]
        if not self.many:
            self._level((hidden, into), y, start, end, end - side * _SHORT / 2)
            return
        outside = before not in self.centre
        back_x = start + side * (6 if outside else 26)
        ahead_x = back_x + side * 8
        y_a = self.row["a", layer, reverse]
        key = (hidden, into)
        self._pair(
            key,
            ((start, y + _LANE), (ahead_x, y + _LANE), (ahead_x, y_a + _LANE), (end, y_a + _LANE)),
            ((end, y_a - _LANE), (back_x, y_a - _LANE), (back_x, y - _LANE), (start, y - _LANE)),
        )
        ha = "left" if reverse else "right"
        text_y = y - _HALF - 0.5 * _GAP
        self._text(back_x - side * 4.5, text_y, self._number(key), "back", ha)
        weight = self._weight(self.edges[key].weight)
        self._text(end - side * 11, y_a - _LANE - 4.5, weight, "muted", "center", va="top")
        for kind in self.found.states[1:]:
            cell = Node(kind, before, layer, reverse), Node(kind, t, layer, reverse)
            at = self._middle(before, reverse) + side * (16 if outside else 46)
            x0 = self._middle(before, reverse) - side * 2
            self._level(cell, self.row[kind, layer, reverse], x0, end, at)

    def _half_edges(self, layer: int, reverse: bool, before: int, t: int) -> None:
        """Add what leads into a gap after `before`, and what leads out of it to t."""
        side, entry = -1 if reverse else 1, "a" if self.many else "h"
        after, last = before + side, t - side
        start = self._middle(before, reverse) + side * self.half
        end = self._middle(t, reverse) - side * self.half
        for kind in self.found.states:
            y = self.row[kind, layer, reverse]
            out = start
            if kind != "h":
                out = self._middle(before, reverse) - side * 2
            away = start + side * self.far
            target = entry if kind == "h" else kind
            key = Node(kind, before, layer, reverse), Node(target, after, layer, reverse)
            self._level(key, y, out, away, away - side * _SHORT / 2)
            self._text(away + side * (9 if self.many else 6), y, r"$\cdots$", "muted", "center")
            key = Node(kind, last, layer, reverse), Node(target, t, layer, reverse)
            near = end - side * _SHORT
            into = self.row[target, layer, reverse]
            self._level(key, into, near, end, end - side * _SHORT / 2)
            if into != y or abs(near - away) > 40:
                self._text(near - side * 8, into, r"$\cdots$", "muted", "center")

    def _gaps(self) -> None:
        for x, count in self._left_out():
            self._text(x, 2, r"$\cdots$", "muted", "center")
            self._text(x, -8, f"{count} steps", "muted", "center")

    def _left_out(self) -> Iterator[tuple[float, int]]:
        """Yield the middle of each gap and how many steps it stands for."""
        for a, b in itertools.pairwise(self.centre):
            if b > a + 1:
                yield (self.centre[a] + self.offsets[-1] + self.centre[b]) / 2, b - a - 1

    # ------------------------------------------------------------ outputs, the strip, the key

    def _outputs(self, top: float) -> float:
        """Add outputs and loss; return the top of the picture."""
        found = self.found
        if found.share is not None:
            top = self._pool(top)
        self.row["y", 0, False] = top + _GAP + _HALF
        y = self.row["y", 0, False]
        shown = [t for t in found.with_loss() if t in self.centre]
        for t in shown:
            node = Node("y", t)
            self._box(node)
            for direction in range(found.directions):
                at = 1 if direction and found.steps == "last" else t
                hidden = Node("h", at, found.layers - 1, direction == 1)
                x = self._middle(at, direction == 1)
                low = self.row["h", found.layers - 1, direction == 1] + _HALF
                if at == t:
                    self._vertical((hidden, node), x, low, y - _HALF, (top, top + _GAP))
                    continue
                self._around((hidden, node), x, low, (top, top + _GAP))
        nodes = [Node("y", t) for t in shown]
        if found.share is not None:
            nodes = [Node("y")]
            self._box(nodes[0])
            x0, _, x1, _ = self._spot(nodes[0])
            self._vertical((Node("pool"), nodes[0]), (x0 + x1) / 2, top, y - _HALF)
        low = y + _HALF
        high = low + 28
        loss = Node("loss")
        text = f"loss {found.loss:.4g}"
        x0, _, _, _ = self._spot(nodes[0])
        _, _, x1, _ = self._spot(nodes[-1])
        missing = (text_width(text) + 10 - (x1 - x0)) / 2
        if missing > 0:
            x0, x1 = x0 - missing, x1 + missing
        self.drawing.boxes.append(Box(loss, x0, high, x1, high + 15, "", text=text))
        for node in nodes:
            y0, _, y1, _ = self._spot(node)
            self._vertical((node, loss), (y0 + y1) / 2, low, high)
        return high + 15

    def _pool(self, top: float) -> float:
        """Add the pooled states, which every step flows into; return their top."""
        pool = Node("pool")
        self.row["pool", 0, False] = middle = top + _GAP + _HALF
        self._box(pool)
        for t in self.centre:
            for direction in range(self.found.directions):
                hidden = Node("h", t, self.found.layers - 1, direction == 1)
                x = self._middle(t, direction == 1)
                low = self.row["h", hidden.layer, hidden.reverse] + _HALF
                self._vertical((hidden, pool), x, low, middle - _HALF, (top, top + _GAP))
        for x, _ in self._left_out():
            self._text(x, top + _GAP / 2, r"$\cdots$", "muted", "center")
        return middle + _HALF

    def _around(
        self, key: tuple[Node, Node], x: float, low: float, labels: tuple[float, float]
    ) -> None:
        """Add the edge from the reverse direction's last state, at step 1, to y of the last."""
        y, (end, _, _, _) = self.row["y", 0, False], self._spot(key[1])
        ahead, behind = x - _LANE, x + _LANE
        self._pair(
            key,
            ((ahead, low), (ahead, y + _LANE), (end, y + _LANE)),
            ((end, y - _LANE), (behind, y - _LANE), (behind, low)),
        )
        bottom, top = labels
        self._text(behind + _BESIDE, (bottom + top) / 2, self._number(key), "back", "left")
        weight = self._weight(self.edges[key].weight)
        self._text(ahead - 3.5, (bottom + top) / 2, weight, "muted", "right")

    @property
    def _bottom(self) -> float:
        return -_HALF - 6 - (9 if self.words else 0) - (9 if self.dies in self.centre else 0)

    def _strip(self, top: float) -> float:
        """Add how each weight's gradient grows; return the bottom."""
        growth = self.found.growth(list(self.centre))
        names = [name for name in growth if name == "W_hy" or _layer_of(name) in self.drawn]
        first = self.centre[self.first] - self.half - 6
        top -= 10
        for name in names:
            one = growth[name]
            base = top - 28
            self._growth(name, one, base, first)
            top = base - 4
        return top

    def _growth(self, name: str, one: Growth, base: float, first: float) -> None:
        letter = self._weight(name)
        self._text(first, base + 16, f"$d${letter}", "ink", "right")
        start = f"from step {1 if one.reverse else self.found.time}"
        self._text(first, base + 4, start, "muted", "right")
        tallest = max(max(one.running[t], one.contribution[t]) for t in self.centre)
        scale = 14 / tallest if tallest > 0 else 0.0
        for t, x in self.centre.items():
            middle = x + (self.offsets[0] + self.offsets[-1]) / 2
            total, part = one.running[t], one.contribution[t]
            bars = self.drawing.bars
            bars.append(Area(middle - 13, base, middle + 13, base + scale * total, "sum"))
            bars.append(Area(middle - 5, base, middle + 5, base + scale * part, "part"))
            bars.append(Area(middle - 15, base - 0.5, middle + 15, base, "base"))
            is_final = t == (self.found.time if one.reverse else 1)
            self._text(
                middle,
                base + 20,
                norm_text(total),
                "back",
                "center",
                bold=is_final,
            )

    def _key(self, top: float, left: float) -> None:
        """Explain lines, widths, colours: items side by side, as many as the picture is wide."""
        right = max(max(box.x1 for box in self.drawing.boxes) + 24, left + 300)
        for line in self._key_lines():
            x, top = left, top - 11
            for item in line:
                width = sum(_key_width(kind, content) for kind, content in item)
                if x > left and x + width > right:
                    x, top = left, top - 11
                for kind, content in item:
                    self._key_item(kind, content, x, top)
                    x += _key_width(kind, content)
                x += 6
        for note in [*self._numbers_in_boxes(), *self.notes]:
            for part in _wrapped(note, right - left):
                top -= 11
                self._text(left, top, part, "muted", "left")
        self._end = top - 5

    def _key_lines(self) -> Iterator[list[list[tuple[str, Any]]]]:
        """Yield lines of items; an item, of marks and texts, is not broken."""
        largest = self.drawing.largest
        yield [
            [("forward", None), ("text", "forward")],
            [("back", largest), ("text", "gradient; number: norm of what flows along the arrow")],
        ]
        if largest > 0:
            items: list[list[tuple[str, Any]]] = [[("text", "width: logarithm of the norm")]]
            for decade in range(0, DECADES + 1, 2):
                norm = largest * 10.0**-decade
                text = norm_text(norm) + (" and less" if decade == DECADES else "")
                items.append([("back", norm), ("text", text)])
            if any(arrow.norm == 0 for arrow in self.drawing.arrows):
                items.append([("back", 0.0), ("text", "exactly 0")])
            yield items
        kinds = list(dict.fromkeys(box.node.kind for box in self.drawing.boxes))
        reaches = [
            f"{self._letter(kind)}: {norm_text(self.reach(kind))}"
            for kind in kinds
            if kind not in ("loss", "both", "pool") and not self._as_text(kind)
        ]
        if reaches:
            yield [
                [("text", "$-r$"), ("ramp", None), ("text", "$r$")],
                [("text", "with $r$ = " + ", ".join(reaches))],
            ]
        yield [
            [("bar", "sum"), ("text", "norm of the sum so far (number: bold where complete)")],
            [("bar", "part"), ("text", "norm of the step's own part")],
        ]

    def _numbers_in_boxes(self) -> Iterator[str]:
        """Say what the numbers are that stand for many values."""
        sizes = {node.kind: value.size for node, value in self.nodes.items()}
        for kind, size in sizes.items():
            if kind != "loss" and self._as_text(kind):
                name = "both directions" if kind == "both" else self._letter(kind)
                yield f"{name}: the number in the box is the root mean square of {size}"

    def _letter(self, kind: str) -> str:
        if kind == "pool":
            return _POOLED[self.found.steps]
        return "e" if kind == "x" and self.words else kind

    def _as_text(self, kind: str) -> bool:
        return any(box.node.kind == kind and box.text for box in self.drawing.boxes)

    def _key_item(self, kind: str, content: Any, x: float, y: float) -> None:
        drawing, ends = self.drawing, ((x, y), (x + 18, y))
        if kind == "text":
            self._text(x, y, content, "muted", "left")
        elif kind == "bar":
            drawing.bars.append(Area(x, y - 3, x + 10, y + 3, content))
        elif kind == "ramp":
            drawing.ramps.append(Ramp(x, y - 3, x + 50, y + 3))
        elif kind == "forward":
            drawing.arrows.append(Arrow("key-forward", ends))
        else:
            drawing.arrows.append(Arrow(f"key-back-{len(drawing.arrows)}", ends[::-1], content))

    def _measure(self) -> None:
        drawing = self.drawing
        x0 = [box.x0 for box in drawing.boxes]
        x1 = [box.x1 for box in drawing.boxes]
        y1 = [box.y1 for box in drawing.boxes]
        for label in drawing.labels:
            width = 1.04 * text_width(label.text, label.bold)  # on a screen whole pixels
            start = {"left": 0.0, "center": -width / 2, "right": -width}[label.ha]
            x0.append(label.x + start)
            x1.append(label.x + start + width)
            y1.append(label.y + 5)
        drawing.extent = (min(x0) - 4, self._end - 3, max(x1) + 4, max(y1) + 3)


def _arrowed(letter: str, reverse: bool, stacked: bool) -> str:
    """Mark a direction; a space keeps the layer's number off the arrow."""
    arrow = "overleftarrow" if reverse else "overrightarrow"
    return rf"\{arrow}{{{letter}}}" + (r"\,{}" if stacked else "")


def _key_width(kind: str, content: Any) -> float:
    """Return how wide an item of the key is."""
    if kind == "text":  # wider where it is drawn in whole pixels
        return 1.06 * text_width(content) + 4
    return {"bar": 14.0, "ramp": 54.0}.get(kind, 22.0)


def _wrapped(text: str, width: float) -> Iterator[str]:
    """Break a text into lines; formulas have no spaces."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


def _drawn_layers(layers: int) -> list[int | None]:
    if layers <= MOST_LAYERS:
        return list(range(layers))
    return [0, None, *range(layers - MOST_LAYERS + 2, layers)]


def _layer_of(name: str) -> int:
    parts = [part for part in name.split("_")[2:] if part != "reverse"]
    return int(parts[0][1:]) if parts else 0


def _norm(values: Array) -> float:
    from ..diagnostics._numbers import norms

    return float(norms(values, (0,)))


def name_of(node: Node) -> str:
    """Write a node in the names of what is drawn."""
    text = f"{node.kind}.{node.step}"
    if node.layer:
        text += f".l{node.layer}"
    return f"{text}.reverse" if node.reverse else text
