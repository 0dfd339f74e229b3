"""
A future that is delivered without a lock, while the standard library reads it: every order of the steps.

One thread delivers, the other waits; both stop before each line that touches the future, and the test says who goes on.
What is tried is the shipped code and the standard library's, line by line; see the top of
`woolexec/futures/delivery.py`.
"""

import concurrent.futures
import itertools
import linecache
import sys
import threading
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait

import pytest

from woolexec import PeerPoolExecutor
from woolexec.futures import call_future, delivery
from woolexec.futures.call_future import CallFuture
from woolexec.wire.pickling import dumps

OURS = (delivery.__file__, call_future.__file__)
THEIRS = concurrent.futures._base.__file__
WAITS = "waiter.event.wait("
TOUCHES = ("_state", "_condition", "_waiters", WAITS)


class Stepped:
    """A function in a thread of its own that stops before each line of interest."""

    def __init__(self, function):
        self._function = function
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._free = False
        self.line = ""
        self.frame = None
        self.over = False
        self.value = self.error = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def _run(self):
        self._stop(None)
        sys.settrace(self._trace)
        try:
            self.value = self._function()
        except BaseException as exc:
            self.error = exc
        finally:
            sys.settrace(None)
            self.over = True
            self._stopped.release()

    def _trace(self, frame, event, arg):
        if frame.f_code.co_filename not in (*OURS, THEIRS):
            return None
        if event == "line" and not self._free:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if frame.f_code.co_filename in OURS or any(word in line for word in TOUCHES):
                self.line, self.frame = line, frame
                self._stop(frame)
        return self._trace

    def _stop(self, frame):
        self._stopped.release()
        self._go.acquire()

    @property
    def waits(self):
        """It is about to wait for the other."""
        return WAITS in self.line

    def step(self, count=1):
        """Run so many steps, but do not begin to wait; return how many were run."""
        for done in range(count):
            if self.over or self.waits:
                return done
            self._go.release()
            self._stopped.acquire()
        return count

    def finish(self):
        """Run to the end."""
        self._free = True
        self._go.release()
        self._thread.join(20)
        assert self.over
        if self.error is not None:
            raise self.error
        return self.value


class Owner:
    """Runs what may have to wait for the lock in a thread, as the engine does."""

    def __init__(self):
        self.threads = []

    def run_elsewhere(self, piece):
        self.threads.append(threading.Thread(target=piece, daemon=True))
        self.threads[-1].start()

    def join(self):
        for thread in self.threads:
            thread.join(20)


DELIVERIES = {
    "value": lambda future: future.deliver(None, dumps(1)),
    "failure": lambda future: future.deliver_failure(None, ValueError()),
    "cancelled": lambda future: future.deliver_failure(None, None),
}


def run(deliver, consume, before, between, after):
    """
    Run both sides: `before` steps of the waiter, `between` of the delivery, `after` of the waiter, the rest of the
    delivery, the rest of the waiter; then the second future is delivered.

    :return: what the waiter gave, whether both sides had steps left where they were stopped
    """
    owner = Owner()
    delivered, pending = CallFuture(owner), CallFuture(owner)
    waiting = Stepped(lambda: consume([delivered, pending]))
    delivering = Stepped(lambda: deliver(delivered))
    went = waiting.step(before) == before and delivering.step(between) == between
    went = waiting.step(after) == after and went
    delivering.step(1000)
    while not (waiting.over or waiting.waits):
        waiting.step()
    owner.threads and owner.join()
    delivering.finish()
    owner.join()
    if not waiting.over:
        check(waiting.frame.f_locals["waiter"], delivered)
    pending.deliver(None, dumps(2))
    return waiting.finish(), went


def check(waiter, delivered):
    """What the standard library counts is what is there: one future is pending, the other was told or seen, once."""
    left = getattr(waiter, "num_pending_calls", None)
    if left is not None and not (waiter.stop_on_exception and waiter.event.is_set()):
        assert left == 1, "wait would return early, or never"
    assert waiter.finished_futures in ([], [delivered])


