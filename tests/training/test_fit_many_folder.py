"""`fit_many` and its folder: whose checkpoints are in it, what a hung function leaves behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training import code

RNG = np.random.default_rng(13)
X = RNG.normal(size=(12, 6, 3))
Y = (X[:, :, 0].sum(axis=1) > 0).astype(int)
FIXED: dict[str, Any] = {"epochs": 4, "batch_size": 4, "verbose": 0}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and special files of POSIX")


def make(k: int) -> fastbptt.Recurrent:
    return fastbptt.RNN(3, 2, 1, seed=k)


class StopError(Exception):
    """Ends a run in the middle."""


class Stops(fastbptt.Callback):
    """Raises in a chosen call, of a chosen epoch on; of no call in a resumed run."""

    def __init__(self, call: str, error: type[BaseException] = StopError, epoch: int = 0) -> None:
        def stop(run: Any) -> None:
            if run.epoch >= epoch:
                raise error

        if call:
            setattr(self, call, stop)


class StopsTogether(Stops):
    """Raises after the second epoch, once all models are there: each has its checkpoint then."""

    def __init__(self, all_here: threading.Barrier | None) -> None:
        super().__init__("")
        self.all_here = all_here

    def on_epoch_end(self, run: Any) -> None:
        if self.all_here is not None and run.epoch == 2:
            self.all_here.wait(30)
            raise StopError


def begun(folder: Path, count: int = 2, **options: Any) -> None:
    """Leave a folder with a checkpoint of each of `count` models after an epoch."""
    all_here = threading.Barrier(count)
    with pytest.raises(RuntimeError, match="StopError"):
        fastbptt.fit_many(
            make, X, options.pop("y", Y), count=count, checkpoint=folder, checkpoint_every="epoch",
            each={"callbacks": [[StopsTogether(all_here)] for _ in range(count)],
                  **options.pop("each", {})},
            jobs=count, **FIXED | options,
        )  # fmt: skip
    for k in range(count):
        assert (folder / f"model-{k}.safetensors").exists()


def resumed(folder: Path, count: int = 2, **options: Any) -> Any:
    each = {"callbacks": [[StopsTogether(None)] for _ in range(count)], **options.pop("each", {})}
    return fastbptt.fit_many(
        make, X, options.pop("y", Y), count=count, checkpoint=folder, checkpoint_every="epoch",
        resume=True, each=each, **FIXED | options,
    )  # fmt: skip


def exchanged(one: Path, other: Path) -> None:
    kept = one.with_suffix(".kept")
    shutil.move(one, kept)
    shutil.move(other, one)
    shutil.move(kept, other)


@pytest.mark.parametrize(
    "each",
    [
        {"class_weight": [{0: 1.0, 1: 4.0}, {0: 4.0, 1: 1.0}]},
        {"validation": [(X[:4], Y[:4]), (X[4:8], Y[4:8])]},
        {"y": [Y, 1 - Y]},
        {"seed": [0, 0]},
    ],
    ids=lambda each: next(iter(each)),
)
def test_a_checkpoint_of_another_model_is_refused(
    tmp_path: Path, each: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights, arguments and shapes may be the same; its data need not be."""
    monkeypatch.setattr(sys.modules[__name__], "make", lambda k: fastbptt.RNN(3, 2, 1, seed=0))
    own = {"y": None} if "y" in each else {}
    begun(tmp_path / "run", each=each, **own)
    exchanged(*(tmp_path / "run" / f"model-{k}.safetensors" for k in (0, 1)))
    with pytest.raises(ValueError, match="it is of another model or another run of fit_many"):
        resumed(tmp_path / "run", each=each, **own)
    exchanged(*(tmp_path / "run" / f"model-{k}.safetensors" for k in (0, 1)))
    fits, fresh = (
        resumed(tmp_path / "run", each=each, **own), resumed(tmp_path / "new", each=each, **own)
    )  # fmt: skip
    for one, other in zip(fits, fresh, strict=True):
        np.testing.assert_array_equal(one.model._weights.get(), other.model._weights.get())


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "a", count=1)
    begun(tmp_path / "b", count=1, y=1 - Y)
    name = "model-0.safetensors"
    shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
    with pytest.raises(ValueError, match="it is of another model or another run of fit_many"):
        resumed(tmp_path / "a", count=1)


