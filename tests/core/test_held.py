"""Calls that wait for values."""

import pytest

from tests.engine.fake_workers import Receiver
from woolexec.core.call import DONE, QUEUED, Call, Chunk, Function
from woolexec.core.held import Held
from woolexec.core.ready_queue import ReadyQueue

FUNCTION = Function(b"f", "f")


def call_in(held, queue):
    call = Call(FUNCTION, None, Receiver())
    queue.offer(call)
    held.hold(call)
    return call


def chunk_in(held, queue):
    chunk = Chunk(FUNCTION, None, 1, Receiver())
    held.hold(chunk)
    return chunk


KINDS = pytest.mark.parametrize("make", [call_in, chunk_in])


@KINDS
def test_no_place_sees_what_is_held_until_it_is_released(held, queue, make):
    entry = make(held, queue)
    assert held
    assert queue.head() is None

    held.release(entry, b"arguments")
    assert not held
    assert queue.head() is entry
    assert entry.payload == b"arguments"


@KINDS
@pytest.mark.parametrize("payload", [b"an encoded exception", ValueError(), None])
def test_what_gets_no_values_ends_once(held, queue, make, payload):
    entry = make(held, queue)
    for _ in range(2):
        held.drop(entry, payload)
    held.release(entry, b"arguments")
    assert entry.receiver.outcomes == [payload]
    assert not held
    assert queue.head() is None


def test_cancelled_call_is_neither_queued_nor_failed(held, queue):
    call = call_in(held, queue)
    assert queue.cancel(call)
    assert call.state == DONE
    assert not held
    held.release(call, b"arguments")
    held.drop(call, ValueError())
    assert queue.head() is None
    assert call.receiver.outcomes == []


def test_call_that_is_cancelled_just_after_its_release_is_not_taken(held, queue):
    call = call_in(held, queue)
    held.release(call, b"arguments")
    assert queue.cancel(call)
    assert queue.head() is None


def test_cancelled_chunk_is_not_queued(held, queue):
    chunk = chunk_in(held, queue)
    chunk.cancelled = True
    assert not held
    held.release(chunk, b"arguments")
    assert queue.head() is None


def test_what_is_cancelled_hides_nothing_behind_it(held, queue):
    first, second = call_in(held, queue), call_in(held, queue)
    queue.cancel(first)
    assert held
    assert held.clear() == [second]
    assert not held


def test_what_is_taken_out_is_claimed(held, queue):
    call, chunk = call_in(held, queue), chunk_in(held, queue)
    assert held.clear() == [call, chunk]
    assert not queue.cancel(call)
    assert call.state == QUEUED


@KINDS
def test_what_comes_after_the_end_fails(held, queue, make):
    error = RuntimeError("cannot schedule new futures after shutdown")
    held.close(error)
    entry = make(held, queue)
    assert entry.receiver.outcomes == [error]
    assert not held


def test_calls_and_items_that_are_held_are_counted():
    queue = ReadyQueue()
    held = Held(queue, queue.add)
    calls = [call_in(held, queue) for _ in range(3)]
    chunks = [Chunk(FUNCTION, None, 10, Receiver()) for _ in range(2)]
    for each in chunks:
        held.hold(each)
    queue.cancel(calls[0])
    chunks[0].cancelled = True
    assert held.count() == (2, 10)
