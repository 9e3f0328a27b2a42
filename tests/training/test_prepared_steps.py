"""Many steps in one call into the core do what they do one by one, to the bit."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training import checkpoints, loop
from fastbptt.training.prepared import sums_of_batches

RNG = np.random.default_rng(0)
N, T = 23, 6
X = RNG.normal(size=(N, T, 3))
Y = {"all": RNG.normal(size=(N, T, 2)), "last": RNG.normal(size=(N, 2))}
CLASSES = RNG.integers(0, 2, (N, T))
LENGTHS = np.r_[T, RNG.integers(1, T + 1, N - 1)]
WEIGHTS, STEP_WEIGHTS = RNG.random(N) + 0.1, RNG.random((N, T))
RESETS = RNG.random((N, T)) < 0.2
BLOCKS = fastbptt.Losses({"a": "mse", "b": "huber"}, weights={"a": 0.3})

#: Further arguments of `fit`, by name.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "in order": {"shuffle": False},
    "lengths": {"lengths": LENGTHS},
    "bucket": {"lengths": LENGTHS, "bucket": True},
    "weights": {"sample_weight": WEIGHTS, "lengths": LENGTHS},
    "weights of steps": {"sample_weight": STEP_WEIGHTS, "steps": "all"},
    "warm-up": {"sample_weight": WEIGHTS, "warmup": 2, "steps": "all", "lengths": [T] * N},
    "sum": {"reduction": "sum", "lengths": LENGTHS, "steps": "all"},
    "sequence mean": {"reduction": "sequence_mean", "lengths": LENGTHS, "steps": "all"},
    "pooled": {"steps": "max"},
    "resets": {"resets": RESETS, "steps": "all"},
    "few resets": {"resets": (np.arange(N) == 3)[:, None] & (np.arange(T) == 2)},
    "clip": {"clip_norm": 0.01},
    "clip values": {"clip_value": 0.001},
    "penalties": {"l1": {"W_hh": 1e-3}, "l2": {"W_xh": 1e-2}, "activity_change_l2": 1e-2},
    "activity": {"activity_l2": 1e-2},
    "schedule": {"schedule": "cosine"},
    "validation": {"validation": 0.3, "metrics": "r2", "patience": 3},
}


class EachBatch(fastbptt.Callback):
    """What has the steps made one by one."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_batch_end(self, run: Any) -> None:
        self.losses.append(run.batch_loss)


class Seen(fastbptt.Callback):
    def __init__(self) -> None:
        self.ends: list[tuple[int, float, float]] = []

    def on_epoch_end(self, run: Any) -> None:
        self.ends.append((run.step, run.batch_loss, run.optimizer.lr))


def outcome(model: Any, x: Any, y: Any, each: bool, **options: Any) -> dict[str, Any]:
    seen, adam = Seen(), fastbptt.Adam(0.01)
    callbacks = [seen, EachBatch()] if each else [seen]
    given: dict[str, Any] = {"loss": "mse", "epochs": 3, "batch_size": 5, "seed": 2} | options
    history = fastbptt.fit(model, x, y, optimizer=adam, callbacks=callbacks, verbose=0, **given)
    found = history.to_dict()
    del found["curves"]["seconds"]
    return {
        "history": repr(found),
        "weights": model.parameters.flat.tobytes(),
        "moments": adam._moment("v").flat.tobytes(),
        "rest": repr((model.last_losses, model.last_penalties, seen.ends, adam.step_count)),
        "seeds": model._dropout_seeds.state,
        "trained": model._trained_steps,
    }


def check(make: Any, x: Any, y: Any, **options: Any) -> None:
    assert outcome(make(), x, y, False, **options) == outcome(make(), x, y, True, **options)


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    options = {"steps": "last"} | OPTIONS[name]
    y = Y["all" if options["steps"] == "all" else "last"]
    check(lambda: fastbptt.GRU(3, 4, 2, seed=0), X, y, **options)


def together(model: Any, y: Any, callbacks: list[Any], **options: Any) -> tuple[Any, ...]:
    """What a run leaves; with a callback it calls the core for each epoch."""
    adam = fastbptt.Adam(0.01)
    given: dict[str, Any] = {"loss": "mse", "epochs": 40, "optimizer": adam, "seed": 2} | options
    history = fastbptt.fit(model, X, y, callbacks=callbacks, **given)
    seconds = history.curves.pop("seconds")
    assert len(seconds) == len(history) and min(seconds) > 0
    kept = model.parameters.flat.tobytes(), adam._moment("v").flat.tobytes(), adam.step_count
    rest = model.last_losses, model.last_penalties, model._dropout_seeds.state
    return repr(history.to_dict()), *kept, repr(rest)


