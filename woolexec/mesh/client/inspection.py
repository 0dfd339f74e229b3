"""Asks a peer about its tasks and statistics, over a separate link: for `woolexec stack` and `woolexec top`."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.core.task_stack import Stacks
from woolexec.engine.stack_frames import stacks_of
from woolexec.errors import PeerRefusedError, ProtocolError
from woolexec.mesh.client.channel import at_any, greet, open_channel, open_link, said_in
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.security.handshake import DRAINING, Caller
from woolexec.printable import printable
from woolexec.statistics import Statistics
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Inspect, Inspected, Stop, encode
from woolexec.wire.status_frames import CancelTask, Stated, Status, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from woolexec.mesh.security.credentials import Credentials

_GREETING = 10.0
"""Seconds for the connection and the handshake."""

_MORE = 2.0
"""Seconds for the answer to arrive, in addition to those that the peer may take."""

Answer = TypeVar("Answer", Inspected, Stated, TaskCancelled)
Told = TypeVar("Told")


async def ask(address: str, credentials: Credentials, seconds: float) -> tuple[Stacks, int]:
    """
    Ask a peer for the tasks of all clients.

    :return: the tasks, and the number of those that did not fit into the answer
    :raises PeerRefusedError: if it cannot be reached, or does not answer, or we may not see them
    :raises CredentialsError: if a certificate file cannot be read
    """
    return await _ask_once(address, credentials, lambda questions: questions.stacks(seconds))


async def ask_status(
    address: str, credentials: Credentials, seconds: float
) -> tuple[list[tuple[str, Statistics]], int]:
    """
    Ask a peer for the statistics of all clients.

    :return: the clients with their statistics, and the number of clients that did not fit into the answer
    :raises PeerRefusedError: if it cannot be reached, or does not answer, or we may not see them
    :raises CredentialsError: if a certificate file cannot be read
    """
    return await _ask_once(address, credentials, lambda questions: questions.status(seconds))


def statistics_in(text: str) -> Statistics:
    """
    Return the statistics in a text that is not trusted.

    :raises ValueError: if there are none in it
    """
    try:
        found = Statistics.from_dict(_safe(json.loads(text)))
        found.as_dict()
        str(found)  # raises if they cannot be printed
    except (TypeError, AttributeError, KeyError, RecursionError, OverflowError) as exc:
        raise ValueError("not valid statistics") from exc
    return found


def _safe(value: Any) -> Any:
    """Return a copy with printable texts."""
    if isinstance(value, str):
        return printable(value, 200)
    if isinstance(value, dict):
        return {_safe(name): _safe(each) for name, each in value.items()}
    return list(map(_safe, value)) if isinstance(value, list) else value


def _number() -> int:
    return int.from_bytes(os.urandom(8), "big") | 1


class Questions:
    """
    A link to a peer for requests, one after the other; made by `open_questions`.

    :param stream: the stream of frames
    """

    def __init__(self, stream: Any, address: str) -> None:
        self._stream, self._address = stream, address
        self._arriving = Arriving()

    async def stacks(self, seconds: float) -> tuple[Stacks, int]:
        """Ask for the tasks of all clients: see `ask`."""
        frame = await self._answer(Inspect(request=_number(), seconds=seconds, all=True), Inspected, seconds)
        return Stacks(stacks_of(frame, self._address)), frame.left_out

    async def status(self, seconds: float) -> tuple[list[tuple[str, Statistics]], int]:
        """Ask for the statistics of all clients: see `ask_status`."""
        frame = await self._answer(Status(request=_number()), Stated, seconds)
        with _translated():
            found = zip(frame.statistics, frame.client, strict=True)
            return [(printable(client, 200), statistics_in(text)) for text, client in found], frame.left_out

    async def cancel(self, task: int, pid: int, seconds: float) -> bool:
        """
        Cancel a running task of a worker there by force; return whether it was still running.

        :raises PeerRefusedError: if the peer does not answer, or does not permit this
        """
        question = CancelTask(request=_number(), task=task, pid=pid)
        return (await self._answer(question, TaskCancelled, seconds)).done

    async def _answer(self, question: Inspect | Status | CancelTask, kind: type[Answer], seconds: float) -> Answer:
        """
        Return the answer to a request.

        :param seconds: the time that the peer may take
        :raises PeerRefusedError: if there is none, or the peer does not permit this
        """
        with _translated():
            async with asyncio.timeout(seconds + _MORE):
                await self._stream.write(encode(question))
                while (data := await self._stream.read()) is not load_grpc().aio.EOF:
                    for frame in decode(self._arriving.batch(data), 0):
                        if isinstance(frame, Stop):
                            raise PeerRefusedError(DRAINING)
                        if isinstance(frame, kind) and frame.request == question.request:
                            if frame.refused:
                                raise PeerRefusedError(printable(frame.refused, 1000))
                            return frame
        raise PeerRefusedError("the peer has ended the link")


async def open_questions(address: str, credentials: Credentials) -> tuple[Questions, AsyncExitStack]:
    """
    Open a link to a peer for requests.

    :return: the link, and what closes it
    :raises PeerRefusedError: if it cannot be reached, or refuses this client
    :raises CredentialsError: if a certificate file cannot be read
    """
    return await at_any(address, partial(_open_at, address, credentials))


async def _open_at(address: str, credentials: Credentials, at: str) -> tuple[Questions, AsyncExitStack]:
    with _translated():
        async with asyncio.timeout(_GREETING), AsyncExitStack() as stack:
            channel = await stack.enter_async_context(open_channel(address, credentials, at=at))
            _, opening = await greet(channel, Caller(credentials.token))
            stream, _ = await open_link(channel, opening)
            stack.callback(stream.cancel)
            link = stack.pop_all()
    return Questions(stream, address), link


async def _ask_once(
    address: str, credentials: Credentials, ask: Callable[[Questions], Awaitable[tuple[Told, int]]]
) -> tuple[Told, int]:
    questions, link = await open_questions(address, credentials)
    async with link:
        return await ask(questions)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise PeerRefusedError for any failure at the other end, or of the connection."""
    try:
        yield
    except TimeoutError as exc:
        raise PeerRefusedError("no answer in time") from exc
    except load_grpc().RpcError as exc:
        raise PeerRefusedError(said_in(exc)) from exc
    except (ProtocolError, ValueError) as exc:
        raise PeerRefusedError(f"the answer is not valid: {printable(str(exc), 200)}") from exc
