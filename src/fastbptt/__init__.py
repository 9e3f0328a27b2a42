"""Recurrent networks trained by backpropagation through time on a CPU, fast.

>>> import numpy as np, fastbptt
>>> model = fastbptt.RNN(input_size=32, hidden_size=64, output_size=1, seed=0)
>>> adam = fastbptt.Adam(lr=0.01)
>>> x = np.random.default_rng(0).normal(size=(5, 10, 32))
>>> loss = model.train_step(x, [1, 0, 1, 0, 1], adam)
"""

from __future__ import annotations

from ._interrupt import DeferredInterrupt

with DeferredInterrupt() as _importing:  # NumPy would call it a broken installation
    import importlib
    import sys
    from typing import TYPE_CHECKING, Any, Final, NamedTuple

    if sys.version_info < (3, 12):  # later ones refuse what does not support it; here it would hang
        import _xxsubinterpreters as _all

        if _all.get_current() != _all.get_main():
            raise ImportError("fastbptt does not support subinterpreters: use threads or processes")

    from . import _check, _core, optim
    from ._errors import ArgumentError, ArgumentTypeError
    from ._losses import Loss, Losses
    from ._views import Gradients
    from .models import (
        GRU,
        LSTM,
        RNN,
        Constraints,
        ForwardResult,
        GradientRecord,
        LeakyRNN,
        Recurrent,
        StepReport,
    )
    from .optim import *  # noqa: F403

    if "threadpoolctl" in sys.modules:
        from . import _threadpools  # noqa: F401  registers the core's threads
if _importing.asked:
    raise KeyboardInterrupt

if TYPE_CHECKING:
    from . import datasets, diagnostics, interchange, plot, reference, training
    from .config import show_config
    from .diagnostics import Diagnosis, GradientMonitor, diagnose
    from .models import initializers
    from .models.restoring import load, load_optimizer
    from .optim import schedules
    from .preprocessing import Imputer, Standardizer
    from .reporting import report
    from .training import (
        METRICS,
        Callback,
        History,
        evaluate,
        find_lr,
        fit,
        fit_many,
        predict,
        probabilities,
    )

#: The version.
__version__: str = _core.version

__all__ = [
    "GRU",
    "LSTM",
    "METRICS",
    "RNN",
    "ArgumentError",
    "ArgumentTypeError",
    "Backend",
    "Callback",
    "Constraints",
    "Diagnosis",
    "ForwardResult",
    "GradientMonitor",
    "GradientRecord",
    "Gradients",
    "History",
    "Imputer",
    "LeakyRNN",
    "Loss",
    "Losses",
    "Recurrent",
    "Standardizer",
    "StepReport",
    "__version__",
    "backends",
    "cells",
    "datasets",
    "diagnose",
    "diagnostics",
    "evaluate",
    "find_lr",
    "fit",
    "fit_many",
    "get_num_threads",
    "initializers",
    "interchange",
    "load",
    "load_optimizer",
    "losses",
    "plot",
    "predict",
    "probabilities",
    "reference",
    "report",
    "schedules",
    "set_num_threads",
    "show_config",
    "training",
]
__all__ += optim.__all__


class Backend(NamedTuple):
    """One instruction set: its name, what it is, and whether this machine can run it."""

    name: str
    description: str
    usable: bool


def backends() -> list[Backend]:
    """List the instruction sets this build has kernels for, best first.

    The first usable one is taken, unless the environment variable ``FASTBPTT_ISA`` names
    another when `fastbptt` is imported.

    Examples
    --------
    >>> import fastbptt
    >>> any(backend.usable for backend in fastbptt.backends())
    True
    """
    return [Backend(*one) for one in _core.backends()]


def losses() -> list[str]:
    """List the names of losses that `Loss` and every argument `loss` know.

    Examples
    --------
    >>> import fastbptt
    >>> "bce" in fastbptt.losses()
    True
    """
    return _core.losses()


def cells() -> list[str]:
    """List the names of cells that `Recurrent` knows.

    Examples
    --------
    >>> import fastbptt
    >>> "lstm" in fastbptt.cells()
    True
    """
    return _core.cells()


def set_num_threads(n: int) -> None:
    """Set how many threads one call may use. It changes the time taken, never a result.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError, TypeError
        If `n` is no such number.

    Examples
    --------
    >>> import fastbptt
    >>> before = fastbptt.get_num_threads()
    >>> fastbptt.set_num_threads(1)
    >>> fastbptt.get_num_threads()
    1
    >>> fastbptt.set_num_threads(before)
    """
    count = _check.size("n", n)
    if count > _core.most_threads:
        raise ArgumentError("n", f"is {count}", f"at most {_core.most_threads} threads")
    _core.set_num_threads(count)


def get_num_threads() -> int:
    """Return how many threads one call may use."""
    return _core.get_num_threads()


#: Names that are imported when they are first used, and the modules that define them.
_LAZY: Final = {
    "datasets": ".datasets",
    "diagnostics": ".diagnostics",
    "initializers": ".models.initializers",
    "interchange": ".interchange",
    "plot": ".plot",
    "reference": ".reference",
    "schedules": ".optim.schedules",
    "sklearn": ".sklearn",
    "training": ".training",
    "Diagnosis": ".diagnostics",
    "GradientMonitor": ".diagnostics",
    "diagnose": ".diagnostics",
    "METRICS": ".training",
    "Callback": ".training",
    "History": ".training",
    "evaluate": ".training",
    "find_lr": ".training",
    "fit": ".training",
    "fit_many": ".training",
    "predict": ".training",
    "probabilities": ".training",
    "Imputer": ".preprocessing",
    "Standardizer": ".preprocessing",
    "report": ".reporting",
    "load": ".models.restoring",
    "load_optimizer": ".models.restoring",
    "show_config": ".config",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name], __name__)
    return module if module.__name__.rpartition(".")[2] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
