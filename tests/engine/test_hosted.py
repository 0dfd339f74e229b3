"""Several engines in one thread."""

import os
import signal

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import WorkerLostError
from woolexec.engine.rounds import Rounds
from woolexec.mesh.server import tenant
from woolexec.mesh.server.peer import Peer


@pytest.fixture
def peer():
    with Peer(1, credentials=CREDENTIALS) as peer:
        yield peer


def test_engine_acts_only_when_something_concerns_it(peer, monkeypatch):
    with joined(peer) as one, joined(peer) as other:
        assert [pool.submit(abs, -1).result(PATIENCE) for pool in (one, other)] == [1, 1]
        engines = list(peer.engine.engines)
        acted = []
        step = Rounds.step
        monkeypatch.setattr(Rounds, "step", lambda rounds: acted.append(rounds) or step(rounds))
        for engine in engines:
            for _ in range(100):  # another one may have a timer of its own that is due just then
                acted.clear()
                peer.engine.loop.ask(engine.mark)
                assert engine._rounds in acted
                if set(acted) == {engine._rounds}:
                    break
            else:
                pytest.fail("another engine acts each time")


def test_bug_in_one_engine_fails_that_one_and_others_go_on(peer, caplog):
    with joined(peer) as one, joined(peer) as other:
        assert [pool.submit(abs, -1).result(PATIENCE) for pool in (one, other)] == [1, 1]
        engine = next(tenant.engine for tenant in peer._acceptor.tenants)
        peer.engine.loop.ask(lambda: engine.fail(RuntimeError("a bug")))
        failed, works = (one, other) if one.submit(abs, -1).exception(PATIENCE) else (other, one)
        with pytest.raises(WorkerLostError, match="the engine failed"):
            failed.submit(abs, -1).result(PATIENCE)
        assert works.submit(abs, -1).result(PATIENCE) == 1
    assert "an engine failed" in caplog.text


def test_bug_at_the_end_of_a_worker_fails_the_engine_of_its_client_and_others_go_on(peer, monkeypatch):
    with joined(peer) as one, joined(peer) as other:
        assert [pool.submit(abs, -1).result(PATIENCE) for pool in (one, other)] == [1, 1]
        supervisors = [engine._rounds.supervisor for engine in peer.engine.engines]
        failing = next(supervisor for supervisor in supervisors if supervisor.workers)

        def ended(number, exitcode):
            raise RuntimeError("a bug")

        monkeypatch.setattr(failing, "ended", ended, raising=False)
        for worker in list(failing.workers.values()):
            os.kill(worker.pid, signal.SIGKILL)
        eventually(lambda: failing.broken is not None)
        outcomes = [pool.submit(abs, -1).exception(PATIENCE) for pool in (one, other)]
        assert {type(outcome) for outcome in outcomes} == {WorkerLostError, type(None)}


def test_forked_child_keeps_no_descriptor_of_a_peer(peer):
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (engine,) = peer.engine.engines
        (worker,) = engine.scheduler.workers.values()
        pid = os.fork()
        if not pid:
            closed = worker.sock.fileno() == -1 and peer.engine.forks._server.socket.fileno() == -1
            peer.close()  # returns
            os._exit(0 if closed and peer.engine.forked else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_engine_is_gone_when_its_client_is(peer, monkeypatch):
    monkeypatch.setattr(tenant, "LINGER", 0.01)
    for _ in range(3):
        with joined(peer) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        eventually(lambda: not peer.engine.engines)
    assert peer.engine.seats.free == peer.engine.seats.count
    assert not peer.engine.seats._shares


def test_batches_of_the_workers_of_one_client_are_bounded_together(peer):
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (engine,) = peer.engine.engines
        (worker,) = engine.scheduler.workers.values()
        assert worker.reader.huge is engine._rounds.supervisor.huge_batches
