"""PyTorch: nn.RNN, nn.GRU or nn.LSTM, nn.Linear and optim.Adam, eager.

A forward pass runs the modules under ``torch.inference_mode``. With and without flushing
denormals. For the cells that torch.nn lacks, a module with the same interface loops over time, as
people write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..case import TIMED_LR, Case, Problem
from . import Predictor, Trainer, Variants, as_arrays

# Losses of each output, by fastbptt's names
_ELEMENTWISE: Final = {
    "bce": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
}

Array = NDArray[Any]


class Loop(nn.Module):  # type: ignore[misc]
    """A network like nn.RNN out of a cell of one's own; parameters are named as there."""

    def __init__(self, inputs: int, hidden: int, layers: int, both: bool, dtype: Any) -> None:
        super().__init__()
        self.hidden = hidden
        self.ends = [[f"l{i}", f"l{i}_reverse"][: 1 + both] for i in range(layers)]
        rows = self.GATES * hidden
        for ends in self.ends:
            for end in ends:
                for name, shape in (
                    ("weight_ih", (rows, inputs)),
                    ("weight_hh", (rows, hidden)),
                    ("bias_ih", (rows,)),
                ):
                    parameter = nn.Parameter(torch.empty(shape, dtype=dtype))
                    self.register_parameter(f"{name}_{end}", parameter)
            inputs = len(ends) * hidden

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (T, B, D * H) and final states (L * D, B, H)."""
        finals = []
        for ends in self.ends:
            directions = []
            for end in ends:
                is_reverse = end.endswith("reverse")
                z = functional.linear(
                    x.flip(0) if is_reverse else x,
                    getattr(self, f"weight_ih_{end}"),
                    getattr(self, f"bias_ih_{end}"),
                )
                W = getattr(self, f"weight_hh_{end}").t()
                hidden = self.over_time(z, x.new_zeros(x.shape[1], self.hidden), W)
                finals.append(hidden[-1])
                states = torch.stack(hidden)
                directions.append(states.flip(0) if is_reverse else states)
            x = torch.cat(directions, -1) if len(directions) > 1 else directions[0]
        return x, torch.stack(finals)


class Leaky(Loop):
    """h = (1 - alpha) h_prev + alpha tanh(a)."""

    GATES = 1
    alpha: float

    def over_time(self, z: Tensor, h: Tensor, W: Tensor) -> list[Tensor]:
        """Return the state after each step."""
        hidden = []
        for z_t in z.unbind(0):
            h = torch.lerp(h, torch.tanh(torch.addmm(z_t, h, W)), self.alpha)
            hidden.append(h)
        return hidden


class GruBefore(Loop):
    """The GRU with the reset before the product."""

    GATES = 3

    def over_time(self, z: Tensor, h: Tensor, W: Tensor) -> list[Tensor]:
        """Return the state after each step."""
        gates = 2 * self.hidden
        W_s, W_n = W[:, :gates], W[:, gates:]
        hidden = []
        for z_s, z_n in zip(z[..., :gates].unbind(0), z[..., gates:].unbind(0), strict=True):
            r, u = torch.sigmoid(torch.addmm(z_s, h, W_s)).chunk(2, -1)
            h = torch.lerp(torch.tanh(torch.addmm(z_n, r * h, W_n)), h, u)
            hidden.append(h)
        return hidden


_CELLS: Final[dict[str, Any]] = {
    "rnn": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
    "leaky": Leaky,
    "gru": nn.GRU,
    "gru_before": GruBefore,
    "lstm": nn.LSTM,
}


def _network(problem: Problem, dtype: Any) -> Any:
    case = problem.case
    cell = _CELLS[case.cell]
    if isinstance(cell, type) and issubclass(cell, Loop):
        network = cell(case.input, case.hidden, case.layers, case.bidirectional, dtype)
        for name, value in problem.settings.items():
            setattr(network, name, value)
        return network
    return cell(case.input, case.hidden, case.layers, bidirectional=case.bidirectional, dtype=dtype)


def _to_torch(case: Case, params: Mapping[str, Array]) -> dict[str, Array]:
    """Lay parameters out as in a state_dict: transposed, a second bias, which only b_hn uses."""
    given = {}
    for ours, theirs in _names(case):
        given[f"weight_ih{theirs}"] = params[f"W_xh{ours}"].T
        given[f"weight_hh{theirs}"] = params[f"W_hh{ours}"].T
        given[f"bias_ih{theirs}"] = params[f"b_h{ours}"]
        given[f"bias_hh{theirs}"] = np.zeros_like(params[f"b_h{ours}"])
        if f"b_hn{ours}" in params:
            given[f"bias_hh{theirs}"][-case.hidden :] = params[f"b_hn{ours}"]
    return given


def _to_ours(case: Case, theirs_named: Mapping[str, Array], like: Any) -> dict[str, Array]:
    """Do the reverse with gradients."""
    gradients = {}
    for ours, theirs in _names(case):
        gradients[f"W_xh{ours}"] = theirs_named[f"weight_ih{theirs}"].T
        gradients[f"W_hh{ours}"] = theirs_named[f"weight_hh{theirs}"].T
        gradients[f"b_h{ours}"] = theirs_named[f"bias_ih{theirs}"]
        if f"b_hn{ours}" in like:
            gradients[f"b_hn{ours}"] = theirs_named[f"bias_hh{theirs}"][-case.hidden :]
    return gradients


def _names(case: Case) -> list[tuple[str, str]]:
    """Pair our suffixes with PyTorch's."""
    return [
        (end, end if layer else f"_l0{end}")
        for layer, ends in enumerate(case.suffixes)
        for end in ends
    ]


