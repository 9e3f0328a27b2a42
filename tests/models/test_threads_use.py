"""A model used from several threads, for a long time, and at the very end."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import pytest
from cases import sampled
from trained import Bench

import fastbptt

Run: TypeAlias = Callable[[str], subprocess.CompletedProcess[str]]

WORKERS = 4


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many threads the core uses."""
    before = fastbptt.get_num_threads()
    fastbptt.set_num_threads(request.param)
    yield request.param
    fastbptt.set_num_threads(before)


def batches(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    result = []
    for i in range(count):
        batch, steps = int(rng.integers(1, 40)), int(rng.integers(1, 60))
        result.append(
            {
                "x": rng.normal(size=(batch, steps, 7)).astype("f4" if i % 2 else "f8"),
                "y": rng.integers(0, 3, size=batch),
                "loss": "cross_entropy",
                "lengths": rng.integers(1, steps + 1, size=batch) if i % 3 else None,
            }
        )
    return result


def together(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run jobs in threads that start at the same moment."""
    barrier = threading.Barrier(WORKERS)
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(WORKERS):
            pool.submit(barrier.wait)
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def test_concurrent_forward_and_gradients_have_the_bits_of_serial_ones(threads: int) -> None:
    model = fastbptt.RNN(7, 33, 3, seed=0)
    given = batches(60)

    def forward(batch: dict[str, Any]) -> bytes:
        out = model.forward(batch["x"], batch["lengths"])
        return out.outputs.tobytes() + out.final_state.tobytes()

    def gradients(batch: dict[str, Any]) -> bytes:
        loss, grads = model.loss_and_grad(**batch, need_input_grad=True)
        assert grads.x is not None
        assert loss == model.loss(**batch)
        return grads.flat.tobytes() + grads.x.tobytes()

    for work in (forward, gradients):
        serial = [work(batch) for batch in given]
        jobs = [lambda batch=batch, work=work: work(batch) for batch in given]
        assert together(jobs) == serial


def test_errors_on_one_sequence_leave_nothing_behind(threads: int) -> None:
    """Its threads share the units of each step."""
    model = fastbptt.RNN(7, 129, 3, seed=0)
    x, y = np.ones((1, 300, 7), np.float32), np.ones((1, 300, 3))
    before = model.loss(x, y, "mse", steps="all")
    for place in (0, 299):
        bad = x.copy()
        bad[0, place, 3] = np.nan
        with pytest.raises(ValueError, match=rf"at index \(0, {place}, 3\)"):
            model.loss_and_grad(bad, y, "mse", steps="all")
        assert model.loss(x, y, "mse", steps="all") == before


def test_forward_and_backward_in_different_threads(threads: int) -> None:
    model = fastbptt.RNN(7, 33, 3, seed=0)
    outs = [model.forward(batch["x"], batch["lengths"]) for batch in batches(20)]
    ups = [np.ones(out.outputs.shape) for out in outs]
    serial = [model.backward(o, up).flat.tobytes() for o, up in zip(outs, ups, strict=True)]
    jobs = [
        lambda o=o, up=up: model.backward(o, up).flat.tobytes()
        for o, up in zip(outs, ups, strict=True)
    ]
    assert together(jobs) == serial


def test_concurrent_updates_come_one_after_the_other(threads: int) -> None:
    batch = batches(3)[2]
    model, adam = fastbptt.RNN(7, 33, 3, seed=0), fastbptt.Adam(lr=0.01)
    serial, own = model.copy(), adam.copy()
    losses = [serial.train_step(optimizer=own, **batch) for _ in range(100)]
    jobs = [lambda: model.train_step(optimizer=adam, **batch)] * 100
    assert sorted(together(jobs)) == sorted(losses)
    assert adam.step_count == 100
    assert model.parameters.flat.tobytes() == serial.parameters.flat.tobytes()
    assert adam.v.flat.tobytes() == own.v.flat.tobytes()


def test_one_optimizer_raced_for_by_two_models() -> None:
    batch = batches(1)[0]
    models = [fastbptt.RNN(7, 33, 3, seed=0) for _ in range(WORKERS)]
    adam = fastbptt.Adam()

    def train(model: fastbptt.RNN) -> int:
        try:
            model.train_step(optimizer=adam, **batch)
        except ValueError as error:
            assert str(error).startswith("optimizer belongs to another model")  # noqa: PT017
            return 0
        return 1

    assert sum(together([lambda m=m: train(m) for m in models])) == 1
    assert adam.step_count == 1


def test_one_result_taken_back_in_many_threads(threads: int) -> None:
    batch = batches(3)[2]
    model = fastbptt.RNN(7, 33, 3, seed=0)
    out = model.forward(batch["x"], batch["lengths"])
    ups = [np.full(out.outputs.shape, i + 1.0) for i in range(30)]
    serial = [model.backward(out, up).flat.tobytes() for up in ups]
    assert together([lambda up=up: model.backward(out, up).flat.tobytes() for up in ups]) == serial


def test_updates_are_not_starved_by_readers(bench: Bench) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            bench.model.forward(bench.x)

    readers = [threading.Thread(target=read) for _ in range(WORKERS)]
    for reader in readers:
        reader.start()
    start = time.monotonic()
    try:
        for _ in range(50):
            bench.model.train_step(bench.x, bench.y, bench.adam)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert time.monotonic() - start < 20.0


def test_copies_taken_while_training_are_whole(bench: Bench) -> None:
    """The weights are set all to one number again and again; every copy holds one number."""
    model, stop = bench.model, threading.Event()
    states = [{k: np.full_like(a, i) for k, a in model.state_dict().items()} for i in range(2)]
    model.load_state_dict(states[0])

    def change() -> None:
        i = 0
        while not stop.is_set():
            i = 1 - i
            model.load_state_dict(states[i])

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            values = {*pickle.loads(pickle.dumps(model)).parameters.flat.tolist()}
            assert len(values) == 1
            whole = {value for a in model.state_dict().values() for value in a.ravel().tolist()}
            assert len(whole) == 1
    finally:
        stop.set()
        thread.join()


def test_pickle_of_model_and_optimizer_during_a_training(bench: Bench) -> None:
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            bench.model.train_step(bench.x, bench.y, bench.adam)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(100):
            model, adam = pickle.loads(pickle.dumps((bench.model, bench.adam)))
            assert math.isfinite(model.train_step(bench.x, bench.y, adam))
    finally:
        stop.set()
        thread.join()


def test_other_threads_run_during_a_call() -> None:
    model = fastbptt.RNN(8, 128, 1, seed=0)
    count, stop = [0], threading.Event()

    def counting() -> None:
        while not stop.is_set():
            count[0] += 1

    thread = threading.Thread(target=counting)
    steps, seconds, counted = 250, 0.0, 0
    thread.start()
    try:
        while seconds < 0.2 and steps < 10**6:
            steps *= 2
            x = np.zeros((32, steps, 8), np.float32)
            y = np.zeros(32, np.float32)
            before, start = count[0], time.perf_counter()
            model.loss_and_grad(x, y)
            seconds, counted = time.perf_counter() - start, count[0] - before
    finally:
        stop.set()
        thread.join()
    assert seconds >= 0.2
    assert counted > 5_000


# ---------------------------------------------------------------- processes of their own


DAEMON = """
import threading, time
import numpy as np, fastbptt
fastbptt.set_num_threads({threads})
model, adam = fastbptt.RNN(16, {hidden}, 1, seed=0), fastbptt.Adam()
x, y = np.zeros((32, {steps}, 16), np.float32), np.zeros(32, np.float32)
inside = threading.Event()
def work():
    inside.set()
    while True:
        {call}
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
inside.wait()
time.sleep({wait})
"""


@pytest.mark.parametrize(
    ("threads", "call", "hidden", "steps"),
    sampled(
        [
            (threads, call, *size)
            for threads in (1, 2)
            for call in ("train_step(x, y, adam)", "loss_and_grad(x, y)", "forward(x)")
            for size in ((8, 10), (128, 1000))
        ],
        6,
    ),
)
def test_exit_with_a_daemon_thread_inside_a_call(
    run_script: Run, threads: int, call: str, hidden: int, steps: int
) -> None:
    for wait in (0.0, 0.03):
        code = DAEMON.format(
            threads=threads, hidden=hidden, steps=steps, call=f"model.{call}", wait=wait
        )
        result = run_script(code)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_use_at_exit(run_script: Run) -> None:
    """In a handler that runs after the package's own, and when the last objects go."""
    result = run_script(
        "import atexit, threading\n"
        "class Last:\n"
        "    def __del__(self):\n"
        "        print('last', len(self.model.state_dict()), flush=True)\n"
        "last = Last()\n"
        "def leave():\n"
        "    print(last.model.forward(np.zeros((1, 2, 3))).outputs.shape, flush=True)\n"
        "atexit.register(leave)\n"
        "import numpy as np, fastbptt\n"
        "last.model = fastbptt.RNN(3, 4, 1)\n"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "(1, 2, 1)\nlast 5\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("shape", [(64, 50, 8), (1, 700, 8)])
def test_fork_after_use(run_script: Run, shape: tuple[int, ...]) -> None:
    result = run_script(
        "import os, warnings\n"
        "import numpy as np, fastbptt\n"
        "warnings.simplefilter('ignore')\n"
        "fastbptt.set_num_threads(3)\n"
        "model = fastbptt.RNN(8, 64, 1, seed=0)\n"
        f"x = np.ones({shape}, np.float32); y = np.zeros({shape[0]}, np.float32)\n"
        "before = model.loss_and_grad(x, y)[1].flat.tobytes()\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    after = model.loss_and_grad(x, y)[1].flat.tobytes()\n"
        "    if child == 0:\n"
        "        os._exit(0 if after == before else 1)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_child_of_a_fork_during_a_call_exits(run_script: Run) -> None:
    result = run_script(
        "import os, sys, threading, warnings\n"
        "import numpy as np, fastbptt\n"
        "warnings.simplefilter('ignore')\n"
        "busy = [fastbptt.RNN(2, 3, 1, seed=0) for _ in '12']\n"
        "x = np.ones((1, 2, 2), np.float32)\n"
        "done = False\n"
        "def work(model):\n"
        "    while not done:\n"
        "        model.forward(x)\n"
        "threads = [threading.Thread(target=work, args=(model,)) for model in busy]\n"
        "for thread in threads: thread.start()\n"
        "for _ in range(12):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        done = True\n"
        "        sys.exit(0)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "done = True\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


GROWTH = """
import numpy as np, fastbptt
model, adam = fastbptt.RNN(32, 64, 1, seed=0), fastbptt.Adam()
rng = np.random.default_rng(0)
x, y = rng.normal(size=(5, 10, 32)).astype(np.float32), np.array([1, 0, 1, 0, 1], np.float32)
lengths, h0 = np.array([10, 3, 5, 1, 9]), np.zeros((1, 5, 64), np.float32)
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
def steps(n):
    for _ in range(n):
        {step}
steps(1000)
before = resident()
steps(10000)
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize(
    "step",
    [
        pytest.param("model.train_step(x, y, adam)", marks=pytest.mark.slow),
        "model.train_step(x, y, adam, lengths=lengths, h0=h0, clip_norm=1.0)",
        pytest.param(
            "adam.step(model, model.loss_and_grad(x, y, need_input_grad=True)[1])",
            marks=pytest.mark.slow,
        ),
        "out = model.forward(x, lengths); model.backward(out, out.outputs, out.final_state)",
    ],
)
def test_ten_thousand_steps_do_not_grow_memory(run_script: Run, step: str) -> None:
    result = run_script(GROWTH.format(step=step))
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) < 2**20
