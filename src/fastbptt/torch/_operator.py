"""A network's forward and backward pass as operators of PyTorch.

The operators `fastbptt::recurrent` and `fastbptt::recurrent_backward` are what tracing sees:
torch.compile, torch.export, dispatch modes. Where nothing traces, `apply` calls the same two
functions through an `autograd.Function` instead, which saves half of the operator's overhead.

What the backward pass needs stays in the core, in a tape. A tensor of one byte, always zero, stands
for it: its storage owns the tape, so the tape lives as long as autograd keeps that tensor.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import _core
from .._errors import ArgumentError


class Network(NamedTuple):
    """All that the operators know of a module."""

    cell: str
    layers: int
    bidirectional: bool
    batch_first: bool
    dropout: float
    keep: bool  # a tape, for a backward pass


# ---------------------------------------------------------------- engines and tapes


@functools.lru_cache(maxsize=256)
def _structure(
    cell: str, inputs: int, hidden: int, layers: int, bidirectional: bool, bias: bool
) -> tuple[_core.Spec, list[tuple[int, ...]], int]:
    """Make the core's description, the shapes of the weights, and how many states the cell has."""
    spec = _core.Spec(
        cell, inputs, hidden, bias=bias, num_layers=layers, bidirectional=bidirectional
    )
    info = _core.cell_info(cell)
    rows = info["gates"] * hidden
    shapes: list[tuple[int, ...]] = []
    for layer in range(layers):
        for _ in range(1 + bidirectional):
            columns = (1 + bidirectional) * hidden if layer else inputs
            shapes += [(rows, columns), (rows, hidden)]
            if bias:
                shapes += [(rows,), (rows,)]
    return spec, shapes, len(info["states"])


_DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}

# Modules keep the engines of their kind alive, and with them buffers for the next call.
_engines: weakref.WeakValueDictionary[Any, _core.Engine] = weakref.WeakValueDictionary()
_held: weakref.WeakKeyDictionary[torch.nn.Module, _core.Engine] = weakref.WeakKeyDictionary()


def _engine(spec: _core.Spec, dtype: torch.dtype) -> _core.Engine:
    key = (spec, dtype)  # a spec is the only one of its kind
    engine = _engines.get(key)
    if engine is None:
        engine = _engines.setdefault(key, _core.Engine(spec, np.empty(0, _DTYPES[dtype])))
    return engine


def hold_engine(module: torch.nn.Module, cell: str, weights: list[Tensor]) -> None:
    """Keep the engine for a module as long as the module lives."""
    first, second = weights[:2]
    if first.dtype in _DTYPES:
        bidirectional = bool(module.bidirectional)
        spec = _structure(
            cell, first.shape[1], second.shape[1], module.num_layers, bidirectional, module.bias
        )[0]
        _held[module] = _engine(spec, first.dtype)


class _Kept:
    """A tape and its engine; None for an empty batch."""

    __slots__ = ("__weakref__", "anchor", "engine", "tape")

    def __init__(self, engine: _core.Engine, tape: _core.Tape | None) -> None:
        self.engine, self.tape = engine, tape


_tapes: weakref.WeakValueDictionary[int, _Kept] = weakref.WeakValueDictionary()


def _tensor_of(kept: _Kept) -> Tensor:
    assert kept.tape is not None
    tensor = torch.from_numpy(kept.tape.anchor(kept))
    _tapes[tensor.data_ptr()] = kept
    return tensor


def _tape_of(tensor: Tensor) -> _Kept:
    kept = _tapes.get(tensor.data_ptr())
    if kept is None:
        raise RuntimeError(
            "the saved states of this pass are gone: they live in fastbptt's core, and the tensor "
            "that stands for them was copied (saved_tensors_hooks such as save_on_cpu do that), or "
            "the pass ran without gradients; call the module again within the graph to backpropagate"
        )
    return kept


# ---------------------------------------------------------------- on the CPU


