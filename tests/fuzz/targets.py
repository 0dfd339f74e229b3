"""
The targets of the fuzzers, each with inputs from a seed: a target runs one case, and raises if a check fails.

::

    decoder    bytes              decode_some             ValueError, or frames
    session    hostile client     a peer's session        its link ends, or it is served; others are served
    link       hostile peer       a client's link         every call ends; nothing is unpickled that is not plain
    worker     hostile task       the peer's engine       its worker ends, or is heard; others are served
    listener   hostile stranger   a peer's port           the next one is accepted
"""

import asyncio
import contextlib
import logging
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.fuzz import inputs
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.test_floods import OPENING, Stranger, calls, is_served, request, serving
from tests.mesh.test_floods import frame as http2
from woolexec import PeerPoolExecutor
from woolexec.errors import ProtocolError
from woolexec.mesh.client.link import Link
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.outbox import HELLO, LINK
from woolexec.mesh.server.inspections import Inspections
from woolexec.mesh.server.peer import Peer
from woolexec.mesh.server.session import Served
from woolexec.mesh.server.tenant import Tenant
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.fast_frames import decode, decode_some
from woolexec.wire.frames import Define, Load, Raise, Recalled, Return, Start, Started, Yield, encode
from woolexec.wire.wire_pb2 import Welcome


class Target(contextlib.ExitStack):
    """Something that is attacked."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.records: list[str] = []
        handler = logging.Handler(logging.ERROR)
        handler.emit = lambda record: self.records.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("woolexec").addHandler(handler)
        self.callback(logging.getLogger("woolexec").removeHandler, handler)
        self.set_up()
        return self

    def set_up(self) -> None:
        """Start what is attacked."""

    def case(self, random: Random) -> None:
        """Run one case."""
        raise NotImplementedError

    def check(self) -> None:
        """Check that others are served, and that no engine has failed."""
        assert "an engine failed" not in self.records, self.records


class Decoder(Target):
    """The decoder of batches."""

    def case(self, random: Random) -> None:
        """Decode one batch, in slices."""
        data, pos = inputs.message(random, [1, 2, 3]), 0
        with contextlib.suppress(ValueError):
            while pos < len(data):
                before = pos
                _, pos = decode_some(data, pos, len(data), random.choice((1, 256)))
                assert pos > before


class Messages:
    """A gRPC stream that delivers messages, and then ends."""

    def __init__(self, messages: list[bytes], *, waits: bool = False) -> None:
        self._messages = iter(messages)
        self.written: list[bytes] = []
        self._cancelled = asyncio.Event()
        self._waits = waits

    async def read(self) -> Any:
        """Return the next message."""
        await asyncio.sleep(0)
        message = next(self._messages, None)
        if message is None and self._waits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), 0.01)
        return load_grpc().aio.EOF if message is None else message

    async def write(self, data: bytes) -> None:
        """Take a message."""
        self.written.append(data)

    def cancel(self) -> None:
        """End."""
        self._cancelled.set()


class Session(Target):
    """The session of a client at a peer."""

    def set_up(self) -> None:
        """Start a peer, with another client."""
        self.peer = self.enter_context(Peer(2, credentials=CREDENTIALS))
        self.other = self.enter_context(joined(self.peer))
        assert self.other.submit(abs, -1).result(PATIENCE) == 1
        loops: list[Any] = []
        self.peer.engine.loop.ask(lambda: loops.append(asyncio.get_event_loop()))
        (self.loop,) = loops
        self.tenant: Any = None
        self.cases = 0
        self.callback(lambda: self.peer.engine.loop.ask(lambda: self.tenant and self.tenant.end()))

    def case(self, random: Random) -> None:
        """Serve a client that sends a few messages."""
        start = encode(Define(function=1, payload=pickle.dumps(abs))) + encode(Define(function=2, payload=b"x"))
        messages = [start, *(inputs.message(random, [1, 2, 3]) for _ in range(random.choice((1, 3, 10))))]
        asyncio.run_coroutine_threadsafe(self._serve(messages), self.loop).result(PATIENCE)

    async def _serve(self, messages: list[bytes]) -> None:
        host, places = self.peer.engine, self.peer._acceptor.places
        if self.cases % 20 == 0:  # the tenant of several cases: a fork for each would take most of the time
            if self.tenant is not None:
                self.tenant.end()
            self.tenant = Tenant(host, None)
        self.cases += 1
        served = Served(self.tenant.engine, "fuzz", 1000, places, code_store=self.tenant.code_store)
        served.inspections = Inspections(self.tenant.engine, served.outbox, None)
        try:
            async with asyncio.timeout(PATIENCE / 2):
                await served.run(Messages(messages))
        except (ProtocolError, ValueError, OSError):
            pass
        finally:
            served.abandon()
        assert not served.outstanding
        quota = served.byte_quota  # functions and chunks, and outcomes that stay; what calls took is given back
        assert quota.size == sum(quota._kept.values()) + quota._stayed_size

    def check(self) -> None:
        """Check that another client is served, and that all places are free."""
        super().check()
        assert self.other.submit(abs, -2).result(PATIENCE) == 2
        places = self.peer._acceptor.places
        eventually(lambda: places.admission.free == 2)


class Canary:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Client(Target):
    """The link of a client."""

    def set_up(self) -> None:
        """Start a client that does not trust its peers; the peers are made up."""
        folder = Path(os.environ.get("TMPDIR", "/tmp"), f"woolexec-fuzz-{os.getpid()}")
        self.canary = folder
        self.pool = self.enter_context(
            PeerPoolExecutor(0, peers="127.0.0.1:1", credentials=CREDENTIALS, results="plain", peers_timeout=None)
        )
        loops: list[Any] = []
        eventually(lambda: self.pool._peers is not None)
        self.pool._engine._loop.tell(lambda: loops.append(asyncio.get_event_loop()))
        eventually(lambda: bool(loops))
        (self.loop,) = loops

    def case(self, random: Random) -> None:
        """Submit calls to a peer that answers what it likes."""
        linked = asyncio.run_coroutine_threadsafe(self._link(random), self.loop)
        futures = [self.pool.submit(abs, -1) for _ in range(random.choice((1, 3)))]
        linked.result(PATIENCE)
        for future in futures:
            future.cancel()
        done, waiting = wait(futures, PATIENCE)
        assert not waiting
        for future in done:
            if not future.cancelled() and future.exception() is None:
                with contextlib.suppress(Exception):  # not plain
                    future.result()
        assert not self.canary.exists()

    async def _link(self, random: Random) -> None:
        welcome = Welcome(identity="x" * 32, host="fuzz", workers=2, coroutines=10)
        link = Link(self.pool._engine, "fuzz", welcome)
        stream = Messages([])
        messages = iter(range(random.choice((1, 3, 10))))

        async def read() -> Any:
            await asyncio.sleep(0.001)
            numbers = [number for data in stream.written for frame in _started(data) for number in frame.call] or [1]
            return load_grpc().aio.EOF if next(messages, None) is None else self._answer(random, numbers)

        stream.read = read  # type: ignore[method-assign]
        await link.run(stream, None, self.pool._peers._wake)

    def _answer(self, random: Random, numbers: list[int]) -> bytes:
        call, evil = random.choice(numbers), pickle.dumps(Canary(self.canary))
        payload = random.choice((evil, pickle.dumps(1), random.choice(inputs.PICKLES), dump_failure(KeyError(1))))
        how = random.randrange(9)
        if how > 5:
            return inputs.message(random, numbers)
        frame: Any = [
            Return(call=(call,), seconds=(1.0,), size=(len(payload),), payload=payload),
            Raise(call=call, payload=payload, type=("builtins.KeyError",)),
            Yield(call=call, payload=payload, count=random.choice((0, 1, 2**31))),
            Recalled(call=tuple(numbers), loop=random.random() < 0.5),
            Load(refused=tuple(numbers), free=random.choice(inputs.INTEGERS)),
            Started(call=tuple(numbers), open=random.random() < 0.5),
        ][how]
        data = encode(frame)
        return inputs.mutated(random, data) if random.random() < 0.3 else data

    def check(self) -> None:
        """Check that nothing waits for ever."""
        super().check()
        assert not self.canary.exists()


def _started(data: bytes) -> Iterator[Start]:
    with contextlib.suppress(ValueError):
        yield from (frame for frame in decode(data) if isinstance(frame, Start))


def send_raw(data: bytes) -> None:
    """Write bytes to the socket of the worker in which this runs."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
                sock.send(data, socket.MSG_DONTWAIT)


