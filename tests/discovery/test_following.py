"""How a client uses the peers that a discovery reports."""

import asyncio
import contextlib
import logging
import random

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from woolexec import Discovery, DiscoveryError, NoPeersError, PeerPoolExecutor
from woolexec.discovery.base import Joined, Left, Record, Updated
from woolexec.mesh.client import finding, peers
from woolexec.mesh.server.peer import Peer


class Told(Discovery):
    """Says what it is told to, once for each time that it is watched."""

    def __init__(self, *events, error=None):
        self.events, self.error = events, error
        self.watched = 0
        self.closed = 0
        self.more = asyncio.Queue()

    async def watch(self):
        self.watched += 1
        try:
            for event in self.events:
                yield event
            if self.error is not None:
                raise self.error
            while True:
                yield await self.more.get()
        finally:
            self.closed += 1

    def say(self, pool, event):
        pool._engine._loop.tell(lambda: self.more.put_nowait(event))


def following(*found, **options):
    return PeerPoolExecutor(peers=found, credentials=CREDENTIALS, **options)


def known(pool):
    return [each.record for each in pool._peers._attempts.candidates]


def test_peer_that_is_found_twice_gets_one_link(peer):
    found = Told(Joined(Record("one", (peer.address,))), Joined(Record("two", (peer.address,))))
    with following(found) as pool:
        pool.wait_for_peers(1, PATIENCE)
        eventually(lambda: any("already" in each.reason for each in pool._peers._attempts.candidates))
        assert peer.clients == 1


def test_next_address_is_tried_when_one_does_not_answer(peer, tmp_path):
    with following(Told(Joined(Record("one", (f"unix:{tmp_path}/nobody", peer.address))))) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_peer_of_another_pool_is_refused_at_the_handshake():
    with Peer(1, credentials=CREDENTIALS, pool="b") as other:
        with following(Told(Joined(Record("one", (other.address,), pool="a"))), peers_timeout=0.3) as pool:
            with pytest.raises(NoPeersError, match="pool 'a' is requested, but this peer belongs to pool 'b'"):
                pool.submit(abs, -1).result(PATIENCE)


def test_dead_record_is_warned_of_once_and_harms_nobody(peer, caplog, tmp_path):
    dead = Record("dead", (f"unix:{tmp_path}/nobody",))
    found = Told(Joined(dead), Joined(Record("alive", (peer.address,))))
    with following(found) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        eventually(lambda: any(each.reason for each in pool._peers._attempts.candidates))
        place = next(each for each in pool._peers._attempts.candidates if each.record == dead)
        for _ in range(3):  # it has been tried again, and again
            place.reason = ""
            eventually(lambda: place.reason)
    assert len([record for record in caplog.records if "not reachable" in record.getMessage()]) == 1


def test_record_that_flaps_leaves_a_working_link_alone(peer):
    record = Record("one", (peer.address,))
    found = Told(Joined(record))
    with following(found) as pool:
        pool.wait_for_peers(1, PATIENCE)
        (link,) = pool._peers.links
        for _ in range(50):
            found.say(pool, Left("one"))
            found.say(pool, Joined(record))
        eventually(found.more.empty)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert list(pool._peers.links) == [link]


def test_new_address_of_a_record_is_used_for_the_next_link(peer, tmp_path):
    found = Told(Joined(Record("one", (f"unix:{tmp_path}/nobody",))))
    with following(found) as pool:
        eventually(lambda: pool._peers.explain())
        found.say(pool, Updated(Record("one", (peer.address,))))
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_record_that_leaves_is_tried_no_more(tmp_path):
    found = Told(Joined(Record("one", (f"unix:{tmp_path}/nobody",))))
    with following(found, peers_timeout=0.2) as pool:
        eventually(lambda: pool._peers.explain())
        found.say(pool, Left("one"))
        eventually(lambda: not known(pool))
        with pytest.raises(NoPeersError, match="no peers found at Told"):
            pool.submit(abs, -1).result(PATIENCE)


@pytest.mark.parametrize("kind", [DiscoveryError, ZeroDivisionError])
def test_discovery_that_fails_is_asked_again_and_does_not_disturb_others(peer, caplog, kind):
    failing = Told(error=kind)
    with following(failing, Told(Joined(Record("one", (peer.address,))))) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        eventually(lambda: failing.watched > 2)
    said = [record.getMessage() for record in caplog.records if "finding peers" in record.getMessage()]
    assert len(said) == 1
    assert kind is DiscoveryError or "ZeroDivisionError" in said[0]


def test_discovery_is_closed_with_the_executor():
    found = Told()
    with following(found, peers_timeout=None):
        eventually(lambda: found.watched)
    assert found.closed == found.watched


