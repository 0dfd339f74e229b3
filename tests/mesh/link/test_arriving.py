import os
import resource

import pytest

from tests.mesh.conftest import eventually, joined
from woolexec.errors import ProtocolError
from woolexec.mesh.link import arriving as arriving_module
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.compression import PART
from woolexec.mesh.link.messages import LIMIT, cut, message_of
from woolexec.wire.frames import Handed, Part, Return, Start, encode
from woolexec.wire.payload import File, store

SIZE = 100_000


def part(call, size=SIZE):
    return Part(call=call, data=bytes(size))


def test_payloads_that_never_end_are_refused_at_the_limit():
    arriving = Arriving(limit=3 * SIZE)
    for number in range(3):
        arriving.add(part(number))
    with pytest.raises(ProtocolError, match="too much has arrived in part"):
        arriving.add(part(0))


def test_batch_in_pieces_counts_against_the_same_limit():
    arriving = Arriving(limit=LIMIT + SIZE // 2)
    assert not arriving.batch(message_of(cut(bytes(3 * LIMIT))[0], last=False))
    with pytest.raises(ProtocolError, match="too much has arrived in part"):
        arriving.add(part(1))


def within(*sizes, cut=0):
    """A frame with a payload of these sizes within."""
    body = os.urandom(sum(sizes) - cut)
    return Start(call=(1,), count=1, extent=sizes, payload=memoryview(body)), body


def test_large_payload_within_its_frame_is_stored_in_steps():
    arriving, taken = Arriving(), []
    frame, body = within(10, 3 * PART + 1, 0, 1 << 20)
    steps = arriving.in_steps(lambda each: taken.append(arriving.take(each)))(frame)
    assert sum(1 for _ in steps) >= 6
    (file,) = taken
    assert isinstance(file, File)
    assert b"".join(file.load()) == body
    assert [len(each) for each in file.load()] == [10, 3 * PART + 1, 0, 1 << 20]


def test_large_payload_within_its_frame_is_taken_without_a_file_if_descriptors_are_scarce(monkeypatch):
    monkeypatch.setattr(arriving_module, "_begun", bytearray)
    arriving, taken = Arriving(), []
    frame, body = within(1 << 20, 1 << 20)
    assert list(arriving.in_steps(lambda each: taken.append(arriving.take(each)))(frame)) == []
    assert b"".join(taken[0].load()) == body


@pytest.fixture
def small_files():
    """Let no file of this process become larger than half as much again as a part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PART * 3 // 2, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_payload_that_no_file_may_hold_is_kept_in_memory(small_files):
    arriving, taken = Arriving(), []
    body = os.urandom(3 * PART)
    for start in range(0, len(body), PART):
        arriving.add(Part(call=1, data=body[start : start + PART]))
    assert bytes(arriving.take(Return(call=1, extent=(len(body),))).load()[0]) == body

    frame, body = within(1 << 20)
    assert list(arriving.in_steps(lambda each: taken.append(arriving.take(each)))(frame)) == []
    assert b"".join(taken[0].load()) == body


@pytest.mark.parametrize("cut", [1, -1])
def test_payload_within_its_frame_whose_sizes_do_not_add_up_is_refused(cut):
    arriving = Arriving()
    frame, _ = within(1 << 20, 1 << 20, cut=cut)
    with pytest.raises(ValueError, match="size"):
        list(arriving.in_steps(arriving.take)(frame))


def test_small_payload_within_its_frame_is_handled_at_once():
    frame, body = within(5, 6)
    assert Arriving().in_steps(lambda each: [bytes(each.payload)])(frame) == [body]


@pytest.mark.parametrize("is_taken", [True, False])
def test_payload_that_has_arrived_or_will_not_makes_room_for_the_next(is_taken):
    arriving = Arriving(limit=3 * SIZE)
    for number in range(20):
        arriving.add(part(number, 2 * SIZE))
        if is_taken:
            arriving.take(Return(call=(number,), extent=(2 * SIZE - 64,)))
        else:
            arriving.forget(number)


def test_many_begun_payloads_are_refused_whatever_their_size(monkeypatch):
    monkeypatch.setattr(arriving_module, "_PAYLOADS", 3)
    arriving = Arriving()
    for number in range(3):
        arriving.add(part(number, 1))
    with pytest.raises(ProtocolError, match="4 payloads"):
        arriving.add(part(3, 1))


class Giver:
    """Hands over as many memory files as are wanted."""

    def take(self, number):
        return store([bytes(SIZE)])


def test_descriptors_without_frames_are_refused_beyond_a_number(monkeypatch):
    monkeypatch.setattr(arriving_module, "_PAYLOADS", 3)
    arriving = Arriving()
    arriving.passage = Giver()
    for number in range(3):
        arriving.add(Handed(call=number, file=number))
    with pytest.raises(ProtocolError, match="4 payloads"):
        arriving.add(Handed(call=3, file=3))


def test_second_descriptor_for_one_call_is_refused():
    arriving = Arriving()
    arriving.passage = Giver()
    arriving.add(Handed(call=1, file=1))
    with pytest.raises(ProtocolError, match="twice"):
        arriving.add(Handed(call=1, file=2))


def test_link_of_a_client_that_never_ends_its_payloads_ends_with_the_reason(peer):
    with joined(peer) as pool, joined(peer) as other:
        (served, _) = peer._acceptor.served
        for each in peer._acceptor.served:
            each._arriving._limit = 3 * SIZE
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(b"".join(encode(part(number)) for number in range(4))))
        eventually(lambda: "too much has arrived in part" in pool._peers.explain())
        assert other.submit(abs, -1).result(20) == 1
        assert pool.submit(abs, -1).result(20) == 1  # over another link
        assert served is not None
