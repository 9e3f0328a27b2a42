"""`fit_many` where code of the caller's raises, hangs or spoils, and where arguments do not fit."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training import checkpoints

RNG = np.random.default_rng(9)
X = RNG.normal(size=(18, 6, 3))
Y, Y2 = RNG.integers(0, 2, 18), RNG.normal(size=(18, 6, 2))
FIXED: dict[str, Any] = {"epochs": 2, "batch_size": 6, "verbose": 0}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and links of POSIX")


def make(k: int) -> fastbptt.Recurrent:
    return fastbptt.GRU(3, 4, 2, seed=k)


# ---------------------------------------------------------------- signals, and code of the caller's


class OverError(Exception):
    """What a program's own handler of signals raises."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    def ring(*_: object) -> None:
        raise OverError

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)  # type: ignore[misc]
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


@POSIX
@pytest.mark.parametrize("on_error", ["raise", "report"])
def test_a_handler_raises_while_the_first_model_is_made(
    on_error: str, alarm: Callable[[float], None]
) -> None:
    def slow(k: int) -> fastbptt.Recurrent:
        time.sleep(0.3)
        return make(k)

    alarm(0.05)
    with pytest.raises(OverError):
        fastbptt.fit_many(slow, X, Y, count=2, on_error=on_error, **FIXED)


@POSIX
def test_a_handler_raises_while_threads_start() -> None:
    """Python may then lose a thread before its first line: nobody may wait for it.

    In a process of its own: Python lists such a thread for ever, and may lose a lock.
    """
    program = """
        import os, signal, numpy as np, fastbptt
        class OverError(Exception):
            pass
        def ring(*_):
            raise OverError
        signal.signal(signal.SIGALRM, ring)
        x, y = np.zeros((8, 3, 1)), np.arange(8) % 2
        rng, seen = np.random.default_rng(0), 0
        for _ in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-4, 4e-3))
                fastbptt.fit_many(
                    lambda k: fastbptt.RNN(1, 2, 1, seed=k), x, y, count=24, jobs=24, epochs=1,
                    verbose=0,
                )
            except (OverError, RuntimeError):  # threading's, if the handler takes its lock away
                seen += 1
            finally:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0)
                except OverError:
                    pass
        print(seen, flush=True)
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


@POSIX
def test_a_thread_that_is_lost_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python does if a handler raises within `Thread.start`."""
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        if self.name == "fit_many 1":
            monkeypatch.setattr(self, "run", lambda: None)
            start(self)
            raise OverError
        start(self)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(OverError):
        fastbptt.fit_many(make, X, Y, count=4, jobs=2, **FIXED)


