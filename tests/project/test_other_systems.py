"""What only POSIX has is not needed: the package without it, as on Windows and in WebAssembly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, os, pkgutil, sys, traceback, warnings
POSIX = ("fcntl", "grp", "pwd", "resource", "termios")
for name in POSIX:
    sys.modules[name] = None
for name in ("fork", "getuid", "killpg", "register_at_fork", "sched_getaffinity",
             "sched_setaffinity", "setsid"):
    delattr(os, name)
import numpy as np
import fastbptt
warnings.simplefilter("ignore")  # of optional packages
for module in pkgutil.walk_packages(fastbptt.__path__, "fastbptt."):
    if module.name.rpartition(".")[2] == "__main__":
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:  # an optional package is missing, or needs one of these itself
        names = {error.name, getattr(error.__context__, "name", None)}
        last = [frame.filename for frame in traceback.extract_tb(error.__traceback__)][-1]
        assert not names & set(POSIX) or "fastbptt" not in last, module.name
fastbptt.show_config()
x, y = np.zeros((8, 4, 3)), np.array([0.0, 1.0] * 4)
models = [fastbptt.RNN(3, 5, 1, seed=seed) for seed in range(2)]
fastbptt.fit_many(models, x, y, epochs=2, verbose=0, checkpoint="run")
models[0].save("model.safetensors")
fastbptt.load("model.safetensors")
print("done")
"""


def test_the_package_without_posix(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
