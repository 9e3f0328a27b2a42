"""Diagnosis: how gradients flow back through time, and where states go.

`diagnose` analyses a model with one backward pass, `GradientMonitor` monitors a training run.
`step_jacobian` and `fixed_points` look at a model as a dynamical system. They are names of this
package, ``fastbptt.diagnostics.fixed_points``: ``fastbptt.diagnose`` is a function.
"""

from __future__ import annotations

from ._advice import Advice
from .diagnosis import Diagnosis, LayerFlow, OutputFlow, diagnose
from .fixed_points import FixedPoints, fixed_points
from .jacobians import step_jacobian
from .monitor import GradientMonitor

__all__ = [
    "Advice",
    "Diagnosis",
    "FixedPoints",
    "GradientMonitor",
    "LayerFlow",
    "OutputFlow",
    "diagnose",
    "fixed_points",
    "step_jacobian",
]
