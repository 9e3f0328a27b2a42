"""See the gradient: what flows back through time, and where it dies.

`diagnose` looks into a model with one backward pass, `GradientMonitor` watches a training run.
"""

from __future__ import annotations

from ._advice import Advice
from .diagnosis import Diagnosis, LayerFlow, OutputFlow, diagnose
from .monitor import GradientMonitor

__all__ = ["Advice", "Diagnosis", "GradientMonitor", "LayerFlow", "OutputFlow", "diagnose"]
