"""Make leaky_pytorch.npz: every form of leaky units, and two plain networks, with gradients.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_leaky_pytorch.py

PyTorch has no such layer: two layers are loops over its operations in float64, with a
torch.nn.Linear, and the loss is the mean of the squared errors of all outputs of real steps.

Options of a case: form ("rate", "preactivation" or "plain"), nonlinearity, alpha ("one", "each" or
"learned").

Arrays of a case, with l a layer:

    x (B, T, I), lengths (B,), y (B, T, O), start (L, H), the learned initial state       given
    alpha (1,) or (L, H), or logit_alpha (L, H); W_xh.l, W_hh.l (inputs, H), b_h.l (H,), W_hy, b_y
    loss (1,), outputs (B, T, O), states (L, B, H), the last ones, gradients/NAME
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from common import LENGTHS, VALID, B, Case, H, I, T, draw, write
from torch import Tensor
from torch.nn import functional

O, L = 2, 2
RATES: dict[str, Any] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    # torch.nn.functional.softplus is the identity above a threshold
    "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
    "sigmoid": torch.sigmoid,
}


def make_case(form: str, nonlinearity: str, alpha: str) -> Case:
    case = Case({"form": form, "nonlinearity": nonlinearity, "alpha": alpha})
    given = {"x": draw("x", B, T, I), "start": draw("start", L, H)}
    for layer in range(L):
        shapes = {"W_xh": (H if layer else I, H), "W_hh": (H, H), "b_h": (H,)}
        for name, shape in shapes.items():
            given[f"{name}.{layer}"] = draw(f"leaky {name}{layer}", *shape, bound=0.6)
    given |= {"W_hy": draw("leaky W_hy", H, O), "b_y": draw("leaky b_y", O)}
    if alpha == "learned":
        given["logit_alpha"] = draw("logit_alpha", L, H, bound=2.0)
    case.arrays |= given | {"lengths": LENGTHS, "y": draw("leaky y", B, T, O)}
    if alpha != "learned" and form != "plain":
        shape = (1,) if alpha == "one" else (L, H)
        case.arrays["alpha"] = np.abs(draw(f"alpha {alpha}", *shape)) * np.float32(0.9) + 0.05
    tensors = {n: torch.tensor(a, dtype=torch.float64).requires_grad_() for n, a in given.items()}
    outputs, states = run(case, tensors)
    errors = functional.mse_loss(outputs, torch.tensor(case.arrays["y"]).double(), reduction="none")
    value = errors[torch.from_numpy(VALID)].mean()
    value.backward()
    case.arrays["loss"] = value.detach().numpy().reshape(1)
    case.arrays["outputs"] = outputs.detach().numpy() * VALID[:, :, np.newaxis]
    case.arrays["states"] = states.detach().numpy()
    for name, tensor in tensors.items():
        case.arrays[f"gradients/{name}"] = tensor.grad.numpy()
    return case


def run(case: Case, p: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Outputs at all steps, and the states after each sequence's last step."""
    f, form = RATES[case.options["nonlinearity"]], case.options["form"]
    below, finals = p["x"], []
    for layer in range(L):
        alpha: Any = 1.0
        if "logit_alpha" in p:
            alpha = torch.sigmoid(p["logit_alpha"][layer])
        elif form != "plain":
            each = case.arrays["alpha"].astype(np.float64)
            alpha = torch.from_numpy(each[layer] if each.ndim == 2 else each)
        state, hidden, states = p["start"][layer].expand(B, H), [], []
        for t in range(T):
            rate = f(state) if form == "preactivation" else state
            a = below[:, t] @ p[f"W_xh.{layer}"] + rate @ p[f"W_hh.{layer}"] + p[f"b_h.{layer}"]
            state = (1 - alpha) * state + alpha * (a if form == "preactivation" else f(a))
            states.append(state)
            hidden.append(f(state) if form == "preactivation" else state)
        below = torch.stack(hidden, 1)
        finals.append(torch.stack([states[end - 1][b] for b, end in enumerate(LENGTHS.tolist())]))
    return below @ p["W_hy"] + p["b_y"], torch.stack(finals)


def main() -> None:
    torch.set_num_threads(1)
    cases = {}
    for form, nonlinearity in itertools.product(("rate", "preactivation"), RATES):
        for alpha in ("one", "each", "learned"):
            cases[f"{form}-{nonlinearity}-{alpha}"] = make_case(form, nonlinearity, alpha)
    for nonlinearity in ("softplus", "sigmoid"):
        cases[f"plain-{nonlinearity}"] = make_case("plain", nonlinearity, "one")
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
