"""
Payloads: pickled bytes with their out-of-band buffers.

A small payload is plain `bytes` and travels inside its frame, or `Parts` if it has buffers.  A large one is a `File`:
its body and buffers one after the other in a memory file, of which only the descriptor travels.  The kernel frees the
memory with the last holder, also after SIGKILL.  Where there are no memory files (macOS) an unlinked file in the
temporary directory takes their place.
"""

from __future__ import annotations

import mmap
import os

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

_MAPS_LIMIT = 512
"""At most this many maps at once: each holds a descriptor as long as an object lives in it."""

_ALIGNMENT = 64
"""Of each buffer, so that arrays are as aligned as numpy makes them itself."""


class Parts:
    """
    A payload in ordinary memory: body and buffers, none of which anybody can change.

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
    def cut(cls, data: Any, extent: Sequence[int]) -> Parts:
        """
        Cut what was read into body and buffers.

        :raises ValueError: if the sizes do not add up
        """
        view, parts, pos = memoryview(data), [], 0
        for size in extent:
            parts.append(bytes(view[pos : pos + size]))
            pos += size
        if pos != len(view):
            raise ValueError(f"payload of {len(view)} bytes where {pos} were told")
        return cls(parts)

    def load(self) -> list[Any]:
        """Return the body and each buffer."""
        return self.parts


class File:
    """
    A payload in a memory file; owns the descriptor.

    `extent` holds the size in bytes of the body, then of each buffer.
    """

    __slots__ = ("_parts", "extent", "fd")

    def __init__(self, fd: int, extent: Sequence[int]) -> None:
        self.fd = fd
        self.extent = tuple(extent)
        self._parts: list[Any] | None = None

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
        if os.fstat(self.fd).st_size < _offsets(self.extent)[1]:
            raise ValueError("a memory file is shorter than what it is to hold")
        seal(self.fd)

    def take_in(self) -> None:
        """Read it into ordinary memory and close the descriptor, of which there are not enough."""
        parts = self._read()
        fd, self.fd = self.fd, -1
        os.close(fd)
        self._parts = parts

    def load(self) -> list[Any]:
        """Return the body and each buffer: private, writable views."""
        if self._parts is not None:
            return self._parts
        offsets, end = _offsets(self.extent)
        if os.fstat(self.fd).st_size < end:
            raise ValueError(f"memory file is shorter than its {end} bytes")
        if end >= _MAPPED and _Map.alive < _MAPS_LIMIT:
            try:
                whole = memoryview(_Map(self.fd, end, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE))
            except OSError:  # no descriptor, or no address space left for it
                pass
            else:
                return [whole[start : start + size] for start, size in zip(offsets, self.extent, strict=True)]
        return self._read()

    def _read(self) -> list[Any]:
        parts: list[Any] = []
        offsets, _ = _offsets(self.extent)
        for start, size in zip(offsets, self.extent, strict=True):
            part = bytearray(size)
            _read_all(self.fd, memoryview(part), start)
            parts.append(part)
        return parts

    def share(self) -> int:
        """
        Return a descriptor to send; what was taken in is written out again.

        :raises OSError: if there is no descriptor or no memory left
        """
        if self._parts is not None:
            again = store(self._parts)
            self.fd, again.fd = again.fd, -1
            self._parts = None
        return self.fd


class _Map(mmap.mmap):
    """A map that is counted while it lives."""

    alive = 0

    def __init__(self, *args: object, **kwargs: object) -> None:
        _Map.alive += 1

    def __del__(self) -> None:
        _Map.alive -= 1


def store(parts: Sequence[Any]) -> File:
    """
    Write a body and its buffers to a memory file.

    :raises OSError: if there is no descriptor or no memory left
    """
    extent = [memoryview(part).nbytes for part in parts]
    offsets, end = _offsets(extent)
    fd = _open()
    try:
        os.ftruncate(fd, end)
        for part, start in zip(parts, offsets, strict=True):
            _write_all(fd, memoryview(part).cast("B") if memoryview(part).nbytes else memoryview(b""), start)
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


def _offsets(extent: Sequence[int]) -> tuple[list[int], int]:
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


def _write_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.pwrite(fd, view, offset)
        view = view[done:]
        offset += done


def _read_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.preadv(fd, [view], offset)
        if not done:
            raise ValueError("memory file ended early")
        view = view[done:]
        offset += done
