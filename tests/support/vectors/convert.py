"""The cases of other frameworks in this library's terms: layouts, gate orders, biases.

Everything the tests know about another framework's conventions stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vectors.common import Case, read

Array = NDArray[Any]

# Blocks of H columns in W_xh, W_hh and b_h. "h" is the only one of a cell without gates.
GATES = {"rnn": "h", "relu": "h", "gru": "rzn", "gru_before": "rzn", "lstm": "ifgo"}
# The same blocks in another framework's order, where it differs. torch and Keras have "ifgo",
# Keras calling g "c"; Keras and ONNX call n "h".
OTHER_GATES = {
    ("keras", "gru"): "zrn",
    ("keras", "gru_before"): "zrn",
    ("onnxruntime", "gru"): "zrn",
    ("onnxruntime", "gru_before"): "zrn",
    ("onnxruntime", "lstm"): "iofg",
}


@dataclass(frozen=True)
class Weights:
    """Weights, or their gradients, of one layer and direction, in the framework's gate order."""

    kernel: Array  # (in, G*H)
    recurrent: Array  # (H, G*H)
    bias: Array | None  # (G*H,), added to the input's product
    recurrent_bias: Array | None  # (G*H,), added to the state's product, where there are two


@dataclass(frozen=True)
class Vector:
    """A case in this library's terms, all arrays in the dtype of the run."""

    cell: str
    num_layers: int
    bidirectional: bool
    params: dict[str, Array]
    x: Array  # (B, T, I)
    lengths: Array | None
    initial: tuple[Array, ...]  # h0 and, for lstm, c0: (L*D, B, H) each
    outputs: Array  # (B, T, D*H), zero after a sequence's end
    final: tuple[Array, ...]
    d_outputs: Array | None  # None: the framework has no gradients
    d_final: tuple[Array, ...]
    # under the parameters' names, "x", "h0", "c0"; two arrays where the framework has two biases
    # for our one, which have the same gradient
    grads: tuple[tuple[str, Array], ...]


def suffixes(num_layers: int, bidirectional: bool) -> list[str]:
    """Endings of our parameters' names, in the order of the flat buffer."""
    layers = [f"_l{layer}" if layer else "" for layer in range(num_layers)]
    directions = ["", "_reverse"] if bidirectional else [""]
    return [layer + direction for layer in layers for direction in directions]


def _pytorch(case: Case, arrays: dict[str, Array]) -> Iterable[Weights]:
    directions = ["", "_reverse"] if case.options["bidirectional"] else [""]
    for layer in range(case.options["num_layers"]):
        for direction in directions:
            end = f"l{layer}{direction}"
            yield Weights(
                arrays[f"weight_ih_{end}"].T,
                arrays[f"weight_hh_{end}"].T,
                arrays.get(f"bias_ih_{end}"),
                arrays.get(f"bias_hh_{end}"),
            )


def _keras(case: Case, arrays: dict[str, Array]) -> Iterable[Weights]:
    for direction in ["forward", "backward"] if case.options["bidirectional"] else ["forward"]:
        bias = arrays[f"{direction}/bias"]  # (2, 3H) of a GRU with reset after, else (G*H,)
        both = bias if bias.ndim == 2 else (bias, None)
        yield Weights(arrays[f"{direction}/kernel"], arrays[f"{direction}/recurrent_kernel"], *both)


def _onnxruntime(case: Case, arrays: dict[str, Array]) -> Iterable[Weights]:
    for w, r, b in zip(arrays["W"], arrays["R"], arrays["B"], strict=True):
        yield Weights(w.T, r.T, *np.split(b, 2))


FRAMEWORKS: dict[str, Callable[[Case, dict[str, Array]], Iterable[Weights]]] = {
    "pytorch": _pytorch,
    "keras": _keras,
    "onnxruntime": _onnxruntime,
}


def _ours(framework: str, case: Case, arrays: dict[str, Array]) -> list[tuple[str, Weights]]:
    """Name's ending, and weights with their blocks in our order."""
    cell = case.options["cell"]
    theirs = OTHER_GATES.get((framework, cell), GATES[cell])
    order = [theirs.index(gate) for gate in GATES[cell]]

    def sort(array: Array | None) -> Any:
        if array is None:
            return None
        blocks = np.split(array, len(order), axis=-1)
        return np.concatenate([blocks[block] for block in order], axis=-1)

    ends = suffixes(case.options.get("num_layers", 1), case.options["bidirectional"])
    weights = FRAMEWORKS[framework](case, arrays)
    return [
        (end, Weights(sort(w.kernel), sort(w.recurrent), sort(w.bias), sort(w.recurrent_bias)))
        for end, w in zip(ends, weights, strict=True)
    ]


