"""Processes as the kernel reports them: their parents and children, and the resources that they hold."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_FORK_SERVER = b"woolexec.worker.fork_server"


def children(pid: int) -> list[int]:
    """Return the children of a process, of all its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return sorted(found)


def fork_servers(pid: int) -> list[int]:
    """Return the fork servers of the engines in a process."""
    return [child for child in children(pid) if _FORK_SERVER in _command(child)]


def workers(pid: int) -> list[int]:
    """Return the workers of the engines in a process."""
    return [worker for server in fork_servers(pid) for worker in children(server)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def send(pid: int, number: int) -> bool:
    """Send a signal; return whether the process was still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def go_on(pid: int) -> None:
    """Let a stopped process go on, if it is still there."""
    send(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds: resident memory in MiB, descriptors, threads."""

    memory: int
    descriptors: int
    threads: int


def size_of(pid: int) -> Size | None:
    """Return what a process holds; None if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return Size(resident // 1024, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))
    except (OSError, StopIteration):
        return None
