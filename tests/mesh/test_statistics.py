"""The statistics of clients and peers about the same tasks."""

import os
import time

from tests.mesh import tasks
from tests.mesh.conftest import PATIENCE, eventually, joined
from tests.mesh.tasks import throw_if_odd
from woolexec import WorkerLostError


def test_client_knows_its_links_and_what_its_tasks_did_there(peer, tmp_path):
    with joined(peer) as pool:
        pool.submit(abs, 1).result(PATIENCE)
        held = [pool.submit(tasks.hold, tmp_path, str(number)) for number in range(2)]
        eventually(lambda: pool.statistics().tasks.running == 2)
        found = pool.statistics()
        [there] = found.peers
        assert there.address == peer.address
        assert (there.workers, there.outstanding, there.trouble) == (2, 2, "")
        assert 0 < there.round_trip < PATIENCE
        assert there.bytes_sent > 0
        assert there.bytes_received > 0
        assert found.workers == ()
        (tmp_path / "release").touch()
        for each in held:
            each.result(PATIENCE)
        [name] = [each for each in pool.statistics().functions if each.name == "abs"]
        assert (name.count, name.failures) == (1, 0)


def test_items_of_a_map_that_raise_at_a_peer_are_counted(peer):
    with joined(peer) as pool:
        assert len(list(pool.map(throw_if_odd, range(100), return_exceptions=True))) == 100
        [name] = [each for each in pool.statistics().functions if each.name == "throw_if_odd"]
        assert (name.count, name.failures) == (100, 50)


def test_task_that_was_lost_with_its_worker_at_a_peer_counts_as_lost_and_one_that_exceeds_its_timeout_as_failed(peer):
    with joined(peer) as pool:
        assert isinstance(pool.submit(os._exit, 3).exception(PATIENCE), WorkerLostError)
        assert isinstance(pool.with_options(timeout=0.1).submit(time.sleep, 60).exception(PATIENCE), TimeoutError)
        found = pool.statistics().tasks
        assert (found.lost, found.failed, found.returned) == (1, 1, 0)


def test_run_time_at_a_peer_is_the_moving_average_there(peer):
    with joined(peer) as pool:
        for _ in range(3):
            pool.submit(tasks.nap, 0.2).result(PATIENCE)
        [name] = [each for each in pool.statistics().functions if each.name == "nap"]
        assert name.run.min >= 0.2
        assert name.run.count == 3
