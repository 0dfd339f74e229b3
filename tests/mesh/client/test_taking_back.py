"""Calls that are cancelled one after the other while a peer has them."""

import threading

import anyio
import anyio.lowlevel
import pytest

from tests.chaos.relay import Relay
from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec.mesh.server.peer import Peer


@pytest.fixture
def relay():
    """A way to a peer with two workers, on which it can fall silent."""
    with Peer(2, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        with Relay(int(peer.address.rpartition(":")[2])) as relay:
            yield relay


def silence(relay):
    """Return when nothing passes any more."""
    is_silent = threading.Event()
    relay.silence()
    relay._ask(is_silent.set)
    assert is_silent.wait(PATIENCE)


def occupied(pool, room):
    held = [pool.submit(tasks.hold_by_name, room, f"held-{number}") for number in range(2)]
    eventually(lambda: all((room / f"held-{number}").exists() for number in range(2)))
    return held


@pytest.mark.parametrize("force", [False, True])
def test_answer_does_not_wait_until_calls_are_sent_again(pool, tmp_path, monkeypatch, force):
    monkeypatch.setattr("woolexec.futures.call_future._PATIENCE", None)
    held = occupied(pool, tmp_path)
    assert not held[0].cancel()
    monkeypatch.setattr("woolexec.mesh.client.taking_back._BURST", 3600.0)  # now the next ones come in a burst
    pool._engine.scheduler.links[0]._taking_back._burst_until = float("inf")
    for _ in range(3):
        assert [future.cancel(force=force) for future in held] == [force, force]
    (tmp_path / "release").touch()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_loop_goes_on_while_a_peer_is_asked_for_a_call(relay, tmp_path, monkeypatch, backend):
    monkeypatch.setattr("woolexec.futures.call_future._PATIENCE", None)
    monkeypatch.setattr("woolexec.futures.awaiting.GRACE", PATIENCE)

    async def call(future, scope):
        with scope:
            await future

    async def main():
        with joined(relay.address) as pool:
            async with anyio.create_task_group() as group:
                scopes = [anyio.CancelScope() for _ in range(2)]
                for scope in scopes:
                    group.start_soon(call, pool.submit(tasks.hold_by_name, tmp_path), scope)
                await anyio.lowlevel.checkpoint()  # both wait now
                eventually((tmp_path / "held").exists)
                silence(relay)
                for scope in scopes:
                    scope.cancel()
                await anyio.lowlevel.checkpoint()
                relay.mend()  # which a loop that waits for the answer would never do
            assert all(scope.cancelled_caught for scope in scopes)
            assert await pool.run(abs, -1) == 1

    anyio.run(main, backend=backend)
