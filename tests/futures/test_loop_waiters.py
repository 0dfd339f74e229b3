import asyncio
import gc
import threading

import anyio
import pytest

from woolexec.futures.latch import Latch
from woolexec.futures.loop_waiters import (
    Mailbox,
    checkpoint,
    is_cancellation,
    join,
    mailbox_here,
    make_waiter,
    see,
    trio_token,
)

SOON = 20


class Loop:
    """An event loop that keeps what it is to call."""

    def __init__(self):
        self.called = []
        self.is_closed = False

    def call_soon_threadsafe(self, piece):
        if self.is_closed:
            raise RuntimeError("Event loop is closed")
        self.called.append(piece)

    run_sync_soon = call_soon_threadsafe


# -- mailboxes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_trio", [True, False])
def test_loop_is_woken_once_for_a_burst(is_trio):
    loop, got = Loop(), []
    mailbox = Mailbox(loop, is_trio=is_trio)

    for number in range(3):
        mailbox.put(lambda number=number: got.append(number))
    [deliver] = loop.called
    deliver()

    assert got == [0, 1, 2]


def test_what_comes_during_a_delivery_is_delivered_and_the_loop_may_be_woken_again():
    loop, got = Loop(), []
    mailbox = Mailbox(loop, is_trio=False)
    mailbox.put(lambda: mailbox.put(lambda: got.append("late")))

    for deliver in loop.called:  # grows meanwhile
        deliver()

    assert got == ["late"]


def test_waiter_of_a_loop_that_is_closed_or_gone_is_dropped():
    loop, got = Loop(), []
    mailbox = Mailbox(loop, is_trio=False)
    loop.is_closed = True
    mailbox.put(lambda: got.append(1))
    other = Mailbox(Loop(), is_trio=False)
    gc.collect()

    assert other.loop is None
    other.put(lambda: got.append(2))
    assert got == []


def test_loop_has_one_mailbox_and_another_loop_another(run):
    async def body():
        mailbox = mailbox_here()
        await checkpoint()
        assert mailbox_here() is mailbox
        assert mailbox.is_trio is (trio_token() is not None)
        return mailbox

    assert run(body) is not run(body)


def test_outside_of_a_loop_there_is_none():
    for ask in (mailbox_here, make_waiter, lambda: checkpoint().send(None), lambda: is_cancellation(ValueError)):
        with pytest.raises(RuntimeError, match="no running event loop"):
            ask()
    assert trio_token() is None


# -- waiters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "while"])
def test_waiter_is_released_before_or_while_its_task_waits(run, when):
    async def body():
        waiter = make_waiter()
        thread = threading.Thread(target=waiter.release)
        if when == "before":
            thread.start()
            thread.join(SOON)
        else:
            mailbox_here().put(thread.start)
        with anyio.fail_after(SOON):
            await waiter.wait()
        thread.join(SOON)

    run(body)


def test_waiter_may_be_released_again_and_after_its_wait_was_cancelled(run):
    async def body():
        for _ in range(2):
            waiter = make_waiter()
            with anyio.move_on_after(0):
                await waiter.wait()
            waiter.release()
            waiter.release()
            await checkpoint()
            await checkpoint()

    run(body)


# -- waiting for latches and threads ----------------------------------------------------------------------------------


def test_open_latch_is_seen_at_once_and_a_closed_one_not_in_time(run):
    async def body():
        latch = Latch()
        assert not await see(latch, 0)
        assert latch._sleepers == []
        latch.open()
        assert await see(latch, 0)

    run(body)


def test_latch_is_seen_in_a_task_that_has_been_cancelled(run):
    async def body():
        latch, seen = Latch(), []
        with anyio.CancelScope() as scope:
            scope.cancel()
            mailbox_here().put(latch.open)
            seen.append(await see(latch, SOON))
        assert seen == [True]

    run(body)


def test_function_that_blocks_runs_to_its_end_in_a_thread_of_its_own(run):
    async def body():
        names = []
        await join(lambda: names.append(threading.current_thread().name), lambda: names.append("interrupted"))
        assert names == ["woolexec-join"]

    run(body)


def test_cancelled_join_interrupts_the_function_and_waits_for_its_end(run):
    async def body():
        interrupted, steps = threading.Event(), []

        def wait():
            assert interrupted.wait(SOON)
            steps.append("ended")

        def interrupt():
            steps.append("interrupted")
            interrupted.set()

        with anyio.CancelScope() as scope:
            mailbox_here().put(scope.cancel)
            await join(wait, interrupt)
        assert scope.cancelled_caught
        assert steps == ["interrupted", "ended"]

    run(body)


def test_join_ends_when_the_function_raises(run, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_type))

    async def body():
        with anyio.fail_after(SOON):
            await join(lambda: 1 // 0, lambda: None)

    run(body)
    assert raised == [ZeroDivisionError]


def test_cancellation_is_that_of_the_running_loop(run):
    async def body():
        assert is_cancellation(anyio.get_cancelled_exc_class())
        assert not is_cancellation(ValueError)
        assert is_cancellation(asyncio.CancelledError) is not mailbox_here().is_trio

    run(body)


def test_checkpoint_lets_other_tasks_run_and_a_cancellation_take_effect(run):
    async def body():
        steps = []

        async def other():
            steps.append("other")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            while not steps:
                await checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
            steps.append("went on")
        assert steps == ["other"]

    run(body)
