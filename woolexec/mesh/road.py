"""
What both ends of a link agree on: the method, the options, and how batches get onto the stream.

One bidirectional stream carries everything; each message is one Batch of ``protos/woolexec/v1/wire.proto``, the same
bytes as on a socketpair, without the size in front.  Messages are passed to grpc as they are, so it needs no stubs.

A large payload is a memory file here and there.  On one host it is handed over (see `woolexec.mesh.passage`).
Otherwise it goes ahead of its frame in parts, between which all other frames pass; what belongs to the same call keeps
its order.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from woolexec.errors import ProtocolError
from woolexec.wire.codec import Handed, Message, Part, encode, encode_part
from woolexec.wire.payload import LARGE, File, Parts, fill, shared_file, store

if TYPE_CHECKING:
    from woolexec.mesh.passage import Passage

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
]


_SETTINGS = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener"}
_MEASURED = ("1.84.", "1.85.")
"""Without threads of grpc's own between socket and caller a round trip takes a fifth less (900 against 740 µs, medians
of five); these versions can do without, later ones are left as they are."""

_PART = 512 << 10
"""Bytes of a large payload that travel as one message: small frames wait for no more than these."""


def load_grpc() -> Any:
    """Import grpc with `_SETTINGS`, unless the program has imported it already, or has settings of its own."""
    is_ours = "grpc" not in sys.modules and not os.environ.keys() & _SETTINGS.keys()
    if not is_ours or not _installed().startswith(_MEASURED):
        import grpc

        return grpc
    os.environ.update(_SETTINGS)
    try:
        import grpc  # which reads them
    finally:
        for name in _SETTINGS:
            os.environ.pop(name, None)
    return grpc


def _installed() -> str:
    try:
        return version("grpcio")
    except PackageNotFoundError:  # in a program that was frozen
        return ""


class Outbox:
    """Frames that wait for the stream.  What gathers while a write is under way goes with the next one."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._behind: dict[int, deque[bytes | _Parts]] = {}  # by call: its large payloads, and what comes after them
        self._filled = asyncio.Event()
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
        self._filled.set()

    def put_file(self, call: int, frame: Message, file: File) -> None:
        """Put a frame in line whose payload is large."""
        if not self.hand_over(call, frame, file):
            self.put_parts(call, frame, file)

    def put_parts(self, call: int, frame: Message, file: File, ahead: bytes = b"") -> None:
        """
        Put a frame in line behind the parts of its payload.

        :param ahead: encoded frames that are to come right before it
        """
        try:
            parts = _Parts(call, file)
        except OSError:  # no descriptor is left for that: it travels in its frame
            inline(frame, file)
            self.put(ahead + encode(frame), call)
            return
        frame.extent, frame.payload = file.extent, b""  # type: ignore[attr-defined]  # every frame with a payload
        behind = self._behind.setdefault(call, deque())
        behind += (parts, ahead + encode(frame))
        self._filled.set()

    def hand_over(self, call: int, frame: Message, file: File) -> bool:
        """Put a frame in line whose payload goes beside the link; False if it cannot go there."""
        try:
            number = 0 if self.passage is None else self.passage.give(file)
        except OSError:
            return False
        if not number:
            return False
        frame.extent, frame.payload = file.extent, b""  # type: ignore[attr-defined]  # every frame with a payload
        self.put(encode(Handed(call=call, file=number)) + encode(frame), call)
        return True

    def withdraw(self, call: int) -> bool:
        """Take a call out of the line that waits behind its own payload; False if it does not."""
        return self._behind.pop(call, None) is not None

    async def empty_into(self, write: Callable[[bytes], Awaitable[Any]]) -> None:
        """Write what is in line, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            frames, self._frames = self._frames, []
            if self._behind:
                frames += self._part()
            await write(b"".join(frames))

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
        if self._behind:
            self._filled.set()
        return taken


class _Parts:
    """A memory file on its way out."""

    def __init__(self, call: int, file: File) -> None:
        self._call = call
        self._file = file
        self._fd = file.share()
        self.left = os.fstat(self._fd).st_size
        self._pos = 0

    def take(self) -> bytes:
        """Return the next part, encoded."""
        data = os.pread(self._fd, min(_PART, self.left), self._pos)
        self._pos += len(data)
        self.left -= len(data) if data else self.left
        return encode_part(self._call, data)


class Arriving:
    """Large payloads of which not all has come yet."""

    def __init__(self) -> None:
        self._files: dict[int, File | OSError] = {}
        self.passage: Passage | None = None

    def add(self, frame: Part | Handed) -> None:
        """
        Keep a part, or what was handed over.

        :raises OSError: if there is no descriptor or no memory left
        :raises ProtocolError: if it was not handed over
        """
        if isinstance(frame, Handed):
            if self.passage is None:
                raise ProtocolError("a memory file was handed over where nobody takes one")
            self._files[frame.call] = self.passage.take(frame.file)
            return
        file = self._files.get(frame.call)
        if file is None:
            file = self._files[frame.call] = File(shared_file(0), ())
        if not isinstance(file, File):
            raise ProtocolError("a part of what was handed over")
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
        :raises OSError: if there are no descriptors or no memory left
        """
        if not frame.extent:
            payload: bytes = frame.payload
            return payload
        if not len(frame.payload):
            call = getattr(frame, "call", 0)
            file = self._files.pop(call if isinstance(call, int) else call[0], None)
            if file is None:
                raise ValueError("a large payload of which nothing has come")
            if isinstance(file, File):
                file.lay_out(frame.extent)
            return file
        parts = Parts.cut(frame.payload, frame.extent)
        return store(parts.parts) if len(parts) >= LARGE else parts


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
