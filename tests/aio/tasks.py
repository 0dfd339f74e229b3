"""Functions that run in workers."""

import os
import signal
import time

import anyio
import anyio.lowlevel

from woolexec import current_executor

SOON = 20.0


async def until(condition):
    """Wait until a condition holds."""
    with anyio.fail_after(SOON):
        while not condition():  # noqa: ASYNC110  # nobody else could tell
            await anyio.sleep(0.002)


async def there(*paths):
    """Wait until something has been written into all of these files."""
    await until(lambda: all(os.path.exists(path) and os.path.getsize(path) for path in paths))


def square(x):
    return x * x


async def add(x, y=0):
    await anyio.lowlevel.checkpoint()
    return x + y


async def raise_(error):
    await anyio.lowlevel.checkpoint()
    raise error


def fail_at(x, bad):
    if x == bad:
        raise ValueError(x)
    return x


async def fail_at_async(x, bad):
    return fail_at(x, bad)


def note(path, text="x"):
    with open(path, "a") as file:
        file.write(text)


async def wait_for_ever(path):
    note(f"{path}-began")
    try:
        await anyio.sleep(1000)
    finally:
        note(f"{path}-ended")


async def clean_up_slowly(path):
    note(f"{path}-began")
    try:
        await anyio.sleep(1000)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
        note(f"{path}-ended")


def block(path):
    note(f"{path}-began", str(os.getpid()))
    time.sleep(1000)


def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.002)
    return os.getpid()


async def block_the_loop(seconds):
    time.sleep(seconds)  # noqa: ASYNC251  # what a careless user does


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


async def kill_async():
    kill()


async def many_at_once(path, count):
    """Return when `count` of these run at once in this worker."""
    note(path)
    await until(lambda: os.path.getsize(path) >= count)
    return os.getpid()


def slow_first(x):
    if x == 0:
        time.sleep(0.3)
    return x


class Unloadable:
    def __reduce__(self):
        return explode, ()


def explode():
    raise RuntimeError("does not load")


class Counted:
    """Counts in each process how often one of them was unpickled."""

    made = 0

    def __init__(self, number):
        self.number = number

    def __setstate__(self, state):
        self.__dict__ = state
        type(self).made += 1


async def counted(item):
    """Say which item came, and how many have been unpickled here."""
    return item.number, type(item).made


async def nap(x):
    await anyio.sleep(x)
    return x


async def note_and_clean_up_badly(path):
    note(path)
    try:
        await anyio.sleep(1000)
    finally:
        raise OSError("the clean-up failed")


async def note_and_clean_up_slowly(path):
    note(path)
    try:
        await anyio.sleep(1000)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1.3)


def numbers():
    yield from range(3)


async def ask_for_a_child(path):
    note(path)
    await anyio.sleep(0.5)
    return await current_executor().run(abs, -7)
