"""`fit_many` with what attackers give it: signals, masks, states, broken files."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training.finished_models import FinishedModels

RNG = np.random.default_rng(9)
X = RNG.normal(size=(18, 6, 3))
Y = RNG.integers(0, 2, 18)
FIXED: dict[str, Any] = {"epochs": 2, "batch_size": 6, "verbose": 0}


def make(k: int) -> fastbptt.Recurrent:
    return fastbptt.GRU(3, 4, 2, seed=k)


# ---------------------------------------------------------------- Ctrl-C


def test_many_interrupts_leave_no_thread(tmp_path: Path) -> None:
    """In a process of its own: Ctrl-C again and again while a callback takes its time."""
    program = """
        import os, signal, sys, threading, time, numpy as np, fastbptt
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(18, 6, 3)), rng.integers(0, 2, 18)
        class Slow(fastbptt.Callback):
            def on_epoch_end(self, run):
                time.sleep(1.5)
        def send():
            for _ in range(5):
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=send, daemon=True).start()
        fits = fastbptt.fit_many(
            lambda k: fastbptt.GRU(3, 4, 2, seed=k), x, y, count=4, jobs=2, epochs=100,
            batch_size=6, verbose=0, checkpoint=sys.argv[1],
            each={"callbacks": [[Slow()] for _ in range(4)]},
        )
        alive = [one for one in threading.enumerate() if one.name.startswith("fit_many")]
        print(fits.stopped, len(alive))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["interrupted", "0"], done.stderr


