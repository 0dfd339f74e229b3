"""What the simulations of clients and peers share: events in order, times of tasks, how a peer tells of places."""

import itertools
from heapq import heappop, heappush

TELL = 0.01
"""How long a peer waits before it tells the next client of a free place that nobody has used."""


class Times:
    """How long tasks took from submit to outcome: `times`, in seconds."""

    def percentile(self, part):
        times = sorted(self.times)
        return times[min(len(times) - 1, int(part * len(times)))]

    @property
    def mean(self):
        return sum(self.times) / len(self.times)


class Events:
    """What happens when; `now` is the clock, in seconds."""

    def __init__(self, now=0.0):
        self.now = now
        self._events = []
        self._order = itertools.count()

    def after(self, seconds, piece, *args):
        self.at(self.now + seconds, piece, *args)

    def at(self, time, piece, *args):
        heappush(self._events, (time, next(self._order), piece, args))

    def step(self):
        self.now, _, piece, args = heappop(self._events)
        piece(*args)


class Door:
    """The part of a peer that tells clients of free places, as its `admission` says."""

    is_telling = False

    def tell_room(self, client):
        """Tell a client how many places are free."""
        raise NotImplementedError

    def tell_free(self):
        client = self.admission.next()
        if client is not None:
            self.tell_room(client)
        self.tell_soon()

    def tell_soon(self):
        if self.admission.has_waiting and self.admission.free and not self.is_telling:
            self.is_telling = True
            self.world.after(TELL, self.tell_again)

    def tell_again(self):
        self.is_telling = False
        self.tell_free()
