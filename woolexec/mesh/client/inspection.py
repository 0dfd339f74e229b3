"""Asks a peer what it does, over a link of its own: `woolexec stack ADDRESS` and `woolexec top ADDRESS`."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.core.task_stack import Stacks
from woolexec.engine.stack_frames import stacks_of
from woolexec.errors import PeerRefusedError, ProtocolError
from woolexec.mesh.client.channel import at_any, greet, open_channel, open_link, said_in
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.security.handshake import Caller
from woolexec.printable import printable
from woolexec.statistics import Statistics
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Inspect, Inspected, encode
from woolexec.wire.status_frames import Stated, Status

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials

_GREETING = 10.0
"""Seconds for the connection and the handshake."""

_MORE = 2.0
"""Seconds for the answer to arrive, beside those that the peer may take."""

Answer = TypeVar("Answer", Inspected, Stated)


async def ask(address: str, credentials: Credentials, seconds: float) -> tuple[Stacks, int]:
    """
    Ask a peer for the tasks of all clients.

    :return: the tasks, and the number of those for which there was no room
    :raises PeerRefusedError: if it cannot be reached, or does not answer, or we may not see them
    :raises CredentialsError: if a certificate file cannot be read
    """
    question = Inspect(request=_number(), seconds=seconds, all=True)
    frame = await _answer(address, credentials, seconds, question, Inspected)
    return Stacks(stacks_of(frame, address)), frame.left_out


async def ask_status(
    address: str, credentials: Credentials, seconds: float
) -> tuple[list[tuple[str, Statistics]], int]:
    """
    Ask a peer for the statistics of all clients.

    :return: whose they are, with them; and the number of those for which there was no room
    :raises PeerRefusedError: if it cannot be reached, or does not answer, or we may not see them
    :raises CredentialsError: if a certificate file cannot be read
    """
    frame = await _answer(address, credentials, seconds, Status(request=_number()), Stated)
    try:
        found = [
            (printable(client, 200), statistics_in(text))
            for text, client in zip(frame.statistics, frame.client, strict=True)
        ]
    except ValueError as exc:
        raise PeerRefusedError(f"the answer makes no sense: {printable(str(exc), 200)}") from exc
    return found, frame.left_out


def statistics_in(text: str) -> Statistics:
    """
    Return the statistics in a text that is not trusted.

    :raises ValueError: if there are none in it
    """
    try:
        found = Statistics.from_dict(_safe(json.loads(text)))
        found.as_dict()
        str(found)  # what cannot be printed is none
    except (TypeError, AttributeError, KeyError, RecursionError, OverflowError) as exc:
        raise ValueError("these are no statistics") from exc
    return found


def _safe(value: Any) -> Any:
    """Return it with texts that can be printed."""
    if isinstance(value, str):
        return printable(value, 200)
    if isinstance(value, dict):
        return {_safe(name): _safe(each) for name, each in value.items()}
    return list(map(_safe, value)) if isinstance(value, list) else value


def _number() -> int:
    return int.from_bytes(os.urandom(8), "big") | 1


async def _answer(
    address: str, credentials: Credentials, seconds: float, question: Inspect | Status, kind: type[Answer]
) -> Answer:
    return await at_any(address, partial(_answer_at, address, credentials, seconds, question, kind))


async def _answer_at(
    address: str, credentials: Credentials, seconds: float, question: Inspect | Status, kind: type[Answer], at: str
) -> Answer:
    grpc = load_grpc()
    try:
        async with asyncio.timeout(_GREETING) as limit, open_channel(address, credentials, at=at) as channel:
            _, opening = await greet(channel, Caller(credentials.token))
            stream, _ = await open_link(channel, opening)
            try:
                limit.reschedule(asyncio.get_running_loop().time() + seconds + _MORE)
                await stream.write(encode(question))
                arriving = Arriving()
                while (data := await stream.read()) is not grpc.aio.EOF:
                    for frame in decode(arriving.batch(data), 0):
                        if isinstance(frame, kind) and frame.request == question.request:
                            if frame.refused:
                                raise PeerRefusedError(printable(frame.refused, 1000))
                            return frame
            finally:
                stream.cancel()
    except TimeoutError as exc:
        raise PeerRefusedError("no answer in time") from exc
    except grpc.RpcError as exc:
        raise PeerRefusedError(said_in(exc)) from exc
    except (ProtocolError, ValueError) as exc:
        raise PeerRefusedError(f"the answer makes no sense: {exc}") from exc
    raise PeerRefusedError("the peer has ended the link")
