"""Test problems shared by the whole test-suite: a `Case` says what, `build` makes the arrays.

The lists are driven by the registries of the reference, so what is registered there is tested.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbptt import reference

Array = NDArray[Any]

BATCHES = (1, 2, 5, 6, 7, 33)
TIMES = (1, 2, 10, 100)
WIDTHS = (1, 3, 16, 17, 63, 64, 65, 129)  # of the input and of the hidden state
OUTPUTS = (1, 3, None)  # None: no readout
LOSSES = tuple(reference.LOSSES)
STEPS = tuple(reference.STEPS)
REDUCTIONS = tuple(reference.REDUCTIONS)

GRID = tuple(itertools.product(BATCHES, TIMES, WIDTHS, WIDTHS))  # (B, T, I, H): 1536 shapes
# 64 of them: every (I, H), and around it every (B, T), several times
SPARSE_GRID = tuple(
    (BATCHES[k % 6], TIMES[(k // 8 + k) % 4], i, h)
    for k, (i, h) in enumerate(itertools.product(WIDTHS, WIDTHS))
)


@dataclass(frozen=True)
class Case:
    """One problem. ``str(case)`` is its name as a pytest id."""

    B: int
    T: int
    I: int
    H: int
    O: int | None = 1
    bias: bool = True
    loss: str = "bce"
    steps: str = "last"
    reduction: str = "mean"
    with_lengths: bool = False
    with_h0: bool = False
    with_weights: bool = False
    seed: int = 0

    def __str__(self) -> str:
        flags = ("bias", "with_lengths", "with_h0", "with_weights")
        words = [name.removeprefix("with_") for name in flags if getattr(self, name)]
        shape = f"B{self.B}-T{self.T}-I{self.I}-H{self.H}-O{self.O}"
        return "-".join([shape, self.loss, self.steps, self.reduction, *words, f"s{self.seed}"])

    @property
    def width(self) -> int:
        """Width of the outputs: O, or H without a readout."""
        return self.H if self.O is None else self.O


@dataclass
class Problem:
    """Arrays of a case. Lengths, h0 and weights are None where the case has none."""

    params: dict[str, Array]
    x: Array
    y: Array
    lengths: Array | None
    h0: Array | None
    sample_weight: Array | None
    names: dict[str, str] = field(default_factory=dict)

    @property
    def loss_args(self) -> dict[str, Any]:
        """Keyword arguments of ``loss_and_grad`` after x and y."""
        given = {"lengths": self.lengths, "h0": self.h0, "sample_weight": self.sample_weight}
        return {**self.names, **given}

    @property
    def forward_args(self) -> dict[str, Any]:
        """Keyword arguments of ``forward`` after x."""
        return {"lengths": self.lengths, "h0": self.h0}


def make_params(case: Case, rng: np.random.Generator) -> dict[str, Array]:
    """Parameters, float64, in the order of the flat buffer.

    U(-1/sqrt(H), 1/sqrt(H)), but ``W_xh`` with max(I, H) for H: a narrow layer under a wide input
    would saturate, and 1 - h^2 has lost its digits where h is rounded to nearly 1.
    """
    shapes: dict[str, tuple[int, ...]] = {"W_xh": (case.I, case.H), "W_hh": (case.H, case.H)}
    if case.bias:
        shapes["b_h"] = (case.H,)
    if case.O is not None:
        shapes["W_hy"] = (case.H, case.O)
        if case.bias:
            shapes["b_y"] = (case.O,)
    bounds = dict.fromkeys(shapes, case.H ** (-0.5)) | {"W_xh": max(case.I, case.H) ** -0.5}
    return {name: rng.uniform(-bounds[name], bounds[name], shape) for name, shape in shapes.items()}


def make_y(case: Case, rng: np.random.Generator) -> Array:
    """Targets of the shape the loss wants, the O left out where it is 1 and the seed is odd."""
    lead = (case.B,) if case.steps == "last" else (case.B, case.T)
    if case.loss == "cross_entropy":
        return rng.integers(0, case.width, lead)
    shape = lead if case.width == 1 and case.seed % 2 else (*lead, case.width)
    if case.loss == "bce":
        return rng.choice([0.0, 1.0, 0.25], shape)
    return rng.normal(size=shape)


def build(case: Case, dtype: DTypeLike = np.float64) -> Problem:
    """Arrays of a case from its seed.

    x, parameters, h0 and a float y have ``dtype``: the float64 numbers, rounded. ``lengths`` and
    classes are int64, ``sample_weight`` is float64. After a sequence's end x is NaN and y is NaN
    or -1. From three sequences on, one of the weights is zero.
    """
    rng = np.random.default_rng(case.seed)
    params = {name: p.astype(dtype) for name, p in make_params(case, rng).items()}
    x = rng.normal(size=(case.B, case.T, case.I)).astype(dtype)
    y = make_y(case, rng)
    if y.dtype.kind == "f":
        y = y.astype(dtype)
    h0 = rng.uniform(-1, 1, (1, case.B, case.H)).astype(dtype) if case.with_h0 else None
    lengths = weights = None
    if case.with_lengths:
        lengths = rng.integers(1, case.T + 1, case.B)
        padding = padding_of(case, lengths)
        x[padding] = np.nan
        if case.steps == "all":
            y[padding] = np.nan if y.dtype.kind == "f" else -1
    if case.with_weights:
        weights = rng.uniform(0.5, 2.0, case.B)
        if case.B >= 3:
            weights[rng.integers(case.B)] = 0.0
    names = {"loss": case.loss, "steps": case.steps, "reduction": case.reduction}
    return Problem(params, x, y, lengths, h0, weights, names)


def padding_of(case: Case, lengths: Array | None) -> Array:
    """Which steps lie after their sequence's end, (B, T)."""
    ends = np.full(case.B, case.T) if lengths is None else lengths
    after: Array = np.arange(case.T) >= ends[:, np.newaxis]
    return after


def every_option(**fixed: Any) -> list[Case]:
    """Every combination of O, bias, loss, steps, reduction, lengths, h0 and weights: 432 cases.

    ``fixed`` gives the sizes B, T, I, H and may pin any option. The seed counts up.
    """
    values: dict[str, tuple[Any, ...]] = {
        "O": OUTPUTS,
        "bias": (True, False),
        "loss": LOSSES,
        "steps": STEPS,
        "reduction": REDUCTIONS,
        "with_lengths": (False, True),
        "with_h0": (False, True),
        "with_weights": (False, True),
    }
    free = {name: choices for name, choices in values.items() if name not in fixed}
    return [
        Case(**{"seed": seed, **fixed, **dict(zip(free, chosen, strict=True))})
        for seed, chosen in enumerate(itertools.product(*free.values()))
    ]


def over_shapes(shapes: Iterable[tuple[int, int, int, int]], seed: int = 0) -> list[Case]:
    """One case per shape (B, T, I, H), its options drawn at random but reproducibly."""
    rng = np.random.default_rng(seed)
    options = every_option(B=1, T=1, I=1, H=1)
    return [
        replace(options[rng.integers(len(options))], B=b, T=t, I=i, H=h, seed=seed + k)
        for k, (b, t, i, h) in enumerate(shapes)
    ]


def worst_relative(got: Array, expected: Array) -> float:
    """Largest difference, relative to the max-norm of ``expected``; 0 if both are zero."""
    difference = float(np.max(np.abs(got - expected), initial=0.0))
    scale = float(np.max(np.abs(expected), initial=0.0))
    return difference / scale if scale else (0.0 if difference == 0 else np.inf)
