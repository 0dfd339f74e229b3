"""Test doubles around the code that answers the requests of clients."""

from types import SimpleNamespace

from woolexec.wire.fast_frames import decode


class Outbox(list):
    """The frames that were sent."""

    def put(self, data):
        self.extend(decode(data, 0))


def stopped_clock(module, monkeypatch):
    """Let a module read a clock whose time is `now`."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "monotonic", lambda: clock.now)
    return clock
