"""
POSIX features for communication between processes: pipes, memory files, sockets with descriptors.

See `posix` for the rule of this folder.  `_socket` is the C module below `socket`, and much faster to import.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any, Literal
else:
    import _socket as socket

# -- waiting ---------------------------------------------------------------------------------------------------------

READABLE = select.POLLIN
WRITABLE = select.POLLOUT

pipe = os.pipe
poll = select.poll


def fast_poll() -> tuple[Any, float]:
    """Return a new `select.epoll`, or `select.poll` if there is none, and the number of its time units in a second."""
    return (select.epoll(), 1.0) if hasattr(select, "epoll") else (select.poll(), 1000.0)


def can_read(fd: int, timeout: float) -> bool:
    """Wait until a descriptor can be read, or for `timeout` seconds; return whether it can."""
    return bool(select.select([fd], [], [], timeout)[0])


WHOLE = select.PIPE_BUF
"""Maximum number of bytes that are written to a pipe atomically, even if others write to it too."""


def can_write(fd: int, timeout: float) -> bool:
    """Wait until `WHOLE` bytes can be written to a pipe, or for `timeout` seconds; return whether they can."""
    waiting = select.poll()
    waiting.register(fd, WRITABLE)
    return bool(waiting.poll(timeout * 1000))


def wide_pipe(size: int) -> tuple[int, int]:
    """
    Return both ends of a pipe; reading does not wait.

    :param size: requested capacity in bytes; it is less if the system or this user's limit requires that
    """
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    import fcntl  # only when it is needed

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, size)
        except OSError:  # this user has too many already
            pass
    return ends


def wake_pipe() -> tuple[int, int]:
    """Return both ends of a pipe by which one thread wakes another; neither reading nor writing waits."""
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    return ends


def drain(fd: int) -> None:
    """Read everything from a descriptor that does not wait."""
    try:
        while len(os.read(fd, 4096)) == 4096:
            pass
    except BlockingIOError:
        pass


# -- memory files ----------------------------------------------------------------------------------------------------

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

pread, pwrite = os.pread, os.pwrite

_PIECES = 1000
"""Maximum number of pieces in one write: the limit of operating systems."""


def memory_file(folder: str | None = None) -> int:
    """
    Create an empty file in memory without a name; return its descriptor.

    If the system has no such files, it is an unlinked file in the temporary directory.

    :param folder: create it in this folder, on disk
    """
    if folder is None and hasattr(os, "memfd_create"):
        return os.memfd_create("woolexec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    import tempfile  # 10 ms, and never needed on Linux

    fd, path = tempfile.mkstemp(prefix="woolexec-", dir=folder)
    os.unlink(path)
    return fd


def shared_file(size: int) -> int:
    """Open an anonymous file of `size` zero bytes that processes can map; return its descriptor."""
    fd = memory_file()
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_whole(fd: int, pieces: Sequence[Any]) -> None:
    """
    Write pieces to a file, from its beginning on.

    :raises OSError: if there is no memory left for them
    """
    left = [piece for piece in pieces if len(piece)]
    offset, first = 0, 0
    while first < len(left):
        done = os.pwritev(fd, left[first : first + _PIECES], offset)
        offset += done
        while first < len(left) and done >= len(left[first]):
            done -= len(left[first])
            first += 1
        if done:
            left[first] = memoryview(left[first])[done:]


def read_whole(fd: int, view: memoryview, offset: int) -> None:
    """
    Fill a view from a file, starting at an offset.

    :raises ValueError: if the file is too short
    """
    while view:
        done = os.preadv(fd, [view], offset)
        if not done:
            raise ValueError("unexpected end of a memory file")
        view = view[done:]
        offset += done


def seal(fd: int) -> None:
    """Make a memory file immutable for all processes: a reader that has mapped it would crash if it were truncated."""
    import fcntl

    if hasattr(fcntl, "F_ADD_SEALS"):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())
        except OSError:  # it is sealed already, or a temporary file
            pass


CAN_FIX_SIZE = hasattr(os, "memfd_create")
"""Whether memory files can be sealed."""


def fix_size(fd: int) -> bool:
    """Make the size of a memory file immutable, but not its contents; return False if that is not possible."""
    import fcntl

    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except OSError:
        return False
    return True


def is_lent(fd: int) -> bool:
    """Return whether a descriptor belongs to a memory file whose size alone is immutable."""
    try:
        import fcntl

        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    except (AttributeError, ImportError, OSError):  # not a memory file, or no descriptor is left to load the module
        return False


_MARK, NO_MARK = b"\1", b"\0"


def set_mark(fd: int, pos: int) -> None:
    """Set the mark at this place of a lent file: its receiver no longer needs it."""
    os.pwrite(fd, _MARK, pos)


def has_mark(fd: int, pos: int) -> bool:
    """Return whether the mark at this place of a lent file is set."""
    return os.pread(fd, 1, pos) == _MARK


def is_sealed(fd: int) -> bool:
    """Return whether a descriptor belongs to a memory file that is sealed against changes."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals() == _seals()
    except OSError:  # not a memory file
        return False


