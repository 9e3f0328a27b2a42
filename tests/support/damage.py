"""Files of every kind that the package reads, and what can happen to them.

A case is a kind of file and a seed: `damaged` writes it, `readers` read it. A reader may take the
file, whose damage may lie where it does not matter, or refuse it with an error that names it.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import json
import os
import random
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from model_files import join, split

import fastbptt
from fastbptt import datasets, interchange
from fastbptt.datasets import arrays, reviews

Change = Callable[[random.Random, bytes], bytes]

# ---------------------------------------------------------------- bytes


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _piece(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(start + rng.randrange(1, 40), len(content))


def _move(rng: random.Random, content: bytes) -> bytes:
    """Double a piece, take it away, blank it, or put it elsewhere."""
    (a, b), (c, d) = sorted((_piece(rng, content), _piece(rng, content)))
    piece, kind = content[a:b], rng.randrange(4)
    if kind == 3 and b <= c:
        return content[:a] + content[c:d] + content[b:c] + piece + content[d:]
    return content[:a] + (piece * 2, b"", b"\0" * len(piece), piece)[kind] + content[b:]


_TEXTS = (
    b"1e400", b"-1", b"nan", b"inf", b"9" * 5000, b"99999999999999999999", b"1e308", b"-0",
    b"9223372036854775807", b"0x10", b"1_000", b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"\n", b"\r",
    b"\\ud800", b'"', b"," * 300, b":" * 30, b"[" * 100_000, b'{"a":' * 50_000, b"", b" ",
    "\u0663\u0664".encode(), "\u00b2".encode(), b"@data", b"null", b"true", b"1.5", b"1e-320",
    b"x" * 200_000,
)  # fmt: skip


def _insert(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(_TEXTS) + content[at:]


def _number(rng: random.Random, content: bytes) -> bytes:
    """Put something else in place of one of the numbers in a text."""
    starts = [
        i
        for i in range(len(content))
        if content[i : i + 1].isdigit() and not content[i - 1 : i].isdigit()
    ]
    if not starts:
        return _insert(rng, content)
    start = stop = rng.choice(starts)
    while content[stop : stop + 1].isdigit():
        stop += 1
    return content[:start] + rng.choice(_TEXTS) + content[stop:]


def _lines(rng: random.Random, content: bytes) -> bytes:
    """Double, drop, swap or join lines."""
    lines = content.split(b"\n")
    i, j, kind = rng.randrange(len(lines)), rng.randrange(len(lines)), rng.randrange(4)
    if kind == 0:
        lines.insert(j, lines[i])
    elif kind == 1:
        del lines[i]
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i : i + 2] = [b"".join(lines[i : i + 2])]
    return b"\n".join(lines)


def _foreign(rng: random.Random, content: bytes) -> bytes:
    return rng.choice(
        (b"", b"\0" * 100, b"PK\3\4" + content, b"\x93NUMPY\1\0", b"\x1f\x8b\x08" + content,
         b"\xef\xbb\xbf" + content, b"[]", b"{}", b"null", b"\x80\4\x95", rng.randbytes(200))
    )  # fmt: skip


BYTES: tuple[Change, ...] = (_flip, _flip, _cut, _move, _insert, _number, _lines, _foreign)

# ---------------------------------------------------------------- JSON

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, 1e308, float("nan"), float("inf"), 2**63, 10**30,
    -(2**70), 10**4000, "", "a", "nan", "\ud800", "x" * 5000, [], [[]], {}, {"a": 1}, [1, "a"],
    [None] * 3, [0.5] * 3, {"": []},
)  # fmt: skip


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _spoil(rng: random.Random, value: Any) -> Any:
    """Change something in a value of JSON."""
    places = list(_places(value))
    if not places or rng.random() < 0.03:
        return rng.choice(_VALUES)
    where, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del where[key]
    elif kind == 1 and isinstance(where, dict):
        where[rng.choice(("a", "", "step", "\ud800"))] = where.pop(key)
    elif kind == 2:
        other, there = rng.choice(places)
        with contextlib.suppress(LookupError):
            where[key] = json.loads(json.dumps(other[there]))
    else:
        where[key] = rng.choice(_VALUES)
    return value


def _spoil_json(rng: random.Random, content: bytes) -> bytes:
    value = _spoil(rng, json.loads(content))
    return _dumps(value, ensure_ascii=rng.random() < 0.9)


def _dumps(value: Any, **options: Any) -> bytes:
    text = json.dumps(value, default=str, **options)
    return text.encode("utf-8", "surrogatepass")


def _spoil_model(rng: random.Random, content: bytes) -> bytes:
    """Change the header of a model's file, or its numbers; the digest is right."""
    header, data = split(content)
    metadata, kind = header["__metadata__"], rng.randrange(4)
    if kind == 0 and data:
        numbers = np.frombuffer(data, "<f4").copy()
        number = rng.choice((np.nan, np.inf, -np.inf, -1.0, 2.0))
        numbers[rng.randrange(len(numbers)) :][: rng.choice((1, 100))] = number
        data = numbers.tobytes()
    elif kind == 1:
        _spoil(rng, header)
    else:
        name = rng.choice([one for one in metadata if one not in ("format", "sha256")])
        try:
            spoilt: Any = _dumps(_spoil(rng, json.loads(metadata[name]))).decode()
        except ValueError:
            spoilt = rng.choice(_VALUES)
        metadata[name] = spoilt
    try:
        return join(header, data)
    except (TypeError, KeyError, ValueError):  # no header any more
        return _dumps(header)


