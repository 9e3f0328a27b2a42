"""Weights from and to modules of PyTorch, or their state_dict."""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from ..models import Recurrent
from .layouts import LAYOUTS, CellLayout, LayerWeights, from_library, layout, to_library
from .parts import (
    Parts,
    assemble,
    ending,
    listed,
    numbers,
    parts_of,
    refuse_constraints,
    refuse_states,
    warn_of_training,
)

if TYPE_CHECKING:
    import torch

__all__ = ["from_torch", "to_torch"]

Array = NDArray[Any]

_NONLINEARITIES: Final = {"tanh": "rnn", "relu": "relu"}
_RECURRENT: Final = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d+)(_reverse)?")
_MOST_LAYERS: Final = 10_000


@dataclass
class _Names:
    """Where the parts of a network are: names of modules, "" for the module itself."""

    recurrent: str | None = None
    readout: str | None = None
    embedding: str | None = None


@dataclass
class _Found:
    """The facts that a module tells beside its weights."""

    names: _Names
    nonlinearity: str | None = None
    dropout: float = 0.0
    padding_index: int | None = None
    activation: str | None = None


def from_torch(
    source: torch.nn.Module | Mapping[str, Any],
    *,
    nonlinearity: str | None = None,
    logits: bool = False,
    recurrent: str | None = None,
    readout: str | None = None,
    embedding: str | None = None,
) -> Recurrent:
    """Make a model of a PyTorch network: ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM`` and what is around.

    Parameters
    ----------
    source : torch.nn.Module, or mapping of str to tensor or array
        A recurrent module alone, or a module of your own that holds one, and at most one
        ``nn.Embedding`` before it and one ``nn.Linear`` on its states. What its ``forward`` does
        between these cannot be seen. Or a ``state_dict``, for which PyTorch is not needed:
        arrays read by ``safetensors.numpy`` will do.
    nonlinearity : {"tanh", "relu"}, optional
        Of an RNN in a ``state_dict``, which does not tell.
    logits : bool, default False
        Take a network that ends in ``nn.Sigmoid`` or ``nn.Softmax`` without it; refused otherwise.
    recurrent, readout, embedding : str, optional
        Names of these modules, such as ``"fc"``, where there are several or the shapes do not
        tell a readout without bias from an embedding.

    Returns
    -------
    Recurrent
        In float64 if a weight is; the numbers of float16 and bfloat16 are exact in float32.

    Raises
    ------
    ValueError, TypeError
        Names keys that are missing or unknown, modules that have no counterpart, or shapes that do
        not fit.

    Notes
    -----
    PyTorch adds two biases where we have one. The model has their sum, rounded once, so that
    outputs agree to rounding; where one is zero, as `to_torch` writes it, the sum is exact.
    A GRU's bias ``bias_hh`` of n stands within the product with r, and is our ``b_hn``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.interchange import from_torch
    >>> rng = np.random.default_rng(0)
    >>> shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,),
    ...           "bias_hh_l0": (12,)}
    >>> from_torch({name: rng.normal(size=shape) for name, shape in shapes.items()})
    GRU(3, 4, None, dtype="float64")  # 100 parameters, 800 bytes
    """
    _check.flag("logits", logits)
    names = _names(recurrent, readout, embedding)
    found = _Found(names)
    state: Mapping[str, Any]
    if isinstance(source, Mapping):
        state = source
        if nonlinearity is not None:
            found.nonlinearity = _check.option("nonlinearity", nonlinearity, _NONLINEARITIES)
    elif callable(getattr(source, "state_dict", None)) and hasattr(source, "named_modules"):
        if nonlinearity is not None:
            came = f"is {_check.shown(nonlinearity)}, but source is a module, which has its own"
            raise ArgumentError("nonlinearity", came, "None")
        found = _inspect(source, names)
        state = source.state_dict()
    else:
        came, loaded = f"is of type {type(source).__name__}", ""
        if isinstance(source, (str, os.PathLike)):
            loaded = ", such as torch.load(source) of a file that holds one"
        raise ArgumentTypeError("source", came, f"a torch.nn.Module or a state_dict{loaded}")
    if found.activation is not None and not logits:
        raise ArgumentError(
            "logits",
            f"is False, but the network has {found.activation}",
            "True for a model whose outputs are those before it: fastbptt.probabilities makes "
            "probabilities of them",
        )
    if logits and found.activation is None:
        came = "is True, but source has no Sigmoid or Softmax"
        raise ArgumentError("logits", came, "False")
    return assemble(_parts(state, found))


