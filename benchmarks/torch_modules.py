"""Training steps with fastbptt.torch's modules and with torch.nn's, in turn.

    python benchmarks/torch_modules.py --shapes tutorial,small,stream

A step: the recurrent module, nn.Linear, a loss, backward, fused Adam; both systems have the same
weights and data, and the first step's loss and gradients must agree. One thread. Steps alternate in
blocks. With a loss at the last step, the head reads the final state h_n.

The column "wrapper" is what the way through PyTorch adds to the same passes of fastbptt's own
model: (module, then backward) less (model.forward, outputs, model.backward), taken in turn as well.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

import fastbptt
import fastbptt.torch
from fastbptt.bench.case import PRESETS, TIMED_LR, Case
from fastbptt.config import info

CELLS = ("RNN", "GRU", "LSTM")
TOLERANCE = 2e-4  # of a gradient's largest number, in float32


class Network(nn.Module):
    """A recurrent module and a linear readout, with the loss of a case."""

    def __init__(self, recurrent: nn.Module, head: nn.Linear, case: Case) -> None:
        super().__init__()
        self.recurrent, self.head, self.case = recurrent, head, case

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        output, state = self.recurrent(x)
        h_n = state[0] if isinstance(state, tuple) else state
        z = self.head(output if self.case.steps == "all" else h_n[-1])
        if self.case.loss == "cross_entropy":
            return functional.cross_entropy(z, y)
        if self.case.loss == "bce":
            return functional.binary_cross_entropy_with_logits(z, y)
        return functional.mse_loss(z, y)


def networks(cell: str, case: Case) -> tuple[Network, Network]:
    """Make torch's and ours with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(nn, cell)(case.input, case.hidden)
    ours = getattr(fastbptt.torch, cell)(case.input, case.hidden)
    ours.load_state_dict(theirs.state_dict())
    head = nn.Linear(case.hidden, case.output)
    return Network(theirs, head, case), Network(ours, copy.deepcopy(head), case)


def data(case: Case) -> tuple[Tensor, Tensor]:
    x = torch.randn(case.time, case.batch, case.input)
    shape = (case.time, case.batch) if case.steps == "all" else (case.batch,)
    if case.loss == "cross_entropy":
        return x, torch.randint(case.output, shape)
    y = torch.randn(*shape, case.output)
    return x, (y > 0).float() if case.loss == "bce" else y


def check(theirs: Network, ours: Network, x: Tensor, y: Tensor) -> None:
    """Compare the loss and every gradient of the first step."""
    results = []
    for network in (theirs, ours):
        loss = network.loss(x, y)
        results.append([loss.detach(), *torch.autograd.grad(loss, list(network.parameters()))])
    for a, b in zip(*results, strict=True):
        error = float((a - b).abs().max() / a.abs().max())
        assert error < TOLERANCE, f"gradients differ by {error:.1e}"


def step_of(network: Network, x: Tensor, y: Tensor) -> Callable[[], None]:
    adam = torch.optim.Adam(network.parameters(), lr=TIMED_LR, fused=True)

    def step() -> None:
        adam.zero_grad()
        network.loss(x, y).backward()
        adam.step()

    return step


def passes(network: Network, cell: str, x: Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
    """Make the same passes through PyTorch and through fastbptt's own model."""
    case, module = network.case, network.recurrent
    model = getattr(fastbptt, cell)(case.input, case.hidden, seed=0)
    up = torch.randn(case.time, case.batch, case.hidden)
    inputs, d_outputs = x.numpy().swapaxes(0, 1), up.numpy().swapaxes(0, 1)
    parameters = list(module.parameters())

    def through_torch() -> None:
        for parameter in parameters:
            parameter.grad = None
        module(x)[0].backward(up)

    def own() -> None:
        out = model.forward(inputs, check_finite=False)
        assert out.hidden is not None
        model.backward(out, d_outputs=d_outputs, check_finite=False)

    return through_torch, own


def in_turn(
    first: Callable[[], None], second: Callable[[], None], seconds: float
) -> list[list[float]]:
    """Time two functions, in blocks of at least 20 ms each; microseconds of each call."""
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[1]) < 3:
        for function, into in zip((first, second), times, strict=True):
            function()
            start = now = time.perf_counter()
            while now - start < 0.02:
                function()
                into.append(1e6 * (time.perf_counter() - now))
                now = time.perf_counter()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shapes", default="tutorial,small,stream", help="presets of the bench")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each pair")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fastbptt.set_num_threads(1)
    print(f"torch {torch.__version__}, fastbptt on {info()['active']}, one thread; in us")
    print("| shape | cell | torch.nn | fastbptt.torch | faster (median) | (best) | wrapper |")
    print("|:--|:--|--:|--:|--:|--:|--:|")
    for shape in options.shapes.split(","):
        for cell in options.cells.split(","):
            case = PRESETS[shape]
            x, y = data(case)
            theirs, ours = networks(cell, case)
            check(theirs, ours, x, y)
            times = in_turn(step_of(theirs, x, y), step_of(ours, x, y), options.seconds)
            added = in_turn(*passes(ours, cell, x), options.seconds)
            (a, b), (best_a, best_b) = map(statistics.median, times), map(min, times)
            wrapper = statistics.median(added[0]) - statistics.median(added[1])
            print(
                f"| {shape} | {cell} | {a:.0f} | {b:.0f} | {a / b:.2f} | {best_a / best_b:.2f} | "
                f"{wrapper:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
