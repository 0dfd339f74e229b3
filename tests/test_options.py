import re

import pytest

from woolexec.options import OPTIONS, START, SUBMIT, TaskOptions, WithOptions
from woolexec.wire.frames import Options, Start


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
    assert TaskOptions(retries=1, retry_on=KeyError).retry_on == {"builtins:KeyError"}
    assert TaskOptions(retries=1, retry_on=(KeyError, OSError)).retry_on == {
        "builtins:KeyError",
        "builtins:OSError",
    }
    assert TaskOptions(retries=1, retry_on=iter([KeyError])).retry_on == {"builtins:KeyError"}


def test_options_cannot_be_changed():
    with pytest.raises(AttributeError, match="immutable"):
        TaskOptions().retries = 3


def test_copy_with_changes_keeps_the_rest():
    options = TaskOptions(timeout=3, retries=2, retry_on=KeyError, idempotent=True, name="n")

    changed = options.replace(retries=5)

    assert (changed.timeout, changed.retries, changed.idempotent, changed.name) == (3, 5, True, "n")
    assert changed.retry_on == options.retry_on
    assert options.replace(retry_on=OSError).retry_on == {"builtins:OSError"}
    assert options.retries == 2


def test_options_come_out_of_the_frames_of_nested_tasks_as_they_went_in():
    asked = TaskOptions(
        timeout=2.0,
        retries=3,
        retry_on=(KeyError, OSError),
        idempotent=True,
        name="n",
        context_back=True,
        require={"gpu": 1, "zone": "b"},
        near="x",
        priority=-4,
    )

    received = TaskOptions.from_submit(Options(**asked.submit_fields))

    assert {name: getattr(received, name) for name in OPTIONS} == {name: getattr(asked, name) for name in OPTIONS}
    assert received.line == asked.line


def test_options_that_a_worker_or_a_peer_needs_are_carried_by_start_frames():
    asked = TaskOptions(timeout=2.0, retries=3, name="n", context_back=True, priority=1)

    received = TaskOptions.from_start(Start(**asked.start_fields))

    assert (received.timeout, received.name, received.context_back) == (2.0, "n", True)
    assert (received.retries, received.priority) == (0, 0)


def test_frames_without_options_give_none():
    assert TaskOptions.from_start(Start()) is None
    assert TaskOptions.from_submit(Options()) is None
    assert TaskOptions.from_submit(None) is None


def test_invalid_options_in_a_frame_are_refused():
    with pytest.raises(ValueError, match="timeout"):
        TaskOptions.from_submit(Options(timeout=-1.0))


def test_each_parameter_is_an_option_and_each_option_has_a_description_and_a_false_default():
    parameters = WithOptions.with_options.__kwdefaults__
    described = re.findall(r":param (\w+):", WithOptions.with_options.__doc__)

    assert [*parameters] == [*OPTIONS] == described
    assert not any(parameters.values()), "a field that is not set stands for the default"


def test_the_frames_have_a_field_for_each_option_that_they_carry():
    assert {name for name, option in OPTIONS.items() if SUBMIT in option.frames} == Options.DEFAULTS.keys()
    assert {name for name, option in OPTIONS.items() if START in option.frames} <= Start.DEFAULTS.keys()


def test_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="tries"):
        TaskOptions(tries=3)


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
