"""A run that is killed at any moment and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.optim import OPTIMIZERS
from fastbptt.optim.schedules import SCHEDULES

# Trains in children that get SIGKILL at random moments, then in a last one that may end.
KILLS = r"""
import json, os, random, signal, sys, time
import numpy as np
import fastbptt
from fastbptt.optim import OPTIMIZERS
from fastbptt.optim.schedules import SCHEDULES

folder, optimizer, schedule, steps, seed = sys.argv[1:]
fastbptt.set_num_threads(1)
rng = np.random.default_rng(0)
x = rng.normal(size=(40, 6, 2)).astype(np.float32)
lengths = rng.integers(1, 7, 40)
y = rng.integers(0, 3, (40, 6) if steps == "all" else 40)

settings = {"plateau": {"patience": 1, "factor": 0.7}, "step": {"every": 3}}.get(schedule, {})

class Count(fastbptt.Callback):
    # counts batches and epochs; tells the parent when one is over
    def __init__(self, pipe):
        self.pipe, self.batches, self.epochs = pipe, 0, 0
    def on_batch_end(self, run):
        self.batches += 1
        if self.pipe is not None:
            os.write(self.pipe, b".")
    def on_epoch_end(self, run):
        self.epochs += 1
    def state(self):
        return {"batches": self.batches, "epochs": self.epochs}
    def load_state(self, state):
        self.batches, self.epochs = state["batches"], state["epochs"]

def train(checkpoint, pipe=None, every=None):
    model = fastbptt.GRU(2, 4, 3, num_layers=2, dropout=0.3, seed=1)
    callback = Count(pipe)
    history = fastbptt.fit(
        model, x, y, lengths=lengths, steps=steps, epochs=20, batch_size=7,
        optimizer=OPTIMIZERS[optimizer](lr=0.05), schedule=SCHEDULES[schedule](**settings),
        validation=0.2, patience=5, metrics=["accuracy"], bucket=True, clip_norm=1.0,
        callbacks=[callback], verbose=0, checkpoint=checkpoint, checkpoint_every=every,
        resume=checkpoint is not None,
    )
    history.curves.pop("seconds")
    return model.parameters.flat.tobytes().hex(), history.to_dict(), callback.state()

whole = train(None)
random.seed(int(seed))
checkpoint = os.path.join(folder, "run")
killed = began = 0
while killed < 10:
    ready, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        train(checkpoint, report, random.choice([None, 0, 0.002]))
        os._exit(0)
    os.close(report)
    for _ in range(random.randrange(1, 9)):
        if not os.read(ready, 1):
            break
    time.sleep(random.random() * 0.004)
    os.kill(child, signal.SIGKILL)
    os.close(ready)
    status = os.waitpid(child, 0)[1]
    killed += os.WIFSIGNALED(status)
    began += os.path.exists(checkpoint)
    if not os.WIFSIGNALED(status):  # it was at its end already: start again
        assert train(checkpoint) == whole
        os.unlink(checkpoint)
