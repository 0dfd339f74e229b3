"""How calls become frames for a target, which here only records them."""

import pytest

from woolexec.core.call import ASYNCIO, TRIO, Call, Chunk, Function
from woolexec.core.place import Lane, Place
from woolexec.engine import transport
from woolexec.engine.transport import Remote, Sent, Transport
from woolexec.options import TaskOptions
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Cancel, Define, Recall, Start


class Target(Transport, Place):
    """A target that keeps what it is sent."""

    def __init__(self):
        super().__init__()
        self.has_sent = Sent()
        self.lane_place = Lane(self, 100)
        self.frames = []
        self.numbers = 0

    def send(self, frames, file=None):
        self.frames += decode(frames)

    def _send_payload(self, frame, payload):
        frame.payload = payload
        self.frames.append(frame)

    def take(self, *calls):
        """Send calls, and return the frames that this made."""
        for call in calls:
            self.numbers += 1
            place = self.lane_place if call.function.lane else self
            place.sent(call, self.numbers, 0.0, len(call.payload))
        self.frames = []
        self.send_calls(calls)
        return self.frames


@pytest.fixture
def target():
    return Target()


def make_function(name="f", lane=0):
    return Function(name.encode(), name, lane)


def make_call(function, payload=b"args", **options):
    return Call(function, payload, None, TaskOptions(**options) if options else None)


def starts(frames):
    return [frame for frame in frames if frame.__class__ is Start]


def defines(frames):
    return [(frame.function, bytes(frame.payload)) for frame in frames if frame.__class__ is Define]


def test_function_is_sent_once_before_its_first_call(target):
    function = make_function()
    define, start = target.take(make_call(function), make_call(function, b"more"))
    assert (define.__class__, define.function, define.payload) == (Define, 0, b"f")
    assert (start.call, start.size, bytes(start.payload)) == ((1, 2), (4, 4), b"argsmore")
    (start,) = target.take(make_call(function))
    assert start.call == (3,)


def test_calls_of_different_functions_keep_their_order(target):
    one, other = make_function("one"), make_function("other")
    frames = starts(target.take(make_call(one), make_call(other), make_call(one)))
    assert [(frame.function, frame.call) for frame in frames] == [(0, (1,)), (1, (2,)), (0, (3,))]


def test_batch_has_so_many_calls_and_no_more(target):
    function = make_function()
    frames = starts(target.take(*(make_call(function) for _ in range(600))))
    assert [len(frame.call) for frame in frames] == [256, 256, 88]


def test_call_with_options_is_sent_alone_in_its_place(target):
    function = make_function()
    plain, named = make_call(function), make_call(function, name="report", timeout=2.5)
    frames = starts(target.take(plain, named, make_call(function)))
    assert [frame.call for frame in frames] == [(1,), (2,), (3,)]
    assert [frame.name for frame in frames] == ["", "report", ""]
    assert frames[1].timeout == 2.5


def test_attempt_and_parent_are_sent_with_the_call(target):
    again, child = make_call(make_function()), Call(make_function(), b"", None, parent=7)
    again.attempts = 2
    first, second = starts(target.take(again, child))
    assert (first.attempt, second.attempt, second.parent) == (2, 0, 7)


def test_lane_is_that_of_the_function(target):
    calls = [make_call(make_function(lane=ASYNCIO)), make_call(make_function(lane=TRIO), name="x")]
    assert [frame.lane for frame in starts(target.take(*calls))] == [ASYNCIO, TRIO]


def test_call_is_found_at_the_main_place_or_in_the_lane(target):
    target.take(make_call(make_function()), make_call(make_function(lane=ASYNCIO)))
    assert target.place_of(1) is target
    assert target.place_of(2) is target.lane_place
    assert target.place_of(3) is target


def test_payload_of_a_chunk_is_sent_once_to_the_main_place_and_once_to_the_lane(target):
    main, lane = (Chunk(make_function(lane=lane), b"items", 4, None) for lane in (0, ASYNCIO))
    frames = starts(target.take(main.cut(1), lane.cut(1), main.cut(1), lane.cut(1)))
    assert [frame.again for frame in frames] == [False, False, True, True]
    assert [(frame.first, frame.count) for frame in frames] == [(0, 1), (0, 1), (1, 1), (1, 1)]


def test_slot_that_was_used_longest_ago_is_used_again_when_all_are_taken(target):
    functions = [make_function(str(number)) for number in range(transport.SLOTS + 1)]
    frames = target.take(*map(make_call, functions))
    assert [slot for slot, _ in defines(frames)] == [*range(transport.SLOTS), 0]
    assert defines(target.take(make_call(functions[-1]))) == []
    assert defines(target.take(make_call(functions[0]))) == [(1, b"0")]


def test_new_version_of_a_large_object_takes_the_slot_of_the_old_one(target):
    family = object()
    versions = [make_function(name) for name in ("one", "two")]
    for version in versions:
        version.family = family
    other = make_function("other")
    target.take(make_call(versions[0]), make_call(other))
    assert defines(target.take(make_call(versions[1]))) == [(0, b"two")]
    assert versions[0] not in target.has_sent.slot_of
    assert defines(target.take(make_call(other))) == []


def test_what_a_function_needs_is_sent_before_it(target):
    needed, function = make_function("needed"), make_function()
    function.needs = (needed,)
    first, second = [frame for frame in target.take(make_call(function)) if frame.__class__ is Define]
    assert (first.payload, second.payload, second.needs) == (b"needed", b"f", (first.function,))


def test_target_that_has_forgotten_all_is_sent_functions_again(target):
    function = make_function()
    target.take(make_call(function))
    target.has_sent.clear()
    assert len(defines(target.take(make_call(function)))) == 1


@pytest.mark.parametrize("lane", [False, True])
def test_recall_says_for_which_place_it_is(target, lane):
    target.send_recall(4, 2, lane=lane)
    assert target.frames == [Recall(call=4, waiting=2, loop=lane)]


def test_command_is_sent_as_it_is(target):
    target.send_command(Cancel(call=3))
    assert target.frames == [Cancel(call=3)]


def test_no_thread_but_the_engines_writes_to_a_link():
    assert Remote.say_directly(None, b"") is False
