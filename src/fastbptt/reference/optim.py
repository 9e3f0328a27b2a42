"""Optimisers and clipping, on dicts of arrays.

An update rule is a function of parameters, gradients, state and settings; `OPTIMIZERS` lists the
rules. Callers leave frozen parameters out of the parameters that they pass. To add a rule, write a
function and add it to `OPTIMIZERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Moments:
    """Number of steps taken, and moments by their name and the name of the parameter.

    Examples
    --------
    >>> state = Moments()
    >>> state.step, state.moments
    (0, {})
    """

    def __init__(self) -> None:
        self.step = 0
        self.moments: dict[str, dict[str, Array]] = {}

    def moment(self, name: str, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays of a moment, like the parameters in shape and dtype, initially zero."""
        arrays = self.moments.setdefault(name, {})
        for key, p in params.items():
            arrays.setdefault(key, np.zeros_like(p))
        return arrays


def adam_step(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: Moments,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    epsilon_hat: bool = False,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
    groups: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Take one step of Adam, updating ``params`` and ``state`` in place.

    Parameters
    ----------
    params : mapping of str to array
        Parameters, writable.
    grads : mapping of str to array
        Their gradients; other keys are ignored.
    state : Moments
        Create a new one before the first step.
    lr : float
        Step size.
    betas : tuple of two floats
        Decay rates of the first and second moments.
    eps : float
        Added to the denominator for numerical stability.
    epsilon_hat : bool
        False: ``eps`` is added after the bias correction, as in PyTorch and optax,
        ``p -= lr * mhat / (sqrt(vhat) + eps)``. True: before it, as in Keras and scikit-learn,
        ``p -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + eps)``.
    amsgrad : bool
        If true, use the largest second moment so far in place of the current one.
    weight_decay : float
        L2 penalty: this multiple of the parameter is added to its gradient.
    groups : sequence of mappings
        Parameters with settings of their own: ``params``, names in which ``*`` stands for any
        characters; ``lr_factor``, by which `lr` is multiplied; ``weight_decay``. One of the two
        settings may be absent.

    Notes
    -----
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015: algorithm 1,
    and the form with epsilon hat at the end of its section 2. S. J. Reddi, S. Kale and S. Kumar,
    "On the convergence of Adam and beyond", ICLR 2018, with Adam's bias corrections.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"b_h": np.ones(1)}
    >>> adam_step(params, {"b_h": np.array([5.0])}, Moments(), lr=0.01)
    >>> params["b_h"].round(6).tolist()
    [0.99]
    """
    beta1, beta2 = betas
    state.step += 1
    correction1, correction2 = 1 - beta1**state.step, 1 - beta2**state.step
    first, second = state.moment("m", params), state.moment("v", params)
    for name, p in params.items():
        rate, decay = _of_group(name, lr, weight_decay, groups)
        g, m, v = grads[name] + decay * p, first[name], second[name]
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g**2
        if amsgrad:
            largest = state.moment("v_max", params)[name]
            largest[...] = np.maximum(largest, v)
            v = largest
        if epsilon_hat:
            p -= rate * correction2**0.5 / correction1 * m / (np.sqrt(v) + eps)
        else:
            p -= rate * (m / correction1) / (np.sqrt(v / correction2) + eps)


def adamw_step(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: Moments,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    epsilon_hat: bool = False,
    amsgrad: bool = False,
    weight_decay: float = 0.01,
    groups: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Take one step of AdamW: Adam, preceded by the weight decay ``p -= lr * weight_decay * p``.

    Parameters
    ----------
    params, grads, state, lr, betas, eps, epsilon_hat, amsgrad : as in `adam_step`
    weight_decay : float
        Decoupled weight decay.
    groups : sequence of mappings
        As in `adam_step`.

    Notes
    -----
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2,
    with ``lr`` in both terms.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"b_h": np.ones(1)}
    >>> adamw_step(params, {"b_h": np.zeros(1)}, Moments(), lr=0.1, weight_decay=0.1)
    >>> params["b_h"].round(6).tolist()
    [0.99]
    """
    for name, p in params.items():
        rate, decay = _of_group(name, lr, weight_decay, groups)
        p -= rate * decay * p
    rates = [{**group, "weight_decay": 0.0} for group in groups]
    adam_step(params, grads, state, lr, betas, eps, epsilon_hat, amsgrad, 0.0, rates)


