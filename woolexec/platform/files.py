"""POSIX features for files: their owners, their permissions, and how they are opened."""

from __future__ import annotations

import errno
import os
import stat

_LARGEST = 16 << 20
"""Maximum size of a file that is read as a whole, in bytes."""


def is_ours(about: os.stat_result, *, or_of_root: bool = False) -> bool:
    """Return whether a file or folder belongs to this user."""
    return about.st_uid == os.geteuid() or (or_of_root and about.st_uid == 0)


def is_trusted(user: int) -> bool:
    """Return whether a user is the user of this process, or root: no other user is trusted."""
    return user in (os.geteuid(), 0)


def is_closed_to_others(about: os.stat_result) -> bool:
    """Return whether no other user but root has any access to a file or folder."""
    return not about.st_mode & 0o077


def is_secret(about: os.stat_result) -> bool:
    """Return whether a file is closed to others, or belongs to root and a group, as Kubernetes Secrets do (fsGroup)."""
    return is_closed_to_others(about) or (about.st_uid == 0 != os.geteuid() and not about.st_mode & 0o037)


def create(path: str | os.PathLike[str], mode: int) -> int:
    """
    Create a file; return a descriptor for writing to it.

    :raises FileExistsError: if anything with this name exists, even a symbolic link
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def lock(fd: int) -> bool:
    """
    Acquire the lock of a file; return False, without waiting, if another process has it.

    It is released when the file is closed.
    """
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_to_read(path: str | os.PathLike[str], *, follows: bool = False) -> int:
    """
    Open a file; never wait, not even for the other end of a named pipe.

    :param follows: also open what a symbolic link leads to
    :raises OSError: if it cannot be opened
    """
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follows else os.O_NOFOLLOW))


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """
    Check that a path leads to a regular file; return what is known about it.

    :raises OSError: if it is anything else: opening a named pipe, or reading a device, may wait forever
    """
    return _regular(os.stat(path), path)


def read_regular(path: str | os.PathLike[str], limit: int = _LARGEST) -> bytes:
    """
    Return the contents of a regular file, or of the one that a symbolic link leads to; never wait.

    :param limit: maximum size, in bytes
    :raises OSError: if it cannot be read, is not a regular file, or is larger
    """
    fd = open_to_read(path, follows=True)
    try:
        _regular(os.fstat(fd), path)
        with open(fd, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", os.fspath(path))
    return data


def _regular(about: os.stat_result, path: str | os.PathLike[str]) -> os.stat_result:
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    return about


def open_to_append(path: str | os.PathLike[str], mode: int) -> int:
    """
    Open a file, or create it; never wait, neither for the reader of a named pipe nor for room in it.

    :raises OSError: if it cannot be opened, or is a named pipe without a reader
    """
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, mode)
