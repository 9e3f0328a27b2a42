"""One network trained by the ranks of an MPI communicator, each with a part of every batch.

All ranks hold the whole data and the same network. Of each batch a rank takes a stretch of rows,
and computes what these add to the loss and the gradient of the whole batch: the weights of its
targets are divided by those of all. The sums over the ranks are made in the order of the ranks,
whatever way the numbers take, and every rank does the same update.

No rank decides alone. What one of them meets (an error, Ctrl-C, a checkpoint that is due) goes
along with the sums, so all stop at the same place; an error elsewhere ends the job.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._check import F64, Floats, one_line, shown
from .._core import GradientTargets
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._interrupt import DeferredInterrupt, Interrupted
from .._losses import CustomLoss, Loss
from ..models import _penalties
from ..models._arguments import Lengths
from ..models._dropout_seeds import of_later_rows
from ..models.results import StepReport
from ..optim.optimizers import Optimizer
from . import checkpoints
from .batches import Augmentation, Rows, augmented
from .callbacks import Callback, TrainingRun
from .labelled import LabelledData, locate
from .settings import Settings

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ..models.recurrent import Recurrent
    from .evaluation import Measured

# What is called of a communicator: mpi4py's names.
_METHODS: Final = ("Abort", "Allgather", "Alltoall", "Get_rank", "Get_size", "allgather", "bcast")
_LINE: Final = 64  # bytes
_TO_BE_READ: Final = 0.5  # seconds in which the launcher passes on a message, before it kills all
Bytes: TypeAlias = NDArray[np.uint8]


def check(comm: Any) -> None:
    """Check `comm`: an intracommunicator of mpi4py, or an object with its methods."""
    missing = [name for name in _METHODS if not callable(getattr(comm, name, None))]
    expected = (
        "a communicator of mpi4py: MPI.COMM_WORLD after `from mpi4py import MPI`, which "
        "`pip install 'fastbptt[mpi]'` installs; None to train in one process"
    )
    if missing or isinstance(comm, type):
        raise ArgumentTypeError("comm", f"is {shown(comm)}", expected)
    try:
        comm.Get_size()
        several = getattr(comm, "is_inter", False)
    except Exception as error:  # of mpi4py's type, if it is there
        raise ArgumentError(
            "comm",
            f"is not usable ({one_line(error)}), as MPI.COMM_NULL is, which ranks get that have no "
            "part in a communicator",
            "fit to be called by its ranks alone: if comm != MPI.COMM_NULL",
        ) from None
    if several:
        raise ArgumentError("comm", "is an intercommunicator, of two groups", "one of one group")


class RankError(RuntimeError):
    """Training on several ranks has ended on all of them, because one of them failed.

    Raised by `fastbptt.fit` on the other ranks; the one that failed raises its own error.

    Attributes
    ----------
    ranks : tuple of int
        Those that failed.

    Examples
    --------
    >>> from fastbptt.training import RankError
    >>> RankError({1: "ValueError: y holds class 4"}).ranks
    (1,)
    """

    def __init__(self, failed: Mapping[int, str]) -> None:
        self.ranks = tuple(failed)
        super().__init__("; ".join(f"rank {rank} failed: {text}" for rank, text in failed.items()))
        self._failed = dict(failed)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._failed,)


class Ranks:
    """The ranks that train one network together, as one of them sees them.

    A context: an error before `begin` is one of all ranks; a later one that the others do not know
    of ends the job.

    Parameters
    ----------
    comm : mpi4py communicator

    Attributes
    ----------
    rank, size : int
    interrupt : DeferredInterrupt
        Ctrl-C of any rank, noticed by all of them at the same place.
    """

    def __init__(self, comm: Any) -> None:
        check(comm)
        self._comm = comm
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self.interrupt = _InterruptOfAll()
        self.checkpoint_due = False  # as the first rank said with the last sums
        self._begun = False
        self._known: BaseException | None = None  # an error that all ranks raise
        self._step: _Step | None = None
        self._place = ""  # of the checkpoint, for the message of a rank that fails alone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or error is self._known:
            self._close()
        elif not self._begun:
            try:
                self._exchange(error, None)
            except BaseException as known:
                if known is not error:
                    raise
        elif self.size > 1:
            self._end_of_job(error)

    # ------------------------------------------------------------ before training

    def refuse(
        self,
        *,
        stream: bool,
        loss: Any,
        bptt_steps: Any,
        callbacks: Sequence[Callback],
    ) -> None:
        """Refuse what several ranks cannot do as one."""
        why = "because comm is given"
        if stream:
            raise ArgumentError(
                "x",
                "is an iterator",
                f"arrays {why}: all data on each rank, which may be memory-mapped",
            )
        if isinstance(loss, CustomLoss):
            raise ArgumentError("loss", f"is {loss}", f"a loss by name, or a fastbptt.Loss, {why}")
        if bptt_steps is not None:
            raise ArgumentError("bptt_steps", f"is {bptt_steps}", f"None {why}")
        for i, callback in enumerate(callbacks):
            if callback.record is not None:
                raise ArgumentError(
                    "callbacks",
                    f"is a {type(callback).__name__}, which records gradients",
                    f"one that does not, {why}",
                    item=i,
                )

    def checkpointer(self, path: Any, every: Any) -> checkpoints.Checkpointer | None:
        """Check `checkpoint` and `checkpoint_every`; only the first rank touches the files."""
        own = None
        if self.rank == 0 or path is None:
            own = checkpoints.checkpointer(path, every)
        if path is None:
            return None
        self._place = os.fsdecode(path)
        return _CheckpointerOfAll(self, own, every)

    def begin(
        self,
        model: Recurrent,
        optimizer: Optimizer,
        described: Mapping[str, str],
        resumed: tuple[str, checkpoints.Checkpoint | None],
    ) -> tuple[str, checkpoints.Checkpoint | None]:
        """Have all ranks know that they are alike; return the checkpoint of the first rank.

        described: the settings and data of this rank, as `checkpoints.fingerprint` gives them.
        """
        own = {
            **_installation(),
            **described,
            "batch_size": json.dumps(json.loads(described["batch_size"]) // self.size),
            "the model's parameters": _digest(model._weights.get()),
            "the model's dropout and noise": repr(model._dropout_seeds.state),
            "the optimizer's state": _digest_of_state(optimizer),
        }
        try:
            found = self._exchange(None, (own, *_place_of_work()))
            for rank, (other, *_) in enumerate(found):
                _refuse_difference(rank, found[0][0], other)
        except BaseException as error:
            self._known = error
            raise
        finally:
            self._begun = True
        self._note_busy_cores([place for _, *place in found])
        self.interrupt.several = self.size > 1
        result: tuple[str, checkpoints.Checkpoint | None] = self._comm.bcast(resumed, 0)
        return result

    def _note_busy_cores(self, places: list[list[Any]]) -> None:
        """Warn of more threads than there are processors, on any machine."""
        for host in dict.fromkeys(host for host, _, _ in places):
            threads = [count for name, count, _ in places if name == host]
            cores = len(set().union(*(set(one) for name, _, one in places if name == host)))
            if self.rank == 0 and sum(threads) > cores and max(threads) > 1:
                warnings.warn(
                    f"{len(threads)} ranks on {host} have {sum(threads)} threads for {cores} "
                    "processors, and wait for each other; fastbptt.set_num_threads(1) in all "
                    "ranks, or OMP_NUM_THREADS=1, gives each a thread",
                    stacklevel=5,
                )

    # ------------------------------------------------------------ agreement

    def _exchange(
        self, error: BaseException | None, own: Any, about: BaseException | None = None
    ) -> list[Any]:
        """Gather something of each rank; if any of them has failed, raise an error on every one.

        A Ctrl-C is one of all ranks, unless another one has an error. about: the error as the
        other ranks are to know it, if it differs.
        """
        message = about or error
        text = None if message is None else f"{type(message).__name__}: {one_line(message, 2000)}"
        stopped = isinstance(error, KeyboardInterrupt)
        found = self._comm.allgather((text, stopped, own))
        failed = {rank: text for rank, (text, _, _) in enumerate(found) if text is not None}
        if failed:
            self._known = error
            if all(found[rank][1] for rank in failed):
                self._known = error or KeyboardInterrupt()
            elif error is None or stopped:
                self._known = RankError(failed)
            assert self._known is not None
            raise self._known
        return [one for *_, one in found]

    def _gathered(self, function: Callable[[], Any]) -> list[Any]:
        """Call a function on every rank; gather the results, or raise an error on every rank."""
        own, failure = None, None
        try:
            own = function()
        except BaseException as error:
            failure = error
        return self._exchange(failure, own)

    def only_known(self, error: KeyboardInterrupt) -> None:
        """Raise a second Ctrl-C, of which the other ranks do not know."""
        if self.size > 1 and error is not self._known and not isinstance(error, Interrupted):
            raise error

    def _end_of_job(self, error: BaseException) -> None:
        """Say what this rank met, and end the others, which wait for it."""
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        who = f"rank {self.rank} of {self.size}"
        text = f"{trace}fastbptt: {who} failed: {type(error).__name__}: {error}"
        if self._place and os.path.exists(self._place):
            text += f"; {self._place!r} holds the last checkpoint, from which resume=True goes on"
        print(text, file=sys.stderr, flush=True)
        time.sleep(_TO_BE_READ)
        self._comm.Abort(1)

    def _close(self) -> None:
        if self._step is not None:
            self._step.sums.close()

    def callbacks(self, given: Sequence[Callback]) -> list[Callback]:
        """Have the ranks agree on what each callback returns or raises."""
        return [_CallbackOfAll(self, one) for one in given]

    # ------------------------------------------------------------ parts of the data

    def _stretch(self, count: int) -> slice:
        """Which of so many rows are this rank's; the first rank has at least one."""
        first, stop = (-(-count * rank // self.size) for rank in (self.rank, self.rank + 1))
        return slice(first, stop)

    def part_sizes(self, count: int) -> list[int]:
        """Return how many of so many rows a rank may have."""
        return [-(-count // self.size), max(count // self.size, 1)]

    def stepper(
        self,
        run: TrainingRun,
        data: LabelledData,
        settings: Settings,
        checkpointer: checkpoints.Checkpointer | None,
    ) -> _Step:
        """Make what trains on a batch, of which this rank computes its part."""
        self._step = _Step(self, self._comm, run, data, settings)
        if isinstance(checkpointer, _CheckpointerOfAll):
            self._step.checkpointer = checkpointer
        return self._step

    def part(self, rows: Rows, weights: Any) -> Rows:
        """Return this rank's rows of a batch; its next step is on these.

        weights: of all the data, with class weights.
        """
        assert self._step is not None
        own = self._step.begin(rows, weights, self._stretch(len(rows)))
        return own if len(own) else rows[:1]  # whose step then adds nothing

    def augmented(
        self, function: Augmentation, x: NDArray[Any], place: tuple[int, int, int]
    ) -> NDArray[Any]:
        """Augment the whole batch, as one process would; return this rank's part.

        x: this rank's part as it was.
        """
        assert self._step is not None
        data, rows = self._step.data, self._step.rows
        own = self._stretch(len(rows))
        try:
            steps = x.shape[1]  # before the next line overwrites it
            whole = augmented(function, data.x.take(rows)[0], place)
        except BaseException as error:  # raised on all ranks by the step
            self._step.failure = error
            return x
        return x if own.start == own.stop else np.ascontiguousarray(whole[own, :steps])

    def measure(self, parts: Sequence[Measured], rows: Rows, add: Callable[[Rows], None]) -> None:
        """Have each rank measure a part of the rows; all get the results of all.

        add: adds some rows to `parts`.
        """

        def own() -> list[Any]:
            add(rows[self._stretch(len(rows))])
            return [part.found for part in parts]

        found = self._gathered(own)
        for i, part in enumerate(parts):
            part.found = tuple(
                [one for of_rank in found for one in of_rank[i][k]] for k in range(3)
            )

    def fail(self, error: Exception) -> None:
        """Raise an error of this rank on all; the others are about to exchange something."""
        if error is not self._known:
            self._exchange(error, None)

    def end_of_epoch(self, model: Recurrent, numbers: dict[str, float]) -> dict[str, float]:
        """Check that all ranks have the same parameters; return the first rank's numbers."""
        own = (_digest(model._weights.get()), self.interrupt.asked, numbers)
        found = self._exchange(None, own)
        for rank, (digest, _, _) in enumerate(found):
            if digest != found[0][0]:
                why = "its parameters are no longer those of rank 0; a callback may have changed "
                self._known = RankError({rank: why + "the model or the optimizer of some ranks"})
                raise self._known
        self.interrupt.known |= any(asked for _, asked, _ in found)
        first: dict[str, float] = found[0][2]
        return first


class _InterruptOfAll(DeferredInterrupt):
    """Ctrl-C that is raised once all ranks know of it."""

    def __init__(self) -> None:
        super().__init__()
        self.known = False
        self.several = False

    def check(self) -> None:
        """Raise a Ctrl-C that all ranks know of."""
        if self.known or (self.asked and not self.several):
            raise Interrupted


class _CheckpointerOfAll(checkpoints.Checkpointer):
    """Writes checkpoints on the first rank, when that one says so; all know whether it went well.

    own: of the first rank; None on the others.
    """

    def __init__(
        self, ranks: Ranks, own: checkpoints.Checkpointer | None, every: float | str | None
    ) -> None:
        self._ranks, self._own = ranks, own
        self._timed = every is not None and every != "epoch"

    def due(self, epoch_is_over: bool) -> bool:
        """Whether the first rank says that a checkpoint is due."""
        if not self._timed:
            return epoch_is_over
        if not epoch_is_over:
            return self._ranks.checkpoint_due
        return bool(self._ranks._gathered(self.due_here)[0])

    def due_here(self) -> bool:
        """Whether one is due by the clock of this rank, which is the first."""
        return self._timed and self._own is not None and self._own.due(epoch_is_over=False)

    def save(
        self,
        model: Recurrent,
        optimizer: Optimizer,
        training: Mapping[str, Any],
        best: Floats | None,
    ) -> None:
        """Write a checkpoint, replacing the file."""

        def write() -> None:
            if self._own is not None:
                self._own.save(model, optimizer, training, best)

        self._ranks._gathered(write)


class _CallbackOfAll(Callback):
    """A callback whose calls end alike on all ranks."""

    def __init__(self, ranks: Ranks, own: Callback) -> None:
        self._ranks, self._own = ranks, own

    def _call(self, name: str, *arguments: Any) -> Any:
        if getattr(type(self._own), name) is getattr(Callback, name):
            return None
        return self._ranks._gathered(lambda: getattr(self._own, name)(*arguments))

    def _any(self, name: str, run: TrainingRun) -> bool:
        return any(map(bool, self._call(name, run) or ()))

    def on_train_begin(self, run: TrainingRun) -> None:
        self._call("on_train_begin", run)

    def on_epoch_begin(self, run: TrainingRun) -> None:
        self._call("on_epoch_begin", run)

    def on_batch_end(self, run: TrainingRun) -> bool:
        return self._any("on_batch_end", run)

    def on_epoch_end(self, run: TrainingRun) -> bool:
        return self._any("on_epoch_end", run)

    def on_train_end(self, run: TrainingRun) -> None:
        self._call("on_train_end", run)

    def state(self) -> dict[str, Any]:
        return self._own.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self._call("load_state", state)


# ---------------------------------------------------------------- a step

_FLAGS: Final = ("error", "asked", "due")  # then losses, then penalties


class _Step:
    """A training step of a whole batch, of which this rank computes its part.

    Parameters
    ----------
    ranks : Ranks
    comm : its communicator
    run : TrainingRun
    data : LabelledData
        All training data.
    settings : Settings
    """

    def __init__(
        self, ranks: Ranks, comm: Any, run: TrainingRun, data: LabelledData, settings: Settings
    ) -> None:
        model, options = run.model, dict(settings.update)
        self._ranks, self._comm, self._run, self._settings = ranks, comm, run, settings
        self.data = data
        self.checkpointer: _CheckpointerOfAll | None = None
        self._clip = {name: options.pop(name) for name in ("clip_norm", "clip_value")}
        self._budget = options.pop("memory_budget", 0)
        self._strengths = options
        self._penalties: tuple[str, ...] = ()
        if options:
            given = {**dict.fromkeys(_penalties.NAMES), **options}
            known = _penalties.check(given, model._spec, model._weights, model.frozen)
            assert known is not None
            self._penalties = tuple(known.by_name())
        self._blocks = tuple(data.blocks) or ("",)
        width = len(_FLAGS) + len(self._blocks) + len(self._penalties)
        weights = model._weights
        self.sums = sums_of(comm, width, weights.flat.size, weights.dtype)
        self._to = GradientTargets(self.sums.gradient)
        self.rows: Rows = np.empty(0, np.int64)
        self._weights: Any = None  # of all data
        self._stretch = slice(0, 0)
        self.failure: BaseException | None = None  # of this rank, before the step

    def begin(self, rows: Rows, weights: Any, stretch: slice) -> Rows:
        """Take the rows of the next batch; return this rank's."""
        self.rows, self._weights, self._stretch = rows, weights, stretch
        return rows[stretch]

    def __call__(
        self,
        x: Any,
        y: Any,
        *,
        lengths: Lengths = None,
        sample_weight: Any = None,
        static: NDArray[Any] | None = None,
        resets: NDArray[Any] | None = None,
    ) -> float:
        """Train on this rank's part of the batch; return the loss of the whole."""
        model, sums, ranks = self._run.model, self.sums, self._ranks
        head, failure, about = sums.head, self.failure, None
        head[:] = 0.0
        taken: list[int] = []
        try:
            if failure is not None:
                head[0] = 1.0
            elif self._stretch.stop > self._stretch.start:
                losses, terms = self._compute(x, y, lengths, sample_weight, static, resets, taken)
                at = len(_FLAGS)
                head[at : at + len(losses)] = losses
                for name, value in terms.items():
                    head[at + len(losses) + self._penalties.index(name)] = value
            else:
                sums.gradient[:] = 0.0
                model._dropout_seeds.take(taken)
        except BaseException as error:
            failure, head[0] = error, 1.0
            if isinstance(error, BadArgumentError):
                about = copy.copy(error)
                locate(about, self.rows[self._stretch])
        head[1] = float(ranks.interrupt.asked)
        head[2] = float(self.checkpointer is not None and self.checkpointer.due_here())
        total, gradient = sums.total()
        if total[0] > 0.0:
            model._dropout_seeds.give_back(taken)
            ranks._exchange(failure, None, about)  # raises
        ranks.interrupt.known |= bool(total[1] > 0.0)
        ranks.checkpoint_due = bool(total[2] > 0.0)
        try:
            self._run.optimizer.step(model, gradient, **self._clip)
        except Exception as error:  # of the sums, which are the same everywhere
            model._dropout_seeds.give_back(taken)
            ranks._known = error
            raise
        return self._note(total[len(_FLAGS) :].tolist())

    def _compute(
        self,
        x: Any,
        y: Any,
        lengths: Lengths,
        sample_weight: Any,
        static: NDArray[Any] | None,
        resets: NDArray[Any] | None,
        taken: list[int],
    ) -> tuple[list[float], dict[str, float]]:
        """Put what this rank's rows add to the gradient into the sums.

        Returns what they add to the loss of each block, and to each penalty.
        """
        model, data, steps = self._run.model, self.data, self._settings.steps
        count = self._stretch.stop - self._stretch.start
        weight: Any
        if data.blocks:
            own = dict.fromkeys(data.blocks) if sample_weight is None else sample_weight
            weight = {
                name: self._divided(
                    block,
                    data.loss.losses[name],
                    own[name],
                    None if self._weights is None else self._weights.blocks[name],
                    count,
                    lengths,
                )
                for name, block in data.blocks.items()
            }
        else:
            weight = self._divided(data, data.loss, sample_weight, self._weights, count, lengths)
        batch, objective = model._checked(
            x, y, data.loss, steps, "sum", lengths, None, weight, True,
            unlimited=self._budget, resets=resets, static=static,
        )  # fmt: skip
        strengths = self._own_strengths()
        given = tuple(strengths.get(name) for name in _penalties.NAMES)
        objective, penalties = model._penalised(objective, given)
        if model._dropout_seeds.used:
            seed = model._dropout_seeds.take(taken)
            assert seed is not None
            seed = of_later_rows(seed, self._stretch.start)
            batch = batch.replace(dropout_seed=seed, noise_seed=seed)
        value = model._engine.loss_and_grad(batch, objective, self._to, None, self._budget)
        if self._budget:
            model._records.report = StepReport(*model._engine.report())
        losses = [value] if objective.losses is None else objective.losses.tolist()
        return losses, {} if penalties is None else penalties.by_name()

    def _divided(
        self,
        data: LabelledData,
        loss: Loss,
        own: NDArray[np.float64] | None,
        whole: Any,
        count: int,
        lengths: Lengths,
    ) -> NDArray[np.float64] | None:
        """Return weights with which the sum of losses is this rank's part of the batch's loss.

        own: the weights of this rank's rows. whole: those of all data.
        """
        reduction, every = self._settings.reduction, self._settings.steps == "all"
        if reduction == "sum":
            return own
        counts = data.loss_weights(whole, across=True)
        total = float(len(self.rows)) if counts is None else float(counts[self.rows].sum())
        weight = np.ones(count) if own is None else own
        if total == 0.0:  # of a block; then all weights are 0
            return weight
        if every and reduction == "sequence_mean":
            ends = np.full(count, data.time) if lengths is None else lengths
            weight = weight / (ends[:, np.newaxis] if weight.ndim == 2 else ends)
        return weight / (total * loss._losses_of(data.spec.width))

    def _own_strengths(self) -> dict[str, Any]:
        """Return the strengths of the penalties with which their sums are those of the batch."""
        found = {}
        for name, strength in self._strengths.items():
            if name in ("l1", "l2"):  # of the parameters alone: once
                if self._ranks.rank == 0:
                    found[name] = strength
                continue
            whole = self._counted(name, self.rows)
            own = self._counted(name, self.rows[self._stretch])
            if own > 0.0:
                found[name] = strength * own / whole
        return found

    def _counted(self, name: str, rows: Rows) -> float:
        """Return over how many a penalty on states takes its mean: sequences, steps or pairs."""
        data = self.data
        if name == "omega":
            return float(len(rows))
        steps = data.time * len(rows) if data.lengths is None else int(data.lengths[rows].sum())
        if name != "activity_change_l2":
            return float(steps)
        pairs = steps - len(rows)
        if data.resets is not None and len(rows):
            marks = np.array(data.resets.take(rows)[0])
            if data.lengths is not None:
                marks &= np.arange(marks.shape[1]) < data.lengths[rows, np.newaxis]
            pairs -= int(marks[:, 1:].sum())
        return float(pairs)

    def _note(self, numbers: list[float]) -> float:
        """Leave the losses of the blocks and the penalties in the model; return the loss."""
        model, blocks = self._run.model, len(self._blocks)
        model._trained_steps = self._settings.steps
        if self._penalties:
            model._records.penalties = dict(zip(self._penalties, numbers[blocks:], strict=True))
        if not self.data.blocks:
            return numbers[0]
        losses = dict(zip(self._blocks, numbers[:blocks], strict=True))
        model._records.losses = losses
        total: float = self.data.loss._total(losses)
        return total


# ---------------------------------------------------------------- sums over ranks


class Sums:
    """Sums of a few float64 numbers and a gradient over all ranks, in the order of the ranks.

    The gradient is cut into a slice for each rank, which sums it; so nobody moves more than twice
    the gradient, and the result does not depend on the way that the numbers take.

    Parameters
    ----------
    rank, size : int
    width : int
        Numbers beside the gradient.
    count : int
        Elements of the gradient.
    dtype : dtype

    Attributes
    ----------
    head : float64 array (width,)
        This rank's numbers.
    gradient : array (count,)
        This rank's part; written in place.
    """

    head: NDArray[np.float64]
    gradient: Floats

    def __init__(self, rank: int, size: int, width: int, count: int, dtype: np.dtype[Any]) -> None:
        self.rank, self.size, self.count, self.dtype = rank, size, count, dtype
        self.width = width
        self.slice = -(-count // size)  # elements of each rank's slice but the last ones

    def bounds(self, rank: int) -> tuple[int, int]:
        """Where the slice of a rank begins and ends."""
        return min(rank * self.slice, self.count), min((rank + 1) * self.slice, self.count)

    def total(self) -> tuple[NDArray[np.float64], Floats]:
        """Return the sums: arrays that the next call overwrites."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what all ranks have in common."""


class SumsByMessages(Sums):
    """Over any network: every rank sends each other one its slice, and gets their sums."""

    def __init__(
        self, comm: Any, rank: int, size: int, width: int, count: int, dtype: np.dtype[Any]
    ) -> None:
        super().__init__(rank, size, width, count, dtype)
        self._comm = comm
        first = _rounded(8 * width)
        self._sent = np.zeros((size, first + self.slice * dtype.itemsize), np.uint8)
        self._received = np.zeros_like(self._sent)
        self._sum = np.zeros(self.slice, dtype)
        self._whole = _lines(self.slice * size * dtype.itemsize).view(dtype)
        self.head = np.zeros(width)
        self.gradient = _lines(count * dtype.itemsize).view(dtype)
        self._first = first
        self._heads = [row[: 8 * width].view(F64) for row in self._received]
        self._slices = [row[first:].view(dtype) for row in self._received]

    def total(self) -> tuple[NDArray[np.float64], Floats]:
        """Send slices, add those of this rank up, and gather the sums."""
        for rank, row in enumerate(self._sent):
            row[: 8 * self.width] = self.head.view(np.uint8)
            start, stop = self.bounds(rank)
            row[self._first :].view(self.dtype)[: stop - start] = self.gradient[start:stop]
        self._comm.Alltoall(self._sent, self._received)
        _add_up(self._slices, self._sum)
        self._comm.Allgather(self._sum.view(np.uint8), self._whole.view(np.uint8))
        head = np.zeros(self.width)
        _add_up(self._heads, head)
        return head, self._whole[: self.count]


class SumsInSharedMemory(Sums):
    """On one machine: every rank reads its slice where the others have written theirs.

    window: memory of all ranks, each of `needed` bytes.
    """

    def __init__(
        self,
        comm: Any,
        window: Any,
        rank: int,
        size: int,
        width: int,
        count: int,
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__(rank, size, width, count, dtype)
        self._comm, self._window = comm, window
        window.Lock_all()
        first, second = _rounded(8 * width), _rounded(count * dtype.itemsize)
        heads, gradients = [], []
        for other in range(size):
            memory = np.frombuffer(window.Shared_query(other)[0], np.uint8)
            heads.append(memory[: 8 * width].view(F64))
            gradients.append(memory[first : first + count * dtype.itemsize].view(dtype))
            if other == 0:
                end = first + second + count * dtype.itemsize
                self._whole = memory[first + second : end].view(dtype)
        self.head, self.gradient = heads[rank], gradients[rank]
        start, stop = self.bounds(rank)
        self._heads = heads
        self._slices = [one[start:stop] for one in gradients]
        self._sum = self._whole[start:stop]

    @staticmethod
    def needed(rank: int, width: int, count: int, dtype: np.dtype[Any]) -> int:
        """Bytes of a rank: its numbers, its gradient, and on the first the sum of all."""
        own = _rounded(8 * width) + _rounded(count * dtype.itemsize)
        return own + (_rounded(count * dtype.itemsize) if rank == 0 else 0)

    def _meet(self) -> None:
        """Wait for all ranks; what they wrote before is seen afterwards."""
        self._window.Sync()
        self._comm.Barrier()
        self._window.Sync()

    def total(self) -> tuple[NDArray[np.float64], Floats]:
        """Add the slices of this rank up, between two meetings."""
        self._meet()
        head = np.zeros(self.width)
        _add_up(self._heads, head)
        _add_up(self._slices, self._sum)
        self._meet()
        return head, self._whole

    def close(self) -> None:
        """Free the memory, on all ranks at once; the arrays are not to be read afterwards."""
        self._heads, self._slices = [], []
        self._window.Unlock_all()
        self._window.Free()


def sums_of(comm: Any, width: int, count: int, dtype: np.dtype[Any]) -> Sums:
    """Choose the way: shared memory if all ranks are on one machine, else messages."""
    rank, size = int(comm.Get_rank()), int(comm.Get_size())
    window = _window(comm, SumsInSharedMemory.needed(rank, width, count, dtype))
    if window is None:
        return SumsByMessages(comm, rank, size, width, count, dtype)
    return SumsInSharedMemory(comm, window, rank, size, width, count, dtype)


def _window(comm: Any, needed: int) -> Any:
    """Allocate memory that all ranks share; None where they cannot, on any of them."""
    module = sys.modules.get("mpi4py.MPI")
    if module is None or not isinstance(comm, module.Comm) or comm.Get_size() == 1:
        return None
    node = comm.Split_type(module.COMM_TYPE_SHARED)
    together = node.Get_size() == comm.Get_size()
    node.Free()
    if not all(comm.allgather(together)):
        return None
    try:
        window = module.Win.Allocate_shared(needed, 1, comm=comm)
    except module.Exception:  # too little shared memory
        window = None
    if all(comm.allgather(window is not None)):
        return window
    if window is not None:
        window.Free()
    return None


def _add_up(parts: Sequence[NDArray[Any]], to: NDArray[Any]) -> None:
    """Add arrays in their order."""
    if len(parts) == 1:
        np.copyto(to, parts[0])
        return
    with np.errstate(over="ignore", invalid="ignore"):  # the update refuses what is not finite
        np.add(parts[0], parts[1], out=to)
        for part in parts[2:]:
            np.add(to, part, out=to)


def _rounded(count: int) -> int:
    """Return so many bytes, in whole cache lines."""
    return -(-count // _LINE) * _LINE


def _lines(count: int) -> Bytes:
    """Make zeros that begin at a cache line."""
    memory = np.zeros(count + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + count]


# ---------------------------------------------------------------- comparison of ranks


def _digest(values: NDArray[Any]) -> str:
    return hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()


def _digest_of_state(optimizer: Optimizer) -> str:
    """Describe the moments and the number of steps."""
    bound = optimizer.__getstate__()["bound"]
    if bound is None:
        return "new"
    moments = {name: _digest(values) for name, values in bound["moments"].items()}
    return f"step {bound['step']}, {moments}"


def _installation() -> dict[str, str]:
    """Describe what the bits of a result depend on, beside the arguments."""
    versions = {"fastbptt": _core.version, "numpy": np.__version__}
    return {**versions, "instruction set": _core.active_backend()}


def _place_of_work() -> tuple[str, int, list[int]]:
    """Return the machine, the number of threads and the processors of this rank."""
    try:
        cores = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = list(range(os.cpu_count() or 1))
    return socket.gethostname(), _core.get_num_threads(), cores


_ADVICE: Final = {
    "fastbptt": "the same version on all ranks",
    "numpy": "the same version on all ranks",
    "instruction set": "the same on all ranks; the environment variable FASTBPTT_ISA chooses it",
    "the model's parameters": "the same on all ranks: models with the same seed, or "
    "model = comm.bcast(model) before fit",
    "the model's dropout and noise": "the same on all ranks: model = comm.bcast(model) before fit",
    "the optimizer's state": "the same on all ranks: optimizer = comm.bcast(optimizer) before fit",
}


# Names of what there are several of.
_SEVERAL: Final = ("the model's parameters", "the model's dropout and noise", "weights", "lengths")


def _refuse_difference(rank: int, first: Mapping[str, str], other: Mapping[str, str]) -> None:
    """Raise an error if a rank is not like the first one; all ranks raise the same."""
    for name in dict.fromkeys([*first, *other]):
        one, two = first.get(name, "None"), other.get(name, "None")
        if one != two:
            came = checkpoints.compared(one, two)
            how = "other values than on rank 0"
            how = f"{'hold' if name in _SEVERAL else 'holds'} {how}"
            if came is not None:
                how = f"is {one_line(came[1], 500)}, on rank 0 {one_line(came[0], 500)}"
            expected = _ADVICE.get(name, "the same on all ranks, each of which gets all data")
            raise ArgumentError("comm", f"has a rank {rank} on which {name} {how}", expected)
