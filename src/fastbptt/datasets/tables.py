"""Sequences in tables, ``.csv`` and its relatives.

A table in long format: a column says which sequence a row belongs to, one says where in the
sequence it stands, the others hold the features of that step, and the labels::

    id,step,speed,height,label
    a,1,0.5,2.0,walk
    a,2,0.7,2.1,walk
    b,1,3.1,2.4,run

In wide format, each row is a sequence, and its columns are the steps of one feature.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from . import _lines, _parsing, _suggestions, _times
from ._parsing import GAPS, Table
from .formats import Format, Option, argument, gaps_setting, setting
from .sequences import Sequences, joined

__all__ = ["read_csv"]

_LABEL: Final = "label"
_NO_LABEL: Final = frozenset({"", "nan"})  # NA, None and null may be names of classes
_MOST_NAMES: Final = 50  # of a column that may be a category
UNLABELLED: Final = ("error", "drop")
LAYOUTS: Final = ("long", "wide")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_EXPONENT: Final = re.compile(r"[+-]?\d\.\d+[eE][+-]?\d+")
_DIGITS: Final = re.compile(r"([+-]?)0*(\d+?)(?:\.0*)?")
_PANDAS_INDEX: Final = re.compile(r"Unnamed: \d+")
_TRUTH: Final = {"true": 1.0, "false": 0.0}


def read_csv(
    path: str | os.PathLike[str],
    *,
    id: str | None = "id",
    step: str | None = "step",
    label: str | None = None,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    categories: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    label_file: str | os.PathLike[str] | None = None,
    weight: str | None = None,
    layout: str = "long",
    steps: str = "last",
    unlabelled: str = "error",
    classes: Sequence[str] | None = None,
    header: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    missing: str = "nan",
    dtype: Any = "float64",
    labels: bool = True,
) -> Sequences:
    """Read a table with one row for each step of each sequence, or a row for each sequence.

    Sequences come in the order in which their first rows stand; rows of different sequences may
    be mixed. Columns that no argument names hold the features: numbers, or True and False, which
    are read as 1 and 0. Rows and nameless columns without any value at the end are left out.

    Parameters
    ----------
    path : str or os.PathLike
        The file: text in UTF-8, which may be packed by gzip, or Parquet (needs pyarrow).
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
        and `target` do not name, except a column "label" and, in Parquet, the index of a frame.
    exclude : sequence of str, optional
        Columns to leave out.
    categories : sequence of str or mapping, optional
        Features that are names: each becomes one column of 0 and 1 for each name, called
        "column=name". The names are those that occur, sorted; a mapping lists them for each column.
    label_file : str or os.PathLike, optional
        A second table, with a row for each sequence: the column `id`, and `label` or `target`; by
        default the label is its column "label", or the only one beside the id.
    weight : str, optional
        The column with the weights of the sequences, or with ``steps="all"`` of the rows: numbers
        of at least 0. It may stand in `label_file`.
    layout : {"long", "wide"}, default "long"
        "wide": each row is a sequence of one feature, and its columns, in their order, hold the
        steps. Values that are missing at the end of a row are beyond its end. Without a column
        `id`, sequences are numbered from 1.
    steps : {"last", "all"}, default "last"
        "last": one label or target for each sequence; its rows agree or are empty. "all": one for
        each row.
    unlabelled : {"error", "drop"}, default "error"
        "drop": with ``steps="all"``, leave out the rows without a label or target; those on both
        sides become neighbours.
    classes : sequence of str, optional
        The names of class 0, 1, ...; by default those that occur, sorted (by value if all are
        numbers). For a test file, those of the training file.
    header : {"first", "none"}, optional
        Whether the first line holds the names of the columns; "none": they are called "1", "2", ...
        By default it does, and a line of numbers in its place is an error.
    delimiter : str, optional
        The separator of the cells of a row; " ": any number of spaces. By default the one of comma,
        semicolon, tab, ``|`` and spaces that cuts the first lines alike.
    decimal : {".", ","}, optional
        The decimal mark. By default a comma, where another delimiter leaves no other reading.
    missing : {"nan", "interpolate", "error", "mask"}, default "nan"
        How to treat empty cells, ``?``, ``NA``, ``NaN`` and ``null`` among the features: keep them
        as NaN; interpolate linearly between the neighbours in the sequence (at the ends, take the
        nearest); or raise an error. "mask": keep them as NaN, and labels and targets may be
        missing, too: the class is -1, the target NaN, as `fastbptt.fit` with ``missing="mask"``
        takes them.
    dtype : {"float32", "float64"}, default "float64"
        Of features and targets. float32 has 7 digits: too few for times since 1970, meters and
        other large numbers of which small differences count.
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
    >>> data.x[0].tolist()
    [[0.5, 2.0], [0.7, 2.1]]
    >>> data.y, data.classes, data.feature_names, data.ids
    (array([1, 0]), ('run', 'walk'), ('speed', 'height'), ('a', 'b'))
    """
    source = _check.file_path(path)
    form = TableForm(header, delimiter, decimal)
    return read_table(
        source,
        lambda: form.read(source),
        form,
        id=id,
        step=step,
        label=label,
        target=target,
        features=features,
        exclude=exclude,
        categories=categories,
        label_file=label_file,
        weight=weight,
        layout=layout,
        steps=steps,
        unlabelled=unlabelled,
        classes=classes,
        missing=missing,
        dtype=dtype,
        labels=labels,
    )


def read_table(
    source: str,
    table_of: Callable[[], Table],
    form: TableForm,
    *,
    id: str | None,
    step: str | None,
    label: str | None,
    target: str | Sequence[str] | None,
    features: Sequence[str] | None,
    exclude: Sequence[str] | None,
    categories: Sequence[str] | Mapping[str, Sequence[str]] | None,
    label_file: str | os.PathLike[str] | None,
    weight: str | None,
    layout: str,
    steps: str,
    unlabelled: str,
    classes: Sequence[str] | None,
    missing: str,
    dtype: Any,
    labels: bool,
) -> Sequences:
    """Check the arguments of `read_csv`, and make sequences of a table."""
    _check.option("steps", steps, _lines.STEPS)
    _check.option("missing", missing, _lines.MISSING)
    _check.option("layout", layout, LAYOUTS)
    kind = _check.float_dtype(dtype)
    _check.flag("labels", labels)
    given = _lines.given_classes(classes, labels)
    for name, value in (("label", label), ("classes", classes)):
        if value is not None and target is not None:
            raise ValueError(
                f"{argument(name)} is {_check.shown(value)} and {argument('target')} is "
                f"{_check.shown(target)}; expected one of them"
            )
    if features is not None and exclude is not None:
        raise ValueError(
            f"{argument('features')} and {argument('exclude')} are both given; expected one of them"
        )
    _check.option("unlabelled", unlabelled, UNLABELLED)
    if unlabelled == "drop" and steps != "all":
        raise ValueError(
            f"{setting('unlabelled', 'drop')} is for a label on each row; expected "
            f"{setting('steps', 'all')} with it"
        )
    wide = layout == "wide"
    if wide:
        _check_wide(step, steps, categories)
    table = table_of()
    if wide and id == "id" and "id" not in table.places:
        id = None
    if not (target is None or isinstance(target, str) or hasattr(target, "__iter__")):
        came = _check.shown(target)
        raise TypeError(f"{argument('target')} is {came}; expected the name of a column, or names")
    targets = (target,) if isinstance(target, str) else () if target is None else tuple(target)
    beside: Table | None = None
    if label_file is not None:
        if not labels:
            raise ValueError(f"{argument('label_file')} has no effect; expected labels=True")
        beside = _label_table(label_file, form, id, steps)
        if label is None and not targets:
            label = _only_label(beside, id)
    elif (
        label is None
        and not targets
        and _LABEL in table.places
        and _LABEL not in (id, step, *(exclude or ()))
    ):
        label = _LABEL if any(table.codes("label", _LABEL)[1]) else None
    if weight is not None and not labels:
        raise ValueError(f"{argument('weight')} has no effect; expected labels=True")
    of_labels = beside is not None and weight in beside.places and weight not in table.places
    roles: list[tuple[str, str | None]] = [("id", id), ("step", None if wide else step)]
    roles.append(("weight", None if of_labels else weight))
    if beside is None:
        roles += [("label", label), *(("target", one) for one in targets)]
    names = _feature_columns(table, features, exclude, roles)
    _check_memory(table, len(names), kind)
    if unlabelled == "drop":
        table = _labelled(table, label, targets)

    if wide:
        rows = np.arange(table.rows)
        starts, in_order = rows, True
        ids = tuple(str(i + 1) for i in rows.tolist()) if id is None else _unique(table, id)
    else:
        rows, starts, ids, in_order = _in_order(table, id, step, form.decimal)
        if step is None:
            count = np.diff(np.append(starts, len(rows)))
            named = [one for one in (id, label, *targets) if one is not None]
            _check_forward(table, rows, np.repeat(np.arange(len(ids)), count), named)
    expected = "a finite number, or nothing for a missing value"
    if labels and features is None and label is None and not targets:
        expected += f"; are these class names ({setting('label')})?"
    hints = [] if features is not None else ["exclude"]  # these two exclude each other
    hints += [] if wide or isinstance(categories, Mapping) else ["categories"]
    features_of = partial(
        _Features.read, table, names, categories, kind, form.decimal, expected, hints
    )
    targets_of = partial(
        _floats, dtype=kind, decimal=form.decimal, expected="a finite number", hints=["label"]
    )
    read = features_of()
    numbers: NDArray[Any] | None = None  # the targets of this table
    if labels and targets and beside is None:
        numbers, mark = targets_of(table, targets, GAPS)
        if mark != read.mark:  # a file has one mark: where it was not seen, it is read again
            read = features_of(",")
            numbers, _ = targets_of(table, targets, GAPS, found=",")
    if read.mark == "," and step is not None and not wide:
        _places(table, step, form.decimal, ",")
    x = read.x if in_order else read.x[rows]
    if wide:
        parts = _cut_tails(table, x)
        read = read._replace(names=("value",))
    else:
        parts = np.split(x, starts[1:])
    if missing not in ("nan", "mask"):
        hint = f" ({setting('exclude')} leaves the column out)" if features is None else ""
        titles = names if wide else read.names
        _fill_gaps(table, titles, parts, rows, starts, ids, missing, wide, hint)

    y: NDArray[Any] | list[NDArray[Any]] | None = None
    class_names: tuple[str, ...] | None = None
    here = (table, (rows, starts), in_order)
    there = here
    if beside is not None:
        assert id is not None
        place = _joined_rows(table, beside, id, ids, rows[starts])
        one = np.arange(len(ids))
        there = (beside.taken(place), (one, one), True)
    masked = missing == "mask"
    if labels and (label is not None or targets):
        holder, of, sorted_already = there
        if label is not None:
            codes, class_names = _codes(holder, label, given)
            values = codes[:, None] if sorted_already else codes[of[0], None]
            values = _per_sequence(holder, [label], values, *of, ids, steps, masked)[:, 0]
            y = np.where(np.isnan(values), _lines.NO_CLASS, values).astype(np.int64)
        else:
            values = targets_of(holder, targets, GAPS)[0] if numbers is None else numbers
            values = values if sorted_already else values[of[0]]
            y = _per_sequence(holder, targets, values, *of, ids, steps, masked)
            if isinstance(target, str):
                y = y[:, 0]
    if y is not None and steps == "all":
        y = _together(np.asarray(y), starts)
    weights: NDArray[Any] | list[NDArray[Any]] | None = None
    if weight is not None:
        holder, of, sorted_already = there if of_labels else here
        values = _weights(holder, weight, form.decimal, read.mark)
        values = values if sorted_already else values[of[0]]
        values = _per_sequence(holder, [weight], values, *of, ids, steps)[:, 0]
        weights = _together(values, starts) if steps == "all" else values
    whole = joined(parts) if wide else _together(x, starts)
    found = Sequences(whole, y, class_names, read.names, ids, source, read.categories)
    return found if weights is None else replace(found, weights=weights)


def _weights(table: Table, name: str, decimal: str | None, mark: str) -> NDArray[np.float64]:
    """Read a column of weights: (rows, 1), NaN where there is none."""
    expected = "a finite number of at least 0"
    values, _ = _floats(table, [name], GAPS, np.dtype(np.float64), decimal, expected, mark)
    if (values < 0.0).any():
        row = int((values < 0.0).argmax())
        raise table.wrong(row, name, f"is {table.cell(name, row)}; expected {expected}")
    if not (values > 0.0).any():
        raise table.wrong(0, name, "is 0 in every row; expected a weight above 0")
    return values


def _labelled(table: Table, label: str | None, targets: tuple[str, ...]) -> Table:
    """Leave out rows without a label or target."""
    keep = np.ones(table.rows, bool)
    for role, name in (("label", label), *(("target", one) for one in targets)):
        if name is not None:
            codes, texts = table.codes(role, name)
            gaps = _NO_LABEL if role == "label" else GAPS
            keep &= np.array([text.lower() not in gaps for text in texts])[codes]
    if not keep.any():
        raise _lines.wrong(table.path, None, "no row has a label; expected at least one")
    return table.taken(keep)


def read_steps(
    path: str, *, id: str | None = "id", step: str | None = "step", **options: Any
) -> list[float] | list[str] | None:
    """Read the steps, in the order in which `read_csv` has them: numbers, or dates as they are."""
    if step is None or options.get("layout") == "wide":
        return None
    form = TableForm.of(options)
    return steps_of(form.read(path), id, step, form.decimal)


def steps_of(
    table: Table, id: str | None, step: str, decimal: str | None = None
) -> list[float] | list[str]:
    """Return the steps of a table, in the order in which `read_table` has them."""
    rows, _, _, _ = _in_order(table, id, step, decimal)
    if _times.is_iso(table.cell(step, 0)):
        codes, names = table.codes("step", step)
        return [names[code] for code in codes[rows].tolist()]
    found: list[float] = _places(table, step, decimal)[rows].tolist()
    return found


def read_header(path: str, **options: Any) -> list[str]:
    """Read the names of a table's columns; `read_csv` reports what is wrong with them."""
    try:
        return list(TableForm.of(options).read(path).header)
    except ValueError:
        return []


