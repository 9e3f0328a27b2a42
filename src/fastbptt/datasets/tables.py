"""Sequences in tables, ``.csv``.

A table in long format: a column says which sequence a row belongs to, one says where in the
sequence it stands, the others hold the features of that step, and the labels::

    id,step,speed,height,label
    a,1,0.5,2.0,walk
    a,2,0.7,2.1,walk
    b,1,3.1,2.4,run
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from . import _lines, _times
from .formats import Format, Option, argument, setting
from .sequences import Sequences, joined

__all__ = ["read_csv"]

_GAPS: Final = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
_LABEL: Final = "label"
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


def read_csv(
    path: str | os.PathLike[str],
    *,
    id: str | None = "id",
    step: str | None = "step",
    label: str | None = None,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    steps: str = "last",
    classes: Sequence[str] | None = None,
    delimiter: str = ",",
    missing: str = "nan",
    dtype: Any = "float32",
    labels: bool = True,
) -> Sequences:
    """Read a table with a header and one row for each step of each sequence.

    Sequences come in the order in which their first rows stand; rows of different sequences may
    be mixed. Columns that no argument names hold the features.

    Parameters
    ----------
    path : str or os.PathLike
        The file, in UTF-8.
    id : str or None, default "id"
        The column that says which sequence a row belongs to; None: the file is one sequence.
    step : str or None, default "step"
        The column of numbers, or of ISO dates and times, by which the rows of a sequence are put
        in order; only their order counts, not how far apart they are. None: they are already in
        order; an error if an unused column of dates shows that they are not.
    label : str, optional
        The column with the names of classes. By default the column "label", if there is one that
        is not empty throughout.
    target : str or sequence of str, optional
        The column or columns with numbers to predict, in place of classes.
    features : sequence of str, optional
        The columns to read as features, in this order. By default all that `id`, `step`, `label`
        and `target` do not name, except a column "label".
    steps : {"last", "all"}, default "last"
        "last": one label or target for each sequence; its rows agree or are empty. "all": one for
        each row.
    classes : sequence of str, optional
        The names of class 0, 1, ...; by default those that occur, sorted (by value if all are
        numbers). For a test file, those of the training file.
    delimiter : str, default ","
        The separator of the cells of a row.
    missing : {"nan", "interpolate", "error"}, default "nan"
        How to treat empty cells, ``?``, ``NA``, ``NaN`` and ``null`` among the features: keep them
        as NaN; interpolate linearly between the neighbours in the sequence (at the ends, take the
        nearest); or raise an error.
    dtype : {"float32", "float64"}, default "float32"
        Of features and targets.
    labels : bool, default True
        False: read only the features; ``y`` is None.

    Returns
    -------
    Sequences
        ``ids`` holds the cells of the column `id`. A single `target` gives a ``y`` without an
        axis for targets.

    Raises
    ------
    ValueError, TypeError
        If an argument, the header or a row is not valid, with file and line.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import read_csv
    >>> text = '''id,step,speed,height,label
    ... a,1,0.5,2.0,walk
    ... a,2,0.7,2.1,walk
    ... b,1,3.1,2.4,run
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "steps.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write(text)
    ...     data = read_csv(path)
    >>> data
    Sequences(2 sequences of 1 to 2 steps x 2 features, 2 classes)
    >>> data.x[0].tolist() == [[0.5, 2.0], [0.699999988079071, 2.0999999046325684]]
    True
    >>> data.y, data.classes, data.feature_names, data.ids
    (array([1, 0]), ('run', 'walk'), ('speed', 'height'), ('a', 'b'))
    """
    source = _check.file_path(path)
    _check.option("steps", steps, _lines.STEPS)
    _check.option("missing", missing, _lines.MISSING)
    kind = _check.float_dtype(dtype)
    _check.flag("labels", labels)
    given = None if classes is None else _lines.class_names(classes)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"{argument('delimiter')} is {delimiter!r}; expected one character")
    for name, value in (("label", label), ("classes", classes)):
        if value is not None and target is not None:
            raise ValueError(
                f"{argument(name)} is {value!r} and {argument('target')} is {target!r}; expected "
                "one of them"
            )

    table = _Table.read(source, delimiter)
    if label is None and target is None and _LABEL in table.header and id != _LABEL != step:
        empty = not any(map(str.strip, table.column("label", _LABEL)))
        label = None if empty else _LABEL
    targets = (target,) if isinstance(target, str) else tuple(target or ())
    names = _feature_columns(table, features, id, step, label, targets)

    rows, starts, ids = _in_order(table, id, step)
    if step is None:
        count = np.diff(np.append(starts, len(rows)))
        named = [one for one in (id, label, *targets) if one is not None]
        _check_forward(table, rows, np.repeat(np.arange(len(ids)), count), named)
    expected = "a finite number, or nothing for a missing value"
    if labels and features is None and label is None and not targets:
        expected += f"; are these class names ({setting('label')})?"
    x = table.floats(names, _GAPS, kind, expected)[rows]
    parts = np.split(x, starts[1:])
    if missing != "nan":
        _fill_gaps(table, names, parts, rows, starts, ids, missing)

    y: NDArray[Any] | list[NDArray[Any]] | None = None
    class_names: tuple[str, ...] | None = None
    if not labels:
        pass
    elif label is not None:
        codes, class_names = _codes(table, label, given)
        flat = _per_sequence(table, [label], codes[rows, None], rows, starts, ids, steps)
        y = flat[:, 0].astype(np.int64)
    elif targets:
        values = table.floats(targets, _GAPS, kind, "a finite number")
        y = _per_sequence(table, targets, values[rows], rows, starts, ids, steps)
        if isinstance(target, str):
            y = y[:, 0]
    if y is not None and steps == "all":
        y = joined(np.split(y, starts[1:]))
    return Sequences(joined(parts), y, class_names, names, ids, source)


def read_steps(
    path: str, *, id: str | None = "id", step: str | None = "step", delimiter: str = ","
) -> list[float] | list[str] | None:
    """Read the steps, in the order in which `read_csv` has them: numbers, or dates as they are."""
    if step is None:
        return None
    table = _Table.read(path, delimiter)
    rows, _, _ = _in_order(table, id, step)
    cells = table.column("step", step)
    if _times.is_iso(cells[0]):
        return [cells[row].strip() for row in rows]
    found: list[float] = _places(table, step)[rows].tolist()
    return found


def read_header(path: str, delimiter: str | None) -> list[str]:
    """Read the names of a table's columns; `read_csv` reports what is wrong with them."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            rows = csv.reader(file, delimiter=delimiter or ",")
            return [name.strip() for name in next((row for row in rows if row), [])]
        except csv.Error:
            return []


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


FORMAT: Final = Format(
    suffixes=(".csv",),
    read=read_csv,
    help="""\
a header, and one row for each step of each sequence, for example
    id,step,speed,height,label
    a,1,0.5,2.0,walk
    a,2,0.7,2.1,walk
    b,1,3.1,2.4,run
In place of a label a row may have numbers to predict (--target-column).""",
    labels='a column "label" (or --label-column, --target-column)',
    options=(
        Option(
            "id",
            "--id-column",
            'which sequence a row belongs to (default: id; "none": the file is one sequence)',
            "NAME",
        ),
        Option(
            "step",
            "--step-column",
            'puts the rows of a sequence in order (default: step; "none": they are in order)',
            "NAME",
        ),
        Option(
            "label",
            "--label-column",
            "names of classes (default: label)",
            "NAME",
            group="labels",
        ),
        Option(
            "target",
            "--target-column",
            "numbers to predict, in place of classes",
            "NAME[,NAME]",
            _names,
            group="labels",
        ),
        Option(
            "features",
            "--feature-columns",
            "the network's inputs (default: all other columns)",
            "NAME[,NAME]",
            _names,
        ),
        Option(
            "delimiter",
            "--delimiter",
            r"between the cells of a row (default: ,); \t: a tab",
            "C",
            lambda text: "\t" if text == r"\t" else text,  # as messages write it
        ),
    ),
    steps=("last", "all"),
    columns=read_header,
    step_numbers=read_steps,
)


# ---------------------------------------------------------------- one table


class _Table(NamedTuple):
    """The cells of a file, by column."""

    path: str
    header: tuple[str, ...]
    columns: list[tuple[str, ...]]
    lines: list[int]  # the line in which each row ends
    delimiter: str

    @staticmethod
    def read(path: str, delimiter: str) -> _Table:
        text = io.StringIO(_lines.read_text(path), newline="")
        ended = False

        def all_lines() -> Iterator[str]:
            nonlocal ended
            yield from text
            ended = True

        reader = csv.reader(all_lines(), delimiter=delimiter, strict=True)
        rows: list[list[str]] = []
        lines: list[int] = []
        begin = 1
        try:
            for row in reader:
                begin = reader.line_num + 1
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
        except csv.Error as error:
            if ended:  # within a cell
                raise _lines.wrong(
                    path, begin, 'the row has a " without an end; expected a second one'
                ) from None
            raise _lines.wrong(path, reader.line_num, f"{error}; expected a CSV file") from None
        if not rows:
            raise _lines.wrong(path, None, "is empty; expected a header and one row per step")
        header = tuple(name.strip() for name in rows.pop(0))
        first = lines.pop(0)
        _check_header(path, first, header, delimiter)
        if not rows:
            raise _lines.wrong(path, None, "has no row after the header; expected one per step")
        for row, line in zip(rows, lines, strict=True):
            if len(row) != len(header):
                raise _lines.wrong(
                    path,
                    line,
                    f"the row has {len(row)} cells; expected {len(header)}, as the header has",
                )
        return _Table(path, header, list(zip(*rows, strict=True)), lines, delimiter)

    def column(self, role: str, name: object) -> tuple[str, ...]:
        """Find a column by its name; `role` is the argument that names it."""
        if not isinstance(name, str):
            raise TypeError(f"{argument(role)} is {name!r}; expected the name of a column")
        if name not in self.header:
            hint = ""
            if role == "id":
                hint = f"; {setting('id', None)}: all rows are one sequence"
            elif role == "step":
                hint = f"; {setting('step', None)}: the rows of a sequence are already in order"
            raise _lines.wrong(
                self.path,
                1,
                f"there is no column {name!r} ({setting(role)}); there are "
                f"{_lines.some([repr(one) for one in self.header])}{hint}",
            )
        return self.columns[self.header.index(name)]

    def floats(
        self, names: Sequence[str], gaps: frozenset[str], dtype: np.dtype[Any], expected: str
    ) -> NDArray[Any]:
        """Read columns of numbers into an array of shape (rows, columns)."""
        result = np.empty((len(self.lines), len(names)), dtype)
        for c, name in enumerate(names):
            cells = self.column("features", name)
            values, bad = _lines.numbers(cells, gaps)
            if bad is not None:
                cell = cells[bad]
                text = f"is {_lines.shown(cell)}; expected {expected}"
                if self.delimiter != "," and _DECIMAL_COMMA.fullmatch(cell.strip()):
                    text += f": with a decimal point, {cell.strip().replace(',', '.')}"
                raise self.wrong(bad, name, text)

            def beyond(i: int, text: str, name: str = name) -> ValueError:
                return self.wrong(i, name, f"is too large: {text}")

            result[:, c] = _lines.to_dtype(values, dtype, beyond)
        return result

    def wrong(self, row: int, name: str, text: str, expected: str = "") -> _lines.FileError:
        return _lines.wrong(self.path, self.lines[row], f"column {name!r} {text}", expected)


def _check_header(path: str, line: int, header: tuple[str, ...], delimiter: str) -> None:
    if len(header) == 1:
        for other in ";\t|,":
            if other != delimiter and other in header[0]:
                raise _lines.wrong(
                    path,
                    line,
                    f"the header is {_lines.shown(header[0])}, one column with "
                    f"{setting('delimiter', delimiter)}; expected several: perhaps "
                    f"{setting('delimiter', other)}",
                )
    seen: set[str] = set()
    for name in header:
        if name in seen and name:
            raise _lines.wrong(path, line, f"the header has {name!r} twice; expected it once")
        seen.add(name)


def _feature_columns(
    table: _Table,
    features: Sequence[str] | None,
    id: str | None,
    step: str | None,
    label: str | None,
    targets: tuple[str, ...],
) -> tuple[str, ...]:
    """Check all names of columns, and choose those of the features."""
    used: dict[str, str] = {}
    roles = [("id", id), ("step", step), ("label", label), *(("target", one) for one in targets)]
    for role, name in roles:
        if name is None:
            continue
        table.column(role, name)
        if name in used:
            raise ValueError(f"{argument(role)} is {name!r}, which is {argument(used[name])}, too")
        used[name] = role
    if features is not None:
        if isinstance(features, str):
            raise TypeError(f"{argument('features')} is {features!r}; expected a sequence of names")
        names = tuple(features)
        for name in names:
            table.column("features", name)
            if name in used:
                raise ValueError(
                    f"{argument('features')} has {name!r}, which is {argument(used[name])}, too"
                )
    else:
        names = tuple(name for name in table.header if name not in used and name != _LABEL)
        if "" in names:
            raise _lines.wrong(
                table.path,
                1,
                f"column {table.header.index('') + 1} has no name; expected one (pandas writes "
                f"its index so: to_csv(index=False)), or {setting('features')} to leave it out",
            )
    if not names:
        raise _lines.wrong(
            table.path,
            1,
            f"no column is left for features; there are {_lines.some(table.header)}",
        )
    return names


def _in_order(
    table: _Table, id: str | None, step: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Sort the rows by sequence and step; return them and the start of each sequence."""
    count = len(table.lines)
    index: dict[str, int] = {}
    if id is None:
        index[""] = 0
        which = np.zeros(count, np.int64)
    else:
        cells = table.column("id", id)
        which = np.fromiter(
            (index.setdefault(cell.strip(), len(index)) for cell in cells), np.int64, count
        )
        if "" in index:
            raise table.wrong(
                int((which == index[""]).argmax()), id, "is empty; expected the sequence's name"
            )
    if step is None:
        rows = np.argsort(which, kind="stable")
    else:
        cells = table.column("step", step)
        place = _places(table, step)
        rows = np.lexsort((place, which))
    sorted_ids = which[rows]
    if step is not None:
        places = place[rows]
        twice = (np.diff(sorted_ids) == 0) & (np.diff(places) == 0)
        if twice.any():
            i = int(twice.argmax())
            first, second = sorted((int(rows[i]), int(rows[i + 1])))
            name = list(index)[sorted_ids[i]]
            raise table.wrong(
                second,
                step,
                f"is {cells[second].strip()} in {_sequence(name)} again, as in line "
                f"{table.lines[first]}; "
                "expected each step once",
            )
    starts = np.searchsorted(sorted_ids, np.arange(len(index)))
    return rows, starts, tuple(index)


def _places(table: _Table, step: str) -> NDArray[Any]:
    """Read the column of steps: numbers (float64), or dates and times (nanoseconds, int64)."""
    cells = table.column("step", step)
    if _times.is_iso(cells[0]):
        times, bad = _times.nanoseconds(cells)
        if bad is not None:
            raise table.wrong(
                bad, step, f"is {_lines.shown(cells[bad])}; expected {_times.EXPECTED}, as before"
            )
        return times
    place, bad = _lines.numbers(cells, frozenset())
    if bad is None:
        return place
    expected = f"a finite number, or {_times.EXPECTED}"
    if not _times.is_other_date(cells[bad]):
        expected += f" ({setting('step', None)}: the rows of a sequence are already in order)"
    raise table.wrong(bad, step, f"is {_lines.shown(cells[bad])}; expected {expected}")


def _check_forward(
    table: _Table, rows: NDArray[np.int64], ids: NDArray[np.int64], used: Sequence[str]
) -> None:
    """Refuse rows that are said to be in order, if a column of times shows that they are not."""
    for name in table.header:
        cells = table.columns[table.header.index(name)]
        if name in used or not _times.is_iso(cells[0]):
            continue
        times, bad = _times.nanoseconds(cells)
        back = (np.diff(ids) == 0) & (np.diff(times[rows]) < 0)
        if bad is None and back.any():
            i = int(rows[int(back.argmax()) + 1])
            raise table.wrong(
                i,
                name,
                f"is {cells[i].strip()}, which is before the row above; expected rows in order of "
                f"time: {setting('step', name)} puts them in order",
            )


def _sequence(name: str) -> str:
    return f"sequence {name!r}" if name else "the sequence"


def _fill_gaps(
    table: _Table,
    names: tuple[str, ...],
    parts: list[NDArray[Any]],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ids: tuple[str, ...],
    missing: str,
) -> None:
    for part, start, name in zip(parts, starts.tolist(), ids, strict=True):
        gaps = np.isnan(part)
        if not gaps.any():
            continue
        i, c = divmod(int(gaps.argmax()), part.shape[1])
        if missing == "error":
            raise table.wrong(
                int(rows[start + i]),
                names[c],
                f"has no value; expected a number, or {setting('missing', 'nan', 'interpolate')}",
            )
        empty = _lines.fill(part)
        if empty is not None:
            raise table.wrong(
                int(rows[start]),
                names[empty],
                f"has no value in {_sequence(name)}; expected at least one",
            )


def _codes(
    table: _Table, label: str, given: tuple[str, ...] | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read the classes of all rows, NaN where there is none."""
    cells = [cell.strip() for cell in table.column("label", label)]
    found = set(cells) - {""}
    if not found:
        raise table.wrong(0, label, "has no class in any row; expected at least one")
    names = _lines.ordered(found) if given is None else given
    index = {name: float(i) for i, name in enumerate(names)}
    index.setdefault("", np.nan)
    unknown = found - index.keys()
    if unknown:
        i = next(i for i, cell in enumerate(cells) if cell in unknown)
        raise table.wrong(
            i,
            label,
            f"is {_lines.shown(cells[i])}; expected one of classes: {_lines.some(names)}",
        )
    return np.fromiter((index[cell] for cell in cells), np.float64, len(cells)), names


def _per_sequence(
    table: _Table,
    names: Sequence[str],
    values: NDArray[Any],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ids: tuple[str, ...],
    steps: str,
) -> NDArray[Any]:
    """Take the values of the sorted rows (NaN: none): all of them, or one for each sequence."""
    blank = np.isnan(values)
    if steps == "all":
        if blank.any():
            i, c = divmod(int(blank.argmax()), values.shape[1])
            raise table.wrong(
                int(rows[i]),
                names[c],
                f"is empty; expected a value on each row: {setting('steps', 'all')}",
            )
        return values
    # fmax takes what is not NaN.
    result: NDArray[Any] = np.fmax.reduceat(values, starts)
    if np.isnan(result).any():
        i, c = divmod(int(np.isnan(result).argmax()), result.shape[1])
        raise table.wrong(
            int(rows[starts[i]]),
            names[c],
            f"is empty on all rows of {_sequence(ids[i])}; expected a value on one at least",
        )
    lengths = np.diff(np.append(starts, len(rows)))
    other = ~blank & (values != np.repeat(result, lengths, axis=0))
    if other.any():
        i, c = divmod(int(other.argmax()), other.shape[1])
        which = int(np.searchsorted(starts, i, side="right")) - 1
        span = slice(starts[which], starts[which] + lengths[which])
        given = np.flatnonzero(~blank[span, c]) + starts[which]
        first = int(given[0])
        second = int(given[np.flatnonzero(values[given, c] != values[first, c])[0]])
        cells = table.column("label", names[c])
        raise table.wrong(
            int(rows[second]),
            names[c],
            f"is {_lines.shown(cells[rows[second]])}, but in line {table.lines[rows[first]]} of "
            f"{_sequence(ids[which])} {_lines.shown(cells[rows[first]])}",
            f"the same on all its rows, or {setting('steps', 'all')}",
        )
    return result
