"""One network on 2 and 3 ranks of MPI: every task of `program.py`, as a user would start it.

    python tests/mpi/check_ranks.py [MPIEXEC [OPTION ..]]

For the packages mpi4py and mpich of the package index; `mpiexec --oversubscribe` suits Open MPI.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")
TIMEOUT = 120.0  # seconds of a task: ranks that wait for each other for ever are an error
LAUNCHER = sys.argv[1:] or [shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or ""]


def start(ranks: int, task: str, folder: str, fails: bool = False) -> str:
    """Run a task on so many ranks; return what they wrote."""
    command = [*LAUNCHER, "-n", str(ranks), sys.executable, "-W", "error", str(PROGRAM)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # a launcher whose ranks fail may kill its process group
    done = subprocess.run(
        [*command, task, folder], capture_output=True, text=True, timeout=TIMEOUT, check=False,
        start_new_session=True, env=environment,
    )  # fmt: skip
    written = done.stdout + done.stderr
    good = done.returncode != 0 if fails else f"done {task} {ranks}" in done.stdout
    if not good:
        sys.exit(f"{task} on {ranks} ranks ended with {done.returncode}:\n{written}")
    print(f"{task} on {ranks} ranks: as expected")
    return written


def main() -> None:
    if not LAUNCHER[0]:
        sys.exit("there is no mpiexec beside this Python; pip install mpich brings one")
    for ranks in (2, 3):
        for task in ("equality", "sums", "refused", "full_disk"):
            with tempfile.TemporaryDirectory() as folder:
                start(ranks, task, folder)
    for task in ("begin", "fail_late", "interrupted"):
        for before, after in ((2, 3), (3, 2), (2, 2)):
            with tempfile.TemporaryDirectory() as folder:
                written = start(before, task, folder, fails=task != "interrupted")
                if task == "fail_late" and f"rank {before - 1} of {before} failed" not in written:
                    sys.exit(f"no message about the rank that failed:\n{written}")
                start(after, "resume", folder)


if __name__ == "__main__":
    main()
