"""The command line: results on standard output, progress on standard error, honest exit codes."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import sampled
from sequence_files import Task

import fastbptt
from fastbptt import _core, cli, config, training
from fastbptt.cli import SUBCOMMANDS

QUICK = ["--hidden", "8", "--epochs", "2"]


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Any:
    before = fastbptt.get_num_threads()
    yield
    fastbptt.set_num_threads(before)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "fastbptt"],
        [str(Path(sys.executable).parent / "fastbptt")],
    ],
)
def test_both_ways_to_call_it(command: list[str]) -> None:
    done = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"fastbptt {fastbptt.__version__}\n"
    assert done.stderr == ""


@pytest.mark.parametrize("command", [[], *([name] for name in SUBCOMMANDS)])
def test_help(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "usage: fastbptt" in text
    if command == ["demo"]:
        for option in ("--seed", "--hidden", "--epochs", "--batch", "--lr", "--threads", "--json"):
            assert option in text
        assert "default: 0" in text
        assert "None" not in text
    assert max(map(len, text.splitlines())) <= 80
    if not command:
        for name in SUBCOMMANDS:
            assert f"    {name} " in text


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["demo", "--hidden", "0"], "'0' is not a positive whole number"),
        (["demo", "--hidden", "2.5"], "'2.5' is not a positive whole number"),
        (["demo", "--epochs", "-1"], "'-1' is not a positive whole number"),
        (["demo", "--seed", "-1"], "'-1' is not a whole number of at least 0"),
        (["demo", "--lr", "nan"], "'nan' is not a positive number"),
        (["demo", "--lr", "0"], "'0' is not a positive number"),
        (["demo", "--lr", "fast"], "'fast' is not a positive number"),
        (["info", "--threads", "many"], "'many' is not a positive whole number"),
        (["info", "--colour"], "--colour"),
    ],
)
def test_wrong_usage(
    command: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(command)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert "usage: fastbptt" in err


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for name, description, _ in _core.backends():
        assert name in text
        assert description in text
    assert text.count("in use") == 1
    assert np.__version__ in text
    assert config.info()["processor"] in text


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fastbptt"] == fastbptt.__version__
    assert found["threads"] == 1
    assert found["active"] == _core.active_backend()
    assert found["cores"] >= 1
    assert found == config.info()


def test_demo_shows_what_a_person_wants_to_see(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", *QUICK, "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Japanese Vowels, 9 speakers: train 270, test 370 sequences")
    assert "Test accuracy 0." in out
    assert "sequences/s" in out
    assert f"({_core.active_backend()}, 1 thread)" in out
    assert "Next:" in out
    assert [line.split()[0] for line in lines if line[:7].strip().isdigit()] == list("123456789")
    assert "epoch 2/2  loss " in err
    assert "validation_accuracy 0." in err
    assert "validation_accuracy" not in out


def test_demo_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", *QUICK, "--seed", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    confusion = np.array(result["confusion"])
    assert confusion.shape == (9, 9)
    assert confusion.sum() == 370
    assert result["test_accuracy"] == np.trace(confusion) / 370
    assert result["settings"]["seed"] == 3
    assert [each["epoch"] for each in result["history"]] == [1, 2]
    assert result["history"][1]["loss"] < result["history"][0]["loss"]


def demo(capsys: pytest.CaptureFixture[str], *options: object) -> dict[str, Any]:
    assert cli.main(["demo", *map(str, options), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_demo_repeats_itself(capsys: pytest.CaptureFixture[str]) -> None:
    results = [demo(capsys, *QUICK, "--seed", seed) for seed in (2, 2, 3)]
    assert results[0]["history"] == results[1]["history"] != results[2]["history"]
    assert results[0]["confusion"] == results[1]["confusion"]


@pytest.mark.slow
def test_demo_learns(capsys: pytest.CaptureFixture[str]) -> None:
    accuracies = [demo(capsys, "--seed", seed)["test_accuracy"] for seed in range(3)]
    assert np.median(accuracies) >= 0.978, accuracies


def test_demo_options_reach_the_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def spy(model: Any, x: Any, y: Any, **options: Any) -> Any:
        calls.append((model, x, y, options))
        return training.fit(model, x, y, **options)

    monkeypatch.setattr(fastbptt, "fit", spy, raising=False)
    options = ["--hidden", 7, "--epochs", 3, "--batch", 50, "--lr", 0.01, "--seed", 4]
    demo(capsys, *options)
    ((model, x, y, given),) = calls
    assert model.hidden_size == 7
    assert (given["epochs"], given["batch_size"], given["seed"]) == (3, 50, 4)
    assert given["optimizer"].lr == 0.01
    assert np.bincount(y).tolist() == [30] * 9
    steps = np.concatenate(x)
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-6)
    zeros = np.zeros((100, 10, 12), np.float32)
    noise = given["augment"](zeros, np.random.default_rng(0))
    assert noise.dtype == np.float32 and noise.std() == pytest.approx(1.0, rel=0.02)


def test_a_failure_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--hidden", str(2**40)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("fastbptt: error: ")
    assert "Traceback" not in err


def test_divergence_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", *QUICK, "--lr", "1e38"]) == 1
    assert "fastbptt: error: " in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fastbptt", "info"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_interruption() -> None:
    # A process that a shell starts in the background ignores SIGINT, and so would its child.
    code = (
        "import signal, sys; from fastbptt.cli import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.exit(main(['demo', '--epochs', '1000000']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("Japanese Vowels")
        child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 130
    assert "Traceback" not in err
    assert err.endswith("fastbptt: interrupted\n")
    assert out == ""


@pytest.mark.parametrize("linked", ["cause", "context", "twice"])
def test_interruption_of_an_import(
    linked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An extension, of pandas or Matplotlib, calls itself broken."""

    def run(file: object = None) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            if linked == "context":
                raise ImportError("initialization failed") from None
            first = ImportError("initialization failed")
            first.__cause__ = error
        if linked == "cause":
            raise first
        raise ImportError("reinstall it") from first

    monkeypatch.setattr(config, "show_config", run)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "fastbptt: interrupted\n"


