"""Entries of `fastbptt.reference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from effects import Entry, Fresh, With

import fastbptt
from fastbptt import reference

from .common import EACH, LENGTHS, RESETS, WEIGHT, X, Y


def params(**options: Any) -> dict[str, Any]:
    return fastbptt.RNN(2, 4, 1, seed=0, dtype="float64", **options).state_dict()


PARAMS = params()
OTHER = {name: values + 0.1 for name, values in PARAMS.items()}
WORDS = params(embedding=7)
TOKENS = np.arange(72).reshape(12, 6) % 7
STATE = np.ones((1, 12, 4))


def on_network(name: str) -> Callable[..., Any]:
    """Call a function with the settings of the network as one argument."""

    def call(network: dict[str, Any], **arguments: Any) -> Any:
        return getattr(reference, name)(**arguments, **network)

    return call


def backward(network: dict[str, Any], forward: Any, **arguments: Any) -> Any:
    names = ("params", "x", "lengths", "h0", "static", "resets")
    given = {name: arguments.get(name) for name in names}
    out = reference.forward(**given, **network)
    if forward is not None:
        out = reference.forward(**{**given, "params": forward}, **network)
    return reference.backward(forward=out, **arguments, **network)


def both(x: Any = X, params: Any = None, **network: Any) -> Any:
    """Outputs and gradients of a network without readout."""
    params = BARE if params is None else params
    out = reference.forward(params, x, **network)
    return out, reference.backward(params, x, out, np.ones(out.outputs.shape), **network)


def projected(params: Any, **constraints: Any) -> Any:
    """Project a copy."""
    own = {name: values.copy() for name, values in params.items()}
    reference.project(own, **constraints)
    return own


BARE = fastbptt.RNN(
    2, 4, None, seed=0, dtype="float64", num_layers=2, bidirectional=False
).state_dict()
BOTH = fastbptt.RNN(2, 4, None, seed=0, dtype="float64", bidirectional=True).state_dict()
MASK = np.arange(12 * 6 * 4).reshape(12, 6, 4) % 2 * 2.0
EMBEDDED = {"x": TOKENS, "params": WORDS}
NETWORK = {"cell": "leaky"}
MAPPED = params(static_size=2)
SQUARE = np.arange(4.0).reshape(2, 2)
CONSTANTS = np.arange(24.0).reshape(12, 2) / 24
OF_FORWARD: dict[str, Any] = {
    "params": OTHER,
    "x": X + 1,
    "lengths": LENGTHS,
    "h0": STATE,
    "resets": RESETS,
    "static": With(CONSTANTS, {"static": 1 + CONSTANTS, "params": MAPPED}),
    "network": {"cell": "leaky", "settings": {"alpha": 0.7}},
}
OF_LOSS: dict[str, Any] = {
    "y": 1 - Y,
    "loss": "mse",
    "steps": With("all", {"y": EACH}),
    "reduction": "sum",
    "lengths": LENGTHS,
    "sample_weight": WEIGHT,
}


def stepped(rule: Callable[..., None]) -> Callable[..., Any]:
    """Two steps; of the parameters and the state."""

    def call(params: Any, grads: Any, state: Any, **settings: Any) -> Any:
        values = {name: np.array(one) for name, one in params.items()}
        for _ in range(2):
            rule(values, grads, state, **settings)
            grads = {name: one / 2 for name, one in grads.items()}
        return values, state

    return call


def began() -> Any:
    state = reference.Moments()
    state.step = 3
    return state


RULE: dict[str, Any] = {"params": {"a": [1.0, 2.0]}, "grads": {"a": np.array([3.0, 4.0])}}
RULE["state"] = Fresh(reference.Moments)
OF_RULES: dict[str, Any] = {
    "params": {"a": [1.0, 1.0]},
    "grads": {"a": np.array([3.0, 3.0])},
    "state": Fresh(began),
    "lr": 0.2,
    "weight_decay": 0.3,
    "groups": [{"params": ["a"], "lr_factor": 0.5}],
}
OF_ADAM: dict[str, Any] = {
    **OF_RULES,
    "betas": (0.5, 0.6),
    "eps": 0.1,
    "epsilon_hat": With(True, {"eps": 0.1}),
    "amsgrad": With(True, {"betas": (0.1, 0.1)}),
}
GRADS = {"a": np.array([3.0, 4.0]), "b": np.array([1.0, 1.0])}
NAMED = {"params": ["a"], "grads": GRADS}
OF_NAMED = {"params": ["b"], "grads": {"a": np.ones(2) * 9, "b": np.ones(2) * 8}}


def between(**arguments: Any) -> Any:
    return reference.Network(num_layers=3, masks=[MASK, 1 - MASK]).between(**arguments)


def moment(**arguments: Any) -> Any:
    moments = reference.Moments()
    return moments.moment(**arguments), moments.moments


ENTRIES: dict[str, Entry] = {
    "reference.Network": Entry(
        both,
        {"cell": "rnn", "num_layers": 1},
        {
            "cell": "relu",
            "num_layers": 2,
            "bidirectional": With(True, {"params": BOTH}),
            "settings": With({"alpha": 0.7}, {"cell": "leaky"}),
            "masks": With([MASK], {"num_layers": 2}),
            "recurrent_masks": np.full((2, 12, 4), 0.5),
            "zoneout": 0.5,
            "input_noise": X / 9,
            "noise": np.ones((2, 12, 6, 4)) / 9,
            "padding_index": With(2, EMBEDDED),
            "frozen": With(True, EMBEDDED),
            "readout_units": With([3, 2, 1, 0], {"params": PARAMS}),
        },
    ),
    "reference.Network.names": Entry(
        reference.Network(num_layers=2, bidirectional=True).names,
        {"layer": 0, "direction": 0},
        {"layer": 1, "direction": 1},
    ),
    "reference.Network.setting": Entry(
        reference.Network("leaky", settings={"alpha": np.array([[0.1], [0.2]])}).setting,
        {"own": {"W_xh": np.ones((1, 1))}, "row": 0},
        {"own": {"W_xh": np.ones((1, 1)), "logit_alpha": np.ones(1)}, "row": 1},
    ),
    "reference.Network.hidden": Entry(
        reference.Network("leaky_preactivation_tanh").hidden,
        {"states": X[np.newaxis]},
        {"states": X[np.newaxis] + 1},
    ),
    "reference.Network.d_hidden": Entry(
        reference.Network("leaky_preactivation_tanh").d_hidden,
        {"states": X[np.newaxis], "d": np.ones_like(X)},
        {"states": X[np.newaxis] + 1, "d": 2 * np.ones_like(X)},
    ),
    "reference.Network.between": Entry(
        between, {"layer": 0, "values": X[:, :, :1]}, {"layer": 1, "values": X[:, :, 1:]}
    ),
    "reference.Moments.moment": Entry(
        moment,
        {"name": "m", "params": {"a": np.ones(2)}},
        {"name": "v", "params": {"b": np.ones(3)}},
    ),
    "reference.forward": Entry(
        on_network("forward"), {"params": PARAMS, "x": X, "network": NETWORK}, OF_FORWARD
    ),
    "reference.backward": Entry(
        backward,
        {
            "params": PARAMS,
            "x": X,
            "forward": None,
            "d_last": np.ones((12, 1)),
            "network": NETWORK,
        },
        {
            **OF_FORWARD,
            "forward": OTHER,
            "d_outputs": np.ones((12, 6, 1)),
            "d_final_state": STATE,
            "d_last": np.zeros((12, 1)),
            "d_hidden": np.ones((12, 6, 4)),
        },
    ),
    **{
        f"reference.{name}": Entry(
            on_network(name),
            {"params": PARAMS, "x": X, "y": Y, "network": NETWORK},
            {**OF_FORWARD, **OF_LOSS},
        )
        for name in ("loss_and_grad", "loss_only")
    },
    "reference.penalties": Entry(
        reference.penalties,
        {"params": PARAMS, "l1": {"W_hh": 0.1}},
        {"params": OTHER, "l1": {"W_xh": 0.1}, "l2": {"W_hh": 0.1}},
    ),
    "reference.penalised_loss_and_grad": Entry(
        on_network("penalised_loss_and_grad"),
        {"params": PARAMS, "x": X, "y": Y, "penalties": {"omega": 0.1}, "network": NETWORK},
        {**OF_FORWARD, **OF_LOSS, "penalties": {"activity_l2": 0.1}},
    ),
    "reference.activity_penalties": Entry(
        reference.activity_penalties,
        {
            "states": X[np.newaxis],
            "exist": np.ones((12, 6), bool),
            "goes_on": np.ones((12, 6), bool) & (np.arange(6) > 0),
            "activity_l2": 0.1,
            "activity_change_l2": 0.1,
        },
        {
            "states": X[np.newaxis] + 1,
            "exist": np.ones((12, 6), bool) & (np.arange(6) < 5),
            "goes_on": np.ones((12, 6), bool) & (np.arange(6) > 1),
            "activity_l1": 0.1,
            "activity_l2": 0.2,
            "activity_change_l2": 0.2,
        },
    ),
    "reference.omega_term": Entry(
        reference.omega_term,
        {
            "W_hh": SQUARE,
            "before": X,
            "d_gates": X + 1,
            "d_states": X + 2,
            "goes_on": np.ones((12, 6), bool),
            "cell": "leaky",
            "alpha": 0.5,
        },
        {
            "W_hh": SQUARE.T,
            "before": With(X / 2, {"cell": "rnn"}),
            "d_gates": X,
            "d_states": X + 1,
            "goes_on": np.ones((12, 6), bool) & (np.arange(6) > 0),
            "cell": "relu",
            "alpha": 0.3,
        },
    ),
    "reference.signals": Entry(
        reference.signals,
        {
            "W_hh": SQUARE,
            "gates": X,
            "d_states": X,
            "cell": "leaky",
            "alpha": 0.5,
        },
        {
            "W_hh": SQUARE.T,
            "gates": X / 2,
            "d_states": X + 1,
            "cell": "relu",
            "alpha": 0.3,
        },
    ),
    "reference.project": Entry(
        projected,
        {"params": PARAMS, "masks": {"W_hh": np.tri(4)}},
        {
            "params": OTHER,
            "masks": {"W_hh": np.tri(4).T},
            "signs": {"W_hh": np.ones((4, 4))},
            "max_norm": {"W_hh": 0.5},
        },
    ),
    "reference.apply_loss": Entry(
        reference.apply_loss,
        {"outputs": EACH[:, :, None], "y": Y},
        {"outputs": X[:, :, :1]} | OF_LOSS,
    ),
    "reference.dropout_masks": Entry(
        reference.dropout_masks,
        {"seed": 1, "p": 0.5, "batch": 2, "time": 3, "width": 4, "layers": 2},
        {
            "seed": 2,
            "p": 0.2,
            "batch": 3,
            "time": 4,
            "width": 5,
            "layers": 3,
            "dtype": "float32",
        },
    ),
    "reference.recurrent_noise": Entry(
        reference.recurrent_noise,
        {"seed": 1, "std": 0.5, "batch": 2, "time": 3, "hidden_size": 4},
        {
            "seed": 2,
            "std": 0.2,
            "batch": 3,
            "time": 4,
            "hidden_size": 5,
            "layers": 3,
            "directions": 2,
            "dtype": "float32",
        },
    ),
    "reference.zoneout_masks": Entry(
        reference.zoneout_masks,
        {"seed": 1, "p": (0.5,), "batch": 2, "time": 3, "hidden_size": 4},
        {
            "seed": 2,
            "p": (0.2, 0.3),
            "batch": 3,
            "time": 4,
            "hidden_size": 5,
            "layers": 3,
            "directions": 2,
            "dtype": "float32",
        },
    ),
    "reference.recurrent_masks": Entry(
        reference.recurrent_masks,
        {"seed": 1, "p": 0.5, "batch": 2, "hidden_size": 4},
        {
            "seed": 2,
            "p": 0.2,
            "batch": 3,
            "hidden_size": 5,
            "layers": 3,
            "directions": 2,
            "dtype": "float32",
        },
    ),
    "reference.input_noise": Entry(
        reference.input_noise,
        {"seed": 1, "std": 0.5, "batch": 2, "time": 3, "input_size": 4},
        {"seed": 2, "std": 0.2, "batch": 3, "time": 4, "input_size": 5, "dtype": "float32"},
    ),
    "reference.adam_step": Entry(stepped(reference.adam_step), RULE, OF_ADAM),
    "reference.adamw_step": Entry(stepped(reference.adamw_step), RULE, OF_ADAM),
    "reference.sgd_step": Entry(
        stepped(reference.sgd_step),
        RULE,
        {**OF_RULES, "momentum": 0.5, "nesterov": With(True, {"momentum": 0.5})},
    ),
    "reference.rmsprop_step": Entry(
        stepped(reference.rmsprop_step),
        RULE,
        {**OF_RULES, "alpha": 0.5, "eps": 0.1, "momentum": 0.5, "centered": True},
    ),
    "reference.global_norm": Entry(reference.global_norm, NAMED, OF_NAMED),
    "reference.clip_by_global_norm": Entry(
        reference.clip_by_global_norm, {**NAMED, "clip_norm": 1.0}, {**OF_NAMED, "clip_norm": 2.0}
    ),
    "reference.clip_by_value": Entry(
        reference.clip_by_value, {**NAMED, "clip_value": 0.5}, {**OF_NAMED, "clip_value": 0.7}
    ),
}
