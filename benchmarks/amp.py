"""The recipe of examples/amp.py in fastbptt and in PyTorch, in turn: time of an epoch, and result.

    python benchmarks/amp.py --cell LSTM                     # the time of an epoch
    python benchmarks/amp.py --cell GRU --epochs 30 --seeds 3   # train to the end, and compare

Both train networks of the same initial weights on the same batches of the made-up amplifier, with
one thread each; before anything else, the loss and the gradients of the first update must agree.
PyTorch: nn.LSTM or nn.GRU, nn.Linear, autograd, fused Adam, time first, as CoreAudioML does it. It
has two biases where one would do. The second one stays zero here, so that both systems solve the
same problem; `--two-biases` trains it, which doubles the rate of the biases.

For the time, rounds of one batch of 50 segments alternate (a warm-up and 22 updates), and the
median of the rounds' ratios is printed. For the result, each trains `--epochs` epochs, with the
weights of the best validation kept: the error-to-signal ratio on the test part. In float32 the two
runs soon part, as rounding differs, and end in different minima; `--dtype float64` keeps them
together for longer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fastbptt

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-3  # of a gradient's largest number, in float32

Array = np.ndarray


def example() -> Any:
    """Load examples/amp.py."""
    name = "amp_example"
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "amp.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


amp: Any = example()


class Amplifier(nn.Module):  # type: ignore[misc]
    """The network in PyTorch, with the weights of ours."""

    def __init__(self, model: fastbptt.Recurrent, two_biases: bool) -> None:
        super().__init__()
        own = {name: torch.from_numpy(values.copy()) for name, values in model.parameters.items()}
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[model.cell]
        self.rec = kind(1, model.hidden_size)
        self.lin = nn.Linear(model.hidden_size, 1)
        second = torch.zeros_like(own["b_h"])
        if "b_hn" in own:
            second[-model.hidden_size :] = own["b_hn"]
        given = {
            "rec.weight_ih_l0": own["W_xh"].T,
            "rec.weight_hh_l0": own["W_hh"].T,
            "rec.bias_ih_l0": own["b_h"],
            "rec.bias_hh_l0": second,
            "lin.weight": own["W_hy"].T,
            "lin.bias": own["b_y"],
        }
        self.to(own["W_hh"].dtype).load_state_dict(given)
        kept = torch.zeros_like(second)  # of the second bias, what no other parameter can do
        kept[-model.hidden_size :] = float("b_hn" in own)
        if not two_biases:
            self.rec.bias_hh_l0.register_hook(lambda gradient: gradient * kept)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Compute the outputs (time, batch, 1) and the state after them, cut from the graph."""
        hidden, state = self.rec(x, state)
        if isinstance(state, tuple):
            return self.lin(hidden) + x, tuple(one.detach() for one in state)
        return self.lin(hidden) + x, state.detach()


def emphasised(x: Tensor) -> Tensor:
    return torch.cat([x[:1], x[1:] - amp.EMPHASIS * x[:-1]])


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute that of the example, of (time, batch, 1)."""
    error = targets - outputs
    energy = emphasised(targets).square().mean() + amp.EPS
    power = targets.square().mean() + amp.EPS
    mean = error.mean(dim=0)
    return 0.75 * emphasised(error).square().mean() / energy + 0.25 * mean.square().mean() / power


def train_epoch(
    net: Amplifier, adam: torch.optim.Adam, dry: Tensor, wet: Tensor, order: Array
) -> None:
    """Do what the example's function of this name does; recordings are (time, segments, 1)."""
    for at in range(0, len(order), amp.BATCH):
        rows = torch.from_numpy(order[at : at + amp.BATCH])
        x, y = dry[:, rows], wet[:, rows]
        with torch.no_grad():
            _, state = net(x[: amp.WARMUP])
        for first in range(amp.WARMUP, len(x), amp.UPDATE):
            chunk = slice(first, first + amp.UPDATE)
            outputs, state = net(x[chunk], state)
            adam.zero_grad(set_to_none=True)
            loss(outputs, y[chunk]).backward()
            adam.step()


