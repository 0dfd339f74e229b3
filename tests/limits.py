"""A process that has used up its limits."""

import contextlib
import os

import pytest


@contextlib.contextmanager
def all_descriptors_taken():
    """Open what can be opened; yields the numbers, the last one first."""
    taken = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.insert(0, os.dup(2))
        yield taken
    finally:
        for fd in taken:
            os.close(fd)
