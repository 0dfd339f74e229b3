"""Tests that need no caller; tests/faults/test_missing_names.py looks up names in workers."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from woolexec.wire.pickling import dumps_inline
from woolexec.wire.unpickling import Untrusted, loads
from woolexec.worker import missing_names, nested_tasks


@pytest.fixture
def main(monkeypatch):
    """A worker's `__main__`, and a list of the names that it has asked for; the answer is 1 pickled, or a failure."""
    main = ModuleType("__main__")
    main.asked, main.answers = [], {}
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(missing_names, "_pid", 0)
    monkeypatch.setattr(missing_names, "_missed", {})
    monkeypatch.setattr(nested_tasks, "current_job", lambda: SimpleNamespace(number=5))
    monkeypatch.setattr(nested_tasks, "must_read", lambda: False)

    def ask_for(name, job, receiver):
        main.asked.append(name)
        if name in main.answers:
            receiver.deliver(None, main.answers[name])
        else:
            receiver.deliver_failure(None, None)

    monkeypatch.setattr(nested_tasks, "ask_for", ask_for)
    missing_names.watch_main()
    return main


def test_name_is_asked_for_once_and_kept(main):
    main.answers["job"] = dumps_inline(3)
    assert (main.job, main.job, main.asked) == (3, 3, ["job"])


def test_answer_that_is_marked_like_an_outcome_of_peers_is_the_callers_own(main):
    main.answers["job"] = Untrusted(dumps_inline(len), None, None)
    assert main.job is len


def test_value_that_has_come_with_its_own_globals_stays(main, monkeypatch):
    def load(payload):
        main.job = first
        return loads(payload)

    first, main.answers["job"] = object(), dumps_inline(3)
    monkeypatch.setattr(missing_names, "loads", load)
    assert main.job is first


@pytest.mark.parametrize("answer", [{}, {"job": b""}])
def test_name_that_the_caller_does_not_have_is_the_usual_error(main, answer):
    main.answers.update(answer)
    with pytest.raises(AttributeError, match=r"^module '__main__' has no attribute 'job'$"):
        main.job  # noqa: B018  # it is looked up
    assert main.asked == ["job"]


def test_call_asks_once_for_a_name_that_the_caller_does_not_have_and_the_next_call_asks_again(main, monkeypatch):
    assert [hasattr(main, name) for name in ("job", "job", "other", "job")] == [False] * 4
    assert main.asked == ["job", "other"]
    main.answers["job"] = dumps_inline(3)  # it was defined meanwhile
    monkeypatch.setattr(nested_tasks, "current_job", lambda: SimpleNamespace(number=6))
    assert main.job == 3


def test_number_of_names_that_are_known_to_be_missing_is_bounded(main, monkeypatch):
    monkeypatch.setattr(missing_names, "_MOST", 3)
    for number in range(10):
        assert not hasattr(main, f"job{number}")
    assert len(missing_names._missed) <= 3


@pytest.mark.parametrize("name", ["__path__", "__file__", "<lambda>", "<locals>", ""])
def test_names_that_no_function_of_a_program_has_are_not_asked_for(main, name):
    with pytest.raises(AttributeError, match=f"module '__main__' has no attribute '{name}'"):
        getattr(main, name)
    assert main.asked == []


def test_nothing_is_asked_outside_of_a_task(main, monkeypatch):
    monkeypatch.setattr(nested_tasks, "current_job", lambda: None)
    assert not hasattr(main, "job")
    assert main.asked == []


def test_nothing_is_asked_in_another_process_than_the_worker(main, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: missing_names._pid + 1)
    assert not hasattr(main, "job")
    assert main.asked == []
