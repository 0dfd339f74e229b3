from dataclasses import replace
from types import SimpleNamespace

from tests.full_statistics import FULL
from woolexec.observe.metric_table import NOTHING
from woolexec.observe.peer_source import PeerSource
from woolexec.statistics import PeerStatistics, TaskStatistics, WorkerStatistics


class Engine:
    """Stands in for the engine of one client."""

    def __init__(self, found):
        self.found = found

    def statistics(self):
        return self.found


def peer(*engines):
    links = PeerStatistics("", "", "", refused=3, bytes_sent=20, bytes_received=100)
    traffic = SimpleNamespace(statistics=lambda: links)
    acceptor = SimpleNamespace(traffic=traffic, places=SimpleNamespace(stays=SimpleNamespace(size=5000)))
    loop = SimpleNamespace(ask=lambda question, default: question())
    return SimpleNamespace(_acceptor=acceptor, engine=SimpleNamespace(loop=loop, engines=list(engines)))


def returned(count):
    workers = (WorkerStatistics(0, "", "idle"),)
    return replace(NOTHING, tasks=TaskStatistics(returned=count), workers=workers)


def test_clients_are_summed_with_the_links_and_what_stays_here():
    found = PeerSource(peer(Engine(returned(2)), Engine(returned(40)))).read()
    assert found["woolexec_tasks_finished"]["returned"] == 42
    assert found["woolexec_workers"]["idle"] == 2
    assert found["woolexec_refusals"] == {"": 3}
    assert found["woolexec_link_bytes"] == {"sent": 20, "received": 100}
    assert found["woolexec_values_bytes"] == {"": 5000}
    assert found["woolexec_engine_stall_seconds_max"][""] > 0


def test_a_client_that_leaves_keeps_its_counts_and_no_workers():
    there = peer(Engine(returned(2)), Engine(returned(40)))
    source = PeerSource(there)
    source.read()
    gone = there.engine.engines.pop()
    gone.found = returned(50)  # what it did after the last question
    there.engine.on_engine_end(gone)
    found = source.read()
    assert found["woolexec_tasks_finished"]["returned"] == 52
    assert found["woolexec_workers"]["idle"] == 1


def test_links_to_other_peers_are_counted_once_also_when_they_end():
    engine = Engine(replace(FULL, workers=()))
    there = peer(engine)
    source = PeerSource(there)
    before = source.read()["woolexec_link_bytes"]
    assert before == {"sent": 2020, "received": 100}
    there.engine.engines.clear()
    there.engine.on_engine_end(engine)
    assert source.read()["woolexec_link_bytes"] == before


def test_a_peer_that_has_ended_has_nothing_to_say():
    there = peer()
    there.engine.loop.ask = lambda question, default: default
    assert PeerSource(there).read()["woolexec_tasks_finished"]["returned"] == 0
