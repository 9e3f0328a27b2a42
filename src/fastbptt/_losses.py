"""A loss and its parameters, as every part takes it: by name, or as a `Loss`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core
from ._check import Floats
from ._errors import ArgumentError, ArgumentTypeError


class Loss(_core.Loss):
    """A loss with parameters, for every argument `loss`.

    It does not change after it is made; two with the same name and parameters are equal.

    Parameters
    ----------
    name : str
        One of `fastbptt.losses`.
    **parameters : float
        Those that differ from their defaults, by name.

    Attributes
    ----------
    name : str
    parameters : mapping of str to float
        All of them.
    targets : {"numbers", "classes"}
        One number for each output, or one class of as many as there are outputs.
    low, high : float
        The interval that the numbers must be in.
    link : {"identity", "logistic", "softmax"}
        The function that turns outputs into predictions.

    Raises
    ------
    ValueError, TypeError
        If there is no such loss or parameter, or a value is out of its range.

    Examples
    --------
    >>> import fastbptt
    >>> loss = fastbptt.Loss("mse")
    >>> loss, str(loss), loss.targets
    (Loss("mse"), 'mse', 'numbers')
    """

    name: str
    parameters: Mapping[str, float]
    targets: str
    low: float
    high: float
    link: str

    def __init__(self, name: str, /, **parameters: float) -> None:
        _check.option("loss", name, _core.losses())
        info = _core.loss_info(name)
        values = {key: one["default"] for key, one in info["parameters"].items()}
        for key, value in parameters.items():
            if key not in values:
                known = ", ".join(values) if values else "none"
                raise ArgumentError(f'the loss "{name}"', f"has no parameter {key}", known)
            values[key] = _check.number(key, value, "a number")
        super().__init__(name, values)
        about = {key: info[key] for key in ("targets", "low", "high", "link")}
        vars(self).update(name=name, parameters=MappingProxyType(values), **about)

    @property
    def bounded(self) -> bool:
        """Whether `low` and `high` exclude any number."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    @property
    def predicts(self) -> str:
        """Return "classes" if the outputs decide between classes or labels, else "numbers"."""
        return "classes" if self.link in ("logistic", "softmax") else "numbers"

    def of_scaled(self, scale: NDArray[np.float64], expected: str, name: str = "loss") -> Loss:
        """Return the loss of targets that were divided by a scale each: of the same deviations.

        It is this one, except for parameters in units of the targets, which are divided as well.

        Parameters
        ----------
        scale : float64 array (outputs,)
        expected : str
            What messages expect if the scales differ, so that there is no such loss.
        name : str
            Of the argument, for messages.

        Raises
        ------
        ArgumentError
            If the scales differ, and a parameter is in units of the targets.

        Examples
        --------
        >>> import numpy as np
        >>> Loss("huber", delta=50.0).of_scaled(np.array([100.0]), "one target")
        Loss("huber", delta=0.5)
        """
        parameters = _core.loss_info(self.name)["parameters"]
        units = [key for key, one in parameters.items() if one["of_targets"]]
        if not units:
            return self
        if scale.max() > scale.min():
            raise ArgumentError(
                name,
                f'is "{self}", whose {units[0]} is in units of the targets, but their scales, '
                f"{scale.min():.3g} to {scale.max():.3g}, differ",
                expected,
            )
        changed = {key: self.parameters[key] / float(scale[0]) for key in units}
        return Loss(self.name, **{**self.parameters, **changed})

    def predictions(self, outputs: NDArray[Any]) -> Floats:
        """Turn outputs (..., outputs) into predictions, by the inverse of the link.

        Returns
        -------
        float64 array of the same shape
            Probabilities of the loss's labels or classes, or the numbers as they are.

        Examples
        --------
        >>> import numpy as np
        >>> Loss("bce").predictions(np.array([[0.0], [np.log(3.0)]]))
        array([[0.5 ],
               [0.75]])
        """
        z = np.asarray(outputs, np.float64)
        if self.link == "logistic":
            probs: Floats = np.exp(-np.logaddexp(0.0, -z))
            return probs
        if self.link == "softmax":
            powers = np.exp(z - z.max(axis=-1, keepdims=True))
            of_classes: Floats = powers / powers.sum(axis=-1, keepdims=True)
            return of_classes
        return z

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Loss does not change; make another one with another {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Loss does not change; its {name} stays")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Loss):
            return NotImplemented
        return self.name == other.name and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.name, *self.parameters.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.name, dict(self.parameters))

    def __repr__(self) -> str:
        given = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        return f'Loss("{self.name}"{given})'

    def __str__(self) -> str:
        """Return the form that `parse` reads: ``NAME[:PARAMETER=VALUE,...]``."""
        given = ",".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"{self.name}:{given}" if given else self.name