def wait_for(when):
    def consume(futures):
        done, not_done = wait(futures, 20, when)
        return len(done), len(not_done)

    return consume


def in_order_of_completion(futures):
    return len(list(as_completed(futures, 20))), 0


CONSUMERS = {
    "all_completed": (wait_for(ALL_COMPLETED), (2, 0)),
    "first_completed": (wait_for(FIRST_COMPLETED), None),
    "first_exception": (wait_for(FIRST_EXCEPTION), None),
    "as_completed": (in_order_of_completion, (2, 0)),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("all_completed", "value"),
        *(
            pytest.param(way, kind, marks=[pytest.mark.slow, pytest.mark.versions])
            for way, kind in [
                ("first_completed", "value"),
                ("first_exception", "value"),
                ("first_exception", "failure"),
                ("as_completed", "value"),
                ("all_completed", "cancelled"),
            ]
        ),
    ],
)
def test_waiters_count_right_in_every_order_of_the_steps(way, kind):
    consume, expected = CONSUMERS[way]
    tried = 0
    for before in itertools.count():
        reached_waiter = False
        for between in itertools.count():
            value, went = run(DELIVERIES[kind], consume, before, between, 0)
            tried += 1
            assert expected is None or value == expected, (before, between)
            if expected is None:
                assert sum(value) == 2
                assert value[0] >= 1
            reached_waiter = reached_waiter or went
            if not went:
                break
        if not reached_waiter:
            break
    assert tried > 50


@pytest.mark.slow
def test_two_switches_during_a_delivery_are_right_as_well():
    """The delivery is stopped in its middle, the waiter runs for a few steps, the delivery goes on."""
    for before, between, after in itertools.product(range(0, 40, 4), range(1, 7), range(1, 14, 4)):
        value, _ = run(DELIVERIES["value"], wait_for(ALL_COMPLETED), before, between, after)
        assert value == (2, 0), (before, between, after)


@pytest.fixture
def quick_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def identity(value):
    return value


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 1000])
def test_wait_and_as_completed_are_exact_while_futures_finish(quick_switches, count):
    with PeerPoolExecutor(2) as pool:
        for _ in range(2000 // count if count < 1000 else 8):
            futures = [pool.submit(identity, number) for number in range(count)]
            done, not_done = wait(futures, 30)
            assert (len(done), len(not_done)) == (count, 0)
            assert all(future.done() for future in futures)
            futures = [pool.submit(identity, number) for number in range(count)]
            assert sorted(future.result() for future in as_completed(futures, 30)) == list(range(count))
            pending, seen = {pool.submit(identity, number) for number in range(min(count, 100))}, 0
            while pending:
                done, pending = wait(pending, 30, FIRST_COMPLETED)
                assert done
                seen += len(done)
            assert seen == min(count, 100)


def test_several_threads_that_wait_for_the_same_futures_agree(quick_switches):
    with PeerPoolExecutor(2) as pool:
        for _ in range(5):
            futures, answers = [pool.submit(identity, number) for number in range(300)], []

            def look(futures=futures, answers=answers):
                answers.append(len(wait(futures, 30).done))
                answers.append(len(list(as_completed(futures, 30))))

            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads:
                thread.start()
            cancelled = sum(future.cancel() for future in futures[::7])
            for thread in threads:
                thread.join()
            assert answers == [300] * 8
            assert sum(future.cancelled() for future in futures) == cancelled


def test_threads_that_decode_at_the_same_time_get_the_same_object(quick_switches):
    for _ in range(200):
        future, values, barrier = CallFuture(Owner()), [], threading.Barrier(3)
        future.deliver(None, dumps([object()]))

        def ask(future=future, values=values, barrier=barrier):
            barrier.wait()
            values.append(future.result())

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert values[0] is values[1] is values[2] is future.result()
