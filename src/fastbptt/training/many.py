"""`fit_many`: many models of one architecture, in parallel, each trained as `fit` trains it."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import sys
import threading
import time
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cache
from typing import Any, Final, cast

import numpy as np

from .. import _check, _core
from .._check import I64
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._interrupt import DeferredInterrupt
from .._losses import CustomLoss, Losses
from ..models import saving
from ..models.recurrent import Recurrent
from ..optim.optimizers import OPTIMIZERS, Adam, Optimizer
from ..optim.schedules import SCHEDULES
from . import checkpoints, code, progress
from .batches import Computed, Rows
from .callbacks import Callback
from .evaluation import check_model, check_objective, loss_of
from .finished_models import Ending, FinishedModels
from .history import History
from .holdout import divided
from .labelled import LabelledData
from .loop import fit
from .many_fits import ManyFits, OneFit
from .missing import check_missing
from .one_of_many import OneOfMany, StopRequest
from .stream import is_stream

#: Arguments of `fit` that say which data there are, and how they are read.
_DATA: Final = (
    "x", "y", "loss", "steps", "reduction", "lengths", "sample_weight", "warmup", "static",
    "resets", "missing",
)  # fmt: skip
#: Those with a value for each sequence.
_OF_SEQUENCES: Final = ("x", "y", "lengths", "sample_weight", "static", "resets")
#: What has a length, but no value for each model in an order that is meant.
_NO_LISTS: Final = (str, bytes, Mapping, Set)
#: Arguments of `fit` that are judged together: what is wrong with one may be due to another.
_TOGETHER: Final = (
    (*_DATA, "validation", "class_weight", "metrics", "bptt_steps"),
    ("monitor", "patience", "min_delta", "restore_best", "validation", "metrics",
     "training_metrics", "loss"),
)  # fmt: skip
#: Those that hold code of the caller's, which may raise anything.
_CODE: Final = ("loss", "optimizer", "schedule", "metrics", "augment", "callbacks")
#: What people call the learning rate, an argument of the optimiser.
_RATES: Final = ("lr", "learning_rate", "learning_rate_init")
_MOST: Final = 1 << 22  # characters of what each model has of an argument, in a fingerprint
_MODELS: Final = 1 << 40  # of one call, at most
_PATIENCE: Final = 3.0  # seconds for functions of the caller's after a second Ctrl-C
_TICK: Final = 0.05  # seconds between looks at the workers
_LONG: Final = 0.005  # seconds after which a model is no small one
_CORE: Final = 0.2  # of a model's seconds: if the core has less, one thread is as fast as two


def fit_many(
    models: Sequence[Recurrent] | Callable[[int], Recurrent],
    x: Any = None,
    y: Any = None,
    *,
    count: int | None = None,
    names: Sequence[str] | None = None,
    rows: Sequence[Any] | None = None,
    validation_rows: Sequence[Any] | None = None,
    each: Mapping[str, Sequence[Any]] | None = None,
    jobs: int | None = None,
    on_error: str = "raise",
    keep: str = "models",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float | str | None = None,
    resume: bool = False,
    verbose: int | None = None,
    **arguments: Any,
) -> ManyFits:
    """Train many models of one architecture, in parallel, each as `fit` trains it alone.

    Every number of a model equals, bit for bit, that of ``fit(model, x, y, ...)`` with the same
    arguments; with `rows` that of ``fit(model, x[rows[k]], y[rows[k]], ...)``.

    Parameters
    ----------
    models : sequence of Recurrent, or function
        Trained in place. Or ``make(k)``, which returns model k, from 0 to `count` - 1, just before
        it is trained; it is called in several threads. If it raises, that model has failed.
    x, y
        As for `fit`: the data of all models. No iterators. None if `each` has them.
    count : int, optional
        The number of models, if `models` is a function.
    names : sequence of str, optional
        Names of the models, for the table and for messages.
    rows : sequence of integer arrays, optional
        The sequences of `x` that each model is trained on, with all that belongs to them (`y`,
        `lengths`, `sample_weight`, `static`, `resets`). The same one may occur several times.
    validation_rows : sequence of integer arrays, optional
        Sequences of `x` for the validation of each model, none of them in its `rows`.
    each : mapping of str -> sequence, optional
        Arguments of `fit` with a value for each model: ``{"seed": range(10)}``. Data of their own
        too: ``"x"``, ``"y"``, ``"lengths"``, ``"validation"``, and so on.
    jobs : int, optional
        How many processors train models at a time, each one model, or several small ones with
        batches of few sequences, which share its vectors. Default: `get_num_threads`. It changes
        no result.
    on_error : {"raise", "report"}
        "raise": where a model fails, because it diverges or its data are bad, the others stop
        after their current update, and the error names the model. "report": the others go on, and
        the error is in the results. A wrong argument of all models is always raised.
    keep : {"models", "histories", "table"}
        The part of the results that stays in memory, if `models` is a function: all of it; not
        the models; only the numbers of the table.
    checkpoint : str or path-like, optional
        A folder that gets the models that are finished, in one file. Created if it does not
        exist.
    checkpoint_every : float or "epoch", optional
        Seconds between checkpoints of each model in training, for those that train for long.
        Default: one that is not finished starts anew.
    resume : bool, default False
        Resume a run with the same arguments from `checkpoint`, if there is one in it. Models must
        be as they were at its beginning. Except for seconds, the results are the same, bit for
        bit, as without the interruption, even if it was killed. Metrics and callbacks may be
        corrected; of other functions code, defaults and enclosed values must be the same.
    verbose : {None, 0, 1, 2}
        As for `fit`: one bar for all models, or a line for each model or for some: how many are
        finished, how many of these a checkpoint had already (several share a line), and the number
        and the results of the last one.
    **arguments
        Those of `fit` that all models have in common. An optimiser is copied for each model, and
        not changed; it must be new.

    Returns
    -------
    fastbptt.training.ManyFits
        The results of all models, in their order.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the expectation, and the model if it is about one.
    OSError
        If `checkpoint` cannot be written. What was finished before is in there.

    Notes
    -----
    Functions among the arguments, such as metrics and `augment`, are called in several threads.

    Ctrl-C in the main thread stops all models after their current update, a second Ctrl-C within
    it; functions of yours that are running are waited for. `fit_many` then returns as usual, with
    ``stopped == "interrupted"``; so have the models that were not finished, with the weights that
    they had then. Those that a function `models` was not asked for yet have ``model`` None. If a
    function of yours does not return, a further Ctrl-C, three seconds after the second or later,
    raises KeyboardInterrupt, and leaves it behind in its thread.

    Examples
    --------
    Three penalties, each on five folds:

    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(200, 10, 1))
    >>> y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    >>> folds = np.split(np.random.default_rng(0).permutation(200), 5)
    >>> others = [np.setdiff1d(np.arange(200), fold) for fold in folds]
    >>> grid = [(l1, fold) for l1 in (None, 1e-4, 1e-2) for fold in range(5)]
    >>> fits = fastbptt.fit_many(
    ...     lambda k: fastbptt.GRU(1, 4, 1, seed=0), x, y, count=len(grid),
    ...     rows=[others[fold] for _, fold in grid],
    ...     validation_rows=[folds[fold] for _, fold in grid],
    ...     each={"l1": [l1 and {"W_hh": l1} for l1, _ in grid]},
    ...     optimizer=fastbptt.AdamW(0.02), epochs=10, metrics="accuracy", verbose=0,
    ... )
    >>> table = fits.table()
    >>> table["l1[W_hh]"][::5]
    array([0.    , 0.0001, 0.01  ])
    >>> means = table["validation_accuracy"].reshape(3, 5).mean(axis=1)  # over the folds
    >>> bool(means.max() > 0.8)
    True
    """
    models = _listed(models)
    wanted = _check_models(models, count)
    _check.option("on_error", on_error, ("raise", "report"))
    _check.option("keep", keep, ("models", "histories", "table"))
    if keep != "models" and not callable(models):
        raise ArgumentError(
            "keep", f'is "{keep}"', '"models" because models is a sequence, which keeps them anyway'
        )
    display = progress.check(verbose)
    resume = _check.flag("resume", resume)
    _check_common(arguments, each)
    columns = _columns(each, wanted)
    named = _names(names, wanted)
    folder = None if checkpoint is None else checkpoints.place(checkpoint)
    if jobs is None:
        jobs = _core.get_num_threads()
    jobs = min(_check.size("jobs", jobs), wanted)
    if folder is None:
        for name, value in (("resume", resume), ("checkpoint_every", checkpoint_every)):
            if value is not False and value is not None:
                raise ArgumentError(
                    name,
                    f"is {_check.quoted(value)}, but checkpoint is None",
                    "a folder as checkpoint",
                )
    _check_data(x, y, columns)
    if rows is not None:
        for name in _OF_SEQUENCES:
            if name in columns:
                what = f"is given, and each[{name!r}] too"
                raise ArgumentError("rows", what, f"one of them: rows are those of {name}")
        _check_counts(x, {"y": y, **arguments})

    started = time.perf_counter()
    unmade: dict[int, Exception] = {}
    first = _first(models, wanted, named, unmade if on_error == "report" else None)
    common = dict(arguments)
    own_rows = _all_rows("rows", rows, wanted, x)
    held_rows = _all_rows("validation_rows", validation_rows, wanted, x)
    _check_rows(own_rows, held_rows, common, columns)
    run = _Run(models, first, unmade, wanted, named, x, y, common, columns, own_rows, held_rows)
    run.on_error, run.keep, run.checkpoint_every = on_error, keep, checkpoint_every
    run.resume = resume
    try:
        if folder is not None:
            run.store = FinishedModels(folder, run.fingerprint(), resume)
        run.train(jobs, display)
    finally:
        if run.store is not None:
            run.store.close(run.has_begun())
    return ManyFits(
        cast("list[OneFit]", run.results),
        run.given(),
        frozenset(run.larger),
        "interrupted" if run.stop.asked else "finished",
        time.perf_counter() - started,
    )


# ---------------------------------------------------------------- arguments


@cache
def _defaults() -> dict[str, Any]:
    """The arguments of `fit` that may be common to all models or differ, and their defaults."""
    own = ("model", "x", "y", "verbose", "checkpoint", "checkpoint_every", "resume")
    other = (*own, "steps_per_epoch", "comm")
    found = inspect.signature(fit).parameters.items()
    return {name: one.default for name, one in found if name not in other}


def _listed(models: Any) -> Any:
    """Take the models out of an iterator, which yields them once, or a Series, by position."""
    if isinstance(models, Recurrent | list | tuple | str | bytes | Mapping) or callable(models):
        return models
    several = isinstance(models, Iterator) or hasattr(models, "__getitem__")
    return list(models) if several else models


def _check_models(models: Any, count: Any) -> int:
    """Return the number of models; check those of a sequence against the first one."""
    if isinstance(models, Recurrent):
        raise ArgumentTypeError(
            "models", f"is one {type(models).__name__}", "a list of models, or fastbptt.fit for one"
        )
    if callable(models):
        if count is None:
            raise ArgumentTypeError(
                "count", "is None", "the number of models because models is a function"
            )
        number = _check.size("count", count)
        if number > _MODELS:
            raise ArgumentError("count", f"is {_check.shown(count)}", f"at most {_MODELS}")
        return number
    if not hasattr(models, "__getitem__") or isinstance(models, str | bytes | Mapping):
        raise ArgumentTypeError(
            "models",
            f"is of type {type(models).__name__}",
            "a list of models, or a function make(k)",
        )
    every = list(models)
    if count is not None:
        raise ArgumentError(
            "count", f"is {_check.shown(count)}", "None because models is a sequence"
        )
    if not every:
        raise ArgumentError("models", "is empty", "at least one model")
    places: dict[int, int] = {}
    for i, model in enumerate(every):
        _check_alike(every[0], model, i)
        before = places.setdefault(id(model), i)
        if before != i:
            raise ArgumentError(
                "models", f"is the same model as models[{before}]", "another one", item=i
            )
    return len(every)


def _check_alike(first: Any, model: Any, number: int) -> None:
    """Refuse a model of another architecture."""
    try:
        check_model(model)
    except TypeError:
        raise ArgumentTypeError(
            "models", f"is of type {type(model).__name__}", "a fastbptt model", item=number
        ) from None
    _check_architecture(_architecture(first), model, f"models[{number}]", "models[0]")


def _check_architecture(wanted: dict[str, Any], model: Recurrent, label: str, other: str) -> None:
    own = _architecture(model)
    if own == wanted:
        return
    differ = [name for name in wanted | own if own.get(name) != wanted.get(name)]
    came, expected = (", ".join(f"{n}={side.get(n)!r}" for n in differ) for side in (own, wanted))
    raise ArgumentError(
        label,
        f"has {came}",
        f"{expected} as {other} has: models of one architecture; call fit_many once for each "
        "architecture",
    )


def _architecture(model: Recurrent) -> dict[str, Any]:
    config = model._config()
    return {"cell": config["cell"], "dtype": config["dtype"], **config["arguments"]}


def _made(models: Any, number: int) -> Recurrent:
    if not callable(models):
        return cast("Recurrent", models[number])
    return cast("Recurrent", models(number))


def _made_in_thread(models: Any, number: int) -> Recurrent | BaseException:
    """Make a model where no handler of signals can raise within it; return its error, if any."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(_made(models, number))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call, name="fit_many", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK)
    return cast("Recurrent | BaseException", found[0])


