"""Detections in the frames of a video, and sequences of features made from them.

YOLO's programs write a text file for each frame in which they found something, one line for each
box: ``class x_center y_center width height [confidence] [track]``, all lengths as parts of the
frame's width and height::

    labels/street_1.txt     2 0.481719 0.634028 0.690625 0.713278 0.87 1
                            0 0.741094 0.524306 0.314750 0.933389 0.91 2
    labels/street_4.txt     2 0.497344 0.634028 0.690625 0.713278 0.85 1

Here nothing was found in frames 2 and 3, so their files are missing.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from . import _lines

__all__ = [
    "Detections",
    "feature_names",
    "frame_features",
    "from_results",
    "read_yolo",
    "write_yolo",
    "yolo_clips",
]

Classes: TypeAlias = int | Sequence[str] | Mapping[int, str]

_FORMAT: Final = "class x_center y_center width height [confidence] [track]"
_NAME = re.compile(r"(?P<clip>.*?)[-_. ]?(?P<frame>\d+)\.txt", re.DOTALL)
_MOST_DIGITS: Final = 15  # of a frame's number
_WHOLE: Final = "a whole number from 0 up"
_NOT_FRAMES: Final = frozenset({"classes.txt", "labels.txt"})  # annotation programs put them there
_BOX: Final = ("x", "y", "width", "height")
_STATISTICS: Final = ("mean", "max", "std")
_TRACKS: Final = ("tracks", "speed", "velocity x", "velocity y")


class Detections(NamedTuple):
    """The detections in the frames of one clip, one entry for each box.

    Attributes
    ----------
    frame : ndarray
        The box's frame, 0 for the first one, int64, shape (boxes,), in ascending order.
    label : ndarray
        Its class, int64, shape (boxes,).
    box : ndarray
        x and y of its centre, width and height, as parts of the frame's width and height,
        float64, shape (boxes, 4).
    confidence : ndarray
        From 0 to 1, NaN where it is not known, float64, shape (boxes,).
    track : ndarray
        The tracker's number of the object, -1 where there is none, int64, shape (boxes,).
    frames : int
        The number of frames, including those without boxes.
    """

    frame: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    confidence: NDArray[np.float64]
    track: NDArray[np.int64]
    frames: int

    @classmethod
    def empty(cls, frames: int) -> Detections:
        """Make the detections of a clip in which nothing was found, which has no files.

        Parameters
        ----------
        frames : int
            The number of its frames.

        Returns
        -------
        Detections
            Without boxes.

        Examples
        --------
        >>> from fastbptt.datasets import Detections, frame_features
        >>> frame_features(Detections.empty(4), ["car"]).any(axis=1)
        array([False, False, False, False])
        """
        return _detections([], [], _check.size("frames", frames))


# ---------------------------------------------------------------- files


def yolo_clips(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """List the clips whose frames have files in a folder: the names before the frame numbers.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as ``runs/detect/predict/labels``.

    Returns
    -------
    tuple of str
        Their names, sorted.

    Raises
    ------
    ValueError
        If a ``.txt`` file has no number in its name.
    OSError
        If the folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from fastbptt.datasets import make_scenes, write_yolo, yolo_clips
    >>> scenes = make_scenes(2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_yolo(folder, "east", scenes.clips[0])
    ...     write_yolo(folder, "west", scenes.clips[1])
    ...     yolo_clips(folder)
    ('east', 'west')
    """
    return tuple(sorted({clip for clip, _, _ in _frame_files(_folder(folder))}))


def read_yolo(
    folder: str | os.PathLike[str],
    clip: str | None = None,
    *,
    frames: int | None = None,
    first: int | None = None,
) -> Detections:
    r"""Read the text files that YOLO's programs write for the frames of a clip.

    Files are named by the clip and the frame, ``street_17.txt``, ``frame0017.txt`` or ``17.txt``.
    A frame without a file has no boxes, but a folder without any file is refused: the place may
    be wrong. With six numbers in a line, the sixth is the confidence,
    or the track if other lines of the clip have no place for a confidence (``save_conf=False``
    while tracking): a number above 1 shows it.

    Parameters
    ----------
    folder : str or os.PathLike
        Such as ``runs/detect/predict/labels``.
    clip : str, optional
        The clip's name, if the folder holds several; :func:`yolo_clips` lists them.
    frames : int, optional
        The number of frames of the clip. By default up to the last one with a file: then frames
        without boxes at the end are missing.
    first : int, optional
        The number of the first frame. By default 1, as Ultralytics counts the frames of a video,
        or 0 if there is a file with that number.

    Returns
    -------
    Detections
        Frames are counted from 0.

    Raises
    ------
    ValueError
        If there is no file, or a file's name or a line is not valid, with file and line.
    OSError
        If the folder cannot be read.

    Notes
    -----
    Ultralytics appends to existing files: after a second run into the same folder each box is
    there twice.

    References
    ----------
    Ultralytics, https://docs.ultralytics.com/modes/predict/, ``save_txt`` and ``save_conf``.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import read_yolo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(os.path.join(folder, "street_3.txt"), "w") as file:
    ...         _ = file.write("2 0.5 0.25 0.1 0.2 0.875 1\n0 0.75 0.5 0.3 0.9 0.5 2\n")
    ...     found = read_yolo(folder, frames=4)
    >>> found.frame, found.label, found.confidence, found.track, found.frames
    (array([2, 2]), array([2, 0]), array([0.875, 0.5  ]), array([1, 2]), 4)
    """
    root = _folder(folder)
    count = None if frames is None else _check.size("frames", frames)
    files = list(_frame_files(root))
    clips = sorted({name for name, _, _ in files})
    if clip is not None:
        _check_clip(clip)
        if clip not in clips:
            raise _lines.wrong(
                root,
                None,
                f"there is no clip {clip!r}; there are {_lines.some(clips) or 'none'}",
            )
        files = [one for one in files if one[0] == clip]
    elif len(clips) > 1:
        raise _lines.wrong(
            root,
            None,
            f"there are files of {len(clips)} clips; expected clip= with one of "
            f"{_lines.some([repr(one) for one in clips])}",
        )
    if not files:
        there = ", but a folder labels" * (root / "labels").is_dir()
        raise _lines.wrong(
            root,
            None,
            f"there is no file of a frame, such as clip_1.txt{there}; expected at least one "
            f"(if nothing was found in the clip: Detections.empty({count or 'frames'}))",
        )
    files.sort(key=lambda one: one[1])
    for (_, number, path), (_, other, same) in itertools.pairwise(files):
        if number == other:
            raise _lines.wrong(same, None, f"is frame {number}, as {path.name} is; expected one")
    if first is None:
        first = 0 if files[0][1] == 0 else 1
    elif first != 0:
        first = _check.size("first", first)
    low, high = files[0], files[-1]
    if low[1] < first:
        raise _lines.wrong(low[2], None, f"is frame {low[1]}; expected {first} or more: first=")
    if count is None:
        count = high[1] - first + 1
    elif high[1] - first >= count:
        raise _lines.wrong(
            high[2],
            None,
            f"is frame {high[1]}; expected {first} to {first + count - 1}: frames={count}",
        )

    rows: list[tuple[int, list[float]]] = []
    lines: list[tuple[Path, int]] = []
    for _, number, path in files:
        for line, text in enumerate(_lines.read_text(path).split("\n"), 1):
            if text.strip():
                rows.append((number - first, _box(path, line, text)))
                lines.append((path, line))
    return _detections(rows, lines, count)


def write_yolo(
    folder: str | os.PathLike[str],
    clip: str,
    detections: Detections,
    *,
    first: int = 1,
    confidence: bool = True,
    tracks: bool = True,
) -> None:
    """Write detections as YOLO's programs do: a text file for each frame that has boxes.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder; created if it does not exist.
    clip : str
        The prefix of the files' names.
    detections : Detections
        Numbers are written with six digits, as Ultralytics writes them.
    first : int, default 1
        The number of the first frame.
    confidence, tracks : bool, default True
        Whether to write them, if known.

    Raises
    ------
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import make_scenes, write_yolo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_yolo(folder, "scene", make_scenes(1, seed=0).clips[0])
    ...     name = sorted(os.listdir(folder))[0]
    ...     with open(os.path.join(folder, name)) as file:
    ...         print(len(file.readline().split()))
    7
    """
    from ..files.atomic import write_whole

    _check_clip(clip)
    start = 0 if type(first) is int and first == 0 else _check.size("first", first)
    _check.flag("confidence", confidence)
    _check.flag("tracks", tracks)
    root = Path(_check.file_path(folder))
    texts: dict[int, list[str]] = {}
    for frame, label, box, conf, track in zip(*detections[:5], strict=True):
        cells = [str(int(label)), *(f"{value:g}" for value in box)]
        if confidence and not np.isnan(conf):
            cells.append(f"{conf:g}")
        if tracks and track >= 0:
            cells.append(str(int(track)))
        texts.setdefault(int(frame), []).append(" ".join(cells) + "\n")
    root.mkdir(parents=True, exist_ok=True)
    for frame, lines in texts.items():
        content = "".join(lines).encode()
        write_whole(root / f"{clip}_{frame + start}.txt", content, flush=False)


def _check_clip(clip: Any) -> None:
    if not isinstance(clip, str):
        raise ArgumentTypeError("clip", f"is {_check.shown(clip)}", "the name of a clip")


def _folder(folder: str | os.PathLike[str]) -> Path:
    root = Path(_check.file_path(folder))
    if not root.is_dir():
        raise NotADirectoryError(f"folder is {root}; expected a folder with files such as a_1.txt")
    return root


def _frame_files(folder: Path) -> Iterable[tuple[str, int, Path]]:
    """List clip, number and path of each frame's file."""
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".txt") or name in _NOT_FRAMES:
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise _lines.wrong(
                folder / name, None, "expected the frame's number at the end of the file's name"
            )
        if len(match["frame"]) > _MOST_DIGITS:
            raise _lines.wrong(
                folder / name,
                None,
                f"the frame's number has {len(match['frame'])} digits; expected at most "
                f"{_MOST_DIGITS}",
            )
        yield match["clip"], int(match["frame"]), folder / name