def to_torch(
    model: Recurrent,
    into: torch.nn.Module | None = None,
    *,
    recurrent: str | None = None,
    readout: str | None = None,
    embedding: str | None = None,
) -> Any:
    """Return a model's weights as a ``state_dict`` of PyTorch, or load them into a module.

    Parameters
    ----------
    model : Recurrent
        Of a cell that PyTorch has (``"rnn"``, ``"relu"``, ``"gru"``, ``"lstm"``), without learned
        initial state or static inputs.
    into : torch.nn.Module, optional
        A network of the same structure: a recurrent module, or a module of your own that holds
        one. Its weights are set, strictly: a module without counterpart is an error.
    recurrent, readout, embedding : str, optional
        Names of the modules in the keys. None: those of `into`; without `into`, ``"rnn"``,
        ``"readout"`` and ``"embedding"``, or no name if the network is a recurrent module alone.

    Returns
    -------
    dict of str to torch.Tensor, or torch.nn.Module
        New tensors of the model's dtype; or `into`.

    Raises
    ------
    ValueError, TypeError
        If PyTorch has no such network, or `into` is another one.
    RuntimeError
        PyTorch's own, with the keys that are missing or unknown, or the shapes.

    Notes
    -----
    Our one bias is ``bias_ih``; ``bias_hh`` is zero, but for a GRU's ``b_hn``. Readout units that
    are not read (`readout_units`) become columns of zeros of the readout's weight.

    Examples
    --------
    >>> import torch, fastbptt
    >>> from fastbptt.interchange import to_torch
    >>> model = fastbptt.LSTM(3, 8, seed=0)
    >>> lstm = torch.nn.LSTM(3, 8, batch_first=True)
    >>> lstm.load_state_dict(to_torch(model))
    <All keys matched successfully>
    >>> with_readout = fastbptt.LSTM(3, 8, 1, seed=0)
    >>> list(to_torch(with_readout, recurrent="lstm", readout="fc"))[-2:]
    ['fc.weight', 'fc.bias']
    """
    parts = parts_of(model)
    how = layout("torch", parts.cell)
    refuse_states(parts, "PyTorch", "a model without")
    refuse_constraints(model, "PyTorch")
    warn_of_training(parts, "PyTorch", 2)
    given = _names(recurrent, readout, embedding)
    torch = _torch()
    if into is None:
        alone = parts.W_hy is None and parts.E is None
        names = _Names(
            ("" if alone else "rnn") if recurrent is None else given.recurrent,
            given.readout if readout is not None else "readout",
            given.embedding if embedding is not None else "embedding",
        )
        return {
            key: torch.from_numpy(array) for key, array in _state(parts, how, names, set()).items()
        }
    if not isinstance(into, torch.nn.Module):
        came = f"is of type {type(into).__name__}"
        raise ArgumentTypeError("into", came, "a torch.nn.Module, or None")
    found = _inspect(into, given)
    own = _NONLINEARITIES.get(found.nonlinearity or "", parts.cell)
    if own != parts.cell:
        came = f'is an RNN of nonlinearity "{found.nonlinearity}"'
        raise ArgumentError("into", came, f'that of the model, "{parts.cell}"')
    present = into.state_dict()
    for key, tensor in present.items():
        if tensor.is_meta:
            came = f"has {key} on the meta device, where there are no numbers"
            raise ArgumentError("into", came, 'memory, by into.to_empty(device="cpu")')
        if not np.can_cast(parts.dtype, str(tensor.dtype).removeprefix("torch.")):
            raise ArgumentError(
                "into", f"has {tensor.dtype} in {key}, which cannot hold {parts.dtype} exactly",
                f"{parts.dtype}, by into.to(torch.{parts.dtype})",
            )  # fmt: skip
    arrays = _state(parts, how, found.names, set(present))
    state = {key: torch.from_numpy(array) for key, array in arrays.items()}
    shapes = [{key: tuple(one.shape) for key, one in some.items()} for some in (present, state)]
    whole = into if shapes[0] == shapes[1] else copy.deepcopy(into)  # PyTorch sets what fits, then
    whole.load_state_dict(state)  # raises
    return whole


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError(
            "tensors need PyTorch: pip install 'fastbptt[torch]', or pip install torch"
        ) from None
    return torch


