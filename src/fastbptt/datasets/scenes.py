"""Synthetic scenes: detections of cars that cross the picture, turn, stop or start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from . import _lines
from .video import Detections

__all__ = ["Scenes", "make_scenes"]

_KINDS: Final = ("crossing", "turning", "stopping", "starting")
_CLASSES: Final = ("car", "person")
_NEW_TRACK: Final = 5  # missed frames after which a tracker starts a new track


class Scenes(NamedTuple):
    """Clips of detections, classified by the car's behaviour.

    Attributes
    ----------
    clips : list of Detections
        One for each scene.
    y : ndarray
        The car's behaviour, int64, shape (scenes,).
    kinds : tuple of str
        The names of 0, 1, ... in `y`.
    class_names : tuple of str
        The names of the detections' classes.
    """

    clips: list[Detections]
    y: NDArray[np.int64]
    kinds: tuple[str, ...]
    class_names: tuple[str, ...]


def make_scenes(
    n: int,
    *,
    kinds: Sequence[str] = _KINDS,
    frames: tuple[int, int] = (40, 60),
    missed: float = 0.1,
    jitter: float = 0.005,
    spurious: float = 0.02,
    people: int = 2,
    seed: int | np.random.Generator | None = None,
) -> Scenes:
    """Make scenes as a detector and a tracker would report them, each with one car on its way.

    The car comes from any side and drives through the middle of the picture: straight on
    ("crossing"), into another direction ("turning", by 60 to 120 degrees to either side), it slows
    down and stands ("stopping"), or it stands and drives off ("starting"). The last two differ only
    in the order of the frames. People walk about independently of the car.

    Parameters
    ----------
    n : int
        The number of scenes. Each kind occurs as often as the others, but for a rest, in random
        order.
    kinds : sequence of str, default ("crossing", "turning", "stopping", "starting")
        What cars may do: two or more of these.
    frames : tuple of int, default (40, 60)
        The least and the greatest number of frames of a scene.
    missed : float, default 0.1
        The part of the boxes that are missed. A track that is missed in 5 frames in a row gets a
        new number.
    jitter : float, default 0.005
        The standard deviation of the errors of a box's numbers, as parts of the picture's size.
    spurious : float, default 0.02
        The probability that a frame has a box, without a track, where nothing is.
    people : int, default 2
        The greatest number of people in a scene.
    seed : int, numpy.random.Generator or None, default None
        The same number, the same scenes. A generator goes on from its state.

    Returns
    -------
    Scenes
        ``class_names`` are "car" (0) and "person" (1).

    Raises
    ------
    ValueError, TypeError
        If an argument is not right.

    Examples
    --------
    >>> from fastbptt.datasets import frame_features, make_scenes
    >>> scenes = make_scenes(6, kinds=("crossing", "turning", "stopping"), seed=0)
    >>> sorted(scenes.y.tolist()), scenes.kinds
    ([0, 0, 1, 1, 2, 2], ('crossing', 'turning', 'stopping'))
    >>> x = [frame_features(clip, scenes.class_names, tracks=True) for clip in scenes.clips]
    >>> x[0].shape[1]
    40
    """
    count = _check.size("n", n)
    names = _lines.class_names(kinds, "kinds")
    for i, name in enumerate(names):
        _check.option(f"kinds[{i}]", name, _KINDS)
    try:
        low, high = frames
    except (TypeError, ValueError):
        raise TypeError(f"frames is {_check.shown(frames)}; expected two whole numbers") from None
    low, high = _check.size("frames[0]", low), _check.size("frames[1]", high)
    if not 10 <= low <= high:
        raise ValueError(f"frames is {frames}; expected two whole numbers from 10 up, in order")
    for name, value in (("missed", missed), ("jitter", jitter), ("spurious", spurious)):
        if not 0 <= _check.number(name, value, "a number from 0 to 1") <= 1:
            raise ValueError(f"{name} is {value}; expected a number from 0 to 1")
    if people != 0:
        _check.size("people", people)
    rng = _check.generator(seed)
    y = rng.permutation(np.arange(count) % len(names))
    clips = []
    for kind in y.tolist():
        steps = int(rng.integers(low, high + 1))
        paths = [(0, _drive(rng, names[kind], steps), rng.uniform(0.1, 0.2), 0.6)]
        paths += [
            (1, _walk(rng, steps), rng.uniform(0.03, 0.06), 2.5)
            for _ in range(int(rng.integers(people + 1)))
        ]
        clips.append(_detect(rng, paths, steps, missed, jitter, spurious))
    return Scenes(clips, y.astype(np.int64), names, _CLASSES)


def _drive(rng: np.random.Generator, kind: str, steps: int) -> NDArray[np.float64]:
    """Make the centres of a car, shape (steps, 2): it passes the middle half-way."""
    time = np.linspace(-1.0, 1.0, steps)
    # What is special happens around the middle, within a window of time.
    middle, width = rng.uniform(-0.15, 0.15), rng.uniform(0.1, 0.25)
    done = 1 / (1 + np.exp(-(time - middle) / (0.3 * width)))  # from 0 to 1
    heading = np.full(steps, rng.uniform(0, 2 * math.pi))
    speed = np.full(steps, rng.uniform(0.45, 0.75))
    if kind == "turning":
        heading += rng.choice([-1, 1]) * np.radians(rng.uniform(60, 120)) * done
    elif kind == "stopping":
        speed *= 1 - done
    elif kind == "starting":
        speed *= done
    step = 2 / (steps - 1) * speed[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
    path = np.cumsum(step, axis=0)
    found: NDArray[np.float64] = path - path[int(np.abs(time - middle).argmin())]
    return found + rng.uniform(0.4, 0.6, size=2)


def _walk(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """Make the centres of somebody who walks, now faster, now slower, and bends."""
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.08, steps))
    speed = 0.004 * np.exp(0.3 * np.cumsum(rng.normal(0, 0.2, steps)))
    step = np.minimum(speed, 0.02)[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
    found: NDArray[np.float64] = rng.uniform(0.1, 0.9, size=2) + np.cumsum(step, axis=0)
    return found


def _detect(
    rng: np.random.Generator,
    paths: list[tuple[int, NDArray[np.float64], float, float]],
    steps: int,
    missed: float,
    jitter: float,
    spurious: float,
) -> Detections:
    """See things as a detector does: class, centres, width, height over width of each."""
    rows: list[tuple[Any, ...]] = []
    tracks = 0
    for label, path, width, shape in paths:
        tracks += 1
        last = None
        for t in range(steps):
            x, y = path[t]
            if not (0 <= x <= 1 and 0 <= y <= 1) or rng.random() < missed:
                continue
            if last is not None and t - last > _NEW_TRACK:
                tracks += 1
            last = t
            box = np.array([x, y, width, width * shape]) + jitter * rng.normal(size=4)
            score = 1 / (1 + math.exp(-rng.normal(1.5, 0.7)))
            rows.append((t, label, np.clip(box, [0, 0, 0.005, 0.005], 1), score, tracks))
    for t in np.flatnonzero(rng.random(steps) < spurious).tolist():
        box = np.concatenate([rng.random(2), rng.uniform(0.03, 0.2, size=2)])
        rows.append((t, int(rng.integers(len(_CLASSES))), box, rng.uniform(0.25, 0.6), -1))
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    return Detections(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64).reshape(len(rows), 4),
        np.array(columns[3], np.float64),
        np.array(columns[4], np.int64),
        steps,
    )
