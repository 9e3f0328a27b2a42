"""Classifier and regressor of whole sequences, or of all their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .. import _check
from .._errors import ArgumentError
from .._losses import Loss, LossLike
from ..preprocessing import Standardizer
from ..training.evaluation import probabilities
from ..training.labelled import class_factors
from ._base import RecurrentEstimator, fit_standardizer, loss_of_classes, loss_of_numbers
from ._compat import with_callbacks
from ._inputs import (
    Array,
    StackedSteps,
    check_numbers,
    check_same_times,
    read_inputs,
    read_labels,
    read_step_targets,
)
from ._joint_fits import Training
from ._sample_weight import SampleWeight, check_weight_left, without_gaps


class _Supervised(RecurrentEstimator):
    """Base class of classifier and regressor."""

    _labels: bool  # whether targets are names of classes

    @property
    def _loss(self) -> LossLike:
        raise NotImplementedError

    def _read_y(self, y: Any, x: StackedSteps) -> StackedSteps:
        raise NotImplementedError

    def _begin(
        self, y: StackedSteps, weight: Array | None, classes: Any, dtype: np.dtype[Any]
    ) -> int:
        """Infer the output size from y, of which each row has a weight."""
        raise NotImplementedError

    def _encode(self, y: StackedSteps) -> Array:
        """Turn y into targets of the network."""
        raise NotImplementedError

    def _weigh(
        self, y: StackedSteps, x: StackedSteps, weight: SampleWeight | None
    ) -> SampleWeight | None:
        return weight

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on sequences.

        Parameters
        ----------
        X : array (n, time, features), list of arrays (time_i, features), or array (n, time)
            The sequences; a two-dimensional array is one univariate series per row.
        y : array-like
            Labels or targets; see the class.
        sample_weight : array-like of shape (n,) or (n, time), or list of (time_i,), optional
            Weights of at least 0, of the sequences, or with ``steps="all"`` of their steps. Where
            one is 0, y is not read. A sequence without any weight is left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.
        """
        if self._adopt():
            return self
        self._check_arguments()
        with self._callback_context(X, y, sample_weight) as callbacks:
            self._learn(X, y, sample_weight, callbacks=callbacks)
        return self

    def _learn(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> None:
        trainings = self._prepare(X, y, sample_weight, **options)
        self._run(trainings, options.get("partial", False))

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        partial: bool = False,
        classes: Any = None,
        callbacks: tuple[Any, ...] = (),
    ) -> list[Training]:
        """Read the data, make the network and describe its training."""
        first = self._is_first(partial)
        x = read_inputs(self, X, first)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, "
                "but the target y is None"
            )
        if first:
            self._steps = self.steps
        if self._steps == "all":
            check_same_times(X, y)
        else:
            _check.one_each("y", y, "label" if self._labels else "target")
        given = SampleWeight.read(sample_weight, x, self._steps)
        y, weight = without_gaps(y, x, self._steps, given, self.missing, self._labels)
        target = self._read_y(y, x)
        present = check_weight_left(weight, x)
        if weight is not None and present is not None:
            weight = weight.take(present, x)
            given = None if given is None else given.take(present, x)
            x, target = x.take(present), target.take(present)
        if first:
            dtype = self._dtype(x.rows)
            spread = None if given is None else x.spread(given.of_sequences(x))
            inputs = self._scale_inputs(x.rows, spread, dtype)
            each = None if weight is None else weight.of_targets(x, self._steps)
            outputs = self._begin(target, each, classes, dtype)
            self._network(inputs, outputs, dtype)
        weight = self._weigh(target, x, weight)
        return self._trainings(
            self._scaled(x).sequences(),
            target.with_rows(self._encode(target)).sequences()
            if self._steps == "all"
            else self._encode(target),
            None if weight is None else weight.sequences(x),
            of_sequences=None if weight is None else weight.of_sequences(x),
            loss=self._loss,
            steps=self._steps,
            first=first,
            partial=partial,
            validation=self.validation_fraction if self.early_stopping else None,
            callbacks=callbacks,
        )

    def _check_partial(self) -> None:
        self._check_arguments()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.bootstrap:
            raise ValueError("partial_fit does not support bootstrap=True")
        if self.n_estimators > 1:
            raise ValueError(
                f"n_estimators is {self.n_estimators}; expected 1: partial_fit trains no ensembles"
            )

    def _predicted(self, X: Any) -> tuple[StackedSteps, list[Array]]:
        """Return the sequences, and the outputs of each network."""
        self._check_fitted()
        x = read_inputs(self, X, False)
        scaled = self._scaled(x)
        return x, [one._outputs(scaled, self._steps) for one in self._members()]

    def _like(self, x: StackedSteps, rows: Array) -> Any:
        """Give results the form of X."""
        return rows if self._steps != "all" else x.with_rows(rows).sequences()

    def _score_parts(self, X: Any, y: Any, sample_weight: Any) -> tuple[Array, Array, Any]:
        """Return the targets that have a weight, predictions and these weights."""
        x = read_inputs(self, X, False)
        given = SampleWeight.read(sample_weight, x, self._steps)
        y, weight = without_gaps(y, x, self._steps, given, self.missing, self._labels)
        if self._steps == "all":
            truth, predicted = read_step_targets(y, x).rows, np.concatenate(list(self.predict(X)))
        else:
            truth, predicted = self._read_y(y, x).rows, self.predict(X)
        if weight is None:
            return truth, predicted, None
        each = weight.of_targets(x, self._steps)
        there = each > 0.0
        return truth[there], predicted[there], each[there]


