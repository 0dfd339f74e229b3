import asyncio

import pytest

from woolexec.api.stream_buffer import StreamBuffer
from woolexec.api.submission import Submission
from woolexec.core.call import ASYNCIO, TRIO, Function
from woolexec.engine.function_cache import Functions
from woolexec.futures.call_future import CallFuture
from woolexec.options import TaskOptions
from woolexec.wire.unpickling import loads


class Unpicklable:
    def __reduce__(self):
        raise LookupError("no")

    def __call__(self):
        return 1


class OtherFuture(CallFuture):
    pass


def rows(n):
    yield from range(n)


OWNER = object()


@pytest.fixture
def sent():
    """The calls that were handed on."""
    return []


@pytest.fixture
def submission(sent):
    return Submission(OWNER, Functions(Function), sent.append)


def test_call_is_handed_on_with_what_was_pickled_and_its_future_is_its_receiver(submission, sent):
    options = TaskOptions(retries=2)
    future = submission.submit(pow, (2, 5), {"mod": 7}, options)

    [call] = sent
    assert loads(call.function.payload) is pow
    assert loads(call.payload) == ((2, 5), {"mod": 7})
    assert (call.options, call.receiver, future.outstanding_call) == (options, future, call)
    assert (future._owner, future.is_lane) == (OWNER, False)


def test_future_is_of_the_given_class(sent):
    future = Submission(OWNER, Functions(Function), sent.append, OtherFuture).submit(abs, (1,), {}, None)

    assert type(future) is OtherFuture


def test_generator_function_delivers_to_the_buffer_of_a_stream(submission, sent):
    future = submission.submit(rows, (3,), {}, None, stream=True, prefetch=5)

    buffer = sent[0].receiver
    assert type(buffer) is StreamBuffer
    assert (buffer._future, buffer._commander, buffer._prefetch) == (future, OWNER, 5)
    assert future.outstanding_call is sent[0]
    assert future.is_lane


def test_coroutine_runs_on_the_loop_that_its_options_say(submission, sent):
    for backend in ("trio", "asyncio"):
        assert submission.submit(asyncio.sleep, (0,), {}, TaskOptions(backend=backend)).is_lane

    assert [call.function.lane for call in sent] == [TRIO, ASYNCIO]
    assert submission.function(asyncio.sleep, TaskOptions(backend="trio")).lane == TRIO


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (Unpicklable(), (), {}),
        (abs, (Unpicklable(),), {}),
        (abs, (), {"x": Unpicklable()}),
    ],
)
def test_what_pickling_raises_is_the_futures_and_nothing_is_handed_on(submission, sent, fn, args, kwargs):
    future = submission.submit(fn, args, kwargs, None)

    assert type(future.exception(0)) is LookupError
    assert sent == []


def test_function_that_is_no_generator_function_cannot_be_a_stream(submission, sent):
    with pytest.raises(TypeError, match="abs is not a generator function"):
        submission.submit(abs, (1,), {}, None, stream=True)

    assert sent == []


def test_executor_that_accepts_no_tasks_raises_before_anything_is_pickled(sent):
    class Closed(Submission):
        def check(self):
            raise RuntimeError("shut down")

    closed = Closed(OWNER, None, sent.append)
    for submit in (lambda: closed.submit(Unpicklable(), (), {}, None), lambda: closed.function(abs, None)):
        with pytest.raises(RuntimeError, match="shut down"):
            submit()
    assert sent == []


def test_arguments_are_those_of_the_moment(submission, sent):
    rows = [1]
    submission.submit(len, (rows,), {}, None)
    rows.append(2)

    assert loads(sent[0].payload) == (([1],), {})
