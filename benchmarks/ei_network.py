"""An excitatory-inhibitory network learns to decide, in fastbptt and in PyTorch.

    python benchmarks/ei_network.py                            # three seeds, 3000 updates each
    python benchmarks/ei_network.py --updates 300 --seeds 1    # the time alone

The network of Song, Yang and Wang (2016): 40 excitatory and 10 inhibitory units in pre-activation
form with ReLU, dt 20 ms, tau 100 ms, Dale's law by clipping, no self-connections, recurrent noise
0.15, readout from the excitatory units; perceptual decisions in batches of 16 fresh trials. All
begin with the same weights, get the same batches, and take steps of Adam with the same clipping;
without noise and in float64, the loss and the gradients of a first batch and the weights after ten
updates must agree. With noise each draws its own. One thread.

PyTorch goes through the steps in Python, in two ways: "torch" is the equations step by step, as the
field's packages have them; in "torch-hoisted" all that can be is outside of that loop (the products
of the inputs, the noise of all steps in one call, the readout), and what is left is fused by hand.

Printed for each: what an update takes (median of all; in turn, in blocks), without drawing the
trials, how many times that of fastbptt it is, and the fraction of correct decisions on 2000 trials,
with noise, that had no part in training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fastbptt
from fastbptt.config import info
from fastbptt.datasets import tasks

EXCITATORY, UNITS, BATCH = 40, 50, 16
DT, TAU, NOISE, LR, CLIP = 20.0, 100.0, 0.15, 0.005, 1.0
BLOCK = 50  # updates of one system before the other's turn
TOLERANCE = 1e-7  # of an array's largest number

Update = Callable[[tasks.Trials], None]


def make_task() -> tasks.PerceptualDecision:
    """Inputs with little noise, as in the paper: most of it is the units' own."""
    return tasks.PerceptualDecision(dt=DT, tau=TAU, noise=0.01)


def make_model(
    task: tasks.Task, noise: float, seed: int, dtype: str = "float32"
) -> fastbptt.LeakyRNN:
    rules = fastbptt.Constraints(
        signs=[1] * EXCITATORY + [-1] * (UNITS - EXCITATORY), self_connections=False
    )
    model = fastbptt.LeakyRNN(
        task.input_size,
        UNITS,
        task.output_size,
        formulation="preactivation",
        nonlinearity="relu",
        alpha=DT / TAU,
        recurrent_noise=noise,
        noise_scaling="alpha" if noise else None,
        readout_units=range(EXCITATORY),
        constraints=rules,
        dtype=dtype,
        seed=seed,
    )
    weights = model.parameters
    weights["W_xh"][...] *= 3  # rates above the noise
    W_hh = weights["W_hh"]
    W_hh[EXCITATORY:] *= EXCITATORY / (UNITS - EXCITATORY)  # few inhibitory units balance many
    W_hh /= np.abs(np.linalg.eigvals(W_hh)).max()
    return model


class TorchNetwork:
    """The same network, step by step."""

    names = ("W_xh", "W_hh", "b_h", "W_hy", "b_y")

    def __init__(self, model: fastbptt.LeakyRNN, noise: float) -> None:
        self.parameters = [
            torch.tensor(np.array(model.parameters[name]), requires_grad=True)
            for name in self.names
        ]
        self.dtype = self.parameters[0].dtype
        self.sign = torch.ones(UNITS, 1, dtype=self.dtype)
        self.sign[EXCITATORY:] = -1
        self.connected = 1 - torch.eye(UNITS)
        self.scale = noise * (2 * TAU / DT) ** 0.5
        self.adam = torch.optim.Adam(self.parameters, lr=LR, fused=True)

    def outputs(self, x: Tensor) -> Tensor:
        W_xh, W_hh, b_h, W_hy, b_y = self.parameters
        alpha = DT / TAU
        v = x.new_zeros(len(x), UNITS)
        rates, outputs = torch.relu(v), []
        for t in range(x.shape[1]):
            a = x[:, t] @ W_xh + rates @ W_hh + b_h
            if self.scale:
                a = a + self.scale * torch.randn_like(a)
            v = (1 - alpha) * v + alpha * a
            rates = torch.relu(v)
            outputs.append(rates[:, :EXCITATORY] @ W_hy + b_y)
        return torch.stack(outputs, 1)

    def loss(self, trials: tasks.Trials) -> Tensor:
        logits = self.outputs(torch.from_numpy(trials.x).to(self.dtype))
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(trials.y).flatten(), reduction="none"
        )
        weights = torch.from_numpy(trials.weights).to(self.dtype).flatten()
        return (losses * weights).sum() / weights.sum()

    def backward(self, trials: tasks.Trials) -> float:
        """Compute the gradients, of connections that exist; return the loss."""
        self.adam.zero_grad()
        loss = self.loss(trials)
        loss.backward()
        self.parameters[1].grad *= self.connected
        return loss.item()

    def update(self, trials: tasks.Trials) -> None:
        self.backward(trials)
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.adam.step()
        with torch.no_grad():  # Dale's law
            W_hh, W_hy = self.parameters[1], self.parameters[3]
            W_hh.copy_(torch.relu(W_hh * self.sign) * self.sign)
            W_hy.clamp_(min=0)


