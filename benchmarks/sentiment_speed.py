"""Training steps of the network of examples/sentiment.py, in fastbptt and in PyTorch, in turn.

    python benchmarks/sentiment_speed.py --imdb aclImdb

The network for film reviews, with the same weights, on the same batches of reviews of similar
length; the gradients of the first batch must agree. Blocks of steps alternate. Each system computes
with one thread; its processor time is counted, which depends less than the time that passes on what
else runs. PyTorch (`pip install torch`): nn.Embedding, nn.GRU, the maximum over the steps,
nn.Linear, clip_grad_norm_, fused Adam; in two ways, both exact. Packed: one bidirectional nn.GRU on
a packed sequence. Padded: an nn.GRU for each direction, the second on the sequences reversed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fastbptt
from fastbptt.datasets import load_imdb, pad

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 10  # steps of one system before the other's turn
CLIP = 1.0
TOLERANCE = 1e-3  # of a gradient's largest number, in float32

Array = np.ndarray
Batch = tuple[Array, Array, Array]  # tokens (B, T), lengths, targets


def example() -> ModuleType:
    """Load examples/sentiment.py."""
    name = "sentiment"
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "sentiment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def batches(tokens: list[Array], y: Array, size: int, count: int) -> list[Batch]:
    """Draw batches of texts of similar length, as `fit` makes them with `bucket=True`."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(tokens))[: size * count]
    by_length = chosen[np.argsort([len(tokens[i]) for i in chosen], kind="stable")]
    groups = rng.permutation(by_length.reshape(-1, size))
    return [(*pad([tokens[i] for i in group]), y[group]) for group in groups]


class Reader(nn.Module):  # type: ignore[misc]
    """The network in PyTorch, with the weights of ours."""

    def __init__(self, model: fastbptt.GRU, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        own = {name: torch.from_numpy(values.copy()) for name, values in model.parameters.items()}
        words, size = own["E"].shape
        self.embedding = nn.Embedding(words, size, padding_idx=0)
        if packed:
            self.gru = nn.GRU(size, model.hidden_size, bidirectional=True)
        else:
            self.forwards = nn.GRU(size, model.hidden_size)
            self.backwards = nn.GRU(size, model.hidden_size)
        self.head = nn.Linear(2 * model.hidden_size, 1)
        given = {
            "embedding.weight": own["E"],
            "head.weight": own["W_hy"].T,
            "head.bias": own["b_y"],
        }
        for ours, theirs in self.names().items():
            second = torch.zeros_like(own[f"b_h{ours}"])
            second[-model.hidden_size :] = own[f"b_hn{ours}"]
            given |= {
                theirs.format("weight_ih"): own[f"W_xh{ours}"].T,
                theirs.format("weight_hh"): own[f"W_hh{ours}"].T,
                theirs.format("bias_ih"): own[f"b_h{ours}"],
                theirs.format("bias_hh"): second,
            }
        self.load_state_dict(given)

    def names(self) -> dict[str, str]:
        """Return the names of PyTorch's parameters by the suffix of ours."""
        if self.packed:
            return {"": "gru.{}_l0", "_reverse": "gru.{}_l0_reverse"}
        return {"": "forwards.{}_l0", "_reverse": "backwards.{}_l0"}

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits, (B,)."""
        tokens = tokens.t()  # time first, which is nn.GRU's own order
        if self.packed:
            packed = pack_padded_sequence(self.embedding(tokens), lengths, enforce_sorted=False)
            hidden, _ = self.gru(packed)
            states, _ = pad_packed_sequence(hidden, padding_value=-torch.inf)
        else:
            steps = torch.arange(len(tokens))[:, None]
            order = (lengths - 1 - steps) % len(tokens)
            ahead, _ = self.forwards(self.embedding(tokens))
            back, _ = self.backwards(self.embedding(tokens.gather(0, order)))
            states = torch.cat([ahead, back], dim=-1)
            states = states.masked_fill((steps >= lengths)[:, :, None], -torch.inf)
        logits: Tensor = self.head(states.amax(dim=0))[:, 0]
        return logits


class Theirs:
    """PyTorch's training step."""

    def __init__(self, model: fastbptt.GRU, lr: float, packed: bool) -> None:
        self.reader = Reader(model, packed)
        self.adam = torch.optim.Adam(self.reader.parameters(), lr=lr, fused=True)

    def backward(self, batch: Batch) -> float:
        tokens, lengths, y = (torch.from_numpy(np.asarray(one)) for one in batch)
        self.adam.zero_grad()
        logits = self.reader(tokens, lengths)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y.to(logits.dtype))
        loss.backward()
        return float(loss.item())

    def step(self, batch: Batch) -> None:
        self.backward(batch)
        clip_grad_norm_(self.reader.parameters(), CLIP)
        self.adam.step()


