"""What a client knows of the calls that it has sent to a peer; `test_balance` and `test_offering` have what follows."""

import itertools

from woolexec.core.call import ASYNCIO, QUEUED, SENT, UNCERTAIN, Call, Function
from woolexec.core.group import Group
from woolexec.core.remote_place import RemoteLane, RemotePlace


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
