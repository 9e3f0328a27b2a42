"""Saved models come back bit for bit, and no damaged, foreign or hostile file gets through."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import stat
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import Header, join, split

import fastbptt


@pytest.fixture
def model() -> fastbptt.RNN:
    return fastbptt.RNN(2, 3, 1, seed=5)


@pytest.fixture
def path(model: fastbptt.RNN, tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    model.save(file)
    return file


def refused(path: Path, content: bytes | None = None) -> str:
    """Return the message with which the file, or one of these bytes, is refused."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot load") as caught:
        fastbptt.load(path)
    message = str(caught.value)
    assert repr(str(path)) in message
    assert "expected" in message
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    return message


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output_size", [None, 1, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_same_bits_and_arguments(
    tmp_path: Path, dtype: str, output_size: int | None, bias: bool
) -> None:
    model = fastbptt.RNN(3, 5, output_size, bias=bias, dtype=dtype, init="keras", seed=1)
    model.save(tmp_path / "a")
    loaded = fastbptt.load(tmp_path / "a")
    assert type(loaded) is type(model)
    assert (loaded.input_size, loaded.hidden_size, loaded.output_size) == (3, 5, output_size)
    assert loaded.bias == bias
    assert loaded.dtype == np.dtype(dtype)
    assert list(loaded.parameters) == list(model.parameters)
    for name, value in model.parameters.items():
        assert loaded.parameters[name].tobytes() == value.tobytes()
    loaded.save(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_values_without_a_number_survive(model: fastbptt.RNN, tmp_path: Path) -> None:
    special = [np.nan, np.inf, -np.inf, -0.0, 1e-45, np.finfo(np.float32).max]
    model.parameters["W_xh"][...] = np.reshape(special, (2, 3))
    model.save(tmp_path / "model")
    loaded = fastbptt.load(tmp_path / "model")
    assert loaded.parameters["W_xh"].tobytes() == model.parameters["W_xh"].tobytes()


def test_loaded_model_trains_on(path: Path, model: fastbptt.RNN) -> None:
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 4, 2)
    y = np.array([0.0, 1.0, 1.0])
    runs = []
    for each in (model, fastbptt.load(path)):
        optimizer = fastbptt.Adam()
        runs.append([each.train_step(x, y, optimizer) for _ in range(3)])
    assert runs[0] == runs[1]


def test_safetensors_package_reads_it(path: Path, model: fastbptt.RNN) -> None:
    arrays = safetensors.numpy.load_file(path)
    assert arrays.keys() == model.parameters.keys()
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(arrays[name], value, strict=True)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "fastbptt"
    assert metadata["cell"] == "rnn"
    assert json.loads(metadata["arguments"])["hidden_size"] == 3


def test_file_is_as_documented(path: Path, model: fastbptt.RNN) -> None:
    content = path.read_bytes()
    header, data = split(content)
    assert (len(content) - len(data)) % 8 == 0
    metadata = header["__metadata__"]
    assert list(metadata) == [
        "format",
        "format_version",
        "sha256",
        "cell",
        "dtype",
        "arguments",
        "dropout_seeds",
        "frozen",
        "trained_steps",
        "written_by",
        "metadata",
    ]
    assert metadata["format_version"] == "6"
    assert (metadata["cell"], metadata["dtype"]) == ("rnn", "float32")
    assert json.loads(metadata["arguments"]) == {
        "input_size": 2,
        "hidden_size": 3,
        "output_size": 1,
        "alpha": None,
        "learn_alpha": False,
        "num_layers": 1,
        "bidirectional": False,
        "bias": True,
        "output_bias": None,
        "readout_units": None,
        "rank": None,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "zoneout": 0.0,
        "input_noise": 0.0,
        "recurrent_noise": 0.0,
        "noise_scaling": None,
        "learn_initial_state": False,
        "static_size": None,
        "embedding": None,
        "padding_index": None,
        "freeze_embedding": False,
        "precision": "float32",
    }
    assert json.loads(metadata["dropout_seeds"]) == list(model._dropout_seeds.state)
    assert json.loads(metadata["frozen"]) == []
    assert metadata["trained_steps"] == "last"
    assert metadata["written_by"] == fastbptt.__version__
    blank = content.replace(metadata["sha256"].encode(), b"0" * 64)
    assert metadata["sha256"] == hashlib.sha256(blank).hexdigest()
    end = 0
    for name, value in model.parameters.items():
        first, end = header[name]["data_offsets"]
        assert data[first:end] == value.astype("<f4").tobytes()
    assert end == len(data)
    path.write_bytes(join(header, data))
    fastbptt.load(path)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model"
    fastbptt.RNN(1, 1, 1, seed=0).save(path)
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(path.read_bytes()):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                refused(path)
            os.pwrite(file.fileno(), bytes([byte]), position)
    fastbptt.load(path)


