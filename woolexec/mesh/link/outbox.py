"""
What both ends of a link agree on: the method, the options, and how batches get onto the stream.

One bidirectional stream carries everything; each message is one Batch of ``protos/woolexec/v1/wire.proto``, the same
bytes as on a socketpair, without the size in front.  Messages are passed to grpc as they are, so it needs no stubs.

A large payload is a memory file here and there.  On one host it is handed over (see `woolexec.mesh.link.fd_passing`).
Otherwise it goes ahead of its frame in parts, between which all other frames pass; what belongs to the same call keeps
its order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from woolexec.errors import ProtocolError
from woolexec.mesh.grpc_module import load_grpc  # noqa: F401  # for code that speaks to peers by itself
from woolexec.wire.codec import Handed, Message, Part, encode, encode_part
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.payload import LARGE, File, Parts, fill, offsets_of, shared_file, store

if TYPE_CHECKING:
    from woolexec.mesh.link.fd_passing import Passage

SERVICE = "woolexec.v1.Peer"
HELLO = f"/{SERVICE}/Hello"
LINK = f"/{SERVICE}/Link"

OPTIONS = [
    # Functions and the chunks of a map travel in their frames, whatever their size.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Without ping_timeout_ms a frozen process is only noticed after 60 s, whatever keepalive_timeout_ms says.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    # A proxy for the web is none for peers; tunnels and sockets of this host would go through it as well.
    ("grpc.enable_http_proxy", 0),
]


_PART = 512 << 10
"""Bytes of a large payload that travel as one message: small frames wait for no more than these."""

_ENDING = 0.5
"""Seconds that a write may take to end when the stream has ended."""

_MEMORY = 64 << 10
"""Bytes of a batch that may stay in memory until the next one goes."""


class Outbox:
    """
    Frames that wait for the stream.  What gathers while a write is under way goes with the next one.

    :param due: what the engine flushes at the end of a round; this joins it when there is something in line
    """

    def __init__(self, due: set[Any]) -> None:
        self._due = due
        self._frames: list[bytes] = []
        self._behind: dict[int, deque[bytes | _Parts]] = {}  # by call: its large payloads, and what comes after them
        self._write: Callable[[bytes], Coroutine[Any, Any, Any]] | None = None
        self._writing: Coroutine[Any, Any, Any] | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._is_watched = self._is_large = False
        self.passage: Passage | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frames: bytes, call: int = 0) -> None:
        """Put encoded frames in line, those of one call in their order; only in the event loop's thread."""
        behind = self._behind.get(call) if self._behind else None
        if behind is None:
            self._frames.append(frames)
        else:
            behind.append(frames)
        self._due.add(self)

    def put_large(self, call: int, frame: Message, payload: File | Parts) -> None:
        """Put a frame in line whose payload is large."""
        if not self.hand_over(call, frame, payload):
            self.put_parts(call, frame, payload)

    def put_parts(self, call: int, frame: Message, payload: File | Parts, ahead: bytes = b"") -> None:
        """
        Put a frame in line behind the parts of its payload.

        :param ahead: encoded frames that are to come right before it
        """
        frame.extent, frame.payload = payload.extent, b""  # type: ignore[attr-defined]  # every frame with a payload
        behind = self._behind.setdefault(call, deque())
        behind += (_Parts(call, payload), ahead + encode(frame))
        self._due.add(self)

    def hand_over(self, call: int, frame: Message, payload: File | Parts) -> bool:
        """Put a frame in line whose payload goes beside the link; False if it cannot go there."""
        number = self.passage.give(payload) if self.passage is not None and isinstance(payload, File) else 0
        if not number:
            return False
        frame.extent, frame.payload = payload.extent, b""  # type: ignore[attr-defined]  # every frame with a payload
        self.put(encode(Handed(call=call, file=number)) + encode(frame), call)
        return True

    def withdraw(self, call: int) -> bool:
        """Take a call out of the line that waits behind its own payload; False if it does not."""
        return self._behind.pop(call, None) is not None

    def open(self, write: Callable[[bytes], Coroutine[Any, Any, Any]], on_failure: Callable[[], object]) -> None:
        """
        Let what is in line go to the stream.

        :param write: of grpc's
        :param on_failure: called when the stream cannot be written to any more
        """
        self._write, self._on_failure = write, on_failure
        self.flush()

    def close(self) -> None:
        """
        Write no more.

        What a write needs that is under way stays until it is done.  To a frozen process it never is; that then keeps
        a thread of grpc's and a descriptor.  If the last object of grpc.aio could go, it would wait for that thread.
        """
        self._write = None
        self.flush()

    async def ended(self) -> None:
        """Wait a moment for the end of the write that was under way when this was closed."""
        if self._waits_for is not None:
            await asyncio.wait({self._waits_for}, timeout=_ENDING)

    def flush(self) -> bool:
        """
        Write what is in line; what cannot go now goes when the write before it is done.

        Grpc's coroutine runs here up to where it waits, instead of in a task, and when it is done it is mostly left
        until the next batch: that is two turns of the event loop less for each.
        """
        while self._may_begin() and (self._frames or self._behind):
            assert self._write is not None
            try:
                batch = self._batch()
            except (OSError, MemoryError):
                self._fail()
            else:
                self._is_large = len(batch) > _MEMORY
                self._writing = self._write(batch)
        return True

    def _batch(self) -> bytes:
        """Take what goes next."""
        frames, self._frames = self._frames, []
        if self._behind:
            frames += self._part()
        return b"".join(frames)

    def _may_begin(self) -> bool:
        """Go on with the write that is under way; say whether another may begin."""
        while self._writing is not None:
            waits_for = self._waits_for
            if waits_for is not None and not waits_for.done():
                # Its end matters if there is more to write, memory to free, or nobody to come back.
                matters = self._frames or self._behind or self._is_large or self._write is None
                if matters and not self._is_watched:
                    self._is_watched = True
                    waits_for.add_done_callback(self._go_on)
                return False
            try:
                self._waits_for = self._writing.send(None)
            except StopIteration:
                self._writing = self._waits_for = None
            except (Exception, asyncio.CancelledError):  # whatever it is
                self._writing = self._waits_for = None
                self._fail()
        return self._write is not None

    def _fail(self) -> None:
        """What cannot be written to is no link any more."""
        if self._write is not None:
            self.close()
            self._on_failure()

    def _go_on(self, _: object) -> None:
        self._is_watched = False
        self.flush()

    def _part(self) -> list[bytes]:
        """Take the next part of a large payload, of each call in turn, and its frame when it has come so far."""
        call = next(iter(self._behind))
        behind = self._behind.pop(call)
        parts = behind[0]
        assert isinstance(parts, _Parts)
        taken = [parts.take()]
        if parts.left == 0:
            behind.popleft()
            while behind and not isinstance(frames := behind[0], _Parts):
                taken.append(frames)
                behind.popleft()
        if behind:
            self._behind[call] = behind
        return taken


