"""A file that cannot be written is refused before any work, and a refusal leaves nothing behind."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sequence_files import Task

import fastbptt
from fastbptt.cli import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def linked(path: Path) -> None:
    path.write_bytes(b"old")
    os.link(path, path.with_name("other"))


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("no") / "where")


def link_to_folder(path: Path) -> None:
    path.with_name("folder").mkdir()
    path.symlink_to(path.with_name("folder"))


def loop(path: Path) -> None:
    path.symlink_to(path)


def socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


PLACES: dict[str, tuple[Callable[[Path], None], str]] = {
    "hard links": (linked, "has 2 hard links"),
    "folder": (folder, "is a directory; expected a file"),
    "link to nowhere": (dangling, "no such directory"),
    "link to a folder": (link_to_folder, "is a directory; expected a file"),
    "link to itself": (loop, "Too many levels of symbolic links"),
    "socket": (socket, "is a block device or a socket; expected a file"),
}
places = pytest.mark.parametrize(("make", "message"), PLACES.values(), ids=PLACES)


def contents(root: Path) -> dict[str, bytes | None]:
    return {
        str(one): one.read_bytes() if one.is_file() and not one.is_symlink() else None
        for one in root.rglob("*")
    }


@places
@pytest.mark.parametrize(
    ("option", "name"),
    [("-o", "m"), ("--history", "h.csv"), ("--report", "r.html"), ("--checkpoint", "c")],
)
def test_train_refuses_before_it_reads(
    make: Callable[[Path], None],
    message: str,
    option: str,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path / name)
    before = contents(tmp_path)
    # the data do not exist: whoever looks for them first complains of them
    assert main(["train", str(tmp_path / "none.csv"), option, str(tmp_path / name)]) == 1
    err = capsys.readouterr().err
    assert f"{option} is {tmp_path / name}: " in err
    assert message in err
    assert contents(tmp_path) == before


@places
def test_fit_refuses_before_it_trains(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "c")
    before = contents(tmp_path)
    model = fastbptt.RNN(1, 2, 1, seed=0)
    weights = model.parameters.flat.copy()
    with pytest.raises(OSError, match=message):
        fastbptt.fit(
            model,
            np.ones((4, 2, 1)),
            np.ones(4),
            loss="mse",
            epochs=1,
            verbose=0,
            checkpoint=tmp_path / "c",
        )
    assert (model.parameters.flat == weights).all()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("link", [False, True])
def test_a_model_to_the_null_device(
    link: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Task(6).csv(tmp_path / "a.csv")
    place = tmp_path / "m" if link else Path(os.devnull)
    if link:
        place.symlink_to(os.devnull)
    command = ["train", data, "-o", str(place), "--epochs", "1", "--quiet", "--hidden", "2"]
    assert main(command) == 0, capsys.readouterr().err
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert place.is_symlink() == link
