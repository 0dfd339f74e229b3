"""
The encoding of a worker's output in the pipes to the engine, which replace its standard output and standard error.

Output that Python code of a task prints is sent as a *record*: `MAGIC`, a header that names the task, and the text.
Both streams send their records through the first pipe, so that they keep their order.  All other bytes in a pipe were
written to its descriptor: by C code, or by other processes.

A record is never longer than an atomic write to a pipe, so records are never mixed.  A process that writes the bytes of
a record to a descriptor can only claim to be another task of the same worker.
"""

from __future__ import annotations

import struct

from woolexec.platform.ipc import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT, STDERR = 1, 2
"""The streams, by their usual descriptors."""

MAGIC = b"\0\xf5woolexec\xf5\0"
_HEADER = struct.Struct("<QQBBH")
"""Of a record: the call, the writer, the stream, whether the line goes on in the next record, and the text's size."""

_HEAD = len(MAGIC) + _HEADER.size

LONGEST = WHOLE - _HEAD
"""Maximum size of the text of a record, in bytes."""

LINE = 1 << 16
"""Minimum size, in bytes, at which an incomplete line is passed on."""

_LOST = 0
"""Given as the stream if the text is the number of bytes that were dropped, as 8 bytes."""

_PARTS = 64
"""Maximum number of long lines that are being put together."""


def record(call: int, writer: int, stream: int, text: bytes, *, goes_on: bool = False) -> bytes:
    """
    Encode a text of at most `LONGEST` bytes.

    :param writer: the thread that writes the line, which may take several records
    """
    return MAGIC + _HEADER.pack(call, writer, stream, goes_on, len(text)) + text


def lost_record(call: int, count: int) -> bytes:
    """Encode how many bytes were dropped."""
    return record(call, 0, _LOST, count.to_bytes(8, "little"))


def end_of_lines(text: bytes) -> int:
    r"""Return where the last line ends in this text, with \n or, as a progress bar's, with \r; 0 if none does."""
    return max(text.rfind(b"\n"), text.rfind(b"\r")) + 1


class Printed:
    """
    Some complete lines.

    :ivar call: the call that has printed them; None if unknown
    :ivar lost: bytes that were dropped before them
    """

    __slots__ = ("call", "lost", "stream", "text")

    def __init__(self, call: int | None, stream: int, text: bytes, lost: int = 0) -> None:
        self.call, self.stream, self.text, self.lost = call, stream, text, lost


class Decoder:
    """
    Decodes the contents of one pipe.

    :param stream: the descriptor that the pipe replaces
    """

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._rest = b""  # the beginning of a record, or of a possible one
        self._line = b""  # an incomplete line of C code or another process
        self._parts: dict[tuple[int, int, int], bytes] = {}

    def feed(self, data: bytes) -> list[Printed]:
        """Return the lines that this data completes; consecutive lines of one source are joined."""
        joined: list[Printed] = []
        for each in self._decode(self._rest + data):
            last = joined[-1] if joined else None
            if last is None or each.lost or (last.call, last.stream) != (each.call, each.stream):
                joined.append(each)
            else:
                last.text += each.text
        return joined

    def end_line(self) -> list[Printed]:
        """Complete the unfinished line of C code or another process, if there is one."""
        line, self._line = self._line, b""
        return [Printed(None, self._stream, line + b"\n")] if line else []

    def end(self) -> list[Printed]:
        """Complete all lines, when all writers have closed the pipe."""
        self._line += self._rest
        left = [Printed(call or None, stream, text + b"\n") for (call, _, stream), text in self._parts.items()]
        self._parts.clear()
        self._rest = b""
        return left + self.end_line()

    def _decode(self, data: bytes) -> Iterator[Printed]:
        pos = 0
        while (at := data.find(MAGIC, pos)) >= 0:
            yield from self._raw(data[pos:at])
            if len(data) - at < _HEAD:
                self._rest = data[at:]
                return
            call, writer, stream, goes_on, size = _HEADER.unpack_from(data, at + len(MAGIC))
            if stream > STDERR or size > LONGEST:  # the magic number was printed by the user
                yield from self._raw(MAGIC)
                pos = at + len(MAGIC)
                continue
            pos = at + _HEAD + size
            if pos > len(data):
                self._rest = data[at:]
                return
            yield from self._take(call, writer, stream, data[pos - size : pos], goes_on=goes_on)
        kept = next((size for size in range(len(MAGIC) - 1, 0, -1) if data.endswith(MAGIC[:size], pos)), 0)
        yield from self._raw(data[pos : len(data) - kept])
        self._rest = data[len(data) - kept :]

    def _take(self, call: int, writer: int, stream: int, text: bytes, *, goes_on: bool) -> Iterator[Printed]:
        if stream == _LOST:
            yield Printed(call or None, STDERR, b"", int.from_bytes(text, "little"))
            return
        key = call, writer, stream
        text = self._parts.pop(key, b"") + text
        if goes_on and len(text) < LINE and len(self._parts) < _PARTS:
            self._parts[key] = text
        else:
            yield Printed(call or None, stream, text)

    def _raw(self, text: bytes) -> Iterator[Printed]:
        text = self._line + text
        end = end_of_lines(text)
        if len(text) - end >= LINE:
            end = len(text)
        self._line = text[end:]
        if end:
            yield Printed(None, self._stream, text[:end])
