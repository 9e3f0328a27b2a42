"""The table of threads of Python in docs/testing.md is that of the kept run."""

from __future__ import annotations

import json

from scripts import load

SCRIPT = load("benchmarks/python_threads.py")


def test_the_table_is_that_of_the_record() -> None:
    record, text = json.loads(SCRIPT.RECORD.read_text("utf-8")), SCRIPT.PAGE.read_text("utf-8")
    assert SCRIPT.page(record, text) == text
    free = [name for name in record if name.endswith("t")]
    assert free, "no free-threaded Python was measured"
    assert all(
        record[name][shape]["speed_up"] >= 1.9 for name in free for shape in ("neuro", "medium")
    )
