"""The whole network on plain arrays: layers and directions of a cell, lengths, readout, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import gru, gru_before, leaky, leaky_preactivation, lstm, relu, rnn
from ._cell import outer, previous, sigmoid
from .losses import POOLED, apply_loss
from .on_states import activity_penalties, omega_term, signals

Array = NDArray[Any]
State = Array | tuple[Array, ...]


def _with(module: ModuleType, **fixed: Any) -> ModuleType:
    """Return a cell that differs from another one in some arguments, which are fixed."""
    cell = ModuleType(module.__name__)
    cell.__dict__.update(vars(module))
    for name in ("forward", "backward", "jacobian", "hidden", "d_hidden"):
        if hasattr(module, name):
            own = {k: v for k, v in fixed.items() if k == "nonlinearity" or "hidden" not in name}
            setattr(cell, name, partial(getattr(module, name), **own))
    cell.__dict__["SETTING"] = {k: v for k, v in module.SETTING.items() if k not in fixed}
    return cell


#: Cells by name: modules with ``forward`` and ``backward``.
CELLS: dict[str, ModuleType] = {
    "rnn": rnn,
    "relu": relu,
    "rnn_softplus": _with(leaky, nonlinearity="softplus", alpha=1.0),
    "rnn_sigmoid": _with(leaky, nonlinearity="sigmoid", alpha=1.0),
    "leaky": leaky,
    "leaky_rate_relu": _with(leaky, nonlinearity="relu"),
    "leaky_rate_softplus": _with(leaky, nonlinearity="softplus"),
    "leaky_rate_sigmoid": _with(leaky, nonlinearity="sigmoid"),
    "leaky_preactivation_tanh": leaky_preactivation,
    "leaky_preactivation_relu": _with(leaky_preactivation, nonlinearity="relu"),
    "leaky_preactivation_softplus": _with(leaky_preactivation, nonlinearity="softplus"),
    "leaky_preactivation_sigmoid": _with(leaky_preactivation, nonlinearity="sigmoid"),
    "gru": gru,
    "gru_before": gru_before,
    "lstm": lstm,
}


@dataclass(frozen=True)
class Network:
    """Structure of a network: the keyword arguments of `forward`, `backward` and the others.

    Attributes
    ----------
    cell : str
        A key of ``CELLS``.
    num_layers : int
        L. Each layer above the first reads the hidden states of the layer below, with both
        directions concatenated.
    bidirectional : bool
        D = 2 directions instead of one. The second reads each sequence from its last step to its
        first; its state at step t is the state after reading step t.
    settings : mapping of str to float or array, optional
        The cell's setting, if it differs from the default: ``{"alpha": 0.1}``; one number, one for
        each unit (H,), or (L * D, H). A parameter ``logit_alpha`` takes its place, whose logistic
        function it is.
    masks : sequence of L - 1 arrays (B, T, D * H), optional
        Dropout masks for the hidden states that the next layer reads, from `dropout_masks`.
    recurrent_masks : array (L * D, B, H), optional
        Factors of what is multiplied by ``W_hh``, from `recurrent_masks`: those of one sequence are
        also factors of the rows of its ``W_hh``.
    zoneout : array, broadcast to (L * D, S, B, T, H), optional
        How much of each state stays, ``D h_prev + (1 - D) h``: 0 and 1 from `zoneout_masks`, or in
        prediction their expectation.
    input_noise : array (B, T, I), optional
        Added to the input of the first layer, as from `input_noise`.
    noise : array (L * D, B, T, H), optional
        Added to the sums ``x W_xh + h W_hh + b_h`` of each layer and direction, as from
        `recurrent_noise`, for cells that have one such sum.
    padding_index : int, optional
        Row of the embedding matrix whose gradient is zero.
    frozen : bool
        If true, the gradient of the whole embedding matrix is zero.
    readout_units : sequence of int, optional
        Hidden units of the top layer, of both directions side by side, that the readout reads;
        default all.

    Raises
    ------
    ValueError
        If ``cell`` is unknown, ``masks`` are not one for each layer but the top one, or there is
        ``noise`` for a cell with several sums.

    Examples
    --------
    >>> Network("lstm", num_layers=2, bidirectional=True).directions
    2
    """

    cell: str = "rnn"
    num_layers: int = 1
    bidirectional: bool = False
    settings: Mapping[str, float | Array] | None = None
    masks: Sequence[Array] | None = None
    recurrent_masks: Array | None = None
    zoneout: Array | None = None
    input_noise: Array | None = None
    noise: Array | None = None
    padding_index: int | None = None
    frozen: bool = False
    readout_units: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; expected one of {', '.join(CELLS)}")
        if self.masks is not None and len(self.masks) != self.num_layers - 1:
            raise ValueError(
                f"masks has {len(self.masks)} arrays; expected {self.num_layers - 1}, one for "
                "each layer but the top one"
            )
        if self.noise is not None and self.module.GATES > 1:
            raise ValueError(f"noise is given; expected none for the cell {self.cell!r}")

    @property
    def module(self) -> ModuleType:
        """Module of the cell."""
        return CELLS[self.cell]

    def setting(self, own: Mapping[str, Array], row: int) -> dict[str, Array]:
        """Keyword arguments of the cell's functions, for a layer and direction and its parameters.

        ``own`` are named as the cell names them; ``row`` is that of the initial states.
        """
        found = {}
        for name, value in {**self.module.SETTING, **(self.settings or {})}.items():
            numbers = np.asarray(value, own["W_xh"].real.dtype)
            found[name] = numbers[row] if numbers.ndim == 2 else numbers
            if f"logit_{name}" in own:
                found[name] = sigmoid(own[f"logit_{name}"])
        return found

    @property
    def directions(self) -> int:
        """D, 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def initial_names(self) -> list[str]:
        """Names of the initial states: ``h0``, and for an LSTM ``c0``."""
        return [f"{state}0" for state in self.module.STATES]

    def names(self, layer: int, direction: int) -> dict[str, str]:
        """Map the cell's parameter names to those of one layer and direction of the network."""
        suffix = (f"_l{layer}" if layer else "") + ("_reverse" if direction else "")
        logits = (f"logit_{name}" for name in self.module.SETTING)
        own = ("W_xh", "W_hh", "b_h", *self.module.EXTRA_BIAS, *logits)
        return {name: name + suffix for name in own}

    def hidden(self, states: Array) -> Array:
        """Return what the next layer and the readout see of a cell's states (S, ...)."""
        own = getattr(self.module, "hidden", None)
        seen: Array = states[0] if own is None else own(states)
        return seen

    def d_hidden(self, states: Array, d: Array) -> Array:
        """Take the gradient of what they see to that of the states."""
        own = getattr(self.module, "d_hidden", None)
        if own is not None:
            through: Array = own(states, d)
            return through
        d_states = np.zeros_like(d, shape=(len(states), *d.shape))
        d_states[0] = d
        return d_states

    def _factors(self, layer: int, direction: int) -> tuple[str, str]:
        """Return the names of the two factors of a recurrent matrix of low rank."""
        suffix = self.names(layer, direction)["W_hh"].removeprefix("W_hh")
        return f"N_hh{suffix}", f"M_hh{suffix}"

    @property
    def read(self) -> slice | list[int]:
        """Index of the units that the readout reads."""
        return slice(None) if self.readout_units is None else list(self.readout_units)

    def between(self, layer: int, values: Array) -> Array:
        """Apply the dropout mask to a layer's hidden states or their gradient."""
        if self.masks is None or layer == self.num_layers - 1:
            return values
        masked: Array = values * np.asarray(self.masks[layer], values.real.dtype)
        return masked

    def _with_noise(
        self, own: dict[str, Array], read: Array, steps: _Steps, layer: int, direction: int
    ) -> tuple[dict[str, Array], Array]:
        """Return a cell's parameters and input with the noise on its sums as further inputs."""
        if self.noise is None:
            return own, read
        W_xh = own["W_xh"]
        noise = steps.ordered(direction, self.noise[self.directions * layer + direction])
        read = np.concatenate([read, noise.astype(read.real.dtype)], axis=-1)
        return {
            **own,
            "W_xh": np.concatenate([W_xh, np.eye(W_xh.shape[1], dtype=W_xh.dtype)]),
        }, read

    def _of_rows(
        self, k: int, own: dict[str, Array], row: Array
    ) -> list[tuple[Any, dict[str, Array]]]:
        """Split the rows of a cell's arrays by their W_hh, which recurrent masks change."""
        if self.recurrent_masks is None:
            return [(slice(None), own)]
        factors = np.asarray(self.recurrent_masks[k], own["W_hh"].real.dtype)[..., np.newaxis]
        return [
            (np.flatnonzero(row == b), {**own, "W_hh": factors[b] * own["W_hh"]})
            for b in np.unique(row)
        ]

    def _kept(
        self, steps: _Steps, episodes: _Episodes, k: int, direction: int, own: dict[str, Array]
    ) -> Array | None:
        """Return what zoneout keeps of the states of layer direction k, (S, E, T, H)."""
        if self.zoneout is None:
            return None
        shape = (
            *(self.num_layers * self.directions, len(self.module.STATES)),
            *(*steps.exist.shape, len(own["W_hh"])),
        )
        kept = np.broadcast_to(np.asarray(self.zoneout, own["W_hh"].real.dtype), shape)[k]
        return episodes.split(steps.ordered(direction, kept))

    def _steps_forward(
        self, k: int, own: dict[str, Array], x: Array, initial: Array, kept: Array | None
    ) -> Array:
        """Run the cell over time, or with zoneout step by step."""
        setting = self.setting(own, k)
        if kept is None:
            states: Array = self.module.forward(own, x, initial, **setting)
            return states
        before, found = initial, []
        for t in range(x.shape[1]):
            now = self.module.forward(own, x[:, t : t + 1], before, **setting)[:, :, 0]
            before = kept[:, :, t] * before + (1 - kept[:, :, t]) * now
            found.append(before)
        return np.stack(found, axis=2)

    def _steps_backward(
        self,
        k: int,
        own: dict[str, Array],
        x: Array,
        initial: Array,
        states: Array,
        d_states: Array,
        kept: Array | None,
    ) -> dict[str, Array]:
        """Go back through the cell over time, or with zoneout step by step."""
        setting = self.setting(own, k)
        if kept is None:
            found: dict[str, Array] = self.module.backward(
                own, x, initial, states, d_states, **setting
            )
            return found
        whole: dict[str, Array] = {}
        d_inputs, d_totals, carried = [], [], np.zeros_like(initial, dtype=d_states.dtype)
        for t in reversed(range(x.shape[1])):
            before = states[:, :, t - 1] if t else initial
            step = x[:, t : t + 1]
            now = self.module.forward(own, step, before, **setting)
            total = d_states[:, :, t] + carried
            d_now = ((1 - kept[:, :, t]) * total)[:, :, np.newaxis]
            part = self.module.backward(own, step, before, now, d_now, **setting)
            d_inputs.append(part.pop("x"))
            d_totals.append(total)
            carried = part.pop("initial") + kept[:, :, t] * total
            part.pop("states", None)
            for name, value in part.items():
                whole[name] = whole.get(name, 0) + value
        d_x, totals = np.concatenate(d_inputs[::-1], axis=1), np.stack(d_totals[::-1], axis=2)
        return {**whole, "x": d_x, "initial": carried, "states": totals}

    def _cell_forward(
        self,
        k: int,
        own: dict[str, Array],
        x: Array,
        initial: Array,
        row: Array,
        kept: Array | None,
    ) -> Array:
        """Run the cell of layer direction k; row: the sequence of each row of the arrays."""
        found = []
        for rows, params in self._of_rows(k, own, row):
            zones = None if kept is None else kept[:, rows]
            found.append((rows, self._steps_forward(k, params, x[rows], initial[:, rows], zones)))
        shape = (initial.shape[0], *x.shape[:2], initial.shape[2])
        states = np.empty_like(found[0][1], shape=shape)
        for rows, part in found:
            states[:, rows] = part
        return states

    def _cell_backward(
        self,
        k: int,
        own: dict[str, Array],
        x: Array,
        initial: Array,
        states: Array,
        d_states: Array,
        row: Array,
        kept: Array | None,
    ) -> dict[str, Array]:
        """Go back through the cell of layer direction k."""
        whole: dict[str, Array] = {}
        for rows, params in self._of_rows(k, own, row):
            zones = None if kept is None else kept[:, rows]
            part = self._steps_backward(
                k, params, x[rows], initial[:, rows], states[:, rows], d_states[:, rows], zones
            )
            if self.recurrent_masks is not None:
                b = row[rows[0]]
                part["W_hh"] = part["W_hh"] * self.recurrent_masks[k][b][:, np.newaxis]
            for name, value in part.items():
                if name in ("x", "initial", "states"):
                    at = rows if name == "x" else (slice(None), rows)
                    if name not in whole:
                        shape = list(value.shape)
                        shape[0 if name == "x" else 1] = len(row)
                        whole[name] = np.zeros_like(value, shape=shape)
                    whole[name][at] = value
                else:
                    whole[name] = whole[name] + value if name in whole else value
        return whole


