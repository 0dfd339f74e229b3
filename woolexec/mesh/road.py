"""
What both ends of a link agree on: the method, the options, and how batches get onto the stream.

One bidirectional stream carries everything; each message is one Batch of ``protos/woolexec/v1/wire.proto``, the same
bytes as on a socketpair, without the size in front.  Messages are passed to grpc as they are, so it needs no stubs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from woolexec.wire.payload import LARGE, File, Parts, store

SERVICE = "woolexec.v1.Peer"
HELLO = f"/{SERVICE}/Hello"
LINK = f"/{SERVICE}/Link"

OPTIONS = [
    # A payload travels in its frame, whatever its size: memory files stay on their host.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Without ping_timeout_ms a frozen process is only noticed after 60 s, whatever keepalive_timeout_ms says.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
]


class Outbox:
    """Frames that wait for the stream.  What gathers while a write is under way goes with the next one."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frames: bytes) -> None:
        """Put encoded frames in line; only in the event loop's thread."""
        self._frames.append(frames)
        self._filled.set()

    async def empty_into(self, write: Callable[[bytes], Awaitable[Any]]) -> None:
        """Write what is in line, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            frames, self._frames = self._frames, []
            await write(b"".join(frames))


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever that is; being cancelled meanwhile is not lost."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def inline(frame: Any, payload: bytes | File | Parts) -> None:
    """Put a payload of any kind into its frame."""
    if isinstance(payload, File | Parts):
        frame.extent = payload.extent
        payload = b"".join(payload.load())
    frame.payload = payload


def parts_of(payload: bytes | File | Parts) -> Sequence[Any]:
    """Return body and buffers of a payload of any kind."""
    return payload.load() if isinstance(payload, File | Parts) else [payload]


def outline(frame: Any) -> bytes | File | Parts:
    """
    Take a payload out of its frame, in the form that it has on one host.

    :raises ValueError: if its sizes do not add up
    :raises OSError: if there are no descriptors or no memory left
    """
    if not frame.extent:
        payload: bytes = frame.payload
        return payload
    parts = Parts.cut(frame.payload, frame.extent)
    return store(parts.parts) if len(parts) >= LARGE else parts
