"""Which calls are sent before their input is done, behind the call whose outcome it is."""

import itertools
from types import SimpleNamespace

import pytest

from tests.core.parts import Worker
from woolexec.core import feeding
from woolexec.core.call import ASYNCIO, QUEUED, Call, Function
from woolexec.core.following import AHEAD, take_back
from woolexec.core.group import Group
from woolexec.core.held import Held
from woolexec.options import TaskOptions


class Follows:
    """Waits for the outcome of the call before."""

    def __init__(self, entry):
        self.entry = entry
        self.after = 0
        self.came_back = 0

    def again(self, entry):
        self.entry = entry
        self.came_back += 1


@pytest.fixture
def group():
    group = Group(itertools.count(1).__next__)
    group.queue.held = Held(group.queue, group.queue.add)
    return group


@pytest.fixture
def worker(group):
    worker = Worker(1)
    group.join(worker)
    return worker


def call_of(seconds=1e-5, lane=0, options=None):
    function = Function(b"", "f", lane)
    function.seconds = seconds
    return Call(function, b"x" * 10, SimpleNamespace(follower=None), options)


def chained(group, *calls):
    """Queue the first call; each of the others is held and follows the one before it."""
    for before, call in itertools.pairwise(calls):
        group.queue.offer(call)
        group.queue.held.hold(call)
        before.receiver.follower = Follows(call)
    group.add(calls[0])
    return list(calls)


def test_chain_is_sent_in_its_order(group, worker):
    calls = chained(group, call_of(), call_of(), call_of())

    assert feeding.assign(group, worker) == calls
    assert [call.follows and call.follows.after for call in calls] == [None, calls[0].number, calls[1].number]
    assert not group.queue.held


@pytest.mark.parametrize(
    "follower",
    [
        call_of(None),
        call_of(AHEAD),
        call_of(lane=ASYNCIO),
        call_of(options=TaskOptions(retries=1)),
    ],
    ids=["of unknown length", "long", "coroutine", "with options"],
)
def test_only_short_plain_calls_follow(group, worker, follower):
    first, *_ = chained(group, call_of(), follower, call_of())

    assert feeding.assign(group, worker) == [first]
    assert follower in group.queue.held


def test_cancelled_call_is_not_sent(group, worker):
    first, second, third = chained(group, call_of(), call_of(), call_of())
    group.queue.cancel(second)

    assert feeding.assign(group, worker) == [first]
    assert third in group.queue.held


def test_followers_are_as_many_as_are_short(group, worker):
    chained(group, *(call_of(AHEAD / 10) for _ in range(30)))

    assert 5 < len(feeding.assign(group, worker)) <= 11


def test_what_comes_back_waits_for_its_input_again(group, worker):
    first, second, third = chained(group, call_of(), call_of(), call_of())
    follows = first.receiver.follower
    feeding.assign(group, worker)

    take_back(group, worker, [first.number, second.number, 999])

    assert (second.state, second.attempts, second.follows) == (QUEUED, 0, None)
    assert (follows.entry, follows.came_back) == (second, 1)
    assert second in group.queue.held
    assert group.queue.head() is None
    assert set(worker.outstanding.values()) == {first, third}


def test_recall_takes_followers_back(group, worker):
    first, second, third = chained(group, call_of(), call_of(), call_of())
    feeding.assign(group, worker)
    worker.page.started = first.number

    group.recall(worker)

    assert second in group.queue.held
    assert third in group.queue.held
    assert group.queue.head() is None
