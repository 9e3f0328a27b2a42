"""A backend of joblib that trains all fits of a search or a cross-validation in one call.

scikit-learn hands each pair of a candidate and a fold to joblib as a task that fits and scores. The
backend collects these tasks, trains the networks of as many as it may hold at a time together, and
then runs the tasks as they are: their `fit` takes over what has been trained, so that splitting,
metadata routing, scoring and errors are scikit-learn's own.
"""

from __future__ import annotations

import inspect
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from joblib.parallel import ParallelBackendBase, register_parallel_backend
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from .. import _core
from ..training import History
from ._base import RecurrentEstimator
from ._joint_fits import Trained, Training, train_groups

__all__ = ["TogetherBackend"]

_FITS: Final = ("_fit_and_score", "_fit_and_predict")  # scikit-learn's tasks
_DISPATCHED: Final = 1024  # tasks at a time, at most
_BYTES: Final = 1 << 28  # of the data of networks that are trained together


class TogetherBackend(ParallelBackendBase):
    """The backend ``"fastbptt"``; its `n_jobs` are the networks that are trained at a time."""

    default_n_jobs = -1
    supports_sharedmem = True
    uses_threads = True

    def configure(
        self, n_jobs: int | None = 1, parallel: Any = None, prefer: Any = None, **options: Any
    ) -> int:
        """Begin a call of `joblib.Parallel`; return the number of tasks that it may hand over."""
        self.parallel = parallel
        every = _core.get_num_threads()
        self._jobs = every if n_jobs is None else n_jobs
        if self._jobs < 0:
            self._jobs = max(every + 1 + self._jobs, 1)
        self._waiting: deque[_Task] = deque()
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks are collected, not how many networks are trained at a time."""
        if n_jobs == 0:
            raise ValueError("n_jobs is 0; expected a number of at least 1, None, or -1 for all")
        return _DISPATCHED

    def submit(self, func: Any, callback: Any = None) -> _Task:
        """Keep a task until its result is asked for."""
        task = _Task(self, func, callback)
        self._waiting.append(task)
        return task

    apply_async = submit  # its name before joblib 1.4

    def train(self) -> None:
        """Train the networks of the tasks that are next."""
        found: list[_Task] = []
        size = 0
        config = get_config()  # of this thread
        with ThreadPoolExecutor(self._jobs) as pool:
            while self._waiting and (size < _BYTES or len(found) < self._jobs):
                several = [
                    self._waiting.popleft() for _ in range(min(len(self._waiting), self._jobs))
                ]
                list(pool.map(lambda one: one.prepare(config), several))
                found += [one for one in several if one.prepared is not None]
                size += sum(one.nbytes for task in several for one in task.trainings)
        results = train_groups([task.trainings for task in found], self._jobs)
        for task, fits in zip(found, results, strict=True):
            if fits is not None:  # else an error, which comes again where the task is run
                task.take_over(fits)


class _Task:
    """A task of `joblib.Parallel`: here, one fit and its scores."""

    def __init__(self, backend: TogetherBackend, func: Any, callback: Any) -> None:
        self._backend, self._func, self._callback = backend, func, callback
        self.ready = False
        self.seconds = 0.0  # of its training
        self.estimator: Any = None
        self.prepared: Any = None  # a copy that has read its data; None: run it as it is
        self.trainings: list[Training] = []

    def prepare(self, config: dict[str, Any]) -> None:
        """Read the data of a fit, if it is one of ours."""
        self.ready = True
        items: Any = getattr(self._func, "items", ())
        if len(items) != 1:
            return
        wrapper, args, kwargs = items[0]
        function = getattr(wrapper, "function", wrapper)
        if getattr(function, "__name__", "") not in _FITS:
            return
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        self.estimator, context = given["estimator"], given.get("callback_ctx")
        if not isinstance(self.estimator, RecurrentEstimator):
            return
        if getattr(self.estimator, "_skl_callbacks", None) or getattr(context, "_callbacks", None):
            return  # they are called as training goes on
        try:
            with config_context(**config):
                made = clone(self.estimator)
                made.set_params(**clone(given.get("parameters") or {}, safe=False))
                X, y, train = given["X"], given["y"], given["train"]
                params = _check_method_params(X, given.get("fit_params") or {}, train)
                data = [one for one in _safe_split(made, X, y, train) if one is not None]
                made._check_all_arguments()
                self.trainings = made._prepare(*data, **params)
                self.prepared = made
        except Exception:
            return  # the same one is raised where the task is run, as scikit-learn wants it

    def take_over(self, fits: list[tuple[History, float]]) -> None:
        """Let the task's own `fit` find that it has been trained."""
        counts = [len(one.x) for one in self.trainings]
        self.seconds = sum(seconds for _, seconds in fits)
        histories = [history for history, _ in fits]
        self.estimator._ahead = Trained(dict(vars(self.prepared)), counts, histories)
        self.prepared, self.trainings = None, []  # their data are not needed any more

    def get(self) -> Any:
        """Run the task; return its result."""
        if not self.ready:
            self._backend.train()
        found = self._func()
        for one in found:
            if self.seconds and isinstance(one, dict) and "fit_time" in one:
                one["fit_time"] += self.seconds
        if self._callback is not None:
            self._callback(found)
        return found


register_parallel_backend("fastbptt", TogetherBackend)
