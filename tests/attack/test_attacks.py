"""The attacks of `run.py` on a few seeds; CONTRIBUTING.md has the command for more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS, machine

import fastbptt
from fastbptt.models._dropout_seeds import DropoutSeeds

RUN = Path(__file__).parent / "run.py"
# of each; "operations" are those of tests/models/test_random_operations.py
SEEDS = {"machine": 8, "kills": 1, "interrupts": 2, "full disks": 1, "files": 4, "extremes": 12,
         "processes": 4, "soak": 2}  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes and signals of POSIX")


def test_every_attack_has_a_quick_form() -> None:
    assert {*SEEDS, "operations"} == set(ATTACKS)


@pytest.mark.parametrize("name", SEEDS)
def test_an_attack_finds_nothing(name: str) -> None:
    command = [sys.executable, RUN, "--cases", str(SEEDS[name]), "--minutes", "5", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_option_is_in_the_machine() -> None:
    assert machine.unknown_options() == []


def test_an_unknown_attack_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, RUN, "none of these"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no attack is named 'none of these'" in done.stderr


def _seeds_stay_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DropoutSeeds, "give_back", lambda self, taken: None)


def _copies_have_another_rate(patch: pytest.MonkeyPatch) -> None:
    load = fastbptt.optim.Optimizer.__setstate__

    def loaded(self: Any, state: dict[str, Any]) -> None:
        load(self, state)
        self._lr = 0.125

    patch.setattr(fastbptt.optim.Optimizer, "__setstate__", loaded)


def _copies_thaw(patch: pytest.MonkeyPatch) -> None:
    copy = fastbptt.Recurrent.copy

    def thawed(self: Any) -> Any:
        made = copy(self)
        made.unfreeze()
        return made

    patch.setattr(fastbptt.Recurrent, "copy", thawed)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [_seeds_stay_taken, _copies_have_another_rate, _copies_thaw])
def test_the_machine_finds_a_fault(
    spoil: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)

    def attack() -> None:
        for seed in range(60):
            machine.attack(seed, tmp_path)

    with pytest.raises(AssertionError, match="in the last of"):
        attack()
