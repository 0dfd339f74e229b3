"""The fork server in use, and the workers that it reports about."""

import errno

import pytest

from tests.engine.fake_workers import FakeForkServer, FakeLoop
from woolexec import WorkerStartError
from woolexec.engine import forks
from woolexec.platform.posix import SIGCONT, SIGKILL
from woolexec.worker.records import EXITED, FAILED, FORKED


class Owner:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []
        self.loop = FakeLoop(None)

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


def test_fork_server_that_was_prepared_serves_the_first_worker(running, servers):
    running.prepare()
    (server,) = servers
    running.spawn(running.number(), [], {}, Owner())
    assert servers == [server]


def test_fork_server_that_cannot_be_prepared_is_started_for_the_first_worker(running, servers, monkeypatch):
    make = forks.ForkServer

    def fail(*_, is_peer):
        raise OSError("no process could be started")

    monkeypatch.setattr(forks, "ForkServer", fail)
    running.prepare()
    assert not running.breaker.is_open  # once is not always
    monkeypatch.setattr(forks, "ForkServer", make)
    running.spawn(running.number(), [], {}, Owner())
    assert len(servers) == 1


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


# -- a fork server that does not answer -------------------------------------------------------------------------------


@pytest.fixture
def signals(monkeypatch):
    signals = []
    monkeypatch.setattr(forks, "kill", lambda _pid, number: signals.append(number))
    return signals


@pytest.fixture
def stopped(monkeypatch):
    """The fork servers are stopped while this has an element."""
    stopped = [True]
    monkeypatch.setattr(forks, "is_stopped", lambda _pid: bool(stopped))
    return stopped


def test_stopped_fork_server_that_owes_a_worker_is_continued(running, loop, signals, stopped):
    running.spawn(1, [], {}, Owner())
    loop.pass_time(0.9)
    assert signals == []  # it may be continued together with this process
    loop.pass_time(0.2)
    assert signals == [SIGCONT]
    stopped.clear()
    loop.pass_time(10.0)
    assert signals == [SIGCONT]


def test_stopped_fork_server_that_owes_the_end_of_a_worker_is_continued(running, servers, loop, signals, stopped):
    running.spawn(1, [], {}, Owner())
    report(loop, servers[0], (FORKED, 1, 4711))
    loop.pass_time(10.0)
    assert signals == []  # it owes nothing
    running.kill(1, SIGKILL)
    loop.pass_time(1.5)
    assert signals == [SIGCONT]


def test_fork_server_that_remains_stopped_is_killed_and_replaced(running, servers, loop, signals, stopped):
    running.spawn(1, [], {}, Owner())
    loop.pass_time(2.1)
    assert signals == [SIGCONT, SIGKILL]
    servers[0].is_gone = True
    report(loop, servers[0])
    running.spawn(2, [], {}, Owner())
    assert len(servers) == 2
    loop.pass_time(1.1)
    assert signals == [SIGCONT, SIGKILL, SIGCONT]  # the new one is watched anew


def test_fork_server_of_a_slow_machine_gets_time_to_answer(running, servers, loop, signals, stopped):
    stopped.clear()
    running.spawn(1, [], {}, Owner())
    servers[0].answers = True
    loop.pass_time(29.0)
    assert signals == []
    loop.pass_time(2.0)
    assert signals[:1] == [SIGKILL]


def test_worker_that_does_not_end_is_no_reason_to_end_the_fork_server(running, servers, loop, signals, stopped):
    stopped.clear()
    running.spawn(1, [], {}, Owner())
    report(loop, servers[0], (FORKED, 1, 4711))
    servers[0].answers = True
    running.kill(1, SIGKILL)
    loop.pass_time(100.0)
    assert signals == []


def test_fork_server_has_time_for_each_of_many_workers(running, servers, loop, signals, stopped):
    stopped.clear()
    for number in range(1, 1001):
        running.spawn(number, [], {}, Owner())
    servers[0].answers = True
    for number in range(1, 10):
        loop.pass_time(20.0)
        report(loop, servers[0], (FORKED, number, 4711))
    assert signals == []
    loop.pass_time(31.0)
    assert signals[:1] == [SIGKILL]


def test_what_the_fork_server_has_not_read_is_sent_when_it_reads(running, servers, loop):
    running.spawn(1, [], {}, Owner())
    assert not loop.writing
    servers[0].reads = False
    running.kill(1, 15)
    assert loop.writing == {servers[0].socket.fileno()}
    servers[0].reads = True
    report(loop, servers[0])
    assert not loop.writing


def test_fork_server_that_replaces_one_which_read_nothing_is_sent_the_rest_too(running, servers, loop):
    for _ in range(2):
        running.spawn(1, [], {}, Owner())
        servers[-1].reads = False
        running.kill(1, 15)
        assert loop.writing == {servers[-1].socket.fileno()}
        servers[-1].is_gone = True
        report(loop, servers[-1])


def test_fork_server_is_watched_by_one_timer(running, servers, loop, stopped):
    stopped.clear()
    for number in range(1, 100):
        running.spawn(number, [], {}, Owner())
        report(loop, servers[0], (FORKED, number, 4711))
    assert len(loop.timers) == 2  # and the one that waits for its first answer
    loop.pass_time(1.0)
    assert len(loop.timers) == 1


@pytest.mark.parametrize("end", ["close", "forget"])
def test_its_socket_is_closed_at_the_end(running, servers, end):
    getattr(running, end)()
    running.spawn(1, [], {}, Owner())
    getattr(running, end)()
    assert servers[0].is_closed
