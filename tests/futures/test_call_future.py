"""The future alone, as users and the standard library see it.  CPython's own tests run on it as well."""

import concurrent.futures
import gc
import pickle
import sys
import threading
import weakref
from concurrent.futures import CancelledError, Future
from types import SimpleNamespace

import pytest

from woolexec.futures.call_future import CallFuture
from woolexec.futures.latch import Latch
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.pickling import dumps


class Owner:
    def __init__(self, *, cancels=True, runs=False):
        self.cancels = cancels
        self.runs = runs
        self.asked = []

    def cancel(self, future, take, *, force):
        self.asked.append(force)
        return self.cancels

    def is_running(self, future):
        return self.runs

    def wait(self, future, timeout):
        return False

    def run_elsewhere(self, piece):
        piece()


def explode():
    raise LookupError("on load")


class Bomb:
    def __reduce__(self):
        return explode, ()


def test_value_is_decoded_where_it_is_asked_for():
    future = CallFuture(Owner())
    future.deliver(None, dumps([1, 2]))

    assert future.result() == [1, 2]
    assert future.result() is future.result()
    assert future.exception() is None
    assert future.done()
    assert not future.running()


def test_completion_shows_what_a_future_of_the_standard_library_has_and_nothing_internal():
    future = CallFuture(Owner())

    def shown(thing):
        return {name for name in dir(thing) if not name.startswith("_")}

    assert shown(future) == shown(Future())
    assert "__await__" in dir(future)


def test_failure_is_raised_each_time():
    future = CallFuture(Owner())
    future.deliver_failure(None, dump_failure(ValueError("text")))

    for _ in range(2):
        with pytest.raises(ValueError, match="text"):
            future.result()
    assert isinstance(future.exception(), ValueError)


def test_failure_of_our_own_is_raised_as_it_is():
    error = ValueError("ours")
    future = CallFuture(Owner())
    future.deliver_failure(None, error)

    assert future.exception() is error


def test_none_is_a_value_like_any_other():
    future = CallFuture(Owner())
    future.deliver(None, dumps(None))

    assert future.result() is None


def test_value_that_does_not_unpickle_fails_that_future():
    future = CallFuture(Owner())
    future.deliver(None, pickle.dumps(Bomb()))

    with pytest.raises(LookupError, match="on load"):
        future.result()


def test_second_outcome_is_ignored():
    future = CallFuture(Owner())
    future.deliver(None, dumps(1))
    future.deliver(None, dumps(2))
    future.deliver_failure(None, ValueError())

    assert future.result() == 1


def test_waiting_thread_is_woken():
    future = CallFuture(Owner())
    got = []
    thread = threading.Thread(target=lambda: got.append(future.result(30)))
    thread.start()

    future.deliver(None, dumps(7))
    thread.join()

    assert got == [7]


def test_result_that_is_late_is_a_timeout():
    with pytest.raises(TimeoutError):
        CallFuture(Owner()).result(timeout=0.01)


def test_delivery_races_with_many_waiters():
    for _ in range(200):
        future, barrier, got = CallFuture(Owner()), threading.Barrier(3), []

        def wait(future=future, barrier=barrier, got=got):
            barrier.wait()
            got.append(future.result(30))

        threads = [threading.Thread(target=wait) for _ in range(2)]
        for thread in threads:
            thread.start()
        barrier.wait()
        future.deliver(None, dumps(1))
        for thread in threads:
            thread.join()
        assert got == [1, 1]


def test_callbacks_run_once_in_order_whether_added_before_or_after():
    future, got = CallFuture(Owner()), []
    future.add_done_callback(lambda f: got.append(("first", f.result())))
    future.add_done_callback(lambda f: got.append(("second", f.result())))

    future.deliver(None, dumps(1))
    future.add_done_callback(lambda f: got.append(("late", f.result())))

    assert got == [("first", 1), ("second", 1), ("late", 1)]


def test_callback_that_raises_does_not_stop_the_next(caplog):
    future, got = CallFuture(Owner()), []
    future.add_done_callback(lambda _: sys.exit("in a callback"))
    future.add_done_callback(got.append)

    future.deliver(None, dumps(1))

    assert got == [future]
    assert "exception calling callback" in caplog.text


def test_cancel_asks_the_owner_and_runs_callbacks():
    owner, got = Owner(), []
    future = CallFuture(owner)
    future.add_done_callback(got.append)

    assert future.cancel()
    assert future.cancel()

    assert owner.asked == [False]
    assert got == [future]
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result()
    with pytest.raises(CancelledError):
        future.exception()


def test_cancel_with_force_says_so_to_the_owner():
    owner = Owner()

    CallFuture(owner).cancel(force=True)

    assert owner.asked == [True]


