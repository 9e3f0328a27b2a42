"""A damaged file, of any kind, is read or refused in a line that names it; nothing else happens."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import numpy as np
import pytest
from cases import FUZZ
from model_files import join, split

import fastbptt
from fastbptt import datasets

CASES = 24 * FUZZ  # of each kind


@pytest.mark.parametrize("kind", damage.KINDS)
@pytest.mark.filterwarnings("ignore")
def test_whatever_has_happened_to_it(kind: str, tmp_path: Path) -> None:
    wrong = {}
    damage.whole(kind, tmp_path)
    for seed in range(CASES):
        folder = tmp_path / f"f{seed}"
        folder.mkdir()
        path = damage.damaged(kind, seed, folder)
        for read in damage.READERS[kind]:
            found = damage.fault(kind, read, path)
            if found is not None:
                wrong[seed] = found
        assert [one for one in folder.iterdir() if one != path] == []
    assert wrong == {}


@pytest.mark.parametrize("kind", damage.KINDS)
@pytest.mark.filterwarnings("ignore")
def test_undamaged_it_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / damage._NAMES[kind]
    for read in damage.READERS[kind]:
        path.write_bytes(damage.whole(kind, tmp_path))
        for other in set(tmp_path.iterdir()) - {path}:
            other.unlink()
        read(path)


# ---------------------------------------------------------------- one by one


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def member(path: Path, name: str, content: bytes, *others: str) -> Path:
    """Write an archive with a member of these bytes, and with good ones."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", content)
        for other in others:
            file = io.BytesIO()
            np.save(file, np.ones((2, 3, 1)))
            archive.writestr(f"{other}.npy", file.getvalue())
    return path


def spoilt_header(path: Path, field: int, value: int) -> Path:
    """Change a byte of the first member's headers: 6 flags, 8 method, as local ones count."""
    npz(path, x=np.ones((2, 3, 1)))
    content = bytearray(path.read_bytes())
    content[field] ^= value
    content[content.index(b"PK\1\2") + field + 2] ^= value
    path.write_bytes(content)
    return path


def array(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return damage._npy(text, bytes(48))


ARCHIVES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "encrypted": (lambda p: spoilt_header(p, 6, 1), "cannot be read as .npz: .*encrypted"),
    "unknown method": (lambda p: spoilt_header(p, 8, 99), "cannot be read as .npz: "),
    "header of no text": (lambda p: member(p, "x", damage._npy("(" * 9000, b"")), "read as .npz"),
    "a shape beyond memory": (lambda p: member(p, "x", array("(10**12,)")), "damaged|as .npz"),
    "a shape of 8 TB": (lambda p: member(p, "x", array("(1000000000000,)")), "damaged"),
    "a shape that overflows": (lambda p: member(p, "x", array("(4294967296,) * 2")), "as .npz"),
    "a shape below 0": (lambda p: member(p, "x", array("(-6,)")), "damaged"),
    "a text of 1.6 GB": (lambda p: member(p, "x", array("(1,)", "<U400000000")), "damaged"),
    "objects": (lambda p: member(p, "x", array("(6,)", "|O")), "Python objects"),
    "no plain array": (lambda p: member(p, "x", damage._npy("{}", b"", 3)), "no plain array"),
    "half a letter": (
        lambda p: npz(p, x=np.ones((2, 3, 1)), y=np.array(["a", "\ud800"])),
        "y holds .*half of a character",
    ),
    "half a letter in a name": (
        lambda p: npz(p, x=np.ones((2, 3, 1)), ids=np.array(["a", "\udfff"])),
        "ids holds .*half of a character",
    ),
}


@pytest.mark.parametrize(("make", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    path = make(tmp_path / "a.npz")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*({message})"):
            datasets.read(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"not an array",
        array("(6,)", "|O"),
        array("(1000000000000,)"),
        damage._npy("{'descr': " * 500, b""),
        bytes(40_000_000),  # unpacked, more than is allowed
        b"",
    ],
    ids=["text", "objects", "huge", "nested", "bomb", "nothing"],
)
@pytest.mark.parametrize("labels", [True, False])
def test_arrays_that_nobody_asked_for_stay_packed(
    content: bytes, labels: bool, tmp_path: Path
) -> None:
    names = ("extra",) if labels else ("extra", "y", "classes")
    for name in names:
        path = member(tmp_path / "a.npz", name, content, "x")
        tracemalloc.start()
        try:
            assert len(datasets.read(path, labels=labels).x) == 2
            assert tracemalloc.get_traced_memory()[1] < 20e6
        finally:
            tracemalloc.stop()


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastbptt._core, "memory_limit", lambda: 1000)


