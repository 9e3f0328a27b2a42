"""Any calls in any order give what the reference says; what is refused leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import operations
import pytest
from accuracy import ISAS
from cases import CELLS, FUZZ
from operations import OPERATIONS, Noisy, Run

import fastbptt
from fastbptt import _core, reference
from fastbptt.models import _arguments, truncated
from fastbptt.models._dropout_seeds import DropoutSeeds
from fastbptt.models._weights import Weights
from fastbptt.optim import optimizers

RUNS, LENGTH = FUZZ, 40


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads, backend = fastbptt.get_num_threads(), _core.active_backend()
    yield
    fastbptt.set_num_threads(threads)
    _core.use_backend(backend)


def _all_of(cell: str, runs: int, folder: Path) -> int:
    """Return how many comparisons needed a closer look."""
    doubtful = 0
    for seed in range(runs):
        _core.use_backend(ISAS[seed % len(ISAS)])
        doubtful += Run(cell, seed, folder).go(LENGTH)
    return doubtful


@pytest.mark.parametrize("cell", CELLS)
def test_random_operations(cell: str, tmp_path: Path) -> None:
    doubtful = _all_of(cell, RUNS, tmp_path)
    assert doubtful <= max(4, RUNS * LENGTH // 20)


# ---------------------------------------------------------------- faults that must be found


def _seeds_stay_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DropoutSeeds, "give_back", lambda self, taken: None)


def _frozen_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def set_frozen(self: Weights, names: frozenset[str]) -> None:
        self.frozen = names

    patch.setattr(Weights, "set_frozen", set_frozen)


def _copies_have_another_rate(patch: pytest.MonkeyPatch) -> None:
    load = fastbptt.Adam.__setstate__

    def loaded(self: Any, state: dict[str, Any]) -> None:
        load(self, state)
        self._lr = 0.125

    patch.setattr(fastbptt.optim.Optimizer, "__setstate__", loaded)


def _chunks_weigh_alike(patch: pytest.MonkeyPatch) -> None:
    chunks = truncated.chunks

    def alike(*given: Any) -> Iterator[truncated.Chunk]:
        for chunk in chunks(*given):
            yield chunk._replace(share=None if chunk.share is None else 1.0)

    patch.setattr(truncated, "chunks", alike)


def _lengths_are_cut(patch: pytest.MonkeyPatch) -> None:
    lengths = _arguments.lengths

    def cut(*given: Any) -> Any:
        found = lengths(*given)
        return found if found is None else np.maximum(found - 1, 1)

    patch.setattr(_arguments, "lengths", cut)


def _a_rule_is_off(patch: pytest.MonkeyPatch) -> None:
    for name, rule in list(reference.OPTIMIZERS.items()):

        def off(params: Any, *given: Any, rule: Any = rule, **settings: Any) -> None:
            rule(params, *given, **settings)
            for array in params.values():
                array *= 1 + 1e-5

        patch.setitem(reference.OPTIMIZERS, name, off)


def _rates_below_0(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(optimizers, "_at_least_0", lambda name, value: float(value or 0.0))


SABOTAGE: dict[str, tuple[Any, ...]] = {
    "seeds stay taken": (_seeds_stay_taken, "refused"),
    "frozen is forgotten": (_frozen_is_forgotten, "freeze", "train"),
    "copies have another rate": (_copies_have_another_rate, "copy"),
    "chunks weigh alike": (_chunks_weigh_alike, "train"),
    "lengths are cut": (_lengths_are_cut, "loss"),
    "a rule is off": (_a_rule_is_off, "optimizer.step"),
    "rates below 0": (_rates_below_0, "refused"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SABOTAGE)
def test_a_fault_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, *few = SABOTAGE[name]
    only = {key: OPERATIONS[key] for key in ("construct", *few)}
    monkeypatch.setattr(operations, "OPERATIONS", only)
    spoil(monkeypatch)
    with pytest.raises(AssertionError, match=r"Run\('\w+', \d+, folder\)"):
        _all_of("lstm", 20, tmp_path)


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("cell", reference.CELLS)
def test_every_number_of_the_reference_is_rounded_at_random(cell: str, steps: str) -> None:
    """Else it would understate what rounding may make of a number."""
    own = {"alpha": 0.4} if reference.CELLS[cell].SETTING else {}
    model = fastbptt.Recurrent(cell, 2, 3, 1, num_layers=2, dtype="float64", seed=0, **own)
    rng = np.random.default_rng(0)
    params = {n: Noisy.of(a, model.dtype, rng) for n, a in model.parameters.items()}
    x, y = Noisy.of(rng.normal(size=(4, 5, 2)), model.dtype, rng), rng.normal(size=(4, 1))
    if steps == "all":
        y = rng.normal(size=(4, 5, 1))
    keywords: dict[str, Any] = {"cell": cell, "num_layers": 2, "settings": own}
    keywords["lengths"] = np.array([5, 2, 1, 3])
    found = reference.forward(params, x, **keywords)
    for name in ("outputs", "last", "final_state", "states", "hidden"):
        value = getattr(found, name)
        for one in value if isinstance(value, tuple) else (value,):
            assert isinstance(one, Noisy), name
    for more in ({}, {"resets": np.array([[0, 0, 1, 0, 0]] * 4)} if steps == "all" else {}):
        grads = reference.loss_and_grad(params, x, y, "mse", steps, **keywords, **more)[1]
        assert {n for n, a in grads.items() if not isinstance(a, Noisy)} == set(), steps
