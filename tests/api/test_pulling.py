"""The items that a stream requests and takes; the test acts as the worker."""

import contextlib
import pickle
import threading

import anyio
import pytest

from tests.api.streaming import Source
from woolexec.api import pulling
from woolexec.core.call import AT_ONCE, GENTLY
from woolexec.errors import WorkerLostError
from woolexec.futures.loop_waiters import checkpoint, mailbox_here
from woolexec.wire.exceptions import SHUT, dump_failure
from woolexec.wire.frames import Cancel, Close, Next, Send, Throw

SOON = 20


def opened(prefetch=0):
    source = Source(prefetch)
    return source, source.start()


# -- asking -----------------------------------------------------------------------------------------------------------


def test_each_pull_asks_for_one_item():
    source, stream = opened()
    for value in range(3):
        source.items(value)
        assert next(stream) == value

    assert source.commander.commands == ["pull"] * 3


def test_stream_with_prefetch_asks_for_more_when_half_of_the_items_have_been_taken():
    source, stream = opened(prefetch=4)
    source.items(*range(8))
    asked = []
    for _ in range(6):
        next(stream)
        asked.append([frame.credits for frame in source.commander.commands])

    assert asked == [[4], [4], [4, 2], [4, 2], [4, 2, 2], [4, 2, 2]]
    assert {type(frame) for frame in source.commander.commands} == {Next}


def test_items_that_come_together_are_given_out_one_by_one():
    source, stream = opened(prefetch=4)
    source.together(1, 2)
    source.together(3)
    source.end("value")

    assert list(stream) == [1, 2, 3]
    assert stream.value == "value"


def test_pull_waits_until_an_item_arrives():
    source, stream = opened()
    got = []
    thread = threading.Thread(target=lambda: got.append(next(stream)))
    thread.start()
    while source.buffer.sleeper is None:
        thread.join(0.001)
        assert thread.is_alive()
    assert source.buffer.is_awaited
    assert source.buffer.sleeper.locked()

    source.items("late")

    thread.join(SOON)
    assert got == ["late"]
    assert not source.buffer.is_awaited


def test_second_pull_is_refused_while_one_waits():
    source, stream = opened()
    refused = []

    def pull_again():
        with pytest.raises(RuntimeError, match="being pulled already") as raised:
            next(stream)
        refused.append(raised)
        source.items(1)

    source.commander.answer = pull_again

    assert next(stream) == 1
    assert len(refused) == 1


# -- sending and throwing ---------------------------------------------------------------------------------------------


def test_value_and_exception_are_sent_and_ask_for_the_next_item():
    source, stream = opened()
    source.items(*range(3))
    next(stream)

    assert [stream.send("x"), stream.throw(ValueError("y"))] == [1, 2]
    assert source.commander.commands[0] == "pull"
    assert [(type(frame), frame.call) for frame in source.commander.commands[1:]] == [(Send, 0), (Throw, 0)]


def test_value_may_be_sent_after_an_item_that_an_exception_has_asked_for():
    source, stream = opened()
    source.items("first", "second")

    assert [stream.throw(ValueError), stream.send("x")] == ["first", "second"]


def test_nothing_is_sent_into_a_generator_that_has_ended():
    source, stream = opened()
    source.items(1)
    next(stream)
    source.end("value")

    with pytest.raises(StopIteration) as stop:
        stream.send("x")
    assert stop.value.value == "value"
    assert source.commander.commands == ["pull"]


def test_value_before_the_first_pull_is_a_type_error_that_sends_nothing():
    source, stream = opened()

    with pytest.raises(TypeError, match="just-started generator"):
        stream.send("x")
    assert source.commander.commands == []
    source.items(0)
    assert stream.send(None) == 0


@pytest.mark.parametrize(("method", "argument"), [("send", 1), ("throw", ValueError)])
def test_nothing_is_sent_into_a_generator_that_runs_ahead(method, argument):
    source, stream = opened(prefetch=2)

    with pytest.raises(RuntimeError, match="runs ahead"):
        getattr(stream, method)(argument)
    assert source.commander.commands == []


def test_exception_thrown_into_a_stream_that_is_over_is_raised_here():
    source, stream = opened()
    source.end()
    assert list(stream) == []

    with pytest.raises(LookupError):
        stream.throw(LookupError)
    assert source.commander.commands == []


# -- the end ----------------------------------------------------------------------------------------------------------


def test_end_comes_behind_the_items_and_stays():
    source, stream = opened()
    source.items(1)
    source.end("value")

    assert next(stream) == 1
    for value in ("value", None):
        with pytest.raises(StopIteration) as stop:
            next(stream)
        assert stop.value.value == value
    assert source.commander.commands == []  # nothing is asked of a generator that has ended


