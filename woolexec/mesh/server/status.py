"""
Reports for operators about what a peer does for each client: one report for all requests, at most ten times a second.

Operators can also end tasks.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.printable import printable
from woolexec.wire.frames import encode
from woolexec.wire.status_frames import CancelTask, Stated, Status, TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.statistics import Statistics

_log = logging.getLogger("woolexec.peer")

_PAUSE = 0.1
"""Minimum seconds between two new answers; further requests get the last one."""

_SHARE = 0.04
"""Maximum fraction of the time that is spent on answers: those that take long are made less often."""

_WAITING = 64
"""Maximum number of waiting requests, and of tasks to be ended; further ones are not answered."""

_FUNCTIONS, _WORKERS = 100, 500
"""Maximum number of functions and of workers of one client in an answer."""

_SIZE = 2 << 20
"""Maximum size of an answer, in characters."""


class StatusReports:
    """
    Answers the operators of a peer; in the engines' thread.

    :param everybody: returns the engines of all clients, with the clients' names
    :param tell: runs a function in that thread soon, when no engine acts
    """

    def __init__(
        self, everybody: Callable[[], Sequence[tuple[Hosted, str]]], tell: Callable[[Callable[[], object]], None]
    ) -> None:
        self.everybody, self._tell = everybody, tell
        self._waiting: list[tuple[Hosted, Outbox, int]] = []
        self._ends = 0  # the number of tasks that are being ended
        self._made = Stated()
        self._until = 0.0

    def ask(self, engine: Hosted, outbox: Outbox, frame: Status) -> None:
        """Answer the request of a client."""
        if len(self._waiting) < _WAITING:
            self._waiting.append((engine, outbox, frame.request))
        if len(self._waiting) == 1:
            self._tell(self._answer)

    def cancel(self, engine: Hosted, outbox: Outbox, frame: CancelTask) -> None:
        """End a task of any client, and report whether it ran."""
        if self._ends < _WAITING:
            self._ends += 1
            self._tell(partial(self._cancel, engine, outbox, frame))

    def _cancel(self, engine: Hosted, outbox: Outbox, frame: CancelTask) -> None:
        self._ends -= 1
        clients = dict(self.everybody())
        of = next((client for each, client in clients.items() if each.links.end_task(frame.task, frame.pid)), None)
        if of is not None:
            operator, client = printable(clients.get(engine, "an operator"), 200), printable(of, 200)
            _log.info("%s has ended task %d in worker %d, of %s", operator, frame.task, frame.pid, client)
        outbox.put(encode(TaskCancelled(request=frame.request, done=of is not None)))
        engine.wake()

    def _answer(self) -> None:
        began = monotonic()
        if began >= self._until:
            self._made = _frame_of([(engine.links.statistics(), client) for engine, client in self.everybody()])
            ended = monotonic()
            self._until = ended + max(_PAUSE, (ended - began) / _SHARE)
        waiting, self._waiting = self._waiting, []
        for engine, outbox, request in waiting:
            self._made.request = request
            outbox.put(encode(self._made))
            engine.wake()


def _frame_of(found: Sequence[tuple[Statistics, str]]) -> Stated:
    """Return a frame with as many of these as fit, the first ones."""
    texts: list[str] = []
    size = 0
    for each, _ in found:
        cut = replace(each, functions=each.functions[:_FUNCTIONS], workers=each.workers[:_WORKERS])
        data = cut.as_dict()
        for function in data["functions"]:
            del function["run"]["bins"], function["wait"]["bins"]
        text = json.dumps(data)
        size += len(text)
        if size > _SIZE:
            break
        texts.append(text)
    clients = tuple(client for _, client in found[: len(texts)])
    return Stated(statistics=tuple(texts), client=clients, left_out=len(found) - len(texts))
