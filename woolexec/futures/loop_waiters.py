"""
Waiting in tasks of asyncio and trio for results from the engine's thread.

::

    engine's thread --release--> mailbox of the loop --one wake-up per burst--> the loop: each waiting task continues

Several loops in several threads may wait at once; each has its own mailbox.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable

from woolexec.futures.latch import Latch
from woolexec.imported import imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Protocol

    class Waiter(Protocol):
        """One wait of one task."""

        def release(self) -> None:
            """End the wait; from any thread, before or while the task waits."""

        def wait(self) -> Awaitable[Any]:
            """Return an awaitable that finishes when the waiter is released."""


_here = threading.local()


class Mailbox:
    """Released waiters that their loop has not woken yet."""

    def __init__(self, loop: Any, *, is_trio: bool) -> None:
        self._loop = weakref.ref(loop)  # the thread must not keep a loop alive that has ended
        self.is_trio = is_trio
        self._line: deque[Callable[[], object]] = deque()
        self._called = False

    def put(self, wake: Callable[[], object]) -> None:
        """Call a function in the loop's thread; from any thread."""
        self._line.append(wake)
        if not self._called:
            self._called = True
            loop = self._loop()
            if loop is None:
                return
            with contextlib.suppress(RuntimeError):  # the loop has been closed, so no task waits any more
                if self.is_trio:
                    loop.run_sync_soon(self._deliver)
                else:
                    loop.call_soon_threadsafe(self._deliver)

    @property
    def loop(self) -> Any:
        """The event loop, or trio's token."""
        return self._loop()

    def _deliver(self) -> None:
        self._called = False
        line = self._line
        while line:
            line.popleft()()


class _AsyncioWaiter:
    __slots__ = ("_future", "_mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._future: asyncio.Future[None] = mailbox.loop.create_future()

    def release(self) -> None:
        self._mailbox.put(self._wake)

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Awaitable[Any]:
        return self._future


class _TrioWaiter:
    __slots__ = ("_event", "_mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._event = sys.modules["trio"].Event()  # set in the loop, to wake the waiting task

    def release(self) -> None:
        self._mailbox.put(self._event.set)

    def wait(self) -> Awaitable[Any]:
        return self._event.wait()  # type: ignore[no-any-return]  # trio may not be installed


def mailbox_here() -> Mailbox:
    """
    Return the mailbox of the running loop.

    :raises RuntimeError: outside of an event loop
    """
    mailbox: Mailbox | None = getattr(_here, "mailbox", None)
    token = trio_token()
    if token is not None:
        if mailbox is None or mailbox.loop is not token:
            mailbox = _here.mailbox = Mailbox(token, is_trio=True)
        return mailbox
    asyncio = imported("asyncio")
    if asyncio is None:
        raise RuntimeError("no running event loop")
    loop = asyncio.get_running_loop()
    if mailbox is None or mailbox.loop is not loop:
        mailbox = _here.mailbox = Mailbox(loop, is_trio=False)
    return mailbox


def trio_token() -> Any:
    """Return the token of the trio run in this thread; None if there is none."""
    trio = imported("trio")
    if trio is None:
        return None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:  # trio does not run here
        return None


def make_waiter() -> Waiter:
    """
    Create a waiter for the running task.

    :raises RuntimeError: outside of an event loop
    """
    mailbox = mailbox_here()
    return _TrioWaiter(mailbox) if mailbox.is_trio else _AsyncioWaiter(mailbox)


async def see(latch: Latch, timeout: float | None) -> bool:  # noqa: ASYNC109  # shielded, unlike the caller's scope
    """Wait up to `timeout` seconds for a latch, even in a cancelled task; return whether the latch is open."""
    import anyio

    waiter = make_waiter()
    if latch.add(waiter):
        with anyio.move_on_after(timeout, shield=True):
            await waiter.wait()
        latch.remove(waiter)
    return latch.is_open


async def join(wait: Callable[[], None], interrupt: Callable[[], None]) -> None:
    """
    Run a blocking function in a new thread, to its end.

    :param interrupt: called if the wait is cancelled, to make the function end soon
    """
    ended = Latch()  # opens when the function has returned

    def run() -> None:
        try:
            wait()
        finally:
            ended.open()

    threading.Thread(target=run, name="woolexec-join", daemon=True).start()
    waiter = make_waiter()
    try:
        if ended.add(waiter):
            await waiter.wait()
    except BaseException:
        ended.remove(waiter)
        interrupt()
        await see(ended, None)
        raise


def is_cancellation(cls: type[BaseException]) -> bool:
    """Return whether the running loop cancels tasks with an exception of this class."""
    if mailbox_here().is_trio:
        return issubclass(cls, sys.modules["trio"].Cancelled)
    return issubclass(cls, sys.modules["asyncio"].CancelledError)


async def checkpoint() -> None:
    """
    Let other tasks run, and let a pending cancellation take effect.

    :raises RuntimeError: outside of an event loop
    """
    mailbox_here()  # raises the same as anyio, whose message changes with its version
    from anyio.lowlevel import checkpoint

    await checkpoint()
