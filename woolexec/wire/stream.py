"""
Batches on a stream socket: each preceded by its size, descriptors of memory files beside them.

Both ends write with `sendmsg`, a large payload as a piece of its own, and read a large batch into a buffer of its size:
so its bytes are copied once out of the pickler's hands and once into the unpickler's, beside the kernel's own copy.
"""

from __future__ import annotations

import array
import errno
import resource
import socket
from collections import deque

from woolexec.wire.payload import File, Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIMIT = 2**31 - 1
"""The largest batch, in bytes: what protobuf accepts."""

_READ_SIZE = 1 << 16
"""Bytes read at once: malloc takes more than twice that from the kernel anew each time."""

BUFFER_SIZE = 1 << 20
"""What is asked for as the socket's buffer, in bytes: room for a worker's window of 64 KiB payloads."""

_PIECES = 64
"""Pieces written at once, at most."""

_ANCILLARY = socket.CMSG_SPACE(64 * array.array("i").itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

_MANY_FDS = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
"""A descriptor above this (the lowest free one is always taken) says that they run short."""


class Reader:
    """Reads batches and descriptors from a socket."""

    __slots__ = ("_files", "_filled", "_pending", "_sock", "_whole")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pending: bytes = b""
        self._whole: bytearray | None = None
        self._filled = 0
        self._files: deque[int] = deque()

    def read(self, flags: int = 0) -> bytes | bytearray:
        """
        Read once; return the batches that are complete now, joined, or nothing.

        :raises EOFError: if the other end is gone
        :raises BlockingIOError: if nothing is there and the socket or the flags say not to wait
        :raises ValueError: if a batch is over the limit
        """
        whole = self._whole
        try:
            if whole is not None:
                rest = memoryview(whole)[self._filled :]
                count, ancillary, told, _ = self._sock.recvmsg_into([rest], _ANCILLARY, flags | _CLOEXEC)
                data = b"."[:count]
            else:
                data, ancillary, told, _ = self._sock.recvmsg(_READ_SIZE, _ANCILLARY, flags | _CLOEXEC)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise EOFError from exc
        if ancillary:
            for _, _, fds in ancillary:
                self._files.extend(array.array("i", fds))
        if told & socket.MSG_CTRUNC:  # no descriptor was left; each file has a message of its own, so one is lost
            self._files.append(-1)
        if not data:
            raise EOFError
        if whole is not None:
            self._filled += count
            if self._filled < len(whole):
                return b""
            self._whole = None
            return whole
        if self._pending:
            data = self._pending + data
        return self._cut(data)

    def _cut(self, data: bytes) -> bytes | bytearray:
        pos, end = 0, len(data)
        out: list[bytes] = []
        while end - pos >= 4:
            size = int.from_bytes(data[pos : pos + 4], "little")
            stop = pos + 4 + size
            if stop > end:
                if size > LIMIT:
                    raise ValueError(f"batch of {size} bytes")
                if size >= _READ_SIZE // 2:
                    self._whole = bytearray(size)
                    self._filled = end - pos - 4
                    self._whole[: self._filled] = data[pos + 4 :]
                    pos = end
                break
            out.append(data[pos + 4 : stop])
            pos = stop
        self._pending = data[pos:] if pos < end else b""
        return out[0] if len(out) == 1 else b"".join(out)

    def attach(self, frames: Sequence[Any]) -> None:
        """
        Put the payloads together that did not come as plain bytes.

        :raises ValueError: if something of them is missing
        """
        for frame in frames:
            extent = getattr(frame, "extent", ())
            if extent:
                frame.payload = Parts.cut(frame.payload, extent) if frame.payload else self._file(extent)

    def _file(self, extent: Sequence[int]) -> File | OSError:
        """Return the next memory file that came, or an error if there was no descriptor left for it."""
        if not self._files:
            raise ValueError("a memory file is missing")
        fd = self._files.popleft()
        if fd < 0:
            return OSError(errno.EMFILE, "no descriptor was left to receive a large payload")
        file = File(fd, extent)
        if fd > _MANY_FDS:
            file.take_in()
        return file

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        while self._files:
            fd = self._files.popleft()
            if fd >= 0:
                File(fd, ())


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
