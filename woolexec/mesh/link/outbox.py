"""
The parts of a link that both ends share: the methods, the options, and how batches are written to the stream.

One bidirectional stream carries everything; each message is one Batch of ``protos/woolexec/v1/wire.proto``, the same
bytes as on a socketpair, without the size prefix, or a piece of a large one (see `woolexec.mesh.link.messages`).
Messages are passed to grpc as bytes, so no stubs are needed.

A large payload is a memory file at both ends.  On one host it is handed over (see `woolexec.mesh.link.fd_passing`).
Otherwise it is sent before its frame, in parts.  Frames of other calls may be sent between the parts; frames of the
same call keep their order.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from woolexec.core.compressing import Trial
from woolexec.mesh.grpc_module import load_grpc  # noqa: F401  # for code that talks to peers directly
from woolexec.mesh.link.compression import PART, PLAIN, Packing
from woolexec.mesh.link.messages import LIMIT, cut, message_of
from woolexec.platform.ipc import pread
from woolexec.wire.frames import Handed, encode
from woolexec.wire.payload import LARGE, File, Parts, announce, attach, offsets_of
from woolexec.wire.protobuf import Message

if TYPE_CHECKING:
    from woolexec.mesh.link.fd_passing import Passage

SERVICE = "woolexec.v1.Peer"
HELLO = f"/{SERVICE}/Hello"
LINK = f"/{SERVICE}/Link"

OPTIONS = [
    ("grpc.max_receive_message_length", 16 * LIMIT),  # above that a link ends without the reason
    ("grpc.max_send_message_length", -1),
    # A message is refused if its headers name a compression, and is not decompressed if they do not: one of 1 MiB could
    # become a gigabyte.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.per_message_decompression", 0),
    # Otherwise grpc receives as much ahead as was sent during a round trip, which on a busy host was 300 MB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 8 << 20),
    # Without ping_timeout_ms a frozen process is noticed only after 60 s, regardless of keepalive_timeout_ms.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    # Web proxies are not for peers; ssh tunnels and Unix sockets would be sent through them as well.
    ("grpc.enable_http_proxy", 0),
]


ABOVE = 1 << 61
"""Added to the number of a call that a peer lets its client run: the key of that call's payload parts."""

ON_LINK = 1 << 63
"""Added to the number of a value: the key of its parts; other parts have the numbers of their calls as keys."""

VALUES = 1 << 16
"""Maximum number of values that a peer keeps for one client."""

_TURNS = 4
"""Maximum number of large payloads that are sent in turn: the other end keeps a limited number of incomplete ones."""

_FRAMES = LIMIT - PART - (32 << 10)
"""Bytes of other frames per message, if there are several."""

_ENDING = 0.5
"""Seconds to wait for a pending write when the stream has ended."""

_MEMORY = 64 << 10
"""Maximum size of a batch that may stay in memory until the next write, in bytes."""