def test_future_that_its_owner_does_not_cancel_goes_on():
    future = CallFuture(Owner(cancels=False))

    assert not future.cancel()

    future.deliver(None, dumps(1))
    assert future.result() == 1
    assert not future.cancel()


def test_outcome_after_cancel_is_ignored():
    future = CallFuture(Owner())
    future.cancel()

    future.deliver(None, dumps(1))

    assert future.cancelled()


def test_running_is_what_the_owner_says():
    owner = Owner()
    future = CallFuture(owner)
    assert not future.running()

    owner.runs = True
    assert future.running()

    future.deliver(None, dumps(1))
    assert not future.running()


def test_wait_and_as_completed_know_it():
    futures = [CallFuture(Owner()) for _ in range(3)]
    futures[1].deliver(None, dumps(1))
    done, left = concurrent.futures.wait(futures, timeout=0.01)
    assert (done, left) == ({futures[1]}, {futures[0], futures[2]})

    completed = concurrent.futures.as_completed(futures, timeout=30)
    assert next(completed) is futures[1]
    futures[2].deliver_failure(None, ValueError())
    assert next(completed) is futures[2]
    futures[0].cancel()
    assert next(completed) is futures[0]


def test_it_is_a_future_to_the_standard_library():
    future = CallFuture(Owner())

    assert isinstance(future, Future)
    assert "pending" in repr(future)
    future.deliver(None, dumps(1))
    assert "finished" in repr(future)
    assert future._get_snapshot() == (True, False, 1, None)


def test_idle_future_is_small():
    tracked = len(gc.get_objects())
    futures = [CallFuture(None) for _ in range(1000)]

    assert len(gc.get_objects()) - tracked < 1100, "a future that nobody waits for is one object"
    assert sys.getsizeof(futures[0]) < 300


def test_raised_exception_does_not_keep_the_future():
    future = CallFuture(Owner())
    future.deliver_failure(None, ValueError())
    with pytest.raises(ValueError):
        future.result()
    gone = weakref.ref(future)

    gc.disable()
    try:
        del future
        assert gone() is None
    finally:
        gc.enable()


class Late(CallFuture):
    """Is delivered just before a callback is added, by whoever `race` says."""

    __slots__ = ("race",)

    @property
    def _done_callbacks(self):
        race, self.race = self.race, None
        if race is not None:
            race()
        return super()._done_callbacks


def test_callback_that_is_added_as_the_outcome_arrives_is_called_once_and_no_other_with_it():
    relay, called = [], []
    owner = Owner()
    owner.run_elsewhere = relay.append
    future = Late(owner)
    future.race = None
    future.add_done_callback(lambda _: called.append("first"))
    future.race = lambda: future.deliver(None, dumps(1))

    future.add_done_callback(lambda _: called.append("second"))
    assert called == ["second"]

    for piece in relay:
        piece()
    assert called == ["second", "first"]


@pytest.mark.parametrize(
    "complete",
    [lambda f: f.set_result(1), lambda f: f.set_exception(OSError()), Future.cancel],
    ids=["set_result", "set_exception", "cancel"],
)
def test_future_that_somebody_else_completes_wakes_who_waits(complete):
    future, seen = CallFuture(), threading.Event()

    def wait():
        try:
            future.exception(20)
        except CancelledError:
            pass
        seen.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while future._latch is None:
        pass
    complete(future)
    assert seen.wait(10)
    thread.join()


def test_interrupt_in_a_callback_reaches_who_completes_the_future():
    future = CallFuture()
    future.add_done_callback(lambda _: _raise(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        future.set_result(1)


def _raise(cls):
    raise cls


class Asking(Owner):
    """The owner of a call at a peer, which answers when the test says so."""

    def cancel(self, future, take, *, force):
        self.take = take
        return


def asked():
    owner = Asking()
    future = CallFuture(owner)
    future.outstanding_call = SimpleNamespace(receiver=future)
    return owner, future


@pytest.mark.parametrize("is_taken", [True, False])
def test_cancel_that_does_not_wait_ends_the_future_when_its_peer_says_so(is_taken):
    owner, future = asked()
    answered = future.cancel_soon(force=False)
    assert not answered.is_open
    assert not future.cancelled()
    owner.take(is_taken)
    assert answered.is_open
    assert future.cancelled() is is_taken


def test_cancel_that_is_interrupted_while_its_peer_is_asked_cancels_all_the_same(monkeypatch):
    owner, future = asked()

    def interrupted(latch, timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(Latch, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        future.cancel()
    owner.take(True)
    assert future.cancelled()