def _first(
    models: Any, count: int, names: list[str] | None, unmade: dict[int, Exception] | None
) -> Recurrent:
    """Make the first model that can be made, with which others are compared.

    unmade: gets the errors of those before; None: they are raised.
    """
    for number in range(count):
        made = _made_in_thread(models, number)
        if not isinstance(made, BaseException):
            return made
        if not isinstance(made, Exception):
            raise made
        if unmade is None:
            unmade = {number: made}
            break
        unmade[number] = made
    assert unmade
    number, error = next(iter(unmade.items()))
    about = _about(error, _labelled(number, names))
    raise about from (None if about is error else error)


def _labelled(number: int, names: list[str] | None) -> str:
    return f"model {number}" if names is None else f"model {number}, {names[number]!r}"


def _check_common(arguments: Mapping[str, Any], each: Any) -> None:
    """Check the names of the arguments of `fit`."""
    if each is not None and not isinstance(each, Mapping):
        raise ArgumentTypeError(
            "each", f"is of type {type(each).__name__}", 'a mapping such as {"seed": range(10)}'
        )
    for name in (*arguments, *(each or ())):
        if name == "comm":
            raise ArgumentError(
                name,
                "is given",
                "no comm: fit_many trains each model by one thread; for several processes give "
                "each its own models, or call fit(comm=) for each model",
            )
    for name in arguments:
        if name in ("steps_per_epoch",):
            raise ArgumentError(name, "is given", "x of all sequences, which is no iterator")
        if name not in _defaults():
            known = ", ".join(_defaults())
            if name in _RATES:
                known = f"optimizer=fastbptt.Adam({arguments[name]!r}) for a learning rate"
            else:
                known = f"its own, or those of fit: {known}"
            raise TypeError(f"fit_many has no argument {name!r}; expected {known}")
    if arguments.get("callbacks"):
        raise ArgumentError(
            "callbacks",
            "is given",
            'each={"callbacks": [..]} with a list for each model: one callback for several models '
            "would mix them up",
        )
    for name in each or ():
        if name not in _defaults() and name not in ("x", "y"):
            known = f"arguments of fit: {', '.join(('x', 'y', *_defaults()))}"
            if name in _RATES:
                known = '"optimizer": [fastbptt.Adam(lr) for lr in rates] for learning rates'
            raise ArgumentError("each", f"has {_check.quoted(name)}", known)
        if name in arguments:
            raise ArgumentError(name, f"is given, and each[{name!r}] too", "one of them")
    optimizer = arguments.get("optimizer")
    if isinstance(optimizer, Optimizer) and optimizer.step_count:
        raise ArgumentError(
            "optimizer",
            f"has made {optimizer.step_count} updates",
            "a new one, of which every model gets a copy",
        )


