"""Random tables, against pandas: the same numbers, or an error."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import FUZZ

from fastbptt.datasets import _blocks, read_csv

pd = pytest.importorskip("pandas")

GAPS = ["", "NA", "nan", "?", "null", "None", "N/A"]
WORDS = ["a", "b\u00e9", "c d", "x;y", "p,q", 's"t', "NA"]
ODD = ["x", "1_0", "0x10", "inf", "1e999", "\uff11", "--1", "1e", "1 2", "1,5"]
CASES = 100 * FUZZ


def _number(rng: np.random.Generator) -> str:
    value = float(rng.normal())
    return str(
        rng.choice(
            [
                repr(value),
                str(int(rng.integers(-(10**6), 10**6))),
                f"{value * 10.0 ** int(rng.integers(-30, 30)):.{int(rng.integers(0, 18))}e}",
                f"{value:.{int(rng.integers(0, 17))}f}",
                f"+{rng.integers(100)}",
                f"  {value:.3f} ",
                f".{rng.integers(1000)}",
                f"{rng.integers(10)}.",
                str(int(rng.integers(10**15, 9 * 10**18))),
            ]
        )
    )


def _column(rng: np.random.Generator, rows: int) -> list[str]:
    kind = rng.integers(10)
    if kind < 6:
        return [_number(rng) for _ in range(rows)]
    if kind == 6:
        return [str(rng.choice(["True", "False", "true", "FALSE"])) for _ in range(rows)]
    if kind == 7:
        return [str(rng.choice(WORDS)) for _ in range(rows)]
    others, share = (GAPS, 0.6) if kind == 8 else (ODD, 0.8)
    return [_number(rng) if rng.random() < share else str(rng.choice(others)) for _ in range(rows)]


def _table(rng: np.random.Generator) -> tuple[bytes, str, bool]:
    """Make a file: columns shuffled and doubled, quotes, line ends, blank rows, encodings."""
    rows, delimiter = int(rng.integers(1, 12)), str(rng.choice([",", ";", "\t", "|"]))
    columns = [[f"c{j}", *_column(rng, rows)] for j in range(int(rng.integers(1, 6)))]
    has_id = bool(rng.random() < 0.5)
    if has_id:
        columns.append(["id", *sorted(str(rng.choice(["a", "b", "c"])) for _ in range(rows))])
    if rng.random() < 0.08:
        columns.append(columns[0])
    if rng.random() < 0.08:
        columns[0] = [str(rng.choice(["", "7", "Gr\u00f6\u00dfe", "a b"])), *columns[0][1:]]
    columns = [columns[i] for i in rng.permutation(len(columns))]
    quote = rng.random() < 0.3

    def cell(text: str) -> str:
        if quote or delimiter in text or '"' in text:
            return '"' + text.replace('"', '""') + '"'
        return text

    cells = [[cell(one) for one in row] for row in zip(*columns, strict=True)]
    if rng.random() < 0.05:
        cells[-1].append("9")
    tail = delimiter * 2 * (rng.random() < 0.1)
    lines = [delimiter.join(row) + tail for row in cells]
    blank = delimiter * (len(columns) - 1) + tail
    place = int(rng.integers(1, len(lines) + 1))
    extra = rng.random()
    if extra < 0.1:
        lines += [blank, blank]
    elif extra < 0.3:
        lines.insert(place, str(rng.choice(["", "   ", blank])))
    end = str(rng.choice(["\n", "\r\n", "\r"]))
    text = end.join(lines) + end * (rng.random() < 0.7)
    code = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "latin-1"]))
    return text.encode(code, "replace"), delimiter, has_id


def _by_pandas(content: bytes, delimiter: str, names: tuple[str, ...], has_id: bool) -> Any:
    """Read the columns of numbers with pandas, rows sorted by the ids' first appearance."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    given: dict[str, Any] = {"dtype": str, "keep_default_na": False, "index_col": False}
    text = re.sub("\r(?!\n)", "\n", text)  # on which some releases of pandas fail
    frame = pd.read_csv(io.StringIO(text), sep=delimiter, **given)
    frame.columns = [str(name).strip() for name in frame.columns]
    frame = frame.fillna("")
    frame = frame[(frame.map(str.strip) != "").any(axis=1)]
    columns = []
    for name in names:
        cells = [cell.strip() for cell in frame[name]]
        if delimiter != "," and any("," in cell for cell in cells):
            cells = [cell.replace(",", ".") for cell in cells]
        known = {"true": 1.0, "false": 0.0, **dict.fromkeys(map(str.lower, GAPS), np.nan)}
        columns.append([known[c.lower()] if c.lower() in known else float(c) for c in cells])
    values = np.array(columns).T
    if not has_id:
        return values
    ids = [cell.strip() for cell in frame["id"]]
    return values[[i for one in dict.fromkeys(ids) for i, name in enumerate(ids) if name == one]]


def _in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Read files as large ones are read, in pieces of so many bytes and up to a line's end."""
    monkeypatch.setattr(_blocks, "WHOLE", 0)
    monkeypatch.setattr(_blocks, "PIECE", size)


@pytest.mark.parametrize("start", range(0, CASES, 50))
def test_numbers_are_those_of_pandas(
    start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "a.csv", 0
    refusals: list[str] = []
    for seed in range(start, start + 50):
        rng = np.random.default_rng(seed)
        content, delimiter, has_id = _table(rng)
        path.write_bytes(content)
        _in_pieces(monkeypatch, 16 if seed % 2 else 1 << 20)
        options: dict[str, Any] = {"id": "id" if has_id else None, "step": None, "labels": False}
        options |= {"delimiter": delimiter} if rng.random() < 0.5 else {}
        try:
            data = read_csv(path, dtype="float64", **options)
        except ValueError as error:
            refusals.append(str(error))
            continue
        expected = _by_pandas(content, delimiter, data.feature_names, has_id)
        np.testing.assert_array_equal(np.concatenate(list(data.x)), expected, str(seed))
        done += 1
    assert done > 15
    assert all(message.startswith(f"{path}:") for message in refusals)


@pytest.mark.parametrize("start", range(0, CASES, 100))
def test_a_table_in_pieces_is_the_whole_one(
    start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers and names, or the same error, whatever the pieces."""
    path = tmp_path / "a.csv"
    for seed in range(start, start + 50):
        rng = np.random.default_rng(seed)
        content, _, has_id = _table(rng)
        path.write_bytes(content)
        options: dict[str, Any] = {"id": "id" if has_id else None, "step": None, "steps": "all"}
        options |= {"target": "c0"} if rng.random() < 0.5 else {}
        options |= {"unlabelled": "drop"} if rng.random() < 0.5 else {}
        found = []
        for size in (1 << 20, 64, 1):
            _in_pieces(monkeypatch, size)
            try:
                data = read_csv(path, **options)
                y = None if data.y is None else np.concatenate(list(data.y)).tobytes()
                x = np.concatenate(list(data.x)).tobytes()
                found.append(str((x, y, data.ids, data.feature_names, data.lengths)))
            except ValueError as error:
                found.append(str(error))
        assert len(set(found)) == 1, seed
