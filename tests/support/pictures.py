"""What is wrong with a picture that a reader would see: found by drawing it.

`defects` works for every matplotlib figure: text over text, text that leaves the canvas. In
diagrams whose boxes have a gid that begins with ``node`` and whose arrows have one that begins
with ``edge`` (the line) or ``head``, it also finds lines through boxes, lines along lines, text
on lines and heads that are cut off or lie in each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Rectangle(NamedTuple):
    """In pixels; of slanted text what is around it, with its own corners."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    slanted: tuple[float, float, float] | None = None  # own width and height, angle in radians

    def grown(self, by: float) -> Rectangle:
        slanted = self.slanted and (
            self.slanted[0] + 2 * by,
            self.slanted[1] + 2 * by,
            self.slanted[2],
        )
        return Rectangle(self.name, self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by, slanted)

    def overlaps(self, other: Rectangle) -> bool:
        around = (
            self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1
        )
        if not around or self.slanted is other.slanted is None:
            return around
        # Two rectangles are apart if the direction of one of their sides keeps them apart.
        for angle in (one.slanted[2] if one.slanted else 0.0 for one in (self, other)):
            for turn in (angle, angle + np.pi / 2):
                axis = np.array([np.cos(turn), np.sin(turn)])
                one, two = self.corners() @ axis, other.corners() @ axis
                if one.max() <= two.min() or two.max() <= one.min():
                    return False
        return True

    def corners(self) -> Array:
        middle = np.array([self.x0 + self.x1, self.y0 + self.y1]) / 2
        width, height, angle = self.slanted or (self.x1 - self.x0, self.y1 - self.y0, 0.0)
        along = np.array([np.cos(angle), np.sin(angle)]) * width / 2
        across = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
        return np.array([middle + a * along + b * across for a in (-1, 1) for b in (-1, 1)])

    def holds(self, other: Rectangle) -> bool:
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and other.x1 <= self.x1
            and other.y1 <= self.y1
        )


class Line(NamedTuple):
    """A polyline with its width, in pixels."""

    name: str
    points: Array
    width: float

    def boxes(self) -> list[Rectangle]:
        """One for each segment, which is upright or level."""
        half = self.width / 2
        found = []
        for a, b in zip(self.points, self.points[1:], strict=False):
            (x0, y0), (x1, y1) = np.minimum(a, b), np.maximum(a, b)
            if x1 - x0 > y1 - y0:
                found.append(Rectangle(self.name, x0, y0 - half, x1, y1 + half))
            else:
                found.append(Rectangle(self.name, x0 - half, y0, x1 + half, y1))
        return found


class Parts(NamedTuple):
    texts: list[Rectangle]
    nodes: list[Rectangle]
    lines: list[Line]
    heads: list[Rectangle]
    canvas: Rectangle


def parts(figure: Any) -> Parts:
    """Draw a figure and return where its pieces lie."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    texts: list[Rectangle] = []
    real = Text.draw

    def spy(self: Any, renderer: Any, *args: Any, **options: Any) -> Any:
        if self.get_visible() and self.get_text().strip():
            box, angle, slanted = Text.get_window_extent(self, renderer), self.get_rotation(), None
            if angle % 90:
                self.set_rotation(0)
                level = Text.get_window_extent(self, renderer)
                self.set_rotation(angle)
                slanted = (level.width, level.height, np.deg2rad(angle))
            texts.append(Rectangle(self.get_text(), box.x0, box.y0, box.x1, box.y1, slanted))
        return real(self, renderer, *args, **options)

    with mock.patch.object(Text, "draw", spy):
        canvas.draw()
    scale = figure.dpi / 72
    nodes, lines, heads = [], [], []
    for ax in figure.axes:
        for patch in ax.patches:
            kind, _, name = str(patch.get_gid()).partition("-")
            corners = patch.get_transform().transform(patch.get_path().vertices)
            (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
            if kind == "node":
                nodes.append(Rectangle(name, x0, y0, x1, y1))
            elif kind == "head":
                heads.append(Rectangle(name, x0, y0, x1, y1))
            elif kind == "edge":
                lines.append(Line(name, corners, patch.get_linewidth() * scale))
    width, height = figure.bbox.width, figure.bbox.height
    return Parts(texts, nodes, lines, heads, Rectangle("canvas", 0, 0, width, height))


def defects(figure: Any, found: Parts | None = None, slack: float = 0.4) -> list[str]:
    """Describe what a reader would find wrong; lengths below `slack` points do not count.

    ``found`` is what `parts` returns, if it is known already.
    """
    found = found or parts(figure)
    less = -slack * figure.dpi / 72
    texts = [text.grown(less) for text in found.texts]
    wrong = [
        f"text {text.name!r} leaves the canvas" for text in texts if not found.canvas.holds(text)
    ]
    for i, one in enumerate(texts):
        wrong += [f"text {one.name!r} over {b.name!r}" for b in texts[i + 1 :] if one.overlaps(b)]
    wrong += _about_nodes(found, texts, less)
    wrong += _about_lines(found, texts, less)
    return wrong


def _about_nodes(found: Parts, texts: list[Rectangle], less: float) -> list[str]:
    wrong = []
    for i, node in enumerate(found.nodes):
        inner = node.grown(less)
        wrong += [
            f"box {node.name} over {b.name}" for b in found.nodes[i + 1 :] if inner.overlaps(b)
        ]
        for text in texts:
            if inner.overlaps(text) and not node.holds(text):
                wrong.append(f"text {text.name!r} across the border of {node.name}")
        for line in found.lines:
            if any(inner.overlaps(box) for box in line.boxes()):
                wrong.append(f"line {line.name} through {node.name}")
        wrong += [
            f"head {head.name} in {node.name}" for head in found.heads if inner.overlaps(head)
        ]
    wrong += [
        f"box {node.name} leaves the canvas" for node in found.nodes if not found.canvas.holds(node)
    ]
    return wrong


def _about_lines(found: Parts, texts: list[Rectangle], less: float) -> list[str]:
    wrong = []
    pieces = [box.grown(less / 2) for line in found.lines for box in line.boxes()]
    heads = [head.grown(less / 2) for head in found.heads]
    for text in texts:
        wrong += [
            f"text {text.name!r} on line {p.name}" for p in [*pieces, *heads] if text.overlaps(p)
        ]
    for i, head in enumerate(heads):
        wrong += [f"head {head.name} in {b.name}" for b in heads[i + 1 :] if head.overlaps(b)]
        wrong += [
            f"line {p.name} through the head of {head.name}"
            for p in pieces
            if p.name != head.name and p.overlaps(head)
        ]
        if not found.canvas.holds(head):
            wrong.append(f"head {head.name} leaves the canvas")
    for i, one in enumerate(pieces):
        for other in pieces[i + 1 :]:
            if one.name != other.name and one.overlaps(other) and _upright(one) == _upright(other):
                wrong.append(f"line {one.name} along {other.name}")
    return wrong


def _upright(box: Rectangle) -> bool:
    return box.y1 - box.y0 > box.x1 - box.x0