def sgd_step(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: Moments,
    lr: float = 1e-2,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    groups: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Take one step of gradient descent: ``u = momentum * u + g``, then ``p -= lr * u``.

    Parameters
    ----------
    params, grads, state : as in `adam_step`
    lr : float
        Step size.
    momentum : float
        Decay rate of the velocity u.
    nesterov : bool
        Nesterov momentum: ``p -= lr * (g + momentum * u)``.
    weight_decay : float
        L2 penalty: this multiple of the parameter is added to its gradient.
    groups : sequence of mappings
        As in `adam_step`.

    Notes
    -----
    I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and
    momentum in deep learning", ICML 2013, with ``lr`` taken out of the velocity.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"b_h": np.ones(1)}
    >>> sgd_step(params, {"b_h": np.array([5.0])}, Moments(), lr=0.01)
    >>> params["b_h"].round(6).tolist()
    [0.95]
    """
    state.step += 1
    for name, p in params.items():
        rate, decay = _of_group(name, lr, weight_decay, groups)
        g = grads[name] + decay * p
        if momentum:
            u = state.moment("velocity", params)[name]
            u[...] = momentum * u + g
            g = g + momentum * u if nesterov else u
        p -= rate * g


def rmsprop_step(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: Moments,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    groups: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Take one step of RMSprop: ``p -= lr * g / (sqrt(v) + eps)``, v the running mean of ``g**2``.

    Parameters
    ----------
    params, grads, state : as in `adam_step`
    lr : float
        Step size.
    alpha : float
        Decay rate of the running means.
    eps : float
        Added to the denominator for numerical stability.
    momentum : float
        Decay rate of the velocity, the accumulated update that is subtracted from p.
    centered : bool
        If true, use the variance ``v - m**2`` in place of v, with m the running mean of g.
    weight_decay : float
        L2 penalty: this multiple of the parameter is added to its gradient.
    groups : sequence of mappings
        As in `adam_step`.

    Notes
    -----
    T. Tieleman and G. Hinton, "Neural networks for machine learning", lecture 6e, 2012. A. Graves,
    "Generating sequences with recurrent neural networks", 2013, equations 38 to 45.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"b_h": np.ones(1)}
    >>> rmsprop_step(params, {"b_h": np.array([5.0])}, Moments(), lr=0.01)
    >>> params["b_h"].round(6).tolist()
    [0.9]
    """
    state.step += 1
    for name, p in params.items():
        rate, decay = _of_group(name, lr, weight_decay, groups)
        g, v = grads[name] + decay * p, state.moment("v", params)[name]
        v[...] = alpha * v + (1 - alpha) * g**2
        variance = v
        if centered:
            m = state.moment("m", params)[name]
            m[...] = alpha * m + (1 - alpha) * g
            variance = np.maximum(v - m**2, 0)  # rounding can make it negative
        g = g / (np.sqrt(variance) + eps)
        if momentum:
            u = state.moment("velocity", params)[name]
            u[...] = momentum * u + g
            g = u
        p -= rate * g


def _of_group(
    name: str, lr: float, weight_decay: float, groups: Sequence[Mapping[str, Any]]
) -> tuple[float, float]:
    """Return the step size and the weight decay of one parameter."""
    for group in groups:
        if any(fnmatchcase(name, pattern) for pattern in group["params"]):
            return lr * group.get("lr_factor", 1.0), group.get("weight_decay", weight_decay)
    return lr, weight_decay


#: Names and settings as in `fastbptt.optim.OPTIMIZERS`.
OPTIMIZERS: Final[dict[str, Callable[..., None]]] = {
    "adam": adam_step,
    "adamw": adamw_step,
    "sgd": sgd_step,
    "rmsprop": rmsprop_step,
}


def global_norm(params: Iterable[str], grads: Mapping[str, Array]) -> float:
    """Return the root of the sum of squares over the gradients of all parameters.

    Parameters
    ----------
    params : iterable of str
        Names of the parameters, or a mapping with these keys.
    grads : mapping of str to array
        Gradients; other keys, such as ``x``, are ignored.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> grads = {"W_xh": np.full((1, 1), 3.0), "b_h": np.array([4.0]), "x": np.ones((9, 9, 9))}
    >>> global_norm(["W_xh", "b_h"], grads)
    5.0
    """
    squares = [(grads[name] ** 2).sum() for name in params]
    if not squares:  # all are frozen
        return 0.0
    norm: float = np.sqrt(sum(squares[1:], squares[0])).item()
    return norm


def clip_by_global_norm(
    params: Iterable[str], grads: Mapping[str, Array], clip_norm: float
) -> dict[str, Array]:
    """Clip the gradients by their global norm: scale all by ``clip_norm / norm`` if it is larger.

    Parameters
    ----------
    params, grads : as in `global_norm`
        Other gradients are returned unchanged.
    clip_norm : float
        Maximum gradient norm.

    Returns
    -------
    dict of str to array
        Scaled gradients are new arrays.

    Notes
    -----
    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> clip_by_global_norm(["b_h"], {"b_h": np.array([3.0, 4.0])}, 1.0)["b_h"].round(4).tolist()
    [0.6, 0.8]
    """
    names = tuple(params)
    norm = global_norm(names, grads)
    scale = clip_norm / norm if norm > clip_norm else 1.0
    return {name: g * scale if name in names else g for name, g in grads.items()}


def clip_by_value(
    params: Iterable[str], grads: Mapping[str, Array], clip_value: float
) -> dict[str, Array]:
    """Clip each element of the gradients to the range from -clip_value to clip_value.

    Parameters
    ----------
    params, grads : as in `global_norm`
        Other gradients are returned unchanged.
    clip_value : float
        Maximum magnitude.

    Returns
    -------
    dict of str to array

    Examples
    --------
    >>> import numpy as np
    >>> clip_by_value(["b_h"], {"b_h": np.array([3.0, -0.4])}, 0.5)["b_h"].tolist()
    [0.5, -0.4]
    """
    names = tuple(params)
    return {
        name: np.clip(g, -clip_value, clip_value) if name in names else g
        for name, g in grads.items()
    }
