"""Constraints on a model's weights, whatever trains it: masks, signs, bounds of norms."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check, _core
from .._check import Floats
from .._errors import ArgumentError, ArgumentTypeError
from .._views import Layout

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Constraints"]

Codes = NDArray[np.uint8]

# What the core calls them: the signs that an entry may have beside 0
_ZERO, _POSITIVE, _NEGATIVE, _ANY = range(4)
_ALLOWED: Final = ("0", "at least 0", "at most 0")

#: How an update keeps signs.
SIGN_METHODS: Final = ("clip", "abs")

_GIVEN: Final = ("masks", "self_connections", "signs", "input_units", "max_norm")


class Constraints:
    """Masks, signs and bounds of norms that a model's weights satisfy, whatever trains it.

    They hold from the start on and after every update of any optimiser, and belong to the model:
    copies, pickles, files and checkpoints have them, and `Recurrent.constraints`. Names are those
    of `Recurrent.parameters`; in a matrix rows are what it reads, and columns are units (of each
    gate), or outputs.

    Parameters
    ----------
    masks : mapping of str to array, optional
        Zeros where entries of a parameter stay exactly zero, and ones (or booleans), in the
        parameter's shape; for a matrix of several gates also (rows, hidden_size), for all of them.
        Such entries have no gradient and no moments.
    self_connections : bool, default True
        False: no unit reads its own last state; the diagonal of each gate of `W_hh` is zero, in all
        layers and directions.
    signs : array of shape (hidden_size,), or mapping of str to number or array, optional
        Dale's law: 1 for units whose outgoing weights are at least 0 (excitatory), -1 for at most
        0 (inhibitory), 0 for either. They apply to the rows of `W_hh` and to those of `W_hy`; for
        networks of one layer and direction. A mapping holds for exactly the parameters that it
        names: a number, an array of a sign for each row, or one of the parameter's shape.
    sign_method : {"clip", "abs"}, optional
        What happens to a weight that an update takes past zero. ``"clip"``, the default: it becomes
        zero, and is free to leave it. ``"abs"``: it is reflected, with its momenta, which is
        training the parameters theta of ``W = sign * abs(theta)``.
    input_units : sequence of int, optional
        The units of the first layer that read the input, in both directions; the columns of the
        others in `W_xh` are zero. (`readout_units` chooses those that are read.)
    max_norm : mapping of str to float, optional
        The largest Euclidean norm of each column of a matrix: of a unit's (gate's) incoming
        weights. A column that is longer after an update is scaled.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, if it is not as described or has no effect; what depends on the
        network when a model is made with it.

    Notes
    -----
    Signs and masks come before norms. With ``"clip"`` the three together are the Euclidean
    projection onto what is allowed, so a step of gradient descent is one of projected gradient
    descent. Sources: Song, Yang and Wang, PLoS Computational Biology 12 (2016), for Dale's law, by
    rectification or the absolute value; Srivastava et al., JMLR 15 (2014), for the norms.

    Examples
    --------
    Forty excitatory and ten inhibitory units; the input reaches all, the readout the first forty:

    >>> import numpy as np, fastbptt
    >>> dale = fastbptt.Constraints(signs=[1] * 40 + [-1] * 10, self_connections=False)
    >>> model = fastbptt.RNN(
    ...     3, 50, 2, nonlinearity="relu", readout_units=range(40), constraints=dale, seed=0
    ... )
    >>> W_hh = model.parameters["W_hh"]
    >>> bool((W_hh[:40] >= 0).all()), bool((W_hh[40:] <= 0).all()), float(np.trace(W_hh))
    (True, True, 0.0)
    """

    def __init__(
        self,
        *,
        masks: Mapping[str, ArrayLike] | None = None,
        self_connections: bool = True,
        signs: ArrayLike | Mapping[str, ArrayLike] | None = None,
        sign_method: str | None = None,
        input_units: Sequence[int] | None = None,
        max_norm: Mapping[str, float] | None = None,
    ) -> None:
        self.masks = None if masks is None else _masks(masks)
        self.self_connections = _check.flag("self_connections", self_connections)
        self.signs = None if signs is None else _signs(signs)
        if sign_method is not None:
            _check.option("sign_method", sign_method, SIGN_METHODS)
            if signs is None:
                raise ArgumentError("sign_method", f'is "{sign_method}"', "None without signs")
        self.sign_method = sign_method or SIGN_METHODS[0]
        self.input_units = None if input_units is None else _units(input_units)
        self.max_norm = None if max_norm is None else _norms(max_norm)
        if self.self_connections and all(
            getattr(self, name) is None for name in _GIVEN if name != "self_connections"
        ):
            raise ArgumentError(
                "Constraints", "are none", f"at least one of {', '.join(_GIVEN)}, or None instead"
            )

    def __repr__(self) -> str:
        shown = []
        for name in ("masks", "signs"):
            value = getattr(self, name)
            if isinstance(value, dict):
                every = ", ".join(f"{_check.quoted(one)}: .." for one in value)
                shown.append(f"{name}={{{every}}}")
            elif value is not None:
                shown.append(f"{name}=[..]")
        if not self.self_connections:
            shown.append("self_connections=False")
        if self.signs is not None and self.sign_method != SIGN_METHODS[0]:
            shown.append(f"sign_method={_check.quoted(self.sign_method)}")
        if self.input_units is not None:
            shown.append(f"input_units={list(self.input_units)}")
        if self.max_norm is not None:
            every = ", ".join(f"{_check.quoted(k)}: {v:g}" for k, v in self.max_norm.items())
            shown.append(f"max_norm={{{every}}}")
        return f"Constraints({', '.join(shown)})"

    def _of(self, spec: _core.Spec, layout: Layout) -> Resolved:
        """Apply them to a network's parameters."""
        if spec.rank:
            self._refuse_products(spec.rank)
        codes = np.full(max(stop for _, stop, _ in layout.values()), _ANY, np.uint8)
        views = {name: codes[a:b].reshape(shape) for name, (a, b, shape) in layout.items()}
        _known("masks", self.masks, views)
        for name, mask in (self.masks or {}).items():
            _mask(f"masks[{name!r}]", mask, views[name], spec.hidden_size)
        diagonal = np.arange(spec.hidden_size)
        for name, view in views.items():
            if name.startswith("W_hh") and not self.self_connections:
                for gate in range(view.shape[1] // spec.hidden_size):
                    view[diagonal, diagonal + gate * spec.hidden_size] = _ZERO
        if self.input_units is not None:
            _restrict(self.input_units, views, spec.hidden_size)
        for name, label, values in self._signs_by_name(spec, views):
            _sign(label, values, views[name])
        _known("max_norm", self.max_norm, views, "matrices", lambda name: name.startswith("W_"))
        used = (codes != _ANY).any()
        return Resolved(codes if used else None, self.sign_method, dict(self.max_norm or {}))

    def _refuse_products(self, rank: int) -> None:
        """Refuse what would hold for W_hh, which is a product of low rank."""
        why = f"but W_hh is the product N_hh M_hh because rank={rank}"
        if not self.self_connections:
            raise ArgumentError("self_connections", f"is False, {why}", "True, or rank=None")
        if self.signs is not None and not isinstance(self.signs, dict):
            expected = "a mapping by parameter, or rank=None"
            raise ArgumentError("signs", f"is one array, {why}", expected)
        for label, given in (
            ("masks", self.masks),
            ("signs", self.signs),
            ("max_norm", self.max_norm),
        ):
            for name in given or ():
                if name.startswith("W_hh"):
                    expected = "names of other parameters, or rank=None"
                    raise ArgumentError(label, f"has {_check.shown(name)}, {why}", expected)

    def _signs_by_name(
        self, spec: _core.Spec, views: Mapping[str, Codes]
    ) -> list[tuple[str, str, NDArray[np.int8]]]:
        if self.signs is None:
            return []
        if isinstance(self.signs, dict):
            _known("signs", self.signs, views)
            return [(name, f"signs[{name!r}]", value) for name, value in self.signs.items()]
        if spec.num_layers > 1 or spec.bidirectional:
            passes = spec.num_layers * (2 if spec.bidirectional else 1)
            came = f"is one array, but layers and directions are {passes}"
            expected = 'a mapping by parameter, such as {"W_hh": signs}'
            raise ArgumentError("signs", came, expected)
        if self.signs.shape != (spec.hidden_size,):
            came = f"has shape {self.signs.shape}"
            raise ArgumentError("signs", came, f"({spec.hidden_size},), one for each unit")
        found = [("W_hh", "signs", self.signs)]
        if "W_hy" in views:
            read = self.signs[list(spec.read_units)] if spec.read_units else self.signs
            if read.any():
                found.append(("W_hy", "signs", read))
        return found


class Resolved(NamedTuple):
    """Constraints on the parameters of one network.

    Attributes
    ----------
    codes : uint8 array, or None
        For each parameter the signs that it may have.
    sign_method : str
    max_norm : dict of str to float
    """

    codes: Codes | None
    sign_method: str
    max_norm: dict[str, float]

    def of_engine(self, layout: Layout) -> tuple[bytes | None, bool, list[Any]]:
        """Return the arguments of the core's `constrain`."""
        norms = []
        for name, most in self.max_norm.items():
            start, _, (rows, columns) = layout[name]
            norms.append((start, rows, columns, most))
        signs = None if self.codes is None else self.codes.tobytes()
        return signs, self.sign_method == "abs", norms

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        text = None
        if self.codes is not None:
            text = base64.b64encode(zlib.compress(self.codes.tobytes(), 9)).decode("ascii")
        return {"signs": text, "sign_method": self.sign_method, "max_norm": self.max_norm}

    @classmethod
    def from_json(cls, given: Any, layout: Layout) -> Self:
        """Check what `to_json` returned.

        Raises
        ------
        ValueError, TypeError
            If it is not of such parameters.
        """
        if not isinstance(given, dict):
            raise TypeError(f"constraints are of type {type(given).__name__}; expected a mapping")
        _check.same_names("constraints", given, ("signs", "sign_method", "max_norm"))
        count = max(stop for _, stop, _ in layout.values())
        codes = None
        if given["signs"] is not None:
            try:
                packed = base64.b64decode(given["signs"], validate=True)
                raw = zlib.decompressobj().decompress(packed, count + 1)
            except (TypeError, ValueError, binascii.Error, zlib.error):
                raise ValueError("signs are damaged; expected text that a model wrote") from None
            codes = np.frombuffer(raw, np.uint8)
            if codes.size != count or (codes > _ANY).any():
                raise ValueError(f"signs are not 0 to {_ANY} for each of {count} parameters")
        method = _check.option("sign_method", given["sign_method"], SIGN_METHODS)
        norms = given["max_norm"]
        if not isinstance(norms, dict):
            raise TypeError("max_norm is no mapping")
        norms = _norms(norms) if norms else {}
        _known("max_norm", norms, layout, "matrices", lambda name: name.startswith("W_"))
        return cls(codes, method, norms)

    def described(self, layout: Layout) -> Constraints:
        """Return them as arrays of each parameter's shape."""
        masks, signs = {}, {}
        for name, (start, stop, shape) in layout.items() if self.codes is not None else ():
            own = self.codes[start:stop].reshape(shape)  # type: ignore[index]
            if (own == _ZERO).any():
                masks[name] = own != _ZERO
            if ((own == _POSITIVE) | (own == _NEGATIVE)).any():
                signs[name] = (own == _POSITIVE).astype(np.int8) - (own == _NEGATIVE)
        return Constraints(
            masks=masks or None,
            signs=signs or None,
            sign_method=self.sign_method if signs else None,
            max_norm=self.max_norm or None,
        )

    def refuse(self, label: str, name: str, values: Floats, layout: Layout) -> None:
        """Refuse values of a parameter that do not satisfy them."""
        start, stop, shape = layout[name]
        hint = (
            f', as the model\'s constraints have it; model.parameters["{name}"][...] = values and '
            "then model.project() makes it so"
        )
        if self.codes is not None:
            codes = self.codes[start:stop].reshape(shape)
            wrong = (values > 0) & (codes & _POSITIVE == 0)
            wrong |= (values < 0) & (codes & _NEGATIVE == 0)
            if wrong.any():
                index = tuple(int(i) for i in np.argwhere(wrong)[0])
                value = float(values[index])
                expected = _ALLOWED[int(codes[index])] + hint
                raise ArgumentError(label, f"holds {value:g}", expected, index=index, value=value)
        if name in self.max_norm:
            most = self.max_norm[name]
            norms = np.sqrt((np.asarray(values, np.float64) ** 2).sum(axis=0))
            column = int(norms.argmax())
            if norms[column] > most * (1 + 16 * float(np.finfo(values.dtype).eps)):
                came = f"has norm {norms[column]:g} in column {column}"
                raise ArgumentError(label, came, f"at most {most:g}{hint}")


# ---------------------------------------------------------------- single arguments


def _mapping(name: str, value: Any, expected: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        came = f"is of type {type(value).__name__}"
        raise ArgumentTypeError(name, came, f"a mapping of parameter -> {expected}")
    if not value:
        raise ArgumentError(name, "is empty", f"a mapping of parameter -> {expected}, or None")
    return value


def _known(
    what: str, given: Any, names: Any, kind: str = "parameters", fits: Any = lambda name: True
) -> None:
    """Refuse names that are no parameter's."""
    known = [name for name in names if fits(name)]
    for name in given or ():
        if name not in known:
            came = f"has {_check.shown(name)}"
            raise ArgumentError(what, came, f"names of the model's {kind}: {', '.join(known)}")


def _masks(given: Any) -> dict[str, NDArray[np.bool_]]:
    found = {}
    for name, value in _mapping("masks", given, "array of zeros and ones").items():
        label = f"masks[{name!r}]"
        array = _check.read(label, value, "an array of zeros and ones")
        if not ((array == 0) | (array == 1)).all():
            index = tuple(int(i) for i in np.argwhere((array != 0) & (array != 1))[0])
            bad = float(array[index])
            raise ArgumentError(label, f"holds {bad:g}", "zeros and ones", index=index, value=bad)
        if array.all():
            raise ArgumentError(label, "holds no zero", "a zero where an entry stays zero")
        found[name] = array == 1
    return found


def _signs(given: Any) -> NDArray[np.int8] | dict[str, NDArray[np.int8]]:
    if isinstance(given, Mapping):
        named = _mapping("signs", given, "signs").items()
        return {name: _one_sign(f"signs[{name!r}]", value) for name, value in named}
    return _one_sign("signs", given)


def _one_sign(label: str, value: Any) -> NDArray[np.int8]:
    expected = "1, -1 or 0 (either sign)"
    array = _check.read(label, value, expected)
    wrong = ~np.isin(array, (-1, 0, 1))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        bad = float(array[index])
        raise ArgumentError(label, f"holds {bad:g}", expected, index=index, value=bad)
    if not array.any():
        raise ArgumentError(label, "holds zeros alone", "a 1 or -1")
    return array.astype(np.int8)


def _norms(given: Any) -> dict[str, float]:
    found = {}
    for name, value in _mapping("max_norm", given, "the largest norm of its columns").items():
        label = f"max_norm[{name!r}]"
        most = _check.number(label, value, "a finite number above 0")
        if not 0.0 < most < np.inf:
            raise ArgumentError(label, f"is {most}", "a finite number above 0", value=most)
        found[name] = most
    return found


def _units(given: Any) -> tuple[int, ...]:
    expected = "increasing numbers of units, from 0 on"
    try:
        array = np.asarray(given if isinstance(given, np.ndarray) else list(given))
    except TypeError:
        came = f"is {_check.shown(given)}"
        raise ArgumentTypeError("input_units", came, expected) from None
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise ArgumentError("input_units", f"is {_check.shown(given)}", expected)
    if array[0] < 0 or (np.diff(array.astype(np.int64)) <= 0).any():
        raise ArgumentError("input_units", f"is {_check.shown(given)}", expected)
    return tuple(int(unit) for unit in array)


def _mask(label: str, mask: NDArray[np.bool_], view: Codes, hidden: int) -> None:
    """Set codes to zero where a mask is."""
    shape = view.shape
    gates = shape[1] // hidden if len(shape) == 2 and shape[1] % hidden == 0 else 1
    if mask.shape == shape:
        view[~mask] = _ZERO
    elif gates > 1 and mask.shape == (shape[0], hidden):
        view[np.tile(~mask, gates)] = _ZERO
    else:
        own = f" or {(shape[0], hidden)} for all gates" if gates > 1 else ""
        raise ArgumentError(label, f"has shape {mask.shape}", f"the parameter's {shape}{own}")


def _sign(label: str, signs: NDArray[np.int8], view: Codes) -> None:
    """Restrict codes to signs."""
    shape = view.shape
    if signs.ndim == 1 and len(shape) == 2 and signs.shape == shape[:1]:
        signs = signs[:, np.newaxis]
    elif signs.shape not in ((), shape):
        expected = f"a number, or the parameter's shape {shape}"
        if len(shape) == 2:
            expected += f", or {shape[:1]}, a sign for each row"
        raise ArgumentError(label, f"has shape {signs.shape}", expected)
    whole = np.broadcast_to(signs, shape)
    free = view == _ANY
    if not free[whole != 0].any():
        raise ArgumentError(label, "are where masks keep every entry at 0", "signs of other ones")
    view[free & (whole > 0)] = _POSITIVE
    view[free & (whole < 0)] = _NEGATIVE


def _restrict(units: tuple[int, ...], views: Mapping[str, Codes], hidden: int) -> None:
    """Let the input reach these units alone."""
    if units[-1] >= hidden:
        came = f"holds {units[-1]}"
        raise ArgumentError("input_units", came, f"units from 0 to {hidden - 1}", value=units[-1])
    if len(units) == hidden:
        raise ArgumentError("input_units", f"are all {hidden}", "fewer, or None")
    others = np.setdiff1d(np.arange(hidden), units)
    for name in ("W_xh", "W_xh_reverse"):
        if name in views:
            for gate in range(views[name].shape[1] // hidden):
                views[name][:, others + gate * hidden] = _ZERO
