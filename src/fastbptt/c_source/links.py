"""From outputs to predictions, in C: the inverses of the losses' links."""

from __future__ import annotations

from typing import Final, NamedTuple


class LinkCode(NamedTuple):
    """The inverse of a link.

    Attributes
    ----------
    code : str
        C statements that change ``y[0]`` to ``y[outputs - 1]``, of type ``real``; ``exp`` may be
        called. Empty: the outputs are the predictions.
    means : str
        What the results are, for the header.
    """

    code: str = ""
    means: str = ""


_EACH: Final = "for (i = 0; i < {outputs}; ++i)\n    "

#: By the names of `fastbptt.Loss.link`.
LINKS: Final[dict[str, LinkCode]] = {
    "identity": LinkCode(),
    "quantiles": LinkCode(means="quantiles"),
    "mean_variance": LinkCode(
        "for (i = 1; i < {outputs}; i += 2)\n    y[i] = exp(y[i] / 2);",
        "mean and standard deviation of each target",
    ),
    "log": LinkCode(_EACH + "y[i] = exp(y[i]);", "rates"),
    "logistic": LinkCode(_EACH + "y[i] = 1 / (1 + exp(-y[i]));", "probabilities"),
    "sign": LinkCode(_EACH + "y[i] = y[i] > 0 ? 1 : y[i] <= 0 ? -1 : y[i];", "-1 or 1"),
    "softmax": LinkCode(
        """\
real most = y[0], sum = 0;
for (i = 1; i < {outputs}; ++i)
    most = y[i] > most ? y[i] : most;
for (i = 0; i < {outputs}; ++i)
    sum += y[i] = exp(y[i] - most);
for (i = 0; i < {outputs}; ++i)
    y[i] /= sum;""",
        "probabilities",
    ),
}
