import os
import signal
import socket
import threading

import pytest

from woolexec.wire import payload
from woolexec.wire.frames import Log, Recall, Resume, encode
from woolexec.wire.payload import LARGE, store
from woolexec.wire.socket_stream import Reader
from woolexec.wire.spare_files import drop_spares, lend
from woolexec.worker import socket_transport
from woolexec.worker.socket_transport import SocketTransport


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def sized(data):
    return len(data).to_bytes(4, "little") + data


def test_frames_arrive_both_ways(ends):
    transport, other = SocketTransport(ends[0]), SocketTransport(ends[1])

    transport.send(encode(Resume(call=3)))
    other.send(encode(Recall(call=4)))

    assert other.receive() == [Resume(call=3)]
    assert transport.receive() == [Recall(call=4)]


def test_worker_without_work_closes_its_spare_files(ends, monkeypatch):
    monkeypatch.setattr(socket_transport, "_IDLE", 0.001)
    payload.lenders.add(0)
    try:
        file = lend([bytes(LARGE)])
        file.pass_on()
        del file
        payload.spares[0]
        transport = SocketTransport(ends[1])
        reader = threading.Thread(target=transport.receive)
        reader.start()
        while payload.spares:
            reader.join(0.001)
        ends[0].send(sized(encode(Resume(call=3))))
        reader.join()
    finally:
        payload.lenders.discard(0)
        drop_spares()


def test_memory_file_travels(ends):
    file = store([b"body", b"buffer"])
    from woolexec.wire.frames import Return

    SocketTransport(ends[0]).send(encode(Return(call=(1,), extent=file.extent)), file)

    [frame] = SocketTransport(ends[1]).receive()
    assert [bytes(part) for part in frame.payload.load()] == [b"body", b"buffer"]


def test_reading_waits_for_a_whole_frame(ends):
    data = sized(encode(Recall(call=4)))
    ends[0].sendall(data[:6])
    writer = threading.Timer(0.05, ends[0].sendall, [data[6:]])
    writer.start()

    assert SocketTransport(ends[1]).receive() == [Recall(call=4)]
    writer.join()


def test_reading_without_waiting_says_that_there_is_nothing(ends):
    with pytest.raises(BlockingIOError):
        SocketTransport(ends[1]).receive(wait=False)


def test_end_is_an_eof_error(ends):
    ends[0].close()

    with pytest.raises(EOFError):
        SocketTransport(ends[1]).receive()


def test_frames_of_many_threads_arrive_whole(ends):
    transport, reader, got = SocketTransport(ends[0]), Reader(ends[1]), []

    def send(name):
        for number in range(100):
            transport.send(encode(Log(record=bytes(3000), text=f"{name} {number}")))

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    while len(got) < 400:
        got += reader.read()
    for thread in threads:
        thread.join()

    for name in "abcd":
        assert [frame.text for frame in got if frame.text[0] == name] == [f"{name} {number}" for number in range(100)]


def test_signal_handler_that_sends_in_the_middle_of_a_frame_does_not_break_it(ends):
    transport, reader, got = SocketTransport(ends[0]), Reader(ends[1]), []
    previous = signal.signal(signal.SIGALRM, lambda *_: transport.send(encode(Log(text="from the handler"))))
    large = 50

    def read():
        while sum(frame.text != "from the handler" for frame in got) < large:
            got.extend(reader.read())

    thread = threading.Thread(target=read)
    thread.start()
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(large):
            transport.send(encode(Log(record=os.urandom(300_000), text=str(number))))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    thread.join()

    assert [frame.text for frame in got if frame.text != "from the handler"] == list(map(str, range(large)))


def test_what_is_sent_to_an_engine_that_is_gone_is_dropped_and_the_reader_hears_of_it():
    one, other = socket.socketpair()
    other.close()
    with one:
        transport = SocketTransport(one)
        transport.send(b"frames")
        with pytest.raises(EOFError):
            transport.receive()
