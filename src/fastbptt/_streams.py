"""Text files for what is shown on the way, whose failure must not end the work."""

from __future__ import annotations

import contextlib
from typing import Any, TextIO


class Lossy:
    r"""A text file that never fails: what cannot be written is lost.

    Standard error may be a full disk, or a reader that went away.

    Examples
    --------
    >>> import io
    >>> stream = io.StringIO()
    >>> print("epoch 1", file=Lossy(stream))
    >>> stream.getvalue()
    'epoch 1\n'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()
