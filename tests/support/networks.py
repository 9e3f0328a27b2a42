"""Models of the shared test problems, and what the reference says about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Array, Case, Problem, build

import fastbptt
from fastbptt import reference
from fastbptt.models import _options


def model_of(case: Case, dtype: str = "float64", seed: int = 0) -> fastbptt.Recurrent:
    """A model of any registered cell, as the generic class makes it."""
    return fastbptt.Recurrent(
        case.cell,
        case.I,
        case.H,
        case.O,
        alpha=0.2 if case.learn_alpha else case.alpha,
        learn_alpha=case.learn_alpha,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        bias=case.bias,
        output_bias=case.output_bias,
        readout_units=case.readout_units,
        rank=case.rank,
        static_size=case.static_size,
        dropout=case.dropout,
        learn_initial_state=case.learn_initial_state,
        embedding=case.embedding,
        padding_index=case.padding_index,
        freeze_embedding=case.freeze_embedding,
        dtype=dtype,
        seed=seed,
    )


def both(case: Case, dtype: str = "float64") -> tuple[fastbptt.Recurrent, Problem]:
    """Model and problem with the same parameters; the masks are those of the next pass."""
    model, problem = model_of(case, dtype), build(case, dtype)
    model.load_state_dict(problem.params)
    if case.dropout:
        problem.network["masks"] = next_masks(model, case.B, case.T)
    return model, problem


def next_masks(model: fastbptt.Recurrent, batch: int, time: int) -> list[Array]:
    """The masks of the model's next training pass."""
    width = model.hidden_size * (2 if model.bidirectional else 1)
    return reference.dropout_masks(
        next_seed(model), model.dropout, batch, time, width, model.num_layers
    )


def next_noise(model: fastbptt.Recurrent, batch: int, time: int) -> dict[str, Any]:
    """The network of the model's next training pass, with all that it draws."""
    seed, directions = next_seed(model), 2 if model.bidirectional else 1
    network: dict[str, Any] = {
        "cell": model.cell,
        "num_layers": model.num_layers,
        "bidirectional": model.bidirectional,
        "readout_units": model.readout_units,
    }
    scale = np.ones(())
    if model._spec.setting:
        alpha = _options.settings_now(model._spec, model.parameters)  # one, (H,), or (L * D, H)
        network["settings"] = {"alpha": alpha}
        if model.noise_scaling:
            scale = np.sqrt(2 / alpha)
    if model.recurrent_noise:
        sizes = (batch, time, model.hidden_size, model.num_layers, directions)
        noise = reference.recurrent_noise(seed, model.recurrent_noise, *sizes)
        each = scale[:, np.newaxis, np.newaxis] if scale.ndim == 2 else scale
        network["noise"] = noise * each.astype(noise.dtype)
    if model.input_noise:
        sizes = (batch, time, model.input_size)
        noise = reference.input_noise(seed, model.input_noise, *sizes)
        network["input_noise"] = noise * scale.astype(noise.dtype)
    if model.recurrent_dropout:
        sizes = (batch, model.hidden_size, model.num_layers, directions)
        network["recurrent_masks"] = reference.recurrent_masks(
            seed, model.recurrent_dropout, *sizes
        )
    if any(model._spec.zoneout):
        shares = model._spec.zoneout[: len(reference.CELLS[model.cell].STATES)]
        sizes = (batch, time, model.hidden_size, model.num_layers, directions)
        network["zoneout"] = reference.zoneout_masks(seed, shares, *sizes)
    if model.dropout:
        network["masks"] = next_masks(model, batch, time)
    return network


def next_seed(model: fastbptt.Recurrent) -> int:
    """The seed of the model's next training pass, by the formulas in words of the docs."""
    seed, count = model._dropout_seeds.state
    z = seed + (count + 1) * 0x9E3779B97F4A7C15
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z %= 2**64
        z = (z ^ z >> shift) * factor
    z %= 2**64
    return z ^ z >> 31


def clean(case: Case, problem: Problem) -> Array:
    """The input with nothing of note after a sequence's end."""
    if problem.lengths is None:
        return problem.x
    after = np.arange(case.T) >= problem.lengths[:, np.newaxis]
    x = problem.x.copy()
    x[after] = 0
    return x


def parts(state: Any) -> tuple[Array, ...]:
    """A state as a tuple, however many arrays it is."""
    return state if isinstance(state, tuple) else (state,)


def initial_gradients(
    case: Case, problem: Problem, call: Any, names: tuple[str, ...]
) -> tuple[Array, ...]:
    """Gradients of each sequence's own initial state, where the parameters would hide them.

    call(params, h0) returns the reference's gradients.
    """
    params, h0 = dict(problem.params), problem.h0
    if case.learn_initial_state:
        learned = tuple(np.repeat(params.pop(n)[:, np.newaxis], case.B, axis=1) for n in names)
        if h0 is None:
            h0 = learned if len(learned) > 1 else learned[0]
    grads = call(params, h0)
    return tuple(grads[name] for name in names)


def close(got: Any, expected: Any, rel: float = 1e-10) -> None:
    """Equal up to rounding, by the largest entry."""
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
    assert float(np.abs(got - expected).max(initial=0)) <= rel * scale
