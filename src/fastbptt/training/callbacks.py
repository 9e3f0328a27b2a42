"""What may look on, and take part, while a model is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .._losses import Loss
    from ..models.recurrent import Recurrent
    from ..optim.optimizers import Optimizer
    from .history import History


class TrainingRun:
    """What callbacks see of a run of `fastbptt.fit`.

    Attributes
    ----------
    model : Recurrent
    optimizer : Optimizer
        Its ``lr`` may be set, if there is no schedule.
    history : History
        Of the epochs that are complete; at `on_epoch_end` this one is.
    epoch : int
        The epoch that is going on, from 1; 0 before the first.
    epochs : int
        How many there will be at most.
    step : int
        Updates that this run has made, in all its epochs.
    steps_per_epoch : int
    batch_loss : float
        Of the last batch, before its update.
    loss : `fastbptt.Loss`
        The objective's.
    steps : str
        The objective's: ``"last"`` or ``"all"``.
    """

    def __init__(
        self,
        model: Recurrent,
        optimizer: Optimizer,
        history: History,
        epochs: int,
        steps_per_epoch: int,
        loss: Loss,
        steps: str,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.history = history
        self.epoch = 0
        self.epochs = epochs
        self.step = 0
        self.steps_per_epoch = steps_per_epoch
        self.batch_loss = float("nan")
        self.loss = loss
        self.steps = steps

    def __repr__(self) -> str:
        return f"TrainingRun(epoch {self.epoch} of {self.epochs}, step {self.step})"


class Callback:
    """Base of what `fastbptt.fit` calls while it trains. Override what you need.

    `on_batch_end` and `on_epoch_end` may return True: then training stops, after this batch or
    epoch. An exception ends `fit`, but for KeyboardInterrupt, which stops it as Ctrl-C does.

    Attributes
    ----------
    record : None or "gradients"
        With the latter each step also records gradients, and ``run.model.last_gradients`` are
        those of the last batch in `on_batch_end`.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> class StopAt(fastbptt.Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch_end(self, run):
    ...         return run.history["loss"][-1] < self.loss
    >>> x = np.random.default_rng(0).normal(size=(64, 5, 1))
    >>> model = fastbptt.RNN(1, 8, 1, seed=0)
    >>> history = fastbptt.fit(
    ...     model, x, x[:, -1] > 0, epochs=500, callbacks=[StopAt(0.3)], verbose=0
    ... )
    >>> history.stopped, history["loss"][-1] < 0.3
    ('callback', True)
    """

    record: ClassVar[str | None] = None

    def on_train_begin(self, run: TrainingRun) -> None:
        """Before the first epoch; of a resumed run before `load_state`."""

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Before the first batch of an epoch."""

    def on_batch_end(self, run: TrainingRun) -> bool | None:
        """After each update; true: stop here."""

    def on_epoch_end(self, run: TrainingRun) -> bool | None:
        """After an epoch, when its numbers are in the history; true: stop here."""

    def on_train_end(self, run: TrainingRun) -> None:
        """After the last epoch, when the best weights are back; also after Ctrl-C."""

    def state(self) -> dict[str, Any]:
        """Return what `load_state` needs after an interruption, as values fit for JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up where `state` was called; `state` is what it returned."""