def names_in(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


FORMAT: Final = Format(
    suffixes=(".csv", ".tsv", ".txt", ".data", ".parquet"),
    read=read_csv,
    help="""\
a header, and one row for each step of each sequence, for example
    id,step,speed,height,label
    a,1,0.5,2.0,walk
    a,2,0.7,2.1,walk
    b,1,3.1,2.4,run
In place of a label a row may have numbers to predict (--target-column).
Or a row for each sequence, a column for each step (--layout wide).
Text may be packed (.csv.gz); Parquet needs pyarrow.""",
    labels='a column "label" (or --label-column, --target-column, --labels)',
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
            names_in,
            group="labels",
        ),
        Option(
            "features",
            "--feature-columns",
            "the network's inputs (default: all other columns)",
            "NAME[,NAME]",
            names_in,
        ),
        Option(
            "exclude",
            "--exclude-columns",
            "columns to leave out of the network's inputs",
            "NAME[,NAME]",
            names_in,
        ),
        Option(
            "categories",
            "--category-columns",
            "inputs that are names; each name becomes an input of 0 and 1",
            "NAME[,NAME]",
            names_in,
        ),
        Option(
            "label_file",
            "--labels",
            "a table with the labels, a row per sequence, by the id column",
            "FILE",
        ),
        Option(
            "weight",
            "--weight-column",
            "weights of the sequences, or with --steps all of the rows, in the loss and in scores; "
            "where one is 0, the label is not used (default: none, all the same)",
            "NAME",
        ),
        Option(
            "unlabelled",
            "--unlabelled",
            "with --steps all, rows without a label or target: report an error, or leave them out "
            "(default: error)",
            choices=UNLABELLED,
        ),
        Option(
            "layout",
            "--layout",
            "long: a row per step; wide: a row per sequence (default: long; of .arff files, by the "
            "names of the attributes)",
            choices=LAYOUTS,
        ),
        Option(
            "header",
            "--header",
            "first: the first line holds the columns' names, even if they are numbers; none: the "
            "columns are called 1, 2, ... (default: first, and numbers are an error)",
            choices=_parsing.HEADERS,
        ),
        Option(
            "delimiter",
            "--delimiter",
            r"between the cells of a row; \t: a tab, ' ': spaces (default: recognised)",
            "C",
            lambda text: "\t" if text == r"\t" else text,  # as messages write it
        ),
        Option(
            "decimal",
            "--decimal",
            "the decimal mark, . or , (default: recognised)",
            choices=(".", ","),
        ),
    ),
    steps=("last", "all"),
    columns=read_header,
    step_numbers=read_steps,
    suggested=partial(_suggestions.suggested, read_csv),
)