class Worker(Target):
    """The engine of a peer, from the side of a worker."""

    def set_up(self) -> None:
        """Start a peer with two clients."""
        self.peer = self.enter_context(Peer(2, credentials=CREDENTIALS))
        self.pool, self.other = (self.enter_context(joined(self.peer)) for _ in range(2))
        assert self.other.submit(abs, -1).result(PATIENCE) == 1

    def case(self, random: Random) -> None:
        """Have a task write to its worker's socket."""
        batch = b"".join(inputs.frame(random) for _ in range(random.choice((1, 3))))
        if random.random() < 0.4:
            batch = inputs.mutated(random, batch)
        size = len(batch) if random.random() < 0.8 else random.choice(inputs.INTEGERS[:11])
        future = self.pool.with_options(timeout=0.3).submit(send_raw, struct.pack("<I", size) + batch)
        with contextlib.suppress(Exception):
            future.result(PATIENCE)
        assert future.done()

    def check(self) -> None:
        """Check that another client is served."""
        super().check()
        assert self.other.submit(abs, -2).result(PATIENCE) == 2


class Listener(Target):
    """The port of a peer, before anybody has proved anything."""

    def set_up(self) -> None:
        """Start a peer in a process of its own."""
        self.peer = self.enter_context(serving())

    def case(self, random: Random) -> None:
        """Connect, and say something like HTTP/2."""
        said = OPENING
        for _ in range(random.choice((1, 3, 10))):
            stream, flags = random.choice((0, 1, 1, 3, 2**31 - 1)), random.randrange(64)
            payload = random.choice(
                (
                    request(random.choice((HELLO, LINK, "", "/x"))),
                    request(HELLO, (random.randbytes(5), random.randbytes(9))),
                    request(LINK, (b"woolexec-hello-bin", random.randbytes(40))),
                    request("/\xff\xfe"),
                    random.randbytes(random.choice((0, 4, 5, 8, 100))),
                    calls(HELLO, (1, 3), is_reset=True),
                )
                if random.random() < 0.9
                else (bytes(1 << 14),)
            )
            piece = http2(random.randrange(12), flags, stream, payload)
            said += inputs.mutated(random, piece) if random.random() < 0.3 else piece
        with contextlib.suppress(ConnectionError), Stranger(self.peer.address, said) as stranger:
            stranger.leave(at_once=random.random() < 0.5)

    def check(self) -> None:
        """Check that somebody else is served."""
        super().check()
        assert is_served(self.peer)


TARGETS: dict[str, type[Target]] = {
    "decoder": Decoder,
    "session": Session,
    "link": Client,
    "worker": Worker,
    "listener": Listener,
}
