"""Asks a peer what runs there, over a link of its own: `woolexec stack ADDRESS`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from woolexec.core.task_stack import Stacks
from woolexec.engine.stack_frames import stacks_of
from woolexec.errors import PeerRefusedError
from woolexec.mesh.client.channel import greet, open_channel, open_link, resolve
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.security.handshake import Caller
from woolexec.printable import printable
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Inspect, Inspected, encode

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials

_GREETING = 10.0
"""Seconds for the connection and the handshake."""

_MORE = 2.0
"""Seconds for the way of the answer."""


async def ask(address: str, credentials: Credentials, seconds: float) -> tuple[Stacks, int]:
    """
    Ask a peer for the tasks of all clients.

    :return: the tasks, and the number of those for which there was no room
    :raises PeerRefusedError: if it cannot be reached, or does not answer, or we may not see them
    :raises CredentialsError: if a certificate file cannot be read
    """
    reasons = []
    found = await resolve(address)
    for at in found:
        try:
            return await _ask_at(address, at, credentials, seconds)
        except PeerRefusedError as exc:
            reasons.append(f"{at}: {exc}" if found[1:] else str(exc))
    raise PeerRefusedError("; ".join(reasons))


async def _ask_at(address: str, at: str, credentials: Credentials, seconds: float) -> tuple[Stacks, int]:
    grpc = load_grpc()
    try:
        async with asyncio.timeout(_GREETING) as limit, open_channel(address, credentials, at=at) as channel:
            _, opening = await greet(channel, Caller(credentials.token))
            stream, _ = await open_link(channel, opening)
            try:
                limit.reschedule(asyncio.get_running_loop().time() + seconds + _MORE)
                request = int.from_bytes(os.urandom(8), "big") | 1
                await stream.write(encode(Inspect(request=request, seconds=seconds, all=True)))
                arriving = Arriving()
                while (data := await stream.read()) is not grpc.aio.EOF:
                    for frame in decode(arriving.batch(data), 0):
                        if isinstance(frame, Inspected) and frame.request == request:
                            if frame.refused:
                                raise PeerRefusedError(printable(frame.refused, 1000))
                            return Stacks(stacks_of(frame, address)), frame.left_out
            finally:
                stream.cancel()
    except TimeoutError as exc:
        raise PeerRefusedError("no answer in time") from exc
    except grpc.RpcError as exc:
        raise PeerRefusedError(f"{exc.code().name}: {printable(exc.details() or '', 1000)}") from exc
    except ValueError as exc:
        raise PeerRefusedError(f"the answer makes no sense: {exc}") from exc
    raise PeerRefusedError("the peer has ended the link")
