"""The requests of `woolexec top` to peers, over one link; tests/cli/test_top.py has pools on this machine."""

from concurrent.futures import CancelledError
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.cli.tasks import wait_for
from tests.faults.tasks import eventually
from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec import PeerRefusedError
from woolexec.cli.top_sources import PeerThere
from woolexec.mesh.server.peer import Peer


def there(peer):
    return PeerThere(peer.address, CREDENTIALS, PATIENCE)


def test_one_link_is_enough_to_see_what_runs_and_to_end_it(tmp_path):
    path = tmp_path / "go"
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool, there(peer) as asked:
        future = pool.submit(wait_for, path)
        assert eventually(path.with_suffix(".here").exists)
        (client,) = asked.clients()
        assert client.heading.endswith(f" at {peer.address}")
        (worker,) = [each for each in client.statistics.workers if each.task == "wait_for"]
        assert eventually(lambda: [each.pid for each in client.stacks()] == [worker.pid])
        (task,) = client.stacks()
        assert not client.cancel(replace(task, pid=task.pid + 1))
        assert not client.cancel(replace(task, task=task.task + 1))
        assert client.cancel(task)
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
        assert not client.cancel(task)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert peer.clients == 1


def test_a_peer_that_has_ended_and_one_that_is_there_again_are_asked_anew(tmp_path):
    address = f"unix:{tmp_path}/peer"
    with there(SimpleNamespace(address=address)) as asked:
        for _ in range(2):
            with pytest.raises(PeerRefusedError):
                asked.clients()
            with Peer(1, bind=address, credentials=CREDENTIALS):
                assert asked.clients() == asked.clients() != []


def test_a_peer_drains_although_somebody_looks():
    with Peer(1, credentials=CREDENTIALS) as peer, there(peer) as asked:
        asked.clients()
        peer.drain()
        assert eventually(lambda: peer.ended)
