"""The lifetime of workers: how they start, how they end, and what happens to their calls."""

import os

import pytest

from woolexec import InitializerError, WorkerLostError, WorkerStartError
from woolexec.core.call import ASYNCIO
from woolexec.engine import forks
from woolexec.engine.supervisor import GRACE, INTERRUPT_GRACE
from woolexec.platform.posix import SIGINT, SIGKILL, SIGTERM
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import Broken, Cancel, Initialize, Return, Stop
from woolexec.worker.records import EXITED, FAILED, FORKED


def returned(call, value=b"value"):
    return Return(call=(call.number,), seconds=(0.001,), payload=value)


def die(engine, worker, code=-SIGKILL):
    engine.report((EXITED, worker.id, code))
    engine.round()


# -- starting -------------------------------------------------------------------------------------------------------


def test_workers_are_started_when_calls_wait_and_not_before(make_engine):
    engine = make_engine(limit=3)
    engine.round()
    assert engine.fork_servers == []
    engine.submit(engine.call(), engine.call())
    assert [worker.id for worker in engine.workers] == [1, 2]
    assert len(engine.fork_servers) == 1


def test_fork_server_reports_the_process_id(engine):
    _, worker, _ = engine.running()
    assert worker.pid is None
    engine.report((FORKED, worker.id, 4711))
    assert worker.pid == 4711


