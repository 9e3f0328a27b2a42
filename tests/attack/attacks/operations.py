"""Random calls on one model beside the reference: `Run` of tests/support/operations.py."""

from __future__ import annotations

from pathlib import Path

from accuracy import ISAS
from cases import CELLS
from operations import Run

import fastbptt
from fastbptt import _core

LENGTH = 40


def attack(seed: int, folder: Path) -> int:
    threads, backend = fastbptt.get_num_threads(), _core.active_backend()
    try:
        _core.use_backend(ISAS[seed % len(ISAS)])
        Run(CELLS[seed % len(CELLS)], seed, folder).go(LENGTH)
    finally:
        fastbptt.set_num_threads(threads)
        _core.use_backend(backend)
    return LENGTH
