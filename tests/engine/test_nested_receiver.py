from types import SimpleNamespace

import pytest

from woolexec.core.call import ASYNCIO, MAIN, Call, Function
from woolexec.engine.nested_receiver import Receiver, known_above, plain_above


class Worker:
    """A worker with one place."""

    def __init__(self):
        self.outstanding = {}

    def place_of(self, number):
        return self


@pytest.fixture
def chain():
    """A call of a client, a coroutine that it has submitted, and a task of that: each in a worker of its own."""
    workers, calls, receiver = [Worker() for _ in range(3)], [], SimpleNamespace(number=70)
    for number, (worker, lane) in enumerate(zip(workers, (MAIN, ASYNCIO, MAIN), strict=True), 1):
        call = Call(Function(b"", "fn", lane), b"", receiver, parent=number - 1)
        call.number = number
        worker.outstanding[number] = call
        calls.append(call)
        receiver = Receiver(None, worker, call.parent, number, 0)
    return workers, calls


def test_plain_calls_above_a_task_are_found_with_their_workers(chain):
    workers, calls = chain
    task = Call(Function(b"", "fn"), b"", None, parent=3)
    assert list(plain_above(workers[2], task)) == [(calls[2], workers[2]), (calls[0], workers[0])]


def test_client_knows_the_call_above_that_came_from_it(chain):
    workers, _ = chain
    assert known_above(workers[2], 3) == 70
    assert known_above(workers[2], 9) == 0  # it has ended
