"""The examples on small settings: they learn something, print a table, and do without data."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.datasets import tasks
from fastbptt.interchange import from_nam, from_rtneural

ROOT = Path(__file__).parent.parent.parent


def load(path: str) -> ModuleType:
    name = f"example_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("FASTBPTT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Run = Callable[..., tuple[list[list[str]], str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run an example; return the rows of its tables, without heads, and all it printed."""

    def call(module: ModuleType, *argv: str, code: int = 0) -> tuple[list[list[str]], str]:
        assert module.main(list(argv)) == code
        printed = capsys.readouterr().out
        rows = [
            [cell.strip(" *") for cell in line[1:-1].split("|")]
            for line in printed.splitlines()
            if line.startswith("|")
        ]
        rules = [i for i, row in enumerate(rows) if set(row) == {"---"}]
        assert rules
        for start, end in zip(rules, [*[r - 1 for r in rules[1:]], len(rows)], strict=True):
            assert {len(row) for row in rows[start - 1 : end]} == {len(rows[start])}
        kept = [row for i, row in enumerate(rows) if i not in rules and i + 1 not in rules]
        return kept, printed

    return call


# ---------------------------------------------------------------- the tutorial's network


def test_tutorial(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("examples/tutorial.py").main() == 0
    printed = capsys.readouterr().out
    assert printed.count("Epoch 5, Loss: ") == 2 and "The two agree" in printed


# ---------------------------------------------------------------- time series


time_series = load("examples/time_series.py")


def test_time_series(run: Run, without_data: Path) -> None:
    ((name, sizes, steps, *_, median, spread, _, published),), _ = run(time_series, "--quick")
    assert (name, sizes, steps, published) == ("JapaneseVowels", "270 / 370", "7-29 x 12", "0.965")
    assert float(median) > 0.85
    assert spread == f"{median} - {median}"


def test_time_series_that_are_not_there(
    without_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert time_series.main(["GunPoint", "--quick"]) == 1
    assert "GunPoint is left out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        time_series.main(["Nothing"])
    assert "SET is Nothing; expected one of JapaneseVowels, " in capsys.readouterr().err


def test_features() -> None:
    base = {**vars(time_series.SETTINGS["JapaneseVowels"]), "differences": False}
    x = np.arange(14.0).reshape(7, 2) ** 2

    def made(**changes: object) -> np.ndarray:
        return np.asarray(time_series.features(x, time_series.Setting(**{**base, **changes})))

    assert np.array_equal(made(), x)
    assert np.allclose(made(pool=3), [x[:3].mean(axis=0), x[3:6].mean(axis=0)])
    assert np.array_equal(made(stack=3), [x[:3].ravel(), x[3:6].ravel()])
    assert np.array_equal(made(differences=True)[1:, 2:], np.diff(x, axis=0))
    own = made(own_scale=True)
    assert np.allclose(own.mean(axis=0), 0, atol=1e-6) and np.allclose(own.std(axis=0), 1)


def test_folds_answer_for_what_they_did_not_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.repeat([0, 1, 2], [7, 11, 9])
    x = [np.full((2, 1), i) for i in range(len(y))]
    asked: list[int] = []

    def answer(learn: list, y_learn: np.ndarray, ask: list, *_: object) -> np.ndarray:
        numbers = [int(one[0, 0]) for one in ask]
        assert not {int(one[0, 0]) for one in learn} & set(numbers)
        assert len(learn) + len(ask) == len(y)
        assert all(np.bincount(y[numbers], minlength=3) >= 1)
        asked.extend(numbers)
        return np.where(np.array(numbers) < 9, y[numbers], -1)

    monkeypatch.setattr(time_series, "train_and_predict", answer)
    data = time_series.Set("made up", x, y, [], y[:0])
    setting = time_series.SETTINGS["JapaneseVowels"]
    assert time_series.cross_validate(data, setting) == pytest.approx(9 / 27)
    assert sorted(asked) == list(range(27))


def test_dtw_is_the_least_over_all_paths() -> None:
    rng = np.random.default_rng(0)
    others, lengths = rng.normal(size=(4, 5, 2)), np.array([5, 3, 1, 4])
    x = rng.normal(size=(6, 2))

    def least(y: np.ndarray, i: int, j: int) -> float:
        here = float(((x[i] - y[j]) ** 2).sum())
        before = [
            least(y, a, b) for a, b in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if min(a, b) >= 0
        ]
        return here + (min(before) if before else 0.0)

    wanted = [least(y, 5, n - 1) for y, n in zip(others, lengths, strict=True)]
    assert np.allclose(time_series.dtw(x, others, lengths), wanted)


# ---------------------------------------------------------------- sentiment


sentiment = load("examples/sentiment.py")


def test_sentiment_of_made_up_sentences(run: Run, without_data: Path) -> None:
    ((name, sizes, model, median, *_),), printed = run(sentiment, "--quick")
    assert name == "made-up sentences"
    assert sum(map(int, sizes.split(" / "))) > 200
    assert model == "bidirectional GRU 64, last states"
    assert float(median) > 0.9
    line = r"^    (\w+) \(Probability: \d\.\d\d\)   (.*)\n(?: +without the words .*: (.*))?"
    known, other, unknown = re.findall(line, printed, re.M)
    assert known == ("Positive", "I think the plot is superb.", "")
    assert other == ("Negative", "Believe me, the music is dull.", "")
    assert unknown[2] == "a, moving, funny, and, beautifully, acted"


def test_sentiment_needs_data(without_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sentiment.main([]) == 1
    assert "pip download" in capsys.readouterr().err


@pytest.mark.slow
def test_sentiment_of_a_folder_like_that_of_imdb(run: Run, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for kind, points, word in (("pos", 9, "good"), ("neg", 2, "bad")):
            folder = tmp_path / "aclImdb" / part / kind
            folder.mkdir(parents=True)
            for i in range(40):
                (folder / f"{i}_{points}.txt").write_text(f"A {word} film, number {i}.")
    ((name, sizes, _, median, *_),), _ = run(sentiment, "--quick", "--imdb", str(tmp_path))
    assert (name, sizes) == ("IMDB", "80 / 80")
    assert float(median) > 0.9
    rows, _ = run(sentiment, "--quick", "--imdb", str(tmp_path), "--limit", "20")
    assert rows[0][1] == "40 / 40"
    file = tmp_path / "seeds.jsonl"
    options = ["--imdb", str(tmp_path), "--results", str(file)]
    run(sentiment, *options, "--seeds", "1")
    before = file.read_text()
    ((_, _, _, median, each, *_),), _ = run(sentiment, *options, "--seeds", "0", "1")
    assert file.read_text().startswith(before) and len(file.read_text().splitlines()) == 2
    assert float(median) == pytest.approx(np.median([*map(float, each.split(", "))]), abs=1e-4)


def test_words_that_are_used_alike_begin_alike() -> None:
    rng = np.random.default_rng(0)
    alike = {2: (4, 5), 3: (6, 7)}  # what stands beside words 2 and 8, and beside 3 and 9
    tokens = [
        np.array([word, rng.choice(alike[2 if word in (2, 8) else 3])])
        for word in rng.choice([2, 3, 8, 9], 400)
    ]
    vectors = sentiment.word_vectors(tokens, 12, 4)
    assert vectors.shape == (12, 4)
    assert not vectors[:2].any()
    near = vectors @ vectors.T
    assert near[2, 8] > near[2, 9] and near[3, 9] > near[3, 8]


def test_the_average_of_the_weights_is_kept() -> None:
    x, y = np.ones((8, 3, 1)), np.zeros(8)
    model = fastbptt.RNN(1, 2, 1, seed=0)
    seen = [model.parameters.flat.copy()]
    keep = type(
        "Keep",
        (fastbptt.Callback,),
        {"on_batch_end": lambda self, run: seen.append(run.model.parameters.flat.copy())},
    )
    average = sentiment.Average(0.5)
    fastbptt.fit(model, x, y, epochs=2, batch_size=4, callbacks=[keep(), average], verbose=0)
    wanted = seen[0].astype(float)
    for i, weights in enumerate(seen[1:], 1):
        wanted += (1 - min(0.5, i / (i + 5))) * (weights - wanted)
    np.testing.assert_allclose(model.parameters.flat, wanted, rtol=1e-6)


def test_no_text_is_in_both_parts() -> None:
    texts = sentiment.made_up(200, seed=0)
    train, test = sentiment.shuffled_split(texts, 0.25, seed=0)
    assert len(set(train.texts) | set(test.texts)) == len(train.texts) + len(test.texts)
    where = dict(zip(texts.texts, texts.y, strict=True))
    for part in (train, test):
        assert [where[text] for text in part.texts] == part.y.tolist()


# ---------------------------------------------------------------- video


video = load("examples/video.py")


@pytest.mark.slow
def test_video(run: Run) -> None:
    rows, _ = run(video, "--quick")
    assert rows[0][:3] == ["made-up scenes", "160 / 80", "20"]
    assert float(rows[0][4]) > 0.5
    assert [row[0] for row in rows[1:]] == ["crossing", "turning", "stopping", "starting"]


@pytest.mark.slow
def test_video_from_files(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    tmp_path = tmp_path / "some scenes"
    assert video.main(["--write", str(tmp_path)]) == 0
    program, path, *command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert program == "python" and Path(path).samefile(ROOT / "examples/video.py")
    rows, _ = run(video, "--quick", *command)
    assert rows[0][:3] == [str(tmp_path), "28 / 12", "20"]
    from_files, y, kinds = video.read_clips(tmp_path, {0: "car"})
    made, made_y, made_kinds = video.make_clips(40, {0: "car"})
    order = np.argsort([kinds.index(made_kinds[label]) for label in made_y], kind="stable")
    assert [kinds[label] for label in y] == [made_kinds[made_y[i]] for i in order]
    for one, i in zip(from_files, order, strict=True):
        whole = made[i][: len(one)]  # without the empty frames at the end, which have no file
        assert np.allclose(one, whole, atol=2e-5)
        assert (made[i][len(one) :] == 0).all()
    rows, _ = run(video, "--quick", "--folder", str(tmp_path), "--objects", "0=car", "1")
    assert rows[0][2] == "40" and [row[0] for row in rows[1:]] == kinds
    for arguments, message in (
        (["--folder", str(tmp_path / "turning")], "has 0 folders; expected one for each kind"),
        (["--folder", str(tmp_path), "--objects", "0", "2=car"], r"has class 2; .*: 0, 1$"),
        (["--folder", str(tmp_path / "none")], "No such file"),
    ):
        assert video.main(arguments) == 1
        assert re.search(message, capsys.readouterr().err.strip())


# ---------------------------------------------------------------- amplifiers

amp = load("examples/amp.py")


@pytest.mark.slow  # `nox -s examples` runs it, too
def test_an_amplifier_that_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert amp.main(["--quick"]) == 0
    printed = capsys.readouterr().out
    ratio, bare = (
        float(line.split()[-1])
        for line in printed.splitlines()
        if "output: " in line or "ratio: " in line
    )
    assert ratio < bare
    model = from_rtneural(tmp_path / "amp.json", skip=True)
    assert model.metadata == {"sample_rate": 44100.0, "rtneural": {"name": "amp"}}
    nam = from_nam(tmp_path / "amp.nam")
    x = amp.guitar(0.1)
    with_skip, within = amp.play(model, x, True), amp.play(nam, x, False)
    np.testing.assert_allclose(within, with_skip, atol=2e-6)


def test_the_gradient_of_the_amplifier_s_loss() -> None:
    rng = np.random.default_rng(0)
    outputs, targets, way = rng.normal(size=(3, 4, 9))
    value, gradient = amp.loss(outputs, targets)
    up, down = (amp.loss(outputs + step * way, targets)[0] for step in (1e-6, -1e-6))
    np.testing.assert_allclose((up - down) / 2e-6, (gradient * way).sum(), rtol=1e-7)
    error = targets - outputs
    sharp_error, sharp_target = (
        np.concatenate([one[:, :1], one[:, 1:] - 0.85 * one[:, :-1]], axis=1)
        for one in (error, targets)
    )
    ratio = (sharp_error**2).mean() / ((sharp_target**2).mean() + 1e-5)
    mean = (error.mean(axis=1) ** 2).mean() / ((targets**2).mean() + 1e-5)
    assert value == pytest.approx(0.75 * ratio + 0.25 * mean, rel=1e-12)


def wav(path: Path, samples: np.ndarray, kind: int = 1, bits: int = 16, channels: int = 1) -> Path:
    """Write a .wav file; 24 bits are the upper three bytes of 32; kind 0xFFFE: extensible."""
    if kind == 3:
        body = samples.astype(f"<f{bits // 8}").tobytes()
    else:
        scale = 2.0 ** (32 if bits == 24 else bits)
        whole = (samples * (scale / 2 - 1)).astype("<i4" if bits != 16 else "<i2")
        body = whole.tobytes()
        if bits == 24:
            body = whole.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    layout = struct.pack("<HHIIHH", kind, channels, 44100, 44100 * bits // 8, bits // 8, bits)
    if kind == 0xFFFE:
        layout += struct.pack("<HHIH", 22, bits, 4, 1) + bytes(14)
    chunks = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in ((b"fmt ", layout), (b"LIST", b"odd"), (b"data", body))
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize(
    ("kind", "bits"), [(1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (0xFFFE, 16), (0xFFFE, 24)]
)
def test_recordings_of_every_kind(kind: int, bits: int, tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).uniform(-1, 1, 101)
    found, rate = amp.read_wav(wav(tmp_path / "a.wav", wanted, kind, bits))
    assert (rate, found.dtype) == (44100, np.float32)
    np.testing.assert_allclose(found, wanted, atol=2.0 ** (2 - min(bits, 24)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda p: p.write_bytes(b"MP3"), "is no .wav file"),
        (lambda p: p.write_bytes(wav(p, np.ones(9)).read_bytes()[:40]), "has no samples"),
        (lambda p: wav(p, np.ones(9), channels=2), "2 channels"),
        (lambda p: wav(p, np.ones(9), bits=8), "format 1 with 8 bits"),
        (lambda p: wav(p, np.array([np.nan]), kind=3, bits=32), "NaN or infinity"),
    ],
)
def test_recordings_that_cannot_be_read(content: Any, words: str, tmp_path: Path) -> None:
    content(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=words):
        amp.read_wav(tmp_path / "a.wav")


def test_an_amplifier_of_two_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = amp.guitar(2.5)
    late = np.concatenate([np.zeros(500, np.float32), amp.amplifier(dry)])
    wav(tmp_path / "dry.wav", dry, 3, 32)
    wav(tmp_path / "wet.wav", late, 1, 24)
    monkeypatch.setattr(amp, "train", lambda recipe, *parts: recipe.network())
    pair = ["--dry", str(tmp_path / "dry.wav"), "--wet", str(tmp_path / "wet.wav")]
    options = ["--cell", "GRU", "--units", "8", "--output", str(tmp_path / "mine")]
    assert amp.main([*pair, *options]) == 0
    (delay,) = re.findall(r"try --delay (\d+)", capsys.readouterr().out)
    assert abs(int(delay) - 500) < 20
    assert amp.main([*pair, *options, "--delay", delay, "--no-skip"]) == 0
    printed = capsys.readouterr().out
    assert "try --delay" not in printed and ".nam" not in printed
    assert from_rtneural(tmp_path / "mine.json").cell == "gru"
    assert amp.main(["--dry", pair[1], "--wet", str(tmp_path / "none.wav")]) == 1
    assert "none.wav" in capsys.readouterr().err


# ---------------------------------------------------------------- long memory


long_memory = load("examples/long_memory.py")


@pytest.mark.slow
def test_long_memory(run: Run) -> None:
    rows, _ = run(long_memory, "--quick")
    assert [row[:3] for row in rows] == [
        ["adding", "20", "320 updates"],
        ["xor", "20", "320 updates"],
    ]
    assert any("solved" in cell for row in rows for cell in row)


def test_long_memory_goes_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_memory, "SEQUENCES", 64)
    file = tmp_path / "memory.jsonl"
    short = ["--updates", "4", "--results", str(file), "--cells", "GRU", "LSTM"]
    rows, _ = run(long_memory, "--tasks", "copy", "--steps", "3", *short)
    before = file.read_text()
    assert len(before.splitlines()) == 2
    assert all(json.loads(line)["updates"] == 4 for line in before.splitlines())
    assert all(re.fullmatch(r"\d+% left", cell) for cell in rows[0][3:])
    again, _ = run(long_memory, "--tasks", "copy", "--steps", "3", *short)
    assert again == rows and file.read_text() == before
    both, _ = run(long_memory, "--tasks", "copy", "xor", "--steps", "3", *short)
    assert both[0] == rows[0] and len(both) == 2
    assert file.read_text().startswith(before) and len(file.read_text().splitlines()) == 4


def test_long_memory_that_diverges(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_memory, "SEQUENCES", 64)
    monkeypatch.setitem(long_memory.CELLS["ReLU RNN from the identity"], "lr", 1e30)
    chosen = ["--tasks", "adding", "--steps", "5", "--cells", "ReLU RNN from the identity"]
    rows, _ = run(long_memory, *chosen, "--updates", "20")
    assert rows == [["adding", "5", "20 updates", "diverged"]]


# ---------------------------------------------------------------- tasks of neuroscience


cognitive_tasks = load("examples/cognitive_tasks.py")


@pytest.mark.slow  # `nox -s examples` runs it, too
def test_cognitive_tasks(run: Run) -> None:
    rows, _ = run(cognitive_tasks, "--quick")
    assert [row[0] for row in rows] == [name.replace("_", " ") for name in tasks.TASKS]
    assert {row[3] for row in rows} == {"10"}
    assert all(0 <= float(row[5]) <= 1 for row in rows)
    some, _ = run(cognitive_tasks, "flip_flop", "--quick", "--seeds", "2")
    assert [row[0] for row in some] == ["flip flop"] * 2 and some[0][5] != some[1][5]
    assert some[0][:4] == rows[-1][:4] and some[0][5] == rows[-1][5]


def test_cognitive_tasks_end_at_the_goal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.FlipFlop, "goal", 0.0)
    monkeypatch.setitem(
        cognitive_tasks.SETTINGS, "flip_flop", cognitive_tasks.Setting(hidden=8, batch=2)
    )
    ((_, network, _, updates, *_),), _ = run(cognitive_tasks, "flip_flop")
    assert (network, updates) == ("GRU 8", "100")


def test_a_cognitive_task_that_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cognitive_tasks.main(["flip"])
    assert "TASK is flip; expected one of perceptual_decision" in capsys.readouterr().err


# ---------------------------------------------------------------- from task to paper


decision_task = load("examples/decision_task.py")


@pytest.mark.slow  # `nox -s examples` runs it, too
def test_decision_task(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "many"
    rows, printed = run(decision_task, "--quick", "-o", str(folder))
    assert [row[0] for row in rows] == ["0"] and "of 1 have learned" in printed
    files = {path.name for path in (folder / "seed_000").iterdir()}
    pictures = {f"{name}.png" for name in ("psychometric", "trajectories", "fixed_points")}
    assert files == {"model.safetensors", "scores.json"} | pictures
    scores = json.loads((folder / "seed_000" / "scores.json").read_text())
    assert f"{scores['correct']:.3f}" == rows[0][1] and len(scores["levels"]) <= 11
    model = fastbptt.load(folder / "seed_000" / "model.safetensors")
    assert isinstance(model, fastbptt.LeakyRNN) and model.constraints

    ran = []
    first = decision_task.run
    monkeypatch.setattr(decision_task, "run", lambda *args: ran.append(args[1]) or first(*args))
    more, _ = run(decision_task, "--quick", "-o", str(folder), "--seeds", "2", "--jobs", "1")
    assert ran == [1] and more[0] == rows[0] and more[1][1] != rows[0][1]
    summary = json.loads((folder / "summary.json").read_text())
    assert [f"{one:.3f}" for one in summary["correct"]] == [row[1] for row in more]

    with pytest.raises(SystemExit, match=r"seed_000/scores.json is of a run with other settings"):
        decision_task.main(["-o", str(folder)])


@pytest.mark.slow
def test_decisions_in_processes(tmp_path: Path) -> None:
    """Networks of processes of their own are those of one process."""
    program = [sys.executable, str(ROOT / "examples" / "decision_task.py"), "--quick"]
    for jobs in ("1", "2"):
        options = ["--seeds", "2", "--jobs", jobs, "-o", str(tmp_path / jobs)]
        subprocess.run([*program, *options], check=True, capture_output=True)
    for name in ("seed_000/model.safetensors", "seed_001/model.safetensors", "summary.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_decisions_of_no_seed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        decision_task.main(["--seeds", "0"])
    assert "--seeds is 0; expected at least 1" in capsys.readouterr().err


# ---------------------------------------------------------------- the page


experiments = load("scripts/make_experiments.py")


def test_a_table_is_replaced_and_nothing_else() -> None:
    page = "# A\n<!-- one -->\nold\n<!-- end of one -->\n<!-- two -->\n<!-- end of two -->\nend\n"
    new = experiments.replace(page, "one", "| \\1 |")
    assert new == page.replace("\nold\n", "\n\n| \\1 |\n\n")
    assert experiments.replace(new, "one", "| \\1 |") == new
    with pytest.raises(ValueError, match="no comments <!-- three -->"):
        experiments.replace(page, "three", "")


def test_the_page_has_a_place_for_each_experiment() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text("utf-8")
    for name, command in experiments.EXPERIMENTS.items():
        assert (ROOT / command[0]).is_file()
        assert experiments.replace(page, name, "") != page