def test_every_truncation_is_noticed(path: Path) -> None:
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        refused(path)


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"x" * 100])
def test_trailing_bytes_are_noticed(path: Path, tail: bytes) -> None:
    assert f"{len(path.read_bytes() + tail)} bytes" in refused(path, path.read_bytes() + tail)


def test_swapped_parameters_are_noticed(path: Path) -> None:
    header, data = split(path.read_bytes())
    content = path.read_bytes()[: -len(data)] + data[4:8] + data[:4] + data[8:]
    assert header["W_xh"]["data_offsets"][0] == 0
    assert "damaged" in refused(path, content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\0" * 100,
        b"\xff" * 100,
        b"#!/bin/sh\necho hello\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        pickle.dumps({"W_xh": [1.0]}),
        safetensors.numpy.save({"W_xh": np.zeros((2, 3), np.float32)}),
        safetensors.numpy.save({"W_xh": np.zeros((2, 3), np.float32)}, metadata={"format": "pt"}),
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (3).to_bytes(8, "little") + b"\xff\xfe\xfd",
        (900_000).to_bytes(8, "little") + b"[" * 900_000,
        (900_006).to_bytes(8, "little") + b'{"a":' + b"9" * 900_000 + b"}",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_foreign_file(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path / "foreign", content)


def metadata(key: str, value: object) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        header["__metadata__"][key] = value

    return change


def argument(key: str, value: object) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        arguments = json.loads(header["__metadata__"]["arguments"])
        header["__metadata__"]["arguments"] = json.dumps({**arguments, key: value})

    return change


def entry(name: str, key: str, value: object) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        header[name][key] = value

    return change


def without(name: str) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        del header[name]

    return change


def with_another(header: Header) -> None:
    header["W_xx"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (metadata("format_version", "1"), "format version '1'"),
        (metadata("format_version", "2"), "format version '2'"),
        (metadata("format_version", "3"), "format version '3'"),
        (metadata("format_version", "4"), "format version '4'"),
        (metadata("format_version", "5"), "format version '5'"),
        (metadata("format_version", 1), "format version 1"),
        (metadata("format", "other"), "without fastbptt's metadata"),
        (metadata("cell", "perceptron"), "'perceptron'"),
        (metadata("cell", None), "cell is None"),
        (metadata("cell", ["rnn"]), "cell is"),
        (metadata("arguments", "3"), "arguments is '3'"),
        (metadata("arguments", "{"), "arguments is '{'"),
        (metadata("arguments", {}), "arguments is {}"),
        (metadata("arguments", "{}"), "unusable arguments"),
        (metadata("cell", "lstm"), "W_xh is"),
        (metadata("cell", "leaky"), "unusable arguments"),
        (metadata("dtype", "float16"), "dtype is 'float16'"),
        (metadata("dtype", ["float32"]), "dtype is"),
        (metadata("dtype", "float64"), "W_xh is"),
        (metadata("dropout_seeds", "7"), "dropout_seeds is '7'"),
        (metadata("dropout_seeds", "[7]"), "dropout_seeds is [7]"),
        (metadata("dropout_seeds", "[7, -1]"), "dropout_seeds is [7, -1]"),
        (metadata("dropout_seeds", "[7.0, 1]"), "dropout_seeds is [7.0, 1]"),
        (metadata("dropout_seeds", "[true, 1]"), "dropout_seeds is [True, 1]"),
        (metadata("dropout_seeds", f"[{2**64}, 1]"), "dropout_seeds is"),
        (metadata("dropout_seeds", None), "dropout_seeds is None"),
        (metadata("frozen", "7"), "frozen is '7'"),
        (metadata("frozen", '["W_xx"]'), "frozen is ['W_xx']"),
        (metadata("frozen", "[[]]"), "frozen is [[]]"),
        (metadata("frozen", None), "frozen is None"),
        (argument("hidden_size", 4), "W_xh is"),
        (argument("hidden_size", 0), "unusable arguments"),
        (argument("hidden_size", -3), "unusable arguments"),
        (argument("hidden_size", 2**31), "larger than the file"),
        (argument("hidden_size", 2**62), "larger than the file"),
        (argument("hidden_size", 2**80), "larger than the file"),
        (argument("hidden_size", 3.5), "unusable arguments"),
        (argument("hidden_size", "3"), "unusable arguments"),
        (argument("hidden_size", None), "unusable arguments"),
        (argument("hidden_size", True), "unusable arguments"),
        (argument("input_size", -2), "unusable arguments"),
        (argument("output_size", "1"), "unusable arguments"),
        (argument("output_size", 0), "unusable arguments"),
        (argument("output_size", None), "arrays"),
        (argument("bias", False), "arrays"),
        (argument("output_bias", False), "arrays"),
        (argument("output_bias", 1), "unusable arguments"),
        (argument("readout_units", [0, 2]), "W_hy is"),
        (argument("readout_units", [2, 0]), "unusable arguments"),
        (argument("readout_units", 2), "unusable arguments"),
        (argument("rank", 2), "arrays"),
        (argument("rank", 99), "unusable arguments"),
        (argument("colour", "red"), "unusable arguments"),
        (argument("alpha", 0.5), "unusable arguments"),
        (argument("num_layers", 2), "arrays"),
        (argument("num_layers", 0), "unusable arguments"),
        (argument("num_layers", 2**40), "larger than the file"),
        (argument("num_layers", None), "unusable arguments"),
        (argument("num_layers", "2"), "unusable arguments"),
        (argument("bidirectional", True), "arrays"),
        (argument("bidirectional", 1), "unusable arguments"),
        (argument("dropout", 1.0), "unusable arguments"),
        (argument("dropout", float("nan")), "unusable arguments"),
        (argument("dropout", None), "unusable arguments"),
        (argument("learn_initial_state", True), "arrays"),
        (argument("static_size", 2), "arrays"),
        (argument("static_size", 0), "unusable arguments"),
        (argument("static_size", 2**40), "larger than the file"),
        (argument("embedding", 5), "arrays"),
        (argument("embedding", 0), "unusable arguments"),
        (argument("embedding", 2**40), "larger than the file"),
        (argument("embedding", [[1.0, 2.0]]), "unusable arguments"),
        (argument("padding_index", 0), "unusable arguments"),
        (argument("freeze_embedding", True), "unusable arguments"),
        (entry("W_xh", "shape", [3, 2]), "W_xh is"),
        (entry("W_xh", "shape", [2, 2**40]), "W_xh is"),
        (entry("W_xh", "dtype", "F64"), "W_xh is"),
        (entry("W_hh", "data_offsets", [0, 36]), "W_hh is"),
        (entry("W_hh", "data_offsets", [24, 2**60]), "W_hh is"),
        (without("b_y"), "arrays"),
        (with_another, "arrays"),
    ],
)
def test_wrong_content_with_the_right_digest(
    path: Path, change: Callable[[Header], None], found: str
) -> None:
    header, data = split(path.read_bytes())
    change(header)
    assert found in refused(path, join(header, data))


