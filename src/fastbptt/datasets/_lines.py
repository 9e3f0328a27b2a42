"""Reading text files: decoding, numbers, gaps, and error messages with file and line.

Every message begins with the file, and the line where there is one: ``vowels.ts:17: ...``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from .._errors import ArgumentError
from ..files import damage
from .formats import setting

if TYPE_CHECKING:
    import zipfile

Source: TypeAlias = "str | os.PathLike[str] | zipfile.Path"

MISSING: Final = ("nan", "interpolate", "error", "mask")
NO_CLASS: Final = -1  # of a sequence or step whose class is missing, with missing="mask"
STEPS: Final = ("last", "all")
_LONGEST: Final = 1000  # characters of a message
DATA_VARIABLE: Final = "FASTBPTT_DATA"


class FileError(ValueError):
    """A problem in a file, and its place.

    Attributes
    ----------
    place : str
        The file, and the line where there is one.
    problem, expected : str
        The problem, and what was expected; "" if `problem` includes it.
    """

    def __init__(self, place: str, problem: str, expected: str = "") -> None:
        super().__init__(place, problem, expected)
        self.place = place
        self.problem = _check.one_line(problem, _LONGEST)
        self.expected = expected

    def __str__(self) -> str:
        text = f"{self.place}: {self.problem}"
        return f"{text}; expected {self.expected}" if self.expected else text


class LayoutError(FileError):
    """A table without the columns or the header that it has by default."""


class OrderError(FileError):
    """Rows that are not in order of time."""


def wrong(path: object, line: int | None, text: str, expected: str = "") -> FileError:
    """Make an error about a line of a file, or about the file."""
    return FileError(str(path) if line is None else f"{path}:{line}", text, expected)


def described(error: Exception) -> str:
    """Describe a foreign error: by its text, or its kind."""
    return str(error) or type(error).__name__


def shown(text: str, most: int = 40) -> str:
    """Quote a value, shortened if it is long."""
    return f'"{text}"' if len(text) <= most else f'"{text[:most]}..."'


def surrogate(text: str) -> bool:
    """Whether a text holds half of a character, which no file can hold as UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def some(names: Sequence[object], most: int = 12) -> str:
    """List names, shortened if there are many."""
    text = ", ".join(str(name) for name in names[:most])
    return text if len(names) <= most else f"{text}, ... ({len(names)} in all)"


def data_folders() -> list[Path]:
    """List the folders to search for data: the one in the environment, the current one."""
    given = os.environ.get(DATA_VARIABLE)
    return ([Path(given)] if given else []) + [Path()]


# ---------------------------------------------------------------- text


def read_bytes(path: Source) -> bytes:
    """Read a file as it is."""
    if isinstance(path, str | os.PathLike):
        if os.path.isdir(path):
            raise wrong(os.fspath(path), None, "is a folder; expected a file")
        return Path(path).read_bytes()
    from zipfile import ZipFile

    archive: ZipFile = path.root
    try:
        size = archive.getinfo(path.at).file_size
        if size > _core.memory_limit():
            raise wrong(path, None, f"needs {_check.bytes_text(size)}, more than there is memory")
        return archive.read(path.at)
    except FileError:
        raise
    except damage.of_archives() as error:
        raise wrong(path, None, f"cannot be read from the archive: {described(error)}") from None


def read_text(path: Source) -> str:
    """Read a text file: UTF-8, or Latin-1 if it is not that."""
    return decoded(path, read_bytes(path))


