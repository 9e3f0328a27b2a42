"""Pictures of recurrent networks and their training, drawn with matplotlib.

Each function draws one picture and returns the matplotlib Axes: into a new figure, or into the
Axes that it is given as `ax`. None calls ``show``, and none leaves matplotlib's settings changed.
A new figure is half a page wide (3.5 inches, type of 8 points), in colours that colour-blind
readers can tell apart; save it with ``ax.figure.savefig("name.pdf")``.

They need the extra ``fastbptt[plot]``.
"""

from __future__ import annotations

from ._style import style
from .answers import confusion, sequences
from .flow import gates, gradient_flow, gradient_heatmap, influence
from .gallery import PICTURES, Examples, Picture, gallery
from .states import eigenvalues, hidden_states
from .training import losses
from .unrolled import unrolled

__all__ = [
    "PICTURES",
    "Examples",
    "Picture",
    "confusion",
    "eigenvalues",
    "gallery",
    "gates",
    "gradient_flow",
    "gradient_heatmap",
    "hidden_states",
    "influence",
    "losses",
    "sequences",
    "style",
    "unrolled",
]