# ---------------------------------------------------------------- archives


def _npy(header: str, data: bytes, version: int = 1) -> bytes:
    text = header.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + data


_DTYPES = ("<f8", "|O", "<U3", "<U400000000", "|V8", "[('a','<f8')]", "<M8[s]", "<c16", "|S2",
           "<f2", "|b1", "<i8", ">u2", "zz", "<f16", "<U0", "|V0", "|S0")  # fmt: skip
_SHAPES = ("(3,)", "(2, 3)", "(2, 3, 1)", "(10**12,)", "(-1,)", "(0,)", "(1000000000000,)", "()",
           "(2**31, 2**31, 2**31)", "3", "None", "(1.5,)", "(True,)", "(99999999999999999999,)",
           "(4294967296, 4294967296)", "(18446744073709551616, 0)")  # fmt: skip


def _header(rng: random.Random) -> str:
    text = (
        f"{{'descr': {rng.choice(_DTYPES)!r}, 'fortran_order': {rng.choice(('False', 'True', '2'))}"
        f", 'shape': {rng.choice(_SHAPES)}, }}"
    )
    return rng.choice((text,) * 6 + (text[:-3], "(" * 3000, "{'descr': " * 500, "\0", "x\n  y"))


def _spoil_zip(rng: random.Random, content: bytes) -> bytes:
    """Put an archive together anew, with members changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    name, other = rng.choice(names), rng.choice(names)
    kind = rng.randrange(7)
    if kind == 0:
        members[name], members[other] = members[other], members[name]
    elif kind == 1:
        del members[name]
    elif kind == 2:
        members[name] = rng.choice(BYTES)(rng, members[name])
    elif kind in (3, 4) and name.endswith(".npy"):
        data = rng.choice((members[name][-24:], bytes(24), rng.randbytes(48), bytes(8)))
        members[name] = _npy(_header(rng), data, rng.choice((1, 1, 1, 2, 3, 4)))
    elif kind == 5:
        members[rng.choice(("../x", "/x.npy", "x", "classes.npy", "ids.npy"))] = members[name]
    file = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(file, "w", method) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    made = bytearray(file.getvalue())
    if kind == 6:  # encrypted, an unknown method, other sizes: in both headers of a member
        start = rng.choice([i for i in range(len(made)) if made[i : i + 4] == b"PK\3\4"])
        field = rng.choice((6, 8, 14, 18, 22, 26, 28))
        made[start + field] ^= rng.choice((1, 99, 255))
        start = rng.choice([i for i in range(len(made)) if made[i : i + 4] == b"PK\1\2"])
        field = rng.choice((6, 8, 10, 16, 20, 24, 28, 30, 42))
        made[start + field] ^= rng.choice((1, 12, 99, 255))
    return bytes(made)


def _spoil_tar(rng: random.Random, content: bytes) -> bytes:
    """Put an archive together anew: other names and kinds of members, other content."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(one, archive.extractfile(one)) for one in archive.getmembers()]
        read = [(one, file.read() if file else b"") for one, file in members]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=rng.choice(("w:gz", "w:bz2", "w:xz", "w"))) as archive:
        for member, data in read:
            kind = rng.randrange(5)
            if kind == 0:
                member.type = rng.choice((tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE))
                member.linkname = rng.choice(("", "nowhere", member.name, "/etc/passwd"))
            elif kind == 1:
                data = rng.choice(BYTES)(rng, data)
            elif kind == 2:
                data = _spoil_tar(rng, data) if member.name.endswith(".gz") else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _spoil_gzip(rng: random.Random, content: bytes) -> bytes:
    """Pack changed content, or change what is packed in the header or the end."""
    text = gzip.decompress(content)
    if rng.random() < 0.6:
        return gzip.compress(rng.choice(BYTES)(rng, text), mtime=0)
    made = bytearray(content)
    made[rng.choice((2, 3, 8, 9, -1, -4, -5, -8))] ^= rng.choice((1, 4, 8, 255))
    return bytes(made) + rng.choice((b"", b"\0" * 9, content, content[:9]))


