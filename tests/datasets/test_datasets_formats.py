"""The registry of file formats: whatever it lists works in `read` and on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastbptt import cli, datasets
from fastbptt.datasets import Sequences, formats
from fastbptt.datasets.formats import Format, Option, argument, setting


def read_words(
    path: str,
    *,
    end: str = ".",
    classes: Any = None,
    missing: str = "nan",
    dtype: Any = "float32",
    labels: bool = True,
) -> Sequences:
    """Read a line for each sequence: a digit for each step, then the class behind `end`."""
    x, names = [], []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        steps, mark, name = line.partition(end)
        if not mark:
            raise ValueError(f"{path}:{number}: there is no {end!r}; try {setting('end', '.')}")
        x.append(np.array([[int(digit)] for digit in steps], dtype))
        names.append(name)
    known = tuple(classes or sorted(set(names)))
    y = np.array([known.index(name) for name in names]) if labels else None
    ids = tuple(map(str, range(len(x))))
    return Sequences(x, y, known if labels else None, ("digit",), ids, path)


FORMAT = Format(
    suffixes=(".digits", ".dig"),
    read=read_words,
    help="digits, then\n  the class.",
    labels="a mark and a class",
    options=(Option("end", "--end-mark", "ends the digits", "CHARACTER"),),
)


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of a format that is one module and one line in the list."""
    module = ModuleType("fastbptt.datasets.digits")
    module.FORMAT = FORMAT  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(formats, "MODULES", [*formats.MODULES, "digits"])
    path = tmp_path / "a.DIG"
    lines = [f"{i % 10}{i % 7}{i % 3 + 5}!{'low' if i % 10 < 5 else 'high'}" for i in range(40)]
    path.write_text("\n".join(lines))
    return path


def run(capsys: pytest.CaptureFixture[str], *command: object) -> tuple[int, str, str]:
    code = cli.main([str(part) for part in command])
    return code, *capsys.readouterr()


def test_a_new_format_is_read(digits: Path) -> None:
    data = datasets.read(digits, end="!")
    assert data.classes == ("high", "low")
    assert len(data) == 40
    with pytest.raises(ValueError, match=r"a\.DIG:1: there is no '\.'; try end='\.'$"):
        datasets.read(digits)
    expected = r"ends in \.csv, .*\.parquet, \.npz, \.ts, \.tsf, \.arff, \.digits or \.dig$"
    with pytest.raises(ValueError, match=expected):
        datasets.read("a.doc")


def test_a_new_format_trains_and_predicts(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.safetensors"
    train = ["train", digits, "--quiet", "--epochs", 2, "--hidden", 4]
    code, _, err = run(capsys, *train, "--end-mark", "!", "-o", model, "--test", digits)
    assert (code, err) == (0, "")
    code, out, _ = run(capsys, "predict", model, digits, "--end-mark", "!", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["scores"]["count"] == 40
    assert result["predictions"][0]["label"] == "low"
    code, _, err = run(capsys, "report", model, digits, "-o", tmp_path / "r.html")
    assert (code, err) == (1, f"fastbptt: error: {digits}:1: there is no '.'; try --end-mark '.'\n")


def test_messages_about_a_new_format(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "a.csv"
    table.write_text("id,step,x\na,1,2\n")
    for command, message in (
        ([table], f"{table}: there are no labels; expected a column"),
        ([table], ", a nominal last @attribute, or a mark and a class\n"),
        ([table, "--end-mark", "!"], "--end-mark is for .digits or .dig files; expected none"),
        (
            [digits, "--id-column", "who"],
            "--id-column is for .csv, .tsv, .txt, .data, .parquet or .arff files; expected",
        ),
        ([digits, "--embedding", 3], "tokens are read from .npz files alone; expected one"),
        ([digits, "--steps", "all"], "a .dig file has no labels for each step; expected .csv, "),
    ):
        code, _, err = run(capsys, "train", *command, "--quiet")
        assert code == 1
        assert message in err


@pytest.mark.parametrize("command", ["train", "predict", "report"])
def test_help_shows_a_new_format(
    command: str, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert "  .digits, .dig  digits, then\n" in shown
    assert "--end-mark CHARACTER" in shown
    assert ".csv, .tsv, .txt, .data, .parquet, .npz, .ts, .tsf, .arff, .digits or .dig" in " ".join(
        shown.split()
    )


def test_options_of_a_test_file_of_another_format(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "a.csv"
    table.write_text("id,step,digit,label\na,1,2,low\nb,1,7,high\n")
    train = ["train", digits, "--quiet", "--epochs", 1, "--hidden", 2, "--end-mark", "!"]
    assert run(capsys, *train, "--test", table)[0] == 0


@pytest.mark.parametrize("form", formats.formats(), ids=lambda form: form.suffixes[0])
def test_every_format(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("classes", "missing", "dtype", "labels"):
        assert form.takes(name)
    assert form.takes("steps") == ("all" in form.steps)
    assert {option.name for option in form.options if not form.takes(option.name)} == set()
    assert (form.columns is None) == (form.step_numbers is None)
    for suffix in form.suffixes:
        assert formats.find(f"A{suffix.upper()}") is form
    for line in form.help.splitlines():
        assert len(line) <= 72
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    shown = capsys.readouterr().out
    for text in (*form.suffixes, *(option.flag for option in form.options)):
        assert text in shown


def test_names_in_messages() -> None:
    assert (argument("id"), setting("id"), setting("id", None)) == ("id", "id=", "id=None")
    assert setting("missing", "nan", "interpolate") == 'missing="nan" or "interpolate"'
    options = {
        "id": Option("id", "--id-column"),
        "missing": Option("missing", "--missing", choices=("error", "interpolate")),
        "delimiter": Option("delimiter", "--delimiter"),
    }
    with formats.named_by(options):
        assert argument("id") == setting("id") == "--id-column"
        assert setting("id", None) == "--id-column none"
        assert setting("missing", "nan", "interpolate") == "--missing interpolate"
        assert setting("delimiter", "\t") == r"--delimiter '\t'"
        assert setting("tokens", True) == "tokens=True"
    assert argument("id") == "id"
