"""`fit`: the training loop, its checkpoints and its early stopping."""

from __future__ import annotations

import copy
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._check import I64
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._interrupt import DeferredInterrupt, Interrupted
from .._losses import CustomLoss, Losses, LossFunction, LossLike, TargetsLike, WeightsLike
from ..files import damage
from ..models import _penalties, saving
from ..models.recurrent import Recurrent
from ..optim import schedules
from ..optim.optimizers import OPTIMIZERS, Adam, Optimizer
from . import checkpoints, code, distributed, progress, stopping
from .batches import Augmentation, Order, Rows, augmented
from .callbacks import Callback, TrainingRun
from .custom import check_custom, custom_step
from .evaluation import (
    Evaluation,
    check_metrics,
    check_model,
    check_objective,
    loss_of,
    mean,
    metrics_of,
    named_losses,
)
from .history import History
from .holdout import HoldOut, hold_out
from .labelled import LabelledData, locate
from .missing import check_missing
from .one_of_many import OneOfMany
from .prepared import PreparedSteps, can_prepare, sums_of_batches
from .settings import Settings, check_callbacks, check_seed
from .stream import Stream, is_stream

if TYPE_CHECKING:
    from .metrics import MetricsLike


def fit(
    model: Recurrent,
    x: ArrayLike | Sequence[ArrayLike] | Iterator[Any],
    y: TargetsLike | None = None,
    *,
    loss: LossLike | Losses | LossFunction | None = None,
    steps: str = "last",
    reduction: str = "mean",
    lengths: ArrayLike | None = None,
    sample_weight: WeightsLike = None,
    class_weight: Any = None,
    warmup: int = 0,
    static: ArrayLike | None = None,
    resets: ArrayLike | Sequence[ArrayLike] | None = None,
    missing: str = "error",
    epochs: int = 100,
    batch_size: int = 32,
    optimizer: Optimizer | str | None = None,
    schedule: Any = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    l1: Mapping[str, float] | None = None,
    l2: Mapping[str, float] | None = None,
    activity_l1: float | None = None,
    activity_l2: float | None = None,
    activity_change_l2: float | None = None,
    omega: float | None = None,
    bptt_steps: int | None = None,
    memory_budget: int | str | None = None,
    validation: Any = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    monitor: str | None = None,
    restore_best: bool | None = None,
    metrics: MetricsLike = (),
    training_metrics: bool = True,
    callbacks: Iterable[Callback] = (),
    shuffle: bool = True,
    seed: int = 0,
    bucket: bool = False,
    augment: Augmentation | None = None,
    verbose: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float | str | None = None,
    resume: bool | str | os.PathLike[str] = False,
    steps_per_epoch: int | None = None,
    comm: Any = None,
) -> History:
    """Train a model with mini-batches.

    Parameters
    ----------
    model : Recurrent
        Trained in place.
    x : array of shape (n, time, input_size), or list of n arrays (time_i, input_size)
        The sequences; with an embedding tokens, (n, time) or a list of (time_i,). Batches are
        copied as needed, whatever the strides and dtype: memory-mapped and read-only arrays are
        fine. Do not change it during training. Or an iterator, such as a generator, that yields
        batches ``(x, y)``, ``(x, y, weights)`` or ``(x, y, weights, resets)``, each as the
        arguments of `Recurrent.train_step`, where weights may be None, without end or
        `steps_per_epoch` times `epochs` of them; batches may differ in sequences and steps. For a
        model with `static_size` they are ``(x, y, weights, static)``. Then give `loss` and
        `steps_per_epoch`; metrics are those of the validation data; `batch_size`, `shuffle`,
        `seed`, `bucket`, `augment`, the weights, `static`, `resets` and `resume` are refused.
    y : array, or list of n arrays
        As for `Recurrent.loss_and_grad`, of all n sequences; None if `x` is an iterator.
    loss : str, `fastbptt.Loss`, `fastbptt.Losses` or function, optional
        With `fastbptt.Losses` `y` is a mapping by block of outputs, `sample_weight` may be one, and
        the history has a curve ``"NAME.loss"`` for each block, without its weight. A function of
        yours is called for each batch as ``loss(outputs, targets, weights)`` and returns the
        batch's loss, a number, and its gradient with respect to the outputs. `outputs`
        is (batch, output_size), with ``steps="all"`` (batch, time, output_size); `targets` are the
        batch's part of `y`, any array with as many sequences (and steps). `weights` is float64, of
        the outputs' leading shape, and 0 after a sequence's end; None if all are 1. The function
        applies weights and reduction itself; `reduction` tells which it is, for the loss of an
        epoch. With `bptt_steps` it is called for each chunk. If no loss is given:
        ``"cross_entropy"`` for one integer class of as many as the model has outputs, ``"bce"`` for
        zeros and ones, one for each output, else ``"mse"``. An error where two readings are
        possible: one-hot rows; for one output integers other than 0 and 1 that take several values,
        or two whole numbers alone, such as -1 and 1.
    steps : {"last", "all", "mean", "max"}
        Whether the loss is at each sequence's last step, at all steps, or on the readout of the
        hidden states pooled over its steps: see `Recurrent.loss_and_grad`.
    reduction : {"mean", "sum", "sequence_mean"}
        How the losses of a batch are combined.
    lengths : array of shape (n,), optional
        Whole numbers from 1 to time. Batches are cut to their longest sequence.
    sample_weight : array of shape (n,) or (n, time), or list of n arrays (time_i,), optional
        Weights of at least 0 in the loss and the metrics: of the sequences, or with
        ``steps="all"`` of their steps. Where a weight is 0, `y` is not read: it may be NaN, or -1
        for no class. Sequences without any weight are left out.
    class_weight : "balanced" or mapping of class -> weight, optional
        Further weights, by the class of each sequence, or with ``steps="all"`` of each step.
        "balanced": n / (number of classes * targets of the class). Only in training. Refused with
        `fastbptt.Losses`.
    warmup : int, default 0
        Only with ``steps="all"``: the first steps of each sequence that have no loss (burn-in,
        washout). They count in no metric either, nor in validation.
    static : array of shape (n, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    resets : array of shape (n, time), or list of n arrays (time_i,), optional
        Where an episode starts in a sequence: see `Recurrent.loss_and_grad`.
    missing : {"error", "mask"}, default "error"
        Targets that are missing, NaN or the class -1: an error, or weight 0, in validation and
        metrics too. Of several outputs all or none must be missing; for single ones `loss` may be
        a `fastbptt.training.MaskedLoss`. Missing inputs: see `fastbptt.Imputer`.
    epochs : int, default 100
    batch_size : int, default 32
        Sequences per update. The last batch of an epoch may be smaller.
    optimizer : Optimizer or str, default Adam()
        An instance keeps its moments between calls. A name in ``fastbptt.optim.OPTIMIZERS``
        makes a new one with default settings.
    schedule : str or Schedule, optional
        Learning-rate schedule: a name in ``fastbptt.schedules.SCHEDULES`` or an instance.
    clip_norm, clip_value, bptt_steps, memory_budget
        As for `Recurrent.train_step`. Unless `x` is an iterator, a `memory_budget` that is too
        small for any batch is refused before the first update.
    l1, l2 : mapping of str to float, optional
        Penalties on parameters, as for `Recurrent.train_step`. The history has a curve for each,
        such as ``"l1.W_hh"``: its mean over the updates of the epoch. The curves of the loss do not
        contain them.
    activity_l1, activity_l2, activity_change_l2, omega : float, optional
        Penalties on rates, on their change, and on gradients that vanish, as for
        `Recurrent.loss_and_grad`, with curves of these names. Not with a function as `loss`.
    validation : float, or (x, y), (x, y, lengths), .., optional
        Held-out sequences: a fraction of those given, above 0 and below 1, drawn by `seed`
        and, unless there are several losses, stratified by class; or other data, up to
        ``(x, y, lengths, sample_weight, resets)``, with `static` always
        ``(x, y, lengths, sample_weight, static)``, of which all but x, y and static may be None.
    patience : int, optional
        Early stopping: stop after this many epochs without improvement.
    min_delta : float, default 0.0
        The least improvement that counts.
    monitor : str, optional
        The curve to monitor: ``"validation_loss"`` (default with validation data), ``"loss"``,
        ``"NAME.loss"`` of a block, or a metric's name, which means its validation curve if there
        are validation data.
    restore_best : bool, optional
        At the end, restore the weights of the best epoch by the monitored curve. Default: if
        `patience` or `monitor` is given.
    metrics : str, function or several of them, optional
        Names in ``fastbptt.METRICS`` that suit the loss, functions of ``sklearn.metrics``, or
        other functions of targets and outputs. Those of scikit-learn get classes, scores or
        probabilities, as each needs; ``functools.partial`` sets their options. A function's name
        is the name of its curve. With `fastbptt.Losses` a mapping of these by block; the curves are
        ``"NAME.METRIC"``. The attribute ``larger_is_better`` (default True) of one that is
        not scikit-learn's gives the direction.
    training_metrics : bool, default True
        Also compute the metrics on the training data: one more forward pass per epoch.
    callbacks : list of Callback, optional
        Called in order.
    shuffle : bool, default True
        Shuffle the sequences in each epoch; the order depends only on `seed` and the epoch.
    seed : int, default 0
        At least 0.
    bucket : bool, default False
        Make batches of sequences of similar length, in random order: less padding.
    augment : function, optional
        Data augmentation, called as ``augment(x, rng)`` with the inputs of each training batch,
        (batch, time, input_size) or tokens (batch, time), which it may overwrite, and a random
        generator that depends only on `seed`, the epoch and the batch. It returns an array of
        the same shape. Validation data and metrics are not augmented.
    verbose : {None, 0, 1, 2}
        0: silent. 1: a progress bar. 2: a line per epoch. None: a bar in a terminal or a
        notebook; elsewhere lines for at most 20 epochs, the first and the last among them.
        Written to standard error; in a notebook to standard output.
    checkpoint : str or path-like, optional
        File for the state of the run, to resume after an interruption. It is replaced
        atomically.
    checkpoint_every : float or "epoch", default "epoch"
        Seconds between checkpoints, or one after each epoch.
    resume : bool or path, default False
        Resume from a checkpoint of a call with the same arguments. True: from `checkpoint` if
        that file exists, else start afresh. Except for the seconds in the history, the result
        is the same, bit for bit, as without the interruption. `loss` and `augment` are compared
        with their code, metrics and callbacks by name: these may be corrected.
    steps_per_epoch : int, optional
        Updates in an epoch, if `x` is an iterator.
    comm : mpi4py communicator, optional
        Such as ``MPI.COMM_WORLD``: all its ranks train one network, and all call `fit` with the
        same model, data (each the whole, which may be memory-mapped) and arguments. `batch_size`
        is that of a rank: each update is on so many sequences times the number of ranks, of which
        a rank computes its part. The result is that of one process with such a `batch_size`, to
        rounding, and the same on all ranks, bit for bit. Only the first rank writes: `checkpoint`,
        from which any number of ranks may resume if batches stay as large, and what `verbose`
        says. Refused with an iterator as `x`, a function as `loss`, `bptt_steps`, and callbacks
        that record gradients.

    Returns
    -------
    History
        The curves, and the reason why training stopped.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, its value and the expectation; nothing has changed then. Or if an
        update met values that are not finite; earlier updates are kept.
    MemoryError
        If the states of a batch do not fit into memory.
    fastbptt.training.RankError
        With `comm`, if another rank has raised an error; an error that the other ranks cannot
        know of is printed, and ends the job by ``comm.Abort``.

    Notes
    -----
    Ctrl-C in the main thread stops training after the current update, or those of some
    milliseconds, a second Ctrl-C at once.
    A KeyboardInterrupt from a callback also stops it. `fit` then returns as usual, with
    ``history.stopped == "interrupted"``; the model has the weights of the last update, or of
    the best epoch if those are to be restored.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(200, 10, 1))
    >>> y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    >>> model = fastbptt.LSTM(1, 8, 1, seed=0)
    >>> history = fastbptt.fit(
    ...     model, x, y, epochs=20, optimizer=fastbptt.Adam(0.02), validation=0.25,
    ...     patience=5, metrics="accuracy", verbose=0,
    ... )
    >>> max(history["validation_accuracy"]) > 0.9
    True
    """
    if comm is not None and not isinstance(comm, distributed.Ranks):
        given = locals()
        with distributed.Ranks(comm) as several:
            return fit(**{**given, "comm": several})
    ranks: distributed.Ranks | None = comm
    many: OneOfMany | None = _as_one_of_many(x)
    if many is not None:
        x, y = many.x, many.y
    check_model(model)
    check_objective(loss, steps, reduction)
    objective = loss_of(loss)
    _check.clip(clip_norm, clip_value)
    update: dict[str, Any] = {"clip_norm": clip_norm, "clip_value": clip_value}
    penalties: dict[str, Any] = {
        "l1": l1,
        "l2": l2,
        "activity_l1": activity_l1,
        "activity_l2": activity_l2,
        "activity_change_l2": activity_change_l2,
        "omega": omega,
    }
    if bptt_steps is not None:
        update["bptt_steps"] = model._chunk(bptt_steps)
    chunk, frozen = update.get("bptt_steps", 0), model.frozen
    if _penalties.check(penalties, model._spec, model._weights, frozen, chunk) is not None:
        for name, given in penalties.items():
            if given is not None:
                update[name] = dict(given) if isinstance(given, Mapping) else float(given)
    if memory_budget is not None:
        update["memory_budget"] = model._budget(memory_budget)
    epochs = _check.size("epochs", epochs)
    stream_length = None if many is not None else _stream_length(x, y, steps_per_epoch)
    if stream_length is not None:
        _refuse_beside_stream(
            loss, lengths, sample_weight, resets, class_weight, static, missing, batch_size,
            validation,
            shuffle, seed, bucket, augment, resume,
        )  # fmt: skip
    batch_size = _check.size("batch_size", batch_size)
    shuffle, bucket = _check.flag("shuffle", shuffle), _check.flag("bucket", bucket)
    seed = check_seed(seed)
    kind = progress.check(verbose)
    if augment is not None and not callable(augment):
        raise ArgumentTypeError(
            "augment", f"is of type {type(augment).__name__}", "a function of x and rng"
        )
    chosen = metrics_of(metrics, objective)
    on_training = _check.flag("training_metrics", training_metrics) and stream_length is None
    if stream_length is not None and chosen and validation is None:
        raise ArgumentError(
            "metrics", "is given, but no validation", "validation=(x, y) because x is an iterator"
        )
    if optimizer is None:
        optimizer = Adam()
    elif isinstance(optimizer, str):
        name = _check.option("optimizer", optimizer, tuple(OPTIMIZERS))
        optimizer = cast("Callable[[], Optimizer]", OPTIMIZERS[name])()
    elif not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(
            "optimizer",
            f"is of type {type(optimizer).__name__}",
            "an optimiser such as fastbptt.Adam(), or a name",
        )
    with optimizer._lock:
        optimizer._check_owner(model._weights)
    listeners = check_callbacks(callbacks)
    if ranks is not None:
        ranks.refuse(
            stream=stream_length is not None,
            loss=objective,
            bptt_steps=bptt_steps,
            callbacks=listeners,
        )
        batch_size *= ranks.size  # of all ranks together, from here
        kind = kind if ranks.rank == 0 else 0
    if isinstance(objective, CustomLoss):
        check_custom(objective, steps, reduction, bptt_steps, memory_budget, listeners, update)
    early_stopping = stopping.early_stopping(
        monitor, patience, min_delta, restore_best, chosen, validation is not None, on_training,
        [f"{name}.loss" for name in objective.losses] if isinstance(objective, Losses) else (),
    )  # fmt: skip
    plan = copy.deepcopy(schedules.resolve(schedule))  # leaves the caller's unchanged
    make_checkpointer = checkpoints.checkpointer if ranks is None else ranks.checkpointer
    checkpointer = make_checkpointer(checkpoint, checkpoint_every)
    origin = None
    if ranks is None or ranks.rank == 0:
        origin = checkpoints.source(resume, checkpoint)

    first = _check.size("warmup", warmup, 0)
    check_missing(missing, objective)
    stream: Stream | None = None
    if stream_length is not None:
        assert objective is not None
        stream = Stream(
            model,
            cast("Iterator[Any]", x),
            objective,
            steps,
            reduction,
            first,
            stream_length,
            epochs,
        )
        data = stream.first
    elif many is not None and many.data is not None:
        data = many.data.of(model)
    else:
        data = LabelledData(
            model, x, y, objective, steps, reduction, lengths, sample_weight, warmup=first,
            static=static, resets=resets, missing=missing,
        )  # fmt: skip
    check_metrics(chosen, data)
    if many is not None and many.data is not None:
        sets = many.sets(data, validation, class_weight, seed)
    else:
        sets = hold_out(data, validation, class_weight, seed)
    order = Order(sets.rows, batch_size, shuffle, seed, data.lengths if bucket else None)
    length = len(order if stream is None else stream)
    run = TrainingRun(model, optimizer, History(), epochs, length, data.loss, steps)
    settings = Settings(
        steps=steps,
        reduction=reduction,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        bucket=bucket,
        augment=augment,
        schedule=plan,
        early_stopping=early_stopping,
        patience=patience,
        min_delta=min_delta,
        metrics=chosen,
        training_metrics=on_training,
        callbacks=listeners,
        update=update,
    )
    if memory_budget is not None and stream is None:
        _check_budget(model, order, data, sets.rows, settings, ranks)
    loop = _Loop(run, order if stream is None else stream, sets, settings, ranks)
    if many is not None:
        loop.interrupt, many.run, many.settings = many.interrupt, run, settings
        if loop.prepared is not None:
            loop.prepared.crew = many.crew
            many.steps = loop.prepared if loop.together else None
    if checkpointer is not None or origin is not None or ranks is not None:
        own = repr(data.loss) if data.blocks else str(data.loss)
        if isinstance(data.loss, CustomLoss):
            own = code.described(data.loss.function)
        described = {"loss": own, "validation": sets.fraction, "warmup": first}
        described |= settings.fingerprint()
        if many is not None:
            described |= many.identity
            loop.of_many = many
        loop.checkpointer = checkpointer
        contents = sets.contents() if many is None else {}  # `fit_many` has those of all models
        loop.fingerprint = checkpoints.fingerprint(model, optimizer, described, contents)
        if origin is not None:
            loop.origin = origin
            loop.resumed = checkpoints.load(origin, loop.fingerprint, ranks is not None)
    if ranks is not None:
        loop.begin(ranks)
    if many is not None:
        many.begun = True
    loop.train(kind)
    return run.history


