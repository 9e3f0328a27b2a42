"""Files in the ``.tsf`` format of the Monash archive: series with start and frequency.

A header of lines ``@key value``, then ``@data``, then one series per line: its attributes and its
values, separated by colons::

    @relation sales
    @attribute series_name string
    @attribute start_timestamp date
    @frequency daily
    @horizon 2
    @data
    T1:2020-02-27 00-00-00:12,15.5,?,11
    T2:2020-03-01 00-00-00:7,8,6

``?`` is a missing value; lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from . import _lines
from .formats import Format, Option, argument, gaps_setting, setting
from .sequences import Sequences, joined

__all__ = ["read_tsf"]

_GAPS: Final = frozenset({"?", "nan"})
_TYPES: Final = ("string", "date", "numeric")
_CLOCKS: Final = ("%Y-%m-%d %H-%M-%S", "%Y-%m-%d")
_UNITS: Final = {
    "second": (1, "s"),
    "minute": (60, "s"),
    "hour": (3600, "s"),
    "day": (86400, "s"),
    "week": (7 * 86400, "s"),
    "month": (1, "M"),
    "quarter": (3, "M"),
    "year": (12, "M"),
}
_NAMED: Final = {
    "secondly": (1, "s"),
    "minutely": (60, "s"),
    "quarter_hourly": (900, "s"),
    "half_hourly": (1800, "s"),
    "hourly": (3600, "s"),
    "daily": (86400, "s"),
    "weekly": (7 * 86400, "s"),
    "monthly": (1, "M"),
    "quarterly": (3, "M"),
    "yearly": (12, "M"),
}
_COUNTED: Final = re.compile(rf"(\d{{1,4}})[_ ]?({'|'.join(_UNITS)})s?")


def read_tsf(
    path: str | os.PathLike[str],
    *,
    ahead: int | None = None,
    steps: str = "all",
    classes: None = None,
    missing: str = "nan",
    dtype: Any = "float64",
    labels: bool = True,
) -> Sequences:
    """Read a ``.tsf`` file: time series with their start and frequency, and targets to forecast.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    ahead : int, optional
        The target of each step is the value so many steps later; the last steps of a series, whose
        targets are not known, are left out. By default there are no targets, and series are whole.
    steps : {"all", "last"}, default "all"
        With `ahead`, "all": a target for each step. "last": for each series alone its last value.
    classes : None
        The series have none.
    missing : {"nan", "interpolate", "error", "mask"}, default "nan"
        How to treat missing values: keep them as NaN, an error among targets, or with "mask" among
        these as well; interpolate linearly between the neighbours in the series (at the ends, take
        the nearest); or raise an error.
    dtype : {"float32", "float64"}, default "float64"
        Of values and targets.
    labels : bool, default True
        False: there are no targets, and `ahead` is an error.

    Returns
    -------
    Sequences
        ``x`` of shape (series, steps, 1), or a list of (steps, 1) arrays where series differ in
        length; ``y`` of shape (series, steps), or a list, or (series,), or None. ``ids`` are the
        attributes that are strings, joined by "/". ``times`` holds the time of each step, and
        ``frequency`` the file's; None without a start or a frequency in the file. Other
        attributes are left out.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, or a line does not fit the format or the header, with file and
        line.
    OSError
        If the file cannot be read.

    References
    ----------
    R. Godahewa, C. Bergmeir, G. I. Webb, R. J. Hyndman, P. Montero-Manso. Monash time series
    forecasting archive, 2021. arXiv:2105.06643.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import read_tsf
    >>> text = '''@relation sales
    ... @attribute series_name string
    ... @attribute start_timestamp date
    ... @frequency daily
    ... @data
    ... T1:2020-02-27 00-00-00:12,15.5,13,11
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "sales.tsf")
    ...     with open(path, "w") as file:
    ...         _ = file.write(text)
    ...     data = read_tsf(path, ahead=1)
    >>> data.x[0][:, 0].tolist(), data.y[0].tolist()
    ([12.0, 15.5, 13.0], [15.5, 13.0, 11.0])
    >>> data.ids, data.frequency, [str(time.astype("M8[D]")) for time in data.times[0]]
    (('T1',), 'daily', ['2020-02-27', '2020-02-28', '2020-02-29'])
    """
    source = _check.file_path(path)
    _check.option("missing", missing, _lines.MISSING)
    _check.option("steps", steps, _lines.STEPS)
    kind = _check.float_dtype(dtype)
    _check.flag("labels", labels)
    if ahead is not None:
        ahead = _check.size(argument("ahead"), ahead)
        if not labels:
            raise ValueError(f"{argument('ahead')} has no effect; expected labels=True")
    if classes is not None:
        raise _lines.wrong(source, None, "has numbers to forecast; expected no classes")
    lines = enumerate(_lines.read_text(source).split("\n"), 1)
    header = _SeriesHeader.read(source, lines)

    x: list[NDArray[Any]] = []
    y: list[NDArray[Any]] = []
    times: list[NDArray[np.datetime64]] = []
    places: dict[str, int] = {}
    rounding = _lines.Rounding(kind)
    for number, line in lines:
        text = line.strip()
        if not text or text[0] == "#":
            continue
        name, start, cells = header.parts(source, number, text)
        name = name or f"series {len(x) + 1}"
        if name in places:
            raise _lines.wrong(
                source,
                number,
                f"the series is {_lines.shown(name)}, as in line {places[name]}; expected another "
                "name",
            )
        places[name] = number
        values = _values(source, number, cells, missing, kind, rounding)
        known = len(values)
        if ahead is not None:
            known -= ahead
            if known < 1:
                raise _lines.wrong(
                    source,
                    number,
                    f"the series has {len(values)} values; expected more than "
                    f"{setting('ahead', ahead)}",
                )
            wanted = values[ahead:] if steps == "all" else values[-1:]
            if missing != "mask" and np.isnan(wanted).any():
                i = len(values) - len(wanted) + int(np.isnan(wanted).argmax())
                raise _lines.wrong(
                    source,
                    number,
                    f"value {i + 1} is missing and is a target; expected a number, or "
                    f"{setting('missing', 'interpolate', 'mask')}",
                )
            y.append(wanted if steps == "all" else wanted[0])
        x.append(values[:known, None])
        if start is not None and header.period is not None:
            times.append(_times(start, known, *header.period))
    rounding.check(source, lambda _: "the series")
    if not x:
        raise _lines.wrong(source, None, "has no series after @data; expected at least one")
    targets = None if ahead is None else joined(y) if steps == "all" else np.array(y)
    return Sequences(
        joined(x),
        targets,
        None,
        ("value",),
        tuple(places),
        source,
        times=times or None,
        frequency=header.frequency,
    )


def _suggested(path: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """Suggest a target, and how to treat gaps; None: no options help."""
    more: dict[str, Any] = {} if "ahead" in given else {"ahead": 1}
    try:
        found = read_tsf(path, **{**more, **given, "missing": "mask"})
    except (ValueError, TypeError):
        return None
    if any(np.isnan(one).any() for one in [*found.x, *(found.y if found.y is not None else [])]):
        more["missing"] = "mask"
    return more or None


FORMAT: Final = Format(
    suffixes=(".tsf",),
    read=read_tsf,
    help="""\
series of the Monash forecasting archive, with start and frequency;
--ahead N: the target of each step is the value N steps later.""",
    labels="--ahead of a .tsf file",
    suggested=_suggested,
    options=(
        Option(
            "ahead",
            "--ahead",
            "of each step, predict the value N steps later",
            "N",
            int,
        ),
    ),
    steps=("all", "last"),
)


# ---------------------------------------------------------------- parsing


class _SeriesHeader(NamedTuple):
    """The header."""

    types: tuple[str, ...]  # of the attributes
    frequency: str | None
    period: tuple[int, str] | None  # a number of seconds or months

    @staticmethod
    def read(path: str, lines: Iterator[tuple[int, str]]) -> _SeriesHeader:
        """Read up to @data."""
        types: list[str] = []
        frequency: str | None = None
        period: tuple[int, str] | None = None
        number = 0
        for number, line in lines:
            text = line.strip()
            if not text or text[0] == "#":
                continue
            key, *values = text.split()
            key = key.lower()
            if key == "@data":
                if not types:
                    raise _lines.wrong(
                        path,
                        number,
                        "there is no @attribute before @data; expected "
                        '"@attribute series_name string" (or write the series as .csv, .npz or '
                        ".ts)",
                    )
                return _SeriesHeader(tuple(types), frequency, period)
            if not key.startswith("@"):
                raise _lines.wrong(
                    path,
                    number,
                    f"{_lines.shown(text)}; expected a header line @KEY VALUE, or @data",
                )
            if key == "@attribute":
                if len(values) != 2 or values[1].lower() not in _TYPES:
                    raise _lines.wrong(
                        path,
                        number,
                        f"{_lines.shown(text)}; expected @attribute NAME and string, date or "
                        "numeric",
                    )
                types.append(values[1].lower())
            elif key == "@frequency":
                frequency = " ".join(values).lower()
                period = _period(path, number, frequency)
        raise _lines.wrong(path, number, "the file ends without a line @data")

    def parts(self, path: str, number: int, text: str) -> tuple[str, datetime | None, list[str]]:
        """Cut a series into its name, its start and its values."""
        *attributes, values = text.split(":")
        if len(attributes) != len(self.types):
            raise _lines.wrong(
                path,
                number,
                f"{len(attributes)} attributes stand before the values; expected "
                f"{len(self.types)}, as the header has, with ':' behind each",
            )
        pairs = list(zip(self.types, map(str.strip, attributes), strict=True))
        name = "/".join(one for kind, one in pairs if kind == "string")
        starts = [_start(path, number, one) for kind, one in pairs if kind == "date"]
        return name, starts[0] if starts else None, values.split(",")


def _period(path: str, number: int, frequency: str) -> tuple[int, str]:
    if frequency in _NAMED:
        return _NAMED[frequency]
    found = _COUNTED.fullmatch(frequency)
    if found is None or int(found[1]) < 1:
        raise _lines.wrong(
            path,
            number,
            f"@frequency is {_lines.shown(frequency)}; expected {', '.join(_NAMED)}, or a number "
            "and a unit such as 10_minutes",
        )
    size, unit = _UNITS[found[2]]
    return int(found[1]) * size, unit


def _start(path: str, number: int, text: str) -> datetime:
    for form in _CLOCKS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise _lines.wrong(
        path,
        number,
        f"the start is {_lines.shown(text)}; expected a time such as 2020-02-28 13-30-00",
    )


def _values(
    path: str,
    number: int,
    cells: list[str],
    missing: str,
    dtype: np.dtype[Any],
    rounding: _lines.Rounding,
) -> NDArray[Any]:
    values, bad = _lines.numbers(cells, _GAPS)
    if bad is not None:
        raise _lines.wrong(
            path,
            number,
            f"value {bad + 1} is {_lines.shown(cells[bad])}; expected a finite number, or ? for a "
            "missing value",
        )
    gaps = np.isnan(values)
    if missing == "error" and gaps.any():
        raise _lines.LayoutError(
            f"{path}:{number}",
            f"value {int(gaps.argmax()) + 1} is missing",
            f"a number, or {gaps_setting()}",
        )
    if missing == "interpolate" and _lines.fill(values[:, None]) is not None:
        raise _lines.wrong(path, number, "the series has no value at all; expected at least one")
    _lines.check_whole(f"{path}:{number}", cells, values, "the series")
    rounding.see(values[:, np.newaxis])
    return _lines.to_dtype(
        values, dtype, lambda i, text: _lines.wrong(path, number, f"value {i + 1}: {text}")
    )


def _times(start: datetime, count: int, size: int, unit: str) -> NDArray[np.datetime64]:
    """Count from a start; of months, a day that one does not have becomes its last."""
    first = np.datetime64(start, "s")
    if unit == "s":
        return first + np.arange(count) * np.timedelta64(size, "s")
    month = first.astype("M8[M]")
    months = month + np.arange(count) * np.timedelta64(size, "M")
    last = (months + 1).astype("M8[D]") - np.timedelta64(1, "D")
    day = first.astype("M8[D]")
    days = np.minimum(months.astype("M8[D]") + (day - month.astype("M8[D]")), last)
    times: NDArray[np.datetime64] = days.astype("M8[s]") + (first - day.astype("M8[s]"))
    return times
