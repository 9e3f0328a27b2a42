"""The examples that `--help` shows, and the session of the README, run as they stand."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import FULL_GRID

from fastbptt import cli

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="without the source tree")
SECONDS = ("demo", "gallery", "bench", "report")  # tested on their own; here the gate runs them
