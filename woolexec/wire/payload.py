"""
Payloads: pickled bytes with their out-of-band buffers.

A small payload is plain `bytes`, or `Parts` if it has buffers, and travels inside its frame.  A large one is a `File`:
its body and buffers one after the other in a memory file, of which only the descriptor travels.  The kernel frees the
memory when its last user closes it or dies, even by SIGKILL.  If descriptors are scarce (see `descriptors`), a large
payload travels like a small one.  Files whose contents are copied when unpickled are used again: see `spare_files`.
"""

from __future__ import annotations

import errno
import os
from collections import deque

from woolexec.platform.ipc import (
    KEEPS_DESCRIPTOR,
    is_lent,
    map_memory,
    map_private,
    memory_file,
    read_whole,
    seal,
    set_mark,
    write_whole,
)
from woolexec.wire.descriptors import is_scarce

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Sequence
    from typing import Any

    from woolexec.wire.ring_buffer import RingBuffer

LARGE = 128 * 1024
"""Minimum size, in bytes, of a payload that travels as a memory file."""

APART = 4096
"""Minimum size, in bytes, of a payload that is written as a separate piece, and read as a view of the read buffer."""

_MAPPED = 1024 * 1024
"""Minimum size, in bytes, of a payload that is mapped; for smaller ones a copy is cheaper than the page faults."""

_WARM = 32
"""Maximum number of large buffers below that size in the heap at the same time."""

INLINE_LIMIT = 2**31 - 2**20
"""Maximum size, in bytes, of a payload inside a frame."""

_WORTH_IT = 64 * 1024 * 1024
"""Bytes above which a payload uses even one of the last descriptors: peers limit those in frames (`HugeBatches`)."""

_FEW = 4
"""Maximum number of parts that are read separately."""

_ALIGNMENT = 64
"""Alignment of each buffer, in bytes: arrays are then aligned as numpy's own are."""

_PADDING = bytes(_ALIGNMENT)

lend: Callable[[Sequence[Any]], File | None] | None = None
"""Writes the parts of a payload to a file that is used again, if possible.  Set by `socket_stream`."""

lenders: set[int] = set()
"""Ids of the objects that use spare files in this process: its engines or, in a worker, the worker."""

spares: deque[tuple[int, int, int, int]] = deque()  # see `spare_files`

_FEW_PARTS, _LEAST = 1000, 256
"""A payload of more than `_FEW_PARTS` parts has at least `_LEAST` bytes for each: only buffers of `APART` are parts."""


def check_parts(extent: Sequence[int], size: int) -> None:
    """
    Check that a payload of `size` bytes from another process has no more parts than one made here would have.

    :raises ValueError: if it has more, because each part takes time
    """
    if len(extent) > _FEW_PARTS and size < len(extent) * _LEAST:
        raise ValueError(f"a payload of {size} bytes has {len(extent)} parts")


class Parts:
    """
    A payload in ordinary memory: body and buffers, which this process never changes.

    `extent` is the sizes of the parts, in bytes.
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
        Split data that was read into body and buffers.

        :param is_ours: the data is in a separate buffer, so large parts need not be copied
        :raises ValueError: if the sizes do not add up
        """
        view, parts, pos = memoryview(data), [], 0
        check_parts(extent, len(view))
        for size in extent:
            part = view[pos : pos + size]
            parts.append(part if is_ours and size >= LARGE else bytes(part))
            pos += size
        if pos != len(view):
            raise ValueError(f"payload of {len(view)} bytes, but the sizes of its parts add up to {pos}")
        return cls(parts)

    def load(self) -> list[Any]:
        """Return the body and each buffer; parts that are not `bytes` may be written to if loaded only once."""
        return self.parts


