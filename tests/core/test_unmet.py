import pytest

from tests.core.parts import make_call
from tests.core.peers import Far
from woolexec import UnsatisfiableError
from woolexec.core.offer import NOTHING, Offer
from woolexec.core.ready_queue import ReadyQueue
from woolexec.core.unmet import SEEN, Unmet
from woolexec.core.workforce import Workforce
from woolexec.options import TaskOptions
from woolexec.resources import Requirement


class Scene:
    def __init__(self, offer=NOTHING, limit=1):
        self.queue, self.links, self.timers = ReadyQueue(), [], []
        self.unmet = Unmet([self.queue], offer, Workforce(limit), self.links, self.after)

    def after(self, seconds, piece):
        assert seconds == SEEN
        self.timers.append(piece)

    def submit(self, **amounts):
        call = make_call(options=TaskOptions(require=Requirement(amounts)))
        self.queue.offer(call)
        self.queue.add(call)
        self.unmet.check()
        return call

    def pass_time(self, checks=1):
        for _ in range(checks):
            timers, self.timers = self.timers, []
            for piece in timers:
                piece()


def test_task_fails_when_two_checks_have_found_nobody_for_it():
    scene = Scene()
    call = scene.submit(gpu=1)
    scene.pass_time()
    assert call.receiver.failures == []

    scene.pass_time()
    ((error,),) = [call.receiver.failures]
    assert isinstance(error, UnsatisfiableError)
    assert str(error) == "no peer offers gpu>=1 (no peers seen); start one with: woolexec serve --resource gpu=1"


def test_error_names_what_was_seen():
    scene = Scene(Offer((), {"gpu": 1}))
    scene.links += [Far(f"peer-{number}", resources={"gpu": 2}) for number in range(12)]
    for link in scene.links:
        link.name = link.candidate.name
    call = scene.submit(gpu=4)
    scene.pass_time(2)

    assert "seen: peer-0: gpu=2; " in str(call.receiver.failures[0])
    assert "; 2 more; here: gpu=1)" in str(call.receiver.failures[0])


def test_requirement_that_is_met_once_it_is_free_again_waits():
    offer = Offer((), {"gpu": 1})
    offer.take(Requirement({"gpu": 1}))
    scene = Scene(offer)
    call = scene.submit(gpu=1)
    scene.pass_time(3)

    assert call.receiver.failures == []
    assert scene.timers, "it is checked as long as it waits"


def test_checks_end_with_the_tasks():
    scene = Scene()
    call = scene.submit(gpu=1)
    scene.queue.claim(call)
    scene.pass_time()

    assert scene.timers == []


def test_peer_that_comes_makes_the_count_begin_anew():
    scene = Scene()
    call = scene.submit(gpu=1)
    scene.pass_time()
    scene.unmet.forget()
    scene.pass_time()
    assert call.receiver.failures == []

    scene.pass_time()
    assert len(call.receiver.failures) == 1


@pytest.mark.parametrize("expects", [True, False])
def test_first_peer_is_waited_for(expects):
    scene = Scene(limit=1 if expects else 0)
    scene.unmet.expects_peers = expects
    call = scene.submit(gpu=1)
    scene.pass_time(3)

    assert call.receiver.failures == []


def test_checks_are_not_made_twice_at_once():
    scene = Scene()
    scene.submit(gpu=1)
    scene.submit(gpu=1)

    assert len(scene.timers) == 1


def test_very_many_requirements_that_nobody_meets_are_failed_in_one_pass(monkeypatch):
    scene, seen = Scene(), []
    calls = [scene.submit(gpu=number) for number in range(1, 50)]
    clear = ReadyQueue.clear
    monkeypatch.setattr(ReadyQueue, "clear", lambda self, *wanted: seen.append(wanted) or clear(self, *wanted))
    scene.pass_time(2)

    assert len(seen) == 1
    assert [f"gpu>={number} " in str(call.receiver.failures[0]) for number, call in enumerate(calls, 1)] == [True] * 49
