"""Standardisation of features and of regression targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._check import F32, F64, I64
from .._errors import ArgumentTypeError

Array: TypeAlias = NDArray[Any]

MISSING: Final = ("error", "mask")
_BLOCK: Final = 1 << 17  # numbers that are copied to float64 at a time


class Standardizer:
    r"""Give every feature mean 0 and standard deviation 1, over all time steps of all sequences.

    With the mean :math:`\mu_j` and the standard deviation :math:`\sigma_j` of feature :math:`j`,

    .. math::

        \mu_j = \frac{\sum_i w_i \sum_t x_{itj}}{\sum_i w_i T_i}, \qquad
        \sigma_j^2 = \frac{\sum_i w_i \sum_t (x_{itj} - \mu_j)^2}{\sum_i w_i T_i}, \qquad
        z_{itj} = \frac{x_{itj} - \mu_j}{\sigma_j},

    where sequence :math:`i` has :math:`T_i` steps and weight :math:`w_i` (1 if none are given).

    Parameters
    ----------
    center : bool, default True
        False: subtract nothing, and divide by the root mean square, for data that are
        differences already. Then `mean_` is zero.
    missing : {"error", "mask"}, default "error"
        NaN: an error, or a missing value, which counts in no mean and stays NaN.

    Attributes
    ----------
    mean_ : float64 array of shape (features,)
        Subtracted from each feature.
    scale_ : float64 array of shape (features,)
        Divides each feature. 1 for a constant feature: one whose standard deviation is 0, or is
        below the spacing of the data's floating-point numbers around its mean; in that case the
        spacing, if it is larger than 1.

    Notes
    -----
    All methods take sequences in any of these forms:

    - an array of shape (batch, time, features), with `lengths` if it is padded. Steps after a
      sequence's end are not read; `transform` makes them zero;
    - a list of arrays of shape (time_i, features), or (time_i,) for one feature;
    - an array of shape (n, features), such as targets of shape (n, outputs), or (n,) for one
      feature.

    A frame of pandas is refused: give the array of its columns, in an order that stays the same.

    Sums are in float64 and relative to the first step, in two passes, so that no digits are lost
    where the mean is large beside the standard deviation. Successive calls of `partial_fit` are
    combined as in T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37(3), 1983,
    242-247.

    Examples
    --------
    >>> import numpy as np, fastbptt
    >>> x = [np.array([[1.0, 50.0], [3.0, 50.0]]), np.array([[5.0, 50.0]])]
    >>> standardizer = fastbptt.Standardizer().fit(x)
    >>> standardizer.mean_
    array([ 3., 50.])
    >>> standardizer.scale_.round(3)
    array([1.633, 1.   ])
    >>> standardizer.transform(x)[1].round(3)
    array([[1.225, 0.   ]])
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    def __init__(self, *, center: bool = True, missing: str = "error") -> None:
        self.center = _check.flag("center", center)
        self.missing = _check.option("missing", missing, MISSING)
        # sum of weights of the steps seen; with missing="mask" of the values of each feature
        self._weight: float | NDArray[np.float64] = 0.0
        self._squares: NDArray[np.float64] | None = None  # weighted, about mean_, in units of
        self._unit: NDArray[np.float64] = np.ones(1)  # powers of 2, so that no square overflows
        self._spacing = 0.0  # relative, of the coarsest dtype seen

    # ------------------------------------------------------------ fitting

    def fit(
        self, x: Any, lengths: Any = None, *, sample_weight: Any = None, name: str = "x"
    ) -> Standardizer:
        """Compute mean and standard deviation, and forget those of earlier calls.

        Parameters
        ----------
        x : array or list of arrays
            The sequences. See the class for the forms.
        lengths : array of shape (batch,), optional
            Steps of each sequence, whole numbers from 1 to time; only for a padded array.
        sample_weight : array of shape (number of sequences,), optional
            Weights of at least 0, for all steps of a sequence. For a two-dimensional array, one
            weight per row.
        name : str, default "x"
            How error messages refer to `x`.

        Returns
        -------
        Standardizer
            Itself.

        Raises
        ------
        ValueError, TypeError
            If `x` has no steps, values that are not finite (with ``missing="mask"`` infinite, or a
            feature without any), or values so large that their squares overflow; if shapes do not
            match; if all weights are 0.
        """
        fresh = Standardizer(center=self.center, missing=self.missing)
        fresh.partial_fit(x, lengths, sample_weight=sample_weight, name=name)
        empty = np.broadcast_to(fresh._weight, fresh.mean_.shape) == 0.0
        if empty.any():
            raise ValueError(
                f"{name} holds only NaN in column {int(empty.argmax())}; expected at least one "
                "number in each"
            )
        self.__dict__.update(fresh.__dict__)
        return self

    def partial_fit(
        self, x: Any, lengths: Any = None, *, sample_weight: Any = None, name: str = "x"
    ) -> Standardizer:
        """Add further sequences to mean and standard deviation.

        The result is that of one `fit` on all sequences, up to rounding. A feature of which all
        values have been missing has mean 0 and scale 1.

        Parameters
        ----------
        x, lengths, sample_weight, name
            As for `fit`.

        Returns
        -------
        Standardizer
            Itself.

        Raises
        ------
        ValueError, TypeError
            As for `fit`, and if the number of features differs from that of earlier calls, or if
            this object was restored by `from_dict`. Then nothing has changed.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> standardizer = fastbptt.Standardizer()
        >>> for first in (0, 50):
        ...     _ = standardizer.partial_fit(np.arange(first, first + 50.0))
        >>> standardizer.mean_, standardizer.scale_.round(3)
        (array([49.5]), array([28.866]))
        """
        if not isinstance(name, str):
            raise ArgumentTypeError("name", f"is of type {type(name).__name__}", "str")
        sequences = _Sequences(name, x, lengths)
        width = sequences.width
        if hasattr(self, "mean_"):
            if self._squares is None:
                raise ValueError(
                    "this Standardizer was restored from its mean and scale; expected fit"
                )
            self._check_width(sequences)
        weights = sequences.weights(sample_weight)
        sequences.check_digits()
        masked = self.missing == "mask"
        first = np.zeros(width)
        if self.center:
            first = sequences.first(weights, masked)

        whole: Any  # a number, or one for each feature
        with np.errstate(over="ignore", invalid="ignore"):
            total, size, whole = np.zeros(width), np.zeros(width), 0.0
            for rows, weight in sequences.blocks(weights):
                rows -= first
                if masked:
                    whole = whole + _sum(_masked(rows), weight)
                else:
                    whole += float(len(rows)) if weight is None else float(weight.sum())
                total += _sum(rows, weight)
                size = np.maximum(size, np.maximum(rows.max(axis=0), -rows.min(axis=0)))
            mean = first + total / _divisor(whole) if self.center else first
            squares, rest, unit = np.zeros(width), np.zeros(width), _unit(size)
            for rows, weight in sequences.blocks(weights):
                rows -= mean
                rows /= unit
                if masked:
                    _masked(rows)
                rest += _sum(rows, weight)
                squares += _sum(np.square(rows), weight)
            if self.center:
                squares -= rest * rest / _divisor(whole)  # mean is rounded
                squares = np.maximum(squares, 0.0)
            if self._squares is not None:
                step = mean - self.mean_
                both = self._weight + whole
                if masked:  # there is no step from, or to, a feature without a value
                    step = np.where(whole == 0.0, 0.0, step)
                old, new = self._unit, unit
                unit = np.maximum(np.maximum(old, new), _unit(np.abs(step)))
                squares = squares * np.square(new / unit) + self._squares * np.square(old / unit)
                squares += np.square(step / unit) * (self._weight * whole / _divisor(both))
                mean, whole = self.mean_ + step * (whole / _divisor(both)), both
            spread = unit * np.sqrt(squares / _divisor(whole))
        if not np.isfinite(spread).all():
            sequences.check_finite(weights, masked)
            raise ValueError(
                f"{name} holds values so large in column {int(np.argmin(np.isfinite(spread)))} "
                "that they have no finite standard deviation; expected smaller ones"
            )
        self._spacing = max(self._spacing, sequences.spacing)
        self._weight, self._squares, self._unit = whole, squares, unit
        self.mean_ = mean
        rounding = self._spacing * np.abs(mean)
        least = np.where(spread > 0.0, np.maximum(rounding, 1.0), 1.0)
        self.scale_ = np.where(spread <= rounding, least, spread)
        return self

    # ------------------------------------------------------------ transforming

    def transform(self, x: Any, lengths: Any = None, *, dtype: Any = None) -> Any:
        """Standardise.

        Parameters
        ----------
        x : array or list of arrays
            The sequences. See the class for the forms. NaN stays NaN.
        lengths : array of shape (batch,), optional
            As for `fit`.
        dtype : {"float32", "float64"}, optional
            Of the result. Default: that of `x`; float64 for integers.

        Returns
        -------
        array or list of arrays
            New, of the shapes that `x` has. Computed in float64.

        Raises
        ------
        ValueError, TypeError
            If `fit` was not called before, or `x` has another number of features.
        """
        kind = None if dtype is None else _check.float_dtype(dtype)
        return self._apply(x, lengths, kind, lambda rows: (rows - self.mean_) / self.scale_)

    def fit_transform(self, x: Any, lengths: Any = None, *, sample_weight: Any = None) -> Any:
        """Do `fit` and `transform` of the same sequences.

        Parameters
        ----------
        x, lengths, sample_weight
            As for `fit`.

        Returns
        -------
        array or list of arrays
            As from `transform`.
        """
        return self.fit(x, lengths, sample_weight=sample_weight).transform(x, lengths)

    def inverse_transform(self, x: Any, lengths: Any = None) -> Any:
        r"""Go back to the original units: :math:`x = z \sigma + \mu`.

        Parameters
        ----------
        x : array or list of arrays
            Standardised sequences. See the class for the forms.
        lengths : array of shape (batch,), optional
            As for `fit`.

        Returns
        -------
        array or list of arrays
            New, float64: a large mean takes more digits than float32 has.

        Raises
        ------
        ValueError, TypeError
            As for `transform`.

        Examples
        --------
        >>> import numpy as np, fastbptt
        >>> prices = np.array([2800.0, 3000.0, 3200.0])
        >>> standardizer = fastbptt.Standardizer().fit(prices)
        >>> standardizer.inverse_transform([-1.0, 0.0])
        array([2836.70068381, 3000.        ])
        """
        return self._apply(x, lengths, F64, lambda rows: rows * self.scale_ + self.mean_)

    def _apply(
        self,
        x: Any,
        lengths: Any,
        dtype: np.dtype[Any] | None,
        function: Callable[[Array], Array],
    ) -> Any:
        if not hasattr(self, "mean_"):
            raise ValueError("this Standardizer is not fitted; expected fit before")
        sequences = _Sequences("x", x, lengths)
        self._check_width(sequences)
        results = []
        for item in sequences.items:
            result = np.zeros(item.shape, _float_dtype(item) if dtype is None else dtype)
            to = result[..., np.newaxis] if sequences.one_feature else result
            for part, real in sequences.parts(item):
                rows = sequences.table(item)[part]
                if real is None:
                    to[part] = function(rows)
                else:
                    to[part][real] = function(rows[real])
            results.append(result)
        return results if sequences.listed else results[0]

    def _check_width(self, sequences: _Sequences) -> None:
        if sequences.width != len(self.mean_):
            raise ValueError(
                f"{sequences.name} has {sequences.width} features; "
                f"expected {len(self.mean_)}, as in fit"
            )

    # ------------------------------------------------------------ plain values

    def to_dict(self) -> dict[str, list[float]]:
        """Return `mean_` and `scale_` as lists, fit for JSON and a model's metadata.

        Returns
        -------
        dict
            ``{"mean": [...], "scale": [...]}``

        Raises
        ------
        ValueError
            If `fit` was not called before.
        """
        if not hasattr(self, "mean_"):
            raise ValueError("this Standardizer is not fitted; expected fit before")
        return {"mean": self.mean_.tolist(), "scale": self.scale_.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Standardizer:
        """Restore a `Standardizer` from the result of `to_dict`.

        Parameters
        ----------
        values : mapping
            ``"mean"`` and ``"scale"``: a number for each feature, the scales above 0.

        Returns
        -------
        Standardizer
            One that transforms as the original does.

        Raises
        ------
        ValueError, TypeError
            If `values` is anything else.

        Examples
        --------
        >>> import fastbptt
        >>> standardizer = fastbptt.Standardizer.from_dict({"mean": [10.0], "scale": [2.0]})
        >>> standardizer.transform([8.0, 10.0])
        array([-1.,  0.])
        """
        _check.same_names("values", values, ("mean", "scale"))
        result = cls()
        mean, scale = (
            _check.read(f"values[{key!r}]", values[key]).astype(F64) for key in ("mean", "scale")
        )
        if mean.ndim != 1 or not np.isfinite(mean).all():
            raise ValueError(
                f"values['mean'] is {_check.shown(values['mean'])}; expected a finite number per "
                "feature"
            )
        if scale.shape != mean.shape or not (np.isfinite(scale) & (scale > 0.0)).all():
            raise ValueError(
                f"values['scale'] is {_check.shown(values['scale'])}; expected {len(mean)} finite "
                "numbers above 0"
            )
        result.mean_, result.scale_ = mean, scale
        return result


class _Sequences:
    """Sequences in any of the forms, read in blocks of steps.

    Attributes
    ----------
    items : list of arrays
        The list's sequences, or the one array.
    listed : bool
        Whether `items` came as a list.
    one_feature : bool
        Whether the axis of features is missing.
    width : int
        Number of features.
    spacing : float
        Relative spacing of the coarsest dtype's numbers.
    """

    def __init__(self, name: str, x: Any, lengths: Any) -> None:
        self.name = name
        self.listed = isinstance(x, list | tuple) and any(np.ndim(one) and _array(one) for one in x)
        names = [f"{name}[{i}]" for i in range(len(x))] if self.listed else [name]
        self.items = [
            _check.read(each, one)
            for each, one in zip(names, x if self.listed else [x], strict=True)
        ]
        for each, item in zip(names, x if self.listed else [x], strict=True):
            if type(item) is not np.ndarray:
                _check.no_frame(each, item)
        first = self.items[0]
        most = 2 if self.listed else 3
        for each, item in zip(names, self.items, strict=True):
            if not 1 <= item.ndim <= most or item.ndim != first.ndim or 0 in item.shape:
                forms = "(time_i, features) or (time_i,), as in all" if self.listed else _FORMS
                raise ValueError(
                    f"{each} has shape {item.shape}; expected {forms}, each at least 1"
                )
            if item.ndim > 1 and item.shape[-1] != first.shape[-1]:
                raise ValueError(
                    f"{each} has {item.shape[-1]} features; expected {first.shape[-1]}, "
                    f"as {names[0]} has"
                )
        self.one_feature = first.ndim == 1
        self.width = 1 if self.one_feature else int(first.shape[-1])
        kinds = {item.dtype for item in self.items if item.dtype.kind == "f"} or {F64}
        self.spacing = max(float(np.finfo(kind).eps) for kind in kinds)
        self._lengths = None if lengths is None else self._read_lengths(lengths)

    def _read_lengths(self, lengths: Any) -> NDArray[np.int64]:
        shape = self.items[0].shape
        if self.listed or len(shape) != 3:
            raise ValueError(f"lengths is given; expected None unless {self.name} is padded")
        array = _check.read("lengths", lengths, "whole numbers")
        if array.shape != shape[:1] or array.dtype.kind not in "iu":
            raise ValueError(
                f"lengths has shape {array.shape} and dtype {array.dtype}; "
                f"expected whole numbers of shape {shape[:1]}"
            )
        wrong = (array < 1) | (array > shape[1])
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(f"lengths[{i}] is {array[i]}; expected 1 to {shape[1]}")
        return array.astype(I64)

    def weights(self, given: Any) -> list[Array] | None:
        """Read the weights: one array per item, with a number per sequence or row."""
        if given is None:
            return None
        count = len(self.items) if self.listed else len(self.items[0])
        means = f"one weight per sequence of {self.name}"
        array = _check.exact("sample_weight", given, (count,), means, F64).astype(F64)
        wrong = ~(np.isfinite(array) & (array >= 0.0))
        if wrong.any():
            i = int(wrong.argmax())
            raise ValueError(
                f"sample_weight[{i}] is {array[i]}; expected a finite number of at least 0"
            )
        if not array.any():
            raise ValueError("sample_weight holds only zeros; expected at least one above 0")
        return list(array) if self.listed else [array]

    def table(self, item: Array) -> Array:
        """Return an item with an axis of features, a view."""
        return item[..., np.newaxis] if self.one_feature else item

    def parts(self, item: Array) -> Iterator[tuple[slice, NDArray[np.bool_] | None]]:
        """Cut an item along its first axis; mark the steps within `lengths`, if there are any."""
        size = max(1, _BLOCK // (item.size // len(item)))
        for start in range(0, len(item), size):
            part = slice(start, start + size)
            if self._lengths is None:
                yield part, None
            else:
                yield part, np.arange(item.shape[1]) < self._lengths[part, np.newaxis]

    def blocks(
        self, weights: list[Array] | None
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
        """Yield copies of steps, (steps, features), and a weight for each; none of weight 0."""
        for i, item in enumerate(self.items):
            own = None if weights is None else weights[i]
            for part, real in self.parts(item):
                block = self.table(item)[part]
                weight = None
                if own is not None:
                    shape = block.shape[:-1]
                    own_part = own if own.ndim == 0 else own[part]
                    weight = np.broadcast_to(own_part.reshape(-1, *[1] * (len(shape) - 1)), shape)
                    present = weight > 0.0
                    real = present if real is None else real & present
                rows = block.reshape(-1, self.width) if real is None else block[real]
                if len(rows):
                    yield rows.astype(F64), None if weight is None else weight[real]

    def first(self, weights: list[Array] | None, masked: bool = False) -> NDArray[np.float64]:
        """Return the first step, or the first values of all features; 0 for one without any."""
        first: NDArray[np.float64] | None = None
        for rows, _ in self.blocks(weights):
            if not masked:
                one: NDArray[np.float64] = rows[0]
                return one
            there = ~np.isnan(rows)
            found = rows[there.argmax(axis=0), np.arange(self.width)]
            first = found if first is None else np.where(np.isnan(first), found, first)
            if not np.isnan(first).any():
                break
        assert first is not None
        return np.where(np.isnan(first), 0.0, first)

    def check_digits(self) -> None:
        """Refuse integers whose differences float64 loses."""
        if self._lengths is None:
            _check.resolved_by_float64(self.name, *map(self.table, self.items))
        else:
            steps = np.arange(self.items[0].shape[1]) < self._lengths[:, np.newaxis]
            _check.resolved_by_float64(self.name, self.items[0][steps])

    def check_finite(self, weights: list[Array] | None, masked: bool = False) -> None:
        """Refuse infinity and, unless it is `masked`, NaN, but not where nothing is read."""
        for i, item in enumerate(self.items):
            for part, real in self.parts(item):
                rows = self.table(item)[part]
                wrong = np.isinf(rows) if masked else ~np.isfinite(rows)
                if real is not None:
                    wrong &= real[..., np.newaxis]
                if weights is not None:
                    own = weights[i] if self.listed else weights[i][part]
                    wrong &= (own > 0.0).reshape(-1, *[1] * (wrong.ndim - 1))
                if wrong.any():
                    index = np.argwhere(wrong)[0]
                    value = rows[tuple(index)]
                    index[0] += part.start
                    where = ([i] if self.listed else []) + index.tolist()
                    if self.one_feature:
                        where.pop()
                    hint = '; missing="mask" leaves out missing values' if np.isnan(value) else ""
                    raise ValueError(
                        f"{self.name} holds {value} at index ({', '.join(map(str, where))}); "
                        f"expected finite numbers{hint}"
                    )


def _masked(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set what is missing to 0, in place; return 1 where a value is there."""
    there = (~np.isnan(rows)).astype(F64)
    rows[there == 0.0] = 0.0
    return there


def _divisor(whole: Any) -> Any:
    """Divide sums without any weight, which are 0, by 1."""
    return np.where(whole > 0.0, whole, 1.0) if isinstance(whole, np.ndarray) else whole


_FORMS: Final = "(batch, time, features), (n, features) or (n,)"


def _unit(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the power of 2 next to each number; the least for 0, 1 for what is not finite."""
    exponents = np.frexp(np.where(np.isfinite(size), size, 1.0))[1]
    exponents = np.where(size == 0.0, -1022, np.clip(exponents, -1022, 1023))
    return np.ldexp(1.0, exponents)


def _float_dtype(array: Array) -> np.dtype[Any]:
    """Return the floating-point dtype for results from an array."""
    return F32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else F64


def _array(one: Any) -> bool:
    return hasattr(one, "__array__") or hasattr(one, "__dlpack__")


def _sum(rows: NDArray[np.float64], weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
    result: NDArray[np.float64] = rows.sum(axis=0) if weight is None else weight @ rows
    return result