def _forward(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    seed: Tensor | None,
    net: Network,
) -> tuple[list[Tensor], Tensor | None]:
    """Compute the output and the final states, and what stands for the tape."""
    if len(weights) < 2:
        raise RuntimeError(f"weights holds {len(weights)} tensors; expected two or four per layer")
    hidden, directions = weights[1].shape[-1], 1 + net.bidirectional
    bias = len(weights) == 4 * net.layers * directions
    spec, shapes, count = _structure(
        net.cell, x.shape[-1], hidden, net.layers, net.bidirectional, bias
    )
    _check_tensors(x, states, weights, shapes)
    weights = [w if w.is_contiguous() else w.contiguous() for w in weights]
    rows = x.detach().numpy()
    sizes = None
    if batch_sizes is not None:
        sizes = _lengths_of(batch_sizes.numpy())
        batch = len(sizes)
    else:
        if not net.batch_first:
            rows = rows.swapaxes(0, 1)
        batch, time = rows.shape[:2]
        if time == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if lengths is not None:
            sizes = np.ascontiguousarray(lengths.numpy(), np.int64)
    state_shape = (net.layers * directions, batch, hidden)
    if any(state.shape != state_shape for state in states):
        shown = [tuple(state.shape) for state in states]
        raise RuntimeError(f"states have shapes {shown}; expected {state_shape}")
    output = torch.empty((*x.shape[:-1], directions * hidden), dtype=x.dtype)
    engine = _engine(spec, x.dtype)
    if batch == 0:
        finals = [output.new_empty(state_shape) for _ in range(count)]
        return [output, *finals], None
    tape = engine.forward(
        _core.Batch(
            rows,
            lengths=sizes,
            initial=tuple([state.detach().numpy() for state in states]) or None,
            resets=None if resets is None else np.ascontiguousarray(resets.numpy()),
            dropout_seed=None if seed is None else int(seed),
            check_finite=False,
            weights=[w.data_ptr() for w in weights],
            dropout=net.dropout,
            threads=torch.get_num_threads(),
        )
    )
    target = output.numpy()
    tape.write_hidden(target if batch_sizes is not None or net.batch_first else target.swapaxes(0, 1))
    results = [output, *map(torch.from_numpy, tape.final_state)]
    return results, _tensor_of(_Kept(engine, tape)) if net.keep else None


def _check_tensors(
    x: Tensor, states: list[Tensor], weights: list[Tensor], shapes: list[tuple[int, ...]]
) -> None:
    if x.dtype not in _DTYPES:
        raise RuntimeError(
            f"fastbptt.torch computes torch.float32 and torch.float64; the input is {x.dtype}: "
            "convert input and module, .to(torch.float32)"
        )
    for name, tensors in (("hidden", states), ("parameter", weights)):
        for tensor in tensors:
            if tensor.dtype != x.dtype:
                raise RuntimeError(
                    f"Input and {name} tensors are not the same dtype, found input tensor with "
                    f"{x.dtype} and {name} tensor with {tensor.dtype}"
                )
            if not tensor.is_cpu or tensor.is_neg():
                raise RuntimeError(f"the {name} tensor is not a plain CPU tensor: {tensor.device}")
    if [tuple(w.shape) for w in weights] != shapes:
        raise RuntimeError(
            f"weights have shapes {[tuple(w.shape) for w in weights]}; expected {shapes}"
        )


def _lengths_of(batch_sizes: Any) -> Any:
    """How many steps each sequence has, from how many sequences reach each step."""
    falls = batch_sizes - np.append(batch_sizes[1:], 0)
    if batch_sizes.ndim != 1 or not len(batch_sizes) or (falls < 0).any():
        raise ArgumentError("batch_sizes", "increases or is empty", "sizes that never increase")
    return np.repeat(np.arange(1, len(batch_sizes) + 1), falls)[::-1].copy()


class Shapes(NamedTuple):
    """What a backward pass knows of its forward pass."""

    x: list[int]
    hidden: int
    states: list[int]  # of each state; empty: their gradients are not wanted
    need_x: bool


