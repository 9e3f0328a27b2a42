"""Other libraries with threads in the same process, imported before and after: each computes as if
it were alone, with the threads and the floating-point mode that it had.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# What each computes with all its threads, and how many threads it would use
LIBRARIES = {
    "torch": """
        import torch
        def compute():
            one = torch.linspace(-1, 1, 600 * 600).reshape(600, 600)
            return (one @ one).numpy().tobytes()
        def threads():
            return torch.get_num_threads()
    """,
    "sklearn": """
        from sklearn.cluster import KMeans
        import threadpoolctl
        def compute():
            one = np.random.default_rng(0).normal(size=(3000, 8))
            return KMeans(4, n_init=1, random_state=0).fit(one).labels_.tobytes()
        def threads():
            return [(d["filepath"], d["num_threads"]) for d in threadpoolctl.threadpool_info()
                    if d["user_api"] != "fastbptt"]
    """,
    "numpy": """
        def compute():
            one = np.linspace(-1, 1, 600 * 600).reshape(600, 600)
            return (one @ one).tobytes()
        def threads():
            return 0
    """,
    "jax": """
        import jax
        def compute():
            one = jax.numpy.linspace(-1, 1, 600 * 600).reshape(600, 600)
            return np.asarray(one @ one).tobytes()
        def threads():
            return jax.device_count()
    """,
    "numba": """
        import numba
        @numba.njit(parallel=True)
        def sums(n):
            total = np.zeros(n)
            for i in numba.prange(n):
                total[i] = np.sqrt(i)
            return total
        def compute():
            return sums(10_000).tobytes()
        def threads():
            return numba.get_num_threads()
    """,
}

PROGRAM = """
import threading
import numpy as np
{imports}

SUBNORMAL = np.array([1e-40, 3e-39], np.float32)

def mode():
    return [((SUBNORMAL * np.float32(factor)) == 0).tolist() for factor in (0.5, 2**100)]

X = np.random.default_rng(0).normal(size=(40, 30, 5)).astype("f4")
Y = (np.arange(40) % 2).astype("f4")

def train():
    model, adam = fastbptt.LSTM(5, 64, 1, seed=0), fastbptt.Adam()
    for _ in range(5):
        model.train_step(X, Y, adam)
    return model.parameters.flat.tobytes()

fastbptt.set_num_threads(2)
alone, others, before, count = train(), compute(), mode(), threads()
for _ in range(3):
    assert train() == alone
    assert mode() == before, (mode(), before)
    assert compute() == others
    assert fastbptt.get_num_threads() == 2
assert threads() == count, (threads(), count)

found = []
def work():
    start = mode()
    found.append(train())
    assert mode() == start
    found.append(compute())
    assert mode() == start
    found.append("well")
both = [threading.Thread(target=work) for _ in "ab"]
for one in both:
    one.start()
for one in both:
    one.join()
assert sorted(found, key=str) == sorted([alone, others, "well"] * 2, key=str)
assert mode() == before
print("well")
"""


def ends(code: str, said: str = "") -> None:
    """Run a program, whose imports may take long."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, said), done.stderr


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_imported_before_and_after(name: str, first: bool) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}")
    imports = [
        "import fastbptt, fastbptt.training\nfastbptt.RNN(2, 3, 1).loss(np.ones((1, 2, 2)), [0.0])"
    ]
    imports.insert(0 if first else 1, textwrap.dedent(LIBRARIES[name]))
    ends(PROGRAM.format(imports="\n".join(imports)), "well\n")


@pytest.mark.parametrize(
    "imports",
    ["import threadpoolctl, fastbptt", "import fastbptt, fastbptt.sklearn, threadpoolctl"],
)
def test_threadpoolctl_sees_and_limits_the_pool(imports: str) -> None:
    pytest.importorskip("threadpoolctl")
    if "sklearn" in imports:
        pytest.importorskip("sklearn")
    ends(
        f"{imports}\n"
        "def own():\n"
        "    return [d for d in threadpoolctl.threadpool_info() if d['user_api'] == 'fastbptt']\n"
        "fastbptt.set_num_threads(3)\n"
        "assert own()[0]['num_threads'] == 3 and len(own()) == 1, own()\n"
        "assert own()[0]['version'] == fastbptt.__version__\n"
        "with threadpoolctl.threadpool_limits(2):\n"
        "    assert fastbptt.get_num_threads() == own()[0]['num_threads'] == 2\n"
        "with threadpoolctl.threadpool_limits(2, user_api='blas'):\n"
        "    assert fastbptt.get_num_threads() == 3\n"
        "with threadpoolctl.threadpool_limits({'fastbptt': 1}):\n"
        "    assert fastbptt.get_num_threads() == 1\n"
        "assert fastbptt.get_num_threads() == 3\n"
    )


def test_a_library_of_the_cores_name_is_left_alone(tmp_path: Path) -> None:
    """Another package may have a `_core` of its own."""
    pytest.importorskip("threadpoolctl")
    ends(
        "import ctypes, os, shutil, threadpoolctl, fastbptt\n"
        "from fastbptt import _core\n"
        f"copy = os.path.join({str(tmp_path)!r}, os.path.basename(_core.__file__))\n"
        "shutil.copy(_core.__file__, copy)\n"
        "library = ctypes.CDLL(copy)\n"
        "every = threadpoolctl.threadpool_info()\n"
        "found = [d['filepath'] for d in every if d['user_api'] == 'fastbptt']\n"
        "assert found == [os.path.realpath(_core.__file__)], found\n"
    )
