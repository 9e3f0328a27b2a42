"""Words, their numbers, and the texts with a sentiment: files as their authors distribute them."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbptt.datasets import Texts, Tokenizer, load_imdb, load_snippets, pad

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def refuses(message: str, error: type[Exception] = ValueError) -> Iterator[None]:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        yield


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A good, GOOD film!", "a good , good film !"),
        ("don't can't won't isn't", "do n't ca n't wo n't is n't"),
        ("She's I'm they'll we've you're he'd", "she 's i 'm they 'll we 've you 're he 'd"),
        ("DON\u2019T it\u2019s \u201cquoted\u201d", "do n't it 's \" quoted \""),
        ("''Conan'' and 'so'", "\" conan \" and ' so '"),
        ("O'Brien's rock'n'roll", "o ' brien 's rock ' n ' roll"),
        (
            "well-made; 7/10, 3.5 stars. 1,000 at 10:30.",
            "well - made ; 7/10 , 3.5 stars . 1,000 at 10:30 .",
        ),
        ("the 21st r2d2 1980s", "the 21st r2d2 1980s"),
        ("Wait... no!! (really?)", "wait ... no ! ! ( really ? )"),
        ("one<br /><br/>two</p> 1 < 2 > 0 <3", "one two 1 < 2 > 0 < 3"),
        ("Lovely &amp; Amazing &quot;x&quot; &#39;s AT&T;", 'lovely & amazing " x " \'s at & t ;'),
        ("naïve café cafe\u0301", "naïve café café"),
        ("snake_case #tag @name", "snake _ case # tag @ name"),
        ("", ""),
        (" \n\t ", ""),
    ],
)
def test_split(text: str, expected: str) -> None:
    assert Tokenizer().split(text) == expected.split()


def test_letters_can_be_kept() -> None:
    assert Tokenizer(lower=False).split("DON'T Go") == ["DO", "N'T", "Go"]


def test_vocabulary() -> None:
    texts = ["b b b c c a a d", "e"]
    assert Tokenizer().fit(texts).tokens == ("<pad>", "<unknown>", "b", "a", "c", "d", "e")
    assert Tokenizer(min_count=2).fit(texts).tokens == ("<pad>", "<unknown>", "b", "a", "c")
    tokenizer = Tokenizer(max_size=4).fit(texts)
    assert tokenizer.tokens == ("<pad>", "<unknown>", "b", "a")
    assert len(tokenizer) == 4
    assert repr(tokenizer) == "Tokenizer(max_size=4, min_count=1, lower=True): 4 tokens"
    assert repr(Tokenizer()) == "Tokenizer(max_size=None, min_count=1, lower=True): not fitted"
    assert tokenizer.fit(["x"]).tokens == ("<pad>", "<unknown>", "x")


def test_encode() -> None:
    tokenizer = Tokenizer().fit(["good film"])
    found = tokenizer.encode(["Film, good film", "", "film"])
    assert [one.tolist() for one in found] == [[2, 1, 3, 2], [1], [2]]
    assert all(one.dtype == np.int64 for one in found)
    assert tokenizer.encode(["good good film"], max_length=2)[0].tolist() == [3, 3]
    assert pad(found)[0].tolist() == [[2, 1, 3, 2], [1, 0, 0, 0], [2, 0, 0, 0]]
    assert tokenizer.decode([2, 1, 3, 0]) == "film <unknown> good"
    assert tokenizer.decode([]) == ""
    assert (tokenizer.padding_index, tokenizer.unknown_index) == (0, 1)


def test_texts_cannot_hold_the_reserved_tokens() -> None:
    tokenizer = Tokenizer().fit(["<pad> <unknown> <PAD > x", "&lt;pad&gt;"])
    assert tokenizer.tokens == ("<pad>", "<unknown>", "<", ">", "pad", "x")


def test_the_same_in_every_process() -> None:
    code = (
        "from fastbptt.datasets import Tokenizer;"
        "print(Tokenizer().fit(['so good a film', 'a bad one', 'à la carte']).tokens)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1


@quick
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=4), lower=st.booleans())
def test_any_text(tmp_path: Path, texts: list[str], lower: bool) -> None:
    tokenizer = Tokenizer(lower=lower).fit(texts)
    tokens = [tokenizer.split(text) for text in texts]
    for one in tokens:
        assert all(token and not any(c.isspace() for c in token) for token in one)
    numbers = tokenizer.encode(texts)
    for one, found in zip(tokens, numbers, strict=True):
        assert (found != tokenizer.padding_index).all()
        assert [tokenizer.tokens[i] for i in found] == (one or ["<unknown>"])
    counts = [sum(one.count(token) for one in tokens) for token in tokenizer.tokens[2:]]
    assert counts == sorted(counts, reverse=True)


@settings(quick, max_examples=10)  # each reaches the disk
@given(
    texts=st.lists(st.text(max_size=30), max_size=4),
    max_size=st.none() | st.integers(3, 6),
)
def test_saved_and_loaded(tmp_path: Path, texts: list[str], max_size: int | None) -> None:
    tokenizer = Tokenizer(max_size=max_size, min_count=1, lower=False).fit(texts)
    path = tmp_path / "words.json"
    tokenizer.save(path)
    same = Tokenizer.load(path)
    assert same.tokens == tokenizer.tokens
    assert repr(same) == repr(tokenizer)
    for one, other in zip(tokenizer.encode(texts), same.encode(texts), strict=True):
        assert np.array_equal(one, other)
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == "fastbptt tokenizer"


GOOD = {
    "format": "fastbptt tokenizer",
    "version": 1,
    "max_size": None,
    "min_count": 1,
    "lower": True,
    "tokens": ["<pad>", "<unknown>", "x"],
}
TOKENS = (
    '"tokens" is not right; expected a list of different texts that begins with "<pad>", '
    '"<unknown>"'
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, 'is no tokenizer; expected "format": "fastbptt tokenizer"'),
        ({"version": 2}, 'has "version": 2; expected 1'),
        ({"tokens": "x"}, TOKENS),
        ({"tokens": ["<pad>", "<unknown>", "x", "x"]}, TOKENS),
        ({"tokens": ["<pad>", "<unknown>", 3]}, TOKENS),
        ({"tokens": ["a", "b"]}, TOKENS),
        ({"min_count": 0}, "min_count is 0; expected at least 1"),
        ({"min_count": None}, "min_count is None; expected a whole number of at least 1"),
        ({"lower": 1}, "lower is 1; expected True or False"),
    ],
)
def test_wrong_vocabularies(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with refuses(f"{path}: {message}"):
        Tokenizer.load(path)


def test_no_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text('{"format":\n"fastbptt')
    with pytest.raises(ValueError, match=re.escape(f"{path}:2: is no JSON: Unterminated string")):
        Tokenizer.load(path)
    path.write_text("[]")
    with refuses(f'{path}: is no tokenizer; expected "format": "fastbptt tokenizer"'):
        Tokenizer.load(path)
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "nil")


def test_wrong_arguments() -> None:
    with refuses("max_size is 2; expected at least 3: two are reserved"):
        Tokenizer(max_size=2)
    with refuses("min_count is 0; expected at least 1"):
        Tokenizer(min_count=0)
    with refuses("the tokenizer has no vocabulary; expected fit or load before encode"):
        Tokenizer().encode(["x"])
    with refuses("texts is of type str; expected a sequence of str", TypeError):
        Tokenizer().fit("x")
    tokenizer = Tokenizer().fit(["x"])
    with refuses("texts is of type str; expected a sequence of str", TypeError):
        tokenizer.encode("x")
    with refuses("text is of type float; expected str", TypeError):
        tokenizer.encode([float("nan")])  # type: ignore[list-item]
    with refuses("numbers[1] is 3; expected 0 to 2, the vocabulary"):
        tokenizer.decode([2, 3])
    with refuses(
        "numbers has shape (1, 1) and dtype int64; expected whole numbers of shape (tokens,)"
    ):
        tokenizer.decode([[2]])


# ---------------------------------------------------------------- aclImdb


@pytest.fixture
def imdb(tmp_path: Path) -> Path:
    """Make a small folder with what the real one has."""
    root = tmp_path / "aclImdb"
    for part in ("train", "test"):
        for kind, points in (("pos", (7, 10, 9)), ("neg", (1, 4, 3))):
            folder = root / part / kind
            folder.mkdir(parents=True)
            for number, rating in zip((0, 10, 9), points, strict=True):
                text = f"{part} {kind} {number}<br /><br />It's café."
                (folder / f"{number}_{rating}.txt").write_text(text, encoding="utf-8")
        (root / part / "labeledBow.feat").write_text("9 0:9 1:1\n")
        (root / part / "urls_pos.txt").write_text(
            "http://www.imdb.com/title/tt0453418/usercomments\n"
        )
    (root / "train" / "unsup").mkdir()
    (root / "train" / "unsup" / "0_0.txt").write_text("unlabelled")
    (root / "imdb.vocab").write_text("the\nand\n")
    (root / "README").write_text("Large Movie Review Dataset v1.0\n")
    return root


@pytest.mark.parametrize("inside", [True, False])
def test_imdb(imdb: Path, inside: bool) -> None:
    train, test = load_imdb(imdb if inside else imdb.parent)
    assert train.texts[0] == "train pos 0<br /><br />It's café."
    assert train.ids[:3] == ("train/pos/0_7", "train/pos/9_9", "train/pos/10_10")
    assert test.ids[3:] == ("test/neg/0_1", "test/neg/9_3", "test/neg/10_4")
    for part in (train, test):
        assert part.y.tolist() == [1, 1, 1, 0, 0, 0]
        assert part.y.dtype == np.int64
        assert part.ratings.tolist() == [7, 9, 10, 1, 3, 4]
    assert Tokenizer().split(test.texts[4]) == ["test", "neg", "9", "it", "'s", "café", "."]


def test_part_of_imdb(imdb: Path) -> None:
    train, _ = load_imdb(str(imdb), limit=2)
    assert train.ids == ("train/pos/0_7", "train/pos/9_9", "train/neg/0_1", "train/neg/9_3")


def test_what_else_lies_in_a_folder_of_imdb(imdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order is in which the system lists it."""
    before = load_imdb(imdb)[0].ids
    for name in (".DS_Store", "Thumbs.db"):
        (imdb / "train" / "pos" / name).write_bytes(b"\0")
    listed = os.listdir
    for backwards in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(
                "os.listdir", lambda path, how=backwards: sorted(listed(path), reverse=how)
            )
            assert load_imdb(imdb)[0].ids == before


