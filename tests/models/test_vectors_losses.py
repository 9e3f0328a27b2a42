"""Losses and their derivatives are those of PyTorch.

The numbers lie in tests/support/vectors/, beside the script that made them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from vectors.common import Case, read

import fastbptt
from fastbptt import _core, reference

_, FOUND = read("losses_pytorch")
CASES = [pytest.param(case, id=name) for name, case in FOUND.items()]
ISAS = [one.name for one in fastbptt.backends() if one.usable]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    name = _core.active_backend()
    yield
    _core.use_backend(name)


@pytest.mark.parametrize("case", CASES)
def test_reference(case: Case) -> None:
    loss = reference.LOSSES[case.options["loss"]]
    values, dz = loss(case.arrays["z"], case.arrays["y"], **case.options["parameters"])
    np.testing.assert_allclose(values, case.arrays["values"], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(dz, case.arrays["dz"], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_core(case: Case, dtype: str, isa: str) -> None:
    """Of a model whose outputs are its bias; the sum is one of values of very different sizes."""
    _core.use_backend(isa)
    loss = fastbptt.Loss(case.options["loss"], **case.options["parameters"])
    z, y = case.arrays["z"], case.arrays["y"]
    targets = 1 if loss.targets == "classes" else 3
    x = np.ones((1, 1, 1), dtype)
    eps = float(np.finfo(dtype).eps)
    for k in range(len(z)):
        model = fastbptt.RNN(1, 1, targets * z.shape[1], init=("normal", 0.0), dtype=dtype)
        model.parameters["b_y"][:] = np.tile(z[k], targets)
        target = y[k : k + 1] if targets == 1 else np.full((1, 3), y[k], dtype)
        value, grads = model.loss_and_grad(x, target, loss, reduction="sum")
        inexact = 4 * eps * (np.abs(z[k]).max() + abs(y[k]) + 1)  # of the difference
        slope = np.abs(case.arrays["dz"][k]).max()
        wanted = targets * case.arrays["values"][k].sum()
        assert value == pytest.approx(
            wanted, rel=max(8 * eps, 1e-13), abs=3 * inexact * (slope + inexact)
        )
        expected = np.tile(case.arrays["dz"][k], targets)
        np.testing.assert_allclose(grads["b_y"], expected, rtol=4 * eps, atol=inexact)


KINKS = [
    ("mae", {}, 2.0, 2.0, 0.0),
    ("huber", {"delta": 0.5}, 2.5, 2.0, 0.5),
    ("hinge", {}, -1.0, -1.0, 0.0),
    ("quantile", {"levels": (0.25,)}, 2.0, 2.0, 0.0),
]


@pytest.mark.parametrize(("name", "parameters", "z", "y", "slope"), KINKS)
def test_at_a_kink(name: str, parameters: dict[str, Any], z: float, y: float, slope: float) -> None:
    """The derivative is 0 where it jumps around 0, as torch.sign's."""
    loss = fastbptt.Loss(name, **parameters)
    _, dz = reference.LOSSES[name](np.array([[z]]), np.array([y]), **parameters)
    assert dz.item() == slope
    for isa, dtype in itertools.product(ISAS, ("float32", "float64")):
        _core.use_backend(isa)
        model = fastbptt.RNN(1, 1, 1, init=("normal", 0.0), dtype=dtype)
        model.parameters["b_y"][:] = z
        _, grads = model.loss_and_grad(np.ones((1, 1, 1)), [y], loss)
        assert grads["b_y"].item() == slope, (isa, dtype)


def extremes(dtype: str) -> list[tuple[str, dict[str, Any], list[float], float, list[float]]]:
    """Loss, parameters, outputs, target, and the derivative: where a naive form fails."""
    most, least = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny) / 2
    far = -1e4 if dtype == "float64" else -1e3  # exp(-far / 2) is beyond the dtype
    return [
        ("mae", {}, [most / 2], -most / 4, [1.0]),
        ("mae", {}, [least], 0.0, [0.0]),  # denormal numbers are 0
        ("quantile", {"levels": (0.25, 0.75)}, [1e30, -1e30], 0.0, [0.75, -0.75]),
        ("huber", {}, [most / 2], -most / 4, [1.0]),
        ("hinge", {}, [most / 2], -1.0, [1.0]),
        ("hinge", {}, [most], 1.0, [0.0]),
        ("poisson", {}, [-most], 0.5, [-0.5]),
        ("log_cosh", {}, [most / 2], -most / 4, [1.0]),
        ("log_cosh", {}, [1e-8], 0.0, [1e-8]),
        ("log_cosh", {"delta": 1e30}, [3.0], 1.0, [2.0]),
        ("log_cosh", {"delta": 1e-30}, [1e8], 0.0, [1e-30]),
        ("gaussian", {}, [2.0, far], 2.0, [0.0, 0.5]),
        ("gaussian", {}, [1e30, 1e30], 0.0, [0.0, 0.5]),
        ("bce", {"gamma": 2.0}, [most], 1.0, [0.0]),
        ("bce", {"gamma": 2.0}, [-1e30], 1.0, [-1.0]),
        ("bce", {"gamma": 0.5, "label_smoothing": 0.5}, [1e30], 1.0, [0.25]),
        ("cross_entropy", {"gamma": 2.0}, [1e30, -1e30], 0, [0.0, 0.0]),
        ("cross_entropy", {"gamma": 2.0}, [1e30, -1e30], 1, [1.0, -1.0]),
        ("cross_entropy", {"label_smoothing": 0.5}, [1e30, -1e30], 0, [0.25, -0.25]),
    ]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes(dtype: str, isa: str) -> None:
    _core.use_backend(isa)
    for name, parameters, z, y, slope in extremes(dtype):
        loss = fastbptt.Loss(name, **parameters)
        model = fastbptt.RNN(1, 1, len(z), init=("normal", 0.0), dtype=dtype)
        model.parameters["b_y"][:] = z
        target = np.array([y], np.int64 if loss.targets == "classes" else dtype)
        value, grads = model.loss_and_grad(np.ones((1, 1, 1), dtype), target, loss, reduction="sum")
        with np.errstate(over="ignore"):
            outputs, wanted = np.array([z]), target if target.dtype.kind == "i" else [float(y)]
            expected, _ = reference.LOSSES[name](outputs, np.array(wanted), **loss.parameters)
        eps = float(np.finfo(dtype).eps)
        assert np.isfinite(value), (name, z)
        assert value == pytest.approx(expected.sum(), rel=64 * eps, abs=1e-37), (name, z)
        np.testing.assert_allclose(grads["b_y"], slope, rtol=64 * eps, err_msg=f"{name} {z}")