def _backward(
    d_output: Tensor | None,
    d_finals: list[Tensor | None],
    tape: Tensor | None,
    x_shape: tuple[int, ...],
    hidden: int,
    bias: bool,
    need_x: bool,
    need_states: bool,
    net: Network,
) -> list[Tensor]:
    """Compute the gradients of x, of the states and of the weights; empty where not wanted."""
    given = [d for d in (d_output, *d_finals) if d is not None]
    dtype = given[0].dtype
    directions = 1 + net.bidirectional
    shapes, count = _structure(
        net.cell, x_shape[-1], hidden, net.layers, net.bidirectional, bias
    )[1:]
    packed = len(x_shape) == 2
    dx = torch.empty(x_shape if need_x else 0, dtype=dtype)
    gradients = [torch.empty(shape, dtype=dtype) for shape in shapes]
    if tape is None:  # an empty batch
        batch = 0
        for gradient in gradients:
            gradient.zero_()
    else:
        kept = _tape_of(tape)
        assert kept.tape is not None
        batch = kept.tape.batch
    state_shape = (net.layers * directions, batch, hidden)
    d_states = [torch.empty(state_shape if need_states else 0, dtype=dtype) for _ in range(count)]

    def steps(tensor: Tensor) -> Any:
        array = tensor.detach().numpy()
        return array if packed or net.batch_first else array.swapaxes(0, 1)

    if tape is not None:
        kept.engine.backward(
            kept.tape,
            _core.OutputGradients(
                outputs=None if d_output is None else steps(d_output),
                final_state=tuple([None if d is None else d.detach().numpy() for d in d_finals]),
                check_finite=False,
            ),
            _core.GradientTargets(
                x=steps(dx) if need_x else None,
                initial=tuple([d.numpy() for d in d_states]) if need_states else None,
                weights=[gradient.data_ptr() for gradient in gradients],
            ),
        )
    return [dx, *d_states, *gradients]


# ---------------------------------------------------------------- operators, for tracing


@torch.library.custom_op("fastbptt::recurrent", mutates_args=(), device_types="cpu")
def recurrent(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    seed: Tensor | None,
    cell: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float,
    keep: bool,
) -> list[Tensor]:
    """Compute the output, the final states and the tape's tensor."""
    net = Network(cell, layers, bidirectional, batch_first, dropout, keep)
    results, tape = _forward(x, states, weights, lengths, batch_sizes, resets, seed, net)
    return [*results, torch.zeros(1, dtype=torch.uint8) if tape is None else tape]


@recurrent.register_fake
def _(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    seed: Tensor | None,
    cell: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float,
    keep: bool,
) -> list[Tensor]:
    hidden, directions = weights[1].shape[-1], 1 + bidirectional
    if batch_sizes is None:
        batch = x.shape[0] if batch_first else x.shape[1]
    else:
        batch = states[0].shape[1] if states else torch.library.get_ctx().new_dynamic_size()
    final = (layers * directions, batch, hidden)
    finals = [x.new_empty(final) for _ in _core.cell_info(cell)["states"]]
    output = x.new_empty((*x.shape[:-1], directions * hidden))
    return [output, *finals, x.new_empty(1, dtype=torch.uint8)]


@torch.library.custom_op("fastbptt::recurrent_backward", mutates_args=(), device_types="cpu")
def recurrent_backward(
    d_output: Tensor | None,
    d_h: Tensor | None,
    d_c: Tensor | None,
    tape: Tensor,
    source: Tensor,
    x_shape: list[int],
    batch: int,
    hidden: int,
    bias: bool,
    need_x: bool,
    need_states: bool,
    cell: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> list[Tensor]:
    """Compute all gradients. source: an input of the forward pass, on which they depend."""
    net = Network(cell, layers, bidirectional, batch_first, 0.0, True)
    d_finals = [d_h, d_c][: len(_core.cell_info(cell)["states"])]
    return _backward(
        d_output, d_finals, tape if batch else None, tuple(x_shape), hidden, bias, need_x,
        need_states, net,
    )  # fmt: skip


@recurrent_backward.register_fake
def _(
    d_output: Tensor | None,
    d_h: Tensor | None,
    d_c: Tensor | None,
    tape: Tensor,
    source: Tensor,
    x_shape: list[int],
    batch: int,
    hidden: int,
    bias: bool,
    need_x: bool,
    need_states: bool,
    cell: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> list[Tensor]:
    shapes, count = _structure(cell, x_shape[-1], hidden, layers, bidirectional, bias)[1:]
    final = (layers * (1 + bidirectional), batch, hidden)
    made: list[Any] = [x_shape if need_x else (0,)]
    made += [final if need_states else (0,)] * count
    return [source.new_empty(shape) for shape in made + shapes]


def _no_second_derivative(ctx: Any, *grads: Any) -> Any:
    raise RuntimeError(
        "fastbptt.torch has first derivatives only, and this asks for a derivative of a gradient "
        "(create_graph=True); torch.nn's module with the same state_dict has second ones"
    )


recurrent_backward.register_autograd(_no_second_derivative)


def _source(x: Tensor, weights: Any, states: Any) -> Tensor:
    """Choose an input with a gradient; weights first, which live on anyway."""
    return next((t for t in (*weights, x, *states) if t.requires_grad), x)


def _setup_operator(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    x, states, weights, _, _, _, _, cell, layers, bidirectional, batch_first, *_ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[-1], _source(x, weights, states))
    ctx.x_shape, ctx.hidden, ctx.batch = list(x.shape), weights[1].shape[-1], output[1].shape[1]
    ctx.bias = len(weights) == 4 * layers * (1 + bidirectional)
    ctx.counts = len(states), len(weights)
    ctx.net = cell, layers, bidirectional, batch_first


def _backward_operator(ctx: Any, grads: list[Tensor | None]) -> Any:
    tape, source = ctx.saved_tensors
    d_output, *d_finals, _ = grads
    count, weights = ctx.counts
    need_x, need_states = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1])
    nothing = (None,) * 10
    if all(d is None for d in (d_output, *d_finals)):
        return None, [None] * count, [None] * weights, *nothing
    d_h, d_c = (*d_finals, None)[:2]
    dx, *rest = recurrent_backward(
        d_output, d_h, d_c, tape, source, ctx.x_shape, ctx.batch, ctx.hidden, ctx.bias, need_x,
        need_states, *ctx.net,
    )  # fmt: skip
    states: list[Any] = list(rest[:count]) if need_states else [None] * count
    return dx if need_x else None, states, list(rest[len(d_finals) :]), *nothing


