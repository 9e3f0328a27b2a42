"""The core and the reference reproduce training runs made by other frameworks.

The numbers lie in tests/support/vectors/, each file beside the script that made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastbptt
from fastbptt import reference

Arrays = dict[str, NDArray[Any]]
# One step of training: the loss before it, and the weights after it.
Run = Iterator[tuple[float, Arrays]]

NAMES = ("W_xh", "W_hh", "b_h", "W_hy", "b_y")
LR, EPS = 0.01, 1e-7

# float64: TensorFlow, NumPy and the core differ by the order of sums and the last bits of tanh and
# exp, some 1e-16 each; Adam's division passes them on enlarged where a gradient is small.
# float32: Keras rounds the betas to float32 in its bias correction, which alone moves each update
# by 6.6e-6 of itself, and weights by up to 2.6e-6 after five updates of 0.01 (seen by redoing it
# in float64); rounding of the sums adds 3e-7. 1e-5 is a thousandth of one update.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

# A gradient is a sum of at most 50 products, each exact to a few units in the last place; relative
# to the largest entry of its array.
GRADIENT_TOLERANCE = {"float32": 2e-6, "float64": 2e-14}

# 100 updates of 0.01 move weights by up to 0.2. Where a gradient is small against its array, the
# rounding of the sum it comes from is a visible share of it, and Adam, which divides by its size,
# makes that a share of an update. Plain NumPy is off by 2.5e-6 in float32 and 2e-15 in float64.
STATE_TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture(scope="module")
def tutorial() -> Arrays:
    path = Path(__file__).parent.parent / "support" / "vectors" / "tutorial_tensorflow.npz"
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def initial(stored: Arrays, dtype: str) -> Arrays:
    return {name: stored[f"initial/{name}"].astype(dtype) for name in NAMES}


def betas(stored: Arrays, dtype: str) -> tuple[float, float]:
    first, second = stored[f"{dtype}/betas"].tolist()
    return first, second


def new_model(stored: Arrays, dtype: str) -> Any:
    model = fastbptt.RNN(32, 64, 1, dtype=dtype)
    for name, weight in initial(stored, dtype).items():
        model.parameters[name][...] = weight
    return model


def run_core(stored: Arrays, dtype: str) -> Run:
    x, y = stored["x"].astype(dtype), stored["y"].astype(dtype)
    model = new_model(stored, dtype)
    optimizer = fastbptt.Adam(lr=LR, betas=betas(stored, dtype), eps=EPS, epsilon_hat=True)
    while True:
        loss = model.train_step(x, y, optimizer, loss="bce", steps="last")
        yield loss, {name: model.parameters[name].copy() for name in NAMES}


def run_reference(stored: Arrays, dtype: str) -> Run:
    x, y = stored["x"].astype(dtype), stored["y"].astype(dtype)
    params = initial(stored, dtype)
    state = reference.Moments()
    while True:
        loss, grads = reference.loss_and_grad(params, x, y, loss="bce", steps="last")
        reference.adam_step(
            params, grads, state, lr=LR, betas=betas(stored, dtype), eps=EPS, epsilon_hat=True
        )
        yield float(loss), {name: params[name].copy() for name in NAMES}


def gradients_core(stored: Arrays, dtype: str) -> Arrays:
    x, y = stored["x"].astype(dtype), stored["y"].astype(dtype)
    _, grads = new_model(stored, dtype).loss_and_grad(x, y, loss="bce", steps="last")
    return {name: grads[name] for name in NAMES}


def gradients_reference(stored: Arrays, dtype: str) -> Arrays:
    x, y = stored["x"].astype(dtype), stored["y"].astype(dtype)
    params = initial(stored, dtype)
    _, grads = reference.loss_and_grad(params, x, y, loss="bce", steps="last")
    return {name: grads[name] for name in NAMES}


both_runs = pytest.mark.parametrize("run", [run_core, run_reference], ids=["core", "reference"])
both_gradients = pytest.mark.parametrize(
    "gradients", [gradients_core, gradients_reference], ids=["core", "reference"]
)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def after(run: Run, steps: int) -> tuple[float, Arrays]:
    """The loss of the last of so many steps, and the weights after it."""
    for _ in range(steps - 1):
        next(run)
    return next(run)


def test_the_file_says_how_it_was_made(tutorial: Arrays) -> None:
    metadata = json.loads(str(tutorial["metadata"]))
    assert metadata["lr"] == LR
    assert metadata["eps"] == EPS
    assert (Path(__file__).parent.parent / "support" / "vectors" / metadata["script"]).is_file()
    assert {"tensorflow", "keras", "numpy"} <= set(metadata)
    assert tutorial["y"].ravel().tolist() == [1, 0, 1, 0, 1]
    assert tutorial["x"].shape == (5, 10, 32)


@both_gradients
@both_dtypes
def test_first_gradients_of_tensorflow(
    tutorial: Arrays, gradients: Callable[[Arrays, str], Arrays], dtype: str
) -> None:
    for name, found in gradients(tutorial, dtype).items():
        expected = tutorial[f"{dtype}/gradients/{name}"]
        assert found.dtype == dtype
        assert found.shape == expected.shape
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error <= GRADIENT_TOLERANCE[dtype], name


@both_runs
@both_dtypes
@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5])
def test_each_epoch_of_tensorflow(
    tutorial: Arrays, run: Callable[[Arrays, str], Run], dtype: str, epoch: int
) -> None:
    loss, weights = after(run(tutorial, dtype), epoch)
    assert abs(loss - tutorial[f"{dtype}/losses"][epoch - 1]) <= TOLERANCE[dtype]
    for name in NAMES:
        expected = tutorial[f"{dtype}/weights/{name}"][epoch - 1]
        assert weights[name].shape == expected.shape
        assert np.abs(weights[name] - expected).max() <= TOLERANCE[dtype], name


@both_runs
def test_hundred_steps_of_tensorflow(tutorial: Arrays, run: Callable[[Arrays, str], Run]) -> None:
    steps = run(tutorial, "float64")
    for expected in tutorial["float64/losses"][:-1]:
        loss, _ = next(steps)
        assert abs(loss - expected) <= STATE_TOLERANCE["float64"]
    _, weights = next(steps)
    for name in NAMES:
        error = np.abs(weights[name] - tutorial[f"float64/final/{name}"]).max()
        assert error <= STATE_TOLERANCE["float64"], name


@both_dtypes
def test_core_follows_the_reference_for_hundred_steps(tutorial: Arrays, dtype: str) -> None:
    # The reference runs in float64 with the betas of the core's run.
    exact = tutorial | {"float64/betas": tutorial[f"{dtype}/betas"]}
    _, expected = after(run_reference(exact, "float64"), 100)
    _, found = after(run_core(tutorial, dtype), 100)
    for name in NAMES:
        moved = np.abs(expected[name] - tutorial[f"initial/{name}"]).max()
        assert moved > 0.05, name
        assert np.abs(found[name] - expected[name]).max() <= STATE_TOLERANCE[dtype], name


@pytest.mark.parametrize("steps", [1, 5, 100])
def test_float32_updates_are_as_exact_as_plain_numpy(tutorial: Arrays, steps: int) -> None:
    # Root mean square, because the largest error is that of one weight with a tiny gradient.
    # Forming 1 - beta2 from a beta2 already in float32 makes this 12 to 35 times NumPy's error.
    exact = tutorial | {"float64/betas": tutorial["float32/betas"]}
    _, expected = after(run_reference(exact, "float64"), steps)

    def error(run: Run) -> float:
        _, found = after(run, steps)
        differences = [(found[name] - expected[name]).ravel() for name in NAMES]
        return float(np.sqrt(np.mean(np.concatenate(differences) ** 2)))

    core, plain = error(run_core(tutorial, "float32")), error(run_reference(tutorial, "float32"))
    assert 0 < core <= 4 * plain