class HoistedNetwork(TorchNetwork):
    """As little as possible in the loop over the steps."""

    def outputs(self, x: Tensor) -> Tensor:
        W_xh, W_hh, b_h, W_hy, b_y = self.parameters
        driven = x.transpose(0, 1) @ W_xh + b_h
        if self.scale:
            driven = driven + self.scale * torch.randn_like(driven)
        v = x.new_zeros(len(x), UNITS)
        rates, steps = v, []
        for one in driven.unbind():
            v = torch.lerp(v, torch.addmm(one, rates, W_hh), DT / TAU)
            rates = torch.relu(v)
            steps.append(rates)
        return torch.stack(steps, 1)[..., :EXCITATORY] @ W_hy + b_y


IN_TORCH = {"torch": TorchNetwork, "torch-hoisted": HoistedNetwork}


def update_of(model: fastbptt.LeakyRNN) -> Update:
    adam = fastbptt.Adam(lr=LR)

    def update(trials: tasks.Trials) -> None:
        model.train_step(trials.x, trials.y, adam, clip_norm=CLIP, **trials.arguments)

    return update


def agree(what: str, ours: Any, theirs: Any) -> None:
    """End the program where two arrays differ."""
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not error < TOLERANCE:
        raise SystemExit(f"{what}: fastbptt and PyTorch differ by {error:.1e}")


def check(task: tasks.Task, seed: int) -> None:
    """Compare all without noise, in float64."""
    for network in IN_TORCH.values():
        model = make_model(task, 0.0, seed, "float64")
        theirs = network(model, 0.0)
        trials = task.trials(BATCH, seed=seed)
        loss, gradients = model.loss_and_grad(trials.x, trials.y, **trials.arguments)
        agree("loss", loss, theirs.backward(trials))
        for name, parameter in zip(theirs.names, theirs.parameters, strict=True):
            agree(f"gradient of {name}", gradients[name], parameter.grad.numpy())
        for update in (update_of(model), theirs.update):
            for i in range(10):
                update(task.trials(BATCH, seed=i))
        for name, parameter in zip(theirs.names, theirs.parameters, strict=True):
            found = parameter.detach().numpy()
            agree(f"{name} after ten updates", model.parameters[name], found)


def run(task: tasks.Task, seed: int, updates: int) -> None:
    """Train all; print a row for each."""
    torch.manual_seed(seed)
    model = make_model(task, NOISE, seed)
    networks = {name: network(model, NOISE) for name, network in IN_TORCH.items()}
    systems: dict[str, Update] = {"fastbptt": update_of(model)}
    systems |= {name: network.update for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in systems}
    rng = np.random.default_rng(seed)
    for first in range(0, updates, BLOCK):
        batches = [task.trials(BATCH, seed=rng) for _ in range(min(BLOCK, updates - first))]
        for name, update in systems.items():
            for trials in batches:
                start = time.perf_counter()
                update(trials)
                times[name].append(1e3 * (time.perf_counter() - start))
    test = task.trials(2000, seed=10_000 + seed)
    outputs = {"fastbptt": fastbptt.predict(model, test.x, steps="all", noise=seed)}
    with torch.no_grad():
        for name, network in networks.items():
            outputs[name] = network.outputs(torch.from_numpy(test.x)).numpy()
    ours = statistics.median(times["fastbptt"])
    for name, found in times.items():
        median = statistics.median(found)
        print(
            f"| {seed} | {name} | {median:.3f} | {median / ours:.1f} | {sum(found) / 1e3:.1f} "
            f"| {task.score(outputs[name], test)['correct']:.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fastbptt.set_num_threads(1)
    task = make_task()
    print(f"fastbptt ({info()['active']}), torch {torch.__version__}; {options.updates} updates\n")
    head = ("seed", "system", "ms an update", "relative", "s in all", "correct")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for seed in range(options.seeds):
        check(task, seed)
        run(task, seed, options.updates)


if __name__ == "__main__":
    main()