class File:
    """
    A payload in a memory file; owns the descriptor.

    `extent` is the size of the body, then of each buffer, in bytes.  `kept` is the parts, if they stay mapped.
    """

    __slots__ = ("_is_unpickled", "_is_viewed", "_pid", "extent", "fd", "kept")

    def __init__(self, fd: int, extent: Sequence[int]) -> None:
        self.fd = fd
        self.extent = tuple(extent)
        self._is_unpickled = self._is_viewed = False
        self.kept: list[Any] | None = None
        self._pid = os.getpid()

    def __len__(self) -> int:
        return sum(self.extent)

    def __del__(self) -> None:
        if self.fd >= 0:
            try:
                if self._is_unpickled and not self._is_viewed and self.is_of_this_process and is_lent(self.fd):
                    set_mark(self.fd, offsets_of(self.extent)[1])
                os.close(self.fd)
            except (OSError, TypeError):  # the interpreter is ending
                pass

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child, whose parent still uses the file."""
        return self._pid == os.getpid()

    def pass_on(self) -> int:
        """Return the descriptor, to be sent; -1 if others must not have it, because its sender will use it again."""
        if is_lent(self.fd):
            seal(self.fd)
            return -1 if is_lent(self.fd) else self.fd
        return self.fd

    def lay_out(self, extent: Sequence[int]) -> None:
        """
        Set the sizes of the parts in the file, and seal it against changes.

        :raises ValueError: if the file is too short for them
        """
        size = os.fstat(self.fd).st_size
        check_parts(extent, size)
        self.extent = tuple(extent)
        if size < offsets_of(self.extent)[1]:
            raise ValueError("a memory file is shorter than its payload")
        seal(self.fd)

    def take_in(self) -> Parts:
        """
        Read the file into ordinary memory and close the descriptor, because descriptors are scarce.

        :raises ValueError: if the file is too short
        """
        parts = self._read()
        fd, self.fd = self.fd, -1
        os.close(fd)
        return Parts(parts)

    def load(self, *, is_brief: bool = False) -> list[Any]:
        """
        Return the body and each buffer, in private and writable memory.

        Large buffers share one map; the others are copied, so that they do not keep the map alive.

        :param is_brief: the caller calls `unpickled` when it no longer needs them
        :raises ValueError: if the file is too short
        """
        if not is_brief:
            self._is_viewed = True
        offsets, end = offsets_of(self.extent)
        if os.fstat(self.fd).st_size < end:
            raise ValueError(f"a memory file is shorter than its payload of {end} bytes")
        if end < _MAPPED:
            return self._read()
        try:
            whole = memoryview(_map(self.fd, end))
        except OSError:  # out of descriptors or address space
            return self._read()
        cuts = [whole[start : start + size] for start, size in zip(offsets, self.extent, strict=True)]
        return [cuts[0], *(cut if len(cut) >= LARGE else bytearray(cut) for cut in cuts[1:])]

    def unpickled(self, buffers: Sequence[Any]) -> None:
        """Record that the file has been unpickled, and that only these buffers still refer to its parts."""
        self._is_unpickled = True
        self._is_viewed |= memoryview in map(type, buffers)

    def _read(self) -> list[Any]:
        offsets, end = offsets_of(self.extent)
        if len(offsets) > _FEW and end < _MAPPED:  # one system call for all parts
            whole = bytearray(end)
            read_whole(self.fd, memoryview(whole), 0)
            return [whole[start : start + size] for start, size in zip(offsets, self.extent, strict=True)]
        parts: list[Any] = []
        for start, size in zip(offsets, self.extent, strict=True):
            part = _block(size) if parts else bytearray(size)  # the body is freed once it has been unpickled
            read_whole(self.fd, memoryview(part), start)
            parts.append(part)
        return parts


def _map(fd: int, size: int) -> mmap.mmap:
    """
    Map a file as private memory.

    :raises OSError: if no descriptor or no address space is left
    """
    if KEEPS_DESCRIPTOR and is_scarce(fd):
        raise OSError(errno.EMFILE, "few descriptors are left")
    return map_private(fd, size)


class _Block(bytearray):
    """Memory in the heap, counted while it is alive."""

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

    A few large buffers are allocated in the heap, whose pages are already mapped.  Many of them would make the heap
    grow, and it hardly ever shrinks.  So further buffers are memory maps, whose memory returns to the system when they
    are freed.
    """
    if size < LARGE:
        return bytearray(size)
    if size < _MAPPED and len(_blocks) < _WARM:
        return _Block(size)
    try:
        return map_memory(size)
    except OSError:  # too many maps
        return bytearray(size)


