"""
How calls that were sent over a link are recalled one by one, as they are cancelled.

1. The peer is asked to give a call back, and all calls that were sent after it come back as well.  Its Recalled frame
   decides; it is the answer to all requests that were made before it was sent.
2. If another call was requested shortly before, nothing is sent to the peer for a moment (a pause): the calls that are
   cancelled next are then in the queue, and need not be requested.
3. A pause does not delay answers: calls that the peer has answered for are answered while it lasts.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.core.call import SENT, UNCERTAIN
from woolexec.wire.frames import Cancel, Recalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.call import Call
    from woolexec.core.remote_place import RemotePlace
    from woolexec.engine.links import Links
    from woolexec.engine.transport import Remote

_BURST = 0.02
"""Maximum seconds between cancellations that count as a burst, unless the peer takes longer to answer.  A pause takes
this long, or twice as long as the answer took: each recalled call brings back all calls that were sent after it.  They
would be sent again, and would have to be recalled one by one."""


class TakingBack:
    """
    The calls of one link that are being recalled.

    :param look: called with the link after a pause
    """

    __slots__ = ("_asked_at", "_burst_until", "_links", "_look", "_paused")

    def __init__(self, links: Links, look: Callable[[Any], object]) -> None:
        self._links, self._look = links, look
        self._asked_at = self._burst_until = 0.0  # when a call was last recalled, and until when the next is a burst
        self._paused: set[RemotePlace] = set()  # a pause counts as one of the place's `recalling`

    def ask(self, link: Remote, call: Call, answer: Callable[[bool], object], *, force: bool) -> None:
        """Ask the peer to give a call back, or with `force` to end it."""
        place = call.place
        if place is None or call.state not in {SENT, UNCERTAIN}:
            answer(False)
            return
        place.wanted[call] = answer
        self._asked_at = monotonic()
        if not force:
            self._links.recall(place, since=call.number)
            return
        place.recalling += 1
        if call.state == SENT:
            call.move("doubt")
        link.send_command(Cancel(call=call.number))

    def answer(self, link: Remote, place: RemotePlace, *, broken: bool = False) -> None:
        """Answer the requests; calls that were given back are claimed from the queue."""
        for call, answer in list(place.wanted.items()):
            is_taken = self._links.cancel_queued(call)
            is_answered = place.recalling == (place in self._paused)
            if is_taken or broken or is_answered:
                del place.wanted[call]
                answer(is_taken)
                if is_answered and not broken:
                    self._pause(link, place)

    def _pause(self, link: Remote, place: RemotePlace) -> None:
        now = monotonic()
        took = now - self._asked_at
        if self._asked_at < self._burst_until and place not in self._paused:
            self._paused.add(place)
            place.recalling += 1
            self._links.after(max(_BURST, 2 * took), partial(self._go_on, link, place))
        self._burst_until = now + max(_BURST, took)

    def _go_on(self, link: Remote, place: RemotePlace) -> None:
        self._paused.discard(place)
        self._links.hear(link, Recalled(loop=place.is_lane))
        self.answer(link, place)
        self._look(link)
