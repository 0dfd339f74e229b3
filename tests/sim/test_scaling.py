"""The guarantees of `docs/placement.md` about peers that are started on demand, in simulations of a second."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.sim.__main__ import scaling_rows
from tests.sim.scaling import WORKLOADS, Fleet, Workload, all_knowing

PAGE = Path(__file__).parents[2] / "docs/placement.md"

BAD_WEATHER = {
    "a third of the starts fail": Workload(calls=600, failing=0.33),
    "half of the peers never come": Workload(calls=600, never=0.5),
    "peers are lost after a minute": Workload(calls=600, losses=1 / 60),
    "all at once": Workload(calls=600, arrivals="bursts", failing=0.2, never=0.1, losses=1 / 300, start=60.0),
}


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", [*WORKLOADS, *BAD_WEATHER])
def test_all_calls_are_done_within_the_bounds_and_nothing_is_left(name, seed):
    workload = replace((WORKLOADS | BAD_WEATHER)[name], seed=seed)
    workload = replace(workload, calls=min(workload.calls, 600))
    fleet = Fleet(workload)
    bill = fleet.run()
    assert bill.done == workload.calls
    assert bill.most <= workload.most
    assert fleet.left == 0


@pytest.mark.parametrize("seed", range(5))
def test_floor_is_kept_when_nothing_is_to_do(seed):
    fleet = Fleet(Workload(calls=600, least=2, seed=seed))
    assert fleet.run().done == 600
    assert fleet.left == 2


@pytest.mark.parametrize("seed", range(5))
def test_load_that_stays_the_same_starts_and_stops_nothing_twice(seed):
    bill = Fleet(replace(WORKLOADS["5 calls in 3 s for half an hour"], seed=seed)).run()
    assert bill.starts == bill.most <= 6


@pytest.mark.parametrize("seed", range(5))
def test_gaps_shorter_than_the_timeout_cost_no_new_start(seed):
    bill = Fleet(Workload(arrivals="rare", calls=40, idle_timeout=120.0, seed=seed)).run()
    assert bill.starts == 1


@pytest.mark.parametrize("name", ["3,000 calls at once", "5 calls in 3 s for half an hour"])
def test_steady_work_costs_at_most_twice_what_an_all_knowing_policy_pays(name):
    assert Fleet(WORKLOADS[name]).run().paid < 2 * all_knowing(WORKLOADS[name]).paid


@pytest.mark.skipif(not PAGE.exists(), reason="beside the wheel there are only the tests")
def test_table_of_the_page_is_what_the_simulation_gives():
    assert scaling_rows() in PAGE.read_text(encoding="utf-8")
