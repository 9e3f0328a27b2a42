"""Entries of `fastbptt`: training, evaluation, diagnosis, files, threads."""

from __future__ import annotations

import io
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from effects import Each, Entry, Fresh, Reason, Refused, With

import fastbptt

from .common import DATA, EACH, GAPPED, LENGTHS, NAN, OBJECTIVE, RESETS, X, Y, mapped, model
from .models import trained


class Stop(fastbptt.Callback):
    def on_batch_end(self, run: Any) -> bool:
        return True


class Look(fastbptt.Callback):
    """Counts epochs, and those before which there was a checkpoint."""

    def __init__(self, stop: bool = False) -> None:
        self.epochs, self.checkpoints, self.stop = 0, 0, stop

    def on_epoch_begin(self, run: Any) -> None:
        self.epochs += 1
        self.checkpoints += Path("run.st").exists()

    def on_epoch_end(self, run: Any) -> bool:
        return self.stop


def fitted(**arguments: Any) -> Any:
    """Train; if "begun.st" is to be the checkpoint, there is one of the first epoch."""
    if arguments.get("checkpoint") == "begun.st":
        begin = {"model": model(), "resume": False, "callbacks": [Look(stop=True)]}
        fastbptt.fit(**{**arguments, **begin})
    history = fastbptt.fit(**arguments)
    looks = [one for one in arguments.get("callbacks", ()) if isinstance(one, Look)]
    return history, arguments["model"], looks


def _fitted_many(**arguments: Any) -> Any:
    """Train; if "begun" is to be the checkpoint, all of it is finished already."""
    if arguments.get("checkpoint") == "begun" and not os.path.exists("begun"):
        begin = {"models": [model(), model(1)], "resume": False}
        fastbptt.fit_many(**{**arguments, **begin})
    fits = fastbptt.fit_many(**arguments)
    table = {name: column for name, column in fits.table().items() if name != "seconds"}
    return table, fits.models, fits.histories


def _many(values: list[float]) -> Any:
    """Results of two models."""
    fits = []
    for number, value in enumerate(values):
        history = fastbptt.History()
        history.add({"loss": value, "accuracy": -value, "seconds": 1.0})
        fits.append(fastbptt.training.OneFit(number, None, None, history, 1, 1.0, None))
    return fastbptt.training.ManyFits(fits, {}, frozenset(), "finished", 1.0)


def _overfitted() -> Any:
    history = fastbptt.History()
    for epoch in range(30):
        history.add({"loss": 0.1 + 0.1 * epoch, "lr": 1.0, "seconds": 1.0})
    return history


def _threads(n: int) -> int:
    before = fastbptt.get_num_threads()
    try:
        fastbptt.set_num_threads(n)
        return fastbptt.get_num_threads()
    finally:
        fastbptt.set_num_threads(before)


def _error(kind: type, **fields: Any) -> Any:
    made = kind(**fields)
    return str(made), vars(made)


CURVES: dict[str, Any] = {"epoch": [1, 2], "best_epoch": 1, "stopped": "epochs"}
CURVES["curves"] = {"loss": [2.0, 1.0]}
OTHER_CURVES = {**CURVES, "curves": {"loss": [3.0, 1.0]}}


def _history(name: str, /, **arguments: Any) -> Any:
    """Call a method; return its result and the history."""
    for file, curves in (("a.json", CURVES), ("b.json", OTHER_CURVES)):
        if name == "load":
            fastbptt.History.from_dict(curves).save(file)
    made = fastbptt.History.from_dict(CURVES)
    return getattr(made, name)(**arguments), made


def _without_median(**arguments: Any) -> str:
    """Return the message about quantiles without the median."""
    try:
        fastbptt.Loss("quantile", levels=[0.1]).check_point(**arguments)
    except fastbptt.ArgumentError as error:
        return str(error)
    raise AssertionError("not refused")


def _forward_result(**arguments: Any) -> Any:
    """Return it, and the gradients by the model of the first call."""
    made = fastbptt.ForwardResult(**arguments)
    return made, OWNER.backward(made, d_final_state=np.ones((1, 12, 4)))


