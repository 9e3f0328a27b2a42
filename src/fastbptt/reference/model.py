"""The whole network on plain arrays: layers and directions of a cell, lengths, readout, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._cell import outer
from .losses import POOLED, apply_loss

Array = NDArray[Any]
State = Array | tuple[Array, ...]

#: Cells by name: modules with ``forward`` and ``backward``.
CELLS: dict[str, ModuleType] = {
    name: import_module(f".{name}", __package__)
    for name in (
        "rnn",
        "relu",
        "leaky",
        "gru",
        "gru_before",
        "lstm",
    )
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
    settings : mapping of str to float, optional
        The cell's setting, if it differs from the default: ``{"alpha": 0.1}``.
    masks : sequence of L - 1 arrays (B, T, D * H), optional
        Dropout masks for the hidden states that the next layer reads, from `dropout_masks`.
    padding_index : int, optional
        Row of the embedding matrix whose gradient is zero.
    frozen : bool
        If true, the gradient of the whole embedding matrix is zero.

    Raises
    ------
    ValueError
        If ``cell`` is unknown, or ``masks`` are not one for each layer but the top one.

    Examples
    --------
    >>> Network("lstm", num_layers=2, bidirectional=True).directions
    2
    """

    cell: str = "rnn"
    num_layers: int = 1
    bidirectional: bool = False
    settings: Mapping[str, float] | None = None
    masks: Sequence[Array] | None = None
    padding_index: int | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell is {self.cell!r}; expected one of {', '.join(CELLS)}")
        if self.masks is not None and len(self.masks) != self.num_layers - 1:
            raise ValueError(
                f"masks has {len(self.masks)} arrays; expected {self.num_layers - 1}, one for "
                "each layer but the top one"
            )

    @property
    def module(self) -> ModuleType:
        """Module of the cell."""
        return CELLS[self.cell]

    @property
    def setting(self) -> dict[str, float]:
        """Keyword arguments of the cell's functions."""
        given = {name: float(value) for name, value in (self.settings or {}).items()}
        return {**self.module.SETTING, **given}

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
        own = ("W_xh", "W_hh", "b_h", *self.module.EXTRA_BIAS)
        return {name: name + suffix for name in own}

    def between(self, layer: int, values: Array) -> Array:
        """Apply the dropout mask to a layer's hidden states or their gradient."""
        if self.masks is None or layer == self.num_layers - 1:
            return values
        masked: Array = values * np.asarray(self.masks[layer], values.real.dtype)
        return masked


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
        Inputs of each layer; zero after a sequence's end.
    states : array (L * D, S, B, T, H)
        All states, the hidden state first; zero after a sequence's end.

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
        self.rows, self.time = exist.shape
        marked = np.zeros(exist.shape, bool) if resets is None else np.asarray(resets, bool) & exist
        if marked.any() and net.bidirectional:
            raise ValueError("resets are given; expected none for a bidirectional network")
        self.anew = marked[:, 0].copy()
        marked[:, 0] = True
        self.row, self.start = np.nonzero(marked)  # of each episode; of a row, one after the other
        self.number = np.cumsum(marked).reshape(marked.shape) - 1  # (B, T): of each step's episode
        self.within = np.arange(self.time) - self.start[self.number]  # (B, T): its step in there

    def initial(self, given: Array, own: Array) -> Array:
        """Return the states before each episode, (L * D, S, E, H)."""
        carried = (self.start == 0) & ~self.anew[self.row]
        picked: Array = np.where(carried[:, np.newaxis], given[:, :, self.row], own[:, :, self.row])
        return picked

    def split(self, values: Array) -> Array:
        """Give each episode of ``values`` (..., B, T, N) a row, (..., E, T, N), zero at its end."""
        shape = (*values.shape[:-3], len(self.row), *values.shape[-2:])
        found = np.zeros(shape, values.dtype)
        found[..., self.number, self.within, :] = values
        return found

    def join(self, values: Array) -> Array:
        """Put the episodes of ``values`` (..., E, T, N) back into their rows, (..., B, T, N)."""
        found: Array = values[..., self.number, self.within, :]
        return found

    def of_initial(self, gradients: Array) -> tuple[Array, Array]:
        """Sum gradients (L * D, E, H) by row: of the states given for it, and of its own."""
        first, later = np.zeros(
            (2, len(gradients), self.rows, gradients.shape[-1]), gradients.dtype
        )
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


