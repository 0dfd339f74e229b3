"""Requests of links and of clients' sessions to an engine; the link here only records the frames that it is sent."""

import pytest

from tests.engine.fake_workers import StreamReceiver
from woolexec import WorkerLostError
from woolexec.core.call import ASYNCIO
from woolexec.core.candidate import Candidate
from woolexec.core.offer import NOTHING
from woolexec.core.remote_place import RemoteLane
from woolexec.engine.links import Links
from woolexec.engine.transport import Remote, Sent
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Load, Log, Raise, Return, Start, Yield


class FakeLink(Remote):
    """A link to a peer with two workers."""

    def __init__(self, now=0.0):
        super().__init__(now)
        self.has_sent = Sent()
        self.name = self.id = "far/1"
        self.width = 2
        self.offer = NOTHING
        self.candidate = Candidate(self, self.name, "far", is_here=False)
        self.lane_place = RemoteLane(self, 100, now)
        self.frames = []

    def send(self, frames, file=None):
        self.frames += decode(frames)

    def _send_payload(self, frame, payload):
        self.frames.append(frame)

    def flush(self):
        return True

    def withdraw(self, call):
        return False


@pytest.fixture
def engine(make_engine):
    """An engine without workers of its own."""
    engine = make_engine(limit=0)
    engine.function().seconds = 1.0  # so that few calls are sent ahead
    engine.links = Links(engine.rounds)
    return engine


@pytest.fixture
def link(engine):
    link = FakeLink(engine.loop.now)
    engine.links.join(link)
    return link


def lost(call):
    return WorkerLostError(f"call {call.number} is lost")


def test_calls_wait_for_the_first_link_and_are_sent_there(engine):
    call = engine.submit(engine.call())
    assert engine.links.has_waiting
    assert not engine.links.are_open
    link = FakeLink(engine.loop.now)
    engine.links.join(link)
    engine.round()
    assert engine.links.are_open
    assert call.place is link
    assert not engine.links.has_waiting
    assert [frame.call for frame in link.frames if frame.__class__ is Start] == [(call.number,)]


def test_outcome_that_comes_over_a_link_is_delivered(engine, link):
    call = engine.submit(engine.call())
    engine.links.hear(link, Return(call=(call.number,), seconds=(0.1,), payload=b"value"))
    assert call.receiver.outcomes == [b"value"]
    engine.links.returned(link, call.number, 0.1, b"once more")
    assert call.receiver.outcomes == [b"value"]


def test_call_that_the_peer_refuses_waits_again(engine, link):
    call = engine.submit(engine.call())
    engine.links.hear(link, Load(refused=(call.number,)))
    assert call.place is None
    assert engine.links.has_waiting


def test_calls_of_a_link_that_is_gone_are_lost_and_what_waits_is_kept(engine, link):
    call = engine.submit(engine.call())
    engine.submit(*(engine.call() for _ in range(200)))
    assert engine.links.has_waiting
    engine.links.leave(link, lost)
    (error,) = call.receiver.outcomes
    assert isinstance(error, WorkerLostError)
    assert engine.links.has_waiting
    assert not engine.links.are_open
    engine.links.leave(link, lost)  # once more: nothing happens
    assert len(call.receiver.outcomes) == 1


def test_call_of_a_link_that_is_gone_is_tried_again_if_its_options_allow_it(engine, link):
    call = engine.submit(engine.call(retries=1))
    engine.links.leave(link, lost)
    assert call.receiver.outcomes == []
    engine.links.join(other := FakeLink(engine.loop.now))
    engine.round()
    assert call.place is other


def test_frames_for_a_link_that_is_gone_are_not_flushed(engine, link):
    engine.links.due.add(link)
    engine.links.leave(link, lost)
    assert link not in engine.links.due


def test_call_that_has_not_been_written_yet_can_be_queued_again(engine, link):
    call = engine.submit(engine.call())
    engine.links.withdraw(link, call)
    assert call.place is None
    assert call.state == "queued"
    assert engine.links.cancel_queued(call)
    assert call.state == "done"
    assert not engine.links.cancel_queued(call)


def test_failing_what_waits_leaves_what_was_sent(engine, link):
    sent, *waiting = engine.submit(*(engine.call() for _ in range(200)))
    waiting = [call for call in waiting if call.place is None]
    assert waiting
    error = WorkerLostError("no peer")
    engine.links.fail_waiting(error)
    assert sent.receiver.outcomes == []
    assert all(call.receiver.outcomes == [error] for call in waiting)


# -- for the sessions of clients ---------------------------------------------------------------------------------------


def test_call_of_a_client_is_queued(make_engine):
    engine = make_engine(limit=2)
    links = Links(engine.rounds)
    links.submit(call := engine.call())
    engine.round()
    assert call.place is engine.workers[0]


def test_call_for_one_worker_is_run_by_that_worker(make_engine):
    engine = make_engine(limit=3)
    links = Links(engine.rounds)
    for number in (2, 3, 1, 5):
        links.submit(call := engine.call(), number)
        engine.round()
        (worker,) = (worker for worker in engine.workers if call in [*worker.outstanding.values(), *worker.pinned])
        assert worker.id == (number - 1) % 3 + 1


def test_cancel_of_a_client_is_answered(make_engine):
    engine = make_engine()
    links = Links(engine.rounds)
    running, *_ = engine.running()
    links.submit(waiting := engine.call())
    answers = []
    links.cancel(waiting, answers.append, force=False)
    links.cancel(running, answers.append, force=False)
    links.cancel(running, answers.append, force=True)
    assert answers == [True, False, True]


@pytest.mark.parametrize("is_trusted", [True, False])
def test_all_that_a_peer_sends_is_marked_unless_it_is_trusted(engine, link, is_trusted):
    engine.outcomes.mark = None if is_trusted else lambda payload: b"marked " + bytes(payload)
    stream = engine.submit(engine.call(lane=ASYNCIO, receiver=StreamReceiver()))
    returned, raised = engine.submit(engine.call(), engine.call())

    for frame in (
        Yield(call=stream.number, payload=b"item"),
        Return(call=(returned.number,), seconds=(0.1,), payload=b"value"),
        Raise(call=raised.number, payload=b"error"),
        Log(record=b"record"),
    ):
        engine.outcomes.hear_link(link, frame)

    got = [*stream.receiver.items, *returned.receiver.outcomes, *raised.receiver.outcomes, *engine.loop.records]
    mark = b"" if is_trusted else b"marked "
    assert got == [mark + each for each in (b"item", b"value", b"error", b"record")]