OWNER = model()
OUT = OWNER.forward(X, training=True)
GRADS = OWNER.loss_and_grad(X, Y)[1]


def _run(seed: int = 0, epoch: int = 1, record: bool = True) -> Any:
    """The state of a training run after a batch."""
    net, sgd = model(seed), fastbptt.SGD(0.1)
    net.train_step(X, Y, sgd, record="gradients" if record else None)
    run = fastbptt.training.TrainingRun(
        net, sgd, fastbptt.History(), 9, 1, fastbptt.Loss("bce"), "last"
    )
    run.epoch = epoch
    return run


def _watched(name: str, run: Any) -> Any:
    """Records of a monitor after a batch and the call."""
    monitor = fastbptt.GradientMonitor(warn=False)
    if name == "on_epoch_end":
        monitor.on_batch_end(_run())
    getattr(monitor, name)(run)
    return monitor.state()


def _restored(state: Any) -> Any:
    monitor = fastbptt.GradientMonitor(warn=False)
    monitor.load_state(state)
    return monitor.state()


def _records(seed: int) -> Any:
    monitor = fastbptt.GradientMonitor(warn=False)
    fastbptt.fit(model(seed), X, Y, epochs=2, verbose=0, callbacks=[monitor])
    return monitor.state()


HOOK = Reason(
    "`fit` passes it to every callback",
    "tests/training/test_fit_arguments.py::test_the_loss_suits_the_targets",
)
UNEVEN: dict[str, Any] = {"scale": np.array([1.0, 2.0])}
ERROR: dict[str, Any] = {"argument": "x", "problem": "is 1"}
OF_ERRORS: dict[str, Any] = {
    "argument": "y",
    "problem": "is 2",
    "expected": "3",
    "item": 4,
    "index": (5, 6),
    "value": 7,
}
RUN: dict[str, Any] = dict.fromkeys(
    ("model", "optimizer", "history", "epochs", "steps_per_epoch", "loss", "steps"), "a"
)
LONG: dict[str, Any] = {"x": np.ones((4, 400, 2)), "y": Y[:4]}


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


CONSTANTS = partial(model, static_size=2)
ONE_FIT: dict[str, Any] = {
    "number": 0,
    "name": None,
    "model": None,
    "history": _overfitted(),
    "epoch": 1,
    "seconds": 1.0,
    "error": None,
}

