"""What runs in workers of peers: importable in a moment, so that a short timeout is long enough for it."""

import asyncio
import contextvars
import os
import time
from pathlib import Path

from woolexec import current_executor, propagate

word = contextvars.ContextVar("word", default="none")
propagate(word, "tests.mesh.word")


async def add(x, y=0):
    await asyncio.sleep(0)
    return x + y


async def wait_for_ever(path):
    path.touch()
    try:
        await asyncio.sleep(1000)
    finally:
        path.with_suffix(".ended").touch()


async def raise_async(text):
    raise LookupError(text)


def count(n):
    yield from range(n)
    return "done"


async def count_async(n):
    for x in range(n):
        yield x


def echo(path):
    value = None
    try:
        while True:
            try:
                value = yield value
            except ValueError as exc:
                value = f"caught {exc}"
    finally:
        path.touch()


def arrays(n):
    import numpy as np

    for x in range(n):
        yield np.full(60_000, x)


async def says_word():
    return word.get()


async def changes_word():
    word.set("changed")


async def weigh_async(data):
    return len(data)


def weigh(blob):
    return len(blob)


class _Settings:
    path = "/srv"


_shared = _Settings()


def shared():
    return _shared


def path_of_shared():
    return _shared.path


def hold(room, name):
    Path(room, name).touch()
    for _ in range(12_000):  # a minute at least
        if Path(room, "release").exists():
            return os.getpid()
        time.sleep(0.005)
    raise TimeoutError("nobody released it")


def hold_data(room, data):
    hold(room, "held")
    return len(data)


def hold_if(room, name):
    return hold(room, name) if name else os.getpid()


async def pid_of():
    return os.getpid()


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def nest_with(require):
    return current_executor().with_options(require=require).submit(os.getpid).result()


def meet(room, name):
    Path(room, name).touch()
    while len(list(Path(room).iterdir())) < 2:
        time.sleep(0.005)
    return os.getpid()


def nest_two_that_meet(room):
    futures = [current_executor().submit(meet, room, name) for name in "ab"]
    return [future.result() for future in futures]