def test_wrong_imdb(imdb: Path) -> None:
    neg = imdb / "train" / "neg"
    wrong = neg / "5_7.txt"
    wrong.write_text("x")
    with refuses(f"{wrong}: 7 points; expected 1 to 4 in neg"):
        load_imdb(imdb)
    wrong = wrong.rename(neg / "five.txt")
    with refuses(f"{wrong}: expected a name NUMBER_POINTS.txt, such as 0_9.txt"):
        load_imdb(imdb)
    for path in neg.iterdir():
        path.unlink()
    with refuses(f"{neg} has no review; expected files such as 0_9.txt", FileNotFoundError):
        load_imdb(imdb)
    neg.rmdir()
    url = "https://ai.stanford.edu/~amaas/data/sentiment/"
    with refuses(f"there is no folder {neg}; expected that of {url}", FileNotFoundError):
        load_imdb(imdb)
    with refuses(
        f"folder is {neg.parent}, which has no train/pos; expected the folder aclImdb of {url}",
        FileNotFoundError,
    ):
        load_imdb(neg.parent)
    readme = imdb / "README"
    with refuses(
        f"folder is {readme}, a file; expected the folder aclImdb (tar -xzf aclImdb_v1.tar.gz)",
        NotADirectoryError,
    ):
        load_imdb(readme)
    with refuses("limit is 0; expected at least 1"):
        load_imdb(imdb, limit=0)


