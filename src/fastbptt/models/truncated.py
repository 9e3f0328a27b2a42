"""Truncated backpropagation through time: a batch in chunks, the state carried, the gradient cut.

Each chunk of steps is forward, loss, backward and update; the next one starts from the state that
it ended in, as from a constant. Memory is that of one chunk. R. J. Williams and J. Peng, "An
efficient gradient-based algorithm for on-line training of recurrent network trajectories", Neural
Computation 2 (1990): BPTT(h; h') with h = h'.

The loss of a chunk is reduced over what lies in the chunk:

- ``steps="all"``: its real steps; with ``reduction="sequence_mean"`` a sequence counts by the share
  of its own steps that lie there.
- ``steps="last"``: the sequences that end there. A chunk in which none ends, or none that has
  weight, only carries the state.

Losses of chunks are put together in the same proportions, so that the result is what one pass over
the whole batch would report if no update came in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._check import Floats, Targets
from ._arguments import Inputs, Lengths
from .results import Recording, StepReport

if TYPE_CHECKING:
    from ..optim.optimizers import Binding
    from .recurrent import Recurrent


class Call(NamedTuple):
    """A training step's arguments, checked, as the core takes them."""

    x: Inputs
    y: Targets
    loss: str
    steps: str
    reduction: str
    lengths: Lengths
    initial: tuple[Floats, ...] | None
    weight: NDArray[np.float64] | None
    finite: bool
    clip_norm: float
    clip_value: float
    budget: int


class Chunk(NamedTuple):
    """Some steps of those sequences that have not ended before."""

    first: int
    stop: int
    rows: NDArray[np.intp] | None  # the sequences; None: all
    lengths: Lengths  # of their parts that lie here
    weight: NDArray[np.float64] | None
    share: float | None  # what its loss counts beside those of other chunks; None: it has none


def chunks(call: Call, size: int) -> Iterator[Chunk]:
    """Cut a batch into chunks of `size` steps; the last one may be shorter."""
    if call.lengths is None or (call.lengths == call.lengths[0]).all():
        yield from _even(call, size)
        return
    whole = call.lengths
    weight = np.ones(len(whole)) if call.weight is None else call.weight
    end = int(whole.max())
    for first in range(0, end, size):
        stop = min(first + size, end)
        rows = np.flatnonzero(whole > first)
        total, counts = whole[rows], weight[rows]
        inside = np.minimum(total, stop) - first
        if call.steps == "last":
            counts = counts * (total <= stop)
        elif call.reduction == "sequence_mean":
            counts = counts * (inside / total)
        per_step = call.steps == "all" and call.reduction == "mean"
        share = float((counts * inside if per_step else counts).sum())
        yield Chunk(
            first,
            stop,
            None if len(rows) == len(whole) else rows,
            None if int(inside.min()) == stop - first else inside,
            counts,
            share if counts.any() else None,
        )


def _even(call: Call, size: int) -> Iterator[Chunk]:
    """Chunks of sequences of one length."""
    end = call.x.shape[1] if call.lengths is None else int(call.lengths[0])
    for first in range(0, end, size):
        stop = min(first + size, end)
        counts = call.steps == "all" or stop == end
        yield Chunk(first, stop, None, None, call.weight, float(stop - first) if counts else None)


