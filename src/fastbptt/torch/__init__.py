"""Modules for PyTorch: `RNN`, `GRU` and `LSTM`, computed by fastbptt's core.

They take the place of `torch.nn.RNN`, `torch.nn.GRU` and `torch.nn.LSTM` in a model that runs on
a CPU: the same arguments, outputs, parameters and state dicts. They need PyTorch 2.4 or later:
``pip install 'fastbptt[torch]'``.

>>> import torch
>>> from fastbptt.torch import LSTM
>>> lstm = LSTM(input_size=3, hidden_size=8, batch_first=True)
>>> output, (h_n, c_n) = lstm(torch.zeros(5, 20, 3))
>>> output.shape, h_n.shape
(torch.Size([5, 20, 8]), torch.Size([1, 5, 8]))
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastbptt.torch needs PyTorch, which is not installed: pip install 'fastbptt[torch]'"
    ) from error

from ._modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN"]
