"""Base class of the estimators: arguments, standardisation, the network and its training."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import _check, _core
from .._errors import ArgumentError, BadArgumentError
from .._losses import Loss, LossFunction, LossLike
from .._losses import loss as read_loss
from ..models import Recurrent
from ..optim.optimizers import OPTIMIZERS, Optimizer
from ..optim.schedules import SCHEDULES
from ..preprocessing import Imputer, Standardizer
from ..preprocessing.standardizer import MISSING
from ..training import Callback, predict
from ._compat import CallbackSupportMixin
from ._inputs import Array, StackedSteps
from ._joint_fits import Trained, Training, chosen, train_together

_NAMES: Final = {  # of arguments that the optimisers call otherwise
    "lr": "learning_rate_init",
    "weight_decay": "alpha",
    "eps": "epsilon",
    "betas[0]": "beta_1",
    "betas[1]": "beta_2",
}
_SEEDS: Final = 2**31 - 1
_CALLER: Final = 6  # stack level of the caller of fit, above its decorator, _learn, _run, _finish


def fit_standardizer(
    name: str,
    rows: Array,
    weight: Array | None,
    wanted: bool,
    dtype: np.dtype[Any],
    missing: str = "error",
) -> Standardizer:
    """Fit a `Standardizer` to rows, (steps, width) with a weight each; the identity if unwanted.

    `name` is how error messages refer to the rows; `dtype` is the network's, which has to resolve
    rows that are not standardised.
    """
    if not wanted:
        columns = [rows]
        if missing == "mask":
            columns = [one[~np.isnan(one)][:, np.newaxis] for one in rows.T]
        for place, one in enumerate(columns if missing == "mask" else ()):
            if not len(one):
                raise ArgumentError(name, f"holds only NaN in column {place}", "a number in each")
        found = None
        for place, block in enumerate(columns):
            found = _check.unresolved(partial(iter, [block]), dtype)
            if found is not None:
                found = found._replace(column=found.column + place)
                break
        if found is not None:
            came = f"has {found} (column {found.column})"
            raise ArgumentError(name, came, 'standardize=True, or dtype="float64"')
        width = rows.shape[1]
        return Standardizer.from_dict({"mean": np.zeros(width), "scale": np.ones(width)})
    return Standardizer(missing=missing).fit(rows, sample_weight=weight, name=name)


def loss_of_numbers(value: Any) -> Loss:
    """Read the loss of a regressor: one that predicts numbers, with one prediction for a target."""
    loss = read_loss(value)
    if loss.predicts != "numbers":
        every = map(Loss, _core.losses())
        names = [f'"{one.name}"' for one in every if one.predicts == "numbers"]
        raise ArgumentError("loss", f'is "{loss}"', f"a loss of numbers: {', '.join(names)}")
    loss.check_point()
    return loss


def loss_of_classes(value: Any) -> Loss | None:
    """Read the loss of a classifier, one that gives probabilities; None: chosen by the classes."""
    if isinstance(value, str) and value == "auto":
        return None
    loss = read_loss(value)
    if loss.link not in ("logistic", "softmax"):
        every = map(Loss, _core.losses())
        names = [f'"{one.name}"' for one in every if one.link in ("logistic", "softmax")]
        expected = f'"auto", or a loss that gives probabilities: {", ".join(names)}'
        raise ArgumentError("loss", f'is "{loss}"', expected)
    return loss


@contextmanager
def _own_names() -> Iterator[None]:
    """Give the settings of an optimiser in messages the names that they have here."""
    try:
        yield
    except BadArgumentError as error:
        name = error.argument if error.item is None else f"{error.argument}[{error.item}]"
        if name in _NAMES:
            error.argument, error.item = _NAMES[name], None
            error.expected = error.expected.replace("two numbers", "a number")
        raise


# Parameters of the network, its scaling and its targets: later calls that train further keep them.
_MADE_ONCE: Final = (
    *("cell", "hidden_layer_sizes", "bidirectional", "dropout", "leaky_alpha", "init", "dtype"),
    *("standardize", "steps", "loss", "window", "horizon", "center"),
)

# Attributes of earlier training that an ensemble, or a single network, does not have.
_OF_TRAINING: Final = (
    *("model_", "estimators_", "history_", "loss_curve_", "best_loss_"),
    *("validation_scores_", "best_validation_score_"),
)

# Those of a network, which each member of an ensemble has.
_OF_ONE: Final = tuple(name for name in _OF_TRAINING if name != "estimators_")


class CallbackBridge(Callback):
    """Passes every epoch on to scikit-learn's callbacks, which may stop the training."""

    def __init__(self, estimator: Any, context: Any, arguments: dict[str, Any]) -> None:
        self._estimator = estimator
        self._context = context
        self._arguments = arguments
        self._epoch: Any = None

    def on_epoch_begin(self, run: Any) -> None:
        """Begin the epoch's task."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._arguments)

    def on_epoch_end(self, run: Any) -> bool:
        """End the epoch's task; true: stop."""
        return bool(
            self._epoch.call_on_fit_task_end(
                estimator=self._estimator,
                reconstruction_attributes=lambda: {"model_": run.model.copy()},
                **self._arguments,
            )
        )


