"""The cells of a table: its delimiter, header, rows and columns, before anything is read into them.

Files without difficult quotes are cut at byte positions and parsed by NumPy; others go through the
``csv`` module. Both give the same cells, and the same errors.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check
from . import _lines
from .formats import argument, setting

GAPS: Final = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
Rows: TypeAlias = "slice | NDArray[np.bool_] | NDArray[np.int64]"
HEADERS: Final = ("first", "none")
_BLOCK: Final = 1 << 14  # cells parsed at a time
_DIGITS: Final = 19  # that uint64 holds
_EXACT: Final = np.uint64(1 << 53)
_FACTOR: Final = np.ones(256, np.uint64)
_FACTOR[48:58] = 10
_DIGIT: Final = np.zeros(256, np.uint64)
_DIGIT[48:58] = np.arange(10)
_POWERS: Final = 10.0 ** np.arange(_DIGITS + 1)
_LONG_POWERS: Final = np.longdouble(10) ** np.arange(_DIGITS + 1)
_SHORT: Final = 64  # bytes of cells that are copied side by side
_SPACES: Final = b" \t\x0b\x0c\x1c\x1d\x1e\x1f"  # of ASCII, but for the ends of lines
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
    lines : ndarray
        int32, shape (rows,): the line in which each row ends; of a Parquet file, its number.
    delimiter : str
    frame_index : tuple of str
        Columns that are the index of the frame that pandas wrote.
    """

    path: str
    header: tuple[str, ...]
    places: dict[str, int]
    cells: Cells
    lines: NDArray[np.int32]
    delimiter: str
    frame_index: tuple[str, ...] = ()

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
        """Number the texts of a column in the order in which they appear."""
        return self.cells.codes(self.place(role, name))

    def taken(self, rows: Rows) -> Table:
        """Keep some rows."""
        return self._replace(cells=self.cells.taken(rows), lines=self.lines[rows])

    def cell(self, name: str, row: int) -> str:
        """Return one cell."""
        return self.cells.text(row, self.places[name])

    def wrong(self, row: int, name: str, text: str, expected: str = "") -> _lines.FileError:
        """Make an error about a cell."""
        return _lines.wrong(self.path, int(self.lines[row]), f"column {name!r} {text}", expected)


