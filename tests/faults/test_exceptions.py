"""Rows 5 and 9: any exception that a task raises reaches the caller."""

import asyncio
import sys
import traceback

import pytest

from woolexec import PeerPoolExecutor, RemoteError, RemoteTraceback

from . import tasks
from .tasks import SOON


@pytest.fixture(scope="module")
def pool():
    """One pool and one worker for all of them: no exception may harm either."""
    with PeerPoolExecutor(1) as executor:
        future = executor.submit(tasks.pid)
        future.add_done_callback(lambda _: None)  # its thread stays: it is no test's leak
        future.result(SOON)
        yield executor


# -- row 5: every kind is that future's exception, and the worker lives ------------------------------------------------

KINDS = [
    SystemExit,
    KeyboardInterrupt,
    BaseException,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    asyncio.CancelledError,
    RecursionError,
    MemoryError,
    TimeoutError,
    BrokenPipeError,
    EOFError,
    tasks.OwnError,
    tasks.OwnBaseError,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exception_arrives_as_itself_and_the_worker_lives(pool, kind):
    pid = pool.submit(tasks.pid).result(SOON)
    error = pool.submit(tasks.throw, kind, "reason", 3).exception(SOON)
    assert (type(error), error.args) == (kind, ("reason", 3))
    assert pool.submit(tasks.pid).result(SOON) == pid


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_result_raises_what_the_task_raised(pool, kind):
    with pytest.raises(kind) as caught:
        pool.submit(tasks.throw, kind).result(SOON)
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [None, 0, 3, "text"], ids=str)
def test_sys_exit_is_that_futures_exception(pool, status):
    pid = pool.submit(tasks.pid).result(SOON)
    error = pool.submit(sys.exit, status).exception(SOON)
    assert (type(error), error.code) == (SystemExit, status)
    assert pool.submit(tasks.pid).result(SOON) == pid


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, tasks.OwnBaseError], ids=lambda kind: kind.__name__
)
def test_map_yields_what_came_before_the_item_that_raised(pool, kind):
    results = pool.map(tasks.throw_at, range(4), [2] * 4, [kind] * 4, chunksize=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(kind):
        next(results)


def test_map_does_not_end_in_silence_at_stop_iteration(pool):
    results = pool.map(tasks.throw_at, range(4), [2] * 4, [StopIteration] * 4)
    with pytest.raises(RuntimeError) as caught:
        list(results)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_runaway_recursion_is_that_futures_exception(pool):
    pid = pool.submit(tasks.pid).result(SOON)
    assert isinstance(pool.submit(tasks.recurse).exception(SOON), RecursionError)
    assert pool.submit(tasks.pid).result(SOON) == pid


# -- row 9: exceptions that do not travel well -------------------------------------------------------------------------


def test_exception_that_holds_what_cannot_be_pickled_says_what_it_was(pool):
    error = pool.submit(tasks.throw_unpicklable).exception(SOON)
    assert isinstance(error, RemoteError)
    assert error.type_name == "tests.faults.tasks.HoldsALock"
    assert "HoldsALock: no key" in str(error)
    assert "cannot pickle '_thread.lock' object" in str(error)


def test_exception_that_cannot_be_pickled_keeps_its_traceback(pool):
    error = pool.submit(tasks.throw_unpicklable).exception(SOON)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in throw_unpicklable" in str(error.__cause__)


def test_exception_of_a_class_that_only_the_worker_knows_is_not_lost(pool):
    error = pool.submit(tasks.throw_local).exception(SOON)
    assert (type(error).__name__, error.args) == ("Local", ("only here",))


@pytest.mark.parametrize(
    "kind",
    [
        tasks.NeedsKeyword,
        tasks.NeedsMore,
        tasks.ForgetsItsArguments,
        tasks.RaisesAtLoad,
        tasks.RaisesAtPickling,
        tasks.LoadsAsSomethingElse,
        tasks.ExitsAtLoad,
    ],
    ids=lambda kind: kind.__name__,
)
def test_exception_with_an_odd_constructor_keeps_its_type_if_it_can(pool, kind):
    error = pool.submit(tasks.throw_odd, kind).exception(SOON)
    assert type(error) is kind
    assert "odd" in str(error.args)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_exception_with_a_required_keyword_keeps_its_attributes(pool):
    assert pool.submit(tasks.throw_odd, tasks.NeedsKeyword).exception(SOON).key == "key"


def test_exception_that_can_be_carried_in_no_way_is_told_of(pool):
    error = pool.submit(tasks.throw_odd, tasks.NothingWorks).exception(SOON)
    assert isinstance(error, RemoteError)
    assert "NothingWorks: odd" in str(error)
    assert "LookupError: not at all" in str(error)
    assert "in throw_odd" in str(error.__cause__)


def test_state_of_an_exception_arrives(pool):
    error = pool.submit(tasks.throw_with_state).exception(SOON)
    assert (error.args, error.code, error.notes) == (("text",), 42, {"a": 1})


def test_text_of_100_mib_is_cut_and_the_type_kept(pool):
    error = pool.submit(tasks.throw_long).exception(SOON)
    assert type(error) is tasks.LongText
    assert len(str(error.__cause__)) < 1 << 20
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_text_of_100_mib_is_cut_where_the_type_cannot_be_kept(pool):
    error = pool.submit(tasks.throw_long, picklable=False).exception(SOON)
    assert error.type_name.endswith("LongText")
    assert len(str(error)) < 1 << 20


@pytest.mark.parametrize("text", ["\ud800", "\0", "é" * 100, ""], ids=ascii)
def test_text_of_any_kind_arrives(pool, text):
    assert pool.submit(tasks.throw, ValueError, text).exception(SOON).args == (text,)


# -- what hangs on an exception ----------------------------------------------------------------------------------------


def test_remote_traceback_is_the_cause(pool):
    error = pool.submit(tasks.throw, ValueError, "text").exception(SOON)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in throw" in error.__cause__.tb
    assert "ValueError: text" in error.__cause__.tb


def test_remote_traceback_shows_the_users_frames_only(pool):
    error = pool.submit(tasks.throw, ValueError, "text").exception(SOON)
    assert "woolexec/worker" not in error.__cause__.tb


def test_cause_is_kept(pool):
    error = pool.submit(tasks.throw_chain).exception(SOON)
    assert (type(error), error.args) == (LookupError, ("outer",))
    assert (type(error.__cause__), error.__cause__.args) == (KeyError, ("inner",))


def test_context_is_kept(pool):
    error = pool.submit(tasks.throw_in_handler).exception(SOON)
    assert (type(error.__context__), error.__context__.args) == (KeyError, ("inner",))


def test_suppressed_context_stays_suppressed(pool):
    error = pool.submit(tasks.throw_from_none).exception(SOON)
    assert error.__suppress_context__
    assert "inner" not in "".join(traceback.format_exception(error))


def test_whole_chain_is_printed(pool):
    text = "".join(traceback.format_exception(pool.submit(tasks.throw_chain).exception(SOON)))
    assert "KeyError: 'inner'" in text
    assert "LookupError: outer" in text
    assert "in throw_chain" in text


def test_notes_are_kept(pool):
    assert pool.submit(tasks.throw_noted).exception(SOON).__notes__ == ["first", "second"]


def test_notes_are_kept_where_the_type_is_not(pool):
    error = pool.submit(tasks.throw_unpicklable).exception(SOON)
    assert "what happened before" in error.__notes__


def test_group_is_kept_with_its_members_and_their_causes(pool):
    error = pool.submit(tasks.throw_group).exception(SOON)
    assert (type(error), error.message) == (ExceptionGroup, "both")
    first, second = error.exceptions
    assert (type(first), first.args, type(first.__cause__)) == (ValueError, ("one",), KeyError)
    assert (type(second), second.exceptions[0].args) == (ExceptionGroup, ("two",))


def test_group_with_a_member_that_cannot_be_pickled_keeps_the_others(pool):
    error = pool.submit(tasks.throw_group_unpicklable).exception(SOON)
    assert isinstance(error, ExceptionGroup)
    assert {type(member) for member in error.exceptions} == {ValueError, RemoteError}


def test_exception_that_causes_itself_arrives(pool):
    error = pool.submit(tasks.throw_circle).exception(SOON)
    assert (type(error), error.args) == (ValueError, ("circle",))


def test_long_chain_arrives(pool):
    error = pool.submit(tasks.throw_long_chain, 300).exception(SOON)
    assert (type(error), error.args) == (ValueError, (300,))


def test_cause_that_cannot_be_pickled_does_not_cost_the_exception_its_type(pool):
    error = pool.submit(tasks.throw_from_unpicklable).exception(SOON)
    assert (type(error), error.args) == (ValueError, ("outer",))
    assert isinstance(error.__cause__, RemoteError)
