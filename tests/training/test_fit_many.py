"""`fit_many`: the numbers of `fit`, whatever is shared, grouped or varied."""

from __future__ import annotations

import itertools
import pickle
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _core
from fastbptt.training import ManyFits, many
from fastbptt.training.labelled import LabelledData

RNG = np.random.default_rng(5)
COUNT = 4
X = RNG.normal(size=(24, 7, 3))
CLASSES = RNG.integers(0, 2, 24)
STEPS = RNG.integers(0, 2, (24, 7))
NUMBERS = RNG.normal(size=(24, 2))
LENGTHS = RNG.integers(3, 8, 24)
FOLDS = np.split(RNG.permutation(24), COUNT)
OTHERS = [np.setdiff1d(np.arange(24), fold) for fold in FOLDS]
LIST = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]


def make(k: int, cell: str = "gru", **options: Any) -> fastbptt.Recurrent:
    if "leaky" in cell:
        options.setdefault("alpha", 0.5)
    return fastbptt.Recurrent(cell, 3, 4, 2, seed=k, **{"dtype": "float64"} | options)


def weights(model: Any) -> Any:
    return model._weights.get()


def curves(history: Any) -> dict[str, Any]:
    return {name: curve for name, curve in history.curves.items() if name != "seconds"}


def check_same(fits: ManyFits, k: int, model: fastbptt.Recurrent, history: Any) -> None:
    """Compare a model of many with one that `fit` has trained alone, to the bit."""
    np.testing.assert_array_equal(weights(fits[k].model), weights(model))
    other = fits[k].history
    assert other is not None
    assert repr(curves(other)) == repr(curves(history))
    assert (other.best_epoch, other.stopped) == (history.best_epoch, history.stopped)
    assert fits[k].model._config() == model._config()  # type: ignore[union-attr]


def some(value: Any, rows: Any) -> Any:
    return [value[i] for i in rows] if isinstance(value, list) else value[rows]


def compare(
    maker: Callable[[int], fastbptt.Recurrent],
    x: Any,
    y: Any,
    *,
    rows: Any = None,
    held: Any = None,
    each: Any = None,
    **common: Any,
) -> ManyFits:
    """Train many at once and each alone."""
    usual = {"epochs": 3, "batch_size": 8, "verbose": 0}
    common = {name: v for name, v in usual.items() if name not in (each or {})} | common
    if "optimizer" not in (each or {}):
        common.setdefault("optimizer", fastbptt.Adam(0.05))
    fits = fastbptt.fit_many(
        [maker(k) for k in range(COUNT)], x, y, rows=rows, validation_rows=held, each=each, **common
    )
    of_sequences = ("lengths", "sample_weight", "static", "resets")
    for k in range(COUNT):
        own: dict[str, Any] = common | {name: values[k] for name, values in (each or {}).items()}
        if isinstance(own.get("optimizer"), fastbptt.optim.Optimizer):
            own["optimizer"] = own["optimizer"].copy()
        x_own, y_own = own.pop("x", x), own.pop("y", y)
        if held is not None:
            parts = [own.get(name) for name in ("lengths", "sample_weight")]
            last = own.get("static", own.get("resets"))
            there = [None if part is None else some(part, held[k]) for part in (*parts, last)]
            own["validation"] = (some(x, held[k]), some(y, held[k]), *there)
            if last is None:
                own["validation"] = own["validation"][:4]
        if rows is not None:
            x_own, y_own = some(x, rows[k]), some(y, rows[k])
            own |= {n: some(own[n], rows[k]) for n in of_sequences if own.get(n) is not None}
        model = maker(k)
        history = fastbptt.fit(model, x_own, y_own, **own)
        check_same(fits, k, model, history)
    return fits


# ---------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("cell", fastbptt.cells())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cells(cell: str, dtype: str) -> None:
    compare(lambda k: make(k, cell, dtype=dtype), X, CLASSES, each={"seed": range(COUNT)})


