"""oneDNN: its RNN primitives, from a small C++ library that is compiled when it is needed.

The headers and the library, version 3, are looked for in this Python's prefix, where PyPI's
``onednn-devel-cpu-gomp`` puts them, and then where the system has its own.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..case import TIMED_LR, Case, Problem
from . import Trainer, Variants, swap_gates

Array = NDArray[Any]

_PREFIXES: Final = (Path(sys.prefix), Path("/usr/local"), Path("/usr"))
_FLAGS: Final = "-std=c++17 -O3 -march=native -ffast-math -fopenmp -shared -fPIC"
_LOSSES: Final = ("bce", "cross_entropy", "mse")
# What oneDNN calls each cell, in the order of the C++ library.
_CELLS: Final = {
    "rnn": "vanilla_rnn",
    "relu": "vanilla_rnn",
    "gru": "lbr_gru",
    "gru_before": "gru",
    "lstm": "lstm",
}


class OneDnn(Trainer):
    """Plain float32 arrays, time first, handed to the library once."""

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        self.library = _library()
        self.case, self.params = case, problem.params
        theta = np.concatenate([array.ravel() for array in _to_onednn(case, self.params)])
        size = [case.batch, case.time, case.input, case.hidden, case.output, case.layers]
        sizes = np.array([*size, 1 + case.bidirectional, theta.size], np.int64)
        self.count = theta.size
        x = np.ascontiguousarray(problem.x.swapaxes(0, 1))
        all_steps = case.steps == "all"
        y = np.ascontiguousarray(problem.y.swapaxes(0, 1) if all_steps else problem.y)
        classes = case.loss == "cross_entropy"
        self.step = self.library.step_create(
            sizes.ctypes,
            list(_CELLS).index(case.cell),
            _LOSSES.index(case.loss),
            int(all_steps),
            ctypes.c_float(TIMED_LR),
            theta.ctypes,
            x.ctypes,
            None if classes else y.ctypes,
            y.ctypes if classes else None,
            np.ascontiguousarray(problem.step_weights.T).ctypes,
            np.ascontiguousarray(problem.last, np.int64).ctypes,
        )
        if not self.step:
            raise OSError("oneDNN cannot run this case")

    def loss_and_gradients(self) -> tuple[float, dict[str, NDArray[Any]]]:
        flat = np.empty(self.count, np.float32)
        loss: float = self.library.step_gradients(self.step, flat.ctypes)
        return loss, _to_ours(self.case, flat, self.params)

    def run(self, steps: int) -> None:
        self.library.step_run(self.step, steps)


def _to_onednn(case: Case, params: Mapping[str, Array]) -> list[Array]:
    """Lay parameters out in order: each layer's three arrays, directions stacked; the readout.

    A GRU's gates are u (our z), r, o (our n); lbr_gru has b_hn as a fourth block of its bias.
    """
    arrays = []
    for ends in case.suffixes:
        for name in ("W_xh", "W_hh", "b_h"):
            stack = []
            for end in ends:
                array = params[name + end]
                if case.cell.startswith("gru"):
                    array = swap_gates(array)
                if case.cell == "gru" and name == "b_h":
                    array = np.concatenate([array, params["b_hn" + end]])
                stack.append(array)
            arrays.append(np.stack(stack))
    return [*arrays, params["W_hy"], params["b_y"]]


def _to_ours(case: Case, flat: Array, like: Mapping[str, Array]) -> dict[str, Array]:
    """Do the reverse with gradients."""
    shapes = [array.shape for array in _to_onednn(case, like)]
    stops = np.cumsum([np.prod(shape) for shape in shapes])
    *arrays, W_hy, b_y = (
        part.reshape(shape) for part, shape in zip(np.split(flat, stops[:-1]), shapes, strict=True)
    )
    gradients = {"W_hy": W_hy, "b_y": b_y}
    for layer, ends in enumerate(case.suffixes):
        for name, stack in zip(("W_xh", "W_hh", "b_h"), arrays[3 * layer :], strict=False):
            for end, array in zip(ends, stack, strict=True):
                if case.cell == "gru" and name == "b_h":
                    gradients["b_hn" + end] = array[3 * case.hidden :]
                    array = array[: 3 * case.hidden]
                gradients[name + end] = swap_gates(array) if case.cell.startswith("gru") else array
    return gradients


def obstacle() -> str | None:
    """Return what is missing to compile and link, or None."""
    if _prefix() is None:
        return "is not installed (oneDNN 3 with its headers)"
    if shutil.which(_compiler()[0]) is None:
        return f"needs a C++ compiler ({_compiler()[0]} was not found)"
    return None


def variants(problem: Problem, threads: int) -> Variants:
    """Return the only variant."""
    return {_CELLS[problem.case.cell]: partial(OneDnn, problem)}


def version() -> str:
    """Return the version."""
    text: bytes = _library().step_version()
    return text.decode()


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "g++"))


@cache
def _prefix() -> Path | None:
    for prefix in _PREFIXES:
        header = prefix / "include/oneapi/dnnl/dnnl_version.h"
        if header.exists():
            found = re.search(r"define DNNL_VERSION_MAJOR (\d+)", header.read_text())
            if found and int(found[1]) >= 3:
                return prefix
    return None


@cache
def _library() -> ctypes.CDLL:
    """Compile and load the library."""
    prefix = _prefix()
    source = Path(__file__).with_suffix(".cpp")
    with tempfile.TemporaryDirectory(prefix="fastbptt-onednn-") as folder:
        target = Path(folder) / "onednn_step.so"
        command = [*_compiler(), *_FLAGS.split(), f"-I{prefix}/include", str(source)]
        command += ["-o", str(target), f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-ldnnl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{shlex.join(command)} failed:\n{done.stderr}")
        library = ctypes.CDLL(str(target))
    library.step_create.restype = ctypes.c_void_p
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.step_create.argtypes = [
        pointer,
        *[number] * 3,
        ctypes.c_float,
        *[pointer] * 6,
    ]
    library.step_gradients.restype = ctypes.c_double
    library.step_gradients.argtypes = [pointer, pointer]
    library.step_run.argtypes = [pointer, ctypes.c_int64]
    library.step_run.restype = None
    library.step_version.restype = ctypes.c_char_p
    return library
