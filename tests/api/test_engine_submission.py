from types import SimpleNamespace

import pytest

from woolexec.api import engine_submission
from woolexec.api.engine_submission import EngineSubmission
from woolexec.api.map_batches import LEAST, Board
from woolexec.core.call import Function
from woolexec.engine.dispatcher import AFTER_SHUTDOWN
from woolexec.errors import InitializerError
from woolexec.options import TaskOptions
from woolexec.wire.unpickling import loads


class Engine:
    """An engine of three workers that runs nothing."""

    forked = False
    broken = None
    refuses = False

    def __init__(self):
        self.calls = []
        self.chunks = []
        self.intern = Function
        self.submit = self.calls.append
        self.submit_chunk = self.chunks.append

    def drop(self, held):
        held.clear()

    def run_on_all(self, make):
        found = []
        for number in (11, 12, 13):
            call = make()
            call.pin = number
            found.append((SimpleNamespace(key=lambda pin: f"worker {pin}"), call))
        return found


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def submission(engine):
    return EngineSubmission(engine, 3, (None, None))


# -- what refuses tasks -----------------------------------------------------------------------------------------------


def refused(submission):
    with pytest.raises(Exception) as raised:
        submission.submit(abs, (1,), {}, None)
    return raised.value


def test_tasks_are_accepted_at_first(submission, engine):
    submission.submit(abs, (1,), {}, None)

    assert len(engine.calls) == 1


def test_no_tasks_are_accepted_after_shutdown(submission, engine):
    submission.close()

    error = refused(submission)
    assert (type(error), str(error)) == (RuntimeError, AFTER_SHUTDOWN)
    assert engine.calls == []


def test_no_tasks_are_accepted_at_the_interpreters_end(submission, monkeypatch):
    monkeypatch.setattr(engine_submission, "_ending", True)

    error = refused(submission)
    assert (type(error), str(error)) == (RuntimeError, "cannot schedule new futures after interpreter shutdown")


def test_each_task_for_a_broken_engine_has_an_exception_of_its_own(submission, engine):
    engine.refuses, engine.broken = True, InitializerError("no data")

    first, second = refused(submission), refused(submission)

    assert (type(first), first.args, first.__cause__) == (InitializerError, ("no data",), engine.broken)
    assert len({id(first), id(second), id(engine.broken)}) == 3


def test_forked_child_is_told_that_it_is_one_whatever_else_is_wrong(submission, engine):
    engine.refuses, engine.forked, engine.broken = True, True, InitializerError("no data")
    submission.close()

    error = refused(submission)
    assert type(error) is RuntimeError
    assert "fork" in str(error)


# -- on every worker --------------------------------------------------------------------------------------------------


def test_call_is_made_for_each_worker_and_has_its_key(submission):
    options = TaskOptions(priority=2)
    arguments, run = submission.for_all(pow, (2, 5), {}, options)
    made = run(arguments.result())

    assert [key() for key, _ in made] == ["worker 11", "worker 12", "worker 13"]
    calls = [future.outstanding_call for _, future in made]
    assert [call.receiver for call in calls] == [future for _, future in made]
    assert len({call.function for call in calls}) == 1
    assert [(loads(call.payload), call.options) for call in calls] == [(((2, 5), {}), options)] * 3


def rows():
    yield 1


def test_generator_function_cannot_run_on_every_worker(submission):
    with pytest.raises(TypeError, match="run_on_all takes no generator functions: rows"):
        submission.for_all(rows, (), {}, None)


def test_what_pickling_raises_is_raised(submission):
    with pytest.raises(TypeError, match="generator"):
        submission.for_all(abs, ((n for n in ()),), {}, None)


# -- maps -------------------------------------------------------------------------------------------------------------


def test_items_of_a_map_are_sent_to_the_engine_with_the_maps_options(submission, engine):
    options, checked = TaskOptions(priority=2), []
    function = submission.function(abs, options)
    sender = submission.chunk_sender(abs, function, options, lambda: checked.append(1), is_fixed=True, star=True)

    sender.send(Board(ordered=True), [(1,), (2,)], 0)

    [chunk] = engine.chunks
    assert (chunk.function, chunk.options, chunk.fixed, chunk.count) == (function, options, True, 2)
    assert loads(chunk.payload) == (True, [(1,), (2,)], False, False, True)
    assert checked == [1]
    assert sender.ahead == LEAST * 3
