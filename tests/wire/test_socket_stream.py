import contextlib
import os
import resource
import socket
import threading
from random import Random

import pytest

from tests.limits import all_descriptors_taken
from tests.wire.frames import random_frame
from woolexec.platform.ipc import DONT_WAIT
from woolexec.wire import ring_buffer, socket_stream
from woolexec.wire.descriptors import Descriptors, Reserve
from woolexec.wire.fast_frames import encode_apart, encode_return
from woolexec.wire.frames import KINDS, Define, Initialize, Recall, Return, Send, Start, Submit, Yield, encode
from woolexec.wire.payload import File, Parts, store
from woolexec.wire.socket_stream import LIMIT, HugeBatches, Reader, pieces, write


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@contextlib.contextmanager
def descriptors():
    """Both ends of a socket for descriptors."""
    ends = [Descriptors(sock, Reserve()) for sock in socket.socketpair()]
    try:
        yield ends
    finally:
        for end in ends:
            end.reserve.lend()
            end.close()


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


def test_payload_is_whole_when_what_follows_is_moved_to_the_front_of_the_buffer(ends):
    parts = [b"body", os.urandom(420_000)]
    frame = Return(call=(1,), extent=tuple(map(len, parts)), payload=b"".join(parts))
    data = sized(encode(frame)) + sized(encode(Return(call=(2,), payload=os.urandom(50_000))))[:45_000]
    reader, got = Reader(ends[1]), []

    for pos in range(0, len(data), 100_000):
        ends[0].sendall(data[pos : pos + 100_000])
        got += reader.read([])

    [whole] = got
    assert whole.payload.load() == parts


def test_memory_file_travels_beside_its_frame(ends):
    file = store([b"body", b"buffer"])
    frame = Return(call=(1,), extent=file.extent)
    with descriptors() as (here, there):
        assert write(ends[0], pieces(encode(frame)), file, here) == ([], None)
        [got] = Reader(ends[1], None, there).read()

    assert isinstance(got.payload, File)
    assert [bytes(part) for part in got.payload.load()] == [b"body", b"buffer"]


@pytest.mark.parametrize("kind", [Start, Return, Submit, Define, Initialize, Yield, Send])
def test_memory_file_that_cannot_be_sent_goes_as_bytes(ends, kind):
    parts = [b"body", os.urandom(300_000), b"", os.urandom(5000)]
    file = store(parts)
    frame = kind(extent=file.extent)
    frame.payload = b""
    writer = threading.Thread(target=write_all, args=(ends[0], pieces(encode(frame)), file))
    writer.start()
    reader, got = Reader(ends[1]), []
    while not got:
        got = reader.read()
    writer.join()

    assert [bytes(part) for part in got[0].payload.load()] == parts


def write_all(sock, rest, file):
    while rest:
        rest, file = write(sock, rest, file)


def test_descriptors_go_while_there_is_room_and_keep_their_order(ends):
    with descriptors() as (here, there):
        given, reader = 0, Reader(ends[1], None, there)
        while given < 10_000 and (file := store([b"%d" % given])) and here.give(file.fd):
            given += 1
        assert 10 < given < 10_000
        for number in range(given):
            fd = there.take()
            assert os.pread(fd, 10, 0).rstrip(b"\0") == b"%d" % number
            os.close(fd)
        with pytest.raises(ValueError, match="missing"):
            there.take()
        ends[0].sendall(sized(encode(Return(call=(1,), extent=(4,)))))
        with pytest.raises(ValueError, match="missing"):
            reader.read()


def test_memory_file_is_read_at_once_where_descriptors_are_scarce(ends, monkeypatch):
    monkeypatch.setattr(socket_stream, "is_scarce", lambda fd: True)
    file = store([b"body", b"buffer"])
    with descriptors() as (here, there):
        write(ends[0], pieces(encode(Return(call=(1,), extent=file.extent))), file, here)
        [got] = Reader(ends[1], None, there).read()

    assert isinstance(got.payload, Parts)
    assert [bytes(part) for part in got.payload.load()] == [b"body", b"buffer"]


def test_memory_file_arrives_where_all_descriptors_are_in_use_but_the_reserve(ends):
    file = store([b"body", b"buffer"])
    with descriptors() as (here, there), all_descriptors_taken():
        reader = Reader(ends[1], None, there)
        for _ in range(3):
            write(ends[0], pieces(encode(Return(call=(1,), extent=file.extent))), file, here)
            [got] = reader.read()
            assert [bytes(part) for part in got.payload.load()] == [b"body", b"buffer"]


