"""The models that a run of `fit_many` has finished, in a folder, to resume after it was killed.

``run.json`` has the fingerprint of the run, ``models.fastbptt`` the models: after a line that names
the format a record for each, in the order in which they were finished, of

======================  ==========================================================================
bytes                   content
======================  ==========================================================================
0 to 8                  the length of the model file: unsigned, little-endian, as all of these
8 to 16                 the model's number
16 to 20                CRC-32 of the model file
20 to 24                CRC-32 of the 20 bytes before
from 24                 a model file (`fastbptt.models.saving`) with the ``training`` of `Ending`
======================  ==========================================================================

Records are only ever appended. What can not be read at the end, and has no whole record after it,
was being written when the run was killed, or the disk had not got it when the power failed: it is
cut off. A record that is damaged before others is an error.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from .. import _check
from ..files import damage
from ..files.atomic import clear_away, write_whole
from ..models import restoring, saving
from ..models.recurrent import Recurrent
from . import checkpoints
from .history import History

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_BEGIN: Final = b"fastbptt models 1\n"
_HEAD: Final = struct.Struct("<QQI")
_CHECKPOINT: Final = re.compile(r"model-\d+\.safetensors")
_CRC: Final = struct.Struct("<I")


class Ending(NamedTuple):
    """Where a model stands at its end, besides its weights."""

    number: int
    initial: str  # a digest of the model at its beginning
    history: dict[str, Any]
    epoch: int  # whose weights the model has
    larger: list[str]  # curves of which larger values are better
    seconds: float
    error: str | None
    run: str = ""  # a digest of the run's fingerprint, from `FinishedModels`


class FinishedModels:
    """The folder of one run; nobody else may have it open.

    Parameters
    ----------
    folder : str
    fingerprint : mapping of str to str
        Of the run.
    resume : bool
        Whether the folder may hold a run of this fingerprint already.
    """

    def __init__(self, folder: str, fingerprint: Mapping[str, str], resume: bool) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._closed = False
        self._places: dict[int, tuple[int, int]] = {}
        self._checkpoints: set[str] = set()  # files that there may be
        self._flushed = True
        parent = os.path.dirname(os.path.abspath(folder))
        if not os.path.isdir(parent):
            raise FileNotFoundError(errno.ENOENT, "no such directory", parent)
        self._made = not os.path.isdir(folder)
        self._new = False
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(os.path.join(folder, "run.json")):
            for name in filter(_CHECKPOINT.fullmatch, os.listdir(folder)):
                raise ValueError(
                    f"checkpoint {folder!r} holds {name!r}, but no run; expected a folder of this "
                    "run's own, where files of that name go once a model is finished"
                )
        self._path = os.path.join(folder, "models.fastbptt")
        self._description = os.path.join(folder, "run.json")
        text = json.dumps(dict(fingerprint), sort_keys=True)
        self._run = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        if not os.path.lexists(self._path):
            self._judge(fingerprint, resume)  # before there is a file that would stay
        # its descriptor closes with it, whatever a handler of signals raises before `close`
        self._owner = open(self._path, "r+b", buffering=0, opener=_opened)  # noqa: SIM115
        self._file = self._owner.fileno()
        try:
            self._open(dict(fingerprint), resume)
        except BaseException:
            if self._new:  # no run is in there
                with suppress(OSError):
                    os.unlink(self._description)
            self._owner.close()
            raise

    def _open(self, fingerprint: dict[str, str], resume: bool) -> None:
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise _unreadable(self._path, "it is no regular file")
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"checkpoint {self.folder!r} is in use by another run; expected a folder of "
                    "this one's own"
                ) from None
        self._end = os.fstat(self._file).st_size
        if not self._judge(fingerprint, resume):
            if self._end:
                raise _unreadable(self._path, "there is no run.json beside it")
            self._new = True
            clear_away(self._description)
            write_whole(self._description, json.dumps(fingerprint, indent=1).encode())
        lost = not self._read(0, len(_BEGIN)).strip(b"\0") and not self._is_followed(0)
        if self._end < len(_BEGIN) or lost:  # killed before its first line was whole
            os.ftruncate(self._file, 0)
            self._end = 0
            self._append(_BEGIN)
        else:
            self._scan()
        self._checkpoints.update(os.listdir(self.folder))

    def _judge(self, fingerprint: Mapping[str, str], resume: bool) -> bool:
        """Return whether the folder holds a run; refuse another one than this."""
        path = self._description
        if not os.path.exists(path):
            return False
        if not resume:
            raise ValueError(
                f"checkpoint {self.folder!r} holds a run already; expected resume=True to go on "
                "with it, or another folder"
            )
        with open(path, "rb") as file:
            content = file.read()
        try:
            stored = json.loads(content)
        except (ValueError, RecursionError):
            stored = None
        if not isinstance(stored, dict) or not all(isinstance(v, str) for v in stored.values()):
            raise _unreadable(path, "it is no fingerprint of a run")
        checkpoints.check_same(self.folder, stored, fingerprint, _difference)
        return True

    def _scan(self) -> None:
        """Find the records, and check them."""
        size = self._end
        if self._read(0, len(_BEGIN)) != _BEGIN:
            raise _unreadable(self._path, "it does not begin as such a file does")
        place = len(_BEGIN)
        while (found := self._record(place)) is not None:
            number, start, length = found
            self._places[number] = (start, length)
            place = start + length
        if place < size:  # it was being written
            if self._is_followed(place):
                raise _unreadable(self._path, f"it is damaged at byte {place}")
            os.ftruncate(self._file, place)
        self._end = place

    def _record(self, place: int) -> tuple[int, int, int] | None:
        """Return number, first byte and length of the model of a record; None: it is not whole."""
        head = _HEAD.size + _CRC.size
        raw = self._read(place, head)
        if len(raw) < head or _CRC.unpack_from(raw, _HEAD.size)[0] != zlib.crc32(raw[:-4]):
            return None
        length, number, crc = _HEAD.unpack_from(raw)
        start: int = place + head
        if start + length > self._end or zlib.crc32(self._read(start, length)) != crc:
            return None
        return number, start, length

    def _is_followed(self, place: int) -> bool:
        """Whether there is a whole record after this place."""
        mark = b"\0\0{"  # a model file begins with a length of 8 bytes, and JSON
        before = _HEAD.size + _CRC.size + 6
        size = 1 << 24
        for start in range(place, self._end, size):
            part = self._read(start, size + before + len(mark))
            at = part.find(mark)
            while at >= 0:
                first = start + at - before
                if first > place and self._record(first) is not None:
                    return True
                at = part.find(mark, at + 1)
        return False

    def _check_open(self) -> None:
        """Refuse to use the number of a file that may be another one by now; under the lock."""
        if self._closed:
            raise ValueError(f"checkpoint {self.folder!r} is closed; its run has ended")

    def _read(self, place: int, length: int) -> bytes:
        with self._lock:
            self._check_open()
            os.lseek(self._file, place, os.SEEK_SET)
            parts = []
            while length > 0 and (part := os.read(self._file, min(length, 1 << 24))):
                parts.append(part)
                length -= len(part)
        return b"".join(parts)

    def restore(self, number: int, model: Recurrent, initial: str, failed: bool) -> Ending | None:
        """Give a model the weights that it had at its end; None: it is not finished.

        initial: a digest of the model as it is. failed: whether one that failed is finished.
        """
        if number not in self._places:
            return None
        try:
            kept, content = restoring.load_content(io.BytesIO(self._read(*self._places[number])))
            if content.training is None:
                raise ValueError("it has no history")
            record = Ending(**content.training)
            History.from_dict(record.history)
        except damage.OF_VALUES as error:
            text = _check.one_line(error)
            raise _unreadable(self._path, f"model {number} in it is damaged: {text}") from None
        if record.run != self._run:
            raise _unreadable(self._path, f"model {number} in it is of another run")
        if record.initial != initial:
            raise ValueError(
                f"cannot resume from {self.folder!r}: model {number} is not as it was when the run "
                "began; expected models made anew, with the same weights"
            )
        if record.error is not None and not failed:
            return None
        self._clear_checkpoint(number)  # of a run that was killed before it could
        model._weights.set(kept._weights.get())
        model._dropout_seeds.state = kept._dropout_seeds.state
        model._trained_steps = kept._trained_steps
        return record

    def add(self, model: Recurrent, record: Ending) -> None:
        """Append a model that is finished; by any thread."""
        file = io.BytesIO()
        saving.save_model(model, file, training=record._replace(run=self._run)._asdict())
        content = file.getvalue()
        head = _HEAD.pack(len(content), record.number, zlib.crc32(content))
        self._append(head + _CRC.pack(zlib.crc32(head)) + content)
        self._clear_checkpoint(record.number)

    def is_about_its_files(self, error: Exception) -> bool:
        """Whether an error of the system names a file in the folder."""
        name = error.filename if isinstance(error, OSError) else None
        if not isinstance(name, str):
            return False
        return os.path.dirname(os.path.abspath(name)) == os.path.abspath(self.folder)

    def _clear_checkpoint(self, number: int) -> None:
        name = _checkpoint_of(number)
        if name in self._checkpoints:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))

    def _append(self, content: bytes) -> None:
        with self._lock:
            self._check_open()
            os.lseek(self._file, self._end, os.SEEK_SET)
            rest = memoryview(content)
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except BaseException as error:
                with suppress(OSError):  # else the next run finds it cut short
                    os.ftruncate(self._file, self._end)
                if isinstance(error, OSError):
                    raise OSError(error.errno, error.strerror, self._path) from None
                raise
            self._end += len(content)
            self._flushed = False

    def identity(self, number: int, initial: str) -> dict[str, str]:
        """Describe a model of the run, whose checkpoint is of no other one."""
        return {checkpoints.OF_MANY: f"{self._run} {number}", checkpoints.INITIAL: initial}

    def checkpoint_of(self, number: int) -> str:
        """Name the file of a model while it is trained, which goes once it is finished."""
        name = _checkpoint_of(number)
        self._checkpoints.add(name)
        return os.path.join(self.folder, name)

    def flush(self) -> None:
        """Wait until all is on the disk; in the thread that closes, not to hold the lock."""
        self._check_open()
        if not self._flushed:
            self._flushed = True
            os.fsync(self._file)

    def close(self, begun: bool = True) -> None:
        """Let others have the folder, even if a child process has the file open too.

        begun: whether a model was trained. Else a new run leaves nothing that blocks another.
        """
        try:
            self.flush()
            if self._new and not begun and self._end <= len(_BEGIN):
                os.ftruncate(self._file, 0)
                os.unlink(os.path.join(self.folder, "run.json"))
                with suppress(OSError):  # on Windows an open file stays, empty
                    os.unlink(self._path)
                    if self._made:
                        os.rmdir(self.folder)
        finally:
            with self._lock:
                self._closed = True
                try:
                    if fcntl is not None:
                        fcntl.flock(self._file, fcntl.LOCK_UN)
                finally:
                    self._owner.close()


def _checkpoint_of(number: int) -> str:
    return f"model-{number}.safetensors"


def _opened(path: str, flags: int) -> int:
    """Open a file, or make it: another process may do the same."""
    return os.open(path, flags | os.O_CREAT, 0o666)


def _difference(name: str, was: str, now: str) -> str:
    """Describe how an argument differs; of those with a value for each model, of which model."""
    before, after = (_parsed(one) for one in (was, now))
    each = name in ("each model", "rows", "validation_rows", "names") or name.startswith("each[")
    if each and isinstance(before, list) and isinstance(after, list):
        pairs = enumerate(zip(before, after, strict=False))
        changed = [(k, *pair) for k, pair in pairs if pair[0] != pair[1]]
        if changed and len(before) == len(after):
            k, was, now = changed[0]
            more = f" ({len(changed)} models differ)" if len(changed) > 1 else ""
            if name == "each model":
                return f"model {k} is not as it was when the run began{more}"
            return f"{name} of model {k} {_change(was, now)}{more}"
    return f"{name} {_change(was, now)}"


def _change(was: str, now: str) -> str:
    before, after = (_check.one_line(_written(one), 80) for one in (was, now))
    if before == after:
        return f"is {after} with other contents"
    return f"was {before}, is {after}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written(value: Any) -> str:
    """Write a text of a fingerprint for people: no hashes, no JSON within JSON."""
    if isinstance(value, str):
        inner = _parsed(value)
        if value in (checkpoints.ABSENT, "null"):
            return "None"
        return (
            checkpoints.bare(value) if inner is None or isinstance(inner, str) else _written(inner)
        )
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_written(one)}' for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return str(value)


def _unreadable(path: str, why: str) -> ValueError:
    return ValueError(
        f"cannot resume from {path!r}: {why}; expected a folder as a run of fit_many left it"
    )
