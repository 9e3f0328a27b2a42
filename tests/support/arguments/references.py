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
    given = {name: arguments.get(name) for name in ("params", "x", "lengths", "h0", "resets")}
    out = reference.forward(**given, **network)
    if forward is not None:
        out = reference.forward(**{**given, "params": forward}, **network)
    return reference.backward(forward=out, **arguments, **network)


def both(x: Any = X, params: Any = None, **network: Any) -> Any:
    """Outputs and gradients of a network without readout."""
    params = BARE if params is None else params
    out = reference.forward(params, x, **network)
    return out, reference.backward(params, x, out, np.ones(out.outputs.shape), **network)


BARE = fastbptt.RNN(
    2, 4, None, seed=0, dtype="float64", num_layers=2, bidirectional=False
).state_dict()
BOTH = fastbptt.RNN(2, 4, None, seed=0, dtype="float64", bidirectional=True).state_dict()
MASK = np.arange(12 * 6 * 4).reshape(12, 6, 4) % 2 * 2.0
EMBEDDED = {"x": TOKENS, "params": WORDS}
NETWORK = {"cell": "leaky"}
OF_FORWARD: dict[str, Any] = {
    "params": OTHER,
    "x": X + 1,
    "lengths": LENGTHS,
    "h0": STATE,
    "resets": RESETS,
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
            "padding_index": With(2, EMBEDDED),
            "frozen": With(True, EMBEDDED),
        },
    ),
    "reference.Network.names": Entry(
        reference.Network(num_layers=2, bidirectional=True).names,
        {"layer": 0, "direction": 0},
        {"layer": 1, "direction": 1},
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