again = train(checkpoint)
print(json.dumps([again == whole, began, whole[1]["stopped"], os.listdir(folder)]))
"""


def run_kills(folder: Path, *given: object) -> tuple[bool, int, str, list[str]]:
    command = [sys.executable, "-c", KILLS, str(folder), *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    same, began, stopped, files = json.loads(done.stdout)
    return same, began, stopped, files


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        pytest.param(
            *case, marks=() if case in (("adam", "all"), ("sgd", "last")) else pytest.mark.slow
        )
        for case in itertools.product(OPTIMIZERS, ["last", "all"])
    ],
)
def test_killed_ten_times(optimizer: str, steps: str, tmp_path: Path) -> None:
    same, began, stopped, files = run_kills(tmp_path, optimizer, "cosine", steps, 1)
    assert same and began > 0 and stopped in ("early stopping", "epochs")
    assert files == ["run"]  # what killed writers had left is cleared away


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_killed_ten_times_with_a_schedule(schedule: str, tmp_path: Path) -> None:
    same, began, _, _ = run_kills(tmp_path, "adam", schedule, "last", 2)
    assert same and began > 0


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 5, 2)), RNG.integers(0, 2, 20)


def model() -> fastbptt.Recurrent:
    return fastbptt.LSTM(2, 3, 1, num_layers=2, dropout=0.5, seed=1)


def fit(net: fastbptt.Recurrent, x: Any = X, y: Any = Y, **options: Any) -> fastbptt.History:
    given = {"epochs": 4, "batch_size": 6, "verbose": 0, **options}
    given.setdefault("optimizer", fastbptt.Adam(0.01))
    return fastbptt.fit(net, x, y, **given)


def bits(net: fastbptt.Recurrent) -> bytes:
    return net.parameters.flat.tobytes()


class Raise(fastbptt.Callback):
    """Fails at a step, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, run: Any) -> None:
        if run.step == self.step:
            raise OSError("the disk is on fire")


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_killed_while_writing_the_old_checkpoint_stands(moment: str, tmp_path: Path) -> None:
    code = f"""
import os, sys, signal, builtins
sys.path.insert(0, {str(Path(__file__).parent.parent / "support")!r})
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_fit_resume import fit, model
path = {str(tmp_path / "run")!r}
fit(model(), epochs=2, checkpoint=path)
def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)
if {moment!r} == "write":
    def half(name, mode="r", **options):
        file = real(name, mode, **options)
        if "x" in mode:
            whole = file.write
            class Half:
                def __enter__(self): return self
                def __exit__(self, *error): file.close()
                fileno = file.fileno
                def write(self, content):
                    whole(content[: len(content) // 2]); file.flush(); die()
            return Half()
        return file
    real, builtins.open = builtins.open, half
else:
    setattr(os, {moment!r}, die)
fit(model(), epochs=4, checkpoint=path, resume=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    assert len(os.listdir(tmp_path)) == 2  # the checkpoint, and what was being written
    whole, resumed = model(), model()
    fit(whole)
    history = fit(resumed, checkpoint=tmp_path / "run", resume=True)
    assert bits(whole) == bits(resumed) and history.epoch == [1, 2, 3, 4]
    assert os.listdir(tmp_path) == ["run"]


def test_after_a_crash_with_an_exception(tmp_path: Path) -> None:
    whole, resumed = model(), model()
    fit(whole, callbacks=[Raise(-1)])
    path = tmp_path / "run"
    for step in (3, 6, 11):
        with pytest.raises(OSError, match="on fire"):
            fit(model(), checkpoint=path, checkpoint_every=0, resume=True, callbacks=[Raise(step)])
    fit(resumed, checkpoint=path, resume=True, callbacks=[Raise(-1)])
    assert bits(whole) == bits(resumed)


def test_a_finished_run_can_be_resumed_and_prolonged(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(model(), epochs=3, checkpoint=path, validation=0.25, monitor="validation_loss")
    again = model()
    history = fit(
        again, epochs=3, checkpoint=path, resume=True, validation=0.25, monitor="validation_loss"
    )
    assert history.stopped == "epochs" and len(history) == 3
    whole, longer = model(), model()
    fit(whole, epochs=6, validation=0.25, monitor="validation_loss")
    history = fit(longer, epochs=6, resume=path, validation=0.25, monitor="validation_loss")
    assert bits(whole) == bits(longer) and len(history) == 6


class Stop(fastbptt.Callback):
    """Ends a run as Ctrl-C does, after some epochs."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_epoch_begin(self, run: Any) -> None:
        if run.epoch > self.after:
            raise KeyboardInterrupt


