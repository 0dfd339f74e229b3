"""``map`` with an engine that runs calls when the test tells it to."""

import itertools
import threading
import time
from collections.abc import Generator

import pytest

from tests.memory import chunks, without_collector
from woolexec.api.map import map_chunks
from woolexec.api.map_batches import Board, ChunkSender, Unit
from woolexec.checks import check_map
from woolexec.core.call import Function
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads


class Engine:
    """Runs chunks in spans of `span` items; at once, or when `run` is called."""

    def __init__(self, *, span=3, at_once=True):
        self.span = span
        self.at_once = at_once
        self.chunks = []
        self.cancelled = []
        self.forked = False

    def drop(self, held):
        held.clear()

    def submit_chunk(self, chunk):
        self.chunks.append(chunk)
        if self.at_once:
            self.run(chunk)

    def cancel_chunks(self, chunks, ended=None, *, force=False):
        self.cancelled += chunks

    def run(self, chunk, *, order=1):
        spans = []
        while chunk.next < chunk.count:
            spans.append(chunk.cut(min(self.span, chunk.count - chunk.next)))
        for span in spans[::order]:
            function = loads(span.function.payload)
            star, items, *_ = loads(span.payload)
            values, errors = [], {}
            for item in items[span.first : span.first + span.count]:
                try:
                    values.append(function(*item) if star else function(item))
                except Exception as exc:
                    errors[len(values)] = dump_failure(exc)
                    values.append(None)
            span.receiver.deliver(span, dumps((values, errors)))


def mapped(engine, fn, *iterables, chunksize=None, check=lambda: None, **how):
    star = len(iterables) > 1
    function = Function(dumps(fn), "fn")
    sender = ChunkSender(engine, fn, function, None, b"", 2, check, fixed=chunksize is not None, star=star)
    return map_chunks(sender, iterables, chunksize=chunksize, **how)


def double(x):
    return 2 * x


def picky(x):
    if x == 5:
        raise ValueError(x)
    return x


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("chunksize", [None, 1, 7, 5000])
@pytest.mark.parametrize("buffersize", [None, 1, 10])
def test_results_are_all_there_in_order(count, chunksize, buffersize):
    got = mapped(Engine(), double, range(count), chunksize=chunksize, buffersize=buffersize)

    assert list(got) == [2 * x for x in range(count)]


@pytest.mark.parametrize("taken", [4, 10])
def test_items_are_let_go_when_their_results_were_taken_or_nobody_wants_them(taken):
    engine = Engine()
    with without_collector():
        results = mapped(engine, double, range(10), chunksize=2)
        list(itertools.islice(results, taken))
        results.close()
        engine.chunks.clear()
        engine.cancelled.clear()
        assert not chunks()


def test_spans_that_come_home_in_any_order_are_put_in_order():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(100), chunksize=25)

    for chunk in reversed(engine.chunks):
        engine.run(chunk, order=-1)

    assert list(results) == [2 * x for x in range(100)]


def test_several_iterables_stop_at_the_shortest():
    assert list(mapped(Engine(), pow, [2, 3, 4], [3, 2])) == [8, 9]


def test_given_chunksize_is_obeyed():
    engine = Engine()
    mapped(engine, double, range(25), chunksize=10)

    assert [chunk.count for chunk in engine.chunks] == [10, 10, 5]
    assert all(chunk.fixed for chunk in engine.chunks)


def test_chunks_grow_when_none_is_given():
    engine = Engine(span=10_000)
    mapped(engine, double, range(50_000))

    counts = [chunk.count for chunk in engine.chunks]
    assert counts[0] == 16
    assert max(counts) > 1000
    assert not any(chunk.fixed for chunk in engine.chunks)


def test_large_items_are_not_put_together():
    engine = Engine()
    mapped(engine, len, [bytes(100_000)] * 40)

    assert [chunk.count for chunk in engine.chunks][-1] == 1


def test_source_is_read_at_once_without_buffersize():
    source = iter(range(1000))
    mapped(Engine(), double, source)

    assert list(source) == []


