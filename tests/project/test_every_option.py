"""Every option of the command line has an effect: changing it changes something, or is refused.

The options come from the parsers: one without an entry fails. The entries are in
`tests/support/arguments/commands.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from arguments import SLOW
from arguments.commands import COMMANDS
from effects import Entry, cases, check_effect

from fastbptt import cli


def subcommands() -> dict[str, argparse.ArgumentParser]:
    kind = argparse._SubParsersAction
    (found,) = [one for one in cli._program()._actions if isinstance(one, kind)]
    return dict(found.choices)


@pytest.mark.parametrize("name", subcommands())
def test_every_option_has_an_entry(name: str) -> None:
    actions = [one for one in subcommands()[name]._actions if one.dest != "help"]
    wanted = {one.option_strings[-1] if one.option_strings else one.dest for one in actions}
    assert set(COMMANDS[f"fastbptt {name}"].changes) == wanted


@pytest.mark.parametrize(("what", "entry", "name", "change"), cases(COMMANDS, SLOW))
def test_every_option_has_an_effect(
    what: str, entry: Entry, name: str, change: Any, tmp_path: Path
) -> None:
    check_effect(what, entry, name, change, tmp_path)