def _columns(each: Mapping[str, Any] | None, count: int) -> dict[str, list[Any]]:
    """Return the values of `each`, as lists."""
    found = {}
    for name, values in (each or {}).items():
        label = f"each[{name!r}]"
        if isinstance(values, _NO_LISTS) or not hasattr(values, "__len__"):
            raise ArgumentTypeError(
                label,
                f"is of type {type(values).__name__}",
                f"a sequence of {count}, for each model",
            )
        if len(values) != count:
            raise ArgumentError(label, f"has {len(values)} values", f"{count}, one for each model")
        flat = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object
        found[name] = values.tolist() if flat else list(values)
    seen: dict[int, int] = {}
    for k, value in enumerate(found.get("callbacks", ())):
        for one in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(one, Callback):
                continue  # `fit` refuses it
            if seen.setdefault(id(one), k) != k:
                raise ArgumentError(
                    "each['callbacks']",
                    f"is that of model {seen[id(one)]} too",
                    "a callback for each model",
                    item=k,
                )
    for k, value in enumerate(found.get("optimizer", ())):
        if isinstance(value, Optimizer) and value.step_count:
            raise ArgumentError(
                "each['optimizer']",
                f"has made {value.step_count} updates",
                "a new one, of which the model gets a copy",
                item=k,
            )
    return found


