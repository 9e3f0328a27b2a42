"""Mutants that no test can or should catch, and why: (file, what is replaced, what with)."""

from __future__ import annotations

EXPLAINED: dict[tuple[str, str, str], str] = {
    (
        "training/distributed.py",
        "self._whole = memory[first + second : end].view(dtype)",
        "pass",
    ): "memory that ranks of MPI share: `tests/mpi/check_ranks.py` runs it, in the gate",
    (
        "training/checkpoints.py",
        "62",
        "63",
    ): "a count between 2^62 and 2^63 in a checkpoint, which no run reaches",
    (
        "training/many.py",
        "-1",
        "1",
    ): "the number under which an error is kept that comes before the first model",
}
