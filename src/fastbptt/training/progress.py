"""Progress display: a bar in terminals and notebooks, lines elsewhere."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from .. import _check
from .._errors import ArgumentError
from .._streams import Lossy

if TYPE_CHECKING:
    from .callbacks import TrainingRun

_LINES: Final = 20  # at most, of a run whose output is read later
_SILENCE: Final = 60.0  # seconds, after which it gets another one
_BAR: Final = 10  # columns that the numbers leave to the bar


class Progress:
    """Base class; shows nothing."""

    def batch(self, run: TrainingRun) -> None:
        """Called after one or more steps."""

    def epoch(self, run: TrainingRun) -> None:
        """Called after an epoch."""

    def close(self) -> None:
        """Called at the end, also after an exception."""


class Lines(Progress):
    """A line for each epoch, or for a few: the first, some ever further apart, the last.

    Of those that take long, one about every minute.

    Parameters
    ----------
    stream : text file
    most : int, optional
        The number of lines, without those of every minute; None: one per epoch.
    unit : str
        The name of an epoch.
    """

    def __init__(self, stream: TextIO, most: int | None = None, unit: str = "epoch") -> None:
        self._stream = stream
        self._unit = unit
        self._most = most
        self._next = 0  # the first epoch to print
        self._last = time.monotonic()  # when one was printed
        self._run: TrainingRun | None = None  # of an epoch that is not printed yet

    def epoch(self, run: TrainingRun) -> None:
        """Print the epoch's values, or keep them for the end."""
        waits = self._most is not None and run.epoch < min(self._next, run.epochs)
        if waits and time.monotonic() - self._last < _SILENCE:
            self._run = run
            return
        self._print(run)
        if self._most is not None and run.epochs > self._most and not waits:
            # most - 2 steps of this ratio lead from the first epoch to the last
            ratio = run.epochs ** (1 / (self._most - 2))
            self._next = max(run.epoch + 1, int(run.epoch * ratio))

    def _print(self, run: TrainingRun) -> None:
        self._run = None
        self._last = time.monotonic()
        width = len(str(run.epochs))
        numbers = "  ".join(_entry(name, value) for name, value in run.history.last().items())
        epoch = f"{self._unit} {len(run.history):>{width}}/{run.epochs}"
        print(f"{epoch}  {numbers}", file=self._stream, flush=True)

    def close(self) -> None:
        """Print the last epoch, if it has not been printed."""
        if self._run is not None:
            self._print(self._run)


class Bar(Progress):
    """One bar for all epochs, by tqdm: the epoch, the bar, the times, then the numbers that fit.

    Parameters
    ----------
    run : TrainingRun
    stream : text file
        A terminal's, or in a notebook without ipywidgets standard output.
    widget : bool, default False
        Draw the bar of a notebook.
    unit : str
        The name of an epoch.
    """

    def __init__(
        self, run: TrainingRun, stream: TextIO, widget: bool = False, unit: str = "epoch"
    ) -> None:
        if widget:
            # before tqdm does: it leaves half a bar behind, which fails again when it is freed
            importlib.import_module("ipywidgets")
            display: Any = importlib.import_module("IPython.display").display
            from tqdm.notebook import tqdm
        else:
            from tqdm import tqdm

        self._run = run
        self._stream = stream
        self._widget = widget
        self._unit = unit
        self._bar: Any = tqdm(
            total=run.epochs * run.steps_per_epoch,
            initial=run.step,
            unit="step",
            file=stream,
            ncols=None if widget else self._columns(),
            bar_format="{desc} |{bar}| {elapsed}<{remaining}{postfix}",
            **{"display": False} if widget else {},
        )
        if widget:
            self._shown: Any = display(self._bar.container, display_id=True)
        self._epoch = -1

    def _columns(self) -> int:
        """Width of the terminal, less the last column: some begin a new line after it."""
        try:
            width = os.get_terminal_size(self._stream.fileno()).columns
        except (AttributeError, OSError, ValueError):
            width = shutil.get_terminal_size().columns
        return max(width, 20) - 1

    def batch(self, run: TrainingRun) -> None:
        """Advance the bar to the last step."""
        if run.epoch != self._epoch:
            self._epoch = run.epoch
            place = f"{self._unit} {run.epoch}/{run.epochs}"
            self._bar.set_description_str(place, refresh=False)
        self._bar.update(run.step - self._bar.n)

    def epoch(self, run: TrainingRun) -> None:
        """Show the epoch's values, the losses first, as many as fit."""
        values = run.history.last()
        names = [name for name in values if name not in ("seconds", "lr")]
        names.sort(key=lambda name: name not in ("failed", "model", "loss", "validation_loss"))
        width = None
        if not self._widget:
            self._bar.ncols = self._columns()
            # beside "epoch 10/20 |", the bar and "| 00:10<00:10"
            width = self._bar.ncols - len(f"{self._unit} {run.epochs}/{run.epochs} |") - _BAR - 13
        shown = ""
        for name in names:
            longer = f"{shown}, {_entry(name, values[name])}"
            if width is not None and len(longer) > width:
                break
            shown = longer
        self._bar.set_postfix_str(shown.removeprefix(", "), refresh=False)

    def close(self) -> None:
        """Close the bar."""
        self._bar.refresh()
        if self._widget and self._run.history.stopped not in (None, "interrupted"):
            self._bar.total = self._bar.n  # else a bar that ends early is red
        self._bar.close()
        if self._widget:  # its text, which a notebook keeps where widgets are not drawn
            self._shown.update(self._bar.container)


def _entry(name: str, value: float | str) -> str:
    if name == "seconds":
        return f"{value:.1f} s"
    return f"{name} {value}" if isinstance(value, int | str) else f"{name} {value:.4g}"


def _in_notebook() -> bool:
    """Whether an IPython kernel, the part behind a notebook, runs this process."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def show(verbose: Any, run: TrainingRun, unit: str = "epoch") -> Progress:
    """Make the display: 0 none, 1 a bar, 2 a line per epoch.

    None: a bar in a terminal or a notebook, else about 20 lines, or one a minute. unit: the name
    of an epoch.
    """
    kind = check(verbose)
    notebook = _in_notebook()
    # a notebook shows standard error as if it were an error
    stream = sys.stdout if notebook else sys.stderr
    if kind == 0 or stream is None:
        return Progress()
    stream = cast("TextIO", Lossy(stream))
    if kind == 2:
        return Lines(stream, unit=unit)
    if notebook:
        try:
            return Bar(run, stream, widget=True, unit=unit)
        except ImportError:  # without ipywidgets
            return Bar(run, stream, unit=unit)
    return (
        Bar(run, stream, unit=unit) if kind == 1 or stream.isatty() else Lines(stream, _LINES, unit)
    )


def check(verbose: Any) -> int | None:
    """Check `verbose`: None, 0, 1 or 2."""
    if verbose is None or (not isinstance(verbose, bool) and verbose in (0, 1, 2)):
        return None if verbose is None else int(verbose)
    raise ArgumentError("verbose", f"is {_check.quoted(verbose)}", "None, 0, 1 or 2")