def test_a_handler_that_raises_leaves_no_thread() -> None:
    class AlarmError(Exception):
        pass

    def ring(*_: object) -> None:
        raise AlarmError

    class Slow(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            time.sleep(0.5)

        def on_train_end(self, run: Any) -> None:
            over.append(1)

    over: list[int] = []
    before = signal.signal(signal.SIGINT, ring)
    sender = threading.Thread(
        target=lambda: [(time.sleep(0.1), os.kill(os.getpid(), signal.SIGINT)) for _ in range(3)]
    )
    try:
        sender.start()
        with pytest.raises(AlarmError):
            fastbptt.fit_many(
                make, X, Y, count=2, each={"callbacks": [[Slow()], [Slow()]]},
                **FIXED | {"epochs": 50},
            )  # fmt: skip
        assert over == [1, 1]  # of each the last call
        alive = [one for one in threading.enumerate() if one.name.startswith("fit_many")]
        assert not alive
    finally:
        sender.join()
        signal.signal(signal.SIGINT, before)


def test_nothing_is_written_after_close(tmp_path: Path) -> None:
    store = FinishedModels(str(tmp_path / "run"), {"a": "b"}, False)
    store.close()
    with open(tmp_path / "other", "w+b") as other:  # gets the number of the closed file
        for call in (lambda: store._append(b"wrong"), lambda: store._read(0, 3), store.flush):
            with pytest.raises(ValueError, match="closed"):
                call()
        assert other.read() == b""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("hidden", [2, 40])
def test_a_child_trains_while_its_parent_does(hidden: int) -> None:
    """A process that is forked while threads of `fit_many` are in the core."""
    program = """
        import os, sys, threading, time, numpy as np, fastbptt
        rng = np.random.default_rng(0)
        x, y, hidden = rng.normal(size=(32, 8, 3)), rng.integers(0, 2, 32), int(sys.argv[1])
        def make(k):
            return fastbptt.GRU(3, hidden, 2, seed=k)
        def many(count, epochs):
            fits = fastbptt.fit_many(
                make, x, y, count=count, epochs=epochs, batch_size=4, jobs=2, verbose=0
            )
            return [one.model._weights.get() for one in fits]
        expected = many(3, 2)
        threading.Thread(target=many, args=(1000, 1000), daemon=True).start()
        time.sleep(0.2)
        for _ in range(3):
            child = os.fork()
            if child == 0:
                alone = make(0)
                fastbptt.fit(alone, x, y, epochs=2, batch_size=4, verbose=0)
                found = [alone._weights.get(), *many(3, 2)]
                pairs = zip(found, [expected[0], *expected])
                os._exit(not all(np.array_equal(*pair) for pair in pairs))
            print(os.waitpid(child, 0)[1], flush=True)
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(hidden)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["0"] * 3, done.stderr


# ---------------------------------------------------------------- what is given


@pytest.mark.parametrize("name", ["x", "static"])
@pytest.mark.parametrize(
    "how", [{"each": {"loss": ["mse", "mse"]}}, {"loss": "function"}, {"loss": "mse"}]
)
def test_masked_values_are_refused(name: str, how: dict[str, Any]) -> None:
    def function(outputs: Any, y: Any) -> Any:
        return float((outputs**2).mean()), 2.0 * outputs / outputs.size

    how = {key: function if value == "function" else value for key, value in how.items()}
    masks = {"x": np.ma.masked_where(X > 2.0, X)}
    masks["x"][:, 0, 0] = np.ma.masked
    masks["static"] = np.ma.masked_array(RNG.normal(size=(18, 2)), np.eye(18, 2, dtype=bool))
    rows = [np.arange(9), np.arange(9, 18)][::1]
    given = {"x": X} | {name: masks[name]}
    if name == "static":
        rows = [np.arange(9), np.arange(3)]  # of both some are masked
    options = {"static_size": 2} if name == "static" else {}
    with pytest.raises(fastbptt.ArgumentError, match=f"{name} is a masked array"):
        fastbptt.fit_many(
            [fastbptt.GRU(3, 4, 2, seed=k, **options) for k in range(2)],
            y=RNG.normal(size=(18, 2)), rows=rows, **given, **how, **FIXED,
        )  # fmt: skip


class Stateful(fastbptt.schedules.Schedule):
    """Counts in a list, which a shallow copy would have in common."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        self.seen.append(1)
        return 1.0 / (1 + len(self.seen))


def test_a_schedule_with_a_state_is_copied() -> None:
    mine = Stateful()
    alone = [make(0), make(1)]
    histories = [fastbptt.fit(one, X, Y, schedule=mine, **FIXED) for one in alone]
    assert mine.seen == []
    fits = fastbptt.fit_many(make, X, Y, count=2, schedule=mine, **FIXED)
    assert mine.seen == []
    for one, model, history in zip(fits, alone, histories, strict=True):
        assert one.model is not None and one.history is not None
        np.testing.assert_array_equal(one.model._weights.get(), model._weights.get())
        assert one.history["lr"] == history["lr"]


def test_sequences_of_models() -> None:
    fits = fastbptt.fit_many((make(k) for k in range(3)), X, Y, **FIXED)
    assert len(fits) == 3
    for wrong in ({make(0)}, {"a": make(0)}, "ab"):
        with pytest.raises(TypeError, match="models is of type"):
            fastbptt.fit_many(wrong, X, Y, **FIXED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"each": {"seed": {5, 2}}}, r"each\['seed'\] is of type set"),
        ({"names": {"a", "b"}}, "names is"),
        ({"rows": {1, 2}}, "rows is of type set"),
        (
            {"x": None, "each": {"x": [X, X]}, "rows": [[1], [2]]},
            r"given, and each\['x'\] too",
        ),
        ({"checkpoint": 3}, "^checkpoint is of type int"),
    ],
)
def test_refused(changed: dict[str, Any], words: str) -> None:
    given = {"x": X, "count": 2, **FIXED} | changed
    with pytest.raises((ValueError, TypeError), match=words):
        fastbptt.fit_many(make, given.pop("x"), Y, **given)


def test_rows_without_a_loss_judge_their_own_targets() -> None:
    y = np.where(np.arange(18) < 9, Y, 0.5 + Y)  # no classes as a whole
    rows = [np.arange(9), np.arange(9, 18)]
    fits = fastbptt.fit_many(
        lambda k: fastbptt.GRU(3, 4, 1, seed=k), X, y, count=2, rows=rows, **FIXED
    )
    for k, one in enumerate(fits):
        alone = fastbptt.GRU(3, 4, 1, seed=k)
        fastbptt.fit(alone, X[rows[k]], y[rows[k]], **FIXED)
        assert one.model is not None
        np.testing.assert_array_equal(one.model._weights.get(), alone._weights.get())


class Keyed:
    """Has a length, and raises KeyError for an item."""

    def __len__(self) -> int:
        return 18

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)


@pytest.mark.parametrize("x", [Keyed(), {"a": X, "b": X}])
def test_data_that_have_no_items_by_number(x: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="x"):
        fastbptt.fit_many(make, x, Y, count=2, loss="mse", **FIXED)


# ---------------------------------------------------------------- whose error it is


class Raises(fastbptt.Callback):
    def on_train_begin(self, run: Any) -> None:
        raise RuntimeError("not today")


