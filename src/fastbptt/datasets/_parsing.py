"""The cells of a table: its delimiter, header, rows and columns, before anything is read into them.

Files without difficult quotes are cut at byte positions and parsed by NumPy; others go through the
``csv`` module. Both give the same cells, and the same errors.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from . import _blocks, _lines
from ._blocks import Blocks, ByteCells, Rows, Text, parsed
from .formats import argument, setting

GAPS: Final = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
_PACKED: Final = b"\x1f\x8b"  # by gzip
_PART: Final = 4  # of the memory: the text twice, while its pieces are joined, and the numbers
_PIECE: Final = 1 << 20  # bytes that are unpacked at a time
_TITLE: Final = 2  # cells of a line that may be none of a table
HEADERS: Final = ("first", "none")
_DELIMITERS: Final = ",;\t|"
_SAMPLE: Final = 50  # lines by which the delimiter is recognised
_QUOTED: Final = re.compile(r'"[^"]*"')


class Table(NamedTuple):
    """The cells of a file.

    Attributes
    ----------
    path : str
    header : tuple of str
        Without the nameless, empty columns at its end.
    places : dict
        The column of each name.
    cells : Cells
    delimiter : str
    frame_index : tuple of str
        Columns that are the index of the frame that pandas wrote.
    unknown : frozenset of str
        Columns of names in which "?" is no name: in an .arff file, it is a missing value.
    """

    path: str
    header: tuple[str, ...]
    places: dict[str, int]
    cells: Cells
    delimiter: str
    frame_index: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()

    def place(self, role: str, name: object) -> int:
        """Find a column by its name; `role` is the argument that names it."""
        if not isinstance(name, str):
            came = _check.shown(name)
            raise TypeError(f"{argument(role)} is {came}; expected the name of a column")
        found = self.places.get(name)
        if found is not None:
            return found
        hint = ""
        if role == "id":
            hint = f"; {setting('id', None)}: all rows are one sequence"
        elif role == "step":
            hint = f"; {setting('step', None)}: the rows of a sequence are already in order"
        text = (
            f"there is no column {name!r} ({setting(role)}); there are "
            f"{_lines.some([repr(one) for one in self.header])}{hint}"
        )
        kind = _lines.LayoutError if hint else _lines.FileError
        raise kind(f"{self.path}:1", text)

    def codes(self, role: str, name: object) -> tuple[NDArray[np.int64], list[str]]:
        """Number the texts of a column in the order in which they appear; "": there is none."""
        codes, texts = self.cells.codes(self.place(role, name))
        if name not in self.unknown or "?" not in texts:
            return codes, texts
        renumbered, kept = _numbered(["" if text == "?" else text for text in texts])
        return renumbered[codes], kept

    def taken(self, rows: Rows) -> Table:
        """Keep some rows."""
        return self._replace(cells=self.cells.taken(rows))

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.cells.count

    def line(self, row: int) -> int:
        """Return the line in which a row ends; of a Parquet file, the row's number."""
        return self.cells.line(int(row))

    def cell(self, name: str, row: int) -> str:
        """Return one cell."""
        return self.cells.text(row, self.places[name])

    def wrong(self, row: int, name: str, text: str, expected: str = "") -> _lines.FileError:
        """Make an error about a cell."""
        return _lines.wrong(self.path, self.line(row), f"column {name!r} {text}", expected)


class Cells(Protocol):
    """Rows and columns of cells."""

    count: int

    def line(self, row: int) -> int:
        """Return the line in which a row ends, or its number."""

    def text(self, row: int, column: int) -> str:
        """Return one cell without white space around it."""

    def taken(self, rows: Rows) -> Cells:
        """Keep some rows."""

    def codes(self, column: int) -> tuple[NDArray[np.int64], list[str]]:
        """Number a column's texts in the order in which they appear."""

    def numbers(
        self, columns: Sequence[int], rows: slice, gaps: frozenset[str], decimal: str
    ) -> tuple[NDArray[np.float64], int | None]:
        """Parse some rows of columns, float64 (rows, columns); the first wrong cell, in C order."""


