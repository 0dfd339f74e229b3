"""Which clients see which tasks at peers."""

import asyncio
import contextlib

import pytest

from tests.faults.tasks import eventually as in_time
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import PeerRefusedError, current_executor
from woolexec.mesh.client.inspection import ask
from woolexec.mesh.server.inspections import NOT_ALLOWED
from woolexec.mesh.server.peer import Peer


def wait_for(path):
    assert in_time(path.exists)


def wait_below(path):
    return current_executor().submit(wait_for, path).result()


async def wait_async(path):
    while not path.exists():  # noqa: ASYNC110  # it waits for another process
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def released(path):
    """Let the tasks end that wait for a file, however the block is left."""
    try:
        yield
    finally:
        path.touch()


def names(found):
    return sorted(each.function for each in found)


def test_client_sees_its_own_tasks_and_none_of_others_and_the_user_of_the_peer_sees_all(tmp_path):
    go = tmp_path / "go"
    with Peer(3, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other, released(go):
        futures = [one.submit(wait_below, go), one.submit(wait_async, go), other.submit(wait_for, go)]
        eventually(lambda: names(one.stacks()) == ["wait_async", "wait_below", "wait_for"])
        eventually(lambda: names(other.stacks()) == ["wait_for"])

        found = {each.function: each for each in one.stacks()}
        everything, left_out = asyncio.run(ask(peer.address, CREDENTIALS, PATIENCE))

        assert found["wait_async"].stack.split("\n")[0].endswith(", in wait_async")
        assert ", in wait_below" in found["wait_below"].stack
        assert {each.peer for each in found.values()} == {peer.address}
        assert names(everything) == ["wait_async", "wait_below", "wait_for", "wait_for"]
        assert all(each.client for each in everything)
        assert left_out == 0
        go.touch()
        for future in futures:
            future.result(PATIENCE)


def test_client_with_a_token_alone_sees_nothing_of_others_over_the_network(tmp_path):
    go = tmp_path / "go"
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer, joined(peer) as pool, released(go):
        future = pool.submit(wait_for, go)
        eventually(lambda: names(pool.stacks()) == ["wait_for"])

        with pytest.raises(PeerRefusedError) as caught:
            asyncio.run(ask(peer.address, CREDENTIALS, PATIENCE))

        assert str(caught.value) == NOT_ALLOWED
        go.touch()
        future.result(PATIENCE)