def test_an_error_after_an_interruption_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(file: object = None) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise OSError(28, "No space left on device", "model")  # noqa: B904

    monkeypatch.setattr(config, "show_config", run)
    assert cli.main(["info"]) == 1
    assert capsys.readouterr().err == "fastbptt: error: model: No space left on device\n"


def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # fastbptt info >&-
    assert cli.main(["info"]) == 0


TRAINS = "train a.csv -o m.st --hidden 4 --epochs 2"


@pytest.mark.parametrize(
    ("end", "words"),
    sampled(
        [
            *itertools.product(
                ["2>/dev/full", "2>&-", ">&- 2>&-"], [TRAINS, "train none.csv", "train"]
            )
        ]
    ),
)
def test_a_standard_error_that_takes_nothing(end: str, words: str, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    rows = [f"{i},{t},{i % 3},{'xy'[i % 2]}" for i in range(6) for t in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(["id,step,v,label", *rows, ""]))
    command = f"{sys.executable} -m fastbptt {words}{' --json' * ('-o' in words)} {end}"
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}  # as it usually is
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, stdout=subprocess.PIPE, timeout=120, check=False,
        env=buffered,
    )  # fmt: skip
    wanted = 0 if "-o" in words else 1 if "none" in words else 2
    assert done.returncode == wanted
    assert (tmp_path / "m.st").exists() == (wanted == 0)
    if wanted == 0 and not end.startswith(">"):
        assert json.loads(done.stdout)["settings"]["hidden"] == 4
    else:
        assert done.stdout == b""


