"""
Payloads: pickled bytes with their out-of-band buffers.

A small payload is plain `bytes` and travels inside its frame, or `Parts` if it has buffers.  A large one is a `File`:
its body and buffers one after the other in a memory file, of which only the descriptor travels.  The kernel frees the
memory with the last holder, also after SIGKILL.  Where descriptors are scarce (see `descriptors`) a large one travels
as a small one does.  Where there are no memory files (macOS) an unlinked file in the temporary directory takes their
place.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys

from woolexec.wire.descriptors import is_scarce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LARGE = 128 * 1024
"""From this size on, in bytes, a payload travels as a memory file."""

APART = 4096
"""From this size on, in bytes, a payload is written as a piece of its own, and read as a view of what was read."""

_MAPPED = 1024 * 1024
"""From this size on a payload is mapped; below, a copy is cheaper than the page faults."""

_WARM = 32
"""Large buffers below that size that may lie in the heap at once."""

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

INLINE_LIMIT = 2**31 - 2**20
"""More than this, in bytes, does not fit into a frame."""

_PIECES = 1000
"""Pieces written at once, at most: what systems take."""

_FEW = 4
"""Up to so many parts are each read by themselves."""

_ALIGNMENT = 64
"""Of each buffer, so that arrays are as aligned as numpy makes them itself."""

_PADDING = bytes(_ALIGNMENT)


class Parts:
    """
    A payload in ordinary memory: body and buffers, none of which anybody changes here.

    `extent` holds their sizes in bytes.
    """

    __slots__ = ("_size", "extent", "parts")

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)
        self.extent = tuple(map(len, self.parts))
        self._size = sum(self.extent)

    def __len__(self) -> int:
        return self._size

    @classmethod
    def cut(cls, data: Any, extent: Sequence[int], *, is_ours: bool = False) -> Parts:
        """
        Cut what was read into body and buffers.

        :param is_ours: it is in memory of its own, so it need not be copied
        :raises ValueError: if the sizes do not add up
        """
        view, parts, pos = memoryview(data), [], 0
        for size in extent:
            part = view[pos : pos + size]
            parts.append(part if is_ours and size >= LARGE else bytes(part))
            pos += size
        if pos != len(view):
            raise ValueError(f"payload of {len(view)} bytes where {pos} were told")
        return cls(parts)

    def load(self) -> list[Any]:
        """Return the body and each buffer; to those that are no `bytes` one may write, if nobody loads them again."""
        return self.parts


class File:
    """
    A payload in a memory file; owns the descriptor.

    `extent` holds the size in bytes of the body, then of each buffer.
    """

    __slots__ = ("extent", "fd")

    def __init__(self, fd: int, extent: Sequence[int]) -> None:
        self.fd = fd
        self.extent = tuple(extent)

    def __len__(self) -> int:
        return sum(self.extent)

    def __del__(self) -> None:
        if self.fd >= 0:
            try:
                os.close(self.fd)
            except (OSError, TypeError):  # the interpreter is ending
                pass

    def lay_out(self, extent: Sequence[int]) -> None:
        """
        Say what is in the file, and keep it as it is.

        :raises ValueError: if it is too short for that
        """
        self.extent = tuple(extent)
        if os.fstat(self.fd).st_size < offsets_of(self.extent)[1]:
            raise ValueError("a memory file is shorter than what it is to hold")
        seal(self.fd)

    def take_in(self) -> Parts:
        """
        Read it into ordinary memory and close the descriptor, of which there are not enough.

        :raises ValueError: if it is too short
        """
        parts = self._read()
        fd, self.fd = self.fd, -1
        os.close(fd)
        return Parts(parts)

    def load(self) -> list[Any]:
        """
        Return the body and each buffer: private and writable.

        Large buffers share one map; each of the others has memory of its own, so that it does not keep all of it.

        :raises ValueError: if the file is too short
        """
        offsets, end = offsets_of(self.extent)
        if os.fstat(self.fd).st_size < end:
            raise ValueError(f"memory file is shorter than its {end} bytes")
        if end < _MAPPED:
            return self._read()
        try:
            whole = memoryview(_map(self.fd, end))
        except OSError:  # no descriptor, or no address space left for it
            return self._read()
        cuts = [whole[start : start + size] for start, size in zip(offsets, self.extent, strict=True)]
        return [cuts[0], *(cut if len(cut) >= LARGE else bytearray(cut) for cut in cuts[1:])]

    def _read(self) -> list[Any]:
        offsets, end = offsets_of(self.extent)
        if len(offsets) > _FEW and end < _MAPPED:  # one system call for all
            whole = bytearray(end)
            _read_all(self.fd, memoryview(whole), 0)
            return [whole[start : start + size] for start, size in zip(offsets, self.extent, strict=True)]
        parts: list[Any] = []
        for start, size in zip(offsets, self.extent, strict=True):
            part = _block(size) if parts else bytearray(size)  # the body goes when it has been unpickled
            _read_all(self.fd, memoryview(part), start)
            parts.append(part)
        return parts


def _map(fd: int, size: int) -> mmap.mmap:
    """
    Map a file, privately.

    :raises OSError: if there is no descriptor or no address space left for it
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=_READ_WRITE, trackfd=False)
    if is_scarce(fd):  # the map keeps a descriptor of its own for as long as it lives
        raise OSError(errno.EMFILE, "few descriptors are left")
    return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=_READ_WRITE)


