"""`fixed_points`: the states at which a network would stay under a constant input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from ..models.results import unpacked
from ..training.evaluation import check_model
from . import _step
from ._record import Array

if TYPE_CHECKING:
    from .._views import State
    from ..models.recurrent import Recurrent, StateLike

#: What a point can be.
KINDS: Final = ("stable", "unstable", "marginal", "slow")
#: How far from 1 the modulus of an eigenvalue must be to count as smaller or larger.
MARGIN = 1e-6
#: Damping in the search: how often it is raised within a step, and the factors of both ways.
RAISES, RAISE, LOWER = 16, 6.0, 0.2
#: A search ends after so many steps that lower the speed by less than this fraction: it has found
#: a minimum that is not 0.
IDLE, GAIN = 5, 1e-4


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """The result of `fixed_points`: k points, found from n starts; ``print`` it for a table.

    Attributes
    ----------
    points : ndarray (k, N), float64
        States s with F(s) = s, where F is one step of the model under the constant input. The N
        numbers of a state are in the order of `step_jacobian`. Those that most starts reached are
        first; slow points, if wanted, come after all fixed points.
    speeds : ndarray (k,)
        ``|F(s) - s|^2 / 2``, the speed of Sussillo and Barak.
    slow : bool ndarray (k,)
        Whether it is a slow point: its speed is above `tol`, but at most the one asked for.
    eigenvalues : complex ndarray (k, N)
        Of the step's Jacobian at each point, by falling modulus.
    stable : bool ndarray (k,)
        All eigenvalues have a modulus below 1, by more than 1e-6: nearby states come closer.
    unstable : bool ndarray (k,)
        Some eigenvalue has a modulus above 1, by more than 1e-6. A point may be neither: on a line
        attractor, say, one eigenvalue is 1, and the linearisation does not decide.
    counts : integer ndarray (k,)
        How many starts ended in each point.
    reached : integer ndarray (n,)
        The point in which each start ended; -1: in none.
    ends : ndarray (n, N)
        The state in which the search from each start ended.
    end_speeds : ndarray (n,)
        Its speed, also where that was too large for a point.
    x : ndarray (input_size,)
        The constant input.
    shape : tuple of int
        (layers, states of the cell, units): the shape of a state before it was made flat.
    """

    points: Array
    speeds: Array
    slow: NDArray[np.bool_]
    eigenvalues: NDArray[np.complex128]
    stable: NDArray[np.bool_]
    unstable: NDArray[np.bool_]
    counts: NDArray[np.int64]
    reached: NDArray[np.int64]
    ends: Array
    end_speeds: Array
    x: Array
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.points)

    def state(self) -> State:
        """Return the points as a state of the model, for `h0`, `Recurrent.step` and the like.

        Returns
        -------
        ndarray of shape (layers, k, hidden_size), or tuple of two, float64
        """
        parts = np.moveaxis(self.points.reshape(-1, *self.shape), (2, 0), (0, 2))
        return unpacked(tuple(np.ascontiguousarray(part) for part in parts))

    def kinds(self) -> list[str]:
        """Return for each point ``"stable"``, ``"unstable"``, ``"marginal"`` or ``"slow"``.

        Marginal is a fixed point that is neither stable nor unstable.
        """
        return [
            KINDS[3 if slow else 0 if stable else 1 if unstable else 2]
            for slow, stable, unstable in zip(self.slow, self.stable, self.unstable, strict=True)
        ]

    def __repr__(self) -> str:
        kinds = self.kinds()
        each = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
        ended = int((self.reached >= 0).sum())
        points = "1 point" if len(kinds) == 1 else f"{len(kinds)} points"
        return (
            f"FixedPoints({points}{f': {each}' if each else ''}; "
            f"{ended} of {len(self.reached)} starts ended in one)"
        )

    def __str__(self) -> str:
        lines = [repr(self)]
        if len(self):
            lines += ["", "point  starts    speed  largest |eigenvalue|  kind"]
        for i, kind in enumerate(self.kinds()):
            radius = float(np.abs(self.eigenvalues[i, 0]))
            lines.append(
                f"{i:5d}  {self.counts[i]:6d}  {self.speeds[i]:7.1e}  {radius:20.6f}  {kind}"
            )
        rest = self.end_speeds[self.reached < 0]
        if len(rest):
            speeds = f"{rest.min():.1e} to {rest.max():.1e}" if len(rest) > 1 else f"{rest[0]:.1e}"
            lines += ["", f"The speeds that the other starts reached: {speeds}."]
        return "\n".join(lines)


def fixed_points(
    model: Recurrent,
    x: ArrayLike,
    starts: StateLike | int,
    *,
    data: ArrayLike | Sequence[ArrayLike] | None = None,
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    noise: float = 0.0,
    seed: int | np.random.Generator | None = None,
    tol: float = 1e-20,
    slow: float | None = None,
    merge: float = 1e-4,
    iterations: int = 200,
) -> FixedPoints:
    """Find the fixed points of a network under a constant input, with their stability.

    From many starts at once, the speed ``q(s) = |F(s) - s|^2 / 2`` is minimised, where F is one
    step of the network. Where it reaches 0 is a fixed point, whether states nearby move to it or
    away.

    Parameters
    ----------
    model : Recurrent
        Of any cell and any number of layers, in one direction. Not changed; dropout is off.
    x : array of shape (input_size,)
        The constant input. If the model has an embedding: a token, or a vector of a float dtype in
        place of its row.
    starts : array of shape (layers, n, hidden_size), tuple of two, or int
        n states to start from, in the format of `Recurrent.initial_state`; or n: so many of the
        states that the model visits when it reads `data`. Of a cell with bounded h, the search
        stays between -1 and 1 in h, and begins there: no step leads further out.
    data, lengths, static : optional
        Sequences as for `Recurrent.forward`; with a number of starts, and only then.
    noise : float, default 0
        Standard deviation of normal noise that is added to the starts. Visited states lie near
        stable points; with noise, starts lie around them, too, and reach more unstable ones.
    seed : int or numpy.random.Generator, optional
        For the choice among the visited states, and for the noise. Default: 0.
    tol : float, default 1e-20
        The largest speed of a fixed point: at 1e-20 a step moves it by no more than 1.5e-10.
        Searches go on below it as far as float64 allows.
    slow : float, optional
        Also return the points in which searches ended with a speed above `tol` up to this one.
        Near such a point a state stays for long, though not for ever.
    merge : float, default 1e-4
        Ends that differ by no more in any number are one point, the slowest of them.
    iterations : int, default 200
        Steps of a search at most. It ends before where the speed no longer falls.

    Returns
    -------
    FixedPoints
        Without any point if no start reached one; `FixedPoints.end_speeds` shows how close they
        came.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected; or if the model reads in both
        directions: then no state follows from the one before it.

    Notes
    -----
    D. Sussillo and O. Barak, "Opening the black box: low-dimensional dynamics in high-dimensional
    recurrent neural networks", Neural Computation 25 (2013). Each step solves the normal equations
    of Gauss and Newton with the exact Jacobian and a damping in proportion to ``|F(s) - s|``, after
    K. Levenberg (1944) and N. Yamashita and M. Fukushima, "On the rate of convergence of the
    Levenberg-Marquardt method", Computing Supplement 15 (2001), who show that it also converges
    fast to points that are not isolated: lines and rings. Everything is computed in float64.

    A search finds points near its start. That no start reaches a further point is no proof that
    there is none.

    Examples
    --------
    A unit that excites itself, h = tanh(2 h), remembers a sign:

    >>> import numpy as np
    >>> import fastbptt
    >>> from fastbptt.diagnostics import fixed_points
    >>> model = fastbptt.RNN(1, 1, seed=0, dtype="float64")
    >>> for name, value in {"W_xh": 1.0, "W_hh": 2.0, "b_h": 0.0}.items():
    ...     model.parameters[name][...] = value
    >>> found = fixed_points(model, [0.0], np.array([[[-1.0], [0.1], [0.9], [1.0]]]))
    >>> print(found)
    FixedPoints(3 points: 2 stable, 1 unstable; 4 of 4 starts ended in one)
    <BLANKLINE>
    point  starts    speed  largest |eigenvalue|  kind
        0       2  ...              0.166...  stable
        1       1  ...              0.166...  stable
        2       1  ...              2.000000  unstable
    >>> found.reached
    array([1, 2, 0, 0])

    Under a strong input one of them is left. Where the two others met and vanished, the network is
    still slow, and the search from 0.1 stops there:

    >>> print(fixed_points(model, [0.6], np.array([[[0.1], [1.0]]])))
    FixedPoints(1 point: 1 stable; 1 of 2 starts ended in one)
    <BLANKLINE>
    point  starts    speed  largest |eigenvalue|  kind
        0       1  ...              0.045...  stable
    <BLANKLINE>
    The speeds that the other starts reached: 5.6e-04.
    >>> fixed_points(model, [0.6], np.array([[[0.1], [1.0]]]), slow=0.01).kinds()
    ['stable', 'slow']
    """
    check_model(model)
    step = _step.OneStep(model, "fixed_points")
    limits = _limits(tol, slow, merge, noise)
    most = _check.size("iterations", iterations)
    read = _step.inputs(model, step.values, x, None)
    s = _starts(model, starts, data, lengths, static, limits["noise"], seed)
    ends, speeds = np.empty_like(s), np.empty(len(s))
    for first in range(0, len(s), step.at_a_time):
        part = slice(first, first + step.at_a_time)
        with np.errstate(over="ignore", invalid="ignore"):  # unbounded states may run away
            ends[part], speeds[part] = _search(step, read, s[part], most)
    limit = limits["tol"] if slow is None else limits["slow"]
    return _collected(step, read, ends, speeds, limits["tol"], limit, limits["merge"])


# ---------------------------------------------------------------- arguments


def _limits(tol: Any, slow: Any, merge: Any, noise: Any) -> dict[str, float]:
    """Read the numbers that bound something."""
    found: dict[str, float] = {}
    for name, value in (("tol", tol), ("merge", merge), ("noise", noise), ("slow", slow)):
        zero = name in ("merge", "noise")
        expected = f"a finite number {'of at least' if zero else 'above'} 0"
        if name == "slow":
            expected = f"a finite number above tol={tol!r}, or None"
            if value is None:
                continue
        number = _check.number(name, value, expected)
        low = found["tol"] if name == "slow" else 0.0
        if not np.isfinite(number) or number < low or (number == low and not zero):
            raise ArgumentError(name, f"is {number}", expected, value=number)
        found[name] = number
    return found


def _starts(
    model: Recurrent,
    starts: Any,
    data: Any,
    lengths: Any,
    static: Any,
    noise: float,
    seed: Any,
) -> Array:
    """Return the states to start from, (n, N)."""
    number = not isinstance(starts, tuple | list) and hasattr(starts, "__index__")
    number = number and np.ndim(starts) == 0
    if not number and not isinstance(starts, tuple | list) and np.ndim(starts) == 0:
        raise ArgumentTypeError(
            "starts",
            f"is {_check.shown(starts)}",
            "states, (layers, n, hidden_size), or a whole number of those that data visits",
        )
    if number != (data is not None):
        raise ArgumentError(
            "data",
            f"is {'given' if data is not None else 'None'}",
            "sequences for a number of starts" if number else "None because starts holds states",
        )
    for name, value in (("lengths", lengths), ("static", static)):
        if value is not None and data is None:
            raise ArgumentError(name, "is given", "None because there is no data")
    if seed is not None and not (number or noise):
        raise ArgumentError(
            "seed", "is given", "None because nothing is random: starts holds states and noise is 0"
        )
    rng = _check.generator(0 if seed is None else seed)
    if number:
        count = _check.size("starts", starts)
        every, own = _step.visited(model, "data", data, lengths, static)
        real = np.flatnonzero(np.arange(every.shape[1]) < own[:, np.newaxis])
        if count > len(real):
            raise ArgumentError(
                "starts",
                f"is {count}",
                f"at most {len(real)}, the steps of data",
                value=count,
            )
        s: Array = every.reshape(-1, every.shape[2])[
            np.sort(rng.choice(real, count, replace=False))
        ]
    else:
        s = _step.flat_state(model, "starts", starts)
    if noise:
        s = s + noise * rng.normal(size=s.shape)
    return s


# ---------------------------------------------------------------- the search


def _residual(step: _step.OneStep, x: Array, s: Array) -> tuple[Array, Array]:
    """F(s) - s, and the speeds."""
    r = step.after(s, np.broadcast_to(x, (len(s), x.shape[1]))) - s
    return r, 0.5 * np.square(r).sum(axis=1)


def _jacobians(step: _step.OneStep, x: Array, s: Array) -> Array:
    """Of the step at states (n, N): (n, N, N)."""
    return step.jacobians(s, np.broadcast_to(x, (len(s), x.shape[1])))


def _search(step: _step.OneStep, x: Array, s: Array, most: int) -> tuple[Array, Array]:
    """Minimise the speed from each start, (n, N); return the ends and their speeds."""
    s = step.within(s)  # a copy
    r, q = _residual(step, x, s)
    factor, eye = np.ones(len(s)), np.eye(step.width)
    active, idle = np.arange(len(s)), np.zeros(len(s), np.int64)
    for _ in range(most):
        rounding = 4.0 * np.finfo(np.float64).eps * np.maximum(np.abs(s[active]).max(axis=1), 1.0)
        active = active[q[active] > 0.5 * step.width * np.square(rounding)]
        if not len(active):
            break
        slope = _jacobians(step, x, s[active]) - eye
        normal = np.swapaxes(slope, 1, 2) @ slope
        gradient = np.einsum("bij,bi->bj", slope, r[active])
        # keeps the equations solvable where points are not isolated
        least = 1e-14 * np.trace(normal, axis1=1, axis2=2) / step.width
        before = q[active]
        left = np.arange(len(active))  # of the active ones, those that have not moved yet
        for _ in range(RAISES):
            on = active[left]
            damping = factor[on] * np.linalg.norm(r[on], axis=1) + least[left]
            matrix = normal[left] + damping[:, None, None] * eye
            change = np.linalg.solve(matrix, gradient[left][..., None])[..., 0]
            moved = step.within(s[on] - change)
            r_then, q_then = _residual(step, x, moved)
            better = q_then < q[on]
            now = on[better]
            s[now], r[now], q[now] = moved[better], r_then[better], q_then[better]
            factor[now] = np.maximum(LOWER * factor[now], 1e-12)
            factor[on[~better]] *= RAISE
            left = left[~better]
            if not len(left):
                break
        idle[active] = np.where(q[active] > (1.0 - GAIN) * before, idle[active] + 1, 0)
        active = np.delete(active, left)  # no direction leads further down
        active = active[idle[active] < IDLE]
    return s, q


def _collected(
    step: _step.OneStep,
    x: Array,
    ends: Array,
    speeds: Array,
    tol: float,
    limit: float,
    merge: float,
) -> FixedPoints:
    """Merge ends that are the same point; find the stability of each."""
    reached = np.full(len(ends), -1)
    first: list[int] = []  # the start that stands for each point
    for i in np.argsort(speeds, kind="stable"):
        if reached[i] < 0 and speeds[i] <= limit:
            same = (reached < 0) & (speeds <= limit) & (np.abs(ends - ends[i]).max(axis=1) <= merge)
            reached[same] = len(first)
            first.append(int(i))
    some = np.array(first, np.int64)
    counts = np.bincount(reached[reached >= 0], minlength=len(some))
    order = np.lexsort((some, -counts, speeds[some] > tol))
    rank = np.append(np.argsort(order), -1)  # the last for starts that ended in no point
    reached = rank[reached]
    some, counts = some[order], counts[order]
    points = ends[some]
    values = np.empty(points.shape, np.complex128)
    for start in range(0, len(points), step.at_a_time):
        part = slice(start, start + step.at_a_time)
        values[part] = np.linalg.eigvals(_jacobians(step, x, points[part]))
    by_size = np.argsort(-np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, by_size, axis=1)
    radius = np.abs(values[:, 0])
    return FixedPoints(
        points,
        speeds[some],
        speeds[some] > tol,
        values,
        radius < 1.0 - MARGIN,
        radius > 1.0 + MARGIN,
        counts,
        reached,
        ends,
        speeds,
        x[0].copy(),
        step.shape,
    )