def test_checkpoints_of_fit_and_of_fit_many_are_not_each_others(tmp_path: Path) -> None:
    begun(tmp_path / "run", count=1)
    path = tmp_path / "run" / "model-0.safetensors"
    with pytest.raises(ValueError, match="it is of a model of fit_many"):
        fastbptt.fit(make(0), X, Y, resume=path, **FIXED)
    fastbptt.fit(make(0), X, Y, checkpoint=path, checkpoint_every="epoch", **FIXED)
    with pytest.raises(ValueError, match="it is of one model alone;"):
        resumed(tmp_path / "run", count=1)


HUNG = """
    import os, sys, threading, time, numpy as np, fastbptt
    folder, count = sys.argv[1], int(sys.argv[2])
    x = np.random.default_rng(0).normal(size=(12, 6, 3))
    y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    hangs, ends = threading.Event(), threading.Event()
    class Hangs(fastbptt.Callback):
        def on_epoch_end(self, run):
            if len(sys.argv) > 3 and not hangs.is_set() and run.epoch == 3:
                hangs.set()
                ends.wait(60)
    def run():
        callbacks = [[Hangs()], *[[]] * (count - 1)]
        return fastbptt.fit_many(
            lambda k: fastbptt.RNN(3, 2, 1, seed=k), x, y, count=count, checkpoint=folder,
            checkpoint_every="epoch", resume=True, jobs=1, epochs=5, verbose=0, batch_size=4,
            each={"callbacks": callbacks},
        )
    def press():
        hangs.wait(30)
        for pause in (0.2, 0.2, 3.3):
            time.sleep(pause)
            os.kill(os.getpid(), 2)
    if len(sys.argv) > 3:
        threading.Thread(target=press, daemon=True).start()
        try:
            run()
        except KeyboardInterrupt:
            print("left", flush=True)
        before = sorted(os.listdir(folder))
        again = run()
        between = sorted(os.listdir(folder))
        ends.set()
        time.sleep(0.5)
        assert sorted(os.listdir(folder)) == between == ["models.fastbptt", "run.json"], between
        print("model-0.safetensors" in before, "run.json" in before)
    else:
        again = run()
    print([float(one.history["loss"][-1]) for one in again])
"""


@POSIX
@pytest.mark.parametrize("count", [1, 9])
def test_what_a_hung_function_leaves_behind_resumes(tmp_path: Path, count: int) -> None:
    """The third Ctrl-C gives its thread up: the folder stays, and the thread never writes again."""
    done = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HUNG), str(tmp_path / name), str(count), *more],
            capture_output=True, text=True, timeout=90, check=False,
        )
        for name, *more in (("hung", "hangs"), ("plain",))
    ]  # fmt: skip
    assert not any(one.returncode for one in done), done
    assert done[0].stdout.splitlines() == ["left", "True True", done[1].stdout.strip()]


