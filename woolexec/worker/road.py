"""The worker's end of its socketpair."""

from __future__ import annotations

import array
import os
import socket
import threading
from collections import deque

from woolexec.wire.codec import Message, Splitter, decode
from woolexec.wire.payload import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_READ_SIZE = 1 << 16
_FDS = 64
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Road:
    """
    Send and receive frames.

    Any thread may send, also one that was interrupted in the middle of sending (a signal handler that logs): frames
    are put in line, and whoever holds `_sending` writes the line out.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._splitter = Splitter()
        self._files: deque[int] = deque()
        self._line: deque[tuple[bytes, File | None]] = deque()
        self._sending = threading.Lock()  # guards writing to the socket
        self._ancillary = socket.CMSG_SPACE(_FDS * array.array("i").itemsize)

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Write encoded frames, all of which are gone when this returns, unless another thread is writing them."""
        self._line.append((len(frames).to_bytes(4, "little") + frames, file))
        while self._line and self._sending.acquire(blocking=False):
            try:
                while self._line:
                    self._write(*self._line.popleft())
            finally:
                self._sending.release()

    def _write(self, data: bytes, file: File | None) -> None:
        try:
            if file is not None:
                sent = self._sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.share()]))])
                data = data[sent:]
            if data:
                self._sock.sendall(data)
        except OSError:  # nobody listens any more
            os._exit(1)
        except BaseException:  # a signal handler raised in the middle of a frame: the stream cannot be mended
            os._exit(1)

    def receive(self, *, wait: bool = True) -> list[Message]:
        """
        Read what is there.

        :raises EOFError: if the other end is gone
        :raises BlockingIOError: if nothing is there and `wait` is false
        """
        while True:
            data, ancillary, _, _ = self._sock.recvmsg(
                _READ_SIZE, self._ancillary, _CLOEXEC if wait else _CLOEXEC | socket.MSG_DONTWAIT
            )
            for level, kind, fds in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self._files.extend(array.array("i", fds))
            if not data:
                raise EOFError
            batches = self._splitter.feed(data)
            if batches:
                frames = decode(batches)
                for frame in frames:
                    self._attach(frame)
                return frames

    def _attach(self, frame: Any) -> None:
        extent = getattr(frame, "extent", ())
        if extent:
            frame.payload = File(self._files.popleft(), extent)
