"""From task to paper: train an excitatory-inhibitory network to decide, and see how it does it.

    python examples/decision_task.py                      # one network, into the folder decision/
    python examples/decision_task.py --seeds 50 -o many   # 50 of them, one on each core at a time
    python examples/decision_task.py --quick              # a few updates

The network of Song, Yang and Wang (PLoS Computational Biology 12, 2016): 40 excitatory and 10
inhibitory leaky units with ReLU, Dale's law, recurrent noise 0.15, a penalty on rates. It learns on
fresh trials of `tasks.PerceptualDecision` and is scored on 2000 others, with noise. Each seed has a
folder:

    model.safetensors      the network
    psychometric.png       choices by coherence, and the fitted curve
    trajectories.png       mean rates in two principal components by coherence, with fixed points
    fixed_points.png       single trials without noise, in the same way
    scores.json            settings, scores, bias and threshold, kinds of fixed points, and how slow
                           the slowest mode at a stable point is, in milliseconds

scores.json is written last. A seed that has it is not run again, so the same command goes on where
it was interrupted. summary.json has the scores of all seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import fastbptt
from fastbptt.datasets import tasks
from fastbptt.diagnostics import FixedPoints, fixed_points

HEAD = ("seed", "correct", "bias", "threshold", "fixed points", "slowest", "seconds")
EXCITATORY, UNITS = 40, 50
#: Constant inputs under which fixed points are searched: fixation, right, left.
INPUTS = {"stimulus": (1.0, 0.5, 0.5), "response": (0.0, 0.0, 0.0)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a run, beside the seed: results depend on these alone."""

    epochs: int = 30
    updates: int = 100  # of an epoch
    batch: int = 16
    lr: float = 0.01  # falls to 0, without which networks end with a bias
    noise: float = 0.15
    activity_l2: float = 0.1  # without it, rates grow for as long as evidence comes
    test: int = 2000
    starts: int = 200

    def task(self) -> tasks.PerceptualDecision:
        """Inputs with little noise, as in the paper: most of it is the units' own."""
        return tasks.PerceptualDecision(dt=20, tau=100, noise=0.01)


QUICK = Settings(epochs=2, updates=10, test=200, starts=20)


def make_model(task: tasks.PerceptualDecision, noise: float, seed: int) -> fastbptt.LeakyRNN:
    """Make the network before training."""
    inhibitory = UNITS - EXCITATORY
    model = fastbptt.LeakyRNN(
        task.input_size,
        UNITS,
        task.output_size,
        formulation="preactivation",
        nonlinearity="relu",
        alpha=task.dt / task.tau,
        recurrent_noise=noise,
        noise_scaling="alpha",
        readout_units=range(EXCITATORY),
        constraints=fastbptt.Constraints(
            signs=[1] * EXCITATORY + [-1] * inhibitory, self_connections=False
        ),
        seed=seed,
    )
    weights = model.parameters
    weights["W_xh"][...] *= 3  # rates above the noise
    W_hh = weights["W_hh"]
    W_hh[EXCITATORY:] *= EXCITATORY / inhibitory  # few inhibitory units balance many
    W_hh /= np.abs(np.linalg.eigvals(W_hh)).max()
    return model


def train(settings: Settings, seed: int) -> fastbptt.LeakyRNN:
    """Train a network on fresh trials."""
    task = settings.task()
    model = make_model(task, settings.noise, seed)
    fastbptt.fit(
        model,
        task.batches(settings.batch, seed=seed),
        **task.objective,
        steps_per_epoch=settings.updates,
        epochs=settings.epochs,
        optimizer=fastbptt.Adam(lr=settings.lr),
        schedule="cosine",
        clip_norm=1.0,
        activity_l2=settings.activity_l2,
        verbose=0,
    )
    return model


def decide(
    task: tasks.PerceptualDecision, model: fastbptt.LeakyRNN, trials: tasks.Trials, seed: int
) -> tuple[dict[str, float], tasks.Psychometric]:
    """Let a network decide, with noise; return its scores and the psychometric curve."""
    outputs = fastbptt.predict(model, trials.x, steps="all", noise=seed)
    choices = task.choices(outputs, trials)
    made = choices > 0  # 0: a response withheld
    right, levels = choices[made] == 1, trials.conditions["coherence"][made]
    both = len(set(right.tolist())) == 2  # else there is nothing to fit
    return task.score(outputs, trials), tasks.psychometric(levels, right, fit=both)


def rest(model: fastbptt.LeakyRNN, settings: Settings) -> dict[str, FixedPoints]:
    """Find fixed points under constant inputs, from states that the network visits."""
    x = settings.task().trials(200, seed=3).x
    return {
        name: fixed_points(model, inputs, settings.starts, data=x, noise=0.1, slow=1e-5)
        for name, inputs in INPUTS.items()
    }


def slowest(found: FixedPoints, dt: float) -> float | None:
    """Return the longest time constant at a stable point, in milliseconds."""
    sizes = np.abs(found.eigenvalues[found.stable])
    return float(-dt / np.log(sizes.max())) if sizes.size else None


