"""What is computed of large networks comes in calls that leave Ctrl-C a chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.diagnostics import _dynamics, _numbers

RNG = np.random.default_rng(0)
N = 11
MATRICES: dict[str, Any] = {
    "normal": RNG.normal(size=(N, N)),
    "orthogonal": np.linalg.qr(RNG.normal(size=(N, N)))[0],
    "uniform": RNG.uniform(-0.3, 0.3, (N, N)),
    "a rotation": np.kron(np.eye(6), [[0.0, -0.5], [0.5, 0.0]]),
    "of rank 2": RNG.normal(size=(N, 2)) @ RNG.normal(size=(2, N)),
    "triangular": np.triu(RNG.normal(size=(N, N))),
    "nilpotent": np.triu(RNG.normal(size=(N, N)), 1),
    "zero": np.zeros((N, N)),
    "tiny": 1e-200 * RNG.normal(size=(N, N)),
    "huge": 1e200 * RNG.normal(size=(N, N)),
    "one cycle": np.roll(np.eye(N), 1, axis=0),
    "a gain": 1.25 * np.eye(N),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("product", [1, 300, 1 << 30])
def test_spectral_radius_of_a_large_matrix(
    name: str, product: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = MATRICES[name]
    expected = _numbers.spectral_radius(matrix)
    monkeypatch.setattr(_numbers, "AT_ONCE", 4)
    monkeypatch.setattr(_numbers, "MULTIPLY_ADDS", product)
    monkeypatch.setattr(np.linalg, "eigvals", None)
    assert _numbers.spectral_radius(matrix) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("hidden", [5, pytest.param(70, marks=pytest.mark.slow)])
def test_it_makes_no_difference(cell: str, hidden: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fastbptt.Recurrent(cell, 2, hidden, 1, dtype="float64", seed=0)
    x, y = np.random.default_rng(0).normal(size=(5, 4, 2)), [0, 1, 0, 1, 1]
    expected = fastbptt.diagnose(model, x, y, jacobians=True).layers[0]
    sizes = []
    for name in ("eigvals", "eigvalsh", "svd"):
        real = getattr(np.linalg, name)

        def seen(matrices: Any, real: Any = real, **options: Any) -> Any:
            sizes.append(matrices.size * matrices.shape[-1])
            return real(matrices, **options)

        monkeypatch.setattr(np.linalg, name, seen)
    monkeypatch.setattr(_numbers, "AT_ONCE", 4)
    monkeypatch.setattr(_dynamics, "AT_A_TIME", 2 * (2 * hidden) ** 3)
    found = fastbptt.diagnose(model, x, y, jacobians=True).layers[0]
    assert sizes and max(sizes) <= 2 * (2 * hidden) ** 3
    assert found.spectral_radii == pytest.approx(expected.spectral_radii, rel=1e-8)
    np.testing.assert_array_equal(found.log_jacobian, expected.log_jacobian)
