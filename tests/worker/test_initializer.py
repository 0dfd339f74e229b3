import threading

import pytest

from woolexec import errors
from woolexec.wire.pickling import dumps_inline
from woolexec.worker import initializer, nested_tasks
from woolexec.worker.setup import Setup

PATIENCE = 20

steps = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A worker that has run no initializer yet."""
    steps.clear()
    monkeypatch.setattr(initializer, "_run", {})


def note(step):
    steps.append(step)


def fail_once(exc):
    steps.append("tried")
    raise exc


def setup_for(function, *args, key=b"key", timeout=None):
    return Setup([], [dumps_inline((function, args))], key, timeout)


def test_initializer_runs_once_for_each_executor():
    for key in (b"one", b"other", b"one", b"other"):
        initializer.run(setup_for(note, key, key=key), None)

    assert steps == [b"one", b"other"]


def test_calls_of_an_initializer_that_raised_have_an_exception_each_with_the_same_cause():
    failing = setup_for(fail_once, LookupError("no data"))
    raised = []
    for _ in range(2):
        with pytest.raises(
            errors.InitializerError, match=r"the initializer raised LookupError in worker .*: no data"
        ) as e:
            initializer.run(failing, None)
        raised.append(e.value)

    assert steps == ["tried"]
    assert raised[0] is not raised[1]
    assert raised[0].__cause__ is raised[1].__cause__
    assert type(raised[0].__cause__) is LookupError


@pytest.mark.parametrize("cls", [KeyboardInterrupt, SystemExit])
def test_interrupt_is_that_calls_matter_and_the_next_one_runs_the_initializer(cls):
    interrupted = setup_for(fail_once, cls())
    for _ in range(2):
        with pytest.raises(cls):
            initializer.run(interrupted, None)

    assert steps == ["tried", "tried"]


def run_again(step, key):
    """Do as an initializer does that unpickles a function of its own executor."""
    initializer.run(setup_for(note, "again", key=key), None)
    steps.append(step)


def test_initializer_that_needs_itself_is_not_run_again():
    initializer.run(setup_for(run_again, "done", b"key"), None)

    assert steps == ["done"]


def block(released):
    HELD[released].wait(PATIENCE)
    steps.append("went on")


HELD = {}


def test_initializer_that_takes_too_long_fails_its_call_and_ends_the_worker_in_this_order(monkeypatch):
    HELD["late"] = threading.Event()
    monkeypatch.setattr(nested_tasks, "flush", lambda: note("flushed"))
    monkeypatch.setattr(initializer.os, "_exit", lambda code: (note(("exited", code)), HELD["late"].set()))

    initializer.run(setup_for(block, "late", timeout=0.01), note)

    failure, *rest = steps
    assert rest == ["flushed", ("exited", 1), "went on"]
    assert type(failure) is errors.InitializerError
    assert "ran longer than 0.01 s" in str(failure)


def test_initializer_that_ends_in_time_leaves_no_timer(monkeypatch):
    monkeypatch.setattr(initializer.os, "_exit", note)
    before = threading.active_count()

    initializer.run(setup_for(note, "done", timeout=PATIENCE), note)

    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(PATIENCE)
    assert threading.active_count() == before
    assert steps == ["done"]


def test_on_worker_start_runs_before_the_initializer():
    initializer.run_both(lambda: note("start"), note, ("initializer",))

    assert steps == ["start", "initializer"]


def test_on_worker_start_may_be_alone():
    initializer.run_both(lambda: note("start"), None, ())

    assert steps == ["start"]


def test_what_on_worker_start_raises_is_noted_and_the_initializer_does_not_run():
    with pytest.raises(ZeroDivisionError) as raised:
        initializer.run_both(lambda: 1 // 0, note, ("initializer",))

    assert raised.value.__notes__ == ["while on_worker_start ran"]
    assert steps == []


def test_what_the_initializer_raises_is_not_taken_for_on_worker_start():
    with pytest.raises(ZeroDivisionError) as raised:
        initializer.run_both(lambda: None, divmod, (1, 0))

    assert not hasattr(raised.value, "__notes__")
