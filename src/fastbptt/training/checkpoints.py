"""Checkpoints: the state of a training run in one file, which is replaced atomically.

A checkpoint is a model file (`fastbptt.models.saving`) that also holds the optimiser and, as
``training``, the state of the run; `fastbptt.load` reads the model from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._check import Floats
from .._errors import ArgumentError, ArgumentTypeError
from ..files import damage, safetensors
from ..files.atomic import check_place, clear_away
from ..models import restoring, saving
from ..models.recurrent import Recurrent
from ..optim.optimizers import Optimizer
from .history import History


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0.0 <= value < np.inf


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _each(value: Any) -> list[Any]:
    """Return the numbers of all blocks of outputs, or the only one."""
    return value if isinstance(value, list) else [value]


#: The state of a run, and what each part of it may be.
_PARTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "fingerprint": _is_dict,
    "batch": _is_count,
    "step": _is_count,
    "batch_loss": lambda value: type(value) is float,
    "total": lambda value: all(type(one) is float for one in _each(value)),
    "counted": lambda value: all(map(_is_number, _each(value))),
    "penalties": lambda value: _is_dict(value) and all(map(_is_number, value.values())),
    "seconds": _is_number,
    "lr": _is_number,
    "history": _is_dict,
    "early_stopping": lambda value: value is None or _is_dict(value),
    "schedule": lambda value: value is None or _is_dict(value),
    "callbacks": lambda value: isinstance(value, list),
}
_EARLY_STOPPING: Final[Mapping[str, Callable[[Any], bool]]] = {
    "best": lambda value: value is None or type(value) is float,
    "epoch": lambda value: value is None or (_is_count(value) and value > 0),
}


class Checkpoint(NamedTuple):
    """The contents of a checkpoint file."""

    model: Recurrent
    optimizer: Optimizer
    training: dict[str, Any]
    best: Floats | None

    def put_into(self, model: Recurrent, optimizer: Optimizer) -> None:
        """Restore weights, dropout and moments."""
        model._weights.set(self.model._weights.get())
        model._dropout_seeds.state = self.model._dropout_seeds.state
        optimizer.__setstate__(self.optimizer.__getstate__())


class Checkpointer:
    """Writes checkpoints at regular intervals.

    Parameters
    ----------
    path : str
    every : float or None
        Seconds between checkpoints; None: after each epoch.
    """

    def __init__(self, path: str, every: float | None) -> None:
        self._path = path
        self._every = every
        self._last = time.monotonic()

    @property
    def after_each_epoch(self) -> bool:
        """Whether none is written but at the end of each epoch."""
        return self._every is None

    def due(self, epoch_is_over: bool) -> bool:
        """Whether a checkpoint is due."""
        if self._every is None:
            return epoch_is_over
        return time.monotonic() - self._last >= self._every

    def seconds_left(self, most: float) -> float:
        """Return the time until a checkpoint is due within an epoch, or `most`."""
        if self._every is None:
            return most
        return min(max(self._every - (time.monotonic() - self._last), 0.0), most)

    def save(
        self,
        model: Recurrent,
        optimizer: Optimizer,
        training: Mapping[str, Any],
        best: Floats | None,
    ) -> None:
        """Write a checkpoint, replacing the file."""
        saving.save_model(model, self._path, optimizer, None, training, best)
        self._last = time.monotonic()


def checkpointer(path: Any, every: Any) -> Checkpointer | None:
    """Check `checkpoint` and `checkpoint_every`; remove the leftovers of killed writers."""
    expected = '"epoch", or seconds of at least 0'
    seconds = None
    if every is not None and every != "epoch":
        seconds = _check.number("checkpoint_every", every, expected)
        if not 0.0 <= seconds < np.inf:
            raise ArgumentError("checkpoint_every", f"is {seconds}", expected, value=seconds)
    if path is None:
        if every is not None:
            came = f"is {_check.quoted(every)}, but checkpoint is None"
            raise ArgumentError("checkpoint_every", came, "a path as checkpoint")
        return None
    name = place(path)
    check_place(name)
    clear_away(name)
    return Checkpointer(name, seconds)


def place(checkpoint: Any) -> str:
    """Check the type of a path, and that there may be a file or folder of this name."""
    if not isinstance(checkpoint, str | bytes | os.PathLike):
        came = f"is of type {type(checkpoint).__name__}"
        raise ArgumentTypeError("checkpoint", came, "str or os.PathLike")
    name = os.fsdecode(checkpoint)
    if not name or "\0" in name:
        expected = "the name of a file or folder"
        raise ArgumentError("checkpoint", f"is {_check.quoted(name)}", expected)
    return name


# What `code.described` adds to a name.
_CODE: Final = re.compile(r" \[[0-9a-f]{16}\]")
# The texts that `digest` makes: a description of an array with its length, and its hash.
_DIGEST: Final = re.compile(r"(a list of (\d+)|\S+ \((\d+),.*\)), [0-9a-f]{32}")
ABSENT: Final = "not there"
#: The part of a fingerprint that describes the model before training, where that is known.
INITIAL: Final = "initial"
#: The part that says of which model of which call of `fit_many` it is.
OF_MANY: Final = "fit_many"


def source(resume: Any, path: Any) -> str | None:
    """Return the file to resume from, or None."""
    if resume is False:
        return None
    if resume is True:
        if path is None:
            raise ValueError(
                "resume is True, but checkpoint is None; expected a path as checkpoint or as resume"
            )
        name = os.fsdecode(path)
        return name if os.path.exists(name) else None
    if not isinstance(resume, str | bytes | os.PathLike):
        raise ArgumentTypeError("resume", f"is {_check.shown(resume)}", "True, False or a path")
    return os.fsdecode(resume)


def load(path: str, expected: Mapping[str, str], of_ranks: bool = False) -> Checkpoint:
    """Read a checkpoint; refuse one of a run with other settings or data, of several ranks too."""
    model, content = restoring.load_content(path)
    if content.training is None or content.optimizer is None:
        raise ValueError(
            f"cannot resume from {path!r}: it is a model without a run of fit; "
            "expected a checkpoint"
        )
    _check_training(path, content.training)
    for name, values in (("a parameter", model._weights.get()), ("the best weights", content.best)):
        if values is not None and not np.isfinite(values).all():
            raise damaged(path, ValueError(f"{name} is not finite"))
    stored = content.training["fingerprint"]

    def of_all(name: str, was: str, now: str) -> str:
        return _difference(
            "the batch_size of all ranks" if name == "batch_size" else name, was, now
        )

    check_same(path, stored, expected, of_all if of_ranks else None)
    own = fingerprint(model, content.optimizer, {}, {})
    for part, free in (("model", "frozen"), ("optimizer", "lr")):  # callbacks may change these
        one, other = (json.loads(text) | {free: None} for text in (own[part], stored[part]))
        if one != other:
            raise damaged(path, ValueError(f"the {part} is not that of the run"))
    return Checkpoint(model, content.optimizer, content.training, content.best)


def check_same(
    path: str,
    stored: Mapping[str, str],
    expected: Mapping[str, str],
    describe: Callable[[str, str, str], str] | None = None,
) -> None:
    """Refuse a file of a run with another fingerprint, and say in what they differ.

    describe: called with the name of a part and its two texts.
    """
    differences = [
        (describe or _difference)(name, stored.get(name, ABSENT), expected.get(name, ABSENT))
        for name in dict.fromkeys([*stored, *expected])
        if stored.get(name) != expected.get(name)
    ]
    differences = list(dict.fromkeys(differences))  # x and y say the same of another count
    if differences:
        raise ValueError(
            f"cannot resume from {path!r}: {_check.one_line('; '.join(differences), 1000)}; "
            "expected the same data and settings"
        )


def damaged(path: str, error: Exception) -> ValueError:
    """Make the error for a state of a run that nobody can have saved."""
    text = safetensors.shortened(f"{type(error).__name__}: {error}")
    return ValueError(f"cannot resume from {path!r}: its state of the run is damaged: {text}")


def _check_training(path: str, training: dict[str, Any]) -> None:
    """Refuse a state of a run that nobody can have saved; its parts check their own."""
    _check_state(path, training, _PARTS)
    fingerprint = training["fingerprint"]
    if not all(isinstance(value, str) for value in fingerprint.values()):
        raise damaged(path, TypeError("fingerprint holds values other than texts"))
    if training["early_stopping"] is not None:
        _check_state(path, training["early_stopping"], _EARLY_STOPPING)
    try:
        History.from_dict(training["history"])
    except damage.OF_VALUES as error:
        raise damaged(path, error) from None


def _check_state(
    path: str, state: Mapping[str, Any], parts: Mapping[str, Callable[[Any], bool]]
) -> None:
    if state.keys() != parts.keys():
        raise damaged(path, KeyError(*sorted(state.keys() ^ parts.keys())[:1]))
    for name, right in parts.items():
        if not right(state[name]):
            raise damaged(path, ValueError(f"{name} is {safetensors.shortened(state[name])}"))


def compared(one: str, other: str) -> tuple[str, str] | None:
    """Reduce two texts of fingerprints to what differs; None: arrays that differ in their values.

    Arrays are described without their hashes.
    """
    found = [_DIGEST.fullmatch(text) for text in (one, other)]
    if all(found):
        shapes = tuple(match[1] for match in found if match is not None)
        return None if shapes[0] == shapes[1] else (shapes[0], shapes[1])
    if all(re.fullmatch("[0-9a-f]{32}", text) for text in (one, other)):
        return None
    first, second = (bare(text) for text in _narrowed(one, other))
    return None if first == second else (first, second)


def bare(text: str) -> str:
    """Leave the hashes out of a text of a fingerprint."""
    return _CODE.sub("", _DIGEST.sub(r"\1", text))


def _difference(name: str, was: str, now: str) -> str:
    """Describe how a part of a fingerprint differs; arrays without their hashes."""
    if name == OF_MANY:
        if ABSENT in (was, now):
            return "it is of one model alone" if was == ABSENT else "it is of a model of fit_many"
        return "it is of another model or another run of fit_many"
    if name == INITIAL:
        return "the model is not as it was when the run began"
    found, other = _DIGEST.fullmatch(was), _DIGEST.fullmatch(now)
    if found is None or other is None:
        was, now = (bare(one) for one in _narrowed(was, now))
        if was == now:
            return f"{name}, {now}, has other code or other values in it"
        return f"{name} was {was}, is {now}"
    kind, _, part = name.rpartition(" ")
    data = f"the {kind} data differ" if kind else "the data differ"
    before, after = (one[2] or one[3] for one in (found, other))
    if before != after:
        return f"{data}: {before} sequences, now {after}"
    return f"{data} in {part}" + (f": {found[1]}, now {other[1]}" if found[1] != other[1] else "")


def _narrowed(was: str, now: str) -> tuple[str, str]:
    """Reduce two JSON objects to the keys that differ; leave other texts as they are."""
    try:
        one, other = json.loads(was), json.loads(now)
    except (ValueError, RecursionError):
        return was, now
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return was, now
    for key in one.keys() & other.keys():
        if one[key] == other[key]:
            del one[key], other[key]
        elif isinstance(one[key], dict) and isinstance(other[key], dict):
            parts = _narrowed(json.dumps(one[key]), json.dumps(other[key]))
            one[key], other[key] = map(json.loads, parts)
    return json.dumps(one), json.dumps(other)


def fingerprint(
    model: Recurrent,
    optimizer: Optimizer,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
) -> dict[str, str]:
    """Describe the settings and data that a resumed run must share.

    Parameters
    ----------
    settings : mapping of name -> value that JSON can hold
    data : mapping of name -> array, list of arrays or None
    """
    moving = ("dropout_seeds", "trained_steps")
    config = {key: value for key, value in model._config().items() if key not in moving}
    own = saving.described(optimizer, model)[0]
    found = {
        "model": json.dumps(config),
        "optimizer": json.dumps({"name": own["name"], **own["settings"]}),
    }
    found.update({name: json.dumps(value) for name, value in settings.items()})
    found.update({name: digest(value) for name, value in data.items() if value is not None})
    return found


def digest(value: NDArray[Any] | list[NDArray[Any]]) -> str:
    """Describe an array and hash its contents."""
    if isinstance(value, list):
        hashed = hashlib.blake2b(digest_size=16)
        for item in value:
            hashed.update(digest(item).encode())
        return f"a list of {len(value)}, {hashed.hexdigest()}"
    hashed = hashlib.blake2b(digest_size=16)
    for part in _parts(value):
        hashed.update(part)
    return f"{value.dtype} {value.shape}, {hashed.hexdigest()}"


def _parts(array: NDArray[Any]) -> Iterator[bytes]:
    """Contiguous copies of some MB each, in C order; the array itself may be larger than memory."""
    if array.ndim == 0 or array.nbytes <= 1 << 22 or len(array) == 1:
        yield array.tobytes()
        return
    rows = max((1 << 22) * len(array) // array.nbytes, 1)
    for start in range(0, len(array), rows):
        yield from _parts(array[start : start + rows])
