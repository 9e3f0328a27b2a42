"""Data files as the command line takes them: their options and their form."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from ..datasets._files import some

Steps: TypeAlias = Literal["last", "all"]

FORMATS: Final = """\
Formats of DATA, by its suffix:
  .csv  a header, and one row for each step of each sequence, for example
            id,step,speed,height,label
            a,1,0.5,2.0,walk
            a,2,0.7,2.1,walk
            b,1,3.1,2.4,run
        In place of a label a row may have numbers to predict (--target-column).
  .npz  arrays x (sequences, steps, features) and y; lengths, where they differ.
        Whole numbers and names in y are classes, floats are numbers to predict.
  .ts   a file of the UCR and UEA archives.
"""

#: What files without labels lack.
LABELS: Final = (
    'a column "label" (or --label-column, --target-column), an array y, or @classLabel true'
)

# Arguments of the readers, which their messages name, and what they are called here.
_OPTIONS: Final = {
    "id": "--id-column",
    "step": "--step-column",
    "label": "--label-column",
    "target": "--target-column",
    "features": "--feature-columns",
    "delimiter": "--delimiter",
    "missing": "--missing",
    "dtype": "--dtype",
    "steps": "--steps",
}
_HINT: Final = re.compile(
    rf"\b({'|'.join(_OPTIONS)})=(None|\"[^\"]*\"|'[^']*')?"  # step=None, steps="all", (id=)
)
_ARGUMENT: Final = re.compile(rf"^({'|'.join(_OPTIONS)})(?= (is|has) )")
_AS_STEPS: Final = "; expected the same on all its rows, or --steps all"
NO_COLUMN: Final = "none"
_CSV_ONLY: Final = ("id", "step", "label", "target", "features", "delimiter")
_UNNAMED: Final = re.compile(r"(feature|channel) \d+")  # how readers call what has no name


class Columns(NamedTuple):
    """Which columns of a table mean what; None: as :func:`fastbptt.datasets.read_csv` has it."""

    id: str | None = None
    step: str | None = None
    label: str | None = None
    target: list[str] | None = None
    features: list[str] | None = None
    delimiter: str | None = None

    def options(self) -> dict[str, Any]:
        """What of it the reader is to be told."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        for name in ("id", "step"):
            if given.get(name) == NO_COLUMN:
                given[name] = None
        if self.target is not None and len(self.target) == 1:
            given["target"] = self.target[0]
        return given


