"""What a program's own handler of signals raises while a file is read comes out as it is.

A signal may come between any two lines of Python. Here errors come at lines spread over all that a
reader runs. One taken for damage would send people after a fault that the file does not have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import damage
import numpy as np
import pytest

import fastbptt
from fastbptt.training.finished_models import Ending, FinishedModels

pytestmark = pytest.mark.filterwarnings("ignore")  # of files that an error leaves to be collected

PACKAGE = str(Path(fastbptt.__file__).parent)
POINTS = 25


class ForeignError(Exception):
    """A program's own: what it raises when its time is over, say."""


def lines_of(call: Callable[[], Any], failing: int = 0) -> int:
    """Call a function; return how many lines of the package it runs. Raise at one of them."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            count += 1
            if count == failing:
                raise ForeignError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def check(call: Callable[[], Any]) -> None:
    """Check that an error at any line of those that a call runs is the one that comes out."""
    call()  # imports what it needs
    lines = lines_of(call)
    assert lines > 5
    for failing in sorted({1 + lines * k // POINTS for k in range(POINTS)}):
        with pytest.raises(ForeignError):
            lines_of(call, failing)


@pytest.mark.parametrize("kind", damage.KINDS)
def test_while_it_is_read(kind: str, tmp_path: Path) -> None:
    content = damage.whole(kind, tmp_path)
    path = tmp_path / damage._NAMES[kind]

    for read in damage.READERS[kind]:

        def anew(read: Any = read) -> None:
            path.write_bytes(content)
            read(path)

        check(anew)


def test_while_finished_models_are_read(tmp_path: Path) -> None:
    model, path = fastbptt.RNN(1, 2, 1, seed=0), str(tmp_path / "run")
    store = FinishedModels(path, {"a": "b"}, False)
    store.add(model, Ending(0, "c", fastbptt.History().to_dict(), 0, [], 0.0, None))
    store.close()

    def restore() -> None:
        store = FinishedModels(path, {"a": "b"}, True)
        try:
            assert store.restore(0, model, "c", False) is not None
        finally:
            store.close()

    check(restore)
    assert np.isfinite(model.parameters["W_xh"]).all()
