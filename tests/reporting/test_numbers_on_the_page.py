"""The numbers of a report are those of the data that it names, in their places."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import plot
from fastbptt.reporting import sections

pytestmark = pytest.mark.slow  # each makes a page

pytest.importorskip("matplotlib")

CLASSES = ["ant", "bee", "cow"]


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure speed for a moment only: the one private name here, wherever it is."""
    package = fastbptt.report.__module__
    parts = pkgutil.iter_modules(sys.modules[package].__path__, f"{package}.")
    modules = [importlib.import_module(part.name) for part in parts]
    (found,) = [module for module in modules if hasattr(module, "_SECONDS")]
    monkeypatch.setattr(found, "_SECONDS", 0.005)


class Page(HTMLParser):
    """What a page says: rows of tables, tiles, bars, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tiles: list[list[str]] = []
        self.bars: list[tuple[str, float]] = []
        self.headings: list[str] = []
        self._place: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        told = dict(attrs)
        kind = told.get("class") or ""
        if tag in ("tr", "td", "th", "div", "dt", "dd", "h3", "span"):
            self._place.append((tag, kind))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif kind == "tile":
            self.tiles.append([])
        elif tag in ("dt", "dd") and self.tiles:
            self.tiles[-1].append("")
        elif kind == "bar":
            self._width = float(told["style"].removeprefix("width:").removesuffix("%"))
        elif tag == "h3":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._place and self._place[-1][0] == tag:
            self._place.pop()

    def handle_data(self, data: str) -> None:
        tag, kind = self._place[-1] if self._place else ("", "")
        if tag in ("td", "th"):
            self.rows[-1][-1] += data
        elif tag in ("dt", "dd"):
            self.tiles[-1][-1] += data
        elif tag == "h3":
            self.headings[-1] += data
        elif kind == "number":
            self.bars.append((data, self._width))

    def starting_with(self, names: Any) -> list[list[str]]:
        return [row for row in self.rows if row and row[0] in names]

    @property
    def cells(self) -> set[str]:
        return {cell for row in self.rows for cell in row}


class Drawn:
    """Stands in for a picture: notes what it was asked to draw."""

    def __init__(self) -> None:
        self.calls: dict[str, Any] = {}
        self.all: list[tuple[str, Any, Any]] = []

    def spy(self, name: str) -> Any:
        def draw(*args: Any, ax: Any, **options: Any) -> Any:
            self.calls[name] = (args, options)
            self.all.append((name, args, options))
            return ax

        return draw


def page_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, model: Any, x: Any, y: Any, **options: Any
) -> tuple[Page, Drawn]:
    drawn = Drawn()
    for name in (
        "confusion", "sequences", "losses", "gradient_flow", "gates", "eigenvalues", "saliency",
        "hidden_states", "gradient_heatmap", "predicted_against_true", "residuals",
        "horizon_errors",
    ):  # fmt: skip
        monkeypatch.setattr(plot, name, drawn.spy(name))
    diagram = sections.diagram

    def noted(*args: Any, **options: Any) -> Any:
        drawn.calls["unrolled"] = (args, options)
        return diagram(*args, **options)

    monkeypatch.setattr(sections, "diagram", noted)
    quickly(monkeypatch)
    fastbptt.report(model, x, y, folder / "page.html", **options)
    return Page((folder / "page.html").read_text("utf-8")), drawn


def problem(count: int = 15) -> tuple[Any, list[Any], Any, list[str]]:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 13, count)
    x = [rng.normal(size=(n, 2)) * 2 for n in lengths]
    model = fastbptt.GRU(2, 6, 3, num_layers=2, init=("normal", 1.0), dtype="float64", seed=2)
    y = np.where(np.arange(count) % 5 < 3, 0, np.where(np.arange(count) % 5 == 3, 1, 2))
    return model, x, y, [f"id{i:03}" for i in range(count)]


@pytest.mark.parametrize("padded", [False, True])
def test_classes(padded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, ids = problem()
    options: dict[str, Any] = {"class_names": CLASSES, "ids": ids}
    given: Any = x
    lengths = np.array([len(one) for one in x])
    if padded:
        given = np.full((len(x), 14, 2), 9.0)
        for row, one in zip(given, x, strict=True):
            row[: len(one)] = one
        options["lengths"] = lengths
    page, drawn = page_of(tmp_path, monkeypatch, model, given, y, **options)

    outputs = fastbptt.predict(model, x)
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    answers, sure = shares.argmax(axis=1), shares.max(axis=1)
    wrong = np.flatnonzero(answers != y)
    wrong = wrong[np.argsort(-sure[wrong])]
    assert 3 < len(wrong) < len(y) - 3
    # the mistakes it is most sure of, first
    listed = page.starting_with(ids)
    expected = [[ids[i], CLASSES[y[i]], CLASSES[answers[i]]] for i in wrong[:8]]
    assert [row[:3] for row in listed] == expected
    assert any(f"({len(wrong)} of {len(y)})" in heading for heading in page.headings)
    # of the loss and metrics
    found = fastbptt.evaluate(model, x, y, metrics=["accuracy", "balanced_accuracy"])
    values = [value for tile in page.tiles for value in tile]
    assert f"{found['accuracy']:.1%}" in values
    assert f"{found['loss']:.4g}" in values
    for name in ("accuracy", "balanced_accuracy", "loss"):
        assert f"{found[name]:.4g}" in page.cells
    # counts of classes, and bars as long as the largest
    counts = np.bincount(y)
    assert [text for text, _ in page.bars] == [str(count) for count in counts]
    widths = [width for _, width in page.bars]
    assert widths == pytest.approx(100 * counts / counts.max(), abs=0.05)
    # lengths
    text = " ".join(page.cells)
    assert f"{lengths.min()} to {lengths.max()}, {lengths.mean():.1f}" in text
    # what the pictures are of
    args, options = drawn.calls["confusion"]
    assert args[0].tolist() == y.tolist() and args[1].tolist() == answers.tolist()
    right, mistaken = ([*one[2]["examples"]] for one in drawn.all if one[0] == "sequences")
    assert not set(right) & set(wrong)
    assert y[right].tolist() == sorted(set(y[answers == y].tolist()))
    firsts = [next(i for i in wrong if y[i] == each) for each in sorted(set(y[wrong].tolist()))]
    assert mistaken == firsts
    args, options = drawn.calls["sequences"]
    np.testing.assert_allclose(np.stack(args[2]), outputs)
    for name in ("saliency", "unrolled"):
        args, options = drawn.calls[name]
        (row,) = [i for i, one in enumerate(x) if np.array_equal(one, args[1][0])]
        assert int(args[2][0]) == y[row]
        assert row in wrong or row in np.flatnonzero(answers == y)
    assert drawn.calls["eigenvalues"][1]["layer"] == 1


def test_gradients_are_of_sequences_spread_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, y, _ = problem(200)
    page, _ = page_of(tmp_path, monkeypatch, model, x, y)
    rows = np.unique(np.linspace(0, 199, 64).astype(int))
    found = fastbptt.diagnose(model, [x[i] for i in rows], y[rows])
    assert f"{found.gradient_norm:.4g}" in page.cells
    assert f"{found.loss:.4g}" in page.cells
    for flow in found.layers:
        assert f"{flow.spectral_radius:.4g}" in page.cells


def test_an_example_with_its_own_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one example of the pictures is not the first sequence here."""
    model, x, _, _ = problem(8)
    answers = fastbptt.predict(model, x).argmax(axis=1)
    y = (answers + 1) % 3  # all wrong: the one it is most sure of is shown
    y[0] = answers[0] if len(set(y)) == 1 else y[0]
    outputs = fastbptt.predict(model, x)
    sure = (np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)).max(axis=1)
    order = np.argsort(sure)
    x, y = [x[i] for i in order], y[order]  # the most certain one is the last
    _, drawn = page_of(tmp_path, monkeypatch, model, x, y)
    args, _ = drawn.calls["saliency"]
    (row,) = [i for i, one in enumerate(x) if np.array_equal(one, args[1][0])]
    assert int(args[2][0]) == int(y[row])
    assert len(set(y.tolist())) > 1


