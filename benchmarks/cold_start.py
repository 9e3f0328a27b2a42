"""Time from the start of Python to 96 % on Japanese Vowels, beside PyTorch.

    python benchmarks/cold_start.py [--seeds N] [--threads N] [--json]

Each run is a process of its own, ``python -c``, timed from outside: the interpreter, the import of
the library, reading the data, training, and after each epoch the test accuracy, until it reaches
96 %. The two take turns; medians over the seeds count. Both train the demo's tanh RNN of 128 units
with batches of 32 and Adam, from the same weights, with the same batches and the same noise on
their inputs, all of it drawn by NumPy. The accuracy on the test part ends the run, so this is a
measurement of time, not an estimate of accuracy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt.datasets import load_japanese_vowels

HIDDEN, CLASSES, EPOCHS, ACCURACY = 128, 9, 100, 0.96
# What both programs have in common: the data, and the batches of an epoch.
BOTH = """
import sys
import numpy as np

data = dict(np.load(sys.argv[1]))
x, lengths, y = data["x"], data["lengths"], data["y"]
rng = np.random.default_rng(int(sys.argv[2]))


def batches():
    noisy = x + rng.standard_normal(x.shape, np.float32)
    order = rng.permutation(len(x))
    for first in range(0, len(x), 32):
        rows = order[first : first + 32]
        time = lengths[rows].max()
        yield noisy[rows, :time], lengths[rows], y[rows]
"""
PROGRAMS = {
    "fastbptt": """
import fastbptt

fastbptt.set_num_threads(int(sys.argv[3]))
model = fastbptt.RNN(x.shape[2], data["W_hh"].shape[0], data["b_y"].size)
for name in model.parameters:
    model.parameters[name] = data[name]
adam = fastbptt.Adam(lr=2e-3)
for epoch in range(1, int(sys.argv[4]) + 1):
    for x_b, lengths_b, y_b in batches():
        model.train_step(
            x_b, y_b, adam, loss="cross_entropy", lengths=lengths_b, clip_norm=1.0
        )
    outputs = fastbptt.predict(model, data["x_test"], data["lengths_test"])
    accuracy = (outputs.argmax(axis=1) == data["y_test"]).mean()
    if accuracy >= float(sys.argv[5]):
        break
print(epoch, accuracy)
""",
    "PyTorch": """
import torch
from torch import nn

torch.set_num_threads(int(sys.argv[3]))
rnn = nn.RNN(x.shape[2], data["W_hh"].shape[0], batch_first=True)
head = nn.Linear(rnn.hidden_size, data["b_y"].size)
with torch.no_grad():
    rnn.weight_ih_l0.copy_(torch.from_numpy(data["W_xh"].T))
    rnn.weight_hh_l0.copy_(torch.from_numpy(data["W_hh"].T))
    rnn.bias_ih_l0.copy_(torch.from_numpy(data["b_h"]))
    rnn.bias_hh_l0.zero_()
    head.weight.copy_(torch.from_numpy(data["W_hy"].T))
    head.bias.copy_(torch.from_numpy(data["b_y"]))
weights = [p for name, p in rnn.named_parameters() if name != "bias_hh_l0"] + [*head.parameters()]
rnn.bias_hh_l0.requires_grad_(False)
adam = torch.optim.Adam(weights, lr=2e-3)


def last(x, lengths):
    hidden, _ = rnn(torch.from_numpy(x))
    return head(hidden[torch.arange(len(x)), torch.from_numpy(lengths) - 1])


for epoch in range(1, int(sys.argv[4]) + 1):
    for x_b, lengths_b, y_b in batches():
        adam.zero_grad()
        nn.functional.cross_entropy(last(x_b, lengths_b), torch.from_numpy(y_b)).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
    with torch.inference_mode():
        outputs = last(data["x_test"], data["lengths_test"]).numpy()
    accuracy = (outputs.argmax(axis=1) == data["y_test"]).mean()
    if accuracy >= float(sys.argv[5]):
        break
print(epoch, accuracy)
""",
}


def padded(sequences: Any) -> tuple[Any, Any]:
    """One array with zeros behind each sequence's end, and the lengths."""
    lengths = np.array([len(one) for one in sequences])
    x = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]), np.float32)
    for row, one in zip(x, sequences, strict=True):
        row[: len(one)] = one
    return x, lengths


def prepare(file: Path, seed: int) -> None:
    """Write the standardised data and the first weights."""
    data = load_japanese_vowels()
    scaler = fastbptt.Standardizer().fit(data.x_train)
    arrays = {}
    for part in ("train", "test"):
        x, lengths = padded(scaler.transform(getattr(data, f"x_{part}")))
        end = "_test" if part == "test" else ""
        y = getattr(data, f"y_{part}")
        arrays |= {f"x{end}": x, f"lengths{end}": lengths, f"y{end}": np.asarray(y, np.int64)}
    model = fastbptt.RNN(arrays["x"].shape[2], HIDDEN, CLASSES, init="keras", seed=seed)
    np.savez(file, **arrays, **dict(model.parameters.items()))


def run(system: str, file: Path, seed: int, threads: int) -> dict[str, float]:
    """Start Python with a program, and wait until it has reached the accuracy."""
    command = [sys.executable, "-c", BOTH + PROGRAMS[system], str(file)]
    command += [str(number) for number in (seed, threads, EPOCHS, ACCURACY)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    epochs, accuracy = done.stdout.split()
    return {"seconds": seconds, "epochs": float(epochs), "accuracy": float(accuracy)}


def measure(seeds: int, threads: int) -> dict[str, Any]:
    """Let both run with each seed in turn; medians, and the ratio of those of the times."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        for seed in range(seeds):
            prepare(file, seed)
            for system in PROGRAMS if seed % 2 == 0 else [*PROGRAMS][::-1]:
                one = run(system, file, seed, threads)
                if one["accuracy"] < ACCURACY:
                    sys.exit(f"{system}, seed {seed}: {one['accuracy']:.3f} after {EPOCHS} epochs")
                found[system].append(one)
    middle = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    ratio = middle["PyTorch"]["seconds"] / middle["fastbptt"]["seconds"]
    return {"systems": middle, "ratio": ratio, "seeds": seeds, "threads": threads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.seeds, arguments.threads)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for name, one in found["systems"].items():
        print(f"{name:8}  {one['seconds']:6.2f} s to {ACCURACY:.0%}, {one['epochs']:.0f} epochs")
    print(f"PyTorch takes {found['ratio']:.1f} times as long (medians of {found['seeds']} seeds)")


if __name__ == "__main__":
    main()
