"""What happens around the updates: Ctrl-C, callbacks, what is shown, what the history keeps."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training.batches import Order

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 5, 2)).astype(np.float32), RNG.integers(0, 2, 20)


def model() -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 3, 1, num_layers=2, dropout=0.5, seed=1)


def fit(net: fastbptt.Recurrent, **options: Any) -> fastbptt.History:
    given = {"epochs": 3, "batch_size": 6, "verbose": 0, **options}
    given.setdefault("optimizer", fastbptt.Adam(0.01))
    return fastbptt.fit(net, X, Y, **given)


def bits(net: fastbptt.Recurrent) -> bytes:
    return net.parameters.flat.tobytes()


def after(steps: int) -> bytes:
    """The weights after so many updates, by hand."""
    net, adam, order = model(), fastbptt.Adam(0.01), Order(np.arange(20), 6, True, 0)
    batches = [rows for epoch in range(1, 4) for rows in order.batches(epoch)]
    for rows in batches[:steps]:
        net.train_step(X[rows], Y[rows], adam)
    return bits(net)


class At(fastbptt.Callback):
    """Does something after some update."""

    def __init__(self, step: int, action: Any) -> None:
        self.step, self.action, self.steps = step, action, 0

    def on_batch_end(self, run: Any) -> Any:
        self.steps += 1
        return self.action() if run.step == self.step else None


def interrupt(times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)


def raises() -> None:
    raise KeyboardInterrupt


# ---------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("action", [interrupt, raises, lambda: interrupt(2)])
@pytest.mark.parametrize("step", [1, 4, 6])
def test_ctrl_c_stops_within_a_step(step: int, action: Any) -> None:
    net, callback, handler = model(), At(step, action), signal.getsignal(signal.SIGINT)
    history = fit(net, callbacks=[callback])
    assert history.stopped == "interrupted" and callback.steps == step
    assert history.epoch == list(range(1, (step - 1) // 4 + 1))  # whole epochs only
    assert bits(net) == after(step)
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(model(), callbacks=[At(6, interrupt)], checkpoint=path)
    net = model()
    history = fit(net, callbacks=[At(0, interrupt)], checkpoint=path, resume=True)
    assert bits(net) == after(12) and history.stopped == "epochs" and len(history) == 3


def test_ctrl_c_gives_the_best_weights_back() -> None:
    kept: list[bytes] = []

    class Keep(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            kept.append(bits(run.model))

    net = model()
    history = fit(
        net, epochs=30, callbacks=[Keep(), At(90, interrupt)], monitor="validation_loss",
        validation=0.3, optimizer=fastbptt.Adam(0.1),
    )  # fmt: skip
    best = history.best_epoch
    assert history.stopped == "interrupted" and best is not None and best < len(kept)
    assert best == int(np.argmin(history["validation_loss"])) + 1
    assert bits(net) == kept[best - 1] != kept[-1]


def test_ctrl_c_of_another_process() -> None:
    code = f"""
import sys, json
sys.path.insert(0, {str(Path(__file__).parent.parent / "support")!r})
sys.path.insert(0, {str(Path(__file__).parent)!r})
import fastbptt
from test_fit_course import fit, model
class Tell(fastbptt.Callback):
    def on_batch_end(self, run):
        print(run.step, flush=True)
net = model()
history = fit(net, epochs=10**9, callbacks=[Tell()])
import numpy as np
print(json.dumps([history.stopped, bool(np.isfinite(net.parameters.flat).all()), len(history)]))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(50):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        last = child.stdout.read().splitlines()[-1]
    assert child.returncode == 0
    stopped, finite, epochs = json.loads(last)
    assert stopped == "interrupted" and finite and epochs >= 12


def test_a_handler_of_the_programs_own_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        assert fit(model(), callbacks=[At(2, interrupt)]).stopped == "epochs"
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_in_another_thread() -> None:
    found: list[Any] = []
    net = model()
    thread = threading.Thread(target=lambda: found.append(fit(net)))
    thread.start()
    thread.join()
    assert found[0].stopped == "epochs" and bits(net) == after(12)


# ---------------------------------------------------------------- callbacks


