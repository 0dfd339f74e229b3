"""
The lane of an actor's life: its constructor runs in the main thread, and the object stays.

This worker runs only calls of this actor, so from then on each function is called with the object as its first
argument, in every lane.
"""

from __future__ import annotations

from types import MethodType

from woolexec.wire.frames import Started, encode
from woolexec.wire.inputs import call_first
from woolexec.worker import job as jobs
from woolexec.worker.job import Job, Slot
from woolexec.worker.lane import Lane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.worker.frame_reader import Reading
    from woolexec.worker.job import SocketTransport as Sender
    from woolexec.worker.socket_transport import SocketTransport
    from woolexec.worker.sync_lane import SyncLane


class ActorLane(Lane):
    """
    Creates the object, which ends with the worker.

    :param main: runs the constructor
    """

    def __init__(self, transport: SocketTransport, reading: Reading, main: SyncLane) -> None:
        super().__init__(transport, reading)
        self._main = main

    def start(self, job: Job) -> None:
        """Queue the constructor."""
        self._main.enqueue(_Life(job.number, _Constructor(job.slot), job.payload, job.frame))

    def control(self, frame: Any) -> None:
        """Do nothing: the engine ends the worker."""

    def finish(self, timeout: float | None) -> None:
        """Do nothing: an object need not be waited for."""


class _Life(Job):
    """The call of the constructor, which does not return."""

    __slots__ = ()

    def succeed(
        self,
        transport: Sender,
        seconds: float,
        payload: Any,
        arena: Any = None,
        context: bytes = b"",
        raised: int = 0,
    ) -> None:
        """Report that the object was made."""
        self.end()
        transport.send(encode(Started(call=(self.number,), open=True)))


class _Constructor(Slot):
    """A constructor whose object is stored."""

    __slots__ = ("_slot",)

    def __init__(self, slot: Slot) -> None:
        super().__init__(None)
        self._slot = slot

    def get(self, job: Job, transport: Sender) -> Callable[..., Any]:
        """Return a function that makes the object and stores it."""
        construct = self._slot.get(job, transport)
        self.setup, self.function = self._slot.setup, construct

        def make(*args: Any, **kwargs: Any) -> None:
            _keep(construct(*args, **kwargs))

        return make


def _keep(made: Any) -> None:
    """Bind functions to the object from now on."""

    def bind(function: Any) -> Callable[..., Any]:
        if function is call_first:
            return lambda fn, /, *args, **kwargs: fn(made, *args, **kwargs)
        return MethodType(function, made)

    jobs.bind = bind