# ---------------------------------------------------------------- one table


class TableForm(NamedTuple):
    """How a table is written; None: recognised."""

    header: str | None
    delimiter: str | None
    decimal: str | None

    @staticmethod
    def of(options: Mapping[str, Any]) -> TableForm:
        """Take those of the options of `read_csv` that are given."""
        return TableForm(*(options.get(name) for name in TableForm._fields))

    def read(self, path: str) -> Table:
        """Check the arguments, and read a table."""
        if self.header is not None:
            _check.option("header", self.header, _parsing.HEADERS)
        if self.decimal is not None:
            _check.option("decimal", self.decimal, (".", ","))
        one = self.delimiter
        if one is not None and (len(one) != 1 or one in '"\r\n'):
            came = _check.shown(one)
            raise ValueError(f"{argument('delimiter')} is {came}; expected one character")
        table = _parsing.read(path, one, self.header)
        if self.decimal == "," == table.delimiter and not _holds_commas(table):
            raise _lines.wrong(
                path,
                1,
                f"{setting('decimal', ',')}, but a comma separates the cells, and none of them, in "
                f"quotes, holds one; expected another {argument('delimiter')}",
            )
        return table


def _holds_commas(table: Table) -> bool:
    """Tell whether a cell holds a comma, so that it has quotes where commas separate cells."""
    texts = (text for name in table.header for text in table.codes("features", name)[1])
    return any("," in text for text in texts)