def test_parameters_and_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, _ = problem()
    page, _ = page_of(tmp_path, monkeypatch, model, x, y)
    for name, values in model.parameters.items():
        (row,) = page.starting_with([name])
        assert row[2] == f"{values.size:,}"
        assert row[3] == f"{np.sqrt(np.mean(np.square(values))):.3g}"
    tiles = [value for tile in page.tiles for value in tile]
    assert f"{model.num_parameters:,}" in tiles


def test_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, _ = problem()
    curves = {"loss": [0.5, 0.4, 0.45, 0.6], "seconds": [11.0, 13.0, 17.0, 3.0]}
    told = {"epoch": [41, 42, 43, 44], "curves": curves, "best_epoch": 42, "stopped": "epochs"}
    history = fastbptt.History.from_dict(told)
    page, drawn = page_of(tmp_path, monkeypatch, model, x, y, history=history)
    assert any(row[-1] == "42" for row in page.rows)
    assert any(cell.startswith("44") for cell in page.cells), "all seconds together"
    assert drawn.calls["losses"][0][0] is history
    # the speed on top is that of the time below: 15 sequences, however many steps
    (tile,) = [tile for tile in page.tiles if "per second" in tile[-1]]
    rate = float(tile[1].replace(",", ""))
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6}
    times = []
    for row in page.rows:
        for cell in row:
            number, _, unit = cell.partition(" ")
            if unit in units and number.replace(".", "").isdigit():
                times.append(float(number) * units[unit])
    assert any(rate * each == pytest.approx(15, rel=0.1) for each in times)


