"""The engine's end of a worker, with the test at the other end of the socket."""

import itertools
import os
import threading

import pytest

from woolexec.core.call import Call, Chunk, Function
from woolexec.engine.worker_process import Worker, pids_of
from woolexec.errors import ProtocolError
from woolexec.platform.ipc import DONT_WAIT
from woolexec.wire.descriptors import Descriptors, Reserve
from woolexec.wire.fast_frames import encode_return
from woolexec.wire.frames import Initialize, Recall, Return, Start, Stop, encode
from woolexec.wire.payload import LARGE, store
from woolexec.wire.pickling import dumps
from woolexec.wire.shared_page import CRASH, PID, SharedPage
from woolexec.wire.socket_stream import Reader


class Pair:
    """A worker's two ends."""

    def __init__(self, limit=None):
        self.worker = Worker(1, limit)
        self.reserve = Reserve()
        self.sock, descriptors, self.page_fd = self.worker.open(self.reserve)
        self.page = SharedPage(self.page_fd)
        self.descriptors = Descriptors(descriptors, Reserve())
        self.reader = Reader(self.sock, self.page.down, self.descriptors)
        self.numbers = itertools.count(1)

    def send(self, *calls):
        for call in calls:
            self.worker.sent(call, next(self.numbers), 0.0, len(call.payload))
        self.worker.send_calls(calls)

    def arrived(self):
        assert self.worker.flush()
        frames = []
        try:
            while True:
                frames += self.reader.read(flags=DONT_WAIT)
        except BlockingIOError:
            return frames

    def close(self):
        self.worker.outstanding.clear()  # pytest keeps the pair longer than it keeps the payloads
        self.worker.close()
        self.descriptors.reserve.lend()
        self.descriptors.close()
        self.reserve.lend()
        self.page.close()
        self.sock.close()
        os.close(self.page_fd)


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


def make_function(name="f"):
    return Function(name.encode(), name)


def make_call(function, payload=b"args", options=None):
    return Call(function, payload, None, options)


def sized(data):
    return len(data).to_bytes(4, "little") + data


def test_worker_is_known_by_its_process_id_also_after_its_end(pair):
    assert pids_of({1: pair.worker}) == []
    pair.page._words[PID] = 4711

    assert (pair.worker.key(1), pids_of({1: pair.worker})) == (4711, [4711])
    pair.worker.close()
    assert (pair.worker.key(1), pids_of({1: pair.worker})) == (4711, [4711])


def test_worker_that_has_ended_before_it_had_a_process_id_is_known_by_its_number(pair):
    pair.worker.close()

    assert (pair.worker.key(1), pids_of({1: pair.worker})) == ("worker 1", [])


def test_payload_of_a_chunk_is_sent_once(pair):
    chunk = Chunk(make_function(), b"items", 10, None)

    pair.send(chunk.cut(3), chunk.cut(7))

    _, first, second = pair.arrived()
    assert (first.payload, first.first, first.count, first.again) == (b"items", 0, 3, False)
    assert (second.payload, second.first, second.count, second.again) == (b"", 3, 7, True)


def test_chunk_is_sent_again_after_another(pair):
    function = make_function()
    one, other = Chunk(function, b"one", 4, None), Chunk(function, b"other", 4, None)

    pair.send(one.cut(2), other.cut(2), one.cut(2))

    assert [frame.payload for frame in pair.arrived()[1:]] == [b"one", b"other", b"one"]


@pytest.mark.parametrize("size", [1000, 5000, LARGE - 100, LARGE * 2])
def test_payload_of_any_size_arrives(pair, size):
    payload = dumps("x" * size)

    pair.send(make_call(make_function(), payload))

    _, start = pair.arrived()
    assert len(start.payload) == len(payload)


def test_stop_initialize_and_recall_are_sent(pair):
    pair.worker.initialize(b"init")
    pair.worker.send_recall(4, 2, lane=False)
    pair.worker.send_stop()

    assert pair.arrived() == [Initialize(payload=b"init"), Recall(call=4, waiting=2), Stop()]
    assert pair.worker.stopping
    assert not pair.worker.ready


