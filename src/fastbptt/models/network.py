"""What a model is: its options, its parameters in one flat buffer, copies and files."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check, _core
from .._check import Floats
from .._views import Layout, NamedViews, Parameters
from . import _arguments, _options, initializers
from ._dropout import Keys
from .results import GradientRecord, Recording, StepReport, pass_names

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..optim.optimizers import Optimizer

    Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence | np.random.Generator | None


class Network:
    """The part of `fastbptt.Recurrent` that does not compute."""

    #: Cells whose networks are of this class; a class names its own.
    _cells: ClassVar[tuple[str, ...]] = ()

    # attributes that __getstate__ replaces by config and values
    _INTERNAL: ClassVar[frozenset[str]] = frozenset(
        {
            "_spec",
            "_dtype",
            "_form",
            "_frozen",
            "_layout",
            "_flat",
            "_engine",
            "_token",
            "_keys",
            "_drops",
            "_report",
            "_metadata",
            "_recording",
            "_pass_names",
        }
    )

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        setting: float | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        learn_initial_state: bool = False,
        embedding: int | ArrayLike | None = None,
        padding_index: int | None = None,
        freeze_embedding: bool = False,
        init: initializers.Init = "torch",
        dtype: DTypeLike = "float32",
        precision: str = "float32",
        seed: Seed = None,
    ) -> None:
        recipe = initializers.resolve(init)
        rng = initializers.generator(seed)
        vocabulary, matrix = _embedding(embedding, input_size)
        spec = _options.check(
            cell,
            input_size,
            hidden_size,
            output_size,
            setting,
            num_layers,
            bidirectional,
            bias,
            dropout,
            learn_initial_state,
            vocabulary,
            padding_index,
            freeze_embedding,
            precision,
        )
        _options.can_run(spec)
        if spec.dropout > 0.0 and spec.num_layers == 1:
            warnings.warn(
                f"dropout={spec.dropout} has no effect with num_layers=1: it lies between layers",
                stacklevel=3 if self._cells else 2,
            )
        self._build(spec, _check.float_dtype(dtype))
        for name, values in initializers.draw(spec, self._layout, recipe, rng):
            start, stop, _ = self._layout[name]
            self._flat[start:stop] = values.ravel()
        if matrix is not None:
            start, stop, _ = self._layout["E"]
            self._flat[start:stop] = _check.fitted("embedding", matrix, self._dtype).ravel()
        self._keys = Keys(int(rng.integers(1 << 64, dtype=np.uint64)))

    def _build(self, spec: _core.Spec, dtype: np.dtype[Any]) -> None:
        """Lay out zero parameters; make the engine."""
        if spec.bfloat16 and dtype != np.float32:
            raise ValueError(f'precision is "bfloat16"; expected "float32" because dtype={dtype}')
        self._spec = spec
        self._dtype = dtype
        self._layout: Layout = _options.layout(spec, dtype)
        states = tuple(_core.cell_info(spec.cell)["states"])
        self._form = _arguments.Form(spec, states, dtype, _core.memory_limit())
        count = max(stop for _, stop, _ in self._layout.values())
        self._flat = _check.aligned_empty(count, dtype)
        self._flat[:] = 0.0
        self._engine = _core.Engine(spec, self._flat)
        self._token = object()  # who this model is, for optimisers and results
        self._drops = spec.dropout > 0.0 and spec.num_layers > 1
        self._keys = Keys(0)
        self._frozen: frozenset[str] = frozenset()
        self._report: StepReport | None = None
        self._pass_names = pass_names(spec.num_layers, spec.bidirectional)
        self._metadata: dict[str, Any] = {}
        self._recording: Recording | None = None

    @classmethod
    def _from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a model with zero weights from what `_config` returned."""
        _check.same_names(
            "config", config, ("cell", "arguments", "dtype", "dropout_keys", "frozen")
        )
        model = cls.__new__(cls)
        spec = _options.from_arguments(config["cell"], config["arguments"])
        model._build(spec, _check.float_dtype(config["dtype"]))
        model._keys = Keys(*config["dropout_keys"])
        model._set_frozen(frozenset(config["frozen"]))
        return model

    def _config(self) -> dict[str, Any]:
        """Return all that the model is besides its weights, as plain values fit for JSON."""
        return {
            "cell": self._spec.cell,
            "arguments": _options.arguments(self._spec),
            "dtype": self._dtype.name,
            "dropout_keys": list(self._keys.state),
            "frozen": [name for name in self._layout if name in self._frozen],
        }

    def _get_flat(self) -> Floats:
        """Copy all parameters, between updates."""
        return self._engine.get_params()

    def _set_flat(self, values: NDArray[Any]) -> None:
        """Set all parameters between updates."""
        self._engine.set_params(np.ascontiguousarray(values, self._dtype))

    # ------------------------------------------------------------ what it is

    @property
    def cell(self) -> str:
        """The cell's name in the core's registry."""
        return self._spec.cell

    @property
    def input_size(self) -> int:
        """Features per time step; with an embedding those of its rows."""
        return self._spec.input_size

    @property
    def hidden_size(self) -> int:
        """Hidden units of each layer and direction."""
        return self._spec.hidden_size

    @property
    def output_size(self) -> int | None:
        """Outputs of the readout, or None without one."""
        return self._spec.output_size or None

    @property
    def num_layers(self) -> int:
        """Layers on top of each other."""
        return self._spec.num_layers

    @property
    def bidirectional(self) -> bool:
        """Whether each layer also reads its input from the end."""
        return self._spec.bidirectional

    @property
    def bias(self) -> bool:
        """Whether there are biases."""
        return self._spec.bias

    @property
    def dropout(self) -> float:
        """Share of the values between layers that a training pass drops."""
        return self._spec.dropout

    @property
    def learn_initial_state(self) -> bool:
        """Whether the initial state is a parameter."""
        return self._spec.learn_state

    @property
    def vocabulary_size(self) -> int | None:
        """Rows of the embedding, or None without one."""
        return self._spec.vocabulary or None

    @property
    def padding_index(self) -> int | None:
        """The token whose row of the embedding is not learned, or None."""
        return None if self._spec.padding_index < 0 else self._spec.padding_index

    @property
    def freeze_embedding(self) -> bool:
        """Whether the embedding stays as it is."""
        return self._spec.freeze_embedding

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: of parameters, gradients, outputs and arithmetic."""
        return self._dtype

    @property
    def precision(self) -> str:
        """float32 or bfloat16: of what the layers' products multiply; with float64 the former."""
        return "bfloat16" if self._spec.bfloat16 else "float32"

    @property
    def last_report(self) -> StepReport | None:
        """What the last call with a `memory_budget` took; None before any."""
        return self._report

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes that travel with the model: copied, pickled and saved with it; empty at first.

        Text by name, with values that JSON can hold. `fastbptt train` notes here what data the
        model is for.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 2, seed=0)
        >>> model.metadata["classes"] = ["no", "yes"]
        >>> model.copy().metadata
        {'classes': ['no', 'yes']}
        """
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, Any]) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(f"metadata is of type {type(value).__name__}; expected a mapping")
        self._metadata = dict(value)

    @property
    def last_gradients(self) -> GradientRecord | None:
        """Norms of the last call with ``record="gradients"``; None before any."""
        return None if self._recording is None else self._recording.done()

    @property
    def parameters(self) -> Parameters:
        """The weights: mapping name -> writable view of one flat buffer, itself `.flat`.

        With I inputs, H hidden units, O outputs, G gates, L layers and D directions, in this
        order: for each layer and direction ``W_xh`` (I, G H), ``W_hh`` (H, G H), ``b_h`` (G H,),
        of a GRU also ``b_hn`` (H,); above the first layer, where I is D H, names end in ``_l1``,
        ``_l2``, ...; after that those of the reverse direction end in ``_reverse``. Then ``h0``
        (L D, H), of an LSTM also ``c0``, if the initial state is learned; ``W_hy`` (D H, O) and
        ``b_y`` (O,) of the readout; ``E`` (vocabulary, I), the embedding. Gates lie side by
        side: r, z, n in a GRU; i, f, g, o in an LSTM.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> {name: array.shape for name, array in model.parameters.items()}
        {'W_xh': (3, 4), 'W_hh': (4, 4), 'b_h': (4,), 'W_hy': (4, 1), 'b_y': (1,)}
        >>> model.parameters["b_h"][...] = 0.0
        >>> list(fastbptt.GRU(3, 4, num_layers=2, bias=False, seed=0).parameters)
        ['W_xh', 'W_hh', 'W_xh_l1', 'W_hh_l1']
        """
        return Parameters(self._flat, self._layout)

    @property
    def num_parameters(self) -> int:
        """How many numbers the parameters are."""
        return self._flat.size

    # ------------------------------------------------------------ what is learned

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parameters that training leaves as they are."""
        embedding = {"E"} if self._spec.freeze_embedding else set()
        return tuple(name for name in self._layout if name in self._frozen | embedding)

    def freeze(self, *names: str) -> None:
        """Leave parameters as they are in training, whatever the optimiser.

        They are not updated and do not decay; their gradients, which `loss_and_grad` still gives,
        count neither in the global norm nor in the check for NaN. The choice goes with copies,
        pickles and files. The row of an embedding's `padding_index` always stays as it is.

        Moments of a frozen parameter stay as they are, too. Adam's bias correction counts all
        steps: after a long time frozen from the start, a new optimiser makes smaller first steps.

        Parameters
        ----------
        *names : str
            Of `parameters`; at least one.

        Raises
        ------
        ValueError, TypeError
            If a name is no parameter's. Nothing has changed then.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> model.freeze("W_xh", "b_h")
        >>> before = model.state_dict()
        >>> loss = model.train_step(np.ones((2, 5, 3)), [0, 1], fastbptt.SGD())
        >>> [name for name, array in model.parameters.items() if (array != before[name]).any()]
        ['W_hh', 'W_hy', 'b_y']
        >>> model.unfreeze("b_h")
        >>> model.frozen
        ('W_xh',)
        """
        if not names:
            raise TypeError("freeze() without names; expected at least one of " + self._names())
        self._set_frozen(self._frozen | self._known(names))

    def unfreeze(self, *names: str) -> None:
        """Let training change parameters again.

        Parameters
        ----------
        *names : str
            Of `parameters`; none for all. An embedding frozen by `freeze_embedding` stays so.

        Raises
        ------
        ValueError, TypeError
            If a name is no parameter's, or that of such an embedding. Nothing has changed then.
        """
        chosen = self._known(names) if names else self._frozen
        if "E" in chosen and self._spec.freeze_embedding:
            raise ValueError("E cannot be unfrozen: the model has freeze_embedding=True")
        self._set_frozen(self._frozen - chosen)

    def _known(self, names: tuple[str, ...]) -> frozenset[str]:
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"a name is of type {type(name).__name__}; expected str")
            if name not in self._layout:
                raise ValueError(f'"{name}" is not a parameter; expected {self._names()}')
        return frozenset(names)

    def _names(self) -> str:
        return ", ".join(self._layout)

    def _set_frozen(self, names: frozenset[str]) -> None:
        self._engine.freeze(sorted(names))
        self._frozen = names

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._given()})  "
            f"# {self.num_parameters} parameters, {_check.bytes_text(self._flat.nbytes)}"
        )

    def _given(self) -> str:
        """The constructor's arguments: sizes, and options that are not what they are by default."""
        given = _options.arguments(self._spec)
        sizes = [str(given.pop(name)) for name in ("input_size", "hidden_size", "output_size")]
        options = self._own_options(given.pop("setting"))
        for name, default in _options.DEFAULTS.items():
            if given[name] != default:
                options[name] = given[name]
        named = [f"{name}={_check.quoted(value)}" for name, value in options.items()]
        cell = [] if self._cells else [f'"{self.cell}"']
        return ", ".join([*cell, *sizes, *named, f'dtype="{self._dtype.name}"'])

    def _own_options(self, setting: float | None) -> dict[str, Any]:
        """Arguments that only this class has, as far as they are worth showing."""
        return {} if setting is None else {"setting": setting}

    # ------------------------------------------------------------ keeping

    def state_dict(self) -> dict[str, Floats]:
        """Copy all parameters by name, at one moment between updates.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> before = model.state_dict()
        >>> model.parameters["W_xh"][...] = 0.0
        >>> model.load_state_dict(before)
        """
        views = NamedViews(self._get_flat(), self._layout)
        return {name: view.copy() for name, view in views.items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters, or none.

        Parameters
        ----------
        state : mapping of name -> array
            Exactly the names and shapes of `parameters`; any real dtype.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown, a shape differs, or values do not fit into the
            model's dtype. Nothing has changed then.
        """
        _check.same_names("state", state, tuple(self._layout))
        flat = _check.aligned_empty(self._flat.size, self._dtype)
        for name, (start, stop, shape) in self._layout.items():
            label = f"state[{name!r}]"
            values = _check.exact(label, state[name], shape, f"the shape of {name}", self._dtype)
            flat[start:stop] = _check.fitted(label, values, self._dtype).ravel()
        self._set_flat(flat)

    def copy(self) -> Self:
        """Make an independent model with the same weights, which draws the same dropout masks.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> twin = model.copy()
        >>> twin.parameters["b_h"][...] = 9.0
        >>> bool((model.parameters["b_h"] == 9.0).any())
        False
        """
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def save(
        self,
        path: str | os.PathLike[str],
        optimizer: Optimizer | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the model to a file that `fastbptt.load` reads.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move if it exists, so that a crash never leaves half a file.
        optimizer : Optimizer, optional
            One of this model, for `fastbptt.load_optimizer` to read from the same file.
        metadata : mapping, optional
            Written instead of `metadata`.

        Raises
        ------
        ValueError, TypeError
            If the optimiser belongs to another model, or JSON cannot hold the metadata.
        OSError
            If the file cannot be written. Then nothing is left behind.
        """
        # it makes models, so it imports this module
        from .saving import save_model

        save_model(self, path, optimizer, metadata)

    def __getstate__(self) -> dict[str, Any]:
        extra = {k: v for k, v in self.__dict__.items() if k not in self._INTERNAL}
        return {
            "config": self._config(),
            "values": self._get_flat(),
            "metadata": copy.deepcopy(self._metadata),
            "extra": extra,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        twin = type(self)._from_config(state["config"])
        twin._set_flat(state["values"])
        twin.metadata = state["metadata"]
        self.__dict__.update(twin.__dict__)
        self.__dict__.update(state["extra"])


def _embedding(value: Any, input_size: Any) -> tuple[Any, Floats | None]:
    """Tell a vocabulary's size from a matrix, whose rows it then is."""
    expected = (
        "expected a vocabulary size of at least 1, a matrix (vocabulary, input_size), or None"
    )
    if value is None or isinstance(value, int | np.integer):
        return value, None  # a size is checked with the others
    if isinstance(value, str | bytes | float | np.floating | np.bool_):
        raise TypeError(f"embedding is {value!r}; {expected}")
    matrix = _check.read("embedding", value, "a vocabulary size, or a matrix of real numbers")
    columns = _check.size("input_size", input_size)
    if matrix.ndim != 2 or matrix.shape[1] != columns or len(matrix) == 0:
        raise ValueError(
            f"embedding has shape {matrix.shape}; expected (vocabulary, {columns}) "
            f"because input_size={columns}"
        )
    return len(matrix), matrix
