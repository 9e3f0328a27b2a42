"""Synthetic tasks that need a long memory.

Each generator returns a batch that is ready for a model's training step::

    task = make_adding(64, 200, seed=0)
    model = fastbptt.GRU(task.input_size, 128, task.output_size)
    model.train_step(task.x, task.y, adam, **task.arguments)

To train on new sequences all the time, as the papers do, pass the same
``numpy.random.Generator`` as `seed` to every call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError

__all__ = ["SyntheticTask", "make_adding", "make_copy", "make_delayed_xor", "make_temporal_order"]


@dataclass(frozen=True, eq=False)
class SyntheticTask:
    """A batch of a synthetic task, with its objective.

    Attributes
    ----------
    x : ndarray
        The sequences, float32, shape (sequences, steps, features), or tokens, int64, shape
        (sequences, steps).
    y : ndarray
        The targets, in the shape that `loss` and `steps` require.
    loss : str
        The loss: "mse", "bce" or "cross_entropy".
    steps : str
        Whether it is taken at the "last" step or at "all" steps.
    input_size, output_size : int
        A model's sizes; for tokens, `input_size` is the size of the vocabulary.
    baseline : float
        The mean loss of the best prediction that ignores the sequence. A model at this loss has
        learned nothing.
    lengths : ndarray or None
        The number of steps of each sequence, if they differ.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    loss: str
    steps: str
    input_size: int
    output_size: int
    baseline: float
    lengths: NDArray[np.int64] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a model's methods: loss, steps and lengths."""
        return {"loss": self.loss, "steps": self.steps, "lengths": self.lengths}


