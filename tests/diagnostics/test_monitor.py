"""`GradientMonitor`: what it records while `fit` trains, what it warns of, how it resumes."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 12, 3))
Y = (X[:, -1, 0] > 0).astype(int)


class Collector(fastbptt.Callback):
    """Every batch's record, epoch by epoch."""

    record = "gradients"

    def __init__(self) -> None:
        self.epochs: list[list[fastbptt.GradientRecord]] = []

    def on_epoch_begin(self, run: Any) -> None:
        self.epochs.append([])

    def on_batch_end(self, run: Any) -> None:
        assert run.model.last_gradients is not None
        self.epochs[-1].append(run.model.last_gradients)


def train(model: fastbptt.Recurrent, *callbacks: fastbptt.Callback, **options: Any) -> Any:
    given: dict[str, Any] = {"epochs": 3, "batch_size": 8, "verbose": 0, **options}
    return fastbptt.fit(model, X, Y, callbacks=list(callbacks), **given)


def test_means_of_the_batches() -> None:
    model = fastbptt.GRU(3, 8, 1, num_layers=2, bidirectional=True, seed=0)
    monitor, seen = fastbptt.GradientMonitor(), Collector()
    train(model, monitor, seen)
    assert monitor.epochs == [1, 2, 3]
    assert monitor.pass_names == ("l0", "l0_reverse", "l1", "l1_reverse")
    assert monitor.layers.shape == monitor.gates.shape == (3, 4, 12)
    for e, batches in enumerate(seen.epochs):
        assert len(batches) == 3
        np.testing.assert_allclose(monitor.layers[e], np.mean([b.hidden for b in batches], axis=0))
        np.testing.assert_allclose(monitor.gates[e], np.mean([b.gates for b in batches], axis=0))
        assert monitor.norm[e] == pytest.approx(np.mean([b.norm for b in batches]))
        assert monitor.largest[e] == max(b.norm for b in batches)
    together = np.sqrt(np.square(monitor.layers).sum(axis=1))
    np.testing.assert_allclose(monitor.hidden, together)
    assert repr(monitor) == "GradientMonitor(3 epochs, 0 warnings)"


def test_it_does_not_change_the_training() -> None:
    plain, watched = (fastbptt.LSTM(3, 8, 1, seed=0) for _ in range(2))
    first, second = train(plain), train(watched, fastbptt.GradientMonitor())
    assert first["loss"] == second["loss"]
    assert plain.parameters.flat.tobytes() == watched.parameters.flat.tobytes()


def test_steps_that_few_batches_have() -> None:
    x = [RNG.normal(size=(n, 3)) for n in (4, 9, 2, 7)]
    model, monitor, seen = fastbptt.RNN(3, 5, 1, seed=0), fastbptt.GradientMonitor(), Collector()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 1, "verbose": 0}
    fastbptt.fit(model, x, [0, 1, 1, 0], callbacks=[monitor, seen], **options)
    assert monitor.hidden.shape == (2, 9)
    for e, batches in enumerate(seen.epochs):
        for t in range(9):
            those = [
                b.hidden[0, t]
                for b in batches
                if t < (b.hidden.shape[1] if b.lengths is None else b.lengths.max())
            ]
            assert monitor.hidden[e, t] == pytest.approx(np.mean(those))


@pytest.mark.parametrize(("epochs", "kept"), [(4, [1, 2, 3, 4]), (5, [1, 3, 5]), (9, [1, 5, 9])])
def test_epochs_are_thinned(epochs: int, kept: list[int]) -> None:
    model, monitor = fastbptt.RNN(3, 4, 1, seed=0), fastbptt.GradientMonitor(keep=4)
    train(model, monitor, epochs=epochs)
    assert monitor.epochs == kept
    assert monitor.hidden.shape == (len(kept), 12)


def test_memory_is_bounded() -> None:
    model, monitor = fastbptt.RNN(3, 4, 1, seed=0), fastbptt.GradientMonitor(keep=3)
    train(model, monitor, epochs=150, batch_size=6)
    assert len(monitor.epochs) <= 3
    assert len(monitor._kept) <= 3
    assert len(monitor._norms) < 256
    assert monitor.epochs[0] == 1


