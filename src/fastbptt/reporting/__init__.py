"""A shareable report: model, training, gradient flow and predictions on one HTML page."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .. import _check

if TYPE_CHECKING:
    from .._losses import LossLike
    from ..models.cells import Recurrent

__all__ = ["report"]


def report(
    model: Recurrent,
    x: Any,
    y: Any,
    path: str | os.PathLike[str],
    history: Any = None,
    *,
    lengths: ArrayLike | None = None,
    static: ArrayLike | None = None,
    loss: LossLike | None = None,
    steps: str | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    horizon: int | None = None,
    series: Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
    monitor: Any = None,
    title: str | None = None,
) -> None:
    """Write a report about a model and its predictions on some data: one HTML file.

    The file needs no network and no scripts, reads well on a phone and on paper, and supports dark
    mode. It shows key numbers, advice, predictions with examples, training curves, gradient flow
    through time, the unrolled network where `plot.unrolled` has it, the data, the model, its speed
    on this machine, settings and versions.

    Missing arguments are taken from ``model.metadata``, as ``fastbptt train`` writes it.

    Parameters
    ----------
    model : Recurrent
        The model. It is not changed.
    x : array of shape (n, time, input_size), or list of arrays (time_i, input_size)
        Sequences to evaluate it on, preferably test data; tokens for a model with an embedding.
    y : array or list of arrays
        Their targets, as for `fastbptt.evaluate`.
    path : str or path-like
        The file to write; an existing one is replaced atomically.
    history : History, optional
        The result of `fastbptt.fit`.
    lengths : array of shape (n,), optional
        The number of steps of each sequence.
    static : array of shape (n, static_size), optional
        Constants of each sequence, for a model with `static_size`.
    loss : str, optional
        As for `fastbptt.evaluate`; chosen by `y` by default.
    steps : {"last", "all", "mean", "max"}, optional
        Whether the loss is at the last step, at all steps, or on the readout of the hidden states
        pooled over the steps.
    class_names, feature_names : sequence of str, optional
        Names of class 0, 1, ... and of the features.
    ids : sequence of str, optional
        Names of the sequences; their numbers by default.
    horizon : int, optional
        For forecasts, outputs at the last step: how many steps ahead they reach. `y` holds all
        features of each of these steps beside each other. The report shows the error of each.
    series : sequence of str, optional
        For numbers to predict: the series that each of the n sequences is a window of. The report
        shows the error of each series.
    vocabulary : sequence of str, optional
        Of a model with an embedding: the word of each token, such as ``tokenizer.tokens``. The
        report shows the words of the mistakes and of the diagram.
    monitor : GradientMonitor, optional
        The callback that recorded the training.
    title : str, optional
        The report's heading.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, its value and the expectation. Nothing is written then.
    OSError
        If the file cannot be written.

    Notes
    -----
    Gradients are computed on up to 64 of the sequences, spread over all of them. Times are measured
    for a second and a half, on a copy of the model.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, fastbptt
    >>> x = np.random.default_rng(0).normal(size=(20, 12, 3))
    >>> y = (x[:, -1, 0] > 0).astype(int)
    >>> model = fastbptt.GRU(3, 8, 2, seed=0)
    >>> history = fastbptt.fit(model, x, y, epochs=3, verbose=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "report.html")
    >>> fastbptt.report(model, x, y, path, history, class_names=["down", "up"])
    >>> os.path.getsize(path) < 3_000_000
    True
    """
    from .. import _core
    from .._html import tag
    from ..files.atomic import write_whole
    from ..plot import _style
    from ..training.evaluation import check_model
    from . import sections
    from .page import document
    from .summary import gather

    _style.require()
    check_model(model)
    file = _check.file_path(path)
    summary = gather(
        model,
        x,
        y,
        lengths=lengths,
        static=static,
        loss=loss,
        steps=steps,
        class_names=class_names,
        feature_names=feature_names,
        ids=ids,
        horizon=horizon,
        series=series,
        vocabulary=vocabulary,
        history=history,
        monitor=monitor,
    )
    heading = sections.title(summary) if title is None else title
    pictures = sections.Pictures()
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    page = document(
        heading,
        tag("h1", heading),
        tag("p", sections.subtitle(summary), class_="note"),
        sections.tiles(summary),
        *(section(summary, pictures) for section in sections.SECTIONS),
        tag("footer", f"Made by fastbptt {_core.version}, {made}."),
    )
    write_whole(file, page.encode("utf-8"))
