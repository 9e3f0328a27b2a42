"""Compatibility with older versions of scikit-learn."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from sklearn.utils import check_array

__all__ = ["ANY_VALUES", "CallbackSupportMixin", "validate_data", "with_callbacks"]

_FINITE = "ensure_all_finite"
if _FINITE not in inspect.signature(check_array).parameters:  # before 1.6
    _FINITE = "force_all_finite"

#: options of `check_array` and `validate_data`: NaN and infinity are no errors
ANY_VALUES: Final = {_FINITE: False}

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # before 1.6

    def validate_data(estimator: Any, X: Any, **options: Any) -> Any:
        """Stand in for the function of later versions."""
        return estimator._validate_data(X, **options)


try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Empty: this version has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method unchanged."""
        return method
