"""Detections in files as Ultralytics writes them, the sequences made of them, synthetic scenes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbptt.datasets import (
    Detections,
    feature_names,
    frame_features,
    from_results,
    make_scenes,
    read_yolo,
    write_yolo,
    yolo_clips,
)

NAN = np.nan


@contextmanager
def refuses(message: str, error: type[Exception] = ValueError) -> Iterator[None]:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        yield


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def make(rows: list[tuple[Any, ...]], frames: int) -> Detections:
    """Make detections of rows: frame, class, x, y, w, h, confidence, track."""
    table = np.array(rows, np.float64).reshape(len(rows), 8)
    return Detections(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2:6],
        table[:, 6],
        table[:, 7].astype(np.int64),
        frames,
    )


def same(one: Detections, other: Detections) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [getattr(a, "dtype", None) for a in one] == [getattr(b, "dtype", None) for b in other]


# ---------------------------------------------------------------- files

# Lines that Ultralytics 8 wrote, with save_txt alone, with save_conf, and while tracking.
PLAIN = "5 0.502099 0.439815 0.948148 0.458333\n0 0.183333 0.600926 0.244444 0.464815\n"
CONF = "5 0.502099 0.439815 0.948148 0.458333 0.940232\n0 0.183333 0.6 0.24 0.46 0.9\n"
TRACK = "5 0.502099 0.439815 0.948148 0.458333 0.940232 1\n0 0.1 0.6 0.2 0.4 0.881 2\n"


def test_five_numbers(tmp_path: Path) -> None:
    found = read_yolo(write(tmp_path, bus_1=PLAIN))
    same(
        found,
        make(
            [
                (0, 5, 0.502099, 0.439815, 0.948148, 0.458333, NAN, -1),
                (0, 0, 0.183333, 0.600926, 0.244444, 0.464815, NAN, -1),
            ],
            1,
        ),
    )


def test_confidence_and_track(tmp_path: Path) -> None:
    found = read_yolo(write(tmp_path, bus_2=CONF, bus_10=TRACK))
    assert found.frame.tolist() == [1, 1, 9, 9]
    assert found.confidence.tolist() == [0.940232, 0.9, 0.940232, 0.881]
    assert found.track.tolist() == [-1, -1, 1, 2]
    assert found.frames == 10


def test_track_without_confidence(tmp_path: Path) -> None:
    write(tmp_path, a_1="0 .5 .5 .1 .1 1\n1 .5 .5 .1 .1\n", a_2="0 .5 .5 .1 .1 2\n")
    found = read_yolo(tmp_path)
    assert found.track.tolist() == [1, -1, 2]
    assert np.isnan(found.confidence).all()


def test_missing_and_empty_files_are_empty_frames(tmp_path: Path) -> None:
    write(tmp_path, frame0003=CONF, frame0005="", frame0007="\n")
    found = read_yolo(tmp_path)
    assert found.frame.tolist() == [2, 2]
    assert found.frames == 7
    assert read_yolo(tmp_path, frames=9).frames == 9
    found = read_yolo(tmp_path, first=3)
    assert found.frame.tolist() == [0, 0]
    assert found.frames == 5


EMPTY: dict[str, list[str]] = {
    "nothing": [],
    "classes alone": ["classes.txt"],
    "pictures": ["a_1.jpg", "a_2.jpg"],
    "other suffix": ["a_1.TXT", "a_2.json"],
    "one level too high": ["labels/a_1.txt", "a_1.jpg"],
    "other folders": ["train/a_1.txt", "val/a_2.txt"],
    "a clip of the same name": ["a/a_1.txt"],
}


@pytest.mark.parametrize("names", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("options", [{}, {"frames": 4}, {"first": 0}, {"frames": 9, "first": 3}])
def test_a_folder_without_frames_is_no_clip(
    names: list[str], options: dict[str, int], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(PLAIN)
    there = ", but a folder labels" * ("labels/a_1.txt" in names)
    advice = f"Detections.empty({options.get('frames', 'frames')})"
    with refuses(
        f"{tmp_path}: there is no file of a frame, such as clip_1.txt{there}; expected at least "
        f"one (if nothing was found in the clip: {advice})"
    ):
        read_yolo(tmp_path, **options)
    if there:  # follow the advice
        assert len(read_yolo(tmp_path / "labels").frame) == 2


@pytest.mark.parametrize("frames", [1, 4, 100])
def test_a_clip_in_which_nothing_was_found(frames: int) -> None:
    found = Detections.empty(frames)
    assert (len(found.frame), found.box.shape, found.frames) == (0, (0, 4), frames)
    x = frame_features(found, ["a", "b"], tracks=True)
    assert x.shape[0] == frames
    assert not x.any()


@pytest.mark.parametrize("frames", [0, -1, 2.5, "4", None, True])
def test_the_number_of_empty_frames(frames: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="frames is"):
        Detections.empty(frames)


def test_numbers_from_zero(tmp_path: Path) -> None:
    found = read_yolo(write(tmp_path, **{"000000": PLAIN, "000002": PLAIN}))
    assert found.frame.tolist() == [0, 0, 2, 2]
    assert found.frames == 3
    assert yolo_clips(tmp_path) == ("",)


def test_several_clips(tmp_path: Path) -> None:
    write(tmp_path, east_1=PLAIN, east_12=PLAIN, **{"2024-05-01 west.mp4_3": PLAIN})
    (tmp_path / "classes.txt").write_text("person\ncar\n")
    (tmp_path / "notes.md").write_text("")
    assert yolo_clips(tmp_path) == ("2024-05-01 west.mp4", "east")
    assert read_yolo(tmp_path, "east").frames == 12
    assert read_yolo(tmp_path, "2024-05-01 west.mp4").frames == 3
    with refuses(
        f"{tmp_path}: there are files of 2 clips; expected clip= with one of "
        "'2024-05-01 west.mp4', 'east'"
    ):
        read_yolo(tmp_path)
    with refuses(f"{tmp_path}: there is no clip 'south'; there are 2024-05-01 west.mp4, east"):
        read_yolo(tmp_path, "south")


FORMAT = "class x_center y_center width height [confidence] [track]"
BOX = "0.5 0.5 0.1 0.1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", f"there are 4 numbers; expected 5 to 7: {FORMAT}"),
        (
            "0 .1 .1 .2 .1 .2 .2 .1 .2",
            f"there are 9 numbers; expected 5 to 7: {FORMAT} (polygons, key points and rotated "
            "boxes are not read)",
        ),
        (
            "0 .1 .1 .2 .1 .2 .2 .1",
            f"there are 8 numbers; expected 5 to 7: {FORMAT} (polygons, key points and rotated "
            "boxes are not read)",
        ),
        ("car 0.5 0.5 0.1 0.1", f'"car" is no finite number; expected {FORMAT}'),
        ("0 nan 0.5 0.1 0.1", f'"nan" is no finite number; expected {FORMAT}'),
        (f"-1 {BOX}", "the class is -1; expected a whole number from 0 up"),
        (f"0.5 {BOX}", "the class is 0.5; expected a whole number from 0 up"),
        (
            "0 0.5 320 0.1 0.1",
            "y_center is 320; expected a part of the frame's size, 0 to 1 (not pixels)",
        ),
        (
            "0 0.5 0.5 -0.1 0.1",
            "width is -0.1; expected a part of the frame's size, 0 to 1 (not pixels)",
        ),
        (f"0 {BOX} 87 1", "the confidence is 87; expected 0 to 1"),
        (f"0 {BOX} 0.8 1.5", "the track is 1.5; expected a whole number from 0 up"),
        (f"0 {BOX} 1.5", "the track is 1.5; expected a whole number from 0 up"),
        (f"0 {BOX} -0.5", "the confidence is -0.5; expected 0 to 1"),
    ],
)
def test_wrong_lines(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, a_1=PLAIN, a_2=f"0 {BOX}\n\n{line}\n")
    with refuses(f"{tmp_path / 'a_2.txt'}:3: {message}"):
        read_yolo(tmp_path)


def test_wrong_files(tmp_path: Path) -> None:
    write(tmp_path, a_3=PLAIN, a_5=PLAIN)
    with refuses(f"{tmp_path / 'a_5.txt'}: is frame 5; expected 1 to 4: frames=4"):
        read_yolo(tmp_path, frames=4)
    with refuses(f"{tmp_path / 'a_3.txt'}: is frame 3; expected 4 or more: first="):
        read_yolo(tmp_path, first=4)
    with refuses("first is -1; expected at least 1"):
        read_yolo(tmp_path, first=-1)
    write(tmp_path, a_03=PLAIN)
    with refuses(f"{tmp_path / 'a_3.txt'}: is frame 3, as a_03.txt is; expected one"):
        read_yolo(tmp_path)
    write(tmp_path, bus=PLAIN)
    with refuses(
        f"{tmp_path / 'bus.txt'}: expected the frame's number at the end of the file's name"
    ):
        read_yolo(tmp_path)
    with refuses(
        f"folder is {tmp_path / 'nil'}; expected a folder with files such as a_1.txt",
        NotADirectoryError,
    ):
        read_yolo(tmp_path / "nil")


parts = st.integers(0, 1000).map(lambda i: i / 1000)  # what six digits hold


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 9), parts, parts, parts, parts, parts),
        max_size=6,
    ),
    first=st.integers(0, 3),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], first: int
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    rows = [(*row, i) for i, row in enumerate(sorted(rows))]
    written = make(rows, 6)
    write_yolo(folder, "a", written, first=first)
    assert len(list(folder.iterdir())) == len({row[0] for row in rows})
    if rows:
        same(read_yolo(folder, frames=6, first=first), written)
    else:
        same(Detections.empty(6), written)


# ---------------------------------------------------------------- Results


class Tensor:
    """What of a tensor is used: it lies on a device, and NumPy reads it only from the CPU."""

    def __init__(self, values: Any, on_cpu: bool = False) -> None:
        self.values, self.on_cpu = values, on_cpu

    def cpu(self) -> Tensor:
        return Tensor(self.values, on_cpu=True)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if not self.on_cpu:
            raise TypeError("can't convert a tensor on the device to numpy")
        return np.array(self.values, dtype)


def result(rows: list[list[float]], *, ids: bool = True, kind: Any = Tensor) -> Any:
    """Make a Results object of rows: class, x, y, w, h, confidence, track."""
    table = np.array(rows, np.float32).reshape(len(rows), 7)
    return SimpleNamespace(
        boxes=SimpleNamespace(
            cls=kind(table[:, 0]),
            xywhn=kind(table[:, 1:5]),
            conf=kind(table[:, 5]),
            id=kind(table[:, 6]) if ids else None,
        )
    )


@pytest.mark.parametrize("kind", [Tensor, np.asarray])
def test_results(kind: Any) -> None:
    found = from_results(
        [
            result([[2, 0.5, 0.25, 0.125, 0.5, 0.75, 7]], kind=kind),
            result([], ids=False, kind=kind),
            result([[1, 0.5, 0.5, 0.5, 0.5, 0.5, 0], [0, 0, 0, 0, 0, 1, 0]], ids=False, kind=kind),
        ]
    )
    same(
        found,
        make(
            [
                (0, 2, 0.5, 0.25, 0.125, 0.5, 0.75, 7),
                (2, 1, 0.5, 0.5, 0.5, 0.5, 0.5, -1),
                (2, 0, 0, 0, 0, 0, 1, -1),
            ],
            3,
        ),
    )


def test_results_are_what_their_files_say(tmp_path: Path) -> None:
    clip = make_scenes(1, seed=3).clips[0]
    rows = np.column_stack([clip.label, clip.box, clip.confidence, clip.track])
    frames = [result(rows[clip.frame == t].tolist(), kind=np.asarray) for t in range(clip.frames)]
    write_yolo(tmp_path, "a", from_results(frames))
    found = read_yolo(tmp_path, frames=clip.frames)
    assert np.array_equal(found.frame, clip.frame)
    assert np.array_equal(found.label, clip.label)
    assert np.array_equal(found.track, clip.track)
    np.testing.assert_allclose(found.box, clip.box, rtol=1e-5)
    np.testing.assert_allclose(found.confidence, clip.confidence, rtol=1e-5)


def test_wrong_results() -> None:
    with refuses("results is empty; expected the Results of at least one frame"):
        from_results([])
    with refuses(
        "results[1] is of type SimpleNamespace and has no boxes; expected the Results of a model "
        "that detects",
        TypeError,
    ):
        from_results([result([]), SimpleNamespace(probs=1)])
    boxes = SimpleNamespace(cls=[1.0, 2.0], xywhn=[[0.5] * 4], conf=None, id=None)
    with refuses("results[0].boxes.xywhn has shape (1, 4); expected (2, 4): cls has 2 entries"):
        from_results([SimpleNamespace(boxes=boxes)])
    boxes.xywhn, boxes.id = [[0.5] * 4] * 2, [1]
    with refuses("results[0].boxes.id has 1 entries; expected 2, as cls has"):
        from_results([SimpleNamespace(boxes=boxes)])
    boxes.cls = "ab"
    with pytest.raises(
        TypeError, match=r"results\[0\].boxes.cls is of type str; expected an array"
    ):
        from_results([SimpleNamespace(boxes=boxes)])


# ---------------------------------------------------------------- features


def slow_features(clip: Detections, classes: dict[int, str], tracks: bool) -> list[list[float]]:
    """Make the features by loops, as their names say."""
    seen: dict[int, tuple[int, Any]] = {}
    result = []
    for t in range(clip.frames):
        row: list[float] = []
        here = [i for i in range(len(clip.frame)) if clip.frame[i] == t]
        for c in classes:
            mine = [i for i in here if clip.label[i] == c]
            values = np.array([[*clip.box[i], clip.confidence[i]] for i in mine]).reshape(-1, 5)
            row.append(len(mine))
            for column in values.T:
                row += [column.mean(), column.max(), column.std()] if mine else [0, 0, 0]
            if tracks:
                moves = []
                for i in mine:
                    before = seen.get(int(clip.track[i]))
                    if clip.track[i] >= 0 and before is not None:
                        moves.append((clip.box[i, :2] - before[1]) / (t - before[0]))
                row.append(len({int(clip.track[i]) for i in mine} - {-1}))
                row.append(float(np.mean([np.hypot(*move) for move in moves])) if moves else 0)
                row += list(np.mean(moves, axis=0)) if moves else [0, 0]
        seen |= {int(clip.track[i]): (t, clip.box[i, :2]) for i in here if clip.track[i] >= 0}
        result.append(row)
    return result


@pytest.mark.parametrize("tracks", [False, True])
@pytest.mark.parametrize(("seed", "missed"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.8)])
def test_features_are_what_their_names_say(seed: int, missed: float, tracks: bool) -> None:
    clip = make_scenes(1, people=3, missed=missed, spurious=0.1, seed=seed).clips[0]
    found = frame_features(clip, ["car", "person"], tracks=tracks, dtype="float64")
    expected = slow_features(clip, {0: "car", 1: "person"}, tracks)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert found.shape == (clip.frames, len(feature_names(2, tracks=tracks)))


def test_names_of_features() -> None:
    assert feature_names({3: "dog"}, tracks=True) == (
        "dog count",
        *(
            f"dog {one} {kind}"
            for one in ("x", "y", "width", "height", "confidence")
            for kind in ("mean", "max", "std")
        ),
        "dog tracks",
        "dog speed",
        "dog velocity x",
        "dog velocity y",
    )
    assert feature_names(2)[0] == "class 0 count"
    assert len(feature_names(2, confidence=False)) == 2 * 13


def test_features_of_chosen_classes() -> None:
    clip = make([(0, 7, 0.5, 0.25, 0.1, 0.2, 0.9, 1), (2, 1, 0.1, 0.1, 0.1, 0.1, 0.5, 2)], 4)
    found = frame_features(clip, {7: "truck"})
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(found[0, 1:4], [0.5, 0.5, 0])
    assert not found[1:].any()
    found = frame_features(clip, {1: "cat", 7: "truck", 90: "none"})
    assert found.shape == (4, 48)
    assert found[2, 0] == 1
    assert found[0, 16] == 1
    with refuses(
        "detections has a box of class 7 in frame 1; expected classes 0 to 1, or classes= as a "
        "mapping, which leaves others out"
    ):
        frame_features(clip, ["a", "b"])


def test_features_of_frames_that_are_not_there() -> None:
    clip = make([(4, 0, 0.5, 0.25, 0.1, 0.2, 0.9, 1)], 4)
    with refuses("detections has boxes in frames 4 to 4; expected 0 to 3"):
        frame_features(clip, 1)


def test_features_without_boxes() -> None:
    assert frame_features(make([], 3), 2, tracks=True).tolist() == [[0] * 40] * 3


def test_features_without_confidence() -> None:
    clip = make([(1, 0, 0.5, 0.25, 0.1, 0.2, NAN, 1)], 2)
    assert frame_features(clip, 1, confidence=False).shape == (2, 13)
    with refuses(
        "detections has a box without confidence in frame 2; expected it for all "
        "(save_conf=True), or confidence=False"
    ):
        frame_features(clip, 1)


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ("car", TypeError, "classes is 'car'; expected a number, or a sequence of names"),
        (0, ValueError, "classes is 0; expected at least 1"),
        ([], ValueError, "classes is empty; expected at least one name"),
        ({}, ValueError, "classes is empty; expected at least one class"),
        ({"car": 0}, TypeError, "classes has the key 'car'; expected whole numbers from 0 up"),
        (["a", "a"], ValueError, 'classes holds "a" twice; expected each name once'),
    ],
)
def test_wrong_classes(classes: Any, error: type[Exception], message: str) -> None:
    with refuses(message, error):
        feature_names(classes)


# ---------------------------------------------------------------- scenes


def test_scenes() -> None:
    scenes = make_scenes(9, frames=(20, 30), seed=0)
    assert len(scenes.clips) == 9
    assert np.bincount(scenes.y).tolist() == [3, 2, 2, 2]
    assert scenes.class_names == ("car", "person")
    for clip in scenes.clips:
        assert 20 <= clip.frames <= 30
        assert (np.diff(clip.frame) >= 0).all()
        assert clip.frame[-1] < clip.frames
        assert set(clip.label.tolist()) <= {0, 1}
        assert ((clip.box >= 0) & (clip.box <= 1)).all()
        assert ((clip.confidence > 0) & (clip.confidence < 1)).all()
        _, _, width, height = clip.box[clip.track >= 0].T
        assert np.array_equal(width > height, clip.label[clip.track >= 0] == 0)
    assert {clip.frames for clip in make_scenes(2, frames=(10, 10), seed=0).clips} == {10}
    assert all(40 <= clip.frames <= 60 for clip in make_scenes(30, seed=0).clips)


def test_the_same_seed_makes_the_same_scenes() -> None:
    one, other = (make_scenes(3, seed=5) for _ in range(2))
    for a, b in zip(one.clips, other.clips, strict=True):
        same(a, b)
    rng = np.random.default_rng(5)
    first, second = (make_scenes(3, seed=rng) for _ in range(2))
    same(first.clips[0], one.clips[0])
    assert (
        first.clips[1].box.shape != second.clips[1].box.shape
        or (first.clips[1].box != second.clips[1].box).any()
    )


def test_cars_do_what_is_said() -> None:
    scenes = make_scenes(40, jitter=0, missed=0, spurious=0, people=0, seed=1)
    for clip, y in zip(scenes.clips, scenes.y.tolist(), strict=True):
        path = clip.box[:, :2]
        step = np.diff(path, axis=0)
        speed = np.hypot(*step.T)
        turn = np.degrees(np.arccos(min(step[1] @ step[-2] / speed[1] / speed[-2], 1)))
        kind = scenes.kinds[y]
        assert (turn > 50) == (kind == "turning"), kind
        assert (speed[-2] < speed[1] / 10) == (kind == "stopping"), kind
        assert (speed[1] < speed[-2] / 10) == (kind == "starting"), kind
        assert (np.diff(clip.frame) == 1).all()
        assert set(clip.track.tolist()) == {1}


def test_detections_are_missed_and_invented() -> None:
    kwargs: dict[str, Any] = {"frames": (60, 60), "people": 0, "seed": 2}
    counts = [
        sum(len(clip.frame) for clip in make_scenes(30, missed=m, spurious=s, **kwargs).clips)
        for m, s in ((0, 0), (0.5, 0), (0, 1))
    ]
    assert 0.4 < counts[1] / counts[0] < 0.6
    assert counts[2] - counts[0] == pytest.approx(30 * 60, rel=0.1)
    tracks = [clip.track.max() for clip in make_scenes(20, missed=0.8, **kwargs).clips]
    assert max(tracks) > 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 0}, ValueError, "n is 0; expected at least 1"),
        ({"frames": 40}, TypeError, "frames is 40; expected two whole numbers"),
        (
            {"frames": (60, 40)},
            ValueError,
            "frames is (60, 40); expected two whole numbers from 10 up, in order",
        ),
        (
            {"frames": (9, 40)},
            ValueError,
            "frames is (9, 40); expected two whole numbers from 10 up, in order",
        ),
        ({"missed": 1.5}, ValueError, "missed is 1.5; expected a number from 0 to 1"),
        ({"people": -1}, ValueError, "people is -1; expected at least 1"),
        (
            {"kinds": ["flying"]},
            ValueError,
            'kinds[0] is "flying"; expected one of "crossing", "turning", "stopping", "starting"',
        ),
    ],
)
def test_wrong_scenes(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with refuses(message, error):
        make_scenes(**{"n": 1, **arguments})
