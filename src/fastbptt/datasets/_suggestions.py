"""Options with which a table can be read whose columns have other names than the default ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

from . import _lines, _parsing, _times
from ._parsing import GAPS, Table
from .formats import setting
from .sequences import Sequences

_FEW: Final = 20  # names of a category, or classes
_LABELS: Final = ("label", "class")  # columns of classes, in any case
_WIDE: Final = 4  # columns at least that are the steps of a series
_NUMBERED: Final = re.compile(r"(.*?)(\d{1,9})")
_DECORATED: Final = re.compile(
    r"[+-]?[$€£]?\s?[+-]?"
    r"(?:\d{1,3}(?:[,' ]\d{3})+|\d{1,3}(?:\.\d{3})+(?=,)|\d+)(?:[.,]\d+)?\s?[%$€£]?"
)


def suggested(
    read_csv: Callable[..., Sequences], path: str, given: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Suggest arguments of `read_csv`, beside those that are given, which read the table.

    They give it labels, too. None: none were found. What they mean is a guess.

    Raises
    ------
    FileError
        If no option would help: rows that are not in order of time, numbers with units or marks of
        thousands, series without labels.
    """
    form = [given.get("delimiter"), given.get("header")]
    more: dict[str, Any] = {}
    try:
        try:
            table = _parsing.read(path, form[0], form[1])
        except _lines.LayoutError:
            more["header"] = "none"
            table = _parsing.read(path, form[0], "none")
        guess = _roles(table, given, "header" in more)
    except (ValueError, TypeError):
        return None
    _check_plain(table)
    if guess is None:
        raise _lines.wrong(
            path,
            table.line(0),
            "each row seems to be a series, as the columns are numbered or are dates; but no "
            "column holds labels",
            f"{setting('layout', 'wide')} with {setting('id')} and {setting('label_file')}, or to "
            "predict the next value, the series as a .tsf file",
        )
    more |= guess
    for labels in ({}, {"steps": "all"}, {"steps": "all", "unlabelled": "drop"}):
        every = {**labels, **more, **given}
        try:
            found = read_csv(path, **{**every, "missing": "nan"})
        except _lines.OrderError:
            raise
        except (ValueError, TypeError):
            continue
        if found.y is not None:
            more = {name: value for name, value in every.items() if name not in given}
            break
    else:
        return None
    if any(np.isnan(one).any() for one in found.x):
        more["missing"] = "interpolate"
        try:
            read_csv(path, **{**given, **more})
        except ValueError:
            return None
    return more


def _check_plain(table: Table) -> None:
    """Refuse numbers such as 1,200 and $3.50 and 7%."""
    for name in table.header:
        texts = [text for text in _texts(table, name) if text.lower() not in GAPS]
        amounts = [text for text in texts if _DECORATED.fullmatch(text)]
        decorated = [text for text in amounts if not _parsing.is_number(text)]
        if decorated and 2 * len(amounts) > len(texts) and not _is_numeric(table, name):
            codes, every = table.codes("features", name)
            text = decorated[0]
            raise table.wrong(
                int((codes == every.index(text)).argmax()),
                name,
                f"is {_lines.shown(text)}",
                "a number without units and marks of thousands",
            )


def _wide(table: Table, given: Mapping[str, Any], steps: list[str]) -> dict[str, Any] | None:
    """Guess the roles of columns in a table with a row per series; None: there are no labels."""
    others = [name for name in table.header if name not in steps]
    more: dict[str, Any] = {"layout": "wide"}
    if not {"label", "target", "label_file"} & given.keys() and "label" not in others:
        named = [name for name in others if name.lower() in (*_LABELS, "target", "y")]
        several = [name for name in others if 1 < len(_texts(table, name)) <= _FEW]
        free = [name for name in (*named, *several) if len(_texts(table, name)) < table.rows]
        if not free:
            return None
        more["label"] = free[0]
    used = {given.get("id"), given.get("label"), *_listed(given.get("target")), more.get("label")}
    rest = [name for name in others if name not in used | {"id", "label"}]
    if "id" not in given and "id" not in others:
        names = (name for name in rest if len(_texts(table, name)) == table.rows)
        unique = next(names, None)
        more |= {} if unique is None else {"id": unique}
        rest = [name for name in rest if name != unique]
    if rest and "features" not in given and "exclude" not in given:
        more["exclude"] = rest
    return more


def _steps_of_wide(table: Table, numeric: list[str]) -> list[str]:
    """Find columns that are the steps of one series: numbered from one to the next, or dates."""
    dates = [name for name in numeric if _times.is_iso(name) or _times.is_other_date(name)]
    longest, run = dates, numeric[:1]
    for before, name in pairwise(numeric):
        pair = [_NUMBERED.fullmatch(one) for one in (before, name)]
        stems = [(one[1], int(one[2])) for one in pair if one is not None]
        follows = len(stems) == 2 and stems[1] == (stems[0][0], stems[0][1] + 1)
        run = [*run, name] if follows else [name]
        longest = max(longest, run, key=len)
    return longest


