"""A peer fetches a value from another peer, over a separate link."""

import asyncio
import gc
import os
import socket

import pytest

from tests.mesh.conftest import CREDENTIALS, eventually
from tests.tokens import token_for
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.client import channel
from woolexec.mesh.link import fd_passing, messages
from woolexec.mesh.link.outbox import ON_LINK
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server import fetching, kept_values
from woolexec.mesh.server.fetching import Fetching, NotFetchedError
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Drop, Keep, Part, Pull, encode
from woolexec.wire.values import Value

DATA = os.urandom(3 << 20)


@pytest.fixture
def key(monkeypatch):
    """The key of a value that stays in this process."""
    value = Value(DATA)
    kept_values._by_key[b"key"] = value
    yield b"key"
    del value


async def with_links(credentials, work, **about):
    """Do something with a `Fetching` that runs."""
    made = Fetching(credentials, **about)
    running = asyncio.ensure_future(made.run())
    await asyncio.sleep(0)
    try:
        return await work(made)
    finally:
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})


def asking(peer, **changes):
    return Pull(**{"value": 7, "key": b"key", "address": peer.address, "identity": peer.identity, **changes})


def fetch(peer, credentials=CREDENTIALS, **changes):
    return asyncio.run(with_links(credentials, lambda made: made.fetch(asking(peer, **changes))))


@pytest.mark.parametrize("bind", [None, "127.0.0.1:0", "localhost:0"])
@pytest.mark.parametrize("is_apart", [False, True])
def test_value_is_fetched_whole(monkeypatch, key, bind, is_apart):
    if is_apart:
        monkeypatch.setattr(fd_passing, "boot_id", str)
    with Peer(1, credentials=CREDENTIALS, **({} if bind is None else {"bind": bind})) as peer:
        payload = fetch(peer)
        data = payload if isinstance(payload, bytes) else bytes(payload.load()[0])
        assert data == DATA


def test_peers_know_each_other_by_their_own_certificates(tmp_path, key):
    authority = Authority.make(tmp_path, name="ours")
    for role in ("peer", "client"):
        authority.issue(role)
    ours, theirs = (
        Credentials(tls=Tls(*(str(tmp_path / name) for name in ("ca.pem", f"{role}.pem", f"{role}.key"))))
        for role in ("peer", "client")
    )
    with Peer(1, bind="127.0.0.1:0", credentials=ours) as peer:
        assert len(fetch(peer, ours)) == len(DATA)
        with PeerPoolExecutor(peers=peer.address, credentials=theirs) as pool:
            assert pool.submit(abs, -1).result(20) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key": b"other"}, "the peer .* the value"),
        ({"key": b""}, "the peer .* the value"),
        ({"identity": "other"}, "another peer is there"),
        ({"address": "127.0.0.1:1"}, "not reachable"),
        ({"address": "nonsense"}, "not"),
        ({"address": "127.0.0.1:99999"}, "not an address"),
        ({"address": f"localhost:{'9' * 30}"}, "not an address"),
        ({"address": f"{'a' * 100}.example:1"}, "is not the name of a host"),
        ({"address": "unix:/nowhere/at/all"}, "not reachable"),
    ],
)
def test_what_cannot_be_fetched_says_why(peer, key, changes, why):
    with pytest.raises(NotFetchedError, match=why):
        fetch(peer, **changes)


def test_peer_with_another_token_is_not_asked(peer, key):
    with pytest.raises(NotFetchedError):
        fetch(peer, Credentials(token=token_for("others")))


def test_peer_that_does_not_answer_is_given_up(monkeypatch, key):
    monkeypatch.setattr(fetching, "_GREETING", 0.2)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        pull = Pull(value=7, key=b"key", address=f"127.0.0.1:{silent.getsockname()[1]}", identity="x")
        with pytest.raises(NotFetchedError, match="no answer"):
            asyncio.run(with_links(CREDENTIALS, lambda made: made.fetch(pull)))


def test_peer_that_was_not_reached_is_not_tried_again_soon(monkeypatch, key):
    tried, resolve = [], channel.resolve

    async def counted(address):
        tried.append(address)
        return await resolve(address)

    monkeypatch.setattr(channel, "resolve", counted)
    pull = Pull(value=7, key=b"key", address="127.0.0.1:1", identity="x")

    async def main(made):
        for pause, tries in ((30.0, 1), (30.0, 1), (0.0, 1), (0.0, 2)):
            with pytest.raises(NotFetchedError, match="not reachable"):
                await made.fetch(pull)
            assert len(tried) == tries
            if not pause:
                made._unreachable.clear()

    asyncio.run(with_links(CREDENTIALS, main))


@pytest.mark.parametrize("place", [(channel, "resolve"), (fetching._Link, "_hear")])
def test_error_of_any_kind_ends_its_link_and_nothing_else(monkeypatch, peer, key, place):
    def fail(*_):
        raise OverflowError("odd")

    async def main(made):
        with monkeypatch.context() as patched:
            patched.setattr(*place, fail)
            with pytest.raises(NotFetchedError, match="odd"):
                await made.fetch(asking(peer))
        made._unreachable.clear()
        assert len(await made.fetch(asking(peer))) == len(DATA)

    asyncio.run(with_links(CREDENTIALS, main))


def test_what_never_comes_keeps_nothing_else_waiting(monkeypatch, peer, key):
    monkeypatch.setattr(fetching, "_AT_ONCE", 1)

    async def main(made):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            stuck = asyncio.ensure_future(made.fetch(asking(peer, address=f"127.0.0.1:{silent.getsockname()[1]}")))
            await asyncio.sleep(0)
            with pytest.raises(NotFetchedError, match="too many values"):
                await made.fetch(asking(peer))
            stuck.cancel()
            await asyncio.wait({stuck})
        assert len(await made.fetch(asking(peer))) == len(DATA)

    asyncio.run(with_links(CREDENTIALS, main))