def test_client_has_so_many_links_and_another_peer_takes_the_place_of_one_that_ends(monkeypatch):
    monkeypatch.setattr(peers, "MOST", 2)
    with contextlib.ExitStack() as stack:
        there = {str(n): stack.enter_context(Peer(1, credentials=CREDENTIALS)) for n in range(3)}
        found = Told(*(Joined(Record(name, (peer.address,))) for name, peer in there.items()))
        with following(found) as pool:
            pool.wait_for_peers(2, PATIENCE)
            eventually(lambda: [peer.clients for peer in there.values()].count(0) == 1)
            (left_out,) = [peer for peer in there.values() if not peer.clients]
            next(peer for peer in there.values() if peer.clients).close()
            eventually(lambda: left_out.clients == 1)


def test_program_s_own_random_numbers_stay_as_they_are(peer, tmp_path):
    random.seed(7)
    wanted = random.random()
    random.seed(7)
    with following(
        Told(Joined(Record("one", (f"unix:{tmp_path}/nobody",))), Joined(Record("two", (peer.address,))))
    ) as pool:
        pool.wait_for_peers(1, PATIENCE)
        eventually(lambda: pool._peers.explain())
    assert random.random() == wanted


def test_warnings_of_peers_go_to_the_library_s_logger(caplog, tmp_path):
    with following(Told(Joined(Record("one", (f"unix:{tmp_path}/nobody",))))) as pool:
        eventually(lambda: pool._peers.explain())
        eventually(lambda: caplog.records)
    assert {(record.name, record.levelno) for record in caplog.records} == {("woolexec", logging.WARNING)}


def test_whom_a_discovery_does_not_name_when_asked_again_has_left(monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "REPLAY", 0.05)

    class Failing(Discovery):
        watched = 0

        async def watch(self):
            self.watched += 1
            yield Joined(Record("stays", (f"unix:{tmp_path}/1",)))
            if self.watched == 1:
                yield Joined(Record("leaves", (f"unix:{tmp_path}/2",)))
                raise DiscoveryError("a blip")
            await asyncio.Event().wait()

    with following(Failing()) as pool:
        eventually(lambda: len(known(pool)) == 2)
        eventually(lambda: [record.key for record in known(pool)] == ["stays"])


def test_record_that_grpc_makes_nothing_of_harms_nobody(peer):
    bad = Joined(Record("bad", ("h\ud800:1",)))
    with following(Told(bad, Joined(Record("one", (peer.address,))))) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


class Hopeless(Told):
    """Fails for good each time that it is watched."""

    count = 1
    slowest = 3600.0

    def __init__(self):
        super().__init__(error=DiscoveryError("nobody has installed it there"))
        self.error.is_final = True


def test_discovery_that_goes_on_failing_is_asked_less_and_less_often(monkeypatch):
    pauses, enough = [], asyncio.Event()

    class Clock(random.Random):
        def uniform(self, low, high):
            return high

    async def follow(failing):
        finder = finding.Finder(failing, CREDENTIALS, on_event=print, on_final=lambda: None, randomness=Clock())
        real = asyncio.timeout

        def note(seconds):
            pauses.append(seconds)
            if len(pauses) == 20:
                enough.set()
            return real(0.0)

        monkeypatch.setattr(asyncio, "timeout", note)
        following = asyncio.ensure_future(finder.follow())
        await enough.wait()
        following.cancel()

    asyncio.run(follow(Hopeless()))
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == pauses[-1] == Hopeless.slowest


@pytest.mark.parametrize("kind", ["a task", "wait_for_peers"])
def test_discovery_that_has_failed_is_asked_again_at_once_when_somebody_begins_to_wait(monkeypatch, kind):
    monkeypatch.setattr(finding, "FIRST", 3600.0)
    monkeypatch.setattr(peers, "_VERDICT", 0.0)
    failing = Hopeless()
    with following(failing, max_workers=0) as pool:
        for watched in (1, 2, 3):
            with pytest.raises((NoPeersError, TimeoutError), match="nobody has installed it there"):
                if kind == "a task":
                    pool.submit(abs, -1).result(PATIENCE)
                else:
                    pool.wait_for_peers(1, PATIENCE)
            assert failing.watched >= watched


def test_discovery_that_nobody_waits_for_is_left_alone(monkeypatch):
    monkeypatch.setattr(finding, "FIRST", 3600.0)
    monkeypatch.setattr(peers, "_LOOK", 0.001)
    failing = Hopeless()
    with following(failing) as pool:
        eventually(lambda: "nobody has installed it there" in pool._peers.explain())
        looked = []
        monkeypatch.setattr(pool._peers._trusted, "check", lambda: looked.append(None))
        eventually(lambda: len(looked) > 20)
    assert failing.watched == 1
