"""
Which thread reads the worker's socket.

::

                 a call runs, and SIGURG arrived
    main thread  -------------------------------->  the reader thread
    (while idle) <--------------------------------
         |  ^     the main thread waits for more
         |  |
         |  `----------------------------------------  the event loop
         `------------------------------------------>  (`Borrower`)
           the last frames were all for that loop       until a pause, or a frame for another thread

Between its calls the main thread reads the socket itself, which saves a thread switch.  If it is busy when a frame
arrives for a coroutine or a stream, which run in other threads, the engine sends SIGURG.  Python handles this signal
between two bytecodes, and it does not make system calls fail.  The reader thread then reads until the main thread waits
for more calls.

If an idle main thread reads frames only for one event loop, each frame costs a thread switch, so the main thread lets
the loop read the socket instead.  Every few milliseconds it checks whether the loop has read since; if not, because
nothing arrived or the loop is blocked, the main thread reads again.
"""

from __future__ import annotations

import os
import threading
from _thread import start_new_thread

from woolexec.platform.ipc import READABLE, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from woolexec.wire.shared_page import SharedPage
    from woolexec.worker.socket_transport import SocketTransport

    class Borrower(Protocol):
        """An event loop that can read the socket."""

        heard: int
        """Number of times that it has read."""

        def borrow(self, fd: int) -> None:
            """Start calling `Reading.read_borrowed` when the descriptor is readable; called in the main thread."""

        def give_back(self, fd: int) -> None:
            """Stop calling it."""


STREAK = 4
"""Number of consecutive reads in the main thread, all for the same loop, after which that loop reads the socket."""

PAUSE = 0.005
"""Seconds without a read after which a loop must stop reading the socket."""


