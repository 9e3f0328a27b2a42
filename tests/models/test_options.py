"""Options of networks: one table, from which every constructor gets its signature."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import fastbptt
from fastbptt.models import _options

OWN = {
    "RNN": ["nonlinearity"],
    "GRU": ["reset_after"],
    "LSTM": ["forget_bias"],
    "LeakyRNN": ["nonlinearity", "formulation", "alpha", "learn_alpha"],
    "Recurrent": ["alpha", "learn_alpha"],
}
CLASSES = [getattr(fastbptt, name) for name in OWN]


@pytest.mark.parametrize("kind", CLASSES)
def test_signatures_show_every_option(kind: type[fastbptt.Recurrent]) -> None:
    found = inspect.signature(kind).parameters
    keywords = {n: p for n, p in found.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    own = OWN[kind.__name__]
    assert list(keywords) == [*own, *_options.DEFAULTS]
    assert {n: p.default for n, p in keywords.items() if n not in own} == _options.DEFAULTS
    assert keywords["num_layers"].annotation == "int"
    places = [n for n in found if n not in keywords]
    assert places[-3:] == ["input_size", "hidden_size", "output_size"]
    assert len(places) == 3 + (kind is fastbptt.Recurrent)


def test_defaults_and_types_name_the_same_options() -> None:
    assert list(_options.Options.__annotations__) == list(_options.DEFAULTS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastbptt.RNN(3, 4, layers=2), "RNN.__init__() got an unexpected keyword argument "
         "'layers'"),
        (lambda: fastbptt.GRU(3, 4, alpha=0.5), "GRU.__init__() got an unexpected keyword argument "
         "'alpha'"),
        (lambda: fastbptt.Recurrent("gru", 3, 4, reset_after=True), "Recurrent.__init__() got an "
         "unexpected keyword argument 'reset_after'"),
        (lambda: fastbptt.LSTM(3), "LSTM.__init__() missing 1 required positional argument: "
         "'hidden_size'"),
    ],
)  # fmt: skip
def test_unknown_and_missing_arguments_as_in_python(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message


class Tagged(fastbptt.GRU):
    def __init__(self, tag: str) -> None:
        self.tag = tag
        super().__init__(2, 3, 1, num_layers=2, dropout=0.5, seed=0)
        self.notes = [tag]


@pytest.mark.parametrize(
    "twin",
    [lambda m: m.copy(), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_keep_the_users_attributes_and_share_no_part(twin: Callable[[Any], Any]) -> None:
    model = Tagged("a")
    model.freeze("b_h")
    other = twin(model)
    assert (other.tag, other.notes) == ("a", ["a"])
    assert other.frozen == model.frozen == ("b_h",)
    assert vars(other).keys() == vars(model).keys()
    for name in ("_weights", "_engine", "_dropout_seeds", "_records"):
        assert getattr(other, name) is not getattr(model, name)
    assert other._engine is other._weights.engine
    assert other._weights.token is not model._weights.token
    again = twin(other)  # what was restored is not taken for the user's own
    again._weights.set(again._weights.get() + 1)
    assert (other.parameters.flat == model.parameters.flat).all()