def doubtful(x: Any, rng: Any) -> Any:
    raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("name", "usual", "wrong"),
    [
        ("seed", 1, -2),
        ("metrics", "accuracy", "nothing"),
        ("metrics", "accuracy", 3),
        ("schedule", None, 3),
        ("augment", None, 3),
        ("augment", None, doubtful),
        ("optimizer", None, 3),
        ("callbacks", [], [Raises()]),
        ("callbacks", [], 3),
        ("x", X, X[:3]),
        ("loss", "cross_entropy", "bce"),
    ],
)
def test_an_error_of_one_model_is_reported(name: str, usual: Any, wrong: Any) -> None:
    each = {name: [usual, wrong, [] if name == "callbacks" else usual]}
    x = None if name == "x" else X
    given: dict[str, Any] = {"y": Y if name != "loss" else Y + 0, "count": 3, **FIXED}
    fits = fastbptt.fit_many(make, x, each=each, on_error="report", **given)
    assert [one.number for one in fits.failed] == [1]
    assert "model 1" in str(fits[1].error)
    with pytest.raises(Exception, match="model 1"):
        fastbptt.fit_many(make, x, each=each, **given)
    if name not in ("x", "callbacks", "loss"):  # of all models
        with pytest.raises(Exception, match=r"."):
            fastbptt.fit_many(
                make, X, each={"l1": [None] * 3}, on_error="report", **{name: wrong}, **given
            )


@pytest.mark.parametrize("bad", [(0,), (1,), (2,), (0, 1), (0, 2)])
def test_a_model_that_cannot_be_made(bad: tuple[int, ...], tmp_path: Path) -> None:
    asked: list[int] = []

    def some(k: int) -> fastbptt.Recurrent:
        asked.append(k)
        if k in bad:
            raise OverflowError("too many")
        return make(k)

    for folder in (None, tmp_path / "run"):
        asked.clear()
        fits = fastbptt.fit_many(some, X, Y, count=3, on_error="report", checkpoint=folder, **FIXED)
        assert tuple(one.number for one in fits.failed) == bad
        assert sorted(asked) == [0, 1, 2]
        for k, one in enumerate(fits):
            if k in bad:
                assert one.model is None and one.error is not None
                assert f"model {k} failed: OverflowError: too many" in one.error
                continue
            alone = make(k)
            fastbptt.fit(alone, X, Y, **FIXED)
            assert one.model is not None
            np.testing.assert_array_equal(one.model._weights.get(), alone._weights.get())
    with pytest.raises(RuntimeError, match=f"model {bad[0]} failed: OverflowError"):
        fastbptt.fit_many(some, X, Y, count=3, jobs=1, **FIXED)


def test_a_penalty_on_what_one_model_has_frozen() -> None:
    models = [make(k) for k in range(3)]
    models[1].freeze("W_xh")
    fits = fastbptt.fit_many(models, X, Y, l2={"W_xh": 0.1}, on_error="report", **FIXED)
    assert [one.number for one in fits.failed] == [1] and "is frozen" in str(fits[1].error)


def test_when_no_model_can_be_made() -> None:
    def none(k: int) -> fastbptt.Recurrent:
        raise OverflowError(f"too many: {k}")

    for how in ("raise", "report"):
        with pytest.raises(RuntimeError, match="model 0, 'a' failed: OverflowError: too many: 0"):
            fastbptt.fit_many(none, X, Y, count=2, names=["a", "b"], on_error=how, **FIXED)


def function(outputs: Any, y: Any, weights: Any) -> Any:
    return float((outputs**2).mean()), 2.0 * outputs / outputs.size


NANS = X.copy()
NANS[7, 3, 1] = np.nan


@pytest.mark.parametrize(
    "how",
    [
        {"each": {"y": [Y, 1 - Y]}},
        {"each": {"y": [Y, 1 - Y]}, "lengths": np.full(18, 5)},
        {"each": {"loss": ["cross_entropy", None]}},
        {"each": {"metrics": ["accuracy", ()]}, "loss": function, "y": RNG.normal(size=(18, 2))},
        {"rows": [np.arange(9), np.arange(2, 4)]},
        {"rows": [np.arange(9), np.arange(2, 4)], "each": {"loss": ["cross_entropy", None]}},
        {"x": list(NANS), "rows": [np.arange(9), np.arange(2, 4)]},
    ],
)
def test_a_number_that_is_none_in_inputs_of_all(how: dict[str, Any]) -> None:
    y = None if "y" in how.get("each", {}) else Y
    given = {"models": make, "x": NANS, "y": y, "count": 2, "on_error": "report", **FIXED, **how}
    with pytest.raises(fastbptt.ArgumentError, match=r"^x.* holds? .*nan") as caught:
        fastbptt.fit_many(**given)
    assert caught.value.index == (7, 3, 1) and "(model 0)" not in str(caught.value)


