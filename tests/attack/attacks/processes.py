"""Programs that fork, spawn, exit and raise while others compute: each ends by itself, with the
results that one process has.
"""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

START = """
import multiprocessing, os, signal, sys, threading, time, warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import numpy as np
import fastbptt

warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
X = np.random.default_rng(0).normal(size=({B}, {T}, 3)).astype("f4")
Y = (np.arange({B}) % 2).astype("f4")

def work(seed):
    model, adam = fastbptt.GRU(3, {H}, 1, seed=seed), fastbptt.Adam()
    for _ in range(4):
        model.train_step(X, Y, adam)
    return model.parameters.flat.tobytes()

def busy(model, stop):
    adam = fastbptt.Adam()
    while not stop.is_set():
        model.train_step(X, Y, adam)
"""

# Each prints "well" at its end
PROGRAMS: dict[str, str] = {
    "a pool": """
    if __name__ == "__main__":
        fastbptt.set_num_threads({threads})
        expected = [work(k) for k in range(4)] if {before} else None
        context = multiprocessing.get_context("{method}")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            found = list(pool.map(work, range(4)))
        assert found == (expected or [work(k) for k in range(4)])
        print("well")
    """,
    "forks beside threads": """
    fastbptt.set_num_threads({threads})
    expected, stop = work(7), threading.Event()
    others = [threading.Thread(target=busy, args=(fastbptt.LSTM(3, {H}, 1), stop)) for _ in "ab"]
    for one in others:
        one.start()
    for _ in range(4):
        child = os.fork()
        if child == 0:
            os._exit(0 if work(7) == expected else 3)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for one in others:
        one.join()
    print("well")
    """,
    "threads with models": """
    fastbptt.set_num_threads({threads})
    expected = [work(k) for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == expected
    model = fastbptt.GRU(3, {H}, 1, seed=0)
    whole = model.forward(X).outputs.tobytes()
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: model.forward(X).outputs.tobytes(), range(24)):
            assert found == whole
    print("well")
    """,
    "exit during training": """
    fastbptt.set_num_threads({threads})
    stop = threading.Event()
    for _ in range(3):
        threading.Thread(target=busy, args=(fastbptt.GRU(3, {H}, 1), stop), daemon=True).start()
    time.sleep({wait})
    print("well")
    """,
    "a handler that raises": """
    fastbptt.set_num_threads({threads})
    class Stop(Exception): pass
    def handler(number, frame):
        raise Stop
    signal.signal(signal.SIGALRM, handler)
    model, adam = fastbptt.GRU(3, {H}, 1, seed=1), fastbptt.Adam()
    states, twin, its = [], fastbptt.GRU(3, {H}, 1, seed=1), fastbptt.Adam()
    for _ in range(6):
        signal.setitimer(signal.ITIMER_REAL, {wait} / 4 + 1e-4)
        try:
            while True:
                model.train_step(X, Y, adam)
        except Stop:
            pass
        while its.step_count < adam.step_count:
            twin.train_step(X, Y, its)
        assert model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    print("well")
    """,
    "use at exit": """
    import atexit
    fastbptt.set_num_threads({threads})
    expected = work(3)
    def last():
        assert work(3) == expected
        print("well")
    atexit.register(last)
    """,
    "a child after its parent": """
    fastbptt.set_num_threads({threads})
    expected = work(2)
    reads, writes = os.pipe()
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        os.write(writes, b"well" if work(2) == expected else b"other bits")
        os._exit(0)
    os.close(writes)
    os.wait()
    print(open(reads).read())
    """,
    "Ctrl-C in one long step": """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    fastbptt.set_num_threads({threads})
    long = np.zeros((4, 60_000, 3), "f4")
    model = fastbptt.LSTM(3, 64, 1)  # before: a Ctrl-C is lost where NumPy imports its extensions
    def press():
        time.sleep({wait})
        os.kill(os.getpid(), signal.SIGINT)
    try:
        threading.Thread(target=press).start()  # which may be pressed within
        while True:
            model.train_step(long, np.zeros(4), fastbptt.Adam())
    except KeyboardInterrupt:
        print("well")
    """,
}


def attack(seed: int, folder: Path) -> int:
    """Return the number of programs: 2, in turns."""
    names = list(PROGRAMS)
    for name in (names[2 * seed % len(names)], names[(2 * seed + 1) % len(names)]):
        rng = random.Random(f"{seed} {name}")
        values = {
            "B": rng.choice((1, 2, 16, 33)), "T": rng.choice((1, 5, 200)),
            "H": rng.choice((1, 8, 33, 64)), "threads": rng.choice((1, 2, 3)),
            "method": rng.choice(("fork", "spawn", "forkserver")),
            "before": rng.random() < 0.5, "wait": round(rng.random() * 0.1, 4),
        }  # fmt: skip
        script = folder / "program.py"
        script.write_text((START + textwrap.dedent(PROGRAMS[name])).format(**values))
        try:
            done = subprocess.run(
                [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{name} hangs, with {values}") from error
        said = done.stdout.strip(), done.stderr.strip(), done.returncode
        assert said == ("well", "", 0), f"{name} with {values}: {said}"
    return 2
