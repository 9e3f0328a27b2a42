"""What a run of fit shows: in a terminal, in a pipe, in a notebook."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt
from fastbptt.training import progress

METRICS = ("accuracy", "balanced_accuracy")


def fit(**options: Any) -> fastbptt.History:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {"epochs": 3, "batch_size": 6, "validation": 0.25, **options}
    y = np.arange(16) % 3
    model = fastbptt.RNN(2, 3, 3, seed=0)
    return fastbptt.fit(model, rng.normal(size=(16, 4, 2)), y, loss="cross_entropy", **given)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def screen(text: str) -> list[str]:
    """The lines that remain: after a carriage return a line is written anew."""
    return [line.split("\r")[-1].rstrip() for line in text.split("\n") if line.split("\r")[-1]]


@pytest.mark.parametrize("columns", [80, 100, 200, 60, 40, 15])
@pytest.mark.parametrize("epochs", [3, 120])
def test_the_bar_fits_into_the_terminal(
    columns: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    history = fit(epochs=epochs, metrics=METRICS)
    every = [part.rstrip("\n") for part in terminal.getvalue().split("\r")]
    assert all(len(part) < max(columns, 20) for part in every)
    (last,) = screen(terminal.getvalue())
    assert last.startswith(f"epoch {epochs}/{epochs}"[:15])
    if columns >= 40:
        assert last.count("█") >= 7  # complete, and not one character wide
    values = history.last()
    losses = f", loss {values['loss']:.4g}, validation_loss {values['validation_loss']:.4g}"
    assert (losses in last) == (columns >= 80)
    assert ("validation_balanced_accuracy" in last) == (columns == 200)


def test_a_terminal_of_80_columns(tmp_path: Path) -> None:
    """A real one: the width comes from the terminal, not from an environment variable."""
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80)) if hasattr(termios, "tcsetwinsize") else _resize(theirs)
    code = (
        "import numpy as np, fastbptt\n"
        "x = np.random.default_rng(0).normal(size=(40, 4, 1))\n"
        "fastbptt.fit(fastbptt.RNN(1, 3, 1, seed=0), x, x[:, -1, 0] > 0, epochs=12,"
        " validation=0.2, metrics='accuracy')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    child = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait() == 0
    (last,) = screen(shown.decode().replace("\r\n", "\n"))
    assert 60 < len(last) < 80
    assert last.startswith("epoch 12/12 |██████")
    assert ", loss 0." in last
    assert ", validation_loss 0." in last


def _resize(terminal: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))


@pytest.mark.parametrize("epochs", [1, 2, 19, 20, 21, 50, 300])
def test_a_pipe_gets_at_most_twenty_lines(epochs: int, capsys: pytest.CaptureFixture[str]) -> None:
    fit(epochs=epochs, batch_size=16)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == ""
    assert len(lines) <= 20
    assert len(lines) >= min(epochs, 15)
    numbers = [
        int(line.split()[1].split("/")[0]) for line in (s.replace("epoch", "epoch ") for s in lines)
    ]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, epochs)


def test_a_pipe_gets_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the lines that are ever further apart, and beside them."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    class Slow(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> None:
            now[0] += 7.0

    fit(epochs=300, callbacks=[Slow()])
    lines = [int(one.split()[1].split("/")[0]) for one in capsys.readouterr().err.splitlines()]
    assert lines == sorted(set(lines))
    assert max(np.diff(lines)) == 9  # epochs of 7 seconds
    assert 300 // 9 <= len(lines) <= 300 // 9 + 20


def test_the_last_line_is_that_of_the_last_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    class Stop(fastbptt.Callback):
        def on_epoch_end(self, run: Any) -> bool:
            return bool(run.epoch == 77)

    history = fit(epochs=300, callbacks=[Stop()])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("epoch  77/300  loss ")
    assert f"validation_loss {history.last()['validation_loss']:.4g}" in last


def test_a_line_per_epoch_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    fit(epochs=40, metrics="accuracy", verbose=2)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == "" and len(lines) == 40
    for name in ("accuracy", "validation_loss", "validation_accuracy", "lr 0.001"):
        assert f"  {name}" in lines[1]


@pytest.fixture(params=["with ipywidgets", "without ipywidgets"])
def notebook(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A process that a notebook's kernel runs; the bars that were drawn as widgets."""
    made: list[Any] = []

    present = request.param == "with ipywidgets"

    class Widget:
        ncols = None
        n = 0

        def __init__(self, total: int, **options: Any) -> None:
            assert present  # else tqdm leaves an object behind that fails when it is freed
            self.numbers, self.total, self.container = "", total, self
            made.append(self)

        def set_description_str(self, text: str, refresh: bool) -> None:
            self.description = text

        def set_postfix_str(self, text: str, refresh: bool) -> None:
            self.numbers = text

        def update(self, count: int) -> None:
            self.n += count

        def refresh(self) -> None: ...

        def close(self) -> None:
            self.red = self.n < self.total  # as tqdm

    class Shown:
        def update(self, widget: Widget) -> None:
            widget.kept = widget.numbers

    ipython, widgets = types.ModuleType("IPython"), types.ModuleType("tqdm.notebook")
    monkeypatch.setattr(
        ipython, "get_ipython", lambda: types.SimpleNamespace(kernel=1), raising=False
    )
    monkeypatch.setattr(widgets, "tqdm", Widget, raising=False)
    ipython_display = types.ModuleType("IPython.display")
    monkeypatch.setattr(
        ipython_display, "display", lambda widget, display_id: Shown(), raising=False
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython_display)
    ipywidgets: Any = types.ModuleType("ipywidgets") if present else None
    monkeypatch.setitem(sys.modules, "ipywidgets", ipywidgets)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", widgets)
    return made


@pytest.mark.parametrize("verbose", [None, 1])
def test_a_notebook_gets_a_bar(
    verbose: Any, notebook: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    history = fit(verbose=verbose, metrics=METRICS)
    shown = capsys.readouterr()
    assert shown.err == ""  # a notebook shows it in red
    if notebook:
        (bar,) = notebook
        assert shown.out == ""
        assert bar.description == "epoch 3/3"
        assert (
            f"validation_balanced_accuracy {history.last()['validation_balanced_accuracy']:.4g}"
            in bar.numbers
        )
        assert bar.kept == bar.numbers
    else:
        (last,) = screen(shown.out)
        assert last.startswith("epoch 3/3 |██████")


class Ends(fastbptt.Callback):
    """Ends a run in its second epoch."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_epoch_end(self, run: Any) -> bool:
        if run.epoch == 2 and self.how == "interrupted":
            raise KeyboardInterrupt
        if run.epoch == 2 and self.how == "failed":
            raise ZeroDivisionError
        return run.epoch == 2 and self.how == "stopped"


@pytest.mark.parametrize("how", ["complete", "stopped", "interrupted", "failed"])
def test_the_bar_of_a_notebook_is_red_if_the_run_failed(how: str, notebook: list[Any]) -> None:
    with contextlib.suppress(ZeroDivisionError):
        fit(callbacks=[Ends(how)])
    if notebook:
        assert notebook[0].red == (how in ("interrupted", "failed"))


def test_lines_of_a_notebook_are_not_red(
    notebook: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(verbose=2)
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.splitlines()) == 3 and not notebook


@pytest.mark.parametrize("verbose", [None, 0, 1, 2])
def test_without_standard_error(verbose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert len(fit(verbose=verbose)) == 3


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    fit(verbose=0)
    assert capsys.readouterr() == ("", "")
