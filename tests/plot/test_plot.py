"""Pictures: what is drawn are the numbers; nothing else of matplotlib is touched."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import sampled

import fastbptt
from fastbptt import cli, plot
from fastbptt.datasets import tasks

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from fastbptt.plot.flow import QUANTITIES  # noqa: E402

RNG = np.random.default_rng(3)
X = RNG.normal(size=(6, 15, 3)).astype(np.float32)
LENGTHS = np.array([15, 4, 9, 15, 1, 7])
CLASSES = np.array([0, 1, 2, 1, 0, 2])


def model(cell: str = "rnn", **options: Any) -> fastbptt.Recurrent:
    options = {"output_size": 3, "seed": 1, "dtype": "float64"} | options
    if cell.startswith("leaky"):
        options["alpha"] = 0.5
    return fastbptt.Recurrent(cell, 3, 8, **options)


@cache
def diagnosis(cell: str = "rnn", steps: str = "last", **options: Any) -> Any:
    y: Any = CLASSES if steps == "last" else np.tile(CLASSES[:, np.newaxis], 15)
    return fastbptt.diagnose(model(cell, **options), X, y, steps=steps, lengths=LENGTHS)


@cache
def found_points() -> fastbptt.diagnostics.FixedPoints:
    return fastbptt.diagnostics.fixed_points(model(), np.zeros(3), 9, data=X)


NORMS = np.array([[0.0, 1e-30, 1e-3], [1e-9, 1e-5, 1e-2]])
TRUE = RNG.normal(size=(20, 4))
HISTORY = {"loss": [0.9, 0.5, 0.25], "validation_loss": [1.0, 0.75, 0.5]}

RATES = fastbptt.training.LearningRates(
    np.geomspace(1e-4, 1.0, 5), np.array([3.0, 2.9, 2.0, 1.5, 9.0]), np.arange(5.0, 0.0, -1.0), 0.1
)

DECISION = tasks.PerceptualDecision()
TRIALS = DECISION.trials(4, seed=0)
CURVE = tasks.psychometric([0, 0, 1, 1, 2, 2], np.array([0, 0, 1, 0, 1, 1], bool))

# One way to draw each picture, into the Axes given.
PICTURES: dict[str, Callable[[Any], Any]] = {
    "losses": lambda ax: plot.losses(HISTORY, ax=ax),
    "learning_rates": lambda ax: plot.learning_rates(RATES, ax=ax),
    "hidden_states": lambda ax: plot.hidden_states(model(), X, lengths=LENGTHS, example=2, ax=ax),
    "eigenvalues": lambda ax: plot.eigenvalues(model("lstm"), X, ax=ax),
    "confusion": lambda ax: plot.confusion(CLASSES, CLASSES[::-1], ax=ax),
    "sequences": lambda ax: plot.sequences(X, CLASSES, model().forward(X).last, ax=ax),
    "gradient_flow": lambda ax: plot.gradient_flow(diagnosis(), ax=ax),
    "gradient_over_time": lambda ax: plot.gradient_over_time(
        model(), X, CLASSES, lengths=LENGTHS, ax=ax
    ),
    "predicted_against_true": lambda ax: plot.predicted_against_true(TRUE, TRUE + 0.1, ax=ax),
    "residuals": lambda ax: plot.residuals(TRUE, TRUE**2, ax=ax),
    "horizon_errors": lambda ax: plot.horizon_errors(TRUE, TRUE**2, 2, ax=ax),
    "gates": lambda ax: plot.gates(diagnosis("gru"), ax=ax),
    "gradient_heatmap": lambda ax: plot.gradient_heatmap(NORMS, ax=ax),
    "saliency": lambda ax: plot.saliency(model(), X, CLASSES, example=2, ax=ax),
    "fixed_points": lambda ax: plot.fixed_points(model(), found_points(), X, ax=ax),
    "unrolled": lambda ax: plot.unrolled(model(), X, CLASSES, example=2, ax=ax),
    "trial": lambda ax: plot.trial(DECISION, TRIALS, ax=ax),
    "psychometric": lambda ax: plot.psychometric(CURVE, ax=ax),
}


@pytest.fixture(autouse=True)
def _no_figure_left() -> Iterator[None]:
    yield
    pyplot.close("all")


def labels(ax: Any) -> list[str]:
    """Return the names of the curves."""
    return [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]


def test_every_picture_is_here() -> None:
    assert set(PICTURES) == set(plot.__all__) - {
        "style",
        "gallery",
        "gradient_animation",
        "PICTURES",
        "Picture",
        "Examples",
    }


@pytest.mark.parametrize("name", PICTURES)
def test_makes_a_figure_of_half_a_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("show was called")

    monkeypatch.setattr(pyplot, "show", refuse)
    monkeypatch.setattr(Figure, "show", refuse)
    before = dict(matplotlib.rcParams)
    ax = PICTURES[name](None)
    assert dict(matplotlib.rcParams) == before
    assert ax.figure.get_figwidth() <= 4.9
    if name != "unrolled":  # a diagram has no axes
        assert ax.get_xlabel()
        assert ax.get_ylabel()
    assert ax.xaxis.label.get_fontsize() == 8.0
    ax.figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
    assert min(text.get_fontsize() for text in texts) >= 6.0


@pytest.mark.parametrize("name", PICTURES)
def test_draws_where_it_is_told(name: str) -> None:
    with matplotlib.rc_context({"font.size": 20.0}):
        ax = Figure().subplots()
        assert PICTURES[name](ax) is ax
    assert ax.xaxis.label.get_fontsize() == 20.0, "the caller's type"
    assert pyplot.get_fignums() == [], "no figure of its own"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), sampled([*itertools.product(PICTURES, ["svg", "pdf"])], 20)
)
def test_is_small_as_a_vector_picture(name: str, kind: str) -> None:
    import io

    file = io.BytesIO()
    ax = PICTURES[name](None)
    ax.figure.savefig(file, format=kind)
    assert 1000 < len(file.getvalue()) < 200_000


@pytest.mark.parametrize("name", PICTURES)
def test_ax_is_checked(name: str) -> None:
    with pytest.raises(TypeError, match="ax is Figure; expected a matplotlib Axes, or None"):
        PICTURES[name](Figure())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for picture in PICTURES.values():
        with pytest.raises(ImportError, match="pip install matplotlib"):
            picture(None)


def test_matplotlib_is_loaded_when_a_picture_is_drawn() -> None:
    code = "import sys, fastbptt; fastbptt.plot.losses; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---------------------------------------------------------------- losses


def test_losses_are_the_numbers() -> None:
    ax = plot.losses(HISTORY)
    assert labels(ax) == ["training", "validation"]
    for line, values in zip(ax.lines, HISTORY.values(), strict=True):
        assert line.get_xdata().tolist() == [1, 2, 3]
        assert line.get_ydata().tolist() == values
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "loss", "linear")


def test_other_curves() -> None:
    history = {"loss": [1.0], "accuracy": [0.5], "validation_accuracy": [0.4], "lr": [0.1]}
    ax = plot.losses(history, ["accuracy", "validation_accuracy"])
    assert labels(ax) == ["training", "validation"]
    assert ax.get_ylabel() == "accuracy"
    ax = plot.losses(history, ["loss", "lr"])
    assert labels(ax) == ["loss, training", "lr, training"]
    with pytest.raises(ValueError, match="names has 'mae'; expected names from loss, accuracy"):
        plot.losses(history, ["mae"])
    with pytest.raises(ValueError, match="history has no loss; it has lr"):
        plot.losses({"lr": [0.1]})
    with pytest.raises(TypeError, match="history is int; expected the result of fastbptt"):
        plot.losses(3)


def test_a_logarithmic_scale_shows_zero_and_infinity() -> None:
    values = [1.0, 1e-20, 0.0, np.inf, 0.5, 0.0]
    ax = plot.losses({"loss": values}, log=True)
    line, alone, zeros, infinite = ax.lines
    assert alone.get_xdata().tolist() == [5]
    assert line.get_ydata().tolist() == values
    assert ax.get_yscale() == "log"
    assert zeros.get_xdata().tolist() == [3, 6]
    assert infinite.get_xdata().tolist() == [4]
    low, high = ax.get_ylim()
    assert low < zeros.get_ydata()[0] < 1e-20
    assert 1.0 < infinite.get_ydata()[0] < high
    assert {text.get_text() for text in ax.texts} == {"exactly 0", "infinite"}


@pytest.mark.parametrize("values", [[1e-310, 5e-324], [1e308, 1e-308], [0.0, 0.0], [1.0, 1.0]])
def test_a_logarithmic_scale_of_what_floats_can_be(values: list[float]) -> None:
    ax = plot.losses({"loss": values}, log=True)
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    assert 0 < low < high < np.inf


def test_the_scale_is_chosen() -> None:
    assert plot.losses({"loss": [100.1, 1.0]}).get_yscale() == "log"
    assert plot.losses({"loss": [100.0, 1.0]}).get_yscale() == "linear"
    assert plot.losses({"loss": [1000.0, 0.0]}).get_yscale() == "linear"


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_hidden_states_are_the_numbers(cell: str) -> None:
    one = model(cell, bidirectional=True)
    ax = plot.hidden_states(one, X, lengths=LENGTHS, example=2, sort=False)
    expected = one.forward(X, lengths=LENGTHS).hidden[2, :9].T
    drawn = ax.images[0].get_array()
    assert np.allclose(drawn, expected, rtol=0, atol=1e-14)
    rows = plot.hidden_states(one, X, lengths=LENGTHS, example=2).images[0].get_array()
    assert not np.array_equal(rows, drawn)
    order = np.lexsort(drawn.T), np.lexsort(rows.T)
    assert np.array_equal(drawn[order[0]], rows[order[1]]), "the same rows in another order"


def test_units_that_do_the_same_are_neighbours() -> None:
    one = fastbptt.RNN(1, 6, seed=0, dtype="float64")
    for name, values in one.parameters.items():
        values[...] = 0.0
        if name == "W_xh":
            values[...] = [[1, -1, 1, -1, 1, -1]]
    rows = plot.hidden_states(one, X[:, :, :1]).images[0].get_array()
    signs = np.sign(rows[:, 0]).tolist()
    assert sorted(signs) in (signs, signs[::-1])


def test_one_step_of_tokens() -> None:
    one = fastbptt.RNN(3, 8, 1, embedding=5, seed=0)
    assert plot.hidden_states(one, [[1], [2, 3]]).images[0].get_array().shape == (8, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"example": 6}, ValueError, "example is 6; expected 0 to 5"),
        ({"example": 1.0}, TypeError, r"example is 1\.0; expected a whole number"),
        ({"lengths": [1, 2]}, ValueError, "lengths has shape \\(2,\\)"),
    ],
)
def test_bad_choice(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plot.hidden_states(model(), X, **options)


def drawn_values(ax: Any) -> Any:
    (line,) = ax.lines
    return np.sort_complex(line.get_xdata() + 1j * line.get_ydata())


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_eigenvalues_are_the_numbers(cell: str) -> None:
    """Of plain cells those of W_hh; of the others those of the Jacobian at the zero state."""
    one = model(cell)
    ax = plot.eigenvalues(one)
    jacobian = fastbptt.diagnostics.step_jacobian(one, one.initial_state(1), np.zeros(3))[0]
    plain = cell in ("rnn", "relu")
    matrix = one.parameters["W_hh"] if plain else jacobian
    expected = np.linalg.eigvals(matrix)
    assert np.allclose(drawn_values(ax), np.sort_complex(expected), rtol=0, atol=1e-12)
    where = "spectral" if plain else "at the zero state:"
    assert labels(ax) == [f"{where} radius {np.abs(expected).max():.3g}"]
    for (low, high), part in ((ax.get_xlim(), expected.real), (ax.get_ylim(), expected.imag)):
        assert low < part.min() and part.max() < high
    assert ax.get_aspect() == 1.0
    assert ("W_hh" if plain else "the Jacobian") in ax.get_xlabel()


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_eigenvalues_at_the_last_step_of_a_sequence(cell: str) -> None:
    one = model(cell)
    ax = plot.eigenvalues(one, X, lengths=LENGTHS, example=2)
    x = X[2:3, : LENGTHS[2]]
    state = one.forward(x[:, :-1]).final_state
    jacobian = fastbptt.diagnostics.step_jacobian(one, state, x[:, -1])[0]
    expected = np.linalg.eigvals(jacobian)
    assert np.allclose(drawn_values(ax), np.sort_complex(expected), rtol=0, atol=1e-6)
    assert labels(ax) == [f"at the last step: radius {np.abs(expected).max():.3g}"]
    single = plot.eigenvalues(one, X, lengths=LENGTHS, example=4)  # one step
    jacobian = fastbptt.diagnostics.step_jacobian(one, one.initial_state(1), X[4, 0])[0]
    expected = np.sort_complex(np.linalg.eigvals(jacobian))
    assert np.allclose(drawn_values(single), expected, rtol=0, atol=1e-6)


def test_a_healthy_leaky_network_has_a_large_radius_of_its_weights() -> None:
    """What the picture is for: gradients of this network neither vanish nor explode."""
    one = fastbptt.LeakyRNN(3, 32, 1, alpha=0.1, init=("orthogonal", 1.5), seed=0)
    assert np.abs(np.linalg.eigvals(one.parameters["W_hh"])).max() == pytest.approx(1.5, rel=1e-3)
    x = RNG.normal(size=(4, 60, 3))
    report = fastbptt.diagnose(one, x, [0, 1, 0, 1])
    assert report.advice == ()
    radius = report.layers[0].spectral_radius
    assert radius is not None
    assert 0.9 < radius < 1.1
    drawn = plot.eigenvalues(one, x)
    assert np.abs(drawn_values(drawn)).max() == pytest.approx(radius, abs=0.05)


def test_one_gate() -> None:
    ax = plot.eigenvalues(model("lstm"), gate="f")
    expected = np.linalg.eigvals(model("lstm").parameters["W_hh"][:, 8:16])
    assert ax.lines[0].get_xdata().tolist() == expected.real.tolist()
    assert labels(ax) == [f"gate f: radius {np.abs(expected).max():.3g}"]
    assert "W_hh" in ax.get_xlabel()
    ax = plot.eigenvalues(model("leaky"), gate="a")
    assert labels(ax)[0].startswith("spectral radius")
    for options, message in [
        ({"gate": "z"}, 'gate is "z"'),
        ({"gate": "f", "x": X}, 'gate is "f"; expected None because x is given'),
        ({"lengths": LENGTHS}, "lengths is given; expected x, the sequences, beside it"),
        ({"example": 1}, "example is given; expected x, the sequences, beside it"),
        ({"x": X, "example": 6}, "example is 6; expected 0 to 5"),
        ({"x": X[:, :, :2]}, r"x has shape \(1, 15, 2\); expected"),
        ({"x": X + np.nan}, "x holds a value that is not finite"),
        ({"reverse": True}, "reverse is True; expected False"),
        ({"layer": 1}, "layer is 1; expected 0 to 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            plot.eigenvalues(model("lstm"), **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- fixed points


def bistable(w: float = 2.0, layers: int = 1) -> tuple[fastbptt.Recurrent, Any]:
    """Two units that excite themselves, and states from which all nine points are reached."""
    one = fastbptt.RNN(1, 2, num_layers=layers, dtype="float64", seed=0)
    for name, values in one.parameters.items():
        values[...] = w * np.eye(2) if name.startswith("W_hh") else 0.0
        if name == "W_xh":
            values[...] = [[1.0, -0.5]]
    grid = np.array(list(itertools.product([-0.95, 0.01, 0.95], repeat=2)))
    return one, np.stack([grid] * layers)


def line_of(ax: Any, label: str) -> Any:
    return next(line for line in ax.lines if line.get_label() == label)


def by_hand(states: Any, count: int) -> tuple[Any, Any, Any]:
    """Mean, components and shares by the singular value decomposition."""
    middle = states.mean(axis=0)
    _, sizes, rows = np.linalg.svd(states - middle)
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    components = (rows * signs[:, np.newaxis])[:count].T
    return middle, components, sizes**2 / (sizes**2).sum()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("layers", [1, 2])
def test_fixed_points_lie_in_the_components_of_the_states(layers: int, dimensions: int) -> None:
    one, starts = bistable(layers=layers)
    found = fastbptt.diagnostics.fixed_points(one, [0.0], starts)
    assert len(found) == 9
    if dimensions > 2 * layers:
        with pytest.raises(ValueError, match="dimensions is 3; expected at most 2, the numbers in"):
            plot.fixed_points(one, found, X[:, :, :1], dimensions=dimensions)
        return
    ax = plot.fixed_points(
        one, found, X[:, :, :1], lengths=LENGTHS, trajectories=3, dimensions=dimensions
    )
    every = []
    for x, length in zip(X, LENGTHS, strict=True):
        state, own = one.initial_state(1), []
        for t in range(length):
            one.step(x[t : t + 1, :1], state)
            own.append(np.asarray(state)[:, 0].ravel().copy())
        every.append(np.array(own))
    middle, components, shares = by_hand(np.concatenate(every), dimensions)

    def numbers(line: Any) -> Any:
        data = line.get_data_3d() if dimensions == 3 else line.get_data()
        return np.stack(data, axis=1)

    for which, chosen in (("stable", found.stable), ("unstable", found.unstable)):
        expected = (found.points[chosen] - middle) @ components
        drawn = numbers(line_of(ax, f"{which} ({chosen.sum()})"))
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-9)
    courses = [line for line in ax.lines if line.get_linestyle() == "-" and len(numbers(line)) > 1]
    assert [len(numbers(line)) for line in courses] == LENGTHS[:3].tolist()
    for line, own in zip(courses, every, strict=False):
        expected = (own - middle) @ components
        np.testing.assert_allclose(numbers(line), expected, rtol=0, atol=1e-9)
    names = [ax.get_xlabel(), ax.get_ylabel(), *([ax.get_zlabel()] if dimensions == 3 else [])]
    of = " of the variance" if dimensions == 2 else ""
    wanted = [f"component {i + 1} ({shares[i]:.0%}{of})" for i in range(dimensions)]
    assert names == wanted
    ax.figure.canvas.draw()


def test_kinds_of_points_are_told_apart() -> None:
    one, starts = bistable()
    found = fastbptt.diagnostics.fixed_points(one, [0.0], starts)
    ax = plot.fixed_points(one, found, X[:, :, :1], trajectories=0)
    stable, unstable = ax.lines
    assert (stable.get_label(), unstable.get_label()) == ("stable (4)", "unstable (5)")
    assert stable.get_markerfacecolor() == stable.get_markeredgecolor()
    assert unstable.get_markerfacecolor() == "#FFFFFF" != unstable.get_markeredgecolor()
    # with w = 1 the only point is marginal; just before it exists, it is slow
    one, starts = bistable(1.0)
    found = fastbptt.diagnostics.fixed_points(one, [0.0], starts, merge=0.01)
    ax = plot.fixed_points(one, found, X[:, :, :1], trajectories=0)
    assert labels(ax) == ["marginal (1)"]
    one, _ = bistable()
    found = fastbptt.diagnostics.fixed_points(one, [-0.54], np.array([[[0.7, 0.95]]]), slow=1e-3)
    ax = plot.fixed_points(one, found, X[:, :, :1], trajectories=0)
    assert labels(ax) == ["slow (1)"]


def test_no_points_and_what_is_no_picture() -> None:
    one, starts = bistable()
    none = fastbptt.diagnostics.fixed_points(one, [0.0], 0.5 * starts[:, :1], iterations=1)
    assert len(none) == 0
    ax = plot.fixed_points(one, none, X[:, :, :1])
    assert labels(ax) == ["states over time", "no fixed points found"]
    flat = Figure().subplots()
    deep = Figure().add_subplot(projection="3d")
    found = found_points()
    for options, message in [
        ({"found": none}, "found holds points of another model: 1 layers, 1 states, 2 units; exp"),
        ({"found": 3}, "found is of type int; expected the result of fastbptt.diagnostics.fixed"),
        ({"dimensions": 4}, "dimensions is 4; expected 2 or 3"),
        ({"dimensions": True}, "dimensions is True; expected 2 or 3"),
        ({"trajectories": -1}, "trajectories is -1; expected a whole number of at least 0"),
        ({"x": X[:, :, :2]}, r"x has shape \(6, 15, 2\); expected"),
        ({"x": X + np.nan}, "x holds a value that is not finite"),
        ({"lengths": [1]}, r"lengths has shape \(1,\); expected"),
        ({"model": fastbptt.RNN(3, 8, bidirectional=True)}, "found holds points of another model"),
        ({"model": 3}, "model is of type int"),
        ({"ax": deep}, r"ax has three dimensions; expected Axes that were not made with proj"),
        ({"ax": flat, "dimensions": 3}, "ax has two dimensions; expected Axes that were made wit"),
    ]:
        arguments = {"model": model(), "found": found, "x": X} | options
        with pytest.raises((ValueError, TypeError), match=message):
            plot.fixed_points(**arguments)


# ---------------------------------------------------------------- predictions


def test_confusion_is_the_numbers() -> None:
    y, predicted = np.array([0, 0, 0, 2]), np.array([0, 2, 2, 2])
    ax = plot.confusion(y, predicted, ["a", "b", "$c$"])
    assert np.allclose(ax.images[0].get_array(), [[1 / 3, 0, 2 / 3], [0, 0, 0], [0, 0, 1]])
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "1", (2, 0): "2", (2, 2): "1"}
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b", r"\$c\$"]
    assert ax.get_title() == "2 of 4 correct (50.0%)"
    ax.figure.canvas.draw()


def test_confusion_of_outputs() -> None:
    outputs = np.array([[3.0, 1.0], [0.0, 2.0]])
    assert plot.confusion([0, 0], outputs).get_title() == "1 of 2 correct (50.0%)"
    logits = np.array([[-1.0], [4.0]])
    assert plot.confusion([0.0, 1.0], logits).get_title() == "2 of 2 correct (100.0%)"
    steps = plot.confusion([[0, 1], [1, 1]], [[0, 1], [0, 1]])
    assert steps.get_title() == "3 of 4 correct (75.0%)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 1], [0]), ValueError, r"predictions has shape \(1,\) and dtype int64; expected"),
        (([0.5], [0]), TypeError, "y has dtype float64; expected classes"),
        (([0, -1], [0, 0]), ValueError, "y has the class -1; expected classes from 0"),
        (([0, 2], [0, 1], ["a", "b"]), ValueError, "class_names has 2 names; expected at least 3"),
    ],
)
def test_confusion_of_what_is_none(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plot.confusion(*arguments)


def test_many_classes() -> None:
    y = np.arange(100)
    ax = plot.confusion(y, y)
    assert not ax.texts
    ax.figure.canvas.draw()


def test_sequences_with_classes() -> None:
    outputs = np.log([[0.7, 0.3], [0.9, 0.1], [0.5, 0.5]])
    ax = plot.sequences(X[:3], [0, 1, 0], outputs, examples=[0, 1], class_names=["no", "yes"])
    verdicts = [text.get_text() for text in ax.texts]
    assert verdicts[0].split() == ["\N{CHECK MARK}", "no", "70%"]
    assert verdicts[1].split() == ["\N{BALLOT X}", "no,", "90%", "true:", "yes"]
    assert ax.texts[0].get_color() != ax.texts[1].get_color()
    assert len(ax.lines) == 6, "three features each"
    for i, line in enumerate(ax.lines[:3]):
        heights = -line.get_ydata()
        assert np.corrcoef(heights, X[0, :, i])[0, 1] > 0.999
        assert heights.min() > -0.41 and heights.max() < 0.41


def test_sequences_with_numbers() -> None:
    ax = plot.sequences(X[:2], [0.25, 1.5], [[0.5], [1.0]], ids=["a", "b"])
    assert [text.get_text() for text in ax.texts] == [
        "true 0.25\npredicted 0.5",
        "true 1.5\npredicted 1",
    ]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    ax = plot.sequences(X[:1], predictions=[[1.0, 2.0, 3.0, 4.0]])
    assert ax.texts[0].get_text() == "predicted 1, 2, 3, …"


def test_sequences_with_numbers_for_each_step() -> None:
    y = X[:, :, :1] * 2
    ax = plot.sequences(X, y, y + 1, steps="all", lengths=LENGTHS, examples=[2])
    target = next(line for line in ax.lines if line.get_label() == "target")
    predicted = next(line for line in ax.lines if line.get_label() == "prediction")
    assert len(target.get_xdata()) == len(predicted.get_xdata()) == 9
    scale = (y[2, :9].max() + 1 - y[2, :9].min()) / 0.8
    assert np.allclose((target.get_ydata() - predicted.get_ydata()) * scale, 1.0, atol=1e-5)


def test_sequences_with_classes_for_each_step() -> None:
    y = (X[..., 0] > 0).astype(int)
    logits = np.stack([np.zeros(y.shape), 3.0 * y - 1], axis=-1)
    ax = plot.sequences(list(X), list(y), list(logits), steps="all")
    target, predicted = (
        next(line for line in ax.lines if line.get_label() == name)
        for name in ("target", "prediction")
    )
    assert target.get_ydata().tolist() == predicted.get_ydata().tolist()


def test_many_features() -> None:
    x = RNG.normal(size=(1, 5, 40)) * np.arange(1, 41)
    ax = plot.sequences(x)
    assert len(ax.lines) == 12
    with pytest.raises(ValueError, match=r"examples is \[\]; expected at least one"):
        plot.sequences(x, examples=[])
    with pytest.raises(ValueError, match=r"examples\[1\] is 1; expected 0 to 0"):
        plot.sequences(x, examples=[0, 1])


@pytest.mark.slow
def test_long_sequences_are_small_as_a_vector_picture(tmp_path: Path) -> None:
    ax = plot.sequences(RNG.normal(size=(6, 3000, 16)), examples=6)
    ax.figure.savefig(tmp_path / "long.svg")
    assert (tmp_path / "long.svg").stat().st_size < 500_000


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("cell", fastbptt.cells())
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_gradient_flow_is_the_diagnosis(cell: str, quantity: str) -> None:
    found = diagnosis(cell, num_layers=2, bidirectional=True)
    ax = plot.gradient_flow(found, quantity)
    assert labels(ax) == ["layer 0", "layer 0, reverse", "layer 1", "layer 1, reverse"]
    for line, flow in zip(ax.lines, found.layers, strict=False):
        expected = {
            "hidden": flow.hidden_gradient,
            "gates": np.sqrt(sum(norm**2 for norm in flow.gate_gradient.values())),
            "jacobian": flow.jacobian,
        }[quantity]
        assert np.array_equal(line.get_ydata(), expected, equal_nan=True)
        assert line.get_xdata().tolist() == found.steps.tolist()
    assert ax.get_yscale() == "log"
    assert "log scale" in ax.get_ylabel()


def test_gradient_flows_beside_each_other() -> None:
    found = {"RNN": diagnosis("rnn", num_layers=2), "$LSTM": diagnosis("lstm"), "own": [1.0, 0.5]}
    ax = plot.gradient_flow(found)
    assert labels(ax) == ["RNN", r"\$LSTM", "own"]
    assert ax.lines[0].get_ydata().tolist() == found["RNN"].layers[-1].hidden_gradient.tolist()
    ax = plot.gradient_flow({"RNN": found["RNN"]}, layer=0)
    assert ax.lines[0].get_ydata().tolist() == found["RNN"].layers[0].hidden_gradient.tolist()
    assert ax.get_legend() is None
    ax.figure.canvas.draw()


def test_200_steps_over_more_than_30_decades() -> None:
    """A tanh RNN as it comes beside an LSTM with forget bias 1, in float32: no gap, no zero."""
    x, y = RNG.normal(size=(8, 200, 4)), np.arange(8) % 2
    models = {
        "RNN": fastbptt.RNN(4, 64, 1, seed=0),
        "LSTM": fastbptt.LSTM(4, 64, 1, forget_bias=1.0, seed=0),
    }
    found = {name: fastbptt.diagnose(one, x, y, jacobians=False) for name, one in models.items()}
    ax = plot.gradient_flow(found)
    rnn, lstm = (line.get_ydata() for line in ax.lines)
    assert len(ax.lines) == 2, "nothing is marked as 0"
    assert (rnn > 0).all() and (lstm > 0).all()
    assert np.log10(rnn[-1] / rnn[0]) > 30 > np.log10(lstm[-1] / lstm[0])
    low, high = ax.get_ylim()
    assert low < rnn.min() and rnn.max() < high


def test_what_is_exactly_0_is_marked() -> None:
    ax = plot.gradient_flow({"a": [0.0, 0.0, 1e-290, 1.0], "b": [1.0, 1.0, 1.0, 1.0]})
    (marks,) = [line for line in ax.lines if line.get_label() == "_exactly 0"]
    assert marks.get_xdata().tolist() == [0, 1]
    assert 0 < marks.get_ydata()[0] < 1e-290
    ax.figure.canvas.draw()
    assert ax.figure.get_tightbbox().ymin > 0, "no room is left for marks that there are not"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: plot.gradient_flow(3),
            TypeError,
            "flows is int; expected the result of fastbptt.diagnose",
        ),
        (lambda: plot.gradient_flow({"a": [[1.0]]}), ValueError, r"shape \(1, 1\) for 'a'"),
        (lambda: plot.gradient_flow(diagnosis(), "W"), ValueError, 'quantity is "W"; expected'),
        (lambda: plot.gradient_flow(diagnosis(), layer=1), ValueError, "layer is 1; expected -1"),
        (lambda: plot.gates(diagnosis()), ValueError, "expected a model with gates"),
        (lambda: plot.gradient_heatmap([1.0]), ValueError, r"monitor has norms of shape \(1,\)"),
        (
            lambda: plot.gradient_heatmap(NORMS, epochs=[1]),
            ValueError,
            r"epochs has shape \(1,\); expected \(2,\)",
        ),
    ],
)
def test_bad_flows(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("cell", ["gru", "gru_before", "lstm"])
def test_gates_are_the_diagnosis(cell: str) -> None:
    found = diagnosis(cell, num_layers=2)
    ax = plot.gates(found, layer=0)
    assert len(ax.lines) == {"lstm": 3}.get(cell, 2)
    for line, (letter, values) in zip(
        ax.lines, found.layers[0].gate_activation.items(), strict=True
    ):
        assert line.get_ydata().tolist() == values.tolist()
        assert line.get_label().endswith(f"gate {letter}")


def test_heat_map_is_the_numbers() -> None:
    ax = plot.gradient_heatmap(NORMS, epochs=[1, 50])
    drawn = ax.images[0].get_array()
    assert drawn.mask.tolist() == [[True, False, False], [False] * 3]
    assert drawn.filled(0.0).tolist() == NORMS.tolist()
    assert ax.images[0].norm.vmin == 1e-30
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1", "50"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["exactly 0"]
    plot.gradient_heatmap(np.zeros((2, 3))).figure.canvas.draw()


def test_heat_map_of_a_training() -> None:
    monitor = fastbptt.GradientMonitor(keep=2, warn=False)
    one = model("gru")
    fastbptt.fit(one, X, CLASSES, lengths=LENGTHS, epochs=4, callbacks=[monitor], verbose=0)
    ax = plot.gradient_heatmap(monitor)
    assert ax.images[0].get_array().filled(0.0).tolist() == monitor.hidden.tolist()
    assert [int(text.get_text()) for text in ax.get_yticklabels()] == monitor.epochs == [1, 3]


@pytest.mark.parametrize("cell", fastbptt.cells())
def test_saliency_is_the_gradient(cell: str) -> None:
    one = model(cell, bidirectional=True)
    _, grads = one.loss_and_grad(
        X[2:3, :9], CLASSES[2:3], "cross_entropy", "last", need_input_grad=True
    )
    ax = plot.saliency(one, X, CLASSES, lengths=LENGTHS, example=2, feature_names=["a", "b", "c"])
    assert np.allclose(ax.images[0].get_array(), grads.x[0].T, rtol=1e-12, atol=0)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature_names has 1 names; expected 3"):
        plot.saliency(one, X, CLASSES, feature_names=["a"])
    with pytest.raises(ValueError, match="model has an embedding"):
        plot.saliency(fastbptt.RNN(3, 8, 1, embedding=5), [[1]], [0])


@pytest.mark.parametrize("steps", ["mean", "max"])
def test_saliency_of_a_loss_on_pooled_states(steps: str) -> None:
    one = model("gru")
    _, grads = one.loss_and_grad(
        X[2:3, :9], CLASSES[2:3], "cross_entropy", steps, need_input_grad=True
    )
    ax = plot.saliency(one, X, CLASSES, steps=steps, lengths=LENGTHS, example=2)
    assert np.allclose(ax.images[0].get_array(), grads.x[0].T, rtol=1e-12, atol=0)


def test_saliency_does_not_end_where_float32_does() -> None:
    one = fastbptt.RNN(1, 4, 1, init=("normal", 0.001), seed=0)
    x = np.ones((1, 30, 1))
    _, grads = one.loss_and_grad(x, [1.0], need_input_grad=True)
    assert (grads.x[0, :10] == 0).all()
    assert (plot.saliency(one, x, [1.0]).images[0].get_array()[0] != 0).all()


# ---------------------------------------------------------------- tasks


def test_a_trial_shows_its_arrays() -> None:
    outputs = RNG.normal(size=(4, 60, 3))
    ax = plot.trial(DECISION, TRIALS, example=2, outputs=outputs)
    assert labels(ax) == ["inputs", "targets", "outputs"]
    rows = {
        kind: [one for one in ax.lines if one.get_label().strip("_") == kind] for kind in labels(ax)
    }
    assert {kind: len(found) for kind, found in rows.items()} == dict.fromkeys(rows, 3)
    shown = np.array([one.get_ydata()[:-1] for one in rows["inputs"]])
    centred = shown + np.arange(3)[:, np.newaxis]
    slope, base = np.polyfit(TRIALS.x[2].T.ravel(), centred.ravel(), 1)
    np.testing.assert_allclose(centred, slope * TRIALS.x[2].T + base, atol=1e-6)
    for i, line in enumerate(rows["targets"]):
        y = line.get_ydata()[:-1]
        assert np.array_equal(np.isnan(y), TRIALS.weights[2] == 0)
        high = np.isclose(y, 0.33 - 3 - i)
        assert np.array_equal(high, (TRIALS.y[2] == i) & (TRIALS.weights[2] > 0))
    probs = fastbptt.probabilities(outputs, "cross_entropy")[2]
    drawn = np.array([one.get_ydata()[:-1] for one in rows["outputs"]])
    np.testing.assert_allclose(drawn + 3.33 + np.arange(3)[:, np.newaxis], 0.66 * probs.T)
    assert rows["inputs"][0].get_xdata()[-1] == 1200
    other = tasks.FlipFlop()
    with pytest.raises(
        ValueError, match=r"trials have 3 inputs and the loss .*expected those of task"
    ):
        plot.trial(other, TRIALS)


def test_a_psychometric_curve_shows_fractions_and_fit() -> None:
    ax = plot.psychometric(
        {"one": CURVE, "counted": tasks.psychometric([1, 2], np.ones(2, bool), fit=False)}
    )
    points = ax.containers[0][0]
    np.testing.assert_array_equal(points.get_xydata(), np.stack([CURVE.levels, CURVE.fractions], 1))
    line = next(one for one in ax.lines if one.get_label() == "one")
    np.testing.assert_array_equal(line.get_ydata(), CURVE(line.get_xdata()))
    assert len(ax.containers) == 2 and [t.get_text() for t in ax.get_legend().get_texts()] == [
        "one",
        "counted",
    ]
    for bad in (3, {"a": 3}):
        with pytest.raises(TypeError, match="is of type int; expected the result of"):
            plot.psychometric(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="curves is empty"):
        plot.psychometric({})


# ---------------------------------------------------------------- the gallery


@pytest.mark.slow
def test_gallery_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = plot.Examples(epochs=1, steps=20)
    monkeypatch.setattr(sys.modules["fastbptt.plot.gallery"], "Examples", lambda: few)
    before = dict(matplotlib.rcParams)
    folder = tmp_path / "new" / "pictures"
    assert cli.main(["gallery", "-o", str(folder), "--format", "svg"]) == 0
    files = capsys.readouterr().out.split()
    assert files == [str(folder / f"{name}.svg") for name in plot.PICTURES]
    assert sorted(map(str, folder.iterdir())) == sorted(files)
    for file in files:
        text = Path(file).read_text("utf-8")
        assert "<svg" in text
        assert len(text) < 500_000
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def test_every_kind_of_picture_is_in_the_gallery() -> None:
    source = inspect.getsource(inspect.getmodule(plot.gallery))
    for name in PICTURES:
        assert f"{name}(" in source, name
    with pytest.raises(ValueError, match='kind is "gif"'):
        plot.gallery("nowhere", "gif")