class Reading:
    """
    Decides which thread reads, and runs the reader thread.

    :param handlers: the function to call for each class of frame, in the thread that reads; it returns the loop that
        the frame was for, if that loop can read the socket
    :param on_end: called in the reader thread when there will be no more frames
    """

    def __init__(
        self,
        transport: SocketTransport,
        page: SharedPage,
        handlers: Mapping[type, Callable[[Any], Borrower | None]],
        on_end: Callable[[], object],
    ) -> None:
        self.is_open = False  # the reader thread reads
        self.stopping = False  # there will be no more frames, or none that matter
        self.gone = False  # the engine has closed its end
        self._transport = transport
        self.page = page
        self._handlers = handlers
        self._on_end = on_end
        self._lock = threading.Lock()  # guards reading from the socket
        self._idle_thread = [True]  # popped by the caller that lets the reader thread read
        self._thread: int | None = None
        self._duty = threading.Lock()  # held while that thread has nothing to read
        self._duty.acquire()
        self._waits = False  # the main thread waits while the reader thread reads
        self._arrived = threading.Lock()  # held while no read of another thread is announced
        self._arrived.acquire()
        self._last: Borrower | None = None  # the loop that the main thread's last read was for
        self._streak = 0  # number of consecutive reads before it for the same loop
        self._borrower: Borrower | None = None
        self._has_news = False  # another thread has read something for the main thread
        self.is_busy_here = False
        """The main thread must not be interrupted: it may have read a frame that it has not handled."""
        self.runs_call: Callable[[], bool] = bool
        """Returns whether a call runs in the main thread, so that its waits can be interrupted."""
        self.urged: Callable[[], object] = self.open
        """Handles requests that must not wait until the main thread is idle; called in any thread."""

    # -- the main thread ----------------------------------------------------------------------------------------

    def receive(self, wait: bool, timeout: float | None = None) -> None:  # noqa: FBT001  # keywords cost
        """
        Receive frames and act on them; may return without any, and may wait while a loop reads even if `wait` is false.

        :raises EOFError: if there will be no more
        :raises BlockingIOError: if there are none and `wait` is false, or the timeout (seconds) has passed
        """
        self.is_busy_here = True
        try:
            self._receive(wait, timeout)
        finally:
            self.is_busy_here = False
            self._transport.interrupt_again()

    def _receive(self, wait: bool, timeout: float | None) -> None:  # noqa: FBT001  # as above
        if not self.is_open:
            if self.stopping:
                raise EOFError
            if self._streak >= STREAK and timeout is None:
                self._lend()
                return
            if timeout is not None and not self._has_news:
                self.open()  # a read in this thread could not time out
            elif self._read_here(wait):
                return
        self._waits = True
        try:
            wait = wait and not self.stopping  # when stopping, no thread may be left to wake this one
            self.is_busy_here = False
            arrived = self._arrived.acquire(wait, -1 if timeout is None or not wait else timeout)
        finally:
            self.is_busy_here, self._waits = True, False
        if self.stopping:
            if arrived:
                self._announce()
            raise EOFError
        if not arrived:
            raise BlockingIOError

    def _read_here(self, wait: bool) -> bool:  # noqa: FBT001  # as above
        """Read in the main thread; return False if the reader thread reads."""
        self._waits = True  # the reader thread may hold the lock already, and wait for the next frame
        try:
            with self._lock:
                if self.is_open:
                    return False
                if self._has_news:
                    self._has_news = False
                else:
                    if wait and self.runs_call():
                        self._wait_here()
                    last, self._last = self._last, self._read(wait)
                    self._streak = self._streak + 1 if last is self._last is not None else 0
                return True
        finally:
            self._waits = False

    def _wait_here(self) -> None:
        """Wait until there is something to read, or for Ctrl-C."""
        waiting = poll()
        waiting.register(self._transport.fileno, READABLE)
        self.is_busy_here = False
        try:
            waiting.poll()
        finally:
            self.is_busy_here = True

    def _read(self, wait: bool) -> Borrower | None:  # noqa: FBT001  # as above
        """Read once; return the loop that the last frame was for, if it can read the socket."""
        try:
            frames = self._transport.receive(wait=wait)
        except EOFError:
            self.gone = True
            raise
        borrower, handlers = None, self._handlers
        for frame in frames:
            borrower = handlers[frame.__class__](frame)
        return borrower

    def _lend(self) -> None:
        """Let a loop read the socket, as long as it reads without a pause."""
        borrower, self._last, self._streak = self._last, None, 0
        assert borrower is not None
        try:
            self._borrower, heard = borrower, -1
            borrower.borrow(self._transport.fileno)
            while self._borrower is borrower and not self.is_open and heard != borrower.heard:
                heard = borrower.heard
                self._arrived.acquire(timeout=PAUSE)
        finally:
            self._borrower = None
            borrower.give_back(self._transport.fileno)
        # The loop may be in the middle of its last read, whose frames must not be missed.
        while not self.is_open:
            if not self._lock.locked():
                return
            self._arrived.acquire(timeout=PAUSE)

    # -- a loop that reads the socket -----------------------------------------------------------------------------

    def read_borrowed(self, borrower: Borrower) -> bool:
        """Read the frames that have arrived, in the borrower's thread; return False if it must stop reading."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._borrower is not borrower:
                return False
            try:
                frames = self._transport.receive(wait=False)
            except BlockingIOError:
                return True
            except EOFError:  # the main thread will see it as well
                self._borrower = None
            else:
                for frame in frames:
                    if self._handlers[frame.__class__](frame) is not borrower:
                        self._has_news, self._borrower = True, None
        except BaseException:  # a bug in woolexec: print it where the user sees it
            import traceback

            traceback.print_exc()
            os._exit(1)
        finally:
            self._lock.release()
        if self._borrower is borrower:
            return True
        self._announce()
        return False

    # -- the reader thread ----------------------------------------------------------------------------------------

    def open(self, *_: object) -> None:
        """Let the reader thread read until the main thread waits; from any thread, or a signal handler."""
        try:
            self._idle_thread.pop()
        except IndexError:
            return
        self.is_open = True
        if self._thread is None:
            self._thread = start_new_thread(self._run, ())  # not `Thread.start`, whose locks this thread may hold
        self._duty.release()

    def _run(self) -> None:
        try:
            while not self.stopping:
                self._duty.acquire()
                self._keep_reading()
        except EOFError:
            self.stopping = True
            self._announce()
            self._on_end()  # the main thread may be busy
        except BaseException:  # a bug in woolexec: print it where the user sees it
            import traceback

            traceback.print_exc()
            os._exit(1)

    def _keep_reading(self) -> None:
        self.page.set_open(1)
        while not self.stopping:
            with self._lock:
                self._read(wait=True)
            if self._waits and not self.stopping:  # the main thread reads the next frames itself
                self._has_news = True  # they may be for it, and it may not be waiting for the announcement
                self.is_open = False
                self.page.set_open(0)
                self._idle_thread.append(True)
                self._announce()
                return
            self._announce()

    def _announce(self) -> None:
        """Wake the main thread."""
        try:
            self._arrived.release()
        except RuntimeError:  # it has not acquired the lock since the last time
            pass
