"""Test problems shared by the whole test-suite: a `Case` says what, `build` makes the arrays.

The lists are driven by the registries of the reference, so what is registered there is tested.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

import fastbptt
from fastbptt import reference

AnyCase = TypeVar("AnyCase")
AnyTuple = TypeVar("AnyTuple", bound=tuple[Any, ...])
Array = NDArray[Any]
State = Array | tuple[Array, ...]

_GRID = os.environ.get("FASTBPTT_TEST_GRID")
FULL_GRID = _GRID in ("full", "all")
FUZZ = int(os.environ.get("FASTBPTT_TEST_FUZZ", "1"))  # how many times as many random cases

EVERY_CELL = tuple(reference.CELLS)
# One of each structure: cells that differ in their nonlinearity alone share all else. Softplus is
# not zero at zero, so a state of zeros is not one of zero rates.
CELLS = ("rnn", "relu", "leaky", "leaky_preactivation_softplus", "gru", "gru_before", "lstm")
BATCHES = (1, 2, 5, 6, 7, 33)
TIMES = (1, 2, 10, 100)
WIDTHS = (1, 3, 16, 17, 63, 64, 65, 129)  # of the input and of the hidden state
# Hidden units where the layouts for small layers change: 4 to 48 of them, and each side of 32
NARROW = (4, 8, 12, 20, 24, 31, 32, 33, 40, 48)
SMALL_HIDDEN = tuple(sorted({1, 16, *NARROW}))
PAIRS = (*itertools.product(WIDTHS, WIDTHS), *itertools.product((1, 17), NARROW))  # (I, H)
OUTPUTS = (1, 3, None)  # None: no readout
LOSSES = tuple(reference.LOSSES)
STEPS = tuple(reference.STEPS)
REDUCTIONS = tuple(reference.REDUCTIONS)

# (B, T, I, H): 2016 shapes
GRID = tuple((b, t, *pair) for b, t, pair in itertools.product(BATCHES, TIMES, PAIRS))
# 84 of them: every (I, H), and around it every (B, T), several times
SPARSE_GRID = tuple(
    (BATCHES[k % 6], TIMES[(k // 8 + k) % 4], i, h) for k, (i, h) in enumerate(PAIRS)
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
    cell: str = "rnn"
    setting: float | None = None  # None: the cell's default, if it has one
    each_unit: bool = False  # .. and another number for each unit
    learn_alpha: bool = False
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    learn_initial_state: bool = False
    embedding: int | None = None  # size of the vocabulary: x holds tokens
    padding_index: int | None = None
    freeze_embedding: bool = False
    with_resets: bool = False  # where they are allowed
    output_bias: bool | None = None
    static_size: int | None = None
    reads_half: bool = False  # every second unit, of a network with a readout
    low_rank: bool = False  # the factors of W_hh are parameters
    with_blocks: bool = False  # of outputs, where there are enough: `loss` and another one

    def __str__(self) -> str:
        words = [f"B{self.B}-T{self.T}-I{self.I}-H{self.H}-O{self.O}"]
        words += [self.loss, self.steps, self.reduction]
        if self.num_layers > 1:
            words.append(f"{self.num_layers}layers")
        flags = ("bidirectional", "bias", "with_lengths", "with_h0", "with_weights")
        words += [name.removeprefix("with_") for name in flags if getattr(self, name)]
        words += ["resets"] * self.has_resets + ["blocks"] * (self.losses is not None)
        numbers = ("setting", "dropout", "static_size", "embedding", "padding_index")
        given = [(name, getattr(self, name)) for name in numbers]
        words += [f"{name}{value}" for name, value in given if value not in (None, 0.0)]
        words += [] if self.output_bias is None else [f"output_bias={self.output_bias}"]
        flags = ("learn_initial_state", "freeze_embedding", "reads_half", "low_rank")
        flags += ("each_unit", "learn_alpha")
        words += [name for name in flags if getattr(self, name)]
        if self.cell != "rnn":
            words.insert(0, self.cell)
        return "-".join([*words, f"s{self.seed}"])

    @property
    def width(self) -> int:
        """Width of the outputs: O, or that of the hidden states without a readout."""
        return self.directions * self.H if self.O is None else self.O

    @property
    def losses(self) -> fastbptt.Losses | None:
        """The losses of two blocks of outputs, if the case has them."""
        each = fastbptt.Loss(self.loss).outputs
        first = (self.width - 1) // each * each
        if not self.with_blocks or first == 0:
            return None
        return fastbptt.Losses(
            {"own": self.loss, "rest": ("mse", "bce")[self.seed % 2]},
            outputs={"own": first, "rest": self.width - first},
            weights={"own": 0.5, "rest": 2.0},
        )

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """One weight per sequence, or with a loss at all steps and an odd seed one per step."""
        return (self.B, self.T) if self.steps == "all" and self.seed % 2 else (self.B,)

    @property
    def has_resets(self) -> bool:
        """Whether sequences start anew at some steps."""
        plain = not self.bidirectional and self.reduction != "sequence_mean"
        plain = plain and self.static_size is None
        return self.with_resets and plain and self.steps in ("last", "all")

    @property
    def has_output_bias(self) -> bool:
        return self.bias if self.output_bias is None else self.output_bias

    @property
    def readout_units(self) -> tuple[int, ...] | None:
        return tuple(range(0, self.directions * self.H, 2)) if self.reads_half else None

    @property
    def rank(self) -> int | None:
        return (self.H + 2) // 3 if self.low_rank else None

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the initial states."""
        return tuple(f"{state}0" for state in reference.CELLS[self.cell].STATES)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Shape of the initial and of the final state."""
        return (self.num_layers * self.directions, self.B, self.H)

    @property
    def alpha(self) -> float | Array | None:
        """The cell's number, or those of its units, as `Recurrent` takes them."""
        default = next(iter(reference.CELLS[self.cell].SETTING.values()), None)
        number = default if self.setting is None else self.setting
        if not self.each_unit or number is None:
            return number
        shape = (self.num_layers * self.directions, self.H)
        return number * np.random.default_rng(self.H).uniform(0.3, 1.0, shape)

    @property
    def spec_args(self) -> dict[str, Any]:
        """Keyword arguments of ``_core.Spec``."""
        return {
            "cell": self.cell,
            "input_size": self.I,
            "hidden_size": self.H,
            "output_size": self.O or 0,
            "bias": self.bias,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "setting": [] if self.alpha is None else np.ravel(self.alpha),
            "learn_setting": self.learn_alpha,
            "learn_state": self.learn_initial_state,
            "vocabulary": self.embedding or 0,
            "padding_index": -1 if self.padding_index is None else self.padding_index,
            "freeze_embedding": self.freeze_embedding,
            "output_bias": -1 if self.output_bias is None else int(self.output_bias),
            "read_units": None
            if self.readout_units is None
            else np.array(self.readout_units, np.int64),
            "static_size": self.static_size or 0,
            "rank": self.rank or 0,
        }


