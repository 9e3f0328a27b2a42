"""The command ``fastbptt bench``: one training step, measured beside other systems.

A system (:mod:`fastbptt.bench.systems`) runs in a process of its own, which sleeps while another
one is measured. All of them do the work that a :class:`~fastbptt.bench.case.Case` defines: forward,
loss, backpropagation through time, Adam. A loss or a gradient that disagrees with
:mod:`fastbptt.reference` is an error, and then no number is printed.
"""

from __future__ import annotations

from .case import CHOICES, PRESETS, Case, Problem
from .report import FORMATS, plot, write
from .systems import COMPETITORS
from .timing import measure

__all__ = [
    "CHOICES",
    "COMPETITORS",
    "FORMATS",
    "PRESETS",
    "Case",
    "Problem",
    "measure",
    "plot",
    "write",
]