class _Parts:
    """A large payload on its way out: what is, or would be, in its memory file."""

    def __init__(self, call: int, payload: File | Parts) -> None:
        self._call = call
        self._payload = payload
        self._starts, self.left = offsets_of(payload.extent)
        self._pos = 0

    def take(self) -> bytes:
        """Return the next part, encoded."""
        size = min(_PART, self.left)
        data = os.pread(self._payload.fd, size, self._pos) if isinstance(self._payload, File) else self._cut(size)
        self._pos += len(data)
        self.left -= len(data) if data else self.left
        return encode_part(self._call, data)

    def _cut(self, size: int) -> bytes:
        """Return what lies at the position in ordinary memory."""
        assert isinstance(self._payload, Parts)
        data, stop = bytearray(size), self._pos + size
        first = bisect_right(self._starts, self._pos) - 1
        for start, part in zip(self._starts[first:], self._payload.parts[first:], strict=True):
            if start >= stop:
                break
            piece = memoryview(part)[max(0, self._pos - start) : stop - start]
            begin = max(start - self._pos, 0)
            data[begin : begin + len(piece)] = piece
        return bytes(data)


class Arriving:
    """Large payloads of which not all has come yet."""

    def __init__(self) -> None:
        self._files: dict[int, File | bytearray | OSError] = {}
        self.passage: Passage | None = None

    def add(self, frame: Part | Handed) -> None:
        """
        Keep a part, or what was handed over.

        :raises OSError: if there is no memory left
        :raises ProtocolError: if it was not handed over
        """
        if isinstance(frame, Handed):
            if self.passage is None:
                raise ProtocolError("a memory file was handed over where nobody takes one")
            self._files[frame.call] = self.passage.take(frame.file)
            return
        file = self._files.get(frame.call)
        if file is None:
            file = self._files[frame.call] = _begun()
        if isinstance(file, OSError):
            raise ProtocolError("a part of what was handed over")
        if isinstance(file, bytearray):
            file += frame.data
            return
        view = memoryview(frame.data)
        while view:
            view = view[os.write(file.fd, view) :]

    def forget(self, call: int) -> None:
        """Drop what has come of a payload whose frame will not come."""
        self._files.pop(call, None)

    def take(self, frame: Any) -> bytes | File | Parts | OSError:
        """
        Return the payload of a frame, in the form that it has on one host; an error if no descriptor was left for it.

        :raises ValueError: if it has not come
        :raises OSError: if there is no memory left
        """
        if not frame.extent:
            payload: bytes = frame.payload
            return payload
        if not len(frame.payload):
            call = getattr(frame, "call", 0)
            file = self._files.pop(call if isinstance(call, int) else call[0], None)
            if file is None:
                raise ValueError("a large payload of which nothing has come")
            if isinstance(file, bytearray):
                return _laid_out(file, frame.extent)
            return self._kept(file, frame.extent) if isinstance(file, File) else file
        parts = Parts.cut(frame.payload, frame.extent)
        if len(parts) >= LARGE:
            with contextlib.suppress(OSError):  # descriptors are scarce
                return store(parts.parts)
        return parts

    def _kept(self, file: File, extent: Sequence[int]) -> File | Parts:
        """Say what is in a file, and read it if descriptors are scarce."""
        file.lay_out(extent)
        reserve = None if self.passage is None else self.passage.reserve
        if not is_scarce(file.fd) and (reserve is None or reserve.hold()):
            return file
        parts = file.take_in()
        if reserve is not None:
            reserve.hold()
        return parts


