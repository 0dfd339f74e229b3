"""The walks of docs/design.md are true: each function that they name is called where they say, in their order."""

import re
import threading
from concurrent.futures import wait
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.docs import recorder
from woolexec import Credentials, PeerPoolExecutor
from woolexec.testing import Peer

PAGE = Path(__file__).parents[2] / "docs" / "design.md"
STEP = re.compile(r"^\d+\. (caller|peer|worker) `([\w.]+)`: ", re.MULTILINE)


def walk(title):
    """Return the steps of a walk: where, and which function."""
    [section] = re.findall(rf"^### {title}\n(.*?)^##", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    steps = STEP.findall(section)
    assert len(steps) == len(re.findall(r"^\d+\. ", section, re.MULTILINE)) > 5
    return steps


@pytest.fixture
def recording():
    """Record the functions of a walk in this thread and in threads that are started afterwards."""

    def begin(steps):
        recorder.begin({name for _, name in steps})

    yield begin
    recorder.end()


def seen_by(pool, since, recorded=None):
    """
    Stop recording; return where each function was called, and which, in the order of the calls.

    :param recorded: a view whose tasks run in the worker that records; None: the pool
    """
    recorder.end()
    ours = {threading.current_thread(), pool._executor_manager_thread}
    here = [(when, "caller" if thread in ours else "peer", name) for when, name, thread in recorder.events[since:]]
    there = [(when, "worker", name) for when, name in (recorded or pool).submit(recorder.end_in_worker).result()]
    return [(where, name) for _, where, name in sorted(here + [each for each in there if each[0] > here[0][0]])]


def missing(steps, seen):
    """Return the steps from the first one on that does not come after those before it."""
    rest = iter(seen)
    for index, step in enumerate(steps):
        if step not in rest:
            return steps[index:]
    return []


def numbers(count):
    yield from range(count)


def test_local_call(recording):
    steps = walk("A local call")
    recording(steps)
    with PeerPoolExecutor(1) as pool:
        pool.submit(recorder.begin, {name for _, name in steps}).result()
        since = len(recorder.events)
        # A call with a name is not sent directly: it goes through the engine's thread, permit or not.
        assert pool.with_options(name="walk").submit(pow, 2, 3).result() == 8
        assert missing(steps, seen_by(pool, since)) == []


def test_call_through_a_peer(recording):
    steps = walk("A call through a peer")
    recording(steps)
    with (
        Peer(1, credentials=Credentials.of_this_user()) as peer,
        PeerPoolExecutor(peers=peer.address) as pool,
    ):
        pool.submit(recorder.begin, {name for _, name in steps}).result()
        since = len(recorder.events)
        assert pool.submit(pow, 2, 3).result() == 8
        assert missing(steps, seen_by(pool, since)) == []


def test_item_of_a_stream(recording):
    steps = walk("An item of a stream")
    recording(steps)
    with PeerPoolExecutor(1) as pool:
        pool.submit(recorder.begin, {name for _, name in steps}).result()
        with pool.stream(numbers, 3) as stream:
            assert next(stream) == 0
            since = len(recorder.events)
            assert next(stream) == 1
            assert missing(steps, seen_by(pool, since)) == []


def test_value_that_stays(recording):
    steps = walk("A value that stays")
    recording(steps)
    own = Credentials.of_this_user()
    with (
        Peer(1, credentials=own) as one,
        Peer(1, credentials=own) as two,
        PeerPoolExecutor(peers=[one.address, two.address]) as pool,
    ):
        pool.wait_for_peers(2, 30)
        name, other = (link.name for link in pool._peers.links)
        first, second = pool.with_options(at=name, keep=True), pool.with_options(at=other)
        second.submit(recorder.begin, {name for _, name in steps}).result()
        since = len(recorder.events)
        value = first.submit(bytes, 1 << 20)
        wait([value])
        assert second.submit(len, value).result() == 1 << 20
        assert len(value.result()) == 1 << 20
        assert missing(steps, seen_by(pool, since, second)) == []


@pytest.mark.parametrize(
    "title", ["A local call", "A call through a peer", "An item of a stream", "A value that stays"]
)
def test_functions_of_a_walk_exist(title):
    for _, name in walk(title):
        assert callable(resolve_name(f"woolexec.{name}"))


def test_step_that_comes_too_early_or_elsewhere_is_missed():
    steps = [("caller", "a"), ("worker", "b"), ("caller", "c")]
    assert missing(steps, [("caller", "x"), *steps]) == []
    assert missing(steps, [("worker", "b"), ("caller", "a"), ("caller", "c")]) == steps[1:]
    assert missing(steps, [("caller", "a"), ("caller", "b"), ("caller", "c")]) == steps[1:]
    assert missing(steps, steps[:2]) == steps[2:]
