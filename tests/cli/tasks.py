"""Tasks that the tests of the command line show."""

import asyncio
import time

from tests.faults.tasks import eventually


def wait_for(path):
    """Tell by a file beside this one that the task runs, and wait for this one."""
    path.with_suffix(".here").touch()
    assert eventually(path.exists)


def wait_after_nested(path):
    """Wait for a nested task, then for a file."""
    from woolexec import current_executor

    started = time.monotonic()
    assert eventually(lambda: time.monotonic() - started > 0.05)
    current_executor().submit(abs, -1).result()
    wait_for(path)


async def wait_in_event_loop(path):
    """Tell by a file beside this one that the task runs, and wait for this one."""
    path.with_suffix(".here").touch()
    assert await asyncio.to_thread(eventually, path.exists)
