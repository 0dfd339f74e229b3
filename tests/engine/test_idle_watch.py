"""Workers that are idle, by the test's clock."""

from woolexec.core.upkeep import Upkeep
from woolexec.wire.frames import Return, Stop
from woolexec.worker.records import EXITED, FORKED


def idle_engine(make_engine, count, *, timeout=10.0, least=0, **options):
    """An engine whose workers have each run one call."""
    engine = make_engine(limit=count, **options)
    engine.rounds.look_after(Upkeep(idle_timeout=timeout, min_workers=least))
    running = []
    for number in range(count):
        engine.function(f"slow{number}").seconds = None  # so that nothing is sent behind it
        running.append(engine.running(f"slow{number}"))
    engine.fork_server.answers = True
    for call, worker, far in running:
        far.page.set_pid(4000 + worker.id)
        engine.report((FORKED, worker.id, 4000 + worker.id))
        engine.tell(worker, Return(call=(call.number,), seconds=(0.001,), payload=b"value"))
    return engine


def left(engine):
    return [worker for worker in engine.workers if Stop() in engine.far(worker).frames()]


def pass_time(engine, seconds):
    """Let time pass, in rounds of a second."""
    for _ in range(int(seconds)):
        engine.loop.pass_time(1.0)
        engine.round()


def test_idle_workers_leave_and_the_least_number_stays(make_engine):
    engine = idle_engine(make_engine, 3, least=1)
    pass_time(engine, 9.0)
    assert left(engine) == []
    pass_time(engine, 5.0)
    assert len(left(engine)) == 2
    pass_time(engine, 60.0)
    assert left(engine) == []


def test_busy_worker_stays(make_engine):
    engine = idle_engine(make_engine, 2)
    call, worker, _ = engine.running()
    pass_time(engine, 30.0)
    (other,) = left(engine)
    assert other is not worker
    assert call.receiver.outcomes == []


def test_worker_that_got_a_call_under_its_permit_stays(make_engine):
    engine = idle_engine(make_engine, 1, permits=True)
    (worker,) = engine.workers
    pass_time(engine, 8.0)
    assert worker.has_permit
    assert worker.send_directly(engine.call("slow0"))
    pass_time(engine, 30.0)
    assert left(engine) == []


def test_workers_come_back_when_they_are_needed(make_engine):
    engine = idle_engine(make_engine, 1)
    pass_time(engine, 13.0)
    (worker,) = left(engine)
    engine.report((EXITED, worker.id, 0))
    call = engine.submit(engine.call())
    assert call.place.target is not worker
    assert call.receiver.outcomes == []


def test_nobody_looks_while_none_may_leave(make_engine):
    engine = idle_engine(make_engine, 2, least=2)
    engine.loop.timers.clear()
    pass_time(engine, 100.0)
    assert engine.loop.timers == []
    assert left(engine) == []


def test_nothing_is_looked_at_unless_a_time_is_given(make_engine):
    engine = make_engine()
    _, worker, _ = engine.running()
    engine.report((FORKED, worker.id, 4001))
    pass_time(engine, 30.0)
    assert engine.loop.timers == []


def test_call_that_comes_while_an_idle_worker_leaves_does_not_wait_for_its_end(make_engine):
    engine = idle_engine(make_engine, 1)
    pass_time(engine, 14.0)
    (leaving,) = left(engine)  # its finalizer may take long
    call = engine.call("late")
    engine.submit(call)
    engine.round()
    (other,) = [worker for worker in engine.workers if worker is not leaving]
    assert call.place is other