def _begun() -> File | bytearray:
    """Return where the parts of a payload are put."""
    try:
        file = File(shared_file(0), ())
    except OSError:
        return bytearray()
    return bytearray() if is_scarce(file.fd) else file


def _laid_out(data: bytearray, extent: Sequence[int]) -> Parts:
    """
    Return the payload of a memory file that never was one.

    :raises ValueError: if it is too short
    """
    starts, end = offsets_of(extent)
    if len(data) < end:
        raise ValueError(f"a payload of {len(data)} bytes is shorter than what it is to hold")
    view = memoryview(data)
    return Parts([view[start : start + size] for start, size in zip(starts, extent, strict=True)])


async def to_its_end(closing: Coroutine[Any, Any, None]) -> None:
    """Run what closes something to its end, however often this is cancelled; that is told afterwards."""
    task = asyncio.get_running_loop().create_task(closing)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever that is; being cancelled meanwhile is not lost."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def inline(frame: Any, payload: bytes | File | Parts) -> None:
    """Put a payload of any kind into its frame."""
    fill(frame, Parts(payload.load()) if isinstance(payload, File) else payload)


def parts_of(payload: bytes | File | Parts) -> Sequence[Any]:
    """Return body and buffers of a payload of any kind."""
    return payload.load() if isinstance(payload, File | Parts) else [payload]