# ---------------------------------------------------------------- vaderSentiment's snippets

MOVIES = "movieReviewSnippets_GroundTruth.txt"
CONTENT = "1\t2.26666666667\tA ''joy'' \u2013 truly.\r\n2\t0\tWell.\r\n3\t-0.6\tToo\ttepid\r\n"


def packed(name: str, content: bytes) -> bytes:
    """Make a .tar.gz with one file."""
    archive_bytes = io.BytesIO()
    with tarfile.open(fileobj=archive_bytes, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return archive_bytes.getvalue()


@pytest.fixture
def snippets(tmp_path: Path) -> dict[str, Path]:
    """Lay the texts out in every form in which they come."""
    inner = packed(f"hutto_ICWSM_2014/{MOVIES}", CONTENT.encode())
    outer = packed("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", inner)
    files = {
        "file": (tmp_path / "a" / MOVIES, CONTENT.encode()),
        "inner": (tmp_path / "b" / "hutto_ICWSM_2014.tar.gz", inner),
        "package": (tmp_path / "c" / "vaderSentiment-3.3.2.tar.gz", outer),
        "package, new name": (tmp_path / "d" / "vadersentiment-3.3.2.tar.gz", outer),
        "unpacked": (
            tmp_path / "e" / "additional_resources" / "hutto_ICWSM_2014.tar.gz",
            inner,
        ),
        "all unpacked": (tmp_path / "f" / "hutto_ICWSM_2014" / MOVIES, CONTENT.encode()),
    }
    for path, content in files.values():
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return {name: path for name, (path, _) in files.items()}


def is_right(found: Texts) -> bool:
    return (
        found.texts == ["A ''joy'' \u2013 truly.", "Too\ttepid"]
        and found.y.tolist() == [1, 0]
        and found.ratings.tolist() == [2.26666666667, -0.6]
        and found.ids == ("1", "3")
    )


def test_snippets_in_every_form(
    snippets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in snippets.items():
        assert is_right(load_snippets("movies", path)), name
        folder = tmp_path / path.relative_to(tmp_path).parts[0]
        assert is_right(load_snippets("movies", folder)), name
        monkeypatch.setenv("FASTBPTT_DATA", str(folder))
        assert is_right(load_snippets("movies")), name
    monkeypatch.delenv("FASTBPTT_DATA")
    monkeypatch.chdir(snippets["package"].parent)
    assert is_right(load_snippets())


def test_no_snippets(
    snippets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FASTBPTT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with refuses(
        f"neither {MOVIES} nor vader[Ss]entiment-*.tar.gz is in .; get them with `pip download "
        "--no-deps --no-binary :all: vaderSentiment`, here or in the folder that FASTBPTT_DATA "
        "names, or give their place: path=",
        FileNotFoundError,
    ):
        load_snippets()
    with refuses("path is nil: there is no such file or folder", FileNotFoundError):
        load_snippets("movies", "nil")
    with refuses(
        f"path is {tmp_path}: there is no {MOVIES} in it, and no vader[Ss]entiment-*.tar.gz",
        FileNotFoundError,
    ):
        load_snippets("movies", tmp_path)
    with refuses('name is "films"; expected one of "movies", "amazon", "nyt", "tweets"'):
        load_snippets("films")
    inner = snippets["inner"]
    with refuses(f"{inner}: there is no tweets_GroundTruth.txt in it"):
        load_snippets("tweets", inner)
    wheel = tmp_path / "vaderSentiment-3.3.2-py3-none-any.whl"
    wheel.write_bytes(b"PK\3\4")
    with refuses(f"{wheel}: is a wheel, which has no texts; expected the source package .tar.gz"):
        load_snippets("movies", wheel)
    broken = tmp_path / "vaderSentiment-3.tar.gz"
    broken.write_bytes(snippets["package"].read_bytes()[:60])
    with pytest.raises(ValueError, match=re.escape(f"{broken}: cannot be read as an archive")):
        load_snippets("movies", broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t2\tx\n\n2\t1\n", ':3: "2\t1"; expected NUMBER, RATING and TEXT with tabs'),
        ("1\tgood\tx\n", ':1: the rating is "good"; expected -4 to 4'),
        ("1\t5\tx\n", ':1: the rating is "5"; expected -4 to 4'),
        ("1\t0\tx\n", ": has no text with a rating; expected at least one"),
    ],
)
def test_wrong_snippets(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / MOVIES
    path.write_text(text)
    with refuses(f"{path}{message}"):
        load_snippets("movies", path)


@pytest.mark.parametrize(
    ("name", "positive", "negative"),
    [("movies", 5242, 5326), ("amazon", 2128, 1482), ("nyt", 2204, 2742), ("tweets", 2897, 1299)],
)
def test_real_snippets(name: str, positive: int, negative: int) -> None:
    try:
        found = load_snippets(name)
    except FileNotFoundError:
        pytest.skip("needs vaderSentiment's source package in FASTBPTT_DATA")
    assert np.bincount(found.y).tolist() == [negative, positive]
    assert len(set(found.ids)) == len(found.texts) == positive + negative
    assert all(found.texts)
