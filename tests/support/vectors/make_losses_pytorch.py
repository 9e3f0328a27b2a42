"""Make losses_pytorch.npz: losses of PyTorch on given outputs and targets, and their derivatives.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_losses_pytorch.py

Options of a case: ``loss`` and ``parameters``, as `fastbptt.Loss` takes them.

Arrays of a case, float64, of N losses: outputs z (N, O), targets y (N,), which are classes if the
loss is one of classes, the values of the loss (N, 1), or (N, O) if there is one for each output,
and the derivatives of their sums dz (N, O). Differences reach from far below to far above delta,
and hit it exactly. What PyTorch has as a loss is computed by it, the others by its functions and
their derivatives.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from common import Case, draw, write
from torch import Tensor
from torch.nn import functional

CASES: dict[str, tuple[str, dict[str, float]]] = {
    "huber": ("huber", {}),
    "huber-small": ("huber", {"delta": 0.125}),
    "huber-large": ("huber", {"delta": 3.5}),
}
LOSSES: dict[str, Any] = {"huber": torch.nn.HuberLoss}


def focal(minus_log: Tensor, gamma: float) -> Tensor:
    """Lin et al. 2017, equation 4, of -log(p)."""
    return (-torch.expm1(-minus_log)) ** gamma * minus_log


def bce(z: Tensor, y: Tensor, label_smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    y = y * (1 - label_smoothing) + 0.5 * label_smoothing
    if not gamma:
        return functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    return y * focal(functional.softplus(-z), gamma) + (1 - y) * focal(
        functional.softplus(z), gamma
    )


def cross_entropy(z: Tensor, y: Tensor, label_smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    classes = y[:, 0].long()
    if not gamma:
        found = functional.cross_entropy(
            z, classes, reduction="none", label_smoothing=label_smoothing
        )
        return found[:, None]
    onehot = functional.one_hot(classes, z.shape[1]).double()
    wanted = onehot * (1 - label_smoothing) + label_smoothing / z.shape[1]
    return (wanted * focal(-functional.log_softmax(z, 1), gamma)).sum(1, keepdim=True)


def gaussian(z: Tensor, y: Tensor) -> Tensor:
    return functional.gaussian_nll_loss(z[:, :1], y, z[:, 1:].exp(), eps=0.0, reduction="none")


def quantile(z: Tensor, y: Tensor, levels: list[float]) -> Tensor:
    q, d = torch.tensor(levels, dtype=torch.float64), y - z
    return torch.where(d > 0, q * d, (q - 1) * d)


def log_cosh(z: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    size = ((z - y) / delta).abs()
    return delta**2 * (size + functional.softplus(-2 * size) - math.log(2))


# name -> function, its parameters, outputs
MORE: dict[str, tuple[Any, dict[str, Any], int]] = {
    "mae": (lambda z, y: functional.l1_loss(z, y, reduction="none"), {}, 1),
    "poisson": (lambda z, y: functional.poisson_nll_loss(z, y, reduction="none"), {}, 1),
    "hinge": (lambda z, y: (1 - y * z).clamp(min=0), {}, 1),
    "gaussian": (gaussian, {}, 2),
    "quantile": (quantile, {"levels": [0.125, 0.5, 0.75]}, 3),
    "log_cosh": (log_cosh, {}, 1),
    "log_cosh-small": (log_cosh, {"delta": 0.25}, 1),
    "bce": (bce, {}, 1),
    "bce-smoothing": (bce, {"label_smoothing": 0.125}, 1),
    "bce-focal": (bce, {"gamma": 2.0}, 1),
    "bce-both": (bce, {"label_smoothing": 0.25, "gamma": 0.5}, 1),
    "cross_entropy": (cross_entropy, {}, 5),
    "cross_entropy-smoothing": (cross_entropy, {"label_smoothing": 0.125}, 5),
    "cross_entropy-focal": (cross_entropy, {"gamma": 2.0}, 5),
    "cross_entropy-both": (cross_entropy, {"label_smoothing": 0.25, "gamma": 0.5}, 5),
}


def make_other(title: str) -> Case:
    """Make a case of numbers that float32 has as well."""
    compute, parameters, outputs = MORE[title]
    name, count = title.partition("-")[0], 24
    z = torch.from_numpy(draw(f"outputs of {name}", count, outputs, bound=4.0).astype(np.float64))
    y = draw(f"targets of {name}", count, 1, bound=3.0).astype(np.float64)
    if name == "cross_entropy":
        y = np.arange(count)[:, np.newaxis] % outputs * 1.0
    elif name == "bce":
        y = np.round(np.abs(y)).clip(0, 2) / 2
    elif name == "hinge":
        y = np.where(y > 0, 1.0, -1.0)
    elif name == "poisson":
        y = np.round(np.abs(y))
    z.requires_grad_()
    values = compute(z, torch.from_numpy(y), **parameters)
    values.sum().backward()
    found = {"z": z.detach().numpy(), "values": values.detach().numpy(), "dz": z.grad.numpy()}
    y = y[:, 0].astype(np.int64) if name == "cross_entropy" else y[:, 0]
    return Case({"loss": name, "parameters": parameters}, {"y": y, **found})


def make_case(name: str, parameters: dict[str, float]) -> Case:
    y = draw("targets", 40, bound=2.0).astype(np.float64)
    difference = draw("differences", 40).astype(np.float64) * np.logspace(-3, 1, 40)
    edge = parameters.get("delta", 1.0)
    y[:4] = [0.0, 0.5, -1.0, 2.0]
    difference[:4] = [edge, -edge, 0.0, 1e6]
    z = torch.tensor(y + difference, requires_grad=True)
    values = LOSSES[name](reduction="none", **parameters)(z, torch.from_numpy(y))
    values.sum().backward()
    arrays = {"z": z.detach(), "values": values.detach(), "dz": z.grad}
    found = {key: one.numpy()[:, np.newaxis] for key, one in arrays.items()}
    return Case({"loss": name, "parameters": parameters}, {"y": y, **found})


def main() -> None:
    cases = {title: make_case(name, parameters) for title, (name, parameters) in CASES.items()}
    cases |= {title: make_other(title) for title in MORE}
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
