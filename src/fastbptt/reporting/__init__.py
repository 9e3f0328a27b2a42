"""One page to hand on: what a model is, how it was trained, what flows back, what it says."""

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
    loss: LossLike | None = None,
    steps: str | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    monitor: Any = None,
    title: str | None = None,
) -> None:
    """Write a page about a model and what it does with some data: one HTML file.

    It needs no network and no script, fits a telephone and a sheet of paper, and follows the
    reader's choice of light or dark. There are: key numbers, advice, predictions with examples,
    the curves of the training, how the gradient flows back through time, the unrolled network, the
    data, the model, its speed on this machine, settings and versions.

    What is not given is taken from ``model.metadata``, as ``fastbptt train`` writes it.

    Parameters
    ----------
    model : Recurrent
        The model, as it is. It is not changed.
    x : array of shape (n, time, input_size), or list of arrays (time_i, input_size)
        Sequences to judge it by, as it takes them: test data say more than those it was trained on.
        Tokens for a model with an embedding.
    y : array or list of arrays
        Their classes or numbers, as for `fastbptt.evaluate`.
    path : str or path-like
        The file to write; replaced in one move if it exists.
    history : History, optional
        What `fastbptt.fit` returned.
    lengths : array of shape (n,), optional
        Real steps of each sequence.
    loss : str, optional
        As for `fastbptt.evaluate`; what suits `y` by default.
    steps : {"last", "all"}, optional
        Where the loss is.
    class_names, feature_names : sequence of str, optional
        Names of class 0, 1, ... and of the features.
    ids : sequence of str, optional
        Names of the sequences; their numbers by default.
    monitor : GradientMonitor, optional
        The callback that watched the training.
    title : str, optional
        The page's heading.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError, TypeError
        Naming the argument, what came and what was expected. Nothing is written then.
    OSError
        If the file cannot be written.

    Notes
    -----
    Gradients are looked at on up to 64 of the sequences, from first to last. Times are measured for
    a second and a half, on a copy of the model.

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
    from ..files.atomic import write_whole
    from ..plot import _style
    from ..training.evaluation import check_model
    from . import sections
    from .facts import gather
    from .html import document, tag

    _style.require()
    check_model(model)
    file = _check.file_path(path)
    facts = gather(
        model,
        x,
        y,
        lengths=lengths,
        loss=loss,
        steps=steps,
        class_names=class_names,
        feature_names=feature_names,
        ids=ids,
        history=history,
        monitor=monitor,
    )
    heading = sections.title(facts) if title is None else title
    pictures = sections.Pictures()
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    page = document(
        heading,
        tag("h1", heading),
        tag("p", sections.subtitle(facts), class_="note"),
        sections.tiles(facts),
        *(section(facts, pictures) for section in sections.SECTIONS),
        tag("footer", f"Made by fastbptt {_core.version}, {made}."),
    )
    write_whole(file, page.encode("utf-8"))
