"""Callbacks: user code that runs during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .._losses import CustomLoss, Loss, Losses
    from ..models.recurrent import Recurrent
    from ..optim.optimizers import Optimizer
    from .history import History


class TrainingRun:
    """The state of a run of `fastbptt.fit`, as callbacks see it.

    Attributes
    ----------
    model : Recurrent
    optimizer : Optimizer
        Its ``lr`` may be set, if there is no schedule.
    history : History
        The completed epochs; at `on_epoch_end` including the current one.
    epoch : int
        The current epoch, from 1; 0 before the first.
    epochs : int
        The maximum number of epochs.
    step : int
        The number of updates so far, over all epochs.
    steps_per_epoch : int
    batch_loss : float
        Of the last batch, before its update.
    loss : `fastbptt.Loss` or `fastbptt.Losses`
        The objective's; with a function as `loss` its name, for messages.
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
        loss: Loss | Losses | CustomLoss,
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
    """Base class of callbacks of `fastbptt.fit`. Override the methods you need.

    If `on_batch_end` or `on_epoch_end` returns True, training stops after this batch or epoch. An
    exception ends `fit`, except KeyboardInterrupt, which stops it as Ctrl-C does. Without any
    `on_batch_end` small models train faster: many updates are one call into the core.

    Attributes
    ----------
    record : None or "gradients"
        With "gradients" each step also records gradients; in `on_batch_end`
        ``run.model.last_gradients`` holds those of the last batch.

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
        """Called before the first epoch; in a resumed run before `load_state`."""

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Called before the first batch of an epoch."""

    def on_batch_end(self, run: TrainingRun) -> bool | None:
        """Called after each update; return True to stop training."""

    def on_epoch_end(self, run: TrainingRun) -> bool | None:
        """Called after an epoch, with its values in the history; return True to stop training."""

    def on_train_end(self, run: TrainingRun) -> None:
        """Called after training, with the best weights restored; also after Ctrl-C."""

    def state(self) -> dict[str, Any]:
        """Return the callback's state for a checkpoint, as values that JSON can hold."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `state` returned."""
