"""How often progress reports are sent, and the contents of their frames."""

import itertools
import logging
import threading
from types import SimpleNamespace

import pytest

from woolexec.task_progress import INTERVAL, LONGEST, Reports, TaskProgress, Throttle, progress_of


def test_reports_of_one_task_are_an_interval_apart_and_those_of_others_do_not_matter():
    throttle = Throttle()
    assert throttle.lets_pass(1, 100.0, is_last=False)
    assert not throttle.lets_pass(1, 100.0 + INTERVAL / 2, is_last=False)
    assert throttle.lets_pass(2, 100.0 + INTERVAL / 2, is_last=False)
    assert throttle.lets_pass(1, 100.0 + INTERVAL * 1.01, is_last=False)


def test_report_that_all_is_done_does_not_wait_and_is_passed_on_once():
    throttle = Throttle()
    assert throttle.lets_pass(1, 100.0, is_last=False)
    assert throttle.lets_pass(1, 100.0, is_last=True)
    assert not throttle.lets_pass(1, 100.0, is_last=True)


def test_many_tasks_take_little_memory():
    throttle = Throttle()
    assert all(throttle.lets_pass(number, 100.0, is_last=False) for number in range(5000))
    assert len(throttle._last) <= 1000


def frame(**said):
    return SimpleNamespace(**{"task": 3, "done": 2.0, "total": 0.0, "has_total": False, "text": "", **said})


@pytest.mark.parametrize(
    ("said", "progress"),
    [
        ({}, (3, "f", 2, None, "")),
        ({"done": 0.5, "total": 1.0, "has_total": True, "text": "half"}, (3, "f", 0.5, 1, "half")),
        ({"total": 0.0, "has_total": True}, (3, "f", 2, 0, "")),
        ({"text": "\x1b[2J\n" + "x" * 1000}, (3, "f", 2, None, "\\x1b[2J\\n" + "x" * (LONGEST - 5))),
        ({"done": float("inf")}, (3, "f", float("inf"), None, "")),
    ],
)
def test_frame_says_how_far_a_task_is(said, progress):
    assert progress_of(frame(**said), "f") == TaskProgress(*progress)


class Call:
    def __init__(self, on_progress):
        self.options = None if on_progress is None else SimpleNamespace(on_progress=on_progress)


def progress(done):
    return TaskProgress(1, "f", done, None, "")


def test_callback_that_is_late_gets_the_latest_report_only():
    pieces, got = [], []
    reports, call = Reports(pieces.append), Call(got.append)
    for done in range(3):
        reports.tell(call, progress(done))
    assert len(pieces) == 1
    pieces.pop()()
    reports.tell(call, progress(9))
    pieces.pop()()
    assert [each.done for each in got] == [2, 9]


class Order:
    """The order in which two threads take their steps; one that has ended takes no more."""

    def __init__(self, *order):
        self.left, self.changed = list(order), threading.Condition()

    def step(self, act, *args):
        me = threading.current_thread().name
        with self.changed:
            if me in self.left:
                assert self.changed.wait_for(lambda: self.left[0] == me, 10.0)
                self.left.pop(0)
            found = act(*args)
            self.changed.notify_all()
        return found

    def run(self, name, act):
        def run():
            act()
            with self.changed:
                self.left = [each for each in self.left if each != name]
                self.changed.notify_all()

        thread = threading.Thread(target=run, name=name)
        thread.start()
        return thread


def in_steps(kind, order):
    """Return a kind of dictionary whose methods are steps."""

    def method(name):
        return lambda self, *args: order.step(getattr(kind, name), self, *args)

    names = ("__contains__", "__setitem__", "__delitem__", "pop", "setdefault")
    return type(kind.__name__, (kind,), {name: method(name) for name in names})()


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["tells"] * 2 + ["fetches"] * 4))))
def test_no_report_is_left_behind_in_whatever_order_two_threads_take_their_steps(order):
    pieces, got = [], []
    reports, call, steps = Reports(pieces.append), Call(got.append), Order(*order)
    reports._latest, reports._on_way = in_steps(dict, steps), in_steps(dict, steps)
    reports.tell(call, progress(1))
    fetch = pieces.pop()
    threads = [steps.run("tells", lambda: reports.tell(call, progress(2))), steps.run("fetches", fetch)]
    for thread in threads:
        thread.join()
    for done in (2, 3):
        while pieces:
            pieces.pop()()
        assert got[-1].done == done
        reports.tell(call, progress(3))
    assert len(pieces) == 1


def test_callback_that_blocks_is_not_called_again_before_it_has_returned():
    pieces, got = [], []

    def slow(report):
        for done in range(report.done + 1, min(report.done + 3, 6)):  # which come meanwhile
            reports.tell(call, progress(done))
        assert not pieces
        got.append(report.done)

    reports, call = Reports(pieces.append), Call(slow)
    reports.tell(call, progress(1))
    pieces.pop()()
    assert got == [1, 3, 5]
    assert not reports._on_way


def test_call_without_callback_needs_nobody():
    reports = Reports(pytest.fail)
    reports.tell(Call(None), progress(1))
    reports.tell(SimpleNamespace(options=SimpleNamespace(on_progress=None)), progress(1))


def test_what_a_callback_raises_is_logged(caplog):
    def fail(_):
        raise SystemExit("no")

    with caplog.at_level(logging.ERROR):
        Reports(lambda piece: piece()).tell(Call(fail), progress(1))
    assert "on_progress of f raised an exception" in caplog.text