class _Block(bytearray):
    """Memory of the heap, counted while it lives."""

    __slots__ = ()

    def __init__(self, size: int) -> None:
        super().__init__(size)
        _blocks.add(id(self))

    def __del__(self) -> None:
        _blocks.discard(id(self))


_blocks: set[int] = set()


def _block(size: int) -> bytearray | mmap.mmap:
    """
    Return private memory for a buffer.

    A few large ones are of the heap, which is warm.  Many of them would make it grow, and it hardly ever shrinks: those
    are maps, whose memory the system has back when they go.
    """
    if size < LARGE:
        return bytearray(size)
    if size < _MAPPED and len(_blocks) < _WARM:
        return _Block(size)
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=_READ_WRITE)
    except OSError:  # too many of them
        return bytearray(size)


def pack(body: bytes, buffers: Sequence[Any]) -> bytes | File | Parts:
    """
    Put a pickle and the buffers that left it where they can wait and travel; they are copied here, once.

    :raises OSError: if it is too large for anything but a memory file, and there can be none
    """
    size = len(body) + sum(map(len, buffers))
    if size >= LARGE:
        try:
            return store([body, *buffers], at_all_costs=size > INLINE_LIMIT)
        except OSError:
            if size > INLINE_LIMIT:
                raise
    if not buffers:
        return body
    return Parts([body, *(buffer if buffer.__class__ is bytes else bytes(buffer) for buffer in buffers)])


def store(parts: Sequence[Any], *, at_all_costs: bool = False) -> File:
    """
    Write a body and its buffers to a memory file.

    :param at_all_costs: also if descriptors are scarce
    :raises OSError: if there is no descriptor or no memory left
    """
    extent = [memoryview(part).nbytes for part in parts]
    offsets, end = offsets_of(extent)
    fd = _open()
    try:
        if not at_all_costs and is_scarce(fd):
            raise OSError(errno.EMFILE, "few descriptors are left")
        os.ftruncate(fd, end)
        pieces: list[Any] = []
        pos = 0
        for part, start in zip(parts, offsets, strict=True):
            if start > pos:
                pieces.append(_PADDING[: start - pos])
            pieces.append(part)
            pos = start + memoryview(part).nbytes
        _write_all(fd, pieces)
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return File(fd, extent)


def seal(fd: int) -> None:
    """Keep a memory file as it is, whoever has it: a reader that has mapped it would die if it got shorter."""
    import fcntl

    if hasattr(fcntl, "F_ADD_SEALS"):
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())
        except OSError:  # it is sealed, or a temporary file
            pass


def is_sealed(fd: int) -> bool:
    """Say whether a descriptor is that of a memory file that stays as it is."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals() == _seals()
    except OSError:  # it is something else
        return False


def _seals() -> int:
    import fcntl

    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def offsets_of(extent: Sequence[int]) -> tuple[list[int], int]:
    """Return where body and buffers lie in a memory file, and how large it is."""
    offsets, end = [], 0
    for size in extent:
        offsets.append(end)
        end = (end + size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
    return offsets, max(end, 1)


def fill(frame: Any, payload: bytes | File | Parts) -> File | None:
    """Put a payload into its frame; return the file that has to travel beside it, if it is one."""
    if isinstance(payload, File):
        frame.extent, frame.payload = payload.extent, b""
        return payload
    if isinstance(payload, Parts):
        frame.extent = payload.extent
        payload = b"".join(payload.parts)
    frame.payload = payload
    return None


def shared_file(size: int) -> int:
    """Open an anonymous file of `size` zero bytes that processes can map; return its descriptor."""
    fd = _open()
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("woolexec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    import tempfile  # 10 ms, and never needed on Linux

    fd, path = tempfile.mkstemp(prefix="woolexec-")
    os.unlink(path)
    return fd


def _write_all(fd: int, pieces: Sequence[Any]) -> None:
    views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    offset, first = 0, 0
    while first < len(views):
        done = os.pwritev(fd, views[first : first + _PIECES], offset)
        offset += done
        while first < len(views) and done >= len(views[first]):
            done -= len(views[first])
            first += 1
        if done:
            views[first] = views[first][done:]


def _read_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.preadv(fd, [view], offset)
        if not done:
            raise ValueError("memory file ended early")
        view = view[done:]
        offset += done