@pytest.mark.parametrize("steps", ["last", "all", "mean", "max"])
@pytest.mark.parametrize("way", ["shared", "rows", "folds", "fraction", "given"])
def test_ways_to_divide_the_data(way: str, steps: str) -> None:
    y = STEPS if steps == "all" else CLASSES
    how = {
        "shared": {},
        "rows": {"rows": OTHERS},
        "folds": {"rows": OTHERS, "held": FOLDS},
        "fraction": {"rows": OTHERS, "validation": 0.3},
        "given": {
            "rows": OTHERS,
            "validation": (X[:5], (STEPS if steps == "all" else CLASSES)[:5]),
        },
    }[way]
    y = STEPS if steps == "all" else CLASSES
    compare(make, X, y, steps=steps, loss="cross_entropy", metrics="accuracy", **how)  # type: ignore[arg-type]
    compare(make, X, y, steps=steps, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"lengths": LENGTHS},
        {"lengths": LENGTHS, "bucket": True},
        {"sample_weight": RNG.uniform(0.5, 1.0, 24)},
        {"class_weight": "balanced"},
        {"shuffle": False},
        {"reduction": "sum"},
        {"clip_norm": 0.1, "l1": {"W_hh": 0.01}, "l2": {"W_xh": 0.02}},
        {"schedule": "cosine"},
        {"activity_l2": 0.01},
        {"bptt_steps": 3, "steps": "all", "y": STEPS},
        {"warmup": 2, "steps": "all", "y": STEPS},
        {"loss": fastbptt.Loss("huber", delta=0.5), "y": NUMBERS},
        {"loss": fastbptt.Losses({"a": "bce", "b": "mse"}, outputs={"a": 1, "b": 1}),
         "y": {"a": CLASSES, "b": NUMBERS[:, 0]}},
        {"augment": lambda x, rng: x + rng.normal(size=x.shape)},
        {"validation": 0.25, "patience": 1, "metrics": "accuracy"},
        {"validation": (X[:6], CLASSES[:6]), "restore_best": True},
        {"validation": (LIST[:6], CLASSES[:6]), "monitor": "validation_loss"},
    ],
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    options = dict(options)
    y = options.pop("y", CLASSES)
    compare(make, X, y, **options)
    if not isinstance(y, dict) and not isinstance(options.get("validation"), tuple):
        compare(make, X, y, rows=OTHERS, **options)


@pytest.mark.parametrize("steps", ["last", "all"])
def test_sequences_of_several_lengths(steps: str) -> None:
    y = [y[:n] for y, n in zip(STEPS, LENGTHS, strict=True)] if steps == "all" else CLASSES
    for how in ({}, {"rows": OTHERS}, {"rows": OTHERS, "held": FOLDS}):
        compare(make, LIST, y, steps=steps, **how)
    compare(make, X, CLASSES, lengths=LENGTHS, rows=OTHERS, held=FOLDS)


def test_dropout_static_and_resets() -> None:
    compare(lambda k: make(k, recurrent_dropout=0.3), X, CLASSES, rows=OTHERS, held=FOLDS)
    static = RNG.normal(size=(24, 2))
    compare(lambda k: make(k, static_size=2), X, CLASSES, static=static, rows=OTHERS, held=FOLDS)
    resets = RNG.uniform(size=(24, 7)) < 0.2
    compare(make, X, STEPS, steps="all", resets=resets, rows=OTHERS, held=FOLDS)


def test_rows_may_repeat() -> None:
    drawn = [RNG.integers(0, 24, 24) for _ in range(COUNT)]
    compare(make, X, CLASSES, loss="cross_entropy", rows=drawn)


@pytest.mark.parametrize("optimizer", fastbptt.optim.OPTIMIZERS)
def test_optimisers(optimizer: str) -> None:
    one = fastbptt.optim.OPTIMIZERS[optimizer](lr=0.01)
    compare(make, X, CLASSES, optimizer=one)
    assert one.step_count == 0
    compare(make, X, CLASSES, optimizer=optimizer)


