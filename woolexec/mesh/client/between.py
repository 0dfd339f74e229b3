"""
Checks whether peers can send each other values: ``woolexec doctor`` with several peers.

Each peer is asked, over a link, to fetch a nonexistent value from each of the others.  It uses the address that it
would be told for a real value, and both peers authenticate as always.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from woolexec.errors import CredentialsError, PeerRefusedError, ProtocolError
from woolexec.mesh.client.channel import greet, is_local, open_channel, open_link, resolve, said_in
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.messages import Pieces
from woolexec.mesh.security.handshake import Caller
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Drop, Pull, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.mesh.client.channel import Channel
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.wire.wire_pb2 import Welcome

MOST = 16
"""Maximum number of peers that are asked, and of peers that each is asked about: a peer tries no more at a time."""

PATIENCE = 15.0
"""Seconds in which a peer must answer about all others."""


@dataclass(frozen=True, slots=True, eq=False)
class UsablePeer:
    """
    A peer that works.

    :param address: the one that works
    :param welcome: its description of itself
    """

    address: str
    welcome: Welcome
    credentials: Credentials


async def barriers(peers: Sequence[UsablePeer]) -> list[tuple[UsablePeer, UsablePeer, str]]:
    """Return each pair of peers of which the first cannot fetch values from the second, with the reason."""
    by_identity = {peer.welcome.identity: peer for peer in peers}  # one may have been found in two ways
    few = list(by_identity.values())[:MOST]
    found = await asyncio.gather(*(_barriers_of(peer, [each for each in few if each is not peer]) for peer in few))
    return [barrier for some in found for barrier in some]


async def _barriers_of(peer: UsablePeer, others: Sequence[UsablePeer]) -> list[tuple[UsablePeer, UsablePeer, str]]:
    known = {other: _known_barrier(peer, other) for other in others}
    to_try = [other for other, reason in known.items() if not reason]
    try:
        async with asyncio.timeout(PATIENCE):
            reasons = await _ask(peer, to_try) if to_try else []
    except TimeoutError:
        reasons = [f"no answer in {PATIENCE:g} s"] * len(to_try)
    known.update(zip(to_try, reasons, strict=True))
    return [(peer, other, reason) for other, reason in known.items() if reason]


def _known_barrier(peer: UsablePeer, other: UsablePeer) -> str:
    """Return why no value can be fetched, if that is known without trying."""
    for each in (peer, other):
        if not each.welcome.shares:
            return f"{each.address} runs only listed functions"
    if is_local(other.address) and peer.welcome.host != other.welcome.host:
        return f"{other.address} is an address of this host, and they are on others"
    return ""


async def _ask(peer: UsablePeer, others: Sequence[UsablePeer]) -> list[str]:
    """Let a peer try the others; return why it cannot reach each of them."""
    why = ""
    for at in await resolve(peer.address):
        try:
            async with open_channel(peer.address, peer.credentials, at=at) as channel:
                return await _ask_over(channel, peer.credentials, others)
        except (PeerRefusedError, CredentialsError, ProtocolError, ValueError) as exc:
            why = str(exc)
        except load_grpc().RpcError as exc:
            why = said_in(exc)
    return [why] * len(others)


async def _ask_over(channel: Channel, credentials: Credentials, others: Sequence[UsablePeer]) -> list[str]:
    _, opening = await greet(channel, Caller(credentials.token))
    stream, _ = await open_link(channel, opening)
    try:
        for number, other in enumerate(others):
            key, identity = secrets.token_bytes(16), other.welcome.identity
            await stream.write(encode(Pull(value=number, key=key, address=other.address, identity=identity)))
        pieces, reasons = Pieces(), dict[int, str]()
        while len(reasons) < len(others):
            data = await stream.read()
            if data is load_grpc().aio.EOF:
                raise PeerRefusedError("it ended the link")
            for frame in decode(pieces.batch(data), 0):
                if isinstance(frame, Drop):
                    reasons.update(dict.fromkeys(frame.value, frame.reason))
        return [reasons.get(number, "no answer") for number in range(len(others))]
    finally:
        stream.cancel()
