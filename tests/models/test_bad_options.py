"""What is wrong with the options of a network, and with states, tokens and chunks, is said."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from trained import Bench

import fastbptt
from fastbptt import _check, _core
from fastbptt.models._options import MOST_LAYERS
from fastbptt.models.cells import MODELS

NAN, INF = math.nan, math.inf


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


SHARE = "expected a number of at least 0 and below 1"
STD = "expected a finite number of at least 0"
MATRIX = "expected a vocabulary size of at least 1, a matrix (vocabulary, input_size), or None"
ROW = "expected a row of the embedding, 0 to 8, or None"

# ---------------------------------------------------------------- constructors

COMMON: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "layers 0": ({"num_layers": 0}, ValueError, "num_layers is 0; expected at least 1"),
    "layers 2.0": (
        {"num_layers": 2.0},
        TypeError,
        "num_layers is 2.0; expected a whole number of at least 1",
    ),
    "layers None": (
        {"num_layers": None},
        TypeError,
        "num_layers is None; expected a whole number of at least 1",
    ),
    "layers True": (
        {"num_layers": True},
        TypeError,
        "num_layers is True; expected a whole number of at least 1",
    ),
    "layers too many": (
        {"num_layers": MOST_LAYERS + 1},
        ValueError,
        "num_layers is 1001; expected at most 1000",
    ),
    "layers far too many": (
        {"num_layers": 2**70},
        ValueError,
        f"num_layers is {2**70}; expected at most 1000",
    ),
    "directions 2": (
        {"bidirectional": 2},
        TypeError,
        "bidirectional is 2; expected True or False",
    ),
    "learned 1": (
        {"learn_initial_state": 1},
        TypeError,
        "learn_initial_state is 1; expected True or False",
    ),
    **{
        f"{name} {value}": ({name: value}, kind, f"{name} is {came}; {SHARE}")
        for name in ("dropout", "recurrent_dropout")
        for value, kind, came in (
            (1, ValueError, "1.0"),
            (-0.1, ValueError, "-0.1"),
            (NAN, ValueError, "nan"),
            (INF, ValueError, "inf"),
            (None, TypeError, "None"),
            (True, TypeError, "True"),
            ("0.1", TypeError, "'0.1'"),
        )
    },
    **{
        f"{name} {value}": ({name: value}, kind, f"{name} is {came}; {STD}")
        for name in ("input_noise", "recurrent_noise")
        for value, kind, came in (
            (-0.1, ValueError, "-0.1"),
            (NAN, ValueError, "nan"),
            (INF, ValueError, "inf"),
            (None, TypeError, "None"),
            ("0.1", TypeError, "'0.1'"),
        )
    },
    "noise of tokens": (
        {"input_noise": 0.1, "embedding": 5},
        ValueError,
        "input_noise is 0.1; expected 0: with an embedding the inputs are tokens, to which nothing "
        "can be added",
    ),
    "noise scaling": (
        {"noise_scaling": "dt"},
        ValueError,
        'noise_scaling is "dt"; expected one of "alpha"',
    ),
    "embedding 0": ({"embedding": 0}, ValueError, "embedding is 0; expected at least 1"),
    "embedding -1": ({"embedding": -1}, ValueError, "embedding is -1; expected at least 1"),
    "embedding True": (
        {"embedding": True},
        TypeError,
        "embedding is True; expected a whole number of at least 1",
    ),
    "embedding 9.0": ({"embedding": 9.0}, TypeError, f"embedding is 9.0; {MATRIX}"),
    "embedding text": ({"embedding": "glove"}, TypeError, f"embedding is 'glove'; {MATRIX}"),
    "embedding vector": (
        {"embedding": zeros(9)},
        ValueError,
        "embedding has shape (9,); expected (vocabulary, 2) because input_size=2",
    ),
    "embedding transposed": (
        {"embedding": zeros(2, 9)},
        ValueError,
        "embedding has shape (2, 9); expected (vocabulary, 2) because input_size=2",
    ),
    "embedding empty": (
        {"embedding": zeros(0, 2)},
        ValueError,
        "embedding has shape (0, 2); expected (vocabulary, 2) because input_size=2",
    ),
    "embedding complex": (
        {"embedding": zeros(9, 2, dtype=complex)},
        TypeError,
        "embedding has dtype complex128; expected a vocabulary size, or a matrix of real numbers",
    ),
    "embedding dict": (
        {"embedding": {}},
        TypeError,
        "embedding has type dict; expected a vocabulary size, or a matrix of real numbers",
    ),
    "embedding too large": (
        {"embedding": np.full((9, 2), 1e300)},
        ValueError,
        "embedding holds values too large for float32; "
        "expected values that the model's dtype can hold",
    ),
    "embedding and no size": (
        {"embedding": zeros(9, 2), "input_size": None},
        TypeError,
        "input_size is None; expected a whole number of at least 1",
    ),
    "padding without embedding": (
        {"padding_index": 0},
        ValueError,
        "padding_index is 0; expected None: there is no embedding",
    ),
    "padding -1": (
        {"embedding": 9, "padding_index": -1},
        ValueError,
        f"padding_index is -1; {ROW}",
    ),
    "padding 9": ({"embedding": 9, "padding_index": 9}, ValueError, f"padding_index is 9; {ROW}"),
    "padding 1.0": (
        {"embedding": 9, "padding_index": 1.0},
        TypeError,
        f"padding_index is 1.0; {ROW}",
    ),
    "padding False": (
        {"embedding": 9, "padding_index": False},
        TypeError,
        f"padding_index is False; {ROW}",
    ),
    "frozen without embedding": (
        {"freeze_embedding": True},
        ValueError,
        "freeze_embedding is True; expected False because there is no embedding",
    ),
    "frozen 1": (
        {"embedding": 9, "freeze_embedding": 1},
        TypeError,
        "freeze_embedding is 1; expected True or False",
    ),
    "init identity": (
        {"init": ("identity", -1)},
        ValueError,
        'init[1] is -1.0; expected a finite number of at least 0: the gain of "identity"',
    ),
}


@pytest.mark.parametrize("model", sorted({*MODELS.values()}, key=lambda model: model.__name__))
@pytest.mark.parametrize("name", COMMON)
def test_wrong_option(name: str, model: Any) -> None:
    changed, error, message = COMMON[name]
    with pytest.raises(error) as caught:
        model(**{"input_size": 2, "hidden_size": 3, "output_size": 1, **changed})
    assert str(caught.value) == message


ALPHA = "expected a number above 0 and at most 1"
TAU = ": dt / tau, where no time constant tau is below the step dt"
BIAS = "expected a finite number, or None"


@pytest.mark.parametrize(
    ("model", "changed", "error", "message"),
    [
        (
            fastbptt.RNN,
            {"nonlinearity": "elu"},
            ValueError,
            'nonlinearity is "elu"; expected one of "tanh", "relu", "softplus", "sigmoid"',
        ),
        (
            fastbptt.RNN,
            {"nonlinearity": None},
            TypeError,
            'nonlinearity is None; expected one of "tanh", "relu", "softplus", "sigmoid"',
        ),
        (
            fastbptt.RNN,
            {"nonlinearity": np.tanh},
            TypeError,
            f'nonlinearity is {np.tanh!r}; expected one of "tanh", "relu", "softplus", "sigmoid"',
        ),
        (
            fastbptt.GRU,
            {"reset_after": 0},
            TypeError,
            "reset_after is 0; expected True or False",
        ),
        (fastbptt.LSTM, {"forget_bias": INF}, ValueError, f"forget_bias is inf; {BIAS}"),
        (fastbptt.LSTM, {"forget_bias": NAN}, ValueError, f"forget_bias is nan; {BIAS}"),
        (fastbptt.LSTM, {"forget_bias": "1"}, TypeError, f"forget_bias is '1'; {BIAS}"),
        (fastbptt.LSTM, {"forget_bias": True}, TypeError, f"forget_bias is True; {BIAS}"),
        (
            fastbptt.LSTM,
            {"forget_bias": 1, "bias": False},
            ValueError,
            "forget_bias is 1.0; expected None because bias=False",
        ),
        (
            fastbptt.RNN,
            {"input_noise": 0.1, "noise_scaling": "alpha"},
            ValueError,
            'noise_scaling is "alpha"; expected None: the cell "rnn" has no alpha',
        ),
        (
            fastbptt.LeakyRNN,
            {"noise_scaling": "alpha"},
            ValueError,
            'noise_scaling is "alpha"; expected None, or an input_noise or a recurrent_noise above '
            "0: there is no noise to scale",
        ),
        (
            fastbptt.GRU,
            {"recurrent_noise": 0.1},
            ValueError,
            'recurrent_noise is 0.1; expected 0: the cell "gru" has a sum for each of its gates, '
            "and the field does not agree on which of them get noise; RNN and LeakyRNN have one",
        ),
        (fastbptt.LeakyRNN, {"alpha": 0}, ValueError, f"alpha is 0.0; {ALPHA}"),
        (fastbptt.LeakyRNN, {"alpha": 1.5}, ValueError, f"alpha is 1.5; {ALPHA}{TAU}"),
        (fastbptt.LeakyRNN, {"alpha": -0.5}, ValueError, f"alpha is -0.5; {ALPHA}"),
        (fastbptt.LeakyRNN, {"alpha": NAN}, ValueError, f"alpha is nan; {ALPHA}"),
        (fastbptt.LeakyRNN, {"alpha": None}, TypeError, f"alpha is None; {ALPHA}"),
        (fastbptt.LeakyRNN, {"alpha": "0.2"}, TypeError, f"alpha is '0.2'; {ALPHA}"),
        (
            lambda **given: fastbptt.Recurrent("leaky", **given),
            {},
            TypeError,
            f"alpha is None; {ALPHA}",
        ),
        (
            lambda **given: fastbptt.Recurrent("lstm", **given),
            {"alpha": 0.5},
            ValueError,
            'alpha is 0.5; expected None because the cell "lstm" has none',
        ),
    ],
)
def test_wrong_option_of_one_class(
    model: Any, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        model(**{"input_size": 2, "hidden_size": 3, "output_size": 1, **changed})
    assert str(caught.value) == message


def test_wrong_cell() -> None:
    names = ", ".join(f'"{cell}"' for cell in fastbptt.cells())
    with pytest.raises(ValueError, match=r"^cell is") as caught:
        fastbptt.Recurrent("perceptron", 2, 3)
    assert str(caught.value) == f'cell is "perceptron"; expected one of {names}'
    with pytest.raises(TypeError, match=r"^cell is 2; expected one of"):
        fastbptt.Recurrent(2, 3, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 1000, "hidden_size": 10**6},
        {"embedding": 10**12},
        {"embedding": 2**62},
        {"embedding": 2**200},
        {"bidirectional": True, "hidden_size": 2**31},
    ],
)
def test_beyond_memory(options: dict[str, Any]) -> None:
    for model in {*MODELS.values()}:
        with pytest.raises(MemoryError, match=r"^a model of .* needs .*; there is "):
            model(**{"input_size": 2, "hidden_size": 3, **options})


def test_beyond_memory_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "memory_limit", lambda: 4000)
    with pytest.raises(MemoryError) as caught:
        fastbptt.GRU(2, 20)
    assert str(caught.value) == "a model of 1400 parameters needs 5.6 kB; there is 4.0 kB"
    fastbptt.RNN(2, 20)


# ---------------------------------------------------------------- initial states


@pytest.fixture
def lstm() -> Bench:
    return Bench(model=fastbptt.LSTM(2, 5, 1, num_layers=2, seed=1))


EACH = "expected (h, c), each an array of shape (2, 3, 5)"
ROLE = "(layers * directions, batch, hidden_size)"
STATES: dict[str, tuple[Any, type[Exception], str]] = {
    "array": (zeros(2, 3, 5), TypeError, f"h0 is of type ndarray; {EACH}"),
    "stacked": (zeros(2, 2, 3, 5), TypeError, f"h0 is of type ndarray; {EACH}"),
    "dict": ({}, TypeError, f"h0 is of type dict; {EACH}"),
    "one": ((zeros(2, 3, 5),), ValueError, f"h0 has 1 parts; {EACH}"),
    "three": ((zeros(2, 3, 5),) * 3, ValueError, f"h0 has 3 parts; {EACH}"),
    "first shape": (
        (zeros(1, 3, 5), zeros(2, 3, 5)),
        ValueError,
        f"h0[0] (h) has shape (1, 3, 5); expected (2, 3, 5): {ROLE}",
    ),
    "second shape": (
        (zeros(2, 3, 5), zeros(2, 3, 1)),
        ValueError,
        f"h0[1] (c) has shape (2, 3, 1); expected (2, 3, 5): {ROLE}",
    ),
    "complex": (
        [zeros(2, 3, 5), zeros(2, 3, 5, dtype=complex)],
        TypeError,
        "h0[1] (c) has dtype complex128; expected real numbers (float32 or float64)",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_wrong_h0_of_two_states(lstm: Bench, name: str) -> None:
    value, error, message = STATES[name]
    for call in (
        lambda: lstm.model.forward(lstm.x, h0=value),
        lambda: lstm.model.loss(lstm.x, lstm.y, h0=value),
        lambda: lstm.model.loss_and_grad(lstm.x, lstm.y, h0=value),
        lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, h0=value),
        lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, h0=value, bptt_steps=2),
    ):
        with lstm.refuses(error, message):
            call()


@pytest.mark.parametrize("name", STATES)
def test_wrong_gradient_of_two_states(lstm: Bench, name: str) -> None:
    value, error, message = STATES[name]
    out = lstm.model.forward(lstm.x)
    with lstm.refuses(error, message.replace("h0", "d_final_state")):
        lstm.model.backward(out, d_final_state=value)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [NAN, INF])
def test_h0_not_finite(lstm: Bench, place: int, value: float) -> None:
    h0 = (zeros(2, 3, 5), zeros(2, 3, 5))
    h0[place][1, 2, 4] = value
    names = ("h0", "c0"), ("state[0] (h)", "state[1] (c)")
    for name, call in (
        (names[0], lambda: lstm.model.forward(lstm.x, h0=h0)),
        (names[0], lambda: lstm.model.loss(lstm.x, lstm.y, h0=h0)),
        (names[0], lambda: lstm.model.loss_and_grad(lstm.x, lstm.y, h0=h0)),
        (names[0], lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, h0=h0)),
        (names[0], lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, h0=h0, bptt_steps=2)),
        (names[1], lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, state=h0)),
        (
            names[1],
            lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, state=h0, bptt_steps=2),
        ),
    ):
        with lstm.refuses_with(ValueError, f"{name[place]} holds", str(value), "(1, 2, 4)"):
            call()
    assert not np.isfinite(h0[place][1, 2, 4])
    assert not h0[1 - place].any()


def test_gradients_from_outside(lstm: Bench) -> None:
    out = lstm.model.forward(lstm.x)
    for given, error, message in [
        (
            {"d_outputs": zeros(3, 4, 1), "d_last": zeros(3, 1)},
            ValueError,
            "d_outputs and d_last are both given; expected one of them",
        ),
        (
            {"d_hidden": zeros(3, 4, 1)},
            ValueError,
            "d_hidden has shape (3, 4, 1); expected (3, 4, 5): the shape of hidden",
        ),
        (
            {"d_last": zeros(3, 4, 1)},
            ValueError,
            "d_last has shape (3, 4, 1); expected (3, 1): the shape of last",
        ),
        (
            {"d_last": zeros(3)},
            ValueError,
            "d_last has shape (3,); expected (3, 1): the shape of last",
        ),
        (
            {"d_last": "last"},
            TypeError,
            "d_last has dtype <U4; expected real numbers (float32 or float64)",
        ),
    ]:
        with lstm.refuses(error, message):
            lstm.model.backward(out, **given)  # type: ignore[arg-type]
    for given in ({"d_last": np.array([[0.0], [NAN], [0.0]])},):
        with lstm.refuses_with(ValueError, "d_last ", "nan", "(1, 0)"):
            lstm.model.backward(out, **given)


@pytest.mark.parametrize("value", [None, 0, "yes"])
def test_training_is_a_flag(lstm: Bench, value: Any) -> None:
    for call in (
        lambda: lstm.model.forward(lstm.x, training=value),
        lambda: lstm.model.loss(lstm.x, lstm.y, training=value),
        lambda: lstm.model.loss_and_grad(lstm.x, lstm.y, training=value),
    ):
        with lstm.refuses(TypeError, f"training is {value!r}; expected True or False"):
            call()


# ---------------------------------------------------------------- states that are overwritten


def read_only(*shape: int) -> Any:
    array = zeros(*shape)
    array.flags.writeable = False
    return array


WHY = "it is changed in place"
CARRIED: dict[str, tuple[Any, type[Exception], str]] = {
    "number": (
        0.0,
        TypeError,
        f"state is of type float; expected an array of float32 of shape (2, 3, 5): {WHY}",
    ),
    "list": (
        zeros(2, 3, 5).tolist(),
        TypeError,
        f"state is of type list; expected an array of float32 of shape (2, 3, 5): {WHY}",
    ),
    "tuple": (
        (zeros(2, 3, 5),),
        TypeError,
        f"state is of type tuple; expected an array of float32 of shape (2, 3, 5): {WHY}",
    ),
    "float64": (
        zeros(2, 3, 5, dtype=float),
        TypeError,
        f"state has dtype float64; expected float32, the model's: {WHY}",
    ),
    "other byte order": (
        zeros(2, 3, 5, dtype=">f4"),
        TypeError,
        f"state has dtype >f4; expected float32, the model's: {WHY}",
    ),
    "without layers": (
        zeros(3, 5),
        ValueError,
        "state has shape (3, 5); expected (2, 3, 5): (layers, batch, hidden_size)",
    ),
    "other batch": (
        zeros(2, 1, 5),
        ValueError,
        "state has shape (2, 1, 5); expected (2, 3, 5): (layers, batch, hidden_size)",
    ),
    "read-only": (
        read_only(2, 3, 5),
        ValueError,
        f"state is read-only; expected a writable array: {WHY}",
    ),
    "fortran": (
        np.asfortranarray(zeros(2, 3, 5)),
        ValueError,
        f"state has strides (4, 8, 24); expected C order: {WHY}",
    ),
    "spread": (
        zeros(2, 3, 10)[:, :, ::2],
        ValueError,
        f"state has strides (120, 40, 8); expected C order: {WHY}",
    ),
}


def overwrites(bench: Bench, state: Any) -> list[Any]:
    return [
        lambda: bench.model.train_step(bench.x, bench.y, bench.adam, state=state),
        lambda: bench.model.train_step(bench.x, bench.y, bench.adam, state=state, bptt_steps=2),
        lambda: bench.model.step(bench.x[:, 0], state),
    ]


@pytest.mark.parametrize("name", CARRIED)
def test_wrong_state(name: str) -> None:
    value, error, message = CARRIED[name]
    bench = Bench(model=fastbptt.GRU(2, 5, 1, num_layers=2, seed=1))
    for call in overwrites(bench, value):
        with bench.refuses(error, message):
            call()


@pytest.mark.parametrize("name", [name for name in CARRIED if name not in ("list", "tuple")])
def test_wrong_one_of_two_states(lstm: Bench, name: str) -> None:
    value, error, message = CARRIED[name]
    for place in (0, 1):
        state: Any = [zeros(2, 3, 5), zeros(2, 3, 5)]
        state[place] = value
        for call in overwrites(lstm, tuple(state)):
            with lstm.refuses(
                error, message.replace("state", f"state[{place}] ({'hc'[place]})", 1)
            ):
                call()


def test_states_that_share_memory(lstm: Bench) -> None:
    room, own = zeros(3, 3, 5), zeros(2, 3, 5)
    for state, message in [
        ((own, own), "state[1] (c) shares memory with state[0]"),
        ((room[:2], room[:2]), "state[1] (c) shares memory with state[0]"),
        ((room[:2], room[1:]), "state[1] (c) shares memory with state[0]"),
    ]:
        for call in overwrites(lstm, state):
            with lstm.refuses(ValueError, f"{message}; expected an array of its own"):
                call()
    learned = Bench(model=fastbptt.GRU(2, 5, 1, learn_initial_state=True, seed=1))
    row = learned.model.parameters["h0"][:, np.newaxis]
    assert row.shape == (1, 1, 5)
    with learned.refuses(
        ValueError,
        "state shares memory with the model's parameters; expected an array of its own",
    ):
        learned.model.step(learned.x[:1, 0], row)


def test_two_states_in_one_array(lstm: Bench) -> None:
    room = zeros(2, 2, 3, 5)
    for call in overwrites(lstm, room):
        with lstm.refuses(TypeError, f"state is of type ndarray; {EACH}"):
            call()
    for call in overwrites(lstm, tuple(room)):
        call()
    assert room.all()


def test_state_and_h0(lstm: Bench) -> None:
    state: Any = lstm.model.initial_state(3)
    with lstm.refuses(ValueError, "h0 and state are both given; expected one of them"):
        lstm.model.train_step(lstm.x, lstm.y, lstm.adam, h0=state, state=state)


def test_both_directions() -> None:
    bench = Bench(model=fastbptt.GRU(2, 5, 1, bidirectional=True, seed=1))
    state: Any = bench.model.initial_state(3)
    for name, done, call in [
        ("state", "given", lambda: bench.model.train_step(
            bench.x, bench.y, bench.adam, state=state
        )),
        ("bptt_steps", "given", lambda: bench.model.train_step(
            bench.x, bench.y, bench.adam, bptt_steps=2
        )),
        ("step", "called", lambda: bench.model.step(bench.x[:, 0], state)),
        ("minimum_memory", "called", lambda: bench.model.minimum_memory(3, 4)),
    ]:  # fmt: skip
        with bench.refuses(
            ValueError,
            f"{name} is {done}, but bidirectional=True; expected a model of one direction: "
            "the other one needs whole sequences",
        ):
            call()
    bench.model.forward(bench.x, h0=state)


def test_refused_steps_leave_the_state(lstm: Bench) -> None:
    state: Any = lstm.model.initial_state(3)
    for part in state:
        part[...] = 0.25
    before = [part.tobytes() for part in state]
    bad = lstm.x.copy()
    bad[1, 0, 1] = NAN
    wrong = lstm.y + 5
    for call, message in [
        (lambda: lstm.model.step(bad[:, 0], state), "x"),
        (lambda: lstm.model.train_step(bad, lstm.y, lstm.adam, state=state), "x holds"),
        (lambda: lstm.model.train_step(lstm.x, wrong, lstm.adam, state=state), "y holds"),
        (
            lambda: lstm.model.train_step(lstm.x, lstm.y, lstm.adam, state=state, memory_budget=1),
            "memory_budget",
        ),
    ]:
        with lstm.refuses_with(ValueError, message):
            call()
        assert [part.tobytes() for part in state] == before


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "bptt_steps is 0; expected at least 1"),
        (-3, ValueError, "bptt_steps is -3; expected at least 1"),
        (2.0, TypeError, "bptt_steps is 2.0; expected a whole number of at least 1"),
        (True, TypeError, "bptt_steps is True; expected a whole number of at least 1"),
        ("2", TypeError, "bptt_steps is '2'; expected a whole number of at least 1"),
    ],
)
def test_wrong_chunk(lstm: Bench, value: Any, error: type[Exception], message: str) -> None:
    with lstm.refuses(error, message):
        lstm.model.train_step(lstm.x, lstm.y, lstm.adam, bptt_steps=value)


# ---------------------------------------------------------------- one step


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            zeros(2),
            ValueError,
            "x_t has shape (2,); expected (batch, 2) because input_size=2",
        ),
        (
            zeros(3, 1, 2),
            ValueError,
            "x_t has shape (3, 1, 2); expected (batch, 2) because input_size=2",
        ),
        (zeros(3, 3), ValueError, "x_t has shape (3, 3); expected (batch, 2) because input_size=2"),
        (zeros(0, 2), ValueError, "x_t has shape (0, 2); expected at least one sequence"),
        (
            zeros(3, 2, dtype=complex),
            TypeError,
            "x_t has dtype complex128; expected real numbers (float32 or float64)",
        ),
        (None, TypeError, "x_t has type NoneType; expected real numbers (float32 or float64)"),
    ],
)
def test_wrong_step(lstm: Bench, value: Any, error: type[Exception], message: str) -> None:
    state: Any = lstm.model.initial_state(3)
    with lstm.refuses(error, message):
        lstm.model.step(value, state)
    with lstm.refuses(TypeError, "check_finite is 0; expected True or False"):
        lstm.model.step(lstm.x[:, 0], state, check_finite=0)  # type: ignore[arg-type]
    assert not any(part.any() for part in state)


def test_step_of_nobody(lstm: Bench) -> None:
    state = (zeros(2, 0, 5), zeros(2, 0, 5))
    with lstm.refuses(ValueError, "x_t has shape (0, 2); expected at least one sequence"):
        lstm.model.step(zeros(0, 2), state)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "batch is 0; expected at least 1"),
        (2.0, TypeError, "batch is 2.0; expected a whole number of at least 1"),
    ],
)
def test_wrong_batch(lstm: Bench, value: Any, error: type[Exception], message: str) -> None:
    with lstm.refuses(error, message):
        lstm.model.initial_state(value)


# ---------------------------------------------------------------- tokens

WORDS = "expected tokens of an integer dtype because the model has an embedding"
TOKENS: dict[str, tuple[Any, type[Exception], str]] = {
    "numbers": (zeros(3, 4), TypeError, f"x has dtype float32; {WORDS}"),
    "rows": (zeros(3, 4, 2), TypeError, f"x has dtype float32; {WORDS}"),
    "bool": (zeros(3, 4, dtype=bool), TypeError, f"x has dtype bool; {WORDS}"),
    "text": (np.full((3, 4), "a"), TypeError, f"x has dtype <U1; {WORDS}"),
    "None": (None, TypeError, f"x has type NoneType; {WORDS}"),
    "one sequence": (
        zeros(4, dtype=int),
        ValueError,
        "x has shape (4,); expected (batch, time) because the model has an embedding; "
        "for one sequence give x[None]",
    ),
    "one-hot": (
        zeros(3, 4, 9, dtype=int),
        ValueError,
        "x has shape (3, 4, 9); expected (batch, time) because the model has an embedding",
    ),
    "no step": (
        zeros(3, 0, dtype=int),
        ValueError,
        "x has shape (3, 0); expected at least one time step",
    ),
    "list of numbers": (
        [1, 2, 3],
        ValueError,
        "x[0] has shape (); expected (time,) because the model has an embedding",
    ),
    "list of floats": ([[1, 2], [1.0]], TypeError, f"x[1] has dtype float64; {WORDS}"),
    "list of nothing": (
        [[1, 2], []],
        ValueError,
        "x[1] has shape (0,); expected at least one time step",
    ),
    "too large": (
        np.array([[0, 1], [2, 9], [0, 0]]),
        ValueError,
        "x holds token 9 at index (1, 1); expected tokens 0 to 8",
    ),
    "negative": (
        np.array([[0, 1], [2, 2], [-1, 0]], np.int8),
        ValueError,
        "x holds token -1 at index (2, 0); expected tokens 0 to 8",
    ),
    "far too large": (
        np.array([[0, 2**64 - 1], [2, 2], [0, 0]], np.uint64),
        ValueError,
        f"x holds token {2**63 - 1} at index (0, 1); expected tokens 0 to 8",
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_wrong_tokens(name: str) -> None:
    value, error, message = TOKENS[name]
    x = np.zeros((3, 4), int)
    bench = Bench(model=fastbptt.GRU(2, 5, 1, embedding=9, num_layers=2, dropout=0.5, seed=1), x=x)
    for call in (
        lambda: bench.model.forward(value, training=True),
        lambda: bench.model.loss(value, bench.y, training=True),
        lambda: bench.model.loss_and_grad(value, bench.y),
        lambda: bench.model.train_step(value, bench.y, bench.adam),
        lambda: bench.model.train_step(value, bench.y, bench.adam, bptt_steps=1),
        lambda: bench.model.forward(value, training=True, check_finite=False),
    ):
        with bench.refuses(error, message):
            call()


def test_tokens_after_the_end_are_nobodys_business() -> None:
    model = fastbptt.GRU(2, 5, 1, embedding=9, seed=1)
    x = np.array([[1, 2, -7], [3, 99, 99]])
    same = np.array([[1, 2, 0], [3, 0, 0]])
    for how in ({}, {"bptt_steps": 1}):
        twin, adam = model.copy(), fastbptt.Adam()
        loss = twin.train_step(x, [0, 1], adam, lengths=[2, 1], **how)  # type: ignore[arg-type]
        twin, adam = model.copy(), fastbptt.Adam()
        assert loss == twin.train_step(same, [0, 1], adam, lengths=[2, 1], **how)  # type: ignore[arg-type]


def test_tokens_have_no_gradient() -> None:
    x = np.zeros((3, 4), int)
    bench = Bench(model=fastbptt.GRU(2, 5, 1, embedding=9, seed=1), x=x)
    out = bench.model.forward(x)
    for call in (
        lambda: bench.model.loss_and_grad(x, bench.y, need_input_grad=True),
        lambda: bench.model.backward(out, d_last=zeros(3, 1), need_input_grad=True),
    ):
        with bench.refuses(
            ValueError, "need_input_grad is True; expected False because tokens have no gradient"
        ):
            call()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (zeros(3), TypeError, f"x_t has dtype float32; {WORDS}"),
        (
            zeros(3, 2, dtype=int),
            ValueError,
            "x_t has shape (3, 2); expected (batch,) because the model has an embedding",
        ),
        (5, ValueError, "x_t has shape (); expected (batch,) because the model has an embedding"),
    ],
)
def test_wrong_token_of_a_step(value: Any, error: type[Exception], message: str) -> None:
    x = np.zeros((3, 4), int)
    bench = Bench(model=fastbptt.GRU(2, 5, 1, embedding=9, seed=1), x=x)
    state: Any = bench.model.initial_state(3)
    with bench.refuses(error, message):
        bench.model.step(value, state)
    for token in (9, -1):
        with bench.refuses_with(ValueError, "x", f"token {token}", "expected tokens 0 to 8"):
            bench.model.step(np.array([0, token, 0]), state)
    assert not state.any()


@pytest.mark.parametrize(
    ("options", "argument", "value"),
    [
        ({"num_layers": MOST_LAYERS + 1}, "num_layers", MOST_LAYERS + 1),
        ({"dropout": 1.0}, "dropout", 1.0),
        ({"embedding": 9, "padding_index": 9}, "padding_index", 9),
        ({"freeze_embedding": True}, "freeze_embedding", None),
        ({"embedding": np.zeros((3, 7))}, "embedding", None),
    ],
)
def test_errors_about_options_are_data(
    options: dict[str, Any], argument: str, value: float | None
) -> None:
    with pytest.raises(fastbptt.ArgumentError) as caught:
        fastbptt.RNN(2, 3, 1, **options)
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert caught.value.expected


def test_alpha_is_named_in_the_error() -> None:
    with pytest.raises(fastbptt.ArgumentError) as caught:
        fastbptt.LeakyRNN(2, 3, 1, alpha=3.0)
    assert (caught.value.argument, caught.value.value) == ("alpha", 3.0)


def test_an_error_of_limits_holds_the_value() -> None:
    with pytest.raises(fastbptt.ArgumentError) as caught:
        _check.clip(-2.0, None)
    assert caught.value.value == -2.0


def test_an_error_shows_and_pickles_its_fields_as_they_are_now() -> None:
    error = fastbptt.ArgumentError("x", "is 3", "2", item=1, value=3)
    error.argument = "inputs"
    error.context.append("in the file")
    assert repr(error) == "ArgumentError('inputs[1] is 3; expected 2 (in the file)')"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
    assert again.args == ("inputs", "is 3", "2")
