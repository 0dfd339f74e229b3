"""The engine's ends of the pipes that are one worker's standard output and standard error."""

from __future__ import annotations

import os

from woolexec.platform.ipc import READABLE, poll, wide_pipe
from woolexec.wire.printed import STDERR, STDOUT, Decoder, Printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE = 1 << 18
"""Capacity of a pipe in bytes, if the system permits it, and maximum number of bytes read from it in one turn."""


class WorkerPipes:
    """The output of one worker.  Only the engine's thread uses it."""

    def __init__(self) -> None:
        self._decoders: dict[int, Decoder] = {}
        self._ready = poll()

    def open(self) -> tuple[int, ...]:
        """
        Create the pipes.

        :return: the worker's ends, which the caller closes; none if no descriptors are left: the worker then writes to
            the output of this process
        """
        theirs: list[int] = []
        try:
            for stream in (STDOUT, STDERR):
                ours, end = wide_pipe(_SIZE)
                theirs.append(end)
                self._decoders[ours] = Decoder(stream)
                self._ready.register(ours, READABLE)
        except OSError:
            for fd in theirs:
                os.close(fd)
            self.close()
            return ()
        return tuple(theirs)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The ends that are read here."""
        return tuple(self._decoders)

    def read(self, at_end: Callable[[int], object]) -> list[Printed]:
        """
        Return the lines that have arrived; at most as many as fit into the pipes.

        :param at_end: called with the descriptor of a pipe that no process has open for writing
        """
        found: list[Printed] = []
        for fd, _ in self._ready.poll(0):
            data = os.read(fd, _SIZE)
            if data:
                found += self._decoders[fd].feed(data)
            else:
                self._ready.unregister(fd)
                at_end(fd)
        return found

    def end_lines(self) -> list[Printed]:
        """Complete the lines of C code and of other processes, because a call has ended."""
        return [line for decoder in self._decoders.values() for line in decoder.end_line()]

    def end(self) -> list[Printed]:
        """Complete all lines, because the worker has ended."""
        return [line for decoder in self._decoders.values() for line in decoder.end()]

    def close(self) -> None:
        """Close the pipes; nothing is read any more, although a round that has begun may still try."""
        for fd in self._decoders:
            os.close(fd)
        self._decoders.clear()
        self._ready = poll()  # the old one would watch the next files with these numbers
