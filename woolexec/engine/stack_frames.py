"""Conversion of stacks to a frame for a link, and back; the contents of a frame are not trusted."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from woolexec.core.stack_text import safe
from woolexec.core.task_stack import TaskStack
from woolexec.printable import printable
from woolexec.wire.frames import Inspected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST = 500
"""Maximum number of tasks in a frame."""

_SIZE = 512 << 10
"""Maximum total size of their texts, in characters."""

_NAME = 200
"""Maximum length of a name, in characters."""


def frame_of(found: Sequence[TaskStack], request: int) -> Inspected:
    """Return a frame with as many of these stacks as fit."""
    kept: list[TaskStack] = []
    size = 0
    for each in islice(found, MOST):
        size += len(each.stack) + len(each.function) + len(each.note) + len(each.client)
        if size > _SIZE:
            break
        kept.append(each)
    frame = Inspected(request=request, left_out=len(found) - len(kept))
    if kept:
        frame.call, frame.pid = tuple(each.task for each in kept), tuple(each.pid for each in kept)
        frame.seconds = tuple(each.seconds for each in kept)
        frame.name, frame.stack = tuple(each.function for each in kept), tuple(each.stack for each in kept)
        frame.note, frame.host = tuple(each.note for each in kept), tuple(each.host for each in kept)
        frame.client = tuple(each.client for each in kept)
    return frame


def stacks_of(frame: Inspected, peer: str) -> Iterator[TaskStack]:
    """Yield the stacks in a frame that came from a peer with this address."""
    about = zip(frame.call, frame.name, frame.seconds, frame.host, frame.pid, strict=False)
    texts = zip(frame.stack, frame.note, frame.client, strict=False)
    for (task, name, seconds, host, pid), (stack, note, client) in islice(zip(about, texts, strict=False), MOST):
        where, function, why, of = (printable(each, _NAME) for each in (host, name, note, client))
        yield TaskStack(task, function, seconds, where, pid, safe(stack), why, printable(peer, _NAME), of)
