"""The core beside the reference, on every instruction set that this machine can run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from cases import Array, Case, Problem, build
from networks import clean, model_of, next_masks, parts

import fastbptt
from fastbptt import _core, reference

# avx512bf16 runs avx512's code but for bfloat16: test_precision.py, and all tests that name none
ISAS = tuple(
    name
    for name, _, usable in fastbptt.backends()
    if usable and name not in _core.bfloat16_backends()
)
# Whether the instruction set in use has products in bfloat16, which few machines have
HAS_BFLOAT16 = _core.active_backend() in _core.bfloat16_backends()
TINIEST = {"float32": np.finfo(np.float32).tiny, "float64": np.finfo(np.float64).tiny}


def core(case: Case, problem: Problem, dtype: str) -> tuple[float, dict[str, Array]]:
    """Loss and all gradients of the core on a problem."""
    model = model_of(case, dtype)
    model.load_state_dict(problem.params)
    loss, grads = model.loss_and_grad(
        problem.x, problem.y, **problem.loss_args, need_input_grad=case.embedding is None
    )
    found = {name: grads[name] for name in grads}
    if grads.x is not None:
        found["x"] = grads.x
    for name, gradient in zip(case.state_names, parts(grads.h0), strict=True):
        found.setdefault(name, gradient)
    return loss, found


def specified(case: Case, problem: Problem) -> tuple[float, dict[str, Array]]:
    """What the reference says, in the dtype of the problem's arrays; padding may hold anything."""
    network = dict(problem.network)
    if case.dropout:
        network["masks"] = next_masks(model_of(case), case.B, case.T)
    loss, grads = reference.loss_and_grad(
        problem.params, clean(case, problem), problem.y, **problem.loss_args, **network
    )
    return float(loss), grads


def errors(got: tuple[float, Any], expected: tuple[float, Any], dtype: str) -> list[float]:
    """Errors of the loss and of each gradient, relative to its largest entry.

    That of b_y, a sum of numbers that may all be of one size, may be 0: it is seen beside W_hy's.
    Numbers below the smallest normal one are zero by design, so entries are seen relative to at
    least 1 / epsilon of it.
    """
    floor = float(TINIEST[dtype] / np.finfo(dtype).eps)
    all_errors = [abs(got[0] - expected[0]) / max(abs(expected[0]), floor)]
    for name, e in expected[1].items():
        beside = expected[1]["W_hy"] if name == "b_y" else e
        scale = max(float(np.abs(e).max(initial=0)), float(np.abs(beside).max(initial=0)), floor)
        all_errors.append(float(np.abs(got[1][name] - e).max(initial=0)) / scale)
    assert np.isfinite(all_errors).all()
    return all_errors


def conditioning(case: Case, problem: Problem, expected: tuple[float, Any]) -> list[float]:
    """How far the loss and each gradient move if every number is off by half a unit of float32.

    In float64, the largest of eight random draws: no float32 arithmetic can promise less.
    """
    rng = np.random.default_rng(0)
    half = np.finfo(np.float32).eps / 2

    def off(a: Any) -> Any:
        if isinstance(a, dict):
            return {name: off(one) for name, one in a.items()}
        moves = a is not None and a.dtype.kind == "f"
        return a * (1 + half * rng.choice((-1, 1), size=a.shape)) if moves else a

    draws = []
    for _ in range(8):
        h0 = tuple(map(off, problem.h0)) if isinstance(problem.h0, tuple) else off(problem.h0)
        params = {name: off(a) for name, a in problem.params.items()}
        moved = replace(problem, params=params, x=off(problem.x), y=off(problem.y), h0=h0)
        draws.append(errors(specified(case, moved), expected, "float32"))
    return list(np.max(draws, axis=0))


class Accuracy:
    """Errors of the core, in both dtypes and on each instruction set, beside plain float32 NumPy's.

    In float64 each is held to 1e-12. In float32 a single number says little: where a sum cancels,
    one of the two is lucky. So each is held to 1e-4, or to four times the problem's own
    conditioning where that is worse, and their distribution over many cases to four times that of
    NumPy: the median, and the quantiles at 0.9 and 0.99.
    """

    def __init__(self) -> None:
        fastbptt.set_num_threads(1)  # more change no bit, as a test below shows
        self.plain: list[float] = []
        self.single: dict[str, list[float]] = {isa: [] for isa in ISAS}

    def add(self, case: Case) -> None:
        if case.loss == "cross_entropy" and case.width == 1:
            case = replace(case, loss="bce")  # of one class it is constant
        single = build(case, "float32")
        double = single.astype("float64")  # the same numbers
        expected = specified(case, double)
        self.plain += errors(specified(case, single), expected, "float32")
        for isa in ISAS:
            _core.use_backend(isa)
            got = errors(core(case, double, "float64"), expected, "float64")
            assert max(got) < 1e-12, (isa, str(case), got)
            assert _core.proof_of_backend() == isa
            got = errors(core(case, single, "float32"), expected, "float32")
            if max(got) >= 1e-4:
                limits = 4 * np.array(conditioning(case, double, expected))
                assert np.all(got < np.maximum(1e-4, limits)), (isa, str(case), got, limits)
            self.single[isa] += got

    def check(self) -> None:
        for isa, got in self.single.items():
            for q in (0.5, 0.9, 0.99):
                assert np.quantile(got, q) <= 4 * np.quantile(self.plain, q), (isa, q)
