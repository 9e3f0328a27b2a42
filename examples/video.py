"""Classification of video clips by the objects detected in their frames.

A detector such as YOLO writes a text file per frame, with one line per box: `yolo track
save_txt=True save_conf=True`. Put the files of each kind of clip into a separate folder,
FOLDER/KIND/CLIP_FRAME.txt. Then

    python examples/video.py --folder FOLDER --objects 2=car

trains a classifier on the objects of the detector's class 2. Each frame becomes a vector: the
number of boxes, their positions and sizes, the detector's confidence, the speed of tracked boxes.

Without a folder, the scenes are synthetic: a car that crosses the picture, turns, stops or starts,
walking people, missed boxes and false detections:

    python examples/video.py
    python examples/video.py --quick
    python examples/video.py --write FOLDER    # write some as files, and show how to train on them

A third of the clips is the test set. The settings were chosen on other synthetic scenes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

import numpy as np

import fastbptt
from fastbptt.datasets import frame_features, make_scenes, read_yolo, write_yolo, yolo_clips

HIDDEN, EPOCHS, BATCH, LR, NOISE = 48, 25, 16, 6e-3, 0.1


def make_clips(n: int, objects: dict[int, str]) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Make scenes up: a sequence (frames, numbers) and a kind for each, and the kinds' names."""
    scenes = make_scenes(n, seed=1)
    x = [frame_features(clip, objects, tracks=True) for clip in scenes.clips]
    return x, scenes.y, list(scenes.kinds)


def read_clips(
    folder: Path, objects: dict[int, str]
) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Read FOLDER/KIND/CLIP_FRAME.txt; refuse a folder in which no such object was detected."""
    kinds = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(kinds) < 2:
        raise ValueError(f"{folder} has {len(kinds)} folders; expected one for each kind of clip")
    x, y = [], []
    detected: set[int] = set()
    for label, kind in enumerate(kinds):
        for clip in yolo_clips(folder / kind):
            detections = read_yolo(folder / kind, clip)
            detected.update(detections.label.tolist())
            x.append(frame_features(detections, objects, tracks=True))
            y.append(label)
    if absent := sorted(set(objects) - detected):
        raise ValueError(
            f"--objects has class {', '.join(map(str, absent))}; expected classes that were "
            f"detected in {folder}: {', '.join(map(str, sorted(detected))) or 'none'}"
        )
    return x, np.array(y), kinds


def write_clips(folder: Path, n: int) -> str:
    """Write made-up scenes as a detector would; return the command that trains on them."""
    scenes = make_scenes(n, seed=1)
    for number, (clip, kind) in enumerate(zip(scenes.clips, scenes.y, strict=True)):
        write_yolo(folder / scenes.kinds[kind], f"scene{number:03}", clip)
    car = f"{scenes.class_names.index('car')}=car"
    program = os.path.relpath(__file__)
    return shlex.join(["python", program, "--folder", str(folder), "--objects", car])


def split(y: np.ndarray, part: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the same fraction of each kind, at random, for the test."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test[members[: round(part * len(members))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def train_and_predict(
    x: list[np.ndarray], y: np.ndarray, learn: np.ndarray, ask: np.ndarray, epochs: int, seed: int
) -> np.ndarray:
    """Train on some clips; return the predicted kinds of others."""
    standardizer = fastbptt.Standardizer().fit([x[i] for i in learn])
    x = standardizer.transform(x, dtype="float32")
    model = fastbptt.GRU(
        x[0].shape[1], HIDDEN, int(y.max()) + 1, bidirectional=True, init="keras", seed=seed
    )
    fastbptt.fit(
        model,
        [x[i] for i in learn],
        y[learn],
        loss="cross_entropy",
        epochs=epochs,
        batch_size=BATCH,
        optimizer=fastbptt.Adam(lr=LR),
        schedule="cosine",
        clip_norm=1.0,
        augment=lambda batch, rng: batch + NOISE * rng.standard_normal(batch.shape, "f4"),
        seed=seed,
        verbose=0,
    )
    outputs = np.asarray(fastbptt.predict(model, [x[i] for i in ask]))
    predictions: np.ndarray = outputs.argmax(axis=1)
    return predictions


def objects_of(text: str) -> tuple[int, str]:
    number, _, name = text.partition("=")
    return int(number), name or number


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--folder", type=Path, help="with a folder of .txt files for each kind")
    where.add_argument("--write", type=Path, metavar="FOLDER", help="write 40 scenes, and stop")
    parser.add_argument(
        "--objects",
        nargs="+",
        type=objects_of,
        default=[(0, "car")],
        metavar="CLASS=NAME",
        help="the detector's classes that matter (0=car)",
    )
    parser.add_argument("--seeds", type=int, default=5, help="networks (5)")
    parser.add_argument("--quick", action="store_true", help="few scenes, one network")
    arguments = parser.parse_args(argv)
    if arguments.write is not None:
        print(f"Wrote 40 scenes. Train on them:\n\n    {write_clips(arguments.write, 40)}")
        return 0

    objects = dict(arguments.objects)
    if arguments.folder is None:
        x, y, kinds = make_clips(240 if arguments.quick else 1200, objects)
    else:
        try:
            x, y, kinds = read_clips(arguments.folder, objects)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    learn, ask = split(y, 1 / 3, seed=0)
    accuracies = []
    counts = np.zeros((len(kinds), len(kinds)), int)
    for seed in range(1 if arguments.quick else arguments.seeds):
        predictions = train_and_predict(x, y, learn, ask, 10 if arguments.quick else EPOCHS, seed)
        accuracies.append(float((predictions == y[ask]).mean()))
        np.add.at(counts, (y[ask], predictions), 1)
        print(f"seed {seed}: test accuracy {accuracies[-1]:.3f}", file=sys.stderr)

    largest = np.bincount(y[ask]).max() / len(ask)
    head = ["clips", "train / test", "numbers per frame", "model", "test, median"]
    head += ["lowest - highest", "always the most frequent kind"]
    row = [
        str(arguments.folder or "made-up scenes"),
        f"{len(learn)} / {len(ask)}",
        str(x[0].shape[1]),
        f"bidirectional GRU {HIDDEN}",
        f"**{np.median(accuracies):.3f}**",
        f"{min(accuracies):.3f} - {max(accuracies):.3f}",
        f"{largest:.3f}",
    ]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n| {' | '.join(row)} |")
    print("\nConfusion matrix over all networks (rows: true class, columns: predicted class):\n")
    print(f"| | {' | '.join(kinds)} |\n|---{'|---' * len(kinds)}|")
    for kind, row_counts in zip(kinds, counts, strict=True):
        print(
            f"| {kind} | {' | '.join(f'{count / row_counts.sum():.0%}' for count in row_counts)} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