def play(net: Amplifier, dry: Array) -> Array:
    with torch.no_grad():
        x = torch.from_numpy(dry).to(net.lin.weight.dtype)
        return net(x.reshape(-1, 1, 1))[0].numpy().ravel()


def time_first(recordings: Array, dtype: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(recordings.T.astype(dtype)))[:, :, None]


def both(recipe: Any, two_biases: bool) -> tuple[Any, fastbptt.Adam, Amplifier, torch.optim.Adam]:
    """Make both networks, of the same weights, and their optimisers."""
    model = recipe.network()
    net = Amplifier(model, two_biases)
    adam = torch.optim.Adam(net.parameters(), lr=amp.LR, weight_decay=amp.DECAY, fused=True)
    return model, fastbptt.Adam(amp.LR, weight_decay=amp.DECAY), net, adam


def check(recipe: Any, dry: Array, wet: Array) -> None:
    """Compare the loss and the gradients of the first update, from the same state."""
    model, _, net, _ = both(recipe, True)
    chunk = slice(amp.WARMUP, amp.WARMUP + amp.UPDATE)
    state = model.forward(dry[:, : amp.WARMUP, None]).final_state
    out = model.forward(dry[:, chunk, None], h0=state, training=True)
    value, gradient = amp.loss(out.outputs[:, :, 0] + dry[:, chunk], wet[:, chunk])
    ours = model.backward(out, d_outputs=gradient[:, :, None])
    with torch.no_grad():
        _, theirs = net(time_first(dry[:, : amp.WARMUP], recipe.dtype))
    outputs, _ = net(time_first(dry[:, chunk], recipe.dtype), theirs)
    found = loss(outputs, time_first(wet[:, chunk], recipe.dtype))
    found.backward()
    assert abs(found.item() / value - 1) < TOLERANCE, (found.item(), value)
    for name, values in {
        "W_xh": net.rec.weight_ih_l0.grad.T,
        "W_hh": net.rec.weight_hh_l0.grad.T,
        "b_h": net.rec.bias_ih_l0.grad,
        "W_hy": net.lin.weight.grad.T,
        "b_y": net.lin.bias.grad,
    }.items():
        error = np.abs(ours[name] - values.numpy()).max() / np.abs(values.numpy()).max()
        assert error < TOLERANCE, f"the gradients of {name} differ by {error:.1e}"


def keep(path: Path | None, recipe: Any, numbers: dict[str, Any]) -> None:
    """Add numbers to a file, under the network's name."""
    if path is not None:
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        found.setdefault(f"{recipe.cell} {recipe.units}", {}).update(numbers)
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def measure(recipe: Any, dry: Array, wet: Array, rounds: int, two_biases: bool) -> dict[str, Any]:
    """Alternate epochs of one batch; return the median seconds, and the median ratio."""
    dry, wet = dry[: amp.BATCH], wet[: amp.BATCH]
    model, own, net, adam = both(recipe, two_biases)
    x, y = time_first(dry, recipe.dtype), time_first(wet, recipe.dtype)
    order = np.arange(len(dry))
    seconds: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        amp.train_epoch(model, own, dry, wet, order, True)
        between = time.perf_counter()
        train_epoch(net, adam, x, y, order)
        if number:  # the first one is not timed
            seconds.append((between - start, time.perf_counter() - between))
    ours, theirs = (statistics.median(one) for one in zip(*seconds, strict=True))
    ratios = sorted(b / a for a, b in seconds)
    print(
        f"{recipe.cell} {recipe.units}: fastbptt {ours:.3f} s, PyTorch {theirs:.3f} s per batch of "
        f"{len(dry)} segments; ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {rounds} rounds)"
    )
    return {"seconds": ours, "PyTorch": theirs, "ratio": statistics.median(ratios)}


