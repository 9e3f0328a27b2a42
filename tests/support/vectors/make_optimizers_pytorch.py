"""Make optimizers_pytorch.npz: 100 steps of torch.optim's Adam, AdamW, SGD and RMSprop in float64.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_optimizers_pytorch.py

Options of a case: ``optimizer`` and ``settings`` as fastbptt.optim.OPTIMIZERS has them; names of
``groups`` are those of ``fastbptt.RNN(2, 3, 2)``. After 60 steps the rates are a quarter of what
they were.

Arrays of a case: start (N,), slope (N,) and target (100, N) as in common.py, and ``p`` (7, N): the
parameters after the steps that common.py keeps.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
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

PARAMETERS = {"W_xh": 6, "W_hh": 9, "b_h": 3, "W_hy": 6, "b_y": 2}
GROUPS = [
    {"params": ["b_*"], "weight_decay": 0.0},
    {"params": ["W_hh"], "lr_factor": 0.1},
    {"params": ["W_hy"], "lr_factor": 2.0, "weight_decay": 0.3},
]

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
    "adam-groups": ("adam", {"lr": 0.01, "weight_decay": 0.1, "groups": GROUPS}),
    "adamw-groups": ("adamw", {"lr": 0.02, "weight_decay": 0.5, "groups": GROUPS}),
    "sgd-groups": ("sgd", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.2, "groups": GROUPS}),
    "rmsprop-groups": ("rmsprop", {"lr": 0.01, "weight_decay": 0.1, "groups": GROUPS}),
}


def torch_groups(p: list[torch.Tensor], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The same in PyTorch's words: a tensor for each parameter, with its own rate and decay."""
    found: list[dict[str, Any]] = []
    for name, part in zip(PARAMETERS, p, strict=True):
        own: dict[str, Any] = {"params": [part]}
        for group in settings.get("groups", []):
            if any(fnmatchcase(name, pattern) for pattern in group["params"]):
                own["lr"] = settings["lr"] * group.get("lr_factor", 1.0)
                own["weight_decay"] = group.get("weight_decay", settings["weight_decay"])
        found.append(own)
    return found


def make_case(name: str, settings: dict[str, Any]) -> Case:
    given = descent()
    flat = torch.tensor(given["start"])
    p = [part.requires_grad_() for part in flat.split(list(PARAMETERS.values()))]
    plain = {key: value for key, value in settings.items() if key != "groups"}
    optimizer = OPTIMIZERS[name](torch_groups(p, settings), **plain)
    kept = []
    for step in range(STEPS):
        if step == SLOWER_AFTER:
            for group in optimizer.param_groups:
                group["lr"] /= 4
        gradient = torch.from_numpy(downhill(given, flat.detach().numpy(), step))
        for part, own in zip(p, gradient.split(list(PARAMETERS.values())), strict=True):
            part.grad = own
        optimizer.step()
        if step + 1 in KEPT:
            kept.append(flat.detach().numpy().copy())
    return Case({"optimizer": name, "settings": settings}, {**given, "p": np.stack(kept)})


def main() -> None:
    torch.set_num_threads(1)
    cases = {title: make_case(name, settings) for title, (name, settings) in CASES.items()}
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
