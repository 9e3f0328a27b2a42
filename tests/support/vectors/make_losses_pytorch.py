"""Make losses_pytorch.npz: losses of PyTorch on given outputs and targets, and their derivatives.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_losses_pytorch.py

Options of a case: ``loss`` and ``parameters``, as `fastbptt.Loss` takes them.

Arrays of a case, float64: outputs z (N,) and targets y (N,), the values of the loss (N,) and their
derivatives dz (N,). Differences reach from far below to far above delta, and hit it exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import Case, draw, write

CASES: dict[str, tuple[str, dict[str, float]]] = {
    "huber": ("huber", {}),
    "huber-small": ("huber", {"delta": 0.125}),
    "huber-large": ("huber", {"delta": 3.5}),
}
LOSSES: dict[str, Any] = {"huber": torch.nn.HuberLoss}


def make_case(name: str, parameters: dict[str, float]) -> Case:
    y = draw("targets", 40, bound=2.0).astype(np.float64)
    difference = draw("differences", 40).astype(np.float64) * np.logspace(-3, 1, 40)
    edge = parameters.get("delta", 1.0)
    y[:4] = [0.0, 0.5, -1.0, 2.0]
    difference[:4] = [edge, -edge, 0.0, 1e6]
    z = torch.tensor(y + difference, requires_grad=True)
    values = LOSSES[name](reduction="none", **parameters)(z, torch.from_numpy(y))
    values.sum().backward()
    found = {"z": z.detach().numpy(), "values": values.detach().numpy(), "dz": z.grad.numpy()}
    return Case({"loss": name, "parameters": parameters}, {"y": y, **found})


def main() -> None:
    cases = {title: make_case(name, parameters) for title, (name, parameters) in CASES.items()}
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
