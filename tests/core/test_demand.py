from types import SimpleNamespace

import pytest

from woolexec.core.call import Call, Chunk, Function
from woolexec.core.demand import COROUTINES, SAMPLE, demand
from woolexec.core.offer import Offer
from woolexec.core.ready_queue import ReadyQueue
from woolexec.resources import Line, Requirement


def function_of(seconds=None):
    function = Function(b"", "f")
    function.seconds = seconds
    return function


def queue_of(count=0, *, seconds=None, require=None):
    queue = ReadyQueue()
    line = None if require is None else Line(0, Requirement(require))
    for _ in range(count):
        call = Call(function_of(seconds), b"", None)
        call.line = line
        queue.offer(call)
        queue.add(call)
    return queue


def asked(queue, *, is_lane=False, links=(), offer=None, width=4):
    return demand(((queue, is_lane),), links, offer, width)


def test_nothing_waits():
    assert asked(queue_of()) == ([], None)


@pytest.mark.parametrize("count", [1, SAMPLE, 10 * SAMPLE + 3])
def test_calls_that_wait_are_counted_and_their_time_is_known_if_one_has_ended(count):
    assert asked(queue_of(count)) == ([(count, 4)], None)
    assert asked(queue_of(count, seconds=2.0)) == ([(count, 4)], 2.0)


def test_items_of_a_chunk_that_are_left_count():
    queue = ReadyQueue()
    chunk = Chunk(function_of(0.5), b"", 100, None)
    queue.add(chunk)
    chunk.cut(30)
    assert asked(queue) == ([(70, 4)], 0.5)


def test_coroutines_take_no_workers():
    assert asked(queue_of(3), is_lane=True) == ([(3, COROUTINES)], None)


@pytest.mark.parametrize(("amount", "slots"), [(2, 1), (1, 2), (0.25, 4)])
def test_calls_that_need_a_resource_are_as_many_as_a_peer_has_of_it(amount, slots):
    queue = queue_of(3, require={"gpu": amount})
    assert asked(queue, offer=Offer(resources={"gpu": 2})) == ([(3, slots)], None)


def test_calls_that_its_peers_could_not_run_do_not_count():
    queue = queue_of(3, require={"gpu": 1})
    assert asked(queue, offer=Offer()) == ([], None)
    assert asked(queue) == ([(3, 4)], None)  # nothing is known about its peers


def test_calls_at_its_peers_count():
    link = SimpleNamespace(outstanding={1: None, 2: None}, lane_place=SimpleNamespace(outstanding={3: None}))
    idle = SimpleNamespace(outstanding={}, lane_place=SimpleNamespace(outstanding={}))
    assert asked(queue_of(), links=[link, idle]) == ([(2, 4), (1, COROUTINES)], None)
