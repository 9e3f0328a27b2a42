"""Labelled texts: film reviews, and sentences about films, products, news and life."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from ..files import damage
from . import _lines

__all__ = ["Texts", "load_imdb", "load_snippets"]

_IMDB_URL: Final = "https://ai.stanford.edu/~amaas/data/sentiment/"
_REVIEW = re.compile(r"(\d+)_(\d+)\.txt")
_SNIPPETS: Final = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
_SDISTS: Final = "vader[Ss]entiment-*.tar.gz"
_INNER: Final = "hutto_ICWSM_2014.tar.gz"
_FETCH: Final = (
    "get them with `pip download --no-deps --no-binary :all: vaderSentiment`, here or in the "
    f"folder that {_lines.DATA_VARIABLE} names, or give their place: path="
)


class Texts(NamedTuple):
    """Texts that are positive or negative.

    Attributes
    ----------
    texts : list of str
        The texts in the files.
    y : ndarray
        1 for positive, 0 for negative, int64, shape (texts,).
    ratings : ndarray
        The ratings behind the labels, float64, shape (texts,).
    ids : tuple of str
        The name of each text in its source.
    """

    texts: list[str]
    y: NDArray[np.int64]
    ratings: NDArray[np.float64]
    ids: tuple[str, ...]


def load_imdb(folder: str | os.PathLike[str], *, limit: int | None = None) -> tuple[Texts, Texts]:
    """Load the 50,000 film reviews of Maas et al. from the folder ``aclImdb``.

    The folder as its authors distribute it: ``train/pos/0_9.txt`` holds the review number 0, whose
    writer gave the film 9 of 10 points. The archive ``aclImdb_v1.tar.gz`` of
    https://ai.stanford.edu/~amaas/data/sentiment/ has to be unpacked.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder ``aclImdb``, or the one that holds it.
    limit : int, optional
        Read only the first so many reviews of each of the four folders.

    Returns
    -------
    train, test : Texts
        First the positive reviews (7 to 10 points), then the negative ones (1 to 4), each in the
        order of their numbers: shuffle them before cutting off a part. ``ratings`` are the points,
        ``ids`` such as "train/pos/0_9". The texts hold HTML's ``<br />``, which
        :class:`Tokenizer` drops.

    Raises
    ------
    ValueError
        If a file's name or text is not valid.
    OSError
        If the folder is not there or cannot be read.

    References
    ----------
    A. L. Maas, R. E. Daly, P. T. Pham, D. Huang, A. Y. Ng, C. Potts. Learning word vectors for
    sentiment analysis. ACL 2011, 142-150.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import load_imdb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train/pos/0_9", "train/neg/0_2", "test/pos/0_10", "test/neg/0_1"):
    ...         os.makedirs(os.path.join(folder, "aclImdb", os.path.dirname(name)))
    ...         with open(os.path.join(folder, "aclImdb", f"{name}.txt"), "w") as file:
    ...             _ = file.write(f"This is {name}.")
    ...     train, test = load_imdb(folder)
    >>> train.texts, train.y, train.ratings
    (['This is train/pos/0_9.', 'This is train/neg/0_2.'], array([1, 0]), array([9., 2.]))
    """
    most = None if limit is None else _check.size("limit", limit)
    root = Path(_check.file_path(folder))
    if root.is_file():
        raise NotADirectoryError(
            f"folder is {root}, a file; expected the folder aclImdb (tar -xzf aclImdb_v1.tar.gz)"
        )
    if not (root / "train").is_dir() and (root / "aclImdb").is_dir():
        root = root / "aclImdb"
    if not (root / "train" / "pos").is_dir():
        raise FileNotFoundError(
            f"folder is {root}, which has no train/pos; expected the folder aclImdb of {_IMDB_URL}"
        )
    return _part(root, "train", most), _part(root, "test", most)


def _part(root: Path, part: str, limit: int | None) -> Texts:
    texts, y, ratings, ids = [], [], [], []
    for label, kind, low, high in ((1, "pos", 7, 10), (0, "neg", 1, 4)):
        folder = root / part / kind
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; expected that of {_IMDB_URL}")
        found = []
        for name in os.listdir(folder):
            match = _REVIEW.fullmatch(name)
            if match is None:
                if name.endswith(".txt"):
                    raise _lines.wrong(
                        folder / name, None, "expected a name NUMBER_POINTS.txt, such as 0_9.txt"
                    )
                continue
            if not low <= int(match[2]) <= high:
                raise _lines.wrong(
                    folder / name, None, f"{match[2]} points; expected {low} to {high} in {kind}"
                )
            found.append((int(match[1]), int(match[2]), name))
        if not found:
            raise FileNotFoundError(f"{folder} has no review; expected files such as 0_9.txt")
        for _, points, name in sorted(found)[:limit]:
            texts.append(_lines.read_text(folder / name))
            y.append(label)
            ratings.append(points)
            ids.append(f"{part}/{kind}/{name[:-4]}")
    return Texts(texts, np.array(y, np.int64), np.array(ratings, np.float64), tuple(ids))


def load_snippets(name: str = "movies", path: str | os.PathLike[str] | None = None) -> Texts:
    r"""Load sentences with a sentiment each, from the source package of vaderSentiment.

    At least twenty people rated each from -4 (negative) to 4 (positive).

    ========  =======  =========================================================================
    name      texts    what they are
    ========  =======  =========================================================================
    movies     10,568  from film reviews (rotten.tomatoes.com): 5,242 positive, 5,326 negative
    amazon      3,610  from reviews of goods: 2,128 positive, 1,482 negative
    nyt         4,946  from opinions in the New York Times: 2,204 positive, 2,742 negative
    tweets      4,196  short messages: 2,897 positive, 1,299 negative
    ========  =======  =========================================================================

    Parameters
    ----------
    name : {"movies", "amazon", "nyt", "tweets"}, default "movies"
        The set.
    path : str or os.PathLike, optional
        The source package ``vaderSentiment-3.3.2.tar.gz`` (the wheel has no texts), or the archive
        ``hutto_ICWSM_2014.tar.gz`` in it, or the file of `name` in that, or a folder with one of
        these. By default it is looked for in the folder that the environment variable
        ``FASTBPTT_DATA`` names, then in the current folder.

    Returns
    -------
    Texts
        Without the texts whose mean rating is 0; ``ratings`` are the mean ratings. In the order of
        the file, where positive and negative texts come in long runs: shuffle them before cutting
        off a part. A few texts occur twice.

    Raises
    ------
    FileNotFoundError
        If the texts are not found; the message tells how to get them.
    ValueError
        If a file is not valid.

    References
    ----------
    C. J. Hutto, E. Gilbert. VADER: a parsimonious rule-based model for sentiment analysis of
    social media text. ICWSM 2014. The authors ask to be cited. The package's licence is MIT.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbptt.datasets import load_snippets
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "movieReviewSnippets_GroundTruth.txt")
    ...     with open(path, "w") as file:
    ...         _ = file.write("1\t2.3\tA joy.\n2\t0\tWell.\n3\t-3.1\tA bore.\n")
    ...     load_snippets("movies", path)
    Texts(texts=['A joy.', 'A bore.'], y=array([1, 0]), ratings=array([ 2.3, -3.1]), ids=('1', '3'))
    """
    _check.option("name", name, _SNIPPETS)
    file = _SNIPPETS[name]
    if path is not None:
        place = Path(_check.file_path(path))
        if not place.exists():
            raise FileNotFoundError(f"path is {place}: there is no such file or folder")
        found = _search(place, file) if place.is_dir() else place
        if found is None:
            raise FileNotFoundError(f"path is {place}: there is no {file} in it, and no {_SDISTS}")
    else:
        folders = _lines.data_folders()
        found = next(filter(None, (_search(folder, file) for folder in folders)), None)
        if found is None:
            raise FileNotFoundError(
                f"neither {file} nor {_SDISTS} is in {_lines.some(folders)}; {_FETCH}"
            )
    return _snippets(*_open_snippets(found, file))


def _search(folder: Path, file: str) -> Path | None:
    for pattern in (file, f"hutto_ICWSM_2014/{file}", _INNER, _SDISTS):
        matches = sorted(folder.glob(pattern))
        if matches:
            return matches[-1]
    inside = folder / "additional_resources"
    return _search(inside, file) if inside.is_dir() else None


def _open_snippets(path: Path, file: str) -> tuple[str, str]:
    """Read the file, from nested archives if necessary; return its place and text."""
    if not path.name.endswith((".tar.gz", ".tgz", ".whl", ".zip")):
        return str(path), _lines.read_text(path)
    import tarfile

    where, content = str(path), path.read_bytes()
    for wanted in (_INNER, file):
        if wanted == _INNER and path.name == _INNER:
            continue
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
                names = [one for one in archive.getnames() if one.rpartition("/")[2] == wanted]
                info = archive.getmember(names[0]) if names else None
                if info is None or not info.isfile():
                    raise _lines.wrong(where, None, f"there is no {wanted} in it")
                if info.size > _core.memory_limit():
                    size = _check.bytes_text(info.size)
                    raise _lines.wrong(where, None, f"{wanted} needs {size}; there is no memory")
                member = archive.extractfile(info)
                assert member is not None
                content = member.read()
        except _lines.FileError:
            raise
        except damage.of_archives() as error:
            text = f"cannot be read as an archive .tar.gz: {_lines.described(error)}"
            if path.suffix == ".whl":
                text = "is a wheel, which has no texts; expected the source package .tar.gz"
            raise _lines.wrong(where, None, text) from None
        where = f"{where}/{wanted}"
    try:
        return where, content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return where, content.decode("latin-1")


def _snippets(path: str, content: str) -> Texts:
    texts, ratings, ids = [], [], []
    for number, line in enumerate(content.split("\n"), 1):
        line = line.rstrip("\r")
        if not line:
            continue
        cells = line.split("\t", 2)
        if len(cells) < 3:
            raise _lines.wrong(
                path,
                number,
                f"{_lines.shown(line)}; expected NUMBER, RATING and TEXT with tabs",
            )
        values, bad = _lines.numbers(cells[1:2], frozenset())
        if bad is not None or not -4 <= values[0] <= 4:
            raise _lines.wrong(
                path, number, f"the rating is {_lines.shown(cells[1])}; expected -4 to 4"
            )
        if values[0] != 0:
            ids.append(cells[0])
            ratings.append(float(values[0]))
            texts.append(cells[2].strip())
    if not texts:
        raise _lines.wrong(path, None, "has no text with a rating; expected at least one")
    numbers = np.array(ratings)
    return Texts(texts, (numbers > 0).astype(np.int64), numbers, tuple(ids))
