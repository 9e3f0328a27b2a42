"""Preparing sequences for training: `Standardizer`."""

from __future__ import annotations

from .standardizer import Standardizer

__all__ = ["Standardizer"]
