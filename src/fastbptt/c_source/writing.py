"""The text of the C file and its header."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._check import Floats
from .._errors import ArgumentError
from .formulas import CELLS
from .header import Footprint, Interface, header
from .links import LINKS
from .literals import TYPES, Rounded, array, literal, rounded
from .network import NetworkDescription

#: More numbers than that are refused: the text has about 18 bytes for each.
MOST_NUMBERS: Final = 10_000_000

# tanh(2 a) = 2 n q / (q^2 + n^2) with tanh(a) = n / q, n = a p(a^2), and polynomials p and q that
# fit |a| <= 4.51 to a relative error of 2.3e-8 (least squares, reweighted towards the worst points)
_TANH: Final = """\
/* tanh, off by at most 2.3e-7; of NaN it is NaN. */
static inline float {p}_tanh(float x)
{{
    const float b = x > 9.02f ? 9.02f : x, a = 0.5f * (b < -9.02f ? -9.02f : b), u = a * a;
    const float p = 1.0f + u * (0.1259547834f + u * (0.002556842252f + u * 5.491352934e-6f));
    const float q = 1.0f + u * (0.4592878638f + u * (0.02231992195f + u * 0.0001749729627f));
    const float n = a * p;
    return (n + n) * q / (q * q + n * n);
}}

"""
# With GCC 12 for x86-64, the first halves the time of a step with -O2, the second that of up to 16
# units with -O3.
_HEAD: Final = """\
#ifdef __cplusplus
#define restrict
#endif
#if defined(__GNUC__) && !defined(__clang__)
/* Lets comparisons become vector code; changes no result. */
#pragma GCC optimize("no-trapping-math")
#endif

"""
_SIGMOID: Final = """\
static inline {real} {p}_sigmoid({real} x)
{{
    return {half} + {half} * {tanh}({half} * x);
}}

"""
_SOFTPLUS: Final = """\
static inline {real} {p}_softplus({real} x)
{{
    const {real} rest = {log1p}({exp}(x > 0 ? -x : x));
    return x > 0 ? x + rest : rest;
}}

"""
_PRODUCT: Final = """\
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8
/* Unrolled, a short loop does not become vector code. */
#define {p}_rolled _Pragma("GCC unroll 1")
#else
#define {p}_rolled
#endif

/* sum[j] += x[0] w[0][j] + ... + x[rows - 1] w[rows - 1][j]{scaled}, four rows at a time. */
static inline void {p}_product(const {real} *restrict x, int rows,
                               const {weight} *restrict w,{scale}
                               int columns, {real} *restrict sum)
{{
    int j;
    for (; rows >= 4; rows -= 4) {{
        const {weight} *w1 = w + columns, *w2 = w1 + columns, *w3 = w2 + columns;
        const {real} x0 = {x0}, x1 = {x1}, x2 = {x2}, x3 = {x3};
        {p}_rolled for (j = 0; j < columns; ++j)
            sum[j] = sum[j] + x0 * {w0}[j] + x1 * {w1}[j] + x2 * {w2}[j] + x3 * {w3}[j];
        x += 4;{next4}
        w = w3 + columns;
    }}
    for (; rows > 0; rows -= 1) {{
        const {real} x0 = {x0};
        {p}_rolled for (j = 0; j < columns; ++j)
            sum[j] += x0 * {w0}[j];
        ++x;{next1}
        w += columns;
    }}
}}

"""


class Source(NamedTuple):
    """The two files, and what the program that is built from them needs."""

    source: bytes
    header: bytes
    footprint: Footprint


class WeightBlock(NamedTuple):
    """Some columns of a weight matrix, the product with which is added to the pre-activations.

    Attributes
    ----------
    matrix : str
        ``W_xh`` or ``W_hh``.
    gates : slice
        The gates whose columns it has.
    first : int
        The pre-activation to which the first gate belongs.
    operand : str
        What is multiplied: ``x``, ``h`` or ``operand``.
    """

    matrix: str
    gates: slice
    first: int
    operand: str


def check_cell(cell: str) -> None:
    """Refuse a cell without formulas in C.

    Raises
    ------
    ArgumentError
    """
    if cell not in CELLS:
        known = ", ".join(f'"{one}"' for one in CELLS)
        raise ArgumentError("cell", f'is "{cell}", which has no formulas in C', f"one of {known}")


def blocks(info: Any) -> list[WeightBlock]:
    """Cut a cell's weight matrices into runs of gates whose products go side by side."""
    found: list[WeightBlock] = []
    for matrix in ("W_xh", "W_hh"):
        for j, one in enumerate(info["preactivations"]):
            gate, hidden = one["gate"], one["hidden"]
            if (not one["input"]) if matrix == "W_xh" else (hidden is None):
                continue
            operand = "x" if matrix == "W_xh" else "h" if hidden == "before" else "operand"
            last = found[-1] if found else None
            if (
                last is not None
                and (last.matrix, last.operand) == (matrix, operand)
                and last.gates.stop == gate
                and last.first + last.gates.stop - last.gates.start == j
            ):
                found[-1] = last._replace(gates=slice(last.gates.start, gate + 1))
            else:
                found.append(WeightBlock(matrix, slice(gate, gate + 1), j, operand))
    return found