@dataclass(frozen=True)
class Forward:
    """Result of `forward`.

    Attributes
    ----------
    outputs : array (B, T, O)
        Outputs of the readout, or the hidden states if there is none; zero after a sequence's end.
    hidden : array (B, T, D * H)
        Hidden states of the top layer; zero after a sequence's end.
    last : array (B, O)
        Readout of the top layer's final hidden states, with both directions concatenated. With one
        direction these are the outputs at the last step of each sequence.
    final_state : array (L * D, B, H), or a tuple of one such array per state of the cell
        States of each layer and direction, in the order l0, l0_reverse, l1, ..., after its last
        step, which for the reverse direction is the first step of a sequence.
    inputs : list of L arrays (B, T, I or D * H)
        Inputs of each layer, that of the first with its noise; zero after a sequence's end.
    states : array (L * D, S, B, T, H)
        All states of the cell; zero after a sequence's end.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((3, 8)), "W_hh": np.ones((2, 8))}
    >>> h, c = forward(params, np.ones((1, 4, 3)), cell="lstm").final_state
    >>> h.shape, c.shape
    ((1, 1, 2), (1, 1, 2))
    """

    outputs: Array
    hidden: Array
    last: Array
    final_state: State
    inputs: list[Array]
    states: Array


class _Steps:
    """Steps of a batch: which of them exist, and in which order each direction reads them."""

    def __init__(self, x: Array, lengths: Array | None, directions: int) -> None:
        batch, time = x.shape[:2]
        t = np.arange(time)
        ends = np.full((batch, 1), time) if lengths is None else np.asarray(lengths)[:, np.newaxis]
        self.exist = t < ends  # (B, T)
        self.rows = np.arange(batch)[:, np.newaxis]
        # Each order is its own inverse, and does not move the steps after the end.
        in_time_order = np.broadcast_to(t, (batch, time))
        self.orders = [in_time_order, np.where(self.exist, ends - 1 - t, t)][:directions]  # (B, T)
        self.final = (slice(None), self.rows[:, 0], ends[:, 0] - 1)  # of (S, B, T, H), in any order

    def real(self, values: Array) -> Array:
        """Return ``values`` (..., B, T, N) with zeros after a sequence's end."""
        return np.where(self.exist[:, :, np.newaxis], values, 0)

    def ordered(self, direction: int, values: Array) -> Array:
        """Reorder ``values`` (..., B, T, N) from time order to that of a direction, or back."""
        swapped: Array = values[..., self.rows, self.orders[direction], :]
        return swapped


