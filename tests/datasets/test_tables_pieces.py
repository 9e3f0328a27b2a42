"""Large tables, which are read piece by piece: encodings, line ends, quotes, memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbptt.datasets import _blocks, read_csv

HEAD = "id,step,v,name\n"
ROWS = "".join(f"s{i // 5},{i % 5},{i / 8},w{i % 3}\n" for i in range(200))
TEXT = HEAD + ROWS
GIVEN: dict[str, Any] = {"categories": ["name"]}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "WHOLE", 0)
    monkeypatch.setattr(_blocks, "PIECE", 100)


CONTENT: dict[str, bytes] = {
    "as it is": TEXT.encode(),
    "no end": TEXT.rstrip("\n").encode(),
    "CRLF": TEXT.replace("\n", "\r\n").encode(),
    "CR": TEXT.replace("\n", "\r").encode(),
    "mark": TEXT.encode("utf-8-sig"),
    "UTF-8": TEXT.replace("w1", "h\u00f6he").encode(),
    "Latin-1 at the end": (HEAD + ROWS[:-2] + "h\u00f6he\n").encode("latin-1"),
    "quotes": re.sub("w(.)", r'"w,\1"', TEXT).encode(),
    "quotes at the end": (HEAD + ROWS[:-3] + '"a,b"\n').encode(),
    "quotes within": (HEAD + ROWS[:-3] + '"a""b"\n').encode(),
    "a line within": (HEAD + ROWS[:-3] + '"a\nb"\n').encode(),
    "blank rows": (TEXT.replace("\ns9,", "\n\n   \ns9,") + "\n,,,\n\n,,,\n").encode(),
    "spaces": TEXT.replace(",", "  ").encode(),
    "wide cells": TEXT.replace("w2", "w" * 300).encode(),
}


@pytest.mark.parametrize("name", CONTENT)
def test_pieces_make_the_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT[name])
    data = read_csv(path, **GIVEN)
    assert data.ids == tuple(f"s{i}" for i in range(40))
    assert np.asarray(data.x)[:, :, 0].ravel().tolist() == [i / 8 for i in range(200)]
    monkeypatch.setattr(_blocks, "WHOLE", 1 << 20)
    monkeypatch.setattr(_blocks, "PIECE", 1 << 20)
    again = read_csv(path, **GIVEN)
    assert np.array_equal(data.x, again.x)
    assert data.feature_names == again.feature_names


def test_rows_by_any_order(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    rows = ROWS.splitlines()
    order = np.random.default_rng(0).permutation(len(rows))
    path.write_text(HEAD + "\n".join(rows[i] for i in order))
    sets = np.random.default_rng(1).permutation(40)
    other.write_text("id,label\n" + "".join(f"s{i},c{i % 7}\n" for i in sets))
    data = read_csv(path, label_file=other, exclude=["name"])
    assert data.classes == tuple(f"c{i}" for i in range(7))
    for one, x, y in zip(data.ids, data.x, np.asarray(data.y), strict=True):
        i = int(one[1:])
        assert (y, x[:, 0].tolist()) == (i % 7, [(5 * i + t) / 8 for t in range(5)])


WRONG: dict[str, tuple[bytes, str]] = {
    "a number": (TEXT.replace("s39,3,", "s39,3,x").encode(), ":200: column 'v' is \"x24.75\""),
    "a cell": (TEXT.replace("s39,3,", "s39,3").encode(), ":200: the row has 3 cells; expected 4"),
    "no text": (TEXT.replace("s39,3,", "s39,3\0").encode(), ":200: is no text file"),
    "empty": (TEXT.replace("s39,3,24.75,w0", ",,,").encode(), ":200: all cells of the row are"),
    "a quote": (TEXT.replace("s39,3,", '"s39,3,').encode(), ':200: the row has a " without an end'),
    "twice": (TEXT.replace("s39,3,", "s39,2,").encode(), ":200: .*again, as in line 199"),
    "UTF-16": (TEXT.encode("utf-16"), "is UTF-16 text"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_in_messages(tmp_path: Path, name: str, end: bytes) -> None:
    content, message = WRONG[name]
    path = tmp_path / "a.csv"
    path.write_bytes(content if name == "UTF-16" else content.replace(b"\n", end))
    with pytest.raises(ValueError, match=message):
        read_csv(path, **GIVEN)


CHANGES: list[Callable[[bytes], bytes]] = [
    lambda text: text[: len(text) // 2],
    lambda text: text.replace(b"\n", b","),
    lambda text: text[::-1],
    lambda text: text.replace(b"s", b"\n"),
    lambda text: text.replace(b"w", b"u"),
    lambda text: text.replace(b",w0\n", b"\n,w0"),
    lambda text: b"",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TEXT)
    original = _blocks.ByteCells.codes

    def codes(self: Any, column: int) -> Any:
        path.write_bytes(change(TEXT.encode()))  # while it is read
        os.utime(path, (1, 1))
        return original(self, column)

    monkeypatch.setattr(_blocks.ByteCells, "codes", codes)
    with pytest.raises(ValueError, match="was changed while it was read"):
        read_csv(path, **GIVEN)


FORMS = {
    "numbers": ("a,b,c,d,e\n", "{0:.6f},{1:.6f},{2:.6f},{3:.6f},{4:.6f}\n", None),
    "sequences": ("id,step,a,b,c\n", "s{5},{6},{0:.4f},{1:.4f},{2:.4f}\n", "id"),
    "CRLF": ("a,b,c\r\n", "{0!r},{1!r},{2!r}\r\n", None),
    "quotes": ('"a";"b";"c"\n', '"{0:.5f}";"{1:.5f}";"{2:.5f}"\n', None),
}
CHILD = """
import os, sys
from fastbptt.datasets import read_csv
from pathlib import Path
def memory(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024
def read(path):
    return read_csv(path, id={id!r}, step={step!r})
read(sys.argv[2])  # what is imported at first use
before = memory("VmRSS")
data = read(sys.argv[1])
size = sum(one.nbytes for one in data.x)
print(memory("VmHWM") - before, max(size, os.path.getsize(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", FORMS)
def test_memory_is_at_most_twice_the_data(tmp_path: Path, name: str) -> None:
    head, form, id = FORMS[name]
    path, short = tmp_path / "a.csv", tmp_path / "b.csv"
    values = np.random.default_rng(0).normal(size=(1000, 5)).tolist()
    with path.open("w", newline="") as file:
        file.write(head)
        for part in range(600):
            file.write("".join(form.format(*row, part, t) for t, row in enumerate(values)))
    short.write_text("\n".join(path.read_text().splitlines()[:50]))
    code = CHILD.format(id=id, step=id and "step")
    command = [sys.executable, "-c", code, str(path), str(short)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, data = map(int, out.split())
    assert peak <= 2 * data, f"{peak / data:.2f} times the data"
