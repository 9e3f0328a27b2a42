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
import torch.utils.dlpack
from torch import Tensor

from .. import _core
from .._cell_info import cell_info
from .._errors import ArgumentError


class PassOptions(NamedTuple):
    """The arguments of a forward pass that have no gradient."""

    cell: str
    layers: int
    bidirectional: bool
    batch_first: bool
    dropout: float
    keep: bool  # a tape, for a backward pass
    lengths: Tensor | None = None
    batch_sizes: Tensor | None = None
    resets: Tensor | None = None
    seed: Tensor | None = None


# Since PyTorch 2.10 the core reads tensors through functions in C; before, through capsules
_CAPSULES = torch.utils.dlpack.to_dlpack, torch._C._from_dlpack
_core.use_tensors(getattr(Tensor, "__dlpack_c_exchange_api__", None), *_CAPSULES)


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
    return spec, shapes, len(cell_info(cell)["states"])


def _weight_shapes(
    cell: str, inputs: int, hidden: int, layers: int, bidirectional: bool, bias: bool
) -> list[tuple[int, ...]]:
    rows = cell_info(cell)["gates"] * hidden
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


def hold_engine(module: torch.nn.Module, cell: str, weights: Sequence[Tensor]) -> None:
    """Keep the engine for a module as long as the module lives."""
    first, second = weights[:2]
    if first.dtype in _DTYPES:
        bidirectional = bool(module.bidirectional)
        spec = _structure(
            cell, first.shape[1], second.shape[1], module.num_layers, bidirectional, module.bias
        )[0]
        _held[module] = _engine(spec, first.dtype)


# ---------------------------------------------------------------- on the CPU