class Writer:
    """Writes one network.

    Parameters
    ----------
    network : NetworkDescription
    prefix : str
        Names of the file begin with it; a C identifier.
    weights : {"int8", "int16"} or None
        None: as they are.

    Attributes
    ----------
    restored : dict of name -> array
        The parameters as the file has them: rounded, if `weights` says so.

    Raises
    ------
    ArgumentError
        If the cell has no formulas in C, there are too many numbers, or the type of the parameters
        cannot hold a mean or scale.
    """

    def __init__(self, network: NetworkDescription, prefix: str, weights: str | None) -> None:
        check_cell(network.cell)
        self._net, self._p, self._weights = network, prefix, weights
        self._dtype: np.dtype[Any] = network.parameters["W_hh"].dtype
        self._interface = Interface(network, prefix, weights)
        self._real = self._interface.real
        self._weight = self._real if weights is None else TYPES[weights]
        self._blocks = blocks(network.cell_info)
        self._states = self._interface.states
        self._count = len(network.cell_info["preactivations"])
        self._arrays: list[tuple[str, NDArray[Any]]] = []
        self._weight_error = 0.0
        numbers = sum(one.size for one in network.parameters.values())
        if numbers > MOST_NUMBERS:
            raise ArgumentError(
                "the model",
                f"has {numbers} parameters",
                f"at most {MOST_NUMBERS}, which are a C file of 200 MB",
            )
        self.restored = {name: values.copy() for name, values in network.parameters.items()}
        self._functions = self._layer() + self._reset() + self._step() + self._run()

    # ------------------------------------------------------------ arrays

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        """Keep an array for the file; return its name in C."""
        name = f"{self._p}_{name}"
        self._arrays.append((name, values))
        return name

    def _matrix(self, name: str, of: str, columns: slice = slice(None)) -> str:
        """Keep columns of a parameter; return the arguments that stand for them in a call."""
        values = self._net.parameters[of][:, columns]
        if self._weights is None:
            return self._constant(name, values)
        whole: Rounded = rounded(values, self._weights)
        self.restored[of][:, columns] = whole.restored()
        error = np.abs(self.restored[of][:, columns].astype(np.float64) - values)
        self._weight_error = max(self._weight_error, float(error.max()))
        return (
            f"{self._constant(name, whole.whole)}, {self._constant(f'{name}_scale', whole.scale)}"
        )

    # ------------------------------------------------------------ the code

    def _code(self, text: str, indent: int = 4) -> str:
        """Write a template of `formulas` or `links` in C: types and functions by their names."""
        single = self._dtype == np.float32
        names = {
            "real": self._real,
            "tanh(": f"{self._p}_tanh(" if single else "tanh(",
            "sigmoid(": f"{self._p}_sigmoid(",
            "softplus(": f"{self._p}_softplus(",
            "log1p(": "log1pf(" if single else "log1p(",
            "exp(": "expf(" if single else "exp(",
        }
        text = re.sub(
            r"\breal\b|\b(tanh|sigmoid|softplus|log1p|exp)\(", lambda found: names[found[0]], text
        )
        return "".join(f"{' ' * indent}{line}\n" for line in text.splitlines())

    def _layer(self) -> str:
        """Write the function of a layer's step."""
        H, stages = self._net.hidden_size, CELLS[self._net.cell]
        parts = ["/* One step of one layer: its states change in place. */\n"]
        parameters = [f"const {self._real} *restrict x, int inputs"]
        parameters += [f"{self._real} *restrict {state}" for state in self._states]
        if "b_h" in self._net.parameters:
            parameters.append(f"const {self._real} *b")
        if self._own_settings:
            parameters.append(f"const {self._real} *setting")
        for i in range(len(self._blocks)):
            parameters.append(f"const {self._weight} *w{i}")
            if self._weights is not None:
                parameters[-1] += f", const {self._real} *s{i}"
        head = f"static void {self._p}_layer("
        between = ",\n" + " " * len(head)
        parts.append(f"{head}{between.join(parameters)})\n{{\n")
        operand = any(block.operand == "operand" for block in self._blocks)
        extra = f", operand[{H}]" * operand
        parts.append(f"    {self._real} a[{self._count * H}]{extra};\n    int i;\n\n")
        bias = "b[i]" if "b_h" in self._net.parameters else "0"
        parts.append(f"    for (i = 0; i < {self._count * H}; ++i)\n        a[i] = {bias};\n")
        waiting = dict(enumerate(self._blocks))
        for number, stage in enumerate(stages):
            for i, block in list(waiting.items()):
                if number == 0 and block.operand == "operand":
                    continue
                del waiting[i]
                rows = "inputs" if block.operand == "x" else str(H)
                scale = "" if self._weights is None else f", s{i}"
                columns = (block.gates.stop - block.gates.start) * H
                to = f"a + {block.first * H}" if block.first else "a"
                call = f"{self._p}_product({block.operand}, {rows}, w{i}{scale}, {columns}, {to});"
                parts.append(f"    {call}\n")
            fields = {state: f"{state}[i]" for state in (*self._states, "operand")}
            at = [f"a[{j * H} + i]" if j else "a[i]" for j in range(self._count)]
            setting = "setting[i]"
            if not self._own_settings:
                setting = literal(float(self._net.setting), self._dtype)
            text = stage.format(*at, **fields, setting=setting)
            parts.append(f"    for (i = 0; i < {H}; ++i) {{\n{self._code(text, 8)}    }}\n")
        return "".join([*parts, "}\n\n"])

    def _calls(self) -> str:
        """Write the calls of all layers, and keep their weights."""
        H, lines = self._net.hidden_size, []
        for layer in range(self._net.num_layers):
            suffix = f"_l{layer}" if layer else ""
            source, inputs = ("input", self._net.input_size)
            if layer:
                source, inputs = f"state->h[{layer - 1}]", H
            elif not self._prepares:
                source = "x"
            arguments = [source, str(inputs)]
            arguments += [f"state->{state}[{layer}]" for state in self._states]
            if "b_h" in self._net.parameters:
                arguments.append(self._constant(f"b_h{suffix}", self._bias(suffix)))
            if self._own_settings:
                numbers = np.asarray(self._net.setting)[layer].astype(self._dtype)
                arguments.append(self._constant(f"setting{suffix}", numbers))
            for block in self._blocks:
                columns = slice(block.gates.start * H, block.gates.stop * H)
                same = [one for one in self._blocks if one.matrix == block.matrix]
                gates = "".join(self._net.cell_info["gate_names"][block.gates])
                of = f"{block.matrix}{suffix}"
                label = f"{of}_{gates}" if len(same) > 1 else of
                arguments.append(self._matrix(label, of, columns))
            lines.append(f"{self._p}_layer({', '.join(arguments)});")
        return "\n".join(lines)

    @property
    def _own_settings(self) -> bool:
        """Whether each unit has a number of its own."""
        return np.ndim(self._net.setting) > 0

    def _bias(self, suffix: str) -> Floats:
        """Return the biases of one layer, in the order of the pre-activations."""
        H, info = self._net.hidden_size, self._net.cell_info
        b_h = self._net.parameters[f"b_h{suffix}"]
        extra = [self._net.parameters[f"{name}{suffix}"] for name in info["extra_bias"]]
        parts = [
            b_h[one["gate"] * H : (one["gate"] + 1) * H] if one["input"] else extra[0]
            for one in info["preactivations"]
        ]
        return np.concatenate(parts)

    @property
    def _prepares(self) -> bool:
        """Whether the network reads something else than the numbers that the caller gives."""
        given = self._net.inputs
        return bool(self._net.vocabulary) or given.mean is not None or given.gaps is not None

    def _prepare(self) -> str:
        """Write what makes the network's input of the caller's."""
        I, given = self._net.input_size, self._net.inputs
        if self._net.vocabulary:
            table, *scale = self._matrix("E", "E").split(", ")
            value = f"{table}[token * {I} + i]"
            if scale:
                value = f"{scale[0]}[token] * ({self._real}){value}"
            return (
                f"if (token < 0 || token >= {self._net.vocabulary})\n    return -1;\n"
                f"for (i = 0; i < {I}; ++i)\n    input[i] = {value};"
            )
        if not self._prepares:
            return ""
        value = "x[i]"
        if given.mean is not None and given.scale is not None:
            mean = given.mean.astype(self._dtype)
            rest = (given.mean - mean.astype(np.float64)).astype(self._dtype)
            with np.errstate(over="ignore", under="ignore"):
                factor = (1.0 / given.scale).astype(self._dtype)
            if not np.isfinite(factor).all() or not np.isfinite(mean).all() or not factor.all():
                raise ArgumentError(
                    "standardizer",
                    f"has a mean or scale that {self._dtype} cannot hold",
                    'numbers of another size, or dtype="float64"',
                )
            value = f"x[i] - {self._constant('mean', mean)}[i]"
            if rest.any():  # so that no digit is lost where the mean is large beside the scale
                value += f" - {self._constant('mean_rest', rest)}[i]"
            value = f"({value}) * {self._constant('factor', factor)}[i]"
        lines = [f"for (i = 0; i < {self._interface.inputs}; ++i)\n    input[i] = {value};"]
        for place, feature in enumerate(given.gaps or (), self._interface.inputs):
            missing = f"x[{feature}] != x[{feature}]"  # true of NaN
            lines.append(f"input[{place}] = ({self._real})({missing});")
            lines.append(f"if ({missing})\n    input[{feature}] = 0;")
        return "\n".join(lines)

    def _readout(self) -> str:
        """Write the readout, and the link."""
        net = self._net
        top, H, O = f"state->h[{net.num_layers - 1}]", net.hidden_size, self._interface.outputs
        lines = []
        if not net.output_size:
            lines.append(f"for (i = 0; i < {H}; ++i)\n    y[i] = {top}[i];")
        else:
            source, rows = top, H
            if net.read_units:
                source, rows = "read", len(net.read_units)
                kind = np.int16 if H <= 1 << 15 else np.int32
                units = self._constant("units", np.array(net.read_units, kind))
                lines.append(f"for (i = 0; i < {rows}; ++i)\n    read[i] = {top}[{units}[i]];")
            bias = "0"
            if "b_y" in net.parameters:
                bias = f"{self._constant('b_y', net.parameters['b_y'])}[i]"
            lines.append(f"for (i = 0; i < {O}; ++i)\n    y[i] = {bias};")
            W_hy = self._matrix("W_hy", "W_hy")
            lines.append(f"{self._p}_product({source}, {rows}, {W_hy}, {O}, y);")
        return "\n".join(lines)

    def _reset(self) -> str:
        """Write the function that sets the initial state."""
        net, p, H = self._net, self._p, self._net.hidden_size
        lines = []
        given = net.cell_info["states"]
        for state in given:
            start = "0"
            if f"{state}0" in net.parameters:
                name = self._constant(f"{state}0", net.parameters[f"{state}0"])
                start = f"{name}[i * {H} + j]" if net.num_layers > 1 else f"{name}[j]"
            lines.append(f"state->{state}[i][j] = {start};")
        loop = f"for (i = 0; i < {net.num_layers}; ++i)\n    for (j = 0; j < {H}; ++j)"
        loop += " {\n" + "".join(f"        {line}\n" for line in lines) + "    }"
        if net.static_size:
            for state in given:
                for layer in range(net.num_layers):
                    columns = slice(layer * H, (layer + 1) * H)
                    suffix = f"_l{layer}" if layer else ""
                    matrix = self._matrix(f"W_s{state}{suffix}", f"W_s{state}", columns)
                    to = f"state->{state}[{layer}]"
                    loop += f"\n{p}_product(constants, {net.static_size}, {matrix}, {H}, {to});"
        if given != self._states:  # h is a function of the state
            both = {state: f"state->{state}[i][j]" for state in self._states}
            shown = CELLS[net.cell][-1].format(**both)
            loop += f"\nfor (i = 0; i < {net.num_layers}; ++i)\n    for (j = 0; j < {H}; ++j)"
            loop += f"\n        {shown}"
        return f"{self._interface.signature('reset')}\n{{\n    int i, j;\n{self._code(loop)}}}\n\n"

    def _step(self) -> str:
        """Write the function of one time step."""
        net = self._net
        result = "int" if net.vocabulary else "void"
        arrays = [f"input[{net.input_size}]"] * self._prepares
        arrays += [f"read[{len(net.read_units)}]"] * bool(net.read_units)
        link = LINKS[net.outputs.link].code.format(outputs=self._interface.outputs)
        parts = [self._prepare(), self._calls(), self._readout()]
        text = "\n".join(part for part in parts if part)
        if link:
            text += f"\n{{\n{self._code(link)}}}"
        if result == "int":
            text += "\nreturn 0;"
        local = f"    {self._real} {', '.join(arrays)};\n" if arrays else ""
        return (
            f"{self._interface.signature('step')}\n{{\n{local}    int i;\n{self._code(text)}}}\n\n"
        )

    def _run(self) -> str:
        """Write the function of many time steps."""
        O, p = f"{self._p.upper()}_OUTPUTS", self._p
        if self._net.vocabulary:
            body = (
                f"    if ({p}_step(state, tokens[t], y + t * {O}) != 0)\n        return -1;\n"
                "return 0;"
            )
        else:
            body = f"    {p}_step(state, x + t * {p.upper()}_INPUTS, y + t * {O});"
        text = f"size_t t;\nfor (t = 0; t < steps; ++t)\n{body}"
        return f"{self._interface.signature('run')}\n{{\n{self._code(text)}}}\n"

    # ------------------------------------------------------------ the files

    def source(self, about: Sequence[str], stem: str | None = None) -> Source:
        """Put both files together.

        Parameters
        ----------
        stem : str, optional
            The files' name, without a suffix: the source includes the header by it. None: the
            prefix.
        about : sequence of str
            Further sentences of the header's comment.
        """
        p, functions = self._p, self._functions
        stem = p if stem is None else stem
        helpers = _PRODUCT.format(**self._product())
        if f"{p}_sigmoid(" in functions:
            half, tanh = literal(0.5, self._dtype), self._code("tanh(").strip()[:-1]
            helpers = _SIGMOID.format(p=p, real=self._real, half=half, tanh=tanh) + helpers
        if f"{p}_softplus(" in functions:
            log1p, exp = (self._code(one).strip()[:-1] for one in ("log1p(", "exp("))
            helpers = _SOFTPLUS.format(p=p, real=self._real, log1p=log1p, exp=exp) + helpers
        if f"{p}_tanh(" in functions + helpers:
            helpers = _TANH.format(p=p) + helpers
        calls = functions + helpers
        math = "#include <math.h>\n\n" if re.search(r"\b(tanh|log1pf?|expf?)\(", calls) else ""
        arrays = [line for one in self._arrays for line in array(*one)]
        body = "".join([*arrays, helpers, functions])
        digest = zlib.crc32(body.encode())
        head = (
            f"/* {stem}.c: see {stem}.h. Written by fastbptt {_core.version}. */\n\n"
            f'#include "{stem}.h"\n\n{math}'
            f"#if {p.upper()}_EXPORT != 0x{digest:08x}\n"
            f'#error "{stem}.h and {stem}.c are of different exports"\n#endif\n{_HEAD}'
        )
        footprint = self._footprint()
        text = header(self._interface, stem, footprint, digest, about)
        return Source(os.fsencode(head + body), os.fsencode(text), footprint)

    def _footprint(self) -> Footprint:
        """Add up memory."""
        H = self._net.hidden_size
        operand = any(block.operand == "operand" for block in self._blocks)
        local = (self._count + operand) * H + len(self._net.read_units)
        local += self._net.input_size * self._prepares
        return Footprint(
            sum(values.nbytes for _, values in self._arrays),
            self._dtype.itemsize * len(self._states) * self._net.num_layers * H,
            self._dtype.itemsize * local,
            self._weight_error,
        )

    def _product(self) -> dict[str, str]:
        """Return the fields of the template for products."""
        fields = dict.fromkeys(("scale", "scaled", "next4", "next1"), "")
        fields |= {"p": self._p, "real": self._real, "weight": self._weight}
        for i in range(4):
            at = f"x[{i}]"
            fields[f"x{i}"] = at if self._weights is None else f"{at} * {at.replace('x', 'scale')}"
            row = f"w{i}" if i else "w"
            fields[f"w{i}"] = row if self._weights is None else f"({self._real}){row}"
        if self._weights is not None:
            fields["scale"] = f" const {self._real} *restrict scale,"
            fields["scaled"] = ", row k in units of scale[k]"
            fields |= {"next4": "\n        scale += 4;", "next1": "\n        ++scale;"}
        return fields
