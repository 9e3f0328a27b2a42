"""Train a network on each task of `fastbptt.datasets.tasks` until it has learned it.

    python examples/cognitive_tasks.py                       # all tasks
    python examples/cognitive_tasks.py flip_flop --seeds 3   # one, three networks
    python examples/cognitive_tasks.py --quick               # a few updates of each

Every batch is of fresh trials. After each hundred updates 1000 other trials are scored; training
ends where the fraction of correct ones reaches the task's goal. The last column is the same score
of 2000 trials that had no part in that.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any

import fastbptt
from fastbptt.datasets import tasks

HEAD = ("task", "network", "steps", "updates", "seconds", "correct")
QUICK = {  # shorter trials
    "delayed_match_to_sample": {"delay": 100, "sample": 100, "test": 100},
    "parametric_working_memory": {"delay": 100, "first": 100, "second": 100},
    "ready_set_go": {"interval": 200},
    "flip_flop": {"duration": 400},
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """Network and training."""

    cell: str = "GRU"
    hidden: int = 64
    batch: int = 64
    lr: float = 5e-3
    most: int = 60  # hundreds of updates
    forget_bias: float | None = None  # of an LSTM


SETTINGS = {
    **{name: Setting() for name in tasks.TASKS},
    # what is to be integrated is mostly noise, and so are the gradients
    "perceptual_decision": Setting(lr=3e-3),
    "context_dependent_integration": Setting(lr=3e-3),
    # Where nothing is learned before a stimulus is remembered, gates that start open for memory
    # help: a GRU was still at chance after 400 updates.
    "delayed_match_to_sample": Setting("LSTM", forget_bias=3.0),
}


def correct(model: fastbptt.Recurrent, task: Any, trials: tasks.Trials) -> float:
    """Score a model on trials."""
    outputs = fastbptt.predict(model, trials.x, trials.lengths, steps="all")
    score: float = task.score(outputs, trials)["correct"]
    return score


class StopAtGoal(fastbptt.Callback):
    """End training where a task is learned."""

    def __init__(self, task: Any, trials: tasks.Trials) -> None:
        self.task, self.trials = task, trials

    def on_epoch_end(self, run: fastbptt.training.TrainingRun) -> bool:
        return correct(run.model, self.task, self.trials) >= self.task.goal


def row(name: str, setting: Setting, seed: int, quick: bool) -> str:
    """Train one network; return a row of the table."""
    task = tasks.make(name, **(QUICK.get(name, {}) if quick else {}))
    options = {} if setting.forget_bias is None else {"forget_bias": setting.forget_bias}
    model = getattr(fastbptt, setting.cell)(
        task.input_size, setting.hidden, task.output_size, init="keras", seed=seed, **options
    )
    start = time.perf_counter()
    history = fastbptt.fit(
        model,
        task.batches(setting.batch, seed=seed),
        **task.objective,
        steps_per_epoch=5 if quick else 100,
        epochs=2 if quick else setting.most,
        optimizer=fastbptt.Adam(lr=setting.lr),
        clip_norm=1.0,
        callbacks=[StopAtGoal(task, task.trials(1000, seed=10_000 + seed))],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    test = task.trials(2000, seed=20_000 + seed)
    updates = len(history) * (5 if quick else 100)
    cells = [
        name.replace("_", " "),
        f"{setting.cell} {setting.hidden}",
        f"{test.ends.min()}-{test.ends.max()}" if test.lengths is not None else f"{test.ends[0]}",
        f"{updates}",
        f"{seconds:.1f}",
        f"{correct(model, task, test):.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(tasks.TASKS)}")
    parser.add_argument("--seeds", type=int, default=1, help="networks for each task (1)")
    parser.add_argument("--quick", action="store_true", help="ten updates on short trials")
    arguments = parser.parse_args(argv)
    for name in arguments.tasks:
        if name not in tasks.TASKS:
            parser.error(f"TASK is {name}; expected one of {', '.join(tasks.TASKS)}")
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    for name in arguments.tasks or tasks.TASKS:
        for seed in range(arguments.seeds):
            print(row(name, SETTINGS[name], seed, arguments.quick), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
