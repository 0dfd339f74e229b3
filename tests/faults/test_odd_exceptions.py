"""Row 47: unusual exceptions are delivered unchanged, or as a RemoteError that names them."""

import traceback

import pytest

from tests.shared_pools import start
from woolexec import PeerPoolExecutor, RemoteError

from . import tasks_b
from .tasks import SOON

AS_THEMSELVES = [
    tasks_b.FrozenError,
    tasks_b.FalsyError,
    tasks_b.EmptyError,
    tasks_b.EqualError,
    tasks_b.UncomparableError,
    tasks_b.UnprintableError,
    tasks_b.ExitingTextError,
    tasks_b.NoTextError,
    tasks_b.ClosedError,
    tasks_b.OddNotesError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
]
AS_THEMSELVES_OR_NAMED = [
    tasks_b.UnreducibleError,
    tasks_b.ExitingReduceError,
    tasks_b.UnloadableError,
    tasks_b.ExitingLoadError,
    tasks_b.DisguisedError,
    tasks_b.GuardedError,
    tasks_b.LyingError,
]


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """One worker for all tests here: none of them may harm it."""
    with PeerPoolExecutor(1) as executor:
        start(executor, 1, tmp_path_factory.mktemp("lone") / "started")
        yield executor


def by_name(kind):
    return type.__getattribute__(kind, "__name__")


@pytest.mark.parametrize("kind", AS_THEMSELVES, ids=by_name)
def test_odd_exception_is_delivered_as_itself(lone, kind):
    error = lone.submit(tasks_b.throw, kind, 3).exception(SOON)
    assert type(error) is kind
    assert error.args == (3,)
    assert lone.submit(abs, -1).result(SOON) == 1


@pytest.mark.parametrize("kind", AS_THEMSELVES, ids=by_name)
def test_odd_exception_is_raised_by_result(lone, kind):
    future = lone.submit(tasks_b.throw, kind, 3)
    with pytest.raises(BaseException) as caught:
        future.result(SOON)
    assert caught.type is kind


@pytest.mark.parametrize("kind", AS_THEMSELVES_OR_NAMED, ids=by_name)
def test_exception_that_cannot_travel_is_named(lone, kind):
    error = lone.submit(tasks_b.throw, kind, 3).exception(SOON)
    assert type(error) is kind or (type(error) is RemoteError and error.type_name.endswith(by_name(kind)))
    assert lone.submit(abs, -1).result(SOON) == 1


@pytest.mark.parametrize("kind", [*AS_THEMSELVES, *AS_THEMSELVES_OR_NAMED], ids=by_name)
def test_odd_exception_in_a_map_is_raised_in_its_turn(lone, kind):
    results = lone.map(tasks_b.throw_if_kind, [1, kind, 3], chunksize=3)
    assert next(results) == 1
    with pytest.raises(BaseException) as caught:
        next(results)
    # A StopIteration out of `next` would end the iteration in silence.
    assert caught.type is (RuntimeError if kind is StopIteration else kind) or caught.type is RemoteError


def test_exception_that_needs_a_keyword_keeps_its_type_and_text(lone):
    error = lone.submit(tasks_b.throw_needing_keyword).exception(SOON)
    assert type(error) is tasks_b.NeedsKeywordError
    assert str(error) == "code 5"


def test_exceptions_that_cause_each_other_in_a_circle_arrive(lone):
    error = lone.submit(tasks_b.throw_in_circle).exception(SOON)
    assert (repr(error), repr(error.__cause__)) == ("ValueError('one')", "KeyError('other')")


def test_exception_that_holds_a_lock_is_named(lone):
    error = lone.submit(tasks_b.throw_unpicklable_argument).exception(SOON)
    assert type(error) is RemoteError
    assert error.type_name.endswith("ValueError")
    assert "locked" in str(error)


def test_chain_of_a_thousand_causes_arrives(lone):
    error = lone.submit(tasks_b.throw_chain, 1000).exception(SOON)
    assert repr(error) == "ValueError(999)"
    assert repr(error.__cause__) == "ValueError(998)"


def test_one_exception_object_raised_by_two_tasks_arrives_as_two(lone):
    one, other = (lone.submit(tasks_b.throw_kept).exception(SOON) for _ in range(2))
    assert repr(one) == repr(other) == "ValueError('the same each time')"
    assert one is not other
    assert "throw_kept" in str(other.__cause__)


def test_traceback_does_not_grow_with_each_time_that_one_exception_is_raised(lone):
    texts = [str(lone.submit(tasks_b.throw_kept).exception(SOON).__cause__) for _ in range(5)]
    assert len(set(map(len, texts))) == 1


def test_exception_shared_between_futures_is_not_changed_by_the_other(lone):
    error = ValueError("mine")
    one, other = lone.submit(tasks_b.throw_it, error), lone.submit(tasks_b.throw_it, error)
    one.exception(SOON).add_note("seen")
    assert not hasattr(other.exception(SOON), "__notes__")
    assert error.__traceback__ is error.__cause__ is None


def test_result_asked_twice_raises_the_same_exception(lone):
    future = lone.submit(tasks_b.throw, ValueError, "once")
    assert future.exception(SOON) is future.exception(SOON)


def test_task_that_returns_an_exception_has_not_raised_it(lone):
    future = lone.submit(tasks_b.echo, ValueError("a value"))
    assert future.exception(SOON) is None
    assert repr(future.result()) == "ValueError('a value')"


def test_odd_exception_can_be_printed_with_its_remote_traceback(lone):
    error = lone.submit(tasks_b.throw, tasks_b.UnprintableError).exception(SOON)
    text = "".join(traceback.format_exception(error))
    assert "in throw" in text
    assert "UnprintableError" in text
