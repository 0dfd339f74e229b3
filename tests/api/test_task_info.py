from types import SimpleNamespace

import pytest

from tests.worker.lanes import job
from woolexec.api.task_info import TaskInfo, current_task
from woolexec.worker import nested_tasks


@pytest.fixture
def running(monkeypatch):
    """Make this process a worker whose main thread runs this call."""
    return lambda call: monkeypatch.setattr(nested_tasks, "worker", SimpleNamespace(lane=SimpleNamespace(current=call)))


def test_there_is_no_task_outside_of_a_worker_and_between_two_calls(running):
    assert current_task() is None
    running(None)
    assert current_task() is None


def test_task_knows_its_number_name_attempt_and_parent(running):
    running(job(7, len, attempt=2, parent=5))

    assert current_task() == TaskInfo(id=7, name="len", attempt=3, parent=5)


def test_task_that_no_task_has_submitted_has_no_parent_and_may_have_a_given_name(running):
    running(job(7, len, name="count"))

    assert current_task() == TaskInfo(7, "count", 1, None)


def test_call_of_this_context_comes_before_that_of_the_main_thread(running):
    running(job(7, len))
    token = nested_tasks.current.set(job(8, abs))
    try:
        assert current_task().id == 8
    finally:
        nested_tasks.current.reset(token)
