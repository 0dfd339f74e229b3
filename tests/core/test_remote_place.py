"""A client's record of the calls that it has sent to a peer; `test_balance` and `test_offering` test its use."""

import itertools

from tests.core.peers import Far
from woolexec.core.call import ASYNCIO, QUEUED, SENT, UNCERTAIN, Call, Function
from woolexec.core.group import Group
from woolexec.core.remote_place import RemoteLane, RemotePlace
from woolexec.core.window import HORIZON


def recalled():
    """A group, and a peer's lane with two calls."""
    group = Group(itertools.count(1).__next__)
    lane = RemoteLane(RemotePlace(0.0), 10)
    calls = [Call(Function(b"", "f", ASYNCIO), b"", None) for _ in range(2)]
    for call in calls:
        group.record(lane, call, 0.0)
    return group, lane, calls


def test_start_that_a_peer_reports_while_calls_are_recalled_is_certain():
    group, lane, calls = recalled()
    group.recall(lane)
    assert [call.state for call in calls] == [UNCERTAIN, UNCERTAIN]
    lane.began(1, 0.0)
    assert [call.state for call in calls] == [SENT, UNCERTAIN]
    group.recalled(lane, [2])
    assert [call.state for call in calls] == [SENT, QUEUED]


def test_call_that_a_peer_has_reported_as_started_stays_certain_when_earlier_ones_are_recalled():
    group, lane, calls = recalled()
    lane.began(2, 0.0)
    group.recall(lane, since=1)
    assert [call.state for call in calls] == [UNCERTAIN, SENT]


def test_work_for_the_time_on_the_way_is_sent_ahead_to_a_far_peer():
    far = Far("far", 2)
    for on_the_way, room in ((0.0, 8), (0.3, 64)):  # 10 ms each, of 40 and of 20 + 300 ms for each worker
        far.on_the_way = on_the_way
        while far.has_room(0.01, 10):
            number = len(far.outstanding) + 1
            far.sent(Call(Function(b"", "f"), b"", None), number, 0.01, 10)
        assert len(far.outstanding) == room
        assert far.is_supplied


def test_nothing_more_is_sent_to_a_far_peer_whose_workers_all_run_long_calls():
    far = Far("far", 2)
    far.on_the_way = 0.3
    for number, cost in enumerate((HORIZON, 0.01, 0.01), 1):
        far.sent(Call(Function(b"", "f"), b"", None), number, cost, 10)
    far.began(1, 0.0)
    far.began(2, 0.0)
    assert far.has_room(0.01, 10)  # one of them is soon free
    far.note_overdue(100.0, 0.02)  # it ran for much longer than was expected
    assert not far.has_room(0.01, 10)
