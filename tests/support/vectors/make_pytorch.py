"""Make pytorch.npz: torch.nn.RNN, GRU and LSTM, states and gradients.

    pip install torch==2.13.0 numpy==2.4.6
    python tests/support/vectors/make_pytorch.py

Cells rnn (RNN, tanh), relu (RNN, relu), gru, lstm, each with one and two layers, one and two
directions, given h0 (and c0), on full sequences and on packed ones of lengths 4, 6, 1
(`pack_padded_sequence` with ``enforce_sorted=False``); then each without bias, and GRU with 17
units, packed. ``batch_first=True``.

Arrays of a case, with NAME a parameter's name in PyTorch and DTYPE float32 and float64 (both runs
start from the same float32 numbers):

    x (B, T, I), h0, c0 (L*D, B, H), weights/NAME, lengths (B,) if packed      given
    R (B, T, D*H), Q_h, Q_c (L*D, B, H)                 the loss: see common.py
    DTYPE/outputs (B, T, D*H), zero after a sequence's end; DTYPE/h_n, c_n (L*D, B, H)
    DTYPE/gradients/NAME, x, h0, c0
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from common import LENGTHS, Case, H, I, T, draw, given, write
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS: dict[str, tuple[Any, dict[str, str]]] = {
    "rnn": (torch.nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "gru": (torch.nn.GRU, {}),
    "lstm": (torch.nn.LSTM, {}),
}


def make_case(
    cell: str,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    hidden: int = H,
    packed: bool = True,
) -> Case:
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    states = "hc" if cell == "lstm" else "h"
    case = Case({"cell": cell, "hidden_size": hidden, "packed": packed, **options})
    case.arrays = given(hidden, 1 + bidirectional, len(states), num_layers)
    if packed:
        case.arrays["lengths"] = LENGTHS
    make, arguments = LAYERS[cell]
    for dtype in (torch.float32, torch.float64):
        layer = make(I, hidden, batch_first=True, dtype=dtype, **options, **arguments)
        with torch.no_grad():
            for name, weight in layer.named_parameters():
                drawn = draw(f"pytorch {cell} {name}", *weight.shape, bound=hidden**-0.5)
                case.arrays[f"weights/{name}"] = drawn
                weight.copy_(torch.from_numpy(drawn))
        run(layer, case, states, dtype)
    return case


def run(layer: Any, case: Case, states: str, dtype: torch.dtype) -> None:
    """Add what the layer makes of the case's arrays."""
    # Copies: torch may share memory with the arrays, and keeps gradients in what it is given.
    tensors = {name: torch.tensor(array) for name, array in case.arrays.items()}
    inputs = {
        name: tensors[name].to(dtype).requires_grad_()
        for name in ("x", *(f"{state}0" for state in states))
    }
    x, *initial = inputs.values()
    sequences: Any = x
    if case.options["packed"]:
        sequences = pack_padded_sequence(
            x, tensors["lengths"], batch_first=True, enforce_sorted=False
        )
    outputs, final = layer(sequences, initial[0] if len(states) == 1 else tuple(initial))
    if case.options["packed"]:
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=T)
    if len(states) == 1:
        final = (final,)
    loss = (outputs * tensors["R"].to(dtype)).sum()
    for state, array in zip(states, final, strict=True):
        loss = loss + (array * tensors[f"Q_{state}"].to(dtype)).sum()
    loss.backward()

    prefix = str(dtype).removeprefix("torch.")
    case.arrays[f"{prefix}/outputs"] = outputs.detach().numpy()
    for state, array in zip(states, final, strict=True):
        case.arrays[f"{prefix}/{state}_n"] = array.detach().numpy()
    for name, tensor in (*layer.named_parameters(), *inputs.items()):
        case.arrays[f"{prefix}/gradients/{name}"] = tensor.grad.numpy()


def main() -> None:
    torch.set_num_threads(1)
    cases = {}
    options = itertools.product(LAYERS, (1, 2), (False, True), (False, True))
    for cell, num_layers, bidirectional, packed in options:
        words = [cell, f"{num_layers}layer", "both" if bidirectional else "forward"]
        name = "-".join([*words, "packed" if packed else "full"])
        cases[name] = make_case(cell, num_layers, bidirectional, packed=packed)
    for cell in LAYERS:
        cases[f"{cell}-nobias-packed"] = make_case(cell, bias=False)
    cases["gru-17units-packed"] = make_case("gru", hidden=17)
    write(__file__, {"torch": torch.__version__}, cases)


if __name__ == "__main__":
    main()