def test_numbers_to_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, x, _, _ = problem()
    model = fastbptt.LSTM(2, 4, 2, dtype="float64", seed=0)
    y = [np.cumsum(one, axis=0) for one in x]
    page, drawn = page_of(tmp_path, monkeypatch, model, x, y, steps="all")
    found = fastbptt.evaluate(model, x, y, loss="mse", steps="all", metrics=["rmse", "mae", "r2"])
    for name in ("rmse", "mae", "r2"):
        assert f"{found[name]:.4g}" in page.cells
    assert f"{found['rmse']:.3g}" in [value for tile in page.tiles for value in tile]
    args, options = drawn.calls["sequences"]
    for said, one in zip(args[2], fastbptt.predict(model, x, steps="all"), strict=True):
        np.testing.assert_allclose(said, one)
    assert options["steps"] == "all"
    true, predicted = drawn.calls["predicted_against_true"][0]
    np.testing.assert_allclose(true, np.concatenate(y))
    np.testing.assert_allclose(predicted, np.concatenate(fastbptt.predict(model, x, steps="all")))
    for one, other in zip(drawn.calls["residuals"][0], (true, predicted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_forecasts_of_several_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 2)), rng.normal(size=(8, 6))
    model = fastbptt.GRU(2, 4, 6, dtype="float64", seed=0)
    series = ["north", "south"] * 3 + ["north", "west"]
    options = {"horizon": 3, "series": series, "feature_names": ["flow", "level"]}
    page, drawn = page_of(tmp_path, monkeypatch, model, x, y, **options)
    errors = fastbptt.predict(model, x) - y
    rms = {}
    for name in ("north", "south", "west"):
        own = errors[[i for i, one in enumerate(series) if one == name]]
        (row,) = page.starting_with([name])
        rms[name] = np.sqrt(np.mean(own**2))
        values = (rms[name], np.abs(own).mean(), own.mean())
        assert row == [name, str(len(own)), *(f"{value:.3g}" for value in values)]
    listed = [row[0] for row in page.starting_with(rms)]
    assert listed == sorted(rms, key=lambda name: -rms[name])
    args, told = drawn.calls["horizon_errors"]
    np.testing.assert_allclose(args[0], y)
    assert args[2] == 3 and told == {"feature_names": ["flow", "level"]}
    true, predicted = drawn.calls["residuals"][0]
    np.testing.assert_allclose(predicted - true, errors.reshape(-1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 4}, "horizon is 4; expected a divisor of 6, the outputs"),
        ({"horizon": 0}, "horizon is 0; expected at least 1"),
        ({"series": ["a"]}, "series has 1 names; expected 8, one per sequence"),
        ({"horizon": 3, "steps": "all"}, 'horizon is given with steps="all"; expected None'),
        ({"horizon": 3, "classes": True}, "horizon is given with classes; expected None, or num"),
        ({"series": ["a"] * 8, "classes": True}, "series is given with classes; expected None"),
    ],
)
def test_what_is_no_forecast(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5, 2)), rng.normal(size=(8, 6))
    if options.get("steps") == "all":
        y = rng.normal(size=(8, 5, 6))
    if options.pop("classes", False):
        y = np.arange(8) % 6
    with pytest.raises(fastbptt.ArgumentError, match=message):
        fastbptt.report(fastbptt.GRU(2, 4, 6, seed=0), x, y, tmp_path / "page.html", **options)
    assert not list(tmp_path.iterdir())


