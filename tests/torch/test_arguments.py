"""What the modules refuse, and the random numbers and threads that they take from torch."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="fastbptt.torch needs PyTorch")

from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import fastbptt.torch  # noqa: E402
from fastbptt.torch import _operator  # noqa: E402

CELLS = ("RNN", "GRU", "LSTM")
I, H, B, T = 3, 5, 4, 6


def both(cell: str, **options: Any) -> list[Any]:
    return [getattr(library, cell)(I, H, **options) for library in (torch.nn, fastbptt.torch)]


def refusal(module: Any, *given: Any, **more: Any) -> Exception:
    with pytest.raises((RuntimeError, ValueError, TypeError)) as error:
        module(*given, **more)
    return error.value


BAD_SIZES = {
    "rank 1": (torch.zeros(I), None),
    "rank 4": (torch.zeros(1, T, B, I), None),
    "features": (torch.zeros(T, B, I + 1), None),
    "no steps": (torch.zeros(0, B, I), None),
    "hidden size": (torch.zeros(T, B, I), (1, B, H + 1)),
    "batch of the state": (torch.zeros(T, B, I), (1, B + 1, H)),
    "layers of the state": (torch.zeros(T, B, I), (2, B, H)),
    "rank of the state": (torch.zeros(T, B, I), (B, H)),
    "a batch for one sequence": (torch.zeros(T, I), (1, 1, H)),
}


@pytest.mark.parametrize("case", BAD_SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_sizes_are_refused_where_torch_refuses_them(cell: str, case: str) -> None:
    x, shape = BAD_SIZES[case]
    state = None if shape is None else torch.zeros(shape)
    hx = (state, state) if state is not None and cell == "LSTM" else state
    theirs, ours = (refusal(module, x, hx) for module in both(cell))
    assert type(ours) is type(theirs)
    assert any(str(n) in str(ours) for n in (*x.shape, *(shape or ()), x.dim()))


@pytest.mark.parametrize("cell", CELLS)
def test_types_are_refused_where_torch_refuses_them(cell: str) -> None:
    for x, state in (
        (torch.zeros(T, B, I, dtype=torch.float64), None),
        (torch.zeros(T, B, I, dtype=torch.int64), None),
        (torch.zeros(T, B, I), torch.zeros(1, B, H, dtype=torch.float64)),
    ):
        hx = (state, state) if state is not None and cell == "LSTM" else state
        theirs, ours = (refusal(module, x, hx) for module in both(cell))
        assert type(ours) is type(theirs)
        assert "dtype" in str(ours)
    module = getattr(fastbptt.torch, cell)(I, H, dtype=torch.bfloat16)
    error = refusal(module, torch.zeros(T, B, I, dtype=torch.bfloat16))
    assert "float32 and torch.float64" in str(error)
    assert "bfloat16" in str(error)


def test_another_device_is_refused() -> None:
    module = fastbptt.torch.GRU(I, H)
    error = refusal(module, torch.zeros(T, B, I, device="meta"))
    assert "not at the same device" in str(error)
    error = refusal(module, torch.zeros(T, B, I), torch.zeros(1, B, H, device="meta"))
    assert "hidden" in str(error)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_of_another_cell(cell: str) -> None:
    state = torch.zeros(1, B, H)
    wrong: Any = state if cell == "LSTM" else (state, state)
    error = refusal(getattr(fastbptt.torch, cell)(I, H), torch.zeros(T, B, I), wrong)
    assert str(error).startswith("hx is ")


BAD_LENGTHS = {
    "shape": ([6] * (B + 1), r"lengths has shape \(5,\)"),
    "zero": ([6, 0, 1, 1], "lengths holds 0"),
    "too long": ([7, 1, 1, 1], "lengths holds 7"),
    "floats": ([1.0] * B, "lengths has dtype torch.float32"),
    "booleans": ([True] * B, "lengths has dtype torch.bool"),
}


@pytest.mark.parametrize("case", BAD_LENGTHS)
def test_lengths_that_are_none(case: str) -> None:
    lengths, message = BAD_LENGTHS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        fastbptt.torch.GRU(I, H)(torch.zeros(T, B, I), lengths=lengths)


def test_what_excludes_each_other() -> None:
    module, x = fastbptt.torch.LSTM(I, H), torch.zeros(T, B, I)
    packed = pack_padded_sequence(x, [6, 5, 2, 1])
    resets = torch.zeros(B, T, dtype=torch.bool)
    with pytest.raises(ValueError, match="lengths is given with a PackedSequence"):
        module(packed, lengths=[6, 5, 2, 1])
    with pytest.raises(ValueError, match="resets is given with a PackedSequence"):
        module(packed, resets=resets)
    with pytest.raises(ValueError, match="lengths is given for one sequence"):
        module(x[:, 0], lengths=[6])
    with pytest.raises(ValueError, match=r"resets has shape \(6, 4\).*\(4, 6\)"):
        module(x, resets=resets.T)
    with pytest.raises(TypeError, match=r"resets has dtype torch\.int64"):
        module(x, resets=resets.long())
    with pytest.raises(ValueError, match="bidirectional=True"):
        fastbptt.torch.LSTM(I, H, bidirectional=True)(x, resets=resets)


BAD_OPTIONS: list[dict[str, Any]] = [
    {"hidden_size": 0},
    {"hidden_size": 2.5},
    {"num_layers": 0},
    {"dropout": 1.5},
    {"bias": 1},
    {"batch_first": None},
    {"nonlinearity": "sigmoid"},
    {"proj_size": -1},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_options_are_refused_where_torch_refuses_them(cell: str, options: dict[str, Any]) -> None:
    given = {"input_size": I, "hidden_size": H} | options
    errors = []
    for library in (torch.nn, fastbptt.torch):
        with pytest.raises((ValueError, TypeError)) as error:
            getattr(library, cell)(**given)
        errors.append(error.value)
    assert next(iter(options)) in str(errors[1])


def test_projections_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"proj_size is 2; expected 0: .*torch\.nn\.LSTM"):
        fastbptt.torch.LSTM(I, H, proj_size=2)


@pytest.mark.parametrize("cell", CELLS)
def test_arguments_in_torchs_order(cell: str) -> None:
    middle = ("relu", False) if cell == "RNN" else (False,)
    theirs, ours = both(cell, num_layers=2)
    arguments = (I, H, 2, *middle, True, 0.25, True)
    theirs = getattr(torch.nn, cell)(*arguments)
    ours = getattr(fastbptt.torch, cell)(*arguments)
    assert repr(ours) == repr(theirs)
    assert ours.batch_first and ours.dropout == 0.25 and ours.bidirectional and not ours.bias
    assert ours.mode == theirs.mode
    names = list(inspect.signature(type(ours)).parameters)
    assert names[:2] == ["input_size", "hidden_size"]
    assert [len(weights) for weights in ours.all_weights] == [2] * 4
    ours.flatten_parameters()


def test_dropout_warns_where_it_does_nothing() -> None:
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        fastbptt.torch.GRU(I, H, dropout=0.5)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_comes_from_torchs_generator(cell: str) -> None:
    module = getattr(fastbptt.torch, cell)(I, H, num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I)
    torch.manual_seed(5)
    first, second = module(x)[0], module(x)[0]
    torch.manual_seed(5)
    assert torch.equal(module(x)[0], first)
    assert not torch.equal(first, second)
    plain = getattr(fastbptt.torch, cell)(I, H, num_layers=2)
    plain.load_state_dict(module.state_dict())
    module.eval()
    assert torch.equal(module(x)[0], plain(x)[0])
    module.dropout = 0.0
    state = torch.random.get_rng_state()
    assert torch.equal(module.train()(x)[0], plain(x)[0])
    assert torch.equal(state, torch.random.get_rng_state())  # nothing was drawn


@pytest.mark.parametrize("dropout", [1.5, -0.5, float("nan")])
def test_dropout_set_later_to_no_probability(dropout: float) -> None:
    for module in both("GRU", num_layers=2):
        module.dropout = dropout
        assert isinstance(refusal(module, torch.zeros(T, B, I)), RuntimeError)
        module.eval()(torch.zeros(T, B, I))


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_everything(cell: str) -> None:
    """The only mask that torch and we draw alike."""
    theirs, ours = both(cell, num_layers=3, dropout=1.0)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I)
    assert torch.allclose(theirs(x)[0], ours(x)[0], atol=1e-6)


def test_dropout_drops_its_share() -> None:
    torch.manual_seed(0)
    module = fastbptt.torch.RNN(1, 400, num_layers=2, dropout=0.25, nonlinearity="relu")
    with torch.no_grad():  # the second layer shows what it reads
        module.weight_ih_l1.copy_(torch.eye(400))
        for name in ("weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "weight_ih_l0", "weight_hh_l0"):
            getattr(module, name).zero_()
        module.bias_ih_l0.fill_(3.0)
        module.bias_hh_l0.zero_()
        output = module(torch.zeros(20, 10, 1))[0]
    assert set(output.unique().tolist()) == {0.0, 4.0}
    assert abs(float((output == 0).float().mean()) - 0.25) < 0.01


def test_torchs_number_of_threads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = _operator._core.torch_forward
    monkeypatch.setattr(
        _operator._core, "torch_forward", lambda *a: seen.append(a[8]) or forward(*a)
    )
    before = torch.get_num_threads()
    module = fastbptt.torch.GRU(I, H)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            module(torch.zeros(T, B, I))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_autocast_computes_in_the_precision_of_the_parameters() -> None:
    module = fastbptt.torch.LSTM(I, H)
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = x.to(torch.bfloat16)
        output = module(half)[0]
    assert output.dtype == torch.float32
    assert torch.equal(output, module(half.float())[0])


def test_nan_goes_through() -> None:
    """As in torch.nn, and only into its own sequence."""
    module = fastbptt.torch.GRU(I, H)
    x = torch.randn(T, B, I)
    x[2, 1, 0] = torch.nan
    output = module(x)[0]
    assert output[2:, 1].isnan().all()
    assert not output[:, [0, 2, 3]].isnan().any()
    assert not output[:2].isnan().any()


def test_a_state_dict_that_does_not_fit() -> None:
    module = fastbptt.torch.LSTM(I, H)
    state = module.state_dict()
    del state["bias_hh_l0"]
    state["weight_hr_l0"] = torch.zeros(2, H)
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*bias_hh_l0.*Unexpected.*weight_hr_l0"):
        module.load_state_dict(state)


OPERATOR_MISUSE = {
    "another dtype": (lambda w: [w[0].double(), *w[1:]], "not the same dtype"),
    "too few weights": (lambda w: w[:1], "expected two or four"),
    "another shape": (lambda w: [w[0][:-1], *w[1:]], "weights have shapes"),
    "a bias too few": (lambda w: w[:3], "weights have shapes"),
}


@pytest.mark.parametrize("case", OPERATOR_MISUSE)
def test_the_operator_checks_before_it_reads(case: str) -> None:
    change, message = OPERATOR_MISUSE[case]
    weights = change([p.detach() for p in fastbptt.torch.GRU(I, H).parameters()])
    with pytest.raises(RuntimeError, match=message):
        torch.ops.fastbptt.recurrent(
            torch.zeros(T, B, I), [], weights, None, None, None, None, "gru", 1, False, False, 0.0,
            False,
        )  # fmt: skip


@pytest.mark.parametrize("sizes", [[2, 3], [], [3, 2, 2], [2, 0]])
def test_batch_sizes_that_are_none(sizes: list[int]) -> None:
    weights = [p.detach() for p in fastbptt.torch.GRU(I, H).parameters()]
    with pytest.raises((RuntimeError, ValueError)):
        torch.ops.fastbptt.recurrent(
            torch.zeros(5, I), [], weights, None, torch.tensor(sizes, dtype=torch.int64), None,
            None, "gru", 1, False, False, 0.0, False,
        )  # fmt: skip


def test_a_copy_has_buffers_of_its_own_kind() -> None:
    """Modules of one kind share an engine; it goes with the last of them."""
    before = len(_operator._engines)
    module = fastbptt.torch.GRU(7, 11)
    twin = copy.deepcopy(module)
    assert len(_operator._engines) == before + 1
    del module
    assert len(_operator._engines) == before + 1
    assert twin(torch.zeros(2, 2, 7))[0].shape == (2, 2, 11)
    del twin
    assert len(_operator._engines) == before
