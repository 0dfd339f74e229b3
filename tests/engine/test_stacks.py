"""Requests for stacks; the test decides what the workers answer."""

import itertools
import os
import subprocess
from types import SimpleNamespace

import pytest

from woolexec.core.call import ASYNCIO, THREAD
from woolexec.core.stack_text import ENDED, HELD, IN_C, NO_ANSWER, OF_LOOP, PACKAGE, SILENT, STOPPED
from woolexec.core.task_stack import TaskStack
from woolexec.engine.stack_frames import frame_of
from woolexec.engine.stacks import PATIENCE, TIMEOUT
from woolexec.platform.posix import SIGURG
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Inspected
from woolexec.wire.shared_page import DUMPS
from woolexec.wire.stack_area import A_LOOP
from woolexec.worker.records import EXITED, FORKED

STACK = '  File "/a.py", line 1, in f'
DUMP = f'Stack (most recent call first):\n  File "/a.py", line 1 in f\n  File "{PACKAGE}x.py", line 2 in _run_call\n'


requests = itertools.count(1)


@pytest.fixture
def ready(engine):
    """Start a call on a worker that can be asked, and whose process is this one."""

    def ready(*args, **options):
        call, worker, far = engine.running(*args, **options)
        worker.pid = os.getpid()
        far.page.set_ready()
        return call, worker, far

    return ready


@pytest.fixture
def ask(engine):
    def ask(timeout=TIMEOUT):
        answers = []
        engine.rounds.inspect(answers.append, timeout, next(requests))
        return answers

    return ask


def answer(far, *calls):
    area = far.page.stacks
    area.answer(area.asked, Inspected(call=tuple(call.number for call in calls), stack=(STACK,) * len(calls)))


def dump(engine, far, text=DUMP):
    """Write what `faulthandler` would, as soon as it is asked for."""
    asked = len(engine.fork_server.dumped)
    for _ in range(1000):
        engine.loop.pass_time(0.005)
        if len(engine.fork_server.dumped) > asked:
            break
    area = far.page.stacks
    os.pwrite(far.page_fd, text.encode(), DUMPS + len(area.dumped(DUMPS)))
    return engine.fork_server.dumped[-1]


def notes(answers):
    ((*found,),) = answers
    return [(each.function, each.stack, each.note) for each in found]


def test_engine_without_workers_answers_at_once(ask):
    assert ask() == [[]]


def test_worker_that_runs_nothing_is_not_asked(engine, ask):
    engine.submit(engine.call())

    assert ask() == [[]]
    assert engine.killed == []


def test_worker_is_asked_with_a_signal_and_answers(engine, ready, ask):
    call, worker, far = ready()
    answers = ask()
    assert engine.killed == [(worker.id, SIGURG)]
    answer(far, call)
    engine.loop.pass_time(0.01)

    assert notes(answers) == [("f", STACK, "")]
    ((found,),) = answers
    assert (found.task, found.pid) == (call.number, os.getpid())
    assert 0 < found.seconds < 0.02


def test_call_that_the_worker_does_not_report_has_ended_and_is_left_out(engine, ready, ask):
    _, _, far = ready()
    answers = ask()
    answer(far)
    engine.loop.pass_time(0.01)

    assert answers == [[]]


def test_those_who_ask_meanwhile_get_the_same_answer(engine, ready, ask):
    call, worker, far = ready()
    first, second = ask(), ask()
    answer(far, call)
    engine.loop.pass_time(0.01)

    assert first == second
    assert len(first) == 1
    assert engine.killed == [(worker.id, SIGURG)]


def test_worker_whose_interpreter_does_not_answer_is_dumped(engine, ready, ask):
    _, worker, far = ready()
    answers = ask()
    engine.loop.pass_time(PATIENCE - 0.01)
    assert engine.fork_server.dumped == []

    assert dump(engine, far) == (worker.id, 0)
    assert answers == []
    engine.loop.pass_time(0.05)

    assert notes(answers) == [("f", STACK, IN_C)]


def test_dump_is_used_again_for_a_second_and_then_made_anew(engine, ready, ask):
    _, _, far = ready()
    ask()
    dump(engine, far)
    engine.loop.pass_time(0.05)

    answers = ask()
    engine.loop.pass_time(0.01)
    assert notes(answers) == [("f", STACK, IN_C)]
    assert len(engine.fork_server.dumped) == 1

    engine.loop.pass_time(1.0)
    answers = ask()
    dump(engine, far, DUMP.replace("line 1", "line 9"))
    engine.loop.pass_time(0.05)
    assert notes(answers) == [("f", STACK.replace("line 1", "line 9"), IN_C)]


def test_worker_that_has_not_answered_is_not_asked_again(engine, ready, ask):
    call, _, far = ready()
    ask()
    dump(engine, far)
    engine.loop.pass_time(0.05)
    ask()
    assert far.page.stacks.asked == 1
    answer(far, call)
    engine.loop.pass_time(0.01)
    ask()
    assert far.page.stacks.asked == 2


