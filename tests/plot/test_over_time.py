"""Gradients of the weights over time and epochs; plots of numeric predictions."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import _check, plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 9, 3))
LENGTHS = np.array([9, 4, 7, 9])
Y = np.array([0, 1, 1, 0])
EVERY = np.tile(Y[:, np.newaxis], 9)


def axes() -> Any:
    return Figure().subplots()


def model(cell: str = "gru", **options: Any) -> Any:
    options = {"output_size": 2, "dtype": "float64", "seed": 1} | options
    return fastbptt.Recurrent(cell, 3, 5, **options)


def curves(ax: Any) -> list[Any]:
    """Return the curves, without marks of zeros."""
    return [np.asarray(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == 9]


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---------------------------------------------------------------- over time


@pytest.mark.parametrize("steps", _check.READOUTS)
@pytest.mark.parametrize("cell", fastbptt.cells())
def test_the_sum_ends_at_the_gradient(cell: str, steps: str) -> None:
    """All contributions together are the gradient."""
    options = {"alpha": 0.5} if cell.startswith("leaky") else {}
    one = model(cell, **options)
    y: Any = EVERY if steps == "all" else Y
    ax = plot.gradient_over_time(
        one, X, y, weights=("W_xh", "W_hh", "W_hy"), show="running sum", steps=steps,
        lengths=LENGTHS, ax=axes(),
    )  # fmt: skip
    _, grads = one.loss_and_grad(X, y, "cross_entropy", steps, lengths=LENGTHS)
    for drawn, name in zip(curves(ax), ("W_xh", "W_hh", "W_hy"), strict=True):
        assert drawn[0] == pytest.approx(np.linalg.norm(grads[name]), rel=1e-9)
    assert legend(ax) == ["W_xh", "W_hh", "W_hy", "running sum"]


@pytest.mark.parametrize("show", ["both", "contribution", "running sum"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}])
def test_the_curves_are_the_diagnosis(show: str, options: dict[str, Any]) -> None:
    one = model(**options)
    found = fastbptt.diagnose(one, X, Y, lengths=LENGTHS, jacobians=False)
    weights = ("W_hh", "W_hy")
    ax = plot.gradient_over_time(one, X, Y, weights=weights, show=show, lengths=LENGTHS, ax=axes())
    pairs = [(flow.contribution["W_hh"], flow.running_sum["W_hh"]) for flow in found.layers]
    pairs.append((found.output.contribution, found.output.running_sum))
    which = {"both": (0, 1), "contribution": (0,), "running sum": (1,)}[show]
    expected = [pair[i] for pair in pairs for i in which]
    for got, wanted in zip(curves(ax), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    lines = [line for line in ax.lines if len(line.get_ydata()) == 9]
    if show == "both":
        for thick, thin in zip(lines[::2], lines[1::2], strict=True):
            assert thick.get_linewidth() > thin.get_linewidth()
            assert thick.get_color() == thin.get_color()
    names = {"l0": "layer 0", "l1": "layer 1", "l0_reverse": "layer 0, reverse"}
    alone = len(found.layers) == 1
    places = [""] if alone else [f", {names[flow.name]}" for flow in found.layers]
    keys = {"contribution": ["contribution of step t"], "running sum": ["running sum"]}
    keys["both"] = keys["contribution"] + keys["running sum"]
    assert legend(ax) == [*(f"W_hh{place}" for place in places), "W_hy", *keys[show]]
    assert ax.get_yscale() == "log"


def test_several_models_in_one_picture() -> None:
    models = {
        f"{cell} {seed}": model(cell, seed=seed) for cell in ("rnn", "lstm") for seed in range(6)
    }
    ax = plot.gradient_over_time(models, X, Y, show="contribution", ax=axes())
    for got, one in zip(curves(ax), models.values(), strict=True):
        (flow,) = fastbptt.diagnose(one, X, Y, jacobians=False).layers
        np.testing.assert_array_equal(got, flow.contribution["W_hh"])
    assert legend(ax) == [*models, "contribution of step t"]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in ax.lines[:12]}
    assert len(looks) == 12


def test_one_layer_of_several() -> None:
    one = model(num_layers=2, bidirectional=True)
    found = fastbptt.diagnose(one, X, Y, jacobians=False)
    for layer in (0, 1, 3, -1, -4):
        ax = plot.gradient_over_time(one, X, Y, layer=layer, ax=axes())
        assert np.array_equal(curves(ax)[0], found.layers[layer].contribution["W_hh"])
        assert len(curves(ax)) == 2


BARE = fastbptt.RNN(3, 5, seed=0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3, X, Y), {}, "model is of type int; expected a fastbptt model"),
        (({}, X, Y), {}, "model is empty; expected at least one model"),
        ((model(), X, Y), {"weights": "W_hh"}, 'weights is "W_hh"; expected names of matrices'),
        ((model(), X, Y), {"weights": ()}, r"weights is \(\); expected names of matrices"),
        ((model(), X, Y), {"weights": ("W",)}, r'weights\[0\] is "W"; expected one of "W_xh"'),
        ((model(), X, Y), {"weights": ("W_hh",) * 2}, 'weights has "W_hh" twice; expected each'),
        ((model(), X, Y), {"layer": 1}, "layer is 1; expected -1 to 0"),
        ((model(), X, Y), {"layer": 0, "weights": ("W_hy",)}, "layer is 0; expected None: W_hy"),
        ((model(), X, Y), {"show": "sum"}, 'show is "sum"; expected one of "both"'),
        ((BARE, X, X[:, 0, :1] + np.zeros(5)), {"weights": ("W_hy",)}, "expected a model with a"),
    ],
)  # fmt: skip
def test_what_has_no_gradient_over_time(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        plot.gradient_over_time(*arguments, ax=axes(), **options)


# ---------------------------------------------------------------- over epochs


def trained(steps: str = "last", **options: Any) -> tuple[Any, Any]:
    one = model("lstm", bidirectional=True)
    monitor = fastbptt.GradientMonitor(warn=False, **options)
    history = fastbptt.fit(
        one, X, Y, steps=steps, lengths=LENGTHS, epochs=4, callbacks=[monitor], batch_size=2,
        verbose=0,
    )  # fmt: skip
    assert len(history) == 4
    return one, monitor


@pytest.fixture(scope="module")
def monitor() -> Any:
    return trained(probe=(X, Y, LENGTHS), keep=3)[1]


@pytest.mark.parametrize("steps", ["last", "max"])
def test_a_probe_records_the_gradients_of_the_weights(steps: str) -> None:
    one, monitor = trained(steps, probe=(X, Y, LENGTHS))
    assert monitor.epochs == [1, 2, 3, 4]
    # as after epoch 4
    found = fastbptt.diagnose(one, X, Y, steps=steps, lengths=LENGTHS, jacobians=False)
    for name in ("W_xh", "W_hh"):
        assert monitor.contribution[name].shape == monitor.running_sum[name].shape == (4, 2, 9)
        for i, flow in enumerate(found.layers):
            np.testing.assert_array_equal(
                monitor.contribution[name][-1, i], flow.contribution[name]
            )
            np.testing.assert_array_equal(monitor.running_sum[name][-1, i], flow.running_sum[name])
    np.testing.assert_array_equal(monitor.contribution["W_hy"][-1, 0], found.output.contribution)
    np.testing.assert_array_equal(monitor.running_sum["W_hy"][-1, 0], found.output.running_sum)
    assert trained()[1].contribution == trained()[1].running_sum == {}


def test_the_records_of_a_probe_are_kept_and_restored(monitor: Any) -> None:
    assert monitor.epochs == [1, 3]
    assert monitor.contribution["W_hh"].shape == (2, 2, 9)
    assert not np.array_equal(*monitor.contribution["W_hh"])
    other = fastbptt.GradientMonitor(keep=3)
    import json

    other.load_state(json.loads(json.dumps(monitor.state())))
    for name in ("W_xh", "W_hh", "W_hy"):
        np.testing.assert_array_equal(other.contribution[name], monitor.contribution[name])
        np.testing.assert_array_equal(other.running_sum[name], monitor.running_sum[name])


@pytest.mark.parametrize("probe", [[X, Y], (X,), X, (X, Y, LENGTHS, None, 1)])
def test_what_is_no_probe(probe: Any) -> None:
    with pytest.raises(TypeError, match=r"probe is .*; expected \(x, y\), \(x, y, lengths\) or"):
        fastbptt.GradientMonitor(probe=probe)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantity", "show"),
    [("hidden", None), ("gates", None), ("W_hh", None), ("W_hy", "running sum")],
)
def test_an_animation_has_a_frame_for_each_epoch(
    quantity: str, show: str | None, monitor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[Any]] = []
    curve = plot._style.curve

    def spy(ax: Any, i: int, x: Any, y: Any, *rest: Any, **options: Any) -> Any:
        if (i == 0 and options.get("linewidth") != 0.8) or show:
            drawn.append([])
        drawn[-1].append(y)
        return curve(ax, i, x, y, *rest, **options)

    monkeypatch.setattr(plot._style, "curve", spy)
    path = tmp_path / "a.gif"
    assert plot.gradient_animation(monitor, path, quantity, show=show, seconds=0.5) == str(path)
    with Image.open(path) as image:
        assert image.n_frames == 2
        assert image.info["duration"] == 500 and image.info["loop"] == 0
    for i, curves in enumerate(drawn):
        if quantity in ("hidden", "gates"):
            expected = list({"hidden": monitor.layers, "gates": monitor.gates}[quantity][i])
        elif show:
            expected = list(monitor.running_sum[quantity][i])
        else:
            pairs = zip(
                monitor.contribution["W_hh"][i], monitor.running_sum["W_hh"][i], strict=True
            )
            expected = [one for pair in pairs for one in pair]
        np.testing.assert_array_equal(curves, expected)
    assert len(drawn) == 2


def test_an_animation_as_a_page(monitor: Any, tmp_path: Path) -> None:
    path, before = tmp_path / "a.html", dict(matplotlib.rcParams)
    plot.gradient_animation(monitor, path, seconds=0.25)
    page = path.read_text("utf-8")
    assert page.count('"iVBOR') == 2 and "epochs = [1,3]" in page and "250);" in page
    assert not re.search(r"https?://", page)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("a.mp4", {}, "path is 'a.mp4'; expected a name that ends in .gif or .html"),
        ("a.gif", {"quantity": "W"}, 'quantity is "W"; expected one of "hidden"'),
        ("a.gif", {"show": "both"}, 'show is "both"; expected None with quantity="hidden"'),
        ("a.gif", {"quantity": "W_hh", "show": "x"}, 'show is "x"; expected one of "both"'),
        ("a.gif", {"seconds": 0}, "seconds is 0; expected 0.02 to 60"),
        ("a.gif", {"seconds": "1"}, "seconds is '1'; expected a number above 0"),
        ("a.gif", {"monitor": 3}, "monitor is int; expected a GradientMonitor"),
        ("a.gif", {"monitor": fastbptt.GradientMonitor()}, "monitor has no epochs; expected the"),
        (
            "a.gif",
            {"monitor": "unprobed", "quantity": "W_hh"},
            r'quantity is "W_hh", which the monitor has not recorded; expected "hidden" or "gates"',
        ),
    ],
)
def test_what_is_no_animation(
    path: str, options: dict[str, Any], message: str, monitor: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    options = {"monitor": monitor} | options
    if options["monitor"] == "unprobed":
        options["monitor"] = trained()[1]
    with pytest.raises((ValueError, TypeError), match=message):
        plot.gradient_animation(path=path, **options)
    assert not list(tmp_path.iterdir())


def test_without_pillow(monitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="plots need pillow: pip install pillow"):
        plot.gradient_animation(monitor, "a.gif")


# ---------------------------------------------------------------- numeric predictions

TRUE = RNG.normal(size=(8, 6))
SAID = TRUE + RNG.normal(size=(8, 6)) * np.arange(1, 7)


@pytest.mark.parametrize("shape", [(8, 6), (48,), (2, 4, 6), (16, 3), (4, 12), (3, 16)])
def test_points_are_the_numbers(shape: tuple[int, ...]) -> None:
    true, said = TRUE.reshape(shape), SAID.reshape(shape)
    outputs = shape[-1] if len(shape) > 1 else 1
    sets = outputs if outputs <= 12 else 1
    names = [f"{outputs} outputs"] if outputs > 12 else [f"output {i}" for i in range(outputs)]
    for draw, x, y in (
        (plot.predicted_against_true, true, said),
        (plot.residuals, said, said - true),
    ):
        ax = draw(true, said, ax=axes())
        points = [line for line in ax.lines if line.get_linestyle() == "None"]
        assert len(points) == sets
        assert [line.get_label() for line in points] == names
        looks = {(line.get_markerfacecolor(), line.get_marker()) for line in points}
        assert len(looks) == sets
        for i, line in enumerate(points):
            np.testing.assert_array_equal(line.get_xdata(), x.reshape(-1, sets)[:, i])
            np.testing.assert_array_equal(line.get_ydata(), y.reshape(-1, sets)[:, i])
    lists = [list(each.reshape(8, -1, 2)[..., :1]) for each in (TRUE, SAID)]
    ax = plot.residuals(*lists, ax=axes())
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), SAID.reshape(-1, 2)[:, 0])


def test_equal_numbers_lie_on_the_diagonal() -> None:
    ax = plot.predicted_against_true(TRUE, SAID, ax=axes())
    diagonal = ax.lines[-1]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlim()[0] < min(TRUE.min(), SAID.min())
    assert ax.get_xlim()[1] > max(TRUE.max(), SAID.max())


@pytest.mark.parametrize("horizon", [1, 2, 3, 6])
def test_errors_by_how_many_steps_ahead(horizon: int) -> None:
    ax = plot.horizon_errors(TRUE, SAID, horizon, ax=axes())
    features = 6 // horizon
    assert len(ax.lines) == features
    for j, line in enumerate(ax.lines):
        assert line.get_xdata().tolist() == list(range(1, horizon + 1))
        for i, error in enumerate(line.get_ydata()):
            column = i * features + j
            expected = np.sqrt(np.mean((SAID[:, column] - TRUE[:, column]) ** 2))
            assert error == pytest.approx(expected, rel=1e-12)
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > max(ax.lines[0].get_ydata())


def test_what_is_not_finite_is_counted() -> None:
    said = SAID.copy()
    said[0, 0], said[2, 3] = np.nan, np.inf
    for draw in (plot.predicted_against_true, plot.residuals):
        ax = draw(TRUE, said, ax=axes())
        title = ax.get_legend().get_title().get_text()
        assert title == "not drawn: 2 of 48 that are not finite"
        ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plot.residuals([1.0], [1.0, 2.0]),
            "predictions has 2 rows of 1 numbers; expected 1",
        ),
        (lambda: plot.residuals([], []), "y is empty; expected at least one number"),
        (lambda: plot.predicted_against_true(TRUE, TRUE[:, :2]), "predictions has 8 rows of 2"),
        (lambda: plot.residuals(TRUE, SAID, output_names=["a"]), "output_names has 1 names; exp"),
        (lambda: plot.horizon_errors(TRUE, SAID, 4), "horizon is 4; expected a divisor of 6, the"),
        (lambda: plot.horizon_errors(TRUE, SAID, 0), "horizon is 0; expected at least 1"),
        (lambda: plot.horizon_errors(TRUE, SAID, 3, feature_names=["a"]), "feature_names has 1 n"),
    ],
)
def test_what_is_no_prediction(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