def test_inputs_that_are_not_read_may_hold_anything() -> None:
    own: dict[str, Any] = {"each": {"y": [Y, 1 - Y]}, "lengths": np.full(18, 3)}
    assert not fastbptt.fit_many(make, NANS, count=2, **FIXED, **own).failed
    fits = fastbptt.fit_many(
        make, NANS, Y, count=2, rows=[np.arange(7), np.arange(8, 18)], **FIXED,
        each={"loss": ["cross_entropy", None]},
    )  # fmt: skip
    assert not fits.failed


# ---------------------------------------------------------------- the folder


def scaled(x: Any, rng: Any, by: float) -> Any:
    return x * by


class Scaled:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: Any, rng: Any) -> Any:
        return x * self.by


def run(folder: Path, **options: Any) -> Any:
    given = {"count": 3, "checkpoint": folder, "resume": True, **FIXED} | options
    return fastbptt.fit_many(make, X, Y, **given)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (functools.partial(scaled, by=2.0), functools.partial(scaled, by=2.0),
         functools.partial(scaled, by=3.0)),
        (Scaled(2.0), Scaled(2.0), Scaled(3.0)),
        (Scaled(2.0).__call__, Scaled(2.0).__call__, Scaled(3.0).__call__),
        (functools.partial(Scaled(2.0)), functools.partial(Scaled(2.0)), functools.partial(scaled)),
    ],
)  # fmt: skip
def test_callables_are_described(one: Any, same: Any, other: Any, tmp_path: Path) -> None:
    run(tmp_path / "run", augment=one)
    run(tmp_path / "run", augment=same)
    with pytest.raises(ValueError, match="augment"):
        run(tmp_path / "run", augment=other)


def constant(by: float) -> Any:
    return lambda x, rng: x * by


