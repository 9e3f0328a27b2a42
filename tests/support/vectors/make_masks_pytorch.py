"""Make masks_pytorch.npz: weights per step, pooled states and resets in PyTorch, with gradients.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_masks_pytorch.py

Two layers of torch.nn.RNN, GRU and LSTM and a torch.nn.Linear, float64. With resets the layers run
on each episode by itself: the first one of a sequence starts from h0 (and c0), unless it has a
reset at its first step; the others start from s_h (and s_c), as learned initial states do.

Options of a case: cell, num_layers, bidirectional, hidden_size; loss; steps, where the loss is;
reduction, of the steps' losses, each a mean over its outputs (with "sum" their sum).

Arrays of a case, with NAME a parameter's name in PyTorch, of the readout ``out.weight`` and
``out.bias``:

    x (B, T, I), lengths (B,), h0, c0 (L, B, H), weights/NAME      given
    y (B, T, O) or (B, O), for cross_entropy classes; sample_weight (B, T) or (B,), some of them 0
    resets (B, T), 0 and 1, and s_h, s_c (L, H), if there are any
    loss (1,), gradients/NAME, x, h0, c0, s_h, s_c
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from common import LENGTHS, VALID, B, Case, H, I, T, draw, write
from torch import Tensor
from torch.nn import functional

O, L = 3, 2
LAYERS: dict[str, Any] = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
LOSSES: dict[str, Any] = {
    "mse": lambda z, y: functional.mse_loss(z, y, reduction="none"),
    "bce": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="none"),
    "cross_entropy": lambda z, y: functional.cross_entropy(z, y, reduction="none")[:, None],
}
# Where a sequence starts anew: the first one twice, once at its start, the second one at its end
RESETS = np.array([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]])


def make_case(
    cell: str,
    loss: str = "mse",
    steps: str = "all",
    reduction: str = "mean",
    weighted: bool = False,
    resets: bool = False,
) -> Case:
    states = "hc" if cell == "lstm" else "h"
    network = {"cell": cell, "num_layers": L, "bidirectional": False, "hidden_size": H}
    case = Case({**network, "loss": loss, "steps": steps, "reduction": reduction})
    arrays = case.arrays
    arrays |= {"x": draw("x", B, T, I), "lengths": LENGTHS}
    for state in states:
        arrays[f"{state}0"] = draw(f"{state}0", L, B, H)
    lead = (B, T) if steps == "all" else (B,)
    if loss == "cross_entropy":
        arrays["y"] = np.random.default_rng(0).integers(0, O, lead)
    else:
        arrays["y"] = draw("y", *lead, O) * 0.5 + 0.5
    if weighted:
        drawn = draw("sample_weight", *lead).astype(np.float64) + 0.2
        arrays["sample_weight"] = drawn.clip(0.0)
    if resets:
        arrays["resets"] = RESETS
        for state in states:
            arrays[f"s_{state}"] = draw(f"s_{state}", L, H)
    layer = LAYERS[cell](I, H, L, batch_first=True, dtype=torch.float64)
    readout = torch.nn.Linear(H, O, dtype=torch.float64)
    parameters = {f"out.{name}": p for name, p in readout.named_parameters()}
    parameters |= dict(layer.named_parameters())
    with torch.no_grad():
        for name, p in parameters.items():
            arrays[f"weights/{name}"] = draw(f"masks {cell} {name}", *p.shape, bound=H**-0.5)
            p.copy_(torch.from_numpy(arrays[f"weights/{name}"]))
    inputs = {
        name: torch.tensor(arrays[name], dtype=torch.float64).requires_grad_()
        for name in ("x", *(f"{s}0" for s in states), *(f"s_{s}" for s in states if resets))
    }
    value = loss_of(case, layer, readout, inputs, states)
    value.backward()
    arrays["loss"] = value.detach().numpy().reshape(1)
    for name, tensor in (*parameters.items(), *inputs.items()):
        arrays[f"gradients/{name}"] = tensor.grad.numpy()
    return case


def loss_of(case: Case, layer: Any, readout: Any, inputs: dict[str, Tensor], states: str) -> Tensor:
    arrays, steps = case.arrays, case.options["steps"]
    seen = []  # by the readout, of each sequence
    for b, end in enumerate(LENGTHS.tolist()):
        marks = RESETS[b, :end] if "resets" in arrays else np.zeros(end, int)
        starts = [0, *(np.flatnonzero(marks[1:]) + 1).tolist(), end]
        parts = []
        for first, stop in itertools.pairwise(starts):
            if first or marks[0]:
                initial = [inputs[f"s_{s}"][:, None] for s in states]
            else:
                initial = [inputs[f"{s}0"][:, b : b + 1] for s in states]
            initial = [one.contiguous() for one in initial]
            start = initial[0] if len(initial) == 1 else tuple(initial)
            parts.append(layer(inputs["x"][b : b + 1, first:stop], start)[0][0])
        hidden = torch.cat(parts)
        pooled = {
            "all": hidden,
            "last": hidden[-1:],
            "mean": hidden.mean(0, keepdim=True),
            "max": hidden.amax(0, keepdim=True),
        }
        seen.append(pooled[steps])
    y, weight = arrays["y"], arrays.get("sample_weight", np.ones(arrays["y"].shape[:2]))
    if steps == "all":
        y, weight = y[VALID], weight.reshape(B, T)[VALID]
    elif "sample_weight" not in arrays:
        weight = np.ones(B)
    targets = torch.from_numpy(y)
    if targets.dtype != torch.int64:
        targets = targets.double()
    values = LOSSES[case.options["loss"]](readout(torch.cat(seen)), targets)
    counts = torch.from_numpy(weight)
    if case.options["reduction"] == "sum":
        return (values.sum(1) * counts).sum()
    return (values.mean(1) * counts).sum() / counts.sum()


def main() -> None:
    torch.set_num_threads(1)
    cases = {}
    for cell in LAYERS:
        for steps in ("mean", "max"):
            cases[f"{cell}-{steps}"] = make_case(cell, steps=steps, weighted=cell == "gru")
        for loss in LOSSES:
            reduction = "sum" if loss == "bce" else "mean"
            for name, options in {
                "weights": {"weighted": True},
                "resets": {"resets": True},
                "weights-resets": {"weighted": True, "resets": True},
            }.items():
                cases[f"{cell}-{loss}-{name}"] = make_case(cell, loss, "all", reduction, **options)
        cases[f"{cell}-last-resets"] = make_case(cell, "mse", "last", weighted=True, resets=True)
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
