"""`fit(comm=)`: several ranks train as one process, and end alike. Threads stand for the ranks."""

from __future__ import annotations

import errno
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_ranks import Aborted, ranks

import fastbptt
from fastbptt.models import saving
from fastbptt.training import distributed, loop
from fastbptt.training.distributed import Sums, SumsByMessages, sums_of

RNG = np.random.default_rng(0)
N, TIME = 50, 7
X = RNG.normal(size=(N, TIME, 2))
Y = X.sum(axis=1)[:, :1]
EACH = np.cumsum(X, axis=1)
LENGTHS = RNG.integers(2, TIME + 1, N)
WEIGHT = RNG.uniform(size=N)
OF_STEPS = np.where(RNG.uniform(size=(N, TIME)) < 0.3, 0.0, RNG.uniform(size=(N, TIME)))
OF_STEPS[:, 1] = 1.0
KINDS = (Y[:, 0] > 0).astype(int)
RESETS = RNG.uniform(size=(N, TIME)) < 0.2
ALL: dict[str, Any] = {"y": EACH, "loss": "mse", "steps": "all"}
BLOCKS = fastbptt.Losses({"a": "mse", "b": "bce"}, weights={"b": 0.5})
OF_BLOCKS: dict[str, Any] = {"y": {"a": Y, "b": KINDS}, "loss": BLOCKS}
SOME = np.where(np.arange(N) % 3, 1.0, 0.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = fastbptt.get_num_threads()
    fastbptt.set_num_threads(1)
    yield
    fastbptt.set_num_threads(before)


def trained(comm: Any = None, size: int = 1, cell: str = "GRU", **options: Any) -> Any:
    """Train on batches of 12 of all ranks together; return history and model."""
    given = {"x": X, "y": Y, "loss": "mse", "epochs": 2, "verbose": 0, **options}
    model_options = given.pop("model", {})
    several = given.get("steps") == "all" or given["loss"] is BLOCKS
    width = model_options.pop("output_size", 2 if several else 1)
    model = getattr(fastbptt, cell)(2, 4, width, seed=3, dtype="float64", **model_options)
    if comm is not None:
        given["comm"] = comm
    given.setdefault("optimizer", fastbptt.Adam(0.02))
    history = fastbptt.fit(model, batch_size=12 // size, **given)
    return history, model


def no_seconds(history: fastbptt.History) -> dict[str, list[float]]:
    return {name: curve for name, curve in history.curves.items() if name != "seconds"}


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum", "optimizer": fastbptt.SGD(1e-3)},
    "lengths": {"lengths": LENGTHS},
    "weights": {"sample_weight": WEIGHT, "metrics": "mae"},
    "no weight for some": {"sample_weight": WEIGHT * SOME},
    "pooled": {"loss": "mse", "y": Y, "steps": "mean", "model": {"output_size": 1}},
    "classes": {"y": KINDS, "loss": "cross_entropy", "model": {"output_size": 3}},
    "class weights": {"y": KINDS, "loss": "bce", "class_weight": "balanced"},
    "gaussian": {"loss": "gaussian", "model": {"output_size": 2}},
    "quantile": {"loss": "quantile", "model": {"output_size": 3}},
    "all steps": ALL,
    "all steps, lengths": {**ALL, "lengths": LENGTHS},
    "all steps, sums": {**ALL, "lengths": LENGTHS, "reduction": "sum", "epochs": 1},
    "all steps, sequence mean": {**ALL, "lengths": LENGTHS, "reduction": "sequence_mean"},
    "steps with weights": {**ALL, "sample_weight": OF_STEPS, "lengths": LENGTHS},
    "steps with weights, sequence mean": {
        **ALL,
        "sample_weight": OF_STEPS,
        "reduction": "sequence_mean",
    },
    "sequences with weights at all steps": {**ALL, "sample_weight": WEIGHT},
    "warmup": {**ALL, "warmup": 1, "lengths": LENGTHS},
    "lists": {
        "x": [one[:end] for one, end in zip(X, LENGTHS, strict=True)],
        "y": [one[:end] for one, end in zip(EACH, LENGTHS, strict=True)],
        "steps": "all",
    },
    "missing": {"y": np.where(np.arange(N) % 5 == 0, np.nan, Y[:, 0]), "missing": "mask"},
    "blocks": {**OF_BLOCKS, "metrics": {"b": "accuracy"}},
    "blocks with weights": {**OF_BLOCKS, "sample_weight": {"a": WEIGHT, "b": SOME}},
    "resets": {**ALL, "resets": RESETS, "activity_change_l2": 0.1, "lengths": LENGTHS},
    "static": {"static": X[:, 0], "model": {"static_size": 2}},
    "penalties": {"l1": {"W_hh": 1e-2}, "l2": {"W_xh": 1e-2}, "clip_norm": 0.1},
    "penalties of sums": {"l1": {"W_hh": 1e-2}, "reduction": "sum", "clip_value": 0.1},
    "rates": {"activity_l1": 0.1, "activity_l2": 0.1, "lengths": LENGTHS},
    "omega": {"cell": "RNN", "omega": 0.1, "lengths": LENGTHS},
    "dropout": {"model": {"num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.2}},
    "zoneout": {"model": {"zoneout": 0.3, "bidirectional": True, "input_noise": 0.2}},
    "noise": {"cell": "RNN", "model": {"recurrent_noise": 0.3, "num_layers": 2}},
    "memory budget": {"memory_budget": "1MB"},
    "bucket": {"lengths": LENGTHS, "bucket": True},
    "augment": {"augment": lambda x, rng: x + rng.normal(size=x.shape), "lengths": LENGTHS},
    "schedule": {"schedule": "cosine", "validation": 0.3, "patience": 1, "epochs": 5},
    "validation": {"validation": (X[:9], Y[:9]), "metrics": ["mae", "r2"], "monitor": "mae"},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_train_as_one_process(name: str, size: int) -> None:
    def fresh() -> dict[str, Any]:
        given = dict(CASES[name])
        if "optimizer" in given:
            given["optimizer"] = given["optimizer"].copy()
        given["model"] = dict(given.get("model", {}))
        return given

    alone, model = trained(**fresh())
    found, _ = ranks(size, lambda comm: trained(comm, size, **fresh()))
    for one in found:
        if isinstance(one, BaseException):
            raise one
    for history, twin in found:
        assert history.epoch == alone.epoch
        assert no_seconds(history).keys() == no_seconds(alone).keys()
        for curve, values in no_seconds(history).items():
            np.testing.assert_allclose(values, alone[curve], rtol=1e-12, atol=1e-14, err_msg=curve)
        for key, values in twin.state_dict().items():
            np.testing.assert_allclose(values, model.state_dict()[key], rtol=0, atol=1e-12)
        assert twin._weights.get().tobytes() == found[0][1]._weights.get().tobytes()
        assert twin.last_losses == found[0][1].last_losses
        assert history == found[0][0], "seconds too"


# ---------------------------------------------------------------- alike or not at all


def fails(size: int, function: Any) -> list[str]:
    """Return what each rank raises; none may hang, or end the job."""
    found, world = ranks(size, function)
    assert "Abort" not in [name for names in world.calls for name in names]
    assert all(isinstance(one, Exception) for one in found), found
    return [f"{type(one).__name__}: {one}" for one in found]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": X[:-1], "y": Y[:-1]}, r"rank 1 on which x is float64 \(49, 7, 2\), on rank 0 float"),
        ({"x": X + 1}, "rank 1 on which x holds other values than on rank 0"),
        ({"y": Y.astype(np.float32)}, r"on which y is float32 \(50, 1\), on rank 0 float64 \(50"),
        ({"loss": "mae"}, 'on which loss is "mae", on rank 0 "mse"'),
        ({"sample_weight": WEIGHT}, r"on which weights is float64 \(50,\), on rank 0 None"),
        ({"epochs": 3}, "on which epochs is 3, on rank 0 2"),
        ({"seed": 3}, "on which seed is 3, on rank 0 0"),
        ({"optimizer": fastbptt.Adam(0.1)}, 'on which optimizer is {"lr": 0.1}, on rank 0'),
        ({"l2": {"W_hh": 1e-3}}, "on which options is "),
        ({"memory_budget": 1 << 20}, "on which memory_budget is 1048576, on rank 0 null"),
        ({"model": {"output_size": 1, "num_layers": 2}}, 'which model is .*"num_layers": 2'),
        ({"checkpoint": "run.st"}, "on which checkpoint is true, on rank 0 false"),
    ],
)
def test_ranks_that_differ_are_named_everywhere(
    other: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def one(comm: Any) -> Any:
        return trained(comm, 2, **(other if comm.Get_rank() else {}))

    first, second = fails(2, one)
    assert first == second
    assert first.startswith("ArgumentError: comm has a rank 1 on which "), first
    assert re.search(message, first), first


def test_other_batch_sizes_and_weights_are_named() -> None:
    def batches(comm: Any) -> Any:
        return trained(comm, 2 if comm.Get_rank() else 3)

    assert "rank 1 on which batch_size is 6, on rank 0 4;" in fails(2, batches)[0]

    def models(comm: Any) -> Any:
        model = fastbptt.RNN(2, 4, 1, seed=comm.Get_rank())
        return fastbptt.fit(model, X, Y, loss="mse", comm=comm, verbose=0)

    for text in fails(3, models):
        assert "rank 1 on which the model's parameters hold other values than on" in text
        assert "model = comm.bcast(model) before fit" in text

    def sent(comm: Any) -> Any:
        model = comm.bcast(fastbptt.RNN(2, 4, 1, seed=comm.Get_rank()))
        return fastbptt.fit(model, X, Y, loss="mse", epochs=1, comm=comm, verbose=0)

    found, _ = ranks(3, sent)
    assert found[0] == found[1] == found[2]


def test_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(["0.1.0", "0.2.0"])
    monkeypatch.setattr(distributed, "_installation", lambda: {"fastbptt": next(versions)})
    for text in fails(2, lambda comm: trained(comm, 2)):
        assert "on which fastbptt is 0." in text and "; expected the same version on all" in text


def test_an_error_before_training_is_raised_on_all_ranks() -> None:
    def one(comm: Any) -> Any:
        return trained(comm, 3, loss="mse" if comm.Get_rank() != 1 else "mmse")

    found = fails(3, one)
    assert found[1].startswith("ArgumentError: loss is")
    assert found[0] == found[2]
    assert found[0].startswith("RankError: rank 1 failed: ArgumentError: loss is")


class Does(fastbptt.Callback):
    """Calls a function on one rank, before the second epoch or after the third batch."""

    def __init__(self, comm: Any, rank: int, function: Any, name: str, step: int = 3) -> None:
        self.step = step
        self.mine = comm.Get_rank() == rank
        self.function, self.name = function, name

    def _do(self, name: str, run: Any, now: bool) -> Any:
        return self.function(run) if self.mine and name == self.name and now else None

    def on_epoch_begin(self, run: Any) -> Any:
        self._do("on_epoch_begin", run, run.epoch == 2)

    def on_batch_end(self, run: Any) -> Any:
        return self._do("on_batch_end", run, run.step == self.step)

    def on_epoch_end(self, run: Any) -> Any:
        return self._do("on_epoch_end", run, run.epoch == 1)


def _raise(error: BaseException) -> Any:
    def function(run: Any) -> None:
        raise error

    return function


HOOKS = ["on_epoch_begin", "on_batch_end", "on_epoch_end"]


@pytest.mark.parametrize("name", HOOKS)
def test_a_callback_that_fails_on_one_rank_ends_all(name: str) -> None:
    def one(comm: Any) -> Any:
        return trained(comm, 2, callbacks=[Does(comm, 1, _raise(KeyError("me")), name)])

    assert fails(2, one) == ["RankError: rank 1 failed: KeyError: 'me'", "KeyError: 'me'"]


@pytest.mark.parametrize("name", HOOKS)
def test_ctrl_c_of_one_rank_stops_all(name: str) -> None:
    def one(comm: Any) -> Any:
        return trained(comm, 2, callbacks=[Does(comm, 1, _raise(KeyboardInterrupt()), name)])

    (first, _), (second, _) = ranks(2, one)[0]
    assert first == second
    assert first.stopped == "interrupted"


@pytest.mark.parametrize("name", HOOKS[1:])
def test_a_callback_of_one_rank_stops_all(name: str) -> None:
    def one(comm: Any) -> Any:
        return trained(comm, 2, callbacks=[Does(comm, 1, lambda run: True, name)])

    (first, model), (second, twin) = ranks(2, one)[0]
    assert first == second
    assert first.stopped == "callback"
    assert model._weights.get().tobytes() == twin._weights.get().tobytes()


def test_a_deferred_ctrl_c_is_noticed_by_all() -> None:
    def one(comm: Any) -> Any:
        begun: list[Any] = []

        def press(run: Any) -> None:
            begun[0].interrupt.asked = True

        class Watched(distributed.Ranks):
            def begin(self, *arguments: Any) -> Any:
                begun.append(self)
                return super().begin(*arguments)

        with Watched(comm) as own:
            return trained(own, 2, callbacks=[Does(comm, 1, press, "on_batch_end")])

    (first, model), (second, twin) = ranks(2, one)[0]
    assert first.stopped == second.stopped == "interrupted"
    assert model._weights.get().tobytes() == twin._weights.get().tobytes()


def test_an_error_in_a_step_is_one_of_all() -> None:
    def one(comm: Any) -> Any:
        def augment(x: Any, rng: Any) -> Any:
            if comm.Get_rank() == 1:
                raise MemoryError("too small")
            return x

        augment.__qualname__ = "augment"
        return trained(comm, 2, augment=augment)

    found = fails(2, one)
    assert found[0] == "RankError: rank 1 failed: MemoryError: too small"
    assert found[1] == "MemoryError: too small"


def test_parameters_that_no_longer_agree_are_found() -> None:
    def change(run: Any) -> None:
        run.model.parameters["W_hh"][0, 0] += 1e-9

    def one(comm: Any) -> Any:
        return trained(comm, 3, callbacks=[Does(comm, 2, change, "on_batch_end")])

    for text in fails(3, one):
        assert text.startswith("RankError: rank 2 failed: its parameters are no longer those of")


def test_an_error_that_the_others_cannot_know_ends_the_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Damaged(loop.Order):
        def batches(self, epoch: int, first: int = 0) -> Any:
            for number, rows in enumerate(super().batches(epoch, first)):
                if number == 1 and threading.current_thread() is guilty[0]:
                    raise ZeroDivisionError("here")
                yield rows

    guilty: list[Any] = []

    def one(comm: Any) -> Any:
        if comm.Get_rank() == 1:
            guilty.append(threading.current_thread())
        comm.allgather(None)
        return trained(comm, 2)

    monkeypatch.setattr(loop, "Order", Damaged)
    (first, second), world = ranks(2, one)
    assert world.calls[1][-1] == "Abort"
    assert isinstance(second, ZeroDivisionError)
    assert isinstance(first, Aborted)
    assert "fastbptt: rank 1 of 2 failed: ZeroDivisionError: here" in capsys.readouterr().err


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("every", ["epoch", 0.0])
def test_any_number_of_ranks_resumes(before: int, after: int, every: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "run.st")
    how = {"checkpoint": path, "checkpoint_every": every, "epochs": 3, "validation": 0.2}
    whole = ranks(after, lambda comm: trained(comm, after, epochs=3, validation=0.2))[0][0]

    def begin(comm: Any) -> Any:
        dies = Does(comm, before - 1, _raise(KeyError("dies")), "on_batch_end", step=6)
        return trained(comm, before, callbacks=[dies], **how)

    def finish(comm: Any) -> Any:
        none = Does(comm, -1, None, "")
        return trained(comm, after, callbacks=[none], resume=True, **how)

    fails(before, begin)
    found = ranks(after, finish)[0]
    for history, model in found:
        assert no_seconds(history).keys() == no_seconds(whole[0]).keys()
        for name, curve in no_seconds(history).items():
            np.testing.assert_allclose(curve, whole[0][name], rtol=1e-12)
        np.testing.assert_allclose(model._weights.get(), whole[1]._weights.get(), atol=1e-12)
        if before == after:
            assert model._weights.get().tobytes() == whole[1]._weights.get().tobytes()


def test_one_process_resumes(tmp_path: Path) -> None:
    path = str(tmp_path / "run.st")
    ranks(2, lambda comm: trained(comm, 2, checkpoint=path))
    history, _ = trained(checkpoint=path, resume=True, epochs=3)
    assert len(history) == 3


def test_a_full_disk_is_an_error_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "save_model", full)
    path = str(tmp_path / "run.st")
    first, second = fails(2, lambda comm: trained(comm, 2, checkpoint=path))
    assert first == "OSError: [Errno 28] No space left on device"
    assert second == f"RankError: rank 0 failed: {first}"


def test_a_damaged_checkpoint_is_an_error_of_all(tmp_path: Path) -> None:
    path = tmp_path / "run.st"
    path.write_bytes(b"nothing")
    found = fails(2, lambda comm: trained(comm, 2, checkpoint=str(path), resume=True))
    assert found[1] == f"RankError: rank 0 failed: {found[0]}"


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "comm", ["COMM_WORLD", 0, True, object(), np.ones(2), type("Comm", (), {})]
)
def test_what_is_no_communicator_is_refused(comm: Any) -> None:
    with pytest.raises(TypeError, match=r"comm is .*; expected a communicator of mpi4py: MPI\.C"):
        trained(comm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss": lambda z, y, w: (0.0, z)},
            r"^loss is the function <lambda>; expected a loss by name",
        ),
        ({"bptt_steps": 3}, "bptt_steps is 3; expected None because comm is given"),
        ({"callbacks": [fastbptt.GradientMonitor()]}, r"callbacks\[0\] is a GradientMonitor, "),
        (
            {"x": iter([(X, Y)]), "y": None, "steps_per_epoch": 1},
            "x is an iterator; expected arrays because comm is given: all data on each rank",
        ),
    ],
)
def test_what_ranks_cannot_do_is_refused(options: dict[str, Any], message: str) -> None:
    def one(comm: Any) -> Any:
        model = fastbptt.RNN(2, 4, 1, seed=0)
        given = {"x": X, "y": Y, "loss": "mse", "verbose": 0, "comm": comm, **options}
        return fastbptt.fit(model, **given)

    with pytest.raises(ValueError, match=message):
        raise ranks(1, one)[0][0]


