"""Training that goes on for hours with changing shapes: memory, threads and open files stay where
they are, and a network has the numbers of a fresh process.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt import _core

NETWORKS = 20  # of a seed
SETTLED = 60  # seeds; until then the allocator and Python's caches still grow
MORE = 16 << 20  # bytes that fragments of memory may add
ALONE = 25  # every so many seeds one is repeated in a fresh process

_seen: list[int] = []  # bytes in use after each seed of this process
_before: dict[str, int] = {}


def network(seed: int, folder: Path) -> str:
    """Train, save, load and ask one network with any options; return a digest of its numbers."""
    rng = np.random.default_rng((11, seed))
    hidden, width, outputs = (int(rng.integers(1, top)) for top in (130, 9, 5))
    count, time = int(rng.integers(1, 40)), int(rng.integers(1, 60))
    recurrent, cell = rng.choice([0.0, 0.2]), str(rng.choice(_core.cells()))
    model = fastbptt.Recurrent(
        cell, width, hidden, outputs, alpha=0.4 if _core.cell_info(cell)["setting"] else None,
        seed=seed,
        num_layers=int(rng.integers(1, 4)), bidirectional=bool(rng.random() < 0.3),
        recurrent_dropout=float(recurrent), dtype=str(rng.choice(["float32", "float64"])),
    )  # fmt: skip
    fastbptt.set_num_threads(int(rng.integers(1, 4)))
    x = rng.normal(size=(count, time, width))
    y: Any = rng.normal(size=(count, outputs))
    rule = fastbptt.OPTIMIZERS[str(rng.choice(list(fastbptt.OPTIMIZERS)))](1e-3)
    history = fastbptt.fit(
        model, x, y, loss="mse", optimizer=rule, epochs=int(rng.integers(1, 6)), seed=seed,
        batch_size=int(rng.integers(1, count + 1)), clip_norm=1.0, verbose=0,
    )  # fmt: skip
    file = folder / "model"
    model.save(file)
    predicted = fastbptt.predict(fastbptt.load(file), x)
    found = hashlib.sha256(repr(history["loss"]).encode())
    found.update(model.parameters.flat.tobytes())
    found.update(np.ascontiguousarray(predicted).tobytes())
    return found.hexdigest()


def _in_use() -> dict[str, int]:
    """Bytes of memory, threads and open files of this process."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # of glibc, which else keeps much of what is freed
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    threads, files = (len(os.listdir(f"/proc/self/{name}")) for name in ("task", "fd"))
    return {"bytes": pages * os.sysconf("SC_PAGE_SIZE"), "threads": threads, "files": files}


def attack(seed: int, folder: Path) -> int:
    """Train some networks, and look at what is left of them."""
    numbers = range(seed * NETWORKS, (seed + 1) * NETWORKS)
    found = [network(number, folder) for number in numbers]
    if seed % ALONE == 0:
        last = f"soak.network({numbers[-1]}, pathlib.Path({str(folder)!r}))"
        program = f"import pathlib, soak; print({last})"
        command = [sys.executable, "-c", program]
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == found[-1], f"network {numbers[-1]}: other numbers alone"
    now = _in_use()
    _seen.append(now["bytes"])
    if not _before:
        _before.update(now)
    for name in ("threads", "files"):
        assert now[name] <= _before[name] + 2, f"{now[name]} {name}, {_before[name]} at first"
    if len(_seen) > SETTLED:
        most = max(_seen[:SETTLED]) + MORE
        assert now["bytes"] <= most, (
            f"{now['bytes']} bytes after {len(_seen)} seeds, {most} allowed"
        )
    return len(found)
