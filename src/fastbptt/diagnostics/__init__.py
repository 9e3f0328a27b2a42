"""Diagnosis: how gradients flow back through time, and where they vanish or explode.

`diagnose` analyses a model with one backward pass, `GradientMonitor` monitors a training run.
"""

from __future__ import annotations

from ._advice import Advice
from .diagnosis import Diagnosis, LayerFlow, OutputFlow, diagnose
from .monitor import GradientMonitor

__all__ = ["Advice", "Diagnosis", "GradientMonitor", "LayerFlow", "OutputFlow", "diagnose"]