def test_values_for_each_model() -> None:
    fits = compare(
        make,
        X,
        CLASSES,
        each={
            "seed": np.arange(COUNT),
            "optimizer": [fastbptt.Adam(0.1 * (k + 1)) for k in range(COUNT)],
            "l1": [None, {"W_hh": 0.1}, {"W_hh": 0.2}, {"b_h": 0.3}],
            "batch_size": [3, 4, 5, 6],
            "epochs": [1, 2, 3, 4],
            "patience": [1, 2, 3, None],
            "validation": [0.25, None, (X[:3], CLASSES[:3]), 0.5],
            "monitor": ["loss", "loss", None, None],
            "callbacks": [[], [fastbptt.Callback()], [], []],
        },
    )
    table = fits.table()
    assert table["epochs"].tolist() == [1, 2, 3, 4]
    assert table["trained_epochs"].tolist() == [len(h) for h in fits.histories if h is not None]
    assert table["l1[W_hh]"].tolist() == [0.0, 0.1, 0.2, 0.0]
    assert table["optimizer"].tolist() == ["Adam"] * COUNT
    np.testing.assert_array_equal(table["optimizer[lr]"], 0.1 * np.arange(1, COUNT + 1))
    assert "optimizer[eps]" not in table  # which all have in common
    assert np.isnan(table["validation_loss"][1]) and not np.isnan(table["validation_loss"][0])


def test_data_of_their_own() -> None:
    series = [RNG.normal(size=(5 + k, 6 + k, 3)) for k in range(COUNT)]
    targets = [RNG.integers(0, 2, len(x)) for x in series]
    fits = compare(make, None, None, each={"x": series, "y": targets})
    assert "x" not in fits.table()
    compare(make, X, None, each={"y": [CLASSES, 1 - CLASSES, CLASSES, CLASSES]})
    compare(make, X, NUMBERS, each={"loss": ["mse", "mae", "huber", None]})


# ---------------------------------------------------------------- the run


FIXED: dict[str, Any] = {"epochs": 3, "batch_size": 8, "verbose": 0}


def test_the_number_of_jobs_and_groups_changes_nothing() -> None:
    found = []
    for jobs, count in ((1, 6), (2, 6), (5, 6), (None, 6), (3, 3)):
        fits = fastbptt.fit_many(make, X, CLASSES, count=count, jobs=jobs, **FIXED)
        assert [one.number for one in fits] == list(range(count))
        found.append([weights(one.model) for one in fits[:3]])
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def has_a_team() -> bool:
    """Whether calls of this thread may have a team of two."""
    fastbptt.set_num_threads(fastbptt.get_num_threads())  # forget that helpers were late
    return bool(np.isfinite(_core.team_seconds(2, 1, 1)))


def test_each_call_has_one_thread() -> None:
    seen: list[bool] = []

    def look(x: Any, rng: Any) -> Any:
        seen.append(has_a_team())
        return x

    fastbptt.fit_many(make, X, CLASSES, count=3, jobs=1, augment=look, **FIXED)
    assert len(seen) == 27 and not any(seen)
    assert has_a_team()  # the others have no limit


def test_a_limit_of_threads() -> None:
    limit = _core.ThreadLimit(1)
    model = fastbptt.GRU(3, 64, 2, seed=0)
    whole = model.forward(X, backward=False).outputs
    with limit:
        np.testing.assert_array_equal(model.forward(X, backward=False).outputs, whole)
        assert not has_a_team()
        with ThreadPoolExecutor(1) as other:
            assert other.submit(has_a_team).result()
    assert has_a_team()
    with limit:
        limit.stop()  # heeded by calls that take long, outside of the main thread
        model.forward(X)
    with pytest.raises(ValueError, match="n is 0"):
        _core.ThreadLimit(0)


