"""The kinds of errors that a damaged file leads to.

Who reads a file takes these for damage, and no others: a handler of signals may raise an error of
its program's own at any moment, which is not about the file.
"""

from __future__ import annotations

from typing import Final

#: Where values are parsed, or objects made from them.
OF_VALUES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def of_archives() -> tuple[type[Exception], ...]:
    """Return the kinds where `zipfile`, `tarfile` or `numpy.load` unpack what was packed."""
    import lzma
    import struct
    import tarfile
    import tokenize
    import zipfile
    import zlib

    return (
        *OF_VALUES,
        EOFError,
        MemoryError,  # a size that no file has
        OSError,
        RuntimeError,  # a member that needs a password, or a way to pack that is not known
        SyntaxError,  # in the header of an array, which is Python
        lzma.LZMAError,
        struct.error,
        tarfile.TarError,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
    )