recurrent.register_autograd(_backward_operator, setup_context=_setup_operator)


# ---------------------------------------------------------------- where nothing traces


class _Recurrent(torch.autograd.Function):
    """The operator without its dispatch; tensors: the states, then the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        lengths: Tensor | None,
        batch_sizes: Tensor | None,
        resets: Tensor | None,
        seed: Tensor | None,
        net: Network,
        count: int,
        *tensors: Tensor,
    ) -> Any:
        states, weights = list(tensors[:count]), list(tensors[count:])
        results, tape = _forward(x, states, weights, lengths, batch_sizes, resets, seed, net)
        ctx.set_materialize_grads(False)
        if tape is not None:
            ctx.save_for_backward(tape)
        ctx.sizes = tuple(x.shape), weights[1].shape[-1], results[1].shape[1]
        ctx.net, ctx.count, ctx.source = net, count, _source(x, weights, states)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_finals: Tensor | None) -> Any:
        shape, hidden, batch = ctx.sizes
        net, count, needs = ctx.net, ctx.count, ctx.needs_input_grad
        need_x, need_states = needs[0], any(needs[7 : 7 + count])
        tape = ctx.saved_tensors[0] if ctx.saved_tensors else None
        bias = len(needs) - 7 - count == 4 * net.layers * (1 + net.bidirectional)
        if torch.is_grad_enabled():  # create_graph: the operator refuses a second derivative
            d_h, d_c = (*d_finals, None)[:2]
            anchor = torch.zeros(1, dtype=torch.uint8) if tape is None else tape
            gradients = recurrent_backward(
                d_output, d_h, d_c, anchor, ctx.source, list(shape), batch, hidden, bias, need_x,
                need_states, *net[:4],
            )  # fmt: skip
        else:
            gradients = _backward(
                d_output, list(d_finals), tape, shape, hidden, bias, need_x, need_states, net
            )
        dx = gradients[0] if need_x else None
        states = gradients[1 : 1 + count] if need_states else [None] * count
        return dx, None, None, None, None, None, None, *states, *gradients[1 + len(d_finals) :]


def _nothing_traces() -> bool:
    """Whether tensors are what they seem: no compiler, tracer or transform looks on."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
    )


_PLAIN = {torch.Tensor, torch.nn.Parameter}


def apply(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    resets: Tensor | None,
    seed: Tensor | None,
    net: Network,
) -> list[Tensor]:
    """Compute the output and the final states, with autograd if net.keep."""
    if _nothing_traces() and x.is_cpu and all(type(t) in _PLAIN for t in (x, *states, *weights)):
        if not net.keep:
            return _forward(x, states, weights, lengths, batch_sizes, resets, seed, net)[0]
        results: list[Tensor] = list(
            _Recurrent.apply(
                x, lengths, batch_sizes, resets, seed, net, len(states), *states, *weights
            )
        )
        return results
    made: list[Tensor] = recurrent(
        x, states, weights, lengths, batch_sizes, resets, seed, *net
    )
    return made[:-1]
