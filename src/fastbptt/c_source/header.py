"""The text of the header: declarations, and what a reader needs to know of the file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .. import _core
from .links import LINKS
from .literals import INTEGERS, TYPES
from .network import NetworkDescription

#: The public functions, in their order in the file.
FUNCTIONS: Final = ("reset", "step", "run")
_COLUMNS: Final = 90


class Footprint(NamedTuple):
    """Bytes, and accuracy, of the program that is built from a file.

    Attributes
    ----------
    constants, state, stack : int
        Bytes: of the constant arrays; of the struct; of local arrays while a step is computed.
    weight_error : float
        The largest difference between a weight and what stands for it.
    """

    constants: int
    state: int
    stack: int
    weight_error: float


class Interface(NamedTuple):
    """The types and names that a file offers.

    Attributes
    ----------
    network : NetworkDescription
    prefix : str
        Names begin with it.
    weights : {"int8", "int16"} or None
    """

    network: NetworkDescription
    prefix: str
    weights: str | None

    @property
    def real(self) -> str:
        """The type of all numbers but the weights."""
        return TYPES[self.network.parameters["W_hh"].dtype.name]

    @property
    def inputs(self) -> int:
        """Numbers that the caller gives for a step."""
        return self.network.input_size - len(self.network.inputs.gaps or ())

    @property
    def outputs(self) -> int:
        """Numbers that the caller gets for a step."""
        return self.network.output_size or self.network.hidden_size

    @property
    def states(self) -> list[str]:
        """Names of the arrays in the struct."""
        info = self.network.cell_info
        own: list[str] = info["states"]
        return ["h"] * info["given"] + own

    @property
    def sizes(self) -> dict[str, int]:
        """Macros of the header, without the prefix."""
        net = self.network
        found = {"VOCABULARY": net.vocabulary} if net.vocabulary else {"INPUTS": self.inputs}
        if net.static_size:
            found["CONSTANTS"] = net.static_size
        found["OUTPUTS"] = self.outputs
        return found

    def signature(self, function: str) -> str:
        """Write the declaration of a function, without the semicolon."""
        p, macro, real = self.prefix, self.prefix.upper(), self.real
        state, tokens = f"{p}_state *state", bool(self.network.vocabulary)
        if function == "reset":
            static = f", const {real} constants[{macro}_CONSTANTS]"
            return f"void {p}_reset({state}{static * bool(self.network.static_size)})"
        result = "int" if tokens else "void"
        if function == "step":
            read = "int32_t token" if tokens else f"const {real} x[{macro}_INPUTS]"
            return f"{result} {p}_step({state}, {read}, {real} y[{macro}_OUTPUTS])"
        read = "const int32_t *tokens" if tokens else f"const {real} *x"
        return f"{result} {p}_run({state}, {read}, size_t steps, {real} *y)"

    def explained(self, function: str) -> str:
        """Write what a function does."""
        tokens = bool(self.network.vocabulary)
        if function == "reset":
            return "Sets the state before the first step."
        if function == "step":
            refused = " Returns 0, or -1 if there is no such token; then nothing changes." * tokens
            return f"Reads the input of one time step, and computes the outputs there.{refused}"
        refused = " Returns 0, or -1 at the first token that does not exist." * tokens
        return f"Does so for many steps: y holds the outputs of one after the other.{refused}"


def header(
    interface: Interface, stem: str, footprint: Footprint, digest: int, about: Sequence[str]
) -> str:
    """Write the header.

    Parameters
    ----------
    interface : Interface
    stem : str
        The files' name, without a suffix.
    footprint : Footprint
    digest : int
        Of the source, which compiles with the header of the same digest only.
    about : sequence of str
        Further sentences for its reader.
    """
    p, macro, net = interface.prefix, interface.prefix.upper(), interface.network
    shape = f"[{net.num_layers}][{net.hidden_size}]"
    states = "".join(f"    {interface.real} {state}{shape};\n" for state in interface.states)
    lines = "\n".join(f"   {line}".rstrip() for line in _comment(interface, stem, footprint, about))
    declared = "".join(
        f"/* {interface.explained(one)} */\n{interface.signature(one)};\n\n" for one in FUNCTIONS
    )
    sizes = "".join(f"#define {macro}_{name} {size}\n" for name, size in interface.sizes.items())
    return f"""\
