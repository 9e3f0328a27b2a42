"""Metrics and losses of parts of the data, computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training import checkpoints

RNG = np.random.default_rng(0)


def of(name: str, y: Any, outputs: Any) -> float:
    """A metric of outputs that are known: of a model whose hidden states are not looked at."""
    return fastbptt.METRICS[name].function(np.asarray(y), np.asarray(outputs, float))


def test_logits_above_0_stand_for_yes() -> None:
    outputs = [[0.2], [-0.2], [0.7], [-0.7]]
    assert of("accuracy", [1, 0, 1, 0], outputs) == 1.0
    assert of("accuracy", [[1.0], [1.0], [1.0], [0.0]], outputs) == 0.75
    assert of("balanced_accuracy", [1, 1, 1, 0], outputs) == pytest.approx((2 / 3 + 1) / 2)
    # several yes or no at once
    assert of("accuracy", [[1, 0], [1, 1]], [[0.3, -0.3], [0.3, -0.3]]) == 0.75


def test_classes_without_a_sequence_do_not_count() -> None:
    outputs = np.eye(4)[[0, 0, 2, 3]]
    assert of("balanced_accuracy", [0, 0, 2, 2], outputs) == 0.75
    assert of("balanced_accuracy", [2, 2, 2, 0], outputs) == pytest.approx(1 / 6)
    assert of("accuracy", [0, 0, 2, 2], outputs) == 0.75


def test_each_output_has_its_own_mean_in_r2() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=(30, 3)) * [1.0, 10.0, 100.0] + [0.0, 500.0, -3.0]
    z = y + rng.normal(size=(30, 3)) * [0.5, 2.0, 70.0]
    expected = [
        1 - ((y - z)[:, j] ** 2).sum() / ((y[:, j] - y[:, j].mean()) ** 2).sum() for j in range(3)
    ]
    assert of("r2", y, z) == pytest.approx(np.mean(expected))
    assert of("r2", y, z) != pytest.approx(of("r2", z, y))
    assert of("rmse", y, z) == pytest.approx(np.sqrt(((y - z) ** 2).mean()))
    assert of("mae", y, z) == pytest.approx(np.abs(y - z).mean())


def test_which_way_is_better() -> None:
    better = {name: metric.larger_is_better for name, metric in fastbptt.METRICS.items()}
    assert better == {
        "accuracy": True,
        "balanced_accuracy": True,
        "mae": False,
        "rmse": False,
        "r2": True,
        "coverage_error": False,
        "crossing": False,
    }


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("steps", ["last", "all"])
def test_a_share_to_validate_on_is_measured_alone(steps: str, ragged: bool) -> None:
    """Loss and metrics of these sequences, and of those that were trained on."""
    rng = np.random.default_rng(4)
    n, time = 29, 8
    x = rng.normal(size=(n, time, 2))
    x[:, 0, 0] = np.arange(n)
    y = rng.normal(size=(n, time, 2) if steps == "all" else (n, 2))
    lengths = rng.integers(1, time + 1, n) if ragged else None
    weight = rng.uniform(0.5, 2, n)
    trained: set[int] = set()

    def note(batch: Any, _: Any) -> Any:
        trained.update(batch[:, 0, 0].astype(int).tolist())
        return batch

    model = fastbptt.GRU(2, 3, 2, dtype="float64", seed=0)
    names = ["rmse", "r2", "mae"]
    history = fastbptt.fit(
        model, x, y, loss="mse", steps=steps, lengths=lengths, sample_weight=weight, epochs=1,
        batch_size=3, validation=0.4, metrics=names, augment=note, verbose=0,
    )  # fmt: skip
    rows = np.array(sorted(trained))
    held = np.array([i for i in range(n) if i not in trained])
    assert len(held) == 12
    for part, prefix in ((rows, ""), (held, "validation_")):
        found = fastbptt.evaluate(
            model, x[part], y[part], loss="mse", steps=steps, metrics=names,
            lengths=None if lengths is None else lengths[part], sample_weight=weight[part],
        )  # fmt: skip
        for name in names:
            assert history[f"{prefix}{name}"] == [pytest.approx(found[name], rel=1e-12)]
        if prefix:
            assert history["validation_loss"] == [pytest.approx(found["loss"], rel=1e-12)]


@pytest.mark.parametrize(
    ("every", "files"),
    [
        (None, [False] * 3 + [True] * 6),
        ("epoch", [False] * 3 + [True] * 6),
        (0, [False] + [True] * 8),
        (1e9, [False] * 9),
    ],
)
def test_when_checkpoints_are_written(every: Any, files: list[bool], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    path, seen = tmp_path / "run", []

    class Look(fastbptt.Callback):
        def on_batch_end(self, run: Any) -> None:
            seen.append(path.exists())

    x, y = rng.normal(size=(9, 2, 1)), rng.normal(size=9)
    fastbptt.fit(
        fastbptt.RNN(1, 2, 1, seed=0), x, y, loss="mse", epochs=3, batch_size=3, verbose=0,
        checkpoint=path, checkpoint_every=every, callbacks=[Look()],
    )  # fmt: skip
    assert seen == files
    assert path.exists()


def test_seconds_pass_between_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saved = [0.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    save = checkpoints.Checkpointer.save

    class Tick(fastbptt.Callback):
        def on_batch_end(self, run: Any) -> None:
            clock[0] += 1.0

    def seen(self: Any, *rest: Any) -> None:
        saved.append(clock[0])
        save(self, *rest)

    monkeypatch.setattr(checkpoints.Checkpointer, "save", seen)
    x, y = np.random.default_rng(4).normal(size=(2, 12, 2, 1))
    fastbptt.fit(
        fastbptt.RNN(1, 2, 1, seed=0), x, y[:, 0, 0], loss="mse", epochs=1, batch_size=1, verbose=0,
        checkpoint=tmp_path / "run", checkpoint_every=4, callbacks=[Tick()],
    )  # fmt: skip
    assert saved[:3] == [4.0, 8.0, 12.0]
