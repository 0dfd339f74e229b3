"""
The shared page: what engine and worker know of each other without a message.

It is one page of memory that both map, and it outlives the worker.  Behind it lie the two arenas, then what
`faulthandler` writes when the worker crashes.

====  =========  ==================================================================
word  written by  holds
====  =========  ==================================================================
0     worker     number of the call that it started last
1     engine     calls with this number or a higher one are recalled; 0: none is
2     worker     when that call was started (monotonic seconds, as a double)
3     worker     up to where it has read the arena down
4     engine     up to where it has read the arena up
5-7   (as 0-2)   the same as words 0-2, for calls that do not run in the main thread
8     worker     1: another thread than the main one reads frames, so that a call there holds up none
9     worker     its process id
====  =========  ==================================================================

Either side writes its own word, passes a fence, then reads the other's.  So at least one of them sees the other: a
call is never both started and taken back.  The fence is a lock taken and released: an atomic read-modify-write,
which is a full barrier on x86 and on ARM with LSE.
"""

from __future__ import annotations

import mmap
import threading
from time import monotonic

from woolexec.wire import ring_buffer

_PAGE = 4096
CRASH = _PAGE + 2 * ring_buffer.SIZE
"""Where the report of a crash begins in the shared file: behind the page, and an arena for each direction."""

SIZE = CRASH + _PAGE
"""Bytes of the shared file."""

MAIN, DOWN, UP, LOOP, OPEN, PID = 0, 3, 4, 5, 8, 9


class Marks:
    """Both ends of three words: what was started, what is recalled, and when the last one was started."""

    __slots__ = ("_fence", "_recalled", "_since", "_started", "_times", "_words")

    def __init__(self, words: memoryview[int], times: memoryview[float], first: int) -> None:
        self._words = words
        self._times = times
        self._started, self._recalled, self._since = range(first, first + 3)
        self._fence = threading.Lock()

    # -- the worker's end ---------------------------------------------------------------------------------------

    def start(self, number: int) -> bool:
        """Mark a call as started; False if it has been recalled, then it must not run."""
        words = self._words
        self._times[self._since] = monotonic()
        words[self._started] = number
        self._fence.acquire()
        self._fence.release()
        recalled = words[self._recalled]
        return not recalled or number < recalled

    # -- the engine's end ---------------------------------------------------------------------------------------

    def recall(self, number: int) -> int:
        """Recall this call and all above it, beside what is already; return the number of the call started last."""
        recalled = self._words[self._recalled]
        self._words[self._recalled] = min(recalled, number) if recalled else number
        self._fence.acquire()
        self._fence.release()
        return self._words[self._started]

    def clear_recall(self) -> None:
        """Forget the recalls: the worker has answered all of them."""
        self._words[self._recalled] = 0

    @property
    def started(self) -> int:
        """Number of the call started last."""
        return self._words[self._started]

    @property
    def since(self) -> float:
        """When that was, in monotonic seconds."""
        return self._times[self._since]


class SharedPage(Marks):
    """Both ends of the page; its own marks are those of the main thread."""

    __slots__ = ("_map", "down", "loop", "up")

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        view = memoryview(self._map)
        words, times = view[:_PAGE].cast("Q"), view[:_PAGE].cast("d")
        super().__init__(words, times, MAIN)
        self.loop = Marks(words, times, LOOP)
        self.down = ring_buffer.RingBuffer(view[_PAGE : _PAGE + ring_buffer.SIZE], words, DOWN)
        self.up = ring_buffer.RingBuffer(view[_PAGE + ring_buffer.SIZE : CRASH], words, UP)

    def initialized(self) -> None:
        """Say that the initializer is done."""
        self._times[self._since] = monotonic()

    def set_pid(self, pid: int) -> None:
        """Say which process this is."""
        self._words[PID] = pid

    @property
    def pid(self) -> int:
        """The worker's process id; 0 before it has said so, which it does before its first call."""
        return self._words[PID]

    @property
    def crash_report(self) -> bytes:
        """What faulthandler wrote when the worker crashed; nothing if it did not."""
        return self._map[CRASH:].partition(b"\0")[0]

    @property
    def is_open(self) -> bool:
        """The worker reads frames also while its main thread runs a call."""
        return bool(self._words[OPEN])

    def set_open(self, value: int) -> None:
        """Say whether it does: 1, or 0."""
        self._words[OPEN] = value

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