@pytest.mark.usefixtures("little_memory")
def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=np.ones((100, 3, 1)))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: x needs 2.4 kB; there is"):
        datasets.read(path)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Steps_TRAIN.ts", damage._TS + b"#" * 5000)
        file.writestr("Steps_TEST.ts", damage._TS)
    with pytest.raises(ValueError, match=r"Steps_TRAIN.ts: needs 5.\d kB, more than"):
        datasets.load_ts("Steps", archive)
    packed = tmp_path / "hutto_ICWSM_2014.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        info = tarfile.TarInfo("movieReviewSnippets_GroundTruth.txt")
        info.size = 5000
        tar.addfile(info, io.BytesIO(bytes(5000)))
    with pytest.raises(ValueError, match=r"hutto_ICWSM_2014.tar.gz: .*GroundTruth.txt needs 5.0"):
        datasets.load_snippets("movies", packed)


TEXTS: dict[str, tuple[str, bytes, str]] = {
    "nested JSON": ("t.json", b"[" * 200_000, "is no JSON that can be read"),
    "digits in JSON": ("t.json", b"9" * 5000, "is no JSON that can be read"),
    "half a letter": (
        "t.json",
        rb'{"format": "fastbptt tokenizer", "version": 1, "max_size": null, "min_count": 1,'
        rb' "lower": true, "tokens": ["<pad>", "<unknown>", "\ud800"]}',
        '"tokens" is not right',
    ),
    "nested history": ("h.json", b"[" * 200_000, "as a history"),
    "infinite epoch": (
        "h.json",
        b'{"epoch": [1e999], "curves": {}, "best_epoch": null, "stopped": null}',
        "infinity to integer",
    ),
    "half an epoch": (
        "h.json",
        b'{"epoch": [1.5], "curves": {}, "best_epoch": null, "stopped": null}',
        r"\['epoch'\] holds 1.5",
    ),
    "epoch that was not": (
        "h.json",
        b'{"epoch": [1], "curves": {}, "best_epoch": 7, "stopped": null}',
        "'best_epoch'. is 7",
    ),
    "end that is no text": (
        "h.json",
        b'{"epoch": [1], "curves": {}, "best_epoch": 1, "stopped": [1]}',
        "'stopped'. is",
    ),
    "no UTF-8": ("h.csv", b"epoch,loss\n1,\xff\n", "as a history"),
    "long field": ("h.csv", b"epoch,loss\n1," + b"x" * (csv.field_size_limit() + 1), "larger"),
    "long length": (
        "a.ts",
        b"@equalLength true\n@seriesLength 1" + b"0" * 14 + b"\n@classLabel false\n@data\n1,2\n",
        "channel 1 has 2 values",
    ),
    "many digits": (
        "a.ts",
        b"@dimensions " + b"9" * 4999 + b"\n@classLabel false\n@data\n1,2\n",
        "expected a whole number",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), TEXTS.values(), ids=TEXTS)