@pytest.mark.filterwarnings("default")
def test_warnings_are_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i},{t},{i % 3},{'xy'[i % 2]}" for i in range(6) for t in range(3)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["id,step,v,label", *rows, ""]))
    assert cli.main(["train", str(path), *QUICK, "--quiet", "--dropout", "0.5"]) == 0
    found = capsys.readouterr().err
    assert found.startswith("fastbptt: note: dropout=0.5 has no effect with num_layers=1")
    assert found.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (
            ["--optimizer", "adam:lr=0.1", "--lr", "0.2"],
            "--lr is 0.2, and --optimizer has lr=0.1",
            1,
        ),
        (["--optimizer", "sgd:lr=1", "--lr", "1"], "--lr is 1, and --optimizer has lr=1; expec", 1),
        (
            ["--cell", "leaky"],
            "'leaky' has no number; expected a number above 0 and at most 1 af",
            2,
        ),
        (["--init", "normal:x"], "'x' is not a number", 2),
        (["--loss", "huber:delta=x"], 'loss is "huber:delta=x"; expected a number for delta', 2),
        (
            ["--loss", "huber:delta"],
            'loss is "huber:delta"; expected NAME[:PARAMETER=VALUE,...]',
            2,
        ),
    ],
)
def test_options_that_say_two_things_or_none(
    options: list[str], message: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i},{t},{i % 3},{'xy'[i % 2]}" for i in range(6) for t in range(3)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["id,step,v,label", *rows, ""]))
    found = 0
    try:
        found = cli.main(["train", str(path), *QUICK, *options])
    except SystemExit as end:
        found = int(end.code or 0)
    assert found == code and message in capsys.readouterr().err


def test_advice_about_columns_is_for_those_who_may_choose_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i},{t},{i % 3}.5,{'xy'[i % 2]}" for i in range(6) for t in range(3)]
    path, model, other = tmp_path / "a.csv", tmp_path / "m.st", tmp_path / "b.csv"
    path.write_text("\n".join(["id,step,v,label", *rows, ""]))
    other.write_text("\n".join(["id,step,v,label", *(re.sub(r"\d\.5", "hi", r) for r in rows), ""]))
    assert cli.main(["train", str(path), *QUICK, "--quiet", "-o", str(model)]) == 0
    capsys.readouterr()
    assert cli.main(["predict", str(model), str(other)]) == 1
    told = capsys.readouterr().err
    assert 'is "hi"; expected a finite number' in told and "--" not in told.replace("--no-la", "")
    assert cli.main(["train", str(other), *QUICK, "--quiet"]) == 1
    assert "--exclude-columns leaves the column out" in capsys.readouterr().err


def test_the_number_of_threads_is_named_as_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--threads", "9999"]) == 1
    assert "--threads is 9999; expected 1 to 1024" in capsys.readouterr().err


def test_info_tells_what_a_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Task(8).csv(Path("data.csv"), "label")
    small = ["--hidden", "5", "--epochs", "3", "--quiet"]
    assert cli.main(["train", path, *small, "--missing", "mask", "-o", "m.st"]) == 0
    fastbptt.LSTM(3, 4, seed=0, num_layers=2).save("plain.st")
    capsys.readouterr()
    assert cli.main(["info", "m.st"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    model = fastbptt.load("m.st")
    assert lines["file"] == f"m.st (format 6, written by fastbptt {fastbptt.__version__})"
    assert lines["network"] == repr(model).partition("  #")[0]
    assert lines["parameters"].startswith(f"{model.num_parameters}, ")
    assert lines["task"] == "classification, steps: last"
    assert lines["trained"] == f"on        {path}"
    assert lines["epochs"] == "3"
    assert "height" in lines["features"]
    assert "; standardised; with indicators of missing values" in lines["features"]
    assert "up" in lines["classes"]
    assert cli.main(["info", "plain.st", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["cell"], found["num_layers"], found["output_size"]) == ("lstm", 2, None)
    assert found["parameters"] == fastbptt.load("plain.st").num_parameters
    assert found["trained_on"] is None
    for line, message in (
        ("m.st --threads 2", "--threads has no effect on what a model is"),
        ("data.csv", "cannot load 'data.csv'"),
    ):
        assert cli.main(["info", *line.split()]) == 1
        assert message in capsys.readouterr().err