def test_healthy_training_is_silent() -> None:
    monitor = fastbptt.GradientMonitor()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(fastbptt.GRU(3, 16, 1, seed=0), monitor, epochs=20)
    assert monitor.warnings == []


def test_vanishing_is_said_once_with_its_step() -> None:
    model = fastbptt.RNN(3, 8, 1, seed=0)
    model.parameters["W_hh"][...] *= 0.2
    monitor, seen = fastbptt.GradientMonitor(), Collector()
    with pytest.warns(RuntimeWarning, match="vanish") as caught:
        train(model, monitor, seen)
    assert len(caught) == len(monitor.warnings) == 1
    assert monitor.warnings[0].startswith("gradients vanish at step 1 (epoch 1): less than a ")
    first = seen.epochs[0][0].hidden[0][::-1]
    gone = int(np.flatnonzero(first < 1e-3 * first.max())[0])
    assert f"is left after {gone} of 12 steps" in monitor.warnings[0]
    silent = fastbptt.GradientMonitor(warn=False)
    train(model.copy(), silent)
    assert len(silent.warnings) == 1


def test_exploding_in_time() -> None:
    model = fastbptt.RNN(3, 8, 1, nonlinearity="relu", seed=0)
    model.parameters["W_hh"][...] = 3.0 * np.eye(8)
    model.parameters["b_h"][...] = 1.0
    model.parameters["W_hy"][...] = 1e-6
    monitor = fastbptt.GradientMonitor()
    with pytest.warns(RuntimeWarning, match="explode") as caught:
        train(model, monitor, optimizer=fastbptt.SGD(lr=0.0))
    assert len(caught) == 1
    assert "explode at step 1 (epoch 1): dL/dh grows by a factor of 1.77e+05" in monitor.warnings[0]


def test_exploding_against_the_batches_before() -> None:
    x = 1e-3 * RNG.normal(size=(24, 4, 3))
    model, monitor = fastbptt.RNN(3, 8, 1, seed=0), fastbptt.GradientMonitor()
    options: dict[str, Any] = {"shuffle": False, "batch_size": 2, "epochs": 1, "verbose": 0}
    y = model.forward(x).last
    y += 1e-3
    y[22:] += 1e3
    with pytest.warns(RuntimeWarning, match="explode"):
        fastbptt.fit(
            model,
            x,
            y,
            loss="mse",
            optimizer=fastbptt.SGD(lr=1e-9),
            callbacks=[monitor],
            **options,
        )
    assert monitor.warnings[0].startswith("gradients explode at step 12 (epoch 1): the norm is ")
    assert "times its median so far; clip_norm=" in monitor.warnings[0]


def test_it_resumes(tmp_path: Path) -> None:
    whole, parts = fastbptt.GradientMonitor(keep=4), fastbptt.GradientMonitor(keep=4)
    options: dict[str, Any] = {"checkpoint": tmp_path / "run.ckpt"}
    train(fastbptt.GRU(3, 6, 1, seed=0), whole, epochs=6)

    train(fastbptt.GRU(3, 6, 1, seed=0), parts, epochs=3, **options)
    again = fastbptt.GradientMonitor(keep=4)
    train(fastbptt.GRU(3, 6, 1, seed=0), again, epochs=6, resume=True, **options)
    assert again.epochs == whole.epochs
    np.testing.assert_allclose(again.hidden, whole.hidden)


def test_state_is_json() -> None:
    monitor = fastbptt.GradientMonitor(keep=4)
    train(fastbptt.GRU(3, 6, 1, num_layers=2, seed=0), monitor, epochs=7)
    other = fastbptt.GradientMonitor(keep=4)
    other.load_state(json.loads(json.dumps(monitor.state())))
    assert other.state() == monitor.state()
    np.testing.assert_array_equal(other.layers, monitor.layers)
    np.testing.assert_array_equal(other.largest, monitor.largest)
    empty = fastbptt.GradientMonitor()
    other.load_state(json.loads(json.dumps(empty.state())))
    assert other.hidden.shape == (0, 0)


