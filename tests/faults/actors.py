"""The classes of actors in the tests; faster to import than a test module."""

import asyncio
import os
import threading
import time
import traceback

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


class Talker:
    """Calls another actor, which calls this one."""

    def __init__(self):
        self.count = 0
        self.other = None

    def meet(self, other):
        self.other = other

    def ask(self, depth):
        self.count += 1
        return self.other.submit(Talker.ask, depth - 1).result() if depth else self.count

    async def ask_later(self, depth):
        self.count += 1
        return await self.other.run(Talker.ask_later, depth - 1) if depth else self.count

    def ask_for(self, other, times):
        return [other.submit(Counter.add, 1).result() for _ in range(times)]

    def use_pool(self, number):
        return current_executor().submit(pow, number, 2).result()

    def use_pool_after(self, path, number):
        return self.use_pool(wait_for(path, number))

    def have_pool_used_after(self, other, path, number):
        return use_pool_of(other, wait_for(path, number))

    def spread(self, own, times):
        return list(current_executor().map(times_on_the_stack, [own] * times))


def use(counter, times):
    return [counter.submit(Counter.add, 1).result() for _ in range(times)]


def use_as_stream(counter, times):
    with counter.stream(Counter.count_up, times) as items:
        return list(items)


async def use_later(counter, times):
    return [await counter.run(Counter.add_later, 1) for _ in range(times)]


def see_all(counter, caller, times):
    futures = [counter.submit(Counter.see, caller, number) for number in range(times)]
    for future in futures:
        future.result()


def see_futures(counter, caller, path):
    """Have it see 0 to 8, of which some need a future that is done after all of them were submitted."""
    pool = current_executor()
    late = [pool.submit(wait_for, path, number) for number in (0, 3, 6)]
    calls = [counter.submit(Counter.see, caller, late.pop(0) if number % 3 == 0 else number) for number in range(9)]
    calls.append(counter.submit(Counter.see, caller, pool.submit(int, "x")))
    calls.append(counter.submit(Counter.see, caller, 10))
    cancelled = counter.submit(Counter.see, caller, "cancelled").cancel()
    path.touch()
    for call in calls[:9] + calls[10:]:
        call.result()
    return cancelled, type(calls[9].exception())


def wait_for(path, number):
    while not path.exists():
        time.sleep(0.001)
    return number


def see_sizes(counter, caller, sizes):
    for future in [counter.submit(look, caller, number, b"x" * size) for number, size in enumerate(sizes)]:
        future.result()


def look(counter, caller, number, payload):
    counter.see(caller, number)


def make_large(size):
    """Make an actor with a large argument, and call it while that is on its way."""
    counter = current_executor().actor(Counter, b"x" * size)
    return len(counter.submit(getattr, "value").result())


def use_pool_of(talker, number):
    return talker.submit(Talker.use_pool, number).result()


def use_pool_below(talker, number):
    return current_executor().submit(use_pool_of, talker, number).result()


def use_pool_after_in(talker, path, number):
    return talker.submit(Talker.use_pool_after, path, number).result()


def use_pool_behind_own(talker, path, number):
    """Wait for a nested task that waits for the actor behind a call of this task."""
    first = talker.submit(Talker.use_pool_after, path, number)
    return current_executor().submit(after, path, use_pool_of, talker, number).result(), first.result()


def use_pool_through(talker, other, path, number):
    return talker.submit(Talker.have_pool_used_after, other, path, number).result()


def after(path, function, *args):
    """Say that this task runs, then call a function."""
    path.touch()
    return function(*args)


def times_on_the_stack(talker):
    """Return how many of these tasks run in this thread, after a call of the actor."""
    talker.submit(getattr, "count").result()
    return [frame.name for frame in traceback.extract_stack()].count("times_on_the_stack")


def give_back(counter):
    return counter


def names_of(names, counters):
    return [names[counter] for counter in counters]


def own_are_told_apart():
    pool = current_executor()
    with pool.actor(Counter) as one, pool.actor(Counter) as other:
        again = pool.submit(give_back, one).result()
        return again == one != other and hash(again) == hash(one) and one != "one"


def pass_on(counter, times):
    return current_executor().submit(use, counter, times).result()


def end(counter):
    counter.shutdown()
    return repr(counter)


def call_and_die(counter, began, until):
    counter.submit(Counter.hold, began, until)
    while not began.exists():
        time.sleep(0.001)
    os._exit(6)


class Room:
    """Counts who is in it at once."""

    def __init__(self):
        self.inside = self.most = 0
        self.full = asyncio.Event()

    async def enter(self, count):
        """Stay until this many are inside."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside == count:
            self.full.set()
        await self.full.wait()
        self.inside -= 1
