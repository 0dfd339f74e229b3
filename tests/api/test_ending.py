"""How long `shutdown` waits, and what it does then; `tests/test_executor.py` has the rest."""

import asyncio
import time

import pytest

from tests.faults import tasks
from tests.faults.tasks import SOON, eventually
from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.api import stacks
from woolexec.api.ending import EndingExecutor


def test_shutdown_returns_when_all_is_done_in_time():
    pool = PeerPoolExecutor(1)
    future = pool.submit(tasks.nap, 0.1)
    pool.shutdown(timeout=SOON)
    assert future.done()


def test_shutdown_ends_by_force_what_takes_longer(tmp_path):
    pool = PeerPoolExecutor(1)
    held, waiting = pool.submit(tasks.hold, tmp_path), pool.submit(abs, -1)
    tasks.wait_held(tmp_path)
    with pytest.raises(TimeoutError, match=r"1 tasks ran and 1 waited 0.05 s after shutdown"):
        pool.shutdown(timeout=0.05)
    assert isinstance(held.exception(SOON), WorkerLostError)
    assert waiting.cancelled()
    pool.shutdown(timeout=SOON)  # nothing is left


def test_shutdown_of_an_unused_pool_takes_no_time():
    PeerPoolExecutor(1).shutdown(timeout=0)


def test_timeout_is_for_waiting():
    with PeerPoolExecutor(1) as pool, pytest.raises(ValueError, match="timeout needs wait=True"):
        pool.shutdown(wait=False, timeout=1)


@pytest.mark.slow
def test_worker_that_ignores_the_first_signal_is_killed(tmp_path):
    pool = PeerPoolExecutor(1)
    future = pool.submit(tasks.ignore_and_nap, str(tmp_path / "pid"))
    assert eventually(lambda: tasks.notes(str(tmp_path / "pid")))
    with pytest.raises(TimeoutError):
        pool.shutdown(timeout=0.05)
    assert isinstance(future.exception(SOON), WorkerLostError)


def test_what_is_ended_is_counted_by_tasks(tmp_path):
    pool = PeerPoolExecutor(1)
    held = pool.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    pool.submit(abs, held)
    items = pool.map(abs, range(50), chunksize=10)
    with pytest.raises(TimeoutError, match=r"^1 tasks ran and 51 waited 0.05 s after "):
        pool.shutdown(timeout=0.05)
    assert isinstance(held.exception(SOON), WorkerLostError)
    del items


def test_asynchronous_shutdown_keeps_the_loop_running(tmp_path):
    async def main():
        pool = PeerPoolExecutor(1)
        future = pool.submit(tasks.nap, 0.1)
        await pool.shutdown_async(timeout=SOON)
        assert future.done()
        pool = PeerPoolExecutor(1)
        held = pool.with_options(name="held").submit(tasks.hold, tmp_path)
        await asyncio.to_thread(tasks.wait_held, tmp_path)
        ticks = asyncio.create_task(tick())
        with pytest.raises(TimeoutError, match="were ended by force"):
            await pool.with_options(timeout=1000).shutdown_async(timeout=0.3)
        ticks.cancel()
        assert isinstance(held.exception(SOON), WorkerLostError)
        assert len(counted) > 3

    counted = []

    async def tick():
        while True:
            counted.append(time.monotonic())
            await asyncio.sleep(0.01)

    asyncio.run(main())


class Engine:
    """Counts what it is told."""

    def __init__(self):
        self.interrupts = 0

    def shutdown(self, *, wait, cancel):
        assert cancel
        assert not wait

    def interrupt(self):
        self.interrupts += 1


@pytest.fixture
def pool():
    pool = EndingExecutor()
    pool._engine = Engine()
    return pool


def test_tasks_are_interrupted_after_it_was_said_where_they_were(pool, monkeypatch):
    error, said = KeyboardInterrupt(), []
    monkeypatch.setattr(stacks, "note_what_runs", lambda *about: said.append((*about, pool._engine.interrupts)))

    pool._interrupt(error)

    assert said == [(pool._engine, error, 0)]
    assert pool._engine.interrupts == 1


def test_second_interrupt_meanwhile_keeps_nothing_from_the_tasks(pool, monkeypatch):
    def interrupted(_engine, _error):
        raise KeyboardInterrupt

    monkeypatch.setattr(stacks, "note_what_runs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool._interrupt(KeyboardInterrupt())

    assert pool._engine.interrupts == 1


def test_cancellation_says_nothing_about_tasks(pool, monkeypatch):
    monkeypatch.delattr(stacks, "note_what_runs")

    pool._interrupt(RuntimeError())

    assert pool._engine.interrupts == 1
