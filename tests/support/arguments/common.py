"""Data, models and objectives that many entries share."""

from __future__ import annotations

from typing import Any

import numpy as np
from effects import Each, Refused, With

import fastbptt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6, 2))
Y = (X[:, :, 0].sum(axis=1) > 0).astype(float)
EACH = (X[:, :, 0] > 0).astype(float)
LENGTHS = np.array([6, 5, 4, 3, 6, 6, 2, 6, 1, 6, 5, 4])
WEIGHT = np.arange(1.0, 13.0)
RESETS = np.arange(72).reshape(12, 6) % 5 == 3
GAPPED = np.where(np.arange(12) % 3 == 0, np.nan, Y)
STATE = np.ones((2, 12, 4))
NAN = np.where(np.arange(144).reshape(12, 6, 2) == 7, np.nan, X)


def model(seed: int = 0, **options: Any) -> Any:
    return fastbptt.GRU(2, 4, 1, seed=seed, **options)


OBJECTIVE: dict[str, Any] = {
    "loss": "mse",
    "steps": With("all", {"y": EACH}),
    "reduction": "sum",
    "lengths": LENGTHS,
    "sample_weight": Each(WEIGHT, With(EACH + 0.5, {"steps": "all", "y": EACH})),
    "warmup": Each(With(2, {"steps": "all", "y": EACH}), Refused(2, "warmup is 2")),
    "resets": Each(RESETS, Refused(RESETS, 'resets is given, but steps="m', {"steps": "mean"})),
}
STATIC = RNG.normal(size=(12, 2))


def mapped(**options: Any) -> With:
    """Constants of each sequence, for a model that takes them; options: further arguments."""
    return With(STATIC, {"static": STATIC + 1, **options})


DATA: dict[str, Any] = {"x": X + 1, "y": 1 - Y}
