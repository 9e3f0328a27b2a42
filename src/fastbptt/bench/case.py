"""Benchmark cases: sizes, loss, and their data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _core, reference
from .._losses import Loss
from ..models.recurrent import Recurrent

__all__ = ["CHECK_LR", "CHOICES", "PRESETS", "TIMED_LR", "Case", "Problem", "needed_flops"]

Array = NDArray[Any]

# Options besides sizes: field -> values. An underscore at the end keeps Python's words apart.
CHOICES: Final[dict[str, list[str]]] = {
    "cell": _core.cells(),
    "loss": _core.losses(),
    "steps": ["last", "all"],
    "lengths": ["fixed", "uniform"],
    "dtype": ["float32", "float64"],
    "precision": ["float32", "bfloat16"],
    "pass_": ["training", "forward"],
}
CHECK_LR: Final = 1e-3
# Small, so that the weights, and with them the work, stay the same over 100 000 steps.
TIMED_LR: Final = 1e-7


@dataclass(frozen=True)
class Case:
    """The definition of one measurement.

    Attributes
    ----------
    name : str
        A preset's, or "custom".
    batch, time, input, hidden, output : int
        Sizes.
    steps : str
        "last" or "all": the steps with a loss.
    loss : str
        One of `fastbptt.losses`, with its default parameters; its mean is taken.
    cell : str
        A name of the core's registry.
    lengths : str
        "fixed", or "uniform" in 1..time.
    dtype : str
        "float32" or "float64".
    seed : int
        Of the data and the weights.
    layers : int
        Stacked on each other.
    bidirectional : bool
        Whether every layer also reads from the end.
    precision : str
        "float32", or "bfloat16": of fastbptt's products, with dtype float32; other systems stay
        with their dtype.
    pass_ : str
        "training": a whole training step. "forward": prediction, from inputs to outputs at the
        steps that `steps` names; `loss` then shapes nothing but the targets, which nobody reads.

    Examples
    --------
    >>> from fastbptt.bench import PRESETS
    >>> PRESETS["small"].hidden
    64
    >>> PRESETS["audio"].cell
    'lstm'
    """

    name: str
    batch: int
    time: int
    input: int
    hidden: int
    output: int
    steps: str
    loss: str
    cell: str = "rnn"
    lengths: str = "fixed"
    dtype: str = "float32"
    seed: int = 0
    layers: int = 1
    bidirectional: bool = False
    precision: str = "float32"
    pass_: str = "training"

    def with_(self, **changes: Any) -> Case:
        """Change what is not None; another cell, dtype, precision, pass or seed leaves the name."""
        given = {name: value for name, value in changes.items() if value is not None}
        changed = {name for name, value in given.items() if value != getattr(self, name)}
        name = "custom" if changed - {"cell", "dtype", "precision", "pass_", "seed"} else self.name
        return replace(self, **given, name=name)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as plain values fit for JSON."""
        return asdict(self)

    @property
    def shape(self) -> str:
        """The sizes in one short text."""
        sizes = (self.batch, self.time, self.input, self.hidden, self.output, self.steps)
        words = [str(size) for size in sizes]
        if self.layers > 1:
            words.append(f"{self.layers} layers")
        if self.bidirectional:
            words.append("both directions")
        if self.lengths == "uniform":
            words.append("uniform lengths")
        return ", ".join(words)

    @property
    def arithmetic(self) -> str:
        """The type of fastbptt's products: the dtype, or bfloat16."""
        return self.precision if self.precision == "bfloat16" else self.dtype

    @property
    def network(self) -> str:
        """The cell, and what is computed if it is not a training step in float32."""
        words = [self.cell]
        words += [] if self.arithmetic == "float32" else [self.arithmetic]
        words += [] if self.pass_ == "training" else [self.pass_]
        return ", ".join(words)

    @property
    def suffixes(self) -> list[list[str]]:
        """The suffixes of parameter names: for each layer, for each direction."""
        ends = ["", "_reverse"] if self.bidirectional else [""]
        layers = ["", *(f"_l{layer}" for layer in range(1, self.layers))]
        return [[layer + end for end in ends] for layer in layers]


PRESETS: Final[dict[str, Case]] = {
    case.name: case
    for case in (
        Case("tutorial", 5, 10, 32, 64, 1, "last", "bce"),
        Case("small", 32, 50, 32, 64, 1, "last", "bce"),
        Case("neuro", 64, 200, 8, 128, 2, "all", "mse"),
        Case("medium", 64, 100, 128, 256, 10, "last", "cross_entropy"),
        Case("large", 128, 50, 512, 1024, 10, "last", "cross_entropy"),
        Case("stream", 1, 2000, 16, 128, 1, "all", "mse"),
        # models of amplifiers and effects
        Case("audio", 40, 512, 1, 40, 1, "all", "mse", cell="lstm"),
        Case("nano", 16, 512, 1, 8, 1, "all", "mse", cell="lstm"),
        # measured series, to be classified
        Case("sensor", 20, 100, 5, 20, 3, "last", "cross_entropy", cell="gru"),
        Case("series", 20, 100, 10, 100, 3, "last", "cross_entropy"),
        Case("eeg", 20, 100, 30, 300, 3, "last", "cross_entropy", cell="lstm"),
        # choices of subjects, in experiments of psychology
        *(
            Case(
                f"tiny-{n}", 100, 150, 3, n, 2, "all", "cross_entropy", cell="gru", dtype="float64"
            )
            for n in (1, 2, 5, 10, 20)
        ),
        # one sequence, and one step of it
        Case("sequence", 1, 100, 16, 64, 1, "all", "mse", cell="lstm"),
        Case("single-step", 1, 1, 16, 128, 1, "all", "mse", cell="lstm"),
    )
}


