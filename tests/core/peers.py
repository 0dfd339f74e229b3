"""Peers without connections, and their client."""

import itertools
from random import Random

from woolexec.core.call import Call, Function
from woolexec.core.candidate import Candidate
from woolexec.core.group import Group
from woolexec.core.offer import Offer
from woolexec.core.offering import Offering
from woolexec.core.policies import IdleFirst
from woolexec.core.remote_place import RemotePlace
from woolexec.options import TaskOptions


class Far(RemotePlace):
    """A link, without its wire."""

    def __init__(self, name, width=1, tags=(), resources=None, *, is_here=False):
        super().__init__()
        self.width = width
        self.offer = Offer(tags, resources)
        self.candidate = Candidate(self, name, f"host-{name}", is_here=is_here)


class Client:
    """A core with links."""

    def __init__(self, *links, policy=None):
        self.now, self.timers = 1000.0, []
        self.group = Group(itertools.count(1).__next__)
        self.offering = Offering(self.group, policy or IdleFirst(Random(1)), self, lambda: self.now)
        self.links = links
        for link in links:
            self.join(link)

    def after(self, seconds, piece):
        self.timers.append((seconds, piece))

    def join(self, link):
        self.group.join(link)
        self.offering.join()

    def submit(self, count=1, function=None, payload=b"", **options):
        function = function or Function(b"", "task")
        calls = [Call(function, payload, None, TaskOptions(**options) if options else None) for _ in range(count)]
        for call in calls:
            self.group.queue.offer(call)
            self.group.queue.add(call)
        return calls

    def place(self, *, near=False):
        """Place what can be placed; return how many went where."""
        return {link.candidate.name: len(calls) for link, calls in self.offering.place(self.links, near=near)}

    def try_once(self, call):
        """Offer a call that waits, and have it refused; return whether it was offered."""
        for link, _ in self.offering.place(self.links):
            self.offering.refuse(link, [call.number])
            return True
        return False


def known(seconds):
    function = Function(b"", "known")
    function.seconds = seconds
    return function
