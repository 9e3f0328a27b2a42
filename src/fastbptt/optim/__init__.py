"""Optimisers, and learning-rate schedules for `fastbptt.fit`."""

from __future__ import annotations

from .optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RMSprop

__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]
