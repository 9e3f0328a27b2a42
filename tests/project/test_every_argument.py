"""Every argument has an effect: changing it changes a result, output or file, or is refused.

The arguments come from the signatures, the options from the parsers: one without an entry fails.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import os
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import fastbptt
import fastbptt.sklearn
from fastbptt import cli, datasets, optim, schedules
from fastbptt.models import ForwardResult

# ---------------------------------------------------------------- outcomes


def seen(value: Any) -> Any:
    """Describe a value by all that can be compared."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [seen(one) for one in value.ravel()]
        return value.shape, str(value.dtype), value.tobytes()
    if isinstance(value, fastbptt.Recurrent):
        report = value.last_report
        used = None if report is None else (report.segments, report.bytes)
        recorded = seen(value.last_gradients)
        network = repr(value), value.parameters.flat.tobytes(), value.frozen, value.metadata
        return network, used, recorded
    if isinstance(value, fastbptt.optim.Optimizer):
        return repr(value)
    if isinstance(value, fastbptt.History):
        curves = {name: one for name, one in value.curves.items() if name != "seconds"}
        return curves, value.stopped, value.best_epoch
    if isinstance(value, fastbptt.Gradients):
        return value.flat.tobytes(), seen(value.x), seen(value.h0)
    if isinstance(value, ForwardResult):
        return seen(value.outputs), seen(value.final_state)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: seen(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): seen(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [seen(one) for one in value]
    if hasattr(value, "__dict__") and not callable(value):
        return {name: seen(one) for name, one in vars(value).items() if name != "history_"}
    return re.sub(r"0x[0-9a-f]+", "", repr(value))


def contents(path: Path) -> Any:
    """Return what is in a file; of a model without the seconds that its training took."""
    if path.suffix != ".st":
        return path.read_bytes()
    net, optimizer = fastbptt.load(path), ""
    with contextlib.suppress(ValueError):
        optimizer = repr(fastbptt.load_optimizer(path))
    return (
        optimizer,
        seen(net.copy())[0][:3],
        re.sub(r"'seconds': \[[^]]*\]", "", repr(net.metadata)),
    )


def outcome(call: Callable[[], Any], folder: Path) -> Any:
    """Run in an empty folder; return the result, what was printed, and the files."""
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    text = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            result = seen(call())
    finally:
        os.chdir(before)
    every = sorted(one for one in folder.rglob("*") if one.is_file())
    files = {str(one.relative_to(folder)): contents(one) for one in every}
    return result, re.sub(r"\d+(\.\d+)? ?m?s\b", "", text.getvalue()), files


class With(NamedTuple):
    """A value that has its effect beside other arguments."""

    value: Any
    others: dict[str, Any]


def value_of(one: Any) -> Any:
    return one.make() if isinstance(one, Fresh) else one


UNCHANGED: dict[Any, Any] = {}  # outcomes of calls as they stand, which are repeated once


def has_effect(
    function: Callable[..., Any], base: dict[str, Any], name: str, change: Any, folder: Path
) -> bool:
    """Whether changing one argument changes the outcome, or is refused."""
    base = dict(base)
    beside = isinstance(change, With)
    if beside:
        base |= change.others
        change = change.value

    def run(arguments: dict[str, Any], place: str) -> Any:
        made = {key: value_of(one) for key, one in arguments.items()}
        try:
            return outcome(lambda: function(**made), folder / place)
        except (ValueError, TypeError, OSError, MemoryError, KeyError) as error:
            return "refused", str(error)

    key = id(function)
    if beside or key not in UNCHANGED:
        first = run(base, "a")
        assert beside or first[0] != "refused", first
        assert run(base, "b") == first, "the call itself does not repeat"
        if not beside:
            UNCHANGED[key] = first
    else:
        first = UNCHANGED[key]
    return bool(run({**base, name: change}, "c") != first)


# ---------------------------------------------------------------- the callables


class Fresh(NamedTuple):
    """A value that is made for each call."""

    make: Callable[[], Any]


RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6, 2))
Y = (X[:, :, 0].sum(axis=1) > 0).astype(float)
EACH = (X[:, :, 0] > 0).astype(float)
LENGTHS = np.array([6, 5, 4, 3, 6, 6, 2, 6, 1, 6, 5, 4])
WEIGHT = np.arange(1.0, 13.0)
NAN = np.where(np.arange(144).reshape(12, 6, 2) == 7, np.nan, X)


def model(seed: int = 0, **options: Any) -> Any:
    return fastbptt.GRU(2, 4, 1, seed=seed, **options)


class Stop(fastbptt.Callback):
    def on_batch_end(self, run: Any) -> bool:
        return True


def fitted(**arguments: Any) -> Any:
    return fastbptt.fit(**arguments), arguments["model"]


