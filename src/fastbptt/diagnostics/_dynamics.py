"""The linearised dynamics: how a small perturbation of a state grows or decays over time.

The state s_t of a layer is everything that the cell carries: h_t, for an LSTM (h_t, c_t), N
numbers. J_t = ds_t/ds_{t-1} is N x N, and ds_T/ds_t = J_T J_{T-1} ... J_{t+1}. Rows of that
product are multiplied by one step's Jacobian after the other. Numbers are kept relative to the
product's largest one; nothing underflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._numbers import spectral_radius
from ._record import Array, PassRecord
from ._step import CellStep, is_plain

#: The largest state whose singular values are computed.
SMALL = 64
#: Most Lyapunov exponents of a layer.
EXPONENTS = 8
#: Budget of operations for one layer's Jacobians, unless their number is given.
WORK = 1e10
#: Numbers cubed of the matrices that one call decomposes: Ctrl-C waits no longer than for that.
AT_A_TIME = 1 << 24


@dataclass(frozen=True)
class Dynamics:
    """Dynamics of n sequences; steps are those of the input, NaN after a sequence's end.

    Attributes
    ----------
    sequences : integer array (n,)
        Their indices.
    log_norms : array (n, T)
        Natural logarithm of the spectral norm of ds_T/ds_t; 0 at a sequence's last step.
    log_singular_values : array (n, T, k), or None
        Of ds_T/ds_t, the largest first.
    exponents : array (n, k)
        Lyapunov exponents per step, the largest first.
    last_radii : array (n,), or None
        Spectral radius of the Jacobian of each sequence's last step (in reverse: its first). None
        for a cell without gates or a leak, of which W_hh tells as much.
    """

    sequences: NDArray[np.int64]
    log_norms: Array
    log_singular_values: Array | None
    exponents: Array
    last_radii: Array | None


def choose(p: PassRecord, wanted: bool | int | None) -> NDArray[np.int64]:
    """Choose sequences, spread over the batch: all, so many, or as many as the budget allows."""
    batch, time = p.x.shape[:2]
    if wanted is None:
        width = p.initial.shape[0] * p.initial.shape[2]
        rows, columns = p.params["W_hh"].shape
        cost = time * width * 6.0 * columns * (rows + p.x.shape[2])
        count = min(batch, int(WORK / cost))
    elif wanted is True or wanted is False:
        count = batch if wanted else 0
    else:
        count = min(batch, wanted)
    return (
        np.unique(np.linspace(0, batch - 1, count).astype(np.int64)) if count else np.zeros(0, int)
    )


def pull(p: PassRecord, rows: NDArray[np.int64], steps: NDArray[np.int64], d: Array) -> Array:
    """Row vectors v at the states after some steps -> v J, at the states before them.

    rows, steps: (n,), sequences and their steps. d, and the result: (n, K, N), K vectors each.
    """
    cell = CellStep(p.net, p.params, p.setting)
    before, after = p.before[:, rows, steps], p.states[:, rows, steps]
    of_state, _ = cell.jacobians(p.x[rows, steps], before, after)
    result: Array = d @ of_state
    return result


def analyse(p: PassRecord, rows: NDArray[np.int64]) -> Dynamics:
    """Go back from each sequence's end with the product of Jacobians, and with a few directions.

    Lyapunov exponents: G. Benettin, L. Galgani, A. Giorgilli and J.-M. Strelcyn, "Lyapunov
    characteristic exponents for smooth dynamical systems", Meccanica 15 (1980): directions are
    orthogonalised after each step, and the logarithms of their growth are averaged. Here they go
    backward, by the transposed Jacobians, whose product has the same singular values.
    """
    states, _, hidden = p.initial.shape
    width, time, count = states * hidden, p.x.shape[1], len(rows)
    lengths = p.lengths[rows]
    small = width <= SMALL
    norms = np.full((count, time), np.nan)
    values = np.full((count, time, width), np.nan) if small else None
    vectors = min(width, EXPONENTS)
    start = np.linalg.qr(np.random.default_rng(0).normal(size=(width, vectors)))[0]
    directions = np.repeat(start.T[np.newaxis], count, axis=0)  # (n, K, N)
    jacobians = np.repeat(np.eye(width)[np.newaxis], count, axis=0)  # (n, N, N), over exp(scale)
    scale, growth = np.zeros(count), np.zeros((count, vectors))
    last_radii: Array | None = None
    for lag in range(int(lengths.max(initial=0))):
        on = np.flatnonzero(lengths > lag)
        steps = np.full(len(on), lag) if p.reverse else lengths[on] - 1 - lag
        with np.errstate(divide="ignore"):
            sigma = _singular(jacobians[on], small)
            norms[on, steps] = scale[on] + np.log(sigma[:, 0])
            if values is not None:
                values[on, steps] = scale[on, np.newaxis] + np.log(sigma)
            both = np.concatenate([jacobians[on], directions[on]], axis=1)
            back = pull(p, rows[on], steps, both)
            pulled = back[:, :width]
            if lag == 0 and not is_plain(p.net):
                last_radii = np.array([spectral_radius(one) for one in pulled])
            top = np.abs(pulled).max(axis=(1, 2))
            jacobians[on] = pulled / np.where(top > 0, top, 1.0)[:, np.newaxis, np.newaxis]
            scale[on] += np.log(top)
            q, r = np.linalg.qr(np.swapaxes(back[:, width:], 1, 2))
            directions[on] = np.swapaxes(q, 1, 2)
            growth[on] += np.log(np.abs(np.diagonal(r, axis1=1, axis2=2)))
    exponents = -np.sort(-growth / lengths[:, np.newaxis], axis=1)
    return Dynamics(rows, norms, values, exponents, last_radii)


def _singular(matrices: Array, all_of_them: bool) -> Array:
    """Singular values, (n, N), or the largest one, (n, 1); a few matrices at a time."""
    few = max(1, AT_A_TIME // matrices.shape[1] ** 3)
    parts = [matrices[i : i + few] for i in range(0, len(matrices), few)]
    if all_of_them:
        values = [np.linalg.svd(part, compute_uv=False) for part in parts]
        return np.concatenate(values).astype(np.float64, copy=False)
    squares = [np.linalg.eigvalsh(part @ np.swapaxes(part, 1, 2))[:, -1:] for part in parts]
    roots: Array = np.sqrt(np.maximum(np.concatenate(squares), 0.0))
    return roots


def log_mean(logs: Array, axis: int) -> Array:
    """Mean of numbers given by their logarithms, without those that are NaN."""
    there = ~np.isnan(logs)
    top = np.where(there, logs, -np.inf).max(axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0.0)
    total = np.exp(np.where(there, logs, -np.inf) - shift).sum(axis=axis)
    count = there.sum(axis=axis)
    mean = total / np.maximum(count, 1) * np.exp(shift.squeeze(axis))
    return np.where(count > 0, mean, np.nan)
