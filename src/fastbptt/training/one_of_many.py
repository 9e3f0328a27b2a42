"""One model of a call of `fit_many`: its data, and how its run is watched and stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import _core
from .._interrupt import DeferredInterrupt
from .batches import Rows
from .holdout import HoldOut, hold_out
from .labelled import LabelledData

if TYPE_CHECKING:
    from .callbacks import TrainingRun
    from .prepared import PreparedSteps
    from .settings import Settings


class StopRequest(DeferredInterrupt):
    """Stops the runs of all models between updates; signals are left to whoever sets `asked`.

    left_behind: `fit_many` has ended without them, and another run may have their folder.
    """

    left_behind = False

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class OneOfMany:
    """Stands in the place of `x` in a call of `fit`.

    Parameters
    ----------
    interrupt : StopRequest
    x, y
        As for `fit`, if the model has data of its own.
    data : LabelledData or None
        Data of all models, whose contents have been checked.
    rows : int64 array or None
        The sequences in `data` that this one is trained on; None: all.

    Attributes
    ----------
    crew : TrainingCrew or None
        The models whose steps go together with those of this one.
    run : TrainingRun or None
        Where training stands, once it has begun.
    settings : Settings or None
        Of this run.
    steps : PreparedSteps or None
        Of a run that does nothing between two epochs.
    begun : bool
        Whether all arguments have been checked, and training begins.
    identity : mapping of str to str
        Of the model in its run, if that may be resumed: parts of the checkpoint's fingerprint.
    """

    def __init__(
        self,
        interrupt: StopRequest,
        x: Any = None,
        y: Any = None,
        data: LabelledData | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.interrupt = interrupt
        self.x, self.y = x, y
        self.data, self.rows = data, rows
        self.crew: _core.TrainingCrew | None = None
        self.run: TrainingRun | None = None
        self.settings: Settings | None = None
        self.steps: PreparedSteps | None = None
        self.begun = False
        self.identity: Mapping[str, str] = {}

    @property
    def may_save(self) -> bool:
        """Whether this thread may write into the folder of its run."""
        return not self.interrupt.left_behind

    def sets(self, data: LabelledData, validation: Any, class_weight: Any, seed: int) -> HoldOut:
        """Return the training and validation sequences of the data of all models.

        validation: as for `fit`, or LabelledData; with `rows` may be rows of `data` too.
        """
        if isinstance(validation, LabelledData):
            validation = validation.of(data.model)
        if self.rows is None:
            return hold_out(data, validation, class_weight, seed, checked=True)
        if isinstance(validation, LabelledData) or validation is None:
            every = hold_out(data, validation, None, seed, checked=True)
            return HoldOut(data, self.rows, None, every.held_out, every.held_out_rows, None)
        return HoldOut(data, self.rows, None, data, validation, None)
