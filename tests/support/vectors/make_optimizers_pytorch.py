"""Make optimizers_pytorch.npz: 100 steps of torch.optim's Adam, AdamW, SGD and RMSprop in float64.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_optimizers_pytorch.py

Options of a case: ``optimizer`` and ``settings`` as fastbptt.optim.OPTIMIZERS has them. After 60
steps the rate is a quarter of what it was.

Arrays of a case: start (N,), slope (N,) and target (100, N) as in common.py, and ``p`` (7, N): the
parameters after the steps that common.py keeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import KEPT, SLOWER_AFTER, STEPS, Case, descent, downhill, write

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("adam", {"lr": 0.01}),
    "adam-settings": ("adam", {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-5}),
    "adam-amsgrad": ("adam", {"lr": 0.01, "amsgrad": True}),
    "adam-decay": ("adam", {"lr": 0.01, "weight_decay": 0.1}),
    "adam-amsgrad-decay": ("adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}),
    "adamw": ("adamw", {"lr": 0.01}),
    "adamw-decay": ("adamw", {"lr": 0.02, "weight_decay": 0.5}),
    "adamw-amsgrad": ("adamw", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
    "sgd": ("sgd", {"lr": 0.01}),
    "sgd-momentum": ("sgd", {"lr": 0.01, "momentum": 0.9}),
    "sgd-nesterov": ("sgd", {"lr": 0.005, "momentum": 0.8, "nesterov": True}),
    "sgd-decay": ("sgd", {"lr": 0.01, "weight_decay": 0.2}),
    "sgd-nesterov-decay": (
        "sgd",
        {"lr": 0.005, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "rmsprop": ("rmsprop", {"lr": 0.01}),
    "rmsprop-momentum": ("rmsprop", {"lr": 0.001, "momentum": 0.9}),
    "rmsprop-centered": ("rmsprop", {"lr": 0.01, "alpha": 0.9, "centered": True}),
    "rmsprop-decay": ("rmsprop", {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop-all": (
        "rmsprop",
        {
            "lr": 0.002,
            "alpha": 0.95,
            "eps": 1e-6,
            "momentum": 0.5,
            "centered": True,
            "weight_decay": 0.05,
        },
    ),
}


def make_case(name: str, settings: dict[str, Any]) -> Case:
    given = descent()
    p = torch.tensor(given["start"], requires_grad=True)
    optimizer = OPTIMIZERS[name]([p], **settings)
    kept = []
    for step in range(STEPS):
        if step == SLOWER_AFTER:
            optimizer.param_groups[0]["lr"] = settings["lr"] / 4
        p.grad = torch.from_numpy(downhill(given, p.detach().numpy(), step))
        optimizer.step()
        if step + 1 in KEPT:
            kept.append(p.detach().numpy().copy())
    return Case({"optimizer": name, "settings": settings}, {**given, "p": np.stack(kept)})


def main() -> None:
    torch.set_num_threads(1)
    cases = {title: make_case(name, settings) for title, (name, settings) in CASES.items()}
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
