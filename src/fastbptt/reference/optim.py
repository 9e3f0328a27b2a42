"""Adam and clipping by the global norm, on dicts of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class AdamState(TypedDict):
    """Number of steps taken, and the two moments under the names of the parameters.

    Examples
    --------
    >>> AdamState(step=0, m={}, v={})
    {'step': 0, 'm': {}, 'v': {}}
    """

    step: int
    m: dict[str, Array]
    v: dict[str, Array]


def adam_init(params: Mapping[str, Array]) -> AdamState:
    """State of Adam before its first step: zero moments shaped and typed like the parameters.

    Parameters
    ----------
    params : mapping of str to array

    Returns
    -------
    AdamState

    Examples
    --------
    >>> import numpy as np
    >>> adam_init({"b_h": np.ones(2)})
    {'step': 0, 'm': {'b_h': array([0., 0.])}, 'v': {'b_h': array([0., 0.])}}
    """
    m, v = ({name: np.zeros_like(p) for name, p in params.items()} for _ in range(2))
    return {"step": 0, "m": m, "v": v}


def adam_step(
    params: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: AdamState,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    epsilon_hat: bool = False,
) -> None:
    """One step of Adam; ``params`` and ``state`` change in place.

    Parameters
    ----------
    params : mapping of str to array
        Parameters, writable.
    grads : mapping of str to array
        Their gradients; other keys are ignored.
    state : AdamState
        From `adam_init`.
    lr : float
        Step size.
    betas : tuple of two floats
        Decay of the first and of the second moment per step.
    eps : float
        Added to the root of the second moment.
    epsilon_hat : bool
        False: ``eps`` is added after the bias correction, as in PyTorch and optax,
        ``p -= lr * mhat / (sqrt(vhat) + eps)``. True: before it, as in Keras and scikit-learn,
        ``p -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + eps)``.

    Notes
    -----
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015: algorithm 1,
    and the form with epsilon hat at the end of its section 2.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"b_h": np.ones(1)}
    >>> adam_step(params, {"b_h": np.array([5.0])}, adam_init(params), lr=0.01)
    >>> params["b_h"].round(6).tolist()
    [0.99]
    """
    beta1, beta2 = betas
    state["step"] += 1
    correction1, correction2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
    for name, p in params.items():
        g, m, v = grads[name], state["m"][name], state["v"][name]
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g**2
        if epsilon_hat:
            p -= lr * correction2**0.5 / correction1 * m / (np.sqrt(v) + eps)
        else:
            p -= lr * (m / correction1) / (np.sqrt(v / correction2) + eps)


def global_norm(params: Iterable[str], grads: Mapping[str, Array]) -> float:
    """Square root of the sum of squares over the gradients of all parameters.

    Parameters
    ----------
    params : mapping with the names of the parameters as its keys, or just these names
    grads : mapping of str to array
        Gradients; other keys, like ``x``, do not count.

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
    norm: float = np.sqrt(sum(squares[1:], squares[0])).item()
    return norm


def clip_by_global_norm(
    params: Iterable[str], grads: Mapping[str, Array], clip_norm: float
) -> dict[str, Array]:
    """Scale the gradients of all parameters by ``clip_norm / norm`` if their global norm is larger.

    Parameters
    ----------
    params, grads : as in `global_norm`
        Gradients of what is no parameter are passed on as they are.
    clip_norm : float
        Largest norm that is left alone.

    Returns
    -------
    dict of str to array
        New arrays where scaled.

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