@pytest.mark.parametrize("seconds", [2e-4, 10.0])  # of a call: it ends within an epoch, or not
@pytest.mark.parametrize("size", [N, 1])
@pytest.mark.parametrize("name", OPTIONS)
def test_epochs_together(
    name: str, size: int, seconds: float, monkeypatch: Any, capsys: Any
) -> None:
    """Several epochs in a call of the core, where nothing of Python comes between them."""
    monkeypatch.setattr(loop, "_CALL", seconds)
    options = {"steps": "last", "batch_size": size, "verbose": 2} | OPTIONS[name]
    y = Y["all" if options["steps"] == "all" else "last"]
    found, lines = [], []
    for callbacks in ([], [fastbptt.Callback()]):
        model = fastbptt.GRU(3, 4, 2, num_layers=2, dropout=0.2, seed=0)
        found.append(together(model, y, callbacks, **options))
        shown = capsys.readouterr().err
        lines.append([re.sub(r"\S+ s( |$)", "", line) for line in shown.splitlines()])
    assert found[0] == found[1]
    assert lines[0] == lines[1]
    assert len(lines[0]) == (5 if "patience" in options else 40)


@pytest.mark.parametrize("size", [N, 1])
def test_checkpoints_of_epochs_together(size: int, tmp_path: Path) -> None:
    """A run that is killed between two checkpoints ends as it would have."""
    options = {"epochs": 60, "batch_size": size, "verbose": 0}
    whole, cut = fastbptt.GRU(3, 4, 2, seed=0), fastbptt.GRU(3, 4, 2, seed=0)
    expected = together(whole, Y["last"], [], **options)
    kept: list[bytes] = []

    class Keeps(checkpoints.Checkpointer):
        def save(self, *given: Any) -> None:
            super().save(*given)
            kept.append((tmp_path / "run").read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "Checkpointer", Keeps)
        together(cut, Y["last"], [], checkpoint=tmp_path / "run", checkpoint_every=5e-4, **options)
    for file in kept[:: max(len(kept) // 8, 1)]:
        (tmp_path / "run").write_bytes(file)
        model = fastbptt.GRU(3, 4, 2, seed=0)
        resumed = {"checkpoint": tmp_path / "run", "resume": True, **options}
        assert together(model, Y["last"], [], **resumed) == expected
    assert len(kept) > 2


def test_errors_within_epochs_together() -> None:
    """Where a run diverges, and what is kept of it."""
    found = []
    for callbacks in ([], [fastbptt.Callback()]):
        model, sgd = fastbptt.RNN(3, 4, 2, seed=0), fastbptt.SGD(0.5)
        with pytest.raises(ValueError, match=r"epoch \d+, batch 1") as caught:
            fastbptt.fit(
                model, X, Y["last"], loss="mse", batch_size=N, epochs=5000, optimizer=sgd,
                l2={"W_hy": 1e4}, callbacks=callbacks, verbose=0,
            )  # fmt: skip
        found.append((str(caught.value), model.parameters.flat.tobytes(), sgd.step_count))
    assert found[0] == found[1]
    assert found[0][2] > 3


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("name", ["plain", "lengths", "weights", "penalties", "sum"])
def test_blocks_of_outputs(name: str, steps: str) -> None:
    y = {"a": Y[steps][..., 0], "b": Y[steps][..., 1]}
    options = OPTIONS[name] | {"loss": BLOCKS, "steps": steps}
    if name == "weights":
        options["sample_weight"] = {"a": WEIGHTS, "b": None}
    check(lambda: fastbptt.LSTM(3, 4, 2, seed=0), X, y, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "dropout": 0.3},
        {"recurrent_dropout": 0.3},
        {"zoneout": 0.2},
        {"input_noise": 0.1},
        {"bidirectional": True},
        {"learn_initial_state": True},
    ],
    ids=repr,
)
def test_models(options: dict[str, Any]) -> None:
    check(lambda: fastbptt.GRU(3, 4, 2, seed=0, **options), X, Y["all"], steps="all")