# ---------------------------------------------------------------- kinds of files


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _model() -> fastbptt.Recurrent:
    return fastbptt.LSTM(1, 2, 1, seed=0)


_X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3, 1)
_Y = (np.arange(8) % 2).astype(np.int64)


def resume(path: Path, model: fastbptt.Recurrent, epochs: int = 3, go_on: bool = True) -> None:
    """Go on with the run of a checkpoint, or begin it."""
    fastbptt.fit(
        model, _X, _Y, epochs=epochs, batch_size=4, validation=(_X, _Y), patience=9, verbose=0,
        schedule="plateau", checkpoint=path, resume=go_on, callbacks=[fastbptt.GradientMonitor()],
    )  # fmt: skip


def _checkpoint(folder: Path) -> bytes:
    resume(folder / "c", _model(), 2, False)
    return (folder / "c").read_bytes()


def _of_plug_in(folder: Path, write: Callable[..., None], **options: Any) -> bytes:
    write(_model(), folder / "p", metadata=None, **options)
    return (folder / "p").read_bytes()


def _with_optimizer(folder: Path) -> bytes:
    model, optimizer = _model(), fastbptt.Adam(amsgrad=True)
    model.train_step(_X, _Y, optimizer)
    model.metadata = {"task": "classification", "loss": "bce", "classes": ["a", "b"],
                      "feature_names": ["f"], "standardize": {"mean": [1.0], "scale": [2.0]},
                      "settings": {"columns": {"id": "id", "features": ["f"]}}}  # fmt: skip
    model.save(folder / "m", optimizer)
    return (folder / "m").read_bytes()


def _tokens(folder: Path) -> bytes:
    datasets.Tokenizer(max_size=9).fit(["a good film", "a bad one"]).save(folder / "t")
    return (folder / "t").read_bytes()


def _history(folder: Path, suffix: str) -> bytes:
    made = fastbptt.History.from_dict(
        {"epoch": [1, 2, 3], "curves": {"loss": [1.0, 0.5, 0.25], "accuracy": [0.0, 0.5, 1.0]},
         "best_epoch": 2 if suffix == "json" else None, "stopped": None}
    )  # fmt: skip
    made.save(folder / f"h.{suffix}")
    return (folder / f"h.{suffix}").read_bytes()


_TS = b"""# a comment
@problemName Steps
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength true
@seriesLength 3
@classLabel true walk run
@data
0.1,0.3,0.2:1,2,3:walk
0.9,?,0.7:4,5,6:run
"""
_SNIPPETS = b"1\t2.3\tA joy.\n2\t0\tWell.\n3\t-3.1\tA bore.\n"
_YOLO = b"2 0.5 0.25 0.1 0.2 0.875 1\n0 0.75 0.5 0.3 0.9 0.5 2\n"
_TIMES = b"""@problemName Steps
@timeStamps true
@univariate true
@classLabel true walk run
@data
(0,0.1),(1,0.3),(2,0.2):walk
(0,0.9),(1,-1),(2,0.7):run
"""
_ARFF = rb"""@relation 'Basic Motions'
@attribute relationalAtt relational
  @attribute att0 numeric
  @attribute att1 numeric
@end relationalAtt
@attribute activity {Standing, 'Run fast',"Walk"}
@data
'0.1,0.2\n1.1,1.2',Standing
% between
"2,?\n3,3.5",'Run fast'
"""
_TSF = b"""# made up
@relation sales
@attribute series_name string
@attribute start_timestamp date
@frequency daily
@horizon 2
@missing true
@equallength false
@data
T1:2020-01-01 00-00-00:1,?,3,4,5
T2:2020-01-02 00-00-00:10,20,30
"""
_WIDE = b"1\t0.1\t0.3\t0.2\n2\t0.9\t-1e-3\t0.7\n1\t0.5\t0.6\tNaN\n"  # as the UCR archive has it
_DECIMAL = b"id;date;height;noise\n1;2024-01-01 00:00;0,5;2\n1;2024-01-01 01:00;1,6;-3,25\n"
_SPACES = b"  1.5   2.25  3\n -1.0   1e-3  4\n\n  0.25  7  5\n"
_LABELS = b"id,label\n1,a\n2,b\n"
_CSV = b"id,step,height,noise,label\n1,1,0.5,2,a\n1,2,0.6,3,a\n2,1,1e3,4,b\n2,2,-1,,b\n"


