"""What is drawn belongs to the sequence, layer, class and epoch that it stands for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt import plot, reference

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib.figure import Figure  # noqa: E402

RNG = np.random.default_rng(0)
LENGTHS = np.array([9, 3, 12, 6, 12])
X = RNG.normal(size=(5, 12, 2))
LISTED = [one[:length] for one, length in zip(X, LENGTHS, strict=True)]


def axes() -> Any:
    return Figure().subplots()


def curves(ax: Any) -> list[Any]:
    return [np.asarray(line.get_ydata(), float) for line in ax.lines if len(line.get_ydata()) > 2]


# ---------------------------------------------------------------- confusion


def test_confusion_has_truth_in_rows_and_answers_in_columns() -> None:
    truth = np.array([0] * 8 + [1] * 2 + [2] * 10)
    said = np.array([0, 0, 1, 1, 1, 2, 2, 2] + [1, 0] + [2] * 9 + [0])
    ax = plot.confusion(truth, said, ["a", "b", "c"], ax=axes())
    counts = np.array([[2, 3, 3], [1, 1, 0], [1, 0, 9]])
    shares = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shares, counts / counts.sum(axis=1, keepdims=True))
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(j, i): str(counts[i, j]) for i in range(3) for j in range(3) if counts[i, j]}
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert "12 of 20" in ax.get_title() and "60.0%" in ax.get_title()


# ---------------------------------------------------------------- sequences

ORDER = [3, 0, 2]


def test_sequences_that_are_chosen_keep_what_is_theirs() -> None:
    names, ids = ["ant", "bee", "cow"], ["s0", "s1", "s2", "s3", "s4"]
    truth = [0, 1, 2, 1, 0]
    logits = np.full((5, 3), 0.0)
    for row, (answer, size) in enumerate([(0, 1.0), (1, 2.0), (1, 3.0), (2, 0.5), (0, 4.0)]):
        logits[row, answer] = size
    ax = plot.sequences(
        LISTED, truth, logits, examples=ORDER, class_names=names, ids=ids, ax=axes()
    )
    assert [text.get_text() for text in ax.get_yticklabels()] == [ids[i] for i in ORDER]
    texts = sorted(ax.texts, key=lambda text: text.get_position()[1])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for text, i in zip(texts, ORDER, strict=True):
        answer = int(logits[i].argmax())
        found = text.get_text()
        assert f"{shares[i].max():.0%}" in found
        assert names[answer] in found and names[truth[i]] in found
        others = set(names) - {names[answer], names[truth[i]]}
        assert not any(other in found for other in others)
        assert found.index(names[answer]) <= found.rindex(names[truth[i]])
    # two features each, scaled together into the row, larger ones higher up
    drawn = curves(ax)
    assert len(drawn) == 6
    for k, i in enumerate(ORDER):
        low, high = LISTED[i].min(), LISTED[i].max()
        for j in range(2):
            place = k + 0.4 - 0.8 * (LISTED[i][:, j] - low) / (high - low)
            np.testing.assert_allclose(drawn[2 * k + j], place)
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "counted downwards"


@pytest.mark.parametrize("padded", [False, True])
def test_numbers_for_each_step_of_the_sequences_that_are_chosen(padded: bool) -> None:
    rng = np.random.default_rng(4)
    y, said = rng.normal(size=(2, 5, 12, 1))
    if padded:
        ax = plot.sequences(X, y, said, steps="all", lengths=LENGTHS, examples=ORDER, ax=axes())
    else:
        cut = [[one[:n] for one, n in zip(each, LENGTHS, strict=True)] for each in (y, said)]
        ax = plot.sequences(LISTED, *cut, steps="all", examples=ORDER, ax=axes())
    drawn = curves(ax)
    assert len(drawn) == 12  # features, truth and prediction of each
    for k, i in enumerate(ORDER):
        end = LENGTHS[i]
        both = np.concatenate([y[i, :end], said[i, :end]])
        for values, got in zip((y, said), drawn[4 * k + 2 : 4 * k + 4], strict=True):
            place = k + 0.4 - 0.8 * (values[i, :end, 0] - both.min()) / (both.max() - both.min())
            np.testing.assert_allclose(got, place)


def test_of_many_features_those_that_vary_most_are_drawn() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, 6, 20)) * np.linspace(0.1, 2.0, 20)
    spread = x[0].std(axis=0)
    ax = plot.sequences(x, ax=axes())
    kept = np.sort(np.argsort(-spread)[:12])
    low, high = x.min(), x.max()
    for got, j in zip(curves(ax), kept, strict=True):
        np.testing.assert_allclose(got, 0.4 - 0.8 * (x[0, :, j] - low) / (high - low))


# ---------------------------------------------------------------- curves


def test_curves_stand_at_their_epochs() -> None:
    curve = {"loss": [0.5, 0.4, 0.3], "validation_loss": [0.6, 0.4, 0.5]}
    ax = plot.losses(curve, ax=axes())
    for line in ax.lines[:2]:
        assert line.get_xdata().tolist() == [1, 2, 3]
    history = SimpleNamespace(curves=curve, epoch=[4, 5, 6], best_epoch=5)
    ax = plot.losses(history, ax=axes())
    for line in ax.lines[:2]:
        assert line.get_xdata().tolist() == [4, 5, 6]
    upright = [segment[:, 0] for lines in ax.collections for segment in lines.get_segments()]
    assert [one.tolist() for one in upright] == [[5, 5]]
    (label,) = [text.get_text() for text in ax.get_legend().get_texts()][2:]
    assert label == "best: epoch 5"


@pytest.mark.parametrize(("ratio", "scale"), [(50, "linear"), (99, "linear"), (101, "log")])
def test_a_logarithmic_scale_from_two_decades_on(ratio: float, scale: str) -> None:
    ax = plot.losses({"loss": [0.01 * ratio, 0.02, 0.01]}, ax=axes())
    assert ax.get_yscale() == scale


def test_a_heat_map_has_its_epochs_in_rows() -> None:
    norms = np.array([[1e-3, 1e-2], [1e-4, 1e-1], [1.0, 2.0]])
    ax = plot.gradient_heatmap(norms, epochs=[10, 20, 30], ax=axes())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["10", "20", "30"]
    assert ax.get_yticks().tolist() == [0, 1, 2]
    assert np.asarray(ax.images[0].get_array()).tolist() == norms.tolist()
    assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (1e-4, 2.0)
    monitor = SimpleNamespace(hidden=norms, epochs=[2, 4, 6])
    ax = plot.gradient_heatmap(monitor, ax=axes())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["2", "4", "6"]


# ---------------------------------------------------------------- models


def deep(**options: Any) -> fastbptt.Recurrent:
    return fastbptt.GRU(2, 5, 1, num_layers=3, dtype="float64", seed=1, **options)


QUANTITIES = {
    "hidden": lambda flow: flow.hidden_gradient,
    "gates": lambda flow: np.linalg.norm(list(flow.gate_gradient.values()), axis=0),
    "jacobian": lambda flow: flow.jacobian,
}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_each_layer_has_its_own_line(quantity: str) -> None:
    found = fastbptt.diagnose(deep(), X, np.arange(5) % 2, jacobians=True)
    expected = [QUANTITIES[quantity](flow) for flow in found.layers]
    assert len({one.tobytes() for one in expected}) == 3
    drawn = curves(plot.gradient_flow(found, quantity, ax=axes()))
    for got, wanted in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(got, wanted)
    for layer in (0, 1, 2, -1, -2):
        (got,) = curves(plot.gradient_flow(found, quantity, layer=layer, ax=axes()))
        np.testing.assert_allclose(got, expected[layer])
        (got,) = curves(plot.gradient_flow({"one": found}, quantity, layer=layer, ax=axes()))
        np.testing.assert_allclose(got, expected[layer])
    (got,) = curves(plot.gradient_flow({"one": found}, quantity, ax=axes()))
    np.testing.assert_allclose(got, expected[-1])


def test_gates_of_each_layer() -> None:
    found = fastbptt.diagnose(deep(), X, np.arange(5) % 2)
    for layer in (0, 1, -1):
        drawn = curves(plot.gates(found, layer=layer, ax=axes()))
        for got, wanted in zip(drawn, found.layers[layer].gate_activation.values(), strict=True):
            np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize("example", [0, 1, 3])
def test_saliency_and_states_of_the_sequence_that_is_chosen(example: int) -> None:
    rng = np.random.default_rng(4)
    model, end = deep(), LENGTHS[example]
    y = rng.normal(size=(5, 12, 1))
    one = X[example : example + 1, :end]
    ax = plot.saliency(
        model, X, y, loss="mse", steps="all", lengths=LENGTHS, example=example, ax=axes()
    )
    target = y[example : example + 1, :end]
    _, grads = model.loss_and_grad(one, target, "mse", "all", need_input_grad=True)
    image = ax.images[0]
    np.testing.assert_allclose(np.asarray(image.get_array()), grads.x[0].T, rtol=1e-10)
    reach = np.abs(grads.x).max()
    assert image.get_clim() == pytest.approx((-reach, reach))
    ax = plot.hidden_states(model, X, lengths=LENGTHS, example=example, sort=False, ax=axes())
    states = model.forward(one).hidden[0].T
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), states)
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    ax = plot.hidden_states(model, X, lengths=LENGTHS, example=example, ax=axes())
    ordered = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(np.sort(ordered, axis=0), np.sort(states, axis=0))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_eigenvalues_of_each_layer(layer: int, reverse: bool) -> None:
    """Each block of W_hh; and the Jacobian of the step that a direction takes last."""
    model = deep(bidirectional=True)
    name = "W_hh" + (f"_l{layer}" if layer else "") + ("_reverse" if reverse else "")
    blocks = np.split(model.parameters[name], 3, axis=1)
    for gate, block in zip("rzn", blocks, strict=True):
        ax = plot.eigenvalues(model, layer=layer, reverse=reverse, gate=gate, ax=axes())
        expected = np.linalg.eigvals(block)
        assert_drawn(ax, expected)
        assert name in ax.get_xlabel()
    net = reference.Network("gru", 3, True)
    params = {k: model.parameters[n] for k, n in net.names(layer, reverse).items()}
    out = reference.forward(
        model.parameters, X[3:4, :6], cell="gru", num_layers=3, bidirectional=True
    )
    last, before = (0, 1) if reverse else (5, 4)
    x = out.inputs[layer][:, [last]]
    h = out.states[2 * layer + reverse][:, :, before]
    columns = [
        reference.CELLS["gru"].forward(params, x, h + 1e-30j * unit)[0, 0, 0].imag / 1e-30
        for unit in np.eye(5)
    ]
    ax = plot.eigenvalues(
        model, X, lengths=LENGTHS, example=3, layer=layer, reverse=reverse, ax=axes()
    )
    assert_drawn(ax, np.linalg.eigvals(np.stack(columns, axis=1)))
    where = f"layer {layer}, reverse, at" if reverse else f"layer {layer}, at"
    assert ax.lines[0].get_label().startswith(f"{where} the last step: radius ")


def assert_drawn(ax: Any, expected: Any) -> None:
    (line,) = ax.lines
    got = np.asarray(line.get_xdata()) + 1j * np.asarray(line.get_ydata())
    np.testing.assert_allclose(np.sort_complex(got), np.sort_complex(expected), atol=1e-10)
    assert f"{np.abs(expected).max():.3g}" in line.get_label()


def test_a_heatmap_of_many_epochs_names_the_rows_that_it_marks() -> None:
    ax = plot.gradient_heatmap(np.ones((12, 3)), epochs=range(10, 34, 2))
    assert ax.get_yticks().tolist() == [0, 2, 4, 6, 8, 10]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "10",
        "14",
        "18",
        "22",
        "26",
        "30",
    ]