class NullComm:
    """What ranks without a part get, `MPI.COMM_NULL`: each question is an error."""

    def _ask(self) -> int:
        raise RuntimeError("MPI_ERR_COMM: invalid communicator")

    Get_size = Get_rank = Abort = Allgather = Alltoall = allgather = bcast = _ask
    is_inter = property(_ask)


def test_no_part_in_a_communicator_is_refused() -> None:
    message = (
        r"^comm is not usable \(MPI_ERR_COMM.*\), as MPI\.COMM_NULL is, .*if comm != MPI\.COMM_N"
    )
    with pytest.raises(fastbptt.ArgumentError, match=message):
        trained(NullComm())


@pytest.mark.parametrize("held_out", [False, True])
def test_a_metric_that_fails_on_one_rank_ends_all(held_out: bool) -> None:
    def one(comm: Any) -> Any:
        def careful(y: Any, outputs: Any) -> float:
            if comm.Get_rank() == 1:
                raise ValueError("no number")
            return 0.0

        own = {"validation": 0.2, "training_metrics": False} if held_out else {"validation": 0.2}
        return trained(comm, 2, metrics=careful, **own)

    found = fails(2, one)
    assert found[1].startswith('ValueError: metric "careful" failed: no number')
    assert found[0] == f"RankError: rank 1 failed: {found[1]}"


