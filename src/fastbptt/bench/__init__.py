"""The command ``fastbptt bench``: time of a training step or of a prediction, beside other systems.

Each system (:mod:`fastbptt.bench.systems`) runs in its own process, which sleeps while another one
is measured. All do the work that a :class:`~fastbptt.bench.case.Case` defines: forward, loss,
backpropagation through time, Adam; or the forward pass alone. A loss, gradient or output that
disagrees with :mod:`fastbptt.reference` is an error, and nothing is printed.
"""

from __future__ import annotations

from .case import CHOICES, PRESETS, Case, Problem
from .output import FORMATS, plot, write
from .systems import COMPETITORS
from .timing import DEFAULT_ROUNDS, measure

__all__ = [
    "CHOICES",
    "COMPETITORS",
    "DEFAULT_ROUNDS",
    "FORMATS",
    "PRESETS",
    "Case",
    "Problem",
    "measure",
    "plot",
    "write",
]
