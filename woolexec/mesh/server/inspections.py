"""
Which tasks at a peer a client may see and end: its own; those of all clients with its certificate; all, if it is an
operator.

An operator has a certificate of that role, or uses the peer's Unix socket, which only the peer's user can open.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.engine.stack_frames import frame_of
from woolexec.wire.frames import Inspect, encode
from woolexec.wire.status_frames import CancelTask, Stated, Status, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from woolexec.core.task_stack import TaskStack
    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.mesh.server.status import StatusReports
    from woolexec.wire.protobuf import Message

NOT_ALLOWED = (
    "only operators may see other clients' tasks: with a certificate of `woolexec certs issue operator`, or as the "
    "peer's own user over its Unix socket"
)

LONGEST = 60.0
"""Maximum number of seconds that an answer may take."""

_PAUSE = 0.1
"""Seconds for which an answer is reused, regardless of how often the client asks."""

_WAITING = 16
"""Maximum number of requests of one client that wait for an answer; further ones are not answered."""


class Inspections:
    """
    Answers the requests of one client; in the engine's thread.

    :param engine: the engine of the client
    :param reports: answers for all clients whose tasks this one may see; None: it may see only its own
    """

    def __init__(self, engine: Hosted, outbox: Outbox, reports: StatusReports | None) -> None:
        self._engine, self._outbox, self._reports = engine, outbox, reports
        self._waiting: list[int] = []
        self._last: tuple[float, bool, list[TaskStack]] = 0.0, False, []
        self.only_looks = False
        """Whether it was asked about other clients' tasks, which no pool does: this client has no tasks to finish."""

    @property
    def handlers(self) -> dict[type[Message], Callable[..., Any]]:
        """The handlers of its frames."""
        return {Inspect: self._inspect, Status: self._status, CancelTask: self._cancel}

    def _status(self, frame: Status) -> None:
        self.only_looks = True
        if self._reports is None:
            self._outbox.put(encode(Stated(request=frame.request, refused=NOT_ALLOWED)))
        else:
            self._reports.ask(self._engine, self._outbox, frame)

    def _cancel(self, frame: CancelTask) -> None:
        self.only_looks = True
        if self._reports is None:
            self._outbox.put(encode(TaskCancelled(request=frame.request, refused=NOT_ALLOWED)))
        else:
            self._reports.cancel(self._engine, self._outbox, frame)

    def _inspect(self, frame: Inspect) -> None:
        self.only_looks |= frame.all
        if frame.all and self._reports is None:
            answer = frame_of((), frame.request)
            answer.refused = NOT_ALLOWED
            self._outbox.put(encode(answer))
            return
        at, was_all, found = self._last
        if monotonic() - at < _PAUSE and was_all is frame.all:
            self._outbox.put(encode(frame_of(found, frame.request)))
            return
        if len(self._waiting) < _WAITING:
            self._waiting.append(frame.request)
        if len(self._waiting) == 1:
            self._ask(frame)

    def _ask(self, frame: Inspect) -> None:
        seconds = max(frame.seconds, 0.01) if frame.seconds < LONGEST else LONGEST  # also if it is NaN
        engines = [(self._engine, "")]
        if frame.all:
            assert self._reports is not None
            engines = list(self._reports.everybody())
        inspect(engines, seconds, frame.request, lambda found: self._answer(is_all=frame.all, found=found))

    def _answer(self, *, is_all: bool, found: list[TaskStack]) -> None:
        self._last = monotonic(), is_all, found
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._outbox.put(encode(frame_of(found, request)))
        self._engine.wake()


def inspect(
    engines: Sequence[tuple[Hosted, str]], seconds: float, request: int, then: Callable[[list[TaskStack]], object]
) -> None:
    """
    Find out which tasks of clients run here.

    :param engines: the clients' engines and names; the name of the asking client is empty
    :param request: see `woolexec.engine.stacks.Inspection.everywhere`
    :param then: called with that, longest first
    """
    found: list[TaskStack] = []
    left = [len(engines)]

    def take(client: str, stacks: list[TaskStack]) -> None:
        found.extend(replace(each, client=client) if client else each for each in stacks)
        left[0] -= 1
        if not left[0]:
            then(sorted(found, key=lambda each: -each.seconds))

    if not engines:
        then([])
    for engine, client in engines:
        engine.links.inspect(partial(take, client), seconds, request)