def test_static_inputs() -> None:
    static = RNG.normal(size=(N, 2))
    check(lambda: fastbptt.GRU(3, 4, 2, static_size=2, seed=0), X, Y["last"], static=static)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_lists(loss: str) -> None:
    every = Y["all"] if loss == "mse" else CLASSES
    x, y = ([one[:n] for one, n in zip(a, LENGTHS, strict=True)] for a in (X, every))
    resets = [one[:n] for one, n in zip(RESETS, LENGTHS, strict=True)]
    model = lambda: fastbptt.GRU(3, 4, 2, seed=0)  # noqa: E731
    check(model, x, y, loss=loss, steps="all", resets=resets)
    check(model, x, y, loss=loss, steps="all", bucket=True, warmup=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "kind",
    [
        *("float16", "float32", "float64", "longdouble", ">f8", ">i4", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    ],
)
def test_types_of_numbers(kind: str, dtype: str) -> None:
    x = np.abs(X * 30).astype(kind) if kind != "bool" else X > 0
    if kind in ("int64", "uint64"):
        x = x * np.array(2**40 + 12345, kind)  # more digits than float32 has
    y = np.abs(Y["all"] * 30).astype(kind)
    check(lambda: fastbptt.RNN(3, 4, 2, seed=0, dtype=dtype), x, y, steps="all")


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
def test_types_of_classes_and_tokens(kind: str) -> None:
    tokens = RNG.integers(0, 9, (N, T)).astype(kind)
    make = lambda: fastbptt.GRU(4, 3, 2, embedding=9, seed=0)  # noqa: E731
    check(make, tokens, CLASSES.astype(kind), loss="cross_entropy", steps="all", lengths=LENGTHS)


@pytest.mark.parametrize("spoilt", ["x", "y"])
def test_a_whole_number_too_large_for_64_bits_is_no_negative_one(spoilt: str) -> None:
    """In data that change after they were checked."""
    kind = np.uint64
    given = {"x": RNG.integers(0, 9, (N, T)).astype(kind), "y": RNG.integers(0, 2, N).astype(kind)}

    class Spoil(fastbptt.Callback):
        def on_epoch_begin(self, run: Any) -> None:
            if run.epoch == 2:
                given[spoilt][7:8] = 2**64 - 1

    model = fastbptt.GRU(4, 3, 2, embedding=9, seed=0)
    with pytest.raises(ValueError, match=f"^{spoilt} holds (token|class) 9223372036854775807 "):
        fastbptt.fit(
            model, given["x"], given["y"], loss="cross_entropy", batch_size=5, callbacks=[Spoil()],
            verbose=0,
        )  # fmt: skip


def test_any_strides() -> None:
    x, y = X[::-1, ::-1].transpose(0, 1, 2)[:, :, ::-1], Y["all"].T.copy().T[::-1]
    check(lambda: fastbptt.GRU(3, 4, 2, seed=0), x, y, steps="all")


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_errors_say_where(dropout: float, each: bool) -> None:
    """What came before the error is kept; the refused step leaves no trace."""
    x = X.copy()

    class Spoil(fastbptt.Callback):
        def on_epoch_begin(self, run: Any) -> None:
            if run.epoch == 2:
                x[17, 3, 1] = np.nan

    model = fastbptt.GRU(3, 4, 2, num_layers=2, dropout=dropout, seed=0)
    adam, seen = fastbptt.Adam(), [Spoil(), *[EachBatch()] * each]
    with pytest.raises(ValueError, match=r"\(17, 3, 1\).*epoch 2, batch 4") as caught:
        fastbptt.fit(
            model, x, Y["last"], loss="mse", batch_size=5, optimizer=adam, callbacks=seen,
            shuffle=False, verbose=0,
        )  # fmt: skip
    assert caught.value.index == (17, 3, 1)
    assert adam.step_count == 8
    assert model._dropout_seeds.state[1] == (8 if dropout else 0)


def test_a_penalty_on_what_is_frozen_meanwhile_is_refused() -> None:
    class Freeze(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            run.model.freeze("W_hh")

    model = fastbptt.GRU(3, 4, 2, seed=0)
    with pytest.raises(ValueError, match=r"l1\['W_hh'\] .* frozen.*epoch 2, batch 1"):
        fastbptt.fit(
            model, X, Y["last"], loss="mse", l1={"W_hh": 0.1}, callbacks=[Freeze()], verbose=0
        )


def test_rates_are_asked_for_once_and_in_order() -> None:
    steps: list[int] = []

    class Notes(fastbptt.schedules.Schedule):  # fit has a copy of it
        def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
            steps.append(step)
            return 1.0 / (1 + step)

    plan, seen = Notes(), Seen()
    fastbptt.fit(
        fastbptt.RNN(3, 4, 2, seed=0), X, Y["last"], loss="mse", batch_size=5, epochs=3,
        schedule=plan, optimizer=fastbptt.SGD(0.5), callbacks=[seen], verbose=0,
    )  # fmt: skip
    assert steps == list(range(15))
    assert [rate for _, _, rate in seen.ends] == [0.5 / 5, 0.5 / 10, 0.5 / 15]


def test_a_rate_that_fails_comes_after_the_steps_before_it() -> None:
    class Fails(fastbptt.schedules.Schedule):
        def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
            return 1.0 if step < 7 else -1.0

    model, adam = fastbptt.RNN(3, 4, 2, seed=0), fastbptt.Adam(0.01)
    with pytest.raises(ValueError, match=r"lr is -0\.01"):
        fastbptt.fit(
            model, X, Y["last"], loss="mse", batch_size=5, schedule=Fails(), optimizer=adam,
            verbose=0,
        )  # fmt: skip
    assert adam.step_count == 7 and adam.lr == 0.01


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_ctrl_c_within_an_epoch(tmp_path: Path, dropout: float) -> None:
    """The rest of the epoch follows after the interruption, to the bit."""
    count = 6_000  # batches of 1: more than a call takes
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(count, 2, 1)), rng.normal(size=count)

    class Interrupts(fastbptt.schedules.Schedule):
        def __init__(self, step: int) -> None:
            self._step = step

        def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
            if step == self._step:
                os.kill(os.getpid(), signal.SIGINT)
            return 1.0 / (1 + step)

    def make() -> Any:
        return fastbptt.GRU(1, 3, 1, num_layers=2, dropout=dropout, seed=0)

    def fit(model: Any, step: int = -1, **more: Any) -> Any:
        return fastbptt.fit(
            model, x, y, loss="mse", batch_size=1, epochs=1, verbose=0, schedule=Interrupts(step),
            optimizer=fastbptt.SGD(0.01), **more,
        )  # fmt: skip

    file, cut = tmp_path / "run", make()
    history = fit(cut, 3000, checkpoint=file)
    assert history.stopped == "interrupted" and len(history) == 0
    if dropout:
        assert 0 < cut._dropout_seeds.state[1] < count
    resumed, whole = make(), make()
    ended, expected = fit(resumed, checkpoint=file, resume=True), fit(whole)
    assert ended["loss"] == expected["loss"] and ended["lr"] == expected["lr"]
    assert (resumed.parameters.flat == whole.parameters.flat).all()
    assert resumed._dropout_seeds.state == whole._dropout_seeds.state


def test_checkpoints_between_all_batches(tmp_path: Path) -> None:
    """With 0 seconds between checkpoints, each call trains on one batch."""
    file, whole = tmp_path / "run", fastbptt.GRU(3, 4, 2, seed=0)
    saved = []

    class Count(fastbptt.Callback):
        def state(self) -> dict[str, Any]:
            saved.append(1)
            return {}

    fastbptt.fit(
        whole, X, Y["last"], loss="mse", batch_size=5, epochs=2, checkpoint=file,
        checkpoint_every=0, callbacks=[Count()], verbose=0,
    )  # fmt: skip
    assert len(saved) == 1 + 2 * (5 + 1)  # at the start, after each batch and each epoch


def test_a_train_step_of_ones_own_is_called() -> None:
    calls = []

    class Own(fastbptt.GRU):
        def train_step(self, *arguments: Any, **options: Any) -> float:
            calls.append(1)
            return super().train_step(*arguments, **options)

    fastbptt.fit(Own(3, 4, 2, seed=0), X, Y["last"], loss="mse", batch_size=5, epochs=2, verbose=0)
    assert len(calls) == 10


def test_other_threads_run_meanwhile() -> None:
    """Several runs in threads of their own give what each gives alone."""

    def run(seed: int, into: dict[int, bytes]) -> None:
        model = fastbptt.GRU(3, 4, 2, seed=seed, num_layers=2, dropout=0.2)
        fastbptt.fit(model, X, Y["last"], loss="mse", batch_size=2, epochs=20, verbose=0, seed=seed)
        into[seed] = model.parameters.flat.tobytes()

    alone: dict[int, bytes] = {}
    together: dict[int, bytes] = {}
    for seed in range(4):
        run(seed, alone)
    threads = [threading.Thread(target=run, args=(seed, together)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert together == alone


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 129, 1000])
def test_sums_of_batches(size: int) -> None:
    rng = np.random.default_rng(size)
    values, rows = rng.random(700), rng.permutation(700)[:500]
    starts = rng.permutation(np.arange(0, 500, size))
    found = sums_of_batches(values, rows, starts, size)
    assert found == [float(values[rows[start : start + size]].sum()) for start in starts]
    counts = sums_of_batches(None, rows, starts, size)
    assert counts == [float(len(rows[start : start + size])) for start in starts]
