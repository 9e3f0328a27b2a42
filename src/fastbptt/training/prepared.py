"""Training steps whose arguments are checked once for a whole run: many in one call into the core.

What they do is what `Recurrent.train_step` does for each batch, to the bit; its arguments are those
of a run that needs nothing of Python between two batches.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _core
from .._losses import CustomLoss, Losses
from ..models import _penalties
from ..models.recurrent import Recurrent
from .batches import Gathered, Rows
from .callbacks import TrainingRun
from .holdout import HoldOut
from .output_blocks import WeightsOfBlocks
from .settings import Settings


class PreparedSteps:
    """The training steps of one run.

    Parameters
    ----------
    run : TrainingRun
    sets : HoldOut
    settings : Settings
        Of which `can_prepare` is true.

    Attributes
    ----------
    done : int
        Batches of the last `train`, also after an exception.
    crew : TrainingCrew or None
        Which this thread has joined: its members make their steps together.
    seconds : float
        Of the processor, in calls of the core.
    """

    def __init__(self, run: TrainingRun, sets: HoldOut, settings: Settings) -> None:
        self._model, self._optimizer = run.model, run.optimizer
        self._sets, self._settings = sets, settings
        update = settings.update
        clip = _check.clip(update["clip_norm"], update["clip_value"])
        self._clip = None if clip.norm is None and clip.value is None else clip
        self._data: _core.TrainingData | None = None  # until `_prepare`
        self._frozen: frozenset[str] = frozenset()
        self._terms: list[tuple[str, int]] = []  # penalties, and the column of each
        self._columns = 0
        self._losses = self._penalties = np.empty((0, 0))
        self.done = 0
        self.crew: _core.TrainingCrew | None = None
        self.seconds = 0.0

    def _prepare(self) -> _core.TrainingData:
        """Make the core's structures of everything that stays the same."""
        model, sets, settings = self._model, self._sets, self._settings
        weights, data, loss = model._weights, sets.data, sets.data.loss
        assert isinstance(data.x, Gathered)
        several = isinstance(loss, Losses)
        objective = _core.Objective(
            loss=loss,
            steps=settings.steps,
            reduction=settings.reduction,
            y=None,
            losses=np.empty(len(loss.losses)) if several else None,
        )
        given = {name: settings.update.get(name) for name in _penalties.NAMES}
        penalties = _penalties.check(given, model._spec, weights, model.frozen)
        self._terms, self._columns = [], 0
        if penalties is not None:
            objective = penalties.beside(objective)
            self._terms = [(name, k) for k, name in enumerate(penalties.names)]
            first = self._columns = len(penalties.names)
            for k, name in enumerate(_penalties.OF_STATES):
                if penalties.of_states[k]:
                    self._terms.append((name, first + k))
                    self._columns = first + len(_penalties.OF_STATES)
        parts: list[Any] = list(data.blocks.values()) or [data]
        own: Any = sets.weights
        if own is not None:  # of each block
            own = list(own.blocks.values()) if isinstance(own, WeightsOfBlocks) else [own]
            own = tuple(None if one is None else one.sequences() for one in own)
        self._data = model._engine.training_data(
            objective,
            x=data.x.sequences,
            y=tuple(part.y.sequences for part in parts),
            sample_weight=own,
            warmup=0 if sets.weights is None else sets.weights.warmup,
            static=None if data.constants is None else _core.StridedSequences(data.constants),
            resets=None if data.resets is None else data.resets.sequences,
            lengths=data.lengths if data.x.ragged else None,
            time=data.x.time,
        )
        self._frozen = weights.frozen
        return self._data

    def train(
        self, rows: Rows, starts: Rows, size: int, seconds: float, rates: list[float]
    ) -> None:
        """Train on batches until so many seconds are over, but on one at least.

        Parameters
        ----------
        rows : int64 array
            The sequences of an epoch.
        starts : int64 array
            Where the batches begin in it.
        size : int
            Sequences of a batch, at most.
        seconds : float
        rates : list of float
            The learning rate of each batch; empty: the optimiser's.
        """
        model, optimizer, count = self._model, self._optimizer, len(starts)
        weights, seeds = model._weights, model._dropout_seeds
        data = self._data
        if data is None or weights.frozen is not self._frozen:
            data = self._prepare()
        blocks = self._sets.data.blocks
        self._losses = np.empty((count, 1 + len(blocks)))
        self._penalties = np.empty((count, self._columns))
        self.done = data.done = 0
        with optimizer._lock:
            binding = optimizer._binding_for(weights)
            update = binding.update
            if self._clip is not None:
                update = update.replace(clip=self._clip)
            before, start = seeds.state, time.thread_time()
            try:
                model._engine.train_batches(
                    data,
                    update,
                    rows,
                    starts,
                    size,
                    seconds,
                    self._losses,
                    self._penalties,
                    np.array(rates) if rates else None,
                    *seeds.reserve(count),
                    self.crew,
                )
            finally:  # a step that has failed leaves no trace
                self.seconds += time.thread_time() - start
                self.done = done = data.done
                seeds.settle(before, count, done)
                if done:
                    optimizer._binding = binding
                    model._trained_steps = self._settings.steps
                    self._note(done - 1)

    def _note(self, last: int) -> None:
        """Keep what `last_losses` and `last_penalties` return."""
        records = self._model._records
        if self._sets.data.blocks:
            values = self._losses[last].tolist()[1:]
            records.losses = dict(zip(self._sets.data.blocks, values, strict=True))
        if self._terms:
            values = self._penalties[last].tolist()
            records.penalties = {name: values[column] for name, column in self._terms}

    @property
    def batch_loss(self) -> float:
        """The loss of the last batch of the last `train`."""
        return float(self._losses[self.done - 1, 0])

    def losses(self) -> dict[str, list[float]]:
        """Return the losses of the batches of the last `train`, by block of outputs."""
        blocks = self._sets.data.blocks
        if not blocks:
            return {"": self._losses[: self.done, 0].tolist()}
        return dict(zip(blocks, self._losses[: self.done, 1:].T.tolist(), strict=True))

    def penalties(self) -> dict[str, list[float]]:
        """Return the penalties of these batches, by name."""
        if not self._terms:
            return {}
        values = self._penalties[: self.done].T.tolist()
        return {name: values[column] for name, column in self._terms}