def test_wrong_options() -> None:
    for options, error, message in (
        ({"keep": 0}, ValueError, r"^keep is 0"),
        ({"keep": 1}, ValueError, r"^keep is 1; expected at least 2 epochs"),
        ({"warn": 2}, TypeError, r"^warn is 2"),
    ):
        with pytest.raises(error, match=message):
            fastbptt.GradientMonitor(**options)


def test_without_tensorboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("tensorboard", "tensorboard.summary.writer.event_file_writer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"^log_dir needs TensorBoard: pip install "):
        fastbptt.GradientMonitor(log_dir=tmp_path)


def test_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = fastbptt.GradientMonitor(log_dir=tmp_path / "logs")
    history = train(fastbptt.GRU(3, 6, 1, seed=0), monitor)
    found = EventAccumulator(str(tmp_path / "logs"))
    found.Reload()
    tags = set(found.Tags()["scalars"])
    assert {"loss", "gradient/norm", "gradient/l0/first", "gradient/l0/last"} <= tags
    events = found.Scalars("gradient/norm")
    assert [event.step for event in events] == [1, 2, 3]
    np.testing.assert_allclose([event.value for event in events], monitor.norm, rtol=1e-6)
    losses = [event.value for event in found.Scalars("loss")]
    np.testing.assert_allclose(losses, history["loss"], rtol=1e-6)


def test_a_restored_monitor_keeps_every_how_manyth_norm_it_looks_at() -> None:
    monitor = fastbptt.GradientMonitor()
    monitor._norms_every = 4
    other = fastbptt.GradientMonitor()
    other.load_state(json.loads(json.dumps(monitor.state())))
    assert other._norms_every == 4
    assert other.state() == monitor.state()


@pytest.mark.parametrize("how", ["resets", "bptt_steps"])
@pytest.mark.filterwarnings("error")
def test_gradients_that_are_cut_do_not_vanish(how: str) -> None:
    x = RNG.normal(size=(24, 40, 3))
    marks = np.zeros((24, 40), bool)
    marks[:, 35] = True
    more: dict[str, Any] = {"resets": marks} if how == "resets" else {"bptt_steps": 5}
    monitor, collector = fastbptt.GradientMonitor(), Collector()
    model = fastbptt.GRU(3, 4, 1, seed=0)
    fastbptt.fit(model, x, Y, epochs=1, callbacks=[monitor, collector], verbose=0, **more)
    record = collector.epochs[0][0]
    assert record.cut
    assert not record.hidden[:, :35].any()
    assert monitor.warnings == []
    model.loss_and_grad(x, Y, record="gradients")
    assert model.last_gradients is not None
    assert not model.last_gradients.cut


@pytest.mark.parametrize(
    ("probe", "model", "options", "text"),
    [
        (
            (X, Y), {"static_size": 2}, {"static": np.ones((24, 2))},
            "probe has no static; expected (x, y, lengths, static) because static_size=2",
        ),
        (
            (X[:, :, :2], Y), {}, {},
            "probe: x has shape (24, 12, 2); expected (batch, time, 3) because input_size=3",
        ),
        (
            (X, np.where(Y, 1.0, np.nan)), {}, {},
            "probe: y holds a value that is not finite (nan) at index ",
        ),
    ],
)  # fmt: skip
def test_a_probe_that_cannot_be_diagnosed_is_refused_before_training(
    probe: Any, model: Any, options: Any, text: str
) -> None:
    network = fastbptt.GRU(3, 4, 1, seed=0, **model)
    before = network.parameters.flat.copy()
    with pytest.raises(fastbptt.ArgumentError) as raised:
        train(network, fastbptt.GradientMonitor(probe=probe), loss="bce", **options)
    assert str(raised.value).startswith(text)
    np.testing.assert_array_equal(network.parameters.flat, before)
