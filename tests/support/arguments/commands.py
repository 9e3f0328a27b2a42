"""Entries of the command line: a small command, and for each option another value.

Positional arguments are named as in the parser; an option without a value has `FLAG`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from effects import BFLOAT16, Each, Entry, Refused, With, seen, untimed

import fastbptt
from fastbptt import cli, plot

from .benches import unmeasured

FLAG = object()
ABSENT = object()

# ---------------------------------------------------------------- files


def rows(count: int, names: str) -> Iterator[str]:
    """A table with sequences of 5 steps, which differ by their label."""
    rng = np.random.default_rng(0)
    for i in range(count):
        values = rng.normal(size=(5, 2)) + i % 2
        for t, (u, v) in enumerate(values.tolist()):
            cells = {"id": i, "step": t, "u": u, "v": v, "w": i, "back": 5 - t, "key": 90 - i}
            cells |= {"label": "pq"[i % 2], "size": i % 3, "flag": i % 2, "value": u}
            cells |= {"large": f"{abs(u) + 1:.3f}", "long": f"{abs(v) + 1:.3f}"}
            yield ",".join(str(cells[name]) for name in names.split(","))


def written(count: int = 16, names: str = "id,step,u,v,w,label", head: str = "") -> str:
    return "\n".join([head or names, *rows(count, names)]) + "\n"


OTHER = written(9)
RENAMED = written(9, head="name,time,u,v,w,kind")
TEXTS = {
    "data.csv": written(),
    "more.csv": written(16, "id,step,u,v,w,back,key,size,label"),
    "other.csv": OTHER,
    "renamed.csv": RENAMED,
    "bare.csv": written(9, "id,step,u,v,w"),
    "unknown.csv": written(9, "id,step,u,v,label"),
    "sized.csv": written(9, "id,step,u,v,size"),
    "holes.csv": re.sub(r"(?m)^(\d,2),[^,]*", r"\1,", OTHER),
    "gaps.csv": re.sub(r"(?m)^(\d,1,.*),[pq]$", r"\1,", OTHER),
    "ragged.csv": re.sub(r"(?m)^[0-7],[34],.*\n", "", written()),
    "a.tsf": "@attribute n string\n@data\n"
    + "".join(f"s{i}:{i},2,{i % 3},4,1\n" for i in range(9)),
    "labels.csv": "id,label\n" + "".join(f"{i},{'pq'[i % 2]}\n" for i in range(9)),
    "none.csv": written(9, "id,step,u,v,w,flag").partition("\n")[2],
    "odd.csv": OTHER.replace(",", "~"),
    "commas.csv": written(9, "id,step,large,long,w,label", "id,step,u,v,w,label")
    .replace(",", ";")
    .replace(".", ","),
    "flags.csv": written(9, "id,step,u,v,w,flag"),
    "wide.csv": "label,1,2,3\n" + "".join(f"{'pq'[i % 2]},{i},{i % 2},3\n" for i in range(9)),
    "value.csv": written(16, "id,step,value,label"),
    "audio.csv": written(16, "id,step,u,value"),
}
SMALL: dict[str, Any] = {"--hidden": "3", "--epochs": "2", "--batch": "4", "--cell": "rnn"}
#: models that other commands read, and how they are trained
MODELS: dict[str, dict[str, Any]] = {
    "m.st": {"data": "data.csv"},
    "n.st": {"data": "data.csv", "--seed": "1"},
    "sized.st": {"data": "sized.csv", "--target-column": "size"},
    "arrays.st": {"data": "arrays.npz"},
    "value.st": {"data": "value.csv"},
    "audio.st": {
        "data": "audio.csv",
        "--cell": "lstm",
        "--target-column": "value",
        "--steps": "all",
    },
    "series.st": {"data": "a.tsf", "--ahead": "1"},
    "each.st": {"data": "data.csv", "--steps": "all"},
}


def write_files() -> None:
    for name, text in TEXTS.items():
        Path(name).write_text(text)
    x = np.random.default_rng(0).normal(size=(16, 5, 3))
    np.savez("arrays.npz", x=x, y=np.arange(16) % 2)
    keras = {"x_train": x, "y_train": np.arange(16) % 2, "x_test": x[:8], "y_test": [0, 1] * 4}
    np.savez("keras.npz", **keras, z=np.arange(16) // 8)
    np.savez("words.npz", x=np.arange(80).reshape(16, 5) % 7, y=np.arange(16) % 2)


@cache
def trained(name: str) -> Path:
    """The file of a model; each is trained once."""
    place, before = Path(tempfile.mkdtemp()), Path.cwd()
    os.chdir(place)
    try:
        write_files()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = cli.main(["train", *words({**SMALL, **MODELS[name], "-o": name})])
    finally:
        os.chdir(before)
    assert code == 0, name
    return place / name


# ---------------------------------------------------------------- commands


def words(options: dict[str, Any]) -> list[str]:
    """Write arguments as the shell has them, positional ones first."""
    given = {name: value for name, value in options.items() if value is not ABSENT}
    first = [value for name, value in given.items() if name[0] != "-"]
    rest = [
        [name] if value is FLAG else [name, value]
        for name, value in given.items()
        if name[0] == "-"
    ]
    return [*first, *chain.from_iterable(rest)]


def report(*arguments: Any, **options: Any) -> None:
    """Stand for `fastbptt.report`, which has entries of its own."""
    Path(os.fspath(arguments[3])).write_text(repr(seen([arguments[1:3], options])))


def command(name: str, /, **options: Any) -> Any:
    """Run a command where the files are; an error is raised with its message."""
    write_files()
    if options.get("model") in MODELS:
        shutil.copy(trained(options["model"]), options["model"])
    if options.get("--checkpoint") == "begun.st":
        shutil.copy(begun(), "begun.st")
    few = {one: plot.PICTURES[one] for one in ("unrolled",)}
    examples = partial(plot.Examples, 1, 20)
    threads, errors = fastbptt.get_num_threads(), io.StringIO()
    with ExitStack() as stack:
        stack.callback(fastbptt.set_num_threads, threads)
        fastbptt.set_num_threads(2)  # whatever other tests left
        stack.enter_context(unmeasured())
        stack.enter_context(mock.patch.object(fastbptt, "report", report))
        stack.enter_context(mock.patch.dict(plot.PICTURES, few, clear=True))
        drawing = importlib.import_module("fastbptt.plot.gallery")
        stack.enter_context(mock.patch.object(drawing, "Examples", examples))
        stack.enter_context(contextlib.redirect_stderr(errors))
        try:
            code = cli.main([name, *words(options)])
        except SystemExit as error:
            code = error.code
        used = fastbptt.get_num_threads()
    if code:
        raise ValueError(errors.getvalue())
    return untimed(errors.getvalue()), used


@cache
def begun() -> Path:
    """A checkpoint after the last epoch."""
    place, before = Path(tempfile.mkdtemp()), Path.cwd()
    os.chdir(place)
    try:
        write_files()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert cli.main(["train", *words({**TRAIN, "--checkpoint": "begun.st"})]) == 0
    finally:
        os.chdir(before)
    return place / "begun.st"


AUDIO: dict[str, Any] = {"model": "audio.st", "--raw": FLAG}
NETWORK: dict[str, Any] = {"out": "m.onnx", "--raw": FLAG}
TRAIN: dict[str, Any] = {"data": "data.csv", **SMALL, "--output": "m.st"}
COMMON: dict[str, Any] = {
    "--threads": "1",
    "--json": FLAG,
}
OF_FORMATS: dict[str, Any] = {
    "--labels": With("labels.csv", {"data": "bare.csv"}),
    "--delimiter": With("~", {"data": "odd.csv"}),
    "--decimal": With(",", {"data": "commas.csv"}),
    "--missing": With("interpolate", {"data": "holes.csv"}),
}
NO_HEADER: dict[str, Any] = {"--id-column": "1", "--step-column": "2"}
RENAMES: dict[str, Any] = {"data": "renamed.csv", "--id-column": "name", "--step-column": "time"}
RENAMES["--label-column"] = "kind"
ARRAYS: dict[str, Any] = {"model": "arrays.st", "data": "flags.csv", "--label-column": "flag"}
KERAS: dict[str, Any] = {"data": "keras.npz", "--x-array": "x_train"}
OF_NEW_DATA: dict[str, Any] = {
    **COMMON,
    **OF_FORMATS,
    "data": "data.csv",
    "model": "n.st",
    "--id-column": With("name", {**RENAMES, "--id-column": ABSENT}),
    "--step-column": With("time", {**RENAMES, "--step-column": ABSENT}),
    "--label-column": With("kind", {**RENAMES, "--label-column": ABSENT}),
    "--target-column": With("w", {"model": "sized.st", "data": "other.csv"}),
    "--feature-columns": Each(
        With("w,v,u", {**ARRAYS, "--feature-columns": "u,v,w"}),
        Refused("u,v,w", "--feature-columns has no effect"),
    ),
    "--exclude-columns": Refused("u", "--exclude-columns has no effect"),
    "--category-columns": Refused("u", "--category-columns has no effect"),
    "--unlabelled": Refused("drop", "--unlabelled is for training"),
    "--ahead": With("2", {"model": "series.st", "data": "a.tsf"}),
    "--weight-column": With("size", {"data": "more.csv"}),
    "--x-array": With("x_train", {"model": "arrays.st", "data": "keras.npz"}),
    "--y-array": With("z", {"model": "arrays.st", **KERAS}),
    "--layout": With("wide", {"model": "value.st", "data": "wide.csv"}),
    "--header": With(
        "none", {"model": "arrays.st", "data": "none.csv", **NO_HEADER, "--label-column": "6"}
    ),
}
WORDS: dict[str, Any] = {"data": "words.npz", "--embedding": "4"}
BARE: dict[str, Any] = {"data": "bare.csv"}
COMMANDS: dict[str, Entry] = {
    "fastbptt train": Entry(
        partial(command, "train"),
        TRAIN,
        {
            **COMMON,
            **OF_FORMATS,
            "data": "other.csv",
            "--id-column": With("key", {"data": "more.csv"}),
            "--step-column": With("back", {"data": "more.csv"}),
            "--label-column": With("size", {"data": "more.csv"}),
            "--target-column": "w",
            "--feature-columns": "v",
            "--exclude-columns": "v",
            "--category-columns": "w",
            "--unlabelled": With("drop", {"data": "gaps.csv", "--steps": "all"}),
            "--missing": Each(
                With("interpolate", {"data": "holes.csv"}),
                With("mask", {"data": "holes.csv"}),
                With("mask", {"data": "gaps.csv", "--steps": "all"}),
            ),
            "--weight-column": With("size", {"data": "more.csv"}),
            "--layout": With("wide", {"data": "wide.csv"}),
            "--header": With("none", {"data": "none.csv", **NO_HEADER, "--label-column": "6"}),
            "--steps": Each("all", "mean", "max"),
            "--ahead": With("1", {"data": "a.tsf"}),
            "--x-array": With("x_train", {"data": "keras.npz"}),
            "--y-array": With("z", KERAS),
            "--test-x-array": With("x_test", {**KERAS, "--test": "keras.npz"}),
            "--no-standardize": Each(FLAG, Refused(FLAG, "--no-standardize is for numbers", WORDS)),
            "--output": "n.st",
            "--history": "h.csv",
            "--report": "r.html",
            "--checkpoint": "c.st",
            "--resume": Each(
                With(FLAG, {"--checkpoint": "begun.st"}),
                Refused(FLAG, "--resume needs a checkpoint"),
            ),
            "--quiet": FLAG,
            "--cell": "gru",
            "--hidden": "4",
            "--layers": "2",
            "--bidirectional": FLAG,
            "--embedding": With("4", {"data": "words.npz"}),
            "--dropout": With("0.5", {"--layers": "2"}),
            "--init": "torch",
            "--dtype": "float64",
            "--precision": BFLOAT16,
            "--epochs": "3",
            "--batch": "5",
            "--optimizer": "sgd",
            "--loss": With("huber", {"--target-column": "w", "--feature-columns": "u,v"}),
            "--lr": "0.1",
            "--schedule": "constant",
            "--clip-norm": "0.001",
            "--patience": With("1", {"--validation": "0.25", "--epochs": "60", "--lr": "1"}),
            "--noise": "0.5",
            "--metrics": "balanced_accuracy",
            "--class-weight": With("balanced", {"data": "other.csv"}),
            "--bucket": With(FLAG, {"data": "ragged.csv"}),
            "--seed": "1",
            "--validation": "0.5",
            "--validation-data": "other.csv",
            "--test": "other.csv",
        },
    ),
    "fastbptt predict": Entry(
        partial(command, "predict"),
        {"model": "m.st", "data": "other.csv"},
        {
            **OF_NEW_DATA,
            "--output": "p.csv",
            "--probabilities": FLAG,
            "--no-labels": Each(
                FLAG,
                Refused(FLAG, "--label-column has no effect", {"--label-column": "label"}),
                Refused(FLAG, "--target-column has no effect", {"--target-column": "w"}),
                Refused(FLAG, "--labels has no effect", {"--labels": "labels.csv"}),
                Refused(FLAG, "--weight-column has no effect", {"--weight-column": "w"}),
            ),
            "--steps": Each(
                "all",
                Refused("all", "--label-column has no effect", {"--label-column": "label"}),
                Refused("all", "--labels has no effect", {**BARE, "--labels": "labels.csv"}),
            ),
        },
    ),
    "fastbptt report": Entry(
        partial(command, "report"),
        {"model": "m.st", "data": "other.csv", "--output": "q.html"},
        {
            **OF_NEW_DATA,
            "--output": "p.html",
            "--weight-column": Refused("size", "--weight-column has no effect on a report"),
        },
    ),
    "fastbptt export": Entry(
        partial(command, "export"),
        {"model": "m.st", "out": "m.c"},
        {
            **COMMON,
            "model": "n.st",
            "out": "n.c",
            "--raw": FLAG,
            "--name": "other",
            "--weights": "int8",
            "--dtype": "float64",
            "--data": Each(
                With("other.csv", {"--weights": "int8"}),
                Refused("other.csv", "--data is given, but not --weights"),
            ),
            "--sample-rate": With("48000", {"out": "m.nam", **AUDIO}),
            "--skip": With(FLAG, {"out": "m.json", **AUDIO}),
            "--form": With("torch", {"out": "m.json", **AUDIO}),
            "--steps": With("all", NETWORK),
            "--activation": With("sigmoid", NETWORK),
            "--lengths": With(FLAG, NETWORK),
            "--states": With(FLAG, NETWORK),
            "--single-step": With(FLAG, NETWORK),
            "--opset": With("18", NETWORK),
        },
    ),
    "fastbptt info": Entry(partial(command, "info"), {}, {**COMMON, "model": "m.st"}),
    "fastbptt demo": Entry(
        partial(command, "demo"),
        {"--hidden": "3", "--epochs": "1", "--batch": "64", "--json": FLAG},
        {
            "--threads": COMMON["--threads"],
            "--json": With(FLAG, {"--json": ABSENT}),
            "--seed": "1",
            "--hidden": "4",
            "--epochs": "2",
            "--batch": "63",
            "--lr": "0.1",
        },
    ),
    "fastbptt gallery": Entry(
        partial(command, "gallery"),
        {"--output": "a"},
        {**COMMON, "--output": "b", "--format": "svg"},
    ),
    "fastbptt bench": Entry(
        partial(command, "bench"),
        {"--preset": "tutorial", "--time": "4", "--hidden": "8", "--json": FLAG},
        {
            "--threads": COMMON["--threads"],
            "--json": With(FLAG, {"--json": ABSENT}),
            "--preset": "small",
            "--batch": "6",
            "--time": "5",
            "--input": "33",
            "--hidden": "9",
            "--output-size": "2",
            "--layers": "2",
            "--bidirectional": FLAG,
            "--cell": "gru",
            "--loss": "mse",
            "--steps": "all",
            "--lengths": "uniform",
            "--dtype": "float64",
            "--precision": BFLOAT16,
            "--pass": Each("forward", Refused("forward", "--loss: not allowed", {"--loss": "mse"})),
            "--seed": "1",
            "--against": "recording",
            "--rounds": "2",
            "--seconds": Each(
                "0.001", Refused("1", "not allowed with argument --rounds", {"--rounds": "2"})
            ),
            "--output": Each(
                With("csv", {"--json": ABSENT}), Refused("csv", "not allowed with argument --json")
            ),
            "--plot": "p.png",
        },
    ),
}
