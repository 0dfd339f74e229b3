"""The places of a peer, which its clients share: whose calls are let in, and who is told when there is room again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from woolexec.core.admission import Admission
from woolexec.resources import Line
from woolexec.wire.codec import Load, encode

if TYPE_CHECKING:
    from woolexec.core.offer import Offer
    from woolexec.engine.event_loop import Loop

_TELL, _LOOK = 0.01, 0.05
"""Seconds after which the next client in line is told of room that the one before has not used, and after which to look
whether there is room."""


class Client(Protocol):
    """What a client is here."""

    outbox: Any
    """Takes frames for it."""

    def __hash__(self) -> int:
        """Each client is one of its own."""


class Places:
    """
    What the clients of one peer share.

    :param width: calls that the peer runs at once
    :param offer: what calls may require of it
    :param has_peers: it has peers of its own, to which clients' calls are not passed on
    """

    def __init__(self, loop: Loop, width: int, offer: Offer, *, has_peers: bool = False) -> None:
        self.admission = Admission(width, offer)
        self.clients: set[Client] = set()
        self._has_peers = has_peers
        self._loop = loop
        self._about_to = self._telling = False

    def line_of(self, client: Client, priority: int) -> Line | None:
        """Return where calls of a client wait for a worker: each client has a line of its own."""
        return Line(priority, client=client) if priority or self._has_peers or len(self.clients) > 1 else None

    def tell(self) -> None:
        """When there is room, tell the client that has waited longest, and in a while the next."""
        if self.admission.has_waiting and not self._about_to:
            self._about_to = True
            self._loop.after(0.0, self._tell_now)  # behind the outcome that made the room

    def _tell_now(self) -> None:
        self._about_to = False
        client = self._tell_next()
        if self.admission.has_waiting and not self._telling:
            self._telling = True
            self._loop.after(_LOOK if client is None else _TELL, self._tell)

    def _tell_next(self) -> Client | None:
        client: Client | None = self.admission.next()
        if client is not None:
            client.outbox.put(encode(Load(free=max(1, self.admission.free))))
        return client

    def _tell(self) -> None:
        self._telling = False
        self._tell_now()

    def leave(self, client: Client) -> None:
        """A client is gone."""
        self.clients.discard(client)
        self.admission.leave(client)
        self.tell()
