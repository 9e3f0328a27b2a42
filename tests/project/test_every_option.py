"""Every option of the command line has an effect: changing it changes something, or is refused.

The options come from the parsers: one without an entry fails. The entries are in
`tests/support/arguments/commands.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from arguments.commands import COMMANDS
from effects import Each, Entry, check_effect

from fastbptt import cli


def subcommands() -> dict[str, argparse.ArgumentParser]:
    kind = argparse._SubParsersAction
    (found,) = [one for one in cli._program()._actions if isinstance(one, kind)]
    return dict(found.choices)


@pytest.mark.parametrize("name", subcommands())
def test_every_option_has_an_entry(name: str) -> None:
    actions = [one for one in subcommands()[name]._actions if one.dest != "help"]
    wanted = {one.option_strings[-1] if one.option_strings else one.dest for one in actions}
    assert set(COMMANDS[name].changes) == wanted


def cases() -> list[Any]:
    found = []
    for what, entry in COMMANDS.items():
        for name, given in entry.changes.items():
            for i, change in enumerate(given if isinstance(given, Each) else [given]):
                number = f"-{i + 1}" * (i > 0)
                found.append(pytest.param(what, entry, name, change, id=f"{what}{name}{number}"))
    return found


@pytest.mark.parametrize(("what", "entry", "name", "change"), cases())
def test_every_option_has_an_effect(
    what: str, entry: Entry, name: str, change: Any, tmp_path: Path
) -> None:
    check_effect(f"fastbptt {what}", entry, name, change, tmp_path)
