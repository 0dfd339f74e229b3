"""
The shared page: the state that engine and worker share without messages.

It is one page of memory that both map, and it outlives the worker.  It is followed by the report that `faulthandler`
writes if the worker crashes, by the stacks of the running calls, if they are requested (`woolexec.wire.stack_area`,
which uses words of the page as well), and by the two ring buffers, unless this process may not make a file of that
size.

====  =========  ==================================================================
word  written by  holds
====  =========  ==================================================================
0     worker     number of the call that it started last
1     engine     calls with this number or a higher one are recalled; 0: none
2     worker     when the call of word 0 was started (monotonic seconds, as a double)
3     worker     position up to which it has read the ring buffer from the engine
4     engine     position up to which it has read the ring buffer to the engine
5-7   (as 0-2)   the same as words 0-2, for calls that do not run in the main thread
8     worker     1: a thread other than the main thread reads frames, so a call does not delay them
9     worker     its process id
14    worker     number of the call that it runs: set when word 1 has let it start
15    (as 14)    the same for calls that do not run in the main thread
====  =========  ==================================================================

Each side writes its own word, passes a fence, then reads the other side's word.  So at least one side sees the other's
write: a call is never both started and recalled.  If both do, word 14 says whether the worker runs the call or has
declined it.  The fence is a lock that is acquired and released: an atomic
read-modify-write, which is a full barrier on x86 and on ARM with LSE.
"""

from __future__ import annotations

import errno
import threading
from time import monotonic

from woolexec.platform.ipc import map_shared, shared_file
from woolexec.wire import ring_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.wire.stack_area import StackArea

_PAGE = 4096
CRASH = _PAGE
"""Offset of the crash report in the shared file: after the page."""

STACKS = CRASH + _PAGE
"""Offset of the stacks."""

LEAST = STACKS + (1 << 17)
"""Size of a shared file without ring buffers, in bytes."""

DUMPS = (STACKS + LEAST) // 2
"""Offset of the stacks that `faulthandler` writes."""

SIZE = LEAST + 2 * ring_buffer.SIZE
"""Size of the shared file in bytes; only the pages that are written take memory."""

MAIN, DOWN, UP, LOOP, OPEN, PID, ASKED, ANSWERED, READY, RUNS, RUNS_LOOP = 0, 3, 4, 5, 8, 9, 10, 11, 13, 14, 15


def page_file() -> int:
    """
    Open a file for a page, and for the areas that follow it; return its descriptor.

    It has no ring buffers if a limit (``ulimit -f``) forbids it to be so large: payloads then travel in their frames.

    :raises OSError: if that is not possible
    """
    try:
        return shared_file(SIZE)
    except OSError as exc:
        if exc.errno != errno.EFBIG:
            raise
    return shared_file(LEAST)


class Marks:
    """Both ends of four words: the call started last, the calls recalled, when the last was started, which one runs."""

    __slots__ = ("_fence", "_recalled", "_runs", "_since", "_started", "_times", "_words")

    def __init__(self, words: memoryview[int], times: memoryview[float], first: int, runs: int) -> None:
        self._words = words
        self._times = times
        self._started, self._recalled, self._since = range(first, first + 3)
        self._runs = runs
        self._fence = threading.Lock()  # a fence between the write of one word and the read of another

    # -- the worker's end ---------------------------------------------------------------------------------------

    def start(self, number: int) -> bool:
        """Mark a call as started; return False if it has been recalled and must not run."""
        words = self._words
        self._times[self._since] = monotonic()
        words[self._started] = number
        self._fence.acquire()
        self._fence.release()
        recalled = words[self._recalled]
        if recalled and number >= recalled:
            return False
        words[self._runs] = number
        return True

    # -- the engine's end ---------------------------------------------------------------------------------------

    def recall(self, number: int) -> int:
        """Recall this call and all with higher numbers, in addition to earlier recalls; return the last one started."""
        recalled = self._words[self._recalled]
        self._words[self._recalled] = min(recalled, number) if recalled else number
        self._fence.acquire()
        self._fence.release()
        return self._words[self._started]

    def clear_recall(self) -> None:
        """Clear the recalls: the worker has answered all of them."""
        self._words[self._recalled] = 0

    @property
    def started(self) -> int:
        """Number of the call started last."""
        return self._words[self._started]

    @property
    def runs(self) -> int:
        """Number of the last call that started and was not declined because of a recall."""
        return self._words[self._runs]

    @property
    def since(self) -> float:
        """When the last call was started, in monotonic seconds."""
        return self._times[self._since]


class SharedPage(Marks):
    """Both ends of the page; its inherited marks are those of the main thread."""

    __slots__ = ("_map", "down", "loop", "up")

    def __init__(self, fd: int) -> None:
        self._map = map_shared(fd, 0)
        view = memoryview(self._map)
        words, times = view[:_PAGE].cast("Q"), view[:_PAGE].cast("d")
        super().__init__(words, times, MAIN, RUNS)
        self.loop = Marks(words, times, LOOP, RUNS_LOOP)
        middle = LEAST + ring_buffer.SIZE
        self.down = ring_buffer.RingBuffer(view[LEAST:middle], words, DOWN)
        self.up = ring_buffer.RingBuffer(view[middle:], words, UP)

    def initialized(self) -> None:
        """Record that the initializer has finished."""
        self._times[self._since] = monotonic()

    def set_pid(self, pid: int) -> None:
        """Store the worker's process id."""
        self._words[PID] = pid

    @property
    def pid(self) -> int:
        """The worker's process id; 0 until the worker has stored it, which it does before its first call."""
        return self._words[PID]

    @property
    def crash_report(self) -> bytes:
        """What `faulthandler` wrote when the worker crashed; empty if it has not crashed."""
        return self._map[CRASH:STACKS].partition(b"\0")[0]

    @property
    def is_asked(self) -> bool:
        """Whether stacks are requested; it is here because the module of `stacks` may not be loaded yet."""
        return self._words[ASKED] != self._words[ANSWERED]

    @property
    def was_asked(self) -> bool:
        """Whether stacks have ever been requested."""
        return bool(self._words[ASKED])

    @property
    def is_ready(self) -> bool:
        """Whether stacks can be requested from the worker."""
        return bool(self._words[READY])

    def set_ready(self) -> None:
        """Record that stacks can be requested from the worker."""
        self._words[READY] = 1

    @property
    def stacks(self) -> StackArea:
        """The part for stacks; its module is loaded when it is first used."""
        from woolexec.wire.stack_area import StackArea

        return StackArea(self._words, self._map, STACKS, LEAST)

    @property
    def is_open(self) -> bool:
        """Whether the worker reads frames while its main thread runs a call."""
        return bool(self._words[OPEN])

    def set_open(self, value: int) -> None:
        """Set whether the worker reads frames while its main thread runs a call: 1 or 0."""
        self._words[OPEN] = value

    def close(self) -> None:
        """Unmap the page."""
        for view in (self.down, self.up):
            view.close()
        self._words.release()
        self._times.release()
        try:
            self._map.close()
        except BufferError:  # a view of it is still alive; the map is closed with the view
            pass
