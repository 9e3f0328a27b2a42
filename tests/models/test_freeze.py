"""Parameters that training leaves as they are."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained import Bench

import fastbptt
from fastbptt import reference
from fastbptt.optim import OPTIMIZERS

TOKENS = np.array([[0, 2, 5, 1], [4, 4, 2, 3]])


def changed(model: fastbptt.Recurrent, before: dict[str, Any]) -> list[str]:
    return [name for name, array in model.parameters.items() if (array != before[name]).any()]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("bptt_steps", [None, 2])
def test_frozen_parameters_stay(bench: Bench, name: str, bptt_steps: int | None) -> None:
    """Whatever moments they had before, and however they would decay."""
    model, optimizer = bench.model, OPTIMIZERS[name](weight_decay=0.1)
    model.train_step(bench.x, bench.y, optimizer)
    model.freeze("W_hh", "b_y")
    assert model.frozen == ("W_hh", "b_y")
    before = model.state_dict()
    moments = {one: getattr(optimizer, one)["W_hh"].tobytes() for one in optimizer._moments}
    for _ in range(3):
        model.train_step(bench.x, bench.y, optimizer, bptt_steps=bptt_steps)
    optimizer.step(model, np.ones(model.num_parameters))
    assert changed(model, before) == ["W_xh", "b_h", "W_hy"]
    assert {one: getattr(optimizer, one)["W_hh"].tobytes() for one in moments} == moments
    model.unfreeze("W_hh")
    assert model.frozen == ("b_y",)
    model.train_step(bench.x, bench.y, optimizer)
    assert changed(model, before) == ["W_xh", "W_hh", "b_h", "W_hy"]


def test_norm_is_of_what_is_learned(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    learned = ("W_xh", "b_h", "W_hy")
    norm = reference.global_norm(learned, grads)
    assert norm < 0.99 * reference.global_norm(grads, grads)
    for clip_norm in (norm * 0.999, norm * 1.001):
        model, sgd = bench.model.copy(), fastbptt.SGD(1.0)
        model.freeze("W_hh", "b_y")
        before = model.state_dict()
        model.train_step(bench.x, bench.y, sgd, clip_norm=clip_norm)
        scale = min(1.0, clip_norm / norm)
        for name in learned:
            change = before[name] - model.parameters[name]
            np.testing.assert_allclose(change, scale * grads[name], rtol=1e-4, atol=1e-6)


def test_gradients_of_frozen_parameters_are_not_looked_at(bench: Bench) -> None:
    bench.model.freeze("W_xh", "b_h")
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    grads["W_xh"][0, 0] = np.nan
    bench.adam.step(bench.model, grads)
    grads["W_hy"][1, 0] = np.inf
    message = "the gradient of W_hy holds a value that is not finite (inf) at index (1, 0)"
    with bench.refuses(ValueError, message):
        bench.adam.step(bench.model, grads)


def test_everything_frozen(bench: Bench) -> None:
    bench.model.freeze(*bench.model.parameters)
    assert bench.model.frozen == tuple(bench.model.parameters)
    before = bench.model.parameters.flat.tobytes()
    loss = bench.model.train_step(bench.x, bench.y, bench.adam, clip_norm=1.0)
    assert loss == bench.model.loss_and_grad(bench.x, bench.y)[0]
    assert bench.model.parameters.flat.tobytes() == before
    bench.model.unfreeze()
    assert bench.model.frozen == ()


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle", "file"])
def test_goes_with_the_model(bench: Bench, how: str, tmp_path: Path) -> None:
    model = bench.model
    model.freeze("W_hy", "W_xh")
    path = tmp_path / "model.safetensors"
    model.save(path)
    twin: fastbptt.Recurrent = {
        "copy": lambda: model.copy(),
        "deepcopy": lambda: copy.deepcopy(model),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "file": lambda: fastbptt.load(path),
    }[how]()
    assert twin.frozen == ("W_xh", "W_hy")
    before = twin.state_dict()
    twin.train_step(bench.x, bench.y, bench.adam.copy())
    assert changed(twin, before) == ["W_hh", "b_h", "b_y"]
    twin.unfreeze("W_xh")
    assert model.frozen == ("W_xh", "W_hy")


def test_embedding_and_its_padding() -> None:
    """The padding row stays even where it would decay; a frozen embedding is named as frozen."""
    model = fastbptt.GRU(3, 4, 1, embedding=np.ones((6, 3)), padding_index=2, seed=0)
    assert model.frozen == ()
    adamw = fastbptt.AdamW(weight_decay=0.5)
    model.train_step(TOKENS, [0, 1], adamw)
    adamw.step(model, np.ones(model.num_parameters))
    stays = (model.parameters["E"] == 1.0).all(axis=1)
    assert list(stays) == [False, False, True, False, False, False]
    model.freeze("E")
    before = model.parameters["E"].tobytes()
    model.train_step(TOKENS, [0, 1], adamw)
    assert model.parameters["E"].tobytes() == before

    fixed = fastbptt.GRU(3, 4, 1, embedding=6, freeze_embedding=True, seed=0)
    assert fixed.frozen == ("E",)
    fixed.freeze("b_h")
    before = fixed.parameters["E"].tobytes()
    fixed.train_step(TOKENS, [0, 1], fastbptt.SGD(weight_decay=0.5))
    assert fixed.parameters["E"].tobytes() == before
    with pytest.raises(ValueError, match="E cannot be unfrozen") as caught:
        fixed.unfreeze("b_h", "E")
    assert str(caught.value) == "E cannot be unfrozen: the model has freeze_embedding=True"
    assert fixed.frozen == ("b_h", "E")
    fixed.unfreeze()
    assert fixed.frozen == ("E",)


@pytest.mark.parametrize("names", [("E",), ("E", "b_h"), ("E", "W_xh", "b_y")])
def test_unfreezing_all_where_the_embedding_was_frozen_twice(names: tuple[str, ...]) -> None:
    model = fastbptt.GRU(3, 4, 1, embedding=6, freeze_embedding=True, seed=0)
    model.freeze(*names)
    model.unfreeze()
    assert model.frozen == ("E",)
    before = model.state_dict()
    model.train_step(TOKENS, [0, 1], fastbptt.SGD(weight_decay=0.5))
    still = [name for name, old in before.items() if (model.parameters[name] == old).all()]
    assert still == ["E"]


def test_wrong_names(bench: Bench) -> None:
    names = "W_xh, W_hh, b_h, W_hy, b_y"
    bench.model.freeze("b_h")
    for method in (bench.model.freeze, bench.model.unfreeze):
        with bench.refuses(ValueError, f'"W_x" is not a parameter; expected {names}'):
            method("W_xh", "W_x")
        with bench.refuses(TypeError, "a name is of type list; expected str"):
            method(["W_xh"])  # type: ignore[arg-type]
        assert bench.model.frozen == ("b_h",)
    with bench.refuses(TypeError, f"freeze() without names; expected at least one of {names}"):
        bench.model.freeze()
