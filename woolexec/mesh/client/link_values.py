"""The values of a link: those that it sends, and the peer's reports about those that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from woolexec.engine.transport import Remote
from woolexec.mesh.client.channel import is_local
from woolexec.mesh.link.outbox import ON_LINK, VALUES
from woolexec.wire.frames import Keep, Pull, encode

if TYPE_CHECKING:
    from woolexec.core.candidate import Candidate
    from woolexec.mesh.link.arriving import Arriving
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.wire.frames import Drop
    from woolexec.wire.values import Value

SHARED = 1 << 20
"""Minimum size, in bytes, of a value from here that peers get from each other; smaller ones are quickly sent."""


class LinkValues(Remote):
    """The part of a link that is about values; see `woolexec.mesh.client.link`."""

    __slots__ = ("round_trip",)

    VALUES: ClassVar[int] = VALUES
    candidate: Candidate
    identity: str
    shares: bool
    """Whether the peer exchanges values with other peers, and is trusted with that."""
    _arriving: Arriving
    _outbox: Outbox

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.round_trip: float | None = None

    @property
    def bytes_sent(self) -> int:
        """Bytes that were written to the link."""
        return self._outbox.written

    @property
    def bytes_received(self) -> int:
        """Bytes that were read from the link."""
        return self._arriving.received

    def may_share(self, value: Value) -> bool:
        """Return whether the peer may get a value from another one; within a host, values from here are handed over."""
        return self.shares and (value.is_away or (value.size >= SHARED and self._outbox.passage is None))

    def nearness(self, holder: Any) -> int:
        """Return how near the peer is to another one; 0 if, according to the address, it cannot reach that one."""
        is_on_its_host: bool = holder.candidate.host == self.candidate.host
        if not holder.ready or (is_local(holder.candidate.address) and not is_on_its_host):
            return 0
        return 1 + is_on_its_host

    def send_value(self, value: Value) -> bool:
        """Send a value, a large one in parts; calls that need it may overtake it."""
        frame = Keep(value=value.number, share=self.may_share(value))
        self._outbox.put_frame(ON_LINK | value.number, frame, value.payload)  # type: ignore[arg-type]  # it is here
        return frame.share

    def send_pull(self, number: int, key: bytes, holder: Any) -> None:
        """Tell the peer to fetch a value from another one."""
        self.send(encode(Pull(value=number, key=key, address=holder.candidate.address, identity=holder.identity)))

    def send_drop(self, number: int) -> None:
        """Tell the peer to drop a value, or the received part of it."""
        self._outbox.withdraw(ON_LINK | number)
        super().send_drop(number)

    def take_value(self, frame: Keep) -> None:
        """Take a requested value, or the report that the peer has it now."""
        payload = self._arriving.take(frame, ON_LINK | frame.value)
        self.values.arrived(self, frame.value, payload, frame.key)

    def lose_values(self, frame: Drop) -> None:
        """Note that the peer does not have these values."""
        for number in frame.value:
            self.values.lose(self, number)
        self.values.on_losses()
