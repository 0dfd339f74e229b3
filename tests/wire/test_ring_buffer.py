import os
from collections import deque
from random import Random

import pytest

from woolexec.wire.ring_buffer import SIZE, RingBuffer


@pytest.fixture
def ends():
    memory, words = memoryview(bytearray(SIZE)), memoryview(bytearray(16)).cast("Q")
    return RingBuffer(memory, words, 1), RingBuffer(memory, words, 1)


def test_payload_comes_out_in_its_parts(ends):
    writer, reader = ends
    mark = writer.put([b"body", b"buffer"], 10)

    assert mark
    assert reader.take(mark, (4, 6)) == [b"body", b"buffer"]


def test_random_payloads_come_out_in_order_as_they_went_in(ends):
    writer, reader = ends
    random, under_way, refused = Random(1), deque(), 0
    for _ in range(3000):
        data = random.randbytes(random.choice((1, 63, 64, 65, 5000, 60_000, 130_000)))
        mark = writer.put([data], len(data))
        refused += not mark
        if mark:
            under_way.append((mark, data))
        while under_way and (not mark or random.random() < 0.5):
            at, expected = under_way.popleft()
            assert reader.take(at, (len(expected),)) == [expected]
            mark = 1
    assert refused > 50, "it was never full"


def test_nothing_can_be_put_in_where_there_is_no_memory():
    ring_buffer = RingBuffer(memoryview(b""), memoryview(bytearray(16)).cast("Q"), 1)

    assert not ring_buffer.put([b"body"], 4)


def test_full_arena_refuses_and_takes_again_when_it_was_read(ends):
    writer, reader = ends
    half = os.urandom(SIZE // 2)
    marks = [writer.put([half], len(half)) for _ in range(3)]
    assert marks[2] == 0

    reader.take(marks[0], (len(half),))

    assert writer.put([half], len(half))


def test_payload_of_the_whole_size_fits_and_one_more_byte_does_not(ends):
    writer, _ = ends

    assert not writer.put([bytes(SIZE + 1)], SIZE + 1)
    assert writer.put([bytes(SIZE)], SIZE)


def test_what_comes_out_does_not_change_when_its_place_is_used_again(ends):
    writer, reader = ends
    [first] = reader.take(writer.put([b"a" * SIZE], SIZE), (SIZE,))

    writer.put([b"b" * SIZE], SIZE)

    assert first == b"a" * SIZE


@pytest.mark.parametrize(("mark", "sizes"), [(1, (SIZE + 1,)), (SIZE - 10, (100,))])
def test_payload_that_cannot_be_there_is_a_value_error(ends, mark, sizes):
    with pytest.raises(ValueError, match="no payload"):
        ends[1].take(mark, sizes)


def test_payload_is_taken_once(ends):
    writer, reader = ends
    mark = writer.put([b"once"], 4)
    reader.take(mark, (4,))

    with pytest.raises(ValueError, match="no payload"):
        reader.take(mark, (4,))
