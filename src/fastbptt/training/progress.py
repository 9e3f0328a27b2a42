"""Progress display on standard error: a bar on a terminal, else a line per epoch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .. import _check
from .._errors import ArgumentError

if TYPE_CHECKING:
    from .callbacks import TrainingRun


class Progress:
    """Base class; shows nothing."""

    def batch(self, run: TrainingRun) -> None:
        """Called after a step."""

    def epoch(self, run: TrainingRun) -> None:
        """Called after an epoch."""

    def close(self) -> None:
        """Called at the end, also after an exception."""


class Lines(Progress):
    """A line per epoch."""

    def epoch(self, run: TrainingRun) -> None:
        """Print the epoch's values."""
        width = len(str(run.epochs))
        numbers = "  ".join(
            f"{value:.1f} s" if name == "seconds" else f"{name} {value:.4g}"
            for name, value in run.history.last().items()
        )
        print(f"epoch {run.epoch:>{width}}/{run.epochs}  {numbers}", file=sys.stderr, flush=True)


class Bar(Progress):
    """One bar for all epochs, by tqdm."""

    def __init__(self, run: TrainingRun) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(
            total=run.epochs * run.steps_per_epoch,
            initial=run.step,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
        )
        self._epoch = -1

    def batch(self, run: TrainingRun) -> None:
        """Advance the bar by one step."""
        if run.epoch != self._epoch:
            self._epoch = run.epoch
            self._bar.set_description_str(f"epoch {run.epoch}/{run.epochs}", refresh=False)
        self._bar.update(1)

    def epoch(self, run: TrainingRun) -> None:
        """Show the epoch's values."""
        numbers = {
            name: f"{value:.4g}"
            for name, value in run.history.last().items()
            if name not in ("seconds", "lr")
        }
        self._bar.set_postfix(numbers, refresh=False)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


def show(verbose: Any, run: TrainingRun) -> Progress:
    """Make the display: 0 none, 1 a bar, 2 lines, None a bar if standard error is a terminal."""
    kind = check(verbose)
    if kind is None:
        kind = 1 if sys.stderr is not None and sys.stderr.isatty() else 2
    if kind == 0 or sys.stderr is None:
        return Progress()
    return Bar(run) if kind == 1 else Lines()


def check(verbose: Any) -> int | None:
    """Check `verbose`: None, 0, 1 or 2."""
    if verbose is None or (not isinstance(verbose, bool) and verbose in (0, 1, 2)):
        return None if verbose is None else int(verbose)
    raise ArgumentError("verbose", f"is {_check.quoted(verbose)}", "None, 0, 1 or 2")