def _names(recurrent: Any, readout: Any, embedding: Any) -> _Names:
    given = {"recurrent": recurrent, "readout": readout, "embedding": embedding}
    for argument, value in given.items():
        if value is not None and not isinstance(value, str):
            came = f"is {_check.shown(value)}"
            raise ArgumentTypeError(argument, came, 'the name of a module, such as "fc", or None')
    return _Names(**given)


# ---------------------------------------------------------------- modules


def _inspect(module: Any, given: _Names) -> _Found:
    """Find the parts of a network in a module; refuse modules without counterpart."""
    torch = _torch()
    modules: dict[str, dict[str, Any]] = {"recurrent": {}, "readout": {}, "embedding": {}}
    found, others = _Found(given), {}
    for name, one in module.named_modules():
        if "weight_ih_l0" in getattr(one, "_parameters", {}):
            modules["recurrent"][name] = one
        elif isinstance(one, torch.nn.Linear):
            modules["readout"][name] = one
        elif isinstance(one, torch.nn.Embedding):
            modules["embedding"][name] = one
        elif isinstance(one, torch.nn.Sigmoid | torch.nn.Softmax):
            found.activation = f"{name} ({type(one).__name__})"
        elif isinstance(one, torch.nn.Dropout):
            if one.p:
                warnings.warn(
                    f"{name} (Dropout) is left out: fastbptt drops values between recurrent "
                    "layers only; outputs are the same",
                    stacklevel=3,
                )
        elif type(one).__module__.startswith("torch.nn.modules") and not isinstance(
            one, torch.nn.Identity | torch.nn.Flatten | torch.nn.Sequential
            | torch.nn.ModuleList | torch.nn.ModuleDict
        ):  # fmt: skip
            others[name] = type(one).__name__
    if others:
        shown = listed([f"{name} ({kind})" for name, kind in others.items()])
        raise ArgumentError(
            "source", f"has {shown}", "RNN, GRU or LSTM, with at most an Embedding and a Linear"
        )
    for part, candidates in modules.items():
        wanted = getattr(given, part)
        if wanted is None and len(candidates) == 1:
            setattr(found.names, part, next(iter(candidates)))
        elif wanted is None and candidates:
            came = f"is None, but there are several: {listed(list(candidates))}"
            raise ArgumentError(part, came, "the name of one of them")
        elif wanted is not None and wanted not in candidates:
            came = f"is {_check.shown(wanted)}"
            raise ArgumentError(part, came, listed(list(candidates)) or "None: there is none")
    if found.names.recurrent is None:
        raise ArgumentError("source", "has no recurrent module", "nn.RNN, nn.GRU or nn.LSTM")
    own = modules["recurrent"][found.names.recurrent]
    if getattr(own, "proj_size", 0):
        came = f"has proj_size={own.proj_size} in {found.names.recurrent or 'it'}"
        raise ArgumentError("source", came, "an LSTM without projection")
    found.nonlinearity = getattr(own, "nonlinearity", None)
    found.dropout = float(getattr(own, "dropout", 0.0))
    if found.names.embedding is not None:
        table = modules["embedding"][found.names.embedding]
        if table.max_norm is not None:
            came = f"has max_norm={table.max_norm} in {found.names.embedding or 'it'}"
            raise ArgumentError("source", came, "an Embedding without a maximum norm")
        found.padding_index = table.padding_idx
    return found


# ---------------------------------------------------------------- state_dict


