"""The registry of formats in which a model can be handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fastbptt
from fastbptt.cli import main
from fastbptt.interchange import formats
from fastbptt.interchange.formats import FORMATS, ExportFormat, ExportOption, Written


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_described(name: str) -> None:
    one = FORMATS[name]
    assert one.name == name
    assert one.title and one.suffixes
    assert all(suffix[0] == "." and suffix == suffix.lower() for suffix in one.suffixes)
    assert len({option.flag for option in one.options}) == len(one.options)


def test_a_suffix_is_that_of_one_format() -> None:
    suffixes = [suffix for one in FORMATS.values() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def others(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Register two formats; return what they are called with."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def write(model: fastbptt.Recurrent, path: str, **options: Any) -> Written:
        calls.append((path, options))
        return Written((path,), numbers={"units": model.hidden_size})

    depth = ExportOption("depth", "--depth", "how deep", "N", parse=int)
    one = ExportFormat("one", "the first", (".one",), write, fastbptt.load, options=(depth,))
    monkeypatch.setitem(FORMATS, "one", one)
    monkeypatch.setitem(FORMATS, "two", ExportFormat("two", "the second", (".two",), write))
    return calls


def test_the_suffix_tells_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    others(monkeypatch)
    assert formats.find("a.C").name == "c"
    assert formats.find("a.two").name == "two"
    for path, message in (
        ("a.txt", r"a.txt ends in .txt, which is no format; expected a name that ends in one of "),
        ("a", r"a has no suffix; expected a name that ends in one of .c \(C99"),
    ):
        with pytest.raises(ValueError, match=message):
            formats.find(path)


def test_a_model_is_read_by_its_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fastbptt.RNN(2, 3, 1, seed=0)
    others(monkeypatch)
    for name in ("a.safetensors", "a.one", "a"):
        model.save(tmp_path / name)
        assert (formats.read(str(tmp_path / name)).parameters.flat == model.parameters.flat).all()


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fastbptt.RNN(2, 3, 1, seed=0).save("m.st")
    return tmp_path


def test_options_go_to_their_format(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = others(monkeypatch)
    assert main(["export", "m.st", "a.one", "--depth", "3"]) == 0
    assert calls == [("a.one", {"depth": 3})]
    assert capsys.readouterr().out == "Wrote a.one\n"
    assert main(["export", "m.st", "a.two", "--json"]) == 0
    assert '"units": 3' in capsys.readouterr().out
    for line, message in (
        ("a.two --depth 3", "--depth has no effect on the second; expected none"),
        ("a.two --weights int8", "--weights has no effect on the second; expected none"),
    ):
        assert main(["export", "m.st", *line.split()]) == 1
        assert message in capsys.readouterr().err
    assert len(calls) == 2


def test_what_training_did_is_not_left_out(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = others(monkeypatch)
    model = fastbptt.load("m.st")
    scaler = {"mean": [1.0, 2.0], "scale": [3.0, 4.0]}
    model.save("m.st", metadata={"task": "regression", "standardize": scaler})
    assert main(["export", "m.st", "a.two"]) == 1
    err = capsys.readouterr().err
    assert "m.st was trained with standardised inputs, which the second cannot hold" in err
    assert main(["export", "m.st", "a.two", "--raw"]) == 0
    assert len(calls) == 1


def test_the_model_is_not_written_over(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fastbptt.load("m.st").save("b.h")
    before = Path("b.h").read_bytes()
    for line, message in (
        ("b.h b.c", "OUT's .h file is b.h, as MODEL is; expected another file"),
        ("m.st no/b.c", "OUT is no/b.c: no such directory"),
        ("m.st b.c --weights int8 --data b.h", "OUT's .h file is b.h, as --data is"),
    ):
        assert main(["export", *line.split()]) == 1
        assert message in capsys.readouterr().err
    assert Path("b.h").read_bytes() == before
    assert not Path("b.c").exists()
