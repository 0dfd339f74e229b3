import threading
from contextvars import ContextVar

import anyio
import pytest

from woolexec.api.background import Background
from woolexec.futures.loop_waiters import checkpoint

SOON = 20
color = ContextVar("color", default="none")


class Work:
    """Runs until it is cancelled."""

    def __init__(self):
        self.steps = []
        self.began = anyio.Event()
        self.go_on = anyio.Event()

    async def __call__(self):
        self.steps.append(f"began with {color.get()}")
        self.began.set()
        try:
            await self.go_on.wait()
            self.steps.append("done")
        finally:
            self.steps.append("ended")


async def begin(work):
    with anyio.CancelScope():  # which ends before the task does
        background = Background(work)
        await work.began.wait()
    return background


def test_task_outlives_the_call_that_started_it_and_has_its_context(run):
    async def body():
        work = Work()
        token = color.set("red")
        background = await begin(work)
        color.reset(token)
        await checkpoint()
        assert work.steps == ["began with red"]
        work.go_on.set()
        while len(work.steps) < 3:
            await checkpoint()
        assert work.steps[1:] == ["done", "ended"]
        await background.stop()

    run(body)


def test_stop_cancels_the_task_and_waits_for_its_end(run):
    async def body():
        work = Work()
        background = await begin(work)

        await background.stop()

        assert work.steps == ["began with none", "ended"]
        assert background._ended.is_open  # the wait was not given up
        await background.stop()  # again

    run(body)


def test_task_that_was_stopped_before_it_began_has_ended(run):
    async def body():
        work = Work()
        background = Background(work)
        await background.stop()
        assert background._ended.is_open
        assert "done" not in work.steps

    run(body)


def test_task_may_be_cancelled_from_another_thread(run):
    async def body():
        work = Work()
        background = await begin(work)
        thread = threading.Thread(target=background.cancel)
        thread.start()
        with anyio.fail_after(SOON):
            while "ended" not in work.steps:
                await checkpoint()
        thread.join(SOON)
        assert "done" not in work.steps

    run(body)


def test_outside_of_a_loop_no_task_can_be_started():
    with pytest.raises(RuntimeError, match="no running event loop"):
        Background(Work)