#: What an argument `loss` may be.
LossLike: TypeAlias = str | Loss

#: A loss of the caller's: outputs, targets, weights -> value, gradient.
LossFunction: TypeAlias = Callable[
    [Floats, NDArray[Any], NDArray[np.float64] | None], tuple[float, ArrayLike]
]


class CustomLoss:
    """A loss function of the caller's, in the place of a `Loss`: of what targets, only it knows.

    Parameters
    ----------
    function : callable
        Called as ``function(outputs, targets, weights)``; returns the loss of a batch, and its
        gradient with respect to the outputs.
    """

    targets = predicts = "custom"
    bounded = False

    def __init__(self, function: LossFunction) -> None:
        self._function = function
        inner: Any = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        self.name = getattr(inner, "__qualname__", type(inner).__qualname__)

    def __str__(self) -> str:
        return f"the function {self.name}"

    def of_batch(
        self,
        outputs: Floats,
        targets: NDArray[Any],
        weight: NDArray[np.float64] | None,
        lengths: NDArray[np.int64] | None,
    ) -> tuple[float, Floats]:
        """Call it, and check what it returns.

        Parameters
        ----------
        outputs : array (batch[, time], outputs)
        targets : array (batch[, time], ...)
        weight : array (batch,), or of the outputs' leading shape, or None
            Of each sequence, or of each step.
        lengths : int64 array (batch,) or None
            If there is an axis of time.
        """
        real = None
        if lengths is not None and outputs.ndim == 3:
            real = np.arange(outputs.shape[1]) < lengths[:, np.newaxis]
        weights = None
        if weight is not None or real is not None:
            weights = np.ones(outputs.shape[:-1])
            if weight is not None:
                weights *= weight if weight.ndim == weights.ndim else weight[:, np.newaxis]
            if real is not None:
                weights[~real] = 0.0
        found: Any = self._function(outputs.copy(), targets.copy(), weights)
        if not isinstance(found, tuple | list) or len(found) != 2:
            came = f"{len(found)} parts" if isinstance(found, tuple) else f"{type(found).__name__}"
            raise ArgumentTypeError("loss", f"returned {came}", "(value, gradient)")
        value = _check.number("the value that loss returned", _scalar(found[0]), "a finite number")
        if math.isinf(value):
            raise ArgumentError(
                "the value that loss returned", f"is {value}", "a finite number", value=value
            )
        name = "the gradient that loss returned"
        means = "the shape of the outputs"
        gradient = _check.exact(name, found[1], outputs.shape, means, outputs.dtype)
        wrong = ~np.isfinite(gradient)
        if real is not None:
            wrong &= real[:, :, np.newaxis]
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ArgumentError(
                name,
                f"holds a value that is not finite ({gradient[index]})",
                "finite numbers",
                index=index,
                value=float(gradient[index]),
            )
        return value, gradient


def _scalar(value: Any) -> Any:
    """Take the number out of an array without axes."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def is_function(value: Any) -> bool:
    """Whether an argument `loss` is a function of the caller's."""
    return callable(value) and not isinstance(value, type)


def _made(name: str, parameters: dict[str, float]) -> Loss:
    return Loss(name, **parameters)


#: Each loss with its default parameters.
NAMED: Final = {name: Loss(name) for name in _core.losses()}


def loss(value: Any) -> Loss:
    """Read the argument `loss`: a name, or a `Loss`."""
    if type(value) is str and value in NAMED:
        return NAMED[value]
    return value if isinstance(value, Loss) else NAMED[_check.option("loss", value, NAMED)]


def parse(text: str) -> Loss:
    """Read a loss as the command line and the notes of saved models write it.

    Parameters
    ----------
    text : str
        ``NAME[:PARAMETER=VALUE,...]``.

    Examples
    --------
    >>> parse("mse")
    Loss("mse")
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, float] = {}
    for part in rest.split(",") if rest else ():
        key, sign, value = part.partition("=")
        try:
            if not sign:
                raise ValueError
            parameters[key.strip()] = float(value)
        except ValueError:
            raise ArgumentError("loss", f'is "{text}"', "NAME[:PARAMETER=VALUE,...]") from None
    return Loss(name.strip(), **parameters)
