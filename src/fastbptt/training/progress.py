"""How training shows on standard error: a bar on a terminal, else a line per epoch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .. import _check

if TYPE_CHECKING:
    from .callbacks import TrainingRun


class Progress:
    """Shows nothing; what the others are derived from."""

    def batch(self, run: TrainingRun) -> None:
        """After a step."""

    def epoch(self, run: TrainingRun) -> None:
        """After an epoch."""

    def close(self) -> None:
        """At the end, whatever happened."""


class Lines(Progress):
    """A line per epoch."""

    def epoch(self, run: TrainingRun) -> None:
        """Print the epoch's numbers."""
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
        """Move on by one."""
        if run.epoch != self._epoch:
            self._epoch = run.epoch
            self._bar.set_description_str(f"epoch {run.epoch}/{run.epochs}", refresh=False)
        self._bar.update(1)

    def epoch(self, run: TrainingRun) -> None:
        """Show the epoch's numbers."""
        numbers = {
            name: f"{value:.4g}"
            for name, value in run.history.last().items()
            if name not in ("seconds", "lr")
        }
        self._bar.set_postfix(numbers, refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def show(verbose: Any, run: TrainingRun) -> Progress:
    """Choose: None by what standard error is, 0 nothing, 1 a bar, 2 lines."""
    kind = check(verbose)
    if kind is None:
        kind = 1 if sys.stderr is not None and sys.stderr.isatty() else 2
    if kind == 0 or sys.stderr is None:
        return Progress()
    return Bar(run) if kind == 1 else Lines()


def check(verbose: Any) -> int | None:
    """Refuse another number than 0, 1, 2."""
    if verbose is None or (not isinstance(verbose, bool) and verbose in (0, 1, 2)):
        return None if verbose is None else int(verbose)
    raise ValueError(f"verbose is {_check.quoted(verbose)}; expected None, 0, 1 or 2")
