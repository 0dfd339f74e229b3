"""Workers whose memory the test sets."""

import pytest

from woolexec import WorkerMemoryError
from woolexec.core.call import ASYNCIO
from woolexec.core.memory_limits import LONGEST, SHARE, SHORTEST, MemoryLimits
from woolexec.core.upkeep import Upkeep
from woolexec.engine import memory_watch
from woolexec.platform import memory
from woolexec.platform.posix import SIGKILL
from woolexec.wire.frames import Recall, Recalled, Return, Stop
from woolexec.worker.records import EXITED, FORKED

MIB = 1 << 20


@pytest.fixture
def sizes(monkeypatch):
    """The memory of each process, by its id; asking for a list of those that were looked at."""
    sizes, looked = {}, []

    def resident(pid):
        looked.append(pid)
        return (sizes[pid], 0) if pid in sizes else None

    monkeypatch.setattr(memory, "resident", resident)
    monkeypatch.setattr(memory, "memory_of_group", lambda: None)
    monkeypatch.setattr(memory, "reached_limit", lambda: 0)
    sizes["looked"] = looked
    return sizes


@pytest.fixture
def looked_after(make_engine, sizes):
    def make(limit=1, *, replace_above=None, end_above=None):
        engine = make_engine(limit=limit)
        engine.rounds.look_after(Upkeep(MemoryLimits(replace_above, end_above)))
        return engine

    return make


def grow(engine, worker, sizes, size):
    """Give a worker this much memory, and let the engine look."""
    if worker.pid is None:
        engine.report((FORKED, worker.id, 4000 + worker.id))
    sizes[worker.pid] = size
    engine.loop.pass_time(LONGEST)
    engine.round()


def running_each(engine, count):
    """Have each of several workers run a call."""
    found = []
    for number in range(count):
        engine.function(f"slow{number}").seconds = None  # so that nothing is sent behind it
        found.append(engine.running(f"slow{number}"))
    assert len({worker for _, worker, _ in found}) == count
    return found


def returned(call):
    return Return(call=(call.number,), seconds=(0.001,), payload=b"value")


def test_worker_with_too_much_memory_is_replaced_after_its_call(looked_after, sizes):
    engine = looked_after(replace_above=100 * MIB)
    call, worker, far = engine.running()
    behind = engine.submit(engine.call())
    assert behind.place is worker
    grow(engine, worker, sizes, 101 * MIB)
    assert behind.place is None
    far.frames()
    engine.tell(worker, returned(call))
    assert call.receiver.outcomes == [b"value"]
    assert Stop() in far.frames()
    (other,) = [each for each in engine.workers if each is not worker]
    assert behind.place is other  # which was started before the other one had ended
    assert engine.killed == []


def test_worker_that_is_idle_when_it_is_looked_at_is_replaced_at_once(looked_after, sizes):
    engine = looked_after(replace_above=100 * MIB)
    call, worker, far = engine.running()
    engine.tell(worker, returned(call))
    grow(engine, worker, sizes, 101 * MIB)
    assert Stop() in far.frames()


def test_worker_that_needs_more_than_the_limit_to_start_runs_a_call_before_it_is_replaced(looked_after, sizes):
    engine = looked_after(replace_above=100 * MIB)
    call = engine.submit(engine.call())
    worker = call.place
    grow(engine, worker, sizes, 101 * MIB)
    assert call.place is worker  # else none would ever run anything


def test_worker_below_the_limit_stays(looked_after, sizes):
    engine = looked_after(replace_above=100 * MIB, end_above=200 * MIB)
    call, worker, far = engine.running()
    grow(engine, worker, sizes, 100 * MIB)
    engine.tell(worker, returned(call))
    assert far.frames() == []
    assert engine.submit(engine.call()).place is worker


