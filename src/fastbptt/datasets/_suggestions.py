"""Options with which a table can be read whose columns have other names than the default ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from . import _lines, _parsing
from ._parsing import GAPS, Table
from .sequences import Sequences

_FEW: Final = 20  # names of a category, or classes


def suggested(
    read_csv: Callable[..., Sequences], path: str, given: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Suggest arguments of `read_csv`, beside those that are given, which read the table.

    They give it labels, too. None: none were found. What they mean is a guess.
    """
    form = [given.get("delimiter"), given.get("header")]
    more: dict[str, Any] = {}
    try:
        try:
            table = _parsing.read(path, form[0], form[1])
        except _lines.LayoutError:
            more["header"] = "none"
            table = _parsing.read(path, form[0], "none")
        more |= _roles(table, given, "header" in more)
    except (ValueError, TypeError):
        return None
    for labels in ({}, {"steps": "all"}, {"steps": "all", "unlabelled": "drop"}):
        every = {**labels, **more, **given}
        try:
            found = read_csv(path, **{**every, "missing": "nan"})
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


def _roles(table: Table, given: Mapping[str, Any], unnamed: bool) -> dict[str, Any]:
    """Guess which columns hold what."""
    numeric = [name for name in table.header if _is_numeric(table, name)]
    if unnamed and "layout" not in given and not _is_long(table, numeric):
        first, last = table.header[0], table.header[-1]
        label = min(first, last, key=lambda name: len(table.codes("label", name)[1]))
        return {"layout": "wide", "label": label}
    more: dict[str, Any] = {}
    for name, usual, place in (("id", "id", 0), ("step", "step", 1)):
        if name in given or usual in table.places:
            continue
        long = unnamed and len(numeric) > 1
        more[name] = table.header[place] if long else None
    if "step" in more and more["step"] is None and more.get("id", given.get("id", 0)) is None:
        counting = (name for name in numeric[:1] if _counts(table, name))
        more["step"] = next(counting, None)
    roles = {"id": "id", "step": "step", **given, **more}
    used = {roles["id"], roles["step"], given.get("label"), *_listed(given.get("target"))}
    has_labels = bool({"label", "target", "label_file"} & given.keys()) or "label" in table.places
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