def _as_one_of_many(x: Any) -> OneOfMany | None:
    """Return what `fit_many` gives in the place of x."""
    return x if isinstance(x, OneOfMany) else None


def _stream_length(x: Any, y: Any, steps_per_epoch: Any) -> int | None:
    """Check `y` and `steps_per_epoch` beside `x`; return the latter if x is an iterator."""
    if is_stream(x):
        if y is not None:
            raise ArgumentError("y", "is given", "None because x is an iterator, which yields it")
        if steps_per_epoch is None:
            raise ArgumentError(
                "steps_per_epoch", "is None", "a number of updates because x is an iterator"
            )
        return _check.size("steps_per_epoch", steps_per_epoch)
    if y is None:
        raise ArgumentTypeError("y", "is None", "targets, unless x is an iterator of batches")
    if steps_per_epoch is not None:
        raise ArgumentError(
            "steps_per_epoch",
            f"is {_check.shown(steps_per_epoch)}",
            "None unless x is an iterator of batches",
        )
    return None


def _check_budget(
    model: Recurrent,
    order: Order,
    data: LabelledData,
    rows: Rows,
    settings: Settings,
    ranks: distributed.Ranks | None,
) -> None:
    """Refuse a memory budget that is too small for any batch, before the first one."""
    update = settings.update
    budget, time = update["memory_budget"], data.time
    if data.lengths is not None:
        time = int(data.lengths[rows].max())
    sizes = set(order.sizes)
    if ranks is not None:
        sizes = {part for size in sizes for part in ranks.part_sizes(size)}
    if "bptt_steps" in update:
        time = min(time, update["bptt_steps"])
        if data.lengths is not None:  # later chunks have fewer sequences
            sizes.update(range(1, min(max(sizes), _MANY)))
    marked = np.zeros(len(rows), I64)
    if data.marks is not None:
        marked = np.array([np.count_nonzero(data.marks[row]) for row in rows])
    marked = -np.sort(-marked)  # most first
    records = any(callback.record is not None for callback in settings.callbacks)
    needed = max(  # few sequences may need more than many: they lie in memory in another way
        model.minimum_memory(
            size,
            time,
            record="gradients" if records else None,
            steps=data.steps,
            resets=min(int(marked[:size].sum()), size * time),
            activity=not update.keys().isdisjoint(_penalties.OF_STATES),
        )
        for size in sizes
    )
    if needed > budget:
        raise ArgumentError(
            "memory_budget", f"is {budget} bytes", f"at least {needed} for such batches"
        )


