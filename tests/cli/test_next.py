"""The command that train prints as "Next" runs as it stands."""

import shlex
from pathlib import Path

import pytest

from fastbptt import cli

PLAIN = "id,step,a,label\n" + "".join(
    f"{i},{t},{t * (i % 2)},{'xy'[i % 2]}\n" for i in range(6) for t in range(3)
)


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
        (PLAIN.replace("x", "0").replace("y", "1"), "a.csv", ["--target-column", "label"]),
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
    if tested:
        Path("test file.csv").write_text(text)
        options = [*options, "--test", "test file.csv"]
    command = ["train", name, *options, "-q", "--epochs", "1", "--hidden", "2", "-o", "my model"]
    assert cli.main(command) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("Next:")]
    program, *words = shlex.split(line.removeprefix("Next:"))
    assert program == "fastbptt"
    assert cli.main(words) == 0
    assert "6 sequences" in capsys.readouterr().out


def test_missing_values_may_be_treated_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = tmp_path / "a.csv", str(tmp_path / "m")
    path.write_text(PLAIN.replace("3,1,1,", "3,1,,"))
    command = ["train", str(path), "--missing", "interpolate", "-q", "--epochs", "1", "-o", model]
    assert cli.main(command) == 0
    assert cli.main(["predict", model, str(path), "--missing", "error"]) == 1
    assert "--missing interpolate" in capsys.readouterr().err
