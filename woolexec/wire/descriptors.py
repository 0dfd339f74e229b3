"""
File descriptors of memory files: how many a process uses, and how they get to the other end of a socketpair.

1. Payloads use only the lower half of the descriptors that the process may open.  The system always assigns the lowest
   free number, so a number in the upper half means that half of them are in use, by any part of the process: then a
   payload stays in ordinary memory, or is read into it.
2. Descriptors travel on a separate socket, each before its frame, and are received when the frame has arrived.  A file
   whose descriptor cannot be sent (the socket's queue is full, too many are in flight) goes as bytes in its frame, so
   sending never blocks.
3. The kernel drops descriptors for which the receiver has no free number.  So the receiver first looks at the message
   with MSG_PEEK, which leaves it in the queue.  One descriptor is kept in reserve, and released when no other is free.
4. The memory of files that were sent and not yet received is not counted for any process, so their size is limited.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from contextlib import contextmanager

from woolexec.platform.ipc import DONT_WAIT, PEEK, receive_with_fds, send_with_fds, unreceived
from woolexec.platform.posix import descriptor_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_PAUSES = 0.0, 0.0, 0.001, 0.01, 0.05  # s; another thread may take the released descriptor, and close it again


def is_scarce(fd: int) -> bool:
    """
    Return whether file descriptors are scarce, judged by the number of the next descriptor.

    :param fd: an open descriptor; its own number is no measure: it may be a low one that was free only for a moment
    """
    try:
        following = os.dup(fd)
    except OSError:
        return True
    os.close(following)
    return following >= descriptor_limit() // 2


def are_scarce() -> bool:
    """Return whether file descriptors are scarce, for callers that have no open descriptor to pass."""
    try:
        fd = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return True
    os.close(fd)
    return fd >= descriptor_limit() // 2


class Reserve:
    """A spare file descriptor, released when one must be received; empty until `hold` is called."""

    def __init__(self) -> None:
        self._fd = -1

    def hold(self) -> bool:
        """Open the spare descriptor, unless it is open; return False if there is none left."""
        if self._fd < 0:
            try:
                self._fd = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                return False
        return True

    def lend(self) -> bool:
        """Close the spare descriptor, so that another can be received; return False if there is none."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return False
        os.close(fd)
        return True

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Free the spare descriptor for files that are closed again meanwhile, such as those of imported modules."""
        is_lent = self.lend()
        try:
            yield
        finally:
            if is_lent:
                self.hold()


def receive(sock: socket.socket, size: int, reserve: Reserve) -> tuple[bytes, list[int], bool]:
    """
    Receive a message that was sent with a file descriptor, and the descriptor.

    :param size: maximum size of the message, in bytes
    :param reserve: the receiving thread's reserve
    :return: the message, its descriptors, and whether a descriptor was lost because none was free here
    :raises OSError: if no message has arrived
    """
    reserve.hold()
    for pause in _PAUSES:
        if pause:
            time.sleep(pause)
        data, fds, is_lost = receive_with_fds(sock, size, 1, DONT_WAIT | PEEK)
        if fds or not is_lost:
            break
        reserve.lend()
    sock.recv(len(data), DONT_WAIT)
    return data, fds, is_lost and not fds


_SHARE = 32
"""Divisor of the memory that this process may use: the part for files that were sent and not yet received."""


class OnTheWay:
    """
    The files that were sent over a socket and not yet received, and their total size.

    :param limit: maximum total size in bytes, if there are several; None: a share of the memory that this process may
        use
    """

    def __init__(self, sock: socket.socket, limit: int | None = None) -> None:
        self._sock, self._limit = sock, limit
        self._unit = 1  # number of bytes that the kernel counts for one message
        self._sizes: deque[int] = deque(maxlen=1000)  # of the files sent last
        self._was_empty = True

    def has_room(self, size: int) -> bool:
        """Return whether a file of this size may be sent now."""
        queued, sizes = unreceived(self._sock), self._sizes
        while len(sizes) > -(-queued // self._unit):
            sizes.popleft()
        self._was_empty = not queued
        if not sizes:
            return True
        if self._limit is None:
            from woolexec.platform.memory import usable_memory  # rarely needed

            self._limit = usable_memory() // _SHARE
        return sum(sizes) + size <= self._limit

    def add(self, size: int) -> None:
        """Record a file that has been sent, after `has_room`."""
        if self._was_empty:
            self._unit = max(self._unit, unreceived(self._sock))
        self._sizes.append(size)


class Descriptors:
    """
    One end of the socket for file descriptors; owns it.

    Descriptors arrive in the order in which they were sent, so each must be sent right before its frame.

    :param reserve: the reserve of the thread that receives them
    """

    def __init__(self, sock: socket.socket, reserve: Reserve) -> None:
        self._sock = sock
        self._on_the_way = OnTheWay(sock)
        self.reserve = reserve
        reserve.hold()

    @property
    def fileno(self) -> int:
        """The file descriptor of the socket itself."""
        return self._sock.fileno()

    def give(self, fd: int, size: int = 0) -> bool:
        """Send the descriptor of a file of this size; return False if that is not possible now."""
        try:
            if not self._on_the_way.has_room(size):
                return False
            send_with_fds(self._sock, b"\0", [fd], DONT_WAIT)
        except OSError:
            return False
        self._on_the_way.add(size)
        return True

    def take(self) -> int:
        """
        Receive the next descriptor.

        :raises OSError: if this process had no free descriptor for it
        :raises ValueError: if none was sent
        """
        try:
            _, fds, is_lost = receive(self._sock, 1, self.reserve)
        except OSError as exc:
            raise ValueError("the descriptor of a frame's memory file is missing") from exc
        if fds:
            return fds[0]
        if is_lost:
            raise OSError(errno.EMFILE, "no descriptor was left to receive a large payload; raise ulimit -n")
        raise ValueError("the descriptor of a frame's memory file is missing")

    def close(self) -> None:
        """Close the socket, and with it the descriptors that were not received."""
        self._sock.close()