def _floats(
    table: Table,
    names: Sequence[str],
    gaps: frozenset[str],
    dtype: np.dtype[Any],
    decimal: str | None,
    expected: str,
    found: str | None = None,
    hints: Sequence[str] = (),
) -> tuple[NDArray[Any], str]:
    """Read columns of numbers, or of True and False, into an array of shape (rows, columns).

    Returns also the decimal mark: `decimal`, else the one that these columns have, or that other
    columns have, which is `found`. `hints` are the arguments that may help where a column
    holds names.
    """
    places = [table.place("features", name) for name in names]
    count = table.rows
    result = np.empty((count, len(names)), dtype)
    truths: list[int] = []
    mark = decimal or found or "."
    rounding, large = _lines.Rounding(dtype), False
    step = _parsing.block_rows(len(places))
    start = 0
    while start < count and len(truths) < len(names):
        left = [c for c in range(len(names)) if c not in truths]
        rows = slice(start, min(start + step, count))
        values, bad = table.cells.numbers([places[c] for c in left], rows, gaps, mark)
        if bad is not None:
            row, c = divmod(bad, len(left))
            row, c = row + start, left[c]
            cell = table.cell(names[c], row)
            if cell.lower() in _TRUTH and _is_truth(table, names[c]):
                truths.append(c)
                continue
            may_be = mark == "." and decimal is None and table.delimiter not in ("", ",")
            if may_be and _has_decimal_commas(table, [names[c] for c in left], row, names[c]):
                mark, start, rounding = ",", 0, _lines.Rounding(dtype)
                continue
            raise _no_number(table, names[c], row, cell, mark, decimal, expected, hints)

        def beyond(i: int, text: str, left: list[int] = left, start: int = start) -> ValueError:
            row, c = divmod(i, len(left))
            return table.wrong(row + start, names[left[c]], f"is too large: {text}")

        large = large or bool(np.fmax.reduce(np.abs(values), axis=None) >= _lines.EXACT)
        rounding.see(_spread(values, left, len(names)) if truths else values)
        rounded = _lines.to_dtype(values, dtype, beyond)
        if truths:
            result[rows, left] = rounded
        else:
            result[rows] = rounded
        start = rows.stop
    for c in truths:
        codes, texts = table.codes("features", names[c])
        values = np.array([_TRUTH.get(text.lower(), np.nan) for text in texts])
        result[:, c] = values[codes]
    rounding.check(table.path, lambda column: f"column {names[column]!r}")
    if large:
        for c in range(len(names)):
            _check_whole(table, names[c], result[:, c], gaps)
    return result, mark


