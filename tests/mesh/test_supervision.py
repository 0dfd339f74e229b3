"""Peers that cannot start workers, temporarily or permanently."""

import errno
import os
import pickle
import signal
import time

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import NoPeersError, PeerPoolExecutor, WorkerStartError
from woolexec.engine import forks
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Settings, encode


def fork_server(peer):
    return peer.engine.forks._server.pid


@pytest.mark.linux
def test_two_clients_of_a_peer_whose_fork_server_is_stopped_lose_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(forks, "_LOOK", 0.05)
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        running = one.submit(tasks.hold, tmp_path, "held")
        eventually((tmp_path / "held").exists)
        pid = other.submit(os.getpid).result(PATIENCE)
        os.kill(fork_server(peer), signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        futures = [pool.submit(abs, -n) for n in range(20) for pool in (one, other)]
        assert [future.result(PATIENCE) for future in futures] == [n for n in range(20) for _ in range(2)]
        (tmp_path / "release").touch()
        assert running.result(PATIENCE)


class Broken:
    """Whether new fork servers can be started in this process."""

    def __init__(self, monkeypatch):
        self.is_so = False
        real = forks.ForkServer

        def make(*args, **options):
            if self.is_so:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return real(*args, **options)

        monkeypatch.setattr(forks, "ForkServer", make)

    def end_workers_of(self, peer):
        """From now on no worker can be started there, and there is none."""
        self.is_so = True
        os.kill(fork_server(peer), signal.SIGKILL)
        eventually(lambda: not peer.engine.pids)


@pytest.fixture
def broken(monkeypatch):
    return Broken(monkeypatch)


@pytest.fixture
def bad():
    with Peer(2, credentials=CREDENTIALS) as peer:
        yield peer


def test_tasks_over_a_peer_that_can_start_no_worker_and_one_that_can_all_succeed(bad, broken):
    with Peer(2, credentials=CREDENTIALS) as good, joined(bad, good) as pool:
        futures = [pool.submit(time.sleep, 0.01) for _ in range(20)]
        assert [future.result(PATIENCE) for future in futures] == [None] * 20
        eventually(lambda: bad.engine.pids and good.engine.pids)
        broken.end_workers_of(bad)
        futures = [pool.submit(abs, -n) for n in range(200)]
        assert [future.result(PATIENCE) for future in futures] == list(range(200))
        assert good._health.serving


def test_peer_that_can_start_no_worker_says_so_and_serves_again_when_it_can(bad, broken, caplog):
    caplog.set_level("INFO", "woolexec.peer")
    with joined(bad, timeout=PATIENCE) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        broken.end_workers_of(bad)
        waiting = [pool.submit(abs, -n) for n in range(20)]
        eventually(lambda: not bad._health.serving)
        assert not any(future.done() for future in waiting)
        reason = r"the peer cannot run tasks now: .*Resource temporarily unavailable"
        with PeerPoolExecutor(peers=bad.address, credentials=CREDENTIALS) as other:
            with pytest.raises(TimeoutError, match=reason):
                other.wait_for_peers(1, 0.5)
        broken.is_so = False
        assert [future.result(PATIENCE) for future in waiting] == list(range(20))
        eventually(lambda: bad._health.serving)
        with joined(bad) as other:
            assert other.submit(abs, -1).result(PATIENCE) == 1
    said = [record.about["event"] for record in caplog.records if hasattr(record, "about")]
    assert [event for event in said if "serving" in event] == ["not serving", "serving"]


@pytest.mark.slow
def test_only_peer_runs_what_waits_when_it_can_work_again(bad, broken):
    with joined(bad, timeout=PATIENCE) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        for _ in range(3):
            broken.end_workers_of(bad)
            lanes = [pool.submit(tasks.add, n) for n in range(5)]
            plain = [pool.submit(abs, -n) for n in range(5)]
            spans = pool.map(abs, range(50))
            eventually(lambda: not bad._health.serving)
            broken.is_so = False
            assert [future.result(PATIENCE) for future in lanes + plain] == [*range(5)] * 2
            assert list(spans) == list(range(50))


def test_task_that_runs_is_not_disturbed_when_no_other_worker_can_be_started(bad, monkeypatch, tmp_path):
    with joined(bad) as pool, joined(bad) as other:
        running = pool.submit(tasks.hold, tmp_path, "held")
        eventually((tmp_path / "held").exists)
        monkeypatch.setattr(forks.Forks, "spawn", _no_spawn)
        elsewhere = other.submit(abs, -1)
        eventually(lambda: not bad._health.serving)
        (tmp_path / "release").touch()
        assert running.result(PATIENCE)
        assert [pool.submit(abs, -n).result(PATIENCE) for n in range(5)] == list(range(5))  # it has a worker
        assert not elsewhere.done()
        monkeypatch.undo()
        assert elsewhere.result(PATIENCE) == 1


def _no_spawn(*_):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_call_for_a_certain_worker_fails_when_none_can_be_started(bad, broken):
    with joined(bad, timeout=PATIENCE) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        broken.end_workers_of(bad)
        pool.submit(abs, -1)
        eventually(lambda: not bad._health.serving)
        errors = [future.exception() for future in pool.run_on_all(os.getpid).values()]
        broken.is_so = False
        assert [type(error) for error in errors] == [WorkerStartError] * 2
        assert "Resource temporarily unavailable" in str(errors[0])


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_client_whose_workers_die_at_once_does_not_stop_the_peer(bad):
    with joined(bad) as one, joined(bad) as other:
        link = one._peers.links[0]
        assert one.submit(abs, -1).result(PATIENCE) == 1
        one._engine._loop.tell(lambda: link.send(encode(Settings(settings=pickle.dumps(Deadly())))))
        for pid in bad.engine.pids:
            os.kill(pid, signal.SIGKILL)
        assert isinstance(one.submit(abs, -1).exception(PATIENCE), WorkerStartError)
        assert bad._health.serving
        assert other.submit(abs, -1).result(PATIENCE) == 1


def test_peer_gives_up_when_no_worker_could_be_started_for_long(monkeypatch):
    monkeypatch.setattr(forks.Forks, "spawn", _no_spawn)
    with Peer(1, credentials=CREDENTIALS, give_up_after=0.2) as peer, joined(peer) as pool:
        pool.submit(abs, -1)
        eventually(lambda: peer.gave_up)
        assert "Too many open files" in peer.gave_up
        pool.shutdown(cancel_futures=True)


def test_peer_whose_workers_die_at_once_is_avoided_for_a_while(bad, caplog):
    with Peer(2, credentials=CREDENTIALS) as good, joined(bad, good) as pool:
        link = next(link for link in pool._peers.links if link.candidate.address == bad.address)
        eventually(lambda: pool.submit(os.getpid).result(PATIENCE) in bad.engine.pids)  # and has sent its settings
        pool._engine._loop.tell(lambda: link.send(encode(Settings(settings=pickle.dumps(Deadly())))))
        for pid in bad.engine.pids:
            os.kill(pid, signal.SIGKILL)
        failed = []

        def is_avoided():
            failed.append(pool.submit(abs, -1).exception(PATIENCE))
            return f"avoiding the peer at {bad.address} for 1 s: no worker could be started" in caplog.text

        eventually(is_avoided)
        assert {type(error) for error in failed if error is not None} == {WorkerStartError}
        assert sum(error is not None for error in failed) < 20


@pytest.mark.parametrize("function", [abs, tasks.add], ids=["plain", "coroutine"])
def test_peer_that_is_avoided_gets_calls_when_there_is_no_other(peer, pool, function):
    (link,) = pool._peers.links
    pool._engine._loop.ask(lambda: [pool._engine.links.failed(link, "a test") for _ in range(10)])
    assert pool.submit(function, 3).result(PATIENCE) == 3


def test_coroutines_do_not_go_to_a_peer_that_is_avoided(bad):
    with Peer(2, credentials=CREDENTIALS) as good, joined(bad, good) as pool:
        link = next(link for link in pool._peers.links if link.candidate.address == bad.address)
        pool._engine._loop.ask(lambda: [pool._engine.links.failed(link, "a test") for _ in range(3)])
        started = time.monotonic()
        futures = [pool.submit(tasks.pid_of) for _ in range(20)]
        pids = {future.result(PATIENCE) for future in futures}
        assert pids <= {*good.engine.pids} or time.monotonic() - started > 1.0


def test_tasks_do_not_wait_longer_for_peers_that_cannot_work_than_for_none(bad, broken):
    with joined(bad, timeout=0.3) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        broken.end_workers_of(bad)
        with pytest.raises(NoPeersError, match=r"the peer cannot run tasks now: .*Resource temporarily unavailable"):
            pool.submit(abs, -1).result(PATIENCE)
        broken.is_so = False
        eventually(lambda: bad._health.serving)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
