"""scikit-learn estimators: `RecurrentClassifier`, `RecurrentRegressor`, `RecurrentForecaster`.

They need scikit-learn 1.4 or later: ``pip install scikit-learn``. Arguments have
the names of scikit-learn's ``MLPClassifier`` where it has them. The network of an estimator is its
attribute ``model_``, a `fastbptt.Recurrent`.

>>> import numpy as np
>>> from fastbptt.sklearn import RecurrentClassifier
>>> X = np.random.default_rng(0).normal(size=(40, 12, 3))
>>> y = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
>>> model = RecurrentClassifier(hidden_layer_sizes=16, learning_rate_init=0.02, random_state=0)
>>> model.fit(X, y).predict(X[:2]).tolist() == y[:2].tolist()
True
"""

from __future__ import annotations

try:
    import sklearn as _scikit_learn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastbptt.sklearn needs scikit-learn, which is not installed: pip install scikit-learn"
    ) from error

from .. import _threadpools  # noqa: F401  which threadpoolctl, that scikit-learn imports, limits
from . import _search  # noqa: F401  registers joblib's backend "fastbptt"
from ._estimators import RecurrentClassifier, RecurrentRegressor
from ._forecaster import RecurrentForecaster

__all__ = ["RecurrentClassifier", "RecurrentForecaster", "RecurrentRegressor"]
