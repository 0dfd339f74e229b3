"""How items of a map are sent, and how their outcomes wake the consumer; the map itself is in test_map.py."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from woolexec.api.map_batches import AHEAD, LEAST, LOOP, MOST, Board, ChunkSender, FutureSender, Unit
from woolexec.core.call import ASYNCIO, Function
from woolexec.futures.latch import Latch
from woolexec.wire.unpickling import loads
from woolexec.worker.job import spread

WORKERS = 2


class Engine:
    """Keeps the chunks."""

    forked = False

    def __init__(self):
        self.chunks = []
        self.cancelled = []

    def drop(self, held):
        held.clear()

    def submit_chunk(self, chunk):
        self.chunks.append(chunk)

    def cancel_chunks(self, chunks, ended, *, force=False):
        self.cancelled.append((chunks, ended))


class Sleeper:
    def __init__(self):
        self.released = 0

    def release(self):
        self.released += 1


class Unpicklable:
    def __reduce__(self):
        raise LookupError("no")


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def make_sender(engine):
    def make(function=None, *, fn=len, check=lambda: None, fixed=True, star=False):
        function = function or Function(b"", "fn")
        return ChunkSender(engine, fn, function, None, b"context", WORKERS, check, fixed=fixed, star=star)

    return make


def waiting(*, ordered):
    board = Board(ordered=ordered)
    board.sleeper = Sleeper()
    return board, board.sleeper


# -- outcomes ---------------------------------------------------------------------------------------------------------


def test_consumer_in_order_is_woken_by_the_unit_that_it_waits_for_alone():
    board, sleeper = waiting(ordered=True)
    first, second = Unit(board, 1, 0), Unit(board, 1, 1)
    board.awaited = first

    second.put(0, (1, b"", False))
    assert sleeper.released == 0
    first.put(0, (1, b"", False))
    assert sleeper.released == 1
    assert board.sleeper is None


def test_consumer_in_any_order_is_woken_by_each_and_finds_what_has_arrived():
    board, sleeper = waiting(ordered=False)
    unit = Unit(board, 4, 0)

    unit.put(2, (2, b"late", False))
    unit.put(0, (2, b"early", False))

    assert sleeper.released == 1
    assert list(board.arrived) == [(unit, 2), (unit, 0)]


def test_unit_lets_its_chunk_go_when_all_its_items_have_outcomes():
    unit = Unit(Board(ordered=True), 3, 0)
    unit.chunk = chunk = object()

    unit.deliver(SimpleNamespace(first=0, count=2), b"values")
    assert unit.chunk is chunk
    unit.deliver_failure(SimpleNamespace(first=2, count=1), None)

    assert unit.chunk is None
    assert unit.parts == {0: (2, b"values", False), 2: (1, None, True)}


# -- chunks -----------------------------------------------------------------------------------------------------------


def test_items_go_together_in_one_chunk_which_the_engine_gets(engine, make_sender):
    sender = make_sender(star=True)
    [unit] = sender.send(Board(ordered=True), [(1, 2), (3, 4)], 10)

    [chunk] = engine.chunks
    assert spread(loads(chunk.payload)) == (True, [(1, 2), (3, 4)], False, False, True)
    assert (chunk.count, chunk.receiver, chunk.fixed, chunk.context) == (2, unit, True, b"context")
    assert (unit.index, unit.count, sender.size) == (10, 2, len(chunk.payload))


def test_item_that_cannot_be_pickled_fails_alone(engine, make_sender):
    units = make_sender().send(Board(ordered=True), [1, Unpicklable(), 3], 10)

    assert [unit.index for unit in units] == [10, 11, 12]
    assert [loads(chunk.payload)[1] for chunk in engine.chunks] == [[1], [3]]
    [(count, error, failed)] = units[1].parts.values()
    assert (count, type(error), failed) == (1, LookupError, True)
    assert units[0].parts == units[2].parts == {}


@pytest.mark.parametrize("fixed", [True, False])
def test_items_that_share_an_object_are_pickled_separately_unless_the_size_of_a_chunk_was_given(
    engine, make_sender, fixed
):
    make_sender(fixed=fixed).send(Board(ordered=True), [[]] * 2, 10)

    [chunk] = engine.chunks
    _, items, _, alone, _ = spread(loads(chunk.payload))
    assert alone is not fixed
    assert ([loads(item) for item in items] if alone else items) == [[], []]


def test_large_items_that_share_an_object_are_sent_each_by_itself(engine, make_sender):
    units = make_sender(fixed=False).send(Board(ordered=True), [[bytes(300_000)]] * 2, 10)

    assert [(chunk.count, unit.index) for chunk, unit in zip(engine.chunks, units, strict=True)] == [(1, 10), (1, 11)]
    engine.chunks.clear()  # they have files


@pytest.mark.parametrize(
    ("fn", "fixed", "anew"), [(len, False, False), ([].append, False, True), ([].append, True, False)]
)
def test_chunk_says_whether_the_function_is_unpickled_for_each_item(engine, make_sender, fn, fixed, anew):
    make_sender(fn=fn, fixed=fixed).send(Board(ordered=True), [1, 2], 0)

    [chunk] = engine.chunks
    assert spread(loads(chunk.payload)) == (False, [1, 2], anew, False, fixed)


def test_nothing_is_sent_to_a_pool_that_accepts_no_more(engine, make_sender):
    def check():
        raise RuntimeError("shut down")

    sender = make_sender(check=check)
    with pytest.raises(RuntimeError, match="shut down"):
        sender.send(Board(ordered=True), [1], 0)

    assert engine.chunks == []
    sender.forget_pool()
    sender.send(Board(ordered=True), [1], 0)
    assert len(engine.chunks) == 1


@pytest.mark.parametrize(
    ("seconds", "items"),
    [
        (None, LEAST * WORKERS),
        (AHEAD, LEAST * WORKERS),
        (AHEAD / 100, 100 * WORKERS),
        (0.0, MOST),
    ],
)
def test_as_many_items_are_ahead_as_their_run_time_says(make_sender, seconds, items):
    function = Function(b"", "fn")
    function.seconds = seconds

    assert make_sender(function).ahead == items


def test_items_of_coroutines_are_ahead_in_a_fixed_number(make_sender):
    function = Function(b"", "fn", ASYNCIO)
    function.seconds = 10.0

    assert make_sender(function).ahead == LOOP


def test_only_units_that_have_not_ended_are_cancelled(engine, make_sender):
    sender, ended = make_sender(), Latch()
    units = [unit for number in range(2) for unit in sender.send(Board(ordered=True), [number], number)]
    units[0].put(0, (1, b"", False))

    sender.cancel(units, ended)

    assert engine.cancelled == [([engine.chunks[1]], ended)]


def test_forked_child_is_told_that_no_outcome_will_arrive(engine, make_sender):
    sender = make_sender()
    sender.check_process()
    engine.forked = True

    with pytest.raises(RuntimeError, match="fork"):
        sender.check_process()


# -- futures ----------------------------------------------------------------------------------------------------------


class Call(Future):
    """The future of a task, which ends when the test says so."""

    def __init__(self, args):
        super().__init__()
        self.args = args
        self.ended = None
        self.outstanding_call = self.answer = None
        self.ends = []

    def cancel_soon(self, *, force):
        assert force
        return self.answer or super().cancel()


class Closing:
    """A stream that takes a while to close, or that has ended."""

    def __init__(self, ended):
        self.ended = ended

    def _close_soon(self):
        return self.ended


def test_each_item_is_a_task_and_a_tuple_is_its_arguments_if_asked_for():
    board = Board(ordered=True)

    plain = FutureSender(Call, star=False).send(board, [(1, 2), 3], 10)
    starred = FutureSender(Call, star=True).send(board, [(1, 2)], 0)

    assert [(unit.index, unit.future.args) for unit in plain] == [(10, ((1, 2),)), (11, (3,))]
    assert starred[0].future.args == (1, 2)


def test_future_that_is_done_is_the_outcome_of_its_unit():
    board = Board(ordered=False)
    [unit] = FutureSender(Call, star=False).send(board, [1], 0)
    unit.future.set_result("value")

    assert unit.parts == {0: (1, unit.future, False)}
    assert list(board.arrived) == [(unit, 0)]


def test_latch_opens_when_all_tasks_and_streams_have_ended():
    sender, ended = FutureSender(Call, star=False), Latch()
    running, waiting, streaming, streamed, returned, failed = units = sender.send(Board(ordered=True), range(6), 0)
    latches = [Latch(), Latch()]
    running.future.ended = latches[0]
    streaming.future.set_result(Closing(latches[1]))
    streamed.future.set_result(Closing(None))
    returned.future.set_result("value")
    failed.future.set_exception(ValueError())

    sender.cancel(units, ended)

    assert running.future.cancelled()
    assert waiting.future.cancelled()
    for latch in latches:
        assert not ended.is_open
        latch.open()
    assert ended.is_open


def test_latch_opens_when_a_peer_has_answered_that_was_asked():
    sender, ended = FutureSender(Call, star=False), Latch()
    units = sender.send(Board(ordered=True), range(2), 0)
    units[0].future.answer = Latch()

    sender.cancel(units, ended)

    assert not ended.is_open
    units[0].future.answer.open()
    assert ended.is_open


def test_latch_opens_at_once_if_all_have_ended_already():
    sender, ended, open_latch = FutureSender(Call, star=False), Latch(), Latch()
    units = sender.send(Board(ordered=True), range(2), 0)
    open_latch.open()
    units[0].future.ended = open_latch

    sender.cancel(units, ended)

    assert ended.is_open
