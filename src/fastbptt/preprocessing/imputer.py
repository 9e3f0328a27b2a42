"""Missing inputs: zeros in their place, and features that tell where they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._check import F64, I64
from .._errors import ArgumentError
from ..models._arguments import lengths as read_lengths

Array: TypeAlias = NDArray[Any]


class Imputer:
    """Replace missing inputs, which are NaN, by 0, and add indicators of them.

    For each feature that has gaps when `fit` is called, there is one more feature at the end: 1
    where the value is missing, else 0. So the network can tell a gap from a zero, and a model needs
    ``len(features_)`` more inputs. Standardise first, so that 0 is the mean. scikit-learn's
    ``SimpleImputer(strategy="constant", fill_value=0, add_indicator=True)`` does the same to
    tables; indicators for recurrent networks: Lipton, Kale and Wetzel, MLHC 2016, arXiv:1606.04130.

    Attributes
    ----------
    n_features_in_ : int
    features_ : int64 array
        The features with an indicator, in rising order.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = np.array([[[1.0, 50.0], [np.nan, 52.0], [3.0, 54.0]]])
    >>> scaled = fastbptt.Standardizer(missing="mask").fit_transform(x)
    >>> imputer = fastbptt.Imputer()
    >>> imputer.fit_transform(scaled).round(2)
    array([[[-1.  , -1.22,  0.  ],
            [ 0.  ,  0.  ,  1.  ],
            [ 1.  ,  1.22,  0.  ]]])
    >>> imputer.features_
    array([0])
    """

    n_features_in_: int
    features_: NDArray[np.int64]

    def fit(self, x: Any, lengths: Any = None) -> Imputer:
        """Find the features with gaps, and forget those of earlier calls.

        Parameters
        ----------
        x : array of shape (batch, time, features), or list of arrays (time_i, features)
            The sequences.
        lengths : array of shape (batch,), optional
            Steps of each sequence, if an array is padded; what stands after its end is not read.

        Returns
        -------
        Imputer
            Itself.

        Raises
        ------
        ValueError, TypeError
            If `x` or `lengths` has another form.
        """
        items, ends = _sequences(x, lengths)
        gaps = np.zeros(items[0].shape[1], np.bool_)
        for one in _within(items, ends):
            gaps |= np.isnan(one).any(axis=0)
        self.n_features_in_, self.features_ = len(gaps), np.flatnonzero(gaps).astype(I64)
        return self

    def transform(self, x: Any, lengths: Any = None) -> Any:
        """Replace NaN by 0 and add the indicators.

        Parameters
        ----------
        x, lengths
            As for `fit`.

        Returns
        -------
        array (batch, time, features + indicators), or list of arrays
            New, of the dtype of `x`, float64 for integers. Zero after the end of a sequence.

        Raises
        ------
        ValueError, TypeError
            If `fit` was not called before, the number of features differs, or a feature has a gap
            that had none in `fit`: no network has learned what its indicator would mean.
        """
        self._check_fitted()
        items, ends = _sequences(x, lengths)
        width = items[0].shape[1]
        if width != self.n_features_in_:
            raise ArgumentError("x", f"has {width} features", f"{self.n_features_in_}, as in fit")
        listed = isinstance(x, list | tuple)
        results = []
        for i, one in enumerate(_within(items, ends)):
            where = self._new_gap(one)
            if where is not None:
                step, feature = where
                raise ArgumentError(
                    "x",
                    f"has no value, but feature {feature} had no gap in fit",
                    "values where training had them: fill them, or fit on data with such gaps",
                    item=i if listed else None,
                    index=where if listed else (i, step, feature),
                )
            results.append(self._of_rows(one))
        if listed:
            return results
        shape = (len(items), len(items[0]), width + len(self.features_))
        whole = np.zeros(shape, results[0].dtype)
        for place, one in zip(whole, results, strict=True):
            place[: len(one)] = one
        return whole

    def fit_transform(self, x: Any, lengths: Any = None) -> Any:
        """Do `fit` and `transform` of the same sequences.

        Parameters
        ----------
        x, lengths
            As for `fit`.

        Returns
        -------
        array or list of arrays
            As from `transform`.
        """
        return self.fit(x, lengths).transform(x, lengths)

    def get_feature_names_out(self, input_features: Sequence[str]) -> list[str]:
        """Name the features and indicators that `transform` returns.

        Parameters
        ----------
        input_features : sequence of str
            The names of the features.

        Returns
        -------
        list of str

        Raises
        ------
        ValueError
            If `fit` was not called before, or there are not as many names as features.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> imputer = fastbptt.Imputer().fit([np.array([[1.0, np.nan], [2.0, 3.0]])])
        >>> imputer.get_feature_names_out(["speed", "height"])
        ['speed', 'height', 'height missing']
        """
        self._check_fitted()
        names = list(input_features)
        if len(names) != self.n_features_in_:
            raise ArgumentError(
                "input_features", f"has {len(names)} names", f"{self.n_features_in_}, as in fit"
            )
        return names + [f"{names[i]} missing" for i in self.features_.tolist()]

    # ------------------------------------------------------------ steps in one array

    def _of_rows(self, rows: Array) -> Array:
        """Transform steps of one or all sequences, (steps, features), without a look at them."""
        gaps = np.isnan(rows)
        dtype = rows.dtype if rows.dtype.kind == "f" else F64
        filled = np.empty((len(rows), rows.shape[1] + len(self.features_)), dtype)
        filled[:, : rows.shape[1]] = np.where(gaps, 0.0, rows)
        filled[:, rows.shape[1] :] = gaps[:, self.features_]
        return filled

    def _new_gap(self, rows: Array) -> tuple[int, int] | None:
        """Find a gap in a feature that had none in `fit`: its step and feature."""
        gaps = np.isnan(rows)
        gaps[:, self.features_] = False
        if not gaps.any():
            return None
        step, feature = divmod(int(gaps.argmax()), rows.shape[1])
        return step, feature

    def _check_fitted(self) -> None:
        if not hasattr(self, "features_"):
            raise ValueError("this Imputer is not fitted; expected fit before")

    # ------------------------------------------------------------ plain values

    def to_dict(self) -> dict[str, Any]:
        """Return `n_features_in_` and `features_` as plain values, fit for JSON.

        Returns
        -------
        dict
            ``{"n_features_in": .., "features": [..]}``

        Raises
        ------
        ValueError
            If `fit` was not called before.
        """
        self._check_fitted()
        return {"n_features_in": self.n_features_in_, "features": self.features_.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Imputer:
        """Restore an `Imputer` from the result of `to_dict`.

        Parameters
        ----------
        values : mapping
            ``"n_features_in"``, and ``"features"``: rising numbers below it.

        Returns
        -------
        Imputer
            One that transforms as the original does.

        Raises
        ------
        ValueError, TypeError
            If `values` is anything else.

        Examples
        --------
        >>> import fastbptt
        >>> fastbptt.Imputer.from_dict({"n_features_in": 3, "features": [1]}).features_
        array([1])
        """
        _check.same_names("values", values, ("n_features_in", "features"))
        result = cls()
        count = _check.size("values['n_features_in']", values["n_features_in"])
        given = values["features"]
        right = isinstance(given, list | tuple | np.ndarray) and all(
            isinstance(one, int | np.integer) and not isinstance(one, bool) and 0 <= one < count
            for one in given
        )
        if not right or sorted(set(given)) != list(given):
            raise ArgumentError(
                "values['features']",
                f"is {_check.shown(given)}",
                f"rising whole numbers from 0 to {count - 1}",
            )
        result.n_features_in_, result.features_ = count, np.array(given, I64)
        return result


def _sequences(x: Any, lengths: Any) -> tuple[list[Array], NDArray[np.int64] | None]:
    """Read sequences in either form: one array each, and the ends if an array is padded."""
    expected = "(batch, time, features), or a list of arrays (time_i, features), each at least 1"
    if isinstance(x, list | tuple):
        if not x:
            raise ArgumentError("x", "is an empty list", "at least one sequence")
        if lengths is not None:
            raise ArgumentError("lengths", "is given", "None: a list of sequences has its own")
        items: list[Array] = []
        for i, one in enumerate(x):
            _check.no_frame("x", one, i)
            item = _check.read("x", one, item=i)
            width = items[0].shape[1] if items else None
            if item.ndim != 2 or 0 in item.shape or width not in (None, item.shape[1]):
                wanted = "(time, features)" if width is None else f"(time, {width}), as x[0] has"
                raise ArgumentError("x", f"has shape {item.shape}", wanted, item=i)
            items.append(item)
        return items, None
    _check.no_frame("x", x)
    array = _check.read("x", x)
    if array.ndim != 3 or 0 in array.shape:
        hint = "; of one feature, give x[:, :, None]" if array.ndim == 2 else ""
        raise ArgumentError("x", f"has shape {array.shape}", f"{expected}{hint}")
    return list(array), read_lengths(lengths, *array.shape[:2])


def _within(items: list[Array], ends: NDArray[np.int64] | None) -> Iterator[Array]:
    """Yield the steps of each sequence before its end."""
    if ends is None:
        yield from items
    else:
        for one, end in zip(items, ends.tolist(), strict=True):
            yield one[:end]
