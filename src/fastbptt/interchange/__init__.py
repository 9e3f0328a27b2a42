"""Networks from and to other libraries, with their weights to the bit: PyTorch, Keras, ONNX.

What the other side cannot hold is refused by name. No other package is imported before it is
needed, and none is needed for ONNX files.
"""

from __future__ import annotations

from .keras_layers import from_keras, to_keras, to_keras_weights
from .onnx_reading import from_onnx
from .onnx_writing import to_onnx
from .torch_weights import from_torch, to_torch

__all__ = [
    "from_keras",
    "from_onnx",
    "from_torch",
    "to_keras",
    "to_keras_weights",
    "to_onnx",
    "to_torch",
]
