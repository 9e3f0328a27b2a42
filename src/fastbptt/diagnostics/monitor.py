"""`GradientMonitor`: record how gradients flow during training."""

from __future__ import annotations

import operator
import os
import time
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._losses import Loss, Losses
from ..models.results import GradientRecord
from ..training import Callback
from ._advice import FAR
from ._numbers import norms
from .diagnosis import Diagnosis, diagnose

if TYPE_CHECKING:
    from ..training import TrainingRun

Array = NDArray[np.float64]

#: A norm has exploded if it is so many times the median of at least so many earlier ones.
JUMP, SEEN = 100.0, 10


class GradientMonitor(Callback):
    """Record gradient norms per time step during `fit`, and warn when gradients explode or vanish.

    Each epoch is recorded as the mean of its batches. When there are `keep` epochs, every second
    one is dropped, and from then on only every second one is kept, and so on: memory is bounded,
    and the run is covered evenly.

    Parameters
    ----------
    keep : int, default 128
        The maximum number of epochs to keep, at least 2.
    warn : bool, default True
        Issue a `RuntimeWarning`, once each, when gradients explode (the gradient norm is 100 times
        its median so far, or gradients grow a thousandfold on their way back through time) or
        vanish (with a loss at the last step, less than a thousandth is left after less than half
        of the steps, in every layer; not judged where `resets` or `bptt_steps` cut their way).
    log_dir : str or path-like, optional
        Also write TensorBoard event files to this folder, a point per epoch: the run's curves, the
        gradient norm, and for each layer the norms of dL/dh at the first and the last step.
        Requires the package ``tensorboard``.
    probe : tuple (x, y), (x, y, lengths) or (x, y, lengths, static), optional
        A few sequences, as for `fit`, on which `diagnose` computes at the end of each epoch that is
        kept how the gradients of the weights come together over time.

    Attributes
    ----------
    epochs : list of int
        The epochs kept.
    hidden : ndarray of shape (epochs, time)
        Norm of dL/dh_t over all layers, of each epoch kept.
    layers, gates : ndarray of shape (epochs, passes, time)
        Norms of dL/dh_t, and of the gates' gradients, by layer and direction, averaged over the
        batches that have such a step; 0 where none has.
    pass_names : tuple of str
    contribution, running_sum : dict of str to ndarray of shape (epochs, passes, time)
        Of the probe: norms of each step's contribution to dL/dW and of their running sums, as in
        `LayerFlow` and `OutputFlow`, for ``"W_xh"``, ``"W_hh"`` and, with a readout, ``"W_hy"``,
        which has one pass. Empty without a probe.
    norm, largest : ndarray of shape (epochs,)
        Of the gradient of all parameters: mean and largest of the batches.
    warnings : list of str
        The warnings, with step and epoch.

    Raises
    ------
    ModuleNotFoundError
        If `log_dir` is given and TensorBoard is not installed.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(64, 8, 2))
    >>> model = fastbptt.GRU(2, 8, 1, seed=0)
    >>> monitor = fastbptt.GradientMonitor()
    >>> history = fastbptt.fit(
    ...     model, x, x[:, -1, 0] > 0, epochs=3, callbacks=[monitor], verbose=0
    ... )
    >>> monitor.epochs, monitor.hidden.shape, monitor.warnings
    ([1, 2, 3], (3, 8), [])
    """

    record: ClassVar[str | None] = "gradients"

    def __init__(
        self,
        keep: int = 128,
        *,
        warn: bool = True,
        log_dir: str | os.PathLike[str] | None = None,
        probe: tuple[Any, ...] | None = None,
    ) -> None:
        self.keep = _check.size("keep", keep)
        if self.keep < 2:
            raise ValueError(f"keep is {keep}; expected at least 2 epochs")
        self.warn = _check.flag("warn", warn)
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        if not (probe is None or (type(probe) is tuple and len(probe) in (2, 3, 4))):
            raise ArgumentTypeError(
                "probe",
                f"is {_check.shown(probe)}",
                "(x, y), (x, y, lengths) or (x, y, lengths, static)",
            )
        self.probe = probe
        self._writer: Any = None
        if self.log_dir is not None:
            _tensorboard()
        self._reset()

    def _reset(self) -> None:
        self.epochs: list[int] = []
        self.pass_names: tuple[str, ...] = ()
        self.warnings: list[str] = []
        self._kept: list[tuple[Array, Array, float, float]] = []  # layers, gates, norm, largest
        self._probed: list[dict[str, Array]] = []  # (2, passes, time): contributions, their sums
        self._every = 1
        self._warned: set[str] = set()
        self._norms: list[float] = []  # of some batches, evenly over the run: for the median
        self._norms_every = 1
        self._seen = 0
        self._start()

    def _start(self) -> None:
        """Begin an epoch."""
        self._sums: Array = np.zeros((2, 0, 0))  # of layers and gates
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)  # batches that have a step
        self._total, self._largest, self._batches = 0.0, 0.0, 0

    # ------------------------------------------------------------ what was recorded

    @property
    def layers(self) -> Array:
        """(epochs, passes, time): norms of dL/dh_t."""
        return self._stacked(0)

    @property
    def gates(self) -> Array:
        """(epochs, passes, time): norms of the gates' gradients."""
        return self._stacked(1)

    @property
    def hidden(self) -> Array:
        """(epochs, time): norm of dL/dh_t over all layers."""
        return norms(self.layers, (1,))

    @property
    def contribution(self) -> dict[str, Array]:
        """(epochs, passes, time) by matrix: norms of the steps' contributions to dL/dW."""
        return self._of_probe(0)

    @property
    def running_sum(self) -> dict[str, Array]:
        """(epochs, passes, time) by matrix: norms of the running sums of the contributions."""
        return self._of_probe(1)

    def _of_probe(self, which: int) -> dict[str, Array]:
        if not self._probed:
            return {}
        return {
            name: np.stack([epoch[name][which] for epoch in self._probed])
            for name in self._probed[0]
        }

    @property
    def norm(self) -> Array:
        """(epochs,): norm of the gradient, mean of the batches."""
        return np.array([one[2] for one in self._kept])

    @property
    def largest(self) -> Array:
        """(epochs,): largest norm of the gradient."""
        return np.array([one[3] for one in self._kept])

    def _stacked(self, which: int) -> Array:
        parts = [(one[0], one[1])[which] for one in self._kept]
        time_ = max((part.shape[1] for part in parts), default=0)
        stacked = np.zeros((len(parts), len(self.pass_names), time_))
        for row, part in zip(stacked, parts, strict=True):
            row[:, : part.shape[1]] = part
        return stacked

    def __repr__(self) -> str:
        return f"GradientMonitor({len(self.epochs)} epochs, {len(self.warnings)} warnings)"

    # ------------------------------------------------------------ during training

    def on_train_begin(self, run: TrainingRun) -> None:
        """Clear earlier records; refuse a probe that cannot be diagnosed."""
        self._reset()
        if self.probe is not None:
            self._diagnose(run)
        if self.log_dir is not None:
            self._writer = _tensorboard()(self.log_dir)

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Reset the sums of the epoch."""
        self._start()

    def on_batch_end(self, run: TrainingRun) -> None:
        """Add a batch to the sums; check for exploding and vanishing gradients."""
        record = run.model.last_gradients
        if record is None:
            return
        self.pass_names = record.pass_names
        passes, time_ = record.hidden.shape
        if time_ > self._sums.shape[2]:
            sums, counts = self._sums, self._counts
            self._sums, self._counts = np.zeros((2, passes, time_)), np.zeros(time_, np.int64)
            self._sums[:, : sums.shape[1], : sums.shape[2]] = sums
            self._counts[: len(counts)] = counts
        self._sums[0, :, :time_] += record.hidden
        self._sums[1, :, :time_] += record.gates
        longest = time_ if record.lengths is None else int(record.lengths.max())
        self._counts[:longest] += 1
        self._total += record.norm
        self._largest = max(self._largest, record.norm)
        self._batches += 1
        self._look(run, record)

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Record the epoch, if it is one of those to keep."""
        if not self._batches:
            return
        mean = self._sums / np.maximum(self._counts, 1)
        norm = self._total / self._batches
        if self._writer is not None:
            self._write(run, mean[0], norm)
        if (run.epoch - 1) % self._every:
            return
        if len(self.epochs) == self.keep:
            self._every *= 2
            left = [i for i, e in enumerate(self.epochs) if (e - 1) % self._every == 0]
            self.epochs = [self.epochs[i] for i in left]
            self._kept = [self._kept[i] for i in left]
            self._probed = [self._probed[i] for i in left] if self._probed else []
            if (run.epoch - 1) % self._every:
                return
        self.epochs.append(run.epoch)
        self._kept.append((mean[0], mean[1], norm, self._largest))
        if self.probe is not None:
            self._probed.append(_weight_gradients(self._diagnose(run)))

    def _diagnose(self, run: TrainingRun) -> Diagnosis:
        assert self.probe is not None
        assert isinstance(run.loss, Loss | Losses)  # fit refuses a monitor beside a function
        x, y, lengths, static = (*self.probe, None, None)[:4]
        size = run.model.static_size
        if size is not None and static is None:
            expected = f"(x, y, lengths, static) because static_size={size}"
            raise ArgumentError("probe", "has no static", expected)
        try:
            return diagnose(
                run.model, x, y, run.loss, run.steps, lengths, static=static, jacobians=False
            )
        except BadArgumentError as error:
            error.source = "probe"
            raise

    def on_train_end(self, run: TrainingRun) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # ------------------------------------------------------------ warnings

    def _look(self, run: TrainingRun, record: GradientRecord) -> None:
        median = float(np.median(self._norms)) if len(self._norms) >= SEEN else 0.0
        grown = max(_growth(record, i) for i in range(len(record.pass_names)))
        if 0.0 < JUMP * median < record.norm:
            ratio = record.norm / median
            self._warn(
                run,
                "explode",
                f"the norm is {record.norm:.2g}, {ratio:.3g} times its median so far; "
                f"clip_norm={median:.2g} would keep it there",
            )
        elif grown > FAR:
            self._warn(
                run,
                "explode",
                f"dL/dh grows by a factor of {grown:.3g} on its way back through time; "
                f"the norm is {record.norm:.2g}",
            )
        if run.steps == "last" and record.norm > 0.0 and not record.cut:
            reached = [_reach(record, i) for i in range(len(record.pass_names))]
            if None not in reached:
                least = _shortest(record)
                most = max(one for one in reached if one is not None)
                self._warn(
                    run,
                    "vanish",
                    f"less than a thousandth of dL/dh is left after {most} of {least} steps",
                )
        if self._seen % self._norms_every == 0:
            self._norms.append(record.norm)
            if len(self._norms) == 256:
                self._norms = self._norms[::2]
                self._norms_every *= 2
        self._seen += 1

    def _warn(self, run: TrainingRun, kind: str, finding: str) -> None:
        if kind in self._warned:
            return
        self._warned.add(kind)
        text = f"gradients {kind} at step {run.step} (epoch {run.epoch}): {finding}"
        self.warnings.append(text)
        if self.warn:
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    # ------------------------------------------------------------ keeping

    def state(self) -> dict[str, Any]:
        """Return all records, as values that JSON can hold."""
        return {
            "epochs": self.epochs,
            "pass_names": list(self.pass_names),
            "warnings": self.warnings,
            "kept": [[a.tolist(), b.tolist(), c, d] for a, b, c, d in self._kept],
            "probed": [{name: a.tolist() for name, a in one.items()} for one in self._probed],
            "every": self._every,
            "warned": sorted(self._warned),
            "norms": self._norms,
            "norms_every": self._norms_every,
            "seen": self._seen,
            "epoch": [self._sums.tolist(), self._counts.tolist()],
            "batches": [self._total, self._largest, self._batches],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the records that `state` returned."""
        self.epochs = list(state["epochs"])
        self.pass_names = tuple(state["pass_names"])
        self.warnings = list(state["warnings"])
        self._kept = [(np.array(a), np.array(b), c, d) for a, b, c, d in state["kept"]]
        self._probed = [
            {name: np.array(a, np.float64) for name, a in one.items()} for one in state["probed"]
        ]
        self._every = _check.size("state['every']", state["every"])
        self._warned = set(state["warned"])
        self._norms = [float(norm) for norm in state["norms"]]
        self._norms_every = _check.size("state['norms_every']", state["norms_every"])
        self._seen = operator.index(state["seen"])
        sums, counts = state["epoch"]
        passes = len(self.pass_names)
        self._sums = np.array(sums, np.float64).reshape(2, passes, len(counts))
        self._counts = np.array(counts, np.int64)
        total, largest, batches = state["batches"]
        self._total, self._largest = float(total), float(largest)
        self._batches = operator.index(batches)

    # ------------------------------------------------------------ TensorBoard

    def _write(self, run: TrainingRun, layers: Array, norm: float) -> None:
        values = {name: curve[-1] for name, curve in run.history.curves.items() if curve}
        values["gradient/norm"] = norm
        values["gradient/largest"] = self._largest
        for name, flow in zip(self.pass_names, layers, strict=True):
            values[f"gradient/{name}/first"] = float(flow[0])
            values[f"gradient/{name}/last"] = float(flow[-1])
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        summary = Summary(value=found)
        self._writer.add_event(Event(wall_time=time.time(), step=run.epoch, summary=summary))
        self._writer.flush()


def _weight_gradients(found: Diagnosis) -> dict[str, Array]:
    """Norms over time by matrix, (2, passes, time): contributions, and their running sums."""
    values = {
        name: np.array(
            [
                [flow.contribution[name] for flow in found.layers],
                [flow.running_sum[name] for flow in found.layers],
            ]
        )
        for name in ("W_xh", "W_hh")
    }
    if found.output.contribution is not None:
        values["W_hy"] = np.array([[found.output.contribution], [found.output.running_sum]])
    return values


def _shortest(record: GradientRecord) -> int:
    """Length of the shortest sequence."""
    return record.hidden.shape[1] if record.lengths is None else int(record.lengths.min())


def _flow(record: GradientRecord, i: int) -> Array:
    """Norms of a pass's dL/dh, the step that backpropagation ends at first."""
    flow: Array = record.hidden[i]
    if not record.pass_names[i].endswith("_reverse"):
        return flow
    # sequences begin together, so that what is left at their ends is seen where the shortest ends
    return flow[: _shortest(record)][::-1]


def _growth(record: GradientRecord, i: int) -> float:
    """Return the growth of dL/dh on its way back, from where it enters."""
    flow, least = _flow(record, i), _shortest(record)
    enters = float(flow[least - 1 :].max())
    return float(flow.max()) / enters if enters > 0.0 else 0.0


def _reach(record: GradientRecord, i: int) -> int | None:
    """Steps after which less than a thousandth is left; None if that is half of them or more."""
    flow, least = _flow(record, i), _shortest(record)
    living = flow * FAR >= flow.max()
    steps = least - int(living.argmax())
    return max(steps, 1) if least >= 10 and steps < least / 2 else None


def _tensorboard() -> Any:
    """Return TensorBoard's writer of event files."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "log_dir needs TensorBoard: pip install tensorboard, or leave log_dir out"
        ) from error
    return EventFileWriter
