"""
The client's end of a link: a place like a worker, but with a peer behind it.

Unlike a worker it has no shared page: Started frames report which calls were started, with a delay.  So all calls that
a recall covers are `UNCERTAIN` until the peer has answered, and when the link breaks it is unknown which calls were
started: all outstanding calls are lost.

All of it runs in the engine's thread, which then runs an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec import errors
from woolexec.core.call import LIFE, MAIN, Call, Function
from woolexec.core.candidate import Candidate
from woolexec.core.offer import Offer
from woolexec.core.remote_place import RemoteLane
from woolexec.core.window import HORIZON
from woolexec.engine.nested_receiver import task_of
from woolexec.engine.transport import SLOTS, Sent
from woolexec.errors import ProtocolError
from woolexec.mesh.client.channel import said_in
from woolexec.mesh.client.link_values import LinkValues
from woolexec.mesh.client.sent_code import SentCode
from woolexec.mesh.client.taking_back import TakingBack
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.compression import Packing
from woolexec.mesh.link.messages import FRAMES, Turn, handle_all, is_long, slices_of
from woolexec.mesh.link.outbox import ABOVE, Outbox
from woolexec.platform.posix import host_name
from woolexec.resources import Requirement, amounts
from woolexec.wire.fast_frames import RETURN, decode_returns, decode_some
from woolexec.wire.frames import COMMANDS, Cancel, Drop, Keep, Load, Recalled, Start, Started, Stop, Submit, encode
from woolexec.wire.payload import LARGE, File, Parts, attach
from woolexec.wire.protobuf import Message

if TYPE_CHECKING:
    from woolexec.engine.links import Linked
    from woolexec.mesh.link.fd_passing import Passage
    from woolexec.wire.wire_pb2 import Welcome
    from woolexec.worker.setup import Setup

_TURN = 1 << 15
"""Bytes of Returns that are decoded before they are handled."""

_CLOSED = "it was closed here"

_LAST_SLOT = SLOTS
"""The slot for functions of calls with large payloads: it is redefined right before each of these calls."""


def no_code(_: str) -> None:
    """Return None: there are no code archives."""


class Link(LinkValues):
    """
    One stream to a peer.

    :param address: the peer's address, for messages
    :param welcome: the peer's description of itself
    :param setup: what workers run before this client's first function; wrapped around each function
    :param code: returns the code archive with this digest, or None; sent before the functions that need it
    :param compression: formats in which parts of large payloads may be compressed
    """

    __slots__ = (
        "_address",
        "_arriving",
        "_chunk_lines",
        "_code",
        "_host",
        "_leaving",
        "_links",
        "_outbox",
        "_stream",
        "_taking_back",
        "has_sent",
        "identity",
        "is_dead",
        "lane_place",
        "name",
        "pid",
        "room_for_values",
        "shares",
        "values",
    )

    def __init__(
        self,
        engine: Linked,
        address: str,
        welcome: Welcome,
        setup: Setup | None = None,
        code: Callable[[str], bytes | None] = no_code,
        compression: tuple[str, ...] = (),
    ) -> None:
        super().__init__(monotonic())
        self.has_sent, self._links = Sent(), engine.links
        self.values, self.room_for_values = engine.links.values, welcome.room
        self.shares = welcome.shares and engine.links.are_trusted
        self.name, self.identity = f"{welcome.host}/{welcome.identity[:8]}", welcome.identity
        self.width, self.pid = welcome.workers, None
        self.offer = Offer(welcome.tag, amounts(welcome.resource), (self.name, welcome.host))
        here = welcome.host == host_name()
        self.candidate = Candidate(self, self.name, welcome.host, is_here=here, address=address)
        self.lane_place = RemoteLane(self, welcome.coroutines, monotonic())
        self._address, self._host = address, welcome.host
        packing = Packing(compression, welcome.compression)
        self._outbox, self._arriving = Outbox(engine.links.due, packing=packing), Arriving(offered=compression)
        self._code = SentCode(code, setup, engine.links.settings, self._outbox)
        self._chunk_lines = [0, 0]  # of the last chunk of plain calls, and of calls in a lane: see `_line_of`
        self._stream: Any = None
        self.is_dead = self._leaving = False
        self._taking_back = TakingBack(engine.links, _close_if_done)

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
        self._links.join(self)
        wake()
        self._outbox.open(stream.write, stream.cancel)
        why = "the peer closed it"
        try:
            while (data := await stream.read()) is not grpc.aio.EOF:
                await self._hear(self._arriving.batch(data), wake)
                wake()
        except grpc.RpcError as exc:
            why = said_in(exc)
        except (ProtocolError, ValueError, OSError) as exc:  # invalid frames, or no memory to receive them
            why = str(exc)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # this runs in a task
                raise
            why = _CLOSED  # `close` cancels the stream
        except Exception as exc:  # well-formed but senseless frames must end only this link
            why = f"a frame could not be handled: {exc!r}"
        finally:
            self._outbox.close()
            stream.cancel()
            self._broke(why)
            wake()
            await self._outbox.ended()
        return why

    # -- sending ------------------------------------------------------------------------------------------------

    def send_calls(self, calls: Sequence[Call]) -> None:
        """Send calls; calls of one function are sent together."""
        if calls[0].place is self:
            self.sent_at = monotonic()
        super().send_calls(calls)

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Pass encoded frames to the stream."""
        assert file is None  # descriptors cannot be sent to another host
        self._outbox.put(frames)

    @property
    def id(self) -> str:
        """Identifies the link, and distinguishes it from workers, as a submitter of calls of actors."""
        return self.identity

    def answer(self, task: int, frame: Message, payload: bytes | File | Parts | None = None) -> None:
        """Send the outcome of a call of an actor that a task at the peer has made."""
        if payload is None:
            self._outbox.put(encode(frame), ABOVE | task)
        else:
            self._outbox.put_frame(ABOVE | task, frame, payload)

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
        if not call.function.lane:
            # A payload that was sent in parts would have to be sent again after a refusal.
            is_apart = len(call.payload) >= LARGE and not (isinstance(call.payload, File) and self._outbox.passage)
            frame.offer = call.cost >= HORIZON and not is_apart
        if call.options is not None and self._links.may_stay(call):
            frame.keep = True
        actor: Any = None if call.line is None else call.line.actor
        if actor is not None and call.function.lane != LIFE:
            actor.name_in(frame)
            frame.parent = task_of(self, call)
        if call.line is not None and not call.pin:
            frame.priority = call.line.priority
            if call.line.requirement is not None and call.line.requirement.resources:
                frame.require = Requirement(dict(call.line.requirement.resources)).texts
                frame.offer = True

    def _slots_of_needs(self, function: Function) -> tuple[int, ...]:
        """Return none: large globals are sent to peers within their functions."""
        return ()

    def _send_function(self, slot: int, function: Function, needs: tuple[int, ...]) -> None:
        self.send(self._code.definition(slot, function))

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        number = frame.call[0]
        line = self._line_of(frame) if frame.count else number
        large = payload if isinstance(payload, File | Parts) and len(payload) >= LARGE else None
        if large is None:
            attach(frame, payload, files=False)
            _put_start(self, frame, line)
        elif self._outbox.is_busy(line) or not self._outbox.hand_over(number, frame, large):
            self._outbox.put_parts(number, frame, large, self._own_definition(frame), line)

    def _send_again(self, frame: Start) -> None:
        _put_start(self, frame, self._line_of(frame))

    def _line_of(self, frame: Start) -> int:
        """Return the line of a span: that of the last chunk while it is being sent, because each refers to the last."""
        in_lane = frame.lane > MAIN
        if not self._outbox.is_busy(self._chunk_lines[in_lane]):
            self._chunk_lines[in_lane] = frame.call[0]
        return self._chunk_lines[in_lane]

    def _own_definition(self, frame: Start) -> bytes:
        """Let a call that is sent later define its own function: its slot may have been reused by then."""
        number, frame.function = frame.call[0], _LAST_SLOT
        return self._code.definition(_LAST_SLOT, self.place_of(number).outstanding[number].function)

    # -- receiving ----------------------------------------------------------------------------------------------

    async def _hear(self, data: bytes | bytearray, wake: Callable[[], None]) -> None:
        """Process a batch in slices, between which the engine and other links get turns."""
        pos, turn, handle = 0, Turn(wake), self._arriving.in_steps(self._handle)
        while pos < len(data):
            returns: list[tuple[int, float, bytes]] = []
            pos = decode_returns(data, pos, min(pos + _TURN, len(data)), returns, RETURN)
            for number, seconds, payload in returns:
                self._links.returned(self, number, seconds, payload)
            if not returns:
                frames, pos = decode_some(data, pos, len(data), FRAMES)
                await handle_all(frames, handle, turn)
            if turn.is_over:
                await turn.give_way()
        _close_if_done(self)

    def _handle(self, frame: Message) -> Iterator[None] | None:
        """Handle a frame; return the steps of one that takes long."""
        handle = _OWN.get(frame.__class__)
        if handle is not None:
            return handle(self, frame)
        if getattr(frame, "extent", ()):
            frame.payload = self._arriving.take(frame)  # type: ignore[attr-defined]  # an extent implies a payload
        self._links.hear(self, frame)
        return None

    def _given_back(self, frame: Recalled | Load) -> Iterator[None]:
        """Handle the numbers of calls that come back; a malicious peer may send a million."""
        field = "call" if isinstance(frame, Recalled) else "refused"
        numbers = getattr(frame, field)
        if is_long(numbers):
            known: list[int] = []
            for some in slices_of(numbers):
                known += [number for number in some if number in self.place_of(number).outstanding]
                yield
            setattr(frame, field, tuple(known))
        self._links.hear(self, frame)
        self._taking_back.answer(self, self)
        self._taking_back.answer(self, self.lane_place)

    def _leave(self, _: Stop) -> None:
        """The peer is draining: send no more calls, recall unstarted ones, and fetch the outcomes that it keeps."""
        self._leaving = True
        self.values.bring_all(self)
        self.ready = self.lane_place.ready = False
        for place in (self, self.lane_place):
            self._links.recall(place)
        self._links.move_actors(self)

    def _started(self, frame: Started) -> None:
        now = monotonic()
        for number in frame.call:
            place = self.lane_place if number in self.lane_place.outstanding else self
            call = place.began(number, now)
            if call is not None and frame.open and place.is_lane:
                call.receiver.deliver_start(call)

    def _broke(self, why: str) -> None:
        """Fail or retry the outstanding calls; queued calls go to other places."""
        self.is_dead = True
        self.ready = self.lane_place.ready = False
        self.values.leave(self)
        self.has_sent.clear()
        is_fault = not (self._leaving or why == _CLOSED)
        self._links.leave(
            self, partial(_lost, self._address, self._host, why), f"its link broke: {why}" if is_fault else ""
        )
        for place in (self, self.lane_place):
            self._taking_back.answer(self, place, broken=True)

    def close(self) -> None:
        """End the stream; the peer then ends the calls that it still runs for this client."""
        self.ready = self.lane_place.ready = False
        if self._stream is not None:
            self._stream.cancel()

    # -- cancelling ---------------------------------------------------------------------------------------------

    def withdraw(self, call: Call) -> bool:
        """Queue a call again whose large payload has not been sent completely; return False if the call was sent."""
        place = call.place
        if place is None or call.pin or call.chunk is not None or place.has_started(call):
            return False  # other spans may wait behind the payload of a chunk
        if not self._outbox.withdraw(call.number):
            return False
        self._links.withdraw(place, call)
        self.recalling += 1
        self.send_command(Cancel(call=call.number))  # so that the peer drops what it has received of it
        return True

    def take_back(self, call: Call, answer: Callable[[bool], object], *, force: bool = False) -> None:
        """Ask the peer to give a call back, or with `force` to end it; the peer's Recalled frame decides."""
        self._taking_back.ask(self, call, answer, force=force)


