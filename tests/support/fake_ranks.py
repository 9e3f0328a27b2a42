"""Ranks without MPI: threads that have the methods of an mpi4py communicator."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

TIMEOUT = 30.0  # seconds that a rank waits for the others


class Aborted(BaseException):
    """The job has been ended by a rank."""


class World:
    """What the ranks have in common."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=TIMEOUT)
        self.slots: list[Any] = [None] * size
        self.calls: list[list[str]] = [[] for _ in range(size)]


class FakeComm:
    def __init__(self, world: World, rank: int) -> None:
        self._world, self._rank = world, rank

    def Get_rank(self) -> int:  # noqa: N802
        return self._rank

    def Get_size(self) -> int:  # noqa: N802
        return self._world.size

    def _all(self, name: str, own: Any) -> list[Any]:
        world = self._world
        world.calls[self._rank].append(name)
        try:
            world.slots[self._rank] = own
            world.barrier.wait()
            found = [copy.deepcopy(one) for one in world.slots]
            world.barrier.wait()
        except threading.BrokenBarrierError:
            raise Aborted from None
        return found

    def allgather(self, own: Any) -> list[Any]:
        return [pickle.loads(one) for one in self._all("allgather", pickle.dumps(own))]

    def bcast(self, own: Any, root: int = 0) -> Any:
        return pickle.loads(self._all("bcast", pickle.dumps(own))[root])

    def Allgather(self, sent: Any, received: Any) -> None:  # noqa: N802
        received.reshape(self._world.size, -1)[...] = np.stack(
            [one.ravel() for one in self._all("Allgather", sent)]
        )

    def Alltoall(self, sent: Any, received: Any) -> None:  # noqa: N802
        for rank, one in enumerate(self._all("Alltoall", sent)):
            received[rank] = one[self._rank]

    def Abort(self, code: int = 0) -> None:  # noqa: N802
        self._world.calls[self._rank].append("Abort")
        self._world.barrier.abort()


def ranks(size: int, function: Callable[[FakeComm], Any]) -> tuple[list[Any], World]:
    """Call a function on each rank; return the results, or exceptions, and the world."""
    world, found = World(size), [None] * size

    def one(rank: int) -> None:
        try:
            found[rank] = function(FakeComm(world, rank))
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * TIMEOUT)
        assert not thread.is_alive(), "a rank hangs"
    return found, world
