"""How batches are written to a stream: one write at a time, started when frames are queued."""

import asyncio
import gc
import logging
from collections import deque

import pytest

from woolexec.mesh.link import outbox as outbox_module
from woolexec.mesh.link.messages import FRAMES, LIMIT, Pieces
from woolexec.mesh.link.outbox import _MEMORY, Outbox
from woolexec.wire.fast_frames import decode_some
from woolexec.wire.frames import Close, Part, Yield, encode
from woolexec.wire.payload import LARGE, Parts

pytestmark = pytest.mark.usefixtures("no_complaints")


@pytest.fixture
def no_complaints(caplog):
    """Asyncio says nothing of outcomes that nobody has taken."""
    caplog.set_level(logging.WARNING, "asyncio")
    yield
    gc.collect()
    assert not caplog.records


class Stream:
    """Takes batches; each write is over when `let` says so."""

    def __init__(self):
        self.batches = []
        self.failures = 0
        self._ends = []

    async def write(self, data):
        self.batches.append(data)
        self._ends.append(asyncio.get_running_loop().create_future())
        await self._ends[-1]

    async def let(self, error=None):
        """End the write that was begun first."""
        end = self._ends.pop(0)
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)
        del end, error
        await asyncio.sleep(0)

    def fail(self):
        self.failures += 1


def run(test):
    async def main():
        stream, outbox = Stream(), Outbox(set())
        outbox.open(stream.write, stream.fail)
        await test(stream, outbox)

    asyncio.run(main())


def test_write_begins_when_it_is_flushed_and_others_wait_for_its_end():
    async def test(stream, outbox):
        outbox.put(b"1")
        assert outbox in outbox._due
        assert not stream.batches
        outbox.flush()
        assert stream.batches == [b"1"]
        outbox.put(b"2")
        outbox.flush()
        outbox.put(b"3")
        outbox.flush()
        assert stream.batches == [b"1"]
        await stream.let()
        assert stream.batches == [b"1", b"23"]

    run(test)


def test_nothing_runs_when_a_write_is_done_and_nothing_waits():
    async def test(stream, outbox):
        for batch in (b"1", b"2"):
            outbox.put(batch)
            outbox.flush()
            await stream.let()
            assert outbox._writing is not None
        assert stream.batches == [b"1", b"2"]

    run(test)


def test_what_was_put_in_line_before_the_stream_was_there_goes_first():
    async def test(stream, outbox):
        early = Outbox(set())
        early.put(b"1")
        early.flush()
        early.open(stream.write, stream.fail)
        assert stream.batches == [b"1"]

    run(test)


def test_large_batch_leaves_memory_when_it_is_written():
    async def test(stream, outbox):
        outbox.put(b"1" * (_MEMORY + 1))
        outbox.flush()
        await stream.let()
        assert outbox._writing is None

    run(test)


def test_bytes_count_as_unsent_until_they_are_written():
    async def test(stream, outbox):
        outbox.put(b"1" * (_MEMORY + 1))
        assert outbox.unsent == _MEMORY + 1
        outbox.flush()
        outbox.put(b"22")
        assert outbox.unsent == _MEMORY + 3
        await stream.let()
        assert outbox.unsent == 2
        assert stream.batches[1:] == [b"22"]

    run(test)


def test_failing_write_is_the_end_and_told_once():
    async def test(stream, outbox):
        outbox.put(b"1")
        outbox.flush()
        outbox.put(b"2")
        outbox.flush()
        await stream.let(OSError())
        assert stream.failures == 1
        outbox.put(b"3")
        outbox.flush()
        assert (stream.batches, stream.failures) == ([b"1"], 1)

    run(test)


def test_write_that_fails_at_once_is_the_end():
    async def test(stream, outbox):
        async def write(data):
            raise asyncio.InvalidStateError

        outbox._write = write
        outbox.put(b"1")
        outbox.flush()
        assert stream.failures == 1

    run(test)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("error", [OSError, MemoryError])
def test_batch_that_cannot_be_made_is_the_end(error, is_first, monkeypatch):
    def fail(outbox):
        raise error

    async def test(stream, outbox):
        if not is_first:
            outbox.put(b"1")
            outbox.flush()
        outbox._behind[7] = deque()
        monkeypatch.setattr(Outbox, "_part", fail)
        outbox.flush()
        if not is_first:
            assert stream.failures == 0
            await stream.let()
        assert stream.failures == 1

    run(test)


