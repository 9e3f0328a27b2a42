"""Training history: the loss and metrics of each epoch."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from typing import TYPE_CHECKING, Any

from .. import _check
from .._errors import ArgumentError
from .._html import sparkline, table, tag
from ..files import damage
from ..files.atomic import write_whole

if TYPE_CHECKING:
    from typing_extensions import Self


class History:
    """Curves of a training run, one value per epoch.

    Attributes
    ----------
    epoch : list of int
        1, 2, ... for each completed epoch.
    curves : dict of str -> list of float
        ``"loss"``: mean of the batch losses, each computed before its update.
        ``"validation_loss"``, the metrics by name, and those of the validation data as
        ``"validation_" + name``: computed after the epoch. ``"lr"``: the optimiser's learning
        rate at the last step. ``"seconds"``: the duration.
    best_epoch : int or None
        The epoch with the best monitored value; None if no curve was monitored.
    stopped : str or None
        Why the run ended: ``"epochs"``, ``"early stopping"``, ``"interrupted"`` (Ctrl-C) or
        ``"callback"``; None before its end.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(64, 5, 1))
    >>> model = fastbptt.RNN(1, 8, 1, seed=0)
    >>> history = fastbptt.fit(model, x, x[:, -1] > 0, epochs=3, verbose=0)
    >>> history.epoch, len(history["loss"]), history.stopped
    ([1, 2, 3], 3, 'epochs')
    >>> history["loss"][2] < history["loss"][0]
    True
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.curves: dict[str, list[float]] = {}
        self.best_epoch: int | None = None
        self.stopped: str | None = None

    def __getitem__(self, name: str) -> list[float]:
        try:
            return self.curves[name]
        except KeyError:
            known = ", ".join(self.curves) or "none yet"
            raise KeyError(f"{str(name)!r} is not a curve; there are {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.curves

    def __len__(self) -> int:
        return len(self.epoch)

    __iter__ = None  # names or epochs? `curves` and `epoch` say which

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return repr(self.to_dict()) == repr(other.to_dict())  # nan equals nan here

    __hash__ = None  # type: ignore[assignment]

    def add(self, values: dict[str, float]) -> None:
        """Append the values of an epoch."""
        self.epoch.append(len(self.epoch) + 1)
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))

    def last(self) -> dict[str, float]:
        """Return the values of the last epoch by name."""
        return {name: curve[-1] for name, curve in self.curves.items() if curve}

    def to_dict(self) -> dict[str, Any]:
        """Return all contents as plain values.

        Examples
        --------
        >>> import fastbptt
        >>> fastbptt.History().to_dict()
        {'epoch': [], 'curves': {}, 'best_epoch': None, 'stopped': None}
        """
        return {
            "epoch": list(self.epoch),
            "curves": {name: list(curve) for name, curve in self.curves.items()},
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make a history from the result of `to_dict`."""
        history = cls()
        history.restore(values)
        return history

    def restore(self, values: dict[str, Any]) -> None:
        """Restore the state that `to_dict` returned."""
        _check.same_names("values", values, ("epoch", "curves", "best_epoch", "stopped"))
        epochs = [int(number) for number in values["epoch"]]
        curves = {}
        for name, curve in values["curves"].items():
            curves[name] = [math.nan if one is None else float(one) for one in curve]
            if len(curve) != len(epochs):
                raise ValueError(
                    f"values['curves'][{name!r}] has {len(curve)} numbers; expected "
                    f"{len(epochs)}, one per epoch"
                )
        for number, epoch in zip(values["epoch"], epochs, strict=True):
            if epoch < 1 or (not isinstance(number, str) and epoch != number):
                came = _check.shown(number)
                raise ValueError(f"values['epoch'] holds {came}; expected 1, 2, ...")
        best, stopped = values["best_epoch"], values["stopped"]
        if best is not None and (type(best) is not int or best not in epochs):
            came = _check.shown(best)
            raise ValueError(f"values['best_epoch'] is {came}; expected one of the epochs")
        if stopped is not None and not isinstance(stopped, str):
            raise ValueError(f"values['stopped'] is {_check.shown(stopped)}; expected text")
        self.epoch, self.curves = epochs, curves
        self.best_epoch, self.stopped = values["best_epoch"], values["stopped"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history to a file.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.json``: all of it. Or in ``.csv``: a line of names, then one per epoch;
            `best_epoch` and `stopped` are not in there.

        Raises
        ------
        ValueError
            If the path ends otherwise.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile, fastbptt
        >>> path = os.path.join(tempfile.mkdtemp(), "history.json")
        >>> fastbptt.History().save(path)
        >>> fastbptt.History.load(path) == fastbptt.History()
        True
        """
        if _kind(path) == "json":
            curves = {name: [_plain(one) for one in c] for name, c in self.curves.items()}
            text = json.dumps({**self.to_dict(), "curves": curves}, indent=1) + "\n"
        else:
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["epoch", *self.curves])
            for i, epoch in enumerate(self.epoch):
                writer.writerow([epoch, *(repr(curve[i]) for curve in self.curves.values())])
            text = file.getvalue()
        write_whole(path, text.encode("utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` wrote, ``.json`` or ``.csv``.

        Raises
        ------
        ValueError
            If the file holds no history.
        OSError
            If it cannot be read.
        """
        kind, name = _kind(path), _check.file_path(path)
        with open(name, "rb") as file:
            content = file.read()
        try:
            text = content.decode("utf-8")
            if kind == "json":
                return cls.from_dict(json.loads(text))
            head, *lines = csv.reader(io.StringIO(text))
            if head[:1] != ["epoch"]:
                raise ValueError(f"the first column is {head[:1]}; expected epoch")
            columns = list(zip(*lines, strict=True)) if lines else [()] * len(head)
            curves = dict(zip(head[1:], columns[1:], strict=True))
            return cls.from_dict(
                {"epoch": columns[0], "curves": curves, "best_epoch": None, "stopped": None}
            )
        except (*damage.OF_VALUES, csv.Error) as error:
            raise ValueError(
                f"cannot read {name!r} as a history: {_check.one_line(error)}"
            ) from None

    def __repr__(self) -> str:
        if not self.epoch:
            return "History(no epochs)"
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in self.last().items())
        ended = "" if self.stopped is None else f"; stopped: {self.stopped}"
        best = "" if self.best_epoch is None else f", best epoch {self.best_epoch}"
        return f"History(epoch {self.epoch[-1]}: {numbers}{best}{ended})"

    def _repr_html_(self) -> str:
        """Show the curves in a notebook."""
        if not self.epoch:
            return tag("p", "History: no epochs")
        rows = [
            (name, sparkline(curve), *(f"{value:.4g}" for value in _extremes(curve)))
            for name, curve in self.curves.items()
        ]
        ended = "" if self.stopped is None else f"; stopped by: {self.stopped}"
        best = "" if self.best_epoch is None else f"; best epoch: {self.best_epoch}"
        count = len(self.epoch)
        return tag(
            "div",
            tag("p", f"History of {count:,} epoch{'s' * (count > 1)}{best}{ended}"),
            table(rows, ("", "", "first", "lowest", "highest", "last")),
        )


def _extremes(curve: list[float]) -> tuple[float, float, float, float]:
    """Return the first, lowest, highest and last value; nan does not count if there are others."""
    known = [value for value in curve if not math.isnan(value)] or curve
    return curve[0], min(known), max(known), curve[-1]


def _plain(value: float) -> float | str | None:
    """Return a number as strict JSON can hold it: None for nan, text for the infinities."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else repr(value)


def _kind(path: Any) -> str:
    name = _check.file_path(path)
    for kind in ("json", "csv"):
        if name.lower().endswith(f".{kind}"):
            return kind
    raise ArgumentError("path", f"is {_check.shown(name)}", "a name that ends in .json or .csv")