class _Episodes:
    """Episodes of a batch: each is a sequence of its own for the cell, which starts anew."""

    def __init__(self, net: Network, exist: Array, resets: Array | None) -> None:
        self.exist = exist
        self.rows, self.time = exist.shape
        marked = np.zeros(exist.shape, bool) if resets is None else np.asarray(resets, bool) & exist
        if marked.any() and net.bidirectional:
            raise ValueError("resets are given; expected none for a bidirectional network")
        self.anew = marked[:, 0].copy()
        marked[:, 0] = True
        self.row, self.start = np.nonzero(marked)  # of each episode; of a row, one after the other
        self.number = np.cumsum(marked).reshape(marked.shape) - 1  # (B, T): of each step's episode
        self.within = np.arange(self.time) - self.start[self.number]  # (B, T): its step in there

    def goes_on(self) -> Array:
        """Return which steps of each episode have one before them, (E, T)."""
        found = self.split(self.exist[:, :, np.newaxis])[:, :, 0].astype(bool)
        found[:, 0] = False
        return found

    def initial(self, given: Array, own: Array) -> Array:
        """Return the states before each episode, (L * D, S, E, H)."""
        carried = (self.start == 0) & ~self.anew[self.row]
        picked: Array = np.where(carried[:, np.newaxis], given[:, :, self.row], own[:, :, self.row])
        return picked

    def split(self, values: Array) -> Array:
        """Give each episode of ``values`` (..., B, T, N) a row, (..., E, T, N), zero at its end."""
        shape = (*values.shape[:-3], len(self.row), *values.shape[-2:])
        found = np.zeros_like(values, shape=shape)
        found[..., self.number, self.within, :] = values
        return found

    def join(self, values: Array) -> Array:
        """Put the episodes of ``values`` (..., E, T, N) back into their rows, (..., B, T, N)."""
        found: Array = values[..., self.number, self.within, :]
        return found

    def of_initial(self, gradients: Array) -> tuple[Array, Array]:
        """Sum gradients (L * D, E, H) by row: of the states given for it, and of its own."""
        shape = (2, len(gradients), self.rows, gradients.shape[-1])
        first, later = np.zeros_like(gradients, shape=shape)
        carried = (self.start == 0) & ~self.anew[self.row]
        first[:, self.row[carried]] = gradients[:, carried]
        others = gradients[:, ~carried].swapaxes(0, 1)
        np.add.at(later.swapaxes(0, 1), self.row[~carried], others)
        return first, later


