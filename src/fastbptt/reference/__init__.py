"""The specification: the network on plain NumPy arrays, short, and analytic in its arguments.

Tests check every result of the compiled core against this package, and this package against the
complex step. Functions compute in the dtype of their arguments: float32, float64 or complex128.

Sizes: B batch, T time, I input, H hidden, O output, G gates of the cell, S states of the cell,
L layers, D directions. The parameters, in this order: for each layer and direction ``W_xh``
(I, G * H), ``W_hh`` (H, G * H), ``b_h`` (G * H,) and any additional biases of the cell, with the
suffix ``_reverse``, ``_l1``, ``_l1_reverse``, ...; learned initial states ``h0``, ``c0``
(L * D, H); readout ``W_hy`` (D * H, O), ``b_y`` (O,); embedding ``E`` (V, I).

To add a cell, write a module like ``leaky.py`` and add its name to ``model.CELLS``. ``_cell.py``
documents the interface.

Examples
--------
>>> import numpy as np
>>> from fastbptt import reference
>>> rng = np.random.default_rng(0)
>>> shapes = {"W_xh": (32, 64), "W_hh": (64, 64), "b_h": (64,), "W_hy": (64, 1), "b_y": (1,)}
>>> params = {name: rng.normal(0, 0.01, shape) for name, shape in shapes.items()}
>>> x, y = rng.normal(size=(5, 10, 32)), np.array([1.0, 0, 1, 0, 1])
>>> state = reference.Moments()
>>> for _ in range(5):
...     loss, grads = reference.loss_and_grad(params, x, y)
...     reference.adam_step(params, grads, state, lr=0.01)
>>> loss < 0.69
True
"""

from __future__ import annotations

from .dropout import dropout_masks, recurrent_masks
from .losses import LOSSES, POOLED, REDUCTIONS, STEPS, apply_loss
from .model import (
    CELLS,
    Forward,
    Network,
    backward,
    forward,
    loss_and_grad,
    loss_only,
    penalised_loss_and_grad,
)
from .noise import input_noise, recurrent_noise, zoneout_masks
from .on_states import activity_penalties, omega_term, signals
from .on_weights import penalties, project
from .optim import (
    OPTIMIZERS,
    Moments,
    adam_step,
    adamw_step,
    clip_by_global_norm,
    clip_by_value,
    global_norm,
    rmsprop_step,
    sgd_step,
)

__all__ = [
    "CELLS",
    "LOSSES",
    "OPTIMIZERS",
    "POOLED",
    "REDUCTIONS",
    "STEPS",
    "Forward",
    "Moments",
    "Network",
    "activity_penalties",
    "adam_step",
    "adamw_step",
    "apply_loss",
    "backward",
    "clip_by_global_norm",
    "clip_by_value",
    "dropout_masks",
    "forward",
    "global_norm",
    "input_noise",
    "loss_and_grad",
    "loss_only",
    "omega_term",
    "penalised_loss_and_grad",
    "penalties",
    "project",
    "recurrent_masks",
    "recurrent_noise",
    "rmsprop_step",
    "sgd_step",
    "signals",
    "zoneout_masks",
]