def test_a_function_that_waits_for_another_model(tmp_path: Path) -> None:
    """Models that share the vectors of a processor do not wait for one whose function does."""
    over, came = threading.Event(), []

    class Waits(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            if run.epoch == 1:
                came.append(over.wait(30))

    class Slow(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            time.sleep(0.01)  # so that none ends before the others begin

    class Says(Slow):
        def on_train_end(self, run: Any) -> None:
            over.set()

    callbacks: list[list[fastbptt.Callback]] = [[Slow()] for _ in range(8)]
    callbacks[3], callbacks[1] = [Waits()], [Says()]
    fits = fastbptt.fit_many(
        make, X, Y, count=8, each={"callbacks": callbacks}, jobs=1, **FIXED | {"epochs": 9}
    )
    assert came == [True]
    for k, one in enumerate(fits):
        alone = make(k)
        fastbptt.fit(alone, X, Y, **FIXED | {"epochs": 9})
        assert one.model is not None
        np.testing.assert_array_equal(one.model._weights.get(), alone._weights.get())


CALLS = [name for name in dir(fastbptt.Callback) if name.startswith("on_")]


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_in_a_callback_leaves_the_results(tmp_path: Path, call: str) -> None:
    def several(last: list[fastbptt.Callback]) -> Any:
        return fastbptt.fit_many(
            make, X, Y, count=3, each={"callbacks": [[], [], last]}, jobs=1, resume=True,
            checkpoint=tmp_path / "run", **FIXED,
        )  # fmt: skip

    fits = several([Stops(call, KeyboardInterrupt)])
    assert fits.stopped == "interrupted"
    again = several([Stops("")])
    assert again.stopped == "finished"
    for k, one in enumerate(again):
        alone = make(k)
        fastbptt.fit(alone, X, Y, **FIXED)
        np.testing.assert_array_equal(one.model._weights.get(), alone._weights.get())


# ---------------------------------------------------------------- what functions hold


def scaled(by: Any) -> Callable[[Any, Any], Any]:
    return lambda a, rng: a * by


def with_default(by: Any) -> Callable[[Any, Any], Any]:
    def scale(a: Any, rng: Any, factor: Any = by) -> Any:
        return a * factor

    return scale


class WithSlots:
    __slots__ = ("__own", "by")

    def __init__(self, by: Any) -> None:
        self.by = self.__own = by

    def __call__(self, a: Any, rng: Any) -> Any:
        return a * self.__own


NUMBERS = [bool, int, float, np.bool_, np.int8, np.int64, np.uint16, np.float16, np.float32,
           np.float64, np.longdouble, np.complex64, np.str_, np.datetime64]  # fmt: skip


@pytest.mark.parametrize("hold", [scaled, with_default, WithSlots])
@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_that_a_function_holds_is_seen(hold: Any, number: Any) -> None:
    one, same, other = (
        number(*((value, "D") if number is np.datetime64 else (value,))) for value in (0, 0, 1)
    )
    assert code.described(hold(one)) == code.described(hold(same))
    assert code.described(hold(one)) != code.described(hold(other))


def test_a_run_with_another_number_in_a_function_is_refused(tmp_path: Path) -> None:
    def several(by: Any) -> Any:
        return fastbptt.fit_many(
            make, X, Y, count=2, augment=scaled(by), checkpoint=tmp_path / "run", resume=True,
            **FIXED,
        )  # fmt: skip

    several(np.float32(2))
    several(np.float32(2))
    with pytest.raises(ValueError, match="augment"):
        several(np.float32(0))


# ---------------------------------------------------------------- arguments


def test_a_series_of_models_is_taken_by_position() -> None:
    pandas = pytest.importorskip("pandas")
    models = [make(k) for k in range(3)]
    for index in ([2, 1, 0], [5, 6, 7], list("abc")):
        fits = fastbptt.fit_many(pandas.Series(models, index=index), X, Y, **FIXED)
        assert [one.model for one in fits] == models


def test_masked_rows_are_refused() -> None:
    rows = np.ma.masked_array([0, 1, 2], mask=[True, False, False])
    for name, more in (("rows", {}), ("validation_rows", {"rows": [[3, 4], [4, 5]]})):
        with pytest.raises(ValueError, match=rf"{name}\[1\] has masked numbers"):
            fastbptt.fit_many(make, X, Y, count=2, **{name: [[0, 1], rows]}, **more, **FIXED)
    plain = np.ma.masked_array([0, 1, 2], mask=False)
    fastbptt.fit_many(make, X, Y, count=1, rows=[plain], **FIXED)


LONG = 10**5000  # Python refuses to write it


def test_integers_that_python_does_not_write(tmp_path: Path) -> None:
    for name, value in (("count", LONG), ("count", -LONG), ("jobs", -LONG)):
        given = {"count": 2, **FIXED, name: value}
        with pytest.raises(ValueError, match=rf"{name} is a whole number of 16610 bits; expected"):
            fastbptt.fit_many(make, X, Y, **given)
    for value in ([LONG], {"a": -LONG}):
        with pytest.raises((ValueError, TypeError), match=r"^count is of type"):
            fastbptt.fit_many(make, X, Y, count=value, **FIXED)  # type: ignore[arg-type]
    several: dict[str, Any] = {"count": 2, "checkpoint": tmp_path / "run", "resume": True, **FIXED}
    fastbptt.fit_many(make, X, Y, each={"seed": [LONG, 1]}, **several)
    fastbptt.fit_many(make, X, Y, each={"seed": [LONG, 1]}, **several)
    with pytest.raises(ValueError, match="seed"):
        fastbptt.fit_many(make, X, Y, each={"seed": [LONG + 1, 1]}, **several)


@POSIX
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_a_folder_with_a_special_file_is_refused_and_stays_as_it_is(
    tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "models.fastbptt"
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    with pytest.raises(ValueError, match=r"models\.fastbptt.*it is no regular file"):
        fastbptt.fit_many(make, X, Y, count=1, checkpoint=folder, **FIXED)
    assert os.listdir(folder) == ["models.fastbptt"]
