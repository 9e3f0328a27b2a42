"""One step of each cell in C, for one unit."""

from __future__ import annotations

from typing import Final

#: For each cell of the core its stages, as C statements in which ``{0}``, ``{1}``, ... are the
#: pre-activations in the core's order, ``{h}`` and ``{c}`` the states (before the step until they
#: are assigned), ``{setting}`` is the cell's number, and ``real`` the type of all numbers.
#: ``sigmoid``, ``tanh`` and ``softplus`` may be called. Where a pre-activation multiplies something
#: else than the state before the step, ``{operand}``, the first stage computes that. Where h is a
#: function of the state, ``{v}``, the last stage is that function.
CELLS: Final[dict[str, tuple[str, ...]]] = {
    "rnn": ("{h} = tanh({0});",),
    "relu": ("{h} = {0} < 0 ? 0 : {0};",),
    "rnn_softplus": ("{h} = softplus({0});",),
    "rnn_sigmoid": ("{h} = sigmoid({0});",),
    "leaky": ("{h} += {setting} * (tanh({0}) - {h});",),
    "leaky_rate_relu": ("{h} += {setting} * (({0} < 0 ? 0 : {0}) - {h});",),
    "leaky_rate_softplus": ("{h} += {setting} * (softplus({0}) - {h});",),
    "leaky_rate_sigmoid": ("{h} += {setting} * (sigmoid({0}) - {h});",),
    "leaky_preactivation_tanh": ("{v} += {setting} * ({0} - {v});", "{h} = tanh({v});"),
    "leaky_preactivation_relu": ("{v} += {setting} * ({0} - {v});", "{h} = {v} < 0 ? 0 : {v};"),
    "leaky_preactivation_softplus": ("{v} += {setting} * ({0} - {v});", "{h} = softplus({v});"),
    "leaky_preactivation_sigmoid": ("{v} += {setting} * ({0} - {v});", "{h} = sigmoid({v});"),
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
