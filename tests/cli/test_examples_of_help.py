"""The examples that `--help` shows, and the session of the README, run as they stand."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastbptt import cli

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="without the source tree")
SECONDS = ("demo", "train", "gallery", "bench", "report")  # tested on their own


def commands() -> dict[str, argparse.ArgumentParser]:
    kind = argparse._SubParsersAction
    (found,) = [one for one in cli._program()._actions if isinstance(one, kind)]
    return dict(found.choices)


def examples(parser: argparse.ArgumentParser) -> list[str]:
    _, _, text = (parser.epilog or "").partition("Example:")
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples' data, in which the first example of `train` has run."""
    made = tmp_path_factory.mktemp("session")
    shutil.copytree(DATA, made / "examples" / "data")
    with _within(made):
        run(examples(commands()["train"])[0] + " --epochs 2")
    return made


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(line: str) -> str:
    program, *words = shlex.split(line)
    assert program == "fastbptt"
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main(words) == 0, line
    return out.getvalue()


@pytest.mark.parametrize("name", commands())
def test_every_command_shows_an_example(name: str) -> None:
    found = examples(commands()[name])
    assert found
    assert found[0].startswith(f"fastbptt {name}")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param(name, line, marks=[pytest.mark.slow] if name in SECONDS else [])
        for name, parser in commands().items()
        for line in examples(parser)
    ],
)
def test_the_examples_run(
    name: str, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "gallery":
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(folder)
    assert run(line)


def session() -> list[tuple[str, str]]:
    """The commands of the README's session, and what it shows of each."""
    text = (ROOT / "README.md").read_text("utf-8")
    (block,) = re.findall(
        r"<!-- session -->\n```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def masked(text: str) -> str:
    """The text without what depends on the machine: times, probabilities, counts of hits."""
    text = re.sub(r"in [\d.]+ s \(.*\)", "in # s", text.strip())
    text = re.sub(r"epoch \d+, which", "epoch #, which", text)
    text = re.sub(r"accuracy [\d.]+: \d+ of", "accuracy #: # of", text)
    text = re.sub(r"^(run|stand|walk) .*", r"\1 #", text, flags=re.MULTILINE)
    return re.sub(r"0\.\d{4}", "#", text)


def test_the_session_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    steps = session()
    assert [shlex.split(line)[1] for line, _ in steps] == ["train", "predict"]
    for line, shown in steps:
        assert masked(run(line)) == masked(shown)
