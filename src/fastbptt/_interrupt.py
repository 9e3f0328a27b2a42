"""Ctrl-C where it must wait: until an update is complete, until the package is imported."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, raised between updates."""


class DeferredInterrupt:
    """Defers Ctrl-C in a block until `check`.

    A second Ctrl-C is raised at once. Outside the main thread, or if the program has its own
    handler, signals are left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raise a deferred Ctrl-C."""
        if self.asked:
            raise Interrupted
