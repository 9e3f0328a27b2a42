"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from typing import BinaryIO

from .. import _check


def write_whole(path: str | os.PathLike[str], content: bytes, *, flush: bool = True) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, whole.

    An existing file keeps its owner, its permissions and the symbolic links to it. What is no
    regular file, such as a pipe or ``/dev/null``, is written into.

    Parameters
    ----------
    path : str or os.PathLike
    content : bytes
    flush : bool, default True
        Whether to wait until it is on the disk, some milliseconds. Without, a crash of the whole
        machine may lose it, as any other file: for thousands of small ones.

    Raises
    ------
    OSError
        If it cannot be written, or is a file that replacing it would not leave as it is: one that
        may not be written or given to its owner, has several hard links, or is a block device.
    """
    target, old = check_place(path)
    if old is not None and not stat.S_ISREG(old.st_mode):
        _write_into(target, content)
        return
    directory = os.path.dirname(target)
    temporary = os.path.join(directory, f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile: its files are private, this one gets the permissions that umask gives.
        with open(temporary, "xb") as file:
            if old is not None and os.name == "posix":
                _take_over(file.fileno(), old)
            file.write(content)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:  # say which file was meant
            raise OSError(error.errno, error.strerror, target) from None
        raise
    if flush and os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)  # the renaming itself reaches the disk
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_place(path: str | os.PathLike[str]) -> tuple[str, os.stat_result | None]:
    """Refuse a place where `write_whole` would write nothing; return where it is, and what.

    Returns
    -------
    target : str
        The file to which symbolic links lead; a device or pipe by the given name.
    old : os.stat_result or None
        None: there is no such file yet.

    Raises
    ------
    OSError
        As there.
    """
    given = _check.file_path(path)
    try:
        old = os.stat(given)  # not of the real path: that of /dev/stdout is no name of a file
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory; expected a file", given)
        if not (stat.S_ISCHR(old.st_mode) or stat.S_ISFIFO(old.st_mode)):
            raise OSError(errno.EINVAL, "is a block device or a socket; expected a file", given)
        if not os.access(given, os.W_OK):
            raise PermissionError(errno.EACCES, "is write-protected", given)
        return given, old
    target = os.path.realpath(given)  # a symbolic link stays one
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "directory is write-protected", directory)
    if old is not None:
        if old.st_nlink > 1:
            raise OSError(
                errno.EMLINK,
                f"file has {old.st_nlink} hard links, which writing it would separate; "
                "write to another name, or delete this one first",
                target,
            )
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "file is write-protected", target)
    return target, old


def _write_into(path: str, content: bytes) -> None:
    """Write to a terminal, a pipe or a device: there is nothing to replace."""
    try:
        with open(path, "wb", buffering=0) as file:
            write_into(file, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def write_into(file: BinaryIO, content: bytes) -> None:
    """Write all to an open file, which may take a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give a new file the owner and the permissions of the one that it will replace."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            raise PermissionError(
                errno.EPERM, "file belongs to another user or group, which writing would change"
            ) from None
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


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
