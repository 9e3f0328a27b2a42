"""Random calls on one model, and beside it the reference: what each gives, changes and leaves.

A `Run` is a cell and a seed. Each of its operations says which parts of the state it may change;
`Run` compares all others bit by bit. Numbers are compared with the reference on the model's own
numbers, so that rounding does not add up, in float64 also for models of float32.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cases import CELLS, Array, Case, build, make_params, padding_of
from networks import next_masks, parts
from refusals import OTHERS, SPOILS, refused

import fastbptt
from fastbptt import _core, reference
from fastbptt.models import initializers
from fastbptt.optim import OPTIMIZERS

GROWING = ("poisson", "gaussian")  # losses that grow exponentially: float32 soon overflows
BASE = {"float32": 1e-4, "float64": 1e-11}  # what an error may be without a closer look
CANDIDATES = (0.0, 1e-300, 1e-30, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 2**-24, 1 - 2**-53, 1.0, 1e30)
COMMON = (1e-3, 0.01, 0.1, 0.5, 0.9)


class Noisy(np.ndarray):
    """Numbers of arithmetic that rounds at random: in each operation, to either side.

    What two runs of a formula differ by is what rounding makes of it, of whichever program.
    """

    rng: np.random.Generator
    eps: float
    tiny: float

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, Noisy):
            self.rng, self.eps, self.tiny = other.rng, other.eps, other.tiny

    @classmethod
    def of(cls, values: Array, dtype: np.dtype[Any], rng: np.random.Generator) -> Noisy:
        array = np.array(values, np.float64).view(cls)
        array.rng, array.eps = rng, float(np.finfo(dtype).eps)
        array.tiny = float(np.finfo(dtype).tiny)
        return array

    def _rounded(self, values: Any) -> Any:
        if not isinstance(values, np.ndarray | np.floating) or values.dtype.kind != "f":
            return values
        noise = self.rng.choice((-self.eps, 0.0, self.eps), size=np.shape(values))
        moved = np.asarray(values) * (1 + noise)
        flushed = np.where(np.abs(moved) < self.tiny, 0.0, moved)
        array = np.asarray(flushed).view(Noisy)
        array.__array_finalize__(self)
        return array

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        found = super().__array_function__(function, types, args, options)
        if isinstance(found, np.ndarray) and found.dtype.kind == "f":  # of np.where and others
            found = found.view(Noisy)
            found.__array_finalize__(self)
        return found

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(one) if isinstance(one, Noisy) else one for one in inputs]
        if ufunc is np.matmul:  # its sums round inside, too
            plain = [np.asarray(self._rounded(np.asarray(one))) for one in plain]
        out = options.pop("out", None)
        found = self._rounded(getattr(ufunc, method)(*plain, **options))
        if out is not None:
            np.asarray(out[0])[...] = np.asarray(found)
            return out[0]
        return found


def same(got: Any, expected: Any) -> bool:
    """Bit by bit."""
    return np.asarray(got).tobytes() == np.asarray(expected).tobytes()


def padded(items: Sequence[Array], time: int) -> Array:
    """As one array, 0 after the ends."""
    whole = np.zeros((len(items), time))
    for row, item in zip(whole, items, strict=True):
        row[: len(item)] = item
    return whole


class Run:
    """A model, its optimiser, and a generator that decides what happens to them."""

    def __init__(self, cell: str, seed: int, folder: Path) -> None:
        self.cell, self.seed, self.folder = cell, seed, folder
        self.rng = np.random.default_rng([seed, CELLS.index(cell)])
        self.log: list[str] = []
        self.doubtful = 0  # comparisons that needed a closer look
        self.construct()

    # ------------------------------------------------------------ the course of a run

    def go(self, operations: int) -> int:
        """Do so many operations; an error tells how to repeat it. Return the doubtful ones."""
        try:
            for _ in range(operations):
                self.one()
        except Exception as error:
            lines = "\n".join(f"{i:4} {text}" for i, text in enumerate(self.log))
            raise AssertionError(
                f"{type(error).__name__}: {error}\nin the last of these operations of "
                f"Run({self.cell!r}, {self.seed}, folder).go({operations}):\n{lines}"
            ) from error
        return self.doubtful

    def one(self) -> None:
        names, weights = zip(*((name, one[0]) for name, one in OPERATIONS.items()), strict=True)
        name = str(self.rng.choice(names, p=np.array(weights) / sum(weights)))
        _, operation, changes = OPERATIONS[name]
        before = self.state()
        self.log.append(name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            operation(self)
        after = self.state()
        changed = [key for key in before if before[key] != after[key] and key not in changes]
        assert not changed, f"{name} has changed {', '.join(changed)}"
        self.calm_down()

    def say(self, text: str) -> None:
        self.log[-1] += f" {text}"

    def state(self) -> dict[str, Any]:
        """Every bit of it."""
        optimizer, bound = self.optimizer, self.optimizer._binding
        moments = {} if bound is None else {n: a.tobytes() for n, a in bound.moments.items()}
        owner = bound and ("this" if bound.owner is self.model._weights.token else bound.owner)
        return {
            "parameters": self.model.parameters.flat.tobytes(),
            "frozen": self.model.frozen,
            "seeds": self.model._dropout_seeds.state,
            "metadata": self.model.metadata,
            "structure": repr(self.model._config()["arguments"]),
            "settings": repr({name: getattr(optimizer, name) for name in optimizer._settings}),
            "moments": moments,
            "steps": optimizer.step_count,
            "owner": owner,
            "threads": fastbptt.get_num_threads(),
        }

    def calm_down(self) -> None:
        """Begin anew with numbers that have grown too large for comparisons."""
        flat = self.model.parameters.flat
        if not np.abs(flat).max() < 30:  # NaN too
            self.model.load_state_dict(make_params(self.case(), self.rng))

    # ------------------------------------------------------------ draws

    def one_of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def construct(self) -> None:
        """Draw a network and build it; a new optimiser, too."""
        self.log.append("construct")
        rng = self.rng
        layers = self.one_of(1, 1, 2, 3)
        vocabulary = self.one_of(None, None, None, 7)
        setting = reference.CELLS[self.cell].SETTING
        self.network: dict[str, Any] = {
            "I": int(rng.integers(1, 6)),
            "H": self.one_of(1, 2, 3, 5, 8, 9, 17),
            "O": self.one_of(None, 1, 1, 2, 4),
            "bias": self.chance(0.8),
            "cell": self.cell,
            "setting": self.one_of(None, 0.05, 0.9) if setting else None,
            "each_unit": bool(setting) and self.chance(0.5),
            "learn_alpha": bool(setting) and self.chance(0.5),
            "num_layers": layers,
            "bidirectional": self.chance(0.3),
            "dropout": self.one_of(0.0, 0.3, 0.9) if layers > 1 else 0.0,
            "learn_initial_state": self.chance(0.3),
            "embedding": vocabulary,
            "padding_index": self.one_of(None, 2) if vocabulary else None,
            "freeze_embedding": bool(vocabulary) and self.chance(0.3),
        }
        self.dtype = self.one_of("float64", "float64", "float32")
        recipe = self.one_of(*initializers.INITIALIZERS)
        case, own = self.case(), int(rng.integers(1 << 40))
        self.say(f"{self.network} {self.dtype} init={recipe!r} seed={own}")
        self.model = fastbptt.Recurrent(
            case.cell, case.I, case.H, case.O,
            alpha=case.alpha, learn_alpha=case.learn_alpha,
            num_layers=layers, bidirectional=case.bidirectional, bias=case.bias,
            dropout=case.dropout, learn_initial_state=case.learn_initial_state,
            embedding=vocabulary, padding_index=case.padding_index,
            freeze_embedding=case.freeze_embedding, init=recipe, dtype=self.dtype, seed=own,
        )  # fmt: skip
        self.new_optimizer()

    def new_optimizer(self) -> None:
        """Any of the registry, with any settings that it takes."""
        name = self.one_of(*OPTIMIZERS)
        kind = OPTIMIZERS[name]
        parameters = inspect.signature(kind).parameters.values()
        self.extreme = self.chance(0.15)
        candidates = CANDIDATES if self.extreme else COMMON
        while True:
            given = {}
            for key, default in ((one.name, one.default) for one in parameters):
                if self.chance(0.5):
                    continue
                if isinstance(default, bool):
                    given[key] = self.chance(0.5)
                elif key == "groups":
                    own = {
                        "lr_factor": self.one_of(0.0, 0.5, 2.0),
                        "weight_decay": self.one_of(0.0, 0.1),
                    }
                    given[key] = [{"params": [self.one_of(*self.model.parameters)], **own}]
                elif isinstance(default, tuple):
                    given[key] = tuple(self.one_of(*candidates) for _ in default)
                else:
                    given[key] = self.one_of(*candidates)
            try:
                self.optimizer = kind(**given)
                break
            except fastbptt.ArgumentError as error:
                if error.argument.partition("[")[0] not in given:
                    raise
        self.rule = name
        self.say(f"{name} {given}")

    def case(self) -> Case:
        """A batch for the model, drawn at random."""
        rng = self.rng
        case = Case(
            B=int(rng.integers(1, 7)), T=int(rng.integers(1, 9)), **self.network,
            loss=self.one_of(*reference.LOSSES), steps=self.one_of(*reference.STEPS),
            reduction=self.one_of(*reference.REDUCTIONS), with_lengths=self.chance(0.5),
            with_h0=self.chance(0.3), with_weights=self.chance(0.3),
            seed=int(rng.integers(1 << 30)),
        )  # fmt: skip
        constant = case.loss == "cross_entropy" and case.width == 1
        uneven = case.width % fastbptt.Loss(case.loss).outputs
        return replace(case, loss="bce" if constant else "mae") if constant or uneven else case

    def loss(self, name: str) -> fastbptt.Loss:
        """A loss with any parameters that it takes."""
        while True:
            info = _core.loss_info(name)["parameters"]
            given = {k: self.parameter(one["default"]) for k, one in info.items()}
            with contextlib.suppress(fastbptt.ArgumentError):
                return fastbptt.Loss(name, **given)

    def parameter(self, default: Any) -> Any:
        """Any value of a loss's parameter; as many if it is a list, since each has its output."""
        if isinstance(default, tuple):
            return tuple(np.sort(self.rng.uniform(0.01, 0.99, len(default))).tolist())
        return (
            self.one_of(0.0, 0.1, 0.5) if default == 0.0 else default * self.one_of(0.1, 1.0, 4.0)
        )

    def call(self, case: Case) -> tuple[dict[str, Any], Array, Any]:
        """Arguments of a call with a loss; x and y in the model's dtype, as the reference has them.

        What lies after a sequence's end is NaN, or no token or class; the reference sees zeros.
        """
        problem = build(case, self.dtype)
        x, y, lengths = problem.x, problem.y, problem.lengths
        arguments: dict[str, Any] = dict(problem.loss_args, x=x, y=y, loss=self.loss(case.loss))
        how = self.one_of("as it is", "as it is", "strides", "list", "other dtype")
        if how == "strides":
            arguments["x"] = np.repeat(x, 2, axis=1)[:, ::2]
        elif how == "other dtype":
            other = np.int32 if x.dtype.kind == "i" else np.float64
            arguments["x"] = x.astype(other)
        elif how == "list":
            ends = np.full(case.B, case.T) if lengths is None else lengths
            arguments["x"] = [one[:end] for one, end in zip(x, ends, strict=True)]
            arguments["lengths"] = None
            x = x[:, : ends.max()]
            if case.steps == "all":
                arguments["y"] = [one[:end] for one, end in zip(y, ends, strict=True)]
                y = y[:, : ends.max()]
            weight = problem.sample_weight
            if weight is not None and weight.ndim == 2:
                own = [one[:end] for one, end in zip(weight, ends, strict=True)]
                arguments["sample_weight"] = own
        if lengths is not None:
            x = x.copy()
            x[padding_of(replace(case, T=x.shape[1]), lengths)] = 0
        self.say(f"{case} x: {how}")
        return arguments, x, (y, lengths)

    # ------------------------------------------------------------ the reference

    def exact(self) -> dict[str, Array]:
        return {n: a.astype(np.float64) for n, a in self.model.parameters.items()}

    def keywords(self, case: Case, x: Array, training: bool) -> dict[str, Any]:
        keywords: dict[str, Any] = {
            "cell": case.cell, "num_layers": case.num_layers, "bidirectional": case.bidirectional,
            "padding_index": case.padding_index, "frozen": case.freeze_embedding,
        }  # fmt: skip
        if case.alpha is not None:
            keywords["settings"] = dict.fromkeys(reference.CELLS[case.cell].SETTING, case.alpha)
        if training and case.dropout:
            keywords["masks"] = next_masks(self.model, *x.shape[:2])
        return keywords

    def started(self, case: Case, params: Mapping[str, Array], h0: Any) -> tuple[Any, Any]:
        """The parameters without learned states, and the states of each sequence."""
        rest = {n: a for n, a in params.items() if n not in case.state_names}
        if h0 is not None:
            return rest, h0
        if case.learn_initial_state:
            made = [np.repeat(params[n][:, np.newaxis], case.B, 1) for n in case.state_names]
        else:
            made = [np.zeros(case.state_shape)] * len(case.state_names)
        return rest, made[0] if len(made) == 1 else tuple(made)

    def with_learned(self, case: Case, grads: dict[str, Array], given: bool) -> dict[str, Array]:
        """Add the gradients of learned states; those of each sequence's own state are h0, c0."""
        for name in case.state_names:
            grads[f"{name} of each"] = grads.pop(name)
            if case.learn_initial_state:
                grads[name] = grads[f"{name} of each"].sum(axis=1) * (not given)
        return grads

    def expected(
        self, case: Case, arguments: dict[str, Any], x: Array, more: Any, training: bool
    ) -> Callable[[Any], dict[str, Array]]:
        """The loss and all gradients, as a function of how numbers are wrapped."""
        y, lengths = more
        y = y.astype(np.float64) if y.dtype.kind == "f" else y
        names = {k: arguments[k] for k in ("loss", "steps", "reduction", "sample_weight")}
        if isinstance(names["sample_weight"], list):
            names["sample_weight"] = padded(names["sample_weight"], x.shape[1])
        keywords, h0, params = self.keywords(case, x, training), arguments["h0"], self.exact()

        @np.errstate(over="ignore", invalid="ignore")  # a refusal is compared with what overflows
        def compute(wrap: Any) -> dict[str, Array]:
            own = {n: wrap(a) for n, a in params.items()}
            own, start = self.started(case, own, None if h0 is None else _wide(h0))
            read = x if x.dtype.kind == "i" else wrap(x.astype(np.float64))
            value, grads = reference.loss_and_grad(
                own, read, y, lengths=lengths, h0=start, **names, **keywords
            )
            grads = self.with_learned(case, grads, h0 is not None)
            return {"loss": np.asarray(float(value)), **grads}

        return compute

    def agree(self, got: Mapping[str, Any], compute: Callable[[Any], dict[str, Array]]) -> None:
        """Compare with the reference; where they differ, with what rounding makes of it."""
        wanted = compute(lambda a: a)
        bad = []
        for name, value in got.items():
            error = np.abs(np.asarray(value, np.float64) - wanted[name])
            scale = max(float(np.abs(wanted[name]).max(initial=0)), 1e-30)
            assert np.shape(value) == np.shape(wanted[name]), name
            if not error.max(initial=0) <= BASE[self.dtype] * scale:
                bad.append(name)
        if not bad:
            return
        self.doubtful += 1
        draws = [compute(self.noisy(k)) for k in range(8)]
        # What cancels, as the signs of mae do, may leave the last digits of what it is made of.
        largest = max(float(np.abs(each).max(initial=0)) for each in wanted.values())
        for name in bad:
            spread = np.max([np.abs(one[name] - wanted[name]) for one in draws], axis=0)
            error = np.abs(np.asarray(got[name], np.float64) - wanted[name])
            scale = max(float(np.abs(wanted[name]).max(initial=0)), 1e-15)
            limit = 8 * float(spread.max(initial=0)) + BASE[self.dtype] * scale
            limit += 4 * float(np.finfo(self.dtype).eps) * largest
            assert float(error.max(initial=0)) <= limit, (name, float(error.max()), limit)

    def noisy(self, k: int) -> Callable[[Array], Any]:
        rng = np.random.default_rng([self.seed, k])
        return lambda a: Noisy.of(a, self.model.dtype, rng)

    # ------------------------------------------------------------ calls with a loss

    def evaluate_loss(self) -> None:
        case = self.case()
        arguments, x, more = self.call(case)
        training = self.chance(0.3)
        compute = self.expected(case, arguments, x, more, training)
        try:
            value = self.model.loss(**arguments, training=training)
        except fastbptt.ArgumentError:
            self.too_large(compute)
            return
        self.agree({"loss": value}, compute)

    def gradient(self) -> None:
        case = self.case()
        arguments, x, more = self.call(case)
        training, wants_x = self.chance(0.5), case.embedding is None and self.chance(0.5)
        self.say(f"training={training} need_input_grad={wants_x}")
        compute = self.expected(case, arguments, x, more, training)
        options = self.further(case, x)
        try:
            value, grads = self.model.loss_and_grad(
                **arguments, training=training, need_input_grad=wants_x, **options
            )
        except fastbptt.ArgumentError:
            self.too_large(compute)
            return
        self.agree(self.found(case, value, grads), compute)

    def too_large(self, compute: Callable[[Any], dict[str, Array]]) -> None:
        """Expect that a refused call has numbers that the model's dtype cannot hold."""
        wanted = compute(lambda a: a)
        largest = np.finfo(self.dtype).max
        assert any(not (np.abs(each) < largest / 1e3).all() for each in wanted.values())

    def further(self, case: Case, x: Array) -> dict[str, Any]:
        """Options that change no number."""
        options: dict[str, Any] = {}
        if self.chance(0.2):
            options["record"] = "gradients"
        if not case.bidirectional and self.chance(0.2):
            least = self.model.minimum_memory(*x.shape[:2], record=options.get("record"))
            pooled = case.steps in reference.POOLED  # which takes more
            options["memory_budget"] = "1GB" if pooled else self.one_of(least, "1GB")
        overflows = self.extreme or case.loss in GROWING  # the caller's affair if it is not checked
        if self.chance(0.2) and not overflows:
            options["check_finite"] = False
        self.say(str(options) if options else "")
        return options

    @staticmethod
    def found(case: Case, value: float | None, grads: fastbptt.Gradients) -> dict[str, Any]:
        found: dict[str, Any] = dict(grads)
        if value is not None:
            found["loss"] = value
        if grads.x is not None:
            found["x"] = grads.x
        for name, array in zip(case.state_names, parts(grads.h0), strict=True):
            found[f"{name} of each"] = array
        return found

    def train(self) -> None:
        case = self.case()
        arguments, x, more = self.call(case)
        options = self.further(case, x)
        options |= self.one_of({}, {"clip_norm": self.one_of(1e-3, 0.1, 100.0)},
                               {"clip_value": self.one_of(1e-3, 0.01, 10.0)})  # fmt: skip
        state = None
        if not case.bidirectional and self.chance(0.3):
            arguments["h0"] = None
            state = self.model.initial_state(case.B)
            for part in parts(state):
                part[...] = self.rng.uniform(-1, 1, part.shape)
        size = 0
        if not case.bidirectional and case.steps not in reference.POOLED and self.chance(0.3):
            size = int(self.rng.integers(1, 5))
            if "memory_budget" in options:
                options["memory_budget"] = "1GB"
        self.say(f"bptt_steps={size} state={state is not None} {options}")
        twin, its = self.model.copy(), self.optimizer.copy()
        kept = None if state is None else tuple(one.copy() for one in parts(state))
        before = self.state()
        try:
            value = self.model.train_step(
                **arguments, optimizer=self.optimizer, **options, state=state,
                bptt_steps=size or None,
            )  # fmt: skip
        except fastbptt.ArgumentError as error:
            self.refused_settings(error, before, case.loss in GROWING)
            return
        h0 = arguments["h0"] if kept is None else kept[0] if len(kept) == 1 else kept
        arguments["h0"] = h0
        clips = {k: v for k, v in options.items() if k.startswith("clip")}
        mine = self.model, self.optimizer
        self.model, self.optimizer = twin, its  # what follows is the twin's
        if 0 < size < x.shape[1]:
            expected, final = self.in_chunks(case, arguments, x, more, size, clips)
            np.testing.assert_allclose(value, expected, rtol=1e-5 if x.dtype == "f4" else 1e-12)
        else:
            final = self.final(arguments)
            assert value == self.plain_step(case, arguments, x, more, clips)
        self.model, self.optimizer = mine
        if state is not None:
            for got, wanted in zip(parts(state), parts(final), strict=True):
                assert same(got, wanted)
        assert same(self.model.parameters.flat, twin.parameters.flat)
        assert self.model._dropout_seeds.state == twin._dropout_seeds.state
        assert self.optimizer.step_count == its.step_count
        for name, array in its._binding.moments.items():  # type: ignore[union-attr]
            assert same(array, self.optimizer._binding.moments[name])  # type: ignore[union-attr]

    def refused_settings(
        self, error: fastbptt.ArgumentError, before: dict[str, Any], growing: bool = False
    ) -> None:
        """Settings for which the model's dtype has no number, or what they make of its weights."""
        assert self.state() == before
        assert self.extreme or growing or "too large" in error.problem, error
        name = error.argument.partition("[")[0]
        if name in self.optimizer._settings:
            assert self.optimizer.step_count == 0, error
            info = np.finfo(self.model.dtype)
            values = np.ravel(getattr(self.optimizer, name))
            between = (values > 1 - info.epsneg) & (values < 1)
            assert ((values > info.max) | between | (values < np.sqrt(info.tiny))).any(), error
        else:
            assert (
                "overflow" in error.problem
                or "finite" in error.problem
                or ("too large" in error.problem)
            ), error
        self.say(f"refused: {error}")
        self.new_optimizer()

    def settings(self) -> tuple[str, ...]:
        """Those of the optimiser that a first step may refuse before anything else."""
        return tuple(self.optimizer._settings) if self.extreme else ()

    def final(self, arguments: dict[str, Any]) -> Any:
        """The states in which a training pass ends."""
        passed = {k: arguments[k] for k in ("x", "lengths", "h0")}
        return self.model.copy().forward(**passed, training=True).final_state

    def plain_step(
        self, case: Case, arguments: dict[str, Any], x: Array, more: Any, clips: dict[str, Any]
    ) -> float:
        """A step that is compared with the reference: its gradient, then the update by it."""
        compute = self.expected(case, arguments, x, more, True)
        value, grads = self.model.copy().loss_and_grad(**arguments)
        self.agree(self.found(case, value, grads), compute)
        before = self.snapshot()
        again = self.model.train_step(**arguments, optimizer=self.optimizer, **clips)
        assert again == value
        self.updated(before, dict(grads), clips)
        return value

    # ------------------------------------------------------------ truncated BPTT

    def in_chunks(
        self,
        case: Case,
        arguments: dict[str, Any],
        x: Array,
        more: Any,
        size: int,
        clips: dict[str, Any],
    ) -> tuple[float, Any]:
        """Each chunk as a step of its own, as the text of `fastbptt.models.truncated` has it."""
        y, lengths = more
        ends = np.full(case.B, x.shape[1]) if lengths is None else lengths
        even = bool((ends == ends[0]).all())
        weight = arguments["sample_weight"]
        each = isinstance(weight, list) or (weight is not None and weight.ndim == 2)
        if each:
            whole = zip(weight, ends, strict=True)
            weight = padded([one[:end] for one, end in whole], int(ends.max()))
        state, total, shares = arguments["h0"], 0.0, 0.0
        for first in range(0, int(ends.max()), size):
            stop = min(first + size, int(ends.max()))
            rows = np.flatnonzero(ends > first)
            inside = np.minimum(ends[rows], stop) - first
            counts = np.ones(len(rows)) if weight is None else weight[rows]
            if each:
                counts = counts[:, first:stop]
            if case.steps == "last":
                counts = counts * (ends[rows] <= stop)
            elif case.reduction == "sequence_mean":
                inner = inside / ends[rows]
                counts = counts * (inner[:, np.newaxis] if each else inner)
            own = None if state is None else _rows(state, rows)
            given = counts
            if even:  # what all have in common cancels
                given = weight[:, first:stop] if each else weight
            part = dict(
                arguments, x=x[rows, first:stop], h0=own,
                lengths=None if (inside == stop - first).all() else inside,
                y=y[rows, first:stop] if case.steps == "all" else y[rows],
                sample_weight=given,
            )  # fmt: skip
            small = replace(case, B=len(rows), T=stop - first)
            ended = self.final(part)
            if counts.any():
                more_here = (part["y"], part["lengths"])
                value = self.plain_step(small, part, part["x"], more_here, clips)
                per_step = case.steps == "all" and case.reduction == "mean"
                sums = counts.sum(axis=1) if each else counts * inside
                every = sums if per_step else sums / inside if each else counts
                share = float(every.sum())
                share = 1.0 if case.reduction == "sum" else share
                total, shares = total + share * value, shares + share
            else:
                self.model.forward(part["x"], part["lengths"], own, training=True)
            if state is None:
                state = ended
            else:
                state = tuple(one.copy() for one in parts(state))
                for whole, one in zip(state, parts(ended), strict=True):
                    whole[:, rows] = one
                state = state[0] if len(state) == 1 else state
        return (total if case.reduction == "sum" else total / shares), state

    # ------------------------------------------------------------ updates

    def snapshot(self) -> tuple[dict[str, Array], dict[str, dict[str, Array]], int]:
        """Parameters, moments and steps of the optimiser, in float64."""
        bound = self.optimizer._binding
        layout = self.model._weights.layout
        flats = {} if bound is None else bound.moments
        moments = {
            name: {n: flat[a:b].reshape(s).astype(np.float64) for n, (a, b, s) in layout.items()}
            for name, flat in flats.items()
        }
        return self.exact(), moments, self.optimizer.step_count

    def updated(self, before: Any, grads: dict[str, Array], clips: dict[str, Any]) -> None:
        """Compare what an update by these gradients has left with the reference's rule."""
        params, moments, step = before
        after, moments_after, steps = self.snapshot()
        assert steps == step + 1
        fixed = set(self.model.frozen)
        learned = [name for name in params if name not in fixed]
        settings = {name: getattr(self.optimizer, name) for name in self.optimizer._settings}

        def compute(wrap: Any) -> dict[str, Array]:
            state = reference.Moments()
            state.step = step
            state.moments = {
                name: {n: wrap(a.copy()) for n, a in one.items() if n in learned}
                for name, one in moments.items()
            }
            own = {n: wrap(params[n].copy()) for n in learned}
            given = {n: wrap(grads[n].astype(np.float64)) for n in learned}
            if "clip_norm" in clips:
                given = reference.clip_by_global_norm(own, given, clips["clip_norm"])
            elif "clip_value" in clips:
                given = reference.clip_by_value(own, given, clips["clip_value"])
            with np.errstate(all="ignore"):
                reference.OPTIMIZERS[self.rule](own, given, state, **settings)
            found = {f"p {n}": np.asarray(a) for n, a in own.items()}
            for name, arrays in state.moments.items():
                found |= {f"{name} {n}": np.asarray(a) for n, a in arrays.items() if n in own}
            return found

        got = {f"p {n}": after[n] for n in learned}
        for name, arrays in moments_after.items():
            got |= {f"{name} {n}": arrays[n] for n in learned}
        row = self.model.padding_index
        old = {f"p {n}": a for n, a in params.items()}
        for name in moments_after:
            old |= {f"{name} {n}": moments.get(name, {}).get(n, np.zeros_like(a)) for n, a in
                    params.items()}  # fmt: skip
        now = {f"p {n}": a for n, a in after.items()}
        for name, arrays in moments_after.items():
            now |= {f"{name} {n}": a for n, a in arrays.items()}
        for key, value in now.items():  # what is not trained stays as it is
            name = key.split()[1]
            if name in fixed:
                assert same(value, old[key]), key
            elif name == "E" and row is not None:
                assert same(value[row], old[key][row]), key
        self.elementwise(got, old, compute, row)

    def elementwise(
        self, got: dict[str, Array], old: dict[str, Array], compute: Any, row: int | None
    ) -> None:
        eps = float(np.finfo(self.model.dtype).eps)
        wanted = compute(lambda a: a)
        assert set(wanted) == set(got)
        draws = None
        for key, value in got.items():
            base = wanted[key]
            limit = 16 * eps * (np.abs(base) + np.abs(old[key])) + 1e-37
            error = np.abs(value - base)
            if key.endswith(" E") and row is not None:
                error[row] = 0.0
            wrong = ~(error <= limit)
            if not wrong.any():
                continue
            if draws is None:
                self.doubtful += 1
                draws = [compute(self.noisy(k)) for k in range(48)]
            spread = np.max([np.abs(one[key] - base) for one in draws], axis=0)
            wrong = ~(error <= limit + 8 * spread) & (np.abs(base) < 1e30)
            assert not wrong.any(), (key, value[wrong][:3], base[wrong][:3], spread[wrong][:3])

    def step_by_gradient(self) -> None:
        """`optimizer.step`, with gradients of any form."""
        grads = {
            n: self.rng.normal(size=a.shape).astype(self.dtype) * self.one_of(1e-6, 1.0, 1.0, 100.0)
            for n, a in self.model.parameters.items()
        }
        grads = {n: a.astype(self.dtype) for n, a in grads.items()}
        if self.chance(0.2):
            grads = {n: np.zeros_like(a) for n, a in grads.items()}
        form = self.one_of("mapping", "flat", "Gradients")
        self.say(form)
        flat = np.concatenate([a.ravel() for a in grads.values()])
        given: Any = {"mapping": grads, "flat": flat}.get(form)
        if given is None:
            given = fastbptt.Gradients(flat, self.model._weights.layout)
        before, bits = self.snapshot(), self.state()
        try:
            self.optimizer.step(self.model, given)
        except fastbptt.ArgumentError as error:
            self.refused_settings(error, bits)
            return
        row = self.model.padding_index
        if row is not None:
            grads["E"][row] = 0.0
        self.updated(before, grads, {})

    def set_rate(self) -> None:
        self.optimizer.lr = self.one_of(0.0, 1e-4, 0.01, 0.1)

    # ------------------------------------------------------------ passes without a loss

    def forward_and_backward(self) -> None:
        case = self.case()
        arguments, x, (_, lengths) = self.call(replace(case, steps="last"))
        training, h0 = self.chance(0.5), arguments["h0"]
        keywords, params = self.keywords(case, x, training), self.exact()
        passed = {k: arguments[k] for k in ("x", "lengths", "h0")}
        out = self.model.forward(**passed, training=training)
        shape = (*x.shape[:2], case.width)
        at_end = self.chance(0.4)
        states = [None if self.chance(0.3) else self.rng.normal(size=case.state_shape)
                  for _ in case.state_names]  # fmt: skip
        up = None if self.chance(0.3) else self.rng.normal(size=shape[::2] if at_end else shape)
        if up is None and all(one is None for one in states):
            up = self.rng.normal(size=shape[::2] if at_end else shape)
        given = [None if a is None else a.astype(self.dtype) for a in (up, *states)]
        if up is not None and not at_end and lengths is not None:
            given[0][padding_of(replace(case, T=x.shape[1]), lengths)] = np.nan
        state: Any = given[1] if len(states) == 1 else tuple(given[1:])
        self.say(f"training={training} d_last={at_end} {[a is not None for a in given]}")
        wants_x = case.embedding is None and self.chance(0.5)
        kept = self.exact()
        if self.chance(0.3):  # it knows the weights of its own time
            self.model.parameters.flat[:] *= 0.5
            self.say("weights changed in between")
        grads = self.model.backward(
            out, None if at_end else given[0], state if _any(states) else None,
            given[0] if at_end else None, wants_x,
        )  # fmt: skip
        for name, array in kept.items():
            self.model.parameters[name] = array

        def compute(wrap: Any) -> dict[str, Array]:
            own = {n: wrap(a) for n, a in params.items()}
            own, start = self.started(case, own, None if h0 is None else _wide(h0))
            read = x if x.dtype.kind == "i" else wrap(x.astype(np.float64))
            made = reference.forward(own, read, lengths, start, **keywords)
            wide = [None if a is None else np.nan_to_num(a.astype(np.float64)) for a in given]
            ends = [np.zeros(case.state_shape) if a is None else a for a in wide[1:]]
            back = reference.backward(
                own, read, made, None if at_end else wide[0],
                ends[0] if len(ends) == 1 else tuple(ends), wide[0] if at_end else None,
                lengths, start, **keywords,
            )  # fmt: skip
            back = self.with_learned(case, back, h0 is not None)
            return back | _seen(made)

        self.agree(self.found(case, None, grads) | _seen(out), compute)

    def predict(self) -> None:
        case = self.case()
        if case.padding_index is not None:  # which `predict` takes for padding, and refuses
            return
        arguments, x, (_, lengths) = self.call(replace(case, with_h0=False))
        steps, size = self.one_of("last", "all"), int(self.rng.integers(1, 5))
        self.say(f"steps={steps} batch_size={size}")
        got = fastbptt.predict(self.model, arguments["x"], arguments["lengths"], size, steps=steps)
        if isinstance(got, list):
            assert [len(one) for one in got] == [len(one) for one in arguments["x"]]
            whole = np.zeros((*x.shape[:2], case.width))
            for row, one in zip(whole, got, strict=True):
                row[: len(one)] = one
            got = whole
        keywords, params = self.keywords(case, x, False), self.exact()

        def compute(wrap: Any) -> dict[str, Array]:
            own, start = self.started(case, {n: wrap(a) for n, a in params.items()}, None)
            read = x if x.dtype.kind == "i" else wrap(x.astype(np.float64))
            made = reference.forward(own, read, lengths, start, **keywords)
            return {"outputs": made.last if steps == "last" else made.outputs}

        self.agree({"outputs": got}, compute)

    def step_by_step(self) -> None:
        if self.model.bidirectional:
            return
        case = replace(self.case(), with_lengths=False, with_h0=False, steps="last")
        x = build(case, self.dtype).x
        state = self.model.initial_state(case.B)
        outputs = np.stack([self.model.step(x[:, t], state) for t in range(case.T)], axis=1)
        keywords, params = self.keywords(case, x, False), self.exact()

        def compute(wrap: Any) -> dict[str, Array]:
            own, start = self.started(case, {n: wrap(a) for n, a in params.items()}, None)
            read = x if x.dtype.kind == "i" else wrap(x.astype(np.float64))
            made = reference.forward(own, read, None, start, **keywords)
            return {"outputs": made.outputs, **_seen(made)}

        ends = {f"final {i}": a for i, a in enumerate(parts(state))}
        self.agree({"outputs": outputs, **ends}, compute)

    # ------------------------------------------------------------ copies, threads, weights

    def replaced(self, model: fastbptt.Recurrent, optimizer: Any) -> None:
        """Go on with another model, which must be the same."""
        before = self.state()
        old = self.model, self.optimizer
        self.model, self.optimizer = model, optimizer
        after = self.state()
        assert [key for key in before if before[key] != after[key] and key != "owner"] == []
        if optimizer._binding is not None and self.chance(0.5):
            # the one before is still its model's own
            self.model, self.optimizer = old

    def copy(self) -> None:
        self.replaced(self.model.copy(), self.optimizer.copy())

    def pickled(self) -> None:
        self.replaced(*pickle.loads(pickle.dumps((self.model, self.optimizer))))

    def saved(self) -> None:
        path = self.folder / "model"
        bound = self.optimizer._binding
        if bound is not None and bound.owner is None:
            self.say("an optimiser that has no model yet")
        self.model.save(path, self.optimizer)
        self.replaced(fastbptt.load(path), fastbptt.load_optimizer(path))

    def threads(self) -> None:
        """Results do not depend on them."""
        case = self.case()
        arguments, _, _ = self.call(case)
        found = []
        for count in self.rng.permutation([1, 2, 3]):
            fastbptt.set_num_threads(int(count))
            try:
                value, grads = self.model.copy().loss_and_grad(**arguments)
                found.append((value, grads.flat.tobytes()))
            except fastbptt.ArgumentError as error:
                if "not finite" not in str(error):
                    raise
                found.append((str(error), b""))
        assert found[0] == found[1] == found[2]

    def set_weights(self) -> None:
        how = self.one_of("state_dict", "by name", "in place", "flat", "own")
        self.say(how)
        params = make_params(self.case(), self.rng)
        name = str(self.rng.choice(list(params)))
        if how == "state_dict":
            self.model.load_state_dict(params)
        elif how == "by name":
            self.model.parameters[name] = params[name]
        elif how == "in place":
            self.model.parameters[name][...] *= 0.9
        elif how == "flat":
            self.model.parameters.flat[...] *= 0.9
        else:
            before = self.model.parameters.flat.copy()
            self.model.load_state_dict(self.model.state_dict())
            assert same(before, self.model.parameters.flat)

    def freeze(self) -> None:
        names = list(self.model.parameters)
        chosen = [str(n) for n in self.rng.choice(names, self.rng.integers(1, 4))]
        always = {"E"} if self.model.freeze_embedding else set()
        before = set(self.model.frozen)
        how = self.one_of("freeze", "unfreeze", "all")
        self.say(f"{how} {chosen}")
        if how == "freeze":
            self.model.freeze(*chosen)
            wanted = before | set(chosen)
        elif how == "all":
            self.model.unfreeze()
            wanted = always
        elif always & set(chosen):
            refused("E", lambda: self.model.unfreeze(*chosen))
            wanted = before
        else:
            self.model.unfreeze(*chosen)
            wanted = before - set(chosen)
        assert set(self.model.frozen) == wanted

    def note(self) -> None:
        self.model.metadata = {"n": int(self.rng.integers(9)), "list": ["\u00e4", None, 0.1]}

    # ------------------------------------------------------------ what must be refused

    def refuse(self) -> None:
        """A call with something wrong, of which nothing may be left."""
        if self.chance(0.3):
            name = self.one_of(*OTHERS)
            self.say(name)
            OTHERS[name](self)
            return
        case = self.case()
        arguments, x, _ = self.call(case)
        method = self.one_of("loss", "loss_and_grad", "train_step", "forward", "predict")
        if method == "train_step":
            arguments["optimizer"] = self.optimizer
            if not case.bidirectional and case.steps not in reference.POOLED and self.chance(0.4):
                arguments["bptt_steps"] = int(self.rng.integers(1, 4))
            if not case.bidirectional and self.chance(0.4):
                arguments["h0"], arguments["state"] = None, self.model.initial_state(case.B)
        elif method in ("forward", "predict"):
            arguments = {k: arguments[k] for k in ("x", "lengths", "h0")}
            if method == "predict":
                del arguments["h0"]
        name = self.one_of(*SPOILS)
        argument = SPOILS[name](self, replace(case, T=x.shape[1]), arguments)
        self.say(f"{method}: {name}")
        if argument is None:  # nothing to spoil in this call
            self.say("(not here)")
            return
        state = arguments.get("state")
        kept = [one.tobytes() for one in parts(state)] if isinstance(state, np.ndarray) else []
        if method == "predict":
            refused(argument, lambda: fastbptt.predict(self.model, **arguments))
        else:
            refused(argument, lambda: getattr(self.model, method)(**arguments), self.settings())
        if kept:
            assert [one.tobytes() for one in parts(state)] == kept

    def bad_weight(self) -> None:
        """NaN among the weights: no pass goes through it."""
        case = self.case()
        arguments, _, _ = self.call(case)
        names = [n for n in self.model.parameters if n.startswith("W")]
        name = self.one_of(*names)
        array = self.model.parameters[name]
        place = tuple(int(self.rng.integers(n)) for n in array.shape)
        before, array[place] = array[place], self.one_of(np.nan, np.inf)
        bits = self.state()
        self.say(f"{name}{place}")
        method = self.one_of("loss", "loss_and_grad", "train_step", "forward")
        if method == "train_step":
            arguments["optimizer"] = self.optimizer
        elif method == "forward":
            arguments = {k: arguments[k] for k in ("x", "lengths", "h0")}
        refused(name, lambda: getattr(self.model, method)(**arguments), self.settings())
        assert self.state() == bits
        array[place] = before


