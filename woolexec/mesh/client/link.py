"""
The client's end of a link: a place like a worker, but with a peer behind it.

Unlike a worker it has no shared page: Started frames report which calls were started, with a delay.  So all calls that
a recall covers are `UNCERTAIN` until the peer has answered, and when the link breaks it is not known which calls were
started: all outstanding calls are lost.

All of it runs in the engine's thread, which then runs an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec import errors
from woolexec.core.call import SENT, UNCERTAIN, Call, Function
from woolexec.core.offer import Offer
from woolexec.core.placement import Candidate, Distant
from woolexec.core.window import HORIZON
from woolexec.engine.diagnostics import task_name
from woolexec.engine.transport import SLOTS, Remote
from woolexec.errors import ProtocolError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.outbox import Arriving, Outbox, parts_of
from woolexec.platform.posix import host_name
from woolexec.resources import Requirement, amounts
from woolexec.wire.fast_frames import RETURN, decode, decode_returns
from woolexec.wire.frames import Cancel, Code, Define, Load, Recalled, Start, Started, Stop, encode
from woolexec.wire.payload import LARGE, File, Parts, attach
from woolexec.wire.pickling import dumps_inline
from woolexec.wire.protobuf import Message

if TYPE_CHECKING:
    from woolexec.engine.engine import Engine
    from woolexec.mesh.link.fd_passing import Passage
    from woolexec.wire.wire_pb2 import Welcome
    from woolexec.worker.setup import Setup

_PIECE = 1 << 20
"""Bytes of code per frame."""

_LAST_SLOT = SLOTS
"""The slot for functions of calls with large payloads: it is redefined right before each of these calls."""


def no_code(digest: str) -> None:
    """Return None: there are no code archives."""


class _Reports:
    """Replaces a worker's shared page: what the peer has reported."""

    def __init__(self) -> None:
        self.started = 0
        self.since = monotonic()
        self.sent = 0

    def recall(self, number: int) -> int:
        """Return the last call that was sent: any of them may have been started."""
        return self.sent

    def clear_recall(self) -> None:
        """Do nothing: there are no recalls to clear."""


class _Far(Remote):
    """The common part of both places behind a link."""

    __slots__ = ("_begun", "_engine", "_link", "_wanted", "name", "page", "pid")

    page: _Reports

    def __init__(self, engine: Engine, link: Link) -> None:
        super().__init__()
        self._link = link
        self.pid = None
        self.page = _Reports()
        self._engine = engine
        self._begun: set[int] = set()
        self._wanted: dict[Call, Callable[[bool], object]] = {}

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Book a call at the moment of the decision."""
        super().sent(call, number, cost, size)
        self.page.sent = number

    def gone(self, number: int, size: int) -> Call | None:
        """Remove a call from the books."""
        self._begun.discard(number)
        return super().gone(number, size)

    def began(self, number: int) -> Call | None:
        """Record that the peer has started a call; return None if it is no longer outstanding."""
        call = self.outstanding.get(number)
        if call is not None:
            self._begun.add(number)
            self.page.started = max(self.page.started, number)
            self.page.since = monotonic()
        return call

    def is_running(self, call: Call) -> bool:
        """Return whether the peer has reported that this call was started."""
        return call.number in self._begun

    def withdraw(self, call: Call) -> bool:
        """Requeue a call whose large payload has not been sent completely; return False if the call was sent."""
        if call.pin or call.number in self._begun or not self._link._outbox.withdraw(call.number):
            return False
        self._engine._dispatcher.withdraw(self, call)
        self._link.recalling += 1
        self._link.send_command(Cancel(call=call.number))  # so that the peer drops what it has received of it
        return True

    def take_back(self, call: Call, answer: Callable[[bool], object], *, force: bool = False) -> None:
        """Ask the peer to give a call back, or with `force` to end it; the peer's Recalled frame decides."""
        dispatcher = self._engine._dispatcher
        if call.state not in {SENT, UNCERTAIN}:
            answer(False)
            return
        self._wanted[call] = answer
        if force:
            self.recalling += 1
            if call.state == SENT:
                call.move("doubt")
            self.send_command(Cancel(call=call.number))
            dispatcher.due.add(self)
        else:
            dispatcher.recall(self, since=call.number)

    def answer(self, *, broken: bool = False) -> None:
        """Answer the pending `take_back` requests; calls that were given back are claimed from the queue."""
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


