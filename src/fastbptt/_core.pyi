from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.floating[Any]]

compiler: str
version: str

class Tape:
    @property
    def outputs(self) -> _Array: ...
    @property
    def hidden(self) -> _Array: ...
    @property
    def final_state(self) -> _Array: ...
    @property
    def batch(self) -> int: ...
    @property
    def time(self) -> int: ...

class AdamState:
    step: int
    lr: float
    beta1: float
    beta2: float
    eps: float
    epsilon_hat: bool
    def __init__(self, m: _Array, v: _Array) -> None: ...

class Engine:
    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int,
        bias: bool,
        params: _Array,
    ) -> None: ...
    def forward(
        self,
        x: _Array,
        lengths: NDArray[np.int64] | None,
        h0: _Array | None,
        check_finite: bool,
    ) -> Tape: ...
    def backward(
        self,
        tape: Tape,
        d_outputs: _Array | None,
        d_final_state: _Array | None,
        grad: _Array | None,
        dx: _Array | None,
        dh0: _Array | None,
        check_finite: bool,
    ) -> None: ...
    def loss_and_grad(
        self,
        x: _Array,
        y: _Array | NDArray[np.int64],
        loss: str,
        steps: str,
        reduction: str,
        lengths: NDArray[np.int64] | None,
        h0: _Array | None,
        sample_weight: NDArray[np.float64] | None,
        check_finite: bool,
        grad: _Array | None,
        dx: _Array | None,
        dh0: _Array | None,
    ) -> float: ...
    def loss(
        self,
        x: _Array,
        y: _Array | NDArray[np.int64],
        loss: str,
        steps: str,
        reduction: str,
        lengths: NDArray[np.int64] | None,
        h0: _Array | None,
        sample_weight: NDArray[np.float64] | None,
        check_finite: bool,
    ) -> float: ...
    def train_step(
        self,
        x: _Array,
        y: _Array | NDArray[np.int64],
        loss: str,
        steps: str,
        reduction: str,
        lengths: NDArray[np.int64] | None,
        h0: _Array | None,
        sample_weight: NDArray[np.float64] | None,
        check_finite: bool,
        optimizer: AdamState,
        clip_norm: float,
    ) -> float: ...
    def adam_step(self, optimizer: AdamState, grad: _Array, check_finite: bool) -> None: ...
    def memory_needed(self, batch: int, time: int) -> int: ...
    def set_params(self, values: _Array) -> None: ...
    def get_params(self) -> _Array: ...

def layout(
    cell: str, input_size: int, hidden_size: int, output_size: int, bias: bool
) -> list[tuple[str, tuple[int, ...], int]]: ...
def backends() -> list[tuple[str, str, bool]]: ...
def active_backend() -> str: ...
def use_backend(name: str) -> None: ...
def proof_of_backend() -> str: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def tanh(x: _Array) -> _Array: ...
def multiply_add_rate(dtype: str, rounds: int) -> float: ...
def losses() -> list[str]: ...
def cells() -> list[str]: ...