def _whole(number: float) -> bool:
    """Whether a number is whole and not too large to be told from the next one."""
    return 0 <= number < 2**53 and number == int(number)


def _box(path: Path, line: int, text: str) -> list[float]:
    """Read one line."""
    cells = text.split()
    if not 5 <= len(cells) <= 7:
        hint = " (polygons, key points and rotated boxes are not read)" if len(cells) > 7 else ""
        raise _lines.wrong(
            path, line, f"there are {len(cells)} numbers; expected 5 to 7: {_FORMAT}{hint}"
        )
    values, bad = _lines.numbers(cells, frozenset())
    if bad is not None:
        raise _lines.wrong(
            path, line, f"{_lines.shown(cells[bad])} is no finite number; expected {_FORMAT}"
        )
    if not _whole(values[0]):
        raise _lines.wrong(path, line, f"the class is {cells[0]}; expected {_WHOLE}")
    # A box may reach over the edge a little, one in pixels is far beyond.
    beyond = np.abs(values[1:5] - 0.5) > 1.5
    beyond[2:] |= values[3:5] < 0
    if beyond.any():
        i = int(beyond.argmax())
        raise _lines.wrong(
            path,
            line,
            f"{_FORMAT.split()[i + 1]} is {cells[i + 1]}; expected a part of the frame's size, "
            "0 to 1 (not pixels)",
        )
    found: list[float] = values.tolist()
    return found


