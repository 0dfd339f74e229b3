"""
Messages of a link: each is one Batch of at most `LIMIT` bytes; a larger batch travels in pieces, one after the other.

The size is checked before a message is handled, so any contents cost the receiver little.  gRPC decompresses messages
after it has checked their size, so compression is refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.errors import ProtocolError
from woolexec.wire.frames import Drop, Started
from woolexec.wire.protobuf import read_varint, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

LIMIT = (1 << 20) + (64 << 10)
"""Maximum size of a message, in bytes."""

_SLICE = 0.005
"""Seconds after which the handling of a message gives way to other work."""

FRAMES = 256
"""Maximum number of frames of a message that are decoded before they are handled."""

_NUMBERS = 1000
"""Maximum length of a list that is handled in one step."""

_LISTS = {Started: "call", Drop: "value"}

_SIZE = LIMIT - 16
"""Bytes of a piece; a message also has a tag and a length."""

_PIECE, _LAST = 2 << 3 | 2, 3 << 3 | 2
"""The tags of a piece and of the last piece, in the schema's ``Batch``; the tag of frames is 10."""

_HEADS = {_PIECE: bytes((_PIECE,)), _LAST: bytes((_LAST,))}


async def handle_all(frames: Iterable[Any], handle: Callable[[Any], Iterable[None] | None], turn: Turn) -> None:
    """
    Handle frames in slices, between which other work gets turns.

    :param handle: handles one frame; returns its steps if it takes long
    """
    for frame in in_slices(frames):
        for _ in handle(frame) or ():
            if turn.is_over:
                await turn.give_way()
        if turn.is_over:
            await turn.give_way()


class Turn:
    """
    The time slice in which a message is handled.

    :param wake: called at the end of a slice: there may be work for the engine
    """

    __slots__ = ("_until", "_wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self._until, self._wake = monotonic() + _SLICE, wake

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return monotonic() > self._until

    async def give_way(self) -> None:
        """Give way to other work, and begin the next slice."""
        self._wake()
        await asyncio.sleep(0)
        self._until = monotonic() + _SLICE


def in_slices(frames: Iterable[Any]) -> Iterator[Any]:
    """Yield frames; a frame with a long list of numbers is split into several frames."""
    for frame in frames:
        field = _LISTS.get(frame.__class__)
        if field is None or not is_long(getattr(frame, field)):
            yield frame
            continue
        numbers = getattr(frame, field)
        for some in slices_of(numbers):
            part = copy(frame)
            setattr(part, field, some)
            yield part


def is_long(numbers: Sequence[int]) -> bool:
    """Return whether a list must be handled in several steps."""
    return len(numbers) > _NUMBERS


def slices_of(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the parts of a list; each is handled in one step."""
    for start in range(0, len(numbers), _NUMBERS):
        yield numbers[start : start + _NUMBERS]


def cut(batch: bytes) -> deque[memoryview]:
    """Return the pieces of a batch that is too large for one message."""
    view = memoryview(batch)
    return deque(view[start : start + _SIZE] for start in range(0, len(batch), _SIZE))


def message_of(piece: memoryview, *, last: bool) -> bytes:
    """Return the message for a piece of a batch."""
    return b"".join((_HEADS[_LAST if last else _PIECE], varint(len(piece)), piece))


class Pieces:
    """Reassembles batches that arrive in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def size(self) -> int:
        """Bytes of an incomplete batch."""
        return len(self._data)

    def batch(self, message: bytes) -> bytes | bytearray:
        """
        Return the batch that this message completes; an empty one if it completes none.

        :raises ProtocolError: if pieces of a batch are missing, or the message is too large
        :raises ValueError: if it is not a message
        """
        if len(message) > LIMIT:
            raise ProtocolError(f"a message has {len(message)} bytes, more than the limit of {LIMIT} bytes")
        tag = message[0] if message else 0
        if tag not in _HEADS:
            if self._data:
                raise ProtocolError("a batch came between the pieces of another")
            return message
        try:
            size, start = read_varint(message, 1)
        except IndexError as exc:
            raise ValueError(f"bad piece of a batch: {exc}") from exc
        if not size or start + size != len(message):
            raise ValueError("the size of a piece does not match its message")
        self._data += memoryview(message)[start:]
        if tag == _PIECE:
            return b""
        data, self._data = self._data, bytearray()
        return data