@pytest.mark.parametrize(("buffersize", "chunksize"), [(1, None), (8, None), (2, 5), (1, 50)])
def test_endless_source_is_read_no_further_than_buffersize(buffersize, chunksize):
    taken = []

    def source():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = mapped(Engine(), double, source(), buffersize=buffersize, chunksize=chunksize)

    for consumed in range(200):
        assert len(taken) <= consumed + buffersize * (chunksize or 1), consumed
        assert next(results) == 2 * consumed
    results.close()


def test_error_of_an_item_comes_in_its_turn_and_ends_the_map():
    engine = Engine()
    results = mapped(engine, picky, range(10))

    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5") as caught:
        next(results)
    assert caught.value.__notes__ == ["item 5 of the map"]
    with pytest.raises(StopIteration):
        next(results)


def test_error_of_the_source_comes_after_the_results_before_it():
    def source():
        yield from range(3)
        raise LookupError("source")

    results = mapped(Engine(), double, source())

    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(LookupError, match="source"):
        next(results)


def test_item_that_does_not_pickle_fails_alone():
    class Odd:
        def __reduce__(self):
            raise TypeError("no pickle")

    results = mapped(Engine(), double, [1, 2, Odd(), 4])

    assert [next(results), next(results)] == [2, 4]
    with pytest.raises(TypeError, match="no pickle") as caught:
        next(results)
    assert "item 2 of the map" in caught.value.__notes__


def test_stop_iteration_of_a_task_does_not_end_the_map_in_silence():
    results = mapped(Engine(), next, [iter([1]), iter([])])

    assert next(results) == 1
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(results)


def test_closing_cancels_the_rest():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(100), chunksize=10)
    engine.run(engine.chunks[0])
    assert next(results) == 0

    results.close()
    results.close()

    assert set(engine.cancelled) >= set(engine.chunks[1:])
    assert list(results) == []


def fail_on_float(x):
    if isinstance(x, float):
        raise ValueError(x)
    return x


@pytest.mark.parametrize(
    "end", [lambda results: results.close(), lambda results: throw_into(results)], ids=["closed", "thrown into"]
)
@pytest.mark.parametrize("buffersize", [None, 10])
@pytest.mark.parametrize("last", [9, 0.5], ids=["plain", "with an error"])
@pytest.mark.parametrize("size", [1, 1 << 18])
def test_nothing_is_given_out_after_the_end(end, buffersize, last, size):
    items = [[each] * size if size > 1 else each for each in [*range(9), last]]
    results = mapped(Engine(span=10), fail_on_float, items, chunksize=10, buffersize=buffersize)
    iterated = iter(results)
    assert next(iterated) == items[0]

    end(results)

    assert list(iterated) == list(results) == []


def throw_into(results):
    with pytest.raises(KeyError):
        results.throw(KeyError("thrown"))


def test_results_are_a_generator():
    results = mapped(Engine(), double, range(3))

    assert isinstance(results, Generator)
    assert iter(results) is results
    assert (results.send(None), next(results)) == (0, 2)
    assert list(passed_on(results)) == [4]


def passed_on(results):
    yield from results


def test_thread_that_takes_what_another_one_waits_for_fails_alone():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(100), chunksize=50)
    got = []
    waiting = threading.Thread(target=lambda: got.extend(results))
    waiting.start()

    while not results._parts.gi_running:
        time.sleep(0)

    with pytest.raises(ValueError, match="executing"):
        next(results)
    for chunk in engine.chunks:
        engine.run(chunk)
    waiting.join()

    assert got == [2 * x for x in range(100)]


@pytest.mark.parametrize("end", [lambda results: results.close(), lambda results: None], ids=["closed", "dropped"])
@pytest.mark.parametrize("buffersize", [None, 5])
def test_iterator_that_was_never_begun_lets_all_run(end, buffersize):
    engine = Engine(at_once=False)

    end(mapped(engine, double, range(100), chunksize=10, buffersize=buffersize))

    assert engine.cancelled == []
    assert len(engine.chunks) == (10 if buffersize is None else buffersize)


def test_dropping_an_iterator_that_was_begun_cancels_the_rest():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(100), chunksize=10)
    engine.run(engine.chunks[0])
    next(results)

    del results

    assert engine.cancelled == engine.chunks[1:]


def test_chunks_of_an_iterator_that_nobody_kept_are_let_go_when_they_have_run():
    engine = Engine()
    with without_collector():
        mapped(engine, double, range(100), chunksize=10)
        engine.chunks.clear()
        assert not chunks()


