"""Optimisers and metadata in model files: training goes on as if nothing had come in between."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from model_files import join, split

import fastbptt
from fastbptt.optim import OPTIMIZERS, Optimizer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 5, 2)).astype(np.float32), np.array([0.0, 1.0, 1.0, 0.0])


def trained(name: str, dtype: str = "float32") -> tuple[fastbptt.Recurrent, Optimizer]:
    model = fastbptt.GRU(2, 3, 1, num_layers=2, dropout=0.5, seed=1, dtype=dtype)
    optimizer = OPTIMIZERS[name](lr=0.003)
    for _ in range(3):
        model.train_step(X, Y, optimizer)
    return model, optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on(name: str, dtype: str, tmp_path: Path) -> None:
    model, optimizer = trained(name, dtype)
    model.save(tmp_path / "m", optimizer)
    again, loaded = fastbptt.load(tmp_path / "m"), fastbptt.load_optimizer(tmp_path / "m")
    assert type(loaded) is type(optimizer) and repr(loaded) == repr(optimizer)
    for _ in range(3):
        assert model.train_step(X, Y, optimizer) == again.train_step(X, Y, loaded)
    assert model.parameters.flat.tobytes() == again.parameters.flat.tobytes()
    arrays = safetensors.numpy.load_file(tmp_path / "m")
    assert sorted(set(arrays) - set(model.parameters)) == sorted(
        f"optimizer.{moment}" for moment in optimizer._moments
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_that_has_not_begun(name: str, tmp_path: Path) -> None:
    model = fastbptt.RNN(2, 3, 1, seed=1)
    model.save(tmp_path / "m", OPTIMIZERS[name](lr=0.25))
    loaded = fastbptt.load_optimizer(tmp_path / "m")
    assert (loaded.lr, loaded.step_count) == (0.25, 0)
    fastbptt.load(tmp_path / "m").train_step(X, Y, loaded)


def test_no_optimiser(tmp_path: Path) -> None:
    model, _ = trained("adam")
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"holds no optimiser; expected a file that model.save"):
        fastbptt.load_optimizer(tmp_path / "m")


def test_what_cannot_be_saved_leaves_the_file_alone(tmp_path: Path) -> None:
    model, _ = trained("adam")
    owner, foreign = trained("adam")
    assert owner is not model
    model.save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    for error, message, given in [
        (ValueError, "optimizer belongs to another model", {"optimizer": foreign}),
        (TypeError, "optimizer is of type str; expected an optimiser", {"optimizer": "adam"}),
        (TypeError, "metadata is of type list; expected a mapping", {"metadata": [1]}),
        (TypeError, r"metadata cannot be written \(.*ndarray", {"metadata": {"a": X}}),
        (TypeError, r"metadata cannot be written \(keys must be", {"metadata": {(1, 2): 1}}),
    ]:
        with pytest.raises(error, match=message):
            model.save(tmp_path / "m", **given)
    assert (tmp_path / "m").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_metadata_travel() -> None:
    model = fastbptt.RNN(2, 3, 1, seed=1)
    assert model.metadata == {}
    model.metadata["classes"] = ["a", "b"]
    for twin in (model.copy(), pickle.loads(pickle.dumps(model))):
        assert twin.metadata == {"classes": ["a", "b"]}
        twin.metadata["classes"].append("c")
    assert model.metadata == {"classes": ["a", "b"]}
    with pytest.raises(TypeError, match="metadata is of type int; expected a mapping"):
        model.metadata = 3


def test_metadata_in_files(tmp_path: Path) -> None:
    noted: dict[str, Any] = {"classes": [1, 2.5, None], "zeros": "0" * 64, "name": "ä", "x": {}}
    model = fastbptt.RNN(2, 3, 1, seed=1)
    model.save(tmp_path / "m", metadata=noted)
    assert model.metadata == {} and fastbptt.load(tmp_path / "m").metadata == noted
    model.metadata = noted
    model.save(tmp_path / "m")
    assert fastbptt.load(tmp_path / "m").metadata == noted


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": "sgdx"}, "the optimiser is 'sgdx'; expected one of adam"),
        ({"name": ["adam"]}, "the optimiser is ['adam']"),
        ({"step": -1}, "step is -1"),
        ({"step": True}, "step is True"),
        ({"step": None}, "arrays 'W_xh"),
        ({"settings": {}}, "unusable settings ('settings lacks lr"),
        ({"settings": []}, "unusable settings"),
        ({"further": 1}, "optimizer has ['name', 'settings', 'step', 'further']"),
    ],
)
def test_wrong_optimisers_with_the_right_digest(
    change: dict[str, Any], found: str, tmp_path: Path
) -> None:
    model, optimizer = trained("adam")
    model.save(tmp_path / "m", optimizer)
    header, data = split((tmp_path / "m").read_bytes())
    texts = header["__metadata__"]
    texts["optimizer"] = json.dumps({**json.loads(texts["optimizer"]), **change})
    (tmp_path / "m").write_bytes(join(header, data))
    for load in (fastbptt.load, fastbptt.load_optimizer):
        with pytest.raises(ValueError, match="cannot load") as caught:
            load(tmp_path / "m")
        assert found in str(caught.value)


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    model, optimizer = trained("adam")
    model.save(tmp_path / "m", optimizer, {"a": 1})
    content = (tmp_path / "m").read_bytes()
    for place in RNG.integers(0, len(content), 200):
        changed = bytearray(content)
        changed[place] ^= 1 << int(RNG.integers(8))
        (tmp_path / "m").write_bytes(changed)
        with pytest.raises(ValueError, match="cannot load"):
            fastbptt.load_optimizer(tmp_path / "m")
