"""`fit_many` that fails, is interrupted or killed, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training import ManyFits, finished_models, many

RNG = np.random.default_rng(6)
COUNT = 6
X = RNG.normal(size=(20, 6, 3))
Y = RNG.integers(0, 2, 20)
FIXED: dict[str, Any] = {"epochs": 3, "batch_size": 8, "verbose": 0}


def make(k: int) -> fastbptt.Recurrent:
    return fastbptt.GRU(3, 4, 2, seed=k, dtype="float64", recurrent_dropout=0.2)


def same(one: ManyFits, other: ManyFits) -> None:
    """Compare all but seconds, to the bit."""
    tables = [fits.table() for fits in (one, other)]
    for table in tables:
        del table["seconds"]
    assert repr(tables[0]) == repr(tables[1])
    for a, b in zip(one, other, strict=True):
        assert a.model is not None and b.model is not None
        np.testing.assert_array_equal(a.model._weights.get(), b.model._weights.get())
        assert a.model._config() == b.model._config()
        assert a.history is not None and b.history is not None
        for name in a.history.curves:
            if name != "seconds":
                assert a.history[name] == b.history[name]


def run(folder: Any = None, **options: Any) -> ManyFits:
    given: dict[str, Any] = {"count": COUNT, "each": {"seed": range(COUNT)}, **FIXED, **options}
    models, y = given.pop("models", make), given.pop("y", Y)
    return fastbptt.fit_many(models, X, y, checkpoint=folder, **given)


# ---------------------------------------------------------------- failures


def diverging() -> dict[str, Any]:
    rates = [fastbptt.SGD(1e200 if k == 2 else 0.1) for k in range(COUNT)]
    return {"each": {"optimizer": rates}, "loss": "mse", "y": np.stack([Y, 1.0 - Y], axis=1)}


def test_a_model_that_diverges_is_reported() -> None:
    fits = run(on_error="report", **diverging())
    assert [one.number for one in fits.failed] == [2]
    assert fits[2].stopped == "error" and "model 2" in str(fits[2].error)
    assert "failed" in repr(fits) and "failed" in repr(fits[2])
    assert fits.table()["error"].tolist() == [None, None, fits[2].error, None, None, None]
    assert fits.best().number != 2
    with pytest.raises(ValueError, match=r"model 2, 'c'"):
        run(names=list("abcdef"), **diverging())


@pytest.mark.parametrize("own", [True, False])
def test_bad_data_of_one_model(own: bool) -> None:
    bad = X.copy()
    bad[3, 2, 1] = np.nan
    each = {"x": [bad if k == 4 else X for k in range(COUNT)]}
    if own:
        fits = fastbptt.fit_many(make, None, Y, count=COUNT, each=each, on_error="report", **FIXED)
        assert [one.number for one in fits.failed] == [4]
        assert "(nan) at index (3, 2, 1)" in str(fits[4].error)
        with pytest.raises(fastbptt.ArgumentError, match="model 4") as caught:
            fastbptt.fit_many(make, None, Y, count=COUNT, each=each, **FIXED)
        assert caught.value.index == (3, 2, 1)
    else:  # of all: no model to blame
        with pytest.raises(fastbptt.ArgumentError, match="x holds a value"):
            fastbptt.fit_many(make, bad, Y, count=COUNT, on_error="report", **FIXED)
        rows = [np.arange(4, 20)] * COUNT  # none of which has it
        fastbptt.fit_many(make, bad, Y, count=COUNT, rows=rows, loss="cross_entropy", **FIXED)


def test_a_wrong_argument_of_all_models_is_raised() -> None:
    for wrong in ({"loss": "nothing"}, {"batch_size": 0}, {"l1": {"W": 1.0}}, {"metrics": "no"}):
        with pytest.raises((ValueError, TypeError)):
            run(on_error="report", **wrong)


def test_a_curve_of_another_length_is_refused_before_it_is_kept(tmp_path: Path) -> None:
    class Spoils(fastbptt.Callback):
        def on_batch_end(self, run: Any) -> None:
            run.history.curves.setdefault("mine", []).append(1.0)

    each = {"callbacks": [[], [Spoils()], []]}
    for resume in (False, True):  # the same again: no record of it was kept
        with pytest.raises(ValueError, match=r"'mine'\] has 9 numbers; expected 3"):
            run(tmp_path / "run", count=3, each=each, jobs=1, resume=resume)


def test_progress_tells_restored_models_from_trained_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, verbose=2)
    assert "restored" not in capsys.readouterr().err
    run(tmp_path, resume=True, verbose=2)
    assert f"finished {COUNT}/{COUNT}" in (lines := capsys.readouterr().err)
    assert f"restored {COUNT}" in lines


def test_models_restored_at_a_time_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run", verbose=0)
    monkeypatch.setattr(many, "_TICK", 30.0)  # all are finished before it looks
    capsys.readouterr()
    run(tmp_path / "run", resume=True, verbose=None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"finished {COUNT}/{COUNT} ")


def test_checkpoints_of_finished_models_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder)
    make(0).save(folder / "model-0.safetensors")  # as one that was killed before it could
    run(folder, resume=True)
    assert sorted(one.name for one in folder.iterdir()) == ["models.fastbptt", "run.json"]


def test_a_folder_with_models_of_the_caller_is_refused(tmp_path: Path) -> None:
    make(0).save(tmp_path / "model-0.safetensors")
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"holds 'model-0.safetensors', but no run; expected"):
            run(tmp_path, resume=resume)
    assert [one.name for one in tmp_path.iterdir()] == ["model-0.safetensors"]


def test_what_was_finished_is_kept_when_one_fails(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="model 2"):
        run(folder, jobs=1, **diverging())
    made: list[int] = []

    def counted(k: int) -> Any:
        made.append(k)
        return make(k)

    fits = run(folder, resume=True, on_error="report", models=counted, **diverging())
    same(fits, run(on_error="report", **diverging()))
    again = run(folder, resume=True, on_error="report", **diverging())
    same(again, fits)
    assert [one.seconds for one in again] == [one.seconds for one in fits]  # none was trained
    with pytest.raises(ValueError, match="model 2"):
        run(folder, resume=True, **diverging())


# ---------------------------------------------------------------- resuming


@pytest.mark.parametrize("sequence", [False, True])
def test_cut_anywhere(sequence: bool, tmp_path: Path) -> None:
    def models() -> dict[str, Any]:
        if sequence:
            return {"models": [make(k) for k in range(COUNT)], "count": None}
        return {}

    folder = tmp_path / "run"
    whole = run(folder, jobs=2, **models())
    same(whole, run(**models()))
    path = folder / "models.fastbptt"
    content = path.read_bytes()
    assert sorted(os.listdir(folder)) == ["models.fastbptt", "run.json"]
    for end in sorted({0, 5, 18, 19, 30, *RNG.integers(0, len(content), 6).tolist(), len(content)}):
        path.write_bytes(content[:end])
        same(run(folder, resume=True, **models()), whole)
        same(run(folder, resume=True, **models()), whole)


def test_damage_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder)
    path = folder / "models.fastbptt"
    content = path.read_bytes()
    last = content.rindex(b"\0\0{") - 30  # the last record may be lost, and is trained again
    for at in [0, 20, 30, 40, 100, *RNG.integers(0, last, 10).tolist()]:
        broken = bytearray(content)
        broken[at] ^= 16
        path.write_bytes(bytes(broken))
        with pytest.raises(ValueError, match="cannot resume"):
            run(folder, resume=True)
    path.write_bytes(content)
    (folder / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="no fingerprint"):
        run(folder, resume=True)
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"no run\.json"):
        run(folder, resume=True)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"epochs": 4}, "epochs was 3, is 4"),
        ({"count": 5, "each": {"seed": range(5)}}, "models was 6, is 5"),
        ({"each": {"seed": range(1, 7)}}, "seed"),
        ({"l1": {"W_hh": 0.1}}, "l1"),
        ({"optimizer": fastbptt.Adam(0.5)}, "optimizer"),
        ({"models": lambda k: make(k + 1)}, "model 0 is not as it was"),
        ({"models": lambda k: fastbptt.GRU(3, 5, 2, seed=k)}, "architecture"),
        ({"rows": [np.arange(20)] * 6}, "rows"),
    ],
)
def test_another_run_is_refused(changed: Any, named: str, tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ValueError, match="cannot resume") as caught:
        run(tmp_path / "run", resume=True, **changed)
    assert named in str(caught.value)
    with pytest.raises(ValueError, match=r"cannot resume.* y"):
        fastbptt.fit_many(
            make, X, 1 - Y, count=COUNT, each={"seed": range(COUNT)}, resume=True,
            checkpoint=tmp_path / "run", **FIXED,
        )  # fmt: skip


def test_places_that_cannot_be(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, resume=True)  # there is none yet
    with pytest.raises(ValueError, match="resume=True"):
        run(folder)
    with pytest.raises(OSError, match="no such directory"):
        run(tmp_path / "none" / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run(tmp_path / "file")
    with pytest.raises(TypeError, match="checkpoint is of type int"):
        run(3)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    found: list[Exception] = []

    def meddle(x: Any, rng: Any) -> Any:
        if not found:
            try:
                run(tmp_path / "run", resume=True)
            except ValueError as error:
                found.append(error)
        return x

    run(tmp_path / "run", augment=meddle)
    assert "in use" in str(found[0])


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    write, calls = os.write, iter(range(100))

    def full(file: int, content: Any) -> int:
        number = next(calls)
        if number == 3:
            return write(file, content[:100])
        if number > 3:
            raise OSError(28, "No space left on device")
        return write(file, content)

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match=r"No space left.*models\.fastbptt"):
        run(folder, jobs=1)
    monkeypatch.undo()
    fits = run(folder, resume=True)
    same(fits, run())


PROGRAM = """
    import sys, numpy as np, fastbptt
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(20, 6, 3)), rng.integers(0, 2, 20)
    def make(k):
        return fastbptt.GRU(3, 4, 2, seed=k, dtype="float64", recurrent_dropout=0.2)
    print("begun", flush=True)
    fastbptt.fit_many(make, x, y, count=20, each={"seed": range(20)}, epochs=EPOCHS, batch_size=8,
                      verbose=0, checkpoint=sys.argv[1], checkpoint_every=EVERY, resume=True)
    print("finished", flush=True)
