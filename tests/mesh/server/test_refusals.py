"""Refused calls are reported together."""

from woolexec.mesh.server.refusals import Refusals
from woolexec.wire.fast_frames import decode


class Links:
    """Timers."""

    def __init__(self):
        self.timers = []

    def after(self, seconds, piece):
        self.timers.append(piece)


class Outbox(list):
    put = list.append

    @property
    def told(self):
        return [(list(frame.refused), frame.reason) for frames in self for frame in decode(frames)]


def test_refusals_are_sent_together_and_once():
    links, outbox = Links(), Outbox()
    refusals = Refusals(links, outbox)
    for number in (3, 1, 2):
        refusals.add(number)
    assert refusals.send()
    assert outbox.told == [([3, 1, 2], "")]
    for piece in links.timers:
        piece()
    assert not refusals.send()
    assert len(outbox) == 1


def test_refusals_for_a_reason_are_sent_soon_although_the_client_has_sent_nothing():
    links, outbox = Links(), Outbox()
    refusals = Refusals(links, outbox)
    for number in (1, 2):
        refusals.add(number, "no worker")
    (piece,) = links.timers
    piece()
    assert outbox.told == [([1, 2], "no worker")]
    refusals.add(3)
    refusals.send()
    assert outbox.told[1:] == [([3], "")]