def _refuse_beside_stream(
    loss: Any,
    lengths: Any,
    sample_weight: Any,
    resets: Any,
    class_weight: Any,
    static: Any,
    missing: Any,
    batch_size: Any,
    validation: Any,
    shuffle: Any,
    seed: Any,
    bucket: Any,
    augment: Any,
    resume: Any,
) -> None:
    """Refuse what would have no effect on the batches of an iterator."""
    why = "because x is an iterator"
    if loss is None:
        raise ArgumentError("loss", "is None", f"a loss {why}")
    for name, value, usual, instead in (
        ("lengths", lengths, None, ", whose batches may hold lists of sequences"),
        ("sample_weight", sample_weight, None, ", which may yield (x, y, weights)"),
        ("resets", resets, None, ", which may yield (x, y, weights, resets)"),
        ("class_weight", class_weight, None, ", which may yield (x, y, weights)"),
        ("static", static, None, ", which yields (x, y, weights, static)"),
        ("missing", missing, "error", ", which may yield (x, y, weights)"),
        ("batch_size", batch_size, 32, ", whose batches have the size that they have"),
        ("shuffle", shuffle, True, ", whose order is that of its batches"),
        ("seed", seed, 0, ", which has random numbers of its own"),
        ("bucket", bucket, False, ", whose batches are as they come"),
        ("augment", augment, None, ", which may do that itself"),
        ("resume", resume, False, ", which cannot be set back to where it was"),
    ):
        if value is not usual and (usual is None or isinstance(value, str) or value != usual):
            raise ArgumentError(name, f"is {_check.shown(value)}", f"{usual} {why}{instead}")
    if validation is not None and not isinstance(validation, tuple | list):
        raise ArgumentError(
            "validation",
            f"is {_check.shown(validation)}",
            f"(x, y), (x, y, lengths) or (x, y, lengths, sample_weight) {why}",
        )


