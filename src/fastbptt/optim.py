"""Optimisers: their settings, their moments, and which model they belong to."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core
from ._check import Floats
from ._views import Gradients, Layout, NamedViews
from .recurrent import Recurrent

if TYPE_CHECKING:
    from typing_extensions import Self


class Binding(NamedTuple):
    """An optimiser's state for one model; owner None: for the next model of this layout."""

    owner: object | None
    layout: Layout
    moments: dict[str, Floats]
    state: _core.AdamState

    def keep(self) -> Callable[[], None]:
        """Copy moments and step count; the result puts them back."""
        step, copies = self.state.step, {name: a.copy() for name, a in self.moments.items()}

        def put_back() -> None:
            for name, values in copies.items():
                self.moments[name][:] = values
            self.state.step = step

        return put_back


class Optimizer(ABC):
    """What all optimisers share.

    An optimiser belongs to the first model that it updates, without keeping it alive, and
    refuses any other. A copy, or one that was pickled, keeps its settings and moments and
    belongs to the next model of the same layout.
    """

    _settings: ClassVar[tuple[str, ...]]
    _moments: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._binding: Binding | None = None

    @abstractmethod
    def _core_state(self, moments: dict[str, Floats]) -> _core.AdamState:
        """Make the core's view of settings and moments."""

    def _binding_for(self, model: Recurrent) -> Binding:
        """Return the state for this model; the caller keeps it once its update has succeeded."""
        binding = self._binding
        if binding is None:
            moments = {}
            for name in self._moments:
                moments[name] = _check.aligned_empty(model._flat.size, model._dtype)
                moments[name][:] = 0.0
            return Binding(model._token, model._layout, moments, self._core_state(moments))
        if binding.owner is model._token:
            return binding
        if binding.owner is not None:
            raise ValueError(
                "optimizer belongs to another model; expected one of this model's own "
                "(optimizer.copy() carries its state over to a model of the same layout)"
            )
        dtype = next(iter(binding.moments.values())).dtype
        if binding.layout != model._layout or dtype != model._dtype:
            raise ValueError(
                f"optimizer holds moments of {dtype} for {_shapes(binding.layout)}; "
                f"expected {model._dtype} for {_shapes(model._layout)}"
            )
        return binding._replace(owner=model._token)

    def step(
        self,
        model: Recurrent,
        grads: Gradients | Mapping[str, ArrayLike] | ArrayLike,
        check_finite: bool = True,
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
        if not isinstance(model, Recurrent):
            raise TypeError(f"model is of type {type(model).__name__}; expected a fastbptt model")
        finite = _check.flag("check_finite", check_finite)
        with self._lock:
            binding = self._binding_for(model)
            flat = _gathered(grads, model, binding)
            model._engine.adam_step(binding.state, flat, finite)
            self._binding = binding

    @property
    def step_count(self) -> int:
        """Updates made so far."""
        binding = self._binding
        return 0 if binding is None else binding.state.step

    def _moment(self, name: str) -> NamedViews:
        binding = self._binding
        if binding is None:
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
            core = self._core_state(moments)
            core.step = bound["step"]
            self._binding = Binding(None, bound["layout"], moments, core)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)
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

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.Adam(lr=0.01)
    Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-08, epsilon_hat=False)  # step 0
    """

    _settings = ("lr", "betas", "eps", "epsilon_hat")
    _moments = ("m", "v")

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        epsilon_hat: bool = False,
    ) -> None:
        super().__init__()
        self._lr = _learning_rate(lr)
        self._betas = _decays(betas)
        self._eps = _check.number("eps", eps, "a finite number above 0")
        if not 0.0 < self._eps < np.inf:
            raise ValueError(f"eps is {self._eps}; expected a finite number above 0")
        self._epsilon_hat = _check.flag("epsilon_hat", epsilon_hat)

    def _core_state(self, moments: dict[str, Floats]) -> _core.AdamState:
        self._fit_into(moments["m"].dtype)
        state = _core.AdamState(moments["m"], moments["v"])
        state.lr = self._lr
        state.beta1, state.beta2 = self._betas
        state.eps = self._eps
        state.epsilon_hat = self._epsilon_hat
        return state

    def _fit_into(self, dtype: np.dtype[Any]) -> None:
        """Refuse settings that the model's arithmetic would round to 0 or 1."""
        limits = np.finfo(dtype)
        if self._eps < limits.tiny:
            raise ValueError(
                f"eps is {self._eps}; expected at least {limits.tiny:.3g} for a model of {dtype}"
            )
        for i, beta in enumerate(self._betas):
            if beta > 1.0 - limits.epsneg:
                raise ValueError(
                    f"betas[{i}] is {beta!r}; expected at most 1 - {limits.epsneg:.3g} "
                    f"for a model of {dtype}"
                )

    @property
    def lr(self) -> float:
        """Step size; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        rate = _learning_rate(value)
        with self._lock:
            self._lr = rate
            if self._binding is not None:
                self._binding.state.lr = rate

    @property
    def betas(self) -> tuple[float, float]:
        """Decay of the two running means."""
        return self._betas

    @property
    def eps(self) -> float:
        """What keeps the quotient finite."""
        return self._eps

    @property
    def epsilon_hat(self) -> bool:
        """Whether epsilon is added in the second form."""
        return self._epsilon_hat

    @property
    def m(self) -> NamedViews:
        """Running mean of the gradients by parameter name, read-only; empty before step 1."""
        return self._moment("m")

    @property
    def v(self) -> NamedViews:
        """Running mean of their squares by parameter name, read-only; empty before step 1."""
        return self._moment("v")


#: Optimisers by the name that configurations and command lines know them by.
OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {"adam": Adam}


def _learning_rate(value: Any) -> float:
    expected = "a finite number of at least 0"
    rate = _check.number("lr", value, expected)
    if not 0.0 <= rate < np.inf:
        raise ValueError(f"lr is {rate}; expected {expected}")
    return rate


def _decays(value: Any) -> tuple[float, float]:
    expected = "two numbers of at least 0 and below 1"
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"betas is {value!r}; expected {expected}")
    first, second = (_check.number(f"betas[{i}]", one, expected) for i, one in enumerate(value))
    for i, one in enumerate((first, second)):
        if not 0.0 <= one < 1.0:
            raise ValueError(f"betas[{i}] is {one}; expected {expected}")
    return first, second


def _shapes(layout: Layout) -> str:
    return ", ".join(f"{name} {shape}" for name, (_, _, shape) in layout.items())


def _gathered(grads: Any, model: Recurrent, binding: Binding) -> Floats:
    """All gradients as one array of the model's dtype that shares no memory with its state."""
    count, dtype = model._flat.size, model._dtype
    taken = [model._flat, *binding.moments.values()]
    if isinstance(grads, Gradients) and grads._layout == model._layout:
        grads = grads._flat
    if isinstance(grads, Mapping):
        _check.same_names("grads", grads, tuple(model._layout))
        flat = _check.aligned_empty(count, dtype)
        for name, (start, stop, shape) in model._layout.items():
            label = f"grads[{name!r}]"
            given = _check.read(label, grads[name])
            _apart(label, given, taken)
            part = _check.exact(label, given, shape, f"the shape of {name}", dtype)
            with np.errstate(over="ignore"):  # an overflow becomes inf, which the core reports
                flat[start:stop] = part.ravel()
        return flat
    given = _check.read("grads", grads)
    _apart("grads", given, taken)
    flat = _check.exact("grads", given, (count,), "all parameters in one array", dtype)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(flat, dtype)


def _apart(name: str, array: NDArray[Any], taken: list[Floats]) -> None:
    if any(np.may_share_memory(array, one) for one in taken):
        raise ValueError(
            f"{name} shares memory with the model's parameters or the optimiser's moments; "
            "expected gradients of their own"
        )