@dataclass
class Problem:
    """Arrays of a case. Lengths, h0, weights and key are None where the case has none.

    ``h0`` is a tuple where the cell has more than one state.
    """

    params: dict[str, Array]
    x: Array
    y: Any  # an array, or those of blocks of outputs by name
    lengths: Array | None
    h0: State | None
    sample_weight: Any  # an array, or of blocks by name
    names: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)  # what the reference takes besides
    dropout_key: int | None = None
    resets: Array | None = None
    static: Array | None = None  # where no initial state is given

    def astype(self, dtype: DTypeLike) -> Problem:
        """The same numbers, in another dtype; weights stay float64, masks the reference casts."""

        def cast(a: Any) -> Any:
            if isinstance(a, dict):
                return {name: cast(one) for name, one in a.items()}
            return a if a is None or a.dtype.kind not in "fc" else a.astype(dtype)

        return replace(
            self,
            params={name: cast(p) for name, p in self.params.items()},
            x=cast(self.x),
            y=cast(self.y),
            h0=tuple(map(cast, self.h0)) if isinstance(self.h0, tuple) else cast(self.h0),
            static=cast(self.static),
        )

    @property
    def loss_args(self) -> dict[str, Any]:
        """Keyword arguments of ``loss_and_grad`` after x and y, those of ``network`` aside."""
        return {**self.names, **self.forward_args, "sample_weight": self.sample_weight}

    @property
    def forward_args(self) -> dict[str, Any]:
        """Keyword arguments of ``forward`` after x, those of ``network`` aside."""
        given = {"lengths": self.lengths, "h0": self.h0}
        return {**given, "static": self.static, "resets": self.resets}