def test_full_socket_is_told_and_written_later(pair):
    function = make_function()
    for _ in range(400):
        pair.send(make_call(function, os.urandom(60_000)))
    assert not pair.worker.flush()

    got = 0
    while got < 401:
        try:
            got += len(pair.reader.read(flags=DONT_WAIT))
        except BlockingIOError:
            pair.worker.flush()
    assert pair.worker.flush()


def test_frames_follow_the_rest_of_what_was_written_in_part(pair):
    whole = sized(encode(Recall(call=7)))
    pair.sock.setblocking(False)
    pair.worker.sock.sendall(whole[:3])
    pair.worker._out.append(([memoryview(whole)[3:]], None))  # as `write` leaves it

    pair.worker.send(encode(Recall(call=8)))
    pair.send(make_call(make_function()))

    first, second, *_ = pair.arrived()
    assert (first, second) == (Recall(call=7), Recall(call=8))


def test_outcomes_are_received(pair):
    file = store([b"large"])
    pair.sock.sendall(sized(encode_return(1, 0.5, b"value")) + sized(encode(Return(call=(2,), payload=b"x"))))
    returns = []

    frames = pair.worker.receive(returns)

    assert returns == [(1, 0.5, b"value")]
    assert frames == [Return(call=(2,), payload=b"x")]
    assert pair.worker.receive(returns) == []
    del file


def test_end_of_the_stream_is_an_eof_error(pair):
    pair.sock.close()

    with pytest.raises(EOFError):
        pair.worker.receive([])


def test_sending_to_the_dead_is_silent(pair):
    pair.sock.close()
    pair.send(make_call(make_function()))

    assert pair.worker.flush()


def test_garbage_is_a_protocol_error(pair):
    pair.sock.sendall(sized(b"garbage"))

    with pytest.raises(ProtocolError):
        pair.worker.receive([])


def test_without_a_permit_nothing_is_sent_directly(pair):
    assert not pair.worker.send_directly(make_call(make_function()))
    assert pair.arrived() == []


def test_permit_sends_one_call_without_the_engine(pair):
    function = make_function()
    pair.send(make_call(function))
    pair.arrived()
    one, other = make_call(function, b"direct"), make_call(function)
    pair.worker.grant_permit(7)

    assert pair.worker.send_directly(one)
    assert not pair.worker.send_directly(other)

    assert pair.arrived() == [Start(call=(7,), size=(6,), payload=b"direct")]
    assert pair.worker.has_permit
    assert pair.worker.revoke_permit() == (one, 7)
    assert not pair.worker.has_permit


def test_permit_that_was_not_used_is_taken_back(pair):
    pair.worker.grant_permit(7)

    assert pair.worker.revoke_permit() is None
    assert not pair.worker.send_directly(make_call(make_function()))


def test_function_that_the_worker_does_not_have_takes_the_long_way(pair):
    pair.worker.grant_permit(7)

    assert not pair.worker.send_directly(make_call(make_function()))

    assert pair.worker.revoke_permit() is None, "the permit was not used up"


def test_large_payload_takes_the_long_way(pair):
    function = make_function()
    pair.send(make_call(function))
    pair.worker.grant_permit(7)

    assert not pair.worker.send_directly(make_call(function, bytes(100_000)))


def test_threads_that_race_for_a_permit_send_one_call(pair):
    function = make_function()
    pair.send(make_call(function))
    pair.arrived()
    for number in range(50):
        pair.worker.grant_permit(100 + number)
        barrier, won = threading.Barrier(4), []

        def race(barrier=barrier, won=won):
            call = make_call(function)
            barrier.wait()
            if pair.worker.send_directly(call):
                won.append(call)

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pair.worker.revoke_permit() == (won[0], 100 + number)
        assert len(won) == len(pair.arrived()) == 1


def test_start_of_a_waiting_call_is_remembered_beneath_others(pair):
    pair.send(make_call(make_function()), make_call(make_function()))
    pair.page.start(1)
    since = pair.worker.began(1)
    pair.worker.note_waiting(1)

    pair.page.start(2)

    assert pair.worker.began(1) == since
    assert pair.worker.began(2) >= since
    assert pair.worker.began(3) is None


def test_crash_report_is_what_was_written(pair):
    assert pair.worker.page.crash_report == b""
    os.pwrite(pair.page_fd, b"Fatal Python error", CRASH)

    assert pair.worker.page.crash_report == b"Fatal Python error"
