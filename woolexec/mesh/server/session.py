"""The peer's end of a link: runs the calls of one client in the engine, under the client's numbers."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec.core.call import LIFE, Call, Function
from woolexec.engine.settings import LIMIT
from woolexec.engine.submission import submit
from woolexec.errors import ProtocolError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.compression import PLAIN, Packing
from woolexec.mesh.link.messages import FRAMES, Turn, handle_all
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.security.trust import Identity
from woolexec.mesh.server.answer import Answer
from woolexec.mesh.server.byte_quota import ByteQuota
from woolexec.mesh.server.call_reports import report_calls
from woolexec.mesh.server.client_actors import ClientActors
from woolexec.mesh.server.code_store import Incoming
from woolexec.mesh.server.definitions import Definitions
from woolexec.mesh.server.kept_values import MOST_VALUES, KeptValues
from woolexec.mesh.server.log_feed import LogFeed
from woolexec.mesh.server.output_feed import OutputFeed
from woolexec.mesh.server.refusals import Refusals
from woolexec.mesh.server.start_reports import StartReports
from woolexec.mesh.server.upward import Upward
from woolexec.options import TaskOptions
from woolexec.platform.memory import usable_memory
from woolexec.resources import Requirement
from woolexec.wire.context_vars import MOST_CONTEXT
from woolexec.wire.fast_frames import decode_some
from woolexec.wire.frames import COMMANDS, Cancel, Code, Define, Recall, Recalled, Settings, Start, Stop, encode
from woolexec.wire.handlers import Handlers
from woolexec.wire.payload import attach
from woolexec.wire.trace_frames import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.link.fd_passing import Passage
    from woolexec.mesh.server.audit_log import Audit
    from woolexec.mesh.server.capacity import Places
    from woolexec.mesh.server.code_store import CodeStore
    from woolexec.mesh.server.fetching import Fetching
    from woolexec.mesh.server.inspections import Inspections
    from woolexec.wire.protobuf import Message

_UNREAD = 64 << 20
"""Maximum bytes of outcomes and items that a client has not read; above it, nothing is read from the client or its
workers.  It is less if there is little memory.  The same limit holds for bytes that its workers have not read."""

_PAUSE = 0.02
"""How often that is checked, in seconds."""

_CALLS = 1024
"""Maximum number of calls in one frame; a client sends fewer."""

_NUMBER = 16
"""Bytes that the number of a value takes in a call that refers to it."""


class Served:
    """
    Runs the calls of one client.

    :param engine: runs only the calls of this client
    :param client: the client's name, for messages
    :param quota: maximum number of its calls here; while there are more, nothing is read from its stream
    :param places: the capacity that it shares with the other clients
    :param code_store: where to store the code that it sends; None: code and settings are dropped
    :param audit: records the end of each of its tasks
    :param fetching: fetches values from other peers for its calls
    :param packing: how large payloads are compressed
    :ivar identity: its proved identity
    """

    def __init__(
        self,
        engine: Hosted,
        client: str,
        quota: int,
        places: Places,
        *,
        code_store: CodeStore | None = None,
        audit: Audit | None = None,
        fetching: Fetching | None = None,
        packing: Packing = PLAIN,
    ) -> None:
        self.client, self.identity, self._refusal = client, Identity("nobody", client), ""
        self.inspections: Inspections  # set by the `Acceptor`
        self.places, self._quota = places, quota
        places.clients.add(self)
        self._room: asyncio.Event | None = None
        memory = usable_memory()
        self.byte_quota = ByteQuota(memory // 2)
        self.outbox = Outbox(engine.links.due, min(_UNREAD, memory // 16), self._note_unread, packing)
        self._arriving = Arriving(memory // 2, packing.ours)
        self.values = KeptValues(self._arriving, self.byte_quota, self.outbox, fetching, engine, places.stays)
        self.definitions = Definitions(self._arriving, self.byte_quota, self.values)
        self.is_stopped = self._lacks_memory = False  # for lack of memory: nothing is read; calls were refused
        self.log, self.output = LogFeed(self.outbox).send, OutputFeed(self.outbox, engine.links)
        self.outstanding: dict[int, Answer] = {}
        self.upward = Upward(engine.links, self.outbox, self._arriving, client)
        self._actors = ClientActors(engine.links, self.outstanding, self.upward.lane_place.outstanding)
        self._code, self._audit, self._takes_code = Incoming(code_store), audit, code_store is not None
        self.engine, self._links, self.wake = engine, engine.links, engine.wake
        self.untold, self.refusals = StartReports(engine.links, self.outbox), Refusals(engine.links, self.outbox)

    def enter(self, passage: Passage) -> None:
        """Use fd passing for large payloads: the client is on this host."""
        self.outbox.passage = self._arriving.passage = passage

    def refuse(self, task: asyncio.Task[Any], reason: str) -> None:
        """End the link, which a task runs, for this reason."""
        self._refusal = reason
        task.cancel()

    def say_goodbye(self) -> None:
        """Tell the client to send no more calls, and to recall those that have not been started."""
        self.tell(Stop())

    def tell(self, frame: Message) -> None:
        """Send a frame, although the client has sent nothing."""
        self.refusals.send()  # first: the frame may say that there is room
        self.outbox.put(encode(frame))
        self.engine.mark()

    async def run(self, stream: Any) -> None:
        """
        Process the frames of the client until the stream ends.

        :param stream: a bidirectional gRPC call
        :raises ProtocolError: if the client sends a frame that it must not send
        :raises ValueError: if the client sends data that cannot be decoded
        """
        grpc, task, handlers = load_grpc(), asyncio.current_task(), self._handlers()
        assert task is not None
        self.outbox.open(stream.write, task.cancel)
        try:
            while (data := await stream.read()) is not grpc.aio.EOF:
                await self._handle(self._arriving.batch(data), handlers)
                if self.refusals.send():
                    self.places.tell()
                self.engine.wake()
                while self.is_stopped or self.outbox.is_full or self.engine.unsent > _UNREAD:  # noqa: ASYNC110  # rare
                    await asyncio.sleep(_PAUSE)
        except asyncio.CancelledError:
            if not self._refusal:
                raise
            task.uncancel()
            raise ProtocolError(self._refusal) from None
        except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError) as exc:
            raise ProtocolError(f"a frame could not be handled: {exc!r}") from exc
        finally:
            self.outbox.close()

    @property
    def bytes_here(self) -> int:
        """The bytes that are kept for the client."""
        return self.byte_quota.size + self._arriving.size + self.outbox.unsent

    def _note_unread(self, _: bool) -> None:  # noqa: FBT001  # a callback
        def hold_or_go_on() -> None:
            holds = self.outbox.is_full and self in self.places.clients
            (self.engine.hold if holds else self.engine.go_on)(self)

        self._links.after(0.0, hold_or_go_on)  # not while others are being flushed

    async def _handle(self, data: bytes | bytearray, handlers: Handlers) -> None:
        """Handle a message in slices, between which other work gets turns."""
        pos, turn = 0, Turn(self.engine.wake)
        while pos < len(data):
            frames, pos = decode_some(data, pos, len(data), FRAMES)
            await handle_all(frames, handlers.handle, turn)
            if len(self.outstanding) > self._quota:
                self.engine.wake()
                self._room = asyncio.Event()  # set when the client is below its quota
                await self._room.wait()

    def _handlers(self) -> Handlers:
        handlers: dict[type[Message], Callable[[Any], Any]] = {
            Start: self._start,
            Define: self.definitions.define,
            Recall: self._recall,
            Cancel: self._cancel,
            **dict.fromkeys(COMMANDS, self._command),
            **dict.fromkeys(Arriving.FRAMES, self._arriving.add),
            **self.values.handlers,
            Code: self._code.take,
            Settings: partial(_use_settings, self),
            **self.upward.handlers,
            Trace: partial(report_calls, self._links, self.tell),
            **self.inspections.handlers,
        }
        for kind in [kind for kind in handlers if hasattr(kind, "extent")]:  # it may have a large payload within
            handlers[kind] = self._arriving.in_steps(handlers[kind])
        return Handlers("a peer", handlers)

    def _start(self, frame: Start) -> Iterator[None] | None:
        if len(frame.values) > MOST_VALUES or len(frame.context) > MOST_CONTEXT:
            raise ProtocolError(f"a call has {len(frame.values)} values and {len(frame.context)} bytes of context")
        function = self.definitions.function(frame)
        if frame.count:
            _start_span(self, function, frame)
            return None
        if len(frame.call) == 1:
            payload, answer = self.values.bind(self._arriving.take(frame), frame.values), Answer(self, frame.call[0])
            answer.keeps = frame.keep
            self.submit(Call(function, payload, answer, TaskOptions.from_start(frame), context=frame.context), frame)
            return None
        if len(frame.call) > _CALLS:
            raise ProtocolError(f"{len(frame.call)} calls came in one frame")
        return _start_run(self, function, frame)

    def submit(self, call: Call, frame: Start) -> None:
        """Submit a call that came in a frame, or refuse it."""
        answer, worker = call.receiver, frame.worker
        if answer.number in self.outstanding:
            raise ProtocolError(f"call {answer.number} is already outstanding")
        if self._let_in(call, frame):
            self.outstanding[answer.number] = answer
            self.untold.add(answer)
            add = partial(self._links.submit, worker=worker)
            submit(call, self.engine.broken, partial(self.values.hand_on, hand_on=add))

    def _let_in(self, call: Call, frame: Start) -> bool:
        """Reserve the capacity that a call needs; refuse it and return False if that is not free now."""
        answer, seconds = call.receiver, call.function.seconds
        answer.pinned = bool(frame.worker)
        answer.size = _size_of(call, frame)
        reason = self.engine.cannot_work or self._lacks(answer.size)
        is_for_actors = frame.actor or frame.lane == LIFE
        if (reason and not answer.pinned) or (is_for_actors and not self._actors.has_room(frame)):
            self.refusals.add(answer.number, reason)
            return False
        answer.requirement = Requirement.of(frame.require) if frame.require and not frame.worker else None
        weight = self.places.admission.admit(
            self,
            None if seconds is None else seconds * (call.count or 1),
            answer.requirement,
            offer=bool(frame.offer or frame.require),
            is_lane=bool(frame.lane or frame.actor),
            pinned=answer.pinned,
        )
        if weight is None:
            self.refusals.add(answer.number)
            return False
        answer.weight = weight
        self.byte_quota.add(answer.size)
        call.line = self.places.line_of(self, frame.priority, answer.requirement)
        if is_for_actors:
            self._actors.accept(call, frame, self)
        return True

    def _lacks(self, size: int) -> str:
        """Return why there is no memory for the arguments of one more call; a single call always has some."""
        is_over = bool(self.outstanding) and not self.byte_quota.has_room(size)
        self._lacks_memory = self._lacks_memory or is_over
        return self.places.shortage or ("arguments of other calls take up the memory of this client" if is_over else "")

    def _recall(self, frame: Recall) -> Iterator[None]:
        """Give back the calls that have not been started, from this one on."""
        given = []
        for number in self.untold.since(frame.call):  # those that run cannot be given back
            answer = self.outstanding.get(number)  # ending one may deliver the outcomes of others
            if (
                answer is not None
                and not answer.outstanding_call.pin  # no other worker may run it
                and bool(answer.outstanding_call.function.lane or answer.is_of_actor) is frame.loop
                and self._drop(answer, force=False)
            ):
                given.append(number)
            yield
        # In reverse: the client puts each at the front of its queue.
        self.outbox.put(encode(Recalled(call=given[::-1], loop=frame.loop)))

    def _cancel(self, frame: Cancel) -> None:
        """End a call, running or not; a coroutine or a stream is cancelled, and reports the outcome itself."""
        self._arriving.forget(frame.call)
        answer = self.outstanding.get(frame.call)
        if answer is not None and (answer.outstanding_call.function.lane or answer.is_of_actor):
            if not self._actors.cancel(answer):
                self._command(frame)
            return
        ended = answer is not None and self._drop(answer, force=True)
        self.outbox.put(encode(Recalled(call=(frame.call,) if ended else ())))

    def _command(self, frame: Any) -> None:
        """Pass a command on to a coroutine or a stream."""
        if frame.call not in self.outstanding:  # it has just ended
            self._arriving.forget(frame.call)
            return
        file = attach(frame, self.definitions.taken(frame)) if getattr(frame, "extent", ()) else None
        call = self.outstanding[frame.call].outstanding_call
        if isinstance(frame, Cancel) and (self.values.withdraw(call) or self._links.cancel_queued(call)):
            call.receiver.deliver_failure(call, None)
            return
        frame.call = call.number
        self._links.command(call, frame, file)

    def end_stream(self, call: Call) -> None:
        """Cancel a stream whose client already has its outcome."""
        self._links.command(call, Cancel(call=call.number))

    def _drop(self, answer: Answer, *, force: bool) -> bool:
        """Recall a call or, with `force`, end it; return whether that was possible."""
        ended = [True] if self.values.withdraw(answer.outstanding_call) else list[bool]()
        if not ended:
            self._links.cancel(answer.outstanding_call, ended.append, force=force)
        if ended != [True]:  # it runs, or was passed on to another peer, which answers later
            return False
        self.forget(answer.number)
        return True

    def let_go_arguments(self, answer: Answer) -> None:
        """Note that the arguments of a running call no longer take memory."""
        self.byte_quota.remove(answer.size)
        answer.size = 0

    def forget(self, number: int, outcome: str = "cancelled") -> bool:
        """Remove a call that is over; return False if it is not outstanding."""
        self.untold.forget(number)
        if self._room is not None and len(self.outstanding) <= self._quota:
            self._room.set()
        answer = self.outstanding.pop(number, None)
        if answer is None:
            return False
        self.byte_quota.remove(answer.size)
        self.places.admission.done(self, answer.weight, answer.requirement, pinned=answer.pinned)
        self.places.tell()
        if self._lacks_memory and self.byte_quota.has_room(0):
            self._lacks_memory = False
            self.places.invite_one(self)
        if self._audit is not None:
            name, identity = answer.outstanding_call.name, self.identity
            started = answer.started_by(self._audit.clock(), outcome)
            self._audit.note(identity.proved, name, number, started, outcome, claims=identity.claims)
        del answer.outstanding_call  # it refers to the answer, and keeps the arguments alive
        return True

    def abandon(self) -> None:
        """End all calls of the client: its link has ended, so the outcomes are not needed."""
        with contextlib.ExitStack() as last:  # the last one first; each runs even if another raises
            if self.outbox.passage is not None:
                last.callback(self.outbox.passage.close)
            last.callback(self.places.leave, self)
            for each in (self.definitions, self.values, self.untold):
                last.callback(each.clear)
            last.callback(self._code.close)
            for number in self.outstanding:
                last.callback(self.forget, number)
            last.callback(self._drop_all)
            for end in (self.output.close, partial(self.engine.go_on, self), self.upward.close):
                last.callback(end)
            self._links.report_runs(None)

    def _drop_all(self) -> None:
        for number, answer in list(self.outstanding.items()):
            if number in self.outstanding:  # ending one may deliver the outcomes of others
                self._drop(answer, force=True)


def _use_settings(served: Served, frame: Settings) -> None:
    if len(frame.settings) + len(frame.finalizer) + sum(map(len, frame.environment)) > LIMIT:
        raise ProtocolError("too many settings: they exceed the limit")
    served.output.note(frame)
    if served._takes_code:  # otherwise only listed functions run here, and unpickling settings could run any function
        served._links.upkeep.use(frame)


def _start_run(served: Served, function: Function, frame: Start) -> Iterator[None]:
    pos = 0
    for number, size in zip(frame.call, frame.size, strict=True):
        served.submit(Call(function, frame.payload[pos : pos + size], Answer(served, number)), frame)
        pos += size
        yield


def _start_span(served: Served, function: Function, frame: Start) -> None:
    chunk = served.definitions.chunk(function, frame, Answer(served, 0))
    answer, options = Answer(served, frame.call[0]), TaskOptions.from_start(frame)
    call = Call(function, chunk.payload, answer, options, 0, chunk, frame.first, frame.count, frame.context)
    served.submit(call, frame)


def _size_of(call: Call, frame: Start) -> int:
    """Return the bytes that a call takes until it ends."""
    size = len(call.context) + len(frame.name) + _NUMBER * len(frame.values)
    return size + (0 if call.chunk is not None or isinstance(call.payload, OSError) else len(call.payload))
