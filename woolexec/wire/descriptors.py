"""
Descriptors of memory files: which of a process's few they may be, and how they get to the other end of a socketpair.

1. Payloads take descriptors of the lower half only.  The lowest free one is always taken, so a number in the upper half
   says that half of them are in use, whoever uses them: then a payload stays in ordinary memory, or is read into it.
2. Descriptors travel on a socket of their own, each ahead of its frame, and are received when the frame has come.  What
   cannot be sent (its queue is full, too many are under way) goes as bytes in its frame: nobody waits.
3. Whoever receives keeps one descriptor in reserve and lets go of it right before, so that the kernel finds a free one:
   without that it drops what was sent.
"""

from __future__ import annotations

import array
import errno
import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:  # sooner there: see `worker/template.py`
    import _socket as socket

_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_DONT_WAIT = int(socket.MSG_DONTWAIT)
_ANCILLARY = socket.CMSG_SPACE(array.array("i").itemsize)


def is_scarce(fd: int) -> bool:
    """Say whether descriptors are scarce, by the number of one that was opened just now."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return fd >= limit // 2 if limit != resource.RLIM_INFINITY else False


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
        self.reserve.lend()
        try:
            data, ancillary, _, _ = self._sock.recvmsg(1, _ANCILLARY, _CLOEXEC | _DONT_WAIT)
        except OSError as exc:
            raise ValueError("a memory file is missing") from exc
        finally:
            self.reserve.hold()
        for _, _, packed in ancillary:
            return array.array("i", packed)[0]
        if not data:
            raise ValueError("a memory file is missing")
        raise OSError(errno.EMFILE, "no descriptor was left to receive a large payload")

    def close(self) -> None:
        """Give and take no more; what was not taken is closed."""
        self._sock.close()