class RecurrentEstimator(CallbackSupportMixin, BaseEstimator):
    """Base class of the scikit-learn estimators."""

    # ------------------------------------------------------------ set by subclasses

    #: metric for early stopping, a name in fastbptt.METRICS
    _metric: str

    # ------------------------------------------------------------ arguments

    def _keep(self, given: dict[str, Any]) -> None:
        """Store the constructor's arguments unchanged, as scikit-learn demands."""
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def _sizes(self) -> tuple[int, int]:
        """Return the units per layer and the number of layers."""
        given = self.hidden_layer_sizes
        name = "hidden_layer_sizes"
        if np.ndim(given) == 0:
            return _check.size(name, given), 1
        sizes = [_check.size(f"{name}[{i}]", one) for i, one in enumerate(given)]
        if not sizes or len(set(sizes)) > 1:
            raise ValueError(
                f"{name} is {_check.shown(given)}; expected one number, or equal ones, such as "
                "(64, 64): all layers have the same size"
            )
        return sizes[0], len(sizes)

    def _check_all_arguments(self) -> None:
        self._check_arguments()

    def _check_arguments(self) -> None:
        """Check arguments that the network and `fit` do not check under the same name."""
        if isinstance(self, ClassifierMixin):
            loss_of_classes(self.loss)
        else:
            loss_of_numbers(self.loss)
        _check.option("missing", self.missing, MISSING)
        if hasattr(self, "steps"):
            _check.option("steps", self.steps, _check.READOUTS)
        _check.option("solver", self.solver, OPTIMIZERS)
        if isinstance(self.learning_rate, str):
            _check.option("learning_rate", self.learning_rate, SCHEDULES)
        for name in ("max_iter", "n_iter_no_change"):
            if getattr(self, name) != np.inf or name == "max_iter":
                _check.size(name, getattr(self, name))
        if self.batch_size != "auto":
            _check.size("batch_size", self.batch_size)
        for name in ("shuffle", "warm_start", "early_stopping", "standardize", "bootstrap"):
            _check.flag(name, getattr(self, name, False))
        several = _check.size("n_estimators", self.n_estimators) > 1
        if several and self.warm_start:
            raise ArgumentError(
                "warm_start",
                f"is True with n_estimators={self.n_estimators}",
                "False: an ensemble is trained anew; or n_estimators=1",
            )
        if several and getattr(self, "_skl_callbacks", None):
            raise ArgumentError(
                "n_estimators",
                f"is {self.n_estimators} beside callbacks",
                "1, or no callbacks: set_callbacks()",
            )
        if self.bootstrap:
            for name, why in (
                ("warm_start", "each call would draw others"),
                ("early_stopping", "a sequence that is drawn twice would be in both parts"),
            ):
                if getattr(self, name):
                    raise ArgumentError("bootstrap", f"is True with {name}=True", f"False: {why}")
        for name in ("alpha", "tol", "learning_rate_init"):
            value = _check.number(name, getattr(self, name), "a number of at least 0")
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; expected a number of at least 0")
        fraction = _check.number("validation_fraction", self.validation_fraction, "between 0 and 1")
        if not 0.0 < fraction < 1.0:
            raise ValueError(
                f"validation_fraction is {fraction}; expected a number between 0 and 1"
            )

    def _dtype(self, rows: Array) -> np.dtype[Any]:
        return rows.dtype if self.dtype == "auto" else _check.float_dtype(self.dtype)

    def _optimizer_for(self, first: bool, batch_weight: float) -> Optimizer:
        """Make the optimiser; it keeps the moments of earlier calls if its class is the same."""
        kind = OPTIMIZERS[self.solver]
        known = {
            "lr": self.learning_rate_init,
            "weight_decay": self.alpha if self.solver == "adamw" else self.alpha / batch_weight,
            "betas": (self.beta_1, self.beta_2),
            "eps": self.epsilon,
        }
        if self.solver == "sgd":
            known["momentum"] = self.momentum
            known["nesterov"] = bool(self.nesterovs_momentum and self.momentum > 0)
        made = kind(**{name: known[name] for name in kind._settings if name in known})
        if not first and type(self._optimizer) is kind:
            kept = self._optimizer.__getstate__()
            if self._optimizer._moments == made._moments:
                made.__setstate__({**made.__getstate__(), "bound": kept["bound"]})
        return made

    # ------------------------------------------------------------ training

    def _is_first(self, partial: bool = False) -> bool:
        """Whether a call of fit starts afresh; if so, remove the model of earlier calls."""
        first = not (hasattr(self, "model_") and (partial or self.warm_start))
        if first:
            for name in _OF_TRAINING:
                self.__dict__.pop(name, None)
            return first
        for name, before in self._built.items():
            if getattr(self, name) != before:
                raise ArgumentError(
                    name,
                    f"is {_check.shown(getattr(self, name))}",
                    f"{_check.shown(before)}, with which the network that is trained further was "
                    "made; for a new one fit with warm_start=False",
                )
        return first

    def _network(self, inputs: int, outputs: int, dtype: np.dtype[Any]) -> None:
        """Make `model_`, or `estimators_`, and reset the attributes of earlier training."""
        units, layers = self._sizes()
        self._dtype_of_network = dtype
        try:
            self._random_state = check_random_state(self.random_state)
        except ValueError:
            came = f"is {_check.shown(self.random_state)}"
            expected = "None, a whole number from 0 up, or a numpy.random.RandomState"
            raise ArgumentError("random_state", came, expected) from None
        self.t_ = 0
        if self.n_estimators > 1:
            found = []
            for seed in self._random_state.randint(_SEEDS, size=self.n_estimators):
                member = copy.copy(self)  # with the same scalers and classes
                member.n_estimators, member.random_state = 1, int(seed)
                member._network(inputs, outputs, dtype)
                found.append(member)
            self.estimators_ = found
            return
        try:
            self.model_ = Recurrent(
                self.cell,
                inputs,
                units,
                outputs,
                alpha=self.leaky_alpha,
                num_layers=layers,
                bidirectional=self.bidirectional,
                dropout=self.dropout,
                init=self.init,
                dtype=dtype,
                seed=self._random_state.randint(_SEEDS),
            )
        except BadArgumentError as error:
            if error.argument == "alpha":
                error.argument = "leaky_alpha"  # `alpha` is the estimators' weight decay
            raise
        self._built = {name: getattr(self, name) for name in _MADE_ONCE if hasattr(self, name)}
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None

    def _scale_inputs(self, rows: Array, weight: Array | None, dtype: np.dtype[Any]) -> int:
        """Set `scaler_` and `imputer_` by the steps of a first call; return the network's inputs.

        weight: of each step.
        """
        self.scaler_ = fit_standardizer("X", rows, weight, self.standardize, dtype, self.missing)
        self.imputer_ = None
        if self.missing == "error":
            return int(rows.shape[1])
        self.imputer_ = Imputer().fit([rows])
        return int(rows.shape[1]) + len(self.imputer_.features_)

    def _scaled(self, x: StackedSteps) -> StackedSteps:
        """Standardise inputs, and fill their gaps; no copy with ``standardize=False``."""
        dtype = self._dtype_of_network
        scaler = self.scaler_
        if not scaler.mean_.any() and (scaler.scale_ == 1.0).all():
            rows = x.rows.astype(dtype, copy=False)
        else:
            rows = scaler.transform(x.rows, dtype=dtype)
        if self.imputer_ is None:
            return x.with_rows(rows)
        found = self.imputer_._new_gap(rows)
        if found is not None:
            row, feature = found
            i = int(np.searchsorted(np.cumsum(x.lengths), row, side="right"))
            step = row - int(x.lengths[:i].sum())
            raise ArgumentError(
                "X",
                "has no value, but in fit this feature had no gap",
                "values: fill them, or fit on data with such gaps",
                index=(i, step, feature),
            )
        return x.with_rows(self.imputer_._of_rows(rows))

    if not TYPE_CHECKING:  # which would otherwise find any attribute

        def __getattr__(self, name: str) -> Any:
            if name in _OF_ONE and "estimators_" in self.__dict__:
                raise AttributeError(
                    f"{type(self).__name__} has no {name}: with n_estimators="
                    f"{len(self.estimators_)} each of estimators_ has its own, such as "
                    f"estimators_[0].{name}"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _members(self) -> list[Any]:
        """Return the estimators that have a network each: those of an ensemble, or this one."""
        return getattr(self, "estimators_", [self])

    def _check_fitted(self) -> None:
        if not hasattr(self, "estimators_"):
            check_is_fitted(self, "model_")

    def _single(self, name: str) -> None:
        """Refuse a call that an ensemble does not have."""
        if hasattr(self, "estimators_"):
            raise ArgumentError(
                "n_estimators",
                f"is {self.n_estimators}, of which {name} can show one",
                f"estimators_[0].{name}(..), or another of estimators_",
            )

    def _trainings(self, x: Any, y: Any, weight: Any, **options: Any) -> list[Training]:
        """Describe the training of each member; x, y and weight are those of all sequences."""
        if hasattr(self, "estimators_"):
            options["callbacks"] = ()  # there is nobody to call: see _check_arguments
        return [one._training(x, y, weight, **options) for one in self._members()]

    def _training(
        self,
        x: Any,
        y: Any,
        weight: Array | list[Array] | None,
        *,
        of_sequences: Array | None,
        loss: LossLike | LossFunction,
        steps: str,
        first: bool,
        partial: bool = False,
        validation: Any = None,
        callbacks: tuple[Any, ...] = (),
        metric: Any = None,
    ) -> Training:
        """Describe a call of fastbptt.fit with `model_`.

        of_sequences: the weights of the sequences; None: there are none. metric: for early
        stopping, in the place of that of the same name.
        """
        stopping = self.early_stopping
        count, epochs = len(x), 1 if partial else self.max_iter
        size = min(200 if self.batch_size == "auto" else self.batch_size, count)
        patience = None if partial or self.n_iter_no_change == np.inf else self.n_iter_no_change
        seed = self._random_state.randint(_SEEDS)
        if self.bootstrap:
            rows = self._random_state.randint(count, size=count)
            x, y = chosen(x, rows), chosen(y, rows)
            weight = None if weight is None else chosen(weight, rows)
            of_sequences = None if of_sequences is None else of_sequences[rows]
        whole = float(count) if of_sequences is None else float(of_sequences.sum())
        with _own_names():
            self._optimizer: Optimizer = self._optimizer_for(first, whole * size / count)
        arguments = {
            "loss": loss,
            "steps": steps,
            "sample_weight": weight,
            "epochs": epochs,
            "batch_size": size,
            "optimizer": self._optimizer,
            "schedule": None if partial else self.learning_rate,
            "clip_norm": self.clip_norm,
            "validation": validation,
            "patience": patience,
            "min_delta": self.tol,
            "monitor": f"validation_{self._metric}" if stopping else "loss",
            "restore_best": stopping,
            "metrics": (metric or self._metric,) if stopping else (),
            "training_metrics": False,
            "callbacks": callbacks,
            "shuffle": self.shuffle,
            "seed": seed,
        }
        return Training(self, self.model_, x, y, arguments)

    def _run(self, trainings: list[Training], partial: bool = False) -> None:
        """Train, and set the attributes about it."""
        verbose = 2 if self.verbose is True else int(self.verbose)
        with _own_names():
            if len(trainings) == 1:
                histories = [trainings[0].run(verbose)]
            else:
                histories = train_together(trainings, verbose)
        self._finish([len(one.x) for one in trainings], histories, partial)

    def _finish(self, counts: list[int], histories: list[Any], partial: bool = False) -> None:
        """Set the attributes about training, and warn of an early end."""
        members = self._members()
        for member, count, history in zip(members, counts, histories, strict=True):
            member._note(count, history)
        stopped = [one.stopped for one in histories]
        untrained = ""
        if hasattr(self, "estimators_"):
            begun = [one for one in members if one.n_iter_] or members
            if len(begun) < len(members):  # else their random weights would count in every mean
                untrained = f"; estimators_ has the {len(begun)} of {len(members)} that were begun"
                self.estimators_ = members = begun
            self.n_iter_ = max(one.n_iter_ for one in members)
            self.loss_ = float(np.mean([one.loss_ for one in members]))
            self.t_ = sum(one.t_ for one in members)
        if "interrupted" in stopped:
            text = f"training was interrupted by the user{untrained}"
            warnings.warn(text, stacklevel=_CALLER)
        elif "epochs" in stopped and not partial:
            warnings.warn(
                f"maximum number of epochs (max_iter={self.max_iter}) reached without convergence",
                ConvergenceWarning,
                stacklevel=_CALLER,
            )

    def _note(self, count: int, history: Any) -> None:
        """Set the attributes about a training on so many sequences."""
        losses = history.curves.get("loss", [])  # none if training was interrupted at once
        self.history_ = history
        self.n_iter_ = len(losses)
        self.t_ += count * self.n_iter_
        self.loss_curve_ += losses
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else math.nan
        self.best_loss_ = self.best_validation_score_ = None
        if not self.early_stopping:
            self.best_loss_ = min(self.loss_curve_, default=math.nan)
            return
        scores = history.curves.get(f"validation_{self._metric}", [])
        self.validation_scores_ = [*(self.validation_scores_ or ()), *scores]
        # of the epoch whose weights were restored
        best = history.best_epoch
        self.best_validation_score_ = scores[best - 1] if best else math.nan

    def _adopt(self) -> bool:
        """Take over a training that was made ahead, by `_search`; return whether there is one."""
        ahead: Trained | None = self.__dict__.pop("_ahead", None)
        if ahead is None:
            return False
        self.__dict__.update(ahead.state)
        self._finish(ahead.counts, ahead.histories)
        return True

    @contextmanager
    def _callback_context(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> Iterator[tuple[Any, ...]]:
        """Run scikit-learn's callbacks around `fit`; yields the bridge for `fastbptt.fit`.

        The decorator of `fit` must be `with_callbacks`.
        """
        if not hasattr(self, "_init_callback_context"):
            yield ()
            return
        context = self._init_callback_context(max_subtasks=self.max_iter)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        arguments = {"X": X, "y": y, "metadata": metadata}
        context.call_on_fit_task_begin(estimator=self, **arguments)
        yield (CallbackBridge(self, context, arguments),)
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **arguments)

    # ------------------------------------------------------------ predicting

    def _outputs(self, x: StackedSteps, steps: str) -> Array:
        """Return the outputs of the network: (sequences, outputs), or (all steps, outputs)."""
        out = predict(self.model_, x.sequences(), steps=steps)
        if steps != "all":
            return np.asarray(out)
        return np.concatenate(out) if isinstance(out, list) else out.reshape(len(x.rows), -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True  # besides two_d_array: univariate series
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags
