"""The description of each cell by the core, which never changes: each new model asks for it."""

from __future__ import annotations

from functools import cache

from . import _core

cell_info = cache(_core.cell_info)
