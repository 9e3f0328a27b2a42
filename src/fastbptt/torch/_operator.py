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
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import _core
from .._errors import ArgumentError


class NetworkOptions(NamedTuple):
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
    shapes = _weight_shapes(cell, inputs, hidden, layers, bidirectional, bias)
    return spec, shapes, len(_core.cell_info(cell)["states"])


def _weight_shapes(
    cell: str, inputs: int, hidden: int, layers: int, bidirectional: bool, bias: bool
) -> list[tuple[int, ...]]:
    rows = _core.cell_info(cell)["gates"] * hidden
    shapes: list[tuple[int, ...]] = []
    for layer in range(layers):
        for _ in range(1 + bidirectional):
            columns = (1 + bidirectional) * hidden if layer else inputs
            shapes += [(rows, columns), (rows, hidden)]
            if bias:
                shapes += [(rows,), (rows,)]
    return shapes


_DTYPES: dict[Any, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}

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


class Arguments(NamedTuple):
    """The arguments of a pass that have no gradient."""

    net: NetworkOptions
    lengths: Tensor | None = None
    batch_sizes: Tensor | None = None
    resets: Tensor | None = None
    seed: Tensor | None = None


# ---------------------------------------------------------------- on the CPU


def _forward(
    x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], call: Arguments
) -> tuple[list[Tensor], Tensor | None]:
    """Compute the output and the final states, and what stands for the tape."""
    if len(weights) < 2:
        raise RuntimeError(f"weights holds {len(weights)} tensors; expected two or four per layer")
    cell, layers, bidirectional, batch_first, dropout, keep = call.net
    shape, hidden, dtype = x.shape, weights[1].shape[-1], x.dtype
    directions = 2 if bidirectional else 1
    rows = layers * directions
    spec, shapes, count = _structure(
        cell, shape[-1], hidden, layers, bidirectional, len(weights) == 4 * rows
    )
    weights = _checked(dtype, states, weights, shapes)
    array, sizes = _array(x), None
    if call.batch_sizes is not None:
        sizes = _lengths_of(call.batch_sizes.numpy())
        batch, straight = len(sizes), True
    else:
        batch, time = shape[:2] if batch_first else (shape[1], shape[0])
        straight = batch_first
        if time == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if call.lengths is not None:
            sizes = np.ascontiguousarray(call.lengths.numpy(), np.int64)
    for state in states:
        if state.shape != (rows, batch, hidden):
            raise RuntimeError(f"Expected hidden size {(rows, batch, hidden)}, got {state.shape}")
    if batch == 0:
        output = torch.empty((*shape[:-1], directions * hidden), dtype=dtype)
        return [output, *[output.new_empty(rows, 0, hidden) for _ in range(count)]], None
    arrays = _core.torch_forward(
        _engine(spec, dtype),
        _core.Batch(
            array if straight else array.swapaxes(0, 1),
            lengths=sizes,
            initial=tuple(map(_array, states)) if states else None,
            resets=None if call.resets is None else np.ascontiguousarray(call.resets.numpy()),
            dropout_seed=None if call.seed is None else int(call.seed),
            check_finite=False,
            weights=[w.data_ptr() for w in weights],
            dropout=dropout,
            threads=torch.get_num_threads(),
        ),
        not straight,
        keep,
    )
    results = [torch.from_numpy(array) for array in arrays]
    return results, results.pop() if keep else None


def _array(tensor: Tensor) -> Any:
    """Show a tensor's memory to the core; views that negate on the fly are copied."""
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return (tensor.resolve_neg() if tensor.is_neg() else tensor).numpy()


def _checked(
    dtype: torch.dtype,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    shapes: list[tuple[int, ...]],
) -> Sequence[Tensor]:
    """Check all but x, before their memory is read; make the weights contiguous."""
    if dtype not in _DTYPES:
        raise RuntimeError(
            f"fastbptt.torch computes torch.float32 and torch.float64; the input is {dtype}: "
            "convert input and module, .to(torch.float32)"
        )
    contiguous = True
    for tensor in weights:
        contiguous = contiguous and tensor.is_contiguous()
        if tensor.dtype is not dtype or not tensor.is_cpu or tensor.is_neg():
            raise _unlike(dtype, tensor, "parameter")
    for tensor in states:
        if tensor.dtype is not dtype or not tensor.is_cpu:
            raise _unlike(dtype, tensor, "hidden")
    if [tensor.shape for tensor in weights] != shapes:
        given = [tuple(tensor.shape) for tensor in weights]
        raise RuntimeError(f"weights have shapes {given}; expected {shapes}")
    return weights if contiguous else [tensor.contiguous() for tensor in weights]


