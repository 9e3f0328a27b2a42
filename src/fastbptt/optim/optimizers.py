"""Optimisers: their settings, their moments, and which model they belong to."""

from __future__ import annotations

import functools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _core
from .._check import Floats
from .._errors import ArgumentError, ArgumentTypeError
from .._views import Gradients, Layout, NamedViews, shapes
from . import _groups

if TYPE_CHECKING:
    from typing_extensions import Self

# What `fastbptt.optim` and `fastbptt` pass on
__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


class TrainableWeights(Protocol):
    """The weights that an optimiser updates: one flat buffer, and the engine that reads it."""

    flat: Floats
    layout: Layout
    dtype: np.dtype[Any]
    engine: _core.Engine
    token: object  # whose weights they are


class Trainable(Protocol):
    """Anything with weights to train: a network."""

    @property
    def _weights(self) -> TrainableWeights: ...


class Binding(NamedTuple):
    """An optimiser's state for one model; owner None: for the next model of this layout."""

    owner: object | None
    layout: Layout
    moments: dict[str, Floats]
    update: _core.Update  # without a clip

    @property
    def state(self) -> _core.OptimizerState:
        """The state of the optimiser in the core."""
        return self.update.optimizer

    def keep(self) -> Callable[[], None]:
        """Copy moments and step count; the result puts them back."""
        step, copies = self.state.step, {name: a.copy() for name, a in self.moments.items()}

        def put_back() -> None:
            for name, values in copies.items():
                self.moments[name][:] = values
            self.state.step = step

        return put_back


