"""oneDNN: its RNN primitive, from a small C++ library that is compiled when it is needed.

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
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastbptt.bench.case import TIMED_LR, Problem
from fastbptt.bench.systems import System, Variants

_PREFIXES: Final = (Path(sys.prefix), Path("/usr/local"), Path("/usr"))
_FLAGS: Final = "-std=c++17 -O3 -march=native -ffast-math -fopenmp -shared -fPIC"
_LOSSES: Final = ("bce", "cross_entropy", "mse")


class OneDnn(System):
    """Plain float32 arrays, time first, handed to the library once."""

    def __init__(self, problem: Problem) -> None:
        case = problem.case
        self.library = _library()
        self.shapes = {name: value.shape for name, value in problem.params.items()}
        size = np.array([case.batch, case.time, case.input, case.hidden, case.output], np.int64)
        theta = np.concatenate([value.ravel() for value in problem.params.values()])
        self.count = theta.size
        x = np.ascontiguousarray(problem.x.swapaxes(0, 1))
        all_steps = case.steps == "all"
        y = np.ascontiguousarray(problem.y.swapaxes(0, 1) if all_steps else problem.y)
        classes = case.loss == "cross_entropy"
        self.step = self.library.step_create(
            size.ctypes,
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
        gradients, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            gradients[name] = flat[start:stop].reshape(shape)
            start = stop
        return loss, gradients

    def run(self, steps: int) -> None:
        self.library.step_run(self.step, steps)


def obstacle() -> str | None:
    """Say what is missing to compile and link, or None."""
    if _prefix() is None:
        return "is not installed (oneDNN 3 with its headers)"
    if shutil.which(_compiler()[0]) is None:
        return f"needs a C++ compiler ({_compiler()[0]} was not found)"
    return None


def variants(problem: Problem, threads: int) -> Variants:
    """Name the one way there is."""
    return {"vanilla_rnn": partial(OneDnn, problem)}


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
    library.step_create.argtypes = [pointer, number, number, ctypes.c_float, *[pointer] * 6]
    library.step_gradients.restype = ctypes.c_double
    library.step_gradients.argtypes = [pointer, pointer]
    library.step_run.argtypes = [pointer, ctypes.c_int64]
    library.step_run.restype = None
    library.step_version.restype = ctypes.c_char_p
    return library
