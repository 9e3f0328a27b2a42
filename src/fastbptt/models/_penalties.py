"""Penalties on single parameters and on the states: terms beside the loss, and in its gradient."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from .._cell_info import cell_info
from .._errors import ArgumentError, ArgumentTypeError
from ._weights import Weights

#: Penalties on states: arguments, in the order of the core.
OF_STATES: Final = ("activity_l1", "activity_l2", "activity_change_l2", "omega")

#: All arguments that are penalties.
NAMES: Final = ("l1", "l2", *OF_STATES)


class Penalties(NamedTuple):
    """Checked penalties of one call: their names, and the arrays that the core reads and fills."""

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    strengths: NDArray[np.float64]
    values: NDArray[np.float64]
    of_states: NDArray[np.float64]  # strengths, 0 where there is none
    values_of_states: NDArray[np.float64]

    def beside(self, objective: _core.Objective) -> _core.Objective:
        """Add them to an objective."""
        return objective.replace(
            penalties=(self.rows, self.strengths, self.values) if self.names else None,
            activity=(self.of_states, self.values_of_states) if self.of_states.any() else None,
        )

    def by_name(self) -> dict[str, float]:
        """Return their values by name."""
        found = dict(zip(self.names, self.values.tolist(), strict=True))
        own = zip(OF_STATES, self.of_states, self.values_of_states.tolist(), strict=True)
        return found | {name: value for name, strength, value in own if strength}


def check(
    given: Mapping[str, Any],
    spec: _core.Spec,
    weights: Weights,
    frozen: tuple[str, ...],
    chunk: int = 0,
) -> Penalties | None:
    """Check the arguments `NAMES` of a call; None if none is given.

    frozen: parameters whose penalty would have no effect
    chunk: steps of each chunk of truncated BPTT, 0 for all
    """
    if all(given[name] is None for name in NAMES):
        return None
    names, rows, strengths = [], [], []
    for power in (1, 2):
        label = f"l{power}"
        if given[label] is None:
            continue
        for name, strength in _strengths(label, given[label], weights, frozen).items():
            start, stop, _ = weights.layout[name]
            names.append(f"{label}.{name}")
            rows.append((start, stop, power))
            strengths.append(strength)
    of_states = np.zeros(len(OF_STATES))
    for i, name in enumerate(OF_STATES):
        if given[name] is not None:
            of_states[i] = _strength(name, given[name], weights)
    if of_states[-1]:
        _check_omega(spec, weights, frozen)
    for name in ("activity_change_l2", "omega"):
        if chunk == 1 and of_states[OF_STATES.index(name)]:
            came = "is given with bptt_steps=1, so that no step has one before it"
            raise ArgumentError(name, came, "None, or more bptt_steps")
    return Penalties(
        tuple(names),
        np.array(rows, np.int64),
        np.array(strengths),
        np.zeros(len(names)),
        of_states,
        np.zeros(len(OF_STATES)),
    )


def _check_omega(spec: _core.Spec, weights: Weights, frozen: tuple[str, ...]) -> None:
    """Refuse Omega where it is not defined, or has no effect."""
    able = [cell for cell in _core.cells() if cell_info(cell)["omega"]]
    if spec.cell not in able:
        quoted = ", ".join(f'"{cell}"' for cell in able)
        expected = f"None: it is defined for cells with a single pre-activation, {quoted}"
        raise ArgumentError("omega", f'is given for the cell "{spec.cell}"', expected)
    if spec.bfloat16:
        expected = 'None, or precision="float32"'
        raise ArgumentError("omega", 'is given with precision="bfloat16"', expected)
    if spec.recurrent_dropout or any(spec.zoneout):
        name = "recurrent_dropout" if spec.recurrent_dropout else "zoneout"
        expected = f"None, or {name}=0: Omega is about a step of the cell as it is"
        raise ArgumentError("omega", f"is given for a model with {name}", expected)
    recurrent = [name for name in weights.layout if name.startswith(("W_hh", "N_hh", "M_hh"))]
    if all(name in frozen for name in recurrent):
        came = f"is given, but {' and '.join(recurrent)} are frozen"
        expected = f'recurrent weights that are trained; model.unfreeze("{recurrent[0]}") has it so'
        raise ArgumentError("omega", came, expected)


def _strengths(
    label: str, given: Any, weights: Weights, frozen: tuple[str, ...]
) -> dict[str, float]:
    if not isinstance(given, Mapping):
        came = f"is of type {type(given).__name__}"
        expected = f'a mapping of parameter -> strength, such as {{"{next(iter(weights.layout))}": '
        raise ArgumentTypeError(label, came, expected + "1e-4}")
    if not given:
        raise ArgumentError(label, "is empty", "a mapping of parameter -> strength, or None")
    found = {}
    for name, value in given.items():
        if name not in weights.layout:
            raise ArgumentError(label, f"has {_check.shown(name)}", f"one of {weights.names()}")
        own = f"{label}[{name!r}]"
        if name in frozen:
            came = f"is given, but {name} is frozen"
            expected = f'parameters that are trained; model.unfreeze("{name}") has it so'
            raise ArgumentError(own, came, expected)
        found[name] = _strength(own, value, weights)
    return found


@functools.cache
def _limits(dtype: np.dtype[Any]) -> tuple[float, float, str]:
    info = np.finfo(dtype)
    least, most = float(info.tiny), float(info.max) / 4
    return least, most, f"a number from {least:.3g} to {most:.3g}"


def _strength(label: str, value: Any, weights: Weights) -> float:
    least, most, expected = _limits(weights.dtype)
    strength = _check.number(label, value, expected)
    if not least <= strength <= most:
        if strength == 0.0:
            name, _, parameter = label.partition("[")
            out = f"leave {parameter[1:-2]} out, or {name}=None" if parameter else f"{name}=None"
            expected += f"; for no penalty {out}"
        raise ArgumentError(label, f"is {strength}", expected, value=strength)
    return strength