def _detections(
    rows: list[tuple[int, list[float]]], lines: list[tuple[Path, int]], frames: int
) -> Detections:
    """Determine the meaning of the sixth numbers of a clip, and make arrays."""
    sixth = [values[5] for _, values in rows if len(values) == 6]
    has_seven = any(len(values) == 7 for _, values in rows)
    is_track = not has_seven and any(value > 1 for value in sixth)
    count = len(rows)
    confidence, track = np.full(count, np.nan), np.full(count, -1, np.int64)
    for i, ((_, values), (path, line)) in enumerate(zip(rows, lines, strict=True)):
        rest = values[5:]
        if rest and (len(rest) == 2 or not is_track):
            confidence[i] = rest[0]
            if not 0 <= rest[0] <= 1:
                raise _lines.wrong(path, line, f"the confidence is {rest[0]:g}; expected 0 to 1")
        if rest and (len(rest) == 2 or is_track):
            number = rest[-1]
            if not _whole(number):
                raise _lines.wrong(path, line, f"the track is {number:g}; expected {_WHOLE}")
            track[i] = int(number)
    return Detections(
        np.array([frame for frame, _ in rows], np.int64),
        np.array([values[0] for _, values in rows], np.int64),
        np.array([values[1:5] for _, values in rows], np.float64).reshape(count, 4),
        confidence,
        track,
        frames,
    )