def _initial(net: Network, params: Mapping[str, Array], x: Array, h0: State | None) -> Array:
    """Return the states before the first step, (L * D, S, B, H): given, learned or zero."""
    given = h0 if isinstance(h0, (tuple, list)) else (h0,) * len(net.initial_names)
    shape = (net.num_layers * net.directions, len(x), len(params["W_hh"]))
    zeros = np.zeros(shape, np.result_type(x, *params.values()))
    learned = [params[n][:, np.newaxis] if n in params else zeros for n in net.initial_names]
    own = [zeros + state for state in learned]
    return np.stack([a if b is None else b for a, b in zip(own, given, strict=True)], axis=1)


def _own(net: Network, params: Mapping[str, Array], layer: int, direction: int) -> dict[str, Array]:
    """Return the parameters of one layer and direction, under the cell's names."""
    names = net.names(layer, direction).items()
    return {name: params[full] for name, full in names if full in params}


def _readout(params: Mapping[str, Array], hidden: Array) -> Array:
    if "W_hy" not in params:
        return hidden
    outputs: Array = hidden @ params["W_hy"] + params.get("b_y", 0)
    return outputs


def forward(
    params: Mapping[str, Array],
    x: Array,
    lengths: Array | None = None,
    h0: State | None = None,
    resets: Array | None = None,
    **network: Any,
) -> Forward:
    """Run the network: ``outputs_t = hidden_t W_hy + b_y``, with the top layer's hidden states.

    Parameters
    ----------
    params : mapping of str to array
        The cell's parameters (see its module). The names of those of layer 1 end in ``_l1`` and so
        on; ``_reverse`` is appended for the reverse direction. Learned initial states, if any:
        ``h0`` (L * D, H), for an LSTM also ``c0``. Readout: ``W_hy`` (D * H, O), ``b_y`` (O,);
        without ``W_hy`` the outputs are the hidden states, without ``b_y`` there is no bias. ``E``
        (V, I), if ``x`` holds tokens.
    x : array (B, T, I), or integer array (B, T)
        Input, or tokens that select rows of ``E``. Values after a sequence's end are ignored.
    lengths : integer array (B,), optional
        Steps of each sequence, 1 to T; default T.
    h0 : array (L * D, B, H), or a tuple of one such array per state of the cell, optional
        States before the first step; default, and for None in a tuple: the learned ones, or zeros.
    resets : bool array (B, T), optional
        Where true, the state before that step is the learned one or zero, and no gradient goes past
        it; ``h0`` does not matter to a sequence with a reset at its first step. Values after a
        sequence's end are ignored. Not for two directions.
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
    net = Network(**network)
    x = np.asarray(x)
    steps = _Steps(x, lengths, net.directions)
    episodes = _Episodes(net, steps.exist, resets)
    below = params["E"][np.where(steps.exist, x, 0)] if "E" in params else x
    initial = episodes.initial(_initial(net, params, below, h0), _initial(net, params, below, None))
    inputs: list[Array] = []
    states: list[Array] = []
    finals: list[Array] = []
    for layer in range(net.num_layers):
        inputs.append(steps.real(below))
        for direction in range(net.directions):
            own, read = _own(net, params, layer, direction), steps.ordered(direction, inputs[-1])
            after = net.module.forward(
                own, episodes.split(read), initial[len(states)], **net.setting
            )
            after = episodes.join(after)
            finals.append(after[steps.final])
            states.append(steps.ordered(direction, steps.real(after)))
        hidden = np.concatenate([s[0] for s in states[-net.directions :]], axis=-1)
        below = net.between(layer, hidden)
    last = np.concatenate([s[0] for s in finals[-net.directions :]], axis=-1)
    return Forward(
        outputs=steps.real(_readout(params, hidden)),
        hidden=hidden,
        last=_readout(params, last),
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
    resets: Array | None = None,
    **network: Any,
) -> dict[str, Array]:
    """Return the gradients, given those of outputs, final state, last outputs and hidden states.

    Parameters
    ----------
    params, x, lengths, h0, resets, **network : as given to `forward`
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
    net = Network(**network)
    x = np.asarray(x)
    steps = _Steps(x, lengths, net.directions)
    episodes = _Episodes(net, steps.exist, resets)
    own_initial = _initial(net, params, forward.inputs[0], None)
    initial = episodes.initial(_initial(net, params, forward.inputs[0], h0), own_initial)
    final = _stack(forward.final_state)
    d_above = steps.real(np.zeros_like(forward.outputs) if d_outputs is None else d_outputs)
    d_top = np.zeros_like(forward.last) if d_last is None else np.asarray(d_last)
    d_final = np.zeros_like(final) if d_final_state is None else _stack(d_final_state)

    grads: dict[str, Array] = {}
    if "W_hy" in params:
        last = np.concatenate(final[-net.directions :, 0], axis=-1)
        grads["W_hy"] = outer(forward.hidden, d_above) + last.T @ d_top
        grads["b_y"] = d_above.sum(axis=(0, 1)) + d_top.sum(axis=0)
        d_above, d_top = d_above @ params["W_hy"].T, d_top @ params["W_hy"].T
    if d_hidden is not None:
        d_above = d_above + steps.real(d_hidden)
    d_final = d_final.astype(np.result_type(d_final, d_above, d_top))
    d_final[-net.directions :, 0] += np.stack(np.split(d_top, net.directions, axis=-1))

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
            d_states = np.zeros(states.shape, d_final.dtype)
            d_states[0] = steps.ordered(direction, d_own)
            d_states[steps.final] += d_final[k]
            own = _own(net, params, layer, direction)
            read, states, d_states = map(episodes.split, (read, states, d_states))
            found = net.module.backward(own, read, initial[k], states, d_states, **net.setting)
            grads |= {full: found[name] for name, full in net.names(layer, direction).items()}
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
        if name in params:
            grads[name] = from_own.sum(axis=1) + from_given.sum(axis=1) * (given is None)
    order = (*params, "x", *net.initial_names)
    return {name: grads[name] for name in order if name in grads}


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
    resets: Array | None = None,
    **network: Any,
) -> tuple[float, dict[str, Array]]:
    """Loss of a batch and its gradients.

    Parameters
    ----------
    params, x, lengths, h0, resets, **network : as in `forward`
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
    out = forward(params, x, lengths, h0, resets, **network)
    if steps in POOLED:
        pooled, share = POOLED[steps](out.hidden, _real_steps(out, lengths))
        value, d_one = _loss_of_one(_readout(params, pooled), y, loss, reduction, sample_weight)
        d_pooled = d_one @ params["W_hy"].T if "W_hy" in params else d_one
        d_hidden = share * d_pooled[:, np.newaxis]
        grads = backward(params, x, out, None, None, None, lengths, h0, d_hidden, resets, **network)
        if "W_hy" in params:
            grads["W_hy"] = pooled.T @ d_one
        if "b_y" in params:
            grads["b_y"] = d_one.sum(axis=0)
        return value, grads
    value, d_outputs, d_last = _loss(out, y, loss, steps, reduction, lengths, sample_weight)
    given = (d_outputs, None, d_last, lengths, h0, None, resets)
    return value, backward(params, x, out, *given, **network)


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
    resets: Array | None = None,
    **network: Any,
) -> float:
    """Loss of a batch, analytic in ``params``, ``x`` and ``h0``.

    Parameters
    ----------
    params, x, y, loss, steps, reduction, lengths, h0, sample_weight, resets, **network
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
    out = forward(params, x, lengths, h0, resets, **network)
    if steps in POOLED:
        pooled, _ = POOLED[steps](out.hidden, _real_steps(out, lengths))
        return _loss_of_one(_readout(params, pooled), y, loss, reduction, sample_weight)[0]
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
