"""
Pools that the tests of a module share, for tests that do not change the state of workers.

``with shared(2) as pool`` replaces a separate pool of two workers in a test; leaving the block does not wait for tasks.
The fixture ``shared_pools`` starts a pool of one worker and one of two for a module.
"""

from contextlib import contextmanager

from tests.faults.tasks import SOON, eventually
from woolexec import PeerPoolExecutor

_pools = {}


class shared:  # used like a function
    """The shared pool with this number of workers, for a block; the block's current executor if `current` is true."""

    def __init__(self, workers, *, current=False):
        self._pool = _pools[workers]
        self._current = current

    def __enter__(self):
        return self._pool.__enter__() if self._current else self._pool

    def __exit__(self, *exc_info):
        if self._current:
            self._pool._leave()

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *exc_info):
        self.__exit__(*exc_info)


def is_shared(pool):
    """Return whether a pool is shared by tests."""
    return any(pool is each for each in _pools.values())


def meet(folder, number, count):
    """Run in several workers at once, until there are `count` files."""
    (folder / str(number)).touch()
    assert eventually(lambda: len(list(folder.iterdir())) == count)


def start(pool, workers, folder):
    """Start all workers and threads of a pool, so that they are not reported as leaks of a test."""
    folder.mkdir()
    futures = [pool.submit(meet, folder, number, workers + 1) for number in range(workers)]
    for future in futures:
        future.add_done_callback(lambda _: None)  # none has ended yet, so this starts the thread for callbacks
    (folder / "ours").touch()
    for future in futures:
        future.result(SOON)


@contextmanager
def started(folder):
    """Make the pools for a block; their own ``with`` would make them current executors of all tests in it."""
    _pools.update({workers: PeerPoolExecutor(workers) for workers in (1, 2)})
    try:
        for workers, pool in _pools.items():
            start(pool, workers, folder / str(workers))
        yield
    finally:
        for pool in _pools.values():
            pool.shutdown()
        _pools.clear()
