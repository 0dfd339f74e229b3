"""Gives calls back to a client, because no place is free for them or because no worker can be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.wire.frames import Load, encode

if TYPE_CHECKING:
    from woolexec.engine.links import Links
    from woolexec.mesh.link.outbox import Outbox


class Refusals:
    """The calls of one link that are about to be given back, together."""

    def __init__(self, links: Links, outbox: Outbox) -> None:
        self._links = links
        self._outbox = outbox
        self._numbers: list[int] = []
        self._reason = ""
        self.count = 0
        """How many calls were given back so far."""

    def add(self, number: int, reason: str = "") -> None:
        """
        Give a call back soon.

        :param reason: why no call can be run; empty: only no place is free
        """
        if not self._numbers:
            self._links.after(0.0, self.send)
        self._numbers.append(number)
        self.count += 1
        self._reason = reason or self._reason

    def send(self) -> bool:
        """Give them back now; return whether there are any."""
        numbers, self._numbers = self._numbers, []
        reason, self._reason = self._reason, ""
        if numbers:
            self._outbox.put(encode(Load(refused=numbers, reason=reason)))
        return bool(numbers)
