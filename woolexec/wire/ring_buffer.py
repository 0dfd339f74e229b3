"""
A ring buffer in shared memory, for payloads that are too large for frames and too small for memory files.

It has one writer and one reader.  The writer copies a payload in and sends its position in a frame; sending the frame
through the socket is the memory fence.  The reader copies the payload out and stores the position up to which it has
read in a word that both sides see.  If there is no free space, the payload travels inside its frame instead, so the
writer never waits.

A 64 KiB payload through the socket costs the copy into the kernel, fresh kernel pages, the copy out and the copy out of
the read buffer, 8-16 µs in each direction on the machine where it was measured; through the ring buffer it costs two
plain copies, 3 µs.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SIZE = 1 << 19
"""Size in bytes, the same as a worker's window of outstanding payloads.  Both directions then fit into a processor's
second-level cache: with twice this size, 64 KiB payloads are a third slower."""

_ALIGNMENT = 64


class RingBuffer:
    """
    One end of a ring buffer.

    :param view: the shared memory, `SIZE` bytes; or empty, if nothing can be put in
    :param words: shared 64-bit words; the one at index `word` is written only by the reader
    """

    __slots__ = ("_fence", "_head", "_view", "_word", "_words")

    def __init__(self, view: memoryview, words: memoryview, word: int) -> None:
        self._view = view
        self._words = words
        self._word = word
        self._head = 0 if len(view) else 2 * SIZE  # always full, because nothing is read
        self._fence = threading.Lock()  # an atomic operation, so that the reads happen before the write of the word

    def put(self, parts: Sequence[Any], size: int) -> int:
        """Copy a payload of `size` bytes in; return the mark to pass to `take`, or 0 if there is no free space."""
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

        :raises ValueError: if there cannot be such a payload at this mark
        """
        head, size = mark - 1, sum(sizes)
        start = head % SIZE
        if start + size > SIZE or head < self._words[self._word]:
            raise ValueError(f"no payload of {size} bytes at position {head} of the ring buffer")
        parts = []
        for part in sizes:
            parts.append(bytes(self._view[start : start + part]))
            start += part
        self._fence.acquire()
        self._fence.release()
        self._words[self._word] = head + (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        return parts

    def close(self) -> None:
        """Release the memory."""
        self._view.release()
