"""A sweep as an array of SLURM jobs: each takes every n-th trial. Submitted by slurm.sh.

    sbatch examples/sweeps/slurm.sh                                    # on a cluster
    SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_COUNT=2 SLURM_CPUS_PER_TASK=1 \\
        bash examples/sweeps/slurm.sh --quick                          # its first job, here
    python examples/sweeps/with_slurm.py --table                       # the table, at any time

Submitted again, the array goes on with the trials that are left.
"""

from __future__ import annotations

import argparse
import os
import sys

import trials


def number(name: str) -> int:
    """Read an environment variable of SLURM."""
    value = os.environ.get(name, "")
    if not value.isdecimal():
        raise SystemExit(f"{name} is {value!r}; expected a number, as in an array job of SLURM")
    return int(value)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the table, run nothing")
    options = trials.arguments(parser, argv, workers=False)
    every = trials.settings(options.quick)
    if options.table:
        return trials.report(every, options.results)
    first, count = number("SLURM_ARRAY_TASK_ID"), number("SLURM_ARRAY_TASK_COUNT")
    if first >= count:
        raise SystemExit(
            f"SLURM_ARRAY_TASK_ID is {first} of {count}; expected --array=0-{count - 1}"
        )
    own = every[first::count]
    trials.run_all(own, options.results)
    print(f"job {first} of {count}: {len(own)} trials are done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
