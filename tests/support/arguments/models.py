"""Entries of models and optimisers, and of their methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from effects import BFLOAT16, Each, Entry, Fresh, Reason, Refused, With

import fastbptt
from fastbptt import initializers, schedules

from .common import DATA, EACH, LENGTHS, NAN, OBJECTIVE, RESETS, STATE, X, Y, mapped, model

NETWORK: dict[str, Any] = {
    "input_size": 3,
    "hidden_size": 5,
    "output_size": 2,
    "num_layers": 2,
    "bidirectional": True,
    "bias": False,
    "output_bias": False,
    "readout_units": [1, 3],
    "rank": Each(2, Refused(6, "rank is 6; expected at most 4")),
    "dropout": With(0.5, {"num_layers": 2}),
    "recurrent_dropout": 0.1,
    "zoneout": Each(0.1, Refused((0.1,), "zoneout is (0.1,)")),
    "input_noise": 0.1,
    "recurrent_noise": Refused(0.1, "a sum for each of its gates"),
    "noise_scaling": Refused("alpha", "has no alpha"),
    "learn_initial_state": True,
    "static_size": 3,
    "embedding": 7,
    "padding_index": With(2, {"embedding": 7}),
    "freeze_embedding": With(True, {"embedding": 7}),
    "constraints": fastbptt.Constraints(self_connections=False),
    "init": "keras",
    "dtype": "float64",
    "precision": BFLOAT16,
    "seed": 1,
}
PLAIN = NETWORK | {"recurrent_noise": 0.1}
SIZES: dict[str, Any] = {"input_size": 2, "hidden_size": 4, "output_size": 1, "seed": 0}


def trained(kind: type, **settings: Any) -> Any:
    """Three steps with an optimiser."""
    net, made = model(dtype="float64"), kind(**settings)
    for _ in range(3):
        net.train_step(X, Y, made)
    return net, made


def rates(kind: type, **settings: Any) -> Any:
    """The rates of a schedule over 60 epochs whose loss gets worse after the fifth."""
    made, found = kind(**settings), []
    for epoch in range(60):
        found.append(made.at(3 * epoch, 3, 60))
        made.observe(1 / (1 + epoch) if epoch < 5 else 0.2 - 1e-4 * (epoch % 9))
    return found


OWN = [{"params": ["b_*"], "lr_factor": 0.5}]
ADAM: dict[str, Any] = {
    "lr": 0.2,
    "betas": (0.5, 0.9),
    "eps": 0.1,
    "epsilon_hat": With(True, {"eps": 0.1}),
    "amsgrad": True,
    "weight_decay": 0.1,
    "groups": OWN,
}


def network_call(name: str) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        size = None if arguments.get("static") is None else 2
        net = model(dtype="float64", num_layers=2, dropout=0.3, input_noise=0.1, static_size=size)
        return getattr(net, name)(**arguments), net

    return call


def backward(out: Any, **arguments: Any) -> Any:
    net = model(dtype="float64")
    return net.backward(net.forward(out, training=True), **arguments)


LONG: dict[str, Any] = {"x": np.ones((4, 400, 2)), "y": Y[:4]}
BATCH: dict[str, Any] = {"x": X, "y": Y}
PASS: dict[str, Any] = {
    **DATA,
    **OBJECTIVE,
    "h0": STATE,
    "static": mapped(),
    "check_finite": With(False, {"x": np.where(np.isnan(NAN), np.inf, NAN)}),
}


PENALTIES: dict[str, Any] = {
    "l1": Each({"W_hh": 0.1}, Refused({}, "is empty")),
    "l2": Each({"b_h": 0.1}, Refused({"b_h": 0.0}, "is 0.0")),
    "activity_l1": Each(0.1, Refused(0.0, "is 0.0")),
    "activity_l2": Each(0.1, Refused(-1.0, "is -1.0")),
    "activity_change_l2": Each(0.1, Refused(np.inf, "is inf")),
    "omega": Refused(0.1, 'is given for the cell "gru"'),
}


class Plain(fastbptt.Optimizer):
    """Nothing but what the base class does."""

    _rule, _settings, _moments = "sgd", ("lr", "weight_decay"), ()

    def _fit_into(self, dtype: Any) -> None:
        pass


def stepped(**arguments: Any) -> Any:
    """One step; return the model."""
    fastbptt.SGD(0.1).step(**arguments)
    return arguments["model"]


def gradients(seed: int = 0, factor: float = 1.0) -> Any:
    found = model(seed).loss_and_grad(X, Y)[1]
    found.flat[:] *= factor
    return found


def initialized(name: str, rng: Any, info: Any, value: float) -> Any:
    return getattr(initializers, name)(rng, info, value)


SCALER = fastbptt.Standardizer().fit(X)


def exported(**arguments: Any) -> Any:
    """The files are what counts; "three.c" has inputs for an indicator, too, "noted.c" notes."""
    inputs = 3 if arguments["path"] == "three.c" else 2
    net = fastbptt.GRU(inputs, 4, 1, seed=0)
    if arguments["path"] == "noted.c":
        net.metadata["standardize"] = SCALER.to_dict()
    return net.export_c(**arguments)


def at(kind: type, **arguments: Any) -> Any:
    return kind().at(**arguments)


def plateau(name: str, **given: Any) -> Any:
    """Settings and state after the call; the loss was 1 before."""
    made = schedules.ReduceOnPlateau(patience=1)
    made.observe(1.0)
    getattr(made, name)(**given)
    return made.state()


def plateau_after(*values: float) -> Any:
    made = schedules.ReduceOnPlateau(patience=1)
    for value in values:
        made.observe(value)
    return made.state()


def _info(role: Any, *shape: int) -> Any:
    return initializers.ParameterInfo("W", role, shape, "rnn", 4, 4, 0)


INPUT, RECURRENT = _info("input", 2, 4), _info("recurrent", 4, 4)
DRAW: dict[str, Any] = {"rng": Fresh(partial(np.random.default_rng, 0)), "info": INPUT}
DRAW["value"] = 0.5
OF_DRAWS: dict[str, Any] = {"rng": Fresh(partial(np.random.default_rng, 1)), "info": RECURRENT}
NO_NUMBER = Reason(
    "all initialisers are called alike; a number for this one is refused before",
    "tests/project/test_every_argument.py::test_an_initializer_without_a_number_takes_none",
)
NOT_LOOKED_AT = Reason(
    "all schedules are called alike", "tests/optim/test_schedules.py::test_one_of_your_own"
)
AT: dict[str, Any] = {"step": 70, "steps_per_epoch": 2, "epochs": 90}
ENTRIES: dict[str, Entry] = {
    "Recurrent": Entry(
        fastbptt.Recurrent,
        {"cell": "gru", **SIZES},
        {
            "cell": "lstm",
            "alpha": With(0.3, {"cell": "leaky", "alpha": 0.2}),
            "learn_alpha": With(True, {"cell": "leaky", "alpha": 0.2}),
            **NETWORK,
        },
    ),
    "Constraints": Entry(
        lambda **given: fastbptt.RNN(
            2, 4, 1, nonlinearity="relu", constraints=fastbptt.Constraints(**given), seed=0
        ),
        {"masks": {"W_hh": np.tri(4)}},
        {
            "masks": Each({"W_hh": np.tri(4).T}, Refused({"W_hh": np.ones((4, 4))}, "no zero")),
            "self_connections": False,
            "signs": [1, 1, 1, -1],
            "sign_method": Each(
                With("abs", {"signs": {"W_hh": 1}}), Refused("abs", "None without signs")
            ),
            "input_units": Each([0, 2], Refused(range(4), "are all 4")),
            "max_norm": {"W_hh": 0.5},
        },
    ),
    "RNN": Entry(fastbptt.RNN, SIZES, {"nonlinearity": "relu", **PLAIN}),
    "GRU": Entry(fastbptt.GRU, SIZES, {"reset_after": False, **NETWORK}),
    "LSTM": Entry(fastbptt.LSTM, SIZES, {"forget_bias": 1.0, **NETWORK}),
    "LeakyRNN": Entry(
        fastbptt.LeakyRNN,
        SIZES,
        {
            "nonlinearity": "softplus",
            "formulation": "preactivation",
            "alpha": 0.3,
            "learn_alpha": True,
            **PLAIN,
            "noise_scaling": Each(
                With("alpha", {"recurrent_noise": 0.1}), Refused("alpha", "no noise to scale")
            ),
        },
    ),
    "SGD": Entry(
        partial(trained, fastbptt.SGD),
        {"lr": 0.1},
        {
            "lr": 0.2,
            "momentum": 0.5,
            "nesterov": With(True, {"momentum": 0.5}),
            "weight_decay": 0.1,
            "groups": OWN,
        },
    ),
    "Adam": Entry(partial(trained, fastbptt.Adam), {"lr": 0.1}, ADAM),
    "AdamW": Entry(partial(trained, fastbptt.AdamW), {"lr": 0.1}, ADAM),
    "RMSprop": Entry(
        partial(trained, fastbptt.RMSprop),
        {"lr": 0.1},
        {
            "lr": 0.2,
            "alpha": 0.5,
            "eps": 0.1,
            "momentum": 0.5,
            "centered": True,
            "weight_decay": 0.1,
            "groups": OWN,
        },
    ),
    "schedules.Cosine": Entry(
        partial(rates, schedules.Cosine), {}, {"warmup": With(3, {"floor": 0.1}), "floor": 0.1}
    ),
    "schedules.OneCycle": Entry(
        partial(rates, schedules.OneCycle), {}, {"peak": 5.0, "rise": 0.5, "floor": 0.5}
    ),
    "schedules.StepDecay": Entry(
        partial(rates, schedules.StepDecay), {}, {"every": 7, "factor": 0.5}
    ),
    "schedules.ReduceOnPlateau": Entry(
        partial(rates, schedules.ReduceOnPlateau),
        {},
        {"factor": 0.5, "patience": 3, "min_delta": 0.02, "cooldown": 9, "floor": 0.05},
    ),
    "Recurrent.forward": Entry(
        network_call("forward"),
        {"x": X},
        {
            "x": X + 1,
            "lengths": LENGTHS,
            "h0": STATE,
            "resets": RESETS,
            "static": mapped(),
            "training": True,
            "noise": Each(1, Refused(1, "training=True draws a seed", {"training": True})),
            "backward": False,
            "check_finite": PASS["check_finite"],
        },
    ),
    "Recurrent.loss": Entry(network_call("loss"), BATCH, {**PASS, "training": True}),
    "Recurrent.loss_and_grad": Entry(
        network_call("loss_and_grad"),
        BATCH,
        {
            **PASS,
            "need_input_grad": True,
            "training": False,
            "memory_budget": With("2.4 MB", LONG),
            "record": "gradients",
            **PENALTIES,
        },
    ),
    "Recurrent.train_step": Entry(
        network_call("train_step"),
        {**BATCH, "optimizer": Fresh(fastbptt.Adam)},
        {
            **PASS,
            "optimizer": Fresh(fastbptt.SGD),
            "clip_norm": 1e-3,
            "clip_value": 1e-6,
            "memory_budget": With("2.4 MB", LONG),
            "bptt_steps": With(2, {"steps": "all", "y": EACH}),
            "state": Fresh(STATE.copy),
            "record": "gradients",
            **PENALTIES,
        },
    ),
    "Recurrent.backward": Entry(
        backward,
        {"out": X, "d_last": np.ones((12, 1))},
        {
            "out": X + 1,
            "d_last": np.zeros((12, 1)),
            "d_outputs": With(np.ones((12, 6, 1)), {"d_last": None}),
            "d_final_state": np.ones((1, 12, 4)),
            "d_hidden": np.ones((12, 6, 4)),
            "need_input_grad": True,
            "check_finite": With(False, {"d_last": np.full((12, 1), np.nan)}),
        },
    ),
    "Recurrent.step": Entry(
        lambda **arguments: (model(dtype="float64").step(**arguments), arguments["state"]),
        {"x_t": X[:, 0], "state": Fresh(lambda: np.zeros((1, 12, 4)))},
        {
            "x_t": X[:, 1],
            "state": Fresh(lambda: np.ones((1, 12, 4))),
            "check_finite": With(False, {"x_t": np.full((12, 2), np.nan)}),
            "resets": With(RESETS[:, 3], {"state": Fresh(lambda: np.ones((1, 12, 4)))}),
        },
    ),
    "Recurrent.freeze": Entry(
        lambda names: (net := model(), net.freeze(names), net)[2],
        {"names": "W_hh"},
        {"names": "W_xh"},
    ),
    "Recurrent.initial_state": Entry(
        network_call("initial_state"), {"batch": 12}, {"batch": 3, "static": mapped()}
    ),
    "Recurrent.load_state_dict": Entry(
        network_call("load_state_dict"),
        {"state": network_call("state_dict")()[0]},
        {"state": {name: one + 1 for name, one in network_call("state_dict")()[0].items()}},
    ),
    "Recurrent.memory_needed": Entry(
        network_call("memory_needed"),
        {"batch": 8, "time": 99},
        {
            "batch": 9,
            "time": 999,
            "memory_budget": With("6 MB", {"batch": 4, "time": 4000}),
            "record": "gradients",
            "steps": "max",
            "resets": 50,
            "activity": True,
        },
    ),
    "Recurrent.minimum_memory": Entry(
        network_call("minimum_memory"),
        {"batch": 8, "time": 99},
        {
            "batch": 99,
            "time": 9999,
            "record": "gradients",
            "steps": "max",
            "resets": 50,
            "activity": True,
        },
    ),
    "Recurrent.save": Entry(
        network_call("save"),
        {"path": "a.st"},
        {"path": "b.st", "optimizer": Fresh(fastbptt.Adam), "metadata": {"a": 1}},
    ),
    "Recurrent.export_c": Entry(
        exported,
        {"path": "a.c"},
        {
            "path": "b.c",
            "name": "other",
            "weights": "int8",
            "dtype": "float64",
            "standardizer": SCALER,
            "imputer": With(fastbptt.Imputer().fit(NAN), {"path": "three.c"}),
            "loss": "bce",
            "raw": With(True, {"path": "noted.c"}),
            "data": Each(
                With(X, {"weights": "int8"}), Refused(X, 'expected None unless weights="int8"')
            ),
        },
    ),
    "Recurrent.unfreeze": Entry(
        lambda names: (net := model(), net.freeze("W_hh", "W_xh"), net.unfreeze(names), net)[3],
        {"names": "W_hh"},
        {"names": "W_xh"},
    ),
    "Optimizer": Entry(
        lambda **settings: (lambda made: (made.lr, made.weight_decay, made.groups))(
            Plain(**settings)
        ),
        {"lr": 0.1, "weight_decay": 0.0},
        {"lr": 0.2, "weight_decay": 0.1, "groups": OWN},
    ),
    "Optimizer.step": Entry(
        stepped,
        {"model": Fresh(model), "grads": Fresh(gradients)},
        {
            "model": Fresh(partial(model, 1)),
            "grads": Fresh(partial(gradients, factor=2.0)),
            "check_finite": With(False, {"grads": Fresh(partial(gradients, factor=np.nan))}),
            "clip_norm": 1e-3,
            "clip_value": 1e-6,
        },
    ),
    "Gradients.clip_norm_": Entry(
        lambda clip_norm: (lambda made: (made.clip_norm_(clip_norm), made))(gradients()),
        {"clip_norm": 1e-3},
        {"clip_norm": 1e-4},
    ),
    "Gradients.clip_value_": Entry(
        lambda clip_value: (lambda made: (made.clip_value_(clip_value), made)[1])(gradients()),
        {"clip_value": 1e-5},
        {"clip_value": 1e-6},
    ),
    "initializers.torch": Entry(
        partial(initialized, "torch"), DRAW, {**OF_DRAWS, "value": NO_NUMBER}
    ),
    "initializers.keras": Entry(
        partial(initialized, "keras"), DRAW, {**OF_DRAWS, "value": NO_NUMBER}
    ),
    "initializers.normal": Entry(partial(initialized, "normal"), DRAW, {**OF_DRAWS, "value": 0.7}),
    **{
        f"initializers.{name}": Entry(
            partial(initialized, name), DRAW, {**OF_DRAWS, "value": With(0.7, {"info": RECURRENT})}
        )
        for name in ("identity", "orthogonal")
    },
    **{
        f"schedules.{kind.__name__}.at": Entry(
            partial(at, kind), AT, {"step": 71, "steps_per_epoch": 3, "epochs": 91}
        )
        for kind in (schedules.Cosine, schedules.OneCycle)
    },
    "schedules.StepDecay.at": Entry(
        partial(at, schedules.StepDecay),
        AT,
        {"step": 7, "steps_per_epoch": 3, "epochs": NOT_LOOKED_AT},
    ),
    **{
        f"schedules.{kind.__name__}.at": Entry(
            partial(at, kind), AT, dict.fromkeys(AT, NOT_LOOKED_AT)
        )
        for kind in (schedules.Constant, schedules.ReduceOnPlateau)
    },
    "schedules.ReduceOnPlateau.observe": Entry(
        partial(plateau, "observe"), {"value": 0.5}, {"value": 2.0}
    ),
    "schedules.ReduceOnPlateau.load_state": Entry(
        partial(plateau, "load_state"),
        {"state": plateau_after(1.0)},
        {"state": plateau_after(1.0, 2.0, 3.0)},
    ),
}