def _listed(classes: Array, most: int = 10) -> str:
    """Write the first classes as in Python."""
    names = [repr(one) for one in classes[:most].tolist()]
    return ", ".join([*names, "..."] if len(classes) > most else names)


class RecurrentClassifier(ClassifierMixin, _Supervised):
    """Classifier of sequences, or of every step of them, by a recurrent network.

    Parameters
    ----------
    cell : str, default "gru"
        Type of the hidden layers, a name of ``fastbptt.cells()``.
    hidden_layer_sizes : int or tuple of int, default (64,)
        Hidden units of each layer. All layers have the same size: ``(64, 64)`` is two layers of 64.
    bidirectional : bool, default False
        Read sequences in both directions.
    dropout : float, default 0
        Dropout rate between layers; no effect with a single layer.
    steps : {"last", "all", "mean", "max"}, default "last"
        One label per sequence, predicted at its last step; one per step (many to many); or one per
        sequence, from the mean or the maximum of the hidden states over its steps.
    solver : {"adam", "adamw", "sgd", "rmsprop"}, default "adam"
        A name in ``fastbptt.optim.OPTIMIZERS``.
    alpha : float, default 1e-4
        Strength of the L2 regularisation: alpha / 2 times the sum of squares of all parameters,
        divided by the sequences in a batch (or the sum of their weights), is added to the mean
        loss, as in ``MLPClassifier``. With ``"adamw"`` the decoupled weight decay.
    batch_size : int or "auto", default "auto"
        Sequences per update; ``"auto"`` is min(200, n).
    learning_rate : str or schedule, default "constant"
        Learning-rate schedule: a name in ``fastbptt.schedules.SCHEDULES``, or an instance. Constant
        in `partial_fit`.
    learning_rate_init : float, default 0.005
        Initial learning rate.
    max_iter : int, default 200
        Maximum number of epochs.
    shuffle : bool, default True
        Shuffle the sequences in every epoch.
    random_state : int, RandomState or None
        Seed of the initial weights, dropout, order of sequences and validation split.
    tol, n_iter_no_change : float, default 1e-4; int or inf, default 10
        Training ends when the loss, or with `early_stopping` the validation score, has not improved
        by at least `tol` for `n_iter_no_change` epochs.
    verbose : bool or int, default False
        As for `fastbptt.fit`; True: a line per epoch.
    warm_start : bool, default False
        `fit` continues with the weights, scaling and optimiser of the last call. Sizes and cell
        stay the same.
    momentum, nesterovs_momentum : float, default 0.9; bool, default True
        Settings of ``"sgd"``.
    early_stopping : bool, default False
        Hold out sequences, stratified by class, and stop early by the accuracy on them; the best
        weights are restored.
    validation_fraction : float, default 0.1
        Fraction held out.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Settings of ``"adam"`` and ``"adamw"``; `epsilon` also of ``"rmsprop"``.
    clip_norm : float or None, default 1.0
        Maximum gradient norm.
    class_weight : dict, "balanced" or None, default None
        Weights of the classes. ``"balanced"``: inversely proportional to their frequencies.
    leaky_alpha : float, optional
        Update rate of the cell ``"leaky"``, the `alpha` of `fastbptt.Recurrent`.
    init : str or (str, float), default "torch"
        Weight initialisation: `fastbptt.initializers`.
    standardize : bool, default True
        Subtract each feature's mean over all steps of the training sequences and divide by its
        standard deviation, as `fastbptt.Standardizer` does. Networks train poorly on features of
        other scales, and a ``StandardScaler`` before this estimator cannot read sequences. With
        `partial_fit` and `warm_start`, means and deviations are those of the first call.
    dtype : {"auto", "float32", "float64"}, default "auto"
        Data type of the arithmetic. ``"auto"``: that of X, as in ``MLPClassifier``, that is float64
        unless X is float32. ``"float32"`` is twice as fast.
    loss : "auto", str or `fastbptt.Loss`, default "auto"
        ``"bce"`` for two classes, ``"cross_entropy"`` for more. Either may have parameters, as
        ``Loss("cross_entropy", label_smoothing=0.1, gamma=2.0)``; of two classes
        ``"cross_entropy"`` makes two outputs.
    missing : {"error", "mask"}, default "error"
        Missing values: an error, or left out. Then labels that are None or NaN have weight 0, in
        `score` as well; missing inputs, NaN, are 0 after standardisation, and the network has one
        more input for each feature with gaps in the first call of `fit`, which is 1 where the value
        is missing. Other features must have values. In an array X steps of NaN at the end remain
        the end of a sequence; in a list of arrays they are gaps.
    n_estimators : int, default 1
        Networks of an ensemble, which differ by their seeds and are trained together. Predictions
        come from the mean of their probabilities.
    bootstrap : bool, default False
        Train each network on as many sequences, drawn with replacement. Not with `early_stopping`.

    Attributes
    ----------
    classes_ : array of the labels
    model_ : fastbptt.Recurrent
        Not with `n_estimators` above 1.
    estimators_ : list of RecurrentClassifier
        With `n_estimators` above 1: a fitted estimator for each network, with the seed that trains
        it alone as its `random_state`. Their scalers are those of the ensemble.
    scaler_ : fastbptt.Standardizer
        Of the features; mean 0 and scale 1 with ``standardize=False``.
    imputer_ : fastbptt.Imputer or None
        With ``missing="mask"``, the features that have an indicator.
    n_features_in_ : int
        Features per step; for a two-dimensional X its width, which is then fixed.
    n_iter_ : int
        Epochs of the last call; of an ensemble the largest number.
    loss_, best_loss_, loss_curve_ : float, float or None, list of float
        Mean training loss per epoch: of the last epoch, the lowest, all since initialisation. An
        ensemble has `loss_`, the mean, alone; the rest is in `estimators_`.
    validation_scores_, best_validation_score_ : list of float or None, float or None
        With `early_stopping`.
    history_ : fastbptt.History
        Of the last call. Not with `n_estimators` above 1; nor is `loss_curve_`: each of
        `estimators_` has its own.
    t_ : int
        Sequences seen in training.
    n_outputs_, out_activation_ : int, str

    Notes
    -----
    X is an array (n, time, features), a list of arrays (time_i, features), or an array (n, time),
    each row a univariate series. y has one label per sequence, (n,), or with ``steps="all"`` one
    per step: (n, time), or a list of (time_i,). `GridSearchCV` and `cross_val_score` take
    lists as they are.

    To train several estimators in parallel threads (``n_jobs`` with joblib's backend
    ``"threading"``), call ``fastbptt.set_num_threads(1)`` before, so that they share the cores. In
    worker processes joblib limits the threads.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> from fastbptt.sklearn import RecurrentClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(length, 1)) for length in rng.integers(5, 15, size=60)]
    >>> y = ["up" if len(one) > 9 else "down" for one in X]
    >>> model = RecurrentClassifier(hidden_layer_sizes=8, max_iter=500, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    _metric = "accuracy"
    _labels = True

    def __init__(
        self,
        cell: str = "gru",
        hidden_layer_sizes: Any = (64,),
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        steps: str = "last",
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.005,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        clip_norm: float | None = 1.0,
        class_weight: Any = None,
        leaky_alpha: float | None = None,
        init: Any = "torch",
        standardize: bool = True,
        dtype: str = "auto",
        loss: Any = "auto",
        missing: str = "error",
        n_estimators: int = 1,
        bootstrap: bool = False,
    ) -> None:
        self._keep(locals())

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train for one epoch on some sequences; further calls continue.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. Scaling is fixed by the first call.
        classes : array-like, optional
            All labels; required in the first call.

        Returns
        -------
        self
        """
        self._check_partial()
        if self.class_weight == "balanced":
            raise ValueError(
                'class_weight is "balanced"; expected a dict or None: partial_fit cannot know '
                "the class frequencies"
            )
        known = getattr(self, "classes_", None)
        if classes is None and known is None:
            raise ValueError("classes must be passed on the first call to partial_fit")
        if classes is not None:
            classes = np.unique(np.asarray(read_labels(classes, "last", "classes")))
            if known is not None and not np.array_equal(known, classes):
                raise ValueError(
                    f"classes holds {_listed(classes)}; expected {_listed(known)}, as in the first "
                    "call"
                )
        self._learn(X, y, sample_weight, partial=True, classes=classes)
        return self

    # ------------------------------------------------------------ targets

    def _read_y(self, y: Any, x: StackedSteps) -> StackedSteps:
        y = read_labels(y, self._steps)
        if self._steps != "all":
            shape = np.asarray(y).shape
            if len(shape) == 2 and shape[1] > 1:
                per_step = (x.lengths == shape[1]).all()
                steps = '; for labels at every step, steps="all"' * bool(per_step)
                raise ValueError(
                    f"y has shape {shape}; expected (n,): one label per sequence. Of one-hot rows, "
                    f"give y.argmax(axis=1){steps}; for several labels at once, train with "
                    'fastbptt.fit and loss="bce"'
                )
            target = StackedSteps.single(column_or_1d(y, warn=True))
            check_consistent_length(x.lengths, target.rows)
        else:
            target = read_step_targets(y, x)
            if target.rows.ndim != 1:
                single = "; of this one, give y[..., 0]" * (target.rows.shape[1] == 1)
                raise ValueError(
                    "y has an axis of outputs; expected one label per step, (n, time) or a list of "
                    f"(time_i,){single}"
                )
        labels = check_array(target.rows, ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(labels)
        return target.with_rows(labels)

    def _begin(
        self, y: StackedSteps, weight: Array | None, classes: Any, dtype: np.dtype[Any]
    ) -> int:
        found = np.unique(y.rows) if classes is None else classes
        count = len(found)
        if count < 2:
            only = np.asarray(found).tolist()[0]
            raise ValueError(f"y has 1 class ({_check.shown(only)}); expected at least 2")
        loss = loss_of_classes(self.loss)
        if count > 2 and loss is not None and loss.link == "logistic":
            came = f'is "{loss}", of two classes, but y has {count}'
            raise ArgumentError("loss", came, '"cross_entropy", or "auto"')
        self.classes_ = found
        one = count == 2 and (loss is None or loss.link == "logistic")
        self.n_outputs_ = 1 if one else count
        self.out_activation_ = "logistic" if one else "softmax"
        return self.n_outputs_

    @property
    def _loss(self) -> LossLike:
        usual = "bce" if self.n_outputs_ == 1 else "cross_entropy"
        return loss_of_classes(self.loss) or usual

    def _codes(self, y: StackedSteps) -> NDArray[np.int64]:
        """Encode labels as class indices."""
        codes = np.minimum(np.searchsorted(self.classes_, y.rows), len(self.classes_) - 1)
        strange = self.classes_[codes] != y.rows
        if strange.any():
            raise ValueError(
                f"y has the class {_listed(y.rows[strange][:1])}; expected one of "
                f"{_listed(self.classes_)}, the classes of the first call"
            )
        return codes.astype(np.int64)

    def _encode(self, y: StackedSteps) -> Array:
        codes = self._codes(y)
        return codes.astype(self._dtype_of_network) if self.n_outputs_ == 1 else codes

    def _weigh(
        self, y: StackedSteps, x: StackedSteps, weight: SampleWeight | None
    ) -> SampleWeight | None:
        """Multiply the weights of targets by those of their classes."""
        given = self.class_weight
        if given is None:
            return weight
        codes = self._codes(y)
        weight = weight or SampleWeight(np.ones(len(x.lengths)), False)
        own = weight.of_targets(x, self._steps)
        factors = class_factors(given, self.classes_, codes, own)
        return weight.times(factors[codes], x, self._steps)

    # ------------------------------------------------------------ predictions

    def _logits(self, X: Any) -> tuple[StackedSteps, Array]:
        """Return the sequences and their logits; of several networks those of the mean."""
        x, several = self._predicted(X)
        if len(several) == 1:
            return x, several[0]
        mean = np.mean([probabilities(z) for z in several], axis=0)
        with np.errstate(divide="ignore"):
            logs = np.log(mean)
            return x, logs[:, 1:] - logs[:, :1] if self.n_outputs_ == 1 else logs

    def decision_function(self, X: Any) -> Any:
        """Compute the logits; of an ensemble those of its mean probabilities.

        Returns
        -------
        array (n,) for two classes, positive for the second; else (n, classes)
            With ``steps="all"`` (n, time[, classes]), or a list of (time_i[, classes]).
        """
        x, z = self._logits(X)
        if self.n_outputs_ == 1:
            return self._like(x, z[:, 0])
        return self._like(x, z[:, 1] - z[:, 0] if self.n_outputs_ == 2 else z)

    def predict_proba(self, X: Any) -> Any:
        """Compute the probabilities of the classes, in the order of `classes_`.

        Returns
        -------
        array (n, classes)
            With ``steps="all"`` (n, time, classes), or a list of (time_i, classes).
        """
        x, several = self._predicted(X)
        return self._like(x, np.mean([probabilities(z) for z in several], axis=0))

    def predict_log_proba(self, X: Any) -> Any:
        """Compute the logarithms of `predict_proba`."""
        x, several = self._predicted(X)
        mean = np.mean([probabilities(z) for z in several], axis=0)
        with np.errstate(divide="ignore"):
            return self._like(x, np.log(mean))

    def predict(self, X: Any) -> Any:
        """Predict the most probable labels.

        Returns
        -------
        array (n,)
            With ``steps="all"`` (n, time), or a list of (time_i,).
        """
        x, z = self._logits(X)
        codes = (z[:, 0] > 0).astype(np.intp) if self.n_outputs_ == 1 else z.argmax(axis=1)
        return self._like(x, self.classes_[codes])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy, with ``steps="all"`` over all steps.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`; with ``missing="mask"`` over the labels that are there.

        Returns
        -------
        float
        """
        self._check_fitted()
        if self._steps != "all" and self.missing == "error":
            return float(super().score(X, y, sample_weight))
        truth, predicted, weight = self._score_parts(X, y, sample_weight)
        return float(accuracy_score(truth, predicted, sample_weight=weight))


class RecurrentRegressor(RegressorMixin, _Supervised):
    """Regressor of sequences, or of every step of them, by a recurrent network.

    Parameters
    ----------
    cell, hidden_layer_sizes, bidirectional, dropout, solver, alpha, batch_size, learning_rate
        As for `RecurrentClassifier`.
    steps : {"last", "all", "mean", "max"}, default "last"
        As for `RecurrentClassifier`, with targets in the place of labels.
    learning_rate_init, max_iter, shuffle, random_state, tol, n_iter_no_change, verbose
        As for `RecurrentClassifier`.
    warm_start, momentum, nesterovs_momentum, beta_1, beta_2, epsilon, clip_norm, leaky_alpha, init
        As for `RecurrentClassifier`.
    early_stopping, validation_fraction
        As for `RecurrentClassifier`, by R^2 on the held-out sequences.
    standardize : bool, default True
        Standardise features, as for `RecurrentClassifier`, and targets as well. Predictions are in
        the original units, losses in those of the standardised targets.
    dtype : {"auto", "float32", "float64"}, default "auto"
        As for `RecurrentClassifier`.
    loss : str or `fastbptt.Loss`, default "mse"
        Of numbers. Its parameters are in units of y, as ``Loss("huber", delta=50.0)``. One
        of the levels of ``"quantile"`` must be 0.5, the median, which `predict` returns. Targets
        of ``"poisson"`` are not standardised.
    missing : {"error", "mask"}, default "error"
        As for `RecurrentClassifier`; targets are missing where they are NaN, of several outputs all
        of them.
    n_estimators, bootstrap
        As for `RecurrentClassifier`; an ensemble predicts the mean of its members' predictions, or
        of their quantiles.

    Attributes
    ----------
    target_scaler_ : fastbptt.Standardizer
        Of the targets; mean 0 and scale 1 with ``standardize=False``.
    model_, estimators_, scaler_, imputer_, n_features_in_, n_iter_, loss_, best_loss_, loss_curve_
        As for `RecurrentClassifier`, like the others.

    Notes
    -----
    X is as for `RecurrentClassifier`. y has the shape (n,) or (n, outputs), with ``steps="all"``
    (n, time) or (n, time, outputs), or is a list of (time_i,) or (time_i, outputs). `score`
    is R^2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.sklearn import RecurrentRegressor
    >>> X = np.random.default_rng(0).normal(size=(60, 10, 2))
    >>> y = 100.0 + X[:, -3:, 0].sum(axis=1)
    >>> model = RecurrentRegressor(hidden_layer_sizes=16, learning_rate_init=0.02, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    _metric = "r2"
    _labels = False

    @property
    def _loss(self) -> Loss:
        expected = '"mse", which has no parameter, standardize=False, or one target'
        return loss_of_numbers(self.loss).of_scaled(self.target_scaler_.scale_, expected)

    def __init__(
        self,
        cell: str = "gru",
        hidden_layer_sizes: Any = (64,),
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        steps: str = "last",
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.005,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        clip_norm: float | None = 1.0,
        leaky_alpha: float | None = None,
        init: Any = "torch",
        standardize: bool = True,
        dtype: str = "auto",
        loss: Any = "mse",
        missing: str = "error",
        n_estimators: int = 1,
        bootstrap: bool = False,
    ) -> None:
        self._keep(locals())

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for one epoch on some sequences; further calls continue.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. Scaling is fixed by the first call.

        Returns
        -------
        self
        """
        self._check_partial()
        self._learn(X, y, sample_weight, partial=True)
        return self

    def _read_y(self, y: Any, x: StackedSteps) -> StackedSteps:
        many = self._steps == "all" and isinstance(y, list | tuple)
        for i, one in enumerate(y if many else [y]):
            check_numbers(f"y[{i}]" if many else "y", one)
        if self._steps != "all":
            rows = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
            check_consistent_length(x.lengths, rows)
            target = StackedSteps.single(rows)
        else:
            target = read_step_targets(y, x)
            rows = check_array(target.rows, ensure_2d=False, dtype=np.float64, input_name="y")
        return target.with_rows(rows)

    def _begin(
        self, y: StackedSteps, weight: Array | None, classes: Any, dtype: np.dtype[Any]
    ) -> int:
        table = y.rows.reshape(len(y.rows), -1)
        loss = loss_of_numbers(self.loss)
        if loss.of_units:
            self.target_scaler_ = fit_standardizer("y", table, weight, self.standardize, dtype)
        else:
            width = table.shape[1]
            self.target_scaler_ = Standardizer.from_dict(
                {"mean": np.zeros(width), "scale": np.ones(width)}
            )
        _ = self._loss  # refused before there is a model
        self._one_column = y.rows.ndim == 1
        self.n_outputs_ = table.shape[1]
        self.out_activation_ = "identity" if loss.of_units else loss.link
        self._trained_loss = loss
        return self.n_outputs_ * loss.outputs

    def _encode(self, y: StackedSteps) -> Array:
        table = y.rows.reshape(len(y.rows), -1)
        if table.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {table.shape[1]} outputs; expected {self.n_outputs_}, as in the first call"
            )
        scaled_table: Array = self.target_scaler_.transform(table, dtype=self._dtype_of_network)
        return scaled_table

    def predict(self, X: Any) -> Any:
        """Predict targets.

        Returns
        -------
        float64 array (n,) or (n, outputs), like y in `fit`
            With ``steps="all"`` (n, time[, outputs]), or a list of (time_i[, outputs]). Medians
            with ``loss="quantile"``, means with ``"gaussian"``, rates with ``"poisson"``.
        """
        x, several = self._in_units(X)
        values = np.mean([self._trained_loss.point(out) for out in several], axis=0)
        return self._like(x, values[:, 0] if self._one_column else values)

    def predict_quantiles(self, X: Any, levels: Any = None) -> Any:
        """Predict quantiles of targets, with ``loss="quantile"`` or ``"gaussian"``.

        Parameters
        ----------
        X : as for `fit`
        levels : sequence of float, optional
            Of ``"quantile"`` some of its levels, by default all of them; of ``"gaussian"`` any
            rising numbers above 0 and below 1, by default 0.1, 0.5 and 0.9.

        Returns
        -------
        float64 array (n, levels) or (n, outputs, levels), like y in `fit`
            With ``steps="all"`` (n, time[, outputs], levels), or a list of arrays without n.

        Raises
        ------
        ValueError, TypeError
            If the loss predicts no quantiles, or has no such level.
        """
        x, several = self._in_units(X)
        values = np.mean([self._trained_loss.quantiles(out, levels) for out in several], axis=0)
        return self._like(x, values[:, 0] if self._one_column else values)

    def _in_units(self, X: Any) -> tuple[StackedSteps, list[Array]]:
        """Return the sequences, and the outputs of networks that were trained on plain targets."""
        x, several = self._predicted(X)
        scaler = self.target_scaler_
        factor, summand = self._trained_loss.in_units(scaler.scale_, scaler.mean_)
        return x, [out * factor + summand for out in several]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute R^2, with ``steps="all"`` over all steps.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`; with ``missing="mask"`` over the targets that are there.

        Returns
        -------
        float
        """
        self._check_fitted()
        if self._steps != "all" and self.missing == "error":
            return float(super().score(X, y, sample_weight))
        truth, predicted, weight = self._score_parts(X, y, sample_weight)
        return float(r2_score(truth, predicted, sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
