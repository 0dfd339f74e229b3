"""
How much memory this process may use, and how much is in use: the limits of its cgroups, or the host's memory.

Also how much other processes use: `resident` is quick; for `proportional` the kernel walks through all pages, which may
take 100 ms for a GiB.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from woolexec.platform.cgroup import folders

_UNLIMITED = 1 << 60
"""Limits of at least this many bytes mean "no limit", for which version 1 of cgroups has a number."""

_FULL_GROUP, _FULL_HOST = 0.9, 0.95
"""Fractions of the memory of a cgroup, and of the host, above which use is `near` the limit."""

_MEMINFO = "/proc/meminfo"


@dataclass(frozen=True, slots=True)
class Memory:
    """
    The memory of one cgroup, or of the host, in bytes.

    `used` does not count memory that the kernel can reclaim, such as the file cache; above `near` too little is left.
    `stalled` is the number of seconds for which all its processes have waited for memory so far, if the kernel reports
    it.
    """

    limit: int
    used: int
    near: int
    stalled: float = 0.0


def memory(
    root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup", meminfo: str = _MEMINFO
) -> Memory | None:
    """
    Return the memory of this process's cgroup that is closest to its limit; of the host, if no cgroup has a limit.

    :return: None if nothing can be read, as on systems other than Linux
    """
    return memory_of_group(root, membership) or _host(meminfo)


def memory_of_group(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> Memory | None:
    """Return the memory of the cgroup of this process that is closest to its limit; None if none has a limit."""
    return max(_groups(root, membership), key=lambda group: group.used / group.limit, default=None)


def usable_memory(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup", meminfo: str = _MEMINFO) -> int:
    """Return the maximum bytes of memory that this process may use; a very large number if unknown."""
    host = _host(meminfo)
    limits = [group.limit for group in _groups(root, membership)] + ([] if host is None else [host.limit])
    return min(limits, default=_UNLIMITED)


def _host(meminfo: str) -> Memory | None:
    try:
        with open(meminfo) as file:
            kib = dict(line.split()[:2] for line in file)
        total, available = int(kib["MemTotal:"]) << 10, int(kib["MemAvailable:"]) << 10
    except (OSError, ValueError, KeyError):
        return None
    return Memory(total, total - available, int(total * _FULL_HOST)) if total else None


def _groups(root: str, membership: str) -> list[Memory]:
    """Return the memory of the cgroups that have a limit."""
    found = [read(folder) for folder in folders(root, membership, "memory") for read in (_version_2, _version_1)]
    return [group for group in found if group is not None]


def _version_2(folder: str) -> Memory | None:
    limits = [limit for name in ("memory.max", "memory.high") if (limit := _limit(folder, name)) is not None]
    found = _group(folder, min(limits, default=None), "memory.current", "")
    return found and replace(found, stalled=_stalled(folder))


def _version_1(folder: str) -> Memory | None:
    return _group(folder, _limit(folder, "memory.limit_in_bytes"), "memory.usage_in_bytes", "total_")


def _group(folder: str, limit: int | None, usage: str, prefix: str) -> Memory | None:
    used = _number(folder, usage)
    if limit is None or used is None:
        return None
    return Memory(limit, max(0, used - _cache(folder, prefix)), int(limit * _FULL_GROUP))


def _limit(folder: str, name: str) -> int | None:
    number = _number(folder, name)
    return number if number is not None and 0 < number < _UNLIMITED else None


def _number(folder: str, name: str) -> int | None:
    """Return a number from a file; None if there is none."""
    try:
        with open(os.path.join(folder, name)) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _cache(folder: str, prefix: str) -> int:
    """Return the size of the file cache in the memory of a cgroup, in bytes; 0 if unknown."""
    try:
        with open(os.path.join(folder, "memory.stat")) as file:
            found = dict(line.split()[:2] for line in file)
        return sum(int(found.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
    except (OSError, ValueError):
        return 0


def _stalled(folder: str) -> float:
    """Return the seconds for which all processes of a cgroup have waited for memory; 0 if unknown."""
    try:
        with open(os.path.join(folder, "memory.pressure")) as file:
            found = {line.split()[0]: line.rpartition("total=")[2] for line in file}
        return int(found["full"]) / 1e6
    except (OSError, ValueError, LookupError):
        return 0.0


def reached_limit(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> int:
    """
    Return how often one of this process's cgroups has been at its limit, so that the kernel had to free memory.

    :return: a number that never decreases; 0 if unknown
    """
    return sum(map(_times_full, folders(root, membership, "memory")))


def _times_full(folder: str) -> int:
    try:
        with open(os.path.join(folder, "memory.events")) as file:  # version 2
            found = dict(line.split()[:2] for line in file)
        return int(found.get("max", 0)) + int(found.get("high", 0))
    except (OSError, ValueError):
        return _number(folder, "memory.failcnt") or 0  # version 1


# -- other processes -------------------------------------------------------------------------------------------------


def resident(pid: int, proc: str = "/proc") -> tuple[int, int] | None:
    """
    Return the resident memory of a process, in bytes, and the part of it that other processes may share.

    :return: None if the process is gone, or the system does not say
    """
    try:
        with open(f"{proc}/{pid}/statm", "rb") as file:
            _, pages, shared, *_ = file.read().split()
    except (OSError, ValueError):
        return None
    return int(pages) * _PAGE, int(shared) * _PAGE


def proportional(pid: int, proc: str = "/proc") -> int | None:
    """
    Return the memory of a process, in bytes, including its share of memory shared with others (PSS).

    :return: None if the process is gone, or the system does not say
    """
    try:
        with open(f"{proc}/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None


_PAGE = os.sysconf("SC_PAGE_SIZE")
