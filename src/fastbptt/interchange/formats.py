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
    switch : bool
        Whether it has no value: it is given, or not.
    """

    name: str
    flag: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] = str
    switch: bool = False


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
    title : str
        For help and messages.
    suffixes : tuple of str
        Endings of its files, in lower case, with the dot; those of no other format.
    write : callable
        ``write(model, path, **options)`` writes a model and returns `Written`.
    read : callable or None
        ``read(path, **options)`` returns the model of a file; None: files of this format are
        not read.
    read_options : tuple of str
        Names of options that `read` takes as well.
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
    read: Callable[..., Recurrent] | None = None
    read_options: tuple[str, ...] = ()
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


def _write_keras(model: Recurrent, path: str, **options: Any) -> Written:
    from .keras_layers import to_keras

    to_keras(model, **options).save(path)
    return Written((path,))


def _read_keras(path: str) -> Recurrent:
    from .keras_layers import from_keras

    return from_keras(path)


def _write_nam(model: Recurrent, path: str, **options: Any) -> Written:
    from .nam import to_nam

    to_nam(model, path, **options)
    return Written((path,))


def _read_nam(path: str) -> Recurrent:
    from .nam import from_nam

    return from_nam(path)


def _write_rtneural(model: Recurrent, path: str, **options: Any) -> Written:
    from .rtneural import to_rtneural

    to_rtneural(model, path, **options)
    return Written((path,))


def _read_rtneural(path: str, **options: Any) -> Recurrent:
    from .rtneural import from_rtneural

    return from_rtneural(path, **options)


_SAMPLE_RATE: Final = ExportOption(
    "sample_rate", "--sample-rate", "of the recordings, in hertz", "HZ", parse=float
)
_SKIP: Final = ExportOption(
    "skip",
    "--skip",
    "the player adds the input to the network's output; so does that of a MODEL in JSON",
    switch=True,
)
_STEPS: Final = ExportOption(
    "steps",
    "--steps",
    "what the readout sees (default: as in training)",
    choices=_check.READOUTS,
)
_ACTIVATION: Final = ExportOption(
    "activation",
    "--activation",
    "a function at the end, which makes probabilities of outputs",
    choices=("sigmoid", "softmax"),
)
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
            options=(
                _STEPS,
                _ACTIVATION,
                _DTYPE,
                ExportOption(
                    "lengths", "--lengths", "an input: how many steps sequences have", switch=True
                ),
                ExportOption(
                    "states",
                    "--states",
                    "the initial state as an input, the final state as an output",
                    switch=True,
                ),
                ExportOption(
                    "single_step",
                    "--single-step",
                    "compute one step: state in, state out",
                    switch=True,
                ),
                ExportOption(
                    "opset",
                    "--opset",
                    "version of ONNX's operators, 14 to 22 (default: 17)",
                    "N",
                    parse=int,
                ),
            ),
        ),
        ExportFormat(
            "keras",
            "Keras",
            (".keras",),
            _write_keras,
            _read_keras,
            options=(_STEPS, _ACTIVATION),
            package="keras",
        ),
        ExportFormat(
            "nam",
            "Neural Amp Modeler",
            (".nam",),
            _write_nam,
            _read_nam,
            options=(_SAMPLE_RATE, _SKIP),
        ),
        ExportFormat(
            "rtneural",
            "RTNeural, AIDA-X, GuitarML",
            (".json",),
            _write_rtneural,
            _read_rtneural,
            read_options=("skip",),
            options=(
                ExportOption(
                    "form", "--form", "whose layout of JSON", choices=("keras", "torch", "guitarml")
                ),
                _SAMPLE_RATE,
                _SKIP,
            ),
        ),
    )
}


def _of_suffix(path: str) -> ExportFormat | None:
    suffix = os.path.splitext(path)[1].lower()
    return next((one for one in FORMATS.values() if suffix in one.suffixes), None)


def find(path: str) -> ExportFormat:
    """Return the format of a file to be written, which its suffix tells.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> find("filter.c").title
    'C99 source and header'
    """
    found = _of_suffix(path)
    if found is None:
        suffix = os.path.splitext(path)[1]
        known = ", ".join(f"{'/'.join(one.suffixes)} ({one.title})" for one in FORMATS.values())
        came = f"ends in {suffix}, which is no format" if suffix else "has no suffix"
        raise ValueError(f"{path} {came}; expected a name that ends in one of {known}")
    return found


def read(path: str, **options: Any) -> Recurrent:
    """Read a model, from our own file or in a format of others, by its suffix.

    Parameters
    ----------
    path : str
    **options
        Of them those that the format's reader takes are used.

    Examples
    --------
    >>> import os, tempfile, fastbptt
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fastbptt.RNN(3, 4, 1, seed=0).save(path)
    >>> read(path)
    RNN(3, 4, 1, dtype="float32")  # 37 parameters, 148 bytes
    """
    form = _of_suffix(path)
    if form is None or form.read is None:
        return load(path)
    return form.read(path, **{one: options[one] for one in form.read_options if one in options})
