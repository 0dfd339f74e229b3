import os
import threading
from types import SimpleNamespace

import pytest

from woolexec import PeerPoolExecutor
from woolexec.engine.event_loop import Loop


def test_pool_that_has_ended_writes_into_no_file_that_has_its_descriptors():
    reader, writer = os.pipe2(os.O_NONBLOCK)
    pool = PeerPoolExecutor(1)
    pool.submit(abs, -1).result()
    number = pool._engine._loop._wake_fd
    pool.shutdown()
    with pytest.raises(OSError):
        os.fstat(number)
    os.dup2(writer, number)
    try:
        pool.shutdown()
        pool._engine._loop.wake()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        for fd in {reader, writer, number}:
            os.close(fd)


@pytest.fixture
def loop():
    """A loop whose thread ends at once."""
    made = Loop(lambda _: True)
    made.prepare(lambda: None, lambda: None)
    yield made
    if made.thread is not None:
        made.thread.join()
        made.close()


def test_loop_whose_thread_cannot_be_started_is_as_before_and_may_be_started_later(loop, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                loop.wake()
            assert (loop.thread, loop._wake_fd, loop.has_begun) == (None, -1, False)

    loop.wake()

    assert loop.has_begun
    assert loop.thread.name == "woolexec-engine"


@pytest.mark.parametrize("why", ["stopped", "forked"])
def test_nothing_is_asked_of_a_loop_that_will_not_answer(loop, why):
    loop.begin()
    setattr(loop, why, True)

    assert loop.ask(lambda: "answer", "default") == "default"
    assert not loop.inbox


class Unanswered:
    """Stands for the event that a question waits for; nobody waits for ever."""

    looks = 0

    def wait(self, _):
        self.looks += 1
        assert self.looks < 10
        return False


@pytest.mark.parametrize("why", ["stopped", "forked"])
def test_question_is_given_up_when_its_loop_will_not_answer_any_more(loop, monkeypatch, why):
    loop.begin()
    loop.thread.join()
    monkeypatch.setattr(threading, "Event", Unanswered)
    monkeypatch.setattr(loop, "tell", lambda _: setattr(loop, why, True))

    assert loop.ask(lambda: "answer", "default") == "default"


def test_urgent_request_is_handled_before_what_can_be_read(loop):
    heard = []
    loop.begin()
    loop.thread.join()
    ours, theirs = os.pipe()
    try:
        loop.watched.add(ours, lambda: heard.append(os.read(ours, 1)))
        os.write(theirs, b".")
        loop.has_urgent = True
        loop.hear(1.0)
        assert heard == []
        loop.has_urgent = False
        loop.hear(1.0)
        assert heard == [b"."]
    finally:
        os.close(ours)
        os.close(theirs)


def test_timer_that_a_timer_sets_waits_for_the_next_round():
    loop = Loop(lambda _: True)
    loop.watched = SimpleNamespace(wait=lambda _timeout: [])
    ran = []

    def again():
        ran.append(None)
        loop.after(0.0, again)

    loop.after(0.0, again)
    for rounds in range(1, 4):
        loop.hear(0.0)
        assert len(ran) == rounds
