"""Advice from a diagnosis, each piece with the numbers that support it.

Limits, and where they come from:

- A gradient counts as vanished, or exploded, once it has changed by a factor of 1000 on its way
  back: a step that far away has less than a thousandth of the last step's weight, or a thousand
  times as much. Reported only if it happens within half of the sequences' length.
- The norm to clip at is the median of mini-batches' norms: Pascanu, Mikolov and Bengio, ICML 2013,
  section 3.2, found anything from half to ten times the average to work.
- An update is too large if it increases the loss of the batch that it was computed from.
- Remedies for vanishing and exploding gradients were tried: on some of the sequences, by the same
  limits, the gradients of a network with the remedy neither vanish nor explode.
- A model overfits if its validation loss stays a fifth above its minimum for the last three epochs
  while the training loss is below what it was at that minimum.
- Causes come before effects: dead or saturated units make gradients vanish.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._cell_info import cell_info
from .._core import Batch, GradientTargets, Objective
from .._losses import Losses
from .._views import norm
from ..models._arguments import some_rows
from ..models.results import unpacked
from . import _dynamics, _record
from ._numbers import content_gate, contributions, spectral_radii
from ._record import Array, PassRecord, Record, structure
from ._step import is_plain

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent
    from ..optim.optimizers import Optimizer
    from ..training import History

#: The factor after which a gradient counts as vanished or exploded.
FAR = 1000.0
#: The fractions of saturated, and of dead, units above which they are reported.
MOST_SATURATED, MOST_DEAD = 0.5, 0.25
#: Overfitting: the factor by which the validation loss rose, and for how many epochs at the end.
RISEN, LATE = 1.2, 3
#: Sequences, and mini-batches, for trials.
TRIED, PARTS = 4, 8
#: Trial gains of an orthogonal W_hh, and spectral radii of the present one. Slopes of tanh are
#: below 1, half of those of ReLU are 0: a gain above 1 makes up for it.
GAINS = (1.0, 1.2, 1.4, 1.6)
#: The growth that a remedy for exploding gradients may leave: another seed gives other weights.
CALM = math.sqrt(FAR)


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Attributes
    ----------
    kind : str
        ``"vanishing"``, ``"exploding"``, ``"saturated"``, ``"dead"``, ``"no gradient"``,
        ``"bptt_steps"``, ``"learning rate too high"``, ``"learning rate too low"`` or
        ``"overfitting"``.
    text : str
        The finding.
    numbers : dict of str to float
        The numbers behind it.
    suggestion : str
        The remedy.
    """

    kind: str
    text: str
    numbers: dict[str, float]
    suggestion: str

    def __str__(self) -> str:
        return f"{self.text} {self.suggestion}".strip()


@dataclass(frozen=True)
class Evidence:
    """Everything that advice is derived from, for the whole batch."""

    model: Recurrent  # in the dtype of the diagnosis
    own_dtype: np.dtype[Any]  # of the user's model
    batch: Batch
    objective: Objective
    record: Record
    dynamics: tuple[_dynamics.Dynamics | None, ...]  # by pass
    saturation: tuple[float, ...]
    dead: tuple[float, ...]
    gradient_norm: float
    given: Recurrent  # the user's model
    optimizer: Optimizer | None
    history: History | None


def advise(evidence: Evidence) -> tuple[Advice, ...]:
    """Run all checks; causes first."""
    found: list[Advice] = []
    for look in (
        _nothing,
        _explode,
        _dead,
        _saturated,
        _vanish,
        _learning_rate,
        _curve,
        _overfitting,
    ):
        found += look(evidence)
    return tuple(found)