def test_functions_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By their code, defaults and what they enclose."""
    several = {
        "code": (lambda x, rng: x * 2.0, lambda x, rng: x * 3.0),
        "closure": (constant(2.0), constant(3.0)),
        "defaults": (lambda x, rng, by=2.0: x * by, lambda x, rng, by=3.0: x * by),
        "array": (constant(np.ones(3)), constant(np.full(3, 2.0))),  # type: ignore[arg-type]
        "function": (constant(2.0), constant(2.0)),
    }
    for name, (one, other) in several.items():
        assert one.__qualname__ == other.__qualname__
        run(tmp_path / name, augment=one)
        run(tmp_path / name, augment=one)
        if name == "function":
            run(tmp_path / name, augment=other)
            continue
        with pytest.raises(ValueError, match=r"augment is .* with other contents;"):
            run(tmp_path / name, augment=other)


def test_what_differs_is_named(tmp_path: Path) -> None:
    series = [RNG.normal(size=(18, 6 + k % 2, 3)) for k in range(30)]
    rates = [fastbptt.Adam(0.01 * (k + 1)) for k in range(30)]
    penalties = [{"W_hh": 0.1 * (k + 1)} for k in range(30)]
    rows = [np.arange(9) + k % 3 for k in range(30)]
    shared = {"x": X, "rows": rows, "names": [f"model of {k}" for k in range(30)]}
    own = {"seed": list(range(30)), "optimizer": rates, "l1": penalties}
    changed: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (shared | {"each": own}, {"each": own | {"seed": [*range(29), 77]}},
         r": each\['seed'\] of model 29 was 29, is 77;"),
        (shared | {"each": own}, {"each": own | {"seed": [*range(25), *range(5)]}},
         r": each\['seed'\] of model 25 was 25, is 0 \(5 models differ\);"),
        (shared | {"each": own}, {"each": own | {"l1": [None, *penalties[1:]]}},
         r": each\['l1'\] of model 0 was \{\"W_hh\": 0.1\}, is None;"),
        (shared | {"each": own}, {"each": own | {"optimizer": [*rates[:-1], fastbptt.Adam(0.7)]}},
         r": each\['optimizer'\] of model 29 was Adam\(lr=0.3.*, is Adam\(lr=0.7"),
        (shared | {"each": own}, {"rows": [*rows[:4], rows[4] + 1, *rows[5:]]},
         r": rows of model 4 is int64 \(9,\) with other contents;"),
        (shared | {"each": own}, {"names": [f"{k}" for k in range(30)]},
         r': names of model 0 was "model of 0", is "0" \(30 models differ\);'),
        ({"each": {"x": series}}, {"each": {"x": [*series[:5], X, *series[6:]]}},
         r": each\['x'\] of model 5 was float64 \(18, 7, 3\), is float64 \(18, 6, 3\);"),
        ({"each": {"x": series}}, {"each": {"x": [*series[:5], series[7], *series[6:]]}},
         r": each\['x'\] of model 5 is float64 \(18, 7, 3\) with other contents;"),
        ({"x": list(X)}, {"x": [*X[:17], X[0]]}, ": x is a list of 18 with other contents;"),
        ({"x": X, "l2": {"W_hh": 0.1}}, {"l2": None}, r': l2 was \{"W_hh": 0.1\}, is None;'),
    ]  # fmt: skip
    for k, (given, other, words) in enumerate(changed):
        fixed = {"count": 30, "y": Y, "checkpoint": tmp_path / f"{k}", "resume": True}
        fastbptt.fit_many(make, **fixed, **FIXED, **given)  # type: ignore[arg-type]
        fastbptt.fit_many(make, **fixed, **FIXED, **given)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=words) as caught:
            fastbptt.fit_many(make, **fixed, **FIXED, **given | other)  # type: ignore[arg-type]
        assert not re.search("[0-9a-f]{16}", str(caught.value))


def test_models_that_differ_are_named(tmp_path: Path) -> None:
    given: dict[str, Any] = {"checkpoint": tmp_path / "run", "resume": True, **FIXED}
    fastbptt.fit_many([make(k) for k in range(9)], X, Y, **given)
    with pytest.raises(
        ValueError, match=r": model 4 is not as it was .* began \(2 models differ\);"
    ):
        fastbptt.fit_many([make(k + 3 * (k in (4, 7))) for k in range(9)], X, Y, **given)


def test_metrics_and_callbacks_may_be_corrected(tmp_path: Path) -> None:
    def first() -> dict[str, Any]:
        class Mine(fastbptt.Callback):
            def on_epoch_end(self, run: Any) -> None:
                assert run

        def score(y: Any, outputs: Any) -> float:
            return 1.0

        return {"metrics": [score, "accuracy"], "each": {"callbacks": [[Mine()] for _ in range(3)]}}

    def second() -> dict[str, Any]:
        class Mine(fastbptt.Callback):
            def on_epoch_end(self, run: Any) -> None:
                assert run.model

        def score(y: Any, outputs: Any) -> float:
            return 2.0

        return {"metrics": [score, "accuracy"], "each": {"callbacks": [[Mine()] for _ in range(3)]}}

    found = second()
    name = first.__qualname__
    found["metrics"][0].__qualname__ = f"{name}.<locals>.score"
    for one in found["each"]["callbacks"]:
        type(one[0]).__qualname__ = f"{name}.<locals>.Mine"
    run(tmp_path / "run", **first())
    run(tmp_path / "run", **found)
    with pytest.raises(ValueError, match=": metrics was"):
        run(tmp_path / "run", **found | {"metrics": "accuracy"})


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"shuffle": True}, {}),
        ({"optimizer": "adam"}, {"optimizer": fastbptt.Adam()}),
        ({}, {"optimizer": fastbptt.Adam()}),
        ({"schedule": "cosine"}, {"schedule": fastbptt.schedules.Cosine()}),
        ({"each": {"optimizer": ["adam", "sgd", None]}},
         {"each": {"optimizer": [None, fastbptt.SGD(), "adam"]}}),
        ({"batch_size": np.int64(6)}, {"batch_size": 6}),
    ],
)  # fmt: skip
def test_equal_values_resume(one: Any, same: Any, tmp_path: Path) -> None:
    seconds = [fit.seconds for fit in run(tmp_path / "run", **one)]
    assert [fit.seconds for fit in run(tmp_path / "run", **same)] == seconds


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"checkpoint_every": -1}, {"metrics": "no"}])
@pytest.mark.parametrize("there", [False, True])
def test_a_wrong_argument_leaves_no_run(wrong: Any, there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    with pytest.raises((ValueError, TypeError)):
        run(folder, resume=False, **wrong)
    assert folder.exists() == there and (not there or not os.listdir(folder))
    run(folder, resume=False)


def test_a_wrong_argument_where_an_open_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: what is left does not look like a run."""
    unlink = os.unlink

    def stays(path: Any) -> None:
        if str(path).endswith("models.fastbptt"):
            raise PermissionError(13, "the file is in use", str(path))
        unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", stays)
        with pytest.raises(ValueError, match="epochs is 0"):
            run(tmp_path / "run", resume=False, epochs=0)
    assert os.listdir(tmp_path / "run") == ["models.fastbptt"]
    run(tmp_path / "run", resume=False)