@pytest.mark.parametrize("count", [0, 2])
def test_items_that_cannot_be_unpickled_count_as_taken(count):
    source, stream = opened(prefetch=4)
    source.buffer.items.append((count, b"", b"no pickle"))
    source.items(*range(4))

    with pytest.raises(pickle.UnpicklingError):
        next(stream)
    while len(source.commander.commands) == 1:
        assert next(stream) in range(3)

    assert source.commander.commands[1].credits == 2


def test_context_variables_come_with_their_item(monkeypatch):
    source, stream = opened()
    restored = []
    monkeypatch.setattr(pulling.context_vars, "restore", restored.append)
    source.items(1, 2)
    source.buffer.items[0] = (0, b"context", source.buffer.items[0][2])

    assert [next(stream), next(stream)] == [1, 2]
    assert restored == [b"context"]


def test_item_that_no_descriptor_was_left_for_raises_that_error():
    source, stream = opened()
    source.items(1)
    source.buffer.items[0] = (0, b"", OSError(24, "Too many open files"))

    with pytest.raises(OSError, match="Too many open files"):
        next(stream)


def test_closed_stream_sends_that_once_and_gives_no_more_items():
    source, stream = opened(prefetch=4)
    source.together(1, 2)
    next(stream)
    source.buffer.ended.open()
    for _ in range(2):
        stream.close()

    assert list(stream) == []
    assert source.commander.commands == [Next(call=0, credits=4), Close(call=0)]


def test_stream_that_has_ended_is_closed_without_a_command():
    source, stream = opened()
    source.end()
    assert stream._close_soon() is None
    stream.close()

    assert source.commander.commands == []


def test_stream_that_is_closed_without_waiting_has_a_latch_that_opens_at_its_end():
    source, stream = opened()

    ended = stream._close_soon()

    assert not ended.is_open
    source.fail(GeneratorExit())
    assert ended.is_open


@pytest.mark.parametrize(
    ("error", "is_raised"),
    [(ValueError("x"), True), (GeneratorExit(), False), (WorkerLostError("x"), False), (RuntimeError(SHUT), False)],
)
def test_close_raises_what_the_generator_raised_and_not_that_it_was_closed(error, is_raised):
    source, stream = opened()
    source.commander.command = lambda *_: source.fail(error)

    with pytest.raises(type(error)) if is_raised else contextlib.nullcontext():
        stream.close()


def test_after_shutdown_what_has_arrived_is_given_out_and_nothing_asked_for():
    source, stream = opened()
    source.items(1)
    source.buffer.shut = GENTLY

    assert next(stream) == 1
    source.end()
    assert list(stream) == []
    assert source.commander.commands == []


def test_stream_of_a_commander_that_closes_streams_asks_for_nothing():
    source, stream = opened()
    source.commander.closes_streams = True
    source.items(1)

    assert next(stream) == 1
    assert source.commander.commands == []
    assert not source.buffer.is_awaited


@pytest.mark.parametrize(("error", "cause"), [(GeneratorExit(), False), (ValueError("x"), True)])
def test_stream_that_was_closed_at_once_says_so_and_keeps_what_else_was_raised(error, cause):
    source, stream = opened()
    source.buffer.shut = AT_ONCE
    source.buffer.deliver_failure(source.call, dump_failure(error))

    with pytest.raises(RuntimeError) as raised:
        next(stream)
    assert raised.value.args == (SHUT,)
    assert (raised.value.__cause__ is not None) is cause


# -- in an event loop -------------------------------------------------------------------------------------------------


def test_task_that_pulls_waits_until_an_item_arrives(run):
    async def body():
        source, stream = opened()
        got = []

        async def pull():
            got.append(await anext(stream))

        async with anyio.create_task_group() as group:
            group.start_soon(pull)
            while source.buffer.sleeper is None:
                await checkpoint()
            assert source.buffer.is_awaited
            with pytest.raises(RuntimeError, match="being pulled already"):
                await anext(stream)
            source.items("late")
        assert got == ["late"]
        assert not source.buffer.is_awaited

    run(body)


def test_pull_that_is_cancelled_cancels_the_generator_and_waits_for_its_end(run):
    async def body():
        source, stream = opened()

        def cancel(_, frame):
            source.commander.commands.append(frame)
            mailbox_here().put(source.end)  # not at once

        source.commander.command = cancel
        with anyio.move_on_after(0.001):
            await anext(stream)
        assert source.commander.commands == ["pull", Cancel(call=0)]
        assert source.buffer.ended.is_open
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(body)


def test_task_that_takes_what_has_arrived_lets_others_run(run):
    async def body():
        source, stream = opened()
        source.items(*range(100))
        taken = []

        async def other():
            taken.append(len(source.buffer.items))

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            for _ in range(100):
                await anext(stream)
        assert taken[0] > 0

    run(body)


def test_stop_async_iteration_of_a_plain_generator_does_not_end_the_iteration_in_silence(run):
    async def body():
        source, stream = opened()
        source.fail(StopAsyncIteration())
        with pytest.raises(RuntimeError, match="generator raised StopAsyncIteration"):
            await anext(stream)

    run(body)
