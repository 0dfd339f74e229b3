"""The selector of the engine's thread."""

import os
import select
import socket

import pytest

from woolexec.engine import selector
from woolexec.engine.selector import Selector
from woolexec.errors import PlatformError

kinds = pytest.mark.parametrize("kind", ["epoll", "poll"])


@pytest.fixture
def made(kind, monkeypatch):
    if kind == "poll":
        monkeypatch.setattr(selector, "fast_poll", lambda: (select.poll(), 1000))
    elif not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    made = Selector()
    yield made
    made.close()


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def act():
    pass


def other():
    pass


@kinds
def test_callback_of_a_descriptor_that_can_be_read_is_returned(made, pipe):
    made.add(pipe[0], act)
    assert made.wait(0.0) == []
    os.write(pipe[1], b"x")
    assert made.wait(None) == [act]


@kinds
def test_wait_ends_after_its_seconds_without_a_callback(made, pipe):
    made.add(pipe[0], act)
    assert made.wait(0.001) == []


@kinds
@pytest.mark.parametrize("seconds", [30 * 86_400.0, 1e300, float("inf")])
def test_wait_may_be_longer_than_the_system_can_wait(made, pipe, seconds):
    made.add(pipe[0], act)
    os.write(pipe[1], b"x")
    assert made.wait(seconds) == [act]


@kinds
def test_several_descriptors_are_ready_at_once(made, pipe):
    ends = socket.socketpair()
    with ends[0], ends[1]:
        made.add(pipe[0], act)
        made.add(ends[0].fileno(), other)
        os.write(pipe[1], b"x")
        ends[1].send(b"x")
        assert set(made.wait(None)) == {act, other}


@kinds
def test_descriptor_that_can_be_written_is_ready_only_if_that_is_asked_for(made):
    ends = socket.socketpair()
    with ends[0], ends[1]:
        made.add(ends[0].fileno(), act)
        assert made.wait(0.0) == []
        made.change(ends[0].fileno(), other, writing=True)
        assert made.wait(0.0) == [other]
        made.change(ends[0].fileno(), act)
        assert made.wait(0.0) == []


@kinds
def test_descriptor_that_was_removed_is_not_waited_for(made, pipe):
    made.add(pipe[0], act)
    os.write(pipe[1], b"x")
    made.remove(pipe[0])
    assert made.wait(0.0) == []
    made.remove(pipe[0])  # once more: nothing happens
    made.add(pipe[0], other)
    assert made.wait(0.0) == [other]


@kinds
def test_end_of_a_stream_is_an_event(made):
    ends = socket.socketpair()
    with ends[0]:
        made.add(ends[0].fileno(), act)
        ends[1].close()
        assert made.wait(None) == [act]
        made.remove(ends[0].fileno())


@pytest.mark.parametrize("kind", ["epoll"])
def test_other_event_loops_can_wait_for_its_descriptor(made, pipe):
    made.add(pipe[0], act)
    assert select.select([made.fileno()], [], [], 0)[0] == []
    os.write(pipe[1], b"x")
    assert select.select([made.fileno()], [], [], 20)[0] == [made.fileno()]


@pytest.mark.parametrize("kind", ["poll"])
def test_without_epoll_links_are_refused_with_the_reason(made):
    with pytest.raises(PlatformError, match="links to peers need epoll"):
        made.fileno()
