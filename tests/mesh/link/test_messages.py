import asyncio

import pytest

from tests.mesh.conftest import PATIENCE, eventually, joined
from woolexec.errors import ProtocolError
from woolexec.mesh.link.messages import _NUMBERS, LIMIT, Pieces, cut, in_slices, message_of
from woolexec.wire.frames import Drop, Recalled, Started
from woolexec.wire.protobuf import varint
from woolexec.wire.wire_pb2 import Batch


def messages_for(batch):
    pieces = cut(batch)
    return [message_of(piece, last=index == len(pieces) - 1) for index, piece in enumerate(pieces)]


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT, 5 * LIMIT - 3])
def test_batch_in_pieces_is_put_together_again(size):
    batch, pieces = bytes(range(251)) * (size // 251 + 1), Pieces()
    messages = messages_for(batch)
    assert max(map(len, messages)) <= LIMIT
    assert [bytes(pieces.batch(message)) for message in messages] == [b""] * (len(messages) - 1) + [batch]
    assert pieces.size == 0


def test_piece_is_what_the_schema_says():
    first, last = messages_for(bytes(LIMIT + 1))
    assert Batch.FromString(first).piece == bytes(LIMIT - 16)
    assert Batch.FromString(last).last == bytes(17)


def test_batch_in_one_message_is_passed_on_as_it_is():
    message = b"\n\x02\x0a\x00"
    assert Pieces().batch(message) is message
    assert not Pieces().batch(b"")


def test_batch_between_the_pieces_of_another_is_refused():
    pieces = Pieces()
    pieces.batch(messages_for(bytes(LIMIT + 1))[0])
    with pytest.raises(ProtocolError, match="between the pieces"):
        pieces.batch(b"\n\x02\x0a\x00")


def test_message_that_is_too_large_is_refused():
    with pytest.raises(ProtocolError, match="more than the limit"):
        Pieces().batch(b"\n" + bytes(LIMIT))


def test_message_that_is_too_large_ends_its_link_with_the_reason(peer):
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        write = pool._peers.links[0]._outbox._write
        pool._engine._loop.tell(lambda: asyncio.ensure_future(write(b"\n" + bytes(2 * LIMIT))))
        eventually(lambda: "more than the limit" in pool._peers.explain())
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize(
    "message",
    [
        b"\x12",
        b"\x12\x80",
        b"\x12\x05abcd",
        b"\x12\x03abcd",
        b"\x1a\x00",
        b"\x12" + varint(2**63) + b"a",
        b"\x12\xff" * 9,
    ],
)
def test_message_that_is_not_a_whole_piece_is_refused(message):
    with pytest.raises(ValueError, match="piece"):
        Pieces().batch(message)


def test_long_lists_of_numbers_are_handled_in_slices():
    numbers = tuple(range(3 * _NUMBERS + 1))
    frames = [Started(call=numbers, open=True), Drop(value=(7,)), Drop(value=numbers), Recalled(call=numbers)]
    slices = list(in_slices(frames))
    assert [type(each).__name__ for each in slices] == ["Started"] * 4 + ["Drop"] * 5 + ["Recalled"]
    assert sum((each.call for each in slices[:4]), ()) == sum((each.value for each in slices[5:9]), ()) == numbers
    assert all(each.open for each in slices[:4])
    assert slices[4] is frames[1]
    assert slices[-1] is frames[-1]  # it counts as one answer
