"""Leaky units with noise against PyTorch's autograd in float64; the noise is given as an array."""

from __future__ import annotations

import numpy as np
import pytest
from networks import close, next_noise

import fastbptt

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(11)
B, T, I, H, O = 6, 9, 3, 10, 2
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, O))
ALPHA = RNG.uniform(0.1, 0.9, H)
FUNCTIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": torch.nn.functional.softplus,
    "sigmoid": torch.sigmoid,
}


@pytest.mark.parametrize("nonlinearity", FUNCTIONS)
@pytest.mark.parametrize("formulation", ["rate", "preactivation"])
@pytest.mark.parametrize("scaling", [None, "alpha"])
def test_loss_and_gradients(formulation: str, nonlinearity: str, scaling: str | None) -> None:
    model = fastbptt.LeakyRNN(
        I, H, O, formulation=formulation, nonlinearity=nonlinearity, alpha=ALPHA, dtype="float64",
        recurrent_noise=0.2, input_noise=0.0 if scaling else 0.3, noise_scaling=scaling,
        recurrent_dropout=0.2, seed=4,
    )  # fmt: skip
    drawn = next_noise(model, B, T)
    p = {
        name: torch.tensor(np.array(value), requires_grad=True)
        for name, value in model.parameters.items()
    }
    x, alpha = torch.tensor(X), torch.tensor(ALPHA)
    if not scaling:
        x = x + torch.tensor(drawn["input_noise"].astype(np.float64))
    noise, mask = torch.tensor(drawn["noise"][0]), torch.tensor(drawn["recurrent_masks"][0])
    f = FUNCTIONS[nonlinearity]
    state, seen = torch.zeros(B, H, dtype=torch.float64), []
    for t in range(T):
        before = state if formulation == "rate" else f(state)
        a = x[:, t] @ p["W_xh"] + (mask * before) @ p["W_hh"] + p["b_h"] + noise[:, t]
        state = (1 - alpha) * state + alpha * (f(a) if formulation == "rate" else a)
        seen.append(state if formulation == "rate" else f(state))
    outputs = torch.stack(seen, 1) @ p["W_hy"] + p["b_y"]
    expected = ((outputs - torch.tensor(Y)) ** 2).mean()
    expected.backward()
    loss, grads = model.loss_and_grad(X, Y, "mse", "all")
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for name, parameter in p.items():
        close(grads[name], parameter.grad.numpy(), 1e-12)


def test_zoneout() -> None:
    model = fastbptt.LeakyRNN(I, H, O, alpha=ALPHA, dtype="float64", zoneout=0.3, seed=4)
    kept = torch.tensor(next_noise(model, B, T)["zoneout"][0, 0])
    p = {name: torch.tensor(np.array(one)) for name, one in model.parameters.items()}
    p["W_hh"].requires_grad_()
    h, alpha, seen = torch.zeros(B, H, dtype=torch.float64), torch.tensor(ALPHA), []
    for t in range(T):
        new = torch.tanh(torch.tensor(X[:, t]) @ p["W_xh"] + h @ p["W_hh"] + p["b_h"])
        h = kept[:, t] * h + (1 - kept[:, t]) * ((1 - alpha) * h + alpha * new)
        seen.append(h)
    expected = ((torch.stack(seen, 1) @ p["W_hy"] + p["b_y"] - torch.tensor(Y)) ** 2).mean()
    expected.backward()
    loss, grads = model.loss_and_grad(X, Y, "mse", "all")
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    close(grads["W_hh"], p["W_hh"].grad.numpy(), 1e-12)