def test_a_tail_that_was_lost_with_the_power(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    whole = run(folder, jobs=1)
    path = folder / "models.fastbptt"
    content = path.read_bytes()
    last = content.rindex(b"\0\0{") - 30  # where the last record begins
    tails = [
        content + bytes(3), content + bytes(5000), content[:-100] + bytes(100),
        content[:last] + bytes(len(content) - last), content[: last + 10] + bytes(3000),
        bytes(len(content)), bytes(3 * len(content)), content[:5] + bytes(13), bytes(7),
    ]  # fmt: skip
    for broken in tails:
        path.write_bytes(broken)
        if broken[:5] == content[:5] and len(broken) == 18:
            path.write_bytes(content[:18] + bytes(50))
        again = run(folder)
        assert path.stat().st_size < len(content) + 1000  # the numbers of seconds vary in length
        for one, other in zip(again, whole, strict=True):
            np.testing.assert_array_equal(one.model._weights.get(), other.model._weights.get())
        if broken[: last + 1] == content[: last + 1]:
            assert [one.seconds for one in again][:2] == [one.seconds for one in whole][:2]
    path.write_bytes(content[:40] + bytes(100) + content[140:])
    with pytest.raises(ValueError, match="damaged at byte 18"):
        run(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_does_not_keep_the_folder(tmp_path: Path) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def start(x: Any, rng: Any) -> Any:
        if not children:
            descriptors = [int(one) for one in os.listdir("/proc/self/fd")] if sys.platform == (
                "linux"
            ) else range(64)  # fmt: skip
            children.append(
                subprocess.Popen(
                    [sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
                    pass_fds=[one for one in descriptors if is_store(one)],
                )
            )  # fmt: skip
        return x

    def is_store(number: int) -> bool:
        try:
            return os.fstat(number).st_ino == os.stat(tmp_path / "run" / "models.fastbptt").st_ino
        except OSError:
            return False

    run(tmp_path / "run", augment=start, jobs=1)
    try:
        assert children[0].poll() is None
        run(tmp_path / "run", augment=start, jobs=1)
    finally:
        children[0].communicate(b"\n")


# ---------------------------------------------------------------- several small models


class Acts(fastbptt.Callback):
    def __init__(self, how: str) -> None:
        self.how = how

    def on_epoch_end(self, run: Any) -> None:
        if run.epoch != 2:
            return
        if self.how == "raise":
            raise RuntimeError("not today")
        if self.how == "fit":
            fastbptt.fit(fastbptt.GRU(3, 2, 2, seed=0), X, Y, **FIXED)
        if self.how == "block":
            time.sleep(0.3)
        if self.how == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)


@pytest.mark.parametrize("how", ["raise", "fit", "block", "interrupt"])
def test_crews_whose_members_do_other_things(how: str) -> None:
    count, given = 12, FIXED | {"epochs": 4, "batch_size": 2}

    def small(k: int) -> fastbptt.Recurrent:
        return fastbptt.GRU(3, 2, 2, seed=k)

    assert small(0)._engine.networks_together(2, 6, count) > 1
    callbacks: list[Any] = [[] for _ in range(count)]
    callbacks[1] = [Acts(how)]
    given["epochs"] = 10**7 if how == "interrupt" else 4
    each: dict[str, Any] = {"callbacks": callbacks}
    fits = fastbptt.fit_many(
        small, X, Y, count=count, jobs=1, each=each, on_error="report", **given
    )
    if how == "interrupt":
        assert fits.stopped == "interrupted"
        assert all(one.stopped == "interrupted" for one in fits)
    for k, one in enumerate(fits):
        if one.model is None:
            continue
        if how == "raise" and k == 1:
            assert "not today" in str(one.error)
            continue
        assert one.error is None
        if how != "interrupt":
            alone = small(k)
            fastbptt.fit(alone, X, Y, **given)
            np.testing.assert_array_equal(one.model._weights.get(), alone._weights.get())