def _unlike(dtype: torch.dtype, tensor: Tensor, name: str) -> RuntimeError:
    if tensor.dtype is not dtype:
        return RuntimeError(
            f"Input and {name} tensors are not the same dtype, found input tensor with {dtype} and "
            f"{name} tensor with {tensor.dtype}"
        )
    return RuntimeError(
        f"the {name} tensor is on {tensor.device}, or a view that negates: .clone()"
    )


def _lengths_of(batch_sizes: Any) -> Any:
    """How many steps each sequence has, from how many sequences reach each step."""
    falls = batch_sizes - np.append(batch_sizes[1:], 0)
    if batch_sizes.ndim != 1 or not len(batch_sizes) or (falls < 0).any():
        raise ArgumentError("batch_sizes", "increases or is empty", "sizes that never increase")
    return np.repeat(np.arange(1, len(batch_sizes) + 1), falls)[::-1].copy()


class Pass(NamedTuple):
    """The sizes of a forward pass, and which gradients its backward pass is to compute."""

    x_shape: Sequence[int]
    batch: int
    hidden: int
    bias: bool
    need_x: bool
    need_states: bool


def _backward(
    d_output: Tensor | None,
    d_finals: Sequence[Tensor | None],
    tape: Tensor | None,
    of: Pass,
    net: NetworkOptions,
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Compute the gradients of x, of the states and of the weights."""
    cell, layers, bidirectional, batch_first, *_ = net
    shape, batch, hidden, bias, need_x, need_states = of
    straight = batch_first or len(shape) == 2
    dtype = next(d.dtype for d in (d_output, *d_finals) if d is not None)
    count = len(d_finals)
    if batch == 0:
        shapes = _weight_shapes(cell, shape[-1], hidden, layers, bidirectional, bias)
        state = torch.empty((layers * (1 + bidirectional), 0, hidden), dtype=dtype)
        states = [state.clone() for _ in range(count)] if need_states else []
        dx = torch.empty(shape, dtype=dtype) if need_x else None
        return dx, states, [torch.zeros(size, dtype=dtype) for size in shapes]
    up = None
    if d_output is not None:
        up = _array(d_output)
        if not straight:
            up = up.swapaxes(0, 1)
    final = None
    if any(d is not None for d in d_finals):
        final = tuple([None if d is None else _array(d) for d in d_finals])
    made = (
        None
        if tape is None
        else _core.torch_backward(
            tape.data_ptr(),
            _core.OutputGradients(outputs=up, final_state=final, check_finite=False),
            need_x,
            need_states,
            not straight,
        )
    )
    if made is None:
        raise RuntimeError(
            "the saved states of this pass are gone: they live in fastbptt's core, and the tensor "
            "that stands for them was copied (saved_tensors_hooks such as save_on_cpu do that), or "
            "the pass ran without gradients; call the module again with gradients"
        )
    return (
        torch.from_numpy(made[0]) if need_x else None,
        [torch.from_numpy(array) for array in made[1 : 1 + count]] if need_states else [],
        [torch.from_numpy(array) for array in made[1 + count :]],
    )


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
    net = NetworkOptions(cell, layers, bidirectional, batch_first, dropout, keep)
    call = Arguments(net, lengths, batch_sizes, resets, seed)
    results, tape = _forward(x, states, weights, call)
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
    net = NetworkOptions(cell, layers, bidirectional, batch_first, 0.0, True)
    count = len(_core.cell_info(cell)["states"])
    of = Pass(x_shape, batch, hidden, bias, need_x, need_states)
    dx, states, gradients = _backward(d_output, (d_h, d_c)[:count], tape, of, net)
    nothing = [source.new_empty(0) for _ in range(count + 1)]
    return [
        nothing[0] if dx is None else dx, *(states if need_states else nothing[1:]), *gradients
    ]  # fmt: skip


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
    shapes = _weight_shapes(cell, x_shape[-1], hidden, layers, bidirectional, bias)
    count = len(_core.cell_info(cell)["states"])
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
    if weights[0].requires_grad:
        return weights[0]
    return next((t for t in (*weights, x, *states) if t.requires_grad), x)


def _setup_operator(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    x, states, weights, *_ = inputs
    ctx.net = NetworkOptions(*inputs[-6:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[-1], _source(x, weights, states))
    bias = len(weights) == 4 * ctx.net.layers * (1 + ctx.net.bidirectional)
    ctx.of = Pass(list(x.shape), output[1].shape[1], weights[1].shape[-1], bias, False, False)
    ctx.counts = len(states), len(weights)


def _backward_operator(ctx: Any, grads: list[Tensor | None]) -> Any:
    d_output, *d_finals, _ = grads
    count, weights = ctx.counts
    nothing = (None,) * 10
    if d_output is None and all(d is None for d in d_finals):
        return None, [None] * count, [None] * weights, *nothing
    need_x, need_states = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1])
    of = ctx.of._replace(need_x=need_x, need_states=need_states)
    tape, source = ctx.saved_tensors
    dx, states, gradients = _backward_of_operator(d_output, d_finals, tape, source, of, ctx.net)
    return dx, states or [None] * count, gradients, *nothing


def _backward_of_operator(
    d_output: Tensor | None,
    d_finals: Sequence[Tensor | None],
    tape: Tensor | None,
    source: Tensor,
    of: Pass,
    net: NetworkOptions,
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Compute as _backward does, by way of the operator."""
    if tape is None:
        tape = torch.zeros(1, dtype=torch.uint8)
    d_h, d_c = (*d_finals, None)[:2]
    all_of_them = recurrent_backward(d_output, d_h, d_c, tape, source, *of, *net[:4])
    end = 1 + len(d_finals)
    dx = all_of_them[0] if of.need_x else None
    return dx, list(all_of_them[1:end]) if of.need_states else [], list(all_of_them[end:])


recurrent.register_autograd(_backward_operator, setup_context=_setup_operator)


# ---------------------------------------------------------------- where nothing traces


class _Function(torch.autograd.Function):
    """The operator without its dispatch; tensors: the states, then the weights."""

    @staticmethod
    def forward(ctx: Any, call: Arguments, count: int, x: Tensor, *tensors: Tensor) -> Any:
        states, weights = tensors[:count], tensors[count:]
        results, tape = _forward(x, states, weights, call)
        ctx.set_materialize_grads(False)
        if tape is not None:
            ctx.save_for_backward(tape)
        needs, net = ctx.needs_input_grad, call.net
        bias = len(weights) == 4 * net.layers * (1 + net.bidirectional)
        need_states = count > 0 and any(needs[3 : 3 + count])
        sizes = x.shape, results[1].shape[1], weights[1].shape[-1]
        of = Pass(*sizes, bias, needs[2], need_states)
        ctx.call = of, net, _source(x, weights, states)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_finals: Tensor | None) -> Any:
        (of, net, source), needs = ctx.call, ctx.needs_input_grad
        if d_output is None and all(d is None for d in d_finals):
            return (None,) * len(needs)
        tape = ctx.saved_tensors[0] if of.batch else None
        if torch.is_grad_enabled():  # create_graph: the operator refuses a second derivative
            dx, states, gradients = _backward_of_operator(d_output, d_finals, tape, source, of, net)
        else:
            dx, states, gradients = _backward(d_output, d_finals, tape, of, net)
        count = len(needs) - 3 - len(gradients)
        return None, None, dx, *(states or [None] * count), *gradients


def _nothing_traces() -> bool:
    """Whether tensors are what they seem: no compiler, tracer or dispatch mode looks on."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    )


_PLAIN = {torch.Tensor, torch.nn.Parameter}


def apply(x: Tensor, states: list[Tensor], weights: list[Tensor], call: Arguments) -> list[Tensor]:
    """Compute the output and the final states, with autograd if call.net.keep."""
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            "fastbptt.torch has no rule for torch.func's transforms (grad, vmap, jvp, ..); use "
            "torch.autograd, or torch.nn's module with the same state_dict"
        )
    if (
        _nothing_traces()
        and x.is_cpu
        and {type(x), *map(type, states), *map(type, weights)} <= _PLAIN
    ):
        if not call.net.keep:
            return _forward(x, states, weights, call)[0]
        results: list[Tensor] = _Function.apply(call, len(states), x, *states, *weights)
        return results
    made: list[Tensor] = recurrent(x, states, weights, *call[1:], *call.net)
    return made[:-1]
