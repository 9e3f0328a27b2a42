"""A loss and its parameters, as every part takes it: by name, or as a `Loss`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core
from ._check import Floats
from ._errors import ArgumentError, ArgumentTypeError, BadArgumentError

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


def _sign(z: Floats) -> Floats:
    signs: Floats = np.where(z > 0.0, 1.0, np.where(np.isnan(z), z, -1.0))
    return signs


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

    @property
    def changes(self) -> bool:
        """Whether predictions are other numbers than the outputs."""
        return self.inverse is not _same


#: The links that the core's losses name.
LINKS: Final = {
    "identity": Link(_same, of_units=True),
    "quantiles": Link(_same, of_units=True),
    "mean_variance": Link(_of_columns(_same, lambda s: _exp(s / 2)), of_units=True),
    "log": Link(_exp),
    "logistic": Link(_logistic, "classes"),
    "sign": Link(_sign, "classes"),
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
    _one_for: str  # "row", "target" or "output"

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
        vars(self)["_one_for"] = info["one_for"]
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
        """Return the number of targets of a model with so many outputs: numbers, or classes.

        Raises
        ------
        ArgumentError
            If the outputs are not so many for each target; if they leave no choice of a class.

        Examples
        --------
        >>> Loss("gaussian").targets_of(6)
        3
        """
        if self.targets == "classes":
            if width == 1:
                raise ArgumentError(
                    "loss",
                    f'is "{self}", which makes 1 of any single output',
                    '"bce" for a model with one output, or a model with an output for each class',
                )
            return width
        if width % self.outputs:
            raise ArgumentError(
                "loss",
                f'is "{self}", which has {self.outputs} outputs for each target, but the model '
                f"has {width}",
                f"a model with output_size={self.outputs} for one target",
            )
        return width // self.outputs

    def _losses_of(self, width: int) -> int:
        """Return how many losses the mean of one step or sequence is over, of so many outputs."""
        if self._one_for == "row":
            return 1
        return width if self._one_for == "output" else self.targets_of(width)

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


#: What an argument `loss` may be, of one loss.
LossLike: TypeAlias = str | Loss


class Losses(_core.LossBlocks):
    """Losses of several blocks of outputs, for a model that predicts several things at once.

    The blocks take the model's outputs in order, column by column. The loss is the sum of the
    blocks' losses, each times its weight; each is reduced over its own targets and sample weights.
    Targets are a mapping by name, each in the form that its loss takes alone. It does not change
    after it is made.

    Parameters
    ----------
    losses : mapping of str to (str or `fastbptt.Loss`)
        The loss of each block, by name: a Python identifier, which does not begin with
        ``validation_``.
    outputs : mapping of str to int, optional
        How many of the model's outputs a block has. Default: those of a single target, 1 or, for
        ``"gaussian"`` and ``"quantile"``, as many as its loss needs. ``"cross_entropy"`` has no
        default: it has as many as there are classes.
    weights : mapping of str to float, optional
        Of the losses in the sum, at least 0, not all 0; by default 1.

    Attributes
    ----------
    losses : mapping of str to Loss
    outputs : mapping of str to int
    weights : mapping of str to float
        Of all blocks.
    columns : mapping of str to slice
        The outputs of each block.
    width : int
        Outputs of all blocks together.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and the block, what came and what was expected.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> losses = fastbptt.Losses(
    ...     {"price": "mse", "sale": "bce"}, outputs={"price": 2}, weights={"sale": 0.5}
    ... )
    >>> model = fastbptt.GRU(3, 4, losses.width, seed=0)
    >>> y = {"price": np.ones((5, 2)), "sale": np.array([0, 1, 1, 0, 1])}
    >>> loss = model.train_step(np.ones((5, 7, 3)), y, fastbptt.Adam(), losses)
    >>> list(model.last_losses)
    ['price', 'sale']
    """

    losses: Mapping[str, Loss]
    outputs: Mapping[str, int]
    weights: Mapping[str, float]
    columns: Mapping[str, slice]
    width: int
    one_output: Final = False  # see Loss

    def __init__(
        self,
        losses: Mapping[str, LossLike],
        *,
        outputs: Mapping[str, int] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        given: Any = losses
        if not isinstance(given, Mapping):
            came = f"is of type {type(given).__name__}"
            raise ArgumentTypeError("losses", came, "a mapping of name -> loss")
        if not given:
            raise ArgumentError("losses", "is empty", "at least one name with its loss")
        own: dict[str, Loss] = {}
        for name, one in given.items():
            _check_name(name)
            if is_function(one):
                raise ArgumentTypeError(
                    f'losses["{name}"]', "is a function", "a name or a fastbptt.Loss"
                )
            with _named(f'losses["{name}"]'):
                own[name] = loss(one)
        widths, columns, first = _widths(own, outputs), {}, 0
        for name, width in widths.items():
            columns[name] = slice(first, first + width)
            first += width
        factors = _factors(own, weights)
        super().__init__([(name, one, widths[name], factors[name]) for name, one in own.items()])
        vars(self).update(
            losses=MappingProxyType(own),
            outputs=MappingProxyType(widths),
            weights=MappingProxyType(factors),
            columns=MappingProxyType(columns),
            width=first,
        )

    def _total(self, values: Mapping[str, float]) -> float:
        """Return the sum of the blocks' losses, by name, times their weights."""
        return sum(w * float(values[name]) for name, w in self.weights.items() if w > 0.0)

    def _check_width(self, width: int) -> None:
        """Refuse a model with another number of outputs."""
        if width != self.width:
            known = " + ".join(f"{count} ({name})" for name, count in self.outputs.items())
            raise ArgumentError(
                "loss",
                f"is of {self.width} outputs, {known}, but the model has {width}",
                f"a model with output_size={self.width}",
            )

    def split(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the outputs (..., width) of each block, (..., outputs), by name: views.

        Examples
        --------
        >>> import numpy as np
        >>> Losses({"price": "mse", "sale": "bce"}).split(np.array([[7.0, -1.0]]))["sale"]
        array([[-1.]])
        """
        array = _check.read("outputs", outputs)
        if array.ndim == 0 or array.shape[-1] != self.width:
            expected = f"(.., {self.width}): {' + '.join(self.outputs)}"
            raise ArgumentError("outputs", f"has shape {array.shape}", expected)
        return {name: array[..., columns] for name, columns in self.columns.items()}

    def predictions(self, outputs: NDArray[Any]) -> dict[str, Floats]:
        """Return each block's predictions by name: `Loss.predictions` of its outputs.

        Examples
        --------
        >>> import numpy as np
        >>> Losses({"price": "mse", "sale": "bce"}).predictions(np.array([[7.0, 0.0]]))
        {'price': array([[7.]]), 'sale': array([[0.5]])}
        """
        parts = self.split(outputs)
        return {name: one.predictions(parts[name]) for name, one in self.losses.items()}

    def _parts(self, name: str, value: Any) -> dict[str, Any]:
        """Take an argument with a part for each block, in their order.

        Raises
        ------
        ArgumentError
            If it is no mapping, or lacks a block, or has another one.
        """
        if not isinstance(value, Mapping):
            came, known = _check.shown(value), ", ".join(self.losses)
            raise ArgumentTypeError(name, f"is {came}", f"a mapping with the blocks {known}")
        _check.same_names(name, value, tuple(self.losses))
        return {block: value[block] for block in self.losses}

    def _named(self, parts: Any) -> Any:
        """Make a mapping of a tuple with a part for each block; else return it as it is."""
        return dict(zip(self.losses, parts, strict=True)) if isinstance(parts, tuple) else parts

    def _weights_by_block(self, value: Any) -> dict[str, Any]:
        """Take the argument `sample_weight`: a mapping, or one for all blocks."""
        if isinstance(value, Mapping):
            return self._parts("sample_weight", value)
        return dict.fromkeys(self.losses, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Losses does not change; make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Losses does not change; its {name} stays")

    def _key(self) -> tuple[Any, ...]:
        return tuple((n, one, self.outputs[n], self.weights[n]) for n, one in self.losses.items())

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Losses) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_losses, (dict(self.losses), dict(self.outputs), dict(self.weights))

    def __repr__(self) -> str:
        outputs, weights = dict(self.outputs), dict(self.weights)
        return f"Losses({dict(self.losses)}, outputs={outputs}, weights={weights})"

    def __str__(self) -> str:
        """Return a short form for messages and titles: each loss with its block and weight."""
        factors = {name: "" if w == 1.0 else f"{w:g} " for name, w in self.weights.items()}
        return " + ".join(f"{factors[name]}{one}({name})" for name, one in self.losses.items())


def _made_losses(losses: Any, outputs: Any, weights: Any) -> Losses:
    return Losses(losses, outputs=outputs, weights=weights)


def _check_name(name: Any) -> None:
    expected = "a Python identifier that does not begin with validation_, such as price"
    if not isinstance(name, str):
        raise ArgumentTypeError("losses", f"has the name {name!r}", expected)
    if not name.isidentifier() or name.startswith("validation_"):
        raise ArgumentError("losses", f"has the name {_check.quoted(name)}", expected)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Call it so in an error about the argument `loss`."""
    try:
        yield
    except BadArgumentError as error:
        if error.argument == "loss":
            error.argument = name
        raise


def _of_known(name: str, value: Any, losses: Mapping[str, Loss]) -> Mapping[str, Any]:
    """Take an argument with parts for some of the blocks."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        expected = f"a mapping with some of {', '.join(losses)}"
        raise ArgumentTypeError(name, f"is {_check.shown(value)}", expected)
    unknown = [str(one) for one in value if one not in losses]
    if unknown:
        came = f"has unknown {', '.join(unknown)}"
        raise ArgumentError(name, came, ", ".join(losses))
    return value


def _widths(losses: Mapping[str, Loss], outputs: Any) -> dict[str, int]:
    given, found = _of_known("outputs", outputs, losses), {}
    for name, one in losses.items():
        argument = f'outputs["{name}"]'
        if name not in given and one.targets == "classes":
            expected = f"the number of classes of {name}, because its loss is {one}"
            raise ArgumentError(argument, "is not given", expected)
        width = _check.size(argument, given.get(name, one.outputs))
        if width % one.outputs:
            expected = f"a multiple of {one.outputs}, the outputs that {one} has for each target"
            raise ArgumentError(argument, f"is {width}", expected, value=width)
        found[name] = width
    return found


def _factors(losses: Mapping[str, Loss], weights: Any) -> dict[str, float]:
    given, found = _of_known("weights", weights, losses), {}
    for name in losses:
        expected = "a finite number of at least 0"
        value = _check.number(f'weights["{name}"]', given.get(name, 1.0), expected)
        if not 0.0 <= value < math.inf:
            raise ArgumentError(f'weights["{name}"]', f"is {value}", expected, value=value)
        found[name] = value
    if not any(found.values()):
        raise ArgumentError("weights", "holds only zeros", "at least one above 0")
    return found


#: What `y` and `sample_weight` may be; mappings with `Losses`.
TargetsLike: TypeAlias = ArrayLike | Sequence[ArrayLike] | Mapping[str, Any]
WeightsLike: TypeAlias = ArrayLike | Sequence[ArrayLike] | Mapping[str, Any] | None

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
        self.function = function
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
        count = getattr(self.function, "_targets_there", None)  # of a `training.MaskedLoss`
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
        found: Any = self.function(outputs.copy(), targets.copy(), weights)
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
    if isinstance(value, Losses | Mapping):
        came = f"is a {type(value).__name__}, of several blocks of outputs"
        raise ArgumentTypeError("loss", came, "one loss: a name or a fastbptt.Loss")
    return value if isinstance(value, Loss) else NAMED[_check.option("loss", value, NAMED)]


def one_or_several(value: Any) -> Loss | Losses:
    """Read the argument `loss` of those that take several blocks of outputs as well."""
    if isinstance(value, Mapping):
        expected = (
            "fastbptt.Losses({..}, outputs=.., weights=..), which says how many outputs each has"
        )
        raise ArgumentTypeError("loss", "is a mapping", expected)
    return value if isinstance(value, Losses) else loss(value)


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
