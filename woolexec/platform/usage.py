"""The memory and processor time that other processes of this user take."""

from __future__ import annotations

import os
import subprocess

from woolexec.platform.memory import proportional, resident
from woolexec.platform.posix import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 5.0
"""Seconds that `ps` may take."""


def usage(pids: Iterable[int]) -> dict[int, tuple[int | None, float | None]]:
    """
    Return the memory in bytes and the processor time in seconds of processes; None if unknown.

    The memory is the proportional set size if the kernel reports it: shared memory is divided among the processes that
    share it.  Otherwise it is the resident set size.
    """
    wanted = set(pids)
    if not os.path.isdir("/proc/self"):
        return _by_ps(wanted)
    return {pid: (_memory(pid), _processor_time(pid)) for pid in wanted}


def _memory(pid: int) -> int | None:
    found = proportional(pid)
    if found is None and (both := resident(pid)) is not None:
        found = both[0]
    return found


def _processor_time(pid: int) -> float | None:
    try:
        fields = status_of(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _by_ps(pids: set[int]) -> dict[int, tuple[int | None, float | None]]:
    """Return the output of ``ps``, which every POSIX system has."""
    found: dict[int, tuple[int | None, float | None]] = dict.fromkeys(pids, (None, None))
    if not pids:
        return found
    command = ["ps", "-o", "pid=,rss=,time=", "-p", ",".join(map(str, sorted(pids)))]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return found
    for line in answer.stdout.splitlines():
        try:
            pid, kibibytes, spent = line.split()
            found[int(pid)] = int(kibibytes) << 10, _seconds(spent)
        except ValueError:
            continue
    return found


def _seconds(text: str) -> float:
    """Return the number of seconds in a text like ``[days-][hours:]minutes:seconds``."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days or 0)
