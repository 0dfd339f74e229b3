"""
Batches on a stream socket: each preceded by its size, descriptors of memory files beside them.

Both ends write with `sendmsg`, a large payload as a piece of its own, and read a large batch into a buffer of its size:
so its bytes are copied once out of the pickler's hands and once into the unpickler's, beside the kernel's own copy.
"""

from __future__ import annotations

import array
import errno
import resource
from collections import deque

from woolexec.wire.codec import Message, decode, decode_returns
from woolexec.wire.payload import File, Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from woolexec.wire.arena import Arena
else:  # sooner there: see `worker/template.py`
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

_ANCILLARY = socket.CMSG_SPACE(64 * array.array("i").itemsize)
# As plain integers: the operators of socket's enumerations take a microsecond.
_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_CTRUNC = int(socket.MSG_CTRUNC)
DONT_WAIT = int(socket.MSG_DONTWAIT)


class Reader:
    """
    Reads batches and descriptors from a socket.

    It reads into one buffer that it keeps, and decodes there: what a frame holds is copied out of it once.
    """

    __slots__ = ("_arena", "_buffer", "_files", "_filled", "_huge", "_many_fds", "_sock", "_start", "_view")

    def __init__(self, sock: socket.socket, arena: Arena | None = None) -> None:
        self._sock = sock
        self._arena = arena
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._filled = 0
        self._huge: bytearray | None = None
        self._files: deque[int] = deque()
        # A descriptor above this (the lowest free one is always taken) says that they run short.
        self._many_fds = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2

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
            count, ancillary, told, _ = self._sock.recvmsg_into([target[self._filled :]], _ANCILLARY, flags | _CLOEXEC)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise EOFError from exc
        for _, _, fds in ancillary:
            self._files.extend(array.array("i", fds))
        if told & _CTRUNC:  # no descriptor was left; each file has a message of its own, so one is lost
            self._files.append(-1)
        if not count:
            raise EOFError
        self._filled += count
        if huge is not None:
            if self._filled < len(huge):
                return []
            self._huge, self._filled = None, 0
            return self._attach(decode(huge, 4, len(huge)))
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
        if pos == end:
            pos = self._filled = 0
        elif len(buffer) - end < max(_ROOM, stop - end):  # make room for the rest, and more
            buffer[: end - pos] = buffer[pos:end]
            pos, self._filled = 0, end - pos
        self._start = pos
        return self._attach(frames) if frames else frames

    def _begin_huge(self, pos: int, stop: int) -> None:
        """Read the rest of a batch that is larger than our buffer into one of its size."""
        if stop - pos > LIMIT:
            raise ValueError(f"batch of {stop - pos} bytes")
        self._huge = bytearray(stop - pos)
        self._huge[: self._filled - pos] = self._buffer[pos : self._filled]
        self._filled -= pos
        self._start = 0

    def _attach(self, frames: list[Any]) -> list[Any]:
        """Put the payloads together that did not come as plain bytes."""
        for frame in frames:
            extent = getattr(frame, "extent", ())
            if getattr(frame, "arena", 0):
                frame.payload = self._take_out(frame)
            elif extent:
                frame.payload = Parts.cut(frame.payload, extent) if len(frame.payload) else self._file(extent)
        return frames

    def _take_out(self, frame: Any) -> bytes | Parts:
        if self._arena is None:
            raise ValueError("a payload in an arena, and there is none")
        if frame.extent:
            return Parts(self._arena.take(frame.arena, frame.extent))
        return self._arena.take(frame.arena, frame.size)[0]

    def _file(self, extent: Sequence[int]) -> File | OSError:
        """Return the next memory file that came, or an error if there was no descriptor left for it."""
        if not self._files:
            raise ValueError("a memory file is missing")
        fd = self._files.popleft()
        if fd < 0:
            return OSError(errno.EMFILE, "no descriptor was left to receive a large payload")
        file = File(fd, extent)
        if fd > self._many_fds:
            file.take_in()
        return file

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        while self._files:
            fd = self._files.popleft()
            if fd >= 0:
                File(fd, ())


def sized(frames: bytes) -> bytes:
    """Put the size of a batch in front of it."""
    return len(frames).to_bytes(4, "little") + frames


def pieces(frames: bytes, payload: Any = b"") -> list[Any]:
    """Make what is written for a batch: encoded frames, of which a large payload may stand apart, at their end."""
    size = (len(frames) + len(payload)).to_bytes(4, "little")
    if isinstance(payload, Parts):
        return [size + frames, *payload.parts]
    return [size + frames, payload] if payload else [size + frames]


def write(sock: socket.socket, rest: list[Any], file: File | None) -> tuple[list[Any], File | None]:
    """
    Write pieces once; return what is left of them, and the file if it is still to be sent.

    :raises BlockingIOError: if the socket is full, and does not wait
    :raises OSError: if the other end is gone, or no descriptor can be sent
    """
    if file is not None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.share()]))]
        sent = sock.sendmsg(rest[:_PIECES], rights)
    elif len(rest) == 1:
        sent = sock.send(rest[0])
    else:
        sent = sock.sendmsg(rest[:_PIECES])
    for index, piece in enumerate(rest):
        if sent < len(piece):
            return ([memoryview(piece)[sent:]] if sent else [piece]) + rest[index + 1 :], None
        sent -= len(piece)
    return [], None


def enlarge(sock: socket.socket) -> None:
    """Ask for large socket buffers; the system gives what it allows."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
