"""Files in the ``.arff`` format of Weka, in which the UCR and UEA archives carry time series.

A header with a line ``@attribute name type`` for each column, then ``@data``, then a row for each
series; the last attribute is the class::

    @relation steps
    @attribute att0 numeric
    @attribute att1 numeric
    @attribute target {walk, run}
    @data
    0.1,0.3,walk
    0.9,?,run

Series of several channels are one cell, a table of its own: a relational attribute. ``?`` is a
missing value; lines that begin with ``%`` are comments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from . import _lines, _parsing, tables
from ._blocks import Text
from ._parsing import GAPS, Table, TextCells
from .formats import Format, setting
from .sequences import Sequences

__all__ = ["read_arff"]

_QUOTED: Final = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ATTRIBUTE: Final = re.compile(rf"@attribute\s+({_QUOTED}|[^\s{{]+)\s*(.*)", re.IGNORECASE)
# no two neighbours match the same: in time that grows with the text alone
_CELL: Final = re.compile(rf"(?:\s*({_QUOTED})\s*|([^,'\"]*))(,|$)")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_NUMBERS: Final = ("numeric", "real", "integer")
_NUMBERED: Final = re.compile(r"(.*?)(\d{1,9})")
_CASE: Final = "id"


def read_arff(
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    id: str | None = "id",
    step: str | None = "step",
    label: str | None = None,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    categories: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    label_file: str | os.PathLike[str] | None = None,
    weight: str | None = None,
    steps: str = "last",
    unlabelled: str = "error",
    classes: Sequence[str] | None = None,
    missing: str = "nan",
    dtype: Any = "float64",
    labels: bool = True,
) -> Sequences:
    """Read an ``.arff`` file: time series with a class each, or a table of steps.

    Parameters
    ----------
    path : str or os.PathLike
        The file, which may be packed by gzip.
    layout : {"wide", "long"}, optional
        "wide": each row is a series, and its numbers are the steps; each row of a relational
        attribute is a channel. "long": each row is a step, as in :func:`read_csv`, and so is each
        row of a relational attribute. By default wide, if the attributes are numbered as in
        "att0, att1, ..."; else an error.
    id, step, target, features, exclude, categories, label_file, weight, steps, unlabelled
        As for :func:`read_csv`. Series in relational attributes are numbered from 1, if there is no
        attribute `id`, and in order, if there is no attribute `step`.
    label : str, optional
        The attribute with the classes. By default the last one, if it is nominal.
    classes : sequence of str, optional
        The names of class 0, 1, ...; by default those of the attribute, in its order. For a test
        file, those of the training file.
    missing : {"nan", "interpolate", "error", "mask"}, default "nan"
        How to treat missing values, as for :func:`read_csv`. Those at the end of a series in wide
        layout are beyond its end.
    dtype : {"float32", "float64"}, default "float64"
        Of the values and of targets.
    labels : bool, default True
        False: read only the features; ``y`` is None.

    Returns
    -------
    Sequences
        In wide layout, features are named by their positions: "channel 1".

    Raises
    ------
    ValueError, TypeError
        If an argument, the header or a row is not valid, with file and line.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import read_arff
    >>> text = '''@relation steps
    ... @attribute att0 numeric
    ... @attribute att1 numeric
    ... @attribute target {walk, run}
    ... @data
    ... 0.1,0.3,walk
    ... 0.9,0.7,run
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "steps.arff")
    ...     with open(path, "w") as file:
    ...         _ = file.write(text)
    ...     data = read_arff(path)
    >>> data
    Sequences(2 sequences of 2 steps x 1 feature, 2 classes)
    >>> data.y, data.classes
    (array([0, 1]), ('walk', 'run'))
    """
    source = _check.file_path(path)
    if layout is not None:
        _check.option("layout", layout, tables.LAYOUTS)
    file = _File.read(source)
    last = file.attributes[-1]
    if label is None and target is None and label_file is None and last.names:
        label = last.name
    known = {one.name: one.names for one in file.attributes}
    nominal = known.get(label, ()) if isinstance(label, str) else ()
    bag = file.attributes[file.bag].bag if file.bag is not None else None
    if classes is None and label_file is None and labels and nominal:
        classes = nominal
    roles = (label, id, step, weight, *_listed(target), *_listed(exclude))
    used = [one for one in roles if isinstance(one, str)]  # others are refused with the table
    own = [one for one in file.attributes if one.name not in used]
    form = _layout(file, bag if bag is not None else own, layout)
    if bag is not None and step == "step" and "step" not in {one.name for one in (*bag, *own)}:
        step = None
    data = tables.read_table(
        source,
        lambda: file.table(form, id),
        tables.TableForm(None, None, None),
        id=id,
        step=step,
        label=label,
        target=target,
        features=features,
        exclude=exclude,
        categories=categories,
        label_file=label_file,
        weight=weight,
        layout="long" if bag is not None else form,
        steps=steps,
        unlabelled=unlabelled,
        classes=classes,
        missing=missing,
        dtype=dtype,
        labels=labels,
    )
    return replace(data, feature_names=("channel 1",)) if bag is None and form == "wide" else data


def _read_header(
    path: str, *, layout: str | None = None, id: str | None = "id", **options: Any
) -> list[str]:
    """Read the names of the columns; `read_arff` reports what is wrong with them."""
    try:
        file = _File.read(path)
        return list(file.table(layout or "wide", id).header)
    except ValueError:
        return []


def _read_steps(
    path: str,
    *,
    layout: str | None = None,
    id: str | None = "id",
    step: str | None = "step",
    **options: Any,
) -> list[float] | list[str] | None:
    """Read the steps of a table with an attribute for them, in the order of the sequences."""
    if layout != "long" or step is None:
        return None
    table = _File.read(path).table(layout, id)
    return tables.steps_of(table, id, step) if step in table.places else None


FORMAT: Final = Format(
    suffixes=(".arff",),
    read=read_arff,
    help="""\
a file of Weka, or of the UCR and UEA archives: a row for each series,
numbers and the class; or, with --layout long, a table as in .csv.""",
    labels="a nominal last @attribute",
    options=tuple(
        option
        for option in tables.FORMAT.options
        if option.name not in ("header", "delimiter", "decimal")
    ),
    steps=("last", "all"),
    columns=_read_header,
    step_numbers=_read_steps,
)


# ---------------------------------------------------------------- header


class _Attribute(NamedTuple):
    """A column."""

    name: str
    numeric: bool
    names: tuple[str, ...] = ()  # of a nominal attribute
    bag: tuple[_Attribute, ...] | None = None  # of a relational attribute


def _listed(names: str | Sequence[str] | None) -> Sequence[str]:
    if isinstance(names, str):
        return [names]
    return names if isinstance(names, list | tuple) else ()


def _layout(file: _File, columns: Sequence[_Attribute], given: str | None) -> str:
    """Choose the layout by the names of the columns that hold numbers."""
    if given is not None:
        return given
    found = [_NUMBERED.fullmatch(one.name) for one in columns if one.numeric]
    pairs = [(one[1], int(one[2])) for one in found if one is not None]
    steady = all(a[0] == b[0] and b[1] - a[1] == 1 for a, b in pairwise(pairs))
    if len(pairs) == len(found) > 1 and steady:
        return "wide"
    what, wide = ("row", "series") if file.bag is None else ("row of a cell", "channel")
    raise _lines.wrong(
        file.path,
        file.start,
        f"each {what} may be a {wide} or a step: the names of the numeric attributes are not "
        f"numbered throughout ({_lines.some([one.name for one in columns if one.numeric], 4)})",
        f"{setting('layout', 'wide')} for the first, {setting('layout', 'long')} for the second, "
        f"or {setting('target')} or {setting('exclude')} for the name that differs",
    )


class _File(NamedTuple):
    """The header of a file, and its rows as text."""

    path: str
    attributes: tuple[_Attribute, ...]
    start: int  # the line of @data
    rows: list[str]  # the lines behind it

    @property
    def bag(self) -> int | None:
        """The relational attribute."""
        return next((i for i, one in enumerate(self.attributes) if one.bag is not None), None)

    @staticmethod
    def read(path: str) -> _File:
        """Read up to @data."""
        lines = re.split("\r\n|\n|\r", _lines.decoded(path, _parsing.content_of(path)))
        attributes: list[_Attribute] = []
        outer: list[_Attribute] | None = None  # while within a relational attribute
        number = 0
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text[0] == "%":
                continue
            key = text.split()[0].lower()
            if key == "@data" and outer is None:
                if not attributes:
                    raise _lines.wrong(
                        path,
                        number,
                        "there is no @attribute before @data; expected one for each column (or "
                        "write the series as .csv, .npz or .ts)",
                    )
                file = _File(path, tuple(attributes), number, lines[number:])
                file.check()
                return file
            if key == "@end" and outer is not None:
                outer[-1] = outer[-1]._replace(bag=tuple(attributes))
                attributes, outer = outer, None
            elif key == "@attribute":
                one = _attribute(path, number, text)
                if one.bag is not None and (outer is not None or any(a.bag for a in attributes)):
                    raise _lines.wrong(
                        path, number, "a second relational attribute; expected one at most"
                    )
                attributes.append(one)
                if one.bag is not None:
                    attributes, outer = [], attributes
            elif key != "@relation":
                raise _lines.wrong(
                    path, number, f"{_lines.shown(text)}; expected @attribute NAME TYPE, or @data"
                )
        raise _lines.wrong(path, number, "the file ends without a line @data")

    def check(self) -> None:
        """Refuse two columns of one name."""
        names = [one.name for top in self.attributes for one in (top.bag or (top,))]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise _lines.wrong(
                self.path, self.start, f"the header has {twice!r} twice; expected it once"
            )

    def table(self, layout: str, id: str | None) -> Table:
        """Cut the rows into cells; a relational attribute becomes a row for each step.

        These have the number of their series in a column `id`, if it is called so by default.
        """
        texts = [text.strip() for text in self.rows]
        numbers = [i for i, text in enumerate(texts) if text and text[0] != "%"]
        if not numbers:
            raise _lines.wrong(self.path, None, "has no row after @data; expected at least one")
        lines = np.array(numbers, np.int32) + self.start + 1
        for i, line in zip(numbers, lines.tolist(), strict=True):
            if texts[i][0] == "{":
                raise _lines.wrong(
                    self.path, line, "the row is sparse, {index value, ...}; expected all values"
                )
        names = tuple(one.name for one in self.attributes)
        if self.bag is None and not any("'" in text or '"' in text for text in texts):
            kept = ["" if text[:1] == "%" else text for text in texts]
            head = "\n" * (self.start - 1) + "," * (len(names) - 1) + "x"  # as wide as the rows are
            content = "\n".join([head, *kept])
            table = _parsing.cut(Text(self.path, content.encode()), ",").taken(slice(1, None))
            return self._named(table, names)
        cells = [
            _cells(self.path, line, texts[i])
            for i, line in zip(numbers, lines.tolist(), strict=True)
        ]
        counts = np.array([len(names), *map(len, cells)])
        _parsing.check_widths(self.path, counts, np.append(np.int32(self.start), lines))
        if self.bag is not None:
            return self._flat(self.bag, cells, lines, layout, id)
        columns: list[Sequence[str]] = list(zip(*cells, strict=True))
        table = Table(self.path, (), {}, TextCells(columns, lines), ",")
        return self._named(table, names)

    def _flat(
        self,
        bag: int,
        cells: list[list[str]],
        lines: NDArray[np.int32],
        layout: str,
        id: str | None,
    ) -> Table:
        """Make a table of steps of rows with a relational cell."""
        inner = [one.name for one in self.attributes[bag].bag or ()]
        others = [one.name for i, one in enumerate(self.attributes) if i != bag]
        steps: list[list[str]] = []
        places: list[int] = []
        width = len(inner)
        for case, (row, line) in enumerate(zip(cells, lines.tolist(), strict=True), 1):
            parts = [part.split(",") for part in row[bag].strip("\n").split("\n")]
            if layout == "wide":
                parts = _turned(self.path, line, parts)
                width = len(parts[0]) if case == 1 else width
            for part in parts:
                if len(part) != width:
                    what = "channels" if layout == "wide" else "values in a step"
                    raise _lines.wrong(
                        self.path,
                        line,
                        f"the series has {len(part)} {what}; expected {width}, as "
                        + ("the first one" if layout == "wide" else "the header has"),
                    )
            rest = [one for i, one in enumerate(row) if i != bag]
            steps += [[str(case), *part, *rest] for part in parts]
            places += [line] * len(parts)
        if layout == "wide":
            inner = [f"channel {c + 1}" for c in range(width)]
        names = (_CASE, *inner, *others)
        columns: list[Sequence[str]] = list(zip(*steps, strict=True))
        if id != _CASE or _CASE in names[1:]:
            names, columns = names[1:], columns[1:]
        whole = Table(self.path, (), {}, TextCells(columns, np.array(places, np.int32)), ",")
        return self._named(whole, names)

    def _named(self, table: Table, names: tuple[str, ...]) -> Table:
        declared = {one.name for one in self.attributes if "?" in one.names}
        return table._replace(
            header=names,
            places={name: c for c, name in enumerate(names)},
            unknown=frozenset(names) - declared,
        )


def _turned(path: str, line: int, channels: list[list[str]]) -> list[list[str]]:
    """Turn channels into steps, without those at the end that have no value."""
    lengths = [len(one) for one in channels]
    if len(set(lengths)) > 1:
        c = next(i for i, length in enumerate(lengths) if length != lengths[0])
        raise _lines.wrong(
            path,
            line,
            f"channel {c + 1} has {lengths[c]} values; expected {lengths[0]}, as in its channel 1",
        )
    steps = [list(step) for step in zip(*channels, strict=True)]
    while steps and all(cell.strip().lower() in GAPS for cell in steps[-1]):
        steps.pop()
    if not steps:
        raise _lines.wrong(path, line, "the series has no value; expected at least one")
    return steps


def _attribute(path: str, number: int, text: str) -> _Attribute:
    found = _ATTRIBUTE.fullmatch(text)
    kind = found[2].strip() if found else ""
    if found is not None and kind:
        name, word = _plain(found[1]), kind.split()[0].lower()
        if kind[0] == "{" and kind[-1] == "}":
            names = _cells(path, number, kind[1:-1].strip())
            try:
                return _Attribute(name, False, _lines.class_names(names, name))
            except ValueError as error:
                raise _lines.wrong(path, number, str(error)) from None
        if word == "relational":
            return _Attribute(name, False, bag=())
        if word in (*_NUMBERS, "string", "date"):
            return _Attribute(name, word in _NUMBERS)
    raise _lines.wrong(
        path,
        number,
        f"{_lines.shown(text)}; expected @attribute NAME and numeric, {{NAME,NAME}}, string, date "
        "or relational",
    )


def _cells(path: str, number: int, text: str) -> list[str]:
    """Cut a row at its commas, outside of quotes."""
    cells: list[str] = []
    at = 0
    while True:
        found = _CELL.match(text, at)
        if found is None:
            raise _lines.wrong(
                path, number, f"cell {len(cells) + 1} has a quote that does not end at a comma"
            )
        cells.append(_plain(found[1] or found[2]))
        at = found.end()
        if not found[3]:
            return cells


def _plain(cell: str) -> str:
    """Take a cell out of its quotes."""
    if cell[:1] not in ("'", '"'):
        return cell.strip()
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), cell[1:-1])