def make_adding(
    n: int, length: int = 200, *, seed: int | np.random.Generator | None = None
) -> SyntheticTask:
    """Make the adding problem: the sum of two marked numbers among many.

    The first feature is a number from 0 to 1 in each step, the second marks two steps with 1, one
    in each half of the sequence. The target, at the last step, is the sum of the two numbers.

    Parameters
    ----------
    n : int
        The number of sequences.
    length : int, default 200
        Their number of steps, at least 2.
    seed : int, numpy.random.Generator or None, default None
        Equal seeds give equal sequences. A generator continues from its state.

    Returns
    -------
    SyntheticTask
        ``x`` (n, length, 2), ``y`` (n, 1) float32, loss "mse" at the last step.
        Always predicting 1 gives a loss of 1/6.

    Raises
    ------
    ValueError, TypeError
        If an argument is not right.

    References
    ----------
    S. Hochreiter, J. Schmidhuber. Long short-term memory. Neural Computation 9(8), 1735-1780,
    1997, experiment 4 (with numbers from -1 to 1); in this form M. Arjovsky, A. Shah, Y. Bengio.
    Unitary evolution recurrent neural networks. ICML 2016.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.datasets import make_adding
    >>> task = make_adding(8, 50, seed=0)
    >>> model = fastbptt.RNN(task.input_size, 16, task.output_size, seed=0)
    >>> loss = model.train_step(task.x, task.y, fastbptt.Adam(), **task.arguments)
    >>> marked = (task.x[..., 0] * task.x[..., 1]).sum(axis=1)
    >>> bool((abs(marked - task.y[:, 0]) < 1e-6).all())
    True
    """
    count, steps, rng = _start(n, length, 2, seed)
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = rng.random((count, steps), np.float32)
    half = steps // 2
    rows = np.arange(count)
    first, second = rng.integers(half, size=count), rng.integers(half, steps, size=count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    y = (x[rows, first, 0] + x[rows, second, 0])[:, None]
    return SyntheticTask(x, y, "mse", "last", 2, 1, 1 / 6)


def make_copy(
    n: int,
    delay: int = 200,
    *,
    symbols: int = 8,
    memorize: int = 10,
    tokens: bool = False,
    seed: int | np.random.Generator | None = None,
) -> SyntheticTask:
    """Make the copy task: repeat a word after a long pause.

    A word of `memorize` random symbols, then a pause of `delay` - 1 blanks, a sign to begin, and
    as many blanks as the word has symbols. The target is a blank at every step up to the sign,
    then the word.

    Parameters
    ----------
    n : int
        The number of sequences.
    delay : int, default 200
        The pause, T in the paper, at least 1; sequences have `delay` + 2 * `memorize` steps.
    symbols : int, default 8
        How many different symbols words are made of. The blank has the number `symbols`, the
        sign to begin `symbols` + 1.
    memorize : int, default 10
        The length of the word.
    tokens : bool, default False
        Whether ``x`` holds the symbols' numbers, for a model with an embedding, instead of
        vectors of zeros and a one.
    seed : int, numpy.random.Generator or None, default None
        Equal seeds give equal sequences. A generator continues from its state.

    Returns
    -------
    SyntheticTask
        ``x`` (n, steps, symbols + 2) float32 or (n, steps) int64, ``y`` (n, steps) int64 with
        classes up to `symbols`, loss "cross_entropy" at all steps. Guessing the word gives a mean
        loss of memorize * log(symbols) / steps.

    Raises
    ------
    ValueError, TypeError
        If an argument is not right.

    References
    ----------
    M. Arjovsky, A. Shah, Y. Bengio. Unitary evolution recurrent neural networks. ICML 2016; after
    S. Hochreiter, J. Schmidhuber. Long short-term memory. Neural Computation 9(8), 1735-1780,
    1997.

    Examples
    --------
    >>> from fastbptt.datasets import make_copy
    >>> task = make_copy(1, 4, symbols=2, memorize=3, tokens=True, seed=0)
    >>> task.x[0, 3:], task.y[0, :-3]
    (array([2, 2, 2, 3, 2, 2, 2]), array([2, 2, 2, 2, 2, 2, 2]))
    >>> bool((task.x[0, :3] == task.y[0, -3:]).all())
    True
    """
    count, pause, rng = _start(n, delay, 1, seed, "delay")
    kinds, word = _check.size("symbols", symbols), _check.size("memorize", memorize)
    _check.flag("tokens", tokens)
    blank, sign = kinds, kinds + 1
    steps = pause + 2 * word
    numbers = np.full((count, steps), blank, np.int64)
    numbers[:, :word] = rng.integers(kinds, size=(count, word))
    numbers[:, word + pause - 1] = sign
    y = np.full((count, steps), blank, np.int64)
    y[:, -word:] = numbers[:, :word]
    x = numbers if tokens else np.eye(kinds + 2, dtype=np.float32)[numbers]
    baseline = word * math.log(kinds) / steps
    return SyntheticTask(x, y, "cross_entropy", "all", kinds + 2, kinds + 1, baseline)


def make_delayed_xor(
    n: int, length: int = 200, *, seed: int | np.random.Generator | None = None
) -> SyntheticTask:
    """Make the delayed XOR: predict whether two bits from the beginning differ.

    The first feature is a random bit in each step, the second marks two steps with 1, both in the
    first tenth of the sequence. The target, at the last step, is 1 if the two marked bits
    differ. Neither of them alone is informative.

    Parameters
    ----------
    n : int
        The number of sequences.
    length : int, default 200
        Their number of steps, at least 2.
    seed : int, numpy.random.Generator or None, default None
        Equal seeds give equal sequences. A generator continues from its state.

    Returns
    -------
    SyntheticTask
        ``x`` (n, length, 2) of zeros and ones, ``y`` (n, 1) float32, loss "bce" at the last step.
        Guessing gives a loss of log(2).

    Raises
    ------
    ValueError, TypeError
        If an argument is not right.

    References
    ----------
    The XOR problem of J. Martens, I. Sutskever. Learning recurrent neural networks with
    Hessian-free optimization. ICML 2011, 1033-1040, itself after Hochreiter and Schmidhuber's
    adding problem; here both marks stand at the beginning, so that each sequence has the same
    delay before the answer.

    Examples
    --------
    >>> import fastbptt
    >>> from fastbptt.datasets import make_delayed_xor
    >>> task = make_delayed_xor(8, 50, seed=0)
    >>> model = fastbptt.RNN(task.input_size, 16, task.output_size, seed=0)
    >>> loss = model.train_step(task.x, task.y, fastbptt.Adam(), **task.arguments)
    >>> marked = (task.x[..., 0] * task.x[..., 1]).sum(axis=1)
    >>> bool(((marked == 1) == (task.y[:, 0] == 1)).all())
    True
    """
    count, steps, rng = _start(n, length, 2, seed)
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = rng.integers(2, size=(count, steps))
    early = max(steps // 10, 2)
    rows = np.arange(count)
    first = rng.integers(early, size=count)
    second = (first + rng.integers(1, early, size=count)) % early
    x[rows, first, 1] = x[rows, second, 1] = 1
    y = (x[rows, first, 0] != x[rows, second, 0]).astype(np.float32)[:, None]
    return SyntheticTask(x, y, "bce", "last", 2, 1, math.log(2))


_ORDER: Final = "abcdXYEB"  # four that mean nothing, the two that matter, the first, the last


def make_temporal_order(
    n: int,
    length: int = 100,
    *,
    tokens: bool = False,
    seed: int | np.random.Generator | None = None,
) -> SyntheticTask:
    """Make the temporal order problem: predict which of two symbols came first and second.

    A sequence begins with the symbol E, ends with B, and has random symbols a, b, c, d between
    them, but for two, each X or Y: one after a tenth to a fifth of the steps, one after five to
    six tenths. The target is one of XX, XY, YX, YY.

    Parameters
    ----------
    n : int
        The number of sequences.
    length : int, default 100
        Their least number of steps, at least 10; the greatest is a tenth more.
    tokens : bool, default False
        Whether ``x`` holds the symbols' numbers (in the order abcdXYEB), for a model with an
        embedding, instead of vectors of zeros and a one.
    seed : int, numpy.random.Generator or None, default None
        Equal seeds give equal sequences. A generator continues from its state.

    Returns
    -------
    SyntheticTask
        ``x`` (n, steps, 8) float32, zero after a sequence's end, or (n, steps) int64; ``y`` (n,)
        int64, 0 to 3; loss "cross_entropy" at the last step; with ``lengths``. Guessing gives a
        loss of log(4).

    Raises
    ------
    ValueError, TypeError
        If an argument is not right.

    References
    ----------
    S. Hochreiter, J. Schmidhuber. Long short-term memory. Neural Computation 9(8), 1735-1780,
    1997, experiment 6a, where `length` is 100.

    Examples
    --------
    >>> from fastbptt.datasets import make_temporal_order
    >>> task = make_temporal_order(1, 20, tokens=True, seed=1)
    >>> text = "".join("abcdXYEB"[i] for i in task.x[0, : task.lengths[0]])
    >>> text[0], text[-1], text.count("X") + text.count("Y")
    ('E', 'B', 2)
    >>> ["XX", "XY", "YX", "YY"][task.y[0]] == text.translate(str.maketrans("", "", "abcdEB"))
    True
    """
    count, least, rng = _start(n, length, 10, seed)
    _check.flag("tokens", tokens)
    lengths = rng.integers(least, least + least // 10 + 1, size=count)
    steps = int(lengths.max())
    rows = np.arange(count)
    numbers = rng.integers(4, size=(count, steps))
    pair = rng.integers(2, size=(count, 2))
    tenth = least // 10
    numbers[rows, rng.integers(tenth, 2 * tenth + 1, size=count)] = 4 + pair[:, 0]
    numbers[rows, rng.integers(5 * tenth, 6 * tenth + 1, size=count)] = 4 + pair[:, 1]
    numbers[:, 0] = _ORDER.index("E")
    numbers[rows, lengths - 1] = _ORDER.index("B")
    ended = np.arange(steps) >= lengths[:, None]
    if tokens:
        x: NDArray[Any] = np.where(ended, 0, numbers)
    else:
        x = np.eye(len(_ORDER), dtype=np.float32)[numbers]
        x[ended] = 0
    y = 2 * pair[:, 0] + pair[:, 1]
    size = len(_ORDER)
    return SyntheticTask(x, y, "cross_entropy", "last", size, 4, math.log(4), lengths)


def _start(
    n: int, length: int, least: int, seed: Any, name: str = "length"
) -> tuple[int, int, np.random.Generator]:
    count, steps = _check.size("n", n), _check.size(name, length)
    if steps < least:
        raise ArgumentError(name, f"is {steps}", f"at least {least}", value=steps)
    return count, steps, _check.generator(seed)
