"""Data files on the command line: options, reading, and the form of the labels."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from .._targets import is_zero_or_one
from ..datasets import formats
from ..datasets._lines import NO_CLASS, FileError, some
from ..datasets.formats import Option

if TYPE_CHECKING:
    from ..training.batches import Augmentation

Steps: TypeAlias = Literal["last", "all", "mean", "max"]

MISSING: Final = ("error", "interpolate", "mask")
# Options for the arguments that readers of all formats take.
_COMMON: Final = (
    Option("missing", "--missing", choices=MISSING),
    Option("dtype", "--dtype"),
    Option("steps", "--steps"),
)
_OF_LABELS: Final = ("label_file", "unlabelled")  # options without a use in a later prediction
NO_COLUMN: Final = "none"
_UNNAMED: Final = re.compile(r"(feature|channel) \d+")  # the readers' names for unnamed features


class Columns(NamedTuple):
    """Columns of a table; None: the default of :func:`fastbptt.datasets.read_csv`."""

    id: str | None = None
    step: str | None = None
    label: str | None = None
    target: list[str] | None = None
    features: list[str] | None = None
    delimiter: str | None = None
    other: dict[str, Any] | None = None  # options of other formats, by the reader's argument

    def options(self) -> dict[str, Any]:
        """Return the options that are given, as arguments of the reader."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        given |= given.pop("other", {})
        for name in ("id", "step"):
            if given.get(name) == NO_COLUMN:
                given[name] = None
        if self.target is not None and len(self.target) == 1:
            given["target"] = self.target[0]
        return given

    def like(self, data: datasets.Sequences) -> Columns:
        """Return the options that read another file to the features of `data`."""
        other = {name: one for name, one in (self.other or {}).items() if name not in _OF_LABELS}
        if other.get("layout") == "wide":
            return self._replace(other=other)
        if data.categories is not None:
            other["categories"] = {name: list(one) for name, one in data.categories.items()}
        if not named(data.feature_names):
            return self._replace(other=other or None)
        other.pop("exclude", None)
        return self._replace(features=self.sources(data.feature_names, other), other=other or None)

    @staticmethod
    def sources(features: Sequence[str], other: dict[str, Any]) -> list[str]:
        """Name the columns from which features come: a category has several."""
        column = {
            f"{name}={one}": name
            for name, names in (other.get("categories") or {}).items()
            for one in names
        }
        return list(dict.fromkeys(column.get(name, name) for name in features))

    def fitting(self, path: str) -> Columns:
        """Keep the options that the format of a file has."""
        names = {option.name for option in formats.find(path).options}
        other = {name: value for name, value in (self.other or {}).items() if name in names}
        own = {name: value for name, value in self._asdict().items() if name in names}
        return Columns(**own, other=other or None)


