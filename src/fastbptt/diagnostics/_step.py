"""One step of a network as a map of its state, in float64, with derivatives.

The arithmetic is that of the cells of the reference, so whatever cell is registered there has a
map, too. The state of a network, flat, has N = L S H numbers: layer by
layer, in each layer the S states of the cell (of an LSTM h, then c; of leaky units in
pre-activation form v alone), in each of them H units.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._cell_info import cell_info
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from ..models import _arguments
from ..models._weights import dense
from ..reference.model import CELLS, Network, forward
from ._record import Array, structure

if TYPE_CHECKING:
    from ..models.recurrent import Recurrent

#: Numbers in the Jacobians that are computed at a time.
AT_A_TIME = 1_000_000


def is_plain(net: Network) -> bool:
    """Tell whether a step is f(x W_xh + h W_hh + b_h) with a slope of 1 at zero: W_hh says it."""
    return net.cell in ("rnn", "relu") and net.zoneout is None


@dataclass(frozen=True)
class CellStep:
    """One step of one layer in one direction. I numbers enter it, S states of H units."""

    net: Network
    params: dict[str, Array]
    setting: dict[str, Array]

    @property
    def module(self) -> ModuleType:
        """The cell, of the reference."""
        return self.net.module

    def hidden(self, states: Array) -> Array:
        """Return what the layer above sees of states (S, ..., H)."""
        return self.net.hidden(states)

    def after(self, x: Array, before: Array) -> Array:
        """States after the step, (S, n, H), from inputs (n, I) and states before it."""
        now, kept = self._of_cell(x, before), self._kept
        return now if kept is None else kept * before + (1 - kept) * now

    @property
    def _kept(self) -> Array | None:
        """How much of each state stays with zoneout, (S, 1, 1)."""
        return None if self.net.zoneout is None else self.net.zoneout[:, 0]

    def _of_cell(self, x: Array, before: Array) -> Array:
        """States after a step of the cell alone."""
        states: Array = self.module.forward(self.params, x[:, np.newaxis], before, **self.setting)
        return states[:, :, 0]

    def pull(self, x: Array, before: Array, after: Array, d: Array) -> tuple[Array, Array]:
        """Row vectors v at the states after a step -> v ds_after/ds_before, v ds_after/dx.

        x: (n, I). before, after: (S, n, H). d: (n, K, S H), K vectors for each of the n states.
        """
        states, count, hidden = before.shape
        vectors = d.shape[1]
        d_states = np.moveaxis(d.reshape(count * vectors, states, hidden), 1, 0)
        d_cell, kept = d_states, self._kept
        if kept is not None:
            after, d_cell = self._of_cell(x, before), (1 - kept) * d_states
        found = self.module.backward(
            self.params,
            np.repeat(x, vectors, axis=0)[:, np.newaxis],
            np.repeat(before, vectors, axis=1),
            np.repeat(after, vectors, axis=1)[:, :, np.newaxis],
            d_cell[:, :, np.newaxis],
            **self.setting,
        )
        d_before = found["initial"] if kept is None else found["initial"] + kept * d_states
        of_state: Array = np.moveaxis(d_before, 0, 1).reshape(d.shape)
        return of_state, found["x"].reshape(count, vectors, x.shape[1])

    def jacobians(self, x: Array, before: Array, after: Array) -> tuple[Array, Array]:
        """Derivatives of the states after the step: (n, S H, S H), (n, S H, I)."""
        analytic = getattr(self.module, "jacobian", None)
        if analytic is not None and self._kept is None:
            found: tuple[Array, Array] = analytic(self.params, x, before, after, **self.setting)
            return found
        states, count, hidden = before.shape
        width = states * hidden
        rows = np.broadcast_to(np.eye(width), (count, width, width))
        return self.pull(x, before, after, rows)


def parameters(model: Recurrent) -> dict[str, Array]:
    """Return a model's parameters in float64, all finite."""
    state = dense(model.state_dict())
    values = {name: np.asarray(one, np.float64) for name, one in state.items()}
    for name, one in values.items():
        _finite(f"parameter {name}", one)
    return values


def network(model: Recurrent) -> Network:
    """Return a model's structure."""
    spec = model._spec
    if spec.cell not in CELLS:
        raise ArgumentError(
            "model",
            f'has the cell "{spec.cell}"',
            f"a cell of fastbptt.reference.CELLS: {', '.join(CELLS)}",
        )
    return structure(spec)


def cell_step(model: Recurrent, values: dict[str, Array], layer: int, direction: int) -> CellStep:
    """One layer in one direction of a model."""
    net = network(model)
    own = {k: values[name] for k, name in net.names(layer, direction).items() if name in values}
    return CellStep(net, own, net.setting(own, net.directions * layer + direction))


