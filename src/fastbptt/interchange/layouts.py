"""Layouts of recurrent weights in other libraries: gate orders, transposes, biases; one table.

`docs/interchange.md` shows the table, and the tests compare the two.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._cell_info import cell_info
from .._errors import ArgumentError

Array = NDArray[Any]


class LayerWeights(NamedTuple):
    """Weights of one layer and direction as `Recurrent.parameters` has them, with G gates.

    W_xh is (I, G H), W_hh (H, G H), b_h (G H,), of a GRU with the reset after the product also
    b_hn (H,). Without biases both are None.
    """

    W_xh: Array
    W_hh: Array
    b_h: Array | None = None
    b_hn: Array | None = None

    def with_bias(self, cell: str) -> LayerWeights:
        """Return the same weights with biases of zero if there are none."""
        if self.b_h is not None:
            return self
        zeros = np.zeros(self.W_hh.shape[1], self.W_hh.dtype)
        own = bool(cell_info(cell)["extra_bias"])
        return self._replace(b_h=zeros, b_hn=zeros[: len(self.W_hh)].copy() if own else None)


class CellLayout(NamedTuple):
    """How a library lays out the weights of one layer and direction.

    library : str
    cell : str
        Ours: a name of ``fastbptt.cells()``.
    name : str
        The library's class or operator, with the settings that make it this cell.
    gates : str
        Blocks of H in its order, under our letters: PyTorch's g is Keras' c, our n is Keras' h.
    arrays : tuple of str
        Its names of the arrays, in its order; biases last.
    matrices : str
        ``"(I, G H)"``, ``"(G H, I)"``, or ``"(G H, I + H)"`` for both in one.
    biases : str
        ``"(G H)"``, one; or two, of which only the n blocks of a GRU have different effects:
        ``"(G H) + (G H)"``, ``"(2, G H)"`` or ``"(2 G H)"``: that of the input, then that of the
        state.
    """

    library: str
    cell: str
    name: str
    gates: str
    arrays: tuple[str, ...]
    matrices: str
    biases: str

    @property
    def states(self) -> tuple[str, ...]:
        """The states in the library's order; every library here has h first."""
        return tuple(cell_info(self.cell)["states"])


_TORCH: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_KERAS: Final = ("kernel", "recurrent_kernel", "bias")
_ONNX: Final = ("W", "R", "B")
_NAM: Final = ("weight", "bias")

_TABLE: Final = (
    CellLayout("torch", "rnn", "RNN", "a", _TORCH, "(G H, I)", "(G H) + (G H)"),
    CellLayout(
        "torch", "relu", 'RNN, nonlinearity="relu"', "a", _TORCH, "(G H, I)", "(G H) + (G H)"
    ),
    CellLayout("torch", "gru", "GRU", "rzn", _TORCH, "(G H, I)", "(G H) + (G H)"),
    CellLayout("torch", "lstm", "LSTM", "ifgo", _TORCH, "(G H, I)", "(G H) + (G H)"),
    CellLayout("keras", "rnn", "SimpleRNN", "a", _KERAS, "(I, G H)", "(G H)"),
    CellLayout("keras", "relu", 'SimpleRNN, activation="relu"', "a", _KERAS, "(I, G H)", "(G H)"),
    CellLayout("keras", "gru", "GRU", "zrn", _KERAS, "(I, G H)", "(2, G H)"),
    CellLayout("keras", "gru_before", "GRU, reset_after=False", "zrn", _KERAS, "(I, G H)", "(G H)"),
    CellLayout("keras", "lstm", "LSTM", "ifgo", _KERAS, "(I, G H)", "(G H)"),
    CellLayout("onnx", "rnn", "RNN", "a", _ONNX, "(G H, I)", "(2 G H)"),
    CellLayout("onnx", "relu", "RNN, activations Relu", "a", _ONNX, "(G H, I)", "(2 G H)"),
    CellLayout("onnx", "gru", "GRU, linear_before_reset=1", "zrn", _ONNX, "(G H, I)", "(2 G H)"),
    CellLayout("onnx", "gru_before", "GRU", "zrn", _ONNX, "(G H, I)", "(2 G H)"),
    CellLayout("onnx", "lstm", "LSTM", "iofg", _ONNX, "(G H, I)", "(2 G H)"),
    CellLayout("rtneural", "gru", "gru", "zrn", _KERAS, "(I, G H)", "(2, G H)"),
    CellLayout("rtneural", "lstm", "lstm", "ifgo", _KERAS, "(I, G H)", "(G H)"),
    CellLayout("nam", "lstm", "LSTM", "ifgo", _NAM, "(G H, I + H)", "(G H)"),
)

