"""The classes of actors in the tests: importable in a moment, which a test module is not."""

import asyncio
import os
import threading
import time

from tests.faults.tasks import note
from woolexec import current_executor


class Counter:
    def __init__(self, value=0):
        self.value = value
        self.seen = []

    def add(self, number):
        self.value += number
        return self.value

    def see(self, caller, number):
        self.seen.append((caller, number))

    def what_was_seen(self):
        return self.seen

    def where(self):
        return os.getpid(), threading.current_thread() is threading.main_thread()

    async def add_later(self, number):
        await asyncio.sleep(0)
        return self.add(number)

    async def meet(self, path, count):
        note(path, "here")
        while len(path.read_text().splitlines()) < count:  # noqa: ASYNC110  # other processes write it
            await asyncio.sleep(0.001)
        return threading.current_thread().name

    def count_up(self, times):
        for _ in range(times):
            yield self.add(1)

    async def count_up_later(self, times):
        for _ in range(times):
            yield self.add(1)

    def die(self, code=3):
        os._exit(code)

    def hold(self, began, until):
        note(began, os.getpid())
        while not until.exists():
            time.sleep(0.001)
        return self.value

    def count_then_die(self):
        yield 1
        os._exit(4)

    def fail(self):
        raise LookupError("in a method")

    def nested(self, number):
        return current_executor().submit(pow, number, 2).result()


class Refusing:
    def __init__(self, path=None):
        if path is not None:
            note(path, "made")
        raise LookupError("in the constructor")

    def method(self):
        raise AssertionError


class Dying:
    def __init__(self, path, times=1000):
        note(path, os.getpid())
        if len(path.read_text().splitlines()) <= times:
            os._exit(5)

    def method(self):
        return "alive"


class Hanging:
    def __init__(self, path):
        note(path, os.getpid())
        while True:
            time.sleep(60)

    def method(self):
        raise AssertionError
