"""Weights in and out: PyTorch, Keras, ONNX."""