class TorchNetwork:
    """The modules, with the first weights; time is the first axis, which is nn.RNN's own order."""

    def __init__(self, problem: Problem) -> None:
        self.case = case = problem.case
        dtype = torch.float32 if case.dtype == "float32" else torch.float64
        self.all_steps = case.steps == "all"
        self.directions = 1 + case.bidirectional
        self.rnn = _network(problem, dtype)
        self.head = nn.Linear(self.directions * case.hidden, case.output, dtype=dtype)
        self.params = problem.params
        given = _to_torch(case, self.params)
        with torch.no_grad():
            for name, parameter in self.rnn.named_parameters():
                parameter.copy_(torch.from_numpy(given[name]))
            self.head.weight.copy_(torch.from_numpy(self.params["W_hy"].T))
            self.head.bias.copy_(torch.from_numpy(self.params["b_y"]))
        self.x = _time_first(problem.x)
        self.ragged = problem.lengths is not None
        self.last = torch.from_numpy(problem.last)
        self.sequences = torch.arange(case.batch)

    def forward(self) -> Tensor:
        """Run the network: outputs (T, B, O), or (B, O)."""
        hidden, final = self.rnn(self.x)
        if self.all_steps:
            seen = hidden
        elif self.ragged:
            seen = hidden[self.last, self.sequences]
        else:
            final = final[0] if isinstance(final, tuple) else final
            seen = torch.cat([*final[-2:]], -1) if self.directions == 2 else final[-1]
        outputs: Tensor = self.head(seen)
        return outputs


class TorchTrainer(TorchNetwork, Trainer):
    """The network with its loss and Adam."""

    def __init__(self, problem: Problem, adam: dict[str, Any]) -> None:
        super().__init__(problem)
        case = problem.case
        self.loss_name = case.loss
        self.adam = torch.optim.Adam(
            [*self.rnn.parameters(), *self.head.parameters()], lr=TIMED_LR, **adam
        )
        self.y = _time_first(problem.y) if self.all_steps else torch.from_numpy(problem.y)
        if case.loss == "cross_entropy":
            self.y = self.y.reshape(-1)
        weights = torch.from_numpy(problem.step_weights)
        self.weights = weights.T.contiguous() if self.all_steps else weights

    def loss(self) -> Tensor:
        """Run the network and return its loss."""
        outputs = self.forward()
        how = "none" if self.ragged and self.all_steps else "mean"
        if self.loss_name == "cross_entropy":
            flat = outputs.reshape(-1, outputs.shape[-1])
            losses = functional.cross_entropy(flat, self.y, reduction=how)
            losses = losses.reshape(outputs.shape[:-1]) if how == "none" else losses
        else:
            losses = _ELEMENTWISE[self.loss_name](outputs, self.y, reduction=how)
            losses = losses.mean(-1) if how == "none" else losses
        return (losses * self.weights).sum() if how == "none" else losses

    def loss_and_gradients(self) -> tuple[float, dict[str, Array]]:
        self.adam.zero_grad()
        loss = self.loss()
        loss.backward()
        found = {name: parameter.grad for name, parameter in self.rnn.named_parameters()}
        gradients = _to_ours(self.case, found, self.params)
        gradients |= {"W_hy": self.head.weight.grad.T, "b_y": self.head.bias.grad}
        return loss.item(), as_arrays(gradients)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.adam.zero_grad()
            self.loss().backward()
            self.adam.step()


class TorchPredictor(TorchNetwork, Predictor):
    """The network alone."""

    def outputs(self) -> Array:
        with torch.inference_mode():
            found: Array = self.forward().numpy()
        return found.swapaxes(0, 1) if self.all_steps else found


def _time_first(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1)))


def variants(problem: Problem, threads: int, flush: bool) -> Variants:
    """Name the implementations of Adam that can be fastest; of a forward pass there is one."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(flush)
    if problem.case.pass_ == "forward":
        return {"inference mode": partial(TorchPredictor, problem)}
    return {
        "fused Adam": partial(TorchTrainer, problem, {"fused": True}),
        "foreach Adam": partial(TorchTrainer, problem, {"foreach": True}),
    }


def version() -> str:
    """Return the version."""
    return str(torch.__version__)
