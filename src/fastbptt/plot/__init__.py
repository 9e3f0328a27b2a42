"""Plots of recurrent networks and their training, with matplotlib.

Each function draws one plot and returns the matplotlib Axes: into a new figure, or into the
Axes given as `ax`. None calls ``show`` or changes matplotlib's settings. A new figure is half
a page wide (3.5 inches, 8-point type, 200 dots per inch), in colours that colour-blind readers can
tell apart; save it with ``ax.figure.savefig("name.pdf")``. ``style("paper")`` is for journals;
`gradient_animation` saves an animation.

Plots need the extra ``fastbptt[plot]``.
"""

from __future__ import annotations

from ._style import style
from .behaviour import psychometric, trial
from .curves import learning_rates, losses
from .flow import gates, gradient_flow, gradient_heatmap, saliency
from .gallery import PICTURES, Examples, Picture, gallery
from .numeric import horizon_errors, predicted_against_true, residuals
from .over_time import gradient_animation, gradient_over_time
from .phase import fixed_points
from .predictions import confusion, sequences
from .states import eigenvalues, hidden_states
from .unrolled import unrolled

__all__ = [
    "PICTURES",
    "Examples",
    "Picture",
    "confusion",
    "eigenvalues",
    "fixed_points",
    "gallery",
    "gates",
    "gradient_animation",
    "gradient_flow",
    "gradient_heatmap",
    "gradient_over_time",
    "hidden_states",
    "horizon_errors",
    "learning_rates",
    "losses",
    "predicted_against_true",
    "psychometric",
    "residuals",
    "saliency",
    "sequences",
    "style",
    "trial",
    "unrolled",
]