def test_calls_fail_when_no_worker_can_be_started(engine, monkeypatch):
    def no_fork_server(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(forks, "ForkServer", no_fork_server)
    call = engine.submit(engine.call())
    (error,) = call.receiver.outcomes
    assert isinstance(error, WorkerStartError)
    assert "no worker could be started with" in str(error)
    assert "Cannot allocate memory" in str(error)
    assert isinstance(error.__cause__, OSError)
    assert engine.supervisor.broken is None  # the next call tries again


def test_calls_wait_for_the_other_workers_when_one_more_cannot_be_started(make_engine):
    engine = make_engine(limit=2)
    running, *_ = engine.running()
    engine.fork_server.error = OSError(11, "Resource temporarily unavailable")
    call = engine.submit(engine.call())
    assert (running.receiver.outcomes, call.receiver.outcomes) == ([], [])
    assert len(engine.workers) == 1


def test_worker_that_could_not_be_forked_fails_the_calls_with_the_reason(engine):
    call = engine.submit(engine.call())
    engine.report((FAILED, engine.workers[0].id, 11))
    engine.loop.pass_time(0.0)
    (error,) = call.receiver.outcomes
    assert os.strerror(11) in str(error)
    assert engine.workers == []


def test_program_that_is_no_python_is_given_up(engine):
    call = engine.submit(engine.call())
    engine.fork_server.pid = 4711
    engine.loop.pass_time(20.0)
    (error,) = call.receiver.outcomes
    assert isinstance(error, WorkerStartError)
    assert "did not run its -c code within 15 s" in str(error)
    assert engine.killed_processes == [(4711, SIGKILL)]


def test_program_that_has_answered_is_left_alone(engine):
    call = engine.submit(engine.call())
    engine.fork_server.answers = True
    engine.loop.pass_time(20.0)
    assert (call.receiver.outcomes, engine.killed_processes) == ([], [])


# -- the initializer ------------------------------------------------------------------------------------------------


def test_initializer_is_the_first_thing_that_each_worker_gets(make_engine):
    engine = make_engine(limit=2, initializer=b"init")
    engine.submit(engine.call(), engine.call())
    for worker in engine.workers:
        assert engine.far(worker).frames()[0] == Initialize(payload=b"init")


def test_initializer_that_takes_too_long_breaks_the_executor(make_engine):
    engine = make_engine(initializer=b"init", initializer_timeout=3.0)
    call = engine.submit(engine.call())
    (worker,) = engine.workers
    engine.report((FORKED, worker.id, 4711))
    engine.loop.pass_time(2.9)
    assert call.receiver.outcomes == []
    engine.loop.pass_time(0.2)
    (error,) = call.receiver.outcomes
    assert isinstance(error, InitializerError)
    assert str(error) == "the initializer ran longer than 3 s in worker 4711"
    assert (worker.id, SIGKILL) in engine.killed


def test_initializer_that_has_ended_in_time_breaks_nothing(make_engine):
    engine = make_engine(initializer=b"init", initializer_timeout=3.0)
    call = engine.submit(engine.call())
    (worker,) = engine.workers
    engine.report((FORKED, worker.id, 4711))
    engine.far(worker).page.initialized()
    engine.loop.pass_time(10.0)
    assert (call.receiver.outcomes, engine.killed) == ([], [])


def test_exception_of_the_initializer_is_decoded_outside_of_the_engine_and_breaks_the_executor(make_engine):
    engine = make_engine(initializer=b"init")
    call = engine.submit(engine.call())
    (worker,) = engine.workers
    engine.far(worker).page.set_pid(4711)
    engine.tell(worker, Broken(payload=dump_failure(ValueError("no such file"))))
    assert call.receiver.outcomes == []
    engine.loop.user_code.pop()()
    engine.round()
    (error,) = call.receiver.outcomes
    assert isinstance(error, InitializerError)
    assert "the initializer raised ValueError in worker 4711: no such file" in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert engine.supervisor.broken is error


def test_exception_of_the_initializer_that_cannot_be_decoded_breaks_the_executor_as_well(make_engine):
    engine = make_engine(initializer=b"init")
    call = engine.submit(engine.call())
    engine.tell(engine.workers[0], Broken(payload=b"no pickle"))
    engine.loop.user_code.pop()()
    engine.round()
    assert isinstance(call.receiver.outcomes[0], InitializerError)


# -- death ----------------------------------------------------------------------------------------------------------


def test_call_that_a_dead_worker_had_started_is_lost_and_the_others_run_elsewhere(engine):
    lost, other = engine.submit(engine.call(), engine.call())
    worker = lost.place
    engine.far(worker).start(lost, engine.loop.now)
    die(engine, worker)
    (error,) = lost.receiver.outcomes
    assert isinstance(error, WorkerLostError)
    assert error.exitcode == -SIGKILL
    assert other.receiver.outcomes == []
    assert other.place is engine.workers[0] is not worker


def test_lost_call_is_tried_again_if_its_options_allow_it(engine):
    call, worker, _ = engine.running(retries=1)
    die(engine, worker)
    assert call.receiver.outcomes == []
    again = call.place
    engine.far(again).start(call, engine.loop.now)
    die(engine, again)
    assert isinstance(call.receiver.outcomes[0], WorkerLostError)
    assert "attempt 2" in str(call.receiver.outcomes[0])


def test_outcome_that_a_dead_worker_had_sent_counts(engine):
    call, worker, far = engine.running()
    far.say(returned(call))
    die(engine, worker)
    assert call.receiver.outcomes == [b"value"]


def test_worker_whose_end_is_not_reported_is_reaped_after_a_while(engine):
    call, worker, far = engine.running()
    far.hang_up()
    engine.hear(worker)
    engine.loop.pass_time(0.5)
    assert call.receiver.outcomes == []
    engine.loop.pass_time(1.0)
    assert isinstance(call.receiver.outcomes[0], WorkerLostError)
    assert "was lost" in str(call.receiver.outcomes[0])


def test_worker_is_reaped_once(engine):
    call, worker, far = engine.running()
    far.hang_up()
    engine.hear(worker)
    die(engine, worker, 3)
    engine.loop.pass_time(5.0)
    assert len(call.receiver.outcomes) == 1
    assert call.receiver.outcomes[0].exitcode == 3


def test_only_a_worker_that_was_not_told_to_end_is_reported_as_dead(make_engine):
    dead = []
    engine = make_engine(limit=2, on_worker_death=lambda worker, *, is_early: dead.append((worker, is_early)))
    engine.function().seconds = None  # so that each call gets a worker
    one, other = (call.place for call in engine.submit(engine.call(), engine.call()))
    for worker in (one, other):
        (call,) = worker.outstanding.values()
        engine.far(worker).start(call, engine.loop.now)
    engine.tell(other, returned(*other.outstanding.values()))
    engine.supervisor.dismiss(other)
    die(engine, one)
    die(engine, other, 0)
    assert dead == [(one, False)]


def test_worker_that_ends_before_it_has_run_anything_is_reported_as_that(make_engine):
    dead = []
    engine = make_engine(on_worker_death=lambda worker, *, is_early: dead.append(is_early))
    engine.submit(engine.call())
    die(engine, engine.workers[0], 1)
    assert dead == [True]


def test_fork_server_that_dies_costs_what_runs_and_the_next_call_starts_another(engine):
    call, worker, _ = engine.running()
    first = engine.fork_server
    first.is_gone = True
    engine.report()
    assert isinstance(call.receiver.outcomes[0], WorkerLostError)
    assert first.is_closed
    following = engine.submit(engine.call())
    assert engine.fork_server is not first
    assert following.place is not worker


def test_fork_server_that_dies_while_many_workers_start_breaks_nothing(make_engine):
    engine = make_engine(limit=20)
    engine.function().seconds = 10.0  # so that nearly each call has a worker to itself
    calls = [engine.submit(engine.call()) for _ in range(20)]
    assert len(engine.workers) > 5
    engine.report(*((FORKED, worker.id, 4711) for worker in engine.workers))
    engine.fork_server.is_gone = True
    engine.report()
    engine.round()
    assert engine.supervisor.broken is None
    assert engine.workers
    assert [call.receiver.outcomes for call in calls] == [[]] * 20


def test_fork_servers_that_all_die_before_they_fork_break_the_executor(engine):
    call = engine.submit(engine.call())
    for _ in range(5):
        assert call.receiver.outcomes == []
        engine.fork_server.is_gone = True
        engine.report()
        engine.round()
    (error,) = call.receiver.outcomes
    assert isinstance(error, WorkerStartError)
    assert str(error).startswith("the fork server ended 5 times in a row before it had forked a worker;")


def test_forks_that_fail_break_nothing_and_the_next_call_tries_again(engine):
    for _ in range(7):
        call = engine.submit(engine.call())
        engine.report((FAILED, engine.workers[0].id, 11))
        engine.loop.pass_time(0.0)
        assert os.strerror(11) in str(call.receiver.outcomes[0])
    assert engine.supervisor.broken is None
    engine.running()


def test_workers_that_all_end_before_their_first_call_break_the_executor(engine):
    call = engine.submit(engine.call())
    for _ in range(4):
        die(engine, engine.workers[0], 1)
        assert call.receiver.outcomes == []
    die(engine, engine.workers[0], 1)
    (error,) = call.receiver.outcomes
    assert isinstance(error, WorkerStartError)
    assert str(error).startswith("5 workers in a row ended before their first call; the last exited with code 1;")
    assert engine.supervisor.start() is None


def test_workers_that_end_in_the_initializer_are_said_to(make_engine):
    engine = make_engine(initializer=b"init")
    call = engine.submit(engine.call())
    for _ in range(5):
        die(engine, engine.workers[0], 1)
    assert isinstance(call.receiver.outcomes[0], InitializerError)


def test_outcome_between_early_deaths_starts_the_count_again(engine):
    call = engine.submit(engine.call())
    for _ in range(4):
        die(engine, engine.workers[0], 1)
    (worker,) = engine.workers
    engine.far(worker).start(call, engine.loop.now)
    engine.tell(worker, returned(call))
    die(engine, worker, 0)
    call = engine.submit(engine.call())
    for _ in range(4):
        die(engine, engine.workers[0], 1)
    assert engine.supervisor.broken is None


def test_early_deaths_count_by_how_the_workers_ended(engine):
    call = engine.submit(engine.call())
    for exitcode in (-9, -6, 1, -15) * 4:
        die(engine, engine.workers[0], exitcode)
    assert engine.supervisor.broken is None
    die(engine, engine.workers[0], -9)
    (error,) = call.receiver.outcomes
    assert str(error).startswith("17 workers in a row ended before their first call; the last was killed by SIGKILL;")


def test_engine_of_a_client_is_broken_for_a_growing_while_when_its_workers_end_early(engine):
    engine.rounds.forks.is_peer = True
    for more, seconds in ((5, 1.0), (1, 2.0), (1, 4.0)):
        call = engine.submit(engine.call())
        for _ in range(more):
            assert engine.supervisor.broken is None
            die(engine, engine.workers[0], 1)
        assert isinstance(call.receiver.outcomes[0], WorkerStartError)
        engine.loop.pass_time(seconds - 0.1)
        assert engine.supervisor.broken is not None
        engine.loop.pass_time(0.1)
    assert engine.supervisor.broken is None


# -- ending ---------------------------------------------------------------------------------------------------------


def test_worker_that_is_dismissed_has_a_grace_to_exit(engine):
    call, worker, far = engine.running()
    engine.tell(worker, returned(call))
    engine.supervisor.dismiss(worker)
    engine.supervisor.dismiss(worker)
    engine.dispatcher.flush()
    assert far.frames() == [Stop()]
    engine.loop.pass_time(GRACE - 0.1)
    assert engine.killed == []
    engine.loop.pass_time(0.2)
    assert engine.killed == [(worker.id, SIGKILL)]


def test_worker_that_has_exited_in_time_is_not_killed(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, returned(call))
    engine.supervisor.dismiss(worker)
    die(engine, worker, 0)
    engine.loop.pass_time(2 * GRACE)
    assert engine.killed == []


def test_interrupt_cancels_coroutines_and_interrupts_what_runs(make_engine):
    engine = make_engine(limit=1)
    _, worker, far = engine.running()
    coroutine = engine.submit(engine.call(lane=ASYNCIO))
    far.start(coroutine, engine.loop.now)
    far.frames()
    engine.supervisor.interrupt()
    engine.dispatcher.flush()
    assert far.frames() == [Cancel(call=coroutine.number), Stop()]
    assert (worker.id, SIGINT) in engine.killed
    engine.loop.pass_time(INTERRUPT_GRACE + 0.1)
    assert engine.killed[-1] == (worker.id, SIGKILL)


def test_executor_that_is_given_up_fails_all_and_ends_the_workers(engine):
    running, worker, _ = engine.running()
    queued = engine.submit(engine.call())
    coroutine = engine.submit(engine.call(lane=ASYNCIO))
    error = WorkerLostError("it is over")
    engine.supervisor.give_up(error)
    assert [call.receiver.outcomes for call in (running, queued, coroutine)] == [[error]] * 3
    assert engine.killed[-1] == (worker.id, SIGTERM)
    assert len(engine.loop.user_code) == 1  # it is logged
    engine.supervisor.give_up(WorkerLostError("once more"))
    assert engine.supervisor.broken is error


def test_executor_that_is_given_up_quietly_logs_nothing(engine):
    engine.running()
    engine.supervisor.give_up(WorkerLostError("it is over"), quietly=True)
    assert engine.loop.user_code == []


@pytest.mark.parametrize("end", ["close", "forget"])
def test_descriptors_are_closed_at_the_end(engine, end):
    _, worker, _ = engine.running()
    getattr(engine.rounds.forks, end)()
    getattr(engine.supervisor, end)()
    assert worker.sock.fileno() == -1
    assert engine.fork_server.is_closed