def decoded(path: Source, content: bytes) -> str:
    """Decode the content of a text file: UTF-8, or Latin-1 if it is not that."""
    check_unicode(path, content)
    if b"\0" in content:
        raise wrong(path, content[: content.index(b"\0")].count(b"\n") + 1, "is no text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # old files: usually only in comments


def check_unicode(path: Source, begin: bytes) -> None:
    """Refuse text that begins with the mark of another encoding than UTF-8."""
    for name, marks in (
        ("UTF-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
        ("UTF-16", (b"\xff\xfe", b"\xfe\xff")),
    ):
        if begin.startswith(marks):
            raise wrong(path, None, f"is {name} text; expected UTF-8")


def path_of(path: Any) -> Source:
    """Return a path as text, or a file inside an archive as it is."""
    if not isinstance(path, str | bytes | os.PathLike) and hasattr(path, "read_bytes"):
        source: Source = path
        return source
    return _check.file_path(path)


# ---------------------------------------------------------------- numbers


def numbers(cells: Sequence[str], gaps: frozenset[str]) -> tuple[NDArray[np.float64], int | None]:
    """Read decimal numbers; find the first cell that is neither finite nor a gap.

    Parameters
    ----------
    cells : sequence of str
        Numbers, with or without white space around them.
    gaps : frozenset of str
        The texts for a missing value, in lower case.

    Returns
    -------
    values : ndarray
        float64, NaN where a value is missing.
    wrong : int or None
        The first cell that is not a number.
    """
    plain = "".join(cells)
    if plain.isascii() and "_" not in plain:  # float() takes digits of any script, and 1_000
        try:
            values = np.array(list(map(float, cells)), np.float64)
        except ValueError:
            pass
        else:
            if np.isfinite(values).all():
                return values, None
    values = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        text = cell.strip().lower()
        if text in gaps:
            continue
        try:
            value = float(text) if text.isascii() and "_" not in text else np.nan
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            return values, i
        values[i] = value
    return values, None


def to_dtype(
    values: NDArray[np.float64], dtype: np.dtype[Any], error: Callable[[int, str], ValueError]
) -> NDArray[Any]:
    """Round to a dtype; refuse numbers that it cannot hold.

    Parameters
    ----------
    values : ndarray
        float64, NaN or finite.
    dtype : dtype
        float32 or float64.
    error : callable
        Makes the error from the index of the number (in C order) and a text.
    """
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    beyond = np.isinf(result)
    if beyond.any():
        i = int(beyond.argmax())
        text = f"{values.flat[i]:g} is beyond float32; expected smaller numbers"
        raise error(i, f"{text}, or {setting('dtype', 'float64')}")
    return result


class Rounding:
    """Finds numbers whose differences a dtype would round away, in blocks of a file's columns."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._low: NDArray[np.float64] | None = None
        self._high: NDArray[np.float64] | None = None
        self._changed: NDArray[np.bool_] | None = None

    def see(self, values: NDArray[np.float64]) -> None:
        """Take numbers (rows, columns), NaN where one is missing."""
        if self._dtype == _check.F64 or not len(values):
            return
        low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        with np.errstate(over="ignore"):
            changed = (values.astype(self._dtype) != values) & ~np.isnan(values)
        some = changed.any(axis=0)
        if self._low is None or self._high is None or self._changed is None:
            self._low, self._high, self._changed = low, high, some
        else:
            self._low, self._high = np.fmin(self._low, low), np.fmax(self._high, high)
            self._changed |= some

    def check(self, path: object, names: Callable[[int], str]) -> None:
        """Refuse a column of which digits that matter would be lost; `names` tells what it is."""
        if self._low is None or self._high is None or self._changed is None:
            return
        coarse, _ = _check.too_coarse(self._low, self._high, self._dtype)
        found = coarse & self._changed
        if found.any():
            column = int(found.argmax())
            lost = _check.lost_digits(self._low, self._high, column, self._dtype)
            raise wrong(path, None, f"{names(column)} has {lost}", setting("dtype", "float64"))


EXACT: Final = 2.0**53  # float64 tells whole numbers below it apart


def check_whole(path: object, cells: Sequence[str], values: NDArray[np.float64], what: str) -> None:
    """Refuse whole numbers, as they are written, whose differences float64 rounds away.

    values: of the cells, NaN where there is none.
    """
    there = ~np.isnan(values)
    if not there.any() or np.abs(values[there]).max() < EXACT:
        return
    try:
        whole = [int(cells[i]) for i in np.flatnonzero(there).tolist()]
    except ValueError:
        return
    lost = _check.whole_numbers_lost(whole)
    if lost is not None:
        raise wrong(path, None, f"{what} has {lost}", "numbers counted from one near them")


def fill(x: NDArray[Any]) -> int | None:
    """Fill gaps in each column of (steps, features) along straight lines, in place.

    Before the first and after the last value of a column comes the nearest one. A column without
    any value cannot be filled: its index is returned.
    """
    gaps = np.isnan(x)
    steps = np.arange(len(x))
    for column in np.flatnonzero(gaps.any(axis=0)):
        known = ~gaps[:, column]
        if not known.any():
            return int(column)
        x[~known, column] = np.interp(steps[~known], steps[known], x[known, column])
    return None


def ordered(names: set[str]) -> tuple[str, ...]:
    """Sort class names: by value if all are numbers, else alphabetically."""
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return tuple(sorted(names))
    if not all(map(math.isfinite, values.values())):
        return tuple(sorted(names))
    return tuple(sorted(names, key=lambda name: (values[name], name)))


def given_classes(classes: Any, labels: bool) -> tuple[str, ...] | None:
    """Check a reader's argument `classes`, which is useless without labels."""
    if classes is None:
        return None
    if not labels:
        raise ArgumentError("classes", "is given", "None with labels=False")
    return class_names(classes)


def class_names(classes: Any, argument: str = "classes") -> tuple[str, ...]:
    """Check an argument that holds the names of class 0, 1, ... in that order."""
    if isinstance(classes, str | bytes) or not hasattr(classes, "__iter__"):
        raise TypeError(f"{argument} is {_check.shown(classes)}; expected a sequence of names")
    given = tuple(classes)
    odd = next((one for one in given if np.ndim(one) > 0 or isinstance(one, Mapping)), None)
    if odd is not None:
        raise TypeError(f"{argument} holds {_check.shown(odd)}; expected names")
    names = tuple(str(name) for name in given)
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{argument} holds {shown(twice)} twice; expected each name once")
    if not names:
        raise ValueError(f"{argument} is empty; expected at least one name")
    return names
