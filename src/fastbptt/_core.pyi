from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.floating[Any]]
_Whole: TypeAlias = NDArray[np.int64]
_States: TypeAlias = tuple[_Array, ...]

compiler: str
version: str

class Spec:
    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int = 0,
        *,
        bias: bool = True,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        setting: float = 0.0,
        learn_state: bool = False,
        vocabulary: int = 0,
        padding_index: int = -1,
        freeze_embedding: bool = False,
        bfloat16: bool = False,
    ) -> None: ...
    @property
    def cell(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def bidirectional(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def setting(self) -> float: ...
    @property
    def learn_state(self) -> bool: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def padding_index(self) -> int: ...
    @property
    def freeze_embedding(self) -> bool: ...
    @property
    def bfloat16(self) -> bool: ...

class Tape:
    @property
    def outputs(self) -> _Array: ...
    @property
    def hidden(self) -> _Array: ...
    @property
    def last(self) -> _Array: ...
    @property
    def final_state(self) -> _States: ...
    @property
    def batch(self) -> int: ...
    @property
    def time(self) -> int: ...

class Sequences:
    @overload
    def __init__(self, sequences: list[NDArray[Any]]) -> None: ...
    @overload
    def __init__(self, sequences: NDArray[Any], lengths: _Whole | None = None) -> None: ...
    def gather(self, rows: _Whole, out: NDArray[Any], lengths: _Whole | None = None) -> None: ...
    def __len__(self) -> int: ...

class AdamState:
    step: int
    lr: float
    beta1: float
    beta2: float
    eps: float
    epsilon_hat: bool
    def __init__(self, m: _Array, v: _Array) -> None: ...

class Engine:
    def __init__(self, spec: Spec, params: _Array) -> None: ...
    def forward(
        self,
        x: _Array | _Whole,
        lengths: _Whole | None,
        initial: _States | None,
        dropout_key: int | None,
        check_finite: bool,
    ) -> Tape: ...
    def backward(
        self,
        tape: Tape,
        d_outputs: _Array | None,
        d_final: tuple[_Array | None, ...] | None,
        d_last: _Array | None,
        grad: _Array,
        dx: _Array | None,
        d_initial: _States | None,
        check_finite: bool,
    ) -> None: ...
    def loss(
        self,
        x: _Array | _Whole,
        y: _Array | _Whole,
        loss: str,
        steps: str,
        reduction: str,
        lengths: _Whole | None,
        initial: _States | None,
        sample_weight: NDArray[np.float64] | None,
        dropout_key: int | None,
        check_finite: bool,
    ) -> float: ...
    def loss_and_grad(
        self,
        x: _Array | _Whole,
        y: _Array | _Whole,
        loss: str,
        steps: str,
        reduction: str,
        lengths: _Whole | None,
        initial: _States | None,
        sample_weight: NDArray[np.float64] | None,
        dropout_key: int | None,
        check_finite: bool,
        grad: _Array,
        dx: _Array | None,
        d_initial: _States | None,
        memory_budget: int,
    ) -> float: ...
    def train_step(
        self,
        x: _Array | _Whole,
        y: _Array | _Whole,
        loss: str,
        steps: str,
        reduction: str,
        lengths: _Whole | None,
        initial: _States | None,
        sample_weight: NDArray[np.float64] | None,
        dropout_key: int | None,
        check_finite: bool,
        optimizer: AdamState,
        clip_norm: float,
        memory_budget: int,
        final: _States | None,
    ) -> float: ...
    def step(self, x: _Array | _Whole, state: _States, y: _Array, check_finite: bool) -> None: ...
    def adam_step(self, optimizer: AdamState, grad: _Array, check_finite: bool) -> None: ...
    def memory_needed(self, batch: int, time: int, memory_budget: int = 0) -> int: ...
    def minimum_memory(self, batch: int, time: int) -> int: ...
    def report(self) -> tuple[int, int, float, float]: ...
    def set_params(self, values: _Array) -> None: ...
    def get_params(self) -> _Array: ...

def layout(spec: Spec) -> list[tuple[str, tuple[int, ...], int]]: ...
def backends() -> list[tuple[str, str, bool]]: ...
def bfloat16_backends() -> list[str]: ...
def active_backend() -> str: ...
def use_backend(name: str) -> None: ...
def proof_of_backend() -> str: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def tanh(x: _Array) -> _Array: ...
def multiply_add_rate(dtype: str, rounds: int) -> float: ...
def losses() -> list[str]: ...
def cells() -> list[str]: ...
def cell_info(name: str) -> dict[str, Any]: ...