def test_texts(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    read = {"t": datasets.Tokenizer.load, "h": fastbptt.History.load, "a": datasets.read}[name[0]]
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (f"a_{'9' * 200}", "", "200 digits; expected at most 15"),
        ("a_99999999999999999999", "", "20 digits"),
        ("a_1", "1e300 0.5 0.5 0.1 0.1", "the class is 1e300"),
        ("a_1", "9007199254740992 0.5 0.5 0.1 0.1", "the class is 9007199254740992"),
        ("a_1", "0 0.5 0.5 0.1 0.1 0.5 1e25", "the track is 1e\\+25"),
        ("a_1", "0 0.5 0.5 0.1 0.1 1e200", "the track is 1e\\+200"),
        ("a_1", "0 0.5 0.5 0.1 1e999", "is no finite number"),
    ],
)
def test_boxes(name: str, line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.txt").write_text(line)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.read_yolo(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


# ---------------------------------------------------------------- checkpoints


def changed_training(**changes: Any) -> Callable[[Any, Any], None]:
    def change(header: Any, data: Any) -> None:
        training = json.loads(header["__metadata__"]["training"])
        for path, value in changes.items():
            *within, key = path.split("__")
            place = training
            for one in within:
                place = place[one]
            if value is KeyError:
                del place[key]
            else:
                place[key] = value
        header["__metadata__"]["training"] = json.dumps(training)

    return change


def changed_numbers(name: str, number: float) -> Callable[[Any, Any], None]:
    def change(header: Any, data: Any) -> None:
        start, stop = header[name]["data_offsets"]
        np.frombuffer(data, "<f4")[start // 4 : stop // 4][-1] = number

    return change


def changed_setting(name: str, value: float) -> Callable[[Any, Any], None]:
    def change(header: Any, data: Any) -> None:
        optimizer = json.loads(header["__metadata__"]["optimizer"])
        optimizer["settings"][name] = value
        header["__metadata__"]["optimizer"] = json.dumps(optimizer)

    return change


def changed_dropout(header: Any, data: Any) -> None:
    arguments = json.loads(header["__metadata__"]["arguments"]) | {"dropout": 0.5}
    header["__metadata__"]["arguments"] = json.dumps(arguments)


def changed_monitor(key: str, value: Any) -> Callable[[Any, Any], None]:
    def change(header: Any, data: Any) -> None:
        training = json.loads(header["__metadata__"]["training"])
        training["callbacks"][0][key] = value
        header["__metadata__"]["training"] = json.dumps(training)

    return change


def changed_step(step: Any) -> Callable[[Any, Any], None]:
    def change(header: Any, data: Any) -> None:
        optimizer = json.loads(header["__metadata__"]["optimizer"]) | {"step": step}
        header["__metadata__"]["optimizer"] = json.dumps(optimizer)

    return change


CHECKPOINTS: dict[str, tuple[Callable[[Any, Any], None], str]] = {
    **{
        f"without {name}": (changed_training(**{name: KeyError}), f"KeyError: '{name}'")
        for name in ("fingerprint", "batch", "step", "lr", "history", "callbacks", "schedule")
    },
    "another key": (changed_training(more=1), "KeyError: 'more'"),
    "negative step": (changed_training(step=-1), "step is -1"),
    "negative step of the optimiser": (changed_step(-5), "step is -5"),
    "half a step of the optimiser": (changed_step(0.5), "step is 0.5"),
    "negative batch": (changed_training(batch=-1), "batch is -1"),
    "batch beyond the epoch": (changed_training(batch=99), "batch is 99 of 2"),
    "batch that is true": (changed_training(batch=True), "batch is True"),
    "rate that is NaN": (changed_training(lr=float("nan")), "lr is nan"),
    "negative seconds": (changed_training(seconds=-1.0), "seconds is -1.0"),
    "text as loss": (changed_training(total="a"), "total is 'a'"),
    "curves of different lengths": (changed_training(history__curves__loss=[1.0]), "1 numbers"),
    "best epoch of text": (changed_training(early_stopping__epoch="1"), "epoch is '1'"),
    "no early stopping": (changed_training(early_stopping=None), "damaged"),
    "schedule without a key": (changed_training(schedule__scale=KeyError), "lacks scale"),
    "schedule of text": (changed_training(schedule__best="low"), r"state\['best'\] is 'low'"),
    "schedule that waits backwards": (changed_training(schedule__waited=-1), "is -1"),
    "scale above 1": (changed_training(schedule__scale=7.0), "is 7.0"),
    "states of no callback": (changed_training(callbacks=[]), "damaged"),
    "states of a callback": (changed_training(callbacks=[{}]), "damaged: .KeyError"),
    "NaN in a moment": (changed_numbers("optimizer.m", np.nan), "optimizer.m is damaged"),
    "NaN in a square": (changed_numbers("optimizer.v", np.nan), "optimizer.v is damaged"),
    "infinite moment": (changed_numbers("optimizer.m", -np.inf), "expected finite numbers"),
    "infinite square": (changed_numbers("optimizer.v", np.inf), "optimizer.v is damaged"),
    "a monitor's count": (changed_monitor("seen", ""), "damaged: .TypeError"),
    "a monitor's interval": (changed_monitor("every", 0), "damaged: .*at least 1"),
    "a monitor's numbers": (changed_monitor("norms", ["a"]), "damaged: .ValueError"),
    "another decay": (changed_setting("weight_decay", 1e30), "optimizer is not that of the run"),
    "another eps": (changed_setting("eps", 1.0), "optimizer is not that of the run"),
    "another dropout": (changed_dropout, "model is not that of the run"),
    "negative square": (changed_numbers("optimizer.v", -1.0), "numbers of at least 0"),
    "NaN in a weight": (changed_numbers("W_hh", np.nan), "a parameter is not finite"),
    "infinite best weight": (changed_numbers("training.best", np.inf), "best weights is not"),
}


@pytest.mark.parametrize(("change", "message"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints(change: Callable[[Any, Any], None], message: str, tmp_path: Path) -> None:
    header, data = split(damage.whole("checkpoint", tmp_path))
    numbers = bytearray(data)
    change(header, numbers)
    path = tmp_path / "run"
    path.write_bytes(join(header, bytes(numbers)))
    before = path.read_bytes()
    model = damage._model()
    weights = model.parameters.flat.copy()
    with pytest.raises(ValueError, match=message) as caught:
        damage.resume(path, model)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (model.parameters.flat == weights).all()
    assert path.read_bytes() == before
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


HEAD = "@timeStamps true\n@univariate true\n@classLabel true a b\n@data\n"
ARFF = "@relation r\n@attribute u numeric\n@attribute v {a,b}\n@data\n"
LONG: dict[str, tuple[str, str]] = {
    "colons in a time": ("a.ts", HEAD + "(0," + ":" * 60_000 + "1),(1,2):a\n"),
    "colons without an end": ("a.ts", HEAD + "(0,1),(" + ":" * 60_000 + "\n"),
    "colons between times": ("a.ts", HEAD + "(0,1)" + ":" * 60_000 + "(1,2):a\n"),
    "blanks in a time": ("a.ts", HEAD + "(" + " " * 60_000 + "(0,1):a\n"),
    "blanks in a value": ("a.ts", HEAD + "(0," + " " * 60_000 + "(:a\n"),
    "blanks between times": ("a.ts", HEAD + "(0,1)" + " " * 60_000 + "(1,2):a\n"),
    "open times": ("a.ts", HEAD + "(" * 60_000 + ":a\n"),
    "blanks before a quote": ("a.arff", ARFF + "1," + " " * 60_000 + "'a\n"),
    "blanks behind a quote": ("a.arff", ARFF + "1,'a'" + " " * 60_000 + "b\n"),
    "quotes in a row": ("a.arff", ARFF + "1," + "'" * 60_001 + "\n"),
    "escapes": ("a.arff", ARFF + "1,'" + "\\" * 60_001 + "\n"),
    "blanks in a name": ("a.arff", "@relation r\n@attribute " + " " * 60_000 + "{\n"),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_line_is_refused_at_once(name: str, tmp_path: Path) -> None:
    """In time that grows with its length alone; with its square it would be minutes."""
    file, text = LONG[name]
    path = tmp_path / file
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}:"):
        datasets.read(path)
    assert time.process_time() - start < 1


METADATA: dict[str, Any] = {
    "task": ["regression"],
    "steps": 5,
    "loss": 3,
    "classes": ["a", 1],
    "feature_names": "f",
    "standardize": {"mean": ["a"], "scale": [1.0]},
    "settings": {"columns": {"features": 7}},
}


@pytest.mark.parametrize("key", METADATA)
def test_metadata_of_the_command_line(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastbptt.cli import main

    path = tmp_path / "m"
    path.write_bytes(damage.whole("model", tmp_path))
    model = fastbptt.load(path)
    model.metadata = {**model.metadata, key: METADATA[key]}
    model.save(path)
    (tmp_path / "a.csv").write_text("id,step,f\na,1,0.5\na,2,0.6\n")
    assert main(["predict", str(path), str(tmp_path / "a.csv")]) == 1
    assert str(path) in capsys.readouterr().err


class Thaw(fastbptt.Callback):
    """Frees a parameter after the first epoch."""

    def on_epoch_end(self, run: Any) -> None:
        run.model.unfreeze("W_xh")


def test_parameters_that_a_callback_has_freed_are_no_damage(tmp_path: Path) -> None:
    for epochs in (2, 3):
        model = damage._model()
        model.freeze("W_xh")
        history = fastbptt.fit(
            model,
            damage._X,
            damage._Y,
            epochs=epochs,
            verbose=0,
            checkpoint=tmp_path / "run",
            resume=True,
            callbacks=[Thaw()],
        )
    assert history.epoch == [1, 2, 3]
