"""One rank of what `check_ranks.py` starts: `program.py TASK [FOLDER]`."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import fastbptt
from fastbptt.training.batches import Order
from fastbptt.training.distributed import SumsByMessages, SumsInSharedMemory, sums_of

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()
RUN = str(FOLDER / "run.st")
BATCH = 12  # of all ranks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 7, 2))
Y = np.cumsum(X, axis=1)
LENGTHS = RNG.integers(2, 8, 50)


class At(fastbptt.Callback):
    """Calls a function on the last rank, after a step."""

    def __init__(self, step: int, function: Any) -> None:
        self.step, self.function = step, function

    def on_batch_end(self, run: Any) -> None:
        if RANK == SIZE - 1 and run.step == self.step:
            self.function()


def train(comm: Any = COMM, size: int = SIZE, **options: Any) -> Any:
    """Train a network that has dropout, penalties, lengths and validation data."""
    model = fastbptt.GRU(2, 5, 2, seed=1, dtype="float64", num_layers=2, dropout=0.3)
    given = {
        "x": X, "y": Y, "steps": "all", "loss": "mse", "lengths": LENGTHS, "epochs": 4,
        "validation": 0.2, "metrics": "mae", "l1": {"W_hh": 1e-3}, "activity_l2": 1e-2,
        "clip_norm": 1.0, "patience": 3, "schedule": "cosine", "verbose": 0,
    }  # fmt: skip
    given["optimizer"] = fastbptt.Adam(0.01)
    history = fastbptt.fit(model, batch_size=BATCH // size, comm=comm, **{**given, **options})
    return model, history


def compare(one: Any, other: Any) -> None:
    """Hold two results together, to rounding."""
    for name, curve in one[1].curves.items():
        if name != "seconds":
            np.testing.assert_allclose(other[1][name], curve, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(other[0]._weights.get(), one[0]._weights.get(), rtol=0, atol=1e-12)


def same_everywhere(found: Any) -> str:
    """Return the bits of a result, which all ranks have."""
    model, history = found
    own = model._weights.get().tobytes().hex() + repr(history.to_dict())
    assert len(set(COMM.allgather(own))) == 1, "the ranks differ"
    return model._weights.get().tobytes().hex()


def equality() -> None:
    """As one process, bit for bit again, alike on all ranks."""
    found = train()
    assert same_everywhere(found) == same_everywhere(train())
    compare(train(None, 1), found)
    compare(train(MPI.COMM_SELF, 1), found)
    if SIZE == 3:  # two of three ranks
        part = COMM.Split(int(RANK == 0), RANK)
        compare(found, train(part, part.Get_size()))
        part.Free()


def sums() -> None:
    """The same bits by messages and in shared memory."""
    for count in (1, 3, 100, 20_000):
        own = sums_of(COMM, 3, count, np.dtype("float32"))
        assert isinstance(own, SumsInSharedMemory)
        other = SumsByMessages(COMM, RANK, SIZE, 3, count, np.dtype("float32"))
        rng = np.random.default_rng(RANK)
        for _ in range(3):
            found = []
            values, head = rng.normal(size=count), rng.normal(size=3)
            for one in (own, other):
                one.gradient[:], one.head[:] = values, head
                found.append([part.tobytes() for part in one.total()])
            assert found[0] == found[1]
            assert len(set(COMM.allgather(str(found)))) == 1
        own.close()


def begin() -> None:
    """A run that is killed in its third epoch."""
    train(
        checkpoint=RUN,
        callbacks=[At(9, lambda: os.kill(os.getpid(), signal.SIGKILL))],
    )


def fail_late() -> None:
    """An error that the other ranks do not expect, in the third epoch."""
    batches = Order.batches

    def damaged(self: Any, epoch: int, first: int = 0) -> Any:
        if RANK == SIZE - 1 and epoch == 3:
            raise ZeroDivisionError("an error of the program")
        yield from batches(self, epoch, first)

    Order.batches = damaged  # type: ignore[method-assign]
    train(checkpoint=RUN, callbacks=[At(-1, print)])


def resume() -> None:
    """What another number of ranks began is finished as if nothing had happened."""
    found = train(checkpoint=RUN, resume=True, callbacks=[At(-1, print)])
    same_everywhere(found)
    compare(train(None, 1), found)


def interrupted() -> None:
    """Ctrl-C of one rank stops all, and leaves a checkpoint."""
    found = train(checkpoint=RUN, callbacks=[At(5, lambda: os.kill(os.getpid(), signal.SIGINT))])
    assert found[1].stopped == "interrupted"
    same_everywhere(found)


def error_of(**options: Any) -> str:
    """Return the error with which training ends on this rank."""
    try:
        train(**options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def failing(y: Any, outputs: Any) -> float:
    """A metric that fails on the last rank."""
    if RANK == SIZE - 1:
        raise ValueError("no number")
    return 0.0


def refused() -> None:
    """Data, models and arguments that differ, and errors of one rank, are errors of all."""
    last = RANK == SIZE - 1
    for options, text in (
        ({"x": X[: 50 - last], "y": Y[: 50 - last], "lengths": LENGTHS[: 50 - last]}, "on which x"),
        ({"y": Y + last}, "on which y holds other values"),
        ({"epochs": 2 + last}, "on which epochs is 3"),
        ({"loss": "mse" if not last else "mes"}, "loss is"),
        ({"callbacks": [At(2, lambda: 1 / 0)]}, "division by zero"),
        ({"metrics": failing}, 'metric "failing" failed: '),
    ):
        message = error_of(**options)
        assert text in message, message
        assert last or f"rank {SIZE - 1}" in message, message
    train()
    part = COMM.Split(MPI.UNDEFINED if last else 0, RANK)  # the last rank gets COMM_NULL
    message = error_of(comm=part, size=SIZE - 1)
    assert message.startswith("ArgumentError: comm is not usable (") == last, message
    assert last or message == "none", message


def full_disk() -> None:
    """A file that cannot become as large as it must: the error is one of all ranks."""
    if RANK == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    message = error_of(checkpoint=RUN)
    assert message.startswith("OSError" if RANK == 0 else "RankError: rank 0 failed: OSError"), (
        message
    )


if __name__ == "__main__":
    fastbptt.set_num_threads(1)
    globals()[sys.argv[1]]()
    if RANK == 0:
        print("done", sys.argv[1], SIZE, flush=True)
