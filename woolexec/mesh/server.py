"""
The peer's end of links: calls that come over a stream run in an engine of its own, and their outcomes go back up.

::

    stream --Define/Start--> reader thread --submit--> engine --> workers
    stream <--Return/Raise/Recalled/Started-- line <-- engine's thread

It never unpickles what users have pickled; it passes it on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from woolexec.core.call import Call, Chunk, Function
from woolexec.engine.dispatcher import Relayed
from woolexec.engine.engine import Engine
from woolexec.errors import ProtocolError
from woolexec.mesh.road import METHOD, OPTIONS, SERVICE, Line, inline, outline
from woolexec.options import TaskOptions
from woolexec.wire.codec import (
    Cancel,
    Define,
    Raise,
    Recall,
    Recalled,
    Return,
    Start,
    Started,
    decode,
    encode,
    encode_return,
)
from woolexec.wire.failures import dump_failure, types_of

_LOOK = 0.01
"""While there are calls whose start has not been told, their workers' pages are looked at this often (seconds)."""

_LINKS = 16
_STOPPING = 2.0


class Peer:
    """
    Serve an engine on a private Unix socket; use it in a ``with``.

    :param workers: worker processes, at most
    """

    def __init__(self, workers: int) -> None:
        import grpc

        self.width = workers
        self.engine = Engine(workers)
        self._room = tempfile.mkdtemp(prefix="woolexec-")  # 0700: grpc's socket itself follows the umask
        self.address = f"unix:{os.path.join(self._room, 'peer')}"
        self._threads = ThreadPoolExecutor(_LINKS, thread_name_prefix="woolexec-peer")
        self._server = grpc.server(self._threads, options=[*OPTIONS, ("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        self._server.add_insecure_port(self.address)
        self._server.start()

    def _serve(self, batches: Iterator[bytes], context: Any) -> Iterator[bytes]:
        served = Served(self.engine)
        context.add_callback(served.line.close)
        reader = threading.Thread(target=served.read, args=(batches,), name="woolexec-peer-reader", daemon=True)
        reader.start()
        try:
            yield from served.line.batches()
        finally:
            context.cancel()  # ends `batches` too, when it is we who stop
            reader.join(_STOPPING)
            served.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.stop(0).wait(_STOPPING)
        self._threads.shutdown(wait=True)
        self.engine.shutdown(wait=True, cancel=True)
        shutil.rmtree(self._room, ignore_errors=True)


class Served:
    """One link, at the peer: which of its calls are in the engine, under which numbers of the client."""

    def __init__(self, engine: Engine) -> None:
        self.line = Line()
        self.outstanding: dict[int, _Answer] = {}
        self.untold: dict[int, _Answer] = {}
        self._engine = engine
        self._slots: dict[int, Function] = {}
        self._chunk: Chunk | None = None
        self._looking = False

    def read(self, batches: Iterator[bytes]) -> None:
        """Take in what comes, until the stream ends, or sends what it must not."""
        try:
            for data in batches:
                for frame in decode(data):
                    self._take(frame)
        except Exception:  # grpc's when the stream is cut; ValueError, ProtocolError, RuntimeError when it has to be
            pass
        finally:
            self.line.close()

    def _take(self, frame: Any) -> None:
        tell = self._engine._loop.tell
        if isinstance(frame, Start):
            self._start(frame)
        elif isinstance(frame, Define):
            # Not interned: the run time of a function is measured for each link on its own.
            self._slots[frame.function] = Function(outline(frame), "a task of another process")
        elif isinstance(frame, Recall):
            tell(partial(self._recall, frame.call))
        elif isinstance(frame, Cancel):
            tell(partial(self._cancel, frame.call))
        else:
            raise ProtocolError(f"{type(frame).__name__} is not for a peer")

    def _start(self, frame: Start) -> None:
        function = self._slots.get(frame.function)
        if function is None:
            raise ProtocolError(f"slot {frame.function} is empty")
        if frame.count:
            if not frame.again:
                self._chunk = Chunk(function, outline(frame), 0, _Answer(self, 0))
            chunk = self._chunk
            if chunk is None:
                raise ProtocolError("a span of no chunk")
            self._submit(
                Call(function, chunk.payload, _Answer(self, frame.call[0]), None, 0, chunk, frame.first, frame.count)
            )
            return
        if len(frame.call) == 1:
            options = TaskOptions(name=frame.name) if frame.name else None
            self._submit(Call(function, outline(frame), _Answer(self, frame.call[0]), options))
            return
        pos = 0
        for number, size in zip(frame.call, frame.size, strict=True):
            self._submit(Call(function, frame.payload[pos : pos + size], _Answer(self, number)))
            pos += size

    def _submit(self, call: Call) -> None:
        answer = call.receiver
        assert isinstance(answer, _Answer)
        answer.outstanding_call = call
        self.outstanding[answer.number] = self.untold[answer.number] = answer
        if not self._looking:
            self._looking = True
            self._engine._loop.tell(self._look_soon)
        if call.count:  # a licence is for plain calls
            self._engine._dispatcher.core.queue.offer(call)
            self._engine._dispatcher._put(call)
        else:
            self._engine.submit(call)

    # -- the engine's thread ------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        self._engine._loop.after(_LOOK, self._look)

    def _look(self) -> None:
        """Tell which calls have been started; look again while there are others."""
        begun = [
            number
            for number, answer in list(self.untold.items())
            if self._engine._dispatcher.is_running(answer.outstanding_call)
        ]
        for number in begun:
            self.untold.pop(number, None)
        if begun:
            self.line.put(encode(Started(call=begun)))
        self._looking = False  # first: then either we see what the reader has added, or it sees this
        if self.untold:
            self._looking = True
            self._look_soon()

    def _recall(self, since: int) -> None:
        """Give back what has not been started, from this call on."""
        given = [number for number in sorted(self.outstanding) if number >= since and self._drop(number, force=False)]
        self.line.put(encode(Recalled(call=given[::-1])))  # each goes to the front of the client's queue

    def _cancel(self, number: int) -> None:
        """End a call, running or not."""
        ended = self._drop(number, force=True)
        self.line.put(encode(Recalled(call=(number,) if ended else ())))

    def _drop(self, number: int, *, force: bool) -> bool:
        answer = self.outstanding.get(number)
        if answer is None or self._engine._endings.cancel(answer.outstanding_call, force=force) is not True:
            return False
        self.forget(number)
        return True

    def forget(self, number: int) -> bool:
        """A call is over; False if nobody waits for it."""
        self.untold.pop(number, None)
        return self.outstanding.pop(number, None) is not None

    def abandon(self) -> None:
        """The client is gone: what has not been started will not be."""
        self._slots.clear()
        self._chunk = None
        self._engine._loop.tell(partial(self._recall, 0))


class _Answer(Relayed):
    """Takes the outcome of one call, and sends it up the link."""

    __slots__ = ("number", "outstanding_call", "served", "types")

    outstanding_call: Call

    def __init__(self, served: Served, number: int) -> None:
        self.types = ()
        self.served = served
        self.number = number

    def deliver(self, call: Call, payload: Any) -> None:
        """Send the encoded value up."""
        served = self.served
        if not served.forget(self.number):
            return
        seconds = (call.function.seconds or 0.0) * (call.count or 1)
        if payload.__class__ is bytes:
            served.line.put(encode_return(self.number, seconds, payload))
            return
        frame = Return(call=(self.number,), seconds=(seconds,), size=(len(payload),))
        inline(frame, payload)
        served.line.put(encode(frame))

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Send the exception up."""
        if not self.served.forget(self.number):
            return
        if payload is None:
            payload = CancelledError()
        frame = Raise(call=self.number, seconds=0.0)
        if isinstance(payload, BaseException):  # one of our own
            frame.type = types_of(payload)
            payload = dump_failure(payload)
        else:
            frame.type = self.types
        inline(frame, payload)
        self.served.line.put(encode(frame))