def plural(count: int, word: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


# ---------------------------------------------------------------- how far it reaches


def by_lag(
    lengths: NDArray[np.int64],
    reverse: bool,
    found: _dynamics.Dynamics,
    some: NDArray[np.bool_] | None = None,
) -> Array:
    """Mean logarithm of the norm of ds_T/ds_{T-k}, k = 0, 1, ..., over sequences that long.

    -inf where it is exactly 0 in most of them; otherwise exact zeros are left out.
    """
    chosen = slice(None) if some is None else some
    own, norms = lengths[found.sequences][chosen], found.log_norms[chosen]
    sums, counts, zeros = np.zeros((3, int(own.max())))
    for length, logs in zip(own, norms, strict=True):
        part = logs[:length] if reverse else logs[:length][::-1]
        zero = np.isneginf(part)
        sums[:length] += np.where(zero, 0.0, part)
        counts[:length] += 1
        zeros[:length] += zero
    mean: Array = sums / np.maximum(counts - zeros, 1)
    mean[zeros > counts / 2] = -np.inf
    return mean


def reach(logs: Array) -> int | None:
    """Steps until a gradient has vanished, or None."""
    gone = np.flatnonzero(logs < -math.log(FAR))
    return int(gone[0]) if gone.size else None


def _short(logs: Array) -> int | None:
    """Steps until a gradient has vanished, if within half of the sequence; else None."""
    gone = reach(logs)
    return gone if gone is not None and gone < len(logs) / 2 and len(logs) >= 10 else None


def _rate(logs: Array) -> float:
    """Factor per step, over all steps."""
    return math.exp(logs[-1] / (len(logs) - 1)) if len(logs) > 1 else 1.0


def _factor(factor: float) -> str:
    return f"{factor:.2f}" if factor >= 0.01 else f"{factor:.0e}"


def _words(count: float) -> str:
    return f"{count:.3g}" if count < 1e4 else f"{count:.0e}"


def _exploded(found: _dynamics.Dynamics, limit: float = FAR) -> NDArray[np.bool_]:
    """Return the sequences in which gradients explode."""
    return np.asarray((found.log_norms > math.log(limit)).any(axis=1))


def _worst(evidence: Evidence) -> tuple[PassRecord, _dynamics.Dynamics] | None:
    """The layer in which gradients explode in most sequences."""
    pairs = [
        (p, found)
        for p, found in zip(evidence.record.passes, evidence.dynamics, strict=True)
        if found is not None and _exploded(found).any()
    ]
    return max(pairs, key=lambda pair: int(_exploded(pair[1]).sum()), default=None)


def _explode(evidence: Evidence) -> Iterator[Advice]:
    worst = _worst(evidence)
    if worst is not None and evidence.gradient_norm != 0.0:
        yield _exploding(evidence, *worst)


def _vanish(evidence: Evidence) -> Iterator[Advice]:
    curves = [
        by_lag(p.lengths, p.reverse, found)
        for p, found in zip(evidence.record.passes, evidence.dynamics, strict=True)
        if found is not None
    ]
    if not curves or evidence.gradient_norm == 0.0 or _worst(evidence) is not None:
        return
    # one layer that keeps the past is enough
    logs = max(curves, key=_rate)
    steps, gone = len(logs), _short(logs)
    if gone is None:
        return
    rate = _rate(logs[: gone + 1])
    numbers = {"steps": float(gone), "factor": rate, "of": float(steps)}
    over = "this step" if gone == 1 else f"these {gone}"
    size = f"to less than 1/{FAR:.0f}, by a factor of {_factor(rate)} per step over {over}"
    if evidence.objective.steps == "all":
        if steps >= 10 * gone:
            yield Advice(
                "bptt_steps",
                f"Gradients reach back about {gone} of {steps} steps: they shrink {size}.",
                numbers,
                f"bptt_steps={2 * gone} loses less than a millionth of them, makes "
                f"{steps // (2 * gone)} updates per sequence and keeps the states of {2 * gone} "
                "steps instead of all.",
            )
        return
    if evidence.objective.steps != "last":  # pooled: the loss reaches each step at once
        return
    text = f"Gradients vanish after about {gone} of {steps} steps: they shrink {size}."
    zero = _zeros_in_float32(evidence)
    if zero:
        text += f" In float32 no gradient reaches the first {plural(zero, 'step')}."
        numbers["zeros"] = float(zero)
    helps, measured = _what_helps(evidence, gone)
    if not helps and max(evidence.saturation) > MOST_SATURATED:
        helps = "Saturated units are a cause: fix them first."
    yield Advice("vanishing", text, {**numbers, **measured}, helps)


def _zeros_in_float32(evidence: Evidence) -> int:
    """Count the first steps whose gradients are below the smallest float32 in every layer."""
    if evidence.own_dtype != np.float32:
        return 0
    tiny = float(np.finfo(np.float32).tiny)
    alive = np.zeros(evidence.record.top.shape[1], bool)
    for p in evidence.record.passes:
        if not p.reverse:
            alive |= np.abs(p.d_hidden).max(axis=(0, 2)) >= tiny
    return int(alive.argmax()) if alive.any() else 0


def _what_helps(evidence: Evidence, gone: int) -> tuple[str, dict[str, float]]:
    """Try the usual remedies on a few of the sequences; describe the best one."""
    rows = np.argsort(-evidence.record.lengths, kind="stable")[:TRIED]
    steps = int(evidence.record.lengths.max())
    tried = []
    for label, model in _candidates(evidence.model, steps):
        logs = _flows(model, evidence, rows, 2)
        if logs is None or _short(logs) is not None:
            continue
        far = reach(logs)
        if far is None or far >= 2 * gone:
            tried.append((steps if far is None else far, _rate(logs), far is None, label))
    if not tried:
        return "", {}
    far, new, all_of_it, label = max(tried, key=lambda one: one[:2])
    range_ = f"all {steps}" if all_of_it else f"{far} of them"
    return (
        f"{label} starts with a factor of {new:.2f} per step over all {steps} steps and reaches "
        f"{range_}.",
        {"factor_then": new, "steps_then": float(far)},
    )


def _candidates(model: Recurrent, steps: int) -> Iterator[tuple[str, Recurrent]]:
    """Yield new float64 networks of the same size with the usual remedies for short memory."""
    if model.constraints is not None:  # they hold for this network's parameters alone
        return
    if is_plain(structure(model._spec)):
        bounded = cell_info(model.cell)["bounded"]
        for init in ("orthogonal",) if bounded else ("identity", "orthogonal"):
            yield _started(model, init)
    yield _gated(model, steps)


def _options(model: Recurrent) -> dict[str, Any]:
    return {
        "num_layers": model.num_layers,
        "bidirectional": model.bidirectional,
        "readout_units": model.readout_units,
        "rank": model.rank,
        "embedding": model.vocabulary_size,
        "dtype": "float64",
        "seed": 0,
    }


def _started(model: Recurrent, init: str, gain: float = 1.0) -> tuple[str, Recurrent]:
    """Make the same network with another initialisation, and its label."""
    from ..models.recurrent import Recurrent

    shape = (model.input_size, model.hidden_size, model.output_size)
    how: str | tuple[str, float] = init if gain == 1.0 else (init, gain)
    label = f'init="{init}"' if gain == 1.0 else f'init=("{init}", {gain:g})'
    return label, Recurrent(model.cell, *shape, bias=model.bias, init=how, **_options(model))


def _gated(model: Recurrent, steps: int) -> tuple[str, Recurrent]:
    """Make an LSTM that remembers its input over so many steps, and its label."""
    from ..models.cells import LSTM

    shape = (model.input_size, model.hidden_size, model.output_size)
    # after n steps a forget gate of 1 - 1/n has kept 1/e: Tallec and Ollivier, ICLR 2018
    bias = round(math.log(max(steps - 1, 2)), 1)
    label = f"forget_bias={bias}"
    if model.cell != "lstm":
        label = f"LSTM({', '.join(map(str, shape))}, {label})"
    return label, LSTM(*shape, forget_bias=bias, **_options(model))


def _flows(
    model: Recurrent,
    evidence: Evidence,
    rows: NDArray[np.int64],
    most: int | None = None,
    limit: float = FAR,
) -> Array | None:
    """Return how gradients flow through another network, by lag, in its best layer.

    None: they grow by more than the limit in some sequence, or the network is too large to tell.
    most: compute Jacobians of at most so many sequences.
    """
    batch, objective = some_rows(evidence.batch, evidence.objective, np.sort(rows))
    # the loss's value does not matter: any targets do, and some may be missing
    several = isinstance(objective.loss, Losses)
    losses = list(objective.loss.losses.values()) if several else [objective.loss]
    targets = objective.y if several else (objective.y,)
    known = tuple(
        np.full_like(y, loss.low if loss.bounded else 0)
        for y, loss in zip(targets, losses, strict=True)
    )
    record = _record.take(
        model,
        batch.replace(initial=None, static=None),
        objective.replace(y=known if several else known[0], sample_weight=None),
    )
    curves = []
    for p in record.passes:
        some = _dynamics.choose(p, None)[:most]
        if len(some):
            found = _dynamics.analyse(p, some)
            if _exploded(found, limit).any():
                return None
            curves.append(by_lag(p.lengths, p.reverse, found))
    return max(curves, key=_rate) if curves else None


def _calmer(
    evidence: Evidence, found: _dynamics.Dynamics, radius: float
) -> tuple[str, dict[str, float]]:
    """Try the usual remedies for exploding gradients; describe one that does not make them vanish.

    The least change first: another initialisation, then smaller weights, then another cell. Of each
    kind the one that changes gradients least, tried on the worst sequences and then on all.
    """
    model, steps = evidence.model, int(evidence.record.lengths.max())
    worst = np.argsort(-np.nanmax(found.log_norms, axis=1), kind="stable")[:TRIED]
    plain = is_plain(structure(model._spec))

    def starts() -> Iterator[tuple[str, Recurrent]]:
        if plain:
            if not cell_info(model.cell)["bounded"]:
                yield _started(model, "identity")
            for gain in GAINS:
                yield _started(model, "orthogonal", gain)

    def smaller() -> Iterator[tuple[str, Recurrent]]:
        for target in GAINS:
            if target < radius:
                twin = model.copy()
                for name, values in twin.parameters.items():
                    if name.startswith(("W_hh", "M_hh")):  # one of two factors
                        values[...] *= target / radius
                label = f"Scaling W_hh by {target / radius:.2g}"
                yield label + (f" (spectral radius {target:g})" if plain else ""), twin

    for group in (starts(), smaller(), iter([_gated(model, steps)])):
        tried = []
        for label, other in group:
            logs = _flows(other, evidence, found.sequences[worst], 2, CALM)
            if logs is not None and _short(logs) is None:
                tried.append((float(np.abs(logs).max()), label, other))
        for _, label, other in sorted(tried, key=lambda one: one[0]):
            logs = _flows(other, evidence, found.sequences, None, CALM)
            if logs is not None and _short(logs) is None:
                rate = _rate(logs)
                return (
                    f"{label} was tried: with a factor of {rate:.2f} per step over all {len(logs)} "
                    "steps, gradients neither explode nor vanish.",
                    {"factor_then": rate},
                )
    return "", {}


def _exploding(evidence: Evidence, p: PassRecord, found: _dynamics.Dynamics) -> Advice:
    far = _exploded(found)
    logs, name = by_lag(p.lengths, p.reverse, found, far), p.name
    # the mean of those that exploded may stay below the limit at every lag
    lag = int(np.argmax(logs > math.log(FAR))) or int(np.argmax(logs))
    total, rate = float(logs.max()), _rate(logs[: lag + 1])
    norms = batch_norms(evidence)
    middle = float(np.median(norms))
    near = max(int(np.argmax(logs > math.log(10.0))), 1)
    of_near = _norm_of_last(p, near)
    # most mini-batches may have a gradient of exactly 0
    limit = min((one for one in (middle, of_near) if one > 0.0), default=float(norms.max()))
    radius = spectral_radii(p)[content_gate(p)]
    own, whose = radius, "W_hh"
    if found.last_radii is not None:
        own, whose = float(found.last_radii[far].mean()), "the Jacobian of their last step"
    numbers = {
        "steps": float(lag),
        "factor": rate,
        "log10": total / math.log(10.0),
        "clip_norm": limit,
        "median": middle,
        "largest": float(norms.max()),
        "spectral_radius": own,
        "fraction": float(far.mean()),
    }
    text = (
        f"Gradients explode in {far.sum()} of {plural(len(far), 'sequence')}: they grow more "
        f"than {FAR:.0f} times, on average {math.exp(min(logs[lag], 700.0)):.0f} times within "
        f"{plural(lag, 'step')} in {name}, by a factor of {rate:.2f} per step over these; the "
        f"spectral radius of {whose} is {own:.2f}; "
    )
    if len(norms) == 1:
        text += f"the gradient norm is {norms[0]:.2g}."
    else:
        text += (
            f"gradient norms of {len(norms)} mini-batches range from {norms.min():.2g} to "
            f"{norms.max():.2g}."
        )
    last = "step" if near == 1 else f"{near} steps"
    which = "their median" if len(norms) > 1 else "it"
    if limit != middle:
        which = f"the gradient norm of the last {last}"
    helps = f"Clip at {which}, clip_norm={limit:.2g}."
    better, measured = _calmer(evidence, found, radius)
    return Advice("exploding", text, {**numbers, **measured}, f"{helps} {better}".strip())


def _norm_of_last(p: PassRecord, steps: int) -> float:
    """Norm of the gradients of a layer's W_xh and W_hh from its last steps, before exploding."""
    total = 0.0
    for weights in ("W_xh", "W_hh"):
        terms = itertools.islice(contributions(p, weights), steps)
        total += float(np.square(np.sum([step for _, step in terms], axis=0)).sum())
    return math.sqrt(total)


def batch_norms(evidence: Evidence) -> Array:
    """Norms of the gradients of up to eight parts of the batch."""
    count, model, norms = len(evidence.batch.x), evidence.model, []
    groups = np.array_split(np.arange(count), min(PARTS, count))
    flat = np.empty(model.num_parameters, model.dtype)
    for rows in groups:
        batch, objective = some_rows(evidence.batch, evidence.objective, rows)
        given = objective.sample_weight
        if not any(w is None or w.any() for w in (given if isinstance(given, tuple) else [given])):
            continue
        batch = batch.replace(check_finite=False)
        model._engine.loss_and_grad(batch, objective, GradientTargets(flat))
        norms.append(norm(flat))
    return np.array(norms)


# ---------------------------------------------------------------- units


def _nothing(evidence: Evidence) -> Iterator[Advice]:
    if evidence.gradient_norm == 0.0:
        yield Advice(
            "no gradient",
            f"All gradients are exactly 0, at a loss of {_words(evidence.record.loss)}.",
            {"gradient_norm": 0.0, "loss": evidence.record.loss},
            "The model cannot learn from this batch.",
        )


def _saturated(evidence: Evidence) -> Iterator[Advice]:
    for p, saturated in zip(evidence.record.passes, evidence.saturation, strict=True):
        if saturated <= MOST_SATURATED:
            continue
        x, h = p.x[p.exist], p.hidden_before[p.exist]
        inputs, size = x @ p.params["W_xh"], float(np.sqrt(np.mean(np.square(x))))
        from_x = float(np.sqrt(np.mean(np.square(inputs))))
        from_h = float(np.sqrt(np.mean(np.square(h @ p.params["W_hh"]))))
        numbers = {"fraction": saturated, "input": size, "x_W_xh": from_x, "h_W_hh": from_h}
        if p.layer == 0 and size > 3.0 and from_x > from_h:
            helps = f"The input has a root mean square of {size:.2g}: standardise it."
        elif from_x > from_h:
            helps = (
                f'x W_xh has a root mean square of {from_x:.2g}: use a smaller W_xh (init="keras").'
            )
        else:
            helps = (
                f"h W_hh has a root mean square of {from_h:.2g}: use a smaller W_hh "
                '(init="orthogonal").'
            )
        yield Advice(
            "saturated",
            f"{saturated:.0%} of the units of {p.name} are saturated (abs(h) > 0.97), where tanh "
            "passes less than 6 % of a gradient.",
            numbers,
            helps,
        )


def _dead(evidence: Evidence) -> Iterator[Advice]:
    for p, dead in zip(evidence.record.passes, evidence.dead, strict=True):
        if p.cell["bounded"] or dead <= MOST_DEAD:
            continue
        hidden = p.d_hidden.shape[-1]
        count = round(dead * hidden)
        yield Advice(
            "dead",
            f"{count} of {hidden} ReLU units of {p.name} are 0 at every step of every sequence: "
            "no gradient reaches them.",
            {"fraction": dead, "units": float(count)},
            'Retrain with init="identity" or positive biases b_h, and a lower learning rate; '
            "tanh units do not die.",
        )


# ---------------------------------------------------------------- learning rate


def _learning_rate(evidence: Evidence) -> Iterator[Advice]:
    optimizer, loss = evidence.optimizer, evidence.objective.loss
    if optimizer is None or evidence.gradient_norm == 0.0:
        return
    ratio, before, after = trial(evidence, optimizer.lr)
    numbers = {"lr": optimizer.lr, "ratio": ratio, "loss": before, "loss_after": after}
    worse = not math.isfinite(after) or (after > before * 1.05 and after > before + 1e-6)
    if worse:
        lr = optimizer.lr
        for _ in range(12):
            lr /= 3.0
            smaller = trial(evidence, lr)[2]
            if smaller <= before:
                break
        numbers["lr_then"] = lr
        yield Advice(
            "learning rate too high",
            f"lr={optimizer.lr:g} is too high: one update changes the weights by {ratio:.1%}, and "
            f"the {loss} of the batch that it is computed from goes from {before:.3g} to "
            f"{after:.3g}.",
            numbers,
            f"With lr={lr:.2g} it falls to {smaller:.3g}.",
        )
    elif ratio < 1e-6:
        yield Advice(
            "learning rate too low",
            f"lr={optimizer.lr:g} is too low: one update changes the weights by {ratio:.1e} "
            f"of their norm; a change of 1 % takes {0.01 / max(ratio, 1e-300):.0e} updates.",
            numbers,
            f"lr={optimizer.lr * 1e-3 / max(ratio, 1e-12):.1g} would change them by 0.1 %.",
        )


def trial(evidence: Evidence, lr: float) -> tuple[float, float, float]:
    """Update a copy: return the relative change of the weights, and the loss before and after."""
    assert evidence.optimizer is not None
    model, optimizer = evidence.given.copy(), evidence.optimizer.copy()
    optimizer.lr = lr
    batch, kind = evidence.batch, evidence.objective
    x, y, weight = batch.x, kind.y, kind.sample_weight
    if isinstance(kind.loss, Losses):
        y, weight = kind.loss._named(y), kind.loss._named(weight)
    initial: Any = batch.initial
    h0 = None if initial is None else unpacked(initial)
    how = (kind.loss, kind.steps, kind.reduction, batch.lengths, h0, weight)
    beside: dict[str, Any] = {"static": batch.static, "resets": batch.resets}
    start = model._weights.get().astype(np.float64)
    before = model.loss(x, y, *how, **beside)
    model.train_step(x, y, optimizer, *how, check_finite=False, **beside)
    end = model._weights.get().astype(np.float64)
    size = float(np.linalg.norm(start))
    ratio = float(np.linalg.norm(end - start)) / size if size > 0 else math.inf
    after = math.inf
    if np.isfinite(end).all():
        after = model.loss(x, y, *how, check_finite=False, **beside)
    return ratio, before, after


def _curve(evidence: Evidence) -> Iterator[Advice]:
    if evidence.history is None or "loss" not in evidence.history:
        return
    curve = np.asarray(evidence.history["loss"], np.float64)
    if len(curve) < 5:
        return
    with np.errstate(invalid="ignore"):
        rises = float(np.mean(~(curve[1:] <= 1.1 * curve[:-1])))
    low = int(np.nanargmin(curve)) if np.isfinite(curve).any() else 0
    best, last = float(curve[low]), float(curve[-1])
    numbers = {"best": best, "best_epoch": low + 1.0, "last": last, "rises": rises}
    if not math.isfinite(last) or last > 1.5 * best + 1e-6:
        text = f"The loss was {best:.3g} in epoch {low + 1} and is now {last:.3g}."
    elif rises >= 0.3:
        text = f"The loss rose by more than 10 % in {rises:.0%} of the epochs."
    else:
        return
    rates = evidence.history.curves.get("lr", [])
    helps = (
        f"Try lr={rates[-1] / 3.0:.2g} instead of {rates[-1]:g}."
        if rates
        else "Try a third of the learning rate."
    )
    yield Advice("learning rate too high", text, numbers, helps)


def _overfitting(evidence: Evidence) -> Iterator[Advice]:
    history = evidence.history
    if history is None or "loss" not in history or "validation_loss" not in history:
        return
    validation = np.asarray(history["validation_loss"], np.float64)
    training = np.asarray(history["loss"], np.float64)
    if len(validation) < 4 or not np.isfinite(validation).any():
        return
    low = int(np.nanargmin(validation))
    best, last = float(validation[low]), float(validation[-1])
    before, now = float(training[low]), float(training[-1])
    risen = (validation[-LATE:] > RISEN * best + 1e-6).all()
    if low >= len(validation) - LATE or not risen or not (math.isfinite(last) and now < before):
        return
    numbers = {"best": best, "best_epoch": low + 1.0, "last": last, "training": now}
    if history.stopped == "early stopping":
        helps = f"Early stopping kept the weights of epoch {low + 1}, unless restore_best=False."
    else:
        # epochs at which the minimum so far fell: patience must outlast the gaps between them
        falls = [i for i in range(low + 1) if i == 0 or validation[i] < validation[:i].min()]
        patience = max([LATE, *np.diff(falls).tolist()])
        helps = f"patience={patience} in fit keeps the weights of epoch {low + 1}."
    times = f", {last / best:.3g} times as much" if best > 0.0 else ""
    yield Advice(
        "overfitting",
        f"The model overfits: from epoch {low + 1} to {len(validation)} the validation loss rose "
        f"from {best:.3g} to {last:.3g}{times}, while the training loss fell from {before:.3g} to "
        f"{now:.3g}.",
        numbers,
        helps,
    )
