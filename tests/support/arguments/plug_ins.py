"""Entries of the files of audio plug-ins, in `fastbptt.interchange`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from effects import Each, Entry, Refused, With

import fastbptt
from fastbptt import interchange


def network(seed: int = 0) -> fastbptt.LSTM:
    return fastbptt.LSTM(1, 3, 1, seed=seed)


def read_nam(**arguments: Any) -> Any:
    for name, seed in (("a.nam", 0), ("b.nam", 1)):
        interchange.to_nam(network(seed), name, sample_rate=9000)
    return interchange.from_nam(**arguments)


def read_rtneural(**arguments: Any) -> Any:
    for name, seed in (("a.json", 0), ("b.json", 1)):
        interchange.to_rtneural(network(seed), name)
    interchange.to_rtneural(network(), "skip.json", skip=True)
    made = interchange.from_rtneural(**arguments)
    for path in Path().glob("*.json"):
        path.unlink()
    return made


NOTES = {"name": "loud"}
ENTRIES: dict[str, Entry] = {
    "interchange.to_nam": Entry(
        interchange.to_nam,
        {"model": network(), "path": "a.nam", "sample_rate": 9000},
        {
            "model": network(1),
            "path": "b.nam",
            "sample_rate": 8000,
            "metadata": NOTES,
            "skip": True,
        },
    ),
    "interchange.from_nam": Entry(
        read_nam, {"path": "a.nam"}, {"path": "b.nam", "dtype": "float64"}
    ),
    "interchange.to_rtneural": Entry(
        interchange.to_rtneural,
        {"model": network(), "path": "a.json"},
        {
            "model": network(1),
            "path": "b.json",
            "form": Each("torch", "guitarml"),
            "skip": Each(True, Refused(True, "skip is True", {"form": "torch"})),
            "sample_rate": Each(9000, Refused(9000, "sample_rate is 9000", {"form": "torch"})),
            "metadata": Each(NOTES, Refused(NOTES, "metadata is {", {"form": "guitarml"})),
        },
    ),
    "interchange.from_rtneural": Entry(
        read_rtneural,
        {"path": "a.json"},
        {
            "path": "b.json",
            "skip": Each(
                Refused(True, "in_skip is missing"),
                With(True, {"path": "skip.json"}),
            ),
            "layers": [0],
            "dtype": "float64",
        },
    ),
}
