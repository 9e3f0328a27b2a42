"""The update of a recurrent PPO policy: fastbptt.torch with resets, nn.LSTM on padded episodes.

    python benchmarks/torch_ppo.py

A rollout of 16 environments and 128 steps; an episode ends with probability 1 / 30 at each step, so
rows hold several of random lengths, and begin in the middle of one. The policy: LSTM, two linear
heads, the clipped surrogate loss with a value loss and an entropy bonus; one update with fused
Adam on all of it. With nn.LSTM each episode is a sequence of its own, padded to the longest one, as
libraries for recurrent PPO do it; the padded input is made beforehand and is not timed. Loss and
gradients of the two must agree. One thread; updates alternate in blocks.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import fastbptt
import fastbptt.torch

ROWS, STEPS, OBSERVATIONS, ACTIONS = 16, 128, 8, 4
TOLERANCE = 1e-4  # of a gradient's largest number, in float32


class Rollout:
    """What was collected, (rows, steps, ..), and the same as padded episodes."""

    def __init__(self, hidden: int) -> None:
        self.x = torch.randn(ROWS, STEPS, OBSERVATIONS)
        self.resets = torch.rand(ROWS, STEPS) < 1 / 30
        self.state = (torch.randn(1, ROWS, hidden), torch.randn(1, ROWS, hidden))
        self.actions = torch.randint(ACTIONS, (ROWS, STEPS))
        self.log_probs = torch.log(torch.rand(ROWS, STEPS))
        self.advantages = torch.randn(ROWS, STEPS)
        self.returns = torch.randn(ROWS, STEPS)
        pieces, initial = [], []
        for row in range(ROWS):
            starts = [0, *(self.resets[row, 1:].nonzero()[:, 0] + 1).tolist(), STEPS]
            for start, stop in pairwise(starts):
                pieces.append((row, start, stop))
                carries = start == 0 and not self.resets[row, 0]
                initial.append(
                    [s[:, row] if carries else torch.zeros(1, hidden) for s in self.state]
                )
        longest = max(stop - start for _, start, stop in pieces)
        self.padded = torch.zeros(longest, len(pieces), OBSERVATIONS)
        self.places = torch.empty(ROWS, STEPS, dtype=torch.long)  # of each step among padded ones
        for i, (row, start, stop) in enumerate(pieces):
            self.padded[: stop - start, i] = self.x[row, start:stop]
            self.places[row, start:stop] = torch.arange(stop - start) * len(pieces) + i
        self.initial = tuple(torch.stack([one[k] for one in initial], 1) for k in range(2))
        self.episodes = len(pieces)


class Policy(nn.Module):
    def __init__(self, lstm: nn.Module, heads: nn.Module, padded: bool) -> None:
        super().__init__()
        self.lstm, self.heads, self.padded = lstm, heads, padded

    def features(self, r: Rollout) -> Tensor:
        if not self.padded:
            return self.lstm(r.x, r.state, resets=r.resets)[0]  # type: ignore[no-any-return]
        output = self.lstm(r.padded, r.initial)[0]
        return output.flatten(0, 1)[r.places]  # type: ignore[no-any-return]

    def loss(self, r: Rollout) -> Tensor:
        logits, values = self.heads(self.features(r)).split([ACTIONS, 1], -1)
        log_probs = logits.log_softmax(-1)
        chosen = log_probs.gather(-1, r.actions[..., None])[..., 0]
        ratio = (chosen - r.log_probs).exp()
        surrogate = torch.min(ratio * r.advantages, ratio.clamp(0.8, 1.2) * r.advantages)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        value_loss = (values[..., 0] - r.returns).square()
        return (0.5 * value_loss - surrogate - 0.01 * entropy).mean()


def policies(hidden: int) -> tuple[Policy, Policy]:
    theirs = nn.LSTM(OBSERVATIONS, hidden)
    ours = fastbptt.torch.LSTM(OBSERVATIONS, hidden, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    heads = nn.Linear(hidden, ACTIONS + 1)
    return Policy(theirs, heads, True), Policy(ours, copy.deepcopy(heads), False)


def check(theirs: Policy, ours: Policy, rollout: Rollout) -> None:
    results: list[list[Any]] = []
    for policy in (theirs, ours):
        loss = policy.loss(rollout)
        gradients = torch.autograd.grad(loss, list(policy.parameters()))
        results.append([loss.detach(), *gradients])
    for a, b in zip(*results, strict=True):
        error = float((a - b).abs().max() / a.abs().max())
        assert error < TOLERANCE, f"losses or gradients differ by {error:.1e}"


def update_of(policy: Policy, rollout: Rollout) -> Callable[[], None]:
    adam = torch.optim.Adam(policy.parameters(), lr=1e-7, fused=True)

    def update() -> None:
        adam.zero_grad()
        policy.loss(rollout).backward()
        adam.step()

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fastbptt.set_num_threads(1)
    torch.manual_seed(0)
    rollout = Rollout(options.hidden)
    theirs, ours = policies(options.hidden)
    check(theirs, ours, rollout)
    updates = [update_of(policy, rollout) for policy in (theirs, ours)]
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end:
        for update, into in zip(updates, times, strict=True):
            update()
            for _ in range(5):
                start = time.perf_counter()
                update()
                into.append(1e3 * (time.perf_counter() - start))
    print(f"{rollout.episodes} episodes, the longest of {len(rollout.padded)} steps; ms per update")
    for name, own in (("median", statistics.median), ("best", min)):
        a, b = own(times[0]), own(times[1])
        print(
            f"{name}: torch.nn, padded {a:.2f}; fastbptt.torch, resets {b:.2f}; {a / b:.2f} times"
        )


if __name__ == "__main__":
    main()
