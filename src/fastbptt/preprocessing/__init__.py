"""Preparing sequences for training: `Standardizer`, `Imputer`."""

from __future__ import annotations

from .imputer import Imputer
from .standardizer import Standardizer

__all__ = ["Imputer", "Standardizer"]
