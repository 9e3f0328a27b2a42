"""The trials of a sweep: what varies, how one is trained, and a file for each that is done.

Many small networks that predict the choices of simulated people at a slot machine with two arms:
one for each person, number of units, penalty and seed. The programs beside this one run the same
trials on joblib, Optuna, Dask, Ray and SLURM. Replace `settings`, `train` and `GROUP_BY` by yours;
for Optuna also `objective` in with_optuna.py.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt

SESSIONS, STEPS = 40, 100  # of a person, choices in a session
GROUP_BY = ("hidden", "l1")  # the table has the mean loss for each of these

Setting = dict[str, Any]
Row = dict[str, Any]


def settings(quick: bool = False) -> list[Setting]:
    """Return the settings of all trials: plain numbers and names, which JSON can hold."""
    people, hidden, penalties, seeds = range(20), (1, 2, 5), (1e-4, 1e-3), range(2)
    if quick:
        people, hidden, seeds = range(2), (1, 2), range(1)
    names = ("person", "hidden", "l1", "seed", "epochs")
    grid = itertools.product(people, hidden, penalties, seeds, (5 if quick else 100,))
    return [dict(zip(names, values, strict=True)) for values in grid]


@functools.cache
def person(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate a person who learns from rewards; return inputs and choices of all sessions.

    Inputs, (sessions, steps, 3): the choice and the reward of the step before. Choices, (sessions,
    steps): 0 or 1.
    """
    rng = np.random.default_rng(number)
    rate, certainty = rng.uniform(0.2, 0.8), rng.uniform(2.0, 6.0)
    values = np.full((SESSIONS, 2), 0.5)
    chances = rng.uniform(0.1, 0.9, size=(SESSIONS, 2))
    x = np.zeros((SESSIONS, STEPS, 3))
    y = np.empty((SESSIONS, STEPS), np.int64)
    everyone = np.arange(SESSIONS)
    for step in range(STEPS):
        second = 1.0 / (1.0 + np.exp(-certainty * (values[:, 1] - values[:, 0])))
        choice = (rng.random(SESSIONS) < second).astype(np.int64)
        y[:, step] = choice
        reward = rng.random(SESSIONS) < chances[everyone, choice]
        values[everyone, choice] += rate * (reward - values[everyone, choice])
        if step + 1 < STEPS:
            x[everyone, step + 1, choice] = 1.0
            x[:, step + 1, 2] = reward
    return x, y


def fit(setting: Setting, **options: Any) -> tuple[fastbptt.Recurrent, fastbptt.History]:
    """Train the network of a trial."""
    x, y = person(setting["person"])
    model = fastbptt.GRU(3, setting["hidden"], 2, seed=setting["seed"], dtype="float64")
    history = fastbptt.fit(
        model,
        x,
        y,
        loss="cross_entropy",
        steps="all",
        epochs=setting["epochs"],
        batch_size=SESSIONS,
        optimizer=fastbptt.AdamW(lr=setting.get("lr", 0.02)),
        l1={"W_hh": setting["l1"]},
        validation=0.25,
        patience=20,
        seed=setting["seed"],
        verbose=0,
        **options,
    )
    return model, history


def train(setting: Setting) -> Row:
    """Train one trial; return its row of the table: its `loss`, and whatever else you like."""
    _, history = fit(setting)
    return {"loss": min(history["validation_loss"]), "epoch": history.best_epoch}


# ----------------------------------------------------------------- a file for each trial


@functools.cache
def code() -> str:
    """Return a digest of this file and of the version of fastbptt, on which all results depend."""
    content = Path(__file__).read_bytes() + fastbptt.__version__.encode()
    return hashlib.sha256(content).hexdigest()[:16]


def file_of(setting: Setting, folder: str | os.PathLike[str]) -> Path:
    """Return the file of a trial; its name depends on the setting alone."""
    text = json.dumps(setting, sort_keys=True)
    return Path(folder, hashlib.sha256(text.encode()).hexdigest()[:24] + ".json")


def read(path: Path) -> Row:
    """Read the row of a trial that is done; refuse one that another code has computed."""
    try:
        row: Row = json.loads(path.read_text("utf-8"))
        own = row["code"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no result; delete it, and the trial runs again") from error
    if own != code():
        raise ValueError(
            f"{path} comes from another trials.py or fastbptt; expected results of this one: "
            "give another folder (--results), or delete this one"
        )
    return row


def run(setting: Setting, folder: str | os.PathLike[str]) -> Row:
    """Train a trial unless its file is there; return its row.

    The file appears whole or not at all, so a sweep may be killed at any moment and started again.
    A model that diverges, or data that fastbptt refuses, make a row with the error.
    """
    path = file_of(setting, folder)
    if path.exists():
        return read(path)
    try:
        found = train(setting)
    except fastbptt.ArgumentError as error:
        found = {"error": str(error)}
    row = {**setting, **found, "code": code()}
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")  # others may have the same trial
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(row, file)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return row


def run_all(several: list[Setting], folder: str | os.PathLike[str]) -> int:
    """Run several trials one after the other, as one task of an engine; return their number."""
    for setting in several:
        run(setting, folder)
    return len(several)


def parts(every: list[Setting], folder: str | os.PathLike[str], size: int) -> list[list[Setting]]:
    """Return the trials that are left, in parts of a size: the tasks of an engine."""
    left = [one for one in every if not file_of(one, folder).exists()]
    return [left[i : i + size] for i in range(0, len(left), size)]


def table(every: list[Setting], folder: str | os.PathLike[str]) -> list[Row]:
    """Return the rows of all trials that are done, in the order of the settings."""
    return [read(path) for path in (file_of(one, folder) for one in every) if path.exists()]


# ----------------------------------------------------------------- the command line


def arguments(
    parser: argparse.ArgumentParser, argv: list[str] | None, workers: bool = True
) -> argparse.Namespace:
    """Add what all programs share; parse, and make the folder."""
    parser.add_argument("--results", default="results", help="folder of the files of trials")
    if workers:
        parser.add_argument("--workers", type=int, default=2, help="trials at a time (default 2)")
    parser.add_argument("--quick", action="store_true", help="a few short trials")
    found = parser.parse_args(argv)
    Path(found.results).mkdir(parents=True, exist_ok=True)
    return found


def report(every: list[Setting], folder: str | os.PathLike[str]) -> int:
    """Print the mean loss by `GROUP_BY`; return 1 if trials failed or are left."""
    rows = table(every, folder)
    done = [row for row in rows if "error" not in row]
    print("|", " | ".join([*GROUP_BY, "trials", "loss"]), "|\n|" + "--:|" * (len(GROUP_BY) + 2))
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in done:
        groups.setdefault(tuple(row[name] for name in GROUP_BY), []).append(row["loss"])
    for values, losses in groups.items():  # in the order of the settings
        print("|", " | ".join([*map(str, values), f"{len(losses)}", f"{np.mean(losses):.4f}"]), "|")
    for row in rows:
        if "error" in row:
            setting = {name: row[name] for name in every[0]}
            print(f"failed: {setting}: {row['error']}", file=sys.stderr)
    if len(rows) < len(every):
        left = f"{len(every) - len(rows)} of {len(every)} trials are left"
        print(f"{left}; means are of those that are done", file=sys.stderr)
    return int(len(done) < len(every))
