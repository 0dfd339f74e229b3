"""Queued calls of an actor are found by the call that waits for them."""

from types import SimpleNamespace

import pytest

from woolexec.core.callers import Callers


class Queue:
    """A set of queued calls, and those that are found by their waiters."""

    def __init__(self):
        self.queued = set()
        self.callers = Callers(lambda call: call.number in self.queued)
        self.calls = []

    def add(self, *waiters):
        for waiter in waiters:
            number = len(self.calls)
            receiver = SimpleNamespace(waiter=waiter) if waiter else object()  # that of a call of the program itself
            call = Call(number, receiver)
            self.calls.append(call)
            self.queued.add(number)
            self.callers.add(call)

    def take(self, number):
        self.queued.discard(number)
        self.callers.remove(self.calls[number])

    def find(self, waiter):
        found = self.callers.find(waiter)
        return None if found is None else found.number


class Call:
    def __init__(self, number, receiver):
        self.number, self.receiver = number, receiver


@pytest.fixture
def queue():
    return Queue()


def test_first_queued_call_of_a_waiter_is_found(queue):
    queue.add(7, 8, 0, 7)
    assert [queue.find(waiter) for waiter in (7, 8, 9, 0)] == [0, 1, None, None]
    queue.take(0)
    assert queue.find(7) == 3
    queue.take(3)
    assert queue.find(7) is None


def test_cancelled_calls_are_not_found(queue):
    queue.add(7, 7, 7)
    queue.queued -= {0, 1}
    assert queue.find(7) == 2
    assert len(queue.callers) == 1


def test_calls_that_are_taken_or_cancelled_leave_nothing(queue):
    queue.add(*[1, 2] * 3000)
    for number in range(3000):
        queue.take(number)
    queue.queued.clear()  # the others are cancelled
    queue.add(*[3] * 8000)
    assert len(queue.callers) == 8000
    queue.callers.clear()
    assert not queue.callers
    assert queue.find(3) is None
