"""
Descriptors of memory files: which of a process's few they may be, and how they get to the other end of a socketpair.

1. Payloads take descriptors of the lower half only.  The lowest free one is always taken, so a number in the upper half
   says that half of them are in use, whoever uses them: then a payload stays in ordinary memory, or is read into it.
2. Descriptors travel on a socket of their own, each ahead of its frame, and are received when the frame has come.  What
   cannot be sent (its queue is full, too many are under way) goes as bytes in its frame: nobody waits.
3. The kernel drops what it has no free descriptor for, so whoever receives looks at the message first (MSG_PEEK), which
   leaves it where it is.  One descriptor is kept in reserve, and let go of when there is no other.
"""

from __future__ import annotations

import array
import errno
import os
import resource
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:  # sooner there: see `worker/fork_server.py`
    import _socket as socket

_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_DONT_WAIT = int(socket.MSG_DONTWAIT)
_ANCILLARY = socket.CMSG_SPACE(array.array("i").itemsize)
_PAUSES = 0.0, 0.0, 0.001, 0.01, 0.05  # s; another thread may take what was let go of, and give it back


def is_scarce(fd: int) -> bool:
    """
    Say whether descriptors are scarce: the number that the next one has tells.

    :param fd: one that is open; it may have been the last low one, which somebody else had let go of for a moment
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    try:
        following = os.dup(fd)
    except OSError:
        return True
    os.close(following)
    return following >= limit // 2


class Reserve:
    """One descriptor that is kept for when one has to be received; nothing is kept before `hold`."""

    def __init__(self) -> None:
        self._fd = -1

    def hold(self) -> bool:
        """Keep one; False if there is none left."""
        if self._fd < 0:
            try:
                self._fd = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                return False
        return True

    def lend(self) -> None:
        """Let go of it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def receive(sock: socket.socket, size: int, reserve: Reserve) -> tuple[bytes, array.array[int], bool]:
    """
    Receive a message that has come with a descriptor, and the descriptor.

    :param size: of the message at most, in bytes
    :param reserve: of the thread that receives
    :return: the message, its descriptors, and whether one was sent for which none was left here
    :raises OSError: if nothing has come
    """
    reserve.hold()
    for pause in _PAUSES:
        if pause:
            time.sleep(pause)
        data, ancillary, told, _ = sock.recvmsg(size, _ANCILLARY, _CLOEXEC | _DONT_WAIT | socket.MSG_PEEK)
        if ancillary or not told & socket.MSG_CTRUNC:
            break
        reserve.lend()
    sock.recv(len(data), _DONT_WAIT)
    fds = array.array("i")
    for _, _, packed in ancillary:
        fds.frombytes(packed[: len(packed) // fds.itemsize * fds.itemsize])
    return data, fds, not fds and bool(told & socket.MSG_CTRUNC)


class Descriptors:
    """
    One end of the socket for descriptors; owns it.

    Descriptors arrive in the order in which they were given, so whoever gives one does so right before its frame.

    :param reserve: of the thread that takes them
    """

    def __init__(self, sock: socket.socket, reserve: Reserve) -> None:
        self._sock = sock
        self.reserve = reserve
        reserve.hold()

    @property
    def fileno(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    def give(self, fd: int) -> bool:
        """Send a descriptor; False if that cannot be done now."""
        try:
            self._sock.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))], _DONT_WAIT)
        except OSError:
            return False
        return True

    def take(self) -> int:
        """
        Receive the next descriptor.

        :raises OSError: if there was none left for it
        :raises ValueError: if none was sent
        """
        try:
            _, fds, is_lost = receive(self._sock, 1, self.reserve)
        except OSError as exc:
            raise ValueError("a memory file is missing") from exc
        if fds:
            return fds[0]
        if is_lost:
            raise OSError(errno.EMFILE, "no descriptor was left to receive a large payload")
        raise ValueError("a memory file is missing")

    def close(self) -> None:
        """Give and take no more; what was not taken is closed."""
        self._sock.close()