def add_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options for reading DATA."""
    group = parser.add_argument_group("data columns and missing values")
    exclusive: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for option in formats.options():
        place: argparse._ActionsContainer = group
        if option.group:
            if option.group not in exclusive:
                exclusive[option.group] = group.add_mutually_exclusive_group()
            place = exclusive[option.group]
        place.add_argument(
            option.flag,
            metavar=option.metavar,
            type=option.parse,
            choices=option.choices or None,
            help=option.help,
        )
    group.add_argument(
        "--missing",
        choices=MISSING,
        help="missing values: report an error; interpolate features linearly within the sequence; "
        "or mask: features are 0 after standardisation, with an input that tells where they are "
        "missing, and missing labels do not count (default: error; predict: as in training)",
    )
    return group


def columns(arguments: argparse.Namespace) -> Columns:
    """Read the columns from the options."""
    given = {
        option.name: getattr(arguments, option.flag.lstrip("-").replace("-", "_"))
        for option in formats.options()
    }
    known = {name: given.pop(name) for name in Columns._fields if name in given}
    other = {name: value for name, value in given.items() if value is not None}
    return Columns(**known, other=other or None)


def formats_help() -> str:
    """Describe the formats of DATA, for ``--help``."""
    lines = ["Formats of DATA, by its suffix:"]
    for file_format in formats.formats():
        heading = ", ".join(file_format.suffixes)
        if len(heading) > 16:
            lines.append(f"  {heading}")
            heading = ""
        for line in file_format.help.splitlines():
            lines.append(f"  {heading:4}  {line}")
            heading = ""
    return "\n".join(lines)


def missing_labels() -> str:
    """Name the places where each format holds labels, for messages."""
    *most, last = [file_format.labels for file_format in formats.formats()]
    return f"{', '.join(most)}, or {last}" if most else last


# ---------------------------------------------------------------- reading


def read(
    path: str, columns: Columns, *, steps: Steps | None, **options: Any
) -> tuple[datasets.Sequences, Steps]:
    """Read a file.

    Parameters
    ----------
    path : str
        The file.
    columns : Columns
        For tables.
    steps : str or None
        One label per sequence, or with "all" one per step; None: as the file has them, if it shows
        that, else one per sequence.
    **options
        ``missing``, ``dtype`` and other arguments of the reader.

    Returns
    -------
    data : fastbptt.datasets.Sequences
    steps : str
        As given; else "last" or "all", the form of the labels.

    Raises
    ------
    ValueError
        About the file; hints name the options of the command line.
    """
    file_format = formats.find(path)
    given = columns.options()
    if options.get("tokens") and not file_format.takes("tokens"):
        able = formats.suffixes(lambda other: other.takes("tokens"))
        raise ValueError(f"{path}: tokens are read from {able} files alone; expected one")
    for option in formats.options():
        if option.name in given and option not in file_format.options:
            able = formats.suffixes(partial(_has, option))
            raise ValueError(f"{path}: {option.flag} is for {able} files; expected none")
    options |= given
    if "all" not in file_format.steps:
        if steps == "all":
            able = formats.suffixes(lambda other: "all" in other.steps)
            own = Path(path).suffix.lower()
            raise ValueError(f"{path}: a {own} file has no labels for each step; expected {able}")
        return _named(path, options), steps or "last"
    # An array y has an axis for steps, or has none. A label that changes within its sequence is an
    # error, as it may be mistyped; but of a single sequence one number alone is nothing to learn.
    failures: dict[str, ValueError] = {}
    known = {None: file_format.steps, "all": ("all",)}.get(steps, ("last",))
    for form in known:
        try:
            data = _named(path, {**options, "steps": form})
        except ValueError as error:
            failures[form] = error
            continue
        if form == "last" or "last" not in failures or (len(data) == 1 and data.classes is None):
            if options.get("classes") == ZERO_ONE and formats.find(path).by_dtype:
                data = zeros_and_ones(path, data)
            return data, steps or cast("Steps", form)
    raise failures["last" if "last" in known else "all"]


ZERO_ONE: Final = ("0", "1")  # the classes that zeros and ones are, written as floats


def zeros_and_ones(path: str, data: datasets.Sequences) -> datasets.Sequences:
    """Make classes of labels that are to be the classes 0 and 1, if they are floats."""
    if data.classes is not None or data.y is None:
        return data
    parts = data.y if isinstance(data.y, list) else [data.y]
    whole = []
    for part in parts:
        there = part[~np.isnan(part)]
        if not is_zero_or_one(there):
            other = there[(there != 0) & (there != 1)][0].item()
            raise ValueError(f"{path}: y holds {other:g}; expected the classes 0 and 1")
        whole.append(np.where(np.isnan(part), NO_CLASS, part).astype(np.int64))
    y = whole if isinstance(data.y, list) else whole[0]
    return replace(data, y=y, classes=ZERO_ONE)


def suggestion(words: Sequence[str], path: str, columns: Columns, steps: Steps | None) -> str:
    """Suggest what to add to a command's words so that it reads the table; empty: nothing.

    Where numbers of the table could not be read at all, tell this instead.
    """
    find = formats.find(path).suggested
    given = columns.options() | ({} if steps is None else {"steps": steps})
    known = {option.name: option for option in (*formats.options(), *_COMMON)}
    try:
        with formats.named_by(known):
            found = None if find is None else find(path, given)
    except FileError as error:
        return f"\n{error}"
    if not found:
        return ""
    words = ["fastbptt", *words]
    for name, value in found.items():
        text = NO_COLUMN if value is None else value
        words += [known[name].flag, ",".join(text) if isinstance(text, list | tuple) else str(text)]
    table = formats.find(path).columns is not None
    condition = ", if these columns mean what it says" * table
    return f"\nFor example{condition}:\n  {shlex.join(words)}"


def _has(option: Option, file_format: formats.Format) -> bool:
    return option in file_format.options


def _named(path: str, options: dict[str, Any]) -> datasets.Sequences:
    """Read a file; messages name the options that the command line has."""
    known = {option.name: option for option in (*formats.options(), *_COMMON)}
    with formats.named_by(known):
        return datasets.read(path, **options)


def named(features: Sequence[str]) -> bool:
    """Whether features have names of their own."""
    return not all(_UNNAMED.fullmatch(name) for name in features)


def with_features(
    data: datasets.Sequences, path: str, wanted: Sequence[str], whose: str
) -> datasets.Sequences:
    """Check the number of features and, where both sides have them, names; put them in order.

    Parameters
    ----------
    data : Sequences
        The contents of `path`.
    path : str
    wanted : sequence of str
        The expected features.
    whose : str
        Start of the expectation in messages: "model.safetensors was trained on".
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

    y, times, weights = (
        None if one is None else some_of(one) for one in (data.y, data.times, data.weights)
    )
    ids = tuple(data.ids[i] for i in rows)
    return replace(data, x=some_of(data.x), y=y, ids=ids, times=times, weights=weights)


def known(y: Any, steps: str) -> NDArray[np.bool_]:
    """Tell which labels are there: (labels,), one after the other."""
    values = flat(y, steps)
    if values.dtype.kind != "f":
        return np.asarray(values != NO_CLASS)
    return np.asarray(~np.isnan(values.reshape(len(values), -1)).any(axis=1))


def counted(data: datasets.Sequences, steps: str) -> NDArray[np.bool_]:
    """Tell which labels are there and have a weight: (labels,), one after the other."""
    there = known(data.y, steps)
    return there if data.weights is None else there & (flat(data.weights, steps) > 0.0)


def flat(values: Any, steps: str) -> NDArray[Any]:
    """Concatenate values per sequence or, with ``steps="all"``, per step."""
    if isinstance(values, list):
        return np.concatenate(values)
    array = np.asarray(values)
    return array.reshape(-1, *array.shape[2:]) if steps == "all" else array


def gaussian_noise(deviation: float) -> Augmentation:
    """Make an ``augment`` for `fastbptt.fit` that adds fresh noise to each batch."""

    def add(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        x += x.dtype.type(deviation) * rng.standard_normal(x.shape, x.dtype)
        return x

    return add
