"""Tasks that take memory, and helpers to check what their workers leave behind."""

import os
import time

from .tasks import note

kept = []


def grow(size):
    """Take this many bytes, and touch them."""
    data = bytearray(size)
    data[:: os.sysconf("SC_PAGE_SIZE")] = bytes(len(range(0, size, os.sysconf("SC_PAGE_SIZE"))))
    return data


def keep(size):
    """Take memory for good; return the process that has it."""
    kept.append(grow(size))
    return os.getpid()


def grow_for_ever(step, pause=0.0):
    while True:
        keep(step)
        time.sleep(pause)


def read(array):
    """Look at every page of an array; return the sum of a few bytes, and the process."""
    return int(array[::4096].sum()), os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


class Leaver:
    """A finalizer that notes who has run it."""

    def __init__(self, path, *, seconds=0.0):
        self.path, self.seconds = path, seconds

    def __call__(self):
        time.sleep(self.seconds)
        note(self.path, str(os.getpid()))


def raise_at_the_end():
    raise RuntimeError("no way")


def variables(*names):
    return [os.environ.get(name) for name in names]


imported_with = os.environ.get("UPKEEP_COLOUR")
"""The variable as it was when this module was imported."""


def variable_at_import():
    return imported_with


class Hoard:
    """An actor that keeps memory."""

    def grow_for_ever(self):
        grow_for_ever(8 << 20)


def leave():
    """End this worker."""
    os._exit(3)


def fail():
    """Raise an error."""
    raise ValueError("it failed")
