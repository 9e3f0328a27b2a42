"""Networks from and to PyTorch, with and without PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exchanged import STRUCTURES, cells, close, inputs, network, same

import fastbptt
from fastbptt.interchange import from_torch, to_torch
from fastbptt.interchange.layouts import LAYOUTS, to_library
from fastbptt.interchange.parts import ending, parts_of

KINDS = {"rnn": "RNN", "relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
NONLINEARITY = {"rnn": "tanh", "relu": "relu"}


def of_arrays(model: fastbptt.Recurrent) -> dict[str, Any]:
    """Write a state_dict by hand, of arrays."""
    parts, state = parts_of(model), {}
    for number, layer in enumerate(parts.layers):
        for direction, own in enumerate(layer):
            how = LAYOUTS["torch", model.cell]
            for name, array in zip(how.arrays, to_library(how, own), strict=False):
                suffix = ending(number, direction) if number else "_l0" + ending(0, direction)
                state[f"net.body.{name}{suffix}"] = array
    if parts.W_hy is not None:
        state["fc.weight"] = parts.W_hy.T
    if parts.b_y is not None:
        state["fc.bias"] = parts.b_y
    if parts.E is not None:
        state["table.weight"] = parts.E
    return state


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("cell", cells("torch"))
def test_a_state_dict_of_arrays_to_the_bit(cell: str, structure: str) -> None:
    options = {"nonlinearity": NONLINEARITY[cell]} if cell in NONLINEARITY else {}
    model = network(cell, structure, dropout=0.0)
    assert same(from_torch(of_arrays(model), **options), model)


def changed(change: str) -> dict[str, Any]:
    state = of_arrays(network("lstm", "deep"))
    key, _, value = change.partition("=")
    if value == "gone":
        del state[key]
    else:
        state[key] = {"nan": np.full((16, 3), np.nan), "wide": np.zeros((16, 9)),
                      "text": "text", "whole": np.zeros((16, 3), int),
                      "vector": np.zeros(4), "cube": np.zeros((2, 2, 2))}[value]  # fmt: skip
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("net.body.bias_hh_l1=gone", r"source lacks net\.body\.bias_hh_l1"),
        ("net.body.weight_ih_l0=gone", "has no key that ends in weight_ih_l0"),
        ("net.body.bias_ih_l7=vector", r"has unknown net\.body\.bias_ih_l7"),
        ("net.body.weight_hr_l0=cube", r"has net\.body\.weight_hr_l0; .* proj_size"),
        ("h0=vector", "source has unknown h0"),
        ("norm.weight=vector", r"has unknown norm\.weight"),
        ("net.body.weight_ih_l0=nan", r"net\.body\.weight_ih_l0 holds a value that is not finite"),
        ("net.body.weight_ih_l1=wide", "layer 1 reads 9 features; expected 4"),
        ("net.body.weight_ih_l0=text", r"weight_ih_l0 has dtype"),
        ("net.body.weight_ih_l0=whole", r"weight_ih_l0 has dtype int64"),
        ("fc.weight=wide", r"fc\.bias has shape \(2,\); expected \(16,\)"),
        ("other.weight=wide", "is None, and other"),
    ],
)
def test_a_state_dict_with_faults_names_the_keys(change: str, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        from_torch(changed(change))


def test_arguments_that_a_state_dict_needs_or_not() -> None:
    rnn, lstm = of_arrays(network("rnn", "readout")), of_arrays(network("lstm", "readout"))
    for source, options, words in (
        (rnn, {}, 'nonlinearity is None, .*expected "tanh" or "relu"'),
        (lstm, {"nonlinearity": "tanh"}, 'nonlinearity is "tanh", but the weights are of 4 gates'),
        (lstm, {"logits": True}, "logits is True, but source has no Sigmoid"),
        (lstm, {"recurrent": "gru"}, "recurrent is 'gru'; expected net.body"),
        (lstm, {"readout": "head"}, "readout is 'head'"),
        (lstm, {"embedding": 3}, "embedding is 3; expected the name of a module"),
        (lstm | {"b.weight_ih_l0": np.zeros((4, 3))}, {}, "recurrent is None, but there are sev"),
        (3, {}, "source is of type int; expected a torch.nn.Module or a state_dict"),
        ("m.pt", {}, r"source is of type str; .*such as torch.load\(source\) of a file"),
        ({"epoch": 3, "net": lstm}, {}, r"among epoch, net; expected .*: source\['net'\] has them"),
        ({3: 4}, {}, "source has the key 3; expected text"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            from_torch(source, **options)  # type: ignore[arg-type]
    square = {"weight_ih_l0": np.ones((16, 4)), "weight_hh_l0": np.ones((16, 4)),
              "m.weight": np.ones((5, 4))}  # fmt: skip
    with pytest.raises(ValueError, match=r'expected readout="m" or embedding="m"'):
        from_torch(square)
    assert from_torch(square, readout="m").output_size == 5
    assert from_torch(square, embedding="m").vocabulary_size == 5


# ---------------------------------------------------------------- PyTorch


def module_of(model: fastbptt.Recurrent) -> Any:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    nn = torch.nn
    options = {"nonlinearity": NONLINEARITY[model.cell]} if model.cell in NONLINEARITY else {}

    class Net(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = getattr(nn, KINDS[model.cell])(
                3, 4, num_layers=model.num_layers, bidirectional=model.bidirectional,
                bias=model.bias, dropout=model.dropout, batch_first=True, **options,
            )  # fmt: skip
            if model.vocabulary_size:
                self.table = nn.Embedding(model.vocabulary_size, 3)
            if model.output_size:
                width = 4 * (1 + model.bidirectional)
                self.fc = nn.Linear(width, model.output_size, bias=model.output_bias)

        def forward(self, x: Any) -> Any:
            y, _ = self.body(self.table(x) if model.vocabulary_size else x)
            return self.fc(y) if model.output_size else y

    return Net().to(getattr(torch, model.dtype.name)).eval()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("cell", cells("torch"))
def test_round_trip_and_outputs(cell: str, structure: str) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    for dtype in ("float32", "float64"):
        model = network(cell, structure, dtype=dtype)
        net = module_of(model)
        assert to_torch(model, net) is net
        assert same(from_torch(net), model)
        names = {"recurrent": "body", "readout": "fc", "embedding": "table"}
        state = to_torch(model, **names)
        assert net.load_state_dict(state, strict=True) is not None
        x = inputs(model)
        got = net(torch.tensor(x)).detach().numpy()
        assert close(got, model.forward(x).outputs)


def test_a_recurrent_module_alone() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    model = network("gru", "plain")
    gru = torch.nn.GRU(3, 4)
    gru.load_state_dict(to_torch(model))
    assert same(from_torch(gru), model)
    assert gru.bias_hh_l0[:8].abs().max() == 0
    assert (gru.bias_hh_l0[8:].detach().numpy() == model.parameters["b_hn"]).all()


def test_two_biases_of_pytorch_give_its_outputs() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    for kind in ("RNN", "GRU", "LSTM"):
        torch.manual_seed(0)
        net = getattr(torch.nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        x = torch.randn(3, 6, 3)
        assert close(from_torch(net).forward(x.numpy()).outputs, net(x)[0].detach().numpy())


def test_half_precision_is_exact_in_float32() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    for dtype in (torch.float16, torch.bfloat16):
        net = torch.nn.LSTM(3, 4, bias=False).to(dtype)
        model = from_torch(net)
        assert model.dtype == np.float32
        assert (net.weight_hh_l0.detach().float().numpy() == model.parameters["W_hh"].T).all()


def test_modules_without_counterpart() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    nn = torch.nn
    lstm = nn.LSTM(3, 4)
    for module, words in (
        (nn.LSTM(3, 4, proj_size=2), "proj_size=2"),
        (nn.Sequential(lstm, nn.ReLU(), nn.Linear(4, 1)), r"source has 1 \(ReLU\)"),
        (nn.Sequential(nn.Linear(3, 3), lstm, nn.Linear(4, 1)), "readout is None, but there are"),
        (nn.Sequential(lstm, nn.GRU(4, 4)), "recurrent is None, but there are several: 0, 1"),
        (nn.Linear(3, 4), "source has no recurrent module"),
        (nn.Sequential(nn.Embedding(5, 3, max_norm=1.0), lstm), "max_norm=1.0 in 0"),
        (nn.Sequential(lstm, nn.Linear(4, 1), nn.Sigmoid()), "logits is False"),
    ):
        with pytest.raises(ValueError, match=words):
            from_torch(module)
    ended = nn.Sequential(lstm, nn.Linear(4, 1), nn.Sigmoid())
    assert from_torch(ended, logits=True).output_size == 1
    with pytest.warns(UserWarning, match=r"1 \(Dropout\) is left out"):
        from_torch(nn.Sequential(lstm, nn.Dropout(0.5), nn.Linear(4, 1)))
    padded = nn.Sequential(nn.Embedding(5, 3, padding_idx=2), nn.LSTM(3, 4))
    assert from_torch(padded).padding_index == 2
    with pytest.raises(ValueError, match="nonlinearity is 'tanh', but source is a module"):
        from_torch(nn.RNN(3, 4), nonlinearity="tanh")


def test_what_does_not_fit_into_a_module() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    nn = torch.nn
    model = network("rnn", "plain")
    for module, words in (
        (nn.RNN(3, 4, nonlinearity="relu"), 'is an RNN of nonlinearity "relu"'),
        (nn.RNN(3, 4, device="meta"), "on the meta device, .* by into.to_empty"),
        (nn.RNN(3, 4).half(), "has torch.float16 in weight_ih_l0, which cannot hold float32"),
        ("rnn", "into is of type str"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            to_torch(model, module)  # type: ignore[arg-type]
    other = nn.RNN(2, 4)
    before = other.weight_hh_l0.clone()
    with pytest.raises(RuntimeError, match="size mismatch"):
        to_torch(model, other)
    assert torch.equal(other.weight_hh_l0, before)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        to_torch(network("rnn", "readout"), nn.RNN(3, 4))
    without = network("rnn", "plain", bias=False)
    assert to_torch(without, nn.RNN(3, 4)).bias_ih_l0.abs().max() == 0


@pytest.mark.parametrize("cell", [one for one in fastbptt.cells() if one not in KINDS])
def test_cells_that_pytorch_does_not_have(cell: str) -> None:
    with pytest.raises(ValueError, match=f'the cell "{cell}", which PyTorch does not have'):
        to_torch(
            fastbptt.Recurrent(
                cell, 3, 4, seed=0, **({"alpha": 0.5} if cell.startswith("leaky") else {})
            )
        )


def test_states_that_pytorch_does_not_have() -> None:
    for options, words in (
        ({"learn_initial_state": True}, "model has learn_initial_state=True, which PyTorch"),
        ({"static_size": 2}, "model has static_size=2, which PyTorch does not have"),
    ):
        with pytest.raises(ValueError, match=words):
            to_torch(network("lstm", "readout", **options))


def test_options_of_training_are_left_out() -> None:
    pytest.importorskip("torch", reason="needs PyTorch")
    model = fastbptt.RNN(2, 4, 1, recurrent_noise=0.2, recurrent_dropout=0.1, seed=0)
    with pytest.warns(
        UserWarning, match=r"^recurrent_dropout=0.1 and recurrent_noise=0.2 left out"
    ) as caught:
        fastbptt.interchange.to_torch(model)
    assert caught[0].filename == __file__
    with pytest.raises(fastbptt.ArgumentError, match=r"has zoneout=0\.1"):
        fastbptt.interchange.to_torch(fastbptt.GRU(2, 4, 1, zoneout=0.1))
