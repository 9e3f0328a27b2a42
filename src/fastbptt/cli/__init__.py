"""The command ``fastbptt``.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 failed, 2 wrong
usage, 130 interrupted.

A subcommand is one module of this package. It has ``add(subparsers)``, which adds its parser and
names, with ``set_defaults(run=...)``, the function that does the work. Parsers are made at every
start of the program, so the imports for the work are in the function that does it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final, TextIO, cast

from .. import _core
from .._errors import ArgumentError
from .._streams import Lossy

__all__ = ["SUBCOMMANDS", "main"]

#: The modules, in the order in which ``fastbptt --help`` lists them.
SUBCOMMANDS: Final = ("demo", "train", "predict", "report", "export", "gallery", "bench", "info")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed, 130 interrupted.

    Raises
    ------
    SystemExit
        With code 2 for wrong usage, and with code 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> from fastbptt.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    fastbptt ...
    0
    """
    with contextlib.ExitStack() as stack:
        before = sys.stderr
        stack.callback(setattr, sys, "stderr", before)
        # closed by the shell, as in `fastbptt train ... 2>&-`: what goes there is lost
        shown = stack.enter_context(open(os.devnull, "w")) if before is None else before
        stack.callback(_flush, shown)
        sys.stderr = cast("TextIO", Lossy(shown))
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = _show_warning
        return _run(argv)


def _flush(stream: TextIO) -> None:
    """Pass on what was written; where that fails, let the last flush of Python go nowhere."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError):
            _lose(stream)


def _lose(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _show_warning(message: Warning | str, *place: Any, **options: Any) -> None:
    """Show a warning as a note, without the line of code from which it comes."""
    print(f"fastbptt: note: {message}", file=sys.stderr)


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments, unknown = _program().parse_known_args(argv)
        parser = vars(arguments).pop("parser")
        if unknown:  # with the usage of the subcommand, not of the program
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        arguments.words = list(sys.argv[1:] if argv is None else argv)
        if isinstance(sys.stdout, io.TextIOWrapper):  # names that a terminal cannot show: \xe4
            sys.stdout.reconfigure(errors="backslashreplace")
        if arguments.threads is not None:
            _set_threads(arguments.threads)
        arguments.run(arguments)
        if sys.stdout is not None:  # closed by the shell, as in `fastbptt train ... >&-`
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("fastbptt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (as in `fastbptt info | head -1`): let the last flush go nowhere.
        _lose(sys.stdout)
        return 1
    except (ValueError, ImportError, OSError, MemoryError) as error:
        if isinstance(error, ImportError) and _interrupted(error):
            print("fastbptt: interrupted", file=sys.stderr)
            return 130
        print(f"fastbptt: error: {_described(error)}", file=sys.stderr)
        return 1
    return 0


def _set_threads(count: int) -> None:
    try:
        _core.set_num_threads(count)
    except ArgumentError as error:
        error.argument = "--threads"
        raise


def _interrupted(error: BaseException | None) -> bool:
    """Whether it comes from Ctrl-C, of which the import of an extension makes an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _described(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


def _program() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastbptt",
        description="Train recurrent networks by backpropagation through time on the CPU.",
        epilog="Start with: fastbptt demo",
    )
    parser.add_argument("--version", action="version", version=f"fastbptt {_core.version}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in SUBCOMMANDS:
        importlib.import_module(f".{name}", __name__).add(subparsers)
    return parser
