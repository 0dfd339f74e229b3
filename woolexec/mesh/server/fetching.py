"""
Fetches values directly from other peers, for the calls of clients.

All values from one peer come over one link, which ends when it has not been used for a while.  What has
arrived of values over all links is bounded, because it counts for no client before it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from woolexec.core.recent import Recent
from woolexec.errors import CredentialsError, PeerRefusedError, ProtocolError
from woolexec.mesh.client.channel import at_any, greet, open_channel, open_link, said_in
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link import fd_passing
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.messages import FRAMES, Turn, handle_all
from woolexec.mesh.link.outbox import ON_LINK
from woolexec.mesh.security.handshake import Caller
from woolexec.platform.memory import usable_memory
from woolexec.wire.fast_frames import decode_some
from woolexec.wire.frames import Drop, Fetch, Keep, Stop, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.mesh.link.fd_passing import Passage
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.wire.frames import Pull
    from woolexec.wire.payload import File, Parts

_AT_ONCE = 256
"""Maximum number of values that are fetched at a time; further ones are sent by their clients."""

_GREETING = 5.0
"""Seconds in which the other peer must answer."""

_AGAIN = 30.0
"""Seconds for which a peer that could not be reached is not tried again."""

_KNOWN = 1024
"""Maximum number of unreachable peers that are remembered."""

_IDLE = 10.0
"""Seconds after which an unused link ends."""

_PAUSE = 0.02
"""How often it is checked whether there is memory again, in seconds."""

_STALL = 15.0
"""Seconds without data after which a link is abandoned."""


class NotFetchedError(Exception):
    """A value cannot be fetched from another peer; the message says why."""


class NotThereError(NotFetchedError):
    """The other peer can be reached, but does not have the value."""


class Fetching:
    """
    Fetches values, while it runs.

    :param credentials: with which this peer authenticates itself to other peers
    :param compression: formats in which others may compress the values
    :param limit: maximum number of bytes of values that have arrived in part; None: half of the memory that this
        process may use
    """

    def __init__(self, credentials: Credentials, compression: tuple[str, ...] = (), limit: int | None = None) -> None:
        self._credentials, self._compression = credentials, compression
        self._limit = usable_memory() // 2 if limit is None else limit
        self.is_stopped = False  # as that of a client's session: nothing is read, because memory is short
        self._running: set[_Link] = set()
        self._count = 0  # of the values that are being fetched
        self._links: dict[tuple[str, str], asyncio.Future[_Link]] = {}  # by address and identity
        self._unreachable: Recent[tuple[str, str], tuple[float, str]] = Recent(_KNOWN)  # until when, and why
        self._group: asyncio.TaskGroup | None = None

    @property
    def bytes_here(self) -> int:
        """The bytes of values that have arrived in part."""
        return sum(link.size for link in self._running)

    def wake(self) -> None:
        """Do nothing: the links look whether they may go on."""

    def end_largest(self) -> None:
        """End the link over which most has arrived."""
        if self._running:
            max(self._running, key=lambda link: link.size).end()

    def check(self) -> None:
        """End a link if too much has arrived in part."""
        if self.bytes_here > self._limit:
            self.end_largest()

    async def run(self) -> None:
        """Run its links until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            await asyncio.get_running_loop().create_future()

    async def fetch(self, pull: Pull) -> bytes | File | Parts:
        """
        Fetch a value.

        :raises NotFetchedError: if that is not possible
        """
        until, why = self._unreachable.get((pull.address, pull.identity), (0.0, ""))
        if asyncio.get_running_loop().time() < until:
            raise NotFetchedError(why)
        if self._count >= _AT_ONCE:  # waiting could take long: the other values may never arrive
            raise NotFetchedError("too many values are being fetched")
        self._count += 1
        try:
            link = await asyncio.shield(self._link_to(pull.address, pull.identity))
            return await link.fetch(pull.key)
        finally:
            self._count -= 1

    def _link_to(self, address: str, identity: str) -> asyncio.Future[_Link]:
        """Return the link to a peer, as soon as there is one."""
        key = address, identity
        if key not in self._links:
            assert self._group is not None
            self._links[key] = opened = asyncio.get_running_loop().create_future()
            self._group.create_task(self._run_link(key, opened))
        return self._links[key]

    async def _run_link(self, key: tuple[str, str], opened: asyncio.Future[_Link]) -> None:
        """Run one link until it ends."""
        grpc = load_grpc()
        why = "the link to the other peer has ended"
        async with contextlib.AsyncExitStack() as taken:
            try:
                link = await at_any(key[0], partial(self._open, taken, *key))
                opened.set_result(link)
                self._running.add(link)
                taken.callback(self._running.discard, link)
                await link.run(partial(self._end, key, opened))
            except (PeerRefusedError, CredentialsError, ProtocolError, ValueError, OSError) as exc:
                why = str(exc)
            except grpc.RpcError as exc:
                why = said_in(exc)
            except Exception as exc:  # a bad address from a client, or bad data from the peer, must end only this link
                why = repr(exc)
            finally:
                self._end(key, opened)
                if not opened.done():
                    self._unreachable.add(key, (asyncio.get_running_loop().time() + _AGAIN, why))
                    opened.set_exception(NotFetchedError(why))
                    opened.exception()  # those who waited for it may have been cancelled
                elif opened.exception() is None:
                    opened.result().fail(why)

    def _end(self, key: tuple[str, str], opened: asyncio.Future[_Link]) -> None:
        """Stop using a link."""
        if self._links.get(key) is opened:
            del self._links[key]

    async def _open(self, taken: contextlib.AsyncExitStack, address: str, identity: str, at: str) -> _Link:
        """Open a link; closing the returned context closes it."""
        async with contextlib.AsyncExitStack() as trying:
            try:
                async with asyncio.timeout(_GREETING):
                    channel = await trying.enter_async_context(open_channel(address, self._credentials, at=at))
                    _, opening = await greet(channel, Caller(self._credentials.token, compression=self._compression))
                    stream, welcome = await open_link(channel, opening)
                    trying.callback(stream.cancel)
                    if welcome.identity != identity:
                        raise PeerRefusedError("another peer is there")
                    passage = await fd_passing.enter(welcome.passage)
                    if passage is not None:
                        trying.callback(passage.close)
            except TimeoutError as exc:
                raise PeerRefusedError("no answer") from exc
            taken.push_async_exit(trying.pop_all())
        return _Link(self, stream, passage, self._compression)


