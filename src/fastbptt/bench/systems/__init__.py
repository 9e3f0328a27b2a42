"""The systems that can be compared, a module each.

A module has ``variants(problem, threads)``, which names the ways worth trying for the pass of the
problem's case and how to build each (the fastest is measured), and ``version()``. It is imported
only where it is measured, so that nothing here needs the packages of competitors.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..case import Case

__all__ = ["COMPETITORS", "SYSTEMS", "Predictor", "System", "Trainer", "Variants", "obstacle"]

Array = NDArray[Any]


class System(ABC):
    """One system, ready to compute the pass of one problem."""

    @abstractmethod
    def results(self) -> dict[str, Array]:
        """Compute what `fastbptt.bench.verify.CHECKS` compares, at the first weights."""

    @abstractmethod
    def run(self, steps: int) -> None:
        """Compute the pass so many times; return when they are complete."""

    def peak_memory(self) -> int:
        """Return the peak memory of this process in bytes, including all libraries."""
        status = Path("/proc/self/status")
        if status.exists():
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        if sys.platform == "win32":
            import ctypes

            counters = (ctypes.c_size_t * 9)(72)  # PROCESS_MEMORY_COUNTERS: its size, the peak, ...
            ctypes.windll.kernel32.K32GetProcessMemoryInfo(ctypes.c_void_p(-1), counters, 72)
            return counters[1]
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Trainer(System):
    """A system that trains: each pass is a whole training step."""

    @abstractmethod
    def loss_and_gradients(self) -> tuple[float, dict[str, Array]]:
        """Compute loss and gradients, by fastbptt's parameter names, at the first weights."""

    def results(self) -> dict[str, Array]:
        """Compute loss and gradients, as one dict."""
        loss, gradients = self.loss_and_gradients()
        return {"loss": np.array(loss), **gradients}


class Predictor(System):
    """A system that predicts: each pass goes from inputs to outputs."""

    @abstractmethod
    def outputs(self) -> Array:
        """Compute the outputs: of all steps (batch, time, output), or (batch, output)."""

    def results(self) -> dict[str, Array]:
        """Compute the outputs, in a dict."""
        return {"outputs": self.outputs()}

    def run(self, steps: int) -> None:
        """Compute the outputs so many times."""
        for _ in range(steps):
            self.outputs()


Variants: TypeAlias = Mapping[str, Callable[[], System]]


@dataclass(frozen=True)
class Entry:
    """The location of a system, and the cases that it supports.

    Attributes
    ----------
    module : str
        In this package.
    title : str
        For people.
    requires : tuple of str
        Python packages, each of which must be installed.
    passes : tuple of str
        What it can compute.
    cells, losses, dtypes : tuple of str
        What it can run; empty: everything. A forward pass needs no loss.
    ragged_both_ways : bool
        Whether it can run both directions on sequences of unequal length.
    options : dict
        More arguments for ``variants``.
    """

    module: str
    title: str
    requires: tuple[str, ...] = ()
    passes: tuple[str, ...] = ("training", "forward")
    cells: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    ragged_both_ways: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def load(self) -> ModuleType:
        """Import the module."""
        return importlib.import_module(f"{__name__}.{self.module}")


# What people have written by hand or found in a library. A cell or loss that is none of these is
# named as missing, until a system's module has it.
_CELLS: Final = ("rnn", "relu", "leaky", "gru", "gru_before", "lstm")
_PRIMITIVES: Final = ("rnn", "relu", "gru", "gru_before", "lstm")
_LOSSES: Final = ("bce", "cross_entropy", "mse")

SYSTEMS: Final[dict[str, Entry]] = {
    "fastbptt": Entry("fastbptt_step", "fastbptt", ragged_both_ways=True),
    # what it costs to look at the gradients of each step
    "recording": Entry(
        "fastbptt_step",
        "fastbptt, recording",
        passes=("training",),
        ragged_both_ways=True,
        options=(("record", "gradients"),),
    ),
    "numpy": Entry("numpy_step", "NumPy", cells=_CELLS, losses=_LOSSES, ragged_both_ways=True),
    "torch": Entry(
        "torch_step",
        "PyTorch",
        ("torch",),
        cells=_CELLS,
        losses=_LOSSES,
        options=(("flush", False),),
    ),
    "torch-ftz": Entry(
        "torch_step",
        "PyTorch, denormals flushed",
        ("torch",),
        cells=_CELLS,
        losses=_LOSSES,
        options=(("flush", True),),
    ),
    "jax": Entry("jax_step", "JAX", ("jax",), cells=_CELLS, losses=_LOSSES, ragged_both_ways=True),
    "keras": Entry(
        "keras_step",
        "Keras (TensorFlow)",
        ("keras", "tensorflow"),
        cells=_CELLS,
        losses=_LOSSES,
    ),
    "onnxruntime": Entry(
        "onnxruntime_step",
        "ONNX Runtime",
        ("onnxruntime",),
        passes=("forward",),
        cells=_PRIMITIVES,
        dtypes=("float32",),
        ragged_both_ways=True,
    ),
    "onednn": Entry(
        "onednn_step",
        "oneDNN",
        passes=("training",),
        cells=_PRIMITIVES,
        losses=_LOSSES,
        dtypes=("float32",),
    ),
}
COMPETITORS: Final = tuple(name for name in SYSTEMS if name != "fastbptt")


def obstacle(name: str, case: Case) -> str | None:
    """Return why a system cannot run a case here, or None if it can.

    Parameters
    ----------
    name : str
        Of a system.
    case : Case
        The definition.

    Returns
    -------
    str or None
        The reason in a few words.

    Examples
    --------
    >>> from fastbptt.bench import PRESETS
    >>> from fastbptt.bench.systems import obstacle
    >>> obstacle("numpy", PRESETS["small"]) is None
    True
    >>> obstacle("onednn", PRESETS["small"].with_(dtype="float64"))
    'has no float64'
    >>> obstacle("onnxruntime", PRESETS["small"])
    'has no training pass here'
    """
    entry = SYSTEMS[name]
    if case.pass_ not in entry.passes:
        return f"has no {case.pass_} pass here"
    if entry.cells and case.cell not in entry.cells:
        return f"has no {case.cell} cell"
    if case.pass_ == "training" and entry.losses and case.loss not in entry.losses:
        return f"has no {case.loss} loss"
    if entry.dtypes and case.dtype not in entry.dtypes:
        return f"has no {case.dtype}"
    if case.bidirectional and case.lengths != "fixed" and not entry.ragged_both_ways:
        return "has no sequences of unequal length in both directions here"
    missing = [each for each in entry.requires if importlib.util.find_spec(each) is None]
    if missing:
        return f"is not installed ({', '.join(missing)})"
    if name == "onednn":
        reason: str | None = entry.load().obstacle()
        return reason
    return None


def as_arrays(gradients: Mapping[str, Any]) -> dict[str, Array]:
    """Copy any library's arrays into NumPy's."""
    return {name: np.array(value) for name, value in gradients.items()}


def swap_gates(array: Array) -> Array:
    """Swap the first two of three gates, side by side in the last axis: r, z, n and z, r, n."""
    r, z, n = np.split(array, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)