@pytest.mark.parametrize("buffersize", [None, 7])
def test_results_may_come_in_the_order_in_which_they_are_there(buffersize):
    engine = Engine(at_once=False, span=1)
    results = mapped(engine, double, range(8), chunksize=1, buffersize=buffersize, ordered=False)

    engine.run(engine.chunks[5])
    engine.run(engine.chunks[2])
    assert [next(results), next(results)] == [10, 4]
    for number in (7, 0, 1, 3, 4, 6):
        engine.run(engine.chunks[number])
    assert list(results) == [14, 0, 2, 6, 8, 12]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [None, 3])
def test_exceptions_may_be_results(ordered, buffersize):
    engine = Engine()

    got = list(mapped(engine, picky, range(8), ordered=ordered, buffersize=buffersize, return_exceptions=True))

    assert got[:5] + got[6:] == [0, 1, 2, 3, 4, 6, 7]
    assert isinstance(got[5], ValueError)
    assert got[5].__notes__ == ["item 5 of the map"]


def test_exception_that_would_end_the_iteration_is_given_as_itself():
    got = list(mapped(Engine(), next, [iter([1]), iter([]), iter([2])], return_exceptions=True))

    assert [got[0], got[2]] == [1, 2]
    assert isinstance(got[1], StopIteration)


def test_span_that_is_lost_notes_its_items():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(12), chunksize=4)
    engine.run(engine.chunks[0])
    engine.chunks[1].receiver.deliver_failure(engine.chunks[1].cut(4), TimeoutError("late"))

    assert list(itertools.islice(results, 4)) == [0, 2, 4, 6]
    with pytest.raises(TimeoutError, match="late") as caught:
        next(results)
    assert caught.value.__notes__ == ["items 4 to 7 of the map"]


def test_error_that_several_maps_share_keeps_the_first_note():
    error = RuntimeError("broken")
    for _ in range(3):
        engine = Engine(at_once=False)
        results = mapped(engine, double, range(12), chunksize=4, return_exceptions=True)
        for chunk in engine.chunks:
            chunk.receiver.deliver_failure(chunk.cut(4), error)
        assert list(results) == [error] * 12
    assert error.__notes__ == ["items 0 to 3 of the map"]


def test_pool_that_takes_no_more_is_an_error_behind_the_results():
    states = iter([None, None])

    def check():
        if next(states, "shut down") is not None:
            raise RuntimeError("shut down")

    results = mapped(Engine(), double, itertools.count(), chunksize=1, buffersize=2, check=check)

    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(RuntimeError, match="shut down"):
        next(results)


def test_result_that_is_late_is_a_timeout_and_cancels_the_rest():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(10), timeout=0.01)

    with pytest.raises(TimeoutError):
        next(results)

    assert engine.cancelled


def test_timeout_counts_from_the_call():
    engine = Engine(at_once=False)
    results = mapped(engine, double, range(10), timeout=0.02)
    time.sleep(0.03)
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        next(results)

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("ordered", [True, False])
def test_parts_race_with_their_consumer(ordered):
    for _ in range(300):
        engine = Engine(at_once=False, span=1)
        results, got = mapped(engine, double, range(3), chunksize=3, ordered=ordered), []
        thread = threading.Thread(target=lambda results=results, got=got: got.extend(results))
        thread.start()
        engine.run(engine.chunks[0], order=-1)
        thread.join(30)
        assert sorted(got) == [0, 2, 4]


def test_consumer_in_order_is_woken_by_what_it_waits_for_only():
    board, woken = Board(ordered=True), []
    first, second = Unit(board, 2, 0), Unit(board, 2, 2)

    class Sleeper:
        def release(self):
            woken.append(True)

    board.awaited, board.sleeper = first, Sleeper()
    second.put(0, (2, b"", False))
    assert not woken
    first.put(1, (1, b"", False))
    assert woken


@pytest.mark.parametrize(
    ("chunksize", "buffersize", "error"),
    [
        (0, None, ValueError),
        (-1, None, ValueError),
        (1.5, None, TypeError),
        (None, 0, ValueError),
        (None, "1", TypeError),
    ],
)
def test_bad_sizes_are_refused(chunksize, buffersize, error):
    with pytest.raises(error):
        check_map(chunksize, buffersize)