class _Link:
    """A link to one peer, only for values."""

    def __init__(self, owner: Fetching, stream: Any, passage: Passage | None, compression: tuple[str, ...]) -> None:
        self._owner, self._stream = owner, stream
        self._arriving = Arriving(offered=compression)
        self._arriving.passage = passage
        self._waiting: dict[int, asyncio.Future[bytes | File | Parts]] = {}
        self._numbers = count(1)
        self._turn = asyncio.Lock()  # held by the task that writes
        self._limit: asyncio.Timeout | None = None
        self._is_leaving = False
        self._on_leave: Callable[[], object] = bool
        self._heard = 0  # counts messages

    @property
    def size(self) -> int:
        """The bytes of values that have arrived in part."""
        return self._arriving.size

    def end(self) -> None:
        """End, whatever is being fetched."""
        self._stream.cancel()

    async def fetch(self, key: bytes) -> bytes | File | Parts:
        """
        Fetch the value with this key.

        :raises NotFetchedError: if the peer does not have it, or the link ends
        """
        number = next(self._numbers)
        self._waiting[number] = arrived = asyncio.get_running_loop().create_future()
        self._reschedule()
        try:
            async with self._turn:
                await self._stream.write(encode(Fetch(value=(number,), key=key)))
            heard = -1
            while not arrived.done() and heard != self._heard:  # something has come meanwhile
                heard = self._heard
                await asyncio.wait({arrived}, timeout=_STALL)
            if not arrived.done():
                raise NotFetchedError("the other peer sends nothing")
            payload: bytes | File | Parts = arrived.result()
            return payload
        except (asyncio.InvalidStateError, load_grpc().RpcError) as exc:
            raise NotFetchedError("the link to the other peer has ended") from exc
        finally:
            self._waiting.pop(number, None)
            self._reschedule()

    def _reschedule(self) -> None:
        """Let the link end after a while in which nothing is fetched; soon, if the peer is about to leave."""
        if self._limit is not None and not self._limit.expired():
            idle = 0.0 if self._is_leaving else _IDLE
            self._limit.reschedule(None if self._waiting else asyncio.get_running_loop().time() + idle)

    async def run(self, on_leave: Callable[[], object]) -> None:
        """
        Read until the link ends, or is no longer used.

        :param on_leave: called when the peer is about to leave, so that the link can no longer be used
        """
        end, self._on_leave = load_grpc().aio.EOF, on_leave
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE) as self._limit:
                    while (data := await self._stream.read()) is not end:
                        self._heard += 1
                        await self._handle(self._arriving.batch(data))
                        self._owner.check()
                        while self._owner.is_stopped:  # noqa: ASYNC110  # rare
                            await asyncio.sleep(_PAUSE)
        finally:
            self._limit = None

    async def _handle(self, data: bytes | bytearray) -> None:
        """Handle a message in slices, between which other work gets turns."""
        pos, turn, handle = 0, Turn(bool), self._arriving.in_steps(self._hear)
        while pos < len(data):
            frames, pos = decode_some(data, pos, len(data), FRAMES)
            await handle_all(frames, handle, turn)

    def _hear(self, frame: Any) -> None:
        if isinstance(frame, Arriving.FRAMES):
            self._arriving.add(frame)
        elif isinstance(frame, Keep):
            payload = self._arriving.take(frame, ON_LINK | frame.value)
            self._settle(frame.value, NotFetchedError(str(payload)) if isinstance(payload, OSError) else payload)
        elif isinstance(frame, Drop):
            for number in frame.value:
                self._settle(number, NotThereError("the peer no longer has the value"))
        elif isinstance(frame, Stop):
            self._is_leaving = True
            self._on_leave()
            self._reschedule()

    def fail(self, why: str) -> None:
        """End all waits."""
        for number in self._waiting:
            self._settle(number, NotFetchedError(why))

    def _settle(self, number: int, payload: bytes | File | Parts | NotFetchedError) -> None:
        """End the wait for a value, if there is one."""
        arrived = self._waiting.get(number)
        if arrived is None or arrived.done():
            return
        if isinstance(payload, NotFetchedError):
            arrived.set_exception(payload)
            arrived.exception()  # it is seen: who fetches may have failed otherwise meanwhile
        else:
            arrived.set_result(payload)