@pytest.mark.parametrize("hidden", [4, 48])
def test_models_come_and_go(hidden: int) -> None:
    living = itertools.count()
    gone: list[int] = []
    most = 0

    class Counted(fastbptt.GRU):
        def __del__(self) -> None:
            gone.append(1)

    def made(k: int) -> fastbptt.Recurrent:
        nonlocal most
        most = max(most, next(living) + 1 - len(gone))
        return Counted(3, hidden, 2, seed=k)

    given = FIXED | {"batch_size": 2}
    fits = fastbptt.fit_many(made, X, CLASSES, count=70, jobs=2, keep="table", **given)
    small = fastbptt.GRU(3, hidden, 2)._engine.networks_together(2, X.shape[1], 35)
    assert (small > 1) == (hidden == 4)  # they share the vectors of a processor
    assert most <= 4 * small + 1  # of each thread one, and the one before
    assert fits.models == fits.histories == [None] * 70
    kept = fastbptt.fit_many(made, X, CLASSES, count=2, keep="histories", **FIXED)
    assert kept.models == [None] * 2 and len(kept.histories[1]) == 3  # type: ignore[arg-type]


def threads_of(make: Any, monkeypatch: pytest.MonkeyPatch, long: float, **given: Any) -> set[str]:
    """Return the threads that make the models of a run."""
    monkeypatch.setattr(many, "_LONG", long)
    names: list[str] = []

    def made(k: int) -> fastbptt.Recurrent:
        names.append(threading.current_thread().name)
        return make(k)

    fastbptt.fit_many(made, X, CLASSES, jobs=2, **FIXED | given)
    return set(names[1:])  # without the one that the others are compared with


@pytest.mark.skipif(not many._has_gil(), reason="threads do not wait for Python")
def test_one_thread_for_models_that_are_mostly_python(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"count": 30, "epochs": 1, "batch_size": 24}
    monkeypatch.setattr(many, "_CORE", 1.0)  # more than any model has
    assert threads_of(make, monkeypatch, 60.0, **small) == {"fit_many 0"}
    assert len(threads_of(make, monkeypatch, 1e-6, **small | {"count": 300})) == 2


@pytest.mark.skipif(not many._has_gil(), reason="threads do not wait for Python")
def test_all_threads_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = threads_of(lambda k: fastbptt.GRU(3, 300, 2, seed=k), monkeypatch, 60.0, count=8)
    assert len(wide) == 2  # time goes to the core; below to a function of the caller's
    assert len(threads_of(make, monkeypatch, 60.0, count=30, augment=lambda x, rng: x)) == 2


def test_a_model_that_waits_for_another_one() -> None:
    made = threading.Event()

    def models(k: int) -> fastbptt.Recurrent:
        if k == 1:
            assert made.wait(30)
        if k == 2:
            made.set()
        return make(k)

    assert len(fastbptt.fit_many(models, X, CLASSES, count=4, jobs=2, **FIXED)) == 4


def test_results() -> None:
    fits = fastbptt.fit_many(
        make, X, CLASSES, count=COUNT, names=["a", "b", "c", "d"], metrics="accuracy",
        rows=OTHERS, validation_rows=FOLDS, patience=2, each={"seed": range(COUNT)}, **FIXED,
    )  # fmt: skip
    table = fits.table()
    assert list(table) == [
        "model", "name", "seed", "trained_epochs", "stopped", "best_epoch", "loss", "accuracy",
        "validation_loss", "validation_accuracy", "seconds", "error",
    ]  # fmt: skip
    assert all(len(column) == COUNT for column in table.values())
    for one in fits:
        assert one.history is not None and one.best_epoch is not None
        at = one.best_epoch - 1
        assert one.values["validation_loss"] == one.history["validation_loss"][at]
    assert fits.best().number == table["validation_loss"].argmin()
    best = fits.best("validation_accuracy").values["validation_accuracy"]
    assert best == table["validation_accuracy"].max()
    assert fits.best("accuracy", largest=False).number == table["accuracy"].argmin()
    with pytest.raises(ValueError, match="curve is"):
        fits.best("nothing")
    assert fits.failed == [] and fits.stopped == "finished"
    assert all(len(line) <= 80 for line in repr(fits).splitlines()) and "4 models" in repr(fits)
    assert len(repr(fits[0])) <= 100
    assert "validation_accuracy" in fits._repr_html_()
    other = pickle.loads(pickle.dumps(fits))
    assert repr(other.table()) == repr(table) and repr(other) == repr(fits)
    np.testing.assert_array_equal(weights(other[2].model), weights(fits[2].model))


