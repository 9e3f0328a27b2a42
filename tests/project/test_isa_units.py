"""The instruction set that was asked for is the one that runs, and one that cannot run is refused.

Which symbols the objects of the instruction sets define is checked by cpp/tests/check_symbols.sh.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from fastbptt import _core

BACKENDS = _core.backends()
USABLE = [name for name, _, usable in BACKENDS if usable]
UNUSABLE = [name for name, _, usable in BACKENDS if not usable]
REFUSAL = "expected one of .*portable|machine cannot run|build does not contain"

TRAIN = """
import numpy as np
import fastbptt
from fastbptt import _core
model = fastbptt.RNN(3, 17, 1, seed=0, dtype={dtype!r})
model.train_step(np.ones((7, 4, 3)), np.ones(7), fastbptt.Adam())
print(_core.active_backend(), _core.proof_of_backend())
"""


def python(code: str, isa: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "FASTBPTT_ISA"}
    if isa is not None:
        environment["FASTBPTT_ISA"] = isa
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_list_names_each_instruction_set_once() -> None:
    names = [name for name, _, _ in BACKENDS]
    assert names == list(dict.fromkeys(names))
    assert names[-1] == "portable"
    assert USABLE[-1] == "portable"
    assert all(description for _, description, _ in BACKENDS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", USABLE)
def test_a_forced_instruction_set_is_the_one_that_runs(name: str, dtype: str) -> None:
    done = python(TRAIN.format(dtype=dtype), name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name, name]


@pytest.mark.parametrize("isa", [None, ""])
def test_the_best_usable_one_is_the_default(isa: str | None) -> None:
    done = python(TRAIN.format(dtype="float32"), isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [USABLE[0], USABLE[0]]


@pytest.mark.parametrize("name", [*UNUSABLE, "sse9", "AVX2 ", "avx2,portable"])
def test_a_name_that_cannot_be_used_is_an_error(name: str) -> None:
    done = python("import fastbptt", name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"FASTBPTT_ISA is '{name}'" in last
    assert re.search(REFUSAL, last)


@pytest.mark.parametrize("name", [*UNUSABLE, "sse9", ""])
def test_choosing_at_run_time_is_checked_too(name: str) -> None:
    before = _core.active_backend()
    with pytest.raises(ValueError, match=REFUSAL):
        _core.use_backend(name)
    assert _core.active_backend() == before
