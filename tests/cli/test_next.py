"""The commands that train and demo print as "Next" run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from fastbptt import cli
from fastbptt.cli import demo

PLAIN = "id,step,a,label\n" + "".join(
    f"{i},{t},{t * (i % 2)},{'xy'[i % 2]}\n" for i in range(6) for t in range(3)
)
NUMBERS = PLAIN.replace("x", "0.5").replace("y", "1.5")
BITS = PLAIN.replace("x", "0").replace("y", "1")
HEADLESS = ["--header", "none", "--id-column", "1", "--step-column", "2", "--target-column", "4"]
WIDE = "".join(f"{'xy'[i % 2]}\t{i}\t{i % 2}\t{i * i}\n" for i in range(6))
NO_LABELS = "".join(line.rsplit(",", 1)[0] + "\n" for line in PLAIN.splitlines())
SPARSE = PLAIN.replace("2,2,0,x", "2,2,0,")


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        (PLAIN, "a.csv", []),
        (PLAIN, "with a space.csv", []),
        (PLAIN.replace("3,1,1,", "3,1,,"), "gap.csv", ["--missing", "interpolate"]),
        (PLAIN.replace(",", ";"), "a.csv", ["--delimiter", ";"]),
        (PLAIN.replace(",", "\t"), "a'b.csv", ["--delimiter", r"\t"]),
        (PLAIN.replace("label", "what"), "a.csv", ["--label-column", "what"]),
        (PLAIN.replace("id,step", "who,when"), "a.csv", ["--id-column=who", "--step-column=when"]),
        (NUMBERS, "a.csv", ["--target-column", "label"]),
        (NUMBERS.replace(",", ";").replace(".", ","), "a.csv", ["--target-column", "label"]),
        (NUMBERS.replace(",", " "), "a.txt", ["--target-column", "label"]),
        (BITS, "a.csv", ["--target-column", "label", "--loss", "bce"]),
        (PLAIN, "a.csv", ["--steps", "all", "--step-column", "step"]),
        (NUMBERS.split("\n", 1)[1], "a.data", HEADLESS),
        (PLAIN.replace("0,x", "no,x"), "a.csv", ["--category-columns", "a"]),
        (PLAIN, "a.csv", ["--exclude-columns", "step", "--step-column", "none"]),
        (WIDE, "a.tsv", ["--layout", "wide", "--header", "none", "--label-column", "1"]),
        (NO_LABELS, "a.csv", ["--labels", "y.csv"]),
        (SPARSE, "a.csv", ["--steps", "all", "--unlabelled", "drop"]),
    ],
)
@pytest.mark.parametrize("tested", [False, True])
def test_next(
    text: str,
    name: str,
    options: list[str],
    tested: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    Path("y.csv").write_text("id,label\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(6)))
    if tested:
        Path("test file.csv").write_text(text)
        options = [*options, "--test", "test file.csv"]
    command = ["train", name, *options, "-q", "--epochs", "1", "--hidden", "2", "-o", "my model"]
    assert cli.main(command) == 0
    (line,) = commands(capsys.readouterr().out)
    assert run(line) == 0
    rows = re.findall(r"^(\d+)  ", capsys.readouterr().out, re.MULTILINE)
    assert len(set(rows)) == 6  # a line or more for each sequence


def commands(out: str) -> list[str]:
    """The commands that a text prints as "Next:", on that line and those below it."""
    before, _, rest = out.partition("Next:")
    assert rest, before
    return [line.strip() for line in rest.splitlines() if line.strip()]


def run(line: str) -> int:
    program, *words = shlex.split(line)
    assert program == "fastbptt"
    try:
        return cli.main(words)
    except SystemExit as end:  # of --help
        return int(end.code or 0)


def test_the_commands_after_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--epochs", "1", "--hidden", "2"]
    assert cli.main(["demo", *short]) == 0
    lines = commands(capsys.readouterr().out)
    assert [line.split()[1] for line in lines] == ["demo", "info", "train"]
    monkeypatch.setitem(vars(demo), "_OPTIONS", quick(demo._OPTIONS))
    for line in lines:
        assert run(line) == 0
        assert capsys.readouterr().out


def quick(options: tuple[tuple[str, Any, str, float, str], ...]) -> Any:
    """The demo's options, with one epoch by default."""
    return tuple((*one[:3], 1, one[4]) if one[0] == "epochs" else one for one in options)


def test_missing_values_may_be_treated_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = tmp_path / "a.csv", str(tmp_path / "m")
    path.write_text(PLAIN.replace("3,1,1,", "3,1,,"))
    command = ["train", str(path), "--missing", "interpolate", "-q", "--epochs", "1", "-o", model]
    assert cli.main(command) == 0
    assert cli.main(["predict", model, str(path), "--missing", "error"]) == 1
    assert "--missing interpolate" in capsys.readouterr().err
