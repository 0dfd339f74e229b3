"""Fetching values from other peers, straight, for the calls of a client."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from woolexec.errors import CredentialsError, PeerRefusedError, ProtocolError
from woolexec.mesh.client.channel import greet, open_channel, open_link, resolve
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link import fd_passing
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.outbox import ON_LINK
from woolexec.mesh.security.handshake import Caller
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Drop, Fetch, Keep, encode

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.wire.frames import Pull
    from woolexec.wire.payload import File, Parts

_AT_ONCE = 8
"""Maximum number of values that are fetched at a time; the others wait."""

_GREETING = 5.0
"""Seconds in which the other peer must answer."""


class NotFetchedError(Exception):
    """A value cannot be fetched from another peer; the message says why."""


class Fetching:
    """
    Fetches values with links of its own, each for one value.

    :param credentials: with which this peer shows other peers what it is
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._few = asyncio.Semaphore(_AT_ONCE)  # limits how many are fetched at once

    async def fetch(self, pull: Pull) -> bytes | File | Parts:
        """
        Fetch a value.

        :raises NotFetchedError: if that is not possible
        """
        grpc = load_grpc()
        async with self._few:
            try:
                reasons = []
                for at in await resolve(pull.address):
                    try:
                        return await self._fetch(pull, at)
                    except PeerRefusedError as exc:
                        reasons.append(str(exc))
                raise NotFetchedError("; ".join(reasons))
            except (CredentialsError, ProtocolError, ValueError, OSError) as exc:
                raise NotFetchedError(str(exc)) from exc
            except grpc.RpcError as exc:
                raise NotFetchedError(f"{exc.code().name}: {exc.details()}") from exc

    async def _fetch(self, pull: Pull, at: str) -> bytes | File | Parts:
        async with contextlib.AsyncExitStack() as taken:
            try:
                async with asyncio.timeout(_GREETING):
                    channel = await taken.enter_async_context(open_channel(pull.address, self._credentials, at=at))
                    _, opening = await greet(channel, Caller(self._credentials.token))
                    stream, welcome = await open_link(channel, opening)
                    taken.callback(stream.cancel)
                    if welcome.identity != pull.identity:
                        raise PeerRefusedError("another peer is there")
                    passage = await fd_passing.enter(welcome.passage)
            except TimeoutError:
                raise PeerRefusedError("no answer") from None
            arriving = Arriving()
            if passage is not None:
                taken.callback(passage.close)
                arriving.passage = passage
            await stream.write(encode(Fetch(value=(pull.value,), key=pull.key)))
            return await _value(stream, arriving, pull.value)


async def _value(stream: Any, arriving: Arriving, number: int) -> bytes | File | Parts:
    """Read until the value has come."""
    end = load_grpc().aio.EOF
    while (data := await stream.read()) is not end:
        for frame in decode(arriving.batch(data), 0):
            if isinstance(frame, Arriving.FRAMES):
                arriving.add(frame)
            elif isinstance(frame, Keep) and frame.value == number:
                payload = arriving.take(frame, ON_LINK | number)
                if isinstance(payload, OSError):
                    raise payload
                return payload
            elif isinstance(frame, Drop):
                raise ProtocolError("the peer does not have the value any more")
    raise ProtocolError("the link ended before the value had come")
