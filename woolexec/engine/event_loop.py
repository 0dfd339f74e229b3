"""
The engine's thread: how others reach it, what it sleeps on, its timers, and where user code goes instead.

Everything that the engine decides happens in this one thread, so none of its state has a lock.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import Any

from woolexec.engine.callback_thread import PATIENCE, Relay
from woolexec.engine.diagnostics import handle_record, warn_dropped
from woolexec.engine.selector import Selector
from woolexec.futures.latch import Latch

_LOOK = 0.1
"""Whoever waits for the end looks this often (seconds) for user code that has no thread to run in."""

_MOMENT = 0.001
"""Whoever waits for the end of a thread that another one begins looks this often (seconds)."""

_RECORDS_LIMIT = 10_000
"""Logging records of workers that wait for the handlers here; what is over it is counted and dropped."""


class _Here(threading.local):
    begins = 0
    """How often this thread is in the middle of `Loop.begin`."""


class Loop:
    """
    The inbox, the timers and the sleep of the engine's thread.

    The thread, and what it sleeps on, begin when somebody first wants something of it: so a process that is forked
    before can begin its own.

    :param is_current: says whether what a timer is about (see `after`) still exists; the others are dropped in time
    """

    def __init__(self, is_current: Callable[[Any], bool]) -> None:
        self.inbox: deque[Any] = deque()
        self.watched: Selector
        self.stopped = False
        self.forked = False
        self.thread: threading.Thread | None = None
        self._is_current = is_current
        self._ended = Latch()
        self._timers: list[tuple[float, int, Any, Callable[[], object]]] = []
        self._timers_limit = 64
        self._serials = itertools.count()
        self._callbacks = Relay()
        self._callbacks_watched = False
        self._records = Relay(limit=_RECORDS_LIMIT)
        self._woken = self._wake_fd = -1
        self._here = _Here()
        self._first: list[Callable[[], None]] = []  # taken by whoever begins the thread

    def prepare(self, run: Callable[[], None], on_first: Callable[[], object]) -> None:
        """
        Say what the thread is to run.

        :param on_first: called before it begins, by the thread that first wants something
        """

        def begin() -> None:
            on_first()
            with contextlib.ExitStack() as undo:
                self.watched = Selector()
                undo.callback(self.watched.close)
                self._woken, wake_fd = os.pipe()
                undo.callback(os.close, self._woken)
                undo.callback(os.close, wake_fd)
                os.set_blocking(self._woken, False)
                os.set_blocking(wake_fd, False)
                self.watched.add(self._woken, self._drain_wakes)
                self.thread = threading.Thread(target=run, name="woolexec-engine", daemon=True)
                undo.callback(setattr, self, "thread", None)
                undo.callback(setattr, self, "_wake_fd", -1)
                self._wake_fd = wake_fd  # before it runs: whoever comes next wakes it
                self.thread.start()
                undo.pop_all()

        self._first.append(begin)

    @property
    def has_begun(self) -> bool:
        """Somebody has wanted something."""
        return not self._first

    def begin(self) -> None:
        """
        Begin the thread, unless that has been done.

        :raises OSError: if there is no descriptor left
        :raises RuntimeError: if there is no thread to be had
        """
        here = self._here
        here.begins += 1
        try:
            try:
                begin = self._first.pop()
            except IndexError:
                # Another thread does it, or a signal has come in its middle: the inbox is looked at first.
                return
            try:
                begin()
            except BaseException:
                self._first.append(begin)
                raise
        finally:
            here.begins -= 1

    def retire(self) -> bool:
        """Stop if the thread has not begun, for good; False if it has."""
        try:
            self._first.pop()
        except IndexError:
            return False
        self.stopped = True
        return True

    # -- from any thread ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Let the thread look at the inbox; begin it if that has not been done."""
        with contextlib.suppress(OSError):  # full: it wakes anyway; none: it has stopped, or not begun
            os.write(self._wake_fd, b"\0")
            return
        self.begin()

    def tell(self, piece: Callable[[], object]) -> None:
        """Run a piece of the engine's code in its thread, some time soon."""
        self.inbox.append(piece)
        self.wake()

    def ask(self, question: Callable[[], Any], default: Any = None) -> Any:
        """
        Run a piece of the engine's code in its thread; return its answer.

        :param default: the answer when the engine has stopped, or its own thread asks (a destructor may run anywhere)
        """
        if threading.current_thread() is self.thread or self.stopped or self.forked:
            return default
        answer: list[Any] = []
        failed: list[Exception] = []
        answered = threading.Event()

        def respond() -> None:
            try:
                answer.append(question())
            except Exception as exc:  # whoever asked what makes no sense hears of it, and nobody else
                failed.append(exc)
            finally:
                answered.set()

        self.tell(respond)
        while not answered.wait(0.5):
            if self.stopped or self.forked:
                break
        if failed:
            raise failed[0]
        return answer[0] if answer else default

    def join(self) -> None:
        """Wait until the thread, and the user code that it gave away, have ended; returns at once in a callback."""
        if self._callbacks.running_here or self._records.running_here:
            return
        while self.thread is None or self.thread.ident is None:  # it has not begun, or is about to
            if self._first or self.stopped or self._here.begins:
                return  # the last: this is a signal handler, and what it interrupted begins the thread
            sleep(_MOMENT)
        while not self._ended.wait(_LOOK):
            self._callbacks.run_here()
            self._records.run_here()
        self.thread.join(0.5)  # it has nothing left to do
        self._callbacks.join()
        self._records.join()

    # -- from the engine's thread -------------------------------------------------------------------------------

    def sleep(self) -> None:
        """Sleep until there is something to do, and do it."""
        self.hear(self.until_due())

    def until_due(self) -> float | None:
        """Return how long there is nothing to do, in seconds; None: until something comes."""
        if self.inbox:
            return 0.0
        return max(0.0, self._timers[0][0] - monotonic()) if self._timers else None

    def hear(self, timeout: float | None) -> None:
        """Sleep at most for so many seconds until there is something to do, and do it."""
        for act in self.watched.wait(timeout):
            act()
        while self._timers and self._timers[0][0] <= monotonic():
            heapq.heappop(self._timers)[3]()

    def after(self, seconds: float, piece: Callable[[], object], about: Any = None) -> None:
        """Do something later, unless what it is about is gone by then."""
        if len(self._timers) > self._timers_limit:
            self._timers = [timer for timer in self._timers if timer[2] is None or self._is_current(timer[2])]
            heapq.heapify(self._timers)
            self._timers_limit = max(64, 2 * len(self._timers))
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._serials), about, piece))

    def run_user_code(self, piece: Callable[[], object]) -> None:
        """Run a piece of user code, which must not raise, in a thread of its own."""
        self._callbacks.put(piece)
        if not self._callbacks_watched:
            self._callbacks_watched = True
            self.after(PATIENCE, self._check_callbacks)

    def _check_callbacks(self) -> None:
        left = self._callbacks.check()
        self._callbacks_watched = left is not None
        if left is not None:
            self.after(left, self._check_callbacks)

    def handle_record(self, record: bytes) -> None:
        """Give a worker's logging record to the handlers here."""
        if self._records.has_room:
            self._say_dropped()
        self._records.put(partial(handle_record, record))

    def _say_dropped(self) -> None:
        records = self._records
        if records.dropped:
            dropped, records.dropped = records.dropped, 0
            records.put(partial(warn_dropped, dropped), always=True)

    def close(self) -> None:
        """Release what the thread slept on."""
        self.watched.close()
        os.close(self._woken)
        wake_fd, self._wake_fd = self._wake_fd, -1  # first: the number may soon be that of a file of the program's
        os.close(wake_fd)
        self._timers.clear()
        self._callbacks.close()
        self._say_dropped()
        self._records.close()
        self.stopped = True

    def ended(self) -> None:
        """Say that the thread has done its last."""
        self._ended.open()

    def forget(self) -> None:
        """Close our descriptors in a forked child, which has no engine thread."""
        self.forked = True
        if self._wake_fd < 0:  # another thread was about to begin
            return
        with contextlib.suppress(OSError, ValueError):
            self.watched.close()
            os.close(self._woken)
            wake_fd, self._wake_fd = self._wake_fd, -1
            os.close(wake_fd)

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._woken, 4096)) == 4096:
                pass
