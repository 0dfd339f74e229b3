import pytest

from woolexec.core.call import DONE, QUEUED, SENT, TABLE, UNCERTAIN, Call, Chunk, Function, run_time
from woolexec.errors import ProtocolError

EVENTS = {event for row in TABLE.values() for event in row}


def make_call():
    return Call(Function(b"", "f"), b"", None)


@pytest.mark.parametrize("state", TABLE)
@pytest.mark.parametrize("event", sorted(EVENTS))
def test_step_is_taken_if_and_only_if_the_table_has_it(state, event):
    call = make_call()
    call.state = state

    if event in TABLE[state]:
        call.move(event)
        assert call.state == TABLE[state][event]
    else:
        with pytest.raises(ProtocolError, match=event):
            call.move(event)
        assert call.state == state


def test_every_state_is_reached_and_every_one_leads_to_the_end():
    reached, ends = {QUEUED}, {DONE}
    for _ in TABLE:
        reached |= {after for state in reached for after in TABLE[state].values()}
        ends |= {state for state in TABLE if ends & set(TABLE[state].values())}

    assert reached == ends == set(TABLE) == {QUEUED, SENT, UNCERTAIN, DONE}


def test_nothing_follows_the_end():
    assert TABLE[DONE] == {}


def test_first_run_time_is_taken_as_it_is_and_later_ones_move_the_average():
    function = Function(b"", "f")
    assert function.seconds is None

    function.observe(1.0)
    assert function.seconds == 1.0

    function.observe(2.0)
    assert 1.0 < function.seconds < 2.0


def test_chunk_is_cut_without_gap_or_overlap():
    chunk = Chunk(Function(b"", "f"), b"items", 10, None)

    spans = [chunk.cut(count) for count in (1, 4, 5)]

    assert [(span.first, span.count) for span in spans] == [(0, 1), (1, 4), (5, 5)]
    assert all(span.chunk is chunk and span.payload is chunk.payload for span in spans)
    assert chunk.next == chunk.count


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, -float("inf"), 1e300])
def test_run_time_that_is_none_is_not_learnt(seconds):
    function = Function(b"", "f")
    function.observe(seconds)
    assert function.seconds is None
    function.observe(0.5)
    function.observe(seconds)
    assert function.seconds == 0.5
    assert run_time(seconds) == 0.0
    assert run_time(0.5) == 0.5