class Cells(Protocol):
    """Rows and columns of cells."""

    count: int

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
    return max(1, _BLOCK // max(1, columns))


# ---------------------------------------------------------------- cells


def _parsed(
    cells: list[str], gaps: frozenset[str], decimal: str
) -> tuple[NDArray[np.float64], int | None]:
    """Parse cells one by one; with a decimal comma, a point is no part of a number."""
    if decimal == ",":
        cells = [cell.replace(".", "_").replace(",", ".") for cell in cells]
    return _lines.numbers(cells, gaps)


def _numbered(texts: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    index: dict[str, int] = {}
    codes = np.fromiter(
        (index.setdefault(text, len(index)) for text in texts), np.int64, len(texts)
    )
    return codes, list(index)


class TextCells:
    """Cells as texts, by column."""

    def __init__(self, columns: list[Sequence[str]], count: int) -> None:
        self._columns = columns
        self.count = count

    def text(self, row: int, column: int) -> str:
        return self._columns[column][row].strip()

    def taken(self, rows: Rows) -> TextCells:
        kept = np.arange(self.count)[rows].tolist()
        return TextCells([[column[row] for row in kept] for column in self._columns], len(kept))

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
        values, bad = _parsed(cells, gaps, decimal)
        return values.reshape(-1, len(columns)), bad


class ByteCells:
    """Cells as positions in the bytes of a file, UTF-8 with a line feed at each line's end.

    Cell (row, column) begins behind the end of the cell before it; `begins` has the first of
    each row. A cell in quotes has its quotes at both ends, and none within.
    """

    def __init__(
        self, content: NDArray[np.uint8], begins: NDArray[Any], ends: NDArray[Any], quoted: bool
    ) -> None:
        self._content = content
        self._begins = begins  # (rows,)
        self._ends = ends  # (rows, columns)
        self._quoted = quoted
        self.count = len(begins)

    def _spans(self, rows: slice, columns: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return where cells begin and end, each flat in C order, int64."""
        place = np.asarray(columns)
        ends = self._ends[rows][:, place].astype(np.int64)
        begins = np.empty_like(ends)
        inner = place > 0
        begins[:, inner] = self._ends[rows][:, place[inner] - 1]
        begins[:, inner] += 1
        begins[:, ~inner] = self._begins[rows, None]
        begins, ends = begins.ravel(), ends.ravel()
        if self._quoted:
            full = (ends > begins) & (self._content[np.minimum(begins, ends - 1)] == 34)
            begins += full
            ends -= full
        return begins, ends

    def _decoded(self, begins: NDArray[Any], ends: NDArray[Any]) -> list[str]:
        if not len(begins):
            return []
        width = int((ends - begins).max())
        if 0 < width <= _SHORT:
            grid = np.ascontiguousarray(self._grid(begins, ends, width).T)
            joined = b"\n".join(grid.view(f"S{width}")[:, 0].tolist())
        else:
            whole = self._content.data
            spans = zip(begins.tolist(), ends.tolist(), strict=True)
            joined = b"\n".join([whole[begin:end] for begin, end in spans])
        cells = joined.decode().split("\n")
        plain = joined.isascii() and len(joined.translate(None, _SPACES)) == len(joined)
        return cells if plain else [cell.strip() for cell in cells]

    def taken(self, rows: Rows) -> ByteCells:
        return ByteCells(self._content, self._begins[rows], self._ends[rows], self._quoted)

    def text(self, row: int, column: int) -> str:
        return self._decoded(*self._spans(slice(row, row + 1), [column]))[0]

    def codes(self, column: int) -> tuple[NDArray[np.int64], list[str]]:
        # Rows of one sequence usually follow one another: only the first of a run is decoded.
        index: dict[str, int] = {}
        codes = np.empty(self.count, np.int64)
        for start in range(0, self.count, _BLOCK):
            begins, ends = self._spans(slice(start, start + _BLOCK), [column])
            widths = ends - begins
            heads = np.ones(len(begins), bool)
            width = int(widths.max())
            if width <= _SHORT:
                grid = self._grid(begins, ends, width)
                heads[1:] = (grid[:, 1:] != grid[:, :-1]).any(axis=0)
                heads[1:] |= widths[1:] != widths[:-1]
            found = [
                index.setdefault(text, len(index))
                for text in self._decoded(begins[heads], ends[heads])
            ]
            runs = np.cumsum(heads) - 1
            codes[start : start + len(begins)] = np.array(found, np.int64)[runs]
        return codes, list(index)

    def _grid(self, begins: NDArray[Any], ends: NDArray[Any], width: int) -> NDArray[np.uint8]:
        """Copy cells side by side, (width, cells); 0 behind their ends."""
        grid = np.empty((width, len(begins)), np.uint8)
        at = begins.copy()
        for row in grid:
            np.take(self._content, at, out=row, mode="clip")
            row *= at < ends
            at += 1
        return grid

    def numbers(
        self, columns: Sequence[int], rows: slice, gaps: frozenset[str], decimal: str
    ) -> tuple[NDArray[np.float64], int | None]:
        begins, ends = self._spans(rows, columns)
        values, done = self._plain(begins, ends, decimal)
        bad = None
        rest = np.flatnonzero(~done)
        if len(rest):
            values[rest], wrong = _parsed(self._decoded(begins[rest], ends[rest]), gaps, decimal)
            bad = None if wrong is None else int(rest[wrong])
        return values.reshape(-1, len(columns)), bad

    def _plain(
        self, begins: NDArray[Any], ends: NDArray[Any], decimal: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Parse cells of up to 19 digits with a sign and a point; tell which ones are done."""
        widths = ends - begins
        grid = self._grid(begins, ends, min(int(widths.max()), _DIGITS + 2))
        if not len(grid):
            return np.empty(len(begins)), np.zeros(len(begins), bool)
        points = grid == ord(decimal)
        pointed = points.any(axis=0)
        negative = grid[0] == ord("-")
        signed = negative | (grid[0] == ord("+"))
        digits = ((grid - np.uint8(48)) < 10).sum(axis=0, dtype=np.uint8)
        done = (digits > 0) & (digits <= _DIGITS) & (digits + pointed + signed == widths)
        whole = np.zeros(len(begins), np.uint64)
        for char in grid:
            whole *= _FACTOR[char]
            whole += _DIGIT[char]
        place = np.arange(len(grid), dtype=np.uint8)[:, None]
        at = (points * place).sum(axis=0, dtype=np.uint8)  # of the point
        behind = np.where(done & pointed, widths - 1 - at, 0)
        # Up to 53 bits and powers of ten below 10**23 are exact: one rounding, by the division.
        values = whole / _POWERS[behind]
        long = np.flatnonzero(done & (whole > _EXACT))
        if len(long):
            values[long], exact = _divided(whole[long], behind[long])
            done[long] &= exact
        np.negative(values, out=values, where=negative)
        return values, done


def _divided(
    whole: NDArray[np.uint64], behind: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Divide by powers of ten, rounded once; tell which quotients are known to be so.

    A quotient of 64 bits or more rounds to 53 as the exact one does, unless it lies in the middle
    between two numbers.
    """
    if np.finfo(np.longdouble).nmant < 63:
        return np.empty(len(whole)), np.zeros(len(whole), bool)
    quotient = whole.astype(np.longdouble) / _LONG_POWERS[behind]
    values = quotient.astype(np.float64)
    rest = np.abs(quotient - values)
    half = np.spacing(values).astype(np.longdouble) / 2
    return values, (rest != half) & (2 * rest != half)


class ValueCells:
    """Cells as arrays or lists of texts, by column, as Parquet has them."""

    def __init__(self, columns: list[NDArray[Any] | list[str]], count: int) -> None:
        self._columns = columns
        self.count = count

    def taken(self, rows: Rows) -> ValueCells:
        kept = np.arange(self.count)[rows].tolist()
        columns = [
            column[rows] if isinstance(column, np.ndarray) else [column[row] for row in kept]
            for column in self._columns
        ]
        return ValueCells(columns, len(kept))

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
                part, bad = _parsed(cells, gaps, decimal)
            if bad is not None:
                wrong.append(bad * len(columns) + c)
            parts.append(part)
        return np.column_stack(parts), min(wrong, default=None)


# ---------------------------------------------------------------- reading


def read(path: str, delimiter: str | None, header: str | None) -> Table:
    """Read a table; None: the delimiter is recognised, the first line has to hold names."""
    content = content_of(path)
    if content.startswith(b"PAR1"):
        return _parquet(path, delimiter, header)
    if not content.isascii() or b"\0" in content:
        content = _lines.decoded(path, content).encode()
    table = cut(path, content, delimiter or _recognised(path, content))
    if not len(table.lines):
        raise _lines.wrong(path, None, "is empty; expected a header and one row per step")
    return _with_header(table, header)


def content_of(path: str) -> bytes:
    """Read a file, and unpack it."""
    content = _lines.read_bytes(path)
    if content.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _lines.wrong(path, None, f"cannot be unpacked: {error}") from None
    if path.lower().endswith(".parquet") and not content.startswith(b"PAR1"):
        raise _lines.wrong(
            path, None, "is no Parquet file; rename it: .csv, if it is a table in text"
        )
    return content


def _recognised(path: str, content: bytes) -> str:
    """Find the delimiter: the one that cuts the header and the first rows alike."""
    sample = content[: 1 << 20].decode(errors="replace").lstrip().splitlines()[:_SAMPLE]
    lines = [_QUOTED.sub("", line) for line in sample if line.strip()]
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


def cut(path: str, content: bytes, delimiter: str) -> Table:
    """Cut a text in UTF-8 into rows and cells; the first row is not yet the header."""
    table = None
    if delimiter.isascii():
        if delimiter == " " and b'"' not in content:
            lines = content.splitlines()
            content = b"\n".join([b" ".join(line.split()) for line in lines])
        plain = content
        if b"\r" in content:
            plain = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        table = _cut_bytes(path, plain, delimiter)
    return table or _cut_quoted(path, content.decode(), delimiter)


def _cut_bytes(path: str, content: bytes, delimiter: str) -> Table | None:
    """Cut at byte positions; None: quotes in it need a state machine."""
    if not content.endswith(b"\n"):
        content += b"\n"
    array = np.frombuffer(content, np.uint8)
    quoted = b'"' in content
    found = []
    kind = np.int32 if len(array) < 1 << 31 else np.int64
    inside = 0
    for start in range(0, len(array), 1 << 20):
        part = array[start : start + (1 << 20)]
        ends = (part == ord(delimiter)) | (part == 10)
        if quoted:
            depth = (np.cumsum(part == 34) + inside) & 1
            inside = int(depth[-1])
            if (depth[part == 10] == 1).any():
                return None
            ends &= depth == 0
        found.append((np.flatnonzero(ends) + start).astype(kind))
    ends = np.concatenate(found)
    if quoted and not _plainly_quoted(array, delimiter):
        return None
    last = np.flatnonzero(array[ends] == 10)  # of each line, its last cell
    counts = np.diff(last, prepend=-1)
    begins = np.concatenate([np.zeros(1, kind), ends[last[:-1]] + kind(1)])
    stops = ends[last]
    blank = begins == stops
    for i in np.flatnonzero(~blank & (counts == 1) & (array[begins] <= 32)):
        blank[i] = not content[begins[i] : stops[i]].strip()
    lines = np.flatnonzero(~blank).astype(np.int32) + 1
    if not len(lines):
        return Table(path, (), {}, TextCells([], 0), lines, delimiter)
    if blank.any():
        ends = ends[np.repeat(~blank, counts)]
        begins, counts = begins[~blank], counts[~blank]
    width = int(counts[0])
    check_widths(path, counts, lines)
    cells = ByteCells(array, begins, ends.reshape(-1, width), quoted)
    first = (
        tuple(cells.text(0, c) for c in range(width))
        if width < 64
        else tuple(cells._decoded(*cells._spans(slice(0, 1), range(width))))
    )
    # Rows in which no cell holds anything begin with a delimiter, a space, or quotes around it.
    empty = []
    head = array[begins]
    nothing = np.isin(head, [ord(delimiter), 32, 9]) | ((head == 34) & (array[begins + 1] <= 34))
    for i in np.flatnonzero(nothing):
        row = content[begins[i] : int(cells._ends[i, -1])]
        if not row.translate(None, b'"' + delimiter.encode()).strip():
            empty.append(int(i))
    rows = _without_blank_end(path, lines, empty)
    return Table(
        path,
        first,
        {},
        ByteCells(array, begins[:rows], cells._ends[:rows], quoted),
        lines[:rows],
        delimiter,
    )


def _plainly_quoted(array: NDArray[np.uint8], delimiter: str) -> bool:
    """Tell whether every cell with quotes has one at each end and none within."""
    quotes = np.flatnonzero(array == 34)
    if len(quotes) % 2:
        return False
    outside = np.zeros(256, bool)
    outside[[10, ord(delimiter)]] = True
    before = array[quotes[::2] - 1]  # at the start of the file, the line feed at its end
    return bool(outside[before].all() and outside[array[quotes[1::2] + 1]].all())


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
        return Table(path, (), {}, TextCells([], 0), lines, delimiter)
    check_widths(path, np.array([len(row) for row in rows]), lines)
    empty = [i for i, row in enumerate(rows) if not "".join(row).strip()]
    count = _without_blank_end(path, lines, empty)
    columns: list[Sequence[str]] = list(zip(*rows[:count], strict=True))
    first = tuple(cell.strip() for cell in rows[0])
    return Table(path, first, {}, TextCells(columns, count), lines[:count], delimiter)


def check_widths(path: str, counts: NDArray[Any], lines: NDArray[np.int32]) -> None:
    """Refuse rows of another number of cells than the first one's."""
    other = counts != counts[0]
    if other.any():
        i = int(other.argmax())
        raise _lines.wrong(
            path,
            int(lines[i]),
            f"the row has {counts[i]} cells; expected {counts[0]}, as the header has",
        )


def _without_blank_end(path: str, lines: NDArray[np.int32], empty: list[int]) -> int:
    """Return the number of rows without the empty ones at the end; refuse others."""
    count = len(lines)
    while empty and empty[-1] == count - 1:
        count = empty.pop()
    if empty:
        raise _lines.wrong(
            path,
            int(lines[empty[0]]),
            "all cells of the row are empty; expected values (empty rows are left out at the "
            "end of a file alone)",
        )
    return count


# ---------------------------------------------------------------- header


def _with_header(table: Table, header: str | None) -> Table:
    """Take the first row as names, or number the columns from 1."""
    path, line = table.path, int(table.lines[0])
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
        if not len(table.lines):
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
    lines = np.arange(1, found.num_rows + 1, dtype=np.int32)
    cells = ValueCells(columns, found.num_rows)
    return Table(path, names, index, cells, lines, "", tuple(index_names))


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
