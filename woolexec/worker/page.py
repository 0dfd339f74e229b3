"""
The shared page: what engine and worker know of each other without a message.

It is one page of memory that both map, and it outlives the worker.  Behind it lie the two arenas.

====  =========  ==================================================================
word  written by  holds
====  =========  ==================================================================
0     worker     number of the call that it started last
1     engine     calls with this number or a higher one are recalled; 0: none is
2     worker     when that call was started (monotonic seconds, as a double)
3     worker     up to where it has read the arena down
4     engine     up to where it has read the arena up
====  =========  ==================================================================

Either side writes its own word, passes a fence, then reads the other's.  So at least one of them sees the other: a
call is never both started and taken back.  The fence is a lock taken and released: an atomic read-modify-write,
which is a full barrier on x86 and on ARM with LSE.
"""

from __future__ import annotations

import mmap
import select
import threading
from time import monotonic

from woolexec.wire import arena

_PAGE = 4096
SIZE = _PAGE + 2 * arena.SIZE
"""Bytes of the shared file: the page, then an arena for each direction."""

STARTED, RECALLED, SINCE, DOWN, UP = range(5)


class Page:
    """Both ends of the page."""

    def __init__(self, fd: int, socket_fd: int = -1) -> None:
        self._map = mmap.mmap(fd, SIZE)
        view = memoryview(self._map)
        self._words = view[:_PAGE].cast("Q")
        self._times = view[:_PAGE].cast("d")
        self.down = arena.Arena(view[_PAGE : _PAGE + arena.SIZE], self._words, DOWN)
        self.up = arena.Arena(view[_PAGE + arena.SIZE :], self._words, UP)
        self._fence = threading.Lock()
        self._socket_fd = socket_fd

    # -- the worker's end ---------------------------------------------------------------------------------------

    def start(self, number: int) -> bool:
        """Mark a call as started; False if it has been recalled, then it must not run."""
        words = self._words
        self._times[SINCE] = monotonic()
        words[STARTED] = number
        self._fence.acquire()
        self._fence.release()
        recalled = words[RECALLED]
        return not recalled or number < recalled

    def wait_readable(self, timeout: float) -> bool:
        """Wait until the socket has something to read; False if the time (seconds) passed first."""
        poll = select.poll()
        poll.register(self._socket_fd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def initialized(self) -> None:
        """Say that the initializer is done."""
        self._times[SINCE] = monotonic()

    # -- the engine's end ---------------------------------------------------------------------------------------

    def recall(self, number: int) -> int:
        """Recall this call and all above it, beside what is already; return the number of the call started last."""
        recalled = self._words[RECALLED]
        self._words[RECALLED] = min(recalled, number) if recalled else number
        self._fence.acquire()
        self._fence.release()
        return self._words[STARTED]

    def clear_recall(self) -> None:
        """Forget the recalls: the worker has answered all of them."""
        self._words[RECALLED] = 0

    @property
    def started(self) -> int:
        """Number of the call started last."""
        return self._words[STARTED]

    @property
    def since(self) -> float:
        """When that was, in monotonic seconds."""
        return self._times[SINCE]

    def close(self) -> None:
        """Unmap the page."""
        for view in (self.down, self.up):
            view.close()
        self._words.release()
        self._times.release()
        try:
            self._map.close()
        except BufferError:  # a view of it is still alive; it goes with that
            pass
