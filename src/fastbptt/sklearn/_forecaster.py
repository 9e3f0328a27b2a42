"""Forecaster: the next steps of a series from a window of past steps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .. import _check
from .._errors import ArgumentError, ArgumentTypeError
from .._losses import Loss
from ..preprocessing import Imputer, Standardizer
from ..training import MaskedLoss, predict
from . import _pandas
from ._base import RecurrentEstimator, loss_of_numbers
from ._compat import with_callbacks
from ._inputs import Array, check_data
from ._joint_fits import Training
from ._windows import Windows, imputed

_CENTERS: Final = ("last", "mean")
_REPORTED: Final = 1000  # windows of a report, at most
_WINDOW: Final = 24  # steps of a window that is chosen automatically, at most


class RecurrentForecaster(RecurrentEstimator):
    """Forecaster of univariate and multivariate series by a recurrent network.

    The network reads a window of past values and predicts the next `horizon` steps at once. Further
    steps are forecast recursively, from windows that end in forecasts.

    Parameters
    ----------
    window : int or "auto", default "auto"
        Input steps of a forecast; at least one season of a seasonal series. ``"auto"``: 24, or
        fewer if the shortest series has less than 48 steps besides the horizon: half of these.
    horizon : int, default 12
        Steps predicted at once.
    center : {"last", "mean"}, default "last"
        Value subtracted from every window and its targets, before both are divided by a scale
        per feature. ``"last"``: the window's last value. Forecasts are then changes from that
        value, so that a trend may lead beyond the range of the training data, and an output of
        zero is the naive forecast. ``"mean"``: the mean of the whole series, which is better if
        the series returns to a constant level and its future depends on the level.
    cell, hidden_layer_sizes, bidirectional, dropout, solver, alpha, batch_size, learning_rate
        As for `RecurrentClassifier`, like all parameters not listed here.
    loss : str or `fastbptt.Loss`, default "mse"
        Of any numbers. Its parameters are in units of the series, as ``Loss("huber", delta=50.0)``.
        With ``"quantile"``, one of whose levels must be 0.5, or ``"gaussian"`` the forecaster has
        intervals: see `predict_quantiles`.
    missing : {"error", "mask"}, default "error"
        NaN in a series: an error, or a missing value. Then targets that are missing have no loss,
        each for itself; a missing input is 0, that is `center`, and the network has one more input
        for each feature with gaps, which is 1 where the value is missing. The last value of a
        window, for `center` and `score`, is the last one that is there, in the window or before.
    n_estimators, bootstrap
        As for `RecurrentClassifier`, with windows in the place of sequences. An ensemble forecasts
        the mean of its members' forecasts, also where it goes on from them.
    early_stopping : bool, default False
        Hold out the last windows of each series, and stop early by the error on them. No training
        window overlaps the steps that they forecast.
    validation_fraction : float, default 0.1
        Fraction of the windows held out.

    Attributes
    ----------
    model_ : fastbptt.Recurrent
        Not with `n_estimators` above 1.
    estimators_ : list of RecurrentForecaster
        With `n_estimators` above 1: a fitted estimator for each network.
    scale_ : array (features,)
        Divides the differences: their root mean square.
    mean_ : array (features,)
        Zero with ``center="last"``.
    n_features_in_ : int
        Values per step of the series.
    feature_names_in_ : array of str
        The columns, if the series came as pandas frames.
    window_ : int
        Input steps of a forecast.
    imputer_ : fastbptt.Imputer or None
        With ``missing="mask"``, the features that have an indicator.
    n_iter_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, history_
        As for `RecurrentClassifier`; losses are in units of `scale_` squared.

    Notes
    -----
    A series is an array (time,) or (time, features), a pandas Series, or a frame with a column for
    each feature. Columns are put in order by their names, and rows by an index of dates. Forecasts
    of pandas' data come with the index that continues theirs.

    There are no exogenous features: a value that helps to forecast others is a feature of the
    series, and is forecast with them.

    Windows are computed batch by batch: `fit` needs no memory for all of them.

    Subtracting the last value is the normalisation of NLinear: Zeng, Chen, Zhang and Xu, AAAI 2023,
    arXiv:2205.13504.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt.sklearn import RecurrentForecaster
    >>> t = np.arange(200)
    >>> y = 0.1 * t + np.sin(2 * np.pi * t / 12)
    >>> model = RecurrentForecaster(window=12, horizon=6, hidden_layer_sizes=16, random_state=0)
    >>> forecast = model.fit(y).predict(6)
    >>> t = np.arange(200, 206)
    >>> bool(np.abs(forecast - (0.1 * t + np.sin(2 * np.pi * t / 12))).max() < 0.3)
    True
    >>> model.predict([1, 12, 24]).shape
    (3,)
    """

    _metric = "rmse"
    _names: tuple[Any, ...] | None

    def __init__(
        self,
        window: Any = "auto",
        horizon: int = 12,
        *,
        center: str = "last",
        cell: str = "gru",
        hidden_layer_sizes: Any = (64,),
        bidirectional: bool = False,
        dropout: float = 0.0,
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
        dtype: str = "auto",
        loss: Any = "mse",
        missing: str = "error",
        n_estimators: int = 1,
        bootstrap: bool = False,
    ) -> None:
        self._keep(locals())

    @with_callbacks
    def fit(self, y: Any, X: None = None) -> Any:
        """Train on all windows of one series, or of several.

        Parameters
        ----------
        y : array (time,) or (time, features), Series, frame, or list of these
            One series, or several with the same features, each of at least window + horizon steps.
        X : None
            There are no exogenous features.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.
        """
        _refuse_exogenous(X, "fit(y)")
        if self._adopt():
            return self
        self._check_all_arguments()
        with self._callback_context(y) as callbacks:
            self._learn(y, callbacks)
        return self

    def _check_all_arguments(self) -> None:
        self._check_arguments()
        if self.window != "auto":
            _check.size("window", self.window)
        _check.size("horizon", self.horizon)
        _check.option("center", self.center, _CENTERS)

    def _learn(self, y: Any, callbacks: tuple[Any, ...]) -> None:
        self._run(self._prepare(y, callbacks=callbacks))

    def _prepare(self, y: Any, *, callbacks: tuple[Any, ...] = ()) -> list[Training]:
        """Read the series, make the network and describe its training."""
        first = self._is_first()
        masked = self.missing == "mask" if first else self.imputer_ is not None
        given = _read(y, None if first else self._names, masked)
        series = given.series
        if first:
            window = self._window(given)
            self._shape = window, self.horizon, self.center == "last"
        else:
            self._same_kind(given)
        self._long_enough(given)
        if first:
            self.n_features_in_ = series[0].shape[1]
            self.window_ = self._shape[0]
            self._flat, self._several, self._names = given.flat, given.several, given.names
            _pandas.keep_names(self, given.names)
            self.imputer_ = Imputer().fit(series) if masked else None
            self.mean_ = np.zeros(self.n_features_in_)
            if not self._shape[2]:
                self.mean_ = Standardizer(missing=self.missing).fit(series, name="y").mean_
        self._check_gaps(given)
        bases = self._last_values(given)
        windows = self._windows(series)
        every, held = windows, None
        if self.early_stopping:
            windows, held = self._held_out(windows, given.several)
        gaps = self.imputer_ is not None and any(np.isnan(one).any() for one in series)
        weights = windows.weights() if gaps else None
        if weights is not None and not weights.any():
            raise ArgumentError(
                "y", "has no window with a value in it and one to forecast", "less gaps"
            )
        if first:
            self._standardizer = Standardizer(center=False, missing=self.missing)
            for block, last in every.blocks():
                base = last if self._shape[2] else self.mean_
                self._standardizer.partial_fit(block - base, name="y")
            self.scale_ = self._standardizer.scale_
            self._trained_loss = self._loss()  # refused before there is a model
            outputs = self.horizon * self.n_features_in_ * self._loss().outputs
            indicators = 0 if self.imputer_ is None else len(self.imputer_.features_)
            inputs = self.n_features_in_ + indicators
        self._tails = np.stack([one[-self._shape[0] :] for one in series])
        self._bases, self._forms = bases, given.forms
        if first:  # members of an ensemble have all of the above
            self._network(inputs, outputs, self._dtype(series[0]))
        loss: Any = self._loss()
        return self._trainings(
            *self._examples(windows),
            weights,
            of_sequences=weights,
            loss=MaskedLoss(loss) if gaps else loss,
            steps="last",
            first=first,
            validation=None
            if held is None
            else (*self._examples(held), None, held.weights() if gaps else None),
            callbacks=callbacks,
            metric=_Rmse(loss) if gaps else None,
        )

    def predict(self, h: Any = None, X: None = None, *, y: Any = None) -> Any:
        """Forecast the next steps.

        Parameters
        ----------
        h : int or array-like of int, optional
            Number of steps to forecast, or the steps themselves, counted from 1. None: `horizon`.
        X : None
            There are no exogenous features.
        y : as for `fit`, optional
            The series to forecast, each of at least `window` steps. None: that of `fit`.

        Returns
        -------
        array (steps,) or (steps, features), like the series; a list for a list of series
            float64, in the units of the series. For pandas' data a Series or frame.
        """
        _refuse_exogenous(X, "predict(h), or predict(h, y=series) for another series")
        wanted, tails, base, several, forms = self._asked(h, y)
        found, missing = [], int(wanted.max())
        while missing > 0:
            block = self._forecast(tails, base)
            found.append(block)
            tails = np.concatenate([tails, block], axis=1)[:, -tails.shape[1] :]
            base = tails[:, -1:]
            missing -= block.shape[1]
        values = np.concatenate(found, axis=1)[:, wanted - 1]
        forecasts = []
        for one, form in zip(values, forms, strict=True):
            plain = one[:, 0] if self._flat else one
            forecasts.append(plain if form is None else form.made(one, wanted))
        return forecasts if several else forecasts[0]

    def predict_quantiles(
        self, h: Any = None, X: None = None, *, y: Any = None, levels: Any = None
    ) -> Any:
        """Forecast quantiles of the next steps, with ``loss="quantile"`` or ``"gaussian"``.

        Parameters
        ----------
        h, X, y
            As for `predict`, but at most `horizon` steps ahead: later steps would be forecast from
            windows that end in forecasts, and their quantiles be too close together.
        levels : sequence of float, optional
            Of ``"quantile"`` some of its levels, by default all of them; of ``"gaussian"`` any
            rising numbers above 0 and below 1, by default 0.1, 0.5 and 0.9.

        Returns
        -------
        array (steps, levels) or (steps, features, levels), like the series; a list for a list
            float64, in the units of the series. Of a pandas Series a frame with a column for each
            level, of a frame one with a column for each feature and level.

        Raises
        ------
        ValueError, TypeError
            If the loss predicts no quantiles, has no such level, or a step is beyond `horizon`.
        """
        _refuse_exogenous(X, "predict_quantiles(h), or (h, y=series) for another series")
        wanted, tails, base, several, forms = self._asked(h, y)
        if wanted.max() > self._shape[1]:
            raise ArgumentError(
                "h",
                f"is up to {int(wanted.max())}",
                f"at most {self._shape[1]}, the horizon: quantiles of later steps would not be "
                "those of the series",
            )
        base = base if self._shape[2] else self.mean_
        values = np.mean(
            [
                self._trained_loss.quantiles(one._differences(tails, base), levels)
                for one in self._members()
            ],
            axis=0,
        )
        values = (values + np.asarray(base)[..., np.newaxis])[:, wanted - 1]
        columns = self._trained_loss.levels if levels is None else tuple(levels)
        names, forecasts = columns or Loss("quantile").levels, []
        for one, form in zip(values, forms, strict=True):
            plain = one[:, 0] if self._flat else one
            forecasts.append(plain if form is None else form.quantiles(one, wanted, names))
        return forecasts if several else forecasts[0]

    def score(self, y: Any, X: None = None) -> float:
        """Skill of the forecasts of `horizon` steps from every window of `y`.

        One minus their squared error over that of the forecast that repeats the window's last
        value, each feature in units of `scale_`: 1 is perfect, 0 no better than that forecast.

        Parameters
        ----------
        y : as for `fit`
            With ``window="auto"`` a series may be shorter than a window and the horizon, as the
            folds of a ``TimeSeriesSplit``: then windows are as long as the shortest one allows.
        X : None
            There are no exogenous features.
        """
        _refuse_exogenous(X, "score(y)")
        self._check_fitted()
        given = self._read_new(y)
        window, horizon, _ = self._shape
        if self.window == "auto":
            window = max(1, min(window, min(map(len, given.series)) - horizon))
        self._long_enough(given, window)
        error = naive = 0.0
        for block, last in self._windows(given.series, window).blocks():
            future = block[:, window:]
            errors = np.square((self._forecast(block[:, :window], last) - future) / self.scale_)
            naive_errors = np.square((last - future) / self.scale_)
            if self.imputer_ is not None:  # of values that are there, after others
                there = ~np.isnan(naive_errors)
                errors, naive_errors = errors[there], naive_errors[there]
            error += float(errors.sum())
            naive += float(naive_errors.sum())
        return 1.0 - error / naive if naive > 0.0 else float(error == 0.0)

    def report(
        self,
        y: Any,
        path: str | os.PathLike[str],
        *,
        series_names: Sequence[str] | None = None,
        title: str | None = None,
    ) -> None:
        """Write a report about forecasts from windows of `y`: one HTML file, see `fastbptt.report`.

        It shows the errors by how many steps ahead they are and by series. Numbers are those of the
        network: windows and targets without what `center` subtracts, in units of `scale_`.

        Parameters
        ----------
        y : as for `fit`
            Preferably what comes after the series of `fit`, each of at least window + horizon
            steps. Of more than 1000 windows as many are taken, spread over all of them.
        path : str or path-like
            The file to write; an existing one is replaced atomically.
        series_names : sequence of str, optional
            One name for each series; ``"series 0"``, ... by default.
        title : str, optional
            The report's heading.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError, TypeError
            Naming the argument, what came and what was expected. Nothing is written then.
        OSError
            If the file cannot be written.
        """
        from ..reporting import report

        self._check_fitted()
        self._single("report")
        given = self._read_new(y)
        self._long_enough(given)
        if series_names is None:
            series_names = [f"series {i}" for i in range(len(given.series))]
        elif len(series_names) != len(given.series):
            raise ArgumentError(
                "series_names", f"has {len(series_names)} names", f"{len(given.series)}, as y"
            )
        windows = self._windows(given.series)
        every = np.arange(len(windows)) if self.imputer_ is None else windows.complete()
        if not len(every):
            raise ArgumentError(
                "y", "has no window of whose targets none is missing", "one at least for a report"
            )
        rows = every[np.unique(np.linspace(0, len(every) - 1, _REPORTED).astype(np.int64))]
        x, targets = (part.take(rows)[0] for part in self._examples(windows))
        counts = [count for _, count in windows.spans]
        ends = np.cumsum(counts)
        owners = np.searchsorted(ends, rows, side="right")
        firsts = rows - (ends - counts)[owners]
        report(
            self.model_,
            x,
            targets,
            path,
            self.history_,
            loss=loss_of_numbers(self.loss),
            horizon=self._shape[1],
            series=[str(series_names[i]) for i in owners],
            feature_names=self._input_names(),
            ids=[
                f"{series_names[i]}, from step {first}"
                for i, first in zip(owners, firsts, strict=True)
            ],
            title=title,
        )

    # ------------------------------------------------------------ windows

    def _window(self, given: _Given) -> int:
        """Return the steps of a window."""
        if self.window != "auto":
            return int(self.window)
        free: int = min(map(len, given.series)) - self.horizon
        return max(1, min(_WINDOW, (free + 1) // 2))

    def _loss(self) -> Loss:
        """Return the loss of the differences, which are divided by `scale_`."""
        expected = '"mse", which has no parameter, or series of one feature'
        loss = loss_of_numbers(self.loss)
        if not loss.of_units:
            raise ArgumentError(
                "loss",
                f'is "{loss}", whose targets cannot be differences',
                'a loss of any numbers, such as "mse"',
            )
        return loss.of_scaled(self.scale_, expected)

    def _asked(self, h: Any, y: Any) -> tuple[Array, Array, Array, bool, list[_SeriesForm | None]]:
        """Return the steps ahead, windows, last values, whether there is a list, their forms."""
        self._check_fitted()
        wanted = _steps(self._shape[1] if h is None else h)
        if y is None:
            return wanted, self._tails, self._bases, self._several, self._forms
        given = self._read_new(y)
        window = self._shape[0]
        for i, one in enumerate(given.series):
            if len(one) < window:
                raise ValueError(
                    f"{_name(i, given.several)} has {len(one)} steps; expected at least "
                    f"{window}, a window"
                )
        tails = np.stack([one[-window:] for one in given.series])
        return wanted, tails, self._last_values(given), given.several, given.forms

    def _read_new(self, y: Any) -> _Given:
        """Read series after `fit`."""
        given = _read(y, self._names, self.imputer_ is not None)
        self._same_kind(given)
        self._check_gaps(given)
        return given

    def _check_gaps(self, given: _Given) -> None:
        """Refuse gaps in features that had none when the network was made."""
        if self.imputer_ is None:
            return
        for i, one in enumerate(given.series):
            found = self.imputer_._new_gap(one)
            if found is not None:
                raise ArgumentError(
                    "y",
                    "has no value, but in fit this feature had no gap",
                    "values: fill them, or fit on series with such gaps",
                    item=i if given.several else None,
                    index=found[:1] if given.flat else found,
                )

    def _last_values(self, given: _Given) -> Array:
        """Return the last value of each feature: (series, 1, features)."""
        if self.imputer_ is None:
            return np.stack([one[-1:] for one in given.series])
        found = []
        for i, one in enumerate(given.series):
            there = ~np.isnan(one)
            if not there.any(axis=0).all():
                name = _name(i, given.several)
                column = int(there.any(axis=0).argmin())
                raise ValueError(f"{name} holds only NaN in column {column}; expected a number")
            last = len(one) - 1 - there[::-1].argmax(axis=0)
            found.append(one[last, np.arange(one.shape[1])][np.newaxis])
        return np.stack(found)

    def _input_names(self) -> list[str] | None:
        """Name the network's inputs; None: the series came without names."""
        if self._names is None:
            return None
        names = [str(one) for one in self._names]
        return names if self.imputer_ is None else self.imputer_.get_feature_names_out(names)

    def _windows(self, series: list[Array], window: int | None = None) -> Windows:
        """Return all windows of some series; `window` steps long if given."""
        own, horizon, last = self._shape
        return Windows(series, window or own, horizon, None if last else self.mean_, self.imputer_)

    def _long_enough(self, given: _Given, window: int | None = None) -> None:
        """Refuse series without a window and its targets."""
        own, horizon, _ = self._shape
        steps = window or own
        for i, one in enumerate(given.series):
            if len(one) < steps + horizon:
                name = _name(i, given.several)
                turned = one.shape[1] >= steps + horizon
                raise ValueError(
                    f"{name} has {len(one)} steps; expected at least "
                    f"{steps + horizon} because window={steps} and horizon={horizon}"
                    + f"; if its {one.shape[1]} columns are the steps, give {name}.T"
                    * turned
                )

    def _examples(self, windows: Windows) -> tuple[Any, Any]:
        """Return inputs and targets of the network, to be computed batch by batch."""
        options = self.scale_, self._dtype_of_network
        return windows.inputs(*options), windows.targets(*options)

    def _held_out(self, windows: Windows, several: bool) -> tuple[Windows, Windows]:
        """Split into training windows and held-out windows, the last ones of each series."""
        horizon = self._shape[1]
        kept, held = [], []
        for i, (_, every) in enumerate(windows.spans):
            count = max(1, round(self.validation_fraction * every))
            # training windows end where the targets of the first held-out window begin
            train = every - count - horizon + 1
            if train < 1:
                raise ValueError(
                    f"{_name(i, several)} has {every} windows; expected more because "
                    f"early_stopping=True holds out {count} and skips {horizon - 1} before them"
                )
            kept.append((0, train))
            held.append((every - count, count))
        return windows.part(kept), windows.part(held)

    def _forecast(self, tails: Array, last: Array) -> Array:
        """Forecast one horizon: (series, window, features) -> (series, horizon, features).

        last: the last value of each feature, (series, 1, features).
        """
        base = last if self._shape[2] else self.mean_
        point = self._trained_loss.point
        several = [point(one._differences(tails, base)) for one in self._members()]
        forecast: Array = np.mean(several, axis=0) + base
        return forecast

    def _differences(self, tails: Array, base: Array) -> Array:
        """Return outputs in the units of the series: (series, horizon, features * outputs)."""
        x = self._standardizer.transform(tails - base, dtype=self._dtype_of_network)
        if self.imputer_ is not None:
            x = imputed(self.imputer_, x)
        out = np.asarray(predict(self.model_, x)).reshape(len(x), self._shape[1], -1)
        factor, summand = self._trained_loss.in_units(self.scale_, np.zeros(len(self.scale_)))
        differences: Array = out * factor + summand
        return differences

    def _same_kind(self, given: _Given) -> None:
        width = given.series[0].shape[1]
        if width != self.n_features_in_:
            raise ValueError(
                f"y has {width} values per step; expected {self.n_features_in_}, as in fit"
            )
        if not given.flat:
            _pandas.warn_about_names(self, given.names, "y")


