"""Run the examples that are experiments; keep their output, and write it into docs/experiments.md.

    python scripts/make_experiments.py                    # all of them, some hours
    python scripts/make_experiments.py video sentiment    # some
    python scripts/make_experiments.py long_memory --results memory.jsonl     # with options

Each table is between two comments, <!-- NAME --> and <!-- end of NAME -->. The script replaces it,
with the machine, the versions and the date. docs/experiments.json records the runs: a test compares
the page with it, the numbers in its sentences too. FASTBPTT_DATA names the folder of the data; the
folder of IMDB is aclImdb in the root of the repository, which may be a link.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import platform
import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import Any

from fastbptt.config import info

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "experiments.md"
RECORD = PAGE.with_suffix(".json")
EXPERIMENTS = {
    "time_series": ["examples/time_series.py"],
    "sentiment": ["examples/sentiment.py"],
    "imdb": ["examples/sentiment.py", "--imdb", "aclImdb"],
    "imdb_speed": ["benchmarks/sentiment_speed.py", "--imdb", "aclImdb"],
    "video": ["examples/video.py"],
    "long_memory": ["examples/long_memory.py"],
}


def run(name: str, extra: list[str]) -> dict[str, Any]:
    """Run one example; return the record of the run."""
    command = EXPERIMENTS[name] + extra
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return {"output": done.stdout.strip().splitlines(), "made": provenance(command)}


def block(record: dict[str, Any]) -> str:
    """Return the text between the comments."""
    made = textwrap.fill(record["made"], width=120, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*record["output"], "", made])


def provenance(command: list[str]) -> str:
    """Describe how and where a table was made."""
    machine = info()
    versions = [f"fastbptt {machine['fastbptt']}", f"NumPy {machine['numpy']}"]
    for title, package in (("scikit-learn", "scikit-learn"), ("PyTorch", "torch")):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{title} {metadata.version(package)}")
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return (
        f"Made by `python {' '.join(command)}` on"
        f" {machine['processor']} ({machine['active']}, {threads}),"
        f" Python {platform.python_version()}, {', '.join(versions)},"
        f" {datetime.date.today().isoformat()}."
    )


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
        record = run(name, extra)
        records = json.loads(RECORD.read_text(encoding="utf-8")) | {name: record}
        ordered = {one: records[one] for one in EXPERIMENTS if one in records}
        RECORD.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replace(page, name, block(record)), encoding="utf-8")


if __name__ == "__main__":
    main()
