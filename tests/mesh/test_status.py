"""Which clients see which statistics at peers."""

import asyncio

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec import PeerRefusedError
from woolexec.cli.top_sources import PeerThere
from woolexec.mesh.client.inspection import ask_status, statistics_in
from woolexec.mesh.server.inspections import NOT_ALLOWED
from woolexec.mesh.server.peer import Peer


def test_the_user_of_a_peer_sees_what_all_clients_have_done():
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        assert list(one.map(abs, range(10))) == list(range(10))
        assert other.submit(pow, 2, 2).result(PATIENCE) == 4

        found, left_out = asyncio.run(ask_status(peer.address, CREDENTIALS, PATIENCE))

        functions = {each.name: each.count for _, made in found for each in made.functions}
        assert functions == {"abs": 10, "pow": 1}
        assert left_out == 0
        assert all(client for client, _ in found)
        assert other.submit(pow, 2, 3).result(PATIENCE) == 8  # it goes on


def test_a_client_with_a_token_alone_sees_and_ends_nothing_over_the_network():
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer, there(peer) as asked:
        for ask in (
            lambda questions: questions.status(PATIENCE),
            lambda questions: questions.stacks(PATIENCE),
            lambda questions: questions.cancel(1, 2, PATIENCE),
        ):
            with pytest.raises(PeerRefusedError) as caught:
                asked._ask(ask)
            assert str(caught.value) == NOT_ALLOWED


def there(peer):
    return PeerThere(peer.address, CREDENTIALS, PATIENCE)


@pytest.mark.parametrize(
    "text",
    ["", "1", "[]", "{}", '{"time": 1, "pid": 1}', '{"time": 1, "pid": 1, "host": "h", "tasks": 1}', "[" * 100_000,
     '{"time": 1, "pid": 1, "host": "h", "workers": [{"pid": 1, "host": "h", "state": "idle", "started": "x"}]}'],
)  # fmt: skip
def test_what_are_no_statistics_is_refused(text):
    with pytest.raises(ValueError):  # json's errors are such
        statistics_in(text)


def test_texts_of_a_peer_can_be_printed():
    text = r'{"time": 1, "pid": 1, "host": "\u001b[2J", "workers": [{"pid": 1, "host": "", "state": "\u001b\n"}]}'
    assert str(statistics_in(text)).replace("\n", "").isprintable()
