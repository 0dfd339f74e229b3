"""POSIX features for files: their owners, their permissions, and how they are opened."""

from __future__ import annotations

import os


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


def open_to_read(path: str | os.PathLike[str]) -> int:
    """
    Open a file, but not the target of a symbolic link; never wait, not even for the other end of a named pipe.

    :raises OSError: if it cannot be opened
    """
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)


def open_to_append(path: str | os.PathLike[str], mode: int) -> int:
    """
    Open a file, or create it; never wait, neither for the reader of a named pipe nor for room in it.

    :raises OSError: if it cannot be opened, or is a named pipe without a reader
    """
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, mode)