def test_descriptor_for_which_there_is_none_is_an_error_of_its_payload_alone(ends):
    file = store([b"body", b"buffer"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptors() as (here, there):
        reader = Reader(ends[1], None, there)
        for _ in range(2):
            write(ends[0], pieces(encode(Return(call=(1,), extent=file.extent))), file, here)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # as if others had taken the reserve as well
        try:
            one, other = reader.read()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert isinstance(one.payload, OSError)
        assert isinstance(other.payload, OSError)
        write(ends[0], pieces(encode(Return(call=(1,), extent=file.extent))), file, here)
        assert isinstance(reader.read()[0].payload, File)


def test_payload_in_an_arena_is_taken_out_of_it(ends):
    memory, words = memoryview(bytearray(ring_buffer.SIZE)), memoryview(bytearray(8)).cast("Q")
    writer, reader = ring_buffer.RingBuffer(memory, words, 0), ring_buffer.RingBuffer(memory, words, 0)
    plain = Return(call=(1,), size=(5000,), arena=writer.put([b"p" * 5000], 5000))
    cut = Return(call=(2,), size=(10,), extent=(4, 6), arena=writer.put([b"body", b"buffer"], 10))
    ends[0].sendall(sized(encode(plain)) + sized(encode(cut)))

    one, other = Reader(ends[1], reader).read()

    assert one.payload == b"p" * 5000
    assert other.payload.load() == [b"body", b"buffer"]


def test_payload_in_an_arena_that_is_not_there_is_a_value_error(ends):
    ends[0].sendall(sized(encode(Return(call=(1,), size=(5,), arena=1))))

    with pytest.raises(ValueError, match="ring buffer"):
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


def test_batch_of_more_frames_than_a_trusted_end_sends_is_an_error(ends):
    reader = Reader(ends[1], most=3)
    ends[0].sendall(sized(encode(Recall()) * 3))
    assert len(reader.read()) == 3
    ends[0].sendall(sized(encode(Recall()) * 4))
    with pytest.raises(ValueError, match="batch of more than 3 frames"):
        reader.read()


def test_large_batch_of_more_frames_than_a_trusted_end_sends_is_an_error(ends):
    data = sized(encode(Recall()) * 1_000_000)
    reader, frames = Reader(ends[1], most=3), []
    sender = threading.Thread(target=ends[0].sendall, args=(data,))
    sender.start()
    with pytest.raises(ValueError, match="batch of more than 3 frames"):
        while not frames:
            frames = reader.read()
    sender.join()


@pytest.mark.parametrize("kind", ["frames", "returns", "both"])
def test_what_an_end_that_is_not_trusted_has_sent_comes_in_turns_and_in_order(ends, kind):
    numbers = range(5000)
    what = {"frames": lambda n: encode(Recall(call=n)), "returns": lambda n: encode_return(n, 0.5, b"x")}
    what["both"] = lambda n: what[("frames", "returns")[n // 700 % 2]](n)
    data = b"".join(sized(what[kind](n)) for n in numbers)
    reader, got, reads = Reader(ends[1], most=3), [], 0
    sender = threading.Thread(target=ends[0].sendall, args=(data,))
    sender.start()
    while len(got) < len(numbers):
        returns = []
        frames = reader.read(returns)
        got += [number for number, _, _ in returns]
        got += [frame.call if isinstance(frame, Recall) else frame.call[0] for frame in frames]
        assert len(frames) <= 256
        assert len(returns) <= 1100
        reads += 1
    sender.join()
    assert got == list(numbers)
    assert reads > 4
    assert not reader.has_more


def test_large_batches_of_several_readers_are_bounded_together(monkeypatch):
    monkeypatch.setattr(socket_stream, "_BUFFER", 1 << 17)
    huge = HugeBatches((2 << 20) + 100)
    pairs = [socket.socketpair() for _ in range(3)]
    readers = [Reader(far, most=64) for _, far in pairs]
    batch = sized(encode(Define(payload=bytes(1 << 20))))
    try:
        for reader in readers:
            reader.huge = huge
        for (near, _), reader in zip(pairs[:2], readers, strict=False):
            near.sendall(batch[:1000])
            reader.read()
        pairs[2][0].sendall(batch[:1000])
        with pytest.raises(ValueError, match="exceed the limit of 2097252 bytes"):
            readers[2].read()
        readers[1].close()  # its worker has ended
        rest = threading.Thread(target=pairs[0][0].sendall, args=(batch[1000:],))
        rest.start()
        frames = []
        while not frames:
            frames = readers[0].read()
        rest.join()
        assert len(frames[0].payload) == 1 << 20
        assert huge._size == 0
    finally:
        for ends in pairs:
            for end in ends:
                end.close()
        for reader in readers:
            reader.close()


def test_rest_of_what_has_arrived_is_returned_without_reading_on(ends):
    reader = Reader(ends[1], most=64)
    batch = sized(encode(Send(call=1, payload=bytes(5000))))
    ends[0].sendall(batch * 9 + batch[:100])
    ends[1].setblocking(False)
    got = [*reader.read()]
    assert reader.has_more
    ends[0].sendall(batch[100:])
    while reader.has_more:
        got += reader.read(only_rest=True)
    assert len(got) == 9
    assert len(reader.read()) == 1
