"""
POSIX features to see the stack of a thread in another process: a signal, and data of /proc.

In a worker, `faulthandler` writes the stack of the thread that receives the signal `DUMP_SIGNAL`.  The handler is C
code, so it works while other C code holds the GIL.  It is installed with SA_RESTART: the kernel restarts an interrupted
system call if possible.
"""

from __future__ import annotations

import os

from woolexec.platform.posix import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
else:
    import _signal as signal

DUMP_SIGNAL: int | None = signal.SIGRTMAX - 2 if hasattr(signal, "SIGRTMAX") else None
"""62 on Linux; None: the system has no real-time signals."""

STOPPED, ENDED = "T", "Z"


def dump_on_signal(fd: int, offset: int) -> bool:
    """
    Write the stack of the thread that receives `DUMP_SIGNAL` to a file, from `offset` on.

    :param fd: a descriptor of the file; its position does not change
    :return: False if the system does not support that
    """
    if DUMP_SIGNAL is None:
        return False
    import faulthandler

    global _position
    try:
        _position = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
        os.lseek(_position, offset, os.SEEK_SET)
        faulthandler.register(DUMP_SIGNAL, _position, all_threads=False)
    except OSError:  # no /proc, or no descriptor is left
        return False
    return True


_position = -1
"""The descriptor to which dumps are written; the next one begins at its position."""


def dump_again_from(offset: int) -> None:
    """Write the next stack at this offset."""
    try:
        os.lseek(_position, offset, os.SEEK_SET)
    except OSError:  # the user has closed it
        pass


def send_dump_signal(pid: int, thread: int = 0) -> None:
    """
    Make a process dump the stack of a thread; do nothing if it does not handle the signal, which would end it.

    :param thread: the system's number of the thread; 0: the main thread
    """
    if DUMP_SIGNAL is None or not _handles(pid, DUMP_SIGNAL):
        return
    try:
        if not thread or thread == pid:
            os.kill(pid, DUMP_SIGNAL)
        else:
            import ctypes

            ctypes.CDLL(None).tgkill(pid, thread, DUMP_SIGNAL)
    except (OSError, AttributeError):  # it has ended, or the C library is too old
        pass


def _handles(pid: int, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            masks = dict(line.split(b":\t", 1) for line in file if line.startswith(b"Sig"))
    except (OSError, ValueError):
        return False
    bit = 1 << number - 1
    return bool(int(masks.get(b"SigCgt", b"0"), 16) & bit)


def state_of(pid: int) -> str:
    """Return the state of a process: `STOPPED`, `ENDED` (also if there is no such process), or another letter."""
    try:
        letter = status_of(pid)[0].decode()
    except FileNotFoundError:
        return ENDED if os.path.isdir("/proc/self") else ""
    except (OSError, IndexError):
        return ""
    return {"t": STOPPED, "X": ENDED}.get(letter, letter)


def descendants_of(pid: int) -> list[int]:
    """Return the ids of a process and of all its descendants, as far as the system reports them."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return [pid]
    for name in filter(str.isdecimal, names):
        try:
            parent = int(status_of(name)[1])
        except (OSError, ValueError, IndexError):  # it has ended
            continue
        children.setdefault(parent, []).append(int(name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def memory_files_of(pid: int, size: int) -> Iterator[int]:
    """
    Yield descriptors of the memory files of this size that another process has open; the caller closes them.

    :raises PermissionError: if the process belongs to another user
    :raises FileNotFoundError: if there is no such process
    """
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            if not os.readlink(f"{folder}/{name}").startswith("/memfd:woolexec"):
                continue
            fd = os.open(f"{folder}/{name}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # it has just been closed
            continue
        if os.fstat(fd).st_size == size:
            yield fd
        else:
            os.close(fd)
