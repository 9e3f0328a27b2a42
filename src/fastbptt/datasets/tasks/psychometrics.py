"""Psychometric curves: how often a choice is taken, by the strength of the evidence for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _check
from ..._errors import ArgumentError, ArgumentTypeError

__all__ = ["Psychometric", "psychometric"]

_ITERATIONS: Final = 100
_PRECISION: Final = 1e-10  # of the last step of the fit, in the logits


@dataclass(frozen=True, eq=False)
class Psychometric:
    """A psychometric curve: fractions of a choice, and a logistic function fitted to them.

    Attributes
    ----------
    levels : ndarray of shape (k,)
        The strengths of the stimulus, ascending.
    fractions : ndarray of shape (k,)
        The fraction of the trials of each level in which the choice was taken.
    counts : ndarray of shape (k,)
        The number of trials of each level, int64.
    bias : float or None
        The level at which both choices are equally likely; None without a fit.
    width : float or None
        The scale of the curve, in units of the levels: the probability of the choice is
        ``1 / (1 + exp((bias - level) / width))``, 0.73 at one width from the bias. Below 0 where
        the choice becomes rarer as the level grows; 0 (or -0) for a step, where it is never taken
        on one side of the bias and always on the other. None without a fit.
    """

    levels: NDArray[np.float64]
    fractions: NDArray[np.float64]
    counts: NDArray[np.int64]
    bias: float | None
    width: float | None

    @property
    def threshold(self) -> float | None:
        """The distance from the bias at which 75 % of the choices are right; None without a fit."""
        return None if self.width is None else abs(self.width) * math.log(3.0)

    def __call__(self, levels: ArrayLike) -> NDArray[np.float64]:
        """Compute the fitted probability of the choice.

        Parameters
        ----------
        levels : array of any shape
            Strengths of the stimulus.

        Returns
        -------
        ndarray of float64
            In the same shape.

        Raises
        ------
        ValueError, TypeError
            If there is no fit, or `levels` are not numbers.

        Examples
        --------
        >>> from fastbptt.datasets import tasks
        >>> curve = tasks.psychometric([-1, -1, 1, 1], [False, True, True, False])
        >>> curve([0.0, 5.0])
        array([0.5, 0.5])
        """
        if self.bias is None or self.width is None:
            raise ValueError("there is no fit; expected psychometric(.., fit=True)")
        x = _check.read("levels", levels).astype(np.float64) - self.bias
        if self.width == 0:
            rises = not math.copysign(1.0, self.width) < 0
            return np.where(x == 0, 0.5, (x > 0) == rises).astype(np.float64)
        found: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(0.5 * x / self.width)
        return found


def psychometric(levels: ArrayLike, chosen: ArrayLike, *, fit: bool = True) -> Psychometric:
    """Count how often a choice is taken at each level of a stimulus, and fit a logistic function.

    Parameters
    ----------
    levels : array of shape (n,)
        The strength of the stimulus in each trial, such as the coherence with its sign.
    chosen : bool array of shape (n,)
        Whether the choice was taken. Leave out trials in which none was.
    fit : bool, default True
        Whether to fit, or to count only.

    Returns
    -------
    Psychometric
        Levels, fractions, counts; bias and width of the logistic function of maximum likelihood.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected; if there is nothing to fit: one level
        alone, or one choice alone.

    Notes
    -----
    Where the choice is never taken below some level and always above it, the likelihood grows
    without bound as the curve gets steeper. Then the width is 0, and the bias lies midway between
    the levels on both sides, or is the one level with both choices, if there is one.

    References
    ----------
    F. A. Wichmann, N. J. Hill. The psychometric function: I. Fitting, sampling, and goodness of
    fit. Perception and Psychophysics 63(8), 1293-1313, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.datasets import tasks
    >>> rng = np.random.default_rng(0)
    >>> coherence = rng.choice([-0.5, -0.25, -0.125, 0.125, 0.25, 0.5], 4000)
    >>> right = rng.random(4000) < 1 / (1 + np.exp(-(coherence - 0.1) / 0.2))
    >>> curve = tasks.psychometric(coherence, right)
    >>> round(curve.bias, 1), round(curve.width, 1)
    (0.1, 0.2)
    """
    x = _check.read("levels", levels)
    if x.ndim != 1 or not len(x):
        raise ArgumentError("levels", f"has shape {x.shape}", "(n,), a number for each trial")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        place = int(np.argmin(np.isfinite(x)))
        raise ArgumentError("levels", f"holds {x[place]}", "finite numbers", index=(place,))
    taken = np.asarray(chosen)
    if taken.dtype != np.bool_:
        raise ArgumentTypeError(
            "chosen", f"has dtype {taken.dtype}", "booleans, such as choices == 1"
        )
    if taken.shape != x.shape:
        raise ArgumentError("chosen", f"has shape {taken.shape}", f"{x.shape}, as levels has")
    _check.flag("fit", fit)
    found, which = np.unique(x, return_inverse=True)
    counts = np.bincount(which, minlength=len(found))
    sums = np.bincount(which, taken, minlength=len(found))
    bias = width = None
    if fit:
        if len(found) == 1:
            raise ArgumentError(
                "levels", f"holds {found[0]:g} alone", "at least two levels, or fit=False"
            )
        if sums.sum() in (0, len(x)):
            raise ArgumentError(
                "chosen", f"is {bool(taken[0])} in all trials", "both for a fit, or fit=False"
            )
        bias, width = _fit(found, sums, counts)
    return Psychometric(found, sums / counts, counts.astype(np.int64), bias, width)


def _fit(x: Any, sums: Any, counts: Any) -> tuple[float, float]:
    """Return bias and width of the logistic function of maximum likelihood."""
    for sign in (1, -1):
        step = _step(x[::sign], sums[::sign], counts[::sign])
        if step is not None:
            return step, 0.0 * sign
    middle, scale = float((x * counts).sum() / counts.sum()), float(np.ptp(x))
    z = (x - middle) / scale
    design = np.stack([np.ones_like(z), z], axis=1)
    b = np.zeros(2)
    value = _likelihood(design @ b, sums, counts)
    for _ in range(_ITERATIONS):  # Newton's method; the likelihood is concave
        p = 0.5 + 0.5 * np.tanh(0.5 * (design @ b))
        slope = design.T @ (sums - counts * p)
        change = np.linalg.solve((design.T * (counts * p * (1 - p))) @ design, slope)
        size = 1.0
        while _likelihood(design @ (b + size * change), sums, counts) < value and size > 1e-6:
            size /= 2
        b = b + size * change
        value = _likelihood(design @ b, sums, counts)
        if np.abs(change).max() < _PRECISION:
            break
    if b[1] == 0:
        return middle, math.inf
    return middle - scale * float(b[0] / b[1]), scale / float(b[1])


def _likelihood(z: Any, sums: Any, counts: Any) -> float:
    """The logarithm of the likelihood, up to a constant."""
    return float((sums * z - counts * np.logaddexp(0, z)).sum())


def _step(x: Any, sums: Any, counts: Any) -> float | None:
    """Return where never becomes always, from the first level to the last, if it does."""
    never, always = sums == 0, sums == counts
    first = int(np.argmin(never))  # the first level with the choice
    last = len(x) - 1 - int(np.argmin(always[::-1]))  # the last level without it
    if first > last:
        return float(x[first] + x[last]) / 2
    return float(x[first]) if first == last else None
