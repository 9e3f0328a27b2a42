"""The cells of a text file, block by block: of a large file, one block is in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from . import _lines

Rows: TypeAlias = "slice | NDArray[np.bool_] | NDArray[np.int64]"
PIECE: Final = 1 << 19  # bytes that are read and cut at a time, up to the end of a line
_SAMPLE: Final = 1 << 19  # bytes by which the delimiter is recognised
_LINE: Final = 1 << 28  # bytes of a line at most
WHOLE: Final = 1 << 22  # bytes of a file that is kept in memory
BLOCK: Final = 1 << 14  # cells parsed at a time
_SHORT: Final = 64  # bytes of cells that are copied side by side
_SPACES: Final = b" \t\x0b\x0c\x1c\x1d\x1e\x1f"  # of ASCII, but for the ends of lines


# ---------------------------------------------------------------- text


class Text:
    """A text, in pieces that end where lines end: UTF-8 with a line feed at each line's end.

    A large file is read again for each use.

    Attributes
    ----------
    path : str
    quoted : bool
        Whether there are quotes.
    collapsed : bool
        Whether spaces around cells are left out, and several between them are one.
    count : int
        The number of pieces.
    """

    def __init__(self, path: str, content: bytes | None = None) -> None:
        self.path = path
        self.quoted = self.collapsed = False
        self._content = content
        self._state = None if content is not None else _state(os.stat(path))
        self._size = os.path.getsize(path) if content is None else len(content)
        self._latin = False
        self._spans: list[tuple[int, int]] = []
        self._scan()
        self.count = len(self._spans)

    def _scan(self) -> None:
        """Find the pieces and the encoding."""
        _lines.check_unicode(self.path, self._read(0, 4))
        offset = 0
        while offset < self._size:
            piece = self._read(offset, PIECE)
            size = _to_line_end(piece)
            while size is None and b"\0" not in piece:
                if len(piece) > _LINE:
                    line = sum(self._read(*span).count(b"\n") for span in self._spans) + 1
                    most = _check.bytes_text(_LINE)
                    raise _lines.wrong(self.path, line, f"the line is longer than {most}")
                more = self._read(offset + len(piece), len(piece))
                piece += more
                size = _to_line_end(piece) if more else len(piece)
            size = len(piece) if size is None else size
            piece = piece[:size]
            if b"\0" in piece:
                before = [self._read(*span) for span in self._spans]
                lines = sum(one.count(b"\n") for one in before)
                lines += piece[: piece.index(b"\0")].count(b"\n")
                raise _lines.wrong(self.path, lines + 1, "is no text file")
            if not self._latin and not piece.isascii():
                try:
                    piece.decode()
                except UnicodeDecodeError:
                    self._latin = True  # old files: usually only in comments
            self.quoted = self.quoted or b'"' in piece
            self._spans.append((offset, size))
            offset += size

    def _read(self, offset: int, size: int) -> bytes:
        if self._content is not None:
            return self._content[offset : offset + size]
        with open(self.path, "rb") as file:
            if _state(os.fstat(file.fileno())) != self._state:
                raise self.changed()
            file.seek(offset)
            return file.read(size)

    def piece(self, i: int) -> bytes:
        """Return a piece, with a line feed at its end."""
        offset, size = self._spans[i]
        piece = self._read(offset, size)
        if len(piece) != size:
            raise self.changed()
        if self._latin:
            piece = piece.decode("latin-1").encode()
        elif i == 0:
            piece = piece.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self.collapsed and not self.quoted:
            lines = piece.split(b"\n")
            piece = b"\n".join([b" ".join(line.split()) for line in lines])
        return piece if piece.endswith(b"\n") else piece + b"\n"

    def changed(self) -> _lines.FileError:
        """Make an error about a file that is not the one whose lines were counted."""
        return _lines.wrong(self.path, None, "was changed while it was read; expected it to stay")

    def sample(self) -> str:
        """Return the beginning."""
        return self._read(0, _SAMPLE).decode(errors="replace").removeprefix("\ufeff")

    def whole(self) -> str:
        """Return everything as it is, line ends included."""
        content = self._read(0, self._size)
        return content.decode("latin-1") if self._latin else content.decode("utf-8-sig")


def _state(file: os.stat_result) -> tuple[int, int, int]:
    """Return what differs when a file has been written to."""
    return file.st_ino, file.st_size, file.st_mtime_ns


def _to_line_end(piece: bytes) -> int | None:
    """Return the size up to the end of the last whole line; None: there is none."""
    size = piece.rfind(b"\n") + 1 or piece.rfind(b"\r", 0, -1) + 1
    return size or None


# ---------------------------------------------------------------- blocks


class _Cut(NamedTuple):
    """The lines of a piece that are not blank."""

    content: NDArray[np.uint8]
    begins: NDArray[np.int64]  # (rows,)
    ends: NDArray[np.int64]  # of all cells
    counts: NDArray[np.int64]  # (rows,): their cells
    lines: NDArray[np.int64]  # (rows,): the line of each, from 0
    height: int  # lines, the blank ones included

    def widths(self) -> NDArray[np.uint8] | None:
        """Return the widths of all cells, from which their ends follow; None: they do not."""
        widths = np.diff(self.ends, prepend=-1) - 1
        known = len(self.lines) == self.height and len(widths) and widths.max() < 256
        return widths.astype(np.uint8) if known else None


class _Block(NamedTuple):
    """The rows of a piece: cell c lies between the edges c and c + 1, without these."""

    content: NDArray[np.uint8]
    edges: NDArray[np.int64]  # (rows, columns + 1)
    lines: NDArray[np.int64]  # (rows,): the line of each, from 0


class Blocks:
    """A text cut into rows and cells.

    Attributes
    ----------
    path : str
    plain : bool
        False: quotes in it need a state machine, and nothing else is known.
    count, width : int
        The number of rows, and of cells of each; ``width`` is that of the first row.
    other : tuple of int or None
        The line and the number of cells of the first row that has not `width`.
    empty : list of int
        Rows of which no cell holds anything.
    """

    def __init__(self, text: Text, delimiter: str) -> None:
        self.path, self._text, self._delimiter = text.path, text, delimiter
        self.plain, self.width = True, 0
        self.other: tuple[int, int] | None = None
        self.empty: list[int] = []
        self._kept: tuple[int, _Block] | None = None
        self._widths: list[NDArray[np.uint8] | None] = []
        starts, heights = [0], [0]
        for i in range(text.count):
            block = self._cut(i)
            if block is None:
                self.plain = False
                return
            if len(block.begins):
                self.width = self.width or int(block.counts[0])
                other = block.counts != self.width
                if self.other is None and other.any():
                    row = int(other.argmax())
                    self.other = (heights[-1] + int(block.lines[row]) + 1, int(block.counts[row]))
                if self.other is None:
                    self.empty += [starts[-1] + row for row in self._empty(block)]
            self._widths.append(block.widths())
            starts.append(starts[-1] + len(block.begins))
            heights.append(heights[-1] + block.height)
        self.starts = np.array(starts, np.int64)  # of the rows
        self._heights = heights
        self.count = starts[-1]

    def _cut(self, i: int) -> _Cut | None:
        """Cut a piece at byte positions; None: not every cell with quotes is within a pair."""
        content = self._text.piece(i)
        array = np.frombuffer(content, np.uint8)
        found = _core.find_cells(array, self._delimiter)
        if found is None or (self.quoted and not _plainly_quoted(array, self._delimiter)):
            return None
        ends, last = found
        counts = np.diff(last, prepend=-1)
        begins = np.zeros(len(last), np.int64)
        begins[1:] = ends[last[:-1]] + 1
        stops = ends[last]
        blank = begins == stops
        for row in np.flatnonzero(~blank & (counts == 1) & (array[begins] <= 32)).tolist():
            blank[row] = not content[begins[row] : stops[row]].strip()
        height = len(begins)
        lines = np.arange(height)
        if blank.any():
            ends = ends[np.repeat(~blank, counts)]
            begins, counts, lines = begins[~blank], counts[~blank], lines[~blank]
        return _Cut(array, begins, ends, counts, lines, height)

    def _empty(self, block: _Cut) -> list[int]:
        """Find rows in which no cell holds anything."""
        # They begin with a delimiter, a space, or quotes around it.
        array, begins = block.content, block.begins
        head = array[begins]
        nothing = np.isin(head, [ord(self._delimiter), 32, 9])
        nothing |= (head == 34) & (array[begins + 1] <= 34)
        stops = block.ends[np.cumsum(block.counts) - 1]
        rest = b'"' + self._delimiter.encode()
        return [
            row
            for row in np.flatnonzero(nothing).tolist()
            if not array[begins[row] : stops[row]].tobytes().translate(None, rest).strip()
        ]

    @property
    def quoted(self) -> bool:
        """Whether cells may have quotes at both ends."""
        return self._text.quoted

    def block(self, i: int) -> _Block:
        """Return a block; the last one is kept."""
        if self._kept is None or self._kept[0] != i:
            self._kept = i, self._edged(i)
        return self._kept[1]

    def _edged(self, i: int) -> _Block:
        rows = int(self.starts[i + 1] - self.starts[i])
        edges = np.empty((rows, self.width + 1), np.int64)
        widths = self._widths[i]
        if widths is None:
            found = self._cut(i)
            if found is None or len(found.begins) != rows or (found.counts != self.width).any():
                raise self._text.changed()
            edges[:, 0] = found.begins - 1
            edges[:, 1:] = found.ends.reshape(rows, self.width)
            return _Block(found.content, edges, found.lines)
        content = np.frombuffer(self._text.piece(i), np.uint8)
        steps = widths.astype(np.int64)
        steps += 1
        steps[0] -= 1
        edges[:, 1:] = np.cumsum(steps, out=steps).reshape(rows, self.width)
        edges[0, 0] = -1
        edges[1:, 0] = edges[:-1, -1]
        if edges[-1, -1] != len(content) - 1 or (content[edges[:, -1]] != 10).any():
            raise self._text.changed()
        return _Block(content, edges, np.arange(rows))

    def line(self, row: int) -> int:
        """Return the line in which a row ends."""
        i = int(np.searchsorted(self.starts, row, "right")) - 1
        return self._heights[i] + int(self.block(i).lines[row - self.starts[i]]) + 1


def _plainly_quoted(array: NDArray[np.uint8], delimiter: str) -> bool:
    """Tell whether every cell with quotes has one at each end and none within."""
    quotes = np.flatnonzero(array == 34)
    if len(quotes) % 2:
        return False
    outside = np.zeros(256, bool)
    outside[[10, ord(delimiter)]] = True
    before = array[quotes[::2] - 1]  # at the start, the line feed at the end
    return bool(outside[before].all() and outside[array[quotes[1::2] + 1]].all())


# ---------------------------------------------------------------- cells


def parsed(
    cells: list[str], gaps: frozenset[str], decimal: str
) -> tuple[NDArray[np.float64], int | None]:
    """Parse cells one by one; with a decimal comma, a point is no part of a number."""
    if decimal == ",":
        cells = [cell.replace(".", "_").replace(",", ".") for cell in cells]
    return _lines.numbers(cells, gaps)


class ByteCells:
    """Cells of blocks.

    Within a block, cell (row, column) begins behind the end of the cell before it, and ``begins``
    has the first of each row. A cell in quotes has its quotes at both ends, and none within.
    """

    def __init__(self, blocks: Blocks, rows: range | NDArray[np.int64]) -> None:
        self._blocks = blocks
        self._rows = rows
        self.count = len(rows)

    def line(self, row: int) -> int:
        return self._blocks.line(int(self._rows[row]))

    def taken(self, rows: Rows) -> ByteCells:
        if isinstance(rows, slice):
            return ByteCells(self._blocks, self._rows[rows])
        return ByteCells(self._blocks, np.asarray(self._rows)[rows])

    def _parts(
        self, rows: range | NDArray[np.int64]
    ) -> Iterator[tuple[slice | NDArray[np.int64], _Block, slice | NDArray[np.int64]]]:
        """Go through blocks: where rows stand among those asked for, the block, rows in it."""
        starts = self._blocks.starts
        if isinstance(rows, range):
            at = rows.start
            while at < rows.stop:
                i = int(np.searchsorted(starts, at, "right")) - 1
                stop, first = min(rows.stop, int(starts[i + 1])), int(starts[i])
                block = self._blocks.block(i)
                yield (
                    slice(at - rows.start, stop - rows.start),
                    block,
                    slice(at - first, stop - first),
                )
                at = stop
            return
        which = np.searchsorted(starts, rows, "right") - 1
        for i in np.unique(which).tolist():
            where = np.flatnonzero(which == i)
            yield where, self._blocks.block(i), rows[where] - starts[i]

    def _spans(
        self, block: _Block, rows: slice | NDArray[np.int64], columns: Sequence[int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where cells begin and end, each flat in C order."""
        place = np.asarray(columns)
        edges = block.edges[rows]
        if len(place) == place[-1] - place[0] + 1 and (np.diff(place) == 1).all():
            begins = edges[:, place[0] : place[-1] + 1].ravel()
            ends = edges[:, place[0] + 1 : place[-1] + 2].ravel()
        else:
            begins, ends = edges[:, place].ravel(), edges[:, place + 1].ravel()
        begins = begins + 1
        if self._blocks.quoted:
            full = (ends > begins) & (block.content[np.minimum(begins, ends - 1)] == 34)
            begins += full
            ends = ends - full
        return begins, ends

    def first(self) -> tuple[str, ...]:
        """Return the cells of the first row."""
        for _, block, rows in self._parts(range(1)):
            begins, ends = self._spans(block, rows, range(self._blocks.width))
            return tuple(_decoded(block.content, begins, ends))
        return ()

    def text(self, row: int, column: int) -> str:
        row = int(self._rows[row])
        for _, block, rows in self._parts(range(row, row + 1)):
            return _decoded(block.content, *self._spans(block, rows, [column]))[0]
        raise IndexError(row)

    def codes(self, column: int) -> tuple[NDArray[np.int64], list[str]]:
        # Rows of one sequence usually follow one another: only the first of a run is decoded.
        index: dict[str, int] = {}
        codes = np.empty(self.count, np.int64)
        for where, block, rows in self._parts(self._rows):
            begins, ends = self._spans(block, rows, [column])
            part = np.empty(len(begins), np.int64)
            for start in range(0, len(begins), BLOCK):
                span = slice(start, start + BLOCK)
                heads = _run_heads(block.content, begins[span], ends[span])
                texts = _decoded(block.content, begins[span][heads], ends[span][heads])
                found = [index.setdefault(text, len(index)) for text in texts]
                part[span] = np.array(found, np.int64)[np.cumsum(heads) - 1]
            codes[where] = part
        if isinstance(self._rows, range):
            return codes, list(index)
        # The blocks came in order, but the rows perhaps did not.
        _, place = np.unique(codes, return_index=True)
        order = np.argsort(place)
        names = list(index)
        return np.argsort(order)[codes], [names[i] for i in order.tolist()]

    def numbers(
        self, columns: Sequence[int], rows: slice, gaps: frozenset[str], decimal: str
    ) -> tuple[NDArray[np.float64], int | None]:
        chosen = self._rows[rows]
        values = np.empty((len(chosen), len(columns)))
        wrong: list[int] = []
        for where, block, own in self._parts(chosen):
            begins, ends = self._spans(block, own, columns)
            part, bad = _numbers(block.content, begins, ends, gaps, decimal)
            values[where] = part.reshape(-1, len(columns))
            if bad is not None:
                row, column = divmod(bad, len(columns))
                at = where.start + row if isinstance(where, slice) else int(where[row])
                wrong.append(at * len(columns) + column)
        return values, min(wrong, default=None)


