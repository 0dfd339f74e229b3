"""Which calls are reported as started, and when."""

from woolexec.core.window import HORIZON
from woolexec.mesh.server.start_reports import StartReports
from woolexec.wire.fast_frames import decode


class Links:
    """Timers, and which calls run."""

    def __init__(self):
        self.timers, self.running = [], set()

    def after(self, seconds, piece):
        self.timers.append(piece)

    def is_running(self, call):
        return call in self.running

    def look(self):
        due, self.timers = self.timers, []
        for piece in due:
            piece()


class Outbox(list):
    put = list.append

    @property
    def told(self):
        return [list(frame.call) for frames in self for frame in decode(frames)]


class Answer:
    """That of a call, which is known by its number."""

    def __init__(self, number, weight=0.0):
        self.number = self.outstanding_call = number
        self.noted = self.late = 0
        self.weight = weight

    def note_start(self):
        self.noted += 1

    def note_late(self):
        self.late += 1


def test_calls_are_reported_once_and_together():
    links, outbox = Links(), Outbox()
    reports, answers = StartReports(links, outbox), [Answer(n) for n in range(1, 4)]
    for answer in answers:
        reports.add(answer)
    assert len(links.timers) == 1
    links.running = {1, 2}
    links.look()
    assert outbox.told == [[1, 2]]
    assert [answer.noted for answer in answers] == [1, 1, 0]
    links.look()
    assert outbox.told == [[1, 2]]
    links.running = {1, 2, 3}
    links.look()
    assert outbox.told == [[1, 2], [3]]
    assert links.timers == []


def test_calls_that_are_over_are_not_reported_and_nothing_is_checked_for_them():
    links, outbox = Links(), Outbox()
    reports = StartReports(links, outbox)
    reports.add(Answer(1))
    reports.forget(1)
    reports.forget(7)
    links.running = {1}
    links.look()
    assert (outbox.told, links.timers) == ([], [])
    reports.add(Answer(2))
    reports.clear()
    links.look()
    assert (outbox.told, links.timers) == ([], [])


def test_calls_from_one_on_are_those_that_are_not_reported_in_order():
    links, outbox = Links(), Outbox()
    reports = StartReports(links, outbox)
    for number in (3, 1, 2, 4):
        reports.add(Answer(number))
    links.running = {3}
    links.look()
    assert reports.since(2) == [2, 4]


def test_short_call_that_runs_for_long_is_late_once_and_one_that_is_over_is_not():
    links, outbox, now = Links(), Outbox(), 0.0
    reports = StartReports(links, outbox, lambda: now)
    answers = [Answer(1, HORIZON / 2), Answer(2, HORIZON / 2), Answer(3, HORIZON), Answer(4)]
    for answer in answers:
        reports.add(answer)
    links.running = {1, 2, 3, 4}
    links.look()
    now = HORIZON / 2
    links.look()
    reports.forget(2)
    now = HORIZON
    links.look()
    assert [answer.late for answer in answers] == [1, 0, 0, 0]
    assert links.timers == []
