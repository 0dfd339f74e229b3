"""The gate alone: which threads wait, in which order, and what ends each wait."""

import asyncio
import random
import sys
import threading
from collections import deque
from contextlib import contextmanager

import pytest

from woolexec import PoolFullError
from woolexec.api.gate import Gate

SOON = 30


@contextmanager
def waiting(gate, *counts):
    """Threads that enter a gate, each begun when the one before waits; gives the list of those that have entered."""
    entered, threads = [], []
    for number, count in enumerate(counts):

        def enter(number=number, count=count):
            gate.enter(count)
            entered.append(number)

        threads.append(threading.Thread(target=enter))
        before = len(gate._line)
        threads[-1].start()
        while len(gate._line) == before and number not in entered:
            pass
    yield entered
    gate.close()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


def until(condition):
    while not condition():
        pass


def test_as_many_enter_as_there_is_room_for():
    gate = Gate(3)
    gate.enter(2)
    gate.enter(1)
    assert gate.count == 3
    assert not gate.try_to_enter(1)
    gate.leave()
    assert gate.try_to_enter(1)


def test_waiting_threads_enter_in_their_order():
    gate = Gate(2)
    gate.enter(2)
    with waiting(gate, 1, 1, 1) as entered:
        gate.leave()
        until(lambda: entered == [0])
        assert gate.count == 2
        gate.leave()
        until(lambda: entered == [0, 1])
        gate.leave()
        until(lambda: entered == [0, 1, 2])


def test_nobody_passes_one_that_waits_for_more():
    gate = Gate(3)
    gate.enter(2)
    with waiting(gate, 2) as entered:
        assert not gate.try_to_enter(1)
        assert gate.enter_some(1, lambda: None) == 0
        gate.leave()
        until(lambda: entered == [0])


def test_more_than_the_limit_enter_when_nothing_is_unfinished():
    gate = Gate(3)
    assert gate.try_to_enter(10)
    with waiting(gate, 7) as entered:
        gate.leave(9)
        assert entered == []
        gate.leave()
        until(lambda: entered == [0])


def test_closing_lets_everybody_in():
    gate = Gate(1)
    gate.enter()
    with waiting(gate, 1, 5, 1) as entered:
        gate.close()
        until(lambda: sorted(entered) == [0, 1, 2])
        gate.enter(100)


def test_thread_of_callbacks_never_waits():
    gate = Gate(1)
    gate.enter()
    thread = threading.Thread(target=gate.enter)
    thread.woolexec_relay = object()
    thread.start()
    thread.join(SOON)
    assert gate.count == 2


class Interrupting(deque):
    """A line in which Ctrl-C comes before whoever is new there sleeps."""

    def append(self, turn):
        super().append(turn)
        raise KeyboardInterrupt


def test_interrupt_before_the_wait_leaves_nobody_in_the_line():
    gate = Gate(1)
    gate.enter()
    gate._line = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        gate.enter()
    assert not gate._line
    gate.leave()
    assert gate.count == 0


def test_event_loop_is_told_instead_of_stopped():
    async def main():
        gate = Gate(1)
        gate.enter()
        with pytest.raises(PoolFullError, match="1 tasks are unfinished, which is max_outstanding=1"):
            gate.enter()
        assert gate.count == 1

    asyncio.run(main())


def test_tasks_wait_in_their_order_and_leave_the_line_when_they_are_cancelled():
    async def main():
        gate, entered = Gate(1), []

        async def enter(number):
            await gate.enter_async()
            entered.append(number)

        await enter(0)
        tasks = [asyncio.create_task(enter(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        gate.leave()
        await tasks[0]
        gate.leave()
        await tasks[2]
        assert entered == [0, 1, 3]
        assert gate.count == 1

    asyncio.run(main())


def test_task_that_is_cancelled_when_it_has_just_entered_leaves_again():
    async def main():
        gate = Gate(1)
        gate.enter()
        task = asyncio.create_task(gate.enter_async())
        await asyncio.sleep(0)
        gate.leave()  # it has entered, and its loop has not woken it
        task.cancel()
        await asyncio.wait([task])
        assert gate.count == 0

    asyncio.run(main())


def test_tasks_that_have_entered_and_are_not_submitted_leave():
    gate = Gate(5)
    gate.enter(3)
    gate.entered(gate.enter, 3)  # submits one of them
    assert gate.count == 1
    with pytest.raises(ZeroDivisionError):
        gate.entered(lambda: 1 / 0)
    assert gate.count == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_history_exceeds_the_limit_or_leaves_anybody_behind(seed):
    chance = random.Random(seed)
    limit = chance.randrange(1, 6)
    gate = Gate(limit)
    plans = [[chance.randrange(1, limit + 1) for _ in range(30)] for _ in range(4)]
    most, entered = [], []
    guard = threading.Lock()  # guards the lists

    def work(plan):
        for count in plan:
            gate.enter(count)
            with guard:
                entered.append(count)
                most.append(sum(entered))
            with guard:
                entered.remove(count)
            gate.leave(count)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(before)
    assert max(most) <= limit
    assert gate.count == 0
