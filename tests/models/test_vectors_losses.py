"""Losses and their derivatives are those of PyTorch.

The numbers lie in tests/support/vectors/, beside the script that made them.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    z, y = case.arrays["z"][:, np.newaxis], case.arrays["y"]
    values, dz = loss(z, y, **case.options["parameters"])
    np.testing.assert_allclose(values[:, 0], case.arrays["values"], rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(dz[:, 0], case.arrays["dz"], rtol=1e-14, atol=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_core(case: Case, dtype: str, isa: str) -> None:
    """Of a model whose outputs are its bias; the sum is one of values of very different sizes."""
    _core.use_backend(isa)
    loss = fastbptt.Loss(case.options["loss"], **case.options["parameters"])
    z, y = case.arrays["z"], case.arrays["y"]
    x = np.ones((1, 1, 1), dtype)
    eps = float(np.finfo(dtype).eps)
    for k in range(len(z)):
        model = fastbptt.RNN(1, 1, 3, init=("normal", 0.0), dtype=dtype)
        model.parameters["b_y"][:] = z[k]
        target = np.full((1, 3), y[k], dtype)
        value, grads = model.loss_and_grad(x, target, loss, reduction="sum")
        inexact = 4 * eps * (abs(z[k]) + abs(y[k]) + 1)  # of the difference
        slope = abs(case.arrays["dz"][k])
        wanted = 3 * case.arrays["values"][k]
        assert value == pytest.approx(wanted, rel=8 * eps, abs=3 * inexact * (slope + inexact))
        np.testing.assert_allclose(
            grads["b_y"], np.full(3, case.arrays["dz"][k]), rtol=4 * eps, atol=inexact
        )
