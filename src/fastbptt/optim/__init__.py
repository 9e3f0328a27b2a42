"""Optimisers, and learning-rate schedules for `fastbptt.fit`."""

from __future__ import annotations

from . import optimizers
from .optimizers import *  # noqa: F403

__all__: list[str] = []
__all__ += optimizers.__all__
