"""Forecaster: the next steps of a series from a window of past steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .. import _check
from ..preprocessing import Standardizer
from ..training import predict
from ._base import RecurrentEstimator, loss_of_numbers
from ._compat import with_callbacks
from ._inputs import Array

_CENTERS = ("last", "mean")


class RecurrentForecaster(RecurrentEstimator):
    """Forecaster of univariate and multivariate series by a recurrent network.

    The network reads a window of past values and predicts the next `horizon` steps at once. Further
    steps are forecast recursively, from windows that end in forecasts.

    Parameters
    ----------
    window : int, default 24
        Input steps of a forecast; at least one season of a seasonal series.
    horizon : int, default 12
        StackedSteps predicted at once.
    center : {"last", "mean"}, default "last"
        Value subtracted from every window and its targets, before both are divided by a scale
        per feature. ``"last"``: the window's last value. Forecasts are then changes from that
        value, so that a trend may lead beyond the range of the training data, and an output of
        zero is the naive forecast. ``"mean"``: the mean of the whole series, which is better if
        the series returns to a constant level and its future depends on the level.
    cell, hidden_layer_sizes, bidirectional, dropout, solver, alpha, batch_size, learning_rate
        As for `RecurrentClassifier`, like all parameters not listed here.
    early_stopping : bool, default False
        Hold out the last windows of each series, and stop early by the error on them. No training
        window overlaps the steps that they forecast.
    validation_fraction : float, default 0.1
        Fraction of the windows held out.

    Attributes
    ----------
    model_ : fastbptt.Recurrent
    scale_ : array (features,)
        Divides the differences: their root mean square.
    mean_ : array (features,)
        Zero with ``center="last"``.
    n_features_in_ : int
        Values per step of the series.
    n_iter_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, history_
        As for `RecurrentClassifier`; losses are in units of `scale_` squared.

    Notes
    -----
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

    def __init__(
        self,
        window: int = 24,
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
    ) -> None:
        self._keep(locals())

    @with_callbacks
    def fit(self, y: Any, X: None = None) -> Any:
        """Train on all windows of one series, or of several.

        Parameters
        ----------
        y : array (time,) or (time, features), or list of such arrays
            One series, or several with the same features, each of at least window + horizon steps.
        X : None
            Ignored; present for compatibility with scikit-learn.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what was expected.
        """
        self._check_arguments()
        _check.size("window", self.window)
        _check.size("horizon", self.horizon)
        _check.option("center", self.center, _CENTERS)
        with self._callback_context(y) as callbacks:
            self._learn(y, callbacks)
        return self

    def _learn(self, y: Any, callbacks: tuple[Any, ...]) -> None:
        first = self._is_first()
        series, flat, several = _read(y)
        if first:
            self._shape = self.window, self.horizon, self.center == "last"
        else:
            self._same_kind(series)
        parts = [self._windows(one, _name(i, several)) for i, one in enumerate(series)]
        if first:
            self.n_features_in_ = series[0].shape[1]
            self._flat, self._several = flat, several
            self.mean_ = np.zeros(self.n_features_in_)
            if not self._shape[2]:
                self.mean_ = Standardizer().fit(series, name="y").mean_
            self._standardizer = Standardizer(center=False)
            for part in parts:
                self._standardizer.partial_fit(part - self._base(part), name="y")
            self.scale_ = self._standardizer.scale_
            outputs = self.horizon * self.n_features_in_
            self._network(self.n_features_in_, outputs, self._dtype(series[0]))
        self._tails = np.stack([one[-self._shape[0] :] for one in series])
        held: list[Array] = []
        if self.early_stopping:
            pairs = [self._held_out(part, _name(i, several)) for i, part in enumerate(parts)]
            parts, held = [list(each) for each in zip(*pairs, strict=True)]
        x, target = self._examples(np.concatenate(parts))
        self._train(
            x,
            target,
            None,
            loss=loss_of_numbers(self.loss),
            steps="last",
            first=first,
            validation=self._examples(np.concatenate(held)) if held else None,
            callbacks=callbacks,
        )

    def predict(self, h: Any = None, y: Any = None) -> Any:
        """Forecast the next steps.

        Parameters
        ----------
        h : int or array-like of int, optional
            Number of steps to forecast, or the steps themselves, counted from 1. None: `horizon`.
        y : as for `fit`, optional
            The series to forecast, each of at least `window` steps. None: that of `fit`.

        Returns
        -------
        array (steps,) or (steps, features), like the series; a list for a list of series
            float64, in the units of the series.
        """
        check_is_fitted(self, "model_")
        wanted = _steps(self._shape[1] if h is None else h)
        tails, several = self._tails, self._several
        if y is not None:
            series, _, several = _read(y)
            self._same_kind(series)
            window = self._shape[0]
            for i, one in enumerate(series):
                if len(one) < window:
                    raise ValueError(
                        f"{_name(i, several)} has {len(one)} steps; expected at least "
                        f"{window}, a window"
                    )
            tails = np.stack([one[-window:] for one in series])
        found, missing = [], int(wanted.max())
        while missing > 0:
            block = self._forecast(tails)
            found.append(block)
            tails = np.concatenate([tails, block], axis=1)[:, -tails.shape[1] :]
            missing -= block.shape[1]
        forecasts = list(np.concatenate(found, axis=1)[:, wanted - 1])
        if self._flat:
            forecasts = [one[:, 0] for one in forecasts]
        return forecasts if several else forecasts[0]

    def score(self, y: Any, X: None = None) -> float:
        """Skill of the forecasts of `horizon` steps from every window of `y`.

        One minus their squared error over that of the forecast that repeats the window's last
        value, each feature in units of `scale_`: 1 is perfect, 0 no better than that forecast.

        Parameters
        ----------
        y : as for `fit`
        X : None
            Ignored; present for compatibility with scikit-learn.
        """
        check_is_fitted(self, "model_")
        series, _, several = _read(y)
        self._same_kind(series)
        parts = [self._windows(one, _name(i, several)) for i, one in enumerate(series)]
        windows, length = np.concatenate(parts), self._shape[0]
        future, last = windows[:, length:], windows[:, length - 1 : length]
        error = np.square((self._forecast(windows[:, :length]) - future) / self.scale_).sum()
        naive = np.square((last - future) / self.scale_).sum()
        return float(1.0 - error / naive) if naive > 0.0 else float(error == 0.0)

    # ------------------------------------------------------------ windows

    def _windows(self, one: Array, name: str) -> Array:
        """Return all windows with their targets: (windows, window + horizon, features), a view."""
        window, horizon, _ = self._shape
        if len(one) < window + horizon:
            raise ValueError(
                f"{name} has {len(one)} steps; expected at least {window + horizon} because "
                f"window={window} and horizon={horizon}"
            )
        view = np.lib.stride_tricks.sliding_window_view(one, window + horizon, axis=0)
        return view.transpose(0, 2, 1)

    def _base(self, windows: Array) -> Array:
        """Return the value to subtract: (windows, 1, features) or (features,)."""
        window, _, last = self._shape
        return windows[:, window - 1 : window] if last else self.mean_

    def _examples(self, windows: Array) -> tuple[Array, Array]:
        """Return inputs and targets of the network."""
        differences = windows - self._base(windows)
        scaled = self._standardizer.transform(differences, dtype=self.model_.dtype)
        window = self._shape[0]
        return scaled[:, :window], scaled[:, window:].reshape(len(scaled), -1)

    def _held_out(self, windows: Array, name: str) -> tuple[Array, Array]:
        """Split into training windows and held-out windows, the last ones."""
        horizon = self._shape[1]
        count = max(1, round(self.validation_fraction * len(windows)))
        # training windows end where the targets of the first held-out window begin
        train = len(windows) - count - horizon + 1
        if train < 1:
            raise ValueError(
                f"{name} has {len(windows)} windows; expected more because "
                f"early_stopping=True holds out {count} and skips {horizon - 1} before them"
            )
        return windows[:train], windows[-count:]

    def _forecast(self, tails: Array) -> Array:
        """Forecast one horizon: (series, window, features) -> (series, horizon, features)."""
        base = self._base(tails)
        x = self._standardizer.transform(tails - base, dtype=self.model_.dtype)
        out = np.asarray(predict(self.model_, x)).reshape(len(x), -1, x.shape[2])
        forecast: Array = self._standardizer.inverse_transform(out) + base
        return forecast

    def _same_kind(self, series: list[Array]) -> None:
        if series[0].shape[1] != self.n_features_in_:
            raise ValueError(
                f"y has {series[0].shape[1]} values per step; expected {self.n_features_in_}, "
                "as in fit"
            )