def _parted(cell: str, bias: Array) -> tuple[Array, Array]:
    """Part the state's bias: what is summed with the input's, and what remains on its own.

    In the GRU with the reset gate after the product, the state's bias of n stands within that
    product: it is our b_hn.
    """
    kept = len(bias) // 3 if cell == "gru" else 0
    return bias[: len(bias) - kept], bias[len(bias) - kept :]


def parameters(framework: str, case: Case, arrays: dict[str, Array]) -> dict[str, Array]:
    """Our parameters, in our order, from the framework's weights."""
    cell = case.options["cell"]
    params: dict[str, Array] = {}
    for end, w in _ours(framework, case, arrays):
        params |= {f"W_xh{end}": w.kernel, f"W_hh{end}": w.recurrent}
        if w.bias is None:
            continue
        params[f"b_h{end}"] = w.bias.copy()
        if w.recurrent_bias is not None:
            summed, kept = _parted(cell, w.recurrent_bias)
            params[f"b_h{end}"][: len(summed)] += summed
            if len(kept):
                params[f"b_hn{end}"] = kept
    return params


def gradients(framework: str, case: Case, arrays: dict[str, Array]) -> list[tuple[str, Array]]:
    """Gradients of our parameters from the framework's.

    The gradient of a sum of two biases is that of either: b_h comes twice.
    """
    cell = case.options["cell"]
    grads = []
    for end, w in _ours(framework, case, arrays):
        grads += [(f"W_xh{end}", w.kernel), (f"W_hh{end}", w.recurrent)]
        if w.bias is None:
            continue
        grads.append((f"b_h{end}", w.bias))
        if w.recurrent_bias is not None:
            summed, kept = _parted(cell, w.recurrent_bias)
            grads.append((f"b_h{end}", np.concatenate([summed, w.bias[len(summed) :]])))
            if len(kept):
                grads.append((f"b_hn{end}", kept))
    return grads


@cache
def cases(framework: str) -> dict[str, Case]:
    """The cases of a framework's file, by name."""
    return read(framework)[1]


def vector(framework: str, name: str, dtype: str) -> Vector:
    """Case NAME of a framework's file, as computed in the given dtype.

    What a padded step holds must not matter: x and d_outputs are NaN there.
    """
    case = cases(framework)[name]
    options, arrays = case.options, case.arrays
    states = "hc" if options["cell"] == "lstm" else "h"

    def cast(key: str) -> Array:
        return arrays[key].astype(dtype)

    def below(prefix: str) -> dict[str, Array]:
        return {key.removeprefix(prefix): cast(key) for key in arrays if key.startswith(prefix)}

    lengths = arrays.get("lengths")
    if "mask" in arrays:
        lengths = arrays["mask"].sum(axis=1)
    x = cast("x")
    padding = np.zeros(x.shape[:2], bool)
    if lengths is not None:
        padding = np.arange(x.shape[1]) >= lengths[:, np.newaxis]
    x[padding] = np.nan

    if framework == "onnxruntime":
        outputs = cast(f"{dtype}/Y").transpose(2, 0, 1, 3).reshape(*x.shape[:2], -1)
        final = tuple(cast(f"{dtype}/Y_{state}") for state in states)
    else:
        outputs = cast(f"{dtype}/outputs")
        final = tuple(cast(f"{dtype}/{state}_n") for state in states)
    if framework == "keras":
        outputs[padding] = 0  # where Keras may repeat the last one

    d_outputs, d_final, grads = None, [], []
    if "R" in arrays:
        d_outputs = cast("R")
        d_outputs[padding] = np.nan
        d_final = [cast(f"Q_{state}") for state in states]
        found = below(f"{dtype}/gradients/")
        inputs = ("x", *(f"{state}0" for state in states))
        grads = gradients(framework, case, found) + [(key, found[key]) for key in inputs]
    return Vector(
        options["cell"],
        options.get("num_layers", 1),
        options["bidirectional"],
        parameters(framework, case, below("weights/")),
        x,
        lengths,
        tuple(cast(f"{state}0") for state in states),
        outputs,
        final,
        d_outputs,
        tuple(d_final),
        tuple(grads),
    )
