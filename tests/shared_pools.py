"""
Pools that the tests of a module share: for tests that leave their workers as they found them.

``with shared(2) as pool`` stands where a test would otherwise make a pool of two workers; leaving the block does not
wait for tasks.  The fixture ``shared_pools`` starts a pool of one worker and one of two for a module.
"""

from contextlib import contextmanager

from tests.faults.tasks import SOON, eventually
from woolexec import PeerPoolExecutor

_pools = {}


class shared:  # it stands where a function would
    """The shared pool of so many workers, for a block of either kind."""

    def __init__(self, workers):
        self._pool = _pools[workers]

    def __enter__(self):
        return self._pool

    def __exit__(self, *exc_info):
        pass

    async def __aenter__(self):
        return self._pool

    async def __aexit__(self, *exc_info):
        pass


def meet(folder, number, count):
    """Run in one worker of so many at once."""
    (folder / str(number)).touch()
    assert eventually(lambda: len(list(folder.iterdir())) == count)


@contextmanager
def started(folder):
    """Start the pools with all of their workers and threads, which are no test's leak then."""
    with PeerPoolExecutor(1) as one, PeerPoolExecutor(2) as two:
        one.submit(abs, -1).result(SOON)
        futures = [two.submit(meet, folder, number, 2) for number in range(2)]
        for future in futures:
            future.result(SOON)
        for pool in (one, two):
            future = pool.submit(abs, -1)
            future.add_done_callback(lambda _: None)
            future.result(SOON)
        _pools.update({1: one, 2: two})
        try:
            yield
        finally:
            _pools.clear()
