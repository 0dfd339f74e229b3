"""The places of a peer, shared by its clients: which calls are admitted, and which client is told of free places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from woolexec.core.admission import Admission
from woolexec.mesh.server.stays import Stays
from woolexec.resources import Line
from woolexec.wire.frames import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.offer import Offer
    from woolexec.resources import Requirement
    from woolexec.wire.protobuf import Message

_TELL, _LOOK = 0.01, 0.05
"""Seconds until the next waiting client is told of free places that the previous one has not used, and until the next
check for free places."""


class Client(Protocol):
    """A client of the peer."""

    def tell(self, frame: Message) -> None:
        """Send it a frame."""

    def __hash__(self) -> int:
        """Clients are hashed by identity."""


class Places:
    """
    The capacity that the clients of one peer share.

    :param after: calls a function later, given the seconds until then
    :param width: maximum number of calls that the peer runs at once
    :param offer: the tags and resources that calls may require
    :param has_peers: whether it has links to other peers; clients' calls are not passed on to them
    :param stays: counts the outcomes that are kept here
    """

    def __init__(
        self,
        after: Callable[[float, Callable[[], object]], object],
        width: int,
        offer: Offer,
        *,
        has_peers: bool = False,
        stays: Stays | None = None,
    ) -> None:
        self.stays = stays or Stays()
        self.admission = Admission(width, offer)
        self.clients: set[Client] = set()
        self.shortage = ""
        """Why all calls are refused, if the peer is short of memory."""
        self._has_peers = has_peers
        self._after = after
        self._about_to = self._telling = False

    def line_of(self, client: Client, priority: int, requirement: Requirement | None) -> Line | None:
        """Return the queue line in which an admitted call of a client waits for one of its workers."""
        needs = self.admission.offer.after_admission(requirement)
        return Line(priority, needs, client=client) if priority or needs is not None or self._has_peers else None

    def tell(self) -> None:
        """If places are free, tell the client that has waited longest, and after a while the next."""
        if self.admission.has_waiting and not self._about_to:
            self._about_to = True
            self._after(0.0, self._tell_now)  # after the outcome that freed the place

    def invite(self) -> None:
        """Tell all clients that calls can run again: some may have been refused for other reasons than free places."""
        for client in self.clients:
            self.invite_one(client)

    def invite_one(self, client: Client) -> None:
        """Tell a client that calls can run again, for the same reason."""
        client.tell(Load(free=max(1, self.admission.free)))

    def _tell_now(self) -> None:
        self._about_to = False
        client = self._tell_next()
        if self.admission.has_waiting and not self._telling:
            self._telling = True
            self._after(_LOOK if client is None else _TELL, self._tell)

    def _tell_next(self) -> Client | None:
        client: Client | None = self.admission.next()
        if client is not None:
            client.tell(Load(free=max(1, self.admission.free)))
        return client

    def _tell(self) -> None:
        self._telling = False
        self._tell_now()

    def leave(self, client: Client) -> None:
        """Remove a client whose link has ended."""
        self.clients.discard(client)
        self.admission.leave(client)
        self.tell()
