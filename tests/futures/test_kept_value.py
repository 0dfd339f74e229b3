"""An outcome that stayed with a peer, and the future that resolves to it."""

import pickle
from types import SimpleNamespace

import pytest

from woolexec.futures.call_future import CallFuture
from woolexec.futures.kept_value import KeptValue
from woolexec.wire.values import Value


@pytest.fixture
def asked():
    return []


@pytest.fixture
def value(asked):
    return KeptValue(7, 100, SimpleNamespace(ask=asked.append), "task")


@pytest.fixture
def future(value):
    future = CallFuture()
    future.deliver_kept(None, value)
    return future


def test_it_is_asked_for_until_it_is_here(value, asked):
    latch = value.fetch()
    assert value.fetch() is latch
    assert not latch.is_open
    value.settle(b"x" * 100)
    assert latch.is_open
    assert asked == [value, value]
    value.fetch()
    assert len(asked) == 2


def test_what_is_lost_is_asked_for_no_more(value, asked):
    value.fail(LookupError("gone"))
    assert value.fetch().is_open
    assert asked == []
    with pytest.raises(LookupError):
        value.arrived()


def test_it_is_away_until_it_is_here_and_has_its_size(value):
    assert value.is_away
    assert value.is_kept
    assert value.size == 100
    value.settle(b"x" * 100)
    assert not value.is_away


def test_copy_has_a_number_of_its_own_and_is_one(value):
    value.settle(b"x")
    copy = value.copy()
    assert copy is value.copy()
    assert (copy.payload, copy.is_kept) == (b"x", False)
    assert copy.number != value.number
    plain = Value(b"y")
    assert plain.copy() is plain


def test_future_is_done_and_its_exception_is_known_without_fetching(future, asked):
    assert future.done()
    assert future.exception() is None
    assert future.failure is None
    assert future.encoded is None
    assert asked == []


def test_future_decodes_what_has_come(future, value):
    value.settle(pickle.dumps([1, 2]))
    assert future.result() == [1, 2]
    assert future.kept is None
    assert future.value is value
    assert future.exception() is None


def test_future_raises_the_loss(future, value):
    value.fail(LookupError("gone"))
    assert future.failure is value.failure
    assert future.exception() is value.failure
    with pytest.raises(LookupError, match="gone"):
        future.result()


def test_future_raises_what_unpickling_raises(future, value):
    value.settle(b"no pickle")
    with pytest.raises(pickle.UnpicklingError):
        future.result()
    assert isinstance(future.exception(), pickle.UnpicklingError)


def test_wait_ends_in_time_and_may_be_repeated(future, value):
    with pytest.raises(TimeoutError):
        future.result(0.01)
    value.settle(pickle.dumps(3))
    assert future.result(0.01) == 3


def test_future_that_was_cancelled_stays_cancelled(value):
    future = CallFuture()
    future.cancel()
    future.deliver_kept(None, value)
    assert future.cancelled()
    assert future.kept is None
