"""The worker's end of its socketpair."""

from __future__ import annotations

import os
import threading
from _thread import interrupt_main
from collections import deque
from time import sleep

from woolexec.platform.ipc import DONT_WAIT, can_read
from woolexec.wire.payload import File, spares
from woolexec.wire.protobuf import Message
from woolexec.wire.socket_stream import Reader, pieces, sized, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from woolexec.wire.descriptors import Descriptors
    from woolexec.wire.ring_buffer import RingBuffer

_MOMENT = 0.001
"""Seconds after which a payload that is too large for a frame is sent again."""

_IDLE = 1.0
"""Seconds without a frame after which spare files are closed."""


class SocketTransport:
    """
    Send and receive frames.

    Any thread may send, even one that was interrupted in the middle of sending (a signal handler that logs): frames are
    appended to a queue, and the thread that holds `_sending` writes the queue out.

    :param arena: ring buffer in which medium-sized payloads arrive
    :param descriptors: the socket on which memory files are received and sent
    """

    def __init__(
        self, sock: socket.socket, arena: RingBuffer | None = None, descriptors: Descriptors | None = None
    ) -> None:
        self._sock = sock
        self._descriptors = descriptors
        self.fileno = sock.fileno()
        self._reader = Reader(sock, arena, descriptors)
        self._line: deque[bytes | tuple[list[Any], File | None]] = deque()
        self._sending = threading.Lock()  # guards writing to the socket
        self.is_interrupted = False
        """Whether an interrupt is deferred: see `woolexec.worker.interrupts`."""

    def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
        """
        Write encoded frames; all have been written when this returns, unless another thread is writing them.

        :param payload: the end of the frames, given separately because it is large
        """
        if file is None and not payload:
            self._line.append(sized(frames))
        else:
            self._line.append((pieces(frames, payload), file))
        self._write_out()

    @property
    def is_sending(self) -> bool:
        """Whether some frames have not been written yet."""
        return bool(self._line) or self._sending.locked()

    def _write_out(self) -> None:
        while self._line and self._sending.acquire(blocking=False):
            try:
                while self._line:
                    entry = self._line.popleft()
                    if entry.__class__ is bytes:  # the usual case, kept short: after a call all caches are cold
                        sent = self._sock.send(entry)
                        if sent == len(entry):
                            continue
                        entry = [memoryview(entry)[sent:]], None
                    rest: Any
                    file: Any
                    rest, file = entry
                    while rest:
                        try:
                            rest, file = write(self._sock, rest, file, self._descriptors)
                        except BlockingIOError:  # it must be sent as a descriptor, and too many are in flight
                            sleep(_MOMENT)
            except ConnectionError:  # the engine is gone: the thread that reads sees it too, and ends the worker
                self._line.clear()
            except BaseException:  # a signal handler raised in the middle of a frame: the stream is broken
                os._exit(1)
            finally:
                self._sending.release()
                self.interrupt_again()

    def interrupt_again(self) -> None:
        """Interrupt the main thread if Ctrl-C arrived meanwhile; called in any thread."""
        if self.is_interrupted:
            self.is_interrupted = False
            interrupt_main()

    @property
    def is_writing(self) -> bool:
        """Whether a thread is writing."""
        return self._sending.locked()

    def send_all(self, batches: Sequence[bytes]) -> None:
        """Write several batches of encoded frames at once."""
        self._line.append(b"".join(map(sized, batches)))
        self._write_out()

    def receive(self, *, wait: bool = True) -> list[Message]:
        """
        Read the frames that have arrived.

        :raises EOFError: if the other end is gone
        :raises BlockingIOError: if none has arrived and `wait` is false
        """
        frames: list[Message] = []
        if spares and wait and not can_read(self.fileno, _IDLE):
            from woolexec.wire.spare_files import drop_spares

            drop_spares()
        while not frames:
            frames = self._reader.read(None, 0 if wait else DONT_WAIT)
        return frames