def _check_whole(table: Table, name: str, numbers: NDArray[Any], gaps: frozenset[str]) -> None:
    """Refuse a column of whole numbers of which float64 rounds the differences away."""
    if np.fmax.reduce(np.abs(numbers)) >= _lines.EXACT:
        _, texts = table.codes("features", name)
        values = np.array([np.nan if one.lower() in gaps else _number(one) for one in texts])
        _lines.check_whole(table.path, texts, values, f"column {name!r}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # with a decimal comma: no whole number
        return np.nan


def _spread(values: NDArray[np.float64], left: list[int], width: int) -> NDArray[np.float64]:
    """Put columns where they belong among others, which are left out."""
    whole = np.full((len(values), width), np.nan)
    whole[:, left] = values
    return whole


def _check_memory(table: Table, columns: int, dtype: np.dtype[Any]) -> None:
    """Refuse numbers that would fill the memory: a small packed file may hold many rows."""
    rows = table.rows
    need, limit = rows * columns * dtype.itemsize, _core.memory_limit() // 2
    if need > limit:
        raise _lines.wrong(
            table.path,
            None,
            f"has {rows} rows of {columns} numbers, which need {_check.bytes_text(need)}",
            f"at most {_check.bytes_text(limit)}, half of the memory: fewer rows, or "
            f"{setting('features')}",
        )


def _is_truth(table: Table, name: str) -> bool:
    texts = {text.lower() for text in table.codes("features", name)[1]}
    return texts <= _TRUTH.keys() | GAPS


def _has_decimal_commas(table: Table, names: list[str], row: int, name: str) -> bool:
    """Tell whether commas are decimal marks; refuse 1,234 where nothing else tells what it is."""
    if not _DECIMAL_COMMA.fullmatch(table.cell(name, row)):
        return False
    for one in names:
        for cell in table.codes("features", one)[1]:
            if _DECIMAL_COMMA.fullmatch(cell) and not _THOUSANDS.fullmatch(cell):
                return True
    cell = table.cell(name, row)
    raise table.wrong(
        row,
        name,
        f"is {_lines.shown(cell)}, which may be {cell.replace(',', '.')} or "
        f"{cell.replace(',', '')}",
        f"{setting('decimal', ',')} for the first, or numbers without such commas",
    )


def _no_number(
    table: Table,
    name: str,
    row: int,
    cell: str,
    mark: str,
    decimal: str | None,
    expected: str,
    hints: Sequence[str],
) -> _lines.FileError:
    text = f"is {_lines.shown(cell)}"
    if mark == "," and decimal is None and "." in cell:
        return _two_marks(table, row, name, cell)
    if decimal == "." and _DECIMAL_COMMA.fullmatch(cell):
        text += f", but {setting('decimal', '.')}"
    found = set(table.codes("features", name)[1])
    texts = [one for one in found if not _parsing.is_number(one) and one.lower() not in GAPS]
    help_of = {
        "exclude": "leaves the column out",
        "categories": "makes inputs of its names",
        "label": "makes classes of its names",
        "decimal": "reads it as a decimal mark",
    }
    if mark == "." and decimal is None and _DECIMAL_COMMA.fullmatch(cell):
        hints = ["decimal"]
    elif 2 * len(texts) <= len(found):
        hints = []
    elif len(texts) > _MOST_NAMES:
        hints = [one for one in hints if one == "exclude"]
    listed = "; ".join(
        f"{setting(one, ',') if one == 'decimal' else setting(one)} {help_of[one]}" for one in hints
    )
    expected += f" ({listed})" if listed else ""
    return table.wrong(row, name, text, expected)


def _two_marks(table: Table, row: int, name: str, cell: str) -> _lines.FileError:
    text = f"is {_lines.shown(cell)}, but other numbers have decimal commas"
    return table.wrong(row, name, text, "one decimal mark")


class _Features(NamedTuple):
    """The features of all rows."""

    x: NDArray[Any]
    names: tuple[str, ...]
    categories: dict[str, tuple[str, ...]] | None
    mark: str  # the decimal mark

    @staticmethod
    def read(
        table: Table,
        names: tuple[str, ...],
        categories: Sequence[str] | Mapping[str, Sequence[str]] | None,
        dtype: np.dtype[Any],
        decimal: str | None,
        expected: str,
        hints: Sequence[str],
        mark: str | None = None,
    ) -> _Features:
        if not categories:  # an empty mapping: those of a model that has none
            x, mark = _floats(table, names, GAPS, dtype, decimal, expected, mark, hints)
            return _Features(x, names, None, mark)
        if isinstance(categories, str):
            raise TypeError(
                f"{argument('categories')} is {_check.shown(categories)}; expected a sequence of "
                "names"
            )
        given: dict[str, tuple[str, ...]] = {}
        for name in categories:
            table.place("categories", name)
            if name not in names:
                raise ValueError(
                    f"{argument('categories')} has {name!r}, which is no feature; expected one"
                )
            known = categories[name] if isinstance(categories, Mapping) else None
            given[name] = _category_names(table, name, known)
        numbers = [name for name in names if name not in given]
        flat, mark = _floats(table, numbers, GAPS, dtype, decimal, expected, mark, hints)
        columns: list[NDArray[Any]] = []
        titles: list[str] = []
        for name in names:
            if name not in given:
                columns.append(flat[:, numbers.index(name)])
                titles.append(name)
                continue
            codes, texts = table.codes("features", name)
            for one in given[name]:
                columns.append(np.array([text == one for text in texts], dtype)[codes])
                titles.append(f"{name}={one}")
        return _Features(np.column_stack(columns), tuple(titles), given, mark)


def _category_names(table: Table, name: str, known: Sequence[str] | None) -> tuple[str, ...]:
    codes, texts = table.codes("categories", name)
    if "" in texts:
        row = int((codes == texts.index("")).argmax())
        raise table.wrong(row, name, "is empty", "a name on each row of a category")
    if known is None:
        return _lines.ordered(set(texts))
    names = _lines.class_names(known, argument("categories"))
    other = [text for text in texts if text not in names]
    if other:
        row = int((codes == texts.index(other[0])).argmax())
        raise table.wrong(
            row,
            name,
            f"is {_lines.shown(other[0])}; expected one of categories: {_lines.some(names)}",
        )
    return names


def _together(x: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any] | list[NDArray[Any]]:
    """Make one array of sequences of equal lengths, else a list: views of the sorted rows."""
    lengths = np.diff(np.append(starts, len(x)))
    if (lengths == lengths[0]).all():
        return x.reshape(len(lengths), int(lengths[0]), *x.shape[1:])
    return np.split(x, starts[1:])


# ---------------------------------------------------------------- wide tables, labels elsewhere


def _check_wide(step: str | None, steps: str, categories: object) -> None:
    for name, value, known in (
        ("step", step, ("step", None)),
        ("steps", steps, ("last",)),
        ("categories", categories, (None,)),
    ):
        if value not in known:
            raise ValueError(
                f"{argument(name)} is {_check.shown(value)}; expected none with "
                f"{setting('layout', 'wide')}: each row is a sequence"
            )


def _check_one_way(
    table: Table, name: str, codes: NDArray[np.int64], texts: list[str], what: str
) -> None:
    """Refuse a number that is written in two ways, as 1 and 1.0 or 01: one name, or two."""
    odd = [text for text in texts if "." in text or text[:1] in "0+"]
    known = {text: text for text in texts} if odd else {}
    for text in odd:
        found = _DIGITS.fullmatch(text)
        if found is None:
            continue
        other = known.setdefault(found[1].replace("+", "") + found[2], text)
        if other != text:
            rows = [int((codes == texts.index(one)).argmax()) for one in (text, other)]
            raise _two_ways(table, name, rows, what)


def _two_ways(table: Table, name: str, rows: list[int], what: str) -> _lines.FileError:
    first, second = sorted(rows)
    return table.wrong(
        second,
        name,
        f"is {_lines.shown(table.cell(name, second))}, and in line {table.line(first)} "
        f"{_lines.shown(table.cell(name, first))}",
        f"one way of writing {what}",
    )


def _unique(table: Table, id: str) -> tuple[str, ...]:
    """Return the ids of a table with a row for each sequence."""
    codes, names = table.codes("id", id)
    if "" in names:
        row = int((codes == names.index("")).argmax())
        raise table.wrong(row, id, "is empty; expected the sequence's name")
    _check_one_way(table, id, codes, names, "an id")
    if len(names) < len(codes):
        row = int((np.maximum.accumulate(np.append(-1, codes[:-1])) >= codes).argmax())
        raise table.wrong(
            row,
            id,
            f"is {_lines.shown(names[codes[row]])} again, as in line "
            f"{table.line(int((codes == codes[row]).argmax()))}; expected a row per sequence",
        )
    return tuple(names)


def _cut_tails(table: Table, x: NDArray[Any]) -> list[NDArray[Any]]:
    """Make sequences of the rows of a wide table: without the missing values at their ends."""
    known = ~np.isnan(x)
    lengths = x.shape[1] - known[:, ::-1].argmax(axis=1)
    empty = ~known.any(axis=1)
    if empty.any():
        row = int(empty.argmax())
        raise _lines.wrong(
            table.path, table.line(row), "the row has no value; expected at least one"
        )
    return [row[:length, None] for row, length in zip(x, lengths.tolist(), strict=True)]


def _label_table(
    path: str | os.PathLike[str], form: TableForm, id: str | None, steps: str
) -> Table:
    what = argument("label_file")
    if id is None:
        raise ValueError(f"{what} is given, but {setting('id', None)}; expected an id column")
    if steps == "all":
        raise ValueError(f"{what} has a row per sequence; expected {setting('steps', 'last')}")
    return form._replace(header=None).read(_check.file_path(path))


def _only_label(beside: Table, id: str | None) -> str:
    """Choose the column of labels of a second table."""
    others = [name for name in beside.header if name != id]
    if _LABEL in others:
        return _LABEL
    if len(others) == 1:
        return others[0]
    raise _lines.wrong(
        beside.path,
        1,
        f"there are the columns {_lines.some(beside.header)}; expected "
        f"{setting('label')} or {setting('target')} to name one",
    )


def _joined_rows(
    table: Table, beside: Table, id: str, ids: tuple[str, ...], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find each sequence's row in a second table."""
    place = {name: row for row, name in enumerate(_unique(beside, id))}
    for name, row in zip(ids, first.tolist(), strict=True):
        if name not in place:
            raise table.wrong(
                row, id, f"is {_lines.shown(name)}, which has no row in {beside.path}"
            )
    return np.array([place[name] for name in ids], np.int64)


# ---------------------------------------------------------------- columns, order, gaps


def _feature_columns(
    table: Table,
    features: Sequence[str] | None,
    exclude: Sequence[str] | None,
    roles: list[tuple[str, str | None]],
) -> tuple[str, ...]:
    """Check all names of columns, and choose those of the features."""
    used: dict[str, str] = {}
    for role, name in roles:
        if name is None:
            continue
        table.place(role, name)
        if name in used:
            raise ValueError(f"{argument(role)} is {name!r}, which is {argument(used[name])}, too")
        used[name] = role
    for role, given in (("features", features), ("exclude", exclude)):
        if isinstance(given, str):
            came = _check.shown(given)
            raise TypeError(f"{argument(role)} is {came}; expected a sequence of names")
        for name in given or ():
            table.place(role, name)
            if name in used:
                raise ValueError(
                    f"{argument(role)} has {name!r}, which is {argument(used[name])}, too"
                )
    if features is not None:
        names = tuple(features)
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"{argument('features')} has {twice!r} twice; expected it once")
    else:
        out = used.keys() | set(exclude or ()) | {_LABEL, *table.frame_index}
        names = tuple(name for name in table.header if name not in out)
        if "" in names:
            raise _lines.wrong(
                table.path,
                1,
                f"column {table.header.index('') + 1} has no name; expected one (pandas writes "
                f"its index so: to_csv(index=False)), or {setting('features')} to leave it out",
            )
        index = next((name for name in names if _PANDAS_INDEX.fullmatch(name)), None)
        if index is not None:
            raise _lines.wrong(
                table.path,
                1,
                f"column {index!r} has the name that pandas gives to an index without one",
                f"{setting('exclude')} to leave it out, or {setting('features')} to use it",
            )
    if not names:
        raise _lines.wrong(
            table.path,
            1,
            f"no column is left for features; there are {_lines.some(table.header)}",
        )
    return names


def _in_order(
    table: Table, id: str | None, step: str | None, decimal: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], bool]:
    """Sort the rows by sequence and step.

    Returns the rows, the start of each sequence among them, the ids, and whether the rows stand in
    this order.
    """
    count = table.rows
    names = [""]
    if id is None:
        which = np.zeros(count, np.int64)
    else:
        which, names = table.codes("id", id)
        if "" in names:
            raise table.wrong(
                int((which == names.index("")).argmax()),
                id,
                "is empty; expected the sequence's name",
            )
        _check_one_way(table, id, which, names, "an id")
    place = None if step is None else _places(table, step, decimal)
    forward = which[1:] == which[:-1]
    if place is not None:
        forward &= place[1:] >= place[:-1]
    forward |= which[1:] > which[:-1]
    in_order = bool(forward.all())
    rows, sorted_ids, places = np.arange(count), which, place
    if not in_order:
        rows = np.lexsort((which,) if place is None else (place, which))
        sorted_ids, places = which[rows], None if place is None else place[rows]
    if step is not None and places is not None:
        twice = (sorted_ids[1:] == sorted_ids[:-1]) & (places[1:] == places[:-1])
        if twice.any():
            i = int(twice.argmax())
            first, second = sorted((int(rows[i]), int(rows[i + 1])))
            name = names[sorted_ids[i]]
            raise table.wrong(
                second,
                step,
                f"is {table.cell(step, second)} in {_sequence(name)} again, as in line "
                f"{table.line(first)}; "
                "expected each step once",
            )
    starts = np.searchsorted(sorted_ids, np.arange(len(names)))
    return rows, starts, tuple(names), in_order


