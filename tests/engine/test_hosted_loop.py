import os
import signal

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec.mesh.server.peer import Peer


def test_nothing_is_read_from_workers_until_everybody_lets_them_go_on():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool, joined(peer) as other:
        assert [each.submit(abs, -1).result(PATIENCE) for each in (pool, other)] == [1, 1]
        served = next(iter(peer._acceptor.served))
        engine, ask = served.engine, peer.engine.loop.ask
        ask(lambda: [engine.hold(who) for who in "ab"])
        futures = [each.submit(abs, -2) for each in (pool, other)]
        eventually(lambda: any(future.done() for future in futures))
        ask(lambda: engine.go_on("a"))
        assert sum(future.done() for future in futures) == 1
        ask(lambda: engine.go_on("b"))
        assert [future.result(PATIENCE) for future in futures] == [2, 2]


def test_worker_that_dies_while_nothing_is_read_is_replaced():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        engine, ask = served.engine, peer.engine.loop.ask
        ask(lambda: engine.hold("a"))
        (pid,) = engine.pids
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: pid not in engine.pids)
        ask(lambda: engine.go_on("a"))
        assert pool.submit(abs, -2).result(PATIENCE) == 2
