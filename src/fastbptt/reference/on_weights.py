"""Penalties on parameters, and the projection onto what their constraints allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def penalties(
    params: Mapping[str, Array],
    l1: Mapping[str, float] | None = None,
    l2: Mapping[str, float] | None = None,
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Compute ``l1 * sum(abs(W))`` and ``l2 * sum(W ** 2)`` of single parameters.

    Analytic in `params`: absolute values are those of real parts. The derivative of ``abs`` at 0
    is 0.

    Parameters
    ----------
    params : mapping of str to array
    l1, l2 : mapping of str to float, optional
        The strength, by parameter.

    Returns
    -------
    terms : dict of str to number
        By name, such as ``"l1.W_hh"``.
    grads : dict of str to array
        Of their sum, with an entry for each parameter that has a penalty.

    Examples
    --------
    >>> import numpy as np
    >>> terms, grads = penalties({"W": np.array([1.0, -2.0, 0.0])}, l1={"W": 0.5}, l2={"W": 0.1})
    >>> {name: float(value) for name, value in terms.items()}, grads["W"].tolist()
    ({'l1.W': 1.5, 'l2.W': 0.5}, [0.7, -0.9, 0.0])
    """
    terms: dict[str, Any] = {}
    grads: dict[str, Array] = {}
    for power, given in ((1, l1), (2, l2)):
        for name, strength in (given or {}).items():
            w = params[name]
            slope = np.sign(w.real) if power == 1 else 2.0 * w
            value = (w * slope if power == 1 else w * w).sum()
            terms[f"l{power}.{name}"] = strength * value
            grads[name] = grads.get(name, 0.0) + strength * slope
    return terms, grads


def project(
    params: dict[str, Array],
    masks: Mapping[str, Array] | None = None,
    signs: Mapping[str, Array] | None = None,
    max_norm: Mapping[str, float] | None = None,
) -> None:
    """Bring parameters to what is allowed, in place: the nearest such ones.

    Parameters
    ----------
    params : dict of str to array
    masks : mapping of str to array, optional
        0 where an entry is zero, else 1.
    signs : mapping of str to array, optional
        1 where an entry is at least 0, -1 where it is at most 0, 0 where it is either.
    max_norm : mapping of str to float, optional
        The largest Euclidean norm of a matrix's columns.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W": np.array([[3.0, 1.0], [4.0, -1.0]])}
    >>> project(params, signs={"W": np.ones((2, 2))}, max_norm={"W": 1.0})
    >>> params["W"].round(3).tolist()
    [[0.6, 1.0], [0.8, 0.0]]
    """
    for name, mask in (masks or {}).items():
        params[name][mask == 0] = 0.0
    for name, sign in (signs or {}).items():
        params[name][params[name] * sign < 0] = 0.0
    for name, most in (max_norm or {}).items():
        norms = np.sqrt((params[name] ** 2).sum(axis=0))
        params[name] *= np.where(norms > most, most / np.where(norms > 0, norms, 1.0), 1.0)
