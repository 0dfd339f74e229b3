from types import SimpleNamespace

import pytest

from woolexec.core.call import ASYNCIO, MAIN, Call, Function
from woolexec.engine.nested_receiver import Receiver, known_above, of_same_actor, plain_above, task_of
from woolexec.resources import Line


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
        receiver = Receiver(None, worker, number, number, 0)
    return workers, calls


def test_plain_calls_above_a_task_are_found_with_their_workers(chain):
    workers, calls = chain
    task = Call(Function(b"", "fn"), b"", None, parent=3)
    assert list(plain_above(workers[2], task)) == [(calls[2], workers[2]), (calls[0], workers[0])]


def test_client_knows_the_call_above_that_came_from_it(chain):
    workers, _ = chain
    assert known_above(workers[2], 3) == 70
    assert known_above(workers[2], 9) == 0  # it has ended


def test_nearest_plain_call_above_waits_for_a_task(chain):
    workers, calls = chain
    assert Receiver(None, workers[2], 3, 9, 0).waiter == 3
    assert calls[2].receiver.waiter == 1  # above the coroutine
    assert Receiver(None, workers[2], 8, 9, 0).waiter == 0


def test_calls_above_are_found_across_a_call_that_a_client_makes_for_a_task_here(chain):
    workers, calls = chain
    request = Call(Function(b"", "fn"), b"", Receiver(None, workers[2], 3, 9, 0), parent=3)
    call = Call(Function(b"", "fn"), b"", SimpleNamespace(number=71, request=request))
    workers[0].outstanding[4], call.number = call, 4
    task = Call(Function(b"", "fn"), b"", Receiver(None, workers[0], 4, 10, 0), parent=4)

    assert [each.number for each, _ in plain_above(workers[0], task)] == [4, 3, 1]
    assert known_above(workers[0], 4) == 71
    assert [task_of(worker, task) for worker in workers] == [10, 2, 9]
    assert task_of(workers[0], calls[0]) == 0


def test_actor_that_is_called_again_is_found_among_the_calls_above(chain):
    workers, calls = chain
    actor = object()
    task = Call(Function(b"", "fn"), b"", None, parent=3)
    for worker in workers:
        worker.actor = None
    assert of_same_actor(workers[2], task, actor) == 0
    calls[0].line = Line(actor=actor)
    assert of_same_actor(workers[2], task, actor) == 1
    workers[2].actor = actor
    assert of_same_actor(workers[2], task, actor) == 3


def test_task_that_lies_about_the_call_above_it_has_an_end(chain):
    workers, calls = chain
    lying = Call(Function(b"", "fn"), b"", Receiver(None, workers[2], 4, 9, 0), parent=4)
    workers[2].outstanding[4], lying.number = lying, 4
    assert [each.number for each, _ in plain_above(workers[2], lying)] == [4]
    assert task_of(workers[0], lying) == 0
    calls[0].receiver = Receiver(None, workers[2], 3, 9, 0)
    assert [each.number for each, _ in plain_above(workers[2], Call(Function(b"", "fn"), b"", None, parent=3))] == [
        3,
        1,
    ]
