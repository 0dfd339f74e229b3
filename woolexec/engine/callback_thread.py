"""
Run user code (done-callbacks, log handlers) outside the engine's thread.

One thread runs all pieces in order.  For callbacks: if it has run the same piece for longer than `PATIENCE` and more
pieces wait, a new thread takes over the queue, and the old one exits after its piece.  So a callback that blocks does
not delay the others, and there are as many threads as blocked callbacks, plus one.  For log records, which all go to
the same handlers, one thread is enough; their queue is bounded, and records that do not fit are counted.

If no thread can be started (as at interpreter exit since Python 3.12), the thread that waits for the engine's end runs
the pieces.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from woolexec.futures.latch import Latch

PATIENCE = 0.05


class Relay:
    """A queue of callables and the thread that runs them."""

    def __init__(self, *, limit: int | None = None) -> None:
        self.dropped = 0
        self._limit = limit
        self._pieces: deque[Callable[[], object]] = deque()
        self._arrived = threading.Semaphore(0)  # counts the pieces that were queued
        self._runner: threading.Thread | None = None
        self._since: float | None = None
        self._closed = False
        self._ended = Latch()  # opens when the queue is empty after `close`

    @property
    def has_room(self) -> bool:
        """The queue is not full."""
        return self._limit is None or len(self._pieces) < self._limit

    def put(self, piece: Callable[[], object], *, always: bool = False) -> None:
        """
        Queue a piece of user code, which must not raise.  Only the engine's thread calls this.

        :param always: queue it even if the queue is full; otherwise it is then dropped and counted
        """
        if not (always or self.has_room):
            self.dropped += 1
            return
        self._pieces.append(piece)
        if self._runner is None:
            self._take_over()
        self._arrived.release()

    def check(self) -> float | None:
        """
        Replace a runner that is stuck; only the engine's thread calls this.

        :return: seconds after which to check again; None if that is not necessary
        """
        if not self._pieces:
            return None
        since = self._since
        if self._runner is None:
            self._take_over()
        if since is None:
            return PATIENCE
        left = since + PATIENCE - monotonic()
        if left <= 0:
            self._take_over()
            return PATIENCE
        return left

    def close(self) -> None:
        """Let the runner exit when the queue is empty."""
        self._closed = True
        self._arrived.release()

    def join(self, deadline: float | None = None) -> bool:
        """
        Wait until the queue is empty; return at once in a callback.

        :param deadline: until when to wait, in monotonic seconds; None: no limit
        :return: False if it is not empty by then
        """
        runner = self._runner
        if runner is not None and not self.running_here:
            if not self._ended.wait(None if deadline is None else deadline - monotonic()):
                return False
            runner.join(0.5)  # it has nothing left to do
        self.run_here()
        return True

    def run_here(self) -> None:
        """Run the queued pieces in the calling thread, if there is no other thread for them."""
        if self._runner is not None or not self._pieces:
            return
        me = threading.current_thread()
        outer = getattr(me, "woolexec_relay", None)
        me.woolexec_relay = self  # type: ignore[attr-defined]  # as in `_take_over`
        try:
            while self._runner is None and self._pieces:
                self._pieces.popleft()()
        finally:
            me.woolexec_relay = outer  # type: ignore[attr-defined]  # as above

    @property
    def running_here(self) -> bool:
        """Whether the current thread is one of the relay's."""
        return getattr(threading.current_thread(), "woolexec_relay", None) is self

    def _take_over(self) -> None:
        self._since = None
        runner = threading.Thread(target=self._run, name="woolexec-callbacks", daemon=True)
        runner.woolexec_relay = self  # type: ignore[attr-defined]  # for `running_here`
        previous, self._runner = self._runner, runner
        try:
            runner.start()
        except RuntimeError:  # no thread can be started: the old one continues
            self._runner = previous

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            if not self._pieces:
                if self._closed:
                    self._ended.open()
                    return
                self._arrived.acquire()
            if self._runner is not me:
                self._arrived.release()
                return
            try:
                piece = self._pieces.popleft()
            except IndexError:
                continue
            self._since = monotonic()
            piece()
            del piece
            if self._runner is not me:
                return
            self._since = None
