"""Optimisers go, over 100 steps in float64, where those of PyTorch and Keras go.

The numbers lie in tests/support/vectors/, each file beside the script that made it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from vectors.common import KEPT, SLOWER_AFTER, STEPS, Case, N, downhill, read

import fastbptt
from fastbptt import reference
from fastbptt._views import NamedViews
from fastbptt.optim import OPTIMIZERS

FRAMEWORKS = ("pytorch", "keras")
FILES = {name: read(f"optimizers_{name}") for name in FRAMEWORKS}
CASES = [
    pytest.param(case, id=f"{framework}-{name}")
    for framework, (_, cases) in FILES.items()
    for name, case in cases.items()
]
Array = NDArray[np.float64]


def core(case: Case) -> Array:
    settings = case.options["settings"]
    optimizer = OPTIMIZERS[case.options["optimizer"]](**settings)
    model = fastbptt.RNN(2, 3, 2, dtype="float64")
    flat = model.parameters.flat
    flat[:] = case.arrays["start"]
    kept = []
    for step in range(STEPS):
        if step == SLOWER_AFTER:
            optimizer.lr = settings["lr"] / 4
        optimizer.step(model, downhill(case.arrays, flat, step))
        if step + 1 in KEPT:
            kept.append(flat.copy())
    return np.stack(kept)


def plain(case: Case) -> Array:
    settings = dict(case.options["settings"])
    rule = reference.OPTIMIZERS[case.options["optimizer"]]
    flat, state = case.arrays["start"].copy(), reference.Moments()
    params = NamedViews(flat, fastbptt.RNN(2, 3, 2)._weights.layout)
    kept = []
    for step in range(STEPS):
        if step == SLOWER_AFTER:
            settings["lr"] /= 4
        grads = NamedViews(downhill(case.arrays, flat, step), params._layout)
        rule(params, grads, state, **settings)
        if step + 1 in KEPT:
            kept.append(flat.copy())
    return np.stack(kept)


@pytest.mark.parametrize("run", [core, plain], ids=["core", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_hundred_steps(case: Case, run: Callable[[Case], Array]) -> None:
    found, expected = run(case), case.arrays["p"]
    assert found.shape == expected.shape == (len(KEPT), N)
    # of the way gone by then; where that is less than 1e-3 of the parameter, of that much
    moved = np.abs(expected - case.arrays["start"])
    scale = np.maximum(moved, 1e-3 * np.abs(expected))
    assert (np.abs(found - expected) / scale).max() <= 1e-12
    assert (moved[-1] > 0.01).sum() >= 4


def test_files_hold_every_rule_and_variant() -> None:
    for framework, (metadata, cases) in FILES.items():
        assert (Path(__file__).parent.parent / "support" / "vectors" / metadata["script"]).is_file()
        assert metadata["script"] == f"make_optimizers_{framework}.py"
        assert cases
    options: dict[str, Any] = {name: {"lr"} for name in OPTIMIZERS}
    for _, cases in FILES.values():
        for case in cases.values():
            options[case.options["optimizer"]] |= set(case.options["settings"])
    assert options == {
        "adam": set(fastbptt.Adam._settings),
        "adamw": {"lr", "weight_decay", "amsgrad", "groups"},
        "sgd": set(fastbptt.SGD._settings),
        "rmsprop": set(fastbptt.RMSprop._settings),
    }
