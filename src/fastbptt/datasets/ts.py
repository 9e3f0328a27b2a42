"""Files in the ``.ts`` format of the UCR and UEA archives, which sktime and aeon read and carry.

A header of lines ``@key value``, then ``@data``, then one case per line: the values of a channel
separated by commas, channels by colons, last the class or the target::

    @problemName Steps
    @timeStamps false
    @univariate false
    @classLabel true walk run
    @data
    0.1,0.3,0.2:1.5,1.6,1.4:walk
    0.9,?,0.7,0.8:2.5,2.6,2.4,2.2:run

``?`` is a missing value; lines that begin with ``#`` or ``%`` are comments.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentTypeError
from ..files import damage
from . import _lines
from .formats import Format, gaps_setting
from .sequences import Sequences, joined

if TYPE_CHECKING:
    import zipfile

__all__ = ["find_ts", "load_ts", "read_ts"]

_GAPS: Final = frozenset({"?", "nan"})
_PACKAGES: Final = ("aeon", "sktime")
_INSIDE: Final = "datasets/data"
_FLAGS: Final = {"timestamps", "missing", "univariate", "equallength", "targetlabel"}
# Each takes time that grows with the text alone, whatever that is: no two parts match the same.
_PAIR: Final = re.compile(r"\(([^(),]+),([^(),]*)\)")
_PAIRS: Final = re.compile(rf"{_PAIR.pattern}(\s*,\s*{_PAIR.pattern})*")
_COLONS: Final = re.compile(r"\([^()]*\)|(:)")  # those of a group are not within a time
_MOST_DIGITS: Final = 15  # of a size
_FETCH: Final = (
    "`pip download --no-deps aeon sktime`, here or in the folder that "
    f"{_lines.DATA_VARIABLE} names, gets wheels that hold some sets (PLAID: sktime only; "
    "PickupGestureWiimoteZ: aeon only), or give their place: where="
)


def read_ts(
    path: _lines.Source,
    *,
    classes: Sequence[str] | None = None,
    missing: str = "nan",
    dtype: Any = "float64",
    labels: bool = True,
) -> Sequences:
    """Read a ``.ts`` file: time series with a class or a target each.

    Parameters
    ----------
    path : str, os.PathLike or zipfile.Path
        The file.
    classes : sequence of str, optional
        The names of class 0, 1, ...; by default those of the file's ``@classLabel``, in its order.
        For a test file, those of the training file.
    missing : {"nan", "interpolate", "error", "mask"}, default "nan"
        How to treat missing values: keep them as NaN ("mask": and a label ``?`` is the class -1 or
        the target NaN); interpolate linearly between the neighbours
        in the channel (at the ends, take the nearest); or raise an error.
    dtype : {"float32", "float64"}, default "float64"
        Of the values and of targets.
    labels : bool, default True
        False: ignore the classes or targets of the cases.

    Returns
    -------
    Sequences
        ``x`` of shape (cases, steps, channels), or a list of (steps, channels) arrays where cases
        differ in length; ``y`` the classes (int64) or, with ``@targetLabel true``, the targets
        (floats), None with ``@classLabel false``. Channels and cases are named by their positions:
        "channel 1", "case 1".

    Raises
    ------
    ValueError
        If a line does not fit the format or the header, with file and line. With ``@timeStamps
        true``, times have to ascend; only their order counts, not how far apart they are.
    OSError
        If the file cannot be read.

    References
    ----------
    A. Bagnall et al. The UEA multivariate time series classification archive, 2018.
    arXiv:1811.00075.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import read_ts
    >>> text = '''@problemName Steps
    ... @univariate true
    ... @classLabel true walk run
    ... @data
    ... 0.1,0.3,0.2:walk
    ... 0.9,?,0.7,0.8:run
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "steps.ts")
    ...     with open(path, "w") as file:
    ...         _ = file.write(text)
    ...     data = read_ts(path, missing="interpolate")
    >>> data
    Sequences(2 sequences of 3 to 4 steps x 1 feature, 2 classes)
    >>> data.x[1][:, 0], data.y, data.classes
    (array([0.9, 0.8, 0.7, 0.8]), array([0, 1]), ('walk', 'run'))
    """
    source = _lines.path_of(path)
    _check.option("missing", missing, _lines.MISSING)
    kind = _check.float_dtype(dtype)
    _check.flag("labels", labels)
    given = _lines.given_classes(classes, labels)
    lines = enumerate(_lines.read_text(source).split("\n"), 1)
    header = _SetHeader.read(source, lines)
    return _read_cases(source, lines, header, given, missing, kind, labels)


FORMAT: Final = Format(
    suffixes=(".ts",),
    read=read_ts,
    help="a file of the UCR and UEA archives.",
    labels="@classLabel true",
)


def load_ts(
    name: str,
    where: str | os.PathLike[str] | None = None,
    *,
    missing: str = "nan",
    dtype: Any = "float64",
) -> tuple[Sequences, Sequences]:
    r"""Load the training and the test part of a set of the UCR and UEA archives.

    Parameters
    ----------
    name : str
        For example "GunPoint", "ItalyPowerDemand", "BasicMotions", "JapaneseVowels" (in aeon and
        sktime), "PickupGestureWiimoteZ" (aeon), "PLAID" (sktime).
    where : str or os.PathLike, optional
        See :func:`find_ts`.
    missing, dtype
        As in :func:`read_ts`.

    Returns
    -------
    train, test : Sequences
        Both with the classes of the training part.

    Raises
    ------
    FileNotFoundError
        If the set is not found; the message tells how to get it.
    ValueError
        If a file is not valid.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import load_ts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("TRAIN", "TEST"):
    ...         with open(os.path.join(folder, f"Steps_{part}.ts"), "w") as file:
    ...             _ = file.write("@classLabel true walk run\n@data\n0.1,0.3,0.2:walk\n")
    ...     train, test = load_ts("Steps", folder)
    >>> train
    Sequences(1 sequence of 3 steps x 1 feature, 2 classes)
    """
    train_path, test_path = find_ts(name, where)
    train = read_ts(train_path, missing=missing, dtype=dtype)
    test = read_ts(test_path, classes=train.classes, missing=missing, dtype=dtype)
    if len(train.feature_names) != len(test.feature_names):
        raise _lines.wrong(
            test_path,
            None,
            f"cases have {len(test.feature_names)} channels; expected "
            f"{len(train.feature_names)}, as in {train_path}",
        )
    return train, test


def find_ts(
    name: str, where: str | os.PathLike[str] | None = None
) -> tuple[Path | zipfile.Path, Path | zipfile.Path]:
    """Find the two files of a set, ``NAME_TRAIN.ts`` and ``NAME_TEST.ts``, without importing much.

    Parameters
    ----------
    name : str
        The set's name.
    where : str or os.PathLike, optional
        A folder, or a wheel or zip file, that holds the files, directly or under ``NAME/``; or a
        folder with wheels of aeon or sktime. By default: the installed packages aeon and sktime
        (which are not imported), then wheels and folders ``NAME`` in the folder that the
        environment variable ``FASTBPTT_DATA`` names, then those in the current folder.

    Returns
    -------
    train, test : pathlib.Path or zipfile.Path
        For :func:`read_ts`.

    Raises
    ------
    FileNotFoundError
        If they are missing; the message lists the places searched, the sets there, and the remedy.

    Examples
    --------
    >>> from fastbptt.datasets import find_ts
    >>> find_ts("GunPoint", "/nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: where is /nowhere: there is no such file or folder
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(
            "name", f"is of type {type(name).__name__}", "the name of a set, such as 'GunPoint'"
        )
    if where is not None:
        place = Path(_check.file_path(where))
        if not place.exists():
            raise FileNotFoundError(f"where is {place}: there is no such file or folder")
        roots = list(_roots(place))
    else:
        roots = list(_installed())
        for folder in _lines.data_folders():
            roots += list(_roots(folder))
    known: set[str] = set()
    for root in roots:
        for pair in (_pair(root / name, name), _pair(root, name)):
            if pair is not None:
                return pair
        known |= _names(root)
    paths = [str(root).rstrip("/") for root in roots]
    places = [one for one in paths if not any(one.startswith(f"{other}/") for other in paths)]
    text = f"{name}_TRAIN.ts and {name}_TEST.ts are not in {_lines.some(places)}"
    if known:
        text += f" (there are {_lines.some(sorted(known), 40)})"
    if where is None:
        absent = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
        text += "".join(f"; the package {package} is not installed" for package in absent)
        text += f"; {_FETCH}"
    raise FileNotFoundError(text)


# ---------------------------------------------------------------- places


def _installed() -> Iterator[Path]:
    """Find the data of installed packages; for a name without dots nothing is imported."""
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            root = Path(place) / _INSIDE
            if root.is_dir():
                yield root


def _roots(place: Path) -> Iterator[Path | zipfile.Path]:
    """List the folders in which sets may lie: the place, what it holds, what archives hold."""
    archives = [place] if place.is_file() else []
    if place.is_dir():
        yield place
        if (place / _INSIDE).is_dir():
            yield place / _INSIDE
        for package in _PACKAGES:
            if (place / package / _INSIDE).is_dir():
                yield place / package / _INSIDE
            archives += sorted(place.glob(f"{package}-*.whl"), reverse=True)
    for archive in archives:
        import zipfile

        if not zipfile.is_zipfile(archive):
            raise _lines.wrong(archive, None, "is no zip file; expected a folder, wheel or zip")
        try:
            root = zipfile.Path(archive)
        except damage.of_archives() as error:
            text = f"cannot be read as a zip file: {_lines.described(error)}"
            raise _lines.wrong(archive, None, text) from None
        yield root
        for package in _PACKAGES:
            inside = root / package / _INSIDE
            if inside.is_dir():
                yield inside


def _pair(
    folder: Path | zipfile.Path, name: str
) -> tuple[Path | zipfile.Path, Path | zipfile.Path] | None:
    train, test = folder / f"{name}_TRAIN.ts", folder / f"{name}_TEST.ts"
    return (train, test) if train.is_file() and test.is_file() else None


def _names(root: Path | zipfile.Path) -> set[str]:
    """List the sets that lie in a folder of aeon or sktime."""
    if not str(root).replace(os.sep, "/").rstrip("/").endswith(_INSIDE):
        return set()
    folders = [one for one in root.iterdir() if one.is_dir()]
    return {one.name for one in folders if _pair(one, one.name) is not None}


# ---------------------------------------------------------------- parsing


class _SetHeader(NamedTuple):
    """The header; None for missing entries."""

    classes: tuple[str, ...] | None  # None: no class stands at the end of a line
    target: bool
    univariate: bool | None
    equal_length: bool | None
    dimensions: int | None
    length: int | None
    times: bool

    @staticmethod
    def read(path: _lines.Source, lines: Iterator[tuple[int, str]]) -> _SetHeader:
        """Read up to @data."""
        flags: dict[str, bool] = {}
        sizes: dict[str, int] = {}
        classes: tuple[str, ...] | None = None
        labels_known = False
        number = 0
        for number, line in lines:
            text = line.strip()
            if not text or text[0] in "#%":
                continue
            key, *values = text.split()
            key = key.lower()
            if key == "@data":
                if values:
                    raise _lines.wrong(path, number, f"{_lines.shown(text)}; expected @data alone")
                if not labels_known:
                    raise _lines.wrong(
                        path,
                        number,
                        "@data comes before any @classLabel or @targetLabel; expected one of "
                        '"@classLabel true NAME NAME ...", "@classLabel false", '
                        '"@targetLabel true"',
                    )
                return _SetHeader(
                    classes,
                    flags.get("targetlabel", False),
                    flags.get("univariate"),
                    flags.get("equallength"),
                    sizes.get("dimensions", sizes.get("dimension")),
                    sizes.get("serieslength"),
                    flags.get("timestamps", False),
                )
            if not key.startswith("@"):
                raise _lines.wrong(
                    path,
                    number,
                    f"{_lines.shown(text)}; expected a header line @KEY VALUE, or @data",
                )
            key = key[1:]
            if key in _FLAGS:
                flags[key] = _flag(path, number, text, values)
                labels_known |= key == "targetlabel"
            elif key in ("dimensions", "dimension", "serieslength"):
                if not _is_size(values):
                    raise _lines.wrong(
                        path, number, f"{_lines.shown(text)}; expected a whole number"
                    )
                sizes[key] = int(values[0])
            elif key == "classlabel":
                labels_known = True
                classes = _class_label(path, number, text, values)
        raise _lines.wrong(path, number, "the file ends without a line @data")


def _is_size(values: list[str]) -> bool:
    """Whether there is one whole number from 1 up, of digits that `int` takes."""
    return (
        len(values) == 1
        and values[0].isdecimal()
        and len(values[0]) <= _MOST_DIGITS
        and int(values[0]) > 0
    )


def _flag(path: _lines.Source, number: int, text: str, values: list[str]) -> bool:
    value = values[0].lower() if len(values) == 1 else ""
    if value not in ("true", "false"):
        raise _lines.wrong(path, number, f"{_lines.shown(text)}; expected true or false")
    return value == "true"


def _class_label(
    path: _lines.Source, number: int, text: str, values: list[str]
) -> tuple[str, ...] | None:
    if values and values[0].lower() == "false":
        return None
    if len(values) < 2 or values[0].lower() != "true":
        raise _lines.wrong(
            path,
            number,
            f'{_lines.shown(text)}; expected "@classLabel true NAME NAME ..." or "false"',
        )
    try:
        return _lines.class_names(values[1:])
    except ValueError as error:
        raise _lines.wrong(path, number, f"@classLabel: {error}") from None


def _read_cases(
    path: _lines.Source,
    lines: Iterator[tuple[int, str]],
    header: _SetHeader,
    given: tuple[str, ...] | None,
    missing: str,
    dtype: np.dtype[Any],
    wanted: bool,
) -> Sequences:
    cases: list[NDArray[Any]] = []
    rounding = _lines.Rounding(dtype)
    labels: list[str] = []
    places: list[int] = []
    labelled = header.target or header.classes is not None
    for number, line in lines:
        text = line.strip()
        if not text or text[0] in "#%":
            continue
        channels = _outside_times(text) if header.times else text.split(":")
        if labelled:
            if len(channels) < 2:
                what = "target" if header.target else "class"
                raise _lines.wrong(
                    path, number, f"there is no ':'; expected values, ':' and the {what}"
                )
            labels.append(channels.pop().strip())
        if header.times:
            channels = _without_times(path, number, channels)
        first = cases[0] if cases else None
        _check_channels(path, number, channels, header, first)
        cases.append(_case(path, number, channels, header, first, missing, dtype, rounding))
        places.append(number)
    if not cases:
        raise _lines.wrong(path, None, "has no case after @data; expected at least one")
    rounding.check(path, lambda column: f"channel {column + 1}")

    y: NDArray[Any] | None = None
    masked = missing == "mask"
    classes: tuple[str, ...] | None = None
    if not wanted:
        pass
    elif header.target:
        if given is not None:
            raise _lines.wrong(path, None, "has targets, which are numbers; expected classes")
        y = _targets(path, places, labels, dtype, masked)
    elif header.classes is not None:
        classes = header.classes if given is None else given
        y = _classes(path, places, labels, classes, given is None, masked)
    names = tuple(f"channel {i + 1}" for i in range(cases[0].shape[1]))
    ids = tuple(f"case {i + 1}" for i in range(len(cases)))
    return Sequences(joined(cases), y, classes, names, ids, str(path))


def _outside_times(text: str) -> list[str]:
    """Cut a line at the colons that are not within a time."""
    ends = [found.start() for found in _COLONS.finditer(text) if found[1]]
    return [text[a + 1 : b] for a, b in pairwise([-1, *ends, len(text)])]


def _without_times(path: _lines.Source, number: int, channels: list[str]) -> list[str]:
    """Take the values of (time,value),(time,value),...; the times are those of all channels."""
    times: list[str] | None = None
    values = []
    for c, channel in enumerate(channels, 1):
        if not _PAIRS.fullmatch(channel.strip()):
            raise _lines.wrong(
                path,
                number,
                f"channel {c} is {_lines.shown(channel)}; expected (time,value),(time,value),...: "
                "@timeStamps true",
            )
        pairs = _PAIR.findall(channel)
        own = [time.strip() for time, _ in pairs]
        if times is None:
            times = own
            _check_times(path, number, times)
        elif own != times:
            raise _lines.wrong(
                path, number, f"channel {c} has other times than channel 1; expected the same"
            )
        values.append(",".join(value.strip() for _, value in pairs))
    return values


def _check_times(path: _lines.Source, number: int, times: list[str]) -> None:
    order, bad = _lines.numbers(times, frozenset())
    try:
        if bad is not None:
            order = np.array(times, "datetime64[ns]").astype(np.int64)
    except ValueError:
        raise _lines.wrong(
            path,
            number,
            f"the times begin with {_lines.shown(times[0])}; expected numbers or "
            "2007-01-31 23:59:59",
        ) from None
    back = np.flatnonzero(np.diff(order) <= 0)
    if len(back):
        raise _lines.wrong(
            path,
            number,
            f"time {_lines.shown(times[back[0] + 1])} stands behind "
            f"{_lines.shown(times[back[0]])}; expected ascending times",
        )


def _check_channels(
    path: _lines.Source,
    number: int,
    channels: list[str],
    header: _SetHeader,
    first: NDArray[Any] | None,
) -> None:
    expected, reason = None, ""
    if header.univariate:
        expected, reason = 1, "@univariate true"
    elif header.dimensions is not None:
        expected, reason = header.dimensions, f"@dimensions {header.dimensions}"
    elif first is not None:
        expected, reason = first.shape[1], "as in the first case"
    if expected is not None and len(channels) != expected:
        raise _lines.wrong(
            path,
            number,
            f"the case has {len(channels)} channel{'s' * (len(channels) != 1)}; "
            f"expected {expected}: {reason}",
        )


def _case(
    path: _lines.Source,
    number: int,
    channels: list[str],
    header: _SetHeader,
    first: NDArray[Any] | None,
    missing: str,
    dtype: np.dtype[Any],
    rounding: _lines.Rounding,
) -> NDArray[Any]:
    """Read the channels of one case into an array of shape (steps, channels)."""
    cells = [channel.split(",") for channel in channels]
    expected, reason = len(cells[0]), "as in its channel 1"
    if header.equal_length and header.length is not None:
        expected, reason = header.length, f"@equalLength true, @seriesLength {header.length}"
    elif header.equal_length and first is not None:
        expected, reason = len(first), "@equalLength true, and the first case has so many"
    for c, row in enumerate(cells):
        if len(row) != expected:
            raise _lines.wrong(
                path,
                number,
                f"channel {c + 1} has {len(row)} values; expected {expected}: {reason}",
            )
    values = np.empty((expected, len(cells)))
    for c, row in enumerate(cells):
        values[:, c], bad = _lines.numbers(row, _GAPS)
        if bad is None:
            _lines.check_whole(f"{path}:{number}", row, values[:, c], f"channel {c + 1}")
        if bad is not None:
            raise _lines.wrong(
                path,
                number,
                f"value {bad + 1} of channel {c + 1} is {_lines.shown(row[bad])}; "
                "expected a finite number, or ? for a missing value",
            )

    if missing not in ("nan", "mask"):
        gaps = np.isnan(values)
        if missing == "error" and gaps.any():
            c, i = divmod(int(gaps.T.argmax()), len(values))
            raise _lines.wrong(
                path,
                number,
                f"value {i + 1} of channel {c + 1} is missing; expected a number, or "
                f"{gaps_setting()}",
            )
        empty = _lines.fill(values)
        if empty is not None:
            raise _lines.wrong(
                path, number, f"channel {empty + 1} has no value at all; expected at least one"
            )

    rounding.see(values)

    def beyond(index: int, text: str) -> ValueError:
        i, c = divmod(index, values.shape[1])
        return _lines.wrong(path, number, f"value {i + 1} of channel {c + 1}: {text}")

    return _lines.to_dtype(values, dtype, beyond)


def _targets(
    path: _lines.Source, places: list[int], labels: list[str], dtype: np.dtype[Any], masked: bool
) -> NDArray[Any]:
    values, bad = _lines.numbers(labels, _GAPS if masked else frozenset())
    if bad is not None:
        raise _lines.wrong(
            path,
            places[bad],
            f"the target is {_lines.shown(labels[bad])}; expected a finite number: "
            "@targetLabel true",
        )
    _lines.check_whole(path, labels, values, "the target")
    rounding = _lines.Rounding(dtype)
    rounding.see(values[:, np.newaxis])
    rounding.check(path, lambda _: "the target")
    return _lines.to_dtype(
        values, dtype, lambda i, text: _lines.wrong(path, places[i], f"the target: {text}")
    )


def _classes(
    path: _lines.Source,
    places: list[int],
    labels: list[str],
    classes: tuple[str, ...],
    own: bool,
    masked: bool,
) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(classes)}
    y = np.array([index.get(label, _lines.NO_CLASS) for label in labels], np.int64)
    gaps = [masked and label.lower() in _GAPS and label not in index for label in labels]
    unknown = (y < 0) & ~np.array(gaps)
    if unknown.any():
        i = int(unknown.argmax())
        source = "@classLabel" if own else "classes"
        raise _lines.wrong(
            path,
            places[i],
            f"the class is {_lines.shown(labels[i])}; expected one of {source}: "
            f"{_lines.some(classes)}",
        )
    return y
