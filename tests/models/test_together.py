"""Steps of several models in one call: each has the same bits as its own `train_step`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import together as _together
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbptt
from fastbptt import _check, _core
from fastbptt._errors import ArgumentError


def targets(name: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    info = _core.loss_info(name)
    if info["targets"] == "classes":
        return rng.integers(0, shape[-1], shape[:-1])
    values = rng.uniform(0.1, 0.9, shape)
    return np.where(values < 0.5, info["low"], info["high"]) if info["two_values"] else values


class One:
    """A model with its data and its optimiser."""

    def __init__(
        self,
        seed: int,
        cell: str = "gru",
        H: int = 5,
        B: int = 1,
        T: int = 9,
        loss: str = "mse",
        steps: str = "all",
        dtype: str = "float32",
        optimizer: Any = fastbptt.Adam,
        **options: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        each = 3 if loss == "quantile" else _core.loss_info(loss)["outputs"]
        width = 2 * each
        setting = _core.cell_info(cell)["setting"]
        if setting:
            options[setting] = 0.3
        self.model = fastbptt.Recurrent(cell, 2, H, width, seed=seed, dtype=dtype, **options)
        self.optimizer = optimizer(lr=0.01)
        self.x = rng.normal(size=(B, T, 2))
        self.loss: Any = loss
        columns = width if _core.loss_info(loss)["targets"] == "classes" else 2
        self.y = targets(loss, rng, (B, T, columns) if steps == "all" else (B, columns))
        self.steps = steps

    def alone(self, **given: Any) -> float:
        return self.model.train_step(self.x, self.y, self.optimizer, self.loss, self.steps, **given)

    def step(self, clip_norm: float | None = None, sample_weight: Any = None) -> _together.Step:
        batch, objective = self.model._checked(
            self.x, self.y, self.loss, self.steps, "mean", None, None, sample_weight, True
        )
        clip = None if clip_norm is None else _check.clip(clip_norm, None)
        return _together.Step(self.model._weights, batch, objective, self.optimizer, clip)

    def bits(self) -> bytes:
        binding = self.optimizer._binding
        assert binding is not None
        moments = b"".join(a.tobytes() for a in binding.moments.values())
        return self.model._weights.get().tobytes() + moments + bytes([binding.state.step])


def same(count: int, rounds: int = 2, **how: Any) -> None:
    given = {k: how.pop(k) for k in ("clip_norm",) if k in how}
    alone = [One(seed, **how) for seed in range(count)]
    together = [One(seed, **how) for seed in range(count)]
    for _ in range(rounds):
        expected = [one.alone(**given) for one in alone]
        assert _together.train([one.step(**given) for one in together]) == expected
    for one, other in zip(alone, together, strict=True):
        assert one.bits() == other.bits()


@pytest.mark.parametrize("cell", _core.cells())
@pytest.mark.parametrize("steps", ["last", "all"])
def test_every_cell_has_the_bits_of_its_own_step(cell: str, steps: str) -> None:
    same(17, cell=cell, steps=steps)


@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_loss_has_the_bits_of_its_own_step(loss: str, dtype: str) -> None:
    same(17, loss=loss, dtype=dtype)


@pytest.mark.parametrize("optimizer", [fastbptt.SGD, fastbptt.AdamW, fastbptt.RMSprop])
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_every_optimizer_has_the_bits_of_its_own_step(
    optimizer: Any, clip_norm: float | None
) -> None:
    same(16, optimizer=optimizer, clip_norm=clip_norm)


@given(
    count=st.integers(1, 35),
    H=st.integers(1, 12),
    B=st.integers(1, 5),
    T=st.integers(1, 12),
    dtype=st.sampled_from(["float32", "float64"]),
    cell=st.sampled_from(["rnn", "gru", "lstm"]),
    layers=st.integers(1, 2),
    learn=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_sizes_have_the_bits_of_their_own_steps(
    count: int, H: int, B: int, T: int, dtype: str, cell: str, layers: int, learn: bool
) -> None:
    same(
        count, 1, H=H, B=B, T=T, dtype=dtype, cell=cell, num_layers=layers,
        learn_initial_state=learn,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{"bias": False}, {"output_bias": False}, {"bidirectional": True}, {"rank": 2}],
    ids=str,
)
def test_options_that_go_together_or_do_not(options: dict[str, Any]) -> None:
    same(16, **options)


def test_losses_at_other_steps_do_not_go_together() -> None:
    hows: list[dict[str, Any]] = [
        {"steps": "last" if seed % 2 else "all", "seed": seed} for seed in range(32)
    ]
    alone, together = ([One(**how) for how in hows] for _ in range(2))
    expected = [one.alone() for one in alone]
    assert _together.train([one.step() for one in together]) == expected
    for one, other in zip(alone, together, strict=True):
        assert one.bits() == other.bits()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_initial_states_that_are_given_beside_learned_ones(cell: str) -> None:
    """What is learned gets no gradient where a state is given."""
    alone, together = (
        [One(seed, cell, B=2, learn_initial_state=True) for seed in range(32)] for _ in range(2)
    )
    given = np.random.default_rng(0).normal(size=(1, 2, 5))
    h0 = (given, None) if cell == "lstm" else given
    expected = [one.alone(h0=h0) for one in alone]
    steps = []
    for one in together:
        batch, objective = one.model._checked(
            one.x, one.y, one.loss, one.steps, "mean", None, h0, None, True
        )
        steps.append(_together.Step(one.model._weights, batch, objective, one.optimizer))
    assert _together.train(steps) == expected
    for a, b in zip(alone, together, strict=True):
        assert a.bits() == b.bits()


def test_an_error_of_one_model_is_its_own() -> None:
    models, expected = [One(seed) for seed in range(16)], [One(seed) for seed in range(16)]
    for those in (models, expected):
        those[3].x[0, 4, 1] = np.nan
        those[5].y[0, 2, 1] = np.inf
    results = _together.train([one.step() for one in models])
    for i, (one, result) in enumerate(zip(expected, results, strict=True)):
        if i not in {3, 5}:
            assert result == one.alone()
            assert one.bits() == models[i].bits()
            continue
        with pytest.raises(ArgumentError) as caught:
            one.alone()
        assert str(result) == str(caught.value)
        assert isinstance(result, ArgumentError)
        assert models[i].optimizer._binding is None


def test_another_models_optimizer_is_an_error_of_that_model() -> None:
    models = [One(seed) for seed in range(3)]
    models[1].alone()
    steps = [one.step() for one in models]
    before = models[2].model._weights.get()
    results = _together.train([steps[0], steps[2]._replace(optimizer=models[1].optimizer)])
    assert isinstance(results[0], float)
    assert "belongs to another model" in str(results[1])
    np.testing.assert_array_equal(models[2].model._weights.get(), before)


def test_a_model_twice_is_refused() -> None:
    step = One(0).step()
    other = step._replace(optimizer=fastbptt.SGD(0.1))
    with pytest.raises(ArgumentError, match="model is there twice"):
        _together.train([step, other])
    with pytest.raises(ArgumentError, match="optimizer is there twice"):
        _together.train([step, step])


def test_no_model_at_all() -> None:
    assert _together.train([]) == []