class Optimizer(ABC):
    """Base class of all optimisers.

    An optimiser belongs to the first model that it updates, without keeping it alive, and
    refuses any other. A copy, or one that was pickled, keeps its settings and moments and
    belongs to the next model of the same layout.
    """

    _rule: ClassVar[str]  # the core's name of its arithmetic
    _settings: ClassVar[tuple[str, ...]]  # what the constructor takes, in its order

    def __init__(
        self, lr: float, weight_decay: float, groups: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._lock = threading.RLock()
        self._binding: Binding | None = None
        self._lr = _at_least_0("lr", lr)
        self._weight_decay = _at_least_0("weight_decay", weight_decay)
        self._groups = _groups.check(groups)

    @property
    @abstractmethod
    def _moments(self) -> tuple[str, ...]:
        """The flat buffers that the core's rule keeps with these settings."""

    def _core_settings(self) -> dict[str, float]:
        """Give the settings by the names that the core's rule has for them."""
        names = (name for name in self._settings if name != "groups")
        return {name: float(getattr(self, name)) for name in names}

    @abstractmethod
    def _fit_into(self, dtype: np.dtype[Any]) -> None:
        """Refuse settings that the arithmetic of moments of this dtype would round to 0 or 1."""

    def _check_owner(self, weights: TrainableWeights) -> None:
        """Refuse weights that `_binding_for` would refuse."""
        if self._binding is None:
            self._fit_all_into({weights.dtype})
            _groups.parts(self._groups, weights.layout)
        else:
            self._binding_for(weights)

    def _fit_all_into(self, dtypes: set[np.dtype[Any]]) -> None:
        """Refuse settings that are too large for moments of these dtypes, or lost in them."""
        for dtype in dtypes:
            for name, value in self._core_settings().items():
                _no_overflow(name, value, dtype)
            for i, group in enumerate(self._groups):
                for name, value in group.given().items():
                    if name != "params":
                        _no_overflow(f"groups[{i}][{name!r}]", value, dtype)
            self._fit_into(dtype)

    def _core_state(
        self, moments: dict[str, Floats], layout: Layout, dtypes: set[np.dtype[Any]]
    ) -> _core.OptimizerState:
        self._fit_all_into(dtypes)
        if not self._groups:
            return _core.OptimizerState(self._rule, dict(moments), self._core_settings())
        own = [
            (
                1.0 if group.lr_factor is None else group.lr_factor,
                self._weight_decay if group.weight_decay is None else group.weight_decay,
            )
            for group in self._groups
        ]
        parts = _groups.parts(self._groups, layout)
        return _core.OptimizerState(
            self._rule, dict(moments), self._core_settings(), np.array(own), parts
        )

    def _binding_for(self, weights: TrainableWeights) -> Binding:
        """Return the state for these weights; the caller keeps it once its update has succeeded."""
        binding = self._binding
        if binding is None:
            moments = {}
            for name in self._moments:
                moments[name] = _check.aligned_empty(weights.flat.size, weights.dtype)
                moments[name][:] = 0.0
            update = _core.Update(self._core_state(moments, weights.layout, {weights.dtype}))
            return Binding(weights.token, weights.layout, moments, update)
        if binding.owner is weights.token:
            return binding
        if binding.owner is not None:
            raise ArgumentError(
                "optimizer",
                "belongs to another model",
                "one of this model's own (optimizer.copy() carries its state over to a model of "
                "the same layout)",
            )
        dtype = next((moment.dtype for moment in binding.moments.values()), weights.dtype)
        if binding.layout != weights.layout or dtype != weights.dtype:
            raise ArgumentError(
                "optimizer",
                f"holds moments of {dtype} for {shapes(binding.layout)}",
                f"{weights.dtype} for {shapes(weights.layout)}",
            )
        return binding._replace(owner=weights.token)

    def step(
        self,
        model: Trainable,
        grads: Gradients | Mapping[str, ArrayLike] | ArrayLike,
        check_finite: bool = True,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        """Update a model's parameters by given gradients.

        Parameters
        ----------
        model : fastbptt model
            The model that this optimiser belongs to; the first one makes it so.
        grads : Gradients, mapping of name -> array, or 1-D array
            From `backward` or `loss_and_grad`; or exactly the names and shapes of the
            parameters; or all of them in one array in the order of ``model.parameters.flat``.
        check_finite : bool, default True
            Refuse NaN and infinity in the gradients.
        clip_norm, clip_value : float, optional
            As for `Recurrent.train_step`: clip the gradients before the update. `grads` itself
            stays as it is; `Gradients.clip_norm_` clips in place and returns the norm.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected. Nothing has changed then.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> adam = fastbptt.Adam()
        >>> loss, grads = model.loss_and_grad(np.ones((2, 5, 3)), [0, 1])
        >>> adam.step(model, grads)
        >>> adam.step_count
        1
        """
        weights = getattr(model, "_weights", None)
        if weights is None:
            raise ArgumentTypeError(
                "model", f"is of type {type(model).__name__}", "a fastbptt model"
            )
        finite = _check.flag("check_finite", check_finite)
        clip = _check.clip(clip_norm, clip_value)
        with self._lock:
            binding = self._binding_for(weights)
            flat = _gathered(grads, weights, binding)
            before = binding.state.step
            try:
                weights.engine.update(binding.update.replace(clip=clip), flat, finite)
                self._binding = binding
            except BaseException:
                if binding.state.step != before:  # a signal's handler raised just after the update
                    self._binding = binding
                raise

    @property
    def lr(self) -> float:
        """Step size; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        with self._lock:
            rate, binding, before = self._checked_lr(value), self._binding, self._lr
            try:
                if binding is not None:
                    binding.state.set("lr", rate)
                self._lr = rate
            except BaseException:  # a signal's handler may raise in between
                if binding is not None:
                    binding.state.set("lr", before)
                self._lr = before
                raise

    def _checked_lr(self, value: float) -> float:
        """Check a learning rate, also against the model's dtype."""
        rate, binding = _at_least_0("lr", value), self._binding
        for moment in () if binding is None else binding.moments.values():
            _no_overflow("lr", rate, moment.dtype)
        return rate

    @property
    def weight_decay(self) -> float:
        """How strongly each step pulls the parameters towards 0."""
        return self._weight_decay

    @property
    def groups(self) -> tuple[dict[str, Any], ...]:
        """Parameters with settings of their own, as they were given; a copy."""
        return tuple(group.given() for group in self._groups)

    @property
    def step_count(self) -> int:
        """Updates made so far."""
        binding = self._binding
        return 0 if binding is None else binding.state.step

    def _moment(self, name: str) -> NamedViews:
        binding = self._binding
        if binding is None or name not in binding.moments:
            return NamedViews(np.empty(0, np.float32), {})
        view = binding.moments[name][:]
        view.flags.writeable = False
        return NamedViews(view, binding.layout)

    def copy(self) -> Self:
        """Copy settings, moments and step count, for the next model that the copy meets.

        Examples
        --------
        >>> import fastbptt
        >>> fastbptt.Adam(lr=0.01).copy().lr
        0.01
        """
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            binding = self._binding
            extra = {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_binding")}
            bound = None
            if binding is not None:
                bound = {
                    "layout": dict(binding.layout),
                    "moments": {name: array.copy() for name, array in binding.moments.items()},
                    "step": binding.state.step,
                }
        return {"attributes": extra, "bound": bound}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._lock = threading.RLock()
        self._binding = None
        bound = state["bound"]
        if bound is not None:
            moments = {}
            for name, values in bound["moments"].items():
                moments[name] = _check.aligned_empty(values.size, values.dtype.newbyteorder("="))
                moments[name][:] = values
            dtypes = {moment.dtype for moment in moments.values()}
            core = self._core_state(moments, bound["layout"], dtypes)
            core.step = bound["step"]
            self._binding = Binding(None, bound["layout"], moments, _core.Update(core))

    def __repr__(self) -> str:
        shown = [name for name in self._settings if name != "groups" or self._groups]
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({settings})  # step {self.step_count}"


class Adam(Optimizer):
    """Adam, with either of the two conventions for epsilon.

    With m and v the running means of the gradient and its square, t the step:
    ``p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)`` (PyTorch, optax), or
    with `epsilon_hat` ``p -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)``
    (Keras, scikit-learn). Source: Kingma and Ba, ICLR 2015, arXiv:1412.6980, algorithm 1 and
    the last paragraph of its section 2.

    Parameters
    ----------
    lr : float, default 1e-3
        Step size, at least 0. May be changed between steps: ``adam.lr *= 0.5``.
    betas : (float, float), default (0.9, 0.999)
        Decay of the two running means, each in [0, 1).
    eps : float, default 1e-8
        Above 0.
    epsilon_hat : bool, default False
        Use the second form.
    amsgrad : bool, default False
        Divide by the root of the largest v so far. Source: Reddi, Kale and Kumar, ICLR 2018,
        arXiv:1904.09237; the bias correction, which they leave out, is kept, as in PyTorch.
    weight_decay : float, default 0.0
        L2: so many times the parameter is added to its gradient, after clipping. Biases and
        initial states decay like all else that is not frozen, unless `groups` excepts them.
    groups : list of dict, optional
        Parameters with settings of their own: ``{"params": names, "lr_factor": .., "weight_decay":
        ..}``, either setting or both. Names are those of ``model.parameters``, and ``*`` stands for
        any characters: ``"b_*"`` means all biases. The step size of a group is ``lr_factor * lr``,
        so that schedules and ``optimizer.lr`` act on all parameters; its `weight_decay` replaces
        that of the optimiser. The first update refuses a name that no parameter of the model has,
        and a parameter in two groups.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> adam = fastbptt.Adam(lr=0.01, amsgrad=True)
    >>> adam.lr, adam.betas, adam.eps
    (0.01, (0.9, 0.999), 1e-08)
    >>> fastbptt.Adam(weight_decay=0.1, groups=[{"params": ["b_*"], "weight_decay": 0.0}]).groups
    ({'params': ['b_*'], 'weight_decay': 0.0},)
    """

    _rule = "adam"
    _settings = ("lr", "betas", "eps", "epsilon_hat", "amsgrad", "weight_decay", "groups")

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        epsilon_hat: bool = False,
        amsgrad: bool = False,
        weight_decay: float = 0.0,
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(lr, weight_decay, groups)
        self._betas = _decays(betas)
        self._eps = _above_0("eps", eps)
        self._epsilon_hat = _check.flag("epsilon_hat", epsilon_hat)
        self._amsgrad = _check.flag("amsgrad", amsgrad)

    @property
    def _moments(self) -> tuple[str, ...]:
        return ("m", "v", "v_max") if self._amsgrad else ("m", "v")

    def _core_settings(self) -> dict[str, float]:
        return {
            "lr": self._lr,
            "beta1": self._betas[0],
            "beta2": self._betas[1],
            "eps": self._eps,
            "epsilon_hat": self._epsilon_hat,
            "weight_decay": self._weight_decay,
        }

    def _fit_into(self, dtype: np.dtype[Any]) -> None:
        _eps_fits(self._eps, self._betas[1], dtype)
        for i, beta in enumerate(self._betas):
            _decay_fits(f"betas[{i}]", beta, dtype)

    @property
    def betas(self) -> tuple[float, float]:
        """Decay of the two running means."""
        return self._betas

    @property
    def eps(self) -> float:
        """Added to the denominator for numerical stability."""
        return self._eps

    @property
    def epsilon_hat(self) -> bool:
        """Whether epsilon is added in the second form."""
        return self._epsilon_hat

    @property
    def amsgrad(self) -> bool:
        """Whether the largest running mean of the squares counts."""
        return self._amsgrad

    @property
    def m(self) -> NamedViews:
        """Running mean of the gradients by parameter name, read-only; empty before step 1."""
        return self._moment("m")

    @property
    def v(self) -> NamedViews:
        """Running mean of their squares by parameter name, read-only; empty before step 1."""
        return self._moment("v")

    @property
    def v_max(self) -> NamedViews:
        """The largest `v` so far by parameter name, read-only; empty without `amsgrad`."""
        return self._moment("v_max")


class AdamW(Adam):
    """Adam with decoupled weight decay: each step also takes ``lr * weight_decay * p`` from p.

    So the decay is not divided by the root of the running mean as `Adam`'s is. Source: Loshchilov
    and Hutter, ICLR 2019, arXiv:1711.05101, algorithm 2, with the step size `lr` in both terms, as
    in PyTorch.

    Parameters
    ----------
    lr, betas, eps, epsilon_hat, amsgrad
        As for `Adam`.
    weight_decay : float, default 0.01
        At least 0. Biases and initial states decay like all else that is not frozen, unless
        `groups` excepts them.
    groups : list of dict, optional
        As for `Adam`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.AdamW(groups=[{"params": ["b_*"], "weight_decay": 0.0}]).weight_decay
    0.01
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        epsilon_hat: bool = False,
        amsgrad: bool = False,
        weight_decay: float = 0.01,
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(lr, betas, eps, epsilon_hat, amsgrad, weight_decay, groups)

    def _core_settings(self) -> dict[str, float]:
        return super()._core_settings() | {"decoupled": True}


class SGD(Optimizer):
    """Gradient descent, plain or with momentum.

    With momentum ``u = momentum * u + g``, then ``p -= lr * u``, or with `nesterov`
    ``p -= lr * (g + momentum * u)``; u starts at 0. Sources: Polyak, 1964; Sutskever, Martens,
    Dahl and Hinton, ICML 2013, in the form of PyTorch, where `lr` is no part of u.

    Parameters
    ----------
    lr : float, default 1e-2
        Step size, at least 0. May be changed between steps.
    momentum : float, default 0.0
        In [0, 1). At 0 there is no velocity, and so no memory for it.
    nesterov : bool, default False
        Use Nesterov's form; only with momentum.
    weight_decay : float, default 0.0
        L2: so many times the parameter is added to its gradient, after clipping.
    groups : list of dict, optional
        As for `Adam`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.SGD(lr=0.1, momentum=0.9, nesterov=True)
    SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)  # step 0
    """

    _rule = "sgd"
    _settings = ("lr", "momentum", "nesterov", "weight_decay", "groups")

    def __init__(
        self,
        lr: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(lr, weight_decay, groups)
        self._momentum = _decay("momentum", momentum)
        self._nesterov = _check.flag("nesterov", nesterov)
        if self._nesterov and not self._momentum:
            raise ArgumentError("nesterov", "is True", "False because momentum=0.0")

    @property
    def _moments(self) -> tuple[str, ...]:
        return ("velocity",) if self._momentum else ()

    def _fit_into(self, dtype: np.dtype[Any]) -> None:
        _decay_fits("momentum", self._momentum, dtype)

    @property
    def momentum(self) -> float:
        """Decay of the velocity."""
        return self._momentum

    @property
    def nesterov(self) -> bool:
        """Whether the velocity of the next step counts."""
        return self._nesterov

    @property
    def velocity(self) -> NamedViews:
        """Decaying sum of gradients by parameter name, read-only; empty without momentum."""
        return self._moment("velocity")


class RMSprop(Optimizer):
    """RMSprop: the gradient over the root of the running mean of its square.

    ``v = alpha * v + (1 - alpha) * g^2``, then ``p -= lr * g / (sqrt(v) + eps)``. With `centered`
    the root is of ``v - m^2``, m being the running mean of the gradient. With momentum
    ``u = momentum * u + g / (sqrt(v) + eps)``, then ``p -= lr * u``. Sources: Tieleman and Hinton,
    2012 (lecture 6e of "Neural networks for machine learning"); Graves, 2013, arXiv:1308.0850,
    equations 38 to 45, for the centered form, whose epsilon is PyTorch's, outside the root.

    Parameters
    ----------
    lr : float, default 1e-2
        Step size, at least 0. May be changed between steps.
    alpha : float, default 0.99
        Decay of the running means, in [0, 1).
    eps : float, default 1e-8
        Above 0.
    momentum : float, default 0.0
        In [0, 1). At 0 there is no velocity, and so no memory for it.
    centered : bool, default False
        Divide by the root of the variance instead of the mean square.
    weight_decay : float, default 0.0
        L2: so many times the parameter is added to its gradient, after clipping.
    groups : list of dict, optional
        As for `Adam`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.RMSprop(lr=1e-3, momentum=0.9).alpha
    0.99
    """

    _rule = "rmsprop"
    _settings = ("lr", "alpha", "eps", "momentum", "centered", "weight_decay", "groups")

    def __init__(
        self,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(lr, weight_decay, groups)
        self._alpha = _decay("alpha", alpha)
        self._eps = _above_0("eps", eps)
        self._momentum = _decay("momentum", momentum)
        self._centered = _check.flag("centered", centered)
        if self._centered and not self._alpha:
            expected = "above 0 because centered=True: the variance of one gradient is 0"
            raise ArgumentError("alpha", f"is {self._alpha}", expected)

    @property
    def _moments(self) -> tuple[str, ...]:
        wanted = {"v": True, "m": self._centered, "velocity": self._momentum > 0.0}
        return tuple(name for name, there in wanted.items() if there)

    def _core_settings(self) -> dict[str, float]:
        settings = super()._core_settings()
        del settings["centered"]  # to the core, whether there is an m
        return settings

    def _fit_into(self, dtype: np.dtype[Any]) -> None:
        _eps_fits(self._eps, self._alpha, dtype)
        _decay_fits("alpha", self._alpha, dtype)
        _decay_fits("momentum", self._momentum, dtype)

    @property
    def alpha(self) -> float:
        """Decay of the running means."""
        return self._alpha

    @property
    def eps(self) -> float:
        """Added to the denominator for numerical stability."""
        return self._eps

    @property
    def momentum(self) -> float:
        """Decay of the velocity."""
        return self._momentum

    @property
    def centered(self) -> bool:
        """Whether the mean gradient is taken out of the mean square."""
        return self._centered

    @property
    def v(self) -> NamedViews:
        """Running mean of squared gradients by parameter name, read-only; empty before step 1."""
        return self._moment("v")

    @property
    def m(self) -> NamedViews:
        """Running mean of gradients by parameter name, read-only; empty without `centered`."""
        return self._moment("m")

    @property
    def velocity(self) -> NamedViews:
        """Decaying sum of quotients by parameter name, read-only; empty without momentum."""
        return self._moment("velocity")


#: The moments, of any optimiser, that average squares: never below 0.
SQUARES: Final = frozenset({"v", "v_max"})

#: Optimisers by the name that configurations and command lines know them by.
OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "rmsprop": RMSprop,
}


def _at_least_0(name: str, value: Any) -> float:
    expected = "a finite number of at least 0"
    result = _check.number(name, value, expected)
    if not 0.0 <= result < np.inf:
        raise ArgumentError(name, f"is {result}", expected, value=result)
    return result


def _above_0(name: str, value: Any) -> float:
    expected = "a finite number above 0"
    result = _check.number(name, value, expected)
    if not 0.0 < result < np.inf:
        raise ArgumentError(name, f"is {result}", expected, value=result)
    return result


def _decay(name: str, value: Any, expected: str = "a number of at least 0 and below 1") -> float:
    result = _check.number(name, value, expected)
    if not 0.0 <= result < 1.0:
        raise ArgumentError(name, f"is {result}", expected, value=result)
    return result


def _decays(value: Any) -> tuple[float, float]:
    expected = "two numbers of at least 0 and below 1"
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArgumentTypeError("betas", f"is {_check.shown(value)}", expected)
    return _decay("betas[0]", value[0], expected), _decay("betas[1]", value[1], expected)


@functools.cache
def _most(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).max)


def _no_overflow(name: str, value: float, dtype: np.dtype[Any]) -> None:
    most = _most(dtype)
    if value > most:
        raise ArgumentError(
            name, f"is {value}", f"at most {most:.3g} for a model of {dtype}", value=value
        )


def _eps_fits(eps: float, decay: float, dtype: np.dtype[Any]) -> None:
    """Refuse an eps beside which a gradient counts whose square is lost.

    Where (1 - decay) g^2 is 0, the step is g / eps: at most 1 with the least eps.
    """
    least = math.sqrt(np.finfo(dtype).tiny / (1.0 - decay))
    if eps < least:
        raise ArgumentError(
            "eps",
            f"is {eps}",
            f"at least {least:.3g} for a model of {dtype}, in which squares of gradients are 0 "
            "below that",
        )


def _decay_fits(name: str, value: float, dtype: np.dtype[Any]) -> None:
    least = np.finfo(dtype).epsneg
    if value > 1.0 - least:
        raise ArgumentError(
            name, f"is {_check.shown(value)}", f"at most 1 - {least:.3g} for a model of {dtype}"
        )


def _gathered(grads: Any, weights: TrainableWeights, binding: Binding) -> Floats:
    """All gradients as one array of the model's dtype that shares no memory with its state."""
    count, dtype = weights.flat.size, weights.dtype
    taken = [weights.flat, *binding.moments.values()]
    if isinstance(grads, Gradients) and grads._layout == weights.layout:
        grads = grads._flat
    if isinstance(grads, Mapping):
        _check.same_names("grads", grads, tuple(weights.layout))
        flat = _check.aligned_empty(count, dtype)
        for name, (start, stop, shape) in weights.layout.items():
            label = f"grads[{name!r}]"
            given = _check.read(label, grads[name])
            _refuse_shared(label, given, taken)
            part = _check.exact(label, given, shape, f"the shape of {name}", dtype)
            with np.errstate(over="ignore"):  # an overflow becomes inf, which the core reports
                flat[start:stop] = part.ravel()
        return flat
    given = _check.read("grads", grads)
    _refuse_shared("grads", given, taken)
    flat = _check.exact("grads", given, (count,), "all parameters in one array", dtype)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(flat, dtype)


def _refuse_shared(name: str, array: NDArray[Any], taken: list[Floats]) -> None:
    if any(np.may_share_memory(array, one) for one in taken):
        raise ValueError(
            f"{name} shares memory with the model's parameters or the optimiser's moments; "
            "expected gradients of their own"
        )
