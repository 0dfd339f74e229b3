"""
An arena: memory that two processes share, through which payloads too large for frames and too small for files pass.

A ring with one writer and one reader.  The writer copies a payload in and names the place in a frame; the frame's own
way through the socket is the fence.  The reader copies it out and says, in a word that both see, up to where it has
read.  When there is no room the payload travels inside its frame instead: nobody waits.

A 64 KiB payload through the socket costs the copy into the kernel, fresh kernel pages, the copy out and the copy out of
the read buffer, 8-16 µs each way on the machine where it was measured; through the arena two plain copies, 3 µs.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SIZE = 1 << 19
"""Bytes; a worker's window of outstanding payloads is of the same size.  Both directions fit into a processor's second
level of cache then: with twice as much 64 KiB payloads go a third slower."""

_ALIGNMENT = 64


class RingBuffer:
    """
    One end of a ring.

    :param view: the shared memory, `SIZE` bytes
    :param words: shared 64-bit words; number `word` is written by the reader alone
    """

    __slots__ = ("_fence", "_head", "_view", "_word", "_words")

    def __init__(self, view: memoryview, words: memoryview, word: int) -> None:
        self._view = view
        self._words = words
        self._word = word
        self._head = 0
        self._fence = threading.Lock()  # an atomic operation orders the reading before the word that tells of it

    def put(self, parts: Sequence[Any], size: int) -> int:
        """Copy a payload of `size` bytes in; return the mark under which it is taken out, 0 if there is no room."""
        start = self._head % SIZE
        head = self._head if start + size <= SIZE else self._head + SIZE - start
        end = head + (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        if end - self._words[self._word] > SIZE:
            return 0
        start = head % SIZE
        for part in parts:
            stop = start + len(part)
            self._view[start:stop] = part
            start = stop
        self._head = end
        return head + 1

    def take(self, mark: int, sizes: Sequence[int]) -> list[bytes]:
        """
        Copy the parts of a payload out.

        :raises ValueError: if they cannot be there
        """
        head, size = mark - 1, sum(sizes)
        start = head % SIZE
        if start + size > SIZE or head < self._words[self._word]:
            raise ValueError(f"no payload of {size} bytes at {head}")
        parts = []
        for part in sizes:
            parts.append(bytes(self._view[start : start + part]))
            start += part
        self._fence.acquire()
        self._fence.release()
        self._words[self._word] = head + (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        return parts

    def close(self) -> None:
        """Let go of the memory."""
        self._view.release()
