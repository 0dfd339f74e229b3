"""The engine's end of the fork server; its process is the test."""

import os
import pickle
import socket
import sys

import pytest

from woolexec import PeerPoolExecutor
from woolexec.engine import fork_server
from woolexec.engine.fork_server import ForkServer, import_path, interpreter
from woolexec.wire import unpickling
from woolexec.worker.records import CONFIGURE, EXITED, FORKED, KILL, RECORD, SPAWN, STARTED


class Far:
    """What the fork server would read and write."""

    def __init__(self, sock):
        self.sock = sock

    def read(self):
        """Return a record, what it carries, and how many descriptors came with it."""
        data, fds, _, _ = socket.recv_fds(self.sock, RECORD.size, 8)
        for fd in fds:
            os.close(fd)
        record = RECORD.unpack(data)
        return record, pickle.loads(self.sock.recv(record[2])) if record[0] == CONFIGURE else None, len(fds)

    def say(self, *records):
        self.sock.sendall(b"".join(RECORD.pack(*record) for record in records))


@pytest.fixture
def started(monkeypatch):
    """A fork server that has been configured, and its far end."""
    far = []

    def start(fd, *_):
        far.append(Far(socket.socket(fileno=os.dup(fd))))
        far[0].sock.settimeout(20)
        return 0

    monkeypatch.setattr(fork_server, "_start", start)
    monkeypatch.setattr(fork_server, "settings", lambda: {"recursion": 1000})
    server = ForkServer(1)
    yield server, far[0]
    server.forget()
    far[0].sock.close()


def test_fork_server_is_told_the_import_path_and_the_arguments(started, monkeypatch):
    (operation, _, _), config, _ = started[1].read()

    assert operation == CONFIGURE
    assert config["path"] == import_path()
    assert config["argv"] == sys.argv


def test_settings_are_sent_before_a_worker_that_needs_others_than_the_one_before(started):
    server, far = started
    far.read()
    operations = []
    for number, of_user in enumerate([{"decimal": 1}, {"decimal": 1}, {"decimal": 2}]):
        server.spawn(number, (0, 1, 2), of_user)
        while True:
            record, config, fds = far.read()
            operations.append((record[0], config and config["decimal"], fds))
            if record[0] == SPAWN:
                assert record[1] == number
                break

    assert operations == [
        (CONFIGURE, 1, 0),
        (SPAWN, None, 3),
        (SPAWN, None, 3),
        (CONFIGURE, 2, 0),
        (SPAWN, None, 3),
    ]


def test_limits_that_workers_inherit_are_not_sent(started, monkeypatch):
    server, far = started
    far.read()
    server._limits = {"core": (0, 0)}
    found = []
    for limits in ({"core": (0, 0)}, {"core": (1, 1)}):
        monkeypatch.setattr(fork_server, "settings", lambda limits=limits: {"limits": limits})
        server.spawn(1, (0,))
        found.append(far.read()[1].get("limits"))
        far.read()

    assert found == [None, {"core": (1, 1)}]


def test_nothing_waits_for_a_fork_server_that_does_not_read(started):
    server, far = started
    read_end, write_end = os.pipe()
    for number in range(1000):
        server.kill(number, 15)
    for number in range(1000, 1010):
        server.spawn(number, (write_end,))
    os.close(write_end)
    assert not server.flush()

    found = []
    while len(found) < 1011:
        record, _, fds = far.read()
        server.flush()
        if record[0] != CONFIGURE:
            found.append((*record[:2], fds))
        elif not found:
            found.append(None)

    assert found[1:1001] == [(KILL, number, 0) for number in range(1000)]
    assert found[1001:] == [(SPAWN, number, 1) for number in range(1000, 1010)]
    assert server.flush()
    assert os.read(read_end, 1) == b""  # every descriptor was closed
    os.close(read_end)


@pytest.mark.parametrize("end", ["forget", "gone"])
def test_descriptors_that_were_not_sent_are_closed_at_the_end(started, end):
    server, far = started
    read_end, write_end = os.pipe()
    for number in range(2000):
        server.spawn(number, (write_end,) if number in (0, 1999) else ())
    os.close(write_end)
    if end == "gone":
        far.sock.close()
        assert server.flush()
    else:
        server.forget()
        far.sock.close()
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_reports_are_read_without_waiting_after_a_worker_was_asked_for(started):
    server, far = started
    assert list(server.reports()) == []
    server.spawn(1, (0,))
    assert list(server.reports()) == []

    far.say((FORKED, 1, 4711), (EXITED, 1, -9))

    assert list(server.reports()) == [(FORKED, 1, 4711), (EXITED, 1, -9)]


def test_report_that_came_in_two_pieces_is_one(started):
    server, far = started
    data = RECORD.pack(FORKED, 1, 4711)
    far.sock.sendall(data[:5])
    assert list(server.reports()) == []

    far.sock.sendall(data[5:])

    assert list(server.reports()) == [(FORKED, 1, 4711)]


def test_interpreter_that_runs_our_code_answers(started):
    server, far = started
    assert not server.answers

    far.say((STARTED, 0, 0))

    assert list(server.reports()) == []
    assert server.answers


def test_end_of_the_fork_server_is_the_end_of_its_reports_and_of_nothing_else(started):
    server, far = started
    far.sock.shutdown(socket.SHUT_RDWR)

    with pytest.raises(EOFError):
        list(server.reports())
    server.kill(1, 9)  # nobody is there
    with pytest.raises(OSError):
        server.spawn(1, (0,))


def test_signal_is_sent_for_a_worker(started):
    server, far = started
    far.read()

    server.kill(3, 15)

    assert far.read()[0] == (KILL, 3, 15)


def test_interpreter_that_ends_at_once_is_named(monkeypatch):
    def start(fd, *_):
        return 0

    monkeypatch.setattr(fork_server, "_start", start)
    monkeypatch.setattr(fork_server, "reap", lambda *_, **__: 0)

    with pytest.raises(OSError, match=r"exited as soon as it was started") as raised:
        ForkServer(1)
    assert interpreter() in str(raised.value)


# -- the import path --------------------------------------------------------------------------------------------------


def test_import_path_is_absolute_and_follows_the_program(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", ["/lib", "", b"bytes", "near"])
    monkeypatch.chdir(tmp_path)
    assert import_path() == ["/lib", str(tmp_path), f"{tmp_path}/near"]

    monkeypatch.chdir("/")
    assert import_path() == ["/lib", "/", "/near"]
    sys.path.append("/more")
    assert import_path() == ["/lib", "/", "/near", "/more"]


def test_import_path_is_made_once_while_nothing_changes(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/lib", "relative"])

    assert import_path() is import_path()


def test_relative_entries_are_left_out_where_the_working_directory_is_gone(monkeypatch):
    def gone():
        raise FileNotFoundError("no such directory")

    monkeypatch.setattr(sys, "path", ["/lib", "relative"])
    monkeypatch.setattr(os, "getcwd", gone)

    assert import_path() == ["/lib"]


def level():
    return unpickling.level


def levels():
    with PeerPoolExecutor(1) as inner:
        return level(), inner.submit(level).result()


def test_workers_know_how_many_pools_are_around_them():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(levels).result() == (1, 2)


def test_pool_in_workers_of_many_pools_is_refused(monkeypatch):
    monkeypatch.setattr(unpickling, "level", 10)
    with (
        PeerPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match="this is a worker in 10 pools"),
    ):
        pool.submit(abs, -1)