def test_threads_of_generators_and_loops_are_dumped_one_after_the_other(engine, ready, ask):
    stream, worker, far = ready(lane=THREAD)
    coroutine = engine.submit(engine.call("g", ASYNCIO))
    far.start(coroutine, engine.loop.now)
    area = far.page.stacks
    area.note_thread(stream.number, 77)
    area.note_thread(A_LOOP, 78)
    answers = ask()

    asked = [dump(engine, far, "Stack (most recent call first):\n"), dump(engine, far), dump(engine, far)]
    engine.loop.pass_time(0.05)

    assert asked == [(worker.id, 0), (worker.id, 77), (worker.id, 78)]
    assert sorted(notes(answers)) == [("f", STACK, HELD), ("g", STACK, HELD)]


def test_stack_of_a_loop_with_several_coroutines_is_that_of_the_one_with_its_name_or_of_any(engine, ready, ask):
    _, _, far = ready("f", lane=ASYNCIO)
    second = engine.submit(engine.call("g", ASYNCIO))
    far.start(second, engine.loop.now)
    far.page.stacks.note_thread(A_LOOP, 78)
    for function, expected in (("f", {(STACK, HELD), ("", HELD)}), ("h", {(STACK.replace("in f", "in h"), OF_LOOP)})):
        answers = ask()
        dump(engine, far, "Stack (most recent call first):\n")
        dump(engine, far, DUMP.replace("in f", f"in {function}"))
        engine.loop.pass_time(0.05)

        assert {each[1:] for each in notes(answers)} == expected
        engine.loop.pass_time(1.0)


@pytest.mark.linux
def test_worker_that_is_stopped_or_has_ended_is_named_at_once(engine, ready, ask):
    _, worker, _ = ready()
    with subprocess.Popen(["sh", "-c", "kill -STOP $$"]) as process:
        worker.pid = process.pid
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert notes(ask()) == [("f", "", STOPPED)]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert notes(ask()) == [("f", "", ENDED)]  # a zombie
    assert notes(ask()) == [("f", "", ENDED)]
    assert engine.killed == []


def test_worker_that_ends_while_it_is_asked_keeps_nobody_waiting(engine, ready, ask):
    _, worker, _ = ready()
    answers = ask()
    engine.report((FORKED, worker.id, worker.pid), (EXITED, worker.id, 1))
    engine.loop.pass_time(0.1)

    assert answers == [[]]


def test_worker_that_says_nothing_at_all_is_named_in_time(engine, ready, ask):
    ready()
    answers = ask(1.0)
    engine.loop.pass_time(1.1)

    assert notes(answers) == [("f", "", SILENT)]


def test_worker_that_is_only_starting_is_not_signalled(engine, ask):
    engine.running()

    assert notes(ask()) == [("f", "", SILENT)]
    assert engine.killed == []


def test_texts_of_a_worker_are_made_printable(engine, ready, ask):
    call, _, far = ready(name="\x1b[2J")
    answers = ask()
    area = far.page.stacks
    area.answer(area.asked, Inspected(call=(call.number, 99), stack=("a\x1b[1mb\nc\r", "of another")))
    engine.loop.pass_time(0.01)

    assert notes(answers) == [("\\x1b[2J", "a\\x1b[1mb\nc\\r", "")]


def test_call_that_was_sent_past_the_engine_is_found(make_engine):
    engine = make_engine(permits=True)
    engine.submit(engine.call())
    (worker,) = engine.workers
    answers = []

    engine.rounds.inspect(answers.append, TIMEOUT, 1)

    assert answers == [[]]
    assert not worker.has_permit


# -- peers ----------------------------------------------------------------------------------------------------------


class FakeLink:
    """A peer that answers when the test says so."""

    def __init__(self, *calls):
        self.candidate = SimpleNamespace(address="h:1", host="h")
        self.outstanding = {call.number: call for call in calls}
        self.lane_place = SimpleNamespace(outstanding={})
        self.sent = []

    def has_started(self, call):
        return True

    def send(self, frames):
        self.sent += decode(frames, 0)


@pytest.fixture
def link(engine, monkeypatch):
    call = engine.call("far")
    call.number = 7
    link = FakeLink(call)
    monkeypatch.setattr(engine.scheduler, "links", [link])
    return link


def test_peer_is_asked_and_its_answer_has_its_address(engine, link, ask):
    answers = ask(1.0)
    ((frame,), found) = link.sent, frame_of([TaskStack(1, "far", 2.0, "h", 3, STACK)], link.sent[0].request)
    assert frame.seconds < 1.0
    assert not frame.all
    engine.rounds.outcomes.hear_link(link, found)

    assert answers == [[TaskStack(1, "far", 2.0, "h", 3, STACK, peer="h:1")]]


def test_peer_that_does_not_answer_is_named_with_its_tasks(engine, link, ask):
    answers = ask(1.0)
    engine.loop.pass_time(1.1)

    assert answers == [[TaskStack(7, "far", 0.0, "h", 0, note=NO_ANSWER, peer="h:1")]]


def test_late_and_unasked_answers_of_a_peer_are_ignored(engine, link, ask):
    answers = ask(1.0)
    engine.loop.pass_time(1.1)
    for request in (link.sent[0].request, 12345):
        engine.rounds.outcomes.hear_link(link, frame_of([TaskStack(1, "far", 2.0, "h", 3)], request))

    assert len(answers) == 1


def test_peers_that_ask_each_other_for_one_client_answer_once(engine, link):
    answers = []
    engine.rounds.inspect(answers.append, 1.0, 99)
    engine.rounds.inspect(answers.append, 1.0, 99)

    assert answers == [[]]
    assert len(link.sent) == 1
