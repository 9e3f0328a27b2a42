"""`diagnose`: how gradients flow through a model, from one backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._errors import ArgumentError
from .._html import table, tag
from .._losses import Loss, Losses, LossLike, TargetsLike, WeightsLike
from ..training.evaluation import check_model
from ..training.labelled import about_chosen, objective_of, weights_of
from . import _advice, _dynamics, _numbers, _record
from ._advice import Advice, plural
from ._record import Array, PassRecord, Record
from ._step import is_plain

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent, StateLike
    from ..optim.optimizers import Optimizer
    from ..training import History


@dataclass(frozen=True, eq=False)
class LayerFlow:
    """One layer in one direction; with ``per_example=True`` (T,) stands for (B, T).

    Steps are those of the input, for the reverse direction too. Norms are Euclidean (of matrices:
    Frobenius), over the whole batch; 0 where no sequence has such a step.

    Attributes
    ----------
    name : str
        ``"l0"``, ``"l0_reverse"``, ``"l1"``, ...
    layer : int
    reverse : bool
    hidden_gradient : ndarray (T,)
        Norm of dL/dh_t, over units and sequences.
    gate_gradient : dict of str to ndarray (T,)
        Norm of dL/da_t of each gate, where a_t = x_t W_xh + h_{t-1} W_hh + b_h is its
        pre-activation. By letter: i, f, g, o of an LSTM; r, z, n of a GRU; a of the others.
    contribution : dict of str to ndarray (T,)
        Norm of the contribution of step t to dL/dW, for ``"W_xh"`` and ``"W_hh"``.
    running_sum : dict of str to ndarray (T,)
        Norm of the sum of these contributions from the step where backpropagation starts (the
        last one; in reverse the first) to step t. At the end it is the norm of the gradient.
    saturation : ndarray (T,)
        Fraction of units with abs(h) > 0.97, where tanh has lost 94 % of its slope; 0 for a
        cell whose h is unbounded.
    saturated : float
        The same over all steps.
    cell_saturation : ndarray (T,), or None
        Of an LSTM: fraction of units with abs(tanh(c)) > 0.97.
    gate_activation : dict of str to ndarray (T,)
        Mean gate activation, of sigmoid gates: 0 closed, 1 open.
    dead : float
        Fraction of units that are exactly 0 at all steps of all sequences.
    jacobian : ndarray (T,), or None
        Spectral norm of ds_T/ds_t, the product of the step's Jacobians, where s_t is the
        layer's whole state: h_t, for an LSTM h_t and c_t side by side, and T a sequence's last
        step (in reverse: its first). Mean over the sequences that it was computed for; NaN where
        there is none.
    log_jacobian : ndarray (T,), or None
        Mean of the logarithm of that norm, which does not underflow.
    singular_values : ndarray (T, k), or None
        Of ds_T/ds_t, largest first, mean over the sequences; None if s_t has more than 64 numbers.
        Those that are 1e-15 of the largest and less are rounding.
    spectral_radius : float, or None
        Largest modulus of the eigenvalues: of W_hh; with gates or a leak, of the Jacobian of the
        last step, ds_T/ds_{T-1}, mean over `sequences`, None without any.
    radius_of : str
        ``"W_hh"`` or ``"the last step"``: which of these it is.
    spectral_radii : dict of str to float
        Of each gate's block of W_hh; of more than 256 units by powers, to nine digits. With gates
        or a leak they say little about gradients.
    lyapunov : ndarray (k,), or None
        Largest Lyapunov exponents along the sequences, per step, in natural logarithms: above 0
        nearby states move apart. The mean over the sequences, each with the same weight; those in
        which a direction dies out exactly (-inf) do not count unless all are such: then -inf.
    decay : float or None
        Factor by which a gradient changes per step: the geometric mean over time, from the norms
        of ds_T/ds_t. Sequences whose gradient is exactly 0 at the other end do not count unless
        all are such: then 0. None if there are no Jacobians, or only one step.
    sequences : ndarray (n,)
        The sequences with Jacobians.
    """

    name: str
    layer: int
    reverse: bool
    hidden_gradient: Array
    gate_gradient: dict[str, Array]
    contribution: dict[str, Array]
    running_sum: dict[str, Array]
    saturation: Array
    saturated: float
    cell_saturation: Array | None
    gate_activation: dict[str, Array]
    dead: float
    jacobian: Array | None
    log_jacobian: Array | None
    singular_values: Array | None
    spectral_radius: float | None
    radius_of: str
    spectral_radii: dict[str, float]
    lyapunov: Array | None
    decay: float | None
    sequences: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OutputFlow:
    """The readout.

    Attributes
    ----------
    gradient : ndarray (T,)
        Norm of dL/d(outputs) at step t, over outputs and sequences. Of a loss on the last outputs
        it stands at each sequence's last step; the reverse direction enters at the first one. So
        does that of pooled states, whose gradient reaches every step.
    contribution, running_sum : ndarray (T,), or None
        Norm of the contribution of step t to dL/dW_hy, and of the sum from the last step to t; of
        pooled states, that of the part which step t has in them. None without a readout.
    """

    gradient: Array
    contribution: Array | None
    running_sum: Array | None


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The result of `diagnose`; ``print`` it for a summary.

    Attributes
    ----------
    layers : tuple of LayerFlow
        From the input upwards, forward before reverse.
    output : OutputFlow
    steps : ndarray (T,)
        0, 1, ..., T - 1.
    lengths : ndarray (B,)
        Steps of each sequence.
    loss : float
    gradient_norm : float
        Of all parameters' gradients together.
    gradient_norms : dict of str to float
        Of each parameter's gradient.
    decay : float or None
        The largest `LayerFlow.decay` of all layers; None without Jacobians.
    objective : dict
        `loss`, `steps` and `reduction` of the loss.
    model : str
        The model, as text.
    advice : tuple of Advice
        Empty if no problems were found. Each has a `kind`, the `text`, the `numbers` behind it,
        and a `suggestion`.
    """

    layers: tuple[LayerFlow, ...]
    output: OutputFlow
    steps: NDArray[np.int64]
    lengths: NDArray[np.int64]
    loss: float
    gradient_norm: float
    gradient_norms: dict[str, float]
    decay: float | None
    objective: dict[str, str]
    model: str
    advice: tuple[Advice, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, text, lists and dicts, fit for JSON; NaN becomes None."""
        result = _plain(self)
        assert isinstance(result, dict)
        return result

    def __repr__(self) -> str:
        return (
            f"Diagnosis({len(self.layers)} layers, {len(self.steps)} steps, loss {self.loss:.4g})"
        )

    def _repr_html_(self) -> str:
        """Show the summary in a notebook."""
        kind = self.objective
        up_to = "up to " if len(set(self.lengths.tolist())) > 1 else ""
        rows = []
        for layer in self.layers:
            sizes = np.atleast_2d(layer.hidden_gradient)
            ends = (float(_numbers.norms(sizes[:, t], (0,))) for t in (0, -1))
            decay = "-" if layer.decay is None else f"{layer.decay:.3g}"
            rows.append(
                (layer.name, decay, *(f"{end:.3g}" for end in ends), f"{layer.saturated:.0%}")
            )
        advice = [
            tag("li", tag("b", one.text), f" {one.suggestion}" if one.suggestion else None)
            for one in self.advice
        ]
        return tag(
            "div",
            tag("p", tag("code", self.model)),
            tag(
                "p",
                f"{plural(len(self.lengths), 'sequence')} of {up_to}"
                f"{plural(len(self.steps), 'step')}; {kind['loss']} {self.loss:.4g} "
                f"(steps={kind['steps']}); gradient norm {self.gradient_norm:.3g}",
            ),
            table(
                rows,
                ("layer", "factor per step back", "dL/dh first", "dL/dh last", "saturated"),
            ),
            tag("ul", *advice) if advice else tag("p", "No problems found in the gradient flow."),
        )

    def __str__(self) -> str:
        kind, longest = self.objective, int(self.lengths.max())
        full = int((self.lengths == longest).sum())
        up_to = "" if full == len(self.lengths) else "up to "
        lines = [
            self.model,
            f"{plural(len(self.lengths), 'sequence')} of {up_to}{plural(longest, 'step')}; "
            f"{kind['loss']} "
            f'{self.loss:.4g} (steps="{kind["steps"]}"); gradient norm '
            f"{self.gradient_norm:.3g}",
            "",
            "layer         per step   dL/dh first    dL/dh last   saturated  spectral radius"
            + ("" if self.layers[0].radius_of == "W_hh" else " of the last step"),
        ]
        for layer in self.layers:
            sizes = np.atleast_2d(layer.hidden_gradient)
            first, last = (float(_numbers.norms(sizes[:, t], (0,))) for t in (0, longest - 1))
            decay = "        -" if layer.decay is None else f"{layer.decay:9.3f}"
            radius = "-" if layer.spectral_radius is None else f"{layer.spectral_radius:.3f}"
            lines.append(
                f"{layer.name:<12s} {decay}  {first:12.3g}  {last:12.3g}   "
                f"{layer.saturated:8.0%}   {radius:>14s}"
            )
        if up_to:
            lines.append(
                f"dL/dh first sums over all {len(self.lengths)} sequences, dL/dh last over the "
                f"{full} of {plural(longest, 'step')}."
            )
        lines.append("")
        lines += [f"- {one}" for one in self.advice] or ["No problems found in the gradient flow."]
        return "\n".join(lines)


def diagnose(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike],
    y: TargetsLike,
    loss: LossLike | Losses | None = None,
    steps: str = "last",
    lengths: ArrayLike | None = None,
    reduction: str = "mean",
    *,
    h0: StateLike | None = None,
    sample_weight: WeightsLike = None,
    warmup: int = 0,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    static: ArrayLike | None = None,
    per_example: bool = False,
    jacobians: bool | int | None = None,
    dtype: str | None = "float64",
    optimizer: Optimizer | None = None,
    history: History | None = None,
) -> Diagnosis:
    """Analyse how gradients flow back through time on a batch, without training the model.

    Parameters
    ----------
    model : Recurrent
        Not changed. Dropout is off.
    x, y, steps, lengths, reduction, h0, sample_weight, warmup, resets, static
        As for `Recurrent.loss_and_grad`.
    loss : str, `fastbptt.Loss` or `fastbptt.Losses`, optional
        Default as in `fit`, by what `y` is.
    per_example : bool, default False
        Compute the numbers of each sequence instead of the batch: (B, T) instead of (T,).
    jacobians : bool or int, optional
        The number of sequences, spread over the batch, to compute Jacobians for. Default: as many
        as are cheap, none for very large models; True for all, False for none. With `resets` there
        are none, nor the advice that follows from them: a product of Jacobians is 0 beyond a reset.
        Give the episodes as a list `x` for theirs.
    dtype : {"float64", None}
        Compute in float64 whatever the model's dtype, so that norms down to 1e-300 are seen; None
        for the model's own dtype and precision, where gradients below 1e-38 may be 0.
    optimizer : Optimizer, optional
        The optimiser that trains the model, to check its learning rate: a copy of it updates a
        copy of the model.
    history : History, optional
        The result of `fit`, to check that the loss falls.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError, TypeError
        As `Recurrent.loss_and_grad`.

    Notes
    -----
    Backpropagation through time, with g_t = dL/da_t: dL/dW_hh is the sum over t of h_{t-1}^T g_t,
    and dL/ds_t holds ds_T/ds_t, a product of T - t Jacobians, as a factor, which shrinks or grows
    exponentially with T - t: Y. Bengio, P. Simard and P. Frasconi, "Learning long-term
    dependencies with gradient descent is difficult", IEEE Transactions on Neural Networks 5
    (1994); R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural
    networks", ICML 2013, who bound the gradients of a plain RNN by the singular values of W_hh.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(3, 8, 1, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(4, 50, 3))
    >>> report = fastbptt.diagnose(model, x, [0, 1, 0, 1])
    >>> flow = report.layers[0]
    >>> flow.hidden_gradient.shape, bool(flow.hidden_gradient[0] < 1e-6 * flow.hidden_gradient[-1])
    ((50,), True)
    >>> for part in report.advice[0].text.split(": "):
    ...     print(part)
    Gradients vanish after about 8 of 50 steps
    they shrink to less than 1/1000, by a factor of 0.41 per step over these 8.
    """
    check_model(model)
    each = _check.flag("per_example", per_example)
    wanted = _wanted(jacobians, resets is not None)
    _check.option("steps", steps, _check.READOUTS)
    counted = None
    if loss is None and (sample_weight is not None or warmup):
        counted = weights_of(model, x, lengths, sample_weight, steps, warmup).counted()
    chosen: Loss | Losses
    if isinstance(loss, Losses):
        chosen, why = loss, ""
    else:
        chosen, why = objective_of(model, y, loss, steps, lengths, counted)
    with about_chosen(why):
        batch, objective = model._checked(
            x, y, chosen, steps, reduction, lengths, h0, sample_weight, True, unlimited=1,
            warmup=warmup, resets=resets, static=static,
        )  # fmt: skip
        if dtype is None:
            model._note_digits(x, y, batch, objective)
        twin = model if dtype is None else in_double(model, dtype)
        if batch.initial is not None:
            initial = tuple(
                None if one is None else np.asarray(one, twin.dtype) for one in batch.initial
            )
            batch = batch.replace(initial=initial)
        record = _record.take(twin, batch, objective)
    dynamics = tuple(_analysed(p, wanted) for p in record.passes)
    layers = tuple(_layer(p, each, found) for p, found in zip(record.passes, dynamics, strict=True))
    decays = [layer.decay for layer in layers if layer.decay is not None]
    norms = {name: _norm(values) for name, values in record.gradients.items()}
    total = _norm(np.array(list(norms.values())))
    evidence = _advice.Evidence(
        twin,
        model.dtype,
        batch,
        objective,
        record,
        dynamics,
        tuple(layer.saturated for layer in layers),
        tuple(layer.dead for layer in layers),
        total,
        model,
        optimizer,
        history,
    )
    return Diagnosis(
        layers,
        _output(record, each, twin.output_size is not None),
        np.arange(record.top.shape[1]),
        record.lengths,
        record.loss,
        total,
        norms,
        max(decays) if decays else None,
        {"loss": str(chosen), "steps": steps, "reduction": reduction},
        repr(model).split("  #")[0],
        _advice.advise(evidence),
    )


def _wanted(jacobians: Any, episodes: bool) -> bool | int | None:
    wanted: bool | int | None = False if episodes else None
    if isinstance(jacobians, bool | np.bool_):
        wanted = bool(jacobians)
    elif jacobians is not None:
        wanted = _check.size("jacobians", jacobians)
    if episodes and wanted:
        raise ArgumentError(
            "jacobians",
            f"is {wanted}, but resets is given",
            "False, or the episodes as a list x: a product of Jacobians is 0 beyond a reset",
        )
    return wanted


def in_double(model: Recurrent, dtype: str) -> Recurrent:
    """Copy a network in float64."""
    _check.option("dtype", dtype, ("float64",))
    config = model._config()
    config["dtype"] = dtype
    config["arguments"] = {**config["arguments"], "precision": "float32"}
    twin = type(model)._from_config(config)
    twin._weights.set(model._weights.get())
    return twin


def _norm(values: Array) -> float:
    return float(_numbers.norms(values.ravel(), (0,)))


def _analysed(p: PassRecord, wanted: bool | int | None) -> _dynamics.Dynamics | None:
    rows = _dynamics.choose(p, wanted)
    return _dynamics.analyse(p, rows) if len(rows) else None


def _layer(p: PassRecord, each: bool, found: _dynamics.Dynamics | None) -> LayerFlow:
    batch, time = p.x.shape[:2]
    contribution, running = {}, {}
    for name in ("W_xh", "W_hh"):
        terms = _numbers.contributions(p, name, each)
        contribution[name], running[name] = _numbers.sizes(terms, time, batch if each else None)
    hidden = p.saved[0]
    cell = p.states[1] if len(p.states) > 1 else None
    radii, plain = _numbers.spectral_radii(p), is_plain(p.net)
    radius = radii[_numbers.content_gate(p)] if plain else None
    bounded = hidden if p.cell["bounded"] else np.zeros_like(hidden)
    jacobian = logs = singular = lyapunov = decay = None
    if found is not None:
        jacobian, logs, singular, lyapunov = _spread(found, batch, each)
        decay = _decay(p, found)
        if found.last_radii is not None:
            radius = float(found.last_radii.mean())
    return LayerFlow(
        p.name,
        p.layer,
        p.reverse,
        _numbers.hidden_gradient(p, each),
        _numbers.gate_gradient(p, each),
        contribution,
        running,
        _numbers.saturation(bounded, p.exist, each),
        float((np.abs(bounded[p.exist]) > _numbers.SATURATED).mean()),
        None if cell is None else _numbers.saturation(np.tanh(cell), p.exist, each),
        _numbers.gate_activation(p, each),
        float((hidden[p.exist] == 0).all(axis=0).mean()),
        jacobian,
        logs,
        singular,
        radius,
        "W_hh" if plain else "the last step",
        radii,
        lyapunov,
        decay,
        np.zeros(0, np.int64) if found is None else found.sequences,
    )


def _spread(
    found: _dynamics.Dynamics, batch: int, each: bool
) -> tuple[Array, Array, Array | None, Array]:
    """Per example or averaged: norms, their logarithms, singular values, exponents."""
    logs, values = found.log_norms, found.log_singular_values
    if not each:
        there = ~np.isnan(logs)
        count = there.sum(axis=0)
        total = np.where(there, logs, 0.0).sum(axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        singular = None if values is None else _dynamics.log_mean(values, 0)
        return _dynamics.log_mean(logs, 0), mean, singular, _living_mean(found.exponents)

    def placed(one: Array) -> Array:
        whole = np.full((batch, *one.shape[1:]), np.nan)
        whole[found.sequences] = one
        return whole

    singular = None if values is None else placed(np.exp(values))
    return placed(np.exp(logs)), placed(logs), singular, placed(found.exponents)


def _living_mean(exponents: Array) -> Array:
    """Mean over the sequences, (n, k) -> (k,), without those where it is -inf."""
    alive = exponents > -np.inf
    count = alive.sum(axis=0)
    total = np.where(alive, exponents, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), -np.inf)


def _decay(p: PassRecord, found: _dynamics.Dynamics) -> float | None:
    """Geometric mean of the factor per step, over the sequences of more than one."""
    first = np.where(p.reverse, p.lengths - 1, 0)[found.sequences]
    logs = found.log_norms[np.arange(len(first)), first]
    gaps = p.lengths[found.sequences] - 1
    if not (gaps > 0).any():
        return None
    # exactly 0 in one of them (ReLU units that are all off) would make the mean 0
    counted = (gaps > 0) & (logs > -np.inf)
    return float(np.exp(logs[counted].sum() / gaps[counted].sum())) if counted.any() else 0.0


def _output(record: Record, each: bool, readout: bool) -> OutputFlow:
    batch, time = record.top.shape[:2]
    gradient = _numbers.norms(record.d_y, (2,) if each else (0, 2))
    if not readout:
        return OutputFlow(gradient, None, None)
    terms = _numbers.output_contributions(record, each)
    return OutputFlow(gradient, *_numbers.sizes(terms, time, batch if each else None))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