def test_digest_must_stand_in_the_file_once(path: Path) -> None:
    header, data = split(path.read_bytes())
    header["__metadata__"]["again"] = header["__metadata__"]["sha256"]
    text = json.dumps(header).encode()
    assert "once" in refused(path, len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("length", [1 << 20, (1 << 20) + 1, 1 << 32, 1 << 62, (1 << 64) - 1])
def test_claimed_header_length_is_not_believed(tmp_path: Path, length: int) -> None:
    tracemalloc.start()
    refused(tmp_path / "hostile", length.to_bytes(8, "little") + b'{"a": 1}' + bytes(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_claimed_sizes_are_not_believed(path: Path) -> None:
    header, data = split(path.read_bytes())
    size = 1 << 20
    argument("hidden_size", size)(header)
    shapes = {"W_xh": [2, size], "W_hh": [size, size], "b_h": [size], "W_hy": [size, 1], "b_y": [1]}
    end = 0
    for name, shape in shapes.items():
        first, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [first, end]}
    tracemalloc.start()
    message = refused(path, join(header, data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "larger than the file" in message
    assert peak < 1 << 20


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_is_refused(path: Path, data: st.DataObject) -> None:
    if not hasattr(test_any_change_is_refused, "content"):
        test_any_change_is_refused.content = path.read_bytes()  # type: ignore[attr-defined]
    content: bytes = test_any_change_is_refused.content  # type: ignore[attr-defined]
    first = data.draw(st.integers(0, len(content)))
    last = data.draw(st.integers(first, len(content)))
    changed = content[:first] + data.draw(st.binary(max_size=40)) + content[last:]
    if changed != content:
        refused(path, changed)


def test_a_full_disk_is_said_of_the_file_that_was_meant(
    path: Path, model: fastbptt.RNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        model.save(path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == os.path.realpath(path)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failure_leaves_the_old_file(
    path: Path,
    model: fastbptt.RNN,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    error: BaseException,
) -> None:
    before = path.read_bytes()
    model.parameters["W_xh"][...] = 7

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_new_file_is_flushed_before_it_is_renamed(
    path: Path, model: fastbptt.RNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def call(*arguments: Any, name: str = name, original: Any = original) -> None:
            calls.append(name)
            original(*arguments)

        monkeypatch.setattr(os, name, call)
    model.save(path)
    assert calls == ["fsync", "replace", "fsync"]  # the file, then its name in the directory
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(
    tmp_path: Path, model: fastbptt.RNN, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == mode


@pytest.mark.skipif(sys.platform == "win32", reason="links need privileges")
def test_a_symbolic_link_stays_one(path: Path, model: fastbptt.RNN) -> None:
    (path.parent / "elsewhere").mkdir()
    link = path.parent / "elsewhere" / "link"
    link.symlink_to(path)
    model.parameters["b_h"][...] = 3
    model.save(link)
    assert link.is_symlink()
    assert not path.is_symlink()
    assert (fastbptt.load(path).parameters["b_h"] == 3).all()


def test_places_that_cannot_be_written_or_read(
    tmp_path: Path, model: fastbptt.RNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory"):
        model.save(tmp_path / "missing" / "model")
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        model.save(tmp_path / "directory")
    assert os.listdir(tmp_path) == ["directory"]
    with pytest.raises(FileNotFoundError):
        fastbptt.load(tmp_path / "missing")
    with pytest.raises(OSError, match="directory"):
        fastbptt.load(tmp_path / "directory")
    with pytest.raises(TypeError):
        fastbptt.load(3.5)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    model.save("here")
    assert fastbptt.load("here").hidden_size == 3
    assert fastbptt.load(b"here").hidden_size == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [1, 2, None, 3.5, True])
def test_a_path_is_text(path: Any, model: fastbptt.RNN) -> None:
    with pytest.raises(TypeError, match=r"^path is of type \w+; expected str or os.PathLike$"):
        fastbptt.load(path)
    with pytest.raises(TypeError, match="path"):
        model.save(path)
    print("the standard output is still open", flush=True)


def test_metadata_that_look_like_an_empty_digest(tmp_path: Path) -> None:
    model = fastbptt.RNN(2, 3, 1, seed=0)
    model.metadata["zeros"] = "0" * 64
    model.save(tmp_path / "model")
    assert fastbptt.load(tmp_path / "model").metadata == {"zeros": "0" * 64}
