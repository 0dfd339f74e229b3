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
"""

from __future__ import annotations

import errno
import os
import time

from woolexec.platform.ipc import DONT_WAIT, PEEK, receive_with_fds, send_with_fds
from woolexec.platform.posix import descriptor_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import array
    import socket

_PAUSES = 0.0, 0.0, 0.001, 0.01, 0.05  # s; another thread may take the released descriptor, and close it again


def is_scarce(fd: int) -> bool:
    """
    Return whether file descriptors are scarce, judged by the number that the next one gets.

    :param fd: an open descriptor; its own number is no measure: it may be a low one that was free only for a moment
    """
    try:
        following = os.dup(fd)
    except OSError:
        return True
    os.close(following)
    return following >= descriptor_limit() // 2


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

    def lend(self) -> None:
        """Close the spare descriptor, so that another can be received."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def receive(sock: socket.socket, size: int, reserve: Reserve) -> tuple[bytes, array.array[int], bool]:
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


class Descriptors:
    """
    One end of the socket for file descriptors; owns it.

    Descriptors arrive in the order in which they were sent, so each must be sent right before its frame.

    :param reserve: the reserve of the thread that receives them
    """

    def __init__(self, sock: socket.socket, reserve: Reserve) -> None:
        self._sock = sock
        self.reserve = reserve
        reserve.hold()

    @property
    def fileno(self) -> int:
        """The file descriptor of the socket itself."""
        return self._sock.fileno()

    def give(self, fd: int) -> bool:
        """Send a descriptor; return False if that cannot be done now."""
        try:
            send_with_fds(self._sock, b"\0", [fd], DONT_WAIT)
        except OSError:
            return False
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
