"""Building blocks for tests of the scheduler's parts: calls, places, and a record of the actions."""

from types import SimpleNamespace

from woolexec.core.call import MAIN, Call, Function
from woolexec.core.place import Lane, Place


class Page:
    """What a place has started, set by the test."""

    def __init__(self):
        self.started = self.runs = 0
        self.since = 0.0
        self.recalled = 0

    def recall(self, number):
        self.recalled = number
        return self.started

    def clear_recall(self):
        self.recalled = 0


class Worker(Place):
    """A worker without its process."""

    def __init__(self, number=1):
        super().__init__()
        self.id = number
        self.page = Page()
        self.lane_place = Lane(self, 100)
        self.lane_place.page = Page()
        self.has_permit = self.stopping = self.is_dead = False
        self.born = 0.0

    def __repr__(self):
        return f"worker {self.id}"

    @property
    def is_busy(self):
        return bool(self.outstanding or self.pinned or self.lane_place.outstanding or self.lane_place.pinned)


class Receiver:
    """Keeps what is delivered."""

    def __init__(self):
        self.failures = []

    def deliver_failure(self, call, payload):
        self.failures.append(payload)


class Actions:
    """Writes down what a scheduler has the engine do; starts workers as long as it may."""

    def __init__(self, startable=0):
        self.done = []
        self.timers = []
        self.scheduler = None
        self.startable = startable
        self.started = 0

    def send(self, place, calls):
        if calls:
            self.done.append(("send", place, [call.number for call in calls]))

    def send_recall(self, place, number, waiting):
        self.done.append(("recall", place, number, waiting))

    def start_worker(self, actor=None, devices=None):
        if not self.startable:
            return None
        self.startable -= 1
        self.started += 1
        worker = Worker(self.started)
        worker.actor, worker.devices = actor, devices
        worker.born = self.scheduler.balancing._clock()
        (self.scheduler if actor is None else self.scheduler.actors).joined(worker)
        return worker

    def end_life(self, life):
        self.done.append(("end", life.number))

    def dismiss(self, worker):
        worker.stopping = True
        self.done.append(("dismiss", worker))

    def grant_permit(self, worker, number):
        worker.has_permit = True
        self.done.append(("grant", worker))

    def revoke_permit(self, worker):
        worker.has_permit = False

    def after(self, seconds, piece):
        self.timers.append((seconds, piece))

    def sent(self):
        """Return what was sent, by place, and forget it."""
        sent = {}
        for kind, place, *rest in self.done:
            if kind == "send":
                sent.setdefault(place, []).extend(rest[0])
        self.done.clear()
        return sent


def make_call(seconds=None, lane=MAIN, options=None, parent=0):
    function = Function(b"", "task", lane)
    function.seconds = seconds
    return Call(function, b"", Receiver(), options, parent)


def clock(now=0.0):
    """Return a clock that shows what `now` of it is set to."""
    shown = SimpleNamespace(now=now)
    return shown, lambda: shown.now
