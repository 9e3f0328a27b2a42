"""Truncated backpropagation through time: a batch in chunks, the state carried, the gradient cut.

Each chunk of steps is forward, loss, backward and update; the next one starts from the state that
it ended in, as from a constant. Memory is that of one chunk. R. J. Williams and J. Peng, "An
efficient gradient-based algorithm for on-line training of recurrent network trajectories", Neural
Computation 2 (1990): BPTT(h; h') with h = h'.

The loss of a chunk is reduced over what lies in the chunk:

- ``steps="all"``: its real steps; with ``reduction="sequence_mean"`` a sequence counts by the share
  of its own steps that lie there. A chunk whose steps all have weight 0 only carries the state.
- ``steps="last"``: the sequences that end there. A chunk in which none ends, or none that has
  weight, only carries the state.

Losses of chunks are put together in the same proportions, so that the result is what one pass over
the whole batch would report if no update came in between; those of several blocks of outputs each
in the proportions of their own weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._check import Floats
from .._core import Batch, Engine, Objective, Update
from .._errors import BadArgumentError
from ._arguments import InputSpec, Lengths, check_objective_weights, of_each
from ._dropout_seeds import DropoutSeeds
from .results import NormProbes, StepReport, probes

if TYPE_CHECKING:
    from ..optim.optimizers import Binding


class Chunk(NamedTuple):
    """Some steps of those sequences that have not ended before."""

    first: int
    stop: int
    rows: NDArray[np.intp] | None  # the sequences; None: all
    lengths: Lengths  # of their parts that lie here
    weight: Any  # of sequences or steps; a tuple: of each block of outputs
    # what its loss, or that of each block, counts beside those of other chunks; 0: it has none
    counts: NDArray[np.float64]

    def of_batch(
        self,
        batch: Batch,
        initial: tuple[Floats | None, ...] | None,
        seed: int | None,
        noise_seed: int | None,
    ) -> Batch:
        """Cut these steps out, to start from the given states.

        Dropout masks are those of `seed`; the noise is that of the whole batch.
        """
        steps = slice(self.first, self.stop)
        x: Any = batch.x[:, steps] if self.rows is None else batch.x[self.rows, steps]
        resets = batch.resets
        if resets is not None:
            resets = resets[:, steps] if self.rows is None else resets[self.rows, steps]
            resets = np.ascontiguousarray(resets) if resets.any() else None
        static = batch.static if self.first == 0 else None
        return batch.replace(
            x=x,
            lengths=self.lengths,
            initial=initial,
            static=static,
            resets=resets,
            dropout_seed=seed,
            noise_seed=noise_seed,
            numbers=self.rows,
            first_step=self.first,
        )

    def of_objective(self, objective: Objective) -> Objective:
        """Cut the targets of these steps out."""
        return objective.replace(
            y=of_each(objective.y, lambda y: self._targets(y, objective.steps == "all")),
            sample_weight=self.weight,
        )

    def _targets(self, y: Any, every: bool) -> Any:
        y = y if self.rows is None else y[self.rows]
        return y[:, self.first : self.stop] if every else y

    def locate(self, error: BadArgumentError, steps: str) -> None:
        """Put the batch's indices into an error, which has the chunk's."""
        if self.first == 0:
            return
        if error.argument.partition("[")[0] not in ("x", "y", "sample_weight") or not error.index:
            error.context.append(
                f"in the chunk of steps {self.first} to {self.stop - 1}; "
                "what the chunks before it had changed is as it was"
            )
            return
        row, *rest = error.index
        if error.argument == "x" or (steps == "all" and rest):
            rest[0] += self.first
        error.index = (row if self.rows is None else int(self.rows[row]), *rest)


def chunks(
    whole: Lengths, time: int, given: Any, steps: str, reduction: str, size: int
) -> Iterator[Chunk]:
    """Cut a batch into chunks of `size` steps; the last one may be shorter.

    whole : lengths of the sequences; None: all have `time` steps
    given : weights of sequences or of steps, None: ones; a tuple: those of each block of outputs
    """
    if whole is None or (whole == whole[0]).all():
        yield from _even(time if whole is None else int(whole[0]), given, steps, size)
        return
    several = isinstance(given, tuple)
    weights = [
        np.ones(len(whole)) if one is None else one for one in (given if several else [given])
    ]
    end = int(whole.max())
    for first in range(0, end, size):
        stop = min(first + size, end)
        rows = np.flatnonzero(whole > first)
        total = whole[rows]
        inside = np.minimum(total, stop) - first
        counts, shares = [], []
        for weight in weights:
            each = weight.ndim == 2  # step has a weight
            own = _inside(weight[rows, first:stop], inside) if each else weight[rows]
            if steps == "last":
                own = own * (total <= stop)
            elif reduction == "sequence_mean":
                part = inside / total
                own = own * (part[:, np.newaxis] if each else part)
            sums = own.sum(axis=1) if each else own * inside
            per_step = steps == "all" and reduction == "mean"
            share = sums if per_step else sums / inside if each else own
            counts.append(own)
            shares.append(float(share.sum()))
        yield Chunk(
            first,
            stop,
            None if len(rows) == len(whole) else rows,
            None if int(inside.min()) == stop - first else inside,
            tuple(counts) if several else counts[0],
            np.array(shares),
        )


def _even(end: int, given: Any, steps: str, size: int) -> Iterator[Chunk]:
    """Chunks of sequences of one length."""
    for first in range(0, end, size):
        stop = min(first + size, end)
        counts, shares = [], []
        for weight in given if isinstance(given, tuple) else [given]:
            part, share = weight, 0.0
            if weight is not None and weight.ndim == 2:
                part = weight[:, first:stop]
                share = float(part.sum())
            elif (steps == "all" or stop == end) and (weight is None or weight.any()):
                share = float(stop - first)
            counts.append(part)
            shares.append(share)
        own = tuple(counts) if isinstance(given, tuple) else counts[0]
        yield Chunk(first, stop, None, None, own, np.array(shares))


def _inside(weight: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of steps, 0 after the ends: what stands there may be anything."""
    return np.where(np.arange(weight.shape[1]) < lengths[:, np.newaxis], weight, 0.0)


