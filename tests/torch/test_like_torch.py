"""The modules against torch.nn's: weights, outputs, final states and gradients."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from cases import sampled

torch = pytest.importorskip("torch", reason="fastbptt.torch needs PyTorch")

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import fastbptt.torch  # noqa: E402

CELLS = ("RNN", "GRU", "LSTM")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}  # of the largest number
I, H, B, T = 3, 7, 4, 6

Case = tuple[str, int, bool, bool, bool, Any]
GRID = list(
    itertools.product(
        CELLS, (1, 2, 3), (False, True), (True, False), (False, True),
        (torch.float32, torch.float64),
    )
)  # fmt: skip


def name(case: Case) -> str:
    cell, layers, bidirectional, bias, batch_first, dtype = case
    parts = [cell, str(layers), "both" if bidirectional else "one", "bias" if bias else "none"]
    return "-".join([*parts, "BT" if batch_first else "TB", str(dtype).removeprefix("torch.")])


def pair(case: Case, **more: Any) -> tuple[Any, Any]:
    """torch.nn's module and ours, with the same weights."""
    cell, layers, bidirectional, bias, batch_first, dtype = case
    options = dict(
        num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=batch_first,
        dtype=dtype, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = getattr(torch.nn, cell)(I, H, **options)
    torch.manual_seed(0)
    return theirs, getattr(fastbptt.torch, cell)(I, H, **options)


def results(module: Any, x: Any, states: list[Any], packed: list[int] | None) -> list[Any]:
    """Output, final states, and the gradients of all inputs of a random linear loss."""
    x = x.clone().requires_grad_()
    states = [state.clone().requires_grad_() for state in states]
    batch_first = module.batch_first
    given = x
    if packed is not None:
        given = pack_padded_sequence(x, packed, batch_first=batch_first, enforce_sorted=False)
    output, final = module(given, tuple(states) if len(states) == 2 else states[0])
    if packed is not None:
        output, lengths = pad_packed_sequence(output, batch_first=batch_first)
        assert lengths.tolist() == packed
    finals = list(final) if isinstance(final, tuple) else [final]
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (a * torch.randn(a.shape, generator=generator, dtype=a.dtype)).sum()
        for a in (output, *finals)
    )
    inputs = [x, *states, *module.parameters()]
    return [output, *finals, *torch.autograd.grad(loss, inputs)]