def test_call_of_a_worker_above_the_memory_limit_is_ended_and_told_the_figures(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    call, worker, _ = engine.running()
    grow(engine, worker, sizes, 201 * MIB)
    assert engine.killed == [(worker.id, SIGKILL)]
    engine.report((EXITED, worker.id, -SIGKILL))
    (error,) = call.receiver.outcomes
    assert isinstance(error, WorkerMemoryError)
    assert "was ended by the pool while running f" in str(error)
    assert "it had 201 MiB of memory (201 MiB resident), more than memory_limit=200 MiB" in str(error)
    assert (error.task, error.exitcode) == ("f", -SIGKILL)


def test_call_behind_the_one_that_is_ended_runs_elsewhere(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    call, worker, _ = engine.running()
    behind = engine.submit(engine.call())
    grow(engine, worker, sizes, 201 * MIB)
    engine.report((EXITED, worker.id, -SIGKILL))
    engine.round()
    assert len(call.receiver.outcomes) == 1
    assert behind.receiver.outcomes == []
    assert behind.place.target is not worker


def test_retries_apply_as_for_lost_workers(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    call, worker, _ = engine.running(retries=1)
    grow(engine, worker, sizes, 201 * MIB)
    engine.report((EXITED, worker.id, -SIGKILL))
    engine.round()
    assert call.receiver.outcomes == []
    assert call.place.target is not worker


def test_call_that_ends_at_that_moment_has_its_value_and_its_worker_is_replaced(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    call, worker, far = engine.running()
    far.say(returned(call))  # not read yet
    grow(engine, worker, sizes, 201 * MIB)
    assert call.receiver.outcomes == [b"value"]
    assert engine.killed == []
    assert Stop() in far.frames()


def test_call_that_may_have_been_started_meanwhile_is_not_lost_without_a_word(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    first, worker, far = engine.running()
    second = engine.submit(engine.call())
    far.say(returned(first))
    far.start(second, engine.loop.now)  # before it could see the recall
    grow(engine, worker, sizes, 201 * MIB)
    engine.report((EXITED, worker.id, -SIGKILL))
    assert first.receiver.outcomes == [b"value"]
    (error,) = second.receiver.outcomes
    assert isinstance(error, WorkerMemoryError)


def test_replaced_worker_gives_back_what_it_has_not_started(looked_after, sizes):
    engine = looked_after(replace_above=100 * MIB)
    first, worker, far = engine.running()
    second = engine.submit(engine.call())
    grow(engine, worker, sizes, 101 * MIB)
    assert Recall in [frame.__class__ for frame in far.frames()]
    engine.tell(worker, returned(first), Recalled())
    assert Stop() in far.frames()
    assert second.place.target is not worker


def test_coroutines_end_before_their_worker_is_replaced(looked_after, sizes):
    engine = looked_after(replace_above=100 * MIB)
    call, worker, far = engine.coroutine()
    grow(engine, worker, sizes, 101 * MIB)
    assert Stop() not in far.frames()
    other = engine.submit(engine.call(lane=ASYNCIO))
    assert other.place is None or other.place.target is not worker
    engine.tell(worker, returned(call))
    assert Stop() in far.frames()


def test_idle_worker_is_looked_at_once_after_its_call(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    call, worker, _ = engine.running()
    grow(engine, worker, sizes, MIB)
    engine.tell(worker, returned(call))
    engine.loop.pass_time(2 * LONGEST)
    sizes["looked"].clear()
    engine.loop.pass_time(20 * LONGEST)
    assert sizes["looked"] == []
    engine.running()
    engine.loop.pass_time(2 * LONGEST)
    assert worker.pid in sizes["looked"]


def test_worker_close_to_its_limit_is_looked_at_more_often(looked_after, sizes):
    engine = looked_after(limit=2, end_above=1 << 30)
    (_, far_off, _), (_, close, _) = running_each(engine, 2)
    grow(engine, far_off, sizes, MIB)
    grow(engine, close, sizes, (1 << 30) - MIB)
    sizes["looked"].clear()
    engine.loop.pass_time(2 * LONGEST)
    assert sizes["looked"].count(close.pid) > 2 * sizes["looked"].count(far_off.pid) > 0


def test_walk_that_takes_long_delays_the_next_walk_and_no_look(looked_after, monkeypatch):
    engine = looked_after(end_above=200 * MIB)
    own, walks = [150 * MIB], []
    monkeypatch.setattr(memory, "resident", lambda pid: (own[0] + 60 * MIB, 60 * MIB))
    monkeypatch.setattr(memory, "proportional", lambda pid: walks.append(pid) or own[0] + 30 * MIB)
    monkeypatch.setattr(memory_watch, "thread_time", lambda: 0.1 * len(walks))  # each takes that long
    _, worker, _ = engine.running()
    grow(engine, worker, {}, 0)
    assert len(walks) == 1
    engine.loop.pass_time(0.1 * SHARE - 0.5)
    assert len(walks) == 1
    engine.loop.pass_time(1.0)
    assert (len(walks), engine.killed) == (2, [])
    own[0] = 201 * MIB
    engine.loop.pass_time(2 * SHORTEST)
    assert (len(walks), engine.killed) == (2, [(worker.id, SIGKILL)])


def test_largest_busy_worker_is_ended_when_the_cgroup_is_full(looked_after, sizes, monkeypatch):
    engine = looked_after(limit=2, end_above=1 << 30)
    (small, _, _), (large, worker, _) = running_each(engine, 2)
    grow(engine, small.place, sizes, 10 * MIB)
    grow(engine, worker, sizes, 500 * MIB)
    monkeypatch.setattr(memory, "memory_of_group", lambda: memory.Memory(600 * MIB, 590 * MIB, 0))
    grow(engine, worker, sizes, 500 * MIB)
    assert engine.killed == [(worker.id, SIGKILL)]
    engine.report((EXITED, worker.id, -SIGKILL))
    (error,) = large.receiver.outcomes
    assert isinstance(error, WorkerMemoryError)
    assert "and the cgroup 590 MiB of 600 MiB" in str(error)
    assert small.receiver.outcomes == []


def test_cgroup_whose_processes_wait_for_memory_is_full_earlier(looked_after, sizes, monkeypatch):
    engine = looked_after(end_above=1 << 30)
    call, worker, _ = engine.running()
    waited = []

    def group(share):
        waited.append(engine.loop.now * share)
        return memory.Memory(600 * MIB, 500 * MIB, 0, 100.0 + waited[-1])

    monkeypatch.setattr(memory, "memory_of_group", lambda: group(0.1))
    grow(engine, worker, sizes, 450 * MIB)
    grow(engine, worker, sizes, 450 * MIB)
    grow(engine, worker, sizes, 450 * MIB)
    assert (engine.killed, len(waited) > 2) == ([], True)
    monkeypatch.setattr(memory, "memory_of_group", lambda: group(0.9))
    grow(engine, worker, sizes, 450 * MIB)
    grow(engine, worker, sizes, 450 * MIB)
    assert engine.killed == [(worker.id, SIGKILL)]
    engine.report((EXITED, worker.id, -SIGKILL))
    assert isinstance(call.receiver.outcomes[0], WorkerMemoryError)


def test_nobody_looks_while_there_are_no_workers(looked_after, sizes):
    engine = looked_after(end_above=200 * MIB)
    _, worker, _ = engine.running()
    grow(engine, worker, sizes, MIB)
    engine.report((EXITED, worker.id, -SIGKILL))
    engine.loop.pass_time(30.0)  # longer than what the fork server is given
    assert engine.loop.timers == []
    engine.running()
    assert engine.loop.timers != []