class PicklePieces:
    """A file for a pickler that keeps the pieces of a large pickle, without copying large `bytes`."""

    __slots__ = ("parts", "write")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.write = self.parts.append

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def join(self) -> bytes:
        """Return the pickle in one piece."""
        return b"".join(self.parts)


def pack(body: bytes | PicklePieces, buffers: Sequence[Any], *, lends: bool = False) -> bytes | File | Parts:
    """
    Make a payload from a pickle and its out-of-band buffers, which are copied once.

    :param lends: the receiver unpickles it once, so it may be written to a file that is used again
    :raises OSError: if it needs a memory file, and none can be created
    """
    size = len(body) + sum(map(len, buffers))
    if size >= LARGE:
        try:
            if lends and lenders and lend and (lent := lend([body, *buffers])) is not None:
                return lent
            return store([body, *buffers], at_all_costs=size > min(_WORTH_IT, INLINE_LIMIT))
        except (OSError, ImportError):  # no descriptor is left, even to load a module
            if size > INLINE_LIMIT:
                raise
    if isinstance(body, PicklePieces):
        body = body.join()
    if not buffers:
        return body
    return Parts([body, *(buffer if buffer.__class__ is bytes else bytes(buffer) for buffer in buffers)])


def store(parts: Sequence[Any], *, at_all_costs: bool = False, folder: str | None = None) -> File:
    """
    Write a body and its buffers to a memory file.

    :param parts: body and buffers: `bytes`, views of bytes, or `PicklePieces`
    :param at_all_costs: write it even if descriptors are scarce
    :param folder: write it to a file without a name in this folder, on disk
    :raises OSError: if no descriptor or no memory is left
    """
    extent = [len(part) for part in parts]
    end = offsets_of(extent)[1]
    fd = memory_file(folder)
    try:
        if not at_all_costs and is_scarce(fd):
            raise OSError(errno.EMFILE, "few descriptors are left")
        os.ftruncate(fd, end)
        write_whole(fd, laid_out(parts, extent))
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return File(fd, extent)


def spill(payload: Any, folder: str) -> File:
    """
    Write a payload to a file without a name in a folder, on disk.

    :raises OSError: if that is not possible
    """
    return store([payload] if isinstance(payload, bytes) else payload.load(), at_all_costs=True, folder=folder)


def laid_out(parts: Sequence[Any], extent: Sequence[int]) -> list[Any]:
    """Return the pieces that fill a memory file: the parts, and padding that aligns each of them."""
    pieces: list[Any] = []
    for part, size in zip(parts, extent, strict=True):
        if part.__class__ is PicklePieces:
            pieces += part.parts
        else:
            pieces.append(part)
        pieces.append(_PADDING[: -size % _ALIGNMENT])
    return pieces


def offsets_of(extent: Sequence[int]) -> tuple[list[int], int]:
    """Return the offsets of body and buffers in a memory file, and the size of the file."""
    offsets, end = [], 0
    for size in extent:
        offsets.append(end)
        end = (end + size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
    return offsets, max(end, 1)


def attach(
    frame: Any, payload: bytes | File | Parts, arena: RingBuffer | None = None, *, files: bool = True
) -> File | None:
    """
    Attach a payload to its frame as the transport can carry it: as a file, in a ring buffer, or in the frame itself.

    :param arena: the transport's ring buffer for payloads of medium size, if this thread may write to it
    :param files: whether the transport can send files separately; if not, their contents are put into the frame
    :return: the file to send with the frame
    """
    if isinstance(payload, File):
        if files:
            announce(frame, payload)
            return payload
        payload = Parts(payload.load())
    parts: list[Any] = [payload]
    if isinstance(payload, Parts):
        frame.extent, parts = payload.extent, payload.parts
    if "size" in frame.DEFAULTS:
        frame.size = (len(payload),)
    mark = arena.put(parts, len(payload)) if arena is not None and len(payload) >= APART else 0
    if mark:
        frame.arena = mark
    else:
        frame.payload = payload
    return None


def announce(frame: Any, payload: File | Parts) -> None:
    """Describe in a frame its payload, which is sent separately."""
    frame.extent, frame.payload = payload.extent, b""