class Outbox:
    """
    Frames that wait for the stream.  Frames that arrive during a write are sent with the next one.

    :param due: the set that the engine flushes at the end of a loop iteration; an outbox with frames adds itself
    :param limit: the number of unsent bytes above which it is full
    :param on_full: called with True when it becomes full, and with False when less than half of the limit is left
    :param packing: compresses parts of large payloads, unless the other end is on this host
    """

    def __init__(
        self,
        due: set[Any],
        limit: int = 1 << 62,
        on_full: Callable[[bool], object] = lambda _: None,
        packing: Packing = PLAIN,
    ) -> None:
        self._due = due
        self._limit, self._on_full = limit, on_full
        self.is_full = False
        self._apart = 0  # bytes in `_behind`
        self._turns: deque[Hashable] = deque()  # the calls, or lines, whose payloads are sent in turn
        self._frames: list[bytes] = []
        self.written = 0  # total bytes
        self._queued = self._in_flight = 0  # bytes in `_frames`, and in the batch that is being written
        # By call or line: its large payloads, and the frames after them.
        self._behind: dict[Hashable, deque[bytes | _Parts]] = {}
        self._pieces: deque[memoryview] = deque()  # the other pieces of a batch of which one has been written
        self._write: Callable[[bytes], Coroutine[Any, Any, Any]] | None = None
        self._writing: Coroutine[Any, Any, Any] | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._is_watched = self._is_large = False
        self.passage: Passage | None = None
        self._packing = packing

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def unsent(self) -> int:
        """
        Bytes that wait to be written, or are being written.

        The largest payload does not count: small frames may overtake it.
        """
        apart = self._apart
        if apart > self._limit // 2:
            apart -= max((len(item) for behind in self._behind.values() for item in behind), default=0)
        return self._queued + self._in_flight + apart

    @property
    def queued(self) -> int:
        """Bytes that wait to be written, or are being written, except waiting large payloads."""
        return self._queued + self._in_flight

    def put(self, frames: bytes, line: Hashable = 0) -> None:
        """Queue encoded frames, keeping the order within a call, or a line; only in the event loop's thread."""
        behind = self._behind.get(line) if self._behind else None
        if behind is None:
            self._frames.append(frames)
            self._queued += len(frames)
        else:
            behind.append(frames)
            self._apart += len(frames)
        self._due.add(self)

    def put_frame(self, call: int, frame: Message, payload: bytes | File | Parts, line: Hashable | None = None) -> None:
        """
        Queue a frame with its payload: a large one is handed over, or sent in parts before the frame.

        :param line: frames of several calls keep their order if they name the same line
        """
        if isinstance(payload, bytes) or len(payload) < LARGE:
            attach(frame, payload, files=False)
            self.put(encode(frame), call if line is None else line)
        elif not self.hand_over(call, frame, payload, line):
            self.put_parts(call, frame, payload, line=line)

    def put_parts(
        self, call: int, frame: Message, payload: File | Parts, ahead: bytes = b"", line: Hashable | None = None
    ) -> None:
        """
        Queue a frame behind the parts of its payload.

        :param ahead: encoded frames to send right before it
        :param line: as for `put_frame`
        """
        announce(frame, payload)
        behind = self._behind.setdefault(call if line is None else line, deque())
        for item in (_Parts(call, payload), ahead + encode(frame)):
            behind.append(item)
            self._apart += len(item)
        self._due.add(self)

    def is_busy(self, line: Hashable) -> bool:
        """Return whether large payloads of a line, or frames behind them, have not been sent."""
        return line in self._behind

    def hand_over(self, call: int, frame: Message, payload: File | Parts, line: Hashable | None = None) -> bool:
        """Queue a frame whose payload is handed over by fd passing; return False if that is not possible."""
        number = self.passage.give(payload) if self.passage is not None and isinstance(payload, File) else 0
        if not number:
            return False
        announce(frame, payload)
        self.put(encode(Handed(call=call, file=number)) + encode(frame), call if line is None else line)
        return True

    def withdraw(self, call: int) -> bool:
        """Remove a call that waits behind its own payload from the queue; return False if there is none."""
        behind = self._behind.pop(call, None)
        if behind is None:
            return False
        self._apart -= sum(map(len, behind))
        if call in self._turns:
            self._turns.remove(call)
        return True

    def open(self, write: Callable[[bytes], Coroutine[Any, Any, Any]], on_failure: Callable[[], object]) -> None:
        """
        Start writing queued frames to the stream.

        :param write: the `write` of the gRPC stream
        :param on_failure: called when a write to the stream fails
        """
        self._write, self._on_failure = write, on_failure
        self.flush()

    def close(self) -> None:
        """
        Stop writing.

        A pending write keeps its objects until it is done.  If the other process is frozen, it is never done and keeps
        a gRPC thread and a descriptor.  It must keep them: freeing the last grpc.aio object would wait for that thread.
        """
        self._write = None
        self.flush()
        self._frames.clear()
        self._due.discard(self)  # it refers to objects of grpc, and the engine may live for long

    async def ended(self) -> None:
        """Wait briefly for the write that was pending when the outbox was closed."""
        if self._waits_for is not None:
            await asyncio.wait({self._waits_for}, timeout=_ENDING)

    def flush(self) -> bool:
        """
        Write the queued frames; frames that cannot be written now are written when the pending write is done.

        gRPC's write coroutine is advanced here instead of in a task, and a finished one is usually left until the next
        batch: this saves two iterations of the event loop per batch.
        """
        while self._may_begin() and (self._frames or self._behind or self._pieces):
            assert self._write is not None
            try:
                message = self._piece() if self._pieces else self._message()
            except (OSError, MemoryError):
                self._fail()
            else:
                self._is_large = len(message) > _MEMORY
                self._writing = self._write(message)
        if self.is_full is not (self.unsent > (self._limit // 2 if self.is_full else self._limit)):
            self.is_full = not self.is_full
            self._on_full(self.is_full)
        return True

    def _message(self) -> bytes:
        """Return the next message: a batch, or the first piece of one."""
        frames = self._next_frames()
        if self._behind:
            frames += self._part()
            self._packing.begin()
        batch = b"".join(frames)
        self._in_flight = len(batch)
        self.written += len(batch)
        if len(batch) <= LIMIT:
            return batch
        self._pieces = cut(batch)
        return self._piece()

    def _piece(self) -> bytes:
        piece = self._pieces.popleft()
        return message_of(piece, last=not self._pieces)

    def _next_frames(self) -> list[bytes]:
        """Return the queued frames that fit into a message, at least one."""
        frames, self._frames = self._frames, []
        if self._queued <= _FRAMES:
            self._queued = 0
            return frames
        count, size = 1, len(frames[0])
        while count < len(frames) and size + len(frames[count]) <= _FRAMES:
            size += len(frames[count])
            count += 1
        self._frames, self._queued = frames[count:], self._queued - size
        return frames[:count]

    def _may_begin(self) -> bool:
        """Advance the pending write; return whether another may begin."""
        while self._writing is not None:
            waits_for = self._waits_for
            if waits_for is not None and not waits_for.done():
                # Watch for its end if there is more to write, memory to free, or no later flush would notice it.
                matters = self._frames or self._behind or self._pieces or self._is_large or self._write is None
                if matters and not self._is_watched:
                    self._is_watched = True
                    waits_for.add_done_callback(self._go_on)
                return False
            try:
                self._waits_for = self._writing.send(None)
            except StopIteration:
                self._writing = self._waits_for = None
                if not self._pieces:
                    self._packing.end(self._in_flight)
                    self._in_flight = 0
            except (Exception, asyncio.CancelledError):  # any failed write ends the link
                self._writing = self._waits_for = None
                self._fail()
        return self._write is not None

    def _fail(self) -> None:
        """Close the outbox after a failed write, and report it."""
        if self._write is not None:
            self.close()
            self._on_failure()

    def _go_on(self, _: object) -> None:
        self._is_watched = False
        self.flush()

    def _part(self) -> list[bytes]:
        """Return the next part of a large payload, with its frame after the last part; a few calls take turns."""
        turns = self._turns
        turns.extend(islice((call for call in self._behind if call not in turns), _TURNS - len(turns)))
        call = turns.popleft()
        behind = self._behind[call]
        parts = behind[0]
        assert isinstance(parts, _Parts)
        taken = [parts.take(self._packing if self.passage is None else PLAIN)]
        if parts.left == 0:
            self._apart -= len(behind.popleft())
            while behind and not isinstance(frames := behind[0], _Parts):
                taken.append(frames)
                behind.popleft()
                self._apart -= len(frames)
        if behind:
            turns.append(call)
        else:
            del self._behind[call]
        return taken


class _Parts:
    """A large payload that is being sent: the contents that its memory file has, or would have."""

    def __init__(self, call: int, payload: File | Parts) -> None:
        self._call = call
        self._payload = payload
        self._starts, self.left = offsets_of(payload.extent)
        self._pos, self._trial = 0, Trial()

    def __len__(self) -> int:
        return len(self._payload)

    def take(self, packing: Packing) -> bytes:
        """Return the next part, encoded."""
        size = min(PART, self.left)
        data = pread(self._payload.fd, size, self._pos) if isinstance(self._payload, File) else self._cut(size)
        self._pos += len(data)
        self.left -= len(data) if data else self.left
        return packing.part(self._call, data, self._trial)

    def _cut(self, size: int) -> bytes:
        """Return the bytes at the position, from ordinary memory."""
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


async def to_its_end(closing: Coroutine[Any, Any, None]) -> None:
    """Run a closing coroutine to its end even when cancelled; raise the cancellation afterwards."""
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
    """Cancel a task and wait for it, ignoring its outcome; a cancellation of the caller is not swallowed."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def parts_of(payload: bytes | File | Parts) -> Sequence[Any]:
    """Return the body and buffers of a payload of any kind."""
    return payload.load() if isinstance(payload, File | Parts) else [payload]
