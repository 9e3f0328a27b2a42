"""Optimisers: their numbers, what they accept, and whose they are."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import pickle
import weakref
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from trained import Bench

import fastbptt
from fastbptt import _core, reference
from fastbptt.optim import OPTIMIZERS, Optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("epsilon_hat", "decreases"),
    [
        (False, (9.0909e-4, 1.8182e-3, 2.7273e-3)),  # torch and optax
        (True, (2.4025e-4, 5.4922e-4, 9.0299e-4)),  # Keras
    ],
)
def test_published_values(dtype: str, epsilon_hat: bool, decreases: tuple[float, ...]) -> None:
    start = 1.0 if dtype == "float64" else 0.0  # float32 would round the decreases from 1
    model = fastbptt.RNN(1, 1, dtype=dtype)
    model.parameters.flat[:] = start
    adam = fastbptt.Adam(lr=1e-3, eps=1e-8, epsilon_hat=epsilon_hat)
    for decrease in decreases:
        adam.step(model, np.full(3, 1e-7, dtype))
        assert start - model.parameters.flat == pytest.approx([decrease] * 3, rel=5e-5)


# of RNN and GRU; the second is frozen in one of the tests
GROUPS = [
    {"params": ["b_*", "W_hy"], "weight_decay": 0.4},
    {"params": ["W_hh"], "lr_factor": 0.1, "weight_decay": 0.0},
]


# every rule with each of its variants
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("adam", {}),
    ("adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("adam", {"epsilon_hat": True, "amsgrad": True}),
    ("adam", {"amsgrad": True, "weight_decay": 0.1, "betas": (0.5, 0.5)}),
    ("adamw", {}),
    ("adamw", {"weight_decay": 0.5, "lr": 0.1}),
    ("adamw", {"amsgrad": True, "epsilon_hat": True, "weight_decay": 0.3}),
    ("sgd", {}),
    ("sgd", {"weight_decay": 0.2}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("rmsprop", {}),
    ("rmsprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("rmsprop", {"centered": True, "alpha": 0.9}),
    ("rmsprop", {"centered": True, "momentum": 0.5, "eps": 1e-4}),
    ("adam", {"groups": GROUPS}),
    ("adamw", {"amsgrad": True, "weight_decay": 0.1, "groups": GROUPS}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.1, "groups": GROUPS}),
    ("rmsprop", {"groups": [{"params": ["*"], "lr_factor": 0.5}]}),
]


def made(name: str, arguments: dict[str, Any]) -> Optimizer:
    return OPTIMIZERS[name](**arguments)


def settings(optimizer: Optimizer) -> dict[str, Any]:
    return {name: getattr(optimizer, name) for name in optimizer._settings}


variants = pytest.mark.parametrize(("name", "arguments"), VARIANTS)


def follow(
    optimizer: Optimizer, name: str, dtype: str, steps: int, frozen: str, tolerance: float
) -> None:
    """Compare the core with the reference, the rate falling, both given the same gradients."""
    rng = np.random.default_rng(3)
    model = fastbptt.GRU(3, 7, 2, dtype=dtype, seed=1)
    if frozen:
        model.freeze(frozen)
    exact = {key: array.astype(np.float64) for key, array in model.state_dict().items()}
    state, before = reference.Moments(), exact.get(frozen, np.zeros(0)).copy()
    learned = {key: array for key, array in exact.items() if key != frozen}
    for step in range(steps):
        optimizer.lr *= 1 / (1 + step)
        grads = {key: rng.normal(size=array.shape).astype(dtype) for key, array in exact.items()}
        optimizer.step(model, grads)
        wide = {key: grad.astype(np.float64) for key, grad in grads.items()}
        reference.OPTIMIZERS[name](learned, wide, state, **settings(optimizer))
    for key, expected in learned.items():
        found = model.parameters[key]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        for moment, arrays in state.moments.items():
            found = getattr(optimizer, moment)[key]
            scale = float(np.abs(arrays[key]).max())
            np.testing.assert_allclose(found, arrays[key], rtol=0, atol=5 * tolerance * scale)
    if frozen:
        assert model.parameters[frozen].astype(np.float64).tobytes() == before.tobytes()
    assert set(state.moments) == set(optimizer._moments)
    assert optimizer.step_count == state.step == steps


@variants
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", [one.name for one in fastbptt.backends() if one.usable])
def test_follows_the_reference(
    name: str, arguments: dict[str, Any], dtype: str, backend: str
) -> None:
    before = _core.active_backend()
    try:
        _core.use_backend(backend)
        # In float32 each step rounds p, and each moment, by a few parts in 1e7.
        frozen, tolerance = ("W_hh", 1e-13) if dtype == "float64" else ("", 2e-6)
        follow(made(name, arguments), name, dtype, 6, frozen, tolerance)
    finally:
        _core.use_backend(before)


own_settings = st.fixed_dictionaries(
    {"lr_factor": st.floats(0.0, 2.0), "weight_decay": st.floats(0.0, 0.1)}
)
groups = st.sampled_from([("W_*",), ("W_xh", "b_h"), ("*_h*",), ("*",)]).flatmap(
    lambda names: own_settings.map(lambda own: [{"params": list(names), **own}])
)
decays = st.floats(0.0, 0.99)
switches = st.booleans()
small = st.floats(1e-8, 1e-2)
rates = st.floats(0.0, 0.1)
adams = {
    "lr": rates,
    "betas": st.tuples(decays, decays),
    "eps": small,
    "epsilon_hat": switches,
    "amsgrad": switches,
    "weight_decay": rates,
    "groups": groups,
}
STRATEGIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "adam": st.fixed_dictionaries({}, optional=adams),
    "adamw": st.fixed_dictionaries({}, optional=adams),
    "sgd": st.fixed_dictionaries(
        {"momentum": st.floats(0.01, 0.99)},
        optional={"lr": rates, "nesterov": switches, "weight_decay": rates, "groups": groups},
    ),
    "rmsprop": st.fixed_dictionaries(
        {},
        optional={
            "lr": rates,
            "alpha": decays,
            "eps": st.floats(1e-3, 1e-2),
            "momentum": decays,
            "centered": switches,
            "weight_decay": rates,
            "groups": groups,
        },
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(data=st.data())
@hypothesis.settings(max_examples=40)
def test_follows_the_reference_whatever_the_settings(name: str, data: st.DataObject) -> None:
    arguments = data.draw(STRATEGIES[name])
    # A centered variance that cancels is rounding, of whichever side: alpha 0 makes it all 0.
    hypothesis.assume(not arguments.get("centered") or arguments.get("alpha", 1.0) > 0.1)
    # m / sqrt(v) enlarges the rounding of m where v forgets faster: beyond 1e3 times as drawn here.
    follow(made(name, arguments), name, "float64", 4, "", 1e-11)


def test_registries_agree() -> None:
    assert set(OPTIMIZERS) == set(reference.OPTIMIZERS) == set(STRATEGIES)
    assert {name for name, _ in VARIANTS} == set(OPTIMIZERS)
    assert {one._rule for one in OPTIMIZERS.values()} == set(_core.optimizers())
    slots: dict[str, set[str]] = {rule: set() for rule in _core.optimizers()}
    for name, arguments in VARIANTS:
        slots[OPTIMIZERS[name]._rule] |= set(made(name, arguments)._moments)
    for rule, found in slots.items():
        assert found == set(_core.optimizer_info(rule)["slots"])
    for name, one in OPTIMIZERS.items():
        assert issubclass(one, Optimizer)
        assert list(inspect.signature(one).parameters) == list(one._settings)
        shared = inspect.signature(reference.OPTIMIZERS[name]).parameters.values()
        defaults = {p.name: p.default for p in inspect.signature(one).parameters.values()}
        assert {p.name: p.default for p in shared if p.default is not p.empty} == defaults
        assert getattr(fastbptt, one.__name__) is one


@variants
def test_rebuilt_from_its_settings(name: str, arguments: dict[str, Any]) -> None:
    optimizer = made(name, arguments)
    twin = OPTIMIZERS[name](**settings(optimizer))
    assert repr(twin) == repr(optimizer)
    found = settings(optimizer)
    found["groups"] = list(found["groups"])
    assert found | arguments == found


@variants
@pytest.mark.parametrize("how", ["copy", "pickle", "file"])
def test_state_goes_with_copies(
    bench: Bench, name: str, arguments: dict[str, Any], how: str, tmp_path: Path
) -> None:
    model, optimizer = bench.model.copy(), made(name, arguments)
    for _ in range(3):
        model.train_step(bench.x, bench.y, optimizer)
    twin_model = model.copy()
    model.save(tmp_path / "model", optimizer)
    twin: Optimizer = {
        "copy": lambda: optimizer.copy(),
        "pickle": lambda: pickle.loads(pickle.dumps(optimizer)),
        "file": lambda: fastbptt.load_optimizer(tmp_path / "model"),
    }[how]()
    assert repr(twin) == repr(optimizer)
    assert twin.step_count == 3
    optimizer.lr = twin.lr = 0.003
    for _ in range(2):
        model.train_step(bench.x, bench.y, optimizer)
        twin_model.train_step(bench.x, bench.y, twin)
    assert model.parameters.flat.tobytes() == twin_model.parameters.flat.tobytes()
    for moment in optimizer._moments:
        found = getattr(twin, moment)
        assert found.flat.tobytes() == getattr(optimizer, moment).flat.tobytes()
        assert not found.flat.flags.writeable
        assert found.flat.any()


@variants
def test_a_state_that_was_taken_stays_as_it_is(
    bench: Bench, name: str, arguments: dict[str, Any]
) -> None:
    model, optimizer = bench.model.copy(), made(name, arguments)
    model.train_step(bench.x, bench.y, optimizer)
    taken = optimizer.__getstate__()
    before = pickle.dumps(taken)
    model.train_step(bench.x, bench.y, optimizer)
    assert pickle.dumps(taken) == before


@variants
def test_threads_and_calls_change_no_bit(name: str, arguments: dict[str, Any]) -> None:
    """An update of 300 thousand elements is shared, and one in two parts is the same."""
    results = []
    before = fastbptt.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastbptt.set_num_threads(threads)
            model = fastbptt.RNN(40, 550, 3, seed=0)
            optimizer, rng = made(name, arguments), np.random.default_rng(0)
            for _ in range(2):
                flat = rng.normal(size=model.num_parameters).astype(np.float32)
                optimizer.step(model, flat)
            results.append(model.parameters.flat.tobytes())
    finally:
        fastbptt.set_num_threads(before)
    assert len(set(results)) == 1


@variants
def test_undone_chunks_leave_every_moment(
    bench: Bench, name: str, arguments: dict[str, Any]
) -> None:
    optimizer = made(name, arguments)
    bench.model.train_step(bench.x, bench.y, optimizer, bptt_steps=2)
    before = bench.model.parameters.flat.tobytes()
    moments = [getattr(optimizer, one).flat.tobytes() for one in optimizer._moments]
    bad = np.repeat(bench.y[:, np.newaxis], 4, axis=1)
    bad[1, 3] = np.nan
    with pytest.raises(ValueError, match="y holds a value that is not finite"):
        bench.model.train_step(bench.x, bad, optimizer, "mse", "all", bptt_steps=2)
    assert bench.model.parameters.flat.tobytes() == before
    assert [getattr(optimizer, one).flat.tobytes() for one in optimizer._moments] == moments


def test_centered_variance_never_falls_below_zero() -> None:
    """With equal gradients it is rounding about 0: PyTorch's root of it can be NaN."""
    model = fastbptt.RNN(2, 5, 1, dtype="float32", seed=0)
    rmsprop = fastbptt.RMSprop(lr=1e-6, alpha=0.5, centered=True)
    grads = np.linspace(0.1, 3.3, model.num_parameters, dtype=np.float32)
    for _ in range(100):
        rmsprop.step(model, grads)
    assert np.isfinite(model.parameters.flat).all()


