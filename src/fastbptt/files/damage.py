"""The kinds of errors that a damaged file leads to.

Who reads a file takes these for damage, and no others: a handler of signals may raise an error of
its program's own at any moment, which is not about the file. One of these kinds it should not
raise: nobody could tell it from damage.
"""

from __future__ import annotations

import sys
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

_UNPACKING: Final = (
    *OF_VALUES,
    EOFError,
    MemoryError,  # a size that no file has
    OSError,
    RuntimeError,  # a member that needs a password, or a way to pack that is not known
    SyntaxError,  # in the header of an array, which is Python
    Warning,  # about such a header, where warnings are errors
)

_OF_MODULES: Final = (
    ("lzma", "LZMAError"),
    ("struct", "error"),
    ("tarfile", "TarError"),
    ("tokenize", "TokenError"),
    ("zipfile", "BadZipFile"),
    ("zlib", "error"),
)


def of_archives() -> tuple[type[Exception], ...]:
    """Return the kinds where `zipfile`, `tarfile` or `numpy.load` unpack what was packed."""
    loaded = [(sys.modules.get(module), name) for module, name in _OF_MODULES]
    return (*_UNPACKING, *(getattr(module, name) for module, name in loaded if module is not None))