class Log(fastbptt.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_train_begin(self, run: Any) -> None:
        self.calls.append(f"train {run.epoch} {run.step} {run.epochs} {run.steps_per_epoch}")

    def on_epoch_begin(self, run: Any) -> None:
        self.calls.append(f"epoch {run.epoch}")

    def on_batch_end(self, run: Any) -> None:
        assert math.isfinite(run.batch_loss)
        self.calls.append(f"{run.step}")

    def on_epoch_end(self, run: Any) -> None:
        assert len(run.history) == run.epoch == len(run.history["loss"])
        self.calls.append("over")

    def on_train_end(self, run: Any) -> None:
        self.calls.append(f"end {run.loss} {run.steps} {run.history.stopped}")


def test_callbacks_in_their_order() -> None:
    log = Log()
    fit(model(), epochs=2, batch_size=12, callbacks=log)
    assert log.calls == [
        "train 0 0 2 2", "epoch 1", "1", "2", "over", "epoch 2", "3", "4", "over",
        "end bce last epochs",
    ]  # fmt: skip


@pytest.mark.parametrize(("step", "epochs"), [(3, 0), (4, 0), (5, 1)])
def test_a_batch_callback_stops(step: int, epochs: int) -> None:
    net, log = model(), Log()
    history = fit(net, callbacks=[At(step, lambda: True), log])
    assert history.stopped == "callback" and len(history) == epochs
    assert bits(net) == after(step)
    assert log.calls[-2:] == [str(step), "end bce last callback"]  # the others hear of it too


def test_an_epoch_callback_stops() -> None:
    class Stop(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> bool:
            return run.epoch == 2

    net = model()
    history = fit(net, callbacks=[Stop()])
    assert history.stopped == "callback" and len(history) == 2 and bits(net) == after(8)


def test_an_error_of_a_callback_comes_through_and_the_rate_is_put_back() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    adam = fastbptt.Adam(0.01)
    with pytest.raises(RuntimeError, match="no"):
        fit(model(), callbacks=[At(3, fail)], optimizer=adam, schedule="one_cycle")
    assert adam.lr == 0.01 and adam.step_count == 3


def test_record() -> None:
    class Look(fastbptt.Callback):
        record = "gradients"

        def __init__(self) -> None:
            self.norms: list[float] = []

        def on_batch_end(self, run: Any) -> None:
            self.norms.append(float(run.model.last_gradients.norm))

    look, net = Look(), model()
    fit(net, callbacks=[look])
    assert len(look.norms) == 12 and all(norm > 0 for norm in look.norms)
    assert bits(net) == after(12)


# ---------------------------------------------------------------- history


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_history_in_files(kind: str, tmp_path: Path) -> None:
    history = fit(model(), validation=0.3, patience=2)
    history.curves["odd"] = [math.nan, math.inf, -math.inf]
    path = tmp_path / f"history.{kind}"
    history.save(path)
    again = fastbptt.History.load(path)
    assert repr(again.curves) == repr(history.curves) and again.epoch == [1, 2, 3]
    if kind == "json":
        assert again == history and again.best_epoch == history.best_epoch
        assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    else:
        assert path.read_text().startswith("epoch,loss,validation_loss,lr,seconds,odd\n1,0.")


def test_history_of_nothing(tmp_path: Path) -> None:
    empty = fastbptt.History()
    for kind in ("json", "csv"):
        empty.save(tmp_path / f"h.{kind}")
        assert fastbptt.History.load(tmp_path / f"h.{kind}") == empty
    assert repr(empty) == "History(no epochs)"


def test_history_says_what_is_wrong(tmp_path: Path) -> None:
    history = fit(model())
    assert "loss" in history and "accuracy" not in history
    with pytest.raises(KeyError, match="'accuracy' is not a curve; there are loss, lr, seconds"):
        history["accuracy"]
    with pytest.raises(ValueError, match=r"expected a name that ends in \.json or \.csv"):
        history.save(tmp_path / "history.txt")
    for text in ("", "{}", "[1]", '{"epoch": [1], "curves": {"loss": []}, "best_epoch": null}'):
        (tmp_path / "h.json").write_text(text)
        with pytest.raises(ValueError, match=r"cannot read .* as a history"):
            fastbptt.History.load(tmp_path / "h.json")
    for text in ("", "a,b\n1,2\n", "epoch,loss\n1\n", "epoch,loss\n1,x\n"):
        (tmp_path / "h.csv").write_text(text)
        with pytest.raises(ValueError, match=r"cannot read .* as a history"):
            fastbptt.History.load(tmp_path / "h.csv")


def test_history_shows_its_last_numbers() -> None:
    history = fit(model(), monitor="loss")
    text = repr(history)
    assert text.startswith("History(epoch 3: loss 0.") and "lr 0.01" in text
    assert text.endswith(f"best epoch {history.best_epoch}; stopped: epochs)")
