"""Arguments at their limits: values, shapes, strides and number types. A call gives the bits of the
same call on plain arrays, or says in one line what is wrong and changes nothing.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt import reference

from ._common import bits

CASES = 40
VALUES = (
    0.0, -0.0, 1e-45, 1e-38, -1e-38, 1.0, -1.0, 88.0, -104.0, 1e4, 1e19, -1e19, 3.4e38, 1e39, 1e300,
    np.inf, -np.inf, np.nan,
)  # fmt: skip
TYPES = (
    "f2", "f4", "f8", "g", ">f4", ">f8", "i1", "u1", "i4", "i8", "u8", "?", "c8", "O", "U3",
    "M8[s]",
)  # fmt: skip
SIZES = (0, 1, 2, 3, 7, 64)


def _memory(rng: random.Random, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers in another place: other strides, not aligned, read only."""
    kind = rng.randrange(7)
    if kind == 0:
        return np.asfortranarray(x)
    if kind == 1:
        return x[..., ::-1].copy()[..., ::-1]
    if kind == 2:
        return x[::-1].copy()[::-1]
    if kind == 3:
        wide = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
        wide[..., ::3] = x
        return wide[..., ::3]
    if kind == 4:
        raw = np.zeros(x.nbytes + 1, np.uint8)[1:]
        moved = np.ndarray(x.shape, x.dtype, raw.data)
        moved[...] = x
        return moved
    if kind == 5:
        fixed = x.copy()
        fixed.flags.writeable = False
        return fixed
    record = np.zeros(x.shape, [("pad", "u1"), ("x", x.dtype)])
    record["x"] = x
    return record["x"]


def _outcome(function: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, function()
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        text = str(error)
        assert "\n" not in text and len(text) < 1000, f"no message of a line: {text[:200]!r}"
        return False, text


def _one(rng: random.Random, numbers: np.random.Generator) -> None:
    B, T, I = rng.choice(SIZES), rng.choice(SIZES), rng.choice((1, 1, 2, 3, 17))
    H, O = rng.choice((1, 2, 8, 33)), rng.choice((1, 2, 5))
    cell, dtype = rng.choice(list(reference.CELLS)), rng.choice(("float32", "float64"))
    loss = rng.choice(list(reference.LOSSES))
    alpha = rng.choice((1e-30, 0.3, 1.0)) if reference.CELLS[cell].SETTING else None
    own = {} if alpha is None else {"alpha": alpha}
    model = fastbptt.Recurrent(cell, I, H, O, dtype=dtype, seed=rng.randrange(1000), **own)
    bounded = cell in ("rnn", "gru", "gru_before", "lstm")
    if rng.random() < 0.3:
        bounded = False
        model.parameters.flat[...] *= rng.choice((0.0, 1e-30, 1e3, 1e18))
    kind = rng.choice(TYPES)
    x = numbers.normal(size=(B, T, I))
    for _ in range(rng.choice((0, 0, 1, 3))):
        if x.size:
            x.flat[rng.randrange(x.size)] = rng.choice(VALUES)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            x = x.astype(kind)
        except (ValueError, TypeError):
            return
    y: Any = numbers.integers(0, max(O, 2), B) if loss in ("cross_entropy", "bce") else None
    if y is None or (O > 1 and loss == "bce"):
        y = numbers.random((B, O)).round()
    moved = _memory(rng, x)
    before = bits(model)
    method = rng.choice(("loss", "loss_and_grad", "train_step", "forward", "predict"))
    found = []
    for array in (x, moved):
        one = model.copy()
        optimizer = fastbptt.SGD(0.1)

        def call(one: Any = one, array: Any = array, optimizer: Any = optimizer) -> Any:
            if method == "forward":
                return one.forward(array).outputs.tobytes()
            if method == "predict":
                return fastbptt.predict(one, array).tobytes()
            if method == "train_step":
                return one.train_step(array, y, optimizer, loss).hex()
            got = getattr(one, method)(array, y, loss)
            return got.hex() if method == "loss" else (got[0].hex(), got[1].flat.tobytes())

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # numbers that get rounded
            went, result = _outcome(call)
        if not went:
            assert bits(one)[0] == before[0], f"changed by a refusal: {result}"
        found.append((went, result))
    where = f"{method} of {cell} {dtype} B {B} T {T} I {I} H {H} O {O} {loss} x {kind}"
    assert found[0] == found[1], f"{where}: {found[0]!r:.200} or {found[1]!r:.200}"
    went, result = found[0]
    exists = B > 0 and T > 0
    assert exists or not went, f"{where}: nothing was taken"
    if went and bounded and method in ("forward", "predict"):
        assert np.isfinite(np.frombuffer(result, model.dtype)).all(), f"{where}: not finite"


def attack(seed: int, folder: Path) -> int:
    for case in range(CASES):
        rng = random.Random(f"{seed} {case}")
        try:
            _one(rng, np.random.default_rng([seed, case]))
        except Exception as error:
            raise AssertionError(f"case {case}: {type(error).__name__}: {error}") from error
    return CASES
