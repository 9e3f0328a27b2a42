"""Tasks of neuroscience: what they ask is written in their arrays, and scores count it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.datasets import tasks
from fastbptt.datasets.tasks import Task, Trials
from fastbptt.datasets.tasks._kinds import ChoiceTask

CHOICES = [name for name, kind in tasks.TASKS.items() if issubclass(kind, ChoiceTask)]
RANDOM = {
    "perceptual_decision": {"stimulus": tasks.TruncatedExponential(330, 80, 1500)},
    "context_dependent_integration": {"delay": tasks.Uniform(0, 400)},
    "delayed_match_to_sample": {"delay": tasks.OneOf([200, 400])},
    "parametric_working_memory": {"delay": tasks.Uniform(100, 500)},
    "ready_set_go": {"interval": tasks.Uniform(480, 800)},
    "flip_flop": {"duration": tasks.Uniform(500, 1000)},
}


def perfect(task: Task, trials: Trials) -> Any:
    """Outputs of a network without errors."""
    return np.eye(task.output_size)[trials.y] if trials.y.ndim == 2 else trials.y


# ---------------------------------------------------------------- all tasks


@pytest.mark.parametrize("name", tasks.TASKS)
def test_ready_for_a_model(name: str) -> None:
    task = tasks.make(name)
    trials = task.trials(5, seed=0)
    time = trials.x.shape[1]
    assert task.name == name and task.reference
    assert trials.x.dtype == trials.weights.dtype == np.float32
    assert trials.x.shape == (5, time, task.input_size)
    assert trials.weights.shape == (5, time) and (trials.weights >= 0).all()
    assert len(set(task.input_names)) == task.input_size
    assert len(set(task.output_names)) == task.output_size
    model = fastbptt.RNN(task.input_size, 7, task.output_size, seed=0)
    loss = model.train_step(trials.x, trials.y, fastbptt.Adam(), **trials.arguments)
    assert math.isfinite(loss)
    assert task.objective == {"loss": trials.loss, "steps": "all"}


@pytest.mark.parametrize("name", tasks.TASKS)
def test_seeds(name: str) -> None:
    task = tasks.make(name, **RANDOM[name])
    one, other = task.trials(20, seed=3), task.trials(20, seed=3)
    for field in ("x", "y", "weights"):
        assert np.array_equal(getattr(one, field), getattr(other, field))
    rng = np.random.default_rng(3)
    first, second = task.trials(20, seed=rng), task.trials(20, seed=rng)
    assert np.array_equal(first.x, one.x)
    assert first.x.shape != second.x.shape or not np.array_equal(first.x, second.x)
    batches = task.batches(20, seed=3)
    taken = [next(batches) for _ in range(2)]
    for found, expected in zip(taken, (first, second), strict=True):
        for i in range(20):
            end = expected.ends[i]
            assert np.array_equal(found[0][i], expected.x[i, :end])
            assert np.array_equal(found[1][i], expected.y[i, :end])
            assert np.array_equal(found[2][i], expected.weights[i, :end])


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_network_without_errors_has_none(name: str) -> None:
    task = tasks.make(name, **RANDOM[name])
    trials = task.trials(200, seed=0)
    assert trials.lengths is not None
    score = task.score(perfect(task, trials), trials)
    assert score["correct"] == 1.0
    # the same from a list of sequences
    listed = [one[:end] for one, end in zip(perfect(task, trials), trials.lengths, strict=True)]
    assert task.score(listed, trials) == score
    # what stands after a trial's end is not read
    after = np.array(perfect(task, trials), np.float64)
    after[np.arange(after.shape[1]) >= trials.lengths[:, np.newaxis]] = np.nan
    assert task.score(after, trials) == score


@pytest.mark.parametrize("name", tasks.TASKS)
def test_nothing_after_the_end(name: str) -> None:
    trials = tasks.make(name, **RANDOM[name]).trials(50, seed=1)
    assert trials.lengths is not None and trials.lengths.max() == trials.x.shape[1]
    assert len(set(trials.lengths.tolist())) > 1
    after = np.arange(trials.x.shape[1]) >= trials.lengths[:, np.newaxis]
    assert not trials.x[after].any() and not trials.y[after].any()
    assert not trials.weights[after].any()
    for period in trials.periods.values():
        assert (period[:, 0] <= period[:, 1]).all() and (period[:, 1] <= trials.lengths).all()


@pytest.mark.parametrize("name", tasks.TASKS)
def test_noise_has_the_stated_size(name: str) -> None:
    settings = {"noise": 0.3, "dt": 10.0, "tau": 50.0}
    loud, quiet = tasks.make(name, **settings), tasks.make(name, **settings | {"noise": 0.0})
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    one, other = loud.trials(200, seed=rng), quiet.trials(200, seed=same)
    noise = (
        (one.x - other.x)[one.weights >= 0]
        if one.lengths is None
        else np.concatenate(
            [(a - b)[:end] for a, b, end in zip(one.x, other.x, one.lengths, strict=True)]
        )
    )
    wanted = 0.3 * math.sqrt(2 * 50 / 10)
    assert abs(noise.mean()) < 5 * wanted / math.sqrt(noise.size)
    assert noise.std() == pytest.approx(wanted, rel=0.02)
    flat = noise - noise.mean()
    assert abs((flat[1:] * flat[:-1]).mean()) < 0.02 * wanted**2  # of the next step


@pytest.mark.parametrize("name", tasks.TASKS)
def test_settings(name: str) -> None:
    task = tasks.make(name, dt=10)
    assert task == tasks.make(name, dt=10.0) and hash(task) == hash(tasks.make(name, dt=10))
    assert pickle.loads(pickle.dumps(task)) == task
    changed: Any = dataclasses.replace(task, noise=0.5)  # type: ignore[type-var]
    assert changed.noise == 0.5 and changed != task
    with pytest.raises(fastbptt.ArgumentError, match=r"dt is 0.0; expected a finite number"):
        dataclasses.replace(task, dt=0)  # type: ignore[type-var]


def test_fit_draws_fresh_trials() -> None:
    task = tasks.PerceptualDecision(stimulus=tasks.OneOf([100, 200]), fixation=40)
    seen = []

    def watched() -> Any:
        for batch in task.batches(8, seed=0):
            seen.append(batch[0])
            yield batch

    model = fastbptt.RNN(task.input_size, 5, task.output_size, seed=0)
    held_out = task.trials(20, seed=1)
    history = fastbptt.fit(
        model, watched(), **task.objective, steps_per_epoch=3, epochs=2, verbose=0,
        validation=held_out.validation, metrics="accuracy",
    )  # fmt: skip
    assert len(history) == 2 and len(seen) == 6
    assert all(isinstance(one, list) for one in seen)
    assert not any(
        a[0].shape == b[0].shape and np.array_equal(a[0], b[0])
        for a, b in itertools.combinations(seen, 2)
    )
    found = fastbptt.evaluate(model, held_out.x, held_out.y, **held_out.arguments)
    assert found["loss"] == pytest.approx(history["validation_loss"][-1])


# ---------------------------------------------------------------- choices


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_targets_of_choices(name: str, loss: str) -> None:
    task: Any = tasks.make(
        name, loss=loss, noise=0, catch=0.25, grace=40, response=100, response_weight=3, fixation=60
    )
    trials = task.trials(400, seed=0)
    choice, caught = trials.conditions["choice"], trials.conditions["catch"]
    assert set(choice[~caught]) == {1, 2} and not choice[caught].any()
    assert 0.15 < caught.mean() < 0.35
    assert abs((choice[~caught] == 1).mean() - 0.5) < 0.1
    start, stop = trials.periods["response"][0]
    assert stop - start == 5 and stop == trials.x.shape[1]
    # the fixation input ends with the response, not in catch trials, which show nothing
    assert (trials.x[:, :start, 0] == 1).all()
    assert (trials.x[~caught, start:, 0] == 0).all() and (trials.x[caught, :, 0] == 1).all()
    assert not trials.x[caught, :, 1:].any() and trials.x[~caught, :, 1:].any(axis=(1, 2)).all()
    assert (trials.weights[:, :start] == 1).all()
    assert (trials.weights[:, start : start + 2] == 0).all()
    assert (trials.weights[:, start + 2 :] == 3).all()
    if loss == "cross_entropy":
        assert trials.y.dtype == np.int64 and not trials.y[:, :start].any()
        assert (trials.y[:, start:] == choice[:, np.newaxis]).all()
    else:
        low, high = np.float32(0.2), np.float32(1)
        assert (trials.y[:, :start] == low).all()
        for k in (1, 2):
            assert (trials.y[choice == k, start:, k - 1] == high).all()
            assert (trials.y[choice != k, start:, k - 1] == low).all()
    only: Any = dataclasses.replace(task, hold=False)
    weights = only.trials(10, seed=0).weights
    assert (weights[:, :3] == 1).all() and not weights[:, 3:start].any()
    assert np.array_equal(weights[:, start:], trials.weights[:10, start:])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_scores_of_choices(loss: str) -> None:
    task = tasks.DelayedMatchToSample(loss=loss, catch=0.5)
    trials = task.trials(100, seed=0)
    choice, caught = trials.conditions["choice"], trials.conditions["catch"]
    outputs = np.array(perfect(task, trials), np.float64)
    assert task.score(outputs, trials) == {"correct": 1.0, "fixation": 1.0, "catch": 1.0}
    assert np.array_equal(task.choices(outputs, trials), choice)

    def answering(value: int, row: int, step: int) -> Any:
        made = outputs.copy()
        made[row, step] = 0.2
        if value or loss == "cross_entropy":
            made[row, step, value - (loss == "mse")] = 1.0
        return made

    right, catch = np.flatnonzero(~caught)[0], np.flatnonzero(caught)[0]
    share = 1 / (~caught).sum()
    wrong = answering(3 - choice[right], right, -1)
    assert task.score(wrong, trials)["correct"] == pytest.approx(1 - share)
    none = answering(0, right, -1)
    assert task.choices(none, trials)[right] == 0
    assert task.score(none, trials)["correct"] == pytest.approx(1 - share)
    responds = answering(1, catch, -1)
    assert task.score(responds, trials)["catch"] == pytest.approx(1 - 1 / caught.sum())
    early = answering(1, right, 50)
    assert task.score(early, trials)["fixation"] == pytest.approx(0.99)
    assert task.score(early, trials)["correct"] == 1.0
    # not where the loss counts nothing
    lenient = dataclasses.replace(trials, weights=trials.weights * 0)
    assert task.score(early, lenient)["fixation"] == 1.0


def test_perceptual_decision() -> None:
    task = tasks.PerceptualDecision(noise=0, coherences=[0, 0.5], stimulus=100, delay=40)
    trials = task.trials(500, seed=0)
    coherence, choice = trials.conditions["coherence"], trials.conditions["choice"]
    assert set(coherence.tolist()) == {-0.5, 0.0, 0.5}
    assert (choice[coherence > 0] == 1).all() and (choice[coherence < 0] == 2).all()
    assert set(choice[coherence == 0]) == {1, 2}
    first, last = trials.periods["stimulus"][0]
    assert (first, last) == (5, 10) and trials.periods["response"][0, 0] == 12
    difference = trials.x[:, first:last, 1] - trials.x[:, first:last, 2]
    np.testing.assert_allclose(difference, np.repeat(coherence[:, np.newaxis], 5, axis=1))
    np.testing.assert_allclose(trials.x[:, first:last, 1:].sum(axis=2), 1)
    assert not trials.x[:, :first, 1:].any() and not trials.x[:, last:, 1:].any()
    # trials without evidence are not counted
    outputs = perfect(task, trials)
    outputs[coherence == 0] = np.eye(3)[1]
    assert task.score(outputs, trials)["correct"] == 1.0
    blind = dataclasses.replace(task, coherences=[0])
    with pytest.raises(fastbptt.ArgumentError, match="no trial with a right choice"):
        blind.score(perfect(blind, blind.trials(3)), blind.trials(3))


def test_stimuli_of_random_duration() -> None:
    random = tasks.TruncatedExponential(330, 80, 1500)
    shown = tasks.PerceptualDecision(stimulus=random, dt=10).trials(20000, seed=0)
    lasted = shown.conditions["stimulus"]
    assert lasted.min() == 80 and 1400 < lasted.max() <= 1500
    # the mean of the distribution between the bounds
    span = 1420 / 330
    assert lasted.mean() == pytest.approx(80 + 330 - 1420 / math.expm1(span), abs=8)
    uniform = tasks.Uniform(100, 300)
    steps = tasks.DelayedMatchToSample(delay=uniform).trials(5000, seed=0).periods["delay"]
    assert set(np.diff(steps)[:, 0]) == set(range(5, 16))


def test_context_dependent_integration() -> None:
    task = tasks.ContextDependentIntegration(noise=0, coherences=[0.1, 0.4], stimulus=60)
    trials = task.trials(400, seed=0)
    shown = trials.conditions
    start, stop = trials.periods["stimulus"][0]
    for i, name in ((1, "motion"), (2, "colour")):
        assert set(shown[name].tolist()) == {-0.4, -0.1, 0.1, 0.4}
        np.testing.assert_allclose(
            trials.x[:, start:stop, i], np.repeat(shown[name][:, None], 3, 1)
        )
        attended = trials.x[:, :, i + 2]
        assert (attended[:, :stop] == (shown["context"] == i - 1)[:, np.newaxis]).all()
        assert not attended[:, stop:].any()
        own = shown["context"] == i - 1
        assert np.array_equal(shown["evidence"][own], shown[name][own])
    assert np.array_equal(shown["choice"], np.where(shown["evidence"] > 0, 1, 2))
    assert abs(np.corrcoef(shown["motion"], shown["colour"])[0, 1]) < 0.15


def test_delayed_match_to_sample() -> None:
    task = tasks.DelayedMatchToSample(noise=0, n_stimuli=3)
    trials = task.trials(600, seed=0)
    shown, rows = trials.conditions, np.arange(600)
    assert set(shown["sample"]) == set(shown["test"]) == {0, 1, 2}
    assert np.array_equal(shown["match"], shown["sample"] == shown["test"])
    assert np.array_equal(shown["choice"], np.where(shown["match"], 1, 2))
    assert 0.4 < shown["match"].mean() < 0.6
    sample, test = trials.periods["sample"][0], trials.periods["test"][0]
    assert (trials.x[rows, sample[0], 1 + shown["sample"]] == 1).all()
    assert (trials.x[rows, test[1] - 1, 1 + shown["test"]] == 1).all()
    assert trials.x[..., 1:].sum() == 600 * (np.diff(sample) + np.diff(test))
    pairs = {(a, b) for a, b in zip(shown["sample"], shown["test"], strict=True) if a != b}
    assert len(pairs) == 6


def test_parametric_working_memory() -> None:
    task = tasks.ParametricWorkingMemory(noise=0, pairs=[(10, 20), (30, 20)])
    trials = task.trials(400, seed=0)
    shown = trials.conditions
    pairs = set(zip(shown["first"].tolist(), shown["second"].tolist(), strict=True))
    assert pairs == {(10, 20), (20, 10), (20, 30), (30, 20)}
    assert np.array_equal(shown["choice"], np.where(shown["difference"] > 0, 1, 2))
    assert np.array_equal(shown["difference"], shown["first"] - shown["second"])
    level = {10: 0.2, 20: 0.6, 30: 1.0}
    for period in ("first", "second"):
        step = trials.periods[period][0, 0]
        wanted = [level[one] for one in shown[period].tolist()]
        np.testing.assert_allclose(trials.x[:, step, 1], wanted, rtol=1e-6)
        np.testing.assert_allclose(trials.x[:, step, 2], 1.2 - np.array(wanted), rtol=1e-6)
    assert np.diff(trials.periods["delay"][0]) == 150


# ---------------------------------------------------------------- timing, flip-flop


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.5])
def test_ready_set_go(gain: float) -> None:
    task = tasks.ReadySetGo(noise=0, gain=gain, dt=10)
    trials = task.trials(300, seed=0)
    interval, target = trials.conditions["interval"], trials.conditions["target"]
    assert interval.min() >= 480 and interval.max() <= 800 and len(set(interval.tolist())) > 25
    np.testing.assert_allclose(target, gain * interval)
    ready, after = (trials.x[..., i].argmax(axis=1) for i in (0, 1))
    np.testing.assert_allclose((after - ready) * 10, interval)
    assert (trials.x.sum(axis=1) == 8).all()  # steps of both pulses
    assert np.array_equal(trials.periods["response"][:, 0], after)
    np.testing.assert_allclose(task.produced(trials.y, trials), target, atol=1)
    # less steep: it comes late, or never
    late = task.score(0.85 * trials.y, trials)
    assert late["correct"] < 1 and late["bias"] > 0.05 and late["missed"] == 0
    never = task.score(0.5 * trials.y, trials)
    assert never["correct"] == 0 and never["missed"] == 1 and math.isnan(never["bias"])
    assert np.isnan(task.produced(0 * trials.y, trials)).all()
    # a crossing before "set" is no response
    before = trials.y.copy()
    before[np.arange(300), np.maximum(after - 5, 0)] = 2
    np.testing.assert_allclose(task.produced(before, trials), target, atol=1)


def test_intervals_within_the_tolerance_are_correct() -> None:
    task = tasks.ReadySetGo(interval=600, tolerance=0.1)
    trials = task.trials(1, seed=0)
    z = np.zeros_like(trials.y)
    start = trials.periods["response"][0, 0]
    for shift, right in ((26, 0.0), (28, 1.0), (30, 1.0), (32, 1.0), (34, 0.0)):
        z[:] = 0
        z[0, start + shift :] = 1.0
        assert task.score(z, trials)["correct"] == right, shift
        assert task.produced(z, trials) == pytest.approx([shift * 20])
    strict = dataclasses.replace(task, tolerance=0.05)
    z[:] = 0
    z[0, start + 28 :] = 1.0
    assert strict.score(z, trials)["correct"] == 0.0


def test_flip_flop() -> None:
    task = tasks.FlipFlop(bits=2, rate=5, dt=10)
    trials = task.trials(200, seed=0)
    x, y = trials.x, trials.y
    assert set(np.unique(x)) == {-1, 0, 1} and x.shape == y.shape == (200, 200, 2)
    assert (x[:, 0] != 0).all()
    assert (x[:, 1:] != 0).mean() == pytest.approx(0.05, rel=0.1)
    state = np.zeros((200, 2))
    for t in range(200):
        state = np.where(x[:, t] != 0, x[:, t], state)
        assert np.array_equal(y[:, t], state)
    wrong = y.copy()
    wrong[0, 3, 1] *= -1
    score = task.score(wrong, trials)
    assert score == {"correct": pytest.approx(1 - 1 / y.size), "trials": 199 / 200}
    patient = dataclasses.replace(task, grace=30)
    weights = patient.trials(200, seed=0).weights
    pulse = (x != 0).any(axis=2)
    expected = ~(pulse | np.pad(pulse, ((0, 0), (1, 0)))[:, :-1])
    expected &= ~np.pad(pulse, ((0, 0), (2, 0)))[:, :-2]
    assert np.array_equal(weights, expected)
    # errors where nothing counts are none
    masked = patient.trials(200, seed=0)
    lenient = np.where(weights[..., np.newaxis] > 0, y, -y)
    assert patient.score(lenient, masked)["correct"] == 1.0


# ---------------------------------------------------------------- psychometric curves


def test_fractions_and_counts() -> None:
    curve = tasks.psychometric([1, -1, 1, 0, 1], [True, False, False, True, True], fit=False)
    assert curve.levels.tolist() == [-1, 0, 1] and curve.counts.tolist() == [1, 1, 3]
    np.testing.assert_allclose(curve.fractions, [0, 1, 2 / 3])
    assert curve.bias is curve.width is curve.threshold is None
    with pytest.raises(ValueError, match=r"there is no fit; expected psychometric\(.., fit=True\)"):
        curve([0.0])


@pytest.mark.parametrize(("bias", "width"), [(0.0, 0.1), (0.2, 0.3), (-0.1, -0.2), (40.0, 8.0)])
def test_the_fit_finds_the_curve(bias: float, width: float) -> None:
    rng = np.random.default_rng(0)
    levels = bias + width * rng.choice([-3.0, -1.5, -0.5, 0.5, 1.5, 3.0], 20000)
    taken = rng.random(20000) < 1 / (1 + np.exp((bias - levels) / width))
    curve = tasks.psychometric(levels, taken)
    assert curve.bias == pytest.approx(bias, abs=0.06 * abs(width))
    assert curve.width == pytest.approx(width, rel=0.05)
    assert curve.threshold == pytest.approx(abs(curve.width) * math.log(3))
    assert curve([curve.bias + curve.width * math.log(3)]) == pytest.approx([0.75])
    # the gradient of the likelihood is 0: fractions match in their sum and in their mean level
    left = curve.counts * (curve.fractions - curve(curve.levels))
    assert abs(left.sum()) < 1e-5 and abs((left * curve.levels).sum()) < 1e-4 * abs(width) + 1e-5


@pytest.mark.parametrize(
    ("levels", "taken", "bias"),
    [
        ([-2, -1, 1, 3], [0, 0, 1, 1], 0.0),
        ([-2, -1, 1, 3], [1, 1, 0, 0], 0.0),
        ([-2, -1, 3, 5], [0, 0, 0, 1], 4.0),
        ([-1, 0, 0, 1], [0, 0, 1, 1], 0.0),
        ([-1, 0.5, 0.5, 1], [1, 0, 1, 0], 0.5),
    ],
)
def test_a_step_has_the_width_zero(levels: Any, taken: Any, bias: float) -> None:
    curve = tasks.psychometric(levels, np.array(taken, bool))
    assert curve.bias == bias and curve.width == 0 and curve.threshold == 0
    assert np.signbit(curve.width) == (taken[0] == 1)
    np.testing.assert_array_equal(curve(curve.levels), curve.fractions)


def test_a_flat_curve() -> None:
    curve = tasks.psychometric([-1, -1, 1, 1], [True, False, False, True])
    assert curve.width == math.inf and curve([-5.0, 7.0]).tolist() == [0.5, 0.5]


# ---------------------------------------------------------------- bad input

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("flip_flop", {"tau": 10}, "tau is 10; expected at least dt=20"),
    ("flip_flop", {"noise": -0.1}, "noise is -0.1; expected a number of at least 0"),
    ("flip_flop", {"noise": math.nan}, "noise is nan; expected a number of at least 0"),
    ("flip_flop", {"noise": math.inf}, "noise is inf; expected a number of at least 0"),
    ("flip_flop", {"dt": math.inf}, "dt is inf; expected a finite number"),
    ("flip_flop", {"tau": math.inf}, "tau is inf; expected a finite number above 0"),
    ("flip_flop", {"rate": math.inf}, "rate is inf; expected a finite number above 0"),
    ("flip_flop", {"noise": 1, "tau": 1e300}, r"noise is 1, which is 3\.16228e\+149 in each step"),
    ("ready_set_go", {"gain": math.inf}, "gain is inf; expected a finite number above 0"),
    ("parametric_working_memory", {"pairs": [(9, math.inf)]}, r"pairs\[0\]\[1\] is inf; ex"),
    ("perceptual_decision", {"response_weight": math.inf}, "response_weight is inf; expected"),
    ("flip_flop", {"bits": 0}, "bits is 0; expected at least 1"),
    ("flip_flop", {"rate": 60}, "rate is 60 per second; expected at most 50, one in each step"),
    ("flip_flop", {"duration": 30}, "duration is 30 ms; expected a multiple of dt=20: 20 or 40"),
    ("flip_flop", {"duration": 0}, "duration is 0 ms; expected at least one step of dt=20 ms"),
    ("flip_flop", {"grace": 2000}, "grace is 2000 ms; expected less than a trial, 2000 ms"),
    ("flip_flop", {"duration": (20, 40)}, r"duration is \(20, 40\); expected a number of millisec"),
    ("flip_flop", {"pulses": 3}, "settings has pulses; expected some of dt, tau, noise, bits"),
    ("perceptual_decision", {"coherences": 0.5}, "coherences is 0.5; expected a sequence of coher"),
    ("perceptual_decision", {"coherences": []}, "coherences is empty; expected at least one"),
    (
        "perceptual_decision",
        {"coherences": [3.2]},
        r"coherences\[0\] is 3.2; expected coherence be",
    ),
    ("perceptual_decision", {"coherences": [0.1, 0.1]}, "coherences has 0.1 twice; expected each"),
    ("perceptual_decision", {"catch": 1}, "catch is 1; expected a fraction of the trials"),
    ("perceptual_decision", {"grace": 300}, "grace is 300 ms; expected less than the shortest"),
    ("perceptual_decision", {"loss": "bce"}, 'loss is "bce"; expected one of "cross_entropy", "m'),
    ("perceptual_decision", {"hold": 1}, "hold is 1; expected True or False"),
    ("perceptual_decision", {"response_weight": 0}, "response_weight is 0.0; expected a finite"),
    (
        "perceptual_decision",
        {"stimulus": tasks.OneOf([100, 110])},
        r"stimulus.values\[1\] is 110 ms; expected a multiple of dt=20: 100 or 120",
    ),
    (
        "perceptual_decision",
        {"stimulus": tasks.Uniform(0, 100)},
        "stimulus.low is 0 ms; expected at least 20 ms, with dt=20 ms",
    ),
    ("delayed_match_to_sample", {"n_stimuli": 1}, "n_stimuli is 1; expected at least 2"),
    ("parametric_working_memory", {"pairs": 3}, "pairs is 3; expected a sequence of pairs"),
    ("parametric_working_memory", {"pairs": []}, "pairs is empty; expected at least one pair"),
    ("parametric_working_memory", {"pairs": [3]}, r"pairs\[0\] is 3; expected two frequencies"),
    ("parametric_working_memory", {"pairs": [(3, 3)]}, r"pairs\[0\] is \(3, 3\); expected two dif"),
    (
        "parametric_working_memory",
        {"pairs": [(3, 0)]},
        r"pairs\[0\]\[1\] is 0.0; expected a finite",
    ),
    ("ready_set_go", {"interval": 80}, "interval may be 80 ms; expected more than the duration"),
    ("ready_set_go", {"gain": 0}, "gain is 0.0; expected a finite number"),
    ("ready_set_go", {"gain": 1e-3}, "gain is 0.001; expected a produced interval of at least dt"),
    ("ready_set_go", {"tolerance": 1}, "tolerance is 1; expected a relative error above 0 and be"),
]


@pytest.mark.parametrize(("name", "settings", "words"), BAD)
def test_bad_settings(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((fastbptt.ArgumentError, fastbptt.ArgumentTypeError), match=words):
        tasks.make(name, **settings)


def test_durations_below_a_millisecond() -> None:
    assert tasks.Uniform(0, 0.5).low == 0.0
    assert tasks.TruncatedExponential(0.5, 0, 2).mean == 0.5
    assert tasks.OneOf([0, 0.25]).values == (0.0, 0.25)


def test_bad_durations() -> None:
    for make, words in (
        (lambda: tasks.Uniform(3, 3), "high is 3.0; expected more than low=3.0"),
        (
            lambda: tasks.Uniform(-1, 3),
            "low is -1.0; expected a number of milliseconds of at least",
        ),
        (lambda: tasks.TruncatedExponential(0, 1, 3), "mean is 0.0; expected a number of millisec"),
        (lambda: tasks.OneOf([]), "values is empty; expected at least one duration"),
        (lambda: tasks.OneOf(3), "values is 3; expected durations in ms"),  # type: ignore[arg-type]
        (lambda: tasks.OneOf(["a"]), r"values\[0\] is 'a'; expected a number"),  # type: ignore
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            make()


def test_bad_calls() -> None:
    task = tasks.FlipFlop()
    trials = task.trials(2, seed=0)
    with pytest.raises(
        ValueError, match='name is "nothing"; expected one of "perceptual_decision"'
    ):
        tasks.make("nothing")
    with pytest.raises(ValueError, match="n is 0; expected at least 1"):
        task.trials(0)
    with pytest.raises(ValueError, match="batch_size is 0; expected at least 1"):
        task.batches(0)
    with pytest.raises(TypeError, match="seed is 'a'; expected None"):
        task.batches(3, seed="a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trials is of type int; expected the result of"):
        task.score(trials.y, 3)  # type: ignore[arg-type]
    shape = re.escape("outputs has shape (2, 3); expected (2, 100, 3), the result of predict(model")
    with pytest.raises(ValueError, match=shape):
        task.score(np.ones((2, 3)), trials)
    with pytest.raises(ValueError, match=r"outputs\[1\] has shape \(9, 3\); expected \(100, 3\)"):
        task.score([np.ones((100, 3)), np.ones((9, 3))], trials)
    bad = trials.y.copy()
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"outputs holds nan at index \(1, 2, 0\)"):
        task.score(bad, trials)
    with pytest.raises(TypeError, match="outputs has dtype bool; expected numbers"):
        task.score(trials.y > 0, trials)
    nothing = dataclasses.replace(trials, weights=0 * trials.weights)
    with pytest.raises(ValueError, match="trials has no step that counts"):
        task.score(trials.y, nothing)


@pytest.mark.parametrize(
    ("levels", "chosen", "words"),
    [
        ([1, 2], [1, 0], "chosen has dtype int64; expected booleans, such as choices == 1"),
        ([1, 2], [True], r"chosen has shape \(1,\); expected \(2,\), as levels has"),
        ([], [], r"levels has shape \(0,\); expected \(n,\)"),
        ([1, np.nan], [True, False], r"levels holds nan at index \(1,\); expected finite"),
        ([1, 1], [True, False], "levels holds 1 alone; expected at least two levels, or fit=False"),
        ([1, 2], [True, True], "chosen is True in all trials; expected both for a fit"),
    ],
)
def test_bad_psychometric_data(levels: Any, chosen: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        tasks.psychometric(levels, chosen)


# ---------------------------------------------------------------- neurogym


class Pairs:
    """An environment as neurogym makes them: trials of 3 or 4 steps with a ground truth."""

    def __init__(self, dt: int = 100, actions: Any = None, truth: bool = True) -> None:
        self.dt, self.truth = dt, truth
        self.metadata = {"paper_name": "A\n paper"}
        self.observation_space = SimpleNamespace(shape=(2,), name={"cue": 0, "go": [1]})
        self.action_space = actions or SimpleNamespace(n=3, name={"choice": [1, 2]})
        self.rng = np.random.RandomState()

    def seed(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)

    def new_trial(self) -> dict[str, Any]:
        side, time = int(self.rng.randint(1, 3)), int(self.rng.randint(3, 5))
        self.ob = np.full((time, 2), 0.5 * side)
        if self.truth:
            self.gt = np.zeros(time, int)
            self.gt[-1] = side
        return {"side": side, "far": None, "kind": "a"}


class Noise:
    """A wrapper that acts in `step`."""

    def __init__(self, env: Any) -> None:
        self.env = env


class Checker(Noise):
    """A wrapper that changes nothing."""

    __module__ = "gymnasium.wrappers.common"


def test_environments() -> None:
    task = tasks.from_neurogym(Checker(Pairs()))
    assert task.name == "Pairs" and task.reference == "A paper" and task.dt == 100
    assert task.input_names == ("cue", "go")
    assert task.output_names == ("output 0", "choice 1", "choice 2")
    assert task.objective == {"loss": "cross_entropy", "steps": "all"}
    trials = task.trials(40, seed=0)
    assert trials.lengths is not None and set(trials.lengths.tolist()) == {3, 4}
    assert set(trials.conditions) == {"side", "kind"}
    side = trials.conditions["side"]
    assert (trials.x[:, 0, 0] == 0.5 * side).all()
    assert (trials.y[np.arange(40), trials.lengths - 1] == side).all()
    assert np.array_equal(trials.weights.sum(axis=1), trials.lengths)
    assert np.array_equal(task.trials(40, seed=0).x, trials.x)
    assert not np.array_equal(task.trials(40, seed=1).conditions["side"], side)
    outputs = np.eye(3)[trials.y]
    assert task.score(outputs, trials) == {"correct": 1.0, "steps": 1.0}
    outputs[0, trials.lengths[0] - 1] = [1, 0, 0]
    score = task.score(outputs, trials)
    assert score["correct"] == 39 / 40
    assert score["steps"] == pytest.approx(1 - 1 / trials.lengths.sum())
    model = fastbptt.RNN(2, 4, 3, seed=0)
    fastbptt.fit(
        model, task.batches(4, seed=0), **task.objective, steps_per_epoch=2, epochs=1, verbose=0
    )


def test_environments_of_numbers() -> None:
    class Reach(Pairs):
        def new_trial(self) -> dict[str, Any]:
            super().new_trial()
            self.gt = self.ob[:, :1] * 2
            return {}

    task = tasks.from_neurogym(Reach(actions=SimpleNamespace(shape=(1,))))
    trials = task.trials(5, seed=0)
    assert task.loss == "mse" and trials.y.shape == (*trials.x.shape[:2], 1)
    assert task.score(trials.y, trials) == {"error": 0.0}
    assert task.score(trials.y + 0.5, trials)["error"] == pytest.approx(0.5)


def test_bad_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for env, words in (
        (Noise(Pairs()), "env is wrapped in Noise, which acts in env.step; expected the environme"),
        (3, "env is a int without new_trial; expected a neurogym.TrialEnv, or the name of one"),
        (Pairs(truth=False), "env is Pairs, whose trials have no observations and ground truth"),
        (Pairs(actions=SimpleNamespace(shape=(2, 2))), "env has observations of shape"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            tasks.from_neurogym(env)
    with pytest.raises(TypeError, match="settings are dt; expected none beside an environment"):
        tasks.from_neurogym(Pairs(), dt=20)


def test_environments_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class NameNotFound(Exception):  # noqa: N818  # as gymnasium calls it
        __module__ = "gymnasium.error"

    def make(name: str, **settings: Any) -> Any:
        if name != "Pairs-v0":
            raise NameNotFound(f"no {name}")
        return Pairs(**settings)

    import importlib.util

    found = importlib.util.find_spec
    absent = {"neurogym": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: absent.get(name, found(name, *rest))
    )
    with pytest.raises(
        ImportError, match='"Pairs-v0" needs neurogym: pip install neurogym; or pass'
    ):
        tasks.from_neurogym("Pairs-v0")
    monkeypatch.undo()
    module = ModuleType("neurogym")
    module.__spec__ = importlib.util.spec_from_loader("neurogym", None)
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "neurogym", module)
    assert tasks.from_neurogym("Pairs-v0", dt=50).dt == 50
    with pytest.raises(
        ValueError, match='env is "Nothing-v0"; expected the name of an environment'
    ):
        tasks.from_neurogym("Nothing-v0")
    with pytest.raises(TypeError, match=r"settings do not suit Pairs-v0: .*unexpected keyword"):
        tasks.from_neurogym("Pairs-v0", speed=3)


def test_environments_of_neurogym() -> None:
    """The real ones, where neurogym is installed."""
    pytest.importorskip("neurogym", reason="neurogym is not installed: pip install neurogym torch")
    task = tasks.from_neurogym("PerceptualDecisionMaking-v0", dt=20)
    trials = task.trials(20, seed=0)
    assert trials.x.shape == (20, 110, 3) and set(np.unique(trials.y)) == {0, 1, 2}
    assert (trials.y[:, -1] == trials.conditions["ground_truth"] + 1).all()
    assert np.array_equal(task.trials(20, seed=0).x, trials.x)
    assert task.score(np.eye(3)[trials.y], trials) == {"correct": 1.0, "steps": 1.0}
    with pytest.raises(ValueError, match=r"env is \"Nothing-v0\""):
        tasks.from_neurogym("Nothing-v0")
    with pytest.raises(ValueError, match="Bandit, whose trials have no observations"):
        tasks.from_neurogym("Bandit-v0")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_leaky_units_with_noise_solve_the_flip_flop(seed: int) -> None:
    """Three bits with under 1 % errors, on trials with noise that had no part in training."""
    task = tasks.FlipFlop(bits=3)
    model = fastbptt.LeakyRNN(
        3, 64, 3, recurrent_noise=0.05, noise_scaling="alpha", init="keras", seed=seed
    )
    fastbptt.fit(
        model,
        task.batches(64, seed=seed),
        **task.objective,
        steps_per_epoch=800,
        epochs=1,
        optimizer=fastbptt.Adam(lr=0.01),
        clip_norm=1.0,
        verbose=0,
    )
    trials = task.trials(1000, seed=10_000 + seed)
    outputs = fastbptt.predict(model, trials.x, steps="all", noise=seed)
    errors = 1 - task.score(outputs, trials)["correct"]
    print(f"seed {seed}: {errors:.2%} errors")
    assert errors < 0.01
