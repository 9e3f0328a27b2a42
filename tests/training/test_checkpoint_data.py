"""A run goes on with the data that it began with, every byte of them, and with no others."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt

# More than 4 MB, which are hashed at a time; of one sequence alone is trained on.
MANY, T, I = 1100, 1000, 1
WIDE = 1_100_000


def run(path: Path, data: dict[str, Any], resume: bool = False, **more: Any) -> Any:
    options = {"loss": "mse", "epochs": 1, "batch_size": 4, "verbose": 0} | more
    model = fastbptt.RNN(data["x"][0].shape[-1], 2, 1, seed=0)
    given = {name: value for name, value in data.items() if name not in ("x", "y")}
    return fastbptt.fit(
        model, data["x"], data["y"], checkpoint=path, resume=resume, **given, **options
    )


def large(kind: str) -> dict[str, Any]:
    """Data of which a single sequence has weight."""
    if kind == "many rows":
        x, count = np.zeros((MANY, T, I), np.float32), MANY
    elif kind == "long rows":
        x, count = np.zeros((3, WIDE // 40, 40), np.float32), 3
    else:
        x, count = [np.zeros((n, I), np.float32) for n in (5, WIDE, 3)], 3
    weight = np.zeros(count)
    weight[0] = 1
    data = {"x": x, "y": np.zeros(count), "sample_weight": weight}
    return data if isinstance(x, list) else data | {"lengths": np.full(count, 2)}


CHANGES: dict[str, Any] = {
    "first": (0, 0),
    "last of the first row": (0, -1),
    "middle": (1, 2),
    "first of the last row": (-1, 0),
    "last": (-1, -1),
}


@pytest.mark.parametrize("kind", ["many rows", "long rows", "a list"])
def test_one_number_of_megabytes_that_differs(kind: str, tmp_path: Path) -> None:
    data = large(kind)
    run(tmp_path / "run", data)
    assert run(tmp_path / "run", data, resume=True, epochs=2).epoch == [1, 2]
    for row, step in CHANGES.values():
        one = data["x"][row]
        one[step, 0] = 1
        with pytest.raises(ValueError, match=r"cannot resume from .*the data differ in x"):
            run(tmp_path / "run", data, resume=True, epochs=3)
        one[step, 0] = 0
    assert run(tmp_path / "run", data, resume=True, epochs=3).epoch == [1, 2, 3]


def small() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(9, 5, 2)),
        "y": rng.normal(size=9),
        "lengths": rng.integers(1, 5, 9),
        "sample_weight": rng.uniform(1, 2, 9),
    }


@pytest.mark.parametrize("name", ["x", "y", "lengths", "sample_weight", "validation"])
def test_every_part_of_the_data_counts(name: str, tmp_path: Path) -> None:
    data = small()
    held = small()
    validation = (held["x"], held["y"], held["lengths"])
    run(tmp_path / "run", data, validation=validation)
    path = tmp_path / "run"
    arrays = validation if name == "validation" else (data[name],)
    for array in arrays:
        kept = array[-1].copy()
        array[-1] = kept + 1
        with pytest.raises(ValueError, match="cannot resume from"):
            run(path, data, resume=True, validation=validation, epochs=2)
        array[-1] = kept
    run(path, data, resume=True, validation=validation, epochs=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 3),
        ("loss", "bce"),
        ("reduction", "sum"),
        ("shuffle", False),
        ("seed", 1),
        ("bucket", True),
        ("clip_norm", 1.0),
        ("clip_value", 1.0),
        ("bptt_steps", 2),
        ("schedule", "cosine"),
        ("optimizer", "sgd"),
        ("optimizer", fastbptt.Adam(0.5)),
        ("class_weight", {0: 2.0}),
        ("validation", 0.5),
        ("metrics", "mae"),
        ("restore_best", False),
        ("patience", 3),
        ("min_delta", 0.5),
        ("training_metrics", False),
        ("callbacks", [fastbptt.Callback()]),
        ("augment", lambda x, rng: x),
    ],
)
def test_every_setting_counts(name: str, value: Any, tmp_path: Path) -> None:
    data = small() | {"y": np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])}
    common = {"monitor": "loss", "loss": "mse"}
    if name == "class_weight":
        data["y"], common["loss"] = data["y"], "bce"
    run(tmp_path / "run", data, **common)
    with pytest.raises(ValueError, match="cannot resume from"):
        run(tmp_path / "run", data, resume=True, **common | {"epochs": 2, name: value})


class Stop(fastbptt.Callback):
    """Asks for an end as Ctrl-C does, after some batch of all."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_batch_end(self, run: Any) -> None:
        if run.step == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("schedule", ["step", "plateau", None])
@pytest.mark.parametrize("at", [1, 3, 4, 11, 16])
def test_an_interrupted_run_ends_as_a_whole_one(
    at: int, schedule: str | None, tmp_path: Path
) -> None:
    """In the middle of an epoch or at its end, before and after the best epoch."""
    data = small()
    kinds = {
        "step": fastbptt.schedules.StepDecay(every=2, factor=0.3),
        "plateau": fastbptt.schedules.ReduceOnPlateau(patience=1, factor=0.5),
        None: None,
    }

    def noise(x: Any, rng: Any) -> Any:
        return x + 0.1 * rng.normal(size=x.shape)

    def trained(path: Path, at: int, resume: bool = False) -> Any:
        model = fastbptt.LSTM(2, 3, 1, num_layers=2, dropout=0.4, seed=0)
        given = {name: value for name, value in data.items() if name not in ("x", "y")}
        history = fastbptt.fit(
            model, data["x"], data["y"], **given, loss="mse", steps="last", epochs=6, batch_size=2,
            verbose=0, checkpoint=path, resume=resume, callbacks=[Stop(at)], bucket=True,
            validation=0.3, monitor="validation_loss", optimizer=fastbptt.Adam(0.3), augment=noise,
            schedule=kinds[schedule], metrics=["rmse"],
        )  # fmt: skip
        told = history.to_dict()
        told["curves"].pop("seconds", None)
        return model.parameters.flat.tobytes(), told

    whole = trained(tmp_path / "a", 0)
    part = trained(tmp_path / "b", at)
    assert part[1]["stopped"] == "interrupted"
    assert trained(tmp_path / "b", 0, resume=True) == whole
