"""What the core says of a cell: it never changes, and each new model asks for it."""

from __future__ import annotations

from functools import cache

from . import _core

cell_info = cache(_core.cell_info)
