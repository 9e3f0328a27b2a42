"""`fit` with a memory budget: refused before the first update, or enough for all of them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from cases import CELLS

import fastbptt
from fastbptt import reference
from fastbptt.training.distributed import Ranks

TOO_SMALL = r"memory_budget is 1 bytes; expected at least (\d+) for such batches$"


class Recorder(fastbptt.Callback):
    record: ClassVar[str | None] = "gradients"


def drawn(cell: str, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """A network, and a run of it: batches that are full or not, of equal lengths or not."""
    own: dict[str, Any] = {"num_layers": int(rng.integers(1, 3))}
    if reference.CELLS[cell].SETTING:
        own["alpha"] = 0.4
    if own["num_layers"] == 2 and rng.random() < 0.3:
        own["dropout"] = 0.3
    H, dtype = int(rng.choice([1, 1, 2, 5, 17, 41])), str(rng.choice(["float32", "float64"]))
    model = fastbptt.Recurrent(cell, 3, H, 2, dtype=dtype, seed=1, **own)
    size, T = int(rng.integers(1, 8)), int(rng.integers(1, 40))
    B = size * int(rng.integers(1, 4)) + int(rng.integers(0, 2))  # often with one more
    given: dict[str, Any] = {"batch_size": size, "steps": "all"}
    if rng.random() < 0.5:
        given["lengths"] = rng.integers(1, T + 1, B)
    if rng.random() < 0.4:
        given["bptt_steps"] = int(rng.integers(1, T + 1))
    else:
        given["steps"] = str(rng.choice(["all", "last", "max", "mean"]))
        if rng.random() < 0.3:
            given[str(rng.choice(["activity_l1", "activity_change_l2"]))] = 0.01
    if given["steps"] == "all" and rng.random() < 0.3:
        given["resets"] = rng.random((B, T)) < rng.choice([0.0, 0.1, 0.9])
    if rng.random() < 0.3:
        given["callbacks"] = [Recorder()]
    if rng.random() < 0.3:
        given["sample_weight"] = rng.integers(0, 3, B) + (np.arange(B) == 0)
    x = rng.normal(size=(B, T, 3))
    y = rng.normal(size=(B, T, 2) if given["steps"] == "all" else (B, 2))
    return model, {"x": x, "y": y, "bucket": bool(rng.random() < 0.2), **given}


@pytest.mark.parametrize("cell", CELLS)
def test_a_budget_is_refused_at_once_or_is_enough(cell: str) -> None:
    rng = np.random.default_rng(len(cell))
    for _ in range(60):
        model, given = drawn(cell, rng)
        before = model.parameters.flat.tobytes()

        def fit(budget: int, model: Any = model, given: dict[str, Any] = given) -> None:
            rule = fastbptt.SGD(1e-3)
            more = {"loss": "mse", "epochs": 1, "verbose": 0}
            fastbptt.fit(model, optimizer=rule, memory_budget=budget, **more, **given)

        with pytest.raises(ValueError, match=TOO_SMALL) as error:
            fit(1)
        found = re.search(TOO_SMALL, str(error.value))
        assert found is not None
        with pytest.raises(ValueError, match=f"expected at least {found[1]} for"):
            fit(int(found[1]) - 1)
        assert model.parameters.flat.tobytes() == before
        fit(int(found[1]))
        assert model.parameters.flat.tobytes() != before


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_in_which_few_sequences_are_left(cell: str) -> None:
    """One sequence may need more memory than two, which lie in the lanes of a vector."""
    own = {"alpha": 0.4} if reference.CELLS[cell].SETTING else {}
    model = fastbptt.Recurrent(cell, 3, 1, 2, seed=0, **own)
    given: dict[str, Any] = {"lengths": [8, 4], "bptt_steps": 4, "steps": "all", "loss": "mse"}
    given |= {"batch_size": 2, "epochs": 1, "verbose": 0}
    x, y = np.ones((2, 8, 3)), np.ones((2, 8, 2))
    with pytest.raises(ValueError, match=TOO_SMALL) as error:
        fastbptt.fit(model, x, y, memory_budget=1, **given)
    found = re.search(TOO_SMALL, str(error.value))
    assert found is not None
    assert int(found[1]) >= max(model.minimum_memory(count, 4, steps="all") for count in (1, 2))
    fastbptt.fit(model, x, y, memory_budget=int(found[1]), **given)


def test_the_parts_of_a_batch_have_the_sizes_that_are_checked() -> None:
    for size in range(1, 6):
        for count in range(1, 20):
            ranks: Any = [SimpleNamespace(size=size, rank=rank) for rank in range(size)]
            parts = [Ranks._stretch(one, count) for one in ranks]
            own = {max(part.stop - part.start, 1) for part in parts}
            assert own == set(Ranks.part_sizes(ranks[0], count))