def test_the_learning_rates_that_were_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y, _ = problem()
    for rates, text in (([0.003] * 3, "0.003"), ([0.003, 0.002, 1e-5], "0.003 to 1e-05")):
        curves = {"loss": [0.5, 0.4, 0.3], "lr": rates}
        told = {"epoch": [1, 2, 3], "curves": curves, "best_epoch": None, "stopped": "epochs"}
        history = fastbptt.History.from_dict(told)
        page, _ = page_of(tmp_path, monkeypatch, model, x, y, history=history)
        assert page.starting_with(["learning rate"]) == [["learning rate", text]]


@pytest.mark.filterwarnings("ignore:maximum number of epochs")
@pytest.mark.parametrize(
    ("center", "several"), [*itertools.product(("last", "mean"), (False, True))]
)
def test_a_forecaster(
    center: str, several: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    from fastbptt.sklearn import RecurrentForecaster

    rng = np.random.default_rng(0)
    y: Any = [np.cumsum(rng.normal(size=(n, 2)), axis=0) for n in (40, 30)]
    names = ["north", "south"] if several else ["north"]
    y = y if several else y[0]
    model = RecurrentForecaster(
        window=6, horizon=3, center=center, hidden_layer_sizes=4, max_iter=2, tol=0.0,
        random_state=0,
    ).fit(y)  # fmt: skip
    drawn = Drawn()
    for name in (
        "losses", "gradient_flow", "gates", "eigenvalues", "saliency", "hidden_states", "unrolled",
        "sequences", "predicted_against_true", "residuals", "horizon_errors",
    ):  # fmt: skip
        monkeypatch.setattr(plot, name, drawn.spy(name))
    diagram = sections.diagram

    def noted(*args: Any, **options: Any) -> Any:
        drawn.calls["unrolled"] = (args, options)
        return diagram(*args, **options)

    monkeypatch.setattr(sections, "diagram", noted)
    quickly(monkeypatch)
    model.report(y, tmp_path / "page.html", series_names=names)
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    errors = {}
    for name, series in zip(names, y if several else [y], strict=True):
        windows = [series[i : i + 6] for i in range(len(series) - 8)]
        forecasts = np.stack(model.predict(3, y=windows))
        truth = np.stack([series[i + 6 : i + 9] for i in range(len(series) - 8)])
        errors[name] = (forecasts - truth) / model.scale_
        (row,) = page.starting_with([name])
        assert row[1] == str(len(windows))
        assert float(row[2]) == pytest.approx(np.sqrt(np.mean(errors[name] ** 2)), rel=1e-2)
    args, _ = drawn.calls["horizon_errors"]
    found = np.concatenate([*errors.values()]).reshape(-1, 6)
    np.testing.assert_allclose(args[1] - args[0], found, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="series_names has 3 names; expected"):
        model.report(y, tmp_path / "other.html", series_names=["a"] * 3)
