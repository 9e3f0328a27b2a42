"""Run the examples that are experiments; write their output into docs/experiments.md.

    python scripts/make_experiments.py                    # all of them, an hour or two
    python scripts/make_experiments.py video sentiment    # some
    python scripts/make_experiments.py long_memory --results memory.jsonl     # with options

Each table is between two comments, <!-- NAME --> and <!-- end of NAME -->. The script replaces it,
with the machine, the versions and the date. FASTBPTT_DATA names the folder of the data.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import platform
import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

from fastbptt.config import info

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "experiments.md"
EXPERIMENTS = {
    "time_series": ["examples/time_series.py"],
    "sentiment": ["examples/sentiment.py"],
    "video": ["examples/video.py"],
    "long_memory": ["examples/long_memory.py"],
}


def run(name: str, extra: list[str]) -> str:
    """Run one example; return the text between its comments."""
    command = EXPERIMENTS[name] + extra
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return f"{done.stdout.strip()}\n\n{provenance(command)}"


def provenance(command: list[str]) -> str:
    """Describe how and where a table was made."""
    machine = info()
    versions = [f"fastbptt {machine['fastbptt']}", f"NumPy {machine['numpy']}"]
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions.append(f"scikit-learn {metadata.version('scikit-learn')}")
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    text = (
        f"Made by `python {' '.join(command)}` on"
        f" {machine['processor']} ({machine['active']}, {threads}),"
        f" Python {platform.python_version()}, {', '.join(versions)},"
        f" {datetime.date.today().isoformat()}."
    )
    return textwrap.fill(text, width=120, break_long_words=False, break_on_hyphens=False)


def replace(page: str, name: str, content: str) -> str:
    """Put content between the comments of a name."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"{PAGE} has no comments <!-- {name} --> and <!-- end of {name} -->")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tables of docs/experiments.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    arguments, extra = parser.parse_known_args()
    for name in arguments.names:
        if name not in EXPERIMENTS:
            parser.error(f"NAME is {name}; expected one of {', '.join(EXPERIMENTS)}")
    if extra and len(arguments.names) != 1:
        parser.error(f"{' '.join(extra)}: options are for one example, after its name")
    for name in arguments.names or EXPERIMENTS:
        content = run(name, extra)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replace(page, name, content), encoding="utf-8")


if __name__ == "__main__":
    main()
