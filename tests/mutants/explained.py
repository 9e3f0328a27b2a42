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
    (
        "training/finished_models.py",
        "os.fsync(self._file)",
        "pass",
    ): "a loss of power alone would show it",
    (
        "files/atomic.py",
        'open(path, "wb", buffering=0)',
        "(open(path, 'wb'))",
    ): "the same bytes arrive, when the file is closed",
    (
        "training/missing.py",
        "array.ndim == lead\n"
        '        and (array.dtype.kind in "iu" or bool((np.floor(array) == array)'
        "[~np.isnan(array)].all()))",
        "(array.ndim == lead or (array.dtype.kind in 'iu' or bool((np.floor(array) == array)"
        "[~np.isnan(array)].all())))",
    ): "whole numbers that are no classes become integers, which have the same losses",
    (
        "optim/optimizers.py",
        "self._lr = before",
        "pass",
    ): "undone where a signal's handler raises within one statement",
    (
        "_targets.py",
        "zip(items, ends.tolist(), strict=True)",
        "(zip(items, ends.tolist()))",
    ): "the line before has checked that there are as many",
    (
        "reference/losses/bce.py",
        "0",
        "1",
    ): "two forms of the same numbers, which overflow far above 0 and far below",
    (
        "reference/model.py",
        "-1",
        "1",
    ): "the last axis of an array of two",
    (
        "diagnostics/_advice.py",
        'np.argsort(-np.nanmax(found.log_norms, axis=1), kind="stable")',
        "(np.argsort(-np.nanmax(found.log_norms, axis=1)))",
    ): "the order of equals, of which some are tried first",
    (
        "diagnostics/fixed_points.py",
        "4.0",
        "8.0",
    ): "how near rounding a search ends: either is far below the tolerance of what is found",
    (
        "cli/train.py",
        """Standardizer(missing=missing).fit(y, sample_weight=weights, name="y")""",
        "(Standardizer(missing=missing).fit(y, sample_weight=weights))",
    ): "the name in messages that the reader of the table gives before",
}
