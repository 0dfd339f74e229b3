"""How the output of tasks is sent to a client."""

from woolexec.mesh.server.output_feed import ROOM, OutputFeed
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Output, Settings


class Outbox:
    """Frames that wait for the stream."""

    def __init__(self):
        self.frames = []
        self.queued = 0

    def put(self, frames):
        self.frames += decode(frames)


class Links:
    """The door to the engine."""

    def __init__(self):
        self.takers, self.later = [], []

    def take_output(self, say):
        self.takers.append(say)

    def leave_output(self, say):
        if say in self.takers:
            self.takers.remove(say)

    def after(self, _seconds, piece):
        self.later.append(piece)


def made():
    outbox, links = Outbox(), Links()
    return OutputFeed(outbox, links), outbox, links


def test_lines_are_sent():
    feed, outbox, _ = made()
    feed.send(Output(call=7, stream=1, text=b"line\n", name="f"))
    assert outbox.frames == [Output(call=7, stream=1, text=b"line\n", name="f")]


def test_lines_that_come_too_fast_are_dropped_and_counted():
    feed, outbox, _ = made()
    outbox.queued = ROOM + 1
    for _ in range(3):
        feed.send(Output(text=b"12345"))
    assert outbox.frames == []
    outbox.queued = 0
    feed.send(Output(text=b"x", lost=1))
    assert [(frame.text, frame.lost) for frame in outbox.frames] == [(b"x", 16)]


def test_client_is_told_of_lost_lines_although_no_others_follow():
    feed, outbox, links = made()
    outbox.queued = ROOM + 1
    feed.send(Output(text=b"12345"))
    links.later.pop()()
    assert outbox.frames == []
    outbox.queued = 0
    links.later.pop()()
    assert [(frame.text, frame.lost) for frame in outbox.frames] == [(b"", 5)]
    assert links.later == []


def test_only_a_client_that_wants_it_gets_what_no_call_has_printed_and_only_while_it_is_there():
    feed, outbox, links = made()
    feed.note(Settings())
    assert links.takers == []
    feed.note(Settings(output=True))
    assert links.takers == [feed.send]
    outbox.queued = ROOM + 1
    feed.send(Output(text=b"12345"))
    feed.close()
    assert links.takers == []
    links.later.pop()()
    assert links.later == []


def test_client_that_has_gone_is_not_told_of_lost_lines():
    feed, outbox, links = made()
    outbox.queued = ROOM + 1
    feed.send(Output(text=b"12345"))
    outbox.queued = 0
    feed.close()
    links.later.pop()()
    assert outbox.frames == links.later == []