OBJECTIVE: dict[str, Any] = {
    "loss": "mse",
    "steps": With("all", {"y": EACH}),
    "reduction": "sum",
    "lengths": LENGTHS,
    "sample_weight": WEIGHT,
}
DATA: dict[str, Any] = {"x": X + 1, "y": 1 - Y}
FORWARD: dict[str, Any] = {
    "h0": np.ones((1, 12, 4)),
    "check_finite": With(False, {"x": np.where(np.isnan(NAN), 1e300, NAN)}),
}


class Entry(NamedTuple):
    """A call with small arguments, and another value for each."""

    call: Callable[..., Any]
    base: dict[str, Any]
    changes: dict[str, Any]


NETWORK: dict[str, Any] = {
    "input_size": 3,
    "hidden_size": 5,
    "output_size": 2,
    "num_layers": 2,
    "bidirectional": True,
    "bias": False,
    "dropout": With(0.5, {"num_layers": 2}),
    "learn_initial_state": True,
    "embedding": 7,
    "padding_index": With(2, {"embedding": 7}),
    "freeze_embedding": With(True, {"embedding": 7}),
    "init": "keras",
    "dtype": "float64",
    "precision": "bfloat16",
    "seed": 1,
}
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


def _overfitted() -> Any:
    history = fastbptt.History()
    for epoch in range(30):
        history.add({"loss": 0.1 + 0.1 * epoch, "lr": 1.0, "seconds": 1.0})
    return history


def _load(path: str) -> Any:
    model().save("a.st")
    model(1).save("b.st")
    return fastbptt.load(path)


def _load_optimizer(path: str) -> Any:
    for name, kind in (("a.st", fastbptt.Adam), ("b.st", fastbptt.SGD)):
        net, made = trained(kind)
        net.save(name, made)
    return fastbptt.load_optimizer(path)


def _show_config(file: Any) -> None:
    fastbptt.show_config(None if file is None else io.StringIO())


