"""The modules, with the arguments and parameters of `torch.nn`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .._errors import ArgumentError, ArgumentTypeError
from . import _operator

if TYPE_CHECKING:
    from typing_extensions import Self

States: TypeAlias = Tensor | tuple[Tensor, Tensor]

_CELLS = {"RNN_TANH": "rnn", "RNN_RELU": "relu", "GRU": "gru", "LSTM": "lstm"}


class _Module(torch.nn.RNNBase):
    """Base class of the three modules; `torch.nn.RNNBase` makes and names the parameters."""

    def __init__(self, mode: str, *sizes: Any, **options: Any) -> None:
        super().__init__(mode, *sizes, **options)
        self._hold_engine()

    def _hold_engine(self) -> None:
        if all(hasattr(self, name) for name in self._flat_weights_names):  # none is deleted for now
            _operator.hold_engine(self, _CELLS[self.mode], self._weights())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold_engine()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._hold_engine()  # the dtype may be another one
        return self

    def _weights(self) -> tuple[Tensor, ...]:
        """The weights now, whoever computes them: parametrizations, functional_call."""
        own, names = self._parameters, self._flat_weights_names
        try:
            return tuple([own[name] for name in names])
        except KeyError:
            return tuple([getattr(self, name) for name in names])

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: States | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, States]:
        """Run the network over a batch of sequences.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (time, batch, input_size), with ``batch_first=True`` (batch, time, input_size), or one
            sequence (time, input_size). Of the parameters' dtype; any strides.
        hx : Tensor, optional
            Initial state (layers * directions, batch, hidden_size), whatever `batch_first`, or
            (layers * directions, hidden_size) for one sequence; of an LSTM a tuple (h_0, c_0).
            Zero if it is not given.
        lengths : Tensor or list of int, shape (batch,), optional
            How many steps of each sequence are real, at least 1, in any order: what packing would
            do, without packing. Outputs after a sequence's end are zero, the final state is that at
            its own end, and the reverse direction starts there. Not with a PackedSequence.
        resets : Tensor of shape (batch, time), optional
            Booleans, whatever `batch_first`; (time,) for one sequence. Where one is true an episode
            starts: the state before that step is zero, and no gradient goes past it. `hx` is the
            state before step 0, of the sequences without a reset there. Not with
            ``bidirectional=True``, nor with a PackedSequence.

        Returns
        -------
        output : Tensor or PackedSequence
            Of the top layer, like `input` with directions * hidden_size columns.
        h_n : Tensor, or tuple (h_n, c_n) of an LSTM
            The final states, shaped like `hx`.

        Raises
        ------
        ValueError, RuntimeError
            As torch.nn's modules for shapes, dtypes and devices that do not fit; only CPU tensors
            of float32 and float64 are computed. A `ValueError` for `lengths` and `resets`.
        """
        batch_sizes = order = back = None
        if isinstance(input, PackedSequence):
            x, batch_sizes, order, back = input
            for name, value in (("lengths", lengths), ("resets", resets)):
                if value is not None:
                    raise ArgumentError(
                        name,
                        "is given with a PackedSequence",
                        "a padded tensor with lengths= and resets=, or a PackedSequence alone",
                    )
        else:
            x = input
        weights = self._weights()
        first = weights[0]
        rank = x.dim()
        if not (
            rank == (3 if batch_sizes is None else 2)
            and x.shape[-1] == self.input_size
            and x.dtype is first.dtype
            and x.is_cpu
            and first.is_cpu
        ):
            x = self._checked_input(x, first, batch_sizes is not None)
        single = rank == 2 and batch_sizes is None
        if single:
            x = x.unsqueeze(0 if self.batch_first else 1)
            if resets is not None:
                resets = torch.as_tensor(resets).unsqueeze(0)
            if lengths is not None:
                raise ArgumentError("lengths", "is given for one sequence", "input[:length]")
        states = () if hx is None else self._checked_states(hx, x, single, batch_sizes)
        if order is not None:
            states = tuple([state.index_select(1, order) for state in states])
        if batch_sizes is None and (lengths is not None or resets is not None):
            batch, time = x.shape[:2] if self.batch_first else (x.shape[1], x.shape[0])
            if lengths is not None:
                lengths = self._checked_lengths(lengths, batch)
            if resets is not None:
                resets = self._checked_resets(resets, batch, time)
        seed = None
        if self.training and self.dropout != 0 and self.num_layers > 1:
            if not 0 <= self.dropout <= 1:  # set after construction
                raise RuntimeError(
                    f"dropout is {self.dropout}; expected a probability between 0 and 1"
                )
            seed = torch.randint(1 << 62, (1,))
        # a trace is the same without gradients, where torch.jit checks it
        keep = (torch.is_grad_enabled() or _operator.is_traced()) and (
            first.requires_grad or any(t.requires_grad for t in (x, *states, *weights))
        )
        call = _operator.PassOptions(
            _CELLS[self.mode], self.num_layers, self.bidirectional, self.batch_first, self.dropout,
            keep, lengths, batch_sizes, resets, seed,
        )  # fmt: skip
        output, *finals = _operator.apply(x, states, weights, call)
        if single:
            output = output.squeeze(0 if self.batch_first else 1)
            finals = [state.squeeze(1) for state in finals]
        if back is not None:
            finals = [state.index_select(1, back) for state in finals]
        result: States = finals[0] if len(finals) == 1 else (finals[0], finals[1])
        if batch_sizes is not None:
            return PackedSequence(output, batch_sizes, order, back), result
        return output, result

    def _checked_input(self, x: Tensor, weight: Tensor, packed: bool) -> Tensor:
        name = type(self).__name__
        if x.device != weight.device:
            raise RuntimeError(
                "Input and parameter tensors are not at the same device, found input tensor at "
                f"{x.device} and parameter tensor at {weight.device}"
            )
        if x.device.type not in ("cpu", "meta"):
            raise RuntimeError(
                f"fastbptt.torch.{name} computes on the CPU; input and parameters are on "
                f"{x.device}: use torch.nn.{name} there, or .to('cpu')"
            )
        if x.dtype != weight.dtype:
            if not torch.is_autocast_enabled(x.device.type):
                raise ValueError(
                    f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                    f"Convert input: input.to({weight.dtype}), or convert model: "
                    f"model.to({x.dtype})"
                )
            x = x.to(weight.dtype)  # computed in the parameters' precision
        if packed:
            if x.dim() != 2:
                raise RuntimeError(f"input must have 2 dimensions, got {x.dim()}")
        elif x.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {x.dim()}D instead")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {x.shape[-1]}"
            )
        return x

    def _checked_states(
        self, hx: Any, x: Tensor, single: bool, batch_sizes: Tensor | None
    ) -> tuple[Tensor, ...]:
        count = 2 if self.mode == "LSTM" else 1
        states = list(hx) if isinstance(hx, tuple | list) else [hx]
        if len(states) != count or not all(isinstance(state, Tensor) for state in states):
            expected = "a tuple (h_0, c_0) of tensors" if count == 2 else "a tensor"
            raise ArgumentTypeError("hx", f"is {_shown(hx)}", expected)
        rank = 2 if single else 3
        if any(state.dim() != rank for state in states):
            ranks = ", ".join(f"{state.dim()}-D" for state in states)
            kind = f"{'unbatched' if single else 'batched'} {rank}-D input"
            raise RuntimeError(f"For {kind}, hx should also be {rank}-D but got {ranks}")
        if single:
            states = [state.unsqueeze(1) for state in states]
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = x.shape[0] if self.batch_first else x.shape[1]
        shape = (self.num_layers * (1 + self.bidirectional), batch, self.hidden_size)
        for i, state in enumerate(states):
            if tuple(state.shape) != shape:
                name = f"hidden[{i}]" if count == 2 else "hidden"
                raise RuntimeError(f"Expected {name} size {shape}, got {list(state.shape)}")
            if state.device != x.device:
                raise RuntimeError(
                    "Input and hidden tensors are not at the same device, found input tensor at "
                    f"{x.device} and hidden tensor at {state.device}"
                )
        if torch.is_autocast_enabled(x.device.type):
            states = [state.to(x.dtype) for state in states]
        return tuple(states)

    def _checked_lengths(self, lengths: Any, batch: int) -> Tensor:
        given = torch.as_tensor(lengths)
        if given.dtype.is_floating_point or given.dtype.is_complex or given.dtype == torch.bool:
            raise ArgumentTypeError("lengths", f"has dtype {given.dtype}", "whole numbers")
        if tuple(given.shape) != (batch,):
            raise ArgumentError(
                "lengths", f"has shape {tuple(given.shape)}", f"({batch},): one per sequence"
            )
        return given.to("cpu", torch.int64)

    def _checked_resets(self, resets: Any, batch: int, time: int) -> Tensor:
        if self.bidirectional:
            raise ArgumentError(
                "resets",
                "is given, but bidirectional=True",
                "a module of one direction: the other one would carry the state back over a reset",
            )
        given = torch.as_tensor(resets)
        if given.dtype != torch.bool:
            raise ArgumentTypeError(
                "resets", f"has dtype {given.dtype}", "torch.bool: True where an episode starts"
            )
        if tuple(given.shape) != (batch, time):
            raise ArgumentError(
                "resets",
                f"has shape {tuple(given.shape)}",
                f"(batch, time), here ({batch}, {time}), whatever batch_first",
            )
        return given.to("cpu")


def _shown(hx: Any) -> str:
    if isinstance(hx, tuple | list):
        return f"a {type(hx).__name__} of {len(hx)}"
    return f"of type {type(hx).__name__}"


class RNN(_Module):
    """`torch.nn.RNN`, computed by fastbptt: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units of each layer and direction.
    num_layers : int, default 1
        Layers on top of each other.
    nonlinearity : {"tanh", "relu"}
        What the units apply.
    bias : bool, default True
        Whether the layers have biases.
    batch_first : bool, default False
        Whether input and output are (batch, time, features) instead of (time, batch, features).
    dropout : float, default 0.0
        In training, the probability with which outputs of all but the last layer are set to zero.
        Masks come from torch's generator by way of a seed: `torch.manual_seed` repeats them, but
        they are others than torch.nn's.
    bidirectional : bool, default False
        Whether each layer also reads its input from the end.
    device, dtype : optional
        Of the parameters, as for torch.nn. It computes on the CPU in float32 or float64.

    Raises
    ------
    ValueError, TypeError
        As torch.nn's constructor.

    Notes
    -----
    The weights of (gates * hidden_size, inputs) are named ``weight_ih_l0``, ``weight_hh_l0``,
    ``bias_ih_l0``, ``bias_hh_l0``, then ``.._l1``; those of the reverse direction end in
    ``_reverse``. They are drawn as torch.nn draws them: equal seeds give equal weights. State dicts
    load in both directions.

    Examples
    --------
    >>> import torch
    >>> from fastbptt.torch import RNN
    >>> rnn = RNN(3, 8, num_layers=2, batch_first=True)
    >>> output, h_n = rnn(torch.randn(2, 5, 3), lengths=[5, 3])
    >>> output.shape, h_n.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 2, 8]))
    >>> torch.nn.RNN(3, 8, num_layers=2).load_state_dict(rnn.state_dict())
    <All keys matched successfully>
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, device=device, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