def from_results(results: Iterable[Any]) -> Detections:
    """Convert the results of an Ultralytics model for the frames of one clip.

    Ultralytics is not imported: anything with the attributes ``boxes.cls``, ``boxes.xywhn``,
    ``boxes.conf`` and ``boxes.id`` (the last two may be None) will do, as arrays or tensors.

    Parameters
    ----------
    results : iterable of ultralytics.engine.results.Results
        One for each frame, in order: what ``model(source, stream=True)`` or
        ``model.track(source, stream=True)`` yields.

    Returns
    -------
    Detections
        The same as from the text files that these results write.

    Raises
    ------
    TypeError, ValueError
        If a result has no boxes, or its arrays do not fit together.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from fastbptt.datasets import from_results
    >>> boxes = SimpleNamespace(cls=[2.0], xywhn=[[0.5, 0.5, 0.1, 0.2]], conf=[0.875], id=None)
    >>> nothing = SimpleNamespace(cls=[], xywhn=[], conf=[], id=None)
    >>> frames = [SimpleNamespace(boxes=nothing), SimpleNamespace(boxes=boxes)]
    >>> from_results(frames).frame
    array([1])
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    frames = 0
    for i, result in enumerate(results):
        frames += 1
        boxes = getattr(result, "boxes", None)
        if boxes is None:
            raise TypeError(
                f"results[{i}] is of type {type(result).__name__} and has no boxes; expected the "
                "Results of a model that detects"
            )
        label = _array(i, boxes, "cls").reshape(-1)
        count = len(label)
        box = _array(i, boxes, "xywhn")
        if box.size != 4 * count:
            raise ValueError(
                f"results[{i}].boxes.xywhn has shape {box.shape}; expected ({count}, 4): cls has "
                f"{count} entries"
            )
        rest = []
        for name, absent in (("conf", np.nan), ("id", -1.0)):
            known = getattr(boxes, name, None) is not None
            values = _array(i, boxes, name).reshape(-1) if known else np.full(count, absent)
            if len(values) != count:
                raise ValueError(
                    f"results[{i}].boxes.{name} has {len(values)} entries; expected {count}, as "
                    "cls has"
                )
            rest.append(values)
        parts.append((np.full(count, i), label, box.reshape(count, 4), *rest))
    if not parts:
        raise ArgumentError("results", "is empty", "the Results of at least one frame")
    frame, label, box, confidence, track = (np.concatenate(one) for one in zip(*parts, strict=True))
    return Detections(
        frame.astype(np.int64),
        label.astype(np.int64),
        box,
        confidence,
        track.astype(np.int64),
        frames,
    )


def _array(i: int, boxes: Any, name: str) -> NDArray[np.float64]:
    value: Any = getattr(boxes, name, None)
    if hasattr(value, "cpu"):
        value = value.cpu()  # a tensor, on whatever device
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"results[{i}].boxes.{name} is of type {type(value).__name__}; expected an array of "
            f"numbers: {error}"
        ) from None


# ---------------------------------------------------------------- sequences


def feature_names(
    classes: Classes, *, confidence: bool = True, tracks: bool = False
) -> tuple[str, ...]:
    """Name the columns that :func:`frame_features` makes, in their order.

    Parameters
    ----------
    classes, confidence, tracks
        As there.

    Returns
    -------
    tuple of str
        For each class NAME: "NAME count"; "NAME x mean", "NAME x max", "NAME x std" and the same
        of "y", "width", "height" and "confidence"; "NAME tracks", "NAME speed",
        "NAME velocity x", "NAME velocity y".

    Examples
    --------
    >>> from fastbptt.datasets import feature_names
    >>> feature_names(["car"], confidence=False)[:4]
    ('car count', 'car x mean', 'car x max', 'car x std')
    >>> len(feature_names(["car", "person"], tracks=True))
    40
    """
    _check.flag("confidence", confidence)
    _check.flag("tracks", tracks)
    numbers = _BOX + (("confidence",) if confidence else ())
    names = ["count", *(f"{one} {kind}" for one in numbers for kind in _STATISTICS)]
    names += _TRACKS if tracks else ()
    wanted, _ = _classes(classes)
    return tuple(f"{class_name} {name}" for class_name in wanted.values() for name in names)


def frame_features(
    detections: Detections,
    classes: Classes,
    *,
    confidence: bool = True,
    tracks: bool = False,
    dtype: Any = "float32",
) -> NDArray[Any]:
    """Turn the boxes of a clip into a sequence: features of each class in each frame.

    Parameters
    ----------
    detections : Detections
        Of one clip.
    classes : int, sequence of str or mapping of int to str
        How many classes there are, or their names: those of class 0, 1, ..., or, as Ultralytics'
        ``model.names``, name by class. Boxes of classes that a mapping does not have are left out.
    confidence : bool, default True
        Whether to use the boxes' confidence; then all must have one.
    tracks : bool, default False
        Whether to use the boxes' tracks.
    dtype : {"float32", "float64"}, default "float32"
        Of the result.

    Returns
    -------
    ndarray
        Shape (frames, features); :func:`feature_names` names the features. For each class: the
        number of its boxes in the frame; mean, greatest value and standard deviation of x and y
        of the centre, width, height and confidence over these boxes; with `tracks` the number of
        different tracks, and over the boxes whose track was seen in an earlier frame the mean
        speed and the mean velocity in x and y, as parts of the frame's size per frame. What there
        is no box for is 0.

    Raises
    ------
    ValueError, TypeError
        If there is a box of another class, one without a confidence, or an argument is not right.

    Examples
    --------
    >>> from fastbptt.datasets import feature_names, frame_features, make_scenes
    >>> scenes = make_scenes(3, seed=0)
    >>> x = [frame_features(clip, scenes.class_names) for clip in scenes.clips]
    >>> x[0].shape == (scenes.clips[0].frames, len(feature_names(scenes.class_names)))
    True
    """
    kind = _check.float_dtype(dtype)
    width = len(feature_names(classes, confidence=confidence, tracks=tracks))
    wanted, complete = _classes(classes)
    column = np.full(max([*wanted, *detections.label.tolist(), 0]) + 1, -1, np.int64)
    column[list(wanted)] = np.arange(len(wanted))
    where = column[detections.label]
    if complete and (where < 0).any():
        i = int((where < 0).argmax())
        raise ValueError(
            f"detections has a box of class {detections.label[i]} in frame "
            f"{detections.frame[i] + 1}; expected classes 0 to {len(wanted) - 1}, or classes= as "
            "a mapping, which leaves others out"
        )
    if len(detections.frame) and not 0 <= detections.frame.min() <= detections.frame.max() < (
        detections.frames
    ):
        raise ValueError(
            f"detections has boxes in frames {detections.frame.min()} to {detections.frame.max()}; "
            f"expected 0 to {detections.frames - 1}"
        )
    used = where >= 0
    frames, box, score = detections.frame[used], detections.box[used], detections.confidence[used]
    cell = frames * len(wanted) + where[used]  # one for each frame and class
    cells = detections.frames * len(wanted)
    values = box
    if confidence:
        if np.isnan(score).any():
            frame = int(frames[int(np.isnan(score).argmax())]) + 1
            raise ValueError(
                f"detections has a box without confidence in frame {frame}; expected it for all "
                "(save_conf=True), or confidence=False"
            )
        values = np.column_stack([box, score])

    order = np.argsort(cell, kind="stable")
    filled, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    result = np.zeros((cells, width // max(len(wanted), 1)))
    result[filled, 0] = counts
    if len(filled):
        ordered = values[order]
        mean = np.add.reduceat(ordered, starts) / counts[:, None]
        spread = ordered - np.repeat(mean, counts, axis=0)
        std = np.sqrt(np.add.reduceat(spread**2, starts) / counts[:, None])
        greatest = np.maximum.reduceat(ordered, starts)
        statistics = np.stack([mean, greatest, std], axis=2)
        result[filled, 1 : 1 + statistics[0].size] = statistics.reshape(len(filled), -1)
    if tracks:
        result[:, -len(_TRACKS) :] = _motion(cell, frames, box, detections.track[used], cells)
    return result.reshape(detections.frames, width).astype(kind)


def _classes(classes: Classes) -> tuple[dict[int, str], bool]:
    """Return name by class, and whether no other class may occur."""
    if isinstance(classes, Mapping):
        wanted = {_class(key): str(name) for key, name in classes.items()}
    elif isinstance(classes, str):
        came = f"is {_check.shown(classes)}"
        raise ArgumentTypeError("classes", came, "a number, or a sequence of names")
    elif hasattr(classes, "__iter__"):
        wanted = dict(enumerate(_lines.class_names(classes)))
    else:
        wanted = {i: f"class {i}" for i in range(_check.size("classes", classes))}
    if not wanted:
        raise ArgumentError("classes", "is empty", "at least one class")
    return wanted, not isinstance(classes, Mapping)


def _class(key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, int | np.integer) or key < 0:
        raise ArgumentTypeError("classes", f"has the key {key!r}", "whole numbers from 0 up")
    return int(key)


def _motion(
    cell: NDArray[np.int64],
    frames: NDArray[np.int64],
    box: NDArray[np.float64],
    track: NDArray[np.int64],
    cells: int,
) -> NDArray[np.float64]:
    """Count tracks, and average how they move, for each frame and class: shape (cells, 4)."""
    result = np.zeros((cells, len(_TRACKS)))
    pairs = np.unique(np.column_stack([cell, track])[track >= 0], axis=0)
    result[:, 0] = np.bincount(pairs[:, 0], minlength=cells)
    # Neighbours in this order are the same track in successive frames.
    known = np.flatnonzero(track >= 0)
    order = known[np.lexsort((frames[known], track[known]))]
    gap = np.diff(frames[order])
    same = (np.diff(track[order]) == 0) & (gap > 0)
    velocity = np.diff(box[order, :2], axis=0)[same] / gap[same, None]
    where = cell[order[1:]][same]
    count = np.maximum(np.bincount(where, minlength=cells), 1)
    for i, one in enumerate((np.hypot(*velocity.T), *velocity.T), 1):
        result[:, i] = np.bincount(where, weights=one, minlength=cells) / count
    return result