def _places(table: Table, step: str, decimal: str | None, found: str | None = None) -> NDArray[Any]:
    """Read the column of steps: numbers, or dates and times (nanoseconds, int64).

    `found` is the decimal mark of other columns.

    Numbers are float64, or int64 if they are whole and too large for float64 to tell apart.
    """
    place = table.place("step", step)
    if table.rows and _times.is_iso(table.cell(step, 0)):
        times, bad = _nanoseconds(table, place)
        if bad is not None:
            raise table.wrong(
                bad,
                step,
                f"is {_lines.shown(table.cell(step, bad))}; expected {_times.EXPECTED}, as before",
            )
        return times
    mark = decimal or found or "."
    numbers, bad = table.cells.numbers([place], slice(None), frozenset(), mark)
    may_be = mark == "." and decimal is None and table.delimiter not in ("", ",")
    if bad is not None and may_be and _has_decimal_commas(table, [step], bad, step):
        mark = ","
        numbers, bad = table.cells.numbers([place], slice(None), frozenset(), mark)
    if bad is None:
        large = len(numbers) > 0 and np.abs(numbers).max() >= _lines.EXACT
        whole = _whole_numbers(table, place) if large else None
        return numbers[:, 0] if whole is None else whole
    cell = table.cell(step, bad)
    if mark == "," and decimal is None and "." in cell:
        raise _two_marks(table, bad, step, cell)
    expected = f"a finite number, or {_times.EXPECTED}"
    if not _times.is_other_date(cell):
        expected += f" ({setting('step', None)}: the rows of a sequence are already in order)"
    raise table.wrong(bad, step, f"is {_lines.shown(cell)}; expected {expected}")


