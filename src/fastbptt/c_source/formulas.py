"""One step of each cell in C, for one unit."""

from __future__ import annotations

from typing import Final

#: For each cell of the core its stages, as C statements in which ``{0}``, ``{1}``, ... are the
#: pre-activations in the core's order, ``{h}`` and ``{c}`` the states (before the step until they
#: are assigned), ``{setting}`` is the cell's number, and ``real`` the type of all numbers.
#: ``sigmoid`` and ``tanh`` may be called. Where a pre-activation multiplies something else than
#: the state before the step, ``{operand}``, the first stage computes that.
CELLS: Final[dict[str, tuple[str, ...]]] = {
    "rnn": ("{h} = tanh({0});",),
    "relu": ("{h} = {0} < 0 ? 0 : {0};",),
    "leaky": ("{h} += {setting} * (tanh({0}) - {h});",),
    "gru": (
        """\
const real n = tanh({2} + sigmoid({0}) * {3});
{h} = n + sigmoid({1}) * ({h} - n);""",
    ),
    "gru_before": (
        "{operand} = sigmoid({0}) * {h};",
        """\
const real n = tanh({2});
{h} = n + sigmoid({1}) * ({h} - n);""",
    ),
    "lstm": (
        """\
{c} = sigmoid({1}) * {c} + sigmoid({0}) * tanh({2});
{h} = sigmoid({3}) * tanh({c});""",
    ),
}
