"""The memory that a training step takes is what the model says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

import fastbptt

SCRIPT = """
import numpy as np, fastbptt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
fastbptt.set_num_threads(1)
model, adam = fastbptt.RNN({sizes}, seed=0), fastbptt.Adam()
x, y = np.zeros(({batch}, {time}, {inputs}), np.float32), np.zeros(({batch}, {time}, 1), np.float32)
x += 1; y += 1
model.train_step(x[:, :2], y[:, :2], adam, steps="all")
before = resident()
for _ in range(3):
    model.train_step(x, y, adam, steps="all")
print(resident() - before, model.memory_needed({batch}, {time}))
"""


@pytest.mark.parametrize(
    ("batch", "time", "inputs", "hidden"),
    [(8, 3000, 16, 128), (1, 20_000, 3, 65), (64, 100, 128, 256), (64, 5000, 1, 8)],
)
def test_a_step_takes_what_the_model_says(
    run_script: Callable[[str], subprocess.CompletedProcess[str]],
    batch: int,
    time: int,
    inputs: int,
    hidden: int,
) -> None:
    sizes = f"{inputs}, {hidden}, 1"
    result = run_script(SCRIPT.format(sizes=sizes, batch=batch, time=time, inputs=inputs))
    assert result.returncode == 0, result.stderr
    grown, needed = map(int, result.stdout.split())
    assert 0.5 * needed < grown < needed + 1_000_000


def test_memory_is_linear_in_time() -> None:
    model = fastbptt.RNN(16, 128, 1)
    at = {time: model.memory_needed(8, time) for time in (1000, 2000, 4000, 10_000)}
    slope = (at[2000] - at[1000]) / 1000
    assert at[4000] == pytest.approx(at[1000] + 3000 * slope, rel=0.01)
    assert at[10_000] == pytest.approx(at[1000] + 9000 * slope, rel=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("hidden", [1, 8, 20, 40])
def test_memory_follows_the_units(cell: str, hidden: int, dtype: str) -> None:
    """No unit of a small layer takes 1.3 times the bytes of one of 64, inputs and outputs apart."""

    def bytes_of(units: int) -> float:
        model = fastbptt.Recurrent(cell, 1, units, 1, dtype=dtype)
        of_rows = model.memory_needed(64, 8000) - model.memory_needed(64, 4000)
        others = (
            6 * model.dtype.itemsize
        )  # of a row: x, y, two copies of dy, the target and its weight
        return (of_rows / (64 * 4000) - others) / units

    assert bytes_of(hidden) < 1.3 * bytes_of(64)


@pytest.mark.parametrize(("batch", "time"), [(0, 1), (1, -1), (2.5, 1), (1, True)])
def test_sizes_are_checked(batch: object, time: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^(batch|time) is "):
        fastbptt.RNN(2, 3).memory_needed(batch, time)  # type: ignore[arg-type]