def train(recipe: Any, parts: Any, two_biases: bool) -> tuple[float, float]:
    """Train both; return their error-to-signal ratios on the test part."""
    learn, held, test = parts
    dry, wet = (one.astype(recipe.dtype) for one in amp.segments(learn, recipe.rate))
    model, own, net, adam = both(recipe, two_biases)
    x, y = time_first(dry, recipe.dtype), time_first(wet, recipe.dtype)
    results = []
    for system in ("fastbptt", "PyTorch"):
        rng = np.random.default_rng(recipe.seed)
        plateau = fastbptt.schedules.ReduceOnPlateau(factor=0.5, patience=amp.HALVE)
        best, ratio = np.inf, np.nan
        for epoch in range(1, recipe.epochs + 1):
            order = rng.permutation(len(dry))
            if system == "fastbptt":
                amp.train_epoch(model, own, dry, wet, order, True)
            else:
                train_epoch(net, adam, x, y, order)
            if epoch % amp.VALIDATE and epoch < recipe.epochs:
                continue

            def run(recording: Array, system: str = system) -> Array:
                found: Array = (
                    amp.play(model, recording, True)
                    if system == "fastbptt"
                    else play(net, recording)
                )
                return found

            value, _ = amp.loss(run(held.dry)[None], held.wet[None])
            plateau.observe(value)
            rate = amp.LR * plateau.at(0, 1, recipe.epochs)
            own.lr = rate if system == "fastbptt" else own.lr
            for group in adam.param_groups if system == "PyTorch" else ():
                group["lr"] = rate
            if value < best:
                best, ratio = value, amp.error_to_signal(run(test.dry), test.wet)
        results.append(ratio)
    return results[0], results[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cell", choices=("LSTM", "GRU"), default="LSTM")
    parser.add_argument("--units", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5, help="of the timing (5)")
    parser.add_argument("--epochs", type=int, default=0, help="train, instead of the timing")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (3)")
    parser.add_argument("--seconds", type=float, default=100, help="of the recording (100)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--two-biases", action="store_true", help="train PyTorch's second bias")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the numbers to this file")
    arguments = parser.parse_args()
    fastbptt.set_num_threads(1)
    torch.set_num_threads(1)
    dry = amp.guitar(arguments.seconds)
    parts = amp.split(amp.Pair(dry, amp.amplifier(dry)))
    recipe = amp.Recipe(
        arguments.cell, arguments.units, epochs=arguments.epochs, dtype=arguments.dtype
    )
    segments = [one.astype(recipe.dtype) for one in amp.segments(parts[0], recipe.rate)]
    check(recipe, *segments)
    if not arguments.epochs:
        keep(
            arguments.json,
            recipe,
            measure(recipe, *segments, arguments.rounds, arguments.two_biases),
        )
        return 0
    pairs = []
    for recipe.seed in range(arguments.seeds):
        ours, theirs = train(recipe, parts, arguments.two_biases)
        pairs.append((ours, theirs))
        print(
            f"{recipe.cell} {recipe.units}, {recipe.epochs} epochs, seed {recipe.seed}: "
            f"error-to-signal ratio {ours:.5f} in fastbptt, {theirs:.5f} in PyTorch",
            flush=True,
        )
    found = {
        "epochs": recipe.epochs,
        "seconds": arguments.seconds,
        "dtype": recipe.dtype,
        "fastbptt": statistics.median(ours for ours, _ in pairs),
        "PyTorch": statistics.median(theirs for _, theirs in pairs),
        "seeds": [ours / theirs for ours, theirs in pairs],
    }
    found["ratio"] = found["fastbptt"] / found["PyTorch"]
    print(f"medians of {arguments.seeds} seeds: {found}")
    keep(arguments.json, recipe, {f"error_to_signal {recipe.dtype}": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
