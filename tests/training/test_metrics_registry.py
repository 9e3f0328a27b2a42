"""A metric is one entry in the registry: everything that lists metrics finds it there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastbptt
from fastbptt import Loss, cli
from fastbptt.datasets import write_npz
from fastbptt.training.metrics import METRICS, Metric, suited, title

RNG = np.random.default_rng(5)


def worst(y: NDArray[Any], outputs: NDArray[Any]) -> float:
    return float(np.abs(outputs - y.reshape(outputs.shape)).max())


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(METRICS)
    METRICS["worst"] = Metric("worst", worst, False, "numbers", "largest absolute error")
    yield
    METRICS.clear()  # their order counts, too
    METRICS.update(before)


def test_fit_and_evaluate(registered: None) -> None:
    x, y = RNG.normal(size=(20, 4, 2)), RNG.normal(size=20)
    model = fastbptt.GRU(2, 4, 1, seed=0)
    history = fastbptt.fit(
        model, x, y, epochs=3, metrics="worst", monitor="worst", validation=0.5, verbose=0
    )
    curve = history["validation_worst"]
    assert history.best_epoch == curve.index(min(curve)) + 1
    found = fastbptt.evaluate(model, x, y, metrics="worst")["worst"]
    assert found == pytest.approx(np.abs(fastbptt.predict(model, x)[:, 0] - y).max())
    with pytest.raises(ValueError, match=r'expected one of .*"crossing", "worst", or a function'):
        fastbptt.evaluate(model, x, y, metrics="worse")


@pytest.mark.slow
def test_plots_and_report(registered: None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    x, y = RNG.normal(size=(12, 4, 2)), RNG.normal(size=12)
    model = fastbptt.GRU(2, 4, 1, seed=0)
    history = fastbptt.fit(model, x, y, epochs=2, metrics="worst", validation=0.5, verbose=0)
    axes = fastbptt.plot.losses(history, ["worst", "validation_worst"])
    assert axes.get_ylabel() == "largest absolute error"
    page = tmp_path / "report.html"
    fastbptt.report(model, x, y, page, history)
    text = page.read_text("utf-8")
    assert "Largest absolute error by epoch." in text
    found = fastbptt.evaluate(model, x, y, metrics="worst")["worst"]
    assert f'<th scope="row">largest absolute error</th><td class="value">{found:.4g}</td>' in text


@pytest.mark.slow
def test_the_first_metric_is_the_headline(registered: None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    metric = METRICS["worst"]._replace(format_spec="08.3f")
    others = {name: one for name, one in METRICS.items() if name != "worst"}
    METRICS.clear()
    METRICS.update({"worst": metric, **others})
    x, y = RNG.normal(size=(12, 4, 2)), RNG.normal(size=12)
    model = fastbptt.GRU(2, 4, 1, seed=0)
    page = tmp_path / "report.html"
    fastbptt.report(model, x, y, page)
    found = fastbptt.evaluate(model, x, y, metrics="worst")["worst"]
    assert f"<dt>Largest absolute error</dt><dd>{found:08.3f}</dd>" in page.read_text("utf-8")


def test_command_line(registered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, RNG.normal(size=(20, 4, 2)), RNG.normal(size=20))
    command = ["train", str(path), "--quiet", "--epochs", "2", "--validation", "0.5"]
    assert cli.main([*command, "--json", "--metrics", "worst,mae"]) == 0
    result = json.loads(capsys.readouterr().out)
    curves = result["history"]["curves"]
    assert {"worst", "validation_worst", "mae", "validation_mae"} <= set(curves)
    assert "r2" not in curves
    assert list(result["validation"]) == ["count", "rmse", "mae", "r2", "worst"]
    assert cli.main(command) == 0
    assert f"largest absolute error {result['validation']['worst']:.4g}" in capsys.readouterr().out
    assert cli.main([*command, "--metrics", "worst,accuracy"]) == 1
    assert (
        f"--metrics has accuracy, but {path} has numbers as labels; expected names from rmse, "
        "mae, r2, worst"
    ) in capsys.readouterr().err
    for wrong, expected in (
        (
            ["--metrics", "best"],
            "rmse, mae, r2, coverage_error, crossing, worst",
        ),
        (["--help"], "rmse, mae, r2, worst"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["train", str(path), *wrong])
        shown = capsys.readouterr()
        assert expected in " ".join((shown.out + shown.err).split())


def test_titles_and_targets() -> None:
    assert suited(Loss("bce")) == suited(Loss("hinge")) == ["accuracy", "balanced_accuracy"]
    assert suited(Loss("mse")) == suited(Loss("gaussian")) == ["rmse", "mae", "r2"]
    of_quantiles = ["coverage_error", "crossing"]
    assert suited(Loss("quantile")) == ["rmse", "mae", "r2", *of_quantiles]
    assert suited(Loss("quantile", levels=[0.1])) == of_quantiles
    assert title("validation_rmse") == "RMSE"
    assert title("balanced_accuracy") == "balanced accuracy"
    assert title("my_own") == "my own"
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.targets in ("classes", "numbers", "quantiles")
