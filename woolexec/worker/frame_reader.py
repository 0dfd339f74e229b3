"""
Who reads the worker's socket.

::

                     a call runs, and SIGURG came
    main thread  -------------------------------->  a thread of its own
    (while idle) <--------------------------------
         |  ^      the main thread waits for more
         |  |
         |  `----------------------------------------  the event loop
         `------------------------------------------>  (`Borrower`)
           what came last was for that loop alone       until a pause, or a frame for somebody else

The main thread reads for itself between its calls, which saves a hop.  When it is busy, and something comes for a call
that does not run there, a coroutine or a stream, the engine sends SIGURG, which Python handles between two bytecodes
and which ends no system call for good.  Then a thread of its own reads, until the main thread waits for more to do.

An idle main thread that reads for an event loop only costs that loop a hop as well, so it lends its duty to the loop.
It looks every few milliseconds whether the loop has read since: a loop that has nothing to read, or is blocked, loses
the duty.
"""

from __future__ import annotations

import os
import threading
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from woolexec.wire.shared_page import SharedPage
    from woolexec.worker.socket_transport import SocketTransport

    class Borrower(Protocol):
        """An event loop that can read the socket."""

        heard: int
        """How often it has read."""

        def borrow(self, fd: int) -> None:
            """Call `Reading.read_borrowed` whenever the descriptor can be read; from the main thread."""

        def give_back(self, fd: int) -> None:
            """Stop that."""


STREAK = 4
"""A loop for which the main thread has read so often, and nothing for anybody else meanwhile, is lent the duty."""

PAUSE = 0.005
"""A loop that has not read for so long (seconds) loses the duty."""


class Reading:
    """
    The duty of reading, and the thread of its own.

    :param take: acts on a frame, in the thread that reads; returns the loop that it was for, if that can borrow
    :param on_end: called in the thread of its own when there will be no more
    """

    def __init__(
        self,
        transport: SocketTransport,
        page: SharedPage,
        take: Callable[[Any], Borrower | None],
        on_end: Callable[[], object],
    ) -> None:
        self.is_open = False  # the thread of its own reads
        self.stopping = False  # there will be no more, or nothing that matters
        self.gone = False  # the engine has closed its end
        self._transport = transport
        self._page = page
        self._take = take
        self._on_end = on_end
        self._lock = threading.Lock()  # guards reading from the socket
        self._idle_thread = [True]  # taken by whoever lets the thread of its own read
        self._thread: int | None = None
        self._duty = threading.Lock()  # held while that thread has nothing to read
        self._duty.acquire()
        self._waits = False  # the main thread does, and the other reads
        self._arrived = threading.Lock()  # held while there is nothing new for the main thread
        self._arrived.acquire()
        self._last: Borrower | None = None  # what the main thread read last was for this loop
        self._streak = 0  # and so often before
        self._borrower: Borrower | None = None
        self._has_news = False  # somebody else has read something for the main thread

    # -- the main thread ----------------------------------------------------------------------------------------

    def receive(self, wait: bool, timeout: float | None = None) -> None:  # noqa: FBT001  # keywords cost
        """
        Let frames come in, and act on them; may return without any, and wait all the same while a loop reads.

        :raises EOFError: if there will be no more
        :raises BlockingIOError: if there are none and `wait` is false, or the time (seconds) has passed
        """
        if not self.is_open:
            if self.stopping:
                raise EOFError
            if self._streak >= STREAK and timeout is None:
                self._lend()
                return
            if timeout is not None and not self._has_news:
                self.open()  # a read that has begun has no end
            elif self._read_here(wait):
                return
        self._waits = True
        try:
            wait = wait and not self.stopping  # then nobody may be left to wake us
            arrived = self._arrived.acquire(wait, -1 if timeout is None or not wait else timeout)
        finally:
            self._waits = False
        if self.stopping:
            if arrived:
                self._announce()
            raise EOFError
        if not arrived:
            raise BlockingIOError

    def _read_here(self, wait: bool) -> bool:  # noqa: FBT001  # as above
        """Read in the main thread; False if the thread of its own does."""
        self._waits = True  # should that thread have the lock by now, and wait for the next frame with it
        try:
            with self._lock:
                if self.is_open:
                    return False
                if self._has_news:
                    self._has_news = False
                else:
                    last, self._last = self._last, self._read(wait)
                    self._streak = self._streak + 1 if last is self._last is not None else 0
                return True
        finally:
            self._waits = False

    def _read(self, wait: bool) -> Borrower | None:  # noqa: FBT001  # as above
        """Read once; return the loop that the last frame was for, if that can borrow."""
        try:
            frames = self._transport.receive(wait=wait)
        except EOFError:
            self.gone = True
            raise
        borrower = None
        for frame in frames:
            borrower = self._take(frame)
        return borrower

    def _lend(self) -> None:
        """Let a loop read what comes for it, as long as it comes without a pause."""
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
        # It may be in the middle of its last read, and what that brings is not to be missed.
        while not self.is_open:
            if not self._lock.locked():
                return
            self._arrived.acquire(timeout=PAUSE)

    # -- a loop that has borrowed the duty ------------------------------------------------------------------------

    def read_borrowed(self, borrower: Borrower) -> bool:
        """Read what is there, in the borrower's thread; False if it is to stop reading."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._borrower is not borrower:
                return False
            try:
                frames = self._transport.receive(wait=False)
            except BlockingIOError:
                return True
            except EOFError:  # which the main thread finds as well
                self._borrower = None
            else:
                for frame in frames:
                    if self._take(frame) is not borrower:
                        self._has_news, self._borrower = True, None
        except BaseException:  # a bug of ours: say so where the user sees it
            import traceback

            traceback.print_exc()
            os._exit(1)
        finally:
            self._lock.release()
        if self._borrower is borrower:
            return True
        self._announce()
        return False

    # -- a thread of its own --------------------------------------------------------------------------------------

    def open(self, *_: object) -> None:
        """Let the thread of its own read, until the main thread waits; from any thread, and a signal handler."""
        try:
            self._idle_thread.pop()
        except IndexError:
            return
        self.is_open = True
        if self._thread is None:
            self._thread = start_new_thread(self._run, ())  # not `Thread.start`, whose locks we may hold
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
        except BaseException:  # a bug of ours: say so where the user sees it
            import traceback

            traceback.print_exc()
            os._exit(1)

    def _keep_reading(self) -> None:
        self._page.set_open(1)
        while not self.stopping:
            with self._lock:
                self._read(wait=True)
            if self._waits and not self.stopping:  # it reads the next by itself
                self._has_news = True  # what was read may be for it, and it may not be waiting where it is announced
                self.is_open = False
                self._page.set_open(0)
                self._idle_thread.append(True)
                self._announce()
                return
            self._announce()

    def _announce(self) -> None:
        """Let the main thread look."""
        try:
            self._arrived.release()
        except RuntimeError:  # it has not looked since the last time
            pass