def _stack(state: State) -> Array:
    """Convert a state from the public format to (L * D, S, B, H)."""
    return np.stack(state if isinstance(state, (tuple, list)) else (state,), axis=1)


def _unstack(stacked: Array) -> State:
    """Convert (L * D, S, ...) to the public format of a state."""
    states = tuple(np.moveaxis(stacked, 1, 0))
    return states if len(states) > 1 else states[0]


def _initial(
    net: Network, params: Mapping[str, Array], x: Array, h0: State | None, static: Array | None
) -> Array:
    """Return the states before the first step, (L * D, S, B, H): given, or learned and mapped."""
    given = h0 if isinstance(h0, (tuple, list)) else (h0,) * len(net.initial_names)
    shape = (net.num_layers * net.directions, len(x), _hidden_size(params))
    zeros = np.zeros(shape, np.result_type(x, *params.values()))
    learned = [params[n][:, np.newaxis] if n in params else zeros for n in net.initial_names]
    own = [zeros + state for state in learned]
    for s, name in enumerate(net.module.STATES):
        if static is not None:
            mapped = static @ params[f"W_s{name}"]
            own[s] = own[s] + np.moveaxis(mapped.reshape(len(x), shape[0], shape[2]), 1, 0)
    return np.stack([a if b is None else b for a, b in zip(own, given, strict=True)], axis=1)


def _hidden_size(params: Mapping[str, Array]) -> int:
    return len(params["W_hh" if "W_hh" in params else "N_hh"])


def _own(net: Network, params: Mapping[str, Array], layer: int, direction: int) -> dict[str, Array]:
    """Return the parameters of one layer and direction, under the cell's names."""
    names = net.names(layer, direction)
    own = {name: params[full] for name, full in names.items() if full in params}
    if "W_hh" not in own:
        first, second = net._factors(layer, direction)
        own["W_hh"] = params[first] @ params[second]
    return own


def _readout(net: Network, params: Mapping[str, Array], hidden: Array) -> Array:
    if "W_hy" not in params:
        return hidden
    hidden = hidden[..., net.read]
    outputs: Array = hidden @ params["W_hy"] + params.get("b_y", 0)
    return outputs