def train(
    engine: Engine,
    spec: InputSpec,
    seeds: DropoutSeeds,
    binding: Binding,
    batch: Batch,
    objective: Objective,
    update: Update,
    size: int,
    budget: int,
    final: tuple[Floats, ...] | None,
    norms: NormProbes | None,
) -> tuple[float, StepReport | None]:
    """Train on a batch in chunks; if anything fails, put everything back as it was.

    The result is the loss, and with a budget a report; final states are written at the end, if
    they are wanted.
    """
    check_objective_weights(objective, batch.lengths)
    before, put_back = engine.get_params(), binding.keep()
    kept = None if final is None else tuple(one.copy() for one in final)
    taken: list[int] = []
    reports: list[StepReport] = []
    losses: Any = 0.0
    total_shares: Any = 0.0
    penalty_values = [
        given[-1] for given in (objective.penalties, objective.activity) if given is not None
    ]
    penalties: list[list[NDArray[np.float64]]] = []  # of each update
    start: tuple[Floats | None, ...] | None = None
    if batch.initial is not None:
        with np.errstate(over="ignore"):  # an overflow becomes inf, which the core reports
            start = tuple(
                None if one is None else np.array(one, spec.dtype) for one in batch.initial
            )
    current: tuple[Floats, ...] | None = None  # the states after the chunks so far
    chunk = None
    try:
        for chunk in chunks(
            batch.lengths,
            batch.x.shape[1],
            objective.sample_weight,
            objective.steps,
            objective.reduction,
            size,
        ):
            seed = seeds.take(taken)
            initial, rows = start if current is None else current, chunk.rows
            if rows is not None and current is not None:
                initial = tuple(np.take(state, rows, axis=1) for state in current)
            part = chunk.of_batch(batch, initial, seed, taken[0] if taken else None)
            recorded = None
            if norms is not None:
                recorded = NormProbes(norms.names, part.x.shape[1], chunk.lengths)
            if not chunk.counts.any():
                ends = engine.predict(part, "last", False, False)[2]  # the state alone
            else:
                shape = (spec.rows, len(part.x), spec.hidden_size)
                ends = tuple(np.empty(shape, spec.dtype) for _ in spec.states)
                value = engine.train_step(
                    part, chunk.of_objective(objective), update, probes(recorded, ends), budget
                )
                own = objective.losses if objective.losses is not None else np.array([value])
                shares = np.ones(1) if objective.reduction == "sum" else chunk.counts
                losses, total_shares = losses + shares * own, total_shares + shares
                penalties.append([values.copy() for values in penalty_values])
                if budget:
                    reports.append(StepReport(*engine.report()))
            if norms is not None and recorded is not None:
                norms.insert(chunk.first, recorded)
            if rows is None or current is None:
                current = ends
            else:
                for state, end in zip(current, ends, strict=True):
                    state[:, rows] = end
        assert current is not None
        report = _summed(reports) if reports else None
        if final is not None:
            for given, state in zip(final, current, strict=True):
                given[...] = state
        for k, values in enumerate(penalty_values):
            values[...] = np.mean([update[k] for update in penalties], axis=0)
        if objective.reduction != "sum":
            losses = losses / np.where(total_shares > 0.0, total_shares, 1.0)
        if objective.losses is None:
            return float(losses[0]), report
        objective.losses[...] = losses
        return objective.loss._total(dict(zip(objective.loss.losses, losses, strict=True))), report
    except BaseException as error:
        engine.set_params(before)
        put_back()
        if final is not None and kept is not None:
            for given, state in zip(final, kept, strict=True):
                given[...] = state
        seeds.give_back(taken)
        if chunk is not None and isinstance(error, BadArgumentError):
            chunk.locate(error, objective.steps)
        raise


def _summed(reports: list[StepReport]) -> StepReport:
    return StepReport(
        max(report.segments for report in reports),
        max(report.bytes for report in reports),
        sum(report.seconds for report in reports),
        sum(report.recompute_seconds for report in reports),
    )