"""


def killed(folder: Path, after: float, epochs: int, every: str) -> bool:
    """Run the program and kill it; true: it had finished."""
    text = textwrap.dedent(PROGRAM).replace("EPOCHS", str(epochs)).replace("EVERY", every)
    with subprocess.Popen(
        [sys.executable, "-c", text, str(folder)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        time.sleep(after)
        child.kill()
        return b"finished" in child.stdout.read()


@pytest.mark.parametrize("every", ["None", '"epoch"', "0.01"])
def test_killed_at_random_moments(every: str, tmp_path: Path) -> None:  # every: checkpoint_every
    folder, kills, epochs = tmp_path / "run", 0, 10
    while not killed(folder, RNG.uniform(0.005, 0.06) * 1.5**kills, epochs, every):
        kills += 1
    assert kills > 0
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(20, 6, 3)), rng.integers(0, 2, 20)
    given: dict[str, Any] = FIXED | {"count": 20, "each": {"seed": range(20)}, "epochs": epochs}
    same(
        fastbptt.fit_many(make, x, y, checkpoint=folder, resume=True, **given),
        fastbptt.fit_many(make, x, y, **given),
    )


# ---------------------------------------------------------------- Ctrl-C


@pytest.fixture
def interrupt() -> Iterator[Any]:
    """Send Ctrl-C some times, soon, once `fit_many` handles it; not after its end."""
    threads = []

    def is_handled() -> bool:
        return signal.getsignal(signal.SIGINT) is not signal.default_int_handler

    def send(times: int, after: float = 0.3) -> None:
        def work() -> None:
            end = time.monotonic() + 60
            while not is_handled() and time.monotonic() < end:
                time.sleep(0.01)
            for _ in range(times):
                time.sleep(after)
                if is_handled():
                    os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=work))
        threads[0].start()

    yield send
    threads[0].join()


@pytest.mark.parametrize("resumes", [False, True])
def test_interrupt_stops_all(resumes: bool, interrupt: Any, tmp_path: Path) -> None:
    whole = run(epochs=100)
    interrupt(1)
    fixed = {name: value for name, value in FIXED.items() if name != "epochs"}
    folder = tmp_path / "run" if resumes else None
    fits = fastbptt.fit_many(
        make, X, Y, count=5, checkpoint=folder, jobs=2,
        each={"epochs": [100, 100, 10**8, 10**8, 10**8], "seed": range(5)}, **fixed,
    )  # fmt: skip
    assert fits.stopped == "interrupted" and len(fits) == 5
    assert [one.stopped for one in fits] == ["epochs"] * 2 + ["interrupted"] * 3
    assert fits[0].epochs == fits[1].epochs == 100 and fits[4].epochs == 0
    assert fits[4].model is None
    for k in range(2):
        model, other = fits[k].model, whole[k].model
        assert model is not None and other is not None
        np.testing.assert_array_equal(model._weights.get(), other._weights.get())


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_folder_is_free_where_an_interrupt_comes_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any) -> None:
        finished_models.FinishedModels(*given)
        raise KeyboardInterrupt  # of a handler, before anyone could close it

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(many, "FinishedModels", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert run(folder, resume=True).stopped == "finished"


def test_a_second_interrupt_ends_long_calls(interrupt: Any) -> None:
    x = np.zeros((512, 400, 64), "float32")
    interrupt(2)
    start = time.monotonic()
    models = [fastbptt.LSTM(64, 384, 1, num_layers=2, seed=k) for k in range(2)]
    fits = fastbptt.fit_many(models, x, np.zeros(512), loss="mse", batch_size=512, verbose=0)
    assert fits.stopped == "interrupted"
    assert time.monotonic() - start < 60
    assert all(one.stopped == "interrupted" and one.model is not None for one in fits)


def test_interrupt_by_a_callback() -> None:
    class Stop(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            raise KeyboardInterrupt

    fits = run(each={"callbacks": [[], [Stop()], [], [], [], []]}, jobs=1)
    assert fits.stopped == "interrupted"
    assert [one.epochs for one in fits] == [3, 1, 0, 0, 0, 0]