def _zipped_ts() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("TRAIN", "TEST"):
            archive.writestr(f"Steps/Steps_{part}.ts", _TS)
    return file.getvalue()


def _tar() -> bytes:
    content = _SNIPPETS
    for name in (reviews._SNIPPETS["movies"], reviews._INNER):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            member = tarfile.TarInfo(f"a/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        content = file.getvalue()
    return content


def _parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    columns = {"id": [1, 1, 2], "step": [1, 2, 1], "height": [0.5, None, 1e3], "label": list("aab")}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def _bytes_of(kind: str, folder: Path) -> bytes:
    made: dict[str, Callable[[], bytes]] = {
        "npz": lambda: _npz(x=_X, y=_Y, ids=np.array(list("abcdefgh"))),
        "npz of lengths": lambda: _npz(
            x=_X[:, 0], lengths=np.array([3, 5]), y=np.array([1, 0]), classes=np.array(["u", "v"]),
            feature_names=np.array(["f"]), huge=np.zeros(10),
        ),
        "ts": lambda: _TS,
        "zip": _zipped_ts,
        "csv": lambda: _CSV,
        "csv.gz": lambda: gzip.compress(_CSV, mtime=0),
        "wide tsv": lambda: _WIDE,
        "decimal comma": lambda: _DECIMAL,
        "spaces": lambda: _SPACES,
        "labels": lambda: _LABELS,
        "parquet": _parquet,
        "ts with times": lambda: _TIMES,
        "arff": lambda: _ARFF,
        "tsf": lambda: _TSF,
        "tokenizer": lambda: _tokens(folder),
        "history json": lambda: _history(folder, "json"),
        "history csv": lambda: _history(folder, "csv"),
        "model": lambda: _with_optimizer(folder),
        "checkpoint": lambda: _checkpoint(folder),
        "nam": lambda: _of_plug_in(folder, interchange.to_nam, sample_rate=48000),
        "rtneural": lambda: _of_plug_in(
            folder, interchange.to_rtneural, skip=True, sample_rate=48000
        ),
        "rtneural torch": lambda: _of_plug_in(folder, interchange.to_rtneural, form="torch"),
        "guitarml": lambda: _of_plug_in(folder, interchange.to_rtneural, form="guitarml"),
        "yolo": lambda: _YOLO,
        "snippets": lambda: _SNIPPETS,
        "tar": _tar,
    }  # fmt: skip
    return made[kind]()


_OWN: dict[str, Change] = {
    "npz": _spoil_zip, "npz of lengths": _spoil_zip, "zip": _spoil_zip, "tar": _spoil_tar,
    "tokenizer": _spoil_json, "history json": _spoil_json, "model": _spoil_model,
    "checkpoint": _spoil_model, "csv.gz": _spoil_gzip, "nam": _spoil_json,
    "rtneural": _spoil_json, "rtneural torch": _spoil_json, "guitarml": _spoil_json,
}  # fmt: skip

_NAMES: dict[str, str] = {
    "npz": "a.npz", "npz of lengths": "a.npz", "ts": "a.ts", "zip": "a.zip", "csv": "a.csv",
    "tokenizer": "a.json", "history json": "a.json", "history csv": "a.csv", "model": "a",
    "checkpoint": "a", "yolo": "a_1.txt", "snippets": "a.txt", "tar": "a.tar.gz",
    "csv.gz": "a.csv.gz", "wide tsv": "a.tsv", "decimal comma": "a.csv", "spaces": "a.txt",
    "labels": "y.csv", "parquet": "a.parquet", "ts with times": "a.ts",
    "arff": "a.arff", "tsf": "a.tsf", "nam": "a.nam", "rtneural": "a.json",
    "rtneural torch": "a.json", "guitarml": "a.json",
}  # fmt: skip

KINDS = tuple(name for name in _NAMES if name != "parquet" or importlib.util.find_spec("pyarrow"))

_wholes: dict[str, bytes] = {}


def whole(kind: str, folder: Path) -> bytes:
    """Make a file of a kind that is as it should be."""
    if kind not in _wholes:
        _wholes[kind] = _bytes_of(kind, folder)
    return _wholes[kind]


def damaged(kind: str, seed: int, folder: Path) -> Path:
    """Write a file of a kind, to which something has happened; the same for the same seed."""
    rng = random.Random(f"{kind} {seed}")
    content = whole(kind, folder)
    own = _OWN.get(kind)
    if own is not None and rng.random() < 0.6:
        content = own(rng, content)
    else:
        for _ in range(rng.choice((1, 1, 2, 5))):
            content = rng.choice(BYTES)(rng, content)
    name = _NAMES[kind]
    if kind == "yolo" and rng.random() < 0.3:
        name = rng.choice(("a_.txt", f"a_{'9' * 400}.txt", "a_99999999999999999999.txt", ".txt",
                           "1.txt", "a_-1.txt", "a_\u0663.txt", "a_\u00b2.txt"))  # fmt: skip
        if len(name) > 255:
            name = f"a_{'9' * 200}.txt"
    path = folder / name
    path.write_bytes(content)
    return path


# ---------------------------------------------------------------- readers


def _read_tar(path: Path) -> Any:
    return datasets.load_snippets("movies", path)


def _with_labels(path: Path) -> Any:
    table = path.parent.parent / "table.csv"
    if not table.exists():
        table.write_bytes(
            _CSV.replace(b",label", b"").replace(b",a\n", b"\n").replace(b",b\n", b"\n")
        )
    return datasets.read_csv(table, label_file=path)


def _read_task(path: Path) -> Any:
    from fastbptt.cli import _task

    return _task.of(fastbptt.load(path), str(path))


READERS: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "npz": (datasets.read, arrays.read_npz),
    "npz of lengths": (lambda path: datasets.read(path, labels=False), datasets.read),
    "ts": (datasets.read, lambda path: datasets.read(path, missing="interpolate")),
    "zip": (lambda path: datasets.load_ts("Steps", path),),
    "csv": (datasets.read,),
    "csv.gz": (datasets.read,),
    "wide tsv": (lambda path: datasets.read_csv(path, layout="wide", label="1", header="none"),),
    "decimal comma": (
        lambda path: datasets.read_csv(path, step="date", labels=False),
        lambda path: datasets.read_csv(path, step="date", labels=False, decimal=",", delimiter=";"),
    ),
    "spaces": (
        lambda path: datasets.read_csv(path, id=None, step=None, labels=False, header="none"),
    ),
    "labels": (_with_labels,),
    "parquet": (datasets.read,),
    "ts with times": (datasets.read,),
    "arff": (datasets.read,),
    "tsf": (datasets.read, lambda path: datasets.read(path, ahead=1, missing="interpolate")),
    "tokenizer": (datasets.Tokenizer.load,),
    "history json": (fastbptt.History.load,),
    "history csv": (fastbptt.History.load,),
    "model": (fastbptt.load, fastbptt.load_optimizer, _read_task),
    "checkpoint": (lambda path: resume(path, _model()),),
    "yolo": (lambda path: datasets.read_yolo(path.parent), lambda p: datasets.yolo_clips(p.parent)),
    "snippets": (_read_tar,),
    "tar": (_read_tar,),
    "nam": (interchange.from_nam,),
    "rtneural": (lambda path: interchange.from_rtneural(path, skip=True),),
    "rtneural torch": (interchange.from_rtneural,),
    "guitarml": (interchange.from_rtneural,),
}


def fault(kind: str, read: Callable[[Path], Any], path: Path) -> str | None:
    """Read a damaged file; return what is wrong with how that ended, None if nothing."""
    before, start = path.read_bytes(), time.process_time()
    try:
        read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if type(error).__name__ in ("UnicodeDecodeError", "UnicodeEncodeError", "JSONDecodeError"):
            return f"foreign {error!r}"
        if os.fspath(path) not in text and os.fspath(path.parent) not in text:
            return f"does not name the file: {text[:300]!r}"
        if len(text) > 1500 or "\n" in text.replace(os.fspath(path), ""):
            return f"no message of a line: {text[:300]!r}"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"a message that cannot be printed: {text[:300]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    if time.process_time() - start > 5:
        return f"took {time.process_time() - start:.1f} s"
    if kind != "checkpoint" and path.read_bytes() != before:
        return "changed the file"
    return None
