"""Schedules: their formulas, their ends, and that fit follows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.optim.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
)

S, E = 7, 9  # steps per epoch, epochs
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4, 2)), RNG.integers(0, 2, 40)


def curve(schedule: Schedule) -> np.ndarray:
    return np.array([schedule.at(s, S, E) for s in range(S * E)])


def fit(model: fastbptt.Recurrent, **options: Any) -> fastbptt.History:
    given = {"epochs": 6, "batch_size": 10, "verbose": 0, **options}
    given.setdefault("optimizer", fastbptt.SGD(0.1))
    return fastbptt.fit(model, X, Y, **given)


def test_constant_and_steps() -> None:
    assert (curve(Constant()) == 1).all()
    expected = [0.5 ** (s // (2 * S)) for s in range(S * E)]
    assert curve(StepDecay(every=2, factor=0.5)).tolist() == expected


@pytest.mark.parametrize("warmup", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_cosine(warmup: float, floor: float) -> None:
    found, w, total = curve(Cosine(warmup, floor)), warmup * S, S * E
    for s in range(total):
        if s < w:
            expected = min((s + 1) / w, 1.0)
        else:
            expected = floor + (1 - floor) * (1 + math.cos(math.pi * (s - w) / (total - w))) / 2
        assert found[s] == pytest.approx(expected, abs=1e-12)
    assert found.max() <= 1.0 and found[-1] == pytest.approx(floor, abs=0.01)


def test_one_cycle() -> None:
    found = curve(OneCycle(peak=5.0, rise=1 / 3, floor=0.01))
    top = S * E // 3
    assert found[0] == 1.0 and found[top] == 5.0 and found.argmax() == top
    assert (np.diff(found[: top + 1]) > 0).all() and (np.diff(found[top:]) < 0).all()
    assert 0.01 < found[-1] < 0.03
    assert curve(OneCycle(rise=0.0))[0] == 10.0


@pytest.mark.parametrize(
    ("settings", "losses", "factors"),
    [
        ({"patience": 2}, [5, 4, 3, 2, 1], [1, 1, 1, 1, 1]),
        ({"patience": 2}, [5, 5, 5, 5, 5], [1, 1, 0.1, 0.1, 0.01]),
        ({"patience": 2}, [5, 6, 4, 4, 4], [1, 1, 1, 1, 0.1]),
        ({"patience": 2, "min_delta": 0.5}, [5, 4.6, 4.6, 3, 3], [1, 1, 0.1, 0.1, 0.1]),
        ({"patience": 1, "cooldown": 2}, [5, 5, 5, 5, 5], [1, 0.1, 0.1, 0.1, 0.01]),
        ({"patience": 1, "floor": 0.05}, [5, 5, 5, 5], [1, 0.1, 0.05, 0.05]),
        ({"patience": 2}, [math.nan, math.nan, 1, 1, 1], [1, 0.1, 0.1, 0.1, 0.01]),
    ],
)
def test_plateau(settings: dict[str, Any], losses: list[float], factors: list[float]) -> None:
    plateau, found = ReduceOnPlateau(**settings), []
    for loss in losses:
        state = plateau.state()
        plateau = ReduceOnPlateau(**settings)  # as after an interruption
        plateau.load_state(state)
        plateau.observe(loss)
        found.append(plateau.at(0, S, E))
    assert found == pytest.approx(factors)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fit_multiplies_the_optimisers_own_rate(schedule: str) -> None:
    seen: list[float] = []

    class See(fastbptt.Callback):
        def on_batch_end(self, run: Any) -> None:
            seen.append(run.optimizer.lr)

    model, twin = (fastbptt.RNN(2, 3, 1, seed=1) for _ in range(2))
    sgd = fastbptt.SGD(0.1)
    history = fit(model, schedule=schedule, optimizer=sgd, callbacks=[See()])
    assert sgd.lr == 0.1  # put back
    plan = SCHEDULES[schedule]()
    assert seen == [0.1 * plan.at(s, 4, 6) for s in range(24)]
    assert history["lr"] == seen[3::4]
    fit(twin, optimizer=fastbptt.SGD(0.1))
    same = model.parameters.flat.tobytes() == twin.parameters.flat.tobytes()
    assert same == (schedule in ("constant", "step", "plateau"))  # those do not begin in 6 epochs


def test_plateau_watches_what_fit_monitors() -> None:
    def rise(y: np.ndarray, z: np.ndarray) -> float:
        rise.value += 1  # type: ignore[attr-defined]
        return float(rise.value)  # type: ignore[attr-defined]

    model = fastbptt.RNN(2, 3, 1, seed=1)
    plateau = ReduceOnPlateau(0.5, patience=1)
    for better, expected in ((True, [0.1] * 4), (False, [0.1, 0.1, 0.05, 0.025])):
        rise.value, rise.larger_is_better = 0, better  # type: ignore[attr-defined]
        history = fit(model, schedule=plateau, epochs=4, metrics=[rise], monitor="rise")
        assert history["lr"] == pytest.approx(expected)
    assert plateau.at(0, S, E) == 1.0  # the caller's own is as it was


def test_one_of_your_own() -> None:
    class Odd(Schedule):
        def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
            return 0.5 if step % 2 else 1.0

    history = fit(fastbptt.RNN(2, 3, 1, seed=1), schedule=Odd())
    assert history["lr"] == [0.05] * 6


@pytest.mark.parametrize("name", SCHEDULES)
def test_repr_makes_the_same_schedule(name: str) -> None:
    made = eval(repr(SCHEDULES[name]()), vars(fastbptt.schedules))
    assert curve(made).tolist() == curve(SCHEDULES[name]()).tolist()


def test_bad_settings() -> None:
    for make, message in [
        (lambda: StepDecay(every=0), "every is 0; expected at least 1"),
        (lambda: StepDecay(factor=0), "factor is 0.0; expected a finite number above 0 and at mo"),
        (lambda: StepDecay(factor=1.5), "factor is 1.5; expected"),
        (lambda: Cosine(warmup=-1), "warmup is -1.0; expected a finite number of at least 0"),
        (lambda: Cosine(warmup=math.inf), "warmup is inf; expected a finite number"),
        (lambda: Cosine(floor=math.nan), "floor is nan; expected"),
        (lambda: OneCycle(peak=0.5), "peak is 0.5; expected a finite number of at least 1"),
        (lambda: OneCycle(rise=1.0), "rise is 1.0; expected .* and below 1"),
        (lambda: ReduceOnPlateau(factor=1.0), "factor is 1.0; expected .* and below 1"),
        (lambda: ReduceOnPlateau(patience=0), "patience is 0; expected at least 1"),
        (lambda: ReduceOnPlateau(cooldown=-1), "cooldown is -1; expected at least"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    model = fastbptt.RNN(2, 3, 1, seed=1)
    with pytest.raises(ValueError, match='schedule is "cosin"; expected one of "constant", "step"'):
        fit(model, schedule="cosin")
    with pytest.raises(TypeError, match=r"schedule is 0\.5; expected None, a fastbptt\.schedules"):
        fit(model, schedule=0.5)