def _spread(net: Network, params: Mapping[str, Array], d_read: Array) -> Array:
    """Return the gradient of all units (..., D * H) from that of those that the readout reads."""
    width = net.directions * _hidden_size(params)
    d_hidden = np.zeros_like(d_read, shape=(*d_read.shape[:-1], width))
    d_hidden[..., net.read] = d_read
    return d_hidden


def forward(
    params: Mapping[str, Array],
    x: Array,
    lengths: Array | None = None,
    h0: State | None = None,
    static: Array | None = None,
    resets: Array | None = None,
    **network: Any,
) -> Forward:
    """Run the network: ``outputs_t = hidden_t W_hy + b_y``, with the top layer's hidden states.

    Parameters
    ----------
    params : mapping of str to array
        The cell's parameters (see its module). The names of those of layer 1 end in ``_l1`` and so
        on; ``_reverse`` is appended for the reverse direction. Learned initial states, if any:
        ``h0`` (L * D, H), for an LSTM also ``c0``. Instead of ``W_hh`` there may be ``N_hh`` (H, R)
        and ``M_hh`` (R, G * H), whose product it is then. Readout: ``W_hy`` (D * H, O), with
        ``readout_units`` a row for each of them, and ``b_y`` (O,); without ``W_hy`` the outputs are
        the hidden states, without ``b_y`` there is no bias. ``E`` (V, I), if ``x`` holds tokens.
    x : array (B, T, I), or integer array (B, T)
        Input, or tokens that select rows of ``E``. Values after a sequence's end are ignored.
    lengths : integer array (B,), optional
        Steps of each sequence, 1 to T; default T.
    h0 : array (L * D, B, H), or a tuple of one such array per state of the cell, optional
        States before the first step; default, and for None in a tuple: the learned ones, or zeros,
        plus those that `static` is mapped to.
    static : array (B, S), optional
        Constants of each sequence. Row L * D * H of ``static W_sh``, of an LSTM also of ``static
        W_sc``, holds the states of all layers and directions, one after the other.
    resets : bool array (B, T), optional
        Where true, the state before that step is the learned one or zero, and no gradient goes past
        it; ``h0`` does not matter to a sequence with a reset at its first step. Values after a
        sequence's end are ignored. Not for two directions, nor with `static`.
    **network
        Attributes of `Network`: ``cell``, ``num_layers``, ``bidirectional``, ...

    Returns
    -------
    Forward
        In the widest dtype of ``params``, ``x`` and ``h0``: float32 stays float32.

    Raises
    ------
    ValueError
        If ``cell`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1)), "W_hy": np.full((1, 1), 2.0)}
    >>> x = np.array([[[1.0], [np.nan]]])
    >>> forward(params, x, lengths=np.array([1])).outputs.round(4).tolist()
    [[[1.5232], [0.0]]]
    """
    if resets is not None and static is not None:
        raise ValueError("resets are given; expected none beside static, which belongs to a row")
    net = Network(**network)
    x = np.asanyarray(x)
    steps = _Steps(x, lengths, net.directions)
    episodes = _Episodes(net, steps.exist, resets)
    below = params["E"][np.where(steps.exist, x, 0)] if "E" in params else x
    if net.input_noise is not None:
        below = below + net.input_noise.astype(below.real.dtype)
    given = _initial(net, params, below, h0, static)
    initial = episodes.initial(given, _initial(net, params, below, None, static))
    inputs: list[Array] = []
    states: list[Array] = []
    finals: list[Array] = []
    for layer in range(net.num_layers):
        inputs.append(steps.real(below))
        for direction in range(net.directions):
            own, read = _own(net, params, layer, direction), steps.ordered(direction, inputs[-1])
            own, read = net._with_noise(own, read, steps, layer, direction)
            kept = net._kept(steps, episodes, len(states), direction, own)
            after = net._cell_forward(
                len(states), own, episodes.split(read), initial[len(states)], episodes.row, kept
            )
            after = episodes.join(after)
            finals.append(after[steps.final])
            states.append(steps.ordered(direction, steps.real(after)))
        own_hidden = [net.hidden(s) for s in states[-net.directions :]]
        hidden = steps.real(np.concatenate(own_hidden, axis=-1))
        below = net.between(layer, hidden)
    last = np.concatenate([net.hidden(s) for s in finals[-net.directions :]], axis=-1)
    return Forward(
        outputs=steps.real(_readout(net, params, hidden)),
        hidden=hidden,
        last=_readout(net, params, last),
        final_state=_unstack(np.stack(finals)),
        inputs=inputs,
        states=np.stack(states),
    )


