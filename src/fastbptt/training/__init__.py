"""Training, evaluation and prediction: `fit`, `evaluate`, `predict`.

>>> import numpy as np, fastbptt
>>> x = np.random.default_rng(0).normal(size=(64, 5, 1))
>>> model = fastbptt.RNN(1, 8, 1, seed=0)
>>> history = fastbptt.fit(model, x, x[:, -1] > 0, epochs=2, verbose=0)
>>> fastbptt.evaluate(model, x, x[:, -1] > 0)["loss"] < history["loss"][0]
True
"""

from __future__ import annotations

from .callbacks import Callback, TrainingRun
from .custom import MaskedLoss
from .distributed import RankError
from .evaluation import evaluate, predict, probabilities
from .history import History
from .loop import fit
from .many import fit_many
from .many_fits import ManyFits, OneFit
from .metrics import METRICS
from .rates import LearningRates, find_lr

__all__ = [
    "METRICS",
    "Callback",
    "History",
    "LearningRates",
    "ManyFits",
    "MaskedLoss",
    "OneFit",
    "RankError",
    "TrainingRun",
    "evaluate",
    "find_lr",
    "fit",
    "fit_many",
    "predict",
    "probabilities",
]
