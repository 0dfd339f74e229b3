import threading

from woolexec.api.gate import Gate
from woolexec.api.gated_map import GatedSender
from woolexec.api.map_batches import Board, Unit

SOON = 30


class Sender:
    """Keeps the units that it is given to send."""

    size, ahead = 1, 7

    def __init__(self):
        self.sent, self.cancelled = [], []

    def send(self, board, items, index):
        self.sent.append(Unit(board, len(items), index))
        return self.sent[-1:]

    def cancel(self, units, ended=None, *, force=False):
        self.cancelled += units

    def forget_pool(self):
        pass

    check_process = forget_pool


def test_items_are_counted_until_their_outcomes_have_come():
    gate, sender = Gate(10), Sender()
    units = GatedSender(sender, gate, counts=True).send(Board(ordered=True), [1] * 5, 0)
    assert gate.count == 5
    units[0].put(0, (2, b"", False))
    assert gate.count == 3
    units[0].put(2, (3, b"", False))
    assert gate.count == 0


def test_items_are_sent_in_parts_that_fit():
    gate, sender = Gate(4), Sender()
    gated = GatedSender(sender, gate, counts=True)

    def end():
        while len(sender.sent) < 5 or gate.count:
            for unit in list(sender.sent):
                if not unit.parts:
                    unit.put(0, (unit.count, b"", False))

    thread = threading.Thread(target=end)
    thread.start()
    units = gated.send(Board(ordered=True), [1] * 10, 100)
    thread.join(SOON)
    assert [(unit.index, unit.count) for unit in units] == [(100, 2), (102, 2), (104, 2), (106, 2), (108, 2)]


def test_items_that_are_cancelled_are_not_counted_again_when_their_outcomes_come():
    gate, sender = Gate(10), Sender()
    gated = GatedSender(sender, gate, counts=True)
    (unit,) = gated.send(Board(ordered=True), [1] * 5, 0)
    gated.cancel([unit])
    assert gate.count == 0
    unit.put(0, (5, b"", False))
    assert gate.count == 0
