"""
What both ends of a link agree on: the method, the options, and how batches get onto the stream.

One bidirectional stream carries everything; each message is one Batch of ``protos/woolexec/v1/wire.proto``, the same
bytes as on a socketpair, without the size in front.  Messages are passed to grpc as they are, so it needs no stubs.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from woolexec.wire.payload import LARGE, File, Parts, store

SERVICE = "woolexec.v1.Peer"
METHOD = "Link"

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

_BATCH_SIZE = 1 << 20
"""Frames are gathered up to about this size, in bytes."""


class Line:
    """Frames that wait for the stream.  Any thread may put; grpc's takes all that is there."""

    def __init__(self) -> None:
        self._frames: SimpleQueue[bytes | None] = SimpleQueue()

    def put(self, frames: bytes) -> None:
        """Put encoded frames in line."""
        self._frames.put(frames)

    def close(self) -> None:
        """End the stream behind what is in line."""
        self._frames.put(None)

    def batches(self) -> Iterator[bytes]:
        """Yield what is in line, as batches, until it is closed."""
        frames = self._frames
        while (first := frames.get()) is not None:
            batch, size = [first], len(first)
            while size < _BATCH_SIZE and not frames.empty():
                more = frames.get()
                if more is None:
                    yield b"".join(batch)
                    return
                batch.append(more)
                size += len(more)
            yield b"".join(batch)


def inline(frame: Any, payload: bytes | File | Parts) -> None:
    """Put a payload of any kind into its frame."""
    if isinstance(payload, File | Parts):
        frame.extent = payload.extent
        payload = b"".join(payload.load())
    frame.payload = payload


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