def _key(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _state(parts: Parts, how: CellLayout, names: _Names, present: set[str]) -> dict[str, Array]:
    """Return a state_dict of arrays; with biases of zero where only `present` has them."""
    assert names.recurrent is not None
    state: dict[str, Array] = {}
    with_bias = parts.bias or _key(names.recurrent, "bias_ih_l0") in present
    for number, layer in enumerate(parts.layers):
        for direction, own in enumerate(layer):
            whole = own.with_bias(parts.cell) if with_bias else own
            suffix = ending(number, direction) if number else f"_l0{ending(0, direction)}"
            for name, array in zip(how.arrays, to_library(how, whole), strict=False):
                state[_key(names.recurrent, name + suffix)] = array
    if parts.W_hy is not None:
        state[_key(names.readout or "", "weight")] = np.ascontiguousarray(parts.W_hy.T)
        bias = parts.b_y
        if bias is None and _key(names.readout or "", "bias") in present:
            bias = np.zeros(parts.W_hy.shape[1], parts.dtype)
        if bias is not None:
            state[_key(names.readout or "", "bias")] = bias
    if parts.E is not None:
        state[_key(names.embedding or "", "weight")] = parts.E
    return state


def _array(key: str, value: Any) -> Array:
    """Read a tensor as an array; numbers of 16 bits are exact in float32."""
    if hasattr(value, "detach"):
        value = value.detach()
        if str(value.dtype) in ("torch.float16", "torch.bfloat16"):
            value = value.float()
        if str(value.device) == "meta":
            raise ArgumentError(key, "is on the device meta, without numbers", "a loaded module")
        value = value.cpu()
    return numbers(key, value)


def _parts(state: Mapping[str, Any], found: _Found) -> Parts:
    """Take a state_dict apart; every key must be known."""
    for key in state:
        if not isinstance(key, str):
            raise ArgumentTypeError("source", f"has the key {_check.shown(key)}", "text")
    prefix = _recurrent_prefix(state, found.names.recurrent)
    own = {key.removeprefix(prefix): key for key in state if key.startswith(prefix)}
    own = {name: key for name, key in own.items() if _RECURRENT.fullmatch(name)}
    cell, layers = _recurrent(state, own, prefix, found.nonlinearity)
    rest = [key for key in state if key not in own.values()]
    inputs, columns = len(layers[0][0].W_xh), len(layers[0]) * len(layers[0][0].W_hh)
    readout, embedding = _around(state, rest, found.names, inputs, columns)
    weight = None if readout is None else _matrix(state, _key(readout, "weight"))
    bias = None if readout is None else state.get(_key(readout, "bias"))
    if weight is not None and bias is not None:
        bias = _array(_key(readout or "", "bias"), bias)
        if bias.shape != weight.shape[:1]:
            came = f"has shape {bias.shape}"
            raise ArgumentError(_key(readout or "", "bias"), came, str(weight.shape[:1]))
    return Parts(
        cell,
        layers,
        None if weight is None else np.ascontiguousarray(weight.T),
        bias,
        None if embedding is None else _matrix(state, _key(embedding, "weight")),
        found.padding_index,
        dropout=found.dropout,
    )


def _matrix(state: Mapping[str, Any], key: str) -> Array:
    array = _array(key, state[key])
    if array.ndim != 2 or not array.size:
        raise ArgumentError(key, f"has shape {array.shape}", "a matrix")
    return array


def _recurrent_prefix(state: Mapping[str, Any], given: str | None) -> str:
    """Return what the keys of the recurrent module begin with."""
    first = "weight_ih_l0"
    prefixes = [key[: -len(first)] for key in state if key == first or key.endswith(f".{first}")]
    if given is not None:
        wanted = f"{given}." if given else ""
        if wanted not in prefixes:
            came = f"is {_check.shown(given)}"
            known = listed([one.removesuffix(".") or "''" for one in prefixes])
            raise ArgumentError("recurrent", came, known or f"keys that end in {first}")
        return wanted
    if len(prefixes) > 1:
        names = listed([one.removesuffix(".") for one in prefixes])
        raise ArgumentError("recurrent", f"is None, but there are several: {names}", "one of them")
    if not prefixes:
        came = f"has no key that ends in {first}, among {listed(list(state)) or 'none'}"
        expected = "the weights of an nn.RNN, nn.GRU or nn.LSTM"
        for key, one in state.items():
            if isinstance(one, Mapping) and any(str(name).endswith(first) for name in one):
                expected += f": source[{_check.shown(key)}] has them"
                break
        raise ArgumentError("source", came, expected)
    return prefixes[0]


def _recurrent(
    state: Mapping[str, Any], own: dict[str, str], prefix: str, nonlinearity: str | None
) -> tuple[str, list[list[LayerWeights]]]:
    """Read the recurrent module: its cell, and the weights of each layer."""
    count = 1
    while f"weight_ih_l{count}" in own and count < _MOST_LAYERS:
        count += 1
    both = ["", "_reverse"][: 1 + ("weight_ih_l0_reverse" in own)]
    bias = "bias_ih_l0" in own
    names = LAYOUTS["torch", "lstm"].arrays[: 4 if bias else 2]
    wanted = [
        [[f"{name}_l{number}{direction}" for name in names] for direction in both]
        for number in range(count)
    ]
    flat = [name for layer in wanted for one in layer for name in one]
    projected = [key for name, key in own.items() if name.startswith("weight_hr")]
    if projected:
        raise ArgumentError("source", f"has {listed(projected)}", "an LSTM without proj_size")
    missing = [prefix + name for name in flat if name not in own]
    unknown = [key for name, key in own.items() if name not in flat]
    if missing or unknown:
        faults = [f"lacks {listed(missing)}"] if missing else []
        faults += [f"has unknown {listed(unknown)}"] if unknown else []
        raise ArgumentError("source", " and ".join(faults), f"the keys of {count} layers")
    first = [_array(own[name], state[own[name]]) for name in flat[:2]]
    cell = _cell(first, [own[name] for name in flat[:2]], nonlinearity)
    how = layout("torch", cell)
    return cell, [
        [
            from_library(
                how,
                [_array(own[name], state[own[name]]) for name in one],
                [own[name] for name in one],
            )
            for one in layer
        ]
        for layer in wanted
    ]


def _cell(matrices: list[Array], keys: list[str], nonlinearity: str | None) -> str:
    """Tell the cell by the number of its gates."""
    recurrent = matrices[1]
    gates = len(recurrent) / recurrent.shape[1] if recurrent.ndim == 2 and recurrent.size else 0
    cells = {len(one.gates): cell for (library, cell), one in LAYOUTS.items() if library == "torch"}
    if gates not in cells:
        came = f"has shape {recurrent.shape}"
        raise ArgumentError(keys[1], came, "(gates * units, units) with 1, 3 or 4 gates")
    if gates != 1:
        if nonlinearity is not None:
            came = f'is "{nonlinearity}", but the weights are of {int(gates)} gates'
            raise ArgumentError("nonlinearity", came, "None")
        return cells[int(gates)]
    if nonlinearity is None:
        came = "is None, but the weights are an RNN's, of either kind"
        raise ArgumentError("nonlinearity", came, '"tanh" or "relu"')
    return _NONLINEARITIES[nonlinearity]


def _around(
    state: Mapping[str, Any], rest: list[str], names: _Names, inputs: int, columns: int
) -> tuple[str | None, str | None]:
    """Tell which of the other modules is the readout, and which the embedding."""
    kinds = {"weight", "bias"}
    modules: dict[str, set[str]] = {}
    for key in rest:
        module, _, kind = key.rpartition(".")
        modules.setdefault(module, set()).add(kind)
    chosen = {part: getattr(names, part) for part in ("readout", "embedding")}
    for part, name in chosen.items():
        if name is not None and "weight" not in modules.get(name, ()):
            raise ArgumentError(part, f"is {_check.shown(name)}", f"keys {_key(name, 'weight')}")
    unknown = [
        key
        for key in rest
        if not (modules[key.rpartition(".")[0]] <= kinds and np.ndim(state[key]) <= 2)
        or (key.endswith("weight") and np.ndim(state[key]) != 2)
        or "weight" not in modules[key.rpartition(".")[0]]
    ]
    if unknown:
        came = f"has unknown {listed(unknown)}"
        raise ArgumentError("source", came, "at most a readout and an embedding beside the network")
    for module, own in modules.items():
        if module in chosen.values():
            continue
        width = state[_key(module, "weight")].shape[1]
        if "bias" in own or (width == columns and width != inputs):
            part = "readout"
        elif width == inputs and width != columns:
            part = "embedding"
        else:
            raise ArgumentError(
                "readout",
                f"is None, and {_key(module, 'weight')} may be a readout or an embedding",
                f'readout="{module}" or embedding="{module}"',
            )
        if chosen[part] is not None:
            came = f"is {_check.shown(chosen[part])}, but {module} may be it, too"
            raise ArgumentError(part, came, "one of them")
        chosen[part] = module
    return chosen["readout"], chosen["embedding"]
