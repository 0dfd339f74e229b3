"""
A limit for the unfinished tasks of a pool, and the line of threads and tasks that wait to submit more.

::

    submit, map --enter--> counted --outcome--> leave --> the next in line enters
                  `-- in line, while the gate is full

Guarantees:
1. Waiters enter in the order of the line.  One that submits many tasks enters when these fit, or when none is
   unfinished.
2. Every wait ends: with an outcome of another task, with `close` (the pool is shut down), or with an exception in the
   waiting thread or task, which then leaves the line.  A broken pool fails all its tasks, so they leave the gate.
3. A thread that runs done-callbacks never waits, because outcomes may need it.  Nested tasks never wait either: other
   processes submit them.
"""

from __future__ import annotations

import threading
from collections import deque

from woolexec.engine.dispatcher import FORKED_CHILD
from woolexec.errors import PoolFullError
from woolexec.futures.delivery import Quick
from woolexec.futures.loop_waiters import make_waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any, TypeVar

    from woolexec.futures.latch import Sleeper

    T = TypeVar("T")


class _Turn:
    """A place in the line."""

    __slots__ = ("count", "has_entered", "sleeper")

    def __init__(self, count: int, sleeper: Sleeper) -> None:
        self.count, self.sleeper = count, sleeper
        self.has_entered = False


class _Leave(Quick):
    """The callback of a counted future."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def at_once(self, future: Future[Any]) -> bool:
        self._gate.leave()
        return True

    def __call__(self, future: Future[Any]) -> None:
        self._gate.leave()


class _Here(threading.local):
    entered = 0
    """Number of tasks that have entered and that this thread is about to submit."""


class Gate:
    """
    Counts the unfinished tasks of one pool; any thread may use it.

    :param limit: maximum number of them
    :param is_forked: returns whether this is a copy in a forked child, where no task ever ends
    """

    def __init__(self, limit: int, is_forked: Callable[[], bool] = bool) -> None:
        self.limit: int = limit
        self._is_forked = is_forked
        self.leaver: Quick = _Leave(self)
        self._count = 0
        self._line: deque[_Turn] = deque()
        self._is_closed = False
        self._lock = threading.RLock()  # guards the count and the line; a signal handler may submit
        self._here = _Here()

    @property
    def count(self) -> int:
        """The number of unfinished tasks."""
        return self._count

    # -- entering -----------------------------------------------------------------------------------------------

    def enter(self, count: int = 1) -> None:
        """
        Count tasks that are about to be submitted; wait while too many are unfinished.

        :raises PoolFullError: instead of waiting, if an event loop runs in this thread
        :raises RuntimeError: instead of waiting, in a forked child
        """
        if self._here.entered:
            self._here.entered -= 1
            return
        if self.try_to_enter(count):
            return
        if self._is_forked():
            raise RuntimeError(FORKED_CHILD)
        if getattr(threading.current_thread(), "woolexec_relay", None) is not None:
            self._enter_in_any_case(count)
            return
        try:
            make_waiter()
        except RuntimeError:
            pass
        else:
            raise PoolFullError(
                f"{self._count} tasks are unfinished, which is max_outstanding={self.limit}, and waiting here would "
                "block the event loop: use `await pool.run(...)` or map_async"
            )
        sleeper = threading.Lock()  # held until it is this thread's turn
        sleeper.acquire()
        turn = _Turn(count, sleeper)
        try:
            if self._line_up(turn):
                sleeper.acquire()
        except BaseException:  # Ctrl-C, also before it sleeps
            self._leave_line(turn)
            raise

    async def enter_async(self, count: int = 1) -> None:
        """Like `enter`, for a task of an event loop: waits without blocking the loop."""
        if self.try_to_enter(count):
            return
        if self._is_forked():
            raise RuntimeError(FORKED_CHILD)
        waiter = make_waiter()
        turn = _Turn(count, waiter)
        try:
            if self._line_up(turn):
                await waiter.wait()
        except BaseException:
            self._leave_line(turn)
            raise

    def entered(self, start: Callable[[], T], count: int = 1) -> T:
        """Call a function that submits tasks that have entered; those that it does not submit leave the gate."""
        here = self._here
        before, here.entered = here.entered, count
        try:
            return start()
        finally:
            left, here.entered = here.entered, before
            if left:
                self.leave(left)

    def try_to_enter(self, count: int) -> bool:
        """Count tasks and return True, unless too many are unfinished or others wait."""
        with self._lock:
            may = self._is_closed or (not self._line and self._fits(count))
            if may:
                self._count += count
            return may

    def enter_some(self, most: int, wake: Callable[[], object]) -> int:
        """
        Count as many tasks as there is room for.

        :param wake: if there is no room now, called once when there is
        :return: the number of tasks counted
        """
        with self._lock:
            count = most if self._is_closed else 0 if self._line else max(0, min(most, self.limit - self._count))
            self._count += count
            if not count:
                self._line.append(_Turn(0, _Waking(wake)))
            return count

    def _fits(self, count: int) -> bool:
        return self._count + max(1, count) <= self.limit or not self._count

    def _enter_in_any_case(self, count: int) -> None:
        with self._lock:
            self._count += count

    def _line_up(self, turn: _Turn) -> bool:
        """Let a waiter in, or put it into the line; return whether it must wait."""
        with self._lock:
            turn.has_entered = self.try_to_enter(turn.count)
            if not turn.has_entered:
                self._line.append(turn)
            return not turn.has_entered

    # -- leaving ------------------------------------------------------------------------------------------------

    def leave(self, count: int = 1) -> None:
        """Note that tasks have ended; let others enter, and wake them."""
        with self._lock:
            self._count -= count
            turns = self._let_in()
        for turn in turns:
            turn.sleeper.release()

    def _let_in(self) -> list[_Turn]:
        turns = []
        while self._line and (self._is_closed or self._fits(self._line[0].count)):
            turn = self._line.popleft()
            turn.has_entered = True
            self._count += turn.count
            turns.append(turn)
        return turns

    def _leave_line(self, turn: _Turn) -> None:
        """Give up a wait; others may be next now."""
        with self._lock:
            count = turn.count if turn.has_entered else 0
            if turn in self._line:  # else it was interrupted before it stood there
                self._line.remove(turn)
        self.leave(count)

    def close(self) -> None:
        """Let all waiters in, because the pool accepts no more tasks and refuses what they submit."""
        with self._lock:
            self._is_closed = True
        self.leave(0)


class _Waking:
    """A sleeper that is a function."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake

    def release(self) -> None:
        self._wake()