class GRU(_Module):
    """`torch.nn.GRU`, computed by fastbptt: the reset comes after the product with W_hn.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        As for `RNN`. The rows of the weights are those of r, z and n, one block after the other.

    Raises
    ------
    ValueError, TypeError
        As torch.nn's constructor.

    Examples
    --------
    Two episodes in one row, the second one from step 2 on:

    >>> import torch
    >>> from fastbptt.torch import GRU
    >>> gru = GRU(3, 8, batch_first=True)
    >>> resets = torch.tensor([[False, False, True, False]])
    >>> output, h_n = gru(torch.ones(1, 4, 3), resets=resets)
    >>> torch.equal(output[0, :2], output[0, 2:])
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip


class LSTM(_Module):
    """`torch.nn.LSTM`, computed by fastbptt; its state is a tuple (h, c).

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        As for `RNN`. The rows of the weights are those of i, f, g and o, one block after the other.
    proj_size : int, default 0
        Only 0: projections are not computed.

    Raises
    ------
    ValueError, TypeError
        As torch.nn's constructor, and for a `proj_size` above 0.

    Examples
    --------
    >>> import torch
    >>> from fastbptt.torch import LSTM
    >>> lstm = LSTM(3, 8, bidirectional=True)
    >>> output, (h_n, c_n) = lstm(torch.randn(5, 2, 3))
    >>> output.shape, c_n.shape
    (torch.Size([5, 2, 16]), torch.Size([2, 2, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if proj_size != 0:
            raise ArgumentError(
                "proj_size", f"is {proj_size}", "0: projections are computed by torch.nn.LSTM alone"
            )
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
