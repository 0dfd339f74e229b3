"""Faults of values at peers: their holder, their user or their owner dies, or no memory is left for them."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait

import numpy as np
import pytest

from tests.mesh.array_tasks import ones, total
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.test_keep import links_of, made, peer_at, two, values_at  # noqa: F401  # a fixture
from woolexec.mesh.server.fetching import Fetching
from woolexec.mesh.server.peer import Peer
from woolexec.wire import payload as payloads

LONG = 1 << 18  # 2 MiB: several parts
HUGE = 1 << 22  # 32 MiB


@pytest.fixture
def no_memory_files(monkeypatch):
    """From when this is called, no memory file can be written in this process."""

    def refuse():
        def fail(folder=None):
            raise OSError(errno.ENOSPC, "no memory is left for files")

        monkeypatch.setattr(payloads, "memory_file", fail)

    return refuse


@contextlib.contextmanager
def at_both(two):  # noqa: F811
    """A pool of two peers, with a view for tasks at each, the first one with `keep`."""
    with joined(*two, timeout=PATIENCE) as pool:
        first, second = links_of(pool)
        yield pool, pool.with_options(keep=True, at=first.name), pool.with_options(at=second.name)


# -- somebody dies ----------------------------------------------------------------------------------------------------


def test_death_of_the_workers_that_made_it_and_map_it_loses_nothing(peer, pool):
    array = made(pool.with_options(keep=True))
    assert pool.submit(total, array).result(PATIENCE) == LONG
    for pid in peer.engine.pids:
        os.kill(pid, signal.SIGKILL)
    assert pool.with_options(retries=5).submit(total, array).result(PATIENCE) == LONG
    assert total(array.result(PATIENCE)) == LONG


def die_once(array, path):
    assert float(array[-1]) == 1.0  # it is mapped
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return total(array)


@pytest.mark.parametrize("kind", ["put", "kept"])
def test_death_of_a_worker_that_maps_a_value_costs_that_call_alone(tmp_path, pool, kind):
    array = pool.put(ones()) if kind == "put" else made(pool.with_options(keep=True))
    dying = pool.with_options(retries=1).submit(die_once, array, tmp_path / "died")
    others = [pool.with_options(retries=1).submit(total, array) for _ in range(10)]
    assert {future.result(PATIENCE) for future in [dying, *others]} == {LONG}


def test_user_that_dies_while_it_fetches_leaves_the_value_where_it_is(monkeypatch, two):  # noqa: F811
    asked = []

    async def wait_long(self, pull):
        asked.append(pull)
        await asyncio.sleep(1000)

    monkeypatch.setattr(Fetching, "fetch", wait_long)
    with joined(*two, timeout=PATIENCE) as pool:
        home, user = links_of(pool)
        array = made(pool.with_options(keep=True, at=home.name))
        future = pool.with_options(near=user.name, retries=1).submit(total, array)
        eventually(lambda: asked or future.done())
        peer_at(user, two).close()
        assert future.result(PATIENCE) == LONG
        assert total(array.result(PATIENCE)) == LONG
        assert array.kept is None


OWNER = """
import sys, time
from concurrent.futures import wait
import numpy as np
from tests.mesh.array_tasks import ones, total
from woolexec import Credentials, PeerPoolExecutor
pool = PeerPoolExecutor(0, peers=sys.argv[2:], credentials=Credentials(sys.argv[1].encode()))
pool.wait_for_peers(3, 30)
value, names = pool.put(np.ones(1 << 20)), [link.name for link in pool._engine.scheduler.links]
kept = [pool.with_options(keep=True, at=name).submit(ones) for name in names]
wait(kept)
wait([pool.with_options(at=name).submit(total, *kept, value) for name in names])
print("held", flush=True)
time.sleep(1000)
"""


def test_death_of_the_owner_frees_what_three_peers_hold():
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(1, credentials=CREDENTIALS)) for _ in range(3)]
        command = [sys.executable, "-c", OWNER, CREDENTIALS.token.decode(), *(peer.address for peer in peers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout.readline() == "held\n"
            assert all(max(values_at(peer)) == 4 for peer in peers)  # three outcomes, and what was put
            assert sum(memory_files().values()) >= 3
            owner.kill()
        killed = time.monotonic()
        eventually(lambda: not any(bytes_at(peer) for peer in peers))
        eventually(lambda: not any(size > 1 << 20 for size in memory_files()))
        assert time.monotonic() - killed < 5


def bytes_at(peer):
    """Bytes of values at a peer, those that arrive among them."""
    served = list(peer._acceptor.served)
    return peer._acceptor.places.stays.size + sum(each.byte_quota.size + each._arriving.size for each in served)


def memory_files():
    """The memory files of this process by their sizes."""
    sizes = {}
    for each in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if "memfd:woolexec" in os.readlink(each.path):
                size = os.stat(each.path).st_size
                sizes[size] = sizes.get(size, 0) + 1
    return sizes


# -- no memory is left ------------------------------------------------------------------------------------------------


def test_value_for_which_there_is_no_memory_file_is_put_all_the_same_or_refused_at_once(
    monkeypatch, no_memory_files, pool
):
    monkeypatch.setattr(payloads, "INLINE_LIMIT", 8 * HUGE)
    pool.submit(abs, -1).result(PATIENCE)
    no_memory_files()
    value = pool.put(ones())  # in ordinary memory
    with pytest.raises(OSError, match="no memory is left for files"):
        pool.put(np.ones(HUGE))  # too large for anything else
    assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert value.done()


def test_outcome_whose_fetch_finds_no_memory_here_is_lost_with_that_error_and_nothing_else_is(monkeypatch, pool):
    future, other = made(pool.with_options(keep=True)), made(pool.with_options(keep=True))
    error = OSError(errno.ENOSPC, "no memory is left for files")
    (link,) = links_of(pool)
    take, failed = type(link._arriving).take, []

    def fail_once(self, frame, key=0):
        payload = take(self, frame, key)
        if self is link._arriving and key and not failed:
            failed.append(frame)
            return error
        return payload

    monkeypatch.setattr(type(link._arriving), "take", fail_once)
    with pytest.raises(OSError, match="no memory is left"):
        future.result(PATIENCE)
    assert total(other.result(PATIENCE)) == LONG
    assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_peer_that_finds_no_memory_for_what_it_fetches_is_sent_it(monkeypatch, two):  # noqa: F811
    async def fail(self, pull):
        raise OSError(errno.ENOSPC, "no memory is left for files")

    monkeypatch.setattr(Fetching, "fetch", fail)
    with at_both(two) as (_, at_first, at_second):
        array = made(at_first)
        assert at_second.submit(total, array).result(PATIENCE) == LONG


# -- it does not unpickle ---------------------------------------------------------------------------------------------


class Stubborn:
    """Of this module, whose name workers can import; refuses to be unpickled."""

    def __init__(self):
        self.data = bytes(1 << 20)

    def __reduce__(self):
        return _refuse, (self.data,)


def _refuse(data):
    raise LookupError("it refuses to be unpickled")


def make_stubborn():
    return Stubborn()


def first_of(*values):
    return len(values)


@pytest.mark.parametrize("kind", ["put", "kept"])
def test_value_that_does_not_unpickle_fails_the_tasks_that_need_it_alone(pool, kind):
    kept = pool.with_options(keep=True)
    value = pool.put(Stubborn()) if kind == "put" else kept.submit(make_stubborn)
    good = made(kept)
    wait([value])
    needing = [pool.submit(first_of, good, value) for _ in range(3)]
    others = [pool.submit(total, good) for _ in range(3)]
    for future in needing:
        with pytest.raises(LookupError, match="refuses to be unpickled") as caught:
            future.result(PATIENCE)
        assert "number 2" in " ".join(caught.value.__notes__)
    assert [future.result(PATIENCE) for future in others] == [LONG] * 3


async def ones_async():
    return ones()


def test_outcome_of_a_coroutine_stays_too(peer, pool):
    future = pool.with_options(keep=True).submit(ones_async)
    wait([future])
    assert future.kept is not None
    assert values_at(peer) == [1]
    assert pool.submit(total, future).result(PATIENCE) == LONG
