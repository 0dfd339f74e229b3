"""
What a worker prints, on its way to the engine: the pipes that stand for its standard output and standard error.

What is printed by Python code of a task is a *record*: `MAGIC`, a header that names the task, and the text.  Both
streams use the first pipe for them, so that they keep their order.  All other bytes in a pipe were written to its
descriptor: by C code, or by other processes.

A record is at most as long as what a pipe takes as a whole, so records are never mixed.  A process that writes the
bytes of a record to a descriptor can only claim to be another task of the same worker.
"""

from __future__ import annotations

import struct

from woolexec.platform.ipc import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT, STDERR = 1, 2
"""The streams: their descriptors, as everywhere."""

MAGIC = b"\0\xf5woolexec\xf5\0"
_HEADER = struct.Struct("<QQBBH")
"""Of a record: the call, who writes, the stream, whether the line goes on in the next record, and the text's size."""

_HEAD = len(MAGIC) + _HEADER.size

LONGEST = WHOLE - _HEAD
"""Maximum size of the text of a record, in bytes."""

LINE = 1 << 16
"""Size, in bytes, from which a line that has not ended is passed on."""

_LOST = 0
"""In place of the stream: the text is the number of bytes that were dropped, 8 bytes long."""

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
    Some whole lines.

    :ivar call: the call that has printed them; None if nobody knows
    :ivar lost: bytes that were dropped before them
    """

    __slots__ = ("call", "lost", "stream", "text")

    def __init__(self, call: int | None, stream: int, text: bytes, lost: int = 0) -> None:
        self.call, self.stream, self.text, self.lost = call, stream, text, lost


class Decoder:
    """
    Takes apart what comes out of one pipe.

    :param stream: for which descriptor the pipe stands
    """

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._rest = b""  # the beginning of a record, or of what may become one
        self._line = b""  # one that has not ended, of C code or another process
        self._parts: dict[tuple[int, int, int], bytes] = {}

    def feed(self, data: bytes) -> list[Printed]:
        """Return the lines that are complete with this data; those of one source that follow each other are one."""
        joined: list[Printed] = []
        for each in self._decode(self._rest + data):
            last = joined[-1] if joined else None
            if last is None or each.lost or (last.call, last.stream) != (each.call, each.stream):
                joined.append(each)
            else:
                last.text += each.text
        return joined

    def end_line(self) -> list[Printed]:
        """Complete the line of C code or another process that has not ended, if there is one."""
        line, self._line = self._line, b""
        return [Printed(None, self._stream, line + b"\n")] if line else []

    def end(self) -> list[Printed]:
        """Complete all lines: nobody writes any more."""
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
            if stream > STDERR or size > LONGEST:  # somebody has printed the magic number
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