def _names(names: Any, count: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, _NO_LISTS) or not hasattr(names, "__len__"):
        raise ArgumentTypeError("names", f"is {_check.shown(names)}", f"a list of {count} texts")
    found = list(names)
    if len(found) != count:
        raise ArgumentError("names", f"has {len(found)} names", f"{count}, one for each model")
    for k, name in enumerate(found):
        if not isinstance(name, str):
            raise ArgumentTypeError("names", f"is {_check.shown(name)}", "text", item=k)
    if len(set(found)) < count:
        k = next(k for k, name in enumerate(found) if found.index(name) < k)
        raise ArgumentError(
            "names", f"is {found[k]!r}, as names[{found.index(found[k])}] is", "another one", item=k
        )
    return [str(name) for name in found]


def _check_data(x: Any, y: Any, columns: Mapping[str, Any]) -> None:
    """Check that there are x and y, once each, and no iterators."""
    for name, value in (("x", x), ("y", y)):
        if name in columns and value is not None:
            raise ArgumentError(name, f"is given, and each[{name!r}] too", "one of them")
        if name not in columns and value is None:
            raise ArgumentTypeError(
                name, "is None", f"data of all models, or each={{{name!r}: [..]}}"
            )
    every = columns.get("x", [x])
    for k, one in enumerate(every):
        if is_stream(one):
            label = f"each['x'][{k}]" if "x" in columns else "x"
            raise ArgumentTypeError(label, "is an iterator", "all sequences; fit takes iterators")


def _check_counts(x: Any, given: Mapping[str, Any]) -> None:
    """Refuse arguments that have no value for each sequence, of which rows could be taken."""
    if not hasattr(x, "__len__"):
        raise ArgumentTypeError("x", f"is of type {type(x).__name__}", "sequences, as fit takes")
    for name in _OF_SEQUENCES[1:]:
        value = given.get(name)
        blocks = value.items() if isinstance(value, Mapping) else [(None, value)]
        for block, one in blocks:
            if one is None or hasattr(one, "columns"):  # fit refuses a frame
                continue
            label = name if block is None else f'{name}["{block}"]'
            count = _count(one)
            if count is None:
                expected = f"a value for each of the {len(x)} sequences of x"
                raise ArgumentTypeError(label, f"is {_check.shown(one)}", expected)
            if count != len(x):
                raise ArgumentError(label, f"has {count} sequences", f"{len(x)}, as x has")


def _count(value: Any) -> int | None:
    """Return the length of a list or array; None of anything else."""
    try:
        return None if isinstance(value, _NO_LISTS) else len(value)
    except TypeError:
        return None


def _all_rows(name: str, rows: Any, count: int, x: Any) -> list[Rows] | None:
    """Check the rows of each model."""
    if rows is None:
        return None
    if isinstance(rows, _NO_LISTS) or not hasattr(rows, "__len__"):
        raise ArgumentTypeError(
            name, f"is of type {type(rows).__name__}", f"a list of {count} integer arrays"
        )
    if len(rows) != count:
        raise ArgumentError(name, f"has {len(rows)} arrays", f"{count}, one for each model")
    most = len(x) if x is not None else 0
    found = []
    for k, one in enumerate(rows):
        try:
            array = np.asarray(one)
        except _check.REFUSALS as error:
            came = f"is of type {type(one).__name__}, which NumPy cannot read as an array"
            raise ArgumentTypeError(name, came, "one dimension of integers", item=k) from error
        if np.ma.is_masked(one):
            masked = "has masked numbers"
            raise ArgumentError(name, masked, "those of the sequences to take", item=k)
        if array.dtype == np.bool_:
            raise ArgumentTypeError(
                name,
                "is a mask (dtype bool)",
                "numbers of sequences: numpy.flatnonzero(mask)",
                item=k,
            )
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            came = f"has shape {array.shape} and dtype {array.dtype}"
            raise ArgumentTypeError(name, came, "one dimension of integers", item=k)
        if not array.size:
            raise ArgumentError(name, "is empty", "at least one sequence", item=k)
        if array.min() < 0 or array.max() >= most:
            bad = int(array.min() if array.min() < 0 else array.max())
            raise ArgumentError(name, f"holds {bad}", f"0 to {most - 1}", item=k, value=bad)
        found.append(np.ascontiguousarray(array, I64))
    return found


def _check_rows(
    rows: list[Rows] | None,
    held: list[Rows] | None,
    common: Mapping[str, Any],
    columns: Mapping[str, Any],
) -> None:
    """Refuse rows that contradict each other, or other arguments."""
    if held is not None and rows is None:
        raise ArgumentError(
            "validation_rows", "is given, but rows is None", "the rows to train on as well"
        )
    if rows is None or held is None:
        return
    if common.get("validation") is not None or "validation" in columns:
        raise ArgumentError("validation_rows", "is given beside validation", "one of them")
    for k, (one, other) in enumerate(zip(rows, held, strict=True)):
        both = np.intersect1d(one, other)
        if both.size:
            raise ArgumentError(
                "validation_rows",
                f"holds {both[0]}, which rows[{k}] holds too",
                "other sequences than those of training",
                item=k,
                value=int(both[0]),
            )


