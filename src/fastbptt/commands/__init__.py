"""The subcommands of ``fastbptt``, one module each.

A module has ``add(subparsers)``, which adds its parser and names, with ``set_defaults(run=...)``,
the function that does the work. Parsers come with every start of the program, so what the work
needs is imported where it is done.
"""

from __future__ import annotations

from typing import Final

#: The modules, in the order in which ``fastbptt --help`` lists them.
SUBCOMMANDS: Final = ("demo", "train", "predict", "report", "gallery", "bench", "info")
