"""Errors about arguments, as data: who passes one on changes its fields, and the text follows."""

from __future__ import annotations

from typing import Any


class BadArgumentError(Exception):
    """Base class of `ArgumentError` and `ArgumentTypeError`.

    Parameters
    ----------
    argument : str
        Its name, as the caller knows it: ``"x"``.
    problem : str
        The predicate of the sentence, what came: ``"has shape (2, 3)"``, ``"holds class 4"``.
    expected : str, optional
        What was expected instead.
    item : int, optional
        The item of a list that it is about: ``x[3]``.
    index : tuple of int, optional
        The place in the array.
    value : int or float, optional
        The number at that place, or the one that the argument is.

    Attributes
    ----------
    argument, problem, expected, item, index, value
        As given. All may be changed while the error is on its way to the user.
    part : str
        The name of the state that the item is, of a cell with several: ``"c"``.
    source : str
        Where the argument comes from: a file, ``"validation"``. The text begins with it.
    context : list of str
        Remarks. The text ends with them.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> model = fastbptt.RNN(1, 4, 2)
    >>> try:
    ...     model.loss(np.ones((3, 5, 1)), [0, 1, 2], "cross_entropy")
    ... except fastbptt.ArgumentError as error:
    ...     print(error.argument, error.index, error.value)
    ...     print(error)
    y (2,) 2
    y holds class 2 at index (2,); expected classes 0 to 1
    """

    def __init__(
        self,
        argument: str,
        problem: str,
        expected: str = "",
        *,
        item: int | None = None,
        index: tuple[int, ...] = (),
        value: float | None = None,
    ) -> None:
        super().__init__(argument, problem, expected)
        self.argument = argument
        self.problem = problem
        self.expected = expected
        self.item = item
        self.index = index
        self.value = value
        self.part = ""
        self.source = ""
        self.context: list[str] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # `args` are as they were at first; the fields may have changed since
        return type(self), (self.argument, self.problem, self.expected), self.__dict__

    def __str__(self) -> str:
        text = f"{self.source}: " if self.source else ""
        text += self.argument if self.item is None else f"{self.argument}[{self.item}]"
        text += f" ({self.part})" * bool(self.part)
        text += f" {self.problem}"
        if self.index:
            text += f" at index {self.index}"
        if self.expected:
            text += f"; expected {self.expected}"
        return text + "".join(f" ({remark})" for remark in self.context)


class ArgumentError(BadArgumentError, ValueError):
    """An argument with a value or shape that it must not have."""


class ArgumentTypeError(BadArgumentError, TypeError):
    """An argument of the wrong type or dtype."""
