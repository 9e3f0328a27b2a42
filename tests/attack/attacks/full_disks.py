"""A disk that fills up after any number of bytes (RLIMIT_FSIZE): each writer raises an `OSError`,
the old file stands, and nothing lies beside it.
"""

from __future__ import annotations

import os
import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt import datasets, interchange
from fastbptt.reporting import summary

from ._common import X, Y, fit, in_child, small


def _model(outputs: int | None = 1) -> fastbptt.Recurrent:
    return fastbptt.LSTM(1, 8, outputs, seed=0)


def _trained(path: Path) -> None:
    model, optimizer = small(np.random.default_rng(0))
    fit(model, optimizer, epochs=2, checkpoint=path)


def _history() -> fastbptt.History:
    curves = {"epoch": list(range(1, 40)), "curves": {"loss": [0.5] * 39}}
    return fastbptt.History.from_dict(curves | {"best_epoch": 3, "stopped": None})


WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "model": ("m", lambda path: _model().save(path)),
    "model with optimizer": ("m", lambda path: _model().save(path, fastbptt.Adam())),
    "checkpoint": ("c", _trained),
    "history": ("h.json", lambda path: _history().save(path)),
    "history table": ("h.csv", lambda path: _history().save(path)),
    "tokenizer": (
        "t.json",
        lambda path: datasets.Tokenizer().fit([" ".join(map(str, range(200)))]).save(path),
    ),
    "arrays": ("a.npz", lambda path: datasets.write_npz(path, np.ones((9, 9, 3)))),
    "C": ("n.c", lambda path: _model().export_c(path)),
    "report": ("r.html", lambda path: fastbptt.report(_small(), X, Y, path)),
    "nam": ("n.nam", lambda path: interchange.to_nam(_model(), path, sample_rate=48000)),
    "rtneural": ("n.json", lambda path: interchange.to_rtneural(_model(), path)),
}


def _small() -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 4, 3, seed=0)


def _try(write: Callable[[Path], Any], path: Path, limit: int) -> str:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write(path)
    except OSError as error:
        return f"OSError {error}"
    return "written"


vars(summary)["_SECONDS"] = 0.01  # a report measures its model's speed that long


def attack(seed: int, folder: Path) -> int:
    rng = random.Random(seed)
    for name, (file, write) in WRITERS.items():
        own = folder / name.replace(" ", "_")
        own.mkdir()
        path = own / file
        write(path)
        before = {one.name: one.read_bytes() for one in own.iterdir()}
        size = max(map(len, before.values()))
        old = rng.random() < 0.5
        if not old:
            for one in own.iterdir():
                one.unlink()
        limit = rng.choice((0, 1, size - 64, rng.randrange(size - 64)))  # times take some digits
        what = in_child(lambda write=write, path=path, limit=limit: _try(write, path, limit))
        after = {one.name: one.read_bytes() for one in own.iterdir()}
        where = f"{name} with {limit} of {size} bytes, seed {seed}"
        assert what.startswith("OSError"), f"{where}: {what}"
        assert os.fspath(path.parent) in what, f"{where}: no name of a file in {what!r}"
        left = before if old else {}
        others = {key: value for key, value in after.items() if left.get(key) != value}
        # of several files, such as C and its header, the first may be whole already
        others = {key: value for key, value in others.items() if before.get(key) != value}
        if name == "checkpoint" and others:  # an earlier one of the run, which was smaller
            fastbptt.load(path)
            others.pop(path.name)
        assert not others, f"{where}: has left {sorted(others)}"
        assert old <= (path.name in after), f"{where}: the old file is gone"
    return len(WRITERS)
