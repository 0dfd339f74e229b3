"""Calls while no worker can be started, here and at a peer."""

import errno

import pytest

from woolexec import WorkerStartError
from woolexec.core.call import Relayed
from woolexec.core.circuit_breaker import FIRST, LIMIT
from woolexec.worker.records import FAILED, FORKED

from .fake_workers import Receiver


class Client(Receiver, Relayed):
    """The receiver of a call that a client has sent; it takes its call back, unless it is for one worker."""

    def __init__(self, *, pinned=False):
        super().__init__()
        self.pinned = pinned

    def refuse(self, reason):
        if not self.pinned:
            self.outcomes.append(reason)
        return not self.pinned


@pytest.fixture
def at_peer(make_engine):
    """An engine of a peer with two workers at most."""
    engine = make_engine(limit=2)
    engine.rounds.forks.is_peer = True
    return engine


def fail_forks(engine, count):
    """Have this many forks fail, each after its pause."""
    for _ in range(count):
        engine.report(*((FAILED, worker.id, errno.EAGAIN) for worker in engine.workers))
        engine.round()
        engine.loop.pass_time(engine.rounds.forks.breaker.pause)
        engine.round()


def test_calls_of_a_client_wait_while_it_is_not_certain_that_no_worker_can_be_started(at_peer):
    call = at_peer.submit(at_peer.call(receiver=Client()))
    fail_forks(at_peer, LIMIT - 1)
    assert (call.receiver.outcomes, at_peer.supervisor.starts.why_not) == ([], "")
    at_peer.report((FORKED, at_peer.workers[0].id, 4711))
    assert call.place is at_peer.workers[0]


def test_calls_of_a_client_are_given_back_when_no_worker_can_be_started(at_peer):
    calls = at_peer.submit(*(at_peer.call(receiver=Client()) for _ in range(3)))
    fail_forks(at_peer, LIMIT)
    reason = "no worker could be started: Resource temporarily unavailable"
    assert [call.receiver.outcomes for call in calls] == [[reason]] * 3
    assert [call.state for call in calls] == ["done"] * 3
    assert at_peer.supervisor.starts.why_not == "Resource temporarily unavailable"
    assert at_peer.supervisor.broken is None


def test_call_that_nobody_takes_back_fails(at_peer):
    call = at_peer.submit(at_peer.call(receiver=Client(pinned=True)))
    fail_forks(at_peer, LIMIT)
    assert [type(outcome) for outcome in call.receiver.outcomes] == [WorkerStartError]


def test_one_worker_is_tried_after_each_pause(at_peer):
    at_peer.submit(at_peer.call(receiver=Client()))
    at_peer.report((FAILED, at_peer.workers[0].id, errno.EAGAIN))
    for _ in range(10):
        at_peer.round()
    assert at_peer.workers == []
    at_peer.loop.pass_time(FIRST)
    at_peer.round()
    assert len(at_peer.workers) == 1


@pytest.mark.parametrize("is_peer", [False, True])
def test_calls_wait_for_workers_that_there_are(make_engine, is_peer):
    engine = make_engine(limit=2)
    engine.rounds.forks.is_peer = is_peer
    _, worker, _ = engine.running(receiver=Client())
    engine.function().seconds = 1.0  # so that calls wait here, and not behind the one that runs
    engine.report((FORKED, worker.id, 4711))
    engine.fork_server.answers = True
    _, call = engine.submit(*(engine.call(receiver=Client()) for _ in range(2)))
    for _ in range(10):
        engine.report(*((FAILED, each.id, errno.EAGAIN) for each in engine.workers if each is not worker))
        engine.round()
        engine.loop.pass_time(engine.rounds.forks.breaker.pause)
        engine.round()
    assert engine.rounds.forks.breaker.is_open
    assert (call.receiver.outcomes, engine.supervisor.starts.why_not) == ([], "")
    assert len(engine.fork_server.far_ends) < 15  # after each pause one


def test_program_hears_at_once_that_no_worker_can_be_started_and_may_try_again_at_once(make_engine):
    engine = make_engine()
    for _ in range(2 * LIMIT):
        call = engine.submit(engine.call())
        engine.report((FAILED, engine.workers[0].id, errno.EAGAIN))
        assert [type(outcome) for outcome in call.receiver.outcomes] == [WorkerStartError]
    call = engine.submit(engine.call())
    assert call.place is engine.workers[0]


def test_start_for_an_actor_waits_for_no_call_of_another_worker(make_engine):
    engine = make_engine(limit=2)
    _, worker, _ = engine.running()
    engine.report((FORKED, worker.id, 4711))
    engine.rounds.forks.breaker.failed("a fork", "no memory")
    assert not engine.supervisor.starts.may_try()
    assert engine.supervisor.starts.may_try(actor=object())