#: By library and cell. A library's RTNeural files in PyTorch's form have the layout of "torch".
LAYOUTS: Final = {(one.library, one.cell): one for one in _TABLE}

#: Libraries as sentences name them.
LIBRARIES: Final = {
    "torch": "PyTorch",
    "keras": "Keras",
    "onnx": "ONNX",
    "rtneural": "RTNeural",
    "nam": "Neural Amp Modeler",
}

# What to do about a cell that a library lacks but that has a near relation there.
_INSTEAD: Final = {
    "gru_before": "; train a GRU with reset_after=True",
    "leaky": "; with alpha=1 it is fastbptt.RNN",
}


def layout(library: str, cell: str) -> CellLayout:
    """Return the layout of a cell in a library; refuse a cell that it does not have.

    Raises
    ------
    ArgumentError
        Naming the cell and those that the library has.
    """
    found = LAYOUTS.get((library, cell))
    if found is None:
        known = [one.cell for one in _TABLE if one.library == library]
        raise ArgumentError(
            "model",
            f'has the cell "{cell}", which {LIBRARIES[library]} does not have',
            f"one of {', '.join(known)}{_INSTEAD.get(cell, '')}",
        )
    return found


def gate_names(cell: str) -> str:
    """Return the letters of a cell's gates in the order of our blocks."""
    return "".join(cell_info(cell)["gate_names"])


def _reordered(array: Array, present: str, wanted: str) -> Array:
    """Reorder blocks of columns (or entries)."""
    if present == wanted:
        return array
    blocks = np.split(array, len(present), axis=-1)
    return np.concatenate([blocks[present.index(gate)] for gate in wanted], axis=-1)


def to_library(layout: CellLayout, weights: LayerWeights) -> list[Array]:
    """Lay out one layer and direction as a library has it, without rounding.

    Where the library has two biases, ours is that of the input, and that of the state is zero but
    for a GRU's b_hn.

    Parameters
    ----------
    layout : CellLayout
    weights : LayerWeights

    Returns
    -------
    list of ndarray
        As many as ``layout.arrays``, new and in C order; without the last ones if there is no
        bias.

    Examples
    --------
    >>> import numpy as np
    >>> ours = LayerWeights(np.array([[1, 2, 3]]), np.array([[4, 5, 6]]))  # r, z, n with H = 1
    >>> [array.tolist() for array in to_library(LAYOUTS["keras", "gru"], ours)]
    [[[2, 1, 3]], [[5, 4, 6]]]
    """
    ours = gate_names(layout.cell)
    kernel, recurrent = (_reordered(one, ours, layout.gates) for one in weights[:2])
    if layout.matrices == "(I, G H)":
        arrays = [kernel, recurrent]
    elif layout.matrices == "(G H, I)":
        arrays = [kernel.T, recurrent.T]
    else:
        arrays = [np.concatenate([kernel, recurrent]).T]
    if weights.b_h is not None:
        bias = _reordered(weights.b_h, ours, layout.gates)
        of_state = np.zeros_like(weights.b_h)
        if weights.b_hn is not None:
            of_state[-len(weights.b_hn) :] = weights.b_hn  # n is the last of our blocks
            of_state = _reordered(of_state, ours, layout.gates)
        arrays += {
            "(G H)": [bias],
            "(G H) + (G H)": [bias, of_state],
            "(2, G H)": [np.stack([bias, of_state])],
            "(2 G H)": [np.concatenate([bias, of_state])],
        }[layout.biases]
    return [np.array(one, order="C") for one in arrays]