def train(
    model: Recurrent,
    binding: Binding,
    call: Call,
    size: int,
    final: tuple[Floats, ...] | None,
    recording: Recording | None,
) -> float:
    """Walk a batch in chunks; if anything fails, put everything back as it was.

    The result is the loss; final states are written at the end, if they are wanted.
    """
    if call.weight is not None and not call.weight.any():
        raise ValueError("sample_weight holds only zeros; expected at least one above 0")
    engine, keys = model._engine, model._keys
    before, put_back = engine.get_params(), binding.keep()
    taken: list[int] = []
    reports: list[StepReport] = []
    loss, shares = 0.0, 0.0
    current = None
    if call.initial is not None:
        with np.errstate(over="ignore"):  # an overflow becomes inf, which the core reports
            current = tuple(np.array(one, model._dtype) for one in call.initial)
    chunk = None
    try:
        for chunk in chunks(call, size):
            if model._drops:
                taken.append(keys.take())
            key = taken[-1] if taken else None
            part = None
            if recording is not None:
                part = Recording(recording.names, chunk.stop - chunk.first, chunk.lengths)
            value, ends = _step(model, binding, call, chunk, current, key, part)
            if recording is not None and part is not None:
                recording.insert(chunk.first, part)
            if chunk.rows is None or current is None:
                current = ends
            else:
                for state, end in zip(current, ends, strict=True):
                    state[:, chunk.rows] = end
            if chunk.share is not None:
                share = 1.0 if call.reduction == "sum" else chunk.share
                loss, shares = loss + share * value, shares + share
                if call.budget:
                    reports.append(StepReport(*engine.report()))
    except BaseException as error:
        engine.set_params(before)
        put_back()
        for key in reversed(taken):
            keys.give_back(key)
        if chunk is not None and isinstance(error, ValueError):
            raise ValueError(_located(str(error), chunk, call)) from None
        raise
    assert current is not None
    if final is not None:
        for given, state in zip(final, current, strict=True):
            given[...] = state
    if reports:
        model._report = _summed(reports)
    return loss if call.reduction == "sum" else loss / shares


def _step(
    model: Recurrent,
    binding: Binding,
    call: Call,
    chunk: Chunk,
    current: tuple[Floats, ...] | None,
    key: int | None,
    recording: Recording | None,
) -> tuple[float, tuple[Floats, ...]]:
    """One chunk: its loss, and the states of its sequences after it."""
    rows, time = chunk.rows, slice(chunk.first, chunk.stop)
    x: Any = call.x[:, time] if rows is None else call.x[rows, time]
    initial = current
    if rows is not None and current is not None:
        initial = tuple(np.take(state, rows, axis=1) for state in current)
    if chunk.share is None:
        tape = model._engine.forward(x, chunk.lengths, initial, key, call.finite)
        return 0.0, tape.final_state
    y: Any = call.y if rows is None else call.y[rows]
    if call.steps == "all":
        y = y[:, time]
    form = model._form
    final = tuple(np.empty((form.rows, len(x), form.hidden_size), form.dtype) for _ in form.states)
    value = model._engine.train_step(
        x,
        y,
        call.loss,
        call.steps,
        call.reduction,
        chunk.lengths,
        initial,
        chunk.weight,
        key,
        call.finite,
        binding.state,
        call.clip_norm,
        call.clip_value,
        call.budget,
        final,
        None if recording is None else recording.arrays,
    )
    return value, final


def _summed(reports: list[StepReport]) -> StepReport:
    return StepReport(
        max(report.segments for report in reports),
        max(report.bytes for report in reports),
        sum(report.seconds for report in reports),
        sum(report.recompute_seconds for report in reports),
    )


_INDEX: Final = re.compile(r"(x|y|sample_weight) .* at index \((\d+)(?:, (\d+))?")


def _located(message: str, chunk: Chunk, call: Call) -> str:
    """Say where in the batch it was: the core counts within the chunk."""
    if chunk.first == 0:
        return message
    found = _INDEX.match(message)
    if not found:
        return (
            f"{message} (in the chunk of steps {chunk.first} to {chunk.stop - 1}; "
            "what the chunks before it had changed is as it was)"
        )
    name, row, step = found.group(1), found.group(2), found.group(3)
    place = str(int(row) if chunk.rows is None else chunk.rows[int(row)])
    if step is not None:
        timed = name == "x" or (name == "y" and call.steps == "all")
        place += f", {int(step) + chunk.first if timed else step}"
    start, end = found.start(2), found.end(3 if step is not None else 2)
    return message[:start] + place + message[end:]
