"""Groups of parameters with settings of their own: checked, and found in a model's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from .._views import Layout

__all__ = ["Group", "check", "parts"]

_SETTINGS: Final = ("lr_factor", "weight_decay")


class Group(NamedTuple):
    """One group; None: as for all other parameters."""

    params: tuple[str, ...]  # names, in which * stands for any characters
    lr_factor: float | None
    weight_decay: float | None

    def given(self) -> dict[str, Any]:
        """Return what the user gave, as plain values fit for JSON."""
        settings = {"lr_factor": self.lr_factor, "weight_decay": self.weight_decay}
        return {
            "params": list(self.params),
            **{name: value for name, value in settings.items() if value is not None},
        }


def check(value: Any) -> tuple[Group, ...]:
    """Check the argument `groups`, as far as that can be done without a model."""
    expected = 'a list of dicts such as {"params": ["b_*"], "weight_decay": 0.0}'
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise ArgumentTypeError("groups", f"is {_check.shown(value)}", expected)
    return tuple(_one(f"groups[{i}]", group, expected) for i, group in enumerate(value))


def _one(label: str, group: Any, expected: str) -> Group:
    if not isinstance(group, Mapping):
        raise ArgumentTypeError(label, f"is {_check.shown(group)}", expected)
    for key in group:
        if key == "lr":
            raise ArgumentError(
                label,
                'has "lr"',
                '"lr_factor": a multiple of the optimiser\'s lr, which schedules change for all',
            )
        if key not in ("params", *_SETTINGS):
            known = ", ".join(("params", *_SETTINGS))
            raise ArgumentError(label, f"has {_check.shown(key)}", f"only {known}")
    if not any(name in group for name in _SETTINGS):
        raise ArgumentError(label, "has no setting of its own", f"{' or '.join(_SETTINGS)}")
    numbers = [
        _number(f"{label}[{name!r}]", group[name]) if name in group else None for name in _SETTINGS
    ]
    return Group(_names(f"{label}['params']", group.get("params")), *numbers)


def _names(label: str, value: Any) -> tuple[str, ...]:
    expected = (
        'a list of names of parameters, in which * stands for any characters: ["W_hy", "b_*"]'
    )
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        came = "is missing" if value is None else f"is {_check.shown(value)}"
        raise ArgumentTypeError(label, came, expected)
    if not value:
        raise ArgumentError(label, "is empty", expected)
    for name in value:
        if not isinstance(name, str):
            raise ArgumentTypeError(label, f"holds {_check.shown(name)}", expected)
        if not name or set(name) & set("?[]"):
            raise ArgumentError(label, f"holds {_check.shown(name)}", expected)
    return tuple(value)


def _number(label: str, value: Any) -> float:
    expected = "a finite number of at least 0"
    result = _check.number(label, value, expected)
    if not 0.0 <= result < np.inf:
        raise ArgumentError(label, f"is {result}", expected, value=result)
    return result


def parts(groups: tuple[Group, ...], layout: Layout) -> NDArray[np.int64]:
    """Find the parameters of each group: begin, end and number of the group, in order."""
    owner: dict[str, tuple[int, str]] = {}
    for i, group in enumerate(groups):
        for pattern in group.params:
            found = [name for name in layout if fnmatchcase(name, pattern)]
            if not found:
                raise ArgumentError(
                    f"groups[{i}]['params']",
                    f"holds {pattern!r}, which is no parameter of this model",
                    f"names among {', '.join(layout)}, in which * stands for any characters",
                )
            for name in found:
                if name in owner:
                    before, other = owner[name]
                    raise ArgumentError(
                        f"groups[{i}]['params']",
                        f"holds {name} (as {pattern!r}), which is in groups[{before}] "
                        f"(as {other!r})",
                        "each parameter once",
                    )
                owner[name] = i, pattern
    places = [
        (start, stop, owner[name][0]) for name, (start, stop, _) in layout.items() if name in owner
    ]
    return np.array(places, np.int64)