def block_rows(columns: int) -> int:
    """Return how many rows of so many columns are parsed at a time."""
    return max(1, _blocks.BLOCK // max(1, columns))


# ---------------------------------------------------------------- cells


def _numbered(texts: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    index: dict[str, int] = {}
    codes = np.fromiter(
        (index.setdefault(text, len(index)) for text in texts), np.int64, len(texts)
    )
    return codes, list(index)


class TextCells:
    """Cells as texts, by column."""

    def __init__(self, columns: list[Sequence[str]], lines: NDArray[np.int32]) -> None:
        self._columns = columns
        self._lines = lines
        self.count = len(lines)

    def line(self, row: int) -> int:
        return int(self._lines[row])

    def text(self, row: int, column: int) -> str:
        return self._columns[column][row].strip()

    def taken(self, rows: Rows) -> TextCells:
        kept = np.arange(self.count)[rows].tolist()
        columns: list[Sequence[str]] = [[column[row] for row in kept] for column in self._columns]
        return TextCells(columns, self._lines[rows])

    def codes(self, column: int) -> tuple[NDArray[np.int64], list[str]]:
        return _numbered([cell.strip() for cell in self._columns[column]])

    def numbers(
        self, columns: Sequence[int], rows: slice, gaps: frozenset[str], decimal: str
    ) -> tuple[NDArray[np.float64], int | None]:
        cells = [
            cell
            for row in zip(*(self._columns[c][rows] for c in columns), strict=True)
            for cell in row
        ]
        values, bad = parsed(cells, gaps, decimal)
        return values.reshape(-1, len(columns)), bad


class ValueCells:
    """Cells as arrays or lists of texts, by column, as Parquet has them."""

    def __init__(self, columns: list[NDArray[Any] | list[str]], numbers: NDArray[np.int64]) -> None:
        self._columns = columns
        self._numbers = numbers  # of the rows, from 1
        self.count = len(numbers)

    def line(self, row: int) -> int:
        return int(self._numbers[row])

    def taken(self, rows: Rows) -> ValueCells:
        kept = np.arange(self.count)[rows].tolist()
        columns = [
            column[rows] if isinstance(column, np.ndarray) else [column[row] for row in kept]
            for column in self._columns
        ]
        return ValueCells(columns, self._numbers[rows])

    def text(self, row: int, column: int) -> str:
        value = self._columns[column][row]
        if isinstance(value, str):
            return value.strip()
        if value != value:
            return ""
        return str(int(value)) if float(value).is_integer() else repr(float(value))

    def codes(self, column: int) -> tuple[NDArray[np.int64], list[str]]:
        return _numbered([self.text(row, column) for row in range(self.count)])

    def numbers(
        self, columns: Sequence[int], rows: slice, gaps: frozenset[str], decimal: str
    ) -> tuple[NDArray[np.float64], int | None]:
        parts = []
        wrong = []
        for c, column in enumerate(columns):
            cells = self._columns[column][rows]
            if isinstance(cells, np.ndarray):
                part = cells.astype(np.float64)
                bad = int(np.isinf(part).argmax()) if np.isinf(part).any() else None
            else:
                part, bad = parsed(cells, gaps, decimal)
            if bad is not None:
                wrong.append(bad * len(columns) + c)
            parts.append(part)
        return np.column_stack(parts), min(wrong, default=None)


# ---------------------------------------------------------------- reading


def read(path: str, delimiter: str | None, header: str | None) -> Table:
    """Read a table; None: the delimiter is recognised, the first line has to hold names."""
    text: Text | None = None
    if os.path.isfile(path) and os.path.getsize(path) > _blocks.WHOLE:
        with open(path, "rb") as file:
            begin = file.read(4)
        if begin.startswith(b"PAR1"):
            return _parquet(path, delimiter, header)
        if not begin.startswith(_PACKED):
            _check_suffix(path)
            text = Text(path)
    if text is None:
        content = content_of(path)
        if content.startswith(b"PAR1"):
            return _parquet(path, delimiter, header)
        text = Text(path, content)
    table = cut(text, delimiter or _recognised(path, text.sample()))
    if not table.rows:
        raise _lines.wrong(path, None, "is empty; expected a header and one row per step")
    return _with_header(table, header)


def content_of(path: str) -> bytes:
    """Read a file, and unpack it."""
    content = _lines.read_bytes(path)
    if content.startswith(_PACKED):
        return _unpacked(path, content)
    if not content.startswith(b"PAR1"):
        _check_suffix(path)
    return content


def _unpacked(path: str, content: bytes) -> bytes:
    """Unpack a file by gzip, up to a part of the memory: a few bytes may unpack to any size."""
    limit = _core.memory_limit() // _PART
    parts: list[bytes] = []
    size = int.from_bytes(content[-4:], "little")  # as the file says, without multiples of 4 GiB
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = 0
            while size <= limit and (part := file.read(_PIECE)):
                if not parts:
                    _lines.check_unicode(path, part)
                if b"\0" in part:
                    lines = sum(one.count(b"\n") for one in (*parts, part[: part.index(b"\0")]))
                    raise _lines.wrong(path, lines + 1, "is no text file")
                parts.append(part)
                unpacked += len(part)
                size = unpacked
    except (OSError, EOFError, zlib.error) as error:
        raise _lines.wrong(path, None, f"cannot be unpacked: {error}") from None
    if size > limit:
        raise _lines.wrong(
            path,
            None,
            f"unpacks to more than {_check.bytes_text(limit)}, 1/{_PART} of the memory",
            "less, or the file unpacked (gzip -d), which is read piece by piece",
        )
    return b"".join(parts)


def _check_suffix(path: str) -> None:
    if path.lower().endswith(".parquet"):
        raise _lines.wrong(
            path, None, "is no Parquet file; rename it: .csv, if it is a table in text"
        )


def _recognised(path: str, sample: str) -> str:
    """Find the delimiter: the one that cuts the header and the first rows alike."""
    first = sample.lstrip().splitlines()[:_SAMPLE]
    lines = [_QUOTED.sub("", line) for line in first if line.strip()]
    if not lines:
        return ","
    inside = [one for one in _DELIMITERS if one in lines[0]]
    if len(inside) > 1:
        steady = [one for one in inside if len({line.count(one) for line in lines}) == 1]
        if len(steady) > 1:
            # 1,5;2,0 holds commas, but as parts of numbers
            parts = {one: [c for line in lines for c in line.split(one)] for one in steady}
            steady = [one for one, cells in parts.items() if _mostly_numbers(cells)] or steady
        inside = steady or [max(inside, key=lines[0].count)]
        if len(inside) > 1:
            raise _lines.wrong(
                path,
                1,
                f"may be cut at {' or '.join(map(repr, inside))}; expected "
                f"{setting('delimiter', *inside)}",
            )
    if inside:
        return inside[0]
    widths = {len(line.split()) for line in lines}
    return " " if len(widths) == 1 and widths != {1} else ","


def _mostly_numbers(cells: list[str]) -> bool:
    several = [is_number(cell.replace(",", ".", 1)) for cell in cells]
    return sum(several) * 2 > len(several)


def is_number(cell: str) -> bool:
    """Tell whether a cell is a number, and no gap."""
    return cell.strip().lower() not in GAPS and _lines.numbers([cell], GAPS)[1] is None


def cut(text: Text, delimiter: str) -> Table:
    """Cut a text into rows and cells; the first row is not yet the header."""
    text.collapsed = delimiter == " "
    if delimiter.isascii():
        blocks = Blocks(text, delimiter)
        if blocks.plain:
            return _cut_bytes(text, blocks, delimiter)
    return _cut_quoted(text.path, text.whole(), delimiter)


def _cut_bytes(text: Text, blocks: Blocks, delimiter: str) -> Table:
    path = text.path
    if not blocks.count:
        return Table(path, (), {}, TextCells([], np.zeros(0, np.int32)), delimiter)
    if blocks.other is not None:
        line, count = blocks.other
        raise _other_width(path, line, count, blocks.width, text.sample())
    rows = _without_blank_end(path, blocks.count, blocks.empty, blocks.line)
    cells = ByteCells(blocks, range(rows))
    return Table(path, cells.first(), {}, cells, delimiter)


def _cut_quoted(path: str, text: str, delimiter: str) -> Table:
    """Cut with the csv module."""
    source = io.StringIO(text, newline="")
    ended = False

    def all_lines() -> Iterator[str]:
        nonlocal ended
        yield from source
        ended = True

    reader = csv.reader(all_lines(), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    places: list[int] = []
    begin = 1
    try:
        for row in reader:
            begin = reader.line_num + 1
            if row and (len(row) > 1 or row[0].strip()):
                rows.append(row)
                places.append(reader.line_num)
    except csv.Error as error:
        if ended:  # within a cell
            raise _lines.wrong(
                path, begin, 'the row has a " without an end; expected a second one'
            ) from None
        raise _lines.wrong(path, reader.line_num, f"{error}; expected a CSV file") from None
    lines = np.array(places, np.int32)
    if not rows:
        return Table(path, (), {}, TextCells([], lines), delimiter)
    check_widths(path, np.array([len(row) for row in rows]), lines, text)
    empty = [i for i, row in enumerate(rows) if not "".join(row).strip()]
    count = _without_blank_end(path, len(rows), empty, places.__getitem__)
    columns: list[Sequence[str]] = list(zip(*rows[:count], strict=True))
    first = tuple(cell.strip() for cell in rows[0])
    return Table(path, first, {}, TextCells(columns, lines[:count]), delimiter)


def check_widths(path: str, counts: NDArray[Any], lines: NDArray[np.int32], text: str = "") -> None:
    """Refuse rows of another number of cells than the first one's, which `text` begins with."""
    other = counts != counts[0]
    if other.any():
        i = int(other.argmax())
        raise _other_width(path, int(lines[i]), int(counts[i]), int(counts[0]), text)


def _other_width(path: str, line: int, count: int, width: int, text: str) -> _lines.FileError:
    header = next(filter(str.strip, text.splitlines()), "")
    remark = ""
    if count > width and width <= _TITLE and header:
        remark = (
            f": {_lines.shown(header.strip())} (if this is a title or a remark, delete the lines "
            "above the names of the columns)"
        )
    return _lines.wrong(
        path, line, f"the row has {count} cells; expected {width}, as the header has{remark}"
    )


def _without_blank_end(path: str, count: int, empty: list[int], line: Callable[[int], int]) -> int:
    """Return the number of rows without the empty ones at the end; refuse others."""
    while empty and empty[-1] == count - 1:
        count = empty.pop()
    if empty:
        raise _lines.wrong(
            path,
            line(empty[0]),
            "all cells of the row are empty; expected values (empty rows are left out at the "
            "end of a file alone)",
        )
    return count


# ---------------------------------------------------------------- header


def _with_header(table: Table, header: str | None) -> Table:
    """Take the first row as names, or number the columns from 1."""
    path, line = table.path, table.line(0)
    found = table.header
    _check_delimiter(path, line, found, table.delimiter)
    if header == "none":
        width = len(found)
        names = tuple(str(c + 1) for c in range(width))
    else:
        if header is None:
            _check_names(path, line, found)
        table = table.taken(slice(1, None))
        names = found
        if not table.rows:
            raise _lines.wrong(path, None, "has no row after the header; expected one per step")
    width = len(names)
    while width > 1 and not found[width - 1] and not any(table.cells.codes(width - 1)[1]):
        width -= 1
    names = names[:width]
    index: dict[str, int] = {}
    for c, name in enumerate(names):
        if name in index and name:
            raise _lines.wrong(path, line, f"the header has {name!r} twice; expected it once")
        index.setdefault(name, c)
    return table._replace(header=names, places=index)


def _check_delimiter(path: str, line: int, header: tuple[str, ...], delimiter: str) -> None:
    if len(header) != 1:
        return
    for other in (*_DELIMITERS, " "):
        if other != delimiter and other in header[0]:
            raise _lines.wrong(
                path,
                line,
                f"the header is {_lines.shown(header[0])}, one column with "
                f"{setting('delimiter', delimiter)}; expected several: perhaps "
                f"{setting('delimiter', other)}",
            )


def _check_names(path: str, line: int, header: tuple[str, ...]) -> None:
    """Refuse a first line that holds numbers: it is no header."""
    numeric = [name for name in header if is_number(name)]
    if 2 * len(numeric) < len(header) or not numeric:
        return
    if len(numeric) < len(header) and all(map(str.isdigit, numeric)):
        values = [int(name) for name in numeric]
        if all(b - a == 1 for a, b in pairwise(values)):
            return  # the steps of a series: label,0,1,2,...
    raise _lines.LayoutError(
        f"{path}:{line}",
        f"the first line holds numbers ({_lines.some(header, 3)}), no names of columns",
        f"a header, or {setting('header', 'none')}: the columns are then called 1, 2, ..., with a "
        f"row per step, or, with {setting('layout', 'wide')}, a row per series; or "
        f"{setting('header', 'first')}: these are names",
    )


# ---------------------------------------------------------------- Parquet


def _parquet(path: str, delimiter: str | None, header: str | None) -> Table:
    for name, value in (("delimiter", delimiter), ("header", header)):
        if value is not None:
            raise ValueError(
                f"{argument(name)} is {_check.shown(value)}, but {path} is a Parquet file; "
                "expected none"
            )
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise _lines.wrong(
            path,
            None,
            "Parquet files are read through pyarrow, which is not installed; install it, or "
            "convert the file to .csv",
        ) from None
    try:
        found = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _lines.wrong(path, None, f"cannot be read as Parquet: {error}") from None
    columns: list[NDArray[Any] | list[str]] = []
    for column in found.columns:
        kind = column.type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if number and column.null_count:
            try:
                column = column.cast("float64")
            except pa.ArrowInvalid:  # integers that float64 does not hold
                number = False
        if number:
            columns.append(column.to_numpy())
        elif pa.types.is_timestamp(kind):
            columns.append(_iso(column.to_numpy(), "" if kind.tz is None else "Z"))
        else:
            columns.append(["" if one is None else str(one) for one in column.to_pylist()])
    names = tuple(name.strip() for name in found.column_names)
    about = found.schema.pandas_metadata or {}
    index_names = [one.strip() for one in about.get("index_columns", []) if isinstance(one, str)]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise _lines.wrong(path, None, f"has a column {twice!r} twice; expected it once")
    if not found.num_rows:
        raise _lines.wrong(path, None, "has no row; expected one per step")
    index = {name: c for c, name in enumerate(names)}
    cells = ValueCells(columns, np.arange(1, found.num_rows + 1))
    return Table(path, names, index, cells, "", tuple(index_names))


def _iso(times: NDArray[np.datetime64], zone: str) -> list[str]:
    """Write times as they are in text: only what is not zero behind the day; "" for none."""
    blank = np.isnat(times)
    for unit in ("s",) if zone else ("D", "s"):
        short = times.astype(f"M8[{unit}]")
        if ((short == times) | blank).all():
            times = short
            break
    texts = np.datetime_as_string(times).tolist()
    for i in np.flatnonzero(blank).tolist():
        texts[i] = ""
    return [text and text + zone for text in texts]