def _any(values: Sequence[Any]) -> bool:
    return any(one is not None for one in values)


def _wide(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(one.astype(np.float64) for one in state)
    return state.astype(np.float64)


def _rows(state: Any, rows: Array) -> Any:
    cut = tuple(np.ascontiguousarray(one[:, rows]) for one in parts(state))
    return cut[0] if len(cut) == 1 else cut


def _seen(out: Any) -> dict[str, Array]:
    found = {"outputs": out.outputs, "hidden": out.hidden, "last": out.last}
    return found | {f"final {i}": a for i, a in enumerate(parts(out.final_state))}


TRAINED = ("parameters", "seeds", "moments", "steps", "owner", "settings")

# weight, what is done, what may change
OPERATIONS: dict[str, tuple[int, Callable[[Run], None], tuple[str, ...]]] = {
    "construct": (1, Run.construct, (*TRAINED, "frozen", "metadata", "structure")),
    "new optimiser": (2, Run.new_optimizer, ("settings", "moments", "steps", "owner")),
    "train": (12, Run.train, TRAINED),
    "optimizer.step": (6, Run.step_by_gradient, TRAINED),
    "rate": (1, Run.set_rate, ("settings",)),
    "loss": (4, Run.evaluate_loss, ("seeds",)),
    "loss_and_grad": (5, Run.gradient, ("seeds",)),
    "forward": (4, Run.forward_and_backward, ("seeds",)),
    "predict": (3, Run.predict, ()),
    "step": (2, Run.step_by_step, ()),
    "copy": (1, Run.copy, ("owner",)),
    "pickle": (1, Run.pickled, ("owner",)),
    "save": (1, Run.saved, ("owner",)),
    "threads": (1, Run.threads, ("threads",)),
    "weights": (2, Run.set_weights, ("parameters",)),
    "freeze": (2, Run.freeze, ("frozen",)),
    "note": (1, Run.note, ("metadata",)),
    "refused": (12, Run.refuse, ()),
    "bad weight": (2, Run.bad_weight, ()),
}