def _whole_numbers(table: Table, column: int) -> NDArray[np.int64] | None:
    """Read a column of whole numbers digit by digit; None: not all are, or one exceeds int64."""
    codes, names = table.cells.codes(column)
    try:
        return np.array([int(name) for name in names], np.int64)[codes]
    except (ValueError, OverflowError):
        return None


def _nanoseconds(table: Table, column: int) -> tuple[NDArray[np.int64], int | None]:
    """Read a column of dates or times; return also the first row that holds none."""
    codes, names = table.cells.codes(column)
    times, bad = _times.nanoseconds(names)
    return times[codes], None if bad is None else int((codes == bad).argmax())


def _check_forward(
    table: Table, rows: NDArray[np.int64], ids: NDArray[np.int64], used: Sequence[str]
) -> None:
    """Refuse rows that are said to be in order, if a column of times shows that they are not.

    Dates that are not ISO have several readings: they must fall at least as often as rise in each.
    """
    for name in table.header:
        if name in used:
            continue
        iso = _times.is_iso(table.cell(name, 0))
        readings: list[NDArray[np.int64]] = []
        if iso:
            times, bad = _nanoseconds(table, table.places[name])
            readings = [times] if bad is None else []
        elif _times.is_other_date(table.cell(name, 0)):
            codes, texts = table.cells.codes(table.places[name])
            readings = [days[codes] for days in _times.days(texts)]
        same = np.diff(ids) == 0
        ways = [np.diff(times[rows]) for times in readings]
        back = [same & (way < 0) for way in ways]
        rises = [0 if iso else np.count_nonzero(same & (way > 0)) for way in ways]
        if back and all(
            one.any() and np.count_nonzero(one) >= up for one, up in zip(back, rises, strict=True)
        ):
            i = int(rows[int(back[0].argmax()) + 1])
            raise _lines.OrderError(
                f"{table.path}:{table.line(i)}",
                f"column {name!r} is {table.cell(name, i)}, which is before the row above",
                f"rows in order of time: {setting('step', name)} puts them in order"
                + ("" if iso else ", if the column holds ISO dates such as 2024-02-28"),
            )


