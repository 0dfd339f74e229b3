"""
``woolexec stack``: what runs at a peer, in the workers of a process on this machine, or in one worker.

The process itself is not asked, because it listens to no requests.  Its workers are found among its descendants, by the
memory that they share with it; they answer any process of their user that writes to that memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from time import monotonic, sleep
from typing import TYPE_CHECKING

from woolexec.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from woolexec.core.task_stack import Stacks, TaskStack
    from woolexec.wire.shared_page import SharedPage

_PATIENCE = 0.25
"""Seconds to wait for a worker's interpreter; half of the timeout if that is less."""

_LOOK, _SETTLED = 0.002, 0.02
"""Seconds between two looks, and without a change after which a dump is complete."""


def run(arguments: argparse.Namespace) -> int:
    """Print the stacks; return exit code 2 if nothing could be asked."""
    from woolexec.api.stacks import with_sources
    from woolexec.core.task_stack import Stacks
    from woolexec.errors import CredentialsError, PeerRefusedError

    where, left_out = arguments.where, 0
    try:
        if where.isdecimal():
            found = Stacks(_of_process(int(where), arguments.timeout))
        else:
            found, left_out = _of_peer(where, arguments.timeout)
    except PermissionError:
        return _fail(f"process {where} does not belong to this user")
    except (ProcessLookupError, FileNotFoundError):
        return _fail(f"there is no process {where}, or the system does not tell which files it has open")
    except (PeerRefusedError, CredentialsError, ValueError) as exc:
        return _fail(f"{where}: {exc}")
    found = with_sources(found)
    print(json.dumps(found.as_dict(), indent=2) if arguments.json else found)
    if left_out:
        print(f"woolexec stack: the answer had no room for {left_out} more tasks", file=sys.stderr)
    return 0


def _fail(text: str) -> int:
    print(f"woolexec stack: {printable(text, 2000)}", file=sys.stderr)
    return 2


def _of_peer(address: str, timeout: float) -> tuple[Stacks, int]:
    from woolexec.mesh.client.inspection import ask
    from woolexec.mesh.security.credentials import Credentials

    return asyncio.run(ask(address, Credentials.from_environment(os.environ), timeout))


def _of_process(pid: int, timeout: float) -> Iterator[TaskStack]:
    """
    Yield the tasks that run in a worker, or in all workers below a process.

    :raises OSError: if there is no such process, or it is not one of this user
    """
    from woolexec.platform.stack_dump import descendants_of, memory_files_of

    next(memory_files_of(pid, -1), None)  # raises
    for each in descendants_of(pid):
        try:
            page = _page_of(each)
        except OSError:  # it has just ended
            continue
        if page is not None:
            try:
                yield from _of_worker(each, page, timeout)
            finally:
                page.close()


def _page_of(pid: int) -> SharedPage | None:
    """Return the page that a worker shares with its engine; None if the process is not such a worker."""
    from woolexec.platform.stack_dump import memory_files_of
    from woolexec.wire.shared_page import SIZE, SharedPage

    for fd in memory_files_of(pid, SIZE):
        try:
            page = SharedPage(fd)
        finally:
            os.close(fd)
        if page.pid == pid and page.is_ready:
            return page
        page.close()
    return None


def _of_worker(pid: int, page: SharedPage, timeout: float) -> Iterator[TaskStack]:
    from woolexec.core.stack_text import ENDED, IN_C, SILENT, STOPPED, of_dump, outermost, safe
    from woolexec.core.task_stack import TaskStack
    from woolexec.platform import stack_dump
    from woolexec.platform.posix import SIGURG, host_name, kill

    def stack(number: int, seconds: float, text: str, note: str = "") -> TaskStack:
        return TaskStack(number, outermost(text) or "?", max(0.0, seconds), host_name(), pid, safe(text), note)

    def last(text: str, note: str) -> TaskStack:  # the worker says nothing: the page tells which call started last
        return stack(page.started, monotonic() - page.since, text, note)

    state = stack_dump.state_of(pid)
    if state in (stack_dump.STOPPED, stack_dump.ENDED):
        yield last("", STOPPED if state == stack_dump.STOPPED else ENDED)
        return
    area = page.stacks
    question = area.ask()
    kill(pid, SIGURG)
    until = monotonic() + min(_PATIENCE, timeout / 2)
    while monotonic() < until:
        report = area.report() if area.is_answered(question) else None
        if report is not None:
            yield from (stack(*each) for each in zip(report.call, report.seconds, report.stack, strict=False))
            return
        sleep(_LOOK)
    offset, text, since = area.dump_start + len(area.dumped(area.dump_start)), b"", monotonic()
    stack_dump.send_dump_signal(pid)
    until += timeout / 2
    while monotonic() < until and not (text.endswith(b"\n") and monotonic() - since > _SETTLED):
        now = area.dumped(offset)
        if now != text:
            text, since = now, monotonic()
        sleep(_LOOK)
    found = of_dump(text.decode(errors="replace"))
    if found or not text:
        yield last(found, IN_C if found else SILENT)
