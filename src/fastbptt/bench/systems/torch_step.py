"""PyTorch: nn.RNN, nn.Linear and optim.Adam, eager, with and without flushing denormals."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fastbptt.bench.case import TIMED_LR, Problem
from fastbptt.bench.systems import System, Variants, as_arrays


class Torch(System):
    """Time is the first axis, which is nn.RNN's own order."""

    def __init__(self, problem: Problem, adam: dict[str, Any]) -> None:
        case = problem.case
        dtype = torch.float32 if case.dtype == "float32" else torch.float64
        self.loss_name, self.all_steps = case.loss, case.steps == "all"
        self.rnn = nn.RNN(case.input, case.hidden, dtype=dtype)
        self.head = nn.Linear(case.hidden, case.output, dtype=dtype)
        given = {name: torch.from_numpy(value) for name, value in problem.params.items()}
        self.named = {
            "W_xh": self.rnn.weight_ih_l0,
            "W_hh": self.rnn.weight_hh_l0,
            "b_h": self.rnn.bias_ih_l0,
            "W_hy": self.head.weight,
            "b_y": self.head.bias,
        }
        with torch.no_grad():
            self.rnn.bias_hh_l0.zero_()
            for name, parameter in self.named.items():
                parameter.copy_(given[name].T if given[name].ndim == 2 else given[name])
        self.adam = torch.optim.Adam(
            [*self.rnn.parameters(), *self.head.parameters()], lr=TIMED_LR, **adam
        )
        self.x = _time_first(problem.x)
        self.y = _time_first(problem.y) if self.all_steps else torch.from_numpy(problem.y)
        if case.loss == "cross_entropy":
            self.y = self.y.reshape(-1)
        self.ragged = problem.lengths is not None
        self.last = torch.from_numpy(problem.last)
        self.sequences = torch.arange(case.batch)
        weights = torch.from_numpy(problem.step_weights)
        self.weights = weights.T.contiguous() if self.all_steps else weights

    def loss(self) -> Tensor:
        """Run the network and return its loss."""
        hidden, final = self.rnn(self.x)
        if self.all_steps:
            seen = hidden
        else:
            seen = hidden[self.last, self.sequences] if self.ragged else final[0]
        outputs = self.head(seen)
        how = "none" if self.ragged and self.all_steps else "mean"
        if self.loss_name == "cross_entropy":
            flat = outputs.reshape(-1, outputs.shape[-1])
            losses = functional.cross_entropy(flat, self.y, reduction=how)
            losses = losses.reshape(outputs.shape[:-1]) if how == "none" else losses
        else:
            bce = self.loss_name == "bce"
            function = functional.binary_cross_entropy_with_logits if bce else functional.mse_loss
            losses = function(outputs, self.y, reduction=how)
            losses = losses.mean(-1) if how == "none" else losses
        return (losses * self.weights).sum() if how == "none" else losses

    def loss_and_gradients(self) -> tuple[float, dict[str, NDArray[Any]]]:
        self.adam.zero_grad()
        loss = self.loss()
        loss.backward()
        gradients = {
            name: parameter.grad.T if parameter.ndim == 2 else parameter.grad
            for name, parameter in self.named.items()
        }
        return loss.item(), as_arrays(gradients)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.adam.zero_grad()
            self.loss().backward()
            self.adam.step()


def _time_first(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1)))


def variants(problem: Problem, threads: int, flush: bool) -> Variants:
    """Name the implementations of Adam that can be fastest."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(flush)
    return {
        "fused Adam": partial(Torch, problem, {"fused": True}),
        "foreach Adam": partial(Torch, problem, {"foreach": True}),
    }


def version() -> str:
    """Return the version."""
    return str(torch.__version__)
