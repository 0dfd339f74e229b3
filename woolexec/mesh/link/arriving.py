"""
Large payloads and batches of the other end that arrive piece by piece.

Their total size and number are bounded: if the other end exceeds the bounds, the link ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from woolexec.errors import ProtocolError
from woolexec.mesh.link.compression import PART, decompress
from woolexec.mesh.link.messages import Pieces
from woolexec.platform.ipc import pwrite, shared_file
from woolexec.platform.memory import usable_memory
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.frames import Handed, Part
from woolexec.wire.payload import LARGE, File, Parts, check_parts, offsets_of, store

if TYPE_CHECKING:
    from woolexec.mesh.link.fd_passing import Passage


_WITHIN = 1 << 20
"""Minimum size, in bytes, of a payload within its frame that is stored in steps, because that takes milliseconds."""

_PAYLOADS = 64
"""Maximum number of incomplete payloads: a sender sends those of a few calls in turn."""


class Arriving:
    """
    Large payloads and batches that have not arrived completely.

    :param limit: maximum number of their bytes; None: half of the memory that this process may use
    :param offered: formats in which the other end may compress parts
    """

    FRAMES = (Part, Handed)
    """The frames for `add`."""

    def __init__(self, limit: int | None = None, offered: Sequence[str] = ()) -> None:
        self._limit = usable_memory() // 2 if limit is None else limit
        self._offered = offered
        self._files: dict[int, File | bytearray | OSError] = {}
        self._sizes: dict[int, int] = {}  # by key: bytes that have arrived
        self._size = 0
        self.received = 0
        """Total bytes of all messages."""
        self._pieces = Pieces()
        self.passage: Passage | None = None

    @property
    def size(self) -> int:
        """Bytes of incomplete payloads and batches."""
        return self._size + self._pieces.size

    def batch(self, message: bytes) -> bytes | bytearray:
        """
        Return the batch that this message completes; an empty one if it completes none.

        :raises ProtocolError: if pieces of a batch are missing, or too much has arrived in part
        :raises ValueError: if it is not a message
        """
        self.received += len(message)
        batch = self._pieces.batch(message)
        if not batch:
            self._check()
        return batch

    def add(self, frame: Part | Handed) -> None:
        """
        Store a part, or a memory file that was handed over.

        :raises OSError: if there is no memory left
        :raises ProtocolError: if it was not handed over, or too much has arrived in part
        :raises ValueError: if it is compressed and cannot be decompressed, or its size is wrong
        """
        file = self._files.get(frame.call)
        if isinstance(frame, Handed):
            if self.passage is None or file is not None:
                raise ProtocolError("received Handed without fd passing, or twice for one call")
            self._files[frame.call] = self.passage.take(frame.file)
            self._check()
            return
        size = frame.size if frame.compression else len(frame.data)
        self._sizes[frame.call] = self._sizes.get(frame.call, 0) + size
        self._size += size
        self._check()
        if file is None:
            file = self._files[frame.call] = _begun()
            self._check()
        if isinstance(file, OSError):
            raise ProtocolError("received a Part of a payload that was handed over")
        data = decompress(frame, self._offered)
        if isinstance(file, bytearray):
            file += data
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(file.fd, view) :]
        except OSError as exc:
            if exc.errno != errno.EFBIG:
                raise
            # This process may not make it so large (``ulimit -f``).
            self._files[frame.call] = _read_back(file.fd) + view

    def _check(self) -> None:
        if self.size > self._limit or len(self._files) > _PAYLOADS:
            raise ProtocolError(
                f"too much has arrived in part: {len(self._files)} payloads; the limits are {_PAYLOADS} of them, and "
                f"{self._limit} bytes"
            )

    def in_steps(self, handle: Callable[[Any], Iterator[None] | None]) -> Callable[[Any], Iterator[None] | None]:
        """
        Handle a frame that may contain a large payload, which is first stored in steps.

        :param handle: handles the frame; returns its steps if it takes long
        """

        def handle_in_steps(frame: Any) -> Iterator[None] | None:
            if not getattr(frame, "extent", ()) or len(frame.payload) < _WITHIN:
                return handle(frame)
            return self._stored_first(frame, handle)

        return handle_in_steps

    def _stored_first(self, frame: Any, handle: Callable[[Any], Iterator[None] | None]) -> Iterator[None]:
        view, extent = memoryview(frame.payload), frame.extent
        check_parts(extent, len(view))
        starts, end = offsets_of(extent)
        file = _begun(end) if sum(extent) == len(view) else bytearray()  # otherwise `take` reports the error
        if isinstance(file, File):
            pos = 0
            for start, size in zip(starts, extent, strict=True):
                stop, shift = pos + size, start - pos
                while pos < stop:
                    pos += pwrite(file.fd, view[pos : min(pos + PART, stop)], pos + shift)
                    yield
            frame.payload = file
        yield from handle(frame) or ()

    def forget(self, call: int) -> None:
        """Drop the parts of a payload whose frame will not arrive."""
        self._pop(call)

    def _pop(self, call: int) -> File | bytearray | OSError | None:
        self._size -= self._sizes.pop(call, 0)
        return self._files.pop(call, None)

    def take(self, frame: Any, key: int = 0) -> bytes | File | Parts | OSError:
        """
        Return the payload of a frame, in the form used on one host; an error if no descriptor was left for it.

        :param key: the key of its parts; 0: its call
        :raises ValueError: if it has not arrived
        :raises OSError: if there is no memory left
        """
        if not frame.extent:
            payload: bytes = frame.payload
            return payload
        if isinstance(frame.payload, File):  # it arrived within its frame, and was stored in steps
            return self._kept(frame.payload, frame.extent)
        if not len(frame.payload):
            call = key or getattr(frame, "call", 0)
            file = self._pop(call if isinstance(call, int) else call[0])
            if file is None:
                raise ValueError("received a frame before any part of its large payload")
            if isinstance(file, bytearray):
                return _laid_out(file, frame.extent)
            return self._kept(file, frame.extent) if isinstance(file, File) else file
        parts = Parts.cut(frame.payload, frame.extent)
        if len(parts) >= LARGE:
            with contextlib.suppress(OSError):  # descriptors are scarce
                return store(parts.parts)
        return parts

    def _kept(self, file: File, extent: Sequence[int]) -> File | Parts:
        """Return the payload in a file; read it into memory if descriptors are scarce."""
        file.lay_out(extent)
        reserve = None if self.passage is None else self.passage.reserve
        if not is_scarce(file.fd) and (reserve is None or reserve.hold()):
            return file
        parts = file.take_in()
        if reserve is not None:
            reserve.hold()
        return parts


def _begun(size: int = 0) -> File | bytearray:
    """Return a file of this size, or a buffer, for the parts of a payload."""
    try:
        file = File(shared_file(size), ())
    except OSError:
        return bytearray()
    return bytearray() if is_scarce(file.fd) else file


def _read_back(fd: int) -> bytearray:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return bytearray(file.read())


def _laid_out(data: bytearray, extent: Sequence[int]) -> Parts:
    """
    Return a payload that was received into a buffer instead of a memory file.

    :raises ValueError: if it is too short
    """
    check_parts(extent, len(data))
    starts, end = offsets_of(extent)
    if len(data) < end:
        raise ValueError(f"received a payload of {len(data)} bytes, which is shorter than its extent says")
    view = memoryview(data)
    return Parts([view[start : start + size] for start, size in zip(starts, extent, strict=True)])