def draw_trajectories(
    model: fastbptt.LeakyRNN, trials: tasks.Trials, found: FixedPoints, ax: Any = None
) -> Any:
    """Draw mean rates by coherence, in the principal components of these means."""
    rates = model.forward(trials.x, noise=1).hidden
    coherence = trials.conditions["coherence"]
    levels = np.unique(coherence)
    means = np.stack([rates[coherence == level].mean(axis=0) for level in levels])
    middle = means.mean(axis=(0, 1))
    _, spread, components = np.linalg.svd((means - middle).reshape(-1, UNITS), full_matrices=False)
    fractions = spread**2 / (spread**2).sum()

    def places(points: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((points - middle) @ components[:2].T).T

    with fastbptt.plot.style():
        if ax is None:
            _, ax = plt.subplots(figsize=(3.5, 3.1), layout="constrained")
        colours = matplotlib.colormaps["coolwarm"](np.linspace(0, 1, len(levels)))
        for level, mean, colour in zip(levels, means, colours, strict=True):
            outer = abs(level) == np.abs(levels).max() or level == 0
            label = f"coherence {level:g}" if outer else "_"
            ax.plot(*places(mean), color=colour, linewidth=1.0, label=label)
        rates_there = np.maximum(found.points, 0.0)  # of a state v, the rates are max(v, 0)
        for kind, marker in (("stable", "o"), ("unstable", "x"), ("marginal", "D"), ("slow", "s")):
            chosen = np.array(found.kinds()) == kind
            if chosen.any():
                style = {"linestyle": "none", "marker": marker, "markersize": 4, "color": "black"}
                ax.plot(*places(rates_there[chosen]), label=f"{kind} point", **style)
        for axis, i in ((ax.set_xlabel, 0), (ax.set_ylabel, 1)):
            axis(f"component {i + 1} ({fractions[i]:.0%} of the variance)")
        ax.spines[["top", "right"]].set_visible(False)
        ax.figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return ax


def save(ax: Any, path: Path) -> None:
    ax.figure.savefig(path, dpi=200)
    plt.close(ax.figure)


def run(settings: Settings, seed: int, folder: Path) -> dict[str, Any]:
    """Train, score and draw one network; return what is in its scores.json."""
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    task, model = settings.task(), train(settings, seed)
    model.save(folder / "model.safetensors")
    trials = task.trials(settings.test, seed=10_000 + seed)
    score, curve = decide(task, model, trials, seed)
    found = rest(model, settings)
    label = "fraction of choices to the right"
    save(
        fastbptt.plot.psychometric(curve, xlabel="coherence", ylabel=label),
        folder / "psychometric.png",
    )
    save(draw_trajectories(model, trials, found["stimulus"]), folder / "trajectories.png")
    shown = task.trials(40, seed=4).x
    save(
        fastbptt.plot.fixed_points(model, found["stimulus"], shown, trajectories=20),
        folder / "fixed_points.png",
    )
    result = {
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        **score,
        "bias": curve.bias,
        "threshold": curve.threshold,
        "levels": curve.levels.tolist(),
        "fractions": curve.fractions.tolist(),
        "fixed_points": {
            name: {kind: one.kinds().count(kind) for kind in sorted(set(one.kinds()))}
            for name, one in found.items()
        },
        "slowest": slowest(found["stimulus"], task.dt),
        "seconds": time.perf_counter() - start,
    }
    write(folder / "scores.json", result)
    return result


def write(path: Path, value: Any) -> None:
    """Write a JSON file as a whole: it is there with everything in it, or not there."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    part.replace(path)


def finished(settings: Settings, folder: Path) -> dict[str, Any] | None:
    """Read the scores of a seed that was run before."""
    path = folder / "scores.json"
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if result["settings"] != dataclasses.asdict(settings):
        raise SystemExit(f"{path} is of a run with other settings; expected -o with another folder")
    return result


def alone() -> None:
    """Keep a process to one thread."""
    fastbptt.set_num_threads(1)


def results(
    settings: Settings, missing: dict[int, Path], jobs: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run the seeds that are missing, so many at a time."""
    if jobs == 1 or len(missing) <= 1:
        for seed, folder in missing.items():
            yield seed, run(settings, seed, folder)
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's, in the new processes
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(missing)), context, alone) as pool:
        futures = {pool.submit(run, settings, seed, at): seed for seed, at in missing.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def row(result: dict[str, Any]) -> str:
    def number(name: str, form: str) -> str:
        return "-" if result[name] is None else format(result[name], form)

    kinds = result["fixed_points"]["stimulus"]
    cells = [
        f"{result['seed']}",
        *(number(name, ".3f") for name in ("correct", "bias", "threshold")),
        ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none",
        number("slowest", ".0f"),
        f"{result['seconds']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many networks (1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("decision"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="networks at a time")
    parser.add_argument("--quick", action="store_true", help="twenty updates")
    arguments = parser.parse_args(argv)
    for name in ("seeds", "jobs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} is {getattr(arguments, name)}; expected at least 1")
    settings = QUICK if arguments.quick else Settings()
    folders = {seed: arguments.output / f"seed_{seed:03}" for seed in range(arguments.seeds)}
    done = {seed: finished(settings, folder) for seed, folder in folders.items()}
    every = {seed: one for seed, one in done.items() if one is not None}
    missing = {seed: folders[seed] for seed in folders if seed not in every}
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    for one in every.values():
        print(row(one))
    for seed, one in results(settings, missing, arguments.jobs):
        every[seed] = one
        print(row(one), flush=True)
    correct = [every[seed]["correct"] for seed in folders]
    goal = settings.task().goal
    summary = {
        "correct": correct,
        "median": statistics.median(correct),
        "lowest": min(correct),
        "learned": sum(one >= goal for one in correct),
    }
    write(arguments.output / "summary.json", summary)
    print(
        f"\n{summary['learned']} of {len(correct)} have learned the task ({goal:.0%} correct); "
        f"median {summary['median']:.3f}, lowest {summary['lowest']:.3f}; {arguments.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