@pytest.mark.parametrize("verbose", [None, 1, 2])
def test_progress(verbose: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    fastbptt.fit_many(make, X, CLASSES, count=30, **FIXED | {"verbose": verbose})
    shown = capsys.readouterr().err
    assert "finished 30/30" in shown
    if verbose == 2:
        numbers = re.findall(r"finished +(\d+)/30  [\d.]+ s  model (\d+)  loss [\d.]+\n", shown)
        assert [int(done) for done, _ in numbers] == list(range(1, 31))
        assert sorted(int(number) for _, number in numbers) == list(range(30))


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_tells_which_model_failed(
    verbose: int, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["north", "east", "south"]
    fits = fastbptt.fit_many(
        make, X, CLASSES, count=3, names=names, jobs=1, on_error="report",
        each={"seed": [1, -1, 2]}, **FIXED | {"verbose": verbose},
    )  # fmt: skip
    shown = capsys.readouterr().err
    loss = f"{fits['south'].values['loss']:.4g}"
    if verbose == 2:
        first, second, third = shown.splitlines()
        assert "failed" not in first and re.search(r"1/3 .* model 0, 'north'  loss", first)
        assert second.endswith("s  failed 1  model 1, 'east'")
        assert third.endswith(f"s  failed 1  model 2, 'south'  loss {loss}")
    else:
        assert f"failed 1, model 2, 'south', loss {loss}" in shown


def test_models_by_name() -> None:
    names = ["north", "east", "south"]
    fits = fastbptt.fit_many(make, X, CLASSES, count=3, names=names, **FIXED)
    assert fits["south"] is fits[2]
    with pytest.raises(KeyError, match=r"no model is called 'nort'; expected such as 'north'"):
        fits["nort"]
    with pytest.raises(KeyError, match="no model is called 'x'; expected one of `names`"):
        fits["x"]
    unnamed = fastbptt.fit_many(make, X, CLASSES, count=2, **FIXED)
    with pytest.raises(KeyError, match=r"expected numbers, since .* without names="):
        unnamed["north"]


def test_optimisers_in_the_table() -> None:
    rules = [fastbptt.AdamW(0.02, betas=(0.8, 0.99)), "sgd", None]
    fits = fastbptt.fit_many(make, X, CLASSES, count=3, each={"optimizer": rules}, **FIXED)
    table = fits.table()
    assert table["optimizer"].tolist() == ["AdamW", "SGD", "Adam"]
    assert table["optimizer[lr]"].tolist() == [0.02, fastbptt.SGD().lr, fastbptt.Adam().lr]
    assert table["optimizer[betas]"].tolist() == ["(0.8, 0.99)", "None", "(0.9, 0.999)"]
    assert table["optimizer[weight_decay]"][1] == fastbptt.SGD().weight_decay


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_models_that_share_vectors(dtype: str) -> None:
    count = 37
    share = fastbptt.GRU(3, 2, 2, dtype=dtype)._engine.networks_together(2, 7, count) > 1
    assert share or dtype == "float64"  # of which a vector may hold two
    data = [X[:6].copy() for _ in range(count)]
    data[5][2] = 1e300 if dtype == "float64" else 1e30  # no number comes out of the loss
    each: dict[str, Any] = {
        "x": data,
        "seed": range(count),
        "epochs": [1 + k % 5 for k in range(count)],
        "l1": [{"W_hh": 1e-3 * k} if k % 3 else None for k in range(count)],
        "shuffle": [k % 2 == 0 for k in range(count)],
        "clip_norm": [None if k % 4 else 0.1 for k in range(count)],
    }
    given: dict[str, Any] = {"batch_size": 2, "loss": "mse", "validation": 0.3, "verbose": 0}

    def made(k: int) -> fastbptt.Recurrent:
        return fastbptt.GRU(3, 2, 2, seed=k, dtype=dtype)

    numbers = NUMBERS[:6].copy()
    fits = fastbptt.fit_many(
        made, None, numbers, count=count, each=each, jobs=2, on_error="report", **given
    )
    for k, one in enumerate(fits):
        alone = made(k)
        own = {name: values[k] for name, values in each.items()}
        try:
            history = fastbptt.fit(alone, y=numbers, **own, **given)
        except ValueError:
            assert k == 5 and one.error is not None
            continue
        np.testing.assert_array_equal(weights(one.model), weights(alone))
        assert one.history is not None and one.history["loss"] == history["loss"]


def test_a_thread_of_a_crew_that_raises_lets_the_others_go_on() -> None:
    class Fails(fastbptt.Callback):
        def on_epoch_end(self, run: fastbptt.TrainingRun) -> bool | None:
            if run.epoch == 2:
                raise RuntimeError("enough")
            return None

    fits = fastbptt.fit_many(
        lambda k: fastbptt.GRU(3, 2, 2, seed=k),
        X,
        CLASSES,
        count=20,
        each={"callbacks": [[Fails()] if k == 7 else [] for k in range(20)]},
        on_error="report",
        **FIXED | {"batch_size": 2},
    )
    assert [one.number for one in fits.failed] == [7]
    alone = fastbptt.GRU(3, 2, 2, seed=19)
    fastbptt.fit(alone, X, CLASSES, **FIXED | {"batch_size": 2})
    np.testing.assert_array_equal(weights(fits[19].model), weights(alone))


def test_models_share_no_buffer_of_targets() -> None:
    """Each takes its batches of the blocks' targets into memory of its own."""
    model = fastbptt.GRU(3, 4, 2, seed=0)
    losses = fastbptt.Losses({"a": "mse", "b": "mse"}, outputs={"a": 1, "b": 1})
    x, y = RNG.normal(size=(9, 5, 3)), RNG.normal(size=(9, 1))
    data = LabelledData(model, x, {"a": y, "b": -y}, losses, "last", "mean")
    other = data.of(model.copy())
    first, second = np.arange(3), np.arange(3, 6)
    taken = data.y.take(first)[0]
    wanted = {name: values.copy() for name, values in taken.items()}
    later = other.y.take(second)[0]
    for name, block in other.blocks.items():
        assert block.model is other.model
        np.testing.assert_array_equal(taken[name], wanted[name])
        assert not np.shares_memory(taken[name], later[name])


def test_a_number_of_no_model_is_refused() -> None:
    fits = fastbptt.fit_many(make, X, CLASSES, count=2, **FIXED)
    assert fits[-1] is fits[1]
    for number in (2, -3):
        with pytest.raises(IndexError, match=f"there is no model {number}; expected -2 to 1"):
            fits[number]


def test_a_result_is_no_model_but_has_one() -> None:
    fits = fastbptt.fit_many(make, X, CLASSES, count=2, **FIXED)
    advice = "model is of type OneFit; expected a fastbptt model, such as its attribute model"
    with pytest.raises(TypeError, match=advice):
        fastbptt.predict(fits.best(), X)  # type: ignore[arg-type]
    model = fits.best().model
    assert model is not None
    assert len(fastbptt.predict(model, X)) == len(X)
