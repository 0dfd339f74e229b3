"""Processes that tasks fork, and that do not end by themselves before the task would."""

import os
import sys

import pytest

from tests.shared_pools import shared

PATIENCE = 30


pytestmark = pytest.mark.usefixtures("shared_pools")


def fork(how):
    """Fork a process that leaves this task somehow; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if how == "exits":
        sys.exit(5)
    if how == "says why":
        sys.exit("no reason")
    if how == "raises":
        raise ValueError(how)
    return "the child's"


async def fork_in_coroutine(how):
    return fork(how)


WAYS = {
    "call": lambda pool, how: pool.submit(fork, how).result(PATIENCE),
    "map": lambda pool, how: next(pool.map(fork, [how], timeout=PATIENCE)),
    "coroutine": lambda pool, how: pool.submit(fork_in_coroutine, how).result(PATIENCE),
}


@pytest.mark.parametrize(("how", "code"), [("exits", 5), ("says why", 1), ("raises", 1), ("returns", 0)])
@pytest.mark.parametrize("way", WAYS)
def test_it_ends_with_the_task_whose_outcome_is_that_of_its_parent(way, how, code):
    with shared(1) as pool:
        assert WAYS[way](pool, how) == code
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def fork_first(item, path):
    if item == 0:
        return fork("returns")
    with open(path, "a") as file:
        file.write(str(item))
    return item


@pytest.mark.parametrize("chunksize", [None, 5])
def test_it_runs_no_other_item_of_its_batch(tmp_path, chunksize):
    path = str(tmp_path / "items")

    with shared(1) as pool:
        assert list(pool.map(fork_first, range(5), [path] * 5, chunksize=chunksize)) == list(range(5))

    with open(path) as file:
        assert file.read() == "1234"
