"""Long-memory tasks for all cells: adding, copying and a delayed XOR.

The tasks have any length and known solutions; fastbptt.datasets describes them and their sources. A
cell has solved a task when its validation loss is below a tenth of the loss of the best guess
without memory. Training stops there, or after the given number of updates. The table shows the
number of updates until a task was solved, or the fraction of the guess's loss that was left.

    python examples/long_memory.py                            # everything: an hour or two
    python examples/long_memory.py --tasks adding --steps 50
    python examples/long_memory.py --results memory.jsonl     # resumes where it was stopped
    python examples/long_memory.py --quick                    # half a minute

All cells get the same: 10,000 sequences, 64 hidden units, batches of 32, Adam, gradients clipped to
a norm of 1, one seed, and a learning rate of 0.01, but for the tanh and the ReLU RNN, which need a
smaller one, 0.002. No more is tuned, so a cell that fails here is not proved unable to learn it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt.datasets import SyntheticTask, make_adding, make_copy, make_delayed_xor

TASKS = ("adding", "copy", "xor")
UPDATES = {50: 5_000, 200: 2_500, 500: 1_500}  # at most, by steps: long sequences take long
SEQUENCES, HIDDEN, BATCH, CLIP = 10_000, 64, 32, 1.0
SOLVED = 0.1  # of the loss of a guess

# The heads of the columns, the learning rates, and the arguments of the models.
CELLS: dict[str, dict[str, Any]] = {
    "tanh RNN": {"lr": 2e-3, "cell": "rnn", "init": "keras"},
    # Q. V. Le, N. Jaitly, G. E. Hinton. A simple way to initialize recurrent networks of rectified
    # linear units. 2015, arXiv:1504.00941.
    "ReLU RNN from the identity": {"lr": 2e-3, "cell": "relu", "init": "identity"},
    "leaky tanh RNN": {"lr": 1e-2, "cell": "leaky", "setting": 0.05, "init": "keras"},
    "GRU": {"lr": 1e-2, "cell": "gru", "init": "keras"},
    "LSTM": {"lr": 1e-2, "cell": "lstm", "init": "keras"},
}


class StopWhenSolved(fastbptt.Callback):
    """Stop when the validation loss is below a bound."""

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def on_epoch_end(self, run: Any) -> bool:
        return bool(run.history["validation_loss"][-1] < self.bound)


def make(task: str, n: int, steps: int, seed: int) -> SyntheticTask:
    if task == "adding":
        return make_adding(n, steps, seed=seed)
    if task == "copy":
        return make_copy(n, steps, tokens=True, seed=seed)
    return make_delayed_xor(n, steps, seed=seed)


def learn(
    task: str, steps: int, name: str, updates: int, sequences: int, seed: int
) -> dict[str, Any]:
    """Train one cell on one task; return the result."""
    train = make(task, sequences, steps, seed)
    test = make(task, max(sequences // 20, 32), steps, seed + 1_000_000)
    sizes = (train.input_size, HIDDEN, train.output_size)
    options: dict[str, Any] = {"seed": seed, **CELLS[name]}
    if train.x.ndim == 2:  # tokens, as vectors of zeros and a one
        options |= {"embedding": np.eye(train.input_size), "freeze_embedding": True}
    adam = fastbptt.Adam(lr=options.pop("lr"))
    model = fastbptt.Recurrent(options.pop("cell"), *sizes, **options)
    updates_per_epoch = -(-sequences // BATCH)
    start = time.perf_counter()
    losses: list[float] = []
    try:
        losses = fastbptt.fit(
            model,
            train.x,
            train.y,
            loss=train.loss,
            steps=train.steps,
            epochs=max(updates // updates_per_epoch, 1),
            batch_size=BATCH,
            optimizer=adam,
            clip_norm=CLIP,
            validation=(test.x, test.y),
            restore_best=False,
            callbacks=[StopWhenSolved(SOLVED * test.baseline)],
            seed=seed,
            verbose=0,
        )["validation_loss"]
    except fastbptt.ArgumentError as error:
        if error.value is None or math.isfinite(error.value):
            raise
    return {
        "task": task,
        "steps": steps,
        "cell": name,
        "solved": bool(losses) and losses[-1] < SOLVED * test.baseline,
        "updates": updates_per_epoch * len(losses),
        "limit": updates,
        "left": min(losses) / test.baseline if losses else None,  # None: the loss grew to infinity
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Write the results as a Markdown table."""
    names = [name for name in CELLS if any(one["cell"] == name for one in results)]
    lines = [f"| task | steps | at most | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    found = {(one["task"], one["steps"], one["cell"]): one for one in results}
    for task in TASKS:
        for steps in sorted({one["steps"] for one in results if one["task"] == task}):
            limits = [
                one["limit"] for one in results if (one["task"], one["steps"]) == (task, steps)
            ]
            cells = [f"{max(limits):,} updates"]
            for name in names:
                one = found.get((task, steps, name))
                if one is None:
                    cells.append("not tried")
                elif one["solved"]:
                    cells.append(f"**solved**, {one['updates']:,}")
                elif one["left"] is None:
                    cells.append("diverged")
                else:
                    cells.append(f"{one['left']:.0%} left")
            lines.append(f"| {task} | {steps} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", nargs="+", type=int, default=list(UPDATES), metavar="T")
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--updates", type=int, help="at most (5000 for 50 steps, 2500, 1500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="save results there, and continue from them"
    )
    parser.add_argument("--quick", action="store_true", help="two cells, short sequences")
    arguments = parser.parse_args(argv)

    sequences = SEQUENCES
    if arguments.quick:
        sequences, arguments.updates, arguments.steps = 1_000, 320, [20]
        arguments.tasks, arguments.cells = ["adding", "xor"], ["tanh RNN", "GRU"]
    results: list[dict[str, Any]] = []
    if arguments.results is not None and arguments.results.exists():
        results = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    done = {(one["task"], one["steps"], one["cell"]) for one in results}
    for steps in arguments.steps:
        for task in arguments.tasks:
            for name in arguments.cells:
                if (task, steps, name) in done:
                    continue
                updates = arguments.updates or UPDATES.get(steps, 1_500)
                one = learn(task, steps, name, updates, sequences, arguments.seed)
                results.append(one)
                print(json.dumps(one), file=sys.stderr)
                if arguments.results is not None:
                    with arguments.results.open("a") as file:
                        file.write(json.dumps(one) + "\n")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
