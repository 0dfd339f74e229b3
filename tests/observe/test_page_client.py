import socket

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.observe.test_dashboard import served
from woolexec.core.task_stack import Stacks, TaskStack
from woolexec.observe.page_client import stacks_of, statistics_of
from woolexec.observe.pool_records import PoolRecord
from woolexec.statistics import Statistics

STATISTICS = Statistics(time=1.0, pid=2, host="node7")
STACK = TaskStack(1, "work", 2.0, "node7", 3, "stack", "note")


@pytest.fixture(scope="module")
def page():
    with served(statistics=STATISTICS.as_dict) as page:
        yield page


def test_statistics_arrive(page):
    assert statistics_of(PoolRecord(1, page.url), 10) == STATISTICS


def test_stacks_arrive():
    with served(stacks=Stacks([STACK]).as_dict) as page:
        assert stacks_of(PoolRecord(1, page.url), 10) == (STACK,)


def test_a_pool_that_refuses_or_has_ended_is_none(page):
    assert statistics_of(PoolRecord(1, page.url[:-1]), 10) is None
    with served() as ended:
        assert statistics_of(PoolRecord(1, ended.url), 10) is None
    assert statistics_of(PoolRecord(1, ended.url), 10) is None
    assert stacks_of(PoolRecord(1, ended.url), 10) == ()


def test_who_does_not_answer_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "http://{}:{}/?token=x".format(*silent.getsockname())
        assert statistics_of(PoolRecord(1, url), 0.05) is None
