"""For each public callable: a small call, and for each of its arguments another value.

A new argument costs one line; `tests/project/test_every_argument.py` says which are missing.
"""

from __future__ import annotations

from effects import Entry

from . import (
    benches,
    data,
    estimators,
    exchange,
    models,
    plots,
    plug_ins,
    references,
    tasks,
    training,
)

ENTRIES: dict[str, Entry] = {}
MODULES = (
    training,
    models,
    data,
    estimators,
    exchange,
    plug_ins,
    plots,
    references,
    benches,
    tasks,
)
for _module in MODULES:
    assert not ENTRIES.keys() & _module.ENTRIES.keys()
    ENTRIES.update(_module.ENTRIES)
#: calls that take a tenth of a second or more
SLOW = plots.ENTRIES.keys() | {
    "bench.plot",
    "fastbptt gallery",
    "sklearn.RecurrentForecaster.report",
}
