"""
Batches on a stream socket, each preceded by its size; memory files' descriptors use another socket: see `descriptors`.

Both ends write with `sendmsg`, a large payload as a separate piece, and read a large batch into a buffer of its size.
So the bytes of a large payload are copied once after pickling and once before unpickling, besides the kernel's own
copies.
"""

from __future__ import annotations

import sys

from woolexec.platform.ipc import map_memory, set_buffer_size
from woolexec.wire import payload as payloads
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.fast_frames import decode, decode_returns, decode_some, encode_apart
from woolexec.wire.payload import INLINE_LIMIT, File, Parts, attach, check_parts
from woolexec.wire.protobuf import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from woolexec.wire.descriptors import Descriptors
    from woolexec.wire.ring_buffer import RingBuffer

LIMIT = 2**31 - 1
"""Maximum size of a batch, in bytes: the limit of protobuf."""

_BUFFER = 1 << 19
"""Maximum number of bytes read at once."""

_ROOM = 1 << 16
"""If less space than this is free at the end of the read buffer, in bytes, the incomplete batch moves to its start."""

_FRAMES, _TURN = 256, 1 << 15
"""Maximum number of frames, and bytes of lone Returns, that one read returns if the other end is not trusted."""

_RETURN = 256
"""Upper bound of the size of a lone Return, in bytes."""

BUFFER_SIZE = 1 << 20
"""Requested size of the socket's buffers, in bytes: enough for a worker's window of 64 KiB payloads."""

_PIECES = 64
"""Maximum number of pieces in one write."""


