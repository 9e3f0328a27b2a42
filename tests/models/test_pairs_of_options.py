"""Every pair of options of the neuroscientist's network against the reference, on each set."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from networks import close, next_noise

import fastbptt
from fastbptt import Constraints, _core, reference

B, T, I, O = 7, 6, 3, 2
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, O))
LENGTHS = np.array([6, 3, 1, 4, 6, 5, 2])
RESETS = RNG.random((B, T)) < 0.2


def wiring(hidden: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).random((hidden, hidden)) < 0.7


def signs(hidden: int) -> list[int]:
    return [1 if unit % 3 else -1 for unit in range(hidden)]


# Arguments of the model, by the number of units; those of a call. A constraint is a part of one.
MODEL: dict[str, Any] = {
    "preactivation": lambda n: {"formulation": "preactivation"},
    "softplus": lambda n: {"nonlinearity": "softplus"},
    "alpha of each unit": lambda n: {"alpha": np.linspace(0.2, 0.9, n)},
    "learned alpha": lambda n: {"learn_alpha": True},
    "input noise": lambda n: {"input_noise": 0.3},
    "recurrent noise": lambda n: {"recurrent_noise": 0.2},
    "scaled noise": lambda n: {"recurrent_noise": 0.2, "noise_scaling": "alpha"},
    "recurrent dropout": lambda n: {"recurrent_dropout": 0.3},
    "zoneout": lambda n: {"zoneout": 0.2},
    "low rank": lambda n: {"rank": 2},
    "readout units": lambda n: {"readout_units": range(n // 2)},
    "learned initial state": lambda n: {"learn_initial_state": True},
    "two layers": lambda n: {"num_layers": 2, "dropout": 0.3},
    "two directions": lambda n: {"bidirectional": True},
    "masks": lambda n: {"constraints": {"masks": {"W_hh": wiring(n)}}},
    "signs": lambda n: {"constraints": {"signs": {"W_hh": signs(n)}}},
    "norms": lambda n: {"constraints": {"max_norm": {"W_xh": 0.5}}},
}
CALL: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": LENGTHS},
    "resets": {"resets": RESETS},
    "l1": {"l1": {"W_xh": 0.1}},
    "l2": {"l2": {"W_xh": 0.2}},
    "rates": {"activity_l1": 0.3, "activity_l2": 0.4},
    "change of rates": {"activity_change_l2": 0.5},
    "Omega": {"omega": 0.2},
}
# What must be refused, each with the words that say why
REFUSED = {
    ("preactivation", "zoneout"): "zoneout is 0.2",
    ("learned alpha", "scaled noise"): "learn_alpha=True",
    ("low rank", "masks"): "rank",
    ("low rank", "signs"): "rank",
    ("two directions", "resets"): "resets",
    ("recurrent dropout", "Omega"): "omega is given",
    ("zoneout", "Omega"): "omega is given",
    ("preactivation", "Omega"): "omega is given",
}
PAIRS = list(itertools.combinations([*MODEL, *CALL], 2))


def build(pair: tuple[str, str], hidden: int) -> tuple[fastbptt.LeakyRNN, dict[str, Any]]:
    options: dict[str, Any] = {"dtype": "float64", "seed": 3, "alpha": 0.4}
    rules: dict[str, Any] = {}
    call: dict[str, Any] = {}
    for name in pair:
        given = dict(MODEL[name](hidden)) if name in MODEL else {}
        rules |= given.pop("constraints", {})
        options |= given
        call |= CALL.get(name, {})
    if rules:
        options["constraints"] = Constraints(**rules)
    return fastbptt.LeakyRNN(I, hidden, O, **options), call


def gradients(pair: tuple[str, str], hidden: int) -> Any:
    model, call = build(pair, hidden)
    return model.loss_and_grad(X, Y, "mse", "all", **call)


@pytest.mark.parametrize("isa", [one.name for one in fastbptt.backends() if one.usable])
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_as_the_reference(pair: tuple[str, str], isa: str) -> None:
    before = _core.active_backend()
    _core.use_backend(isa)
    try:
        for hidden in (8, 44):  # rows in lanes, and in panels
            if why := REFUSED.get(pair):
                with pytest.raises(fastbptt.ArgumentError, match=why):
                    gradients(pair, hidden)
                continue
            model, call = build(pair, hidden)
            network = next_noise(model, B, T)
            params = {name: np.array(value) for name, value in model.parameters.items()}
            names = ("activity_l1", "activity_l2", "activity_change_l2", "omega")
            of_states = {name: call[name] for name in names if name in call}
            where = {name: call[name] for name in ("lengths", "resets") if name in call}
            value, terms, wanted = reference.penalised_loss_and_grad(
                params, X, Y, of_states, "mse", "all", **where, **network
            )
            for label, power in (("l1", 1), ("l2", 2)):
                for name, strength in call.get(label, {}).items():
                    W = params[name]
                    wanted[name] = wanted[name] + strength * power * np.sign(W) * np.abs(W) ** (
                        power - 1
                    )
            loss, grads = model.loss_and_grad(X, Y, "mse", "all", **call)
            assert loss == pytest.approx(value, rel=1e-11)
            for name, term in terms.items():
                assert model.last_penalties is not None
                assert model.last_penalties[name] == pytest.approx(float(term), rel=1e-10)
            for name in model.parameters:
                free = 1.0
                if name == "W_hh" and "masks" in pair:
                    free = wiring(hidden)  # a masked entry has no gradient
                close(grads[name], wanted[name] * free, 1e-11)
    finally:
        _core.use_backend(before)