def _run_heads(
    content: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which cells differ from the one before, as far as that is quickly seen."""
    widths = ends - begins
    heads = np.ones(len(begins), bool)
    width = int(widths.max())
    if width <= _SHORT:
        grid = _grid(content, begins, ends, width)
        heads[1:] = (grid[:, 1:] != grid[:, :-1]).any(axis=0)
        heads[1:] |= widths[1:] != widths[:-1]
    return heads


def _decoded(
    content: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> list[str]:
    if not len(begins):
        return []
    width = int((ends - begins).max())
    if 0 < width <= _SHORT:
        grid = np.ascontiguousarray(_grid(content, begins, ends, width).T)
        joined = b"\n".join(grid.view(f"S{width}")[:, 0].tolist())
    else:
        whole = content.data
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        joined = b"\n".join([whole[begin:end] for begin, end in spans])
    cells = joined.decode().split("\n")
    plain = joined.isascii() and len(joined.translate(None, _SPACES)) == len(joined)
    return cells if plain else [cell.strip() for cell in cells]


def _grid(
    content: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64], width: int
) -> NDArray[np.uint8]:
    """Copy cells side by side, (width, cells); 0 behind their ends."""
    grid = np.empty((width, len(begins)), np.uint8)
    at = begins.copy()
    for row in grid:
        np.take(content, at, out=row, mode="clip")
        row *= at < ends
        at += 1
    return grid


def _numbers(
    content: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    gaps: frozenset[str],
    decimal: str,
) -> tuple[NDArray[np.float64], int | None]:
    """Parse cells; the first wrong one."""
    values, done = _core.read_decimals(content, begins, ends, decimal)
    rest = np.flatnonzero(~done)
    if not len(rest):
        return values, None
    values[rest], wrong = parsed(_decoded(content, begins[rest], ends[rest]), gaps, decimal)
    return values, None if wrong is None else int(rest[wrong])