def test_no_epoch_more_than_there_are(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(model(), epochs=9, checkpoint=path, callbacks=[Stop(3)])
    for epochs in (1, 2, 3, 5):
        net = model()
        history = fit(net, epochs=epochs, resume=path, callbacks=[Stop(9)])
        assert len(history) == max(3, epochs) and history.stopped == "epochs"
        assert (bits(net) == bits(fastbptt.load(path))) == (epochs <= 3)


def test_fewer_epochs_than_were_made_several_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "run"
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    # whole batches, so that epochs go to the core together; one for each, so that none is begun
    whole = fit(model(), epochs=10**6, batch_size=20, checkpoint=path, checkpoint_every=60.0)
    timer.join()
    assert whole.stopped == "interrupted" and len(whole) > 2
    net = model()
    history = fit(net, epochs=2, batch_size=20, resume=path)
    assert len(history) == len(whole) and history.stopped == "epochs"
    assert bits(net) == bits(fastbptt.load(path))


def test_checkpoints_are_model_files(tmp_path: Path) -> None:
    net = model()
    net.metadata["task"] = "a test"
    fit(net, checkpoint=tmp_path / "run")
    loaded = fastbptt.load(tmp_path / "run")
    assert bits(loaded) == bits(net) and loaded.metadata == {"task": "a test"}
    assert fastbptt.load_optimizer(tmp_path / "run").step_count == 16


def test_resume_without_a_file_begins_at_the_start(tmp_path: Path) -> None:
    whole, other = model(), model()
    fit(whole)
    fit(other, checkpoint=tmp_path / "run", resume=True)
    assert bits(whole) == bits(other)
    with pytest.raises(FileNotFoundError):
        fit(model(), resume=tmp_path / "another")


OTHERS: dict[str, dict[str, Any]] = {
    "the data differ in x;": {"x": X + 1e-9},
    "the data differ in y;": {"y": 1 - Y},
    "weights was not there": {"sample_weight": np.full(20, 2.0)},
    "batch_size was 6, is 5": {"batch_size": 5},
    "seed was 0, is 1": {"seed": 1},
    "shuffle was true, is false": {"shuffle": False},
    "optimizer was": {"optimizer": fastbptt.Adam(0.02)},
    'schedule was "None", is "Cosine(': {"schedule": "cosine"},
    "validation was null, is 0.5": {"validation": 0.5},
    "validation x was not there": {"validation": (X, Y)},
    "metrics was []": {"metrics": ["accuracy"]},
    "callbacks was []": {"callbacks": [Raise(-1)]},
    "loss was": {"loss": "mse"},
    'options was {"clip_norm": null}, is {"clip_norm": 1.0};': {"clip_norm": 1.0},
    "lengths was not there": {"lengths": [5] * 20},
}


@pytest.mark.parametrize("message", OTHERS)
def test_other_data_and_settings_are_refused(message: str, tmp_path: Path) -> None:
    fit(model(), epochs=1, checkpoint=tmp_path / "run")
    net = model()
    before = bits(net)
    with pytest.raises(ValueError, match=r"cannot resume from .*expected the same data") as caught:
        fit(net, **{"epochs": 1, **OTHERS[message]}, resume=tmp_path / "run")
    assert message in str(caught.value)
    assert bits(net) == before


def test_other_data_are_told_without_hashes(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(model(), epochs=1, checkpoint=path, validation=(X, Y))
    for more, told in (
        ({"x": X[:5], "y": Y[:5], "validation": (X, Y)}, "the data differ: 20 sequences, now 5"),
        ({"x": list(X[:5]), "y": Y[:5], "validation": (X, Y)}, "the data differ: 20 sequences"),
        ({"x": X.astype(np.float32), "validation": (X, Y)}, "the data differ in x: float64 (20, "),
        ({"validation": (X + 1, Y)}, "the validation data differ in x"),
        ({"validation": (X[:3], Y[:3])}, "the validation data differ: 20 sequences, now 3"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"cannot resume from ") as caught:
            fit(model(), **{"epochs": 1, **more}, resume=path)
        message = str(caught.value)
        assert f"': {told}" in message
        assert message.count("data differ") == 1
        assert not re.search("[0-9a-f]{32}", message)
    with pytest.raises(ValueError, match=r"lengths was not there, is int64 \(20,\);") as caught:
        fit(model(), epochs=1, resume=path, validation=(X, Y), lengths=[5] * 20)


def test_another_model_is_refused(tmp_path: Path) -> None:
    fit(model(), epochs=1, checkpoint=tmp_path / "run")
    other = fastbptt.LSTM(2, 4, 1, num_layers=2, dropout=0.5, seed=1)
    differs = r'model was {"arguments": {"hidden_size": 3}}, is {"arguments": {"hidden_size": 4}};'
    with pytest.raises(ValueError, match=f"cannot resume from .*{differs}"):
        fit(other, resume=tmp_path / "run")
    other.save(tmp_path / "plain")
    with pytest.raises(ValueError, match="it is a model without a run of fit; expected a check"):
        fit(other, resume=tmp_path / "plain")


@pytest.mark.parametrize("damage", ["cut short", "one bit"])
def test_damaged_checkpoints_are_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(model(), epochs=1, checkpoint=path)
    content = path.read_bytes()
    for place in RNG.integers(9, len(content), 50):
        changed = bytearray(content)
        changed[place] ^= 1 << int(RNG.integers(8))
        path.write_bytes(content[:place] if damage == "cut short" else changed)
        net = model()
        before = bits(net)
        with pytest.raises(ValueError, match="cannot load"):
            fit(net, checkpoint=path, resume=True)
        assert bits(net) == before


def test_what_cannot_be_written_is_found_before_the_first_epoch(tmp_path: Path) -> None:
    class Counts(fastbptt.Callback):
        def state(self) -> dict[str, Any]:
            return {"count": np.int64(1)}

    net = model()
    before = bits(net)
    with pytest.raises(TypeError, match=r"callbacks\[1\]\.state\(\) cannot be written \(.*int64"):
        fit(net, checkpoint=tmp_path / "run", callbacks=[Raise(-1), Counts()])
    net.metadata["x"] = X
    with pytest.raises(TypeError, match=r"metadata cannot be written \(.*ndarray"):
        fit(net, checkpoint=tmp_path / "run")
    assert bits(net) == before and os.listdir(tmp_path) == []


def test_bad_arguments(tmp_path: Path) -> None:
    net = model()
    before = bits(net)
    for error, message, given in [
        (ValueError, "resume is True, but checkpoint is None", {"resume": True}),
        (TypeError, "resume is 3; expected True, False or a path", {"resume": 3}),
        (TypeError, "checkpoint is of type int; expected str", {"checkpoint": 1}),
        (FileNotFoundError, "no such directory", {"checkpoint": tmp_path / "no" / "run"}),
        (ValueError, "checkpoint_every is 5, but checkpoint is None", {"checkpoint_every": 5}),
        (ValueError, "checkpoint_every is -1", {"checkpoint_every": -1, "checkpoint": "run"}),
        (TypeError, "checkpoint_every is 'step'", {"checkpoint_every": "step", "checkpoint": "a"}),
    ]:
        with pytest.raises(error, match=message):
            fit(net, **given)
    assert bits(net) == before
    assert os.listdir(tmp_path) == []


def test_functions_of_one_name_are_told_apart_by_their_code(tmp_path: Path) -> None:
    """The loss and the augmentation; a metric may be corrected."""

    def made(by: float) -> dict[str, Any]:
        def loss(outputs: Any, y: Any, weights: Any) -> Any:
            return by * float((outputs**2).sum()), 2.0 * by * outputs

        def score(y: Any, outputs: Any) -> float:
            return by

        return {"loss": loss, "metrics": score, "augment": lambda x, rng: x * by}

    x = np.ones((6, 3, 2))
    given: dict[str, Any] = {"epochs": 1, "verbose": 0, "reduction": "sum"}
    for name, words in (("loss", "loss, "), ("augment", "augment, "), ("metrics", "")):
        one, other = made(1.0), made(2.0)
        how = {**given, "loss": one["loss"], "checkpoint": tmp_path / name, "resume": True}
        fastbptt.fit(fastbptt.RNN(2, 3, 1, seed=0), x, x[:, 0, :1], **how | {name: one[name]})
        changed = how | {name: other[name]}
        if not words:
            fastbptt.fit(fastbptt.RNN(2, 3, 1, seed=0), x, x[:, 0, :1], **changed)
            continue
        with pytest.raises(ValueError, match=f"{words}.*, has other code or other values in it"):
            fastbptt.fit(fastbptt.RNN(2, 3, 1, seed=0), x, x[:, 0, :1], **changed)
