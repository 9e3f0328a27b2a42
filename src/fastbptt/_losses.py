"""A loss and its parameters, as every part takes it: by name, or as a `Loss`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core
from ._check import Floats
from ._errors import ArgumentError, ArgumentTypeError

#: The value of a parameter: a number, or rising numbers.
Value: TypeAlias = float | tuple[float, ...]


def _of_columns(first: Callable[[Floats], Floats], second: Callable[[Floats], Floats]) -> Any:
    """Make a function of outputs that come in pairs."""

    def both(z: Floats) -> Floats:
        result: Floats = np.empty_like(z)
        result[..., ::2], result[..., 1::2] = first(z[..., ::2]), second(z[..., 1::2])
        return result

    return both


def _logistic(z: Floats) -> Floats:
    probs: Floats = np.exp(-np.logaddexp(0.0, -z))
    return probs


def _softmax(z: Floats) -> Floats:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    probs: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probs


def _same(z: Floats) -> Floats:
    return z


def _exp(z: Floats) -> Floats:
    with np.errstate(over="ignore"):
        powers: Floats = np.exp(z)
    return powers


class Link(NamedTuple):
    """The functions that turn outputs into predictions.

    Attributes
    ----------
    inverse : callable
        Of float64 outputs (..., outputs), of the same shape.
    predicts : {"numbers", "classes"}
        Predictions of numbers, or decisions between classes or labels.
    of_units : bool
        Whether outputs follow the targets when these are shifted and scaled.
    """

    inverse: Callable[[Floats], Floats]
    predicts: str = "numbers"
    of_units: bool = False


#: The links that the core's losses name.
LINKS: Final = {
    "identity": Link(_same, of_units=True),
    "quantiles": Link(_same, of_units=True),
    "mean_variance": Link(_of_columns(_same, lambda s: _exp(s / 2)), of_units=True),
    "log": Link(_exp),
    "logistic": Link(_logistic, "classes"),
    "sign": Link(lambda z: np.where(z > 0.0, 1.0, -1.0), "classes"),
    "softmax": Link(_softmax, "classes"),
}


class Loss(_core.Loss):
    """A loss with parameters, for every argument `loss`.

    It does not change after it is made; two with the same name and parameters are equal.

    Parameters
    ----------
    name : str
        One of `fastbptt.losses`.
    **parameters : float, or sequence of float
        Those that differ from their defaults, by name.

    Attributes
    ----------
    name : str
    parameters : mapping of str to float or tuple of float
        All of them.
    targets : {"numbers", "classes"}
        Numbers, or one class of as many as there are outputs.
    outputs : int
        Outputs that a model has for each target, side by side.
    low, high : float
        The interval that the numbers must be in.
    two_values : bool
        Whether they must be one of its ends.
    link : {"identity", "log", "logistic", "mean_variance", "quantiles", "sign", "softmax"}
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
    >>> fastbptt.Loss("quantile", levels=[0.25, 0.5, 0.75]).outputs
    3
    """

    name: str
    parameters: Mapping[str, Value]
    targets: str
    outputs: int
    low: float
    high: float
    two_values: bool
    link: str
    one_output: bool  # for each target, a number: the usual case, which calls look for first

    def __init__(self, name: str, /, **parameters: Any) -> None:
        _check.option("loss", name, _core.losses())
        info = _core.loss_info(name)
        values = {key: one["default"] for key, one in info["parameters"].items()}
        for key, value in parameters.items():
            if key not in values:
                known = ", ".join(values) if values else "none"
                raise ArgumentError(f'the loss "{name}"', f"has no parameter {key}", known)
            if isinstance(values[key], tuple):
                values[key] = _rising(key, value)
            else:
                values[key] = _check.number(key, value, "a number")
        super().__init__(name, values)
        outputs = info["outputs"]
        if isinstance(outputs, str):
            outputs = len(values[outputs])
        about = {key: info[key] for key in ("targets", "low", "high", "two_values", "link")}
        vars(self).update(name=name, parameters=MappingProxyType(values), outputs=outputs, **about)
        vars(self).update(one_output=self.targets == "numbers" and outputs == 1)

    @property
    def bounded(self) -> bool:
        """Whether `low` and `high` exclude any number."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    @property
    def predicts(self) -> str:
        """Return "classes" if the outputs decide between classes or labels, else "numbers"."""
        return LINKS[self.link].predicts

    @property
    def of_units(self) -> bool:
        """Whether targets may be standardised: `in_units` undoes it on the outputs."""
        return LINKS[self.link].of_units

    @property
    def levels(self) -> tuple[float, ...] | None:
        """The levels of its quantiles; None: the outputs are no quantiles."""
        found = self.parameters["levels"] if self.link == "quantiles" else None
        return found if isinstance(found, tuple) else None

    def targets_of(self, width: int) -> int:
        """Return the number of targets, numbers each, of a model with so many outputs.

        Raises
        ------
        ArgumentError
            If the outputs are not so many for each target.

        Examples
        --------
        >>> Loss("gaussian").targets_of(6)
        3
        """
        if width % self.outputs:
            raise ArgumentError(
                "loss",
                f'is "{self}", which has {self.outputs} outputs for each target, but the model '
                f"has {width}",
                f"a model with output_size={self.outputs} for one target",
            )
        return width // self.outputs

    def labels(self, y: NDArray[Any]) -> NDArray[Any]:
        """Turn targets of a loss that decides between labels into 0 and 1, or what is between.

        Examples
        --------
        >>> import numpy as np
        >>> Loss("hinge").labels(np.array([-1.0, 1.0]))
        array([0., 1.])
        """
        return (y - self.low) / (self.high - self.low) if self.two_values else y

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
        parameters = _core.loss_info(self.name)["parameters"] if self.parameters else {}
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
        changed = {key: float(self.parameters[key]) / float(scale[0]) for key in units}  # type: ignore[arg-type]
        return Loss(self.name, **{**self.parameters, **changed})

    def in_units(
        self, scale: NDArray[np.float64], mean: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the factor of each output, and the summand, that undo a standardisation.

        Outputs for targets ``(y - mean) / scale``, times the factor plus the summand, are outputs
        for ``y``.

        Parameters
        ----------
        scale, mean : float64 array (targets,)

        Returns
        -------
        factor, summand : float64 array (targets * outputs,)

        Examples
        --------
        >>> import numpy as np
        >>> Loss("quantile").in_units(np.array([2.0]), np.array([7.0]))
        (array([2., 2., 2.]), array([7., 7., 7.]))
        """
        factor, summand = (np.repeat(one, self.outputs) for one in (scale, mean))
        if self.link == "mean_variance":  # the logarithm of a variance
            factor[1::2], summand[1::2] = 1.0, 2.0 * np.log(scale)
        return factor, summand

    def predictions(self, outputs: NDArray[Any]) -> Floats:
        """Turn outputs (..., outputs) into predictions, by the inverse of the link.

        Returns
        -------
        float64 array of the same shape
            Of ``"bce"`` and ``"cross_entropy"`` probabilities of the labels or classes, of
            ``"hinge"`` -1 and 1, of ``"poisson"`` rates, of ``"gaussian"`` the mean and the
            standard deviation of each target, of the others the outputs as they are.

        Examples
        --------
        >>> import numpy as np
        >>> Loss("bce").predictions(np.array([[0.0], [np.log(3.0)]]))
        array([[0.5 ],
               [0.75]])
        """
        return LINKS[self.link].inverse(np.asarray(outputs, np.float64))

    def point(self, outputs: NDArray[Any]) -> Floats:
        """Turn outputs (..., outputs) into one prediction for each target (..., targets).

        The median of quantiles, the mean of a normal distribution, the others' `predictions`.

        Raises
        ------
        ArgumentError
            If there is no median among the levels.

        Examples
        --------
        >>> import numpy as np
        >>> Loss("quantile").point(np.array([[1.0, 2.0, 4.0]]))
        array([[2.]])
        """
        self.check_point()
        first = 0 if self.levels is None else self.levels.index(0.5)
        return self.predictions(outputs)[..., first :: self.outputs]

    def quantiles(self, outputs: NDArray[Any], levels: Sequence[float] | None = None) -> Floats:
        """Turn outputs (..., outputs) into quantiles (..., targets, levels).

        Those of ``"quantile"`` may cross: they stay as the model predicts them.

        Parameters
        ----------
        outputs : array (..., outputs)
        levels : sequence of float, optional
            Of ``"quantile"`` some of its own, by default all; of ``"gaussian"`` any rising numbers
            above 0 and below 1, by default 0.1, 0.5 and 0.9.

        Raises
        ------
        ArgumentError
            If the loss predicts no distribution, or has no such level.

        Examples
        --------
        >>> import numpy as np
        >>> Loss("gaussian").quantiles(np.array([[7.0, 0.0]]), [0.5, 0.975]).round(2)
        array([[[7.  , 8.96]]])
        """
        if self.levels is None and self.link != "mean_variance":
            raise ArgumentError("loss", f'is "{self}"', '"quantile" or "gaussian" for quantiles')
        shown = self.predictions(outputs)
        shown = shown.reshape(*shown.shape[:-1], -1, self.outputs)
        own = self.levels
        if levels is not None:
            chosen: Any = Loss("quantile", levels=levels).levels  # checks them
        else:
            chosen = own or Loss("quantile").levels
        if own is None:
            mean, deviation = shown[..., :1], shown[..., 1:]
            scores = np.array([NormalDist().inv_cdf(level) for level in chosen])
            found: Floats = mean + deviation * scores
            return found
        for i, level in enumerate(chosen):
            if level not in own:
                known = ", ".join(f"{one:g}" for one in own)
                raise ArgumentError(
                    f"levels[{i}]", f"is {level:g}", f"one of the loss's levels, {known}"
                )
        return shown[..., [own.index(level) for level in chosen]]

    def check_point(self, name: str = "loss") -> None:
        """Refuse quantiles without a median, which is the prediction of a target."""
        if self.levels is not None and 0.5 not in self.levels:
            raise ArgumentError(name, f'is "{self}", without the median', "0.5 among the levels")

    def output_names(self) -> list[str]:
        """Name the predictions of a target, the point prediction ""; for columns of tables.

        Examples
        --------
        >>> Loss("gaussian").output_names(), Loss("quantile").output_names()
        (['', 'std'], ['q0.1', 'q0.5', 'q0.9'])
        """
        if self.levels is not None:
            return [f"q{level:g}" for level in self.levels]
        return ["", "std"][: self.outputs]

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
        given = "".join(f", {key}={value!r}" for key, value in self._shown())
        return f'Loss("{self.name}"{given})'

    def __str__(self) -> str:
        """Return the form that `parse` reads."""
        given = ",".join(
            ",".join(map(repr, value)) if isinstance(value, tuple) else f"{key}={value!r}"
            for key, value in self._shown()
        )
        return f"{self.name}:{given}" if given else self.name

    def _shown(self) -> list[tuple[str, Value]]:
        """Return the parameters without those that are off, which are 0 by default."""
        info = _core.loss_info(self.name)["parameters"]
        return [
            (key, value)
            for key, value in self.parameters.items()
            if value != 0.0 or info[key]["default"] != 0.0
        ]


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
        self.is_a_mean = hasattr(function, "_targets_there")  # whatever the reduction

    def __str__(self) -> str:
        return f"the function {self.name}"

    def count_of(
        self,
        targets: NDArray[Any],
        weight: NDArray[np.float64] | None,
        lengths: NDArray[np.int64] | None,
        every: bool,
    ) -> float | None:
        """Return what a batch's loss counts beside others; None: what its weights do.

        every: whether targets have an axis of time.
        """
        count = getattr(self._function, "_targets_there", None)  # of a `training.MaskedLoss`
        if count is None:
            return None
        lead = targets.shape[: 1 + every]
        return float(count(targets, _weights_of(lead, weight, lengths)))

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
        weights = _weights_of(outputs.shape[:-1], weight, lengths)
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


def _weights_of(
    lead: tuple[int, ...],
    weight: NDArray[np.float64] | None,
    lengths: NDArray[np.int64] | None,
) -> NDArray[np.float64] | None:
    """Give each sequence, or each step if there is an axis of time, its weight; None: all 1."""
    ends = lengths if len(lead) == 2 else None
    if weight is None and ends is None:
        return None
    weights = np.ones(lead)
    if weight is not None:
        weights *= weight if weight.ndim == weights.ndim else weight[:, np.newaxis]
    if ends is not None:
        weights[np.arange(lead[1]) >= ends[:, np.newaxis]] = 0.0
    return weights


def _scalar(value: Any) -> Any:
    """Take the number out of an array without axes."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def is_function(value: Any) -> bool:
    """Whether an argument `loss` is a function of the caller's."""
    return callable(value) and not isinstance(value, type)


def _made(name: str, parameters: dict[str, Value]) -> Loss:
    return Loss(name, **parameters)


def _rising(name: str, value: Any) -> tuple[float, ...]:
    """Read a list of numbers; the core says which of them it refuses."""
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ArgumentTypeError(name, f"is {_check.shown(value)}", "a list of rising numbers")
    return tuple(_check.number(f"{name}[{i}]", one, "a number") for i, one in enumerate(value))


#: Each loss with its default parameters.
NAMED: Final = {name: Loss(name) for name in _core.losses()}


def loss(value: Any) -> Loss:
    """Read the argument `loss`: a name, or a `Loss`."""
    if type(value) is str and value in NAMED:
        return NAMED[value]
    if isinstance(value, str) and value.partition(":")[0] in NAMED:
        name = value.partition(":")[0]
        expected = f'fastbptt.Loss("{name}", ..) with its parameters'
        raise ArgumentError("loss", f'is "{value}"', expected)
    if is_function(value):
        raise ArgumentTypeError(
            "loss",
            "is a function",
            "a name or a fastbptt.Loss: functions are taken by fit and evaluate",
        )
    return value if isinstance(value, Loss) else NAMED[_check.option("loss", value, NAMED)]


def parse(text: str) -> Loss:
    """Read a loss as the command line and the notes of saved models write it.

    Parameters
    ----------
    text : str
        ``NAME[:PARAMETER=VALUE,...]``; of a loss whose parameter is a list ``NAME[:VALUE,...]``.

    Examples
    --------
    >>> parse("mse"), parse("quantile:0.25,0.5,0.75")
    (Loss("mse"), Loss("quantile", levels=(0.25, 0.5, 0.75)))
    """
    name, _, rest = text.partition(":")
    known = NAMED.get(name.strip())
    presets = known.parameters if known else {}
    lists = [key for key, one in presets.items() if isinstance(one, tuple)]
    parameters: dict[str, Any] = {}
    if lists and rest:
        try:
            parameters[lists[0]] = [float(part) for part in rest.split(",")]
        except ValueError:
            raise ArgumentError("loss", f'is "{text}"', "NAME[:VALUE,...]") from None
        rest = ""
    for part in rest.split(",") if rest else ():
        key, sign, value = part.partition("=")
        try:
            if not sign:
                raise ValueError
            parameters[key.strip()] = float(value)
        except ValueError:
            expected = (
                f"a number for {key.strip()}"
                if sign and key.strip() in presets
                else "NAME[:PARAMETER=VALUE,...]"
            )
            raise ArgumentError("loss", f'is "{text}"', expected) from None
    return Loss(name.strip(), **parameters)
