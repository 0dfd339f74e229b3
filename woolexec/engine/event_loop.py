"""
The engine's thread: its inbox, its selector, its timers, and the threads that run user code instead of it.

The engine makes all its decisions in this one thread, so none of its state has a lock.
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

from woolexec.engine.callback_thread import PATIENCE, Relay
from woolexec.engine.diagnostics import handle_record, warn_dropped
from woolexec.engine.selector import Selector
from woolexec.futures.latch import Latch
from woolexec.platform.ipc import drain, wake_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOOK = 0.1
"""A thread that waits for the end checks this often (seconds) for user code that has no thread to run in."""

_MOMENT = 0.001
"""A thread that waits for the end checks this often (seconds) whether another thread has started the engine's
thread."""

_RECORDS_LIMIT = 10_000
"""Maximum number of workers' logging records that wait for the handlers here; more are counted and dropped."""


class _Here(threading.local):
    begins = 0
    """Number of calls of `Loop.begin` in progress in this thread."""


def no_timer(_: float) -> None:
    """Do nothing: the engine's thread checks its timers before it sleeps."""


def _call(piece: Callable[[], object]) -> None:
    piece()


class Loop:
    """
    The inbox, the timers and the selector of the engine's thread.

    The thread is started and its descriptors are opened on first use, so a process that is forked before can start its
    own.

    :param is_current: returns whether the subject of a timer (see `after`) still exists; other timers are eventually
        dropped
    """

    clock = staticmethod(monotonic)
    """Returns monotonic seconds."""

    run = staticmethod(_call)
    """Runs a piece of the engine now; if several engines share the thread, its failure does not affect the others."""

    def __init__(self, is_current: Callable[[Any], bool]) -> None:
        self.inbox: deque[Any] = deque()
        self.watched: Selector
        self.stopped = False
        self.forked = False
        self.has_urgent = False
        """The inbox must be read before any descriptor; cleared by the code that takes the urgent request from it."""
        self.thread: threading.Thread | None = None
        self._is_current = is_current
        self._ended = Latch()  # opens when the engine's thread has finished
        self._timers: list[tuple[float, int, Any, Callable[[], object]]] = []
        self._timers_limit = 64
        self.on_earlier: Callable[[float], object] = no_timer
        """Called with the due time of a new timer that is now the earliest.  Code that an event loop runs between two
        rounds may set one, and it would be late if the loop slept until the next round."""
        self._serials = itertools.count()
        self._callbacks = Relay()
        self._dropped: deque[list[Any]] = deque()  # lists that the callback thread clears
        self._callbacks_watched = False
        self._records = Relay(limit=_RECORDS_LIMIT)
        self._woken = self._wake_fd = -1
        self._here = _Here()
        self._first: list[Callable[[], None]] = []  # taken by the thread that starts the engine's thread

    def prepare(self, run: Callable[[], None], on_first: Callable[[], object]) -> None:
        """
        Set the functions that the thread runs.

        :param on_first: called before the thread starts, in the thread that first uses the engine
        """

        def begin() -> None:
            on_first()
            with contextlib.ExitStack() as undo:
                self.watched = Selector()
                undo.callback(self.watched.close)
                self._woken, wake_fd = wake_pipe()
                undo.callback(os.close, self._woken)
                undo.callback(os.close, wake_fd)
                self.watched.add(self._woken, partial(drain, self._woken))
                self.thread = threading.Thread(target=run, name="woolexec-engine", daemon=True)
                undo.callback(setattr, self, "thread", None)
                undo.callback(setattr, self, "_wake_fd", -1)
                self._wake_fd = wake_fd  # before it runs, so that other threads can wake it from now on
                self.thread.start()
                undo.pop_all()

        self._first.append(begin)

    @property
    def has_begun(self) -> bool:
        """The engine has been used."""
        return not self._first

    def begin(self) -> None:
        """
        Start the thread, unless it has been started.

        :raises OSError: if no descriptor is left
        :raises RuntimeError: if no thread can be started
        """
        here = self._here
        here.begins += 1
        try:
            try:
                begin = self._first.pop()
            except IndexError:
                # Another thread is starting it, or this is a signal handler that interrupted the start: the new thread
                # looks at the inbox first.
                return
            try:
                begin()
            except BaseException:
                self._first.append(begin)
                raise
        finally:
            here.begins -= 1

    def retire(self) -> bool:
        """
        Stop permanently if the thread has not started and has nothing to do; return False otherwise.

        Of several threads that submit the first calls, one starts the thread, and the others do not wait for that.
        A thread that puts something into the inbox checks afterwards whether this has stopped.
        """
        try:
            begin = self._first.pop()
        except IndexError:
            return False
        self.stopped = True
        if not self.inbox:
            return True
        self.stopped = False
        self._first.append(begin)
        return False

    # -- from any thread ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake the thread to look at the inbox; start it if it has not been started."""
        with contextlib.suppress(OSError):  # pipe full: it wakes anyway; no pipe: it has stopped, or not started
            os.write(self._wake_fd, b"\0")
            return
        self.begin()

    def tell(self, piece: Callable[[], object]) -> None:
        """Run a function in the engine's thread soon; do not wait for it."""
        self.inbox.append(piece)
        self.wake()

    def ask(self, question: Callable[[], Any], default: Any = None) -> Any:
        """
        Run a function in the engine's thread, wait for it, and return its result.

        :param default: returned if the engine has stopped, or in its own thread (a destructor may run in any thread)
        """
        if threading.current_thread() is self.thread or self.stopped or self.forked:
            return default
        answer: list[Any] = []
        failed: list[Exception] = []
        answered = threading.Event()  # set when the engine's thread has run the question

        def respond() -> None:
            try:
                answer.append(question())
            except Exception as exc:  # raised in the thread that asked, not in the engine's
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

    def join(self, timeout: float | None = None) -> bool:
        """
        Wait until the thread and the user code that it passed on have ended; return at once in a callback.

        :param timeout: maximum seconds to wait; None: no limit
        :return: False if they have not ended in this time
        """
        if self._callbacks.running_here or self._records.running_here:
            return True
        deadline = None if timeout is None else monotonic() + timeout
        while self.thread is None or self.thread.ident is None:  # it has not started, or is about to
            if self._first or self.stopped or self._here.begins:
                return True  # `begins`: this is a signal handler that interrupted the start of the thread
            sleep(_MOMENT)
        while not self._ended.wait(_LOOK if deadline is None else min(_LOOK, deadline - monotonic())):
            if deadline is not None and monotonic() >= deadline:
                return False
            self._callbacks.run_here()
            self._records.run_here()
        self.thread.join(0.5)  # it has nothing left to do
        return self._callbacks.join(deadline) and self._records.join(deadline)

    # -- from the engine's thread -------------------------------------------------------------------------------

    def sleep(self) -> None:
        """Sleep until a descriptor is ready or a timer is due, and handle it."""
        due = self.due()
        self.hear(None if due is None else max(0.0, due - monotonic()))

    def due(self) -> float | None:
        """Return when the next timer is due, in monotonic seconds; None: there is none; 0.0: the inbox is not empty."""
        if self.inbox:
            return 0.0
        return self._timers[0][0] if self._timers else None

    def hear(self, timeout: float | None) -> None:
        """Sleep for at most `timeout` seconds until a descriptor is ready or a timer is due, and handle it."""
        for act in self.watched.wait(timeout):
            if self.has_urgent:  # descriptors that are not read now are ready again in the next round
                break
            act()
        now = monotonic()  # timers that these set are due in the next round: descriptors and writes come first
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[3]()

    def after(self, seconds: float, piece: Callable[[], object], about: Any = None) -> None:
        """Run `piece` after this many seconds, unless its subject `about` is gone by then."""
        if len(self._timers) > self._timers_limit:
            self._timers = [timer for timer in self._timers if timer[2] is None or self._is_current(timer[2])]
            heapq.heapify(self._timers)
            self._timers_limit = max(64, 2 * len(self._timers))
        timer = monotonic() + seconds, next(self._serials), about, piece
        heapq.heappush(self._timers, timer)
        if self._timers[0] is timer:
            self.on_earlier(timer[0])

    def run_user_code(self, piece: Callable[[], object]) -> None:
        """Run a piece of user code, which must not raise, in the callback thread."""
        self._callbacks.put(piece)
        if not self._callbacks_watched:
            self._callbacks_watched = True
            self.after(PATIENCE, self._check_callbacks)

    def drop(self, held: list[Any]) -> None:
        """Clear a list in the callback thread: destructors are user code."""
        self._dropped.append(held)
        if len(self._dropped) == 1:  # otherwise that thread is about to do it
            self.run_user_code(self._clear_dropped)

    def _clear_dropped(self) -> None:
        while self._dropped:
            self._dropped.popleft().clear()

    def _check_callbacks(self) -> None:
        left = self._callbacks.check()
        self._callbacks_watched = left is not None
        if left is not None:
            self.after(left, self._check_callbacks)

    def handle_record(self, record: Any) -> None:
        """Pass a worker's logging record to the handlers of this process."""
        if self._records.has_room:
            self._say_dropped()
        self._records.put(partial(handle_record, record))

    def handle_output(self, write: Callable[[], object]) -> None:
        """Write the output of a task, in order with its logging records."""
        self._records.put(write, always=True)

    def watch_output(self, fd: int, act: Callable[[], object]) -> None:
        """Call `act` when a worker has written output."""
        self.watched.add(fd, act)

    def unwatch_output(self, fd: int) -> None:
        """Stop watching."""
        self.watched.remove(fd)

    def _say_dropped(self) -> None:
        records = self._records
        if records.dropped:
            dropped, records.dropped = records.dropped, 0
            records.put(partial(warn_dropped, dropped), always=True)

    def close(self) -> None:
        """Close the selector and the wake pipe, and let the threads for user code exit."""
        self.watched.close()
        os.close(self._woken)
        wake_fd, self._wake_fd = self._wake_fd, -1  # first: the program may soon reuse the number for another file
        os.close(wake_fd)
        self._timers.clear()
        self._callbacks.close()
        self._say_dropped()
        self._records.close()
        self.stopped = True

    def ended(self) -> None:
        """Signal that the thread has finished."""
        self._ended.open()

    def forget(self) -> None:
        """Close the descriptors in a forked child, which has no engine thread."""
        self.forked = True
        if self._wake_fd < 0:  # another thread was just starting it
            return
        with contextlib.suppress(OSError, ValueError):
            self.watched.close()
            os.close(self._woken)
            wake_fd, self._wake_fd = self._wake_fd, -1
            os.close(wake_fd)
