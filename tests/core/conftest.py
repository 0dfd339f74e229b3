"""Fixtures for tests of waiting calls."""

import pytest

from woolexec.core.held import Held
from woolexec.core.ready_queue import ReadyQueue


@pytest.fixture
def queue():
    return ReadyQueue()


@pytest.fixture
def held(queue):
    return Held(queue, queue.add)
