"""The results of `fit_many`."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError
from .._html import table as html_table
from .._html import tag
from ..models.recurrent import Recurrent
from .history import History

_SHOWN = 20  # models in a notebook
_COLUMNS = ("model", "name", "trained_epochs", "stopped", "best_epoch", "seconds", "error")


class OneFit:
    """The result of one model of `fastbptt.fit_many`.

    Attributes
    ----------
    number : int
        The model's, from 0.
    name : str or None
        As given by `names`.
    model : Recurrent or None
        None if it was not kept.
    history : History or None
        None if it was not kept.
    epochs : int
        The number of epochs.
    stopped : str
        As in `History`, or ``"error"``.
    best_epoch : int or None
        As in `History`.
    values : dict of str -> float
        Losses and metrics at the epoch whose weights the model has: the best one if `fit` restored
        these, else the last.
    seconds : float
    error : str or None
        Why training failed.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(64, 5, 1))
    >>> models = [fastbptt.RNN(1, 4, 1, seed=k) for k in range(3)]
    >>> fits = fastbptt.fit_many(models, x, x[:, -1] > 0, epochs=2, verbose=0)
    >>> fits[2].number, fits[2].epochs, fits[2].stopped, fits[2].model is models[2]
    (2, 2, 'epochs', True)
    """

    def __init__(
        self,
        number: int,
        name: str | None,
        model: Recurrent | None,
        history: History,
        epoch: int,
        seconds: float,
        error: str | None,
    ) -> None:
        self.number, self.name, self.model = number, name, model
        self.history: History | None = history
        self.epochs, self.best_epoch = len(history), history.best_epoch
        self.stopped = "error" if error is not None else history.stopped or "interrupted"
        self.values = {
            name: curve[epoch - 1] for name, curve in history.curves.items() if name != "seconds"
        } if epoch else {}  # fmt: skip
        self.seconds, self.error = seconds, error

    def __repr__(self) -> str:
        named = "" if self.name is None else f" {self.name!r}"
        if self.error is not None:
            return f"OneFit(model {self.number}{named}: failed: {self.error})"
        shown = [n for n in self.values if n != "lr"]
        shown.sort(key=lambda name: name not in ("loss", "validation_loss"))
        numbers = "".join(f", {name} {self.values[name]:.4g}" for name in shown[:2])
        ending = f"{self.epochs} epochs{numbers}, stopped: {self.stopped}"
        return f"OneFit(model {self.number}{named}: {ending})"


class ManyFits(Sequence[OneFit]):
    """The results of `fastbptt.fit_many`, one for each model, in their order: a sequence.

    ``fits[3]`` is the result of model 3, and ``fits["north"]`` that of the model of this name.

    Attributes
    ----------
    stopped : str
        ``"interrupted"`` if Ctrl-C has ended the run, else ``"finished"``.
    seconds : float
        Of the whole run.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(64, 5, 1))
    >>> models = [fastbptt.RNN(1, 4, 1, seed=k) for k in range(3)]
    >>> fits = fastbptt.fit_many(
    ...     models, x, x[:, -1] > 0, each={"l1": [None, {"W_hh": 0.1}, {"W_hh": 0.2}]},
    ...     epochs=2, verbose=0,
    ... )
    >>> len(fits), fits.stopped, fits.failed
    (3, 'finished', [])
    >>> table = fits.table()
    >>> table["l1[W_hh]"], table["trained_epochs"]
    (array([0. , 0.1, 0.2]), array([2, 2, 2]))
    >>> bool(fits.best("loss").number == table["loss"].argmin())
    True
    """

    def __init__(
        self,
        fits: Sequence[OneFit],
        given: Mapping[str, Sequence[Any]],
        larger: frozenset[str],
        stopped: str,
        seconds: float,
    ) -> None:
        self._fits = list(fits)
        self._given = {name: list(values) for name, values in given.items()}
        self._larger = larger
        self.stopped, self.seconds = stopped, seconds

    def __len__(self) -> int:
        return len(self._fits)

    @overload
    def __getitem__(self, index: int | str) -> OneFit: ...
    @overload
    def __getitem__(self, index: slice) -> list[OneFit]: ...
    def __getitem__(self, index: Any) -> Any:
        """Return the result of a model by its number or name, or those of some as a list."""
        if not isinstance(index, str):
            try:
                return self._fits[index]
            except IndexError:
                count = len(self)
                message = f"there is no model {index}; expected {-count} to {count - 1}"
                raise IndexError(message) from None
        names = [one.name for one in self._fits]
        if index in names:
            return self._fits[names.index(index)]
        close = difflib.get_close_matches(index, [name for name in names if name is not None], 3)
        expected = f"such as {', '.join(map(repr, close))}" if close else "one of `names`"
        if names.count(None) == len(names):
            expected = "numbers, since fit_many was called without names="
        raise KeyError(f"no model is called {index!r}; expected {expected}")

    @property
    def models(self) -> list[Recurrent | None]:
        """The models; None where one was not kept."""
        return [one.model for one in self._fits]

    @property
    def histories(self) -> list[History | None]:
        """The histories; None where one was not kept."""
        return [one.history for one in self._fits]

    @property
    def failed(self) -> list[OneFit]:
        """The results of the models that failed."""
        return [one for one in self._fits if one.error is not None]

    @property
    def _curves(self) -> list[str]:
        """The names of all losses and metrics."""
        found = dict.fromkeys(name for one in self._fits for name in one.values)
        return [name for name in found if name != "lr"]

    def table(self) -> dict[str, NDArray[Any]]:
        """Return the results as columns, which ``pandas.DataFrame`` takes.

        Returns
        -------
        dict of str -> array of shape (models,)
            ``model``, the number; ``name`` if there are names; what `each` gave, if it is numbers,
            texts or optimisers, of mappings each entry, such as ``l1[W_hh]`` (beside a result of
            the same name as ``given loss``), of optimisers the kind, ``optimizer[lr]`` and what
            differs; ``trained_epochs``; ``stopped``; ``best_epoch``, 0 for
            none; the losses and metrics of `OneFit.values`, NaN where there are none; ``seconds``;
            ``error``, None for none.
        """
        fits, curves = self._fits, self._curves
        columns: dict[str, NDArray[Any]] = {"model": np.arange(len(fits))}
        if any(one.name is not None for one in fits):
            columns["name"] = _objects([one.name for one in fits])
        for name, values in self._given.items():
            taken = name in _COLUMNS or name in curves
            columns[f"given {name}" if taken else name] = _column(values)
        columns["trained_epochs"] = np.array([one.epochs for one in fits], np.int64)
        columns["stopped"] = _objects([one.stopped for one in fits])
        columns["best_epoch"] = np.array([one.best_epoch or 0 for one in fits], np.int64)
        for name in curves:
            columns[name] = np.array([one.values.get(name, math.nan) for one in fits])
        columns["seconds"] = np.array([one.seconds for one in fits])
        columns["error"] = _objects([one.error for one in fits])
        return columns

    def best(self, curve: str | None = None, largest: bool | None = None) -> OneFit:
        """Return the result of the best model by a loss or metric.

        Parameters
        ----------
        curve : str, optional
            A column of the table. Default: ``"validation_loss"`` if there is one, else ``"loss"``.
        largest : bool, optional
            Whether the largest value is the best. Default: as `fit` has it of this metric.

        Raises
        ------
        ValueError, TypeError
            If there is no such curve, or no model has a value of it that is not NaN.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> x = np.random.default_rng(0).normal(size=(64, 5, 1))
        >>> fits = fastbptt.fit_many(
        ...     lambda k: fastbptt.RNN(1, 4, 1, seed=k), x, x[:, -1] > 0, count=4, epochs=2,
        ...     metrics="accuracy", verbose=0,
        ... )
        >>> best = fits.best("accuracy")
        >>> bool(best.values["accuracy"] == fits.table()["accuracy"].max())
        True
        """
        curves = self._curves
        if curve is None:
            curve = "validation_loss" if "validation_loss" in curves else "loss"
        _check.option("curve", curve, curves)
        if largest is None:
            largest = curve in self._larger
        _check.flag("largest", largest)
        sign = -1.0 if largest else 1.0
        found = [one for one in self._fits if not math.isnan(one.values.get(curve, math.nan))]
        found = [one for one in found if one.error is None]
        if not found:
            raise ArgumentError("curve", f'is "{curve}"', "one of which some model has a value")
        return min(found, key=lambda one: sign * one.values[curve])

    def __repr__(self) -> str:
        counts = Counter(one.stopped for one in self._fits)
        ended = ", ".join(
            f"{'failed' if kind == 'error' else kind} {count:,}" for kind, count in counts.items()
        )
        lines = [f"ManyFits of {len(self):,} models in {self.seconds:.1f} s ({ended})"]
        curves = self._curves
        for name in curves[:8]:
            found = np.array([one.values.get(name, math.nan) for one in self._fits])
            known = found[~np.isnan(found)]
            if len(known):
                lines.append(
                    f"  {name[:30]:<30} {known.min():.4g} to {known.max():.4g}, "
                    f"median {np.median(known):.4g}"
                )
        if len(curves) > 8:
            lines.append(f"  and {len(curves) - 8} more curves in table()")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the first rows of the table in a notebook."""
        columns = self.table()
        rows = [
            [_cell(column[i]) for column in columns.values()] for i in range(min(len(self), _SHOWN))
        ]
        more = f"; the first {_SHOWN}:" if len(self) > _SHOWN else ""
        head = f"{len(self):,} models in {self.seconds:.1f} s, {self.stopped}{more}"
        return tag("div", tag("p", head), html_table(rows, list(columns)))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Make an array of numbers, or of whatever there is."""
    if all(type(one) is int for one in values) or all(type(one) is bool for one in values):
        found = np.array(values)
        return found if found.dtype != object else _objects(values)
    if all(type(one) in (int, float) for one in values):
        return np.array(values, np.float64)
    return _objects(values)
