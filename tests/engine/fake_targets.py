"""Targets that record the frames about values that they are sent."""

from types import SimpleNamespace

from woolexec.engine.transport import Sent
from woolexec.wire.values import Value


class Target:
    VALUES = 3

    def __init__(self, room=1 << 40):
        self.has_sent, self.room_for_values = Sent(), room
        self.said = []

    def may_share(self, value):
        return self.shares

    def nearness(self, holder):
        return holder.shares

    def send_value(self, value):
        self.said.append(("keep", value.number))
        return self.shares

    def send_drop(self, number):
        self.said.append(("drop", number))

    def send_fetch(self, number):
        self.said.append(("fetch", number))

    def send_pull(self, number, key, holder):
        self.said.append(("pull", number))

    shares = False
    name = "far/1"
    candidate = SimpleNamespace(host="far")
    outstanding = {}


class Sharer(Target):
    """A target that gets values from others of its kind, and gives them to these."""

    shares = True


def values(*sizes):
    return [Value(bytes(size)) for size in sizes]
