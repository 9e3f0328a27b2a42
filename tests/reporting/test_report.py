"""The page about a model: well-formed, whole in itself, its numbers right, whatever names say."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from cases import FULL_GRID, sampled

import fastbptt
from fastbptt import _check, cli, plot
from fastbptt.bench import case as bench_case

matplotlib = pytest.importorskip("matplotlib")
from fastbptt._html import Html, join, table, tag  # noqa: E402
from fastbptt.reporting import sections, summary  # noqa: E402
from fastbptt.reporting.page import document  # noqa: E402

HOSTILE = '"><script>alert(1)</script>&amp;<img src=http://x.org/y>'
EMPTY = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """A page that was read: fails if tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.ids: Counter[str] = Counter()
        self.seen: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[name] += 1
        for key, value in attributes:
            if key in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.links.append(value or "")
            if key == "id":
                self.ids[value or ""] += 1
            if key == "style" and "url(" in (value or ""):
                self.links += re.findall(r"url\(([^)]*)\)", value or "")
        if name not in EMPTY:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(name, attributes)
        if name not in EMPTY:
            self.open.pop()

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.seen.append(data)
            if self.open[-1] == "h2":
                self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def data(steps: str = "last", kind: str = "classes") -> tuple[list[Any], Any]:
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(length, 2)) for length in (9, 4, 12, 7, 12, 1)]
    if kind == "classes":
        y = [(one[:, 0] > 0).astype(int) for one in x]
    else:
        y = [one[:, :1] * 2 for one in x]
    return x, (y if steps == "all" else np.stack([one[-1] for one in y]))


