"""
Batches on a stream socket: each preceded by its size; descriptors of memory files come beside it (see `descriptors`).

Both ends write with `sendmsg`, a large payload as a piece of its own, and read a large batch into a buffer of its size:
so its bytes are copied once out of the pickler's hands and once into the unpickler's, beside the kernel's own copy.
"""

from __future__ import annotations

from woolexec.wire.codec import (
    Message,
    Return,
    Start,
    Submit,
    decode,
    decode_returns,
    encode,
    encode_apart,
)
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.payload import INLINE_LIMIT, File, Parts, fill

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from woolexec.wire.descriptors import Descriptors
    from woolexec.wire.ring_buffer import RingBuffer
else:  # sooner there: see `worker/fork_server.py`
    import _socket as socket

LIMIT = 2**31 - 1
"""The largest batch, in bytes: what protobuf accepts."""

_BUFFER = 1 << 19
"""Bytes read at once, at most."""

_ROOM = 1 << 16
"""Less than this free behind what was read, in bytes, and the unfinished rest is moved to the front."""

BUFFER_SIZE = 1 << 20
"""What is asked for as the socket's buffer, in bytes: room for a worker's window of 64 KiB payloads."""

_PIECES = 64
"""Pieces written at once, at most."""

DONT_WAIT = int(socket.MSG_DONTWAIT)


class Reader:
    """
    Reads batches from a socket, and the memory files that belong to them.

    It reads into one buffer that it keeps, and decodes there: what a frame holds is copied out of it once.

    :param arena: where payloads of middle size come
    :param descriptors: on which memory files come
    """

    __slots__ = ("_arena", "_buffer", "_descriptors", "_filled", "_huge", "_sock", "_start", "_view")

    def __init__(
        self, sock: socket.socket, arena: RingBuffer | None = None, descriptors: Descriptors | None = None
    ) -> None:
        self._sock = sock
        self._arena = arena
        self._descriptors = descriptors
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._filled = 0
        self._huge: bytearray | None = None

    def read(self, returns: list[tuple[int, float, bytes]] | None = None, flags: int = 0) -> list[Message]:
        """
        Read once; return the frames that are complete now.

        :param returns: the lone Returns that come before any other frame are appended here, as (call, seconds, payload)
        :raises EOFError: if the other end is gone
        :raises BlockingIOError: if nothing is there and the socket or the flags say not to wait
        :raises ValueError: if what came is not a batch, or is over the limit
        """
        huge = self._huge
        target = self._view if huge is None else memoryview(huge)
        try:
            count = self._sock.recv_into(target[self._filled :], 0, flags)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise EOFError from exc
        if not count:
            raise EOFError
        self._filled += count
        if huge is not None:
            if self._filled < len(huge):
                return []
            self._huge, self._filled = None, 0
            return self._attach(decode(huge, 4, len(huge)), is_ours=True)
        return self._take(returns)

    def _take(self, returns: list[tuple[int, float, bytes]] | None) -> list[Message]:
        buffer, pos, end, stop = self._buffer, self._start, self._filled, 0
        frames: list[Message] = []
        while True:
            if returns is not None and not frames:  # their order among other frames matters
                pos = decode_returns(buffer, pos, end, returns)
            if end - pos < 4:
                break
            stop = pos + 4 + int.from_bytes(buffer[pos : pos + 4], "little")
            if stop > end:
                if stop - pos > len(buffer):
                    self._begin_huge(pos, stop)
                    return self._attach(frames)
                break
            frames += decode(buffer, pos + 4, stop)
            pos = stop
        if frames:
            self._attach(frames)  # before anything is moved, for they may be views
        if pos == end:
            pos = self._filled = 0
        elif len(buffer) - end < max(_ROOM, stop - end):  # make room for the rest, and more
            buffer[: end - pos] = buffer[pos:end]
            pos, self._filled = 0, end - pos
        self._start = pos
        return frames

    def _begin_huge(self, pos: int, stop: int) -> None:
        """Read the rest of a batch that is larger than our buffer into one of its size."""
        if stop - pos > LIMIT:
            raise ValueError(f"batch of {stop - pos} bytes")
        self._huge = bytearray(stop - pos)
        self._huge[: self._filled - pos] = self._buffer[pos : self._filled]
        self._filled -= pos
        self._start = 0

    def _attach(self, frames: list[Any], *, is_ours: bool = False) -> list[Any]:
        """
        Put the payloads together that did not come as plain bytes.

        :param is_ours: what was read is in memory of its own
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
            raise ValueError("a payload in an arena, and there is none")
        if frame.extent:
            return Parts(self._arena.take(frame.arena, frame.extent))
        return self._arena.take(frame.arena, frame.size)[0]

    def _take_file(self, extent: Sequence[int]) -> File | Parts | OSError:
        """Return the next memory file that came, or an error if there was no descriptor left for it."""
        descriptors = self._descriptors
        if descriptors is None:
            raise ValueError("a memory file is missing")
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
    """Put the size of a batch in front of it."""
    return len(frames).to_bytes(4, "little") + frames


def pieces(frames: bytes, payload: Any = b"") -> list[Any]:
    """Make what is written for a batch: encoded frames, of which a large payload may stand apart, at their end."""
    size = (len(frames) + len(payload)).to_bytes(4, "little")
    if isinstance(payload, Parts):
        return [size + frames, *payload.parts]
    return [size + frames, payload] if payload else [size + frames]


def write(
    sock: socket.socket, rest: list[Any], file: File | None, descriptors: Descriptors | None = None
) -> tuple[list[Any], File | None]:
    """
    Write pieces once; return what is left of them, and the file if it is still to be sent.

    A file that cannot be sent now goes as bytes.

    :raises BlockingIOError: if the socket is full, and does not wait
    :raises OSError: if the other end is gone
    """
    if file is not None:
        if descriptors is None or not descriptors.give(file.fd):
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
    Put the payload into its frame after all.

    :raises BlockingIOError: if it is too large for that
    """
    if len(file) > INLINE_LIMIT:
        raise BlockingIOError
    [frame] = decode(rest[0], 4, len(rest[0]))
    payload = Parts(file.load())
    if isinstance(frame, Start | Return | Submit):
        frame.payload = payload
        return pieces(encode_apart(frame), payload)
    fill(frame, payload)
    return pieces(encode(frame))


def enlarge(sock: socket.socket) -> None:
    """Ask for large socket buffers; the system gives what it allows."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