@POSIX
def test_a_function_that_does_not_return_is_left_behind(tmp_path: Path) -> None:
    program = """
        import os, signal, sys, threading, time, numpy as np, fastbptt
        x, y = np.zeros((8, 3, 1)), np.arange(8) % 2
        hangs, ends = threading.Event(), threading.Event()
        def metric(targets, outputs):
            hangs.set()
            ends.wait(60)
            return 0.0
        def press():
            hangs.wait()
            for _ in range(12):
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press, daemon=True).start()
        begun = time.monotonic()
        try:
            fastbptt.fit_many(
                lambda k: fastbptt.RNN(1, 2, 1, seed=k), x, y, count=3, metrics=metric, verbose=0,
                checkpoint=sys.argv[1],
            )
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("left" if 3 < time.monotonic() - begun < 20 else "late")
        ends.set()
        time.sleep(0.5)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["left"], "")


@pytest.mark.parametrize("error", [ConnectionError("down"), TimeoutError("late"), KeyError("k")])
@pytest.mark.parametrize("where", ["make", "metric", "callback"])
def test_any_error_of_the_callers_code_is_that_of_its_model(where: str, error: Exception) -> None:
    class Fails(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            raise error

    def made(k: int) -> fastbptt.Recurrent:
        if where == "make" and k == 1:
            raise error
        return make(k)

    def metric(targets: Any, outputs: Any) -> float:
        raise error

    each: dict[str, Any] = {"seed": [0, 1, 2]}
    if where == "metric":
        each = {"metrics": [(), metric, ()]}
    if where == "callback":
        each = {"callbacks": [[], [Fails()], []]}
    fits = fastbptt.fit_many(made, X, Y, count=3, each=each, on_error="report", **FIXED)
    assert [one.error is None for one in fits] == [True, False, True]
    told = f"model 1 failed: {type(error).__name__}: "
    if (where, type(error)) == ("metric", KeyError):
        told = r"metric \"metric\" failed: 'k' .* \(model 1\)"
    assert fits[1].error is not None and re.search(told, fits[1].error)
    with pytest.raises((RuntimeError, ValueError), match=told):
        fastbptt.fit_many(made, X, Y, count=3, each=each, **FIXED)


def test_a_folder_that_cannot_be_written_is_no_error_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *_: Any) -> None:
        raise OSError(28, "No space left on device", self._path)

    monkeypatch.setattr(checkpoints.Checkpointer, "save", full)
    given: dict[str, Any] = {"checkpoint": tmp_path, "checkpoint_every": 0, "count": 2, **FIXED}
    with pytest.raises(OSError, match=r"No space left on device: '.*model-[01]\.safetensors'"):
        fastbptt.fit_many(make, X, Y, on_error="report", **given)


def test_ctrl_c_within_make_keeps_what_is_finished() -> None:
    def made(k: int) -> fastbptt.Recurrent:
        if k == 2:
            raise KeyboardInterrupt
        return make(k)

    fits = fastbptt.fit_many(made, X, Y, count=4, jobs=1, **FIXED)
    assert fits.stopped == "interrupted"
    assert [one.stopped for one in fits] == ["epochs", "epochs", "interrupted", "interrupted"]


@pytest.mark.parametrize("spoilt", ["curves", "metadata"])
def test_what_a_callback_spoils_is_an_error_of_its_model(spoilt: str, tmp_path: Path) -> None:
    class Spoils(fastbptt.Callback):
        def on_train_end(self, run: Any) -> None:
            if spoilt == "curves":
                run.history.curves["mine"] = ["a"]
            else:
                run.model.metadata = {"own": object()}

    given: dict[str, Any] = {"each": {"callbacks": [[], [Spoils()], []]}, "count": 3, **FIXED}
    fits = fastbptt.fit_many(make, X, Y, checkpoint=tmp_path / "a", on_error="report", **given)
    assert [one.error is None for one in fits] == [True, False, True]
    with pytest.raises((ValueError, TypeError), match=r"\(model 1\)"):
        fastbptt.fit_many(make, X, Y, checkpoint=tmp_path / "b", **given)


def test_patience_without_validation_is_an_error_of_its_model() -> None:
    for name, values in (("patience", [1, None, None]), ("restore_best", [True, None, None])):
        given: dict[str, Any] = {"each": {name: values}, "count": 3, "on_error": "report"}
        fits = fastbptt.fit_many(make, X, Y, **given, **FIXED)
        assert [one.error is None for one in fits] == [False, True, True]


# ---------------------------------------------------------------- arguments and folders


@pytest.mark.parametrize("loss", [None, "mse"])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"y": np.zeros(20)}, r"y has (20 sequences|shape \(20,\)); expected"),
        ({"y": [0.0] * 5}, r"y has (5 sequences|shape \(5,\)); expected"),
        ({"sample_weight": np.ones(20)}, "sample_weight has "),
        ({"sample_weight": 1.0}, "sample_weight is 1.0; expected a value for each of the 18"),
        ({"resets": np.zeros((3, 6), bool), "steps": "all", "y": Y2}, "resets has 3 sequences"),
        ({"lengths": [6] * 17}, "lengths has 17 sequences; expected 18"),
        ({"rows": [[[1], [2, 3]]] * 2}, r"rows\[0\] is of type list, which NumPy cannot read"),
        ({"x": 5}, "x is of type int"),
    ],
)
def test_rows_of_what_has_no_such_rows(changed: Any, told: str, loss: Any) -> None:
    given = {"x": X, "y": Y * 1.5, "rows": [np.arange(4)] * 2, "loss": loss, **FIXED, **changed}
    with pytest.raises((ValueError, TypeError), match=told):
        fastbptt.fit_many(make, count=2, **given)


NO_NAME = '^checkpoint is ".*"; expected the name of a file or folder$'


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_no_folder_has(name: str) -> None:
    with pytest.raises(ValueError, match=NO_NAME):
        fastbptt.fit_many(make, X, Y, count=2, checkpoint=name, **FIXED)
    with pytest.raises(ValueError, match=NO_NAME):
        fastbptt.fit(make(0), X, Y, checkpoint=name, **FIXED)


@POSIX
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "models.fastbptt").symlink_to("/nonexistent/disk/models")
    with pytest.raises(FileNotFoundError, match=r"models\.fastbptt"):
        fastbptt.fit_many(make, X, Y, count=2, checkpoint=tmp_path, **FIXED)


def test_a_folder_that_is_refused_gets_no_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[1, 2]")
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"holds a run already|no fingerprint of a run"):
            fastbptt.fit_many(make, X, Y, count=2, checkpoint=tmp_path, resume=resume, **FIXED)
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_other_start_weights_of_a_model_in_training_are_refused(tmp_path: Path) -> None:
    class Stop(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            if run.epoch == 2:
                raise KeyboardInterrupt

    given: dict[str, Any] = {"count": 2, "checkpoint": tmp_path, "checkpoint_every": "epoch"}
    given |= {"batch_size": 4, "epochs": 5, "verbose": 0, "jobs": 1}
    stop = {"callbacks": [[Stop()], []]}
    fastbptt.fit_many(make, X, Y, each=stop, **given)
    with pytest.raises(ValueError, match="the model is not as it was when the run began"):
        fastbptt.fit_many(lambda k: make(k + 9), X, Y, each=stop, resume=True, **given)


def test_models_of_another_run_are_refused(tmp_path: Path) -> None:
    """The file of a folder that was copied over that of another one with the same models."""
    for name, x in (("one", X), ("other", X + 1.0)):
        fastbptt.fit_many(make, x, Y, count=2, checkpoint=tmp_path / name, **FIXED)
    (tmp_path / "one" / "models.fastbptt").replace(tmp_path / "other" / "models.fastbptt")
    with pytest.raises(ValueError, match=r"model [01] in it is of another run; expected a folder"):
        fastbptt.fit_many(
            make, X + 1.0, Y, count=2, checkpoint=tmp_path / "other", resume=True, **FIXED
        )


def test_more_models_than_anyone_has() -> None:
    with pytest.raises(ValueError, match=r"^count is 10{30}; expected at most"):
        fastbptt.fit_many(make, X, Y, count=10**30, **FIXED)


def test_callbacks_that_are_none_are_no_shared_callback() -> None:
    with pytest.raises(TypeError, match=r"^callbacks is None; expected"):
        fastbptt.fit_many(make, X, Y, count=2, each={"callbacks": [None, None]}, **FIXED)
