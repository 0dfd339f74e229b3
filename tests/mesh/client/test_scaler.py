"""A launcher whose peers are processes here, as an executor uses it."""

import contextlib
import sys
import time
from dataclasses import replace

import pytest

from tests.launchers.processes import Processes
from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.core import scaling
from woolexec.discovery import Joined
from woolexec.errors import NoPeersError
from woolexec.mesh.client import scaler

PATIENCE = 30.0


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def ended(launcher):
    return [key for key, started in launcher.all.items() if started.process.poll() is not None]


def test_first_task_starts_a_peer_which_ends_with_the_executor():
    launcher = Processes(max=2, workers=1)
    with PeerPoolExecutor(peers=launcher) as pool:
        assert launcher.all == {}
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert list(launcher.all) == ["p1"]
    assert ended(launcher) == ["p1"]


def test_first_task_is_seen_at_once(monkeypatch):
    monkeypatch.setattr(scaler, "_LOOK", 10 * PATIENCE)
    with PeerPoolExecutor(peers=Processes(max=1, workers=1)) as pool:
        eventually(lambda: pool.statistics() and pool._engine.links._scheduler.on_waiting is not None)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_actor_alone_starts_a_peer():
    launcher = Processes(max=1, workers=1)
    with PeerPoolExecutor(peers=launcher, peers_timeout=1) as pool, pool.actor(list, "ab") as letters:
        assert letters.submit(len).result(PATIENCE) == 2
    assert list(launcher.all) == ["p1"]


@pytest.mark.slow
def test_peer_with_an_actor_is_not_idle():
    launcher = Processes(max=2, workers=1, idle_timeout=0.1)
    with PeerPoolExecutor(peers=launcher) as pool, pool.actor(list, "ab") as letters:
        assert letters.submit(len).result(PATIENCE) == 2
        pool.wait_for_peers(2, timeout=PATIENCE)
        eventually(lambda: launcher.stopped)
        assert letters.submit(len).result(PATIENCE) == 2
        assert launcher.stopped == ["p2"]


@pytest.mark.slow
def test_peers_that_are_waited_for_are_started_without_a_task():
    launcher = Processes(max=2, workers=1, idle_timeout=0.1)
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.wait_for_peers(2, timeout=PATIENCE) == 2
        eventually(lambda: sorted(launcher.stopped) == ["p1", "p2"])
        with pytest.raises(TimeoutError, match="no more than 2 can be"):
            pool.wait_for_peers(3)


@pytest.mark.slow
def test_much_work_starts_more_peers_which_leave_when_they_have_been_idle():
    launcher = Processes(max=3, workers=1, idle_timeout=0.5)
    with PeerPoolExecutor(peers=launcher) as pool:
        assert len(list(pool.map(time.sleep, [1.0] * 12, chunksize=1, timeout=PATIENCE))) == 12
        assert 1 < len(launcher.all) <= 3
        eventually(lambda: len(ended(launcher)) == len(launcher.all))
        assert sorted(launcher.stopped) == sorted(launcher.all)
        assert pool.submit(abs, -1).result(PATIENCE) == 1  # there is another one


@pytest.mark.slow
def test_floor_is_there_without_a_task():
    launcher = Processes(min=2, max=2, workers=1, idle_timeout=0.1)
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.wait_for_peers(2, timeout=PATIENCE) == 2
        assert len(pool.run_on_all(abs, -1)) == 2
    assert len(launcher.all) == 2


@pytest.mark.slow
def test_tasks_wait_as_long_as_a_peer_is_being_started():
    command = [sys.executable, "-c", "import time; time.sleep(3); from woolexec.__main__ import main; main()"]
    launcher = Processes([*command, *Processes.SERVE[3:]], max=1, workers=1)
    with PeerPoolExecutor(peers=launcher, peers_timeout=1) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_start_that_fails_is_tried_again():
    launcher = Processes(max=1, workers=1)
    launcher.fails = 1
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_error_says_why_no_peer_can_be_started():
    launcher = Processes(max=1, workers=1)
    launcher.fails = 1_000_000
    with PeerPoolExecutor(peers=launcher, peers_timeout=0.5) as pool:
        with pytest.raises(NoPeersError, match="no machine is free"):
            pool.submit(abs, -1).result(PATIENCE)


def test_log_says_once_why_tasks_wait_for_long(monkeypatch, caplog):
    monkeypatch.setattr(scaler, "LONG", 0.0)
    monkeypatch.setattr(scaler, "_LOOK", 0.001)
    launcher = Processes([sys.executable, "-c", "import time; time.sleep(60)"], max=1, workers=1)
    launcher.trouble = "job 1: PENDING (Priority)"
    with PeerPoolExecutor(peers=launcher) as pool:
        future = pool.submit(abs, -1)
        eventually(lambda: caplog.messages)
        launcher.trouble = "job 1: PENDING (Resources)"
        for _ in range(50):  # looks
            pool.statistics()
        future.cancel()
    assert caplog.messages == ["tasks wait for peers: Processes: job 1: PENDING (Priority)"]


def test_error_says_why_peers_end_at_once():
    launcher = Processes([sys.executable, "-c", "import sys; sys.exit(7)"], max=1, workers=1)
    with PeerPoolExecutor(peers=launcher, peers_timeout=0.5) as pool:
        error = str(pool.submit(abs, -1).exception(PATIENCE))
        assert error.count("ended with 7") == 1


class Elsewhere(Processes):
    """Peers behind a firewall."""

    async def watch(self):
        async with contextlib.aclosing(super().watch()) as events:
            async for event in events:
                is_there = isinstance(event, Joined)
                yield Joined(replace(event.record, addresses=("127.0.0.1:1",))) if is_there else event


def test_peer_that_cannot_be_reached_is_said(monkeypatch):
    monkeypatch.setattr(scaling, "CONNECTS", 0.1)
    with PeerPoolExecutor(peers=Elsewhere(max=1, workers=1), peers_timeout=0.5) as pool:
        with pytest.raises(NoPeersError, match=r"127\.0\.0\.1:1: not reachable"):
            pool.submit(abs, -1).result(PATIENCE)


@pytest.mark.slow
def test_peer_that_is_lost_is_replaced():
    launcher = Processes(max=1, workers=1)
    with PeerPoolExecutor(peers=launcher) as pool:
        lost = pool.submit(time.sleep, PATIENCE)
        assert pool.with_options(retries=1).submit(abs, -1) is not None
        eventually(lambda: lost.running())
        launcher.all["p1"].process.kill()
        with pytest.raises(WorkerLostError):
            lost.result(PATIENCE)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert list(launcher.all) == ["p1", "p2"]


@pytest.mark.slow
def test_coroutines_and_requirements_start_peers_too():
    launcher = Processes([*Processes.SERVE, "--resource=gpu=1"], max=4, workers=1)
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.submit(answer).result(PATIENCE) == 42
        assert pool.with_options(require={"gpu": 1}).submit(abs, -1).result(PATIENCE) == 1


async def answer():
    return 42