def _timed(table: Table, given: Mapping[str, Any]) -> dict[str, Any]:
    """Guess the column of times and, if times occur several times, that of the sequences."""
    id = given.get("id", "id" if "id" in table.places else None)
    for name in table.header:
        if not _times.is_iso(table.cell(name, 0)):
            continue
        codes, texts = table.codes("step", name)
        if _times.nanoseconds(texts)[1] is not None:
            continue
        if id is not None:
            return {"step": name}
        if len(texts) == table.rows:
            return {"id": None, "step": name}
        for other in table.header if "id" not in given else ():
            which, names = table.codes("id", other)
            pairs = len(np.unique(which * len(texts) + codes))
            if 2 * len(names) <= table.rows == pairs and other != name and "" not in names:
                return {"id": other, "step": name}
    return {}


def _roles(table: Table, given: Mapping[str, Any], unnamed: bool) -> dict[str, Any] | None:
    """Guess which columns hold what; None: a table with a row per series has no labels."""
    numeric = [name for name in table.header if _is_numeric(table, name)]
    if unnamed and "layout" not in given and not _is_long(table, numeric):
        first, last = table.header[0], table.header[-1]
        label = min(first, last, key=lambda name: len(table.codes("label", name)[1]))
        return {"layout": "wide", "label": label}
    steps = [] if unnamed or "step" in table.places else _steps_of_wide(table, numeric)
    if given.get("layout") != "long" and len(steps) >= max(_WIDE, len(table.header) - 3):
        return _wide(table, given, steps)
    timed = {} if "step" in given or "step" in table.places else _timed(table, given)
    more: dict[str, Any] = {name: one for name, one in timed.items() if name not in given}
    for name, usual, place in (("id", "id", 0), ("step", "step", 1)):
        if name in given or name in more or usual in table.places:
            continue
        alike = next((one for one in table.header if one.lower() == usual), None)
        if alike is not None:
            more[name] = alike
            continue
        long = unnamed and len(numeric) > 1
        more[name] = table.header[place] if long else None
    if "step" in more and more["step"] is None and more.get("id", given.get("id", 0)) is None:
        counting = (name for name in numeric[:1] if _counts(table, name))
        more["step"] = next(counting, None)
    if not {"label", "target", "label_file"} & given.keys() and "label" not in table.places:
        alike = next((one for one in table.header if one.lower() in _LABELS), None)
        more |= {} if alike is None else {"label": alike}
    roles = {"id": "id", "step": "step", **given, **more}
    used = {roles["id"], roles["step"], roles.get("label"), *_listed(given.get("target"))}
    has_labels = bool({"label", "target", "label_file"} & roles.keys()) or "label" in table.places
    if not has_labels:
        free = [name for name in numeric if name not in used]
        full = [name for name in free if not GAPS & {*map(str.lower, _texts(table, name))}]
        varied = [name for name in full if len(_texts(table, name)) > 1]
        chosen = varied or [name for name in free if len(_texts(table, name)) > 2]
        if len(free) > 1 and chosen:
            more |= {"target": chosen[-1], "steps": "all"}
            more |= {} if varied else {"unlabelled": "drop"}
            used.add(chosen[-1])
    if "features" not in given and "exclude" not in given:
        names = [name for name in table.header if name not in used | {"label"}]
        empty = [name for name in names if {*map(str.lower, _texts(table, name))} <= GAPS]
        texts = [name for name in names if name not in numeric and name not in empty]
        categories = [name for name in texts if _is_category(table, name)]
        out = [
            name for name in names if name in empty or (name in texts and name not in categories)
        ]
        more |= {"exclude": out} if out else {}
        more |= {"categories": categories} if categories and "categories" not in given else {}
    return more


def _texts(table: Table, name: str) -> list[str]:
    return table.codes("features", name)[1]


def _listed(target: Any) -> list[str]:
    return [target] if isinstance(target, str) else list(target or ())


def _is_numeric(table: Table, name: str) -> bool:
    texts = [text.lower() for text in _texts(table, name)]
    marks = [text.replace(",", ".") if table.delimiter != "," else text for text in texts]
    numbers = [mark in ("true", "false") or _parsing.is_number(mark) for mark in marks]
    return sum(numbers) > 0.9 * sum(text not in GAPS for text in texts)


def _is_category(table: Table, name: str) -> bool:
    texts = _texts(table, name)
    digits = any(char.isdigit() for text in texts for char in text)
    return len(texts) <= _FEW and not digits and "" not in texts


def _counts(table: Table, name: str) -> bool:
    """Tell whether a column numbers the rows."""
    values, bad = table.cells.numbers([table.places[name]], slice(None), frozenset(), ".")
    return bad is None and bool((np.diff(values[:, 0]) == 1).all())


def _is_long(table: Table, numeric: list[str]) -> bool:
    """Tell whether a table without a header begins with a number per sequence and one per step."""
    if len(numeric) < 3 or numeric[:2] != list(table.header[:2]):
        return False
    values, bad = table.cells.numbers([0, 1], slice(None), frozenset(), ".")
    same = np.diff(values[:, 0]) == 0
    return bad is None and bool(same.any() and (np.diff(values[:, 1])[same] == 1).all())
