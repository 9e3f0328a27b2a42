"""The platform of this installation: versions, processor, instruction sets, threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from . import _core

__all__ = ["info", "show_config"]


def info() -> dict[str, Any]:
    """Collect what a report about speed or a bug should state.

    Returns
    -------
    dict
        ``fastbptt``, ``python``, ``numpy``, ``compiler``: versions, str. ``platform``: operating
        system and machine, str. ``processor``: its name, str. ``cores``: processors that this
        process may use, int. ``threads``: threads that fastbptt uses, int.
        ``instruction_sets``: list of dict with ``name``, ``description`` and ``usable``, best
        first. ``active``: name of the instruction set in use, str. ``cells``: list of str.

    Examples
    --------
    >>> import fastbptt
    >>> found = fastbptt.config.info()
    >>> found["active"] in [each["name"] for each in found["instruction_sets"] if each["usable"]]
    True
    """
    return {
        "fastbptt": _core.version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": _core.compiler,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": _cores(),
        "threads": _core.get_num_threads(),
        "instruction_sets": [
            {"name": name, "description": description, "usable": usable}
            for name, description, usable in _core.backends()
        ],
        "active": _core.active_backend(),
        "cells": _core.cells(),
    }


def show_config(file: TextIO | None = None) -> None:
    """Print versions, processor, instruction sets and threads, a line each.

    Parameters
    ----------
    file : text file, optional
        Where to print; standard output by default.

    Examples
    --------
    >>> import io
    >>> import fastbptt
    >>> text = io.StringIO()
    >>> fastbptt.show_config(text)
    >>> text.getvalue().startswith(f"fastbptt          {fastbptt.__version__}")
    True
    """
    found = info()
    width = max(len(each["name"]) for each in found["instruction_sets"])
    lines = [
        f"{key:<18}{found[key]}" for key in ("fastbptt", "python", "numpy", "compiler", "platform")
    ]
    lines += [
        f"{'processor':<18}{found['processor']}",
        f"{'threads':<18}{found['threads']} (this process may use {found['cores']} cores)",
        f"{'cells':<18}{', '.join(found['cells'])}",
    ]
    for i, each in enumerate(found["instruction_sets"]):
        state = "usable" if each["usable"] else "not on this machine"
        if each["name"] == found["active"]:
            state = "in use"
        head = "instruction sets" if i == 0 else ""
        lines.append(f"{head:<18}{each['name']:<{width}}  {state:<19}  {each['description']}")
    print("\n".join(lines), file=file or sys.stdout)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's name, or its architecture where the system does not give one."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    else:
        found = platform.processor()
        cpuinfo = Path("/proc/cpuinfo")
        if cpuinfo.exists():
            for line in cpuinfo.read_text(errors="replace").splitlines():
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model"):
                    found = value.strip()
                    break
    return found or platform.machine() or "unknown"
