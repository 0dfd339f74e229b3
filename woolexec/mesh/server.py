"""
A peer: an engine behind a gRPC server, in one thread.

::

    stream --Define/Start/Next/...--> Served --> engine --> workers
    stream <--Return/Raise/Yield/...-- outbox <-- receivers of the calls

It never unpickles what users have pickled; it passes it on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from woolexec.engine.aside import COROUTINES
from woolexec.engine.engine import Engine
from woolexec.errors import PeerRefusedError, PeerStartError, ProtocolError
from woolexec.mesh.handshake import WELCOME_KEY, Door
from woolexec.mesh.health import Health
from woolexec.mesh.road import HELLO, LINK, OPTIONS, SERVICE
from woolexec.mesh.served import Served
from woolexec.wire.wire_pb2 import Welcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.mesh.credentials import Credentials

_STOPPING = 1.0
"""Seconds that calls of grpc have to end when the peer stops."""


class Peer:
    """
    Serve an engine at an address; use it in a ``with``.

    :param workers: worker processes, at most
    :param bind: ``host:port`` (port 0: any that is free) or ``unix:/path``; None: a Unix socket in a private folder
    :param credentials: what clients must prove
    :param pool: the name of the pool that it belongs to
    :param tags: what clients may ask for, as ``key=value``
    :raises PeerStartError: if the address cannot be had
    """

    def __init__(
        self,
        workers: int,
        *,
        bind: str | None = None,
        credentials: Credentials,
        pool: str = "",
        tags: Sequence[str] = (),
        coroutines: int = COROUTINES,
        threads: int = 1,
    ) -> None:
        self.width = workers
        self.identity = uuid.uuid4().hex
        self._room: str | None = None
        if bind is None:
            self._room = tempfile.mkdtemp(prefix="woolexec-")  # 0700: grpc's socket itself follows the umask
            bind = f"unix:{os.path.join(self._room, 'peer')}"
        welcome = Welcome(identity=self.identity, workers=workers, coroutines=coroutines * workers, pool=pool, tag=tags)
        self._door = Door(credentials.token, welcome)
        self._bind = bind
        self._served: dict[Served, asyncio.Task[Any]] = {}
        self._health = Health()
        self._stop = asyncio.Event()
        self._stopped = threading.Event()
        bound: Future[str] = Future()
        self.engine = Engine(workers, coroutines=coroutines, threads=threads, guest=partial(self._run, bound))
        try:
            self.address = bound.result()
        except BaseException:
            self.close()
            raise

    @property
    def clients(self) -> int:
        """How many clients are linked now."""
        return len(self._served)

    @property
    def ended(self) -> bool:
        """It serves no more."""
        return self.engine._loop.stopped

    def drain(self) -> None:
        """Have clients send no more, and end when what they have sent is done; from any thread."""
        self.engine._loop.tell(self._drain)

    def _drain(self) -> None:
        self._health.serving = False
        for served in self._served:
            served.say_goodbye()
        self._end_if_alone()

    def _end_if_alone(self) -> None:
        if not (self._health.serving or self._served):
            self.engine.shutdown(wait=False, cancel=False)

    def close(self) -> None:
        """End what runs, and wait for the end of all."""
        self.engine._loop.tell(self._stop.set)  # links first: what clients have not sent goes elsewhere
        self._stopped.wait()
        self.engine.end_workers(signal.SIGTERM)
        self.engine.shutdown(wait=True, cancel=True)
        if self._room is not None:
            shutil.rmtree(self._room, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- the engine's thread ------------------------------------------------------------------------------------

    async def _run(self, bound: Future[str], engine: Engine, wake: Callable[[], None]) -> None:
        try:
            await self._serve(engine, wake, bound)
        finally:
            self._stopped.set()
            if not bound.done():
                bound.set_exception(PeerStartError("the peer ended before it was there"))

    async def _serve(self, engine: Engine, wake: Callable[[], None], bound: Future[str]) -> None:
        """Serve until cancelled."""
        import grpc

        server = grpc.aio.server(options=[*OPTIONS, ("grpc.so_reuseport", 0)])

        async def greet(_request: Any, context: Any) -> None:
            try:
                welcome = self._door.greet(context.invocation_metadata())
            except PeerRefusedError as exc:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(exc))
            context.set_trailing_metadata(((WELCOME_KEY, welcome),))

        async def link(_request: Any, context: Any) -> None:
            try:
                hello = self._door.admit(context.invocation_metadata())
            except PeerRefusedError as exc:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(exc))
            if not self._health.serving:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the peer is draining")
            served = Served(engine, f"{hello.host}:{hello.pid}")
            task = asyncio.current_task()
            assert task is not None
            self._served[served] = task
            try:
                await context.send_initial_metadata(((WELCOME_KEY, b""),))
                await served.run(context, wake)
            except (ProtocolError, ValueError, OSError) as exc:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
            finally:
                del self._served[served]
                served.abandon()
                self._end_if_alone()
                wake()

        handlers = {
            HELLO.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(greet),
            LINK.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(link),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers), self._health.handlers())
        )
        try:
            port = server.add_insecure_port(self._bind)
            await server.start()
        except RuntimeError as exc:
            error = PeerStartError(f"cannot listen on {self._bind}: is another peer there? ({exc})")
            bound.set_exception(error)
            await server.stop(0)
            return
        host, colon, wanted = self._bind.rpartition(":")
        bound.set_result(self._bind if self._bind.startswith("unix:") or wanted != "0" else f"{host}{colon}{port}")
        try:
            await self._stop.wait()
        finally:
            for task in self._served.values():
                task.cancel()
            await server.stop(_STOPPING)  # seldom so long: what there was has ended
