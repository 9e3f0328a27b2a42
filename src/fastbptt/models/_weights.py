"""A model's parameters: one flat buffer, its layout, and the engine that reads and updates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _core
from .._check import Floats
from .._errors import ArgumentError
from .._views import Layout, NamedViews
from . import _options
from .constraints import Resolved


def dense(parameters: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Replace the factors of recurrent matrices of low rank by their product, W_hh.

    It is computed in float64, and rounded to their dtype.
    """
    found = {}
    for name, values in parameters.items():
        if name.startswith("M_hh"):
            first = parameters["N" + name[1:]]
            product = first.astype(np.float64) @ values.astype(np.float64)
            found["W" + name[1:]] = product.astype(values.dtype)
        elif not name.startswith("N_hh"):
            found[name] = values
    return found


class Weights:
    """Zero at first. Views of `flat` are the user's to write to; the engine locks its updates.

    Attributes
    ----------
    flat : ndarray
        All parameters; its memory never moves.
    layout : dict of name -> (start, stop, shape)
    dtype : dtype
    engine : Engine
    token : object
        Whose parameters these are, for optimisers and results.
    frozen : frozenset of str
        Names that updates leave as they are.
    constraints : Resolved or None
        What updates keep.
    """

    __slots__ = ("constraints", "dtype", "engine", "flat", "frozen", "layout", "token")

    def __init__(self, spec: _core.Spec, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.layout: Layout = _options.layout(spec, dtype)
        self.flat = _check.aligned_empty(max(stop for _, stop, _ in self.layout.values()), dtype)
        self.flat[:] = 0.0
        self.engine = _core.Engine(spec, self.flat)
        self.token = object()
        self.frozen: frozenset[str] = frozenset()
        self.constraints: Resolved | None = None

    def get(self) -> Floats:
        """Copy all parameters, between updates."""
        return self.engine.get_params()

    def set(self, values: NDArray[Any]) -> None:
        """Set all parameters, between updates."""
        self.engine.set_params(np.ascontiguousarray(values, self.dtype))

    def place(self, name: str, values: NDArray[Any]) -> None:
        """Set one parameter of a model that nobody else knows yet."""
        start, stop, _ = self.layout[name]
        self.flat[start:stop] = values.ravel()

    def state_dict(self) -> dict[str, Floats]:
        """Copy all parameters by name."""
        return {name: view.copy() for name, view in NamedViews(self.get(), self.layout).items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters by name, or none."""
        _check.same_names("state", state, tuple(self.layout))
        flat = _check.aligned_empty(self.flat.size, self.dtype)
        for name, (start, stop, shape) in self.layout.items():
            label = f"state[{name!r}]"
            values = _check.exact(label, state[name], shape, f"the shape of {name}", self.dtype)
            if not np.isfinite(values).all():
                index = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                value = float(values[index])
                raise ArgumentError(
                    label,
                    f"holds a value that is not finite ({value})",
                    "finite numbers",
                    index=index,
                    value=value,
                )
            fitted = _check.fitted(label, values, self.dtype)
            self.refuse(label, name, fitted)
            flat[start:stop] = fitted.ravel()
        self.set(flat)

    def constrain(self, constraints: Resolved | None) -> None:
        """Have these constraints from now on, whatever the parameters are."""
        if constraints is not None:
            self.engine.constrain(*constraints.of_engine(self.layout))
        self.constraints = constraints

    def refuse(self, label: str, name: str, values: Floats) -> None:
        """Refuse values of a parameter that do not satisfy the constraints."""
        if self.constraints is not None:
            self.constraints.refuse(label, name, values, self.layout)

    def known(self, names: tuple[str, ...]) -> frozenset[str]:
        """Refuse what is no parameter's name."""
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"a name is of type {type(name).__name__}; expected str")
            if name not in self.layout:
                raise ValueError(f'"{name}" is not a parameter; expected {self.names()}')
        return frozenset(names)

    def names(self) -> str:
        """List the parameters, for messages."""
        return ", ".join(self.layout)

    def set_frozen(self, names: frozenset[str]) -> None:
        """Freeze exactly these parameters."""
        self.engine.freeze(sorted(names))
        self.frozen = names
