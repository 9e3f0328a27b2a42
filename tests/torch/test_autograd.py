"""The operators under autograd, tracing, copies and threads."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="fastbptt.torch needs PyTorch")

import fastbptt.torch  # noqa: E402
from fastbptt import _core  # noqa: E402
from fastbptt.torch import _operator  # noqa: E402

CELLS = ("RNN", "GRU", "LSTM")
RESETS = torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0]], dtype=torch.bool)
# torch's own code warns of what it will change
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def network(cell: str, **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"num_layers": 2, "batch_first": True, "dtype": torch.float64} | options
    return getattr(fastbptt.torch, cell)(3, 5, **options)


def data() -> Any:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)


def tape_address(output: Any) -> int:
    node = output.grad_fn
    return int(node.saved_tensors[0].data_ptr())


def is_gone(address: int) -> bool:
    up = torch.zeros(2, 4, 5, dtype=torch.float64)
    return _core.torch_backward(address, up, (None,), False, False, False) is None


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["states", "lengths and resets", "both directions"])
def test_gradients_are_derivatives(cell: str, kind: str) -> None:
    module = network(cell, bidirectional=kind == "both directions")
    more = {"lengths": [4, 2], "resets": RESETS} if kind == "lengths and resets" else {}
    count = (2 if cell == "LSTM" else 1) if kind == "states" else 0
    names = [name for name, _ in module.named_parameters()]

    def f(x: Any, *rest: Any) -> Any:
        hx = rest[:count] if count == 2 else rest[0] if count else None
        weights = dict(zip(names, rest[count:], strict=True))
        output, final = torch.func.functional_call(module, weights, (x, hx), more)
        return output, *(final if isinstance(final, tuple) else (final,))

    states = [torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    weights = [p.detach().clone().requires_grad_() for p in module.parameters()]
    x = data().requires_grad_()
    assert torch.autograd.gradcheck(f, (x, *states, *weights), fast_mode=True)


OPCHECK = [
    ("RNN", "states"),
    ("GRU", "lengths, resets, dropout"),
    ("LSTM", "packed"),
    ("LSTM", "states"),
    ("GRU", "no gradient"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "kind"), OPCHECK)
def test_torch_finds_the_operator_registered_as_it_should_be(cell: str, kind: str) -> None:
    module = network(cell)
    weights = [p.detach().clone() for p in module.parameters()]
    if kind != "no gradient":
        weights = [w.requires_grad_() for w in weights]
    count = (2 if cell == "LSTM" else 1) if kind in ("states", "packed") else 0
    states = [torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    x = data()
    lengths = batch_sizes = resets = seed = None
    dropout = 0.0
    if kind == "packed":
        x, batch_sizes = x.reshape(8, 3)[:6], torch.tensor([2, 2, 1, 1])
    elif kind.startswith("lengths"):
        lengths, resets, seed, dropout = torch.tensor([4, 2]), RESETS, torch.tensor([5]), 0.5
    keep = kind != "no gradient"
    arguments = (
        x, states, weights, lengths, batch_sizes, resets, seed, cell.lower(), 2, False, True,
        dropout, keep,
    )  # fmt: skip
    found = torch.library.opcheck(_operator.recurrent, arguments)
    assert set(found.values()) == {"SUCCESS"}, found


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_compiled_without_a_break(cell: str) -> None:
    torch._dynamo.reset()
    module = network(cell, dropout=0.3)
    module.eval()
    compiled = torch.compile(lambda x, **more: module(x, **more)[0].tanh(), fullgraph=True)
    for x, more in (
        (data(), {}),
        (torch.randn(3, 6, 3, dtype=torch.float64), {}),  # another shape
        (data(), {"lengths": torch.tensor([4, 1]), "resets": RESETS}),
    ):
        x.requires_grad_()
        inputs = [x, *module.parameters()]
        results = []
        for f in (compiled, lambda x, **more: module(x, **more)[0].tanh()):
            y = f(x, **more)
            results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
        for a, b in zip(*results, strict=True):
            assert torch.allclose(a, b, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(compiled(data()), module(data())[0].tanh())
    module.train()
    y = compiled(data())
    assert not torch.equal(y, compiled(data()))  # masks are drawn anew
    torch.autograd.grad(y.sum(), list(module.parameters()))


def test_the_tape_lives_as_long_as_the_graph() -> None:
    module = network("GRU")
    output, _ = module(data())
    address = tape_address(output)
    assert not is_gone(address)
    weights = list(module.parameters())
    first = torch.autograd.grad(output.sum(), weights, retain_graph=True)
    assert not is_gone(address)
    second = torch.autograd.grad(output.sum(), weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert is_gone(address)  # though the output is still there
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(output.sum(), weights)
    output, _ = module(data())
    address = tape_address(output)
    del output, _
    gc.collect()
    assert is_gone(address)


@pytest.mark.parametrize("cell", CELLS)
def test_tensors_by_way_of_capsules(cell: str) -> None:
    """As before PyTorch 2.10: the same numbers, and the same errors."""
    module, x = network(cell, bidirectional=True), data()
    h = torch.randn(4, 2, 5, dtype=torch.float64, requires_grad=True)
    inputs = [h, *module.parameters()]

    def run() -> list[Any]:
        output, _ = module(x.expand(3, -1, -1, -1)[1], (h, h) if cell == "LSTM" else h)
        return [output, *torch.autograd.grad(output[:, ::2].sum(), inputs)]

    expected = run()
    _core.use_tensors(None, *_operator._CAPSULES)
    try:
        got = run()
        with pytest.raises(RuntimeError, match=r"layout torch\.sparse_coo"):
            module(x.to_sparse())
    finally:
        _core.use_tensors(
            getattr(torch.Tensor, "__dlpack_c_exchange_api__", None), *_operator._CAPSULES
        )
    for a, b in zip(expected, got, strict=True):
        assert torch.equal(a, b)
        assert a.data_ptr() % 64 == 0


def test_gradients_in_batches_are_refused() -> None:
    module = network("GRU")
    output, _ = module(data())
    up = torch.ones(3, *output.shape, dtype=output.dtype)
    with pytest.raises(ValueError, match="as with is_grads_batched=True"):
        torch.autograd.grad(output, list(module.parameters()), up, is_grads_batched=True)


def test_a_tensor_left_over_from_a_transform_is_an_error() -> None:
    left: list[Any] = []
    torch.func.vmap(lambda x: (left.append(x), x)[1])(data()[None])
    with pytest.raises(RuntimeError, match="left over from a transform"):
        network("GRU")(left[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_nothing_is_kept_without_gradients(mode: Any) -> None:
    module = network("LSTM")
    expected = module(data())[0]
    with mode():
        output, (h, c) = module(data())
    assert torch.equal(output, expected)
    for tensor in (output, h, c):
        assert tensor.grad_fn is None
        assert not tensor.requires_grad
        assert tensor.is_inference() == (mode is torch.inference_mode)
    frozen = network("LSTM").requires_grad_(False)
    assert frozen(data())[0].grad_fn is None


def test_weights_may_change_between_the_passes() -> None:
    """The tape has those of the forward pass."""
    module = network("RNN")
    output, _ = module(data())
    expected = torch.autograd.grad(output.sum(), list(module.parameters()), retain_graph=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2.0)
    got = torch.autograd.grad(output.sum(), list(module.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_are_refused(cell: str) -> None:
    module, x = network(cell), data().requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        (gradient.square().sum() + module.weight_hh_l0.sum()).backward()


@pytest.mark.parametrize("cell", CELLS)
def test_copies_and_pickles(cell: str) -> None:
    module, x = network(cell, bidirectional=True), data()
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(buffer, weights_only=False),
    ):
        assert torch.equal(twin(x)[0], module(x)[0])
        with torch.no_grad():
            twin.weight_ih_l0.zero_()
        assert not torch.equal(twin(x)[0], module(x)[0])
        assert repr(twin) == repr(module)


def test_other_types_and_back() -> None:
    module = network("GRU")
    x = data()
    expected = module(x)[0]
    assert module.float()(x.float())[0].dtype == torch.float32
    assert torch.allclose(module.double()(x)[0], expected, atol=1e-6)
    meta = module.to("meta")(x.to("meta"))[0]
    assert meta.is_meta
    assert meta.shape == expected.shape


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("weights", [False, True])
def test_a_view_that_negates(cell: str, weights: bool) -> None:
    """As input, state, gradient and weight: its memory has the other sign."""
    module = network(cell)
    x, h, g = (
        torch.randn(shape, dtype=torch.complex128).conj().imag
        for shape in ((2, 4, 3), (2, 2, 5), (2, 4, 5))
    )
    assert x.is_neg()
    results = []
    if weights:
        w = torch.randn(module.weight_hh_l1.shape, dtype=torch.complex128).conj().imag
        expected = network(cell)
        with torch.no_grad():
            expected.weight_hh_l1.copy_(w)
        module.weight_hh_l1 = torch.nn.Parameter(w)
        assert module.weight_hh_l1.is_neg()
        assert torch.equal(module(data())[0], expected(data())[0])
    for views in ((x, h, g), tuple(view.resolve_neg() for view in (x, h, g))):
        hx = (views[1], views[1]) if cell == "LSTM" else views[1]
        output = module(views[0], hx)[0]
        results.append([output, *torch.autograd.grad(output, list(module.parameters()), views[2])])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_converted_while_a_weight_is_missing() -> None:
    """torch.nn allows that, too: whoever computes a weight deletes it and sets it again."""
    module, x = network("LSTM"), data()
    expected = module(x)[0]
    weight = module.weight_hh_l0
    del module.weight_hh_l0
    module.float()
    module.double()
    module.weight_hh_l0 = weight
    assert torch.allclose(module(x)[0], expected, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_several_threads_at_once(cell: str) -> None:
    module = network(cell)
    inputs = [torch.randn(3, 5 + i, 3, dtype=torch.float64) for i in range(6)]

    def gradients(x: Any) -> list[Any]:
        return list(torch.autograd.grad(module(x)[0].square().sum(), list(module.parameters())))

    expected = [gradients(x) for x in inputs]
    got: list[Any] = [None] * len(inputs)

    def work(i: int) -> None:
        for _ in range(20):
            got[i] = gradients(inputs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(expected, got, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp"])
def test_transforms_of_functions_are_refused(transform: str) -> None:
    module, x = network("GRU"), data()
    run = {
        "grad": lambda: torch.func.grad(lambda x: module(x)[0].sum())(x),
        "vmap": lambda: torch.func.vmap(lambda x: module(x)[0])(x[None]),
        "jvp": lambda: torch.func.jvp(lambda x: module(x)[0], (x,), (x,)),
    }[transform]
    with pytest.raises(RuntimeError, match=r"no rule for torch\.func's transforms"):
        run()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_tracers_see_the_operator() -> None:
    module, x = network("GRU"), data()
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(lambda x: module(x)[0])(x)
    assert any("recurrent" in str(node.target) for node in graph.graph.nodes)
    other = torch.randn_like(x)
    assert torch.allclose(graph(other), module(other)[0])
    traced = torch.jit.trace(module, (x,))  # which traces it a second time, without gradients
    assert torch.allclose(traced(other)[0], module(other)[0])


@pytest.mark.slow
def test_exported() -> None:
    module, x = network("LSTM"), data()
    program = torch.export.export(module, (x,))
    assert torch.allclose(program.module()(x)[0], module(x)[0])


def test_checkpointing_recomputes() -> None:
    from torch.utils.checkpoint import checkpoint

    module, x = network("LSTM", dropout=0.5), data()
    torch.manual_seed(3)
    expected = torch.autograd.grad(module(x)[0].sum(), list(module.parameters()))
    torch.manual_seed(3)
    output = checkpoint(lambda x: module(x)[0], x, use_reentrant=False)
    got = torch.autograd.grad(output.sum(), list(module.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


def test_a_copied_tape_is_an_error() -> None:
    module = network("RNN")
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        output, _ = module(data())
    with pytest.raises(RuntimeError, match="saved states of this pass are gone"):
        output.sum().backward()


def test_parametrized_weights() -> None:
    from torch.nn.utils import parametrizations

    module = network("GRU")
    plain = torch.nn.GRU(3, 5, 2, batch_first=True, dtype=torch.float64)
    plain.load_state_dict(module.state_dict())
    for one in (module, plain):
        parametrizations.weight_norm(one, "weight_hh_l0")
    x = data()
    assert torch.allclose(module(x)[0], plain(x)[0])
    module(x)[0].sum().backward()
    plain(x)[0].sum().backward()
    for p, q in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad)