def backward(
    params: Mapping[str, Array],
    x: Array,
    forward: Forward,
    d_outputs: Array | None = None,
    d_final_state: State | None = None,
    d_last: Array | None = None,
    lengths: Array | None = None,
    h0: State | None = None,
    d_hidden: Array | None = None,
    static: Array | None = None,
    resets: Array | None = None,
    **network: Any,
) -> dict[str, Array]:
    """Return the gradients, given those of outputs, final state, last outputs and hidden states.

    Parameters
    ----------
    params, x, lengths, h0, static, resets, **network : as given to `forward`
    forward : Forward
        Result of `forward` for these arguments.
    d_outputs : array (B, T, O), optional
        Gradient of the loss with respect to the outputs, default zeros. Values after a sequence's
        end are ignored.
    d_final_state : array (L * D, B, H), or a tuple of one per state of the cell, optional
        Gradient of the loss with respect to the final state, default zeros.
    d_last : array (B, O), optional
        Gradient of the loss with respect to ``forward.last``, default zeros.
    d_hidden : array (B, T, D * H), optional
        Gradient of the loss with respect to ``forward.hidden``, default zeros. Values after a
        sequence's end are ignored.

    Returns
    -------
    dict of str to array
        Gradients under the names of the parameters; ``x`` (B, T, I), zero after a sequence's end,
        unless ``x`` holds tokens; and ``h0`` (L * D, B, H), for an LSTM also ``c0``. For a learned
        initial state, the gradient is that of the parameter, (L * D, H), and zero if ``h0`` was
        given instead.

    Raises
    ------
    ValueError
        If ``cell`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1)), "W_hy": np.full((1, 1), 2.0)}
    >>> x = np.zeros((1, 1, 1))
    >>> grads = backward(params, x, forward(params, x), d_outputs=np.ones((1, 1, 1)))
    >>> {name: grad.item() for name, grad in grads.items()}
    {'W_xh': 0.0, 'W_hh': 0.0, 'W_hy': 0.0, 'x': 2.0, 'h0': 0.0}
    """
    given = (d_outputs, d_final_state, d_last, lengths, h0, d_hidden, static, resets)
    return _backward(Network(**network), params, x, forward, *given)[0]


def _backward(
    net: Network,
    params: Mapping[str, Array],
    x: Array,
    forward: Forward,
    d_outputs: Array | None,
    d_final_state: State | None,
    d_last: Array | None,
    lengths: Array | None,
    h0: State | None,
    d_hidden: Array | None,
    static: Array | None,
    resets: Array | None,
    d_states_of: Array | None = None,
    omega: float = 0.0,
) -> tuple[dict[str, Array], Any]:
    """Return also the term Omega.

    d_states_of : (L * D, B, T, H), of the hidden states of all layers and directions
    """
    term = 0.0
    x = np.asanyarray(x)
    steps = _Steps(x, lengths, net.directions)
    episodes = _Episodes(net, steps.exist, resets)
    below = forward.inputs[0]
    initial = episodes.initial(
        _initial(net, params, below, h0, static), _initial(net, params, below, None, static)
    )
    final = _stack(forward.final_state)
    d_above = steps.real(np.zeros_like(forward.outputs) if d_outputs is None else d_outputs)
    d_top = np.zeros_like(forward.last) if d_last is None else np.asanyarray(d_last)
    d_final = np.zeros_like(final) if d_final_state is None else _stack(d_final_state)

    grads: dict[str, Array] = {}
    if "W_hy" in params:
        tops = [net.hidden(one) for one in final[-net.directions :]]
        last = np.concatenate(tops, axis=-1)[:, net.read]
        hidden = forward.hidden[..., net.read]
        grads["W_hy"] = outer(hidden, d_above) + last.T @ d_top
        grads["b_y"] = d_above.sum(axis=(0, 1)) + d_top.sum(axis=0)
        d_above, d_top = d_above @ params["W_hy"].T, d_top @ params["W_hy"].T
        d_above, d_top = _spread(net, params, d_above), _spread(net, params, d_top)
    if d_hidden is not None:
        d_above = d_above + steps.real(d_hidden)
    d_final = d_final.astype(np.result_type(d_final, d_above, d_top))
    for i, d_end in enumerate(
        np.split(d_top, net.directions, axis=-1), len(final) - net.directions
    ):
        d_final[i] += net.d_hidden(final[i], d_end)

    d_initial = [np.empty(0)] * len(initial)
    for layer in reversed(range(net.num_layers)):
        d_above = net.between(layer, d_above)
        d_each = np.split(d_above, net.directions, axis=-1)
        d_above = np.zeros_like(forward.inputs[layer])
        for direction, d_own in enumerate(d_each):
            k = net.directions * layer + direction
            read, states = (
                steps.ordered(direction, a) for a in (forward.inputs[layer], forward.states[k])
            )
            own_states = 0.0 if d_states_of is None else d_states_of[k]
            d_shown = steps.ordered(direction, steps.real(d_own + own_states))
            d_states = net.d_hidden(states, d_shown).astype(d_final.dtype)
            d_states[steps.final] += d_final[k]
            own = _own(net, params, layer, direction)
            own, read = net._with_noise(own, read, steps, layer, direction)
            read, states, d_states = map(episodes.split, (read, states, d_states))
            kept = net._kept(steps, episodes, k, direction, own)
            found = net._cell_backward(
                k, own, read, initial[k], states, d_states, episodes.row, kept
            )
            inputs = d_above.shape[-1]
            found["W_xh"], found["x"] = found["W_xh"][:inputs], found["x"][..., :inputs]
            for name, value in net.setting(own, k).items():
                found[f"logit_{name}"] = found[name] * value * (1 - value)
            if omega:
                value, of_recurrent = _omega(
                    net, k, own, read, initial[k], states, d_states, episodes.goes_on()
                )
                term += omega * value / len(x)
                found["W_hh"] = found["W_hh"] + omega * of_recurrent / len(x)
            grads |= {full: found[name] for name, full in net.names(layer, direction).items()}
            first, second = net._factors(layer, direction)
            if first in params:
                grads[first] = found["W_hh"] @ params[second].T
                grads[second] = params[first].T @ found["W_hh"]
            d_initial[k] = found["initial"]
            d_above = d_above + steps.ordered(direction, episodes.join(found["x"]))

    if "E" in params:
        grads["E"] = np.zeros_like(params["E"], dtype=d_above.dtype)
        if not net.frozen:
            counted = steps.exist & (x != net.padding_index)
            np.add.at(grads["E"], x[counted], d_above[counted])
    else:
        grads["x"] = d_above
    for s, name in enumerate(net.initial_names):
        from_given, from_own = episodes.of_initial(np.stack(d_initial)[:, s])
        given = h0[s] if isinstance(h0, (tuple, list)) else h0
        grads[name] = from_given
        if static is not None:
            d_mapped = np.moveaxis(from_given, 0, 1).reshape(len(static), -1)
            grads[f"W_s{net.module.STATES[s]}"] = static.T @ d_mapped * (given is None)
        if name in params:
            grads[name] = from_own.sum(axis=1) + from_given.sum(axis=1) * (given is None)
    order = (*params, "x", *net.initial_names)
    return {name: grads[name] for name in order if name in grads}, term


