"""See the gradient: what flows back through time, and where it dies.

`diagnose` looks into a model with one backward pass, `GradientMonitor` watches a training run.
"""

from __future__ import annotations

from .diagnosis import Diagnosis, LayerFlow, OutputFlow, diagnose

__all__ = ["Diagnosis", "LayerFlow", "OutputFlow", "diagnose"]
