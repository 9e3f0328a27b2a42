"""The core's threads for threadpoolctl, which limits those of BLAS and OpenMP too."""

from __future__ import annotations

import os

import threadpoolctl

from . import _core

_FILE = os.path.realpath(_core.__file__)


class _Controller(threadpoolctl.LibController):  # type: ignore[misc]
    user_api = internal_api = "fastbptt"
    filename_prefixes = (os.path.basename(_FILE).lower(),)
    check_symbols = ("get_num_threads",)

    def set_additional_attributes(self) -> None:
        # where check_symbols are looked for: another package may have a library of this name
        self.dynlib = _core if os.path.realpath(self.filepath) == _FILE else None

    def get_num_threads(self) -> int:
        return _core.get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        _core.set_num_threads(num_threads)

    def get_version(self) -> str:
        return _core.version


threadpoolctl.register(_Controller)