def from_library(
    layout: CellLayout, arrays: list[Array], names: list[str] | None = None
) -> LayerWeights:
    """Read one layer and direction of a library: the inverse of `to_library`.

    Two biases become their sum, rounded once; the sum with zero is exact.

    Parameters
    ----------
    layout : CellLayout
    arrays : list of ndarray
        As many as ``layout.arrays``, or without the biases.
    names : list of str, optional
        Their names in messages instead of ``layout.arrays``: keys of a file.

    Returns
    -------
    LayerWeights
        New arrays in C order.

    Raises
    ------
    ArgumentError
        If the shapes are not those of one layer, naming the array.

    Examples
    --------
    >>> import numpy as np
    >>> theirs = [np.ones((8, 3)), np.ones((8, 2)), np.full(8, 0.5), np.full(8, 0.25)]
    >>> from_library(LAYOUTS["torch", "lstm"], theirs).b_h
    array([0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75])
    """
    ours = gate_names(layout.cell)
    names = list(layout.arrays) if names is None else names
    count = 1 if layout.matrices == "(G H, I + H)" else 2
    matrices, biases = arrays[:count], arrays[count:]
    for name, array in zip(names, matrices, strict=False):
        if array.ndim != 2 or not array.size:
            raise ArgumentError(name, f"has shape {array.shape}", "a matrix")
    hidden, shapes = _shapes(layout, matrices)
    for name, array, shape in zip(names, arrays, shapes, strict=False):
        if array.shape != shape:
            expected = f"{shape} for {hidden} units and {len(ours)} gates"
            raise ArgumentError(name, f"has shape {array.shape}", expected)
    if layout.matrices == "(I, G H)":
        kernel, recurrent = matrices
    elif layout.matrices == "(G H, I)":
        kernel, recurrent = (one.T for one in matrices)
    else:
        kernel, recurrent = np.split(matrices[0].T, [-hidden])
    pair = [_ours(one, layout, ours) for one in (kernel, recurrent)]
    if not biases:
        return LayerWeights(pair[0], pair[1])
    if len(biases) == 1:  # rows of one array
        biases = list(biases[0].reshape(-1, len(ours) * hidden))
    bias, *others = (_ours(one, layout, ours) for one in biases)
    own = None
    for of_state in others:
        kept = hidden if cell_info(layout.cell)["extra_bias"] else 0
        summed = len(bias) - kept
        bias[:summed] = _sum(bias[:summed], of_state[:summed])
        own = of_state[summed:].copy() if kept else None
    return LayerWeights(pair[0], pair[1], bias, own)


def _shapes(layout: CellLayout, matrices: list[Array]) -> tuple[int, list[tuple[int, ...]]]:
    """Return H, and the shapes that arrays must have which begin with these matrices."""
    gates, first, last = len(layout.gates), matrices[0].shape, matrices[-1].shape
    shapes: list[tuple[int, ...]]
    if layout.matrices == "(I, G H)":
        hidden = last[0]
        shapes = [(first[0], gates * hidden), (hidden, gates * hidden)]
    elif layout.matrices == "(G H, I)":
        hidden = last[1]
        shapes = [(gates * hidden, first[1]), (gates * hidden, hidden)]
    else:
        hidden = max(last[0] // gates, 1)
        shapes = [(gates * hidden, max(first[1], hidden + 1))]
    columns = gates * hidden
    biases: dict[str, list[tuple[int, ...]]] = {
        "(G H)": [(columns,)],
        "(G H) + (G H)": [(columns,), (columns,)],
        "(2, G H)": [(2, columns)],
        "(2 G H)": [(2 * columns,)],
    }
    return hidden, shapes + biases[layout.biases]


def _ours(array: Array, layout: CellLayout, ours: str) -> Array:
    return np.array(_reordered(array, layout.gates, ours), order="C")


def _sum(bias: Array, of_state: Array) -> Array:
    """Add two biases; to the bit where one of them is zero, whatever its sign."""
    with np.errstate(over="ignore", invalid="ignore"):  # the model refuses what is not finite
        total = bias + of_state
    return np.where(of_state == 0, bias, np.where(bias == 0, of_state, total))