class HugeBatches:
    """
    Counts the bytes of the batches that several readers are receiving and that are larger than their buffers.

    :param limit: maximum number of bytes of all these batches together
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0

    def add(self, size: int) -> None:
        """
        Count a batch that has begun.

        :raises ValueError: if there is no room for it
        """
        if self._size + size > self._limit:
            raise ValueError(f"batches of {self._size + size} bytes exceed the limit of {self._limit} bytes")
        self._size += size

    def remove(self, size: int) -> None:
        """Stop counting a batch: it is complete, or never will be."""
        self._size -= size


class Reader:
    """
    Reads batches from a socket, and the memory files that belong to them.

    It reads into one buffer that it reuses, and decodes in place: the contents of a frame are copied out once.

    :param arena: the ring buffer from which payloads of medium size are read
    :param descriptors: the socket on which memory files arrive
    :param most: maximum number of frames in a batch, if the other end is not trusted; each read then returns a limited
        number of frames, and the next read the remaining ones
    :ivar huge: counts large batches, together with other readers, if the other end is not trusted
    :ivar has_more: the next read returns frames that have arrived with those of the last one
    """

    __slots__ = (
        "_arena",
        "_batch",
        "_buffer",
        "_descriptors",
        "_filled",
        "_most",
        "_sock",
        "_start",
        "_view",
        "has_more",
        "huge",
    )

    def __init__(
        self,
        sock: socket.socket,
        arena: RingBuffer | None = None,
        descriptors: Descriptors | None = None,
        most: int = 0,
    ) -> None:
        self._sock = sock
        self._most = most
        self.has_more = False
        self.huge: HugeBatches | None = None
        self._arena = arena
        self._descriptors = descriptors
        self._buffer: Any
        try:
            self._buffer = map_memory(_BUFFER)  # only pages that are read into take memory; a bytearray would touch all
        except OSError:  # too many maps
            self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._filled = 0
        self._batch: bytearray | None = None  # an incomplete batch that is larger than the buffer

    def close(self) -> None:
        """Release the buffer; nothing can be read afterwards."""
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._end_huge()

    def read(
        self, returns: list[tuple[int, float, bytes]] | None = None, flags: int = 0, *, only_rest: bool = False
    ) -> list[Message]:
        """
        Read once; return the frames that are complete now.

        :param returns: single-call Returns before any other frame are appended here, as (call, seconds, payload)
        :param only_rest: read nothing from the socket: return frames that have arrived before
        :raises EOFError: if the other end has closed the connection
        :raises BlockingIOError: if there is nothing to read and the socket or the flags do not allow waiting
        :raises ValueError: if the data is not a batch, or exceeds the limit
        """
        if self.has_more and ((frames := self._take(returns)) or returns or self.has_more or only_rest):
            return frames
        batch = self._batch
        target = self._view if batch is None else memoryview(batch)
        try:
            count = self._sock.recv_into(target[self._filled :], 0, flags)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise EOFError from exc
        if not count:
            raise EOFError
        self._filled += count
        if batch is not None:
            if self._filled < len(batch):
                return []
            self._end_huge()
            self._filled = 0
            return self._complete(self._decode(batch, 4, len(batch)), is_ours=True)
        return self._take(returns)

    def _take(self, returns: list[tuple[int, float, bytes]] | None) -> list[Message]:
        buffer, pos, end, stop = self._buffer, self._start, self._filled, 0
        frames: list[Message] = []
        turn = min(end, pos + _TURN) if self._most else end
        self.has_more = False
        while True:
            if returns is not None and not frames:  # only then: the order relative to other frames matters
                pos = decode_returns(buffer, pos, turn, returns)
            if end - pos < 4:
                break
            if self._most and (len(frames) >= _FRAMES or (turn < end and turn - pos < _RETURN)):
                self.has_more = True
                break
            stop = pos + 4 + int.from_bytes(buffer[pos : pos + 4], "little")
            if stop > end:
                if stop - pos > len(buffer):
                    self._begin_huge(pos, stop)
                    return self._complete(frames)
                break
            frames += self._decode(buffer, pos + 4, stop)
            pos = stop
        if frames:
            self._complete(frames)  # before data in the buffer moves, because payloads may be views of it
        if pos == end:
            pos = self._filled = 0
        elif len(buffer) - end < max(_ROOM, stop - end):  # make space for the rest of the batch, and more
            buffer[: end - pos] = buffer[pos:end]
            pos, self._filled = 0, end - pos
        self._start = pos
        return frames

    def _decode(self, data: Any, pos: int, end: int) -> list[Message]:
        frames, pos = decode_some(data, pos, end, self._most or sys.maxsize)
        if pos < end:
            raise ValueError(f"batch of more than {self._most} frames")
        return frames

    def _begin_huge(self, pos: int, stop: int) -> None:
        """Read the rest of a batch that is larger than the read buffer into a buffer of its size."""
        if stop - pos > LIMIT:
            raise ValueError(f"batch of {stop - pos} bytes exceeds the limit of {LIMIT} bytes")
        if self.huge is not None:
            self.huge.add(stop - pos)
        self._batch = bytearray(stop - pos)
        self._batch[: self._filled - pos] = self._buffer[pos : self._filled]
        self._filled -= pos
        self._start = 0

    def _end_huge(self) -> None:
        if self._batch is not None and self.huge is not None:
            self.huge.remove(len(self._batch))
        self._batch = None

    def _complete(self, frames: list[Any], *, is_ours: bool = False) -> list[Any]:
        """
        Set the payloads of frames that did not arrive as plain bytes.

        :param is_ours: the data is in a separate buffer, not in the read buffer
        """
        for frame in frames:
            extent = getattr(frame, "extent", ())
            if getattr(frame, "arena", 0):
                frame.payload = self._take_out(frame)
            elif extent:
                payload = frame.payload
                frame.payload = Parts.cut(payload, extent, is_ours=is_ours) if len(payload) else self._take_file(extent)
        return frames

    def _take_out(self, frame: Any) -> bytes | Parts:
        if self._arena is None:
            raise ValueError("a frame refers to a ring buffer, but this connection has none")
        if frame.extent:
            check_parts(frame.extent, sum(frame.extent))
            return Parts(self._arena.take(frame.arena, frame.extent))
        return self._arena.take(frame.arena, frame.size)[0]

    def _take_file(self, extent: Sequence[int]) -> File | Parts | OSError:
        """Return the next memory file received, or an error if no descriptor was left for it."""
        descriptors = self._descriptors
        if descriptors is None:
            raise ValueError("the memory file of a frame is missing: this connection has no socket for descriptors")
        try:
            file = File(descriptors.take(), extent)
        except OSError as exc:
            return exc
        if len(file) > INLINE_LIMIT or (descriptors.reserve.hold() and not is_scarce(file.fd)):
            return file
        parts = file.take_in()
        descriptors.reserve.hold()
        return parts


def sized(frames: bytes) -> bytes:
    """Prepend the size of a batch to it."""
    return len(frames).to_bytes(4, "little") + frames


def pieces(frames: bytes, payload: Any = b"") -> list[Any]:
    """Return the pieces to write for a batch: encoded frames, with a large payload as a separate piece at the end."""
    size = (len(frames) + len(payload)).to_bytes(4, "little")
    if isinstance(payload, Parts):
        return [size + frames, *payload.parts]
    return [size + frames, payload] if payload else [size + frames]


def write(
    sock: socket.socket, rest: list[Any], file: File | None, descriptors: Descriptors | None = None
) -> tuple[list[Any], File | None]:
    """
    Write pieces once; return the pieces that are left, and the file if it still has to be sent.

    A file whose descriptor cannot be sent now is written as bytes.

    :raises BlockingIOError: if the socket is full and non-blocking
    :raises OSError: if the other end has closed the connection
    """
    if file is not None:
        if descriptors is None or (fd := file.pass_on()) < 0 or not descriptors.give(fd, len(file)):
            rest = _inlined(rest, file)
        try:
            return write(sock, rest, None)
        except BlockingIOError:
            return rest, None
    sent = sock.send(rest[0]) if len(rest) == 1 else sock.sendmsg(rest[:_PIECES])
    for index, piece in enumerate(rest):
        if sent < len(piece):
            return ([memoryview(piece)[sent:]] if sent else [piece]) + rest[index + 1 :], None
        sent -= len(piece)
    return [], None


def _inlined(rest: list[Any], file: File) -> list[Any]:
    """
    Put the payload of a file into its frame.

    :raises BlockingIOError: if it is too large for a frame
    """
    if len(file) > INLINE_LIMIT:
        raise BlockingIOError
    frame: Any
    [frame] = decode(rest[0], 4, len(rest[0]))
    attach(frame, file, files=False)
    return pieces(encode_apart(frame), frame.payload)


def enlarge(sock: socket.socket) -> None:
    """Request large socket buffers; the system may grant less."""
    set_buffer_size(sock, BUFFER_SIZE)


def _lend(parts: Sequence[Any]) -> File | None:
    """Write the parts of a payload to a file that is used again, if possible; loads the module for that."""
    from woolexec.wire.spare_files import lend

    return lend(parts)


payloads.lend = _lend
