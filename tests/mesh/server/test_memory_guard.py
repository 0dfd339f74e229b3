"""What a peer does when its memory runs out."""

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec.core.offer import NOTHING
from woolexec.mesh.server import acceptor as acceptor_module
from woolexec.mesh.server import memory_guard
from woolexec.mesh.server.capacity import Places
from woolexec.mesh.server.fetching import Fetching
from woolexec.mesh.server.memory_guard import PATIENCE as GIVEN_UP
from woolexec.mesh.server.memory_guard import MemoryGuard
from woolexec.mesh.server.peer import Peer
from woolexec.platform.memory import Memory


class Client:
    """A client that holds so many bytes."""

    def __init__(self, size):
        self.bytes_here = size
        self.is_stopped = False
        self.told = []

    def tell(self, frame):
        self.told.append(frame.free)

    def wake(self):
        assert self.told  # before that there is nothing to send


class System:
    """A guard, and all that it looks at and acts on."""

    def __init__(self, *sizes):
        self.now, self.used = 0.0, 0
        self.clients = [Client(size) for size in sizes]
        self.ended, self.logged = [], []
        self.places = Places(lambda seconds, piece: None, 1, NOTHING)
        self.places.clients.update(self.clients)
        end = lambda client, reason: self.ended.append((client, reason))  # noqa: E731
        read = lambda: Memory(1000, self.used, 900)  # noqa: E731
        self.guard = MemoryGuard(self.places, lambda: self.clients, end, self, read, lambda: self.now)

    def short_of_memory(self, used, limit):
        self.logged.append("short")

    def memory_is_back(self, used, limit):
        self.logged.append("back")

    def use(self, used):
        self.used = used
        self.guard.check()

    @property
    def stopped(self):
        return [client.is_stopped for client in self.clients]


def test_calls_are_refused_near_the_limit_and_taken_again_well_below_it():
    system = System(500)
    states = []
    for used in (900, 901, 880, 851, 849, 890):
        system.use(used)
        states.append(bool(system.places.shortage))
    assert states == [False, True, True, True, False, False]
    assert system.logged == ["short", "back"]
    assert system.clients[0].told == [1]


def test_nothing_is_read_from_those_who_hold_most_and_others_are_heard():
    system = System(500, 260, 240, 0)
    system.use(950)
    assert system.stopped == [True, True, False, False]
    system.clients[0].bytes_here = 0
    system.guard.check()
    assert system.stopped == [False, True, True, False]
    system.use(100)
    assert system.stopped == [False] * 4


def test_client_that_holds_little_is_heard_whoever_else_there_is():
    system = System(1)
    system.use(950)
    assert system.stopped == [False]


@pytest.mark.parametrize(("most", "is_ended"), [(500, True), (100, False)])
def test_client_that_holds_much_is_given_up_if_that_does_not_help(most, is_ended):
    system = System(most, 50)
    system.use(950)
    system.now = GIVEN_UP - 1
    system.guard.check()
    assert not system.ended
    system.now = GIVEN_UP
    system.guard.check()
    system.guard.check()  # the next one is not given up at once
    assert [client for client, _ in system.ended] == system.clients[:is_ended]
    assert all("this client holds most of it" in reason for _, reason in system.ended)


def test_where_the_memory_is_not_known_nothing_is_done():
    system = System(500)
    system.guard._read = lambda: None
    system.guard.check()
    assert not system.places.shortage


@pytest.fixture
def reading(monkeypatch):
    """What the peers of this test read of their memory."""
    found = {"used": 0}
    monkeypatch.setattr(memory_guard, "LOOK", 0.01)
    monkeypatch.setattr(acceptor_module, "memory", lambda: Memory(1000 << 20, found["used"] << 20, 900 << 20))
    return found


def test_peer_that_is_short_of_memory_refuses_calls_which_run_elsewhere_or_later(reading):
    peer = Peer(1, credentials=CREDENTIALS)
    with peer, joined(peer, timeout=PATIENCE) as pool, joined(peer, local=1) as other:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        reading["used"] = 950
        eventually(lambda: peer._acceptor.places.shortage)
        waiting = pool.submit(abs, -2)
        assert other.submit(abs, -3).result(PATIENCE) == 3
        assert not waiting.done()
        reading["used"] = 0
        assert waiting.result(PATIENCE) == 2


def test_link_of_the_client_that_holds_most_ends_with_the_reason(reading, monkeypatch):
    monkeypatch.setattr(memory_guard, "PATIENCE", 0.05)
    monkeypatch.setattr(memory_guard, "_MUCH", 1 << 40)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        reading["used"] = 950
        eventually(lambda: "short of memory" in pool._peers.explain())
        reading["used"] = 0
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_link_over_which_values_are_fetched_ends_if_that_takes_most(reading, monkeypatch):
    monkeypatch.setattr(memory_guard, "PATIENCE", 0.05)
    monkeypatch.setattr(Fetching, "bytes_here", 500 << 20)
    ended = []
    monkeypatch.setattr(Fetching, "end_largest", lambda fetching: ended.append(fetching))
    with Peer(1, credentials=CREDENTIALS) as peer:
        fetching = peer._acceptor.fetching
        reading["used"] = 950
        eventually(lambda: fetching.is_stopped and ended)
        reading["used"] = 0
        eventually(lambda: not fetching.is_stopped)
