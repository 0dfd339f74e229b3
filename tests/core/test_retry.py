import pytest

from woolexec.core.retry import IDEMPOTENT_RETRIES, LOST, retries_left
from woolexec.options import ClassNames, TaskOptions

VALUE = ("builtins:ValueError", "builtins:Exception")


def test_without_options_nothing_is_tried_again():
    assert not retries_left(None, 1, (LOST,))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_lost_call_is_started_once_and_then_as_often_as_retries_say(retries):
    options = TaskOptions(retries=retries)

    starts = 1
    while retries_left(options, starts, (LOST,)):
        starts += 1

    assert starts == 1 + retries


def test_idempotent_task_is_started_again_when_it_was_lost_and_only_then():
    options = TaskOptions(idempotent=True)

    assert retries_left(options, IDEMPOTENT_RETRIES, (LOST,))
    assert not retries_left(options, IDEMPOTENT_RETRIES + 1, (LOST,))
    assert not retries_left(options, 1, VALUE)


def test_retries_beyond_the_default_hold_for_idempotent_tasks_too():
    assert retries_left(TaskOptions(idempotent=True, retries=10), 10, (LOST,))


def test_exception_is_tried_again_if_it_was_named():
    assert retries_left(TaskOptions(retries=1, retry_on=ValueError), 1, VALUE)
    assert not retries_left(TaskOptions(retries=1, retry_on=ValueError), 2, VALUE)
    assert not retries_left(TaskOptions(retries=1, retry_on=KeyError), 1, VALUE)
    assert not retries_left(TaskOptions(retries=1), 1, VALUE)


def test_naming_a_base_class_is_enough():
    assert retries_left(TaskOptions(retries=1, retry_on=Exception), 1, VALUE)


def test_naming_an_exception_without_retries_tries_nothing():
    assert not retries_left(TaskOptions(retry_on=ClassNames(["builtins:ValueError"])), 1, VALUE)
