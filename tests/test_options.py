import pytest

from woolexec.options import TaskOptions


def test_nothing_asked_for_is_the_default():
    assert TaskOptions().is_default
    for asked in (
        {"timeout": 1},
        {"retries": 1},
        {"retries": 1, "retry_on": KeyError},
        {"idempotent": True},
        {"name": "n"},
    ):
        assert not TaskOptions(**asked).is_default


@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan")])
def test_timeout_that_is_no_positive_number_is_a_value_error(timeout):
    with pytest.raises(ValueError, match="timeout"):
        TaskOptions(timeout=timeout)


@pytest.mark.parametrize(
    ("retries", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("2", TypeError)]
)
def test_bad_retries_are_refused(retries, error):
    with pytest.raises(error, match="retries"):
        TaskOptions(retries=retries)


@pytest.mark.parametrize("retry_on", [int, [KeyError, 3], ["KeyError"], [KeyError()]])
def test_retry_on_takes_exception_classes_only(retry_on):
    with pytest.raises(TypeError, match="retry_on"):
        TaskOptions(retries=1, retry_on=retry_on)


def test_name_must_be_text():
    with pytest.raises(TypeError, match="name"):
        TaskOptions(name=3)


def test_classes_are_kept_by_name():
    assert TaskOptions(retries=1, retry_on=KeyError).retry_on_names == {"builtins:KeyError"}
    assert TaskOptions(retries=1, retry_on=(KeyError, OSError)).retry_on_names == {
        "builtins:KeyError",
        "builtins:OSError",
    }
    assert TaskOptions(retries=1, retry_on=iter([KeyError])).retry_on_names == {"builtins:KeyError"}


def test_options_cannot_be_changed():
    with pytest.raises(AttributeError, match="immutable"):
        TaskOptions().retries = 3


def test_copy_with_changes_keeps_the_rest():
    options = TaskOptions(timeout=3, retries=2, retry_on=KeyError, idempotent=True, name="n")

    changed = options.replace(retries=5)

    assert (changed.timeout, changed.retries, changed.idempotent, changed.name) == (3, 5, True, "n")
    assert changed.retry_on_names == options.retry_on_names
    assert options.replace(retry_on=OSError).retry_on_names == {"builtins:OSError"}
    assert options.retries == 2


def test_options_are_restored_from_a_frame():
    options = TaskOptions.restore(["builtins:KeyError"], timeout=2.0, retries=3, idempotent=True, name="n")

    assert options.retry_on_names == {"builtins:KeyError"}
    assert (options.timeout, options.retries, options.idempotent, options.name) == (2.0, 3, True, "n")


def test_replace_with_a_bad_value_is_refused():
    with pytest.raises(ValueError):
        TaskOptions(retries=1).replace(retries=-1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"priority": 1.5}, TypeError),
        ({"priority": True}, TypeError),
        ({"priority": 1 << 31}, ValueError),
        ({"near": 3}, TypeError),
        ({"require": {"gpu": -1}}, ValueError),
        ({"require": {"gpu": None}}, TypeError),
    ],
)
def test_options_of_placement_are_checked(options, error):
    with pytest.raises(error):
        TaskOptions(**options)


def test_options_of_placement_say_in_which_line_a_task_waits():
    assert TaskOptions(name="n").line is None
    assert TaskOptions(priority=2).line != TaskOptions(priority=3).line
    assert TaskOptions(require={"gpu": 1}, near="x").line == TaskOptions(near="x", require={"gpu": 1.0}).line
    assert not TaskOptions(require={"gpu": 1}).is_default
    assert TaskOptions(require={}).is_default
    assert TaskOptions(require={"gpu": 1}).replace(name="n").require == TaskOptions(require={"gpu": 1}).require