def _read(y: Any) -> tuple[list[Array], bool, bool]:
    """Return the series as (time, features), whether they were 1-D, and whether y was a list."""
    several = (
        isinstance(y, list | tuple) and len(y) > 0 and np.ndim(y[0]) > 0 and hasattr(y[0], "ndim")
    )
    arrays = [
        check_array(
            one,
            ensure_2d=False,
            allow_nd=True,
            dtype=[np.float64, np.float32],
            input_name=_name(i, several),
        )
        for i, one in enumerate(y if several else [y])
    ]
    first = arrays[0]
    for i, one in enumerate(arrays):
        if one.ndim not in (1, 2) or one.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{_name(i, several)} has shape {one.shape}; expected (time,) or (time, features), "
                "the same for all series"
            )
    flat = first.ndim == 1
    return [one[:, np.newaxis] if flat else one for one in arrays], flat, several


def _name(i: int, several: bool) -> str:
    return f"y[{i}]" if several else "y"


def _steps(h: Any) -> Array:
    """Return the steps ahead, counted from 1."""
    expected = "a number of steps of at least 1, or numbers of steps ahead"
    steps = np.asarray(h)
    if steps.dtype.kind not in "iu":
        raise TypeError(f"h is {h!r}; expected {expected}")
    if steps.ndim > 1 or steps.size == 0 or (steps < 1).any():
        raise ValueError(f"h is {h!r}; expected {expected}")
    return np.arange(1, int(steps) + 1) if steps.ndim == 0 else steps.astype(np.int64)
