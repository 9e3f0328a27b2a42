"""Recurrent networks: the classes, their options, their parameters and what their calls return."""

from __future__ import annotations

from .cells import GRU, LSTM, MODELS, RNN, LeakyRNN, Recurrent
from .constraints import Constraints
from .results import ForwardResult, GradientRecord, StepReport

__all__ = [
    "GRU",
    "LSTM",
    "MODELS",
    "RNN",
    "Constraints",
    "ForwardResult",
    "GradientRecord",
    "LeakyRNN",
    "Recurrent",
    "StepReport",
]
