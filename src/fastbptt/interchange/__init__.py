"""Networks from and to other libraries, with their weights to the bit: PyTorch, Keras, ONNX.

What the other side cannot hold is refused by name. No other package is imported before it is
needed, and none is needed for ONNX files.
"""

from __future__ import annotations

from .keras_layers import from_keras, to_keras, to_keras_weights
from .nam import from_nam, to_nam
from .onnx_reading import from_onnx
from .onnx_writing import to_onnx
from .rtneural import from_rtneural, to_rtneural
from .torch_weights import from_torch, to_torch

__all__ = [
    "from_keras",
    "from_nam",
    "from_onnx",
    "from_rtneural",
    "from_torch",
    "to_keras",
    "to_keras_weights",
    "to_nam",
    "to_onnx",
    "to_rtneural",
    "to_torch",
]
