"""A model that goes through files, copies, forks, threads and interrupted runs, beside a twin that
is only trained: any options of models and calls, the same bits, and the same refusals.
"""

from __future__ import annotations

import gc
import inspect
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt import reference
from fastbptt.models import initializers
from fastbptt.optim import OPTIMIZERS
from fastbptt.optim.schedules import SCHEDULES

from ._common import bits, in_child

I, O, TOKENS, STATIC = 3, 3, 7, 2
LENGTH = 15


class Draw:
    """Sizes of a model, and a generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 19])
        self.cell = self.one_of(*reference.CELLS)
        self.H = self.one_of(1, 2, 5, 8, 17, 33)
        self.B, self.T = int(self.rng.integers(1, 9)), int(self.rng.integers(1, 9))

    def one_of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def some(self, table: dict[str, Callable[[Draw], Any]], share: float) -> dict[str, Any]:
        return {name: draw(self) for name, draw in table.items() if self.chance(share)}


def _constraints(d: Draw) -> fastbptt.Constraints:
    kinds: list[dict[str, Any]] = [
        {"masks": {"W_hh": np.arange(d.H * d.H).reshape(d.H, d.H) % 3 > 0}},
        {"signs": {"W_hh": d.rng.choice((-1, 1), d.H)}},
        {"max_norm": {"W_xh": 0.5}},
        {"self_connections": False},
    ]
    return fastbptt.Constraints(**d.one_of(*kinds))


def _probability(d: Draw) -> float:
    return d.one_of(0.0, 0.1, 0.5, 0.9)


# A value of each option of `Recurrent`; what does not fit the others is refused, and drawn again
MODEL: dict[str, Callable[[Draw], Any]] = {
    "alpha": lambda d: d.one_of(0.1, 0.9, np.linspace(0.1, 0.9, d.H)),
    "learn_alpha": lambda d: d.chance(0.5),
    "num_layers": lambda d: d.one_of(1, 2, 3),
    "bidirectional": lambda d: d.chance(0.5),
    "bias": lambda d: d.chance(0.5),
    "output_bias": lambda d: d.one_of(None, True, False),
    "readout_units": lambda d: range((d.H + 1) // 2),
    "rank": lambda d: d.one_of(1, 2),
    "dropout": _probability,
    "recurrent_dropout": _probability,
    "zoneout": _probability,
    "input_noise": _probability,
    "recurrent_noise": _probability,
    "noise_scaling": lambda d: d.one_of(None, "alpha"),
    "learn_initial_state": lambda d: d.chance(0.5),
    "static_size": lambda d: d.one_of(None, STATIC),
    "embedding": lambda d: d.one_of(None, TOKENS),
    "padding_index": lambda d: d.one_of(None, 0),
    "freeze_embedding": lambda d: d.chance(0.5),
    "constraints": _constraints,
    "init": lambda d: d.one_of(*initializers.INITIALIZERS),
    "dtype": lambda d: d.one_of("float32", "float64"),
    "precision": lambda d: d.one_of("float32", "bfloat16"),
    "seed": lambda d: int(d.rng.integers(1 << 40)),
}

# .. and of each option that a training step and `fit` have in common
CALL: dict[str, Callable[[Draw], Any]] = {
    "steps": lambda d: d.one_of(*reference.STEPS),
    "reduction": lambda d: d.one_of(*reference.REDUCTIONS),
    "lengths": lambda d: d.rng.integers(1, d.T + 1, d.B),
    "sample_weight": lambda d: d.rng.random(d.B) + 0.1,
    "clip_norm": lambda d: d.one_of(0.01, 1.0),
    "clip_value": lambda d: d.one_of(0.001, 1.0),
    "static": lambda d: d.rng.normal(size=(d.B, STATIC)),
    "warmup": lambda d: d.one_of(0, 1),
    "resets": lambda d: d.rng.random((d.B, d.T)) < 0.2,
    "memory_budget": lambda d: d.one_of("1MB", "100kB", 20_000),
    "bptt_steps": lambda d: d.one_of(1, 2, 4),
    "l1": lambda d: {"W_xh": 0.01},
    "l2": lambda d: {"W_hh": 0.01},
    "activity_l1": lambda d: 0.01,
    "activity_l2": lambda d: 0.01,
    "activity_change_l2": lambda d: 0.01,
    "omega": lambda d: 0.1,
}
STEP: dict[str, Callable[[Draw], Any]] = {
    "check_finite": lambda d: d.chance(0.5),
    "record": lambda d: d.one_of("gradients", "norms"),
}
FIT: dict[str, Callable[[Draw], Any]] = {
    "schedule": lambda d: d.one_of(*SCHEDULES),
    "patience": lambda d: d.one_of(1, 3),
    "min_delta": lambda d: 0.01,
    "monitor": lambda d: d.one_of("loss", "validation_loss"),
    "restore_best": lambda d: d.chance(0.5),
    "metrics": lambda d: d.one_of(*fastbptt.METRICS),
    "training_metrics": lambda d: d.chance(0.5),
    "shuffle": lambda d: d.chance(0.5),
    "seed": lambda d: int(d.rng.integers(1 << 20)),
    "bucket": lambda d: d.chance(0.5),
    "missing": lambda d: d.one_of("error", "mask"),
}
# What the machine itself decides, or what has attacks and tests of its own
ELSEWHERE = {
    "train_step": {"x", "y", "optimizer", "loss", "h0", "state"},
    "fit": {
        "x", "y", "optimizer", "loss", "epochs", "batch_size", "validation", "callbacks", "augment",
        "verbose", "checkpoint", "checkpoint_every", "resume", "class_weight", "steps_per_epoch",
        "comm",
    },
}  # fmt: skip


def unknown_options() -> list[str]:
    """Options that these tables lack: each new one must join the machine."""

    def names(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters) - {"self", "model"}

    sizes = {"cell", "input_size", "hidden_size", "output_size"}
    lacking = names(fastbptt.Recurrent) - sizes - set(MODEL)
    lacking |= names(fastbptt.Recurrent.train_step) - ELSEWHERE["train_step"] - {*CALL, *STEP}
    lacking |= names(fastbptt.fit) - ELSEWHERE["fit"] - {*CALL, *FIT}
    return sorted(lacking)


def outcome(function: Callable[[], Any]) -> Any:
    """What a call gives, or the words of its refusal; anything else is a fault."""
    try:
        return repr(function())
    except (ValueError, TypeError, FloatingPointError) as error:
        text = f"{type(error).__name__}: {error}"
    assert "\n" not in text, text
    return text


class Machine:
    def __init__(self, seed: int, folder: Path) -> None:
        self.draw, self.folder = Draw(seed), folder
        self.log: list[str] = []
        d = self.draw
        while True:
            options = d.some(MODEL, 0.15) | {"seed": MODEL["seed"](d)}
            if "leaky" in d.cell:
                options.setdefault("alpha", 0.4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # constraints that change the start weights
                try:
                    self.model, self.twin = (
                        fastbptt.Recurrent(d.cell, I, d.H, O, **options) for _ in range(2)
                    )
                    break
                except (ValueError, TypeError):
                    continue
        self.options, self.start = options, self.twin.state_dict()
        self.log.append(f"{d.cell} H {d.H} {options}")
        self.new_optimizer()

    def new_optimizer(self) -> None:
        name = self.draw.one_of(*OPTIMIZERS)
        self.rule = name
        self.optimizer, self.its = OPTIMIZERS[name](0.01), OPTIMIZERS[name](0.01)

    # ------------------------------------------------------------ arguments

    def data(self) -> tuple[Any, Any]:
        """Inputs and targets of the loss, as the machine's model gets them."""
        d = self.draw
        d.B, d.T = int(d.rng.integers(1, 9)), int(d.rng.integers(1, 9))
        tokens = self.options.get("embedding")
        shape = (d.B, d.T) if tokens else (d.B, d.T, I)
        x: Any = d.rng.integers(0, TOKENS, shape) if tokens else d.rng.normal(size=shape)
        return x, d.rng.integers(0, O, d.B)

    def arguments(self, more: dict[str, Callable[[Draw], Any]]) -> dict[str, Any]:
        x, y = self.data()
        given = self.draw.some(CALL, 0.08) | self.draw.some(more, 0.08)
        if self.options.get("static_size"):
            given["static"] = CALL["static"](self.draw)
        if given.get("steps") == "all":
            y = self.draw.rng.integers(0, O, (self.draw.B, self.draw.T))
        self.log[-1] += f" B {self.draw.B} T {self.draw.T} {given}"
        return {"x": x, "y": y, "loss": "cross_entropy", **given}

    def other_layout(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same numbers elsewhere in memory."""
        x = arguments["x"]
        how = self.draw.one_of("as it is", "strided", "backwards", "Fortran", "offset")
        if how == "strided":
            x = np.repeat(x, 2, axis=1)[:, ::2]
        elif how == "backwards":
            x = x[::-1].copy()[::-1]
        elif how == "Fortran":
            x = np.asfortranarray(x)
        elif how == "offset":
            memory = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.uint8)
            moved = np.ndarray(x.shape, x.dtype, memory.data)
            moved[...] = x
            x = moved
        return arguments | {"x": x}

    # ------------------------------------------------------------ operations

    def train(self) -> None:
        arguments = self.arguments(STEP)
        theirs = outcome(lambda: self.twin.train_step(optimizer=self.its, **arguments))
        arguments = self.other_layout(arguments)
        ours = outcome(lambda: self.model.train_step(optimizer=self.optimizer, **arguments))
        assert ours == theirs, f"{ours} where the twin has {theirs}"

    def fit(self) -> None:
        """In one go, and stopped after some batches and taken up again."""
        arguments = self.arguments(FIT) | {"epochs": 3, "batch_size": 3, "verbose": 0}
        if "monitor" in arguments or "patience" in arguments:
            arguments["validation"] = 0.3
        stop, seen = int(self.draw.rng.integers(1, 8)), 0
        path = self.folder / "run"
        path.unlink(missing_ok=True)
        rule = OPTIMIZERS[self.rule]

        class Stop(fastbptt.Callback):
            def on_batch_end(self, run: Any) -> None:
                nonlocal seen
                seen += 1
                if seen == stop:  # not again when it is resumed
                    raise InterruptedError

        before = bits(self.model)
        theirs = outcome(
            lambda: _curves(fastbptt.fit(self.twin, optimizer=rule(0.01), **arguments))
        )
        start = self.model.copy()
        try:
            first = outcome(
                lambda: _curves(
                    fastbptt.fit(
                        self.model, optimizer=rule(0.01), checkpoint=path, checkpoint_every=0,
                        callbacks=[Stop()], **arguments,
                    )
                )
            )  # fmt: skip
        except InterruptedError:
            self.model = start if self.draw.chance(0.5) else self.model
            if not path.exists():  # stopped before the first one
                self.model = start
            first = outcome(
                lambda: _curves(
                    fastbptt.fit(
                        self.model, optimizer=rule(0.01), checkpoint=path, resume=True,
                        callbacks=[Stop()], **arguments,
                    )
                )
            )  # fmt: skip
        if theirs.startswith(("ArgumentError", "ArgumentTypeError")):
            assert bits(self.model) == before, f"changed by a refusal: {theirs}"
        assert first == theirs, f"{first} where the twin has {theirs}"
        self.new_optimizer()

    def fit_many(self) -> None:
        arguments = self.arguments({}) | {"epochs": 2, "batch_size": 3, "verbose": 0}
        rule, twins = OPTIMIZERS[self.rule], [self.twin, self.twin.copy()]
        theirs = [
            outcome(lambda one=one: _curves(fastbptt.fit(one, optimizer=rule(0.01), **arguments)))
            for one in twins
        ]
        models = [self.model, self.model.copy()]
        ours = outcome(
            lambda: [
                _curves(one.history)
                for one in fastbptt.fit_many(models, optimizer=rule(0.01), jobs=2, **arguments)
            ]
        )
        if theirs[0].startswith("{"):
            assert ours == f"[{theirs[0]}, {theirs[1]}]", f"{ours} where the twin has {theirs}"
        else:
            assert not ours.startswith("["), f"{ours} where the twin has {theirs}"
        for one, other in zip(models, twins, strict=True):
            assert bits(one) == bits(other), "a model of fit_many is another than that of fit"
        self.new_optimizer()

    def optimizer_anew(self) -> None:
        self.new_optimizer()
        self.log[-1] += f" {self.rule}"

    def saved(self) -> None:
        path = self.folder / "model"
        self.model.save(path, self.optimizer)
        self.model, self.optimizer = fastbptt.load(path), fastbptt.load_optimizer(path)

    def copied(self) -> None:
        self.model, self.optimizer = self.model.copy(), self.optimizer.copy()

    def pickled(self) -> None:
        self.model, self.optimizer = pickle.loads(pickle.dumps((self.model, self.optimizer)))

    def threads(self) -> None:
        fastbptt.set_num_threads(int(self.draw.rng.integers(1, 5)))

    def collect(self) -> None:
        gc.collect()

    def forked(self) -> None:
        """A child computes what its parent computes."""
        arguments = self.arguments({})

        def step() -> tuple[Any, Any]:
            model, optimizer = self.model.copy(), self.optimizer.copy()
            got = outcome(lambda: model.train_step(optimizer=optimizer, **arguments))
            return got, bits(model, optimizer)

        assert in_child(step) == step(), "a forked child computes something else"

    def freeze(self) -> None:
        names = list(self.model.parameters)
        chosen = [str(name) for name in self.draw.rng.choice(names, 2)]
        how = self.draw.one_of("freeze", "unfreeze")
        self.log[-1] += f" {how} {chosen}"
        ours, theirs = (outcome(lambda m=m: getattr(m, how)(*chosen)) for m in self.both)
        assert ours == theirs, f"{ours} where the twin has {theirs}"

    @property
    def both(self) -> tuple[fastbptt.Recurrent, fastbptt.Recurrent]:
        return self.model, self.twin

    def weights(self) -> None:
        """Those of the start."""
        for model in self.both:
            model.load_state_dict(self.start)

    def read(self) -> None:
        """Calls that leave nothing behind, on the machine's model alone."""
        x, _ = self.data()
        if self.options.get("padding_index") is not None:
            x[x == self.options["padding_index"]] = 1  # which `predict` refuses within a sequence
        static = CALL["static"](self.draw) if self.options.get("static_size") else None
        first = self.model.forward(x, static=static).outputs
        again = fastbptt.predict(self.model, x, static=static, steps="all")
        assert np.asarray(first).tobytes() == np.asarray(again).tobytes()

    def refused(self) -> None:
        """A training step that ends in the middle of its work, on the machine's model alone."""
        arguments = self.arguments({})
        x = arguments["x"]
        x[-1, 0] = TOKENS if x.dtype.kind == "i" else np.nan
        found = outcome(lambda: self.model.train_step(optimizer=self.optimizer, **arguments))
        assert "Error: " in found, f"not refused: {found}"

    def go(self) -> None:
        names = list(OPERATIONS)
        weights = np.array([OPERATIONS[name][0] for name in names], float)
        for _ in range(LENGTH):
            name = str(self.draw.rng.choice(names, p=weights / weights.sum()))
            self.log.append(name)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", ".*multi-threaded.*fork")
                OPERATIONS[name][1](self)
            ours, theirs = bits(self.model, self.optimizer), bits(self.twin, self.its)
            assert ours == theirs, "the twin has other bits"
            if not np.abs(self.model.parameters.flat).max() < 1e6:
                self.weights()
                self.new_optimizer()


OPERATIONS: dict[str, tuple[int, Callable[[Machine], None]]] = {
    "train": (8, Machine.train),
    "fit": (3, Machine.fit),
    "fit_many": (1, Machine.fit_many),
    "new optimizer": (1, Machine.optimizer_anew),
    "save": (2, Machine.saved),
    "copy": (2, Machine.copied),
    "pickle": (2, Machine.pickled),
    "threads": (1, Machine.threads),
    "collect": (1, Machine.collect),
    "fork": (1, Machine.forked),
    "freeze": (1, Machine.freeze),
    "weights": (1, Machine.weights),
    "read": (2, Machine.read),
    "refused": (2, Machine.refused),
}


def _curves(history: fastbptt.History) -> dict[str, Any]:
    """A history without its seconds."""
    return {name: list(map(float, c)) for name, c in history.curves.items() if name != "seconds"}


def attack(seed: int, folder: Path) -> int:
    threads = fastbptt.get_num_threads()
    made = Machine(seed, folder)
    try:
        made.go()
    except Exception as error:
        lines = "\n".join(f"{i:4} {text}" for i, text in enumerate(made.log))
        raise AssertionError(f"{type(error).__name__}: {error}\nin the last of\n{lines}") from error
    finally:
        fastbptt.set_num_threads(threads)
    return LENGTH