class OneStep:
    """The map from the state before a step to the state after it, of a network in one direction.

    Parameters
    ----------
    model : Recurrent
        Its parameters are copied.
    name : str
        The function that wants the map, for the message that refuses two directions.
    """

    def __init__(self, model: Recurrent, name: str) -> None:
        if model.bidirectional:
            raise ArgumentError(
                "model",
                "reads in both directions",
                f"bidirectional=False: {name} needs a state from which the next one follows, and "
                "the reverse direction runs from the end of a sequence to its beginning",
            )
        self.values = parameters(model)
        self.layers = [cell_step(model, self.values, i, 0) for i in range(model.num_layers)]
        self.states = tuple(model._input_spec.states)
        self.shape = (model.num_layers, len(self.states), model.hidden_size)
        self.width = int(np.prod(self.shape))
        info = cell_info(model.cell)
        self.bounded = bool(info["bounded"]) and not info["given"]  # v is not, where h is

    def after(self, s: Array, x: Array) -> Array:
        """States after the step, (n, N), from states (n, N) and inputs (n, I)."""
        parts, read = [], x
        for cell, before in zip(self.layers, self._by_layer(s), strict=True):
            parts.append(cell.after(read, before))
            read = cell.hidden(parts[-1])
        return np.moveaxis(np.stack(parts), 2, 0).reshape(s.shape)

    def within(self, s: Array) -> Array:
        """Copy states; put h where steps of a bounded cell lead, at least, between -1 and 1.

        Far outside, gates that are 1 to rounding make any state seem to stay.
        """
        s = s.copy()
        if self.bounded:
            h = s.reshape(-1, *self.shape)[:, :, 0]
            np.clip(h, -1.0, 1.0, out=h)
        return s

    def _by_layer(self, s: Array) -> Array:
        """(n, N) -> (L, S, n, H)."""
        return np.moveaxis(s.reshape(-1, *self.shape), 0, 2)

    def jacobians(self, s: Array, x: Array) -> Array:
        """Derivatives of the states after the step by those before it, (n, N, N)."""
        return self._derivatives(s, x, False)

    def input_jacobians(self, s: Array, x: Array) -> Array:
        """Derivatives of the states after the step by the input, (n, N, I)."""
        return self._derivatives(s, x, True)

    def _derivatives(self, s: Array, x: Array, by_input: bool) -> Array:
        count, width = s.shape
        columns = x.shape[1] if by_input else width
        _check.fits(f"{count} Jacobians of {width} x {columns}", 8 * count * width * columns)
        found = np.zeros((count, width, columns))
        for first in range(0, count, self.at_a_time):
            part = slice(first, first + self.at_a_time)
            self._fill(found[part], s[part], x[part], by_input)
        return found

    @property
    def at_a_time(self) -> int:
        """States whose Jacobians are computed together."""
        return max(1, AT_A_TIME // self.width**2)

    def _fill(self, found: Array, s: Array, x: Array, by_input: bool) -> None:
        """Write derivatives to zeros (n, N, N or I): a layer sees those below through their h."""
        count, hidden = len(s), self.shape[2]
        own = self.width // self.shape[0]
        rows = found.reshape(count, self.shape[0], own, -1)
        read, seen = x, rows[:, 0, :hidden]
        for i, (cell, before) in enumerate(zip(self.layers, self._by_layer(s), strict=True)):
            after = cell.after(read, before)
            of_state, of_read = cell.jacobians(read, before, after)
            if i:
                rows[:, i] = of_read @ seen
            elif by_input:
                rows[:, 0] = of_read
            if not by_input:
                rows[:, i, :, i * own : (i + 1) * own] = of_state
            read = cell.hidden(after)
            # what the layer above sees changes with these states, unit by unit
            slopes = cell.net.d_hidden(after, np.ones((count, hidden)))
            parts = rows[:, i].reshape(count, len(slopes), hidden, -1)
            seen = np.einsum("snh,nshc->nhc", slopes, parts)


# ---------------------------------------------------------------- arguments


def _finite(name: str, values: Array, item: int | None = None) -> None:
    """Refuse NaN and infinity, in the words of the core."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        value = float(values[place])
        problem = f"holds a value that is not finite ({value})"
        raise ArgumentError(name, problem, item=item, index=place, value=value)


def flat_state(model: Recurrent, name: str, value: Any) -> Array:
    """Read states in the model's format, (L, n, H) or a tuple of such; make them flat, (n, N)."""
    spec = model._input_spec
    first = value[0] if len(spec.states) > 1 and isinstance(value, tuple | list) else value
    count = 1
    if len(spec.states) == 1 or first is not value:  # else `initial` refuses it
        shape = _check.read(name, first, item=None if first is value else 0).shape
        if len(shape) == 3:
            count = shape[1]
        if len(shape) != 3 or count == 0:
            wanted = f"({spec.rows}, n, {spec.hidden_size}): (layers, states, hidden_size)"
            raise ArgumentError(
                name, f"has shape {shape}", wanted, item=None if first is value else 0
            )
    parts = _arguments.states(spec, name, value, count, complete=True)
    assert parts is not None
    arrays = [np.asarray(part, np.float64) for part in parts]
    for i, array in enumerate(arrays):
        _finite(name, array, None if len(arrays) == 1 else i)
    return np.moveaxis(np.stack(arrays), (0, 2), (2, 0)).reshape(count, -1)


def inputs(model: Recurrent, values: dict[str, Array], x: Any, count: int | None) -> Array:
    """Read the input of one step, for count states or (None) a single one for all: (n or 1, I).

    A vector for all states or one for each; of a model with an embedding also tokens.
    """
    size, vocabulary = model.input_size, model.vocabulary_size
    expected = f"({size},), the input of one step"
    if count is not None:
        expected += f", or ({count}, {size}), one for each state"
    if vocabulary is not None:
        expected += ", of a float dtype; or a token" + ("" if count is None else ", one or each")
    array = _check.read("x", x, expected)
    lead = array.shape[:-1]
    if vocabulary is not None and array.dtype.kind != "f":
        if array.dtype.kind not in "iu":
            raise ArgumentTypeError("x", f"has dtype {array.dtype}", expected)
        lead = array.shape
        wrong = (array < 0) | (array >= vocabulary)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            problem = f"holds token {array[place]}"
            raise ArgumentError("x", problem, f"tokens 0 to {vocabulary - 1}", index=place)
        array = values["E"][array]
    if array.shape != (*lead, size) or lead not in ((), (count,)):
        raise ArgumentError("x", f"has shape {np.shape(x)}", expected)
    array = np.asarray(array, np.float64)
    _finite("x", array)
    return np.broadcast_to(array, (1 if count is None else count, size))


# ---------------------------------------------------------------- states that a model visits


def visited(
    model: Recurrent, name: str, x: Any, lengths: Any, static: Any
) -> tuple[Array, NDArray[np.int64]]:
    """States after each step of sequences, (B, T, N), and the steps of each, (B,).

    name: what the caller calls x.
    """
    values = parameters(model)
    try:
        array, own = _arguments.inputs(model._input_spec, x, lengths)
        constants = _arguments.static(model._input_spec, static, len(array), None, alone=True)
        model.forward(x, lengths, static=static)  # which checks their contents
    except BadArgumentError as error:
        if error.argument == "x":
            error.argument = name
        raise
    net = network(model)
    found = forward(
        values,
        array,
        own,
        static=constants,
        cell=net.cell,
        num_layers=net.num_layers,
        settings=net.settings,
        zoneout=net.zoneout,
        readout_units=model.readout_units,
    ).states  # (L, S, B, T, H)
    count, time = array.shape[:2]
    flat = np.moveaxis(found, (2, 3), (0, 1)).reshape(count, time, -1)
    return flat, np.full(count, time) if own is None else own


def last_jacobian(
    model: Recurrent, layer: int, direction: int, x: Any, static: Any = None
) -> Array:
    """Jacobian of a layer's last step on one sequence, (S H, S H); in reverse it is at step 0.

    x: (1, T, I) or tokens (1, T); None: at zero states and a zero input.
    """
    values = parameters(model)
    cell = cell_step(model, values, layer, direction)
    net = network(model)
    rows = len(cell.params["W_xh"])
    before = np.zeros((len(model._input_spec.states), 1, model.hidden_size))
    read = np.zeros((1, rows))
    if x is not None:
        model.forward(x, static=static)  # which checks it
        array, _ = _arguments.inputs(model._input_spec, x, None)
        out = forward(
            values,
            array,
            static=static,
            cell=net.cell,
            num_layers=net.num_layers,
            bidirectional=net.bidirectional,
            settings=net.settings,
            zoneout=net.zoneout,
            readout_units=model.readout_units,
        )
        steps = array.shape[1]
        place = net.directions * layer + direction
        read = out.inputs[layer][:, 0 if direction else -1]
        if steps > 1:
            before = out.states[place][:, :, 1 if direction else -2]
        else:
            states = model.initial_state(1, static=static)
            parts = states if isinstance(states, tuple) else (states,)
            before = np.stack([np.asarray(part[place], np.float64) for part in parts])
    read = np.asarray(read, np.float64)
    of_state, _ = cell.jacobians(read, before, cell.after(read, before))
    jacobian: Array = of_state[0]
    return jacobian
