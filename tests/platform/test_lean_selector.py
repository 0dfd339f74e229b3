"""The selector for asyncio event loops, compared with that of the standard library."""

import os
import selectors
import socket
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from woolexec.platform.lean_selector import LeanSelector


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture(params=[LeanSelector, selectors.DefaultSelector])
def selector(request):
    """Give ours, and the standard one, which must do the same."""
    with request.param() as made:
        yield made


def seen(selector):
    return {(key.data, events) for key, events in selector.select(0)}


def test_descriptor_is_seen_for_what_it_was_registered_for(selector, pair):
    here, there = pair
    assert selector.register(here, EVENT_READ, "here") == (here, here.fileno(), EVENT_READ, "here")
    assert seen(selector) == set()
    selector.modify(here, EVENT_READ | EVENT_WRITE, "both")
    assert seen(selector) == {("both", EVENT_WRITE)}
    there.send(b"x")
    assert seen(selector) == {("both", EVENT_READ | EVENT_WRITE)}
    selector.modify(here, EVENT_READ, "again")
    assert seen(selector) == {("again", EVENT_READ)}
    selector.unregister(here)
    assert seen(selector) == set()


@pytest.mark.parametrize("wanted", [EVENT_READ, EVENT_WRITE])
def test_whoever_waits_is_told_of_the_end_of_the_other_side(selector, wanted):
    reading, writing = os.pipe()
    here, there = (reading, writing) if wanted == EVENT_READ else (writing, reading)
    selector.register(here, wanted, "here")
    os.close(there)
    assert seen(selector) == {("here", wanted)}
    selector.unregister(here)
    os.close(here)


def test_keys_are_found_by_descriptors_and_by_what_has_one(selector, pair):
    here, there = pair
    key = selector.register(here, EVENT_READ)
    assert selector.get_key(here) == selector.get_key(here.fileno()) == selector.get_map()[here] == key
    assert selector.get_map().get(there) is None
    assert list(selector.get_map().values()) == [key]
    with pytest.raises(KeyError):
        selector.register(here, EVENT_READ)
    for act in (selector.get_key, selector.unregister):
        with pytest.raises(KeyError):
            act(there)


def test_what_has_been_closed_can_be_removed(selector, pair):
    here, _ = pair
    selector.register(here, EVENT_READ)
    here.close()
    selector.unregister(here)
    assert len(selector.get_map()) == 0
    with pytest.raises(ValueError, match=r"-1|closed"):
        selector.unregister(here)


def test_select_waits_as_long_as_it_is_told(selector, pair):
    here, there = pair
    selector.register(here, EVENT_READ, "here")
    assert selector.select(0.001) == []
    there.send(b"x")
    assert [key.data for key, _ in selector.select(None)] == ["here"]