class _Loop:
    """One run of `fit`, its arguments checked."""

    def __init__(
        self,
        run: TrainingRun,
        order: Order | Stream,
        sets: HoldOut,
        settings: Settings,
        ranks: distributed.Ranks | None = None,
    ) -> None:
        self.run = run
        self.order = order
        self.sets = sets
        self.settings = settings
        self.ranks = ranks
        self.loss_weights = sets.data.loss_weights(sets.weights)
        self.callbacks = callbacks = settings.callbacks
        self.on_batch = [c.on_batch_end for c in callbacks if _overrides(c, "on_batch_end")]
        self.checkpointer: checkpoints.Checkpointer | None = None
        self.of_many: OneOfMany | None = None
        self.fingerprint: dict[str, str] = {}
        self.resumed: checkpoints.Checkpoint | None = None
        self.origin = ""  # its file
        update = dict(settings.update)
        for callback in callbacks:
            if callback.record is not None:
                update["record"] = callback.record
        loss = sets.data.loss
        self.update: Callable[..., float]
        if isinstance(loss, CustomLoss):
            self.update = functools.partial(
                custom_step,
                run.model,
                run.optimizer,
                loss,
                settings.steps,
                settings.reduction,
                **update,
            )
        else:
            self.update = functools.partial(
                run.model.train_step,
                optimizer=run.optimizer,
                loss=loss,
                steps=settings.steps,
                reduction=settings.reduction,
                **update,
            )
        # the way of most runs; `update` is that of the others, which need Python between batches
        self.prepared: PreparedSteps | None = None
        if ranks is None and not self.on_batch and can_prepare(run, sets, settings):
            self.prepared = PreparedSteps(run, sets, settings)
        metrics, least = settings.metrics, settings.batch_size
        self.on_training = self.on_held_out = None
        if metrics and settings.training_metrics:
            limit = sets.data.evaluation_limit(least)
            self.on_training = Evaluation(sets.data, sets.rows, metrics, limit)
        if sets.held_out is not None:
            limit = sets.held_out.evaluation_limit(least)
            self.on_held_out = Evaluation(sets.held_out, sets.held_out_rows, metrics, limit)
        # epochs of the next call of the core; 0: something of Python comes between two epochs
        self.together = int(
            self.prepared is not None
            and not callbacks
            and self.on_training is None
            and self.on_held_out is None
            and settings.early_stopping is None
            and settings.schedule is None
            and isinstance(order, Order)
            and order.all_full
        )
        if self.together and len(sets.rows) <= _FEW and 2 * len(order) <= _AHEAD:
            self.together = 2  # if there is no time for both, an order drawn in vain cost nothing
        self.rates: list[float] = []  # of the next updates, computed ahead
        # state of the current epoch:
        self.batch = 0  # completed batches
        self.total, self.counted = self._nothing(), self._nothing()  # of their losses, by block
        self.penalties: dict[str, float] = {}  # their sums over the batches
        self.seconds = 0.0  # before the last interruption
        self.lr = float(run.optimizer.lr)  # before any schedule
        self.progress = progress.Progress()
        self.interrupt = DeferredInterrupt()

    def begin(self, ranks: distributed.Ranks) -> None:
        """Train as one of several ranks, once they all know that they are alike."""
        run, settings = self.run, self.settings
        described = {
            **self.fingerprint,
            "epochs": json.dumps(settings.epochs),
            "memory_budget": json.dumps(settings.update.get("memory_budget")),
            "checkpoint": json.dumps(self.checkpointer is not None),
        }
        found = ranks.begin(run.model, run.optimizer, described, (self.origin, self.resumed))
        self.origin, self.resumed = found
        self.interrupt = ranks.interrupt
        self.update = ranks.stepper(run, self.sets.data, settings, self.checkpointer)
        self.callbacks = ranks.callbacks(settings.callbacks)
        self.on_batch = [
            wrapped.on_batch_end
            for wrapped, own in zip(self.callbacks, settings.callbacks, strict=True)
            if _overrides(own, "on_batch_end")
        ]

    # ------------------------------------------------------------ the course of a run

    def train(self, verbose: int | None) -> None:
        """Run the remaining epochs, then restore the best weights."""
        run, history = self.run, self.run.history
        noting, run.model._notes_digits = run.model._notes_digits, False
        with self.interrupt:
            try:
                for callback in self.callbacks:
                    callback.on_train_begin(run)
                if self.resumed is not None:
                    self._load_state(self.resumed)
                    if history.stopped is None and self.batch == 0 and len(history) >= run.epochs:
                        history.stopped = "epochs"
                if self.checkpointer is not None:  # better now than after an epoch
                    if self.together and self.checkpointer.after_each_epoch:
                        self.together = 0
                    saving.json_text(run.model.metadata)
                    self._states()
                self.progress = progress.show(verbose, run)
                crew = None if self.prepared is None else self.prepared.crew
                with nullcontext() if crew is None else crew:
                    while history.stopped is None:
                        if self.together > 1 and self.batch == 0:
                            self._epochs()
                        else:
                            self._epoch()
            except KeyboardInterrupt as error:
                if self.ranks is not None:
                    self.ranks.only_known(error)
                if isinstance(error, Interrupted):
                    self._save()  # all is complete where this one is raised
                history.stopped = "interrupted"
            finally:
                run.model._notes_digits = noting
                self.progress.close()
                if self.settings.schedule is not None:
                    run.optimizer.lr = self.lr
            if self.settings.early_stopping is not None:
                history.best_epoch = self.settings.early_stopping.best_epoch
                if self.settings.early_stopping.weights is not None:
                    run.model._weights.set(self.settings.early_stopping.weights)
            for callback in self.callbacks:
                callback.on_train_end(run)

    def _epoch(self) -> None:
        run, history = self.run, self.run.history
        start = time.perf_counter() - self.seconds
        run.epoch = len(history) + 1
        if self.batch == 0:
            for callback in self.callbacks:
                callback.on_epoch_begin(run)
        if self._batches(start):
            history.stopped = "callback"
            self._save()
            return
        try:
            numbers = self._numbers()
        except Exception as error:  # of a metric, say
            if self.ranks is not None:
                self.ranks.fail(error)
            raise
        numbers["seconds"] = seconds = time.perf_counter() - start
        if self.ranks is not None:
            numbers = self.ranks.end_of_epoch(run.model, numbers)
        self._note_epoch(numbers)
        if self.together == 1 and seconds < _CALL and 2 * len(self.order) <= _AHEAD:
            self.together = 2
        for callback in self.callbacks:
            if callback.on_epoch_end(run):
                history.stopped = history.stopped or "callback"
        if self.checkpointer is not None and (
            history.stopped or self.checkpointer.due(epoch_is_over=True)
        ):
            self._save()
        self.interrupt.check()

    def _note_epoch(self, numbers: dict[str, float]) -> None:
        self.run.history.add(numbers)
        self.batch, self.seconds = 0, 0.0
        self.total, self.counted, self.penalties = self._nothing(), self._nothing(), {}
        self._judge()
        self.progress.epoch(self.run)

    def _epochs(self) -> None:
        """Do several epochs in one call of the core, as many as it has time for."""
        run, order, steps = self.run, self.order, self.prepared
        assert isinstance(order, Order)
        assert steps is not None
        first, each = len(run.history) + 1, len(order)
        count = min(self.together, _AHEAD // each, run.epochs - first + 1)
        rows, starts = order.epochs(first, count)
        run.epoch = first
        weighted = self._weighted(rows, starts)
        start = time.perf_counter()
        steps.done = 0
        try:
            steps.train(rows, starts, order.size, self._seconds_of_call(), [])
        except BadArgumentError as error:
            failed, (epoch, batch) = starts[steps.done], divmod(steps.done, each)
            locate(error, rows[failed : failed + order.size])
            error.context.append(f"epoch {first + epoch}, batch {batch + 1}")
            raise
        finally:
            if steps.done:
                share = (time.perf_counter() - start) * each / steps.done
                losses, penalties = steps.losses(), steps.penalties()
                run.batch_loss = steps.batch_loss
                for begin in range(0, steps.done, each):
                    run.epoch = len(run.history) + 1
                    own = slice(begin, min(begin + each, steps.done))
                    self._add(*(_part(of, own) for of in (losses, weighted, penalties)))
                    if self.batch == each:
                        self._note_epoch({**self._numbers(), "seconds": share})
                self.seconds = share * self.batch / each
        self.together = 2 * count if steps.done == len(starts) else max(steps.done // each, 1)
        self.progress.batch(run)
        if self.checkpointer is not None and (
            run.history.stopped or self.checkpointer.due(epoch_is_over=self.batch == 0)
        ):
            self._save()
        self.interrupt.check()

    def _batches(self, start: float) -> bool:
        """Train on the remaining batches of an epoch; true: a callback stops training."""
        if self.prepared is not None:
            self._prepared_batches(self.prepared, start)
            return False
        run = self.run
        for data, rows, weights, loss_weights in self._parts():
            if self.settings.schedule is not None:
                self._set_rate(self._rates_ahead(self.settings.schedule, 1).pop())
            ranks = self.ranks
            mine = rows if ranks is None else ranks.part(rows, weights)
            x, lengths = data.x.take(mine)
            if self.settings.augment is not None:
                place = (self.settings.seed, run.epoch, self.batch)
                augment = augmented if ranks is None else ranks.augmented
                x = augment(self.settings.augment, x, place)
            y, _ = data.y.take(mine)
            weight = None if weights is None else weights.take(mine)
            marks = None if data.resets is None else data.resets.take(mine)[0]
            try:
                loss = self.update(
                    x, y, lengths=lengths, sample_weight=weight, static=data.static(mine),
                    resets=marks,
                )  # fmt: skip
            except BadArgumentError as error:
                locate(error, mine, data.streamed)
                error.context.append(f"epoch {run.epoch}, batch {self.batch + 1}")
                raise
            losses = {"": loss}
            if data.blocks:
                losses = run.model.last_losses or {}
            penalties: dict[str, float] = {}
            if not self.settings.update.keys().isdisjoint(_penalties.NAMES):
                penalties = run.model.last_penalties or {}
            weighted = {
                name: sums_of_batches(own, rows, _FIRST, len(rows))
                for name, own in self._by_block(loss_weights).items()
            }
            if isinstance(data.loss, CustomLoss):
                counted = data.loss.count_of(y, weight, lengths, data.steps == "all")
                weighted = weighted if counted is None else {"": [counted]}
            run.batch_loss = loss
            self._add(
                {name: [one] for name, one in losses.items()},
                weighted,
                {name: [one] for name, one in penalties.items()},
            )
            self.progress.batch(run)
            if self.on_batch and _any(self.on_batch, run):
                return True
            self._between(start)
        return False

    def _prepared_batches(self, steps: PreparedSteps, start: float) -> None:
        """Do that in calls of many batches; Python does its part between two of them."""
        run, order = self.run, self.order
        assert isinstance(order, Order)
        rows, starts = order.epoch(run.epoch)
        weighted = self._weighted(rows, starts)
        while self.batch < len(starts):
            first = self.batch
            ahead = starts[first : first + _AHEAD]
            rates: list[float] = []
            if self.settings.schedule is not None:
                rates = self._rates_ahead(self.settings.schedule, len(ahead))
                ahead = ahead[: len(rates)]
            steps.done = 0
            try:
                steps.train(rows, ahead, order.size, self._seconds_of_call(), rates)
            except BadArgumentError as error:
                failed = ahead[steps.done]
                locate(error, rows[failed : failed + order.size])
                error.context.append(f"epoch {run.epoch}, batch {first + steps.done + 1}")
                raise
            finally:
                if steps.done:
                    if rates:
                        self._set_rate(rates[steps.done - 1])
                        del self.rates[: steps.done]
                    run.batch_loss = steps.batch_loss
                    done = slice(first, first + steps.done)
                    self._add(steps.losses(), _part(weighted, done), steps.penalties())
            self.progress.batch(run)
            self._between(start)

    def _weighted(self, rows: Rows, starts: Rows) -> dict[str, list[float]]:
        """Compute what the batches weigh in the loss, by block of outputs."""
        assert isinstance(self.order, Order)
        size = self.order.size
        blocks = self._by_block(self.loss_weights).items()
        return {name: sums_of_batches(own, rows, starts, size) for name, own in blocks}

    def _seconds_of_call(self) -> float:
        """Return how long a call of the core may take: until a checkpoint is due, at most."""
        return _CALL if self.checkpointer is None else self.checkpointer.seconds_left(_CALL)

    def _add(
        self,
        losses: Mapping[str, list[float]],
        weighted: Mapping[str, list[float]],
        penalties: Mapping[str, list[float]],
    ) -> None:
        """Count updates: their losses by block, what these weigh, their penalties by name."""
        summed, count = self.sets.data.reduction == "sum", 0
        for name, values in losses.items():
            total, counted, count = self.total[name], self.counted[name], len(values)
            for one, weight in zip(values, weighted[name], strict=True):
                total += one if summed else one * weight
                counted += weight
            self.total[name], self.counted[name] = total, counted
        for name, values in penalties.items():
            total = self.penalties.get(name, 0.0)
            for one in values:  # not sum(), which some versions of Python round otherwise
                total += one
            self.penalties[name] = total
        self.run.step += count
        self.batch += count

    def _between(self, start: float) -> None:
        """Do what is due between two updates: a checkpoint, an interruption."""
        if self.checkpointer is not None and self.checkpointer.due(epoch_is_over=False):
            self.seconds = time.perf_counter() - start
            self._save()
        self.interrupt.check()

    def _parts(self) -> Iterator[tuple[LabelledData, Rows, Any, Any]]:
        """Yield the remaining batches of an epoch: data, rows, weights, weights in the loss."""
        sets, order = self.sets, self.order
        if isinstance(order, Order):
            for rows in order.batches(self.run.epoch, self.batch):
                yield sets.data, rows, sets.weights, self.loss_weights
            return
        for data in order.batches(self.batch):
            own = data.loss_weights(data.weights, across=True)
            yield data, np.arange(data.count), data.weights, own

    def _rates_ahead(self, schedule: schedules.Schedule, count: int) -> list[float]:
        """Compute the rates of the next updates, as many as possible; each once, in their order."""
        run, rates = self.run, self.rates
        for step in range(run.step + len(rates), run.step + count):
            try:
                factor = schedule.at(step, run.steps_per_epoch, run.epochs)
                rates.append(run.optimizer._checked_lr(self.lr * factor))
            except Exception:
                if not rates:  # else it is that of a later update, before which it comes again
                    raise
                break
        return rates

    def _set_rate(self, rate: float) -> None:
        if rate != self.run.optimizer.lr:
            self.run.optimizer.lr = rate

    def _by_block(self, values: Any) -> dict[str, Any]:
        """Give what is of each block of outputs by its name, of the only one by ""."""
        return values if self.sets.data.blocks else {"": values}

    def _nothing(self) -> dict[str, float]:
        """Make the sums of an epoch without batches, one for each block of outputs."""
        return dict.fromkeys(self.sets.data.blocks or ("",), 0.0)

    def _numbers(self) -> dict[str, float]:
        """Compute the values of an epoch for the history."""
        run, data, check = self.run, self.sets.data, self.interrupt.check
        losses = self.total
        if data.reduction != "sum":
            losses = {name: mean(total, self.counted[name]) for name, total in losses.items()}
        numbers = named_losses(data.loss, losses)
        numbers.update({name: total / self.batch for name, total in self.penalties.items()})
        if self.on_training is not None:
            found = self.on_training.measure(check, self.ranks)
            numbers.update({n: value for n, value in found.items() if n not in numbers})
        if self.on_held_out is not None:
            found = self.on_held_out.measure(check, self.ranks)
            numbers.update({f"validation_{name}": value for name, value in found.items()})
        numbers["lr"] = run.optimizer.lr
        return numbers

    def _judge(self) -> None:
        """Update early stopping and the schedule; stop after the last epoch."""
        run, early_stopping = self.run, self.settings.early_stopping
        curves = run.history
        if self.settings.schedule is not None:
            if early_stopping is not None:
                self.settings.schedule.observe(
                    early_stopping.sign * curves[early_stopping.curve][-1]
                )
            else:
                self.settings.schedule.observe(curves["loss"][-1])
        if early_stopping is not None:
            if early_stopping.see(run.epoch, curves[early_stopping.curve][-1]):
                curves.best_epoch = early_stopping.best_epoch
                if early_stopping.keep:
                    early_stopping.weights = run.model._weights.get()
            if early_stopping.enough(run.epoch):
                curves.stopped = "early stopping"
                return
        if run.epoch >= run.epochs:
            curves.stopped = "epochs"

    # ------------------------------------------------------------ checkpoints

    def _save(self) -> None:
        if self.checkpointer is None or (self.of_many is not None and not self.of_many.may_save):
            return
        run, early_stopping, schedule = (
            self.run,
            self.settings.early_stopping,
            self.settings.schedule,
        )
        state = {
            "fingerprint": self.fingerprint,
            "batch": self.batch,
            "step": run.step,
            "batch_loss": run.batch_loss,
            "total": _plain(self.total),
            "counted": _plain(self.counted),
            "penalties": self.penalties,
            "seconds": self.seconds,
            "lr": self.lr,
            "history": run.history.to_dict(),
            "early_stopping": None if early_stopping is None else early_stopping.state(),
            "schedule": None if schedule is None else schedule.state(),
            "callbacks": self._states(),
        }
        best = None if early_stopping is None else early_stopping.weights
        self.checkpointer.save(run.model, run.optimizer, state, best)

    def _states(self) -> list[Any]:
        """Collect the callbacks' states."""
        states = []
        for i, callback in enumerate(self.callbacks):
            state = callback.state()
            try:
                json.dumps(state)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"callbacks[{i}].state() cannot be written ({error}); "
                    "expected values that JSON can hold"
                ) from None
            states.append(state)
        return states

    def _load_state(self, kept: checkpoints.Checkpoint) -> None:
        run, state = self.run, kept.training
        if state["batch"] > run.steps_per_epoch:
            error = ValueError(f"batch is {state['batch']} of {run.steps_per_epoch}")
            raise checkpoints.damaged(self.origin, error)
        early_stopping, schedule = self.settings.early_stopping, self.settings.schedule
        try:
            run.history.restore(state["history"])
            if early_stopping is not None:
                early_stopping.load_state(state["early_stopping"])
                early_stopping.weights = kept.best
            if schedule is not None:
                schedule.load_state(state["schedule"])
            for callback, own in zip(self.callbacks, state["callbacks"], strict=True):
                callback.load_state(own)
        except (*damage.OF_VALUES, RuntimeError) as error:
            raise checkpoints.damaged(self.origin, error) from error
        kept.put_into(run.model, run.optimizer)
        self.batch = state["batch"]
        for sums, kept_sums in ((self.total, "total"), (self.counted, "counted")):
            own = state[kept_sums] if self.sets.data.blocks else [state[kept_sums]]
            sums.update(zip(sums, own, strict=True))
        self.penalties = state["penalties"]
        self.seconds, self.lr = state["seconds"], state["lr"]
        run.step, run.batch_loss = state["step"], state["batch_loss"]
        run.epoch = len(run.history) + (self.batch > 0)
        if run.history.stopped == "epochs" and len(run.history) < run.epochs:
            run.history.stopped = None  # epochs has been raised


def _part(of: Mapping[str, Any], some: slice) -> dict[str, Any]:
    return {name: values[some] for name, values in of.items()}


_MANY: Final = 128  # sequences: from there on more of them need more memory
_CALL: Final = 0.02  # seconds of a call into the core, about: Ctrl-C waits as long
_AHEAD: Final = 4096  # batches of a call, at most
_FEW: Final = 1024  # sequences whose order for an epoch costs next to nothing
_FIRST: Final = np.zeros(1, np.int64)  # where the only batch begins


def _plain(sums: dict[str, float]) -> Any:
    """Return the sums of all blocks as a list, or the only one, for a checkpoint."""
    return sums[""] if "" in sums else list(sums.values())


def _any(calls: Sequence[Callable[[TrainingRun], bool | None]], run: TrainingRun) -> bool:
    """Make every call; return whether one returned a true value."""
    return sum(bool(call(run)) for call in calls) > 0


def _overrides(callback: Callback, name: str) -> bool:
    return getattr(getattr(callback, name), "__func__", None) is not getattr(Callback, name)