def _omega(
    net: Network,
    k: int,
    params: Mapping[str, Array],
    read: Array,
    initial: Array,
    states: Array,
    d_states: Array,
    goes_on: Array,
) -> tuple[Any, Array]:
    """Return Omega of one layer and direction, and its derivative with respect to W_hh."""
    (before,), W_hh = previous(initial, states), params["W_hh"]
    gates = read @ params["W_xh"] + before @ W_hh + params.get("b_h", 0)
    alpha = net.setting(params, k).get("alpha", 1.0)
    flows = signals(W_hh, gates, d_states[0], net.cell, alpha)
    return omega_term(W_hh, before, *flows, goes_on, net.cell, alpha)


def loss_and_grad(
    params: Mapping[str, Array],
    x: Array,
    y: Array,
    loss: str = "bce",
    steps: str = "last",
    reduction: str = "mean",
    lengths: Array | None = None,
    h0: State | None = None,
    sample_weight: Array | None = None,
    static: Array | None = None,
    resets: Array | None = None,
    **network: Any,
) -> tuple[float, dict[str, Array]]:
    """Loss of a batch and its gradients.

    Parameters
    ----------
    params, x, lengths, h0, static, resets, **network : as in `forward`
    y, loss, steps, reduction, sample_weight : as in `apply_loss`
        ``steps="last"`` is a loss on ``forward(...).last``, ``"mean"`` and ``"max"`` on the readout
        of ``forward(...).hidden`` pooled over a sequence's steps.

    Returns
    -------
    loss : float
    grads : dict of str to array
        As returned by `backward`.

    Raises
    ------
    ValueError
        If ``loss``, ``steps``, ``reduction`` or ``cell`` is unknown, or all weights are zero.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.zeros((3, 2)), "W_hh": np.zeros((2, 2)), "W_hy": np.zeros((2, 1))}
    >>> loss, grads = loss_and_grad(params, np.ones((5, 10, 3)), np.array([1.0, 0, 1, 0, 1]))
    >>> round(loss, 4), list(grads)
    (0.6931, ['W_xh', 'W_hh', 'W_hy', 'x', 'h0'])
    """
    value, _, grads = penalised_loss_and_grad(
        params, x, y, {}, loss, steps, reduction, lengths, h0, sample_weight, static, resets,
        **network,
    )  # fmt: skip
    return value, grads


