import gc
import weakref

import pytest

from tests.api.streaming import Source
from woolexec.api.stream import Stream
from woolexec.options import TaskOptions


class Sleeper:
    def __init__(self):
        self.released = 0

    def release(self):
        self.released += 1


@pytest.fixture
def source():
    return Source()


def test_future_has_its_stream_once_the_generator_has_been_created(source):
    assert not source.future.done()
    assert not source.buffer.is_open

    stream = source.start()

    assert type(stream) is Stream
    assert source.buffer.is_open


def test_second_start_makes_no_second_stream(source):
    stream = source.start()
    source.buffer.deliver_start(source.call)

    assert source.future.result(0) is stream


def test_commands_of_a_stream_are_for_the_call_that_started_or_else_for_that_of_its_future(source):
    other = object()
    source.items(1)
    next(source.start())
    nested = Source()
    nested.items(1)
    nested.future.outstanding_call = other
    nested.buffer.deliver_start(None)
    next(nested.future.result(0))

    assert source.commander.calls[0] is source.call
    assert nested.commander.calls[0] is other


def test_call_of_a_stream_that_is_open_is_not_tried_again():
    source = Source(options=TaskOptions(retries=3, idempotent=True, name="rows"))
    source.start()

    assert (source.call.options.retries, source.call.options.idempotent, source.call.options.name) == (0, False, "rows")


def test_call_of_a_stream_that_was_not_opened_keeps_its_retries():
    source = Source(options=TaskOptions(retries=3))

    source.fail(ValueError())

    assert source.call.options.retries == 3


def test_failure_before_the_start_is_the_futures(source):
    source.fail(ValueError("no"))

    assert type(source.future.exception(0)) is ValueError
    assert source.buffer.ended.is_open


def test_failure_after_the_start_is_the_streams(source):
    stream = source.start()

    source.fail(ValueError("no"))

    assert source.future.result(0) is stream
    with pytest.raises(ValueError, match="no"):
        next(stream)


def test_items_and_the_end_wake_the_consumer_once_each(source):
    buffer, sleepers = source.buffer, [Sleeper() for _ in range(2)]
    source.start()

    assert not buffer.has_news
    buffer.sleeper = sleepers[0]
    source.items(1, 2)
    assert (sleepers[0].released, buffer.has_news, buffer.sleeper) == (1, True, None)
    buffer.items.clear()
    buffer.sleeper = sleepers[1]
    source.end()
    assert (sleepers[1].released, buffer.has_news) == (1, True)


@pytest.mark.parametrize("end", ["deliver", "deliver_context", "deliver_failure"])
def test_every_kind_of_end_opens_the_latch(source, end):
    source.start()
    payload = (b"context", b"") if end == "deliver_context" else (b"",)

    getattr(source.buffer, end)(source.call, *payload)

    assert source.buffer.ended.is_open
    assert source.buffer.end == (end == "deliver_failure", b"")


def test_stream_that_is_not_kept_is_collected_and_closes_its_generator(source):
    stream = weakref.ref(source.start())
    source.future = None
    gc.collect()

    assert stream() is None
    assert [type(frame).__name__ for frame in source.commander.commands] == ["Close"]


def test_call_is_that_of_the_future_until_the_stream_has_been_given_out(source):
    other = object()
    source.buffer.outstanding_call = other
    assert source.future.outstanding_call is source.buffer.outstanding_call is other

    source.start()

    assert source.buffer.outstanding_call is None