def test_plain_descent_has_no_memory_of_a_dtype() -> None:
    sgd = fastbptt.SGD(0.5)
    one = fastbptt.RNN(2, 3, 1, dtype="float32", seed=0)
    sgd.step(one, np.ones(one.num_parameters))
    assert (sgd._moments, len(sgd.velocity), sgd.step_count) == ((), 0, 1)
    other = fastbptt.RNN(2, 3, 1, dtype="float64", seed=0)
    before, twin = other.parameters.flat.copy(), sgd.copy()
    twin.step(other, np.ones(one.num_parameters))
    np.testing.assert_array_equal(other.parameters.flat, before - 0.5)
    assert (twin.step_count, sgd.step_count) == (2, 1)


def test_step_takes_gradients_in_three_forms(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    results = set()
    for form in (grads, dict(grads), grads.flat, grads.flat.astype(np.float64), list(grads.flat)):
        model, adam = bench.model.copy(), bench.adam.copy()
        adam.step(model, form)
        results.add(model.parameters.flat.tobytes() + adam.m.flat.tobytes())
    assert len(results) == 1


def test_train_step_is_loss_and_grad_and_step(bench: Bench) -> None:
    model, adam = bench.model.copy(), bench.adam.copy()
    loss, grads = model.loss_and_grad(bench.x, bench.y)
    adam.step(model, grads)
    assert bench.model.train_step(bench.x, bench.y, bench.adam) == loss
    np.testing.assert_allclose(model.parameters.flat, bench.model.parameters.flat, rtol=1e-6)


def test_gradients_of_a_replica(bench: Bench) -> None:
    _, grads = bench.model.copy().loss_and_grad(bench.x, bench.y)
    bench.adam.step(bench.model, grads)
    assert bench.adam.step_count == 2


SHARES = (
    " shares memory with the model's parameters or the optimiser's moments; "
    "expected gradients of their own"
)


def test_wrong_gradients(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    size = grads.flat.size
    names = "W_xh, W_hh, b_h, W_hy, b_y"
    params = bench.model.parameters
    without = {name: array for name, array in grads.items() if name != "W_hh"}
    larger = fastbptt.RNN(2, 6, 1).loss_and_grad(bench.x, bench.y)[1]
    wrong: list[tuple[Any, type[Exception], str]] = [
        (
            np.zeros(size + 1),
            ValueError,
            f"grads has shape ({size + 1},); expected ({size},): all parameters in one array",
        ),
        (
            np.zeros((1, size)),
            ValueError,
            f"grads has shape (1, {size}); expected ({size},): all parameters in one array",
        ),
        (None, TypeError, "grads has type NoneType; expected real numbers (float32 or float64)"),
        (
            np.zeros(size, complex),
            TypeError,
            "grads has dtype complex128; expected real numbers (float32 or float64)",
        ),
        (without, ValueError, f"grads lacks W_hh; expected {names}"),
        (
            {**grads, "x": bench.x},
            ValueError,
            f"grads has unknown x; expected {names}",
        ),
        (
            {**grads, "b_h": np.zeros(1)},
            ValueError,
            "grads['b_h'] has shape (1,); expected (5,): the shape of b_h",
        ),
        (
            larger,
            ValueError,
            "grads['W_xh'] has shape (2, 6); expected (2, 5): the shape of W_xh",
        ),
        (params, ValueError, "grads['W_xh']" + SHARES),
        (params.flat, ValueError, "grads" + SHARES),
        (params.flat[::-1], ValueError, "grads" + SHARES),
        (bench.adam.v.flat, ValueError, "grads" + SHARES),
        ({**grads, "W_hh": params["W_hh"].T}, ValueError, "grads['W_hh']" + SHARES),
    ]
    for value, error, message in wrong:
        with bench.refuses(error, message):
            bench.adam.step(bench.model, value)
    with bench.refuses(TypeError, "model is of type str; expected a fastbptt model"):
        bench.adam.step("model", grads)  # type: ignore[arg-type]
    with bench.refuses(TypeError, "check_finite is None; expected True or False"):
        bench.adam.step(bench.model, grads, check_finite=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_gradient(bench: Bench, value: float) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    grads["W_hy"][2, 0] = value
    with bench.refuses_with(ValueError, "", "W_hy"):
        bench.adam.step(bench.model, grads)
    with bench.refuses_with(ValueError, "", "W_hy"):
        bench.adam.step(bench.model, dict(grads))
    bench.adam.step(bench.model, grads, check_finite=False)
    assert bench.adam.step_count == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "lr is -1.0; expected a finite number of at least 0"),
        ({"lr": math.nan}, ValueError, "lr is nan; expected a finite number of at least 0"),
        ({"lr": math.inf}, ValueError, "lr is inf; expected a finite number of at least 0"),
        ({"lr": "0.1"}, TypeError, "lr is '0.1'; expected a finite number of at least 0"),
        ({"lr": True}, TypeError, "lr is True; expected a finite number of at least 0"),
        ({"lr": None}, TypeError, "lr is None; expected a finite number of at least 0"),
        (
            {"betas": (0.9, 1.0)},
            ValueError,
            "betas[1] is 1.0; expected two numbers of at least 0 and below 1",
        ),
        (
            {"betas": (-0.1, 0.9)},
            ValueError,
            "betas[0] is -0.1; expected two numbers of at least 0 and below 1",
        ),
        (
            {"betas": 0.9},
            TypeError,
            "betas is 0.9; expected two numbers of at least 0 and below 1",
        ),
        ({"eps": 0.0}, ValueError, "eps is 0.0; expected a finite number above 0"),
        ({"eps": math.inf}, ValueError, "eps is inf; expected a finite number above 0"),
        ({"epsilon_hat": 1}, TypeError, "epsilon_hat is 1; expected True or False"),
        ({"amsgrad": None}, TypeError, "amsgrad is None; expected True or False"),
    ],
)
@pytest.mark.parametrize("kind", [fastbptt.Adam, fastbptt.AdamW])
def test_wrong_settings(
    kind: type[Optimizer], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        kind(**arguments)
    assert str(caught.value) == message


# ---------------------------------------------------------------- groups of parameters

A_GROUP = 'a list of dicts such as {"params": ["b_*"], "weight_decay": 0.0}'
NAMES = 'a list of names of parameters, in which * stands for any characters: ["W_hy", "b_*"]'


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({"params": ["E"]}, TypeError, f"groups is {{'params': ['E']}}; expected {A_GROUP}"),
        (None, TypeError, f"groups is None; expected {A_GROUP}"),
        (["b_h"], TypeError, f"groups[0] is 'b_h'; expected {A_GROUP}"),
        (
            [{"params": ["E"], "lr": 0.1}],
            ValueError,
            'groups[0] has "lr"; expected "lr_factor": a multiple of the optimiser\'s lr, which '
            "schedules change for all",
        ),
        (
            [{"params": ["E"], "betas": (0, 0)}],
            ValueError,
            "groups[0] has 'betas'; expected only params, lr_factor, weight_decay",
        ),
        (
            [{"params": ["E"]}],
            ValueError,
            "groups[0] has no setting of its own; expected lr_factor or weight_decay",
        ),
        (
            [{"lr_factor": 2.0}],
            TypeError,
            f"groups[0]['params'] is missing; expected {NAMES}",
        ),
        (
            [{"params": "b_h", "lr_factor": 2.0}],
            TypeError,
            f"groups[0]['params'] is 'b_h'; expected {NAMES}",
        ),
        (
            [{"params": [], "lr_factor": 2.0}],
            ValueError,
            f"groups[0]['params'] is empty; expected {NAMES}",
        ),
        (
            [{"params": ["b_?"], "lr_factor": 2.0}],
            ValueError,
            f"groups[0]['params'] holds 'b_?'; expected {NAMES}",
        ),
        (
            [{"params": [3], "lr_factor": 2.0}],
            TypeError,
            f"groups[0]['params'] holds 3; expected {NAMES}",
        ),
        (
            [{"params": ["E"], "lr_factor": -1.0}],
            ValueError,
            "groups[0]['lr_factor'] is -1.0; expected a finite number of at least 0",
        ),
        (
            [{"params": ["E"], "weight_decay": np.inf}],
            ValueError,
            "groups[0]['weight_decay'] is inf; expected a finite number of at least 0",
        ),
        (
            [{"params": ["E"], "weight_decay": None}],
            TypeError,
            "groups[0]['weight_decay'] is None; expected a finite number of at least 0",
        ),
    ],
)
def test_wrong_groups(groups: Any, error: type[Exception], message: str) -> None:
    for kind in OPTIMIZERS.values():
        with pytest.raises(error) as caught:
            kind(groups=groups)
        assert str(caught.value) == message