class _Rmse:
    """Root of the mean squared error over the targets that are there, for early stopping."""

    __name__ = "rmse"
    larger_is_better = False

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, y: Array, outputs: Array) -> float:
        errors = self._loss.point(outputs) - y
        return float(np.sqrt(np.square(errors[~np.isnan(y)]).mean()))


class _SeriesForm(NamedTuple):
    """Index, columns and name of a forecast of pandas' data."""

    after: _pandas.Continuation  # the end of the series
    columns: Any  # of a frame; None: a Series
    name: Any  # of a Series

    def made(self, values: Array, steps: Array) -> Any:
        import pandas

        index = self.after.at(steps)
        if self.columns is None:
            return pandas.Series(values[:, 0], index, name=self.name)
        return pandas.DataFrame(values, index, self.columns)

    def quantiles(self, values: Array, steps: Array, levels: Any) -> Any:
        import pandas

        index = self.after.at(steps)
        if self.columns is None:
            return pandas.DataFrame(values[:, 0], index, pandas.Index(levels, name="level"))
        names = [*self.columns.names[:1], "level"]
        columns = pandas.MultiIndex.from_product([self.columns, levels], names=names)
        return pandas.DataFrame(values.reshape(len(values), -1), index, columns)


class _Given(NamedTuple):
    """Series as they came.

    series: (time, features) each. flat: they came without an axis of features. several: as a list.
    forms: of pandas' data, else None. names: of the features, if they have any.
    """

    series: list[Array]
    flat: bool
    several: bool
    forms: list[_SeriesForm | None]
    names: tuple[str, ...] | None