def write(folder: Path, model: Any, x: Any, y: Any, **options: Any) -> Page:
    path = folder / "page.html"
    fastbptt.report(model, x, y, path, **options)
    text = path.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html")
    assert len(text.encode()) < 3_000_000
    page = Page(text)
    for link in page.links:
        assert link.startswith(("data:", "#")), link
    assert not re.search(r"@import|https?://(?!x\.org)", text)  # x.org is in a name: plain text
    assert page.tags["script"] == 0
    assert max(page.ids.values(), default=1) == 1
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    return page


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, which take most of the time."""
    monkeypatch.setattr(sections, "figure", lambda draw, caption, *rest: tag("figure", caption))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_page_about_classes(cell: str, tmp_path: Path) -> None:
    x, y = data()
    model = fastbptt.Recurrent(cell, 2, 8, 2, seed=0)
    history = fastbptt.fit(model, x, y, epochs=3, metrics="accuracy", verbose=0)
    names = ["going down", "going up"]
    page = write(tmp_path, model, x, y, history=history, class_names=names, ids=list("abcdef"))
    found = fastbptt.evaluate(model, x, y, metrics="accuracy")
    assert page.headings == [
        "Advice",
        "Predictions",
        "Training",
        "Gradient flow",
        "Data",
        "Model",
        "Speed",
        "Settings and versions",
    ]
    assert f"{found['accuracy']:.1%}" in page.text
    assert f"{found['loss']:.4g}" in page.text
    assert f"{model.num_parameters:,}" in page.text
    assert f"{np.sqrt(np.mean(np.square(model.parameters['W_hh']))):.3g}" in page.text
    assert repr(model).split("  #")[0] in page.text
    assert "1 to 12, 7.5 on average" in page.text
    assert "going up" in page.text
    right = round(found["accuracy"] * 6)
    # confusion, loss, accuracy, flow, eigenvalues, saliency, states, unrolled; gates; examples
    drawn = 8 + (cell != "rnn") + (right > 0) + (right < 6)
    assert page.tags["svg"] == page.tags["figure"] == drawn
    assert f"Mistakes ({6 - right} of 6)" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "kind"),
    sampled([*itertools.product(_check.READOUTS, ["classes", "numbers"])], 2),
)
def test_every_task(steps: str, kind: str, tmp_path: Path) -> None:
    x, y = data(steps, kind)
    model = fastbptt.GRU(2, 6, 2 if kind == "classes" else 1, bidirectional=True, seed=0)
    page = write(tmp_path, model, x, y, steps=steps)
    assert "Training" not in page.headings
    assert ("Confusion matrix" in page.text) == (kind == "classes")
    metrics = ["accuracy"] if kind == "classes" else ["rmse", "r2"]
    loss = "cross_entropy" if kind == "classes" else "mse"
    found = fastbptt.evaluate(model, x, y, steps=steps, loss=loss, metrics=metrics)
    for value in found.values():
        assert f"{value:.4g}" in page.text


@pytest.mark.slow
def test_a_loss_on_pooled_states(tmp_path: Path) -> None:
    x, y = data(kind="numbers")
    page = write(tmp_path, fastbptt.GRU(2, 6, 1, seed=0), x, y, steps="max")
    assert "Output: 1 number per sequence." in page.text
    assert "loss: mse, on the maximum of each unit of h over all steps" in page.text
    assert "it flows from right to left" not in page.text


def test_padded_is_as_listed(undrawn: None, tmp_path: Path) -> None:
    x, y = data("all")
    model = fastbptt.GRU(2, 6, 2, seed=0)
    listed = write(tmp_path, model, x, y, steps="all")
    padded, lengths = fastbptt.datasets.pad(x)
    targets, _ = fastbptt.datasets.pad(y)
    page = write(tmp_path, model, padded, targets, steps="all", lengths=lengths)
    parts = [one.text[: one.text.index("Speed")] for one in (listed, page)]
    without_speed = [re.sub(r"Training speed [\d,]+", "", part) for part in parts]
    assert without_speed[0] == without_speed[1]


def test_tokens_yes_or_no_and_no_readout(undrawn: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = fastbptt.RNN(3, 6, 1, embedding=7, seed=0)
    page = write(tmp_path, model, rng.integers(0, 7, (5, 8)), np.array([0, 1, 0, 1, 1]))
    assert "7 in the vocabulary" in page.text
    assert "one of 2 classes" in page.text
    assert "accuracy" in page.text
    bare = fastbptt.RNN(2, 3, seed=0)
    page = write(tmp_path, bare, rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 3)))
    assert "unrolled" not in page.text


def test_what_the_model_knows_is_used(undrawn: None, tmp_path: Path) -> None:
    x, y = data("all")
    model = fastbptt.GRU(2, 6, 2, seed=0)
    history = fastbptt.fit(model, x, y, steps="all", epochs=2, verbose=0)
    model.metadata = {
        "steps": "all",
        "loss": "cross_entropy",
        "classes": ["still", "moving"],
        "feature_names": ["speed", "height"],
        "trained_on": "walks.csv",
        "history": history.to_dict(),
        "settings": {"epochs": 2, "optimizer": {"lr": 0.25}, "none": None},
    }
    page = write(tmp_path, model, x, y)
    for text in ("still", "speed, height", "walks.csv", "over 2 epochs", "lr 0.25"):
        assert text in page.text
    assert "Steps per class" in page.text


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0, 1] if FULL_GRID else [1])
def test_one_step_that_is_right_or_wrong(truth: int, tmp_path: Path) -> None:
    model = fastbptt.RNN(2, 3, 2, seed=0)
    model.parameters["b_y"][...] = [5.0, -5.0]
    page = write(tmp_path, model, np.ones((1, 1, 2)), np.array([truth]))
    assert f"Mistakes ({truth} of 1)" in page.text
    assert page.tags["svg"] > 5


def gathered(model: Any, x: Any, y: Any, **options: Any) -> Any:
    names = (
        "lengths", "loss", "steps", "class_names", "feature_names", "ids", "horizon", "series",
        "vocabulary", "history", "monitor",
    )  # fmt: skip
    return summary.gather(model, x, y, **dict.fromkeys(names) | options)


def saying(*answers: int, classes: int = 3) -> tuple[Any, Any]:
    """Make a model and sequences that it puts into given classes, with falling confidence."""
    model = fastbptt.RNN(classes, classes, classes, init=("normal", 0.0), dtype="float64")
    model.parameters["W_xh"][...] = np.eye(classes)
    model.parameters["W_hy"][...] = np.eye(classes)
    sizes = np.linspace(2.0, 1.0, len(answers))
    x = np.zeros((len(answers), 2, classes))
    x[np.arange(len(answers)), -1, answers] = sizes
    return model, x


@pytest.mark.parametrize(
    ("truth", "answers", "right", "wrong"),
    [
        ([0, 1, 2], [0, 1, 2], [0, 1, 2], []),
        ([0, 1, 2], [1, 2, 0], [], [0, 1, 2]),
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [1, 5], [3]),
        ([2, 2, 0, 0, 0], [0, 1, 0, 0, 1], [3], [4, 0]),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [2], []),
        ([0, 1, 0, 1, 2, 2], [1, 1, 1, 0, 2, 1], [1, 4], [0, 3, 5]),
    ],
)
def test_one_right_and_one_wrong_example_of_each_class(
    truth: list[int], answers: list[int], right: list[int], wrong: list[int]
) -> None:
    found = gathered(*saying(*answers), np.array(truth))
    assert found.examples_by_class() == (right, wrong)
    mistakes = [i for i, (a, b) in enumerate(zip(truth, answers, strict=True)) if a != b]
    assert found.example() == min(mistakes, default=0), "sequences come by falling confidence"


def test_examples_of_the_most_common_of_many_classes() -> None:
    truth = np.repeat(np.arange(12), [1, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2])
    found = gathered(*saying(*truth, classes=12), truth)
    right, _ = found.examples_by_class()
    assert truth[right].tolist() == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    ((_, caption),) = sections._examples(found)
    assert "10 of 12 classes" in caption


def test_the_captions_count_the_classes_that_are_shown() -> None:
    found = gathered(*saying(0, 1, 1, 0), np.array([0, 0, 1, 2]))
    captions = [caption for _, caption in sections._examples(found)]
    assert captions == [
        "A correct prediction of 2 of 3 classes, of median confidence.",
        "The mistake of highest confidence of 2 of 3 classes.",
    ]


def test_several_labels_are_counted_one_by_one() -> None:
    model = fastbptt.Recurrent("rnn", 3, 3, 3, seed=0, dtype="float64")
    for name, values in model.parameters.items():
        values[...] = 4.0 * np.eye(3) if name in ("W_xh", "W_hy") else 0.0
    y = np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]])
    said = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    found = gathered(model, (2.0 * said - 1)[:, np.newaxis], y)
    assert found.labels and found.classes is None
    page = Page(str(sections._labels(found)))
    assert page.seen == [
        *("Labels of 4 sequences", "label", "true", "predicted", "accuracy", "precision", "recall"),
        *("label 0", "3", "3", "50.0%", "66.7%", "66.7%"),
        *("label 1", "3", "2", "75.0%", "100.0%", "66.7%"),
        *("label 2", "0", "0", "100.0%", "none predicted", "none true"),
    ]
    assert sections.subtitle(found).endswith("Output: 3 labels at the last step.")


def test_the_words_of_mistakes_and_of_the_diagram(undrawn: None, tmp_path: Path) -> None:
    model = fastbptt.GRU(3, 4, 2, embedding=5, seed=0)
    words = ["<pad>", "the", "fi<lm", "was", "good"]
    x = [np.array([1, 2, 3, 4] * n) for n in (1, 2, 11)]
    said = fastbptt.predict(model, x).argmax(axis=1)
    page = write(tmp_path, model, x, 1 - said, vocabulary=words, ids=["a", "b", "c"])
    assert "Their words" in page.seen
    text = " ".join(["the fi<lm was good"] * 10)
    assert {"the fi<lm was good", f"{text} … and 4 more"} <= set(page.seen)
    found = gathered(model, x, 1 - said, vocabulary=words)
    drawing = sections._unrolled(found, [x[0]], [1 - said[0]])
    assert {"the", "was", "good"} <= {label.text for label in drawing.labels}


def test_many_points_are_spread_over_all_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    found = gathered(
        fastbptt.RNN(2, 3, 2, seed=0), rng.normal(size=(700, 2, 2)), np.eye(700, 2) * 9
    )
    calls = []
    for name in ("predicted_against_true", "residuals"):
        monkeypatch.setattr(plot, name, lambda *args, **options: calls.append(args))
    captions: list[str] = []

    def draw(drawing: Any, caption: str, *size: Any) -> Html:
        drawing(None)
        captions.append(caption)
        return Html("")

    sections._residuals(found, cast(Any, draw))
    assert [len(one) for args in calls for one in args] == [350] * 4
    np.testing.assert_array_equal(calls[0][0][1], np.zeros(2))
    assert all(caption.endswith(" 350 of 700 rows, spread over all.") for caption in captions)


@pytest.mark.parametrize(
    ("cell", "both", "shown"), [("rnn", False, 5), ("lstm", False, 3), ("lstm", True, 2)]
)
def test_the_diagram_has_as_many_steps_as_the_page_has_room_for(
    cell: str, both: bool, shown: int
) -> None:
    model = fastbptt.Recurrent(cell, 2, 3, 2, bidirectional=both, seed=0)
    x = np.zeros((1, 5, 2))
    found = gathered(model, x, np.array([1]))
    drawing = sections._unrolled(found, [x[0]], [1])
    steps = [box for box in drawing.boxes if box.node.kind == "x"]
    assert len(steps) == shown
    assert sections.size_of(drawing)[0] <= sections._WIDEST or shown == 2


@pytest.mark.parametrize("steps", ["last", "all"])
@pytest.mark.parametrize("count", [1, 6, 9])
def test_sequences_of_small_and_large_errors(steps: str, count: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 5, 2))
    model = fastbptt.RNN(2, 4, 1, seed=0, dtype="float64")
    said = model.forward(x).outputs[..., 0]
    sizes = rng.permutation(count) + 1.0
    y = (said + sizes[:, np.newaxis])[..., np.newaxis]
    found = gathered(model, x, y if steps == "all" else y[:, -1], steps=steps, loss="mse")
    np.testing.assert_allclose(found.sequence_errors(), sizes**2)
    order = np.argsort(sizes).tolist()
    assert found.ranked() == (order if count <= 6 else order[:3] + order[-3:])
    assert found.example() == order[-1]


def test_advice_stands_on_the_page(undrawn: None, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 100, 2))
    model = fastbptt.RNN(2, 16, 2, seed=0)
    y = np.arange(8) % 2
    found = fastbptt.diagnose(model, x, y).advice
    assert any(each.kind == "vanishing" for each in found)
    page = write(tmp_path, model, x, y)
    for each in found:
        assert " ".join(each.text.split()) in page.text
        assert " ".join(each.suggestion.split()) in page.text
    assert "No problems found" not in page.text


@pytest.mark.slow
def test_a_monitor_is_drawn(tmp_path: Path) -> None:
    x, y = data()
    model = fastbptt.GRU(2, 6, 2, seed=0)
    monitor = fastbptt.GradientMonitor(warn=False)
    history = fastbptt.fit(model, x, y, epochs=3, callbacks=[monitor], verbose=0)
    page = write(tmp_path, model, x, y, history=history, monitor=monitor)
    assert "Gradient norm at each time step in each epoch" in page.text


@pytest.mark.slow
def test_names_that_are_code_stay_names(tmp_path: Path) -> None:
    x, y = data()
    model = fastbptt.RNN(2, 8, 2, seed=0)
    model.metadata = {"trained_on": HOSTILE, "settings": {HOSTILE: [HOSTILE]}}
    names = [HOSTILE, f"${HOSTILE}"]
    page = write(
        tmp_path,
        model,
        x,
        y,
        class_names=names,
        feature_names=names,
        ids=[HOSTILE] * 6,
        title=HOSTILE,
    )
    assert page.tags["script"] == 0
    assert page.tags["img"] == 0
    assert page.text.count(HOSTILE) > 5


@pytest.mark.slow
def test_colours_are_the_page_s(tmp_path: Path) -> None:
    x, y = data()
    fastbptt.report(fastbptt.RNN(2, 8, 2, seed=0), x, y, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    drawn = text[text.index("<svg") : text.rindex("</svg>")]
    assert "var(--ink)" in drawn
    assert "var(--blue)" in drawn
    for colour in ("#20242c", "#6b7280", "#0072b2", "#ffffff"):
        assert f": {colour}" not in drawn.lower(), colour
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": 3}, TypeError, "model is of type int; expected a fastbptt model"),
        ({"y": [0]}, ValueError, "y has"),
        ({"steps": "some"}, ValueError, "steps is"),
    ],
)
def test_nothing_is_written_of_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    x, y = data()
    given = {"model": fastbptt.RNN(2, 3, 2, seed=0), "x": x, "y": y} | arguments
    with pytest.raises(error, match=message):
        fastbptt.report(path=tmp_path / "page.html", **given)
    assert not list(tmp_path.iterdir())


def test_the_model_is_left_alone(undrawn: None, tmp_path: Path) -> None:
    x, y = data()
    model = fastbptt.GRU(2, 6, 2, seed=0, num_layers=2, dropout=0.5)
    before = model.parameters.flat.tobytes(), model._dropout_seeds.state
    write(tmp_path, model, x, y)
    assert (model.parameters.flat.tobytes(), model._dropout_seeds.state) == before


# ---------------------------------------------------------------- the pieces


def test_tags() -> None:
    assert tag("p", "<", Html("<b>"), None, class_="a\"'<", data_x=1, id=None) == (
        '<p class="a&quot;&#x27;&lt;" data-x="1">&lt;<b></p>'
    )
    assert tag("br") == "<br>"
    assert join(["a&", None, tag("i")]) == "a&amp;<i></i>"
    made = table([("a", "12 %", "x")], ("k", "v", "<"))
    assert '<td class="number">12 %</td><td>x</td>' in made
    assert "&lt;</th>" in made
    assert table([("a", "12")]).count("number") == 0
    assert '<td class="value">12 ms</td><td>x</td>' in table([("a", "12 ms", "x")])
    assert "<title>&lt;t&gt;</title>" in document("<t>", "body")


# ---------------------------------------------------------------- the command


def test_command(undrawn: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data()
    source, file = tmp_path / "walks.npz", tmp_path / "model.safetensors"
    fastbptt.datasets.write_npz(source, x, y, classes=["down", "up"], ids=list("abcdef"))
    trained = ["train", str(source), "-o", str(file), "--epochs", "2", "--hidden", "4", "-q"]
    page = tmp_path / "train.html"
    assert cli.main([*trained, "--validation", "0", "--report", str(page)]) == 0
    assert "walks.npz" in Page(page.read_text("utf-8")).text
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert cli.main(["report", str(file), str(source), "-o", str(page)]) == 0
    assert capsys.readouterr().out.startswith(f"Wrote {page}")
    text = Page(page.read_text("utf-8")).text
    assert "walks.npz" in text
    assert "over 2 epochs" in text
    assert "down" in text
    fastbptt.datasets.write_npz(source, x)
    assert cli.main(["report", str(file), str(source), "-o", str(page)]) == 1
    assert "there are no labels; expected" in capsys.readouterr().err


def test_outputs_of_padded_sequences_end_where_they_do() -> None:
    model = fastbptt.RNN(1, 3, 1, seed=0)
    x, lengths = np.ones((4, 5, 1)), np.array([5, 3, 1, 4])
    found = gathered(model, x, x[..., 0], lengths=lengths, loss="mse", steps="all")
    assert [len(one) for one in found.outputs] == lengths.tolist()
    assert [len(one) for one in found.y] == lengths.tolist()


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (2, True)])
def test_the_share_of_the_peak_counts_layers_and_directions(
    layers: int, bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[Any, ...]] = []

    def count(*network: Any) -> float:
        counted.append(network)
        return 1e6

    monkeypatch.setattr(summary, "_SECONDS", 0.005)
    monkeypatch.setattr(bench_case, "needed_flops", count)
    model = fastbptt.GRU(3, 5, 1, num_layers=layers, bidirectional=bidirectional, seed=0)
    x = [np.zeros((steps, 3)) for steps in (4, 2)]
    assert (
        summary._speed(model, x, np.zeros(2), fastbptt.Loss("mse"), "last").share_of_peak
        is not None
    )
    assert counted == [(3, 3, 5, layers, 1 + bidirectional, 6)]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("gru", "GRU(3, 4, 2, "),
        ("gru_before", "GRU(3, 4, 2, reset_after=False, "),
        ("lstm", "LSTM(3, 4, 2, "),
        ("rnn", "RNN(3, 4, 2, "),
        ("relu", "RNN(3, 4, 2, nonlinearity="),
        ("leaky", "LeakyRNN(3, 4, 2, alpha=0.5, "),
    ],
)
def test_a_model_has_one_name_before_and_after_it_is_saved(
    cell: str, shown: str, tmp_path: Path
) -> None:
    made = fastbptt.Recurrent(
        cell, 3, 4, 2, alpha=0.5 if cell.startswith("leaky") else None, seed=0
    )
    made.save(tmp_path / "m")
    for one in (made, fastbptt.load(tmp_path / "m")):
        text = str(sections.model(cast("Any", SimpleNamespace(model=one)), sections.Pictures()))
        assert f"<code>{escape(shown, quote=False)}" in text.replace("&quot;", '"'), text


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("leaky_preactivation_relu", {"alpha": 0.5}),
        ("rnn", {"zoneout": 0.2}),
        ("lstm", {"zoneout": (0.1, 0.4), "recurrent_dropout": 0.1}),
        ("leaky", {"alpha": 0.5, "learn_alpha": True, "rank": 2, "recurrent_noise": 0.1}),
    ],
)
def test_what_has_no_diagram_is_left_out(
    cell: str, options: dict[str, Any], tmp_path: Path
) -> None:
    x, y = data()
    model = fastbptt.Recurrent(cell, 2, 8, 2, seed=0, **options)
    page = write(tmp_path, model, x, y)
    assert ("unrolled over" in page.text) == (cell == "leaky")
