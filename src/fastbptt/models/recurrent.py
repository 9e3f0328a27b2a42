"""Recurrent networks: one class for every cell, of parts that have files of their own."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _check, _core, _losses
from .._cell_info import cell_info
from .._check import Floats
from .._core import Batch, GradientTargets, Objective, OutputGradients
from .._errors import ArgumentError, ArgumentTypeError, BadArgumentError
from .._html import table, tag
from .._losses import Losses, LossLike, TargetsLike, WeightsLike
from .._views import Gradients, Parameters, State, norm
from . import _arguments, _options, _penalties, initializers, truncated
from ._dropout_seeds import DropoutSeeds
from ._options import Options, with_options
from ._weights import Weights
from .constraints import Constraints, Resolved
from .results import (
    ForwardResult,
    GradientRecord,
    NormProbes,
    OutputsAlone,
    Records,
    StepReport,
    pass_names,
    probes,
    unpacked,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ..optim.optimizers import Optimizer
    from .exporting import CExport

StateLike: TypeAlias = ArrayLike | Sequence[ArrayLike | None]


class Recurrent:
    """A network of any registered cell; `RNN`, `GRU`, `LSTM` and `LeakyRNN` are its common kinds.

    Parameters
    ----------
    cell : str
        A name of the core's registry: ``fastbptt.cells()``.
    input_size, hidden_size, output_size
        As for `RNN`, like all further arguments.
    alpha : float or array, optional
    learn_alpha : bool, default False
        As for `LeakyRNN`, for cells that have such a number (``"leaky"``).
    num_layers, bidirectional, bias, output_bias, readout_units, rank, dropout
        As for `RNN`.
    recurrent_dropout, input_noise, recurrent_noise
        As for `RNN`; the last for cells without gates.
    zoneout
        As for `RNN` or, for the cell ``"lstm"``, `LSTM`.
    noise_scaling
        As for `LeakyRNN`, for cells that have `alpha`.
    learn_initial_state, static_size, embedding, padding_index, freeze_embedding
        As for `RNN`.
    constraints, init, dtype, precision, seed
        As for `RNN`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what was expected.
    MemoryError
        If the parameters do not fit into this machine.

    Examples
    --------
    >>> import fastbptt
    >>> fastbptt.Recurrent("leaky", 3, 4, 1, alpha=0.5, seed=0)
    Recurrent("leaky", 3, 4, 1, alpha=0.5, dtype="float32")  # 37 parameters, 148 bytes
    """

    #: Cells whose networks are of this class; a class names its own.
    _cells: ClassVar[tuple[str, ...]] = ()

    @with_options
    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        alpha: ArrayLike | None = None,
        learn_alpha: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self._create(cell, input_size, hidden_size, output_size, alpha, options, learn_alpha)

    def _create(
        self,
        cell: Any,
        input_size: Any,
        hidden_size: Any,
        output_size: Any,
        alpha: Any,
        options: Options,
        learn_alpha: Any = False,
    ) -> None:
        """Check everything that a constructor took; build the network and draw its weights."""
        given = _options.completed(options, type(self).__init__.__qualname__)
        recipe = initializers.resolve(given["init"])
        rng = _check.generator(given["seed"])
        given["embedding"], matrix = _options.embedding(given["embedding"], input_size)
        sizes = input_size, hidden_size, output_size
        spec = _options.check(cell, *sizes, alpha, learn_alpha, given)
        _options.can_run(spec)
        if spec.dropout > 0.0 and spec.num_layers == 1:
            warnings.warn(
                f"dropout={spec.dropout} has no effect with num_layers=1: it lies between layers",
                stacklevel=3,
            )
        self._build(spec, _check.float_dtype(given["dtype"]))
        weights = self._weights
        for name, values in initializers.draw(spec, weights.layout, recipe, rng):
            weights.place(name, values)
        if matrix is not None:
            weights.place("E", _check.fitted("embedding", matrix, weights.dtype))
        if given["constraints"] is not None:
            constraints = given["constraints"]
            if not isinstance(constraints, Constraints):
                came = f"is of type {type(constraints).__name__}"
                raise ArgumentTypeError("constraints", came, "a fastbptt.Constraints, or None")
            self._constrain(constraints._of(spec, weights.layout), given["init"], matrix)
        self._dropout_seeds.state = (int(rng.integers(1 << 64, dtype=np.uint64)), 0)

    def _constrain(self, constraints: Resolved, init: Any, matrix: Any) -> None:
        """Bring the start weights to what is allowed: of the wrong signs to the other ones."""
        weights = self._weights
        weights.constrain(constraints)
        before = self.state_dict()
        weights.engine.project(True)
        name = init if isinstance(init, str) else init[0]
        kept = name in ("keras", "orthogonal", "identity")
        changes = []
        for one, old in before.items():
            change = norm(self.parameters[one] - old)
            meant = (kept and one.startswith("W_hh")) or (one == "E" and matrix is not None)
            meant = meant or one.startswith("logit_alpha")
            if change > 0.0 and (meant or one in constraints.max_norm):
                changes.append(f"{one} by {change / norm(old):.0%} of its norm")
        if changes:
            warnings.warn(
                f"constraints change the start weights {', '.join(changes)}; what init, embedding "
                "or alpha made of them (orthogonal, the identity, given rows, a scale) no longer "
                "holds",
                stacklevel=4,
            )

    def _build(self, spec: _core.Spec, dtype: np.dtype[Any]) -> None:
        """Make the parts, with zero parameters."""
        if spec.bfloat16 and dtype != np.float32:
            found, expected = 'is "bfloat16"', f'"float32" because dtype={dtype}'
            raise ArgumentError("precision", found, expected)
        before = frozenset(vars(self))
        self._spec = spec
        self._weights = Weights(spec, dtype)
        self._engine = self._weights.engine
        states = tuple(cell_info(spec.cell)["states"])
        self._input_spec = _arguments.InputSpec(spec, states, dtype, _core.memory_limit())
        drops = spec.dropout > 0.0 and spec.num_layers > 1
        drops = drops or spec.recurrent_dropout > 0.0 or any(spec.zoneout)
        noisy = spec.input_noise > 0.0 or spec.recurrent_noise > 0.0
        self._dropout_seeds = DropoutSeeds(used=drops or noisy)
        self._records = Records(pass_names(spec.num_layers, spec.bidirectional))
        self._metadata: dict[str, Any] = {}
        self._trained_steps = "last"  # where the loss of the last training step was
        self._notes_digits = True  # in the first training step; `fit` has looked at all data
        # copies and pickles make these anew; all other attributes are the user's
        self._parts = frozenset(vars(self)) - before | {"_parts"}

    @classmethod
    def _from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a model with zero weights from what `_config` returned."""
        _check.same_names(
            "config",
            config,
            (
                *("cell", "arguments", "dtype", "dropout_seeds", "frozen", "trained_steps"),
                "constraints",
            ),
        )
        model = cls.__new__(cls)
        spec = _options.from_arguments(config["cell"], config["arguments"])
        model._build(spec, _check.float_dtype(config["dtype"]))
        model._dropout_seeds.state = config["dropout_seeds"]
        weights = model._weights
        weights.set_frozen(frozenset(config["frozen"]))
        if config["constraints"] is not None:
            weights.constrain(Resolved.from_json(config["constraints"], weights.layout))
        model._trained_steps = _check.option(
            "trained_steps", config["trained_steps"], _check.READOUTS
        )
        return model

    def _config(self) -> dict[str, Any]:
        """Return all that the model is besides its weights, as plain values fit for JSON."""
        weights = self._weights
        return {
            "cell": self._spec.cell,
            "arguments": _options.arguments(self._spec),
            "dtype": _check.DTYPE_NAMES[weights.dtype],
            "dropout_seeds": list(self._dropout_seeds.state),
            "frozen": [name for name in weights.layout if name in weights.frozen],
            "trained_steps": self._trained_steps,
            "constraints": None if weights.constraints is None else weights.constraints.to_json(),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {
            "config": self._config(),
            "values": self._weights.get(),
            "metadata": copy.deepcopy(self._metadata),
            "extra": {k: v for k, v in vars(self).items() if k not in self._parts},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        twin = type(self)._from_config(state["config"])
        twin._weights.set(state["values"])
        twin.metadata = state["metadata"]
        self.__dict__.update(twin.__dict__)
        self.__dict__.update(state["extra"])

    # ------------------------------------------------------------ properties

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
        """Whether the layers have biases."""
        return self._spec.bias

    @property
    def output_bias(self) -> bool:
        """Whether the readout has a bias."""
        return "b_y" in self._weights.layout

    @property
    def readout_units(self) -> tuple[int, ...] | None:
        """The columns of `ForwardResult.hidden` that the readout reads, or None for all."""
        return tuple(self._spec.read_units) or None

    @property
    def dropout(self) -> float:
        """Share of the values between layers that a training pass drops."""
        return self._spec.dropout

    @property
    def recurrent_dropout(self) -> float:
        """Share of the hidden states before each recurrent product that a training pass drops."""
        return self._spec.recurrent_dropout

    @property
    def zoneout(self) -> float | tuple[float, float]:
        """Probability that a state stays as it is in training; if they differ, of h and of c."""
        both = _options.zoneout_argument(self._spec)
        return both if isinstance(both, float) else (both[0], both[1])

    @property
    def input_noise(self) -> float:
        """Standard deviation of the noise that a training pass adds to the inputs."""
        return self._spec.input_noise

    @property
    def recurrent_noise(self) -> float:
        """Standard deviation of the noise that a training pass adds to the units' sums."""
        return self._spec.recurrent_noise

    @property
    def noise_scaling(self) -> str | None:
        """``"alpha"`` if both are times ``sqrt(2 / alpha)``, else None."""
        return "alpha" if self._spec.noise_by_setting else None

    @property
    def learn_initial_state(self) -> bool:
        """Whether the initial state is a parameter."""
        return self._spec.learn_state

    @property
    def rank(self) -> int | None:
        """The rank of each recurrent matrix ``N_hh M_hh``, or None if `W_hh` is a parameter."""
        return self._spec.rank or None

    @property
    def _read_columns(self) -> slice | list[int]:
        """The same, to index the hidden states with."""
        return list(self._spec.read_units) or slice(None)

    @property
    def static_size(self) -> int | None:
        """Constants of each sequence, or None without any."""
        return self._spec.static_size or None

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
        return self._weights.dtype

    @property
    def precision(self) -> str:
        """float32 or bfloat16: of what the layers' products multiply; with float64 the former."""
        return "bfloat16" if self._spec.bfloat16 else "float32"

    @property
    def last_report(self) -> StepReport | None:
        """Memory and time of the last call with a `memory_budget`; None before any."""
        return self._records.report

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
    def last_losses(self) -> dict[str, float] | None:
        """The loss of each block in the last call with `fastbptt.Losses`, without its weight.

        By name, of `loss`, `loss_and_grad` or `train_step`; None before any.
        """
        return self._records.losses

    @property
    def last_penalties(self) -> dict[str, float] | None:
        """The penalties of the last call that had some: ``"l1.W_hh"``, ``"activity_l2"``, ...

        Of `loss_and_grad` or `train_step`, before its update; with `bptt_steps` their mean over the
        updates. None before any.
        """
        return self._records.penalties

    @property
    def last_gradients(self) -> GradientRecord | None:
        """Norms of the last call with ``record="gradients"``; None before any."""
        return self._records.gradients()

    @property
    def parameters(self) -> Parameters:
        """The weights: mapping name -> writable view of one flat buffer, itself `.flat`.

        With I inputs, H hidden units, O outputs, G gates, L layers and D directions, in this
        order: for each layer and direction ``W_xh`` (I, G H), ``W_hh`` (H, G H), with `rank` R
        instead ``N_hh`` (H, R) and ``M_hh`` (R, G H), ``b_h`` (G H,),
        of a GRU also ``b_hn`` (H,); above the first layer, where I is D H, names end in ``_l1``,
        ``_l2``, ...; after that those of the reverse direction end in ``_reverse``. Then ``h0``
        (L D, H), of an LSTM also ``c0``, if the initial state is learned; with S static inputs
        ``W_sh`` (S, L D H), of an LSTM also ``W_sc``; ``W_hy`` (D H, O), with
        `readout_units` a row for each of these, and ``b_y`` (O,) of the readout; ``E`` (vocabulary,
        I), the embedding. Gates lie side by side: r, z, n in a GRU; i, f, g, o in an LSTM.

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
        return Parameters(self._weights.flat, self._weights.layout, self._weights.refuse)

    @property
    def num_parameters(self) -> int:
        """How many numbers the parameters are."""
        return self._weights.flat.size

    # ------------------------------------------------------------ constraints

    @property
    def constraints(self) -> Constraints | None:
        """The rules that the weights satisfy, as arrays of the parameters' shapes, or None."""
        own = self._weights.constraints
        return None if own is None else own.described(self._weights.layout)

    def project(self) -> None:
        """Bring the parameters to what `constraints` allow: the nearest such values.

        Every update does that by itself. It is for values that were written into `parameters`,
        which the other calls refuse: entries of a mask become zero, as do those of the wrong sign
        (also with ``sign_method="abs"``), and columns that are too long are scaled.

        Raises
        ------
        ValueError
            If the model has no constraints.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> loose = fastbptt.Constraints(self_connections=False)
        >>> model = fastbptt.RNN(3, 4, 1, constraints=loose, seed=0)
        >>> model.parameters["W_hh"][...] = np.ones((4, 4))
        >>> model.project()
        >>> model.parameters["W_hh"].sum(axis=1).tolist()
        [3.0, 3.0, 3.0, 3.0]
        """
        if self._weights.constraints is None:
            came, expected = "has no constraints", "one made with constraints=fastbptt.Constraints"
            raise ArgumentError("the model", came, f"{expected}(..)")
        self._engine.project(False)

    # ------------------------------------------------------------ frozen parameters

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parameters that training leaves as they are."""
        embedding = {"E"} if self._spec.freeze_embedding else set()
        weights = self._weights
        return tuple(name for name in weights.layout if name in weights.frozen | embedding)

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
        weights = self._weights
        if not names:
            raise TypeError("freeze() without names; expected at least one of " + weights.names())
        weights.set_frozen(weights.frozen | weights.known(names))

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
        weights = self._weights
        chosen = weights.known(names)
        if "E" in chosen and self._spec.freeze_embedding:
            raise ValueError("E cannot be unfrozen: the model has freeze_embedding=True")
        weights.set_frozen(weights.frozen - chosen if names else frozenset())

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._given()})  "
            f"# {self.num_parameters} parameters, {_check.bytes_text(self._weights.flat.nbytes)}"
        )

    def _repr_html_(self) -> str:
        """Show the parameters in a notebook."""
        frozen = self.frozen
        rows = [
            (
                name,
                " \N{MULTIPLICATION SIGN} ".join(map(str, values.shape)),
                f"{values.size:,}",
                "frozen" if name in frozen else "",
            )
            for name, values in self.parameters.items()
        ]
        size = f"{self.num_parameters:,} parameters, {_check.bytes_text(self._weights.flat.nbytes)}"
        return tag(
            "div",
            tag("p", tag("code", f"{type(self).__name__}({self._given()})")),
            table(rows, ("parameter", "shape", "size", "")),
            tag("p", size),
        )

    def _given(self) -> str:
        """The constructor's arguments: sizes, and options that are not what they are by default."""
        given = _options.arguments(self._spec)
        sizes = [str(given.pop(name)) for name in ("input_size", "hidden_size", "output_size")]
        numbers = {"alpha": given.pop("alpha"), "learn_alpha": given.pop("learn_alpha")}
        own = {name: _options.shortened(v) for name, v in numbers.items() if v not in (None, False)}
        options = self._own_options(own)
        options |= {name: v for name, v in given.items() if v != _options.DEFAULTS[name]}
        if given["readout_units"] is not None:
            options["readout_units"] = _options.shortest(given["readout_units"])
        named = [f"{name}={_check.quoted(value)}" for name, value in options.items()]
        if self._weights.constraints is not None:
            named.append(f"constraints={self.constraints!r}")
        cell = [] if self._cells else [f'"{self.cell}"']
        return ", ".join([*cell, *sizes, *named, f'dtype="{self.dtype.name}"'])

    def _own_options(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Arguments that only this class has, as far as they are worth showing.

        numbers: those that have to do with the cell's number.
        """
        return numbers

    # ------------------------------------------------------------ copies and files

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
        return self._weights.state_dict()

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Set all parameters, or none.

        Parameters
        ----------
        state : mapping of name -> array
            Exactly the names and shapes of `parameters`; any real dtype.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown, a shape differs, or values are not finite or do not
            fit into the model's dtype. Nothing has changed then.
        """
        self._weights.load_state_dict(state)

    def copy(self) -> Self:
        """Make an independent model with the same weights, which draws the same dropout and noise.

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
        path: str | os.PathLike[str] | BinaryIO,
        optimizer: Optimizer | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the model to a file that `fastbptt.load` reads.

        Parameters
        ----------
        path : str or path-like, or file
            Replaced in one move if it exists, so that a crash never leaves half a file. A file
            opened in binary mode is written from where it stands.
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
        from .saving import (
            save_model,
        )  # it brings hashlib, which a start without files need not load

        save_model(self, path, optimizer, metadata)

    def export_c(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        weights: str | None = None,
        dtype: DTypeLike | None = None,
        standardizer: Any = None,
        imputer: Any = None,
        loss: LossLike | None = None,
        raw: bool = False,
        data: ArrayLike | Sequence[ArrayLike] | None = None,
    ) -> CExport:
        """Write the model as one file of C99 and its header, for microcontrollers and C programs.

        The functions `reset`, `step` and `run` compute what `initial_state` and `step` do, in the
        model's dtype (float or double), without allocating memory. The weights are constants. Each
        stream has a struct of its own, which the caller owns. In float32 the outputs are within
        1e-6 of those of `step`, where the network itself does not amplify differences.

        Parameters
        ----------
        path : str or path-like
            The source, which ends in ``.c``; the header ends in ``.h`` and stands beside it. Both
            are replaced if they exist.
        name : str, optional
            Names in C begin with it, as in ``model_step``. Default: the file's name in lower case.
        weights : {"int8", "int16"}, optional
            Round weights to integers with a scale for each row of a matrix, a quarter or half of
            the memory; states and sums stay floats. None: as they are.
        dtype : {"float32", "float64"}, optional
            Of all other numbers, and of the arithmetic: float or double. None: the model's.
        standardizer : Standardizer, optional
            Applied to the inputs: the caller gives them in the units on which it was fitted.
        imputer : Imputer, optional
            Applied after the standardizer: the caller gives NaN where a value is missing.
        loss : str or `Loss`, optional
            Outputs are its predictions, such as probabilities, instead of what `step` returns.
        raw : bool, default False
            Leave out what `metadata` note of inputs and outputs. Without it they are refused if
            the arguments above do not apply them; `fastbptt export` does.
        data : array (batch, time, features), or list of arrays, optional
            With `weights`: sequences, as the caller gives them, on which to measure the error.

        Returns
        -------
        CExport
            The files, bytes of memory, and the error of rounded weights.

        Raises
        ------
        ValueError, TypeError
            If the network is bidirectional, has weights that are not finite, its cell has no
            formulas in C, or an argument is not as described. Nothing is written then.
        OSError
            If a file cannot be written. Each is then as it was, or whole.

        Examples
        --------
        >>> import os, tempfile, fastbptt
        >>> model = fastbptt.GRU(3, 16, 1, seed=0)
        >>> made = model.export_c(os.path.join(tempfile.mkdtemp(), "filter.c"), weights="int8")
        >>> made.name, made.constants, made.state, made.weight_error < 0.001
        ('filter', 1392, 64, True)
        """
        from .exporting import export_c  # a start without files need not load it

        return export_c(
            self,
            path,
            name=name,
            weights=weights,
            dtype=dtype,
            standardizer=standardizer,
            imputer=imputer,
            loss=loss,
            raw=raw,
            data=data,
        )

    # ------------------------------------------------------------ computing

    def forward(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        *,
        static: ArrayLike | None = None,
        resets: ArrayLike | Sequence[ArrayLike] | None = None,
        training: bool = False,
        noise: int | None = None,
        backward: bool = True,
        check_finite: bool = True,
    ) -> ForwardResult:
        """Run the network over a batch of sequences.

        Parameters
        ----------
        x : array of shape (batch, time, input_size), or list of arrays (time_i, input_size)
            float32 and float64 are read in place, whatever their strides; integers, booleans
            and float16 are converted. Sequences in a list may differ in length. With an
            embedding integers from 0 to vocabulary_size - 1, (batch, time) or a list of (time_i,);
            int64 is read in place.
        lengths : array of shape (batch,), optional
            Whole numbers from 1 to time: how many steps of each sequence are real. What
            stands after them is never read. Not needed if `x` is a list.
        h0 : array of shape (layers * directions, batch, hidden_size), optional
            Initial state; of an LSTM a tuple (h, c) of two, of which one may be None. What is
            not given: the learned one, or zero.
        static : array of shape (batch, static_size), optional
            Constants of each sequence, for a model with `static_size`; not needed where `h0` gives
            the whole initial state.
        resets : array of shape (batch, time), or list of arrays (time_i,), optional
            Booleans, or 0 and 1: where an episode starts. The state before such a step is the
            learned one or zero, and no gradient goes past it. `h0` is the state before step 0,
            of those sequences alone that have no reset there. Ignored after a sequence's end.
            Not for bidirectional networks, nor with `static`.
        training : bool, default False
            Apply dropout and add noise, drawn as in no pass before. `backward` uses the same.
        noise : int, optional
            A seed, 0 or larger: add the noise of `input_noise` and `recurrent_noise`, without
            dropout, as in a simulation. Equal seeds give equal noise. Not with `training`.
        backward : bool, default True
            Keep the activations that `backward` needs. False: a few steps of them at a time, as
            `predict` does. Memory then does not grow with time but for the outputs; the result
            has `outputs`, `last` and `final_state`, with the same bits.
        check_finite : bool, default True
            Refuse NaN and infinity in `x`, `h0` and the weights.

        Returns
        -------
        ForwardResult
            `outputs` (batch, time, output_size), `hidden` (batch, time, directions *
            hidden_size), both zero after a sequence's end, `last` (batch, output_size), the
            outputs at the end, and `final_state`, shaped like `h0`, the states there.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.
        MemoryError
            If the states of so many steps do not fit.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> out = model.forward(np.ones((2, 5, 3)), lengths=[5, 2])
        >>> out.outputs.shape, out.last.shape, out.final_state.shape
        ((2, 5, 1), (2, 1), (1, 2, 4))
        >>> bool((out.outputs[1, 2:] == 0).all())
        True
        >>> out = model.forward(np.ones((1, 5, 3)), resets=[[0, 0, 1, 0, 0]])  # two episodes
        >>> bool((out.outputs[0, :2] == out.outputs[0, 2:4]).all())
        True
        >>> model = fastbptt.LSTM(3, 4, num_layers=2, bidirectional=True, seed=0)
        >>> out = model.forward([np.ones((5, 3)), np.ones((2, 3))])
        >>> h, c = out.final_state
        >>> out.hidden.shape, c.shape
        ((2, 5, 8), (4, 2, 4))
        """
        finite = _check.flag("check_finite", check_finite)
        training = _check.flag("training", training)
        keep = _check.flag("backward", backward)
        batch = self._batch(x, lengths, h0, static, resets, finite)
        if noise is not None:
            if training:
                raise ArgumentError("noise", "is given", "None: training=True draws a seed")
            batch = batch.replace(noise_seed=self._noise_seed(noise))
        taken: list[int] = []
        try:
            if training:
                batch = self._drawn(batch, taken)
            readout = self._spec.output_size > 0
            tape: _core.Tape | OutputsAlone
            if keep:
                tape = self._engine.forward(batch)
            else:
                tape = OutputsAlone(*self._engine.predict(batch, "last", True, True), readout)
            return ForwardResult(tape, self._weights.token, readout)
        except BaseException:
            self._dropout_seeds.give_back(taken)
            raise

    def _predict(self, batch: Batch, steps: str) -> Floats:
        """Outputs at all steps, (batch, time, outputs), or one for each sequence."""
        every = steps == "all"
        where = "last" if every else steps
        outputs, one, _ = self._engine.predict(batch, where, every, not every)
        result: Floats = outputs if every else one
        return result

    def _drawn(self, batch: Batch, taken: list[int]) -> Batch:
        """Give a training pass the next seed, noted in `taken`."""
        seed = self._dropout_seeds.take(taken)
        return batch.replace(dropout_seed=seed, noise_seed=seed)

    def _noise_seed(self, noise: Any) -> int:
        """Check the seed of a prediction with noise."""
        seed = _check.size("noise", noise, 0)
        if seed >= 1 << 64:
            raise ArgumentError("noise", f"is {seed}", "below 2**64", value=seed)
        if not (self.input_noise or self.recurrent_noise):
            raise ArgumentError(
                "noise",
                f"is {seed}",
                "None: the model has neither input_noise nor recurrent_noise",
            )
        return seed

    def _batch(
        self, x: Any, lengths: Any, h0: Any, static: Any, resets: Any, check_finite: bool
    ) -> Batch:
        """Check the arguments of a forward pass."""
        array, checked = _arguments.inputs(self._input_spec, x, lengths)
        initial = _arguments.states(self._input_spec, "h0", h0, len(array))
        constants = _arguments.static(self._input_spec, static, len(array), initial)
        batch = Batch(
            array, lengths=checked, initial=initial, static=constants, check_finite=check_finite
        )
        if resets is None:
            return batch
        count, time = array.shape[:2]
        listed = isinstance(x, list | tuple)
        marks = _arguments.resets(self._input_spec, resets, count, time, checked, listed)
        return batch.replace(resets=marks)

    def backward(
        self,
        out: ForwardResult,
        d_outputs: ArrayLike | None = None,
        d_final_state: StateLike | None = None,
        d_last: ArrayLike | None = None,
        need_input_grad: bool = False,
        check_finite: bool = True,
        *,
        d_hidden: ArrayLike | None = None,
    ) -> Gradients:
        """Backpropagate any gradient of the outputs through time: bring your own loss.

        Parameters
        ----------
        out : ForwardResult
            From this model's `forward`. Weights, inputs and dropout masks are used as they
            were then.
        d_outputs : array of shape (batch, time, output_size), optional
            Gradient of the loss with respect to `out.outputs`; ignored after a sequence's end.
        d_final_state : array of shape (layers * directions, batch, hidden_size), optional
            Gradient with respect to `out.final_state`; of an LSTM a tuple of two, of which
            one may be None.
        d_last : array of shape (batch, output_size), optional
            Gradient with respect to `out.last`, instead of `d_outputs`.
        need_input_grad : bool, default False
            Compute the gradient with respect to `x` too.
        check_finite : bool, default True
            Refuse NaN and infinity in what is given and in the resulting gradients.
        d_hidden : array of shape (batch, time, directions * hidden_size), optional
            Gradient of a further term of the loss with respect to `out.hidden` (a penalty on
            the activity, a second readout); ignored after a sequence's end. At least one of the
            four gradients is needed; they add up.

        Returns
        -------
        Gradients
            Mapping name -> array shaped like the parameter; also `.flat`, `.x`, `.h0`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> out = model.forward(np.ones((2, 5, 3)))
        >>> grads = model.backward(out, d_outputs=out.outputs)  # of half the sum of squares
        >>> grads["W_xh"].shape
        (3, 4)
        """
        if not isinstance(out, ForwardResult):
            raise ArgumentTypeError(
                "out", f"is of type {type(out).__name__}", "a ForwardResult of this model"
            )
        if out._owner is not self._weights.token:
            raise ArgumentError("out", "comes from another model", "this model's own forward")
        if isinstance(out._tape, OutputsAlone):
            raise ArgumentError(
                "out", "comes from forward(.., backward=False)", "a pass that keeps its activations"
            )
        if d_outputs is None and d_final_state is None and d_last is None and d_hidden is None:
            raise ArgumentError(
                "d_outputs, d_final_state, d_last and d_hidden", "are all None", "at least one"
            )
        if d_outputs is not None and d_last is not None:
            raise ArgumentError("d_outputs and d_last", "are both given", "one of them")
        batch, time = out._tape.batch, out._tape.time
        spec, up, end, inside = self._input_spec, None, None, None
        if d_outputs is not None:
            shape = (batch, time, spec.width)
            up = _check.exact(
                "d_outputs", d_outputs, shape, "the shape of outputs", self._weights.dtype
            )
        if d_last is not None:
            end = _check.exact(
                "d_last", d_last, (batch, spec.width), "the shape of last", spec.dtype
            )
        if d_hidden is not None:
            shape = (batch, time, self._spec.hidden_size * (1 if spec.one_way else 2))
            inside = _check.exact("d_hidden", d_hidden, shape, "the shape of hidden", spec.dtype)
        given = OutputGradients(
            outputs=up,
            last=end,
            hidden=inside,
            final_state=_arguments.states(spec, "d_final_state", d_final_state, batch),
            check_finite=_check.flag("check_finite", check_finite),
        )
        to = self._gradient_targets((batch, time, spec.input_size), need_input_grad)
        self._engine.backward(out._tape, given, to)
        return self._gradients(to)

    def loss(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: TargetsLike,
        loss: LossLike | Losses = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        sample_weight: WeightsLike = None,
        check_finite: bool = True,
        *,
        static: ArrayLike | None = None,
        warmup: int = 0,
        resets: ArrayLike | Sequence[ArrayLike] | None = None,
        training: bool = False,
    ) -> float:
        """Compute the loss alone, forward only. Arguments as for `loss_and_grad`.

        Dropout and noise are off unless `training` is true.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, init=("normal", 0.0))
        >>> print(f"{model.loss(np.ones((2, 5, 3)), [0, 1]):.4f}")
        0.6931
        """
        batch, objective = self._checked(
            x, y, loss, steps, reduction, lengths, h0, sample_weight, check_finite, warmup=warmup,
            resets=resets, static=static,
        )  # fmt: skip
        training = training is not False and _check.flag("training", training)
        taken: list[int] = []
        try:
            if training and self._dropout_seeds.used:
                batch = self._drawn(batch, taken)
            value = self._engine.loss(batch, objective)
        except BaseException:
            self._dropout_seeds.give_back(taken)
            raise
        if objective.losses is not None:
            self._records.note_losses(objective)
        return value

    def loss_and_grad(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: TargetsLike,
        loss: LossLike | Losses = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        sample_weight: WeightsLike = None,
        need_input_grad: bool = False,
        check_finite: bool = True,
        *,
        static: ArrayLike | None = None,
        warmup: int = 0,
        resets: ArrayLike | Sequence[ArrayLike] | None = None,
        training: bool = True,
        memory_budget: int | str | None = None,
        record: str | None = None,
        l1: Mapping[str, float] | None = None,
        l2: Mapping[str, float] | None = None,
        activity_l1: float | None = None,
        activity_l2: float | None = None,
        activity_change_l2: float | None = None,
        omega: float | None = None,
    ) -> tuple[float, Gradients]:
        """Compute the loss of a batch and its gradient with respect to every parameter.

        Parameters
        ----------
        x, lengths, h0, static
            As for `forward`.
        y : array
            ``"bce"`` (numbers in [0, 1]) and ``"mse"``: (batch, output_size) for the last step
            or (batch, time, output_size) for all; the last axis may be left out if it is 1.
            ``"cross_entropy"``: integers from 0 to output_size - 1, (batch,) or (batch, time).
            With ``steps="all"`` and a list as `x`, a list. What stands after a sequence's
            end is ignored. Without readout the outputs are the directions * hidden_size states.
            With `fastbptt.Losses` a mapping of these, by block of outputs.
        loss : str, `fastbptt.Loss` or `fastbptt.Losses`
            On each step's outputs z: ``"bce"``, mean over the outputs of log(1 + exp(z)) - y z;
            ``"cross_entropy"``, log(sum(exp(z))) - z[y]; ``"mse"``, mean over the outputs of
            (y - z)^2; for the others see `fastbptt.reference.LOSSES`. With ``reduction="sum"`` the
            sum over the outputs instead of their mean. Targets of ``"quantile"`` have an output
            for each level, those of ``"gaussian"`` two: the outputs of a target are side by side,
            and y has as many numbers as there are targets.
        steps : {"last", "all", "mean", "max"}
            Loss on `ForwardResult.last`, that is at each sequence's own end, or at all steps; or
            one loss per sequence as for the last step, on the readout of the top layer's hidden
            states pooled over the sequence's own steps: their mean, or the maximum of each unit
            (whose gradient goes to the first of equal steps).
        reduction : {"mean", "sum", "sequence_mean"}
            ``"mean"``: over all real steps of the batch. ``"sum"``: their sum.
            ``"sequence_mean"``: mean over sequences of each one's mean over its steps.
        sample_weight : array of shape (batch,) or (batch, time), or list of arrays, optional
            Weights of at least 0, not all 0, of the sequences, or with ``steps="all"`` of their
            steps (with a list as `x`, a list of arrays (time_i,)). The means become weighted
            means: ``"mean"`` divides by the sum of the weights of all real steps,
            ``"sequence_mean"`` first divides each weight by the length of its sequence. Where a
            weight is 0 there is no loss and no gradient, and `y` is not read: it may be NaN, or -1
            for no class. With `fastbptt.Losses` they are those of all blocks, or a mapping by block
            (None: all 1), each reduced by its own; a block without any weight adds nothing, and one
            must have some.
        need_input_grad : bool, default False
            Compute the gradient with respect to `x` too.
        check_finite : bool, default True
            Refuse NaN and infinity in the arguments, the weights, the loss and the gradients.
        warmup : int, default 0
            Only with ``steps="all"``: the first steps of each sequence that have no loss, as if
            their weight were 0 (also called burn-in or washout).
        resets : array of shape (batch, time), or list of arrays (time_i,), optional
            As for `forward`. A loss at the last step is that of a sequence's last episode. Refused
            beside what could mean an episode or all of a sequence: pooled `steps`, `warmup`,
            ``reduction="sequence_mean"``.
        training : bool, default True
            Apply dropout and add noise, drawn as in no pass before.
        l1, l2 : mapping of str to float, optional
            Penalties on parameters, by name: ``l1 * sum(abs(W))`` and ``l2 * sum(W ** 2)``. They
            are in the gradient, and beside the loss: `last_penalties` has each of them, and the
            gradient is that of the loss plus their sum. (An optimiser's `weight_decay` is in no
            loss, holds for all parameters, and is not clipped.)
        activity_l1, activity_l2 : float, optional
            Penalties on rates, terms as those of `l1` and `l2`: ``activity_l1 * mean(abs(h))`` and
            ``activity_l2 * mean(h ** 2)`` over the hidden states of all layers and directions
            at the real steps of all sequences (Keras' `activity_regularizer`; Merity, McCann and
            Socher 2017, arXiv:1708.01009).
        activity_change_l2 : float, optional
            The same of the change from step to step: ``activity_change_l2 * mean((h[t] - h[t - 1])
            ** 2)`` over all pairs of successive steps of a sequence, or with `resets` of an episode
            ("temporal activation regularization" there).
        omega : float, optional
            Pascanu's penalty on gradients that vanish or explode: omega times the mean over the
            sequences of the sum over steps, for all layers and directions, of ``(|d_t J_t| / |d_t|
            - 1)^2``, where d_t is the gradient with respect to the state x_t and ``J_t = dx_t /
            dx_{t-1}``.
            Of RNN x_t is the sum behind the nonlinearity, of LeakyRNN the hidden state. Its
            derivative is that with respect to `W_hh`, with d_t and x_t held fixed. Steps that no
            gradient reaches do not count. Only for cells with a single pre-activation.
        memory_budget : int or str, optional
            Bytes, or text such as ``"200MB"`` (10^6 each) or ``"1.5 GiB"`` (2^30): what the
            pass may take beside the model's parameters and the arguments. States that do not
            fit are computed a second time, from those that were kept; no bit of the result
            depends on it. `last_report` gives the cost. Only for one direction.
        record : {None, "gradients"}
            ``"gradients"``: leave the norms of the gradients at each step in `last_gradients`, a
            `GradientRecord`.

        Returns
        -------
        loss : float
        grads : Gradients
            Mapping name -> array shaped like the parameter; also `.flat`, `.x`, `.h0`.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected, or naming the first
            gradient that is not finite.
        MemoryError
            If the states of so many steps do not fit.

        Notes
        -----
        Equal seeds give equal dropout and noise; a `copy` of a model draws the same as the model
        would have: ``model.copy().loss_and_grad(...)`` twice is twice the same.

        `omega`: Pascanu, Mikolov and Bengio, ICML 2013, arXiv:1211.5063, equations 9 and 10.

        Recomputing from kept states: Chen, Xu, Zhang and Guestrin, 2016, arXiv:1604.06174.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> loss, grads = model.loss_and_grad(np.ones((2, 5, 3)), [0, 1])
        >>> sorted(grads)
        ['W_hh', 'W_hy', 'W_xh', 'b_h', 'b_y']
        """
        budget = 0 if memory_budget is None else self._budget(memory_budget)
        batch, objective = self._checked(
            x,
            y,
            loss,
            steps,
            reduction,
            lengths,
            h0,
            sample_weight,
            check_finite,
            unlimited=budget,
            warmup=warmup,
            resets=resets,
            static=static,
        )
        norms = None if record is None else self._norm_probes(record, batch)
        given = (l1, l2, activity_l1, activity_l2, activity_change_l2, omega)
        objective, penalties = self._penalised(objective, given)
        to = self._gradient_targets(batch.x.shape, need_input_grad)
        training = training is True or _check.flag("training", training)
        left = None if norms is None else probes(norms, None)
        taken: list[int] = []
        try:
            if training and self._dropout_seeds.used:
                batch = self._drawn(batch, taken)
            value = self._engine.loss_and_grad(batch, objective, to, left, budget)
            gradients = self._gradients(to)
            if norms is not None:
                norms.arrays["norm"][0] = norm(to.parameters)
            report = StepReport(*self._engine.report()) if budget else None
        except BaseException:
            self._dropout_seeds.give_back(taken)
            raise
        if report is not None:
            self._records.report = report
        if norms is not None:
            self._records.norms = norms
        if objective.losses is not None:
            self._records.note_losses(objective)
        if penalties is not None:
            self._records.penalties = penalties.by_name()
        return value, gradients

    def _penalised(
        self, objective: Objective, given: tuple[Any, ...], chunk: int | None = None
    ) -> tuple[Objective, _penalties.Penalties | None]:
        """Add a call's penalties to its objective, in the order of `_penalties.NAMES`.

        chunk: steps of each chunk of truncated BPTT, 0 for all; None: no update follows, so frozen
        parameters may have penalties.
        """
        l1, l2, activity_l1, activity_l2, change, omega = given
        if (  # a training step of a small network takes a few microseconds
            l1 is None
            and l2 is None
            and activity_l1 is None
            and activity_l2 is None
            and change is None
            and omega is None
        ):
            return objective, None
        named = dict(zip(_penalties.NAMES, given, strict=True))
        frozen = () if chunk is None else self.frozen
        penalties = _penalties.check(named, self._spec, self._weights, frozen, chunk or 0)
        return objective if penalties is None else penalties.beside(objective), penalties

    def train_step(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        y: TargetsLike,
        optimizer: Optimizer,
        loss: LossLike | Losses = "bce",
        steps: str = "last",
        reduction: str = "mean",
        lengths: ArrayLike | None = None,
        h0: StateLike | None = None,
        sample_weight: WeightsLike = None,
        clip_norm: float | None = None,
        check_finite: bool = True,
        *,
        static: ArrayLike | None = None,
        warmup: int = 0,
        resets: ArrayLike | Sequence[ArrayLike] | None = None,
        clip_value: float | None = None,
        memory_budget: int | str | None = None,
        bptt_steps: int | None = None,
        state: State | None = None,
        record: str | None = None,
        l1: Mapping[str, float] | None = None,
        l2: Mapping[str, float] | None = None,
        activity_l1: float | None = None,
        activity_l2: float | None = None,
        activity_change_l2: float | None = None,
        omega: float | None = None,
    ) -> float:
        """Do forward, loss, backward, clipping and update in one call.

        Parameters
        ----------
        x, y, loss, steps, reduction, lengths, h0, sample_weight, static
            As for `loss_and_grad`.
        check_finite, warmup, memory_budget
            As for `loss_and_grad`. Dropout and noise are on.
        resets
            As for `loss_and_grad`. A sequence with a reset at step 0 does not go on from `state`.
        optimizer : Adam, AdamW, SGD or RMSprop
            Belongs to the first model that it updates.
        l1, l2 : mapping of str to float, optional
            As for `loss_and_grad`: their gradient is added before clipping. Of parameters that are
            trained. With `bptt_steps` each chunk's update has them.
        activity_l1, activity_l2, activity_change_l2, omega : float, optional
            As for `loss_and_grad`, over the steps of each chunk with `bptt_steps`.
        clip_norm : float, optional
            If the global norm of all gradients together is larger, all are scaled by
            clip_norm / norm (Pascanu, Mikolov and Bengio, ICML 2013, algorithm 1). Those of
            frozen parameters do not count.
        clip_value : float, optional
            Each element of the gradients is brought into -clip_value to clip_value. Not
            together with `clip_norm`.
        bptt_steps : int, optional
            Truncated BPTT: train on the batch in chunks of so many steps, each with a forward
            pass, loss, backward pass and update of its own; the state is carried from chunk to
            chunk, the gradient is cut. `fastbptt.models.truncated` defines how the losses of
            chunks are reduced. Only for one direction.
        state : array of shape (layers, batch, hidden_size), or tuple of two, optional
            The initial state instead of `h0`, overwritten with the final state once all has
            gone well, for the next piece of the same sequences. Of the model's dtype,
            writable, in C order: `initial_state` makes one. Only for one direction.
        record : {None, "gradients"}
            ``"gradients"``: leave the norms of the gradients at each step in `last_gradients`, a
            `GradientRecord`. It changes nothing else, and costs a few percent of the step.

        Returns
        -------
        float
            The loss before the update. With `bptt_steps` the mean of the chunks' losses, weighted
            as for `reduction` (with ``"sum"`` their sum): what a single pass would report if
            the weights stayed as they are.

        Raises
        ------
        ValueError, TypeError
            As for `loss_and_grad`; then neither the model nor the optimiser nor `state` has
            changed, even if earlier chunks went well: the call is undone as a whole.
        MemoryError
            If the states of so many steps do not fit.

        Warns
        -----
        UserWarning
            In the optimiser's first step, if numbers of a column of x or y lie so far from zero
            that the model's dtype loses their differences.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.RNN(3, 4, 1, seed=0)
        >>> adam = fastbptt.Adam(lr=0.01)
        >>> x = np.random.default_rng(0).normal(size=(2, 5, 3))
        >>> losses = [model.train_step(x, [0, 1], adam) for _ in range(50)]
        >>> losses[-1] < losses[0]
        True

        One long stream, cut into calls and chunks:

        >>> x = np.random.default_rng(0).normal(size=(1, 1000, 3))
        >>> y, state = x[..., 0], model.initial_state(1)
        >>> for i in range(0, 1000, 200):
        ...     part = slice(i, i + 200)
        ...     loss = model.train_step(
        ...         x[:, part], y[:, part], adam, "mse", "all", bptt_steps=20, state=state
        ...     )
        """
        budget = 0 if memory_budget is None else self._budget(memory_budget)
        chunk = 0 if bptt_steps is None else self._chunk(bptt_steps)
        batch, objective = self._checked(
            x,
            y,
            loss,
            steps,
            reduction,
            lengths,
            h0,
            sample_weight,
            check_finite,
            unlimited=budget or chunk,
            warmup=warmup,
            resets=resets,
            static=static,
            carried=state is not None,
        )
        final = None
        if state is not None:
            if h0 is not None:
                raise ArgumentError("h0 and state", "are both given", "one of them")
            self._one_direction("state", "given")
            final = _arguments.carried(self._input_spec, state, len(batch.x), self._weights.flat)
            batch = batch.replace(initial=final)
        norms = None if record is None else self._norm_probes(record, batch, chunk)
        given = (l1, l2, activity_l1, activity_l2, activity_change_l2, omega)
        objective, penalties = self._penalised(objective, given, chunk)
        clip = None
        if clip_norm is not None or clip_value is not None:
            clip = _check.clip(clip_norm, clip_value)
        try:
            lock = optimizer._lock
        except AttributeError:
            raise _not_an_optimizer(optimizer) from None
        chunked = 0 < chunk < batch.x.shape[1]
        if chunked and objective.steps in ("mean", "max"):
            raise ArgumentError(
                "bptt_steps",
                f"is {chunk}",
                f'None for steps="{objective.steps}", which needs the states of all steps',
            )
        report = None
        taken: list[int] = []
        binding, before = None, None  # before: the steps made, where anything depends on it
        try:
            with lock:
                if self._dropout_seeds.used and not chunked:
                    batch = self._drawn(batch, taken)
                binding = optimizer._binding_for(self._weights)
                if taken or binding is not optimizer._binding:
                    before = binding.state.step
                    if before == 0 and self._notes_digits:
                        self._note_digits(x, y, batch, objective)
                update = binding.update
                if clip is not None:
                    update = update.replace(clip=clip)
                if chunked:
                    value, report = truncated.train(
                        self._engine,
                        self._input_spec,
                        self._dropout_seeds,
                        binding,
                        batch,
                        objective,
                        update,
                        chunk,
                        budget,
                        final,
                        norms,
                    )
                else:
                    left = None
                    if norms is not None or final is not None:
                        left = probes(norms, final)
                    value = self._engine.train_step(batch, objective, update, left, budget)
                optimizer._binding = binding  # only now: a refused step leaves no trace
                self._trained_steps = objective.steps
        except BaseException as error:
            # A signal's handler may raise just after the update: then all of the step has happened.
            if binding is not None and before is not None and binding.state.step != before:
                optimizer._binding = binding
                self._trained_steps = objective.steps
            else:
                self._dropout_seeds.give_back(taken)
            if final is not None and isinstance(error, BadArgumentError):
                _arguments.about_state(self._input_spec, error)
            raise
        if budget:
            self._records.report = report or StepReport(*self._engine.report())
        if norms is not None:
            self._records.norms = norms
        if objective.losses is not None:
            self._records.note_losses(objective)
        if penalties is not None:
            self._records.penalties = penalties.by_name()
        return value

    # ------------------------------------------------------------ step by step

    def initial_state(self, batch: int, *, static: ArrayLike | None = None) -> State:
        """Make the state before the first step: the learned one, or zeros.

        Parameters
        ----------
        batch : int
            Sequences.
        static : array of shape (batch, static_size), optional
            Constants of each sequence, for a model with `static_size`.

        Returns
        -------
        array of shape (layers * directions, batch, hidden_size), or tuple of two
            The caller's own: for `step`, and `h0` or `state` of other calls. An LSTM's is a
            tuple of hidden states and cell states.

        Examples
        --------
        >>> import fastbptt
        >>> fastbptt.GRU(3, 4, num_layers=2, seed=0).initial_state(5).shape
        (2, 5, 4)
        """
        states, spec = self._states(_check.size("batch", batch)), self._spec
        constants = _arguments.static(self._input_spec, static, batch, None, alone=True)
        trains = spec.learn_state or constants is not None
        own = self.state_dict() if trains else {}  # between two updates
        for name, array in zip(self._input_spec.states, states, strict=True):
            array[...] = own[f"{name}0"][:, np.newaxis] if spec.learn_state else 0.0
            if constants is not None:
                mapped = constants.astype(self.dtype) @ own[f"W_s{name}"]
                array += mapped.reshape(batch, *array.shape[::2]).swapaxes(0, 1)
        return unpacked(states)

    def step(
        self,
        x_t: ArrayLike,
        state: State,
        check_finite: bool = True,
        *,
        resets: ArrayLike | None = None,
    ) -> Floats:
        """Read one step of sequences that come in piece by piece, without training.

        It computes in the model's dtype, with precision "bfloat16" too.

        Parameters
        ----------
        x_t : array of shape (batch, input_size); with an embedding tokens (batch,)
            The next step of each sequence.
        state : array of shape (layers, batch, hidden_size), or tuple of two
            Where the sequences are, from `initial_state`, a final state or the step before;
            changed in place. Of the model's dtype, writable, in C order.
        check_finite : bool, default True
            Refuse NaN and infinity in `x_t`. To look at state and weights would cost more than
            the step.
        resets : array of shape (batch,), optional
            Booleans, or 0 and 1: the sequences of which an episode starts with this step. They go
            on from the learned state or zero instead of `state`, as with `resets` of `forward`.

        Returns
        -------
        array of shape (batch, output_size)
            The outputs at this step; without readout the top layer's hidden states.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected; or if the network reads in
            both directions. Then `state` has not changed.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> model = fastbptt.LSTM(3, 4, 1, seed=0)
        >>> x = np.random.default_rng(0).normal(size=(2, 5, 3))
        >>> state = model.initial_state(2)
        >>> outputs = [model.step(x[:, t], state) for t in range(5)]
        >>> bool(np.allclose(np.stack(outputs, axis=1), model.forward(x).outputs, atol=1e-6))
        True
        >>> output = model.step(x[:, 0], state, resets=[True, False])  # the first starts anew
        >>> bool((output[0] == outputs[0][0]).all()), bool((output[1] == outputs[0][1]).all())
        (True, False)
        """
        spec = self._input_spec
        states: Any = (state,) if len(spec.states) == 1 else state
        array: Any = x_t
        if not _arguments.fast_path_step(spec, x_t, states):
            self._one_direction("step", "called")
            array = _arguments.one_step(spec, x_t)
            states = _arguments.carried(spec, state, len(array), self._weights.flat)
        y = np.empty((len(array), spec.width), spec.dtype)
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        if resets is None:
            self._engine.step(array, states, y, finite)
        else:
            anew = _arguments.resets_of_step(spec, resets, len(array))
            self._engine.step(array, states, y, finite, anew)
        return y

    # ------------------------------------------------------------ arguments

    def _checked(
        self,
        x: Any,
        y: Any,
        loss: Any,
        steps: Any,
        reduction: Any,
        lengths: Any,
        h0: Any,
        sample_weight: Any,
        check_finite: Any,
        *,
        unlimited: int = 0,
        warmup: Any = 0,
        resets: Any = None,
        static: Any = None,
        carried: bool = False,
    ) -> tuple[Batch, Objective]:
        """Check everything that a loss needs; at once if it is as it should be.

        unlimited: above 0 where memory does not limit the steps of x. carried: the initial state
        is given apart.
        """
        spec = self._input_spec
        finite = check_finite is True or _check.flag("check_finite", check_finite)
        named = _losses.NAMED.get(loss) if type(loss) is str else None
        loss = _losses.one_or_several(loss) if named is None else named
        first = 0 if type(warmup) is int and warmup == 0 else _check.size("warmup", warmup, 0)
        if (
            lengths is None
            and h0 is None
            and sample_weight is None
            and static is None
            and first == 0
            and resets is None
            and reduction in _check.REDUCTIONS
        ):
            ready = _arguments.fast_path(spec, x, y, loss, steps)
            if ready is not None:
                return (
                    Batch(x, check_finite=finite),
                    Objective(loss=loss, steps=steps, reduction=reduction, y=ready),
                )
        _check.option("steps", steps, _check.READOUTS)
        _check.option("reduction", reduction, _check.REDUCTIONS)
        array, checked = _arguments.inputs(spec, x, lengths, unlimited > 0)
        count, time = array.shape[:2]
        ragged = isinstance(x, list | tuple)
        how = (checked, count, time, loss, steps, ragged)
        several = isinstance(loss, Losses)
        read = _arguments.targets_of_blocks if several else _arguments.targets
        target: Any = read(spec, y, *how)
        initial = _arguments.states(spec, "h0", h0, count)
        if carried and static is not None:
            raise ArgumentError("static and state", "are both given", "one of them")
        constants = None if carried else _arguments.static(spec, static, count, initial)
        many = (count, time, checked, steps, ragged, first)
        weight: Any
        if several:
            weight = _arguments.weights_of_blocks(loss, sample_weight, *many)
        else:
            weight = _arguments.weights(sample_weight, *many)
        _arguments.check_resets(resets, steps, reduction, first)
        marks = _arguments.resets(spec, resets, count, time, checked, ragged)
        return (
            Batch(
                array,
                lengths=checked,
                initial=initial,
                static=constants,
                resets=marks,
                check_finite=finite,
            ),
            Objective(
                loss=loss,
                steps=steps,
                reduction=reduction,
                y=target,
                sample_weight=weight,
                losses=np.empty(len(loss.losses)) if several else None,
            ),
        )

    def _note_digits(self, x: Any, y: Any, batch: Batch, objective: Objective) -> None:
        """Warn of numbers that the model's dtype cannot tell apart, in the first training step."""
        every = objective.steps == "all"
        targets = [("y", y, objective.y, every)]
        if isinstance(objective.loss, Losses):
            named = zip(objective.loss.losses, objective.y, strict=True)
            targets = [(f'y["{block}"]', y[block], own, every) for block, own in named]
        for name, given, read, every in [("x", x, batch.x, True), *targets]:
            if read.dtype.kind != "f":  # tokens, classes
                continue
            listed = isinstance(given, list | tuple) and every
            arrays = [np.asarray(one) for one in given] if listed else [np.asarray(given)]
            if not _check.may_round(arrays, self.dtype):
                continue
            if every and not listed and batch.lengths is not None:
                arrays[0] = arrays[0][np.arange(read.shape[1]) < batch.lengths[:, np.newaxis]]
            tables = [one.reshape(-1, read.shape[-1]) for one in arrays]
            found = _check.unresolved(partial(iter, tables), self.dtype)
            if found is not None:
                _check.warn_of_rounding(name, found, stacklevel=4)

    def _states(self, batch: int) -> tuple[Floats, ...]:
        """Make room for a state, or the gradient of one."""
        spec = self._input_spec
        shape = (spec.rows, batch, spec.hidden_size)
        return tuple([np.empty(shape, spec.dtype) for _ in spec.states])

    def _gradient_targets(self, shape: tuple[int, ...], input_gradient: Any) -> GradientTargets:
        """Make the arrays for the gradients of a batch of this shape."""
        dx = None
        if input_gradient is not False and _check.flag("need_input_grad", input_gradient):
            if self._input_spec.tokens:
                raise ArgumentError(
                    "need_input_grad", "is True", "False because tokens have no gradient"
                )
            dx = np.empty(shape, self._weights.dtype)
        flat = _check.aligned_empty(self._weights.flat.size, self._weights.dtype)
        return GradientTargets(flat, x=dx, initial=self._states(shape[0]))

    def _gradients(self, to: GradientTargets) -> Gradients:
        assert to.initial is not None
        weights = self._weights
        return Gradients(to.parameters, weights.layout, to.x, unpacked(to.initial), weights.frozen)

    def _norm_probes(self, record: Any, batch: Batch, chunk: int = 0) -> NormProbes:
        _check.option("record", record, _check.RECORDS)
        time = batch.x.shape[1]
        cut = batch.resets is not None or 0 < chunk < time
        return NormProbes(self._records.pass_names, time, batch.lengths, cut)

    def _budget(self, value: Any) -> int:
        count = _check.memory("memory_budget", value)
        self._one_direction("memory_budget", "given")
        return count

    def _chunk(self, value: Any) -> int:
        count = _check.size("bptt_steps", value)
        self._one_direction("bptt_steps", "given")
        return count

    def _one_direction(self, name: str, done: str) -> None:
        if self._spec.bidirectional:
            raise ArgumentError(
                name,
                f"is {done}, but bidirectional=True",
                "a model of one direction: the other one needs whole sequences",
            )

    # ------------------------------------------------------------ memory

    def memory_needed(
        self,
        batch: int,
        time: int,
        memory_budget: int | str | None = None,
        *,
        record: str | None = None,
        steps: str = "all",
        resets: int = 0,
        activity: bool = False,
    ) -> int:
        """Compute how many bytes a training step on such a batch takes, at most.

        States, gradients and packed copies of inputs and weights; linear in time. The model's
        own parameters, the arguments and the optimiser's moments are not counted. The memory
        is kept for the next step, and freed with the model. The answer does not depend on what
        the machine has; from 2**60 on it is 2**60.

        Parameters
        ----------
        batch, time : int
            Sequences, and steps of each; for ragged batches the real steps count.
        memory_budget : int or str, optional
            As for `loss_and_grad`.
        record : {None, "gradients"}
            As for `train_step`, of a callback as for `fit`: what is recorded takes memory, too.
        steps : {"last", "all", "mean", "max"}
            As for `train_step`: the loss at all steps, with weights, takes more than that at the
            last one, and for the maximum the gradient of each step is kept.
        resets : int, default 0
            The number of steps with a reset, at most: each episode has states of its own. With a
            `memory_budget` an upper bound within it.
        activity : bool, default False
            Whether the step has penalties on rates or `omega`: the gradient of each step is kept.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(16, 128, 1)
        >>> model.memory_needed(batch=8, time=1000) < 30e6
        True
        >>> model.memory_needed(8, 20_000, memory_budget="50MB") <= 50e6
        True
        """
        batch, time = _check.count("batch", batch), _check.count("time", time)
        budget = 0 if memory_budget is None else self._budget(memory_budget)
        size = self._size(record, steps, resets, activity)
        return self._engine.memory_needed(batch, time, budget, *size)

    def minimum_memory(
        self,
        batch: int,
        time: int,
        *,
        record: str | None = None,
        steps: str = "all",
        resets: int = 0,
        activity: bool = False,
    ) -> int:
        """Compute the smallest `memory_budget` with which such a batch can be trained.

        It is enough for any lengths. With up to 40 hidden units they decide how the states lie in
        memory: then a batch may need less.

        Parameters
        ----------
        batch, time : int
            Sequences, and steps of each, at most.
        record, steps, resets, activity
            As for `memory_needed`; with resets or activity a budget that is enough.

        Examples
        --------
        >>> import fastbptt
        >>> model = fastbptt.RNN(16, 128, 1)
        >>> model.minimum_memory(8, 20_000) < model.memory_needed(8, 20_000)
        True
        """
        batch, time = _check.count("batch", batch), _check.count("time", time)
        self._one_direction("minimum_memory", "called")
        return self._engine.minimum_memory(
            batch, time, *self._size(record, steps, resets, activity)
        )

    def _size(
        self, record: Any, steps: Any, resets: Any, activity: Any
    ) -> tuple[bool, str, int, bool]:
        """Check what else the memory of a training step depends on."""
        norms = record is not None and bool(_check.option("record", record, _check.RECORDS))
        _check.option("steps", steps, _check.READOUTS)
        count = _check.size("resets", resets, 0)
        if count:
            self._one_direction("resets", "given")
            _arguments.check_resets(count, steps, "mean", 0)
        return norms, steps, count, _check.flag("activity", activity)


def _not_an_optimizer(value: object) -> ArgumentTypeError:
    came = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return ArgumentTypeError("optimizer", f"is {came}", "an optimiser such as fastbptt.Adam()")
