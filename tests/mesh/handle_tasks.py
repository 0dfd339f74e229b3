"""The functions that the tests of handles submit; faster to import than a test module."""

import os

from tests.faults.actors import Counter, Refusing, see_sizes
from tests.faults.tasks import note
from woolexec import current_executor


class Boss:
    """Has an actor of its own, made where it lives."""

    def __init__(self):
        self.own = current_executor().actor(Counter)

    def use(self, other):
        return self.own.submit(Counter.add, 1).result(), other.submit(Counter.add, 1).result()

    def give(self):
        return self.own


def count(start):
    with current_executor().actor(Counter, start) as counter:
        return [counter.submit(Counter.add, 1).result() for _ in range(3)]


def use_once(counter):
    return counter.submit(Counter.add, 1).result()


def exchange(counter, size):
    return len(counter.submit(twice, b"x" * size).result()) // 2


def see_sizes_of(talker, *args):
    see_sizes(*args)


def twice(counter, data):
    return data * 2


def fail(counter):
    counter.submit(Counter.fail).result()


def die(counter):
    counter.submit(Counter.die).result()


def use_refusing(refusing):
    refusing.submit(Refusing.method).result()


def ask_the_other(talker):
    return talker.other.submit(Counter.add, 1).result()


def add_with_retries(counter, path):
    return counter.with_options(retries=2, retry_on=OSError).submit(third_time, path).result()


def third_time(counter, path):
    with path.open("a") as file:
        file.write("x")
    if path.stat().st_size < 3:
        raise OSError("not yet")
    return "third"


def wait_for_method(counter, mine, method, *args):
    """Wait for a call of an actor, in a process whose number is noted."""
    note(mine, os.getpid())
    return counter.submit(method, *args).result()
