import os
import socket
import threading
from random import Random

import pytest

from tests.wire.frames import random_frame
from woolexec.wire import arena
from woolexec.wire.codec import KINDS, Recall, Return, Start, encode, encode_apart, encode_return
from woolexec.wire.payload import File, Parts, store
from woolexec.wire.stream import DONT_WAIT, LIMIT, Reader, pieces, write


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def sized(data):
    return len(data).to_bytes(4, "little") + data


def small_frame(random):
    frame = random_frame(random, random.choice(list(KINDS)))
    for name in ("extent", "arena"):
        if hasattr(frame, name):
            setattr(frame, name, frame.DEFAULTS[name])
    return frame


def test_stream_cut_anywhere_gives_the_frames_in_order(ends):
    random = Random(1)
    frames = [small_frame(random) for _ in range(200)]
    data = b"".join(sized(encode(frame)) for frame in frames)
    reader, got, pos = Reader(ends[1]), [], 0

    while pos < len(data):
        step = random.choice((1, 2, 3, 50, 4000))
        ends[0].sendall(data[pos : pos + step])
        pos += step
        got += reader.read()

    assert got == frames


def test_returns_never_overtake_other_frames(ends):
    reader, returns = Reader(ends[1]), []
    lone = [sized(encode_return(n, 0.5, b"x")) for n in range(4)]
    ends[0].sendall(lone[0] + lone[1] + sized(encode(Recall(call=9))) + lone[2] + lone[3])

    frames = reader.read(returns)

    assert [number for number, _, _ in returns] == [0, 1]
    assert frames[0] == Recall(call=9)
    assert [frame.call for frame in frames[1:]] == [(2,), (3,)]


def test_batch_larger_than_the_buffer_arrives_whole(ends):
    payload = os.urandom(3_000_000)
    frame = Return(call=(1,), payload=payload)
    data = sized(encode(Recall(call=1))) + sized(encode(frame)) + sized(encode(Recall(call=2)))
    writer = threading.Thread(target=ends[0].sendall, args=(data,))
    writer.start()
    reader, got = Reader(ends[1]), []

    while len(got) < 3:
        got += reader.read()
    writer.join()

    assert got == [Recall(call=1), frame, Recall(call=2)]


def test_payload_with_buffers_is_cut_into_them(ends):
    parts = Parts([b"body", b"b" * 5000])
    frame = Start(call=(1,), extent=parts.extent, payload=parts)
    rest = pieces(encode_apart(frame), parts), None
    while rest[0]:
        rest = write(ends[0], *rest)

    [got] = Reader(ends[1]).read()

    assert got.payload.load() == [b"body", b"b" * 5000]


def test_memory_file_travels_beside_its_frame(ends):
    file = store([b"body", b"buffer"])
    frame = Return(call=(1,), extent=file.extent)
    assert write(ends[0], pieces(encode(frame)), file) == ([], None)

    [got] = Reader(ends[1]).read()

    assert isinstance(got.payload, File)
    assert [bytes(part) for part in got.payload.load()] == [b"body", b"buffer"]


def test_payload_in_an_arena_is_taken_out_of_it(ends):
    memory, words = memoryview(bytearray(arena.SIZE)), memoryview(bytearray(8)).cast("Q")
    writer, reader = arena.Arena(memory, words, 0), arena.Arena(memory, words, 0)
    plain = Return(call=(1,), size=(5000,), arena=writer.put([b"p" * 5000], 5000))
    cut = Return(call=(2,), size=(10,), extent=(4, 6), arena=writer.put([b"body", b"buffer"], 10))
    ends[0].sendall(sized(encode(plain)) + sized(encode(cut)))

    one, other = Reader(ends[1], reader).read()

    assert one.payload == b"p" * 5000
    assert other.payload.load() == [b"body", b"buffer"]


def test_payload_in_an_arena_that_is_not_there_is_a_value_error(ends):
    ends[0].sendall(sized(encode(Return(call=(1,), size=(5,), arena=1))))

    with pytest.raises(ValueError, match="arena"):
        Reader(ends[1]).read()


def test_frame_whose_memory_file_is_missing_is_a_value_error(ends):
    ends[0].sendall(sized(encode(Return(call=(1,), extent=(4,)))))

    with pytest.raises(ValueError, match="missing"):
        Reader(ends[1]).read()


def test_oversize_batch_is_refused_before_it_is_read(ends):
    ends[0].sendall((LIMIT + 1).to_bytes(4, "little"))

    with pytest.raises(ValueError, match="batch of"):
        Reader(ends[1]).read()


def test_end_of_the_stream_is_an_eof_error(ends):
    ends[0].close()

    with pytest.raises(EOFError):
        Reader(ends[1]).read()


def test_empty_stream_does_not_block_a_read_that_may_not_wait(ends):
    with pytest.raises(BlockingIOError):
        Reader(ends[1]).read(flags=DONT_WAIT)


def test_descriptors_that_nobody_took_are_closed(ends):
    file = store([b"x"])
    write(ends[0], [b"\x00\x00"], file)
    reader = Reader(ends[1])
    reader.read()

    reader.close()


def test_full_socket_keeps_what_is_left(ends):
    ends[0].setblocking(False)
    data = os.urandom(5_000_000)
    rest, received = ([data], None), bytearray()

    while rest[0]:
        try:
            rest = write(ends[0], *rest)
        except BlockingIOError:
            received += ends[1].recv(1 << 20)
    ends[0].close()
    while part := ends[1].recv(1 << 20):
        received += part

    assert received == data


def test_garbage_is_a_value_error_and_never_a_hang(ends):
    random = Random(3)
    for _ in range(300):
        one, other = socket.socketpair()
        with one, other:
            reader = Reader(other)
            one.sendall(sized(random.randbytes(random.randint(1, 80))))
            one.shutdown(socket.SHUT_WR)
            try:
                while True:
                    reader.read([])
            except (ValueError, EOFError):
                pass
            reader.close()
