"""How an engine runs the initializer of its workers."""

import pytest

from tests.engine.fake_workers import FakeLoop
from woolexec import InitializerError
from woolexec.engine.initializer import Initializer
from woolexec.errors import ProtocolError
from woolexec.platform.posix import SIGKILL
from woolexec.wire.exceptions import dump_failure


class Page:
    since = 0.0


class Worker:
    """A worker that has been forked."""

    def __init__(self):
        self.id, self.pid, self.known_pid = 1, None, 4711
        self.page, self.lane_place = Page(), Page()
        self.stopping = False
        self.ready = self.lane_place.ready = True


class Supervisor:
    """Keeps what it is asked."""

    def __init__(self, worker):
        self.workers = {worker.id: worker}
        self.errors, self.killed = [], []

    def give_up(self, error):
        self.errors.append(error)

    def kill(self, worker, number):
        self.killed.append((worker, number))


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def supervisor(worker):
    return Supervisor(worker)


@pytest.fixture
def loop():
    return FakeLoop(None)


def test_initializer_that_takes_too_long_breaks_the_executor(worker, supervisor, loop):
    Initializer(b"init", 3.0, loop, supervisor).watch(worker)
    loop.pass_time(2.9)
    assert supervisor.errors == []
    loop.pass_time(0.2)
    (error,) = supervisor.errors
    assert isinstance(error, InitializerError)
    assert "longer than 3 s in worker 4711" in str(error)
    assert supervisor.killed == [(worker, SIGKILL)]


@pytest.mark.parametrize("why", ["it is done", "the worker is gone", "no limit", "no initializer"])
def test_nothing_breaks(worker, supervisor, loop, why):
    payload, timeout = (None if why == "no initializer" else b"init"), (None if why == "no limit" else 3.0)
    Initializer(payload, timeout, loop, supervisor).watch(worker)
    if why == "it is done":
        worker.page.since = 1.0
    elif why == "the worker is gone":
        supervisor.workers.clear()
    loop.pass_time(4.0)
    assert supervisor.errors == []


def test_exception_is_decoded_where_user_code_runs(worker, supervisor, loop):
    Initializer(b"init", None, loop, supervisor).raised(worker, dump_failure(KeyError("x")))
    assert worker.stopping
    assert not worker.ready
    (decode,) = loop.user_code
    decode()
    (give_up,) = loop.inbox
    give_up()
    (error,) = supervisor.errors
    assert isinstance(error.__cause__, KeyError)
    assert "the initializer raised KeyError in worker 4711" in str(error)


def test_exception_that_cannot_be_decoded_breaks_the_executor_as_well(worker, supervisor, loop):
    Initializer(b"init", None, loop, supervisor).raised(worker, b"no pickle")
    loop.user_code[0]()
    loop.inbox[0]()
    assert isinstance(supervisor.errors[0], InitializerError)


def test_what_no_initializer_can_have_raised_is_not_decoded(worker, supervisor, loop):
    with pytest.raises(ProtocolError, match="was not given"):
        Initializer(None, None, loop, supervisor).raised(worker, b"pickle")
    assert loop.user_code == []