def _some(value: Any, rows: Rows) -> Any:
    """Take some sequences of an argument, in any of the ways in which `fit` takes it."""
    if value is None or hasattr(value, "columns"):  # fit refuses a frame
        return value
    if isinstance(value, Mapping):
        return {name: _some(one, rows) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [value[i] for i in rows.tolist()]
    return np.asanyarray(value)[rows]  # with its mask, which fit refuses


# ---------------------------------------------------------------- the run


class _Interrupts(DeferredInterrupt):
    """Notes Ctrl-C, and never raises it: threads may not be left behind."""

    def __init__(self) -> None:
        super().__init__()
        self._second: float | None = None  # when it came again
        self.given_up = False  # it came once more, long after that

    @property
    def again(self) -> bool:
        return self._second is not None

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        now = time.perf_counter()
        if self._second is not None:
            self.given_up = now - self._second >= _PATIENCE
        elif self.asked:
            self._second = now
        self.asked = True


class _GivenUpError(Exception):
    """Threads that do not end are left behind."""


class _WholeRun:
    """Where the whole run stands, as `progress` shows it of a run of `fit`."""

    def __init__(self, models: int, epochs: int) -> None:
        self.epochs, self.steps_per_epoch = models, epochs
        self.step = self.epoch = 0
        self.history: Any = self
        self.stopped: str | None = None
        self.values: dict[str, Any] = {}

    def __len__(self) -> int:
        return self.epoch

    def last(self) -> dict[str, Any]:
        """Return the numbers of all, then the model that was finished last, and its numbers."""
        return self.values


def _has_gil() -> bool:
    """Whether one thread at a time runs Python."""
    return cast("bool", getattr(sys, "_is_gil_enabled", lambda: True)())


class _Pace:
    """Keeps all threads but one back while models are mostly Python, which one at a time can run.

    Two would only take it from each other, at a price. Before the first model is finished nothing
    is known, so they wait; but never while a model takes longer than `_LONG`.
    """

    def __init__(self) -> None:
        self._several = threading.Event()  # whether several threads pay
        self._ended = False
        self._last = time.perf_counter()  # when a model was finished
        if not _has_gil():
            self._several.set()

    def wait(self, stop: StopRequest) -> None:
        """Return once another thread pays."""
        while not self._several.wait(_LONG) and not stop.asked:
            if time.perf_counter() - self._last > _LONG:
                return

    def note(self, own: OneOfMany, seconds: float) -> None:
        """Heed a model that has taken so many seconds of a processor."""
        in_core = seconds if own.steps is None else own.steps.seconds
        if in_core >= _CORE * seconds or self._ended or not _has_gil():
            self._several.set()
        else:
            self._several.clear()
        self._last = time.perf_counter()

    def end(self) -> None:
        """Let all threads come to their ends."""
        self._ended = True
        self._several.set()


class _Run:
    """One call of `fit_many`, its own arguments checked."""

    def __init__(
        self,
        models: Any,
        first: Recurrent,
        unmade: dict[int, Exception],
        count: int,
        names: list[str] | None,
        x: Any,
        y: Any,
        common: dict[str, Any],
        columns: dict[str, list[Any]],
        rows: list[Rows] | None,
        held: list[Rows] | None,
    ) -> None:
        self.models, self.count, self.names = models, count, names
        self.unmade, self.first_number = unmade, len(unmade)  # those before it
        _check_alike(first, first, self.first_number)
        self.first: Recurrent | None = first
        self.architecture, self.frozen = _architecture(first), first.frozen
        self.x, self.y, self.common, self.columns = x, y, common, columns
        self.rows, self.held = rows, held
        self.on_error, self.keep = "raise", "models"
        self.begun = False  # whether a model that has ended had begun
        self.checkpoint_every: Any = None
        self.resume = False
        self.store: FinishedModels | None = None
        self.stop = StopRequest()
        self.results: list[OneFit | None] = [None] * count
        self.larger: set[str] = set()
        self._running: dict[int, OneOfMany] = {}
        self._finished: deque[int] = deque()
        self._restored: set[int] = set()  # from a checkpoint, not trained
        self._failures: dict[int, BaseException] = {}
        self._seen: weakref.WeakValueDictionary[int, Recurrent] = weakref.WeakValueDictionary()
        self._seen_lock = threading.Lock()
        self.data: LabelledData | None = None
        self._validation = common.pop("validation", None)
        self._share()
        if self.data is None:
            self._check_inputs()

    def _check_inputs(self) -> None:
        """Refuse inputs of all models that no model can take, where only targets are their own."""
        assert self.first is not None
        given: dict[str, Any] = {name: self.common.get(name) for name in ("lengths", "static")}
        own = not self.columns.keys().isdisjoint(("x", *given))
        if own or isinstance(self.x, Computed) or not hasattr(self.x, "__len__"):
            return
        y, nothing = np.zeros(len(self.x)), CustomLoss(lambda outputs, *_: (0.0, outputs))
        data = LabelledData(self.first, self.x, y, nothing, "last", "mean", **given)
        data.check_contents(self._every_row())

    def _every_row(self) -> Rows | None:
        """Return all sequences that are used; None: all that there are."""
        if self.rows is None:
            return None
        return np.unique(np.concatenate([*self.rows, *(self.held or ())]))

    def _share(self) -> None:
        """Read and check the data that all models share, once."""
        assert self.first is not None
        if any(name in self.columns for name in _DATA):
            return
        given: dict[str, Any] = {
            name: self.common.get(name, _defaults().get(name)) for name in _DATA if name not in "xy"
        }
        check_objective(given["loss"], given["steps"], given["reduction"])
        loss = loss_of(given["loss"])
        if isinstance(loss, CustomLoss):  # it may have a state
            return
        check_missing(given["missing"], loss)
        if self.rows is not None and (loss is None or isinstance(loss, Losses)):
            return  # what follows from all sequences could be another for some of them
        first = _check.size("warmup", given["warmup"], 0)
        data = LabelledData(
            self.first, self.x, self.y, loss, given["steps"], given["reduction"],
            given["lengths"], given["sample_weight"], warmup=first, static=given["static"],
            resets=given["resets"], missing=given["missing"],
        )  # fmt: skip
        if self.rows is not None and (  # as above
            data.weights is not None
            or data.lengths is not None
            or isinstance(data.items, list)
            or isinstance(data.targets, list)
            or "class_weight" in self.columns
            or self.common.get("class_weight") is not None
            or "validation" in self.columns
            or not isinstance(self._validation, tuple | list | None)
        ):
            return
        data.check_contents(self._every_row())
        data.check_digits()
        if isinstance(self._validation, tuple | list):
            _, held, _ = divided(data, self._validation, 0)
            assert held is not None
            held.check_contents()
            held.note_digits(5)
            self._validation = held
        self.data = data

    # ------------------------------------------------------------ one model

    def _model(self, number: int) -> Recurrent:
        """Return a model of the run, made when its turn has come."""
        if not callable(self.models):
            return cast("Recurrent", self.models[number])
        if number in self.unmade:
            raise self.unmade[number]
        model = None
        if number == self.first_number:
            model, self.first = self.first, None
        if model is None:
            model = _made(self.models, number)
        if not isinstance(model, Recurrent):
            raise ArgumentTypeError(
                f"models({number})", f"is of type {type(model).__name__}", "a fastbptt model"
            )
        other = f"models({self.first_number})"
        _check_architecture(self.architecture, model, f"models({number})", other)
        with self._seen_lock:
            if self._seen.get(id(model)) is model:
                raise ArgumentError(
                    f"models({number})", "is a model that it returned before", "a new one"
                )
            self._seen[id(model)] = model
        return model

    def _arguments(self, number: int) -> dict[str, Any]:
        """Return the arguments of a model's `fit`, besides its data."""
        found = self.common | {name: values[number] for name, values in self.columns.items()}
        found.pop("x", None)
        found.pop("y", None)
        optimizer = found.get("optimizer")
        if isinstance(optimizer, Optimizer):
            found["optimizer"] = optimizer.copy()
        if "validation" not in found and self._validation is not None:
            found["validation"] = self._validation
        return found

    def _one(self, number: int) -> tuple[OneOfMany, dict[str, Any]]:
        """Return the data and the arguments of a model's `fit`."""
        found = self._arguments(number)
        rows = None if self.rows is None else self.rows[number]
        held = None if self.held is None else self.held[number]
        if self.data is not None:
            for name in _DATA:  # `data` has them; fit still checks what it is told of the loss
                if name not in ("loss", "steps", "reduction", "missing", "warmup"):
                    found.pop(name, None)
            if held is not None:
                found["validation"] = held
            return OneOfMany(self.stop, data=self.data, rows=rows), found
        x = self.columns["x"][number] if "x" in self.columns else self.x
        y = self.columns["y"][number] if "y" in self.columns else self.y
        if rows is None:
            return OneOfMany(self.stop, x, y), found
        every = {"x": x, "y": y} | {n: found[n] for n in _OF_SEQUENCES if n in found}
        if held is not None:
            there = {name: _some(value, held) for name, value in every.items()}
            validation = [there.get(n) for n in ("x", "y", "lengths", "sample_weight")]
            last = there.get("static")
            if last is None:
                last = there.get("resets")
            found["validation"] = (*validation, last) if last is not None else tuple(validation)
        some = {name: _some(value, rows) for name, value in every.items()}
        x, y = some.pop("x"), some.pop("y")
        return OneOfMany(self.stop, x, y), found | some

    def has_begun(self) -> bool:
        """Whether any model has, also one whose thread is left behind."""
        return self.begun or any(one.begun for one in list(self._running.values()))

    def _train(self, number: int, crew: _core.TrainingCrew | None) -> None:
        """Train a model, or restore it if it is finished."""
        start, used = time.perf_counter(), time.thread_time()
        error: str | None = None
        try:
            model = self._model(number)
            if self.store is not None:
                saving.json_text(model.metadata)
        except KeyboardInterrupt:  # as from a callback
            self.stop.asked = True
            return
        except Exception as raised:
            error = self._reported(raised, number, own=True)
            seconds = time.perf_counter() - start
            self._note(None, Ending(number, "", History().to_dict(), 0, [], seconds, error))
            return
        initial = ""
        if self.store is not None:
            initial = _digest_of(model)
            stored = self.store.restore(number, model, initial, self.on_error == "report")
            if stored is not None:
                self._restored.add(number)
                self._note(model, stored)
                return
        start = time.perf_counter()
        own, found = self._one(number)
        own.crew = crew
        self._running[number] = own
        if self.store is not None and self.checkpoint_every is not None:
            found["checkpoint"] = self.store.checkpoint_of(number)
            found["checkpoint_every"], found["resume"] = self.checkpoint_every, self.resume
            own.identity = self.store.identity(number, initial)
        interrupted = False
        try:
            fit(model, cast("Any", own), None, verbose=0, **found)
        except KeyboardInterrupt:  # as from a callback at the end
            interrupted = True
        except Exception as raised:
            fault = model.frozen != self.frozen or self._is_its_own(raised, own)
            error = self._reported(raised, number, fault)
        finally:
            if own.begun:
                self.begun = True
        history = History() if own.run is None else own.run.history
        kept = error is None or self.on_error == "report"
        try:  # refuses what a callback has spoilt
            history = History.from_dict(history.to_dict())
            if self.store is not None:
                saving.json_text(model.metadata)
        except Exception as raised:
            error, history = self._reported(raised, number, own=True), History()
            kept = False  # it cannot be written
        epoch = len(history)
        if own.settings is not None:
            early = own.settings.early_stopping
            if error is None and early is not None and early.keep and early.best_epoch:
                epoch = early.best_epoch
        record = Ending(
            number,
            initial,
            history.to_dict(),
            epoch,
            _larger(own),
            time.perf_counter() - start,
            error,
        )
        self._pace.note(own, time.thread_time() - used)
        if interrupted or history.stopped == "interrupted":
            self.stop.asked = True  # also if a callback has raised it
        elif self.store is not None and kept:
            self.store.add(model, record)
        self._note(model, record, history)

    def _note(
        self, model: Recurrent | None, record: Ending, history: History | None = None
    ) -> None:
        """Keep a model's result."""
        name = None if self.names is None else self.names[record.number]
        if history is None:
            history = History.from_dict(record.history)
        result = OneFit(
            record.number, name, model, history, record.epoch, record.seconds, record.error
        )
        if self.keep != "models":
            result.model = None
        if self.keep == "table":
            result.history = None
        self.larger.update(record.larger)
        self.results[record.number] = result
        self._running.pop(record.number, None)
        self._finished.append(record.number)

    def _reported(self, raised: Exception, number: int, own: bool) -> str:
        """Return what the results say of an error; raise it if they are not to say it.

        own: whether it may be of this model alone.
        """
        of_store = self.store is not None and self.store.is_about_its_files(raised)
        named = raised if of_store else _about(raised, self._label(number))
        if self.on_error == "raise" or not own or of_store:
            raise named from (None if named is raised else raised)
        return _check.one_line(f"{type(named).__name__}: {named}")

    def _is_its_own(self, error: Exception, own: OneOfMany) -> bool:
        """Whether an error may be of this model alone.

        It diverged, or what is its own may have caused the error: data, rows or values of `each`.
        """
        if own.run is not None and own.run.step > 0:
            return True
        of_data = (*_OF_SEQUENCES, "validation", "class_weight")
        own_data = self.rows is not None or not self.columns.keys().isdisjoint(of_data)
        if isinstance(error, BadArgumentError):
            name = error.argument.partition("[")[0]
            if error.source == "validation":
                name = "validation"
            if name in self.columns:
                return True
            for group in _TOGETHER:
                if name in group and not self.columns.keys().isdisjoint(group):
                    return True
            common = (*_defaults(), "checkpoint", "checkpoint_every", "resume")
            return own_data if name in of_data else name not in common
        if own.run is not None and not own.begun:  # of a checkpoint
            return False
        return own_data or not self.columns.keys().isdisjoint(_CODE)

    def _label(self, number: int) -> str:
        return _labelled(number, self.names)

    # ------------------------------------------------------------ all models

    def train(self, jobs: int, display: int | None) -> None:
        """Train all models on so many processors."""
        together = self._together(jobs)
        self._pace = _Pace()
        threads_in_all = min(jobs * together, self.count)
        limit = _core.ThreadLimit(1)
        order: Iterator[int] = iter(range(self.count))
        ended = threading.Event()
        left = itertools.count(1)

        def work(crew: _core.TrainingCrew | None, over: threading.Event, waits: bool) -> None:
            number = -1
            try:
                with limit:
                    while not self.stop.asked:
                        if waits:
                            self._pace.wait(self.stop)
                        if (number := next(order, -1)) < 0:
                            break
                        self._train(number, crew)
            except BaseException as error:
                self._failures[number] = error
                self.stop.asked = True
            finally:
                self._pace.end()
                over.set()
                if next(left) == threads_in_all:
                    ended.set()

        crews = [_core.TrainingCrew() if together > 1 else None for _ in range(jobs)]
        overs = [threading.Event() for _ in range(threads_in_all)]
        threads = [
            threading.Thread(
                target=work,
                args=(crews[i % jobs], over, i > 0 and together == 1),
                name=f"fit_many {i}",
                daemon=True,
            )
            for i, over in enumerate(overs)
        ]
        with _Interrupts() as signals:
            try:
                for thread in threads:
                    thread.start()
                self._attend(ended, signals, limit, display)
            except KeyboardInterrupt:
                self.stop.asked = True
                limit.stop()
            except BaseException:
                self.stop.asked = True
                limit.stop()
                raise
            finally:
                self._join(threads, overs, limit, signals)
        if self._failures:
            raise self._failures[min(self._failures)]
        for number in range(self.count):
            if self.results[number] is None:
                self._note_untrained(number)

    def _join(
        self,
        threads: list[threading.Thread],
        overs: list[threading.Event],
        limit: _core.ThreadLimit,
        signals: _Interrupts,
    ) -> None:
        """Wait until all threads have ended, whatever a program's handler of signals raises.

        Those that are in functions of the caller's for too long are left behind.
        """
        raised: BaseException | None = None
        waiting = True
        while waiting:
            try:
                for thread, over in zip(threads, overs, strict=True):
                    if thread.ident is None:  # it finds that it is to stop
                        continue
                    # an interrupted join takes a thread that runs for ended; one whose start was
                    # interrupted may have died before its first line
                    while not over.wait(_TICK) and thread.is_alive():
                        if signals.given_up:
                            raise _GivenUpError
                    thread.join()
                waiting = False
            except _GivenUpError:
                self.stop.left_behind = True
                raise KeyboardInterrupt from None
            except BaseException as error:
                self.stop.asked = True
                limit.stop()
                if not isinstance(error, KeyboardInterrupt):
                    raised = error
        if raised is not None:
            raise raised

    def _together(self, jobs: int) -> int:
        """Return how many models a processor trains at a time: those that share its vectors."""
        sizes = self.columns.get("batch_size", [self.common.get("batch_size", 32)])
        if not all(isinstance(size, int | np.integer) and size > 0 for size in sizes):
            return 1  # `fit` says what is wrong
        x = self.columns["x"][0] if "x" in self.columns else self.x
        try:
            rows = len(x) if self.rows is None else len(self.rows[0])
            time = len(x[0])
        except _check.REFUSALS:  # of a frame, say; `fit` says what is wrong
            return 1
        batch = max(1, min(rows, int(min(sizes))))
        assert self.first is not None
        return self.first._engine.networks_together(batch, max(1, time), -(-self.count // jobs))

    def _note_untrained(self, number: int) -> None:
        """Keep the result of a model whose turn never came."""
        name = None if self.names is None else self.names[number]
        model = None if callable(self.models) else self.models[number]
        self.results[number] = OneFit(number, name, model, History(), 0, 0.0, None)
        if self.keep == "table":
            self.results[number].history = None  # type: ignore[union-attr]

    def _attend(
        self,
        ended: threading.Event,
        signals: _Interrupts,
        limit: _core.ThreadLimit,
        display: int | None,
    ) -> None:
        """Show the progress, pass Ctrl-C on and flush what is stored, until all is done."""
        epochs = self.columns.get("epochs", [self.common.get("epochs", _defaults()["epochs"])])
        usual = [one for one in epochs if isinstance(one, int | np.integer)]
        course = _WholeRun(self.count, int(max(usual, default=1)) or 1)
        shown = progress.show(display, cast("Any", course), "finished")
        start = flushed = time.perf_counter()
        failed = 0
        try:
            over = False
            while not over:
                over = ended.wait(_TICK)
                if signals.asked:
                    self.stop.asked = True
                if signals.again:
                    limit.stop()
                if signals.given_up:
                    return  # `_join` has the rest
                now = time.perf_counter()
                while self._finished:
                    result = self.results[self._finished.popleft()]
                    assert result is not None
                    course.epoch += 1
                    failed += result.error is not None
                    course.values = {"seconds": now - start, "failed": failed}
                    if not failed:
                        del course.values["failed"]
                    if self._restored:
                        course.values["restored"] = len(self._restored)
                    course.values["model"] = self._label(result.number).removeprefix("model ")
                    course.values |= {n: v for n, v in result.values.items() if n != "lr"}
                    if result.number not in self._restored or not self._finished:
                        shown.epoch(cast("Any", course))  # of those restored at a time one line
                runs = [one.run for one in list(self._running.values())]
                partial = sum(0 if run is None else len(run.history) for run in runs)
                done = min(course.epoch * course.steps_per_epoch + partial, self._total(course))
                if done > course.step:
                    course.step = done
                    shown.batch(cast("Any", course))
                if self.store is not None and now - flushed > 1.0:
                    self.store.flush()
                    flushed = time.perf_counter()
            course.stopped = "interrupted" if self.stop.asked else "finished"
        finally:
            shown.close()

    def _total(self, course: _WholeRun) -> int:
        return course.epochs * course.steps_per_epoch

    # ------------------------------------------------------------ what is given

    def given(self) -> dict[str, list[Any]]:
        """Return the values of `each` for the table, flat."""
        found: dict[str, list[Any]] = {}
        for name, values in self.columns.items():
            if name in ("x", "y", "validation", "callbacks", "metrics"):
                continue
            if any(isinstance(one, Mapping) for one in values):
                rows = [one if isinstance(one, Mapping) else {} for one in values]
                for key in dict.fromkeys(key for row in rows for key in row):
                    column = [row.get(key, 0.0) for row in rows]
                    if all(isinstance(one, int | float) for one in column):
                        found[f"{name}[{key}]"] = column
            elif all(
                one is None or isinstance(one, int | float | str | bool | np.generic)
                for one in values
            ):
                found[name] = values
            elif name == "optimizer":
                found |= _of_optimizers([_resolved(name, one) for one in values])
            elif name in ("schedule", "loss"):
                found[name] = [
                    one if one is None or isinstance(one, str) else repr(one) for one in values
                ]
        return found

    def fingerprint(self) -> dict[str, str]:
        """Describe all that a resumed run must share, by name; of each model as a list."""
        found = {"models": f"{self.count}", "architecture": json.dumps(self.architecture)}
        if not callable(self.models):
            found["each model"] = _of_each([_digest_of(one) for one in self.models])
        usual = {n: v for n, v in _defaults().items() if n not in self.columns}
        given = {"x": self.x, "y": self.y, **usual, **self.common}
        given["validation"] = self._validation
        if isinstance(self._validation, LabelledData):
            held = self._validation
            given["validation"] = [
                held.items,
                held.targets,
                held.lengths,
                held.marks,
                held.constants,
            ]
        for name in ("optimizer", "schedule"):
            if name in given:
                given[name] = _resolved(name, given[name])
        found |= {name: code.described(value) for name, value in given.items() if value is not None}
        found.pop("memory_budget", None)  # changes no bit
        found["metrics"] = checkpoints.bare(found.get("metrics", ""))  # which may be mended
        own = {"rows": self.rows, "validation_rows": self.held, "names": self.names}
        own |= {
            f"each[{name!r}]": [_resolved(name, value) for value in values]
            for name, values in self.columns.items()
            if name not in ("memory_budget", "metrics")
        }
        return found | {name: _of_each(values) for name, values in own.items() if values}


def _of_optimizers(every: list[Any]) -> dict[str, list[Any]]:
    """Return columns for the table: their kinds, their rates, and settings that differ."""
    kinds = [type(one).__name__ if isinstance(one, Optimizer) else str(one) for one in every]
    found: dict[str, list[Any]] = {"optimizer": kinds}
    for name in dict.fromkeys(name for one in every for name in getattr(one, "_settings", ())):
        values = [getattr(one, name, None) for one in every]
        if name == "lr" or any(one != values[0] for one in values):
            simple = all(one is None or isinstance(one, int | float) for one in values)
            found[f"optimizer[{name}]"] = values if simple else [str(one) for one in values]
    return found


def _larger(own: OneOfMany) -> list[str]:
    """Name the curves of which larger values are better."""
    if own.settings is None:
        return []
    bare = [one.name for one in own.settings.metrics if one.larger_is_better]
    return [*bare, *(f"validation_{name}" for name in bare)]


def _about(error: Exception, label: str) -> Exception:
    """Return an error that names the model that it is about."""
    if isinstance(error, BadArgumentError):
        error.context.append(label)
        return error
    if type(error) in (ValueError, TypeError, MemoryError):
        return type(error)(f"{error} ({label})")
    return RuntimeError(f"{label} failed: {type(error).__name__}: {error}")


def _digest_of(model: Recurrent) -> str:
    """Describe a model as it is: its options, its weights, where its dropout stands."""
    config = {key: value for key, value in model._config().items() if key != "trained_steps"}
    return code.described([json.dumps(config), model._weights.get()])


def _resolved(name: str, value: Any) -> Any:
    """Return what `fit` makes of a name, so that equal runs are described alike."""
    if name == "optimizer":
        if value is None:
            return Adam()
        if isinstance(value, str) and value in OPTIMIZERS:
            return cast("Callable[[], Optimizer]", OPTIMIZERS[value])()
    if name == "schedule" and isinstance(value, str) and value in SCHEDULES:
        return SCHEDULES[value]()
    return value


def _of_each(values: Sequence[Any]) -> str:
    """Describe a value for each model: each of them, or all of very many in one."""
    every = [code.described(one) for one in values]
    text = json.dumps(every)
    if len(text) <= _MOST:
        return text
    return checkpoints.digest([np.frombuffer(one.encode(), np.uint8) for one in every])