def penalised_loss_and_grad(
    params: Mapping[str, Array],
    x: Array,
    y: Array,
    penalties: Mapping[str, float],
    loss: str = "bce",
    steps: str = "last",
    reduction: str = "mean",
    lengths: Array | None = None,
    h0: State | None = None,
    sample_weight: Array | None = None,
    static: Array | None = None,
    resets: Array | None = None,
    **network: Any,
) -> tuple[float, dict[str, Any], dict[str, Array]]:
    """Loss of a batch, penalties on its states, and the gradients of their sum.

    Parameters
    ----------
    params, x, y, loss, steps, reduction, lengths, h0, sample_weight, static, resets, **network
        As in `loss_and_grad`.
    penalties : mapping of str to float
        Strengths of ``activity_l1``, ``activity_l2``, ``activity_change_l2`` (see
        `activity_penalties`) and ``omega`` (see `omega_term`): the mean over the sequences of its
        sum over steps, layers and directions, of which the gradient of ``W_hh`` has the derivative
        with all else held fixed.

    Returns
    -------
    loss : float
        Without the penalties.
    terms : dict of str to number
    grads : dict of str to array

    Raises
    ------
    ValueError
        As `loss_and_grad`, or if the cell has no Omega.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.ones((1, 1)), "W_hh": np.zeros((1, 1)), "W_hy": np.ones((1, 1))}
    >>> x, y = np.zeros((1, 2, 1)), np.zeros((1, 1))
    >>> loss, terms, grads = penalised_loss_and_grad(params, x, y, {"omega": 0.5})
    >>> float(terms["omega"]), grads["W_hh"].tolist()
    (0.5, [[0.0]])
    """
    out, net = forward(params, x, lengths, h0, static, resets, **network), Network(**network)
    of_states = {name: value for name, value in penalties.items() if name != "omega"}
    x = np.asanyarray(x)
    exist = _Steps(x, lengths, 1).exist
    hidden = np.stack([net.hidden(one) for one in out.states]) * exist[..., np.newaxis]
    goes_on = exist.copy()
    goes_on[:, 0] = False
    if resets is not None:
        goes_on &= ~np.asarray(resets, bool)
    terms, d_states = activity_penalties(hidden, exist, goes_on, **of_states)
    omega = penalties.get("omega", 0.0)
    d_outputs = d_last = d_hidden = None
    if steps in POOLED:
        pooled, share = POOLED[steps](out.hidden, _real_steps(out, lengths))
        value, d_one = _loss_of_one(
            _readout(net, params, pooled), y, loss, reduction, sample_weight
        )
        d_pooled = _spread(net, params, d_one @ params["W_hy"].T) if "W_hy" in params else d_one
        d_hidden = share * d_pooled[:, np.newaxis]
    else:
        value, d_outputs, d_last = _loss(out, y, loss, steps, reduction, lengths, sample_weight)
    given = (d_outputs, None, d_last, lengths, h0, d_hidden, static, resets)
    grads, term = _backward(net, params, x, out, *given, d_states, omega)
    if omega:
        terms["omega"] = term
    if steps in POOLED:
        if "W_hy" in params:
            grads["W_hy"] = pooled[:, net.read].T @ d_one
        if "b_y" in params:
            grads["b_y"] = d_one.sum(axis=0)
    return value, terms, grads


def loss_only(
    params: Mapping[str, Array],
    x: Array,
    y: Array,
    loss: str = "bce",
    steps: str = "last",
    reduction: str = "mean",
    lengths: Array | None = None,
    h0: State | None = None,
    sample_weight: Array | None = None,
    static: Array | None = None,
    resets: Array | None = None,
    **network: Any,
) -> float:
    """Loss of a batch, analytic in ``params``, ``x`` and ``h0``.

    Parameters
    ----------
    params, x, y, loss, steps, reduction, lengths, h0, sample_weight, static, resets, **network
        As in `loss_and_grad`.

    Returns
    -------
    float
        Complex if one of ``params``, ``x`` and ``h0`` is: with a step of 1e-30 along the imaginary
        axis, ``loss.imag / 1e-30`` is the derivative, free of cancellation.

    Raises
    ------
    ValueError
        As `loss_and_grad`.

    Notes
    -----
    W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions",
    SIAM Review 40 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"W_xh": np.full((1, 1), 0.5), "W_hh": np.zeros((1, 1))}
    >>> x, y = np.ones((1, 1, 1)), np.zeros(1)
    >>> exact = loss_and_grad(params, x, y, loss="mse")[1]["x"].item()
    >>> step = loss_only(params, x + 1e-30j, y, loss="mse").imag / 1e-30
    >>> abs(step - exact) < 1e-15
    True
    """
    out = forward(params, x, lengths, h0, static, resets, **network)
    if steps in POOLED:
        pooled, _ = POOLED[steps](out.hidden, _real_steps(out, lengths))
        outputs = _readout(Network(**network), params, pooled)
        return _loss_of_one(outputs, y, loss, reduction, sample_weight)[0]
    return _loss(out, y, loss, steps, reduction, lengths, sample_weight)[0]


def _real_steps(out: Forward, lengths: Array | None) -> Array:
    """Return which steps lie before their sequence's end, (B, T, 1)."""
    batch, time = out.hidden.shape[:2]
    ends = np.full(batch, time) if lengths is None else np.asarray(lengths)
    real: Array = np.arange(time)[:, np.newaxis] < ends[:, np.newaxis, np.newaxis]
    return real


def _loss_of_one(
    outputs: Array, y: Array, loss: str, reduction: str, sample_weight: Array | None
) -> tuple[float, Array]:
    """Return the loss of one output per sequence, (B, O), and its gradient."""
    one_step = outputs[:, np.newaxis]
    value, d_outputs = apply_loss(one_step, y, loss, "last", reduction, None, sample_weight)
    return value, d_outputs[:, 0]


def _loss(
    out: Forward,
    y: Array,
    loss: str,
    steps: str,
    reduction: str,
    lengths: Array | None,
    sample_weight: Array | None,
) -> tuple[float, Array | None, Array | None]:
    """Return the loss and its gradient with respect to the outputs or the last outputs."""
    if steps == "last":
        value, d_last = _loss_of_one(out.last, y, loss, reduction, sample_weight)
        return value, None, d_last
    value, d_outputs = apply_loss(out.outputs, y, loss, steps, reduction, lengths, sample_weight)
    return value, d_outputs, None