def _forward(
    x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...], call: PassOptions
) -> list[Tensor]:
    """Compute the output and the final states; with call.keep, the last tensor is the tape's."""
    if len(weights) < 2:
        raise RuntimeError(f"weights holds {len(weights)} tensors; expected two or four per layer")
    cell, layers, bidirectional, batch_first, dropout, keep, lengths, sizes, resets, seed = call
    shape, dtype = x.shape, x.dtype
    spec, shapes, count = _structure(
        cell, shape[-1], weights[1].shape[-1], layers, bidirectional,
        len(weights) == 4 * layers * (1 + bidirectional),
    )  # fmt: skip
    if dtype not in _DTYPES:
        raise RuntimeError(
            f"fastbptt.torch computes torch.float32 and torch.float64; the input is {dtype}: "
            "convert input and module, .to(torch.float32)"
        )
    steps = None
    if sizes is not None:
        steps = _lengths_of(sizes.numpy())
    elif lengths is not None:
        steps = np.ascontiguousarray(lengths.numpy(), np.int64)
    options = (
        steps,
        None if resets is None else np.ascontiguousarray(resets.numpy()),
        None if seed is None else int(seed),
        dropout,
        torch.get_num_threads(),
        sizes is not None,
        sizes is None and not batch_first,
        keep,
    )
    engine, made = _engine(spec, dtype), None
    if not any(map(_is_neg, (x, *states, *weights))):
        made = _core.torch_forward(engine, x, states, weights, *options)
    if made is None:
        batch = shape[0 if batch_first else 1]
        if sizes is not None and steps is not None:
            batch = len(steps)
        weights = _checked(x, states, weights, (layers * (1 + bidirectional), batch), shapes)
        if sizes is None and shape[1 if batch_first else 0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if batch == 0:
            return _empty(call, x, weights[1].shape[-1], count)
        states = tuple(map(Tensor.resolve_neg, states))
        made = _core.torch_forward(engine, x.resolve_neg(), states, weights, *options)
    if made is None:
        raise RuntimeError(
            "the memory of a tensor cannot be read: it may be left over from a transform of "
            "torch.func that has ended; pass tensors with memory of their own, such as t.clone()"
        )
    if keep:
        made[-1] = torch.from_numpy(made[-1])
    return made


_is_neg = Tensor.is_neg  # a view that negates when it is read: DLPack knows nothing of it


def _empty(call: PassOptions, x: Tensor, hidden: int, count: int) -> list[Tensor]:
    """Make the results of a batch of no sequences."""
    directions = 1 + call.bidirectional
    output = torch.empty((*x.shape[:-1], directions * hidden), dtype=x.dtype)
    finals = [output.new_empty(call.layers * directions, 0, hidden) for _ in range(count)]
    return [output, *finals, *([_no_tape()] if call.keep else [])]


def _no_tape() -> Tensor:
    return torch.zeros(1, dtype=torch.uint8)


def _checked(
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    rows_and_batch: tuple[int, int],
    shapes: list[tuple[int, ...]],
) -> tuple[Tensor, ...]:
    """Raise what torch.nn would for tensors that do not fit; make the weights contiguous."""
    for name, tensors in (("input", (x,)), ("parameter", weights), ("hidden", states)):
        for tensor in tensors:
            if tensor.dtype is not x.dtype:
                raise RuntimeError(
                    f"Input and {name} tensors are not the same dtype, found input tensor with "
                    f"{x.dtype} and {name} tensor with {tensor.dtype}"
                )
            if not tensor.is_cpu or tensor.layout is not torch.strided:
                raise RuntimeError(
                    f"the {name} tensor is on {tensor.device}, in layout {tensor.layout}; expected "
                    "a dense one on the CPU"
                )
    if [tensor.shape for tensor in weights] != shapes:
        given = [tuple(tensor.shape) for tensor in weights]
        raise RuntimeError(f"weights have shapes {given}; expected {shapes}")
    expected = (*rows_and_batch, weights[1].shape[-1])
    for state in states:
        if state.shape != expected:
            raise RuntimeError(f"Expected hidden size {expected}, got {state.shape}")
    return tuple(tensor.resolve_neg().contiguous() for tensor in weights)


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
    d_finals: tuple[Tensor | None, ...],
    tape: Tensor,
    need_x: bool,
    need_states: bool,
    time_first: bool,
) -> list[Tensor | None]:
    """Compute the gradients of x, of the states and of the weights; None where not needed."""
    if d_output is not None and d_output.is_neg():
        d_output = d_output.resolve_neg()
    for d in d_finals:
        if d is not None and d.is_neg():
            d_finals = tuple(None if d is None else d.resolve_neg() for d in d_finals)
    made = _core.torch_backward(
        tape.data_ptr(), d_output, d_finals, need_x, need_states, time_first
    )
    if made is None:
        raise RuntimeError(
            "the saved states of this pass are gone: they live in fastbptt's core, and the tensor "
            "that stands for them was copied (saved_tensors_hooks such as save_on_cpu do that), or "
            "the pass ran without gradients; call the module again with gradients"
        )
    return made


