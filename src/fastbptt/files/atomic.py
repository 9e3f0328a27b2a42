"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from contextlib import suppress

from .. import _check


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, whole."""
    target = os.path.realpath(_check.file_path(path))  # a symbolic link stays one
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
    temporary = os.path.join(directory, f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile: its files are private, this one gets the permissions that umask gives.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:  # say which file was meant
            raise OSError(error.errno, error.strerror, target) from None
        raise
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)  # the renaming itself reaches the disk
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def clear_away(path: str | os.PathLike[str]) -> None:
    """Delete what writers of this file have left that were killed; nobody may be writing it now."""
    target = os.path.realpath(_check.file_path(path))
    directory, prefix = os.path.dirname(target), _prefix(target)
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
    for name in os.listdir(directory):
        if name.startswith(prefix) and name.endswith(".tmp"):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))


def _prefix(target: str) -> str:
    """Begin the names of temporary files for this one."""
    name = os.fsencode(os.path.basename(target))
    return f".fastbptt-{hashlib.sha256(name).hexdigest()[:16]}-"
