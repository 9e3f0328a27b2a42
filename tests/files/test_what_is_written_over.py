"""Every writer leaves alone what a file is besides its content: links, owners, devices."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.datasets import Detections, Tokenizer, write_npz, write_yolo
from fastbptt.files.atomic import write_whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def checkpoint(path: Any) -> None:
    x, y = np.ones((4, 2, 1)), np.ones(4)
    model = fastbptt.RNN(1, 2, 1, seed=0)
    fastbptt.fit(model, x, y, loss="mse", epochs=1, verbose=0, checkpoint=path)


WRITERS: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda path: write_whole(path, b"abc"),
    "model": lambda path: fastbptt.RNN(1, 2, 1, seed=0).save(path),
    "arrays": lambda path: write_npz(path, np.ones((2, 3, 1))),
    "tokenizer": lambda path: Tokenizer().fit(["a b"]).save(path),
    "checkpoint": checkpoint,
}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def leftovers(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir() if one.name.endswith(".tmp")]


@pytest.mark.parametrize("write", [WRITERS["bytes"], WRITERS["model"], WRITERS["tokenizer"]])
def test_a_pipe_gets_the_content_and_stays(write: Callable[[Any], Any], tmp_path: Path) -> None:
    pipe, plain = tmp_path / "pipe", tmp_path / "plain"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join(20)
    write(plain)
    assert got == [plain.read_bytes()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert leftovers(tmp_path) == []


@writers
def test_a_device_stays_one(write: Callable[[Any], Any]) -> None:
    tty = pytest.importorskip("tty")
    ours, theirs = os.openpty()
    try:
        tty.setraw(theirs)
        device = os.ttyname(theirs)
        before = os.stat(device).st_rdev
        drain = threading.Thread(target=_drain, args=(ours,), daemon=True)
        drain.start()
        write(device)
        after = os.stat(device)
        assert stat.S_ISCHR(after.st_mode)
        assert after.st_rdev == before
    finally:
        os.close(theirs)
        drain.join(20)
        os.close(ours)


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # closed
        pass


@writers
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_permissions_stay(write: Callable[[Any], Any], mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() != b"old"


@writers
def test_the_owner_stays(
    write: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
        write(path)
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
        os.chown(path, 12345, 54321)
    now = path.read_bytes()

    def refuse(*owner: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    # as for a user who is not root: a file of somebody else in a folder of one's own
    monkeypatch.setattr(os, "fchown", refuse)
    if os.geteuid() == 0:
        with pytest.raises(PermissionError, match="belongs to another user") as caught:
            write(path)
        assert caught.value.filename == str(path)
    assert path.read_bytes() == now
    assert leftovers(tmp_path) == []


@writers
def test_hard_links_are_not_separated(write: Callable[[Any], Any], tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"old")
    os.link(path, other)
    with pytest.raises(OSError, match=r"has 2 hard links, .*; write to another name"):
        write(path)
    assert path.read_bytes() == other.read_bytes() == b"old"
    path.unlink()  # the advice
    write(path)
    assert path.read_bytes() != other.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


@writers
@pytest.mark.parametrize("deep", [False, True])
def test_symbolic_links_stay(write: Callable[[Any], Any], deep: bool, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "target"
    target.parent.mkdir()
    if not deep:
        target.write_bytes(b"old")
        target.chmod(0o604)
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(target)
    second.symlink_to(first)
    write(second)
    assert first.is_symlink() and second.is_symlink()
    assert target.is_file() and target.read_bytes() != b"old"
    assert deep or stat.S_IMODE(target.stat().st_mode) == 0o604


@writers
def test_a_directory_is_no_file(write: Callable[[Any], Any], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="is a directory"):
        write(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == leftovers(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_device_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole("/dev/full", b"abc")
    assert caught.value.filename == "/dev/full"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


BOX = Detections(*(np.zeros((1, *shape)) for shape in ((), (), (4,), (), ())), 1)  # type: ignore[arg-type]
ALL_WRITERS: dict[str, Callable[[Any], Any]] = WRITERS | {
    "history": lambda path: fastbptt.History().save(path),
    "boxes": lambda path: write_yolo(path.parent, "a", BOX),
}


def raise_at(moment: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(os, moment, fail)


@pytest.mark.parametrize("kind", ALL_WRITERS)
@pytest.mark.parametrize("moment", ["replace", "fchmod"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()], ids=repr
)
def test_an_error_leaves_the_old_file_and_nothing_else(
    kind: str, moment: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / {"history": "a.json", "boxes": "a_1.txt"}.get(kind, "a")
    path.write_bytes(b"old")
    write = ALL_WRITERS[kind]
    with monkeypatch.context() as patch:
        raise_at(moment, error, patch)
        if kind == "checkpoint" and isinstance(error, KeyboardInterrupt):
            write(path)  # ends the run, as Ctrl-C does
        else:
            with pytest.raises(type(error)):
                write(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
