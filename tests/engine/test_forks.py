"""The fork server in use, and whose workers it reports about."""

import errno

import pytest

from tests.engine.fake_workers import FakeForkServer, FakeLoop
from woolexec import WorkerStartError
from woolexec.engine import forks
from woolexec.worker.records import EXITED, FAILED, FORKED


class Owner:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *args: self.told.append((name, *args))


@pytest.fixture
def servers(monkeypatch):
    servers = []

    def make(*made, is_peer):
        servers.append(FakeForkServer(made))
        return servers[-1]

    monkeypatch.setattr(forks, "ForkServer", make)
    monkeypatch.setattr(FakeForkServer, "spawn", lambda server, number, fds, settings: None)
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def loop():
    return FakeLoop(None)


@pytest.fixture
def running(servers, loop):
    return forks.Forks(loop, 1)


def report(loop, server, *said):
    server.said += said
    loop.acts[server.socket.fileno()]()


def test_fork_server_is_started_for_the_first_worker_only(running, servers):
    assert running.path == []
    for _ in range(3):
        running.spawn(running.number(), [], {}, Owner())
    (server,) = servers
    assert running.path == server.path


def test_each_owner_is_told_of_its_own_workers(running, servers, loop):
    one, other = Owner(), Owner()
    running.spawn(1, [], {}, one)
    running.spawn(2, [], {}, other)
    report(
        loop, servers[0], (FORKED, 1, 4711), (FAILED, 2, errno.EAGAIN), (EXITED, 1, -9), (EXITED, 1, 0), (FORKED, 7, 1)
    )
    assert one.told == [("forked", 1, 4711), ("ended", 1, -9)]
    ((name, number, error),) = other.told
    assert (name, number, error.errno) == ("failed", 2, errno.EAGAIN)


def test_signals_go_to_the_fork_server_that_is_in_use(running, servers):
    running.kill(1, 9)
    running.spawn(1, [], {}, Owner())
    running.kill(1, 9)
    assert servers[0].killed == [(1, 9)]


def test_dead_fork_server_is_replaced_and_its_death_counts_once(running, servers, loop):
    owner = Owner()
    for _ in range(2):
        for number in (1, 2):
            running.spawn(number, [], {}, owner)
        servers[-1].is_gone = True
        report(loop, servers[-1])
    assert [told for told in owner.told if told[0] == "fork_server_died"] == [
        ("fork_server_died", 1),
        ("fork_server_died", 2),
    ]
    assert owner.told.count(("ended", 1, None)) == 2
    assert all(server.is_closed for server in servers)


def test_fork_server_that_has_forked_ends_the_count(running, servers, loop):
    owner = Owner()
    running.spawn(1, [], {}, owner)
    servers[-1].is_gone = True
    report(loop, servers[-1])
    running.spawn(2, [], {}, owner)
    servers[-1].is_gone = True
    report(loop, servers[-1], (FORKED, 2, 4711))
    assert [told[1] for told in owner.told if told[0] == "fork_server_died"] == [1, 1]


def test_program_that_does_not_answer_is_given_up_and_killed(running, servers, loop, monkeypatch):
    killed = []
    monkeypatch.setattr(forks, "kill", lambda pid, number: killed.append(pid))
    owner = Owner()
    running.spawn(1, [], {}, owner)
    servers[0].pid = 4711
    loop.pass_time(20.0)
    ((name, error),) = owner.told
    assert name == "give_up"
    assert isinstance(error, WorkerStartError)
    assert killed == [4711]


@pytest.mark.parametrize("end", ["close", "forget"])
def test_its_socket_is_closed_at_the_end(running, servers, end):
    getattr(running, end)()
    running.spawn(1, [], {}, Owner())
    getattr(running, end)()
    assert servers[0].is_closed
