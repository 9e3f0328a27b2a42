"""Ctrl-C during training: deferred until an update is complete."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, raised between updates."""


class DeferredInterrupt:
    """Defers Ctrl-C during training until the current update is complete.

    A second Ctrl-C is raised at once. Outside the main thread, or if the program has its own
    handler, signals are left alone.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> None:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def check(self) -> None:
        """Raise a deferred Ctrl-C."""
        if self._asked:
            raise Interrupted