def _targets(loss: Loss, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw targets: the ends of an interval that has two, numbers within one that has not."""
    if math.isfinite(loss.low) and math.isfinite(loss.high):
        return np.array([loss.low, loss.high])[rng.integers(0, 2, shape)]
    numbers: Array = rng.standard_normal(shape)
    return numbers.clip(loss.low, loss.high)


class Problem:
    """The data of a case, the same in every process: inputs, targets, lengths and first weights.

    Parameters
    ----------
    case : Case
        The definition.

    Attributes
    ----------
    x : ndarray of shape (batch, time, input)
        Standard normal.
    y : ndarray
        Targets as :meth:`fastbptt.RNN.train_step` takes them.
    lengths : ndarray of shape (batch,), int64, or None
        None if all sequences have all steps.
    model : fastbptt model
        With PyTorch's initialisation.
    settings : dict
        The cell's number by name, if it has one: what the reference takes by default.

    Examples
    --------
    >>> from fastbptt.bench import PRESETS, Problem
    >>> problem = Problem(PRESETS["tutorial"])
    >>> problem.x.shape, problem.needed_flops
    ((5, 10, 32), 1638400)
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.settings: dict[str, float] = dict(reference.CELLS[case.cell].SETTING)
        self.model = Recurrent(
            case.cell,
            case.input,
            case.hidden,
            case.output,
            alpha=next(iter(self.settings.values()), None),
            num_layers=case.layers,
            bidirectional=case.bidirectional,
            dtype=case.dtype,
            precision=case.precision,
            seed=case.seed,
        )
        rng = np.random.default_rng(case.seed)
        self.x: Array = rng.standard_normal((case.batch, case.time, case.input)).astype(case.dtype)
        self.lengths: NDArray[np.int64] | None = None
        if case.lengths == "uniform":
            self.lengths = rng.integers(1, case.time + 1, case.batch)
            self.lengths[rng.integers(case.batch)] = case.time
        steps = (case.batch,) if case.steps == "last" else (case.batch, case.time)
        self.y: Array
        loss = Loss(case.loss)
        if loss.targets == "classes":
            self.y = rng.integers(0, case.output, steps)
        else:
            self.y = _targets(loss, (*steps, loss.targets_of(case.output)), rng).astype(case.dtype)

    @property
    def params(self) -> dict[str, Array]:
        """Copies of the first weights by name."""
        return {name: value.copy() for name, value in self.model.parameters.items()}

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """Index of each sequence's own last step, shape (batch,)."""
        if self.lengths is None:
            return np.full(self.case.batch, self.case.time - 1)
        return self.lengths - 1

    @cached_property
    def step_weights(self) -> Array:
        """The weight of each step's loss: zero after the end, sum 1.

        Shape (batch,) with the loss at the last step, (batch, time) at all.
        """
        case = self.case
        if case.steps == "last":
            return np.full(case.batch, 1 / case.batch, case.dtype)
        valid: Array = np.arange(case.time) <= self.last[:, np.newaxis]
        weights: Array = (valid / valid.sum()).astype(case.dtype)
        return weights

    @property
    def needed_flops(self) -> int:
        """Floating-point operations that the pass requires: `needed_flops` of the case."""
        case = self.case
        gates: int = reference.CELLS[case.cell].GATES
        steps = int(np.sum(self.last + 1))
        directions = 1 + case.bidirectional
        return needed_flops(
            gates, case.input, case.hidden, case.layers, directions, steps, case.pass_
        )


def needed_flops(
    gates: int,
    inputs: int,
    hidden: int,
    layers: int,
    directions: int,
    steps: int,
    pass_: str = "training",
) -> int:
    """Count the floating-point operations that a training step, or a forward pass, requires.

    Two for each multiply-add of the products with the recurrent weights (forward, backward,
    gradient) and with the input weights (forward, gradient, and above the first layer
    backward), for real steps only. With G gates, 1 in plain cells, 3 in a GRU, 4 in an LSTM:
    2 * steps * G * (2 * I * H + 3 * H * H) for one layer in one direction. A layer above it
    needs 2 * steps * G * (3 * I * H + 3 * H * H), where I is the width of the one below, H or
    2 * H; a second direction as much again. A forward pass needs 2 * steps * G * (I * H + H * H)
    for each layer and direction. Readout, loss, element-wise arithmetic and Adam do not count.

    Parameters
    ----------
    gates, inputs, hidden, layers, directions : int
        G, I, H; layers; 1 or 2.
    steps : int
        Real time steps of all sequences together.
    pass_ : str
        "training" or "forward".

    Examples
    --------
    >>> from fastbptt.bench.case import needed_flops
    >>> needed_flops(gates=1, inputs=32, hidden=64, layers=1, directions=1, steps=50)
    1638400
    """
    multiply_adds = 0
    for layer in range(layers):
        products = inputs + hidden
        if pass_ == "training":
            products = (3 if layer else 2) * inputs + 3 * hidden
        multiply_adds += directions * gates * hidden * products
        inputs = directions * hidden
    return 2 * steps * multiply_adds
