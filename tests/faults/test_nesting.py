"""Row 36: tasks that submit tasks and wait for them, deeper and wider than the pool."""

import gc

import pytest

from tests.tasks import fibonacci
from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.core.call import Call

from . import tasks, tasks_b
from .tasks import SOON


@pytest.mark.slow
@pytest.mark.timeout(200)  # on a machine with much else to do
def test_a_thousand_tasks_on_top_of_each_other_finish_on_one_worker(lone):
    assert lone.submit(tasks_b.descend, 1000).result(8 * SOON) == 1000


def test_naive_fibonacci_finishes_on_two_workers(pool):
    assert pool.submit(fibonacci, 12).result(3 * SOON) == 144


def test_several_recursions_at_once_finish_on_one_worker(lone):
    assert [future.result(SOON) for future in [lone.submit(tasks_b.descend, 20) for _ in range(10)]] == [20] * 10


def test_task_may_wait_for_more_tasks_than_there_are_workers(pool):
    assert pool.submit(tasks_b.fan, 100).result(SOON) == sum(range(100))


def test_task_may_map(lone):
    assert lone.submit(tasks_b.fan_by_map, 20).result(SOON) == list(range(20, 0, -1))


def test_task_may_use_wait_on_its_tasks(pool):
    future = pool.submit(tasks_b.fan_and_wait, 5)
    assert future.result(SOON) == (5, 0)


def test_task_may_use_as_completed_on_its_tasks(lone):
    future = lone.submit(tasks_b.fan_as_completed, 5)
    assert future.result(SOON) == 10


def test_threads_of_a_task_may_wait_for_tasks(pool):
    assert pool.submit(tasks_b.fan_from_threads, 4).result(SOON) == [0, 1, 2, 3]


def test_callback_of_a_nested_task_has_run_when_its_result_is_there(pool):
    assert pool.submit(tasks_b.nested_callback).result(SOON) == [3]


def test_exception_of_a_nested_task_reaches_the_task_that_waits(lone):
    assert lone.submit(tasks_b.nested_error, tasks_b.throw, KeyError, "gone").result(SOON) == "KeyError('gone')"


def test_nested_task_that_does_not_pickle_fails_by_itself(lone):
    assert lone.submit(tasks_b.nested_unpicklable).result(SOON) == ("ValueError('while pickled')", 3)


def test_nested_task_that_dies_costs_no_more_than_the_task_that_waits_for_it(pool):
    assert isinstance(pool.submit(tasks_b.nested, tasks.die).exception(SOON), WorkerLostError)
    assert pool.submit(tasks_b.fan, 5).result(SOON) == 10


def test_task_of_a_worker_that_runs_one_task_only_may_wait_for_tasks():
    with PeerPoolExecutor(1, max_tasks_per_child=1) as lone:
        assert lone.submit(tasks_b.descend, 3).result(SOON) == 3


def test_task_that_nobody_waits_for_is_run_before_shutdown_returns(journal):
    with PeerPoolExecutor(1) as lone:
        lone.submit(tasks_b.submit_and_leave, journal, "run").result(SOON)
    assert tasks.notes(journal) == ["run"]


def test_executor_that_travels_to_a_task_is_the_one_it_runs_in(lone):
    assert lone.submit(tasks_b.submit_to, lone, -4).result(SOON) == ("NestedExecutor", 4)


def test_other_tasks_go_on_while_one_waits_for_its_own(pool):
    nested = pool.submit(fibonacci, 8)
    assert list(pool.map(abs, range(100))) == list(range(100))
    assert nested.result(SOON) == 21


def test_nothing_of_nested_tasks_is_kept_when_they_are_done(pool):
    for _ in range(20):
        pool.submit(tasks_b.fan, 5).result(SOON)
    assert tasks.eventually(lambda: _calls_alive() < 10)


def _calls_alive():
    gc.collect()
    return sum(type(thing) is Call for thing in gc.get_objects())


@pytest.mark.parametrize("count", [1, 2])
def test_current_executor_refuses_outside_of_a_task_and_of_any_block(count):
    from woolexec import current_executor

    with PeerPoolExecutor(count) as outer:
        assert current_executor() is outer
        with PeerPoolExecutor(count) as inner:
            assert current_executor() is inner
        assert current_executor() is outer
    with pytest.raises(RuntimeError, match="not in a task"):
        current_executor()


def test_task_that_fails_once_is_tried_again_though_the_pool_was_shut_down_meanwhile(tmp_path):
    with PeerPoolExecutor(1) as pool:
        parent = pool.submit(tasks_b.wait_for_a_task_that_fails_once, tmp_path / "seen", tmp_path / "go")
        tasks.eventually((tmp_path / "seen").exists)
        pool.shutdown(wait=False, cancel_futures=True)
        (tmp_path / "go").touch()
        assert parent.result(SOON) == "tried again"
