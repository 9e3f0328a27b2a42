"""``fastbptt info``: versions, processor, instruction sets and threads; or what a model is."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from . import _parser

__all__ = ["add"]


def add(subparsers: _parser.Subparsers) -> None:
    """Add the parser of ``fastbptt info``."""
    parser = _parser.add_subcommand(
        subparsers,
        "info",
        "Print versions, processor, instruction sets and threads, or what a model is",
        details="""\
With MODEL: its cell, sizes and parameters, what it was trained on, and the
version of its file.""",
        epilog="Example: fastbptt info moves.safetensors",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a file that `fastbptt train -o` or a model's save wrote",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from .. import config

    if arguments.model is not None:
        if arguments.threads is not None:
            raise ValueError("--threads has no effect on what a model is; expected no --threads")
        found = _about(arguments.model)
        print(_parser.as_json(found) if arguments.json else _text(found))
    elif arguments.json:
        print(json.dumps(config.info(), indent=2))
    else:
        config.show_config()


def _about(path: str) -> dict[str, Any]:
    """Collect what a model's file tells."""
    from ..files import safetensors
    from ..models.restoring import load
    from . import _task

    model = load(path)
    with open(path, "rb") as file:
        header = safetensors.read_header(file, os.fstat(file.fileno()).st_size).metadata
    task, notes = _task.of(model, path), model.metadata
    history = notes.get("history")
    epochs = history.get("epoch") if isinstance(history, dict) else None
    return {
        "model": path,
        "format_version": header["format_version"],
        "written_by": header.get("written_by"),
        "network": repr(model).partition("  #")[0],
        "cell": model.cell,
        "input_size": model.input_size,
        "hidden_size": model.hidden_size,
        "output_size": model.output_size,
        "num_layers": model.num_layers,
        "bidirectional": model.bidirectional,
        "dtype": model.dtype.name,
        "parameters": model.num_parameters,
        "bytes": model.parameters.flat.nbytes,
        "task": task.kind,
        "loss": None if task.loss is None else str(task.loss),
        "steps": task.steps if task.kind else None,
        "classes": task.classes,
        "targets": task.columns.target,
        "features": task.features,
        "standardized": task.standardizer is not None,
        "missing": task.missing if task.kind else None,
        "trained_on": notes.get("trained_on"),
        "epochs": len(epochs) if isinstance(epochs, list) else None,
    }


def _text(found: dict[str, Any]) -> str:
    from .. import _check

    def listed(names: Any) -> str:
        some = [_check.one_line(name, 40) for name in names[:12]]
        return ", ".join(some) + f" and {len(names) - 12} more" * (len(names) > 12)

    treated = ["standardised"] if found["standardized"] else []
    treated += {
        "interpolate": ["missing values interpolated"],
        "mask": ["with indicators of missing values"],
    }.get(found["missing"], [])
    features = listed(found["features"]) if found["features"] else str(found["input_size"])
    lines = {
        "file": f"{found['model']} (format {found['format_version']}, written by fastbptt "
        f"{found['written_by']})",
        "network": found["network"],
        "parameters": f"{found['parameters']}, {_check.bytes_text(found['bytes'])}",
        "features": features + "".join(f"; {one}" for one in treated),
        "task": found["task"] and f"{found['task']}, steps: {found['steps']}",
        "loss": found["loss"],
        "classes": found["classes"] and listed(found["classes"]),
        "targets": found["targets"] and listed(found["targets"]),
        "trained on": found["trained_on"] and _check.one_line(found["trained_on"], 200),
        "epochs": found["epochs"],
    }
    return "\n".join(f"{key:<18}{value}" for key, value in lines.items() if value is not None)
