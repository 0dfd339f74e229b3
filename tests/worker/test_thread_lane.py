import threading

import pytest

from tests.worker.lanes import SOON, Engine, Reading, job
from woolexec.wire.exceptions import SHUT, dump_failure, load_failure
from woolexec.wire.frames import Cancel, Close, Next, Raise, Return, Send, Started, Throw, Yield
from woolexec.wire.pickling import dumps_value
from woolexec.wire.unpickling import loads
from woolexec.worker.thread_lane import ThreadLane


@pytest.fixture
def both():
    engine = Engine()
    lane = ThreadLane(engine, Reading())
    yield lane, engine
    lane.finish(SOON)


def opened(both, function, *args, number=1):
    lane, engine = both
    lane.start(job(number, lambda: function(*args)))
    frame = engine.next()
    assert (type(frame), frame.call) == (Started, (number,))


def count(until, log=None):
    try:
        yield from range(until)
    finally:
        if log is not None:
            log.append(threading.current_thread().name)
    return "counted"


def echo():
    got = None
    while True:
        try:
            got = yield got
        except LookupError as exc:
            got = repr(exc)


def test_stream_gives_as_many_items_as_were_asked_for_and_then_its_value(both):
    lane, engine = both
    opened(both, count, 3)
    lane.control(Next(call=1, credits=2))
    assert [loads(engine.next().payload) for _ in range(2)] == [0, 1]

    lane.control(Next(call=1, credits=2))
    item, end = engine.next(), engine.next()
    assert [(type(frame), loads(frame.payload)) for frame in (item, end)] == [(Yield, 2), (Return, "counted")]
    lane.finish(None)
    assert engine.is_quiet


def test_values_and_exceptions_reach_the_generator(both):
    lane, engine = both
    opened(both, echo)
    said = []
    for frame in (
        Next(call=1),
        Send(call=1, payload=dumps_value(7)),
        Throw(call=1, payload=dump_failure(LookupError("odd"))),
    ):
        lane.control(frame)
        said.append(loads(engine.next().payload))
    assert said == [None, 7, "LookupError('odd')"]


@pytest.mark.parametrize("kind", [Close, Cancel])
def test_closed_generator_cleans_up_in_its_own_thread_before_its_end_is_sent(both, kind):
    lane, engine = both
    log = []
    opened(both, count, 3, log)
    lane.control(Next(call=1))
    engine.next()
    lane.control(kind(call=1))

    assert type(engine.next()) is Return
    assert log == ["woolexec-stream-1"]


def test_stream_that_blocks_does_not_hold_up_another(both):
    lane, engine = both
    go_on = threading.Event()
    opened(both, lambda: iter(lambda: go_on.wait(SOON), None), number=1)
    opened(both, count, 1, number=2)
    lane.control(Next(call=1))
    lane.control(Next(call=2))

    assert engine.next().call == 2
    go_on.set()
    assert engine.next().call == 1


def test_close_ends_items_that_were_asked_for_ahead(both):
    lane, engine = both
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(SOON)
        yield 1
        yield 2

    opened(both, slow)
    lane.control(Next(call=1, credits=2))
    assert begun.wait(SOON)
    lane.control(Close(call=1))
    go_on.set()

    assert [type(engine.next()) for _ in range(2)] == [Yield, Return]


def test_finish_with_a_timeout_closes_the_streams(both):
    lane, engine = both
    log = []
    opened(both, count, 3, log)
    lane.control(Next(call=1))
    engine.next()
    lane.finish(SOON)

    assert type(engine.next()) is Return
    assert log


def test_close_of_a_shutdown_is_an_error_of_the_stream(both):
    lane, engine = both
    opened(both, count, 3)
    lane.control(Close(call=1, shutdown=True))

    assert str(load_failure(engine.next().payload)) == SHUT


@pytest.mark.parametrize(
    ("function", "error", "note"),
    [
        (lambda: 3, TypeError, None),
        (lambda: 1 // 0, ZeroDivisionError, None),
        (ImportError("gone"), ImportError, "while unpickling the function and its arguments"),
    ],
)
def test_stream_that_cannot_be_opened_fails_and_is_forgotten(both, function, error, note):
    lane, engine = both
    lane.start(job(1, function))
    frame = engine.next()
    lane.finish(None)

    raised = load_failure(frame.payload)
    assert (type(frame), type(raised)) == (Raise, error)
    assert note is None or any(note in each for each in raised.__notes__)
    assert lane.streams == {}


def test_command_for_a_stream_that_has_ended_is_ignored(both):
    lane, engine = both
    lane.control(Next(call=9))

    assert engine.is_quiet