def assert_close(ours: list[Any], theirs: list[Any], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max().item() <= tolerance * (b.abs().max().item() + 1e-3)


@pytest.mark.parametrize("packed", [None, [3, 6, 2, 6]], ids=["padded", "packed"])
@pytest.mark.parametrize("case", sampled(GRID, 24), ids=name)
def test_weights_outputs_and_gradients(case: Case, packed: list[int] | None) -> None:
    theirs, ours = pair(case)
    for (a, p), (b, q) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert a == b
        assert torch.equal(p, q)  # drawn alike
    torch.manual_seed(2)
    other = getattr(torch.nn, case[0])(
        I, H, case[1], bidirectional=case[2], bias=case[3], dtype=case[5]
    )
    assert str(ours.load_state_dict(other.state_dict())) == "<All keys matched successfully>"
    assert str(theirs.load_state_dict(ours.state_dict())) == "<All keys matched successfully>"
    dtype, rows = case[5], case[1] * (1 + case[2])
    x = torch.randn((B, T, I) if case[4] else (T, B, I), dtype=dtype)
    states = [torch.randn(rows, B, H, dtype=dtype) for _ in range(2 if case[0] == "LSTM" else 1)]
    expected = results(theirs, x, states, packed)
    assert_close(results(ours, x, states, packed), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("cell", CELLS)
def test_relu_and_large_sizes(cell: str) -> None:
    """More than one panel of units, and enough rows for several threads and blocks."""
    options = {"nonlinearity": "relu"} if cell == "RNN" else {}
    theirs = getattr(torch.nn, cell)(33, 130, batch_first=True, **options)
    ours = getattr(fastbptt.torch, cell)(33, 130, batch_first=True, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(20, 30, 33)
    states = [torch.randn(1, 20, 130) for _ in range(2 if cell == "LSTM" else 1)]
    assert_close(results(ours, x, states, None), results(theirs, x, states, None), 3e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences_come_back_as_they_went_in(cell: str, enforce_sorted: bool) -> None:
    theirs, ours = pair((cell, 2, True, True, False, torch.float64))
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    packed = pack_padded_sequence(
        torch.randn(T, B, I, dtype=torch.float64), lengths, enforce_sorted=enforce_sorted
    )
    expected, got = theirs(packed)[0], ours(packed)[0]
    assert torch.allclose(got.data, expected.data, atol=1e-12)
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        a, b = getattr(got, field), getattr(expected, field)
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_do_what_packing_does(cell: str, batch_first: bool) -> None:
    theirs, ours = pair((cell, 2, True, True, batch_first, torch.float64))
    x = torch.randn(T, B, I, dtype=torch.float64)
    x = x.transpose(0, 1) if batch_first else x
    lengths = [3, 6, 1, 5]
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    expected, finals = theirs(packed)
    expected, _ = pad_packed_sequence(expected, batch_first=batch_first)
    for given in (lengths, torch.tensor(lengths), torch.tensor(lengths, dtype=torch.int32)):
        output, states = ours(x, lengths=given)
        assert torch.allclose(output, expected, atol=1e-12)
        for a, b in zip(states, finals, strict=True):
            assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_episodes_are_sequences_of_their_own(cell: str, batch_first: bool) -> None:
    theirs, ours = pair((cell, 2, False, True, batch_first, torch.float64))
    x = torch.randn(2, T, I, dtype=torch.float64, requires_grad=True)
    states = tuple(torch.randn(2, 2, H, dtype=torch.float64) for _ in range(2))
    hx = states if cell == "LSTM" else states[0]
    resets = torch.zeros(2, T, dtype=torch.bool)
    resets[0, 2] = resets[1, 0] = resets[1, 3] = True
    apart = [(0, 0, 2, True), (0, 2, T, False), (1, 0, 3, False), (1, 3, T, False)]

    def run(module: Any, part: Any, initial: Any, **more: Any) -> Any:
        output, final = module(part if batch_first else part.transpose(0, 1), initial, **more)
        return (output if batch_first else output.transpose(0, 1)), final

    whole, final = run(ours, x, hx, resets=resets)
    pieces = []
    for row, start, stop, carries in apart:
        own = tuple(state[:, row : row + 1].contiguous() for state in states)
        initial = (own if cell == "LSTM" else own[0]) if carries else None
        pieces.append(run(theirs, x[row : row + 1, start:stop], initial))
    joined = torch.cat([torch.cat([pieces[i][0], pieces[i + 1][0]], 1) for i in (0, 2)])
    assert torch.allclose(whole, joined, atol=1e-12)
    for i, state in enumerate(final if cell == "LSTM" else [final]):
        ends = [pieces[1][1], pieces[3][1]]
        expected = torch.cat([end[i] if cell == "LSTM" else end for end in ends], 1)
        assert torch.allclose(state, expected, atol=1e-12)
    weights = torch.randn_like(whole)
    inputs = [x, *ours.parameters()]
    got = torch.autograd.grad((whole * weights).sum(), inputs)
    expected = torch.autograd.grad((joined * weights).sum(), [x, *theirs.parameters()])
    assert_close(list(got), list(expected), 1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch(cell: str, batch_first: bool) -> None:
    theirs, ours = pair((cell, 2, True, True, batch_first, torch.float64))
    x = torch.randn(T, I, dtype=torch.float64)
    states = tuple(torch.randn(4, H, dtype=torch.float64) for _ in range(2))
    for hx in (None, states if cell == "LSTM" else states[0]):
        (a, p), (b, q) = theirs(x, hx), ours(x, hx)
        assert a.shape == b.shape
        assert torch.allclose(a, b, atol=1e-12)
        for one, other in zip(
            p if cell == "LSTM" else [p], q if cell == "LSTM" else [q], strict=True
        ):
            assert one.shape == other.shape
            assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_batch(cell: str) -> None:
    theirs, ours = pair((cell, 2, True, True, True, torch.float32))
    for module in (theirs, ours):
        x = torch.zeros(0, T, I, requires_grad=True)
        output, final = module(x)
        assert output.shape == (0, T, 2 * H)
        state = final[0] if cell == "LSTM" else final
        assert state.shape == (4, 0, H)
        output.sum().backward()
        assert x.grad.shape == x.shape
        assert not any(p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_any_strides(cell: str) -> None:
    theirs, ours = pair((cell, 1, False, True, True, torch.float32))
    wide = torch.randn(I, 2 * T, B)
    x = wide.permute(2, 1, 0)[:, ::2]
    assert torch.allclose(ours(x)[0], theirs(x.contiguous())[0], atol=1e-6)
    with torch.no_grad():  # weights that are views, too
        for parameter in ours.parameters():
            if parameter.dim() == 2:
                parameter.data = parameter.t().contiguous().t()
    assert torch.allclose(ours(x)[0], theirs(x.contiguous())[0], atol=1e-6)


def test_some_weights_are_frozen() -> None:
    theirs, ours = pair(("GRU", 2, False, True, True, torch.float64))
    x = torch.randn(B, T, I, dtype=torch.float64)
    for module in (theirs, ours):
        module.weight_hh_l0.requires_grad_(False)
        module.bias_ih_l1.requires_grad_(False)
        module(x)[0].square().sum().backward()
    assert ours.weight_hh_l0.grad is None
    assert ours.bias_ih_l1.grad is None
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        if p.requires_grad:
            assert torch.allclose(p.grad, q.grad, atol=1e-12)


def test_both_biases_have_a_gradient_of_their_own() -> None:
    """They are equal, except those of a GRU's n."""
    for cell in CELLS:
        module = getattr(fastbptt.torch, cell)(I, H)
        module(torch.randn(T, B, I))[0].sum().backward()
        a, b = module.bias_ih_l0.grad, module.bias_hh_l0.grad
        assert a.data_ptr() != b.data_ptr()
        same = 2 * H if cell == "GRU" else len(a)
        assert torch.equal(a[:same], b[:same])
        assert cell != "GRU" or not torch.equal(a[same:], b[same:])
