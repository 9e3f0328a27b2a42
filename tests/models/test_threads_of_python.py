"""Threads of Python that train, predict and change at the same time, with and without the GIL."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import pytest

import fastbptt
from fastbptt import _core

Run: TypeAlias = Callable[[str], subprocess.CompletedProcess[str]]

FREE = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
B, T, I, H = 12, 20, 3, 24
X = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)
Y = (np.arange(B) % 2).astype(np.float32)
STEPS = 25


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run each job in a thread of its own, all from the same moment on; the results in order."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def trained(seed: int) -> bytes:
    model, adam = fastbptt.LSTM(I, H, 1, dropout=0.2, num_layers=2, seed=seed), fastbptt.Adam()
    for _ in range(STEPS):
        model.train_step(X, Y, adam)
    return model.parameters.flat.tobytes()


def fitted(seed: int) -> bytes:
    model = fastbptt.GRU(I, H, 1, seed=seed)
    fastbptt.fit(model, X, Y, epochs=4, batch_size=5, validation=0.25, seed=seed, verbose=0)
    return model.parameters.flat.tobytes()


@pytest.mark.parametrize("job", [trained, fitted])
@pytest.mark.parametrize("count", [2, 8])
def test_each_thread_trains_a_model(job: Callable[[int], bytes], count: int) -> None:
    serial = [job(seed) for seed in range(count)]
    for _ in range(2):
        assert at_once([lambda seed=seed: job(seed) for seed in range(count)]) == serial


def test_eight_threads_train_models_while_one_predicts() -> None:
    model = fastbptt.GRU(I, H, 1, seed=9)
    expected, serial = model.forward(X).outputs.tobytes(), [trained(seed) for seed in range(8)]
    over = threading.Event()

    def predict() -> int:
        count = 0
        while not over.is_set():
            assert fastbptt.predict(model, X, steps="all").tobytes() == expected
            count += 1
        return count

    with ThreadPoolExecutor(1) as other:
        predictions = other.submit(predict)
        try:
            found = at_once([lambda seed=seed: trained(seed) for seed in range(8)])
        finally:
            over.set()
        assert found == serial
        assert predictions.result() > 0


def test_two_threads_fit_one_model() -> None:
    """Batches of both come one after the other, in an order that nobody knows."""
    model, adam = fastbptt.GRU(I, H, 1, seed=0), fastbptt.Adam()
    options = {"epochs": 5, "batch_size": 4, "optimizer": adam, "verbose": 0}
    at_once([lambda: fastbptt.fit(model, X, Y, **options)] * 2)
    assert adam.step_count == 2 * 5 * 3
    assert np.isfinite(model.parameters.flat).all()


def test_one_model_with_all_that_may_be_done_to_it() -> None:
    """A right result or an error that says what is wrong."""
    model, adam = fastbptt.LSTM(I, H, 1, dropout=0.1, num_layers=2, seed=0), fastbptt.Adam()
    fresh, out = model.state_dict(), model.forward(X)

    def rates() -> None:
        adam.lr = 1e-3 if adam.lr == 1e-2 else 1e-2

    def freezes() -> None:
        model.freeze("W_xh")
        model.unfreeze("W_xh")

    calls: list[Callable[[], Any]] = [
        lambda: model.train_step(X, Y, adam),
        lambda: model.loss_and_grad(X, Y)[1].flat.sum(),
        lambda: model.backward(out, np.ones((B, T, 1))).flat.sum(),
        lambda: fastbptt.predict(model, X),
        lambda: model.step(X[:, 0], model.initial_state(B)),
        lambda: model.load_state_dict(fresh),
        lambda: model.copy().train_step(X, Y, adam.copy()),
        lambda: (adam.step_count, adam.m.flat.sum(), out.outputs, out.final_state, out.last),
        rates,
        freezes,
    ]

    def again(call: Callable[[], Any]) -> None:
        for _ in range(STEPS):
            call()

    at_once([lambda call=call: again(call) for call in calls])
    assert adam.step_count == STEPS
    assert not model.frozen
    assert np.isfinite(model.parameters.flat).all()


def test_prepared_data_are_used_by_one_call_at_a_time() -> None:
    """As `fit` has them, for long calls."""
    model, adam = fastbptt.GRU(I, H, 1, seed=0), fastbptt.Adam()
    model.train_step(X, Y, adam)  # binds the optimiser
    count, binding = 3000, adam._binding
    assert binding is not None
    x, y = _core.StridedSequences(X, None), _core.StridedSequences(Y[:, None], None)
    objective = _core.Objective(loss=fastbptt.Loss("bce"), steps="last", reduction="mean", y=None)
    data = model._engine.training_data(objective, x, (y,), None, 0, None, None, None, T)
    rows = np.tile(np.arange(B), count)
    starts = np.arange(0, count * B, B)

    def train() -> str:
        try:
            model._engine.train_batches(
                data,
                binding.update,
                rows,
                starts,
                B,
                60.0,
                np.empty((count, 1)),
                None,
                None,
                0,
                0,
                None,
            )
        except ValueError as error:
            return str(error)
        return ""

    found = at_once([train] * 4)
    assert sorted(map(bool, found)) == [False, True, True, True]
    assert {text for text in found if text} == {"the data is another model's, or in use"}
    assert adam.step_count == 1 + count


@pytest.mark.skipif(not FREE, reason="needs a Python without the GIL")
def test_the_gil_stays_off(run_script: Run) -> None:
    result = run_script(
        "import sys, pkgutil, importlib, fastbptt\n"
        "assert not sys._is_gil_enabled()\n"
        "import fastbptt.training, fastbptt.datasets, fastbptt.diagnostics, fastbptt.interchange\n"
        "assert not sys._is_gil_enabled()\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


SUBINTERPRETERS = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import fastbptt
model = fastbptt.RNN(2, 3, 1, seed=0)
code = '''
import importlib.util, sys, types
sys.path[:] = {path!r}
try:
    import fastbptt
except ImportError as error:
    assert "subinterpreters" in str(error), error
else:
    raise SystemError("the package was imported")
if sys.version_info >= (3, 12):  # NumPy, on the way to the core, has refused
    sys.modules["fastbptt"] = types.ModuleType("fastbptt")
    spec = importlib.util.spec_from_file_location("fastbptt._core", {core!r})
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except ImportError as error:
        assert "subinterpreters" in str(error), error
    else:
        raise SystemError("the core was imported")
'''
run = getattr(interpreters, "exec", None) or interpreters.run_string
for kind in ("isolated", "legacy") if sys.version_info >= (3, 13) else ((),):
    one = interpreters.create(*[kind] if kind else [])
    error = run(one, code)
    assert error is None, error
    interpreters.destroy(one)
assert model.forward([[[1.0, 2.0]]]).outputs.shape == (1, 1, 1)
print("refused")
"""


def test_subinterpreters_are_refused(run_script: Run) -> None:
    result = run_script(SUBINTERPRETERS.format(path=sys.path, core=_core.__file__))
    assert (result.returncode, result.stdout, result.stderr) == (0, "refused\n", "")