def make_params(case: Case, rng: np.random.Generator) -> dict[str, Array]:
    """Parameters, float64, in the order of the flat buffer.

    U(-1/sqrt(H), 1/sqrt(H)), but ``W_xh`` with max(inputs, H) for H: a narrow layer under a wide
    input would saturate, and 1 - h^2 has lost its digits where h is rounded to nearly 1. Initial
    states and the embedding, its padding row too, are U(-1, 1).
    """
    cell, gates = reference.CELLS[case.cell], reference.CELLS[case.cell].GATES
    params: dict[str, Array] = {}

    def add(name: str, shape: tuple[int, ...], fan: int = case.H) -> None:
        params[name] = rng.uniform(-(fan**-0.5), fan**-0.5, shape)

    for layer, direction in itertools.product(range(case.num_layers), range(case.directions)):
        sfx = (f"_l{layer}" if layer else "") + ("_reverse" if direction else "")
        inputs = case.directions * case.H if layer else case.I
        add(f"W_xh{sfx}", (inputs, gates * case.H), fan=max(inputs, case.H))
        if case.rank is None:
            add(f"W_hh{sfx}", (case.H, gates * case.H))
        else:  # the product has entries of about that size
            add(f"N_hh{sfx}", (case.H, case.rank))
            add(f"M_hh{sfx}", (case.rank, gates * case.H), fan=case.rank)
        if case.bias:
            add(f"b_h{sfx}", (gates * case.H,))
            for name in cell.EXTRA_BIAS:
                add(f"{name}{sfx}", (case.H,))
        if case.learn_alpha:
            add(f"logit_alpha{sfx}", (case.H,), fan=1)
    if case.learn_initial_state:
        for name in case.state_names:
            add(name, (case.state_shape[0], case.H), fan=1)
    if case.static_size is not None:
        for name in case.state_names:
            add(f"W_s{name[0]}", (case.static_size, case.state_shape[0] * case.H), fan=1)
    if case.O is not None:
        read = case.directions * case.H if case.readout_units is None else len(case.readout_units)
        add("W_hy", (read, case.O))
        if case.has_output_bias:
            add("b_y", (case.O,))
    if case.embedding is not None:
        add("E", (case.embedding, case.I), fan=1)
    return params


def make_y(case: Case, rng: np.random.Generator) -> Array:
    """Targets of the shape the loss wants, the O left out where it is 1 and the seed is odd."""
    return _one_y(case, case.loss, case.width, rng)


def _one_y(case: Case, loss: str, width: int, rng: np.random.Generator) -> Array:
    lead = (case.B, case.T) if case.steps == "all" else (case.B,)
    y = targets_for(loss, width, lead, rng)
    return y[..., 0] if y.shape == (*lead, 1) and case.seed % 2 else y


def _y_by_block(case: Case, rng: np.random.Generator) -> dict[str, Array]:
    """Targets of each block of outputs; if there are none, of ""."""
    if case.losses is None:
        return {"": make_y(case, rng)}
    widths = case.losses.outputs
    return {n: _one_y(case, one.name, widths[n], rng) for n, one in case.losses.losses.items()}


