"""
The guarantees of `docs/placement.md` about the default placement, in simulations of a few seconds.

`make test` simulates peers of many workers, `make test-slow` all scenarios.
`make sim` runs more and larger ones, and draws them.
"""

from collections import Counter
from random import Random

import pytest

from tests.marks import slow
from tests.sim.__main__ import Blind
from tests.sim.model import Scenario, World, ideal
from woolexec.core.policies import LeastOutstanding, RoundRobin

# They compute for up to half a minute, and others may take the processor meanwhile.
pytestmark = pytest.mark.timeout(300)

TASKS = 10_000
SCENARIOS = {
    "load 0.7": Scenario(load=0.7, tasks=TASKS),
    "load 0.9": Scenario(tasks=TASKS),
    "heavy tails": Scenario(heavy=True, tasks=TASKS),
    "clients of different sizes": Scenario(uneven=True, load=0.7, tasks=TASKS),
    "peers of many workers": Scenario(width=50, links=20, tasks=TASKS),
    "short tasks": Scenario(mean=0.1, tasks=TASKS),
    "many small clients": Scenario(clients=200, tasks=30_000),
}
SHORT = "peers of many workers"


def each_of(names):
    return [pytest.param(name, marks=[pytest.mark.slow] if name != SHORT else []) for name in names]


@pytest.fixture(scope="module", params=each_of(SCENARIOS))
def pair(request):
    scenario = SCENARIOS[request.param]
    return World(scenario).run(), ideal(scenario)


@pytest.mark.slow
def test_slow_ones_are_at_most_twice_as_slow_as_with_one_queue_for_all(pair):
    ours, best = pair
    assert ours.percentile(0.99) <= 2 * best.percentile(0.99)


@pytest.mark.slow
def test_a_task_takes_few_messages(pair):
    ours, _ = pair
    assert 2 <= ours.messages_per_task <= 6


@pytest.mark.parametrize("pair", each_of(name for name in SCENARIOS if name != "heavy tails"), indirect=True)
def test_no_client_waits_much_longer_than_others(pair):
    ours, best = pair
    assert ours.unfairness <= max(1.5, 1.05 * best.unfairness)  # chance alone does that with one queue as well


@pytest.mark.slow
def test_heavy_tails_make_no_client_wait_longer_than_chance_does():
    scenarios = [Scenario(heavy=True, tasks=TASKS, seed=seed) for seed in range(1, 5)]
    ours = sum(World(scenario).run().unfairness for scenario in scenarios)
    assert ours <= 1.05 * sum(ideal(scenario).unfairness for scenario in scenarios)  # of one world it says little


@pytest.mark.parametrize("pair", each_of(["many small clients"]), indirect=True)
def test_many_small_clients_wait_little_longer_than_with_one_queue_for_all(pair):
    ours, best = pair
    assert ours.percentile(0.99) <= 1.2 * best.percentile(0.99)


def test_burst_of_one_client_gets_its_share_of_peers_that_another_one_fills():
    random = Random(3)
    ours = [(0.1, 1, 1.0)] * 64
    others = [(0.0, 0, random.uniform(0.25, 0.75)) for _ in range(1000)]
    scenario = Scenario(workers=64, width=16, clients=2, links=4, mixed=False, tasks=len(ours) + len(others))
    outcome = World(scenario).run([*ours, *others])
    assert max(outcome.by_client[1]) < 3.0  # half of the workers take two seconds for it
    assert outcome.messages_per_task <= 6


@pytest.mark.slow
def test_every_task_ends_while_peers_die_and_come_back():
    scenario = Scenario(workers=100, clients=10, links=20, deaths=0.01, tasks=5000)
    world = World(scenario)
    outcome = world.run()
    assert len(outcome.times) == scenario.tasks
    assert not all(peer.life == 0 for peer in world.peers)
    assert all(not place.outstanding for client in world.clients for place in client.places.values())
    assert all(client.group.queue.head() is None for client in world.clients)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RoundRobin, *slow(LeastOutstanding)])
def test_other_policies_end_every_task_too(policy):
    scenario = Scenario(workers=100, clients=10, tasks=3000)
    assert len(World(scenario, policy).run().times) == scenario.tasks


@pytest.mark.slow
def test_the_same_seed_gives_the_same_world():
    scenario = Scenario(workers=100, clients=10, tasks=1000)
    one, other = World(scenario).run(), World(scenario).run()
    assert one.times == other.times
    assert one.messages == other.messages
    assert one.times != World(Scenario(workers=100, clients=10, tasks=1000, seed=2)).run().times


def test_one_slow_peer_of_many_gets_no_more_than_its_share():
    scenario = Scenario(workers=20, clients=4, links=20, load=0.5, mixed=False, tasks=4000)
    world = World(scenario)
    slow = world.peers[0]
    slow.idle, slow.whole = [10.0], [10.0]
    ended = Counter()
    for peer in world.peers:
        peer.end = lambda *args, peer=peer, end=peer.end: (ended.update([peer.number]), end(*args))
    world.run()
    assert ended[0] < sum(ended.values()) / 20 / 2


def test_tasks_go_where_their_values_are_while_places_are_free():
    scenario = Scenario(workers=40, width=10, clients=2, links=4, load=0.4, tasks=2_000, values=10)
    ours, blind = World(scenario).run(), World(scenario, Blind).run()
    assert ours.moved < blind.moved / 2
    assert ours.percentile(0.99) <= 1.1 * blind.percentile(0.99)


def test_chains_stay_where_their_outcomes_are_while_places_are_free():
    scenario = Scenario(workers=40, width=10, clients=2, links=4, load=0.5, tasks=2_000, chain=10)
    ours, blind, best = World(scenario).run(), World(scenario, Blind).run(), ideal(scenario)
    assert len(ours.times) == len(best.times) == 2_000
    assert ours.moved < blind.moved / 10
    assert ours.percentile(0.99) <= 1.1 * min(blind.percentile(0.99), best.percentile(0.99))