def test_groups_that_do_not_fit_the_model(bench: Bench) -> None:
    own = {"lr_factor": 2.0}
    names = "names among W_xh, W_hh, b_h, W_hy, b_y, in which * stands for any characters"
    for groups, message in (
        (
            [{"params": ["b_*"], **own}, {"params": ["W_hh", "b_hn"], **own}],
            "groups[1]['params'] holds 'b_hn', which is no parameter of this model; expected "
            + names,
        ),
        (
            [{"params": ["b_*"], **own}, {"params": ["b_h"], **own}],
            "groups[1]['params'] holds b_h (as 'b_h'), which is in groups[0] (as 'b_*'); expected "
            "each parameter once",
        ),
        (
            [{"params": ["b_h", "b_*"], **own}],
            "groups[0]['params'] holds b_h (as 'b_*'), which is in groups[0] (as 'b_h'); expected "
            "each parameter once",
        ),
        (
            [{"params": ["b_*"], "weight_decay": 1e39}],
            "groups[0]['weight_decay'] is 1e+39; expected at most 3.4e+38 for a model of float32",
        ),
    ):
        optimizer = fastbptt.SGD(groups=groups)
        with bench.refuses(ValueError, message):
            bench.model.train_step(bench.x, bench.y, optimizer)
        assert optimizer.step_count == 0
        with bench.refuses(ValueError, message):
            fastbptt.fit(bench.model, bench.x, bench.y, optimizer=optimizer, verbose=0)
    sgd = fastbptt.SGD(lr=1e20, groups=[{"params": ["b_h"], "lr_factor": 1e20}])
    with bench.refuses_with(ValueError, "the optimizer has settings that overflow at step 1"):
        bench.model.train_step(bench.x, bench.y, sgd)


