"""Calls with something wrong, for the random operations: what is spoilt, and what names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import Case, build, make_y
from networks import parts

import fastbptt

if TYPE_CHECKING:
    from operations import Run

# changes the arguments of a call; returns what the error must name, None if there is nothing to do
Spoil = Callable[["Run", Case, dict[str, Any]], str | None]


def refused(argument: str, function: Callable[[], Any], others: Sequence[str] = ()) -> None:
    """Expect an error of one line that names the argument, or one of others before it."""
    try:
        function()
    except (ValueError, TypeError) as error:
        text = str(error)
        assert "\n" not in text and len(text) < 600, text
        assert argument in text or text.startswith(tuple(others)), text
        return
    raise AssertionError(f"not refused: {argument}")


# ---------------------------------------------------------------- arguments that are wrong


def _sequence(run: Run, arguments: dict[str, Any]) -> tuple[int, int]:
    """A step that exists, of one of the sequences."""
    x, lengths = arguments["x"], arguments["lengths"]
    row = int(run.rng.integers(len(x)))
    end = len(x[row]) if lengths is None else int(lengths[row])
    return row, int(run.rng.integers(end))


def _own(value: Any) -> Any:
    return [one.copy() for one in value] if isinstance(value, list) else np.array(value)


def _number_in_x(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    row, t = _sequence(run, arguments)
    arguments["x"] = x = _own(arguments["x"])
    if case.embedding is not None:
        x[row][t] = run.one_of(-1, case.embedding, 2**31 - 1)
    else:
        x[row][t, run.rng.integers(case.I)] = run.one_of(np.nan, np.inf, -np.inf)
    return "x"


def _shape_of_x(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    x = arguments["x"]
    if isinstance(x, list):
        arguments["x"] = run.one_of([], [x[0][:0], *x[1:]], [one[..., None] for one in x])
    else:
        # one sequence without its axis; no sequence; no step; an axis too many
        arguments["x"] = run.one_of(x[0, 0], x[:0], x[:, :0], x[..., None, None])
    return "x"


def _type_of_x(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    x = arguments["x"]
    whole = np.zeros((case.B, case.T, case.I))
    if not isinstance(x, list):
        whole = np.zeros(x.shape)
    arguments["x"] = run.one_of(
        whole.astype(complex), whole.astype(str), whole.astype(object), None, "x", 3,
        *([whole] if case.embedding is not None else []),
    )  # fmt: skip
    return "x"


def _lengths(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    ends = np.full(case.B, 1)
    if isinstance(arguments["x"], list):
        ends = np.array([len(one) for one in arguments["x"]])
        arguments["lengths"] = run.one_of(ends + 1, ends[:-1], ends + 0.5, ends * 0)
        return "lengths"
    wrong = ends.astype(np.float64)
    wrong[run.rng.integers(case.B)] = run.one_of(0, -1, case.T + 1, 0.5, np.nan, np.inf, 1e30)
    arguments["lengths"] = run.one_of(
        wrong, ends[:-1], ends[:, None], ends.astype(bool), [2**63 - 1] * case.B, 1, "1"
    )
    return "lengths"


def _number_in_y(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "y" not in arguments or case.with_weights:  # those of weight 0 may hold anything
        return None
    row, t = _sequence(run, arguments)
    arguments["y"] = y = _own(arguments["y"])
    loss = arguments["loss"]
    if loss.targets == "classes":
        wrong = run.one_of(-1, case.width, 2**40)
    else:
        wrong = run.one_of(np.nan, np.inf, *([loss.high + 0.5] if loss.bounded else []))
    if case.steps == "all":
        y[row][t] = wrong
    else:
        y[row] = wrong
    return "y"


def _form_of_y(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "y" not in arguments:
        return None
    y = np.zeros(make_y(case, run.rng).shape)
    kind = int if arguments["loss"].targets == "classes" else float
    arguments["y"] = run.one_of(
        y[..., None, None].astype(kind), y[:0].astype(kind), y.astype(complex), y.astype(str), None,
        np.zeros((case.B + 1, *y.shape[1:]), kind), *([y] if kind is int else []),
    )  # fmt: skip
    return "y"


def _state_given(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "h0" not in arguments or arguments.get("state") is not None:
        return None
    made = [np.zeros(case.state_shape) for _ in case.state_names]
    wrong = run.one_of("number", "shape", "dtype", "parts")
    if wrong == "number":
        made[-1][tuple(int(run.rng.integers(n)) for n in case.state_shape)] = np.nan
    elif wrong == "shape":
        made[0] = made[0][..., None]
    elif wrong == "dtype":
        made[0] = made[0].astype(complex)
    else:
        made.append(made[0])
    arguments["h0"] = made[0] if len(made) == 1 else tuple(made)
    return "h0" if wrong != "number" else f"{case.state_names[-1]}"


def _weights(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "sample_weight" not in arguments:
        return None
    weight = np.ones(case.B)
    weight[run.rng.integers(case.B)] = run.one_of(-1e-9, np.nan, np.inf, -np.inf)
    arguments["sample_weight"] = run.one_of(
        weight, np.zeros(case.B), weight[:-1], weight[:, None], "1", 1.0, np.ones(case.B, complex)
    )
    return "sample_weight"


def _options(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "loss" not in arguments:
        arguments["training"] = 1
        return "training" if "h0" in arguments else _batch_size(run, arguments)
    wrong: dict[str, tuple[Any, ...]] = {
        "loss": ("none", None, 1, fastbptt.Loss),
        "steps": ("first", None, 3),
        "reduction": ("", "max", True),
        "check_finite": (1, "yes", None),
    }
    if "optimizer" in arguments:
        other = fastbptt.RNN(1, 1, seed=0)
        adam = fastbptt.Adam()
        adam.step(other, np.zeros(other.num_parameters))
        wrong |= {
            "optimizer": (None, fastbptt.Adam, "adam", adam),
            "clip_norm": (0.0, -1.0, np.nan, "1", True),
            "clip_value": (0, -1e-9, np.nan, [1.0]),
            "bptt_steps": (0, -1, 1.5, True, "2"),
            "memory_budget": (0, -5, "much", "10", 1.5),
            "record": ("all", True, 1),
        }
    name = run.one_of(*wrong)
    arguments[name] = run.one_of(*wrong[name])
    return str(name)


def _batch_size(run: Run, arguments: dict[str, Any]) -> str:
    del arguments["training"]
    arguments["batch_size"] = run.one_of(0, -1, 1.5, "2")
    return "batch_size"


def _two_at_once(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "optimizer" not in arguments:
        return None
    if case.bidirectional:
        name, value = run.one_of(("bptt_steps", 2), ("memory_budget", "1GB"), ("state", 0))
        arguments[name] = value
        arguments["h0"] = None
        return str(name)
    if arguments.get("state") is not None:
        arguments["h0"] = arguments["state"]
        return "h0 and state"
    arguments |= {"clip_norm": 1.0, "clip_value": 1.0}
    return "clip_norm and clip_value"


def _state_to_write(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if arguments.get("state") is None:
        return None
    made = list(parts(arguments["state"]))
    first = made[0]
    other = np.float32 if first.dtype == np.float64 else np.float64
    fixed = first.copy()
    fixed.flags.writeable = False
    sick = first.copy()
    sick[0, 0, 0] = np.nan
    odd = np.zeros((*first.shape, 2), first.dtype)[..., 0]
    wrong = [first.astype(other), fixed, sick, first[:, :0], first.tolist()]
    if not odd.flags.c_contiguous:  # a single number is, whatever its strides
        wrong.append(odd)
    made[0] = run.one_of(*wrong)
    arguments["state"] = made[0] if len(made) == 1 else tuple(made)
    return "state"


def _budget(run: Run, case: Case, arguments: dict[str, Any]) -> str | None:
    if "optimizer" not in arguments or case.bidirectional:
        return None
    arguments["memory_budget"] = int(run.rng.integers(1, 64))
    return "memory_budget"


SPOILS: dict[str, Spoil] = {
    "number in x": _number_in_x,
    "shape of x": _shape_of_x,
    "type of x": _type_of_x,
    "lengths": _lengths,
    "number in y": _number_in_y,
    "form of y": _form_of_y,
    "h0": _state_given,
    "sample_weight": _weights,
    "option": _options,
    "two at once": _two_at_once,
    "state": _state_to_write,
    "a small budget": _budget,
}


def _bad_gradient(run: Run) -> None:
    grads = {n: np.ones(a.shape) for n, a in run.model.parameters.items()}
    trained = [n for n in grads if n not in run.model.frozen]
    name = run.one_of(*grads)
    kind = run.one_of("number", "shape", "missing", "shared", "type")
    given: Any = grads
    if kind == "number":
        if not trained or "E" in trained:  # of the padding's row nothing is seen
            return
        name = run.one_of(*trained)
        grads[name].flat[0] = np.nan
    elif kind == "shape":
        grads[name] = grads[name][..., None]
    elif kind == "missing":
        del grads[name]
    elif kind == "shared":
        given, name = run.model.parameters.flat, "grads"
    else:
        given, name = run.one_of(None, "g", 1.0, np.ones(run.model.num_parameters + 1)), "grads"
    refused(name, lambda: run.optimizer.step(run.model, given), run.settings())


def _bad_rate(run: Run) -> None:
    def assign() -> None:
        run.optimizer.lr = run.one_of(-1e-9, np.nan, np.inf, "1", None, True)

    refused("lr", assign)


def _bad_values(run: Run) -> None:
    name = run.one_of(*run.model.parameters)
    array = run.model.parameters[name]
    bad = run.one_of(np.zeros((*array.shape, 1)), np.full(array.shape, "a"), None)

    def by_name() -> None:
        run.model.parameters[name] = bad

    state = run.model.state_dict()
    if run.chance(0.5):
        state[name] = bad
    else:
        del state[name]
    run.one_of(
        lambda: refused(name, by_name),
        lambda: refused(name, lambda: run.model.load_state_dict(state)),
    )()


def _bad_names(run: Run) -> None:
    good = next(iter(run.model.parameters))
    refused("W_no", lambda: run.model.freeze(good, "W_no"))
    refused("W_no", lambda: run.model.unfreeze(good, "W_no"))
    refused("freeze()", run.model.freeze)


def _bad_place(run: Run) -> None:
    path = run.folder / "none" / "model"
    with pytest.raises(OSError, match="none"):
        run.model.save(path)


def _bad_notes(run: Run) -> None:
    path = run.folder / "notes"
    refused("metadata", lambda: run.model.save(path, metadata={"a": object()}))
    assert not path.exists()


def _bad_threads(run: Run) -> None:
    refused("n is", lambda: fastbptt.set_num_threads(run.one_of(0, -1, 1.5, 10**9, True)))


def _result_of_another(run: Run) -> None:
    case = run.case()
    out = run.model.copy().forward(build(case, run.dtype).x, build(case, run.dtype).lengths)
    refused("out", lambda: run.model.backward(out, np.zeros_like(out.outputs)))
    own = run.model.forward(build(case, run.dtype).x, build(case, run.dtype).lengths)
    refused("None", lambda: run.model.backward(own))
    refused("d_last", lambda: run.model.backward(own, d_last=np.full_like(own.last, np.nan)))
    both = {"d_outputs": own.outputs, "d_last": own.last}
    refused("d_outputs and d_last", lambda: run.model.backward(own, **both))


OTHERS: dict[str, Callable[[Run], None]] = {
    "gradient": _bad_gradient,
    "rate": _bad_rate,
    "values": _bad_values,
    "names": _bad_names,
    "place": _bad_place,
    "notes": _bad_notes,
    "threads": _bad_threads,
    "result of another": _result_of_another,
}
