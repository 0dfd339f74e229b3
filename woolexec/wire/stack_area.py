"""
The part of the file shared by engine and worker in which the worker writes its running calls on request.

::

    words of the page                        behind the crash report
    10  asked     counts the requests        report   what runs, with all stacks, by the interpreter
    11  answered  the last one answered      dump     the stack of one thread, by `faulthandler`, when the
    12  writing   1: the report is changing           interpreter does not answer
    13  ready     1: it answers
    16-...        pairs of a call and the thread that runs it, where that is not the main thread

A request is a number in the page and SIGURG, which a worker handles anyway; a process without a handler ignores it.
The report is an `Inspected` frame.  Its reader must not trust it, because a task may write there.
"""

from __future__ import annotations

import struct

from woolexec.wire.frames import Inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

_ASKED, _ANSWERED, _WRITING, _READY, _THREADS = 10, 11, 12, 13, 16

_MOST_THREADS = 64

A_LOOP = 1 << 63
"""The thread of an event loop, in place of a call."""

_LENGTH = struct.Struct("<I")


class StackArea:
    """
    Both ends of the area: the engine's, which sends requests, and the worker's.

    :param words: the page
    :param file: the whole file
    :param start: offset of the area in the file
    :param end: offset of its end
    """

    def __init__(self, words: memoryview[int], file: mmap.mmap, start: int, end: int) -> None:
        self._words, self._map = words, file
        self._end = end
        self._report, self.dump_start = start, (start + self._end) // 2
        self.limit = self.dump_start - start - _LENGTH.size
        """Maximum size of an encoded report, in bytes."""

    # -- the engine's end ---------------------------------------------------------------------------------------

    def ask(self) -> int:
        """Record a request and return its number; the caller then sends SIGURG to the worker."""
        number = self._words[_ASKED] + 1
        self._words[_ASKED] = number
        return number

    def is_answered(self, number: int) -> bool:
        """Return whether a request was answered."""
        return self._words[_ANSWERED] >= number

    def report(self) -> Inspected | None:
        """Return the last report; None if it is being changed, or is invalid."""
        answered = self._words[_ANSWERED]
        (length,) = _LENGTH.unpack_from(self._map, self._report)
        first = self._report + _LENGTH.size
        data = self._map[first : first + min(length, self.limit)]
        if self._words[_WRITING] or self._words[_ANSWERED] != answered:
            return None
        try:
            found = Inspected.parse(data, 0, len(data))
        except (IndexError, ValueError, struct.error):
            return None
        assert isinstance(found, Inspected)
        return found

    def dumped(self, offset: int) -> bytes:
        """Return the dump from an offset in the file on."""
        return self._map[offset : self._end].partition(b"\0")[0]

    @property
    def room(self) -> int:
        """Bytes that are left for dumps."""
        return self._end - self.dump_start - len(self.dumped(self.dump_start))

    @property
    def threads(self) -> dict[int, int]:
        """The calls that do not run in the main thread, and the threads that run them."""
        pairs = self._words[_THREADS : _THREADS + 2 * _MOST_THREADS].tolist()
        return {number: thread for number, thread in zip(pairs[::2], pairs[1::2], strict=True) if number}

    # -- the worker's end ---------------------------------------------------------------------------------------

    @property
    def asked(self) -> int:
        """The number of the last request if it was not answered; 0 if it was."""
        asked = self._words[_ASKED]
        return asked if asked != self._words[_ANSWERED] else 0

    def answer(self, number: int, report: Inspected) -> None:
        """Answer the requests up to this one, and clear the dump."""
        words, data = self._words, report.body()
        words[_WRITING] = 1
        _LENGTH.pack_into(self._map, self._report, len(data))
        first = self._report + _LENGTH.size
        self._map[first : first + len(data)] = data
        used = len(self.dumped(self.dump_start))
        self._map[self.dump_start : self.dump_start + used] = bytes(used)
        words[_ANSWERED] = number
        words[_WRITING] = 0

    def note_thread(self, number: int, thread: int) -> int:
        """Record that a thread runs this call; return a place for `forget_thread`, -1 if there is no more room."""
        words = self._words
        for place in range(_THREADS, _THREADS + 2 * _MOST_THREADS, 2):
            if not words[place]:
                words[place], words[place + 1] = number, thread
                return place
        return -1

    def forget_thread(self, place: int) -> None:
        """Record that the thread has ended."""
        if place >= 0:
            self._words[place] = 0
