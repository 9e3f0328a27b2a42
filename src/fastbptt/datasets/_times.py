"""Dates and times in tables, by which the rows of a sequence are put in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ISO: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<clock>\d\d:\d\d(?::\d\d)?)(?:\.(?P<part>\d{1,9}))?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?"
)
_OTHER: Final = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})(?:[T ].*)?")
_READINGS: Final = ((2, 1, 0), (2, 0, 1), (0, 1, 2))  # where year, month and day stand
EXPECTED: Final = "an ISO date or time, such as 2024-02-28 or 2024-02-28T13:30:00"


def is_iso(cell: str) -> bool:
    """Whether a cell has the form of an ISO date, with or without a time."""
    return _ISO.fullmatch(cell.strip()) is not None


def is_other_date(cell: str) -> bool:
    """Whether a cell looks like a date in another form, such as 28.02.2024."""
    return not is_iso(cell) and _OTHER.fullmatch(cell.strip()) is not None


def days(cells: Sequence[str]) -> list[NDArray[np.int64]]:
    """Read dates in other forms: the days in each reading that all cells allow.

    28.02.2024 has one reading; 03/02/2024 has two, unless another cell leaves only one. 1.2.3 has
    none: it may be a version.
    """
    found = [_OTHER.fullmatch(cell.strip()) for cell in cells]
    parts = [one.groups() for one in found if one is not None]
    readings: list[NDArray[np.int64]] = []
    if len(parts) < len(cells):
        return readings
    for year, month, day in _READINGS:
        if not all(len(one[year]) in (2, 4) for one in parts):
            continue
        try:
            dates = [datetime(int(one[year]), int(one[month]), int(one[day])) for one in parts]
        except ValueError:
            continue
        readings.append(np.array([date.toordinal() for date in dates], np.int64))
    return readings


def nanoseconds(cells: Sequence[str]) -> tuple[NDArray[np.int64], int | None]:
    """Read ISO dates and times.

    Returns
    -------
    times : int64 array of shape (cells,)
        Nanoseconds since 1970, of UTC where the cells have a zone.
    bad : int or None
        The first cell that is none, is outside 1678 to 2261, or has a zone where the first cell
        has none or the other way round: their order is not known. None: all are valid.
    """
    times = np.zeros(len(cells), np.int64)
    zoned: bool | None = None
    for i, cell in enumerate(cells):
        found = _ISO.fullmatch(cell.strip())
        if found is None:
            return times, i
        zone = found["zone"]
        if zoned is None:
            zoned = zone is not None
        try:
            time = datetime.fromisoformat(f"{found['date']} {found['clock'] or '00:00'}")
        except ValueError:
            return times, i
        if zoned != (zone is not None) or not 1678 <= time.year <= 2261:
            return times, i
        since = time - datetime(1970, 1, 1)
        seconds = since.days * 86400 + since.seconds
        if zone not in (None, "Z"):
            digits = zone[1:].replace(":", "").ljust(4, "0")
            shift = int(digits[:2]) * 3600 + int(digits[2:]) * 60
            seconds -= -shift if zone[0] == "-" else shift
        times[i] = seconds * 10**9 + int((found["part"] or "").ljust(9, "0"))
    return times, None