/* {lines.lstrip()} */

#ifndef FASTBPTT_{macro}_H
#define FASTBPTT_{macro}_H

#include <stddef.h>
#include <stdint.h>

#define {macro}_EXPORT 0x{digest:08x} /* the same in {stem}.c */
{sizes}
#ifdef __cplusplus
extern "C" {{
#endif

/* The state of one stream. */
typedef struct {{
{states}}} {p}_state;

{declared}#ifdef __cplusplus
}}
#endif

#endif
"""


def _comment(
    interface: Interface, stem: str, footprint: Footprint, about: Sequence[str]
) -> Iterator[str]:
    """Write the lines of the comment at the top."""
    net, p = interface.network, interface.prefix
    first, static = "token" if net.vocabulary else "x", ", constants" * bool(net.static_size)
    yield f"{stem}.h: {_safe(net.title)}"
    yield f"Written by fastbptt {_core.version}; do not edit."
    yield ""
    yield f"    {p}_state state;"
    yield f"    {p}_reset(&state{static});"
    yield f"    {p}_step(&state, {first}, y);    for each time step"
    yield ""
    yield from _inputs(interface)
    means = LINKS[net.outputs.link].means or "" if net.output_size else "hidden states"
    yield f"y: {_counted(interface.outputs, 'number')}{', ' * bool(means)}{means}."
    yield from _listed("y", net.outputs.names)
    if net.outputs.at_last:
        yield "   Training looked at the last step of each sequence alone: use y of that step."
    yield ""
    yield from _wrapped(f"Numbers are {interface.real}. {_accuracy(interface, footprint)}", *about)
    constants, state, stack, _ = footprint
    yield from _wrapped(
        f"Memory: {constants} bytes of constants, {state} bytes for each state, and about {stack} "
        "bytes of local arrays on the stack. None is allocated. Functions change nothing but what "
        "they are given: several streams, with a state each, may run in several threads."
    )
    yield "Do not compile with -ffast-math, which takes NaN for a number."


def _inputs(interface: Interface) -> Iterator[str]:
    """Write the lines about what the caller gives."""
    net = interface.network
    if net.vocabulary:
        yield f"token: 0 to {net.vocabulary - 1}."
    else:
        units = ", in the units of the data: the scaling is in this file"
        scaled = net.inputs.mean is not None
        yield f"x: {_counted(interface.inputs, 'number')}{units * scaled}."
        yield from _listed("x", net.inputs.names)
        if net.inputs.gaps is not None:
            known = ", ".join(f"x[{feature}]" for feature in net.inputs.gaps) or "none"
            yield f"   NaN is a missing value. Training knew of gaps in {known}."
        elif net.inputs.filled:
            yield "   Never NaN: training interpolated missing values; your program does so before."
    if net.static_size:
        yield f"constants: {_counted(net.static_size, 'number')}, the same for a whole sequence."


def _accuracy(interface: Interface, footprint: Footprint) -> str:
    """State how the weights are kept."""
    if interface.weights is None:
        return "Weights are as trained."
    most = INTEGERS[interface.weights][1]
    return (
        f"Weights are {TYPES[interface.weights]} with a scale for each row, off by at most "
        f"1/{2 * most} of the largest in their row: by at most {footprint.weight_error:.2g} in all."
    )


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}{'s' * (count != 1)}"


def _listed(variable: str, names: Sequence[str] | None) -> Iterator[str]:
    for i, name in enumerate(names or ()):
        yield f"   {variable}[{i}]: {_safe(name)}"


def _wrapped(*sentences: str) -> list[str]:
    return textwrap.wrap(" ".join(sentences), _COLUMNS)


def _safe(text: str) -> str:
    """Write text from elsewhere so that it cannot end a comment: ASCII, in one line."""
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    shown = shown.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").rstrip("\\")
    return shown if len(shown) <= 100 else f"{shown[:97]}..."
