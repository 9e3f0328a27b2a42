"""Weights per step, pooled states, resets and several losses are those of PyTorch.

The numbers lie in tests/support/vectors/, beside the script that made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import worst_relative
from vectors.common import Case, read
from vectors.convert import gradients, parameters

import fastbptt
from fastbptt import _core, reference

_, FOUND = read("masks_pytorch")
CASES = [pytest.param(case, id=name) for name, case in FOUND.items()]
ISAS = [one.name for one in fastbptt.backends() if one.usable]
LIMIT = 1e-12


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    name = _core.active_backend()
    yield
    _core.use_backend(name)


def below(case: Case, prefix: str) -> dict[str, Any]:
    """The arrays under a prefix, in float64."""
    found = case.arrays.items()
    return {k.removeprefix(prefix): a.astype("f8") for k, a in found if k.startswith(prefix)}


def problem(case: Case) -> tuple[dict[str, Any], Any, Any, dict[str, Any]]:
    """Parameters, x, y and the other arguments of a loss; NaN after the ends and without weight."""
    arrays, options = case.arrays, case.options
    weights = below(case, "weights/")
    params = parameters("pytorch", case, weights)
    for state in ("h", "c"):
        if f"s_{state}" in arrays:
            params[f"{state}0"] = arrays[f"s_{state}"].astype("f8")
    params |= {"W_hy": weights["out.weight"].T, "b_y": weights["out.bias"]}
    x, lengths = (arrays[name].copy() for name in ("x", "lengths"))
    after = np.arange(x.shape[1]) >= lengths[:, np.newaxis]
    x[after] = np.nan
    blocks = options.get("blocks")
    targets, given = {}, {}
    for sub in [f"/{name}" for name, *_ in blocks] if blocks else [""]:
        y = arrays[f"y{sub}"].copy()
        if y.dtype.kind == "f":
            y = y.astype("f8")
        missing: Any = -1 if y.dtype.kind == "i" else np.nan
        if options["steps"] == "all":
            y[after] = missing
        weight = arrays.get(f"sample_weight{sub}")
        if weight is not None:
            y[weight == 0.0] = missing
        targets[sub[1:]], given[sub[1:]] = y, weight
    initial = tuple(arrays[f"{s}0"].astype("f8") for s in "hc" if f"{s}0" in arrays)
    how = {name: options[name] for name in ("loss", "steps", "reduction")}
    if blocks:
        how["loss"] = fastbptt.Losses(
            {name: loss for name, loss, _, _ in blocks},
            outputs={name: width for name, _, width, _ in blocks},
            weights={name: factor for name, _, _, factor in blocks},
        )
    own: Any = given if blocks else given[""]
    how |= {"lengths": lengths, "sample_weight": own, "resets": arrays.get("resets")}
    how["h0"] = initial if len(initial) > 1 else initial[0]
    return params, x.astype("f8"), targets if blocks else targets[""], how


def expected(case: Case) -> list[tuple[str, Any]]:
    """Gradients under our names; of initial states that were given as "given h" and "given c"."""
    theirs = below(case, "gradients/")
    found = gradients("pytorch", case, theirs)
    found += [("W_hy", theirs["out.weight"].T), ("b_y", theirs["out.bias"]), ("x", theirs["x"])]
    for state in "hc":
        if f"{state}0" in theirs:
            found.append((f"given {state}", theirs[f"{state}0"]))
        if f"s_{state}" in theirs:
            found.append((f"{state}0", theirs[f"s_{state}"]))
    return found


@pytest.mark.parametrize("case", CASES)
def test_reference(case: Case) -> None:
    params, x, y, how = problem(case)
    options = {"cell": case.options["cell"], "num_layers": case.options["num_layers"]}
    loss, grads = reference.loss_and_grad(params, x, y, **how, **options)
    assert loss == pytest.approx(case.arrays["loss"].item(), rel=LIMIT)
    learned = {name for name in params if name in ("h0", "c0")}
    for name, gradient in expected(case):
        own = f"{name[-1]}0" if name.startswith("given") else name
        if own in learned and name != own:
            continue  # the reference has one of them: that of the learned state
        assert worst_relative(grads[own], gradient) < LIMIT, name


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES)
def test_core(case: Case, isa: str) -> None:
    _core.use_backend(isa)
    params, x, y, how = problem(case)
    hidden = case.options["hidden_size"]
    model = fastbptt.Recurrent(
        case.options["cell"], x.shape[2], hidden, len(params["b_y"]), dtype="float64",
        num_layers=case.options["num_layers"], learn_initial_state="h0" in params,
    )  # fmt: skip
    model.load_state_dict(params)
    loss, grads = model.loss_and_grad(x, y, need_input_grad=True, **how)
    assert loss == pytest.approx(case.arrays["loss"].item(), rel=LIMIT)
    given = grads.h0 if isinstance(grads.h0, tuple) else (grads.h0,)
    found: dict[str, Any] = {**grads, "x": grads.x}
    found |= {f"given {state}": one for state, one in zip("hc", given, strict=False)}
    for name, gradient in expected(case):
        assert worst_relative(found[name], gradient) < LIMIT, name