class Link(Distant, _Far):
    """
    One stream to a peer.

    :param address: the peer's address, for messages
    :param welcome: the peer's description of itself
    :param setup: what workers run before the first of our functions; wrapped around each of them
    :param code: returns the code archive with this digest, or None; sent before the functions that need it
    """

    __slots__ = (
        "_address",
        "_arriving",
        "_code",
        "_host",
        "_leaving",
        "_outbox",
        "_sent_code",
        "_setup",
        "_stream",
        "lane_place",
    )

    lane_place: LinkLane

    def __init__(
        self,
        engine: Engine,
        address: str,
        welcome: Welcome,
        setup: Setup | None = None,
        code: Callable[[str], bytes | None] = no_code,
    ) -> None:
        super().__init__(engine, self)
        self.name = f"{welcome.host}/{welcome.identity[:8]}"
        self._setup, self._code = setup, code
        self._sent_code: set[str] = set()
        self.width = welcome.workers
        self.offer = Offer(welcome.tag, amounts(welcome.resource))
        self.asked_back = self.sent_at = 0.0
        is_here = welcome.host == host_name()
        self.candidate = Candidate(self, self.name, welcome.host, is_here=is_here)
        self.lane_place = LinkLane(engine, self, welcome.coroutines)
        self._address = address
        self._host = welcome.host
        self._outbox, self._arriving = Outbox(engine._dispatcher.due), Arriving()
        self._stream: Any = None
        self._leaving = False
        if setup is not None:
            self._send_code(setup.digests)

    async def run(self, stream: Any, passage: Passage | None, wake: Callable[[], None]) -> str:
        """
        Serve as a place of the engine until the stream ends.

        :param stream: a bidirectional gRPC call
        :param passage: fd passing for large payloads, if the peer is on this host
        :param wake: called when there is work for the engine
        :return: why it ended
        """
        grpc = load_grpc()

        self._stream = stream
        self._outbox.passage = self._arriving.passage = passage
        self._engine._dispatcher.link(self)
        wake()
        self._outbox.open(stream.write, stream.cancel)
        why = "the peer closed it"
        try:
            while (data := await stream.read()) is not grpc.aio.EOF:
                self._hear(data)
                wake()
        except grpc.RpcError as exc:
            why = f"{exc.code().name}: {exc.details()}"  # grpc adds these methods at run time
        except (ProtocolError, ValueError, OSError) as exc:  # invalid frames, or no memory to receive them
            why = str(exc)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # this runs in a task
                raise
            why = "it was closed here"  # `close` cancels the stream
        finally:
            self._outbox.close()
            stream.cancel()
            self._broke(why)
            wake()
            await self._outbox.ended()
        return why

    # -- sending ------------------------------------------------------------------------------------------------

    def send_calls(self, calls: Sequence[Call]) -> None:
        """Send calls, those of one function together."""
        self.sent_at = monotonic()
        super().send_calls(calls)

    @property
    def unbegun(self) -> float:
        """The expected run time of the calls that wait there, in seconds, as far as is known; -1.0: none wait."""
        if len(self.outstanding) <= len(self._begun):
            return -1.0
        # Some calls not reported as started may be running, up to one per worker.  Calls with requirements stay there.
        unbegun = [
            call.cost
            for number, call in self.outstanding.items()
            if number not in self._begun and (call.line is None or call.line.requirement is None)
        ]
        if not unbegun:
            return -1.0
        return sum(unbegun[max(0, self.width - len(self._begun)) :])

    @property
    def can_accept(self) -> bool:
        """Whether a call that is submitted now might run there at once."""
        return self.ready and not self.candidate.is_full and len(self.outstanding) < self.width

    def place_of(self, number: int) -> _Far:
        """Return where this call is outstanding, if it is."""
        return self.lane_place if number in self.lane_place.outstanding else self

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Give encoded frames to the stream."""
        assert file is None  # descriptors cannot be sent to another host
        self._outbox.put(frames)

    def flush(self) -> bool:
        """Return True: the outbox does the writing."""
        return True

    def send_command(self, frame: Message, file: File | None = None) -> None:
        """Send a command for a call."""
        call: int = frame.call  # type: ignore[attr-defined]  # every command names its call
        if file is None:
            self._outbox.put(encode(frame), call)
        else:
            self._outbox.put_frame(call, frame, file)

    def _send_run(self, run: list[Call]) -> None:
        if not run or run[0].cost < HORIZON:
            super()._send_run(run)
            return
        frame = Start(function=self._slot(run[0].function), call=tuple(call.number for call in run), offer=True)
        frame.size = tuple(len(call.payload) for call in run)
        frame.payload = b"".join(call.payload for call in run)
        self.send(encode(frame))

    def _say_more(self, frame: Start, call: Call) -> None:
        """Add what the peer needs to accept or refuse the call."""
        # A payload that was sent in parts would have to be sent again after a refusal.
        is_apart = len(call.payload) >= LARGE and not (isinstance(call.payload, File) and self._outbox.passage)
        frame.offer = call.cost >= HORIZON and not is_apart
        _say_line(frame, call)

    def _slots_of_needs(self, function: Function) -> tuple[int, ...]:
        """Return none: large globals are sent to peers within their functions."""
        return ()

    def _send_function(self, slot: int, function: Function, needs: tuple[int, ...]) -> None:
        self.send(self._define(slot, function))

    def _define(self, slot: int, function: Function) -> bytes:
        frame = Define(function=slot, name=function.name)
        payload = function.payload
        if function.needs:
            from woolexec.wire.main_module import WithNeeds

            needs = [[*map(bytes, parts_of(need.payload))] for need in function.needs]
            payload = dumps_inline(WithNeeds([*map(bytes, parts_of(payload))], needs))
        self._send_code(function.code)
        attach(frame, payload if self._setup is None else self._setup.wrap(parts_of(payload)), files=False)
        return encode(frame)

    def _send_code(self, digests: Sequence[str]) -> None:
        for digest in digests:
            data = None if digest in self._sent_code else self._code(digest)
            if data is None:
                continue
            self._sent_code.add(digest)
            for start in range(0, len(data), _PIECE):
                last = start + _PIECE >= len(data)
                self._outbox.put(encode(Code(digest=digest, data=data[start : start + _PIECE], last=last)))

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        number = frame.call[0]
        large = payload if isinstance(payload, File | Parts) and len(payload) >= LARGE else None
        if large is not None and self._outbox.hand_over(number, frame, large):
            return
        if large is not None and not frame.count:  # spans of a chunk must stay in order
            frame.function = _LAST_SLOT  # its own slot may be reused before it is sent
            define = self._define(_LAST_SLOT, self.place_of(number).outstanding[number].function)
            self._outbox.put_parts(number, frame, large, define)
            return
        attach(frame, payload, files=False)
        self.send(encode(frame))

    # -- receiving ----------------------------------------------------------------------------------------------

    def _hear(self, data: bytes) -> None:
        """Process a batch."""
        dispatcher = self._engine._dispatcher
        returns: list[tuple[int, float, bytes]] = []
        pos = decode_returns(data, 0, len(data), returns, RETURN)
        for number, seconds, payload in returns:
            dispatcher.returned(self, number, seconds, payload)
        for frame in decode(data, pos):
            if isinstance(frame, Started):
                self._started(frame)
                continue
            if isinstance(frame, Stop):
                self._leave()
                continue
            if isinstance(frame, Arriving.FRAMES):
                self._arriving.add(frame)
                continue
            if getattr(frame, "extent", ()):
                frame.payload = self._arriving.take(frame)  # type: ignore[attr-defined]  # an extent implies a payload
            dispatcher.hear_link(self, frame)
            if isinstance(frame, Recalled):
                (self.lane_place if frame.loop else self).answer()
            elif isinstance(frame, Load):
                self.answer()
                self.lane_place.answer()
        if self._leaving and not (
            self.outstanding or self.lane_place.outstanding or self.recalling or self.lane_place.recalling
        ):
            self.close()

    def _leave(self) -> None:
        """The peer is draining: send no more calls, and take back those that it has not started."""
        self._leaving = True
        self.ready = self.lane_place.ready = False
        for place in (self, self.lane_place):
            self._engine._dispatcher.recall(place)

    def _started(self, frame: Started) -> None:
        for number in frame.call:
            call = self.place_of(number).began(number)
            if call is not None and frame.open:
                call.receiver.deliver_start(call)

    def _broke(self, why: str) -> None:
        """Fail or retry the outstanding calls; queued calls go to other places."""
        self.ready = self.lane_place.ready = False
        self._let_go()
        self._engine._dispatcher.unlink(self, partial(self._lost, why))
        for place in (self, self.lane_place):
            place.answer(broken=True)

    def _lost(self, why: str, call: Call) -> errors.WorkerLostError:
        error = errors.WorkerLostError(
            f"the link to {self._address} broke while {task_name(call)} was outstanding: {why}"
        )
        error.task, error.host, error.attempts = task_name(call), self._host, call.attempts
        return error

    def close(self) -> None:
        """End the stream; the peer then ends the calls that it still runs for this client."""
        self.ready = self.lane_place.ready = False
        if self._stream is not None:
            self._stream.cancel()

    def _let_go(self) -> None:
        """Drop references to functions and chunks that were sent: they may hold descriptors."""
        self._slot_of.clear()
        self._chunk = self.lane_place._chunk = None


class LinkLane(_Far):
    """
    The lanes of a peer: coroutines and streams, which do not run in the main threads of its workers.

    :param limit: maximum number of calls that it runs at once
    """

    __slots__ = ()

    is_lane = True

    def __init__(self, engine: Engine, link: Link, limit: int) -> None:
        super().__init__(engine, link)
        self.name = link.name
        self.limit, self.width = limit, link.width
        self.offer, self.candidate = link.offer, link.candidate

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Give encoded frames to the stream."""
        self._link.send(frames, file)

    def flush(self) -> bool:
        """Return True: the outbox does the writing."""
        return True

    def send_command(self, frame: Message, file: File | None = None) -> None:
        """Send a command for a call."""
        self._link.send_command(frame, file)

    def _slot(self, function: Function) -> int:
        return self._link._slot(function)

    def _say_more(self, frame: Start, call: Call) -> None:
        _say_line(frame, call)

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        self._link._send_payload(frame, payload)


def _say_line(frame: Start, call: Call) -> None:
    """Add the call's priority and the resources that it requires."""
    if call.line is not None and not call.pin:
        frame.priority = call.line.priority
        if call.line.requirement is not None and call.line.requirement.resources:
            frame.require = Requirement(dict(call.line.requirement.resources)).texts
            frame.offer = True
