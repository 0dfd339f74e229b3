"""
The client's end of a link: a place like a worker, but that a peer stands behind it.

What differs from a worker: there is no shared page.  What has been started is told by Started frames, late, so a recall
puts all that it covers in doubt (`LIMBO`) until the peer has answered, and when the link breaks nobody can tell what
was started: all that was outstanding is lost.

All of it runs in the engine's thread, which is an event loop then.
"""

from __future__ import annotations

import asyncio
import os
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
from woolexec.mesh.link.outbox import Arriving, Outbox, inline, parts_of
from woolexec.resources import Requirement, amounts
from woolexec.wire.codec import (
    RETURN,
    Cancel,
    Code,
    Define,
    Handed,
    Load,
    Message,
    Part,
    Recalled,
    Start,
    Started,
    Stop,
    decode,
    decode_returns,
    encode,
)
from woolexec.wire.payload import LARGE, File, Parts
from woolexec.wire.pickling import dumps_inline

if TYPE_CHECKING:
    from woolexec.engine.engine import Engine
    from woolexec.mesh.link.fd_passing import Passage
    from woolexec.wire.wire_pb2 import Welcome
    from woolexec.worker.setup import Setup

_PIECE = 1 << 20
"""Bytes of code that travel as one frame."""

_LAST_SLOT = SLOTS
"""For functions of calls with large payloads: it is defined anew for each of them, right ahead of it."""


def no_code(digest: str) -> None:
    """There are no archives."""


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


class _Far(Remote):
    """What both places behind a link have in common."""

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
        """Take a call off the books."""
        self._begun.discard(number)
        return super().gone(number, size)

    def began(self, number: int) -> Call | None:
        """Note that the peer has started a call; None if it is not outstanding any more."""
        call = self.outstanding.get(number)
        if call is not None:
            self._begun.add(number)
            self.page.started = max(self.page.started, number)
            self.page.since = monotonic()
        return call

    def is_running(self, call: Call) -> bool:
        """Say whether the peer has told that this call was started."""
        return call.number in self._begun

    def withdraw(self, call: Call) -> bool:
        """Have a call wait again that has not left, because its payload is large; False if it has."""
        if call.pin or call.number in self._begun or not self._link._outbox.withdraw(call.number):
            return False
        self._engine._dispatcher.withdraw(self, call)
        self._link.recalling += 1
        self._link.send_command(Cancel(call=call.number))  # for what has come of it
        return True

    def take_back(self, call: Call, answer: Callable[[bool], object], *, force: bool = False) -> None:
        """Ask for a call back, or for its end; the peer's Recalled decides."""
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


class Link(Distant, _Far):
    """
    One stream to a peer.

    :param address: of the peer, for messages
    :param welcome: what the peer has said of itself
    :param around: what is wrapped around functions
    :param code: archives of modules by their digests, sent ahead of what needs them; None: there is no such archive
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
        is_here = welcome.host == os.uname().nodename
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
        Be a place of the engine until the stream ends.

        :param stream: a bidirectional call of grpc's
        :param passage: for large payloads, if the peer is on this host
        :param wake: called when there is news for the engine
        :return: why it ended
        """
        grpc = load_grpc()

        self._stream = stream
        self._outbox.passage = self._arriving.passage = passage
        self._engine._dispatcher.link(self)
        wake()
        self._outbox.open(stream.write, stream.cancel)
        why = "the peer ended it"
        try:
            while (data := await stream.read()) is not grpc.aio.EOF:
                self._hear(data)
                wake()
        except grpc.RpcError as exc:
            why = f"{exc.code().name}: {exc.details()}"  # grpc says so only at run time
        except (ProtocolError, ValueError, OSError) as exc:  # it cannot be trusted, or not be followed
            why = str(exc)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # somebody runs this
                raise
            why = "it was closed here"  # grpc's word for `close`
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
        """What waits there, as far as is known: the expected run time of all of it, in seconds; -1.0: nothing does."""
        if len(self.outstanding) <= len(self._begun):
            return -1.0
        # Of those that have not been said to run as many as it has workers may do so.  What requires something stays.
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
        """A call that is submitted now might run there at once."""
        return self.ready and not self.candidate.is_full and len(self.outstanding) < self.width

    def place_of(self, number: int) -> _Far:
        """Return where this call is outstanding, if it is."""
        return self.lane_place if number in self.lane_place.outstanding else self

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Give encoded frames to the stream."""
        assert file is None  # descriptors stay on their host
        self._outbox.put(frames)

    def flush(self) -> bool:
        """They are on their way."""
        return True

    def send_command(self, frame: Message, file: File | None = None) -> None:
        """Send a command for a call."""
        call: int = frame.call  # type: ignore[attr-defined]  # every command names its call
        if file is None:
            self._outbox.put(encode(frame), call)
        else:
            self._outbox.put_large(call, frame, file)

    def _send_run(self, run: list[Call]) -> None:
        if not run or run[0].cost < HORIZON:
            super()._send_run(run)
            return
        frame = Start(function=self._slot(run[0].function), call=tuple(call.number for call in run), offer=True)
        frame.size = tuple(len(call.payload) for call in run)
        frame.payload = b"".join(call.payload for call in run)
        self.send(encode(frame))

    def _say_more(self, frame: Start, call: Call) -> None:
        """Say what the peer needs to know to take the call, or not."""
        # What has gone there in parts would have to come again.
        is_apart = len(call.payload) >= LARGE and not (isinstance(call.payload, File) and self._outbox.passage)
        frame.offer = call.cost >= HORIZON and not is_apart
        _say_line(frame, call)

    def _slots_of_needs(self, function: Function) -> tuple[int, ...]:
        """Large globals go to peers with their functions."""
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
        inline(frame, payload if self._setup is None else self._setup.wrap(parts_of(payload)))
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
        frame.size = (len(payload),)
        number = frame.call[0]
        large = payload if isinstance(payload, File | Parts) and len(payload) >= LARGE else None
        if large is not None and self._outbox.hand_over(number, frame, large):
            return
        if large is not None and not frame.count:  # other spans of a chunk must not overtake it
            frame.function = _LAST_SLOT  # when it leaves at last, the other may have been given to another function
            define = self._define(_LAST_SLOT, self.place_of(number).outstanding[number].function)
            self._outbox.put_parts(number, frame, large, define)
            return
        inline(frame, payload)
        self.send(encode(frame))

    # -- receiving ----------------------------------------------------------------------------------------------

    def _hear(self, data: bytes) -> None:
        """Act on a batch."""
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
            if isinstance(frame, Part | Handed):
                self._arriving.add(frame)
                continue
            if getattr(frame, "extent", ()):
                frame.payload = self._arriving.take(frame)  # type: ignore[attr-defined]  # what has an extent has a payload
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
        """The peer is about to end: send no more, and take back what it has not started."""
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
        """Lose what is outstanding; what waits goes elsewhere."""
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
        """End the stream: the peer ends what it still runs for us."""
        self.ready = self.lane_place.ready = False
        if self._stream is not None:
            self._stream.cancel()

    def _let_go(self) -> None:
        """What was sent may hold descriptors."""
        self._slot_of.clear()
        self._chunk = self.lane_place._chunk = None


class LinkLane(_Far):
    """
    What a peer runs beside the main threads of its workers: coroutines and streams.

    :param limit: how many it runs at once
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
        """They are on their way."""
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
    """Say what the call waits in line for."""
    if call.line is not None and not call.pin:
        frame.priority = call.line.priority
        if call.line.requirement is not None and call.line.requirement.resources:
            frame.require = Requirement(dict(call.line.requirement.resources)).texts
            frame.offer = True
