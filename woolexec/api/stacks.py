"""`stacks` of a pool, for threads and for tasks of event loops."""

from __future__ import annotations

import linecache
import os
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from random import getrandbits
from typing import TYPE_CHECKING

import woolexec.engine.stacks  # noqa: F401  # not in the engine's thread, which must not fail for want of a descriptor
from woolexec.checks import positive_seconds
from woolexec.core.stack_text import LONGEST, parts_of
from woolexec.core.task_stack import Stacks
from woolexec.engine.dispatcher import FORKED_CHILD
from woolexec.futures.latch import Latch
from woolexec.futures.loop_waiters import checkpoint, make_waiter
from woolexec.platform.posix import host_name
from woolexec.printable import printable

if TYPE_CHECKING:
    from woolexec.core.task_stack import TaskStack
    from woolexec.engine.engine import Engine

_LONGEST = 3600.0
"""Maximum timeout in seconds."""

_LAST, _SOME = 0.5, 3
"""Seconds that workers have to report what they run before they are interrupted, and how many tasks are named."""

_LARGEST = 16 << 20
"""Maximum size, in bytes, of source files from which lines are shown."""

_MORE = 5.0
"""Additional seconds for a busy engine to answer."""


def stacks(engine: Engine, timeout: float) -> Stacks:
    """Return what runs; raise TimeoutError if the engine does not answer."""
    seconds = _checked(timeout)
    return with_sources(_asked(engine, seconds).result(seconds + _MORE))


async def stacks_async(engine: Engine, timeout: float) -> Stacks:  # noqa: ASYNC109  # it ends with an answer
    """Like `stacks`, in a task of an event loop."""
    await checkpoint()
    answer = _asked(engine, _checked(timeout))
    told = Latch()  # opens when there is an answer
    waiter = make_waiter()
    answer.add_done_callback(lambda _: told.open())
    if told.add(waiter):
        try:
            await waiter.wait()
        finally:
            told.remove(waiter)
    return with_sources(answer.result(0))


def _checked(timeout: float) -> float:
    seconds = positive_seconds("timeout", timeout)
    if seconds is None:
        raise ValueError("timeout must be a number of seconds")
    return min(seconds, _LONGEST)


def _asked(engine: Engine, seconds: float) -> Future[Stacks]:
    if engine.forked:
        raise RuntimeError(FORKED_CHILD)
    answer: Future[Stacks] = Future()

    def tell(found: list[TaskStack]) -> None:
        answer.set_result(Stacks(sorted(found, key=lambda each: -each.seconds)))

    if not engine.has_begun or engine.stopped:
        tell([])
    else:
        engine.tell(partial(engine.inspect, tell, seconds, getrandbits(64)))
    return answer


def with_sources(found: Stacks) -> Stacks:
    """Add the lines of source files to the stacks of workers on this host."""
    here = host_name()
    return Stacks(replace(each, stack=_with_sources(each.stack)) if each.host == here else each for each in found)


def _may_be_read(file: str) -> bool:
    """Return whether this is a regular file of code: another process named it, and reading a pipe would never end."""
    if file in linecache.cache:
        return True
    try:
        return os.path.isfile(file) and os.path.getsize(file) <= _LARGEST
    except (OSError, ValueError):
        return False


def _with_sources(stack: str) -> str:
    lines = []
    for line in stack.split("\n") if stack else []:
        lines.append(line)
        parts = parts_of(line)
        if parts is not None and parts[1].isdecimal() and _may_be_read(parts[0]):
            linecache.checkcache(parts[0])
            source = linecache.getline(parts[0], int(parts[1])).strip()
            if source:
                indent = line[: len(line) - len(line.lstrip())]
                lines.append(f"{indent}  {printable(source, LONGEST)}")
    return "\n".join(lines)


def note_what_runs(engine: Engine, error: BaseException) -> None:
    """Add the stacks of some of the tasks that run to the error that interrupts them."""
    if engine.forked:
        return
    try:
        found = with_sources(_asked(engine, _LAST).result(2 * _LAST))
    except Exception:  # a failure here must not keep the interrupt from the tasks
        return
    more = f"\n\nand {len(found) - _SOME} more tasks" if len(found) > _SOME else ""
    if found:
        error.add_note(f"tasks that were interrupted:\n\n{Stacks(found[:_SOME])}{more}")
