"""What the scripts beside it share with the tests: the data of a case, and the files' format.

A case is one call of a framework's layer: arrays given to it, arrays that came out, options.
The loss of every case is ``sum(outputs * R) + sum(h_n * Q_h) + sum(c_n * Q_c)``: R, Q_h and Q_c
are the gradients of the outputs and of the final states.

Small arrays are many, and an entry of a zip file costs more than one of them. So NAME.npz holds
one flat array per dtype, ``float32``, ``float64`` and ``int64``, and ``index``, JSON in UTF-8:

    {"metadata": {...},
     "cases": {CASE: {"options": {...}, "arrays": {ARRAY: [dtype, offset, shape]}}}}

Arrays that are equal to the last bit are stored once.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

B, T, I, H = 3, 6, 4, 5
LENGTHS = np.array([4, 6, 1])
VALID = np.arange(T) < LENGTHS[:, np.newaxis]  # (B, T)


@dataclass
class Case:
    """Options, and arrays by name."""

    options: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)


def draw(name: str, *shape: int, bound: float = 1.0) -> Array:
    """Numbers from U(-bound, bound) in float32, which depend on the name and the shape alone."""
    seed = [*name.encode(), *shape]
    return np.random.default_rng(seed).uniform(-bound, bound, shape).astype(np.float32)


def given(hidden: int, directions: int, states: int, layers: int = 1) -> dict[str, Array]:
    """Return x, initial states and the gradients of outputs and final states, (L*D, B, H) each."""
    arrays = {"x": draw("x", B, T, I), "R": draw("R", B, T, directions * hidden)}
    for state in "hc"[:states]:
        for name in (f"{state}0", f"Q_{state}"):
            arrays[name] = draw(name, layers * directions, B, hidden)
    return arrays


# What optimisers are run on: each parameter is drawn to a target that moves at every step, on a
# slope of its own, from far below epsilon to far above it. The rate falls once.
N, STEPS, SLOWER_AFTER = 26, 100, 60
KEPT = np.array([1, 2, 3, 10, 60, 61, 100])  # updates after which the parameters are stored


def descent() -> dict[str, Array]:
    """Return start (N,), slope (N,) and target (STEPS, N), in float64."""
    slope = 10.0 ** draw("slope", N, bound=1.0).astype(np.float64) * np.logspace(-9, 1, N)
    start, target = draw("start", N), draw("target", STEPS, N)
    return {"start": start.astype(np.float64), "slope": slope, "target": target.astype(np.float64)}


def downhill(given: dict[str, Array], p: Array, step: int) -> Array:
    """Return the gradient at p of step 0, 1, ..."""
    gradient: Array = given["slope"] * (p - given["target"][step])
    return gradient


def write(script: str, versions: dict[str, str], cases: dict[str, Case]) -> None:
    """Write NAME.npz for the script make_NAME.py, beside it."""
    versions = versions | {"numpy": np.__version__, "python": platform.python_version()}
    metadata = {"script": Path(script).name, "machine": platform.machine(), "versions": versions}
    flat: dict[str, list[Array]] = {"float32": [], "float64": [], "int64": []}
    ends = dict.fromkeys(flat, 0)
    places: dict[tuple[str, bytes], int] = {}
    index: dict[str, Any] = {}
    for case_name, case in cases.items():
        entries = {}
        for name, array in case.arrays.items():
            dtype = array.dtype.name
            key = (dtype, array.tobytes())
            if key not in places:
                places[key] = ends[dtype]
                flat[dtype].append(array.ravel())
                ends[dtype] += array.size
            entries[name] = [dtype, places[key], list(array.shape)]
        index[case_name] = {"options": case.options, "arrays": entries}
    text = json.dumps({"metadata": metadata, "cases": index}, separators=(",", ":"))
    stored: dict[str, Any] = {
        dtype: np.concatenate(parts) for dtype, parts in flat.items() if parts
    }
    stored["index"] = np.frombuffer(text.encode(), np.uint8)
    target = Path(script).with_name(Path(script).stem.removeprefix("make_") + ".npz")
    np.savez_compressed(target, **stored)
    print(f"{target.name}: {len(cases)} cases, {target.stat().st_size} bytes, {metadata}")


def read(name: str) -> tuple[dict[str, Any], dict[str, Case]]:
    """Return the metadata and the cases of a file."""
    with np.load(Path(__file__).with_name(f"{name}.npz"), allow_pickle=False) as stored:
        flat = {key: stored[key] for key in stored.files}
    index = json.loads(flat["index"].tobytes())
    cases = {}
    for case_name, case in index["cases"].items():
        arrays = {
            array: flat[dtype][start : start + int(np.prod(shape))].reshape(shape)
            for array, (dtype, start, shape) in case["arrays"].items()
        }
        cases[case_name] = Case(case["options"], arrays)
    return index["metadata"], cases