ENTRIES: dict[str, Entry] = {
    "fit": Entry(
        fitted,
        {"model": Fresh(model), "x": X, "y": Y, "epochs": 2, "batch_size": 4, "verbose": 0},
        {
            "model": Fresh(lambda: model(1)),
            **DATA,
            **OBJECTIVE,
            "static": mapped(model=Fresh(CONSTANTS)),
            "missing": Each(
                With("mask", {"y": GAPPED}),
                Refused("mask", "because loss is a function", {"loss": lambda z, y, w: (0.0, z)}),
            ),
            "class_weight": {0: 2.0},
            "epochs": 3,
            "batch_size": 5,
            "optimizer": "sgd",
            "schedule": "cosine",
            "clip_norm": 1e-3,
            "clip_value": 1e-3,
            "l1": {"W_hh": 0.1},
            "l2": {"W_hh": 0.1},
            "activity_l1": 0.1,
            "activity_l2": 0.1,
            "activity_change_l2": 0.1,
            "omega": Refused(0.1, 'is given for the cell "gru"'),
            "bptt_steps": With(2, {"steps": "all", "y": EACH}),
            "memory_budget": With("1.3 MB", LONG),
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
            "checkpoint": "run.st",
            "checkpoint_every": Each(
                With(1e9, {"checkpoint": "run.st", "callbacks": Fresh(lambda: [Look()])}),
                Refused(5.0, "checkpoint is None"),
            ),
            "resume": Each(
                With(True, {"checkpoint": "begun.st", "callbacks": Fresh(lambda: [Look()])}),
                With("begun.st", {"checkpoint": "begun.st", "callbacks": Fresh(lambda: [Look()])}),
                Refused("none.st", "none.st"),
            ),
            "steps_per_epoch": Refused(2, "unless x is an iterator"),
            "comm": Refused("COMM_WORLD", "a communicator of mpi4py"),
        },
    ),
    "fit_many": Entry(
        _fitted_many,
        {
            "models": Fresh(lambda: [model(), model(1)]),
            "x": X,
            "y": Y,
            "epochs": 2,
            "batch_size": 4,
            "verbose": 0,
        },
        {
            "models": Fresh(lambda: [model(), model(2)]),
            "x": DATA["x"],
            "y": DATA["y"],
            "count": Each(
                With(3, {"models": model}), Refused(2, "None because models is a sequence")
            ),
            "names": ["a", "b"],
            "rows": [np.arange(4), np.arange(3)],
            "validation_rows": With([[5], [4]], {"rows": [np.arange(4), np.arange(3)]}),
            "each": {"seed": [3, 4]},
            "jobs": Reason(
                "it changes the time only",
                "tests/training/test_fit_many.py::test_the_number_of_jobs_and_groups_changes_nothing",
            ),
            "on_error": With("report", {"each": {"x": [X, X * np.nan]}, "x": None}),
            "keep": Each(
                With("histories", {"models": model, "count": 2}),
                With("table", {"models": model, "count": 2}),
                Refused("table", "because models is a sequence"),
            ),
            "checkpoint": "run",
            "checkpoint_every": Each(
                Reason(
                    "it is gone once the model is finished",
                    "tests/training/test_fit_many_resume.py::test_killed_at_random_moments",
                ),
                Refused(5.0, "checkpoint is None"),
            ),
            "resume": Each(
                With(True, {"checkpoint": "begun"}), Refused(True, "checkpoint is None")
            ),
            "verbose": 2,
            "arguments": Refused("x", "no argument 'arguments'"),
        },
    ),
    "find_lr": Entry(
        fastbptt.find_lr,
        {"model": model(), "x": X, "y": Y, "updates": 10},
        {
            "model": model(1),
            "x": X + 1,
            "y": Y[::-1],
            "low": Each(1e-3, Refused(2.0, "less than high=1.0")),
            "high": 10.0,
            "updates": Each(12, Refused(9, "at least 10")),
            "optimizer": "sgd",
            "options": Refused("epochs", "has no argument options"),
        },
    ),
    "evaluate": Entry(
        fastbptt.evaluate,
        {"model": Fresh(model), "x": X, "y": Y},
        {
            "model": Fresh(lambda: model(1)),
            **DATA,
            **OBJECTIVE,
            "static": mapped(model=Fresh(CONSTANTS)),
            "missing": With("mask", {"y": GAPPED}),
            "metrics": "accuracy",
            "batch_size": Each(
                Reason(
                    "memory, not the result",
                    "tests/training/test_fit_arguments.py::test_evaluate_is_the_models_own_loss",
                ),
                Refused(0, "batch_size is 0"),
            ),
        },
    ),
    "predict": Entry(
        fastbptt.predict,
        {"model": Fresh(model), "x": X},
        {
            "model": Fresh(lambda: model(1)),
            "x": X + 1,
            "lengths": LENGTHS,
            "static": mapped(model=Fresh(CONSTANTS)),
            "steps": "all",
            "resets": Each(RESETS, Refused(RESETS, 'but steps="max"', {"steps": "max"})),
            "loss": Each("bce", Refused("gaussian", "loss is")),
            "noise": Each(
                With(1, {"model": Fresh(lambda: model(input_noise=0.1))}),
                Refused(1, "neither input_noise nor recurrent_noise"),
            ),
            "batch_size": Each(
                Reason(
                    "memory, not the result",
                    "tests/training/test_fit.py::test_predict_in_any_order",
                ),
                Refused(0, "batch_size is 0"),
            ),
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
            "resets": Each(RESETS, Refused(RESETS, "jacobians is 2, but", {"jacobians": 2})),
            "static": mapped(model=Fresh(CONSTANTS)),
            "per_example": True,
            "jacobians": 2,
            "dtype": Refused("float32", "dtype is"),
            "optimizer": Fresh(lambda: fastbptt.SGD(100.0)),
            "history": Fresh(lambda: _overfitted()),
        },
    ),
    "Loss": Entry(
        lambda name, **parameters: fastbptt.Loss(name, **parameters),
        {"name": "huber"},
        {
            "name": "mse",
            "delta": 2.0,
            "label_smoothing": With(0.1, {"name": "bce"}),
            "gamma": With(2.0, {"name": "bce"}),
            "levels": With((0.2, 0.5), {"name": "quantile"}),
        },
    ),
    "Losses": Entry(
        lambda losses, **settings: repr(fastbptt.Losses(losses, **settings)),
        {"losses": {"a": "mse", "b": "bce"}},
        {
            "losses": {"a": "mae", "b": "bce"},
            "outputs": Each({"b": 2}, Refused({"c": 2}, "outputs has unknown c")),
            "weights": Each({"b": 2.0}, Refused({"b": -1.0}, 'weights["b"] is -1.0')),
        },
    ),
    "Losses.split": Entry(
        fastbptt.Losses({"a": "mse", "b": "bce"}).split,
        {"outputs": X},
        {"outputs": Each(X + 1, Refused(X[..., :1], "outputs has shape"))},
    ),
    "Losses.predictions": Entry(
        fastbptt.Losses({"a": "mse", "b": "bce"}).predictions, {"outputs": X}, {"outputs": X + 1}
    ),
    "Standardizer": Entry(
        lambda x=X, **settings: fastbptt.Standardizer(**settings).fit(x).transform(x),
        {},
        {"center": False, "missing": With("mask", {"x": NAN})},
    ),
    "training.RankError": Entry(
        lambda failed: str(fastbptt.training.RankError(failed)),
        {"failed": {0: "here"}},
        {"failed": {1: "there"}},
    ),
    "training.MaskedLoss": Entry(
        lambda loss: fastbptt.training.MaskedLoss(loss)(X[1], NAN[0]),
        {"loss": "mse"},
        {"loss": "mae"},
    ),
    "training.MaskedLoss.__call__": Entry(
        fastbptt.training.MaskedLoss("mse"),
        {"outputs": X[2], "targets": NAN[0]},
        {"outputs": X[1], "targets": NAN[1], "weights": np.arange(6.0)},
    ),
    "set_num_threads": Entry(_threads, {"n": 1}, {"n": 2}),
    "load": Entry(_load, {"path": "a.st"}, {"path": "b.st"}),
    "load_optimizer": Entry(_load_optimizer, {"path": "a.st"}, {"path": "b.st"}),
    "show_config": Entry(_show_config, {"file": None}, {"file": "stderr"}),
    "GradientMonitor": Entry(
        _monitored, {"keep": 2}, {"keep": 3, "warn": False, "log_dir": "logs", "probe": (X, Y)}
    ),
    "GradientMonitor.load_state": Entry(_restored, {"state": _records(0)}, {"state": _records(1)}),
    "GradientMonitor.on_batch_end": Entry(
        partial(_watched, "on_batch_end"), {"run": Fresh(_run)}, {"run": Fresh(partial(_run, 1))}
    ),
    "GradientMonitor.on_epoch_end": Entry(
        partial(_watched, "on_epoch_end"),
        {"run": Fresh(_run)},
        {"run": Fresh(partial(_run, epoch=2))},
    ),
    "GradientMonitor.on_train_begin": Entry(_watched, {}, {"run": HOOK}),
    "GradientMonitor.on_epoch_begin": Entry(_watched, {}, {"run": HOOK}),
    "GradientMonitor.on_train_end": Entry(_watched, {}, {"run": HOOK}),
    "ArgumentError": Entry(partial(_error, fastbptt.ArgumentError), ERROR, OF_ERRORS),
    "ArgumentTypeError": Entry(partial(_error, fastbptt.ArgumentTypeError), ERROR, OF_ERRORS),
    "ForwardResult": Entry(
        _forward_result,
        {"tape": OUT._tape, "owner": OUT._owner, "readout": True},
        {
            "tape": OWNER.forward(X + 1, training=True)._tape,
            "owner": Refused(None, "out comes from another model"),
            "readout": False,
        },
    ),
    "Gradients": Entry(
        fastbptt.Gradients,
        {"flat": np.arange(6.0), "layout": {"a": (0, 2, (2,))}},
        {
            "flat": np.arange(6.0) + 1,
            "layout": {"b": (0, 2, (2,))},
            "x": np.ones(2),
            "h0": np.ones(3),
            "frozen": Reason(
                "gradients left out of the norm change nothing until it is clipped",
                "tests/optim/test_own_loops.py::test_the_norm_before_and_after_clipping",
            ),
        },
    ),
    "Gradients.__getitem__": Entry(GRADS.__getitem__, {"name": "W_hh"}, {"name": "b_h"}),
    "Loss.of_scaled": Entry(
        fastbptt.Loss("huber", delta=2.0).of_scaled,
        {"scale": np.ones(2), "expected": "one scale"},
        {
            "scale": np.full(2, 2.0),
            "expected": Refused("another", "another", UNEVEN),
            "name": Refused("objective", "objective is", UNEVEN),
        },
    ),
    "Loss.targets_of": Entry(
        fastbptt.Loss("gaussian").targets_of, {"width": 6}, {"width": Refused(7, "loss is")}
    ),
    "Loss.labels": Entry(
        fastbptt.Loss("hinge").labels, {"y": np.ones(2)}, {"y": np.array([-1.0, 1.0])}
    ),
    "Loss.in_units": Entry(
        fastbptt.Loss("gaussian").in_units,
        {"scale": np.ones(2), "mean": np.ones(2)},
        {"scale": np.full(2, 3.0), "mean": np.zeros(2)},
    ),
    "Loss.point": Entry(
        fastbptt.Loss("gaussian").point, {"outputs": X[:, 0, :2]}, {"outputs": X[:, 1, :2]}
    ),
    "Loss.quantiles": Entry(
        fastbptt.Loss("gaussian").quantiles,
        {"outputs": X[:, 0, :2]},
        {"outputs": X[:, 1, :2], "levels": [0.3]},
    ),
    "Loss.check_point": Entry(_without_median, {}, {"name": "objective"}),
    "Loss.predictions": Entry(
        fastbptt.Loss("bce").predictions, {"outputs": X[:, 0]}, {"outputs": X[:, 1]}
    ),
    "History.__getitem__": Entry(
        partial(_history, "__getitem__"),
        {"name": "loss"},
        {"name": Refused("lr", "'lr' is not a curve")},
    ),
    "History.add": Entry(
        partial(_history, "add"), {"values": {"loss": 1.0}}, {"values": {"loss": 2.0}}
    ),
    **{
        f"History.{name}": Entry(
            partial(_history, name), {"values": CURVES}, {"values": OTHER_CURVES}
        )
        for name in ("from_dict", "restore")
    },
    **{
        f"History.{name}": Entry(partial(_history, name), {"path": "a.json"}, {"path": "b.json"})
        for name in ("save", "load")
    },
    "training.OneFit": Entry(
        fastbptt.training.OneFit,
        ONE_FIT,
        {
            "number": 1,
            "name": "a",
            "model": Fresh(model),
            "history": Fresh(fastbptt.History),
            "epoch": 2,
            "seconds": 2.0,
            "error": "it diverged",
        },
    ),
    "training.ManyFits": Entry(
        fastbptt.training.ManyFits,
        {
            "fits": _many([1.0, 2.0])[:],
            "given": {},
            "larger": frozenset(),
            "stopped": "finished",
            "seconds": 1.0,
        },
        {
            "fits": _many([2.0, 1.0])[:],
            "given": {"seed": [1, 2]},
            "larger": frozenset(["accuracy"]),
            "stopped": "interrupted",
            "seconds": 2.0,
        },
    ),
    "training.ManyFits.__getitem__": Entry(
        _many([1.0, 2.0]).__getitem__, {"index": 0}, {"index": Each(1, slice(1, None))}
    ),
    "training.ManyFits.best": Entry(
        _many([1.0, 2.0]).best, {}, {"curve": "accuracy", "largest": True}
    ),
    "training.TrainingRun": Entry(fastbptt.training.TrainingRun, RUN, dict.fromkeys(RUN, "b")),
}
