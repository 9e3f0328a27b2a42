"""Masks, signs, low rank and penalties on states against PyTorch's autograd, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(6, 9, 3)), RNG.normal(size=(6, 9, 2))
LENGTHS = np.array([9, 4, 1, 9, 7, 2])
ALPHA = 0.3
TERMS = {"activity_l1": 0.2, "activity_l2": 0.6, "activity_change_l2": 0.9}
OPTIMIZERS = {
    "sgd": (lambda: fastbptt.SGD(0.05, momentum=0.9), {"lr": 0.05, "momentum": 0.9}, "SGD"),
    "adam": (lambda: fastbptt.Adam(0.02), {"lr": 0.02}, "Adam"),
    "adamw": (lambda: fastbptt.AdamW(0.02, weight_decay=0.1), {"lr": 0.02, "weight_decay": 0.1},
              "AdamW"),
    "rmsprop": (lambda: fastbptt.RMSprop(0.01), {"lr": 0.01}, "RMSprop"),
}  # fmt: skip


def network(cell: str, **options: Any) -> fastbptt.Recurrent:
    alpha = ALPHA if cell == "leaky" else None
    return fastbptt.Recurrent(cell, 3, 8, 2, alpha=alpha, dtype="float64", seed=1, **options)


def step(cell: str, p: dict[str, Any], x: Any, state: list[Any]) -> list[Any]:
    """One step of a cell; the first of the states is h."""
    W_hh = p["W_hh"] if "W_hh" in p else p["N_hh"] @ p["M_hh"]
    h = state[0]
    from_x, from_h = x @ p["W_xh"] + p["b_h"], h @ W_hh
    if cell == "lstm":
        i, f, g, o = (from_x + from_h).chunk(4, 1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]
    if cell == "gru":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3, 1), from_h.chunk(3, 1)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * (h_n + p["b_hn"]))
        return [(1 - z) * n + z * h]
    a = from_x + from_h
    if cell == "leaky":
        return [(1 - ALPHA) * h + ALPHA * torch.tanh(a)]
    return [torch.relu(a) if cell == "relu" else torch.tanh(a)]


def loss_of(cell: str, p: dict[str, Any], terms: dict[str, float]) -> tuple[Any, dict[str, Any]]:
    """The loss and the terms beside it."""
    x, y = torch.tensor(X), torch.tensor(Y)
    exist = (torch.arange(9) < torch.tensor(LENGTHS)[:, None])[:, :, None]
    state, hidden = [torch.zeros(6, 8, dtype=torch.float64)] * 2, []
    for t in range(9):
        state = step(cell, p, x[:, t], state)
        hidden.append(state[0])
    h = torch.stack(hidden, 1)
    error = ((h @ p["W_hy"] + p["b_y"] - y) ** 2).mean(2, keepdim=True)
    changes = torch.diff(h, dim=1)[exist[:, 1:].expand(-1, -1, 8)]
    own = h[exist.expand(-1, -1, 8)]
    found = {
        "activity_l1": own.abs().mean(),
        "activity_l2": (own**2).mean(),
        "activity_change_l2": (changes**2).mean(),
    }
    values = {name: strength * found[name] for name, strength in terms.items()}
    return error[exist].mean(), values


@pytest.mark.parametrize("cell", ["rnn", "relu", "leaky", "gru", "lstm"])
@pytest.mark.parametrize("rank", [None, 3])
def test_gradients(cell: str, rank: int | None) -> None:
    model = network(cell, rank=rank)
    p = {name: torch.tensor(v, requires_grad=True) for name, v in model.state_dict().items()}
    loss, terms = loss_of(cell, p, TERMS)
    (loss + sum(terms.values())).backward()
    value, grads = model.loss_and_grad(X, Y, "mse", "all", lengths=LENGTHS, **TERMS)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    assert model.last_penalties == pytest.approx(
        {name: term.item() for name, term in terms.items()}, rel=1e-12
    )
    for name, one in p.items():
        np.testing.assert_allclose(grads[name], one.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["masks and signs", "rank"])
def test_training(cell: str, name: str, kind: str) -> None:
    """Twenty updates; masks and signs by projection after each."""
    mask = np.tile(RNG.random((8, 8)) < 0.6, 4 if cell == "lstm" else 1)
    sign = np.where(np.arange(8) < 5, 1.0, -1.0)[:, np.newaxis] * np.ones(mask.shape)
    options: dict[str, Any] = {"rank": 3}
    if kind != "rank":
        options = {"constraints": fastbptt.Constraints(masks={"W_hh": mask}, signs={"W_hh": sign})}
    model = network(cell, **options)
    p = {one: torch.tensor(v, requires_grad=True) for one, v in model.state_dict().items()}
    ours, given, theirs = OPTIMIZERS[name]
    optimizer, adam = getattr(torch.optim, theirs)(p.values(), **given), ours()
    for _ in range(20):
        optimizer.zero_grad()
        loss, terms = loss_of(cell, p, TERMS)
        (loss + sum(terms.values())).backward()
        with torch.no_grad():
            if "W_hh" in p:
                p["W_hh"].grad[~torch.tensor(mask)] = 0
            optimizer.step()
            if "W_hh" in p:
                p["W_hh"][(p["W_hh"] * torch.tensor(sign) < 0) | ~torch.tensor(mask)] = 0
        model.train_step(X, Y, adam, "mse", "all", lengths=LENGTHS, **TERMS)
        for one, values in p.items():
            np.testing.assert_allclose(
                model.parameters[one], values.detach().numpy(), rtol=1e-12, atol=1e-12
            )
    if kind != "rank":
        assert (model.parameters["W_hh"][~mask] == 0).all()


@pytest.mark.parametrize("cell", ["rnn", "relu", "leaky"])
def test_omega(cell: str) -> None:
    """Signals by autograd, held fixed; then the formula of the paper by autograd."""
    model = network(cell)
    p = {name: torch.tensor(v, requires_grad=True) for name, v in model.state_dict().items()}
    x, y = torch.tensor(X), torch.tensor(Y)
    h, sums, hidden = torch.zeros(6, 8, dtype=torch.float64), [], [None]
    for t in range(9):
        a = x[:, t] @ p["W_xh"] + p["b_h"] + h @ p["W_hh"]
        a.retain_grad()
        after = torch.relu(a) if cell == "relu" else torch.tanh(a)
        h = (1 - ALPHA) * h + ALPHA * after if cell == "leaky" else after
        h.retain_grad()
        sums.append(a)
        hidden.append(h)
    ((h @ p["W_hy"] + p["b_y"] - y[:, -1]) ** 2).mean().backward()
    before = p["W_hh"].grad.clone()
    W_hh = p["W_hh"].detach().requires_grad_()
    omega = 0.0
    for t in range(1, 9):
        d_a = sums[t].grad
        image, d = d_a @ W_hh.T, d_a
        if cell == "leaky":
            d = hidden[t + 1].grad
            image = image + (1 - ALPHA) * d
        else:
            h = hidden[t].detach()
            image = image * (1 - h**2 if cell == "rnn" else (h > 0).double())
        omega = omega + ((image.norm(dim=1) / d.norm(dim=1) - 1) ** 2).mean()
    (slope,) = torch.autograd.grad(0.4 * omega, W_hh)
    _, grads = model.loss_and_grad(X, Y[:, -1], "mse", omega=0.4)
    assert model.last_penalties == pytest.approx({"omega": 0.4 * omega.item()}, rel=1e-12)
    np.testing.assert_allclose(grads["W_hh"], (before + slope).numpy(), rtol=1e-12, atol=1e-13)