def targets_for(name: str, outputs: int, lead: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Targets of a loss for so many outputs."""
    loss = fastbptt.Loss(name)
    if loss.targets == "classes":
        return rng.integers(0, outputs, lead)
    return draw_targets(loss, (*lead, loss.targets_of(outputs)), rng)


def draw_targets(loss: fastbptt.Loss, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Numbers that a loss allows as targets."""
    if loss.two_values:
        return rng.choice([loss.low, loss.high], shape)
    if np.isfinite(loss.high):
        return rng.choice([loss.low, loss.high, 0.75 * loss.low + 0.25 * loss.high], shape)
    return rng.normal(size=shape).clip(loss.low)


def build(case: Case, dtype: DTypeLike = np.float64) -> Problem:
    """Arrays of a case from its seed.

    x, parameters, h0 and a float y have ``dtype``: the float64 numbers, rounded. ``lengths`` and
    classes and tokens are int64, ``sample_weight`` is float64. After a sequence's end x and y are
    NaN or -1. Some weights are zero, and the targets there NaN or -1.
    """
    rng = np.random.default_rng(case.seed)
    params = {name: p.astype(dtype) for name, p in make_params(case, rng).items()}
    x: Array
    if case.embedding is None:
        x = rng.normal(size=(case.B, case.T, case.I)).astype(dtype)
    else:
        x = rng.integers(0, case.embedding, (case.B, case.T))
    y = {
        k: one.astype(dtype) if one.dtype.kind == "f" else one
        for k, one in _y_by_block(case, rng).items()
    }
    h0: State | None = None
    if case.with_h0:
        h0 = tuple(rng.uniform(-1, 1, case.state_shape).astype(dtype) for _ in case.state_names)
        h0 = h0 if len(h0) > 1 else h0[0]
    lengths = weights = None
    if case.with_lengths:
        lengths = rng.integers(1, case.T + 1, case.B)
        padding = padding_of(case, lengths)
        x[padding] = -1 if x.dtype.kind == "i" else np.nan
        for one in y.values() if case.steps == "all" else ():
            one[padding] = np.nan if one.dtype.kind == "f" else -1
    if case.with_weights:
        own: dict[str, Array] = {}
        for name, one in y.items():
            weights = rng.uniform(0.5, 2.0, case.weight_shape)
            if weights.ndim == 2:
                weights[rng.random(weights.shape) < 0.3] = 0.0
                weights[rng.integers(case.B), 0] = 1.0  # a step that every sequence has
            elif case.B >= 3:
                weights[rng.integers(case.B)] = 0.0
            if own and case.seed % 4 < 2:  # of all blocks
                weights = next(iter(own.values()))
            own[name] = weights
            one[weights == 0.0] = np.nan if one.dtype.kind == "f" else -1
            if weights.ndim == 2 and lengths is not None:
                weights[padding] = np.nan
        weights = own if case.losses is not None and case.seed % 4 >= 2 else weights
    names = {"loss": case.losses or case.loss, "steps": case.steps, "reduction": case.reduction}
    network: dict[str, Any] = {
        "cell": case.cell,
        "num_layers": case.num_layers,
        "bidirectional": case.bidirectional,
        "padding_index": case.padding_index,
        "frozen": case.freeze_embedding,
        "readout_units": case.readout_units,
    }
    if case.alpha is not None:
        network["settings"] = dict.fromkeys(reference.CELLS[case.cell].SETTING, case.alpha)
    key = None
    if case.dropout:
        key = int(rng.integers(2**64, dtype=np.uint64))
        width = case.directions * case.H
        network["masks"] = reference.dropout_masks(
            key, case.dropout, case.B, case.T, width, case.num_layers
        )
    resets = rng.random((case.B, case.T)) < 0.3 if case.has_resets else None
    static = None
    if case.static_size is not None and not case.with_h0:
        static = rng.normal(size=(case.B, case.static_size)).astype(dtype)
    targets = y if case.losses is not None else y[""]
    return Problem(params, x, targets, lengths, h0, weights, names, network, key, resets, static)


def padding_of(case: Case, lengths: Array | None) -> Array:
    """Which steps lie after their sequence's end, (B, T)."""
    ends = np.full(case.B, case.T) if lengths is None else lengths
    after: Array = np.arange(case.T) >= ends[:, np.newaxis]
    return after


def taken(one_of: int) -> int:
    """Of how many cases one is taken, where quick tests take one of ``one_of``."""
    return 1 if _GRID == "all" else -(-one_of // 10) if FULL_GRID else one_of


def sampled(cases: Sequence[AnyCase], one_of: int = 5) -> list[AnyCase]:
    """All cases with ``FASTBPTT_TEST_GRID=all``, else the same one of ``one_of`` every time.

    With ``FASTBPTT_TEST_GRID=full`` ten times as many, so all of most grids.
    Cases are dataclasses or tuples. Every value that one of their fields has in some case is in the
    sample; a seed, and a field of numbers that are all different, are left aside.
    """
    one_of = taken(one_of)
    if one_of == 1:
        return list(cases)
    pairs = [
        {
            (name, repr(value))
            for name, value in (dict(enumerate(c)) if isinstance(c, tuple) else vars(c)).items()
            if name != "seed"
        }
        for c in cases
    ]
    counts = Counter(name for name, _ in set().union(*pairs))
    missing = {(name, value) for name, value in set().union(*pairs) if counts[name] < len(cases)}
    least, chosen = -(-len(cases) // one_of), []
    for k in np.random.default_rng(len(cases)).permutation(len(cases)):
        if len(chosen) < least or pairs[k] & missing:
            chosen.append(k)
            missing -= pairs[k]
    return [cases[k] for k in sorted(chosen)]


def covering_pairs(cases: Sequence[AnyTuple]) -> list[AnyTuple]:
    """A few of the cases: any values of two fields that meet in some case meet in one of these.

    For tests of whole networks and pictures, whose full grids take minutes.
    """
    pairs = [set(itertools.combinations(enumerate(case), 2)) for case in cases]
    missing, chosen = set().union(*pairs), []
    while missing:
        best = max(range(len(cases)), key=lambda k: len(pairs[k] & missing))
        chosen.append(best)
        missing -= pairs[best]
    return [cases[k] for k in sorted(chosen)]


def every_option(**fixed: Any) -> list[Case]:
    """Every combination of O, bias, loss, steps, reduction, lengths, h0 and weights: 432 cases.

    ``fixed`` gives the sizes B, T, I, H and may pin any option. The seed counts up. A third has
    resets, where they are allowed, and half of those with several outputs two blocks of them.
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
        with_outputs(
            Case(
                **{
                    "seed": seed,
                    "with_resets": seed % 3 == 1,
                    "with_blocks": seed // 7 % 2 == 1,
                    **fixed,
                    **dict(zip(free, chosen, strict=True)),
                }
            )
        )
        for seed, chosen in enumerate(itertools.product(*free.values()))
    ]


def over_shapes(shapes: Iterable[tuple[int, int, int, int]], seed: int = 0) -> list[Case]:
    """One case per shape (B, T, I, H), its options drawn at random but reproducibly."""
    rng = np.random.default_rng(seed)
    options = every_option(B=1, T=1, I=1, H=1)
    return [
        with_outputs(
            replace(options[rng.integers(len(options))], B=b, T=t, I=i, H=h, seed=seed + k)
        )
        for k, (b, t, i, h) in enumerate(shapes)
    ]


def every_network(**fixed: Any) -> list[Case]:
    """Every cell with every number of layers, directions, bias, lengths and h0: 288 cases.

    ``fixed`` gives the sizes B, T, I, H and may pin anything else. The other options are drawn at
    random but reproducibly: each of their values occurs many times, but not every combination.
    """
    values: dict[str, tuple[Any, ...]] = {
        "cell": CELLS,
        "num_layers": (1, 2, 3),
        "bidirectional": (False, True),
        "bias": (True, False),
        "with_lengths": (False, True),
        "with_h0": (False, True),
    }
    free = {name: choices for name, choices in values.items() if name not in fixed}
    cases = []
    for seed, chosen in enumerate(itertools.product(*free.values())):
        rng = np.random.default_rng(seed)
        cases.append(_drawn(rng, {"seed": seed, **fixed, **dict(zip(free, chosen, strict=True))}))
    return cases


def _drawn(rng: np.random.Generator, given: dict[str, Any]) -> Case:
    """A case with what is not given drawn at random."""

    def one_of(name: str, *choices: Any) -> Any:
        drawn = choices[rng.integers(len(choices))]
        return given.get(name, drawn)

    several = given.get("num_layers", 1) > 1
    has_setting = bool(reference.CELLS[given.get("cell", "rnn")].SETTING)
    vocabulary = one_of("embedding", None, None, 7)
    case = Case(
        **{
            "O": one_of("O", *OUTPUTS),
            "loss": one_of("loss", *LOSSES),
            "steps": one_of("steps", *STEPS),
            "reduction": one_of("reduction", *REDUCTIONS),
            "with_weights": one_of("with_weights", False, True),
            "setting": one_of("setting", *((None, 0.05, 1.0) if has_setting else (None,))),
            "each_unit": one_of("each_unit", *((False, True) if has_setting else (False,))),
            "learn_alpha": one_of("learn_alpha", *((False, True) if has_setting else (False,))),
            "dropout": one_of("dropout", *((0.0, 0.3) if several else (0.0,))),
            "learn_initial_state": one_of("learn_initial_state", False, True),
            "embedding": vocabulary,
            "padding_index": one_of("padding_index", *((None, 2) if vocabulary else (None,))),
            "freeze_embedding": one_of("freeze_embedding", *(False, False, bool(vocabulary))),
            "with_resets": one_of("with_resets", False, True),
            "output_bias": one_of("output_bias", None, None, False, True),
            "reads_half": one_of("reads_half", False, False, True),
            "with_blocks": one_of("with_blocks", False, False, True),
            "low_rank": one_of("low_rank", False, False, True),
            **given,
        }
    )
    if case.O is None:
        case = replace(case, output_bias=None, reads_half=False)
    return _with_a_loss(case) if "loss" not in given else case


def _with_a_loss(case: Case) -> Case:
    """Softmax of a single class is constant: another loss instead."""
    constant = case.loss == "cross_entropy" and case.width == 1
    return with_outputs(replace(case, loss="bce") if constant else case)


def with_outputs(case: Case) -> Case:
    """As many outputs as the loss has for its targets; without a readout, one that has one each."""
    each = fastbptt.Loss(case.loss).outputs
    if case.width % each == 0:
        return case
    return replace(case, loss="mae") if case.O is None else replace(case, O=case.O * each)


def networks_over_shapes(**fixed: Any) -> list[Case]:
    """For every cell one case per shape of `SPARSE_GRID`, so every (I, H): 504 cases.

    Layers, directions and all options are drawn at random but reproducibly; ``fixed`` may pin them.
    """
    cells = (fixed["cell"],) if "cell" in fixed else CELLS
    options = {cell: every_network(B=1, T=1, I=1, H=2, **fixed | {"cell": cell}) for cell in cells}
    rng = np.random.default_rng(0)
    cases = []
    for seed, (cell, (b, t, i, h)) in enumerate(itertools.product(cells, SPARSE_GRID)):
        case = options[cell][rng.integers(len(options[cell]))]
        cases.append(_with_a_loss(replace(case, B=b, T=t, I=i, H=h, seed=seed)))
    return cases


def small_unless_full(cases: Iterable[Case]) -> list[Case]:
    """Leave out large cases, of which a single one takes a second, unless the grid is full."""
    return [case for case in cases if FULL_GRID or case.B * case.T * case.H <= 40_000]


def worst_relative(got: Array, expected: Array) -> float:
    """Largest difference, relative to the max-norm of ``expected``; 0 if both are zero."""
    difference = float(np.max(np.abs(got - expected), initial=0.0))
    scale = float(np.max(np.abs(expected), initial=0.0))
    return difference / scale if scale else (0.0 if difference == 0 else np.inf)
