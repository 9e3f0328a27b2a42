"""Weights in and out: PyTorch, Keras, ONNX."""

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
