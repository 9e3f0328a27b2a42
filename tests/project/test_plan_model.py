"""The plan past these machines: its limits, and a simulation beside it."""

from __future__ import annotations

import json
import re

import pytest
from scripts import load

SCRIPT = load("benchmarks/plan.py")
RECORD = json.loads(SCRIPT.RECORD.read_text("utf-8"))


@pytest.mark.parametrize("units", SCRIPT.UNITS)
def test_one_core_does_one_model_after_the_other(units: int) -> None:
    each = SCRIPT.model_seconds(RECORD, units)
    assert each == RECORD["fit"] + SCRIPT.UPDATES * RECORD["steps"][str(units)]
    assert SCRIPT.sweep_seconds(RECORD, units, 1, 1000) == pytest.approx(1000 * each, rel=1e-3)


def test_what_is_left_of_a_model() -> None:
    mean, one = SCRIPT.longest_left(1)
    assert one == pytest.approx(mean, rel=1e-3), "the longest of one is its own"
    # E[x^2] / (2 E[x]) of times uniform from 1/2 to 3/2
    assert mean == pytest.approx((1 + 1 / 12) / 2, rel=1e-3)
    longest = [SCRIPT.longest_left(cores)[1] for cores in SCRIPT.CORES]
    assert longest == sorted(longest)
    assert longest[-1] < 1 + SCRIPT.SPREAD


def test_the_page_has_what_is_left_of_a_model() -> None:
    text = " ".join(SCRIPT.PAGE.read_text("utf-8").split())
    found = re.search(
        r"\$r\$ is ([\d.]+), and \$r_P\$ is ([\d.]+) on one core, (.*?): waiting", text
    )
    assert found
    others = re.findall(r"([\d.]+) on ([\d,]+)", found[3])
    assert [int(cores.replace(",", "")) for _, cores in others] == list(SCRIPT.CORES[1:])
    for value, cores in [(found[1], None), (found[2], "1"), *others]:
        own = SCRIPT.longest_left(1)[0]
        if cores is not None:
            own = SCRIPT.longest_left(int(cores.replace(",", "")))[1]
        assert value == f"{own:.2f}"


@pytest.mark.parametrize(("cores", "models"), [(1, 50), (2, 40), (16, 100), (128, 1000)])
def test_a_sweep_takes_as_long_as_in_the_simulation(cores: int, models: int) -> None:
    model = SCRIPT.sweep_seconds(RECORD, 5, cores, models)
    runs = [SCRIPT.simulated_sweep(RECORD, 5, cores, models, seed) for seed in range(20)]
    assert model == pytest.approx(sum(runs) / len(runs), rel=0.03)


@pytest.mark.parametrize("way", SCRIPT.NETWORKS)
@pytest.mark.parametrize("ranks", [1, 2, 16, 64])
def test_an_update_takes_as_long_as_in_the_simulation(way: str, ranks: int) -> None:
    found = [
        of(RECORD, "medium", way, ranks) for of in (SCRIPT.update_seconds, SCRIPT.simulated_update)
    ]
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_two_ranks_are_about_as_fast_as_the_model_says() -> None:
    for shape, found in RECORD["ranks"]["updates"].items():
        sums = SCRIPT.sums_seconds(RECORD, "shared", 2, SCRIPT.parameters(shape))
        assert found["alone"] + RECORD["rank"] + sums == pytest.approx(found["ranks"], rel=0.2)


def test_ranks_stop_to_pay_sooner_on_a_slower_network() -> None:
    cloud, cluster = SCRIPT.NETWORKS
    for shape in SCRIPT.SHAPES:
        limits = [SCRIPT.best_ranks(RECORD, shape, way) for way in (cloud, cluster)]
        assert 1 <= limits[0] <= limits[1] <= SCRIPT.PRESETS[shape].batch
    assert SCRIPT.best_ranks(RECORD, "large", cloud) > SCRIPT.best_ranks(RECORD, "small", cloud)


def test_the_tables_find_their_places() -> None:
    text = SCRIPT.PAGE.read_text("utf-8")
    with pytest.raises(ValueError, match="has no comments <!-- plan rates -->"):
        SCRIPT.page(RECORD, text.replace("<!-- plan rates -->", ""))
