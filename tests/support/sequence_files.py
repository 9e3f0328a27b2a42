"""Small tasks that a network learns in a second, written as a user's files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = ("down", "flat", "up")


class Task:
    """Noisy slopes on a large offset: the class is the direction, the number is the slope."""

    def __init__(self, count: int, seed: int = 0, steps: tuple[int, int] = (6, 12)) -> None:
        rng = np.random.default_rng(seed)
        self.kinds = [CLASSES[i % 3] for i in range(count)]
        self.slopes = [100.0 * (CLASSES.index(kind) - 1) for kind in self.kinds]
        self.x: list[NDArray[np.float64]] = []
        for slope in self.slopes:
            time = np.arange(rng.integers(*steps, endpoint=True))
            noise = rng.normal(size=len(time))
            height = 5000.0 + slope * (time - rng.uniform(0, 8)) + 20.0 * noise
            self.x.append(np.stack([height, rng.normal(size=len(time))], axis=1).round(3))
        self.ids = [f"s{i + 1}" for i in range(count)]
        self.prices = [3000.0 + 2.0 * slope for slope in self.slopes]

    def rows(self, last: dict[str, list[list[Any]]]) -> list[list[Any]]:
        """One row for each step: id, step, features, and what is to follow."""
        return [
            [self.ids[i], t + 1, *step, *(values[i][t] for values in last.values())]
            for i, one in enumerate(self.x)
            for t, step in enumerate(one.tolist())
        ]

    def per_sequence(self, values: Sequence[Any]) -> list[list[Any]]:
        return [[value] * len(one) for value, one in zip(values, self.x, strict=True)]

    def rising(self) -> list[list[str]]:
        """A label for each step: has the second feature been positive?"""
        return [["yes" if seen > 0 else "no" for seen in one[:, 1]] for one in self.x]

    def csv(self, path: Path, what: str = "label", header: str = "") -> str:
        """Write a table with labels, prices, labels for each step, or none."""
        last = {
            "label": {"label": self.per_sequence(self.kinds)},
            "price": {"price": self.per_sequence(self.prices)},
            "steps": {"label": self.rising()},
            "none": {},
        }[what]
        head = header or ",".join(["id", "step", "height", "noise", *last])
        lines = [head, *(",".join(map(str, row)) for row in self.rows(last))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    def ts(self, path: Path) -> str:
        lines = [f"@problemName slopes\n@classLabel true {' '.join(CLASSES)}\n@data"]
        for one, kind in zip(self.x, self.kinds, strict=True):
            lines.append(":".join([*(",".join(map(str, each)) for each in one.T.tolist()), kind]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)
