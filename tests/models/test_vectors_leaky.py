"""Leaky units in every form, and plain networks of other nonlinearities, are those of PyTorch.

The numbers lie in tests/support/vectors/, beside the script that made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import worst_relative
from vectors.common import Case, read

import fastbptt
from fastbptt import _core, reference

_, FOUND = read("leaky_pytorch")
CASES = [pytest.param(case, id=name) for name, case in FOUND.items()]
ISAS = [one.name for one in fastbptt.backends() if one.usable]
LIMIT = 1e-12


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    name = _core.active_backend()
    yield
    _core.use_backend(name)


def model_of(case: Case) -> fastbptt.Recurrent:
    """The model, with its parameters: the initial state is learned."""
    arrays, options = case.arrays, case.options
    sizes = arrays["x"].shape[2], arrays["W_hh.0"].shape[0], arrays["y"].shape[2]
    kind: dict[str, Any] = {"nonlinearity": options["nonlinearity"], "dtype": "float64"}
    kind |= {"num_layers": 2, "learn_initial_state": True}
    if options["form"] == "plain":
        model: fastbptt.Recurrent = fastbptt.RNN(*sizes, **kind)
    else:
        alpha: Any = arrays.get("alpha", np.array([0.5])).astype(np.float64)
        alpha = alpha.item() if alpha.size == 1 else alpha
        learned = options["alpha"] == "learned"
        model = fastbptt.LeakyRNN(
            *sizes, formulation=options["form"], alpha=alpha, learn_alpha=learned, **kind
        )
    model.load_state_dict({name: ours(case, "", name) for name in model.parameters})
    return model


def ours(case: Case, prefix: str, name: str) -> Any:
    """What the case has for a parameter of ours."""
    arrays = case.arrays
    if name in ("h0", "v0"):
        return arrays[f"{prefix}start"].astype(np.float64)
    layer = int(name.endswith("_l1"))
    base = name.removesuffix("_l1")
    if base == "logit_alpha":
        return arrays[prefix + base][layer].astype(np.float64)
    own = base if base in ("W_hy", "b_y") else f"{base}.{layer}"
    return arrays[prefix + own].astype(np.float64)


@pytest.mark.parametrize("case", CASES)
def test_the_reference(case: Case) -> None:
    model, arrays = model_of(case), case.arrays
    x, y, lengths = (arrays[name].astype(np.float64) for name in ("x", "y", "lengths"))
    network: dict[str, Any] = {"cell": model.cell, "num_layers": 2}
    if "alpha" in arrays:
        network["settings"] = {"alpha": arrays["alpha"].astype(np.float64)}
    params = {name: np.array(p) for name, p in model.parameters.items()}
    names: dict[str, Any] = {"loss": "mse", "steps": "all", "lengths": lengths.astype(int)}
    loss, grads = reference.loss_and_grad(params, x, y, **names, **network)
    assert loss == pytest.approx(arrays["loss"].item(), rel=LIMIT)
    for name in params:
        assert worst_relative(grads[name], ours(case, "gradients/", name)) < LIMIT, name
    assert worst_relative(grads["x"], arrays["gradients/x"]) < LIMIT


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES)
def test_the_core(case: Case, isa: str) -> None:
    _core.use_backend(isa)
    model, arrays = model_of(case), case.arrays
    x, y, lengths = arrays["x"], arrays["y"], arrays["lengths"]
    out = model.forward(x, lengths)
    assert worst_relative(out.outputs, arrays["outputs"]) < LIMIT
    assert worst_relative(out.final_state, arrays["states"]) < LIMIT
    how: dict[str, Any] = {"loss": "mse", "steps": "all", "lengths": lengths}
    loss, grads = model.loss_and_grad(x, y, need_input_grad=True, **how)
    assert loss == pytest.approx(arrays["loss"].item(), rel=LIMIT)
    for name in model.parameters:
        assert worst_relative(grads[name], ours(case, "gradients/", name)) < LIMIT, name
    assert worst_relative(grads.x, arrays["gradients/x"]) < LIMIT