def check(model: fastbptt.GRU, theirs: Theirs, batch: Batch, steps: str) -> None:
    """Compare loss and gradients of one batch."""
    tokens, lengths, y = batch
    loss, grads = model.loss_and_grad(tokens, y, "bce", steps, lengths=lengths)
    found = theirs.backward(batch)
    if not np.isclose(loss, found, rtol=1e-4):
        raise SystemExit(f"the losses differ: {loss} and {found}")
    names = {"E": "embedding.weight", "W_hy": "head.weight", "b_y": "head.bias"}
    for ours, name in theirs.reader.names().items():
        names |= {f"W_xh{ours}": name.format("weight_ih"), f"W_hh{ours}": name.format("weight_hh")}
        names |= {f"b_h{ours}": name.format("bias_ih")}
    own = dict(theirs.reader.named_parameters())
    for ours, name in names.items():
        gradient = own[name].grad.numpy()
        gradient = gradient if ours == "E" else gradient.T
        far = np.abs(grads[ours] - gradient).max() / np.abs(gradient).max()
        if far > TOLERANCE:
            raise SystemExit(f"the gradients of {ours} differ by {far:.2g} of their largest number")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", metavar="FOLDER", required=True, help="the folder aclImdb")
    parser.add_argument("--limit", type=int, metavar="N", help="number of texts of each class")
    parser.add_argument("--steps", type=int, default=300, help="steps of each system (300)")
    arguments = parser.parse_args(argv)
    fastbptt.set_num_threads(1)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as fastbptt does

    sentiment: Any = example()
    setting = sentiment.REVIEWS
    train, _ = load_imdb(arguments.imdb, limit=arguments.limit)
    tokenizer = sentiment.vocabulary(setting, train)
    tokens = tokenizer.encode(train.texts, max_length=setting.max_length)
    model = sentiment.untrained(setting, tokenizer, 0)
    drawn = batches(tokens, train.y, setting.batch, arguments.steps)
    adam = fastbptt.Adam(lr=setting.lr)
    padded, packed = (Theirs(model, setting.lr, packed) for packed in (False, True))
    for theirs in (padded, packed):
        check(model, theirs, drawn[0], setting.steps)

    def ours(batch: Batch) -> None:
        x, lengths, y = batch
        model.train_step(x, y, adam, "bce", setting.steps, lengths=lengths, clip_norm=CLIP)

    systems: dict[str, Callable[[Batch], None]] = {
        f"fastbptt {fastbptt.__version__}": ours,
        f"PyTorch {torch.__version__}, padded": padded.step,
        f"PyTorch {torch.__version__}, packed": packed.step,
    }
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for first in range(0, len(drawn), BLOCK):
        for name, step in systems.items():
            start = time.process_time()
            for batch in drawn[first : first + BLOCK]:
                step(batch)
            seconds[name].append((time.process_time() - start) / len(drawn[first : first + BLOCK]))
    epoch = len(train.y) / setting.batch
    mean = {name: statistics.mean(found) for name, found in seconds.items()}
    first = next(iter(seconds.values()))
    print("| system | training step | epoch of all reviews | relative to fastbptt |")
    print("|---|---|---|---|")
    for name, found in seconds.items():
        times = statistics.median(b / a for a, b in zip(first, found, strict=True))
        print(f"| {name} | {1e3 * mean[name]:.1f} ms | {epoch * mean[name]:.0f} s | {times:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