@pytest.mark.usefixtures("apart")
def test_what_has_arrived_in_part_is_bounded_and_the_link_ends_that_has_most(monkeypatch, peer, key):
    give = kept_values.KeptValues.fetch

    def fetch_or_never_end(self, frame):
        if frame.key != b"endless":
            return give(self, frame)
        for _ in range(32):
            self._outbox.put(encode(Part(call=ON_LINK | frame.value[0], data=bytes(1 << 17))))
        return None

    monkeypatch.setattr(kept_values.KeptValues, "fetch", fetch_or_never_end)

    async def main(made):
        with Peer(1, credentials=CREDENTIALS) as hostile:
            stuck = asyncio.ensure_future(made.fetch(asking(hostile, key=b"endless")))
            while made.bytes_here < 4 << 20:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.01)
            assert len(await made.fetch(asking(peer))) == len(DATA)
            with pytest.raises(NotFetchedError):
                await stuck
            assert made.bytes_here == 0

    asyncio.run(with_links(CREDENTIALS, main, limit=5 << 20))


def test_nothing_is_read_while_memory_is_short(peer, key):
    async def main(made):
        assert len(await made.fetch(asking(peer))) == len(DATA)
        (link,) = made._running
        made.is_stopped = True
        for _ in range(2):  # one may have been about to be read
            waiting = asyncio.ensure_future(made.fetch(asking(peer)))
            await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()
        made.is_stopped = False
        assert len(await waiting) == len(DATA)
        assert made._running == {link}

    asyncio.run(with_links(CREDENTIALS, main))


def test_value_that_was_dropped_is_not_there(peer):
    kept_values._by_key[b"key"] = Value(DATA)  # nobody else has it
    with pytest.raises(NotFetchedError, match=r"the peer .* the value"):
        fetch(peer)


def test_values_of_one_peer_share_a_link(peer, key):
    async def main(made):
        many = await asyncio.gather(*(made.fetch(asking(peer)) for _ in range(50)))
        assert {len(payload) for payload in many} == {len(DATA)}
        assert len(made._links) == peer.clients == 1
        with pytest.raises(NotFetchedError):
            await made.fetch(asking(peer, key=b"other"))
        assert len(await made.fetch(asking(peer))) == len(DATA)
        assert peer.clients == 1

    asyncio.run(with_links(CREDENTIALS, main))


def test_link_that_is_not_used_ends_and_another_is_made(monkeypatch, peer, key):
    monkeypatch.setattr(fetching, "_IDLE", 0.05)

    async def main(made):
        for _ in range(2):
            assert len(await made.fetch(asking(peer))) == len(DATA)
            while made._links:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.01)

    asyncio.run(with_links(CREDENTIALS, main))
    eventually(lambda: not peer.clients)


def test_peer_that_drains_is_let_go(peer, key):
    async def main(made):
        await made.fetch(asking(peer))
        peer.drain()
        while made._links:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)
        with pytest.raises(NotFetchedError):
            await made.fetch(asking(peer))

    asyncio.run(with_links(CREDENTIALS, main))
    eventually(lambda: peer.ended)


def test_end_of_a_link_ends_all_waits(monkeypatch, peer, key):
    asked = []
    monkeypatch.setattr(kept_values.KeptValues, "fetch", lambda self, frame: asked.append(frame))

    async def main(made):
        waits = [asyncio.ensure_future(made.fetch(asking(peer))) for _ in range(3)]
        while len(asked) < 3:  # noqa: ASYNC110  # the peer is in another thread
            await asyncio.sleep(0.01)
        waits[0].cancel()
        await asyncio.get_running_loop().run_in_executor(None, peer.close)
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(each) for each in outcomes] == [asyncio.CancelledError, NotFetchedError, NotFetchedError]

    asyncio.run(with_links(CREDENTIALS, main))


def test_link_that_ends_while_a_value_is_asked_for_is_told_of_once():
    class Ended:
        async def write(self, data):
            link.fail("the link has ended")
            raise asyncio.InvalidStateError("it cannot be written to")

    async def ask():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: logged.append(context))
        with pytest.raises(NotFetchedError):
            await link.fetch(b"key")
        gc.collect()

    logged = []
    link = fetching._Link(None, Ended(), None, ())
    asyncio.run(ask())
    assert not logged


def test_others_take_turns_while_a_long_message_of_a_peer_is_handled(monkeypatch):
    monkeypatch.setattr(messages, "_SLICE", -1.0)
    heard, turns = [], []
    monkeypatch.setattr(fetching._Link, "_hear", lambda _, frame: heard.append(frame))

    async def main():
        link = fetching._Link(None, None, None, ())
        handling = asyncio.ensure_future(link._handle(encode(Drop(value=(1,))) * 2000))
        while not handling.done():
            await asyncio.sleep(0)
            turns.append(len(heard))

    asyncio.run(main())
    assert turns[-1] == 2000
    assert len([count for count in turns if 0 < count < 2000]) >= 7


def test_others_take_turns_while_a_large_value_within_its_frame_is_stored(monkeypatch):
    monkeypatch.setattr(messages, "_SLICE", -1.0)
    turns, arrived = [], []

    async def main():
        link = fetching._Link(None, None, None, ())
        monkeypatch.setattr(link, "_settle", lambda _, payload: arrived.append(len(payload)))
        handling = asyncio.ensure_future(link._handle(encode(Keep(value=7, extent=(8 << 20,), payload=bytes(8 << 20)))))
        while not handling.done():
            await asyncio.sleep(0)
            turns.append(1)
        handling.result()

    asyncio.run(main())
    assert arrived == [8 << 20]
    assert len(turns) >= 16
