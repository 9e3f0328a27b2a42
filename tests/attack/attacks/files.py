"""Damaged and hostile files for every reader, in a process with little memory (RLIMIT_AS):
`damage` of tests/support draws them, and here come bombs and headers of huge sizes.
"""

from __future__ import annotations

import gzip
import io
import random
import resource
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import damage

from ._common import in_child

EACH = 6
MEMORY = 600 << 20  # more than the process has, for a reader


def _gzip_bomb(content: bytes) -> bytes:
    return gzip.compress(content + b"1,1,1,1,a\n" * 20_000_000, 1, mtime=0)


def _zip_bomb(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        with new.open(old.namelist()[0] + "0.npy", "w", force_zip64=True) as member:
            for _ in range(400):
                member.write(bytes(1 << 20))
    return file.getvalue()


def _long_header(content: bytes) -> bytes:
    """Say that the header of a model is as long as memory, or a few bytes too long."""
    return struct.pack("<Q", 1 << 40) + content[8:]


def _huge_header(content: bytes) -> bytes:
    blank = b" " * (150 << 20)
    return struct.pack("<Q", len(blank)) + blank


def _big_shape(content: bytes) -> bytes:
    return content.replace(b'"shape": [', b'"shape": [4611686018427387904, ', 1)


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "csv.gz": _gzip_bomb,
    "npz": _zip_bomb,
    "zip": _zip_bomb,
    "model": _long_header,
    "checkpoint": _huge_header,
}


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _read(kind: str, seeds: list[int], folder: Path) -> list[str]:
    _limit()
    wrong = []
    for seed in seeds:
        own = folder / f"f{seed}"
        own.mkdir()
        path = damage.damaged(kind, seed, own)
        for read in damage.READERS[kind]:
            found = damage.fault(kind, read, path)
            if found is not None:
                wrong.append(f"{kind}, seed {seed}: {found}")
        if [one for one in own.iterdir() if one != path]:
            wrong.append(f"{kind}, seed {seed}: has left files")
        shutil.rmtree(own)
    return wrong


def _explode(kind: str, folder: Path) -> list[str]:
    path = folder / damage._NAMES[kind]
    path.write_bytes(BOMBS[kind](damage.whole(kind, folder)))
    _limit()
    found = [damage.fault(kind, read, path) for read in damage.READERS[kind]]
    return [f"{kind}: {one}" for one in found if one is not None]


def attack(seed: int, folder: Path) -> int:
    rng = random.Random(seed)
    kinds = rng.sample(damage.KINDS, 5)
    cases, wrong = 0, []
    for kind in kinds:
        damage.whole(kind, folder)
        seeds = [rng.randrange(1 << 40) for _ in range(EACH)]
        wrong += in_child(lambda kind=kind, seeds=seeds: _read(kind, seeds, folder))
        cases += EACH
    if seed % 8 == 0:
        kind = list(BOMBS)[seed // 8 % len(BOMBS)]
        own = folder / "bomb"
        own.mkdir()
        wrong += in_child(lambda: _explode(kind, own))
        shutil.rmtree(own)
        cases += 1
    assert not wrong, "\n".join(wrong)
    return cases