def add_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that say how DATA is to be read."""
    group = parser.add_argument_group("columns and gaps of the data")
    group.add_argument(
        "--id-column",
        metavar="NAME",
        help='which sequence a row belongs to (default: id; "none": the file is one sequence)',
    )
    group.add_argument(
        "--step-column",
        metavar="NAME",
        help='puts the rows of a sequence in order (default: step; "none": they are in order)',
    )
    learnt = group.add_mutually_exclusive_group()
    learnt.add_argument("--label-column", metavar="NAME", help="names of classes (default: label)")
    learnt.add_argument(
        "--target-column",
        metavar="NAME[,NAME]",
        type=_columns,
        help="numbers to predict, in place of classes",
    )
    group.add_argument(
        "--feature-columns",
        metavar="NAME[,NAME]",
        type=_columns,
        help="what the network reads (default: all other columns)",
    )
    group.add_argument(
        "--delimiter",
        metavar="C",
        type=lambda text: "\t" if text == r"\t" else text,  # as messages write it
        help=r"between the cells of a row (default: ,); \t: a tab",
    )
    group.add_argument(
        "--missing",
        choices=("error", "interpolate"),
        default="error",
        help="missing numbers among the features: refuse them, or take the straight line between "
        "their neighbours in the sequence (default: error)",
    )
    return group


def columns(arguments: argparse.Namespace) -> Columns:
    """Read the columns from the options."""
    return Columns(
        arguments.id_column,
        arguments.step_column,
        arguments.label_column,
        arguments.target_column,
        arguments.feature_columns,
        arguments.delimiter,
    )


def _columns(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


# ---------------------------------------------------------------- reading


def read(
    path: str, columns: Columns, *, steps: Steps | None, **options: Any
) -> tuple[datasets.Sequences, Steps, str]:
    """Read a file.

    Parameters
    ----------
    path : str
        The file.
    columns : Columns
        For tables.
    steps : {"last", "all"} or None
        Whether there is a label for each sequence or for each step; None: found out.
    **options
        ``missing``, ``dtype`` and what else the reader takes.

    Returns
    -------
    data : fastbptt.datasets.Sequences
    steps : {"last", "all"}
        Which it is.
    why : str
        Why it was found to be so, where that may surprise.

    Raises
    ------
    ValueError
        About the file, with the names that its hints have on the command line.
    """
    suffix = Path(path).suffix.lower()
    given = columns.options()
    if suffix != ".npz" and options.get("tokens"):
        raise ValueError(f"{path}: tokens are read from .npz files alone; expected one")
    if suffix != ".csv":
        if given and suffix in (".npz", ".ts"):
            name = next(name for name in _CSV_ONLY if name in given)
            raise ValueError(f"{path}: {_OPTIONS[name]} is for .csv files; expected none")
        if suffix == ".ts":
            if steps == "all":
                raise ValueError(f"{path}: a .ts file has no labels for each step; expected .csv")
            return _said(path, options), "last", ""
    options |= given
    # What fits one form rarely fits the other: a label that changes within its sequence, or does
    # not stand on each row; an array y with an axis for steps.
    forms: list[Steps] = ["last", "all"] if suffix == ".csv" else ["all", "last"]
    failures: dict[Steps, ValueError] = {}
    for form in [steps] if steps else forms:
        try:
            data = _said(path, {**options, "steps": form})
            why = str(failures["last"]) if suffix == ".csv" and failures else ""
            return data, form, why.removesuffix(_AS_STEPS)
        except ValueError as error:
            failures[form] = error
    raise failures[steps or "last"]


def _said(path: str, options: dict[str, Any]) -> datasets.Sequences:
    """Read a file; hints in messages get the names that the options have here."""
    try:
        return datasets.read(path, **options)
    except ValueError as error:
        text = str(error).replace('missing="nan" or "interpolate"', 'missing="interpolate"')
        text = _ARGUMENT.sub(lambda found: _OPTIONS[found[0]], text)
        raise ValueError(_HINT.sub(_option, text)) from None


def _option(hint: re.Match[str]) -> str:
    value = hint[2]
    if value is None:
        return _OPTIONS[hint[1]]
    if value[0] == '"':
        value = value[1:-1]
    return f"{_OPTIONS[hint[1]]} {NO_COLUMN if value == 'None' else value}"


def header(path: str, delimiter: str | None) -> list[str]:
    """Read the names of a table's columns; what is wrong with them is the reader's affair."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            rows = csv.reader(file, delimiter=delimiter or ",")
            return [name.strip() for name in next((row for row in rows if row), [])]
        except csv.Error:
            return []


def named(features: Sequence[str]) -> bool:
    """Whether features have names of their own."""
    return not all(_UNNAMED.fullmatch(name) for name in features)


def with_features(
    data: datasets.Sequences, path: str, wanted: Sequence[str], whose: str
) -> datasets.Sequences:
    """Check features by number and, where both sides have them, names; put them in order.

    Parameters
    ----------
    data : Sequences
        From `path`.
    path : str
    wanted : sequence of str
        The features that are expected.
    whose : str
        Who expects them, for messages: "model.safetensors was trained on".
    """
    names = data.feature_names
    by_name = named(names) and named(wanted)
    if len(names) != len(wanted) or (by_name and set(names) != set(wanted)):
        has, expected = (
            f"{len(each)} features" + (f" ({some(each)})" if by_name else "")
            for each in (names, wanted)
        )
        raise ValueError(f"{path}: there are {has}; {whose} {expected}")
    if not by_name or tuple(names) == tuple(wanted):
        return data
    order = [names.index(name) for name in wanted]
    x = [one[:, order] for one in data.x] if isinstance(data.x, list) else data.x[..., order]
    return replace(data, x=x, feature_names=tuple(wanted))


def pick(data: datasets.Sequences, rows: NDArray[np.int64]) -> datasets.Sequences:
    """Take some of the sequences."""

    def some_of(values: Any) -> Any:
        return [values[i] for i in rows] if isinstance(values, list) else values[rows]

    y = None if data.y is None else some_of(data.y)
    return replace(data, x=some_of(data.x), y=y, ids=tuple(data.ids[i] for i in rows))


def flat(values: Any, steps: str) -> NDArray[Any]:
    """Lay what belongs to each sequence, or to each of its steps, one after the other."""
    if isinstance(values, list):
        return np.concatenate(values)
    array = np.asarray(values)
    return array.reshape(-1, *array.shape[2:]) if steps == "all" else array