def _seals() -> int:
    import fcntl

    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def map_shared(fd: int, size: int, *, is_read_only: bool = False) -> mmap.mmap:
    """
    Map a file: changes by this process are seen by all processes that map it.

    :raises OSError: if there is no descriptor or no address space left for it
    """
    return mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ if is_read_only else _READ_WRITE)


KEEPS_DESCRIPTOR = sys.version_info < (3, 13)
"""A private map holds its own descriptor for as long as it exists."""


def map_private(fd: int, size: int) -> mmap.mmap:
    """
    Map a file as private memory: no other process sees the changes by this one.

    :raises OSError: if there is no descriptor or no address space left for it
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=_READ_WRITE, trackfd=False)
    return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=_READ_WRITE)


def map_memory(size: int) -> mmap.mmap:
    """
    Map fresh memory, which returns to the system when it is freed.

    :raises OSError: if the process has too many maps
    """
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=_READ_WRITE)


# -- sockets ---------------------------------------------------------------------------------------------------------

DONT_WAIT = int(socket.MSG_DONTWAIT)
PEEK = int(socket.MSG_PEEK)
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_TRUNCATED = int(socket.MSG_CTRUNC)
_ITEM = struct.calcsize("i")

socketpair = socket.socketpair


def socket_of(fd: int) -> socket.socket:
    """Return a socket for a descriptor; the socket owns it."""
    return socket.socket(fileno=fd)


def unix_socket(kind: Literal["STREAM", "DGRAM", "SEQPACKET"] = "STREAM") -> socket.socket:
    """Create a Unix socket, with the methods that event loops need."""
    import socket

    return socket.socket(socket.AF_UNIX, getattr(socket, f"SOCK_{kind}"))


def user_of(sock: socket.socket) -> int | None:
    """Return the user of the process at the other end of a Unix socket; None if the system does not report it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    about = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # three numbers: process, user, group
    return int.from_bytes(about[4:8], sys.byteorder)


def set_buffer_size(sock: socket.socket, size: int) -> None:
    """Request buffers of `size` bytes for sending and for receiving; the system may grant less."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, size)


def send_with_fds(sock: socket.socket, data: bytes | memoryview, fds: Sequence[int], flags: int = 0) -> int:
    """
    Send a message with descriptors; return how many of its bytes were sent.

    :raises OSError: if it cannot be sent
    """
    return sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))], flags)


def unreceived(sock: socket.socket) -> int:
    """
    Return the memory that sent but not received messages of a Unix socket take; 0 if unknown.

    :raises OSError: if no descriptor is left to load the modules for this
    """
    try:
        import fcntl  # here and below: imported only when files are sent, not by every process
        import termios
    except ImportError as exc:
        raise OSError(*exc.args) from exc

    size = bytearray(_ITEM)
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, size)
    except OSError:
        return 0
    return int.from_bytes(size, sys.byteorder)


def receive_with_fds(sock: socket.socket, size: int, count: int, flags: int = 0) -> tuple[bytes, list[int], bool]:
    """
    Receive a message, and the descriptors that were sent with it.

    :param size: maximum size of the message, in bytes
    :param count: maximum number of descriptors
    :return: the message, its descriptors, and whether a descriptor was lost because none was free here
    :raises OSError: if no message can be received
    """
    space = socket.CMSG_SPACE(count * _ITEM)
    data, ancillary, told, _ = sock.recvmsg(size, space, _CLOSE_ON_EXEC | flags)
    fds: list[int] = []
    for _, _, packed in ancillary:
        fds += memoryview(packed)[: len(packed) // _ITEM * _ITEM].cast("i")
    return data, fds, bool(told & _TRUNCATED)
