"""Arrays by name as views of one flat buffer: parameters, gradients, moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from numpy.typing import ArrayLike

from . import _check
from ._check import Floats

# name -> (start, stop, shape) in the flat buffer, in its order
Layout: TypeAlias = dict[str, tuple[int, int, tuple[int, ...]]]

# one array, or the tuple (h, c) where a cell has two states
State: TypeAlias = Floats | tuple[Floats, ...]


class NamedViews(Mapping[str, Floats]):
    """Arrays by name, all of them views of one flat buffer.

    Every access makes a new view, so reshaping one in place harms nothing.
    """

    __slots__ = ("_flat", "_layout")

    def __init__(self, flat: Floats, layout: Layout) -> None:
        self._flat = flat
        self._layout = layout

    def __getitem__(self, name: str) -> Floats:
        start, stop, shape = self._layout[name]
        return self._flat[start:stop].reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout)

    def __len__(self) -> int:
        return len(self._layout)

    @property
    def flat(self) -> Floats:
        """All values as one 1-D array, a view."""
        return self._flat[:]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, (_, _, shape) in self._layout.items())
        return f"{type(self).__name__}({shapes or 'empty'})"


class Parameters(NamedViews):
    """A model's weights by name: writable views, so ``parameters["b_h"] -= 0.1`` works.

    Assigning copies the values into the view; the shape must be exactly the same.
    """

    __slots__ = ()

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        if name not in self._layout:
            raise KeyError(f"{name!r} is not a parameter; there are {', '.join(self)}")
        view = self[name]
        label = f"parameters[{name!r}]"
        view[...] = _check.exact(label, values, view.shape, f"the shape of {name}", view.dtype)


class Gradients(NamedViews):
    """Gradients by parameter name, views of `flat`.

    Attributes
    ----------
    flat : ndarray
        All of them, in the order of the model's parameters.
    x : ndarray of shape (batch, time, input_size), or None
        Gradient with respect to the input, if it was asked for; zero after a sequence's end.
    h0 : ndarray of shape (layers * directions, batch, hidden_size), or None
        Gradient with respect to the initial state of each sequence; of an LSTM a tuple, for h
        and c. That of a learned initial state is ``["h0"]``: the sum over the batch.
    """

    __slots__ = ("h0", "x")

    def __init__(
        self, flat: Floats, layout: Layout, x: Floats | None = None, h0: State | None = None
    ) -> None:
        super().__init__(flat, layout)
        self.x = x
        self.h0 = h0