@pytest.mark.parametrize("error", [None, OSError()])
@pytest.mark.parametrize("rest", [[], [b"2"]])
def test_end_of_a_write_after_closing_is_nobodys_matter(rest, error):
    async def test(stream, outbox):
        outbox.put(b"1")
        outbox.flush()
        for frames in rest:
            outbox.put(frames)
        outbox.close()
        await stream.let(error)
        assert (stream.batches, stream.failures, outbox._writing) == ([b"1"], 0, None)

    run(test)


@pytest.mark.parametrize("is_over", [True, False])
def test_end_is_waited_for_but_not_for_long(is_over, monkeypatch):
    monkeypatch.setattr(outbox_module, "_ENDING", 30.0 if is_over else 0.01)

    async def test(stream, outbox):
        await outbox.ended()
        outbox.put(b"1")
        outbox.flush()
        outbox.close()
        waiting = asyncio.get_running_loop().create_task(outbox.ended())
        if is_over:
            await asyncio.sleep(0.01)
            assert not waiting.done()
            await stream.let()
        async with asyncio.timeout(20.0):
            await waiting
        assert (outbox._writing is None) is is_over

    run(test)


def test_frames_of_one_line_keep_their_order_and_others_pass_them():
    async def test(stream, outbox):
        outbox.put_frame(1, Yield(call=1), Parts([bytes(3 * LARGE)]), "line")
        outbox.put_frame(2, Yield(call=2), b"of the same line", "line")
        outbox.put_frame(3, Yield(call=3), Parts([bytes(2 * LARGE)]), "line")
        outbox.put(encode(Close(call=1)), "line")
        outbox.put_frame(4, Yield(call=4), b"of no line")
        outbox.flush()
        while stream._ends:
            await stream.let()
        pieces = Pieces()
        frames = [
            frame
            for batch in map(pieces.batch, stream.batches)
            for frame in decode_some(batch, 0, len(batch), FRAMES)[0]
        ]
        calls = [(type(frame), frame.call) for frame in frames if type(frame) is not Part]
        assert calls == [(Yield, 4), (Yield, 1), (Yield, 2), (Yield, 3), (Close, 1)]
        assert [len(frame.data) for frame in frames if type(frame) is Part and frame.call == 3] != []

    run(test)


def test_frames_that_do_not_fit_into_one_message_are_sent_in_several():
    async def test(stream, outbox):
        frames = [bytes((number,)) * (LIMIT // 5) for number in range(9)]
        for frame in frames:
            outbox.put(frame)
        outbox.flush()
        while stream._ends:
            await stream.let()
        assert b"".join(stream.batches) == b"".join(frames)
        assert len(stream.batches) > 1
        assert max(map(len, stream.batches)) <= LIMIT
        outbox.flush()
        assert outbox.unsent == 0

    run(test)


def test_frame_that_is_larger_than_a_message_is_sent_in_pieces_one_after_the_other():
    async def test(stream, outbox):
        large, pieces = bytes(range(256)) * (3 * LIMIT // 256), Pieces()
        for frame in (b"\n", large, b"\n\n"):
            outbox.put(frame)
        outbox.flush()
        while stream._ends:
            await stream.let()
        assert max(map(len, stream.batches)) <= LIMIT
        assert b"".join(map(pieces.batch, stream.batches)) == b"\n" + large + b"\n\n"

    run(test)


def test_outbox_says_when_it_is_full_and_when_half_of_that_is_left():
    async def test(stream, outbox):
        told = []
        outbox = Outbox(set(), 4 * LIMIT, told.append)
        outbox.open(stream.write, stream.fail)
        for number in range(9):
            outbox.put(bytes(LIMIT // 2))
            outbox.flush()
            assert told == ([True] if number == 8 else [])
        while told == [True]:
            await stream.let()
        assert told == [True, False]
        assert LIMIT < outbox.unsent <= 2 * LIMIT

    run(test)


def test_large_payloads_that_wait_count_but_for_the_largest():
    async def test(stream, outbox):
        told = []
        outbox = Outbox(set(), 4 * LARGE, told.append)
        for call, size in enumerate((100 * LARGE, LARGE, 4 * LARGE)):
            outbox.put_frame(call, Yield(call=call), Parts([bytes(size)]))
            outbox.flush()
            assert told == [True] * (call == 2)
        outbox.withdraw(2)
        outbox.flush()
        assert told == [True, False]

    run(test)


def test_grpc_receives_a_limited_number_of_bytes_ahead_however_long_a_round_trip_takes():
    options = dict(outbox_module.OPTIONS)
    assert options["grpc.http2.bdp_probe"] == 0
    assert LIMIT < options["grpc.http2.lookahead_bytes"] <= 8 << 20
