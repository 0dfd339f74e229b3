"""
A client's peers: one link to each that is there, made again when it breaks.

::

    address --> connect, handshake --> Link, a place of the engine --> it ends --> wait --> connect again
                     |
                     `- refused, or nobody there: remembered, for messages

A link that has worked is made again at once, then ever more rarely, up to `SLOWEST`; each time a little at random, so
that many clients of a peer that comes back do not come all at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.errors import NoPeersError, PeerRefusedError
from woolexec.mesh.handshake import HELLO_KEY, WELCOME_KEY, Caller
from woolexec.mesh.link import Link
from woolexec.mesh.road import HELLO, LINK, OPTIONS

if TYPE_CHECKING:
    from woolexec.engine.engine import Engine
    from woolexec.mesh.credentials import Credentials

FIRST, SLOWEST = 0.1, 5.0
"""Seconds until a link is tried again, at first and at most."""

_GREETING = 10.0
"""Seconds that a peer may take for the handshake."""

_LOOK = 0.25
"""How often to look whether tasks wait in vain, in seconds."""


class Peers:
    """
    The links of one client.

    :param addresses: ``host:port`` or ``unix:/path``
    :param credentials: what both ends prove
    :param timeout: seconds that tasks wait while no peer is there; None: for ever
    """

    def __init__(
        self, addresses: Sequence[str], credentials: Credentials, *, pool: str = "", timeout: float | None = None
    ) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))
        self._credentials = credentials
        self._pool = pool
        self._timeout = timeout
        self._changed = Condition()  # guards `_links`
        self._links: dict[str, Link] = {}
        self._reasons: dict[str, str] = {}
        self._over = False

    # -- from any thread ----------------------------------------------------------------------------------------

    def wait(self, count: int, timeout: float | None) -> int:
        """
        Wait until so many peers are linked.

        :return: how many there are
        :raises TimeoutError: if they are not there in time; it says why not
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._links) >= count or self._over, timeout) or self._over:
                raise TimeoutError(f"{len(self._links)} of {count} peers are there. {self.explain()}".rstrip())
            return len(self._links)

    def explain(self) -> str:
        """Say of each peer that is not there why not."""
        reasons = self._reasons
        return "; ".join(f"{address}: {reasons[address]}" for address in self._addresses if address in reasons)

    # -- the engine's thread ------------------------------------------------------------------------------------

    async def __call__(self, engine: Engine, wake: Callable[[], None]) -> None:
        """Keep the links until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for address in self._addresses:
                    group.create_task(self._keep(engine, address, wake))
                group.create_task(self._watch(engine, wake))
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    async def _keep(self, engine: Engine, address: str, wake: Callable[[], None]) -> None:
        pause = FIRST
        while True:
            linked = await self._link(engine, address, wake)
            pause = FIRST if linked else min(2 * pause, SLOWEST)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret

    async def _link(self, engine: Engine, address: str, wake: Callable[[], None]) -> bool:
        """Have one link for as long as it lasts; False if there was none."""
        import grpc

        linked = False
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            try:
                async with asyncio.timeout(_GREETING):
                    welcome, stream = await self._greet(channel)
            except TimeoutError:
                self._reasons[address] = f"no answer in {_GREETING:g} s"
            except PeerRefusedError as exc:
                self._reasons[address] = str(exc)
            except grpc.RpcError as exc:
                self._reasons[address] = f"{exc.code().name}: {exc.details()}"
            else:
                linked = True
                link = Link(engine, address, welcome)
                self._note(address, link)
                try:
                    self._reasons[address] = await link.run(stream, wake)
                finally:
                    self._note(address, None)
        return linked

    async def _greet(self, channel: Any) -> tuple[Any, Any]:
        """
        Shake hands.

        :return: the peer's welcome, and the open stream
        :raises PeerRefusedError: if either end refuses
        """
        import grpc

        async def ask(method: str, hello: bytes) -> tuple[Any, bytes]:
            call = channel.stream_stream(method)(metadata=((HELLO_KEY, hello),))
            try:
                # A call that has ended may have lost its initial metadata (grpc.aio); an answer that ends it trails.
                answer = await (call.trailing_metadata() if method == HELLO else call.initial_metadata())
                for key, value in answer or ():
                    if key == WELCOME_KEY:
                        return call, value
                if await call.code() is grpc.StatusCode.UNAVAILABLE:
                    raise PeerRefusedError(f"nobody answers: {await call.details()}")
                raise PeerRefusedError(await call.details() or "it is no peer of woolexec")
            except BaseException:
                call.cancel()
                raise

        caller = Caller(self._credentials.token, self._pool)
        _, data = await ask(HELLO, caller.hello)
        welcome, opening = caller.answer(data)
        stream, _ = await ask(LINK, opening)
        return welcome, stream

    def _note(self, address: str, link: Link | None) -> None:
        with self._changed:
            if link is None:
                self._links.pop(address, None)
            else:
                self._links[address] = link
                self._reasons.pop(address, None)
            self._changed.notify_all()

    async def _watch(self, engine: Engine, wake: Callable[[], None]) -> None:
        """Fail what waits in vain."""
        if self._timeout is None:
            return
        alone_since = None
        while True:
            dispatcher = engine._dispatcher
            if dispatcher.waiting:
                wake()  # while nobody could take a call, whoever submitted one has not
            if dispatcher.links or engine.pids or not dispatcher.has_waiting:
                alone_since = None
            elif alone_since is None:
                alone_since = monotonic()
            elif monotonic() - alone_since > self._timeout:
                text = f"tasks have waited for {self._timeout:g} s, and no peer is there. {self.explain()}"
                dispatcher.fail_waiting(NoPeersError(text.rstrip()))
            await asyncio.sleep(min(_LOOK, self._timeout / 4))
