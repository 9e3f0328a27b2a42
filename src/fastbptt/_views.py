"""Arrays by name as views of one flat buffer: parameters, gradients, moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import _check
from ._check import Floats
from ._errors import ArgumentError

if TYPE_CHECKING:
    from typing_extensions import Self

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
        return f"{type(self).__name__}({shapes(self._layout) or 'empty'})"


class Parameters(NamedViews):
    """A model's weights by name: writable views, so ``parameters["b_h"] -= 0.1`` works.

    Assigning copies the values into the view; the shape must be exactly the same, and the values
    must satisfy the model's constraints.
    """

    __slots__ = ("_refuse",)

    def __init__(
        self, flat: Floats, layout: Layout, refuse: Callable[[str, str, Floats], None]
    ) -> None:
        super().__init__(flat, layout)
        self._refuse = refuse  # label, name, values

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        if name not in self._layout:
            raise KeyError(f"{name!r} is not a parameter; there are {', '.join(self)}")
        view = self[name]
        label = f"parameters[{name!r}]"
        given = _check.exact(label, values, view.shape, f"the shape of {name}", view.dtype)
        self._refuse(label, name, given)
        view[...] = given


class Gradients(NamedViews):
    """Gradients by parameter name, views of `flat`.

    They add up and scale: ``grads += other``, ``grads + other``, ``grads *= 0.5``,
    ``0.5 * grads``. The sum of the gradients of several batches is the gradient of the sum of
    their losses, so with ``reduction="sum"`` it is that of one joint batch; gradients of means
    are multiplied first by each batch's share of what the mean is over.

    Attributes
    ----------
    flat : ndarray
        All of them, in the order of the model's parameters.
    x : ndarray of shape (batch, time, input_size), or None
        Gradient with respect to the input, if it was asked for; zero after a sequence's end. None
        in a sum: the inputs of several batches are not the same.
    h0 : ndarray of shape (layers * directions, batch, hidden_size), or None
        Gradient with respect to the initial state of each sequence; of an LSTM a tuple, for h
        and c. That of a learned initial state is ``["h0"]``: the sum over the batch. None in a
        sum.

    Examples
    --------
    One update by two batches:

    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(3, 4, 1, seed=0)
    >>> x, y = np.random.default_rng(0).normal(size=(8, 5, 3)), [0, 1] * 4
    >>> total = model.loss_and_grad(x[:6], y[:6], reduction="sum")[1]
    >>> total += model.loss_and_grad(x[6:], y[6:], reduction="sum")[1]
    >>> joint = model.loss_and_grad(x, y, reduction="sum")[1]
    >>> bool(np.allclose(total.flat, joint.flat, rtol=1e-4))
    True
    >>> fastbptt.Adam().step(model, total)
    """

    __slots__ = ("_frozen", "h0", "x")
    __array_ufunc__: Final = None  # a NumPy number times gradients is gradients

    def __init__(
        self,
        flat: Floats,
        layout: Layout,
        x: Floats | None = None,
        h0: State | None = None,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(flat, layout)
        self.x = x
        self.h0 = h0
        self._frozen = frozen  # names of those that an update leaves out

    def __iadd__(self, other: Gradients) -> Self:
        if not isinstance(other, Gradients):
            return NotImplemented
        same = other._layout == self._layout
        if not same or other._flat.dtype != self._flat.dtype:
            raise ArgumentError(
                "the second of two gradients",
                f"has {other._flat.dtype} for {shapes(other._layout)}",
                f"{self._flat.dtype} for {shapes(self._layout)}",
            )
        self._flat += other._flat
        self._frozen &= other._frozen
        self.x = self.h0 = None
        return self

    def __add__(self, other: Gradients) -> Gradients:
        if not isinstance(other, Gradients):
            return NotImplemented
        total = Gradients(self._flat.copy(), self._layout, frozen=self._frozen)
        total += other
        return total

    def __imul__(self, factor: float) -> Self:
        expected = "a finite number"
        value = _check.number("the factor of gradients", factor, expected)
        if not np.isfinite(value):
            raise ArgumentError("the factor of gradients", f"is {value}", expected, value=value)
        for array in (self._flat, self.x, *(self.h0 if isinstance(self.h0, tuple) else [self.h0])):
            if array is not None:
                array *= value
        return self

    def __mul__(self, factor: float) -> Gradients:
        h0 = tuple(a.copy() for a in self.h0) if isinstance(self.h0, tuple) else self.h0
        scaled = Gradients(
            self._flat.copy(),
            self._layout,
            None if self.x is None else self.x.copy(),
            h0.copy() if isinstance(h0, np.ndarray) else h0,
            self._frozen,
        )
        scaled *= factor
        return scaled

    __rmul__ = __mul__

    def clip_norm_(self, clip_norm: float) -> float:
        """Scale all gradients in place so that their global norm is at most `clip_norm`.

        As ``torch.nn.utils.clip_grad_norm_``, and as `clip_norm` of `Recurrent.train_step`
        and `Optimizer.step`: gradients of parameters that were frozen do not count. `x` and `h0`
        are left as they are.

        Parameters
        ----------
        clip_norm : float
            Above 0.

        Returns
        -------
        float
            The norm before, summed in float64.

        Raises
        ------
        ValueError, TypeError
            If a gradient is not finite, or `clip_norm` is no such number. Nothing has changed then.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> loss, grads = model.loss_and_grad(np.ones((2, 5, 3)), [0, 1])
        >>> before = grads.clip_norm_(0.01)
        >>> before > 0.01, round(float(np.linalg.norm(grads.flat)), 6)
        (True, 0.01)
        """
        limit = _check.limit("clip_norm", clip_norm)
        self._refuse_not_finite()
        counted = self._flat
        if self._frozen:
            counted = np.concatenate([self[name].ravel() for name in self._counted()])
        before = norm(counted)
        if before > limit:
            self._flat *= limit / before
        return before

    def clip_value_(self, clip_value: float) -> None:
        """Bring each element into -clip_value to clip_value, in place.

        As ``torch.nn.utils.clip_grad_value_``, and as `clip_value` of `Recurrent.train_step` and
        `Optimizer.step`. `x` and `h0` are left as they are.

        Parameters
        ----------
        clip_value : float
            Above 0.

        Raises
        ------
        ValueError, TypeError
            If a gradient is not finite, or `clip_value` is no such number. Nothing has changed
            then.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> loss, grads = model.loss_and_grad(np.ones((2, 5, 3)), [0, 1])
        >>> grads.clip_value_(0.01)
        >>> round(float(np.abs(grads.flat).max()), 6)
        0.01
        """
        limit = _check.limit("clip_value", clip_value)
        info = np.finfo(self._flat.dtype)
        least, most = float(info.tiny), float(info.max)
        if np.isfinite(limit) and not least <= limit <= most:
            raise ArgumentError(
                "clip_value",
                f"is {limit}",
                f"{least:.3g} to {most:.3g} for gradients of {self._flat.dtype}",
                value=limit,
            )
        self._refuse_not_finite()
        np.clip(self._flat, -limit, limit, out=self._flat)

    def _counted(self) -> list[str]:
        return [name for name in self if name not in self._frozen]

    def _refuse_not_finite(self) -> None:
        if np.isfinite(self._flat).all():
            return
        for name in self._counted():
            wrong = np.argwhere(~np.isfinite(self[name]))
            if len(wrong):
                index = tuple(int(i) for i in wrong[0])
                value = float(self[name][index])
                raise ArgumentError(
                    f"the gradient of {name}",
                    f"holds a value that is not finite ({value})",
                    index=index,
                    value=value,
                )


def norm(values: Floats) -> float:
    """Euclidean norm in float64, without over- or underflow of the squares."""
    top = float(np.abs(values).max(initial=0.0))
    if top == 0.0 or not np.isfinite(top):
        return top
    return top * float(np.linalg.norm(values.astype(np.float64) / top))


def shapes(layout: Layout) -> str:
    """Write names and shapes, for messages."""
    return ", ".join(f"{name} {shape}" for name, (_, _, shape) in layout.items())
