"""Tokenizer: text to token numbers and back."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from . import _lines

__all__ = ["Tokenizer"]

_FORMAT: Final = "fastbptt tokenizer"
_VERSION: Final = 1

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d`", "''\"\"'")
_TOKEN = re.compile(
    r"""
      \d+(?:[.,:/]\d+)*[^\W_]*      # 7, 3.5, 1,000, 7/10, 10:30, 21st
    | n't(?!\w) | '(?:s|m|d|ll|re|ve)(?!\w)   # what is left of a contraction
    | [^\W\d_]+?(?=n't(?!\w))       # do before n't
    | [^\W_]+                       # words, also with digits within: r2d2
    | '{2} | \.{2,}                 # '' is a quotation mark, ... and .. are one
    | [^\w\s] | _                   # any other sign stands alone
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Tokenizer:
    """Split texts into words and signs, and number them by a vocabulary.

    Splitting is language-independent: HTML tags become spaces, entities their characters; letters
    are lowered; then words, numbers and signs are separated. Contractions are split as in the Penn
    Treebank, "didn't" into "did" and "n't", "she's" into "she" and "'s", so that equal parts share
    a token. The vocabulary and its order depend only on the texts and the arguments.

    Parameters
    ----------
    max_size : int, optional
        The greatest size of the vocabulary, the two reserved tokens included. Rarer tokens are
        left out first, and among equally frequent ones the last of the alphabet.
    min_count : int, default 1
        How often a token must occur in the texts to enter the vocabulary.
    lower : bool, default True
        Whether to lower letters.

    Attributes
    ----------
    tokens : tuple of str
        The vocabulary: token 0 pads, token 1 stands for unknown tokens, the others are sorted by
        falling frequency. Empty until :meth:`fit`.
    padding_index, unknown_index : int
        0 and 1.

    Examples
    --------
    >>> from fastbptt.datasets import Tokenizer
    >>> tokenizer = Tokenizer(min_count=2).fit(["A good film.", "It wasn't a good one!"])
    >>> tokenizer.tokens
    ('<pad>', '<unknown>', 'a', 'good')
    >>> tokenizer.split("It wasn't <b>good</b>...")
    ['it', 'was', "n't", 'good', '...']
    >>> tokenizer.encode(["A good film.", "Good!"])
    [array([2, 3, 1, 1]), array([3, 1])]
    >>> len(tokenizer)
    4
    """

    padding_index: Final = 0
    unknown_index: Final = 1
    padding: Final = "<pad>"
    unknown: Final = "<unknown>"

    def __init__(
        self, *, max_size: int | None = None, min_count: int = 1, lower: bool = True
    ) -> None:
        self.max_size = None if max_size is None else _check.size("max_size", max_size)
        if self.max_size is not None and self.max_size < 3:
            raise ArgumentError(
                "max_size", f"is {max_size}", "at least 3: two are reserved", value=max_size
            )
        self.min_count = _check.size("min_count", min_count)
        self.lower = _check.flag("lower", lower)
        self._set_tokens(())

    def _set_tokens(self, tokens: Iterable[str]) -> None:
        self.tokens: tuple[str, ...] = tuple(tokens)
        self._index = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        size = f"{len(self)} tokens" if self.tokens else "not fitted"
        return (
            f"Tokenizer(max_size={self.max_size}, min_count={self.min_count}, "
            f"lower={self.lower}): {size}"
        )

    def split(self, text: str) -> list[str]:
        """Split a text into tokens, known or not.

        Parameters
        ----------
        text : str
            Any text.

        Returns
        -------
        list of str
            Its words, numbers and signs in order.

        Examples
        --------
        >>> from fastbptt.datasets import Tokenizer
        >>> Tokenizer().split("They're well-made: 7/10, ''Conan'' &amp; co.")
        ['they', "'re", 'well', '-', 'made', ':', '7/10', ',', '"', 'conan', '"', '&', 'co', '.']
        """
        if not isinstance(text, str):
            raise ArgumentTypeError("text", f"is of type {type(text).__name__}", "str")
        if "<" in text:
            text = _TAG.sub(" ", text)
        if "&" in text:
            text = _ENTITY.sub(_unescape, text)
        if not text.isascii():
            text = unicodedata.normalize("NFC", text.translate(_QUOTES))
        elif "`" in text:
            text = text.translate(_QUOTES)
        if self.lower:
            text = text.lower()
        found = _TOKEN.findall(text)
        return ['"' if token == "''" else token for token in found] if "''" in text else found

    def fit(self, texts: Iterable[str]) -> Tokenizer:
        """Learn the vocabulary of texts, replacing an earlier one.

        Parameters
        ----------
        texts : iterable of str
            Training texts only: with test texts, test results would be biased.

        Returns
        -------
        Tokenizer
            Itself.
        """
        counts: Counter[str] = Counter()
        for text in _texts(texts):
            counts.update(self.split(text))
        # A text may hold what the reserved tokens are called; it is cut into signs, so never whole.
        kept = [item for item in counts.items() if item[1] >= self.min_count]
        kept.sort(key=lambda item: (-item[1], item[0]))
        limit = None if self.max_size is None else self.max_size - 2
        self._set_tokens((self.padding, self.unknown, *(token for token, _ in kept[:limit])))
        return self

    def encode(
        self, texts: Iterable[str], *, max_length: int | None = None
    ) -> list[NDArray[np.int64]]:
        """Encode texts as token numbers.

        Parameters
        ----------
        texts : iterable of str
            Any texts.
        max_length : int, optional
            Truncate texts to this many tokens.

        Returns
        -------
        list of ndarray
            int64, of shape (tokens,), for each text. A text without any token is one unknown
            token, since a sequence has at least one step. :func:`pad` makes one array of them.

        Raises
        ------
        ValueError
            If the vocabulary is empty.

        Examples
        --------
        >>> from fastbptt.datasets import Tokenizer, pad
        >>> tokenizer = Tokenizer().fit(["so so", "good"])
        >>> pad(tokenizer.encode(["so good", "good"]))[0]
        array([[2, 3],
               [3, 0]])
        """
        if not self.tokens:
            raise ValueError("the tokenizer has no vocabulary; expected fit or load before encode")
        longest = None if max_length is None else _check.size("max_length", max_length)
        index, unknown = self._index, self.unknown_index
        result = []
        for text in _texts(texts):
            numbers = [index.get(token, unknown) for token in self.split(text)[:longest]]
            result.append(np.array(numbers or [unknown], np.int64))
        return result

    def decode(self, numbers: Any) -> str:
        """Join the tokens of a sequence of numbers with spaces, without padding.

        Parameters
        ----------
        numbers : array_like
            Whole numbers, shape (tokens,).

        Returns
        -------
        str
            The tokens.

        Examples
        --------
        >>> from fastbptt.datasets import Tokenizer
        >>> tokenizer = Tokenizer().fit(["So good!"])
        >>> tokenizer.decode(tokenizer.encode(["So, good!"])[0])
        'so <unknown> good !'
        """
        array = np.asarray(numbers)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(
                f"numbers has shape {array.shape} and dtype {array.dtype}; expected whole numbers "
                "of shape (tokens,)"
            )
        wrong = (array < 0) | (array >= len(self.tokens))
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(
                f"numbers[{i}] is {array[i]}; expected 0 to {len(self.tokens) - 1}, the vocabulary"
            )
        return " ".join(self.tokens[i] for i in array.tolist() if i != self.padding_index)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary and the arguments to a JSON file, replaced atomically.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Examples
        --------
        >>> import os, tempfile
        >>> from fastbptt.datasets import Tokenizer
        >>> tokenizer = Tokenizer().fit(["So good!"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "words.json")
        ...     tokenizer.save(path)
        ...     same = Tokenizer.load(path)
        >>> same.tokens == tokenizer.tokens
        True
        """
        from ..files.atomic import write_whole

        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "max_size": self.max_size,
            "min_count": self.min_count,
            "lower": self.lower,
            "tokens": self.tokens,
        }
        text = json.dumps(content, ensure_ascii=False, indent=0)
        write_whole(path, text.encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a file that :meth:`save` wrote.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        Tokenizer
            Equal to the saved one.

        Raises
        ------
        ValueError
            If the file is not a tokenizer.
        OSError
            If it cannot be read.
        """
        source = _check.file_path(path)
        try:
            content = json.loads(_lines.read_text(source))
        except json.JSONDecodeError as error:
            raise _lines.wrong(source, error.lineno, f"is no JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting
            raise _lines.wrong(source, None, f"is no JSON that can be read: {error}") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise _lines.wrong(source, None, f'is no tokenizer; expected "format": "{_FORMAT}"')
        if content.get("version") != _VERSION:
            raise _lines.wrong(
                source, None, f'has "version": {content.get("version")!r}; expected {_VERSION}'
            )
        tokens = content.get("tokens")
        if (
            not isinstance(tokens, list)
            or not all(isinstance(token, str) and not _lines.surrogate(token) for token in tokens)
            or len(set(tokens)) < len(tokens)
            or (tokens and tokens[:2] != [cls.padding, cls.unknown])
        ):
            raise _lines.wrong(
                source,
                None,
                f'"tokens" is not right; expected a list of different texts that begins with '
                f'"{cls.padding}", "{cls.unknown}"',
            )
        arguments: dict[str, Any] = {
            name: content.get(name) for name in ("max_size", "min_count", "lower")
        }
        try:
            tokenizer = cls(**arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise _lines.wrong(source, None, str(error)) from None
        tokenizer._set_tokens(tokens)
        return tokenizer


def _texts(texts: Iterable[str]) -> Iterable[str]:
    """Refuse one text where several are expected: its letters would be taken for texts."""
    if isinstance(texts, str | bytes):
        raise ArgumentTypeError("texts", f"is of type {type(texts).__name__}", "a sequence of str")
    return texts


def _unescape(match: re.Match[str]) -> str:
    import html

    return html.unescape(match.group())