def _backward_of_none(
    call: PassOptions, of: Pass, count: int, dtype: torch.dtype
) -> list[Tensor | None]:
    """Compute what _backward does, for a batch of no sequences."""
    cell, layers, bidirectional = call[:3]
    final = (layers * (1 + bidirectional), 0, of.hidden)
    made: list[Tensor | None] = [torch.empty(of.x_shape, dtype=dtype) if of.need_x else None]
    made += [torch.empty(final, dtype=dtype) if of.need_states else None for _ in range(count)]
    shapes = _weight_shapes(cell, of.x_shape[-1], of.hidden, layers, bidirectional, of.bias)
    return made + [torch.zeros(shape, dtype=dtype) for shape in shapes]


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
    call = PassOptions(
        cell, layers, bidirectional, batch_first, dropout, keep, lengths, batch_sizes, resets, seed
    )  # fmt: skip
    results = _forward(x, tuple(states), tuple(weights), call)
    return results if keep else [*results, _no_tape()]


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
    finals = [x.new_empty(final) for _ in cell_info(cell)["states"]]
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
    d_finals = (d_h, d_c)[: len(cell_info(cell)["states"])]
    if batch == 0:
        call = PassOptions(cell, layers, bidirectional, batch_first, 0.0, True)
        of = Pass(x_shape, batch, hidden, bias, need_x, need_states)
        made = _backward_of_none(call, of, len(d_finals), source.dtype)
    else:
        time_first = len(x_shape) == 3 and not batch_first
        made = _backward(d_output, d_finals, tape, need_x, need_states, time_first)
    return [source.new_empty(0) if one is None else one for one in made]


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
    count = len(cell_info(cell)["states"])
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
    ctx.call = PassOptions(*inputs[-6:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[-1], _source(x, weights, states))
    bias = len(weights) == 4 * ctx.call.layers * (1 + ctx.call.bidirectional)
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
    dx, *made = _backward_of_operator(d_output, d_finals, tape, source, of, ctx.call)
    states, gradients = made[: len(d_finals)], made[len(d_finals) :]
    return dx, states[:count], gradients, *nothing


def _backward_of_operator(
    d_output: Tensor | None,
    d_finals: Sequence[Tensor | None],
    tape: Tensor,
    source: Tensor,
    of: Pass,
    call: PassOptions,
) -> list[Tensor | None]:
    """Compute as _backward does, by way of the operator."""
    d_h, d_c = (*d_finals, None)[:2]
    made: list[Tensor | None] = recurrent_backward(d_output, d_h, d_c, tape, source, *of, *call[:4])
    if not of.need_x:
        made[0] = None
    if not of.need_states:
        made[1 : 1 + len(d_finals)] = [None] * len(d_finals)
    return made


recurrent.register_autograd(_backward_operator, setup_context=_setup_operator)


# ---------------------------------------------------------------- where nothing traces


class _Function(torch.autograd.Function):
    """The operator without its dispatch; tensors: the states, then the weights."""

    @staticmethod
    def forward(ctx: Any, call: PassOptions, count: int, x: Tensor, *tensors: Tensor) -> Any:
        weights = tensors[count:]
        *results, tape = _forward(x, tensors[:count], weights, call)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(tape)
        source = weights[0] if weights[0].requires_grad else _source(x, weights, tensors)
        ctx.call = call, count, x.shape, results[1].shape, source
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_finals: Tensor | None) -> Any:
        needs = ctx.needs_input_grad
        if d_output is None and all(d is None for d in d_finals):
            return (None,) * len(needs)
        call, count, x_shape, (rows, batch, hidden), source = ctx.call
        (tape,) = ctx.saved_tensors
        need_x, need_states = needs[2], count > 0 and any(needs[3 : 3 + count])
        if batch and not torch.is_grad_enabled():
            time_first = call.batch_sizes is None and not call.batch_first
            made = _backward(d_output, d_finals, tape, need_x, need_states, time_first)
        else:
            bias = len(needs) - 3 - count == 4 * rows
            of = Pass(x_shape, batch, hidden, bias, need_x, need_states)
            if torch.is_grad_enabled():  # create_graph: the operator refuses a second derivative
                made = _backward_of_operator(d_output, d_finals, tape, source, of, call)
            else:
                made = _backward_of_none(call, of, len(d_finals), source.dtype)
        if not count:
            del made[1 : 1 + len(d_finals)]
        return None, None, *made


# Function.apply without what `apply` below has checked: that no transform of torch.func is active
_apply = super(torch.autograd.Function, _Function).apply


def is_traced() -> bool:
    """Whether torch.jit.trace looks on."""
    return torch._C._get_tracing_state() is not None


def _nothing_traces() -> bool:
    """Whether tensors are what they seem: no compiler, tracer or dispatch mode looks on."""
    return not (
        torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or is_traced()
    )


_PLAIN = {torch.Tensor, torch.nn.Parameter}


def apply(
    x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...], call: PassOptions
) -> Sequence[Tensor]:
    """Compute the output and the final states, with autograd if call.keep."""
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            "fastbptt.torch has no rule for torch.func's transforms (grad, vmap, jvp, ..); use "
            "torch.autograd, or torch.nn's module with the same state_dict"
        )
    if _nothing_traces() and x.is_cpu and {*map(type, (x, *states, *weights))} <= _PLAIN:
        if not call.keep:
            return _forward(x, states, weights, call)
        results: Sequence[Tensor] = _apply(call, len(states), x, *states, *weights)
        return results
    made: list[Tensor] = recurrent(x, [*states], [*weights], *call[6:], *call[:6])
    return made[:-1]