def _refuse_exogenous(X: Any, call: str) -> None:
    if X is not None:
        raise ArgumentError(
            "X",
            "is given, but a RecurrentForecaster has no exogenous features",
            f"None: {call}. Columns that help to forecast y belong into the series, fit("
            "numpy.column_stack([y, X])), and are forecast with it",
        )


def _read(y: Any, names: tuple[Any, ...] | None, masked: bool) -> _Given:
    """Read one or several series.

    names: of the columns, if they are known. masked: whether NaN is a gap, not an error.
    """
    check_data("y", y)
    several = isinstance(y, list | tuple) and len(y) > 0 and bool(np.ndim(_first(y)))
    if several and not hasattr(y[0], "ndim") and len({len(one) for one in y}) == 1:
        raise ArgumentError(
            "y",
            f"is a list of {len(y)} lists of {len(y[0])}",
            "numpy.array(y) for one series (time, features), or "
            "[numpy.array(one) for one in y] for several",
        )
    arrays, forms = [], []
    names = names or _pandas.column_names(y[0] if several else y, _name(0, several))
    for i, one in enumerate(y if several else [y]):
        _check.no_mask("y", one, i if several else None)
        array, form = _read_one(one, _name(i, several), names)
        arrays.append(array)
        forms.append(form)
    first = arrays[0]
    for i, array in enumerate(arrays):
        if array.ndim not in (1, 2) or array.shape[1:] != first.shape[1:] or 0 in array.shape:
            raise ValueError(
                f"{_name(i, several)} has shape {array.shape}; expected (time,) or "
                "(time, features), the same for all series, each at least 1"
            )
        unfit = np.isinf(array) if masked else ~np.isfinite(array)
        if unfit.any():
            wrong = np.argwhere(unfit)[0]
            kind = "NaN" if np.isnan(array[tuple(wrong)]) else "infinity"
            place = tuple(int(k) for k in wrong)
            hint = "finite numbers; fill gaps, for example with the interpolate() of pandas"
            hint = "finite numbers" if masked else f'{hint}, or leave them out with missing="mask"'
            item = i if several else None
            raise ArgumentError("y", f"contains {kind}", hint, item=item, index=place)
    flat = first.ndim == 1
    series = [one[:, np.newaxis] if flat else one for one in arrays]
    found = _pandas.column_names(y[0] if several else y, _name(0, several))
    return _Given(series, flat, several, forms, found)