def test_a_batch_of_all_ranks_may_be_larger_than_any_number() -> None:
    def one(comm: Any) -> Any:
        model = fastbptt.GRU(2, 3, 1, seed=0, dtype="float64")
        how = {"loss": "mse", "epochs": 1, "verbose": 0, "batch_size": 2**63 - 1}
        return fastbptt.fit(model, X, Y, comm=comm, **how)["loss"]

    first, second = ranks(2, one)[0]
    assert first == second and len(first) == 1


@pytest.mark.parametrize("every", ["epoch", 0.0])
def test_a_disk_that_is_full_later_keeps_the_last_checkpoint(
    every: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.st"
    save, saved = saving.save_model, []

    def full(*arguments: Any) -> Any:
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        saved.append(path.read_bytes() if path.exists() else b"")
        return save(*arguments)

    monkeypatch.setattr(saving, "save_model", full)
    how = {"checkpoint": str(path), "checkpoint_every": every, "epochs": 4}
    found = fails(3, lambda comm: trained(comm, 3, **how))
    assert found[0].startswith("OSError: [Errno 28] No space left on device")
    assert found[1] == found[2] == f"RankError: rank 0 failed: {found[0]}"
    assert len(saved) == 2 and [one.name for one in tmp_path.iterdir()] == ["run.st"]
    monkeypatch.undo()
    whole = trained(epochs=4)[0]
    history, _ = ranks(3, lambda comm: trained(comm, 3, resume=True, **how))[0][0]
    np.testing.assert_allclose(history["loss"], whole["loss"], rtol=1e-12)


def test_another_batch_of_all_ranks_is_named(tmp_path: Path) -> None:
    how = {"checkpoint": str(tmp_path / "run.st")}
    ranks(2, lambda comm: trained(comm, 2, **how))
    found = fails(2, lambda comm: trained(comm, 1, resume=True, **how))
    assert "the batch_size of all ranks was 12, is 24" in found[0]
    with pytest.raises(ValueError, match=r"[:;] batch_size was 12, is 13"):
        fastbptt.fit(
            fastbptt.GRU(2, 4, 1, seed=3, dtype="float64"), X, Y, loss="mse", epochs=2, verbose=0,
            batch_size=13, optimizer=fastbptt.Adam(0.02), resume=True, **how,
        )  # fmt: skip


def test_only_the_first_rank_talks(capsys: pytest.CaptureFixture[str]) -> None:
    ranks(3, lambda comm: trained(comm, 3, verbose=2))
    assert capsys.readouterr().err.count("epoch 1") == 1


def test_more_threads_than_processors_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_place_of_work", lambda: ("here", 2, [0, 1, 2]))

    def one(comm: Any) -> Any:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            trained(comm, 2)
        return [str(each.message) for each in seen]

    found, _ = ranks(1, one)
    assert found == [[]]
    with pytest.warns(UserWarning, match="2 ranks on here have 4 threads for 3 processors"):
        found, _ = ranks(2, lambda comm: trained(comm, 2))
    assert found[0][0] == found[1][0]


# ---------------------------------------------------------------- sums


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_are_in_the_order_of_ranks(size: int, count: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    parts = (rng.normal(size=(size, count)) * 10.0 ** rng.integers(-3, 4, (size, 1))).astype(dtype)
    heads = rng.normal(size=(size, 4))

    def one(comm: Any) -> Any:
        own: Sums = sums_of(comm, 4, count, np.dtype(dtype))
        assert isinstance(own, SumsByMessages)
        found = []
        for _ in range(2):
            own.head[:], own.gradient[:] = heads[comm.Get_rank()], parts[comm.Get_rank()]
            head, gradient = own.total()
            found.append((head.copy(), gradient.copy()))
        return found

    expected, expected_head = parts[0].copy(), heads[0].copy()
    for rank in range(1, size):
        expected, expected_head = expected + parts[rank], expected_head + heads[rank]
    for found in ranks(size, one)[0]:
        for head, gradient in found:
            assert head.tobytes() == expected_head.tobytes()
            assert gradient.tobytes() == expected.tobytes()