def test_groups_are_copies_of_what_was_given() -> None:
    given = [{"params": ["b_*"], "weight_decay": 0}]
    adam = fastbptt.Adam(groups=given)
    given[0]["params"] = ["W_hh"]
    adam.groups[0]["params"].append("E")
    assert adam.groups == ({"params": ["b_*"], "weight_decay": 0.0},)
    assert repr(adam).endswith("groups=({'params': ['b_*'], 'weight_decay': 0.0},))  # step 0")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_that_say_what_all_say_change_no_bit(bench: Bench, name: str) -> None:
    """Nor does the order of groups and names."""
    same: dict[str, Any] = {"lr_factor": 1.0, "weight_decay": 0.1}
    results = set()
    for groups in (
        (),
        [{"params": ["*"], **same}],
        [{"params": ["b_y", "W_xh"], **same}, {"params": ["W_hh"], "lr_factor": 1.0}],
    ):
        model, optimizer = bench.model.copy(), OPTIMIZERS[name](weight_decay=0.1, groups=groups)
        for _ in range(3):
            model.train_step(bench.x, bench.y, optimizer, clip_norm=0.1)
        results.add(model.parameters.flat.tobytes())
    assert len(results) == 1


def test_schedules_act_on_groups() -> None:
    """The rate of a group is lr_factor times the current one, in `fit` and in `find_lr`."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5, 2)), rng.normal(size=(8, 1))
    start = fastbptt.RNN(2, 3, 1, dtype="float64", seed=0)
    for name, factor in (("W_hy", 0.25), ("b_h", 0.0)):
        model = start.copy()
        model.freeze(*(other for other in model.parameters if other != name))
        half = fastbptt.SGD(lr=0.4, groups=[{"params": [name], "lr_factor": factor}])
        whole, other = fastbptt.SGD(lr=0.4 * factor), model.copy()
        for one, optimizer in ((model, half), (other, whole)):
            fastbptt.fit(
                one, x, y, epochs=4, batch_size=4, optimizer=optimizer, schedule="cosine",
                loss="mse", verbose=0,
            )  # fmt: skip
        np.testing.assert_allclose(
            model.parameters[name], other.parameters[name], rtol=1e-13, atol=1e-15
        )
        assert (model.parameters[name] == start.parameters[name]).all() == (factor == 0.0)
        assert half.lr == 0.4
    found = fastbptt.find_lr(
        model, x, y, optimizer=half, loss="mse", updates=10, batch_size=8, shuffle=False
    )
    assert len(set(found.losses)) == 1  # only b_h would learn, and its factor is 0


def test_groups_in_checkpoints(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5, 2)), rng.normal(size=(8, 1))
    results = []
    options: dict[str, Any] = {"loss": "mse", "batch_size": 4, "verbose": 0}
    for stops in ([4], [2, 4]):
        path = tmp_path / f"{len(stops)}.safetensors"
        for epochs in stops:
            model = fastbptt.RNN(2, 3, 1, seed=0)
            adam = fastbptt.AdamW(groups=[{"params": ["b_*", "W_hh"], "lr_factor": 3.0}])
            fastbptt.fit(
                model, x, y, epochs=epochs, optimizer=adam, checkpoint=path, resume=True, **options
            )
        results.append(model.parameters.flat.tobytes())
    assert results[0] == results[1]
    with pytest.raises(ValueError, match=r"optimizer was .*groups.*, is \{"):
        fastbptt.fit(
            model.copy(), x, y, epochs=5, optimizer=fastbptt.AdamW(), checkpoint=path,
            resume=True, **options,
        )  # fmt: skip


def test_the_core_refuses_parts_that_overlap() -> None:
    for parts in ([(0, 3, 0), (2, 4, 0)], [(3, 2, 0)], [(0, 3, 1)], [(0, 3, -1)]):
        with pytest.raises(fastbptt.ArgumentError, match="the optimizer's groups overlap"):
            _core.OptimizerState("sgd", {}, {}, np.array([[1.0, 0.0]]), np.array(parts))


DECAY = "expected a number of at least 0 and below 1"


@pytest.mark.parametrize(
    ("names", "arguments", "error", "message"),
    [
        (
            "adam adamw sgd rmsprop",
            {"lr": -1.0},
            ValueError,
            "lr is -1.0; expected a finite number of at least 0",
        ),
        (
            "adam adamw sgd rmsprop",
            {"weight_decay": -0.1},
            ValueError,
            "weight_decay is -0.1; expected a finite number of at least 0",
        ),
        (
            "adam adamw sgd rmsprop",
            {"weight_decay": math.inf},
            ValueError,
            "weight_decay is inf; expected a finite number of at least 0",
        ),
        (
            "adam adamw sgd rmsprop",
            {"weight_decay": None},
            TypeError,
            "weight_decay is None; expected a finite number of at least 0",
        ),
        ("sgd rmsprop", {"momentum": 1.0}, ValueError, f"momentum is 1.0; {DECAY}"),
        ("sgd rmsprop", {"momentum": -0.5}, ValueError, f"momentum is -0.5; {DECAY}"),
        ("sgd rmsprop", {"momentum": math.nan}, ValueError, f"momentum is nan; {DECAY}"),
        ("sgd rmsprop", {"momentum": "0.9"}, TypeError, f"momentum is '0.9'; {DECAY}"),
        ("sgd", {"nesterov": 1}, TypeError, "nesterov is 1; expected True or False"),
        (
            "sgd",
            {"nesterov": True},
            ValueError,
            "nesterov is True; expected False because momentum=0.0",
        ),
        ("rmsprop", {"alpha": 1}, ValueError, f"alpha is 1.0; {DECAY}"),
        ("rmsprop", {"alpha": True}, TypeError, f"alpha is True; {DECAY}"),
        ("rmsprop", {"eps": 0.0}, ValueError, "eps is 0.0; expected a finite number above 0"),
        ("rmsprop", {"centered": "no"}, TypeError, "centered is 'no'; expected True or False"),
    ],
)
def test_wrong_settings_of_others(
    names: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    for name in names.split():
        with pytest.raises(error) as caught:
            OPTIMIZERS[name](**arguments)
        assert str(caught.value) == message


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rate_is_set_between_steps(bench: Bench, name: str) -> None:
    model, optimizer = bench.model.copy(), OPTIMIZERS[name](lr=0.5)
    model.train_step(bench.x, bench.y, optimizer)
    before = model.parameters.flat.tobytes()
    with pytest.raises(ValueError, match="lr is nan; expected a finite number of at least 0"):
        optimizer.lr = math.nan
    assert optimizer.lr == 0.5
    optimizer.lr = 0.0
    model.train_step(bench.x, bench.y, optimizer)
    assert model.parameters.flat.tobytes() == before
    optimizer.lr = 0.25
    model.train_step(bench.x, bench.y, optimizer)
    assert model.parameters.flat.tobytes() != before


def test_settings_too_fine_for_the_dtype(bench: Bench) -> None:
    fine = "expected at most 1 - 5.96e-08 for a model of float32"
    squares = "for a model of float32, in which squares of gradients are 0 below that"
    wrong: list[tuple[Optimizer, str]] = [
        (fastbptt.SGD(momentum=0.9999999999), f"momentum is 0.9999999999; {fine}"),
        (fastbptt.RMSprop(momentum=0.9999999999), f"momentum is 0.9999999999; {fine}"),
        (fastbptt.RMSprop(alpha=0.9999999999), f"alpha is 0.9999999999; {fine}"),
        (
            fastbptt.RMSprop(eps=1e-39),
            f"eps is 1e-39; expected at least 1.08e-18 {squares}",
        ),
        (
            fastbptt.Adam(eps=1e-39),
            f"eps is 1e-39; expected at least 3.43e-18 {squares}",
        ),
        (
            fastbptt.Adam(betas=(0.9, 0.9999999999)),
            "betas[1] is 0.9999999999; expected at most 1 - 5.96e-08 for a model of float32",
        ),
    ]
    for adam, message in wrong:
        with bench.refuses(ValueError, message):
            bench.model.train_step(bench.x, bench.y, adam)
        double = Bench("float64")
        double.model.train_step(double.x, double.y, adam)
        assert adam.step_count == 1


def test_zero_gradients_change_nothing(bench: Bench) -> None:
    before = bench.model.parameters.flat.tobytes()
    adam = fastbptt.Adam(eps=3.44e-18)
    adam.step(bench.model, np.zeros(bench.model.num_parameters))
    assert bench.model.parameters.flat.tobytes() == before


def test_wrong_rate_between_steps(bench: Bench) -> None:
    with bench.refuses(ValueError, "lr is -0.1; expected a finite number of at least 0"):
        bench.adam.lr = -0.1


def test_rate_takes_effect_between_steps(bench: Bench) -> None:
    before = bench.model.parameters.flat.tobytes()
    bench.adam.lr = 0.0
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert bench.model.parameters.flat.tobytes() == before
    bench.adam.lr = np.float32(0.5)  # type: ignore[assignment]
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert bench.model.parameters.flat.tobytes() != before
    assert type(bench.adam.lr) is float


def test_moments_are_named_and_read_only(bench: Bench) -> None:
    assert list(bench.adam.m) == list(bench.model.parameters)
    assert bench.adam.v["W_hh"].shape == (5, 5)
    assert not bench.adam.m["W_hh"].flags.writeable
    fresh = fastbptt.Adam()
    assert (len(fresh.m), len(fresh.v), fresh.step_count) == (0, 0, 0)


@pytest.mark.parametrize("how", ["copy", "copy.copy", "deepcopy", "pickle"])
def test_copy_goes_on_with_the_next_model(bench: Bench, how: str) -> None:
    twin = {
        "copy": lambda: bench.adam.copy(),
        "copy.copy": lambda: copy.copy(bench.adam),
        "deepcopy": lambda: copy.deepcopy(bench.adam),
        "pickle": lambda: pickle.loads(pickle.dumps(bench.adam)),
    }[how]()
    model = bench.model.copy()
    assert repr(twin) == repr(bench.adam)
    assert twin.m.flat.tobytes() == bench.adam.m.flat.tobytes()
    for _ in range(3):
        bench.model.train_step(bench.x, bench.y, bench.adam)
    before = bench.state()
    for _ in range(3):
        model.train_step(bench.x, bench.y, twin)
    assert model.parameters.flat.tobytes() == bench.model.parameters.flat.tobytes()
    assert twin.step_count == bench.adam.step_count == 4
    assert bench.state() == before
    with pytest.raises(ValueError, match="optimizer belongs to another model"):
        bench.model.train_step(bench.x, bench.y, twin)


def test_copy_refuses_another_layout(bench: Bench) -> None:
    twin = bench.adam.copy()
    layout = "W_xh (2, 5), W_hh (5, 5), b_h (5,), W_hy (5, 1), b_y (1,)"
    with pytest.raises(ValueError, match="optimizer holds moments") as caught:
        fastbptt.RNN(2, 5, 1, dtype="float64").train_step(bench.x, bench.y, twin)
    assert str(caught.value) == (
        f"optimizer holds moments of float32 for {layout}; expected float64 for {layout}"
    )
    with pytest.raises(ValueError, match="optimizer holds moments of float32 for W_xh"):
        fastbptt.RNN(2, 6, 1).train_step(bench.x, bench.y, twin)
    bench.model.copy().train_step(bench.x, bench.y, twin)


def test_copy_before_any_step() -> None:
    twin = pickle.loads(pickle.dumps(fastbptt.Adam(lr=0.5, epsilon_hat=True)))
    assert repr(twin) == (
        "Adam(lr=0.5, betas=(0.9, 0.999), eps=1e-08, epsilon_hat=True, amsgrad=False, "
        "weight_decay=0.0)  # step 0"
    )


def test_optimizer_does_not_keep_its_model(bench: Bench) -> None:
    model = bench.model.copy()
    adam = fastbptt.Adam()
    model.train_step(bench.x, bench.y, adam)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    with pytest.raises(ValueError, match="optimizer belongs to another model"):
        bench.model.train_step(bench.x, bench.y, adam)


def test_two_optimizers_of_one_model(bench: Bench) -> None:
    second = fastbptt.Adam()
    bench.model.train_step(bench.x, bench.y, second)
    bench.model.train_step(bench.x, bench.y, bench.adam)
    assert (second.step_count, bench.adam.step_count) == (1, 2)


def test_clipping_scales_all_gradients(bench: Bench) -> None:
    _, grads = bench.model.loss_and_grad(bench.x, bench.y)
    norm = float(np.linalg.norm(grads.flat.astype(float)))
    for clip_norm, scale in ((norm / 10, 0.1), (norm * 2, 1.0), (math.inf, 1.0)):
        model, adam = bench.model.copy(), fastbptt.Adam(betas=(0.0, 0.0))
        model.train_step(bench.x, bench.y, adam, clip_norm=clip_norm)
        np.testing.assert_allclose(adam.m.flat, grads.flat * scale, rtol=1e-5)


@pytest.mark.parametrize("bptt_steps", [None, 2])
def test_clipping_by_value(bench: Bench, bptt_steps: int | None) -> None:
    model, sgd = bench.model.copy(), fastbptt.SGD(1.0)
    _, grads = model.loss_and_grad(bench.x, bench.y)
    limit = float(np.median(np.abs(grads.flat)))
    before = model.parameters.flat.copy()
    twin, other = model.copy(), sgd.copy()
    x = bench.x if bptt_steps is None else bench.x[:, -2:]
    h0 = None
    if bptt_steps is not None:
        h0 = model.forward(bench.x[:, :2]).final_state
        _, grads = model.loss_and_grad(x, bench.y, h0=h0)
    model.train_step(bench.x, bench.y, sgd, clip_value=limit, bptt_steps=bptt_steps)
    clipped = reference.clip_by_value(grads, dict(grads), limit)
    other.step(twin, clipped)
    np.testing.assert_allclose(model.parameters.flat, twin.parameters.flat, rtol=1e-6, atol=1e-7)
    change = np.abs(model.parameters.flat - before)
    assert change.max() == pytest.approx(limit, rel=1e-5)
    assert (change < 0.9 * limit).any()


def test_infinite_gradients_are_refused_before_they_are_clipped(bench: Bench) -> None:
    """The loss is finite; its gradient with respect to W_xh is a sum beyond float32."""
    bench.model.parameters["W_hy"][...] = [[3e38], [0], [0], [0], [0]]
    bench.model.parameters["b_h"][0] = 0.5
    x, y = np.ones((20, 4, 2), np.float32), np.zeros((20, 1))
    bench.model.parameters["W_xh"][:, 0] = bench.model.parameters["W_hh"][:, 0] = 0.0
    with bench.refuses_with(ValueError, "the gradient of W_xh holds a value that is not finite"):
        bench.model.train_step(x, y, bench.adam, "bce", reduction="sum", clip_value=0.1)
    bench.model.train_step(
        x, y, bench.adam, "bce", reduction="sum", clip_value=0.1, check_finite=False
    )
    assert np.isfinite(bench.model.parameters.flat).all()


def test_refused_step_leaves_the_optimizer_free() -> None:
    one, other = fastbptt.RNN(2, 3, 1, seed=0), fastbptt.RNN(2, 4, 1, seed=0)
    adam = fastbptt.Adam()
    with pytest.raises(ValueError, match="gradient of W_xh"):
        adam.step(one, np.full(one.num_parameters, np.nan, np.float32))
    assert adam.step_count == 0
    adam.step(other, np.ones(other.num_parameters, np.float32))
    assert adam.step_count == 1


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (rule, slot)
        for rule in _core.optimizers()
        for info in [_core.optimizer_info(rule)]
        for slot in info["slots"][: info["required"]]
    ],
)
def test_the_core_refuses_an_optimizer_without_a_slot_that_it_needs(
    rule: str, missing: str
) -> None:
    model = fastbptt.RNN(1, 2, 1, seed=0)
    before = model._weights.get()
    slots = {slot: np.zeros_like(before) for slot in _core.optimizer_info(rule)["slots"]}
    del slots[missing]
    with pytest.raises(fastbptt.ArgumentError, match=f"lacks its slot '{missing}'"):
        model._engine.update(_core.Update(_core.OptimizerState(rule, slots, {})), before, True)
    np.testing.assert_array_equal(model._weights.get(), before)


# The gradients fall by orders of magnitude, and rise: what one average forgets, the next must not.
FALLING = (1.0, 1e-4, -1e-4, 1e4, 1e-3, -1e-6, 1.0)
ENDS: list[tuple[str, dict[str, Any]]] = [
    *(("adam", {"betas": (b1, b2)}) for b1 in (0.0, 0.4, 0.6) for b2 in (0.0, 1e-6, 0.5, 0.999)),
    ("adam", {"betas": (0.0, 0.0), "amsgrad": True}),
    ("adam", {"betas": (0.9, 0.0), "epsilon_hat": True}),
    ("adamw", {"betas": (0.0, 0.0)}),
    *(("rmsprop", {"alpha": alpha}) for alpha in (0.0, 1e-6, 0.4, 0.6, 0.99)),
    ("rmsprop", {"alpha": 0.0, "momentum": 0.9}),
    ("sgd", {"momentum": 1e-7}),
]


@pytest.mark.parametrize(("name", "options"), ENDS)
def test_ends_of_the_range_keep_their_digits_in_float32(name: str, options: dict[str, Any]) -> None:
    optimizer = OPTIMIZERS[name](lr=0.01, **options)
    model = fastbptt.RNN(1, 2, 1, seed=0)
    params = {key: np.zeros(values.shape) for key, values in model.parameters.items()}
    state = reference.Moments()
    for size in FALLING:
        model.load_state_dict({key: np.zeros(values.shape) for key, values in params.items()})
        for values in params.values():
            values[:] = 0.0
        grads = {key: np.full(values.shape, size) for key, values in params.items()}
        optimizer.step(model, grads)
        reference.OPTIMIZERS[name](params, grads, state, **settings(optimizer))
        for key, expected in params.items():
            np.testing.assert_allclose(
                model.parameters[key], expected, rtol=2e-5, err_msg=str(size)
            )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("setting", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [1e39, 1e300])
def test_a_setting_that_float32_has_no_number_for(name: str, setting: str, value: float) -> None:
    model = fastbptt.RNN(1, 2, 1, seed=0)
    before = model.parameters.flat.tobytes()
    optimizer = OPTIMIZERS[name](**{setting: value})
    with pytest.raises(fastbptt.ArgumentError, match=rf"^{setting} is .*; expected at most 3\.4"):
        model.train_step(np.ones((1, 2, 1)), [1.0], optimizer)
    assert model.parameters.flat.tobytes() == before
    assert optimizer.step_count == 0
    OPTIMIZERS[name](
        **{setting: min(value, 1e100)}
    ).step(  # float64 has one, and one for its square
        fastbptt.RNN(1, 2, 1, dtype="float64"), np.zeros(model.num_parameters)
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_that_is_set_too_high(name: str) -> None:
    model = fastbptt.RNN(1, 2, 1, seed=0)
    optimizer = OPTIMIZERS[name](lr=0.1)
    x, y = np.ones((1, 2, 1)), [1.0]
    model.train_step(x, y, optimizer)
    before = model.parameters.flat.tobytes()
    if optimizer._moments:  # it knows the dtype
        with pytest.raises(fastbptt.ArgumentError, match=r"lr is 1e\+39; expected at most 3\.4"):
            optimizer.lr = 1e39
        assert optimizer.lr == 0.1
    else:
        optimizer.lr = 1e39
        with pytest.raises(fastbptt.ArgumentError, match="overflow at step 2; expected a smaller"):
            model.train_step(x, y, optimizer)
    assert model.parameters.flat.tobytes() == before
    assert optimizer.step_count == 1


def test_a_derived_number_that_overflows() -> None:
    """Lr / (1 - beta1): the rate of the first step."""
    model = fastbptt.RNN(1, 2, 1, seed=0)
    before = model.parameters.flat.tobytes()
    with pytest.raises(fastbptt.ArgumentError, match="overflow at step 1; expected a smaller lr"):
        model.train_step(np.ones((1, 2, 1)), [1.0], fastbptt.Adam(lr=1e38))
    assert model.parameters.flat.tobytes() == before


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("delta", {"loss": fastbptt.Loss("huber", delta=1e-46)}),
        ("delta", {"loss": fastbptt.Loss("huber", delta=1e-39)}),
        ("delta", {"loss": fastbptt.Loss("huber", delta=1e39)}),
        ("clip_value", {"clip_value": 1e-50}),
        ("clip_value", {"clip_value": 1e300}),
    ],
)
def test_settings_of_a_step_that_float32_has_no_number_for(
    argument: str, options: dict[str, Any]
) -> None:
    x, y = np.ones((1, 2, 1)), [1.0]
    for dtype in ("float32", "float64"):
        model = fastbptt.RNN(1, 2, 1, seed=0, dtype=dtype)
        before = model.parameters.flat.tobytes()
        call: dict[str, Any] = {"loss": "mse", **options}
        if dtype == "float64":
            model.train_step(x, y, fastbptt.SGD(lr=0.1), **call)
            continue
        with pytest.raises(
            fastbptt.ArgumentError, match=rf"^{argument} is .* for a model of float32$"
        ):
            model.train_step(x, y, fastbptt.SGD(lr=0.1), **call)
        assert model.parameters.flat.tobytes() == before
