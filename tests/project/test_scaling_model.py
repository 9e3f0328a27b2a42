"""The model of a training step on many cores: its limits and its parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripts import load

SCRIPT = load("benchmarks/scaling.py")
RECORD = json.loads(SCRIPT.RECORD.read_text("utf-8"))
CONSTANTS = RECORD["constants"]


def case(name: str, **changes: Any) -> Any:
    return SCRIPT.PRESETS[name].with_(**changes)


def test_one_core_meets_nobody() -> None:
    for name in SCRIPT.SHAPES:
        parts = SCRIPT.parts(case(name), CONSTANTS, 1)
        assert parts["barriers"] == parts["start of the team"] == 0
        assert min(parts.values()) >= 0
        assert SCRIPT.predicted(case(name), CONSTANTS, 1) == pytest.approx(sum(parts.values()))


def test_a_team_is_limited_by_rows_and_work() -> None:
    assert SCRIPT.workers(case("large"), 128) == 128
    assert SCRIPT.workers(case("medium"), 128) == 64, "rows"
    assert SCRIPT.workers(case("tutorial"), 2) == 1, "work"
    assert SCRIPT.workers(case("stream"), 128) == 1
    bound = {cores: SCRIPT.predicted(case("medium"), CONSTANTS, cores) for cores in (64, 65, 128)}
    assert len(set(bound.values())) == 1


def test_no_number_of_cores_is_used_better_than_one() -> None:
    for name in SCRIPT.SHAPES:
        for cores in SCRIPT.CORES:
            assert SCRIPT.speed_up(case(name), CONSTANTS, cores) < 1.1 * cores


def test_a_larger_batch_takes_more_cores() -> None:
    few, many = case("medium", batch=64), case("medium", batch=1024)
    gains = [SCRIPT.speed_up(one, CONSTANTS, 128) for one in (few, many)]
    assert gains[1] > 1.5 * gains[0]


def test_splitting_units_pays_where_there_are_no_rows() -> None:
    stream, wide = case("stream"), case("stream", hidden=512)
    for one in (stream, wide):
        assert SCRIPT.speed_up(one, CONSTANTS, 2, True) > SCRIPT.speed_up(one, CONSTANTS, 2)
    assert SCRIPT.speed_up(wide, CONSTANTS, 8, True) > SCRIPT.speed_up(stream, CONSTANTS, 8, True)
    met = [SCRIPT.parts(stream, CONSTANTS, 2, units)["barriers"] for units in (False, True)]
    assert met[0] == 0 < met[1]
    assert met[1] > 2 * stream.time * CONSTANTS["barrier"]


def test_slower_barriers_cost_what_the_steps_say() -> None:
    slow = CONSTANTS | {"barrier": CONSTANTS["barrier"] + 1e-6}
    more = SCRIPT.predicted(case("neuro"), slow, 2) - SCRIPT.predicted(case("neuro"), CONSTANTS, 2)
    blocks = 200 // (512 // 64)  # time steps over those of a block of 512 rows
    assert more == pytest.approx((2 * blocks + 1) * 1e-6)


def test_the_tables_find_their_places() -> None:
    text = SCRIPT.PAGE.read_text("utf-8")
    with pytest.raises(ValueError, match="has no comments <!-- units -->"):
        SCRIPT.page(RECORD, text.replace("<!-- units -->", ""))
