"""Attacks on the package: each is a function of a seed and a folder that returns how many cases it
has tried, and raises an `AssertionError` that tells what has gone wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import extremes, files, full_disks, interrupts, kills, machine, operations, processes, soak

Attack = Callable[[int, Path], int]

ATTACKS: dict[str, Attack] = {
    "operations": operations.attack,
    "machine": machine.attack,
    "kills": kills.attack,
    "interrupts": interrupts.attack,
    "full disks": full_disks.attack,
    "files": files.attack,
    "extremes": extremes.attack,
    "processes": processes.attack,
    "soak": soak.attack,
}