def _sequence(name: str) -> str:
    return f"sequence {name!r}" if name else "the sequence"


def _fill_gaps(
    table: Table,
    names: tuple[str, ...],
    parts: list[NDArray[Any]],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ids: tuple[str, ...],
    missing: str,
    wide: bool,
    hint: str,
) -> None:
    for part, start, name in zip(parts, starts.tolist(), ids, strict=True):
        gaps = np.isnan(part)
        if not gaps.any():
            continue
        i, c = divmod(int(gaps.argmax()), part.shape[1])
        if missing == "error":
            raise table.wrong(
                int(rows[start] if wide else rows[start + i]),
                names[i if wide else c],
                f"has no value; expected a number, or {gaps_setting()}",
            )
        empty = _lines.fill(part)
        if empty is not None:
            raise table.wrong(
                int(rows[start]),
                names[empty],
                f"has no value in {_sequence(name)}; expected at least one{hint}",
            )


def _codes(
    table: Table, label: str, given: tuple[str, ...] | None
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read the classes of all rows, NaN where there is none."""
    codes, texts = table.codes("label", label)
    texts = [text if text in (given or ()) else _short(text) for text in texts]
    texts = [
        "" if text.lower() in _NO_LABEL and text not in (given or ()) else text for text in texts
    ]
    found = set(texts) - {""}
    if not found:
        raise table.wrong(0, label, "has no class in any row; expected at least one")
    names = _lines.ordered(found) if given is None else given
    if given is None:
        _check_numbers_differ(table, label, codes, texts, names)
    index = {name: float(i) for i, name in enumerate(names)}
    index.setdefault("", np.nan)
    unknown = next((i for i, text in enumerate(texts) if text not in index), None)
    if unknown is not None:
        raise table.wrong(
            int((codes == unknown).argmax()),
            label,
            f"is {_lines.shown(texts[unknown])}; expected one of classes: {_lines.some(names)}",
        )
    return np.array([index[text] for text in texts])[codes], names


def _short(name: str) -> str:
    """Write 1.0000000e+00, as numpy.savetxt does and old UCR files have it, as 1."""
    return f"{float(name):.17g}" if _EXPONENT.fullmatch(name) else name


def _check_numbers_differ(
    table: Table,
    label: str,
    codes: NDArray[np.int64],
    texts: list[str],
    names: tuple[str, ...],
) -> None:
    """Refuse 1 beside 1.0, and texts that look alike: they may be one class or two."""
    alike: dict[str, str] = {}
    for name in names:
        form = unicodedata.normalize("NFC", name)
        form = form.lower() if form.lower() in _TRUTH else form
        other = alike.setdefault(form, name)
        if other != name:
            rows = [int((codes == texts.index(one)).argmax()) for one in (other, name)]
            raise _two_ways(table, label, rows, "a class")
    if not all(map(_parsing.is_number, names)):
        return
    for one, other in pairwise(names):  # sorted by value
        if float(one) == float(other):
            rows = [int((codes == texts.index(name)).argmax()) for name in (one, other)]
            raise _two_ways(table, label, rows, "a class")


def _per_sequence(
    table: Table,
    names: Sequence[str],
    values: NDArray[Any],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ids: tuple[str, ...],
    steps: str,
    masked: bool = False,
) -> NDArray[Any]:
    """Take the values of the sorted rows (NaN: none): all of them, or one for each sequence.

    masked: some may have none.
    """
    blank = np.isnan(values)
    if steps == "all":
        if blank.any() and not masked:
            i, c = divmod(int(blank.argmax()), values.shape[1])
            raise table.wrong(
                int(rows[i]),
                names[c],
                f"is empty; expected a value on each row: {setting('steps', 'all')} "
                f"({gaps_setting(among_targets=True)}: such rows count nothing; "
                f"{setting('unlabelled', 'drop')} leaves them out)",
            )
        return values
    # fmax takes what is not NaN.
    result: NDArray[Any] = np.fmax.reduceat(values, starts)
    if np.isnan(result).any() and not masked:
        i, c = divmod(int(np.isnan(result).argmax()), result.shape[1])
        raise table.wrong(
            int(rows[starts[i]]),
            names[c],
            f"has no value on any row of {_sequence(ids[i])}; expected one on one of them"
            f" ({gaps_setting(among_targets=True)}: such sequences count nothing)",
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
        remark = ""
        if blank.any():
            r, gap = divmod(int(blank.argmax()), blank.shape[1])
            remark = (
                f" with a value on each row: column {names[gap]!r} has no value in line "
                f"{table.line(rows[r])} ({setting('unlabelled', 'drop')} leaves such rows out)"
            )
        raise table.wrong(
            int(rows[second]),
            names[c],
            f"is {_lines.shown(table.cell(names[c], int(rows[second])))}, but in line "
            f"{table.line(rows[first])} of {_sequence(ids[which])} "
            f"{_lines.shown(table.cell(names[c], int(rows[first])))}",
            f"the same on all its rows, or {setting('steps', 'all')}{remark}",
        )
    return result
