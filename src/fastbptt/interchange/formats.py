"""The formats in which a trained model can be handed on: what ``fastbptt export`` writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import _check
from ..c_source.literals import INTEGERS
from ..files import safetensors
from ..models.restoring import load

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent

__all__ = ["FORMATS", "ExportFormat", "ExportOption", "Written", "find", "read"]


class ExportOption(NamedTuple):
    """An argument of a format's writer that the command line offers as an option.

    Attributes
    ----------
    name : str
        The writer's argument. The command line reads the file that ``data`` names.
    flag : str
    help : str
    metavar : str or None
    choices : tuple of str
        The only values; empty: any.
    parse : callable
        Makes the argument of the option's text.
    """

    name: str
    flag: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] = str


class Written(NamedTuple):
    """The outcome of writing a model.

    Attributes
    ----------
    files : tuple of str
    lines : tuple of str
        What else to tell the user.
    numbers : dict
        The same for ``--json``.
    """

    files: tuple[str, ...]
    lines: tuple[str, ...] = ()
    numbers: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it


class ExportFormat(NamedTuple):
    """A format.

    Attributes
    ----------
    name : str
        As ``--format`` has it.
    title : str
        For help and messages.
    suffixes : tuple of str
        Endings of its files, in lower case, with the dot. Several formats may have the same.
    write : callable
        ``write(model, path, **options)`` writes a model and returns `Written`.
    read : callable or None
        ``read(path)`` returns the model of a file; None: files of this format are not read.
    beside : tuple of str
        Endings of further files, which stand beside the first.
    applies_task : bool
        Whether `write` takes ``standardizer``, ``imputer``, ``loss`` and ``raw``, so that the files
        read what the command line reads and give what it predicts.
    options : tuple of ExportOption
    package : str or None
        The extra that it needs: ``pip install 'fastbptt[PACKAGE]'``.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    write: Callable[..., Written]
    read: Callable[[str], Recurrent] | None = None
    beside: tuple[str, ...] = ()
    applies_task: bool = False
    options: tuple[ExportOption, ...] = ()
    package: str | None = None


def _write_c(model: Recurrent, path: str, **options: Any) -> Written:
    made = model.export_c(path, **options)
    memory = " and ".join(
        f"{_check.bytes_text(count)} {what}"
        for count, what in ((made.state, "per state"), (made.stack, "of stack"))
    )
    lines = [f"Memory: {_check.bytes_text(made.constants)} of constants, {memory}"]
    if made.output_error is not None:
        lines.append(f"Outputs are off by at most {made.output_error:.2g} on these data")
    elif made.weights in INTEGERS:
        lines.append("What the rounding changes was not measured; --data FILE measures it")
    lines.append(
        f"Functions: {', '.join(f'{made.name}_{one}' for one in ('reset', 'step', 'run'))}"
    )
    return Written((made.source, made.header), tuple(lines), made._asdict())


def _write_onnx(model: Recurrent, path: str, **options: Any) -> Written:
    from .onnx_writing import to_onnx

    to_onnx(model, path, **options)
    return Written((path,))


def _read_onnx(path: str) -> Recurrent:
    from .onnx_reading import from_onnx

    return from_onnx(path)


_DTYPE: Final = ExportOption(
    "dtype",
    "--dtype",
    "of all other numbers: float or double (default: the model's)",
    choices=tuple(safetensors.DTYPES),
)

#: The formats by name, in the order in which help lists them.
FORMATS: Final[dict[str, ExportFormat]] = {
    one.name: one
    for one in (
        ExportFormat(
            "c",
            "C99 source and header",
            (".c",),
            _write_c,
            beside=(".h",),
            applies_task=True,
            options=(
                ExportOption("name", "--name", "names in C begin with it (default: OUT)", "NAME"),
                ExportOption(
                    "weights",
                    "--weights",
                    "round weights to integers, to save memory",
                    choices=tuple(INTEGERS),
                ),
                _DTYPE,
                ExportOption(
                    "data",
                    "--data",
                    "sequences on which to measure what rounded weights change",
                    "DATA",
                ),
            ),
        ),
        ExportFormat(
            "onnx",
            "ONNX",
            (".onnx",),
            _write_onnx,
            _read_onnx,
            options=(_DTYPE,),
        ),
    )
}


def find(path: str, name: str | None = None) -> ExportFormat:
    """Return the format of a file to be written.

    Parameters
    ----------
    path : str
    name : str, optional
        Needed where several formats have the path's suffix.

    Raises
    ------
    ValueError
        If there is none, or more than one.

    Examples
    --------
    >>> find("filter.c").title
    'C99 source and header'
    """
    suffix = os.path.splitext(path)[1].lower()
    found = [one for one in FORMATS.values() if suffix in one.suffixes]
    if name is not None:
        chosen = FORMATS[name]
        if chosen not in found:
            expected = " or ".join(chosen.suffixes)
            raise ValueError(
                f"{path}: expected a file that ends in {expected}, for --format {name}"
            )
        return chosen
    if not found:
        known = ", ".join(f"{'/'.join(one.suffixes)} ({one.title})" for one in FORMATS.values())
        raise ValueError(f"{path}: no format ends in {suffix or 'nothing'}; expected {known}")
    if len(found) > 1:
        choices = " or ".join(f"--format {one.name} ({one.title})" for one in found)
        raise ValueError(f"{path}: several formats end in {suffix}; expected {choices}")
    return found[0]


def read(path: str) -> Recurrent:
    """Read a model, from our own file or in a format of others, by its suffix.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fastbptt.RNN(3, 4, 1, seed=0).save(path)
    >>> read(path)
    RNN(3, 4, 1, dtype="float32")  # 37 parameters, 148 bytes
    """
    suffix = os.path.splitext(path)[1].lower()
    found = [one for one in FORMATS.values() if suffix in one.suffixes and one.read is not None]
    if len(found) > 1:
        names = ", ".join(one.title for one in found)
        raise ValueError(f"{path}: several formats end in {suffix} ({names}); read it in Python")
    if found and found[0].read is not None:
        return found[0].read(path)
    return load(path)
