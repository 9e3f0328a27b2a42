"""Make masks_pytorch.npz: weights per step, pooled states, resets, several losses, with gradients.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_masks_pytorch.py

Two layers of torch.nn.RNN, GRU and LSTM and a torch.nn.Linear, float64. With resets the layers run
on each episode by itself: the first one of a sequence starts from h0 (and c0), unless it has a
reset at its first step; the others start from s_h (and s_c), as learned initial states do.

Options of a case: cell, num_layers, bidirectional, hidden_size; loss; steps, where the loss is;
reduction, of the steps' losses, each a mean over its outputs (with "sum" their sum). blocks: of
the outputs, [name, loss, outputs, weight] each, where the loss is a sum; then arrays y and
sample_weight are y/NAME and sample_weight/NAME.

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
# Blocks of outputs: name, loss, outputs, weight
PRICE = [["price", "mse", 2, 0.5], ["sale", "bce", 1, 2.0]]
KIND = [["kind", "cross_entropy", 2, 3.0], ["price", "mse", 1, 1.0]]
# Where a sequence starts anew: the first one twice, once at its start, the second one at its end
RESETS = np.array([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]])


def make_case(
    cell: str,
    loss: str = "mse",
    steps: str = "all",
    reduction: str = "mean",
    weighted: bool = False,
    resets: bool = False,
    blocks: Any = None,
) -> Case:
    states = "hc" if cell == "lstm" else "h"
    network = {"cell": cell, "num_layers": L, "bidirectional": False, "hidden_size": H}
    case = Case({**network, "loss": loss, "steps": steps, "reduction": reduction})
    arrays = case.arrays
    arrays |= {"x": draw("x", B, T, I), "lengths": LENGTHS}
    for state in states:
        arrays[f"{state}0"] = draw(f"{state}0", L, B, H)
    lead = (B, T) if steps == "all" else (B,)
    if blocks is not None:
        case.options["blocks"] = blocks
    for name, own, width, _ in blocks or [("", loss, O, 1.0)]:
        sub = f"/{name}" if name else ""
        if own == "cross_entropy":
            arrays[f"y{sub}"] = np.random.default_rng(0).integers(0, width, lead)
        else:
            arrays[f"y{sub}"] = draw(f"y{name}", *lead, width) * 0.5 + 0.5
        if weighted:
            drawn = draw(f"sample_weight{name}", *lead).astype(np.float64) + 0.2
            arrays[f"sample_weight{sub}"] = drawn.clip(0.0)
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
    outputs = readout(torch.cat(seen))
    total, end = torch.zeros((), dtype=torch.float64), 0
    for name, own, width, factor in case.options.get("blocks") or [
        ("", case.options["loss"], O, 1)
    ]:
        first, end, sub = end, end + width, f"/{name}" if name else ""
        y = arrays[f"y{sub}"]
        weight = arrays.get(f"sample_weight{sub}", np.ones(y.shape[:2]))
        if steps == "all":
            y, weight = y[VALID], weight.reshape(B, T)[VALID]
        elif f"sample_weight{sub}" not in arrays:
            weight = np.ones(B)
        targets = torch.from_numpy(y)
        if targets.dtype != torch.int64:
            targets = targets.double()
        values = LOSSES[own](outputs[:, first:end], targets)
        counts = torch.from_numpy(weight)
        if case.options["reduction"] == "sum":
            total = total + factor * (values.sum(1) * counts).sum()
        else:
            total = total + factor * (values.mean(1) * counts).sum() / counts.sum()
    return total


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
        for k, steps in enumerate(("last", "all", "mean")):
            blocks = (PRICE, KIND)[(k + len(cell)) % 2]
            options = {"steps": steps, "weighted": k > 0, "blocks": blocks}
            reduction = "sum" if cell == "gru" else "mean"
            cases[f"{cell}-blocks-{steps}"] = make_case(cell, "", reduction=reduction, **options)
        cases[f"{cell}-last-resets"] = make_case(cell, "mse", "last", weighted=True, resets=True)
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