def _read_one(
    value: Any, name: str, names: tuple[str, ...] | None
) -> tuple[Array, _SeriesForm | None]:
    """Read one series: its columns in order by name, its rows by date."""
    value = _pandas.in_order(value, name, names)
    index, form = _pandas.time_index(value, name), None
    if index is not None and len(index):
        if not _pandas.rising(index, name, "sort_index()"):
            order = np.argsort(np.asarray(index), kind="stable")
            index, value = index[order], value.iloc[order]
        columns = value.columns if _pandas.is_frame(value) else None
        series_name = None if columns is not None else value.name
        form = _SeriesForm(_pandas.Continuation(index, name), columns, series_name)
    array = _pandas.numbers(value, name)
    if array.ndim and array.size:
        _check.resolved_by_float64(name, array if array.ndim > 1 else array[:, np.newaxis])
    return array.astype(np.float64 if array.dtype != np.float32 else np.float32, copy=False), form


def _first(items: Any) -> Any:
    return next(iter(items), 0)


def _name(i: int, several: bool) -> str:
    return f"y[{i}]" if several else "y"


def _steps(h: Any) -> Array:
    """Return the steps ahead, counted from 1."""
    expected = "a number of steps of at least 1, or different numbers of steps ahead"
    steps = np.asarray(h)
    came = f"has shape {steps.shape} and dtype {steps.dtype}"
    if steps.ndim == 0:
        came = f"is {_check.shown(h)}"
    other = "" if steps.ndim == 0 else "; for another series predict(y=series)"
    if steps.dtype.kind not in "iu" or (hasattr(h, "index") and hasattr(h, "dtype")):
        raise ArgumentTypeError("h", came, expected + other)
    if steps.ndim > 1 or steps.size == 0 or len(np.unique(steps)) < steps.size:
        raise ArgumentError("h", came, expected + other)
    if (steps < 1).any():
        raise ArgumentError("h", f"is {int(steps.min())}", expected)
    return np.arange(1, int(steps) + 1) if steps.ndim == 0 else steps.astype(np.int64)
