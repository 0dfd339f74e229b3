"""
Pytest fixtures for a program that uses a pool, or peers.

    pip install woolexec pytest
    pytest test_with_pool.py
"""

import pytest

from woolexec import Credentials, PeerPoolExecutor, WorkerLostError
from woolexec.testing import Peer


@pytest.fixture(scope="session")
def pool():
    """One pool for all tests: starting it takes longer than most tests."""
    with PeerPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def fresh_pool():
    """A pool of its own, for a test that ends workers or changes their state."""
    with PeerPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def peer_pool():
    """A pool with a peer: the tasks take the way that they take to another host, within this machine."""
    credentials = Credentials.with_new_token()
    with Peer(2, credentials=credentials, resources={"gpu": 1}) as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=credentials) as pool:
            yield pool


def word_lengths(pool, words):
    """What is tested here: a function of your program that takes an executor."""
    return list(pool.map(len, words))


def test_on_this_machine(pool):
    assert word_lengths(pool, ["a", "bb", "ccc"]) == [1, 2, 3]


def test_on_a_peer(peer_pool):
    assert word_lengths(peer_pool, ["a", "bb", "ccc"]) == [1, 2, 3]


def test_a_task_that_requires_a_resource(peer_pool):
    assert peer_pool.with_options(require={"gpu": 1}).submit(pow, 2, 3).result(timeout=30) == 8


def test_a_worker_that_dies_costs_one_call(fresh_pool):
    import os

    fatal = fresh_pool.submit(os._exit, 1)
    with pytest.raises(WorkerLostError):
        fatal.result(timeout=30)
    assert fresh_pool.submit(abs, -1).result(timeout=30) == 1
