"""A peer: where it listens, which clients it serves, and how it is drained."""

import contextlib
import os
import subprocess
import sys

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, free_port, joined
from woolexec import PeerStartError
from woolexec.mesh.server.peer import Peer


def test_peer_listens_on_tcp(tmp_path):
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert peer.address.startswith("127.0.0.1:")
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_second_peer_at_the_same_port_is_refused():
    here = "127.0.0.1:0"
    with Peer(1, bind=here, credentials=CREDENTIALS) as peer, pytest.raises(PeerStartError, match="another peer"):
        Peer(1, bind=peer.address, credentials=CREDENTIALS)


def test_several_clients_share_a_peer(peer):
    with joined(peer) as one, joined(peer) as two:
        eventually(lambda: peer.clients == 2)
        futures = [(pool.submit(divmod, n, 7), n) for n in range(500) for pool in (one, two)]
        assert all(future.result(PATIENCE) == divmod(n, 7) for future, n in futures)
    eventually(lambda: peer.clients == 0)


def test_draining_peer_ends_when_its_tasks_are_done_and_the_rest_goes_elsewhere(tmp_path):
    with contextlib.ExitStack() as stack:
        leaving, staying = [stack.enter_context(Peer(1, credentials=CREDENTIALS)) for _ in range(2)]
        pool = stack.enter_context(joined(leaving, staying))
        held = [pool.submit(tasks.hold, tmp_path, str(n)) for n in range(2)]
        eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        waiting = [pool.submit(divmod, n, 7) for n in range(50)]
        leaving.drain()
        assert not leaving.ended
        (tmp_path / "release").touch()
        assert len({future.result(PATIENCE) for future in held}) == 2
        assert [future.result(PATIENCE) for future in waiting] == [divmod(n, 7) for n in range(50)]
        eventually(lambda: leaving.ended)
        assert pool.submit(os.getpid).result(PATIENCE) in staying.engine.pids


@pytest.mark.slow
def test_rolling_drain_under_load_fails_no_task():
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    peers = [Peer(1, bind=address, credentials=CREDENTIALS) for address in addresses]
    try:
        with joined(*addresses, timeout=PATIENCE) as pool:
            futures = [pool.submit(tasks.pid_after, 0.002) for _ in range(600)]
            for number, address in enumerate(addresses):
                eventually(lambda number=number: sum(future.done() for future in futures) > 150 * (number + 1))
                peers[number].drain()
                eventually(lambda number=number: peers[number].ended)
                peers[number].close()
                peers[number] = Peer(1, bind=address, credentials=CREDENTIALS)
            for future in futures:
                future.result(PATIENCE)
    finally:
        for peer in peers:
            peer.close()


def test_client_that_is_killed_leaves_nothing_running(peer, tmp_path):
    code = (
        "import sys; from woolexec import Credentials, PeerPoolExecutor; from tests.mesh import tasks\n"
        f"pool = PeerPoolExecutor(peers={peer.address!r}, credentials=Credentials({CREDENTIALS.token!r}))\n"
        f"futures = [pool.submit(tasks.hold, {str(tmp_path)!r}, str(n)) for n in range(2)]\n"
        "futures[0].result()"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        busy = set(peer.engine.pids)
        process.kill()
    eventually(lambda: not busy & set(peer.engine.pids))
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
