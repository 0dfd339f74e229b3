"""
The client's end of a link: a place like a worker, but that a peer stands behind it.

What differs from a worker: there is no shared page.  What has been started is told by Started frames, late, so a recall
puts all that it covers in doubt (`LIMBO`) until the peer has answered, and when the link breaks nobody can tell what
was started: all that was outstanding is lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.core.call import LIMBO, SENT, Call
from woolexec.core.window import DEPTH, HORIZON
from woolexec.engine.outbound import Remote
from woolexec.engine.reports import task_name
from woolexec.errors import WorkerLostError
from woolexec.mesh.road import METHOD, OPTIONS, SERVICE, Line, inline, outline
from woolexec.wire.codec import Cancel, Define, Recalled, Start, Started, decode, encode
from woolexec.wire.payload import File, Parts

if TYPE_CHECKING:
    from woolexec.engine.engine import Engine

_BYTES = 8 << 20
"""Payload outstanding behind a link, in bytes, at most, beyond the calls that run."""

_CLOSING = 2.0
"""Seconds to wait for the thread that reads the stream."""


class _Reports:
    """In place of a worker's page: what the peer has told."""

    def __init__(self) -> None:
        self.started = 0
        self.since = monotonic()
        self.sent = 0

    def recall(self, number: int) -> int:
        """Any of the calls may have been started."""
        return self.sent

    def clear_recall(self) -> None:
        """Nothing to forget."""


class Link(Remote):
    """
    One stream to a peer.  `connect` gives it to an engine; the engine's thread uses it from then on.

    :param address: of a Unix socket, as ``unix:/path``
    :param width: calls that the peer runs at once
    """

    __slots__ = (
        "_address",
        "_begun",
        "_channel",
        "_engine",
        "_line",
        "_out",
        "_reader",
        "_stream",
        "_wanted",
        "page",
        "pid",
        "width",
    )

    page: _Reports

    def __init__(self, engine: Engine, address: str, width: int) -> None:
        import grpc

        super().__init__()
        self.pid = None
        self.page = _Reports()
        self.width = width
        self._engine = engine
        self._address = address
        self._begun: set[int] = set()
        self._wanted: dict[Call, Callable[[bool], object]] = {}
        self._out: list[bytes] = []
        self._line = Line()
        self._channel = grpc.insecure_channel(address, OPTIONS)
        self._stream = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")(self._line.batches())
        self._reader = threading.Thread(target=self._read, name="woolexec-link", daemon=True)
        self._reader.start()
        engine._loop.tell(partial(engine._dispatcher.link, self))

    # -- sending ------------------------------------------------------------------------------------------------

    def has_room(self, cost: float | None, size: int) -> bool:
        """As of a worker, but that `width` calls run at once."""
        if not self.ready or self.recalling:
            return False
        ahead = len(self.outstanding)
        if ahead < self.width:
            return True
        if cost is None or ahead >= DEPTH * self.width:
            return False
        return self.load + cost <= HORIZON * self.width and self.size + size <= _BYTES

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Book a call at the moment of the decision."""
        super().sent(call, number, cost, size)
        self.page.sent = number

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Put encoded frames in line; `flush` writes them."""
        assert file is None  # descriptors stay on their host
        self._out.append(frames)

    def flush(self) -> bool:
        """Give what is in line to the stream."""
        self._line.put(b"".join(self._out))
        self._out.clear()
        return True

    def _send_function(self, slot: int, payload: Any) -> None:
        frame = Define(function=slot)
        inline(frame, payload)
        self.send(encode(frame))

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        frame.size = (len(payload),)
        inline(frame, payload)
        self.send(encode(frame))

    # -- taking back --------------------------------------------------------------------------------------------

    def take_back(self, call: Call, answer: Callable[[bool], object], *, force: bool = False) -> None:
        """Ask for a call back, or for its end; the peer's Recalled decides."""
        dispatcher = self._engine._dispatcher
        if call.state not in {SENT, LIMBO}:
            answer(False)
            return
        self._wanted[call] = answer
        if force:
            self.recalling += 1
            if call.state == SENT:
                call.move("doubt")
            self.send(encode(Cancel(call=call.number)))
            dispatcher.due.add(self)
        else:
            dispatcher.recall(self, since=call.number)

    def is_running(self, call: Call) -> bool:
        """Say whether the peer has told that this call was started."""
        return call.number in self._begun

    def _answer(self, *, broken: bool = False) -> None:
        """Those that were given back are in the queue again, where whoever wanted them takes them."""
        for call, answer in list(self._wanted.items()):
            if self._engine._dispatcher.core.queue.claim(call):
                call.move("cancel")
            elif not broken and self.recalling:
                continue
            else:
                del self._wanted[call]
                answer(False)
                continue
            del self._wanted[call]
            answer(True)

    # -- receiving ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Pass what comes to the engine's thread, until the stream ends."""
        import grpc

        tell, why = self._engine._loop.tell, "the peer ended it"
        try:
            for data in self._stream:
                tell(partial(self._hear, data))
        except grpc.RpcError as exc:
            why = f"{exc.code().name}: {exc.details()}"  # grpc says so only at run time
        self._line.close()  # grpc's thread that takes from it would wait for ever
        self._channel.close()
        tell(partial(self._broke, why))

    def _hear(self, data: bytes) -> None:
        """Act on a batch."""
        if not self.ready:
            return
        dispatcher = self._engine._dispatcher
        try:
            for frame in decode(data):
                if isinstance(frame, Started):
                    self._begun.update(number for number in frame.call if number in self.outstanding)
                    self.page.started = max(self.page.started, *frame.call)
                    self.page.since = monotonic()
                    continue
                if getattr(frame, "extent", ()):
                    frame.payload = outline(frame)  # type: ignore[attr-defined]  # what has an extent has a payload
                dispatcher.hear_link(self, (frame,))
                if isinstance(frame, Recalled):
                    self._answer()
        except Exception as exc:  # ValueError, ProtocolError, OSError: it cannot be trusted, or not be followed
            self._stream.cancel()
            self._broke(str(exc))

    def gone(self, number: int, size: int) -> Call | None:
        """Take a call off the books."""
        self._begun.discard(number)
        return super().gone(number, size)

    def _broke(self, why: str) -> None:
        """Lose what is outstanding; what waits goes elsewhere."""
        if not self.ready:
            return
        self.ready = False
        self._let_go()
        self._engine._dispatcher.unlink(self, partial(self._lost, why))
        self._answer(broken=True)

    def _lost(self, why: str, call: Call) -> WorkerLostError:
        error = WorkerLostError(f"the link to {self._address} broke while {task_name(call)} was outstanding: {why}")
        error.task, error.host, error.attempts = task_name(call), os.uname().nodename, call.attempts
        return error

    def close(self) -> None:
        """End the stream; nothing is outstanding any more."""
        self.ready = False
        self._line.close()
        self._stream.cancel()
        self._reader.join(_CLOSING)
        self._let_go()

    def _let_go(self) -> None:
        """What was sent may hold descriptors."""
        self._slot_of.clear()
        self._chunk = None
