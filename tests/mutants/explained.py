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
        "(1)",
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
        "(1)",
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
        "sklearn/_base.py",
        "1",
        "2",
    ): "one seed less of 2^31: each draw is the same, but for one in 2^31",
    (
        "cli/train.py",
        """Standardizer(missing=missing).fit(y, sample_weight=weights, name="y")""",
        "(Standardizer(missing=missing).fit(y, sample_weight=weights))",
    ): "the name in messages that the reader of the table gives before",
    (
        "losses/cross_entropy.inc",
        "j < real ? j : 0",
        "j",
    ): "what is read beyond a row is not used; `cpp/tests/test_edges.cpp` guards such places",
    (
        "engine/optimizer_step.h",
        "!trains(i)",
        "false",
    ): "a frozen parameter with a larger norm is refused before the step",
    (
        "engine/optimizer_step.h",
        "info.sum < 0 || 1 - state.settings[info.kept] > 1e-6",
        "true",
    ): "a guard with room to spare: below 1e9 a sum of gradients stays in the range of float32",
    (
        "engine/losses.h",
        "throw_not_finite(weight_of(o), value, index);",
        "",
    ): "for callers in C++; Python refuses such weights before",
    (
        "bindings/training_data.cpp",
        "kind == 'f' && size != 4 && size != 8",
        "false",
    ): "Python has made other numbers float32 or float64",
}