def _monitored(**settings: Any) -> Any:
    monitor = fastbptt.GradientMonitor(**settings)
    net = fastbptt.GRU(2, 4, 1, seed=0, init=("normal", 3.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fastbptt.fit(
            net, X, Y, epochs=3, verbose=0, callbacks=[monitor], optimizer=fastbptt.SGD(9.0)
        )
    return monitor, os.listdir()


def _tables() -> None:
    for name, value in (("a.csv", "1"), ("b.csv", "2")):
        rows = [
            f"{i},{3 - t},{value if t else ''},{t},{'pq'[i % 2]}"
            for i in range(4)
            for t in range(3)
        ]
        Path(name).write_text("\n".join(["id,step,u,v,label", *rows]) + "\n")


def _read(path: str, options: Any = None) -> Any:
    _tables()
    return datasets.read(path, **(options or {}))


def _read_csv(**arguments: Any) -> Any:
    _tables()
    return datasets.read_csv(**arguments)


def _read_arff(**arguments: Any) -> Any:
    _tables()
    head = "@attribute {} numeric\n@attribute {} numeric\n@attribute label {{p,q}}\n@data\n"
    Path("a.arff").write_text(head.format("v0", "v1") + "?,1,p\n3,0.1,q\n4,5,p\n")
    Path("b.arff").write_text(head.format("id", "step") + "9,2,p\n9,1,q\n3,1,q\n")
    return datasets.read_arff(**arguments)


def _read_tsf(**arguments: Any) -> Any:
    Path("a.tsf").write_text("@attribute n string\n@data\na:1,?,0.1,4\nb:3,4,1,1\n")
    Path("b.tsf").write_text("@attribute n string\n@data\na:1,7,3\n")
    return datasets.read_tsf(**arguments)


def estimated(kind: Any, X: Any, y: Any, **settings: Any) -> Any:
    """Fit twice (for warm_start), and predict."""
    made = kind(**settings)
    if settings.get("steps") == "all":
        y = np.repeat(np.asarray(y)[:, None], X.shape[1], axis=1)
    for _ in range(2):
        made.fit(X) if y is None else made.fit(X, y)
    found = made.predict() if y is None else made.predict(X)
    return found, made.model_, made.loss_curve_, made.validation_scores_


def method(kind: Any, name: str, **arguments: Any) -> Any:
    """Call a method of a fitted estimator; return its result and the network."""
    made = kind(**ESTIMATOR)
    if name == "partial_fit":
        made.partial_fit(**arguments)
        return made.model_
    if name == "fit":
        made.fit(**arguments)
        return made.model_
    made.fit(SERIES) if kind is fastbptt.sklearn.RecurrentForecaster else made.fit(X, Y)
    return getattr(made, name)(**arguments)


def _standardized(method: str, /, **arguments: Any) -> Any:
    made = fastbptt.Standardizer()
    if method in ("transform", "inverse_transform"):
        made.fit(X**2)
    found = getattr(made, method)(**arguments)
    return found if isinstance(found, np.ndarray) else (made.mean_, made.scale_)


FRAME = pd.DataFrame(
    {
        "i": [1, 1, 2],
        "t": [2, 1, 1],
        "a": [1.0, 2.0, 3.1],
        "b": [4.0, 5.0, 6.0],
        "c": ["u", "u", "v"],
    }
)
TASK = {"n": 5, "length": 21, "seed": 1}
ADAM: dict[str, Any] = {
    "lr": 0.2,
    "betas": (0.5, 0.9),
    "eps": 0.1,
    "epsilon_hat": With(True, {"eps": 0.1}),
    "amsgrad": True,
    "weight_decay": 0.1,
}
ESTIMATOR: dict[str, Any] = {
    "hidden_layer_sizes": (3,),
    "max_iter": 3,
    "random_state": 0,
    "batch_size": 5,
}
SGD = {"solver": "sgd"}
CHANGED: dict[str, Any] = {
    "cell": "lstm",
    "hidden_layer_sizes": (4,),
    "bidirectional": True,
    "dropout": With(0.5, {"hidden_layer_sizes": (3, 3)}),
    "solver": "sgd",
    "alpha": 1.0,
    "batch_size": 4,
    "learning_rate": "cosine",
    "learning_rate_init": 0.1,
    "max_iter": 4,
    "shuffle": False,
    "random_state": 1,
    "tol": With(9.0, {"n_iter_no_change": 1}),
    "verbose": 2,
    "warm_start": True,
    "momentum": With(0.5, SGD),
    "nesterovs_momentum": With(False, SGD),
    "early_stopping": True,
    "validation_fraction": With(0.5, {"early_stopping": True}),
    "beta_1": 0.5,
    "beta_2": 0.5,
    "epsilon": 0.1,
    "n_iter_no_change": With(1, {"tol": 9.0}),
    "clip_norm": 1e-3,
    "leaky_alpha": With(0.9, {"cell": "leaky", "leaky_alpha": 0.1}),
    "init": "keras",
    "dtype": "float32",
}

CALLS: dict[str, Entry] = {
    "fit": Entry(
        fitted,
        {"model": Fresh(model), "x": X, "y": Y, "epochs": 2, "batch_size": 4, "verbose": 0},
        {
            "model": Fresh(lambda: model(1)),
            **DATA,
            **OBJECTIVE,
            "class_weight": {0: 2.0},
            "epochs": 3,
            "batch_size": 5,
            "optimizer": "sgd",
            "schedule": "cosine",
            "clip_norm": 1e-3,
            "clip_value": 1e-3,
            "bptt_steps": With(2, {"steps": "all", "y": EACH}),
            "memory_budget": With(2500, {}),
            "validation": 0.25,
            "patience": With(1, {"epochs": 9, "min_delta": 1.0, "monitor": "loss"}),
            "min_delta": With(1.0, {"epochs": 9, "patience": 1, "monitor": "loss"}),
            "monitor": "loss",
            "restore_best": With(
                False,
                {"monitor": "loss", "optimizer": Fresh(lambda: fastbptt.SGD(9.0)), "epochs": 3},
            ),
            "metrics": "accuracy",
            "training_metrics": With(False, {"metrics": "accuracy", "validation": 0.25}),
            "callbacks": [Stop()],
            "shuffle": False,
            "seed": 1,
            "bucket": With(True, {"lengths": LENGTHS}),
            "augment": lambda x, rng: 0 * x,
            "verbose": 2,
            "checkpoint": "run.safetensors",
            "checkpoint_every": 5.0,
            "resume": "run.safetensors",
        },
    ),
    "evaluate": Entry(
        fastbptt.evaluate,
        {"model": Fresh(model), "x": X, "y": Y},
        {
            "model": Fresh(lambda: model(1)),
            **DATA,
            **OBJECTIVE,
            "metrics": "accuracy",
            "batch_size": 0,
        },
    ),
    "predict": Entry(
        fastbptt.predict,
        {"model": Fresh(model), "x": X},
        {
            "model": Fresh(lambda: model(1)),
            "x": X + 1,
            "lengths": LENGTHS,
            "steps": "all",
            "batch_size": 0,
        },
    ),
    "probabilities": Entry(
        fastbptt.probabilities,
        {"outputs": Y[:, None]},
        {"outputs": X[:, 0], "loss": With("bce", {"outputs": X[:, 0]})},
    ),
    "diagnose": Entry(
        lambda **arguments: fastbptt.diagnose(**arguments),
        {"model": Fresh(model), "x": X, "y": Y},
        {
            "model": Fresh(lambda: model(1)),
            **DATA,
            **OBJECTIVE,
            "h0": np.ones((1, 12, 4)),
            "per_example": True,
            "jacobians": 2,
            "dtype": "float32",
            "optimizer": Fresh(lambda: fastbptt.SGD(100.0)),
            "history": Fresh(lambda: _overfitted()),
        },
    ),
    "Recurrent": Entry(
        fastbptt.Recurrent,
        {"cell": "gru", **SIZES},
        {"cell": "lstm", "alpha": With(0.3, {"cell": "leaky", "alpha": 0.2}), **NETWORK},
    ),
    "RNN": Entry(fastbptt.RNN, SIZES, {"nonlinearity": "relu", **NETWORK}),
    "GRU": Entry(fastbptt.GRU, SIZES, {"reset_after": False, **NETWORK}),
    "LSTM": Entry(fastbptt.LSTM, SIZES, {"forget_bias": 1.0, **NETWORK}),
    "LeakyRNN": Entry(fastbptt.LeakyRNN, SIZES, {"alpha": 0.3, **NETWORK}),
    "Loss": Entry(
        lambda name, **parameters: fastbptt.Loss(name, **parameters),
        {"name": "huber"},
        {"name": "mse", "delta": 2.0},
    ),
    "Standardizer": Entry(
        lambda **settings: fastbptt.Standardizer(**settings).fit(X).transform(X),
        {},
        {"center": False},
    ),
    "set_num_threads": Entry(
        lambda n: (fastbptt.set_num_threads(n), fastbptt.get_num_threads()), {"n": 1}, {"n": 2}
    ),
    "load": Entry(_load, {"path": "a.st"}, {"path": "b.st"}),
    "load_optimizer": Entry(_load_optimizer, {"path": "a.st"}, {"path": "b.st"}),
    "show_config": Entry(_show_config, {"file": None}, {"file": "stderr"}),
    "GradientMonitor": Entry(
        _monitored, {"keep": 2}, {"keep": 1, "warn": False, "log_dir": "logs", "probe": (X, Y)}
    ),
    # ------------------------------------------------------------ optimisers and schedules
    "SGD": Entry(
        partial(trained, fastbptt.SGD),
        {"lr": 0.1},
        {
            "lr": 0.2,
            "momentum": 0.5,
            "nesterov": With(True, {"momentum": 0.5}),
            "weight_decay": 0.1,
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
        },
    ),
    "Cosine": Entry(
        partial(rates, schedules.Cosine), {}, {"warmup": With(3, {"floor": 0.1}), "floor": 0.1}
    ),
    "OneCycle": Entry(
        partial(rates, schedules.OneCycle), {}, {"peak": 5.0, "rise": 0.5, "floor": 0.5}
    ),
    "StepDecay": Entry(partial(rates, schedules.StepDecay), {}, {"every": 7, "factor": 0.5}),
    "ReduceOnPlateau": Entry(
        partial(rates, schedules.ReduceOnPlateau),
        {},
        {"factor": 0.5, "patience": 3, "min_delta": 0.02, "cooldown": 9, "floor": 0.05},
    ),
    # ------------------------------------------------------------ data
    "pad": Entry(
        datasets.pad,
        {"sequences": [[1, 2], [3]]},
        {"sequences": [[1], [3]], "value": 9, "max_length": 1},
    ),
    "unpad": Entry(
        datasets.unpad,
        {"padded": [[0, 1, 2, 0], [3, 4, 5, 5]]},
        {
            "padded": [[1, 2, 3, 0]],
            "lengths": [1, 2],
            "value": 5,
            "padding": "pre",
        },
    ),
    "from_frame": Entry(
        datasets.from_frame,
        {"df": FRAME, "features": "a", "target": "c", "id": "i"},
        {
            "df": FRAME.assign(a=3.0),
            "id": With(None, {"target": None}),
            "time": "t",
            "features": ["b", "a"],
            "target": None,
            "steps": "all",
            "classes": ["z", "v", "u"],
            "dtype": "float32",
        },
    ),
    "read": Entry(
        _read, {"path": "a.csv"}, {"path": "b.csv", "options": {"missing": "interpolate"}}
    ),
    "read_csv": Entry(
        _read_csv,
        {"path": "a.csv"},
        {
            "path": "b.csv",
            "id": With(None, {"features": ["u"], "labels": False, "step": None}),
            "step": None,
            "label": "v",
            "target": "v",
            "features": ["u"],
            "steps": "all",
            "classes": ["z", "p", "q"],
            "exclude": ["u"],
            "categories": ["v"],
            "label_file": "b.csv",
            "unlabelled": "drop",
            "layout": "wide",
            "header": "none",
            "delimiter": ";",
            "decimal": ",",
            "missing": "interpolate",
            "dtype": "float32",
            "labels": False,
        },
    ),
    "read_arff": Entry(
        _read_arff,
        {"path": "a.arff"},
        {
            "path": "b.arff",
            "layout": "long",
            "id": "v0",
            "step": With("v0", {"layout": "long", "id": None, "steps": "all"}),
            "label": "v0",
            "target": "v0",
            "features": ["v0"],
            "exclude": ["v0"],
            "categories": ["v0"],
            "label_file": "b.csv",
            "steps": "all",
            "unlabelled": "drop",
            "classes": ["q", "p"],
            "missing": "interpolate",
            "dtype": "float32",
            "labels": False,
        },
    ),
    "read_tsf": Entry(
        _read_tsf,
        {"path": "a.tsf"},
        {
            "path": "b.tsf",
            "ahead": 1,
            "steps": With("last", {"ahead": 2, "missing": "interpolate"}),
            "classes": ["a"],
            "missing": "interpolate",
            "dtype": "float32",
            "labels": With(False, {"ahead": 1, "missing": "interpolate"}),
        },
    ),
    "make_adding": Entry(datasets.make_adding, {"n": 4, "length": 9, "seed": 0}, TASK),
    "make_copy": Entry(
        datasets.make_copy,
        {"n": 4, "delay": 9, "seed": 0},
        {"n": 5, "delay": 8, "symbols": 5, "memorize": 3, "tokens": True, "seed": 1},
    ),
    "make_delayed_xor": Entry(datasets.make_delayed_xor, {"n": 4, "length": 9, "seed": 0}, TASK),
    "make_temporal_order": Entry(
        datasets.make_temporal_order, {"n": 4, "length": 20, "seed": 0}, {**TASK, "tokens": True}
    ),
    "make_scenes": Entry(
        datasets.make_scenes,
        {"n": 4, "seed": 0},
        {
            "n": 5,
            "kinds": ("turning",),
            "frames": (9, 12),
            "missed": 0.5,
            "jitter": 0.1,
            "spurious": 0.5,
            "people": 3,
            "seed": 1,
        },
    ),
    "Tokenizer": Entry(
        lambda **settings: vars(datasets.Tokenizer(**settings).fit(["A b b c", "a b d d"])),
        {},
        {"max_size": 4, "min_count": 2, "lower": False},
    ),
    # ------------------------------------------------------------ estimators
    "RecurrentClassifier": Entry(
        partial(estimated, fastbptt.sklearn.RecurrentClassifier, X, np.where(Y > 0, "up", "down")),
        ESTIMATOR,
        {**CHANGED, "steps": "all", "class_weight": "balanced", "standardize": False},
    ),
    "RecurrentRegressor": Entry(
        partial(estimated, fastbptt.sklearn.RecurrentRegressor, X, X[:, :, 0].sum(axis=1)),
        ESTIMATOR,
        {**CHANGED, "steps": "all", "loss": "huber", "standardize": False},
    ),
    "RecurrentForecaster": Entry(
        partial(estimated, fastbptt.sklearn.RecurrentForecaster, X[:, :, 0].ravel(), None),
        {**ESTIMATOR, "horizon": 2},
        {**CHANGED, "window": 5, "horizon": 3, "center": "mean", "loss": "huber"},
    ),
}
ADDITIONAL = {"Loss": {"delta"}}  # beyond the signature


# ---------------------------------------------------------------- methods


def network_call(name: str) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        net = model(dtype="float64", num_layers=2, dropout=0.3)
        return getattr(net, name)(**arguments), net

    return call


def backward(out: Any, **arguments: Any) -> Any:
    net = model(dtype="float64")
    return net.backward(net.forward(out, training=True), **arguments)


BATCH: dict[str, Any] = {"x": X, "y": Y}
STATE = np.ones((2, 12, 4))
PASS: dict[str, Any] = {
    **DATA,
    **OBJECTIVE,
    "h0": STATE,
    "check_finite": With(False, {"x": np.where(np.isnan(NAN), np.inf, NAN)}),
}
METHODS: dict[str, Entry] = {
    "Recurrent.forward": Entry(
        network_call("forward"),
        {"x": X},
        {
            "x": X + 1,
            "lengths": LENGTHS,
            "h0": STATE,
            "training": True,
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
            "memory_budget": "1 kB",
            "record": "gradients",
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
            "memory_budget": "1 kB",
            "bptt_steps": With(2, {"steps": "all", "y": EACH}),
            "state": Fresh(lambda: (STATE.copy(),)),
            "record": "gradients",
        },
    ),
    "Recurrent.backward": Entry(
        backward,
        {"out": X, "d_last": np.ones((12, 1))},
        {
            "out": X + 1,
            "d_last": np.zeros((12, 1)),
            "d_outputs": np.ones((12, 6, 1)),
            "d_final_state": np.ones((1, 12, 4)),
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
        },
    ),
    "Recurrent.freeze": Entry(
        lambda names: (net := model(), net.freeze(names), net)[2],
        {"names": "W_hh"},
        {"names": "W_xh"},
    ),
    "Recurrent.initial_state": Entry(network_call("initial_state"), {"batch": 2}, {"batch": 3}),
    "Recurrent.load_state_dict": Entry(
        network_call("load_state_dict"),
        {"state": network_call("state_dict")()[0]},
        {"state": {name: one + 1 for name, one in network_call("state_dict")()[0].items()}},
    ),
    "Recurrent.memory_needed": Entry(
        network_call("memory_needed"),
        {"batch": 8, "time": 99},
        {"batch": 9, "time": 999, "memory_budget": "40 kB", "record": "gradients"},
    ),
    "Recurrent.minimum_memory": Entry(
        network_call("minimum_memory"),
        {"batch": 8, "time": 99},
        {"batch": 99, "time": 9999, "record": "gradients"},
    ),
    "Recurrent.save": Entry(
        network_call("save"),
        {"path": "a.st"},
        {"path": "b.st", "optimizer": Fresh(fastbptt.Adam), "metadata": {"a": 1}},
    ),
    "Recurrent.unfreeze": Entry(
        lambda names: (net := model(), net.freeze("W_hh", "W_xh"), net.unfreeze(names), net)[3],
        {"names": "W_hh"},
        {"names": "W_xh"},
    ),
    **{
        f"Standardizer.{name}": Entry(
            partial(_standardized, name),
            {"x": X},
            {
                "x": X + np.arange(6)[:, None],
                "lengths": LENGTHS,
                **({"sample_weight": WEIGHT} if "fit" in name else {}),
                **({"name": With("data", {"x": NAN})} if name in ("fit", "partial_fit") else {}),
                **({"dtype": "float32"} if name == "transform" else {}),
            },
        )
        for name in ("fit", "partial_fit", "fit_transform", "transform", "inverse_transform")
    },
}
for kind, y in (("Classifier", Y), ("Regressor", X[:, 0, 0])):
    name, made = f"Recurrent{kind}", getattr(fastbptt.sklearn, f"Recurrent{kind}")
    BASE = {"X": X, "y": y}
    OTHER = {"X": X + np.arange(6)[:, None], "y": np.roll(y, 1), "sample_weight": WEIGHT}
    METHODS[f"{name}.fit"] = Entry(partial(method, made, "fit"), BASE, OTHER)
    METHODS[f"{name}.score"] = Entry(partial(method, made, "score"), BASE, OTHER)
    METHODS[f"{name}.predict"] = Entry(
        partial(method, made, "predict"), {"X": X}, {"X": X + np.arange(6)[:, None]}
    )
    METHODS[f"{name}.partial_fit"] = Entry(
        partial(method, made, "partial_fit"),
        BASE | ({"classes": [0, 1]} if kind == "Classifier" else {}),
        OTHER | ({"classes": [0, 1, 2]} if kind == "Classifier" else {}),
    )
SERIES = X[:, :, 0].ravel()
METHODS["RecurrentForecaster.fit"] = Entry(
    partial(method, fastbptt.sklearn.RecurrentForecaster, "fit"),
    {"y": SERIES},
    {"y": SERIES**2, "X": X[:, :, 1].ravel()},
)
METHODS["RecurrentForecaster.predict"] = Entry(
    partial(method, fastbptt.sklearn.RecurrentForecaster, "predict"),
    {"h": 2},
    {"h": 3, "X": SERIES, "y": SERIES[:-3]},
)
METHODS["RecurrentForecaster.score"] = Entry(
    partial(method, fastbptt.sklearn.RecurrentForecaster, "score"),
    {"y": SERIES},
    {"y": SERIES**2, "X": X[:, :, 1].ravel()},
)

CASES = [
    pytest.param(entry, name, id=f"{what}-{name}")
    for what, entry in {**CALLS, **METHODS}.items()
    for name in entry.changes
]


@pytest.mark.parametrize(("entry", "name"), CASES)
def test_every_argument_has_an_effect(entry: Entry, name: str, tmp_path: Path) -> None:
    assert has_effect(entry.call, entry.base, name, entry.changes[name], tmp_path)


def parameters(function: Any) -> set[str]:
    found = inspect.signature(function).parameters
    return set(found) - {"self"}


# names of a module whose arguments are fields, which `test_fields_are_kept` covers, or which have
# tests of each argument where they are: the files of readers, drawn numbers, benchmarks
RECORDS = [
    "ArgumentError",
    "ArgumentTypeError",
    "Backend",
    "Diagnosis",
    "ForwardResult",
    "GradientRecord",
    "Gradients",
    "StepReport",
    "Dataset",
    "Detections",
    "Scenes",
    "Sequences",
    "SyntheticTask",
    "Texts",
]
ELSEWHERE = [
    "feature_names",
    "report",
    "find_ts",
    "frame_features",
    "from_results",
    "load_imdb",
    "load_snippets",
    "load_ts",
    "read_npz",
    "read_ts",
    "read_yolo",
    "write_npz",
    "write_yolo",
    "yolo_clips",
]
MODULES = (fastbptt, datasets, optim, fastbptt.sklearn, schedules)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_callable_has_an_entry(module: Any) -> None:
    for name in module.__all__:
        made = getattr(module, name)
        if not callable(made) or name in (*RECORDS, *ELSEWHERE, "Optimizer"):
            continue
        wanted = parameters(made) | ADDITIONAL.get(name, set())
        wanted -= {"parameters"} if name == "Loss" else set()
        found = set(CALLS[name].changes) if name in CALLS else set()
        assert found == wanted, f"{name}: {sorted(wanted ^ found)}"


METHODS_OF = {
    fastbptt.Recurrent: {"state_dict", "copy"},
    fastbptt.Standardizer: {"to_dict", "from_dict"},
    fastbptt.sklearn.RecurrentClassifier: set(),
    fastbptt.sklearn.RecurrentRegressor: set(),
    fastbptt.sklearn.RecurrentForecaster: {"report"},  # as fastbptt.report, tested there
}


@pytest.mark.parametrize("kind", METHODS_OF, ids=lambda kind: kind.__name__)
def test_every_method_has_an_entry(kind: type) -> None:
    own = [one for one in kind.__mro__ if one.__module__.startswith("fastbptt")]
    names = {name for one in own for name, value in vars(one).items() if inspect.isfunction(value)}
    names = {name for name in names if not name.startswith("_")} - METHODS_OF[kind]
    for name in sorted(names):
        wanted = parameters(getattr(kind, name))
        if wanted == {"X"}:  # as predict
            continue
        entry = METHODS.get(f"{kind.__name__}.{name}")
        found = set(entry.changes) if entry else set()
        assert found == wanted, f"{kind.__name__}.{name}: {sorted(wanted ^ found)}"


# ---------------------------------------------------------------- the command line


def table() -> None:
    """Write the files of the commands: training data in a table, others, a model."""
    rng = np.random.default_rng(0)
    for name, count in (("data.csv", 16), ("other.csv", 9)):
        rows = []
        for i in range(count):
            values = rng.normal(size=(5, 2)) + i % 2
            rows += [
                f"{i},{t},{u!r},{v!r},{'pq'[i % 2]},{i}" for t, (u, v) in enumerate(values.tolist())
            ]
        Path(name).write_text("\n".join(["id,step,u,v,label,w", *rows]) + "\n")


SMALL = ["--hidden", "3", "--epochs", "2", "--batch", "4", "--cell", "rnn"]


def command(*words: str) -> Any:
    """Run a command on small files; return its exit code."""
    table()
    if words[0] in ("predict", "report"):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            cli.main(["train", "data.csv", *SMALL, "-o", "m.st"])
    try:
        return cli.main(list(words))
    except SystemExit as error:
        return error.code


TRAIN = ["train", "data.csv", *SMALL, "-o", "m.st"]
PREDICT = ["predict", "m.st", "other.csv"]


class Line(NamedTuple):
    """An option with its value, and others that stand there on both sides."""

    words: list[str]
    beside: list[str]


def option(*words: str, beside: str = "") -> Line:
    return Line(list(words), beside.split())


COLUMNS: dict[str, Line] = {
    "--threads": option("--threads", "0"),
    "--json": option("--json"),
    "--id-column": option("--id-column", "label"),
    "--step-column": option("--step-column", "v"),
    "--label-column": option("--label-column", "w"),
    "--target-column": option("--target-column", "w"),
    "--feature-columns": option("--feature-columns", "v"),
    "--exclude-columns": option("--exclude-columns", "v"),
    "--category-columns": option("--category-columns", "v"),
    "--labels": option("--labels", "other.csv"),
    "--unlabelled": option("--unlabelled", "drop"),
    "--layout": option("--layout", "wide"),
    "--header": option("--header", "none"),
    "--delimiter": option("--delimiter", ";"),
    "--ahead": option("--ahead", "1"),
    "--x-array": option("--x-array", "v"),
    "--y-array": option("--y-array", "v"),
    "--decimal": option("--decimal", ","),
    "--missing": option("--missing", "interpolated"),
}
COMMANDS: dict[str, tuple[list[str], dict[str, Line]]] = {
    "train": (
        TRAIN,
        {
            **COLUMNS,
            "data": option("other.csv"),
            "--steps": option("--steps", "all"),
            "--no-standardize": option("--no-standardize"),
            "--output": option("-o", "n.st"),
            "--history": option("--history", "h.csv"),
            "--report": option("--report", "r.html"),
            "--checkpoint": option("--checkpoint", "c.st"),
            "--resume": option("--resume"),
            "--quiet": option("--quiet"),
            "--cell": option("--cell", "gru"),
            "--hidden": option("--hidden", "4"),
            "--layers": option("--layers", "2"),
            "--bidirectional": option("--bidirectional"),
            "--embedding": option("--embedding", "4"),
            "--dropout": option("--dropout", "0.5", beside="--layers 2"),
            "--init": option("--init", "torch"),
            "--dtype": option("--dtype", "float64"),
            "--precision": option("--precision", "bfloat16"),
            "--epochs": option("--epochs", "3"),
            "--batch": option("--batch", "5"),
            "--optimizer": option("--optimizer", "sgd"),
            "--loss": option("--loss", "mse", beside="--target-column w --feature-columns u,v"),
            "--lr": option("--lr", "0.1"),
            "--schedule": option("--schedule", "constant"),
            "--clip-norm": option("--clip-norm", "0.001"),
            "--patience": option("--patience", "1", beside="--epochs 60 --lr 1"),
            "--noise": option("--noise", "0.5"),
            "--metrics": option("--metrics", "auc"),
            "--class-weight": option("--class-weight", "balanced"),
            "--bucket": option("--bucket"),
            "--seed": option("--seed", "1"),
            "--validation": option("--validation", "0.5"),
            "--validation-data": option("--validation-data", "other.csv"),
            "--test": option("--test", "other.csv"),
            "--test-x-array": option("--test-x-array", "v"),
        },
    ),
    "predict": (
        PREDICT,
        {
            **COLUMNS,
            "model": option("none.st"),
            "data": option("data.csv"),
            "--output": option("-o", "p.csv"),
            "--probabilities": option("--probabilities"),
            "--no-labels": option("--no-labels"),
            "--steps": option("--steps", "all"),
        },
    ),
    "report": (
        ["report", "m.st", "other.csv", "-o", "q.html"],
        {
            **COLUMNS,
            "model": option("none.st"),
            "data": option("data.csv"),
            "--output": option("-o", "p.html"),
        },
    ),
    "info": (["info"], {"--threads": COLUMNS["--threads"], "--json": COLUMNS["--json"]}),
}
#: their options reach functions that have tests of each argument, and they take seconds
LONG_COMMANDS = {"demo", "gallery", "bench"}


def subcommands() -> dict[str, argparse.ArgumentParser]:
    kind = argparse._SubParsersAction
    (found,) = [one for one in cli._program()._actions if isinstance(one, kind)]
    return dict(found.choices)


@pytest.mark.parametrize("name", sorted(set(subcommands()) - LONG_COMMANDS))
def test_every_option_has_an_entry(name: str) -> None:
    actions = [one for one in subcommands()[name]._actions if one.dest != "help"]
    wanted = {one.option_strings[-1] if one.option_strings else one.dest for one in actions}
    assert set(COMMANDS[name][1]) == wanted


@pytest.mark.parametrize(
    ("name", "which"), [(name, which) for name, (_, found) in COMMANDS.items() for which in found]
)
def test_every_option_has_an_effect(
    name: str, which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(*args: Any, **options: Any) -> None:  # the page itself is tested where it is
        Path(os.fspath(args[3])).write_text(repr(seen([args[1:], options])))

    monkeypatch.setattr(fastbptt, "report", report)
    words, found = COMMANDS[name]
    line = found[which]
    before = [*words, *line.beside]
    after = [*before, *line.words]
    if not which.startswith("-"):
        after = [
            line.words[0] if one == {"data": "other.csv", "model": "m.st"}[which] else one
            for one in before
        ]
        if name == "train":
            after = ["train", "other.csv", *words[2:]]
    if line.beside or name not in UNCHANGED:
        first = outcome(partial(command, *before), tmp_path / "a")
        assert first[0] == "0", first[1]
        assert outcome(partial(command, *before), tmp_path / "b") == first
        if not line.beside:
            UNCHANGED[name] = first
    else:
        first = UNCHANGED[name]
    assert outcome(partial(command, *after), tmp_path / "c") != first


# ---------------------------------------------------------------- messages

ARRAYS: list[Any] = [
    np.arange(24.0).reshape(2, 3, 4) / 7,
    np.arange(-5.0, 300.0) / 7,
    (np.arange(90.0) / 7).tolist(),
    {"mean": np.arange(90.0) / 7, "scale": np.zeros(90)},
]
PRINTED = re.compile(r"array\(\[|\[\s*-?\d+\.\d* +-?\d|\[(-?\d+\.\d+, ){6}")


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "name"), CASES)
def test_no_message_prints_an_array(entry: Entry, name: str, tmp_path: Path) -> None:
    change = entry.changes[name]
    base = {**entry.base, **(change.others if isinstance(change, With) else {})}
    for i, array in enumerate(ARRAYS):
        made = {key: value_of(one) for key, one in {**base, name: array}.items()}
        message = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outcome(partial(entry.call, **made), tmp_path / str(i))
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
        assert not PRINTED.search(message), message


@pytest.mark.parametrize(
    "text",
    [
        f"x is {ARRAYS[0]}",
        f"x is {ARRAYS[1]}",
        f"x is {ARRAYS[2]!r}",
        f"x is {ARRAYS[0]!r}",
        f"values are {ARRAYS[3]}",
        f"y is {np.arange(3.0)}",
    ],
)
def test_an_array_is_recognised(text: str) -> None:
    assert PRINTED.search(text)
