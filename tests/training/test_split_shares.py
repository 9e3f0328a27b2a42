"""How many sequences of each class go to validation, by what the metrics get to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbptt


def held_out(classes: Any, share: float, seed: int = 0, loss: str | None = None) -> tuple[Any, Any]:
    """The classes of the sequences to validate on, and of those to train on."""
    seen: list[Any] = []

    def note(y: Any, outputs: Any) -> float:
        seen.append(np.array(y))
        return 0.0

    y = np.asarray(classes)
    outputs = 1 if loss in ("mse", "bce") else int(y.max()) + 1
    model = fastbptt.RNN(1, 2, outputs, seed=0)
    fastbptt.fit(
        model,
        np.ones((len(y), 1, 1)),
        y,
        loss=loss,
        epochs=1,
        batch_size=len(y),
        validation=share,
        seed=seed,
        metrics=note,
        verbose=0,
    )
    train, held = seen
    return held, train


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((70, 20, 3, 1), 0.1, (7, 2, 0, 0)),
        ((70, 20, 10), 0.2, (14, 4, 2)),
        ((70, 20, 3, 1), 0.5, (35, 10, 2, 0)),
        ((5, 5, 5), 0.2, (1, 1, 1)),
        ((40, 4), 0.25, (10, 1)),
        ((97, 1, 1, 1), 0.1, (10, 0, 0, 0)),
        ((1, 1, 1, 97), 0.1, (0, 0, 0, 10)),
        ((33, 33, 33), 0.1, (3, 3, 4)),
    ],
)
@pytest.mark.parametrize("seed", [0, 3])
def test_each_class_gives_its_share(
    counts: tuple[int, ...], share: float, expected: tuple[int, ...], seed: int
) -> None:
    classes = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(1).shuffle(classes)
    held, train = held_out(classes, share, seed)
    found = np.bincount(held, minlength=len(counts))
    assert found.sum() == round(share * sum(counts)) == len(held)
    assert (found + np.bincount(train, minlength=len(counts)) == counts).all()
    exact = np.array(counts) * share
    assert (np.abs(found - exact) < 1).all()
    if counts != (33, 33, 33) and share != 0.5:  # else several are as near
        assert tuple(found) == expected


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(10, 0.24, 2), (10, 0.26, 3), (7, 0.01, 1), (7, 0.99, 6), (2, 0.5, 1), (100, 0.149, 15)],
)
def test_the_share_is_rounded_and_leaves_one_on_either_side(
    count: int, share: float, expected: int
) -> None:
    y = np.arange(count) + 0.5
    held, train = held_out(y, share, loss="mse")
    assert len(held) == expected
    assert sorted(np.concatenate([held, train]).ravel()) == y.tolist()
    again, _ = held_out(y, share, loss="mse")
    assert (again == held).all()
    if count == 100:
        assert (held_out(y, share, seed=1, loss="mse")[0] != held).any()
        assert len(set(np.diff(np.sort(held.ravel())))) > 2, "drawn at random"


def test_two_classes_of_one_output() -> None:
    held, _ = held_out([0] * 40 + [1] * 10, 0.2, loss="bce")
    assert np.bincount(held.ravel().astype(int)).tolist() == [8, 2]
