"""Memory beyond the machine's is measured; a budget is kept where the whole would not fit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import fastbptt


@pytest.mark.parametrize(
    ("batch", "time"),
    [
        (64, 10**9),
        (10**9, 64),
        (10**12, 10**12),
        (1, 2**63),
        (2**62, 1),
        (2**70, 1),
        (10**30, 10**30),
    ],
)
@pytest.mark.parametrize("record", [None, "gradients"])
def test_every_size_has_an_answer(batch: int, time: int, record: str | None) -> None:
    model = fastbptt.LSTM(1, 64, 1, seed=0)
    needed = model.memory_needed(batch, time, record=record)
    assert min(batch * time * 64, 2**60) <= needed <= 2**60
    assert 0 < model.minimum_memory(batch, time, record=record) <= needed


@pytest.mark.parametrize("bptt_steps", [None, 400])
@pytest.mark.parametrize("record", [None, "gradients"])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_the_minimum_is_enough(steps: str, record: str | None, bptt_steps: int | None) -> None:
    model = fastbptt.GRU(2, 8, 1, num_layers=2, seed=0)
    x = np.zeros((8, 900, 2), np.float32)
    least = model.minimum_memory(8, 900, record=record)
    y = np.zeros(8 if steps == "last" else (8, 900))
    model.train_step(
        x,
        y,
        fastbptt.Adam(),
        steps=steps,
        memory_budget=least,
        record=record,
        bptt_steps=bptt_steps,
    )
    assert model.last_report is not None and model.last_report.bytes <= least


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))
import numpy as np, fastbptt
from fastbptt import _core
assert _core.memory_limit() <= 1_500_000_000
fastbptt.set_num_threads(1)
model = fastbptt.LSTM(1, 64, 1, seed=0)
time = 1
while model.memory_needed(64, time) <= _core.memory_limit():
    time *= 2
x = np.broadcast_to(np.float32(0.5), (64, time, 1))
assert model.memory_needed(64, time, "70MB") <= 70e6
class Enough(Exception): pass
import signal
def handler(*a): raise Enough
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    model.train_step(x, np.zeros(64), fastbptt.SGD(), memory_budget="70MB")
except Enough:
    print("trains")
"""


@pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="its own memory is beyond any limit"
)
def test_a_budget_where_the_whole_does_not_fit() -> None:
    """The step itself would take seconds: that it is under way shows that memory was granted."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "trains\n", done.stderr