def can_prepare(run: TrainingRun, sets: HoldOut, settings: Settings) -> bool:
    """Whether the steps of a run need nothing of Python between two batches."""
    data, model = sets.data, run.model
    if (
        settings.augment is not None
        or data.streamed
        or isinstance(data.loss, CustomLoss)
        or not settings.update.keys() <= {"clip_norm", "clip_value", *_penalties.NAMES}
        or any(callback.record is not None for callback in settings.callbacks)
        or getattr(model.train_step, "__func__", None) is not Recurrent.train_step
        or not isinstance(data.x, Gathered)
        or data.x.time * settings.batch_size > model._input_spec.most_steps
    ):
        return False
    every: list[Any] = [data.x, *(one.y for one in data.blocks.values() or [data])]
    return all(isinstance(one, Gathered) and _is_read(one.dtype) for one in every)


def _is_read(dtype: np.dtype[Any]) -> bool:
    """Whether the core reads numbers of this type as they lie."""
    return dtype.isnative and (dtype.kind != "f" or dtype.itemsize in (4, 8))


def sums_of_batches(
    values: NDArray[np.float64] | None, rows: Rows, starts: Rows, size: int
) -> list[float]:
    """Sum the values of each batch's sequences, as NumPy sums them; None: all are 1."""
    if values is None:
        return [float(min(size, len(rows) - start)) for start in starts.tolist()]
    taken = values[rows]
    return [float(taken[start : start + size].sum()) for start in starts.tolist()]