def _lost(address: str, host: str, why: str, call: Call) -> errors.WorkerLostError:
    is_of_actor = call.line is not None and call.line.actor is not None
    kind = errors.ActorLostError if is_of_actor else errors.WorkerLostError
    error = kind(f"the link to {address} broke while {call.name} was outstanding: {why}")
    error.task, error.host, error.attempts = call.name, host, call.attempts
    return error


def _put_start(link: Link, frame: Start, line: int) -> None:
    define = link._own_definition(frame) if link._outbox.is_busy(line) else b""
    link._outbox.put(define + encode(frame), line)


def _close_if_done(link: Link) -> None:
    """Close a link to a draining peer if nothing more is expected over it."""
    if not link._leaving:
        return
    busy = any(place.outstanding or place.recalling for place in (link, link.lane_place))
    if not (busy or link.values.is_fetching(link)):
        link.close()


def _called(link: Link, frame: Any) -> None:
    """Take a call of an actor that a task at the peer makes, or a command for one."""
    if getattr(frame, "extent", ()):
        task = frame.task if isinstance(frame, Submit) else frame.call
        frame.payload = link._arriving.take(frame, ABOVE | task)
    link._links.called(link, frame)


_OWN: dict[type, Callable[[Link, Any], Iterator[None] | None]] = {
    Started: Link._started,
    Stop: Link._leave,
    Keep: Link.take_value,
    Drop: Link.lose_values,
    **dict.fromkeys((Recalled, Load), Link._given_back),
    **dict.fromkeys(Arriving.FRAMES, lambda link, frame: link._arriving.add(frame)),
    **dict.fromkeys((Submit, Cancel, *COMMANDS), _called),
}
"""The frames that concern the link itself; the others are handled by the engine."""
