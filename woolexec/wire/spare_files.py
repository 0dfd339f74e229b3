"""
Memory files that are written again, because their pages exist already.

For a large payload that is copied when it is unpickled, fresh pages take half of the time: 1.3 ms for 4 MB in each
direction, where the copy takes 0.3 ms.  So a process keeps a few of the files that it has sent::

    sender      makes a LentFile, whose size is fixed and whose contents are not, and sends its descriptor once
    receiver    unpickles; if it has copied all parts, it writes a mark behind them when it drops its last reference
    sender      keeps the file when it drops the payload, and writes the next one over it once the mark is there

Only the sender writes, so the sender decides whether a file can be used again; it cannot if it was sent twice, or read
here.  A receiver that passes the file on to another process seals it first, after which the mark cannot be set.  A
receiver that dies, or that has views of the file, does not set the mark either.  A file without a mark is closed, and
freed with its last user like any other.

A file may contain the end of an earlier payload, so it is never sent to another user's process: a peer accepts only
sealed files, and these are not sealed.  The workers of a peer, and programs that send to peers, make none.

Any thread may keep and take a file: each step on the list is atomic, so only one thread can take a given file.
"""

from __future__ import annotations

import os

from woolexec.platform.ipc import CAN_FIX_SIZE, NO_MARK, fix_size, has_mark, memory_file, write_whole
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.payload import File, laid_out, lenders, offsets_of, spares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIMIT = 8 << 20
"""Maximum number of bytes of all spare files of a process; larger payloads use ordinary files."""

_MOST = 4
"""Maximum number of them."""

_PAGE = 4096


class LentFile(File):
    """A memory file of this process that it uses again when the receiver has unpickled the payload."""

    __slots__ = ("_capacity", "_uses")

    def __init__(self, fd: int, extent: Sequence[int], capacity: int) -> None:
        super().__init__(fd, extent)
        self._capacity = capacity
        self._uses = 0

    def pass_on(self) -> int:
        """Return the descriptor, to be sent."""
        self._uses += 1
        return self.fd

    def load(self, *, is_brief: bool = False) -> list[Any]:
        """Do the same as `File.load`; the parts may be in use for longer than this object."""
        self._uses += 2
        return super().load(is_brief=is_brief)

    def __del__(self) -> None:
        try:
            if self._uses == 1 and self.is_of_this_process:
                fd, self.fd = self.fd, -1
                _keep((fd, offsets_of(self.extent)[1], self._capacity, os.getpid()))
        except (OSError, TypeError, AttributeError):  # the interpreter is ending
            pass
        super().__del__()


def lend(parts: Sequence[Any]) -> LentFile | None:
    """
    Write a body and its buffers to a spare file, or to a new one that will be a spare.

    :return: None if it is too large, this process makes no such files, or descriptors are scarce
    :raises OSError: if no descriptor or no memory is left
    """
    extent = [len(part) for part in parts]
    end = offsets_of(extent)[1]
    if end > LIMIT or not lenders or not CAN_FIX_SIZE:
        return None
    fd, capacity = _take(end)
    try:
        if fd < 0:
            fd, capacity = memory_file(), (end + end // 4) // _PAGE * _PAGE + _PAGE
            os.ftruncate(fd, capacity)
            if is_scarce(fd) or not fix_size(fd):
                os.close(fd)
                return None
        write_whole(fd, [*laid_out(parts, extent), NO_MARK])
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise
    return LentFile(fd, extent, capacity)


def _take(end: int) -> tuple[int, int]:
    """Return a spare file with room for `end` bytes and a mark, and its size; -1 if there is none."""
    for _ in range(len(spares)):
        try:
            fd, mark, capacity, owner = spare = spares.popleft()
        except IndexError:  # another thread has taken it
            break
        if owner != os.getpid():  # this is a forked child, and the file is its parent's
            os.close(fd)
        elif capacity > end and has_mark(fd, mark):
            return fd, capacity
        else:
            spares.append(spare)
    return -1, 0


def _keep(spare: tuple[int, int, int, int]) -> None:
    if is_scarce(spare[0]):
        os.close(spare[0])
        return
    spares.append(spare)
    while len(spares) > _MOST or sum(each[2] for each in tuple(spares)) > LIMIT:
        _drop()
    if not lenders:  # checked last: an engine that ends removes itself first, and then closes the spares that it sees
        drop_spares()


def drop_spares() -> None:
    """Close all spare files."""
    while spares:
        _drop()


def _drop() -> None:
    """Close the spare file that was used longest ago."""
    try:
        os.close(spares.popleft()[0])
    except IndexError:  # another thread has taken it
        pass
